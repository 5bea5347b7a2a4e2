//! Producers and consumers over AMQP: one thread and one connection each.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use bowline_client::address::AmqpAddress;
use bowline_client::amqp::codec::{FieldTable, FieldValue, OwnedProperties};
use bowline_client::amqp::{
    Confirms, ConnectOptions, Connection, Consume, Event, Exchange, Publish, Queue, Template,
};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::args::{ExchangeKind, QueueType, Settings};
use crate::clock::now_ns;
use crate::control::{Consumed, Control, Phase, Produced};
use crate::pace::Pace;
use crate::stamp::Stamp;

/// A broker may block publishers for long while its memory alarm is on.
const PATIENCE: Duration = Duration::from_secs(120);
/// Octets gathered before a write.
const WRITE_BYTES: usize = 64 << 10;
/// Messages that share a reading of the clock, when there is no schedule.
const CHUNK: u64 = 16;
/// Longest wait before a thread looks at the phase again.
const TICK: Duration = Duration::from_millis(100);
/// A consumer that got nothing for so long acknowledges what it has.
const IDLE: Duration = Duration::from_millis(5);
/// What a run may have between the oldest unconfirmed message and the newest, as a multiple of the window.
const WINDOW_SLACK: usize = 4;

pub fn connect(settings: &Settings, role: &str) -> anyhow::Result<(Connection, u16)> {
    let mut address = AmqpAddress::at(&settings.amqp_addr);
    (address.user, address.password) = settings.login.clone();
    let options = ConnectOptions {
        timeout: PATIENCE,
        name: format!("bowline bench {role}"),
        ..ConnectOptions::new(address)
    };
    let mut connection = Connection::open(&options)?;
    let channel = connection.open_channel()?;
    Ok((connection, channel))
}

pub fn queue_name(settings: &Settings, index: usize) -> String {
    // A stream that Kafka shares has the topic's name.
    if settings.proto != settings.consume_proto {
        settings.name.clone()
    } else {
        format!("{}-{index}", settings.name)
    }
}

/// Declares queues, exchange and bindings. Unless messages are to be found there, what an earlier run left is
/// removed first.
pub fn set_up(settings: &Settings, fresh: bool) -> anyhow::Result<()> {
    let (mut connection, channel) = connect(settings, "set-up")?;
    for index in 0..settings.queues {
        let name = queue_name(settings, index);
        if fresh {
            connection.delete_queue(channel, &name).context("deleting an old queue")?;
        }
        let queue_type = match settings.queue_type {
            QueueType::Classic => None,
            QueueType::Quorum => Some("quorum"),
            QueueType::Stream => Some("stream"),
        };
        let mut arguments = FieldTable::new();
        if let Some(queue_type) = queue_type {
            arguments.push("x-queue-type", queue_type);
        }
        if let Some(highest) = settings.priorities {
            arguments.push("x-max-priority", i64::from(highest));
        }
        for (name, value) in &settings.queue_arguments {
            arguments.push(name, field_value(value));
        }
        let durable = settings.durable || queue_type.is_some();
        let queue = Queue { name: &name, durable, arguments, ..Queue::default() };
        connection.declare_queue(channel, &queue).with_context(|| format!("declaring queue {name}"))?;
    }
    let kind = match settings.exchange {
        ExchangeKind::Default => return Ok(connection.close()?),
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Topic => "topic",
    };
    let name = settings.name.as_str();
    if fresh {
        connection.delete_exchange(channel, name)?;
    }
    connection.declare_exchange(
        channel,
        &Exchange { name, kind, durable: settings.durable, ..Exchange::default() },
    )?;
    let none = FieldTable::new();
    for index in 0..settings.queues.max(settings.bindings) {
        let queue = queue_name(settings, index % settings.queues);
        if kind == "topic" {
            connection.bind_queue(channel, &queue, name, &format!("bench.*.k{index}"), &none)?;
        } else if index < settings.queues {
            connection.bind_queue(channel, &queue, name, "", &none)?;
        }
    }
    Ok(connection.close()?)
}

/// JSON as a field value; arrays and fractions as text.
fn field_value(value: &serde_json::Value) -> FieldValue {
    match value {
        serde_json::Value::Null => FieldValue::Void,
        serde_json::Value::Bool(value) => FieldValue::Bool(*value),
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Object(fields) => {
            let mut table = FieldTable::new();
            for (name, value) in fields {
                table.push(name, field_value(value));
            }
            FieldValue::Table(table)
        }
        other => match other.as_i64() {
            Some(number) => FieldValue::I64(number),
            None => other.to_string().as_str().into(),
        },
    }
}

pub fn tear_down(settings: &Settings) -> anyhow::Result<()> {
    let (mut connection, channel) = connect(settings, "tear-down")?;
    for index in 0..settings.queues {
        connection.delete_queue(channel, &queue_name(settings, index))?;
    }
    if settings.exchange != ExchangeKind::Default {
        connection.delete_exchange(channel, &settings.name)?;
    }
    Ok(connection.close()?)
}

