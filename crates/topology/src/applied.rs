//! What came of a command: what the replica has to provision and what the session is told.

use bowline_model::meta::{ConfigKind, Destination, Rejection};
use bowline_model::request::{PartitionSpec, QueueSpec};
use bowline_model::settings::QueueSettings;
use bowline_model::{PartitionId, QueueId, ShardId, TopicId};
use std::sync::Arc;

/// The result of a command that was not refused.
#[derive(Clone, PartialEq, Debug)]
pub enum Applied {
    /// It was so already (declared again, bound again, deleting what is not there).
    Unchanged,
    /// Exchanges or bindings changed; nothing to provision.
    Changed,
    /// Changed; and provision the queue in which the new exchange remembers.
    NewHistory(QueueSpec),
    /// Changed; and copy the history to what was bound.
    BoundToHistory { history: QueueId, shard: ShardId, destination: Destination },
    /// Provision it on its shard, answer when `QueueReady` comes.
    NewQueue(QueueSpec),
    /// Declared again with the same properties: ask its shard for the counts.
    ExistingQueue { queue: QueueId, shard: ShardId, name: String },
    /// The queue and its bindings are forgotten. Its shard had dropped it before.
    QueueRemoved { queue: QueueId },
    /// Provision the partitions (of which at least one), in index order.
    NewTopic { id: TopicId, partitions: Vec<PartitionSpec> },
    /// Declared again as a stream over AMQP with the same properties.
    ExistingTopic { id: TopicId, partitions: Vec<PartitionId> },
    /// Provision the added partitions. Empty never: growing to the present number is refused.
    PartitionsAdded { id: TopicId, added: Vec<PartitionSpec> },
    /// Provision every partition again with its new configuration.
    TopicConfigured { id: TopicId, partitions: Vec<PartitionSpec> },
    /// Tell the shards to drop these.
    TopicRemoved { id: TopicId, partitions: Vec<PartitionId> },
    /// A fresh Kafka producer id; epoch 0.
    ProducerId(i64),
    /// A policy changed: tell the queues' shards what they enforce now, and the partitions'.
    Reconfigured { queues: Vec<(QueueId, ShardId, Box<QueueSettings>)>, partitions: Vec<PartitionSpec> },
    /// Tell the shards to drop these, close the connections that use it.
    VhostRemoved { name: Arc<str>, queues: Vec<QueueId>, partitions: Vec<PartitionId> },
    /// Close this user's connections.
    UserRemoved { name: Arc<str> },
    /// Tell whoever obeys them: the explicit settings now.
    Configured { kind: ConfigKind, name: String, configs: Vec<(String, String)> },
}

impl Applied {
    /// What sessions learnt of routing, queues and topics may be stale: advance the topology version.
    pub fn changes_topology(&self) -> bool {
        !matches!(
            self,
            Applied::Unchanged
                | Applied::ExistingQueue { .. }
                | Applied::ExistingTopic { .. }
                | Applied::ProducerId(_)
        )
    }
}

/// What `apply` would do with a command now.
#[derive(Clone, PartialEq, Debug)]
pub enum Check {
    /// It would change the state: log it, then apply.
    Log,
    /// Nothing to change; this is the answer (`Unchanged`, `ExistingQueue` or `ExistingTopic`).
    Done(Applied),
    Refuse(Rejection),
}
