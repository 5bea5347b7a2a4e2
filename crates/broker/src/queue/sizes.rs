//! Body bytes of each message, for queues with a bound on their sum: 4 bytes a message, durable, so that the sum is
//! right again after a restart without reading what lies in the log.

use super::Index;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sizes {
    /// The number that the first size is of.
    base: u64,
    of: VecDeque<u32>,
    /// Taken for the size of messages that were there before the queue had the bound.
    guess: u32,
}

impl Sizes {
    /// The queue gets the bound now: `next_seq` is the number of its next message.
    pub fn begin(&mut self, next_seq: u64, guess: u64) {
        *self =
            Sizes { base: next_seq, of: VecDeque::new(), guess: u32::try_from(guess).unwrap_or(u32::MAX) };
    }

    pub fn arrived(&mut self, seq: u64, bytes: u32) {
        if self.of.is_empty() {
            self.base = seq;
        }
        debug_assert_eq!(self.base + self.of.len() as u64, seq);
        self.of.push_back(bytes);
    }

    pub fn get(&self, seq: u64) -> u64 {
        let i = seq.checked_sub(self.base).and_then(|i| usize::try_from(i).ok());
        u64::from(i.and_then(|i| self.of.get(i)).copied().unwrap_or(self.guess))
    }

    /// All messages below `head` are settled.
    pub fn settled(&mut self, head: u64) {
        while self.base < head && self.of.pop_front().is_some() {
            self.base += 1;
        }
    }

    /// Of all that is live in `index`.
    pub fn live(&self, index: &Index) -> u64 {
        self.live_between(0, u64::MAX, index)
    }

    /// Of what is live in `index` from `from` to `to` (exclusive).
    pub fn live_between(&self, from: u64, to: u64, index: &Index) -> u64 {
        let mut sum = 0;
        let extents = (index.position(from)..).map_while(|i| index.extent(i));
        for extent in extents.take_while(|e| e.first < to).filter(|e| e.live > 0) {
            let settled = index.settled_in(extent);
            let seqs = extent.first.max(from)..extent.end().min(to);
            sum += seqs.filter(|seq| !settled.contains(*seq)).map(|seq| self.get(seq)).sum::<u64>();
        }
        sum
    }
}
