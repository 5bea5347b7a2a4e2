//! What a group is done with on one partition: the durable half of its state, which records alone change.
//!
//! Everything below `start` is settled or was never the group's. Above it, settled offsets are runs; they are few, as
//! no more than [`super::WINDOW_RECORDS`] records beyond the first unsettled one are handed out.

use bowline_model::record::SettleReason;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// The first offset that is not settled, as far as the log knows (KIP-932's SPSO).
    start: u64,
    /// First offset and end of each run; all lie above `start`, and none touches another.
    settled: BTreeMap<u64, u64>,
    /// How often records that are not settled have come back.
    returns: BTreeMap<u64, u32>,
    /// Records below may have been delivered.
    reserved: u64,
    /// Records below may have been delivered in an earlier life of the process.
    suspect: u64,
    pub accepted: u64,
    pub archived: u64,
}

impl Progress {
    pub fn new(start: u64, reserved: u64) -> Progress {
        Progress { start, reserved: reserved.max(start), suspect: start, ..Progress::default() }
    }

    pub fn start(&self) -> u64 {
        self.start
    }

    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    pub fn suspect(&self) -> u64 {
        self.suspect
    }

    pub fn returns_of(&self, offset: u64) -> u32 {
        self.returns.get(&offset).copied().unwrap_or(0)
    }

    /// Where the settled run ends that `offset` is in; `None` if it is not settled.
    pub fn settled_upto(&self, offset: u64) -> Option<u64> {
        if offset < self.start {
            return Some(self.start);
        }
        let (_, &end) = self.settled.range(..=offset).next_back()?;
        (end > offset).then_some(end)
    }

    /// `(first, end)`, ascending.
    pub fn settled(&self) -> impl ExactSizeIterator<Item = (u64, u64)> + '_ {
        self.settled.iter().map(|(&first, &end)| (first, end))
    }

    pub fn returns(&self) -> impl ExactSizeIterator<Item = (u64, u32)> + '_ {
        self.returns.iter().map(|(&offset, &times)| (offset, times))
    }

    /// Records of a run are settled; those that are already are passed over.
    pub fn settle(&mut self, first: u64, end: u64, reason: SettleReason) {
        let first = first.max(self.start);
        if end <= first {
            return;
        }
        let new = (end - first) - self.add_run(first, end);
        match reason {
            SettleReason::Acked => self.accepted += new,
            _ => self.archived += new,
        }
        self.forget_returns(first, end);
        self.advance(self.start);
    }

    /// The partition keeps nothing below `log_start` any more.
    pub fn trim(&mut self, log_start: u64) {
        self.advance(log_start);
    }

    pub fn came_back(&mut self, offset: u64, times: u32) {
        if self.settled_upto(offset).is_none() {
            self.returns.insert(offset, times);
        }
    }

    pub fn reserve(&mut self, upto: u64) {
        self.reserved = self.reserved.max(upto);
    }

    /// The node started: what was handed out before lies below the horizon, and existed.
    pub fn node_started(&mut self, high_watermark: u64) {
        self.reserved = self.reserved.min(high_watermark).max(self.start);
        self.suspect = self.reserved;
    }

    /// Puts back what a checkpoint holds; false if it cannot be.
    pub fn restore(&mut self, suspect: u64, settled: &[(u64, u64)], returns: &[(u64, u32)]) -> bool {
        let mut at = self.start;
        for &(first, end) in settled {
            if first <= at || end <= first {
                return false;
            }
            self.settled.insert(first, end);
            at = end;
        }
        self.returns = returns.iter().copied().collect();
        self.suspect = suspect;
        suspect <= self.reserved
    }

    /// How many of them were settled before.
    fn add_run(&mut self, mut first: u64, mut end: u64) -> u64 {
        let (mut known, wanted) = (0, first..end);
        while let Some((&from, &to)) = self.settled.range(..=end).next_back() {
            if to < first {
                break;
            }
            known += to.min(wanted.end).saturating_sub(from.max(wanted.start));
            self.settled.remove(&from);
            (first, end) = (first.min(from), end.max(to));
        }
        self.settled.insert(first, end);
        known
    }

    /// Raises the start to `offset`, and over what is settled behind it.
    fn advance(&mut self, offset: u64) {
        self.start = self.start.max(offset);
        while let Some((&first, &end)) = self.settled.first_key_value()
            && first <= self.start
        {
            self.settled.pop_first();
            self.start = self.start.max(end);
        }
        self.reserved = self.reserved.max(self.start);
        self.suspect = self.suspect.max(self.start.min(self.reserved));
        if self.returns.first_key_value().is_some_and(|(&first, _)| first < self.start) {
            self.returns = self.returns.split_off(&self.start);
        }
    }

    fn forget_returns(&mut self, first: u64, end: u64) {
        while let Some((&offset, _)) = self.returns.range(first..end).next() {
            self.returns.remove(&offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_and_raise_the_start() {
        let mut progress = Progress::new(10, 50);
        progress.came_back(13, 2);
        progress.settle(12, 14, SettleReason::Acked);
        progress.settle(16, 18, SettleReason::Rejected);
        assert_eq!((progress.start(), progress.settled().count()), (10, 2));
        assert_eq!(progress.returns_of(13), 0, "what is settled is forgotten");
        assert_eq!(
            [11, 12, 13, 14, 17].map(|o| progress.settled_upto(o)),
            [None, Some(14), Some(14), None, Some(18)]
        );
        progress.settle(13, 17, SettleReason::Acked);
        assert_eq!(progress.settled().collect::<Vec<_>>(), [(12, 18)]);
        assert_eq!((progress.accepted, progress.archived), (4, 2), "each record counts once");
        progress.settle(0, 12, SettleReason::Acked);
        assert_eq!((progress.start(), progress.settled().count()), (18, 0));
        assert_eq!(progress.settled_upto(3), Some(18));
        progress.trim(40);
        progress.trim(30);
        assert_eq!(progress.start(), 40);
    }
}
