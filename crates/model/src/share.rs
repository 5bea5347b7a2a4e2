//! Share groups: consumers that share the records of a partition like a work queue (KIP-932; AMQP's `x-group`).
//!
//! A group keeps, for each partition, what it is done with, record by record. The data shard that owns the partition
//! owns that state. A consumer *acquires* records, reads them by [`crate::request::Fetch`] like anybody else, and
//! *settles* each, or *acknowledges* it, which is the same with an answer once the log has it. Answers are
//! [`crate::event::Event::Share`], and `Event::Cancelled { token: None, .. }` when a partition is gone or the consumer
//! held a record for too long.

use crate::record::SettleReason;
use crate::{ConsumerId, Millis, PartitionId, SessionId, Token};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Longest name of a group, bytes; the shortest has one.
pub const NAME_BYTES_MAX: usize = 255;

#[derive(Debug)]
pub enum Request {
    /// Become a member. Answered by [`Reply::Joined`] when the group is there, durably, on all the partitions. Of a
    /// member: from now on it acquires from these partitions on these terms; what it holds of others stays with it.
    Join(Join),
    Acquire(Acquire),
    AcquireRest(AcquireRest),
    /// What is not held by the consumer is passed over. Not answered.
    Settle(Vec<Settle>),
    /// As `Settle`, for each partition either all or nothing. Answered by [`Reply::Acknowledged`] when the log has it.
    Acknowledge(Acknowledge),
    /// Acquire nothing any more; what waits is dropped without an answer. What is held stays until it is settled, or
    /// the channel or session ends. Not answered.
    Leave {
        consumer: ConsumerId,
    },
    /// A consumer of whichever session is gone, as with its channel: what it holds comes back. Not answered.
    End {
        session: SessionId,
        consumer: ConsumerId,
    },
    /// Groups that the shard keeps something of. Answered by [`Reply::Listed`].
    List {
        token: Token,
    },
    /// How far a group is, on those partitions or on all where it is. Answered by [`Reply::Described`].
    Describe {
        token: Token,
        group: String,
        partitions: Option<Vec<PartitionId>>,
    },
    /// Forget a group, on those partitions or on all where it is. Answered by [`Reply::Changed`] when the log has it.
    Delete {
        token: Token,
        group: String,
        partitions: Option<Vec<PartitionId>>,
    },
    /// Have a group begin anew at these offsets, be it there or not. Answered by [`Reply::Changed`].
    Reset {
        token: Token,
        group: String,
        partitions: Vec<(PartitionId, Start)>,
    },
}

#[derive(Debug)]
pub struct Join {
    pub token: Token,
    /// Unique in its session, among consumers of queues too.
    pub consumer: ConsumerId,
    /// `Request::CloseChannel` ends its consumers.
    pub channel: u16,
    /// 1 to [`NAME_BYTES_MAX`] bytes.
    pub group: String,
    /// All of one shard. Where the group begins counts where it does not exist yet.
    pub partitions: Vec<(PartitionId, Start)>,
    /// A record that this consumer gives back is archived if it has come back more often than this.
    pub returns_max: Option<u64>,
    pub lock: Option<Lock>,
    /// When a partition is gone, go on with the others rather than end. `Event::Cancelled` tells of it in either case.
    pub stays: bool,
    /// Where what this consumer archives goes, rather than where the policy says.
    pub dead_letters: Option<Arc<DeadLetterExchange>>,
    /// What holds for the whole group from now on.
    pub policy: Policy,
}

/// An exchange that gets what a consumer rejects or gives back too often, and what to publish it with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterExchange {
    pub vhost: String,
    pub exchange: String,
    /// Instead of the record's own.
    pub routing_key: Option<String>,
}

/// What goes to the dead-letter topic that the group's settings name (KIP-1191).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DeadLetters {
    /// Nothing: there is none.
    #[default]
    Nothing,
    /// Of each record that is rejected or comes back too often, where it is and why it is dead.
    Pointers,
    /// That, with the record itself.
    Copies,
}

/// How a group hands out records, to whomever. Who joined last has said it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// Records from the first unsettled one on that may be in hand, for one partition. 0: as many as the shard allows.
    pub window: u32,
    /// How long what came back waits before it is handed out again. A restart ends the wait.
    pub backoff: Option<Backoff>,
    /// Records that nobody has had yet go before those that came back.
    pub fresh_first: bool,
    /// Hand out only what no open transaction can still take back. Holds for all while one consumer wants it so.
    pub committed: bool,
    pub dead_letters: DeadLetters,
    /// Of records with the same key one is handed out when the one before is settled.
    pub by_key: bool,
}

/// A wait that doubles each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// The first wait, ms.
    pub first_ms: u64,
    /// The longest, ms.
    pub max_ms: u64,
}

impl Backoff {
    /// How long to wait when a record has come back for the `times`th time, ms.
    pub fn after(self, times: u32) -> u64 {
        let doubled = 1u64.checked_shl(times.saturating_sub(1)).unwrap_or(u64::MAX);
        self.first_ms.saturating_mul(doubled).min(self.max_ms)
    }
}

/// Where a new group begins. An offset that is out of range becomes the nearest that is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    First,
    /// The last record.
    Last,
    /// What comes from now on.
    Next,
    Offset(u64),
}

