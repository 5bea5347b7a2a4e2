//! Walking the log from block to block, and telling a torn tail from damage.
//!
//! Each block names the block before it (position and header checksum), so the log is a chain. Where the
//! chain stops at position `p`, one of three things is true:
//!
//! * A later segment begins with the block that follows: an ordinary roll, or the place where an earlier
//!   recovery cut the log. The scan goes on there.
//! * Some later block, or the checkpoint, says that the log was durable beyond `p`: what is missing was
//!   acknowledged. That is damage; it is reported with its place and never cut silently.
//! * Otherwise nothing at or after `p` was ever acknowledged: the torn tail. Writes in flight at the crash
//!   may have landed out of order, so there may be intact blocks behind the hole; they are cut too.

use crate::core::Chain;
use crate::disk::{Disk, DiskResult};
use crate::error::{Corrupt, DiskError, HeaderDamage, ReplayError};
use crate::header::{BlockHeader, FLAG_CLOSED, SEGMENT_HEADER_BYTES};
use crate::segments::{QUARANTINE_DIR, Segment};
use bowline_model::block::{BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_HARD_MAX};
use bowline_model::record::crc32c;
use bowline_model::{AlignedBuf, Block, BlockRef, Lsn};
use bytes::Bytes;
use std::sync::Arc;

/// Bytes read ahead at a time.
const WINDOW_BYTES: u64 = 2 << 20;
/// Pieces in which an unreadable region is tried again.
const SALVAGE_BYTES: u64 = 4096;

/// An intact block where it was expected.
pub(crate) struct Intact {
    pub header: BlockHeader,
    pub crc: u32,
    pub payload: Bytes,
    /// Where the next block of the segment would begin.
    pub end: u64,
}

impl Intact {
    pub fn into_block(self) -> BlockRef {
        let h = self.header;
        Arc::new(Block {
            lsn: h.lsn,
            shard: h.shard,
            term: h.term,
            index: h.index,
            stamp: h.stamp,
            payload: self.payload,
        })
    }
}

/// Reads one file forward through a window, so that blocks are slices of large reads.
pub(crate) struct Window {
    segment: Option<Arc<Segment>>,
    start: u64,
    data: Bytes,
    /// A read that failed: what is there is not known, which is another thing than nothing.
    failed: Option<DiskError>,
}

impl Window {
    pub fn new() -> Window {
        Window { segment: None, start: 0, data: Bytes::new(), failed: None }
    }

    /// `len` bytes from `position` on; fewer where the file ends.
    fn get(&mut self, segment: &Arc<Segment>, position: u64, len: u64) -> Result<Bytes, String> {
        self.load(segment, position, len).map_err(|e| {
            let reason = e.to_string();
            self.failed = Some(e);
            reason
        })
    }

    fn load(&mut self, segment: &Arc<Segment>, position: u64, len: u64) -> DiskResult<Bytes> {
        let len = len.min(segment.len.saturating_sub(position));
        let here = self.segment.as_ref().is_some_and(|s| Arc::ptr_eq(s, segment));
        if !here || position < self.start || position + len > self.start + self.data.len() as u64 {
            let want = len.max(WINDOW_BYTES.min(segment.len.saturating_sub(position)));
            let mut buf = AlignedBuf::zeroed(want as usize);
            let got = match segment.file.read_at(position, buf.as_mut_slice()) {
                Ok(got) => got,
                // Perhaps only what lies behind the block cannot be read.
                Err(_) if want > len => {
                    buf = AlignedBuf::zeroed(len as usize);
                    segment.file.read_at(position, buf.as_mut_slice())?
                }
                Err(e) => return Err(e),
            };
            self.segment = Some(segment.clone());
            self.start = position;
            self.data = buf.freeze().slice(..got);
        }
        let from = (position - self.start) as usize;
        let to = (from + len as usize).min(self.data.len());
        Ok(self.data.slice(from.min(to)..to))
    }

    /// The header of the block at `position`.
    fn header(&mut self, segment: &Arc<Segment>, position: u64) -> Result<(BlockHeader, u32), String> {
        let bytes = self.get(segment, position, BLOCK_HEADER_BYTES as u64)?;
        let (header, crc) = BlockHeader::decode_at(&bytes, segment.lsn(position), segment.epoch)
            .map_err(|e| format!("bad block header: {e}"))?;
        if position + header.block_bytes(segment.sector_bytes) > segment.len {
            return Err(format!("bad block header: {}", HeaderDamage::Length(header.payload_len)));
        }
        Ok((header, crc))
    }

