//! What clients say and hear, on a whole broker without sockets.

use crate::world::*;
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{FieldTable, FieldValue, OwnedProperties, TableRef};
use bowline_front_amqp::Options;

#[test]
fn from_header_to_open() {
    let world = World::new(2);
    let mut client = Client::new(&world);
    client.handshake("guest", "guest");
    let lines = client.hear();
    assert!(lines[0].contains("ConnectionStart") && lines[0].contains("publisher_confirms"), "{lines:?}");
    assert_eq!(lines[1], "0 ConnectionTune { channel_max: 2047, frame_max: 131072, heartbeat: 60 }");
    assert_eq!(lines[2..], ["0 ConnectionOpenOk"]);
    client.say(1, ChannelOpen);
    client.say(1, QueueDeclare { passive: true, ..declare("missing", &[]) });
    let lines = client.hear();
    assert_eq!(
        lines,
        [
            "1 ChannelOpenOk",
            "1 ChannelClose { reply_code: 404, reply_text: \"NOT_FOUND - no queue 'missing' in vhost '/'\", class_id: 50, method_id: 10 }"
        ]
    );
    // The closed channel ignores what comes before close-ok; then its number is free.
    client.say(1, get("missing"));
    client.say(1, ChannelCloseOk);
    client.say(1, ChannelOpen);
    client.say(0, ConnectionClose { reply_code: 200, reply_text: s("bye"), class_id: 0, method_id: 0 });
    assert_eq!(client.hear(), ["1 ChannelOpenOk", "0 ConnectionCloseOk"]);
    assert!(client.session.is_over());
}

#[test]
fn refused_handshakes() {
    let world = World::new(1);
    let mut client = Client::new(&world);
    client.handshake("guest", "wrong");
    let last = client.hear().pop().unwrap();
    assert!(
        last.contains("reply_code: 403, reply_text: \"ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."),
        "{last}"
    );

    let mut client = Client::with(&world, Options::default(), false);
    client.handshake("guest", "guest");
    assert!(client.hear().pop().unwrap().contains("reply_code: 403"), "guest from elsewhere");

    world.borrow_mut().configure_user("ann", "pw");
    let mut client = Client::with(&world, Options::default(), false);
    client.handshake("ann", "pw");
    assert_eq!(client.hear().pop().unwrap(), "0 ConnectionOpenOk");

    for (frame_max, text) in [
        (2000, "negotiated frame_max = 2000 is lower than the minimum allowed value (4096)"),
        (200_000, "negotiated frame_max = 200000 is higher than the maximum allowed value (131072)"),
    ] {
        let mut client = Client::new(&world);
        client.frame_max = frame_max;
        client.handshake("guest", "guest");
        client.frame_max = 131_072;
        let last = client.hear().pop().unwrap();
        assert!(last.contains(text) && last.contains("reply_code: 530"), "{last}");
    }

    for greeting in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x00\x09\x02"] {
        let mut client = Client::new(&world);
        client.pending.extend_from_slice(greeting);
        assert_eq!(client.take_raw(), b"AMQP\x00\x00\x09\x01");
        assert!(client.session.is_over());
    }
}

#[test]
fn nobody_waits_for_replies() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    // A client may send all this at once, and every step must see the one before.
    client.say(1, QueueDeclare { no_wait: true, ..declare("q", &[]) });
    client.say(
        1,
        QueueBind {
            queue: s("q"),
            exchange: s("amq.topic"),
            routing_key: s("a.#"),
            no_wait: true,
            arguments: TableRef::EMPTY,
        },
    );
    client.publish(1, "amq.topic", "a.b", b"one");
    client.publish(1, "", "q", b"two");
    client.say(1, declare("q", &[]));
    client.say(1, get("q"));
    client.say(1, QueuePurge { queue: s("q"), no_wait: false });
    client.say(1, get(""));
    client.say(1, QueueDelete { queue: s("q"), if_unused: false, if_empty: false, no_wait: false });
    assert_eq!(
        client.hear(),
        [
            "1 QueueDeclareOk { queue: \"q\", message_count: 2, consumer_count: 0 }",
            "1 BasicGetOk { delivery_tag: 1, redelivered: false, exchange: \"amq.topic\", routing_key: \"a.b\", message_count: 1 } = one",
            "1 QueuePurgeOk { message_count: 1 }",
            "1 BasicGetEmpty",
            "1 QueueDeleteOk { message_count: 0 }",
        ]
    );
}

