//! Transactions (KIP-98, KIP-890): what front ends ask of a coordinator, and the records that all who take part write.
//!
//! ```text
//! coordinator of the id            shards of partitions and groups
//! Txn Add                ───────►  TxnAdmit        from here on they take the transaction's batches and offsets
//! Txn Decide             ───────►  Append of a control batch / TxnGroups      and from here on they do not
//! Txn Complete
//! ```
//! What lies in the coordinator's own shard is in the same block as the coordinator's record; the others follow, each
//! step waiting until the one before is durable everywhere. So a batch of a transaction has a place in a partition
//! only between two records of the partition's own log, whatever requests were lost, sent again or overtaken.

use crate::group::PartitionCommit;
use crate::record::crc32c;
use crate::{Millis, PartitionId};
use serde::{Deserialize, Serialize};

/// The epoch of our coordinators: there is one for ever.
pub const COORDINATOR_EPOCH: i32 = 0;
/// In place of a coordinator's epoch: no marker has come.
pub const NO_COORDINATOR: i32 = -1;

/// Longest that a transaction may be allowed to take, ms (Kafka's default `transaction.max.timeout.ms`).
pub const TIMEOUT_MS_MAX: i32 = 15 * 60 * 1000;

/// Maps one to one to Kafka error codes; the number is the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i16)]
pub enum Error {
    CoordinatorNotAvailable = 15,
    PolicyViolation = 44,
    InvalidTxnState = 48,
    InvalidProducerIdMapping = 49,
    InvalidTransactionTimeout = 50,
    ConcurrentTransactions = 51,
    ProducerFenced = 90,
}

/// A producer id and its epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// A partition that takes part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    pub partition: PartitionId,
    pub topic: String,
    /// Position in the topic.
    pub index: u32,
}

/// To the coordinator of a transactional id: see [`crate::ShardId::of_group`].
#[derive(Clone, Debug)]
pub enum Request {
    /// A producer takes the id over. Whoever had it is fenced, and what it left open is aborted.
    Init {
        id: String,
        timeout_ms: i32,
        /// The producer that it has been so far, if it says (KIP-360): then it fences nobody but its own past.
        known: Option<Producer>,
        /// A producer id that nobody has used, for when one is needed.
        fresh: Option<i64>,
    },
    /// Partitions and a group join the open transaction; if none is open, one begins.
    Add {
        id: String,
        producer: Producer,
        members: Vec<Member>,
        group: Option<String>,
        /// By the first batch rather than by a request of its own (KIP-890).
        implicit: bool,
    },
    /// Which of these partitions are in the open transaction?
    Verify {
        id: String,
        producer: Producer,
        partitions: Vec<PartitionId>,
    },
    End {
        id: String,
        producer: Producer,
        commit: bool,
        /// The producer goes on under the next epoch (KIP-890).
        bumps: bool,
        fresh: Option<i64>,
    },
    Describe {
        id: String,
    },
    List,
}

#[derive(Clone, Debug)]
pub enum Reply {
    /// To Init and End: as what the producer goes on.
    Producer(Result<Producer, Error>),
    /// To Init and End: ask again with a fresh producer id.
    NeedsId,
    /// To Add.
    Added(Result<(), Error>),
    /// To Verify, in the order asked.
    Verified(Result<Vec<bool>, Error>),
    Described(Option<Description>),
    Listed(Vec<Listed>),
    /// The producer has spoken on a newer connection: what still comes out of this one is of the past, and the
    /// connection is to be closed. (A client that sends a request again does so on a new connection.)
    Outdated,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum State {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl State {
    /// Kafka's.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::PrepareCommit => "PrepareCommit",
            State::PrepareAbort => "PrepareAbort",
            State::CompleteCommit => "CompleteCommit",
            State::CompleteAbort => "CompleteAbort",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Description {
    pub state: State,
    pub timeout_ms: u32,
    /// When the transaction began that is open or was the last; `None`: none has begun since Init.
    pub started: Option<Millis>,
    pub producer: Producer,
    pub members: Vec<Member>,
}

#[derive(Clone, Debug)]
pub struct Listed {
    pub id: String,
    pub producer_id: i64,
    pub state: State,
    /// As in [`Description`].
    pub started: Option<Millis>,
}

/// A producer as one partition knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActiveProducer {
    pub producer: Producer,
    /// −1: it has written nothing under this epoch.
    pub last_sequence: i32,
    /// Of its last batch or marker, ms since the epoch; −1: it has none.
    pub last_timestamp: i64,
    /// Of the coordinator whose marker was the last that came here; [`NO_COORDINATOR`]: none has come.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction.
    pub open_since: Option<u64>,
}

/// Offsets that a group commits if a transaction does.
#[derive(Clone, Debug)]
pub struct OffsetsCommit {
    pub member: crate::group::Member,
    pub producer: Producer,
    pub topics: Vec<(String, Vec<PartitionCommit>)>,
    /// The group was added by this request itself, so an older epoch tells what is of the past; else the newest
    /// connection does, as in [`Reply::Outdated`].
    pub implicit: bool,
}

/// Body of a Txn record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TxnRecord {
    pub id: String,
    pub change: Change,
}

/// What becomes of a transactional id.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// `last`: what the producer was before, if it may still come back as that.
    Init {
        producer: Producer,
        last: Option<Producer>,
        timeout_ms: u32,
    },
    Add {
        members: Vec<Member>,
        groups: Vec<String>,
    },
    /// All who take part are to be told `marker`; then the producer is `next`.
    Decide {
        commit: bool,
        marker: Producer,
        next: Producer,
        last: Option<Producer>,
    },
    Complete,
    Forget,
}

