//! The shard: gives each request, and each record of a committed block, to the part that owns it.

use crate::cache::{Cache, Reader};
use crate::checkpoint;
use crate::effects::{DeadLetter, Effects, Reborn, Transfer, TxnStep};
use crate::outbox::{Arrived, Outbox};
use crate::proposal::{Proposal, Proposals, Provisioned, Provisioning, Urgency, Waiter, Waits};
use crate::queue::{Get, Queue, Queues, transferred};
use crate::relocation::{Moved, Relocation, Run, Survey};
use crate::streams::Streams;
use bowline_model::event::{Event, Failure, MetaEvent};
use bowline_model::record::{self, Kind, SettleReason};
use bowline_model::request::{Provision, Request};
use bowline_model::{BlockRef, Lsn, Millis, PartitionId, QueueId, SessionId, ShardId};
use bowline_stream::partition::compaction::{Candidate, Compacted, Plan};
use bowline_stream::share::{Dead, KeysWanted};
use std::collections::BTreeSet;

/// Sizes, fixed for the life of a [`Shard`].
#[derive(Clone, Debug)]
pub struct Options {
    pub shard: ShardId,
    /// Recent blocks kept in memory, bytes.
    pub cache_bytes: usize,
    /// Blocks read back from the log for catch-up, bytes, outside `cache_bytes`.
    pub readahead_bytes: usize,
    /// Messages that live in memory only, bytes of their batches; beyond it they are logged.
    pub volatile_bytes: usize,
    /// Delivery is reserved this many messages ahead in the log (and more if that proves too few). After a crash,
    /// up to as many messages per queue carry the redelivered flag though nobody has seen them. ≥ 1.
    pub horizon_margin: u64,
    /// How many data shards there are.
    pub data_shards: u16,
    pub stream: bowline_stream::Options,
}

impl Options {
    /// Defaults for `shard`: 64 MiB of cache, 32 MiB of read-ahead, 64 MiB of volatile messages.
    pub fn new(shard: ShardId) -> Options {
        Options {
            shard,
            cache_bytes: 64 << 20,
            readahead_bytes: 32 << 20,
            volatile_bytes: 64 << 20,
            horizon_margin: 16 * 1024,
            data_shards: 1,
            stream: bowline_stream::Options::default(),
        }
    }
}

/// A checkpoint that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreError {
    /// Written by a version of the format that this build does not know.
    Version(u16),
    /// Not a checkpoint, or damaged.
    Malformed,
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RestoreError::Version(version) => write!(f, "checkpoint format {version} is not known"),
            RestoreError::Malformed => f.write_str("the checkpoint is damaged"),
        }
    }
}

impl std::error::Error for RestoreError {}

/// Sums over the shard, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    pub queues: u64,
    pub partitions: u64,
    pub sessions: u64,
    pub consumers: u64,
    pub ready: u64,
    pub unacked: u64,
    /// Index entries of queues (24 bytes each).
    pub extents: u64,
    /// Bytes of blocks in the cache: written lately, and read back.
    pub tail_bytes: u64,
    pub readahead_bytes: u64,
    /// Bytes of batches that live in memory only.
    pub volatile_bytes: u64,
}

/// One queue, for metrics and management.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueStats {
    pub queue: QueueId,
    pub ready: u64,
    pub unacked: u64,
    pub consumers: u32,
    /// Logged messages that ever came in, and that left by reason. Survives restarts.
    pub logged: u64,
    pub acked: u64,
    pub rejected: u64,
    pub purged: u64,
    pub expired: u64,
    /// Dropped because the queue was longer than it may be.
    pub too_many: u64,
    /// Came back more often than they may.
    pub failed: u64,
    /// Messages that were dropped because their id was known, since the start.
    pub duplicates: u64,
}

/// A data shard.
#[derive(Debug)]
pub struct Shard {
    options: Options,
    applied: (u64, u64),
    queues: Queues,
    streams: Streams,
    outbox: Outbox,
    cache: Cache,
    proposals: Proposals,
    scratch: Vec<u8>,
}

