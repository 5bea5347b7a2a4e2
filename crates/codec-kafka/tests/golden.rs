//! Bytes that a real client's encoder made: read, compared field by field or written again.

use bowline_codec_kafka::frame::{FRAME_BYTES_MAX, FrameSplitter, RequestHead, write_request};
use bowline_codec_kafka::message::Request;
use bowline_codec_kafka::messages::{
    ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest, catalog, fetch_request,
    metadata_request,
};
use bowline_codec_kafka::records::{Batch, BatchBuilder, Compression, Header, RecordIter, validate_batch};
use bowline_codec_kafka::wire::DECODE_MEMORY_MAX;
use bowline_codec_kafka::{ApiKey, Reader, Records, Writer};
use bytes::{Bytes, BytesMut};

const FRAMES: &str = include_str!("golden/frames.txt");
const MESSAGES: &str = include_str!("golden/messages.txt");

#[test]
fn messages_are_written_as_they_were_read() {
    let mut messages = 0;
    for line in MESSAGES.lines().filter(|line| !line.starts_with('#')) {
        let [name, version, hex] = *line.split(' ').collect::<Vec<_>>() else { panic!("{line}") };
        let codec = catalog::ALL.iter().find(|codec| codec.name == name).expect("a known message");
        let bytes = from_hex(hex);
        let again = codec.recode(bytes.clone(), version.parse().unwrap(), DECODE_MEMORY_MAX);
        assert_eq!(again.as_ref(), Ok(&bytes), "{name} v{version}");
        messages += 1;
    }
    assert!(messages > 400, "the file was cut off");
}

#[test]
fn api_versions_requests() {
    check_request("api_versions_v0", 0, &ApiVersionsRequest::default());
    let named = ApiVersionsRequest {
        client_software_name: "kafka-python".into(),
        client_software_version: "3.0.12".into(),
        ..Default::default()
    };
    check_request("api_versions_v3", 3, &named);
}

#[test]
fn metadata_requests() {
    check_request("metadata_v1_all", 1, &MetadataRequest { topics: None, ..Default::default() });
    let topic = metadata_request::MetadataRequestTopic { name: Some("orders".into()), ..Default::default() };
    let one_topic = MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: false,
        include_topic_authorized_operations: true,
        ..Default::default()
    };
    check_request("metadata_v9", 9, &one_topic);
}

#[test]
fn produce_requests() {
    let records = Records::from(golden("batch_none"));
    let partition = bowline_codec_kafka::messages::produce_request::PartitionProduceData {
        index: 2,
        records: Some(records),
    };
    let topic = bowline_codec_kafka::messages::produce_request::TopicProduceData {
        name: "orders".into(),
        partition_data: vec![partition],
        ..Default::default()
    };
    let produce =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    check_request("produce_v3", 3, &produce);
    check_request("produce_v9", 9, &produce);
}

#[test]
fn fetch_requests() {
    let partition = fetch_request::FetchPartition {
        partition: 2,
        fetch_offset: 42,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = fetch_request::FetchTopic {
        topic: "orders".into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let fetch = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        isolation_level: 1,
        topics: vec![topic],
        ..Default::default()
    };
    check_request("fetch_v4", 4, &fetch);
    check_request("fetch_v12", 12, &fetch);
}

#[test]
fn uncompressed_batch() {
    let bytes = golden("batch_none");
    let header = validate_batch(&bytes).unwrap();
    assert_eq!((header.base_timestamp, header.max_timestamp), (1_700_000_000_000, 1_700_000_000_005));
    let body = Batch { header, bytes: bytes.clone() }.records(usize::MAX).unwrap();
    let records: Vec<_> = RecordIter::new(&body, 2).map(Result::unwrap).collect();
    assert_eq!((records[0].key, records[0].value), (Some(&b"k1"[..]), Some(&b"hello"[..])));
    let headers = [Header { key: b"h", value: Some(b"v") }, Header { key: b"n", value: None }];
    assert_eq!(records[0].headers.clone().collect::<Vec<_>>(), headers);
    assert_eq!((records[1].key, records[1].value, records[1].headers.len()), (None, None, 0));
    assert_eq!(header.record_timestamp(records[1].timestamp_delta), 1_700_000_000_005);

    let mut builder = BatchBuilder::new(1_700_000_000_000);
    builder.append(Some(b"k1"), Some(b"hello"), &headers, 1_700_000_000_000).unwrap();
    builder.append(None, None, &[], 1_700_000_000_005).unwrap();
    let mut built = BytesMut::from(builder.build().unwrap());
    // The client writes epoch 0 where the specification has −1 for "unknown"; the CRC leaves it out.
    bowline_codec_kafka::records::set_partition_leader_epoch(&mut built, 0).unwrap();
    assert_eq!(built, bytes);
}

#[test]
fn compressed_batches() {
    for (label, compression) in [
        ("batch_gzip", Compression::Gzip),
        ("batch_snappy", Compression::Snappy),
        ("batch_lz4", Compression::Lz4),
        ("batch_zstd", Compression::Zstd),
    ] {
        let bytes = golden(label);
        let header = validate_batch(&bytes).unwrap();
        assert_eq!(header.compression(), Ok(compression));
        let body = Batch { header, bytes }.records(4096).unwrap();
        let values: Vec<_> = RecordIter::new(&body, 3).map(|record| record.unwrap().value.unwrap()).collect();
        assert_eq!(values, ["value ".repeat(20).as_bytes(); 3], "{label}");
    }
}

/// The golden frame is what we would write, and reads as what we would have written.
fn check_request<R: Request + PartialEq + std::fmt::Debug>(label: &str, version: i16, request: &R) {
    let bytes = golden(label);
    let mut out = Writer::new();
    write_request(&mut out, version, 7, Some("golden"), request).unwrap();
    assert_eq!(out.into_bytes(), bytes, "{label}");

    let mut stream = BytesMut::from(bytes);
    let frame = FrameSplitter::new(FRAME_BYTES_MAX).next_frame(&mut stream).unwrap().unwrap();
    let mut reader = Reader::new(frame);
    let head = RequestHead::decode(&mut reader).unwrap();
    assert_eq!((Some(head.api), head.version), (ApiKey::from_i16(R::KEY), version));
    assert_eq!((head.correlation_id, head.client_id()), (7, Some("golden")));
    let decoded = R::decode(&mut reader, version).unwrap();
    assert_eq!(reader.expect_end(), Ok(()));
    let mut out = Writer::new();
    write_request(&mut out, version, 7, Some("golden"), &decoded).unwrap();
    assert_eq!(out.into_bytes(), golden(label), "{label}");
}

fn golden(label: &str) -> Bytes {
    let line = FRAMES.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(' '));
    from_hex(line.unwrap_or_else(|| panic!("no golden {label}")))
}

fn from_hex(hex: &str) -> Bytes {
    let digit = |c: u8| (c as char).to_digit(16).expect("hex digits") as u8;
    hex.as_bytes().as_chunks::<2>().0.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}
