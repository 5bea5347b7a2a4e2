//! What a command would do, without doing it.
//!
//! Everything that may be refused is refused here, and everything that is so already is found out here; what is left
//! for `apply` cannot fail. Sessions use the same function to keep refusals and no-ops out of the log.

use crate::arguments::DeclaredType;
use crate::bindings::{Target, encoded_arguments};
use crate::refusal::{self, Resource, refuse};
use crate::state::{
    BINDINGS_MAX, EXCHANGES_MAX, Entry, PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX, QUEUES_MAX, Topology, Vhost,
};
use crate::{Applied, Check, arguments, config, equivalence, headers, names, spread, trie};
use bowline_model::SessionId;
use bowline_model::meta::{
    Binding, Command, Destination, ExchangeKind, ExchangeSpec, QueueDeclaration, Reason, Rejection, Table,
    TopicSpec, Value,
};
use std::borrow::Cow;

/// RabbitMQ's bound for `#` in one binding key; each multiplies the matcher's work.
const HASHES_PER_KEY_MAX: usize = 2;

/// `Some` when there is nothing to change.
pub(crate) type Decision = Result<Option<Applied>, Rejection>;

impl Topology {
    /// What `apply` would do with it; also refuses what `by` must not touch (other connections' exclusive queues),
    /// which `apply` cannot know.
    pub fn check(&self, command: &Command, by: SessionId) -> Check {
        let decision = self.decide(command).and_then(|done| self.check_exclusive(command, by).map(|()| done));
        match decision {
            Err(rejection) => Check::Refuse(rejection),
            Ok(Some(done)) => Check::Done(done),
            Ok(None) => Check::Log,
        }
    }

    pub(crate) fn decide(&self, command: &Command) -> Decision {
        match command {
            Command::ExchangeDeclare(spec) => self.decide_exchange(spec),
            Command::ExchangeDelete { vhost, name, if_unused } => {
                self.decide_exchange_delete(vhost, name, *if_unused)
            }
            Command::Bind(binding) => self.decide_bind(binding),
            Command::Unbind(binding) => self.decide_unbind(binding),
            Command::QueueDeclare(declaration) => self.decide_queue(declaration),
            Command::QueueRemove { queue } => {
                Ok(if self.queues.contains_key(queue) { None } else { Some(Applied::Unchanged) })
            }
            Command::TopicCreate(spec) => self.decide_topic(spec),
            Command::TopicDelete { vhost, name } => match self.topic(vhost, name) {
                Some(_) => Ok(None),
                None => Err(refusal::no_topic()),
            },
            Command::PartitionsAdd { vhost, name, total } => self.decide_partitions(vhost, name, *total),
            Command::TopicConfigure { vhost, name, configs } => {
                let topic = self.topic(vhost, name).ok_or_else(refusal::no_topic)?;
                config::validate(configs)?;
                let same = topic.configs == config::normalised(configs);
                Ok(same.then_some(Applied::Unchanged))
            }
            Command::ProducerId => Ok(None),
            Command::VhostPut(spec) => self.decide_vhost(spec),
            Command::VhostDelete { name } => self.decide_vhost_delete(name),
            Command::UserPut(spec) => self.decide_user(spec),
            Command::UserDelete { name } => {
                if self.users.contains_key(&**name) {
                    Ok(None)
                } else {
                    Err(refusal::no_user(name))
                }
            }
            Command::PermissionPut(spec) => self.decide_permission(spec),
            Command::PermissionDelete { user, vhost } => {
                let user = self.users.get(&**user).ok_or_else(|| refusal::no_user(user))?;
                Ok((!user.permissions.contains_key(&**vhost)).then_some(Applied::Unchanged))
            }
            Command::TopicPermissionPut(spec) => self.decide_topic_permission(spec),
            Command::TopicPermissionDelete { user, .. } => match self.users.get(&**user) {
                None => Err(refusal::no_user(user)),
                Some(user) => Ok(user.topics.is_empty().then_some(Applied::Unchanged)),
            },
            Command::PolicyPut(spec) => self.decide_policy(spec),
            Command::PolicyDelete { vhost, name, operator } => {
                let policies = self.vhost_or_refuse(vhost)?.policies_of(*operator);
                Ok((!policies.contains_key(&**name)).then_some(Applied::Unchanged))
            }
            Command::LimitsPut { scope, limits } => self.decide_limits(scope, limits),
            Command::ScramAlter { user, put, remove } => self.decide_scram(user, put, remove),
            Command::SecretSet(_) => Ok(self.secret.is_some().then_some(Applied::Unchanged)),
            Command::ParameterPut { vhost, component, name, value } => {
                self.decide_parameter(vhost.as_deref(), component, name, value)
            }
            Command::ConfigPut { kind, name, configs } => self.decide_config(*kind, name, configs),
            Command::AclsAdd(acls) => Ok(self.acls.check_add(acls)?.then_some(Applied::Unchanged)),
            Command::AclsRemove(acls) => {
                Ok((!acls.iter().any(|acl| self.acls.contains(acl))).then_some(Applied::Unchanged))
            }
            Command::QuotasSet { entity, changes } => {
                Ok(self.quotas.check_set(entity, changes)?.then_some(Applied::Unchanged))
            }
        }
    }

