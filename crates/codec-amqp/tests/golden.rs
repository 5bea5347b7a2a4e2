//! Bytes that pika 1.4 writes, against what this codec reads and writes.

use bowline_codec_amqp::frame::{HEARTBEAT, PROTOCOL_HEADER, encode_body_frames};
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{
    ContentHeader, EncodeMethod, FieldTable, FieldValue, FrameKind, Method, OwnedProperties, ProtocolHeader,
    ShortStr, TableRef, split_frame,
};

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn s(text: &str) -> ShortStr<'_> {
    ShortStr::new(text.as_bytes()).unwrap()
}

/// Both ways: the method is written as these bytes, and these bytes read as the method.
fn check<'a>(hex: &str, channel: u16, method: impl Into<Method<'a>>) {
    let method = method.into();
    let bytes = unhex(hex);
    let mut out = Vec::new();
    method.encode_frame(channel, &mut out);
    assert_eq!(out, bytes, "{}", method.name());
    let (frame, consumed) = split_frame(&bytes, 4096).unwrap().unwrap();
    assert_eq!((frame.kind, frame.channel, consumed), (FrameKind::Method, channel, bytes.len()));
    assert_eq!(Method::decode(frame.payload), Ok(method));
}

#[test]
fn connection_methods() {
    assert_eq!(unhex("414d515000000901"), PROTOCOL_HEADER);
    assert_eq!(ProtocolHeader::parse(&PROTOCOL_HEADER), Some(ProtocolHeader::Amqp091));
    assert_eq!(unhex("08000000000000ce"), HEARTBEAT);
    let capabilities = FieldTable::new().with("basic.nack", true);
    let client = FieldTable::new().with("product", "Pika").with("capabilities", capabilities).to_bytes();
    check(
        "01000000000054000a000b000000300770726f64756374530000000450696b610c6361706162696c6974696573460000000d0a62617369632e6e61636b740105504c41494e0000000c00677565737400677565737405656e5f5553ce",
        0,
        ConnectionStartOk {
            client_properties: TableRef::parse(&client).unwrap(),
            mechanism: s("PLAIN"),
            response: b"\0guest\0guest",
            locale: s("en_US"),
        },
    );
    check(
        "0100000000000c000a001f07ff00020000003cce",
        0,
        ConnectionTuneOk { channel_max: 2047, frame_max: 131072, heartbeat: 60 },
    );
    check("01000000000008000a0028012f0000ce", 0, ConnectionOpen { virtual_host: s("/") });
}

#[test]
fn channel_exchange_queue_methods() {
    check("010001000000050014000a00ce", 1, ChannelOpen);
    check(
        "01000100000030001400280194254e4f545f464f554e44202d206e6f2071756575652027712720696e2076686f737420272f270032000ace",
        1,
        ChannelClose {
            reply_code: 404,
            reply_text: s("NOT_FOUND - no queue 'q' in vhost '/'"),
            class_id: 50,
            method_id: 10,
        },
    );
    check(
        "0100010000000b001e000a052f646174611ece",
        1,
        AccessRequest {
            realm: s("/data"),
            exclusive: false,
            passive: true,
            active: true,
            write: true,
            read: true,
        },
    );
    check(
        "010001000000130028000a0000016505746f7069630a00000000ce",
        1,
        ExchangeDeclare {
            exchange: s("e"),
            exchange_type: s("topic"),
            passive: false,
            durable: true,
            auto_delete: false,
            internal: true,
            no_wait: false,
            arguments: TableRef::EMPTY,
        },
    );
    check(
        "010001000000130028001e00000164017303612e230100000000ce",
        1,
        ExchangeBind {
            destination: s("d"),
            source: s("s"),
            routing_key: s("a.#"),
            no_wait: true,
            arguments: TableRef::EMPTY,
        },
    );
    let arguments = {
        let mut table = FieldTable::new();
        table.push("x-message-ttl", FieldValue::I32(60000));
        table.to_bytes()
    };
    check(
        "010001000000230032000a0000047465737412000000130d782d6d6573736167652d74746c490000ea60ce",
        1,
        QueueDeclare {
            queue: s("test"),
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            no_wait: true,
            arguments: TableRef::parse(&arguments).unwrap(),
        },
    );
    check(
        "010001000000110032000b04746573740000000700000002ce",
        1,
        QueueDeclareOk { queue: s("test"), message_count: 7, consumer_count: 2 },
    );
}

