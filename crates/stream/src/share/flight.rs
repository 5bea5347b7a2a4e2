//! What of a partition a group has in hand: the volatile half of its state.
//!
//! One slot for each record from the first unsettled one to the last that was ever handed out. It runs ahead of the
//! durable half by what has been settled and is not in the log yet. After a restart it begins where that half says,
//! and passes over what is settled there as it meets it.

use super::WINDOW_RECORDS;
use super::lines::Lines;
use super::progress::Progress;
use bowline_model::Millis;
use bowline_model::record::SettleReason;
use bowline_model::share::{Backoff, Outcome};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// A member's number among the shard's members.
pub type MemberNumber = u32;

/// `(first offset, count)`.
pub type Runs = Vec<(u64, u64)>;

#[derive(Debug)]
pub struct Flight {
    /// Offset of the first slot.
    base: u64,
    slots: VecDeque<Slot>,
    /// Offsets of the slots that are available.
    available: BTreeSet<u64>,
    /// Those that wait, each behind the time when it becomes available.
    waits: BTreeSet<(Millis, u64)>,
    /// How often records came back that did so in this life, until they are settled.
    returns: BTreeMap<u64, u32>,
    /// A lower bound of when the first lock or wait ends.
    pub earliest: Millis,
    pub unlogged: Unlogged,
    /// With order by key.
    lines: Option<Box<Lines>>,
    /// Of the last call: offset, how often it was handed out, and why it dies.
    pub dying: Vec<(u64, u32, SettleReason)>,
}

/// What the log has to be told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unlogged {
    pub accepted: Runs,
    pub archived: Runs,
    /// Offsets that came back.
    pub returned: BTreeSet<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Available,
    Waiting,
    /// Behind another record of its key.
    Behind,
    Acquired {
        member: MemberNumber,
        until: Millis,
    },
    /// Archived, but its letter is not in the log.
    Dying,
    Settled,
}

const _: () = assert!(size_of::<Slot>() == 16);

/// Records alike that a member has acquired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub first: u64,
    pub count: u64,
    pub redelivered: bool,
    pub returns: u32,
}

/// On what terms a member has what it has.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What comes back more often than this is archived.
    pub returns_max: Option<u64>,
    /// What is archived goes somewhere.
    pub buries: bool,
    /// How long what is released waits.
    pub backoff: Option<Backoff>,
    pub now: Millis,
    /// When a lock ends that begins now.
    pub until: Millis,
}

/// The bounds of what may be handed out: the end of the partition, what the log has reserved, and how many records may
/// be in hand.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub high_watermark: u64,
    pub reserved: u64,
    /// 1 to [`WINDOW_RECORDS`].
    pub window: usize,
    /// Fresh records before those that came back.
    pub fresh_first: bool,
}

impl Flight {
    pub fn new(start: u64) -> Flight {
        Flight {
            base: start,
            slots: VecDeque::new(),
            available: BTreeSet::new(),
            waits: BTreeSet::new(),
            returns: BTreeMap::new(),
            earliest: Millis::MAX,
            unlogged: Unlogged::default(),
            lines: None,
            dying: Vec::new(),
        }
    }

