//! Work beside the commit path: preparing segments ahead, recycling them, giving space back, checkpoints,
//! and watching how full the disk is.
//!
//! A segment's life: made (allocated, zeroed) or taken from the spares → header, name, directory synced →
//! ready → active → sealed → let go by a checkpoint → spare (`.free`) → ready under a new number and epoch.
//! Files are renamed, not unlinked; what is too much is shrunk in steps and then removed.

use crate::core::Wanted;
use crate::disk::{DiskFile, DiskResult};
use crate::error::{CheckpointError, DiskError, Fatal};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};
use crate::log::Shared;
use crate::segments::{
    COLD_DIR, LOG_DIR, SPARE, Segment, Shrink, UNFINISHED, cold_path, number_of, segment_path, spare_path,
    write_header,
};
use crate::stats::Counters;
use crate::types::{Checkpoint, Space};
use bowline_model::Lsn;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes zeroed at once at most: somebody may have come to wait for the segment, and commits wait behind it.
const FILL_STEP_BYTES_MAX: u32 = 256 << 10;

/// What upkeep has to do, and the spare segments. Locked briefly; the work itself is done by one thread.
#[derive(Default)]
pub(crate) struct Upkeep {
    /// Recycled segments of full length: numbers of `.free` files, which are counted by themselves.
    pub spares: Vec<u32>,
    next_spare: u32,
    /// The segment that is wanted next, if it has to be a new file.
    making: Option<Making>,
    /// Log segments that are no longer part of the log.
    pub retired: Vec<u32>,
    pub shrinks: Vec<Shrink>,
    /// Cold files that some checkpoint has listed: they go when they are listed no more.
    pub listed_cold: BTreeSet<u32>,
    /// The last attempt to make a segment found the disk full.
    full: bool,
}

/// What one step of upkeep came to.
pub(crate) enum Step {
    Worked,
    Idle,
    /// Something is left to do that needs space.
    Full,
}

/// What became of the segment that is wanted.
enum Next {
    /// None is.
    Nothing,
    /// It is not complete yet.
    Begun,
    Ready,
}

/// One piece of work: the most urgent. Called by one thread only.
pub(crate) fn step(shared: &Shared) -> Result<Step, Fatal> {
    let result = match next_segment(shared) {
        Ok(Next::Nothing) => tidy(shared),
        // One of many small steps: not each of them is worth a look at the space.
        Ok(Next::Begun) => return Ok(Step::Worked),
        Ok(Next::Ready) => Ok(true),
        Err(e) => Err(e),
    };
    let worked = match result {
        Ok(worked) => worked,
        Err(e) if e.is_full() => {
            tracing::warn!(error = %e, "disk full");
            shared.upkeep.lock().full = true;
            // Giving space back needs none.
            tidy(shared).or_else(|e| if e.is_full() { Ok(false) } else { Err(e) })?
        }
        Err(e) => return Err(e.into()),
    };
    watch_space(shared)?;
    let alarm = shared.core.lock().alarm();
    Ok(match (worked, alarm) {
        (true, _) => Step::Worked,
        (false, true) => Step::Full,
        (false, false) => Step::Idle,
    })
}

/// Prepares the segment that the core wants next, or a piece of it.
fn next_segment(shared: &Shared) -> DiskResult<Next> {
    let Some(wanted) = shared.core.lock().wants_segment() else {
        shared.upkeep.lock().full = false;
        return Ok(Next::Nothing);
    };
    let Some(segment) = prepare(shared, &wanted)? else { return Ok(Next::Begun) };
    shared.upkeep.lock().full = false;
    shared.table.insert(Arc::new(segment));
    let mut core = shared.core.lock();
    core.prepared(wanted.number);
    let writer = shared.wakers.writer_for(core.can_take());
    drop(core);
    shared.wakers.wake(writer);
    Ok(Next::Ready)
}

