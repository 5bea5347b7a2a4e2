//! What comes back: how often each message was handed out and failed, whether it has to wait before it is handed out
//! again, and whether that is enough. Counts are kept for messages that came back, and only where somebody asks for
//! them; they take effect at once and are logged like settles, with the next block. Where a number of failures is a
//! bound, a message that has failed is handed out again only when the log knows: so a crash forgets one failure of a
//! message at most, that of the delivery it interrupts.

use super::enforce::came_back;
use super::housekeeping::Listed;
use super::lanes::{Class, live};
use super::tenants::NOBODY;
use super::volatile::VolatileStore;
use super::window::MessageRef;
use super::{Queue, QueueRef, Queues};
use crate::proposal::Housekept;
use bowline_model::record::{self, Extras, Kind, Record};
use bowline_model::request::Outcome;
use bowline_model::settings::{QueueSettings, Retry, RetryOn};
use bowline_model::{Millis, QueueId};

/// Times a message was handed out and came back, and times that was a failure.
pub(crate) type Counts = (u32, u32);

/// Messages in one record.
const REPORTED_MAX: usize = 4096;

/// What becomes of a message that came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Ready,
    WaitUntil(Millis),
    /// Ready, or to wait, when the log has its counts.
    WhenLogged(Option<Millis>),
    /// It has failed too often.
    Enough,
}

impl Queue {
    /// A message comes back at time `now`: counts it, and says what becomes of it.
    #[cold]
    pub(super) fn judge(
        &mut self,
        message: &MessageRef,
        outcome: Outcome,
        now: Millis,
        housekeeping: &mut Listed,
    ) -> Verdict {
        let settings = &*self.spec.settings;
        let failed = settings.returns_are_failures || outcome != Outcome::Returned;
        let is_counted = counts(settings);
        let mut now_counts = (1, u32::from(failed));
        if is_counted {
            let special = self.special.get_or_insert_default();
            let counted = match message.lsn.is_volatile() {
                true => special.counts_in_memory.entry((message.lsn.0, message.offset)).or_default(),
                false => special.counts.entry(message.seq).or_default(),
            };
            counted.0 = counted.0.saturating_add(1);
            counted.1 = counted.1.saturating_add(u32::from(failed));
            now_counts = *counted;
        }
        let (acquired, failures) = now_counts;
        let attempts_max = settings.retry.as_ref().and_then(|retry| retry.attempts_max);
        let enough = settings.delivery_limit.is_some_and(|limit| u64::from(failures) > limit)
            || attempts_max.is_some_and(|max| u64::from(failures) >= max);
        if failed && enough {
            return Verdict::Enough;
        }
        let attempt = if failed { failures } else { acquired };
        let delay = match (outcome, &settings.retry) {
            (Outcome::FailedFor { delay_ms }, _) => delay_ms,
            (_, Some(retry)) if waits(retry.on, outcome) => delay(retry, attempt, message.seq),
            _ => 0,
        };
        let due = (delay > 0).then(|| now.saturating_add(delay));
        let is_bounded = settings.delivery_limit.is_some() || attempts_max.is_some();
        if !message.lsn.is_volatile() && (is_counted || due.is_some()) {
            let special = self.special.get_or_insert_default();
            special.unreported.insert(message.seq, due);
            housekeeping.report(self);
            if failed && is_bounded {
                return Verdict::WhenLogged(due);
            }
        }
        due.map_or(Verdict::Ready, Verdict::WaitUntil)
    }

    /// What a delivery says of a message.
    #[inline]
    pub(super) fn counts_of(&self, message: &MessageRef) -> Counts {
        let Some(special) = self.special.as_deref().filter(|_| self.spec.settings.counts_deliveries) else {
            return (0, 0);
        };
        let counts = match message.lsn.is_volatile() {
            true => special.counts_in_memory.get(&(message.lsn.0, message.offset)),
            false => special.counts.get(&message.seq),
        };
        counts.copied().unwrap_or_default()
    }

