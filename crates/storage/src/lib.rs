//! The log: the only crate that opens data files.
//!
//! ```text
//! Log::open(disk, options) -> (Log, Recovered { checkpoint, replay })
//!     for block in &mut recovered.replay { … }           every block after the checkpoint, lsn order
//! log.start(on_complete)                                  threads; or log.start_manual(on_complete) -> Driver (simulation)
//! log.append(Append) -> Result<Lsn, AppendError>          never waits for the disk; on_complete(shard, Ok(block)) later
//! log.read(lsn) -> Result<BlockRef, ReadError>            log.read_run(lsn, max_bytes, max_blocks) -> Result<Vec<BlockRef>, ReadError>
//! log.position() -> Lsn                                   log.durable() -> Lsn     log.wait_durable(lsn) -> Result<(), Fatal>
//! log.last(shard) -> Option<(term, index)>                log.locate(shard, index) -> Option<Lsn>
//! log.truncate_suffix(shard, from_index)                  log.purge_prefix(shard, upto_index)
//! log.write_checkpoint(Checkpoint)                        blocking, from a background thread
//! log.new_cold_file(pace) -> ColdWriter                   append(ColdBlock) -> Lsn, finish(); log.remove_cold(file)
//! log.space()  log.stats()  log.format()  log.close()
//! ```

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
