//! `bowline story`: what a queue's trace exchange told, read from the stream or queue that keeps it.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bowline_client::amqp::codec::{FieldTable, FieldValue};
use bowline_client::amqp::{Connection, Consume, Content, Event, Queue};
use bowline_client::interrupt::Interrupt;
use bowline_client::units::parse_duration;
use bowline_client::{Address, Error};
use serde_json::{Map, Value, json};

use crate::bowline;

const EXAMPLES: &str = "\
Examples:
  bowline story amqp://localhost --from story --message-id 4711        the life of a message
  bowline story amqp://localhost --from story --queue orders --number 3
  bowline story amqp://localhost --from story --queue orders           of all messages of a queue
  bowline story amqp://localhost --from story --follow                 as it happens (streams)
  bowline story amqp://localhost --from story --message-id 4711 --json one line an event

Tell a queue to tell its messages' stories, and keep them in a stream:
  queue `orders` with argument (or policy key) x-trace-exchange = story.x, stream `story` bound to exchange
  `story.x` (type topic) with the key orders.# or #

Reading takes nothing out of the stream or queue.";

/// Print what happened to messages of a queue that has a trace exchange.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// amqp://user:password@host:port/vhost
    #[arg(env = "BOWLINE_URL")]
    pub url: Address,
    /// The stream or queue that is bound to the trace exchange.
    #[arg(long, value_name = "STREAM_OR_QUEUE")]
    pub from: String,
    /// Only messages of this queue.
    #[arg(long, short)]
    pub queue: Option<String>,
    /// Only the message with this id, in whichever queue.
    #[arg(long, value_name = "ID")]
    pub message_id: Option<String>,
    /// Only messages with this correlation id.
    #[arg(long, value_name = "ID")]
    pub correlation_id: Option<String>,
    /// Only the message with this number in --queue.
    #[arg(long, value_name = "N", requires = "queue")]
    pub number: Option<i64>,
    /// Go on with what comes, until Ctrl-C.
    #[arg(long)]
    pub follow: bool,
    /// One JSON document an event.
    #[arg(long)]
    pub json: bool,
    /// Give up when the broker does not answer for so long.
    #[arg(long, value_parser = parse_duration, default_value = "30s", value_name = "TIME")]
    pub timeout: Duration,
}

/// Longest wait before looking whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);
/// A stream that says nothing for so long has no more to say for now.
const IDLE: Duration = Duration::from_secs(1);
const PREFETCH: u16 = 1000;
const PRECONDITION_FAILED: u16 = 406;

/// Runs `bowline story`.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Address::Amqp(address) = &args.url else { bail!("stories are read over amqp://") };
    let interrupt = Interrupt::catch();
    let mut connection = bowline::connect(address, "story", args.timeout)?;
    let mut reader = Reader { args: &args, known: BTreeSet::new(), events: Vec::new() };
    read(&mut connection, &interrupt, &mut reader)?;
    let told = reader.finish()?;
    if !told && !args.json {
        eprintln!("nothing is told of it there");
    }
    Ok(if told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(connection: &mut Connection, interrupt: &Interrupt, reader: &mut Reader<'_>) -> anyhow::Result<()> {
    let args = reader.args;
    let from = args.from.as_str();
    let mut channel = connection.open_channel()?;
    let look = Queue { name: from, passive: true, ..Queue::default() };
    let there: u64 = connection.declare_queue(channel, &look)?.messages.into();
    let peek = FieldTable::new().with("x-peek", true);
    let peeker = Consume { queue: from, no_ack: true, arguments: peek, ..Consume::default() };
    let is_stream = match connection.consume(channel, &peeker) {
        Ok(_) => false,
        Err(Error::ChannelClosed { code: PRECONDITION_FAILED, .. }) => true,
        Err(error) => return Err(error.into()),
    };
    ensure!(is_stream || !args.follow, "--follow needs a stream: a queue is only looked at");
    if is_stream {
        channel = connection.open_channel()?;
        connection.qos(channel, PREFETCH)?;
        let arguments = FieldTable::new().with("x-stream-offset", "first");
        connection.consume(channel, &Consume { queue: from, arguments, ..Consume::default() })?;
    }
    let (mut seen, mut last) = (0_u64, Instant::now());
    loop {
        let is_done = is_stream && !args.follow && (seen >= there || last.elapsed() >= IDLE);
        if interrupt.is_set() || is_done {
            return Ok(());
        }
        connection.fill(TICK)?;
        let mut ack = None;
        while let Some(event) = connection.next()? {
            match event {
                Event::Deliver { method, content, .. } => {
                    (seen, last) = (seen + 1, Instant::now());
                    ack = is_stream.then_some(method.delivery_tag);
                    reader.take(&content)?;
                }
                Event::Cancel { .. } => return Ok(()),
                Event::ChannelClosed { code, text, .. } => bail!("refused by the broker: {code} {text}"),
                Event::Blocked { .. } | Event::Unblocked => {}
                other => bail!("unexpected: {other:?}"),
            }
        }
        if let Some(tag) = ack {
            connection.ack(channel, tag, true);
        }
    }
}

/// One event.
struct Told {
    time: i64,
    fields: Map<String, Value>,
}

struct Reader<'a> {
    args: &'a Args,
    /// Queue and number of messages whose ids were wanted: later events may tell only the number.
    known: BTreeSet<(String, i64)>,
    events: Vec<Told>,
}

