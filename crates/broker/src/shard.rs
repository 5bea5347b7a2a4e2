//! The shard.

use crate::{Effects, Proposal, Urgency, Waiter};
use bowline_model::event::Failure;
use bowline_model::request::Request;
use bowline_model::{BlockRef, Lsn, Millis, SessionId, ShardId};
use std::collections::BTreeSet;

/// Sizes, fixed for the life of a [`Shard`].
#[derive(Clone, Debug)]
pub struct Options {
    pub shard: ShardId,
    /// Recent blocks kept in memory, bytes of payload.
    pub cache_bytes: usize,
    /// Blocks read back from the log for catch-up, bytes of payload, outside `cache_bytes`.
    pub readahead_bytes: usize,
    /// Messages that live in memory only, bytes of their batches; beyond it they are logged.
    pub volatile_bytes: usize,
}

impl Options {
    /// Defaults for `shard`: 64 MiB of cache, 32 MiB of read-ahead, 64 MiB of volatile messages.
    pub fn new(shard: ShardId) -> Options {
        Options { shard, cache_bytes: 64 << 20, readahead_bytes: 32 << 20, volatile_bytes: 64 << 20 }
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

/// Sums over the shard, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    pub queues: u64,
    pub consumers: u64,
    pub ready: u64,
    pub unacked: u64,
}

pub struct Shard {
    options: Options,
    applied: (u64, u64),
}

impl Shard {
    pub fn new(options: Options) -> Shard {
        Shard { options, applied: (0, 0) }
    }

    /// Takes a request of `session`: volatile work at once, durable work into the open proposal.
    pub fn handle(&mut self, now: Millis, session: SessionId, request: Request, fx: &mut Effects) {
        let _ = (now, session, request, fx);
    }

    /// What the open proposal wants.
    pub fn proposal_urgency(&self) -> Urgency {
        Urgency::Nothing
    }

    /// Completes the open block (the oldest, if several wait): adds pending settles and horizons. `None` if
    /// there is nothing to write.
    pub fn seal(&mut self, now: Millis) -> Option<Proposal> {
        let _ = now;
        None
    }

    /// Applies a committed block. `waiters` as sealed; empty on replay. Durable state changes by the block alone.
    pub fn apply(&mut self, block: &BlockRef, waiters: Vec<Waiter>, fx: &mut Effects) {
        let _ = (waiters, fx);
        self.applied = (block.term, block.index);
    }

    /// A sealed proposal will never be committed: answers `Failed`.
    pub fn abandon(&mut self, waiters: Vec<Waiter>, failure: Failure, fx: &mut Effects) {
        let _ = (waiters, failure, fx);
    }

    /// Answers the [`crate::Read`] at `asked`. `Err`: it cannot be read.
    pub fn loaded(&mut self, asked: Lsn, result: Result<Vec<BlockRef>, ()>, fx: &mut Effects) {
        let _ = (asked, result, fx);
    }

    /// Makes deliveries for all queues where something changed.
    pub fn dispatch(&mut self, now: Millis, fx: &mut Effects) {
        let _ = (now, fx);
    }

    /// Timers that are due.
    pub fn tick(&mut self, now: Millis, fx: &mut Effects) {
        let _ = (now, fx);
    }

    /// When to call [`Shard::tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Millis> {
        None
    }

    /// The durable state as of [`Shard::applied`].
    pub fn checkpoint(&self) -> Vec<u8> {
        Vec::new()
    }

    pub fn restore(options: Options, checkpoint: &[u8]) -> Result<Shard, RestoreError> {
        let _ = checkpoint;
        Ok(Shard::new(options))
    }

    /// Segments of the log, and cold files, that hold something that is still needed.
    pub fn live_segments(&self) -> (BTreeSet<u32>, BTreeSet<u32>) {
        (BTreeSet::new(), BTreeSet::new())
    }

    /// Term and index of the last applied block; zeros when none was.
    pub fn applied(&self) -> (u64, u64) {
        self.applied
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
