//! The threads of a log: writers, and one for upkeep.
//!
//! A writer takes a run of adjacent blocks, seals them, writes them durably and reports. While it writes,
//! the next run gathers: group commit without a timer. Idle threads sleep on a futex; an append wakes one
//! writer, the same one first, whose caches are warmest.

use crate::core::{LogCore, WriteOp};
use crate::disk::DiskFile;
use crate::error::{AppendError, Fatal};
use crate::log::Shared;
use bowline_model::Lsn;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long upkeep waits before it tries again to get space on a full disk.
const FULL_RETRY: Duration = Duration::from_secs(1);
const WRITERS_MAX: usize = 8;
/// A write that is made where it was asked for ([`crate::Log::write_here`]) is at most this large, bytes …
const HERE_BYTES_MAX: usize = 32 << 10;
/// … on a disk whose last write took at most this long, nanoseconds: the caller can do nothing else meanwhile.
const HERE_NS_MAX: u64 = 500_000;

/// Where threads sleep.
pub(crate) struct Wakers {
    /// Bit i: writer i sleeps. Changed under the core's lock.
    asleep: AtomicU32,
    /// Changes with each append: what a spinning writer watches.
    appends: AtomicU32,
    /// Writers that watch it. Changed under the core's lock.
    spinning: AtomicU32,
    writers: [Condvar; WRITERS_MAX],
    /// Some writer sleeps with a timeout, to seal the log when it stays idle.
    sealing: AtomicBool,
    upkeep: Mutex<bool>,
    upkeep_wake: Condvar,
    stopping: AtomicBool,
}

impl Wakers {
    pub fn new() -> Wakers {
        Wakers {
            asleep: AtomicU32::new(0),
            appends: AtomicU32::new(0),
            spinning: AtomicU32::new(0),
            writers: Default::default(),
            sealing: AtomicBool::new(false),
            upkeep: Mutex::new(false),
            upkeep_wake: Condvar::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Something was appended, and no writer needs to be woken for it.
    pub fn appended(&self) {
        self.appends.fetch_add(1, Ordering::Relaxed);
    }

    /// The writer to wake so that one waits for the log to fall idle, if none does. With the core's lock held.
    fn writer_to_seal(&self) -> Option<usize> {
        let asleep = self.asleep.load(Ordering::Relaxed);
        if asleep == 0 || self.sealing.load(Ordering::Relaxed) {
            return None;
        }
        let i = asleep.trailing_zeros();
        self.asleep.store(asleep & !(1 << i), Ordering::Relaxed);
        Some(i as usize)
    }

    /// The writer to wake if there is `work`, if one must be. With the core's lock held; the caller lets go
    /// of the lock and then calls [`Wakers::wake`], or the woken thread would only run into the lock.
    pub fn writer_for(&self, work: bool) -> Option<usize> {
        self.appends.fetch_add(1, Ordering::Relaxed);
        let asleep = self.asleep.load(Ordering::Relaxed);
        if !work || asleep == 0 || self.spinning.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let i = asleep.trailing_zeros();
        self.asleep.store(asleep & !(1 << i), Ordering::Relaxed);
        Some(i as usize)
    }

    pub fn wake(&self, writer: Option<usize>) {
        if let Some(i) = writer {
            self.writers[i].notify_one();
        }
    }

    pub fn wake_upkeep(&self) {
        let mut wanted = self.upkeep.lock();
        if !*wanted {
            *wanted = true;
            self.upkeep_wake.notify_one();
        }
    }

    pub fn stop(&self, core: &Mutex<LogCore>) {
        self.stopping.store(true, Ordering::Relaxed);
        let core = core.lock();
        self.asleep.store(0, Ordering::Relaxed);
        self.writers.iter().for_each(|w| {
            w.notify_one();
        });
        drop(core);
        self.wake_upkeep();
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Sleeps until woken or, with a `timeout`, until it has passed: then true.
    fn sleep(&self, i: usize, core: &mut MutexGuard<'_, LogCore>, timeout: Option<Duration>) -> bool {
        self.asleep.fetch_or(1 << i, Ordering::Relaxed);
        let timed_out = match timeout {
            Some(timeout) => self.writers[i].wait_for(core, timeout).timed_out(),
            None => {
                self.writers[i].wait(core);
                false
            }
        };
        self.asleep.fetch_and(!(1 << i), Ordering::Relaxed);
        timed_out
    }
}

/// Starts the threads of a log.
pub(crate) fn spawn(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for i in 0..shared.options.writers.clamp(1, WRITERS_MAX) {
        let shared = shared.clone();
        threads.push(
            std::thread::Builder::new().name(format!("log-writer-{i}")).spawn(move || write(&shared, i))?,
        );
    }
    let shared = shared.clone();
    threads.push(std::thread::Builder::new().name("log-upkeep".into()).spawn(move || keep_up(&shared))?);
    Ok(threads)
}

/// The life of writer `i`.
fn write(shared: &Shared, i: usize) {
    let _guard = PanicGuard(shared);
    let mut file = CurrentFile::default();
    while wait_for_work(shared, i) {
        let Some(op) = next_op(shared) else { continue };
        write_op(shared, &mut file, op);
    }
}

fn write_op(shared: &Shared, file: &mut CurrentFile, op: WriteOp) {
    let started = Instant::now();
    let result = file.write(shared, &op);
    let took = started.elapsed();
    shared.counters.write_took(took);
    shared.last_write_ns.store(took.as_nanos() as u64, Ordering::Relaxed);
    report(shared, op, result);
}

/// See [`crate::Log::write_here`].
pub(crate) fn write_here(shared: &Shared) {
    let core = shared.core.lock();
    let quick = shared.last_write_ns.load(Ordering::Relaxed) <= HERE_NS_MAX;
    if !quick || !core.is_little(HERE_BYTES_MAX) {
        let writer = shared.wakers.writer_for(core.can_take());
        drop(core);
        return shared.wakers.wake(writer);
    }
    drop(core);
    let _guard = PanicGuard(shared);
    // None: somebody else has taken it meanwhile.
    if let Some(op) = next_op(shared) {
        write_op(shared, &mut CurrentFile::default(), op);
    }
    let core = shared.core.lock();
    let more = shared.wakers.writer_for(core.can_take());
    let writer = more.or_else(|| if core.wants_seal() { shared.wakers.writer_to_seal() } else { None });
    drop(core);
    shared.wakers.wake(writer);
}

/// A thread of the log that panics (a callback's bug) stops the log: better than a log that hangs.
struct PanicGuard<'a>(&'a Shared);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = io::Error::other("a thread of the log panicked");
            self.0.core.lock().poison(crate::DiskError::new("run", "log", None, reason).into());
            self.0.durable_waiters.notify_all();
        }
    }
}

