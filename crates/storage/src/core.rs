//! The log without its disk: where each block goes, which write carries it, and when it counts as durable.
//!
//! ```text
//! place(append) -> lsn      into the active segment, rolling to the next when it is full
//! take() -> WriteOp         a run of adjacent queued blocks; several ops may be out at a time
//!   op.seal(&mut chain)     headers and checksums, in the order of take()
//!   (somebody writes op.slices() at op.position, durably)
//! completed(op) / failed(op, error)
//! take_durable()            blocks that became durable in order; or dropped, with the error, when poisoned
//! ```
//!
//! Invariants: lsns are handed out in order of `place`; a block is durable only when all before it are;
//! after a failure nothing becomes durable any more. No I/O, no clock, no threads: the writer threads
//! ([`crate::writer`]) and the simulation ([`crate::Driver`]) drive the same code.

use crate::error::{AppendError, Fatal};
use crate::header::{BlockHeader, FLAG_CLOSED, FLAG_COLD, SEGMENT_HEADER_BYTES, SYSTEM_SHARD, block_bytes};
use crate::shard_index::ShardIndexes;
use crate::types::Append;
use bowline_model::block::BLOCK_HEADER_BYTES;
use bowline_model::record::{self, Kind};
use bowline_model::{AlignedBuf, Block, BlockRef, Lsn, Millis, ShardId};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

/// Most blocks that one write carries: far below what the kernel takes in one vectored write.
const BLOCKS_PER_WRITE_MAX: usize = 256;
/// The pool of prepared segments is filled when this part of the active one is in use.
const IN_USE_DIVISOR: u32 = 16;
/// Fewer zeros than this are not worth a write, bytes.
pub const FILL_STEP_BYTES: u32 = 64 << 10;
/// Zeros are written in multiples of this, bytes: direct writes want whole sectors.
const FILL_ALIGN: u32 = 4096;

/// A block with its place in the log (or in a cold file).
#[derive(Debug)]
pub struct Placed {
    pub lsn: Lsn,
    epoch: u64,
    flags: u16,
    pub shard: ShardId,
    pub term: u64,
    pub index: u64,
    pub stamp: Millis,
    pub n_records: u32,
    payload_len: u32,
    buf: AlignedBuf,
}

/// What the next header must say about the block before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Chain {
    pub lsn: Lsn,
    pub crc: u32,
}

/// One durable write of adjacent blocks.
#[derive(Debug)]
pub struct WriteOp {
    id: u64,
    pub segment: u32,
    pub position: u32,
    durable_upto: Lsn,
    blocks: Vec<Placed>,
}

struct Active {
    number: u32,
    epoch: u64,
    position: u32,
    capacity: u32,
}

struct Flight {
    id: u64,
    last: Lsn,
    /// Set when its write is done and an earlier one is not.
    parked: Option<Vec<Placed>>,
}

/// What became of blocks: [`LogCore::take_durable`].
pub enum Outcome {
    Durable(Vec<Placed>),
    Failed(Vec<Placed>, Fatal),
}

/// A segment that should be prepared, or prepared further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub number: u32,
    pub epoch: u64,
    pub capacity: u32,
    /// It should be filled with zeros up to here by now, bytes.
    pub filled_to: u32,
    /// Blocks are waiting for it: no time for zeroing.
    pub urgent: bool,
}

/// How far a new segment file is filled with zeros.
#[derive(Clone, Copy)]
struct Filling {
    /// [`LogCore::placed_bytes`] when it had got there.
    since: u64,
    filled: u32,
}

/// See the module's head.
pub struct LogCore {
    sector_bytes: u32,
    segment_bytes: u32,
    write_bytes_max: usize,
    ready_segments: u32,
    epoch_seed: u64,
    active: Option<Active>,
    /// Number and capacity of the segment that this process began with.
    began: (u32, u32),
    /// Segments up to this number have their file, header and name on disk.
    prepared_upto: u32,
    queue: VecDeque<Placed>,
    queued_bytes: usize,
    flights: VecDeque<Flight>,
    next_op: u64,
    outcomes: VecDeque<Outcome>,
    durable: Lsn,
    /// On a relaxed disk, how far a sync has made sure; `None`: every write is durable when it returns.
    synced: Option<Lsn>,
    last_placed: Lsn,
    /// The last block placed is one of ours that records the durable position.
    sealed: bool,
    /// Bytes of all blocks placed.
    placed_bytes: u64,
    /// The segment that is wanted is a new file, and has been begun.
    filling: Option<Filling>,
    alarm: bool,
    /// Only the closing seal is still accepted.
    closing: bool,
    poisoned: Option<Fatal>,
    unprepared_rolls: u64,
    pub(crate) shards: ShardIndexes,
}

