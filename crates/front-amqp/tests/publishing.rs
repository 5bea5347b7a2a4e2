//! What publishes carry for their queues: extras, checks, copies.

use crate::world::*;
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{FieldTable, FieldValue, OwnedProperties};
use bowline_model::extras::Extras;
use bowline_model::settings::{Overflow, QueueSettings};

#[test]
fn properties_and_headers_become_extras_and_stay_what_they_are() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.hear();
    let of = |client: &mut Client, properties: OwnedProperties, body: &[u8]| {
        client.publish_with(1, "", "q", false, &properties, body);
        client.run();
        world.borrow().published().pop().unwrap()
    };
    let durable = || OwnedProperties { delivery_mode: Some(2), ..Default::default() };
    let plain = of(&mut client, OwnedProperties { message_id: Some(b"m".to_vec()), ..durable() }, b"x");
    assert_eq!(plain, Extras::default());
    let properties = OwnedProperties { priority: Some(7), expiration: Some(b"1000".to_vec()), ..durable() };
    let expected = Extras { priority: Some(7), ttl_ms: Some(1000), ..Extras::default() };
    assert_eq!(of(&mut client, properties.clone(), b"x"), expected);
    // A large message, whose record is begun before its body has come, is no different.
    assert_eq!(of(&mut client, properties, &[b'y'; 400_000]), expected);
    let delayed = of(&mut client, headers(FieldTable::new().with("x-delay", FieldValue::I16(500))), b"x");
    assert_eq!(delayed, Extras { delay_ms: Some(500), ..Extras::default() });
    let at = FieldTable::new().with("x-deliver-at", FieldValue::Timestamp(1_700_000_100));
    assert_eq!(
        of(&mut client, headers(at), b"x"),
        Extras { deliver_at: Some(1_700_000_100_000), ..Extras::default() }
    );
    let ignored = FieldTable::new().with("x-delay", FieldValue::I32(-1)).with("n", 1i64);
    assert_eq!(of(&mut client, headers(ignored), b"x"), Extras::default());
}

#[test]
fn a_queue_that_refuses_nacks_one_message_alone() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("plain", &[]));
    client.say(1, declare("full", &[]));
    client.say(1, ConfirmSelect { no_wait: false });
    client.hear();
    let settings =
        QueueSettings { overflow: Overflow::RejectPublish, max_length: Some(2), ..QueueSettings::default() };
    world.borrow_mut().configure_queue("full", settings);
    for queue in ["plain", "full", "full", "full", "plain"] {
        client.publish(1, "", queue, b"x");
    }
    let lines = client.hear();
    let nacks: Vec<_> = lines.iter().filter(|line| line.contains("Nack")).collect();
    assert_eq!(nacks, ["1 BasicNack { delivery_tag: 4, multiple: false, requeue: false }"], "{lines:?}");
    let acked = lines.iter().rfind(|line| line.contains("BasicAck")).unwrap();
    assert!(acked.contains("delivery_tag: 5"), "{lines:?}");
    for (queue, count) in [("plain", 2), ("full", 2)] {
        client.say(1, QueueDeclare { passive: true, ..declare(queue, &[]) });
        assert!(client.hear()[0].contains(&format!("message_count: {count},")));
    }
}

#[test]
fn a_single_active_consumer_is_all_there_is() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.hear();
    let settings = QueueSettings { single_active_consumer: true, ..QueueSettings::default() };
    world.borrow_mut().configure_queue("q", settings);
    client.say(1, get("q"));
    let line = client.hear().pop().unwrap();
    assert!(
        line.contains("405, reply_text: \"RESOURCE_LOCKED - cannot obtain access to queue 'q' in vhost '/'. basic.get operations are not supported by classic queues with single active consumer\""),
        "{line}"
    );
    reopen(&mut client);
    client.say(1, BasicConsume { exclusive: true, ..consume("q", "t") });
    let line = client.hear().pop().unwrap();
    assert!(line.contains("403, reply_text: \"ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use\""));
}

#[test]
fn failures_are_counted_and_told_where_the_queue_counts() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let quorum = FieldTable::new().with("x-queue-type", "quorum").to_bytes();
    client.say(1, declare("q", &quorum));
    client.hear();
    let claimed = FieldTable::new().with("x-delivery-count", 99i64).with("n", 1i64);
    client.publish_with(1, "", "q", false, &headers(claimed), b"x");
    client.say(1, get("q"));
    let line = client.hear().pop().unwrap();
    assert!(line.contains("redelivered: false"), "{line}");
    client.say(1, BasicReject { delivery_tag: 1, requeue: true });
    client.say(1, get("q"));
    let line = client.hear().pop().unwrap();
    assert!(
        line.ends_with("{\"n\": I64(1), \"x-acquired-count\": I64(1), \"x-delivery-count\": I64(1)} = x"),
        "{line}"
    );
    client.say(1, nack(2, false, true));
    client.say(1, get("q"));
    let line = client.hear().pop().unwrap();
    assert!(line.contains("\"x-acquired-count\": I64(2), \"x-delivery-count\": I64(1)"), "{line}");
}

