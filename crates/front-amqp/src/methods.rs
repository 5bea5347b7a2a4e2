//! Frames of open channels: which handler gets them, and what happens while a channel waits.

use bowline_codec_amqp::frame::{FRAME_END, begin_frame};
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{EncodeMethod, Frame, FrameKind, ReplyCode, ShortStr, split_frame};
use bowline_model::ShardId;
use bowline_model::request::Request;

use crate::broker::{Broker, look_up};
use crate::channel::{Channel, Pending, State, Waiting};
use crate::consumers::Source;
use crate::refusal::{Refusal, Step};
use crate::session::Session;

impl Session {
    /// A frame on a channel of a running connection. Tells how many octets behind it were handled with it.
    pub(crate) fn channel_frame(
        &mut self,
        frame: &Frame<'_>,
        following: &[u8],
        broker: &mut dyn Broker,
    ) -> Step<usize> {
        let number = frame.channel;
        let Some(channel) = self.channel_mut(number) else {
            return self.unopened(frame, broker).map(|()| 0);
        };
        match channel.state {
            State::Open => {}
            State::Closing { .. } => {
                self.closing_channel_frame(frame);
                return Ok(0);
            }
            State::Dropping if frame.kind == FrameKind::Body => return Ok(0),
            State::Dropping => {
                self.channels[usize::from(number)] = None;
                return self.unopened(frame, broker).map(|()| 0);
            }
        }
        if channel.waiting.is_some() {
            self.park(frame);
            return Ok(0);
        }
        match frame.kind {
            FrameKind::Method => {
                if channel.partial.is_some() {
                    return Err(Refusal::new(
                        ReplyCode::UnexpectedFrame,
                        "expected content for basic.publish, got a method frame instead",
                    ));
                }
                // The one method that comes by the million.
                if let Some((id, args)) = frame.payload.split_first_chunk()
                    && u32::from_be_bytes(*id) == BasicPublish::ID
                {
                    return self.publish_method(frame, &BasicPublish::decode(args)?, following, broker);
                }
                self.method(frame, Method::decode(frame.payload)?, broker).map(|()| 0)
            }
            FrameKind::Header => self.content_header(number, frame.payload, broker).map(|()| 0),
            FrameKind::Body => self.content_body(number, frame.payload, broker).map(|()| 0),
            FrameKind::Heartbeat => Ok(0),
        }
    }

    fn method(&mut self, frame: &Frame<'_>, method: Method<'_>, broker: &mut dyn Broker) -> Step {
        let number = frame.channel;
        match method {
            Method::ChannelOpen(_) => {
                Err(Refusal::new(ReplyCode::ChannelError, "second 'channel.open' seen"))
            }
            Method::ChannelFlow(method) if method.active => {
                self.reply(number, ChannelFlowOk { active: true });
                Ok(())
            }
            Method::ChannelFlow(_) => Err(Refusal::not_implemented("active=false")),
            Method::ChannelFlowOk(_) => Ok(()),
            Method::ChannelClose(_) => {
                // After close-ok others see what the channel has published.
                if self.wait_for_publishes(frame) {
                    return Ok(());
                }
                self.end_channel(number, broker);
                self.channels[usize::from(number)] = None;
                self.reply(number, ChannelCloseOk);
                Ok(())
            }
            // Realms are history; the answer satisfies clients that still ask (as RabbitMQ's does).
            Method::AccessRequest(_) => {
                self.reply(number, AccessRequestOk { ticket: 1 });
                Ok(())
            }

            Method::ExchangeDeclare(method) => self.exchange_declare(number, &method, broker),
            Method::ExchangeDelete(method) => self.exchange_delete(number, &method, broker),
            Method::ExchangeBind(method) => self.exchange_bind(number, &method, broker),
            Method::ExchangeUnbind(method) => self.exchange_unbind(number, &method, broker),

            Method::QueueDeclare(method) => self.queue_declare(frame, &method, broker),
            Method::QueueBind(method) => self.queue_bind(number, &method, broker),
            Method::QueueUnbind(method) => self.queue_unbind(number, &method, broker),
            Method::QueuePurge(method) => self.queue_purge(frame, &method, broker),
            Method::QueueDelete(method) => self.queue_delete(frame, &method, broker),

            Method::BasicQos(method) => self.basic_qos(number, &method, broker),
            Method::BasicConsume(method) => self.basic_consume(number, &method, broker),
            Method::BasicCancel(method) => self.basic_cancel(number, &method, broker),
            Method::BasicGet(method) => self.basic_get(frame, &method, broker),
            Method::BasicAck(method) => self.basic_ack(number, &method, broker),
            Method::BasicNack(method) => self.basic_nack(number, &method, broker),
            Method::BasicReject(method) => self.basic_reject(number, &method, broker),
            Method::BasicRecover(method) => self.basic_recover(number, method.requeue, true, broker),
            Method::BasicRecoverAsync(method) => self.basic_recover(number, method.requeue, false, broker),
            // The client confirms our basic.cancel; nothing is left to do.
            Method::BasicCancelOk(_) => Ok(()),

            Method::ConfirmSelect(method) => self.confirm_select(number, &method),
            Method::TxSelect(_) => self.tx_select(number),
            Method::TxCommit(_) => self.tx_commit(number, broker),
            Method::TxRollback(_) => self.tx_rollback(number),
            method => Err(Refusal::new(
                ReplyCode::CommandInvalid,
                format!("unexpected method {} on a channel", method.name()),
            )),
        }
    }

