//! Bugs that the simulation plants in partitions and transactions, to see that it notices. Built for that alone.

use std::sync::atomic::AtomicBool;

/// A batch that an idempotent producer sends again is appended again.
pub static RETRY_APPENDED: AtomicBool = AtomicBool::new(false);
/// Partitions of other shards are told how a transaction ends before that is decided for good.
pub static MARKED_EARLY: AtomicBool = AtomicBool::new(false);
/// A start does not go on with what was decided.
pub static DECISION_FORGOTTEN: AtomicBool = AtomicBool::new(false);
/// Batches of an earlier epoch are taken for those of the open transaction.
pub static OLD_EPOCH_TAKEN: AtomicBool = AtomicBool::new(false);
/// Producers without an epoch for each transaction are heard on all their connections.
pub static OLD_CONNECTION_HEARD: AtomicBool = AtomicBool::new(false);
/// Offsets of an aborted transaction count.
pub static ABORTED_OFFSETS_KEPT: AtomicBool = AtomicBool::new(false);

/// A partition takes a batch of a transaction that is not open.
pub static LATE_BATCH_TAKEN: AtomicBool = AtomicBool::new(false);

/// Compaction takes what follows an aborted transaction of the same producer for a part of it.
pub static COMMITTED_COMPACTED: AtomicBool = AtomicBool::new(false);

/// Who ends a transaction is answered before that is durable.
pub static END_ANSWERED_EARLY: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_on(switch: &AtomicBool) -> bool {
    switch.load(std::sync::atomic::Ordering::Relaxed)
}
