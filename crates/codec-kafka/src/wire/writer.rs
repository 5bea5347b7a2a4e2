//! A frame under construction, as a rope.
//!
//! Small values go into contiguous parts; large `Bytes` (record batches above all) become parts of
//! their own and are never copied. The result is a list of `Bytes` for a vectored write.

use bytes::{BufMut, Bytes, BytesMut};

use super::EncodeError;
use super::reader::STRING_MAX_BYTES;
use crate::records::Records;
use crate::uuid::Uuid;

/// From this size on a `Bytes` becomes a segment of its own; below it a copy is cheaper than one
/// more entry in the vectored write.
pub const SEGMENT_MIN_BYTES: usize = 1024;

/// The largest length that an int32 can say.
const LENGTH_MAX: usize = i32::MAX as usize;

#[derive(Debug, Default)]
pub struct Writer {
    parts: Vec<Part>,
    /// Continues the frame behind `parts`.
    tail: BytesMut,
    /// Bytes in `parts`.
    parts_len: usize,
}

#[derive(Debug)]
enum Part {
    /// Written here, so a size prefix in it can still be filled in.
    Own(BytesMut),
    Shared(Bytes),
}

/// Where a size-prefixed frame began; see `Writer::begin_frame`.
#[derive(Debug)]
pub struct FrameMark {
    part: usize,
    offset: usize,
    parts_len: usize,
}

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_capacity(bytes: usize) -> Self {
        Self { tail: BytesMut::with_capacity(bytes), ..Self::default() }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.parts_len + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame's bytes in order, none of them empty.
    pub fn into_segments(mut self) -> Vec<Bytes> {
        self.take_segments()
    }

    /// As `into_segments`, leaving the writer empty with its spare capacity for the next frames.
    pub fn take_segments(&mut self) -> Vec<Bytes> {
        self.close_tail();
        self.parts_len = 0;
        let freeze = |part| match part {
            Part::Own(part) => part.freeze(),
            Part::Shared(part) => part,
        };
        self.parts.drain(..).map(freeze).collect()
    }

    /// One contiguous copy; for tests and for small messages inside other messages.
    pub fn into_bytes(self) -> Bytes {
        let mut segments = self.into_segments();
        if segments.len() == 1 {
            return segments.remove(0);
        }
        segments.concat().into()
    }

    /// Reserves the int32 size of a frame, to be filled in by `end_frame`.
    pub fn begin_frame(&mut self) -> FrameMark {
        let mark = FrameMark { part: self.parts.len(), offset: self.tail.len(), parts_len: self.parts_len };
        self.tail.put_i32(0);
        mark
    }

    /// Fills in the size of everything written since `begin_frame`.
    pub fn end_frame(&mut self, mark: FrameMark) -> Result<(), EncodeError> {
        let length = self.len() - mark.parts_len - mark.offset - 4;
        let size = i32::try_from(length).map_err(|_| EncodeError::TooLong { length, max: LENGTH_MAX })?;
        let part = match self.parts.get_mut(mark.part) {
            Some(Part::Own(part)) => part,
            Some(Part::Shared(_)) => unreachable!("a frame begins in a part of our own"),
            None => &mut self.tail,
        };
        part[mark.offset..mark.offset + 4].copy_from_slice(&size.to_be_bytes());
        Ok(())
    }

    /// Forgets everything written since `begin_frame`, after a failed encode.
    pub fn abort_frame(&mut self, mark: FrameMark) {
        if mark.part < self.parts.len() {
            self.tail = match self.parts.swap_remove(mark.part) {
                Part::Own(part) => part,
                Part::Shared(_) => unreachable!("a frame begins in a part of our own"),
            };
            self.parts.truncate(mark.part);
        }
        self.tail.truncate(mark.offset);
        self.parts_len = mark.parts_len;
    }

    /// Appends without copying when it is large enough to be worth it.
    pub fn put_segment(&mut self, segment: Bytes) {
        if segment.len() < SEGMENT_MIN_BYTES {
            self.tail.put_slice(&segment);
            return;
        }
        self.close_tail();
        self.parts_len += segment.len();
        self.parts.push(Part::Shared(segment));
    }

    pub fn put_slice(&mut self, slice: &[u8]) {
        self.tail.put_slice(slice);
    }

    pub fn put_bool(&mut self, value: bool) {
        self.tail.put_u8(value.into());
    }

    pub fn put_i8(&mut self, value: i8) {
        self.tail.put_i8(value);
    }

    pub fn put_i16(&mut self, value: i16) {
        self.tail.put_i16(value);
    }

    pub fn put_u16(&mut self, value: u16) {
        self.tail.put_u16(value);
    }

    pub fn put_i32(&mut self, value: i32) {
        self.tail.put_i32(value);
    }

    pub fn put_u32(&mut self, value: u32) {
        self.tail.put_u32(value);
    }

    pub fn put_i64(&mut self, value: i64) {
        self.tail.put_i64(value);
    }

    pub fn put_f64(&mut self, value: f64) {
        self.tail.put_f64(value);
    }

    pub fn put_uuid(&mut self, value: Uuid) {
        self.tail.put_slice(&value.0);
    }

    /// Unsigned base-128 integer.
    pub fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value as u8);
    }

    /// Fails beyond 32 767 bytes, in the compact form too: other implementations refuse longer ones.
    pub fn put_string(&mut self, text: &str, flexible: bool) -> Result<(), EncodeError> {
        if text.len() > STRING_MAX_BYTES {
            return Err(EncodeError::TooLong { length: text.len(), max: STRING_MAX_BYTES });
        }
        match flexible {
            true => self.put_uvarint(text.len() as u32 + 1),
            false => self.put_i16(text.len() as i16),
        }
        self.tail.put_slice(text.as_bytes());
        Ok(())
    }

    pub fn put_nullable_string(&mut self, text: Option<&str>, flexible: bool) -> Result<(), EncodeError> {
        match text {
            Some(text) => return self.put_string(text, flexible),
            None if flexible => self.put_uvarint(0),
            None => self.put_i16(-1),
        }
        Ok(())
    }

    pub fn put_bytes(&mut self, bytes: &Bytes, flexible: bool) -> Result<(), EncodeError> {
        self.put_length(bytes.len(), flexible)?;
        self.put_segment(bytes.clone());
        Ok(())
    }

    pub fn put_nullable_bytes(&mut self, bytes: Option<&Bytes>, flexible: bool) -> Result<(), EncodeError> {
        match bytes {
            Some(bytes) => self.put_bytes(bytes, flexible),
            None => self.put_null_length(flexible),
        }
    }

    pub fn put_nullable_records(
        &mut self,
        records: Option<&Records>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        let Some(records) = records else { return self.put_null_length(flexible) };
        self.put_length(records.len(), flexible)?;
        for segment in &records.segments {
            self.put_segment(segment.clone());
        }
        Ok(())
    }

    /// The length of an array, `bytes` or `records`.
    pub fn put_length(&mut self, length: usize, flexible: bool) -> Result<(), EncodeError> {
        // One below the largest, so that the compact form's length + 1 fits as well.
        if length >= LENGTH_MAX {
            return Err(EncodeError::TooLong { length, max: LENGTH_MAX - 1 });
        }
        match flexible {
            true => self.put_uvarint(length as u32 + 1),
            false => self.put_i32(length as i32),
        }
        Ok(())
    }

    /// The length that stands for a null array, `bytes` or `records`.
    pub fn put_null_length(&mut self, flexible: bool) -> Result<(), EncodeError> {
        match flexible {
            true => self.put_uvarint(0),
            false => self.put_i32(-1),
        }
        Ok(())
    }

    /// One tagged field. The caller has written the count, and writes tags in ascending order.
    pub fn put_tag(&mut self, tag: u32, field: Writer) -> Result<(), EncodeError> {
        let length = field.len();
        if length > LENGTH_MAX {
            return Err(EncodeError::TooLong { length, max: LENGTH_MAX });
        }
        self.put_uvarint(tag);
        self.put_uvarint(length as u32);
        for segment in field.into_segments() {
            self.put_segment(segment);
        }
        Ok(())
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts_len += self.tail.len();
            self.parts.push(Part::Own(self.tail.split()));
        }
    }
}
