//! A data shard joined to its replication: requests and commits in, effects out. No thread, no clock: the
//! shard thread ([`crate::thread`]) and the simulation drive the same code.
//!
//! ```text
//! requests ─► Shard::handle ─► open block ─► seal ─► propose ──► (log) ──► committed ─► Shard::apply ─► effects
//! ```
//! At most [`IN_FLIGHT_MAX`] blocks are under way; what arrives meanwhile gathers in the open block. That is the
//! whole of group commit: no timer takes part, but for blocks in which nobody waits for anything.

use crate::snapshot::ShardSnapshot;
use bowline_broker::{Compacted, Effects, LAZY_MS, Moved, Proposal, Shard, Urgency, Waiter};
use bowline_model::event::{Event, Failure};
use bowline_model::record::{self, Kind};
use bowline_model::request::{Provision, Request, Want};
use bowline_model::{AlignedBuf, BlockRef, Lsn, Millis, PartitionId, SessionId, ShardId};
use bowline_raft::{Entry, Replication};
use bowline_storage::{AppendError, ShardCheckpoint};
use std::collections::{BTreeSet, VecDeque};

/// Blocks of one shard that may be proposed and not yet committed. Two keep the disk busy while a commit is
/// being applied; more would only make smaller batches.
pub const IN_FLIGHT_MAX: usize = 2;

pub struct DataShard<R> {
    pub shard: Shard,
    pub replication: R,
    in_flight: VecDeque<Vec<Waiter>>,
    /// No block that is not applied lies below.
    replay_floor: Lsn,
    /// Since when the open block has only been waiting lazily.
    lazy_since: Option<Millis>,
    /// The thread has nothing else to do than what is at hand.
    alone: bool,
    /// The disk is full: what would add messages is refused, what removes them is not.
    full: bool,
    /// The start's record is applied: what was delivered before counts as such.
    recorded: bool,
    /// The topology has told what there is.
    reconciled: bool,
    started: bool,
    stopping: bool,
    stopped: bool,
    /// The log has refused a block, and taken none since.
    refused: bool,
}

impl<R: Replication> DataShard<R> {
    pub fn new(shard: Shard, replication: R) -> DataShard<R> {
        let replay_floor = replication.position();
        DataShard {
            shard,
            replication,
            in_flight: VecDeque::new(),
            replay_floor,
            lazy_since: None,
            alone: false,
            full: false,
            recorded: false,
            reconciled: false,
            started: false,
            stopping: false,
            stopped: false,
            refused: false,
        }
    }

    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// The disk is full, or the node stops: what nobody waits for is better left.
    pub fn is_full(&self) -> bool {
        self.full || self.stopping
    }

    /// Refuses new messages from now on; [`DataShard::is_idle`] tells when all else is done.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// The owner is to go.
    pub fn set_stopped(&mut self) {
        self.stopped = true;
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The start's record is applied, and queues and partitions are as the topology has them. No session may be
    /// served before: a message that was delivered in an earlier life would be given out as new.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Nothing is open or under way.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.shard.proposal_urgency() == Urgency::Nothing
    }

    pub fn request(&mut self, now: Millis, session: SessionId, request: Request, fx: &mut Effects) {
        if (self.full || self.stopping)
            && let Some(token) = adds_messages(&request)
        {
            let reason = if self.full { Failure::DiskFull } else { Failure::Stopping };
            fx.events.push((session, Event::Failed { token, reason }));
            return;
        }
        let reconciles = matches!(request, Request::Provision(Provision::Reconcile { .. }));
        self.shard.handle(now, session, request, fx);
        self.reconciled |= reconciles;
    }

    pub fn committed(&mut self, block: &BlockRef, fx: &mut Effects) {
        let waiters = self.in_flight.pop_front().expect("commits come in the order of proposals");
        self.replay_floor = block.lsn;
        self.recorded = true;
        if std::mem::take(&mut self.refused) {
            tracing::info!("the log takes blocks again");
        }
        self.shard.apply(block, waiters, fx);
    }

    pub fn loaded(&mut self, asked: Lsn, result: Result<Vec<BlockRef>, ()>, fx: &mut Effects) {
        self.shard.loaded(asked, result, fx);
    }

    /// Begins this start's term: proposes the record after which nothing volatile of before counts. Must be
    /// committed before any session is served.
    ///
    /// # Errors
    /// When the log does not take it.
    pub fn begin(&mut self, now: Millis) -> Result<(), AppendError> {
        let mut records = Vec::new();
        record::put(&mut records, Kind::NodeStarted, &[]);
        let mut buf = AlignedBuf::with_payload_capacity(records.len());
        buf.extend_from_slice(&records);
        self.propose(Entry { stamp: now, n_records: 1, buf }, Vec::new()).map_err(|(error, _)| error)
    }

