//! Where the entries of each shard lie: what a Raft log store must be able to answer.
//!
//! Invariant: the entries of a shard between its purge point and its last are all here, in order of index
//! without gaps. 16 bytes an entry; the owner of the shard bounds it by purging.

use bowline_model::{Lsn, ShardId};
use hashbrown::HashMap;
use std::collections::VecDeque;

#[derive(Default)]
pub(crate) struct ShardIndexes {
    shards: HashMap<ShardId, Entries, foldhash::fast::FixedState>,
}

#[derive(Default)]
struct Entries {
    /// The entry before the first one held here: purged, or contained in the checkpoint.
    base_term: u64,
    base_index: u64,
    held: VecDeque<(u64, Lsn)>,
}

impl Entries {
    fn last_index(&self) -> u64 {
        self.base_index + self.held.len() as u64
    }

    fn get(&self, index: u64) -> Option<(u64, Lsn)> {
        let at = index.checked_sub(self.base_index + 1)?;
        self.held.get(usize::try_from(at).ok()?).copied()
    }

    fn is_new(&self) -> bool {
        self.base_index == 0 && self.held.is_empty()
    }

    fn restart_at(&mut self, index: u64) {
        *self = Entries { base_term: 0, base_index: index - 1, held: VecDeque::new() };
    }
}

impl ShardIndexes {
    /// The index that the next entry of `shard` must have; `None` if the shard has no history yet.
    pub fn expected(&self, shard: ShardId) -> Option<u64> {
        self.shards.get(&shard).filter(|e| !e.is_new()).map(|e| e.last_index() + 1)
    }

    /// Adds an entry whose index was checked against [`ShardIndexes::expected`].
    pub fn push(&mut self, shard: ShardId, term: u64, index: u64, lsn: Lsn) {
        let entries = self.shards.entry(shard).or_default();
        if entries.is_new() {
            entries.restart_at(index);
        }
        debug_assert_eq!(entries.last_index() + 1, index);
        entries.held.push_back((term, lsn));
    }

    /// Adds an entry found by recovery. One with an index seen before replaces that and all after it.
    pub fn recover(&mut self, shard: ShardId, term: u64, index: u64, lsn: Lsn) {
        let entries = self.shards.entry(shard).or_default();
        if index > entries.last_index() + 1 || index <= entries.base_index {
            entries.restart_at(index);
        } else {
            entries.held.truncate((index - entries.base_index - 1) as usize);
        }
        entries.held.push_back((term, lsn));
    }

    /// After recovery: the checkpoint contains the entries up to here, wherever they lay.
    pub fn at_least(&mut self, shard: ShardId, term: u64, index: u64) {
        let entries = self.shards.entry(shard).or_default();
        if entries.last_index() < index {
            *entries = Entries { base_term: term, base_index: index, held: VecDeque::new() };
        } else if entries.base_index == index {
            entries.base_term = term;
        }
    }

    pub fn last(&self, shard: ShardId) -> Option<(u64, u64)> {
        let entries = self.shards.get(&shard).filter(|e| !e.is_new())?;
        let term = entries.held.back().map_or(entries.base_term, |(term, _)| *term);
        Some((term, entries.last_index()))
    }

    /// The entry before the first that can still be located: `(term, index)`.
    pub fn purged(&self, shard: ShardId) -> Option<(u64, u64)> {
        self.shards.get(&shard).filter(|e| e.base_index > 0).map(|e| (e.base_term, e.base_index))
    }

    pub fn get(&self, shard: ShardId, index: u64) -> Option<(u64, Lsn)> {
        self.shards.get(&shard)?.get(index)
    }

    pub fn truncate(&mut self, shard: ShardId, from_index: u64) {
        if let Some(entries) = self.shards.get_mut(&shard) {
            let keep = from_index.saturating_sub(entries.base_index + 1);
            entries.held.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        }
    }

    pub fn purge(&mut self, shard: ShardId, upto_index: u64) {
        let Some(entries) = self.shards.get_mut(&shard) else { return };
        while entries.base_index < upto_index {
            let Some((term, _)) = entries.held.pop_front() else { break };
            entries.base_term = term;
            entries.base_index += 1;
        }
        entries.held.shrink_to(entries.held.len() * 2 + 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_position_of_an_index_wins() {
        let (shard, at) = (ShardId(1), |n| Lsn::new(1, n));
        let mut shards = ShardIndexes::default();
        assert_eq!(shards.last(shard), None);
        for index in 5..10 {
            shards.recover(shard, 1, index, at(index as u32));
        }
        shards.recover(shard, 2, 7, at(100));
        assert_eq!(shards.last(shard), Some((2, 7)));
        assert_eq!(shards.get(shard, 7), Some((2, at(100))));
        assert_eq!(shards.get(shard, 8), None);
        shards.purge(shard, 6);
        assert_eq!((shards.get(shard, 6), shards.purged(shard)), (None, Some((1, 6))));
        shards.truncate(shard, 7);
        assert_eq!(shards.last(shard), Some((1, 6)));
        assert_eq!(shards.expected(shard), Some(7));
        shards.at_least(shard, 3, 20);
        assert_eq!(shards.last(shard), Some((3, 20)));
    }
}
