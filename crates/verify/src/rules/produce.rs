//! Producers of queues with rules: one for each kind, for both its lanes.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use bowline_client::Error;
use bowline_client::amqp::codec::{FieldTable, OwnedProperties};
use bowline_client::amqp::{Confirms, Connection, Event, Publish};
use bowline_client::retry::Backoff;
use rand::Rng;
use rand::rngs::SmallRng;

use super::{Item, KEY, Kind, Lane, lanes_of, now_ms};
use crate::payload::{self, Identity};
use crate::world::{Phase, World, Wrong};

const TICK: Duration = Duration::from_millis(10);
const RECONNECT_CEILING: Duration = Duration::from_millis(20);
const LAST_CONFIRMS: Duration = Duration::from_secs(20);
const WINDOW: usize = 64;
/// Messages a second of each kind, at most.
const RATE_MAX: u32 = 150;
/// Messages in a transaction.
const TX_MESSAGES: usize = 4;
/// One in so many confirmed messages of a queue with duplicate detection is sent again.
const AGAIN_ONE_IN: u32 = 20;
const BYTES_MAX: usize = 300;

type Result<T> = std::result::Result<T, Error>;
/// A lane by its number, and a message of it.
type Sent = (usize, u64);

/// Publishes until the load ends, over as many connections as it takes.
pub fn run(world: &World, kind: Kind) {
    let mut producer = Producer {
        world,
        kind,
        lanes: lanes_of(world, kind),
        random: world.random(2000 + kind as u64),
        again: VecDeque::new(),
        groups: 0,
        connections: 0,
    };
    let mut backoff = Backoff::new(RECONNECT_CEILING);
    while world.phase() == Phase::Load {
        producer.connections = producer.connections.wrapping_add(1);
        let end = match kind {
            Kind::Tx => producer.transactions(&mut backoff),
            _ => producer.session(&mut backoff),
        };
        match end {
            Ok(()) => return,
            Err(error) => world.failed(&format!("producer of {}", kind.name()), &error),
        }
        thread::sleep(backoff.step());
    }
}

struct Producer<'a> {
    world: &'a World,
    kind: Kind,
    lanes: Vec<(usize, &'a Lane)>,
    random: SmallRng,
    /// To be sent again, as the same message.
    again: VecDeque<Sent>,
    groups: u32,
    connections: u16,
}

