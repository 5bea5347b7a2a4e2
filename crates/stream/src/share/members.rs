//! Members: joining, leaving, and what happens to what they hold when they are gone.

use super::burial::Awaited;
use super::flight::{Flight, MemberNumber, Terms};
use super::log::{Answer, Due};
use super::{HORIZON_RECORDS, SHARES_MAX, Share, ShareNumber, ShareWaiter, Shares, begin, joined};
use crate::out::{Out, Proposal, Waiter};
use crate::partition::Partitions;
use bowline_model::event::Event;
use bowline_model::record::{self, Kind};
use bowline_model::share::{
    Acknowledge, AcknowledgeError, Backoff, CreateRecord, DeadLetterExchange, DeadLetters, Join, JoinError,
    Lock, Outcome, Policy, Reply, Settle, lock_ends,
};
use bowline_model::{ConsumerId, Millis, PartitionId, SessionId, Token};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Locks and waits are looked at this often at most, ms.
const PRECISION_MS: u64 = 100;

/// A consumer that takes part in a group, on some partitions.
#[derive(Debug)]
pub struct Member {
    pub session: SessionId,
    pub consumer: ConsumerId,
    channel: u16,
    /// Where it may hold something.
    pub shares: Vec<ShareNumber>,
    /// Those of them that it acquires from.
    pub wanted: Vec<ShareNumber>,
    returns_max: Option<u64>,
    pub lock: Option<Lock>,
    /// It outlives its partitions.
    stays: bool,
    backoff: Option<Backoff>,
    /// Where what it archives goes, rather than where the group's goes.
    dead_letters: Option<Arc<DeadLetterExchange>>,
    /// It wants only what is committed.
    pub committed: bool,
    /// Records in its hands.
    pub held: u64,
    pub wait: Option<Wait>,
    /// It acquires nothing any more, and is forgotten once it holds nothing.
    leaving: bool,
    /// The share to begin with when it acquires next.
    pub turn: usize,
}

/// A member waits for records.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub token: Token,
    pub max: u32,
    pub ticket: u64,
    /// It waits until there is something, and not only until it is known whether there is.
    pub patient: bool,
}

impl Member {
    fn terms(&self, now: Millis, policy: Policy) -> Terms {
        let (returns_max, backoff) = (self.returns_max, self.backoff);
        let buries = self.dead_letters.is_some() || policy.dead_letters != DeadLetters::Nothing;
        Terms { returns_max, buries, backoff, now, until: lock_ends(self.lock, now) }
    }

    /// A record that it held is not there any more.
    pub fn lost_one(members: &mut BTreeMap<MemberNumber, Member>, number: MemberNumber) {
        if let Some(member) = members.get_mut(&number) {
            member.held = member.held.saturating_sub(1);
        }
    }
}

impl Shares {
    pub(super) fn join(
        &mut self,
        session: SessionId,
        join: Join,
        partitions: &mut Partitions,
        out: &mut Out,
    ) {
        let mut proposal = Proposal::new(true);
        for &(partition, start) in &join.partitions {
            let bounds = partitions.log_start(partition).zip(partitions.high_watermark(partition));
            let Some((log_start, high_watermark)) = bounds else {
                return joined(session, join.token, Err(JoinError::UnknownPartition), out);
            };
            if self.find(partition, &join.group).is_none() {
                let start = begin(start, log_start, high_watermark);
                let group = join.group.clone();
                let create = CreateRecord { partition, group, start, horizon: start + HORIZON_RECORDS };
                record::put_value(&mut proposal.records, Kind::ShareCreate, &create);
                proposal.count += 1;
            }
        }
        if self.shares.len() + proposal.count as usize > SHARES_MAX {
            return joined(session, join.token, Err(JoinError::TooMany), out);
        }
        self.joining.insert((session, join.consumer));
        if proposal.count == 0 {
            return self.created(session, join, partitions, out);
        }
        proposal.waiter = Some(Waiter::Share(Box::new(ShareWaiter::Join { session, join })));
        out.propose.push(proposal);
    }