impl Shard {
    pub fn new(options: Options) -> Shard {
        Shard {
            applied: (0, 0),
            queues: Queues::new(options.shard, options.volatile_bytes, options.horizon_margin.max(1)),
            streams: Streams::new(bowline_stream::Options {
                place: bowline_stream::txn::Place { shard: options.shard, data_shards: options.data_shards },
                ..options.stream.clone()
            }),
            outbox: Outbox::new(options.shard, Default::default()),
            cache: Cache::new(options.cache_bytes, options.readahead_bytes),
            proposals: Proposals::new(),
            scratch: Vec::new(),
            options,
        }
    }

    /// Takes a request of `session`: volatile work at once, durable work into the open proposal.
    pub fn handle(&mut self, now: Millis, session: SessionId, request: Request, fx: &mut Effects) {
        let Shard { queues, streams, cache, proposals, .. } = self;
        queues.now = now;
        match request {
            Request::Propose(propose) => queues.propose(now, session, propose, proposals, fx),
            Request::Volatile(batch) => queues.publish_volatile(now, session, batch, proposals, fx),
            Request::Settle(settles) => queues.settle(session, &settles),
            Request::Subscribe(subscribe) => queues.subscribe(session, subscribe, None, fx),
            Request::Redrive(subscribe, to) => queues.subscribe(session, subscribe, Some(to), fx),
            Request::Peek(peek) => queues.peek(session, peek, fx),
            Request::Cancel { token, consumer } => queues.cancel(session, token, consumer, fx),
            Request::Limit { consumer, prefetch } => queues.limit(session, consumer, prefetch),
            Request::CloseChannel { channel } => {
                queues.close_channel(session, channel, fx);
                streams.stream.close_channel(now, session, channel, &mut streams.out);
            }
            Request::CloseSession => {
                queues.close_session(session, fx);
                streams.close_session(now, session);
            }
            Request::Get { token, queue, channel, consumer, no_ack } => {
                queues.get(session, queue, channel, consumer, Get { token, no_ack }, fx);
            }
            Request::Drained { bytes } => queues.drained(session, bytes),
            Request::QueueInfo { token, queue } => {
                fx.event(session, Event::QueueInfo { token, result: queues.info(queue) });
            }
            Request::Purge { token, queue } => queues.purge(session, token, queue, proposals, fx),
            Request::Fetch(fetch) => streams.fetch(session, fetch, cache, fx),
            Request::Watch { token, partitions, committed } => {
                streams.stream.partitions.watch(session, token, partitions, committed, &mut streams.out);
            }
            Request::Unwatch { token } => streams.stream.partitions.unwatch(session, token),
            Request::ListOffsets { token, queries } => {
                streams.list_offsets(session, token, queries, cache, fx);
            }
            Request::Trim { token, partition, offset } => {
                streams.stream.partitions.trim(session, token, partition, offset, &mut streams.out);
            }
            Request::PartitionInfo { token, partition } => {
                let result = streams.stream.partitions.info(partition);
                fx.event(session, Event::PartitionInfo { token, result });
            }
            Request::Group { token, request } => {
                streams.stream.group(now, session, token, request, &mut streams.out);
            }
            Request::Txn { token, request } => {
                streams.stream.txn(now, session, token, request, &mut streams.out);
            }
            Request::TxnOffsets { token, commit } => {
                streams.stream.commit_in_txn(session, token, commit, &mut streams.out);
            }
            Request::Producers { token, partition } => {
                let result = streams.stream.partitions.active_producers(partition);
                fx.event(session, Event::Producers { token, result });
            }
            Request::Share(request) => streams.stream.share(now, session, request, &mut streams.out),
            Request::Provision(provision) => self.provision(provision, fx),
        }
        self.streams.flush(&mut self.cache, &mut self.proposals, fx);
    }

    /// What the open proposal wants.
    pub fn proposal_urgency(&self) -> Urgency {
        self.proposals.urgency().max(self.queues.urgency()).max(self.streams.urgency())
    }

