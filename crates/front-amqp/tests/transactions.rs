//! tx.select, commit and rollback.

use crate::world::*;
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{FieldTable, OwnedProperties, TableRef};
use bowline_model::settings::QueueSettings;

fn count(client: &mut Client, queue: &str) -> String {
    client.say(1, QueueDeclare { passive: true, ..declare(queue, &[]) });
    let line = client.hear().pop().unwrap();
    line.split("message_count: ").nth(1).unwrap().split(',').next().unwrap().to_string()
}

#[test]
fn what_is_published_is_there_after_the_commit() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    let mut other = Client::open(&world);
    client.say(1, declare("a", &[]));
    client.say(1, declare("b", &[]));
    client.say(1, TxSelect);
    client.hear();
    for n in 0..3 {
        client.publish(1, "", "a", format!("a{n}").as_bytes());
        client.publish_with(1, "", "b", false, &OwnedProperties::default(), b"b");
    }
    client.publish_with(1, "", "nobody", true, &OwnedProperties::default(), b"returned");
    assert!(client.hear().is_empty());
    assert_eq!(count(&mut other, "a"), "0");
    world.borrow_mut().disk_works = false;
    client.say(1, TxCommit);
    client.publish(1, "", "a", b"next");
    let lines = client.hear();
    assert!(lines.len() == 1 && lines[0].contains("BasicReturn { reply_code: 312"), "{lines:?}");
    world.borrow_mut().disk_works = true;
    assert_eq!(client.hear(), ["1 TxCommitOk"]);
    assert_eq!((count(&mut other, "a").as_str(), count(&mut other, "b").as_str()), ("3", "3"));
    client.say(1, TxRollback);
    client.say(1, TxCommit);
    assert_eq!(client.hear(), ["1 TxRollbackOk", "1 TxCommitOk"]);
    assert_eq!(count(&mut other, "a"), "3");
    // A channel that closes forgets what it has not committed.
    client.publish(1, "", "a", b"forgotten");
    client.say(1, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
    client.hear();
    assert_eq!(count(&mut other, "a"), "3");
}

/// All that goes to one shard is one request, so one block.
#[test]
fn a_commit_is_one_batch_for_all_shards() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    let stream = FieldTable::new().with("x-queue-type", "stream").to_bytes();
    for queue in ["a", "b", "c", "d"] {
        client.say(1, declare(queue, &[]));
    }
    client.say(1, declare("s", &stream));
    client.say(1, TxSelect);
    client.hear();
    let large = vec![b'x'; 700_000];
    for _ in 0..5 {
        for queue in ["a", "b", "c", "d", "s"] {
            client.publish(1, "", queue, &large);
        }
    }
    client.say(2, ChannelOpen);
    client.publish(2, "", "a", b"by itself");
    client.say(1, TxCommit);
    client.hear();
    let batches = world.borrow().proposed_counts();
    // What channel 2 publishes, and the transaction: its own shard's records, and one with those for the other.
    assert_eq!(batches.len(), 2, "{batches:?}");
    assert!(batches[0] == 1 && batches[1] > 1, "{batches:?}");
    assert_eq!(count(&mut client, "a"), "6");
    assert_eq!(count(&mut client, "s"), "5");
}

#[test]
fn settles_wait_for_the_commit() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    for body in ["1", "2", "3", "4"] {
        client.publish(1, "", "q", body.as_bytes());
    }
    client.say(1, TxSelect);
    client.say(1, TxCommit);
    client.say(1, qos(2, false));
    client.say(1, consume("q", "t"));
    let lines = client.hear();
    assert_eq!(lines.iter().filter(|line| line.contains("BasicDeliver")).count(), 2, "{lines:?}");
    client.say(1, ack(1, false));
    assert!(client.hear().is_empty(), "no credit before the commit");
    client.say(1, TxRollback);
    client.say(1, ack(2, true));
    assert_eq!(client.hear(), ["1 TxRollbackOk"]);
    client.say(1, TxCommit);
    let lines = client.hear();
    assert_eq!(lines[0], "1 TxCommitOk");
    assert!(lines[1].ends_with("= 3") && lines[2].ends_with("= 4"), "{lines:?}");
    client.say(1, nack(0, true, false));
    client.say(1, ack(3, false));
    let line = client.hear().pop().unwrap();
    assert!(line.contains("unknown delivery tag 3"), "settled already, though not committed: {line}");
    reopen(&mut client);
    client.say(1, get("q"));
    assert!(client.hear()[0].ends_with("= 3"), "what was not committed came back");
}

