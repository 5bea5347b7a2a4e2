//! Bugs that the simulation plants in the log, to see that it notices. Built for that alone.

use std::sync::atomic::AtomicBool;

/// Payload checksums are not looked at.
pub static CHECKSUM_UNREAD: AtomicBool = AtomicBool::new(false);
/// Blocks need not follow the one before.
pub static TAIL_NOT_CUT: AtomicBool = AtomicBool::new(false);
