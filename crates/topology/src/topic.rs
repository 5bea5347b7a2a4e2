//! One topic.

use crate::arguments::DeclaredType;
use crate::config::{self, Defaults, TopicConfig};
use crate::refusal::Resource;
use crate::{equivalence, refusal};
use bowline_model::meta::{Rejection, Table};
use bowline_model::request::PartitionSpec;
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

impl Topic {
    /// The settings that hold for it, explicit or inherited.
    pub fn config(&self, defaults: &Defaults) -> TopicConfig {
        config::parsed(&self.configs, defaults)
    }

    /// Whether declaring an AMQP queue with its name like this would be no change; Locked or Inequivalent otherwise.
    /// To AMQP clients a topic is a durable queue of type `stream`, however it was created.
    pub fn check_redeclared(
        &self,
        durable: bool,
        auto_delete: bool,
        exclusive: bool,
        arguments: &Table,
    ) -> Result<(), Rejection> {
        if exclusive {
            return Err(refusal::locked(&self.vhost, &self.name));
        }
        let resource = Resource::queue(&self.vhost, &self.name);
        equivalence::check_field(&resource, "durable", true, durable)?;
        equivalence::check_field(&resource, "auto_delete", false, auto_delete)?;
        equivalence::check_queue_arguments(&resource, DeclaredType::Stream, &self.arguments, arguments)
    }

    /// The partitions from index `first` on, as their shards have to know them.
    pub(crate) fn specs(&self, first: usize, defaults: &Defaults) -> Vec<PartitionSpec> {
        let config = self.config(defaults).partition;
        self.partitions
            .iter()
            .zip(0u32..)
            .skip(first)
            .map(|(&partition, index)| PartitionSpec {
                partition,
                topic: self.id,
                topic_name: self.name.clone(),
                index,
                config: config.clone(),
            })
            .collect()
    }
}
