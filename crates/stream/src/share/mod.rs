//! Share groups: members share a partition's records like a work queue, and settle each (KIP-932).
//!
//! For each (group, partition) there is a [`Share`], with two halves:
//! * [`progress`], durable: what is settled, how often records came back, below which offset something may have been
//!   delivered. Changed by records alone.
//! * [`flight`], volatile: which records are in whose hands, which are back. It is ahead of the durable half by what
//!   the log has not been told yet: settles take effect at once and ride the next block, as those of queues do. So
//!   after a crash an acknowledgement of the last milliseconds may be forgotten; the record comes again, flagged.
//!
//! ```text
//! fresh ──acquire──► acquired ──accepted──► settled
//!                    ▲      │ └──rejected, or back too often──► settled (archived), or first dying ([`burial`])
//!                    │      └──released, lock over, member gone──► available (back once more; perhaps after a wait)
//!                    └──acquire──────────────────────────────────────┘
//! ```
//!
//! Invariants: a record is in at most one member's hands; at most [`WINDOW_RECORDS`] records from the first unsettled
//! one on are in hand, and as few as the group's policy says, but for the rest of a batch; a fresh record is handed out
//! only below a durable horizon, so `redelivered` is honest after a crash; who waits for records waits because there
//! are none to be had.
//!
//! Members live and die with their sessions. What a member is (an AMQP consumer, later a Kafka share session) is not
//! known here, nor how records look: offsets are all there is.

mod admin;
mod burial;
mod checkpoint;
mod deal;
mod flight;
mod lines;
mod log;
mod members;
mod progress;
#[cfg(test)]
mod tests;

pub use burial::Dead;

use crate::out::{Out, Proposal, Waiter};
use crate::partition::Partitions;
use bowline_model::record::{Kind, Record};
use bowline_model::share::{
    CountsRecord, CreateRecord, DeleteRecord, HorizonRecord, Join, JoinError, Policy, Reply, Request,
    SettleRecord, Start,
};
use bowline_model::{ConsumerId, Millis, PartitionId, SessionId, Token};
use flight::{Bounds, Flight, MemberNumber};
use members::Member;
use progress::Progress;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Records from a group's first unsettled one on that may be in hand, for one partition: what is stuck at the front
/// holds up what is that far behind it.
pub const WINDOW_RECORDS: usize = 10_000;
/// Groups of one shard, counted once for each of their partitions; further ones are refused.
pub const SHARES_MAX: usize = 50_000;
/// Delivery is reserved this many records ahead. After a crash, up to as many carry the redelivered flag though
/// nobody has seen them.
const HORIZON_RECORDS: u64 = 4096;

/// A place in [`Shares`].
type ShareNumber = u32;

/// All share groups of the shard.
#[derive(Debug, Default)]
pub struct Shares {
    by_name: BTreeMap<(PartitionId, Arc<str>), ShareNumber>,
    shares: BTreeMap<ShareNumber, Share>,
    next_share: ShareNumber,
    members: BTreeMap<MemberNumber, Member>,
    by_consumer: BTreeMap<(SessionId, ConsumerId), MemberNumber>,
    next_member: MemberNumber,
    /// Who asked to join, and waits for the log.
    joining: BTreeSet<(SessionId, ConsumerId)>,
    next_ticket: u64,
    /// Where somebody waits, and there may be something now.
    dirty: BTreeSet<ShareNumber>,
    /// What the log has to be told of.
    unlogged: BTreeSet<ShareNumber>,
    /// To be cancelled.
    doomed: Vec<MemberNumber>,
    /// A lower bound of when the first lock or wait ends.
    next_expiry: Option<Millis>,
    /// When idle groups are looked for.
    next_check: Millis,
    /// Dying, and not told to the outside yet.
    dead: Vec<Dead>,
    /// Acknowledgements whose answer waits for burials, by ticket.
    awaited: BTreeMap<u64, burial::Awaited>,
}