impl LogCore {
    pub fn new(sector_bytes: u32, options: &crate::Options) -> LogCore {
        LogCore {
            sector_bytes,
            segment_bytes: options.segment_bytes,
            write_bytes_max: options.write_bytes_max,
            ready_segments: options.ready_segments,
            epoch_seed: options.epoch_seed,
            active: None,
            began: (0, options.segment_bytes),
            prepared_upto: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            flights: VecDeque::new(),
            next_op: 0,
            outcomes: VecDeque::new(),
            durable: Lsn::default(),
            synced: None,
            last_placed: Lsn::default(),
            sealed: true,
            placed_bytes: 0,
            filling: None,
            alarm: false,
            closing: false,
            poisoned: None,
            unprepared_rolls: 0,
            shards: ShardIndexes::default(),
        }
    }

    /// Begins appending: `number` is a prepared segment without blocks; `prepared_upto` the last prepared.
    /// `last` is the last block of the log so far, `sealed` whether it records the durable position.
    pub fn start(&mut self, number: u32, capacity: u32, prepared_upto: u32, last: Lsn, sealed: bool) {
        assert!(
            self.active.is_none() && prepared_upto >= number,
            "a log is started once, on a prepared segment"
        );
        let epoch = self.epoch_for(number);
        self.active = Some(Active { number, epoch, position: SEGMENT_HEADER_BYTES, capacity });
        self.began = (number, capacity);
        self.prepared_upto = prepared_upto;
        self.durable = last;
        self.last_placed = last;
        self.sealed = sealed;
    }

