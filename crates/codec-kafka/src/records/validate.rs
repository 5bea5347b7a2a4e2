//! Checks of whole batches: damage, and the rules that a producer must keep.

use bytes::Bytes;

use super::batch::{batch_crc, parse_whole};
use super::{Batch, BatchError, BatchHeader, NO_SEQUENCE, RecordIter};

/// Checks that `bytes` is exactly one batch and that its CRC-32C holds: what a reader wants to know.
pub fn verify_batch(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = parse_whole(bytes)?;
    let computed = batch_crc(bytes);
    if computed != header.crc {
        return Err(BatchError::CrcMismatch { stored: header.crc, computed });
    }
    Ok(header)
}

/// Checks the `records` field of one partition in a Produce request, without decompressing: exactly
/// one undamaged batch, at least one record and no gaps between offsets, no control batch, known
/// compression, and a sequence wherever there is a producer id.
pub fn validate_batch(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = verify_batch(bytes)?;
    header.compression()?;
    let BatchHeader { records_count: count, last_offset_delta, .. } = header;
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(BatchError::CountMismatch { count, last_offset_delta });
    }
    if header.is_control() {
        return Err(BatchError::ControlBatch);
    }
    let producer_fits = match header.has_producer_id() {
        true => header.producer_epoch >= 0 && header.base_sequence >= 0,
        false => header.base_sequence == NO_SEQUENCE && !header.is_transactional(),
    };
    if !producer_fits {
        let BatchHeader { producer_id, producer_epoch, base_sequence, .. } = header;
        return Err(BatchError::InvalidProducer { producer_id, producer_epoch, base_sequence });
    }
    Ok(header)
}

/// What a look at every record of a batch has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordsSummary {
    /// Milliseconds since the epoch.
    pub max_timestamp: i64,
    /// Offset delta of the first record without a key; compacted topics refuse those.
    pub first_without_key: Option<i32>,
    /// Bytes of the records once decompressed.
    pub decompressed_bytes: usize,
}

/// Reads every record of a batch that passed `validate_batch`: all are well formed, as many as the
/// header says, with offset deltas 0, 1, 2 …
pub fn validate_records(
    header: &BatchHeader,
    batch: &Bytes,
    max_bytes: usize,
) -> Result<RecordsSummary, BatchError> {
    let batch = Batch { header: *header, bytes: batch.clone() };
    let body = batch.records(max_bytes)?;
    let mut summary =
        RecordsSummary { max_timestamp: i64::MIN, first_without_key: None, decompressed_bytes: body.len() };
    for (index, record) in (0..).zip(RecordIter::new(&body, header.records_count)) {
        let record = record?;
        if record.offset_delta != index {
            return Err(BatchError::InvalidRecord { index, reason: "offset delta is out of order" });
        }
        if record.key.is_none() && summary.first_without_key.is_none() {
            summary.first_without_key = Some(index);
        }
        summary.max_timestamp = summary.max_timestamp.max(header.record_timestamp(record.timestamp_delta));
    }
    Ok(summary)
}
