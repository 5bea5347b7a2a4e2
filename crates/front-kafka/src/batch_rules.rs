//! The rules that a produced batch must keep (Kafka's `LogValidator`), and the broker's stamp on it.
//!
//! Everything is looked at before anything is stored, records of compressed batches too: a batch that consumers cannot
//! read would stop them for good. The bytes are kept as they came, unless the broker has to stamp its own time, the
//! topic wants another compression, or the batch is wrong about its youngest record.

use crate::catalog::AppendRules;
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse};
use bowline_codec_kafka::records::{
    Batch, BatchError, BatchHeader, Compression, RecordIter, TimestampType, recompress, set_log_append_time,
    set_max_timestamp, validate_records, verify_batch,
};
use bowline_topology::config::Recompression;
use bytes::Bytes;

/// Largest batch whatever a topic's `max.message.bytes` says: a record and its block must fit the log.
const BATCH_BYTES_MAX: usize = 32 << 20;

/// What one batch may take when it is decompressed to be looked at, bytes.
pub const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// First version of Produce that may carry zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// Offending records that a response names one by one.
const RECORD_ERRORS_MAX: usize = 100;

/// A record without a timestamp.
const NO_TIMESTAMP: i64 = -1;

/// Why a partition's batch is not taken.
pub struct Refusal {
    error: ErrorCode,
    message: Option<String>,
    records: Vec<BatchIndexAndErrorMessage>,
}

impl Refusal {
    pub fn new(error: ErrorCode, message: Option<&str>) -> Refusal {
        Refusal { error, message: message.map(str::to_owned), records: Vec::new() }
    }

