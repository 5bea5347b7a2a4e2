//! Topic configuration: which Kafka settings exist, their types, defaults and checks.
//!
//! Listed is what the broker enforces, and what it may ignore without breaking a promise because it is about files
//! that Bowline does not have: tools and stream libraries set these on every topic. Anything else is refused, so that
//! nobody counts on what does not happen.

pub mod broker;
pub mod client_metrics;
pub mod group;
pub mod started;

use crate::Topic;
use crate::refusal::refuse;
use bowline_model::meta::{Reason, Rejection};
use bowline_model::request::{Compaction, PartitionConfig};

/// The node's configuration as topics inherit it.
#[derive(Clone, PartialEq, Debug)]
pub struct Defaults {
    /// `num.partitions`: for topics created without a number, ≥ 1.
    pub partitions: u32,
    /// `retention.ms`; `None`: for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes` per partition; `None`: any size.
    pub retention_bytes: Option<u64>,
    /// `max.message.bytes`: largest record batch.
    pub max_message_bytes: u32,
    /// `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    pub timestamp_before_max_ms: u64,
    pub timestamp_after_max_ms: u64,
    /// Settings of the broker that were changed while it runs, by the topic settings' names, sorted. They go before the
    /// fields above.
    pub changed: Vec<(String, String)>,
    /// What the node was started with ([`started`]), by the names at the broker.
    pub started: Vec<(String, String)>,
}

impl Default for Defaults {
    /// Kafka 4's defaults.
    fn default() -> Defaults {
        Defaults {
            partitions: 1,
            retention_ms: Some(7 * 24 * 3600 * 1000),
            retention_bytes: None,
            max_message_bytes: 1_048_588,
            timestamp_before_max_ms: i64::MAX as u64,
            timestamp_after_max_ms: 3_600_000,
            changed: Vec::new(),
            started: Vec::new(),
        }
    }
}

/// Kafka's configuration types; the number is `ConfigType` of DescribeConfigs (KIP-226, KIP-569).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// One topic setting.
#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    pub kind: Type,
    pub doc: &'static str,
    /// The broker-level setting that it inherits from (a DescribeConfigs synonym).
    pub broker_name: &'static str,
    rule: Rule,
    default: fn(&Defaults) -> String,
}

#[derive(Debug)]
enum Rule {
    /// From a lowest to a highest value.
    Number(i64, i64),
    /// Between 0 and 1.
    Fraction,
    /// −1, or from a lowest to a highest value.
    Level(i64, i64),
    OneOf(&'static [&'static str]),
    /// A comma-separated list of these.
    ListOf(&'static [&'static str]),
    /// What passes the check, and in words.
    Like(fn(&str) -> bool, &'static str),
}

/// Whether a topic takes what share groups have given up (KIP-1191).
pub const DEAD_LETTERS: &str = "errors.deadletterqueue.group.enable";

const INT_MAX: i64 = i32::MAX as i64;
const LONG_MAX: i64 = i64::MAX;
const NO_FILES: &str =
    "Accepted without effect: partitions share the node's log and have no files of their own.";
const DURABLE: &str = "Accepted without effect: every record is on disk before it is acknowledged.";
const BOOLEANS: &[&str] = &["true", "false"];

