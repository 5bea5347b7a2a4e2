//! Making batches: on the producer's side, and where the broker turns messages into records.

use bytes::Bytes;

use super::batch::{HEADER_BYTES, attributes, stamp_crc};
use super::varint::{size, write_i32, write_i64};
use super::{BatchHeader, Compression, CompressionError, Header, NO_PRODUCER_ID, NO_SEQUENCE};

/// A batch length must fit an int32, and so must everything inside.
const BODY_BYTES_MAX: usize = i32::MAX as usize - HEADER_BYTES;

/// Collects records; `build` compresses and seals them.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    compression: Compression,
    transactional: bool,
    control: bool,
    producer: (i64, i16, i32),
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    /// Room for the header, then the records.
    batch: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("a batch holds at least one record")]
    Empty,
    #[error("the batch would not fit a 32-bit length")]
    TooLarge,
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

impl BatchBuilder {
    /// `base_timestamp`: milliseconds since the epoch, by convention the first record's.
    pub fn new(base_timestamp: i64) -> Self {
        Self {
            compression: Compression::None,
            transactional: false,
            control: false,
            producer: (NO_PRODUCER_ID, -1, NO_SEQUENCE),
            base_timestamp,
            max_timestamp: i64::MIN,
            count: 0,
            batch: vec![0; HEADER_BYTES],
        }
    }

    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// For an idempotent producer. See also `set_producer`, for when the sequence is not known yet.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer = (id, epoch, base_sequence);
        self
    }

    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// Marks a batch of the broker's own, such as the end of a transaction.
    pub fn control(mut self) -> Self {
        self.control = true;
        self
    }

    pub fn count(&self) -> i32 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch before compression, header included.
    pub fn uncompressed_bytes(&self) -> usize {
        self.batch.len()
    }

    /// Adds a record and gives its offset delta. `timestamp`: milliseconds since the epoch.
    pub fn append(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
        timestamp: i64,
    ) -> Result<i32, BuildError> {
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let offset_delta = self.count;
        let length = record_bytes(timestamp_delta, offset_delta, key, value, headers.iter().copied());
        let left = BODY_BYTES_MAX - self.batch.len().min(BODY_BYTES_MAX);
        if length.saturating_add(size(i64::MAX)) > left || self.count == i32::MAX {
            return Err(BuildError::TooLarge);
        }
        self.batch.reserve(length + 5);
        let headers = headers.iter().copied();
        write_record(&mut self.batch, length, timestamp_delta, offset_delta, key, value, headers);
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        Ok(offset_delta)
    }

    /// The batch with base offset 0 and no leader epoch, as a producer sends it.
    pub fn build(mut self) -> Result<Bytes, BuildError> {
        if self.count == 0 {
            return Err(BuildError::Empty);
        }
        if self.compression != Compression::None {
            let body = self.compression.compress(&self.batch[HEADER_BYTES..])?;
            self.batch.truncate(HEADER_BYTES);
            self.batch.extend_from_slice(&body);
        }
        if self.batch.len() > BODY_BYTES_MAX {
            return Err(BuildError::TooLarge);
        }
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let header = BatchHeader {
            base_offset: 0,
            batch_length: self.batch.len() as i32 - 12,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: attributes(self.compression, self.transactional, self.control),
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            records_count: self.count,
        };
        self.batch[..HEADER_BYTES].copy_from_slice(&header.encode());
        stamp_crc(&mut self.batch);
        Ok(self.batch.into())
    }
}

/// What follows a record's length.
pub(super) fn record_bytes<'a>(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl ExactSizeIterator<Item = Header<'a>> + Clone,
) -> usize {
    let headers_bytes: usize =
        headers.clone().map(|h| nullable_bytes(Some(h.key)) + nullable_bytes(h.value)).sum();
    1 + size(timestamp_delta)
        + size(offset_delta.into())
        + nullable_bytes(key)
        + nullable_bytes(value)
        + size(headers.len() as i64)
        + headers_bytes
}

/// A whole record; `length` is [`record_bytes`] of it.
pub(super) fn write_record<'a>(
    out: &mut Vec<u8>,
    length: usize,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl ExactSizeIterator<Item = Header<'a>>,
) {
    write_i32(out, length as i32);
    out.push(0);
    write_i64(out, timestamp_delta);
    write_i32(out, offset_delta);
    write_nullable(out, key);
    write_nullable(out, value);
    write_i32(out, headers.len() as i32);
    for header in headers {
        write_nullable(out, Some(header.key));
        write_nullable(out, header.value);
    }
}

fn nullable_bytes(field: Option<&[u8]>) -> usize {
    match field {
        Some(field) => size(field.len() as i64) + field.len(),
        None => 1,
    }
}

fn write_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(field) => {
            write_i64(out, field.len() as i64);
            out.extend_from_slice(field);
        }
        None => write_i64(out, -1),
    }
}
