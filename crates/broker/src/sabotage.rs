//! Bugs that the simulation plants in the broker, to see that it notices. Built for that alone.

use std::sync::atomic::AtomicBool;

/// What comes back goes behind all else that came back.
pub static REQUEUE_AT_THE_END: AtomicBool = AtomicBool::new(false);
/// A block that is applied already is applied again.
pub static BLOCK_APPLIED_TWICE: AtomicBool = AtomicBool::new(false);
