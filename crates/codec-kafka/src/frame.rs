//! Frames: a size, a header, a body.
//!
//! A frame on the wire is an int32 size and that many bytes. Requests begin with header v1 or v2,
//! responses with v0 or v1, depending on whether the body's version is flexible (KIP-482). The client
//! id keeps its old encoding even in the flexible header. The answer to ApiVersions always has
//! header v0, because the client cannot know better yet (KIP-511).

use bytes::{Buf, Bytes, BytesMut};

use crate::api_key::ApiKey;
use crate::message::{Request, Response};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

/// Kafka's default for the largest request (`socket.request.max.bytes`), in bytes.
pub const FRAME_BYTES_MAX: usize = 100 << 20;

const SIZE_BYTES: usize = 4;

/// Holds most frames without growing, apart from the record batches, which are not copied.
const SMALL_FRAME_BYTES: usize = 512;

/// Cuts a received byte stream into frames.
#[derive(Debug, Clone)]
pub struct FrameSplitter {
    frame_bytes_max: usize,
}

/// The stream is not Kafka, or asks for more than the limit. The connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("frame size {size} is negative or above {max}")]
pub struct FrameError {
    pub size: i32,
    pub max: usize,
}

impl FrameSplitter {
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max }
    }

    /// Takes the next whole frame, without its size, off the front of `buf`; `None` when more bytes
    /// must arrive first.
    pub fn next_frame(&self, buf: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(size) = self.frame_size(buf)? else { return Ok(None) };
        if buf.len() < SIZE_BYTES + size {
            return Ok(None);
        }
        buf.advance(SIZE_BYTES);
        Ok(Some(buf.split_to(size).freeze()))
    }

    /// How many more bytes complete the frame at the front of `buf`; 0 when it is there. For sizing
    /// the next read: do not reserve it all at once for a peer that has not proven itself.
    pub fn missing_bytes(&self, buf: &BytesMut) -> Result<usize, FrameError> {
        let size = self.frame_size(buf)?.unwrap_or(0);
        Ok((SIZE_BYTES + size).saturating_sub(buf.len()))
    }

    fn frame_size(&self, buf: &BytesMut) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = buf.first_chunk::<SIZE_BYTES>() else { return Ok(None) };
        let size = i32::from_be_bytes(*prefix);
        match usize::try_from(size) {
            Ok(bytes) if bytes <= self.frame_bytes_max => Ok(Some(bytes)),
            _ => Err(FrameError { size, max: self.frame_bytes_max }),
        }
    }
}

/// The header of a request, whatever its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    pub api: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    /// UTF-8; a slice of the frame.
    client_id: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Kafka closes the connection.
    #[error("no API {key}")]
    UnknownApi { key: i16, version: i16 },
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl RequestHead {
    /// Reads the header and leaves `buf` at the body. The version is not checked: an ApiVersions
    /// request from the future wants an answer, any other one a closed connection.
    pub fn decode(buf: &mut Reader) -> Result<Self, HeadError> {
        let key = buf.i16()?;
        let version = buf.i16()?;
        let Some(api) = ApiKey::from_i16(key) else {
            return Err(HeadError::UnknownApi { key, version });
        };
        let correlation_id = buf.i32()?;
        let client_id = buf.nullable_text(false)?;
        if api.is_flexible(version) {
            buf.skip_tags()?;
        }
        Ok(Self { api, version, correlation_id, client_id })
    }

    /// Whether the body can be decoded.
    pub fn is_supported(&self) -> bool {
        self.api.versions().contains(&self.version)
    }

    pub fn client_id(&self) -> Option<&str> {
        // Checked when it was read; checking again is cheaper than an allocation per request.
        self.client_id.as_ref().map(|text| std::str::from_utf8(text).unwrap_or_default())
    }
}

/// Reads a response's header, leaves `buf` at the body, and gives the correlation id.
pub fn decode_response_head(buf: &mut Reader, api: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = buf.i32()?;
    if api.response_header_version(version) >= 1 {
        buf.skip_tags()?;
    }
    Ok(correlation_id)
}

/// Appends a whole request frame to `out`; nothing when it fails.
pub fn write_request<R: Request>(
    out: &mut Writer,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &R,
) -> Result<(), EncodeError> {
    let mark = out.begin_frame();
    let written = write_request_content(out, version, correlation_id, client_id, body);
    match written {
        Ok(()) => out.end_frame(mark),
        Err(error) => {
            out.abort_frame(mark);
            Err(error)
        }
    }
}

/// Appends a whole response frame to `out`; nothing when it fails.
pub fn write_response<R: Response>(
    out: &mut Writer,
    version: i16,
    correlation_id: i32,
    body: &R,
) -> Result<(), EncodeError> {
    let mark = out.begin_frame();
    out.put_i32(correlation_id);
    if version >= R::FLEXIBLE && R::KEY != ApiKey::ApiVersions as i16 {
        out.put_uvarint(0);
    }
    match body.encode(out, version) {
        Ok(()) => out.end_frame(mark),
        Err(error) => {
            out.abort_frame(mark);
            Err(error)
        }
    }
}

/// One request frame by itself, with its size.
pub fn encode_request<R: Request>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &R,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut out = Writer::with_capacity(SMALL_FRAME_BYTES);
    write_request(&mut out, version, correlation_id, client_id, body)?;
    Ok(out.into_segments())
}

/// One response frame by itself, with its size.
pub fn encode_response<R: Response>(
    version: i16,
    correlation_id: i32,
    body: &R,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut out = Writer::with_capacity(SMALL_FRAME_BYTES);
    write_response(&mut out, version, correlation_id, body)?;
    Ok(out.into_segments())
}

fn write_request_content<R: Request>(
    out: &mut Writer,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &R,
) -> Result<(), EncodeError> {
    out.put_i16(R::KEY);
    out.put_i16(version);
    out.put_i32(correlation_id);
    out.put_nullable_string(client_id, false)?;
    if version >= R::FLEXIBLE {
        out.put_uvarint(0);
    }
    body.encode(out, version)
}

#[cfg(test)]
mod tests;
