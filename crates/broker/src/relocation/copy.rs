//! Copying records out of blocks, and laying them out in cold blocks.

use super::{Damaged, Draft, Rewrite, Run};
use crate::directory::Entry;
use crate::queue::Extent;
use bowline_model::block::BLOCK_PAYLOAD_SOFT_MAX;
use bowline_model::record::{self, APPEND_COMPACTED, Append, Publish};
use bowline_model::{AlignedBuf, BlockRef, Lsn, Millis, PartitionId, QueueId};
use bowline_stream::partition::{self, relocation};
use bytes::Bytes;
use std::collections::VecDeque;

/// Owners with little share a block up to this size, bytes.
const SHARED_BYTES_MAX: usize = 32 * 1024;
/// So many messages that are gone in between are written as empty records; for more, another block begins. An empty
/// record takes 13 to 17 bytes, a block up to 4 KiB.
const GAP_MAX: u64 = 64;
/// Offsets without batches that are passed over; in a wider gap empty batches keep the place. An extent counts up to
/// 2^32.
const GAP_OFFSETS_MAX: u64 = 1 << 30;

/// Copies the live messages of an extent as records for `queue` alone, in order. `entries`: all messages of the
/// queue in the block, of which the last `count` are the extent's. False if they are not there.
pub(super) fn copy_messages(
    block: &BlockRef,
    entries: &[Entry],
    queue: QueueId,
    (first, count): (u64, u32),
    settled: &[(u32, u32)],
    out: &mut Vec<u8>,
) -> bool {
    let Some(before) = entries.len().checked_sub(count as usize) else { return false };
    for seq in live(first, count, settled) {
        let Entry { offset, len } = entries[before + (seq - first) as usize];
        let Ok(found) = record::at(&block.payload, offset) else { return false };
        let Some(publish) = Publish::decode(found.body) else { return false };
        if publish.queues().eq([queue.0]) {
            out.extend_from_slice(&block.payload[offset as usize..(offset + len) as usize]);
        } else {
            let Publish { flags, exchange, routing_key, properties, extras, body, .. } = publish;
            let (queues, body) = ([queue.0].into_iter(), [body].into_iter());
            Publish::encode_with(out, flags, queues, exchange, routing_key, properties, &extras, body);
        }
    }
    true
}

/// Copies the batches of an extent, or what `rewrite` makes of them. False if they are not there.
pub(super) fn copy_batches(
    block: &BlockRef,
    partition: PartitionId,
    extent: &partition::Extent,
    rewrite: Option<&mut (dyn Rewrite + '_)>,
    out: &mut Vec<u8>,
) -> bool {
    let Some(rewrite) = rewrite else {
        return relocation::batches(block, partition, extent, |batch| {
            Append::encode(out, partition.0, batch.flags, batch.bytes);
        });
    };
    let mut whole = true;
    let there = relocation::batches(block, partition, extent, |batch| {
        let flags = batch.flags | APPEND_COMPACTED;
        match rewrite.batch(partition, &batch) {
            Ok(Some(bytes)) => Append::encode(out, partition.0, flags, &bytes),
            Ok(None) => {}
            Err(Damaged) => whole = false,
        }
    });
    there && whole
}

/// The numbers of an extent's messages that are not settled.
fn live(first: u64, count: u32, settled: &[(u32, u32)]) -> impl Iterator<Item = u64> + '_ {
    let ends = settled.iter().map(|&(at, n)| at + n);
    let starts = settled.iter().map(|&(at, _)| at).chain([count]);
    let spans = [0].into_iter().chain(ends).zip(starts);
    spans.flat_map(move |(from, to)| from..to).map(move |i| first + u64::from(i))
}

/// A part of a block: what will be an extent when the block has its place.
#[derive(Debug)]
pub(super) struct Part {
    run: usize,
    owner: Owner,
    first: u64,
    count: u64,
    record_position: u32,
    bytes: u32,
    max_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Queue(QueueId),
    Partition(PartitionId),
}

