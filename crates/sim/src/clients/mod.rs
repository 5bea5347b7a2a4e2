//! The clients of a simulated node, all of them, with what they were promised: the shadow model.
//!
//! [`Clients`] is told of each request when its shard has handled it ([`Clients::handled`]) and of each event as it
//! is given; what breaks a promise panics. What clients ask next is decided in [`crate::workload`].

pub mod accounts;
pub mod answers;
pub mod groups;
pub mod message;
pub mod partition;
pub mod queue;
pub mod restart;
pub mod rules;
pub mod streams;
pub mod txns;

use crate::note;
use crate::plan::Plan;
use crate::shadows::Shadows;
use crate::trace::Trace;
use bowline_model::request::{Outcome, Settle};
use bowline_model::{Millis, ShardId, Token};
use message::{Id, Message};
use queue::{ConsumerKey, Queue};
use std::collections::{BTreeMap, BTreeSet};

/// A connection.
#[derive(Debug)]
pub struct Session {
    pub id: u64,
    pub channels: u16,
    pub next_consumer: u32,
    /// The pseudo-consumers of channels' gets, one for each shard.
    pub getters: BTreeMap<(u16, u16), u32>,
}

/// A consumer, or the pseudo-consumer of a channel's gets.
#[derive(Debug)]
pub struct Consumer {
    /// The shard has heard of it.
    pub known: bool,
    pub shard: u16,
    pub channel: u16,
    /// `None`: gets.
    pub queue: Option<u32>,
    pub prefetch: u32,
    pub no_ack: bool,
    /// Subscribed, and not cancelled.
    pub active: bool,
    pub next_number: u64,
    /// By delivery number.
    pub held: BTreeMap<u64, (u32, Id)>,
}

/// One publish batch, as one shard gets it.
#[derive(Debug)]
pub struct Batch {
    pub session: u64,
    pub logged: bool,
    /// The messages, each with the queues of this shard that it goes to.
    pub messages: Vec<(Id, Vec<u32>)>,
    /// What goes to topics in the same batch.
    pub records: Vec<partition::BatchId>,
}

/// What an unanswered request was.
#[derive(Debug)]
pub enum Asked {
    /// By a session that has gone since.
    Forgotten,
    Publish(Batch),
    Subscribe(ConsumerKey),
    Cancel(ConsumerKey),
    Get {
        queue: u32,
        getter: ConsumerKey,
        no_ack: bool,
    },
    Info {
        queue: u32,
    },
    Purge {
        queue: u32,
        gone: Vec<Id>,
        ready: Option<u64>,
    },
    DeclareQueue {
        name: String,
        durable: bool,
        auto_delete: bool,
        exclusive: bool,
    },
    DeleteQueue {
        name: String,
        queue: u32,
    },
    Append(streams::Appends),
    /// Partition, offset, and the bounds known when it was asked.
    Fetch(Vec<(u32, u64, (u64, u64))>),
    /// Partition, whether the end is asked for, and the bounds known.
    Offsets(Vec<(u32, bool, (u64, u64))>),
    Watch(Vec<(u32, u64)>),
    Trim {
        partition: u32,
        offset: u64,
    },
    CreateTopic {
        name: String,
        retains_bytes: bool,
    },
    DeleteTopic {
        name: String,
    },
    ProducerId {
        partition: u32,
    },
    Group(groups::Question),
    DeclareRuled {
        slot: usize,
    },
    /// A batch of [`rules::Rules::batches`].
    PublishRuled(usize),
    SubscribeRuled(ConsumerKey),
    Txn(txns::Copied),
    /// A producer id for the request.
    TxnId(txns::Copied),
    TxnTopic,
    /// The topic that comes and goes is made.
    Annex,
    /// … and deleted.
    AnnexGone,
    /// And whether only what is committed is wanted.
    TxnFetch(Vec<txns::Wanted>, bool),
}

impl Asked {
    /// Also when nobody listens any more.
    pub fn is_carried_out(&self) -> bool {
        matches!(self, Asked::Publish(_) | Asked::PublishRuled(_) | Asked::Append(_) | Asked::Group(_))
    }
}