    /// The block at `position`, checked.
    pub fn block(&mut self, segment: &Arc<Segment>, position: u64) -> Result<Intact, String> {
        let (header, crc) = self.header(segment, position)?;
        let bytes = header.block_bytes(segment.sector_bytes);
        let all = self.get(segment, position, bytes)?;
        let payload_end = BLOCK_HEADER_BYTES + header.payload_len as usize;
        if all.len() < payload_end {
            return Err("the file ends inside the block".to_string());
        }
        let payload = all.slice(BLOCK_HEADER_BYTES..payload_end);
        let actual = crc32c(&payload);
        #[cfg(feature = "sabotage")]
        let actual = match crate::sabotage::CHECKSUM_UNREAD.load(std::sync::atomic::Ordering::Relaxed) {
            true => header.payload_crc,
            false => actual,
        };
        if actual != header.payload_crc {
            return Err(format!("payload checksum {actual:08x} is not {:08x}", header.payload_crc));
        }
        Ok(Intact { header, crc, payload, end: position + bytes })
    }
}

/// What recovery found. Complete once the replay is exhausted.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Sequence number of the checkpoint recovery started from; 0: none.
    pub checkpoint: u64,
    /// Where the scan began.
    pub scanned_from: Lsn,
    pub scanned_blocks: u64,
    pub scanned_bytes: u64,
    /// The last block of the log.
    pub last: Lsn,
    /// The log had been closed in order.
    pub closed: bool,
    /// A torn tail that was cut off.
    pub cut: Option<Cut>,
    /// Damage that the operator accepted: see `Options::accept_loss`.
    pub losses: Vec<Loss>,
    /// Harmless damage: a checkpoint that was being written, a segment header whose blocks are intact …
    pub notes: Vec<String>,
}

/// A torn tail: never acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    pub segment: u32,
    pub position: u64,
    /// Blocks behind the hole that were intact and were never acknowledged either.
    pub blocks_discarded: u64,
}

/// Acknowledged data that was left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    pub path: String,
    pub position: u64,
    pub reason: String,
    /// Where the log goes on; `None`: it ends here.
    pub resume: Option<Lsn>,
    /// Where the bad bytes were kept.
    pub quarantine: Option<String>,
}

/// What follows a hole.
#[derive(Default)]
struct Evidence {
    durable_upto: Lsn,
    resume: Option<Lsn>,
    blocks: u64,
}

/// See the module's head.
pub(crate) struct Scan {
    disk: Arc<dyn Disk>,
    segments: Vec<Arc<Segment>>,
    /// Index into `segments`, and position in that one, of the next block.
    at: usize,
    position: u64,
    /// The block before; `None`: unknown, the next one is taken as it is.
    chain: Option<Chain>,
    /// The log is known to have been durable up to here (from the checkpoint).
    durable_upto: Lsn,
    accept_loss: bool,
    /// The last block closed the log: nothing can follow it in its segment.
    after_close: bool,
    /// The segment where the scan should begin does not exist.
    missing_start: Option<Lsn>,
    window: Window,
    pub report: Report,
    pub finished: bool,
}

impl Scan {
    /// Scans `segments` (ascending) from `from` on. `chain`: what the first block must follow, if known.
    pub fn new(
        disk: Arc<dyn Disk>,
        segments: Vec<Arc<Segment>>,
        from: Lsn,
        chain: Option<Chain>,
        durable_upto: Lsn,
        accept_loss: bool,
    ) -> Scan {
        let at = segments.partition_point(|s| s.number < from.segment());
        let here = segments.get(at).is_some_and(|s| s.number == from.segment());
        let position = if here { u64::from(from.byte_position()) } else { u64::from(SEGMENT_HEADER_BYTES) };
        Scan {
            disk,
            segments,
            at,
            position,
            chain,
            durable_upto,
            accept_loss,
            after_close: false,
            missing_start: (!here && from != Lsn::default()).then_some(from),
            window: Window::new(),
            report: Report { scanned_from: from, ..Report::default() },
            finished: false,
        }
    }

    /// The last block and its header checksum.
    pub fn chain(&self) -> Chain {
        self.chain.unwrap_or_default()
    }