    /// Completes the open block (the oldest, if several wait): adds pending settles and horizons. `None` if
    /// there is nothing to write.
    /// `now` is to be the block's stamp.
    pub fn seal(&mut self, now: Millis) -> Option<Proposal> {
        self.streams.tell_log(&mut self.proposals);
        self.scratch.clear();
        let (count, kept) = self.queues.write_housekeeping(&mut self.scratch);
        let proposal = self.proposals.seal(&self.scratch, count, kept)?;
        self.queues.sealed(now);
        Some(proposal)
    }

    /// Applies a committed block; one that is applied already (it was in the checkpoint) is passed over.
    /// `waiters` as sealed; empty on replay. Durable state changes by the block alone.
    ///
    /// # Panics
    /// If the block is not made of records. Its checksum was right when it was read, so what is wrong is us.
    pub fn apply(&mut self, block: &BlockRef, waiters: Vec<Waiter>, fx: &mut Effects) {
        let passed_over = block.index <= self.applied.1;
        #[cfg(feature = "sabotage")]
        let passed_over =
            passed_over && !crate::sabotage::BLOCK_APPLIED_TWICE.load(std::sync::atomic::Ordering::Relaxed);
        if passed_over {
            debug_assert!(waiters.is_empty());
            return;
        }
        let mut waiters = waiters.into_iter();
        let mut waiter = waiters.next();
        let mut keep = false;
        for (record, count) in record::iter(&block.payload).zip(1..) {
            let record = record.unwrap_or_else(|damage| panic!("{block:?} was committed: {damage:?}"));
            keep |= self.apply_record(block, &record, waiter.as_mut().map(|w| &mut w.what), fx);
            while let Some(Waiter { what, .. }) = waiter.take_if(|w| w.after <= count) {
                self.complete(what, fx);
                waiter = waiters.next();
            }
        }
        for Waiter { what, .. } in waiter.into_iter().chain(waiters) {
            self.complete(what, fx);
        }
        self.queues.finish_block();
        self.streams.stream.finish_block(block.stamp, &mut self.streams.out);
        self.streams.flush(&mut self.cache, &mut self.proposals, fx);
        if keep {
            self.cache.insert_tail(block.clone());
        }
        self.applied = (block.term, block.index);
    }

    /// A sealed proposal will never be committed: answers `Failed`. Settles and horizons in it go into a later one,
    /// unless the log is [`Failure::Stopping`] and there will be none.
    pub fn abandon(&mut self, waiters: Vec<Waiter>, failure: Failure, fx: &mut Effects) {
        let mut confirmed = Vec::new();
        for waiter in waiters {
            match waiter.what {
                what @ Waits::Overflow { .. } if failure != Failure::Stopping => confirmed.push(what),
                what => self.refuse(what, failure, fx),
            }
        }
        self.proposals.put_back(confirmed);
        self.queues.recount_arriving();
        self.queues.abandoned_block();
        self.streams.flush(&mut self.cache, &mut self.proposals, fx);
    }

    /// Answers the [`crate::Read`] at `asked`. `Err`: it cannot be read.
    pub fn loaded(&mut self, asked: Lsn, result: Result<Vec<BlockRef>, ()>, fx: &mut Effects) {
        let shard = self.options.shard;
        let own = result.map(|blocks| blocks.into_iter().filter(|b| b.shard == shard).collect());
        for reader in self.cache.loaded(asked, own) {
            match reader {
                Reader::Queue(at) => self.queues.loaded(at),
                Reader::Peek(number) => self.queues.peekers.loaded(number),
                Reader::Fetch(number) => self.streams.loaded(number, &mut self.cache, fx),
                Reader::Ahead => {}
            }
        }
    }

    /// Makes deliveries for all queues where something changed.
    pub fn dispatch(&mut self, now: Millis, fx: &mut Effects) {
        self.queues.now = now;
        self.queues.dispatch(now, &mut self.cache, fx);
        self.queues.propose_copies(&mut self.proposals);
    }

