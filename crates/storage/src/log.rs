//! The handle that everybody holds: append, read, locate, checkpoint.

use crate::checkpoint::Checkpoints;
use crate::cold::ColdWriter;
use crate::core::{Chain, LogCore, Outcome};
use crate::disk::Disk;
use crate::driver::Driver;
use crate::error::{AppendError, CheckpointError, ColdError, Fatal, OpenError, ReadError};
use crate::format_file::Format;
use crate::header::SegmentKind;
use crate::options::Options;
use crate::recovery::{self, Recovered, Tail};
use crate::segments::Table;
use crate::stats::{Counters, Stats};
use crate::types::{Append, Checkpoint, OnComplete, Space};
use crate::upkeep::Upkeep;
use crate::writer::Wakers;
use bowline_model::{BlockRef, Lsn, ShardId};
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// The node's log. Cheap to clone, usable from any thread. When the last handle is dropped the threads
/// stop; [`Log::close`] stops them in order.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the handle, the writer threads and the upkeep thread share.
///
/// Locks, in the order in which they may be taken: `upkeep`, `checkpoints`, `chain`, `core`, then the
/// table's. None is held during I/O on the commit path.
pub(crate) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub options: Options,
    pub format: Format,
    pub sector_bytes: u32,
    pub table: Table,
    pub core: Mutex<LogCore>,
    /// What the next header says of the block before it; held from taking an op until it is sealed.
    pub chain: Mutex<Chain>,
    /// Copy of `core.durable()` for readers; all ones until the log is started.
    pub durable: AtomicU64,
    pub durable_waiters: Condvar,
    pub delivering: AtomicBool,
    pub on_complete: OnceLock<OnComplete>,
    pub counters: Counters,
    /// How long the last write took, nanoseconds.
    pub last_write_ns: AtomicU64,
    pub checkpoints: Mutex<Checkpoints>,
    pub upkeep: Mutex<Upkeep>,
    pub wakers: Wakers,
    /// Set by the replay when it has found the end of the log.
    pub tail: Mutex<Option<Tail>>,
    pub next_cold: AtomicU64,
}

