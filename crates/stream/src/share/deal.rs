//! Handing records out: to who asks, or as they come to those who wait, each in turn and in equal parts.

use super::flight::{Bounds, Flight, MemberNumber, Run};
use super::members::Wait;
use super::progress::Progress;
use super::{HORIZON_RECORDS, KeysWanted, ShareNumber, ShareWaiter, Shares, propose};
use crate::out::Out;
use crate::partition::Partitions;
use bowline_model::event::Event;
use bowline_model::record::{self, Kind};
use bowline_model::share::{Acquire, AcquireRest, Acquired, HorizonRecord, Reply, lock_ends};
use bowline_model::{Millis, SessionId};

impl Shares {
    pub(super) fn acquire(
        &mut self,
        now: Millis,
        session: SessionId,
        acquire: Acquire,
        partitions: &Partitions,
        out: &mut Out,
    ) {
        let Some(&number) = self.by_consumer.get(&(session, acquire.consumer)) else {
            // Another session may have ended it. Who only waits stops waiting by itself.
            if !acquire.wait {
                let reply = Reply::Acquired(Vec::new());
                out.replies.push((session, Event::Share { token: acquire.token, reply }));
            }
            return;
        };
        self.stop_waiting(number);
        let Some(member) = self.members.get_mut(&number) else { return };
        let mut shares = member.wanted.clone();
        if !shares.is_empty() {
            // There may be fewer of them than the last time.
            let turn = member.turn % shares.len();
            member.turn = turn + 1;
            shares.rotate_left(turn);
        }
        let mut acquired = Vec::new();
        let (mut left, mut any, mut short) = (u64::from(acquire.max), false, false);
        for &at in &shares {
            if acquire.max == 0 {
                any |= self.available(at, partitions) > 0;
            } else if left > 0 {
                left -= self.take(now, at, number, left, partitions, &mut acquired);
            }
            short |= self.reserve(at, true, partitions, out);
        }
        let wait = acquire.wait || short;
        if any || !acquired.is_empty() || !wait {
            let reply = Reply::Acquired(acquired);
            return out.replies.push((session, Event::Share { token: acquire.token, reply }));
        }
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        if let Some(member) = self.members.get_mut(&number) {
            let Acquire { token, max, wait: patient, .. } = acquire;
            member.wait = Some(Wait { token, max, ticket, patient });
        }
        for at in shares {
            if let Some(share) = self.shares.get_mut(&at) {
                share.waiting.insert(ticket, number);
            }
        }
    }

    /// Gives a member the rest of what it has a part of.
    pub(super) fn acquire_rest(
        &mut self,
        now: Millis,
        session: SessionId,
        rest: &AcquireRest,
        partitions: &Partitions,
        out: &mut Out,
    ) {
        let mut acquired = Vec::new();
        if let Some(&number) = self.by_consumer.get(&(session, rest.consumer)) {
            let wanted = self.members.get(&number).map(|member| member.wanted.clone()).unwrap_or_default();
            for &(partition, first, count) in &rest.runs {
                let is_it =
                    |at: &&ShareNumber| self.shares.get(at).is_some_and(|share| share.partition == partition);
                let Some(&at) = wanted.iter().find(is_it) else { continue };
                let within = first..first.saturating_add(count);
                self.hand_out(now, at, number, partitions, &mut acquired, |flight, until, on, runs| {
                    flight.acquire_rest(within, number, until, on.0, on.1, runs)
                });
                self.reserve(at, false, partitions, out);
            }
        }
        let reply = Reply::Acquired(acquired);
        out.replies.push((session, Event::Share { token: rest.token, reply }));
    }

    /// Gives those who wait what has become available.
    pub fn dispatch(&mut self, now: Millis, partitions: &Partitions, out: &mut Out) {
        out.dead.append(&mut self.dead);
        while let Some(at) = self.dirty.pop_first() {
            self.deal(now, at, partitions, out);
        }
        if !self.doomed.is_empty() {
            self.cancel_doomed(now, out);
            self.dispatch(now, partitions, out);
        }
    }

    fn deal(&mut self, now: Millis, at: ShareNumber, partitions: &Partitions, out: &mut Out) {
        let Some(share) = self.shares.get(&at).filter(|share| !share.waiting.is_empty()) else { return };
        let waiting: Vec<MemberNumber> = share.waiting.values().copied().collect();
        let available = self.available(at, partitions);
        let part = available.div_ceil(waiting.len() as u64);
        for number in waiting {
            if available == 0 {
                break;
            }
            let Some(wait) = self.members.get(&number).and_then(|member| member.wait) else { continue };
            let mut acquired = Vec::new();
            if wait.max > 0 {
                let max = part.min(wait.max.into());
                if self.take(now, at, number, max, partitions, &mut acquired) == 0 {
                    continue;
                }
            }
            self.stop_waiting(number);
            let Some(member) = self.members.get(&number) else { continue };
            let event = Event::Share { token: wait.token, reply: Reply::Acquired(acquired) };
            out.replies.push((member.session, event));
        }
        if !self.reserve(at, true, partitions, out) {
            self.answer_impatient(at, partitions, out);
        }
    }