    /// What becomes of a dead letter of queue `from` ([`Effects::dead`]). New messages and the end of the old one are
    /// in one block.
    pub fn reborn(&mut self, now: Millis, from: QueueId, reborn: Reborn) {
        self.queues.reborn(now, from, reborn, &mut self.proposals);
    }

    /// What becomes of a dying record of a share group ([`Effects::dead_records`]): framed records, `count` of them.
    /// They and the end of the record are in one block.
    pub fn buried(&mut self, dead: Dead, records: Vec<u8>, count: u32) {
        let streams = &mut self.streams;
        streams.stream.shares.buried(dead, records, count, &mut streams.out);
        streams.hand_over(&mut self.proposals);
    }

    /// Hashes of the keys of records that a share group has to know ([`Effects::unkeyed`]), by offset; known below
    /// `upto`.
    pub fn keys_known(
        &mut self,
        now: Millis,
        wanted: &KeysWanted,
        upto: u64,
        keys: &[(u64, u64)],
        fx: &mut Effects,
    ) {
        let Streams { stream, out, .. } = &mut self.streams;
        stream.shares.keys_known(now, wanted, upto, keys, &stream.partitions, out);
        self.streams.flush(&mut self.cache, &mut self.proposals, fx);
    }

    /// A letter of queue `from` that is to be redriven has no place to go.
    pub fn unmoved(&mut self, from: QueueId, letter: &DeadLetter) {
        self.queues.unmoved(from, letter);
    }

    /// Messages come from another shard.
    pub fn receive(&mut self, now: Millis, transfer: Transfer) {
        self.queues.receive(now, transfer, &mut self.proposals);
    }

    /// Another shard has what was to be given back with `ticket`. False if that was not of [`Effects::transfers`].
    pub fn arrived(&mut self, ticket: u64, fx: &mut Effects) -> bool {
        let Some(arrived) = self.outbox.arrived(ticket) else { return false };
        if let Some(Arrived { record, waits }) = arrived {
            let answer = Provisioned::Reconciled;
            self.proposals.provision_again(Box::new(Provisioning { records: record, count: 1, answer }));
            if let Some((session, token)) = waits {
                fx.event(session, Event::Done { token });
            }
        }
        true
    }

    /// Another shard's part of a transaction's step; answered among [`Effects::told_txn`] when it is durable.
    pub fn take_part(&mut self, step: TxnStep) {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_on(&crate::sabotage::GONE_PARTITION_AWAITED)
            && bowline_model::record::at(&step.records, 0)
                .ok()
                .and_then(|record| bowline_model::record::Append::decode(record.body))
                .is_some_and(|append| {
                    let id = bowline_model::PartitionId(append.partition);
                    append.batch.len() > 60 && self.streams.stream.partitions.spec(id).is_none()
                })
        {
            return;
        }
        self.proposals.insist(step.records, step.count, Provisioned::Told(step.receipt));
    }

    /// Another shard has what was sent to it under the ticket.
    pub fn part_taken(&mut self, ticket: u64, fx: &mut Effects) {
        self.streams.stream.confirmed(ticket, &mut self.streams.out);
        self.streams.flush(&mut self.cache, &mut self.proposals, fx);
    }

    /// All messages of `queue` below are settled for good; `None`: there is no such queue.
    pub fn settled_below(&self, queue: QueueId) -> Option<u64> {
        self.queues.settled_below(queue)
    }

    /// Nothing that another shard's `queue` numbered below `upto` comes again: what is known of it may be forgotten.
    pub fn transferred(&mut self, queue: QueueId, upto: u64) {
        self.proposals.insist(transferred(queue, upto), 1, Provisioned::Reconciled);
    }

    /// Timers that are due.
    pub fn tick(&mut self, now: Millis, fx: &mut Effects) {
        if self.cache.tick(now) {
            self.queues.retry_unreadable();
        }
        self.queues.now = now;
        self.queues.tick(now);
        self.queues.expire_holds(now, fx);
        if self.streams.stream.next_deadline().is_some_and(|at| at <= now) {
            self.streams.stream.tick(now, &mut self.streams.out);
            self.streams.flush(&mut self.cache, &mut self.proposals, fx);
        }
    }