    /// The next block of the log; `None` at its end.
    pub fn next(&mut self) -> Result<Option<Intact>, ReplayError> {
        if let Some(from) = self.missing_start.take() {
            self.missing(from)?;
        }
        while !self.finished {
            let Some(segment) = self.segments.get(self.at).cloned() else {
                self.finished = true;
                if self.report.last < self.durable_upto {
                    self.missing(self.durable_upto)?;
                }
                break;
            };
            let reason = match self.window.block(&segment, self.position) {
                Ok(block) if self.follows(&block.header) => return Ok(Some(self.accept(&segment, block))),
                Ok(_) => HeaderDamage::Chain.to_string(),
                Err(reason) => reason,
            };
            if let Err(e) = self.stop(&segment, reason) {
                self.finished = true;
                return Err(e);
            }
        }
        Ok(None)
    }

    fn accept(&mut self, segment: &Arc<Segment>, block: Intact) -> Intact {
        if segment.epoch == 0 {
            self.adopt_epoch(block.header.epoch);
        }
        self.window.failed = None;
        self.report.scanned_blocks += 1;
        self.report.scanned_bytes += block.end - self.position;
        self.report.last = block.header.lsn;
        self.after_close = block.header.flags & FLAG_CLOSED != 0;
        self.report.closed = self.after_close;
        self.position = block.end;
        self.chain = Some(Chain { lsn: block.header.lsn, crc: block.crc });
        block
    }

    /// The segment's header is damaged, but its first block follows the chain: believe the block.
    fn adopt_epoch(&mut self, epoch: u64) {
        let s = &self.segments[self.at];
        self.report
            .notes
            .push(format!("{}: the segment's header is damaged, its blocks are intact", s.file.path()));
        self.segments[self.at] = Arc::new(Segment {
            kind: s.kind,
            number: s.number,
            epoch,
            sector_bytes: s.sector_bytes,
            len: s.len,
            damage: s.damage,
            file: s.file.clone(),
        });
    }

    fn follows(&self, header: &BlockHeader) -> bool {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::TAIL_NOT_CUT.load(std::sync::atomic::Ordering::Relaxed) {
            return true;
        }
        self.chain.is_none_or(|c| header.prev_lsn == c.lsn && header.prev_crc == c.crc)
    }

    /// There is no block at the present position that follows. Finds out why, and goes on or stops.
    fn stop(&mut self, segment: &Arc<Segment>, reason: String) -> Result<(), ReplayError> {
        let hole = segment.lsn(self.position);
        if let Some(next) = self.roll(hole) {
            self.at = next;
            self.position = u64::from(SEGMENT_HEADER_BYTES);
            return Ok(());
        }
        let evidence = if self.after_close { Evidence::default() } else { self.look_behind(hole) };
        let durable_upto = self.durable_upto.max(evidence.durable_upto);
        let unread = self.window.failed.take();
        if hole > durable_upto
            && let Some(error) = unread
        {
            // It may be the end of the log, or a block that was acknowledged: who cannot read cannot tell.
            if !self.accept_loss {
                return Err(error.into());
            }
        } else if hole > durable_upto {
            let torn = evidence.blocks > 0 || self.looks_begun(segment);
            self.report.cut = torn.then_some(Cut {
                segment: segment.number,
                position: self.position,
                blocks_discarded: evidence.blocks,
            });
            self.finished = true;
            return Ok(());
        }
        let path = segment.file.path().to_string();
        if !self.accept_loss {
            let (position, resume) = (self.position, evidence.resume);
            return Err(Corrupt { path, position, reason, durable_upto, resume }.into());
        }
        self.leave_out(segment, path, reason, evidence.resume)
    }

    /// A later segment that begins with the block that follows the chain.
    fn roll(&mut self, hole: Lsn) -> Option<usize> {
        for i in self.at + 1..self.segments.len() {
            let segment = self.segments[i].clone();
            let Some(header) = self.first_header(&segment) else { continue };
            // Without a known predecessor: the first block that does not claim one at or behind the hole.
            if self.chain.map_or(header.prev_lsn < hole, |_| self.follows(&header)) {
                return Some(i);
            }
        }
        None
    }

    /// The header of a segment's first block, read by itself: most segments asked have none.
    fn first_header(&mut self, segment: &Segment) -> Option<BlockHeader> {
        let at = u64::from(SEGMENT_HEADER_BYTES);
        let mut buf = AlignedBuf::zeroed(SALVAGE_BYTES as usize);
        match segment.file.read_at(at, buf.as_mut_slice()) {
            Ok(n) => BlockHeader::decode_at(&buf.as_slice()[..n], segment.lsn(at), segment.epoch)
                .ok()
                .map(|(header, _)| header),
            Err(e) => {
                self.window.failed = Some(e);
                None
            }
        }
    }

