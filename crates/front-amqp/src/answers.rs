//! Events from the shards: answers find the channel or batch that waits for them.

use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{EncodeMethod, ReplyCode, ShortStr};
use bowline_model::Token;
use bowline_model::event::{Event, Failure, Revoked, SubscribeError};
use bowline_model::meta::{Outcome, Reason, Rejection};

use crate::broker::{Broker, look_up};
use crate::channel::{Pending, Waiting};
use crate::queues::{Target, clamp};
use crate::refusal::{Refusal, Step};
use crate::session::{Now, Phase, Session};
use crate::token::Asker;

/// What a shard said to a channel's question.
enum Answer {
    Meta(Result<Outcome, Rejection>),
    Subscribed(Result<(), SubscribeError>),
    Cancelled,
    /// A message, or none; the error says that the queue is gone.
    Got(Result<Option<Box<bowline_model::event::Got>>, ()>),
    /// Messages and consumers; the error says that the queue is gone.
    Counts(Result<(u64, u32), ()>),
    Purged(Result<u64, ()>),
}

impl Session {
    /// Takes what the shards have said. `events` is left empty.
    pub fn events(&mut self, events: &mut Vec<Event>, now: Now, broker: &mut dyn Broker) {
        self.now = now;
        self.routes.refresh(broker.topology_version());
        for event in events.drain(..) {
            if self.phase != Phase::Over {
                self.event(event, broker);
            }
        }
        self.finish(broker);
    }

    fn event(&mut self, event: Event, broker: &mut dyn Broker) {
        match event {
            Event::Deliver(deliveries) => self.deliver(&deliveries),
            Event::Peeked(peeked) => self.peeked(&peeked),
            Event::Unmoved { consumer, block, offset } => self.unmoved(consumer.0, &block, offset),
            Event::Done { token } => self.batch_answered(token, None),
            Event::Failed { token, reason } => self.batch_answered(token, Some(reason)),
            Event::Cancelled { token: None, consumer } => {
                self.leave_group(consumer.0, broker);
                self.cancelled_by_broker(consumer.0);
            }
            Event::Meta { token, result } => self.answer(token, Answer::Meta(result), broker),
            Event::Subscribed { token, result, .. } => self.answer(token, Answer::Subscribed(result), broker),
            Event::Cancelled { token: Some(token), .. } => self.answer(token, Answer::Cancelled, broker),
            Event::Got { token, result } => {
                self.gets_in_flight = self.gets_in_flight.saturating_sub(1);
                let got = result.map(|got| got.map(Box::new)).map_err(|_| ());
                self.answer(token, Answer::Got(got), broker);
            }
            Event::QueueInfo { token, result } => {
                let counts = result.map(|info| (info.ready, info.consumers)).map_err(|_| ());
                self.answer(token, Answer::Counts(counts), broker);
            }
            Event::PartitionInfo { token, result } => {
                let counts = result
                    .map(|info| (info.high_watermark.saturating_sub(info.log_start), 0))
                    .map_err(|_| ());
                self.answer(token, Answer::Counts(counts), broker);
            }
            Event::Purged { token, result } => {
                self.answer(token, Answer::Purged(result.map_err(|_| ())), broker);
            }
            Event::Offsets { token, results } => match Asker::of(token) {
                Some(Asker::GroupStart { consumer, .. }) => self.group_offsets(consumer, results, broker),
                _ => self.stream_offsets(token, results, broker),
            },
            Event::Fetched { token, partitions } => match Asker::of(token) {
                Some(Asker::GroupFetch { consumer, lane }) => {
                    self.group_fetched(consumer, lane, partitions, broker);
                }
                _ => self.stream_fetched(token, partitions, broker),
            },
            Event::Share { token, reply } => self.shared(token, reply, broker),
            Event::Moved { token } => self.stream_moved(token),
            Event::Reply(reply) => self.take_reply(&reply),
            Event::Alarm { reason } => self.alarm(reason, broker),
            Event::Shutdown => {
                let text = ReplyCode::ConnectionForced
                    .text("broker forced connection closure with reason 'shutdown'");
                match self.phase {
                    Phase::Running => {
                        self.close_connection(ReplyCode::ConnectionForced, &text, 0, broker);
                    }
                    Phase::Closing { .. } | Phase::Leaving { .. } => {}
                    _ => self.phase = Phase::Over,
                }
            }
            Event::Revoked(revoked) => self.revoked(&revoked, broker),
            Event::Appended { .. }
            | Event::Trimmed { .. }
            | Event::Group { .. }
            | Event::Txn { .. }
            | Event::Producers { .. }
            | Event::Outdated { .. } => {
                debug_assert!(false, "an answer to what no AMQP session asks");
            }
        }
    }