    /// When to call [`Shard::tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Millis> {
        [self.cache.next_deadline(), self.streams.stream.next_deadline(), self.queues.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The durable state as of [`Shard::applied`]: same state, same bytes. See [`crate::checkpoint`].
    pub fn checkpoint(&self) -> Vec<u8> {
        let mut out = Vec::new();
        checkpoint::write(&mut out, self.applied, &self.queues, self.outbox.kept(), &self.streams.stream);
        out
    }

    /// The shard as of a checkpoint. Nothing volatile is in it: no sessions, consumers or messages in memory.
    pub fn restore(options: Options, checkpoint: &[u8]) -> Result<Shard, RestoreError> {
        let mut shard = Shard::new(options);
        let (applied, kept) = checkpoint::read(checkpoint, &mut shard.queues, &mut shard.streams.stream)?;
        shard.applied = applied;
        shard.outbox = Outbox::new(shard.options.shard, kept);
        Ok(shard)
    }

    /// Segments of the log, and cold files, that hold something that is still needed.
    pub fn live_segments(&self) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let (mut log, mut cold) = (BTreeSet::new(), BTreeSet::new());
        self.queues.segments.collect(&mut log, &mut cold);
        for (lsn, _) in self.streams.stream.partitions.live_segments() {
            let set = if lsn.is_cold() { &mut cold } else { &mut log };
            set.insert(lsn.segment());
        }
        (log, cold)
    }

    /// What each file still holds for this shard. Walks all extents.
    pub fn survey(&self) -> Survey {
        let mut survey = Survey::new();
        for queue in self.queues.iter() {
            let bytes = queue.record_bytes();
            for extent in queue.index.iter().filter(|e| e.live > 0) {
                survey
                    .entry(extent.lsn.file())
                    .or_default()
                    .add(1, u64::from(extent.live).saturating_mul(bytes));
            }
        }
        for (file, live) in self.streams.stream.partitions.live_segments() {
            survey.entry(file).or_default().add(u64::from(live.extents), live.bytes);
        }
        survey
    }

    /// What has to be copied so that `files` (see [`Lsn::file`]) can be given up. See [`Relocation`].
    pub fn plan_relocation(&self, files: &BTreeSet<Lsn>) -> Relocation {
        let mut relocation = Relocation::new(self.options.shard, files.clone());
        for id in self.queues.ids() {
            let Some(queue) = self.queues.queue(id) else { continue };
            for (extent, settled, joined) in queue.index.extents_in(files) {
                relocation.plan_messages(id, (extent.lsn, extent.first, extent.count), settled, joined);
            }
        }
        for planned in self.streams.stream.partitions.extents_in(files) {
            relocation.plan_batches(planned);
        }
        relocation
    }

    /// What was planned with [`Shard::plan_relocation`] has been copied, and the copies are durable: from now on
    /// they are what counts. How many of the runs were taken; the others are not what they were, and stay or have
    /// gone. Blocks of the old files are not asked for any more.
    pub fn relocated(&mut self, moved: &Moved) -> usize {
        let Shard { queues, streams, .. } = self;
        let Moved { files, runs } = moved;
        let taken = runs.iter().filter(|run| match run {
            Run::Messages { queue, extents } => queues.relocate(*queue, files, extents),
            Run::Batches { partition, extents } => {
                streams.stream.partitions.relocate(*partition, files, extents)
            }
        });
        taken.count()
    }

    /// Partitions that it is time to compact.
    pub fn compaction_due(&self, now: Millis) -> Vec<Candidate> {
        self.streams.stream.partitions.compaction_due(now)
    }

    /// What is to be done to these partitions, with no more than about `offsets_max` offsets to look at.
    pub fn plan_compaction(&self, partitions: &[PartitionId], now: Millis, offsets_max: u64) -> Vec<Plan> {
        let mut left = offsets_max;
        let mut plans = Vec::new();
        for id in partitions {
            let plan = self.streams.stream.partitions.plan_compaction(*id, now, left);
            let Some(plan) = plan.filter(|plan| plans.is_empty() || plan.upto - plan.dirty <= left) else {
                continue;
            };
            left = left.saturating_sub(plan.upto - plan.dirty);
            plans.push(plan);
        }
        plans
    }

