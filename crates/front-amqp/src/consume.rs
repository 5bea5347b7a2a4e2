//! basic.qos, consume, cancel and get.

use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{Frame, ReplyCode, TableRef, Value};
use bowline_convert::to_value;
use bowline_model::request::{Outcome, Peek, Request, Subscribe};
use bowline_model::share::Lock;
use bowline_model::{ConsumerId, ShardId};
use bowline_topology::refusal::Resource;
use bowline_topology::value::type_name;
use bowline_topology::{Access, arguments};

use crate::broker::{Broker, look_up};
use crate::channel::{Held, Pending};
use crate::consumers::{Consumer, Source};
use crate::group::{GroupArguments, GroupReader};
use crate::intent::Intent;
use crate::options::{CONSUMERS_MAX, GETS_IN_FLIGHT_MAX, OUTBOX_BYTES_MAX};
use crate::queues::Target;
use crate::refusal::{Refusal, Step};
use crate::replies::PSEUDO_QUEUE;
use crate::session::Session;
use crate::stream::{Filter, StartAt, StreamReader};
use crate::token::Asker;

/// What the arguments of a consumer of a queue say.
#[derive(Default)]
struct Arguments {
    priority: i32,
    timeout_ms: Option<u64>,
    retry_delay_ms: Option<u64>,
}

impl Session {
    pub(crate) fn basic_qos(&mut self, number: u16, method: &BasicQos, broker: &mut dyn Broker) -> Step {
        if method.prefetch_size != 0 {
            return Err(Refusal::not_implemented(format!("prefetch_size!=0 ({})", method.prefetch_size)));
        }
        if let Some(channel) = self.channel_mut(number) {
            let before = channel.prefetch_global;
            if method.global {
                channel.prefetch_global = method.prefetch_count;
            } else {
                // RabbitMQ lifts the channel's limit with the word on consumers to come.
                channel.prefetch = method.prefetch_count;
                channel.prefetch_global = 0;
            }
            if channel.prefetch_global != before {
                self.adjust_consumers(number, broker);
            }
        }
        self.reply(number, BasicQosOk);
        // A higher limit may let held deliveries go.
        self.release_held(number, broker);
        Ok(())
    }

    /// The channel-wide limit has changed: the shards bound the channel's consumers by another.
    fn adjust_consumers(&mut self, number: u16, broker: &mut dyn Broker) {
        let Some(channel) = self.channel_mut(number) else { return };
        let global = channel.prefetch_global;
        let ids: Vec<u32> = channel.consumers.iter().map(|(_, id)| *id).collect();
        for id in ids {
            let Some(consumer) = self.consumers.get(&id).filter(|consumer| !consumer.no_ack) else {
                continue;
            };
            if let Source::Queue(shard) = consumer.source {
                let prefetch = tighter(consumer.prefetch, global);
                self.send(shard, Request::Limit { consumer: ConsumerId(id), prefetch }, broker);
            }
        }
    }

