//! Consumers that share a stream by `x-group`.

use crate::world::*;
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{FieldTable, FieldValue, TableRef};

/// A stream with `partitions`, and a client on it.
fn stream(world: &Shared, partitions: i64) -> Client {
    let mut client = Client::open(world);
    let arguments =
        FieldTable::new().with("x-queue-type", "stream").with("x-partitions", partitions).to_bytes();
    client.say(1, declare("s", &arguments));
    assert!(client.hear()[0].contains("QueueDeclareOk"));
    client
}

/// A client that consumes in group `group` from the beginning, one record at a time for each credit.
fn member(world: &Shared, group: &str, prefetch: u16) -> Client {
    let mut client = Client::open(world);
    join(&mut client, group, prefetch, &[("x-stream-offset", "first".into())]);
    client
}

fn join(client: &mut Client, group: &str, prefetch: u16, more: &[(&str, FieldValue)]) {
    let mut arguments = FieldTable::new().with("x-group", group);
    for (name, value) in more {
        arguments.push(name, value.clone());
    }
    let arguments = arguments.to_bytes();
    client.say(1, qos(prefetch, false));
    client.say(1, BasicConsume { arguments: TableRef::parse(&arguments).unwrap(), ..consume("s", "t") });
}

fn publish(client: &mut Client, bodies: &[&str]) {
    for body in bodies {
        client.publish(1, "", "s", body.as_bytes());
    }
    client.hear();
}

fn nack(delivery_tag: u64, multiple: bool, requeue: bool) -> BasicNack {
    BasicNack { delivery_tag, multiple, requeue }
}

#[test]
fn each_record_goes_to_one_of_the_group_and_to_every_group() {
    let world = World::new(2);
    let mut publisher = stream(&world, 1);
    let mut a = member(&world, "g", 2);
    let mut b = member(&world, "g", 2);
    let mut other = member(&world, "h", 100);
    for client in [&mut a, &mut b, &mut other] {
        assert!(client.hear()[1].contains("BasicConsumeOk"));
    }
    publish(&mut publisher, &["0", "1", "2", "3", "4", "5"]);
    let (of_a, of_b) = (bodies(&a.hear()), bodies(&b.hear()));
    assert_eq!((of_a.len(), of_b.len()), (2, 2), "as many as they have credit for: {of_a:?} {of_b:?}");
    assert_eq!(bodies(&other.hear()), ["0", "1", "2", "3", "4", "5"]);
    a.say(1, ack(0, true));
    let more = bodies(&a.hear());
    assert_eq!(more, ["4", "5"]);
    let mut all = [of_a, of_b, more].concat();
    all.sort();
    assert_eq!(all, ["0", "1", "2", "3", "4", "5"]);
    // An ordinary reader sees everything, whatever groups do.
    publisher.say(1, qos(100, false));
    let first = FieldTable::new().with("x-stream-offset", "first").to_bytes();
    publisher.say(1, BasicConsume { arguments: TableRef::parse(&first).unwrap(), ..consume("s", "r") });
    assert_eq!(bodies(&publisher.hear()).len(), 6);
}