    /// The epoch of segment `number` in this process: unlike all before and hard to guess.
    pub fn epoch_for(&self, number: u32) -> u64 {
        let mut x = self.epoch_seed ^ (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)).max(1)
    }

    /// Length of segment `number`: from a small first one each has twice that of the one before. So what has to be
    /// filled with zeros is never much more than what is appended meanwhile.
    fn capacity_of(&self, number: u32) -> u32 {
        let (first, capacity) = self.began;
        let doublings = number.saturating_sub(first).min(u32::BITS);
        (u64::from(capacity) << doublings).min(u64::from(self.segment_bytes)) as u32
    }

    pub fn place(&mut self, append: Append) -> Result<Lsn, AppendError> {
        self.check_open()?;
        if let Some(expected) = self.shards.expected(append.shard)
            && expected != append.index
        {
            return Err(AppendError::Index { shard: append.shard.0, expected, got: append.index });
        }
        if append.index == 0 || append.shard == SYSTEM_SHARD {
            return Err(AppendError::Index { shard: append.shard.0, expected: 1, got: append.index });
        }
        let (shard, term, index) = (append.shard, append.term, append.index);
        let lsn = self.put(append, 0)?;
        self.shards.push(shard, term, index, lsn);
        self.sealed = false;
        Ok(lsn)
    }

    /// Places a record that voids the entries of `shard` from `from_index` on.
    pub fn place_truncate(&mut self, shard: ShardId, from_index: u64) -> Result<Lsn, AppendError> {
        self.check_open()?;
        let lsn = self.put(own_block(shard, Kind::Truncate, &from_index.to_le_bytes()), 0)?;
        self.shards.truncate(shard, from_index);
        self.sealed = false;
        Ok(lsn)
    }

    /// Whether the log has been idle without having recorded how far it is durable.
    pub fn wants_seal(&self) -> bool {
        !self.sealed && self.queue.is_empty() && self.flights.is_empty() && self.is_open()
    }

    /// Places the block that records the durable position. `closing`: nothing will follow.
    pub fn place_seal(&mut self, closing: bool) -> Result<Lsn, AppendError> {
        let lsn =
            self.put(own_block(SYSTEM_SHARD, Kind::Noop, &[]), if closing { FLAG_CLOSED } else { 0 })?;
        self.sealed = true;
        Ok(lsn)
    }

    /// The disk is relaxed, and everything up to `lsn` has been synced.
    pub fn set_synced(&mut self, lsn: Lsn) {
        self.synced = Some(lsn);
    }

    /// The next write, if there is one that can be made. `None` too while its segment is not prepared.
    pub fn take(&mut self) -> Option<WriteOp> {
        if !self.can_take() {
            return None;
        }
        let first = self.queue.pop_front()?;
        let mut op = WriteOp {
            id: self.next_op,
            segment: first.lsn.segment(),
            position: first.lsn.byte_position(),
            durable_upto: self.synced.unwrap_or(self.durable),
            blocks: Vec::with_capacity(1 + self.queue.len().min(BLOCKS_PER_WRITE_MAX - 1)),
        };
        let mut bytes = first.disk_bytes(self.sector_bytes);
        op.blocks.push(first);
        while let Some(next) = self.queue.front() {
            let more = next.disk_bytes(self.sector_bytes);
            let adjacent = next.lsn == Lsn::new(op.segment, op.position + bytes as u32);
            if !adjacent || bytes + more > self.write_bytes_max || op.blocks.len() == BLOCKS_PER_WRITE_MAX {
                break;
            }
            bytes += more;
            op.blocks.extend(self.queue.pop_front());
        }
        self.queued_bytes -= bytes;
        self.next_op += 1;
        let last = op.blocks.last().map_or(Lsn::default(), |b| b.lsn);
        self.flights.push_back(Flight { id: op.id, last, parked: None });
        Some(op)
    }

    pub fn can_take(&self) -> bool {
        self.poisoned.is_none() && self.queue.front().is_some_and(|b| b.lsn.segment() <= self.prepared_upto)
    }

    /// All that there is to write is one op of at most `bytes_max`, and nothing is under way.
    pub fn is_little(&self, bytes_max: usize) -> bool {
        self.can_take() && self.flights.is_empty() && self.queued_bytes <= bytes_max
    }

    /// The write of `op` is on stable storage.
    pub fn completed(&mut self, op: WriteOp) {
        if let Some(fatal) = self.poisoned.clone() {
            self.outcomes.push_back(Outcome::Failed(op.blocks, fatal));
            return;
        }
        let flight = self.flights.iter_mut().find(|f| f.id == op.id).expect("an op is completed once");
        flight.parked = Some(op.blocks);
        while self.flights.front().is_some_and(|f| f.parked.is_some()) {
            let Some(flight) = self.flights.pop_front() else { break };
            self.durable = flight.last;
            self.outcomes.extend(flight.parked.map(Outcome::Durable));
        }
    }

    /// The write of `op` failed. The log is poisoned; what is queued, parked and in flight fails with it.
    pub fn failed(&mut self, op: WriteOp, fatal: Fatal) {
        let fatal = self.poison(fatal);
        self.outcomes.push_back(Outcome::Failed(op.blocks, fatal));
    }

    /// Stops the log for good, because of `fatal` unless it had stopped before. Returns the reason.
    pub fn poison(&mut self, fatal: Fatal) -> Fatal {
        let fatal = self.poisoned.get_or_insert(fatal).clone();
        for flight in self.flights.drain(..) {
            if let Some(blocks) = flight.parked {
                self.outcomes.push_back(Outcome::Failed(blocks, fatal.clone()));
            }
        }
        let queued: Vec<Placed> = self.queue.drain(..).collect();
        self.queued_bytes = 0;
        if !queued.is_empty() {
            self.outcomes.push_back(Outcome::Failed(queued, fatal.clone()));
        }
        fatal
    }

    /// The next blocks, in lsn order, that became durable or failed.
    pub fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// The segment on which there is something to do now, if any.
    ///
    /// Zeros are written in step with what is appended, an eighth faster, or half as fast again if several segments are
    /// missing, and not as fast as the disk can: each of them is in some commit's way. Only for a log that has no other
    /// segment to go on to they may have to be quicker: they are to be there when three quarters of what is left of the
    /// active segment are used.
    pub fn wants_segment(&self) -> Option<Wanted> {
        let active = self.active.as_ref().filter(|_| self.poisoned.is_none())?;
        let urgent = active.number > self.prepared_upto;
        // A young log prepares one segment only, so that a small broker stays small.
        let target = if active.capacity < self.segment_bytes { 1 } else { self.ready_segments };
        let in_use = active.position > active.capacity / IN_USE_DIVISOR;
        let ready = self.prepared_upto.saturating_sub(active.number);
        let short = in_use && ready < target;
        if !urgent && !short {
            return None;
        }
        let number = self.prepared_upto + 1;
        let capacity = self.capacity_of(number);
        let filled_to = self.filling.map_or(0, |Filling { since, filled }| {
            let placed = self.placed_bytes - since;
            let mut zeros = placed + placed / if ready + 1 < target { 2 } else { 8 };
            if ready == 0 {
                let room = u64::from(active.capacity - active.position) * 3 / 4;
                zeros = zeros.max(placed * u64::from(capacity - filled) / room.max(1));
            }
            let filled_to = (u64::from(filled) + zeros).min(u64::from(capacity)) as u32;
            filled_to / FILL_ALIGN * FILL_ALIGN
        });
        let due = self.filling.is_none_or(|filling| {
            filled_to == capacity || filled_to >= filling.filled.saturating_add(FILL_STEP_BYTES)
        });
        (urgent || due).then(|| Wanted { number, epoch: self.epoch_for(number), capacity, filled_to, urgent })
    }

    /// The segment that is wanted is a file that holds zeros up to `filled`. Not called for one that is used again.
    pub fn filled(&mut self, filled: u32) {
        self.filling = Some(Filling { since: self.placed_bytes, filled });
    }

    /// Segment `number`, the one that was wanted, is prepared.
    pub fn prepared(&mut self, number: u32) {
        debug_assert_eq!(number, self.prepared_upto + 1);
        self.prepared_upto = number;
        self.filling = None;
    }

    /// What was begun of the segment that is wanted is given up.
    pub fn not_prepared(&mut self) {
        self.filling = None;
    }

    /// Accepts no appends from now on; what was accepted is still written.
    pub fn close(&mut self) {
        self.closing = true;
    }

    pub fn set_alarm(&mut self, alarm: bool) {
        self.alarm = alarm;
    }

    pub fn alarm(&self) -> bool {
        self.alarm
    }

    pub fn poisoned(&self) -> Option<&Fatal> {
        self.poisoned.as_ref()
    }

    pub fn is_open(&self) -> bool {
        self.active.is_some() && self.poisoned.is_none()
    }

    /// All blocks up to and including this one are on stable storage.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Where the next block would go: above every block placed so far.
    pub fn position(&self) -> Lsn {
        self.active.as_ref().map_or(self.last_placed, |a| Lsn::new(a.number, a.position))
    }

    pub fn last_placed(&self) -> Lsn {
        self.last_placed
    }

    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    pub fn active_segment(&self) -> Option<u32> {
        self.active.as_ref().map(|a| a.number)
    }

    pub fn prepared_upto(&self) -> u32 {
        self.prepared_upto
    }

    pub fn unprepared_rolls(&self) -> u64 {
        self.unprepared_rolls
    }

    fn check_open(&self) -> Result<(), AppendError> {
        match &self.poisoned {
            Some(fatal) => Err(fatal.clone().into()),
            None if self.closing => Err(AppendError::NotStarted),
            None => Ok(()),
        }
    }

    fn put(&mut self, append: Append, flags: u16) -> Result<Lsn, AppendError> {
        if let Some(fatal) = &self.poisoned {
            return Err(fatal.clone().into());
        }
        if self.alarm && !append.essential {
            return Err(AppendError::Full);
        }
        let payload_len = append.buf.payload_len();
        let bytes = block_bytes(payload_len, self.sector_bytes);
        let max = u64::from(self.segment_bytes - SEGMENT_HEADER_BYTES);
        if bytes > max || payload_len > bowline_model::block::BLOCK_PAYLOAD_HARD_MAX {
            return Err(AppendError::TooLarge { bytes: payload_len, max: max as usize - BLOCK_HEADER_BYTES });
        }
        let Some(active) = &self.active else { return Err(AppendError::NotStarted) };
        if u64::from(active.position) + bytes > u64::from(active.capacity) {
            // A young log's next segment may still be too small for a large block; it stays empty then.
            let fits = |n: &u32| u64::from(SEGMENT_HEADER_BYTES) + bytes <= u64::from(self.capacity_of(*n));
            let number = (active.number + 1..).find(fits).unwrap_or(active.number + 1);
            if number > self.prepared_upto {
                if self.alarm {
                    return Err(AppendError::Full);
                }
                self.unprepared_rolls += 1;
            }
            let (epoch, capacity) = (self.epoch_for(number), self.capacity_of(number));
            self.active = Some(Active { number, epoch, position: SEGMENT_HEADER_BYTES, capacity });
        }
        let Some(active) = &mut self.active else { return Err(AppendError::NotStarted) };
        let lsn = Lsn::new(active.number, active.position);
        active.position += bytes as u32;
        self.queued_bytes += bytes as usize;
        self.placed_bytes += bytes;
        self.last_placed = lsn;
        self.queue.push_back(Placed::new(lsn, active.epoch, flags, append, payload_len as u32));
        Ok(lsn)
    }
}