/// A group on one partition.
#[derive(Debug)]
struct Share {
    partition: PartitionId,
    group: Arc<str>,
    progress: Progress,
    /// Made for the first member.
    flight: Option<Box<Flight>>,
    members: BTreeSet<MemberNumber>,
    /// Who waits for records, by ticket: who has waited longest comes first.
    waiting: BTreeMap<u64, MemberNumber>,
    /// The horizon that is under way.
    horizon_proposed: u64,
    policy: Policy,
    /// Some member wants only what is committed.
    committed: bool,
    /// Since when nobody has been there, as far as anybody has looked.
    idle_since: Option<Millis>,
}

/// A group with order by key has to know the keys of the records from here on. Answered by [`Shares::keys_known`].
#[derive(Clone, Copy, Debug)]
pub struct KeysWanted {
    share: ShareNumber,
    pub partition: PartitionId,
    pub from: u64,
}

/// An answer that is due when records have been applied.
#[derive(Debug)]
pub enum ShareWaiter {
    Join { session: SessionId, join: Join },
    Horizon { share: ShareNumber },
    Logged(log::Logged),
    Buried(Dead),
    Changed(log::Answer),
    Expired,
}

impl Share {
    fn new(partition: PartitionId, group: Arc<str>, progress: Progress) -> Share {
        Share {
            partition,
            group,
            progress,
            flight: None,
            members: BTreeSet::new(),
            waiting: BTreeMap::new(),
            horizon_proposed: 0,
            policy: Policy::default(),
            committed: false,
            idle_since: None,
        }
    }

    fn bounds(&self, partitions: &Partitions) -> Bounds {
        let end = match self.committed {
            true => partitions.last_stable(self.partition),
            false => partitions.high_watermark(self.partition),
        };
        let high_watermark = end.unwrap_or(0);
        let window = match self.policy.window {
            0 => WINDOW_RECORDS,
            window => (window as usize).min(WINDOW_RECORDS),
        };
        let fresh_first = self.policy.fresh_first;
        Bounds { high_watermark, reserved: self.progress.reserved(), window, fresh_first }
    }
}

impl Shares {
    /// Serves one request.
    pub fn handle(
        &mut self,
        now: Millis,
        session: SessionId,
        request: Request,
        partitions: &mut Partitions,
        out: &mut Out,
    ) {
        match request {
            Request::Join(join) => self.join(session, join, partitions, out),
            Request::Acquire(acquire) => self.acquire(now, session, acquire, partitions, out),
            Request::AcquireRest(rest) => self.acquire_rest(now, session, &rest, partitions, out),
            Request::Settle(settles) => self.settle(now, session, &settles),
            Request::Acknowledge(acknowledge) => self.acknowledge(now, session, acknowledge, out),
            Request::Leave { consumer } => self.leave(session, consumer),
            Request::End { session, consumer } => self.end(now, session, consumer, out),
            Request::List { token } => self.list(session, token, out),
            Request::Describe { token, group, partitions: wanted } => {
                self.describe(session, token, &group, wanted, partitions, out);
            }
            Request::Delete { token, group, partitions } => {
                self.delete(session, token, &group, partitions, out);
            }
            Request::Reset { token, group, partitions: starts } => {
                self.reset(session, token, &group, &starts, partitions, out);
            }
        }
        self.dispatch(now, partitions, out);
    }

