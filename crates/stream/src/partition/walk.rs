//! Walking the batches of an extent in its block, and planning which blocks to ask for.

use super::READ_BYTES_MAX;
use super::batch::{self, Header};
use super::extent::Extent;
use crate::out::Read;
use bowline_model::block::BLOCK_HEADER_BYTES;
use bowline_model::event::BatchSlice;
use bowline_model::record::{self, APPEND_COMPACTED, Append, Kind};
use bowline_model::{BlockRef, Lsn};
use std::collections::BTreeMap;

/// A gap between two wanted blocks that is read along rather than read around, bytes.
const READ_GAP_MAX: u64 = 64 * 1024;

/// The block does not hold what the index says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;

/// Batches of one extent, in order, with their heads. Offsets may be missing before, between and behind those that
/// compaction wrote, so the extent's bytes tell where it ends.
pub struct Batches<'a> {
    block: &'a BlockRef,
    records: record::Iter<'a>,
    partition: u32,
    next_offset: u64,
    end: u64,
    bytes_left: u32,
}

impl<'a> Batches<'a> {
    pub fn new(block: &'a BlockRef, partition: u32, extent: &Extent) -> Batches<'a> {
        Batches {
            block,
            records: record::iter_from(&block.payload, extent.record_position),
            partition,
            next_offset: extent.first_offset,
            end: extent.end(),
            bytes_left: extent.bytes,
        }
    }

    fn next_batch(&mut self) -> Result<(BatchSlice, Header), Broken> {
        loop {
            let record = self.records.next().ok_or(Broken)?.map_err(|_| Broken)?;
            if record.kind != Kind::Append {
                continue;
            }
            let append = Append::decode(record.body).ok_or(Broken)?;
            if append.partition != self.partition {
                continue;
            }
            let header = batch::parse(append.batch).ok_or(Broken)?;
            let base_offset = match append.flags & APPEND_COMPACTED {
                0 => self.next_offset,
                _ => u64::try_from(header.base_offset).map_err(|_| Broken)?,
            };
            let end = base_offset.checked_add(u64::from(header.count)).ok_or(Broken)?;
            if base_offset < self.next_offset || end > self.end {
                return Err(Broken);
            }
            self.next_offset = end;
            let len = append.batch.len() as u32;
            self.bytes_left = self.bytes_left.checked_sub(len).ok_or(Broken)?;
            let offset = record.offset + record.len - len;
            let block = self.block.clone();
            return Ok((BatchSlice { block, offset, len, base_offset, flags: append.flags }, header));
        }
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<(BatchSlice, Header), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes_left == 0 {
            return None;
        }
        let item = self.next_batch();
        if item.is_err() {
            self.bytes_left = 0;
        }
        Some(item)
    }
}

/// Blocks that one request wants read; at most [`READ_BYTES_MAX`], though always one.
#[derive(Debug, Default)]
pub struct ReadPlan {
    /// Least length of each block with its header, bytes.
    blocks: BTreeMap<Lsn, u64>,
    bytes: u64,
}

impl ReadPlan {
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// False: the plan is full, and the block is not in it.
    pub fn add(&mut self, extent: &Extent) -> bool {
        let need = BLOCK_HEADER_BYTES as u64 + extent.block_bytes_min();
        let planned = self.blocks.get(&{ extent.lsn }).copied().unwrap_or(0);
        let more = need.saturating_sub(planned);
        if !self.is_empty() && self.bytes + more > u64::from(READ_BYTES_MAX) {
            return false;
        }
        self.bytes += more;
        self.blocks.insert(extent.lsn, need.max(planned));
        true
    }

    /// Neighbours together, in log order.
    pub fn into_reads(self) -> Vec<Read> {
        let mut reads: Vec<Read> = Vec::new();
        for (lsn, len) in self.blocks {
            if let Some(run) = reads.last_mut()
                && run.lsn.0 >> 32 == lsn.0 >> 32
            {
                let distance = lsn.0 - run.lsn.0;
                let end = distance + len;
                if distance <= u64::from(run.max_bytes) + READ_GAP_MAX && end <= u64::from(READ_BYTES_MAX) {
                    run.max_bytes = run.max_bytes.max(end as u32);
                    continue;
                }
            }
            reads.push(Read { lsn, max_bytes: len.min(u64::from(READ_BYTES_MAX)) as u32 });
        }
        reads
    }
}
