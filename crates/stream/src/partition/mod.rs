//! All partitions of a shard: what they hold and where it lies in the log.
//!
//! A partition's records are in blocks of the log; here is only the index: one extent per run of batches in a
//! block, found by offset. State changes only when a committed block is applied, so whatever can be seen here is
//! durable, and the end of a partition is its high watermark.
//!
//! Does not know: how batches look inside (the front end validates and patches them), who leads, what a topic is.

mod aborted;
mod batch;
mod checkpoint;
pub mod compaction;
mod extent;
mod fetch;
mod offsets;
mod producer;
pub mod relocation;
mod retention;
mod segments;
mod state;
#[cfg(test)]
mod tests;
mod walk;
mod watch;

pub use aborted::AbortedSet;
pub use extent::Extent;
pub use fetch::{FetchOutcome, PINNED_BYTES_MAX};
pub use offsets::{OffsetsOutcome, OffsetsSearch};
pub use producer::{PRODUCER_EXPIRY_MS, PRODUCERS_MAX};
pub use segments::LiveSegment;

use crate::out::Out;
use bowline_model::event::{AppendError, AppendResult, FetchError, PartitionInfo};
use bowline_model::record::{Append, Kind, Record};
use bowline_model::request::PartitionSpec;
use bowline_model::txn::{ActiveProducer, AdmitRecord};
use bowline_model::{Block, Lsn, Millis, PartitionId, QueueId, SessionId, Token};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use segments::Segments;
use state::Partition;
use std::collections::BTreeMap;

/// What one fetch or offset query may ask to be read from the disk at a time, bytes; a single block may be larger.
pub const READ_BYTES_MAX: u32 = 8 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct Options {
    /// How often retention is enforced, ms.
    pub retention_check_ms: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { retention_check_ms: 10_000 }
    }
}

/// All partitions of the shard.
#[derive(Debug)]
pub struct Partitions {
    options: Options,
    /// Ids come from the meta shard, not from clients, so a fixed hash will do. Boxed, as the table is never full.
    by_id: HashMap<PartitionId, Box<Partition>, FixedState>,
    segments: Segments,
    /// The latest stamp of any block applied: never goes back, even if a new leader's clock is behind.
    clock: Millis,
    /// Volatile: which partitions a watch is on.
    watches: BTreeMap<(SessionId, Token), Vec<PartitionId>>,
    /// Volatile: watched and shared partitions that have grown in the block being applied.
    moved: Vec<PartitionId>,
    next_check: Millis,
    next_purge: Millis,
}

impl Partitions {
    pub fn new(options: Options) -> Partitions {
        Partitions {
            options,
            by_id: HashMap::with_hasher(FixedState::default()),
            segments: Segments::default(),
            clock: 0,
            watches: BTreeMap::new(),
            moved: Vec::new(),
            next_check: 0,
            next_purge: 0,
        }
    }

    /// Applies an Append record: gives the batch its offsets, or refuses it, or recognises it as one that an
    /// idempotent producer has sent before and answers with the offset it got then. One that was moved here before is
    /// passed over.
    #[inline]
    pub fn apply_append(&mut self, block: &Block, record: &Record<'_>) -> AppendResult {
        self.clock = self.clock.max(block.stamp);
        let Some(append) = Append::decode(record.body) else {
            debug_assert!(false, "an Append record that is none");
            return AppendResult { partition: PartitionId(0), result: Err(AppendError::UnknownPartition) };
        };
        let id = PartitionId(append.partition);
        let Some(partition) = self.by_id.get_mut(&id) else {
            return AppendResult { partition: id, result: Err(AppendError::UnknownPartition) };
        };
        let result = partition.append(block, record.offset, &append, self.clock, &mut self.segments);
        if (partition.is_shared || !partition.watchers.is_empty()) && self.moved.last() != Some(&id) {
            self.moved.push(id);
        }
        AppendResult { partition: id, result }
    }

    /// Applies a Transferred record: batches of `source` that were numbered below `upto` there do not come again.
    pub fn transferred(&mut self, source: QueueId, upto: u64) {
        for partition in self.by_id.values_mut() {
            if let Some(transferred) = &mut partition.transferred {
                transferred.forget(source.0, upto);
                if transferred.is_empty() {
                    partition.transferred = None;
                }
            }
        }
    }

    /// [`Partitions::finish_block`] is to name the partition when it has grown.
    pub fn tell_of_growth(&mut self, id: PartitionId) {
        if let Some(partition) = self.by_id.get_mut(&id) {
            partition.is_shared = true;
        }
    }

