//! Which segments hold something that a queue still needs: extents with live messages, counted per segment.

use bowline_model::Lsn;
use std::collections::{BTreeMap, BTreeSet};

/// Keyed by the high half of an [`Lsn`]: kind and number of the segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Segments {
    live: BTreeMap<u32, u64>,
}

impl Segments {
    pub fn add(&mut self, lsn: Lsn) {
        *self.live.entry(key(lsn)).or_insert(0) += 1;
    }

    pub fn release(&mut self, lsn: Lsn) {
        let key = key(lsn);
        let count = self.live.get_mut(&key).expect("an extent is counted as long as it is live");
        *count -= 1;
        if *count == 0 {
            self.live.remove(&key);
        }
    }

    /// Numbers of log segments and of cold files.
    pub fn collect(&self, log: &mut BTreeSet<u32>, cold: &mut BTreeSet<u32>) {
        for &key in self.live.keys() {
            let lsn = Lsn(u64::from(key) << 32);
            let set = if lsn.is_cold() { &mut *cold } else { &mut *log };
            set.insert(lsn.segment());
        }
    }
}

fn key(lsn: Lsn) -> u32 {
    (lsn.0 >> 32) as u32
}
