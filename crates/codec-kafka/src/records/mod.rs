//! Record batches (magic 2): the payload of Produce, Fetch and their kin.
//!
//! A `records` field holds whole batches. The broker looks at headers and checksums, and stores the
//! bytes as they came; only readers that need single records decompress. Formats 0 and 1 are refused:
//! Kafka 4 does not accept them either (KIP-724).

mod batch;
mod builder;
mod compression;
mod control;
mod error;
mod record;
mod retain;
mod slices;
mod validate;
mod varint;

pub use batch::{
    Batch, BatchHeader, Batches, HEADER_BYTES, NO_PRODUCER_ID, NO_SEQUENCE, TimestampType, set_base_offset,
    set_log_append_time, set_max_timestamp, set_partition_leader_epoch, set_producer,
};
pub use builder::{BatchBuilder, BuildError};
pub use compression::{Compression, CompressionError};
pub use control::{ControlRecord, end_transaction_marker};
pub use error::BatchError;
pub use record::{Header, Headers, Record, RecordIter};
pub use retain::{Retained, empty_batch, recompress, retain};
pub use slices::Records;
pub use validate::{RecordsSummary, validate_batch, validate_records, verify_batch};

#[cfg(test)]
mod tests;
