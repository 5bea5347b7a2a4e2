//! The methods of the queue class.

use bowline_codec_amqp::Frame;
use bowline_codec_amqp::methods::*;
use bowline_model::meta::{
    Binding, Command, Destination, MetaRequest, QueueDeclaration, Table, TopicSpec, Value,
};
use bowline_model::request::Request;
use bowline_model::{PartitionId, QueueId, ShardId};
use bowline_topology::arguments::{self, DEAD_LETTER_EXCHANGE, DeclaredType};
use bowline_topology::{Access, Entry, names, refusal};
use std::sync::Arc;

use crate::broker::{Broker, look_up};
use crate::channel::{Pending, Reply};
use crate::exchanges::{declared_arguments, declared_name, text};
use crate::refusal::{Refusal, Step};
use crate::replies::refuse_bound;
use crate::session::Session;
use crate::token::Asker;

/// Bowline's own: how many partitions a stream is declared with.
const PARTITIONS: &str = "x-partitions";

/// What a queue name stands for, once it is known that this session may use it.
pub(crate) enum Target {
    Queue { queue: QueueId, shard: ShardId },
    Stream(Arc<[PartitionId]>),
}

impl Session {
    /// Finds the queue or stream; refuses what is not there or belongs to another connection. `name-N` is partition N
    /// of stream `name`, unless there is a queue or stream that is called so.
    pub(crate) fn find(&self, name: &str, broker: &dyn Broker) -> Step<Target> {
        let (session, vhost) = (broker.session_id(), &*self.vhost);
        look_up(broker, |topology| {
            let entry = topology.entry(vhost, name);
            if let Some(Entry::Topic(topic)) = entry {
                return Ok(Target::Stream(topic.partitions.clone()));
            }
            if entry.is_none()
                && let Some((stream, index)) = names::partition_name(name)
                && let Some(Entry::Topic(topic)) = topology.entry(vhost, stream)
                && let Some(partition) = topic.partitions.get(index)
            {
                return Ok(Target::Stream([*partition].into()));
            }
            let queue = topology.queue_for(vhost, name, session)?;
            Ok(Target::Queue { queue: queue.id, shard: queue.shard })
        })
    }

    pub(crate) fn queue_declare(
        &mut self,
        frame: &Frame<'_>,
        method: &QueueDeclare<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        // Its counts must include what this channel published before.
        if self.wait_for_publishes(frame) {
            return Ok(());
        }
        let number = frame.channel;
        let mut name = declared_name(method.queue)?;
        if self.declare_replies(number, &name, method.no_wait, broker)? {
            return Ok(());
        }
        if method.passive {
            self.permit(broker, |asking| asking.any(&name))?;
            let target = self.find(&name, broker)?;
            self.count(number, name, target, method.no_wait, broker);
            return Ok(());
        }
        let mut arguments = declared_arguments(method.arguments)?;
        // The topology refuses a type that is none, once it has compared the declaration with a queue that is there.
        let mut declared_type =
            arguments::declared_type(&self.vhost, &name, &arguments).unwrap_or(DeclaredType::Classic);
        if self.is_stream_by_default(method, &arguments, broker) {
            declared_type = DeclaredType::Stream;
            arguments.push((arguments::QUEUE_TYPE.to_string(), Value::Str(b"stream".to_vec())));
        }
        if name.is_empty() {
            if declared_type != DeclaredType::Classic {
                let kind = declared_type.name();
                let text = format!("Cannot declare a server-named queue for type rabbit_{kind}_queue");
                return Err(Refusal::precondition(text));
            }
            name = self.chance.name("amq.gen-");
        } else {
            names::validate_queue_choice(&name)?;
        }
        self.permit(broker, |asking| {
            asking.queue(Access::Configure, &name)?;
            let is_new = asking.topology.entry(asking.vhost, &name).is_none();
            for argument in [DEAD_LETTER_EXCHANGE, arguments::TRACE_EXCHANGE] {
                if is_new && arguments.iter().any(|(name, _)| name == argument) {
                    asking.queue(Access::Read, &name)?;
                    asking.forwarding(&arguments, argument)?;
                }
            }
            Ok(())
        })?;
        let partitions = match declared_type {
            DeclaredType::Stream => self.partitions_of(&name, &arguments, broker)?,
            _ => 1,
        };
        let operation = self.new_operation();
        let token = Asker::Channel { channel: number, operation }.token();
        let no_wait = method.no_wait;
        if declared_type == DeclaredType::Stream {
            let configs = arguments::validate_stream(
                &self.vhost,
                &name,
                method.durable,
                method.exclusive,
                method.auto_delete,
                &arguments,
            )?;
            let command = Command::TopicCreate(TopicSpec {
                vhost: self.vhost.to_string(),
                name: name.clone(),
                id: self.chance.topic_id(),
                partitions,
                configs,
                arguments,
            });
            broker.ask_meta(token, MetaRequest::Propose(command));
            self.wait(number, operation, QueueDeclare::ID, Pending::StreamDeclare { name, no_wait });
            return Ok(());
        }
        let command = Command::QueueDeclare(QueueDeclaration {
            vhost: self.vhost.to_string(),
            name,
            durable: method.durable,
            auto_delete: method.auto_delete,
            exclusive: method.exclusive.then(|| broker.session_id()),
            arguments,
        });
        broker.ask_meta(token, MetaRequest::Propose(command));
        self.wait(number, operation, QueueDeclare::ID, Pending::QueueDeclare { no_wait });
        Ok(())
    }

