//! Nanoseconds that parsing one published message costs: three frames split, method and properties validated.
//!
//! `cargo run --release -p bowline-codec-amqp --example parse_cost`

use std::hint::black_box;
use std::time::Instant;

use bowline_codec_amqp::frame::{DeliverHead, encode_body_frames, encode_header_frame};
use bowline_codec_amqp::methods::BasicPublish;
use bowline_codec_amqp::*;

const MESSAGES: usize = 1000;
const ROUNDS: usize = 200;

fn main() {
    let plain = OwnedProperties { delivery_mode: Some(2), ..Default::default() };
    let mut rich = plain.clone();
    rich.content_type = Some(b"application/json".to_vec());
    rich.message_id = Some(b"0123456789abcdef".to_vec());
    rich.headers = Some(FieldTable::new().with("trace", "0123456789abcdef").with("attempt", 3i64));
    for (name, properties) in [("delivery_mode only", &plain), ("with headers", &rich)] {
        for size in [16, 1024] {
            measure(name, properties, size);
        }
    }
}

fn measure(name: &str, properties: &OwnedProperties, size: usize) {
    let properties = properties.to_bytes();
    let body = vec![7; size];
    let mut input = Vec::new();
    for _ in 0..MESSAGES {
        let method = BasicPublish {
            exchange: ShortStr::EMPTY,
            routing_key: ShortStr::truncated("queue-name"),
            mandatory: false,
            immediate: false,
        };
        method.encode_frame(1, &mut input);
        encode_header_frame(&mut input, 1, size as u64, &properties);
        encode_body_frames(&mut input, 1, &body, 131_072);
    }
    let parse_ns = best(|| assert_eq!(parse(black_box(&input)), MESSAGES));
    let mut out = Vec::with_capacity(input.len() * 2);
    let deliver_ns = best(|| {
        out.clear();
        for tag in 0..MESSAGES as u64 {
            let head = DeliverHead {
                channel: 1,
                consumer_tag: ShortStr::truncated("ctag1.0123456789abcdef"),
                delivery_tag: tag,
                redelivered: false,
                exchange: ShortStr::EMPTY,
                routing_key: ShortStr::truncated("queue-name"),
                properties: &properties,
                body_size: size as u64,
            };
            head.encode(&mut out);
        }
        black_box(&out);
    });
    println!(
        "{name:20} {size:5} B body: parse {parse_ns:5.1} ns, deliver head {deliver_ns:5.1} ns a message"
    );
}

/// Nanoseconds a message in the best round: the one that neighbours disturbed least.
fn best(mut round: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round();
        best = best.min(start.elapsed().as_nanos() as f64 / MESSAGES as f64);
    }
    best
}

fn parse(mut input: &[u8]) -> usize {
    let mut messages = 0;
    while let Some((frame, consumed)) = split_frame(input, 131_072).expect("well formed") {
        match frame.kind {
            FrameKind::Method => {
                black_box(Method::decode(frame.payload).expect("a method"));
            }
            FrameKind::Header => {
                let header = ContentHeader::decode(frame.payload).expect("a header");
                black_box(header.properties.is_persistent());
            }
            FrameKind::Body => messages += 1,
            FrameKind::Heartbeat => {}
        }
        input = &input[consumed..];
    }
    messages
}