/// How long a consumer may hold a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock {
    /// Milliseconds, kept with a precision of a tenth of a second.
    pub ms: u64,
    /// Then the consumer is cancelled and all that it holds goes back; else just the record does.
    pub cancels: bool,
}

/// Wants records. Answered once, by [`Reply::Acquired`]; a further one of the same consumer replaces it.
#[derive(Clone, Copy, Debug)]
pub struct Acquire {
    pub token: Token,
    pub consumer: ConsumerId,
    /// Records. 0: just say when there are some.
    pub max: u32,
    /// Answer when there are some. Else at once, or as soon as the log lets them be handed out.
    pub wait: bool,
}

/// Wants the records that can be had of these runs (first offset and count), be there more in hand than the group's
/// policy allows: what is left of batches of which the consumer has a part. Answered at once, by [`Reply::Acquired`].
#[derive(Clone, Debug)]
pub struct AcquireRest {
    pub token: Token,
    pub consumer: ConsumerId,
    pub runs: Vec<(PartitionId, u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
pub struct Settle {
    pub consumer: ConsumerId,
    pub partition: PartitionId,
    /// Offsets from `first` on.
    pub first: u64,
    pub count: u64,
    pub outcome: Outcome,
}

#[derive(Clone, Debug)]
pub struct Acknowledge {
    pub token: Token,
    /// Whose consumer; it need not be the session that asks, and is answered.
    pub session: SessionId,
    pub consumer: ConsumerId,
    pub partitions: Vec<(PartitionId, AcknowledgedRuns)>,
}

/// First offset, count and outcome of runs, ascending and disjoint.
pub type AcknowledgedRuns = Vec<(u64, u64, Outcome)>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done. Also for offsets that turn out to have no record.
    Accepted,
    /// To be delivered again; it has come back once more.
    Released,
    /// As `Released`, but not before so long has passed, ms. A restart ends the wait.
    ReleasedFor { delay_ms: u64 },
    /// Archived: not to be delivered to this group again. It goes where the dead of the group or the consumer go.
    Rejected,
    /// As if it had never been acquired: nobody has seen it.
    Untouched,
    /// Still being worked on: the lock begins anew.
    Renewed,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    Joined(Result<(), JoinError>),
    /// Ascending for each partition. None: there is nothing now (or, for `max` 0, there is something).
    Acquired(Vec<Acquired>),
    /// One for each partition, in the order asked.
    Acknowledged(Vec<(PartitionId, Result<(), AcknowledgeError>)>),
    /// By name.
    Listed(Vec<Listed>),
    /// By partition. Those that were asked for and where the group is not are left out.
    Described(Vec<(PartitionId, Described)>),
    Changed(Result<(), ChangeError>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcknowledgeError {
    /// The consumer does not hold all of the records (any more). Nothing was done.
    NotHeld,
    /// The consumer is no member there, or the partition is gone.
    UnknownPartition,
    /// It has taken effect and may be forgotten by a crash.
    Storage,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    pub group: String,
    /// Somebody is there, on some partition.
    pub has_members: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Described {
    /// The first record that is not settled.
    pub start: u64,
    /// Records that are not settled.
    pub lag: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeError {
    /// Somebody is there.
    HasMembers,
    UnknownGroup,
    UnknownPartition,
    TooMany,
    Storage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinError {
    UnknownPartition,
    /// The shard has as many groups as it may have.
    TooMany,
    /// The group could not be logged.
    Storage,
}

/// A run of records that are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acquired {
    pub partition: PartitionId,
    pub first: u64,
    /// ≥ 1.
    pub count: u64,
    /// They may have been delivered before.
    pub redelivered: bool,
    /// How often they have come back. KIP-932's delivery count is one more.
    pub returns: u32,
}

/// `record::Kind::ShareCreate`. Does nothing if there is such a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CreateRecord {
    pub partition: PartitionId,
    pub group: String,
    /// Records below are not for the group.
    pub start: u64,
    /// The first [`HorizonRecord`].
    pub horizon: u64,
}

/// `record::Kind::ShareDelete`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeleteRecord {
    pub partition: PartitionId,
    pub group: String,
}

/// `record::Kind::ShareSettle`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SettleRecord {
    pub partition: PartitionId,
    pub group: String,
    /// A [`SettleReason`].
    pub reason: u8,
    /// First offset and count; ascending.
    pub runs: Vec<(u64, u64)>,
}

impl SettleRecord {
    pub fn reason(&self) -> Option<SettleReason> {
        SettleReason::from_u8(self.reason)
    }
}

/// `record::Kind::ShareHorizon`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HorizonRecord {
    pub partition: PartitionId,
    pub group: String,
    /// Exclusive.
    pub upto: u64,
}

/// `record::Kind::ShareCounts`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CountsRecord {
    pub partition: PartitionId,
    pub group: String,
    /// Offset, and how often the record has come back.
    pub returns: Vec<(u64, u32)>,
}

/// When a lock that begins at `now` is over.
pub fn lock_ends(lock: Option<Lock>, now: Millis) -> Millis {
    lock.map_or(Millis::MAX, |lock| now.saturating_add(lock.ms))
}
