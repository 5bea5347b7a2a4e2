//! Topic configuration: which Kafka settings exist, their types, defaults and checks.

use crate::Topic;
use bowline_model::meta::Rejection;
use bowline_model::request::PartitionConfig;

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
        }
    }
}

/// Kafka's configuration types (DescribeConfigs `ConfigType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Boolean,
    String,
    Int,
    Long,
    Double,
    List,
}

/// One topic setting.
#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    pub kind: Type,
    pub doc: &'static str,
    /// The broker-level setting that it inherits from (a DescribeConfigs synonym).
    pub broker_name: &'static str,
}

/// All settings, sorted by name.
pub static ENTRIES: &[Entry] = &[];

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
    let _ = (topic, defaults);
    Vec::new()
}

/// Checks explicit configuration; InvalidConfig with Kafka's text otherwise.
pub fn validate(configs: &[(String, String)]) -> Result<(), Rejection> {
    let _ = configs;
    Ok(())
}

/// The settings the broker acts on, parsed.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    pub partition: PartitionConfig,
    pub max_message_bytes: u32,
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
    /// A record may be this much older / younger than the broker's clock (CreateTime only).
    pub timestamp_before_max_ms: u64,
    pub timestamp_after_max_ms: u64,
}

/// Explicit settings over the node's defaults.
pub fn parsed(configs: &[(String, String)], defaults: &Defaults) -> TopicConfig {
    let _ = configs;
    TopicConfig {
        partition: PartitionConfig {
            retention_ms: defaults.retention_ms,
            retention_bytes: defaults.retention_bytes,
        },
        max_message_bytes: defaults.max_message_bytes,
        log_append_time: false,
        timestamp_before_max_ms: defaults.timestamp_before_max_ms,
        timestamp_after_max_ms: defaults.timestamp_after_max_ms,
    }
}
