//! The open proposal.

use bowline_model::AlignedBuf;

/// What the open proposal wants of the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Urgency {
    /// There is nothing to seal.
    Nothing,
    /// Only settles and horizons: seal with the next block, or at the latest after [`LAZY_MS`].
    Lazily,
    /// Somebody waits: seal as soon as the log can take a block.
    Now,
}

/// How long housekeeping (settles, horizons) may wait for a block to ride on, milliseconds.
pub const LAZY_MS: u64 = 5;

/// A finished block's payload on its way to the log.
#[derive(Debug)]
pub struct Proposal {
    /// The records, behind room for the block header.
    pub buf: AlignedBuf,
    pub n_records: u32,
    /// To be given back to [`crate::Shard::apply`] with the committed block, or to [`crate::Shard::abandon`].
    pub waiters: Vec<Waiter>,
}

/// Somebody who waits for a part of a block; opaque to the caller.
#[derive(Debug)]
pub struct Waiter(#[allow(dead_code)] ());
