//! Messages that were moved from a queue of another shard. The move is a Publish or Append here and then a Settle
//! there; if the node dies in between, the message is sent again, with the same name
//! ([`Extras::from`](crate::record::Extras::from), [`Append::from`](crate::record::Append::from)), and must not be
//! there twice. So a queue or partition remembers those names, as runs, until the other shard says that it will not use
//! them again.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Runs of numbers by source queue, each by its first, with its end (exclusive).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Transferred(BTreeMap<u32, BTreeMap<u64, u64>>);

impl Transferred {
    /// Takes note of a name. False if it was known.
    pub fn insert(&mut self, queue: u32, seq: u64) -> bool {
        let runs = self.0.entry(queue).or_default();
        let before = runs.range(..=seq).next_back().map(|(first, end)| (*first, *end));
        if before.is_some_and(|(_, end)| seq < end) {
            return false;
        }
        let first = match before {
            Some((first, end)) if end == seq => first,
            _ => seq,
        };
        let end = runs.remove(&(seq + 1)).unwrap_or(seq + 1);
        runs.insert(first, end);
        true
    }

    /// Names of `queue` below `upto` are not used again.
    pub fn forget(&mut self, queue: u32, upto: u64) {
        let Some(runs) = self.0.get_mut(&queue) else { return };
        while let Some((&first, &end)) = runs.first_key_value()
            && first < upto
        {
            runs.remove(&first);
            if end > upto {
                runs.insert(upto, end);
            }
        }
        if runs.is_empty() {
            self.0.remove(&queue);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_once_and_runs_join() {
        let mut names = Transferred::default();
        for seq in [5, 7, 6, 0, 1, 9] {
            assert!(names.insert(3, seq));
            assert!(!names.insert(3, seq));
        }
        assert!(names.insert(4, 5));
        assert_eq!(names.0[&3], BTreeMap::from([(0, 2), (5, 8), (9, 10)]));
        names.forget(3, 6);
        assert_eq!(names.0[&3], BTreeMap::from([(6, 8), (9, 10)]));
        names.forget(3, 100);
        assert_eq!(names.0.len(), 1);
    }
}
