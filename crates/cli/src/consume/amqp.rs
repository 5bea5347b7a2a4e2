//! Consuming over AMQP.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bowline_client::address::AmqpAddress;
use bowline_client::amqp::codec::{FieldTable, FieldValue};
use bowline_client::amqp::{ConnectOptions, Connection, Consume, Event, Queue};
use bowline_client::interrupt::Interrupt;
use serde_json::{Map, json};

use super::output::Output;
use super::{Args, From};
use crate::json::properties;
use crate::pace::Pace;
use crate::queue;

/// Longest wait before looking whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);

pub fn consume(
    address: &AmqpAddress,
    args: &Args,
    output: &mut Output,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let kafka_only = args.topic.is_some() || args.partition.is_some() || args.group.is_some();
    ensure!(!kafka_only, "--topic, --partition and --group are for kafka://; say --queue");
    if args.count == Some(0) {
        return Ok(());
    }
    let options = ConnectOptions {
        timeout: args.timeout,
        name: "bowline consume".into(),
        ..ConnectOptions::new(address.clone())
    };
    let mut connection = Connection::open(&options)?;
    let (channel, queue) = find_queue(&mut connection, args)?;
    let prefetch = prefetch(args);
    if !args.auto_ack {
        connection.qos(channel, prefetch)?;
    }
    let mut arguments = FieldTable::new();
    if let Some(from) = args.from {
        let offset = match from {
            From::Earliest => FieldValue::from("first"),
            From::Latest => FieldValue::from("next"),
            From::Offset(offset) => FieldValue::from(offset),
        };
        arguments.push("x-stream-offset", offset);
    }
    let consumer = Consume { queue: &queue, no_ack: args.auto_ack, arguments, ..Consume::default() };
    let tag = connection.consume(channel, &consumer)?;
    let mut settler = Settler::new(args, channel, prefetch);
    let outcome = receive(&mut connection, args, output, interrupt, &mut settler);
    output.flush()?;
    outcome?;
    connection.cancel(channel, &tag)?;
    settler.finish(&mut connection);
    // Without the handshake, an ack that was just written might be lost with the connection.
    connection.close()?;
    Ok(())
}

fn find_queue(connection: &mut Connection, args: &Args) -> anyhow::Result<(u16, String)> {
    if let Some(name) = &args.queue {
        return Ok((queue::open_channel(connection, name, !args.no_create)?, name.clone()));
    }
    let Some(exchange) = &args.exchange else {
        bail!("from where? --queue NAME, or --exchange NAME --key KEY")
    };
    let channel = connection.open_channel()?;
    let own = Queue { exclusive: true, auto_delete: true, ..Queue::default() };
    let name = connection.declare_queue(channel, &own)?.name;
    let key = args.key.as_deref().unwrap_or_default();
    connection.bind_queue(channel, &name, exchange, key, &FieldTable::new())?;
    Ok((channel, name))
}

/// What is given back in the end must all fit into the prefetch.
fn prefetch(args: &Args) -> u16 {
    let wanted = if args.requeue { u16::MAX } else { args.prefetch.max(1) };
    args.count.map_or(wanted, |count| wanted.min(u16::try_from(count).unwrap_or(u16::MAX)))
}

fn receive(
    connection: &mut Connection,
    args: &Args,
    output: &mut Output,
    interrupt: &Interrupt,
    settler: &mut Settler,
) -> anyhow::Result<()> {
    let mut pace = Pace::new(args.rate);
    let mut last = Instant::now();
    while !interrupt.is_set() {
        let came = connection.fill(TICK)?;
        while let Some(event) = connection.next()? {
            match event {
                Event::Deliver { method, content, .. } => {
                    output.message(content.body, || {
                        let mut about = Map::new();
                        about.insert("exchange".into(), json!(method.exchange.to_string()));
                        about.insert("routing_key".into(), json!(method.routing_key.to_string()));
                        about.insert("redelivered".into(), json!(method.redelivered));
                        about.extend(properties(&content.properties.to_owned()));
                        about
                    })?;
                    settler.delivered(method.delivery_tag);
                }
                Event::Cancel { .. } => bail!("the broker ended the consumer: was the queue deleted?"),
                Event::ChannelClosed { code, text, .. } => bail!("refused by the broker: {code} {text}"),
                Event::Blocked { .. } | Event::Unblocked => continue,
                other => bail!("unexpected: {other:?}"),
            }
            if args.count.is_some_and(|count| output.received() >= count) {
                return Ok(());
            }
            let wait = pace.take();
            if !wait.is_zero() {
                output.flush()?;
                settler.settle(connection);
                connection.flush()?;
                std::thread::sleep(wait);
            }
        }
        if came {
            last = Instant::now();
            output.flush()?;
            settler.settle(connection);
        } else if args.idle_limit().is_some_and(|idle| last.elapsed() >= idle) {
            return Ok(());
        }
    }
    Ok(())
}

/// Settles what was delivered and written out. With a count, it holds back acks that would make the broker send
/// more than is wanted: what is sent too much would come back to others flagged as redelivered.
struct Settler {
    channel: u16,
    mode: Mode,
    prefetch: u64,
    count: Option<u64>,
    delivered: u64,
    settled: u64,
    last_tag: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Ack,
    Requeue,
    Reject,
    Automatic,
}

impl Settler {
    fn new(args: &Args, channel: u16, prefetch: u16) -> Settler {
        let mode = match args {
            Args { requeue: true, .. } => Mode::Requeue,
            Args { reject: true, .. } => Mode::Reject,
            Args { auto_ack: true, .. } => Mode::Automatic,
            _ => Mode::Ack,
        };
        Settler {
            channel,
            mode,
            prefetch: prefetch.into(),
            count: args.count,
            delivered: 0,
            settled: 0,
            last_tag: 0,
        }
    }

    fn delivered(&mut self, tag: u64) {
        self.delivered += 1;
        self.last_tag = tag;
    }

    fn settle(&mut self, connection: &mut Connection) {
        let up_to = self.count.map_or(u64::MAX, |count| count.saturating_sub(self.prefetch));
        if self.mode != Mode::Requeue {
            self.settle_up_to(connection, up_to);
        }
    }

    fn finish(&mut self, connection: &mut Connection) {
        self.settle_up_to(connection, u64::MAX);
    }

    /// Settles the first `count` deliveries of all. Delivery tags of a channel are consecutive.
    fn settle_up_to(&mut self, connection: &mut Connection, count: u64) {
        let count = count.min(self.delivered);
        if count <= self.settled {
            return;
        }
        let tag = self.last_tag - (self.delivered - count);
        match self.mode {
            Mode::Ack => connection.ack(self.channel, tag, true),
            Mode::Requeue => connection.nack(self.channel, tag, true, true),
            Mode::Reject => connection.nack(self.channel, tag, true, false),
            Mode::Automatic => {}
        }
        self.settled = count;
    }
}