    /// Applies a record of ours; `partitions` as of that record.
    pub fn apply(&mut self, record: &Record<'_>, partitions: &Partitions) {
        match record.kind {
            Kind::ShareCreate => {
                let Ok(create) = postcard::from_bytes::<CreateRecord>(record.body) else { return };
                self.create(create, partitions);
            }
            Kind::ShareDelete => {
                let Ok(delete) = postcard::from_bytes::<DeleteRecord>(record.body) else { return };
                if let Some(number) = self.find(delete.partition, &delete.group) {
                    self.remove(number);
                }
            }
            Kind::ShareSettle => {
                let Ok(settle) = postcard::from_bytes::<SettleRecord>(record.body) else { return };
                let Some(reason) = settle.reason() else { return };
                let Some(share) = self.find_mut(settle.partition, &settle.group) else { return };
                for (first, count) in settle.runs {
                    share.progress.settle(first, first.saturating_add(count), reason);
                }
            }
            Kind::ShareHorizon => {
                let Ok(horizon) = postcard::from_bytes::<HorizonRecord>(record.body) else { return };
                let Some(number) = self.find(horizon.partition, &horizon.group) else { return };
                if let Some(share) = self.shares.get_mut(&number) {
                    share.progress.reserve(horizon.upto);
                    self.dirty.insert(number);
                }
            }
            Kind::ShareCounts => {
                let Ok(counts) = postcard::from_bytes::<CountsRecord>(record.body) else { return };
                let Some(share) = self.find_mut(counts.partition, &counts.group) else { return };
                for (offset, times) in counts.returns {
                    share.progress.came_back(offset, times);
                }
            }
            Kind::NodeStarted => {
                for share in self.shares.values_mut() {
                    share.progress.node_started(partitions.high_watermark(share.partition).unwrap_or(0));
                    share.flight = None;
                }
            }
            _ => {}
        }
    }

    /// Hashes of keys of records from where it was asked on and below `upto`, by offset.
    pub fn keys_known(
        &mut self,
        now: Millis,
        wanted: &KeysWanted,
        upto: u64,
        keys: &[(u64, u64)],
        partitions: &Partitions,
        out: &mut Out,
    ) {
        if let Some(Some(flight)) = self.shares.get_mut(&wanted.share).map(|share| &mut share.flight) {
            flight.keys_known(wanted.from, upto, keys);
            self.dirty.insert(wanted.share);
        }
        self.dispatch(now, partitions, out);
    }

    /// Records were trimmed, or the partition is gone.
    pub fn partition_changed(&mut self, partition: PartitionId, partitions: &Partitions) {
        let log_start = partitions.log_start(partition);
        for number in self.of_partition(partition) {
            let Some(log_start) = log_start else {
                self.remove(number);
                continue;
            };
            let Some(share) = self.shares.get_mut(&number) else { continue };
            share.progress.trim(log_start);
            if let Some(flight) = &mut share.flight {
                let members = &mut self.members;
                flight.trim(log_start, |member| Member::lost_one(members, member));
                self.dirty.insert(number);
            }
        }
    }

    /// Partitions have grown.
    pub fn moved(&mut self, moved: &[PartitionId]) {
        for &partition in moved {
            for number in self.of_partition(partition) {
                self.dirty.insert(number);
            }
        }
    }

    pub fn applied(&mut self, waiter: ShareWaiter, partitions: &mut Partitions, out: &mut Out) {
        match waiter {
            ShareWaiter::Join { session, join } => self.created(session, join, partitions, out),
            ShareWaiter::Horizon { share } => {
                if let Some(share) = self.shares.get_mut(&share) {
                    share.horizon_proposed = 0;
                }
            }
            ShareWaiter::Logged(logged) => {
                logged.answer.into_iter().for_each(|due| self.due(due, true, out));
            }
            ShareWaiter::Buried(dead) => self.burial_applied(dead, out),
            ShareWaiter::Changed(answer) => answer.send(out),
            ShareWaiter::Expired => {}
        }
    }

    /// `again`: what the shard wants to tell the log may still get in.
    pub fn refused(&mut self, waiter: ShareWaiter, again: bool, partitions: &Partitions, out: &mut Out) {
        match waiter {
            ShareWaiter::Join { session, join } => {
                if self.joining.remove(&(session, join.consumer)) {
                    joined(session, join.token, Err(JoinError::Storage), out);
                }
            }
            ShareWaiter::Horizon { share } => {
                if let Some(share) = self.shares.get_mut(&share) {
                    share.horizon_proposed = 0;
                }
                if again {
                    self.reserve(share, false, partitions, out);
                }
            }
            ShareWaiter::Logged(logged) => {
                logged.answer.into_iter().for_each(|due| self.due(due, false, out));
                if again {
                    self.unlog(logged.told);
                }
            }
            ShareWaiter::Buried(dead) => self.burial_refused(dead, again, out),
            ShareWaiter::Changed(answer) => answer.not_logged().send(out),
            // It is looked at again.
            ShareWaiter::Expired => {}
        }
    }