/// One step towards a segment file that is ready for use: header written, name durable. `None`: more is to come.
fn prepare(shared: &Shared, wanted: &Wanted) -> DiskResult<Option<Segment>> {
    let disk = &*shared.disk;
    let header = header(shared, wanted.number, wanted.epoch, wanted.capacity);
    let path = segment_path(wanted.number);
    let (making, spare) = {
        let mut upkeep = shared.upkeep.lock();
        let full_length = wanted.capacity == shared.options.segment_bytes;
        match upkeep.making.take() {
            None if full_length => (None, upkeep.spares.pop()),
            making => (making, None),
        }
    };
    if let Some(spare) = spare {
        write_header(&*disk.open(&spare_path(spare))?, &header)?;
        disk.rename(&spare_path(spare), &path)?;
    } else {
        let mut making = match making {
            Some(making) => making,
            None => Making::begin(shared, &header)?,
        };
        let done = making.step(wanted).inspect_err(|_| {
            let _ = disk.remove(&making.path);
            shared.core.lock().not_prepared();
        })?;
        if !done {
            shared.core.lock().filled(making.filled);
            shared.upkeep.lock().making = Some(making);
            return Ok(None);
        }
        disk.rename(&making.path, &path)?;
    }
    disk.sync_dir(LOG_DIR)?;
    Segment::open(disk, SegmentKind::Log, wanted.number).map(Some)
}

/// A new segment file, which is filled with zeros unless blocks come to wait for it meanwhile: then the rest stays
/// merely allocated, which costs each first write there a little more.
struct Making {
    path: String,
    file: Arc<dyn DiskFile>,
    filled: u32,
}

impl Making {
    fn begin(shared: &Shared, header: &SegmentHeader) -> DiskResult<Making> {
        let path = format!("{}{UNFINISHED}", segment_path(header.number));
        // The last process may have left one of that name, which was to go.
        shared.upkeep.lock().shrinks.retain(|shrink| shrink.path != path);
        let file = shared.disk.create(&path)?;
        if let Err(e) = file.allocate(header.capacity).and_then(|()| write_header(&*file, header)) {
            drop(file);
            let _ = shared.disk.remove(&path);
            return Err(e);
        }
        Ok(Making { path, file, filled: SEGMENT_HEADER_BYTES })
    }

    /// Goes on for a while. True: the file is complete, and durable but for its name.
    fn step(&mut self, wanted: &Wanted) -> DiskResult<bool> {
        if !wanted.urgent {
            let n = wanted.filled_to.saturating_sub(self.filled).min(FILL_STEP_BYTES_MAX);
            self.file.write_zeros(u64::from(self.filled), u64::from(n))?;
            self.filled += n;
            if self.filled < wanted.capacity {
                return Ok(false);
            }
        }
        self.file.sync()?;
        Ok(true)
    }
}

fn header(shared: &Shared, number: u32, epoch: u64, capacity: u32) -> SegmentHeader {
    SegmentHeader {
        kind: SegmentKind::Log,
        number,
        epoch,
        node: shared.format.identity.node,
        key_id: 0,
        sector_bytes: shared.sector_bytes,
        capacity: u64::from(capacity),
    }
}

/// Recycling and giving back. Returns whether it did something.
fn tidy(shared: &Shared) -> DiskResult<bool> {
    let disk = &*shared.disk;
    let retired = std::mem::take(&mut shared.upkeep.lock().retired);
    if !retired.is_empty() {
        for number in retired {
            let path = segment_path(number);
            let len = match disk.open(&path) {
                Ok(file) => file.len()?,
                Err(e) if e.is_not_found() => continue,
                Err(e) => return Err(e),
            };
            let spare = {
                let mut upkeep = shared.upkeep.lock();
                upkeep.next_spare += 1;
                upkeep.next_spare
            };
            disk.rename(&path, &spare_path(spare))?;
            keep_or_shrink(shared, spare, len);
        }
        disk.sync_dir(LOG_DIR)?;
        return Ok(true);
    }
    let Some(shrink) = shared.upkeep.lock().shrinks.pop() else { return Ok(false) };
    if !shrink.step(disk)? {
        shared.upkeep.lock().shrinks.push(shrink);
    }
    Ok(true)
}

fn keep_or_shrink(shared: &Shared, spare: u32, len: u64) {
    let mut upkeep = shared.upkeep.lock();
    if len == u64::from(shared.options.segment_bytes) && upkeep.spares.len() < shared.options.spare_segments {
        upkeep.spares.push(spare);
    } else {
        upkeep.shrinks.push(Shrink { path: spare_path(spare), keep: None });
    }
}