impl Log {
    /// Opens the log on a data directory, making it if it is new. What is in it comes back in
    /// [`Recovered`], whose replay must be exhausted before [`Log::start`].
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Log, Recovered), OpenError> {
        let (shared, recovered) = recovery::open(disk, options)?;
        Ok((Log { handle: Arc::new(Handle { shared, threads: Mutex::default() }) }, recovered))
    }

    /// Starts the writer threads; appends are accepted from now on. The replay must be exhausted.
    pub fn start(&self, on_complete: OnComplete) -> Result<(), OpenError> {
        recovery::start(self.shared(), on_complete)?;
        let threads = crate::writer::spawn(self.shared())
            .map_err(|e| crate::DiskError::new("start the threads of", "log", None, e))?;
        self.handle.threads.lock().extend(threads);
        Ok(())
    }

    /// As [`Log::start`], without threads: nothing happens unless the returned driver is told to. For simulation.
    pub fn start_manual(&self, on_complete: OnComplete) -> Result<Driver, OpenError> {
        recovery::start(self.shared(), on_complete)?;
        Ok(Driver::new(self.shared().clone()))
    }

    /// Places a block and queues it for the writers; returns its position. Never waits for the disk.
    /// `on_complete` is called for it later, exactly once, unless an error is returned here.
    pub fn append(&self, append: Append) -> Result<Lsn, AppendError> {
        self.with_core_and_wake(|core| core.place(append))
    }

    /// As [`Log::append`], but no writer is woken: [`Log::write_here`] must follow soon, on any thread.
    pub fn append_held(&self, append: Append) -> Result<Lsn, AppendError> {
        let shared = self.shared();
        let mut core = shared.core.lock();
        let result = core.place(append);
        shared.wakers.appended();
        let upkeep = !core.alarm() && core.wants_segment().is_some();
        drop(core);
        if upkeep {
            shared.wakers.wake_upkeep();
        }
        result
    }

    /// Sees to it that what [`Log::append_held`] placed is written: on this thread, if it is little, the log is idle
    /// and the disk is quick, or else by a writer. Called back is before this returns, or later.
    ///
    /// Two threads hand a write over and back in about the time that a quick disk takes for it.
    pub fn write_here(&self) {
        crate::writer::write_here(self.shared());
    }

    /// Records that the entries of `shard` from `from_index` on are void (a conflict with the leader).
    /// Takes effect in memory at once; durable when `wait_durable` of the returned position says so, and in
    /// any case before anything appended later is.
    pub fn truncate_suffix(&self, shard: ShardId, from_index: u64) -> Result<Lsn, AppendError> {
        self.with_core_and_wake(|core| core.place_truncate(shard, from_index))
    }

    /// The entries of `shard` up to and including `upto_index` need not be located any more. Their blocks
    /// stay until a checkpoint lets their segments go. To be called after each checkpoint, or the index of
    /// entries (16 bytes each) grows.
    pub fn purge_prefix(&self, shard: ShardId, upto_index: u64) {
        self.shared().core.lock().shards.purge(shard, upto_index);
    }

    /// Term and index of the last entry of `shard`, durable or not. `None` if it never had one.
    pub fn last(&self, shard: ShardId) -> Option<(u64, u64)> {
        self.shared().core.lock().shards.last(shard)
    }

    /// Term and index of the last purged entry of `shard`: the one before the first that can be located.
    /// The term is 0 if it is not known.
    pub fn purged(&self, shard: ShardId) -> Option<(u64, u64)> {
        self.shared().core.lock().shards.purged(shard)
    }

    /// Where entry `index` of `shard` lies, if it was not purged.
    pub fn locate(&self, shard: ShardId, index: u64) -> Option<Lsn> {
        self.shared().core.lock().shards.get(shard, index).map(|(_, lsn)| lsn)
    }

    /// Term of entry `index` of `shard`, if it was not purged.
    pub fn term_of(&self, shard: ShardId, index: u64) -> Option<u64> {
        self.shared().core.lock().shards.get(shard, index).map(|(term, _)| term)
    }

    /// Where the next block would go: above all blocks appended so far.
    pub fn position(&self) -> Lsn {
        self.shared().core.lock().position()
    }

    /// Every block up to and including this one is on stable storage.
    pub fn durable(&self) -> Lsn {
        self.shared().core.lock().durable()
    }

    /// Waits until the block at `lsn` is on stable storage. Not for a thread that drives a manual log.
    pub fn wait_durable(&self, lsn: Lsn) -> Result<(), Fatal> {
        let mut core = self.shared().core.lock();
        while core.durable() < lsn {
            if let Some(fatal) = core.poisoned() {
                return Err(fatal.clone());
            }
            self.shared().durable_waiters.wait(&mut core);
        }
        Ok(())
    }

    /// Reads one block from the log or a cold file, checking header and payload. One or two direct reads.
    pub fn read(&self, lsn: Lsn) -> Result<BlockRef, ReadError> {
        crate::reader::read(self.shared(), lsn)
    }

    /// Reads the block at `lsn` and those after it in the same file, of whatever shard, in one large direct
    /// read of about `max_bytes`: at least one block, at most `max_blocks`. The payloads are slices of one
    /// buffer, which lives as long as any of them. Blocks of the log's own are left out, so the result may
    /// be empty. An error concerns the block at `lsn`; a bad one behind it just ends the run.
    pub fn read_run(
        &self,
        lsn: Lsn,
        max_bytes: usize,
        max_blocks: usize,
    ) -> Result<Vec<BlockRef>, ReadError> {
        crate::reader::read_run(self.shared(), lsn, max_bytes, max_blocks).map(|run| run.blocks)
    }

    /// As [`Log::read_run`], and tells where to go on.
    pub fn read_on(
        &self,
        lsn: Lsn,
        max_bytes: usize,
        max_blocks: usize,
    ) -> Result<crate::reader::Run, ReadError> {
        crate::reader::read_run(self.shared(), lsn, max_bytes, max_blocks)
    }

    /// Writes a checkpoint and lets go of what it and the one before it do not need. Blocks for as long as
    /// that takes; one at a time. See [`crate::ShardCheckpoint::replay_from`] for how to take one.
    pub fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        crate::upkeep::write_checkpoint(self.shared(), checkpoint)
    }

    /// Begins a cold file. `pace` is called after each write with its bytes and may sleep, to limit the rate.
    pub fn new_cold_file(&self, pace: Option<Box<dyn FnMut(usize) + Send>>) -> Result<ColdWriter, ColdError> {
        ColdWriter::create(self.shared().clone(), pace)
    }

    /// Gives up a cold file that no checkpoint has listed yet. One that was listed goes by not being listed.
    pub fn remove_cold(&self, file: u32) {
        crate::upkeep::remove_cold(self.shared(), file);
    }

    /// Room on the disk; updates the alarm.
    pub fn space(&self) -> Space {
        crate::upkeep::space(self.shared())
    }

    /// Why the log has stopped, if it has.
    pub fn fatal(&self) -> Option<Fatal> {
        self.shared().core.lock().poisoned().cloned()
    }

    pub fn format(&self) -> Format {
        self.shared().format
    }

    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let mut stats = shared.counters.snapshot();
        {
            let core = shared.core.lock();
            stats.queued_bytes = core.queued_bytes() as u64;
            stats.unprepared_rolls = core.unprepared_rolls();
            let active = core.active_segment().unwrap_or(u32::MAX);
            stats.segments_ready = core.prepared_upto().saturating_sub(active);
        }
        let files = shared.table.numbers(SegmentKind::Log).len() as u32;
        stats.segments_used = files.saturating_sub(stats.segments_ready);
        stats.segments_spare = shared.upkeep.lock().spares.len() as u32;
        stats.cold_files = shared.table.numbers(SegmentKind::Cold).len() as u32;
        stats
    }

    /// The numbers of all segments that hold data or are being written.
    pub fn segments(&self) -> Vec<u32> {
        let active = self.shared().core.lock().active_segment().unwrap_or(u32::MAX);
        let mut numbers = self.shared().table.numbers(SegmentKind::Log);
        numbers.retain(|n| *n <= active);
        numbers
    }

    /// The files that hold data, by [`Lsn::file`], with their lengths in bytes: segments, oldest first (the last is
    /// being written), then cold files.
    pub fn files(&self) -> Vec<(Lsn, u64)> {
        let active = self.shared().core.lock().active_segment().unwrap_or(u32::MAX);
        let table = &self.shared().table;
        let mut all = table.all(SegmentKind::Log);
        all.retain(|s| s.number <= active);
        all.extend(table.all(SegmentKind::Cold));
        all.iter().map(|s| (s.lsn(0), s.len)).collect()
    }

    /// Stops in order: waits for what was appended, records the durable position, ends the threads. Nothing
    /// can be appended or written afterwards. A log that a [`Driver`] drives is closed by that.
    pub fn close(&self) -> Result<(), Fatal> {
        let threads = !self.handle.threads.lock().is_empty();
        let result = if threads { crate::writer::finish(self.shared()) } else { Ok(()) };
        self.handle.stop();
        result
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    fn with_core_and_wake<T>(
        &self,
        place: impl FnOnce(&mut LogCore) -> Result<T, AppendError>,
    ) -> Result<T, AppendError> {
        let shared = self.shared();
        let mut core = shared.core.lock();
        let result = place(&mut core);
        // On a full disk upkeep tries again by itself, now and then.
        let upkeep = !core.alarm() && core.wants_segment().is_some();
        let writer = shared.wakers.writer_for(core.can_take());
        drop(core);
        shared.wakers.wake(writer);
        if upkeep {
            shared.wakers.wake_upkeep();
        }
        result
    }
}

