//! One topic.

use crate::arguments::DeclaredType;
use crate::arguments::{self, get};
use crate::config::{self, Defaults, TopicConfig};
use crate::policy::{self, InForce, Subject};
use crate::refusal::Resource;
use crate::state::Vhost;
use crate::value::integer;
use crate::{equivalence, refusal};
use bowline_model::meta::{Rejection, Table, Value};
use bowline_model::request::{PartitionSpec, TopicMeta};
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
    /// What a policy says instead, by the same names.
    pub policy_configs: Vec<(String, String)>,
    /// Policies that hold for it, if any does.
    pub in_force: Option<Box<InForce>>,
    /// Of the AMQP declaration; empty if it was created through Kafka.
    pub arguments: Table,
    pub created: Millis,
}

impl Topic {
    pub fn meta(&self) -> TopicMeta {
        TopicMeta { name: self.name.as_str().into(), id: self.id, partitions: self.partitions.len() as u32 }
    }

    /// The settings that hold for it, explicit or inherited.
    pub fn config(&self, defaults: &Defaults) -> TopicConfig {
        if self.policy_configs.is_empty() {
            return config::parsed(&self.configs, defaults);
        }
        let own = self.configs.iter().filter(|(name, _)| !self.policy_configs.iter().any(|(n, _)| n == name));
        let all: Vec<_> = own.chain(&self.policy_configs).cloned().collect();
        config::parsed(&config::normalised(&all), defaults)
    }

    /// Settles what is in force for it. As in RabbitMQ a policy's age counts before the stream's own, and of sizes
    /// the smaller counts. True if it keeps something else now.
    pub(crate) fn follow(&mut self, vhost: &Vhost) -> bool {
        if vhost.policies.is_empty() && vhost.operator_policies.is_empty() && self.in_force.is_none() {
            return false;
        }
        let found = policy::in_force(vhost, Subject::Queue(DeclaredType::Stream), &self.name);
        let mut configs = Vec::new();
        if let Some(Value::Str(age)) = get(&found.definition, "max-age")
            && let Some(ms) = arguments::age_ms(age)
        {
            configs.push(("retention.ms".to_owned(), ms.to_string()));
        }
        if let Some(bytes) = get(&found.definition, "max-length-bytes").and_then(integer) {
            let own = self.configs.iter().find(|(name, _)| name == "retention.bytes");
            let own = own.and_then(|(_, bytes)| bytes.parse::<i128>().ok()).filter(|bytes| *bytes >= 0);
            let bytes = own.map_or(bytes, |own| own.min(bytes)).min(i64::MAX.into());
            configs.push(("retention.bytes".to_owned(), bytes.to_string()));
        }
        let any = found.policy.is_some() || found.operator_policy.is_some();
        self.in_force = any.then(|| Box::new(found));
        let changed = self.policy_configs != configs;
        self.policy_configs = configs;
        changed
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