    /// Puts a message that came back where it is handed out again, at once or in time.
    pub(super) fn put_back(&mut self, message: MessageRef, due: Option<Millis>, volatile: &VolatileStore) {
        let place = volatile.place(&message);
        if due.is_some() {
            self.with_lanes(None);
        }
        let class = self.class_of(&message, volatile);
        match (self.special.as_deref_mut().and_then(|special| special.lanes.as_mut()), due) {
            (Some(lanes), Some(due)) => lanes.park(due, class, true, place, message),
            (Some(lanes), None) => lanes.push_returned(class, place, message),
            (None, _) => self.returned.push(place, message),
        }
    }

    /// Where among the ready a message belongs.
    fn class_of(&self, message: &MessageRef, volatile: &VolatileStore) -> Class {
        let settings = &*self.spec.settings;
        match message.lsn.is_volatile() {
            true if settings.max_priority.is_none() && !settings.fair => Class { level: 0, tenant: NOBODY },
            true => Class::of(settings, &volatile.extras(message)),
            false => self.special.as_deref().map_or_else(
                || Class::of(settings, &Extras::default()),
                |special| special.kept.class(settings, message.seq),
            ),
        }
    }
}

impl Queues {
    /// Writes counts and delays of `queue` that are not in the log yet, until `out` has `bytes_max`. True if that is
    /// all.
    pub(super) fn write_reports(
        queue: &mut Queue,
        out: &mut Vec<u8>,
        kept: &mut Housekept,
        bytes_max: usize,
    ) -> bool {
        let at = queue.at;
        let Some(special) = &mut queue.special else { return true };
        while !special.unreported.is_empty() {
            if out.len() >= bytes_max {
                return false;
            }
            let rest = special.unreported.keys().nth(REPORTED_MAX).copied();
            let rest = rest.map(|seq| special.unreported.split_off(&seq)).unwrap_or_default();
            let reported = std::mem::replace(&mut special.unreported, rest);
            let failures: Vec<(u64, Counts)> =
                reported.keys().filter_map(|seq| Some((*seq, *special.counts.get(seq)?))).collect();
            // 0: it has waited before, and does not any more.
            let delays =
                reported.iter().filter(|(seq, due)| due.is_some() || special.kept.dues.contains_key(seq));
            let delays: Vec<(u64, Millis)> =
                delays.map(|(seq, due)| (*seq, due.unwrap_or_default())).collect();
            if !failures.is_empty() {
                record::put_value(out, Kind::Failures, &(at.id, failures));
                kept.reports += 1;
            }
            if !delays.is_empty() {
                record::put_value(out, Kind::Delays, &(at.id, delays));
                kept.reports += 1;
            }
            kept.reported.push((at, reported.into_iter().collect()));
        }
        true
    }

    /// These are not in the log after all.
    pub(super) fn requeue_reports(&mut self, at: QueueRef, reported: Vec<(u64, Option<Millis>)>) {
        let Some(queue) = self.slots.get_mut(at.slot as usize).and_then(Option::as_deref_mut) else { return };
        if queue.at == at {
            let special = queue.special.get_or_insert_default();
            for (seq, due) in reported {
                special.unreported.entry(seq).or_insert(due);
            }
            self.housekeeping.report(queue);
        }
    }

    /// Applies a Failures record.
    pub fn apply_failures(&mut self, record: &Record<'_>) {
        let read = postcard::from_bytes::<(QueueId, Vec<(u64, Counts)>)>(record.body);
        let Ok((id, failures)) = read else { return };
        let Some(at) = self.find(id) else { return };
        let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { return };
        for (seq, counts) in failures {
            if live(&queue.index, seq, seq.saturating_add(1)).next().is_none() {
                continue;
            }
            let special = queue.special.get_or_insert_default();
            special.kept.failures.insert(seq, counts);
            if special.unlogged.is_empty() || special.counts.get(&seq) != Some(&counts) {
                continue;
            }
            if let Some((message, due)) = special.unlogged.remove(&seq) {
                queue.put_back(message, due, &self.volatile);
                came_back(queue, &message, &self.volatile);
                Queues::mark(&mut self.dirty, queue);
            }
        }
    }

