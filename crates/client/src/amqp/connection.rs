//! The connection's two buffers and the frames in them.
//!
//! Invariants: `inbox[start..]` begins at a frame boundary; nothing in front of it is needed any more. A message
//! whose frames lie together in the inbox is handed out as slices of it; only bodies of several frames, and
//! contents between which the broker sent something else, are put together elsewhere first.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use bowline_codec_amqp::frame::{FRAME_OVERHEAD, HEARTBEAT, frame_len};
use bowline_codec_amqp::methods::{
    BasicAck, BasicDeliver, BasicGetEmpty, BasicGetOk, BasicReturn, ChannelClose, ChannelCloseOk,
    ConnectionClose, ConnectionCloseOk,
};
use bowline_codec_amqp::{ContentHeader, EncodeMethod, Frame, FrameKind, Method, split_frame};
use rustix::event::PollFlags;

use super::{Content, Event, Server};
use crate::error::{Error, Result};
use crate::socket::{Moved, Socket};

/// Octets that we hold for a caller who waits for something else; beyond it the broker has overrun us.
pub const INBOX_MAX: usize = 64 << 20;
/// A message body beyond this is refused: RabbitMQ's own hard limit.
const BODY_MAX: u64 = 512 << 20;
/// A broker may have much to write to disk before it answers a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Room that a read finds at least.
const READ_MIN: usize = 64 << 10;
const INBOX_START: usize = 256 << 10;

/// An open AMQP connection. Not thread-safe on purpose: one thread, one connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) server: Server,
    pub(super) timeout: Duration,
    pub(super) channels_opened: u16,
    socket: Socket,
    out: Vec<u8>,
    inbox: Vec<u8>,
    start: usize,
    frame_max: u32,
    heartbeat: Duration,
    last_sent: Instant,
    last_received: Instant,
    /// A call or a flush has read more than it needed: the next `fill` need not wait.
    unread: bool,
    /// Contents under way whose frames do not lie together, by channel.
    assemblies: HashMap<u16, Assembly>,
    /// The assembly that was completed last; an event may borrow it.
    assembled: Assembly,
}

/// A content that arrives in pieces.
#[derive(Debug, Default)]
struct Assembly {
    method: Vec<u8>,
    header: Vec<u8>,
    body: Vec<u8>,
    body_size: u64,
}

/// A frame in the inbox: kind, channel, payload, and where the next frame begins.
type FrameAt = (FrameKind, u16, Range<usize>, usize);

/// What `parse` found, as ranges of the inbox, so that finding it holds no borrow.
enum Found {
    Method { channel: u16, payload: Range<usize> },
    Content { channel: u16, method: Range<usize>, header: Range<usize>, body: Range<usize> },
    Assembled { channel: u16 },
}

impl Connection {
    pub(super) fn connect(address: &str, timeout: Duration) -> Result<Connection> {
        let now = Instant::now();
        Ok(Connection {
            server: Server::default(),
            timeout,
            channels_opened: 0,
            socket: Socket::connect(address, timeout)?,
            out: Vec::with_capacity(READ_MIN),
            inbox: Vec::with_capacity(INBOX_START),
            start: 0,
            frame_max: 131_072,
            heartbeat: Duration::ZERO,
            last_sent: now,
            last_received: now,
            unread: false,
            assemblies: HashMap::new(),
            assembled: Assembly::default(),
        })
    }

    pub(super) fn set_limits(&mut self, frame_max: u32, heartbeat_secs: u16) {
        self.frame_max = frame_max;
        self.heartbeat = Duration::from_secs(heartbeat_secs.into());
    }

    /// What the broker said about itself.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The largest frame that either side may send.
    pub fn frame_max(&self) -> u32 {
        self.frame_max
    }

    /// The socket, for those who want to hurt it.
    pub fn stream(&self) -> &std::net::TcpStream {
        self.socket.stream()
    }

    /// The write buffer: whole frames that the next flush sends.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Buffers a method.
    pub fn send_method(&mut self, channel: u16, method: &impl EncodeMethod) {
        method.encode_frame(channel, &mut self.out);
    }

