//! `bowline consume`.

mod amqp;
mod kafka;
mod output;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bowline_client::Address;
use bowline_client::interrupt::Interrupt;
use bowline_client::units::{grouped, parse_duration};

use crate::pace::parse_rate;
use output::Output;

const EXAMPLES: &str = "\
Examples:
  bowline consume amqp://localhost -q test                 print messages as they come, and acknowledge them
  bowline consume amqp://localhost -q test -n 10 --json    ten messages with everything about them
  bowline consume amqp://localhost -q test --requeue       look at what is there and give it back
  bowline consume amqp://localhost -q dead --reject -n 1   throw one away (or dead-letter it)
  bowline consume amqp://localhost -e amq.topic -k 'app.#' listen to an exchange through a queue of one's own
  bowline consume amqp://localhost -q events --from 1000   a stream, from an offset
  bowline consume kafka://localhost -t events              everything, then what comes
  bowline consume kafka://localhost -t events --from latest --json
  bowline consume kafka://localhost -t events --group app  share the partitions; go on where the group was
  bowline consume kafka://localhost -t events --idle 1s    … and stop when nothing more comes

A message is acknowledged or committed after it was written to standard output, not before. Ctrl-C ends cleanly.";

/// Consume messages over AMQP or Kafka.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// amqp://user:password@host:port/vhost or kafka://host:port
    #[arg(env = "BOWLINE_URL")]
    pub url: Address,
    /// Stop after so many messages.
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
    /// Stop when nothing has come for so long. [default with --requeue: 1s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub idle: Option<Duration>,
    /// At most so many messages a second.
    #[arg(long, value_parser = parse_rate, value_name = "N")]
    pub rate: Option<f64>,
    /// Give up when the broker does not answer for so long.
    #[arg(long, value_parser = parse_duration, default_value = "30s", value_name = "TIME")]
    pub timeout: Duration,
    /// Where to begin in a topic or stream: earliest, latest or an offset. [default: earliest; a group goes on
    /// where it was]
    #[arg(long, value_parser = parse_from, value_name = "earliest|latest|OFFSET")]
    pub from: Option<From>,

    /// Acknowledge, or commit. The default.
    #[arg(long, group = "settle")]
    pub ack: bool,
    /// Give every message back in the end: look without taking (Kafka: do not commit).
    #[arg(long, group = "settle")]
    pub requeue: bool,
    /// Reject: the broker drops or dead-letters the message.
    #[arg(long, group = "settle", help_heading = "AMQP")]
    pub reject: bool,
    /// Automatic acknowledgement: faster; what is on the way when the command ends is lost.
    #[arg(long, group = "settle", help_heading = "AMQP")]
    pub auto_ack: bool,

    /// Consume from this queue. It is created, durable, if it does not exist.
    #[arg(long, short, help_heading = "AMQP")]
    pub queue: Option<String>,
    /// Listen to this exchange through a queue of one's own, bound with --key.
    #[arg(long, short, help_heading = "AMQP", conflicts_with = "queue")]
    pub exchange: Option<String>,
    /// Binding key for --exchange.
    #[arg(long, short, help_heading = "AMQP", requires = "exchange")]
    pub key: Option<String>,
    /// Do not create the queue.
    #[arg(long, help_heading = "AMQP")]
    pub no_create: bool,
    /// Unacknowledged messages that the broker may send ahead.
    #[arg(long, value_name = "N", default_value_t = 200, help_heading = "AMQP")]
    pub prefetch: u16,

    /// Consume this topic.
    #[arg(long, short, help_heading = "Kafka")]
    pub topic: Option<String>,
    /// Only this partition.
    #[arg(long, value_name = "N", help_heading = "Kafka", conflicts_with = "group")]
    pub partition: Option<i32>,
    /// Join this consumer group.
    #[arg(long, short, help_heading = "Kafka")]
    pub group: Option<String>,

    /// One JSON document a message, with everything that is known about it.
    #[arg(long)]
    pub json: bool,
    /// Print no messages, only the summary.
    #[arg(long)]
    pub quiet: bool,
}

/// Where to begin in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Earliest,
    Latest,
    Offset(i64),
}

/// Runs `bowline consume`.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::catch();
    let mut output = Output::new(&args);
    let start = Instant::now();
    let outcome = match &args.url {
        Address::Amqp(address) => amqp::consume(address, &args, &mut output, &interrupt),
        Address::Kafka(address) => kafka::consume(address, &args, &mut output, &interrupt),
    };
    let received = output.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    if args.quiet || received > 100 {
        let rate = grouped(received as f64 / seconds.max(1e-9));
        eprintln!("{} received in {seconds:.2} s ({rate}/s)", grouped(received as f64));
    }
    outcome?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// How long to wait for a message before giving up, if ever.
    fn idle_limit(&self) -> Option<Duration> {
        self.idle.or(self.requeue.then_some(Duration::from_secs(1)))
    }
}

fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "earliest" | "first" | "beginning" => Ok(From::Earliest),
        "latest" | "next" | "end" => Ok(From::Latest),
        _ => match text.parse() {
            Ok(offset) if offset >= 0 => Ok(From::Offset(offset)),
            _ => Err("expected earliest, latest or an offset".into()),
        },
    }
}