impl Placed {
    fn new(lsn: Lsn, epoch: u64, flags: u16, append: Append, payload_len: u32) -> Placed {
        let Append { shard, term, index, stamp, n_records, buf, .. } = append;
        Placed { lsn, epoch, flags, shard, term, index, stamp, n_records, payload_len, buf }
    }

    /// A block of a cold file.
    pub(crate) fn cold(lsn: Lsn, epoch: u64, block: crate::types::ColdBlock) -> Placed {
        let crate::types::ColdBlock { shard, term, index, stamp, n_records, buf } = block;
        let payload_len = buf.payload_len() as u32;
        Placed { lsn, epoch, flags: FLAG_COLD, shard, term, index, stamp, n_records, payload_len, buf }
    }

    /// Writes the header and the padding. Once.
    pub(crate) fn seal(&mut self, chain: &mut Chain, durable_upto: Lsn, sector_bytes: u32) {
        debug_assert_eq!(self.buf.payload_len(), self.payload_len as usize);
        let header = BlockHeader {
            flags: self.flags,
            key_id: 0,
            epoch: self.epoch,
            lsn: self.lsn,
            shard: self.shard,
            term: self.term,
            index: self.index,
            stamp: self.stamp,
            n_records: self.n_records,
            payload_len: self.payload_len,
            payload_crc: record::crc32c(self.buf.payload()),
            prev_lsn: chain.lsn,
            prev_crc: chain.crc,
            durable_upto,
        };
        let crc = header.encode(self.buf.header_mut());
        *chain = Chain { lsn: self.lsn, crc };
        // Within the capacity, which is a multiple of every sector: no copy.
        self.buf.pad_to(sector_bytes as usize);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.buf.as_slice()
    }

