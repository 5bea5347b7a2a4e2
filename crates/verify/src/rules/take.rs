//! Consumers of queues with rules, and of the queues behind them.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use bowline_client::Error;
use bowline_client::amqp::codec::{OwnedProperties, Properties, Value};
use bowline_client::amqp::{Connection, Consume, Event, Publish};
use bowline_client::retry::Backoff;

use super::{Kind, Lane, PRIORITY_MAX, RETRY_MS, TTL_MS, now_ms};
use crate::payload::{self, Flaw, Identity};
use crate::world::{Phase, World, Wrong};

const TICK: Duration = Duration::from_millis(20);
const RECONNECT_CEILING: Duration = Duration::from_millis(20);
/// Work on a message, where queues are to fill up: less is taken than comes.
const SLOW: Duration = Duration::from_millis(12);
/// Messages of one transaction of a consumer.
const TX_MESSAGES: usize = 8;
const PREFETCH: u16 = 16;

type Result<T> = std::result::Result<T, Error>;

/// Which queues a consumer takes from.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// Those of one kind.
    Lanes(Kind),
    /// The second ones that are emptied during the attacks, or the others.
    Seconds { live: bool },
}

/// Consumes until everything stops. What is kept for later is taken from when the attacks are over.
pub fn run(world: &World, from: From) {
    let mut backoff = Backoff::new(RECONNECT_CEILING);
    while world.phase() < Phase::Stop {
        if matches!(from, From::Seconds { live: false }) && world.phase() == Phase::Load {
            thread::sleep(TICK);
            continue;
        }
        match session(world, from, &mut backoff) {
            Ok(()) => {}
            Err(error) => {
                world.failed(&format!("consumer of {from:?}"), &error);
                thread::sleep(backoff.step());
            }
        }
    }
}

struct Taker<'a> {
    world: &'a World,
    from: From,
    life: u64,
    /// The load is over: nothing comes but what is there. Lanes' least priorities so far, then.
    is_last: bool,
    least: Vec<u8>,
    /// By lane and key: what came last for the first time, of each connection of the producer; and what was given back
    /// and is the next.
    last: HashMap<(usize, u64, u16), u64>,
    next: HashMap<(usize, u64), u64>,
    /// What the open transaction has acknowledged.
    open: Vec<(usize, u64)>,
}

