//! When which queue wants to be looked at: one heap for all queues of a shard. Entries are not taken back; a queue
//! that is looked at in vain says anew when it wants to be.

use super::{Queue, QueueRef, Queues};
use bowline_model::Millis;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Millis, QueueRef)>>,
}

impl Timers {
    /// `queue` wants to be looked at at `at`, at the latest.
    pub fn set(&mut self, queue: &mut Queue, at: Millis) {
        let place = queue.at;
        let special = queue.special();
        if special.timer.is_none_or(|timer| at < timer) {
            special.timer = Some(at);
            self.heap.push(Reverse((at, place)));
        }
    }

    pub fn next(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    fn due(&mut self, now: Millis) -> Option<(Millis, QueueRef)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

impl Queues {
    /// Queues whose time has come are served in the next dispatch.
    pub fn tick(&mut self, now: Millis) {
        while let Some((due, at)) = self.timers.due(now) {
            let Some(queue) = self.slots.get_mut(at.slot as usize).and_then(Option::as_deref_mut) else {
                continue;
            };
            if queue.at != at {
                continue;
            }
            if let Some(special) = &mut queue.special
                && special.timer == Some(due)
            {
                special.timer = None;
                Queues::mark(&mut self.dirty, queue);
            }
        }
    }

    pub fn next_deadline(&self) -> Option<Millis> {
        let at_once = self.peekers.has_more().then_some(self.now);
        [self.timers.next(), self.deadlines.next(), at_once].into_iter().flatten().min()
    }
}
