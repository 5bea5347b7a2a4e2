//! What sessions (and the meta shard) ask of a data shard.
//!
//! A session sends what one socket read brought as one batch of requests. Requests of one session are
//! handled in order. Each answer is an [`crate::event::Event`].

use crate::meta::{Destination, Table};
use crate::settings::QueueSettings;
use crate::{ConsumerId, PartitionId, QueueId, Token, TopicId, group, share, txn};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Debug)]
pub enum Request {
    /// Log these records, then answer.
    Propose(Propose),
    /// Messages that wait for nothing: enqueue now, keep in memory (under memory pressure the shard logs them).
    Volatile(Volatile),
    Settle(Vec<Settle>),
    Subscribe(Subscribe),
    /// As [`Request::Subscribe`], but what the consumer acks is moved to where it says, and what it returns has not
    /// failed. Acks that find no place to move to are told by `Event::Unmoved`.
    Redrive(Subscribe, RedriveTo),
    /// Look at what lies in a queue without taking any of it. Answered by `Event::Subscribed`, then `Event::Peeked`.
    Peek(Peek),
    /// Stop deliveries. Answered by `Event::Cancelled`; nothing is delivered to it afterwards. Its
    /// unsettled deliveries stay with the channel.
    Cancel {
        token: Token,
        consumer: ConsumerId,
    },
    /// Another bound on a consumer's unsettled deliveries; 0: no limit. Not answered.
    Limit {
        consumer: ConsumerId,
        prefetch: u32,
    },
    /// Cancel the channel's consumers and return all it has not settled. Not answered.
    CloseChannel {
        channel: u16,
    },
    /// The connection is gone: as [`Request::CloseChannel`] for all, and forget its watches and group waits.
    CloseSession,
    /// One message, if there is one. The delivery belongs to pseudo-consumer `consumer` (allocated by the
    /// session for the channel's gets, never subscribed).
    Get {
        token: Token,
        queue: QueueId,
        channel: u16,
        consumer: ConsumerId,
        no_ack: bool,
    },
    /// The session wrote this many bytes of deliveries to its socket. See [`DELIVERY_WINDOW_BYTES`].
    Drained {
        bytes: u64,
    },
    QueueInfo {
        token: Token,
        queue: QueueId,
    },
    /// Drop the ready messages. Answered by `Event::Purged` when durable.
    Purge {
        token: Token,
        queue: QueueId,
    },
    Fetch(Fetch),
    /// Tell once, by `Event::Moved`, when any of these partitions has records at or above the offset; with `committed`,
    /// records that readers of what is committed may have.
    Watch {
        token: Token,
        partitions: Vec<(PartitionId, u64)>,
        committed: bool,
    },
    Unwatch {
        token: Token,
    },
    ListOffsets {
        token: Token,
        queries: Vec<(PartitionId, OffsetQuery)>,
    },
    /// Move the log start up to `offset` (`None`: the high watermark). Answered by `Event::Trimmed`.
    Trim {
        token: Token,
        partition: PartitionId,
        offset: Option<u64>,
    },
    /// Sizes, for log-dir style tools.
    PartitionInfo {
        token: Token,
        partition: PartitionId,
    },
    /// Who writes there. Answered by `Event::Producers`.
    Producers {
        token: Token,
        partition: PartitionId,
    },
    Group {
        token: Token,
        request: group::Request,
    },
    Share(share::Request),
    Txn {
        token: Token,
        request: txn::Request,
    },
    /// Answered as `group::Reply::Commit`, or by `Event::Outdated`.
    TxnOffsets {
        token: Token,
        commit: txn::OffsetsCommit,
    },
    /// From the meta shard only.
    Provision(Provision),
}

/// A shard stops delivering to a session that has this many delivered bytes not yet reported as
/// [`Request::Drained`]. A session reports at the latest when a quarter of it has been written.
pub const DELIVERY_WINDOW_BYTES: u64 = 2 * 1024 * 1024;

/// Records encoded by the session: see [`crate::record`]. All of them go into one block.
#[derive(Debug)]
pub struct Propose {
    pub token: Token,
    /// Framed records of kind Publish, Append and Cancel only, one after the other.
    pub records: Bytes,
    pub count: u32,
    pub want: Want,
    /// Ask the queues first whether they have room: for queues that refuse what is too much. The batch holds one
    /// message then, or those of a transaction, and is answered `Failed` with `Failure::QueueFull` if a queue has none.
    pub checked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// `Event::Done` when all are durable and applied.
    Done,
    /// `Event::Appended` with one result per Append record.
    Appended,
    /// As `Done`, if in all queues of the Cancel records something waited and does not any more; else
    /// `Event::Failed` with `Failure::NothingWaits`.
    Cancelled,
}

