//! One AMQP channel: what it has published, what it has been delivered, and what it waits for.

use std::collections::VecDeque;

use bowline_model::event::Delivery;
use bowline_model::{BlockRef, ShardId};

use crate::replies::ReplyConsumer;
use crate::tx::Tx;
use crate::unacked::Unacked;

pub struct Channel {
    /// Unique in the session: tells this channel from a later one with the same number.
    pub incarnation: u32,
    pub state: State,
    /// An operation whose answer the channel waits for. Frames that arrive meanwhile go to `backlog`.
    pub waiting: Option<Waiting>,
    /// Whole frames, in order.
    pub backlog: Vec<u8>,
    /// A message whose header or body has not arrived in full.
    pub partial: Option<Box<Partial>>,
    pub confirm: Option<Confirm>,
    /// Set in transactional mode.
    pub tx: Option<Box<Tx>>,
    /// Its consumer of direct replies.
    pub replies: Option<ReplyConsumer>,
    /// Number of the last batch of publishes this channel took part in.
    pub last_batch: u64,
    /// Tags by which the client knows this channel's consumers.
    pub consumers: Vec<(Box<[u8]>, u32)>,
    /// Pseudo-consumers that basic.get delivers to, one a shard.
    pub getters: Vec<(ShardId, u32)>,
    pub unacked: Unacked,
    /// basic.qos with global=false: for consumers yet to come. 0: no limit.
    pub prefetch: u16,
    /// basic.qos with global=true: unacknowledged deliveries allowed on the channel. 0: no limit.
    pub prefetch_global: u16,
    /// Deliveries that `prefetch_global` does not yet allow.
    pub held: VecDeque<Held>,
    /// The queue that an empty queue name stands for.
    pub last_queue: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// We sent channel.close; everything but the answer is ignored (1.4.2 of the specification).
    Closing {
        /// In the middle of a content, of which more may still come.
        in_content: bool,
    },
    /// Closed in the middle of a content: what still comes of it is dropped. Otherwise as a channel never opened.
    Dropping,
}

/// Publisher confirms: sequence numbers start at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirm {
    /// Sequence number of the last publish.
    pub published: u64,
    /// Confirmed to the client up to here.
    pub told: u64,
    /// May be confirmed up to here.
    pub due: u64,
}

pub struct Held {
    pub block: BlockRef,
    pub delivery: Delivery,
}

/// A publish in the making.
pub struct Partial {
    pub exchange: Box<[u8]>,
    pub routing_key: Box<[u8]>,
    pub mandatory: bool,
    /// `None` until the header frame has come.
    pub content: Option<PartialContent>,
}

pub struct PartialContent {
    pub properties: Box<[u8]>,
    pub body_size: u64,
    /// The beginning of a Publish record, if `prepared`; then the body, growing as frames arrive.
    pub record: Vec<u8>,
    pub body_at: usize,
    pub prepared: Option<Prepared>,
}

/// Where a message in the making goes, when that is simple: its body is then gathered in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    pub shard: ShardId,
    pub logged: bool,
    /// Holds for this version of the topology.
    pub version: u64,
}

impl PartialContent {
    pub fn body(&self) -> &[u8] {
        &self.record[self.body_at..]
    }
}

#[derive(Debug)]
pub struct Waiting {
    /// Tells the answer from one to an earlier operation.
    pub operation: u32,
    /// The method that asked: named in a refusal.
    pub method: u32,
    pub pending: Pending,
}

/// What to do with the answer.
#[derive(Debug)]
pub enum Pending {
    /// The channel's earlier publishes come first: what follows must see them.
    Publishes,
    /// A transaction's publishes have been handed over.
    Commit,
    /// Publishing is blocked by an alarm.
    Alarm,
    /// Too many gets are under way on other channels.
    Turn,
    /// The answer is just a method without arguments, or nothing.
    Meta {
        reply: Option<Reply>,
    },
    QueueDeclare {
        no_wait: bool,
    },
    QueueDelete {
        no_wait: bool,
        /// Consumers of the channel that the deletion has ended: told after the answer, as RabbitMQ does.
        cancelled: Vec<u32>,
    },
    /// The counts of a queue or stream for a passive declaration.
    Counts {
        name: String,
        no_wait: bool,
        left: u32,
        messages: u64,
        consumers: u32,
    },
    /// A stream was created by queue.declare.
    StreamDeclare {
        name: String,
        no_wait: bool,
    },
    Purge {
        no_wait: bool,
    },
    Consume {
        consumer: u32,
        queue: String,
        no_wait: bool,
    },
    Cancel {
        consumer: u32,
        tag: Box<[u8]>,
        no_wait: bool,
    },
    Get {
        consumer: u32,
        queue: String,
        no_ack: bool,
    },
}

/// Each stands for its method's `-ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    ExchangeDeclare,
    ExchangeDelete,
    ExchangeBind,
    ExchangeUnbind,
    QueueBind,
    QueueUnbind,
}

impl Channel {
    pub fn new(incarnation: u32) -> Channel {
        Channel {
            incarnation,
            state: State::Open,
            waiting: None,
            backlog: Vec::new(),
            partial: None,
            confirm: None,
            tx: None,
            replies: None,
            last_batch: 0,
            consumers: Vec::new(),
            getters: Vec::new(),
            unacked: Unacked::new(),
            prefetch: 0,
            prefetch_global: 0,
            held: VecDeque::new(),
            last_queue: None,
        }
    }

    pub fn consumer(&self, tag: &[u8]) -> Option<u32> {
        self.consumers.iter().find(|(known, _)| **known == *tag).map(|(_, consumer)| *consumer)
    }

    /// Whether the channel-wide prefetch allows another delivery.
    pub fn has_room(&self) -> bool {
        // What a transaction has settled is not settled before it is committed.
        let in_tx = self.tx.as_ref().map_or(0, |tx| tx.settles.len());
        self.prefetch_global == 0 || self.unacked.len() + in_tx < usize::from(self.prefetch_global)
    }
}