    fn decide_exchange(&self, spec: &ExchangeSpec) -> Decision {
        let vhost = self.vhost_or_refuse(&spec.vhost)?;
        if spec.name.is_empty() {
            return Err(refusal::default_exchange());
        }
        if let Some(exchange) = vhost.exchanges.get(&*spec.name).and_then(|slot| self.exchanges.get(*slot)) {
            equivalence::check_exchange(&exchange.spec, spec)?;
            return Ok(Some(Applied::Unchanged));
        }
        names::validate("exchange", &spec.name)?;
        if names::is_reserved(&spec.name) {
            return Err(refusal::reserved_name("exchange", &spec.name));
        }
        arguments::validate_exchange(spec)?;
        if self.exchanges.len() >= EXCHANGES_MAX {
            let resource = Resource::exchange(&spec.vhost, &spec.name);
            let text = format!("cannot declare {resource}: exchange limit of {EXCHANGES_MAX} is reached");
            return Err(refuse(Reason::Limit, text));
        }
        if spec.kind == ExchangeKind::RecentHistory {
            self.check_ids(1)?;
        }
        Ok(None)
    }

    fn decide_exchange_delete(&self, vhost: &str, name: &str, if_unused: bool) -> Decision {
        let names = self.vhost_or_refuse(vhost)?;
        let resource = Resource::exchange(vhost, name);
        if name.is_empty() {
            return Err(refusal::default_exchange());
        }
        if names::is_reserved(name) {
            return Err(refuse(Reason::Forbidden, format!("deletion of system {resource} not allowed")));
        }
        match names.exchanges.get(name) {
            None => Ok(Some(Applied::Unchanged)),
            Some(slot) if if_unused && !self.bindings.of_source(*slot).is_empty() => {
                Err(refusal::in_use(resource))
            }
            Some(_) => Ok(None),
        }
    }

    fn decide_bind(&self, binding: &Binding) -> Decision {
        let vhost = self.vhost_or_refuse(&binding.vhost)?;
        check_ends(binding)?;
        let missing = || refusal::no_exchange(&binding.vhost, &binding.source);
        let source = *vhost.exchanges.get(&*binding.source).ok_or_else(missing)?;
        let target = resolve(vhost, &binding.destination).ok_or_else(|| match &binding.destination {
            Destination::Queue(name) => refusal::no_queue(&binding.vhost, name),
            Destination::Exchange(name) => refusal::no_exchange(&binding.vhost, name),
        })?;
        if let Some(exchange) = self.exchanges.get(source) {
            check_matchable(exchange.routes_as(), binding)?;
        }
        let arguments = encoded_arguments(&binding.arguments);
        if self.bindings.find(source, target, &binding.routing_key, &arguments).is_some() {
            return Ok(Some(Applied::Unchanged));
        }
        if self.bindings.len() >= BINDINGS_MAX {
            return Err(refuse(Reason::Limit, format!("binding limit of {BINDINGS_MAX} is reached")));
        }
        Ok(None)
    }

    /// Unbinding what is not bound, or not there at all, is done already (RabbitMQ since 3.2).
    fn decide_unbind(&self, binding: &Binding) -> Decision {
        let vhost = self.vhost_or_refuse(&binding.vhost)?;
        check_ends(binding)?;
        let found = (|| {
            let source = *vhost.exchanges.get(&*binding.source)?;
            let target = resolve(vhost, &binding.destination)?;
            let arguments = encoded_arguments(&binding.arguments);
            self.bindings.find(source, target, &binding.routing_key, &arguments)
        })();
        Ok(if found.is_some() { None } else { Some(Applied::Unchanged) })
    }

