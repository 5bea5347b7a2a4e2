//! The index of a partition: one extent per run of batches in a block.
//!
//! Invariants: extents are in log order and in offset order, without gaps between them; the batches of an extent
//! follow one another among this partition's records in the block, so a walk from `record_position` that counts
//! bytes meets exactly them. Where compaction has been, an extent may cover offsets that no batch of it has.

use bowline_model::Lsn;
use std::collections::VecDeque;

/// Batches of one partition that lie in one block and were accepted one after the other. Packed, because there
/// may be millions: 36 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, packed(4))]
pub struct Extent {
    /// The block.
    pub lsn: Lsn,
    pub first_offset: u64,
    /// The youngest record's time by the batches' own account; a batch without times counts as young as its block.
    pub max_timestamp: i64,
    /// Offsets taken, ≥ 1.
    pub count: u32,
    /// Where the first batch's record frame begins in the block's payload, bytes.
    pub record_position: u32,
    /// Bytes of the batches, without the records' frames.
    pub bytes: u32,
}

const _: () = assert!(size_of::<Extent>() == 36);

impl Extent {
    /// One past the last offset.
    pub fn end(&self) -> u64 {
        self.first_offset + u64::from(self.count)
    }

    /// Bytes of the block's payload that reach to the end of the last batch, at least. The block may be longer.
    pub fn block_bytes_min(&self) -> u64 {
        u64::from(self.record_position) + u64::from(self.bytes)
    }
}

/// Extents of a partition, oldest first.
#[derive(Debug, Default)]
pub struct Extents(VecDeque<Extent>);

impl Extents {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, index: usize) -> Option<&Extent> {
        self.0.get(index)
    }

    pub fn first(&self) -> Option<&Extent> {
        self.0.front()
    }

    pub fn last_mut(&mut self) -> Option<&mut Extent> {
        self.0.back_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.0.iter()
    }

    /// Index of the extent that holds `offset`, or of the next one.
    pub fn find(&self, offset: u64) -> usize {
        self.0.partition_point(|extent| extent.end() <= offset)
    }

    pub fn push(&mut self, extent: Extent) {
        if self.0.len() == self.0.capacity() {
            // Doubling would leave half of a large index empty.
            self.0.reserve_exact((self.0.len() / 8).max(4));
        }
        self.0.push_back(extent);
    }

    /// Puts `new` in the place of `range`. Costs what lies before or behind the range, whichever is less.
    pub fn replace(&mut self, range: std::ops::Range<usize>, new: &[Extent]) {
        if range.start <= self.0.len() - range.end {
            let before: Vec<Extent> = self.0.drain(..range.end).take(range.start).collect();
            for extent in before.into_iter().chain(new.iter().copied()).rev() {
                self.0.push_front(extent);
            }
        } else {
            let behind = self.0.split_off(range.end);
            self.0.truncate(range.start);
            self.0.extend(new.iter().copied().chain(behind));
        }
    }

    pub fn pop_first(&mut self) -> Option<Extent> {
        let extent = self.0.pop_front();
        if self.0.capacity() > 64 && self.0.len() < self.0.capacity() / 2 {
            self.0.shrink_to(self.0.len() + self.0.len() / 8);
        }
        extent
    }
}

impl From<Vec<Extent>> for Extents {
    fn from(mut extents: Vec<Extent>) -> Extents {
        extents.shrink_to_fit();
        Extents(extents.into())
    }
}
