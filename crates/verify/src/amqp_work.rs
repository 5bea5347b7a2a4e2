//! AMQP producers and consumers that go on whatever happens to the broker.
//!
//! A producer never sends a message twice: what was unconfirmed when the connection ended may be there or not, and
//! if it comes twice, the broker has doubled it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use bowline_client::Error;
use bowline_client::amqp::codec::{FieldTable, FieldValue, OwnedProperties, Properties};
use bowline_client::amqp::{Confirms, Connection, Consume, Event, Publish, Queue};
use bowline_client::retry::Backoff;
use rand::Rng;
use rand::rngs::SmallRng;

use crate::args::Workload;
use crate::payload::{self, Flaw, Identity};
use crate::world::{Consumer, Phase, Producer, World, Wrong};

const TICK: Duration = Duration::from_millis(20);
const RECONNECT_CEILING: Duration = Duration::from_millis(20);
/// Producers wait so long for their last confirms.
const LAST_CONFIRMS: Duration = Duration::from_secs(20);
/// Messages that a producer adds between two looks at the socket.
const BURST: usize = 50;
/// One in so many deliveries is given back.
const GIVE_BACK_ONE_IN: u32 = 50;
/// Acks gather up to so many deliveries.
const ACK_BATCH_MAX: usize = 20;

type Result<T> = std::result::Result<T, Error>;

/// Declares everything that the AMQP side needs.
pub fn set_up(world: &World, queues: &[String], stream: bool) -> Result<()> {
    let mut connection = Connection::open(&world.amqp_options("set-up"))?;
    let channel = connection.open_channel()?;
    for name in queues {
        let mut arguments = FieldTable::new();
        if let Some(queue_type) = &world.config.queue_type {
            arguments.push("x-queue-type", queue_type.as_str());
        }
        connection.declare_queue(channel, &Queue { name, durable: true, arguments, ..Queue::default() })?;
    }
    if stream {
        let arguments = FieldTable::new().with("x-queue-type", "stream");
        let name = world.config.stream.as_str();
        connection.declare_queue(channel, &Queue { name, durable: true, arguments, ..Queue::default() })?;
    }
    connection.close()
}

/// Messages that are ready in the queues.
pub fn waiting(world: &World, queues: &[String]) -> Result<u64> {
    let mut connection = Connection::open(&world.amqp_options("count"))?;
    let channel = connection.open_channel()?;
    let mut messages = 0;
    for name in queues {
        let look = Queue { name, passive: true, ..Queue::default() };
        messages += u64::from(connection.declare_queue(channel, &look)?.messages);
    }
    connection.close()?;
    Ok(messages)
}

pub fn delete_all(world: &World, queues: &[String], stream: bool) -> Result<()> {
    let mut connection = Connection::open(&world.amqp_options("tear-down"))?;
    let channel = connection.open_channel()?;
    for name in queues {
        connection.delete_queue(channel, name)?;
    }
    if stream {
        connection.delete_queue(channel, &world.config.stream)?;
    }
    connection.close()
}

/// Publishes until the load ends, over as many connections as it takes.
pub fn produce(world: &World, index: usize) {
    let mut random = world.random(index as u64);
    let mut backoff = Backoff::new(RECONNECT_CEILING);
    let mut epoch = 0;
    while world.phase() == Phase::Load {
        match session(world, index, epoch, &mut random, &mut backoff) {
            Ok(()) => return,
            Err(error) => world.failed("AMQP producer", &error),
        }
        epoch = epoch.wrapping_add(1);
        thread::sleep(backoff.step());
    }
}