#[test]
fn confirms_and_returns() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.say(1, ConfirmSelect { no_wait: false });
    client.hear();
    client.publish(1, "", "q", b"1");
    client.publish(1, "", "q", b"2");
    client.publish(1, "", "q", b"3");
    assert_eq!(client.hear(), ["1 BasicAck { delivery_tag: 3, multiple: true }"]);
    client.publish(1, "", "nobody", b"4");
    assert_eq!(client.hear(), ["1 BasicAck { delivery_tag: 4, multiple: false }"]);
    let transient = OwnedProperties::default();
    client.publish_with(1, "amq.fanout", "", true, &transient, b"5");
    assert_eq!(
        client.hear(),
        [
            "1 BasicReturn { reply_code: 312, reply_text: \"NO_ROUTE\", exchange: \"amq.fanout\", routing_key: \"\" } = 5",
            "1 BasicAck { delivery_tag: 5, multiple: false }"
        ]
    );
    // Nothing durable is confirmed before it is; what is transient waits behind it, in order.
    world.borrow_mut().disk_works = false;
    client.publish(1, "", "q", b"6");
    client.publish_with(1, "", "q", false, &transient, b"7");
    assert!(client.hear().is_empty());
    world.borrow_mut().disk_works = true;
    assert_eq!(client.hear(), ["1 BasicAck { delivery_tag: 7, multiple: true }"]);
    client.publish(1, "missing", "q", b"");
    let line = client.hear().pop().unwrap();
    assert!(
        line.contains(
            "404, reply_text: \"NOT_FOUND - no exchange 'missing' in vhost '/'\", class_id: 60, method_id: 40"
        ),
        "{line}"
    );
}

#[test]
fn what_a_publish_may_not_say() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let refused = |client: &mut Client, properties: OwnedProperties| {
        client.publish_with(1, "", "q", false, &properties, b"x");
        let line = client.hear().pop().unwrap();
        client.say(1, ChannelCloseOk);
        client.say(1, ChannelOpen);
        client.hear();
        line
    };
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let line = refused(&mut client, OwnedProperties { expiration: text("soon"), ..Default::default() });
    assert!(line.contains("406") && line.contains("invalid expiration 'soon': no_integer"), "{line}");
    let line = refused(&mut client, OwnedProperties { user_id: text("root"), ..Default::default() });
    assert!(line.contains("user_id property set to 'root' but authenticated user was 'guest'"), "{line}");
    let headers = FieldTable::new().with("CC", "not an array");
    let line = refused(&mut client, OwnedProperties { headers: Some(headers), ..Default::default() });
    assert!(line.contains("406"), "{line}");
    client.say(1, BasicPublish { exchange: s(""), routing_key: s("q"), mandatory: false, immediate: true });
    let line = client.hear().pop().unwrap();
    assert!(line.contains("0 ConnectionClose { reply_code: 540"), "{line}");
}

