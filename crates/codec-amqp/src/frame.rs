//! Frames: the envelope around everything, and the content header and body frames inside it.
//!
//! ```text
//! 0      1         3             7                  size+7
//! | type | channel | size        | payload (size)   | 0xCE |
//!   u8     u16       u32
//! content header payload: | class u16 | weight u16 | body size u64 | property flags u16 | properties |
//! ```
//!
//! Sections 2.3 and 4.2 of the specification. A negotiated frame_max counts the eight octets around the payload;
//! RabbitMQ tolerates payloads of up to frame_max itself, so the reader is given the payload limit it should apply.

use std::ops::Range;

use crate::error::{DecodeError, FrameError};
use crate::properties::Properties;
use crate::wire::{self, Reader, ShortStr};

/// The octet that ends every frame.
pub const FRAME_END: u8 = 0xCE;
/// Octets of a frame before its payload.
pub const FRAME_HEAD_LEN: usize = 7;
/// Octets of a frame that are not payload.
pub const FRAME_OVERHEAD: usize = FRAME_HEAD_LEN + 1;
/// Smallest frame_max that the specification allows to negotiate (4.2.3 and frame-min-size).
pub const FRAME_MIN_SIZE: u32 = 4096;
/// A heartbeat frame, ready to be sent.
pub const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, FRAME_END];
/// The class of all methods that carry content.
pub const BASIC_CLASS: u16 = 60;

/// The eight octets with which a client opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolHeader {
    /// `AMQP 0 0 9 1`
    Amqp091,
    /// `AMQP 1 1 0 9`: AMQP 0-9, which RabbitMQ serves as 0-9-1.
    Amqp09,
    /// Anything else; the answer is [`PROTOCOL_HEADER`] and a close.
    Unsupported,
}

/// What a client sends first, and what a server answers to a header that it does not support (2.2.4).
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

impl ProtocolHeader {
    /// `None` while fewer than eight octets are there.
    pub fn parse(buf: &[u8]) -> Option<ProtocolHeader> {
        let header: &[u8; 8] = buf.first_chunk()?;
        Some(match header {
            b"AMQP\x00\x00\x09\x01" => ProtocolHeader::Amqp091,
            b"AMQP\x01\x01\x00\x09" => ProtocolHeader::Amqp09,
            _ => ProtocolHeader::Unsupported,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    Method = 1,
    Header = 2,
    Body = 3,
    Heartbeat = 8,
}

/// One frame, borrowed from the buffer it arrived in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: FrameKind,
    pub channel: u16,
    pub payload: &'a [u8],
}

/// Cuts the first frame off `buf` and tells how many octets it took.
///
/// `Ok(None)` asks for more input. A wrong type or size is reported as soon as it can be seen, so that a peer
/// cannot make the reader wait for, or make room for, more than `payload_max` octets.
#[inline]
pub fn split_frame(buf: &[u8], payload_max: u32) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some(head) = buf.first_chunk::<FRAME_HEAD_LEN>() else {
        return match buf.first() {
            Some(&octet) => frame_kind(octet).map(|_| None),
            None => Ok(None),
        };
    };
    let kind = frame_kind(head[0])?;
    let channel = u16::from_be_bytes([head[1], head[2]]);
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    if size > payload_max {
        return Err(FrameError::TooLarge { size, max: payload_max });
    }
    let end = FRAME_HEAD_LEN + size as usize;
    match buf.get(end) {
        None => Ok(None),
        Some(&FRAME_END) => Ok(Some((Frame { kind, channel, payload: &buf[FRAME_HEAD_LEN..end] }, end + 1))),
        Some(&other) => Err(FrameError::BadEnd(other)),
    }
}

/// Octets of the whole first frame in `buf`, as soon as its head is there: how much room a reader should make.
pub fn frame_len(buf: &[u8]) -> Option<usize> {
    let head = buf.first_chunk::<FRAME_HEAD_LEN>()?;
    Some(u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize + FRAME_OVERHEAD)
}

#[inline]
fn frame_kind(octet: u8) -> Result<FrameKind, FrameError> {
    match octet {
        1 => Ok(FrameKind::Method),
        2 => Ok(FrameKind::Header),
        3 => Ok(FrameKind::Body),
        8 => Ok(FrameKind::Heartbeat),
        other => Err(FrameError::UnknownType(other)),
    }
}

/// The payload of a header frame. The class is always basic, the only one with content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContentHeader<'a> {
    pub body_size: u64,
    pub properties: Properties<'a>,
}

impl<'a> ContentHeader<'a> {
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<ContentHeader<'a>, DecodeError> {
        let mut r = Reader::new(payload);
        let class = r.u16()?;
        if class != BASIC_CLASS {
            return Err(DecodeError::UnknownContentClass(class));
        }
        // The weight field is unused and must be zero (4.2.6.1); RabbitMQ ignores it, and so do we.
        r.u16()?;
        let body_size = r.u64()?;
        Ok(ContentHeader { body_size, properties: Properties::parse(r.rest())? })
    }

    /// Appends the whole header frame.
    pub fn encode_frame(&self, channel: u16, out: &mut Vec<u8>) {
        encode_header_frame(out, channel, self.body_size, self.properties.as_bytes());
    }
}

