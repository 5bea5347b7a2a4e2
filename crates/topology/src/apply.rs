//! Changing the state. Every function here is total: what could be refused was refused by `decide`.

use crate::bindings::{Slot, Target, encoded_arguments};
use crate::decide::resolve;
use crate::state::{Named, Topology};
use crate::{Applied, Exchange, Queue, QueueType, Topic, arguments, config, history, names, spread};
use bowline_model::meta::{Binding, Command, ExchangeSpec, QueueDeclaration, Rejection, TopicSpec};
use bowline_model::{Millis, PartitionId, QueueId, ShardId};
use std::borrow::Cow;
use std::sync::Arc;

impl Topology {
    /// Deterministic in state, `now` and `command`.
    pub fn apply(&mut self, now: Millis, command: &Command) -> Result<Applied, Rejection> {
        self.histories_gone.clear();
        if let Some(done) = self.decide(command)? {
            return Ok(done);
        }
        Ok(match command {
            Command::ExchangeDeclare(spec) => self.declare_exchange(now, spec),
            Command::ExchangeDelete { vhost, name, .. } => {
                if let Some(slot) = self.exchange_slot(vhost, name) {
                    self.remove_exchanges(vec![slot]);
                }
                Applied::Changed
            }
            Command::Bind(binding) => {
                self.add_binding(binding);
                self.bound(binding)
            }
            Command::Unbind(binding) => {
                self.remove_binding(binding);
                Applied::Changed
            }
            Command::QueueDeclare(declaration) => self.declare_queue(now, declaration),
            Command::QueueRemove { queue } => {
                self.remove_queue(*queue);
                Applied::QueueRemoved { queue: *queue }
            }
            Command::TopicCreate(spec) => self.create_topic(now, spec),
            Command::TopicDelete { vhost, name } => self.delete_topic(vhost, name),
            Command::PartitionsAdd { vhost, name, total } => self.add_partitions(vhost, name, *total),
            Command::TopicConfigure { vhost, name, configs } => self.configure_topic(vhost, name, configs),
            Command::ProducerId => {
                let id = self.next_producer;
                self.next_producer += 1;
                Applied::ProducerId(id)
            }
            Command::VhostPut(spec) => {
                self.put_vhost(spec.clone());
                Applied::Changed
            }
            Command::VhostDelete { name } => self.delete_vhost(name),
            Command::UserPut(spec) => {
                self.put_user(spec.clone());
                Applied::Changed
            }
            Command::UserDelete { name } => {
                self.users.remove(&**name);
                self.scram.remove(&**name);
                Applied::UserRemoved { name: name.as_str().into() }
            }
            Command::PermissionPut(spec) => {
                self.put_permission(spec.clone());
                Applied::Changed
            }
            Command::PermissionDelete { user, vhost } => {
                if let Some(user) = self.users.get_mut(&**user) {
                    user.permissions.remove(&**vhost);
                }
                Applied::Changed
            }
            Command::TopicPermissionPut(spec) => {
                self.put_topic_permission(spec.clone());
                Applied::Changed
            }
            Command::TopicPermissionDelete { user, vhost, exchange } => {
                if let Some(user) = self.users.get_mut(&**user) {
                    let goes = |v: &str, x: &str| v == vhost && exchange.as_deref().is_none_or(|e| e == x);
                    user.topics.retain(|(v, x), _| !goes(v, x));
                }
                Applied::Changed
            }
            Command::ScramAlter { user, put, remove } => {
                self.alter_scram(user, put, remove);
                Applied::Changed
            }
            Command::SecretSet(secret) => {
                self.secret = Some(*secret);
                Applied::Changed
            }
            Command::PolicyPut(spec) => self.put_policy(spec),
            Command::PolicyDelete { vhost, name, operator } => self.delete_policy(vhost, name, *operator),
            Command::LimitsPut { scope, limits } => {
                self.put_limits(scope, limits);
                Applied::Changed
            }
            Command::ParameterPut { vhost, component, name, value } => {
                let key = (vhost.clone(), component.clone(), name.clone());
                self.parameters.insert(key, value.clone());
                Applied::Changed
            }
            Command::ConfigPut { kind, name, configs } => self.put_config(*kind, name, configs),
            Command::AclsAdd(acls) => {
                acls.iter().for_each(|acl| self.acls.add(acl.clone()));
                Applied::Changed
            }
            Command::AclsRemove(acls) => {
                acls.iter().for_each(|acl| self.acls.remove(acl));
                Applied::Changed
            }
            Command::QuotasSet { entity, changes } => {
                self.quotas.set(entity, changes);
                Applied::Changed
            }
        })
    }