#[test]
fn copies_go_by_their_own_keys() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    for queue in ["a", "b", "c"] {
        client.say(1, declare(queue, &[]));
    }
    client.hear();
    let keys = |keys: &[&str]| FieldValue::Array(keys.iter().map(|&key| key.into()).collect());
    let headers = FieldTable::new().with("CC", keys(&["b", "a"])).with("BCC", keys(&["c"])).with("n", 1i64);
    let properties = OwnedProperties { headers: Some(headers), ..Default::default() };
    client.publish_with(1, "", "a", false, &properties, b"x");
    for queue in ["a", "b", "c"] {
        client.say(1, get(queue));
        client.say(1, get(queue));
    }
    let lines = client.hear();
    assert_eq!(bodies(&lines), ["x", "x", "x"]);
    assert!(lines.iter().all(|line| !line.contains("BCC")), "{lines:?}");
    assert!(lines[0].contains("\"CC\""), "{lines:?}");

    // What comes back is what receivers would have seen.
    let headers = FieldTable::new().with("CC", keys(&["nobody"])).with("BCC", keys(&["nobody either"]));
    let properties = OwnedProperties { headers: Some(headers), ..Default::default() };
    client.publish_with(1, "", "none", true, &properties, b"back");
    let lines = client.hear();
    assert!(lines[0].contains("BasicReturn { reply_code: 312"), "{lines:?}");
    assert!(lines[0].contains("\"CC\"") && !lines[0].contains("BCC"), "{lines:?}");
}

/// The alternate exchange gets what none of a message's keys finds a place for.
#[test]
fn copies_and_the_alternate_exchange() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    let alternate = FieldTable::new().with("alternate-exchange", "amq.fanout").to_bytes();
    client.say(
        1,
        ExchangeDeclare {
            exchange: s("x"),
            exchange_type: s("direct"),
            passive: false,
            durable: false,
            auto_delete: false,
            internal: false,
            no_wait: false,
            arguments: TableRef::parse(&alternate).unwrap(),
        },
    );
    for (queue, exchange) in [("wanted", "x"), ("unwanted", "amq.fanout")] {
        client.say(1, declare(queue, &[]));
        let bind = QueueBind {
            queue: s(queue),
            exchange: s(exchange),
            routing_key: s("key"),
            no_wait: false,
            arguments: TableRef::EMPTY,
        };
        client.say(1, bind);
    }
    client.hear();
    for (cc, target) in
        [(vec!["key"], "wanted"), (vec!["key", "other"], "wanted"), (vec!["other"], "unwanted")]
    {
        let cc = FieldValue::Array(cc.into_iter().map(FieldValue::from).collect());
        client.publish_with(1, "x", "nobody's", true, &headers(FieldTable::new().with("CC", cc)), b"m");
        client.say(1, get("wanted"));
        client.say(1, get("unwanted"));
        let lines = client.hear();
        let (found, empty) = if target == "wanted" { (&lines[0], &lines[1]) } else { (&lines[1], &lines[0]) };
        assert!(found.contains("BasicGetOk") && empty.contains("BasicGetEmpty"), "{target}: {lines:?}");
    }
}

#[test]
fn consuming_and_settling() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.hear();
    for body in ["a", "b", "c", "d", "e"] {
        client.publish(1, "", "q", body.as_bytes());
    }
    client.say(1, qos(3, false));
    client.say(1, consume("q", "t"));
    let lines = client.hear();
    assert_eq!(lines[..2], ["1 BasicQosOk", "1 BasicConsumeOk { consumer_tag: \"t\" }"]);
    assert_eq!(bodies(&lines), ["a", "b", "c"]);
    client.say(1, ack(2, true));
    assert_eq!(bodies(&client.hear()), ["d", "e"]);
    client.say(1, nack(3, false, true));
    assert_eq!(bodies(&client.hear()), ["c*"]);
    client.say(1, BasicReject { delivery_tag: 4, requeue: false });
    client.say(1, BasicRecover { requeue: true });
    let lines = client.hear();
    assert_eq!(bodies(&lines), ["c*", "e*"]);
    assert_eq!(lines[0], "1 BasicRecoverOk");
    client.say(1, BasicCancel { consumer_tag: s("t"), no_wait: false });
    assert_eq!(client.hear(), ["1 BasicCancelOk { consumer_tag: \"t\" }"]);
    // What it got stays its own after the cancel, and can be acknowledged.
    client.say(1, ack(0, true));
    client.say(1, get("q"));
    client.say(1, ack(99, false));
    let lines = client.hear();
    assert_eq!(lines[0], "1 BasicGetEmpty");
    assert!(
        lines[1].contains("406, reply_text: \"PRECONDITION_FAILED - unknown delivery tag 99\""),
        "{lines:?}"
    );
}

