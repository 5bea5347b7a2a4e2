//! The connection class after the handshake.

use crate::world::*;
use bowline_codec_amqp::methods::*;
use bowline_model::event::{Event, Revoked};
use bowline_model::meta::{Command, LimitScope, UserSpec, VhostSpec};
use bowline_topology::password;

#[test]
fn a_new_secret_is_acknowledged() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(0, ConnectionUpdateSecret { new_secret: b"token", reason: s("renewal") });
    assert_eq!(client.hear(), ["0 ConnectionUpdateSecretOk"]);
}

#[test]
fn flow_can_be_switched_on_only() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, ChannelFlow { active: true });
    assert_eq!(client.hear(), ["1 ChannelFlowOk { active: true }"]);
    client.say(1, ChannelFlow { active: false });
    let line = client.hear().pop().unwrap();
    assert!(line.contains("0 ConnectionClose { reply_code: 540"), "{line}");
}

#[test]
fn shutdowns_and_deletions_close_with_320() {
    let world = World::new(1);
    type Told = fn() -> Event;
    let cases: [(Told, &str); 3] = [
        (|| Event::Shutdown, "broker forced connection closure with reason 'shutdown'"),
        (|| Event::Revoked(Revoked::Vhost("/".into())), "vhost '/' is deleted"),
        (|| Event::Revoked(Revoked::Vhost("other".into())), ""),
    ];
    for (event, text) in cases {
        let mut client = Client::open(&world);
        client.say(1, declare("q", &[]));
        client.hear();
        world.borrow_mut().announce(event);
        let lines = client.hear();
        if text.is_empty() {
            assert!(lines.is_empty(), "{lines:?}");
            continue;
        }
        let expected = format!(
            "0 ConnectionClose {{ reply_code: 320, reply_text: \"CONNECTION_FORCED - {text}\", class_id: 0, method_id: 0 }}"
        );
        assert_eq!(lines, [expected]);
        client.say(0, ConnectionCloseOk);
        client.run();
        assert!(client.session.is_over());
    }
}

/// A world with user `app`, who may enter vhosts `/` and `full`.
fn with_app() -> Shared {
    let world = World::new(1);
    let password = Some(password::sha256([1, 2, 3, 4], b"app"));
    let app = UserSpec { name: "app".to_owned(), password, tags: Vec::new() };
    world.borrow_mut().apply(&Command::UserPut(app));
    world
        .borrow_mut()
        .apply(&Command::VhostPut(VhostSpec { name: "full".to_owned(), ..VhostSpec::default() }));
    for vhost in ["/", "full"] {
        world.borrow_mut().let_in("app", vhost);
    }
    world
}

fn limit(world: &Shared, scope: LimitScope, name: &str, max: i64) {
    world.borrow_mut().apply(&Command::LimitsPut { scope, limits: vec![(name.to_owned(), max)] });
}

fn user() -> LimitScope {
    LimitScope::User("app".to_owned())
}

/// Connects as `app` and tells what the last answer is.
fn connect(world: &Shared, vhost: &'static str) -> (Client, String) {
    let mut client = Client::new(world);
    client.vhost = vhost;
    client.handshake("app", "app");
    let last = client.hear().pop().unwrap();
    (client, last)
}

fn refused(line: &str, text: &str) -> bool {
    line.contains("ConnectionClose { reply_code: 530") && line.contains(&format!("NOT_ALLOWED - {text}\""))
}

#[test]
fn a_vhost_lets_in_no_more_connections_than_it_may() {
    let world = with_app();
    let scope = || LimitScope::Vhost("full".to_owned());
    let text =
        |n: u32| format!("access to vhost 'full' refused for user 'app': connection limit ({n}) is reached");
    limit(&world, scope(), "max-connections", 0);
    let (_none, line) = connect(&world, "full");
    assert!(refused(&line, &text(0)), "{line}");
    limit(&world, scope(), "max-connections", 1);
    let (mut first, line) = connect(&world, "full");
    assert!(line.contains("ConnectionOpenOk"), "{line}");
    let (_second, line) = connect(&world, "full");
    assert!(refused(&line, &text(1)), "{line}");
    // Other vhosts have room.
    assert!(connect(&world, "/").1.contains("ConnectionOpenOk"));
    // It counts until the client knows that it is closed; one whose socket is lost, until its session is dropped.
    first.say(0, close());
    assert_eq!(first.hear(), ["0 ConnectionCloseOk"]);
    let (second, line) = connect(&world, "full");
    assert!(line.contains("ConnectionOpenOk"), "{line}");
    drop(second);
    let (mut third, line) = connect(&world, "full");
    assert!(line.contains("ConnectionOpenOk"), "{line}");
    // And one that the broker closes, until it has said so.
    third.say(7, declare("q", &[]));
    assert!(third.hear()[0].contains("ConnectionClose { reply_code: 504"));
    assert!(connect(&world, "full").1.contains("ConnectionOpenOk"));
    limit(&world, scope(), "max-connections", -1);
    let many: Vec<_> = (0..3).map(|_| connect(&world, "full")).collect();
    assert!(many.iter().all(|(_, line)| line.contains("ConnectionOpenOk")));
    // A lower limit is for those who come.
    limit(&world, scope(), "max-connections", 1);
    let (mut old, _) = many.into_iter().next().unwrap();
    old.say(1, ChannelOpen);
    assert_eq!(old.hear(), ["1 ChannelOpenOk"]);
}

#[test]
fn a_user_has_no_more_connections_and_channels_than_it_may() {
    let world = with_app();
    limit(&world, user(), "max-connections", 2);
    let (mut first, _) = connect(&world, "/");
    let (_second, line) = connect(&world, "full");
    assert!(line.contains("ConnectionOpenOk"), "{line}");
    let (_third, line) = connect(&world, "/");
    let text = "connection refused for user 'app': user connection limit (2) is reached";
    assert!(refused(&line, text), "{line}");

    limit(&world, user(), "max-channels", 2);
    first.say(1, ChannelOpen);
    assert_eq!(first.hear(), ["1 ChannelOpenOk"]);
    let (mut other, _) = connect(&world, "/");
    other.say(1, ChannelOpen);
    assert_eq!(other.hear(), ["1 ChannelOpenOk"]);
    // A channel that is closed makes room, whoever closed it.
    other.say(1, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
    other.say(1, ChannelOpen);
    other.say(1, QueueDeclare { passive: true, ..declare("missing", &[]) });
    other.say(1, ChannelCloseOk);
    other.say(1, ChannelOpen);
    let lines = other.hear();
    assert!(lines.last().unwrap().contains("1 ChannelOpenOk"), "{lines:?}");
    first.say(2, ChannelOpen);
    let line = first.hear().pop().unwrap();
    let text = "number of channels opened for user 'app' has reached the maximum allowed user limit of 2";
    assert!(refused(&line, text), "{line}");
    // With that connection its channel has gone.
    other.say(2, ChannelOpen);
    assert_eq!(other.hear(), ["2 ChannelOpenOk"]);
}

fn close() -> ConnectionClose<'static> {
    ConnectionClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 }
}