/// Framed Publish records for memory. `Event::Done` at once.
#[derive(Debug)]
pub struct Volatile {
    pub token: Token,
    pub records: Bytes,
    pub count: u32,
    /// As in [`Propose`].
    pub checked: bool,
}

/// What became of `count` deliveries of one consumer from number `first` on. Deliveries of a consumer
/// are numbered densely from 0 in the order in which the shard made them ([`crate::event::Delivery::number`]).
#[derive(Clone, Copy, Debug)]
pub struct Settle {
    pub consumer: ConsumerId,
    pub first: u64,
    /// `u64::MAX`: all from `first` on.
    pub count: u64,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Acked,
    /// Back to its place; the next delivery says redelivered.
    Returned,
    /// Back to its place as if it had never left it: the session has not handed it out. `redelivered`: as it had been
    /// delivered to the session.
    Withdrawn {
        redelivered: bool,
    },
    /// Out of the queue without having been processed: dead-lettered where the queue says so.
    Rejected,
    /// As `Returned`, and it counts as a failure of the message (`basic.reject` with requeue, a lost consumer).
    Failed,
    /// As `Failed`, to be delivered again after this long instead of what the queue's retry policy says, ms.
    FailedFor {
        delay_ms: u64,
    },
}

#[derive(Debug)]
pub struct Subscribe {
    pub token: Token,
    pub queue: QueueId,
    pub channel: u16,
    pub consumer: ConsumerId,
    /// By which people know it; may be empty.
    pub tag: Box<[u8]>,
    /// Unsettled deliveries allowed; 0 = no limit.
    pub prefetch: u32,
    /// Deliveries settle themselves as they are made.
    pub no_ack: bool,
    pub exclusive: bool,
    /// Higher first.
    pub priority: i32,
    /// The consumer's own bound on how long it may hold a message, ms; overrides the queue's.
    pub timeout_ms: Option<u64>,
}

/// Where a redriven message goes, in the vhost of the queue that it lies in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RedriveTo {
    /// Into the queue in which it died last.
    Source,
    /// Into that queue or stream.
    Queue(String),
    /// Through that exchange, with the routing keys that it had before it died last.
    Exchange(String),
}

/// A consumer that only looks: it sees what lay in the queue when it came, once, and then it ends. The queue does
/// not count it as a consumer.
#[derive(Debug)]
pub struct Peek {
    pub token: Token,
    pub queue: QueueId,
    pub channel: u16,
    pub consumer: ConsumerId,
    /// Messages passed over first.
    pub from: u64,
    /// Messages shown at most.
    pub count: u64,
    pub what: PeekAt,
}

/// Which messages a [`Peek`] shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PeekAt {
    /// Those that consumers would get next, in that order.
    #[default]
    Ready,
    /// Those that consumers hold, in the queue's order.
    Unacked,
    /// Those that wait for a time, the earliest first.
    Delayed,
    /// All of them: what consumers hold, then what is ready, then what waits.
    All,
}

