//! `bowline redrive`.
//!
//! The broker moves a message when it is acknowledged, so nothing can be lost here: what the command does not want, it
//! holds by its delivery tag alone until the end, and when the connection ends, however it does, the broker has it
//! back in its place.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use bowline_client::Address;
use bowline_client::amqp::codec::methods::BasicDeliver;
use bowline_client::amqp::codec::{FieldTable, FieldValue, OwnedProperties};
use bowline_client::amqp::{Connection, Consume, Event, Queue};
use bowline_client::interrupt::Interrupt;
use bowline_client::units::{grouped, parse_duration};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::bowline;
use crate::pace::{Pace, parse_rate};

const EXAMPLES: &str = "\
Examples:
  bowline redrive amqp://localhost -q dead                         all go back to the queues in which they died
  bowline redrive amqp://localhost -q dead --dry-run               how many would?
  bowline redrive amqp://localhost -q dead --count 10 --rate 1     ten, one a second
  bowline redrive amqp://localhost -q dead --where reason=expired --where tenant=acme
  bowline redrive amqp://localhost -q dead --where source=orders --where routing-key=eu.new
  bowline redrive amqp://localhost -q dead --to queue:by-hand      elsewhere
  bowline redrive amqp://localhost -q dead --to exchange:events    through an exchange, with the original keys

A message is moved at once and for good, or not at all: Ctrl-C, a lost connection or a crash lose and double nothing.
It begins anew (no x-death, no delivery count, no expiration); header x-redrive-count tells how often. What does not
match, and what has no place to go, stays where it is. Messages that come into the queue meanwhile are left alone.";

/// Move messages out of a dead-letter queue, back to where they died or elsewhere.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// amqp://user:password@host:port/vhost
    #[arg(env = "BOWLINE_URL")]
    pub url: Address,
    /// The queue to move messages out of.
    #[arg(long, short)]
    pub queue: String,
    /// source (the queue in which a message died last), queue:NAME or exchange:NAME.
    #[arg(long, value_name = "PLACE", default_value = "source")]
    pub to: String,
    /// Only messages of which this is true; all of it if given several times. `reason`, `source` (queue), `routing-key`
    /// and `exchange` are those of the last death, `type`, `message-id`, `correlation-id`, `app-id` and `user-id`
    /// properties; any other name is a header's, and header:NAME one in any case.
    #[arg(long = "where", value_name = "NAME=VALUE", value_parser = parse_condition)]
    pub conditions: Vec<Condition>,
    /// At most so many a second.
    #[arg(long, value_parser = parse_rate, value_name = "N")]
    pub rate: Option<f64>,
    /// Move so many.
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
    /// Move nothing: say how many would be.
    #[arg(long)]
    pub dry_run: bool,
    /// The summary as a JSON document.
    #[arg(long)]
    pub json: bool,
    /// Give up when the broker does not answer for so long.
    #[arg(long, value_parser = parse_duration, default_value = "30s", value_name = "TIME")]
    pub timeout: Duration,
}

/// `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    name: String,
    value: String,
}

/// Longest wait before looking whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);
/// Nothing has come for so long though the queue had more: others have taken it.
const IDLE: Duration = Duration::from_secs(2);
/// Messages that may be on their way to us while we can take all of them.
const PREFETCH: u16 = 1000;

/// What has become of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    seen: u64,
    matched: u64,
    acked: u64,
    /// They have no place to go.
    failed: u64,
}

impl Counts {
    fn moved(&self) -> u64 {
        self.acked - self.failed.min(self.acked)
    }

    fn left(&self) -> u64 {
        self.seen - self.acked
    }
}

