//! The state machines of a data shard that serve topics and consumer groups.
//!
//! * [`partition`]: partitions' offsets, extents and idempotent producers; fetching, watching, trimming.
//! * [`group`]: the coordinator of consumer groups, classic ones and those of KIP-848, and committed offsets.
//! * [`share`]: share groups, whose members settle record by record.
//! * [`txn`]: the coordinator of transactions, and offsets that wait for one.
//!
//! All are pure: no I/O, clock, thread or randomness. Time is a parameter ([`Millis`]); blocks come in through
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
pub mod share;
#[cfg(test)]
mod testing;
pub mod topics;
pub mod txn;

pub use checkpoint::Damaged;
pub use group::{Groups, Wait};
pub use out::{BlockLookup, Out, Proposal, Read, Waiter};
pub use partition::{FetchOutcome, OffsetsOutcome, OffsetsSearch, Partitions};
pub use share::Shares;
pub use topics::Topics;
pub use txn::Txns;

use bowline_model::event::{AppendResult, Event, FetchError};
use bowline_model::group::{OffsetCommitRecord, OffsetDeleteRecord};
use bowline_model::record::{Kind, Record};
use bowline_model::request::TopicMeta;
use bowline_model::txn::{AdmitRecord, GroupsRecord, OffsetsCommit, OffsetsRecord};
use bowline_model::{
    Block, Millis, PartitionId, SessionId, Token, group as api, record, share as share_api, txn as txn_api,
};

/// What an operator may tune. [`Options::default`] is what `bowline serve` runs with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub partitions: partition::Options,
    pub groups: group::Options,
    pub place: txn::Place,
}

/// Parts of a checkpoint: see [`Stream::checkpoint`].
pub const SECTIONS: u8 = 4;

/// Topics' and groups' part of a data shard.
#[derive(Debug)]
pub struct Stream {
    pub partitions: Partitions,
    pub groups: Groups,
    pub shares: Shares,
    pub txns: Txns,
    pub pending: txn::Pending,
}

impl Stream {
    pub fn new(options: Options) -> Stream {
        Stream {
            partitions: Partitions::new(options.partitions),
            groups: Groups::new(options.groups),
            shares: Shares::default(),
            txns: Txns::new(options.place),
            pending: txn::Pending::default(),
        }
    }

    /// Topics that groups may subscribe to: new ones, grown ones; `all`: what is not among them is gone.
    pub fn topics_known(&mut self, topics: Vec<TopicMeta>, all: bool) {
        self.groups.topics.put(topics, all);
    }

    /// A topic is gone, with what groups have committed for it.
    pub fn topic_deleted(&mut self, topic: &str, out: &mut Out) {
        self.groups.topics.remove(topic);
        self.groups.topic_deleted(topic, &self.pending, out);
    }

    /// Explicit settings of groups; none: the defaults hold.
    pub fn configure_groups(&mut self, groups: Vec<(String, Vec<(String, String)>)>) {
        for (name, configs) in groups {
            self.groups.configure(&name, &configs);
        }
    }

    /// Serves a request that concerns share groups.
    pub fn share(&mut self, now: Millis, session: SessionId, request: share_api::Request, out: &mut Out) {
        self.shares.handle(now, session, request, &mut self.partitions, out);
    }

    /// Serves a request that concerns a group.
    pub fn group(
        &mut self,
        now: Millis,
        session: SessionId,
        token: Token,
        request: api::Request,
        out: &mut Out,
    ) {
        let stable = match &request {
            api::Request::FetchOffsets { group, require_stable: true, .. } if self.pending.is_open(group) => {
                Some(group.clone())
            }
            _ => None,
        };
        self.groups.handle(now, Wait { session, token }, request, &self.pending, out);
        if let Some(group) = stable
            && let Some((_, Event::Group { reply: api::Reply::FetchOffsets(Ok(topics)), .. })) =
                out.replies.last_mut()
        {
            for (topic, offsets) in topics {
                for offset in offsets {
                    offset.unstable = self.pending.is_unstable(&group, topic, offset.partition);
                }
            }
        }
    }

