//! Relocation: batches whose segment is given up are copied, partition by partition, into cold files; the extents
//! then point there.
//!
//! Nothing of this is logged: a checkpoint holds either the old extents or the new ones, and either is right, as
//! the old segment stays until no checkpoint lists it. Offsets, timestamps and sizes do not change.

use super::Partitions;
use super::batch;
pub use super::batch::NO_RECORDS;
use super::extent::Extent;
use super::walk::Batches;
use bowline_model::record::{APPEND_COMPACTED, Append};
use bowline_model::{BlockRef, Lsn, PartitionId};
use std::collections::BTreeSet;

/// An extent in a file that is given up.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    pub partition: PartitionId,
    pub extent: Extent,
    /// The extent before it in the partition is planned too, and comes just before in the list.
    pub joined: bool,
}

/// One batch on its way.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub flags: u8,
    pub bytes: &'a [u8],
    pub first_offset: u64,
    pub count: u32,
    pub max_timestamp: i64,
}

/// The batches of `extent` in its block, in order. False if the block does not hold what the extent says.
pub fn batches(
    block: &BlockRef,
    partition: PartitionId,
    extent: &Extent,
    mut each: impl FnMut(Batch<'_>),
) -> bool {
    for item in Batches::new(block, partition.0, extent) {
        let Ok((slice, header)) = item else { return false };
        let at = slice.offset as usize;
        each(Batch {
            flags: slice.flags,
            bytes: &block.payload[at..at + slice.len as usize],
            first_offset: slice.base_offset,
            count: header.count,
            max_timestamp: time(header.max_timestamp, extent),
        });
    }
    true
}

/// A batch of `extent` as it is going to be found in a cold block: where its offsets begin, how many it takes, and the
/// youngest record's time. `next`: the offset behind the batch before it. `None`: not a batch.
pub fn head(append: &Append<'_>, next: u64, extent: &Extent) -> Option<(u64, u32, i64)> {
    let header = batch::parse(append.batch)?;
    let base_offset = match append.flags & APPEND_COMPACTED {
        0 => next,
        _ => u64::try_from(header.base_offset).ok()?,
    };
    Some((base_offset, header.count, time(header.max_timestamp, extent)))
}

/// A batch without times is as young as its block, which only the extent remembers.
fn time(max_timestamp: i64, extent: &Extent) -> i64 {
    if max_timestamp < 0 && max_timestamp != batch::NO_RECORDS { extent.max_timestamp } else { max_timestamp }
}

impl Partitions {
    /// The extents that lie in `files` (see [`Lsn::file`]), by partition and offset.
    pub fn extents_in(&self, files: &BTreeSet<Lsn>) -> Vec<Planned> {
        let mut found = Vec::new();
        for id in self.sorted_ids() {
            let Some(partition) = self.by_id.get(&id) else { continue };
            let mut joined = false;
            for extent in partition.extents.iter() {
                let planned = files.contains(&{ extent.lsn }.file());
                if planned {
                    found.push(Planned { partition: id, extent: *extent, joined });
                }
                joined = planned;
            }
        }
        found
    }

    /// The batches of a run of extents in `files` now lie where `new` says: ascending, without gaps. False if the
    /// partition has gone, or its extents there are not what they were; then nothing changes.
    pub fn relocate(&mut self, id: PartitionId, files: &BTreeSet<Lsn>, new: &[Extent]) -> bool {
        let (Some(partition), Some(first), Some(last)) = (self.by_id.get_mut(&id), new.first(), new.last())
        else {
            return false;
        };
        let (from, to) = (first.first_offset, last.end());
        if !new.windows(2).all(|pair| pair[0].end() == pair[1].first_offset) {
            return false;
        }
        let (i, j) = (partition.extents.find(from), partition.extents.find(to));
        let old: Vec<Extent> = partition.extents.iter().skip(i).take(j.saturating_sub(i)).copied().collect();
        let (Some(old_first), Some(old_last)) = (old.first(), old.last()) else { return false };
        // What was trimmed meanwhile is missing at the front.
        let start = old_first.first_offset;
        let begins = start == from || (start > from && i == 0);
        if !begins || old_last.end() != to || !old.iter().all(|e| files.contains(&{ e.lsn }.file())) {
            return false;
        }
        let kept: Vec<Extent> = new.iter().filter(|e| e.end() > start).copied().collect();
        for extent in &old {
            self.segments.remove(extent);
            partition.bytes -= u64::from(extent.bytes);
        }
        for extent in &kept {
            self.segments.add_extent(extent.lsn, extent.bytes);
            partition.bytes += u64::from(extent.bytes);
        }
        partition.extents.replace(i..j, &kept);
        true
    }
}