/// Runs `bowline redrive`.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Address::Amqp(address) = &args.url else { bail!("only amqp:// has queues to redrive") };
    let interrupt = Interrupt::catch();
    let mut connection = bowline::connect(address, "redrive", args.timeout)?;
    let channel = connection.open_channel()?;
    let there = depth(&mut connection, channel, &args.queue)?;
    let style = ProgressStyle::with_template("[{bar:30}] {human_pos}/{human_len} {msg} {per_sec} {eta}");
    let progress = match io::stderr().is_terminal() {
        true => ProgressBar::new(args.count.map_or(there, |count| there.min(count))),
        false => ProgressBar::hidden(),
    };
    progress.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));

    let mut counts = Counts::default();
    let outcome = match args.dry_run {
        true => look(&mut connection, channel, &args, &interrupt, &mut counts),
        false => drive(&mut connection, channel, (&args, there), &interrupt, &mut counts, &progress),
    };
    progress.finish_and_clear();
    report(&args, &counts);
    outcome?;
    // Without the handshake, an ack that was just written might be lost with the connection.
    connection.close()?;
    Ok(if counts.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(args: &Args, counts: &Counts) {
    let Counts { matched, failed, .. } = *counts;
    let moved = counts.moved();
    let left = if args.dry_run { counts.seen - matched } else { counts.left() };
    if args.json {
        println!("{}", json!({ "matched": matched, "moved": moved, "left": left, "failed": failed }));
        return;
    }
    let n = |count: u64| grouped(count as f64);
    let seen = n(counts.seen);
    match args.dry_run {
        true => eprintln!("{} of {seen} would be moved", n(matched)),
        false => {
            eprintln!("{} of {seen} moved, {} left, {} without a place to go", n(moved), n(left), n(failed))
        }
    }
}

fn depth(connection: &mut Connection, channel: u16, queue: &str) -> anyhow::Result<u64> {
    let look = Queue { name: queue, passive: true, ..Queue::default() };
    Ok(connection.declare_queue(channel, &look)?.messages.into())
}

/// Looks at the messages and counts those that match.
fn look(
    connection: &mut Connection,
    channel: u16,
    args: &Args,
    interrupt: &Interrupt,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let arguments = FieldTable::new().with("x-peek", true);
    let consumer = Consume { queue: &args.queue, no_ack: true, arguments, ..Consume::default() };
    connection.consume(channel, &consumer)?;
    while !interrupt.is_set() {
        connection.fill(TICK)?;
        while let Some(event) = connection.next()? {
            match event {
                Event::Deliver { method, content, .. } => {
                    counts.seen += 1;
                    let wanted = args.count.is_none_or(|count| counts.matched < count);
                    let matches = args.match_all(&method, &content.properties.to_owned());
                    counts.matched += u64::from(wanted && matches);
                }
                Event::Cancel { .. } => return Ok(()),
                Event::ChannelClosed { code, text, .. } => bail!("refused by the broker: {code} {text}"),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Acks what matches, as fast as is wanted. `there`: so many messages are looked at, lest what comes back dead is moved
/// again and again.
fn drive(
    connection: &mut Connection,
    channel: u16,
    (args, there): (&Args, u64),
    interrupt: &Interrupt,
    counts: &mut Counts,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    if there == 0 || args.count == Some(0) {
        return Ok(());
    }
    // What does not match is held, so that the broker shows what lies behind it.
    let prefetch = match args.count {
        _ if !args.conditions.is_empty() => 0,
        Some(count) => PREFETCH.min(u16::try_from(count).unwrap_or(u16::MAX)),
        None => PREFETCH,
    };
    connection.qos(channel, prefetch)?;
    let arguments = FieldTable::new().with("x-redrive", args.to.as_str());
    let tag =
        connection.consume(channel, &Consume { queue: &args.queue, arguments, ..Consume::default() })?;
    let mut pace = Pace::new(args.rate);
    // When the next ack is due, if one waits.
    let mut due = Instant::now();
    let mut waiting = VecDeque::new();
    let mut last = Instant::now();
    loop {
        while let Some(tag) = waiting.front().copied() {
            if Instant::now() < due || interrupt.is_set() {
                break;
            }
            connection.ack(channel, tag, false);
            waiting.pop_front();
            counts.acked += 1;
            due = Instant::now() + pace.take();
        }
        progress.set_position(counts.acked);
        progress.set_message(format!("{} without a place", counts.failed));
        let enough = counts.seen >= there || args.count.is_some_and(|count| counts.matched >= count);
        if interrupt.is_set() || waiting.is_empty() && (enough || last.elapsed() >= IDLE) {
            break;
        }
        let tick = match waiting.is_empty() {
            true => TICK,
            false => due.saturating_duration_since(Instant::now()).min(TICK),
        };
        connection.fill(tick)?;
        while let Some(event) = connection.next()? {
            match event {
                Event::Deliver { method, content, .. } => {
                    last = Instant::now();
                    let enough =
                        counts.seen >= there || args.count.is_some_and(|count| counts.matched >= count);
                    if enough {
                        continue;
                    }
                    counts.seen += 1;
                    if args.match_all(&method, &content.properties.to_owned()) {
                        counts.matched += 1;
                        waiting.push_back(method.delivery_tag);
                    }
                }
                Event::Return { .. } => counts.failed += 1,
                Event::Cancel { .. } => bail!("the broker ended the consumer: was the queue deleted?"),
                Event::ChannelClosed { code, text, .. } => bail!("refused by the broker: {code} {text}"),
                Event::Blocked { .. } | Event::Unblocked => {}
                other => bail!("unexpected: {other:?}"),
            }
        }
    }
    // The shard has carried out what it was asked before when it has answered twice: what has no place is told then.
    for _ in 0..2 {
        depth(connection, channel, &args.queue)?;
        count_returns(connection, counts)?;
    }
    connection.cancel(channel, &tag)?;
    count_returns(connection, counts)
}

fn count_returns(connection: &mut Connection, counts: &mut Counts) -> anyhow::Result<()> {
    connection.fill(Duration::ZERO)?;
    while let Some(event) = connection.next()? {
        counts.failed += u64::from(matches!(event, Event::Return { .. }));
    }
    Ok(())
}

impl Args {
    fn match_all(&self, method: &BasicDeliver<'_>, properties: &OwnedProperties) -> bool {
        self.conditions.iter().all(|condition| condition.holds(method, properties))
    }
}

impl Condition {
    fn holds(&self, method: &BasicDeliver<'_>, properties: &OwnedProperties) -> bool {
        let Condition { name, value } = self;
        let same = |found: &Option<Vec<u8>>| found.as_deref() == Some(value.as_bytes());
        let death = last_death(properties);
        let died = |name: &str| death.and_then(|death| death.get(name)).and_then(text);
        match name.as_str() {
            "reason" => died("reason").as_ref() == Some(value),
            "source" => died("queue").as_ref() == Some(value),
            "exchange" => died("exchange").unwrap_or_else(|| method.exchange.to_string()) == *value,
            "routing-key" => match death.and_then(|death| death.get("routing-keys")) {
                Some(FieldValue::Array(keys)) => keys.iter().any(|key| text(key).as_ref() == Some(value)),
                _ => method.routing_key.as_bytes() == value.as_bytes(),
            },
            "type" => same(&properties.message_type),
            "message-id" => same(&properties.message_id),
            "correlation-id" => same(&properties.correlation_id),
            "app-id" => same(&properties.app_id),
            "user-id" => same(&properties.user_id),
            header => {
                let header = header.strip_prefix("header:").unwrap_or(header);
                let found = properties.headers.as_ref().and_then(|headers| headers.get(header));
                found.and_then(text).as_ref() == Some(value)
            }
        }
    }
}

fn last_death(properties: &OwnedProperties) -> Option<&FieldTable> {
    match properties.headers.as_ref()?.get("x-death")? {
        FieldValue::Array(deaths) => match deaths.first()? {
            FieldValue::Table(death) => Some(death),
            _ => None,
        },
        _ => None,
    }
}

/// Text, numbers and truth as one writes them.
fn text(value: &FieldValue) -> Option<String> {
    Some(match value {
        FieldValue::LongStr(bytes) | FieldValue::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        FieldValue::Bool(value) => value.to_string(),
        FieldValue::I8(n) => n.to_string(),
        FieldValue::U8(n) => n.to_string(),
        FieldValue::I16(n) => n.to_string(),
        FieldValue::U16(n) => n.to_string(),
        FieldValue::I32(n) => n.to_string(),
        FieldValue::U32(n) => n.to_string(),
        FieldValue::I64(n) => n.to_string(),
        FieldValue::F32(x) => x.to_string(),
        FieldValue::F64(x) => x.to_string(),
        FieldValue::Timestamp(seconds) => seconds.to_string(),
        _ => return None,
    })
}

fn parse_condition(text: &str) -> Result<Condition, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Condition { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("a condition is NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_client::amqp::codec::ShortStr;

    fn holds(condition: &str, properties: &OwnedProperties) -> bool {
        let key = ShortStr::truncated("now");
        let method = BasicDeliver {
            consumer_tag: ShortStr::truncated("t"),
            delivery_tag: 1,
            redelivered: false,
            exchange: ShortStr::truncated("dlx"),
            routing_key: key,
        };
        parse_condition(condition).unwrap().holds(&method, properties)
    }

    #[test]
    fn conditions_are_about_the_last_death_properties_and_headers() {
        let keys = vec![FieldValue::from("k1"), FieldValue::from("k2")];
        let death = FieldTable::new()
            .with("reason", "expired")
            .with("queue", "orders")
            .with("exchange", "x")
            .with("routing-keys", FieldValue::Array(keys));
        let older = FieldTable::new().with("reason", "rejected").with("queue", "first");
        let deaths = vec![FieldValue::Table(death), FieldValue::Table(older)];
        let headers = FieldTable::new()
            .with("x-death", FieldValue::Array(deaths))
            .with("tenant", "acme")
            .with("n", 7_i64)
            .with("type", "of header");
        let died = OwnedProperties {
            headers: Some(headers),
            message_type: Some(b"order".to_vec()),
            ..OwnedProperties::default()
        };
        let yes = [
            "reason=expired",
            "source=orders",
            "exchange=x",
            "routing-key=k2",
            "tenant=acme",
            "n=7",
            "type=order",
            "header:type=of header",
        ];
        let no =
            ["reason=rejected", "source=first", "routing-key=now", "tenant=", "m=7", "message-id=1", "type="];
        assert!(yes.iter().all(|condition| holds(condition, &died)));
        assert!(no.iter().all(|condition| !holds(condition, &died)));
        let alive = OwnedProperties::default();
        assert!(holds("routing-key=now", &alive) && holds("exchange=dlx", &alive));
        assert!(!holds("reason=expired", &alive) && !holds("source=", &alive));
    }

    #[test]
    fn a_condition_has_a_name() {
        assert!(parse_condition("=x").is_err() && parse_condition("x").is_err());
        let odd = parse_condition("a=b=c").unwrap();
        assert_eq!((odd.name.as_str(), odd.value.as_str()), ("a", "b=c"));
    }
}