    /// The vhost may make streams of what names no type and could be one.
    fn is_stream_by_default(
        &self,
        method: &QueueDeclare<'_>,
        arguments: &Table,
        broker: &dyn Broker,
    ) -> bool {
        method.durable
            && !method.exclusive
            && !method.auto_delete
            && !method.queue.is_empty()
            && arguments.iter().all(|(name, _)| name != arguments::QUEUE_TYPE)
            && look_up(broker, |topology| {
                topology.default_queue_type(&self.vhost) == DeclaredType::Stream
                    && !matches!(
                        topology.entry(&self.vhost, &method.queue.to_string()),
                        Some(Entry::Queue(_))
                    )
            })
    }

    /// How many partitions a declared stream has: argument `x-partitions`, usually absent.
    fn partitions_of(&self, name: &str, arguments: &Table, broker: &dyn Broker) -> Step<u32> {
        let Some((_, value)) = arguments.iter().find(|(name, _)| name == PARTITIONS) else { return Ok(1) };
        let vhost = &*self.vhost;
        let number = match value {
            Value::Int { value, .. } => u32::try_from(*value).ok().filter(|number| *number > 0),
            _ => None,
        };
        let Some(number) = number else {
            return Err(Refusal::precondition(format!(
                "invalid arg '{PARTITIONS}' for queue '{name}' in vhost '{vhost}': not a positive integer"
            )));
        };
        let current = look_up(broker, |topology| match topology.entry(vhost, name) {
            Some(Entry::Topic(topic)) => Some(topic.partitions.len()),
            _ => None,
        });
        match current {
            Some(current) if current != number as usize => Err(Refusal::precondition(format!(
                "inequivalent arg '{PARTITIONS}' for queue '{name}' in vhost '{vhost}': received '{number}' but \
                 current is '{current}'"
            ))),
            _ => Ok(number),
        }
    }

    /// Asks for the counts of a queue or stream; they make a queue.declare-ok.
    pub(crate) fn count(
        &mut self,
        number: u16,
        name: String,
        target: Target,
        no_wait: bool,
        broker: &mut dyn Broker,
    ) {
        let operation = self.new_operation();
        let token = Asker::Channel { channel: number, operation }.token();
        let left = match target {
            Target::Queue { queue, shard } => {
                self.send(shard, Request::QueueInfo { token, queue }, broker);
                1
            }
            Target::Stream(partitions) => {
                for &partition in &*partitions {
                    let shard = ShardId::of(partition.0, broker.data_shards());
                    self.send(shard, Request::PartitionInfo { token, partition }, broker);
                }
                partitions.len() as u32
            }
        };
        let pending = Pending::Counts { name, no_wait, left, messages: 0, consumers: 0 };
        self.wait(number, operation, QueueDeclare::ID, pending);
    }

    /// The queue is declared: answers, and remembers it as the one that an empty name stands for.
    pub(crate) fn declared(&mut self, number: u16, name: String, counts: (u64, u32), no_wait: bool) {
        if !no_wait {
            let method = QueueDeclareOk {
                queue: bowline_codec_amqp::ShortStr::truncated(&name),
                message_count: clamp(counts.0),
                consumer_count: counts.1,
            };
            self.reply(number, method);
        }
        if let Some(channel) = self.channel_mut(number) {
            channel.last_queue = Some(name);
        }
    }

    pub(crate) fn queue_bind(
        &mut self,
        number: u16,
        method: &QueueBind<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        let (queue, routing_key) = self.binding_names(number, method.queue, method.routing_key)?;
        refuse_bound(&queue)?;
        let binding = Binding {
            vhost: self.vhost.to_string(),
            source: declared_name(method.exchange)?,
            destination: Destination::Queue(queue),
            routing_key,
            arguments: declared_arguments(method.arguments)?,
        };
        self.permit_binding(&binding, broker)?;
        self.ask(number, QueueBind::ID, Command::Bind(binding), Reply::QueueBind, method.no_wait, broker);
        Ok(())
    }

