//! Input in any pieces gives the same conversation, and no input brings a session down.

use crate::world::*;
use bowline_codec_amqp::FieldTable;
use bowline_codec_amqp::frame::{FrameKind, begin_frame, end_frame};
use bowline_codec_amqp::methods::*;
use proptest::prelude::*;

/// Says a bit of everything.
fn conversation(client: &mut Client) {
    let stream = FieldTable::new().with("x-queue-type", "stream").to_bytes();
    client.say(1, declare("q", &[]));
    client.say(1, declare("s", &stream));
    client.say(1, ConfirmSelect { no_wait: true });
    for n in 0..5 {
        client.publish(1, "", "q", format!("message {n}").as_bytes());
        client.publish(1, "", "s", format!("record {n}").as_bytes());
    }
    client.publish(1, "", "q", &vec![b'x'; 20_000]);
    for _ in 0..4 {
        client.say(1, get("q"));
    }
    client.say(1, ack(2, false));
    client.say(1, nack(4, true, true));
    client.say(1, get("q"));
    client.say(1, QueuePurge { queue: s("q"), no_wait: false });
    client.say(1, BasicCancel { consumer_tag: s("t"), no_wait: false });
    client.say(1, ack(0, true));
    client.say(1, ChannelClose { reply_code: 200, reply_text: s(""), class_id: 0, method_id: 0 });
    client.say(1, ChannelOpen);
    client.say(1, QueueDeclare { passive: true, ..declare("s", &[]) });
}

fn said(chunk: usize) -> Vec<String> {
    let world = World::new(2);
    let mut client = Client::open(&world);
    client.frame_max = 4096;
    conversation(&mut client);
    client.frame_max = 131_072;
    client.chunk = chunk;
    let mut lines = client.hear();
    // How many publishes one confirm covers depends on the reads, and so does when it comes.
    lines.retain(|line| !line.contains("BasicAck"));
    lines
}

#[test]
fn any_chunking_is_the_same_conversation() {
    let whole = said(0);
    assert!(whole.len() > 10, "{whole:#?}");
    for chunk in [1, 2, 3, 7, 8, 9, 64, 1000, 4096] {
        assert_eq!(said(chunk), whole, "chunks of {chunk}");
    }
}

/// A method frame with arguments that are often right: ids of real methods, and octets that are small numbers.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let ids = prop_oneof![
        (prop::sample::select(vec![10u16, 20, 30, 40, 50, 60, 85, 90]), 0u16..122),
        any::<(u16, u16)>(),
    ];
    let kind = prop_oneof![
        6 => Just(FrameKind::Method),
        1 => Just(FrameKind::Header),
        1 => Just(FrameKind::Body),
        1 => Just(FrameKind::Heartbeat)
    ];
    let octet = prop_oneof![5 => Just(0u8), 2 => 0u8..5, 1 => any::<u8>()];
    (kind, 0u16..4, ids, prop::collection::vec(octet, 0..24)).prop_map(
        |(kind, channel, (class, method), args)| {
            let mut out = Vec::new();
            let start = begin_frame(&mut out, kind, channel);
            match kind {
                FrameKind::Method => {
                    out.extend(class.to_be_bytes());
                    out.extend(method.to_be_bytes());
                }
                FrameKind::Header => out.extend([0, 60]),
                _ => {}
            }
            out.extend(args);
            end_frame(&mut out, start);
            out
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nonsense_in_good_frames(frames in prop::collection::vec(frame(), 1..40), chunk in 0usize..50) {
        let world = World::new(1);
        let mut client = Client::open(&world);
        client.say(1, declare("", &[]));
        client.say(1, consume("", "t"));
        client.publish(1, "", "q", b"x");
        client.hear();
        client.chunk = chunk;
        for frame in frames {
            client.pending.extend(frame);
            client.run();
        }
        client.hear();
    }

    #[test]
    fn noise(data in prop::collection::vec(any::<u8>(), 0..200), after_header in any::<bool>()) {
        let world = World::new(1);
        let mut client = Client::new(&world);
        if after_header {
            client.pending.extend_from_slice(b"AMQP\0\0\x09\x01");
        }
        client.pending.extend(data);
        client.take_raw();
    }

    #[test]
    fn damaged_conversations(changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let world = World::new(1);
        let mut client = Client::open(&world);
        conversation(&mut client);
        for (at, octet) in changes {
            let at = at % client.pending.len();
            client.pending[at] = octet;
        }
        client.chunk = 500;
        client.hear();
    }
}

#[test]
fn partial_bodies_are_bounded() {
    let world = World::new(1);
    let mut client = Client::open(&world);
    let body = vec![0u8; 131_000];
    let mut sent = 0usize;
    'channels: for channel in 1..200 {
        if channel > 1 {
            client.say(channel, ChannelOpen);
        }
        client.say(
            channel,
            BasicPublish { exchange: s(""), routing_key: s(""), mandatory: false, immediate: false },
        );
        bowline_codec_amqp::frame::encode_header_frame(&mut client.pending, channel, 16_000_000, &[0, 0]);
        for _ in 0..100 {
            let start = begin_frame(&mut client.pending, FrameKind::Body, channel);
            client.pending.extend_from_slice(&body);
            end_frame(&mut client.pending, start);
            sent += body.len();
            client.run();
            if client.hear().iter().any(|line| line.contains("0 ConnectionClose { reply_code: 506")) {
                break 'channels;
            }
        }
    }
    assert!((64_000_000..70_000_000).contains(&sent), "{sent}");
}

#[test]
fn announced_sizes_are_not_believed() {
    for size in [34_000_000, 1 << 40, u64::MAX - 20, u64::MAX] {
        for body in [0, 1, 1000] {
            let world = World::new(1);
            let mut client = Client::open(&world);
            client.say(
                1,
                BasicPublish { exchange: s(""), routing_key: s("q"), mandatory: false, immediate: false },
            );
            bowline_codec_amqp::frame::encode_header_frame(&mut client.pending, 1, size, &[0, 0]);
            bowline_codec_amqp::frame::encode_body_frames(&mut client.pending, 1, &vec![0; body], 131_072);
            let lines = client.hear();
            assert!(lines.len() == 1 && lines[0].contains("406"), "{size} {body}: {lines:?}");
        }
    }
}