impl Producer<'_> {
    fn session(&mut self, backoff: &mut Backoff) -> Result<()> {
        let world = self.world;
        let mut connection = Connection::open(&world.amqp_options(self.kind.name()))?;
        let _registered = world.sockets.register(connection.stream());
        let channel = connection.open_channel()?;
        connection.confirm_select(channel)?;
        backoff.reset();
        let mut confirms = Confirms::new(WINDOW * 2);
        let result = self.publish_confirmed(&mut connection, channel, &mut confirms);
        if self.kind == Kind::Dedup {
            // Whether they came in is not known: that is what duplicate detection is for.
            self.again.extend(confirms.unanswered());
        }
        result?;
        connection.close()
    }

    fn publish_confirmed(
        &mut self,
        connection: &mut Connection,
        channel: u16,
        confirms: &mut Confirms<Sent>,
    ) -> Result<()> {
        let world = self.world;
        let (start, mut sent, mut blocked, mut draining) = (Instant::now(), 0, false, None);
        loop {
            if world.phase() != Phase::Load {
                let since = *draining.get_or_insert_with(Instant::now);
                match confirms.outstanding() {
                    0 => return Ok(()),
                    _ if since.elapsed() > LAST_CONFIRMS => return Err(Error::Timeout("the last confirms")),
                    _ => {}
                }
            }
            while draining.is_none()
                && !blocked
                && confirms.outstanding() < WINDOW
                && !confirms.is_full()
                && until_due(world, start, sent).is_zero()
            {
                let message = self.again.pop_front().unwrap_or_else(|| self.some_message(0));
                self.send(connection, channel, message);
                confirms.published(message);
                sent += 1;
            }
            connection.fill(TICK.min(until_due(world, start, sent)).max(Duration::from_millis(1)))?;
            while let Some(event) = connection.next()? {
                let violation = |error| Error::Protocol(format!("{error}"));
                match event {
                    Event::Ack { tag, multiple, .. } => {
                        confirms
                            .settle(tag, multiple, |_, message| self.confirmed(message))
                            .map_err(violation)?;
                    }
                    Event::Nack { tag, multiple, .. } => {
                        let refused = |(lane, sequence): Sent| {
                            world.lanes[lane].update(sequence, |item| item.refused = true);
                        };
                        confirms.settle(tag, multiple, |_, message| refused(message)).map_err(violation)?;
                    }
                    Event::Return { .. } => world.wrong(Wrong::Misrouted, || "returned".into()),
                    Event::Blocked { .. } => blocked = true,
                    Event::Unblocked => blocked = false,
                    Event::ChannelClosed { channel, code, text } => {
                        return Err(Error::ChannelClosed { channel, code, text: text.to_string() });
                    }
                    other => return Err(Error::Protocol(format!("at a producer: {other:?}"))),
                }
            }
        }
    }

    fn confirmed(&mut self, (lane, sequence): Sent) {
        self.world.lanes[lane].update(sequence, |item| item.confirmed = true);
        if self.kind == Kind::Dedup && self.random.random_ratio(1, AGAIN_ONE_IN) {
            self.again.push_back((lane, sequence));
        }
    }

    /// Publishes groups of messages, each in a transaction.
    fn transactions(&mut self, backoff: &mut Backoff) -> Result<()> {
        let world = self.world;
        let mut connection = Connection::open(&world.amqp_options(self.kind.name()))?;
        let _registered = world.sockets.register(connection.stream());
        let channel = connection.open_channel()?;
        connection.tx_select(channel)?;
        backoff.reset();
        let (start, mut sent) = (Instant::now(), 0);
        while world.phase() == Phase::Load {
            let wait = until_due(world, start, sent);
            if !wait.is_zero() {
                thread::sleep(wait.min(TICK));
                continue;
            }
            self.groups += 1;
            let mut group: Vec<Sent> = Vec::new();
            for _ in 0..TX_MESSAGES {
                // A transaction is whole within a shard, so it is about one queue.
                let message = match group.first() {
                    Some((lane, _)) => self.new_message(*lane, self.groups),
                    None => self.some_message(self.groups),
                };
                self.send(&mut connection, channel, message);
                group.push(message);
            }
            sent += TX_MESSAGES as u64;
            // One in a few is taken back, and must never be seen.
            if self.random.random_ratio(1, 8) {
                connection.tx_rollback(channel)?;
                for (lane, sequence) in group {
                    world.lanes[lane].update(sequence, |item| item.refused = true);
                }
                continue;
            }
            connection.tx_commit(channel)?;
            group.into_iter().for_each(|message| self.confirmed(message));
        }
        connection.close()
    }

    fn some_message(&mut self, group: u32) -> Sent {
        let lane = self.lanes[self.random.random_range(0..self.lanes.len())].0;
        self.new_message(lane, group)
    }

    fn new_message(&self, lane: usize, group: u32) -> Sent {
        let mut items = self.world.lanes[lane].items();
        items.push(Item { group, ..Item::default() });
        (lane, items.len() as u64 - 1)
    }

    fn send(&mut self, connection: &mut Connection, channel: u16, (number, sequence): Sent) {
        let world = self.world;
        let lane = &world.lanes[number];
        // Order is promised within a connection; of the same message again each copy has a number of its own.
        let mut epoch = self.connections;
        lane.update(sequence, |item| {
            if item.sends == 0 {
                item.sent_ms = now_ms();
            }
            item.sends += 1;
            if lane.kind == Kind::Dedup {
                epoch = item.sends;
            }
        });
        let identity = Identity { producer: number as u16, epoch, sequence };
        let body = payload::write(world.run, identity, self.random.random_range(0..BYTES_MAX));
        let properties = properties(lane.kind, sequence);
        let to = Publish { exchange: "", routing_key: &lane.queue, mandatory: true, properties: &properties };
        connection.publish(channel, &to, &body);
    }
}

fn properties(kind: Kind, sequence: u64) -> OwnedProperties {
    let delay = kind.delay_ms(sequence).map(|ms| FieldTable::new().with("x-delay", ms as i64));
    let key = kind.key(sequence).map(|key| FieldTable::new().with(KEY, key as i64));
    OwnedProperties {
        delivery_mode: Some(2),
        priority: kind.priority(sequence),
        message_id: (kind == Kind::Dedup).then(|| sequence.to_string().into_bytes()),
        headers: delay.or(key),
        ..OwnedProperties::default()
    }
}

fn until_due(world: &World, start: Instant, sent: u64) -> Duration {
    let rate = if world.config.rate == 0 { RATE_MAX } else { world.config.rate.min(RATE_MAX) };
    let due = start + Duration::from_secs_f64(sent as f64 / f64::from(rate));
    due.saturating_duration_since(Instant::now())
}
