//! One AMQP connection as a state machine: octets, events and the time in; octets and requests out.
//!
//! ```text
//! input(octets) ──► frames ──► methods ──► requests to shards (Broker)      ──► outbox (replies)
//! events(answers, deliveries) ─────────────────────────────────────────────► outbox (frames)
//! wrote(), on_time() ─► window reports, heartbeats, timeouts
//! ```
//!
//! Invariants:
//! - Methods of a channel take effect in their order. One whose answer comes later parks its channel; frames
//!   that arrive meanwhile wait in the channel's backlog. Other channels go on.
//! - What a channel published is visible to what it asks next: get, purge, counts and deletes wait for it.
//! - Every buffer has a bound in [`crate::options`]; at a bound the session stops reading its socket.
//!
//! It does not know sockets, tasks or clocks. The files beside this one hold the handlers by subject.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bowline_codec_amqp::methods::{ConnectionCloseOk, Method};
use bowline_codec_amqp::{EncodeMethod, Frame, FrameKind, Level, ProtocolHeader, frame, split_frame};
use bowline_model::request::Request;
use bowline_model::{Millis, ShardId};
use bowline_replica::Place;

use crate::broker::Broker;
use crate::chance::Chance;
use crate::channel::Channel;
use crate::consumers::{Consumers, Settles};
use crate::handshake::Client;
use crate::options::*;
use crate::outbox::Outbox;
use crate::publisher::Publisher;
use crate::refusal::{Refusal, Step};
use crate::routes::RouteCache;
use crate::windows::Windows;

/// The time, twice: `elapsed_ms` never goes back and measures timeouts, `unix_ms` dates records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub elapsed_ms: u64,
    pub unix_ms: Millis,
}

/// The other end of the socket.
#[derive(Clone, Debug)]
pub struct Peer {
    /// For logs.
    pub address: String,
    pub is_loopback: bool,
    /// The user that its certificate speaks for, if it has shown one that the listener trusts.
    pub certified: Option<String>,
}

pub struct Session {
    pub(crate) options: Arc<Options>,
    pub(crate) peer: Peer,
    pub(crate) phase: Phase,
    /// Input cannot be understood any more and is thrown away.
    is_deaf: bool,
    /// Set while a frame is handled whose continuation may be waited for. Cleared to say: offer it again, with more.
    pub(crate) may_wait_for_content: bool,
    pub(crate) wanted: usize,
    pub(crate) now: Now,
    pub(crate) chance: Chance,
    pub(crate) client: Client,
    /// What the connection counts for while it is open.
    pub(crate) place: Option<Place>,
    /// The connection's virtual host.
    pub(crate) vhost: Arc<str>,
    /// Negotiated; before that what a client may assume.
    pub(crate) frame_max: u32,
    pub(crate) channel_max: u16,
    /// 0: no heartbeats.
    pub(crate) heartbeat_ms: u64,
    began_ms: u64,
    /// When octets last arrived, and when some were last queued to be sent.
    heard_ms: u64,
    sent_ms: u64,
    sent_total: u64,

    pub(crate) channels: Vec<Option<Box<Channel>>>,
    pub(crate) consumers: Consumers,
    next_incarnation: u32,
    next_operation: u32,
    next_consumer: u32,

    pub(crate) publisher: Publisher,
    pub(crate) routes: RouteCache,
    /// Channels that take direct replies, by their address.
    pub(crate) reply_channels: HashMap<u128, u16>,
    /// Octets of publishes that transactions hold.
    pub(crate) tx_bytes: usize,
    pub(crate) settles: Settles,
    pub(crate) windows: Windows,
    pub(crate) out: Outbox,

    /// Why publishers are blocked, if they are, and whether this client was told.
    pub(crate) alarm: Option<&'static str>,
    pub(crate) told_blocked: bool,
    /// Channels with confirms that have become due.
    pub(crate) confirms_due: Vec<u16>,
    /// Channels that wait for their publishes.
    pub(crate) behind_publishes: Vec<u16>,
    /// Gets asked and not answered, and channels that wait to ask one.
    pub(crate) gets_in_flight: u32,
    pub(crate) behind_gets: VecDeque<u16>,
    /// Octets in all backlogs and all partial bodies.
    pub(crate) backlog_bytes: usize,
    pub(crate) partial_bytes: usize,
    /// Records for streams, gathered in this round.
    pub(crate) stream_batches: Vec<crate::stream::OpenBatch>,
    /// Stream consumers that may go on: they have credit, or records came.
    pub(crate) streams_to_pump: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Awaiting the protocol header.
    Header,
    /// Awaiting connection.start-ok, tune-ok and open.
    Start,
    Tune,
    Open,
    Running,
    /// The client closed; close-ok waits for what it left behind.
    Leaving {
        until_ms: u64,
        deletes_left: u32,
    },
    /// connection.close was sent, close-ok is awaited.
    Closing {
        until_ms: u64,
    },
    /// Login failed and the client cannot be told: the socket is closed in a while.
    Silent {
        until_ms: u64,
    },
    /// What is in the outbox goes out, then the socket is closed.
    Over,
}