    /// A vhost or user has been deleted: RabbitMQ closes the connections that use it.
    fn revoked(&mut self, revoked: &Revoked, broker: &mut dyn Broker) {
        let text = match revoked {
            Revoked::Vhost(name) if **name == *self.vhost => format!("vhost '{name}' is deleted"),
            // Users of the node's configuration stay.
            Revoked::User(name)
                if *name == self.client.user && !look_up(broker, |topology| topology.has_user(name)) =>
            {
                format!("user '{name}' is deleted")
            }
            _ => return,
        };
        if self.phase == Phase::Running {
            let text = ReplyCode::ConnectionForced.text(&text);
            self.close_connection(ReplyCode::ConnectionForced, &text, 0, broker);
        }
    }

    /// A consumer of a group has joined it, or cannot.
    pub(crate) fn subscribed(
        &mut self,
        token: Token,
        result: Result<(), SubscribeError>,
        broker: &mut dyn Broker,
    ) {
        self.answer(token, Answer::Subscribed(result), broker);
    }

    fn batch_answered(&mut self, token: Token, failure: Option<Failure>) {
        if let Some(reason) = failure
            && !matches!(reason, Failure::QueueFull | Failure::NothingWaits)
        {
            tracing::warn!(peer = %self.peer.address, ?reason, "publishes were refused");
        }
        match Asker::of(token) {
            Some(Asker::Batch(number)) => self.publisher.answered(number, failure.is_some()),
            other => debug_assert!(false, "Done for {other:?}"),
        }
    }

