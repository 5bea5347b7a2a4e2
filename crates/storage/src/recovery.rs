//! Opening a data directory: format, checkpoint, replay of what came after it, and the start of appending.

use crate::checkpoint::{Checkpoints, Needs};
use crate::core::{Chain, LogCore};
use crate::disk::Disk;
use crate::error::{Corrupt, OpenError, ReplayError};
use crate::format_file;
use crate::header::{BlockHeader, SYSTEM_SHARD, SegmentKind};
use crate::log::Shared;
use crate::options::Options;
use crate::scan::{Loss, Report, Scan};
use crate::segments::{COLD_DIR, LOG_DIR, Segment, Table, cold_path, number_of, segment_path};
use crate::stats::Counters;
use crate::types::{Checkpoint, OnComplete};
use crate::writer::Wakers;
use bowline_model::record::{self, Kind};
use bowline_model::{BlockRef, Lsn, ShardId};
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

/// What was in the data directory.
pub struct Recovered {
    /// The newest whole checkpoint; `None`: replay begins at the beginning of the log.
    pub checkpoint: Option<Checkpoint>,
    /// What came after it.
    pub replay: Replay,
}

/// The end of the log as the replay found it.
pub(crate) struct Tail {
    /// The last block.
    last: Chain,
    /// Where it ends.
    end: Lsn,
    /// It records the durable position.
    sealed: bool,
    /// Known to have been acknowledged up to here; what follows was found written, no more.
    known_durable: Lsn,
    /// The number of the first segment that may be appended to.
    next_segment: u32,
}

/// The blocks after the checkpoint, in lsn order, read as they are asked for in large sequential reads.
/// Blocks that their shard's checkpoint contains already are left out, and so are the log's own.
///
/// Entries that a later Truncate record voids do come, in their place; [`crate::Log::locate`] tells, once
/// the replay is exhausted, which position of an index counts. (On a single node nothing is ever voided.)
/// The payloads are slices of 2 MiB reads, which live as long as any of them. After an error nothing follows.
pub struct Replay {
    shared: Arc<Shared>,
    scan: Scan,
    shards: HashMap<ShardId, (Lsn, u64)>,
    /// Applied term and index of each shard of the checkpoint.
    applied: Vec<(ShardId, u64, u64)>,
    /// New blocks must lie above every shard's `replay_from`.
    floor: u32,
    sealed: bool,
    known_durable: Lsn,
    end: Lsn,
    done: bool,
}

impl Replay {
    /// What recovery found; complete when the replay is exhausted.
    pub fn report(&self) -> &Report {
        &self.scan.report
    }

    /// Reads to the end of the log without looking at the blocks.
    pub fn skip_all(&mut self) -> Result<(), ReplayError> {
        self.try_for_each(|block| block.map(drop))
    }

    fn step(&mut self) -> Result<Option<BlockRef>, ReplayError> {
        while let Some(block) = self.scan.next()? {
            let h = block.header;
            self.end = Lsn(h.lsn.0 + (block.end - u64::from(h.lsn.byte_position())));
            self.sealed = h.shard == SYSTEM_SHARD;
            self.known_durable = self.known_durable.max(h.durable_upto);
            if self.note(&h, &block.payload) {
                return Ok(Some(block.into_block()));
            }
        }
        Ok(None)
    }

    /// Keeps the index of entries. Returns whether the block is to be replayed.
    fn note(&mut self, header: &BlockHeader, payload: &[u8]) -> bool {
        let mut core = self.shared.core.lock();
        if header.is_entry() {
            let (from, applied) = self.shards.get(&header.shard).copied().unwrap_or_default();
            if header.lsn >= from {
                core.shards.recover(header.shard, header.term, header.index, header.lsn);
            }
            return header.lsn >= from && header.index > applied;
        }
        if let Some(Ok(found)) = record::iter(payload).next()
            && let (Kind::Truncate, Ok(from)) = (found.kind, found.body.try_into())
        {
            core.shards.truncate(header.shard, u64::from_le_bytes(from));
        }
        false
    }