    pub fn fill(self, answer: &mut PartitionProduceResponse) {
        answer.error_code = self.error.code();
        answer.error_message = self.message;
        answer.record_errors = self.records;
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Refusal {
        let records = match &error {
            BatchError::InvalidRecord { index, reason } => vec![record_error(*index, (*reason).to_owned())],
            _ => Vec::new(),
        };
        Refusal { error: error.error_code(), message: Some(error.to_string()), records }
    }
}

/// The batch as it is to be stored. `version`: of the Produce request. `now`: milliseconds since the epoch.
pub fn check(batch: Bytes, rules: &AppendRules, version: i16, now: i64) -> Result<Bytes, Refusal> {
    if batch.is_empty() {
        return Err(Refusal::new(
            ErrorCode::InvalidRecord,
            Some("a partition must come with exactly one batch"),
        ));
    }
    if batch.len() > rules.message_bytes_max.min(BATCH_BYTES_MAX) {
        return Err(Refusal::new(ErrorCode::MessageTooLarge, None));
    }
    let header = verify_batch(&batch)?;
    check_header(&header, version)?;
    let summary = validate_records(&header, &batch, DECOMPRESSED_BYTES_MAX)?;
    if rules.keyed && summary.first_without_key.is_some() {
        return Err(keyless(&header, &batch)?);
    }
    if !rules.log_append_time {
        check_timestamps(&header, &batch, summary.max_timestamp, rules, now)?;
    }
    let batch = match rules.compression {
        Recompression::Producer => batch,
        wanted => recompressed(header, batch, wanted, rules)?,
    };
    if rules.log_append_time {
        let mut stamped = batch.to_vec();
        set_log_append_time(&mut stamped, now)?;
        return Ok(stamped.into());
    }
    // Retention and searches by time go by it.
    if header.max_timestamp != summary.max_timestamp {
        let mut corrected = batch.to_vec();
        set_max_timestamp(&mut corrected, summary.max_timestamp)?;
        return Ok(corrected.into());
    }
    Ok(batch)
}

/// Compaction goes by keys; every record without one is named.
fn keyless(header: &BatchHeader, batch: &Bytes) -> Result<Refusal, Refusal> {
    let body = Batch { header: *header, bytes: batch.clone() }.records(DECOMPRESSED_BYTES_MAX)?;
    let mut records = Vec::new();
    for (index, record) in (0..).zip(RecordIter::new(&body, header.records_count)) {
        if record?.key.is_none() && records.len() < RECORD_ERRORS_MAX {
            records.push(record_error(index, "a compacted topic takes no record without a key".into()));
        }
    }
    let message = Some("one or more records have been rejected".into());
    Ok(Refusal { error: ErrorCode::InvalidRecord, message, records })
}

/// The batch in the compression that the topic wants.
fn recompressed(
    header: BatchHeader,
    batch: Bytes,
    wanted: Recompression,
    rules: &AppendRules,
) -> Result<Bytes, Refusal> {
    let (compression, level) = match wanted {
        Recompression::Producer => return Ok(batch),
        Recompression::Uncompressed => (Compression::None, None),
        Recompression::Gzip(level) => (Compression::Gzip, level),
        Recompression::Snappy => (Compression::Snappy, None),
        Recompression::Lz4 => (Compression::Lz4, None),
        Recompression::Zstd(level) => (Compression::Zstd, level),
    };
    if header.compression()? == compression {
        return Ok(batch);
    }
    let body = Batch { header, bytes: batch }.records(DECOMPRESSED_BYTES_MAX)?;
    let batch = recompress(&header, &body, compression, level)?;
    // It may have grown.
    if batch.len() > rules.message_bytes_max.min(BATCH_BYTES_MAX) {
        return Err(Refusal::new(ErrorCode::MessageTooLarge, None));
    }
    Ok(batch)
}

fn check_header(header: &BatchHeader, version: i16) -> Result<(), Refusal> {
    let invalid = |text| Err(Refusal::new(ErrorCode::InvalidRecord, Some(text)));
    let BatchHeader { records_count: count, last_offset_delta, .. } = *header;
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(BatchError::CountMismatch { count, last_offset_delta }.into());
    }
    if header.is_control() {
        return Err(BatchError::ControlBatch.into());
    }
    // Without a producer id the sequence means nothing: aiokafka sends 0, others −1.
    if header.has_producer_id() && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return invalid("a producer id needs an epoch and a sequence");
    }
    if header.is_transactional() && !header.has_producer_id() {
        return invalid("a transaction needs a producer id");
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(Refusal::new(ErrorCode::InvalidTimestamp, Some("producers must not set LogAppendTime")));
    }
    if header.compression()? == Compression::Zstd && version < ZSTD_FROM {
        return Err(Refusal::new(ErrorCode::UnsupportedCompressionType, None));
    }
    Ok(())
}

/// Records must not lie too far from now (KIP-937).
fn check_timestamps(
    header: &BatchHeader,
    batch: &Bytes,
    max_timestamp: i64,
    rules: &AppendRules,
    now: i64,
) -> Result<(), Refusal> {
    let earliest = now.saturating_sub(rules.before_max_ms);
    let latest = now.saturating_add(rules.after_max_ms);
    if max_timestamp <= latest && rules.before_max_ms == i64::MAX {
        return Ok(());
    }
    let body = Batch { header: *header, bytes: batch.clone() }.records(DECOMPRESSED_BYTES_MAX)?;
    let mut records = Vec::new();
    for (index, record) in (0..).zip(RecordIter::new(&body, header.records_count)) {
        let timestamp = header.record_timestamp(record?.timestamp_delta);
        let fits = timestamp == NO_TIMESTAMP || (earliest..=latest).contains(&timestamp);
        if !fits && records.len() < RECORD_ERRORS_MAX {
            let text = format!("timestamp {timestamp} is outside of {earliest}..={latest}");
            records.push(record_error(index, text));
        }
    }
    match records.is_empty() {
        true => Ok(()),
        false => Err(Refusal {
            error: ErrorCode::InvalidTimestamp,
            message: Some("timestamps of some records are out of range".into()),
            records,
        }),
    }
}

fn record_error(batch_index: i32, message: String) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage { batch_index, batch_index_error_message: Some(message) }
}