#[derive(Debug)]
pub struct Waiting {
    pub session: u64,
    /// 0: the meta shard.
    pub shard: u16,
    pub asked: Asked,
}

/// What a request means to the model when the shard has handled it.
#[derive(Debug)]
pub enum Note {
    /// Nothing before it is answered.
    Nothing,
    Publish(Token),
    Settle(Vec<Settle>),
    /// A request that makes this consumer known.
    Consumer(u32),
    Cancel(u32),
    Purge(Token),
    CloseChannel(u16),
    CloseSession,
}

pub struct Clients {
    pub trace: Trace,
    pub shadows: Shadows,
    /// Counts the node's starts.
    pub life: u32,
    /// Messages for memory never go to the log: memory is ample.
    pub memory_is_ample: bool,
    pub messages: Vec<Message>,
    pub queues: BTreeMap<u32, Queue>,
    /// By name: the queue that was declared last and is not known to be gone.
    pub names: BTreeMap<String, u32>,
    /// Queues that their shards have dropped in this life.
    pub dropped: BTreeSet<u32>,
    /// Deletes asked for by name, and not answered.
    pub deleting: BTreeMap<String, u32>,
    pub sessions: BTreeMap<u64, Session>,
    pub consumers: BTreeMap<ConsumerKey, Consumer>,
    pub waiting: BTreeMap<u64, Waiting>,
    pub streams: streams::Streams,
    pub groups: groups::Groups,
    pub rules: rules::Rules,
    pub txns: txns::Txns,
    /// The time of the step under way.
    pub now: Millis,
    next_token: u64,
    pub(crate) next_session: u64,
    /// Queues with deliveries in the round under way.
    in_round: BTreeSet<u32>,
    /// Queues of each shard with messages that have left and may yet come back.
    leaving: BTreeMap<u16, BTreeSet<u32>>,
    pub counts: Counts,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub published: u64,
    pub confirmed: u64,
    pub delivered: u64,
    pub redelivered: u64,
    pub crashes: u64,
    pub checkpoints: u64,
    pub appended: u64,
    pub fetched: u64,
    /// Transactions that were committed, as their producers were told.
    pub transactions: u64,
}

impl Clients {
    pub fn new(trace: Trace, shadows: Shadows, plan: &Plan) -> Clients {
        Clients {
            trace,
            shadows,
            life: 0,
            memory_is_ample: plan.memory_is_ample(),
            messages: Vec::new(),
            queues: BTreeMap::new(),
            names: BTreeMap::new(),
            dropped: BTreeSet::new(),
            deleting: BTreeMap::new(),
            sessions: BTreeMap::new(),
            consumers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            streams: streams::Streams::default(),
            groups: groups::Groups::default(),
            rules: rules::Rules::new(plan),
            txns: txns::Txns::new(plan),
            now: 0,
            next_token: 1,
            next_session: 1,
            in_round: BTreeSet::new(),
            leaving: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// The queue may go without, or before, an answer that says so.
    pub fn may_be_going(&self, queue: &Queue) -> bool {
        queue.dropped || queue.may_vanish || self.deleting.get(&queue.name).is_some_and(|n| *n > 0)
    }

    /// A name for a request, and what is expected of its answer.
    pub fn ask(&mut self, session: u64, shard: u16, asked: Asked) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        self.waiting.insert(token, Waiting { session, shard, asked });
        Token(token)
    }

    pub fn open_session(&mut self, channels: u16) -> u64 {
        let id = self.next_session;
        self.next_session += 1;
        let session = Session { id, channels, next_consumer: 1, getters: BTreeMap::new() };
        self.sessions.insert(id, session);
        id
    }

    /// `shard` has handled a request of `session`.
    pub fn handled(&mut self, shard: ShardId, session: u64, note: &Note) {
        match note {
            Note::Nothing => {}
            Note::Publish(token) => self.publish_handled(*token),
            Note::Settle(settles) => settles.iter().for_each(|s| self.settle(shard, session, s)),
            Note::Consumer(consumer) => {
                if let Some(consumer) = self.consumers.get_mut(&(session, *consumer)) {
                    consumer.known = true;
                }
                if let Some(taker) = self.rules.takers.get_mut(&(session, *consumer)) {
                    taker.known = true;
                }
            }
            Note::Cancel(consumer) => {
                if let Some(consumer) = self.consumers.get_mut(&(session, *consumer)) {
                    consumer.active = false;
                }
            }
            Note::Purge(token) => self.purge_handled(*token),
            Note::CloseChannel(channel) => self.close(shard, session, Some(*channel)),
            Note::CloseSession => {
                self.close(shard, session, None);
                // What it published is carried out, though nobody listens.
                self.waiting
                    .retain(|_, w| w.session != session || w.shard != shard.0 || w.asked.is_carried_out());
            }
        }
    }

    /// A shard's deliveries are made, for now.
    pub fn round_over(&mut self) {
        for queue in std::mem::take(&mut self.in_round) {
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.round_over();
            }
        }
    }