    /// The first offset that was never handed out.
    pub fn next(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// How many records may be handed out; a fresh one may turn out to be settled only in the middle of them.
    pub fn available(&mut self, progress: &Progress, bounds: Bounds) -> u64 {
        let upto = bounds.high_watermark.min(bounds.reserved);
        self.line_up(progress, bounds);
        self.pass_settled(progress, upto, bounds.window);
        let room = (bounds.window - self.slots.len().min(bounds.window)) as u64;
        let back = match self.available.last() {
            Some(last) if *last >= bounds.high_watermark => {
                self.available.range(..bounds.high_watermark).count()
            }
            _ => self.available.len(),
        };
        let fresh = if self.lines.is_some() { 0 } else { upto.saturating_sub(self.next()).min(room) };
        back as u64 + fresh
    }

    /// Whether fresh records are there that wait for the log to reserve them.
    pub fn is_short(&self, bounds: Bounds) -> bool {
        self.next() >= bounds.reserved
            && self.next() < bounds.high_watermark
            && self.slots.len() < bounds.window
    }

    /// Hands at most `max` records to `member` until `until`: those that came back first, or last. How many.
    pub fn acquire(
        &mut self,
        max: u64,
        member: MemberNumber,
        until: Millis,
        progress: &Progress,
        bounds: Bounds,
        runs: &mut Vec<Run>,
    ) -> u64 {
        let slot = Slot::Acquired { member, until };
        let mut taken = 0;
        self.line_up(progress, bounds);
        if bounds.fresh_first {
            taken += self.take_fresh(max, slot, progress, bounds, runs);
        }
        taken += self.take_back(max - taken, 0..bounds.high_watermark, slot, progress, runs);
        if !bounds.fresh_first {
            taken += self.take_fresh(max - taken, slot, progress, bounds, runs);
        }
        if taken > 0 {
            self.earliest = self.earliest.min(until);
        }
        taken
    }

    /// Hands to `member` until `until` what can be handed out of `wanted`, without regard to the policy's window. How
    /// many.
    pub fn acquire_rest(
        &mut self,
        wanted: Range<u64>,
        member: MemberNumber,
        until: Millis,
        progress: &Progress,
        bounds: Bounds,
        runs: &mut Vec<Run>,
    ) -> u64 {
        let slot = Slot::Acquired { member, until };
        let end = bounds.high_watermark.min(wanted.end);
        let bounds = Bounds { high_watermark: end, window: WINDOW_RECORDS, ..bounds };
        self.line_up(progress, bounds);
        let mut taken = self.take_back(u64::MAX, wanted.start..end, slot, progress, runs);
        // What lies before is somebody else's to begin with.
        if self.next() >= wanted.start {
            taken += self.take_fresh(u64::MAX, slot, progress, bounds, runs);
        }
        if taken > 0 {
            self.earliest = self.earliest.min(until);
        }
        taken
    }

    /// Of those that are available.
    fn take_back(
        &mut self,
        max: u64,
        within: Range<u64>,
        slot: Slot,
        progress: &Progress,
        runs: &mut Vec<Run>,
    ) -> u64 {
        let mut taken = 0;
        while taken < max
            && within.start < within.end
            && let Some(offset) = self.available.range(within.clone()).next().copied()
        {
            self.available.remove(&offset);
            self.slots[(offset - self.base) as usize] = slot;
            self.add(offset, progress, runs);
            taken += 1;
        }
        taken
    }

    fn take_fresh(
        &mut self,
        max: u64,
        slot: Slot,
        progress: &Progress,
        bounds: Bounds,
        runs: &mut Vec<Run>,
    ) -> u64 {
        let upto = bounds.high_watermark.min(bounds.reserved);
        let mut taken = 0;
        while taken < max && self.lines.is_none() && self.available_fresh(progress, upto, bounds.window) {
            let offset = self.next();
            self.slots.push_back(slot);
            self.add(offset, progress, runs);
            taken += 1;
        }
        taken
    }

    /// Whether `member` holds all of `count` records from `first` on, but for those that are settled for everybody.
    pub fn holds(&self, member: MemberNumber, (first, count): (u64, u64)) -> bool {
        let end = first.saturating_add(count);
        let held = |offset: u64| {
            let slot = &self.slots[(offset - self.base) as usize];
            matches!(slot, Slot::Acquired { member: holder, .. } if *holder == member)
        };
        end <= self.next() && (first.max(self.base)..end).all(held)
    }

    /// Settles what `member` holds of `count` records from `first` on. How many records left its hands.
    pub fn settle(
        &mut self,
        member: MemberNumber,
        (first, count): (u64, u64),
        outcome: Outcome,
        terms: Terms,
        progress: &Progress,
    ) -> u64 {
        let end = first.saturating_add(count).min(self.next());
        let mut settled = 0;
        for offset in first.max(self.base)..end {
            let slot = &mut self.slots[(offset - self.base) as usize];
            if !matches!(slot, Slot::Acquired { member: holder, .. } if *holder == member) {
                continue;
            }
            if outcome == Outcome::Renewed {
                *slot = Slot::Acquired { member, until: terms.until };
                continue;
            }
            settled += 1;
            self.let_go(offset, outcome, terms, progress);
        }
        self.tidy();
        settled
    }

    /// All that `member` holds comes back. How many.
    pub fn release_all(&mut self, member: MemberNumber, terms: Terms, progress: &Progress) -> u64 {
        let whole = (self.base, self.slots.len() as u64);
        self.settle(member, whole, Outcome::Released, terms, progress)
    }

    /// The letter of a record that was dying is in the log, and so is its end.
    pub fn buried(&mut self, offset: u64) {
        if let Some(slot @ Slot::Dying) =
            offset.checked_sub(self.base).and_then(|at| self.slots.get_mut(at as usize))
        {
            *slot = Slot::Settled;
            self.returns.remove(&offset);
            self.pass_on(offset);
            self.tidy();
        }
    }

    /// Who holds something whose lock is over, with each of those offsets.
    pub fn expired(&self, now: Millis) -> Vec<(MemberNumber, u64)> {
        let holder = |(at, slot): (usize, &Slot)| match *slot {
            Slot::Acquired { member, until } if until <= now => Some((member, self.base + at as u64)),
            _ => None,
        };
        self.slots.iter().enumerate().filter_map(holder).collect()
    }

    /// Looks up when the first lock or wait ends.
    pub fn recount(&mut self) {
        let until = |slot: &Slot| match slot {
            Slot::Acquired { until, .. } => Some(*until),
            _ => None,
        };
        let wait = self.waits.first().map(|(due, _)| *due);
        self.earliest = self.slots.iter().filter_map(until).chain(wait).min().unwrap_or(Millis::MAX);
    }

    /// Makes available what has waited long enough.
    pub fn wake(&mut self, now: Millis) {
        while let Some((_, offset)) = self.waits.first().copied().filter(|(due, _)| *due <= now) {
            self.waits.pop_first();
            self.slots[(offset - self.base) as usize] = Slot::Available;
            self.available.insert(offset);
        }
    }

    /// Nothing below `log_start` is there any more. Calls `freed` for each that a member held.
    pub fn trim(&mut self, log_start: u64, mut freed: impl FnMut(MemberNumber)) {
        while self.base < log_start
            && let Some(slot) = self.slots.pop_front()
        {
            if let Slot::Acquired { member, .. } = slot {
                freed(member);
            }
            self.base += 1;
            match &mut self.lines {
                Some(lines) if slot == Slot::Behind => lines.step_out(self.base - 1),
                _ => self.pass_on(self.base - 1),
            }
        }
        self.base = self.base.max(log_start);
        self.available = self.available.split_off(&self.base);
        self.waits.retain(|(_, offset)| *offset >= self.base);
        self.returns = self.returns.split_off(&self.base);
        self.unlogged.returned = self.unlogged.returned.split_off(&self.base);
        self.tidy();
    }

    /// Calls `freed` for each record that a member holds.
    pub fn holders(&self, mut freed: impl FnMut(MemberNumber)) {
        for slot in &self.slots {
            if let Slot::Acquired { member, .. } = slot {
                freed(*member);
            }
        }
    }

    pub fn returns_of(&self, offset: u64, progress: &Progress) -> u32 {
        self.returns.get(&offset).copied().unwrap_or_else(|| progress.returns_of(offset))
    }

    fn let_go(&mut self, offset: u64, outcome: Outcome, terms: Terms, progress: &Progress) {
        let at = (offset - self.base) as usize;
        let (mut outcome, mut reason) = (outcome, SettleReason::Rejected);
        let deliveries = match outcome {
            Outcome::Accepted | Outcome::Untouched | Outcome::Renewed => 0,
            _ => self.returns_of(offset, progress).saturating_add(1),
        };
        if matches!(outcome, Outcome::Released | Outcome::ReleasedFor { .. }) {
            let times = deliveries;
            if terms.returns_max.is_some_and(|max| u64::from(times) > max) {
                (outcome, reason) = (Outcome::Rejected, SettleReason::DeliveryLimit);
            } else {
                self.returns.insert(offset, times);
                self.unlogged.returned.insert(offset);
                if let (Outcome::Released, Some(backoff)) = (outcome, terms.backoff) {
                    outcome = Outcome::ReleasedFor { delay_ms: backoff.after(times) };
                }
            }
        }
        let runs = match outcome {
            Outcome::Accepted => &mut self.unlogged.accepted,
            Outcome::Rejected if terms.buries => {
                self.slots[at] = Slot::Dying;
                self.unlogged.returned.remove(&offset);
                self.dying.push((offset, deliveries, reason));
                return;
            }
            Outcome::Rejected => &mut self.unlogged.archived,
            Outcome::ReleasedFor { delay_ms } if delay_ms > 0 => {
                let due = terms.now.saturating_add(delay_ms);
                self.slots[at] = Slot::Waiting;
                self.waits.insert((due, offset));
                self.earliest = self.earliest.min(due);
                return;
            }
            Outcome::Released | Outcome::ReleasedFor { .. } | Outcome::Untouched | Outcome::Renewed => {
                self.slots[at] = Slot::Available;
                self.available.insert(offset);
                return;
            }
        };
        push_run(runs, offset);
        self.slots[at] = Slot::Settled;
        if !self.returns.is_empty() {
            self.returns.remove(&offset);
            self.unlogged.returned.remove(&offset);
        }
        self.pass_on(offset);
    }

    /// Sets whether records of the same key are handed out one after the other, from those on that nobody has had yet.
    pub fn order_by_key(&mut self, by_key: bool) {
        if by_key == self.lines.is_some() {
            return;
        }
        self.lines = by_key.then(|| Box::new(Lines::new(self.next())));
        for (slot, offset) in
            self.slots.iter_mut().zip(self.base..).filter(|(slot, _)| **slot == Slot::Behind)
        {
            *slot = Slot::Available;
            self.available.insert(offset);
        }
    }

    /// From where on keys have to be looked up, if somebody should ask for them.
    pub fn keys_wanted(&mut self, bounds: Bounds) -> Option<u64> {
        let (next, room) = (self.next(), self.slots.len() < bounds.window);
        let lines = self.lines.as_mut().filter(|lines| !lines.asked)?;
        let wanted = room && lines.upto <= next && next < bounds.high_watermark.min(bounds.reserved);
        lines.asked = wanted;
        wanted.then_some(next)
    }

    /// Records wait until their keys are known.
    pub fn waits_for_keys(&self) -> bool {
        self.lines.as_ref().is_some_and(|lines| lines.asked)
    }

    /// Hashes of the keys of records from `from` on and below `upto`, by offset.
    pub fn keys_known(&mut self, from: u64, upto: u64, keys: &[(u64, u64)]) {
        // More than can be in hand would only take room.
        let upto = upto.min(self.next() + WINDOW_RECORDS as u64);
        if let Some(lines) = &mut self.lines {
            lines.learn(from, upto, keys, self.base);
        }
    }

    /// With order by key: gives what nobody has had yet a place in line, as far as keys are known.
    fn line_up(&mut self, progress: &Progress, bounds: Bounds) {
        let upto = bounds.high_watermark.min(bounds.reserved);
        while let Some(known) = self.lines.as_ref().map(|lines| lines.upto) {
            self.pass_settled(progress, upto, bounds.window);
            let offset = self.next();
            let Some(lines) = &mut self.lines else { return };
            if offset >= upto.min(known) || self.slots.len() >= bounds.window {
                return;
            }
            if lines.enter(offset) {
                self.slots.push_back(Slot::Available);
                self.available.insert(offset);
            } else {
                self.slots.push_back(Slot::Behind);
            }
        }
    }

    /// A record is done with: the next of its key comes forward.
    fn pass_on(&mut self, offset: u64) {
        let Some(next) = self.lines.as_mut().and_then(|lines| lines.leave(offset)) else { return };
        let at = next.checked_sub(self.base);
        if let Some(slot @ Slot::Behind) = at.and_then(|at| self.slots.get_mut(at as usize)) {
            *slot = Slot::Available;
            self.available.insert(next);
        }
    }

    /// Whether a fresh record can be handed out.
    fn available_fresh(&mut self, progress: &Progress, upto: u64, window: usize) -> bool {
        self.pass_settled(progress, upto, window);
        self.next() < upto && self.slots.len() < window
    }

    /// Passes over what was settled in an earlier life.
    fn pass_settled(&mut self, progress: &Progress, upto: u64, window: usize) {
        while self.next() < upto
            && self.slots.len() < window
            && let Some(end) = progress.settled_upto(self.next())
        {
            if self.slots.is_empty() {
                self.base = end;
            } else {
                let room = window - self.slots.len();
                let count = usize::try_from(end - self.next()).unwrap_or(usize::MAX).min(room);
                self.slots.extend(std::iter::repeat_n(Slot::Settled, count));
            }
        }
    }

    fn add(&self, offset: u64, progress: &Progress, runs: &mut Vec<Run>) {
        let returns = self.returns_of(offset, progress);
        let redelivered = returns > 0 || offset < progress.suspect();
        if let Some(last) = runs.last_mut()
            && last.first + last.count == offset
            && (last.redelivered, last.returns) == (redelivered, returns)
        {
            last.count += 1;
        } else {
            runs.push(Run { first: offset, count: 1, redelivered, returns });
        }
    }

    fn tidy(&mut self) {
        while self.slots.front() == Some(&Slot::Settled) {
            self.slots.pop_front();
            self.base += 1;
        }
        if self.slots.is_empty() && self.slots.capacity() > 1024 {
            self.slots = VecDeque::new();
        }
    }
}

fn push_run(runs: &mut Runs, offset: u64) {
    match runs.last_mut() {
        Some((first, count)) if *first + *count == offset => *count += 1,
        _ => runs.push((offset, 1)),
    }
}

impl Unlogged {
    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty() && self.archived.is_empty() && self.returned.is_empty()
    }

    /// Takes back what the log did not take.
    pub fn merge(&mut self, other: Unlogged) {
        self.accepted.extend(other.accepted);
        self.archived.extend(other.archived);
        self.returned.extend(other.returned);
    }
}