#[test]
fn consumer_arguments_are_checked() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.hear();
    for (name, value) in [
        ("x-priority", FieldValue::from("high")),
        ("x-consumer-timeout", FieldValue::I32(0)),
        ("x-retry-delay", FieldValue::I32(-1)),
    ] {
        let bad = FieldTable::new().with(name, value).to_bytes();
        let arguments = bowline_codec_amqp::TableRef::parse(&bad).unwrap();
        client.say(1, BasicConsume { arguments, ..consume("q", "t") });
        let line = client.hear().pop().unwrap();
        assert!(line.contains("406") && line.contains(name), "{line}");
        reopen(&mut client);
    }
}

#[test]
fn stream_filters_are_exact() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let stream = FieldTable::new().with("x-queue-type", "stream").to_bytes();
    client.say(1, declare("s", &stream));
    client.say(1, qos(100, false));
    client.hear();
    for value in ["red", "blue", "green", "red"] {
        let properties = headers(FieldTable::new().with("x-stream-filter-value", value));
        client.publish_with(1, "", "s", false, &properties, value.as_bytes());
    }
    client.publish(1, "", "s", b"none");
    let array = FieldValue::Array(vec!["red".into(), "green".into()]);
    for (filter, unfiltered, expected) in [
        (FieldValue::from("red"), false, vec!["red", "red"]),
        (array, false, vec!["red", "green", "red"]),
        ("blue".into(), true, vec!["blue", "none"]),
        ("violet".into(), false, vec![]),
    ] {
        let arguments = FieldTable::new()
            .with("x-stream-offset", "first")
            .with("x-stream-filter", filter)
            .with("x-stream-match-unfiltered", unfiltered)
            .to_bytes();
        let arguments = bowline_codec_amqp::TableRef::parse(&arguments).unwrap();
        client.say(1, BasicConsume { arguments, ..consume("s", "t") });
        client.say(1, BasicCancel { consumer_tag: s("t"), no_wait: false });
        client.hear();
        client.say(1, BasicConsume { arguments, ..consume("s", "t") });
        let lines = client.hear();
        let bodies: Vec<_> = lines.iter().filter_map(|line| line.split(" = ").nth(1)).collect();
        assert_eq!(bodies, expected, "{lines:?}");
        client.say(1, BasicCancel { consumer_tag: s("t"), no_wait: false });
        client.hear();
    }
    let bad = FieldTable::new().with("x-stream-filter", 1i64).to_bytes();
    let arguments = bowline_codec_amqp::TableRef::parse(&bad).unwrap();
    client.say(1, BasicConsume { arguments, ..consume("s", "t") });
    assert!(client.hear()[0].contains("406"));
}

#[test]
fn a_stream_of_several_partitions_and_each_of_them() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    let stream = FieldTable::new().with("x-queue-type", "stream").with("x-partitions", 3i64).to_bytes();
    client.say(1, declare("s", &stream));
    client.say(1, declare("s", &stream));
    client.say(1, qos(100, false));
    let lines = client.hear();
    assert!(lines.len() == 3 && lines[1].contains("QueueDeclareOk"), "{lines:?}");
    client.say(
        1,
        QueueBind {
            queue: s("s"),
            exchange: s("amq.topic"),
            routing_key: s("#"),
            no_wait: false,
            arguments: bowline_codec_amqp::TableRef::EMPTY,
        },
    );
    client.hear();
    for n in 0..30 {
        let key = format!("key{n}");
        client.publish(1, "amq.topic", &key, b"x");
    }
    assert!(client.hear().is_empty());
    let mut total = 0;
    for name in ["s-0", "s-1", "s-2"] {
        client.say(1, QueueDeclare { passive: true, ..declare(name, &[]) });
        let line = client.hear().pop().unwrap();
        let count: usize =
            line.split("message_count: ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        let first = FieldTable::new().with("x-stream-offset", "first").to_bytes();
        let arguments = bowline_codec_amqp::TableRef::parse(&first).unwrap();
        client.say(1, BasicConsume { arguments, ..consume(name, name) });
        let delivered = client.hear().iter().filter(|line| line.contains("BasicDeliver")).count();
        assert_eq!(delivered, count, "{name}");
        assert!(count > 0, "the keys are spread");
        total += count;
    }
    assert_eq!(total, 30);
    for name in ["s-3", "s-00", "s-", "t-0"] {
        client.say(1, QueueDeclare { passive: true, ..declare(name, &[]) });
        assert!(client.hear()[0].contains("404"), "{name}");
        reopen(&mut client);
    }
    for partitions in [FieldValue::I32(2), FieldValue::I32(0), "three".into()] {
        let stream =
            FieldTable::new().with("x-queue-type", "stream").with("x-partitions", partitions).to_bytes();
        client.say(1, declare("s", &stream));
        let lines = client.hear();
        assert!(lines[0].contains("406") && lines[0].contains("x-partitions"), "{lines:?}");
        reopen(&mut client);
    }
}
