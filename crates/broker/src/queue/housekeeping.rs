//! Settles and horizons on their way into a block. They gather per queue and are written when a block is sealed,
//! whichever it is; if there is none, the open proposal becomes one lazily.

use super::{Queue, QueueRef, Queues};
use crate::proposal::{Housekept, Urgency};
use bowline_model::block::BLOCK_PAYLOAD_SOFT_MAX;
use bowline_model::record::{self, SETTLE_REASONS, SettleReason};

/// `(first number, count)`.
pub(crate) type Runs = Vec<(u64, u64)>;

/// Runs in one Settle record.
const RUNS_MAX: usize = 16 * 1024;
/// With this many runs pending, a block is worth having at once.
const RUNS_URGENT: usize = 64 * 1024;
/// Housekeeping in one block, bytes; what is beyond goes into the next one.
const BYTES_MAX: usize = BLOCK_PAYLOAD_SOFT_MAX;

/// A queue's settles that are in no block yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// By reason; neither sorted nor merged.
    runs: [Runs; SETTLE_REASONS],
    listed: bool,
    horizon_listed: bool,
}

/// Queues with something pending.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    settles: Vec<QueueRef>,
    horizons: Vec<QueueRef>,
    /// Runs in all queues; an estimate for urgency.
    runs: usize,
    /// Somebody cannot go on without a horizon.
    urgent: bool,
}

impl Listed {
    /// Message `seq` has left the queue.
    #[inline]
    pub fn settle(&mut self, queue: &mut Queue, reason: SettleReason, seq: u64) {
        let runs = &mut queue.pending.runs[reason as usize];
        match runs.last_mut() {
            Some(last) if last.0 + last.1 == seq => last.1 += 1,
            _ => {
                runs.push((seq, 1));
                self.runs += 1;
            }
        }
        if !queue.pending.listed {
            queue.pending.listed = true;
            self.settles.push(queue.at);
        }
    }

    /// The log has to hear of messages that came back.
    pub fn report(&mut self, queue: &mut Queue) {
        if !queue.pending.listed {
            queue.pending.listed = true;
            self.settles.push(queue.at);
        }
    }

    /// Message `next` is the next to be handed out: reserves more of the horizon if it is short.
    #[inline]
    pub fn reserve(&mut self, queue: &mut Queue, next: u64, urgent: bool) {
        if queue.survives && queue.horizon.want(next) {
            self.urgent |= urgent;
            if !queue.pending.horizon_listed {
                queue.pending.horizon_listed = true;
                self.horizons.push(queue.at);
            }
        }
    }
}

impl Queues {
    pub fn urgency(&self) -> Urgency {
        let Listed { settles, horizons, runs, urgent } = &self.housekeeping;
        if (*urgent && !horizons.is_empty()) || *runs >= RUNS_URGENT {
            Urgency::Now
        } else if settles.is_empty() && horizons.is_empty() {
            Urgency::Nothing
        } else {
            Urgency::Lazily
        }
    }

    /// Writes pending housekeeping as framed records to `out`: how many, and what to do again should the block be
    /// abandoned. What is too much for one block stays pending.
    pub fn write_housekeeping(&mut self, out: &mut Vec<u8>) -> (u32, Option<Housekept>) {
        let mut kept = Housekept::default();
        self.write_horizons(out, &mut kept);
        self.write_settles(out, &mut kept);
        let count = (kept.horizons.len() + kept.settles.len()) as u32 + kept.reports;
        (count, (count > 0).then_some(kept))
    }

    /// Puts abandoned housekeeping back.
    pub fn requeue_housekeeping(&mut self, kept: Housekept) {
        for at in kept.horizons {
            if let Some(queue) = self.slots.get_mut(at.slot as usize).and_then(Option::as_deref_mut)
                && queue.at == at
            {
                queue.horizon.abandon();
                let next = queue.next_fresh();
                self.housekeeping.reserve(queue, next, false);
            }
        }
        for (at, reported) in kept.reported {
            self.requeue_reports(at, reported);
        }
        for (at, reason, runs) in kept.settles {
            self.requeue_settles(at, reason, runs);
        }
    }

