//! `bowline publish`.

mod amqp;
mod kafka;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bowline_client::Address;
use bowline_client::interrupt::Interrupt;
use bowline_client::units::{grouped, parse_duration};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::pace::parse_rate;
use source::Source;

const EXAMPLES: &str = "\
Examples:
  bowline publish amqp://localhost -q test 'hello'             a persistent message to queue `test`
  bowline publish amqp://localhost -q test --confirm hello     … and wait until the broker has it for good
  bowline publish amqp://localhost -q test --count 1000 --rate 100 'message {n}'
  bowline publish amqp://localhost -e logs -k app.error 'disk full' --header host=web1 --property type=alert
  tail -f app.log | bowline publish amqp://localhost -e amq.topic -k app.log
  bowline publish kafka://localhost -t events --key user-7 '{\"login\": true}'
  bowline publish kafka://localhost -t events --file events.ndjson --confirm --json

Messages are the arguments, or the lines of --file, or the lines of standard input.
The exit status is 0 when the broker took all messages, 1 when it refused or returned some.";

/// Publish messages over AMQP or Kafka.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// amqp://user:password@host:port/vhost or kafka://host:port
    #[arg(env = "BOWLINE_URL")]
    pub url: Address,
    /// The messages; with --count, `{n}` stands for the number.
    pub messages: Vec<String>,
    /// Read messages from a file, one a line; `-` is standard input.
    #[arg(long, short, value_name = "FILE", conflicts_with = "messages")]
    pub file: Option<PathBuf>,
    /// With --file: the whole file is one message.
    #[arg(long, requires = "file")]
    pub whole: bool,
    /// Publish so many messages, beginning anew with the first when there are fewer; only with arguments.
    #[arg(long, short = 'n', value_name = "N", conflicts_with = "file")]
    pub count: Option<u64>,
    /// At most so many messages a second.
    #[arg(long, value_parser = parse_rate, value_name = "N")]
    pub rate: Option<f64>,
    /// Wait for the broker's word on every message (Kafka: acks=all, idempotent).
    #[arg(long, short)]
    pub confirm: bool,
    /// Give up when the broker does not answer for so long.
    #[arg(long, value_parser = parse_duration, default_value = "30s", value_name = "TIME")]
    pub timeout: Duration,
    /// Key of the messages: AMQP routing key, Kafka record key.
    #[arg(long, short)]
    pub key: Option<String>,
    /// A header, `name=value`; may be given several times.
    #[arg(long = "header", short = 'H', value_parser = parse_pair, value_name = "NAME=VALUE")]
    pub headers: Vec<(String, String)>,

    /// Publish to this queue. It is created, durable, if it does not exist.
    #[arg(long, short, help_heading = "AMQP", conflicts_with_all = ["exchange", "key"])]
    pub queue: Option<String>,
    /// Publish to this exchange, with --key.
    #[arg(long, short, help_heading = "AMQP")]
    pub exchange: Option<String>,
    /// Do not create the queue.
    #[arg(long, help_heading = "AMQP")]
    pub no_create: bool,
    /// Delivery mode 1: the broker need not keep the messages over a restart.
    #[arg(long, help_heading = "AMQP")]
    pub transient: bool,
    /// Have messages returned that reach no queue.
    #[arg(long, help_heading = "AMQP")]
    pub mandatory: bool,
    /// A property: content-type, content-encoding, correlation-id, reply-to, expiration, message-id, timestamp,
    /// type, user-id, app-id or priority.
    #[arg(long = "property", short = 'P', value_parser = parse_pair, value_name = "NAME=VALUE", help_heading = "AMQP")]
    pub properties: Vec<(String, String)>,

    /// Produce to this topic. The broker may create it.
    #[arg(long, short, help_heading = "Kafka")]
    pub topic: Option<String>,
    /// Produce to this partition; otherwise the key decides, or all take turns.
    #[arg(long, value_name = "N", help_heading = "Kafka")]
    pub partition: Option<i32>,

    /// Print what was done as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print nothing but errors.
    #[arg(long)]
    pub quiet: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub published: u64,
    /// The broker has taken responsibility.
    pub confirmed: u64,
    /// The broker has refused.
    pub refused: u64,
    /// Reached no queue and came back.
    pub returned: u64,
    pub seconds: f64,
}

/// Runs `bowline publish`.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::catch();
    let source = Source::open(&args)?;
    let progress = progress_bar(&args, &source);
    let start = Instant::now();
    let outcome = match &args.url {
        Address::Amqp(address) => amqp::publish(address, &args, source, &interrupt, &progress),
        Address::Kafka(address) => kafka::publish(address, &args, source, &interrupt, &progress),
    };
    progress.finish_and_clear();
    let mut summary = outcome?;
    summary.seconds = start.elapsed().as_secs_f64();
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else if !args.quiet {
        eprintln!("{}", summary.text(args.confirm));
    }
    let complete = summary.refused == 0 && summary.returned == 0;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Summary {
    fn text(&self, confirm: bool) -> String {
        let rate = self.published as f64 / self.seconds.max(1e-9);
        let mut text = format!("{} published in {:.2} s", grouped(self.published as f64), self.seconds);
        if self.published > 100 {
            text += &format!(" ({}/s)", grouped(rate));
        }
        if confirm {
            text += &format!(", {} confirmed", grouped(self.confirmed as f64));
        }
        for (count, what) in [(self.refused, "refused"), (self.returned, "returned: no queue for them")] {
            if count > 0 {
                text += &format!(", {} {what}", grouped(count as f64));
            }
        }
        text
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Hidden where standard error is no terminal, and where a bar would only flash.
fn progress_bar(args: &Args, source: &Source) -> ProgressBar {
    let length = source.len();
    if args.quiet || args.json || length.is_some_and(|length| length < 100) {
        return ProgressBar::hidden();
    }
    let template = match length {
        Some(_) => "[{bar:30}] {human_pos}/{human_len} {per_sec} {eta}",
        None => "{spinner} {human_pos} {per_sec} {elapsed_precise}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.with_style(style.progress_chars("=> "))
}
