//! One compaction: keys are collected, then batches are rewritten piece by piece.
//!
//! Knows the log, not the threads; which partitions, and when, is for the compactor.

use super::keys::{Full, Keys, keys_in};
use crate::relocate::{self, Abandoned};
use bowline_broker::{Batch as Piece, Compacted, Damaged, Plan, Relocation, Rewrite};
use bowline_codec_kafka::records::{
    Batch, BatchHeader, RecordIter, Retained, empty_batch, retain, set_base_offset,
};
use bowline_model::{BlockRef, Lsn, Millis, PartitionId, ShardId};
use bowline_storage::{ColdWriter, Log};
use bowline_stream::partition::Extent;
use bowline_stream::partition::compaction::Progress;
use bowline_stream::partition::relocation;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A batch may take so much when it is decompressed, bytes: as much as a produced one may.
const BATCH_BYTES_MAX: usize = 64 << 20;
/// The least room for keys, bytes: one block has fewer keys than that finds room for, unless they are very short.
pub const KEYS_BYTES_MIN: usize = 4 << 20;

/// What compactions have done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Superseded records that were removed, tombstones whose time was over, and records without a key, which were
    /// written before the topic was compacted.
    pub superseded: u64,
    pub tombstones: u64,
    pub keyless: u64,
    /// Records of aborted transactions, and markers of transactions.
    pub aborted: u64,
    pub markers: u64,
    pub records_kept: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.superseded += other.superseded;
        self.tombstones += other.tombstones;
        self.keyless += other.keyless;
        self.aborted += other.aborted;
        self.markers += other.markers;
        self.records_kept += other.records_kept;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
    }
}

/// A compaction of some partitions of a shard.
pub struct Job {
    shard: ShardId,
    now: Millis,
    keys: Keys,
    partitions: BTreeMap<PartitionId, State>,
    pub counts: Counts,
}

struct State {
    plan: Plan,
    /// Rewritten up to here.
    next: u64,
    tombstone_due: Option<Millis>,
}

impl Job {
    /// `keys_bytes`: for keys; `plans` were made for [`Job::offsets_max`] of it.
    pub fn new(shard: ShardId, plans: Vec<Plan>, keys_bytes: usize, now: Millis) -> Job {
        let offsets = plans.iter().map(|plan| plan.upto - plan.dirty).sum();
        let state = |plan: Plan| (plan.partition, State { plan, next: 0, tombstone_due: None });
        Job {
            shard,
            now,
            keys: Keys::new(offsets, keys_bytes.max(KEYS_BYTES_MIN)),
            partitions: plans.into_iter().map(state).collect(),
            counts: Counts::default(),
        }
    }

    /// Offsets that plans may have to look at.
    pub fn offsets_max(keys_bytes: usize) -> u64 {
        keys_in(keys_bytes.max(KEYS_BYTES_MIN))
    }

    /// Partitions that are not done.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.partitions.keys().copied()
    }

    /// Collects the keys of the dirty parts. `paced`: see [`relocate::copy`].
    ///
    /// # Errors
    /// Something cannot be read, or there are too many keys: nothing has happened then.
    pub fn scan(&mut self, log: &Log, paced: &mut dyn FnMut(u64) -> bool) -> Result<(), Abandoned> {
        let mut wanted: BTreeMap<Lsn, Vec<(PartitionId, Extent)>> = BTreeMap::new();
        for (id, state) in &self.partitions {
            for extent in &state.plan.extents {
                wanted.entry(extent.lsn).or_default().push((*id, *extent));
            }
        }
        let lsns: Vec<Lsn> = wanted.keys().copied().collect();
        let mut result = Ok(());
        let take = |block: &BlockRef| {
            if block.shard == self.shard
                && result.is_ok()
                && let Some(extents) = wanted.remove(&block.lsn)
            {
                result = extents.iter().try_for_each(|(id, extent)| self.note(block, *id, extent));
            }
        };
        relocate::read(log, &lsns, |_| false, paced, take)?;
        result?;
        if wanted.is_empty() { Ok(()) } else { Err(Abandoned::Unreadable) }
    }

    fn note(&mut self, block: &BlockRef, id: PartitionId, extent: &Extent) -> Result<(), Abandoned> {
        let Some(state) = self.partitions.get(&id) else { return Ok(()) };
        let (keys, plan) = (&mut self.keys, &state.plan);
        let mut result = Ok(());
        let there = relocation::batches(block, id, extent, |piece| {
            if result.is_ok() {
                result = note_batch(keys, plan, &piece);
            }
        });
        if there { result } else { Err(Abandoned::Unreadable) }
    }

    /// What is left to rewrite: for [`bowline_broker::Shard::plan_rewriting`].
    pub fn wanted(&self) -> Vec<(PartitionId, u64, u64)> {
        self.partitions.iter().map(|(id, state)| (*id, state.next, state.plan.upto)).collect()
    }

    /// Rewrites what `relocation` planned into `cold`.
    ///
    /// # Errors
    /// Something cannot be read or written: drop the writer then, and the piece has not happened.
    pub fn rewrite(
        &mut self,
        log: &Log,
        relocation: &mut Relocation,
        cold: &mut ColdWriter,
        paced: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), Abandoned> {
        relocation.keep_places(|base_offset, count| empty_batch(base_offset as i64, count));
        let Job { keys, partitions, counts, now, .. } = self;
        let mut rewriter = Rewriter { keys, partitions, counts, now: *now };
        relocate::copy_as(log, relocation, cold, Some(&mut rewriter), paced)?;
        if relocation.is_whole() { Ok(()) } else { Err(Abandoned::Unreadable) }
    }

    /// A piece that went up to `ends` is durable. What is done now, and is to be told to the shard with it.
    pub fn rewritten(&mut self, ends: &[(PartitionId, u64, bool)]) -> Vec<Compacted> {
        let mut done = Vec::new();
        for &(partition, end, finished) in ends {
            let Some(state) = self.partitions.get_mut(&partition) else { continue };
            state.next = end;
            if finished {
                let progress = Progress { upto: end, tombstone_due: state.tombstone_due };
                done.push(Compacted { partition, progress });
            }
        }
        self.partitions.retain(|id, _| !done.iter().any(|compacted| compacted.partition == *id));
        done
    }

    /// The shard did not take the piece of these.
    pub fn give_up(&mut self, refused: &BTreeSet<PartitionId>) {
        self.partitions.retain(|id, _| !refused.contains(id));
    }
}