/// All settings, sorted by name.
#[rustfmt::skip]
pub static ENTRIES: &[Entry] = &[
    Entry { name: "cleanup.policy", kind: Type::List, broker_name: "log.cleanup.policy",
        rule: Rule::ListOf(&["compact", "delete"]), default: |_| "delete".into(),
        doc: "What happens to old records: delete discards them by age, size and number; compact keeps the latest of \
              each key. Empty: everything is kept." },
    Entry { name: "compression.gzip.level", kind: Type::Int, broker_name: "compression.gzip.level",
        rule: Rule::Level(1, 9), default: |_| "-1".into(),
        doc: "The level where compression.type is gzip and the broker compresses; -1: zlib's own." },
    Entry { name: "compression.type", kind: Type::String, broker_name: "compression.type",
        rule: Rule::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        default: |_| "producer".into(),
        doc: "Batches of another compression than this are compressed anew; producer: they are kept as they came." },
    Entry { name: "compression.zstd.level", kind: Type::Int, broker_name: "compression.zstd.level",
        rule: Rule::Number(-131_072, 22), default: |_| "3".into(),
        doc: "The level where compression.type is zstd and the broker compresses." },
    Entry { name: "delete.retention.ms", kind: Type::Long, broker_name: "log.cleaner.delete.retention.ms",
        rule: Rule::Number(0, LONG_MAX), default: |_| "86400000".into(),
        doc: "So long a compacted topic keeps a tombstone once nothing older of its key is left." },
    Entry { name: DEAD_LETTERS, kind: Type::Boolean, broker_name: "",
        rule: Rule::OneOf(BOOLEANS), default: |_| "false".into(),
        doc: "Whether share groups may name the topic as their dead-letter topic." },
    Entry { name: "file.delete.delay.ms", kind: Type::Long, broker_name: "log.segment.delete.delay.ms",
        rule: Rule::Number(0, LONG_MAX), default: |_| "60000".into(), doc: NO_FILES },
    Entry { name: "flush.messages", kind: Type::Long, broker_name: "log.flush.interval.messages",
        rule: Rule::Number(1, LONG_MAX), default: |_| "1".into(), doc: DURABLE },
    Entry { name: "flush.ms", kind: Type::Long, broker_name: "log.flush.interval.ms",
        rule: Rule::Number(0, LONG_MAX), default: |_| "0".into(), doc: DURABLE },
    Entry { name: "index.interval.bytes", kind: Type::Int, broker_name: "log.index.interval.bytes",
        rule: Rule::Number(0, INT_MAX), default: |_| "4096".into(), doc: NO_FILES },
    Entry { name: "max.compaction.lag.ms", kind: Type::Long, broker_name: "log.cleaner.max.compaction.lag.ms",
        rule: Rule::Number(1, LONG_MAX), default: |_| LONG_MAX.to_string(),
        doc: "A record of this age waits for compaction no longer, however little there is to do." },
    Entry { name: "max.message.bytes", kind: Type::Int, broker_name: "message.max.bytes",
        rule: Rule::Number(0, INT_MAX), default: |d| d.max_message_bytes.to_string(),
        doc: "The largest record batch that is accepted, after compression, in bytes." },
    Entry { name: "message.timestamp.after.max.ms", kind: Type::Long,
        broker_name: "log.message.timestamp.after.max.ms",
        rule: Rule::Number(0, LONG_MAX), default: |d| clamped(d.timestamp_after_max_ms),
        doc: "How far a record's timestamp may be ahead of the broker's clock (CreateTime only)." },
    Entry { name: "message.timestamp.before.max.ms", kind: Type::Long,
        broker_name: "log.message.timestamp.before.max.ms",
        rule: Rule::Number(0, LONG_MAX), default: |d| clamped(d.timestamp_before_max_ms),
        doc: "How far a record's timestamp may be behind the broker's clock (CreateTime only)." },
    Entry { name: "message.timestamp.type", kind: Type::String, broker_name: "log.message.timestamp.type",
        rule: Rule::OneOf(&["CreateTime", "LogAppendTime"]), default: |_| "CreateTime".into(),
        doc: "Whether records carry the producer's time or the broker's time of arrival." },
    Entry { name: "min.cleanable.dirty.ratio", kind: Type::Double, broker_name: "log.cleaner.min.cleanable.ratio",
        rule: Rule::Fraction, default: |_| "0.5".into(),
        doc: "Compaction begins when this part of a partition's bytes has not been compacted yet." },
    Entry { name: "min.compaction.lag.ms", kind: Type::Long, broker_name: "log.cleaner.min.compaction.lag.ms",
        rule: Rule::Number(0, LONG_MAX), default: |_| "0".into(),
        doc: "Compaction does not touch records younger than this." },
    Entry { name: "min.insync.replicas", kind: Type::Int, broker_name: "min.insync.replicas",
        rule: Rule::Number(1, INT_MAX), default: |_| "1".into(),
        doc: "How many replicas must be there for acks=all; there is one, so more than 1 refuses it." },
    Entry { name: "preallocate", kind: Type::Boolean, broker_name: "log.preallocate",
        rule: Rule::OneOf(BOOLEANS), default: |_| "false".into(), doc: NO_FILES },
    Entry { name: "retention.bytes", kind: Type::Long, broker_name: "log.retention.bytes",
        rule: Rule::Number(i64::MIN, LONG_MAX), default: |d| limit(d.retention_bytes),
        doc: "Old records go when a partition is larger than this; negative: any size." },
    Entry { name: "retention.ms", kind: Type::Long, broker_name: "log.retention.ms",
        rule: Rule::Number(-1, LONG_MAX), default: |d| limit(d.retention_ms),
        doc: "Records older than this go; -1: they are kept for ever." },
    Entry { name: "retention.records", kind: Type::Long, broker_name: "log.retention.records",
        rule: Rule::Number(-1, LONG_MAX), default: |_| "-1".into(),
        doc: "Bowline's own: old records go when a partition has more offsets than this; -1: any number." },
    Entry { name: "segment.bytes", kind: Type::Int, broker_name: "log.segment.bytes",
        rule: Rule::Number(14, INT_MAX), default: |_| "1073741824".into(), doc: NO_FILES },
    Entry { name: "segment.index.bytes", kind: Type::Int, broker_name: "log.index.size.max.bytes",
        rule: Rule::Number(4, INT_MAX), default: |_| "10485760".into(), doc: NO_FILES },
    Entry { name: "segment.jitter.ms", kind: Type::Long, broker_name: "log.roll.jitter.ms",
        rule: Rule::Number(0, LONG_MAX), default: |_| "0".into(), doc: NO_FILES },
    Entry { name: "segment.ms", kind: Type::Long, broker_name: "log.roll.ms",
        rule: Rule::Number(1, LONG_MAX), default: |_| "604800000".into(), doc: NO_FILES },
];