impl Handle {
    fn stop(&self) {
        self.shared.wakers.stop(&self.shared.core);
        let me = std::thread::current().id();
        for thread in self.threads.lock().drain(..) {
            // The last handle may be dropped by a callback on one of our own threads.
            if thread.thread().id() != me {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Publishes what became durable and calls back, in lsn order: one thread at a time delivers, others
    /// leave theirs to it.
    pub fn deliver(&self) {
        let mut core = self.core.lock();
        self.durable.store(core.durable().0, Ordering::Release);
        self.durable_waiters.notify_all();
        if self.delivering.swap(true, Ordering::Relaxed) {
            return;
        }
        while let Some(outcome) = core.take_outcome() {
            drop(core);
            self.call_back(outcome);
            core = self.core.lock();
        }
        // Under the core's lock, so that an outcome pushed later finds the flag down.
        self.delivering.store(false, Ordering::Relaxed);
    }

    fn call_back(&self, outcome: Outcome) {
        let Some(on_complete) = self.on_complete.get() else { return };
        match outcome {
            Outcome::Durable(blocks) => {
                for placed in blocks {
                    Counters::add(&self.counters.blocks, 1);
                    Counters::add(&self.counters.bytes, placed.bytes().len() as u64);
                    Counters::add(&self.counters.payload_bytes, placed.payload_len() as u64);
                    if placed.is_entry() {
                        on_complete(placed.shard, Ok(placed.into_block()));
                    }
                }
            }
            Outcome::Failed(blocks, fatal) => {
                for placed in blocks.into_iter().filter(|b| b.is_entry()) {
                    on_complete(placed.shard, Err(fatal.clone()));
                }
            }
        }
    }

    /// Stops the log for good.
    pub fn poison(&self, fatal: Fatal) -> Fatal {
        tracing::error!(error = %fatal, "the log stops");
        let fatal = self.core.lock().poison(fatal);
        self.deliver();
        fatal
    }
}
