//! The state, and looking things up in it. Changes are in `apply`, routing is in `route`.
//!
//! Hash tables here are for finding only: no result depends on the order in which one is walked, so their random
//! seeds (a guard against chosen names) do not reach anything that must be equal on every replica.

use crate::access::{Configured, User};
use crate::acls::Acls;
use crate::bindings::{Bindings, Slot};
use crate::policy::Policies;
use crate::quotas::Quotas;
use crate::scram::ScramUsers;
use crate::slab::Slab;
use crate::targets::Special;
use crate::vhosts::{DEFAULT_VHOST, Parameters};
use crate::{Defaults, Exchange, Queue, Topic, refusal};
use bowline_model::meta::{ExchangeKind, Rejection, VhostSpec};
use bowline_model::request::{PartitionSpec, QueueSpec, TopicMeta};
use bowline_model::{PartitionId, QueueId, SessionId, ShardId, TopicId};
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};

/// The bounds of one cluster's topology. They guard memory; a cluster that meets them has lost control of its clients.
pub const EXCHANGES_MAX: usize = 1_000_000;
pub const QUEUES_MAX: usize = 2_000_000;
pub const BINDINGS_MAX: usize = 10_000_000;
/// Of all topics together.
pub const PARTITIONS_MAX: usize = 200_000;
pub const PARTITIONS_PER_TOPIC_MAX: u32 = 10_000;

/// The meta shard's state. Reading is cheap and needs no more than `&self`; sessions do it under a read lock.
#[derive(Debug)]
pub struct Topology {
    pub(crate) data_shards: u16,
    pub(crate) defaults: Defaults,
    /// Next id of a queue or partition. Never reused, so that data shards cannot confuse an old one with a new one.
    pub(crate) next_id: u32,
    pub(crate) next_producer: i64,
    pub(crate) vhosts: BTreeMap<Box<str>, Vhost>,
    pub(crate) exchanges: Slab<Exchange>,
    pub(crate) topics: Slab<Topic>,
    pub(crate) queues: HashMap<QueueId, Queue>,
    pub(crate) topic_ids: HashMap<TopicId, Slot>,
    pub(crate) partitions: HashMap<PartitionId, Slot>,
    pub(crate) exclusive: HashMap<SessionId, BTreeSet<QueueId>>,
    pub(crate) bindings: Bindings,
    pub(crate) special: Special,
    pub(crate) users: BTreeMap<Box<str>, User>,
    /// Of this node's configuration; not part of the replicated state.
    pub(crate) configured: Configured,
    pub(crate) configured_scram: ScramUsers,
    pub(crate) guest_is_out: bool,
    pub(crate) scram: ScramUsers,
    pub(crate) secret: Option<[u8; 32]>,
    pub(crate) parameters: Parameters,
    /// Settings of groups and of other things that are no topics.
    pub(crate) named: crate::configured::Named,
    pub(crate) acls: Acls,
    pub(crate) quotas: Quotas,
    /// See [`Topology::take_histories_gone`]; not part of the state.
    pub(crate) histories_gone: Vec<QueueId>,
}

