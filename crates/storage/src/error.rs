//! What can go wrong, each with its place: one type per operation.

use bowline_model::Lsn;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A failed disk operation.
#[derive(Debug)]
pub struct DiskError {
    /// What was attempted: "write", "sync", "open" …
    pub operation: &'static str,
    /// File, relative to the data directory where there is one.
    pub path: String,
    /// Byte position in the file, where the operation has one.
    pub position: Option<u64>,
    pub source: io::Error,
}

impl DiskError {
    pub fn new(
        operation: &'static str,
        path: impl Into<String>,
        position: Option<u64>,
        source: io::Error,
    ) -> DiskError {
        DiskError { operation, path: path.into(), position, source }
    }

    /// No space left on the device (or quota exceeded).
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.path)?;
        if let Some(position) = self.position {
            write!(f, " at {position}")?;
        }
        write!(f, ": {}", self.source)
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The log can promise nothing any more: a write or sync failed. Final; nothing is retried, because after
/// a failed sync the kernel may report success for pages that never reached the disk.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the log has stopped: {0}")]
pub struct Fatal(pub Arc<DiskError>);

impl From<DiskError> for Fatal {
    fn from(error: DiskError) -> Fatal {
        Fatal(Arc::new(error))
    }
}

/// Why a block was not accepted. The buffer is dropped; nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The disk is full and the append is not essential, or even the reserve is used up.
    #[error("disk full")]
    Full,
    #[error("block of {bytes} bytes is larger than a segment holds ({max})")]
    TooLarge { bytes: usize, max: usize },
    /// Raft indexes of a shard are contiguous; a gap or a repetition is a bug of the caller.
    #[error("index {got} of shard {shard} does not follow {expected}")]
    Index { shard: u16, expected: u64, got: u64 },
    /// [`crate::Log::start`] was not called, or [`crate::Log::close`] was.
    #[error("the log is not open for appending")]
    NotStarted,
}

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("block {lsn} ({path} at {position}): {kind}")]
pub struct ReadError {
    pub lsn: Lsn,
    pub path: String,
    pub position: u64,
    pub kind: ReadErrorKind,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadErrorKind {
    /// The segment or cold file is not (or no longer) part of the log.
    #[error("no such segment or cold file")]
    Gone,
    /// Not yet on stable storage; the writer of the block has it in memory.
    #[error("not durable yet")]
    NotDurable,
    #[error("bad block header: {0}")]
    Header(HeaderDamage),
    #[error("payload checksum {actual:08x} is not {stored:08x}")]
    Payload { stored: u32, actual: u32 },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What is wrong with a header's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderDamage {
    #[error("no magic number")]
    Magic,
    #[error("checksum")]
    Checksum,
    #[error("version {0} is not known")]
    Version(u32),
    #[error("epoch of an earlier use of the file")]
    Epoch,
    #[error("it names another position")]
    Position,
    #[error("length {0} is impossible here")]
    Length(u32),
    #[error("it does not follow the block before it")]
    Chain,
}

/// Why a data directory does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("data directory {path} is in use by process {pid}")]
    Locked { path: String, pid: String },
    #[error("{path}: {reason}")]
    Format { path: String, reason: String },
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Acknowledged data is damaged or missing. Never cut silently: the operator decides (`accept_loss`).
#[derive(Debug, thiserror::Error)]
#[error(
    "acknowledged data is damaged: {path} from byte {position} on ({reason}); the log was durable up to block {durable_upto}{}",
    resume.map(|r| format!(", next intact block {r}")).unwrap_or_default()
)]
pub struct Corrupt {
    pub path: String,
    pub position: u64,
    pub reason: String,
    /// The highest block that is known to have been acknowledged.
    pub durable_upto: Lsn,
    /// The first intact block after the damage.
    pub resume: Option<Lsn>,
}

/// Why replay stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a checkpoint was not written. The one before it still counts.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("disk full: {0}")]
    Full(DiskError),
    #[error(transparent)]
    Fatal(#[from] Fatal),
    #[error("a checkpoint is larger than {0} bytes or counts")]
    TooLarge(u64),
}

/// Why a cold file could not be written. The file is abandoned and removed; the log is not affected
/// except by [`ColdError::Fatal`].
#[derive(Debug, thiserror::Error)]
pub enum ColdError {
    #[error("disk full: {0}")]
    Full(DiskError),
    #[error(transparent)]
    Fatal(#[from] Fatal),
    #[error("cold file is at its maximum size")]
    TooLarge,
}
