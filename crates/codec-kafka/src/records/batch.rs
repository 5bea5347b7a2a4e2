//! The 61 bytes that describe a batch.
//!
//! ```text
//!  0 base_offset            i64     23 last_offset_delta  i32     51 producer_epoch  i16
//!  8 batch_length           i32     27 base_timestamp     i64     53 base_sequence   i32
//! 12 partition_leader_epoch i32     35 max_timestamp      i64     57 records_count   i32
//! 16 magic                  i8      43 producer_id        i64     61 records
//! 17 crc                    u32
//! 21 attributes             i16: compression 0-2, log append time 3, transactional 4, control 5,
//!                                delete horizon 6
//! ```
//! `batch_length` counts what follows it. The CRC-32C covers everything from the attributes on, so
//! offset and leader epoch can be stamped without touching it.

use bytes::Bytes;

use super::{BatchError, Compression};
use crate::checksum::crc32c;

/// Size of the header.
pub const HEADER_BYTES: usize = 61;
/// `base_offset` and `batch_length`, which the length does not count.
const LENGTH_OVERHEAD: usize = 12;
const MAGIC: i8 = 2;

const CRC_AT: usize = 17;
/// What the CRC covers begins here.
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;

pub(super) const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
pub(super) const DELETE_HORIZON: i16 = 0x40;