    /// Serves a request for the coordinator of a transactional id.
    pub fn txn(
        &mut self,
        now: Millis,
        session: SessionId,
        token: Token,
        request: txn_api::Request,
        out: &mut Out,
    ) {
        self.txns.handle(now, session, token, request, out);
    }

    /// Takes offsets that a group commits if a transaction does. Answered as `group::Reply::Commit` when they are
    /// durable.
    pub fn commit_in_txn(&mut self, session: SessionId, token: Token, commit: OffsetsCommit, out: &mut Out) {
        let OffsetsCommit { member, producer, topics, implicit } = commit;
        let speaks = (!implicit).then_some(session);
        let checked = match self.pending.check(&member.group, producer, speaks) {
            Ok(()) => self.groups.check_txn_commit(&member, topics, self.pending.len(&member.group)),
            Err(txn::Refused::Error(error)) => Err(error),
            Err(txn::Refused::Outdated) => return out.replies.push((session, Event::Outdated { token })),
        };
        match checked {
            Ok((topics, results)) if !topics.is_empty() => {
                let mut proposal = Proposal::new(true);
                let record = OffsetsRecord { group: member.group, producer, topics };
                record::put_value(&mut proposal.records, Kind::TxnOffsets, &record);
                proposal.count = 1;
                let reply = api::Reply::Commit(Ok(results));
                proposal.waiter = Some(Waiter::Group { session, token, reply });
                out.propose.push(proposal);
            }
            Ok((_, results)) => {
                let reply = api::Reply::Commit(Ok(results));
                out.replies.push((session, Event::Group { token, reply }));
            }
            Err(error) => {
                let reply = api::Reply::Commit(Err(error));
                out.replies.push((session, Event::Group { token, reply }));
            }
        }
    }

