use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::error::ErrorCode;

const ALL: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
const MAX: usize = 8 << 20;

/// Five records with everything that a record can have.
fn sample(compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(1000).compression(compression);
    for i in 0..5i64 {
        let key = [i as u8; 3];
        let value = vec![b'v'; 40_000 * i as usize];
        let headers = [Header { key: b"h", value: Some(&key) }, Header { key: b"", value: None }];
        let key = (i != 2).then_some(&key[..]);
        let value = (i != 3).then_some(&value[..]);
        builder.append(key, value, &headers[..i as usize % 3], 1000 - i).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn batches_read_back_in_every_compression() {
    for compression in ALL {
        let bytes = sample(compression);
        let header = validate_batch(&bytes).unwrap();
        assert_eq!(header.compression(), Ok(compression));
        assert_eq!((header.last_offset(), header.next_offset(), header.records_count), (4, 5, 5));
        assert_eq!((header.base_timestamp, header.max_timestamp), (1000, 1000));
        assert_eq!(header.encode(), bytes[..HEADER_BYTES]);

        let summary = validate_records(&header, &bytes, MAX).unwrap();
        assert_eq!((summary.first_without_key, summary.max_timestamp), (Some(2), 1000));
        let body = Batch { header, bytes: bytes.clone() }.records(MAX).unwrap();
        let records: Vec<_> = RecordIter::new(&body, 5).map(Result::unwrap).collect();
        assert_eq!(records[4].value.unwrap().len(), 160_000);
        assert_eq!(records[3].value, None);
        assert_eq!(records[2].headers.clone().count(), 2);
        assert_eq!(header.record_timestamp(records[4].timestamp_delta), 996);
        assert_eq!(header.record_offset(records[4].offset_delta), 4);
    }
}

#[test]
fn uncompressed_records_are_slices_of_the_batch() {
    let bytes = sample(Compression::None);
    let batch = Batches::new(bytes.clone()).next().unwrap().unwrap();
    let body = batch.records(MAX).unwrap();
    assert_eq!(body.as_ptr(), bytes[HEADER_BYTES..].as_ptr());
}

#[test]
fn every_damaged_bit_is_noticed() {
    let good = sample(Compression::Zstd);
    for position in 0..good.len() {
        let mut bad = good.to_vec();
        bad[position] ^= 1 << (position % 8);
        // Offset and leader epoch are stamped by the broker, and so not covered.
        let covered = !(0..8).contains(&position) && !(12..16).contains(&position);
        assert_eq!(verify_batch(&bad).is_err(), covered, "byte {position}");
    }
    let mut bad = good.to_vec();
    bad[30] ^= 1;
    let error = validate_batch(&bad).unwrap_err();
    assert!(matches!(error, BatchError::CrcMismatch { .. }));
    assert_eq!(error.error_code(), ErrorCode::CorruptMessage);
}

#[test]
fn stamping_keeps_the_batch_valid() {
    let mut bytes = sample(Compression::Lz4).to_vec();
    set_base_offset(&mut bytes, 1 << 40).unwrap();
    set_partition_leader_epoch(&mut bytes, 9).unwrap();
    let header = verify_batch(&bytes).unwrap();
    assert_eq!((header.base_offset, header.partition_leader_epoch), (1 << 40, 9));
    assert_eq!(header.last_offset(), (1 << 40) + 4);

    set_log_append_time(&mut bytes, 777).unwrap();
    let header = verify_batch(&bytes).unwrap();
    assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, 777));
    assert_eq!(header.record_timestamp(-3), 777);

    set_max_timestamp(&mut bytes, 778).unwrap();
    assert_eq!(verify_batch(&bytes).unwrap().max_timestamp, 778);
    assert!(set_max_timestamp(&mut bytes[..70], 1).is_err());

    set_producer(&mut bytes, 5, 1, i32::MAX - 1).unwrap();
    let header = validate_batch(&bytes).unwrap();
    assert_eq!((header.producer_id, header.producer_epoch), (5, 1));
    // MAX - 1, MAX, 0, 1, 2
    assert_eq!(header.last_sequence(), 2);
    assert!(set_log_append_time(&mut bytes[..70], 1).is_err());
    assert!(set_base_offset(&mut [], 1).is_err());
}