/// The open block and those that are full, and what has its place already.
#[derive(Debug, Default)]
pub(super) struct Cold {
    open: Option<AlignedBuf>,
    n_records: u32,
    parts: Vec<Part>,
    full: VecDeque<(AlignedBuf, u32, Vec<Part>)>,
    runs: Vec<Run>,
    /// The owner of the last run, if the next record may go on with it.
    running: Option<Owner>,
    /// Of the running partition: below this offset extents are laid out, and up to that one nothing is left to lay out.
    covered: u64,
    upto: u64,
    /// See [`super::Relocation::keep_places`].
    pub empty: Option<fn(u64, u32) -> Bytes>,
    scratch: Vec<u8>,
}

impl Cold {
    /// What comes next belongs to another run, even if it has the same owner.
    pub fn interrupt(&mut self) {
        if let Some(Owner::Partition(partition)) = self.running {
            self.keep_place(partition, self.upto);
        }
        self.running = None;
    }

    /// Lays out the copied live messages of an extent.
    pub fn put_messages(
        &mut self,
        queue: QueueId,
        (first, count): (u64, u32),
        settled: &[(u32, u32)],
        copied: &[u8],
    ) {
        for (seq, found) in live(first, count, settled).zip(record::iter(copied).map_while(Result::ok)) {
            let bytes = &copied[found.offset as usize..(found.offset + found.len) as usize];
            self.put_message(queue, seq, bytes);
        }
    }

    fn put_message(&mut self, queue: QueueId, seq: u64, bytes: &[u8]) {
        let owner = Owner::Queue(queue);
        let run = self.run(owner);
        match self.continued(run, bytes.len()) {
            Some(end) if seq - end <= GAP_MAX => {
                let mut gone = std::mem::take(&mut self.scratch);
                gone.clear();
                Publish::encode(&mut gone, 0, [queue.0].into_iter(), b"", b"", b"", std::iter::empty());
                for _ in end..seq {
                    self.append(&gone, 1, 0, i64::MIN);
                }
                self.scratch = gone;
            }
            _ => self.begin_part(run, owner, seq, bytes.len()),
        }
        self.append(bytes, 1, 0, i64::MIN);
    }

    /// Lays out the copied batches of an extent.
    pub fn put_batches(&mut self, partition: PartitionId, extent: &partition::Extent, copied: &[u8]) {
        let owner = Owner::Partition(partition);
        let begins = self.running != Some(owner);
        let run = self.run(owner);
        if begins {
            self.covered = extent.first_offset;
        }
        self.upto = extent.end();
        let mut next = extent.first_offset;
        for found in record::iter(copied).map_while(Result::ok) {
            let Some(append) = Append::decode(found.body) else { return };
            let Some((base, count, max_timestamp)) = relocation::head(&append, next, extent) else { return };
            let bytes = &copied[found.offset as usize..(found.offset + found.len) as usize];
            next = base + u64::from(count);
            if base - self.covered > GAP_OFFSETS_MAX {
                self.keep_place(partition, base);
            }
            self.put_batch(run, owner, bytes, append.batch.len() as u32, (next, max_timestamp));
        }
    }

    /// Lays out a batch, whose extent covers what is not covered below it as well. `end`: the offset behind it.
    fn put_batch(
        &mut self,
        run: usize,
        owner: Owner,
        bytes: &[u8],
        len: u32,
        (end, max_timestamp): (u64, i64),
    ) {
        if self.continued(run, bytes.len()) != Some(self.covered) {
            self.begin_part(run, owner, self.covered, bytes.len());
        }
        let count = (end - self.covered) as u32;
        self.append(bytes, count, len, max_timestamp);
        self.covered = end;
    }

