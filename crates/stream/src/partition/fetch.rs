//! Fetch: whole batches from where a consumer stands, within its limits.
//!
//! Limits follow KIP-74: partitions are served in the order asked; a partition gets at most its own limit and what
//! is left of the whole; the very first batch is handed out even if it is larger than either. Of many partitions with
//! something to give each gets its share: their batches lie side by side in the log, and to read a block for one of
//! them at a time would be to read it over and over. A consumer sees
//! everything that is applied, up to the high watermark; one that wants what is committed, up to the last stable
//! offset, and is told which batches were aborted.

use super::Partitions;
use super::aborted::AbortedSet;
use super::producer::Producers;
use super::state::Partition;
use super::walk::{Batches, ReadPlan};
use crate::out::{BlockLookup, Read};
use bowline_model::event::{BatchSlice, FetchError, Fetched, FetchedPartition, SLICE_ABORTED};
use bowline_model::request::{Fetch, FetchPartition};
use bowline_model::{BlockRef, Lsn};
use std::collections::BTreeSet;
use std::ops::Range;

/// Payload of the blocks that one answer may keep in memory, bytes, however little it takes of each; the first
/// block may be larger.
pub const PINNED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// So much of a partition is had in memory ahead of a reader who is behind, bytes of batches …
const AHEAD_BYTES: u64 = 4 * 1024 * 1024;
/// … read in pieces of about this size, bytes: large enough for the disk, small enough that several are under way.
const AHEAD_PIECE_BYTES: u64 = 1024 * 1024;
/// So many extents are looked at for that.
const AHEAD_EXTENTS_MAX: usize = 1024;

/// With more partitions than this that have something to give, each is served its share first.
const UNSHARED_MAX: usize = 8;

/// What became of a fetch.
#[derive(Debug)]
pub enum FetchOutcome {
    Ready(Vec<FetchedPartition>),
    /// These blocks are wanted: have them read, make them resident, and fetch again with `retry` set.
    Missing(Vec<Read>),
}

impl Partitions {
    /// Serves a fetch from resident blocks.
    ///
    /// At the first try everything within the limits must be resident, so that a consumer that is partly behind
    /// waits for its old partitions too instead of being fed with the new ones only. At a `retry` (the reads have
    /// come, though some blocks may be gone again) it takes what is there; only if that is nothing at all, it asks
    /// again.
    pub fn fetch(&self, fetch: &Fetch, retry: bool, lookup: &mut dyn BlockLookup) -> FetchOutcome {
        let mut serving = Serving {
            committed: fetch.committed,
            bytes_left: u64::from(fetch.max_bytes),
            partition_left: 0,
            share: self.share(fetch),
            any: false,
            took: false,
            pinned_bytes: 0,
            pinned: Lsn(u64::MAX),
            pinned_by_many: BTreeSet::new(),
            plan: ReadPlan::default(),
            retry,
            lookup,
        };
        let partitions = fetch
            .partitions
            .iter()
            .map(|wanted| FetchedPartition {
                partition: wanted.partition,
                result: match self.by_id.get(&wanted.partition) {
                    Some(partition) => serving.partition(partition, wanted),
                    None => Err(FetchError::UnknownPartition),
                },
            })
            .collect();
        if serving.plan.is_empty() || (retry && serving.took) {
            FetchOutcome::Ready(partitions)
        } else {
            FetchOutcome::Missing(serving.plan.into_reads())
        }
    }

    /// The bytes that each partition gets before others had theirs.
    fn share(&self, fetch: &Fetch) -> u64 {
        if fetch.partitions.len() <= UNSHARED_MAX {
            return u64::MAX;
        }
        let gives = |wanted: &&FetchPartition| {
            self.by_id.get(&wanted.partition).is_some_and(|partition| wanted.offset < partition.next_offset)
        };
        match fetch.partitions.iter().filter(gives).count() {
            0..=UNSHARED_MAX => u64::MAX,
            many => u64::from(fetch.max_bytes) / many as u64,
        }
    }
}