    /// `shard` has nothing to write and nothing under way: what has left is gone for good.
    pub fn idle(&mut self, shard: ShardId) {
        self.rules.idle(shard.0);
        for queue in std::mem::take(self.leaving.entry(shard.0).or_default()) {
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.departed();
            }
        }
    }

    fn publish_handled(&mut self, token: Token) {
        let Some(Waiting { asked: Asked::Publish(batch), .. }) = self.waiting.get(&token.0) else { return };
        for (id, queues) in &batch.messages {
            for queue in queues {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.sent(*id, batch.session, batch.logged, self.life);
                }
            }
        }
    }

    fn settle(&mut self, shard: ShardId, session: u64, settle: &Settle) {
        let key = (session, settle.consumer.0);
        self.rules.settle(key, settle, self.now);
        let Some(consumer) = self.consumers.get_mut(&key) else { return };
        let end = settle.first.saturating_add(settle.count);
        let numbers: Vec<u64> = consumer.held.range(settle.first..end).map(|(n, _)| *n).collect();
        for number in numbers {
            let Some((queue_id, id)) = consumer.held.remove(&number) else { continue };
            let Some(queue) = self.queues.get_mut(&queue_id) else { continue };
            match settle.outcome {
                Outcome::Returned
                | Outcome::Withdrawn { .. }
                | Outcome::Failed
                | Outcome::FailedFor { .. } => queue.came_back(id, key),
                Outcome::Acked | Outcome::Rejected => {
                    queue.settled(id, key);
                    self.leaving.entry(shard.0).or_default().insert(queue_id);
                }
            }
        }
        note!(self.trace, "settled s{} c{} {}+{}", session, key.1, settle.first, settle.count);
    }

    fn purge_handled(&mut self, token: Token) {
        let overflows = !self.memory_is_ample;
        let Some(Waiting { shard, asked: Asked::Purge { queue, gone, ready }, .. }) =
            self.waiting.get_mut(&token.0)
        else {
            return;
        };
        if let Some(queue) = self.queues.get_mut(queue) {
            (*gone, *ready) = queue.purged(overflows);
            self.leaving.entry(*shard).or_default().insert(queue.id);
        }
    }

    /// A channel's consumers in this shard end, or all of the session's.
    fn close(&mut self, shard: ShardId, session: u64, channel: Option<u16>) {
        self.rules.close(shard.0, session, channel, self.now);
        let going: Vec<ConsumerKey> = self
            .consumers
            .range((session, 0)..=(session, u32::MAX))
            .filter(|(_, c)| {
                c.known && c.shard == shard.0 && channel.is_none_or(|channel| c.channel == channel)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in going {
            let Some(consumer) = self.consumers.remove(&key) else { continue };
            // A get that waits for its turn goes with its channel.
            self.waiting.retain(|_, w| !matches!(w.asked, Asked::Get { getter, .. } if getter == key));
            for (queue, id) in consumer.held.into_values() {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.came_back(id, key);
                }
            }
        }
    }
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.published += other.published;
        self.confirmed += other.confirmed;
        self.delivered += other.delivered;
        self.redelivered += other.redelivered;
        self.crashes += other.crashes;
        self.checkpoints += other.checkpoints;
        self.appended += other.appended;
        self.fetched += other.fetched;
        self.transactions += other.transactions;
    }
}