    /// Offsets up to `upto` that no batch has any more are covered by batches without records.
    fn keep_place(&mut self, partition: PartitionId, upto: u64) {
        while self.covered < upto {
            let count = (upto - self.covered).min(GAP_OFFSETS_MAX) as u32;
            let Some(empty) = self.empty else {
                debug_assert!(false, "only a rewriting leaves gaps");
                return;
            };
            let empty = empty(self.covered, count);
            let mut record = std::mem::take(&mut self.scratch);
            record.clear();
            Append::encode(&mut record, partition.0, APPEND_COMPACTED, &empty);
            let (run, end) = (self.runs.len() - 1, self.covered + u64::from(count));
            let owner = Owner::Partition(partition);
            self.put_batch(run, owner, &record, empty.len() as u32, (end, relocation::NO_RECORDS));
            self.scratch = record;
        }
    }

    /// The run that the next record of `owner` belongs to.
    fn run(&mut self, owner: Owner) -> usize {
        if self.running != Some(owner) {
            self.interrupt();
            self.running = Some(owner);
            self.runs.push(match owner {
                Owner::Queue(queue) => Run::Messages { queue, extents: Vec::new() },
                Owner::Partition(partition) => Run::Batches { partition, extents: Vec::new() },
            });
        }
        self.runs.len() - 1
    }

    /// Where the last part ends, if a record of `run` and of `len` bytes may go on with it.
    fn continued(&self, run: usize, len: usize) -> Option<u64> {
        let last = self.parts.last()?;
        let roomy = self.open_bytes() + len <= BLOCK_PAYLOAD_SOFT_MAX && last.count < u64::from(u32::MAX / 2);
        (last.run == run && roomy).then_some(last.first + last.count)
    }

    fn begin_part(&mut self, run: usize, owner: Owner, first: u64, len: usize) {
        // A block has one part an owner: a directory could not tell two of them apart.
        let again = self.parts.last().is_some_and(|last| last.owner == owner);
        if again || self.open_bytes() + len > SHARED_BYTES_MAX {
            self.close();
        }
        let record_position = self.open_bytes() as u32;
        self.parts.push(Part {
            run,
            owner,
            first,
            count: 0,
            record_position,
            bytes: 0,
            max_timestamp: i64::MIN,
        });
    }

    fn append(&mut self, record: &[u8], count: u32, batch_bytes: u32, max_timestamp: i64) {
        let open = self.open.get_or_insert_with(|| AlignedBuf::with_payload_capacity(SHARED_BYTES_MAX));
        open.extend_from_slice(record);
        self.n_records += 1;
        if let Some(part) = self.parts.last_mut() {
            part.count += u64::from(count);
            part.bytes += batch_bytes;
            part.max_timestamp = part.max_timestamp.max(max_timestamp);
        }
    }

    fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, AlignedBuf::payload_len)
    }

    /// Nothing more is coming.
    pub fn end(&mut self) {
        self.interrupt();
        self.close();
    }

    /// The open block is complete.
    fn close(&mut self) {
        if let Some(buf) = self.open.take() {
            self.full.push_back((buf, std::mem::take(&mut self.n_records), std::mem::take(&mut self.parts)));
        }
    }

    /// Has the blocks that are complete written.
    pub fn write<E>(
        &mut self,
        stamp: Millis,
        write: &mut impl FnMut(Draft) -> Result<Lsn, E>,
    ) -> Result<(), E> {
        while let Some((buf, n_records, mut parts)) = self.full.pop_front() {
            let lsn = write(Draft { buf, n_records, stamp })?;
            parts.drain(..).for_each(|part| self.place(lsn, &part));
        }
        Ok(())
    }

    fn place(&mut self, lsn: Lsn, part: &Part) {
        let &Part { run, first, count, record_position, bytes, max_timestamp, .. } = part;
        let count = count as u32;
        match &mut self.runs[run] {
            Run::Messages { extents, .. } => extents.push(Extent { lsn, first, count, live: 0 }),
            Run::Batches { extents, .. } => extents.push(partition::Extent {
                lsn,
                first_offset: first,
                max_timestamp,
                count,
                record_position,
                bytes,
            }),
        }
    }

    pub fn into_runs(self) -> Vec<Run> {
        debug_assert!(self.open.is_none() && self.full.is_empty(), "everything is written");
        self.runs
    }
}
