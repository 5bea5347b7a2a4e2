//! The state machines of a data shard that serve topics and consumer groups.
//!
//! * [`partition`]: partitions' offsets, extents and idempotent producers; fetching, watching, trimming.
//! * [`group`]: the coordinator of Kafka's classic consumer groups, and committed offsets.
//!
//! Both are pure: no I/O, clock, thread or randomness. Time is a parameter ([`Millis`]); blocks come in through
//! [`BlockLookup`]; what has to happen outside leaves through [`Out`]. *Durable* state changes only in
//! [`Stream::apply_append`] and [`Stream::apply`], and only because of the block; replaying the same blocks gives
//! the same state, whose bytes [`Stream::checkpoint`] writes. *Volatile* state (watches, group members) belongs to
//! the leader and dies with the process.
//!
//! How a shard drives this, block by block:
//! ```text
//! request  → partitions.fetch / watch / trim / …, groups.handle           → Out: replies, proposals with Waiter
//! block    → apply_append / apply for each record, finish_block            → Out: Moved
//!            then applied(waiter) for each proposal that was in the block  → Out: replies
//! time     → tick(now) when next_deadline() has come                       → Out: replies, proposals
//! ```

mod checkpoint;
pub mod group;
mod out;
pub mod partition;
#[cfg(feature = "sabotage")]
pub mod sabotage;
#[cfg(test)]
mod testing;

pub use checkpoint::Damaged;
pub use group::Groups;
pub use out::{BlockLookup, Out, Proposal, Read, Waiter};
pub use partition::{FetchOutcome, OffsetsOutcome, OffsetsSearch, Partitions};

use bowline_model::event::{AppendResult, Event, FetchError};
use bowline_model::record::{Kind, Record};
use bowline_model::{Block, Millis, SessionId, group as api};

/// What an operator may tune. [`Options::default`] is what `bowline serve` runs with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub partitions: partition::Options,
    pub groups: group::Options,
}

/// Topics' and groups' part of a data shard.
#[derive(Debug)]
pub struct Stream {
    pub partitions: Partitions,
    pub groups: Groups,
}

impl Stream {
    pub fn new(options: Options) -> Stream {
        Stream { partitions: Partitions::new(options.partitions), groups: Groups::new(options.groups) }
    }

    /// Applies an Append record: see [`Partitions::apply_append`].
    #[inline]
    pub fn apply_append(&mut self, block: &Block, record: &Record<'_>) -> AppendResult {
        self.partitions.apply_append(block, record)
    }

    /// Applies a record of any other kind that concerns partitions or groups; true if it was one. Bodies that do
    /// not decode change nothing: they were written by us, so the block's checksum already vouches for them.
    pub fn apply(&mut self, block: &Block, record: &Record<'_>, out: &mut Out) -> bool {
        match record.kind {
            Kind::PartitionCreate | Kind::PartitionDelete | Kind::PartitionTrim => {
                self.partitions.apply(block, record, out);
            }
            Kind::OffsetCommit | Kind::OffsetDelete => self.groups.apply(block, record),
            _ => return false,
        }
        true
    }

    /// To be called when all records of a block have been applied: tells watchers which partitions moved.
    pub fn finish_block(&mut self, out: &mut Out) {
        self.partitions.finish_block(out);
    }

    /// The proposal that came with `waiter` has been applied: answers its session.
    pub fn applied(&mut self, waiter: Waiter, out: &mut Out) {
        match waiter {
            Waiter::Trim { session, token, partition } => {
                let result = self.partitions.log_start(partition).ok_or(FetchError::UnknownPartition);
                out.replies.push((session, Event::Trimmed { token, result }));
            }
            Waiter::Group { session, token, reply } => {
                out.replies.push((session, Event::Group { token, reply }));
            }
        }
    }

    /// The proposal that came with `waiter` will not be applied (disk full, stopping): answers its session so that
    /// a client retries.
    pub fn refused(&mut self, waiter: Waiter, out: &mut Out) {
        match waiter {
            Waiter::Trim { session, token, .. } => {
                out.replies.push((session, Event::Trimmed { token, result: Err(FetchError::Storage) }));
            }
            Waiter::Group { session, token, reply } => {
                let error = Err(api::Error::CoordinatorNotAvailable);
                let reply = match reply {
                    api::Reply::Commit(_) => api::Reply::Commit(error.map(|()| Vec::new())),
                    api::Reply::OffsetDelete(_) => api::Reply::OffsetDelete(error.map(|()| Vec::new())),
                    _ => api::Reply::Delete(error),
                };
                out.replies.push((session, Event::Group { token, reply }));
            }
        }
    }

    /// Does what is due at `now`: session and rebalance timeouts, retention, expiry of offsets.
    pub fn tick(&mut self, now: Millis, out: &mut Out) {
        self.partitions.tick(now, out);
        self.groups.tick(now, out);
    }

    /// When [`Stream::tick`] has something to do next; `None`: only after some other input.
    pub fn next_deadline(&self) -> Option<Millis> {
        [self.partitions.next_deadline(), self.groups.next_deadline()].into_iter().flatten().min()
    }

    /// The session is gone: its watches and its waiting joins and syncs are dropped without an answer.
    pub fn close_session(&mut self, now: Millis, session: SessionId) {
        self.partitions.close_session(session);
        self.groups.close_session(now, session);
    }

    /// Appends the durable state to `out`: same state, same bytes. See [`Damaged`] for the format's version.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        checkpoint::section(out, |out| self.partitions.checkpoint(out));
        checkpoint::section(out, |out| self.groups.checkpoint(out));
    }

    /// Replaces durable state by what [`Stream::checkpoint`] wrote (exactly those bytes) and empties volatile state.
    pub fn restore(&mut self, mut input: &[u8]) -> Result<(), Damaged> {
        self.partitions.restore(checkpoint::take_section(&mut input)?)?;
        self.groups.restore(checkpoint::take_section(&mut input)?)?;
        if input.is_empty() { Ok(()) } else { Err(Damaged("bytes after the end")) }
    }
}
