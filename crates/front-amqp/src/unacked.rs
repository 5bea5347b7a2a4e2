//! The deliveries of one channel that the client has not settled yet, by delivery tag.
//!
//! Tags are dense per channel, so the recent ones are a deque indexed by tag. A client that leaves one old
//! delivery unsettled for ever must not make the deque span everything since: when most of it is settled, the
//! few survivors move to an ordered map. So memory follows the number of unsettled deliveries, not their spread.

use std::collections::{BTreeMap, VecDeque};

/// Which delivery a tag stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Number of a consumer in its session, never [`SETTLED`].
    pub consumer: u32,
    /// The delivery's number within its consumer, or an offset for streams.
    pub number: u64,
}

const SETTLED: u32 = u32::MAX;

#[derive(Default)]
pub struct Unacked {
    /// Tag of the first slot in `recent`; tags start at 1.
    base: u64,
    recent: VecDeque<Slot>,
    /// Unsettled slots in `recent`.
    live: usize,
    /// Survivors with tags below `base`.
    old: BTreeMap<u64, Slot>,
}

/// Below this the deque is not worth tidying.
const TIDY_MIN: usize = 1024;

impl Unacked {
    pub fn new() -> Unacked {
        Unacked { base: 1, ..Unacked::default() }
    }

    /// How many deliveries are unsettled.
    pub fn len(&self) -> usize {
        self.live + self.old.len()
    }

    /// Assigns the next tag to a delivery that will be settled.
    #[inline]
    pub fn push(&mut self, slot: Slot) -> u64 {
        debug_assert_ne!(slot.consumer, SETTLED);
        let tag = self.base + self.recent.len() as u64;
        self.recent.push_back(slot);
        self.live += 1;
        if self.recent.len() >= TIDY_MIN && self.recent.len() > self.live * 4 {
            self.tidy();
        }
        tag
    }

    /// Assigns the next tag to a delivery that needs no settling.
    #[inline]
    pub fn push_settled(&mut self) -> u64 {
        let tag = self.base + self.recent.len() as u64;
        if self.recent.is_empty() {
            self.base += 1;
        } else {
            self.recent.push_back(Slot { consumer: SETTLED, number: 0 });
            if self.recent.len() >= TIDY_MIN && self.recent.len() > self.live * 4 {
                self.tidy();
            }
        }
        tag
    }

    /// Settles one tag. `None` when it is not unsettled.
    #[inline]
    pub fn take(&mut self, tag: u64) -> Option<Slot> {
        if tag < self.base {
            return self.old.remove(&tag);
        }
        let slot = self.recent.get_mut((tag - self.base) as usize)?;
        if slot.consumer == SETTLED {
            return None;
        }
        let taken = *slot;
        slot.consumer = SETTLED;
        self.live -= 1;
        self.drop_settled_front();
        Some(taken)
    }

    /// Whether that tag is unsettled.
    pub fn contains(&self, tag: u64) -> bool {
        if tag < self.base {
            return self.old.contains_key(&tag);
        }
        self.recent.get((tag - self.base) as usize).is_some_and(|slot| slot.consumer != SETTLED)
    }

    /// Makes a delivery unsettled again that was taken.
    pub fn put_back(&mut self, tag: u64, slot: Slot) {
        let place = tag.checked_sub(self.base).and_then(|at| self.recent.get_mut(at as usize));
        match place {
            Some(place) => {
                debug_assert_eq!(place.consumer, SETTLED);
                *place = slot;
                self.live += 1;
            }
            None => drop(self.old.insert(tag, slot)),
        }
    }

    /// Settles all tags up to and including `tag`, oldest first.
    pub fn take_upto(&mut self, tag: u64, mut settle: impl FnMut(u64, Slot)) {
        while let Some(entry) = self.old.first_entry() {
            let old = *entry.key();
            if old > tag {
                return;
            }
            settle(old, entry.remove());
        }
        while self.base <= tag {
            let Some(slot) = self.recent.pop_front() else { return };
            self.base += 1;
            if slot.consumer != SETTLED {
                self.live -= 1;
                settle(self.base - 1, slot);
            }
        }
        self.drop_settled_front();
    }

