//! Publishing over AMQP.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bowline_client::address::AmqpAddress;
use bowline_client::amqp::codec::{FieldTable, OwnedProperties};
use bowline_client::amqp::{Confirms, ConnectOptions, Connection, Event, Publish};
use bowline_client::interrupt::Interrupt;
use indicatif::ProgressBar;

use super::source::Source;
use super::{Args, Summary};
use crate::pace::Pace;
use crate::queue;

/// Unconfirmed messages at a time.
const WINDOW: usize = 1000;
/// Octets gathered before a write.
const WRITE_BYTES: usize = 64 << 10;

pub fn publish(
    address: &AmqpAddress,
    args: &Args,
    mut source: Source,
    interrupt: &Interrupt,
    progress: &ProgressBar,
) -> anyhow::Result<Summary> {
    ensure!(args.topic.is_none() && args.partition.is_none(), "--topic and --partition are for kafka://");
    let properties = properties(args)?;
    let options = ConnectOptions {
        timeout: args.timeout,
        name: "bowline publish".into(),
        // Nobody sends heartbeats while we wait for the next line of input.
        heartbeat: if source.is_live() { 0 } else { 30 },
        ..ConnectOptions::new(address.clone())
    };
    let mut connection = Connection::open(&options)?;
    let channel = match (&args.queue, &args.exchange) {
        (Some(name), _) => queue::open_channel(&mut connection, name, !args.no_create)?,
        (None, Some(_)) => connection.open_channel()?,
        (None, None) => bail!("where to? --queue NAME, or --exchange NAME --key KEY"),
    };
    // Returns precede confirms, so with mandatory messages confirms tell when all returns are in.
    let confirm = args.confirm || args.mandatory;
    if confirm {
        connection.confirm_select(channel)?;
    }
    let to = Publish {
        exchange: args.exchange.as_deref().unwrap_or_default(),
        routing_key: args.queue.as_deref().or(args.key.as_deref()).unwrap_or_default(),
        mandatory: args.mandatory,
        properties: &properties,
    };
    let mut state = State { connection, confirms: Confirms::new(WINDOW), summary: Summary::default() };
    let mut pace = Pace::new(args.rate);
    while !interrupt.is_set() {
        let Some(body) = source.next()? else { break };
        let due = Instant::now() + pace.take();
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() || interrupt.is_set() {
                break;
            }
            state.pump(wait)?;
        }
        state.connection.publish(channel, &to, &body);
        state.summary.published += 1;
        progress.inc(1);
        if confirm {
            state.confirms.published(());
        }
        if source.may_wait() || !pace.is_free() || state.connection.out().len() > WRITE_BYTES {
            state.pump(Duration::ZERO)?;
        }
        state.wait_for_confirms(args.timeout, |confirms| confirms.is_full())?;
    }
    state.wait_for_confirms(args.timeout, |confirms| confirms.outstanding() > 0)?;
    // The handshake shows that the broker has read everything, and carries its complaints.
    let State { connection, summary, .. } = state;
    connection.close()?;
    Ok(summary)
}

struct State {
    connection: Connection,
    confirms: Confirms<()>,
    summary: Summary,
}

impl State {
    fn wait_for_confirms(
        &mut self,
        timeout: Duration,
        busy: impl Fn(&Confirms<()>) -> bool,
    ) -> anyhow::Result<()> {
        while busy(&self.confirms) {
            if !self.pump(timeout)? {
                bail!("{} messages were not confirmed in time", self.confirms.outstanding());
            }
        }
        Ok(())
    }

    /// Writes, reads, and takes in what came. `false`: nothing came within `wait`.
    fn pump(&mut self, wait: Duration) -> anyhow::Result<bool> {
        let came = self.connection.fill(wait)?;
        while let Some(event) = self.connection.next()? {
            let summary = &mut self.summary;
            match event {
                Event::Ack { tag, multiple, .. } => {
                    self.confirms.settle(tag, multiple, |_, ()| summary.confirmed += 1)?;
                }
                Event::Nack { tag, multiple, .. } => {
                    self.confirms.settle(tag, multiple, |_, ()| summary.refused += 1)?;
                }
                Event::Return { method, .. } => {
                    summary.returned += 1;
                    eprintln!("returned: {} {}", method.reply_code, method.reply_text);
                }
                Event::ChannelClosed { code, text, .. } => bail!("refused by the broker: {code} {text}"),
                Event::Blocked { reason } => {
                    eprintln!("the broker takes no messages at the moment: {reason}")
                }
                Event::Unblocked => eprintln!("the broker takes messages again"),
                other => bail!("unexpected: {other:?}"),
            }
        }
        Ok(came)
    }
}

fn properties(args: &Args) -> anyhow::Result<OwnedProperties> {
    let mut properties = Publish::delivery_mode(!args.transient);
    for (name, value) in &args.properties {
        let text = Some(value.as_bytes().to_vec());
        match name.replace('_', "-").as_str() {
            "content-type" => properties.content_type = text,
            "content-encoding" => properties.content_encoding = text,
            "correlation-id" => properties.correlation_id = text,
            "reply-to" => properties.reply_to = text,
            "expiration" => properties.expiration = text,
            "message-id" => properties.message_id = text,
            "type" => properties.message_type = text,
            "user-id" => properties.user_id = text,
            "app-id" => properties.app_id = text,
            "timestamp" => properties.timestamp = Some(value.parse()?),
            "priority" => properties.priority = Some(value.parse()?),
            _ => bail!("there is no property {name:?}; headers are given with --header"),
        }
    }
    if !args.headers.is_empty() {
        let mut headers = FieldTable::new();
        for (name, value) in &args.headers {
            headers.push(name, value.as_str());
        }
        properties.headers = Some(headers);
    }
    Ok(properties)
}