    /// Does what is due at `now`: ends locks and waits.
    pub fn tick(&mut self, now: Millis, partitions: &Partitions, out: &mut Out) {
        if self.next_expiry.is_some_and(|next| next <= now) {
            self.expire(now);
            self.dispatch(now, partitions, out);
        }
        self.forget_idle(now, out);
    }

    /// When [`Shares::tick`] has something to look at.
    pub fn next_deadline(&self) -> Option<Millis> {
        let check = (!self.shares.is_empty()).then_some(self.next_check);
        [self.next_expiry, check].into_iter().flatten().min()
    }

    /// Whether there is anything to do about blocks.
    pub fn has_business(&self) -> bool {
        !self.shares.is_empty() || !self.doomed.is_empty()
    }

    pub fn len(&self) -> usize {
        self.shares.len()
    }

    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    fn create(&mut self, create: CreateRecord, partitions: &Partitions) {
        let exists = self.find(create.partition, &create.group).is_some();
        let Some(log_start) = partitions.log_start(create.partition) else { return };
        if exists {
            return;
        }
        let mut progress = Progress::new(create.start, create.horizon);
        progress.trim(log_start);
        self.insert(Share::new(create.partition, create.group.into(), progress));
    }

    fn insert(&mut self, share: Share) {
        self.next_share += 1;
        self.by_name.insert((share.partition, share.group.clone()), self.next_share);
        self.shares.insert(self.next_share, share);
    }

    /// The group's state is gone for good. Its members will hear of it.
    fn remove(&mut self, number: ShareNumber) {
        let Some(share) = self.shares.remove(&number) else { return };
        self.by_name.remove(&(share.partition, share.group));
        self.dirty.remove(&number);
        self.unlogged.remove(&number);
        if let Some(flight) = share.flight {
            let members = &mut self.members;
            flight.holders(|member| Member::lost_one(members, member));
        }
        for member in share.members {
            self.doom(member);
        }
    }

    fn find(&self, partition: PartitionId, group: &str) -> Option<ShareNumber> {
        self.by_name.get(&(partition, Arc::from(group))).copied()
    }

    fn find_mut(&mut self, partition: PartitionId, group: &str) -> Option<&mut Share> {
        let number = self.find(partition, group)?;
        self.shares.get_mut(&number)
    }

    fn of_partition(&self, partition: PartitionId) -> Vec<ShareNumber> {
        if self.by_name.is_empty() {
            return Vec::new();
        }
        let of = self.by_name.range((partition, Arc::from(""))..);
        of.take_while(|((of, _), _)| *of == partition).map(|(_, &number)| number).collect()
    }
}

/// Where a new group begins.
fn begin(start: Start, log_start: u64, high_watermark: u64) -> u64 {
    match start {
        Start::First => log_start,
        Start::Last => high_watermark.saturating_sub(1).max(log_start),
        Start::Next => high_watermark,
        Start::Offset(offset) => offset.clamp(log_start, high_watermark),
    }
}

fn joined(session: SessionId, token: Token, result: Result<(), JoinError>, out: &mut Out) {
    out.replies.push((session, bowline_model::event::Event::Share { token, reply: Reply::Joined(result) }));
}

/// Proposes one framed record.
fn propose(record: Vec<u8>, urgent: bool, waiter: ShareWaiter, out: &mut Out) {
    let waiter = Some(Waiter::Share(Box::new(waiter)));
    out.propose.push(Proposal { records: record, count: 1, waiter, urgent });
}
