//! One life of the simulated node: production's shards over production's log, in one thread, moved by hand.
//!
//! What threads do in production is an action here that the scheduler may take at any time: a shard takes some of its
//! inbox and advances, a write goes to the disk or comes back, a reader answers, upkeep works.

use crate::clients::{Clients, Note};
use crate::compaction::Compaction;
use crate::disk;
use crate::note;
use crate::plan::Plan;
use crate::replication::{Completions, Proposer};
use crate::sabotage::Sabotage;
use bowline_broker::{Effects, Read, Transfer};
use bowline_model::event::MetaEvent;
use bowline_model::meta::MetaRequest;
use bowline_model::request::{Provision, Request};
use bowline_model::{BlockRef, Lsn, Millis, QueueId, SessionId, ShardId, Token};
use bowline_raft::{Replication, Slot};
use bowline_replica::data::DataShard;
use bowline_replica::dead_letters::{Passage, Router};
use bowline_replica::meta::{MetaEffects, MetaShard};
use bowline_replica::{META_SESSION, ShardSnapshot, States, recover};
use bowline_storage::{Checkpoint, CheckpointError, Driver, FakeDisk, Log, Ticket};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What lies in a data shard's inbox.
pub enum Input {
    Request(SessionId, Request, Note),
    Committed(BlockRef),
    Loaded {
        asked: Lsn,
        result: Result<Vec<BlockRef>, ()>,
    },
    Provision(Provision),
    Transfer(Transfer),
    /// As [`Passage::Over`].
    Over(QueueId, u64),
    /// A transfer has arrived: its ticket.
    Received(u64),
    TxnStep(bowline_broker::TxnStep),
    TxnTaken(u64),
    Snapshot,
    Compacted(u64),
    Full(bool),
}

/// What lies in the meta shard's.
pub enum MetaInput {
    Request(SessionId, Token, MetaRequest),
    Closed(SessionId),
    Committed(BlockRef),
    Provisioned(MetaEvent),
    Snapshot,
    Compacted(u64),
}

pub struct Data {
    pub shard: DataShard<Proposer>,
    router: Router,
    pub inbox: VecDeque<Input>,
}

pub struct Node {
    pub log: Log,
    driver: Driver,
    /// Writes in flight, in the order in which they were handed to the disk.
    tickets: Vec<Ticket>,
    completions: Arc<Completions>,
    pub meta: MetaShard<Proposer>,
    pub meta_inbox: VecDeque<MetaInput>,
    /// Index 0 is data shard 1.
    pub data: Vec<Data>,
    pub reads: Vec<(ShardId, Read)>,
    /// Parts of a checkpoint that is being put together.
    parts: Option<Vec<ShardSnapshot>>,
    sabotage: Option<Sabotage>,
    pub compaction: Compaction,
    /// The log has stopped; production ends the process.
    pub is_dead: bool,
    /// Reads that failed.
    pub unreadable: u64,
}

impl Node {
    /// Opens the data directory and brings the shards up. `recovered` sees them before anything new happens.
    pub fn open(
        disk: &FakeDisk,
        plan: &Plan,
        life: u32,
        now: Millis,
        recovered: impl FnOnce(&Log, &States),
    ) -> Result<Node, String> {
        let sabotage = plan.sabotage;
        let (log, found) =
            Log::open(disk::under(disk, sabotage), plan.storage(life)).map_err(|e| e.to_string())?;
        let data_shards = log.format().identity.data_shards;
        let saved: BTreeMap<ShardId, u64> =
            found.checkpoint.iter().flat_map(|c| &c.shards).map(|s| (s.shard, s.applied_index)).collect();
        let mut states =
            recover(found, data_shards, plan.topology(), |id| plan.shard(id)).map_err(|e| e.to_string())?;
        let completions = Arc::new(Completions::default());
        let theirs = completions.clone();
        let driver = log
            .start_manual(Arc::new(move |shard, result| theirs.complete(shard, result, sabotage)))
            .map_err(|e| e.to_string())?;
        // A fault that was to meet the start and did not is not to meet the model.
        disk.forget_faults();
        check_no_gaps(&log, data_shards, &saved);
        if sabotage == Some(Sabotage::BlockAppliedTwice) {
            repeat_last_blocks(&log, &mut states);
        }
        recovered(&log, &states);
        let proposer = |shard: ShardId, applied: (u64, u64)| {
            let (term, index) = log.last(shard).unwrap_or(applied).max(applied);
            Proposer::new(&log, shard, Slot { term, index }, sabotage, &completions)
        };
        let meta_proposer = proposer(ShardId::META, states.meta_applied);
        let mut meta = MetaShard::detached(states.topology, meta_proposer, states.meta_applied);
        meta.begin(now).map_err(|e| e.to_string())?;
        let mut data = Vec::new();
        for (id, shard) in states.shards {
            let replication = proposer(id, shard.applied());
            let mut shard = DataShard::new(shard, replication);
            shard.begin(now).map_err(|e| e.to_string())?;
            data.push(Data { shard, router: Router::default(), inbox: VecDeque::new() });
        }
        Ok(Node {
            log,
            driver,
            tickets: Vec::new(),
            completions,
            meta,
            meta_inbox: VecDeque::new(),
            data,
            reads: Vec::new(),
            parts: None,
            sabotage,
            compaction: Compaction::None,
            is_dead: false,
            unreadable: 0,
        })
    }

