//! Policies: settings that an operator gives to all queues and exchanges whose names match.
//!
//! Of a vhost's policies one is in force for a queue or exchange: that with the highest priority of those that match
//! (of equal ones the first by name). Of the operator policies one is, too; it bounds what the first one says.
//! A policy with a key that another type alone understands does not match, as in RabbitMQ.

use crate::arguments::{self, DeclaredType};
use crate::pattern::Pattern;
use crate::refusal::refuse;
use crate::settings::Deduplication;
use crate::state::{Topology, Vhost};
use crate::value::integer;
use crate::{Applied, Exchange, Queue, QueueType};
use bowline_model::meta::{ApplyTo, PolicySpec, Reason, Rejection, Table, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of one vhost.
pub const POLICIES_MAX: usize = 10_000;

/// By name.
pub(crate) type Policies = BTreeMap<Box<str>, Policy>;

#[derive(Debug)]
pub(crate) struct Policy {
    pub spec: PolicySpec,
    name: Arc<str>,
    pattern: Pattern,
}

/// What is in force for one queue or exchange.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    pub policy: Option<Arc<str>>,
    pub operator_policy: Option<Arc<str>>,
    /// Both together.
    pub definition: Table,
}

/// What a policy may be applied to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    Exchange,
    Queue(DeclaredType),
}

impl QueueType {
    pub(crate) fn declared(self) -> DeclaredType {
        match self {
            QueueType::Classic => DeclaredType::Classic,
            QueueType::Quorum => DeclaredType::Quorum,
        }
    }
}

pub fn apply_to_name(apply_to: ApplyTo) -> &'static str {
    match apply_to {
        ApplyTo::All => "all",
        ApplyTo::Exchanges => "exchanges",
        ApplyTo::Queues => "queues",
        ApplyTo::ClassicQueues => "classic_queues",
        ApplyTo::QuorumQueues => "quorum_queues",
        ApplyTo::Streams => "streams",
    }
}

/// The reverse of [`apply_to_name`].
pub fn apply_to(name: &str) -> Option<ApplyTo> {
    let all = [
        ApplyTo::All,
        ApplyTo::Exchanges,
        ApplyTo::Queues,
        ApplyTo::ClassicQueues,
        ApplyTo::QuorumQueues,
        ApplyTo::Streams,
    ];
    all.into_iter().find(|apply_to| apply_to_name(*apply_to) == name)
}

impl Policy {
    fn new(spec: PolicySpec) -> Policy {
        Policy { name: spec.name.as_str().into(), pattern: Pattern::known(&spec.pattern), spec }
    }

    fn applies(&self, subject: Subject, name: &str) -> bool {
        let kind = match (self.spec.apply_to, subject) {
            (ApplyTo::All, _) => true,
            (ApplyTo::Exchanges, subject) => subject == Subject::Exchange,
            (_, Subject::Exchange) => false,
            (ApplyTo::Queues, Subject::Queue(_)) => true,
            (ApplyTo::ClassicQueues, Subject::Queue(kind)) => kind == DeclaredType::Classic,
            (ApplyTo::QuorumQueues, Subject::Queue(kind)) => kind == DeclaredType::Quorum,
            (ApplyTo::Streams, Subject::Queue(kind)) => kind == DeclaredType::Stream,
        };
        let fits = || match subject {
            Subject::Exchange => true,
            Subject::Queue(kind) => {
                self.spec.definition.iter().all(|(key, _)| arguments::may_be_policy_of(key, kind))
            }
        };
        kind && self.pattern.matches(name) && fits()
    }
}

fn best<'a>(policies: &'a Policies, subject: Subject, name: &str) -> Option<&'a Policy> {
    let matching = policies.values().filter(|policy| policy.applies(subject, name));
    // Of equal priorities the last is taken by `max_by_key`, the first by name is wanted.
    matching.rev().max_by_key(|policy| policy.spec.priority)
}