    /// These messages have left the queue, and the log has yet to hear of it.
    pub fn requeue_settles(&mut self, at: QueueRef, reason: SettleReason, runs: Runs) {
        let Some(queue) = self.slots.get_mut(at.slot as usize).and_then(Option::as_deref_mut) else { return };
        if queue.at != at {
            return;
        }
        self.housekeeping.runs += runs.len();
        queue.pending.runs[reason as usize].extend(runs);
        if !queue.pending.listed {
            queue.pending.listed = true;
            self.housekeeping.settles.push(at);
        }
    }

    fn write_horizons(&mut self, out: &mut Vec<u8>, kept: &mut Housekept) {
        self.housekeeping.urgent = false;
        for at in std::mem::take(&mut self.housekeeping.horizons) {
            let Some(queue) = self.at(at) else { continue };
            queue.pending.horizon_listed = false;
            let upto = queue.horizon.propose();
            record::put_horizon(out, at.id.0, upto);
            kept.horizons.push(at);
        }
    }

    fn write_settles(&mut self, out: &mut Vec<u8>, kept: &mut Housekept) {
        let mut listed = std::mem::take(&mut self.housekeeping.settles);
        let mut done = 0;
        for &at in &listed {
            if out.len() >= BYTES_MAX {
                break;
            }
            done += 1;
            let Some(queue) = self.slots[at.slot as usize].as_deref_mut().filter(|q| q.at == at) else {
                continue;
            };
            queue.pending.listed = false;
            let mut written = 0;
            let all_reported = Queues::write_reports(queue, out, kept, BYTES_MAX);
            for reason in SettleReason::ALL {
                let pending = &mut queue.pending.runs[reason as usize];
                while !pending.is_empty() && out.len() < BYTES_MAX {
                    let runs = take_sorted(pending, &mut written);
                    record::put_settle(out, at.id.0, reason, &runs);
                    kept.settles.push((at, reason, runs));
                }
            }
            if !all_reported || queue.pending.runs.iter().any(|runs| !runs.is_empty()) {
                queue.pending.listed = true;
                self.housekeeping.settles.push(at);
            }
            self.housekeeping.runs = self.housekeeping.runs.saturating_sub(written);
        }
        self.housekeeping.settles.extend(listed.drain(done..));
        if self.housekeeping.settles.is_empty() {
            self.housekeeping.runs = 0;
            // Gives the list's memory back to itself.
            listed.clear();
            self.housekeeping.settles = listed;
        }
    }
}

/// Sorts and merges `pending` and takes up to [`RUNS_MAX`] runs from its front. Adds to `taken` how many entries
/// it became shorter by.
fn take_sorted(pending: &mut Runs, taken: &mut usize) -> Runs {
    let before = pending.len();
    sort_and_merge(pending);
    let rest = if pending.len() > RUNS_MAX { pending.split_off(RUNS_MAX) } else { Vec::new() };
    let runs = std::mem::replace(pending, rest);
    *taken += before - pending.len();
    runs
}

/// Ascending and disjoint, neighbours joined. A message settles once, so runs never overlap, but for a purge's
/// that covers what was settled before.
pub(crate) fn sort_and_merge(runs: &mut Runs) {
    runs.sort_unstable();
    runs.dedup_by(|next, run| {
        let end = run.0 + run.1;
        let joined = next.0 <= end;
        if joined {
            run.1 = end.max(next.0 + next.1) - run.0;
        }
        joined
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_sorted_and_joined() {
        let mut runs = vec![(9, 1), (3, 2), (5, 1), (0, 1), (10, 5), (8, 1), (12, 1)];
        sort_and_merge(&mut runs);
        assert_eq!(runs, [(0, 1), (3, 3), (8, 7)]);
    }
}
