//! The Kafka client half: one connection, driven by the thread that owns it, and what a producer, a reader and a
//! group member do on top.
//!
//! ```text
//! Cluster ─ metadata, topics, who leads what ─► Connection to a broker ─► Producer | Fetcher | Member | Transactions
//! ```
//!
//! Requests are pipelined by whoever sends them; a broker answers in order (protocol guide, "Network"), which the
//! connection checks.

mod assign;
mod cluster;
mod connection;
mod fetch;
mod group;
mod offsets;
mod produce;
mod transaction;

pub use assign::range_assignment;
pub use cluster::{Cluster, ConnectOptions, NewTopic, Partition, Topic};
pub use connection::{Connection, TxnVersion};
pub use fetch::{FetchLimits, Fetched, Fetcher, Position, for_each_record, position_after, wait_any};
pub use group::{Beat, GroupOptions, Member};
pub use offsets::{EARLIEST, LATEST, commit_offsets, committed_offsets, list_offsets};
pub use produce::{
    Acks, Appended, ProducerId, Sequences, init_producer_id, receive_produce, send_produce, send_produce_in,
};
pub use transaction::{End, Transactions};

pub use bowline_codec_kafka as codec;

use bowline_codec_kafka::error::ErrorCode;

use crate::error::{Error, Result};

/// The protocol's name of an error code.
pub fn error_name(code: i16) -> &'static str {
    ErrorCode::from_i16(code).map_or("unknown error code", ErrorCode::name)
}

/// Whether clients try again by themselves after this code.
pub fn is_retriable(code: i16) -> bool {
    ErrorCode::from_i16(code).is_some_and(ErrorCode::is_retriable)
}

/// Code 0 is success.
pub(crate) fn check(api: &'static str, code: i16) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Error::Kafka { api, code }) }
}
