//! Compaction: of each key the latest record stays, in its place; what it supersedes goes.
//!
//! Here is what a partition knows of it: how far it has been compacted, whether it is time again, which extents there
//! are to look at and to rewrite, and the swap. Reading keys and rewriting batches is for others (`bowline_replica`),
//! away from the shard's thread. As with relocation nothing is logged: a checkpoint lists the old extents with the old
//! progress, or the new ones with the new.
//!
//! ```text
//! log start ──── clean ──── upto ──── dirty ──── end of what may be looked at ──── lag, open transactions
//! ```
//! Keys of the dirty part are collected; then everything from the log start to the end of the dirty part is rewritten
//! without the records that a collected key supersedes. It may be done in pieces, in the order of offsets: a tombstone
//! must not go before what it covers.
//!
//! Open transactions are not looked at, nor anything behind the first of them. Records of an aborted one go, and when
//! that is done, the partition need not remember any more that it was aborted.

use super::Partitions;
#[cfg(feature = "sabotage")]
use super::aborted::Aborted;
use super::aborted::AbortedSet;
use super::extent::Extent;
use super::relocation::Planned;
use super::state::Partition;
use bowline_model::request::Compaction;
use bowline_model::{Millis, PartitionId};
use serde::{Deserialize, Serialize};

/// How far a partition has been compacted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// No key has two records below this offset.
    pub upto: u64,
    /// The first time at which a tombstone below may go.
    pub tombstone_due: Option<Millis>,
}

/// A partition for which it is time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    pub partition: PartitionId,
    /// Its tombstones or its oldest records are due, or else by how much there is to do: rank by these.
    pub overdue: bool,
    pub dirty_ppm: u32,
    /// Of batches that have not been compacted and may be.
    pub dirty_bytes: u64,
    /// What is to be rewritten, at most.
    pub bytes: u64,
}

/// What is to be done to one partition.
#[derive(Clone, Debug)]
pub struct Plan {
    pub partition: PartitionId,
    /// From here on to `upto` lies what has not been compacted …
    pub dirty: u64,
    /// … and here is the end of what is to be rewritten.
    pub upto: u64,
    pub delete_retention_ms: u64,
    /// Extents of the dirty part.
    pub extents: Vec<Extent>,
    /// Aborted transactions that have records in what is to be rewritten.
    pub aborted: AbortedSet,
}

/// All of a partition up to `upto` has been rewritten, and every swap was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compacted {
    pub partition: PartitionId,
    pub progress: Progress,
}

/// What there is between a partition's progress and the end of what may be compacted.
struct Dirty {
    from: usize,
    to: usize,
    bytes: u64,
    /// The first extent's youngest record.
    since: i64,
}

impl Partitions {
    /// Partitions that it is time to compact, in no particular order. Walks what is dirty of those that are compacted.
    pub fn compaction_due(&self, now: Millis) -> Vec<Candidate> {
        self.by_id.values().filter_map(|partition| candidate(partition, now)).collect()
    }

    /// What is to be done to `id`, with a dirty part of no more than `offsets_max` offsets, though of one extent at
    /// least. `None`: nothing.
    pub fn plan_compaction(&self, id: PartitionId, now: Millis, offsets_max: u64) -> Option<Plan> {
        let partition = self.by_id.get(&id)?;
        let compaction = partition.spec.config.compaction.as_deref()?;
        let Dirty { from, to, .. } = dirty(partition, compaction, now);
        let from_offset =
            partition.extents.get(from).map_or(partition.next_offset, |first| first.first_offset);
        let extents: Vec<Extent> = partition.extents.iter().skip(from).take(to - from).copied().collect();
        let fits = |extent: &&Extent| extent.end() - from_offset <= offsets_max;
        let n = extents.iter().take_while(fits).count().max(1).min(extents.len());
        let extents = extents[..n].to_vec();
        let upto = extents.last().map_or(from_offset, Extent::end);
        let delete_retention_ms = compaction.delete_retention_ms;
        // All of it is decided: see `dirty`.
        let aborted = partition.producers.as_ref().map(|p| p.aborted(partition.log_start, upto));
        let aborted = aborted.unwrap_or_default();
        #[cfg(feature = "sabotage")]
        let aborted = match crate::sabotage::is_on(&crate::sabotage::COMMITTED_COMPACTED) {
            true => aborted.into_iter().map(|a| Aborted { last_offset: u64::MAX, ..a }).collect(),
            false => aborted,
        };
        let aborted = AbortedSet::new(aborted);
        let empty = partition.extents.first().is_none_or(|first| first.first_offset >= upto);
        (!empty).then_some(Plan {
            partition: id,
            dirty: from_offset,
            upto,
            delete_retention_ms,
            extents,
            aborted,
        })
    }