    pub(crate) fn basic_consume(
        &mut self,
        number: u16,
        method: &BasicConsume<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        let name = self.queue_name(number, method.queue)?;
        let tag: Box<[u8]> = if method.consumer_tag.is_empty() {
            self.chance.name("amq.ctag-").into_bytes().into()
        } else {
            method.consumer_tag.as_bytes().into()
        };
        if self.consumers.len() >= CONSUMERS_MAX {
            return Err(Refusal::new(
                ReplyCode::NotAllowed,
                format!("reached maximum ({CONSUMERS_MAX}) of consumers per connection"),
            ));
        }
        let Some(channel) = self.channel_mut(number) else { return Ok(()) };
        let replies_tag = channel.replies.as_ref().map(|consumer| &consumer.tag);
        if channel.consumer(&tag).is_some() || replies_tag == Some(&tag) {
            return Err(Refusal::new(
                ReplyCode::NotAllowed,
                format!("attempt to reuse consumer tag '{}'", String::from_utf8_lossy(&tag)),
            ));
        }
        let (prefetch, prefetch_global) = (channel.prefetch, channel.prefetch_global);
        if name == PSEUDO_QUEUE {
            return self.consume_replies(number, method, tag, broker);
        }
        self.permit(broker, |asking| asking.queue(Access::Read, &name))?;
        let intent = Intent::read(method)?;
        match self.find(&name, broker)? {
            Target::Queue { queue, shard } => {
                if let Intent::Peek { from, count, what } = intent {
                    let id = self.add_consumer(number, tag, true, Source::Queue(shard));
                    let operation = self.new_operation();
                    let token = Asker::Channel { channel: number, operation }.token();
                    let (channel, consumer) = (number, ConsumerId(id));
                    let peek = Peek { token, queue, channel, consumer, from, count, what };
                    self.send(shard, Request::Peek(peek), broker);
                    let pending = Pending::Consume { consumer: id, queue: name, no_wait: method.no_wait };
                    self.wait(number, operation, BasicConsume::ID, pending);
                    return Ok(());
                }
                let resource = Resource::queue(&self.vhost, &name);
                let Arguments { priority, timeout_ms, retry_delay_ms } =
                    Arguments::read(method.arguments, &resource)?;
                if method.arguments.get("x-group").is_some() {
                    let problem = "\"x-group is for streams, whose records consumers share\"";
                    return Err(invalid(&resource, "x-group", problem));
                }
                let is_single = look_up(broker, |topology| {
                    topology.queue_by_id(queue).is_some_and(|queue| queue.settings.single_active_consumer)
                });
                if is_single && method.exclusive {
                    return Err(Refusal::new(
                        ReplyCode::AccessRefused,
                        format!("queue '{name}' in vhost '{}' in exclusive use", self.vhost),
                    ));
                }
                if let Intent::Redrive(to) = &intent {
                    self.may_redrive(queue, to, broker)?;
                }
                let name_of_consumer = tag.clone();
                let id = self.add_consumer(number, tag, method.no_ack, Source::Queue(shard));
                if let Some(consumer) = self.consumers.get_mut(&id) {
                    consumer.retry_delay_ms = retry_delay_ms;
                    consumer.prefetch = prefetch;
                }
                let operation = self.new_operation();
                let subscribe = Subscribe {
                    tag: name_of_consumer,
                    timeout_ms,
                    token: Asker::Channel { channel: number, operation }.token(),
                    queue,
                    channel: number,
                    consumer: ConsumerId(id),
                    prefetch: if method.no_ack { 0 } else { tighter(prefetch, prefetch_global) },
                    no_ack: method.no_ack,
                    exclusive: method.exclusive,
                    priority,
                };
                let request = match intent {
                    Intent::Redrive(to) => Request::Redrive(subscribe, to),
                    _ => Request::Subscribe(subscribe),
                };
                self.send(shard, request, broker);
                let pending = Pending::Consume { consumer: id, queue: name, no_wait: method.no_wait };
                self.wait(number, operation, BasicConsume::ID, pending);
                Ok(())
            }
            Target::Stream(partitions) => {
                intent.refuse_stream(&self.vhost, &name)?;
                if method.no_ack {
                    return Err(Refusal::not_implemented(format!(
                        "automatic acknowledgement not supported by stream queue '{name}' in vhost '{}'",
                        self.vhost
                    )));
                }
                if prefetch == 0 {
                    return Err(Refusal::precondition(format!(
                        "consumer prefetch count is not set for stream queue '{name}' in vhost '{}'",
                        self.vhost
                    )));
                }
                let resource = Resource::queue(&self.vhost, &name);
                let Arguments { timeout_ms, retry_delay_ms, .. } =
                    Arguments::read(method.arguments, &resource)?;
                let start = StartAt::read(method.arguments, self.now.unix_ms, &resource)?;
                if let Some(group) = GroupArguments::read(method.arguments, &self.vhost)? {
                    if let Some(to) = &group.dead_letters {
                        self.permit(broker, |asking| asking.exchange(Access::Write, &to.exchange))?;
                    }
                    if method.exclusive {
                        return Err(Refusal::not_implemented("exclusive consumer with x-group"));
                    }
                    let operation = self.new_operation();
                    let lock = timeout_ms.map(|ms| Lock { ms, cancels: true });
                    let shards = broker.data_shards();
                    let queue = name.clone();
                    let reader =
                        GroupReader::new(name, group, &partitions, prefetch, lock, start, operation, shards);
                    let id = self.add_consumer(number, tag, false, Source::Group(Box::new(reader)));
                    if let Some(consumer) = self.consumers.get_mut(&id) {
                        consumer.retry_delay_ms = retry_delay_ms;
                    }
                    self.start_group(id, broker);
                    let pending = Pending::Consume { consumer: id, queue, no_wait: method.no_wait };
                    self.wait(number, operation, BasicConsume::ID, pending);
                    return Ok(());
                }
                let filter = Filter::read(method.arguments, &resource)?;
                let reader = StreamReader::new(name, &partitions, prefetch, filter, broker.data_shards());
                let id = self.add_consumer(number, tag.clone(), false, Source::Stream(Box::new(reader)));
                if !method.no_wait {
                    let consumer_tag = bowline_codec_amqp::ShortStr::new(&tag).unwrap_or_default();
                    self.reply(number, BasicConsumeOk { consumer_tag });
                }
                self.start_stream(id, start, broker);
                Ok(())
            }
        }
    }

