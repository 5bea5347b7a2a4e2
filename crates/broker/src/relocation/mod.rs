//! Relocation: what still lives in a segment that is given up is copied, sorted by queue and partition, into a cold
//! file, so that one forgotten queue cannot pin the log. What died young is never written twice.
//!
//! ```text
//! Shard::plan_relocation(files) ─► Relocation: which extents there are to copy
//!     begin_pass(budget) ─► blocks to read ─► take(block) … ─► end_pass(write) ─► Draft ─► its place   until nothing is left
//!     finish() ─► Moved ─► Shard::relocated, once the cold file is durable
//! ```
//! Copying happens away from the shard's thread, while the shard goes on; what is settled, trimmed or deleted
//! meanwhile is noticed when the extents are swapped. The swap is not logged. A checkpoint taken before it lists the
//! old segment, one taken after it the cold file; storage keeps whatever a checkpoint lists, so a crash at any
//! moment finds either.
//!
//! A cold block holds Publish records, each for one queue, and Append records. Messages of a queue lie in it as one
//! run of consecutive numbers: a few that are gone in between are there as empty records and count as settled; if
//! many are gone, the run ends and another block begins. So the index needs nothing that it does not have for the
//! log: an extent is (block, first number, count), and a [`crate::directory::Directory`] finds the nth record.

mod copy;

use crate::queue::Extent;
use bowline_model::{AlignedBuf, BlockRef, Lsn, Millis, PartitionId, QueueId, ShardId};
pub use bowline_stream::partition::relocation::Batch;
use bowline_stream::partition::relocation::Planned;
use bytes::Bytes;
use copy::{Cold, copy_batches, copy_messages};
use std::collections::{BTreeMap, BTreeSet};

/// What a file still holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    pub extents: u64,
    /// What it would take to copy it, by the mean length of each queue's messages. A message for n queues of the
    /// shard counts n times.
    pub bytes: u64,
}

