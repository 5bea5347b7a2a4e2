//! Client halves of AMQP 0-9-1 and Kafka, for the tools: publish, consume, bench, verify.
//!
//! Made to cost little, so that a load generator built on it measures the broker and not itself: sockets without
//! a runtime, one thread a connection, frames written in batches, messages handed out as slices of the read
//! buffer. They speak the public protocols only and know nothing of Bowline.
//!
//! Invariants: every wait has a limit; every buffer has a bound; whatever a peer sends ends in a value or an
//! [`Error`], never in a panic.
//!
//! What this deliberately is not: a client library for applications. Nothing reconnects by itself ([`retry`]
//! paces those who do), there is no TLS, no transactions, and no thread but the one that waits for Ctrl-C
//! ([`interrupt`]).

pub mod address;
pub mod amqp;
mod error;
pub mod interrupt;
pub mod kafka;
pub mod retry;
mod socket;
pub mod units;

pub use address::Address;
pub use error::{Error, Result};