    /// Applies a PartitionCreate, PartitionDelete or PartitionTrim record; others do nothing.
    pub fn apply(&mut self, block: &Block, record: &Record<'_>, out: &mut Out) {
        self.clock = self.clock.max(block.stamp);
        match record.kind {
            Kind::PartitionCreate => {
                if let Some(spec) = PartitionSpec::decode(record.body) {
                    self.create(spec);
                }
            }
            Kind::PartitionDelete => {
                if let Ok(id) = postcard::from_bytes::<PartitionId>(record.body) {
                    self.delete(id, out);
                }
            }
            Kind::PartitionTrim => {
                if let Ok((id, offset)) = postcard::from_bytes::<(PartitionId, u64)>(record.body)
                    && let Some(partition) = self.by_id.get_mut(&id)
                {
                    partition.trim(offset, &mut self.segments);
                }
            }
            _ => {}
        }
    }

    /// Answers `Request::PartitionInfo`.
    pub fn info(&self, partition: PartitionId) -> Result<PartitionInfo, FetchError> {
        let partition = self.by_id.get(&partition).ok_or(FetchError::UnknownPartition)?;
        Ok(PartitionInfo {
            log_start: partition.log_start,
            high_watermark: partition.next_offset,
            bytes: partition.bytes,
        })
    }

    /// `None`: no such partition. For provisioning and reconciling: what is there already need not be proposed.
    pub fn spec(&self, partition: PartitionId) -> Option<&PartitionSpec> {
        self.by_id.get(&partition).map(|partition| &partition.spec)
    }

    /// In no particular order.
    pub fn ids(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.by_id.keys().copied()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn log_start(&self, partition: PartitionId) -> Option<u64> {
        self.by_id.get(&partition).map(|partition| partition.log_start)
    }

    /// One past the last offset.
    pub fn high_watermark(&self, partition: PartitionId) -> Option<u64> {
        self.by_id.get(&partition).map(|partition| partition.next_offset)
    }

    /// Up to here readers of what is committed may read.
    pub fn last_stable(&self, partition: PartitionId) -> Option<u64> {
        self.by_id.get(&partition).map(|partition| partition.last_stable())
    }

    /// Answers `Request::Producers`.
    pub fn active_producers(&self, partition: PartitionId) -> Result<Vec<ActiveProducer>, FetchError> {
        let partition = self.by_id.get(&partition).ok_or(FetchError::UnknownPartition)?;
        Ok(partition.producers.as_ref().map(|producers| producers.active(self.clock)).unwrap_or_default())
    }

    /// Applies the part of a TxnAdmit record that is about partitions.
    pub fn admit(&mut self, block: &Block, record: &AdmitRecord) {
        self.clock = self.clock.max(block.stamp);
        for id in &record.partitions {
            if let Some(partition) = self.by_id.get_mut(id) {
                let producers = partition.producers.get_or_insert_default();
                producers.admit(record.producer, record.from_zero, self.clock);
            }
        }
    }

    /// Segments of the log (their position 0) that hold live batches, in order; cold files after them.
    pub fn live_segments(&self) -> impl Iterator<Item = (Lsn, LiveSegment)> + '_ {
        self.segments.iter()
    }

    fn create(&mut self, spec: PartitionSpec) {
        match self.by_id.get_mut(&spec.partition) {
            Some(partition) => partition.spec = spec,
            None => {
                self.by_id.insert(spec.partition, Box::new(Partition::new(spec)));
            }
        }
    }

    fn delete(&mut self, id: PartitionId, out: &mut Out) {
        if let Some(mut partition) = self.by_id.remove(&id) {
            partition.release(&mut self.segments);
            self.fire(&std::mem::take(&mut partition.watchers), out);
        }
    }

    fn sorted_ids(&self) -> Vec<PartitionId> {
        let mut ids: Vec<PartitionId> = self.ids().collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
impl Partitions {
    fn producers_of(&self, id: PartitionId) -> usize {
        self.by_id[&id].producers.as_ref().map_or(0, |producers| producers.live(self.clock).count())
    }

    /// Every watcher belongs to a watch, and the other way round.
    fn watches_are_consistent(&self) -> bool {
        let watchers = || self.by_id.values().flat_map(|p| p.watchers.iter().map(|w| (p.spec.partition, w)));
        watchers().all(|(id, w)| self.watches.get(&(w.session, w.token)).is_some_and(|ids| ids.contains(&id)))
            && self.watches.iter().all(|(&(session, token), ids)| {
                ids.iter().all(|id| watchers().any(|(p, w)| (p, w.session, w.token) == (*id, session, token)))
            })
    }
}