/// Messages that wait in all queues.
pub fn waiting(settings: &Settings) -> anyhow::Result<u64> {
    let (mut connection, channel) = connect(settings, "count")?;
    let mut messages = 0;
    for index in 0..settings.queues {
        let queue = Queue { name: &queue_name(settings, index), passive: true, ..Queue::default() };
        messages += u64::from(connection.declare_queue(channel, &queue)?.messages);
    }
    connection.close()?;
    Ok(messages)
}

/// Where a producer's messages go, one after the other, and how each lane is numbered.
struct Targets {
    targets: Vec<Target>,
    /// The next number of each lane.
    sequences: Vec<u32>,
    next: usize,
    /// Of the next `message-id`, where messages have one.
    id: u64,
}

struct Target {
    template: Template,
    lane: usize,
    /// Who the stamp says has sent it: messages of several priorities keep their order only among themselves, as if
    /// each had its own producer.
    sender: u16,
    /// Where the `message-id` is.
    id_at: Option<usize>,
}

/// Stands where a `message-id` goes.
const ID_PLACE: &[u8; 16] = b"0123456789abcdef";

impl Targets {
    fn new(settings: &Settings, producer: usize, channel: u16, frame_max: u32) -> Targets {
        let mut properties = Publish::delivery_mode(settings.persistent);
        if let Some(delay) = settings.delay {
            properties.headers = Some(FieldTable::new().with("x-delay", delay.as_millis() as i64));
        }
        if settings.message_ids {
            properties.message_id = Some(ID_PLACE.to_vec());
        }
        let target = |exchange: &str, routing_key: &str, priority: Option<u8>, lane: usize| {
            let properties = OwnedProperties { priority, ..properties.clone() };
            let publish = Publish { exchange, routing_key, mandatory: false, properties: &properties };
            let template = Template::new(channel, &publish, &vec![b'x'; settings.size], frame_max);
            let sender = (producer + usize::from(priority.unwrap_or(0)) * settings.producers) as u16;
            let id_at = settings.message_ids.then(|| template.position(ID_PLACE)).flatten();
            Target { template, lane, sender, id_at }
        };
        let targets: Vec<Target> = match settings.exchange {
            ExchangeKind::Default => {
                let priorities: Vec<Option<u8>> = match settings.priorities {
                    Some(highest) => (0..=highest).map(Some).collect(),
                    None => vec![None],
                };
                share(settings.queues, settings.producers, producer)
                    .flat_map(|index| priorities.iter().map(move |priority| (index, *priority)))
                    .enumerate()
                    .map(|(lane, (index, priority))| target("", &queue_name(settings, index), priority, lane))
                    .collect()
            }
            ExchangeKind::Fanout => vec![target(&settings.name, "", None, 0)],
            // The keys of a topic exchange lead to queue `key mod queues`; a lane is a queue.
            ExchangeKind::Topic => (0..settings.bindings.max(settings.queues))
                .map(|index| {
                    let key = format!("bench.p{producer}.k{index}");
                    target(&settings.name, &key, None, index % settings.queues)
                })
                .collect(),
        };
        let lanes = targets.iter().map(|target| target.lane + 1).max().unwrap_or(0);
        Targets { targets, sequences: vec![0; lanes], next: 0, id: (producer as u64) << 48 }
    }

    fn append(&mut self, out: &mut Vec<u8>, time_ns: u64) {
        let target = &self.targets[self.next];
        self.next = if self.next + 1 == self.targets.len() { 0 } else { self.next + 1 };
        let sequence = &mut self.sequences[target.lane];
        let stamp = Stamp { time_ns, producer: target.sender, sequence: *sequence };
        *sequence = sequence.wrapping_add(1);
        let begin = target.template.append(out, &stamp.encode());
        if let Some(at) = target.id_at {
            let digits =
                (0..16).rev().map(|digit| b"0123456789abcdef"[(self.id >> (4 * digit) & 15) as usize]);
            out[begin + at..].iter_mut().zip(digits).for_each(|(octet, digit)| *octet = digit);
            self.id += 1;
        }
    }
}

/// Which of `items` belong to worker `worker` of `workers`: each item to one worker or, with more workers than
/// items, each worker to one item.
pub fn share(items: usize, workers: usize, worker: usize) -> Box<dyn Iterator<Item = usize>> {
    if workers >= items {
        Box::new(std::iter::once(worker % items))
    } else {
        Box::new((worker..items).step_by(workers))
    }
}