/// Sleeps until there is a write to make. False: the log is stopping.
fn wait_for_work(shared: &Shared, i: usize) -> bool {
    let wakers = &shared.wakers;
    let mut core = shared.core.lock();
    if !shared.options.writer_spin.is_zero() && !core.can_take() {
        wakers.spinning.fetch_add(1, Ordering::Relaxed);
        let seen = wakers.appends.load(Ordering::Relaxed);
        drop(core);
        let started = Instant::now();
        while wakers.appends.load(Ordering::Relaxed) == seen && started.elapsed() < shared.options.writer_spin
        {
            std::hint::spin_loop();
        }
        core = shared.core.lock();
        wakers.spinning.fetch_sub(1, Ordering::Relaxed);
    }
    while !core.can_take() {
        if wakers.is_stopping() {
            return false;
        }
        let seals = core.wants_seal() && !wakers.sealing.swap(true, Ordering::Relaxed);
        if !seals {
            wakers.sleep(i, &mut core, None);
            continue;
        }
        let seen = wakers.appends.load(Ordering::Relaxed);
        let idle = wakers.sleep(i, &mut core, Some(shared.options.idle_seal_after))
            && wakers.appends.load(Ordering::Relaxed) == seen;
        wakers.sealing.store(false, Ordering::Relaxed);
        if idle && core.wants_seal() {
            match core.place_seal(false) {
                Ok(_) => wake_upkeep_for(shared, &core),
                // A full disk: the position is recorded by the next block instead.
                Err(_) => {
                    wakers.sleep(i, &mut core, None);
                }
            }
        }
    }
    true
}