    fn finish(&mut self) {
        let last = self.scan.chain();
        let mut core = self.shared.core.lock();
        for (shard, term, index) in &self.applied {
            core.shards.at_least(*shard, *term, *index);
        }
        // If the log ends in an accepted loss, new blocks go behind everything that is there.
        let lost_end = self.scan.report.losses.last().is_some_and(|l| l.resume.is_none());
        let above = if lost_end {
            self.shared.table.numbers(SegmentKind::Log).last().copied().unwrap_or(0)
        } else {
            last.lsn.segment()
        };
        let next_segment = self.floor.max(above + 1);
        *self.shared.tail.lock() = Some(Tail {
            last,
            end: self.end,
            sealed: self.sealed,
            known_durable: self.known_durable,
            next_segment,
        });
    }
}

impl Iterator for Replay {
    type Item = Result<BlockRef, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        match self.step() {
            Ok(Some(block)) => Some(Ok(block)),
            Ok(None) => {
                self.done = true;
                self.finish();
                None
            }
            Err(e) => {
                self.done = true;
                Some(Err(e))
            }
        }
    }
}

fn new_core(disk: &dyn Disk, options: &Options) -> LogCore {
    let mut core = LogCore::new(disk.sector_bytes(), options);
    if disk.is_relaxed() {
        core.set_synced(Lsn::default());
    }
    core
}

pub(crate) fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Arc<Shared>, Recovered), OpenError> {
    check(&options)?;
    disk.create_dir(LOG_DIR)?;
    disk.create_dir(COLD_DIR)?;
    let format = match format_file::read(&*disk)? {
        Some(format) => format,
        None => new_format(&*disk, &options)?,
    };

    let mut notes = Vec::new();
    let (checkpoints, found) = Checkpoints::open(&*disk, options.accept_loss, &mut notes)?;
    let table = Table::default();
    for entry in disk.list(LOG_DIR)? {
        if let Some(number) = number_of(&entry.name, ".seg") {
            table.insert(Arc::new(Segment::open(&*disk, SegmentKind::Log, number)?));
        }
    }
    let mut next_cold = 1;
    for entry in disk.list(COLD_DIR)? {
        if let Some(number) = number_of(&entry.name, ".cold") {
            table.insert(Arc::new(Segment::open(&*disk, SegmentKind::Cold, number)?));
        }
        // Unfinished ones too: they are about to be removed.
        let number = entry.name.split('.').next().and_then(|n| n.parse::<u32>().ok());
        next_cold = next_cold.max(number.map_or(0, |n| n + 1));
    }

    let needs = found.as_ref().map(|f| f.needs.clone());
    let losses = missing_files(&table, needs.as_ref(), options.accept_loss)?;
    let durable_upto = found.as_ref().map_or(Lsn::default(), |f| f.durable_upto);
    let from = needs.as_ref().map_or(Lsn::default(), |n| n.scan_from);
    // The beginning of the log follows nothing; what lies at a checkpoint's position is taken as it is.
    let chain = (from == Lsn::default()).then(Chain::default);
    let segments = table.all(SegmentKind::Log);
    let mut scan = Scan::new(disk.clone(), segments, from, chain, durable_upto, options.accept_loss);
    scan.report.checkpoint = needs.as_ref().map_or(0, |n| n.sequence);
    scan.report.notes = notes;
    scan.report.losses = losses;

    let shared = Arc::new(Shared {
        sector_bytes: disk.sector_bytes(),
        core: Mutex::new(new_core(&*disk, &options)),
        chain: Mutex::default(),
        durable: AtomicU64::new(u64::MAX),
        durable_waiters: Condvar::new(),
        delivering: AtomicBool::new(false),
        on_complete: OnceLock::new(),
        counters: Counters::default(),
        last_write_ns: AtomicU64::new(0),
        checkpoints: Mutex::new(checkpoints),
        upkeep: Mutex::default(),
        wakers: Wakers::new(),
        tail: Mutex::new(None),
        next_cold: AtomicU64::new(u64::from(next_cold)),
        disk,
        options,
        format,
        table,
    });
    let checkpoint = found.map(|f| f.checkpoint);
    let replay = replay(&shared, scan, checkpoint.as_ref(), durable_upto);
    Ok((shared, Recovered { checkpoint, replay }))
}

