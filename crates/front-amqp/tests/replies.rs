//! Direct reply-to between sessions.

use crate::world::*;
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{FieldTable, OwnedProperties};

const PSEUDO_QUEUE: &str = "amq.rabbitmq.reply-to";

fn listen(tag: &str) -> BasicConsume<'_> {
    BasicConsume { no_ack: true, ..consume(PSEUDO_QUEUE, tag) }
}

fn question() -> OwnedProperties {
    OwnedProperties { reply_to: Some(PSEUDO_QUEUE.into()), ..Default::default() }
}

/// Asks through queue `q`, and tells the name that the answer goes to.
fn ask(world: &Shared, client: &mut Client) -> String {
    client.say(1, declare("q", &[]));
    client.say(1, listen("replies"));
    client.publish_with(1, "", "q", false, &question(), b"question");
    let lines = client.hear();
    assert_eq!(lines[1], "1 BasicConsumeOk { consumer_tag: \"replies\" }");
    let mut server = Client::open(world);
    server.say(1, BasicGet { queue: s("q"), no_ack: true });
    server.run();
    let block = server.take_raw();
    let start = block.windows(22).position(|w| w == b"amq.rabbitmq.reply-to.").expect("rewritten");
    String::from_utf8(block[start..start + 22 + 32].to_vec()).unwrap()
}

#[test]
fn an_answer_goes_from_session_to_session() {
    let world = World::new(2);
    let mut client = Client::open(&world);
    let name = ask(&world, &mut client);
    let mut server = Client::open(&world);
    server.say(1, ConfirmSelect { no_wait: false });
    server.publish_with(1, "", &name, true, &headers(FieldTable::new().with("n", 1i64)), b"answer");
    server.publish(1, "", &name, &[b'x'; 10]);
    let confirmed = ["1 ConfirmSelectOk", "1 BasicAck { delivery_tag: 2, multiple: true }"];
    assert_eq!(server.hear(), confirmed);
    let lines = client.hear();
    assert_eq!(
        lines[0],
        format!(
            "1 BasicDeliver {{ consumer_tag: \"replies\", delivery_tag: 1, redelivered: false, exchange: \"\", \
             routing_key: \"{name}\" }} {{\"n\": I64(1)}} = answer"
        )
    );
    assert!(lines[1].contains("delivery_tag: 2") && lines[1].ends_with("= xxxxxxxxxx"), "{lines:?}");

    // Among the keys of a message that goes to queues as well; nothing else gets it for the address' sake.
    let cc = bowline_codec_amqp::FieldValue::Array(vec![name.as_str().into()]);
    server.say(1, declare("also", &[]));
    server.publish_with(1, "", "also", true, &headers(FieldTable::new().with("CC", cc)), b"both");
    server.say(1, get("also"));
    let lines = server.hear();
    assert!(
        lines.iter().any(|line| line.starts_with("1 BasicGetOk") && line.ends_with("= both")),
        "{lines:?}"
    );
    let lines = client.hear();
    assert!(lines.len() == 1 && lines[0].ends_with("= both"), "{lines:?}");

    // Declaring the name tells whether somebody listens, until nobody does.
    let alive = format!("1 QueueDeclareOk {{ queue: \"{name}\", message_count: 0, consumer_count: 1 }}");
    server.say(1, QueueDeclare { passive: true, ..declare(&name, &[]) });
    server.say(1, declare(&name, &[]));
    assert_eq!(server.hear(), [alive.clone(), alive]);
    client.say(1, BasicCancel { consumer_tag: s("replies"), no_wait: false });
    assert_eq!(client.hear(), ["1 BasicCancelOk { consumer_tag: \"replies\" }"]);
    server.publish_with(1, "", &name, true, &OwnedProperties::default(), b"late");
    server.say(1, QueueDeclare { passive: true, ..declare(&name, &[]) });
    let lines = server.hear();
    assert!(lines[0].contains("BasicReturn { reply_code: 312"), "{lines:?}");
    assert!(lines.last().unwrap().contains("404"), "{lines:?}");
    assert!(client.hear().is_empty());
}

#[test]
fn the_consumer_goes_with_its_channel_and_connection() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let first = ask(&world, &mut client);
    client.say(1, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
    client.say(1, ChannelOpen);
    client.hear();
    let second = ask(&world, &mut client);
    assert_ne!(first, second);
    let mut server = Client::open(&world);
    let gone = |server: &mut Client, name: &str| {
        server.say(1, declare(name, &[]));
        let is_gone = server.hear()[0].contains("404");
        if is_gone {
            reopen(server);
        }
        is_gone
    };
    assert!(gone(&mut server, &first) && !gone(&mut server, &second));
    drop(client);
    assert!(gone(&mut server, &second));
}

#[test]
fn refusals_and_forgeries() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let refused = |client: &mut Client, code: &str, text: &str| {
        let line = client.hear().pop().unwrap();
        assert!(line.contains(code) && line.contains(text), "{line}");
        reopen(client);
    };
    client.publish_with(1, "", "q", false, &question(), b"x");
    refused(&mut client, "406", "PRECONDITION_FAILED - fast reply consumer does not exist");
    client.say(1, consume(PSEUDO_QUEUE, "t"));
    refused(&mut client, "406", "PRECONDITION_FAILED - reply consumer cannot acknowledge");
    client.say(1, listen("t"));
    client.say(1, listen("u"));
    refused(&mut client, "406", "PRECONDITION_FAILED - reply consumer already set");
    for queue in [PSEUDO_QUEUE, "amq.rabbitmq.reply-to.00000000000000000000000000000001"] {
        client.say(
            1,
            QueueBind {
                queue: s(queue),
                exchange: s("amq.topic"),
                routing_key: s("#"),
                no_wait: false,
                arguments: bowline_codec_amqp::TableRef::EMPTY,
            },
        );
        refused(&mut client, "403", "ACCESS_REFUSED");
    }
    // A name that nobody was given leads nowhere.
    client.say(1, listen("t"));
    for forged in ["amq.rabbitmq.reply-to.1", "amq.rabbitmq.reply-to.ffffffffffffffffffffffffffffffff"] {
        client.publish_with(1, "", forged, true, &OwnedProperties::default(), b"x");
        let lines = client.hear();
        assert!(lines.last().unwrap().contains("BasicReturn { reply_code: 312"), "{lines:?}");
    }
    client.say(1, declare(PSEUDO_QUEUE, &[]));
    assert!(client.hear()[0].contains("message_count: 0, consumer_count: 1"));
    client.say(1, listen("t"));
    let line = client.hear().pop().unwrap();
    assert!(line.contains("530") && line.contains("attempt to reuse consumer tag 't'"), "{line}");
}
