//! What a call into the shard asks of the outside. The caller performs it; on replay it is thrown away.

use bowline_model::event::{BatchSlice, Event, MetaEvent};
use bowline_model::meta::Destination;
use bowline_model::record::SettleReason;
use bowline_model::request::{self, QueueSpec};
use bowline_model::{BlockRef, Lsn, Millis, QueueId, SessionId, ShardId};
use std::sync::Arc;

pub use crate::queue::Ticket;

/// Gathered over one or many calls; the caller drains it when it likes.
#[derive(Debug, Default)]
pub struct Effects {
    /// In order for each session. Deliveries of one dispatch round are one [`Event::Deliver`] per session. A session
    /// that has closed may still be mentioned.
    pub events: Vec<(SessionId, Event)>,
    /// For the meta shard, in order.
    pub meta: Vec<MetaEvent>,
    /// Each is answered by one [`crate::Shard::loaded`].
    pub reads: Vec<Read>,
    /// For the dead-letter router, which answers each letter with [`crate::Shard::reborn`].
    pub dead: Vec<DeadLetters>,
    /// Records of share groups that are dying, for the router, which answers each with [`crate::Shard::buried`].
    pub dead_records: Vec<DeadRecord>,
    /// For whoever can read records; each is answered by [`crate::Shard::keys_known`].
    pub unkeyed: Vec<Unkeyed>,
    /// For the router: messages of exchanges' histories. Not answered.
    pub copies: Vec<Copies>,
    /// For the trace exchanges of queues. Nobody waits for it.
    pub told: Vec<Told>,
    /// What came by [`crate::Shard::receive`] is safe.
    pub received: Vec<Receipt>,
    /// For other shards' [`crate::Shard::receive`]: their parts of transactions that this one has committed.
    pub transfers: Vec<(ShardId, Transfer)>,
    /// For other shards' [`crate::Shard::transferred`].
    pub over: Vec<(ShardId, QueueId, u64)>,
    /// For [`crate::Shard::take_part`] of other shards.
    pub txn_steps: Vec<(ShardId, TxnStep)>,
    /// What came by [`crate::Shard::take_part`] is durable: for [`crate::Shard::part_taken`] of who sent it.
    pub told_txn: Vec<Receipt>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.meta.is_empty()
            && self.reads.is_empty()
            && self.dead.is_empty()
            && self.dead_records.is_empty()
            && self.unkeyed.is_empty()
            && self.copies.is_empty()
            && self.told.is_empty()
            && self.received.is_empty()
            && self.transfers.is_empty()
            && self.over.is_empty()
            && self.txn_steps.is_empty()
            && self.told_txn.is_empty()
    }

    pub(crate) fn event(&mut self, session: SessionId, event: Event) {
        self.events.push((session, event));
    }
}

/// Read committed blocks back from the log: the one at `lsn` in any case, then as many of those that follow it
/// in the same segment (or cold file) as begin less than `max_bytes` behind it, at most `max_blocks` in all.
/// Blocks of other shards may be left out or handed over; they are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    pub lsn: Lsn,
    pub max_bytes: u32,
    pub max_blocks: u32,
}

/// Messages of one queue that have died, for its dead-letter exchange.
#[derive(Debug)]
pub struct DeadLetters {
    pub queue: QueueId,
    pub vhost: String,
    /// Of the queue.
    pub name: String,
    pub exchange: String,
    /// Instead of the message's own.
    pub routing_key: Option<String>,
    /// They did not die: somebody wants them moved there. What finds no place is given back by
    /// [`crate::Shard::unmoved`].
    pub redrive: Option<Arc<request::RedriveTo>>,
    pub letters: Vec<DeadLetter>,
}

#[derive(Debug)]
pub struct DeadLetter {
    /// To be given back.
    pub remains: Remains,
    /// Its Publish record begins at `offset` of the block's payload and is `len` bytes long, with its frame.
    pub block: BlockRef,
    pub offset: u32,
    pub len: u32,
    pub reason: SettleReason,
    /// Of one that is redriven.
    pub ticket: Option<Ticket>,
}

/// A record that a share group has given up.
#[derive(Debug)]
pub struct DeadRecord {
    /// To be given back.
    pub dead: bowline_stream::share::Dead,
    /// The batch that it is in; `None`: it is not asked for, or it cannot be had.
    pub batch: Option<BatchSlice>,
}

