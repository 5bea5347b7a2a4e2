//! The files of the data directory that hold blocks, by number: names, headers, who is in the log.

use crate::disk::{Disk, DiskFile, DiskResult};
use crate::error::HeaderDamage;
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};
use bowline_model::{AlignedBuf, Lsn};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;

pub(crate) const LOG_DIR: &str = "log";
pub(crate) const COLD_DIR: &str = "cold";
pub(crate) const QUARANTINE_DIR: &str = "quarantine";

/// Ending of a file that is being made.
pub(crate) const UNFINISHED: &str = ".tmp";
/// Ending of a recycled segment that waits for its next use.
pub(crate) const SPARE: &str = ".free";

pub(crate) fn segment_path(number: u32) -> String {
    format!("{LOG_DIR}/{number:08}.seg")
}

pub(crate) fn spare_path(number: u32) -> String {
    format!("{LOG_DIR}/{number:08}{SPARE}")
}

pub(crate) fn cold_path(number: u32) -> String {
    format!("{COLD_DIR}/{number:08}.cold")
}

/// The number in a file's name, if it ends in `ending`.
pub(crate) fn number_of(name: &str, ending: &str) -> Option<u32> {
    name.strip_suffix(ending)?.parse().ok()
}

/// A segment or cold file that blocks can be read from.
pub(crate) struct Segment {
    pub kind: SegmentKind,
    pub number: u32,
    /// 0 if the header is damaged: then a block's own position is all that tells it from garbage.
    pub epoch: u64,
    pub sector_bytes: u32,
    /// No block ends beyond this.
    pub len: u64,
    pub damage: Option<HeaderDamage>,
    pub file: Arc<dyn DiskFile>,
}

impl Segment {
    /// Opens file `path` and reads its header. A damaged header is noted, not an error.
    pub fn open(disk: &dyn Disk, kind: SegmentKind, number: u32) -> DiskResult<Segment> {
        let path = match kind {
            SegmentKind::Log => segment_path(number),
            SegmentKind::Cold => cold_path(number),
        };
        let file = disk.open(&path)?;
        let mut head = AlignedBuf::zeroed(SEGMENT_HEADER_BYTES as usize);
        let n = file.read_at(0, head.as_mut_slice())?;
        let file_len = file.len()?;
        Ok(match SegmentHeader::decode(&head.as_slice()[..n], kind, number) {
            Ok(h) => Segment {
                kind,
                number,
                epoch: h.epoch,
                sector_bytes: h.sector_bytes,
                len: h.capacity.min(file_len),
                damage: None,
                file,
            },
            Err(damage) => Segment {
                kind,
                number,
                epoch: 0,
                sector_bytes: 512,
                len: file_len,
                damage: Some(damage),
                file,
            },
        })
    }

    pub fn lsn(&self, position: u64) -> Lsn {
        match self.kind {
            SegmentKind::Log => Lsn::new(self.number, position as u32),
            SegmentKind::Cold => Lsn::cold(self.number, position as u32),
        }
    }
}

/// Writes `header` to the front of `file`, durably.
pub(crate) fn write_header(file: &dyn DiskFile, header: &SegmentHeader) -> DiskResult<()> {
    let mut head = AlignedBuf::zeroed(SEGMENT_HEADER_BYTES as usize);
    header.encode(head.as_mut_slice());
    file.write_durable(0, &[IoSlice::new(head.as_slice())])
}

/// Gives space back in steps, so that no commit waits behind one large discard.
pub(crate) struct Shrink {
    pub path: String,
    /// Shrink to this many bytes and stop; `None`: to nothing, and remove the file.
    pub keep: Option<u64>,
}

/// Bytes given back per step.
const SHRINK_STEP_BYTES: u64 = 8 << 20;

impl Shrink {
    /// One step. Returns whether it was the last.
    pub fn step(&self, disk: &dyn Disk) -> DiskResult<bool> {
        let file = match disk.open(&self.path) {
            Ok(file) => file,
            Err(e) if e.is_not_found() => return Ok(true),
            Err(e) => return Err(e),
        };
        let len = file.len()?;
        let keep = self.keep.unwrap_or(0);
        if len > keep {
            file.truncate(keep.max(len.saturating_sub(SHRINK_STEP_BYTES)))?;
        }
        if len > keep + SHRINK_STEP_BYTES {
            return Ok(false);
        }
        if self.keep.is_none() {
            disk.remove(&self.path)?;
        }
        Ok(true)
    }
}

/// All files that blocks are read from.
#[derive(Default)]
pub(crate) struct Table {
    log: RwLock<BTreeMap<u32, Arc<Segment>>>,
    cold: RwLock<BTreeMap<u32, Arc<Segment>>>,
}

impl Table {
    fn of(&self, kind: SegmentKind) -> &RwLock<BTreeMap<u32, Arc<Segment>>> {
        match kind {
            SegmentKind::Log => &self.log,
            SegmentKind::Cold => &self.cold,
        }
    }

    pub fn get(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        if lsn.is_volatile() {
            return None;
        }
        let kind = if lsn.is_cold() { SegmentKind::Cold } else { SegmentKind::Log };
        self.of(kind).read().get(&lsn.segment()).cloned()
    }

    pub fn insert(&self, segment: Arc<Segment>) {
        self.of(segment.kind).write().insert(segment.number, segment);
    }

    pub fn remove(&self, kind: SegmentKind, number: u32) -> Option<Arc<Segment>> {
        self.of(kind).write().remove(&number)
    }

    pub fn numbers(&self, kind: SegmentKind) -> Vec<u32> {
        self.of(kind).read().keys().copied().collect()
    }

    pub fn all(&self, kind: SegmentKind) -> Vec<Arc<Segment>> {
        self.of(kind).read().values().cloned().collect()
    }
}
