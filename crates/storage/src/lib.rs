//! The log: the only crate that opens data files.
//!
//! One sequence of segment files per node, shared by all shards, written through once. The unit of writing
//! is the block; a writer thread puts adjacent blocks into one durable write, and while it waits for the disk
//! the next ones gather. Blocks complete in order, across all shards, when they and all before them are on
//! stable storage. Formats: `docs/formats.md`.
//!
//! ```text
//! Log::open(disk, options) -> (Log, Recovered { checkpoint, replay })
//!     for block in &mut recovered.replay { … }           every block after the checkpoint, lsn order
//!     drop(recovered)                                     it keeps the data directory open
//! log.start(on_complete)                                  threads; or log.start_manual(on_complete) -> Driver (simulation)
//! log.append(Append) -> Result<Lsn, AppendError>          never waits for the disk; on_complete(shard, Ok(block)) later
//! log.read(lsn)    log.read_run(lsn, max_bytes, max_blocks)    log.read_on(…): also where to go on
//! log.position()   log.durable()   log.wait_durable(lsn)
//! log.last(shard)  log.locate(shard, index)  log.truncate_suffix(shard, from_index)  log.purge_prefix(shard, upto_index)
//! log.write_checkpoint(&Checkpoint)                       blocking, from a background thread
//! log.new_cold_file(pace) -> ColdWriter                   append(ColdBlock) -> Lsn, finish(); log.remove_cold(file)
//! log.space()  log.stats()  log.format()  log.close()     flush_probe(dir, duration)   inspect::verify(disk, visit)
//! ```
//!
//! Layers, from below: [`disk`] (the border; [`real_disk`], [`fake_disk`]), [`header`] (bytes), [`core`]
//! (placement and order, no I/O), then `writer` (threads) or [`driver`] (simulation), `scan` and `recovery`,
//! `checkpoint`, `upkeep` (segments ahead, recycling, space), [`cold`], [`inspect`].
//!
//! Invariants: an acknowledged sector is never rewritten; a failed write or sync is final; acknowledged data
//! that is damaged is reported with its place, never cut silently and never served.
//!
//! Absent on purpose: what records mean (the shards know), when to checkpoint and what to relocate (their
//! owner knows), caching of blocks, compression and encryption (the formats have room for them).

mod checkpoint;
pub mod cold;
pub mod core;
pub mod disk;
pub mod driver;
pub mod error;
pub mod fake_disk;
mod format_file;
pub mod header;
pub mod inspect;
mod log;
pub mod options;
pub mod probe;
pub mod reader;
pub mod real_disk;
mod recovery;
#[cfg(feature = "sabotage")]
pub mod sabotage;
mod scan;
mod segments;
mod shard_index;
pub mod stats;
pub mod types;
mod upkeep;
mod writer;

pub use cold::ColdWriter;
pub use disk::{Disk, DiskFile, DiskResult};
pub use driver::{Driver, Ticket};
pub use error::{
    AppendError, CheckpointError, ColdError, Corrupt, DiskError, Fatal, HeaderDamage, OpenError, ReadError,
    ReadErrorKind, ReplayError,
};
pub use fake_disk::FakeDisk;
pub use format_file::Format;
pub use log::Log;
pub use options::{Identity, Options};
pub use probe::{FlushProbe, flush_probe, flush_probe_on};
pub use reader::Run;
pub use real_disk::RealDisk;
pub use recovery::{Recovered, Replay};
pub use scan::{Cut, Loss, Report};
pub use stats::Stats;
pub use types::{Append, Checkpoint, ColdBlock, OnComplete, ShardCheckpoint, Space};