    /// The next piece of a compaction: what has to be rewritten of each partition between these offsets, about
    /// `bytes_max` in all. With how far it goes in each, and whether that is the end.
    pub fn plan_rewriting(
        &self,
        wanted: &[(PartitionId, u64, u64)],
        bytes_max: u64,
    ) -> (Relocation, Vec<(PartitionId, u64, bool)>) {
        let mut relocation = Relocation::new(self.options.shard, BTreeSet::new());
        let (mut left, mut ends) = (bytes_max, Vec::new());
        for &(id, from, upto) in wanted {
            if left == 0 {
                break;
            }
            let planned = self.streams.stream.partitions.extents_between(id, from, upto, left);
            let end = match planned.last() {
                Some(last) => last.extent.end(),
                None => {
                    self.streams.stream.partitions.begins(id).map_or(upto, |begin| begin.max(from).min(upto))
                }
            };
            ends.push((id, end, planned.is_empty() || end >= upto));
            let bytes: u64 = planned.iter().map(|planned| u64::from(planned.extent.bytes)).sum();
            left = left.saturating_sub(bytes);
            planned.into_iter().for_each(|planned| relocation.plan_batches(planned));
        }
        (relocation, ends)
    }

    /// A piece has been rewritten, and is durable. Partitions of which it is not what it was are named, and keep it.
    /// `done`: those of which this was the last piece.
    pub fn compacted(&mut self, moved: &Moved, done: &[Compacted]) -> BTreeSet<PartitionId> {
        let Moved { files, runs } = moved;
        let partitions = &mut self.streams.stream.partitions;
        let mut refused = BTreeSet::new();
        for run in runs {
            if let Run::Batches { partition, extents } = run
                && (refused.contains(partition) || !partitions.relocate(*partition, files, extents))
            {
                refused.insert(*partition);
            }
        }
        for compacted in done.iter().filter(|compacted| !refused.contains(&compacted.partition)) {
            partitions.compacted(*compacted);
        }
        refused
    }

    /// Term and index of the last applied block; zeros when none was.
    pub fn applied(&self) -> (u64, u64) {
        self.applied
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Walks all queues.
    pub fn stats(&self) -> Stats {
        let (tail_bytes, readahead_bytes) = self.cache.bytes();
        let mut stats = Stats {
            queues: self.queues.len() as u64,
            partitions: self.streams.stream.partitions.len() as u64,
            sessions: self.queues.sessions.len() as u64,
            tail_bytes: tail_bytes as u64,
            readahead_bytes: readahead_bytes as u64,
            volatile_bytes: self.queues.volatile_bytes() as u64,
            ..Stats::default()
        };
        for queue in self.queues.iter() {
            let info = queue.info();
            stats.consumers += u64::from(info.consumers);
            stats.ready += info.ready;
            stats.unacked += info.unacked;
            stats.extents += queue.index.extents_len() as u64;
        }
        stats
    }

    /// In no particular order.
    pub fn queue_stats(&self) -> impl Iterator<Item = QueueStats> + '_ {
        self.queues.iter().map(queue_stats)
    }

    fn provision(&mut self, provision: Provision, fx: &mut Effects) {
        let Shard { queues, streams, proposals, .. } = self;
        match provision {
            Provision::Queue(spec) => queues.provision(&spec, proposals, fx),
            Provision::Settings { queue, settings } => queues.configure(queue, &settings, proposals),
            Provision::Touched { queue } => queues.touch(queue),
            Provision::CopyHistory { history, to, ticket } => {
                queues.copy_history(history, to, ticket, proposals);
            }
            Provision::DropQueue { queue, if_unused, if_empty } => {
                queues.drop_queue(queue, if_unused, if_empty, proposals, fx);
            }
            Provision::Partition(spec) => streams.provision(&spec, proposals, fx),
            Provision::DropPartition { partition } => streams.drop_partition(partition, proposals),
            Provision::TopicDeleted { topic } => streams.stream.topic_deleted(&topic, &mut streams.out),
            Provision::Topics { topics, all } => streams.stream.topics_known(topics, all),
            Provision::GroupConfigs(groups) => streams.stream.configure_groups(groups),
            Provision::Reconcile { queues: specs, partitions } => {
                queues.reconcile(&specs, proposals);
                streams.reconcile(&partitions, proposals);
            }
        }
    }

