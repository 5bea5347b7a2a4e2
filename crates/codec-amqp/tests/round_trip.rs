//! Round trips over generated input, and what hostile input must not do.

use bowline_codec_amqp::frame::{
    DeliverHead, FRAME_END, body_frame_head, body_frames, encode_body_frames, encode_header_frame,
};
use bowline_codec_amqp::methods::BasicDeliver;
use bowline_codec_amqp::table::DEPTH_MAX;
use bowline_codec_amqp::*;
use proptest::prelude::*;

/// One method of the schema: its name, ids and the types of its arguments, reserved ones marked.
#[derive(Debug, Clone)]
struct Line {
    name: String,
    ids: (u16, u16),
    args: Vec<(bool, String)>,
}

/// Reads the schema without the generator's help, so that the two check each other.
fn schema() -> Vec<Line> {
    let text = include_str!("../schema/amqp.json");
    let schema: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut lines = Vec::new();
    for class in schema["classes"].as_array().unwrap() {
        let class_id = class["id"].as_u64().unwrap() as u16;
        for method in class["methods"].as_array().unwrap() {
            let (head, args) = method.as_str().unwrap().split_once(':').unwrap();
            let mut words = head.split(' ');
            let ids = (class_id, words.next().unwrap().parse().unwrap());
            let name = format!("{}.{}", class["name"].as_str().unwrap(), words.next().unwrap());
            let args = args.split(", ").map(str::trim).filter(|arg| !arg.is_empty());
            let args = args.map(|arg| {
                let (name, kind) = arg.split_once(' ').unwrap();
                (name.starts_with('_'), kind.to_string())
            });
            lines.push(Line { name: name.replace('_', "-"), ids, args: args.collect() });
        }
    }
    lines
}

/// A valid payload of that method; every argument value comes from `seed`.
fn payload(line: &Line, table: &FieldTable, seed: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(line.ids.0.to_be_bytes());
    out.extend(line.ids.1.to_be_bytes());
    let mut bit = 0;
    for (reserved, kind) in &line.args {
        let mut next = || if *reserved { 0 } else { seed.next().unwrap() };
        if kind == "bit" {
            if bit == 0 {
                out.push(0);
            }
            *out.last_mut().unwrap() |= (next() & 1) << bit;
            bit = (bit + 1) % 8;
            continue;
        }
        bit = 0;
        match kind.as_str() {
            "octet" => out.push(next()),
            "short" => out.extend([next(), next()]),
            "long" => out.extend([next(), next(), next(), next()]),
            "longlong" => out.extend([(); 8].map(|_| next())),
            "shortstr" => {
                let len = next();
                out.push(len);
                out.extend((0..len).map(|_| next()));
            }
            "longstr" => {
                let len = next();
                out.extend(u32::from(len).to_be_bytes());
                out.extend((0..len).map(|_| next()));
            }
            "table" => table.encode(&mut out),
            other => panic!("unknown type {other}"),
        }
    }
    out
}

fn field_value() -> impl Strategy<Value = FieldValue> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let leaf = prop_oneof![
        any::<bool>().prop_map(FieldValue::Bool),
        any::<i8>().prop_map(FieldValue::I8),
        any::<u8>().prop_map(FieldValue::U8),
        any::<i16>().prop_map(FieldValue::I16),
        any::<u16>().prop_map(FieldValue::U16),
        any::<i32>().prop_map(FieldValue::I32),
        any::<u32>().prop_map(FieldValue::U32),
        any::<i64>().prop_map(FieldValue::I64),
        (-1e30f32..1e30).prop_map(FieldValue::F32),
        (-1e300f64..1e300).prop_map(FieldValue::F64),
        any::<(u8, u32)>().prop_map(|(scale, digits)| FieldValue::Decimal { scale, digits }),
        bytes().prop_map(FieldValue::LongStr),
        bytes().prop_map(FieldValue::Bytes),
        any::<u64>().prop_map(FieldValue::Timestamp),
        Just(FieldValue::Void),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(FieldValue::Array),
            prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), inner), 0..6)
                .prop_map(|pairs| FieldValue::Table(table_of(pairs))),
        ]
    })
}