    /// The next extents of `id` to rewrite, from offset `from` up to `upto` and of about `bytes_max`.
    pub fn extents_between(&self, id: PartitionId, from: u64, upto: u64, bytes_max: u64) -> Vec<Planned> {
        let Some(partition) = self.by_id.get(&id) else { return Vec::new() };
        let first = partition.extents.find(from);
        let mut bytes = 0u64;
        let wanted = partition.extents.iter().skip(first).take_while(|extent| {
            let before = bytes;
            bytes += u64::from(extent.bytes);
            extent.end() <= upto && (before == 0 || bytes <= bytes_max)
        });
        let planned =
            |(i, extent): (usize, &Extent)| Planned { partition: id, extent: *extent, joined: i > 0 };
        wanted.enumerate().map(planned).collect()
    }

    /// Where the first extent of `id` begins; `None`: there is none.
    pub fn begins(&self, id: PartitionId) -> Option<u64> {
        self.by_id.get(&id)?.extents.first().map(|first| first.first_offset)
    }

    pub fn compacted(&mut self, Compacted { partition, progress }: Compacted) {
        if let Some(partition) = self.by_id.get_mut(&partition) {
            partition.compacted = Some(Box::new(progress));
            if let Some(producers) = &mut partition.producers {
                producers.trim(progress.upto);
            }
        }
    }
}

fn candidate(partition: &Partition, now: Millis) -> Option<Candidate> {
    let compaction = partition.spec.config.compaction.as_deref()?;
    let Dirty { from, to, bytes: dirty_bytes, since } = dirty(partition, compaction, now);
    let behind: u64 = partition.extents.iter().skip(to).map(|extent| u64::from(extent.bytes)).sum();
    let bytes = partition.bytes - behind;
    let dirty_ppm = (dirty_bytes * 1_000_000).checked_div(bytes).unwrap_or(0) as u32;
    let late = to > from && now.saturating_sub(compaction.max_lag_ms) as i64 > since;
    let tombstones =
        partition.compacted.as_ref().is_some_and(|p| p.tombstone_due.is_some_and(|due| due <= now));
    let overdue = late || (tombstones && bytes > 0);
    let enough = to > from && dirty_ppm >= compaction.dirty_ppm;
    let partition = partition.spec.partition;
    (overdue || enough).then_some(Candidate { partition, overdue, dirty_ppm, dirty_bytes, bytes })
}

fn dirty(partition: &Partition, compaction: &Compaction, now: Millis) -> Dirty {
    let progress = partition.compacted.as_deref().copied().unwrap_or_default();
    let from = partition.extents.find(progress.upto);
    let youngest = now.saturating_sub(compaction.min_lag_ms) as i64;
    let stable = partition.last_stable();
    let mut dirty = Dirty { from, to: from, bytes: 0, since: i64::MAX };
    for extent in partition.extents.iter().skip(from) {
        let waits = compaction.min_lag_ms > 0 && extent.max_timestamp > youngest;
        if waits || extent.end() > stable {
            break;
        }
        if dirty.to == from {
            dirty.since = extent.max_timestamp.max(0);
        }
        dirty.to += 1;
        dirty.bytes += u64::from(extent.bytes);
    }
    dirty
}