    pub(crate) fn queue_unbind(
        &mut self,
        number: u16,
        method: &QueueUnbind<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        let (queue, routing_key) = self.binding_names(number, method.queue, method.routing_key)?;
        refuse_bound(&queue)?;
        let binding = Binding {
            vhost: self.vhost.to_string(),
            source: declared_name(method.exchange)?,
            destination: Destination::Queue(queue),
            routing_key,
            arguments: declared_arguments(method.arguments)?,
        };
        self.permit_binding(&binding, broker)?;
        self.ask(number, QueueUnbind::ID, Command::Unbind(binding), Reply::QueueUnbind, false, broker);
        Ok(())
    }

    pub(crate) fn queue_purge(
        &mut self,
        frame: &Frame<'_>,
        method: &QueuePurge<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        if self.wait_for_publishes(frame) {
            return Ok(());
        }
        let name = self.queue_name(frame.channel, method.queue)?;
        self.permit(broker, |asking| asking.queue(Access::Read, &name))?;
        match self.find(&name, broker)? {
            Target::Stream(_) => Err(Refusal::not_implemented(format!(
                "queue.purge not supported by stream queues queue '{name}' in vhost '{}'",
                self.vhost
            ))),
            Target::Queue { queue, shard } => {
                let operation = self.new_operation();
                let token = Asker::Channel { channel: frame.channel, operation }.token();
                self.send(shard, Request::Purge { token, queue }, broker);
                let pending = Pending::Purge { no_wait: method.no_wait };
                self.wait(frame.channel, operation, QueuePurge::ID, pending);
                Ok(())
            }
        }
    }

    pub(crate) fn queue_delete(
        &mut self,
        frame: &Frame<'_>,
        method: &QueueDelete<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        if self.wait_for_publishes(frame) {
            return Ok(());
        }
        let number = frame.channel;
        let name = self.queue_name(number, method.queue)?;
        self.permit(broker, |asking| asking.queue(Access::Configure, &name))?;
        let (session, vhost) = (broker.session_id(), &*self.vhost);
        let request = look_up(broker, |topology| match topology.entry(vhost, &name) {
            None => Ok(None),
            // Flags are ignored for streams, as RabbitMQ does.
            Some(Entry::Topic(_)) => Ok(Some(MetaRequest::Propose(Command::TopicDelete {
                vhost: self.vhost.to_string(),
                name: name.clone(),
            }))),
            Some(Entry::Queue(queue)) if !queue.open_to(session) => Err(refusal::locked(vhost, &name)),
            Some(Entry::Queue(_)) => Ok(Some(MetaRequest::QueueDelete {
                vhost: self.vhost.to_string(),
                name: name.clone(),
                if_unused: method.if_unused,
                if_empty: method.if_empty,
            })),
        })?;
        let Some(request) = request else {
            self.reply_unless(method.no_wait, number, QueueDeleteOk { message_count: 0 });
            return Ok(());
        };
        let operation = self.new_operation();
        let token = Asker::Channel { channel: number, operation }.token();
        // The data shards should know what was settled before they are asked whether the queue is empty.
        self.settles.hand_over_all(&mut self.windows, broker);
        broker.ask_meta(token, request);
        let pending = Pending::QueueDelete { no_wait: method.no_wait, cancelled: Vec::new() };
        self.wait(number, operation, QueueDelete::ID, pending);
        Ok(())
    }

    /// The queue of a method: an empty name stands for the one declared last on the channel.
    pub(crate) fn queue_name(&mut self, number: u16, name: bowline_codec_amqp::ShortStr<'_>) -> Step<String> {
        if !name.is_empty() {
            return declared_name(name);
        }
        let last = self.channel_mut(number).and_then(|channel| channel.last_queue.clone());
        last.ok_or_else(|| {
            Refusal::new(bowline_codec_amqp::ReplyCode::NotFound, "no previously declared queue")
        })
    }

    /// Queue and routing key of a binding: if both are empty, both stand for the queue declared last.
    fn binding_names(
        &mut self,
        number: u16,
        queue: bowline_codec_amqp::ShortStr<'_>,
        routing_key: bowline_codec_amqp::ShortStr<'_>,
    ) -> Step<(String, String)> {
        let name = self.queue_name(number, queue)?;
        if queue.is_empty() && routing_key.is_empty() {
            return Ok((name.clone(), name));
        }
        Ok((name, text(routing_key)?))
    }
}

/// Counts are 32 bits wide on the wire.
pub(crate) fn clamp(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