impl Session {
    pub fn new(options: Arc<Options>, peer: Peer, data_shards: u16, seed: [u64; 2], now: Now) -> Session {
        let channel_max = options.channel_max;
        Session {
            options,
            peer,
            phase: Phase::Header,
            is_deaf: false,
            may_wait_for_content: false,
            wanted: 0,
            now,
            chance: Chance::new(seed),
            client: Client::default(),
            place: None,
            vhost: "/".into(),
            frame_max: HANDSHAKE_FRAME_MAX,
            channel_max,
            heartbeat_ms: 0,
            began_ms: now.elapsed_ms,
            heard_ms: now.elapsed_ms,
            sent_ms: now.elapsed_ms,
            sent_total: 0,
            channels: Vec::new(),
            consumers: Consumers::default(),
            next_incarnation: 0,
            next_operation: 0,
            next_consumer: 0,
            publisher: Publisher::new(data_shards),
            routes: RouteCache::new(seed[0] ^ seed[1]),
            reply_channels: HashMap::new(),
            tx_bytes: 0,
            settles: Settles::new(data_shards),
            windows: Windows::new(data_shards),
            out: Outbox::default(),
            alarm: None,
            told_blocked: false,
            confirms_due: Vec::new(),
            behind_publishes: Vec::new(),
            gets_in_flight: 0,
            behind_gets: VecDeque::new(),
            backlog_bytes: 0,
            partial_bytes: 0,
            stream_batches: Vec::new(),
            streams_to_pump: Vec::new(),
        }
    }

