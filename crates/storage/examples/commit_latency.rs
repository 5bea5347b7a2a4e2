//! Measures what the log adds to the disk: append → callback at one outstanding block against a raw
//! durable write of the same size, interleaved in one run; then the throughput of 64 KiB blocks.
//!
//! `cargo run --release -p bowline-storage --example commit_latency -- [directory] [payload bytes] [spin µs]`

use bowline_model::{AlignedBuf, ShardId};
use bowline_storage::disk::Entry;
use bowline_storage::{Append, Disk, DiskFile, DiskResult, Log, Options, RealDisk};
use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const ROUNDS: usize = 10;
const PER_ROUND: usize = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir =
        args.next().unwrap_or_else(|| std::env::temp_dir().join("bowline-commit").display().to_string());
    let payload: usize = args.next().map_or(Ok(1024), |a| a.parse())?;
    let _ = std::fs::remove_dir_all(&dir);

    let started = Instant::now();
    let real = RealDisk::open(&dir)?;
    println!("direct {}, sector {}", real.is_direct(), real.sector_bytes());
    let times =
        Arc::new(Times { origin: Instant::now(), begun: AtomicU64::new(0), ended: AtomicU64::new(0) });
    let disk = Arc::new(Timed { disk: real, times: times.clone() });
    let writer_spin = Duration::from_micros(args.next().map_or(Ok(0), |a| a.parse())?);
    let (log, mut recovered) = Log::open(disk.clone(), Options { writer_spin, ..Options::default() })?;
    recovered.replay.skip_all()?;
    let (done, wait) = mpsc::channel::<Instant>();
    let outstanding = Arc::new(AtomicU64::new(0));
    let counter = outstanding.clone();
    log.start(Arc::new(move |_, result| {
        result.expect("the disk works");
        counter.fetch_sub(1, Ordering::Release);
        let _ = done.send(Instant::now());
    }))?;
    println!("start of an empty log: {:?}", started.elapsed());

    // A raw file, zeroed before, written at the size that the block takes.
    let sector = disk.sector_bytes() as usize;
    let block = (128 + payload).next_multiple_of(sector);
    let raw = disk.create("raw")?;
    raw.write_zeros(0, 64 << 20)?;
    raw.sync()?;
    let mut index = 0;
    let mut append = |size: usize| {
        let mut buf = AlignedBuf::with_payload_capacity(size);
        buf.extend_from_slice(&vec![7; size]);
        index += 1;
        outstanding.fetch_add(1, Ordering::Relaxed);
        let append =
            Append { shard: ShardId(1), term: 1, index, stamp: 0, n_records: 1, buf, essential: false };
        (append, Instant::now())
    };

    let (mut raw_took, mut log_took) = (Vec::new(), Vec::new());
    let (mut woke, mut wrote, mut called) = (Vec::new(), Vec::new(), Vec::new());
    let data = AlignedBuf::zeroed(block);
    let mut at = 0;
    for _ in 0..ROUNDS {
        for _ in 0..PER_ROUND {
            let start = Instant::now();
            raw.write_durable(at, &[IoSlice::new(data.as_slice())])?;
            raw_took.push(start.elapsed());
            at = (at + block as u64) % (60 << 20);
        }
        for _ in 0..PER_ROUND {
            let (block, start) = append(payload);
            log.append(block)?;
            let end = wait.recv()?;
            log_took.push(end - start);
            let at = |t: &AtomicU64| times.origin + Duration::from_nanos(t.load(Ordering::Acquire));
            let (begun, ended) = (at(&times.begun), at(&times.ended));
            woke.push(begun.saturating_duration_since(start));
            wrote.push(ended.saturating_duration_since(begun));
            called.push(end.saturating_duration_since(ended));
        }
    }
    println!("{payload} B payload, {block} B on disk, one outstanding, {} of each:", ROUNDS * PER_ROUND);
    report("  raw durable write ", raw_took);
    report("  append to callback", log_took);
    report("    append to write ", woke);
    report("    the write itself", wrote);
    report("    write to callback", called);

    for (size, window) in [(1024, 64), (64 << 10, 16), (256 << 10, 8)] {
        let before = log.stats();
        let start = Instant::now();
        let mut sent = 0u64;
        while start.elapsed() < Duration::from_secs(2) {
            while outstanding.load(Ordering::Acquire) >= window {
                let _ = wait.recv_timeout(Duration::from_millis(100));
            }
            log.append(append(size).0)?;
            sent += 1;
        }
        log.wait_durable(last(&log))?;
        let (seconds, stats) = (start.elapsed().as_secs_f64(), log.stats());
        println!(
            "{:>4} KiB blocks, {window:>2} in flight: {:>8.0} blocks/s {:>6.0} MB/s, {:.1} blocks a write, {:.3} bytes written per payload byte, {} unprepared rolls",
            size >> 10,
            sent as f64 / seconds,
            sent as f64 * size as f64 / seconds / 1e6,
            (stats.blocks - before.blocks) as f64 / (stats.writes - before.writes) as f64,
            (stats.bytes - before.bytes) as f64 / (stats.payload_bytes - before.payload_bytes) as f64,
            stats.unprepared_rolls - before.unprepared_rolls,
        );
        while wait.try_recv().is_ok() {}
    }
    log.close()?;
    drop((log, disk, raw, append, recovered));

    let started = Instant::now();
    let (_, mut recovered) = Log::open(Arc::new(RealDisk::open(&dir)?), Options::default())?;
    recovered.replay.skip_all()?;
    let (seconds, report) = (started.elapsed().as_secs_f64(), recovered.replay.report().clone());
    println!(
        "replay of everything: {} blocks, {} MB in {seconds:.2} s: {:.0} MB/s",
        report.scanned_blocks,
        report.scanned_bytes / 1_000_000,
        report.scanned_bytes as f64 / seconds / 1e6
    );
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn last(log: &Log) -> bowline_model::Lsn {
    let (_, index) = log.last(ShardId(1)).expect("something was appended");
    log.locate(ShardId(1), index).expect("nothing was purged")
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |q: f64| took[((took.len() - 1) as f64 * q) as usize].as_nanos() as f64 / 1e3;
    println!(
        "{what}: p50 {:.1} µs, p90 {:.1}, p99 {:.1}, p99.9 {:.1}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999)
    );
}