    /// The node started again (record `NodeStarted`): exclusive queues, non-durable queues and exchanges go, with
    /// their bindings. The queues that went, ascending. A binding is as durable as the less durable of its ends.
    pub fn node_started(&mut self) -> Vec<QueueId> {
        let goes = |queue: &&Queue| !queue.declared.durable || queue.declared.exclusive.is_some();
        let mut queues: Vec<QueueId> = self.queues.values().filter(goes).map(|queue| queue.id).collect();
        queues.sort_unstable();
        for queue in &queues {
            self.remove_queue(*queue);
        }
        let transient = self.exchanges.iter().filter(|(_, exchange)| !exchange.spec.durable);
        let transient = transient.map(|(slot, _)| slot).collect();
        self.remove_exchanges(transient);
        self.histories_gone.clear();
        queues
    }

    pub(crate) fn add_exchange(&mut self, spec: ExchangeSpec) {
        let (vhost, name) = (spec.vhost.clone(), spec.name.clone());
        let mut exchange = Exchange::new(spec);
        let vhost = self.vhosts.entry(vhost.into()).or_default();
        exchange.follow(vhost);
        vhost.exchanges.insert(name.into(), self.exchanges.insert(exchange));
    }

    pub(crate) fn add_binding(&mut self, binding: &Binding) {
        let Some(vhost) = self.vhosts.get(&*binding.vhost) else { return };
        let Some(source) = vhost.exchanges.get(&*binding.source).copied() else { return };
        let Some(target) = resolve(vhost, &binding.destination) else { return };
        let arguments = encoded_arguments(&binding.arguments);
        let seed = match target {
            Target::Queue { queue, .. } => spread::mix(queue.0.into()),
            Target::Topic(slot) => self.topics.get(slot).map_or(0, |topic| spread::hash(&topic.id.0)),
            Target::Exchange(slot) => {
                self.exchanges.get(slot).map_or(0, |exchange| spread::hash(exchange.spec.name.as_bytes()))
            }
        };
        let id = self.bindings.insert(source, target, binding.routing_key.as_str().into(), arguments);
        if let (Some(exchange), Some(record)) = (self.exchanges.get_mut(source), self.bindings.get(id)) {
            exchange.matcher.add(id, record, seed);
        }
    }

    pub(crate) fn add_queue(&mut self, id: QueueId, created: Millis, declared: QueueDeclaration) {
        let kind = match arguments::declared_type(&declared.vhost, &declared.name, &declared.arguments) {
            Ok(arguments::DeclaredType::Quorum) => QueueType::Quorum,
            _ => QueueType::Classic,
        };
        let named = Named::Queue { queue: id, durable: declared.durable };
        let vhost = self.vhosts.entry(declared.vhost.as_str().into()).or_default();
        match history::exchange_of(&declared) {
            None => {
                vhost.names.insert(declared.name.as_bytes().into(), named);
            }
            Some(exchange) => {
                let slot = vhost.exchanges.get(exchange).copied();
                if let Some(exchange) = slot.and_then(|slot| self.exchanges.get_mut(slot)) {
                    exchange.history = Some(id);
                }
            }
        }
        if let Some(session) = declared.exclusive {
            self.exclusive.entry(session).or_default().insert(id);
        }
        let shard = ShardId::of(id.0, self.data_shards);
        let mut queue = Queue::new(id, shard, kind, declared, created);
        queue.follow(vhost);
        self.special.note(&queue);
        self.queues.insert(id, queue);
    }

