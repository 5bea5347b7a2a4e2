//! Queues: competing consumers, per-message settling.
//!
//! | file | |
//! |---|---|
//! | `index` (`bits`) | durable: which messages there are, where each lies, which are settled |
//! | `horizon` | durable: below which number a message may have been delivered |
//! | `window` | fresh messages, from the index to the consumers |
//! | `returned` | messages that came back |
//! | `volatile` | messages in memory only |
//! | `consumers` | consumers, their credit, the round robin |
//! | `turns` | single active consumer |
//! | `unacked` | what a consumer holds |
//! | `deadlines` | how long it may hold it |
//! | `peek` | looking without taking |
//! | `redrive` | what is acked is moved elsewhere |
//! | `publish`, `subscribe`, `settle`, `provision` | requests and records, by what they do |
//! | `dispatch` | ready messages meet consumers |
//! | `housekeeping` | settles and horizons on their way into a block |
//! | `relocation` | messages move to cold files |
//! | `special` (`lifetime`, `sizes`) | what queues keep that enforce something |
//! | `enforce`, `death` | what expires, is too much, or is rejected |
//! | `lanes`, `sorted`, `classes` | priorities, and messages that wait for a time |
//! | `keys`, `tenants` (`groups`, `marks`) | order by key, turns by tenant |
//! | `failures` | what comes back: counts, limits, delays |
//! | `handles` | what waits and may be cancelled |
//! | `templates` | messages that recur |
//! | `duplicates` | ids seen lately |
//! | `history` | copies for who is bound to an exchange that remembers |
//! | `transfers` | what was moved here from other shards |
//! | `story` | what happens to messages is told |
//! | `timers` | when a queue wants to be looked at |
//!
//! A message's way: *fresh* (or volatile) → handed out, *unacked* → settled, or *returned* → handed out again.
//! Handing out follows the order of places ([`returned::Place`]), so at any time everything that was handed out
//! lies before everything fresh; `Fresh::dispatched` is that border.
//!
//! Settles take effect here at once; the index learns of them when the block with the Settle record is applied.
//! In between a message is nowhere: not ready, not unacked, and still live in the index.

mod bits;
mod classes;
mod consumers;
mod deadlines;
mod death;
mod dispatch;
mod duplicates;
mod enforce;
mod failures;
mod groups;
mod handles;
mod history;
mod horizon;
mod housekeeping;
mod index;
mod keys;
mod lanes;
mod lifetime;
mod marks;
mod peek;
mod provision;
mod publish;
mod redrive;
mod relocation;
mod returned;
mod settle;
mod sizes;
mod sorted;
mod special;
mod story;
mod subscribe;
mod templates;
mod tenants;
mod timers;
mod transfers;
mod turns;
mod unacked;
mod volatile;
mod window;

pub(crate) use consumers::ConsumerRef;
pub(crate) use history::Copying;
pub(crate) use horizon::Horizon;
pub(crate) use housekeeping::Runs;
pub(crate) use index::{Extent, Index};
pub use redrive::Ticket;
pub(crate) use special::{Kept, Special};
pub(crate) use transfers::transferred;

use crate::segments::Segments;
use crate::session::Sessions;
use bowline_model::event::{Event, QueueInfo};
use bowline_model::record::{SETTLE_REASONS, SettleReason};
use bowline_model::request::QueueSpec;
use bowline_model::{Millis, QueueId, SessionId, ShardId, Token};
use consumers::{Consumers, Ring};
use deadlines::Deadlines;
use hashbrown::HashMap;
use housekeeping::Pending;
use returned::Returned;
use std::collections::{BTreeSet, VecDeque};
use volatile::VolatileStore;
use window::{Fresh, MessageRef};

/// Where a queue is, and which one is meant: slots are used again, ids never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct QueueRef {
    pub slot: u32,
    pub id: QueueId,
}