#[test]
fn producers_must_keep_the_rules() {
    let mut builder = BatchBuilder::new(0);
    assert_eq!(builder.clone().build(), Err(BuildError::Empty));
    builder.append(None, None, &[], 0).unwrap();
    let build = |builder: BatchBuilder| builder.build().unwrap();
    let good = build(builder.clone().producer(1, 0, 0).transactional());
    assert!(validate_batch(&good).is_ok_and(|header| header.is_transactional()));

    let control = validate_batch(&build(builder.clone().producer(1, 0, 0).control()));
    assert_eq!(control, Err(BatchError::ControlBatch));
    let no_sequence = validate_batch(&build(builder.clone().producer(1, 0, -1)));
    assert!(matches!(no_sequence, Err(BatchError::InvalidProducer { .. })));
    let no_producer = validate_batch(&build(builder.clone().transactional()));
    assert!(matches!(no_producer, Err(BatchError::InvalidProducer { .. })));
    let two = [good.clone(), good.clone()].concat();
    assert_eq!(validate_batch(&two), Err(BatchError::MoreThanOneBatch(good.len())));
    assert!(matches!(validate_batch(&good[..good.len() - 1]), Err(BatchError::Truncated { .. })));
    assert!(matches!(validate_batch(&[]), Err(BatchError::Truncated { .. })));

    let mut counted = good.to_vec();
    counted[60] = 2;
    batch::stamp_crc(&mut counted);
    assert_eq!(validate_batch(&counted), Err(BatchError::CountMismatch { count: 2, last_offset_delta: 0 }));
}

#[test]
fn old_formats_are_named() {
    let mut old = sample(Compression::None).to_vec();
    old[16] = 1;
    let error = validate_batch(&old).unwrap_err();
    assert_eq!(error, BatchError::UnsupportedMagic(1));
    assert_eq!(error.error_code(), ErrorCode::InvalidRecord);
    // The smallest message of format 0 is shorter than a batch header.
    assert_eq!(validate_batch(&[0; 26]), Err(BatchError::UnsupportedMagic(0)));
}

#[test]
fn records_must_be_as_many_and_in_order() {
    let bytes = sample(Compression::None);
    let header = BatchHeader::parse(&bytes).unwrap();
    for count in [0, 4, 6, i32::MAX] {
        let lying = BatchHeader { records_count: count, ..header };
        assert!(
            matches!(validate_records(&lying, &bytes, MAX), Err(BatchError::InvalidRecord { .. })),
            "{count}"
        );
    }
    let mut builder = BatchBuilder::new(0);
    builder.append(Some(b"k"), None, &[], 0).unwrap();
    let mut bytes = builder.build().unwrap().to_vec();
    // length, attributes, timestamp delta, then the offset delta: 1 in zigzag
    bytes[HEADER_BYTES + 3] = 2;
    batch::stamp_crc(&mut bytes);
    let header = validate_batch(&bytes).unwrap();
    assert!(matches!(
        validate_records(&header, &bytes.into(), MAX),
        Err(BatchError::InvalidRecord { index: 0, .. })
    ));
}

#[test]
fn truncated_last_batch_ends_the_iteration() {
    let first = sample(Compression::Snappy);
    let second = sample(Compression::Gzip);
    let whole = [first.clone(), second.clone()].concat();
    for cut in [whole.len() - 1, first.len() + HEADER_BYTES, first.len() + 10, first.len()] {
        let mut batches = Batches::new(Bytes::copy_from_slice(&whole[..cut]));
        assert_eq!(batches.next().unwrap().unwrap().bytes, first);
        assert_eq!(batches.next(), None);
        assert_eq!(batches.rest().len(), cut - first.len());
    }
    assert_eq!(Batches::new(whole.into()).map(|batch| batch.unwrap().header.records_count).sum::<i32>(), 10);
    let mut broken = first.to_vec();
    broken[8..12].copy_from_slice(&(-1i32).to_be_bytes());
    let mut batches = Batches::new(broken.into());
    assert_eq!(batches.next(), Some(Err(BatchError::InvalidLength(-1))));
    assert_eq!(batches.next(), None);
}

#[test]
fn transaction_markers_are_recognised() {
    for (commit, expected) in [(true, ControlRecord::Commit), (false, ControlRecord::Abort)] {
        let bytes = end_transaction_marker(commit, 7, 2, 3, 99).unwrap();
        let header = verify_batch(&bytes).unwrap();
        assert!(header.is_control() && header.is_transactional());
        assert_eq!((header.producer_id, header.producer_epoch, header.last_sequence()), (7, 2, -1));
        let body = Batch { header, bytes }.records(MAX).unwrap();
        let record = RecordIter::new(&body, 1).next().unwrap().unwrap();
        assert_eq!(ControlRecord::of(&record), Some(expected));
        assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 3][..]));
    }
}

