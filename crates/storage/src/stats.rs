//! Counters of the log, for metrics and for `inspect`. Writing them takes no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of the flush latency: bucket `i` counts writes that took less than 2^i µs (and no less than half that).
pub const LATENCY_BUCKETS: usize = 32;

#[derive(Default)]
pub(crate) struct Counters {
    pub blocks: AtomicU64,
    pub bytes: AtomicU64,
    pub payload_bytes: AtomicU64,
    pub writes: AtomicU64,
    pub cold_bytes: AtomicU64,
    pub checkpoints: AtomicU64,
    pub checkpoint_bytes: AtomicU64,
    pub unprepared_rolls: AtomicU64,
    flush: [AtomicU64; LATENCY_BUCKETS],
}

impl Counters {
    pub fn write_took(&self, took: Duration) {
        let bucket = 64 - (took.as_micros() as u64).leading_zeros() as usize;
        self.flush[bucket.min(LATENCY_BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> Stats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Stats {
            blocks: get(&self.blocks),
            bytes: get(&self.bytes),
            payload_bytes: get(&self.payload_bytes),
            writes: get(&self.writes),
            cold_bytes: get(&self.cold_bytes),
            checkpoints: get(&self.checkpoints),
            checkpoint_bytes: get(&self.checkpoint_bytes),
            unprepared_rolls: get(&self.unprepared_rolls),
            flush_latency: std::array::from_fn(|i| get(&self.flush[i])),
            ..Stats::default()
        }
    }
}

/// Counters since the log was opened, and its present state.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Blocks made durable, the log's own included.
    pub blocks: u64,
    /// Bytes of those blocks with headers and padding.
    pub bytes: u64,
    pub payload_bytes: u64,
    /// Durable writes; each carried one or more blocks.
    pub writes: u64,
    pub cold_bytes: u64,
    pub checkpoints: u64,
    pub checkpoint_bytes: u64,
    /// Rolls to a segment that was not prepared yet: the disk is slower than the log is fast.
    pub unprepared_rolls: u64,
    /// See [`LATENCY_BUCKETS`].
    pub flush_latency: [u64; LATENCY_BUCKETS],
    /// Bytes handed in and not yet taken by a writer.
    pub queued_bytes: u64,
    /// Segments with data, the active one included.
    pub segments_used: u32,
    /// Segments prepared ahead.
    pub segments_ready: u32,
    /// Recycled segments kept for later use.
    pub segments_spare: u32,
    pub cold_files: u32,
}

impl Stats {
    /// The upper bound, in µs, of the bucket that holds the `q` quantile (0..=1) of flush latencies.
    pub fn flush_quantile_us(&self, q: f64) -> u64 {
        let total: u64 = self.flush_latency.iter().sum();
        let wanted = (total as f64 * q).ceil() as u64;
        let mut seen = 0;
        for (i, n) in self.flush_latency.iter().enumerate() {
            seen += n;
            if seen >= wanted && *n > 0 {
                return 1 << i;
            }
        }
        0
    }
}
