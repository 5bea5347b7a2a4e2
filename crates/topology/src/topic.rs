//! One topic.

use bowline_model::meta::Table;
use bowline_model::{Millis, PartitionId, TopicId};
use std::sync::Arc;

#[derive(Debug)]
pub struct Topic {
    pub vhost: String,
    pub name: String,
    pub id: TopicId,
    /// In index order, never empty. Replaced, not changed, when the topic grows.
    pub partitions: Arc<[PartitionId]>,
    /// Set explicitly: sorted by name, valid.
    pub configs: Vec<(String, String)>,
    /// Of the AMQP declaration; empty if it was created through Kafka.
    pub arguments: Table,
    pub created: Millis,
}
