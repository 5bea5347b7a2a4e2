//! Topics as Kafka sees them, out of the node's topology.
//!
//! Topics live in vhost `/`; AMQP stream queues are topics too. Names that Kafka cannot express are not shown.
//! Sessions keep what they have looked up ([`TopicCache`]) until the topology moves, so that producing takes no lock.

use bowline_codec_kafka::Uuid;
use bowline_model::meta::ConfigKind;
use bowline_model::{PartitionId, TopicId};
use bowline_replica::Node;
use bowline_topology::Topology;
use bowline_topology::config::{self, Defaults, Recompression};
use hashbrown::HashMap;
use std::sync::Arc;

/// The virtual host in which all topics live.
pub const VHOST: &str = "/";

/// Longest topic name, in characters (all of them ASCII).
pub const TOPIC_NAME_MAX: usize = 249;

/// Topics that one session remembers before it starts over.
const CACHED_TOPICS_MAX: usize = 10_000;

/// One topic, at one version of the topology.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub name: String,
    pub id: TopicId,
    /// By partition index.
    pub partitions: Arc<[PartitionId]>,
    pub rules: AppendRules,
    /// `cleanup.policy` is compact alone: DeleteRecords is refused.
    pub compacts_only: bool,
    /// The configuration set explicitly, by Kafka's names.
    pub explicit: Vec<(String, String)>,
}

/// What the topic's configuration says about batches that may be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct AppendRules {
    /// `max.message.bytes`: the largest batch, bytes.
    pub message_bytes_max: usize,
    /// `message.timestamp.type` is LogAppendTime: the broker stamps the batch.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`: how far in the past record timestamps may lie.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far in the future.
    pub after_max_ms: i64,
    /// `cleanup.policy` has compact: every record has a key.
    pub keyed: bool,
    /// `compression.type`.
    pub compression: Recompression,
    /// `min.insync.replicas`: acks=all asks for so many.
    pub in_sync_min: u32,
}

impl Default for AppendRules {
    fn default() -> AppendRules {
        AppendRules {
            message_bytes_max: 1_048_588,
            log_append_time: false,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            keyed: false,
            compression: Recompression::Producer,
            in_sync_min: 1,
        }
    }
}

impl Topic {
    fn from_topology(topic: &bowline_topology::Topic, defaults: &Defaults) -> Topic {
        let parsed = config::parsed(&topic.configs, defaults);
        Topic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: topic.partitions.clone(),
            rules: AppendRules {
                message_bytes_max: parsed.max_message_bytes as usize,
                log_append_time: parsed.log_append_time,
                before_max_ms: i64::try_from(parsed.timestamp_before_max_ms).unwrap_or(i64::MAX),
                after_max_ms: i64::try_from(parsed.timestamp_after_max_ms).unwrap_or(i64::MAX),
                keyed: parsed.partition.compaction.is_some(),
                compression: parsed.compression,
                in_sync_min: parsed.in_sync_min,
            },
            compacts_only: parsed.compacts_only,
            explicit: topic.configs.clone(),
        }
    }

    pub fn wire_id(&self) -> Uuid {
        Uuid(self.id.0)
    }

    /// The partition with this index on the wire, if there is one.
    pub fn partition(&self, index: i32) -> Option<PartitionId> {
        self.partitions.get(usize::try_from(index).ok()?).copied()
    }
}

/// Read access to the node: its topics above all. Crossed by tests, which have no node.
pub trait Catalog: Send + Sync {
    /// Moves whenever anything below may answer differently.
    fn version(&self) -> u64;
    fn topic(&self, name: &str) -> Option<Arc<Topic>>;
    fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>>;
    /// All topics that Kafka can name, ordered by name.
    fn topics(&self) -> Vec<Arc<Topic>>;
    /// What topics inherit.
    fn defaults(&self) -> Defaults;
    /// Explicit settings of what is no topic, sorted by name.
    fn configs(&self, kind: ConfigKind, name: &str) -> Vec<(String, String)>;
    /// Names of what has such settings.
    fn configured(&self, kind: ConfigKind) -> Vec<String>;
    /// See [`Node::meta_index`].
    fn meta_index(&self) -> u64;
    /// See [`Node::volume`].
    fn volume(&self) -> Option<(u64, u64)>;
    /// Lets `at` see the whole topology, once, for what is rarely asked. No lock may be taken meanwhile.
    fn look(&self, at: &mut dyn FnMut(&Topology));
}