    pub(crate) fn add_topic(&mut self, topic: Topic) -> Slot {
        let (id, name, partitions) = (topic.id, topic.name.clone(), topic.partitions.clone());
        let mut topic = topic;
        let vhost = self.vhosts.entry(topic.vhost.as_str().into()).or_default();
        topic.follow(vhost);
        let slot = self.topics.insert(topic);
        vhost.names.insert(name.as_bytes().into(), Named::Topic(slot));
        vhost.folded.entry(names::folded(&name)).or_default().insert(name.as_str().into());
        vhost.topics.insert(name.into(), slot);
        self.topic_ids.insert(id, slot);
        self.partitions.extend(partitions.iter().map(|partition| (*partition, slot)));
        slot
    }

    fn declare_queue(&mut self, now: Millis, declaration: &QueueDeclaration) -> Applied {
        let id = QueueId(self.next_id);
        self.next_id += 1;
        let mut declared = declaration.clone();
        declared.durable &= declared.exclusive.is_none();
        if let Cow::Owned(arguments) = self.with_default_type(declaration) {
            declared.arguments = arguments;
        }
        self.add_queue(id, now, declared);
        Applied::NewQueue(self.queues[&id].spec())
    }

    fn create_topic(&mut self, now: Millis, spec: &TopicSpec) -> Applied {
        let partitions: Arc<[PartitionId]> = self.new_partitions(spec.partitions).collect();
        let slot = self.add_topic(Topic {
            vhost: spec.vhost.clone(),
            name: spec.name.clone(),
            id: spec.id,
            partitions,
            configs: config::normalised(&spec.configs),
            policy_configs: Vec::new(),
            in_force: None,
            arguments: spec.arguments.clone(),
            created: now,
        });
        let partitions =
            self.topics.get(slot).map(|topic| topic.specs(0, &self.defaults)).unwrap_or_default();
        Applied::NewTopic { id: spec.id, partitions }
    }

    fn add_partitions(&mut self, vhost: &str, name: &str, total: u32) -> Applied {
        let Some(slot) = self.topic_slot(vhost, name) else { return Applied::Unchanged };
        let present = self.topics.get(slot).map_or(0, |topic| topic.partitions.len());
        let added: Vec<PartitionId> = self.new_partitions(total - present as u32).collect();
        self.partitions.extend(added.iter().map(|partition| (*partition, slot)));
        let Some(topic) = self.topics.get_mut(slot) else { return Applied::Unchanged };
        topic.partitions = topic.partitions.iter().copied().chain(added).collect();
        Applied::PartitionsAdded { id: topic.id, added: topic.specs(present, &self.defaults) }
    }

    fn configure_topic(&mut self, vhost: &str, name: &str, configs: &[(String, String)]) -> Applied {
        let Some(slot) = self.topic_slot(vhost, name) else { return Applied::Unchanged };
        let Some(topic) = self.topics.get_mut(slot) else { return Applied::Unchanged };
        topic.configs = config::normalised(configs);
        if let Some(vhost) = self.vhosts.get(vhost) {
            topic.follow(vhost);
        }
        Applied::TopicConfigured { id: topic.id, partitions: topic.specs(0, &self.defaults) }
    }

    pub(crate) fn delete_topic(&mut self, vhost: &str, name: &str) -> Applied {
        let Some(slot) = self.topic_slot(vhost, name) else { return Applied::Unchanged };
        // Bindings first: removing them looks at the exchanges only, but the slot must not be reused before.
        self.remove_bindings_to(Target::Topic(slot));
        let Some(topic) = self.topics.remove(slot) else { return Applied::Unchanged };
        if let Some(vhost) = self.vhosts.get_mut(vhost) {
            vhost.names.remove(name.as_bytes());
            vhost.topics.remove(name);
            let folded = names::folded(name);
            if let Some(topics) = vhost.folded.get_mut(&folded) {
                topics.remove(name);
                if topics.is_empty() {
                    vhost.folded.remove(&folded);
                }
            }
        }
        self.topic_ids.remove(&topic.id);
        for partition in topic.partitions.iter() {
            self.partitions.remove(partition);
        }
        Applied::TopicRemoved { id: topic.id, partitions: topic.partitions.to_vec() }
    }