impl Partitions {
    /// What a reader who was given `found` will want next and is not in memory, so that it is there by the time it is
    /// asked for. Nothing for readers who keep up.
    pub fn read_ahead(&self, found: &[FetchedPartition], lookup: &mut dyn BlockLookup) -> Vec<Read> {
        let served = found.iter().filter_map(|FetchedPartition { partition, result }| {
            let last = result.as_ref().ok()?.batches.last()?;
            Some((&**self.by_id.get(partition)?, last.base_offset))
        });
        let count = served.clone().count();
        if count > UNSHARED_MAX {
            return ahead_of_many(served, AHEAD_BYTES / count as u64, lookup);
        }
        let mut reads = Vec::new();
        served.for_each(|(partition, offset)| ahead(partition, offset, lookup, &mut reads));
        reads
    }
}

/// What is missing of the `share` bytes behind the extent that holds each one's offset. What many want next lies side
/// by side, so it is one plan, in which a block is once.
fn ahead_of_many<'a>(
    served: impl Iterator<Item = (&'a Partition, u64)>,
    share: u64,
    lookup: &mut dyn BlockLookup,
) -> Vec<Read> {
    let mut plan = ReadPlan::default();
    for (partition, offset) in served {
        let first = partition.extents.find(offset) + 1;
        let mut bytes = 0;
        for extent in (first..).map_while(|index| partition.extents.get(index)) {
            let missing = lookup.block(extent.lsn).is_none();
            if bytes >= share || lookup.unreadable(extent.lsn) || (missing && !plan.add(extent)) {
                break;
            }
            bytes += u64::from(extent.bytes);
        }
    }
    if plan.bytes() >= AHEAD_PIECE_BYTES / 2 { plan.into_reads() } else { Vec::new() }
}

/// Adds to `reads` what is missing of the log behind the extent that holds `offset`.
fn ahead(partition: &Partition, offset: u64, lookup: &mut dyn BlockLookup, reads: &mut Vec<Read>) {
    let first = partition.extents.find(offset) + 1;
    let mut plan = ReadPlan::default();
    let (mut bytes, mut planned) = (0, 0);
    let behind = (first..first + AHEAD_EXTENTS_MAX).map_while(|index| partition.extents.get(index));
    for extent in behind {
        if lookup.unreadable(extent.lsn) {
            break;
        }
        if lookup.block(extent.lsn).is_none() {
            // Extents that are larger than that are their own pieces.
            if planned >= AHEAD_PIECE_BYTES {
                reads.extend(std::mem::take(&mut plan).into_reads());
                planned = 0;
            }
            plan.add(extent);
            planned += extent.block_bytes_min();
        }
        bytes += u64::from(extent.bytes);
        if bytes >= AHEAD_BYTES {
            break;
        }
    }
    // A small rest waits until more has come together.
    if planned >= AHEAD_PIECE_BYTES / 2 {
        reads.extend(plan.into_reads());
    }
}

/// Flags the batches of aborted transactions. Those transactions, as Kafka's clients want them.
fn mark_aborted(producers: &Producers, from: u64, batches: &mut [BatchSlice]) -> Vec<(i64, u64)> {
    let Some(last) = batches.last() else { return Vec::new() };
    let aborted = producers.aborted(from, last.base_offset + 1);
    if !aborted.is_empty() {
        let set = AbortedSet::new(aborted.clone());
        for batch in batches {
            let at = batch.offset as usize;
            let head = batch.block.payload.get(at..at + batch.len as usize).and_then(super::batch::parse);
            let is_aborted = |header: super::batch::Header| {
                header.is_transactional() && set.covers(header.producer_id, batch.base_offset)
            };
            if head.is_some_and(is_aborted) {
                batch.flags |= SLICE_ABORTED;
            }
        }
    }
    aborted.into_iter().map(|aborted| (aborted.producer_id, aborted.first_offset)).collect()
}

/// A fetch being served.
struct Serving<'a> {
    committed: bool,
    bytes_left: u64,
    /// Of the partition at hand.
    partition_left: u64,
    /// See [`Partitions::share`].
    share: u64,
    /// Something was taken or planned, so limits are strict from now on.
    any: bool,
    /// Something was taken.
    took: bool,
    pinned_bytes: u64,
    /// The block counted last.
    pinned: Lsn,
    /// All of them, where partitions take turns with them.
    pinned_by_many: BTreeSet<Lsn>,
    plan: ReadPlan,
    retry: bool,
    lookup: &'a mut dyn BlockLookup,
}

/// Goes on with the partition?
enum Next {
    More,
    Enough,
}