    pub(crate) fn basic_cancel(
        &mut self,
        number: u16,
        method: &BasicCancel<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        let tag = method.consumer_tag.as_bytes();
        let known = self.channel_mut(number).and_then(|channel| {
            let at = channel.consumers.iter().position(|(known, _)| **known == *tag)?;
            Some(channel.consumers.swap_remove(at).1)
        });
        let Some(id) = known else {
            self.end_replies(number, Some(tag), broker);
            // Not an error (RabbitMQ, and the specification since 0-9).
            self.reply_unless(method.no_wait, number, BasicCancelOk { consumer_tag: method.consumer_tag });
            return Ok(());
        };
        self.return_held(number, Some(id));
        let source = self.consumers.get(&id).map(|consumer| &consumer.source);
        match source {
            Some(&Source::Queue(shard)) => {
                let operation = self.new_operation();
                let token = Asker::Channel { channel: number, operation }.token();
                self.send(shard, Request::Cancel { token, consumer: ConsumerId(id) }, broker);
                let pending = Pending::Cancel { consumer: id, tag: tag.into(), no_wait: method.no_wait };
                self.wait(number, operation, BasicCancel::ID, pending);
            }
            Some(Source::Stream(reader)) => {
                for (shard, token) in reader.watches(id) {
                    broker.send(shard, Request::Unwatch { token });
                }
                self.retire_consumer(id);
                self.reply_unless(
                    method.no_wait,
                    number,
                    BasicCancelOk { consumer_tag: method.consumer_tag },
                );
            }
            Some(Source::Group(_)) => {
                self.leave_group(id, broker);
                self.retire_consumer(id);
                self.reply_unless(
                    method.no_wait,
                    number,
                    BasicCancelOk { consumer_tag: method.consumer_tag },
                );
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn basic_get(
        &mut self,
        frame: &Frame<'_>,
        method: &BasicGet<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        // It must find what this channel published before.
        if self.wait_for_publishes(frame) {
            return Ok(());
        }
        let number = frame.channel;
        if !self.may_get() {
            self.behind_gets.push_back(number);
            self.wait(number, 0, 0, Pending::Turn);
            self.park(frame);
            return Ok(());
        }
        let name = self.queue_name(number, method.queue)?;
        self.permit(broker, |asking| asking.queue(Access::Read, &name))?;
        let (queue, shard) = match self.find(&name, broker)? {
            Target::Queue { queue, shard } => (queue, shard),
            Target::Stream(_) => {
                return Err(Refusal::not_implemented(format!(
                    "basic.get not supported by stream queues queue '{name}' in vhost '{}'",
                    self.vhost
                )));
            }
        };
        if let Some(kind) = look_up(broker, |topology| {
            let queue = topology.queue_by_id(queue)?;
            queue.settings.single_active_consumer.then_some(queue.kind)
        }) {
            return Err(Refusal::new(
                ReplyCode::ResourceLocked,
                format!(
                    "cannot obtain access to queue '{name}' in vhost '{}'. basic.get operations are not supported \
                     by {} queues with single active consumer",
                    self.vhost,
                    kind.name()
                ),
            ));
        }
        let consumer = self.getter(number, shard);
        let operation = self.new_operation();
        let get = Request::Get {
            token: Asker::Channel { channel: number, operation }.token(),
            queue,
            channel: number,
            consumer: ConsumerId(consumer),
            no_ack: method.no_ack,
        };
        self.gets_in_flight += 1;
        self.send(shard, get, broker);
        let pending = Pending::Get { consumer, queue: name, no_ack: method.no_ack };
        self.wait(number, operation, BasicGet::ID, pending);
        Ok(())
    }

    fn may_get(&self) -> bool {
        self.gets_in_flight < GETS_IN_FLIGHT_MAX && self.out.len() < OUTBOX_BYTES_MAX
    }

    /// Channels that waited to get something ask, as far as there is room. True if one did.
    pub(crate) fn take_turns(&mut self, broker: &mut dyn Broker) -> bool {
        let mut resumed = false;
        while self.may_get()
            && let Some(number) = self.behind_gets.pop_front()
        {
            let waiting = self.channel_mut(number).and_then(|channel| channel.waiting.as_ref());
            if waiting.is_some_and(|waiting| matches!(waiting.pending, Pending::Turn)) {
                self.resume(number, broker);
                resumed = true;
            }
        }
        resumed
    }

    /// The pseudo-consumer that what a channel gets from one shard is delivered to.
    fn getter(&mut self, number: u16, shard: ShardId) -> u32 {
        let known = self.channel_mut(number).and_then(|channel| {
            channel.getters.iter().find(|(at, _)| *at == shard).map(|(_, consumer)| *consumer)
        });
        if let Some(consumer) = known {
            return consumer;
        }
        let id = self.new_consumer();
        let getter = Consumer {
            channel: number,
            tag: Box::default(),
            no_ack: false,
            retry_delay_ms: None,
            prefetch: 0,
            source: Source::Getter(shard),
            active: true,
            outstanding: 0,
        };
        self.consumers.insert(id, getter);
        if let Some(channel) = self.channel_mut(number) {
            channel.getters.push((shard, id));
        }
        id
    }

    fn add_consumer(&mut self, number: u16, tag: Box<[u8]>, no_ack: bool, source: Source) -> u32 {
        let id = self.new_consumer();
        if let Some(channel) = self.channel_mut(number) {
            channel.consumers.push((tag.clone(), id));
        }
        let consumer = Consumer {
            channel: number,
            tag,
            no_ack,
            retry_delay_ms: None,
            prefetch: 0,
            source,
            active: true,
            outstanding: 0,
        };
        self.consumers.insert(id, consumer);
        id
    }

    /// Nothing is delivered to it any more. It is forgotten once what it got is settled.
    pub(crate) fn retire_consumer(&mut self, id: u32) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.active = false;
        let (number, outstanding) = (consumer.channel, consumer.outstanding);
        if outstanding == 0 {
            self.consumers.remove(&id);
        }
        if let Some(channel) = self.channel_mut(number) {
            channel.consumers.retain(|(_, known)| *known != id);
        }
    }

    /// Deliveries that the channel-wide prefetch holds back go out as far as it allows now.
    pub(crate) fn release_held(&mut self, number: u16, _broker: &mut dyn Broker) {
        while let Some(channel) = self.channel_mut(number)
            && channel.has_room()
            && let Some(held) = channel.held.pop_front()
        {
            self.deliver_one(&held.block, &held.delivery, true);
        }
    }

    /// What is held back for a consumer, or for all of the channel, goes back to its queue. Nobody has seen it, so that
    /// is no failure of the message, whatever becomes of the consumer.
    pub(crate) fn return_held(&mut self, number: u16, id: Option<u32>) {
        let Some(Some(channel)) = self.channels.get_mut(usize::from(number)) else { return };
        let (settles, consumers) = (&mut self.settles, &self.consumers);
        channel.held.retain(|Held { delivery, .. }| {
            let of = delivery.consumer.0;
            if id.is_some_and(|id| id != of) {
                return true;
            }
            if let Some(Source::Queue(shard)) = consumers.get(&of).map(|consumer| &consumer.source) {
                let outcome = Outcome::Withdrawn { redelivered: delivery.redelivered };
                settles.add(*shard, of, delivery.number, 1, outcome);
            }
            false
        });
    }
}

/// No consumer needs more in flight than its channel may have. 0: no limit.
fn tighter(prefetch: u16, prefetch_global: u16) -> u32 {
    [prefetch, prefetch_global].into_iter().filter(|&limit| limit != 0).min().unwrap_or(0).into()
}

impl Arguments {
    /// `x-priority`, `x-consumer-timeout` and `x-retry-delay` (both milliseconds). `queue` is where, for refusals.
    fn read(fields: TableRef<'_>, queue: &Resource<'_>) -> Step<Arguments> {
        let mut arguments = Arguments::default();
        for (name, value) in fields.iter() {
            match name.as_bytes() {
                b"x-priority" => {
                    let number = integer(value).map_err(|problem| invalid(queue, "x-priority", &problem))?;
                    arguments.priority = number.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
                }
                b"x-consumer-timeout" => {
                    let ms =
                        duration(value).map_err(|problem| invalid(queue, "x-consumer-timeout", &problem))?;
                    if ms == 0 {
                        return Err(invalid(queue, "x-consumer-timeout", "{value_zero,0}"));
                    }
                    arguments.timeout_ms = Some(ms);
                }
                b"x-retry-delay" => {
                    let ms = duration(value).map_err(|problem| invalid(queue, "x-retry-delay", &problem))?;
                    arguments.retry_delay_ms = Some(ms);
                }
                _ => {}
            }
        }
        Ok(arguments)
    }
}

fn integer(value: Value<'_>) -> Result<i64, String> {
    let other = || format!("\"expected integer, got {}\"", type_name(&to_value(value)));
    value.as_i64().ok_or_else(other)
}

/// Milliseconds.
fn duration(value: Value<'_>) -> Result<u64, String> {
    let number = integer(value)?;
    u64::try_from(number).map_err(|_| format!("{{value_negative,{number}}}"))
}

fn invalid(queue: &Resource<'_>, name: &str, problem: &str) -> Refusal {
    arguments::invalid(queue, name, problem).into()
}