#[test]
fn who_deletes_a_queue_is_answered_before_its_consumers_are_told() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.say(1, consume("q", "t"));
    client.hear();
    let delete = QueueDelete { queue: s("q"), if_unused: false, if_empty: false, no_wait: false };
    client.say(1, delete);
    let cancel = "1 BasicCancel { consumer_tag: \"t\", no_wait: true }";
    assert_eq!(client.hear(), ["1 QueueDeleteOk { message_count: 0 }", cancel]);
}

#[test]
fn one_acknowledgement_only() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.publish(1, "", "q", b"a");
    client.say(1, get("q"));
    client.say(1, ack(1, false));
    client.say(1, ack(1, false));
    let lines = client.hear();
    assert!(lines.last().unwrap().contains("unknown delivery tag 1"), "{lines:?}");
    // Closing a channel returns what it holds; another channel does not know its tags.
    client.say(1, ChannelCloseOk);
    client.say(2, ChannelOpen);
    client.publish(2, "", "q", b"b");
    client.say(2, get("q"));
    client.say(2, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
    assert_eq!(bodies(&client.hear()), ["b"]);
    client.say(3, ChannelOpen);
    client.say(3, get("q"));
    assert_eq!(bodies(&client.hear()), ["b*"]);
}

#[test]
fn a_prefetch_for_the_whole_channel() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.say(1, declare("r", &[]));
    for n in 0..6 {
        client.publish(1, "", ["q", "r"][n % 2], n.to_string().as_bytes());
    }
    client.say(1, qos(2, true));
    client.say(1, consume("q", "tq"));
    client.say(1, consume("r", "tr"));
    let lines = client.hear();
    assert_eq!(bodies(&lines).len(), 2, "{lines:?}");
    let mut seen = bodies(&lines);
    client.say(1, ack(1, false));
    seen.extend(bodies(&client.hear()));
    assert_eq!(seen.len(), 3);
    client.say(1, ack(0, true));
    seen.extend(bodies(&client.hear()));
    assert_eq!(seen.len(), 5);
    client.say(1, qos(0, true));
    seen.extend(bodies(&client.hear()));
    client.say(1, ack(0, true));
    seen.extend(bodies(&client.hear()));
    seen.sort();
    assert_eq!(seen, ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn the_channels_prefetch_can_be_raised_and_lifted() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    for n in 0..9 {
        client.publish(1, "", "q", n.to_string().as_bytes());
    }
    client.say(1, qos(1, true));
    client.say(1, consume("q", "t"));
    assert_eq!(bodies(&client.hear()), ["0"]);
    client.say(1, qos(3, true));
    assert_eq!(bodies(&client.hear()), ["1", "2"]);
    client.say(1, qos(2, true));
    client.say(1, ack(1, false));
    assert!(bodies(&client.hear()).is_empty(), "two are out");
    // As RabbitMQ has it: a word on consumers to come lifts what was said of the channel.
    client.say(1, qos(1, false));
    assert_eq!(bodies(&client.hear()), ["3", "4", "5", "6", "7", "8"]);
}