/// Names of one virtual host.
#[derive(Debug, Default)]
pub(crate) struct Vhost {
    pub spec: VhostSpec,
    pub limits: BTreeMap<String, i64>,
    pub policies: Policies,
    pub operator_policies: Policies,
    pub exchanges: HashMap<Box<str>, Slot>,
    /// Queues and topics: what the default exchange routes to. Octets, because routing keys are.
    pub names: HashMap<Box<[u8]>, Named>,
    pub topics: BTreeMap<Box<str>, Slot>,
    /// Topics by their names with dots written as underscores.
    pub folded: BTreeMap<String, BTreeSet<Box<str>>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    Queue { queue: QueueId, durable: bool },
    Topic(Slot),
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    Queue(&'a Queue),
    Topic(&'a Topic),
}

impl Topology {
    /// One vhost, `/`, with RabbitMQ's predeclared exchanges and its user guest. `data_shards` ≥ 1 never changes for a
    /// data directory.
    pub fn new(data_shards: u16, defaults: Defaults) -> Topology {
        let mut topology = Topology::bare(data_shards, defaults);
        topology.put_vhost(VhostSpec { name: DEFAULT_VHOST.to_owned(), ..VhostSpec::default() });
        topology.add_guest();
        topology
    }

    /// Without any vhost.
    pub(crate) fn bare(data_shards: u16, defaults: Defaults) -> Topology {
        assert!(data_shards > 0, "a node has at least one data shard");
        Topology {
            data_shards,
            defaults,
            next_id: 1,
            next_producer: 1,
            vhosts: BTreeMap::new(),
            exchanges: Slab::new(),
            topics: Slab::new(),
            queues: HashMap::new(),
            topic_ids: HashMap::new(),
            partitions: HashMap::new(),
            exclusive: HashMap::new(),
            bindings: Bindings::new(),
            special: Special::default(),
            users: BTreeMap::new(),
            configured: Configured::default(),
            configured_scram: ScramUsers::new(),
            guest_is_out: false,
            scram: ScramUsers::new(),
            secret: None,
            parameters: Parameters::new(),
            named: crate::configured::Named::new(),
            acls: Acls::default(),
            quotas: Quotas::default(),
            histories_gone: Vec::new(),
        }
    }

    pub fn data_shards(&self) -> u16 {
        self.data_shards
    }

    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    pub fn has_vhost(&self, vhost: &str) -> bool {
        self.vhosts.contains_key(vhost)
    }

    /// The default exchange is "".
    pub fn exchange(&self, vhost: &str, name: &str) -> Option<&Exchange> {
        let slot = *self.vhosts.get(vhost)?.exchanges.get(name)?;
        self.exchanges.get(slot)
    }

    /// A topic is not a queue here: see [`Topology::entry`].
    pub fn queue(&self, vhost: &str, name: &str) -> Option<&Queue> {
        match self.entry(vhost, name)? {
            Entry::Queue(queue) => Some(queue),
            Entry::Topic(_) => None,
        }
    }

    pub fn queue_by_id(&self, queue: QueueId) -> Option<&Queue> {
        self.queues.get(&queue)
    }

    /// The queue, if it exists and `by` may use it; NotFound or Locked with RabbitMQ's words otherwise.
    pub fn queue_for(&self, vhost: &str, name: &str, by: SessionId) -> Result<&Queue, Rejection> {
        let queue = self.queue(vhost, name).ok_or_else(|| refusal::no_queue(vhost, name))?;
        if queue.open_to(by) { Ok(queue) } else { Err(refusal::locked(vhost, name)) }
    }

    pub fn topic(&self, vhost: &str, name: &str) -> Option<&Topic> {
        match self.entry(vhost, name)? {
            Entry::Queue(_) => None,
            Entry::Topic(topic) => Some(topic),
        }
    }

    pub fn topic_by_id(&self, id: &TopicId) -> Option<&Topic> {
        self.topics.get(*self.topic_ids.get(id)?)
    }

    pub fn topic_of(&self, partition: PartitionId) -> Option<&Topic> {
        self.topics.get(*self.partitions.get(&partition)?)
    }

    /// Sorted by name.
    pub fn topics(&self, vhost: &str) -> impl Iterator<Item = &Topic> {
        let names = self.vhosts.get(vhost).into_iter().flat_map(|vhost| vhost.topics.values());
        names.filter_map(|slot| self.topics.get(*slot))
    }

    /// What an AMQP queue name stands for.
    pub fn entry(&self, vhost: &str, name: &str) -> Option<Entry<'_>> {
        match self.vhosts.get(vhost)?.names.get(name.as_bytes())? {
            Named::Queue { queue, .. } => self.queues.get(queue).map(Entry::Queue),
            Named::Topic(slot) => self.topics.get(*slot).map(Entry::Topic),
        }
    }

    /// What goes with a connection, ascending.
    pub fn exclusive_queues_of(&self, session: SessionId) -> Vec<QueueId> {
        self.exclusive.get(&session).into_iter().flatten().copied().collect()
    }

    /// All that data shard `shard` should hold, ascending, for `Provision::Reconcile`.
    pub fn specs(&self, shard: ShardId) -> (Vec<QueueSpec>, Vec<PartitionSpec>) {
        let mut queues: Vec<QueueSpec> =
            self.queues.values().filter(|queue| queue.shard == shard).map(Queue::spec).collect();
        queues.sort_unstable_by_key(|spec| spec.queue);
        let mut partitions: Vec<PartitionSpec> =
            self.topics.iter().flat_map(|(_, topic)| topic.specs(0, &self.defaults)).collect();
        partitions.retain(|spec| self.shard_of(spec.partition) == shard);
        partitions.sort_unstable_by_key(|spec| spec.partition);
        (queues, partitions)
    }

    /// What groups' coordinators have to know of the topics that Kafka can name, by name.
    pub fn topic_metas(&self) -> Vec<TopicMeta> {
        self.topics(DEFAULT_VHOST).map(Topic::meta).collect()
    }

    /// Where a partition lives.
    pub fn shard_of(&self, partition: PartitionId) -> ShardId {
        ShardId::of(partition.0, self.data_shards)
    }
}

pub(crate) const PREDECLARED: &[(&str, ExchangeKind)] = &[
    ("", ExchangeKind::Direct),
    ("amq.direct", ExchangeKind::Direct),
    ("amq.fanout", ExchangeKind::Fanout),
    ("amq.headers", ExchangeKind::Headers),
    ("amq.match", ExchangeKind::Headers),
    ("amq.rabbitmq.trace", ExchangeKind::Topic),
    ("amq.topic", ExchangeKind::Topic),
];
