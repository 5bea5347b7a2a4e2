//! The thread of a data shard: waits for input, drives [`DataShard`], performs its effects.

use crate::data::DataShard;
use crate::dead_letters::{Passage, Router};
use crate::dead_records;
use crate::history;
use crate::keys;
use crate::link::{Inbox, Internal, Message, Outbox, Shared};
use crate::snapshot::ShardSnapshot;
use crate::stories;
use bowline_broker::{DeadRecord, Effects, Receipt};
use bowline_model::event::{Event, MetaEvent};
use bowline_model::{Millis, SessionId, ShardId};
use bowline_raft::{Replication, SingleNode};
use crossbeam_channel::Sender;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A read for the reader threads, and who wants it.
pub(crate) struct ReadJob {
    pub shard: ShardId,
    pub read: bowline_broker::Read,
}

pub(crate) fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as Millis)
}

/// Sessions known to a thread, and what this round has for them.
#[derive(Default)]
pub(crate) struct Sessions {
    open: HashMap<SessionId, Slot, foldhash::fast::RandomState>,
    /// Those with events in this round.
    touched: Vec<SessionId>,
}

struct Slot {
    outbox: Arc<Outbox>,
    events: Vec<Event>,
}

impl Sessions {
    pub fn open(&mut self, id: SessionId, outbox: Arc<Outbox>) {
        self.open.insert(id, Slot { outbox, events: Vec::new() });
    }

    pub fn close(&mut self, id: SessionId) {
        self.open.remove(&id);
    }

    pub fn ids(&self) -> Vec<SessionId> {
        self.open.keys().copied().collect()
    }

    pub fn post(&mut self, id: SessionId, event: Event) {
        if let Some(slot) = self.open.get_mut(&id) {
            if slot.events.is_empty() {
                self.touched.push(id);
            }
            slot.events.push(event);
        }
    }

    /// Hands every session what it got: one lock and at most one wake-up each.
    pub fn flush(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(slot) = self.open.get_mut(&id) {
                slot.outbox.push_all(&mut slot.events);
            }
        }
    }
}

/// Sleeps on `inbox` until input or `deadline`.
pub(crate) fn sleep(inbox: &Inbox, deadline: Option<Millis>) {
    match deadline {
        None => inbox.park(None),
        Some(at) => {
            let left = at.saturating_sub(now());
            if left > 0 {
                inbox.park(Some(Duration::from_millis(left)));
            }
        }
    }
}

pub(crate) struct DataThread {
    pub id: ShardId,
    pub shared: Arc<Shared>,
    pub shard: DataShard<SingleNode>,
    pub reads: Sender<ReadJob>,
    /// Told once, when sessions may be served.
    pub ready: Option<Sender<()>>,
    pub router: Router,
    /// By topic: what died while its dead-letter topic is being made.
    pub unburied: BTreeMap<String, Vec<DeadRecord>>,
}

impl DataThread {
    pub fn run(mut self) {
        let shared = self.shared.clone();
        let inbox = &shared.inboxes[self.id.0 as usize];
        inbox.own();
        let mut sessions = Sessions::default();
        let mut messages = Vec::new();
        let mut fx = Effects::default();
        let mut stopping = None;
        let mut slept = false;
        loop {
            inbox.take(&mut messages);
            let idle = messages.is_empty();
            // A lone request to a shard that slept: to hand its write to another thread, and to be woken by that,
            // would take as long as the write.
            self.shard.set_alone(slept && messages.len() == 1);
            slept = false;
            let now = now();
            for message in messages.drain(..) {
                match message {
                    Message::Open(id, outbox) => sessions.open(id, outbox),
                    Message::Requests(id, requests) => {
                        for request in requests {
                            self.shard.request(now, id, request, &mut fx);
                        }
                    }
                    Message::Closed(id) => {
                        self.shard.request(now, id, bowline_model::request::Request::CloseSession, &mut fx);
                        sessions.close(id);
                    }
                    Message::Meta(..) => debug_assert!(false, "meta requests go to the meta shard"),
                    Message::Internal(internal) => self.internal(now, internal, &mut fx, &mut stopping),
                }
            }
            self.shard.advance(now, &mut fx);
            if !fx.dead.is_empty() || !fx.dead_records.is_empty() {
                self.bury(now, &mut fx);
                self.shard.advance(now, &mut fx);
            }
            while !fx.unkeyed.is_empty() {
                self.look_up_keys(now, &mut fx);
                self.shard.advance(now, &mut fx);
            }
            if !fx.copies.is_empty() {
                self.copy(now, &mut fx);
                self.shard.advance(now, &mut fx);
            }
            if !fx.told.is_empty() {
                self.narrate(now, &mut fx);
                self.shard.advance(now, &mut fx);
            }
            self.perform(&mut fx, &mut sessions);
            self.shard.release();
            if self.shard.is_started()
                && let Some(ready) = self.ready.take()
            {
                let _ = Sender::send(&ready, ());
            }
            if let Some(done) = &stopping
                && self.shard.is_idle()
            {
                let _: Result<(), _> = Sender::send(done, ());
                stopping = None;
            }
            let dead = !fx.dead.is_empty() || !fx.dead_records.is_empty();
            if idle && !dead && fx.unkeyed.is_empty() && fx.copies.is_empty() && fx.told.is_empty() {
                sleep(inbox, self.shard.next_deadline());
                slept = true;
            }
            if self.shard.is_stopped() {
                let counts = self.router.counts();
                if counts.by_reason.iter().any(|n| *n > 0) {
                    tracing::info!(shard = %self.id, ?counts, "dead letters since the start");
                }
                return;
            }
        }
    }