/// Publishes until the phase says stop, or `count` messages are out.
pub fn produce(
    settings: &Settings,
    control: &Control,
    producer: usize,
    count: Option<u64>,
) -> anyhow::Result<Produced> {
    let (mut connection, channel) = connect(settings, "producer")?;
    if settings.confirm {
        connection.confirm_select(channel)?;
    }
    let mut targets = Targets::new(settings, producer, channel, connection.frame_max());
    let mut outcome = Produced::new();
    let window = settings.window;
    let mut confirms = Confirms::<u64>::new(window * WINDOW_SLACK);
    if !control.wait_for_start() {
        return Ok(outcome);
    }
    let pace = Pace::new(settings.rate, settings.producers, producer, now_ns());
    let count = count.unwrap_or(u64::MAX);
    let mut last_confirm = now_ns();
    loop {
        let sending = control.phase() < Phase::Finish && outcome.sent < count;
        if !sending && (confirms.outstanding() == 0 || control.phase() == Phase::Stop) {
            break;
        }
        let now = now_ns();
        let room = if !settings.confirm {
            u64::MAX
        } else if confirms.is_full() {
            0
        } else {
            window.saturating_sub(confirms.outstanding()) as u64
        };
        let due = pace.due(now).saturating_sub(outcome.sent);
        let possible = if sending { due.min(room).min(count - outcome.sent) } else { 0 };
        if confirms.outstanding() == 0 {
            last_confirm = now;
        }
        let chunk = if pace.is_open_loop() { possible } else { possible.min(CHUNK) };
        let mut appended = 0;
        while appended < chunk && !confirms.is_full() && connection.out().len() < WRITE_BYTES {
            let time_ns = pace.due_at(outcome.sent, now);
            targets.append(connection.out(), time_ns);
            if settings.confirm {
                confirms.published(time_ns);
            }
            outcome.sent += 1;
            appended += 1;
        }
        control.sent.fetch_add(appended, Ordering::Relaxed);
        let more = appended > 0 && appended < possible;
        if more && connection.out().len() < WRITE_BYTES {
            continue;
        }
        let wait = if more {
            Duration::ZERO
        } else if sending && pace.is_open_loop() && appended < room {
            Duration::from_nanos(pace.due_at(outcome.sent, now).saturating_sub(now_ns())).min(TICK)
        } else {
            TICK
        };
        connection.fill(wait)?;
        take_confirms(&mut connection, control, &mut confirms, &mut outcome, &mut last_confirm)?;
    }
    outcome.unanswered = confirms.outstanding() as u64;
    if !settings.confirm {
        // Without confirms the close handshake is what shows that the broker has read everything.
        connection.close()?;
    }
    Ok(outcome)
}

fn take_confirms(
    connection: &mut Connection,
    control: &Control,
    confirms: &mut Confirms<u64>,
    outcome: &mut Produced,
    last_confirm: &mut u64,
) -> anyhow::Result<()> {
    let measuring = control.measuring();
    let (mut acked, mut refused) = (0, 0);
    let mut now = 0;
    while let Some(event) = connection.next()? {
        if now == 0 {
            now = now_ns();
        }
        match event {
            Event::Ack { tag, multiple, .. } => confirms.settle(tag, multiple, |_, sent_at| {
                acked += 1;
                if measuring {
                    outcome.confirm.saturating_record(now.saturating_sub(sent_at));
                }
            })?,
            Event::Nack { tag, multiple, .. } => confirms.settle(tag, multiple, |_, _| refused += 1)?,
            Event::Return { .. } => refused += 1,
            Event::Blocked { .. } | Event::Unblocked => {}
            Event::ChannelClosed { code, text, .. } => bail!("channel closed by the broker: {code} {text}"),
            other => bail!("unexpected at a producer: {other:?}"),
        }
    }
    if acked > 0 {
        outcome.stall_ns_max = outcome.stall_ns_max.max(now.saturating_sub(*last_confirm));
        *last_confirm = now;
        outcome.confirmed += acked;
        control.confirmed.fetch_add(acked, Ordering::Relaxed);
    }
    if refused > 0 {
        outcome.refused += refused;
        control.refused.fetch_add(refused, Ordering::Relaxed);
    }
    Ok(())
}

