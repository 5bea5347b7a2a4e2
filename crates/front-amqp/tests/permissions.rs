//! Vhosts, and what users may do in them.

use crate::world::*;
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{FieldTable, OwnedProperties, TableRef};
use bowline_model::meta::{Command, PermissionSpec, TopicPermissionSpec, UserSpec, VhostSpec};
use bowline_topology::password;

/// User `ann` of vhost `v`, who may do this there.
fn with_ann(world: &Shared, configure: &str, write: &str, read: &str) {
    let mut world = world.borrow_mut();
    let name = |name: &str| name.to_string();
    world.apply(&Command::VhostPut(VhostSpec { name: name("v"), ..VhostSpec::default() }));
    let password = Some(password::sha256([1, 2, 3, 4], b"pw"));
    world.apply(&Command::UserPut(UserSpec { name: name("ann"), password, tags: Vec::new() }));
    world.apply(&Command::PermissionPut(PermissionSpec {
        user: name("ann"),
        vhost: name("v"),
        configure: name(configure),
        write: name(write),
        read: name(read),
    }));
}

fn enter(world: &Shared, vhost: &'static str) -> Client {
    let mut client = Client::new(world);
    client.vhost = vhost;
    client.handshake("ann", "pw");
    client.say(1, ChannelOpen);
    client
}

fn exchange<'a>(name: &'a str, kind: &'a str, arguments: &'a [u8]) -> ExchangeDeclare<'a> {
    ExchangeDeclare {
        exchange: s(name),
        exchange_type: s(kind),
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        no_wait: false,
        arguments: TableRef::parse(arguments).unwrap(),
    }
}

fn bind<'a>(queue: &'a str, exchange: &'a str, key: &'a str) -> QueueBind<'a> {
    QueueBind {
        queue: s(queue),
        exchange: s(exchange),
        routing_key: s(key),
        no_wait: false,
        arguments: TableRef::EMPTY,
    }
}

#[test]
fn a_vhost_has_its_own_names_and_lets_in_whom_it_knows() {
    let world = World::new(2);
    with_ann(&world, ".*", ".*", ".*");
    let mut client = enter(&world, "v");
    client.hear();
    client.say(1, declare("q", &[]));
    client.publish(1, "", "q", b"x");
    client.say(1, declare("q", &[]));
    assert!(client.hear()[1].contains("message_count: 1"));
    client.say(1, get("missing"));
    assert!(client.hear()[0].contains("NOT_FOUND - no queue 'missing' in vhost 'v'"));
    let mut guest = Client::open(&world);
    guest.say(1, QueueDeclare { passive: true, ..declare("q", &[]) });
    assert!(guest.hear()[0].contains("NOT_FOUND - no queue 'q' in vhost '/'"));
    for (vhost, text) in [
        ("/", "NOT_ALLOWED - access to vhost '/' refused for user 'ann'"),
        ("w", "NOT_ALLOWED - vhost w not found"),
    ] {
        let line = enter(&world, vhost).hear().pop().unwrap();
        assert!(line.contains("reply_code: 530") && line.contains(text), "{line}");
    }
}