/// What the channel's prefetch held back was never delivered, whatever becomes of its consumer.
#[test]
fn what_was_held_back_was_not_delivered() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let mut other = Client::open(&world);
    for closes in [false, true] {
        for queue in ["q", "r"] {
            client.say(1, declare(queue, &[]));
            client.publish(1, "", queue, queue.as_bytes());
        }
        client.say(1, qos(1, true));
        client.say(1, consume("q", "tq"));
        client.say(1, consume("r", "tr"));
        assert_eq!(bodies(&client.hear()), ["q"]);
        if closes {
            client.say(1, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
        } else {
            client.say(1, BasicCancel { consumer_tag: s("tr"), no_wait: false });
        }
        client.hear();
        other.say(1, get("r"));
        assert_eq!(bodies(&other.hear()), ["r"], "not redelivered");
        other.say(1, nack(0, true, true));
        other.say(1, get("r"));
        assert_eq!(bodies(&other.hear()), ["r*"], "but now it is");
        other.say(1, ack(0, true));
        if closes {
            other.say(1, get("q"));
            assert_eq!(bodies(&other.hear()), ["q*"]);
        } else {
            client.say(1, ack(1, false));
            reopen_channel(&mut client);
        }
    }
}

fn reopen_channel(client: &mut Client) {
    client.say(1, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
    client.say(1, ChannelOpen);
    client.hear();
}

/// A partition of a super stream has a name for publishers, too.
#[test]
fn publishing_to_a_partition_by_name() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    let arguments = FieldTable::new().with("x-queue-type", "stream").with("x-partitions", 3i64).to_bytes();
    client.say(1, declare("s", &arguments));
    client.hear();
    for (name, times) in [("s-0", 1), ("s-2", 2), ("s", 3)] {
        for _ in 0..times {
            client.publish_with(1, "", name, true, &OwnedProperties::default(), b"m");
        }
    }
    let both = FieldValue::Array(vec!["s-1".into(), "s-1".into()]);
    client.publish_with(1, "", "s-0", true, &headers(FieldTable::new().with("CC", both)), b"m");
    assert!(client.hear().is_empty(), "nothing is returned");
    let mut counts = Vec::new();
    for name in ["s", "s-1"] {
        client.say(1, QueueDeclare { passive: true, ..declare(name, &[]) });
        counts.extend(client.hear());
    }
    assert!(counts[0].contains("message_count: 8"), "{counts:?}");
    // One of its own; what has a key goes where the key says.
    let one = counts[1].split("message_count: ").nth(1).unwrap();
    assert!(!one.starts_with('0'), "{counts:?}");
    for name in ["s-3", "s-00", "s-"] {
        client.publish_with(1, "", name, true, &OwnedProperties::default(), b"m");
        let lines = client.hear();
        assert!(lines[0].contains("BasicReturn { reply_code: 312"), "{name}: {lines:?}");
    }
}

#[test]
fn consumers_learn_that_their_queue_is_gone() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let mut other = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.say(1, consume("q", "t"));
    client.hear();
    other.say(1, QueueDelete { queue: s("q"), if_unused: false, if_empty: false, no_wait: false });
    assert_eq!(other.hear(), ["1 QueueDeleteOk { message_count: 0 }"]);
    assert_eq!(client.hear(), ["1 BasicCancel { consumer_tag: \"t\", no_wait: true }"]);
    client.say(1, consume("q", "t"));
    assert!(client.hear()[0].contains("404"));
}

#[test]
fn consumer_refusals() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let mut other = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.say(1, BasicConsume { exclusive: true, ..consume("q", "") });
    let lines = client.hear();
    assert!(lines[1].contains("BasicConsumeOk { consumer_tag: \"amq.ctag-"), "{lines:?}");
    other.say(1, consume("q", "t"));
    let lines = other.hear();
    assert!(
        lines[0].contains("403, reply_text: \"ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use\""),
        "{lines:?}"
    );
    client.say(1, declare("r", &[]));
    client.say(1, consume("r", "t"));
    client.say(1, consume("r", "t"));
    let lines = client.hear();
    assert!(lines[2].contains("0 ConnectionClose { reply_code: 530, reply_text: \"NOT_ALLOWED - attempt to reuse consumer tag 't'\""), "{lines:?}");
}