    /// Whether the socket should be read. While it is not, the kernel slows the client down.
    pub fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Over | Phase::Silent { .. } | Phase::Leaving { .. } => false,
            Phase::Closing { .. } => true,
            _ => {
                self.publisher.unanswered_bytes() < UNANSWERED_BYTES_MAX
                    && self.backlog_bytes < BACKLOG_BYTES_MAX
                    && self.out.len() < OUTBOX_BYTES_MAX
            }
        }
    }

    /// Takes frames from the front of `buf` and tells how many octets it used. The rest, the beginning of a
    /// frame or what came while the session does not want input, has to be offered again with more behind it.
    pub fn input(&mut self, buf: &[u8], now: Now, broker: &mut dyn Broker) -> usize {
        self.now = now;
        self.heard_ms = now.elapsed_ms;
        if self.is_deaf {
            return buf.len();
        }
        let mut used = 0;
        if self.phase == Phase::Header {
            match ProtocolHeader::parse(buf) {
                None => return 0,
                Some(header) => {
                    used = 8;
                    self.protocol_header(header);
                }
            }
        }
        self.routes.refresh(broker.topology_version());
        self.wanted = 0;
        while self.wants_input() {
            match split_frame(&buf[used..], self.payload_max()) {
                Ok(None) => {
                    self.wanted = frame::frame_len(&buf[used..]).unwrap_or(0);
                    break;
                }
                Ok(Some((frame, consumed))) => {
                    let behind = used + consumed;
                    self.may_wait_for_content = true;
                    let more = self.frame(frame, &buf[behind..], broker);
                    if !std::mem::take(&mut self.may_wait_for_content) {
                        // The rest of a message is on its way; it is taken as a whole when it is there.
                        break;
                    }
                    used = behind + more;
                }
                Err(error) => {
                    // The place of the next frame is lost: nothing more can be understood.
                    self.is_deaf = true;
                    used = buf.len();
                    self.refuse_connection(error.into(), 0, broker);
                    break;
                }
            }
        }
        self.finish(broker);
        used
    }

    /// How many octets, counted from the first that [`Session::input`] did not use, are needed before offering them
    /// again makes sense.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Octets have arrived that are not worth offering yet.
    pub fn heard(&mut self, now: Now) {
        self.heard_ms = now.elapsed_ms;
    }

    /// Does what is due by now. See [`Session::deadline_ms`].
    pub fn on_time(&mut self, now: Now, broker: &mut dyn Broker) {
        self.now = now;
        let elapsed = now.elapsed_ms;
        match self.phase {
            Phase::Header | Phase::Start | Phase::Tune | Phase::Open => {
                if elapsed >= self.began_ms + HANDSHAKE_MS_MAX {
                    tracing::debug!(peer = %self.peer.address, "handshake took too long");
                    self.phase = Phase::Over;
                }
            }
            Phase::Closing { until_ms } | Phase::Silent { until_ms } => {
                if elapsed >= until_ms {
                    self.phase = Phase::Over;
                }
            }
            Phase::Leaving { until_ms, .. } => {
                if elapsed >= until_ms {
                    self.reply(0, ConnectionCloseOk);
                    self.phase = Phase::Over;
                }
            }
            Phase::Running => self.check_heartbeat(),
            Phase::Over => {}
        }
        self.finish(broker);
    }

    /// When [`Session::on_time`] has something to do, in `Now::elapsed_ms`.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Header | Phase::Start | Phase::Tune | Phase::Open => {
                Some(self.began_ms + HANDSHAKE_MS_MAX)
            }
            Phase::Closing { until_ms } | Phase::Silent { until_ms } | Phase::Leaving { until_ms, .. } => {
                Some(until_ms)
            }
            Phase::Running if self.heartbeat_ms > 0 => {
                let to_send = self.sent_ms + self.heartbeat_ms / 2;
                let to_hear = self.heard_ms + self.silence_ms_max();
                Some(if self.wants_input() { to_send.min(to_hear) } else { to_send })
            }
            _ => None,
        }
    }

    /// The connection is over as soon as the outbox is empty.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// What waits for the socket. After writing from it, call [`Session::wrote`].
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.out
    }

    /// The socket took something out of the outbox.
    pub fn wrote(&mut self, now: Now, broker: &mut dyn Broker) {
        self.now = now;
        self.windows.written(self.out.written_total(), broker);
        if !self.streams_to_pump.is_empty() || !self.behind_gets.is_empty() {
            self.finish(broker);
        }
    }

    /// Whether a quiet moment should be used for [`Session::tidy`].
    pub fn is_untidy(&self) -> bool {
        self.out.is_empty()
            && (self.out.capacity() > TIDY_BYTES_MIN || self.windows.owes() || self.publisher.has_spares())
    }

    /// Gives back memory that a burst has left behind, and tells shards what little they were not told yet.
    pub fn tidy(&mut self, broker: &mut dyn Broker) {
        self.windows.report_all(broker);
        self.publisher.shrink();
        self.out.shrink();
        for channel in self.channels.iter_mut().flatten() {
            channel.unacked.shrink();
            if channel.backlog.is_empty() {
                channel.backlog = Vec::new();
            }
        }
    }

    /// Everything that gathers over a round of input or events goes out.
    pub(crate) fn finish(&mut self, broker: &mut dyn Broker) {
        // A channel that may go on may publish again.
        loop {
            self.close_batch(broker);
            if !self.complete_batches(broker) && !self.take_turns(broker) {
                break;
            }
        }
        self.pump_streams(broker);
        self.settles.hand_over_all(&mut self.windows, broker);
        self.try_to_leave();
        if self.out.queued_total() != self.sent_total {
            self.sent_total = self.out.queued_total();
            self.sent_ms = self.now.elapsed_ms;
        }
    }

    pub(crate) fn close_batch(&mut self, broker: &mut dyn Broker) {
        self.close_stream_batches(broker);
        let channels = &self.channels;
        self.publisher.close_batch(broker, |mark| {
            let channel = channels.get(usize::from(mark.channel)).and_then(Option::as_ref);
            channel
                .filter(|channel| channel.incarnation == mark.incarnation)
                .and_then(|channel| channel.confirm)
                .map_or(0, |confirm| confirm.published)
        });
    }

    /// A request to a data shard, behind the settles it should know of.
    pub(crate) fn send(&mut self, shard: ShardId, request: Request, broker: &mut dyn Broker) {
        self.settles.hand_over(shard, &mut self.windows, broker);
        broker.send(shard, request);
    }

    /// Appends a method frame to the outbox.
    pub(crate) fn reply(&mut self, channel: u16, method: impl EncodeMethod) {
        method.encode_frame(channel, self.out.staged());
    }

    pub(crate) fn channel_mut(&mut self, number: u16) -> Option<&mut Channel> {
        self.channels.get_mut(usize::from(number))?.as_deref_mut()
    }

    pub(crate) fn new_channel(&mut self, number: u16) {
        let at = usize::from(number);
        if self.channels.len() <= at {
            self.channels.resize_with(at + 1, || None);
        }
        self.next_incarnation += 1;
        self.channels[at] = Some(Box::new(Channel::new(self.next_incarnation)));
    }

    pub(crate) fn new_operation(&mut self) -> u32 {
        self.next_operation = self.next_operation.wrapping_add(1);
        self.next_operation
    }

    pub(crate) fn new_consumer(&mut self) -> u32 {
        self.next_consumer += 1;
        self.next_consumer
    }

    /// Handles one frame. Tells how many octets of `following`, what arrived behind it, were handled with it.
    pub(crate) fn frame(&mut self, frame: Frame<'_>, following: &[u8], broker: &mut dyn Broker) -> usize {
        match self.try_frame(&frame, following, broker) {
            Ok(used) => used,
            Err(refusal) => {
                let method = match frame.kind {
                    FrameKind::Method => frame.payload.first_chunk().map_or(0, |id| u32::from_be_bytes(*id)),
                    _ => bowline_codec_amqp::methods::BasicPublish::ID,
                };
                self.refuse(refusal, frame.channel, method, broker);
                0
            }
        }
    }

    fn try_frame(&mut self, frame: &Frame<'_>, following: &[u8], broker: &mut dyn Broker) -> Step<usize> {
        if frame.kind == FrameKind::Heartbeat {
            return match (frame.channel, frame.payload.len()) {
                (0, 0) => Ok(0),
                _ => Err(Refusal::new(
                    bowline_codec_amqp::ReplyCode::FrameError,
                    "heartbeat frame with a channel or payload",
                )),
            };
        }
        match self.phase {
            Phase::Running if frame.channel == 0 => self.connection_frame(frame, broker).map(|()| 0),
            Phase::Running => self.channel_frame(frame, following, broker),
            Phase::Closing { .. } => {
                self.closing_frame(frame);
                Ok(0)
            }
            _ => self.handshake_frame(frame, broker).map(|()| 0),
        }
    }

    /// While closing, only the end of it matters (10.2.1 of the specification's connection class).
    fn closing_frame(&mut self, frame: &Frame<'_>) {
        if frame.channel != 0 || frame.kind != FrameKind::Method {
            return;
        }
        match Method::decode(frame.payload) {
            Ok(Method::ConnectionCloseOk(_)) => self.phase = Phase::Over,
            Ok(Method::ConnectionClose(_)) => {
                self.reply(0, ConnectionCloseOk);
                self.phase = Phase::Over;
            }
            _ => {}
        }
    }

    /// Closes the channel or the connection, as the refusal's code demands.
    pub(crate) fn refuse(&mut self, refusal: Refusal, channel: u16, method: u32, broker: &mut dyn Broker) {
        if channel == 0 || refusal.level() == Level::Connection || self.channel_mut(channel).is_none() {
            self.refuse_connection(refusal, method, broker);
        } else {
            self.refuse_channel(refusal, channel, method, broker);
        }
    }

    fn payload_max(&self) -> u32 {
        // RabbitMQ lets payloads be as large as frame_max, eight octets more than they should.
        self.frame_max
    }

    /// Two intervals without an octet, and the interval that the last one fell into.
    fn silence_ms_max(&self) -> u64 {
        self.heartbeat_ms * 2 + self.heartbeat_ms / 2
    }

    fn check_heartbeat(&mut self) {
        if self.heartbeat_ms == 0 {
            return;
        }
        let elapsed = self.now.elapsed_ms;
        if elapsed >= self.sent_ms + self.heartbeat_ms / 2 {
            // Nothing but a stuck socket can keep the outbox full this long; more heartbeats would not help.
            if self.out.is_empty() {
                self.out.staged().extend_from_slice(&frame::HEARTBEAT);
            }
            self.sent_ms = elapsed;
        }
        if !self.wants_input() {
            // We do not listen, so silence proves nothing.
            self.heard_ms = elapsed;
        } else if elapsed >= self.heard_ms + self.silence_ms_max() {
            tracing::info!(peer = %self.peer.address, "closing: no octets for {} ms", elapsed - self.heard_ms);
            self.phase = Phase::Over;
        }
    }
}
