//! The head of a Kafka record batch (format v2), as far as a partition has to know it.
//!
//! The front end has validated the batch before it was logged; what is checked here only keeps wrong bytes from
//! doing harm. Offsets of fields: Kafka documentation, "Record Batch".

/// Bytes in front of the records.
pub const HEADER_BYTES: usize = 61;
/// `max_timestamp` of a batch that holds offsets and no record: it is older than everything.
pub const NO_RECORDS: i64 = i64::MIN;
/// `producer_id` of a batch from a producer without idempotence.
pub const NO_PRODUCER: i64 = -1;

const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// As the producer wrote it, unless compaction did (`APPEND_COMPACTED`).
    pub base_offset: i64,
    pub attributes: i16,
    /// Offsets that the batch takes: last offset delta + 1.
    pub count: u32,
    /// −1 when the producer set none; [`NO_RECORDS`] when compaction has emptied the batch.
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

impl Header {
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// A marker: it ends a transaction. Only the broker makes them.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }
}

/// `None`: not one whole batch of format v2.
#[inline]
pub fn parse(batch: &[u8]) -> Option<Header> {
    let head: &[u8; HEADER_BYTES] = batch.first_chunk()?;
    let batch_length = i32::from_be_bytes(field(head, 8));
    let magic = head[16];
    let last_offset_delta = i32::from_be_bytes(field(head, 23));
    if magic != 2 || last_offset_delta < 0 || i64::from(batch_length) + 12 != batch.len() as i64 {
        return None;
    }
    let records = i32::from_be_bytes(field(head, 57));
    Some(Header {
        base_offset: i64::from_be_bytes(field(head, 0)),
        attributes: i16::from_be_bytes(field(head, 21)),
        count: last_offset_delta as u32 + 1,
        max_timestamp: if records == 0 { NO_RECORDS } else { i64::from_be_bytes(field(head, 35)) },
        producer_id: i64::from_be_bytes(field(head, 43)),
        producer_epoch: i16::from_be_bytes(field(head, 51)),
        base_sequence: i32::from_be_bytes(field(head, 53)),
    })
}

#[inline]
fn field<const N: usize>(head: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&head[at..at + N]);
    value
}