/// What is in force for a name.
pub(crate) fn in_force(vhost: &Vhost, subject: Subject, name: &str) -> InForce {
    let policy = best(&vhost.policies, subject, name);
    let operator = best(&vhost.operator_policies, subject, name);
    let mut definition = policy.map(|policy| policy.spec.definition.clone()).unwrap_or_default();
    for (key, bound) in operator.iter().flat_map(|policy| &policy.spec.definition) {
        match definition.iter_mut().find(|(name, _)| name == key) {
            None => definition.push((key.clone(), bound.clone())),
            Some((_, said)) => {
                let smaller = match (integer(said), integer(bound)) {
                    // A negative delivery limit is none; RabbitMQ takes it for the smallest.
                    (Some(said), Some(bound)) if key == "delivery-limit" => 0 <= said && said < bound,
                    (Some(said), Some(bound)) => said < bound,
                    _ => false,
                };
                // `overflow` and `queue-version` are what the operator says.
                if !smaller || key == "queue-version" {
                    *said = bound.clone();
                }
            }
        }
    }
    InForce {
        policy: policy.map(|policy| policy.name.clone()),
        operator_policy: operator.map(|policy| policy.name.clone()),
        definition,
    }
}

/// What operators may bound.
const OPERATOR_KEYS: &[&str] = &[
    "expires",
    "message-ttl",
    "max-length",
    "max-length-bytes",
    "max-in-memory-length",
    "max-in-memory-bytes",
    "delivery-limit",
    "queue-version",
    "overflow",
];

fn validate(spec: &PolicySpec) -> Result<(), Rejection> {
    crate::names::validate("policy", &spec.name)?;
    Pattern::new(&spec.pattern)?;
    let invalid = |text: String| Err(refuse(Reason::InvalidArgument, text));
    if spec.definition.is_empty() {
        return invalid("no policy provided".to_owned());
    }
    for (key, value) in &spec.definition {
        if spec.operator && !OPERATOR_KEYS.contains(&key.as_str()) {
            return invalid(format!("'{key}' is not recognised in operator policies"));
        }
        if spec.definition.iter().filter(|(other, _)| other == key).count() > 1 {
            return invalid(format!("'{key}' is given twice"));
        }
        arguments::validate_policy_key(key, value, &spec.definition)?;
    }
    Ok(())
}

impl Topology {
    pub(crate) fn decide_policy(&self, spec: &PolicySpec) -> Result<Option<Applied>, Rejection> {
        let vhost = self.vhosts.get(&*spec.vhost).ok_or_else(|| crate::refusal::no_vhost(&spec.vhost))?;
        validate(spec)?;
        let policies = vhost.policies_of(spec.operator);
        match policies.get(&*spec.name) {
            Some(policy) if policy.spec == *spec => Ok(Some(Applied::Unchanged)),
            None if policies.len() >= POLICIES_MAX => {
                let text = format!("policy limit in vhost '{}' ({POLICIES_MAX}) is reached", spec.vhost);
                Err(refuse(Reason::Limit, text))
            }
            _ => Ok(None),
        }
    }

    /// Gives what it replaces.
    pub(crate) fn add_policy(&mut self, spec: PolicySpec) -> Option<Policy> {
        let vhost = self.vhosts.get_mut(&*spec.vhost)?;
        let policies = if spec.operator { &mut vhost.operator_policies } else { &mut vhost.policies };
        policies.insert(spec.name.as_str().into(), Policy::new(spec))
    }

    pub(crate) fn put_policy(&mut self, spec: &PolicySpec) -> Applied {
        let old = self.add_policy(spec.clone());
        self.reapply_policies(&spec.vhost, spec.operator, &spec.name, old.as_ref())
    }

    pub(crate) fn delete_policy(&mut self, vhost_name: &str, name: &str, operator: bool) -> Applied {
        let Some(vhost) = self.vhosts.get_mut(vhost_name) else { return Applied::Unchanged };
        let policies = if operator { &mut vhost.operator_policies } else { &mut vhost.policies };
        let old = policies.remove(name);
        self.reapply_policies(vhost_name, operator, name, old.as_ref())
    }

