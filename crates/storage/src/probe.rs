//! How fast the disk makes a small write durable: printed by `serve` and by benchmarks, because every
//! other figure rests on it.

use crate::disk::{Disk, DiskResult};
use crate::error::DiskError;
use crate::real_disk::RealDisk;
use bowline_model::AlignedBuf;
use std::io::IoSlice;
use std::path::Path;
use std::time::{Duration, Instant};

const FILE: &str = "flush-probe.tmp";
const FILE_BYTES: u64 = 4 << 20;
const WRITE_BYTES: usize = 4096;

/// Latencies of durable 4 KiB writes to a zeroed file, one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushProbe {
    pub writes: u64,
    pub p50: Duration,
    pub p90: Duration,
    pub p99: Duration,
    pub max: Duration,
    /// Writes bypass the page cache.
    pub direct: bool,
    pub sector_bytes: u32,
}

/// Probes the file system of `dir`, which must exist, for about `duration`. Leaves nothing behind.
pub fn flush_probe(dir: impl AsRef<Path>, duration: Duration) -> Result<FlushProbe, DiskError> {
    let disk = RealDisk::unlocked(dir.as_ref())?;
    let direct = disk.is_direct();
    Ok(FlushProbe { direct, ..flush_probe_on(&disk, duration)? })
}

/// Probes an open disk. `direct` is not told.
pub fn flush_probe_on(disk: &dyn Disk, duration: Duration) -> DiskResult<FlushProbe> {
    let file = disk.create(FILE)?;
    let result = (|| {
        file.allocate(FILE_BYTES)?;
        file.write_zeros(0, FILE_BYTES)?;
        file.sync()?;
        let data = AlignedBuf::zeroed(WRITE_BYTES);
        let mut took = Vec::new();
        let started = Instant::now();
        while took.is_empty() || started.elapsed() < duration {
            let position = (took.len() as u64 * WRITE_BYTES as u64) % FILE_BYTES;
            let before = Instant::now();
            file.write_durable(position, &[IoSlice::new(data.as_slice())])?;
            took.push(before.elapsed());
        }
        Ok(took)
    })();
    drop(file);
    disk.remove(FILE)?;
    let mut took: Vec<Duration> = result?;
    took.sort_unstable();
    let at = |q: f64| took[((took.len() - 1) as f64 * q) as usize];
    Ok(FlushProbe {
        writes: took.len() as u64,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        max: at(1.0),
        direct: false,
        sector_bytes: disk.sector_bytes(),
    })
}
