//! One partition.

use super::batch::{self, Header};
use super::compaction::Progress;
use super::extent::{Extent, Extents};
use super::producer::{Producers, Verdict};
use super::segments::Segments;
use super::watch::Watcher;
use bowline_model::event::{AppendError, Appended};
use bowline_model::record::Append;
use bowline_model::request::PartitionSpec;
use bowline_model::transferred::Transferred;
use bowline_model::txn::{commits, coordinator_epoch};
use bowline_model::{Block, Millis};

/// Kept small: there are tens of thousands, and most sleep.
#[derive(Debug)]
pub struct Partition {
    pub spec: PartitionSpec,
    /// Offset of the next record. State changes only by committed blocks, so this is the high watermark.
    pub next_offset: u64,
    /// Nothing below is served. May lie inside the first extent.
    pub log_start: u64,
    /// Bytes of all batches of all extents.
    pub bytes: u64,
    /// One node has one leader for ever; replication will count here.
    pub leader_epoch: i32,
    /// A batch was refused or was a duplicate since the last extent was made, so that extent must not grow: its
    /// batches would no longer follow one another. Only means something within a block.
    extent_closed: bool,
    pub extents: Extents,
    pub producers: Option<Box<Producers>>,
    /// Batches that came from queues of other shards.
    pub transferred: Option<Box<Transferred>>,
    /// How far it has been compacted.
    pub compacted: Option<Box<Progress>>,
    /// Volatile.
    pub watchers: Vec<Watcher>,
    /// Volatile: a share group wants to know when it grows.
    pub is_shared: bool,
}

const _: () = assert!(size_of::<Partition>() <= 256);

impl Partition {
    pub fn new(spec: PartitionSpec) -> Partition {
        Partition {
            spec,
            next_offset: 0,
            log_start: 0,
            bytes: 0,
            leader_epoch: 0,
            extent_closed: false,
            extents: Extents::default(),
            producers: None,
            transferred: None,
            compacted: None,
            watchers: Vec::new(),
            is_shared: false,
        }
    }

    /// Takes the batch whose record frame begins at `record_position` of `block`, or says why not.
    pub fn append(
        &mut self,
        block: &Block,
        record_position: u32,
        append: &Append<'_>,
        clock: Millis,
        segments: &mut Segments,
    ) -> Result<Appended, AppendError> {
        let batch = append.batch;
        if let Some((queue, number)) = append.from
            && !self.transferred.get_or_insert_default().insert(queue, number)
        {
            self.extent_closed = true;
            // Nobody asks for the offset.
            return Ok(Appended { base_offset: self.next_offset, log_start: self.log_start });
        }
        // The front end lets nothing malformed through. If something got here all the same, it has no sequence
        // that could be in order, and is refused for good.
        let Some(header) = batch::parse(batch) else {
            self.extent_closed = true;
            return Err(AppendError::OutOfOrderSequence);
        };
        if header.is_control() {
            return self.mark(block, record_position, append, &header, clock, segments);
        }
        match self.check(&header, clock) {
            Verdict::Append => {
                let base_offset = self.next_offset;
                self.index(block, record_position, batch.len() as u32, &header, segments);
                if header.producer_id > batch::NO_PRODUCER {
                    self.producers.get_or_insert_default().record(&header, base_offset, clock);
                }
                Ok(Appended { base_offset, log_start: self.log_start })
            }
            Verdict::Duplicate(base_offset) => {
                self.extent_closed = true;
                Ok(Appended { base_offset, log_start: self.log_start })
            }
            Verdict::Refuse(error) => {
                self.extent_closed = true;
                Err(error)
            }
        }
    }

    /// Raises the log start to `offset`, at most to the end, and lets go of extents that lie below it.
    pub fn trim(&mut self, offset: u64, segments: &mut Segments) {
        self.log_start = self.log_start.max(offset.min(self.next_offset));
        while self.extents.first().is_some_and(|extent| extent.end() <= self.log_start) {
            self.drop_first(segments);
        }
        if let Some(producers) = &mut self.producers {
            producers.trim(self.log_start);
        }
    }

    /// Lets go of everything; the partition is about to be dropped.
    pub fn release(&mut self, segments: &mut Segments) {
        while self.extents.len() > 0 {
            self.drop_first(segments);
        }
    }

    fn check(&self, header: &Header, clock: Millis) -> Verdict {
        match &self.producers {
            Some(producers) if header.producer_id > batch::NO_PRODUCER => producers.check(header, clock),
            None if header.producer_id > batch::NO_PRODUCER => Producers::default().check(header, clock),
            _ => Verdict::Append,
        }
    }

    /// Takes the marker that ends a transaction, if that is open here: else it has come before, or the transaction
    /// never got here, and there is nothing to end. An administrator's may be refused.
    fn mark(
        &mut self,
        block: &Block,
        record_position: u32,
        append: &Append<'_>,
        header: &Header,
        clock: Millis,
        segments: &mut Segments,
    ) -> Result<Appended, AppendError> {
        let (base_offset, log_start) = (self.next_offset, self.log_start);
        let marker = append.batch;
        if let Some(producers) = &mut self.producers
            && let Err(error) = producers.admit_marker(header, append.flags, coordinator_epoch(marker))
        {
            self.extent_closed = true;
            return Err(error);
        }
        let open = self.producers.as_ref().is_some_and(|producers| producers.is_open(header));
        let (Some(commit), true) = (commits(marker), open) else {
            self.extent_closed = true;
            return Ok(Appended { base_offset, log_start });
        };
        self.index(block, record_position, marker.len() as u32, header, segments);
        if let Some(producers) = &mut self.producers {
            producers.end(header, commit, base_offset, clock);
        }
        Ok(Appended { base_offset, log_start })
    }

    /// Up to here readers of what is committed may read: the first offset of the oldest open transaction, or the end.
    pub fn last_stable(&self) -> u64 {
        let first_open = self.producers.as_ref().and_then(|producers| producers.first_open());
        first_open.map_or(self.next_offset, |first| first.max(self.log_start))
    }

    fn index(
        &mut self,
        block: &Block,
        record_position: u32,
        bytes: u32,
        header: &Header,
        segments: &mut Segments,
    ) {
        let max_timestamp = if header.max_timestamp < 0 { block.stamp as i64 } else { header.max_timestamp };
        let first_offset = self.next_offset;
        self.next_offset += u64::from(header.count);
        self.bytes += u64::from(bytes);
        if !self.extent_closed
            && let Some(last) = self.extents.last_mut()
            && { last.lsn } == block.lsn
            && let Some(count) = last.count.checked_add(header.count)
        {
            last.count = count;
            last.bytes += bytes;
            last.max_timestamp = max_timestamp.max(last.max_timestamp);
            segments.add_bytes(block.lsn, bytes);
            return;
        }
        self.extent_closed = false;
        segments.add_extent(block.lsn, bytes);
        self.extents.push(Extent {
            lsn: block.lsn,
            first_offset,
            max_timestamp,
            count: header.count,
            record_position,
            bytes,
        });
    }

    fn drop_first(&mut self, segments: &mut Segments) {
        if let Some(extent) = self.extents.pop_first() {
            self.bytes -= u64::from(extent.bytes);
            segments.remove(&extent);
        }
    }
}