    /// Settles everything, oldest first.
    pub fn take_all(&mut self, settle: impl FnMut(u64, Slot)) {
        self.take_upto(u64::MAX, settle);
    }

    /// Gives memory back that a burst left behind.
    pub fn shrink(&mut self) {
        if self.recent.is_empty() {
            self.recent = VecDeque::new();
        }
    }

    fn drop_settled_front(&mut self) {
        while self.recent.front().is_some_and(|slot| slot.consumer == SETTLED) {
            self.recent.pop_front();
            self.base += 1;
        }
    }

    fn tidy(&mut self) {
        // The newer half stays: those are the ones about to be settled.
        for _ in 0..self.recent.len() / 2 {
            let Some(slot) = self.recent.pop_front() else { break };
            if slot.consumer != SETTLED {
                self.live -= 1;
                self.old.insert(self.base, slot);
            }
            self.base += 1;
        }
        self.drop_settled_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u64) -> Slot {
        Slot { consumer: 1, number }
    }

    #[test]
    fn single_and_multiple() {
        let mut unacked = Unacked::new();
        let tags: Vec<u64> = (1..=10).map(|n| unacked.push(slot(n))).collect();
        assert_eq!(tags, (1..=10).collect::<Vec<_>>());
        assert_eq!(unacked.take(3), Some(slot(3)));
        assert_eq!(unacked.take(3), None);
        assert_eq!(unacked.take(11), None);
        assert_eq!(unacked.take(0), None);
        let mut taken = Vec::new();
        unacked.take_upto(5, |_, slot| taken.push(slot.number));
        assert_eq!(taken, [1, 2, 4, 5]);
        assert!(!unacked.contains(5) && unacked.contains(6));
        unacked.take_all(|_, slot| taken.push(slot.number));
        assert_eq!(taken, [1, 2, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(unacked.len(), 0);
        assert_eq!(unacked.push_settled(), 11);
        assert_eq!(unacked.push(slot(12)), 12);
        assert_eq!(unacked.push_settled(), 13);
        assert_eq!(unacked.push(slot(14)), 14);
        assert_eq!(unacked.take(13), None);
        assert_eq!(unacked.len(), 2);
    }

    #[test]
    fn what_was_taken_can_be_put_back() {
        let mut unacked = Unacked::new();
        for n in 1..=4 {
            unacked.push(slot(n));
        }
        let mut taken = Vec::new();
        unacked.take_upto(2, |tag, slot| taken.push((tag, slot)));
        taken.push((4, unacked.take(4).unwrap()));
        assert_eq!(unacked.len(), 1);
        taken.into_iter().for_each(|(tag, slot)| unacked.put_back(tag, slot));
        assert_eq!(unacked.len(), 4);
        let mut all = Vec::new();
        unacked.take_all(|tag, slot| all.push((tag, slot.number)));
        assert_eq!(all, [(1, 1), (2, 2), (3, 3), (4, 4)]);
    }

    /// One delivery that is never settled costs one entry, not one for everything after it.
    #[test]
    fn stragglers_stay_small() {
        let mut unacked = Unacked::new();
        for n in 1..=1_000_000u64 {
            let tag = unacked.push(slot(n));
            if n % 100_000 != 1 {
                assert_eq!(unacked.take(tag), Some(slot(n)));
            }
        }
        assert_eq!(unacked.len(), 10);
        assert!(unacked.recent.capacity() < 8192, "{}", unacked.recent.capacity());
        assert_eq!(unacked.take(100_001), Some(slot(100_001)));
        let mut rest = Vec::new();
        unacked.take_all(|_, slot| rest.push(slot.number));
        assert_eq!(rest.len(), 9);
        assert!(rest.is_sorted());
    }
}