fn check(options: &Options) -> Result<(), OpenError> {
    let sizes = [options.segment_bytes, options.first_segment_bytes];
    let reason = if sizes.iter().any(|s| !s.is_multiple_of(4096) || *s < 8192 || *s > 1 << 31) {
        "segment sizes must be multiples of 4096 between 8 KiB and 2 GiB"
    } else if options.identity.data_shards == 0 {
        "at least one data shard is needed"
    } else {
        return Ok(());
    };
    Err(OpenError::Format { path: "options".into(), reason: reason.into() })
}

/// A directory without a format file is new, or its making did not finish; never one with data.
fn new_format(disk: &dyn Disk, options: &Options) -> Result<format_file::Format, OpenError> {
    if !disk.list(LOG_DIR)?.is_empty() {
        let path = format!("{}/format", disk.describe());
        return Err(OpenError::Format { path, reason: "missing, although there are segments".into() });
    }
    Ok(format_file::create(disk, options.identity)?)
}

/// Every file that the checkpoint refers to must be there.
fn missing_files(table: &Table, needs: Option<&Needs>, accept_loss: bool) -> Result<Vec<Loss>, Corrupt> {
    let Some(needs) = needs else { return Ok(Vec::new()) };
    let segments = needs.live_segments.iter().map(|n| (Lsn::new(*n, 0), segment_path(*n)));
    let cold = needs.live_cold.iter().map(|n| (Lsn::cold(*n, 0), cold_path(*n)));
    let mut losses = Vec::new();
    for (_, path) in segments.chain(cold).filter(|(lsn, _)| table.get(*lsn).is_none()) {
        let reason = "the checkpoint refers to this file, which is missing".to_string();
        if !accept_loss {
            return Err(Corrupt { path, position: 0, reason, durable_upto: needs.scan_from, resume: None });
        }
        losses.push(Loss { path, position: 0, reason, resume: Some(needs.scan_from), quarantine: None });
    }
    Ok(losses)
}

fn replay(shared: &Arc<Shared>, scan: Scan, checkpoint: Option<&Checkpoint>, known_durable: Lsn) -> Replay {
    let none = Vec::new();
    let shards = checkpoint.map_or(&none, |c| &c.shards);
    let above =
        |lsn: Lsn| lsn.segment() + u32::from(lsn.byte_position() > crate::header::SEGMENT_HEADER_BYTES);
    Replay {
        shared: shared.clone(),
        scan,
        applied: shards.iter().map(|s| (s.shard, s.applied_term, s.applied_index)).collect(),
        floor: shards.iter().map(|s| above(s.replay_from)).max().unwrap_or(0).max(1),
        shards: shards.iter().map(|s| (s.shard, (s.replay_from, s.applied_index))).collect(),
        sealed: true,
        known_durable,
        end: Lsn::default(),
        done: false,
    }
}

/// Makes the log ready for appending, behind what the replay found.
pub(crate) fn start(shared: &Arc<Shared>, on_complete: OnComplete) -> Result<(), OpenError> {
    let Some(tail) = shared.tail.lock().take() else {
        let reason = "the replay is not exhausted, it failed, or the log was started before".into();
        return Err(OpenError::Format { path: shared.disk.describe(), reason });
    };
    // What was read may not be on stable storage yet: written, but not synced before the process went. That
    // goes for names too.
    for dir in ["", LOG_DIR, COLD_DIR] {
        shared.disk.sync_dir(dir)?;
    }
    for segment in shared.table.all(SegmentKind::Log) {
        if segment.number >= tail.known_durable.segment() && segment.number <= tail.last.lsn.segment() {
            segment.file.sync()?;
        }
    }
    let (capacity, prepared_upto) = crate::upkeep::begin(shared, tail.end, tail.next_segment)?;
    let _ = shared.on_complete.set(on_complete);
    *shared.chain.lock() = tail.last;
    let mut core = shared.core.lock();
    core.start(tail.next_segment, capacity, prepared_upto, tail.last.lsn, tail.sealed);
    shared.durable.store(tail.last.lsn.0, std::sync::atomic::Ordering::Release);
    Ok(())
}
