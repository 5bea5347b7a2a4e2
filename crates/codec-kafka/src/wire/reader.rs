//! A cursor over one received message.
//!
//! Invariants: no input makes it panic or allocate out of proportion. Every length is checked against
//! the bytes that remain, and all arrays of one message share a memory budget, because a few bytes
//! on the wire can stand for a struct of a hundred in memory.

use bytes::Bytes;

use super::DecodeError;
use crate::records::Records;
use crate::uuid::Uuid;

/// Default budget for what the arrays of one message may occupy in memory, in bytes. A metadata
/// response with 200 000 partitions needs about a tenth of it.
pub const DECODE_MEMORY_MAX: usize = 256 << 20;

/// Elements reserved ahead of decoding them; longer arrays grow as they prove to be there.
const INITIAL_CAPACITY_MAX: usize = 1024;

/// Strings are limited to what an int16 length can say, also in their compact form, as in Kafka.
pub(super) const STRING_MAX_BYTES: usize = i16::MAX as usize;

/// Reads primitive types from a `Bytes`. `bytes` and `records` fields are slices of it: holding
/// one keeps the whole frame alive.
#[derive(Debug, Clone)]
pub struct Reader {
    buf: Bytes,
    pos: usize,
    /// Reading stops here: the end of the buffer, or of the tagged field being read.
    end: usize,
    memory_left: usize,
}

impl From<Bytes> for Reader {
    fn from(buf: Bytes) -> Self {
        Self::new(buf)
    }
}

impl Reader {
    pub fn new(buf: Bytes) -> Self {
        Self::with_memory_limit(buf, DECODE_MEMORY_MAX)
    }

    /// `limit` bounds the in-memory size of all decoded arrays together, in bytes.
    pub fn with_memory_limit(buf: Bytes, limit: usize) -> Self {
        let end = buf.len();
        Self { buf, pos: 0, end, memory_left: limit }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.end - self.pos
    }

    /// What has not been read, without copying.
    pub fn rest(&self) -> Bytes {
        self.buf.slice(self.pos..self.end)
    }