    /// A policy of a vhost has changed: settles anew what is in force for whom it was or is about. For others
    /// nothing can have changed, however many policies there are.
    fn reapply_policies(
        &mut self,
        vhost_name: &str,
        operator: bool,
        policy: &str,
        old: Option<&Policy>,
    ) -> Applied {
        let Some(vhost) = self.vhosts.get(vhost_name) else { return Applied::Unchanged };
        let new = vhost.policies_of(operator).get(policy);
        let concerns = |subject: Subject, name: &str| {
            [old, new].into_iter().flatten().any(|policy| policy.applies(subject, name))
        };
        let mut changed = Vec::new();
        let mut ids: Vec<_> =
            self.queues.values().filter(|q| q.declared.vhost == vhost_name).map(|q| q.id).collect();
        ids.sort_unstable();
        for id in ids {
            let Some(queue) = self.queues.get_mut(&id) else { continue };
            if !concerns(Subject::Queue(queue.kind.declared()), &queue.declared.name) {
                continue;
            }
            if queue.follow(vhost) {
                changed.push((queue.id, queue.shard, queue.settings.clone()));
            }
            self.special.note(queue);
        }
        for slot in vhost.exchanges.values() {
            if let Some(exchange) = self.exchanges.get_mut(*slot)
                && concerns(Subject::Exchange, &exchange.spec.name)
            {
                exchange.follow(vhost);
            }
        }
        let mut partitions = Vec::new();
        for slot in vhost.topics.values() {
            if let Some(topic) = self.topics.get_mut(*slot)
                && concerns(Subject::Queue(DeclaredType::Stream), &topic.name)
                && topic.follow(vhost)
            {
                partitions.extend(topic.specs(0, &self.defaults));
            }
        }
        Applied::Reconfigured { queues: changed, partitions }
    }

    /// Policies (or operator policies) of a vhost, sorted by name.
    pub fn policies(&self, vhost: &str, operator: bool) -> impl Iterator<Item = &PolicySpec> {
        let vhost = self.vhosts.get(vhost).into_iter();
        vhost.flat_map(move |vhost| vhost.policies_of(operator).values().map(|policy| &policy.spec))
    }
}

impl Vhost {
    pub(crate) fn policies_of(&self, operator: bool) -> &Policies {
        if operator { &self.operator_policies } else { &self.policies }
    }
}

impl Queue {
    /// Settles what is in force for it. True if it enforces something else now.
    pub(crate) fn follow(&mut self, vhost: &Vhost) -> bool {
        let has_none =
            vhost.policies.is_empty() && vhost.operator_policies.is_empty() && self.in_force.is_none();
        if has_none || self.is_history() {
            // Its arguments were settled when it was made.
            return false;
        }
        let found = in_force(vhost, Subject::Queue(self.kind.declared()), &self.declared.name);
        let changed = self.resolve(&found.definition);
        let any = found.policy.is_some() || found.operator_policy.is_some();
        self.in_force = any.then(|| Box::new(found));
        changed
    }
}

impl Exchange {
    /// The argument counts before the policy.
    pub(crate) fn follow(&mut self, vhost: &Vhost) {
        let found = in_force(vhost, Subject::Exchange, &self.spec.name);
        let said = arguments::get(&self.spec.arguments, arguments::ALTERNATE_EXCHANGE)
            .or_else(|| arguments::get(&found.definition, arguments::ALTERNATE_EXCHANGE));
        self.alternate = match said {
            Some(Value::Str(name)) => Some(String::from_utf8_lossy(name).into_owned()),
            _ => None,
        };
        self.dedup = arguments::get(&self.spec.arguments, arguments::DEDUPLICATION)
            .or_else(|| arguments::get(&found.definition, "deduplication"))
            .and_then(Deduplication::of);
        let any = found.policy.is_some() || found.operator_policy.is_some();
        self.in_force = any.then(|| Box::new(found));
    }
}