#[test]
fn basic_and_confirm_methods() {
    check(
        "0100010000000b003c000a00000000006401ce",
        1,
        BasicQos { prefetch_size: 0, prefetch_count: 100, global: true },
    );
    check(
        "01000100000018003c0014000004746573740763746167312e610600000000ce",
        1,
        BasicConsume {
            queue: s("test"),
            consumer_tag: s("ctag1.a"),
            no_local: false,
            no_ack: true,
            exclusive: true,
            no_wait: false,
            arguments: TableRef::EMPTY,
        },
    );
    check(
        "0100010000000d003c0028000000047465737401ce",
        1,
        BasicPublish { exchange: s(""), routing_key: s("test"), mandatory: true, immediate: false },
    );
    check(
        "0100010000001c003c003c0763746167312e61000001000000000501026578036b6579ce",
        1,
        BasicDeliver {
            consumer_tag: s("ctag1.a"),
            delivery_tag: (1 << 40) + 5,
            redelivered: true,
            exchange: s("ex"),
            routing_key: s("key"),
        },
    );
    check("0100010000000d003c0050000000000000000901ce", 1, BasicAck { delivery_tag: 9, multiple: true });
    check(
        "0100010000000d003c0078000000000000000901ce",
        1,
        BasicNack { delivery_tag: 9, multiple: true, requeue: false },
    );
    check("0100010000000d003c005a000000000000000301ce", 1, BasicReject { delivery_tag: 3, requeue: true });
    check("010001000000050055000a01ce", 1, ConfirmSelect { no_wait: true });
}

#[test]
fn content() {
    let mut out = Vec::new();
    encode_body_frames(&mut out, 1, b"hello", 4096);
    assert_eq!(out, unhex("0300010000000568656c6c6fce"));

    let bytes = unhex("0200010000000f003c00000000000000000005100002ce");
    let (frame, _) = split_frame(&bytes, 4096).unwrap().unwrap();
    let header = ContentHeader::decode(frame.payload).unwrap();
    assert_eq!((header.body_size, header.properties.is_persistent()), (5, true));
    let mut out = Vec::new();
    header.encode_frame(1, &mut out);
    assert_eq!(out, bytes);
}

#[test]
fn all_properties() {
    let bytes = unhex(
        "020001000000b3003c00000000000000000400fffc0a746578742f706c61696e057574662d380000006b017353000000047465787401694900000005016c6c000001000000000001627401016e56016444020000013a017454000000005e0d5da50178780000000200ff016141000000164900000001530000000374776f4600000004016b7400016f4600000007017046000000000204016301720431303030016d000000005f5e10000274790567756573740361707002636cce",
    );
    let (frame, _) = split_frame(&bytes, 4096).unwrap().unwrap();
    let header = ContentHeader::decode(frame.payload).unwrap();
    let mut headers = FieldTable::new();
    headers.push("s", "text");
    headers.push("i", FieldValue::I32(5));
    headers.push("l", 1i64 << 40);
    headers.push("b", true);
    headers.push("n", FieldValue::Void);
    headers.push("d", FieldValue::Decimal { scale: 2, digits: 314 });
    headers.push("t", FieldValue::Timestamp(1_577_934_245));
    headers.push("x", FieldValue::Bytes(vec![0, 255]));
    let nested = FieldTable::new().with("k", false);
    headers.push(
        "a",
        FieldValue::Array(vec![FieldValue::I32(1), FieldValue::from("two"), FieldValue::Table(nested)]),
    );
    headers.push("o", FieldTable::new().with("p", FieldTable::new()));
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let expected = OwnedProperties {
        content_type: text("text/plain"),
        content_encoding: text("utf-8"),
        headers: Some(headers),
        delivery_mode: Some(2),
        priority: Some(4),
        correlation_id: text("c"),
        reply_to: text("r"),
        expiration: text("1000"),
        message_id: text("m"),
        timestamp: Some(1_600_000_000),
        message_type: text("ty"),
        user_id: text("guest"),
        app_id: text("app"),
        cluster_id: text("cl"),
    };
    assert_eq!(header.properties.to_owned(), expected);
    assert_eq!(expected.to_bytes(), header.properties.as_bytes());
    assert_eq!(header.body_size, 1024);
}