    pub(crate) fn is_entry(&self) -> bool {
        self.index != 0
    }

    pub(crate) fn payload_len(&self) -> usize {
        self.payload_len as usize
    }

    pub(crate) fn disk_bytes(&self, sector_bytes: u32) -> usize {
        block_bytes(self.payload_len as usize, sector_bytes) as usize
    }

    /// The block as its readers see it, in the same memory.
    pub(crate) fn into_block(self) -> BlockRef {
        let end = BLOCK_HEADER_BYTES + self.payload_len as usize;
        Arc::new(Block {
            lsn: self.lsn,
            shard: self.shard,
            term: self.term,
            index: self.index,
            stamp: self.stamp,
            payload: self.buf.freeze().slice(BLOCK_HEADER_BYTES..end),
        })
    }
}

impl WriteOp {
    /// Completes the blocks' headers. Ops must be sealed in the order in which they were taken.
    pub fn seal(&mut self, chain: &mut Chain, sector_bytes: u32) {
        for block in &mut self.blocks {
            block.seal(chain, self.durable_upto, sector_bytes);
        }
    }

    /// What to write, piece by piece, from `position` on.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        self.blocks.iter().map(|b| IoSlice::new(b.bytes())).collect()
    }

    pub fn blocks(&self) -> &[Placed] {
        &self.blocks
    }
}