/// Sets the alarm if segments cannot be made or space is low; clears it when neither is so.
fn watch_space(shared: &Shared) -> DiskResult<u64> {
    let free = shared.disk.free_bytes()?;
    let alarm = shared.upkeep.lock().full || free < shared.options.free_bytes_min;
    let mut core = shared.core.lock();
    if core.alarm() != alarm {
        core.set_alarm(alarm);
        if alarm {
            tracing::warn!(free_bytes = free, "disk space alarm: only essential appends are accepted");
        } else {
            tracing::info!(free_bytes = free, "disk space alarm is over");
        }
    }
    Ok(free)
}

/// See [`crate::Log::space`].
pub(crate) fn space(shared: &Shared) -> Space {
    let free = watch_space(shared);
    let alarm = shared.core.lock().alarm();
    if alarm {
        shared.wakers.wake_upkeep();
    }
    let total = shared.disk.total_bytes();
    Space { free_bytes: free.unwrap_or(0), total_bytes: total.unwrap_or(0), alarm }
}

/// See [`crate::Log::write_checkpoint`].
pub(crate) fn write_checkpoint(shared: &Shared, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    let mut checkpoints = shared.checkpoints.lock();
    let (durable, alarm) = {
        let core = shared.core.lock();
        if let Some(fatal) = core.poisoned() {
            return Err(fatal.clone().into());
        }
        (core.durable(), core.alarm())
    };
    if shared.disk.is_relaxed() {
        for segment in shared.table.all(SegmentKind::Log) {
            segment.file.sync().map_err(|e| shared.poison(e.into()))?;
        }
        shared.core.lock().set_synced(durable);
    }
    let bytes = match checkpoints.write(&*shared.disk, checkpoint, durable) {
        Ok(bytes) => bytes,
        Err(e) if e.is_full() => {
            tracing::debug!(error = %e, "disk full: no checkpoint");
            return Err(CheckpointError::Full(e));
        }
        Err(e) => return Err(shared.poison(e.into()).into()),
    };
    Counters::add(&shared.counters.checkpoints, 1);
    Counters::add(&shared.counters.checkpoint_bytes, bytes);

    // A full disk needs the space more than the older checkpoint.
    let spare_previous = !alarm;
    let mut retired = Vec::new();
    for number in shared.table.numbers(SegmentKind::Log) {
        if !checkpoints.needs_segment(number, spare_previous) {
            shared.table.remove(SegmentKind::Log, number);
            retired.push(number);
        }
    }
    let mut dead_cold = Vec::new();
    for number in shared.table.numbers(SegmentKind::Cold) {
        if !checkpoints.needs_cold(number, spare_previous) {
            dead_cold.push(number);
        }
    }
    drop(checkpoints);

    let mut upkeep = shared.upkeep.lock();
    upkeep.retired.extend(retired);
    upkeep.listed_cold.extend(&checkpoint.live_cold);
    for number in dead_cold {
        // A file finished after the states were captured is in no list yet: it stays.
        if upkeep.listed_cold.remove(&number) {
            drop_cold(shared, &mut upkeep, number);
        }
    }
    drop(upkeep);
    shared.wakers.wake_upkeep();
    Ok(())
}

/// See [`crate::Log::remove_cold`].
pub(crate) fn remove_cold(shared: &Shared, number: u32) {
    let mut upkeep = shared.upkeep.lock();
    if !upkeep.listed_cold.contains(&number) {
        drop_cold(shared, &mut upkeep, number);
        drop(upkeep);
        shared.wakers.wake_upkeep();
    }
}

fn drop_cold(shared: &Shared, upkeep: &mut Upkeep, number: u32) {
    if shared.table.remove(SegmentKind::Cold, number).is_some() {
        upkeep.shrinks.push(Shrink { path: cold_path(number), keep: None });
    }
}