/// Whether the batch is part of a transaction that was aborted.
fn is_aborted(plan: &Plan, header: &BatchHeader, piece: &Piece<'_>) -> bool {
    header.is_transactional()
        && !header.is_control()
        && plan.aborted.covers(header.producer_id, piece.first_offset)
}

fn note_batch(keys: &mut Keys, plan: &Plan, piece: &Piece<'_>) -> Result<(), Abandoned> {
    let unreadable = |_| Abandoned::Unreadable;
    let header = BatchHeader::parse(piece.bytes).map_err(unreadable)?;
    // What was aborted supersedes nothing.
    if header.is_control() || is_aborted(plan, &header, piece) {
        return Ok(());
    }
    let batch = Batch { header, bytes: Bytes::copy_from_slice(piece.bytes) };
    let body = batch.records(BATCH_BYTES_MAX).map_err(unreadable)?;
    for record in RecordIter::new(&body, header.records_count) {
        let record = record.map_err(unreadable)?;
        let offset = piece.first_offset + record.offset_delta.max(0) as u64;
        if let Some(key) = record.key {
            keys.note(plan.partition, key, offset - plan.dirty).map_err(|Full| Abandoned::TooManyKeys)?;
        }
    }
    Ok(())
}

struct Rewriter<'a> {
    keys: &'a Keys,
    partitions: &'a mut BTreeMap<PartitionId, State>,
    counts: &'a mut Counts,
    now: Millis,
}

impl Rewrite for Rewriter<'_> {
    fn batch(&mut self, partition: PartitionId, piece: &Piece<'_>) -> Result<Option<Bytes>, Damaged> {
        let Rewriter { keys, partitions, counts, now } = self;
        let state = partitions.get_mut(&partition).ok_or(Damaged)?;
        let header = BatchHeader::parse(piece.bytes).map_err(|_| Damaged)?;
        counts.bytes_before += piece.bytes.len() as u64;
        if header.records_count == 0 {
            return Ok(None);
        }
        if is_aborted(&state.plan, &header, piece) {
            counts.aborted += header.records_count.max(0) as u64;
            return Ok(None);
        }
        let base_offset = piece.first_offset as i64;
        let horizon = header.has_delete_horizon().then_some(header.base_timestamp);
        let expired = horizon.is_some_and(|horizon| horizon <= *now as i64);
        let keep = |record: &bowline_codec_kafka::records::Record<'_>| {
            if header.is_control() {
                counts.markers += u64::from(expired);
                return !expired;
            }
            let Some(key) = record.key else {
                counts.keyless += 1;
                return false;
            };
            let offset = piece.first_offset + record.offset_delta.max(0) as u64;
            let latest = keys.latest(partition, key).map(|relative| state.plan.dirty + relative);
            if latest.is_some_and(|latest| latest > offset) {
                counts.superseded += 1;
                return false;
            }
            if expired && record.value.is_none() {
                counts.tombstones += 1;
                return false;
            }
            counts.records_kept += 1;
            true
        };
        let batch = Batch { header, bytes: Bytes::copy_from_slice(piece.bytes) };
        // The marker of an abort is for readers who know of records of the transaction: of this compaction's outcome
        // nobody will, so the next one may date it. Commits are nothing to readers.
        let (bytes, until) = if header.is_control() && state.plan.aborted.ends_at(piece.first_offset) {
            (whole(batch, base_offset), None)
        } else {
            let horizon_now = now.saturating_add(state.plan.delete_retention_ms).min(i64::MAX as u64) as i64;
            match retain(&batch, base_offset, horizon_now, BATCH_BYTES_MAX, keep).map_err(|_| Damaged)? {
                Retained::Nothing => return Ok(None),
                Retained::All => (whole(batch, base_offset), horizon),
                Retained::Some { batch, tombstones_until } => (batch, tombstones_until),
            }
        };
        // Markers go with whatever is compacted next; they are no reason for it.
        if let Some(until) = until
            && !header.is_control()
        {
            let until = until.max(0) as Millis;
            state.tombstone_due = Some(state.tombstone_due.map_or(until, |due| due.min(until)));
        }
        counts.bytes_after += bytes.len() as u64;
        Ok(Some(bytes))
    }
}

/// The batch as it was, with its base offset.
fn whole(batch: Batch, base_offset: i64) -> Bytes {
    let mut bytes = Vec::from(batch.bytes);
    // It was parsed just now.
    let _ = set_base_offset(&mut bytes, base_offset);
    bytes.into()
}
