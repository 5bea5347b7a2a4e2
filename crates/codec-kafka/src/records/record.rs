//! Single records inside a batch's (decompressed) body.
//!
//! ```text
//! length varint | attributes i8 | timestamp_delta varlong | offset_delta varint
//! key_length varint (-1: null) | key | value_length varint (-1: null) | value
//! header_count varint | per header: key_length varint, key, value_length varint (-1: null), value
//! ```

use super::BatchError;
use super::varint::{read_i32, read_i64};

/// A record; everything borrows from the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Relative to the batch's base offset; see `BatchHeader::record_offset`.
    pub offset_delta: i32,
    /// Milliseconds, relative to the batch; see `BatchHeader::record_timestamp`.
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// One header of a record. Keys are UTF-8 by convention only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in their order, duplicates included. Checked when the record was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers<'a> {
    left: usize,
    buf: &'a [u8],
}

impl Headers<'_> {
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        read_header(&mut self.buf).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Decodes records one by one. Yields an error and ends when a record is malformed, when the body ends
/// before `count` records, or when something follows them.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    index: i32,
    count: i32,
    ended: bool,
}

impl<'a> RecordIter<'a> {
    /// `body`: what `Batch::records` gave. `count`: the header's `records_count`.
    pub fn new(body: &'a [u8], count: i32) -> Self {
        Self { rest: body, index: 0, count, ended: false }
    }

    /// What has not been iterated over.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let index = self.index;
        let result = if index >= self.count {
            self.ended = true;
            if self.rest.is_empty() {
                return None;
            }
            Err("bytes follow the last record")
        } else {
            self.index += 1;
            read_record(&mut self.rest)
        };
        Some(result.map_err(|reason| {
            self.ended = true;
            BatchError::InvalidRecord { index, reason }
        }))
    }
}

type Malformed = &'static str;

fn read_record<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, Malformed> {
    let length = read_i32(rest).ok_or("length is missing")?;
    let length = usize::try_from(length).map_err(|_| "length is negative")?;
    let (mut buf, behind) = rest.split_at_checked(length).ok_or("record ends behind the batch")?;
    *rest = behind;
    // No attribute of a single record has a meaning yet.
    let (_, after_attributes) = buf.split_first().ok_or("record is empty")?;
    buf = after_attributes;
    let timestamp_delta = read_i64(&mut buf).ok_or("timestamp is malformed")?;
    let offset_delta = read_i32(&mut buf).ok_or("offset is malformed")?;
    let key = read_nullable(&mut buf)?;
    let value = read_nullable(&mut buf)?;
    let headers = read_headers(buf)?;
    Ok(Record { offset_delta, timestamp_delta, key, value, headers })
}

fn read_headers(mut buf: &[u8]) -> Result<Headers<'_>, Malformed> {
    let count = read_i32(&mut buf).ok_or("header count is malformed")?;
    let count = usize::try_from(count).map_err(|_| "header count is negative")?;
    let headers = Headers { left: count, buf };
    // Every header takes two bytes, so a count beyond that fails before long.
    for _ in 0..count {
        read_header(&mut buf)?;
    }
    if buf.is_empty() { Ok(headers) } else { Err("bytes follow the headers") }
}

fn read_header<'a>(buf: &mut &'a [u8]) -> Result<Header<'a>, Malformed> {
    let key = read_nullable(buf)?.ok_or("header key is null")?;
    let value = read_nullable(buf)?;
    Ok(Header { key, value })
}

fn read_nullable<'a>(buf: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let length = read_i32(buf).ok_or("field length is malformed")?;
    let Ok(length) = usize::try_from(length) else {
        return if length == -1 { Ok(None) } else { Err("field length is negative") };
    };
    let (field, behind) = buf.split_at_checked(length).ok_or("field ends behind its record")?;
    *buf = behind;
    Ok(Some(field))
}