    /// Writes everything that is buffered. While the broker does not take it, what it sends is read, so that two
    /// full pipes cannot wait for each other.
    pub fn flush(&mut self) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        let deadline = Instant::now() + self.timeout;
        while written < self.out.len() {
            match self.socket.send(&self.out[written..])? {
                Moved::Bytes(n) => written += n,
                Moved::NotNow => self.wait_for_room(deadline)?,
            }
        }
        self.out.clear();
        self.last_sent = Instant::now();
        Ok(())
    }

    fn wait_for_room(&mut self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout("the broker does not read"));
        }
        if self.inbox.len() - self.start >= INBOX_MAX {
            self.socket.wait_writable(left)?;
            return Ok(());
        }
        match self.socket.wait_either(left)? {
            Some(ready) if !ready.contains(PollFlags::OUT) => {
                self.unread |= self.receive(Duration::ZERO)? != Moved::NotNow;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Sends what is buffered and makes more for [`next`](Connection::next) to look at: what a call has read beside
    /// its reply or else, after one read, what comes within `wait`. `false`: nothing came. Keeps heartbeats going
    /// while it waits.
    pub fn fill(&mut self, wait: Duration) -> Result<bool> {
        self.flush()?;
        if std::mem::take(&mut self.unread) {
            return Ok(true);
        }
        self.read_more(wait)
    }

    fn read_more(&mut self, wait: Duration) -> Result<bool> {
        self.flush()?;
        let start = Instant::now();
        let mut left = wait;
        loop {
            let step = if self.heartbeat.is_zero() { left } else { left.min(self.heartbeat / 4) };
            if let Moved::Bytes(_) = self.receive(step)? {
                return self.keep_alive(self.last_received).map(|()| true);
            }
            let now = Instant::now();
            self.keep_alive(now)?;
            left = wait.saturating_sub(now - start);
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Sends a heartbeat after half the interval without a write; gives the peer up after two without a byte
    /// (4.2.7 of the specification).
    fn keep_alive(&mut self, now: Instant) -> Result<()> {
        if self.heartbeat.is_zero() {
            return Ok(());
        }
        if now.saturating_duration_since(self.last_received) > self.heartbeat * 2 {
            return Err(Error::Timeout("no heartbeat from the broker"));
        }
        if now.saturating_duration_since(self.last_sent) > self.heartbeat / 2 {
            self.out.extend_from_slice(&HEARTBEAT);
            self.flush()?;
        }
        Ok(())
    }

    /// Reads once, waiting up to `wait`.
    fn receive(&mut self, wait: Duration) -> Result<Moved> {
        if self.start == self.inbox.len() {
            self.inbox.clear();
            self.start = 0;
        }
        let whole_frame = frame_len(&self.inbox[self.start..]).unwrap_or(0);
        let held = self.inbox.len() - self.start;
        let room = READ_MIN.max(whole_frame.saturating_sub(held));
        if self.inbox.capacity() - self.inbox.len() < room {
            self.inbox.drain(..self.start);
            self.start = 0;
            self.inbox.reserve(room);
        }
        let moved = self.socket.recv_within(&mut self.inbox, wait)?;
        if moved != Moved::NotNow {
            self.last_received = Instant::now();
        }
        Ok(moved)
    }

    /// When the bytes that `next` looks at arrived, at the latest: one clock reading a read, not one a message.
    pub fn received_at(&self) -> Instant {
        self.last_received
    }

    /// The next event in the read buffer; `None` asks for [`fill`](Connection::fill). A connection.close from the
    /// broker is answered and becomes an error.
    #[allow(
        clippy::should_implement_trait,
        reason = "an event borrows the connection, which Iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Event<'_>>> {
        let Some(found) = self.parse()? else { return Ok(None) };
        let inbox = &self.inbox;
        let (channel, method, header, body) = match found {
            Found::Method { channel, payload } => {
                return plain_event(channel, Method::decode(&inbox[payload])?).map(Some);
            }
            Found::Content { channel, method, header, body } => {
                (channel, &inbox[method], &inbox[header], &inbox[body])
            }
            Found::Assembled { channel } => {
                let Assembly { method, header, body, .. } = &self.assembled;
                (channel, method.as_slice(), header.as_slice(), body.as_slice())
            }
        };
        let content = Content { properties: ContentHeader::decode(header)?.properties, body };
        match Method::decode(method)? {
            Method::BasicDeliver(method) => Ok(Some(Event::Deliver { channel, method, content })),
            Method::BasicReturn(method) => Ok(Some(Event::Return { channel, method, content })),
            other => Err(Error::Protocol(format!("unexpected {}", other.name()))),
        }
    }

    /// Consumes frames up to the next event. Answers the broker's closes.
    fn parse(&mut self) -> Result<Option<Found>> {
        loop {
            let Some((kind, channel, payload, next)) = self.frame_at(self.start)? else { return Ok(None) };
            match kind {
                FrameKind::Heartbeat => self.start = next,
                FrameKind::Method if has_content(&self.inbox[payload.clone()]) => {
                    match self.contiguous_content(channel, payload.clone(), next)? {
                        Contiguous::Whole(found, end) => {
                            self.start = end;
                            return Ok(Some(found));
                        }
                        Contiguous::Incomplete => return Ok(None),
                        Contiguous::Scattered => self.begin_assembly(channel, payload, next)?,
                    }
                }
                FrameKind::Method => {
                    self.start = next;
                    self.answer_close(channel, payload.clone())?;
                    return Ok(Some(Found::Method { channel, payload }));
                }
                FrameKind::Header | FrameKind::Body => {
                    self.start = next;
                    if self.continue_assembly(channel, kind, payload)? {
                        return Ok(Some(Found::Assembled { channel }));
                    }
                }
            }
        }
    }

    /// The frame at that position of the inbox, if all of it is there.
    fn frame_at(&self, at: usize) -> Result<Option<FrameAt>> {
        let Some((Frame { kind, channel, payload }, len)) = split_frame(&self.inbox[at..], self.frame_max)?
        else {
            return Ok(None);
        };
        let end = at + len;
        Ok(Some((kind, channel, end - 1 - payload.len()..end - 1, end)))
    }

    /// Looks whether header and body follow the method in one piece.
    fn contiguous_content(&self, channel: u16, method: Range<usize>, at: usize) -> Result<Contiguous> {
        let Some((kind, header_channel, header, at)) = self.frame_at(at)? else {
            return Ok(Contiguous::Incomplete);
        };
        if (kind, header_channel) != (FrameKind::Header, channel) {
            return Ok(Contiguous::Scattered);
        }
        let body_size = body_size(&self.inbox[header.clone()])?;
        if body_size == 0 {
            return Ok(Contiguous::Whole(Found::Content { channel, method, header, body: at..at }, at));
        }
        if body_size as usize + FRAME_OVERHEAD > self.frame_max as usize {
            return Ok(Contiguous::Scattered);
        }
        let Some((kind, body_channel, body, at)) = self.frame_at(at)? else {
            return Ok(Contiguous::Incomplete);
        };
        if (kind, body_channel, body.len() as u64) != (FrameKind::Body, channel, body_size) {
            return Ok(Contiguous::Scattered);
        }
        Ok(Contiguous::Whole(Found::Content { channel, method, header, body }, at))
    }

    fn begin_assembly(&mut self, channel: u16, method: Range<usize>, next: usize) -> Result<()> {
        let method = self.inbox[method].to_vec();
        self.start = next;
        match self.assemblies.insert(channel, Assembly { method, ..Assembly::default() }) {
            None => Ok(()),
            Some(_) => Err(Error::Protocol(format!("a content of channel {channel} was not finished"))),
        }
    }

    /// Adds a frame to its channel's assembly; `true` when that completed it.
    fn continue_assembly(&mut self, channel: u16, kind: FrameKind, payload: Range<usize>) -> Result<bool> {
        let Some(assembly) = self.assemblies.get_mut(&channel) else {
            return Err(Error::Protocol(format!("content frame on channel {channel} without a method")));
        };
        let payload = &self.inbox[payload];
        if kind == FrameKind::Header {
            assembly.body_size = body_size(payload)?;
            assembly.header = payload.to_vec();
            assembly.body.reserve(assembly.body_size as usize);
        } else {
            assembly.body.extend_from_slice(payload);
        }
        let have = assembly.body.len() as u64;
        if assembly.header.is_empty() || have > assembly.body_size {
            return Err(Error::Protocol(format!("content frames on channel {channel} out of order")));
        }
        if have < assembly.body_size {
            return Ok(false);
        }
        self.assembled = self.assemblies.remove(&channel).unwrap_or_default();
        Ok(true)
    }

    /// Answers connection.close and channel.close; the first becomes the connection's end.
    fn answer_close(&mut self, channel: u16, payload: Range<usize>) -> Result<()> {
        if method_id(&self.inbox[payload.clone()]) == ChannelClose::ID {
            self.assemblies.remove(&channel);
            self.send_method(channel, &ChannelCloseOk);
            return Ok(());
        }
        if method_id(&self.inbox[payload.clone()]) != ConnectionClose::ID {
            return Ok(());
        }
        let Method::ConnectionClose(close) = Method::decode(&self.inbox[payload])? else {
            return Ok(());
        };
        let closed = Error::ConnectionClosed { code: close.reply_code, text: close.reply_text.to_string() };
        self.send_method(0, &ConnectionCloseOk);
        // The peer may be gone already; its reason is what matters.
        let _ = self.flush();
        Err(closed)
    }

    /// Waits for the method on `channel` that `pick` accepts and takes it out of the inbox; everything else stays
    /// for [`next`](Connection::next). A close of the channel or connection ends the wait.
    pub(super) fn await_method<T>(
        &mut self,
        channel: u16,
        deadline: Instant,
        mut pick: impl FnMut(&Method<'_>) -> Option<T>,
    ) -> Result<T> {
        let mut at = self.start;
        loop {
            let Some((kind, frame_channel, payload, next)) = self.frame_at(at)? else {
                at = self.fill_behind(at, deadline)?;
                continue;
            };
            let closes =
                matches!(method_id(&self.inbox[payload.clone()]), ConnectionClose::ID | ChannelClose::ID);
            let ours = frame_channel == channel || (frame_channel == 0 && closes);
            if kind != FrameKind::Method || !ours || has_content(&self.inbox[payload.clone()]) {
                at = next;
                continue;
            }
            if closes {
                self.answer_close(frame_channel, payload.clone())?;
            }
            let method = Method::decode(&self.inbox[payload])?;
            if let Method::ChannelClose(close) = method {
                let (code, text) = (close.reply_code, close.reply_text.to_string());
                self.inbox.drain(at..next);
                let _ = self.flush();
                return Err(Error::ChannelClosed { channel, code, text });
            }
            match pick(&method) {
                Some(value) => {
                    self.inbox.drain(at..next);
                    self.unread = self.inbox.len() > self.start;
                    return Ok(value);
                }
                None => at = next,
            }
        }
    }

    /// Takes the content that begins with a basic.get-ok on `channel` out of the inbox, or the get-empty (`None`).
    pub(super) fn await_get(&mut self, channel: u16, deadline: Instant) -> Result<Option<[Vec<u8>; 3]>> {
        let mut at = self.start;
        let mut parts: [Vec<u8>; 3] = Default::default();
        let mut missing = None;
        loop {
            let Some((kind, frame_channel, payload, next)) = self.frame_at(at)? else {
                at = self.fill_behind(at, deadline)?;
                continue;
            };
            let id = if kind == FrameKind::Method { method_id(&self.inbox[payload.clone()]) } else { 0 };
            if matches!(id, ConnectionClose::ID | ChannelClose::ID)
                && (frame_channel == channel || frame_channel == 0)
            {
                self.await_method(channel, deadline, |_| None::<()>)?;
            }
            let ours = frame_channel == channel;
            let payload = &self.inbox[payload];
            match (kind, missing) {
                (FrameKind::Method, None) if ours && id == BasicGetOk::ID => {
                    parts[0] = payload.to_vec();
                    missing = Some(u64::MAX);
                }
                (FrameKind::Method, None) if ours && id == BasicGetEmpty::ID => {
                    self.inbox.drain(at..next);
                    self.unread = self.inbox.len() > self.start;
                    return Ok(None);
                }
                (FrameKind::Header, Some(_)) if ours => {
                    parts[1] = payload.to_vec();
                    missing = Some(body_size(payload)?);
                }
                (FrameKind::Body, Some(left)) if ours => {
                    parts[2].extend_from_slice(payload);
                    missing = Some(left.saturating_sub(payload.len() as u64));
                }
                _ => {
                    at = next;
                    continue;
                }
            }
            self.inbox.drain(at..next);
            if missing == Some(0) {
                self.unread = self.inbox.len() > self.start;
                return Ok(Some(parts));
            }
        }
    }

    /// Reads more while a scan stands at `at`; returns where it stands afterwards.
    fn fill_behind(&mut self, at: usize, deadline: Instant) -> Result<usize> {
        if self.inbox[self.start..].starts_with(b"AMQP") {
            return Err(Error::Protocol("the broker does not speak AMQP 0-9-1".into()));
        }
        if self.inbox.len() - self.start > INBOX_MAX {
            return Err(Error::Overflow(INBOX_MAX));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let offset = at - self.start;
        if left.is_zero() || !self.read_more(left)? {
            return Err(Error::Timeout("reply to an AMQP method"));
        }
        Ok(self.start + offset)
    }

    /// Says goodbye and waits for the answer. Unread deliveries are dropped; that the broker had closed a channel
    /// meanwhile, for instance because of the last publish, is an error.
    pub fn close(mut self) -> Result<()> {
        let close = ConnectionClose {
            reply_code: 200,
            reply_text: bowline_codec_amqp::ShortStr::truncated("done"),
            class_id: 0,
            method_id: 0,
        };
        self.send_method(0, &close);
        let deadline = Instant::now() + self.timeout.min(CLOSE_TIMEOUT);
        let mut complaint = None;
        loop {
            while let Some((kind, channel, payload, next)) = self.frame_at(self.start)? {
                self.start = next;
                if kind != FrameKind::Method {
                    continue;
                }
                match Method::decode(&self.inbox[payload])? {
                    Method::ConnectionCloseOk(_) => return complaint.map_or(Ok(()), Err),
                    Method::ChannelClose(ChannelClose { reply_code: code, reply_text, .. }) => {
                        complaint =
                            Some(Error::ChannelClosed { channel, code, text: reply_text.to_string() });
                    }
                    Method::ConnectionClose(ConnectionClose { reply_code: code, reply_text, .. }) => {
                        return Err(Error::ConnectionClosed { code, text: reply_text.to_string() });
                    }
                    _ => {}
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.read_more(left)? {
                return Err(Error::Timeout("connection.close-ok"));
            }
        }
    }
}

/// Where the content after a method is.
enum Contiguous {
    /// In one piece, up to that position.
    Whole(Found, usize),
    /// Perhaps in one piece; not all of it has come.
    Incomplete,
    /// In several frames, or with other frames in between.
    Scattered,
}

fn plain_event(channel: u16, method: Method<'_>) -> Result<Event<'_>> {
    Ok(match method {
        Method::BasicAck(BasicAck { delivery_tag: tag, multiple }) => Event::Ack { channel, tag, multiple },
        Method::BasicNack(nack) => Event::Nack { channel, tag: nack.delivery_tag, multiple: nack.multiple },
        Method::BasicCancel(cancel) => Event::Cancel { channel, consumer_tag: cancel.consumer_tag },
        Method::ChannelClose(close) => {
            Event::ChannelClosed { channel, code: close.reply_code, text: close.reply_text }
        }
        Method::ConnectionBlocked(blocked) => Event::Blocked { reason: blocked.reason },
        Method::ConnectionUnblocked(_) => Event::Unblocked,
        other => return Err(Error::Protocol(format!("unexpected {}", other.name()))),
    })
}

fn has_content(payload: &[u8]) -> bool {
    matches!(method_id(payload), BasicDeliver::ID | BasicReturn::ID | BasicGetOk::ID)
}

/// Class and method id; 0, which no method has, when the payload is too short.
fn method_id(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |id| u32::from_be_bytes(*id))
}

fn body_size(header: &[u8]) -> Result<u64> {
    let size = ContentHeader::decode(header)?.body_size;
    if size > BODY_MAX {
        return Err(Error::Protocol(format!("a message of {size} octets was announced")));
    }
    Ok(size)
}