fn table_of(pairs: Vec<(Vec<u8>, FieldValue)>) -> FieldTable {
    let mut table = FieldTable::new();
    for (name, value) in pairs {
        table.push_bytes(&name, value);
    }
    table
}

fn field_table() -> impl Strategy<Value = FieldTable> {
    prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), field_value()), 0..8).prop_map(table_of)
}

fn properties() -> impl Strategy<Value = OwnedProperties> {
    let text = || prop::option::of(prop::collection::vec(any::<u8>(), 0..30));
    let first = (text(), text(), prop::option::of(field_table()), any::<Option<u8>>(), any::<Option<u8>>());
    let second = (text(), text(), text(), text(), any::<Option<u64>>());
    let third = (text(), text(), text(), text());
    (first, second, third).prop_map(|(first, second, third)| OwnedProperties {
        content_type: first.0,
        content_encoding: first.1,
        headers: first.2,
        delivery_mode: first.3,
        priority: first.4,
        correlation_id: second.0,
        reply_to: second.1,
        expiration: second.2,
        message_id: second.3,
        timestamp: second.4,
        message_type: third.0,
        user_id: third.1,
        app_id: third.2,
        cluster_id: third.3,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_method(table in field_table(), seed in prop::collection::vec(any::<u8>(), 1..64)) {
        let mut seed = seed.iter().copied().cycle();
        for line in schema() {
            let bytes = payload(&line, &table, &mut seed);
            let method = Method::decode(&bytes).map_err(|e| TestCaseError::fail(format!("{line:?}: {e}")))?;
            prop_assert_eq!(method.name(), &line.name);
            prop_assert_eq!(method.id(), u32::from(line.ids.0) << 16 | u32::from(line.ids.1));
            let mut again = Vec::new();
            method.encode(&mut again);
            prop_assert_eq!(&again, &bytes);
            // Neither a missing nor an additional octet goes unnoticed.
            prop_assert!(Method::decode(&bytes[..bytes.len() - 1]).is_err());
            again.push(0);
            prop_assert!(Method::decode(&again).is_err());
        }
    }

    #[test]
    fn tables(table in field_table()) {
        let bytes = table.to_bytes();
        let borrowed = TableRef::parse(&bytes).unwrap();
        prop_assert_eq!(borrowed.to_owned(), table);
    }

    #[test]
    fn property_blocks(properties in properties()) {
        let bytes = properties.to_bytes();
        let borrowed = Properties::parse(&bytes).unwrap();
        prop_assert_eq!(borrowed.to_owned(), properties);
        prop_assert!(Properties::parse(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn bodies_are_cut_at_frame_max(body in prop::collection::vec(any::<u8>(), 0..20_000), frame_max in 4096u32..9000) {
        let mut copied = Vec::new();
        encode_body_frames(&mut copied, 7, &body, frame_max);
        let mut sliced = Vec::new();
        for range in body_frames(body.len(), frame_max) {
            prop_assert!(range.len() + 8 <= frame_max as usize);
            sliced.extend(body_frame_head(7, range.len() as u32));
            sliced.extend(&body[range]);
            sliced.push(FRAME_END);
        }
        prop_assert_eq!(&copied, &sliced);
        let mut rest = copied.as_slice();
        let mut joined: Vec<u8> = Vec::new();
        while let Some((frame, consumed)) = split_frame(rest, frame_max - 8).unwrap() {
            joined.extend(frame.payload);
            rest = &rest[consumed..];
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(joined, body);
    }

    #[test]
    fn arbitrary_bytes(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_decode_any(&data);
    }

    /// Valid frames with a few octets changed get further into the decoders than noise does.
    #[test]
    fn damaged_bytes(properties in properties(), changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let mut bytes = Vec::new();
        encode_header_frame(&mut bytes, 1, 10, &properties.to_bytes());
        for (at, octet) in changes {
            let at = at % bytes.len();
            bytes[at] = octet;
        }
        fuzz_decode_any(&bytes);
        fuzz_decode_any(&bytes[7..bytes.len() - 1]);
    }
}

#[test]
fn deliver_head_equals_its_methods() {
    let properties = OwnedProperties { delivery_mode: Some(2), ..Default::default() }.to_bytes();
    let short = |text: &'static str| ShortStr::new(text.as_bytes()).unwrap();
    let head = DeliverHead {
        channel: 3,
        consumer_tag: short("tag"),
        delivery_tag: 99,
        redelivered: true,
        exchange: short("amq.direct"),
        routing_key: short("key"),
        properties: &properties,
        body_size: 1 << 20,
    };
    let mut fast = Vec::new();
    head.encode(&mut fast);
    let mut plain = Vec::new();
    BasicDeliver {
        consumer_tag: head.consumer_tag,
        delivery_tag: 99,
        redelivered: true,
        exchange: head.exchange,
        routing_key: head.routing_key,
    }
    .encode_frame(3, &mut plain);
    let properties = Properties::parse(&properties).unwrap();
    ContentHeader { body_size: 1 << 20, properties }.encode_frame(3, &mut plain);
    assert_eq!(fast, plain);
}

/// Tables nested as deep as their bytes allow are refused beyond the bound and accepted at it.
#[test]
fn depth_is_bounded() {
    let nest = |levels: u32| {
        let mut table = FieldTable::new();
        for _ in 1..levels {
            table = FieldTable::new().with("", table);
        }
        table.to_bytes()
    };
    assert!(TableRef::parse(&nest(DEPTH_MAX)).is_ok());
    assert_eq!(TableRef::parse(&nest(DEPTH_MAX + 1)), Err(DecodeError::TooDeep));
    let mut bomb = FieldValue::Array(Vec::new());
    for _ in 0..5_000 {
        bomb = FieldValue::Array(vec![bomb]);
    }
    let mut bytes = Vec::new();
    bomb.encode(&mut bytes);
    assert_eq!(Value::parse(&bytes), Err(DecodeError::TooDeep));
}

#[test]
fn envelopes() {
    assert_eq!(split_frame(&[], 10), Ok(None));
    assert_eq!(split_frame(&[1, 0, 1, 0, 0, 0, 2, 7, 7], 10), Ok(None));
    assert_eq!(split_frame(&[1, 0, 1, 0, 0, 0, 2, 7, 7, 0], 10), Err(FrameError::BadEnd(0)));
    assert_eq!(split_frame(b"G", 10), Err(FrameError::UnknownType(b'G')));
    let too_large = Err(FrameError::TooLarge { size: 11, max: 10 });
    assert_eq!(split_frame(&[3, 0, 1, 0, 0, 0, 11], 10), too_large);
    assert_eq!(ProtocolHeader::parse(b"AMQP\x01\x01\x00\x09"), Some(ProtocolHeader::Amqp09));
    assert_eq!(ProtocolHeader::parse(b"GET / HT"), Some(ProtocolHeader::Unsupported));
    assert_eq!(ProtocolHeader::parse(b"AMQP"), None);
    let unknown = DecodeError::UnknownMethod { class_id: 60, method_id: 99 };
    assert_eq!(Method::decode(&[0, 60, 0, 99]), Err(unknown));
    assert_eq!(unknown.reply_code(), ReplyCode::CommandInvalid);
}

#[test]
fn reply_codes() {
    for code in ReplyCode::ALL {
        assert_eq!(ReplyCode::from_code(code.code()), Some(code));
    }
    assert_eq!(ReplyCode::NotFound.text("no queue 'q'"), "NOT_FOUND - no queue 'q'");
    assert_eq!(ReplyCode::NotFound.level(), Level::Channel);
    assert_eq!(ReplyCode::NotAllowed.level(), Level::Connection);
    let long = "é".repeat(200);
    assert_eq!(ShortStr::truncated(&long).as_bytes().len(), 254);
}
