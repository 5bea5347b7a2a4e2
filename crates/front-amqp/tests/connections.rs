//! The connection class after the handshake.

mod world;

use bowline_codec_amqp::methods::*;
use bowline_model::event::{Event, Revoked};
use world::*;

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