impl Reader<'_> {
    fn take(&mut self, content: &Content<'_>) -> anyhow::Result<()> {
        let owned = content.properties.to_owned();
        let Some(headers) = &owned.headers else { return Ok(()) };
        if headers.get("event").is_none() || !self.wants(headers) {
            return Ok(());
        }
        let fields: Map<String, Value> = headers
            .iter()
            .filter_map(|(name, value)| Some((String::from_utf8_lossy(name).into_owned(), plain(value)?)))
            .filter(|(name, _)| !name.starts_with("x-"))
            .collect();
        let told = Told { time: number(headers, "time").unwrap_or(0), fields };
        if self.args.follow {
            let mut out = io::stdout().lock();
            told.write(&mut out, self.args.json)?;
            out.flush()?;
        }
        self.events.push(told);
        if self.args.follow {
            // Only whether there were any is of interest.
            self.events.truncate(1);
        }
        Ok(())
    }

    fn wants(&mut self, headers: &FieldTable) -> bool {
        let args = self.args;
        let queue = text(headers, "queue").unwrap_or_default();
        if args.queue.as_ref().is_some_and(|wanted| *wanted != queue) {
            return false;
        }
        let first = number(headers, "number");
        let end = first.map(|first| first.saturating_add(number(headers, "count").unwrap_or(1)));
        if let Some(wanted) = args.number {
            return first.is_some_and(|first| first <= wanted) && end.is_some_and(|end| wanted < end);
        }
        if args.message_id.is_none() && args.correlation_id.is_none() {
            return true;
        }
        let is = |wanted: &Option<String>, name: &str| {
            wanted.as_ref().is_none_or(|wanted| text(headers, name).as_ref() == Some(wanted))
        };
        if is(&args.message_id, "message-id") && is(&args.correlation_id, "correlation-id") {
            if let Some(first) = first {
                self.known.insert((queue, first));
            }
            return true;
        }
        match first.zip(end) {
            Some((first, end)) => self.known.range((queue.clone(), first)..(queue, end)).next().is_some(),
            None => false,
        }
    }

    /// Prints what was found, in order. True if it was something.
    fn finish(mut self) -> anyhow::Result<bool> {
        if self.args.follow {
            return Ok(!self.events.is_empty());
        }
        // Shards tell their parts on their own.
        self.events.sort_by_key(|told| told.time);
        let mut out = BufWriter::new(io::stdout());
        for told in &self.events {
            told.write(&mut out, self.args.json)?;
        }
        out.flush()?;
        Ok(!self.events.is_empty())
    }
}

impl Told {
    fn write(&self, out: &mut impl Write, as_json: bool) -> io::Result<()> {
        if as_json {
            serde_json::to_writer(&mut *out, &self.fields)?;
            return out.write_all(b"\n");
        }
        let field = |name: &str| self.fields.get(name).map(shown);
        let number = field("number").map_or_else(String::new, |number| format!(" #{number}"));
        write!(out, "{}  {}{number}", clock(self.time), field("queue").unwrap_or_default())?;
        write!(out, "  {}", field("event").unwrap_or_default())?;
        const TOLD: [&str; 4] = ["queue", "number", "event", "time"];
        for (name, value) in self.fields.iter().filter(|(name, _)| !TOLD.contains(&name.as_str())) {
            write!(out, "  {name}={}", shown(value))?;
        }
        writeln!(out)
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn plain(value: &FieldValue) -> Option<Value> {
    Some(match value {
        FieldValue::LongStr(bytes) => json!(String::from_utf8_lossy(bytes)),
        FieldValue::I64(n) => json!(n),
        FieldValue::Bool(value) => json!(value),
        _ => return None,
    })
}

fn text(headers: &FieldTable, name: &str) -> Option<String> {
    match headers.get(name)? {
        FieldValue::LongStr(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

fn number(headers: &FieldTable, name: &str) -> Option<i64> {
    match headers.get(name)? {
        FieldValue::I64(n) => Some(*n),
        _ => None,
    }
}

/// Date and time in UTC, to the millisecond. Days to dates as in the proleptic Gregorian calendar, counted from March.
fn clock(ms: i64) -> String {
    let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (s, ms) = (in_day / 1000, in_day % 1000);
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}.{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks() {
        let known = [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400_001, "2000-02-29 00:00:00.001"),
            (1_709_251_199_999, "2024-02-29 23:59:59.999"),
            (4_102_444_800_000, "2100-01-01 00:00:00.000"),
        ];
        for (ms, expected) in known {
            assert_eq!(clock(ms), expected);
        }
    }
}