    fn new_partitions(&mut self, count: u32) -> impl Iterator<Item = PartitionId> + use<> {
        let first = self.next_id;
        self.next_id += count;
        (first..first + count).map(PartitionId)
    }

    pub(crate) fn remove_queue(&mut self, id: QueueId) {
        let Some(queue) = self.queues.remove(&id) else { return };
        self.special.forget(id);
        let declared = queue.declared;
        if let Some(vhost) = self.vhosts.get_mut(&*declared.vhost) {
            vhost.names.remove(declared.name.as_bytes());
        }
        if let Some(session) = declared.exclusive
            && let Some(queues) = self.exclusive.get_mut(&session)
        {
            queues.remove(&id);
            if queues.is_empty() {
                self.exclusive.remove(&session);
            }
        }
        self.remove_bindings_to(Target::Queue { queue: id, durable: declared.durable });
    }

    fn remove_binding(&mut self, binding: &Binding) {
        let Some(vhost) = self.vhosts.get(&*binding.vhost) else { return };
        let Some(source) = vhost.exchanges.get(&*binding.source).copied() else { return };
        let Some(target) = resolve(vhost, &binding.destination) else { return };
        let arguments = encoded_arguments(&binding.arguments);
        let Some(id) = self.bindings.find(source, target, &binding.routing_key, &arguments) else { return };
        self.unlink(id);
        let abandoned = self.abandoned(source).then_some(source);
        self.remove_exchanges(abandoned.into_iter().collect());
    }

    /// And with them auto-delete exchanges that lose their last binding.
    fn remove_bindings_to(&mut self, target: Target) {
        let abandoned = self.unlink_target(target);
        self.remove_exchanges(abandoned);
    }

    /// Removes exchanges with the bindings at both their ends; auto-delete exchanges that lose their last binding by
    /// it follow.
    pub(crate) fn remove_exchanges(&mut self, mut going: Vec<Slot>) {
        while let Some(slot) = going.pop() {
            let Some(exchange) = self.exchanges.remove(slot) else { continue };
            if let Some(vhost) = self.vhosts.get_mut(&*exchange.spec.vhost) {
                vhost.exchanges.remove(&*exchange.spec.name);
            }
            while let Some(&id) = self.bindings.of_source(slot).last() {
                self.bindings.remove(id);
            }
            self.forget_history(exchange.history);
            going.extend(self.unlink_target(Target::Exchange(slot)));
        }
    }

    /// Removes all bindings to `target`. The auto-delete exchanges that have no bindings left by it.
    fn unlink_target(&mut self, target: Target) -> Vec<Slot> {
        let mut abandoned = Vec::new();
        while let Some(&id) = self.bindings.of_target(target).last() {
            if let Some(source) = self.unlink(id)
                && self.abandoned(source)
            {
                abandoned.push(source);
            }
        }
        abandoned
    }

    /// Removes one binding from the registry and from its exchange's table; its source.
    fn unlink(&mut self, id: u32) -> Option<Slot> {
        let record = self.bindings.remove(id)?;
        if let Some(exchange) = self.exchanges.get_mut(record.source) {
            exchange.matcher.remove(id, &record);
        }
        Some(record.source)
    }

    /// An auto-delete exchange goes when its last binding has gone.
    fn abandoned(&self, slot: Slot) -> bool {
        self.exchanges.get(slot).is_some_and(|exchange| exchange.spec.auto_delete)
            && self.bindings.of_source(slot).is_empty()
    }

    fn exchange_slot(&self, vhost: &str, name: &str) -> Option<Slot> {
        self.vhosts.get(vhost)?.exchanges.get(name).copied()
    }

    fn topic_slot(&self, vhost: &str, name: &str) -> Option<Slot> {
        self.vhosts.get(vhost)?.topics.get(name).copied()
    }
}