/// Times and sizes on the wire are signed.
fn clamped(n: u64) -> String {
    n.min(i64::MAX as u64).to_string()
}

fn limit(bound: Option<u64>) -> String {
    bound.map_or_else(|| "-1".to_owned(), clamped)
}

/// The setting of that name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.binary_search_by_key(&name, |entry| entry.name).ok().map(|at| &ENTRIES[at])
}

impl Entry {
    /// What a topic has that does not set it.
    pub fn inherited(&self, defaults: &Defaults) -> String {
        get(&defaults.changed, self.name).map_or_else(|| self.started_with(defaults), str::to_owned)
    }

    /// The same before anything was changed in the running broker.
    pub fn started_with(&self, defaults: &Defaults) -> String {
        get(&defaults.started, self.broker_name).map_or_else(|| (self.default)(defaults), str::to_owned)
    }

    /// InvalidConfig with Kafka's words.
    fn validate(&self, value: &str) -> Result<(), Rejection> {
        let problem = match &self.rule {
            Rule::Number(low, high) => {
                let low_of_type = if self.kind == Type::Int { i64::from(i32::MIN) } else { i64::MIN };
                let high_of_type = if self.kind == Type::Int { INT_MAX } else { LONG_MAX };
                match value.trim().parse::<i64>() {
                    Ok(n) if !(low_of_type..=high_of_type).contains(&n) => self.not_a_number(),
                    Ok(n) if n < *low => format!("Value must be at least {low}"),
                    Ok(n) if n > *high => format!("Value must be no more than {high}"),
                    Ok(_) => return Ok(()),
                    Err(_) => self.not_a_number(),
                }
            }
            Rule::Fraction => match value.trim().parse::<f64>() {
                Ok(n) if (0.0..=1.0).contains(&n) => return Ok(()),
                Ok(n) if n < 0.0 => "Value must be at least 0".to_owned(),
                Ok(_) => "Value must be no more than 1".to_owned(),
                Err(_) => self.not_a_number(),
            },
            Rule::Level(low, high) => match value.trim().parse::<i64>() {
                Ok(n) if n == -1 || (*low..=*high).contains(&n) => return Ok(()),
                Ok(_) => format!("Value must be between {low} and {high} or equal to -1"),
                Err(_) => self.not_a_number(),
            },
            Rule::ListOf(_) if value.trim().is_empty() => return Ok(()),
            Rule::OneOf(allowed) if allowed.contains(&value.trim()) => return Ok(()),
            Rule::ListOf(allowed) if value.split(',').all(|item| allowed.contains(&item.trim())) => {
                return Ok(());
            }
            Rule::Like(passes, _) if passes(value.trim()) => return Ok(()),
            Rule::Like(_, allowed) => format!("String must be {allowed}"),
            Rule::OneOf(allowed) | Rule::ListOf(allowed) => {
                format!("String must be one of: {}", allowed.join(", "))
            }
        };
        Err(refuse(
            Reason::InvalidConfig,
            format!("Invalid value {value} for configuration {}: {problem}", self.name),
        ))
    }

