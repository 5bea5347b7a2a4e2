//! Batches anew: without some of their records, as compaction leaves them, or in another compression.
//!
//! What stays keeps its offset and its time; base offset, last offset delta, producer and sequence of the batch stay as
//! well, so that consumers and producers find everything where it was. Tombstones that stay give the batch a *delete
//! horizon* (KIP-534): the time after which they may go, in place of the base timestamp. So do transactions' markers.

use bytes::Bytes;

use super::batch::{COMPRESSION_MASK, DELETE_HORIZON, HEADER_BYTES, set_base_offset, stamp_crc};
use super::builder::{record_bytes, write_record};
use super::{Batch, BatchError, BatchHeader, Compression, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordIter};

/// What is left of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retained {
    /// Every record, and nothing else has changed.
    All,
    Some {
        batch: Bytes,
        /// Of the new batch, milliseconds since the epoch, if there is a tombstone in it.
        tombstones_until: Option<i64>,
    },
    Nothing,
}

/// Keeps of a batch, whose first offset is `base_offset`, what `keep` says. If a tombstone (a record with a key and no
/// value, or a marker) is kept in a batch that has no delete horizon, the horizon becomes `horizon`.
///
/// # Errors
/// The batch is damaged. Decompressing gives at most `bytes_max`.
pub fn retain(
    batch: &Batch,
    base_offset: i64,
    horizon: i64,
    bytes_max: usize,
    mut keep: impl FnMut(&Record<'_>) -> bool,
) -> Result<Retained, BatchError> {
    let header = batch.header;
    let body = batch.records(bytes_max)?;
    let (mut kept, mut tombstones) = (0, false);
    let mut verdicts = Vec::with_capacity(header.records_count.max(0) as usize);
    for record in RecordIter::new(&body, header.records_count) {
        let record = record?;
        let stays = keep(&record);
        verdicts.push(stays);
        kept += usize::from(stays);
        tombstones |= stays && record.key.is_some() && (record.value.is_none() || header.is_control());
    }
    let base_timestamp = match tombstones && !header.has_delete_horizon() {
        true => horizon,
        false => header.base_timestamp,
    };
    if kept == 0 {
        return Ok(Retained::Nothing);
    }
    if kept == verdicts.len()
        && base_timestamp == header.base_timestamp
        && tombstones == header.has_delete_horizon()
    {
        return Ok(Retained::All);
    }
    let mut out = vec![0; HEADER_BYTES];
    out.reserve(body.len());
    let mut max_timestamp = i64::MIN;
    let mut records = RecordIter::new(&body, header.records_count);
    for stays in verdicts {
        let begin = records.rest();
        let Some(record) = records.next().transpose()? else { break };
        if !stays {
            continue;
        }
        let timestamp = header.record_timestamp(record.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        if base_timestamp == header.base_timestamp {
            out.extend_from_slice(&begin[..begin.len() - records.rest().len()]);
        } else {
            let Record { offset_delta, key, value, headers, .. } = record;
            let delta = timestamp.wrapping_sub(base_timestamp);
            let length = record_bytes(delta, offset_delta, key, value, headers.clone());
            write_record(&mut out, length, delta, offset_delta, key, value, headers);
        }
    }
    let attributes = match tombstones {
        true => header.attributes | DELETE_HORIZON,
        false => header.attributes & !DELETE_HORIZON,
    };
    let header = BatchHeader {
        base_offset,
        attributes,
        base_timestamp,
        max_timestamp,
        records_count: kept as i32,
        ..header
    };
    let batch = seal(header, out)?;
    Ok(Retained::Some { batch, tombstones_until: tombstones.then_some(base_timestamp) })
}

/// The same records in another compression, at `level` if it has levels. `body`: the batch's records, decompressed.
pub fn recompress(
    header: &BatchHeader,
    body: &[u8],
    compression: Compression,
    level: Option<i32>,
) -> Result<Bytes, BatchError> {
    let mut out = vec![0; HEADER_BYTES];
    match compression {
        Compression::None => out.extend_from_slice(body),
        _ => out.extend_from_slice(&compression.compress_at(body, level)?),
    }
    let attributes = (header.attributes & !COMPRESSION_MASK) | compression as i16;
    Ok(finish(BatchHeader { attributes, ..*header }, out))
}

/// A batch that takes `count` offsets (≥ 1) and holds no record: it keeps a place that compaction has emptied.
pub fn empty_batch(base_offset: i64, count: u32) -> Bytes {
    let header = BatchHeader {
        base_offset,
        batch_length: 0,
        partition_leader_epoch: -1,
        crc: 0,
        attributes: 0,
        last_offset_delta: i32::try_from(count.saturating_sub(1)).unwrap_or(i32::MAX),
        base_timestamp: -1,
        max_timestamp: -1,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: -1,
        base_sequence: NO_SEQUENCE,
        records_count: 0,
    };
    finish(header, vec![0; HEADER_BYTES])
}

/// `bytes`: room for the header, then the records as they are.
fn seal(header: BatchHeader, mut bytes: Vec<u8>) -> Result<Bytes, BatchError> {
    let compression = header.compression()?;
    if compression != Compression::None {
        let body = compression.compress(&bytes[HEADER_BYTES..])?;
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(&body);
    }
    Ok(finish(header, bytes))
}

fn finish(header: BatchHeader, mut bytes: Vec<u8>) -> Bytes {
    let header = BatchHeader { batch_length: (bytes.len() - 12) as i32, ..header };
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    stamp_crc(&mut bytes);
    debug_assert!(set_base_offset(&mut bytes, header.base_offset).is_ok());
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, TimestampType, set_log_append_time, set_producer, verify_batch};
    use super::*;

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    type Simple = (i64, Option<Vec<u8>>, Option<Vec<u8>>, i64);

    fn batch(bytes: Bytes) -> Batch {
        Batch { header: verify_batch(&bytes).unwrap(), bytes }
    }

    fn ten(compression: Compression) -> Batch {
        let mut builder = BatchBuilder::new(1_000).compression(compression);
        for i in 0..10u8 {
            let value = [i; 30];
            let value = (i % 3 != 0).then_some(&value[..]);
            let header = super::super::Header { key: b"h", value: Some(b"v") };
            builder.append(Some(&[i]), value, &[header], 1_000 + i64::from(i)).unwrap();
        }
        let mut bytes = builder.build().unwrap().to_vec();
        set_producer(&mut bytes, 7, 2, 40).unwrap();
        batch(bytes.into())
    }

    fn records(batch: &Batch, base_offset: i64) -> Vec<Simple> {
        let body = batch.records(1 << 20).unwrap();
        RecordIter::new(&body, batch.header.records_count)
            .map(|record| {
                let r = record.unwrap();
                let time = batch.header.record_timestamp(r.timestamp_delta);
                assert_eq!(r.headers.clone().count(), 1);
                (
                    base_offset + i64::from(r.offset_delta),
                    r.key.map(Into::into),
                    r.value.map(Into::into),
                    time,
                )
            })
            .collect()
    }

    #[test]
    fn what_stays_is_where_it_was_and_tombstones_get_their_time() {
        for compression in ALL {
            let whole = ten(compression);
            let before = records(&whole, 500);
            let Retained::Some { batch: bytes, tombstones_until } =
                retain(&whole, 500, 99_000, 1 << 20, |r| r.offset_delta % 2 == 0).unwrap()
            else {
                panic!("half of them stay");
            };
            assert_eq!(tombstones_until, Some(99_000));
            let after = batch(bytes);
            let expected: Vec<Simple> = before.iter().filter(|r| r.0 % 2 == 0).cloned().collect();
            assert_eq!(records(&after, 500), expected, "{compression:?}");
            let h = after.header;
            assert_eq!((h.base_offset, h.last_offset_delta, h.records_count), (500, 9, 5));
            assert_eq!((h.producer_id, h.producer_epoch, h.base_sequence), (7, 2, 40));
            assert_eq!((h.base_timestamp, h.max_timestamp, h.has_delete_horizon()), (99_000, 1_008, true));
            assert_eq!(h.compression().unwrap(), compression);
            // The horizon stays as long as there are tombstones.
            assert_eq!(retain(&after, 500, 200_000, 1 << 20, |_| true).unwrap(), Retained::All);
            let Retained::Some { batch: bytes, tombstones_until } =
                retain(&after, 500, 200_000, 1 << 20, |r| r.value.is_some()).unwrap()
            else {
                panic!("the values stay");
            };
            assert_eq!(tombstones_until, None);
            let expected: Vec<Simple> = expected.into_iter().filter(|r| r.2.is_some()).collect();
            assert_eq!(records(&batch(bytes), 500), expected);
            assert_eq!(retain(&after, 500, 0, 1 << 20, |_| false).unwrap(), Retained::Nothing);
        }
    }

    #[test]
    fn the_brokers_time_stays() {
        let mut bytes = ten(Compression::Lz4).bytes.to_vec();
        set_log_append_time(&mut bytes, 5_000).unwrap();
        let whole = batch(bytes.into());
        let Retained::Some { batch: bytes, .. } =
            retain(&whole, 0, 99_000, 1 << 20, |r| r.offset_delta < 4).unwrap()
        else {
            panic!("some stay");
        };
        let after = batch(bytes);
        assert_eq!(after.header.timestamp_type(), TimestampType::LogAppendTime);
        assert!(records(&after, 0).iter().all(|record| record.3 == 5_000));
    }

    #[test]
    fn any_compression_becomes_any_other() {
        for from in ALL {
            let whole = ten(from);
            let body = whole.records(1 << 20).unwrap();
            for to in ALL {
                let after = batch(recompress(&whole.header, &body, to, None).unwrap());
                assert_eq!(after.header.compression().unwrap(), to);
                assert_eq!(records(&after, 0), records(&whole, 0));
                assert_eq!(after.header.base_sequence, 40);
            }
        }
    }

    #[test]
    fn a_marker_gets_its_time_and_is_read_as_before() {
        let bytes = super::super::end_transaction_marker(false, 7, 2, 0, 1_000).unwrap();
        let Retained::Some { batch: bytes, tombstones_until } =
            retain(&batch(bytes), 500, 99_000, 1 << 20, |_| true).unwrap()
        else {
            panic!("it stays");
        };
        let after = batch(bytes);
        assert_eq!((tombstones_until, after.header.has_delete_horizon()), (Some(99_000), true));
        assert!(after.header.is_control() && after.header.is_transactional());
        assert_eq!((after.header.base_offset, after.header.producer_id), (500, 7));
        let body = after.records(1 << 20).unwrap();
        let record = RecordIter::new(&body, 1).next().unwrap().unwrap();
        assert_eq!(super::super::ControlRecord::of(&record), Some(super::super::ControlRecord::Abort));
        assert_eq!(after.header.record_timestamp(record.timestamp_delta), 1_000);
        assert_eq!(retain(&after, 500, 200_000, 1 << 20, |_| true).unwrap(), Retained::All);
        assert_eq!(retain(&after, 500, 200_000, 1 << 20, |_| false).unwrap(), Retained::Nothing);
    }

    #[test]
    fn an_empty_batch_is_a_batch() {
        let empty = batch(empty_batch(77, 5));
        assert_eq!((empty.header.base_offset, empty.header.next_offset()), (77, 82));
        assert_eq!(RecordIter::new(&empty.records(10).unwrap(), 0).count(), 0);
    }
}
