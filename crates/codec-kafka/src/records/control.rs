//! Control records: how a log says that a transaction has ended.

use bytes::Bytes;

use super::{BatchBuilder, BuildError, Record};

/// The version of the marker's key and value that is written.
const MARKER_VERSION: i16 = 0;

/// What a record of a control batch means. Readers skip kinds that they do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecord {
    Abort,
    Commit,
    /// Another kind, such as those of Kafka's own Raft log.
    Other(i16),
}

impl ControlRecord {
    /// Reads a record of a control batch. The key is an int16 version and an int16 type; newer
    /// versions may be longer. `None` when the key is not that.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        let [v0, v1, k0, k1] = *record.key?.first_chunk::<4>()?;
        if i16::from_be_bytes([v0, v1]) < 0 {
            return None;
        }
        Some(match i16::from_be_bytes([k0, k1]) {
            0 => Self::Abort,
            1 => Self::Commit,
            kind => Self::Other(kind),
        })
    }
}

/// The batch that ends a producer's transaction in one partition. `timestamp`: milliseconds since the
/// epoch.
pub fn end_transaction_marker(
    commit: bool,
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: i32,
    timestamp: i64,
) -> Result<Bytes, BuildError> {
    let kind = i16::from(commit);
    let mut key = [0; 4];
    key[..2].copy_from_slice(&MARKER_VERSION.to_be_bytes());
    key[2..].copy_from_slice(&kind.to_be_bytes());
    let mut value = [0; 6];
    value[..2].copy_from_slice(&MARKER_VERSION.to_be_bytes());
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    // Markers carry the producer, but no sequence of its own.
    let builder = BatchBuilder::new(timestamp).producer(producer_id, producer_epoch, -1);
    let mut builder = builder.transactional().control();
    builder.append(Some(&key), Some(&value), &[], timestamp)?;
    builder.build()
}
