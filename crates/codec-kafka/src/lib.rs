//! The Kafka wire codec: bytes ↔ values, for both sides of a connection, without I/O.
//!
//! ```text
//! bytes ─ frame::FrameSplitter ─ frame::RequestHead ─ messages::* ─ records::{Batches, RecordIter}
//! values ─ messages::*::encode ─ wire::Writer (a rope) ─ segments for a vectored write
//! ```
//! Messages and the table of APIs are generated from `schema/kafka.json` (`cargo xtask codegen`) and
//! committed; everything else is written by hand. One struct serves all versions of a message.
//!
//! Invariants: no input makes a decoder panic, or allocate out of proportion to a stated limit; large
//! payloads are never copied; what was decoded can be encoded again in the same version.
//!
//! Not here: which versions to prefer, what a field means, Produce before version 3 and Fetch before 4,
//! record formats 0 and 1, and the APIs of Kafka's own controllers.
//!
//! Words: *flexible* versions have compact lengths and tagged fields (KIP-482); a *batch* is the unit
//! that producers seal and brokers store; a *segment* is one slice of a frame to be sent.
//!
//! Tests: `tests/golden.rs` (bytes of a real client), `tests/schema.rs` (a second reading of the
//! schema), `tests/hostile.rs`, and beside the code.

pub mod api_key;
pub mod checksum;
pub mod error;
pub mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod message;
pub mod messages;
pub mod partitioner;
pub mod protocol;
pub mod records;
pub mod uuid;
pub mod wire;

pub use api_key::ApiKey;
pub use error::ErrorCode;
#[doc(hidden)]
pub use fuzz::fuzz_decode_any;
pub use message::{Message, Request, Response};
pub use records::Records;
pub use uuid::Uuid;
pub use wire::{DecodeError, EncodeError, Reader, Writer};