    /// Another shard has logged what was sent to it ([`Out::sends`]).
    pub fn confirmed(&mut self, ticket: u64, out: &mut Out) {
        self.txns.confirmed(ticket, out);
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
            Kind::PartitionCreate => self.partitions.apply(block, record, out),
            Kind::PartitionDelete | Kind::PartitionTrim => {
                self.partitions.apply(block, record, out);
                // Both begin with the partition.
                if !self.shares.is_empty()
                    && let Ok((id, _)) = postcard::take_from_bytes::<PartitionId>(record.body)
                {
                    self.shares.partition_changed(id, &self.partitions);
                }
            }
            Kind::NodeStarted => {
                self.shares.apply(record, &self.partitions);
                self.groups.apply(block, record);
                self.txns.node_started();
            }
            Kind::ShareCreate
            | Kind::ShareDelete
            | Kind::ShareSettle
            | Kind::ShareHorizon
            | Kind::ShareCounts => self.shares.apply(record, &self.partitions),
            Kind::OffsetCommit => {
                if !self.pending.is_empty()
                    && let Ok(commit) = postcard::from_bytes::<OffsetCommitRecord>(record.body)
                {
                    self.pending.overtaken(&commit.group, &commit.topics);
                }
                self.groups.apply(block, record);
            }
            Kind::OffsetDelete => {
                if !self.pending.is_empty()
                    && let Ok(delete) = postcard::from_bytes::<OffsetDeleteRecord>(record.body)
                {
                    self.pending.deleted(&delete);
                }
                self.groups.apply(block, record);
            }
            Kind::ConsumerGroup => self.groups.apply(block, record),
            Kind::Txn => self.txns.apply(block.stamp, record),
            Kind::TxnAdmit => {
                if let Ok(admit) = postcard::from_bytes::<AdmitRecord>(record.body) {
                    self.partitions.admit(block, &admit);
                    self.pending.admit(admit);
                }
            }
            Kind::TxnOffsets => {
                if let Ok(offsets) = postcard::from_bytes::<OffsetsRecord>(record.body) {
                    self.pending.add(offsets);
                }
            }
            Kind::TxnGroups => {
                if let Ok(ended) = postcard::from_bytes::<GroupsRecord>(record.body) {
                    let commit = ended.commit;
                    #[cfg(feature = "sabotage")]
                    let commit = commit || sabotage::is_on(&sabotage::ABORTED_OFFSETS_KEPT);
                    for (group, topics) in self.pending.end(&ended) {
                        if commit && !topics.is_empty() {
                            self.groups.commit_applied(group, topics, block.stamp);
                        }
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// To be called when all records of a block of time `stamp` have been applied, and their waiters told: tells
    /// watchers which partitions moved, and members of share groups which records they have.
    pub fn finish_block(&mut self, stamp: Millis, out: &mut Out) {
        let moved = self.partitions.finish_block(out);
        if self.shares.has_business() {
            self.shares.moved(&moved);
            self.shares.dispatch(stamp, &self.partitions, out);
        }
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
            Waiter::Share(waiter) => self.shares.applied(*waiter, &mut self.partitions, out),
            Waiter::Txn(waiter) => self.txns.applied(*waiter, out),
        }
    }

    /// The proposal that came with `waiter` will not be applied (disk full, stopping): answers its session so that
    /// a client retries. `again`: the log goes on, so what it must be told sooner or later is proposed again.
    pub fn refused(&mut self, waiter: Waiter, again: bool, out: &mut Out) {
        match waiter {
            Waiter::Trim { session, token, .. } => {
                out.replies.push((session, Event::Trimmed { token, result: Err(FetchError::Storage) }));
            }
            Waiter::Group { session, token, reply } => {
                let reply = self.groups.refused(reply);
                out.replies.push((session, Event::Group { token, reply }));
            }
            Waiter::Share(waiter) => self.shares.refused(*waiter, again, &self.partitions, out),
            Waiter::Txn(waiter) => self.txns.refused(*waiter, again, out),
        }
    }

    /// Does what is due at `now`: session and rebalance timeouts, retention, expiry of offsets.
    pub fn tick(&mut self, now: Millis, out: &mut Out) {
        self.partitions.tick(now, out);
        self.groups.tick(now, &self.pending, out);
        self.shares.tick(now, &self.partitions, out);
        self.txns.tick(now, out);
    }

    /// When [`Stream::tick`] has something to do next; `None`: only after some other input.
    pub fn next_deadline(&self) -> Option<Millis> {
        [
            self.partitions.next_deadline(),
            self.groups.next_deadline(),
            self.shares.next_deadline(),
            self.txns.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The session is gone: its watches and its waiting joins and syncs are dropped without an answer; what it has
    /// acquired comes back.
    pub fn close_session(&mut self, now: Millis, session: SessionId, out: &mut Out) {
        self.partitions.close_session(session);
        self.groups.close_session(now, session);
        self.shares.close(now, session, None, &self.partitions, out);
    }

    /// A channel of the session is gone: what its consumers have acquired comes back.
    pub fn close_channel(&mut self, now: Millis, session: SessionId, channel: u16, out: &mut Out) {
        self.shares.close(now, session, Some(channel), &self.partitions, out);
    }

    /// Appends the durable state to `out`: same state, same bytes. See [`Damaged`] for the format's version.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        checkpoint::section(out, |out| self.partitions.checkpoint(out));
        checkpoint::section(out, |out| self.groups.checkpoint(out));
        checkpoint::section(out, |out| self.shares.checkpoint(out));
        checkpoint::section(out, |out| txn::write_checkpoint(out, &self.txns, &self.pending));
    }

    /// Replaces durable state by what [`Stream::checkpoint`] wrote (exactly those bytes) and empties volatile state.
    /// `sections`: fewer than [`SECTIONS`] if a version wrote it that knew no transactions (3), or no share groups (2).
    pub fn restore(&mut self, mut input: &[u8], sections: u8) -> Result<(), Damaged> {
        self.partitions.restore(checkpoint::take_section(&mut input)?)?;
        self.groups.restore(checkpoint::take_section(&mut input)?)?;
        self.shares = Shares::default();
        if sections > 2 {
            self.shares.restore(checkpoint::take_section(&mut input)?)?;
        }
        (self.txns, self.pending) = (Txns::new(self.txns.place()), txn::Pending::default());
        if sections > 3 {
            let section = checkpoint::take_section(&mut input)?;
            txn::read_checkpoint(section, &mut self.txns, &mut self.pending)?;
        }
        if input.is_empty() { Ok(()) } else { Err(Damaged("bytes after the end")) }
    }
}
