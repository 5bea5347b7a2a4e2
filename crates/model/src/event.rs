//! What shards tell sessions, and what data shards tell the meta shard.

use crate::meta::{Outcome, Rejection};
use crate::{BlockRef, ConsumerId, PartitionId, QueueId, Token, group, share, txn};
use std::sync::Arc;

#[derive(Debug)]
pub enum Event {
    /// A `Propose` or `Volatile` is as safe as it asked to be: confirm it.
    Done {
        token: Token,
    },
    /// A `Propose` or `Volatile` was refused or could not be made durable: nack it. The node may be stopping.
    Failed {
        token: Token,
        reason: Failure,
    },
    Appended {
        token: Token,
        results: Vec<AppendResult>,
    },
    Deliver(Deliveries),
    /// What a `Peek` sees.
    Peeked(Peeked),
    /// A consumer acked a message to have it moved, and there is no such place: the queue keeps it. It is a message of
    /// the block whose record begins at `offset`.
    Unmoved {
        consumer: ConsumerId,
        block: BlockRef,
        offset: u32,
    },
    Subscribed {
        token: Token,
        consumer: ConsumerId,
        result: Result<(), SubscribeError>,
    },
    /// `token: None` when the broker cancelled (the queue is gone).
    Cancelled {
        token: Option<Token>,
        consumer: ConsumerId,
    },
    Got {
        token: Token,
        result: Result<Option<Got>, NoSuchQueue>,
    },
    QueueInfo {
        token: Token,
        result: Result<QueueInfo, NoSuchQueue>,
    },
    Purged {
        token: Token,
        result: Result<u64, NoSuchQueue>,
    },
    Fetched {
        token: Token,
        partitions: Vec<FetchedPartition>,
    },
    Moved {
        token: Token,
    },
    Offsets {
        token: Token,
        results: Vec<(PartitionId, Result<OffsetFound, FetchError>)>,
    },
    /// The new log start.
    Trimmed {
        token: Token,
        result: Result<u64, FetchError>,
    },
    PartitionInfo {
        token: Token,
        result: Result<PartitionInfo, FetchError>,
    },
    Group {
        token: Token,
        reply: group::Reply,
    },
    Share {
        token: Token,
        reply: share::Reply,
    },
    Txn {
        token: Token,
        reply: txn::Reply,
    },
    Producers {
        token: Token,
        result: Result<Vec<txn::ActiveProducer>, FetchError>,
    },
    /// The request is of the past: see [`txn::Reply::Outdated`].
    Outdated {
        token: Token,
    },
    Meta {
        token: Token,
        result: Result<Outcome, Rejection>,
    },
    /// For a consumer of direct replies. In no log: it arrives at most once.
    Reply(Box<DirectReply>),
    /// To every session, on change: publishers should (not) be blocked.
    Alarm {
        reason: Option<&'static str>,
    },
    /// The node stops; close the connection cleanly.
    Shutdown,
    /// To every session: what it stands on may be gone.
    Revoked(Revoked),
}

/// Connections that use it have to be closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Revoked {
    Vhost(Arc<str>),
    User(Arc<str>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    DiskFull,
    Stopping,
    /// A queue of a checked batch is full and refuses (`settings::Overflow::RejectPublish`).
    QueueFull,
    /// What was to be cancelled is not there, or its time has come.
    NothingWaits,
}

/// A message that goes from session to session, past all queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectReply {
    /// The address that the receiving session was given.
    pub to: u128,
    /// ≤ 255 bytes.
    pub routing_key: Vec<u8>,
    /// As in `record::Publish`.
    pub properties: Vec<u8>,
    pub body: Vec<u8>,
}

/// Deliveries for one session, in order. Bodies are slices of the blocks.
#[derive(Debug, Default)]
pub struct Deliveries {
    pub blocks: Vec<BlockRef>,
    pub items: Vec<Delivery>,
}

#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub consumer: ConsumerId,
    /// Dense per consumer; names the delivery in `Settle`.
    pub number: u64,
    pub redelivered: bool,
    /// Times it was handed out before, and times it failed: for queues that count (`counts_deliveries`), else 0.
    pub acquired: u32,
    pub failures: u32,
    /// Index into [`Deliveries::blocks`].
    pub block: u32,
    /// Where the Publish record begins in the block's payload (frame included).
    pub offset: u32,
    pub len: u32,
}

/// Some more of what lies in a queue.
#[derive(Debug)]
pub struct Peeked {
    pub consumer: ConsumerId,
    /// In order. All of it counts against the delivery window.
    pub messages: Vec<PeekedMessage>,
    /// That was all: the consumer is no more.
    pub ended: bool,
}