    fn unopened(&mut self, frame: &Frame<'_>, broker: &dyn Broker) -> Step {
        let method = match frame.kind {
            FrameKind::Method => Some(Method::decode(frame.payload)?),
            _ => None,
        };
        let number = frame.channel;
        match method {
            Some(Method::ChannelOpen(_)) => {
                if number > self.channel_max {
                    return Err(Refusal::new(
                        ReplyCode::NotAllowed,
                        format!(
                            "number of channels opened ({number}) has reached the negotiated channel_max ({})",
                            self.channel_max
                        ),
                    ));
                }
                self.count_channel(broker)?;
                self.new_channel(number);
                self.reply(number, ChannelOpenOk);
                Ok(())
            }
            // Both sides closed at once: ours was answered by theirs.
            Some(Method::ChannelCloseOk(_)) => Ok(()),
            _ => Err(Refusal::new(ReplyCode::ChannelError, "expected 'channel.open'")),
        }
    }

    /// One more channel of the user, if it may have one.
    fn count_channel(&mut self, broker: &dyn Broker) -> Step {
        let user = &*self.client.user;
        let max = look_up(broker, |topology| topology.user_limit(user, "max-channels"));
        if self.place.as_mut().is_none_or(|place| place.open_channel(max)) {
            return Ok(());
        }
        Err(Refusal::new(
            ReplyCode::NotAllowed,
            format!(
                "number of channels opened for user '{user}' has reached the maximum allowed user limit of {}",
                max.unwrap_or_default()
            ),
        ))
    }

    fn closing_channel_frame(&mut self, frame: &Frame<'_>) {
        if frame.kind != FrameKind::Method {
            return;
        }
        match Method::decode(frame.payload) {
            Ok(Method::ChannelCloseOk(_)) => {
                let place = &mut self.channels[usize::from(frame.channel)];
                match place {
                    Some(channel) if channel.state == (State::Closing { in_content: true }) => {
                        channel.state = State::Dropping;
                    }
                    _ => *place = None,
                }
            }
            Ok(Method::ChannelClose(_)) => self.reply(frame.channel, ChannelCloseOk),
            _ => {}
        }
    }

    /// Sends channel.close; the channel ignores what it gets until the answer.
    pub(crate) fn refuse_channel(
        &mut self,
        refusal: Refusal,
        number: u16,
        method: u32,
        broker: &mut dyn Broker,
    ) {
        tracing::debug!(peer = %self.peer.address, channel = number, "closing channel: {}", refusal.text);
        self.end_channel(number, broker);
        let close = ChannelClose {
            reply_code: refusal.code.code(),
            reply_text: ShortStr::truncated(&refusal.text),
            class_id: (method >> 16) as u16,
            method_id: method as u16,
        };
        self.reply(number, close);
    }