/// Consumes until the phase says stop.
pub fn consume(settings: &Settings, control: &Control, consumer: usize) -> anyhow::Result<Consumed> {
    let (mut connection, channel) = connect(settings, "consumer")?;
    let stream = settings.queue_type == QueueType::Stream;
    let auto_ack = settings.ack_every == 0 && !stream;
    if settings.prefetch > 0 && !auto_ack {
        connection.qos(channel, settings.prefetch)?;
    }
    for queue in share(settings.queues, settings.consumers, consumer) {
        let mut arguments = FieldTable::new();
        if stream {
            arguments.push("x-stream-offset", "first");
        }
        let consume = Consume {
            queue: &queue_name(settings, queue),
            // The tag tells which queue a delivery is from.
            consumer_tag: &queue.to_string(),
            no_ack: auto_ack,
            arguments,
            ..Consume::default()
        };
        connection.consume(channel, &consume)?;
    }
    // How late a delayed message is counts from when it was due.
    let delay = settings.delay.map_or(0, |delay| delay.as_nanos() as u64);
    let mut outcome = Consumed::new();
    let mut acks = Acker::new(settings, channel, consumer, auto_ack);
    if !control.wait_for_start() {
        return Ok(outcome);
    }
    while control.phase() < Phase::Stop {
        let wait = if acks.pending() { IDLE } else { TICK };
        if !connection.fill(wait)? {
            acks.flush(&mut connection);
            continue;
        }
        let now = now_ns();
        let measuring = control.measuring();
        let (mut received, mut fresh) = (0, 0);
        while let Some(event) = connection.next()? {
            let (tag, redelivered) = match event {
                Event::Deliver { method, content, .. } => {
                    let queue = parse_tag(method.consumer_tag.as_bytes());
                    match Stamp::decode(content.body).filter(|_| content.body.len() == settings.size) {
                        Some(stamp) => {
                            if measuring {
                                outcome
                                    .end_to_end
                                    .saturating_record(now.saturating_sub(stamp.time_ns + delay));
                            }
                            outcome.lanes.received(queue, stamp.producer, stamp.sequence, method.redelivered);
                        }
                        None => outcome.foreign += 1,
                    }
                    (method.delivery_tag, method.redelivered)
                }
                Event::ChannelClosed { code, text, .. } => {
                    bail!("channel closed by the broker: {code} {text}")
                }
                Event::Cancel { .. } => bail!("the broker cancelled the consumer"),
                Event::Blocked { .. } | Event::Unblocked => continue,
                other => bail!("unexpected at a consumer: {other:?}"),
            };
            received += 1;
            fresh += u64::from(!redelivered);
            acks.delivered(&mut connection, tag, redelivered);
        }
        outcome.received += received;
        control.received.fetch_add(received, Ordering::Relaxed);
        control.received_fresh.fetch_add(fresh, Ordering::Relaxed);
    }
    acks.flush(&mut connection);
    // The broker may be deleting or closing already; everything was counted.
    let _ = connection.close();
    Ok(outcome)
}

/// Consumer tags are queue numbers.
fn parse_tag(tag: &[u8]) -> u32 {
    tag.iter().fold(0, |number, digit| number * 10 + u32::from(digit.wrapping_sub(b'0')))
}

/// Acknowledges as the settings say.
struct Acker {
    channel: u16,
    auto_ack: bool,
    /// Acknowledge when so many are open.
    batch: usize,
    shuffle: bool,
    skip: f64,
    requeue: f64,
    random: SmallRng,
    /// Open deliveries, when each is settled by itself.
    open: Vec<u64>,
    /// Open deliveries, when they are settled together, and the last of them.
    open_count: usize,
    last_tag: u64,
}

impl Acker {
    fn new(settings: &Settings, channel: u16, consumer: usize, auto_ack: bool) -> Acker {
        // With a prefetch below the batch the broker would wait for acks that wait for deliveries.
        let batch = match settings.prefetch {
            0 => settings.ack_every.max(1),
            prefetch => settings.ack_every.clamp(1, usize::from(prefetch).div_ceil(2)),
        };
        Acker {
            channel,
            auto_ack,
            batch,
            shuffle: settings.ack_shuffle,
            skip: settings.ack_skip / 100.0,
            requeue: settings.requeue / 100.0,
            random: SmallRng::seed_from_u64(consumer as u64),
            open: Vec::new(),
            open_count: 0,
            last_tag: 0,
        }
    }

    fn pending(&self) -> bool {
        self.open_count > 0 || !self.open.is_empty()
    }

    fn delivered(&mut self, connection: &mut Connection, tag: u64, redelivered: bool) {
        if self.auto_ack || (self.skip > 0.0 && self.random.random_bool(self.skip)) {
            return;
        }
        if self.requeue > 0.0 && !redelivered && self.random.random_bool(self.requeue) {
            connection.nack(self.channel, tag, false, true);
            return;
        }
        let one_by_one = self.shuffle || self.skip > 0.0 || self.requeue > 0.0;
        if one_by_one {
            self.open.push(tag);
        } else {
            self.open_count += 1;
            self.last_tag = tag;
        }
        if self.open_count.max(self.open.len()) >= self.batch {
            self.flush(connection);
        }
    }

    fn flush(&mut self, connection: &mut Connection) {
        if self.open_count > 0 {
            connection.ack(self.channel, self.last_tag, self.open_count > 1);
            self.open_count = 0;
        }
        if self.shuffle {
            self.open.shuffle(&mut self.random);
        }
        for tag in self.open.drain(..) {
            connection.ack(self.channel, tag, false);
        }
    }
}
