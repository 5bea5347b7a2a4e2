//! Checkpoints: when to take one, and gathering the shards' states into one consistent picture.

use crate::link::{Internal, Message, Shared};
use bowline_model::ShardId;
use bowline_storage::{Checkpoint, CheckpointError, Log, ShardCheckpoint};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A checkpoint is due after this much log, or sixteen times its own size if that is more (so that writing
/// checkpoints costs little) …
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// … or this long after the first append that it would contain.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(10);
/// How often the need for a checkpoint and the room on the disk are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The same while the log grows quickly.
const LOOK_OFTEN: Duration = Duration::from_millis(25);

/// One shard's part of a checkpoint.
pub struct ShardSnapshot {
    pub checkpoint: ShardCheckpoint,
    pub live_segments: BTreeSet<u32>,
    pub live_cold: BTreeSet<u32>,
}

/// Asks every shard for its state and writes the whole; how large it was, bytes. Blocks.
pub(crate) fn take(shared: &Shared, log: &Log) -> Result<u64, CheckpointError> {
    let (reply, replies) = crossbeam_channel::bounded(shared.inboxes.len());
    for inbox in &shared.inboxes {
        inbox.push(Message::Internal(Internal::Checkpoint(reply.clone())));
    }
    drop(reply);
    let mut whole = Checkpoint::default();
    for part in replies.iter().take(shared.inboxes.len()) {
        whole.shards.push(part.checkpoint);
        whole.live_segments.extend(part.live_segments);
        whole.live_cold.extend(part.live_cold);
    }
    if whole.shards.len() < shared.inboxes.len() {
        // A shard thread has gone: the node is dying, and half a picture is none.
        return Ok(0);
    }
    whole.shards.sort_by_key(|s| s.shard);
    let bytes = whole.shards.iter().map(|s| s.state.len() as u64).sum();
    let applied: Vec<(ShardId, u64)> = whole.shards.iter().map(|s| (s.shard, s.applied_index)).collect();
    log.write_checkpoint(&whole)?;
    for (shard, index) in applied {
        shared.inboxes[shard.0 as usize].push(Message::Internal(Internal::Compacted(index)));
    }
    Ok(bytes)
}

/// Runs until `stop` closes: checkpoints when due, and tells the shards when the disk fills up or has room again.
pub(crate) fn watch(shared: Arc<Shared>, log: Log, stop: Receiver<()>) {
    let mut at_last = log.stats().bytes;
    let mut due_bytes = CHECKPOINT_BYTES;
    let mut dirty_since = None;
    let mut was_full = false;
    let mut failing = false;
    let mut seen = at_last;
    // At once: the disk may be full from the start.
    let mut look_after = Duration::ZERO;
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(look_after) {
        if let Some(fatal) = log.fatal() {
            // It failed with nothing under way, so nobody was told.
            crate::node::die(&fatal);
        }
        let space = log.space();
        shared.free_bytes.store(space.free_bytes, Ordering::Relaxed);
        shared.volume_bytes.store(space.total_bytes, Ordering::Relaxed);
        let full = space.alarm;
        if full != was_full {
            tracing::warn!(full, "disk space alarm");
            for inbox in &shared.inboxes {
                inbox.push(Message::Internal(Internal::Full(full)));
            }
            was_full = full;
        }
        let appended = log.stats().bytes;
        // A log that would be far beyond the mark by the next look is looked at more often: segments that a checkpoint
        // lets go of are there to be written again, others have to be made first.
        look_after = if appended - seen > due_bytes / 8 { LOOK_OFTEN } else { LOOK_EVERY };
        seen = appended;
        if appended == at_last {
            continue;
        }
        let since = *dirty_since.get_or_insert_with(Instant::now);
        if appended - at_last >= due_bytes || since.elapsed() >= CHECKPOINT_AFTER || full {
            match take(&shared, &log) {
                Ok(bytes) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("checkpoints are written again");
                    }
                    due_bytes = CHECKPOINT_BYTES.max(16 * bytes);
                    at_last = appended;
                    dirty_since = None;
                }
                // It is tried again at every look; once said is enough.
                Err(error) if failing => tracing::debug!(%error, "still no checkpoint"),
                Err(error) => {
                    tracing::error!(%error, "no checkpoint can be written for now; the one before counts");
                    failing = true;
                }
            }
        }
    }
}