    pub fn send(&mut self, shard: ShardId, session: u64, request: Request, note: Note) {
        self.data[usize::from(shard.0) - 1].inbox.push_back(Input::Request(
            SessionId(session),
            request,
            note,
        ));
    }

    pub fn ask_meta(&mut self, session: u64, token: Token, request: MetaRequest) {
        self.meta_inbox.push_back(MetaInput::Request(SessionId(session), token, request));
    }

    /// Data shard `i` takes up to `most` inputs and advances.
    pub fn pump(&mut self, i: usize, most: usize, now: Millis, clients: &mut Clients) {
        let id = ShardId(i as u16 + 1);
        let mut fx = Effects::default();
        clients.now = now;
        let mut only_reads = true;
        for _ in 0..most {
            let data = &mut self.data[i];
            let Some(input) = data.inbox.pop_front() else { break };
            only_reads &= matches!(input, Input::Loaded { .. });
            match input {
                Input::Request(session, request, note) => {
                    data.shard.request(now, session, request, &mut fx);
                    clients.handled(id, session.0, &note);
                }
                Input::Committed(block) => {
                    clients.shadows.apply(&block);
                    data.shard.committed(&block, &mut fx);
                }
                Input::Loaded { asked, result } => data.shard.loaded(asked, result, &mut fx),
                Input::Provision(provision) => {
                    data.shard.request(now, META_SESSION, Request::Provision(provision), &mut fx);
                }
                Input::Transfer(transfer) => data.shard.shard.receive(now, transfer),
                Input::Over(queue, upto) => data.shard.shard.transferred(queue, upto),
                Input::Received(ticket) if data.shard.shard.arrived(ticket, &mut fx) => {}
                Input::Received(ticket) => data.router.received(ticket, now, &mut data.shard.shard),
                Input::TxnStep(step) => data.shard.shard.take_part(step),
                Input::TxnTaken(ticket) => data.shard.shard.part_taken(ticket, &mut fx),
                Input::Snapshot => {
                    let part = data.shard.snapshot(id);
                    self.parts.get_or_insert_default().push(part);
                }
                Input::Compacted(index) => data.shard.replication.compacted(index),
                Input::Full(full) => data.shard.set_full(full),
            }
            self.perform(id, &mut fx, clients);
        }
        if self.sabotage == Some(Sabotage::WakeUpLost) && only_reads && most > 0 {
            return;
        }
        self.data[i].shard.advance(now, &mut fx);
        while !fx.dead.is_empty() || !fx.dead_records.is_empty() {
            self.bury(i, now, &mut fx);
            self.data[i].shard.advance(now, &mut fx);
        }
        while !fx.unkeyed.is_empty() {
            for unkeyed in std::mem::take(&mut fx.unkeyed) {
                let (found, upto) = bowline_replica::keys::look_up(&unkeyed);
                let shard = &mut self.data[i].shard;
                shard.shard.keys_known(now, &unkeyed.wanted, upto, &found, &mut fx);
                shard.advance(now, &mut fx);
            }
        }
        self.perform(id, &mut fx, clients);
        clients.round_over();
        if self.data[i].shard.is_idle() {
            clients.idle(id);
        }
    }

    /// The meta shard takes up to `most` inputs and advances.
    pub fn pump_meta(&mut self, most: usize, now: Millis, clients: &mut Clients) {
        let mut fx = MetaEffects::default();
        for _ in 0..most {
            let Some(input) = self.meta_inbox.pop_front() else { break };
            match input {
                MetaInput::Request(session, token, request) => {
                    self.meta.request(session, token, request, &mut fx)
                }
                MetaInput::Closed(session) => self.meta.closed(session, &mut fx),
                MetaInput::Committed(block) => {
                    clients.shadows.apply(&block);
                    self.meta.committed(&block, &mut fx);
                }
                MetaInput::Provisioned(event) => self.meta.provisioned(event, &mut fx),
                MetaInput::Snapshot => {
                    let part = self.meta.snapshot();
                    self.parts.get_or_insert_default().push(part);
                }
                MetaInput::Compacted(index) => self.meta.replication.compacted(index),
            }
        }
        self.meta.advance(now, &mut fx);
        for (session, event) in fx.events {
            clients.event(ShardId::META, session, event);
        }
        for (shard, provision) in fx.provisions {
            self.data[usize::from(shard.0) - 1].inbox.push_back(Input::Provision(provision));
        }
    }