    /// The group is there, wherever the new member needs it.
    pub(super) fn created(
        &mut self,
        session: SessionId,
        join: Join,
        partitions: &mut Partitions,
        out: &mut Out,
    ) {
        // It may have gone while the log was asked.
        if !self.joining.remove(&(session, join.consumer)) {
            return;
        }
        let shares: Option<Vec<ShareNumber>> =
            join.partitions.iter().map(|&(partition, _)| self.find(partition, &join.group)).collect();
        let Some(shares) = shares else {
            return joined(session, join.token, Err(JoinError::UnknownPartition), out);
        };
        let known = self.by_consumer.get(&(session, join.consumer)).copied();
        let number = known.unwrap_or_else(|| {
            self.next_member += 1;
            self.next_member
        });
        self.stop_waiting(number);
        for (&share, &(partition, _)) in shares.iter().zip(&join.partitions) {
            partitions.tell_of_growth(partition);
            if let Some(share) = self.shares.get_mut(&share) {
                let start = share.progress.start();
                let flight = share.flight.get_or_insert_with(|| Box::new(Flight::new(start)));
                flight.order_by_key(join.policy.by_key);
                share.members.insert(number);
                share.policy = join.policy;
                share.idle_since = None;
            }
        }
        let before = self.members.get(&number);
        let mut all = shares.clone();
        all.extend(before.iter().flat_map(|member| &member.shares).filter(|share| !shares.contains(share)));
        let member = Member {
            session,
            consumer: join.consumer,
            channel: join.channel,
            shares: all,
            wanted: shares,
            returns_max: join.returns_max,
            lock: join.lock,
            stays: join.stays,
            backoff: join.policy.backoff,
            dead_letters: join.dead_letters,
            committed: join.policy.committed,
            held: before.map_or(0, |member| member.held),
            wait: None,
            leaving: false,
            turn: before.map_or(0, |member| member.turn),
        };
        self.members.insert(number, member);
        self.by_consumer.insert((session, join.consumer), number);
        self.recount_committed(number);
        joined(session, join.token, Ok(()), out);
    }