    /// For callers that require the message to end where the frame does.
    pub fn expect_end(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }

    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.fixed()?))
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.fixed()?))
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_be_bytes(self.fixed()?))
    }

    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.fixed()?))
    }

    /// Unsigned base-128 integer of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed::<1>()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    pub fn string(&mut self, flexible: bool) -> Result<String, DecodeError> {
        self.nullable_string(flexible, false)?.ok_or(DecodeError::InvalidLength(-1))
    }

    /// `null_ok` is false in versions that do not know null here; null is then an error.
    pub fn nullable_string(&mut self, flexible: bool, null_ok: bool) -> Result<Option<String>, DecodeError> {
        let Some(length) = self.string_length(flexible, null_ok)? else { return Ok(None) };
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::InvalidUtf8)?;
        Ok(Some(text.to_owned()))
    }

    /// A nullable string as a slice of the message, checked to be UTF-8 but not copied.
    pub fn nullable_text(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let Some(length) = self.string_length(flexible, true)? else { return Ok(None) };
        let start = self.pos;
        std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::InvalidUtf8)?;
        Ok(Some(self.buf.slice(start..start + length)))
    }

    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(flexible, false)?.ok_or(DecodeError::InvalidLength(-1))
    }

    pub fn nullable_bytes(&mut self, flexible: bool, null_ok: bool) -> Result<Option<Bytes>, DecodeError> {
        let length = if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) };
        let Some(length) = checked_length(length, null_ok)? else { return Ok(None) };
        let start = self.pos;
        self.take(length)?;
        Ok(Some(self.buf.slice(start..start + length)))
    }

    pub fn nullable_records(
        &mut self,
        flexible: bool,
        null_ok: bool,
    ) -> Result<Option<Records>, DecodeError> {
        Ok(self.nullable_bytes(flexible, null_ok)?.map(Records::from))
    }

    /// `element_min_bytes`: the fewest bytes one element takes in any version, at least 1.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element_min_bytes: usize,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let array = self.nullable_array(flexible, false, element_min_bytes, element)?;
        array.ok_or(DecodeError::InvalidLength(-1))
    }

    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        null_ok: bool,
        element_min_bytes: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let length = if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) };
        let Some(length) = checked_length(length, null_ok)? else { return Ok(None) };
        if length > self.remaining() / element_min_bytes.max(1) {
            return Err(DecodeError::ArrayTooLong { length, remaining: self.remaining() });
        }
        let memory = length.saturating_mul(size_of::<T>());
        self.memory_left = self.memory_left.checked_sub(memory).ok_or(DecodeError::MemoryLimit)?;
        let mut items = Vec::with_capacity(length.min(INITIAL_CAPACITY_MAX));
        for _ in 0..length {
            items.push(element(self)?);
        }
        Ok(Some(items))
    }

    /// The marker before a nullable struct: negative is null.
    pub fn struct_is_present(&mut self, null_ok: bool) -> Result<bool, DecodeError> {
        let present = self.i8()? >= 0;
        if !present && !null_ok {
            return Err(DecodeError::InvalidLength(-1));
        }
        Ok(present)
    }

    /// How many tagged fields follow. Call `begin_tag` and `end_tag` around each.
    pub fn tag_count(&mut self) -> Result<u32, DecodeError> {
        let count = self.uvarint()?;
        // A tagged field takes two bytes: its number and its size.
        if count as usize > self.remaining() / 2 {
            return Err(DecodeError::ArrayTooLong { length: count as usize, remaining: self.remaining() });
        }
        Ok(count)
    }

    /// Confines reading to the next tagged field; gives its number and what `end_tag` wants back.
    pub fn begin_tag(&mut self) -> Result<(u32, usize), DecodeError> {
        let tag = self.uvarint()?;
        let size = self.uvarint()? as usize;
        if size > self.remaining() {
            return Err(DecodeError::Truncated { needed: size, remaining: self.remaining() });
        }
        let outer_end = self.end;
        self.end = self.pos + size;
        Ok((tag, outer_end))
    }

    /// Skips what the field's reader left, which is all of it for an unknown tag.
    pub fn end_tag(&mut self, outer_end: usize) {
        self.pos = self.end;
        self.end = outer_end;
    }

    /// Skips the tagged fields of a struct that knows none.
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.tag_count()? {
            let (_, outer_end) = self.begin_tag()?;
            self.end_tag(outer_end);
        }
        Ok(())
    }

    fn string_length(&mut self, flexible: bool, null_ok: bool) -> Result<Option<usize>, DecodeError> {
        let length = if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i16()?) };
        match checked_length(length, null_ok)? {
            Some(length) if length > STRING_MAX_BYTES => Err(DecodeError::InvalidLength(length as i64)),
            length => Ok(length),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.buf[self.pos..self.end].first_chunk::<N>() {
            Some(chunk) => {
                self.pos += N;
                Ok(*chunk)
            }
            None => Err(DecodeError::Truncated { needed: N, remaining: self.remaining() }),
        }
    }

    fn take(&mut self, length: usize) -> Result<&[u8], DecodeError> {
        if length > self.remaining() {
            return Err(DecodeError::Truncated { needed: length, remaining: self.remaining() });
        }
        self.pos += length;
        Ok(&self.buf[self.pos - length..self.pos])
    }
}

/// −1 stands for null; anything below it is nonsense.
fn checked_length(length: i64, null_ok: bool) -> Result<Option<usize>, DecodeError> {
    match usize::try_from(length) {
        Ok(length) => Ok(Some(length)),
        Err(_) if length == -1 && null_ok => Ok(None),
        Err(_) => Err(DecodeError::InvalidLength(length)),
    }
}