    /// Tells who waits only until it is known whether there is something that there is nothing.
    fn answer_impatient(&mut self, at: ShareNumber, partitions: &Partitions, out: &mut Out) {
        let Some(share) = self.shares.get(&at) else { return };
        let waiting: Vec<MemberNumber> = share.waiting.values().copied().collect();
        for number in waiting {
            let Some(member) = self.members.get(&number) else { continue };
            let Some(wait) = member.wait.filter(|wait| !wait.patient) else { continue };
            let mut shares = member.wanted.iter().filter_map(|at| self.shares.get(at));
            let unsure = shares.any(|share| {
                let short =
                    |flight: &Flight| flight.is_short(share.bounds(partitions)) || flight.waits_for_keys();
                share.flight.as_deref().is_some_and(short)
            });
            if unsure {
                continue;
            }
            let session = member.session;
            self.stop_waiting(number);
            out.replies
                .push((session, Event::Share { token: wait.token, reply: Reply::Acquired(Vec::new()) }));
        }
    }

    /// How many records the group could hand out there.
    fn available(&mut self, at: ShareNumber, partitions: &Partitions) -> u64 {
        let Some(share) = self.shares.get_mut(&at) else { return 0 };
        let bounds = share.bounds(partitions);
        share.flight.as_mut().map_or(0, |flight| flight.available(&share.progress, bounds))
    }

    fn take(
        &mut self,
        now: Millis,
        at: ShareNumber,
        number: MemberNumber,
        max: u64,
        partitions: &Partitions,
        acquired: &mut Vec<Acquired>,
    ) -> u64 {
        self.hand_out(now, at, number, partitions, acquired, |flight, until, on, runs| {
            flight.acquire(max, number, until, on.0, on.1, runs)
        })
    }

    /// Hands to a member what `acquire` takes for it, given when its lock ends and on what it may be done.
    fn hand_out(
        &mut self,
        now: Millis,
        at: ShareNumber,
        number: MemberNumber,
        partitions: &Partitions,
        acquired: &mut Vec<Acquired>,
        acquire: impl FnOnce(&mut Flight, Millis, (&Progress, Bounds), &mut Vec<Run>) -> u64,
    ) -> u64 {
        let Some(member) = self.members.get_mut(&number) else { return 0 };
        let Some(share) = self.shares.get_mut(&at) else { return 0 };
        let bounds = share.bounds(partitions);
        let Some(flight) = &mut share.flight else { return 0 };
        let until = lock_ends(member.lock, now);
        let mut runs = Vec::new();
        let taken = acquire(flight, until, (&share.progress, bounds), &mut runs);
        member.held += taken;
        if taken > 0 && until < Millis::MAX {
            self.next_expiry = Some(self.next_expiry.map_or(until, |next| next.min(until)));
        }
        acquired.extend(runs.into_iter().map(|run| Acquired {
            partition: share.partition,
            first: run.first,
            count: run.count,
            redelivered: run.redelivered,
            returns: run.returns,
        }));
        taken
    }

    /// Has the log reserve more before it runs out, at once if need be and `urgently`; asks for keys that are missing.
    /// True if there are records that wait for that.
    pub(super) fn reserve(
        &mut self,
        at: ShareNumber,
        urgently: bool,
        partitions: &Partitions,
        out: &mut Out,
    ) -> bool {
        let Some(share) = self.shares.get_mut(&at) else { return false };
        let bounds = share.bounds(partitions);
        let Some(flight) = &mut share.flight else { return false };
        if let Some(from) = flight.keys_wanted(bounds) {
            out.keys.push(KeysWanted { share: at, partition: share.partition, from });
        }
        let (short, waits_for_keys) = (flight.is_short(bounds), flight.waits_for_keys());
        let reserved = bounds.reserved.max(share.horizon_proposed);
        if reserved < flight.next() + HORIZON_RECORDS / 2 {
            let upto = flight.next() + HORIZON_RECORDS;
            share.horizon_proposed = upto;
            let horizon = HorizonRecord { partition: share.partition, group: share.group.to_string(), upto };
            let mut record = Vec::new();
            record::put_value(&mut record, Kind::ShareHorizon, &horizon);
            propose(record, short && urgently, ShareWaiter::Horizon { share: at }, out);
        }
        short || waits_for_keys
    }
}
