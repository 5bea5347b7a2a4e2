//! What one consumer was given and has not settled, by delivery number.
//!
//! Deliveries are numbered densely, so the newest live in a deque and settling is an index. Messages that are held
//! for long, while later ones are settled, would make the deque mostly holes: then its older half moves into a
//! sorted map ("stragglers"), each at most once. So memory is proportional to what is unsettled.

use super::QueueRef;
use super::window::MessageRef;
use std::collections::{BTreeMap, VecDeque};

/// One delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsettled {
    pub message: MessageRef,
    /// The queue it is from (a channel's gets draw on several).
    pub queue: QueueRef,
}

const _: () = assert!(size_of::<Unsettled>() == 32);

/// The deque is thinned when it is longer than twice its content and this.
const THIN_MIN: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Unacked {
    /// Numbers `base..base + dense.len()`; a hole has [`HOLE`] as its queue.
    dense: VecDeque<Unsettled>,
    base: u64,
    stragglers: BTreeMap<u64, Unsettled>,
    len: usize,
}

/// No queue has this slot.
const HOLE: u32 = u32::MAX;

impl Unacked {
    /// Deliveries that are not settled.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The number of the oldest delivery that is not settled.
    pub fn oldest(&self) -> Option<u64> {
        let straggler = self.stragglers.keys().next().copied();
        straggler.or((!self.dense.is_empty()).then_some(self.base))
    }

    /// The number that the next delivery gets.
    #[inline]
    pub fn next_number(&self) -> u64 {
        self.base + self.dense.len() as u64
    }

    #[inline]
    pub fn push(&mut self, entry: Unsettled) {
        debug_assert_ne!(entry.queue.slot, HOLE);
        self.dense.push_back(entry);
        self.len += 1;
    }

    /// A delivery that settled itself takes a number all the same.
    #[inline]
    pub fn push_settled(&mut self, entry: Unsettled) {
        if self.dense.is_empty() {
            self.base += 1;
        } else {
            self.dense.push_back(Unsettled { queue: QueueRef { slot: HOLE, ..entry.queue }, ..entry });
            self.thin();
        }
    }

    /// Takes out what is unsettled among `count` deliveries from `first` on, in order. Numbers that were never
    /// given, or are settled already, are passed over.
    pub fn settle(&mut self, first: u64, count: u64, mut each: impl FnMut(Unsettled)) -> usize {
        let before = self.len;
        let end = first.saturating_add(count).min(self.next_number());
        if !self.stragglers.is_empty() && first < self.base {
            self.settle_stragglers(first, end.min(self.base), &mut each);
        }
        let from = first.max(self.base);
        if from < end {
            let (a, b) = ((from - self.base) as usize, (end - self.base) as usize);
            for entry in self.dense.range_mut(a..b).filter(|e| e.queue.slot != HOLE) {
                each(*entry);
                entry.queue.slot = HOLE;
                self.len -= 1;
            }
            self.trim();
            self.thin();
        }
        before - self.len
    }

    /// All that is unsettled, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Unsettled> {
        self.stragglers.values().chain(&self.dense).filter(|entry| entry.queue.slot != HOLE)
    }

    /// Takes everything out, in order.
    pub fn settle_all(&mut self, each: impl FnMut(Unsettled)) -> usize {
        self.settle(0, u64::MAX, each)
    }

    #[cold]
    fn settle_stragglers(&mut self, first: u64, end: u64, each: &mut impl FnMut(Unsettled)) {
        while let Some((&number, _)) = self.stragglers.range(first..end).next() {
            let entry = self.stragglers.remove(&number).expect("just seen");
            each(entry);
            self.len -= 1;
        }
    }

    fn trim(&mut self) {
        while self.dense.front().is_some_and(|e| e.queue.slot == HOLE) {
            self.dense.pop_front();
            self.base += 1;
        }
        if self.dense.is_empty() && self.dense.capacity() > 2048 {
            self.dense = VecDeque::new();
        }
    }

    fn thin(&mut self) {
        let live = self.len - self.stragglers.len();
        if self.dense.len() > THIN_MIN && self.dense.len() > 2 * live {
            for _ in 0..self.dense.len() / 2 {
                let entry = self.dense.pop_front().expect("half of it is there");
                if entry.queue.slot != HOLE {
                    self.stragglers.insert(self.base, entry);
                }
                self.base += 1;
            }
            self.trim();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::{Lsn, QueueId};

    fn entry(seq: u64) -> Unsettled {
        let message = MessageRef { seq, lsn: Lsn::new(1, 0), offset: 0, len: 1 };
        Unsettled { message, queue: QueueRef { slot: 0, id: QueueId(1) } }
    }

    #[test]
    fn a_forgotten_delivery_does_not_make_it_grow() {
        let mut unacked = Unacked::default();
        for number in 0..100_000 {
            assert_eq!(unacked.next_number(), number);
            unacked.push(entry(number));
            if number % 1000 != 7 {
                let mut seen = Vec::new();
                assert_eq!(unacked.settle(number, 1, |e| seen.push(e.message.seq)), 1);
                assert_eq!(seen, [number]);
                assert_eq!(unacked.settle(number, 1, |_| panic!("twice")), 0);
            }
        }
        assert_eq!(unacked.len(), 100);
        assert!(unacked.dense.len() <= THIN_MIN + 1, "{}", unacked.dense.len());
        let mut left = Vec::new();
        assert_eq!(unacked.settle(1_000, 3_000, |e| left.push(e.message.seq)), 3);
        unacked.settle_all(|e| left.push(e.message.seq));
        assert_eq!(left[..5], [1_007, 2_007, 3_007, 7, 4_007]);
        assert_eq!((unacked.len(), left.len()), (0, 100));
        assert_eq!(unacked.next_number(), 100_000);
    }
}