#[test]
fn decompression_stops_at_its_limit() {
    let zeros = vec![0; 4 << 20];
    for compression in ALL {
        let bomb = compression.compress(&zeros).unwrap();
        assert_eq!(compression.decompress(&bomb, zeros.len()).unwrap(), zeros, "{compression:?}");
        let stopped = compression.decompress(&bomb, zeros.len() - 1);
        assert_eq!(
            stopped,
            Err(CompressionError::TooLarge { max_bytes: zeros.len() - 1 }),
            "{compression:?}"
        );
        assert!(compression.decompress(&bomb, 0).is_err());
    }
    // A snappy block of six bytes that claims to hold 1 GiB.
    let claim = [0x80, 0x80, 0x80, 0x80, 0x04, 0x00];
    assert!(matches!(
        Compression::Snappy.decompress(&claim, usize::MAX),
        Err(CompressionError::Corrupt { .. })
    ));
}

#[test]
fn snappy_is_read_with_and_without_framing() {
    let data = b"snappy ".repeat(20_000);
    let framed = Compression::Snappy.compress(&data).unwrap();
    assert_eq!(&framed[..16], b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    assert_eq!(Compression::Snappy.decompress(&framed, data.len()).unwrap(), data);
    let raw = snap::raw::Encoder::new().compress_vec(&data).unwrap();
    assert_eq!(Compression::Snappy.decompress(&raw, data.len()).unwrap(), data);
    for cut in [15, 17, 22, framed.len() - 1] {
        assert!(Compression::Snappy.decompress(&framed[..cut], data.len()).is_err(), "{cut}");
    }
}

#[test]
fn linked_lz4_blocks_are_read_too() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let data: Vec<u8> = (0..300_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
    let info =
        FrameInfo::new().block_mode(BlockMode::Linked).block_size(BlockSize::Max64KB).content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    std::io::Write::write_all(&mut encoder, &data).unwrap();
    let frame = encoder.finish().unwrap();
    assert_eq!(Compression::Lz4.decompress(&frame, data.len()).unwrap(), data);
}

proptest! {
    #[test]
    fn records_read_back(
        records in proptest::collection::vec(
            (any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>(), any::<Vec<(Vec<u8>, Option<Vec<u8>>)>>(), any::<i64>()),
            1..6,
        ),
        codec in 0i16..5,
    ) {
        let compression = Compression::from_bits(codec).unwrap();
        let mut builder = BatchBuilder::new(records[0].3).compression(compression);
        for (key, value, headers, timestamp) in &records {
            let headers: Vec<_> = headers.iter().map(|(k, v)| Header { key: k, value: v.as_deref() }).collect();
            builder.append(key.as_deref(), value.as_deref(), &headers, *timestamp).unwrap();
        }
        let bytes = builder.build().unwrap();
        let header = validate_batch(&bytes).unwrap();
        let body = Batch { header, bytes }.records(MAX).unwrap();
        let read: Vec<_> = RecordIter::new(&body, header.records_count).map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), records.len());
        for (record, (key, value, headers, timestamp)) in read.iter().zip(&records) {
            prop_assert_eq!(record.key, key.as_deref());
            prop_assert_eq!(record.value, value.as_deref());
            prop_assert_eq!(header.base_timestamp.wrapping_add(record.timestamp_delta), *timestamp);
            let got: Vec<_> = record.headers.clone().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(&got, headers);
        }
    }

    #[test]
    fn arbitrary_bodies_never_panic(data in proptest::collection::vec(any::<u8>(), 0..300), count in any::<i32>()) {
        for compression in ALL {
            let _ = compression.decompress(&data, 1 << 20);
        }
        let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        framed.extend(&data);
        let _ = Compression::Snappy.decompress(&framed, 1 << 20);
        for record in RecordIter::new(&data, count).flatten() {
            prop_assert_eq!(record.headers.len(), record.headers.count());
        }
        let _ = BatchHeader::parse(&data);
    }

    /// Damage behind the checksum, as a hostile producer can make it.
    #[test]
    fn damaged_bodies_never_panic(codec in 0i16..5, at in 0usize..400, byte in any::<u8>()) {
        let mut builder = BatchBuilder::new(0).compression(Compression::from_bits(codec).unwrap());
        for i in 0..20 {
            builder.append(Some(b"key"), Some(&[i; 50]), &[Header { key: b"h", value: Some(b"v") }], 0).unwrap();
        }
        let mut bytes = builder.build().unwrap().to_vec();
        let at = HEADER_BYTES + at % (bytes.len() - HEADER_BYTES);
        bytes[at] = byte;
        batch::stamp_crc(&mut bytes);
        let header = validate_batch(&bytes).unwrap();
        let _ = validate_records(&header, &bytes.into(), 1 << 20);
    }
}