#[derive(Debug)]
pub(crate) struct Queue {
    pub at: QueueRef,
    pub spec: QueueSpec,
    /// Outlives the process; what does not needs no horizon.
    survives: bool,
    // Durable state.
    pub index: Index,
    pub horizon: Horizon,
    /// For queues that enforce something; see the module.
    pub special: Option<Box<Special>>,
    /// Messages that left, by [`SettleReason`].
    pub settled: [u64; SETTLE_REASONS],
    /// Bytes of the records of all messages that ever came in.
    pub bytes: u64,
    // The leader's volatile state.
    fresh: Fresh,
    /// Never delivered, in order.
    volatile: VecDeque<MessageRef>,
    returned: Returned,
    ring: Ring,
    /// Gets that wait for dispatch, each with its channel's pseudo-consumer: if that is gone, so is whoever asked.
    gets: VecDeque<(ConsumerRef, Get)>,
    pending: Pending,
    unacked: u64,
    /// In [`Queues::dirty`].
    dirty: bool,
    /// Waits for a block to be read; dispatch has nothing to do before it comes.
    reading: bool,
    /// The block of the next message cannot be read: in [`Queues::unreadable`].
    unreadable: bool,
    /// A QueueDelete record is under way: no new consumers, no deliveries.
    dropping: bool,
    /// Some of its messages have moved to a cold file: what consumers hold may say where they lay before.
    relocated: bool,
}

/// How a Get wants to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Get {
    pub token: Token,
    pub no_ack: bool,
}

/// All queues of the shard with their sessions and consumers.
#[derive(Debug)]
pub(crate) struct Queues {
    shard: ShardId,
    pub horizon_margin: u64,
    slots: Vec<Option<Box<Queue>>>,
    free: Vec<u32>,
    by_id: HashMap<u32, u32, foldhash::fast::FixedState>,
    /// The queue that was looked up last: runs of messages for one queue are the rule.
    last: QueueRef,
    pub segments: Segments,
    pub sessions: Sessions,
    consumers: Consumers,
    deadlines: Deadlines,
    pub peekers: peek::Peekers,
    /// For sessions, with the next dispatch.
    told: Vec<(SessionId, Event)>,
    volatile: VolatileStore,
    /// Queues in which something changed that dispatch should look at.
    dirty: Vec<QueueRef>,
    housekeeping: housekeeping::Listed,
    unreadable: Vec<QueueRef>,
    /// Messages that end with the block that is being applied: settled when all of it has come in. Duplicates have no
    /// reason, as they count for nothing.
    ended: Vec<(QueueRef, u64, Option<SettleReason>)>,
    /// Times of the blocks that are on their way into the log, oldest first.
    sealed: VecDeque<Millis>,
    /// Queues with something that is due, but for what the log may yet say.
    late: Vec<QueueRef>,
    /// Publish records for the log, made by templates.
    copies: Vec<Vec<u8>>,
    /// The time of the call that is being served.
    pub now: Millis,
    timers: timers::Timers,
}

const NO_QUEUE: QueueRef = QueueRef { slot: u32::MAX, id: QueueId(u32::MAX) };

impl Queue {
    pub fn new(at: QueueRef, spec: QueueSpec, index: Index, horizon: Horizon) -> Queue {
        Queue {
            at,
            fresh: Fresh::rebuilt(&index),
            index,
            horizon,
            special: Special::is_needed(&spec.settings).then(Box::default),
            settled: [0; SETTLE_REASONS],
            bytes: 0,
            survives: spec.durable && !spec.exclusive,
            spec,
            volatile: VecDeque::new(),
            returned: Returned::default(),
            ring: Ring::default(),
            gets: VecDeque::new(),
            pending: Pending::default(),
            unacked: 0,
            dirty: false,
            reading: false,
            unreadable: false,
            dropping: false,
            relocated: false,
        }
    }

    pub fn info(&self) -> QueueInfo {
        QueueInfo { ready: self.ready(), unacked: self.unacked, consumers: self.ring.len() as u32 }
    }

    /// The number of the next message to be handed out for the first time.
    fn next_fresh(&self) -> u64 {
        let lanes = self.special.as_deref().and_then(|special| special.lanes.as_ref());
        let in_lanes = lanes.and_then(|lanes| lanes.peek()).map(|(_, _, message)| message.seq);
        in_lanes.or_else(|| self.fresh.next_seq(&self.index)).unwrap_or(self.index.next_seq())
    }

