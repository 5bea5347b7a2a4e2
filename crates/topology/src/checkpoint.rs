//! The whole state as bytes and back.
//!
//! ```text
//! checkpoint := version u32 LE | postcard of `Content` | postcard of `Security` (from version 2 on)
//!             | postcard of n × (kind, name, settings) of groups and the like (from version 3 on)
//!             | postcard of `Authentication` (from version 4 on)
//!             | postcard of `KafkaRules` (from version 5 on)
//! ```
//! Version 1 knew the vhost `/` alone, and neither users nor policies: it is read as if guest were there.
//! Canonical: every list is sorted by what names its elements, so equal states give equal bytes on every replica.
//! Versions are never reused. Fields of the logged types are only ever appended (see `model::meta`).

use crate::Topic;
use crate::config::Defaults;
use crate::listing::in_order;
use crate::quotas::Limits;
use crate::scram::ScramUsers;
use crate::state::{Topology, Vhost};
use bowline_model::acl::Acl;
use bowline_model::meta::{
    Binding, ExchangeSpec, LimitScope, PermissionSpec, PolicySpec, QueueDeclaration, Table,
    TopicPermissionSpec, UserSpec, VhostSpec,
};
use bowline_model::quota::{QuotaChanges, QuotaEntity};
use bowline_model::{Millis, PartitionId, QueueId, TopicId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const VERSION: u32 = 5;
const VERSION_WITHOUT_SCRAM: u32 = 3;
const VERSION_WITHOUT_NAMED: u32 = 2;
const VERSION_WITHOUT_SECURITY: u32 = 1;
const VERSION_WITHOUT_KAFKA_RULES: u32 = 4;

/// A checkpoint that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreError {
    /// Written by a later version.
    Version(u32),
    Damaged,
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RestoreError::Version(version) => write!(f, "topology checkpoint of unknown version {version}"),
            RestoreError::Damaged => f.write_str("topology checkpoint is damaged"),
        }
    }
}

impl std::error::Error for RestoreError {}

#[derive(Serialize, Deserialize)]
struct Content {
    data_shards: u16,
    next_id: u32,
    next_producer: i64,
    vhosts: Vec<String>,
    exchanges: Vec<ExchangeSpec>,
    queues: Vec<StoredQueue>,
    topics: Vec<StoredTopic>,
    bindings: Vec<Binding>,
}

#[derive(Serialize, Deserialize)]
struct Security {
    vhosts: Vec<VhostSpec>,
    users: Vec<UserSpec>,
    permissions: Vec<PermissionSpec>,
    topic_permissions: Vec<TopicPermissionSpec>,
    policies: Vec<PolicySpec>,
    limits: Vec<(LimitScope, Vec<(String, i64)>)>,
    parameters: Vec<(Option<String>, String, String, String)>,
}

#[derive(Serialize, Deserialize, Default)]
struct Authentication {
    secret: Option<[u8; 32]>,
    scram: ScramUsers,
}

#[derive(Serialize, Deserialize, Default)]
struct KafkaRules {
    acls: Vec<Acl>,
    quotas: Vec<(QuotaEntity, QuotaChanges)>,
}

#[derive(Serialize, Deserialize)]
struct StoredQueue {
    id: QueueId,
    created: Millis,
    declared: QueueDeclaration,
}

#[derive(Serialize, Deserialize)]
struct StoredTopic {
    vhost: String,
    name: String,
    id: TopicId,
    created: Millis,
    partitions: Vec<PartitionId>,
    configs: Vec<(String, String)>,
    arguments: Table,
}

impl Topology {
    /// The whole state, versioned and canonical.
    pub fn checkpoint(&self) -> Vec<u8> {
        let vhosts: Vec<String> = self.vhosts.keys().map(|name| name.to_string()).collect();
        let mut queues: Vec<StoredQueue> = self
            .queues
            .values()
            .map(|queue| StoredQueue {
                id: queue.id,
                created: queue.created,
                declared: queue.declared.clone(),
            })
            .collect();
        queues.sort_unstable_by_key(|queue| queue.id);
        let content = Content {
            data_shards: self.data_shards,
            next_id: self.next_id,
            next_producer: self.next_producer,
            exchanges: vhosts.iter().flat_map(|v| self.exchanges(v)).map(|x| x.spec.clone()).collect(),
            queues,
            topics: vhosts.iter().flat_map(|v| self.topics(v)).map(stored).collect(),
            bindings: in_order(self.bindings.iter().filter_map(|record| self.describe(record)).collect()),
            vhosts,
        };
        let out = VERSION.to_le_bytes().to_vec();
        let out = postcard::to_extend(&content, out).expect("our plain data always serialises");
        let out = postcard::to_extend(&self.security(), out).expect("our plain data always serialises");
        let out = postcard::to_extend(&self.named, out).expect("our plain data always serialises");
        let authentication = Authentication { secret: self.secret, scram: self.scram.clone() };
        let out = postcard::to_extend(&authentication, out).expect("our plain data always serialises");
        postcard::to_extend(&self.kafka_rules(), out).expect("our plain data always serialises")
    }

    fn kafka_rules(&self) -> KafkaRules {
        let plain = |values: &Limits| values.iter().map(|(key, value)| (*key, Some(*value))).collect();
        KafkaRules {
            acls: self.acls.iter().collect(),
            quotas: self.quotas.iter().map(|(entity, values)| (entity.clone(), plain(values))).collect(),
        }
    }