fn session(world: &World, from: From, backoff: &mut Backoff) -> Result<()> {
    let life = world.life();
    let is_last = world.phase() > Phase::Load;
    let mut connection = Connection::open(&world.amqp_options("taker"))?;
    let _registered = world.sockets.register(connection.stream());
    if world.life() != life {
        return Ok(());
    }
    let channel = connection.open_channel()?;
    connection.qos(channel, PREFETCH)?;
    let is_tx = matches!(from, From::Lanes(Kind::Tx));
    if is_tx {
        connection.tx_select(channel)?;
    }
    for (number, lane) in world.lanes.iter().enumerate() {
        let queue = match from {
            From::Lanes(kind) if lane.kind == kind => Some(&lane.queue),
            From::Seconds { live } if lane.is_live == live => lane.second.as_ref(),
            _ => None,
        };
        if let Some(queue) = queue {
            let consumer_tag = &number.to_string();
            connection.consume(channel, &Consume { queue, consumer_tag, ..Consume::default() })?;
        }
    }
    backoff.reset();
    let least = vec![PRIORITY_MAX; world.lanes.len()];
    let (last, next) = (HashMap::new(), HashMap::new());
    let mut taker = Taker { world, from, life, is_last, least, last, next, open: Vec::new() };
    let mut waiting = Vec::new();
    loop {
        if world.phase() == Phase::Stop || (world.phase() > Phase::Load && !is_last) {
            taker.commit(&mut connection, channel)?;
            return connection.close();
        }
        let came = connection.fill(TICK)?;
        while let Some(event) = connection.next()? {
            match event {
                Event::Deliver { method, content, .. } => {
                    let number = method.consumer_tag.to_string().parse().ok();
                    let lane = number.filter(|number: &usize| *number < world.lanes.len());
                    let Some(lane) = lane else { return Err(Error::Protocol("an unknown consumer".into())) };
                    let identity = taker.check(lane, content.body, &content.properties);
                    let key = |id: &Identity| world.lanes[lane].kind.key(id.sequence);
                    if let Some(key_here) = identity.as_ref().and_then(key) {
                        let is_out = |(other, _, _, id): &(usize, u64, bool, Option<Identity>)| {
                            *other == lane && id.as_ref().and_then(key) == Some(key_here)
                        };
                        if waiting.iter().any(is_out) {
                            world.wrong(Wrong::Reordered, || "two messages of one key at a time".into());
                        }
                    }
                    waiting.push((lane, method.delivery_tag, method.redelivered, identity));
                }
                Event::ChannelClosed { channel, code, text } => {
                    return Err(Error::ChannelClosed { channel, code, text: text.to_string() });
                }
                Event::Cancel { .. } => return Err(Error::Protocol("consumer cancelled".into())),
                Event::Blocked { .. } | Event::Unblocked => {}
                other => return Err(Error::Protocol(format!("at a consumer: {other:?}"))),
            }
        }
        for (lane, tag, redelivered, identity) in waiting.drain(..) {
            world.deliveries.fetch_add(1, Ordering::Relaxed);
            match identity {
                Some(identity) => taker.took(&mut connection, channel, (lane, tag, redelivered), identity),
                None => connection.ack(channel, tag, false),
            }
            if taker.open.len() >= TX_MESSAGES {
                taker.commit(&mut connection, channel)?;
            }
            if taker.is_slow() {
                connection.fill(Duration::ZERO)?;
                thread::sleep(SLOW);
            }
        }
        if !came {
            taker.commit(&mut connection, channel)?;
        }
    }
}

