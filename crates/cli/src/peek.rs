//! `bowline peek`.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};
use bowline_client::Address;
use bowline_client::amqp::codec::{FieldTable, FieldValue, OwnedProperties};
use bowline_client::amqp::{Consume, Content, Event};
use bowline_client::interrupt::Interrupt;
use bowline_client::units::parse_duration;
use serde_json::{Map, Value, json};

use crate::bowline;
use crate::json::{properties, put_bytes};

const EXAMPLES: &str = "\
Examples:
  bowline peek amqp://localhost -q orders                  the first ten messages, with properties and headers
  bowline peek amqp://localhost -q orders --count 3 --json as JSON, one line a message
  bowline peek amqp://localhost -q orders --from 1000      from the thousand-first on
  bowline peek amqp://localhost -q orders --all --json | jq .message_id
  bowline peek amqp://localhost -q orders --state unacked  what consumers hold
  bowline peek amqp://localhost -q orders --state delayed  what waits for its time

Nothing is taken, marked or delayed by it, and no consumer notices: what is shown lay in the queue when the command
came.";

/// Look at what lies in a queue, without taking any of it.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// amqp://user:password@host:port/vhost
    #[arg(env = "BOWLINE_URL")]
    pub url: Address,
    /// The queue to look into.
    #[arg(long, short)]
    pub queue: String,
    /// Pass over so many messages first.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub from: u32,
    /// Show so many messages.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    pub count: u32,
    /// Show all.
    #[arg(long, conflicts_with = "count")]
    pub all: bool,
    /// Which messages: those that consumers would get next, those that they hold, those that wait for a time, or all.
    #[arg(long, value_name = "STATE", default_value = "ready", value_parser = ["ready", "unacked", "delayed", "all"])]
    pub state: String,
    /// One JSON document a message, with everything that is known about it.
    #[arg(long)]
    pub json: bool,
    /// Give up when the broker does not answer for so long.
    #[arg(long, value_parser = parse_duration, default_value = "30s", value_name = "TIME")]
    pub timeout: Duration,
}

/// Longest wait before looking whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);

/// Runs `bowline peek`.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Address::Amqp(address) = &args.url else { bail!("only amqp:// has queues to look into") };
    let interrupt = Interrupt::catch();
    let mut connection = bowline::connect(address, "peek", args.timeout)?;
    let channel = connection.open_channel()?;
    let mut arguments = FieldTable::new().with("x-peek", true).with("x-peek-state", args.state.as_str());
    arguments.push("x-peek-from", i64::from(args.from));
    if !args.all {
        arguments.push("x-peek-count", i64::from(args.count));
    }
    let consumer = Consume { queue: &args.queue, no_ack: true, arguments, ..Consume::default() };
    connection.consume(channel, &consumer)?;
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout());
    let mut shown = 0_u64;
    'all: while !interrupt.is_set() {
        connection.fill(TICK)?;
        while let Some(event) = connection.next()? {
            match event {
                Event::Deliver { method, content, .. } => {
                    shown += 1;
                    let about = About {
                        exchange: method.exchange.to_string(),
                        routing_key: method.routing_key.to_string(),
                        redelivered: method.redelivered,
                    };
                    let written = match args.json {
                        true => write_json(&mut out, about, &content),
                        false => write_text(&mut out, &about, &content),
                    };
                    match written {
                        // Whoever reads has seen enough.
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                            return Ok(ExitCode::SUCCESS);
                        }
                        written => written?,
                    }
                }
                Event::Cancel { .. } => break 'all,
                Event::ChannelClosed { code, text, .. } => bail!("refused by the broker: {code} {text}"),
                Event::Blocked { .. } | Event::Unblocked => {}
                other => bail!("unexpected: {other:?}"),
            }
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    if shown == 0 && !args.json {
        eprintln!("nothing there");
    }
    ensure!(connection.close().is_ok() || shown > 0, "the connection ended early");
    Ok(ExitCode::SUCCESS)
}

struct About {
    exchange: String,
    routing_key: String,
    redelivered: bool,
}

/// The broker's own headers, taken out of the message's.
fn take_ours(owned: &mut OwnedProperties) -> (Option<i64>, String) {
    let mut headers = FieldTable::new();
    let (mut number, mut state) = (None, String::new());
    for (name, value) in owned.headers.iter().flat_map(FieldTable::iter) {
        match (name, value) {
            (b"x-peek-number", FieldValue::I64(found)) => number = Some(*found),
            (b"x-peek-state", FieldValue::LongStr(found)) => {
                state = String::from_utf8_lossy(found).into_owned()
            }
            _ => headers.push_bytes(name, value.clone()),
        }
    }
    owned.headers = (!headers.is_empty()).then_some(headers);
    (number, state)
}

fn write_json(out: &mut impl Write, about: About, content: &Content<'_>) -> io::Result<()> {
    let mut owned = content.properties.to_owned();
    let (number, state) = take_ours(&mut owned);
    let mut document = Map::new();
    document.insert("number".into(), json!(number));
    document.insert("state".into(), json!(state));
    document.insert("exchange".into(), json!(about.exchange));
    document.insert("routing_key".into(), json!(about.routing_key));
    document.insert("redelivered".into(), json!(about.redelivered));
    document.extend(properties(&owned));
    put_bytes(&mut document, "body", content.body);
    serde_json::to_writer(&mut *out, &Value::Object(document))?;
    out.write_all(b"\n")
}

/// A line that says which message, a line for each property and header, the body, and an empty line.
fn write_text(out: &mut impl Write, about: &About, content: &Content<'_>) -> io::Result<()> {
    let mut owned = content.properties.to_owned();
    let (number, state) = take_ours(&mut owned);
    match number {
        Some(number) => write!(out, "#{number}")?,
        None => write!(out, "# (in memory)")?,
    }
    let exchange = if about.exchange.is_empty() { "(default)" } else { &about.exchange };
    write!(out, "  {state}  exchange {exchange}  routing key {:?}", about.routing_key)?;
    writeln!(out, "{}", if about.redelivered { "  redelivered" } else { "" })?;
    for (name, value) in properties(&owned) {
        match value {
            Value::Object(headers) => {
                for (name, value) in headers {
                    writeln!(out, "  header {name}: {}", plain(&value))?;
                }
            }
            value => writeln!(out, "  {}: {}", name.replace('_', "-"), plain(&value))?,
        }
    }
    match std::str::from_utf8(content.body) {
        Ok("") => writeln!(out, "  (no body)\n"),
        Ok(text) => writeln!(out, "{text}\n"),
        Err(_) => writeln!(out, "  ({} bytes that are no text; --json shows them)\n", content.body.len()),
    }
}

/// Text without quotes, all else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