    fn security(&self) -> Security {
        let policies = |operator| self.vhosts().flat_map(move |v| self.policies(&v.name, operator));
        let plain =
            |limits: &BTreeMap<String, i64>| limits.iter().map(|(name, n)| (name.clone(), *n)).collect();
        Security {
            vhosts: self.vhosts().cloned().collect(),
            users: self.users().map(|user| user.spec.clone()).collect(),
            permissions: self.permissions().cloned().collect(),
            topic_permissions: self.topic_permissions().cloned().collect(),
            policies: policies(false).chain(policies(true)).cloned().collect(),
            limits: self.limits().map(|(scope, limits)| (scope, plain(limits))).collect(),
            parameters: self.parameters().map(|p| (p.vhost, p.component, p.name, p.value)).collect(),
        }
    }

    /// Before queues and exchanges: they follow the policies as they are added.
    fn secure(&mut self, security: Security) {
        for spec in security.vhosts {
            if let Some(vhost) = self.vhosts.get_mut(&*spec.name) {
                vhost.spec = spec;
            }
        }
        security.users.into_iter().for_each(|spec| self.put_user(spec));
        security.permissions.into_iter().for_each(|spec| self.put_permission(spec));
        security.topic_permissions.into_iter().for_each(|spec| self.put_topic_permission(spec));
        security.policies.into_iter().for_each(|spec| drop(self.add_policy(spec)));
        security.limits.iter().for_each(|(scope, limits)| self.put_limits(scope, limits));
        let parameters = security.parameters.into_iter();
        self.parameters =
            parameters.map(|(vhost, component, name, value)| ((vhost, component, name), value)).collect();
    }

    /// Reads a checkpoint. What `defaults` says now holds for topics that do not set it themselves.
    pub fn restore(checkpoint: &[u8], defaults: Defaults) -> Result<Topology, RestoreError> {
        let (version, content) = checkpoint.split_first_chunk::<4>().ok_or(RestoreError::Damaged)?;
        let version = u32::from_le_bytes(*version);
        match version {
            VERSION_WITHOUT_SECURITY..=VERSION => {}
            0 => return Err(RestoreError::Damaged),
            other => return Err(RestoreError::Version(other)),
        }
        let (content, rest): (Content, _) =
            postcard::take_from_bytes(content).map_err(|_| RestoreError::Damaged)?;
        let (security, rest): (Option<Security>, _) = match version {
            VERSION_WITHOUT_SECURITY => (None, rest),
            _ => {
                let (security, rest) = postcard::take_from_bytes(rest).map_err(|_| RestoreError::Damaged)?;
                (Some(security), rest)
            }
        };
        let (named, rest) = match version {
            VERSION_WITHOUT_SECURITY | VERSION_WITHOUT_NAMED => (Default::default(), rest),
            _ => postcard::take_from_bytes(rest).map_err(|_| RestoreError::Damaged)?,
        };
        let (authentication, rest): (Authentication, _) = match version {
            VERSION_WITHOUT_SECURITY | VERSION_WITHOUT_NAMED | VERSION_WITHOUT_SCRAM => {
                (Authentication::default(), rest)
            }
            _ => postcard::take_from_bytes(rest).map_err(|_| RestoreError::Damaged)?,
        };
        let rules: KafkaRules = match version {
            VERSION_WITHOUT_SECURITY..=VERSION_WITHOUT_KAFKA_RULES => KafkaRules::default(),
            _ => postcard::from_bytes(rest).map_err(|_| RestoreError::Damaged)?,
        };
        if content.data_shards == 0 {
            return Err(RestoreError::Damaged);
        }
        let expected =
            (content.exchanges.len(), content.queues.len(), content.topics.len(), content.bindings.len());
        let mut topology = Topology::bare(content.data_shards, defaults);
        topology.next_id = content.next_id;
        topology.next_producer = content.next_producer;
        topology.named = named;
        topology.follow_broker_settings();
        for vhost in content.vhosts {
            let spec = VhostSpec { name: vhost.clone(), ..VhostSpec::default() };
            topology.vhosts.insert(vhost.into(), Vhost { spec, ..Vhost::default() });
        }
        match security {
            Some(security) => topology.secure(security),
            None => topology.add_guest(),
        }
        topology.secret = authentication.secret;
        topology.scram = authentication.scram;
        rules.acls.into_iter().for_each(|acl| topology.acls.add(acl));
        rules.quotas.iter().for_each(|(entity, values)| topology.quotas.set(entity, values));
        for spec in content.exchanges {
            topology.add_exchange(spec);
        }
        for queue in content.queues {
            topology.add_queue(queue.id, queue.created, queue.declared);
        }
        for topic in content.topics {
            topology.add_topic(restored(topic));
        }
        for binding in &content.bindings {
            topology.add_binding(binding);
        }
        // What was dropped or laid over something else on the way does not count: nothing may be.
        let named: usize = topology.vhosts.values().map(|vhost| vhost.names.len()).sum();
        let histories = topology.exchanges.iter().filter(|(_, exchange)| exchange.history.is_some()).count();
        let names = named + histories;
        let exchanges: usize = topology.vhosts.values().map(|vhost| vhost.exchanges.len()).sum();
        let found = (exchanges, topology.queues.len(), topology.topic_ids.len(), topology.bindings.len());
        if found != expected || names != expected.1 + expected.2 {
            return Err(RestoreError::Damaged);
        }
        Ok(topology)
    }
}

fn stored(topic: &Topic) -> StoredTopic {
    StoredTopic {
        vhost: topic.vhost.clone(),
        name: topic.name.clone(),
        id: topic.id,
        created: topic.created,
        partitions: topic.partitions.to_vec(),
        configs: topic.configs.clone(),
        arguments: topic.arguments.clone(),
    }
}

fn restored(topic: StoredTopic) -> Topic {
    Topic {
        vhost: topic.vhost,
        name: topic.name,
        id: topic.id,
        partitions: topic.partitions.into(),
        configs: topic.configs,
        policy_configs: Vec::new(),
        in_force: None,
        arguments: topic.arguments,
        created: topic.created,
    }
}
