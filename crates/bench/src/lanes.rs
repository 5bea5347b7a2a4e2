//! Was everything received, once, and in order? A lane is one producer's messages in one queue or partition; they
//! are numbered from 0 without gaps.

use std::collections::HashMap;

/// Lanes as one consumer has seen them, or several together.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<(u32, u16), Lane>,
    /// The lane of the last message: most messages belong to the same one.
    recent: Option<((u32, u16), Lane)>,
    pub duplicates: u64,
    pub redelivered: u64,
    pub out_of_order: u64,
}

#[derive(Debug, Default)]
struct Lane {
    seen: Vec<u64>,
    /// One above the highest number that was delivered for the first time.
    next: u64,
}

impl Lane {
    /// Marks a number; `false` if it was marked before.
    fn mark(&mut self, sequence: u32) -> bool {
        let (word, bit) = (sequence as usize / 64, 1_u64 << (sequence % 64));
        if word >= self.seen.len() {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        let fresh = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        fresh
    }

    fn count_from(&self, first: u64) -> u64 {
        let (word, bit) = ((first / 64) as usize, first % 64);
        let Some((partial, rest)) = self.seen.get(word..).and_then(|words| words.split_first()) else {
            return 0;
        };
        let ones: u64 = rest.iter().map(|word| u64::from(word.count_ones())).sum();
        u64::from((partial >> bit).count_ones()) + ones
    }
}

impl Lanes {
    /// Notes a delivery. Redelivered messages are neither out of order nor duplicates.
    pub fn received(&mut self, destination: u32, producer: u16, sequence: u32, redelivered: bool) {
        let key = (destination, producer);
        if self.recent.as_ref().is_none_or(|(recent, _)| *recent != key) {
            self.park();
            self.recent = Some((key, self.lanes.remove(&key).unwrap_or_default()));
        }
        let Some((_, lane)) = &mut self.recent else { return };
        let fresh = lane.mark(sequence);
        if redelivered {
            self.redelivered += 1;
            return;
        }
        self.duplicates += u64::from(!fresh);
        self.out_of_order += u64::from(u64::from(sequence) < lane.next);
        lane.next = lane.next.max(u64::from(sequence) + 1);
    }

    /// Adds what another consumer has seen. What both have, and was not announced as redelivered, is a duplicate.
    pub fn merge(&mut self, mut other: Lanes) {
        self.park();
        other.park();
        let redelivered = self.redelivered + other.redelivered;
        for (key, theirs) in other.lanes {
            let ours = self.lanes.entry(key).or_default();
            if ours.seen.len() < theirs.seen.len() {
                ours.seen.resize(theirs.seen.len(), 0);
            }
            let mut both = 0;
            for (ours, theirs) in ours.seen.iter_mut().zip(&theirs.seen) {
                both += u64::from((*ours & theirs).count_ones());
                *ours |= theirs;
            }
            // A redelivery at another consumer is no duplicate; which ones they were is not recorded.
            if redelivered == 0 {
                self.duplicates += both;
            }
        }
        self.duplicates += other.duplicates;
        self.redelivered = redelivered;
        self.out_of_order += other.out_of_order;
    }

    /// Different messages received with this number or a higher one.
    pub fn distinct_from(&mut self, first: u64) -> u64 {
        self.park();
        self.lanes.values().map(|lane| lane.count_from(first)).sum()
    }

    fn park(&mut self) {
        if let Some((key, lane)) = self.recent.take() {
            self.lanes.insert(key, lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_went_wrong() {
        let mut lanes = Lanes::default();
        for sequence in [0, 1, 3, 2, 3] {
            lanes.received(0, 7, sequence, false);
        }
        lanes.received(0, 7, 1, true);
        lanes.received(1, 7, 0, false);
        assert_eq!(
            (lanes.distinct_from(0), lanes.duplicates, lanes.out_of_order, lanes.redelivered),
            (5, 1, 2, 1)
        );
        assert_eq!([0, 1, 3, 4, 9_999].map(|first| lanes.distinct_from(first)), [5, 3, 1, 0, 0]);
    }

    #[test]
    fn consumers_together() {
        let (mut a, mut b) = (Lanes::default(), Lanes::default());
        for sequence in 0..200 {
            let lanes = if sequence % 2 == 0 { &mut a } else { &mut b };
            lanes.received(0, 0, sequence, false);
        }
        b.received(0, 0, 200, false);
        a.received(0, 0, 200, false);
        a.merge(b);
        assert_eq!((a.distinct_from(0), a.duplicates, a.out_of_order), (201, 1, 0));
    }
}