/// The producer id of a batch without idempotence.
pub const NO_PRODUCER_ID: i64 = -1;
pub const NO_SEQUENCE: i32 = -1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's clock, one timestamp per record.
    CreateTime,
    /// The broker's clock: `max_timestamp` holds for every record.
    LogAppendTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes of the batch behind this field.
    pub batch_length: i32,
    pub partition_leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    /// Milliseconds since the epoch; records are relative to it.
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`; the records need not be there yet. Checks format and
    /// length, nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            // The oldest formats are shorter; tell them apart before asking for more bytes.
            check_magic(bytes)?;
            return Err(BatchError::Truncated { needed: HEADER_BYTES, available: bytes.len() });
        };
        check_magic(head)?;
        let header = Self {
            base_offset: i64::from_be_bytes(at(head, 0)),
            batch_length: i32::from_be_bytes(at(head, 8)),
            partition_leader_epoch: i32::from_be_bytes(at(head, 12)),
            crc: u32::from_be_bytes(at(head, CRC_AT)),
            attributes: i16::from_be_bytes(at(head, ATTRIBUTES_AT)),
            last_offset_delta: i32::from_be_bytes(at(head, 23)),
            base_timestamp: i64::from_be_bytes(at(head, 27)),
            max_timestamp: i64::from_be_bytes(at(head, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(at(head, PRODUCER_ID_AT)),
            producer_epoch: i16::from_be_bytes(at(head, 51)),
            base_sequence: i32::from_be_bytes(at(head, 53)),
            records_count: i32::from_be_bytes(at(head, 57)),
        };
        if header.batch_length < (HEADER_BYTES - LENGTH_OVERHEAD) as i32 {
            return Err(BatchError::InvalidLength(header.batch_length));
        }
        Ok(header)
    }

    /// The header's bytes with `crc` as it is. Lets a broker send a stamped header in front of
    /// records that stay where they are.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut head = [0; HEADER_BYTES];
        put(&mut head, 0, self.base_offset.to_be_bytes());
        put(&mut head, 8, self.batch_length.to_be_bytes());
        put(&mut head, 12, self.partition_leader_epoch.to_be_bytes());
        put(&mut head, 16, MAGIC.to_be_bytes());
        put(&mut head, CRC_AT, self.crc.to_be_bytes());
        put(&mut head, ATTRIBUTES_AT, self.attributes.to_be_bytes());
        put(&mut head, 23, self.last_offset_delta.to_be_bytes());
        put(&mut head, 27, self.base_timestamp.to_be_bytes());
        put(&mut head, MAX_TIMESTAMP_AT, self.max_timestamp.to_be_bytes());
        put(&mut head, PRODUCER_ID_AT, self.producer_id.to_be_bytes());
        put(&mut head, 51, self.producer_epoch.to_be_bytes());
        put(&mut head, 53, self.base_sequence.to_be_bytes());
        put(&mut head, 57, self.records_count.to_be_bytes());
        head
    }

    /// Bytes of the whole batch.
    pub fn total_bytes(&self) -> usize {
        LENGTH_OVERHEAD + self.batch_length as usize
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta.into())
    }

    /// The offset that follows the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    pub fn compression(&self) -> Result<Compression, BatchError> {
        let bits = self.attributes & COMPRESSION_MASK;
        Compression::from_bits(bits).ok_or(BatchError::UnknownCompression(bits))
    }

    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether `base_timestamp` holds the time after which compaction may drop the batch's
    /// tombstones (KIP-534), and not the first record's timestamp.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// Sequences count up to `i32::MAX` and go on from 0.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            base => (i64::from(base) + i64::from(self.last_offset_delta)).rem_euclid(1 << 31) as i32,
        }
    }

    /// The timestamp of a record of this batch, in milliseconds since the epoch.
    pub fn record_timestamp(&self, timestamp_delta: i64) -> i64 {
        match self.timestamp_type() {
            TimestampType::CreateTime => self.base_timestamp.saturating_add(timestamp_delta),
            TimestampType::LogAppendTime => self.max_timestamp,
        }
    }

    /// The offset of a record of this batch.
    pub fn record_offset(&self, offset_delta: i32) -> i64 {
        self.base_offset.saturating_add(offset_delta.into())
    }
}

/// The flags of a batch that is being built.
pub(super) fn attributes(compression: Compression, transactional: bool, control: bool) -> i16 {
    compression as i16 | if transactional { TRANSACTIONAL } else { 0 } | if control { CONTROL } else { 0 }
}

/// The CRC-32C of a whole batch, over the part that the checksum covers.
pub(super) fn batch_crc(batch: &[u8]) -> u32 {
    crc32c(&batch[ATTRIBUTES_AT..])
}

pub(super) fn stamp_crc(batch: &mut [u8]) {
    let crc = batch_crc(batch);
    put(batch, CRC_AT, crc.to_be_bytes());
}

/// Stamps the first offset. Not covered by the CRC.
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) -> Result<(), BatchError> {
    BatchHeader::parse(batch)?;
    put(batch, 0, base_offset.to_be_bytes());
    Ok(())
}

/// Stamps the leader epoch. Not covered by the CRC.
pub fn set_partition_leader_epoch(batch: &mut [u8], epoch: i32) -> Result<(), BatchError> {
    BatchHeader::parse(batch)?;
    put(batch, 12, epoch.to_be_bytes());
    Ok(())
}

/// Turns the batch to log append time: one timestamp, in milliseconds since the epoch, for all its
/// records. Takes the whole batch, since the CRC changes.
pub fn set_log_append_time(batch: &mut [u8], timestamp: i64) -> Result<(), BatchError> {
    let header = parse_whole(batch)?;
    put(batch, ATTRIBUTES_AT, (header.attributes | LOG_APPEND_TIME).to_be_bytes());
    put(batch, MAX_TIMESTAMP_AT, timestamp.to_be_bytes());
    stamp_crc(batch);
    Ok(())
}

/// Says of which time the youngest record is, in milliseconds since the epoch. Takes the whole batch, since the CRC
/// changes.
pub fn set_max_timestamp(batch: &mut [u8], timestamp: i64) -> Result<(), BatchError> {
    parse_whole(batch)?;
    put(batch, MAX_TIMESTAMP_AT, timestamp.to_be_bytes());
    stamp_crc(batch);
    Ok(())
}

/// Gives the batch a producer and its sequence, which a producer knows only when it sends. Takes the
/// whole batch, since the CRC changes.
pub fn set_producer(batch: &mut [u8], id: i64, epoch: i16, base_sequence: i32) -> Result<(), BatchError> {
    parse_whole(batch)?;
    put(batch, PRODUCER_ID_AT, id.to_be_bytes());
    put(batch, 51, epoch.to_be_bytes());
    put(batch, 53, base_sequence.to_be_bytes());
    stamp_crc(batch);
    Ok(())
}

/// A header, and the whole batch including it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub header: BatchHeader,
    pub bytes: Bytes,
}

impl Batch {
    /// The records, decompressed if need be, for `RecordIter`. `max_bytes` bounds the decompressed
    /// size. The CRC is not checked here: see `verify_batch`.
    pub fn records(&self, max_bytes: usize) -> Result<Bytes, BatchError> {
        let body = self.bytes.slice(HEADER_BYTES..);
        match self.header.compression()? {
            Compression::None => Ok(body),
            compression => Ok(compression.decompress(&body, max_bytes)?.into()),
        }
    }
}

/// The batches of a `records` field, without looking inside.
///
/// A fetch response may end in the middle of a batch; iteration ends before it. After an error it
/// ends as well, since the place of the next batch is unknown.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    pub fn new(records: Bytes) -> Self {
        Self { rest: records }
    }

    /// What has not been iterated over; in the end, the truncated batch if there is one.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        match BatchHeader::parse(&self.rest) {
            Ok(header) if header.total_bytes() <= self.rest.len() => {
                let bytes = self.rest.split_to(header.total_bytes());
                Some(Ok(Batch { header, bytes }))
            }
            Ok(_) | Err(BatchError::Truncated { .. }) => None,
            Err(error) => {
                self.rest.clear();
                Some(Err(error))
            }
        }
    }
}

/// Parses the header of a buffer that holds exactly one batch.
pub(super) fn parse_whole(batch: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let needed = header.total_bytes();
    match batch.len() {
        available if available < needed => Err(BatchError::Truncated { needed, available }),
        available if available > needed => Err(BatchError::MoreThanOneBatch(available - needed)),
        _ => Ok(header),
    }
}

fn check_magic(head: &[u8]) -> Result<(), BatchError> {
    match head.get(16) {
        Some(&magic) if magic as i8 != MAGIC => Err(BatchError::UnsupportedMagic(magic as i8)),
        _ => Ok(()),
    }
}

fn at<const N: usize>(head: &[u8; HEADER_BYTES], position: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&head[position..position + N]);
    field
}

fn put<const N: usize>(batch: &mut [u8], position: usize, field: [u8; N]) {
    batch[position..position + N].copy_from_slice(&field);
}