    /// Applies one record; `waits` is whoever waits for the batch that it belongs to. True if the block should be
    /// kept at hand: somebody will read from it.
    #[inline]
    fn apply_record(
        &mut self,
        block: &BlockRef,
        record: &record::Record<'_>,
        waits: Option<&mut Waits>,
        fx: &mut Effects,
    ) -> bool {
        let queues = &mut self.queues;
        match record.kind {
            Kind::Publish => return queues.apply_publish(block, record),
            Kind::Append => {
                let result = self.streams.stream.apply_append(block, record);
                if let Some(Waits::Appended { results, .. }) = waits {
                    results.push(result);
                }
                return result.result.is_ok();
            }
            Kind::Settle => queues.apply_settle(record),
            Kind::Horizon => queues.apply_horizon(record),
            Kind::QueueCreate => queues.apply_create(record),
            Kind::QueueDelete => {
                let dropped = queues.apply_delete(record, fx);
                if let (Some((id, n)), Some(Waits::Provision(provisioning))) = (dropped, waits)
                    && let Provisioned::QueueDropped { queue, messages } = &mut provisioning.answer
                    && id == *queue
                {
                    *messages = n;
                }
            }
            Kind::QueueSettings => queues.apply_settings(block.stamp, record),
            Kind::NodeStarted => {
                queues.apply_node_started(block.stamp, fx);
                self.streams.stream.apply(block, record, &mut self.streams.out);
                self.outbox.begin(fx);
            }
            Kind::Outbox => {
                let number = self.outbox.apply(record.body, fx);
                if let Some(Waits::Done { outbox, .. }) = waits {
                    *outbox = Some(number);
                }
            }
            Kind::OutboxDone => {
                if let Ok(number) = postcard::from_bytes(record.body) {
                    self.outbox.apply_done(number, fx);
                }
            }
            Kind::PartitionCreate
            | Kind::PartitionDelete
            | Kind::PartitionTrim
            | Kind::OffsetCommit
            | Kind::OffsetDelete
            | Kind::ConsumerGroup
            | Kind::ShareCreate
            | Kind::ShareDelete
            | Kind::ShareSettle
            | Kind::ShareHorizon
            | Kind::ShareCounts
            | Kind::Txn
            | Kind::TxnAdmit
            | Kind::TxnOffsets
            | Kind::TxnGroups => {
                self.streams.stream.apply(block, record, &mut self.streams.out);
            }
            // The meta shard's, and the log's own.
            Kind::Meta | Kind::Truncate | Kind::Noop => {}
            Kind::Failures => queues.apply_failures(record),
            Kind::Delays => queues.apply_delays(record),
            Kind::Transferred => {
                if let Ok((source, upto)) = postcard::from_bytes::<(QueueId, u64)>(record.body) {
                    queues.apply_transferred(source, upto);
                    self.streams.stream.partitions.transferred(source, upto);
                }
            }
            Kind::Cancel => {
                let cancelled = queues.apply_cancel(block.stamp, record);
                if let Some(Waits::Cancelled { all, .. }) = waits {
                    *all &= cancelled;
                }
            }
        }
        false
    }

