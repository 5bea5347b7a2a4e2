//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use bowline_client::units::{parse_bytes, parse_duration};
use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Workload {
    /// AMQP queues: confirms, several consumers, acks, requeues.
    Amqp,
    /// Kafka topics: idempotent producers, a consumer group that commits.
    Kafka,
    /// A stream that is published over AMQP and read over Kafka.
    Stream,
    /// AMQP queues that enforce something: lifetimes, dead letters, retries, delays, duplicates, priorities,
    /// order by key, lengths; and transactions.
    Rules,
    /// Kafka transactions of both versions: transfers between accounts and values appended to lists, with committed
    /// offsets, aborts, and readers of what is committed.
    Transactions,
}

impl Workload {
    pub fn uses_kafka(self) -> bool {
        matches!(self, Workload::Kafka | Workload::Stream | Workload::Transactions)
    }

    pub fn uses_amqp(self) -> bool {
        !matches!(self, Workload::Kafka | Workload::Transactions)
    }

    /// Whether its messages are counted one by one, in the first table of the report.
    pub fn is_counted(self) -> bool {
        !matches!(self, Workload::Rules | Workload::Transactions)
    }
}

const EXAMPLES: &str = "\
Examples:
  bowline verify                                     20 kills under mixed load, a minute or so
  bowline verify --kills 200 --seed 7                the same attacks again: only the timing differs
  bowline verify --workload amqp --duration 5m       one protocol, for a time
  bowline verify --disk-full                         also fill the disk (needs root: a small loop device is mounted)
  bowline verify --observe --amqp-addr rabbit:5672 --duration 60s
                                                     watch a broker that runs elsewhere; attack it yourself meanwhile
  bowline verify --json > report.json

What counts: a message that was confirmed must be delivered at least once, unharmed, in the order of its channel or
partition; `redelivered` must not be false twice; an idempotent Kafka producer's records appear once, at the offset
that was confirmed; confirmed offset commits stay. In queues with rules a confirmed message is consumed or dead, never
twice among the dead, never too early; duplicates are dropped; a transaction is there as a whole or not at all. A Kafka
transaction's records and offsets come together, in full, once, or never. What was not confirmed may be there or not.
The exit status is 0 when every promise was kept, 1 when not.";

/// Arguments of `bowline verify`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to run; several separated by commas. [default: amqp,kafka,stream,rules,transactions]
    #[arg(long, short, value_enum, value_delimiter = ',')]
    pub workload: Vec<Workload>,
    /// Attack for so long instead of a number of kills.
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// Seed of all chance; printed with the report. [default: from the clock]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Kill the broker with SIGKILL so many times. [default: 20, or as --duration allows]
    #[arg(long, value_name = "N", help_heading = "Attacks")]
    pub kills: Option<u32>,
    /// Mean time between attacks.
    #[arg(long, value_parser = parse_duration, default_value = "1s", value_name = "TIME", help_heading = "Attacks")]
    pub interval: Duration,
    /// No SIGSTOP and SIGCONT.
    #[arg(long, help_heading = "Attacks")]
    pub no_pauses: bool,
    /// No dropped, half-open and misbehaving client connections.
    #[arg(long, help_heading = "Attacks")]
    pub no_drops: bool,
    /// No orderly shutdowns (SIGTERM) in between.
    #[arg(long, help_heading = "Attacks")]
    pub no_shutdowns: bool,
    /// Also fill the disk: the data directory is put on a small loop device. Needs root; without it the attack is
    /// left out, and the report says so.
    #[arg(long, help_heading = "Attacks")]
    pub disk_full: bool,
    /// Size of that device.
    #[arg(long, value_parser = parse_bytes, default_value = "2GiB", value_name = "SIZE", help_heading = "Attacks")]
    pub disk_size: usize,

    /// AMQP queues, each with its producers and consumers.
    #[arg(long, default_value_t = 2, value_name = "N", help_heading = "Load")]
    pub queues: usize,
    /// Producers per queue, topic and stream.
    #[arg(long, default_value_t = 2, value_name = "N", help_heading = "Load")]
    pub producers: usize,
    /// Consumers per queue, and members of the group.
    #[arg(long, default_value_t = 2, value_name = "N", help_heading = "Load")]
    pub consumers: usize,
    /// Partitions of the Kafka topic.
    #[arg(long, default_value_t = 4, value_name = "N", help_heading = "Load")]
    pub partitions: usize,
    /// Messages a second of each producer; 0: as fast as possible.
    #[arg(long, default_value_t = 500, value_name = "N", help_heading = "Load")]
    pub rate: u32,
    /// Largest message; sizes are spread below it, small ones more often.
    #[arg(long, value_parser = parse_bytes, default_value = "8KiB", value_name = "SIZE", help_heading = "Load")]
    pub size: usize,
    /// Unconfirmed messages of an AMQP producer.
    #[arg(long, default_value_t = 500, value_name = "N", help_heading = "Load")]
    pub window: usize,
    /// Unacknowledged messages of an AMQP consumer.
    #[arg(long, default_value_t = 100, value_name = "N", help_heading = "Load")]
    pub prefetch: u16,

    /// Watch the broker at --amqp-addr and --kafka-addr; start nothing and attack nothing.
    #[arg(long, help_heading = "The broker")]
    pub observe: bool,
    /// [default with --observe: localhost:5672, if given or needed]
    #[arg(long, value_name = "HOST:PORT", help_heading = "The broker", requires = "observe")]
    pub amqp_addr: Option<String>,
    /// [default with --observe: localhost:9092, if given or needed]
    #[arg(long, value_name = "HOST:PORT", help_heading = "The broker", requires = "observe")]
    pub kafka_addr: Option<String>,
    /// AMQP login, `user:password`.
    #[arg(long, default_value = "guest:guest", value_name = "USER:PASSWORD", help_heading = "The broker")]
    pub login: String,
    /// Type of the AMQP queues: classic or quorum. [default: the broker's]
    #[arg(long = "type", value_name = "TYPE", help_heading = "The broker")]
    pub queue_type: Option<String>,
    /// The program to start and kill. It is called as `PROGRAM serve --amqp-addr A --kafka-addr K --data-dir D`.
    /// [default: this program]
    #[arg(long, value_name = "FILE", help_heading = "The broker")]
    pub program: Option<PathBuf>,
    /// Further options for `serve`; may be given several times.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true, help_heading = "The broker")]
    pub serve_arg: Vec<String>,
    /// Where the broker keeps its data and log; must be empty or missing. [default: a temporary directory, which is
    /// kept when a promise was broken]
    #[arg(long, value_name = "DIR", help_heading = "The broker")]
    pub dir: Option<PathBuf>,

    /// Reads what is not committed as well, so that the workload `transactions` must find aborted reads: to see that
    /// it can.
    #[arg(long, hide = true)]
    pub read_uncommitted: bool,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Args {
    pub fn workloads(&self) -> Vec<Workload> {
        if !self.workload.is_empty() {
            return self.workload.clone();
        }
        match (self.observe, &self.amqp_addr, &self.kafka_addr) {
            (true, Some(_), None) => vec![Workload::Amqp],
            (true, None, Some(_)) => vec![Workload::Kafka],
            (true, ..) => vec![Workload::Amqp, Workload::Kafka],
            (false, ..) => vec![
                Workload::Amqp,
                Workload::Kafka,
                Workload::Stream,
                Workload::Rules,
                Workload::Transactions,
            ],
        }
    }
}
