//! The command line, and the settings that it and a preset come to.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use serde::Serialize;

use bowline_client::units::{parse_bytes, parse_duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    Amqp,
    Kafka,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Publish and consume at the same time.
    Pair,
    /// Publish only; the messages stay.
    Publish,
    /// Consume what is there.
    Drain,
    /// Publish, then drain, each measured by itself.
    Backlog,
    /// Publish `--count` with all speed, then read them while producing at `--rate` (Kafka).
    CatchUp,
    /// Publish `--count` over `--keys` to a compacted topic, wait until it is compacted, and read it (Kafka).
    Compact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    Classic,
    Quorum,
    Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeKind {
    /// Straight to each queue.
    Default,
    /// Every message to every queue.
    Fanout,
    /// Through `--bindings` patterns to the queues.
    Topic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub enum AcksArg {
    #[value(name = "0")]
    #[serde(rename = "0")]
    None,
    #[value(name = "1")]
    #[serde(rename = "1")]
    Leader,
    #[value(name = "all")]
    #[serde(rename = "all")]
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressionArg {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Arguments of `bowline bench`.
#[derive(ClapArgs, Clone, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A preset, several separated by commas, a group (`W2`: all of W2-…) or `all`; see --list. Options given
    /// beside it win.
    #[arg(long, short, value_name = "ID", value_delimiter = ',')]
    pub workload: Vec<String>,
    /// List the presets.
    #[arg(long)]
    pub list: bool,
    /// The protocol to speak. [default: amqp]
    #[arg(long, value_enum)]
    pub proto: Option<Proto>,
    /// The protocol to consume with, when it is another one than that of the producers.
    #[arg(long, value_enum)]
    pub consume_proto: Option<Proto>,
    /// AMQP broker. [default: localhost:5672]
    #[arg(long, visible_alias = "addr", value_name = "HOST:PORT")]
    pub amqp_addr: Option<String>,
    /// Kafka broker. [default: localhost:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka_addr: Option<String>,
    /// AMQP login, `user:password`. [default: guest:guest]
    #[arg(long, value_name = "USER:PASSWORD")]
    pub login: Option<String>,
    /// Process to watch for CPU, memory and writes. [default: whoever listens on the address]
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// Directory in which the flush probe writes for 0.3 s; best on the disk of the broker. [default: .]
    #[arg(long, value_name = "DIR")]
    pub probe_dir: Option<PathBuf>,

    /// [default: pair]
    #[arg(long, value_enum, help_heading = "Load")]
    pub mode: Option<Mode>,
    /// So many producers, queues (partitions) and consumers, each producer with its own queue.
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub pairs: Option<usize>,
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub producers: Option<usize>,
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub consumers: Option<usize>,
    /// AMQP queues. Shared out among producers and consumers.
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub queues: Option<usize>,
    /// Octets in a body, at least 12. [default: 1KiB]
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE", help_heading = "Load")]
    pub size: Option<usize>,
    /// Messages a second, all producers together. The clock of a message starts when it was due, not when it
    /// could be sent. [default: as fast as possible]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub rate: Option<f64>,
    /// How long to measure. [default: 10s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Load")]
    pub duration: Option<Duration>,
    /// How long to run before measuring. [default: 2s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Load")]
    pub warmup: Option<Duration>,
    /// Publish so many messages instead of for a time; there is no warm-up then.
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub count: Option<u64>,
    /// Give up draining when nothing has come for so long. [default: 10s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Load")]
    pub drain_timeout: Option<Duration>,

    /// [default: classic]
    #[arg(long = "type", value_enum, help_heading = "AMQP")]
    pub queue_type: Option<QueueType>,
    /// Unconfirmed messages a producer may have. [default: 1000]
    #[arg(long, value_name = "N", help_heading = "AMQP")]
    pub window: Option<usize>,
    /// Unacknowledged messages a consumer may have; 0 for no limit. [default: 1000]
    #[arg(long, value_name = "N", help_heading = "AMQP")]
    pub prefetch: Option<u16>,
    /// Acknowledge so many at once; 0 for automatic acknowledgement. [default: 100]
    #[arg(long, value_name = "K", help_heading = "AMQP")]
    pub ack_every: Option<usize>,
    /// Acknowledge one by one, in random order within each `--ack-every`.
    #[arg(long, help_heading = "AMQP")]
    pub ack_shuffle: bool,
    /// Percentage of deliveries that are never acknowledged.
    #[arg(long, value_name = "PERCENT", help_heading = "AMQP")]
    pub ack_skip: Option<f64>,
    /// Percentage of deliveries that are requeued.
    #[arg(long, value_name = "PERCENT", help_heading = "AMQP")]
    pub requeue: Option<f64>,
    /// Delivery mode 2. [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "AMQP")]
    pub persistent: Option<bool>,
    /// Durable queues. [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "AMQP")]
    pub durable: Option<bool>,
    /// Publisher confirms. [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "AMQP")]
    pub confirm: Option<bool>,
    /// [default: default]
    #[arg(long, value_enum, help_heading = "AMQP")]
    pub exchange: Option<ExchangeKind>,
    /// Bindings of a topic exchange, and routing keys in turn. [default: 1]
    #[arg(long, value_name = "N", help_heading = "AMQP")]
    pub bindings: Option<usize>,
    /// Argument of every queue, `name=value`; the value as JSON, anything else is a string. May be given several
    /// times.
    #[arg(long, value_name = "NAME=VALUE", help_heading = "AMQP")]
    pub queue_arg: Vec<String>,
    /// Messages have priorities 0 to N in turn, and queues as many.
    #[arg(long, value_name = "N", help_heading = "AMQP")]
    pub priorities: Option<u8>,
    /// Messages have a header `x-delay` of so long (not every broker heeds it).
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "AMQP")]
    pub delay: Option<Duration>,
    /// Every message has a `message-id` of its own. [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "AMQP")]
    pub message_ids: Option<bool>,

    /// Partitions of the topic. [default: 1]
    #[arg(long, value_name = "N", help_heading = "Kafka")]
    pub partitions: Option<usize>,
    /// [default: all]
    #[arg(long, value_enum, help_heading = "Kafka")]
    pub acks: Option<AcksArg>,
    /// A batch is sent when it has so many octets of records. [default: 16KiB]
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE", help_heading = "Kafka")]
    pub batch: Option<usize>,
    /// With --rate: a batch is sent when its first record is so old. [default: 0]
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Kafka")]
    pub linger: Option<Duration>,
    /// Idempotent producers. [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "Kafka")]
    pub idempotent: Option<bool>,
    /// Requests that a producer may have in flight. [default: 5]
    #[arg(long, value_name = "N", help_heading = "Kafka")]
    pub in_flight: Option<usize>,
    /// [default: none]
    #[arg(long, value_enum, help_heading = "Kafka")]
    pub compression: Option<CompressionArg>,
    /// So many groups, each with `--consumers` of its own, read everything. [default: 1]
    #[arg(long, value_name = "N", help_heading = "Kafka")]
    pub groups: Option<usize>,
    /// Records have keys, so many in turn. [default: no keys]
    #[arg(long, value_name = "N", help_heading = "Kafka")]
    pub keys: Option<u64>,
    /// Transactions of so many records, over two partitions where there are as many; consumers read what is
    /// committed. The time of a transaction, from when it was due until its end is answered, counts as its confirm.
    #[arg(long, value_name = "N", help_heading = "Kafka")]
    pub transaction: Option<u64>,
    /// Configuration of the topic, `name=value`; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Kafka")]
    pub topic_config: Vec<String>,

    /// Name of queues, exchange and topic. [default: bowline-bench]
    #[arg(long, value_name = "NAME", help_heading = "Housekeeping")]
    pub name: Option<String>,
    /// Leave queues and topics, and what is in them.
    #[arg(long, help_heading = "Housekeeping")]
    pub keep: bool,
    /// Before a drain, drop the operating system's page cache (needs root).
    #[arg(long, help_heading = "Housekeeping")]
    pub drop_caches: bool,
    /// A name for the result. [default: the preset's]
    #[arg(long, value_name = "TEXT", help_heading = "Output")]
    pub label: Option<String>,
    /// Print the results as JSON, one document a line, and nothing else.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Draw latency percentiles and throughput over time; with several workloads their ids are put into the name.
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    pub plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bowline bench                                    1 KiB, persistent, confirmed: one producer, one consumer
  bowline bench -w W1,W4 --duration 30s            two presets of the project's benchmark
  bowline bench -w W5 --addr rabbit:5672           the latency curve of another broker, with this same client
  bowline bench --pairs 10 --size 16 --ack-every 1
  bowline bench --rate 1000 --plot latency.svg     open loop: latency counts from when a message was due
  bowline bench --mode backlog --count 1000000     publish a million, then drain it
  bowline bench --proto kafka --batch 16k --partitions 16 --producers 4 --consumers 4
  bowline bench --list                             all presets

The exit status is 0 when every message arrived once and in order, 1 otherwise.";

/// Everything that a run needs to know.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    pub label: String,
    pub proto: Proto,
    pub consume_proto: Proto,
    pub amqp_addr: String,
    pub kafka_addr: String,
    #[serde(skip)]
    pub login: (String, String),
    pub broker_pid: Option<u32>,
    #[serde(skip)]
    pub probe_dir: PathBuf,
    pub mode: Mode,
    pub producers: usize,
    pub consumers: usize,
    pub queues: usize,
    pub size: usize,
    pub rate: Option<f64>,
    pub duration: Duration,
    pub warmup: Duration,
    pub count: Option<u64>,
    pub drain_timeout: Duration,
    pub queue_type: QueueType,
    pub window: usize,
    pub prefetch: u16,
    pub ack_every: usize,
    pub ack_shuffle: bool,
    pub ack_skip: f64,
    pub requeue: f64,
    pub persistent: bool,
    pub durable: bool,
    pub confirm: bool,
    pub exchange: ExchangeKind,
    pub bindings: usize,
    pub queue_arguments: Vec<(String, serde_json::Value)>,
    pub priorities: Option<u8>,
    pub delay: Option<Duration>,
    pub message_ids: bool,
    pub partitions: usize,
    pub acks: AcksArg,
    pub batch: usize,
    pub linger: Duration,
    pub idempotent: bool,
    pub in_flight: usize,
    pub compression: CompressionArg,
    pub groups: usize,
    pub keys: Option<u64>,
    pub transaction: Option<u64>,
    pub topic_config: Vec<(String, String)>,
    pub name: String,
    pub keep: bool,
    pub drop_caches: bool,
}

impl Settings {
    /// What `args` say, for the rest the defaults.
    pub fn resolve(args: &Args, label: &str) -> anyhow::Result<Settings> {
        let proto = args.proto.unwrap_or(Proto::Amqp);
        let pairs = args.pairs;
        let (user, password) = match &args.login {
            Some(login) => {
                login.split_once(':').ok_or_else(|| anyhow::anyhow!("--login is USER:PASSWORD"))?
            }
            None => ("guest", "guest"),
        };
        let topic_config: anyhow::Result<Vec<(String, String)>> = args
            .topic_config
            .iter()
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                None => anyhow::bail!("--topic-config is NAME=VALUE"),
            })
            .collect();
        let queue_arguments: anyhow::Result<Vec<(String, serde_json::Value)>> = args
            .queue_arg
            .iter()
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) => {
                    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
                }
                None => anyhow::bail!("--queue-arg is NAME=VALUE"),
            })
            .collect();
        let exchange = args.exchange.unwrap_or(ExchangeKind::Default);
        let settings = Settings {
            label: args.label.clone().unwrap_or_else(|| label.to_owned()),
            proto,
            consume_proto: args.consume_proto.unwrap_or(proto),
            amqp_addr: args.amqp_addr.clone().unwrap_or_else(|| "localhost:5672".into()),
            kafka_addr: args.kafka_addr.clone().unwrap_or_else(|| "localhost:9092".into()),
            login: (user.to_owned(), password.to_owned()),
            broker_pid: args.broker_pid,
            probe_dir: args.probe_dir.clone().unwrap_or_else(|| ".".into()),
            mode: args.mode.unwrap_or(Mode::Pair),
            producers: args.producers.or(pairs).unwrap_or(1),
            consumers: args.consumers.or(pairs).unwrap_or(1),
            queues: args.queues.or(pairs).unwrap_or(1),
            size: args.size.unwrap_or(1024),
            rate: args.rate,
            duration: args.duration.unwrap_or(Duration::from_secs(10)),
            warmup: args.warmup.unwrap_or(Duration::from_secs(2)),
            count: args.count,
            drain_timeout: args.drain_timeout.unwrap_or(Duration::from_secs(10)),
            queue_type: args.queue_type.unwrap_or(QueueType::Classic),
            window: args.window.unwrap_or(1000),
            prefetch: args.prefetch.unwrap_or(1000),
            ack_every: args.ack_every.unwrap_or(100),
            ack_shuffle: args.ack_shuffle,
            ack_skip: args.ack_skip.unwrap_or(0.0),
            requeue: args.requeue.unwrap_or(0.0),
            persistent: args.persistent.unwrap_or(true),
            durable: args.durable.unwrap_or(true),
            confirm: args.confirm.unwrap_or(true),
            exchange,
            bindings: args.bindings.unwrap_or(1),
            queue_arguments: queue_arguments?,
            priorities: args.priorities,
            delay: args.delay,
            message_ids: args.message_ids.unwrap_or(false),
            partitions: args.partitions.or(pairs).unwrap_or(1),
            acks: args.acks.unwrap_or(AcksArg::All),
            batch: args.batch.unwrap_or(16 << 10),
            linger: args.linger.unwrap_or(Duration::ZERO),
            idempotent: args.idempotent.unwrap_or(true),
            in_flight: args.in_flight.unwrap_or(5),
            compression: args.compression.unwrap_or(CompressionArg::None),
            groups: args.groups.unwrap_or(1),
            keys: args.keys,
            transaction: args.transaction,
            topic_config: topic_config?,
            name: args.name.clone().unwrap_or_else(|| "bowline-bench".into()),
            keep: args.keep,
            drop_caches: args.drop_caches,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> anyhow::Result<()> {
        use anyhow::ensure;
        ensure!(self.size >= crate::stamp::STAMP_BYTES, "--size is at least {}", crate::stamp::STAMP_BYTES);
        ensure!(self.producers > 0 && self.consumers > 0, "there must be a producer and a consumer");
        ensure!(self.producers <= usize::from(u16::MAX), "at most {} producers", u16::MAX);
        ensure!(
            self.queues > 0 && self.partitions > 0 && self.bindings > 0,
            "at least one queue and partition"
        );
        ensure!(
            self.window > 0 && self.in_flight > 0 && self.batch > 0,
            "window and batch must not be empty"
        );
        ensure!(self.rate.is_none_or(|rate| rate > 0.0), "--rate is positive");
        ensure!((0.0..100.0).contains(&self.ack_skip), "--ack-skip is a percentage below 100");
        ensure!((0.0..100.0).contains(&self.requeue), "--requeue is a percentage below 100");
        let needs_count = matches!(self.mode, Mode::Backlog | Mode::CatchUp | Mode::Compact);
        ensure!(!needs_count || self.count.is_some(), "this --mode needs --count");
        self.check_kafka()?;
        ensure!(
            self.priorities.is_none() || self.exchange == ExchangeKind::Default,
            "--priorities goes with the default exchange"
        );
        let crosses = self.proto != self.consume_proto;
        ensure!(
            !crosses || (self.queue_type == QueueType::Stream && self.exchange == ExchangeKind::Default),
            "only a stream can be published over one protocol and consumed over the other: --type stream"
        );
        ensure!(
            !crosses || (self.queues == 1 && self.partitions == 1),
            "a stream across protocols is one partition"
        );
        Ok(())
    }

    fn check_kafka(&self) -> anyhow::Result<()> {
        use anyhow::ensure;
        let kafka = self.proto == Proto::Kafka && self.consume_proto == Proto::Kafka;
        ensure!(self.groups > 0, "there is at least one group");
        let asks = self.groups > 1 || self.keys.is_some() || self.transaction.is_some();
        ensure!(
            kafka || !(asks || matches!(self.mode, Mode::CatchUp | Mode::Compact)),
            "groups, keys, transactions and these modes go with --proto kafka"
        );
        ensure!(self.keys != Some(0) && self.transaction != Some(0), "--keys and --transaction are positive");
        ensure!(self.mode != Mode::CatchUp || self.rate.is_some(), "--mode catch-up needs --rate");
        ensure!(
            self.mode != Mode::Compact
                || (self.keys.is_some_and(|keys| Some(keys) <= self.count)
                    && (self.producers, self.partitions, self.groups) == (1, 1, 1)),
            "--mode compact needs --keys, not more than --count, one producer and one partition"
        );
        Ok(())
    }

    /// Consumers of all groups together.
    pub fn readers(&self) -> usize {
        self.consumers * self.groups
    }

    /// The protocols of producers and consumers that this mode has.
    pub fn uses(&self, proto: Proto) -> bool {
        let produces = self.mode != Mode::Drain && self.proto == proto;
        let consumes = self.mode != Mode::Publish && self.consume_proto == proto;
        produces || consumes
    }

    /// How many lanes' worth of queues (AMQP) or partitions (Kafka) the load has.
    pub fn destinations(&self) -> usize {
        if self.proto == Proto::Kafka || self.consume_proto == Proto::Kafka {
            self.partitions
        } else {
            self.queues
        }
    }

    /// Deliveries for each publish.
    pub fn fan_out(&self) -> u64 {
        if self.proto == Proto::Amqp && self.exchange == ExchangeKind::Fanout {
            self.queues as u64
        } else {
            self.groups as u64
        }
    }
}