#[test]
fn an_alarm_blocks_publishers_and_nobody_else() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.publish(1, "", "q", b"a");
    client.publish(1, "", "q", b"b");
    client.hear();
    client.say(2, ChannelOpen);
    client.say(2, qos(1, false));
    client.say(2, consume("q", "t"));
    assert_eq!(bodies(&client.hear()), ["a"]);
    world.borrow_mut().alarm(Some("low on disk"));
    client.run();
    client.say(1, ConfirmSelect { no_wait: false });
    client.publish(1, "", "q", b"c");
    client.publish(1, "", "q", b"d");
    client.say(2, ack(1, false));
    let lines = client.hear();
    assert_eq!(lines[..2], ["1 ConfirmSelectOk", "0 ConnectionBlocked { reason: \"low on disk\" }"]);
    assert_eq!(bodies(&lines), ["b"], "acknowledgements are heard while publishing is blocked");
    world.borrow_mut().alarm(None);
    client.say(2, ack(2, false));
    let lines = client.hear();
    assert_eq!(lines[0], "0 ConnectionUnblocked");
    assert!(lines.contains(&"1 BasicAck { delivery_tag: 2, multiple: true }".to_string()), "{lines:?}");
    assert_eq!(bodies(&lines), ["c"]);
}

#[test]
fn an_unconfirmed_flood_stops_the_reading() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.hear();
    world.borrow_mut().disk_works = false;
    let body = vec![b'x'; 100_000];
    for _ in 0..200 {
        client.publish(1, "", "q", &body);
        client.chunk = 256 * 1024;
        client.run();
    }
    assert!(!client.session.wants_input());
    assert!(client.pending.len() > 10_000_000, "{}", client.pending.len());
    world.borrow_mut().disk_works = true;
    client.say(1, declare("q", &[]));
    let lines = client.hear();
    assert_eq!(lines, ["1 QueueDeclareOk { queue: \"q\", message_count: 200, consumer_count: 0 }"]);
}

#[test]
fn large_bodies_in_small_frames() {
    let world = World::new(1);
    let mut client = Client::new(&world);
    client.frame_max = 4096;
    client.handshake("guest", "guest");
    client.say(1, ChannelOpen);
    client.say(1, declare("q", &[]));
    client.hear();
    for size in [0, 1, 4087, 4088, 4089, 100_000] {
        let body: Vec<u8> = (0..size).map(|at| b'a' + (at % 26) as u8).collect();
        client.publish(1, "", "q", &body);
        client.say(1, BasicGet { queue: s("q"), no_ack: true });
        let lines = client.hear();
        assert_eq!(bodies(&lines), [String::from_utf8(body).unwrap()], "{size}");
    }
}

#[test]
fn message_size_is_bounded() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let big = vec![0; 1000];
    client.publish(1, "", "q", &big);
    assert!(client.hear().is_empty());
    let mut client = Client::with(&world, Options { message_bytes_max: 999, ..Options::default() }, true);
    client.handshake("guest", "guest");
    client.say(1, ChannelOpen);
    client.hear();
    client.publish(1, "", "q", &big);
    let line = client.hear().pop().unwrap();
    assert!(line.contains("406, reply_text: \"PRECONDITION_FAILED - message size 1000 is larger than configured max size 999\""), "{line}");
}

#[test]
fn gets_on_many_channels_take_turns() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    for n in 0..50 {
        client.publish(1, "", "q", n.to_string().as_bytes());
    }
    client.hear();
    for channel in 2..52 {
        client.say(channel, ChannelOpen);
        client.say(channel, get("q"));
        client.say(channel, ack(1, false));
    }
    client.say(3, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
    let lines = client.hear();
    assert_eq!(bodies(&lines).len(), 50);
    client.say(1, get("q"));
    assert_eq!(client.hear(), ["1 BasicGetEmpty"]);
}