fn session(
    world: &World,
    index: usize,
    epoch: u16,
    random: &mut SmallRng,
    backoff: &mut Backoff,
) -> Result<()> {
    let producer = &world.producers[index];
    let life = world.life();
    let mut connection = Connection::open(&world.amqp_options("producer"))?;
    let _registered = world.sockets.register(connection.stream());
    let channel = connection.open_channel()?;
    connection.confirm_select(channel)?;
    backoff.reset();
    let mut confirms = Confirms::<u64>::new(world.config.window * 2);
    let mut blocked = false;
    let (start, mut sent) = (Instant::now(), 0);
    let mut draining_since = None;
    loop {
        let load = world.phase() == Phase::Load;
        if !load {
            let since: &mut Instant = draining_since.get_or_insert_with(Instant::now);
            if confirms.outstanding() == 0 {
                return connection.close();
            }
            if since.elapsed() > LAST_CONFIRMS {
                return Err(Error::Timeout("the last confirms"));
            }
        }
        let mut burst = 0;
        while load
            && !blocked
            && burst < BURST
            && confirms.outstanding() < world.config.window
            && !confirms.is_full()
            && is_due(world, start, sent)
        {
            let sequence = producer.account.publish();
            let identity = Identity { producer: index as u16, epoch, sequence };
            let body = payload::write(world.run, identity, world.message_size(random));
            let properties = properties_of(identity);
            let to = Publish {
                exchange: "",
                routing_key: &producer.destination,
                mandatory: true,
                properties: &properties,
            };
            connection.publish(channel, &to, &body);
            confirms.published(sequence);
            sent += 1;
            burst += 1;
        }
        let wait = if burst == BURST { Duration::ZERO } else { TICK.min(until_due(world, start, sent)) };
        connection.fill(wait)?;
        while let Some(event) = connection.next()? {
            let violation = |error| Error::Protocol(format!("{error}"));
            match event {
                Event::Ack { tag, multiple, .. } => {
                    confirms
                        .settle(tag, multiple, |_, sequence| producer.account.confirm(sequence))
                        .map_err(violation)?;
                    world.amqp_recovery.confirm.stop(life);
                }
                Event::Nack { tag, multiple, .. } => {
                    confirms
                        .settle(tag, multiple, |_, sequence| producer.account.refuse(sequence))
                        .map_err(violation)?;
                }
                Event::Return { method, .. } => {
                    let (code, text) = (method.reply_code, method.reply_text.to_string());
                    world.wrong(Wrong::Misrouted, || format!("returned: {code} {text}"));
                }
                Event::Blocked { reason } => {
                    blocked = true;
                    world.note(format!("connection.blocked: {reason}"));
                }
                Event::Unblocked => blocked = false,
                Event::ChannelClosed { channel, code, text } => {
                    return Err(Error::ChannelClosed { channel, code, text: text.to_string() });
                }
                other => return Err(Error::Protocol(format!("at a producer: {other:?}"))),
            }
        }
    }
}

fn is_due(world: &World, start: Instant, sent: u64) -> bool {
    until_due(world, start, sent).is_zero()
}

fn until_due(world: &World, start: Instant, sent: u64) -> Duration {
    if world.config.rate == 0 {
        return Duration::ZERO;
    }
    let due = start + Duration::from_secs_f64(sent as f64 / f64::from(world.config.rate));
    due.saturating_duration_since(Instant::now())
}

/// Properties that follow from the identity, so that the consumer can check them.
fn properties_of(identity: Identity) -> OwnedProperties {
    let mut properties = OwnedProperties { delivery_mode: Some(2), ..Default::default() };
    // Some with a header and an id, some with the least there is.
    if identity.sequence.is_multiple_of(3) {
        properties.message_id = Some(format!("{}-{}", identity.producer, identity.sequence).into_bytes());
        properties.headers =
            Some(FieldTable::new().with("sequence", FieldValue::I64(identity.sequence as i64)));
    }
    properties
}

fn properties_match(identity: Identity, properties: &Properties<'_>) -> bool {
    let expected = properties_of(identity);
    let message_id = properties.message_id().map(|id| id.as_bytes().to_vec());
    let header =
        properties.headers().and_then(|headers| headers.get("sequence")).and_then(|value| value.as_i64());
    properties.delivery_mode() == Some(2)
        && message_id == expected.message_id
        && header == expected.headers.map(|_| identity.sequence as i64)
}

/// Consumes until everything stops.
pub fn consume(world: &World, index: usize) {
    let consumer = &world.consumers[index];
    let mut state = ConsumerState {
        world,
        consumer,
        random: world.random(1000 + index as u64),
        order: HashMap::new(),
        open: Vec::new(),
    };
    let mut backoff = Backoff::new(RECONNECT_CEILING);
    while world.phase() < Phase::Stop {
        if let Err(error) = state.session(&mut backoff) {
            world.failed("AMQP consumer", &error);
            thread::sleep(backoff.step());
        }
    }
}

struct ConsumerState<'a> {
    world: &'a World,
    consumer: &'a Consumer,
    random: SmallRng,
    /// Last first delivery of each producer's connection. It lives longer than this consumer's connections: what is
    /// delivered for the first time now must be behind everything that was before.
    order: HashMap<(u16, u16), u64>,
    /// Deliveries without an ack: tag and identity.
    open: Vec<(u64, Identity)>,
}