impl Held {
    pub fn add(&mut self, extents: u64, bytes: u64) {
        self.extents += extents;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What becomes of the batches of partitions on their way: compaction.
pub trait Rewrite {
    /// The batch as it is to be written, with its base offset in it; `None`: nothing of it is wanted any more.
    ///
    /// # Errors
    /// It cannot be read.
    fn batch(&mut self, partition: PartitionId, batch: &Batch<'_>) -> Result<Option<Bytes>, Damaged>;
}

/// A batch that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

/// By file (see [`Lsn::file`]): segments of the log, oldest first, then cold files.
pub type Survey = BTreeMap<Lsn, Held>;

/// A block for the cold file: records of one shard.
#[derive(Debug)]
pub struct Draft {
    pub buf: AlignedBuf,
    pub n_records: u32,
    /// The youngest of the blocks that its records come from.
    pub stamp: Millis,
}

/// Where the content of `files` lies now.
#[derive(Debug)]
pub struct Moved {
    pub(crate) files: BTreeSet<Lsn>,
    pub(crate) runs: Vec<Run>,
}

impl Moved {
    /// Nothing was copied.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// New extents that take the place of a run of old ones, all or none.
#[derive(Debug)]
pub(crate) enum Run {
    /// `live` of the extents means nothing yet.
    Messages {
        queue: QueueId,
        extents: Vec<Extent>,
    },
    Batches {
        partition: PartitionId,
        extents: Vec<bowline_stream::partition::Extent>,
    },
}

/// An extent to copy.
#[derive(Debug)]
struct Item {
    what: What,
    /// It follows the item before it without anything between them that is not planned.
    joined: bool,
}

#[derive(Debug)]
enum What {
    Messages { queue: QueueId, lsn: Lsn, first: u64, count: u32, settled: Vec<(u32, u32)> },
    Batches { partition: PartitionId, extent: bowline_stream::partition::Extent },
}

/// Copying the live content of some files of one shard.
///
/// It is done in passes, each over the blocks in log order, so that reading is sequential; what a pass can hold in
/// memory is written, in order of queue and partition, and the next pass takes up there.
#[derive(Debug)]
pub struct Relocation {
    shard: ShardId,
    files: BTreeSet<Lsn>,
    /// Queues by id and number, then partitions by id and offset.
    items: Vec<Item>,
    /// Items below are done.
    done: usize,
    /// This pass goes so far.
    upto: usize,
    /// The items of this pass by block.
    by_block: BTreeMap<Lsn, Vec<usize>>,
    /// What was copied: framed records.
    copied: BTreeMap<usize, Vec<u8>>,
    copied_bytes: usize,
    bytes_max: usize,
    stamp: Millis,
    cold: Cold,
    whole: bool,
}

impl Relocation {
    pub(crate) fn new(shard: ShardId, files: BTreeSet<Lsn>) -> Relocation {
        Relocation {
            shard,
            files,
            items: Vec::new(),
            done: 0,
            upto: 0,
            by_block: BTreeMap::new(),
            copied: BTreeMap::new(),
            copied_bytes: 0,
            bytes_max: 0,
            stamp: 0,
            cold: Cold::default(),
            whole: true,
        }
    }

    pub(crate) fn plan_messages(
        &mut self,
        queue: QueueId,
        (lsn, first, count): (Lsn, u64, u32),
        settled: Vec<(u32, u32)>,
        joined: bool,
    ) {
        self.items.push(Item { what: What::Messages { queue, lsn, first, count, settled }, joined });
    }

    pub(crate) fn plan_batches(&mut self, Planned { partition, extent, joined }: Planned) {
        self.files.insert({ extent.lsn }.file());
        self.items.push(Item { what: What::Batches { partition, extent }, joined });
    }

    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// There is nothing to copy.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Begins a pass that holds about `bytes_max` in memory: the blocks to read and to hand to
    /// [`Relocation::take`], in log order. Empty: everything is done.
    pub fn begin_pass(&mut self, bytes_max: usize) -> Vec<Lsn> {
        self.upto = self.items.len();
        self.bytes_max = bytes_max;
        self.by_block.clear();
        // What batches take is known; only a rewriting may make them smaller.
        let mut bytes = 0;
        for (i, item) in self.items.iter().enumerate().skip(self.done) {
            let lsn = match &item.what {
                What::Messages { lsn, .. } => *lsn,
                What::Batches { extent, .. } => {
                    bytes += extent.bytes as usize;
                    extent.lsn
                }
            };
            if bytes > bytes_max && i > self.done {
                self.upto = i;
                break;
            }
            self.by_block.entry(lsn).or_default().push(i);
        }
        self.by_block.keys().copied().collect()
    }

    /// Nothing of the block at `lsn` is wanted any more in this pass.
    pub fn is_past(&self, lsn: Lsn) -> bool {
        self.by_block.get(&lsn).is_none_or(|items| items[0] >= self.upto)
    }

    /// Copies what is wanted of `block`. What it does not hold, though the index says so, stays where it is.
    pub fn take(&mut self, block: &BlockRef) {
        self.take_as(block, None);
    }

    /// The same; batches go through `rewrite`.
    pub fn take_as(&mut self, block: &BlockRef, mut rewrite: Option<&mut dyn Rewrite>) {
        let Some(wanted) = self.by_block.remove(&block.lsn) else { return };
        if block.shard != self.shard {
            return;
        }
        self.stamp = self.stamp.max(block.stamp);
        let mut directory = None;
        for i in wanted {
            if i >= self.upto {
                break;
            }
            let mut out = Vec::new();
            let whole = match &self.items[i].what {
                What::Messages { queue, first, count, settled, .. } => {
                    let directory = directory.get_or_insert_with(|| crate::directory::Directory::new(block));
                    copy_messages(block, directory.of(*queue), *queue, (*first, *count), settled, &mut out)
                }
                What::Batches { partition, extent } => {
                    let rewrite = rewrite.as_mut().map(|rewrite| &mut **rewrite as &mut dyn Rewrite);
                    copy_batches(block, *partition, extent, rewrite, &mut out)
                }
            };
            if !whole {
                continue;
            }
            self.copied_bytes += out.len();
            self.copied.insert(i, out);
            while self.copied_bytes > self.bytes_max
                && self.copied.len() > 1
                && let Some((last, out)) = self.copied.pop_last()
            {
                self.copied_bytes -= out.len();
                self.upto = last;
            }
        }
    }

    /// Writes what was copied: `write` puts a block into the cold file and tells its place there. What was wanted
    /// and not taken is left where it is.
    ///
    /// # Errors
    /// That of `write`; the relocation is no use then.
    pub fn end_pass<E>(&mut self, mut write: impl FnMut(Draft) -> Result<Lsn, E>) -> Result<(), E> {
        for i in self.done..self.upto {
            let item = &self.items[i];
            let Some(copied) = self.copied.remove(&i) else {
                self.whole = false;
                self.cold.interrupt();
                continue;
            };
            if !item.joined {
                self.cold.interrupt();
            }
            match &item.what {
                What::Messages { queue, first, count, settled, .. } => {
                    self.cold.put_messages(*queue, (*first, *count), settled, &copied);
                }
                What::Batches { partition, extent } => self.cold.put_batches(*partition, extent, &copied),
            }
            self.copied_bytes -= copied.len();
            self.cold.write(self.stamp, &mut write)?;
        }
        self.done = self.upto;
        if self.done == self.items.len() {
            self.cold.end();
            self.cold.write(self.stamp, &mut write)?;
        }
        debug_assert!(self.copied.is_empty());
        Ok(())
    }

    /// What is taken will be rewritten. `empty` makes a batch without records that takes so many offsets from the first
    /// on: where nothing is left, one of these keeps the place.
    pub fn keep_places(&mut self, empty: fn(u64, u32) -> Bytes) {
        self.cold.empty = Some(empty);
    }

    /// Nothing that was planned has been left where it is.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Everything is written.
    pub fn finish(self) -> Moved {
        Moved { files: self.files, runs: self.cold.into_runs() }
    }
}
