//! What partitions still need of each segment of the log: kept up to date, so that asking costs nothing.

use super::extent::Extent;
use bowline_model::Lsn;
use std::collections::BTreeMap;

/// What a segment (or a cold file) holds for partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LiveSegment {
    pub extents: u32,
    /// Bytes of batches.
    pub bytes: u64,
}

/// Keyed by the high half of the position, which tells cold files from segments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Segments(BTreeMap<u32, LiveSegment>);

impl Segments {
    pub fn add_extent(&mut self, lsn: Lsn, bytes: u32) {
        let live = self.0.entry(key(lsn)).or_default();
        live.extents += 1;
        live.bytes += u64::from(bytes);
    }

    /// A batch joined an extent that is counted already.
    pub fn add_bytes(&mut self, lsn: Lsn, bytes: u32) {
        self.0.entry(key(lsn)).or_default().bytes += u64::from(bytes);
    }

    pub fn remove(&mut self, extent: &Extent) {
        let key = key(extent.lsn);
        let Some(live) = self.0.get_mut(&key) else {
            debug_assert!(false, "an extent was removed that was never added");
            return;
        };
        live.extents = live.extents.saturating_sub(1);
        live.bytes = live.bytes.saturating_sub(u64::from(extent.bytes));
        if live.extents == 0 {
            self.0.remove(&key);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Lsn, LiveSegment)> + '_ {
        self.0.iter().map(|(&key, &live)| (Lsn(u64::from(key) << 32), live))
    }
}

fn key(lsn: Lsn) -> u32 {
    (lsn.0 >> 32) as u32
}