#[derive(Clone, Debug)]
pub struct PeekedMessage {
    pub block: BlockRef,
    pub offset: u32,
    pub len: u32,
    /// Its number in the queue; `None` for one that lies in memory only.
    pub number: Option<u64>,
    pub state: MessageState,
    /// Its next delivery would say so.
    pub redelivered: bool,
    /// As in [`Delivery`].
    pub acquired: u32,
    pub failures: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageState {
    Ready,
    Unacked,
    Delayed,
}

#[derive(Debug)]
pub struct Got {
    pub delivery: Delivery,
    pub block: BlockRef,
    /// Ready messages left.
    pub remaining: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSuchQueue;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubscribeError {
    NoSuchQueue,
    /// Somebody consumes exclusively, or exclusivity was asked for and somebody consumes.
    Exclusive,
    /// Not now, and why.
    Refused(&'static str),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueInfo {
    pub ready: u64,
    pub unacked: u64,
    pub consumers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendResult {
    pub partition: PartitionId,
    /// Base offset and log start, or why not.
    pub result: Result<Appended, AppendError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: u64,
    pub log_start: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendError {
    UnknownPartition,
    /// Gap in the producer's sequence (Kafka 45).
    OutOfOrderSequence,
    /// An older epoch of this producer id (Kafka 47).
    InvalidProducerEpoch,
    /// A batch of a transaction that is not open here (Kafka 48).
    InvalidTxnState,
    /// A marker of a coordinator that has been followed by another one (Kafka 52).
    CoordinatorFenced,
    DiskFull,
}

#[derive(Debug)]
pub struct FetchedPartition {
    pub partition: PartitionId,
    pub result: Result<Fetched, FetchError>,
}

#[derive(Debug)]
pub struct Fetched {
    pub high_watermark: u64,
    pub last_stable: u64,
    pub log_start: u64,
    /// Whole batches; the first may begin below the offset asked for.
    pub batches: Vec<BatchSlice>,
    /// Aborted transactions that the batches may hold something of: producer id and first offset, ascending by
    /// offset. Only if what is committed was asked for.
    pub aborted: Vec<(i64, u64)>,
}

/// One record batch in a block. `offset..offset + len` of the payload is the batch as the producer sent
/// it; `base_offset` and leader epoch have to be patched into its head for a reader.
#[derive(Debug, Clone)]
pub struct BatchSlice {
    pub block: BlockRef,
    pub offset: u32,
    pub len: u32,
    pub base_offset: u64,
    /// `record::APPEND_CONVERTED` if the broker converted it from AMQP, and [`SLICE_ABORTED`].
    pub flags: u8,
}

/// Flag of a batch for readers of what is committed: its transaction was aborted. In no record.
pub const SLICE_ABORTED: u8 = 0x80;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchError {
    UnknownPartition,
    /// With the bounds that would have been right.
    OutOfRange {
        log_start: u64,
        high_watermark: u64,
    },
    /// The records cannot be read from the disk (reported, never served wrong).
    Storage,
}

#[derive(Debug)]
pub enum OffsetFound {
    /// For Earliest and Latest. timestamp is −1.
    Offset(u64),
    /// For times: the front end looks in these batches, in order, for the record it wants; empty when no
    /// record is that young. Records below `log_start` were deleted, though their batch is still there; what is at
    /// or above `last_stable` is not for readers of what is committed.
    Batches { batches: Vec<BatchSlice>, log_start: u64, last_stable: u64 },
}

#[derive(Clone, Copy, Debug)]
pub struct PartitionInfo {
    pub log_start: u64,
    pub high_watermark: u64,
    pub bytes: u64,
}

/// From a data shard to the meta shard.
#[derive(Debug)]
pub enum MetaEvent {
    QueueReady {
        queue: QueueId,
        info: QueueInfo,
    },
    QueueDropped {
        queue: QueueId,
        result: Result<u64, DropRefused>,
    },
    /// The last consumer of an auto-delete queue has gone.
    AutoDelete {
        queue: QueueId,
    },
    /// Nobody has used the queue for as long as its `expires_ms` says.
    Expired {
        queue: QueueId,
    },
    /// The copies are on their way: what is asked of their queues now comes behind them.
    HistoryCopied {
        ticket: u64,
    },
    PartitionReady {
        partition: PartitionId,
    },
    PartitionDropped {
        partition: PartitionId,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropRefused {
    InUse,
    NotEmpty,
}