    /// The queue of a consumer is gone. The client is told if it can be.
    pub(crate) fn cancelled_by_broker(&mut self, id: u32) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let number = consumer.channel;
        if let Some(channel) = self.channel_mut(number)
            && let Some(Waiting { pending: Pending::QueueDelete { cancelled, .. }, .. }) =
                &mut channel.waiting
        {
            return cancelled.push(id);
        }
        let Some(consumer) = self.consumers.get(&id) else { return };
        if consumer.active && self.client.capabilities.consumer_cancel_notify {
            let cancel =
                BasicCancel { consumer_tag: ShortStr::new(&consumer.tag).unwrap_or_default(), no_wait: true };
            cancel.encode_frame(consumer.channel, self.out.staged());
        }
        if let Some(channel) = self.channel_mut(number) {
            channel.held.retain(|held| held.delivery.consumer.0 != id);
        }
        self.retire_consumer(id);
    }

    fn alarm(&mut self, reason: Option<&'static str>, broker: &mut dyn Broker) {
        self.alarm = reason;
        if reason.is_some() {
            return;
        }
        if std::mem::take(&mut self.told_blocked) && self.phase == Phase::Running {
            self.reply(0, ConnectionUnblocked);
        }
        for number in 0..self.channels.len() {
            let number = number as u16;
            let blocked = self
                .channel_mut(number)
                .and_then(|channel| channel.waiting.as_ref())
                .is_some_and(|waiting| matches!(waiting.pending, Pending::Alarm));
            if blocked {
                self.resume(number, broker);
            }
        }
    }

    /// Gives an answer to the channel that waits for it. One that does not any more (it was closed meanwhile)
    /// is passed over; so is an answer to an earlier channel of the same number.
    fn answer(&mut self, token: Token, answer: Answer, broker: &mut dyn Broker) {
        let (number, operation) = match Asker::of(token) {
            Some(Asker::Channel { channel, operation }) => (channel, operation),
            Some(Asker::Leaving) => return self.exclusive_queue_deleted(),
            _ => return,
        };
        let Some(channel) = self.channel_mut(number) else { return };
        if channel.waiting.as_ref().is_none_or(|waiting| waiting.operation != operation) {
            return;
        }
        let Some(Waiting { pending, method, .. }) = channel.waiting.take() else { return };
        match self.conclude(number, operation, method, pending, answer, broker) {
            Ok(()) => {}
            Err(refusal) => self.refuse(refusal, number, method, broker),
        }
        // The conclusion may have asked something else, and the channel waits on.
        if self.channel_mut(number).is_some_and(|channel| channel.waiting.is_none()) {
            self.resume(number, broker);
        }
    }

    fn conclude(
        &mut self,
        number: u16,
        operation: u32,
        method: u32,
        pending: Pending,
        answer: Answer,
        broker: &mut dyn Broker,
    ) -> Step {
        match (pending, answer) {
            (Pending::Meta { reply }, Answer::Meta(result)) => {
                result?;
                if let Some(reply) = reply {
                    self.send_reply(number, reply);
                }
            }
            (Pending::QueueDeclare { no_wait }, Answer::Meta(result)) => {
                if let Outcome::Queue { name, ready, consumers, .. } = result? {
                    self.declared(number, name, (ready, consumers), no_wait);
                }
            }
            (Pending::StreamDeclare { name, no_wait }, Answer::Meta(result)) => {
                if let Outcome::Topic { partitions, .. } = result? {
                    self.count(number, name, Target::Stream(partitions.into()), no_wait, broker);
                }
            }
            (Pending::QueueDelete { no_wait, cancelled }, Answer::Meta(result)) => {
                let messages = match result {
                    Ok(Outcome::QueueDeleted { messages }) => Ok(messages),
                    Ok(_) => Ok(0),
                    // Somebody else was faster: deleting is idempotent.
                    Err(rejection) if rejection.reason == Reason::NotFound => Ok(0),
                    Err(rejection) => Err(rejection),
                };
                if let Ok(messages) = messages {
                    self.reply_unless(no_wait, number, QueueDeleteOk { message_count: clamp(messages) });
                }
                for consumer in cancelled {
                    self.cancelled_by_broker(consumer);
                }
                messages?;
            }
            (Pending::Counts { name, no_wait, left, messages, consumers }, Answer::Counts(result)) => {
                let (more, more_consumers) =
                    result.map_err(|()| Refusal::not_found("queue", &self.vhost, &name))?;
                let (messages, consumers) = (messages + more, consumers + more_consumers);
                if left > 1 {
                    let pending = Pending::Counts { name, no_wait, left: left - 1, messages, consumers };
                    self.wait(number, operation, method, pending);
                } else {
                    self.declared(number, name, (messages, consumers), no_wait);
                }
            }
            (Pending::Purge { no_wait }, Answer::Purged(result)) => {
                let messages = result.map_err(|()| Refusal::not_found("queue", &self.vhost, ""))?;
                self.reply_unless(no_wait, number, QueuePurgeOk { message_count: clamp(messages) });
            }
            (Pending::Consume { consumer, queue, no_wait }, Answer::Subscribed(result)) => {
                if let Err(error) = result {
                    self.retire_consumer(consumer);
                    return Err(match error {
                        SubscribeError::Refused(why) => Refusal::precondition(why),
                        SubscribeError::NoSuchQueue => Refusal::not_found("queue", &self.vhost, &queue),
                        SubscribeError::Exclusive => Refusal::new(
                            ReplyCode::AccessRefused,
                            format!("queue '{queue}' in vhost '{}' in exclusive use", self.vhost),
                        ),
                    });
                }
                if let Some(consumer) = self.consumers.get(&consumer)
                    && !no_wait
                {
                    let consumer_tag = ShortStr::new(&consumer.tag).unwrap_or_default();
                    BasicConsumeOk { consumer_tag }.encode_frame(number, self.out.staged());
                }
            }
            (Pending::Cancel { consumer, tag, no_wait }, Answer::Cancelled) => {
                self.retire_consumer(consumer);
                let consumer_tag = ShortStr::new(&tag).unwrap_or_default();
                self.reply_unless(no_wait, number, BasicCancelOk { consumer_tag });
            }
            (Pending::Get { consumer, queue, no_ack }, Answer::Got(result)) => {
                match result.map_err(|()| Refusal::not_found("queue", &self.vhost, &queue))? {
                    Some(got) => self.got(number, consumer, no_ack, &got),
                    None => self.reply(number, BasicGetEmpty),
                }
            }
            (pending, _) => debug_assert!(false, "an answer that {pending:?} does not expect"),
        }
        Ok(())
    }
}