    /// Looks for blocks behind the hole and for what they say was durable.
    fn look_behind(&mut self, hole: Lsn) -> Evidence {
        let mut found = Evidence::default();
        let known = self.durable_upto;
        let enough = |f: &Evidence| f.resume.is_some() && f.durable_upto.max(known) >= hole;
        for i in self.at..self.segments.len() {
            let segment = self.segments[i].clone();
            let first = u64::from(SEGMENT_HEADER_BYTES);
            let mut position =
                if i == self.at { self.position + u64::from(segment.sector_bytes) } else { first };
            // Sector by sector here and in the next segment, where writes in flight may have landed; from
            // block to block in the others.
            let search = i <= self.at + 1;
            while position < segment.len && !enough(&found) {
                match self.probe(&segment, position) {
                    Some(header) => {
                        found.blocks += 1;
                        found.durable_upto = found.durable_upto.max(header.durable_upto);
                        if found.resume.is_none() && self.window.block(&segment, position).is_ok() {
                            found.resume = Some(header.lsn);
                        }
                        position += header.block_bytes(segment.sector_bytes);
                    }
                    None if search => position += u64::from(segment.sector_bytes),
                    None => break,
                }
            }
        }
        found
    }

    /// A block header at `position`, tolerating what cannot be read.
    fn probe(&mut self, segment: &Arc<Segment>, position: u64) -> Option<BlockHeader> {
        let _ = self.window.get(segment, position, SALVAGE_BYTES);
        self.window.header(segment, position).ok().map(|(header, _)| header)
    }

    /// Whether something at the hole looks like a block whose write did not finish.
    fn looks_begun(&mut self, segment: &Arc<Segment>) -> bool {
        self.window.header(segment, self.position).is_ok()
    }

    /// The segment of `lsn`, which must exist, does not.
    fn missing(&mut self, lsn: Lsn) -> Result<(), ReplayError> {
        let path = crate::segments::segment_path(lsn.segment());
        let reason = "the segment is missing".to_string();
        let position = u64::from(lsn.byte_position());
        let resume = self.segments.get(self.at).map(|s| Lsn::new(s.number, SEGMENT_HEADER_BYTES));
        if !self.accept_loss {
            self.finished = true;
            return Err(Corrupt { path, position, reason, durable_upto: self.durable_upto, resume }.into());
        }
        self.report.losses.push(Loss { path, position, reason, resume, quarantine: None });
        self.chain = None;
        Ok(())
    }

    /// Keeps the bad bytes aside and goes on behind them.
    fn leave_out(
        &mut self,
        segment: &Arc<Segment>,
        path: String,
        reason: String,
        resume: Option<Lsn>,
    ) -> Result<(), ReplayError> {
        let position = self.position;
        let end = match resume {
            Some(lsn) if lsn.segment() == segment.number => u64::from(lsn.byte_position()),
            // The rest of the segment; a single block if nothing is known to follow.
            Some(_) => segment.len,
            None => segment.len.min(position + BLOCK_PAYLOAD_HARD_MAX as u64),
        };
        let quarantine = Some(self.quarantine(segment, position, end)?);
        self.report.losses.push(Loss { path, position, reason, resume, quarantine });
        self.chain = None;
        match resume {
            Some(lsn) => {
                self.at = self.segments.partition_point(|s| s.number < lsn.segment());
                self.position = u64::from(lsn.byte_position());
            }
            None => self.finished = true,
        }
        Ok(())
    }

    fn quarantine(&self, segment: &Arc<Segment>, from: u64, to: u64) -> DiskResult<String> {
        let path = format!("{QUARANTINE_DIR}/{:08}-{from}.bad", segment.number);
        self.disk.create_dir(QUARANTINE_DIR)?;
        let out = self.disk.create(&path)?;
        let mut at = from;
        while at < to {
            let n = (to - at).min(WINDOW_BYTES);
            let mut buf = AlignedBuf::zeroed(n.next_multiple_of(4096) as usize);
            if segment.file.read_at(at, &mut buf.as_mut_slice()[..n as usize]).is_err() {
                for piece in (0..n).step_by(SALVAGE_BYTES as usize) {
                    let end = (piece + SALVAGE_BYTES).min(n);
                    // What cannot be read stays zero.
                    let _ = segment
                        .file
                        .read_at(at + piece, &mut buf.as_mut_slice()[piece as usize..end as usize]);
                }
            }
            out.write(at - from, buf.as_slice())?;
            at += n;
        }
        out.sync()?;
        self.disk.sync_dir(QUARANTINE_DIR)?;
        Ok(path)
    }
}