    /// What somebody waited for has been applied.
    fn complete(&mut self, waits: Waits, fx: &mut Effects) {
        match waits {
            Waits::Done { session, token, batch, outbox } => {
                match outbox {
                    None => fx.event(session, Event::Done { token }),
                    Some(number) => self.outbox.wait(number, session, token),
                }
                self.queues.landed(session, batch, fx);
            }
            Waits::Appended { session, token, batch, results } => {
                fx.event(session, Event::Appended { token, results });
                self.queues.landed(session, batch, fx);
            }
            Waits::Cancelled { session, token, batch, all } => {
                fx.event(
                    session,
                    match all {
                        true => Event::Done { token },
                        false => Event::Failed { token, reason: Failure::NothingWaits },
                    },
                );
                self.queues.landed(session, batch, fx);
            }
            Waits::Overflow { session, batch, .. } => self.queues.landed(session, batch, fx),
            Waits::Purged { session, token, messages, .. } => {
                fx.event(session, Event::Purged { token, result: Ok(messages) });
            }
            Waits::Provision(provisioning) => match provisioning.answer {
                Provisioned::QueueReady(queue) => {
                    let info = self.queues.info(queue).unwrap_or_default();
                    fx.meta.push(MetaEvent::QueueReady { queue, info });
                }
                Provisioned::QueueDropped { queue, messages } => {
                    fx.meta.push(MetaEvent::QueueDropped { queue, result: Ok(messages) });
                }
                Provisioned::PartitionReady(partition) => {
                    fx.meta.push(MetaEvent::PartitionReady { partition })
                }
                Provisioned::PartitionDropped(partition) => {
                    fx.meta.push(MetaEvent::PartitionDropped { partition });
                }
                Provisioned::CopyHistory { history, to, ticket } => {
                    self.queues.begin_copy(history, to, ticket, fx);
                }
                Provisioned::Received(receipt) => fx.received.push(receipt),
                Provisioned::Told(receipt) => fx.told_txn.push(receipt),
                Provisioned::Reconciled => {}
            },
            Waits::Stream(waiter) => self.streams.stream.applied(waiter, &mut self.streams.out),
            Waits::Housekeeping(_) => {}
        }
    }

    /// What somebody waited for will not come. Meta is not answered: what it wants is tried again until it is in.
    /// A log that stops takes no further block, so what the shard wanted to tell it is not kept.
    fn refuse(&mut self, waits: Waits, reason: Failure, fx: &mut Effects) {
        match waits {
            Waits::Done { session, token, batch, .. }
            | Waits::Appended { session, token, batch, .. }
            | Waits::Cancelled { session, token, batch, .. } => {
                fx.event(session, Event::Failed { token, reason });
                self.queues.landed(session, batch, fx);
            }
            Waits::Overflow { session, batch, .. } => self.queues.landed(session, batch, fx),
            Waits::Purged { session, token, queue, runs, .. } => {
                if reason != Failure::Stopping {
                    self.queues.requeue_settles(queue, SettleReason::Purged, runs);
                }
                fx.event(session, Event::Failed { token, reason });
            }
            Waits::Stream(waiter) => {
                let again = reason != Failure::Stopping;
                self.streams.stream.refused(waiter, again, &mut self.streams.out);
            }
            Waits::Housekeeping(kept) if reason != Failure::Stopping => {
                self.queues.requeue_housekeeping(*kept)
            }
            Waits::Provision(provisioning) if reason != Failure::Stopping => {
                self.proposals.provision_again(provisioning);
            }
            Waits::Housekeeping(_) | Waits::Provision(_) => {}
        }
    }
}

fn queue_stats(queue: &Queue) -> QueueStats {
    let info = queue.info();
    QueueStats {
        queue: queue.at.id,
        ready: info.ready,
        unacked: info.unacked,
        consumers: info.consumers,
        logged: queue.index.next_seq(),
        acked: queue.settled_as(SettleReason::Acked),
        rejected: queue.settled_as(SettleReason::Rejected),
        purged: queue.settled_as(SettleReason::Purged),
        expired: queue.settled_as(SettleReason::Expired),
        too_many: queue.settled_as(SettleReason::MaxLength),
        failed: queue.settled_as(SettleReason::DeliveryLimit),
        duplicates: queue.special.as_ref().map_or(0, |special| special.duplicates),
    }
}