#[test]
fn what_comes_back_is_flagged_and_counted() {
    let world = World::new(1);
    let mut publisher = stream(&world, 1);
    publish(&mut publisher, &["0", "1", "2"]);
    let mut a = member(&world, "g", 3);
    assert_eq!(bodies(&a.hear()), ["0", "1", "2"]);
    a.say(1, nack(1, false, true));
    let lines = a.hear();
    assert_eq!(bodies(&lines), ["0*"]);
    assert!(lines.iter().any(|line| line.contains("\"x-delivery-count\": I64(1)")), "{lines:?}");
    a.say(1, BasicReject { delivery_tag: 4, requeue: true });
    let lines = a.hear();
    assert!(lines.iter().any(|line| line.contains("\"x-delivery-count\": I64(2)")), "{lines:?}");
    // Out of the group for good.
    a.say(1, BasicReject { delivery_tag: 5, requeue: false });
    a.say(1, ack(2, false));
    assert!(a.hear().is_empty());
    // What an ended channel held goes to the next.
    let mut b = member(&world, "g", 3);
    b.hear();
    a.say(1, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
    a.hear();
    assert_eq!(bodies(&b.hear()), ["2*"]);
    b.say(1, ack(0, true));
    publish(&mut publisher, &["3"]);
    assert_eq!(bodies(&b.hear()), ["3"]);
}

#[test]
fn too_many_returns_archive() {
    let world = World::new(1);
    let mut publisher = stream(&world, 1);
    let mut a = Client::open(&world);
    join(&mut a, "g", 1, &[("x-delivery-limit", FieldValue::I64(1))]);
    a.hear();
    publish(&mut publisher, &["0", "1"]);
    assert_eq!(bodies(&a.hear()), ["0"]);
    a.say(1, nack(1, false, true));
    assert_eq!(bodies(&a.hear()), ["0*"]);
    a.say(1, nack(2, false, true));
    assert_eq!(bodies(&a.hear()), ["1"], "twice is more than once");
}

#[test]
fn what_is_given_back_waits_if_its_consumer_says_so() {
    let world = World::new(1);
    let mut publisher = stream(&world, 1);
    publish(&mut publisher, &["0", "1"]);
    let mut a = Client::open(&world);
    let start = ("x-stream-offset", FieldValue::from("first"));
    join(&mut a, "g", 1, &[start, ("x-retry-delay", FieldValue::I64(5000))]);
    assert_eq!(bodies(&a.hear()), ["0"]);
    a.say(1, nack(1, false, true));
    assert_eq!(bodies(&a.hear()), ["1"]);
    a.say(1, ack(2, false));
    world.borrow_mut().pass(4900);
    assert!(a.hear().is_empty());
    world.borrow_mut().pass(200);
    assert_eq!(bodies(&a.hear()), ["0*"]);
}

#[test]
fn a_cancelled_consumer_keeps_what_it_was_given() {
    let world = World::new(2);
    let mut publisher = stream(&world, 1);
    publish(&mut publisher, &["0", "1"]);
    let mut a = member(&world, "g", 1);
    assert_eq!(bodies(&a.hear()), ["0"]);
    let mut b = member(&world, "g", 5);
    assert_eq!(bodies(&b.hear()), ["1"]);
    a.say(1, BasicCancel { consumer_tag: s("t"), no_wait: false });
    assert!(a.hear()[0].contains("BasicCancelOk"));
    publish(&mut publisher, &["2"]);
    assert_eq!(bodies(&b.hear()), ["2"]);
    a.say(1, nack(1, false, true));
    assert!(a.hear().is_empty());
    assert_eq!(bodies(&b.hear()), ["0*"]);
    // The same consumer tag may be used again.
    join(&mut a, "g", 1, &[]);
    assert!(a.hear()[1].contains("BasicConsumeOk"));
}

#[test]
fn several_partitions_on_several_shards() {
    let world = World::new(2);
    let mut publisher = stream(&world, 3);
    let (mut a, mut b) = (member(&world, "g", 1), member(&world, "g", 10));
    a.hear();
    b.hear();
    publisher.say(
        1,
        QueueBind {
            queue: s("s"),
            exchange: s("amq.topic"),
            routing_key: s("#"),
            no_wait: false,
            arguments: TableRef::EMPTY,
        },
    );
    for n in 0..60 {
        publisher.publish(1, "amq.topic", &format!("key{n}"), format!("{n:02}").as_bytes());
        if n % 7 == 0 {
            publisher.hear();
        }
    }
    publisher.hear();
    let mut got: Vec<String> = Vec::new();
    let mut by_a = 0;
    for _ in 0..70 {
        let new = bodies(&a.hear());
        assert!(new.len() <= 1, "one at a time: {new:?}");
        by_a += new.len();
        got.extend(new);
        let new = bodies(&b.hear());
        assert!(new.len() <= 10, "{new:?}");
        got.extend(new);
        for client in [&mut a, &mut b] {
            client.say(1, ack(0, true));
        }
    }
    got.sort();
    assert_eq!(got, (0..60).map(|n| format!("{n:02}")).collect::<Vec<_>>());
    assert!(by_a > 0);
}

#[test]
fn where_a_new_group_begins() {
    let world = World::new(2);
    let mut publisher = stream(&world, 1);
    publish(&mut publisher, &["0", "1"]);
    publish(&mut publisher, &["2", "3"]);
    let cases = [
        (FieldValue::from("first"), vec!["0", "1", "2", "3"]),
        (FieldValue::from("last"), vec!["3"]),
        (FieldValue::from("next"), vec![]),
        (FieldValue::from("1h"), vec!["0", "1", "2", "3"]),
        (FieldValue::I64(2), vec!["2", "3"]),
        (FieldValue::I64(1000), vec![]),
    ];
    for (at, (start, expected)) in cases.into_iter().enumerate() {
        let group = format!("g{at}");
        let mut client = Client::open(&world);
        join(&mut client, &group, 10, &[("x-stream-offset", start.clone())]);
        assert_eq!(bodies(&client.hear()), expected, "{start:?}");
        client.say(1, ack(0, true));
        client.hear();
        // Where it begins counts for a new group only.
        let mut client = member(&world, &group, 10);
        assert_eq!(bodies(&client.hear()), Vec::<String>::new(), "{start:?}");
    }
}

#[test]
fn a_transaction_settles_with_its_commit() {
    let world = World::new(1);
    let mut publisher = stream(&world, 1);
    publish(&mut publisher, &["0", "1"]);
    let mut a = Client::open(&world);
    a.say(1, TxSelect);
    join(&mut a, "g", 2, &[("x-stream-offset", "first".into())]);
    assert_eq!(bodies(&a.hear()), ["0", "1"]);
    a.say(1, ack(1, false));
    a.say(1, TxCommit);
    a.say(1, ack(2, false));
    a.say(1, TxRollback);
    a.hear();
    a.say(1, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
    a.hear();
    assert_eq!(bodies(&member(&world, "g", 2).hear()), ["1*"]);
}

#[test]
fn the_end_of_the_stream_cancels() {
    let world = World::new(2);
    let mut publisher = stream(&world, 3);
    let mut a = member(&world, "g", 5);
    a.hear();
    publisher.say(1, QueueDelete { queue: s("s"), if_unused: false, if_empty: false, no_wait: false });
    publisher.hear();
    let lines = a.hear();
    assert!(lines.len() == 1 && lines[0].contains("BasicCancel { consumer_tag: \"t\""), "{lines:?}");
}

#[test]
fn a_record_that_is_held_for_too_long_cancels_its_holder() {
    let world = World::new(1);
    let mut publisher = stream(&world, 1);
    publish(&mut publisher, &["0"]);
    let mut a = Client::open(&world);
    let start = ("x-stream-offset", FieldValue::from("first"));
    join(&mut a, "g", 1, &[start, ("x-consumer-timeout", FieldValue::I64(1000))]);
    assert_eq!(bodies(&a.hear()), ["0"]);
    let mut b = member(&world, "g", 1);
    assert!(bodies(&b.hear()).is_empty());
    world.borrow_mut().pass(900);
    assert!(a.hear().is_empty());
    world.borrow_mut().pass(300);
    assert!(a.hear()[0].contains("BasicCancel"));
    assert_eq!(bodies(&b.hear()), ["0*"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let world = World::new(1);
    let refusals: [(&[(&str, FieldValue)], &str); 6] = [
        (&[("x-group", "".into())], "x-group is not a string of 1 to 255 octets"),
        (&[("x-group", 7i64.into())], "x-group is not a string of 1 to 255 octets"),
        (&[("x-delivery-limit", "many".into())], "x-delivery-limit is not a non-negative integer"),
        (&[("x-stream-filter", "f".into())], "NOT_IMPLEMENTED - x-stream-filter of a consumer with x-group"),
        (&[("x-priority", 1i64.into())], "NOT_IMPLEMENTED - x-priority of a consumer with x-group"),
        (
            &[("x-dead-letter-routing-key", "e".into())],
            "x-dead-letter-routing-key without x-dead-letter-exchange",
        ),
    ];
    for (arguments, expected) in refusals {
        let mut client = stream(&world, 1);
        let mut table = FieldTable::new();
        if arguments[0].0 != "x-group" {
            table.push("x-group", FieldValue::from("g"));
        }
        for (name, value) in arguments {
            table.push(name, value.clone());
        }
        let table = table.to_bytes();
        client.say(1, qos(1, false));
        client.say(1, BasicConsume { arguments: TableRef::parse(&table).unwrap(), ..consume("s", "t") });
        let lines = client.hear();
        assert!(lines.last().unwrap().contains(expected), "{lines:?}");
    }
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    let group = FieldTable::new().with("x-group", "g").to_bytes();
    client.say(1, BasicConsume { arguments: TableRef::parse(&group).unwrap(), ..consume("q", "t") });
    assert!(client.hear()[1].contains("x-group is for streams"));
}