#[test]
fn streams() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    let arguments = FieldTable::new().with("x-queue-type", "stream").to_bytes();
    client.say(1, declare("s", &arguments));
    client.say(1, ConfirmSelect { no_wait: false });
    for body in ["a", "b", "c"] {
        client.publish(1, "", "s", body.as_bytes());
    }
    client.say(1, declare("s", &arguments));
    let lines = client.hear();
    assert_eq!(lines[0], "1 QueueDeclareOk { queue: \"s\", message_count: 0, consumer_count: 0 }");
    assert_eq!(lines[2], "1 BasicAck { delivery_tag: 3, multiple: true }");
    assert_eq!(lines[3], "1 QueueDeclareOk { queue: \"s\", message_count: 3, consumer_count: 0 }");

    client.say(2, ChannelOpen);
    client.say(2, consume("s", "t"));
    let lines = client.hear();
    assert!(
        lines[1].contains(
            "406, reply_text: \"PRECONDITION_FAILED - consumer prefetch count is not set for stream"
        ),
        "{lines:?}"
    );
    client.say(2, ChannelCloseOk);
    client.say(2, ChannelOpen);
    client.say(2, qos(2, false));
    let first = FieldTable::new().with("x-stream-offset", "first").to_bytes();
    client.say(2, BasicConsume { arguments: TableRef::parse(&first).unwrap(), ..consume("s", "t") });
    let lines = client.hear();
    assert_eq!(lines[2], "2 BasicConsumeOk { consumer_tag: \"t\" }");
    assert!(lines[3].contains("{\"x-stream-offset\": I64(0)} = a"), "{lines:?}");
    assert_eq!(bodies(&lines), ["a", "b"]);
    client.say(2, ack(1, false));
    assert_eq!(bodies(&client.hear()), ["c"]);
    client.say(2, ack(0, true));
    assert!(client.hear().is_empty());
    client.publish(1, "", "s", b"d");
    assert_eq!(bodies(&client.hear()), ["d"]);
    client.say(2, BasicCancel { consumer_tag: s("t"), no_wait: false });
    client.say(2, ack(0, true));
    client.publish(1, "", "s", b"e");
    let lines = client.hear();
    assert_eq!(bodies(&lines), Vec::<String>::new(), "{lines:?}");

    for (start, expected) in [
        (FieldValue::I64(3), vec!["d", "e"]),
        (FieldValue::from("last"), vec!["e"]),
        (FieldValue::from("next"), vec![]),
        (FieldValue::from("1h"), vec!["a", "b", "c", "d", "e"]),
        (FieldValue::I64(1000), vec![]),
    ] {
        let argument = FieldTable::new().with("x-stream-offset", start.clone()).to_bytes();
        client.say(3, ChannelOpen);
        client.say(3, qos(100, false));
        client.say(3, BasicConsume { arguments: TableRef::parse(&argument).unwrap(), ..consume("s", "") });
        assert_eq!(bodies(&client.hear()), expected, "{start:?}");
        client.say(3, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
        client.hear();
    }
    client.say(1, get("s"));
    let line = client.hear().pop().unwrap();
    assert!(line.contains("0 ConnectionClose { reply_code: 540"), "{line}");
}

#[test]
fn exclusive_queues_are_gone_at_close_ok() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    let mut other = Client::open(&world);
    client.say(1, QueueDeclare { exclusive: true, ..declare("", &[]) });
    let line = client.hear().pop().unwrap();
    let name = line.split('"').nth(1).unwrap().to_string();
    assert!(name.starts_with("amq.gen-") && name.len() == 30, "{line}");
    other.say(1, get(&name));
    let line = other.hear().pop().unwrap();
    assert!(line.contains("405, reply_text: \"RESOURCE_LOCKED - cannot obtain exclusive access"), "{line}");
    client.say(0, ConnectionClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
    assert_eq!(client.hear(), ["0 ConnectionCloseOk"]);
    other.say(1, ChannelCloseOk);
    other.say(1, ChannelOpen);
    other.say(1, get(&name));
    let line = other.hear().pop().unwrap();
    assert!(line.contains("404"), "{line}");
}

