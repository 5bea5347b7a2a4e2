//! Where a message goes.

use crate::config::{Defaults, Recompression};
use crate::{Queue, Topic};
use bowline_model::{PartitionId, QueueId, ShardId, TopicId};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// The outcome of routing. `route` adds to it, so one value can gather several routing keys (CC, BCC);
/// each queue and topic is in it at most once. Reuse it between messages: [`Targets::clear`] keeps its memory.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    pub queues: SmallVec<[QueueTarget; 4]>,
    pub topics: SmallVec<[TopicTarget; 1]>,
    /// Histories of exchanges that it came by. A message that only is remembered is unroutable; one with the header
    /// [`crate::history::NO_STORE`] is not to be.
    pub history: SmallVec<[QueueTarget; 1]>,
    /// The result depends on the message's headers, its properties or chance: do not remember it per (exchange, routing
    /// key).
    pub needs_headers: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueTarget {
    pub queue: QueueId,
    pub shard: ShardId,
    /// The queue survives a restart.
    pub durable: bool,
    /// It refuses what is too much (`reject-publish`): use checked batches, one message each.
    pub limited: bool,
    /// [`crate::Queue::reads`] says what it wants to know of the message.
    pub reads: bool,
}

/// The few queues about which sessions have to know something when they publish.
#[derive(Debug, Default)]
pub(crate) struct Special(HashMap<QueueId, (bool, bool)>);

impl Special {
    pub fn note(&mut self, queue: &Queue) {
        match (queue.is_limited(), queue.reads.is_some()) {
            (false, false) => {
                self.0.remove(&queue.id);
            }
            flags => {
                self.0.insert(queue.id, flags);
            }
        }
    }

    pub fn forget(&mut self, queue: QueueId) {
        self.0.remove(&queue);
    }

    /// Limited, reads.
    #[inline]
    pub fn of(&self, queue: QueueId) -> (bool, bool) {
        if self.0.is_empty() { (false, false) } else { self.0.get(&queue).copied().unwrap_or_default() }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct TopicTarget {
    pub id: TopicId,
    /// Those that the message may go to, in index order, never empty.
    pub partitions: Arc<[PartitionId]>,
    /// It is compacted: a message without a key is refused.
    pub keyed: bool,
    /// What batches are to be compressed with.
    pub compression: Recompression,
}

impl TopicTarget {
    pub fn new(topic: &Topic, partitions: Arc<[PartitionId]>, defaults: &Defaults) -> TopicTarget {
        let config = topic.config(defaults);
        let keyed = config.partition.compaction.is_some();
        TopicTarget { id: topic.id, partitions, keyed, compression: config.compression }
    }
}

/// There is no such exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoExchange;

impl Targets {
    pub fn clear(&mut self) {
        self.queues.clear();
        self.topics.clear();
        self.history.clear();
        self.needs_headers = false;
    }

    /// The message is unroutable (AMQP 312 for mandatory messages).
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.topics.is_empty()
    }
}