    fn perform(&mut self, shard: ShardId, fx: &mut Effects, clients: &mut Clients) {
        for (session, event) in fx.events.drain(..) {
            clients.event(shard, session, event);
        }
        for event in fx.meta.drain(..) {
            if let MetaEvent::QueueDropped { queue, result: Ok(_) } = event {
                let passages = self.data[usize::from(shard.0) - 1].router.gone(queue);
                self.pass(shard, passages);
            }
            clients.meta_event(&event);
            self.meta_inbox.push_back(MetaInput::Provisioned(event));
        }
        for receipt in fx.received.drain(..) {
            let inbox = &mut self.data[usize::from(receipt.shard.0) - 1].inbox;
            inbox.push_back(Input::Received(receipt.ticket));
        }
        let transfers = fx.transfers.drain(..).map(|(to, transfer)| (to, Passage::Transfer(transfer)));
        let over = fx.over.drain(..).map(|(to, source, upto)| (to, Passage::Over(source, upto)));
        let passages = transfers.collect::<Vec<_>>().into_iter().chain(over).collect();
        self.pass(shard, passages);
        for (to, step) in fx.txn_steps.drain(..) {
            note!(
                clients.trace,
                "transaction's step of {} for {}: {} bytes",
                shard.0,
                to.0,
                step.records.len()
            );
            self.data[usize::from(to.0) - 1].inbox.push_back(Input::TxnStep(step));
        }
        for receipt in fx.told_txn.drain(..) {
            let inbox = &mut self.data[usize::from(receipt.shard.0) - 1].inbox;
            inbox.push_back(Input::TxnTaken(receipt.ticket));
        }
        self.reads.extend(fx.reads.drain(..).map(|read| (shard, read)));
    }

    /// What died in data shard `i` is routed.
    fn bury(&mut self, i: usize, now: Millis, fx: &mut Effects) {
        let dead = std::mem::take(&mut fx.dead);
        let Data { shard, router, .. } = &mut self.data[i];
        let id = ShardId(i as u16 + 1);
        let records = std::mem::take(&mut fx.dead_records);
        let passages = router.bury(&self.meta.topology(), (id, &mut shard.shard), now, &dead);
        router.bury_records(&self.meta.topology(), (id, &mut shard.shard), now, records);
        self.pass(id, passages);
    }

    /// What data shard `from` has for others.
    fn pass(&mut self, from: ShardId, passages: Vec<(ShardId, Passage)>) {
        for (to, passage) in passages {
            let input = match passage {
                Passage::Transfer(transfer) => {
                    if self.sabotage == Some(Sabotage::SettledBeforeArrival)
                        && let Some(receipt) = transfer.receipt
                    {
                        let inbox = &mut self.data[usize::from(from.0) - 1].inbox;
                        inbox.push_back(Input::Received(receipt.ticket));
                    }
                    Input::Transfer(transfer)
                }
                Passage::Over(queue, upto) => Input::Over(queue, upto),
            };
            self.data[usize::from(to.0) - 1].inbox.push_back(input);
        }
    }

    /// Hands a write to the disk, if there is one.
    pub fn begin_write(&mut self) -> bool {
        let ticket = self.driver.begin_write();
        let any = ticket.is_some();
        self.tickets.extend(ticket);
        any
    }

    pub fn writes_in_flight(&self) -> usize {
        self.tickets.len()
    }

    /// Write `i` of those in flight is done, or fails.
    pub fn finish_write(&mut self, i: usize) {
        let ticket = self.tickets.remove(i);
        let last = ticket.last();
        self.driver.finish_write(ticket);
        if self.sabotage == Some(Sabotage::CommitOutOfOrder) {
            self.completions.commit_early(last);
        }
        self.collect();
    }

    pub fn upkeep(&mut self) -> bool {
        let more = self.driver.upkeep();
        self.collect();
        more
    }

    /// Records the durable position, as an idle writer does.
    pub fn seal(&mut self) -> bool {
        self.driver.seal()
    }

    /// Stops in order. Everything was written.
    pub fn close(mut self) {
        self.driver.close();
    }

    /// Answers read `i` of those that wait.
    pub fn answer_read(&mut self, i: usize) -> bool {
        let (shard, read) = self.reads.remove(i);
        let result = self.log.read_run(read.lsn, read.max_bytes as usize, read.max_blocks as usize);
        let ok = result.is_ok();
        self.unreadable += u64::from(!ok);
        let input = Input::Loaded { asked: read.lsn, result: result.map_err(drop) };
        self.data[usize::from(shard.0) - 1].inbox.push_back(input);
        ok
    }

