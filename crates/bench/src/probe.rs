//! How long this disk takes to flush one small write, measured beside every result: without it a latency says
//! nothing.
//!
//! 4 KiB at a time into blocks that were written before, each write durable when it returns: direct and
//! synchronous where the file system can do that, else buffered with RWF_DSYNC.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::fs::{Mode, OFlags, fsync, open, unlink};
use rustix::io::{Errno, IoSlice, ReadWriteFlags, pwrite, pwritev2};
use serde::Serialize;

const BLOCK: usize = 4096;
const BLOCKS: usize = 256;
/// No flush is taken to last longer than a minute.
const FLUSH_MAX_NS: u64 = 60_000_000_000;

/// The disk's own latency.
#[derive(Clone, Debug, Serialize)]
pub struct FlushProbe {
    /// `O_DIRECT|O_DSYNC` or `RWF_DSYNC`.
    pub method: &'static str,
    pub writes: u64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
}

/// Writes for about `duration` into a scratch file in `directory`, which is removed again.
pub fn flush_probe(directory: &Path, duration: Duration) -> io::Result<FlushProbe> {
    let path = directory.join(format!(".bowline-flush-probe-{}", std::process::id()));
    let outcome = probe_file(&path, duration);
    let _ = unlink(&path);
    outcome
}

fn probe_file(path: &Path, duration: Duration) -> io::Result<FlushProbe> {
    // Room to find an aligned block in.
    let buffer = vec![0x5A_u8; BLOCK * 2];
    let skip = buffer.as_ptr().align_offset(BLOCK);
    let block = &buffer[skip..skip + BLOCK];
    let plain = open(path, OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))?;
    for index in 0..BLOCKS {
        pwrite(&plain, block, (index * BLOCK) as u64)?;
    }
    fsync(&plain)?;
    let direct = open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::DIRECT | OFlags::DSYNC, Mode::empty());
    let (file, method) = match direct {
        Ok(file) => (file, "O_DIRECT|O_DSYNC"),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => (plain, "RWF_DSYNC"),
        Err(errno) => return Err(errno.into()),
    };
    let mut histogram = Histogram::<u64>::new_with_bounds(1, FLUSH_MAX_NS, 3).map_err(io::Error::other)?;
    let start = Instant::now();
    let mut index = 0;
    while start.elapsed() < duration {
        let offset = (index % BLOCKS * BLOCK) as u64;
        let before = Instant::now();
        if method == "RWF_DSYNC" {
            pwritev2(&file, &[IoSlice::new(block)], offset, ReadWriteFlags::DSYNC)?;
        } else {
            pwrite(&file, block, offset)?;
        }
        histogram.saturating_record(before.elapsed().as_nanos() as u64);
        index += 1;
    }
    Ok(FlushProbe {
        method,
        writes: histogram.len(),
        p50_ns: histogram.value_at_quantile(0.5),
        p99_ns: histogram.value_at_quantile(0.99),
        max_ns: histogram.max(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_and_cleans_up() {
        let directory = tempfile::tempdir().unwrap();
        let probe = flush_probe(directory.path(), Duration::from_millis(20)).unwrap();
        assert!(probe.writes > 0 && probe.p50_ns > 0 && probe.p50_ns <= probe.max_ns);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