    fn decide_queue(&self, declaration: &QueueDeclaration) -> Decision {
        let effective = match self.with_default_type(declaration) {
            Cow::Borrowed(_) => None,
            Cow::Owned(arguments) => Some(QueueDeclaration { arguments, ..declaration.clone() }),
        };
        let declaration = effective.as_ref().unwrap_or(declaration);
        let QueueDeclaration { vhost, name, durable, auto_delete, exclusive, arguments } = declaration;
        let names = self.vhost_or_refuse(vhost)?;
        match self.entry(vhost, name) {
            Some(Entry::Queue(queue)) => {
                queue.check_redeclared(*durable, *auto_delete, *exclusive, arguments)?;
                let (queue, shard) = (queue.id, queue.shard);
                return Ok(Some(Applied::ExistingQueue { queue, shard, name: name.clone() }));
            }
            Some(Entry::Topic(topic)) => {
                topic.check_redeclared(*durable, *auto_delete, exclusive.is_some(), arguments)?;
                // The front end makes stream declarations into topics; one that did not comes here.
                return Err(refuse(Reason::AlreadyExists, format!("'{name}' is a stream")));
            }
            None => {}
        }
        names::validate("queue", name)?;
        arguments::validate_queue(declaration)?;
        if let Some(limit) =
            self.vhost_limit(vhost, "max-queues").filter(|limit| names.names.len() as u64 >= *limit)
        {
            let text =
                format!("cannot declare queue '{name}': queue limit in vhost '{vhost}' ({limit}) is reached");
            return Err(refuse(Reason::Limit, text));
        }
        if self.queues.len() >= QUEUES_MAX {
            let text = format!("cannot declare queue '{name}': queue limit ({QUEUES_MAX}) is reached");
            return Err(refuse(Reason::Limit, text));
        }
        self.check_ids(1)?;
        Ok(None)
    }

    /// The declaration's arguments, with the vhost's default queue type if they name none and the flags allow it, as
    /// RabbitMQ does. A default of stream is for the front end: that makes a topic.
    pub(crate) fn with_default_type<'a>(&self, declaration: &'a QueueDeclaration) -> Cow<'a, Table> {
        let said = &declaration.arguments;
        let plain = declaration.durable && declaration.exclusive.is_none() && !declaration.auto_delete;
        let default = self.default_queue_type(&declaration.vhost);
        if !plain || default != DeclaredType::Quorum || arguments::get(said, arguments::QUEUE_TYPE).is_some()
        {
            return Cow::Borrowed(said);
        }
        let mut arguments = said.clone();
        arguments.push((arguments::QUEUE_TYPE.to_owned(), Value::Str(b"quorum".to_vec())));
        Cow::Owned(arguments)
    }

    /// Of declarations that do not name one, durable and shared.
    pub fn default_queue_type(&self, vhost: &str) -> DeclaredType {
        match self.vhost(vhost).and_then(|vhost| vhost.default_queue_type.as_deref()) {
            Some("quorum") => DeclaredType::Quorum,
            Some("stream") => DeclaredType::Stream,
            _ => DeclaredType::Classic,
        }
    }

    /// With arguments it is an AMQP declaration (which has at least `x-queue-type`) and may be repeated; without it
    /// comes from Kafka, whose names are narrower and whose creation of what exists is an error.
    fn decide_topic(&self, spec: &TopicSpec) -> Decision {
        let vhost = self.vhost_or_refuse(&spec.vhost)?;
        let over_amqp = !spec.arguments.is_empty();
        match self.entry(&spec.vhost, &spec.name) {
            Some(Entry::Topic(topic)) if over_amqp => {
                topic.check_redeclared(true, false, false, &spec.arguments)?;
                let partitions = topic.partitions.to_vec();
                return Ok(Some(Applied::ExistingTopic { id: topic.id, partitions }));
            }
            Some(Entry::Queue(queue)) if over_amqp => {
                queue.check_redeclared(true, false, None, &spec.arguments)?;
                return Err(already_exists(&spec.name));
            }
            Some(_) => return Err(already_exists(&spec.name)),
            None => {}
        }
        if over_amqp {
            names::validate("queue", &spec.name)?;
            arguments::validate_stream(&spec.vhost, &spec.name, true, false, false, &spec.arguments)?;
        } else {
            names::validate_kafka_topic(&spec.name)?;
            check_collision(vhost, &spec.name)?;
        }
        config::validate(&spec.configs)?;
        if self.topic_ids.contains_key(&spec.id) {
            return Err(refuse(Reason::AlreadyExists, "A topic with this id already exists."));
        }
        if spec.partitions == 0 {
            let text = "Number of partitions was set to an invalid non-positive value.";
            return Err(refuse(Reason::InvalidPartitions, text));
        }
        self.check_partitions(spec.partitions, spec.partitions)?;
        Ok(None)
    }

    fn decide_partitions(&self, vhost: &str, name: &str, total: u32) -> Decision {
        let topic = self.topic(vhost, name).ok_or_else(refusal::no_topic)?;
        let present = topic.partitions.len() as u32;
        if total == present {
            let text = format!("Topic already has {present} partition(s).");
            return Err(refuse(Reason::InvalidPartitions, text));
        }
        if total < present {
            let text = format!(
                "The topic {name} currently has {present} partition(s); {total} would not be an increase."
            );
            return Err(refuse(Reason::InvalidPartitions, text));
        }
        self.check_partitions(total, total - present)?;
        Ok(None)
    }

    /// Bounds on a topic of `total` partitions of which `added` are new.
    fn check_partitions(&self, total: u32, added: u32) -> Result<(), Rejection> {
        if total > PARTITIONS_PER_TOPIC_MAX {
            let text = format!("A topic has at most {PARTITIONS_PER_TOPIC_MAX} partitions.");
            return Err(refuse(Reason::InvalidPartitions, text));
        }
        if self.partitions.len() + added as usize > PARTITIONS_MAX {
            let text = format!("All topics together have at most {PARTITIONS_MAX} partitions.");
            return Err(refuse(Reason::Limit, text));
        }
        self.check_ids(added)
    }

    /// Ids are never reused, so four thousand million of them can be used up.
    fn check_ids(&self, needed: u32) -> Result<(), Rejection> {
        match self.next_id.checked_add(needed) {
            Some(_) => Ok(()),
            None => Err(refuse(Reason::Limit, "the numbers of queues and partitions are used up")),
        }
    }

    fn check_exclusive(&self, command: &Command, by: SessionId) -> Result<(), Rejection> {
        let queue = match command {
            Command::Bind(Binding { vhost, destination: Destination::Queue(name), .. })
            | Command::Unbind(Binding { vhost, destination: Destination::Queue(name), .. }) => {
                self.queue(vhost, name)
            }
            Command::QueueRemove { queue } => self.queue_by_id(*queue),
            _ => None,
        };
        match queue {
            Some(queue) if !queue.open_to(by) => {
                Err(refusal::locked(&queue.declared.vhost, &queue.declared.name))
            }
            _ => Ok(()),
        }
    }

    fn vhost_or_refuse(&self, vhost: &str) -> Result<&Vhost, Rejection> {
        self.vhosts.get(vhost).ok_or_else(|| refusal::no_vhost(vhost))
    }
}