/// A block of the log's own, with one record.
fn own_block(shard: ShardId, kind: Kind, body: &[u8]) -> Append {
    let mut record = Vec::new();
    record::put(&mut record, kind, body);
    let mut buf = AlignedBuf::with_payload_capacity(record.len());
    buf.extend_from_slice(&record);
    Append { shard, term: 0, index: 0, stamp: 0, n_records: 1, buf, essential: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u32 = 1 << 20;

    fn started(prepared_upto: u32) -> LogCore {
        let options = crate::Options { segment_bytes: SEGMENT, ready_segments: 3, ..Default::default() };
        let mut core = LogCore::new(512, &options);
        core.start(1, SEGMENT, prepared_upto, Lsn::default(), true);
        core
    }

    fn place(core: &mut LogCore, bytes: usize) {
        let mut buf = AlignedBuf::with_payload_capacity(bytes);
        buf.extend_from_slice(&vec![1; bytes]);
        let index = core.placed_bytes + 1;
        let shard = ShardId((core.placed_bytes / 512) as u16 + 1);
        core.place(Append { shard, term: 1, index, stamp: 0, n_records: 1, buf, essential: false }).unwrap();
    }

    /// Commits go before zeros as long as there is another segment to go on to.
    #[test]
    fn zeros_are_written_in_step_with_what_is_appended() {
        let mut core = started(2);
        place(&mut core, 100 << 10);
        assert_eq!(core.wants_segment().map(|w| w.number), Some(3), "to be begun");
        core.filled(SEGMENT_HEADER_BYTES);
        assert_eq!(core.wants_segment(), None, "nothing was appended since");
        place(&mut core, 40 << 10);
        assert_eq!(core.wants_segment(), None, "too little for a write");
        place(&mut core, 40 << 10);
        let wanted = core.wants_segment().unwrap();
        let room = |kib: u32| (kib << 10)..((kib + 4) << 10);
        assert!(
            room(124).contains(&wanted.filled_to),
            "half as much again as the 80 KiB: {}",
            wanted.filled_to
        );
        core.filled(wanted.filled_to);
        assert_eq!(core.wants_segment(), None);
        core.filled(SEGMENT - 4096);
        place(&mut core, 700 << 10);
        assert_eq!(
            core.wants_segment().map(|w| w.filled_to),
            Some(SEGMENT),
            "the rest, if it is less than a step"
        );
        core.prepared(3);
        assert_eq!(core.wants_segment().map(|w| w.number), Some(4));
        core.filled(SEGMENT_HEADER_BYTES);
        place(&mut core, 80 << 10);
        let wanted = core.wants_segment().unwrap();
        assert!(room(92).contains(&wanted.filled_to), "an eighth more, for the last: {}", wanted.filled_to);
    }

    #[test]
    fn a_log_with_no_other_segment_has_one_before_it_is_full() {
        let mut core = started(1);
        let mut filled = SEGMENT_HEADER_BYTES;
        let mut steps = 0;
        place(&mut core, 100 << 10);
        assert_eq!(core.wants_segment().map(|w| (w.number, w.filled_to)), Some((2, 0)), "to be begun");
        core.filled(filled);
        while core.position().byte_position() < SEGMENT * 4 / 5 {
            place(&mut core, 16 << 10);
            if let Some(wanted) = core.wants_segment() {
                assert!(!wanted.urgent && wanted.filled_to - filled <= 96 << 10, "in small steps");
                assert!(wanted.filled_to.is_multiple_of(4096), "whole sectors: {}", wanted.filled_to);
                filled = wanted.filled_to;
                core.filled(filled);
                steps += 1;
            }
        }
        assert_eq!(filled, SEGMENT, "after {steps} steps");
        place(&mut core, 250 << 10);
        assert!(core.wants_segment().is_some_and(|w| w.urgent), "blocks wait for it");
    }

    #[test]
    fn segments_of_a_young_log_grow() {
        let options = crate::Options { segment_bytes: SEGMENT, ready_segments: 3, ..Default::default() };
        let mut core = LogCore::new(512, &options);
        core.start(7, SEGMENT / 8, 7, Lsn::default(), true);
        let mut capacities = Vec::new();
        for number in 8..13 {
            place(&mut core, 100 << 10);
            while core.active_segment() < Some(number) {
                place(&mut core, 100 << 10);
            }
            core.prepared(number);
            capacities.push(core.active.as_ref().map_or(0, |active| active.capacity));
        }
        assert_eq!(capacities, [SEGMENT / 4, SEGMENT / 2, SEGMENT, SEGMENT, SEGMENT]);
    }

    #[test]
    fn a_block_too_large_for_a_young_segment_goes_to_the_first_that_holds_it() {
        let options = crate::Options { segment_bytes: SEGMENT, ..Default::default() };
        let mut core = LogCore::new(512, &options);
        core.start(1, SEGMENT / 8, 1, Lsn::default(), true);
        place(&mut core, 600 << 10);
        assert_eq!(core.active_segment(), Some(4));
        for number in 2..=4 {
            let wanted = core.wants_segment().unwrap();
            assert_eq!((wanted.number, wanted.urgent), (number, true));
            assert!(core.take().is_none());
            core.prepared(number);
        }
        assert!(core.take().is_some());
    }
}
