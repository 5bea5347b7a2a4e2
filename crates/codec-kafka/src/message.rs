//! What all messages have in common, for code that treats them alike.
//!
//! Every message also has inherent functions and constants of the same names, so that handlers need
//! not import anything.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::wire::{DecodeError, EncodeError, Reader, Writer};

/// One message of the protocol: one struct for all its versions.
pub trait Message: Default + std::fmt::Debug + Sized {
    const NAME: &'static str;
    const VERSIONS: RangeInclusive<i16>;
    /// First flexible version, `i16::MAX` when there is none.
    const FLEXIBLE: i16;

    /// Fields that the version does not carry get their default.
    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Fails when a field is set that the version cannot carry, unless the field is ignorable.
    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// The body of a request.
pub trait Request: Message {
    const KEY: i16;
    type Response: Response;
}

/// The body of a response.
pub trait Response: Message + Clone {
    const KEY: i16;

    /// Tells the client for how long the broker holds it back, ms. Nothing where the response has no place for it;
    /// versions without the field leave it out.
    fn set_throttle_time_ms(&mut self, _ms: i32) {}
}

/// A message without its type; see `messages::catalog`.
pub struct Codec {
    pub name: &'static str,
    pub kind: Kind,
    /// API key of a request or response.
    pub key: Option<i16>,
    pub first_version: i16,
    pub last_version: i16,
    recode: fn(Bytes, i16, usize) -> Result<Bytes, RecodeError>,
    encode_default: fn(i16) -> Result<Bytes, EncodeError>,
    show: fn(Bytes, i16) -> Result<String, DecodeError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Header,
    Request,
    Response,
    Data,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecodeError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl Codec {
    pub(crate) const fn of<M: Message>(kind: Kind, key: Option<i16>) -> Self {
        Self {
            name: M::NAME,
            kind,
            key,
            first_version: *M::VERSIONS.start(),
            last_version: *M::VERSIONS.end(),
            recode: recode::<M>,
            encode_default: encode_default::<M>,
            show: show::<M>,
        }
    }

    /// Decodes the whole of `bytes` and encodes the result in the same version. `memory_limit`: see
    /// `Reader::with_memory_limit`.
    pub fn recode(&self, bytes: Bytes, version: i16, memory_limit: usize) -> Result<Bytes, RecodeError> {
        (self.recode)(bytes, version, memory_limit)
    }

    /// The whole of `bytes` as people read it.
    pub fn show(&self, bytes: Bytes, version: i16) -> Result<String, DecodeError> {
        (self.show)(bytes, version)
    }

    /// The message with every field at its default.
    pub fn encode_default(&self, version: i16) -> Result<Bytes, EncodeError> {
        (self.encode_default)(version)
    }
}

fn recode<M: Message>(bytes: Bytes, version: i16, memory_limit: usize) -> Result<Bytes, RecodeError> {
    let mut reader = Reader::with_memory_limit(bytes, memory_limit);
    let message = M::decode(&mut reader, version)?;
    reader.expect_end()?;
    let mut out = Writer::new();
    message.encode(&mut out, version)?;
    Ok(out.into_bytes())
}

fn show<M: Message>(bytes: Bytes, version: i16) -> Result<String, DecodeError> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version)?;
    reader.expect_end()?;
    Ok(format!("{message:?}"))
}

fn encode_default<M: Message>(version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Writer::new();
    M::default().encode(&mut out, version)?;
    Ok(out.into_bytes())
}
