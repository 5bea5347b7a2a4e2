//! The Kafka wire codec: bytes ↔ values, for both sides of a connection, without I/O.
//!
//! Messages are generated (see `schema/kafka.json`); everything else is written by hand. Nothing here
//! panics on input or allocates out of proportion to it.

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