    /// Asks all shards for their state.
    pub fn begin_checkpoint(&mut self) {
        if self.parts.is_none() {
            self.parts = Some(Vec::new());
            self.meta_inbox.push_back(MetaInput::Snapshot);
            self.data.iter_mut().for_each(|data| data.inbox.push_back(Input::Snapshot));
        }
    }

    pub fn checkpoint_is_gathered(&self) -> bool {
        self.parts.as_ref().is_some_and(|parts| parts.len() == 1 + self.data.len())
    }

    /// Writes the checkpoint that was put together.
    pub fn write_checkpoint(&mut self) -> Result<(), CheckpointError> {
        let mut whole = Checkpoint::default();
        for part in self.parts.take().unwrap_or_default() {
            whole.shards.push(part.checkpoint);
            if self.sabotage != Some(Sabotage::RecycledTooEarly) {
                whole.live_segments.extend(part.live_segments);
            }
            whole.live_cold.extend(part.live_cold);
        }
        if self.sabotage == Some(Sabotage::ReplayFromTooLate) {
            let position = self.log.position();
            whole.shards.iter_mut().for_each(|shard| shard.replay_from = position);
        }
        whole.shards.sort_by_key(|s| s.shard);
        let result = self.log.write_checkpoint(&whole);
        if result.is_ok() {
            for shard in &whole.shards {
                match shard.shard.0 {
                    0 => self.meta_inbox.push_back(MetaInput::Compacted(shard.applied_index)),
                    i => {
                        let inbox = &mut self.data[usize::from(i) - 1].inbox;
                        inbox.push_back(Input::Compacted(shard.applied_index));
                    }
                }
            }
        }
        self.collect();
        result
    }

    /// What a look at the free space does: tells the shards when the alarm changes.
    pub fn tell_full(&mut self, full: bool) {
        self.data.iter_mut().for_each(|data| data.inbox.push_back(Input::Full(full)));
    }

    pub fn is_idle(&self) -> bool {
        self.meta.is_idle()
            && self.meta_inbox.is_empty()
            && self.data.iter().all(|data| data.shard.is_idle() && data.inbox.is_empty())
            && self.tickets.is_empty()
            && self.reads.is_empty()
    }

    /// What is not at rest.
    pub fn busy(&self) -> String {
        let shards: Vec<(bool, usize)> =
            self.data.iter().map(|d| (d.shard.is_idle(), d.inbox.len())).collect();
        format!(
            "meta idle {} inbox {}, shards {shards:?}, {} writes, {} reads, {:?}",
            self.meta.is_idle(),
            self.meta_inbox.len(),
            self.tickets.len(),
            self.reads.len(),
            self.log.stats()
        )
    }

    /// What the log called back with goes to the shards.
    fn collect(&mut self) {
        while let Some((shard, result)) = self.completions.take() {
            match result {
                Ok(block) if shard == ShardId::META => self.meta_inbox.push_back(MetaInput::Committed(block)),
                Ok(block) => self.data[usize::from(shard.0) - 1].inbox.push_back(Input::Committed(block)),
                Err(_) => self.is_dead = true,
            }
        }
        self.is_dead |= self.log.fatal().is_some();
    }

    /// After a step in which blocks may have been proposed.
    pub fn after_proposals(&mut self) {
        self.collect();
    }

    /// Sessions may be served: what production's start waits for.
    pub fn serves(&self) -> bool {
        self.meta.is_started() && self.data.iter().all(|data| data.shard.is_started())
    }

    pub fn last(&self, shard: ShardId) -> Slot {
        match shard.0 {
            0 => self.meta.replication.last(),
            i => self.data[usize::from(i) - 1].shard.replication.last(),
        }
    }
}

/// What recovery found of a shard begins at the latest where its checkpoint ends. Behind a gap the log counts anew, so
/// a block that was taken although one before it is missing shows here.
fn check_no_gaps(log: &Log, data_shards: u16, saved: &BTreeMap<ShardId, u64>) {
    for shard in (0..=data_shards).map(ShardId) {
        let saved = saved.get(&shard).copied().unwrap_or(0);
        let before = log.purged(shard).map_or(0, |(_, index)| index);
        assert!(
            before <= saved,
            "promise: nothing behind a hole in the log is taken; of shard {shard}, {saved} blocks are in the checkpoint, \
             and the next one found is {}",
            before + 1
        );
    }
}

/// Gives each data shard the last block that it applied once more. What keeps it from taking it is switched off.
fn repeat_last_blocks(log: &Log, states: &mut States) {
    for (id, shard) in &mut states.shards {
        if let Some(lsn) = log.locate(*id, shard.applied().1)
            && let Ok(block) = log.read(lsn)
        {
            shard.apply(&block, Vec::new(), &mut Effects::default());
        }
    }
}
