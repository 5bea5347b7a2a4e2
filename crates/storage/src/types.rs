//! What is handed to the log and comes back from it.

use crate::error::Fatal;
use bowline_model::{AlignedBuf, BlockRef, Lsn, Millis, ShardId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A block to append: one entry of one shard.
#[derive(Debug)]
pub struct Append {
    pub shard: ShardId,
    /// Raft term and index, both ≥ 1. The indexes of a shard follow each other without gaps.
    pub term: u64,
    pub index: u64,
    pub stamp: Millis,
    pub n_records: u32,
    /// The records, behind the room for the header.
    pub buf: AlignedBuf,
    /// May use the reserve when the disk is full: for what frees space (settles, deletes, checkpoints).
    pub essential: bool,
}

/// Called once per appended block, from a writer thread, in lsn order over all shards, when the block and
/// all before it are on stable storage; or with the error when the log has stopped. May append; must not
/// block, as later blocks wait; a panic stops the log.
pub type OnComplete = Arc<dyn Fn(ShardId, Result<BlockRef, Fatal>) + Send + Sync>;

/// A consistent picture of all shards, from which recovery starts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    pub shards: Vec<ShardCheckpoint>,
    /// Segments below every `replay_from` that the states still refer to.
    pub live_segments: BTreeSet<u32>,
    /// Cold files that the states refer to.
    pub live_cold: BTreeSet<u32>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardCheckpoint {
    pub shard: ShardId,
    /// The last entry that is contained in `state`.
    pub applied_term: u64,
    pub applied_index: u64,
    /// Every block of this shard at or after this position that is not contained in `state` is replayed.
    /// Either the position of the oldest block not yet applied, or, when everything appended was applied,
    /// [`crate::Log::position`] as it was before the state was captured.
    pub replay_from: Lsn,
    /// The state machine's own bytes.
    pub state: Vec<u8>,
}

/// Room on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    pub free_bytes: u64,
    /// Of the whole volume; 0 if that is not known.
    pub total_bytes: u64,
    /// Only essential appends are accepted.
    pub alarm: bool,
}

/// A block for a cold file: a copy of what lived on when its segment was given up.
#[derive(Debug)]
pub struct ColdBlock {
    pub shard: ShardId,
    /// Term, index and stamp are the relocator's to choose; they come back with the block.
    pub term: u64,
    pub index: u64,
    pub stamp: Millis,
    pub n_records: u32,
    pub buf: AlignedBuf,
}