    /// Applies a Delays record.
    pub fn apply_delays(&mut self, record: &Record<'_>) {
        let read = postcard::from_bytes::<(QueueId, Vec<(u64, Millis)>)>(record.body);
        let Ok((id, delays)) = read else { return };
        let Some(queue) = self.find_queue(id) else { return };
        let special = queue.special.get_or_insert_default();
        for (seq, due) in delays {
            if due > 0 && live(&queue.index, seq, seq.saturating_add(1)).next().is_some() {
                special.kept.dues.insert(seq, due);
            } else {
                special.kept.dues.remove(&seq);
            }
        }
    }
}

/// Whether the queue has to know how often a message came back.
pub(super) fn counts(settings: &QueueSettings) -> bool {
    settings.counts_deliveries || settings.delivery_limit.is_some() || settings.retry.is_some()
}

fn waits(on: RetryOn, outcome: Outcome) -> bool {
    match on {
        RetryOn::All => true,
        RetryOn::Failed => outcome != Outcome::Returned,
        RetryOn::Returned => outcome == Outcome::Returned,
    }
}

/// How long a message waits before attempt `attempt` + 1, ms.
fn delay(retry: &Retry, attempt: u32, seq: u64) -> u64 {
    let n = attempt.max(1);
    let Some(backoff) = &retry.backoff else {
        let i = (n as usize - 1).min(retry.delays_ms.len().saturating_sub(1));
        return retry.delays_ms.get(i).copied().unwrap_or(0);
    };
    let base = match backoff.factor_percent {
        None => backoff.min_ms.saturating_mul(u64::from(n)),
        Some(percent) => {
            let mut base = u128::from(backoff.min_ms);
            for _ in 1..n {
                if base >= u128::from(backoff.max_ms) || percent == 0 {
                    break;
                }
                base += (base * u128::from(percent) / 100).max(1);
            }
            u64::try_from(base).unwrap_or(u64::MAX)
        }
    };
    let base = base.min(backoff.max_ms);
    let spread = (u128::from(base) * u128::from(backoff.jitter_percent.min(100)) / 100) as u64;
    // Derived from the message, so that it is the same wherever it is computed.
    let mut chance = (seq ^ (u64::from(n) << 48)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    chance = (chance ^ (chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    chance = (chance ^ (chance >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    chance ^= chance >> 31;
    let offset = if spread == 0 { 0 } else { chance % spread.saturating_mul(2).saturating_add(1) };
    (base - spread).saturating_add(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::settings::Backoff;

    #[test]
    fn delays_come_from_the_list_or_grow_and_are_capped() {
        let list = Retry { on: RetryOn::All, delays_ms: vec![10, 50], backoff: None, attempts_max: None };
        assert_eq!([1, 2, 3, 9].map(|n| delay(&list, n, 4)), [10, 50, 50, 50]);
        let backoff = |factor_percent, jitter_percent| Retry {
            backoff: Some(Backoff { min_ms: 100, max_ms: 1_000, factor_percent, jitter_percent }),
            ..list.clone()
        };
        assert_eq!([1, 2, 3, 50].map(|n| delay(&backoff(None, 0), n, 4)), [100, 200, 300, 1_000]);
        assert_eq!([1, 2, 3, 4, 5].map(|n| delay(&backoff(Some(100), 0), n, 4)), [100, 200, 400, 800, 1_000]);
        let spread: Vec<u64> = (0..50).map(|seq| delay(&backoff(Some(100), 20), 1, seq)).collect();
        assert!(spread.iter().all(|ms| (80..=120).contains(ms)));
        assert!(spread.iter().min() < spread.iter().max());
        assert_eq!(delay(&backoff(Some(u32::MAX), 100), u32::MAX, u64::MAX) / 2_001, 0);
    }
}