    /// The durable state, as of everything applied so far.
    pub fn snapshot(&self, shard: ShardId) -> ShardSnapshot {
        let (applied_term, applied_index) = self.shard.applied();
        // With nothing under way, whatever comes will lie behind the present end of the log.
        let replay_from =
            if self.in_flight.is_empty() { self.replication.position() } else { self.replay_floor };
        let (live_segments, live_cold) = self.shard.live_segments();
        let state = self.shard.checkpoint();
        let checkpoint = ShardCheckpoint { shard, applied_term, applied_index, replay_from, state };
        ShardSnapshot { checkpoint, live_segments, live_cold }
    }

    /// Content that [`Shard::plan_relocation`] planned to copy now lies in a cold file, which is finished; how many
    /// runs that was true of. Checkpoints taken from now on list the cold file. The simulation may do as
    /// `crate::relocate` does: plan, copy with [`crate::relocate::copy`], finish the file, and tell.
    pub fn relocated(&mut self, moved: &Moved) -> usize {
        self.shard.relocated(moved)
    }

    /// See [`Shard::compacted`].
    pub fn compacted(&mut self, moved: &Moved, done: &[Compacted]) -> BTreeSet<PartitionId> {
        self.shard.compacted(moved, done)
    }

    /// Whether the caller, once [`DataShard::advance`] has returned and its effects are performed, has nothing to do
    /// but to call [`DataShard::release`]: then the write may be made on its thread.
    pub fn set_alone(&mut self, alone: bool) {
        self.alone = alone;
    }

    /// See [`DataShard::set_alone`].
    pub fn release(&mut self) {
        self.replication.release();
    }

    /// Proposes what is ripe, then dispatches. To be called after every batch of input.
    pub fn advance(&mut self, now: Millis, fx: &mut Effects) {
        self.shard.tick(now, fx);
        self.propose_ripe(now, fx);
        // Before, what an earlier life has left is not in its place yet: it would leave (expire, say) twice.
        if self.recorded {
            self.shard.dispatch(now, fx);
        }
        // Dispatch settles automatic acknowledgements and reserves horizons.
        self.propose_ripe(now, fx);
        self.started |= self.recorded && self.reconciled && self.is_idle();
    }

    /// When [`DataShard::advance`] has to be called even if nothing arrives.
    pub fn next_deadline(&self) -> Option<Millis> {
        let lazy = match self.shard.proposal_urgency() {
            Urgency::Nothing => None,
            _ if self.in_flight.len() >= IN_FLIGHT_MAX => None,
            _ => self.lazy_since.map(|since| since + LAZY_MS),
        };
        [lazy, self.shard.next_deadline()].into_iter().flatten().min()
    }

    fn propose_ripe(&mut self, now: Millis, fx: &mut Effects) {
        while self.in_flight.len() < IN_FLIGHT_MAX && self.is_ripe(now) {
            let Some(Proposal { buf, n_records, waiters }) = self.shard.seal(now) else { break };
            self.lazy_since = None;
            if let Err((error, waiters)) = self.propose(Entry { stamp: now, n_records, buf }, waiters) {
                // It may go on refusing, block after block; once said is enough.
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::error!(%error, "the log refuses blocks");
                }
                // A log without room will have some again, and what cannot be refused has to wait for that. A node
                // that stops does not: without its settles, messages come again.
                let failure = match error {
                    AppendError::Fatal(_) | AppendError::NotStarted => Failure::Stopping,
                    _ if self.stopping => Failure::Stopping,
                    _ => Failure::DiskFull,
                };
                self.shard.abandon(waiters, failure, fx);
                self.lazy_since = Some(now);
                break;
            }
        }
    }

    /// Gives the waiters back if the log does not take the block.
    fn propose(&mut self, entry: Entry, waiters: Vec<Waiter>) -> Result<(), (AppendError, Vec<Waiter>)> {
        // The last block applied may lie in a segment that an earlier checkpoint, which needed nothing below the
        // end of the log, has let go.
        let position = self.replication.position();
        // With a block under way, or more to come, the writers' threads are at work anyway.
        let held = self.alone && self.in_flight.is_empty();
        let proposed =
            if held { self.replication.propose_held(entry) } else { self.replication.propose(entry) };
        if let Err(error) = proposed {
            return Err((error, waiters));
        }
        if self.in_flight.is_empty() {
            self.replay_floor = position;
        }
        self.in_flight.push_back(waiters);
        Ok(())
    }

    fn is_ripe(&mut self, now: Millis) -> bool {
        match self.shard.proposal_urgency() {
            Urgency::Nothing => false,
            Urgency::Now => true,
            Urgency::Lazily => self.stopping || now >= *self.lazy_since.get_or_insert(now) + LAZY_MS,
        }
    }
}

/// The token to answer if the request would make the log grow for good.
fn adds_messages(request: &Request) -> Option<bowline_model::Token> {
    match request {
        // A cancel takes away.
        Request::Propose(propose) if propose.want == Want::Cancelled => None,
        Request::Propose(propose) => Some(propose.token),
        Request::Volatile(volatile) => Some(volatile.token),
        _ => None,
    }
}