    fn internal(
        &mut self,
        now: Millis,
        internal: Internal,
        fx: &mut Effects,
        stopping: &mut Option<Sender<()>>,
    ) {
        match internal {
            Internal::Committed(block) => self.shard.committed(&block, fx),
            Internal::Loaded { asked, result } => self.shard.loaded(asked, result, fx),
            Internal::Provision(provision) => {
                let request = bowline_model::request::Request::Provision(provision);
                self.shard.request(now, crate::META_SESSION, request, fx);
            }
            Internal::Transfer(transfer) => self.shard.shard.receive(now, transfer),
            Internal::Transferred(queue, upto) => self.shard.shard.transferred(queue, upto),
            Internal::Received(ticket) if self.shard.shard.arrived(ticket, fx) => {}
            Internal::Received(ticket) => self.router.received(ticket, now, &mut self.shard.shard),
            Internal::TxnStep(step) => self.shard.shard.take_part(step),
            Internal::TxnTaken(ticket) => self.shard.shard.part_taken(ticket, fx),
            Internal::Checkpoint(reply) => {
                let _ = reply.send(self.snapshot());
            }
            Internal::Survey(reply) => drop(reply.send(self.shard.shard.survey())),
            Internal::PlanRelocation(files, reply) => {
                let _ = reply.send(self.shard.shard.plan_relocation(&files));
            }
            Internal::Relocated(moved, reply) => drop(reply.send(self.shard.relocated(&moved))),
            Internal::CompactionDue(reply) => drop(reply.send(self.shard.shard.compaction_due(now))),
            Internal::PlanCompaction(partitions, offsets_max, reply) => {
                drop(reply.send(self.shard.shard.plan_compaction(&partitions, now, offsets_max)));
            }
            Internal::PlanRewriting(wanted, bytes_max, reply) => {
                drop(reply.send(self.shard.shard.plan_rewriting(&wanted, bytes_max)));
            }
            Internal::Rewritten(moved, done, reply) => {
                drop(reply.send(self.shard.compacted(&moved, &done)));
            }
            Internal::Compacted(index) => self.shard.replication.compacted(index),
            Internal::Full(full) => self.shard.set_full(full),
            Internal::Drain(done) => {
                self.shard.stop();
                *stopping = Some(done);
            }
            Internal::Stop => self.shard.set_stopped(),
            Internal::DeadLetterTopicMade(name) => {
                let records = self.unburied.remove(&name).unwrap_or_default();
                let topology = self.shared.topology.read();
                self.router.bury_records(&topology, (self.id, &mut self.shard.shard), now, records);
            }
            Internal::Meta(_) | Internal::MakeDeadLetterTopic(..) | Internal::AnnounceShutdown => {
                debug_assert!(false, "for the meta shard");
            }
        }
    }

    fn snapshot(&self) -> ShardSnapshot {
        self.shard.snapshot(self.id)
    }