/// Appends a header frame around a raw property block, flags included.
#[inline]
pub fn encode_header_frame(out: &mut Vec<u8>, channel: u16, body_size: u64, properties: &[u8]) {
    let mut head = [0; FRAME_HEAD_LEN + 12];
    head[0] = FrameKind::Header as u8;
    head[1..3].copy_from_slice(&channel.to_be_bytes());
    head[3..7].copy_from_slice(&((12 + properties.len()) as u32).to_be_bytes());
    head[7..9].copy_from_slice(&BASIC_CLASS.to_be_bytes());
    head[11..19].copy_from_slice(&body_size.to_be_bytes());
    out.reserve(head.len() + properties.len() + 1);
    out.extend_from_slice(&head);
    out.extend_from_slice(properties);
    out.push(FRAME_END);
}

/// Everything of a basic.deliver that precedes the body.
#[derive(Clone, Copy, Debug)]
pub struct DeliverHead<'a> {
    pub channel: u16,
    pub consumer_tag: ShortStr<'a>,
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: ShortStr<'a>,
    pub routing_key: ShortStr<'a>,
    /// Raw property block, flags included, as the publisher sent it.
    pub properties: &'a [u8],
    pub body_size: u64,
}

impl DeliverHead<'_> {
    /// Appends the method frame and the header frame; body frames (see [`body_frames`]) follow.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        const DELIVER: u32 = crate::methods::BasicDeliver::ID;
        let strings = self.consumer_tag.as_bytes().len()
            + self.exchange.as_bytes().len()
            + self.routing_key.as_bytes().len();
        let size = 4 + 3 + 9 + strings;
        out.reserve(size + FRAME_OVERHEAD + self.properties.len() + 20);
        put_frame_head(out, FrameKind::Method, self.channel, size as u32);
        wire::put_u32(out, DELIVER);
        wire::put_short_str(out, self.consumer_tag);
        wire::put_u64(out, self.delivery_tag);
        wire::put_u8(out, u8::from(self.redelivered));
        wire::put_short_str(out, self.exchange);
        wire::put_short_str(out, self.routing_key);
        out.push(FRAME_END);
        encode_header_frame(out, self.channel, self.body_size, self.properties);
    }
}

/// The ranges of a body that go into one frame each. An empty body has no body frame.
///
/// `frame_max` is the negotiated value, 0 for no limit. A writer sends for each range a
/// [`body_frame_head`], the slice itself, and [`FRAME_END`]; so bodies need not be copied.
pub fn body_frames(body_len: usize, frame_max: u32) -> impl Iterator<Item = Range<usize>> {
    let step = body_frame_max(frame_max);
    (0..body_len).step_by(step).map(move |start| start..body_len.min(start.saturating_add(step)))
}

/// Most octets of a body that one frame may carry under a negotiated frame_max (0: no limit).
pub fn body_frame_max(frame_max: u32) -> usize {
    match frame_max {
        0 => u32::MAX as usize,
        limit => (limit as usize).saturating_sub(FRAME_OVERHEAD).max(1),
    }
}

/// The seven octets before a body slice of `len` octets.
#[inline]
pub fn body_frame_head(channel: u16, len: u32) -> [u8; FRAME_HEAD_LEN] {
    let [c0, c1] = channel.to_be_bytes();
    let [s0, s1, s2, s3] = len.to_be_bytes();
    [FrameKind::Body as u8, c0, c1, s0, s1, s2, s3]
}

/// Appends a body as frames, copying it: for small bodies, where a copy is cheaper than another slice to write.
#[inline]
pub fn encode_body_frames(out: &mut Vec<u8>, channel: u16, body: &[u8], frame_max: u32) {
    let step = body_frame_max(frame_max);
    out.reserve(body.len() + (body.len() / step + 1) * FRAME_OVERHEAD);
    for part in body.chunks(step) {
        out.extend_from_slice(&body_frame_head(channel, part.len() as u32));
        out.extend_from_slice(part);
        out.push(FRAME_END);
    }
}

/// Opens a frame whose size is not known yet; [`end_frame`] closes it.
pub fn begin_frame(out: &mut Vec<u8>, kind: FrameKind, channel: u16) -> usize {
    let start = out.len();
    put_frame_head(out, kind, channel, 0);
    start
}

/// Fills in the size of the frame opened at `start` and ends it.
pub fn end_frame(out: &mut Vec<u8>, start: usize) {
    let size = (out.len() - start - FRAME_HEAD_LEN) as u32;
    out[start + 3..start + 7].copy_from_slice(&size.to_be_bytes());
    out.push(FRAME_END);
}

#[inline]
fn put_frame_head(out: &mut Vec<u8>, kind: FrameKind, channel: u16, size: u32) {
    let [c0, c1] = channel.to_be_bytes();
    let [s0, s1, s2, s3] = size.to_be_bytes();
    out.extend_from_slice(&[kind as u8, c0, c1, s0, s1, s2, s3]);
}