#[derive(Debug)]
pub struct Fetch {
    pub token: Token,
    pub partitions: Vec<FetchPartition>,
    /// Over all partitions; the first batch is returned even if it is larger (KIP-74).
    pub max_bytes: u32,
    /// Nothing from the last stable offset on; and told which batches were aborted ([`crate::event::SLICE_ABORTED`]).
    pub committed: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct FetchPartition {
    pub partition: PartitionId,
    pub offset: u64,
    pub max_bytes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetQuery {
    Earliest,
    Latest,
    /// The last stable offset.
    LatestStable,
    /// The batches in which the first record at or after this time must be sought.
    Timestamp(i64),
    MaxTimestamp,
}

/// From the meta shard: make a data shard's state follow the topology. Answered by `MetaEvent`s.
#[derive(Debug)]
pub enum Provision {
    /// Create the queue if it is not there. Answered by `MetaEvent::QueueReady`.
    Queue(QueueSpec),
    /// A policy changed: what the queue enforces from now on. Logged; not answered.
    Settings {
        queue: QueueId,
        settings: Box<QueueSettings>,
    },
    /// Somebody declared the queue again: its lease (`expires_ms`) begins anew. Not logged, not answered.
    Touched {
        queue: QueueId,
    },
    /// Something was bound to the exchange whose history this queue is: copy what it holds there, once everything
    /// that was asked before is applied. Answered by `MetaEvent::HistoryCopied`.
    CopyHistory {
        history: QueueId,
        to: Destination,
        ticket: u64,
    },
    /// Check and drop. Answered by `MetaEvent::QueueDropped`.
    DropQueue {
        queue: QueueId,
        if_unused: bool,
        if_empty: bool,
    },
    /// Create the partition or replace its configuration. Answered by `MetaEvent::PartitionReady`.
    Partition(PartitionSpec),
    DropPartition {
        partition: PartitionId,
    },
    /// The topic is gone: forget what groups have committed for it, lest it meets a later topic of that name. To all
    /// data shards. Not answered.
    TopicDeleted {
        topic: String,
    },
    /// Topics of Kafka's name space, for the coordinators of groups whose partitions the broker assigns. To all data
    /// shards, after [`Provision::Reconcile`] and at every change. Not answered.
    Topics {
        topics: Vec<TopicMeta>,
        /// These are all there are.
        all: bool,
    },
    /// These groups have these explicit settings (none: all of them are defaults). To all data shards. Not answered.
    GroupConfigs(Vec<(String, Vec<(String, String)>)>),
    /// After a start: create what is missing, drop what is not named. Not answered.
    Reconcile {
        queues: Vec<QueueSpec>,
        partitions: Vec<PartitionSpec>,
    },
}

/// What a group's coordinator has to know of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicMeta {
    pub name: Arc<str>,
    pub id: TopicId,
    /// How many it has.
    pub partitions: u32,
}

/// What a data shard has to know of a queue.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct QueueSpec {
    pub queue: QueueId,
    pub vhost: String,
    pub name: String,
    pub durable: bool,
    pub auto_delete: bool,
    pub exclusive: bool,
    pub arguments: Table,
    /// What the arguments and policies amount to.
    pub settings: Box<QueueSettings>,
}

impl QueueSpec {
    /// Reads what was stored, also by versions that knew no settings.
    pub fn from_stored(bytes: &[u8]) -> Option<QueueSpec> {
        #[derive(Deserialize)]
        struct Bare {
            queue: QueueId,
            vhost: String,
            name: String,
            durable: bool,
            auto_delete: bool,
            exclusive: bool,
            arguments: Table,
        }
        postcard::from_bytes(bytes).ok().or_else(|| {
            let Bare { queue, vhost, name, durable, auto_delete, exclusive, arguments } =
                postcard::from_bytes(bytes).ok()?;
            let settings = Box::default();
            Some(QueueSpec { queue, vhost, name, durable, auto_delete, exclusive, arguments, settings })
        })
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PartitionSpec {
    pub partition: PartitionId,
    pub topic: TopicId,
    pub topic_name: String,
    /// Position in the topic.
    pub index: u32,
    pub config: PartitionConfig,
}

impl PartitionSpec {
    /// From a record or a checkpoint; older builds knew fewer settings.
    pub fn decode(bytes: &[u8]) -> Option<PartitionSpec> {
        #[derive(Deserialize)]
        struct Plain {
            partition: PartitionId,
            topic: TopicId,
            topic_name: String,
            index: u32,
            retention_ms: Option<u64>,
            retention_bytes: Option<u64>,
        }
        postcard::from_bytes(bytes).ok().or_else(|| {
            let Plain { partition, topic, topic_name, index, retention_ms, retention_bytes } =
                postcard::from_bytes(bytes).ok()?;
            let config = PartitionConfig { retention_ms, retention_bytes, ..PartitionConfig::default() };
            Some(PartitionSpec { partition, topic, topic_name, index, config })
        })
    }
}

/// Topic configuration as a partition enforces it. The default keeps everything for ever.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PartitionConfig {
    /// Records older than this may go; `None` keeps for ever.
    pub retention_ms: Option<u64>,
    /// The partition may be this large, bytes; `None`: any size.
    pub retention_bytes: Option<u64>,
    /// The partition may have so many offsets; `None`: any number.
    pub retention_records: Option<u64>,
    /// The latest record of each key is kept; others may go.
    pub compaction: Option<Box<Compaction>>,
}

/// How a partition is compacted (Kafka's names are in the topic's settings).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compaction {
    /// Records younger than this are not touched, ms.
    pub min_lag_ms: u64,
    /// Records older than this do not wait until enough has changed, ms.
    pub max_lag_ms: u64,
    /// So long tombstones are kept once everything older of their key is gone, ms.
    pub delete_retention_ms: u64,
    /// It is time when this part of the bytes has not been compacted yet, in millionths.
    pub dirty_ppm: u32,
}