    /// Messages at or above were never handed out.
    fn reach(&self) -> u64 {
        let lanes = self.special.as_deref().and_then(|special| special.lanes.as_ref());
        lanes.map_or(self.fresh.dispatched(), |lanes| lanes.reach())
    }

    pub fn ready(&self) -> u64 {
        let lanes = self.special.as_deref().and_then(|special| special.lanes.as_ref());
        self.fresh.ready()
            + (self.volatile.len() + self.returned.len()) as u64
            + lanes.map_or(0, |lanes| lanes.ready())
    }

    pub fn settled_as(&self, reason: SettleReason) -> u64 {
        self.settled[reason as usize]
    }
}

impl Queues {
    pub fn new(shard: ShardId, volatile_bytes_max: usize, horizon_margin: u64) -> Queues {
        Queues {
            shard,
            horizon_margin,
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::default(),
            last: NO_QUEUE,
            segments: Segments::default(),
            sessions: Sessions::default(),
            consumers: Consumers::default(),
            deadlines: Deadlines::default(),
            peekers: peek::Peekers::default(),
            told: Vec::new(),
            volatile: VolatileStore::new(volatile_bytes_max),
            dirty: Vec::new(),
            housekeeping: housekeeping::Listed::default(),
            unreadable: Vec::new(),
            ended: Vec::new(),
            sealed: VecDeque::new(),
            late: Vec::new(),
            copies: Vec::new(),
            now: 0,
            timers: timers::Timers::default(),
        }
    }

    /// Ascending by id, so that whatever is made of it is the same everywhere.
    pub fn ids(&self) -> BTreeSet<QueueId> {
        self.by_id.keys().map(|&id| QueueId(id)).collect()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn volatile_bytes(&self) -> usize {
        self.volatile.bytes()
    }

    /// In no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Queue> {
        self.slots.iter().filter_map(|q| q.as_deref())
    }

    #[inline]
    fn find(&mut self, id: QueueId) -> Option<QueueRef> {
        if self.last.id == id && self.last.slot != NO_QUEUE.slot {
            return Some(self.last);
        }
        let slot = *self.by_id.get(&id.0)?;
        self.last = QueueRef { slot, id };
        Some(self.last)
    }

    pub fn queue(&self, id: QueueId) -> Option<&Queue> {
        self.slots[*self.by_id.get(&id.0)? as usize].as_deref()
    }

    fn find_queue(&mut self, id: QueueId) -> Option<&mut Queue> {
        let at = self.find(id)?;
        self.slots[at.slot as usize].as_deref_mut()
    }

    #[inline]
    fn at(&mut self, at: QueueRef) -> Option<&mut Queue> {
        self.slots.get_mut(at.slot as usize)?.as_deref_mut().filter(|q| q.at == at)
    }

    /// Puts in a queue that is not there yet.
    pub fn insert(&mut self, spec: QueueSpec, index: Index, horizon: Horizon) -> &mut Queue {
        let id = spec.queue;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.by_id.insert(id.0, slot);
        let queue = Queue::new(QueueRef { slot, id }, spec, index, horizon);
        let queue = self.slots[slot as usize].insert(Box::new(queue));
        if queue.special.is_some() {
            Queues::mark(&mut self.dirty, queue);
        }
        queue
    }

    /// Takes a queue out, with what refers to it here.
    fn remove(&mut self, id: QueueId) -> Option<Box<Queue>> {
        let slot = self.by_id.remove(&id.0)?;
        let queue = self.slots[slot as usize].take()?;
        self.last = NO_QUEUE;
        self.free.push(slot);
        Some(queue)
    }

    /// Something changed that dispatch should look at.
    #[inline]
    fn mark(dirty: &mut Vec<QueueRef>, queue: &mut Queue) {
        if !queue.dirty {
            queue.dirty = true;
            dirty.push(queue.at);
        }
    }
}

// Queues may be many and most of them idle.
const _: () = assert!(size_of::<Queue>() <= 1024);
