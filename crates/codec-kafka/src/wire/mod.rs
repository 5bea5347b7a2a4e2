//! Kafka's primitive types on the wire, in both directions.
//!
//! `Reader` walks a received frame and hands out slices of it; `Writer` gathers a frame as a rope,
//! so that record batches travel from disk to socket without being copied. Neither knows messages.
//! Specification: the protocol guide's primitive types, and KIP-482 for compact types and tags.

mod error;
mod reader;
mod writer;

pub use error::{DecodeError, EncodeError};
pub use reader::{DECODE_MEMORY_MAX, Reader};
pub use writer::{FrameMark, SEGMENT_MIN_BYTES, Writer};