#[test]
fn every_method_needs_its_permission() {
    let world = World::new(1);
    with_ann(&world, "^c", "^(w|amq.default$)", "^r");
    let mut owner = Client::new(&world);
    world.borrow_mut().let_in("guest", "v");
    owner.vhost = "v";
    owner.handshake("guest", "guest");
    owner.say(1, ChannelOpen);
    for queue in ["c", "w", "r"] {
        owner.say(1, declare(queue, &[]));
    }
    for name in ["wx", "rx", "cx"] {
        owner.say(1, exchange(name, "topic", &[]));
    }
    owner.hear();
    let mut client = enter(&world, "v");
    client.hear();
    let dead = FieldTable::new().with("x-dead-letter-exchange", "rx").to_bytes();
    let traced = FieldTable::new().with("x-trace-exchange", "rx").to_bytes();
    let peek = FieldTable::new().with("x-peek", true).to_bytes();
    let redrive = |to: &str| FieldTable::new().with("x-redrive", to).to_bytes();
    let (redrive_rx, redrive_wx) = (redrive("exchange:rx"), redrive("exchange:wx"));
    let consume_with = |queue, no_ack, arguments| BasicConsume {
        no_ack,
        arguments: TableRef::parse(arguments).unwrap(),
        ..consume(queue, "t")
    };
    let alternate = FieldTable::new().with("alternate-exchange", "wx").to_bytes();
    type Say<'a> = Box<dyn Fn(&mut Client) + 'a>;
    let delete = |queue: &'static str| -> Say<'_> {
        Box::new(move |c| {
            c.say(1, QueueDelete { queue: s(queue), if_unused: false, if_empty: false, no_wait: false })
        })
    };
    let publish = |exchange: &'static str| -> Say<'_> {
        Box::new(move |c| c.publish_with(1, exchange, "k", false, &OwnedProperties::default(), b""))
    };
    let refused: Vec<(&str, Say<'_>)> = vec![
        ("configure access to queue 'n'", Box::new(|c| c.say(1, declare("n", &[])))),
        ("configure access to queue 'w'", delete("w")),
        ("configure access to exchange 'n'", Box::new(|c| c.say(1, exchange("n", "fanout", &[])))),
        (
            "configure access to exchange 'rx'",
            Box::new(|c| c.say(1, ExchangeDelete { exchange: s("rx"), if_unused: false, no_wait: false })),
        ),
        ("read access to queue 'cn'", Box::new(|c| c.say(1, declare("cn", &dead)))),
        ("read access to queue 'cn'", Box::new(|c| c.say(1, declare("cn", &traced)))),
        ("read access to queue 'w'", Box::new(|c| c.say(1, consume_with("w", true, &peek)))),
        ("read access to queue 'w'", Box::new(|c| c.say(1, consume_with("w", false, &redrive_wx)))),
        ("write access to exchange 'rx'", Box::new(|c| c.say(1, consume_with("r", false, &redrive_rx)))),
        ("read access to exchange 'cn'", Box::new(|c| c.say(1, exchange("cn", "fanout", &alternate)))),
        ("write access to queue 'r'", Box::new(|c| c.say(1, bind("r", "rx", "k")))),
        ("read access to exchange 'wx'", Box::new(|c| c.say(1, bind("w", "wx", "k")))),
        ("write access to exchange 'rx'", publish("rx")),
        ("read access to queue 'w'", Box::new(|c| c.say(1, get("w")))),
        ("read access to queue 'w'", Box::new(|c| c.say(1, consume("w", "t")))),
        ("read access to queue 'w'", Box::new(|c| c.say(1, QueuePurge { queue: s("w"), no_wait: false }))),
    ];
    for (text, say) in refused {
        say(&mut client);
        let line = client.hear().pop().unwrap();
        let expected = format!("ACCESS_REFUSED - {text} in vhost 'v' refused for user 'ann'");
        assert!(line.contains("403") && line.contains(&expected), "{expected}: {line}");
        reopen(&mut client);
    }
    let allowed: Vec<Say<'_>> = vec![
        Box::new(|c| c.say(1, declare("c", &[]))),
        Box::new(|c| c.say(1, QueueDeclare { passive: true, ..declare("w", &[]) })),
        Box::new(|c| c.say(1, bind("w", "rx", "k"))),
        Box::new(|c| c.say(1, get("r"))),
        Box::new(|c| c.say(1, consume("r", "t"))),
        Box::new(|c| {
            c.say(1, BasicConsume { consumer_tag: s("u"), ..consume_with("r", false, &redrive_wx) })
        }),
        Box::new(|c| c.say(1, BasicConsume { consumer_tag: s("v"), ..consume_with("r", true, &peek) })),
        delete("c"),
    ];
    for say in allowed {
        say(&mut client);
        let line = client.hear().pop().unwrap();
        assert!(!line.contains("Close"), "{line}");
    }
    publish("wx")(&mut client);
    publish("")(&mut client);
    assert!(client.hear().is_empty());
}

#[test]
fn what_is_taken_away_counts_at_once() {
    let world = World::new(1);
    with_ann(&world, ".*", ".*", ".*");
    let mut client = enter(&world, "v");
    client.say(1, declare("q", &[]));
    client.publish(1, "", "q", b"x");
    client.hear();
    with_ann(&world, ".*", "^nothing$", ".*");
    client.publish(1, "", "q", b"x");
    let line = client.hear().pop().unwrap();
    assert!(
        line.contains("write access to exchange 'amq.default' in vhost 'v' refused for user 'ann'"),
        "{line}"
    );
}

#[test]
fn topics_are_permitted_by_routing_key() {
    let world = World::new(1);
    with_ann(&world, ".*", ".*", ".*");
    world.borrow_mut().apply(&Command::TopicPermissionPut(TopicPermissionSpec {
        user: "ann".to_string(),
        vhost: "v".to_string(),
        exchange: "amq.topic".to_string(),
        write: "^{username}\\.".to_string(),
        read: "^public\\.".to_string(),
    }));
    let mut client = enter(&world, "v");
    client.say(1, declare("q", &[]));
    client.say(1, bind("q", "amq.topic", "public.#"));
    client.publish(1, "amq.topic", "ann.news", b"x");
    client.publish(1, "amq.direct", "other", b"x");
    let lines = client.hear();
    assert!(lines.last().unwrap().contains("QueueBindOk"), "{lines:?}");
    client.publish(1, "amq.topic", "bob.news", b"x");
    let line = client.hear().pop().unwrap();
    assert!(
        line.contains(
            "write access to topic 'bob.news' in exchange 'amq.topic' in vhost 'v' refused for user 'ann'"
        ),
        "{line}"
    );
    reopen(&mut client);
    client.say(1, bind("q", "amq.topic", "secret.#"));
    let line = client.hear().pop().unwrap();
    assert!(line.contains("read access to topic 'secret.#' in exchange 'amq.topic'"), "{line}");
}