impl Args {
    /// Puts a preset's values where nothing was said.
    pub fn or(mut self, preset: &Args) -> Args {
        macro_rules! fill {
            ($($field:ident)*) => { $(if self.$field.is_none() { self.$field = preset.$field.clone(); })* };
        }
        fill!(proto consume_proto mode pairs producers consumers queues size rate duration warmup count);
        fill!(queue_type window prefetch ack_every ack_skip requeue persistent durable confirm exchange);
        fill!(priorities delay message_ids);
        fill!(bindings partitions acks batch linger idempotent in_flight compression drain_timeout);
        fill!(groups keys transaction);
        self.ack_shuffle |= preset.ack_shuffle;
        if self.queue_arg.is_empty() {
            self.queue_arg.clone_from(&preset.queue_arg);
        }
        if self.topic_config.is_empty() {
            self.topic_config.clone_from(&preset.topic_config);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_wins_over_the_preset() {
        let said = Args { size: Some(16), ..Default::default() };
        let preset = Args { size: Some(1024), window: Some(1), ..Default::default() };
        let settings = Settings::resolve(&said.or(&preset), "x").unwrap();
        assert_eq!((settings.size, settings.window, settings.prefetch), (16, 1, 1000));
    }

    #[test]
    fn nonsense_is_refused() {
        for args in [
            Args { size: Some(11), ..Default::default() },
            Args { mode: Some(Mode::Backlog), ..Default::default() },
            Args { consume_proto: Some(Proto::Kafka), ..Default::default() },
            Args { rate: Some(0.0), ..Default::default() },
            Args { groups: Some(2), ..Default::default() },
            Args {
                proto: Some(Proto::Kafka),
                mode: Some(Mode::CatchUp),
                count: Some(9),
                ..Default::default()
            },
            Args {
                proto: Some(Proto::Kafka),
                mode: Some(Mode::Compact),
                count: Some(9),
                ..Default::default()
            },
        ] {
            assert!(Settings::resolve(&args, "x").is_err(), "{args:?}");
        }
    }
}