/// Takes and seals the next write. The chain's lock keeps sealing in the order of taking.
pub(crate) fn next_op(shared: &Shared) -> Option<WriteOp> {
    let mut chain = shared.chain.lock();
    let mut core = shared.core.lock();
    let mut op = core.take()?;
    // More than one write's worth is waiting: another writer can help.
    let helper = shared.wakers.writer_for(core.can_take());
    drop(core);
    shared.wakers.wake(helper);
    op.seal(&mut chain, shared.sector_bytes);
    Some(op)
}

/// Tells the core what became of `op`, and calls back.
pub(crate) fn report(shared: &Shared, op: WriteOp, result: Result<(), Fatal>) {
    crate::stats::Counters::add(&shared.counters.writes, 1);
    match result {
        Ok(()) => shared.core.lock().completed(op),
        Err(fatal) => {
            tracing::error!(error = %fatal, "the log stops");
            shared.core.lock().failed(op, fatal);
        }
    }
    shared.deliver();
}

/// The file written last, so that the table is asked once per segment.
#[derive(Default)]
pub(crate) struct CurrentFile {
    current: Option<(u32, Arc<dyn DiskFile>)>,
}

impl CurrentFile {
    pub fn of(&mut self, shared: &Shared, op: &WriteOp) -> Result<Arc<dyn DiskFile>, Fatal> {
        if let Some((number, file)) = &self.current
            && *number == op.segment
        {
            return Ok(file.clone());
        }
        let segment = shared.table.get(Lsn::new(op.segment, 0)).ok_or_else(|| {
            let path = crate::segments::segment_path(op.segment);
            crate::DiskError::new("find", path, None, io::ErrorKind::NotFound.into())
        })?;
        self.current = Some((op.segment, segment.file.clone()));
        Ok(segment.file.clone())
    }

    fn write(&mut self, shared: &Shared, op: &WriteOp) -> Result<(), Fatal> {
        let file = self.of(shared, op)?;
        Ok(file.write_durable(u64::from(op.position), &op.slices())?)
    }
}

/// The life of the upkeep thread.
fn keep_up(shared: &Shared) {
    let _guard = PanicGuard(shared);
    while !shared.wakers.is_stopping() {
        let alarm = match crate::upkeep::step(shared) {
            Ok(crate::upkeep::Step::Worked) => continue,
            Ok(crate::upkeep::Step::Idle) => false,
            Ok(crate::upkeep::Step::Full) => true,
            Err(fatal) => {
                shared.poison(fatal);
                return;
            }
        };
        let mut wanted = shared.wakers.upkeep.lock();
        if alarm && !*wanted {
            shared.wakers.upkeep_wake.wait_for(&mut wanted, FULL_RETRY);
        } else if !*wanted {
            shared.wakers.upkeep_wake.wait(&mut wanted);
        }
        *wanted = false;
    }
}

/// A seal, too, may be the first block of a segment that is not there yet.
fn wake_upkeep_for(shared: &Shared, core: &LogCore) {
    if !core.alarm() && core.wants_segment().is_some() {
        shared.wakers.wake_upkeep();
    }
}

/// Waits for what was appended and records the durable position. For [`crate::Log::close`].
pub(crate) fn finish(shared: &Shared) -> Result<(), Fatal> {
    let mut core = shared.core.lock();
    if !core.is_open() || shared.wakers.is_stopping() {
        return core.poisoned().cloned().map_or(Ok(()), Err);
    }
    core.close();
    let last = core.last_placed();
    wait(shared, &mut core, last)?;
    match core.place_seal(true) {
        Ok(lsn) => {
            wake_upkeep_for(shared, &core);
            shared.wakers.wake(shared.wakers.writer_for(core.can_take()));
            wait(shared, &mut core, lsn)
        }
        Err(AppendError::Fatal(fatal)) => Err(fatal),
        // Closed without a seal, on a full disk: the next start looks for a torn tail, that is all.
        Err(_) => Ok(()),
    }
}

fn wait(shared: &Shared, core: &mut MutexGuard<'_, LogCore>, lsn: Lsn) -> Result<(), Fatal> {
    while core.durable() < lsn {
        if let Some(fatal) = core.poisoned() {
            return Err(fatal.clone());
        }
        shared.durable_waiters.wait(core);
    }
    Ok(())
}