/// Tidies what the last process left, and prepares the segment to append to. `first` is its number: above
/// every block of the log; `tail`: where the log ends. Returns the capacity of that segment and the last
/// number that is prepared.
pub(crate) fn begin(shared: &Shared, tail: Lsn, first: u32) -> DiskResult<(u32, u32)> {
    let disk = &*shared.disk;
    let segment_bytes = shared.options.segment_bytes;
    leftovers(shared)?;
    retire_unneeded(shared);
    trim_tail(shared, tail)?;

    // Segments that were ready, or hold only what was cut: ours, under a new epoch.
    let mut last_ready = first - 1;
    for segment in shared.table.all(SegmentKind::Log).into_iter().filter(|s| s.number >= first) {
        shared.table.remove(SegmentKind::Log, segment.number);
        let room = segment.number - first <= shared.options.ready_segments;
        if room && segment.number == last_ready + 1 && segment.file.len()? == u64::from(segment_bytes) {
            let epoch = shared.core.lock().epoch_for(segment.number);
            write_header(&*segment.file, &header(shared, segment.number, epoch, segment_bytes))?;
            shared.table.insert(Arc::new(Segment::open(disk, SegmentKind::Log, segment.number)?));
            last_ready = segment.number;
        } else {
            shared.upkeep.lock().retired.push(segment.number);
        }
    }
    // A file that is given up may have a number that is needed soon.
    while !shared.upkeep.lock().retired.is_empty() {
        tidy(shared)?;
    }
    if last_ready >= first {
        return Ok((segment_bytes, last_ready));
    }
    let spare = !shared.upkeep.lock().spares.is_empty();
    let capacity = if spare { segment_bytes } else { segment_bytes.min(shared.options.first_segment_bytes) };
    let epoch = shared.core.lock().epoch_for(first);
    let wanted = Wanted { number: first, epoch, capacity, filled_to: capacity, urgent: false };
    let prepared = || -> DiskResult<Segment> {
        loop {
            if let Some(segment) = prepare(shared, &wanted)? {
                return Ok(segment);
            }
        }
    };
    let segment = match prepared() {
        Err(e) if e.is_full() => {
            // What the last process was about to give back may be enough.
            while tidy(shared)? {}
            prepared()?
        }
        result => result?,
    };
    shared.core.lock().not_prepared();
    shared.table.insert(Arc::new(segment));
    Ok((capacity, first))
}

/// Unfinished files and spares of the last process.
fn leftovers(shared: &Shared) -> DiskResult<()> {
    for dir in [LOG_DIR, COLD_DIR] {
        for entry in shared.disk.list(dir)? {
            if entry.name.ends_with(UNFINISHED) {
                let path = format!("{dir}/{}", entry.name);
                shared.upkeep.lock().shrinks.push(Shrink { path, keep: None });
            } else if let Some(spare) = number_of(&entry.name, SPARE) {
                let next = shared.upkeep.lock().next_spare.max(spare);
                shared.upkeep.lock().next_spare = next;
                keep_or_shrink(shared, spare, entry.len);
            }
        }
    }
    Ok(())
}

/// What the checkpoints let go of, and the last process had no time to.
fn retire_unneeded(shared: &Shared) {
    let checkpoints = shared.checkpoints.lock();
    let mut upkeep = shared.upkeep.lock();
    for number in shared.table.numbers(SegmentKind::Log) {
        if !checkpoints.needs_segment(number, true) {
            shared.table.remove(SegmentKind::Log, number);
            upkeep.retired.push(number);
        }
    }
    for number in shared.table.numbers(SegmentKind::Cold) {
        if checkpoints.needs_cold(number, true) {
            upkeep.listed_cold.insert(number);
        } else {
            drop_cold(shared, &mut upkeep, number);
        }
    }
}

/// Gives back the unused end of the segment that the last process was writing: nothing is appended there
/// any more. Otherwise each restart would leave a mostly empty segment behind.
fn trim_tail(shared: &Shared, tail: Lsn) -> DiskResult<()> {
    let Some(segment) = shared.table.get(Lsn::new(tail.segment(), 0)) else { return Ok(()) };
    let len = segment.file.len()?;
    let used = u64::from(tail.byte_position()).next_multiple_of(4096);
    if used < len - len / 8 {
        let shrink = Shrink { path: segment_path(segment.number), keep: Some(used) };
        shared.upkeep.lock().shrinks.push(shrink);
    }
    Ok(())
}

impl From<DiskError> for CheckpointError {
    fn from(error: DiskError) -> CheckpointError {
        if error.is_full() { CheckpointError::Full(error) } else { CheckpointError::Fatal(error.into()) }
    }
}