#[test]
fn modes_do_not_mix() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let refused = |client: &mut Client, text: &str| {
        let line = client.hear().pop().unwrap();
        assert!(line.contains("406") && line.contains(text), "{line}");
        reopen(client);
    };
    client.say(1, TxCommit);
    refused(&mut client, "PRECONDITION_FAILED - channel is not transactional");
    client.say(1, TxRollback);
    refused(&mut client, "PRECONDITION_FAILED - channel is not transactional");
    client.say(1, TxSelect);
    client.say(1, TxSelect);
    client.say(1, ConfirmSelect { no_wait: false });
    refused(&mut client, "PRECONDITION_FAILED - cannot switch from tx to confirm mode");
    client.say(1, ConfirmSelect { no_wait: false });
    client.say(1, TxSelect);
    refused(&mut client, "PRECONDITION_FAILED - cannot switch from confirm to tx mode");
}

#[test]
fn what_is_wrong_is_told_at_once_and_a_failed_commit_publishes_nothing() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let mut other = Client::open(&world);
    client.say(1, TxSelect);
    client.publish(1, "missing", "q", b"");
    assert!(client.hear().pop().unwrap().contains("404"));
    reopen(&mut client);

    client.say(1, declare("q", &[]));
    let exchange = ExchangeDeclare {
        exchange: s("x"),
        exchange_type: s("fanout"),
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    };
    client.say(1, exchange);
    client.say(1, TxSelect);
    client.publish(1, "", "q", b"first");
    client.publish(1, "x", "", b"second");
    client.hear();
    other.say(1, ExchangeDelete { exchange: s("x"), if_unused: false, no_wait: false });
    other.hear();
    client.say(1, TxCommit);
    let line = client.hear().pop().unwrap();
    assert!(line.contains("404") && line.contains("class_id: 90, method_id: 20"), "{line}");
    assert_eq!(count(&mut other, "q"), "0");
}

#[test]
fn a_transaction_is_bounded() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    client.say(1, declare("q", &[]));
    client.say(1, TxSelect);
    client.hear();
    let body = vec![0; 16 * 1024 * 1024 - 1000];
    client.publish(1, "", "q", &body);
    client.publish(1, "", "q", &body);
    assert!(client.hear().is_empty());
    client.publish(1, "", "q", &body);
    let line = client.hear().pop().unwrap();
    assert!(line.contains("406") && line.contains("are larger than 33554432 octets"), "{line}");
    reopen(&mut client);
    // The room is free again.
    client.say(1, TxSelect);
    client.publish(1, "", "q", &body);
    client.publish(1, "", "q", &body);
    client.say(1, TxCommit);
    assert_eq!(client.hear(), ["1 TxSelectOk", "1 TxCommitOk"]);
    assert_eq!(count(&mut client, "q"), "2");
}

/// A queue that refuses when it is full refuses a transaction as a whole.
#[test]
fn a_full_queue_refuses_a_transaction() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let mut other = Client::open(&world);
    for queue in ["full", "free"] {
        client.say(1, declare(queue, &[]));
    }
    client.say(1, TxSelect);
    client.hear();
    let overflow = bowline_model::settings::Overflow::RejectPublish;
    let settings = QueueSettings { max_length: Some(3), overflow, ..QueueSettings::default() };
    world.borrow_mut().configure_queue("full", settings);
    let publish = |client: &mut Client, n: usize| {
        for _ in 0..n {
            client.publish(1, "", "full", b"m");
            client.publish(1, "", "free", b"m");
        }
        client.say(1, TxCommit);
        client.hear()
    };
    assert_eq!(publish(&mut client, 2), ["1 TxCommitOk"]);
    let lines = publish(&mut client, 2);
    assert!(
        lines[0].contains("406") && lines[0].contains("PRECONDITION_FAILED - partial tx completion"),
        "{lines:?}"
    );
    assert_eq!((count(&mut other, "full").as_str(), count(&mut other, "free").as_str()), ("2", "2"));
    reopen(&mut client);
    client.say(1, TxSelect);
    client.hear();
    assert_eq!(publish(&mut client, 1), ["1 TxCommitOk"]);
    assert_eq!((count(&mut other, "full").as_str(), count(&mut other, "free").as_str()), ("3", "3"));
}