#[test]
fn heartbeats_and_silence() {
    let world = World::new(1);
    assert_eq!(Client::open(&world).session.deadline_ms(), None);
    let mut client = Client::new(&world);
    client.pending.extend_from_slice(b"AMQP\0\0\x09\x01");
    client.hear();
    world.borrow_mut().now.elapsed_ms += 10_000;
    client.on_time();
    assert!(client.session.is_over(), "the handshake is bounded");

    let mut client = Client::new(&world);
    client.pending.extend_from_slice(b"AMQP\0\0\x09\x01");
    client.say(
        0,
        ConnectionStartOk {
            client_properties: TableRef::EMPTY,
            mechanism: s("PLAIN"),
            response: b"\0guest\0guest",
            locale: s(""),
        },
    );
    client.say(0, ConnectionTuneOk { channel_max: 10, frame_max: 8192, heartbeat: 4 });
    client.say(0, ConnectionOpen { virtual_host: s("/") });
    client.hear();
    let start = world.borrow().now.elapsed_ms;
    assert_eq!(client.session.deadline_ms(), Some(start + 2000));
    for seconds in [2, 4, 6, 8] {
        world.borrow_mut().now.elapsed_ms = start + seconds * 1000;
        client.on_time();
        assert_eq!(client.hear(), ["heartbeat"]);
        assert!(!client.session.is_over());
    }
    client.pending.extend_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0xCE]);
    client.run();
    world.borrow_mut().now.elapsed_ms = start + 17_900;
    client.on_time();
    assert!(!client.session.is_over());
    world.borrow_mut().now.elapsed_ms = start + 18_000;
    client.on_time();
    assert!(client.session.is_over());
}

#[test]
fn wrong_turns() {
    type Wrong = fn(&mut Client);
    let cases: [(&str, Wrong); 8] = [
        ("504, reply_text: \"CHANNEL_ERROR - expected 'channel.open'\"", |c| c.say(7, get("q"))),
        ("504, reply_text: \"CHANNEL_ERROR - second 'channel.open' seen\"", |c| c.say(1, ChannelOpen)),
        ("530, reply_text: \"NOT_ALLOWED - number of channels opened (3000)", |c| c.say(3000, ChannelOpen)),
        ("503, reply_text: \"COMMAND_INVALID", |c| c.say(1, BasicQosOk)),
        ("540, reply_text: \"NOT_IMPLEMENTED - active=false", |c| c.say(1, ChannelFlow { active: false })),
        ("505, reply_text: \"UNEXPECTED_FRAME", |c| {
            c.pending.extend_from_slice(&[3, 0, 1, 0, 0, 0, 1, 9, 0xCE])
        }),
        ("501, reply_text: \"FRAME_ERROR", |c| c.pending.extend_from_slice(&[1, 0, 1, 0, 0, 0, 1, 9, 9])),
        ("502, reply_text: \"SYNTAX_ERROR", |c| {
            c.pending.extend_from_slice(&[1, 0, 1, 0, 0, 0, 4, 0, 60, 0, 40, 0xCE])
        }),
    ];
    for (expected, wrong) in cases {
        let world = World::new(1);
        let mut client = Client::open(&world);
        wrong(&mut client);
        let lines = client.hear();
        assert!(lines.len() == 1 && lines[0].contains(expected), "{expected}: {lines:?}");
        assert!(lines[0].starts_with("0 ConnectionClose"), "{lines:?}");
        assert!(!client.session.is_over());
        client.say(0, ConnectionCloseOk);
        client.run();
        if !client.session.is_over() {
            // After a frame error nothing can be understood any more; the connection ends by time.
            assert!(expected.contains("FRAME_ERROR"));
            world.borrow_mut().now.elapsed_ms += 3000;
            client.on_time();
        }
        assert!(client.session.is_over());
    }
}
