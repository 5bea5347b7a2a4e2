//! The primitive types of the wire: big-endian integers, short and long strings, and the cursor that reads them.

use std::fmt;

use crate::error::DecodeError;
use crate::frame;
use crate::table::TableRef;

/// A short string: up to 255 octets, which the protocol does not require to be UTF-8 (RabbitMQ does not check).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShortStr<'a>(&'a [u8]);

impl<'a> ShortStr<'a> {
    pub const EMPTY: ShortStr<'static> = ShortStr(&[]);

    /// `None` when longer than 255 octets.
    pub fn new(bytes: &'a [u8]) -> Option<ShortStr<'a>> {
        (bytes.len() <= 255).then_some(ShortStr(bytes))
    }

    /// Cuts a text to 255 octets at a character boundary: what reply texts need.
    pub fn truncated(text: &'a str) -> ShortStr<'a> {
        ShortStr(&text.as_bytes()[..text.floor_char_boundary(255)])
    }

    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text, when it is UTF-8.
    pub fn to_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for ShortStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.0).fmt(f)
    }
}

impl fmt::Debug for ShortStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.0), f)
    }
}

impl PartialEq<str> for ShortStr<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for ShortStr<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

/// A method that can be written. Implemented by every struct in [`crate::methods`] and by [`crate::Method`].
pub trait EncodeMethod {
    /// Appends a method frame's payload: class id, method id, arguments.
    fn encode(&self, out: &mut Vec<u8>);

    /// Appends the whole frame.
    fn encode_frame(&self, channel: u16, out: &mut Vec<u8>) {
        let start = frame::begin_frame(out, frame::FrameKind::Method, channel);
        self.encode(out);
        frame::end_frame(out, start);
    }
}

/// Cuts a method frame's payload into `class_id << 16 | method_id` and the arguments.
#[inline]
pub(crate) fn split_method_id(payload: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    let (id, args) = payload.split_first_chunk().ok_or(DecodeError::Truncated)?;
    Ok((u32::from_be_bytes(*id), args))
}

/// A cursor over a payload; every read checks what is left.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An error when bytes are left over.
    #[inline]
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn short_str(&mut self) -> Result<ShortStr<'a>, DecodeError> {
        let len = self.u8()?;
        Ok(ShortStr(self.take(len.into())?))
    }

    #[inline]
    pub(crate) fn long_str(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    #[inline]
    pub(crate) fn table(&mut self) -> Result<TableRef<'a>, DecodeError> {
        TableRef::parse(self.long_str()?)
    }
}

#[inline]
pub(crate) fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

#[inline]
pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn put_short_str(out: &mut Vec<u8>, value: ShortStr<'_>) {
    out.push(value.0.len() as u8);
    out.extend_from_slice(value.0);
}

/// A long string's length field is 32 bits wide; nothing near that fits in a frame.
pub(crate) fn put_long_str(out: &mut Vec<u8>, value: &[u8]) {
    put_u32(out, u32::try_from(value.len()).expect("long strings are bounded by the frame size"));
    out.extend_from_slice(value);
}

pub(crate) fn put_table(out: &mut Vec<u8>, value: TableRef<'_>) {
    put_long_str(out, value.as_bytes());
}