    fn not_a_number(&self) -> String {
        let kind = match self.kind {
            Type::Int => "INT",
            Type::Double => "DOUBLE",
            _ => "LONG",
        };
        format!("Not a number of type {kind}")
    }
}

/// What holds for a topic, one element per entry of [`ENTRIES`] in the same order.
#[derive(Clone, PartialEq, Debug)]
pub struct Effective {
    pub name: &'static str,
    pub value: String,
    /// Set on the topic itself rather than inherited.
    pub explicit: bool,
    /// The inherited value.
    pub default: String,
}

/// For DescribeConfigs.
pub fn effective(topic: &Topic, defaults: &Defaults) -> Vec<Effective> {
    effective_of(&topic.configs, defaults)
}

/// The same for explicit settings of a topic that is being created.
pub fn effective_of(configs: &[(String, String)], defaults: &Defaults) -> Vec<Effective> {
    let describe = |entry: &Entry| {
        let default = entry.inherited(defaults);
        let own = get(configs, entry.name);
        Effective {
            name: entry.name,
            value: own.map_or_else(|| default.clone(), str::to_owned),
            explicit: own.is_some(),
            default,
        }
    };
    ENTRIES.iter().map(describe).collect()
}

/// Checks explicit configuration; InvalidConfig with Kafka's text otherwise.
pub fn validate(configs: &[(String, String)]) -> Result<(), Rejection> {
    for (name, value) in configs {
        match entry(name) {
            Some(entry) => entry.validate(value)?,
            None => return Err(refuse(Reason::InvalidConfig, format!("Unknown topic config name: {name}"))),
        }
    }
    Ok(())
}

/// Whether valid settings go together. Asked before a change is proposed: what was once in force stays.
///
/// # Errors
/// `InvalidConfig` for those that contradict one another.
pub fn validate_together(configs: &[(String, String)]) -> Result<(), Rejection> {
    let lag = |name: &str, default: u64| {
        let given = configs.iter().rev().find(|(known, _)| known == name);
        given.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(default)
    };
    let (min, max) = (lag("min.compaction.lag.ms", 0), lag("max.compaction.lag.ms", u64::MAX));
    if min > max {
        let text = format!("min.compaction.lag.ms ({min}) is larger than max.compaction.lag.ms ({max})");
        return Err(refuse(Reason::InvalidConfig, text));
    }
    Ok(())
}

/// Sorted by name; of a name given twice the last value counts, of an element twice in a list the first.
pub(crate) fn normalised(configs: &[(String, String)]) -> Vec<(String, String)> {
    let value = |name: &str, value: &str| match entry(name) {
        Some(entry) if entry.kind == Type::List => elements(value).join(","),
        _ => value.trim().to_owned(),
    };
    let mut sorted: Vec<(String, String)> =
        configs.iter().rev().map(|(name, given)| (name.clone(), value(name, given))).collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    sorted.dedup_by(|(later, _), (kept, _)| later == kept);
    sorted
}

/// What a comma-separated list has, each once; nothing if it is blank.
fn elements(list: &str) -> Vec<&str> {
    let mut elements = Vec::new();
    if list.trim().is_empty() {
        return elements;
    }
    for element in list.split(',').map(str::trim) {
        if !elements.contains(&element) {
            elements.push(element);
        }
    }
    elements
}

fn invalid(text: String) -> Rejection {
    refuse(Reason::InvalidConfig, text)
}

