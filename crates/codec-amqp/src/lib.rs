//! AMQP 0-9-1 (RabbitMQ dialect) between bytes and values, for both ends of a connection.
//!
//! Everything read borrows from the buffer it was read from; nothing is copied or allocated while reading. There
//! is no I/O here, no state and no policy: which frames are allowed when is the session's business.
//!
//! - [`frame`]: protocol header, the frame envelope, content headers, cutting bodies into frames.
//! - [`methods`]: one struct per method, generated from `schema/amqp.json`.
//! - [`properties`]: the property block of a message, kept as received and looked into where needed.
//! - [`table`]: field tables and arrays, validated once and then iterated lazily; owned tables to build them.
//! - [`reply`]: reply codes, their names and the level at which they act.
//!
//! Invariants: no input makes this crate panic; nesting is bounded by [`table::DEPTH_MAX`]; whatever a decoder
//! accepts can be forwarded to another peer byte for byte.

pub mod error;
pub mod frame;
pub mod methods;
pub mod properties;
pub mod reply;
pub mod table;
mod wire;

pub use error::{DecodeError, FrameError};
pub use frame::{ContentHeader, Frame, FrameKind, ProtocolHeader, split_frame};
pub use methods::Method;
pub use properties::{OwnedProperties, Properties, PropertyParts};
pub use reply::{Level, ReplyCode};
pub use table::{FieldTable, FieldValue, TableRef, Value};
pub use wire::{EncodeMethod, ShortStr};

/// Feeds arbitrary bytes to every decoder; what decodes must survive re-encoding. The fuzz target's body.
#[doc(hidden)]
pub fn fuzz_decode_any(data: &[u8]) {
    ProtocolHeader::parse(data);
    let mut rest = data;
    while let Ok(Some((frame, consumed))) = split_frame(rest, 1 << 17) {
        fuzz_payload(frame.payload);
        rest = &rest[consumed..];
    }
    fuzz_payload(data);
}

fn fuzz_payload(payload: &[u8]) {
    if let Ok(method) = Method::decode(payload) {
        let mut out = Vec::new();
        method.encode(&mut out);
        assert_eq!(Method::decode(&out), Ok(method));
    }
    if let Ok(header) = ContentHeader::decode(payload) {
        let owned = header.properties.to_owned();
        let mut out = Vec::new();
        owned.encode(&mut out);
        let again = Properties::parse(&out).expect("what was decoded can be encoded");
        // Floats may be NaN, so the comparison is on the bytes that both yield.
        let mut twice = Vec::new();
        again.to_owned().encode(&mut twice);
        assert_eq!(out, twice);
    }
    if let Ok(table) = TableRef::parse(payload) {
        for (_, value) in table.iter() {
            let _ = value.to_owned();
        }
    }
}