impl ConsumerState<'_> {
    fn session(&mut self, backoff: &mut Backoff) -> Result<()> {
        let world = self.world;
        self.open.clear();
        let life = world.life();
        let mut connection = Connection::open(&world.amqp_options("consumer"))?;
        let _registered = world.sockets.register(connection.stream());
        let channel = connection.open_channel()?;
        connection.qos(channel, world.config.prefetch)?;
        connection.consume(channel, &Consume { queue: &self.consumer.destination, ..Consume::default() })?;
        backoff.reset();
        loop {
            if world.phase() == Phase::Stop {
                self.ack_all(&mut connection, channel);
                return connection.close();
            }
            let came = connection.fill(TICK)?;
            loop {
                let (tag, redelivered, identity) = match connection.next()? {
                    None => break,
                    Some(Event::Deliver { method, content, .. }) => {
                        let identity =
                            self.check(content.body, &content.properties, method.routing_key.as_bytes());
                        (method.delivery_tag, method.redelivered, identity)
                    }
                    Some(Event::ChannelClosed { channel, code, text }) => {
                        return Err(Error::ChannelClosed { channel, code, text: text.to_string() });
                    }
                    Some(Event::Cancel { .. }) => return Err(Error::Protocol("consumer cancelled".into())),
                    Some(Event::Blocked { .. } | Event::Unblocked) => continue,
                    Some(other) => return Err(Error::Protocol(format!("at a consumer: {other:?}"))),
                };
                world.amqp_recovery.delivery.stop(life);
                world.deliveries.fetch_add(1, Ordering::Relaxed);
                self.consumer.received.fetch_add(1, Ordering::Relaxed);
                match identity {
                    Some(identity) => self.delivered(&mut connection, channel, tag, redelivered, identity),
                    // Not ours: out of the way.
                    None => connection.ack(channel, tag, false),
                }
            }
            if !came || world.phase() > Phase::Load {
                self.ack_all(&mut connection, channel);
            }
        }
    }

    /// Who is it, and is it whole?
    fn check(&self, body: &[u8], properties: &Properties<'_>, routing_key: &[u8]) -> Option<Identity> {
        let world = self.world;
        let identity = match payload::read(world.run, body) {
            Ok(identity) => identity,
            Err(Flaw::Foreign) => {
                world.note("a message of another run".into());
                return None;
            }
            Err(Flaw::Corrupt) => {
                world.wrong(Wrong::Corrupt, || {
                    format!("{} octets in {}", body.len(), self.consumer.destination)
                });
                return None;
            }
        };
        let Some(producer) = world.producers.get(usize::from(identity.producer)) else {
            world.wrong(Wrong::Invented, || format!("{identity:?}"));
            return None;
        };
        if producer.destination != self.consumer.destination || routing_key != producer.destination.as_bytes()
        {
            world.wrong(Wrong::Misrouted, || format!("{identity:?} in {}", self.consumer.destination));
        }
        if !properties_match(identity, properties) {
            world.wrong(Wrong::Altered, || format!("properties of {identity:?}: {properties:?}"));
        }
        Some(identity)
    }

    fn delivered(
        &mut self,
        connection: &mut Connection,
        channel: u16,
        tag: u64,
        redelivered: bool,
        id: Identity,
    ) {
        let world = self.world;
        let producer: &Producer = &world.producers[usize::from(id.producer)];
        if !producer.account.deliver(id.sequence, redelivered) {
            world.wrong(Wrong::Invented, || format!("{id:?}"));
        }
        if !redelivered {
            let last = self.order.entry((id.producer, id.epoch)).or_insert(id.sequence);
            if id.sequence < *last {
                let last = *last;
                world.wrong(Wrong::Reordered, || format!("{id:?} after {last}"));
            }
            *last = (*last).max(id.sequence);
        }
        let give_back = world.phase() == Phase::Load && self.random.random_ratio(1, GIVE_BACK_ONE_IN);
        if give_back {
            producer.account.give_back(id.sequence);
            if self.random.random_bool(0.5) {
                connection.nack(channel, tag, false, true);
            } else {
                connection.reject(channel, tag, true);
            }
            return;
        }
        self.open.push((tag, id));
        if self.open.len() >= self.random.random_range(1..=ACK_BATCH_MAX) {
            self.ack_all(connection, channel);
        }
    }

    fn ack_all(&mut self, connection: &mut Connection, channel: u16) {
        let Some((last, _)) = self.open.last() else { return };
        connection.ack(channel, *last, self.open.len() > 1);
        for (_, id) in self.open.drain(..) {
            self.world.producers[usize::from(id.producer)].account.ack(id.sequence);
        }
    }
}

/// Whether a producer publishes over AMQP.
pub fn publishes(producer: &Producer) -> bool {
    matches!(producer.workload, Workload::Amqp | Workload::Stream)
}