/// The settings the broker acts on, parsed.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    pub partition: PartitionConfig,
    /// `cleanup.policy` has compact and not delete: who keeps the latest of each key does not lose it by its place.
    pub compacts_only: bool,
    pub max_message_bytes: u32,
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
    /// A record may be this much older / younger than the broker's clock (CreateTime only).
    pub timestamp_before_max_ms: u64,
    pub timestamp_after_max_ms: u64,
    pub compression: Recompression,
    /// `min.insync.replicas`.
    pub in_sync_min: u32,
    /// It may be a dead-letter topic.
    pub dead_letters: bool,
}

/// `compression.type`: what the broker makes of produced batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Recompression {
    /// They stay as they are.
    #[default]
    Producer,
    Uncompressed,
    /// `None`: the library's own level.
    Gzip(Option<i32>),
    Snappy,
    Lz4,
    Zstd(Option<i32>),
}

/// Explicit settings over the node's defaults. Values that [`validate`] would refuse count as not set.
pub fn parsed(configs: &[(String, String)], defaults: &Defaults) -> TopicConfig {
    let over_changed;
    let configs = match defaults.changed.is_empty() {
        true => configs,
        false => {
            // The first of a name counts.
            over_changed = [configs, &defaults.changed].concat();
            &over_changed
        }
    };
    let number = |name: &str| get(configs, name).and_then(|value| value.parse::<i64>().ok());
    let or = |name: &str, default: u64| number(name).map_or(default, |n| u64::try_from(n).unwrap_or(default));
    // Negative numbers stand for no bound.
    let bound = |name: &str, default: Option<u64>| number(name).map_or(default, |n| u64::try_from(n).ok());
    let policy = get(configs, "cleanup.policy").unwrap_or("delete");
    let has = |item: &str| policy.split(',').any(|one| one.trim() == item);
    let compaction = || Compaction {
        min_lag_ms: or("min.compaction.lag.ms", 0),
        max_lag_ms: or("max.compaction.lag.ms", i64::MAX as u64),
        delete_retention_ms: or("delete.retention.ms", 24 * 3600 * 1000),
        dirty_ppm: {
            let ratio = get(configs, "min.cleanable.dirty.ratio").and_then(|value| value.parse::<f64>().ok());
            (ratio.unwrap_or(0.5).clamp(0.0, 1.0) * 1e6) as u32
        },
    };
    let level = |name: &str| number(name).filter(|n| *n != -1).and_then(|n| i32::try_from(n).ok());
    let mut partition = PartitionConfig::default();
    if has("delete") {
        partition.retention_ms = bound("retention.ms", defaults.retention_ms);
        partition.retention_bytes = bound("retention.bytes", defaults.retention_bytes);
        partition.retention_records = bound("retention.records", None);
    }
    partition.compaction = has("compact").then(|| Box::new(compaction()));
    TopicConfig {
        partition,
        compacts_only: has("compact") && !has("delete"),
        compression: match get(configs, "compression.type") {
            Some("uncompressed") => Recompression::Uncompressed,
            Some("gzip") => Recompression::Gzip(level("compression.gzip.level")),
            Some("snappy") => Recompression::Snappy,
            Some("lz4") => Recompression::Lz4,
            Some("zstd") => Recompression::Zstd(number("compression.zstd.level").map(|n| n as i32)),
            _ => Recompression::Producer,
        },
        dead_letters: get(configs, DEAD_LETTERS).is_some_and(|value| value.eq_ignore_ascii_case("true")),
        in_sync_min: or("min.insync.replicas", 1).try_into().unwrap_or(u32::MAX),
        max_message_bytes: or("max.message.bytes", defaults.max_message_bytes.into())
            .try_into()
            .unwrap_or(defaults.max_message_bytes),
        log_append_time: get(configs, "message.timestamp.type") == Some("LogAppendTime"),
        timestamp_before_max_ms: or("message.timestamp.before.max.ms", defaults.timestamp_before_max_ms),
        timestamp_after_max_ms: or("message.timestamp.after.max.ms", defaults.timestamp_after_max_ms),
    }
}

fn get<'a>(configs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    configs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}
