//! What can be chosen when a log is opened.

use std::time::Duration;

/// Options of a log. [`Options::default`] suits production.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who the node is; used when the data directory is new. An existing directory keeps its own, see
    /// [`crate::Log::format`].
    pub identity: Identity,
    /// Length of a segment file, bytes; a multiple of 4096, at most 2 GiB. A block must fit in one.
    pub segment_bytes: u32,
    /// Length of the first segment of a process, which is zeroed while starting. Small, so that a start
    /// is quick and an idle broker takes little space; the next ones have twice as much each, up to
    /// `segment_bytes`.
    pub first_segment_bytes: u32,
    /// Writer threads, that is writes in flight. 1..=8.
    pub writers: usize,
    /// How long a writer looks for more work before it sleeps. Waking a sleeping thread costs 4-16 µs, which
    /// a single client that waits for each confirm feels; spinning costs that much CPU after each write.
    pub writer_spin: Duration,
    /// One write carries several queued blocks up to this many bytes.
    pub write_bytes_max: usize,
    /// Segments kept prepared ahead of a busy log. They are also the head-room on a full disk: essential
    /// appends may use them up.
    pub ready_segments: u32,
    /// Recycled segments kept for later use; more are given back to the file system.
    pub spare_segments: usize,
    /// Free space below this raises the alarm even while segments can still be made.
    pub free_bytes_min: u64,
    /// After this long without an append a small block records the durable position.
    pub idle_seal_after: Duration,
    /// The operator accepts that damaged acknowledged data is left out: it is copied to `quarantine/`,
    /// reported, and recovery goes on behind it.
    pub accept_loss: bool,
    /// Where segment epochs come from; chosen at random in production, fixed in simulation.
    pub epoch_seed: u64,
}

/// Identity of a data directory, fixed when it is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// UUID of the node.
    pub node: [u8; 16],
    /// Number of data shards, ≥ 1.
    pub data_shards: u16,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            identity: Identity { node: rand::random(), data_shards: 1 },
            segment_bytes: 64 << 20,
            first_segment_bytes: 4 << 20,
            writers: 2,
            writer_spin: Duration::ZERO,
            write_bytes_max: 512 << 10,
            ready_segments: 3,
            spare_segments: 8,
            free_bytes_min: 128 << 20,
            idle_seal_after: Duration::from_millis(50),
            accept_loss: false,
            epoch_seed: rand::random(),
        }
    }
}
