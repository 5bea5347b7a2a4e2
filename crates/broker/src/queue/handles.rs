//! Handles: names by which publishers cancel or replace what waits in a queue. The log decides: what is applied in a
//! block of a time before the message's own comes in time, anything else is too late. So that nothing is delivered that
//! is cancelled, what waits is not released before all blocks that were sealed earlier have been applied
//! ([`Queues::time_of_log`]).
//!
//! Whoever publishes a second message with a handle under which one waits replaces it.

use super::{Queue, Queues};
use bowline_model::record::{self, Record, SettleReason};
use bowline_model::{Millis, QueueId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Durable. At most as many as there are messages with handles that are not settled.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Handles {
    /// The number of the message, and until when it waits.
    messages: BTreeMap<u128, (u64, Millis)>,
    /// The same, by number.
    names: BTreeMap<u64, u128>,
}

impl Handles {
    /// Message `seq` waits under `handle` until `due`.
    fn insert(&mut self, handle: u128, seq: u64, due: Millis) {
        if let Some((old, _)) = self.messages.insert(handle, (seq, due)) {
            self.names.remove(&old);
        }
        self.names.insert(seq, handle);
    }

    /// Takes out what waits under `handle` at time `stamp`: its number, and until when it would have waited.
    fn take(&mut self, handle: u128, stamp: Millis) -> Option<(u64, Millis)> {
        let (seq, due) = self.messages.get(&handle).copied().filter(|(_, due)| *due > stamp)?;
        self.messages.remove(&handle);
        self.names.remove(&seq);
        Some((seq, due))
    }

    /// Message `seq` may be cancelled while it waits.
    pub fn has(&self, seq: u64) -> bool {
        self.names.contains_key(&seq)
    }

    /// Messages `from..to` are settled.
    pub fn forget(&mut self, from: u64, to: u64) {
        while let Some((&seq, &handle)) = self.names.range(from..to).next() {
            self.names.remove(&seq);
            self.messages.remove(&handle);
        }
    }

    /// Those whose time has come at `stamp`.
    pub fn forget_due(&mut self, stamp: Millis) {
        let names = &mut self.names;
        self.messages.retain(|_, (seq, due)| {
            let waits = *due > stamp;
            if !waits {
                names.remove(seq);
            }
            waits
        });
    }
}

impl Queue {
    /// Durable: message `seq`, which has just come in, waits under `handle` until `due`. What waited under it is
    /// replaced: its number, to be settled.
    pub(super) fn name(&mut self, handle: u128, seq: u64, due: Millis, stamp: Millis) -> Option<u64> {
        let replaced = self.cancel(handle, stamp);
        self.special().kept.handles.insert(handle, seq, due);
        replaced
    }

    /// Durable: what waits under `handle` is withdrawn. Its number, to be settled.
    fn cancel(&mut self, handle: u128, stamp: Millis) -> Option<u64> {
        let special = self.special.as_deref_mut()?;
        let (seq, due) = special.kept.handles.take(handle, stamp)?;
        let due = match special.kept.templates.remove(&seq) {
            Some(template) => template.due,
            None => {
                if self.spec.settings.max_length_bytes.is_some() {
                    special.took(special.kept.sizes.get(seq));
                }
                due
            }
        };
        if let Some(lanes) = &mut special.lanes {
            lanes.withdraw(due, seq);
        }
        Some(seq)
    }
}

impl Queues {
    /// Applies a Cancel record of a block of time `stamp`. True if something was cancelled in each of its queues.
    pub fn apply_cancel(&mut self, stamp: Millis, record: &Record<'_>) -> bool {
        let Some((ids, handle)) = record::take_cancel(record.body) else { return false };
        let mut all = !ids.is_empty();
        for id in ids {
            let at = self.find(QueueId(id));
            let queue = at.and_then(|at| self.slots[at.slot as usize].as_deref_mut());
            match (at, queue.and_then(|queue| queue.cancel(handle, stamp))) {
                (Some(at), Some(seq)) => self.ended.push((at, seq, Some(SettleReason::Purged))),
                _ => all = false,
            }
        }
        all
    }

    /// What waits until then may be released now: what the log may yet say comes too late to cancel it.
    pub(super) fn time_of_log(&self, now: Millis) -> Millis {
        self.sealed.front().map_or(now, |stamp| now.min(*stamp))
    }

    /// A block of time `stamp` is on its way into the log.
    pub fn sealed(&mut self, stamp: Millis) {
        self.sealed.push_back(stamp);
    }

    /// The oldest of the blocks under way was applied.
    pub(super) fn landed_block(&mut self) {
        self.sealed.pop_front();
        self.look_at_late();
    }

    /// The youngest of the blocks under way will never be.
    pub fn abandoned_block(&mut self) {
        self.sealed.pop_back();
        self.look_at_late();
    }

    fn look_at_late(&mut self) {
        for at in std::mem::take(&mut self.late) {
            if let Some(queue) = self.slots[at.slot as usize].as_deref_mut().filter(|q| q.at == at) {
                Queues::mark(&mut self.dirty, queue);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_one_message_until_its_time_has_come() {
        let mut handles = Handles::default();
        handles.insert(7, 1, 100);
        handles.insert(8, 2, 50);
        assert_eq!(handles.take(7, 100), None, "too late");
        assert_eq!(handles.take(8, 49), Some((2, 50)));
        assert_eq!(handles.take(8, 49), None);
        handles.insert(7, 3, 200);
        assert!(handles.has(3) && !handles.has(1));
        handles.forget(0, 3);
        handles.forget_due(199);
        assert_eq!(handles.take(7, 199), Some((3, 200)));
        handles.insert(7, 4, 300);
        handles.forget(4, 5);
        assert!(handles.messages.is_empty() && handles.names.is_empty());
    }
}