    /// Routes what died.
    fn bury(&mut self, now: Millis, fx: &mut Effects) {
        let dead = std::mem::take(&mut fx.dead);
        let topology = self.shared.topology.read();
        let passages = self.router.bury(&topology, (self.id, &mut self.shard.shard), now, &dead);
        let mut records = Vec::new();
        for record in std::mem::take(&mut fx.dead_records) {
            let is_being_made = |name: &str| self.unburied.contains_key(name);
            let Some(name) = dead_records::topic_to_make(&topology, &record, is_being_made) else {
                records.push(record);
                continue;
            };
            let waiting = self.unburied.entry(name.clone()).or_default();
            if waiting.is_empty() {
                let make = Internal::MakeDeadLetterTopic(self.id, name);
                self.shared.inboxes[0].push(Message::Internal(make));
            }
            waiting.push(record);
        }
        self.router.bury_records(&topology, (self.id, &mut self.shard.shard), now, records);
        drop(topology);
        self.pass(passages);
    }

    /// Reads the keys that share groups want to know.
    fn look_up_keys(&mut self, now: Millis, fx: &mut Effects) {
        for unkeyed in std::mem::take(&mut fx.unkeyed) {
            let (found, upto) = keys::look_up(&unkeyed);
            self.shard.shard.keys_known(now, &unkeyed.wanted, upto, &found, fx);
        }
    }

    fn pass(&self, passages: Vec<(ShardId, Passage)>) {
        for (to, passage) in passages {
            let internal = match passage {
                Passage::Transfer(transfer) => Internal::Transfer(transfer),
                Passage::Over(queue, upto) => Internal::Transferred(queue, upto),
            };
            self.shared.inboxes[to.0 as usize].push(Message::Internal(internal));
        }
    }

    /// Routes what exchanges remember. Whatever is asked of the targets once the meta shard knows comes behind it.
    fn copy(&mut self, now: Millis, fx: &mut Effects) {
        for copies in std::mem::take(&mut fx.copies) {
            let copied = history::route(&self.shared.topology.read(), self.id, now, &copies);
            if let Some(own) = copied.own {
                self.shard.shard.reborn(now, copies.history, own);
            }
            for (shard, transfer) in copied.elsewhere {
                self.shared.inboxes[shard.0 as usize].push(Message::Internal(Internal::Transfer(transfer)));
            }
            fx.meta.extend(copies.ticket.map(|ticket| MetaEvent::HistoryCopied { ticket }));
        }
    }

    /// Publishes what queues tell.
    fn narrate(&mut self, now: Millis, fx: &mut Effects) {
        let told = std::mem::take(&mut fx.told);
        if self.shard.is_full() {
            return;
        }
        let topology = self.shared.topology.read();
        let passages = stories::publish(&topology, (self.id, &mut self.shard.shard), now, &told);
        drop(topology);
        for (to, transfer) in passages {
            self.shared.inboxes[to.0 as usize].push(Message::Internal(Internal::Transfer(transfer)));
        }
    }

    fn perform(&mut self, fx: &mut Effects, sessions: &mut Sessions) {
        for (session, event) in fx.events.drain(..) {
            sessions.post(session, event);
        }
        sessions.flush();
        for event in fx.meta.drain(..) {
            if let MetaEvent::QueueDropped { queue, result: Ok(_) } = event {
                let passages = self.router.gone(queue);
                self.pass(passages);
            }
            self.shared.inboxes[0].push(Message::Internal(Internal::Meta(event)));
        }
        for Receipt { shard, ticket } in fx.received.drain(..) {
            self.shared.inboxes[shard.0 as usize].push(Message::Internal(Internal::Received(ticket)));
        }
        let transfers = fx.transfers.drain(..).map(|(to, transfer)| (to, Passage::Transfer(transfer)));
        self.pass(transfers.collect());
        let over = fx.over.drain(..).map(|(to, source, upto)| (to, Passage::Over(source, upto)));
        self.pass(over.collect());
        for (shard, step) in fx.txn_steps.drain(..) {
            self.shared.inboxes[shard.0 as usize].push(Message::Internal(Internal::TxnStep(step)));
        }
        for Receipt { shard, ticket } in fx.told_txn.drain(..) {
            self.shared.inboxes[shard.0 as usize].push(Message::Internal(Internal::TxnTaken(ticket)));
        }
        for read in fx.reads.drain(..) {
            // The readers outlive the shards.
            let _ = self.reads.send(ReadJob { shard: self.id, read });
        }
    }
}