/// Body of a TxnAdmit record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AdmitRecord {
    pub producer: Producer,
    pub partitions: Vec<PartitionId>,
    pub groups: Vec<String>,
    /// The epoch is of this transaction alone, so sequences begin at 0.
    pub from_zero: bool,
}

/// Body of a TxnOffsets record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OffsetsRecord {
    pub group: String,
    pub producer: Producer,
    pub topics: Vec<(String, Vec<PartitionCommit>)>,
}

/// Body of a TxnGroups record: the transaction ends for these groups.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GroupsRecord {
    pub producer: Producer,
    pub groups: Vec<String>,
    pub commit: bool,
}

/// Bytes in front of a batch's records.
const HEAD_BYTES: usize = 61;
/// A marker is one record of fixed size.
const MARKER_BYTES: usize = HEAD_BYTES + 17;
/// Where the key of its record begins.
const MARKER_KEY: usize = HEAD_BYTES + 5;
/// Attributes: of a transaction, and a marker.
const MARKER_ATTRIBUTES: i16 = 0x10 | 0x20;

/// Where the epoch of its coordinator begins: behind the key, a length and a version.
const MARKER_COORDINATOR: usize = MARKER_KEY + 4 + 3;

/// The control batch with which a transaction of `producer` ends in a partition, byte for byte as Kafka writes it but
/// for the offset. `time`: ms since the epoch.
pub fn marker(producer: Producer, commit: bool, time: Millis) -> Vec<u8> {
    marker_of(COORDINATOR_EPOCH, producer, commit, time)
}

/// The same of somebody who says that it is a coordinator of this epoch.
pub fn marker_of(coordinator_epoch: i32, producer: Producer, commit: bool, time: Millis) -> Vec<u8> {
    let mut batch = Vec::with_capacity(MARKER_BYTES);
    batch.extend_from_slice(&[0; 8]); // base offset: readers are told the real one
    batch.extend_from_slice(&(MARKER_BYTES as i32 - 12).to_be_bytes());
    batch.extend_from_slice(&[0, 0, 0, 0, 2]); // leader epoch, magic
    batch.extend_from_slice(&[0; 4]); // checksum
    batch.extend_from_slice(&MARKER_ATTRIBUTES.to_be_bytes());
    batch.extend_from_slice(&0i32.to_be_bytes()); // last offset delta
    batch.extend_from_slice(&(time as i64).to_be_bytes());
    batch.extend_from_slice(&(time as i64).to_be_bytes());
    batch.extend_from_slice(&producer.id.to_be_bytes());
    batch.extend_from_slice(&producer.epoch.to_be_bytes());
    batch.extend_from_slice(&(-1i32).to_be_bytes()); // base sequence
    batch.extend_from_slice(&1i32.to_be_bytes()); // records
    // Lengths are zigzag varints. Key: version, type; value: version, coordinator's epoch; no headers.
    batch.extend_from_slice(&[16 << 1, 0, 0, 0, 4 << 1, 0, 0, 0, commit as u8, 6 << 1, 0, 0]);
    batch.extend_from_slice(&coordinator_epoch.to_be_bytes());
    batch.push(0);
    debug_assert_eq!(batch.len(), MARKER_BYTES);
    let checksum = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch
}

/// What a marker says; `None`: it is none that we make.
pub fn commits(marker: &[u8]) -> Option<bool> {
    match marker.get(MARKER_KEY..MARKER_KEY + 4)? {
        [_, _, 0, 0] => Some(false),
        [_, _, 0, 1] => Some(true),
        _ => None,
    }
}

/// The epoch of the coordinator that a marker comes from; [`NO_COORDINATOR`]: it does not say.
pub fn coordinator_epoch(marker: &[u8]) -> i32 {
    let epoch = marker.get(MARKER_COORDINATOR..).and_then(|rest| rest.first_chunk());
    epoch.map_or(NO_COORDINATOR, |epoch| i32::from_be_bytes(*epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_says_what_it_ends() {
        for commit in [false, true] {
            let batch = marker(Producer { id: 7, epoch: 3 }, commit, 1_234);
            assert_eq!((batch.len(), commits(&batch)), (78, Some(commit)));
            assert_eq!(i32::from_be_bytes(batch[8..12].try_into().unwrap()), 66);
        }
        let foreign = marker_of(0x0102_0304, Producer { id: 7, epoch: 3 }, true, 5);
        assert_eq!((foreign.len(), coordinator_epoch(&foreign)), (78, 0x0102_0304));
        assert_eq!(coordinator_epoch(&marker(Producer { id: 7, epoch: 3 }, true, 5)), COORDINATOR_EPOCH);
        assert_eq!(coordinator_epoch(b"short"), NO_COORDINATOR);
        assert_eq!(commits(&[0; 70]), Some(false));
        assert_eq!(commits(&[0xff; 78]), None);
        assert_eq!(commits(b""), None);
    }
}