    pub(super) fn settle(&mut self, now: Millis, session: SessionId, settles: &[Settle]) {
        for settle in settles {
            let Some(&number) = self.by_consumer.get(&(session, settle.consumer)) else { continue };
            let run = (settle.first, settle.count);
            self.settle_run(now, number, settle.partition, run, settle.outcome, None);
            if self.members.get(&number).is_some_and(|member| member.leaving && member.held == 0) {
                self.forget(number);
            }
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        now: Millis,
        session: SessionId,
        acknowledge: Acknowledge,
        out: &mut Out,
    ) {
        let Acknowledge { token, session: of, consumer, partitions } = acknowledge;
        let number = self.by_consumer.get(&(of, consumer)).copied();
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let mut results = Vec::with_capacity(partitions.len());
        for (partition, runs) in partitions {
            let held = number.map_or(Err(AcknowledgeError::UnknownPartition), |number| {
                let share = self.share_of(number, partition).ok_or(AcknowledgeError::UnknownPartition)?;
                let flight = share.flight.as_ref().ok_or(AcknowledgeError::UnknownPartition)?;
                let holds = runs.iter().all(|(first, count, _)| flight.holds(number, (*first, *count)));
                if holds { Ok(number) } else { Err(AcknowledgeError::NotHeld) }
            });
            if let Ok(number) = held {
                for (first, count, outcome) in runs {
                    self.settle_run(now, number, partition, (first, count), outcome, Some(ticket));
                }
            }
            results.push((partition, held.map(|_| ())));
        }
        let answer = Answer { session, token, reply: Reply::Acknowledged(results) };
        let due = match self.dying_for(ticket) {
            0 => Due::Answer(answer),
            dying => {
                // What is not dying is one more.
                self.awaited.insert(ticket, Awaited { answer, parts: dying + 1, logged: true });
                Due::Part(ticket)
            }
        };
        self.tell(Some(due), out);
    }

    fn share_of(&self, number: MemberNumber, partition: PartitionId) -> Option<&Share> {
        let member = self.members.get(&number)?;
        let shares = member.shares.iter().filter_map(|at| self.shares.get(at));
        shares.into_iter().find(|share| share.partition == partition)
    }

    fn settle_run(
        &mut self,
        now: Millis,
        number: MemberNumber,
        partition: PartitionId,
        run: (u64, u64),
        outcome: Outcome,
        awaited: Option<u64>,
    ) {
        let Some(member) = self.members.get_mut(&number) else { return };
        for &at in &member.shares {
            let Some(share) = self.shares.get_mut(&at) else { continue };
            let Some(flight) = share.flight.as_mut().filter(|_| share.partition == partition) else {
                continue;
            };
            let terms = member.terms(now, share.policy);
            let settled = flight.settle(number, run, outcome, terms, &share.progress);
            member.held = member.held.saturating_sub(settled);
            if settled > 0 {
                if flight.earliest < Millis::MAX {
                    let next = self.next_expiry.unwrap_or(Millis::MAX);
                    self.next_expiry = Some(next.min(flight.earliest));
                }
                self.dirty.insert(at);
                if !flight.unlogged.is_empty() {
                    self.unlogged.insert(at);
                }
                share.give_up(at, member.dead_letters.as_ref(), awaited, &mut self.dead);
            }
        }
    }

    pub(super) fn leave(&mut self, session: SessionId, consumer: ConsumerId) {
        self.joining.remove(&(session, consumer));
        let Some(&number) = self.by_consumer.get(&(session, consumer)) else { return };
        self.stop_waiting(number);
        let Some(member) = self.members.get_mut(&number) else { return };
        member.leaving = true;
        if member.held == 0 {
            self.forget(number);
        }
    }

    pub(super) fn end(&mut self, now: Millis, session: SessionId, consumer: ConsumerId, out: &mut Out) {
        let Some(&number) = self.by_consumer.get(&(session, consumer)) else { return };
        self.give_back(now, number);
        // Its own session may not know yet.
        if let Some(wait) = self.members.get(&number).and_then(|member| member.wait) {
            let reply = Reply::Acquired(Vec::new());
            out.replies.push((session, Event::Share { token: wait.token, reply }));
        }
        self.forget(number);
    }

    /// A channel, or the whole session, is gone: what its members hold comes back.
    pub fn close(
        &mut self,
        now: Millis,
        session: SessionId,
        channel: Option<u16>,
        partitions: &Partitions,
        out: &mut Out,
    ) {
        let all = (session, ConsumerId(0))..=(session, ConsumerId(u32::MAX));
        // Who is only joining has no channel yet; a consumer that joins after all holds nothing, and goes with its
        // session.
        if channel.is_none() {
            self.joining.retain(|(of, _)| *of != session);
        }
        let members: Vec<MemberNumber> = self.by_consumer.range(all).map(|(_, &number)| number).collect();
        for number in members {
            let ends = |member: &&Member| channel.is_none_or(|channel| channel == member.channel);
            if self.members.get(&number).as_ref().is_some_and(ends) {
                self.give_back(now, number);
                self.forget(number);
            }
        }
        self.dispatch(now, partitions, out);
    }

    /// Takes back what has been held for too long, and hands out again what has waited long enough.
    pub(super) fn expire(&mut self, now: Millis) {
        let mut next = Millis::MAX;
        let due: Vec<ShareNumber> = self.shares.keys().copied().collect();
        for at in due {
            let Some(Some(flight)) = self.shares.get(&at).map(|share| &share.flight) else { continue };
            let expired = if flight.earliest <= now { flight.expired(now) } else { Vec::new() };
            for (number, offset) in expired {
                let Some(member) = self.members.get(&number) else { continue };
                if member.lock.is_some_and(|lock| lock.cancels) {
                    self.doom(number);
                } else {
                    self.release_one(now, at, number, offset);
                }
            }
            if let Some(Some(flight)) = self.shares.get_mut(&at).map(|share| &mut share.flight) {
                if flight.earliest <= now {
                    flight.wake(now);
                    flight.recount();
                    self.dirty.insert(at);
                }
                next = next.min(flight.earliest);
            }
        }
        self.next_expiry = (next < Millis::MAX).then(|| next.max(now + PRECISION_MS));
    }

    /// The member will be cancelled with the next dispatch.
    pub(super) fn doom(&mut self, number: MemberNumber) {
        if self.members.contains_key(&number) {
            self.doomed.push(number);
        }
    }

    /// Cancels who has to be.
    pub(super) fn cancel_doomed(&mut self, now: Millis, out: &mut Out) {
        for number in std::mem::take(&mut self.doomed) {
            if let Some(member) = self.members.get(&number).filter(|member| member.stays) {
                let (session, consumer) = (member.session, member.consumer);
                out.replies.push((session, Event::Cancelled { token: None, consumer }));
                if let Some(wait) = member.wait {
                    self.stop_waiting(number);
                    let reply = Reply::Acquired(Vec::new());
                    out.replies.push((session, Event::Share { token: wait.token, reply }));
                }
                continue;
            }
            self.give_back(now, number);
            if let Some(member) = self.forget(number)
                && !member.leaving
            {
                let event = Event::Cancelled { token: None, consumer: member.consumer };
                out.replies.push((member.session, event));
            }
        }
    }

    /// Drops its wish for records.
    pub(super) fn stop_waiting(&mut self, number: MemberNumber) {
        let Some(member) = self.members.get_mut(&number) else { return };
        let Some(wait) = member.wait.take() else { return };
        for share in &member.wanted {
            if let Some(share) = self.shares.get_mut(share) {
                share.waiting.remove(&wait.ticket);
            }
        }
    }

    fn release_one(&mut self, now: Millis, at: ShareNumber, number: MemberNumber, offset: u64) {
        let Some(member) = self.members.get_mut(&number) else { return };
        let Some(share) = self.shares.get_mut(&at) else { return };
        let Some(flight) = &mut share.flight else { return };
        let terms = member.terms(now, share.policy);
        let settled = flight.settle(number, (offset, 1), Outcome::Released, terms, &share.progress);
        member.held = member.held.saturating_sub(settled);
        share.give_up(at, member.dead_letters.as_ref(), None, &mut self.dead);
        self.dirty.insert(at);
        self.unlogged.insert(at);
    }

    /// All that it holds comes back.
    fn give_back(&mut self, now: Millis, number: MemberNumber) {
        let Some(member) = self.members.get_mut(&number) else { return };
        for &at in &member.shares {
            let Some(share) = self.shares.get_mut(&at) else { continue };
            let Some(flight) = &mut share.flight else { continue };
            if flight.release_all(number, member.terms(now, share.policy), &share.progress) > 0 {
                self.dirty.insert(at);
                self.unlogged.insert(at);
                share.give_up(at, member.dead_letters.as_ref(), None, &mut self.dead);
            }
        }
        member.held = 0;
    }

    fn forget(&mut self, number: MemberNumber) -> Option<Member> {
        self.stop_waiting(number);
        let member = self.members.remove(&number)?;
        self.by_consumer.remove(&(member.session, member.consumer));
        for share in &member.shares {
            if let Some(share) = self.shares.get_mut(share) {
                share.members.remove(&number);
            }
        }
        if member.committed {
            self.recount(&member.shares);
        }
        Some(member)
    }

    fn recount_committed(&mut self, number: MemberNumber) {
        let Some(member) = self.members.get(&number) else { return };
        let shares = member.shares.clone();
        self.recount(&shares);
    }

    /// Looks up who of these groups' members wants only what is committed.
    fn recount(&mut self, shares: &[ShareNumber]) {
        for at in shares {
            let Some(share) = self.shares.get_mut(at) else { continue };
            let wants =
                |number: &MemberNumber| self.members.get(number).is_some_and(|member| member.committed);
            let committed = share.members.iter().any(wants);
            if std::mem::replace(&mut share.committed, committed) != committed {
                self.dirty.insert(*at);
            }
        }
    }
}