impl Catalog for Node {
    fn version(&self) -> u64 {
        self.topology_version()
    }

    fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        let topology = self.topology();
        let topic = topology.topic(VHOST, name)?;
        is_valid_name(name).then(|| Arc::new(Topic::from_topology(topic, topology.defaults())))
    }

    fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        let topology = self.topology();
        let topic = topology.topic_by_id(&id)?;
        let shown = topic.vhost == VHOST && is_valid_name(&topic.name);
        shown.then(|| Arc::new(Topic::from_topology(topic, topology.defaults())))
    }

    fn topics(&self) -> Vec<Arc<Topic>> {
        let topology = self.topology();
        let shown = topology.topics(VHOST).filter(|topic| is_valid_name(&topic.name));
        let mut topics: Vec<Arc<Topic>> =
            shown.map(|topic| Arc::new(Topic::from_topology(topic, topology.defaults()))).collect();
        drop(topology);
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    fn defaults(&self) -> Defaults {
        self.topology().defaults().clone()
    }

    fn configs(&self, kind: ConfigKind, name: &str) -> Vec<(String, String)> {
        self.topology().configs(kind, name).to_vec()
    }

    fn configured(&self, kind: ConfigKind) -> Vec<String> {
        self.topology().configured(kind).map(|(name, _)| name.to_owned()).collect()
    }

    fn meta_index(&self) -> u64 {
        Node::meta_index(self)
    }

    fn volume(&self) -> Option<(u64, u64)> {
        Node::volume(self)
    }

    fn look(&self, at: &mut dyn FnMut(&Topology)) {
        at(&self.topology());
    }
}

/// What one session has looked up.
#[derive(Default)]
pub struct TopicCache {
    version: u64,
    by_name: HashMap<String, Arc<Topic>, foldhash::fast::RandomState>,
    by_id: HashMap<TopicId, Arc<Topic>, foldhash::fast::RandomState>,
}

impl TopicCache {
    pub fn topic(&mut self, catalog: &dyn Catalog, name: &str) -> Option<Arc<Topic>> {
        self.refresh(catalog);
        if let Some(topic) = self.by_name.get(name) {
            return Some(topic.clone());
        }
        let topic = catalog.topic(name)?;
        self.by_name.insert(name.to_owned(), topic.clone());
        Some(topic)
    }

    pub fn topic_by_id(&mut self, catalog: &dyn Catalog, id: Uuid) -> Option<Arc<Topic>> {
        self.refresh(catalog);
        let id = TopicId(id.0);
        if let Some(topic) = self.by_id.get(&id) {
            return Some(topic.clone());
        }
        let topic = catalog.topic_by_id(id)?;
        self.by_id.insert(id, topic.clone());
        Some(topic)
    }

    fn refresh(&mut self, catalog: &dyn Catalog) {
        let version = catalog.version();
        if version != self.version || self.by_name.len() + self.by_id.len() > CACHED_TOPICS_MAX {
            self.by_name.clear();
            self.by_id.clear();
            self.version = version;
        }
    }
}

/// Kafka's rule for topic names: 1 to 249 of `[a-zA-Z0-9._-]`, and neither `.` nor `..`.
pub fn is_valid_name(name: &str) -> bool {
    (1..=TOPIC_NAME_MAX).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        for good in ["a", "test_topic", "A.b-c_9", &"x".repeat(249), "..."] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a:b", &"x".repeat(250)] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