/// The number of a destination, if it exists.
pub(crate) fn resolve(vhost: &Vhost, destination: &Destination) -> Option<Target> {
    match destination {
        Destination::Queue(name) => vhost.names.get(name.as_bytes()).map(|named| named.target()),
        Destination::Exchange(name) => vhost.exchanges.get(&**name).map(|slot| Target::Exchange(*slot)),
    }
}

/// Neither end may be the default exchange or a direct reply-to pseudo-queue.
fn check_ends(binding: &Binding) -> Result<(), Rejection> {
    match &binding.destination {
        Destination::Queue(name) if name.starts_with(names::REPLY_TO) => {
            let text = "cannot bind or unbind to a volatile (direct reply-to) queue";
            return Err(refuse(Reason::Forbidden, text));
        }
        Destination::Exchange(name) if name.is_empty() => return Err(refusal::default_exchange()),
        _ => {}
    }
    if binding.source.is_empty() { Err(refusal::default_exchange()) } else { Ok(()) }
}

/// Whether an exchange of this kind can match by the binding's key and arguments.
fn check_matchable(kind: ExchangeKind, binding: &Binding) -> Result<(), Rejection> {
    let key = &binding.routing_key;
    if key.len() > names::NAME_BYTES_MAX {
        let text = format!("routing key is longer than {} octets", names::NAME_BYTES_MAX);
        return Err(refuse(Reason::InvalidArgument, text));
    }
    match kind {
        ExchangeKind::Topic => {
            let hashes = trie::words(key.as_bytes()).filter(|word| *word == b"#").count();
            if hashes > HASHES_PER_KEY_MAX {
                let text = format!(
                    "Topic binding key '{key}' uses {hashes} '#' wildcards, at most {HASHES_PER_KEY_MAX} are allowed"
                );
                return Err(refuse(Reason::InvalidArgument, text));
            }
            Ok(())
        }
        ExchangeKind::Headers => match headers::mode(&binding.arguments) {
            Ok(_) => Ok(()),
            Err(text) => Err(refuse(Reason::InvalidArgument, text)),
        },
        ExchangeKind::ConsistentHash => match spread::weight(key) {
            Ok(_) => Ok(()),
            Err(text) => Err(refuse(Reason::InvalidArgument, text)),
        },
        _ => Ok(()),
    }
}

fn check_collision(vhost: &Vhost, name: &str) -> Result<(), Rejection> {
    match vhost.folded.get(&names::folded(name)).and_then(|topics| topics.first()) {
        None => Ok(()),
        Some(other) => {
            Err(refuse(Reason::InvalidName, format!("Topic '{name}' collides with existing topic: {other}")))
        }
    }
}

/// Kafka's words (error 36).
fn already_exists(name: &str) -> Rejection {
    refuse(Reason::AlreadyExists, format!("Topic '{name}' already exists."))
}