/// Batches in which keys of records are to be looked up, for a share group with order by key.
#[derive(Debug)]
pub struct Unkeyed {
    /// To be given back.
    pub wanted: bowline_stream::share::KeysWanted,
    /// The first may begin below what is wanted.
    pub batches: Vec<BatchSlice>,
    /// If there is none: no record below has a key that can be had.
    pub upto: u64,
}

/// Messages of an exchange's history, oldest first, for what was bound to it.
#[derive(Debug)]
pub struct Copies {
    /// The queue that holds them.
    pub history: QueueId,
    pub vhost: String,
    pub to: Destination,
    /// As in [`DeadLetter`].
    pub messages: Vec<(BlockRef, u32)>,
    /// These are the last: tell the meta shard once they are on their way.
    pub ticket: Option<u64>,
}

/// Where a dead letter is still there, until the router has said what becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remains {
    /// In the log: its number in the queue.
    Log(u64),
    /// In memory only.
    Memory(Lsn),
    /// It was refused and never came in.
    Nowhere,
}

/// What becomes of a dead letter.
#[derive(Debug)]
pub struct Reborn {
    pub remains: Remains,
    pub reason: SettleReason,
    /// Framed Publish and Append records for this shard; none if it goes nowhere.
    pub records: Vec<u8>,
    pub count: u32,
    /// They are for the log. Else, for memory.
    pub logged: bool,
}

impl DeadLetters {
    pub(crate) fn of(spec: &QueueSpec, letters: Vec<DeadLetter>) -> DeadLetters {
        DeadLetters {
            queue: spec.queue,
            vhost: spec.vhost.clone(),
            name: spec.name.clone(),
            exchange: spec.settings.dead_letter_exchange.clone().unwrap_or_default(),
            routing_key: spec.settings.dead_letter_routing_key.clone(),
            redrive: None,
            letters,
        }
    }
}

/// What happened to messages of one queue, in order.
#[derive(Debug)]
pub struct Told {
    pub queue: QueueId,
    pub vhost: String,
    /// Of the queue.
    pub name: String,
    /// Where it is to be published.
    pub exchange: String,
    pub events: Vec<ToldEvent>,
    /// So many events happened before these of which nothing is known: there were too many.
    pub lost: u64,
}

#[derive(Debug)]
pub struct ToldEvent {
    /// The message's number in the queue; `None` for one that lies in memory only.
    pub number: Option<u64>,
    /// Where its Publish record begins, if it is at hand.
    pub message: Option<(BlockRef, u32)>,
    pub what: Happened,
}

/// What may happen to a message in a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happened {
    Published,
    /// It is one that was seen before, and goes no further.
    Duplicate,
    Delivered {
        /// Of the consumer; empty for a get.
        tag: Box<[u8]>,
        redelivered: bool,
        /// From 1 on, for queues that count.
        attempt: Option<u32>,
    },
    /// Or delivered to somebody who does not acknowledge.
    Acked,
    /// It is ready again.
    Returned {
        failed: bool,
    },
    /// It came back and waits until then, ms since the epoch.
    Delayed {
        until: Millis,
    },
    /// Its time was over, and nobody wants it then.
    Expired,
    /// The dead-letter exchange has it.
    DeadLettered(SettleReason),
    /// It is gone, unprocessed.
    Dropped(SettleReason),
    /// So many messages, from this one's number on, at most.
    Purged {
        count: u64,
    },
    /// Somebody has it moved elsewhere.
    Redriven,
    /// There is no place where it was to be moved to: it stays.
    Unmoved,
}

/// Messages on their way from another shard.
#[derive(Debug)]
pub struct Transfer {
    /// Framed Publish and Append records.
    pub records: Vec<u8>,
    pub count: u32,
    pub logged: bool,
    /// Given back when they are safe.
    pub receipt: Option<Receipt>,
}

/// One shard's part of a step of a transaction that another shard coordinates.
#[derive(Debug)]
pub struct TxnStep {
    /// Framed.
    pub records: Vec<u8>,
    pub count: u32,
    pub receipt: Receipt,
}

/// Who waits for a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    pub shard: ShardId,
    pub ticket: u64,
}