/// When the last write of the log began and ended, ns after `origin`.
struct Times {
    origin: Instant,
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A real disk that notes the times of durable writes.
struct Timed {
    disk: RealDisk,
    times: Arc<Times>,
}

struct TimedFile {
    file: Arc<dyn DiskFile>,
    times: Arc<Times>,
}

impl Timed {
    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if file.path() == "raw" { file } else { Arc::new(TimedFile { file, times: self.times.clone() }) }
    }
}

impl Disk for Timed {
    fn sector_bytes(&self) -> u32 {
        self.disk.sector_bytes()
    }
    fn describe(&self) -> String {
        self.disk.describe()
    }
    fn open(&self, path: &str) -> DiskResult<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.disk.open(path)?))
    }
    fn create(&self, path: &str) -> DiskResult<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.disk.create(path)?))
    }
    fn create_dir(&self, dir: &str) -> DiskResult<()> {
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &str) -> DiskResult<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> DiskResult<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        self.disk.sync_dir(dir)
    }
    fn free_bytes(&self) -> DiskResult<u64> {
        self.disk.free_bytes()
    }
}

impl DiskFile for TimedFile {
    fn path(&self) -> &str {
        self.file.path()
    }
    fn write_durable(&self, position: u64, data: &[IoSlice<'_>]) -> DiskResult<()> {
        let now = || self.times.origin.elapsed().as_nanos() as u64;
        self.times.begun.store(now(), Ordering::Release);
        let result = self.file.write_durable(position, data);
        self.times.ended.store(now(), Ordering::Release);
        result
    }
    fn write(&self, position: u64, data: &[u8]) -> DiskResult<()> {
        self.file.write(position, data)
    }
    fn read_at(&self, position: u64, buf: &mut [u8]) -> DiskResult<usize> {
        self.file.read_at(position, buf)
    }
    fn allocate(&self, len: u64) -> DiskResult<()> {
        self.file.allocate(len)
    }
    fn write_zeros(&self, position: u64, len: u64) -> DiskResult<()> {
        self.file.write_zeros(position, len)
    }
    fn truncate(&self, len: u64) -> DiskResult<()> {
        self.file.truncate(len)
    }
    fn len(&self) -> DiskResult<u64> {
        self.file.len()
    }
    fn sync(&self) -> DiskResult<()> {
        self.file.sync()
    }
}