impl Serving<'_> {
    fn partition(&mut self, partition: &Partition, wanted: &FetchPartition) -> Result<Fetched, FetchError> {
        let (log_start, high_watermark) = (partition.log_start, partition.next_offset);
        if wanted.offset < log_start || wanted.offset > high_watermark {
            return Err(FetchError::OutOfRange { log_start, high_watermark });
        }
        self.partition_left = self.share.min(wanted.max_bytes.into());
        let limit = wanted.max_bytes.into();
        let last_stable = partition.last_stable();
        let range = wanted.offset..if self.committed { last_stable } else { high_watermark };
        let mut batches = Vec::new();
        self.extents(partition, range, limit, &mut batches)?;
        let aborted = match &partition.producers {
            Some(producers) if self.committed => mark_aborted(producers, wanted.offset, &mut batches),
            _ => Vec::new(),
        };
        Ok(Fetched { high_watermark, last_stable, log_start, batches, aborted })
    }

    fn extents(
        &mut self,
        partition: &Partition,
        range: Range<u64>,
        limit: u64,
        batches: &mut Vec<BatchSlice>,
    ) -> Result<(), FetchError> {
        let mut index = partition.extents.find(range.start);
        let mut gap = false;
        while let Some(extent) = partition.extents.get(index) {
            if { extent.first_offset } >= range.end || (self.any && self.allowance() == 0) {
                return Ok(());
            }
            index += 1;
            let bytes = u64::from(extent.bytes);
            match self.lookup.block(extent.lsn) {
                Some(_) if gap => self.spend(bytes),
                Some(block) => {
                    let walk = Batches::new(&block, partition.spec.partition.0, extent);
                    match self.block(&block, walk, &range, limit, batches) {
                        Ok(Next::More) => {}
                        Ok(Next::Enough) => return Ok(()),
                        Err(error) => return if batches.is_empty() { Err(error) } else { Ok(()) },
                    }
                }
                None if self.lookup.unreadable(extent.lsn) => {
                    return if batches.is_empty() && !gap { Err(FetchError::Storage) } else { Ok(()) };
                }
                None => {
                    // A retry goes on with other partitions; the plan counts only if they have nothing either.
                    if !self.plan.add(extent) || self.retry {
                        return Ok(());
                    }
                    gap = true;
                    self.any = true;
                    self.spend(bytes);
                }
            }
        }
        Ok(())
    }

    fn block(
        &mut self,
        block: &BlockRef,
        walk: Batches<'_>,
        range: &Range<u64>,
        limit: u64,
        batches: &mut Vec<BatchSlice>,
    ) -> Result<Next, FetchError> {
        for item in walk {
            let (batch, header) = item.map_err(|_| FetchError::Storage)?;
            if batch.base_offset + u64::from(header.count) <= range.start {
                continue;
            }
            // The first batch of an open transaction: the end never lies inside of one.
            if batch.base_offset >= range.end {
                return Ok(Next::Enough);
            }
            let len = u64::from(batch.len);
            // A share is one batch at least.
            let allowed = if batches.is_empty() { self.bytes_left.min(limit) } else { self.allowance() };
            if self.any && (len > allowed || !self.pin(block)) {
                return Ok(Next::Enough);
            }
            self.pin(block);
            self.spend(len);
            (self.any, self.took) = (true, true);
            batches.push(batch);
        }
        Ok(Next::More)
    }

    /// Bytes that the partition at hand may still have.
    fn allowance(&self) -> u64 {
        self.bytes_left.min(self.partition_left)
    }

    fn spend(&mut self, bytes: u64) {
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.partition_left = self.partition_left.saturating_sub(bytes);
    }

    /// Counts the block among those that the answer holds; false if that would be too much.
    fn pin(&mut self, block: &BlockRef) -> bool {
        if self.pinned == block.lsn || self.pinned_by_many.contains(&block.lsn) {
            return true;
        }
        let bytes = block.payload.len() as u64;
        if self.pinned_bytes > 0 && self.pinned_bytes + bytes > PINNED_BYTES_MAX {
            return false;
        }
        self.pinned_bytes += bytes;
        self.pinned = block.lsn;
        if self.share < u64::MAX {
            self.pinned_by_many.insert(block.lsn);
        }
        true
    }
}
