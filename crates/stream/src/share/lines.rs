//! Order by key: of the records that have the same key one is in line to be handed out, and the others stand behind it
//! until it is settled. Records without a key are in no order.
//!
//! Records are not known here, and have to be read for their keys: keys come from outside, some way ahead of what is
//! handed out ([`super::Shares::keys_known`]). All of it is volatile. Keys are kept as hashes; should two of them have
//! the same, they wait for each other.

use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default)]
pub struct Lines {
    /// What is known of keys holds for the records below.
    pub upto: u64,
    /// Keys have been asked for.
    pub asked: bool,
    /// Of records that have a key and are not settled.
    keys: BTreeMap<u64, u64>,
    /// By key, who stands behind the first, ascending.
    behind: BTreeMap<u64, VecDeque<u64>>,
}

impl Lines {
    /// Of records from `offset` on nothing is known.
    pub fn new(offset: u64) -> Lines {
        Lines { upto: offset, ..Lines::default() }
    }

    /// The keys of all records below `upto` that are not below `from`.
    pub fn learn(&mut self, from: u64, upto: u64, keys: &[(u64, u64)], begin: u64) {
        self.asked = false;
        self.keys = self.keys.split_off(&begin);
        self.keys.extend(keys.iter().copied().filter(|(offset, _)| (from..upto).contains(offset)));
        self.upto = self.upto.max(upto);
    }

    /// A record takes its place. True: it is the first of its key.
    pub fn enter(&mut self, offset: u64) -> bool {
        let Some(key) = self.keys.get(&offset) else { return true };
        if let Some(line) = self.behind.get_mut(key) {
            line.push_back(offset);
            return false;
        }
        self.behind.insert(*key, VecDeque::new());
        true
    }

    /// The first of its key is settled. Who is first now?
    pub fn leave(&mut self, offset: u64) -> Option<u64> {
        let key = self.keys.remove(&offset)?;
        let next = self.behind.get_mut(&key)?.pop_front();
        if next.is_none() {
            self.behind.remove(&key);
        }
        next
    }

    /// A record that stood behind another is gone.
    pub fn step_out(&mut self, offset: u64) {
        let Some(key) = self.keys.remove(&offset) else { return };
        if let Some(line) = self.behind.get_mut(&key) {
            line.retain(|other| *other != offset);
        }
    }
}