impl Taker<'_> {
    fn is_slow(&self) -> bool {
        let slow = [Kind::Ttl, Kind::Priority, Kind::RejectPublish, Kind::DropHead];
        !self.is_last && matches!(self.from, From::Lanes(kind) if slow.contains(&kind))
    }

    /// Who is it, is it whole, and does its history say what it should?
    fn check(&self, lane: usize, body: &[u8], properties: &Properties<'_>) -> Option<Identity> {
        let world = self.world;
        let identity = match payload::read(world.run, body) {
            Ok(identity) => identity,
            Err(Flaw::Foreign) => {
                world.note("a message of another run".into());
                return None;
            }
            Err(Flaw::Corrupt) => {
                world.wrong(Wrong::Corrupt, || format!("{} octets", body.len()));
                return None;
            }
        };
        let queue = &world.lanes[lane];
        if usize::from(identity.producer) != lane {
            world.wrong(Wrong::Misrouted, || format!("{identity:?} in {}", queue.queue));
            return None;
        }
        if let (From::Seconds { .. }, Some(reason)) = (self.from, queue.kind.reason()) {
            let found = last_death(properties);
            let expected = Some((queue.queue.clone(), reason.to_owned(), 1));
            if found != expected {
                world.wrong(Wrong::Altered, || format!("history of {identity:?}: {found:?}"));
            }
        }
        Some(identity)
    }

    /// `delivery`: its lane, its tag, and whether it is flagged redelivered.
    fn took(
        &mut self,
        connection: &mut Connection,
        channel: u16,
        (number, tag, redelivered): (usize, u64, bool),
        id: Identity,
    ) {
        let world = self.world;
        let lane = &world.lanes[number];
        let now = now_ms();
        let (sequence, epoch) = (id.sequence, id.epoch);
        if matches!(self.from, From::Seconds { .. }) {
            let is_known = lane.update(sequence, |item| {
                item.dead += 1;
                item.dead_first += u32::from(!redelivered);
                if lane.kind == Kind::Ttl && now < item.sent_ms + TTL_MS {
                    world.wrong(Wrong::Early, || format!("{} ms old and expired", now - item.sent_ms));
                }
            });
            if !is_known {
                world.wrong(Wrong::Invented, || format!("{id:?}"));
            }
            return connection.ack(channel, tag, false);
        }
        let fails = lane.kind == Kind::Retry && !sequence.is_multiple_of(3);
        let is_known = lane.update(sequence, |item| {
            if let Some(delay) = lane.kind.delay_ms(sequence)
                && now < item.sent_ms + delay
            {
                world.wrong(Wrong::Early, || format!("after {} of {delay} ms", now - item.sent_ms));
            }
            if let Some((failed, life)) = item.failed
                && life == self.life
                && now < failed + RETRY_MS[0] as u64
            {
                world.wrong(Wrong::Early, || format!("again {} ms after it failed", now - failed));
            }
            item.doubled |= *item.copy.get_or_insert(epoch) != epoch;
            if fails {
                item.failed = Some((now, self.life));
            } else if lane.kind != Kind::Tx {
                item.acked += 1;
            }
        });
        if !is_known {
            world.wrong(Wrong::Invented, || format!("{id:?}"));
        }
        if let Some(priority) = lane.kind.priority(sequence).filter(|_| self.is_last) {
            let least = &mut self.least[number];
            if priority > *least {
                let least = *least;
                world.wrong(Wrong::Reordered, || format!("priority {priority} after {least}"));
            }
            *least = (*least).min(priority);
        }
        if let Some(key) = lane.kind.key(sequence)
            && matches!(self.from, From::Lanes(_))
            && self.gives_back((number, key), id, redelivered)
        {
            lane.update(sequence, |item| item.acked -= 1);
            return connection.nack(channel, tag, false, true);
        }
        if fails {
            return connection.reject(channel, tag, true);
        }
        if lane.kind == Kind::Tx {
            self.forward(connection, channel, lane, id);
            self.open.push((number, sequence));
        }
        connection.ack(channel, tag, false);
    }

    /// A message with a key came: it is the one that was given back, or it follows the last. Some are given back.
    fn gives_back(&mut self, key: (usize, u64), id: Identity, redelivered: bool) -> bool {
        let (world, sequence) = (self.world, id.sequence);
        if let Some(next) = self.next.remove(&key).filter(|next| *next != sequence) {
            world.wrong(Wrong::Reordered, || format!("{sequence} where {next} was given back"));
        }
        if redelivered {
            return false;
        }
        if let Some(last) =
            self.last.insert((key.0, key.1, id.epoch), sequence).filter(|last| *last > sequence)
        {
            world.wrong(Wrong::Reordered, || format!("{sequence} after {last} of one key"));
        }
        let gives_back = sequence.is_multiple_of(10);
        if gives_back {
            self.next.insert(key, sequence);
        }
        gives_back
    }

    /// What a transaction makes of a message: in its second queue, when and only when it is acknowledged.
    fn forward(&self, connection: &mut Connection, channel: u16, lane: &Lane, id: Identity) {
        let Some(second) = &lane.second else { return };
        let properties = OwnedProperties { delivery_mode: Some(2), ..OwnedProperties::default() };
        let to = Publish { exchange: "", routing_key: second, mandatory: true, properties: &properties };
        connection.publish(channel, &to, &payload::write(self.world.run, id, 0));
    }

    fn commit(&mut self, connection: &mut Connection, channel: u16) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        connection.tx_commit(channel)?;
        for (lane, sequence) in self.open.drain(..) {
            self.world.lanes[lane].update(sequence, |item| item.acked += 1);
        }
        Ok(())
    }
}

/// Queue, reason and count of the last death.
fn last_death(properties: &Properties<'_>) -> Option<(String, String, i64)> {
    let Some(Value::Array(deaths)) = properties.headers()?.get("x-death") else { return None };
    let Some(Value::Table(death)) = deaths.iter().next() else { return None };
    let text = |name: &str| match death.get(name) {
        Some(Value::LongStr(text)) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    };
    Some((text("queue")?, text("reason")?, death.get("count")?.as_i64()?))
}