    /// Ends a channel's work and leaves it closing: its consumers go, what it has not settled returns.
    pub(crate) fn end_channel(&mut self, number: u16, broker: &mut dyn Broker) {
        self.end_replies(number, None, broker);
        self.return_held(number, None);
        let Some(place) = self.channels.get_mut(usize::from(number)) else { return };
        let Some(channel) = place else { return };
        if channel.state == State::Open
            && let Some(place) = &mut self.place
        {
            place.close_channel();
        }
        let mut ended = Channel::new(channel.incarnation);
        ended.state = State::Closing { in_content: channel.partial.is_some() };
        let channel = std::mem::replace(&mut **channel, ended);
        self.backlog_bytes -= channel.backlog.len();
        self.partial_bytes -= channel.partial_bytes();
        self.tx_bytes -= channel.tx.as_ref().map_or(0, |tx| tx.bytes);
        // The channel's acknowledgements were made before it ended and count.
        let mut shards: Vec<ShardId> = Vec::new();
        let mut streams = Vec::new();
        self.consumers.retain(|id, consumer| {
            if consumer.channel != number {
                return true;
            }
            match &consumer.source {
                Source::Queue(shard) | Source::Getter(shard) if !shards.contains(shard) => {
                    shards.push(*shard)
                }
                Source::Queue(_) | Source::Getter(_) => {}
                Source::Stream(reader) => streams.extend(reader.watches(*id)),
                Source::Group(reader) => {
                    for shard in reader.shards() {
                        if !shards.contains(&shard) {
                            shards.push(shard);
                        }
                    }
                }
            }
            false
        });
        for shard in shards {
            self.send(shard, Request::CloseChannel { channel: number }, broker);
        }
        for (shard, token) in streams {
            broker.send(shard, Request::Unwatch { token });
        }
    }

    /// Makes a channel wait for an answer. Its next frames go to its backlog.
    pub(crate) fn wait(&mut self, number: u16, operation: u32, method: u32, pending: Pending) {
        if let Some(channel) = self.channel_mut(number) {
            channel.waiting = Some(Waiting { operation, method, pending });
        }
    }

    /// If the channel has published something that is not yet where it goes, makes it wait for that with `frame`
    /// as the first thing to do afterwards. True if it has to wait.
    pub(crate) fn wait_for_publishes(&mut self, frame: &Frame<'_>) -> bool {
        let upto = self.publisher.completed_upto();
        let Some(channel) = self.channel_mut(frame.channel) else { return false };
        if channel.last_batch <= upto {
            return false;
        }
        self.behind_publishes.push(frame.channel);
        self.wait(frame.channel, 0, 0, Pending::Publishes);
        self.park(frame);
        true
    }

    /// Puts a frame into its channel's backlog.
    pub(crate) fn park(&mut self, frame: &Frame<'_>) {
        let Some(channel) = self.channel_mut(frame.channel) else { return };
        let before = channel.backlog.len();
        let backlog = &mut channel.backlog;
        let start = begin_frame(backlog, frame.kind, frame.channel);
        backlog.extend_from_slice(frame.payload);
        bowline_codec_amqp::frame::end_frame(backlog, start);
        debug_assert_eq!(backlog.last(), Some(&FRAME_END));
        let added = backlog.len() - before;
        self.backlog_bytes += added;
    }

    /// The answer has come: takes the channel's backlog up again, until it waits once more.
    pub(crate) fn resume(&mut self, number: u16, broker: &mut dyn Broker) {
        let Some(channel) = self.channel_mut(number) else { return };
        channel.waiting = None;
        let backlog = std::mem::take(&mut channel.backlog);
        self.backlog_bytes -= backlog.len();
        let mut used = 0;
        while used < backlog.len() {
            // Frames in a backlog were whole and in bounds when they were put there.
            let Ok(Some((frame, consumed))) = split_frame(&backlog[used..], u32::MAX) else { break };
            used += consumed;
            used += self.frame(frame, &backlog[used..], broker);
            // The channel may have been closed, and opened again, by what its backlog held.
            if let Some(channel) = self.channel_mut(number)
                && channel.waiting.is_some()
            {
                channel.backlog.extend_from_slice(&backlog[used..]);
                self.backlog_bytes += backlog.len() - used;
                return;
            }
        }
    }

    /// Answers unless the client asked for no answer.
    pub(crate) fn reply_unless(&mut self, no_wait: bool, channel: u16, method: impl EncodeMethod) {
        if !no_wait {
            self.reply(channel, method);
        }
    }
}
