//! The data shard's state machine: queues, dispatch and settling; it assembles `bowline-stream` (partitions,
//! producers, groups) into one [`Shard`].
//!
//! Events in, effects out; no I/O, clock, thread or randomness (`clippy.toml` holds it to that):
//!
//! ```text
//! Request ─► handle ─► volatile work at once                            ─► Effects
//!                  └─► open proposal ─► seal ─► (log) ─► apply(block)   ─► Effects
//!                                          └─► (log full) ─► abandon    ─► Effects
//! Read    ─► (log)  ─► loaded                                           ─► Effects
//! plan_relocation ─► (blocks read, copied, written) ─► relocated
//! dispatch: ready messages meet consumers with credit                   ─► Effects
//! ```
//!
//! What the caller keeps to:
//! * `apply` gets every committed block of the shard, in order, once; the blocks that it sealed itself come back
//!   with the waiters of their [`Proposal`], in the order in which they were sealed. Blocks of an earlier run of
//!   the process come with no waiters.
//! * Every [`Read`] is answered by one `loaded`.
//! * `dispatch` after a batch of `handle`, `apply` and `loaded` calls: that is when deliveries are made.

mod cache;
mod checkpoint;
mod directory;
mod effects;
mod outbox;
mod proposal;
mod queue;
mod relocation;
#[cfg(feature = "sabotage")]
pub mod sabotage;
mod segments;
mod session;
mod shard;
mod streams;

pub use bowline_stream::partition::compaction::{Candidate, Compacted, Plan};
pub use effects::{
    Copies, DeadLetter, DeadLetters, DeadRecord, Effects, Happened, Read, Reborn, Receipt, Remains, Ticket,
    Told, ToldEvent, Transfer, TxnStep, Unkeyed,
};
pub use proposal::{LAZY_MS, Proposal, Urgency, Waiter};
pub use relocation::{Batch, Damaged, Draft, Held, Moved, Relocation, Rewrite, Survey};
pub use shard::{Options, QueueStats, RestoreError, Shard, Stats};
