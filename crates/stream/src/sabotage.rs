//! Bugs that the simulation plants in partitions, to see that it notices. Built for that alone.

use std::sync::atomic::AtomicBool;

/// A batch that an idempotent producer sends again is appended again.
pub static RETRY_APPENDED: AtomicBool = AtomicBool::new(false);
