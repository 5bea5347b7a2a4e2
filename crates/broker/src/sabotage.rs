//! Bugs that the simulation plants in the broker, to see that it notices. Built for that alone.

use std::sync::atomic::{AtomicBool, Ordering};

/// What comes back goes behind all else that came back.
pub static REQUEUE_AT_THE_END: AtomicBool = AtomicBool::new(false);
/// A block that is applied already is applied again.
pub static BLOCK_APPLIED_TWICE: AtomicBool = AtomicBool::new(false);
/// A dead letter that came from another shard before is taken again.
pub static TRANSFER_TWICE: AtomicBool = AtomicBool::new(false);
/// A start forgets the ids that queues have seen.
pub static DUPLICATES_FORGOTTEN: AtomicBool = AtomicBool::new(false);
/// A start forgets which messages have to wait.
pub static DELAYS_FORGOTTEN: AtomicBool = AtomicBool::new(false);
/// Messages do not expire.
pub static LIVES_FOR_EVER: AtomicBool = AtomicBool::new(false);
/// A batch goes into two blocks.
pub static BATCH_SPLIT: AtomicBool = AtomicBool::new(false);

/// A part of a transaction for a partition that is gone is never confirmed.
pub static GONE_PARTITION_AWAITED: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_on(switch: &AtomicBool) -> bool {
    switch.load(Ordering::Relaxed)
}
