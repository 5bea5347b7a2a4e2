//! Virtual hosts: what is said about them, their limits, and their end.

use crate::refusal::{self, refuse};
use crate::state::{PREDECLARED, Topology, Vhost};
use crate::{Applied, names};
use bowline_model::meta::{ExchangeSpec, LimitScope, Reason, Rejection, Table, VhostSpec};
use std::collections::BTreeMap;

pub const VHOSTS_MAX: usize = 10_000;
/// The vhost that is always there: Kafka's topics are in it.
pub const DEFAULT_VHOST: &str = "/";

/// A runtime parameter that is kept and not acted on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// `None`: global.
    pub vhost: Option<String>,
    pub component: String,
    pub name: String,
    /// JSON.
    pub value: String,
}

/// By vhost, component and name.
pub(crate) type Parameters = BTreeMap<(Option<String>, String, String), String>;
const PARAMETERS_MAX: usize = 100_000;

impl Topology {
    /// Sorted by name.
    pub fn vhosts(&self) -> impl Iterator<Item = &VhostSpec> {
        self.vhosts.values().map(|vhost| &vhost.spec)
    }

    pub fn vhost(&self, name: &str) -> Option<&VhostSpec> {
        self.vhosts.get(name).map(|vhost| &vhost.spec)
    }

    /// `max-connections` and `max-queues` of a vhost; `None`: no limit.
    pub fn vhost_limit(&self, vhost: &str, limit: &str) -> Option<u64> {
        self.vhosts.get(vhost)?.limits.get(limit).and_then(|n| u64::try_from(*n).ok())
    }

    /// Those that are set, sorted by scope.
    pub fn limits(&self) -> impl Iterator<Item = (LimitScope, &BTreeMap<String, i64>)> {
        let vhosts =
            self.vhosts.values().map(|vhost| (LimitScope::Vhost(vhost.spec.name.clone()), &vhost.limits));
        let users = self.users.values().map(|user| (LimitScope::User(user.spec.name.clone()), &user.limits));
        vhosts.chain(users).filter(|(_, limits)| !limits.is_empty())
    }

    /// Sorted; global ones first.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> {
        self.parameters.iter().map(|((vhost, component, name), value)| Parameter {
            vhost: vhost.clone(),
            component: component.clone(),
            name: name.clone(),
            value: value.clone(),
        })
    }

    pub(crate) fn decide_vhost(&self, spec: &VhostSpec) -> Result<Option<Applied>, Rejection> {
        names::validate("vhost", &spec.name)?;
        if let Some(kind) = &spec.default_queue_type
            && !["classic", "quorum", "stream"].contains(&kind.as_str())
        {
            let text = format!("invalid queue type '{kind}'");
            return Err(refuse(Reason::InvalidArgument, text));
        }
        match self.vhosts.get(&*spec.name) {
            Some(vhost) if vhost.spec == *spec => Ok(Some(Applied::Unchanged)),
            None if self.vhosts.len() >= VHOSTS_MAX => {
                let text =
                    format!("cannot create vhost '{}': vhost limit of {VHOSTS_MAX} is reached", spec.name);
                Err(refuse(Reason::Limit, text))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn decide_vhost_delete(&self, name: &str) -> Result<Option<Applied>, Rejection> {
        if name == DEFAULT_VHOST {
            let text = "vhost '/' cannot be deleted: Kafka's topics are in it";
            return Err(refuse(Reason::Forbidden, text));
        }
        if self.has_vhost(name) { Ok(None) } else { Err(refusal::no_vhost(name)) }
    }

    pub(crate) fn decide_limits(
        &self,
        scope: &LimitScope,
        limits: &[(String, i64)],
    ) -> Result<Option<Applied>, Rejection> {
        let (known, current): (&[&str], _) = match scope {
            LimitScope::Vhost(name) => {
                let vhost = self.vhosts.get(&**name).ok_or_else(|| refusal::no_vhost(name))?;
                (&["max-connections", "max-queues"], &vhost.limits)
            }
            LimitScope::User(name) => {
                let user = self.users.get(&**name).ok_or_else(|| refusal::no_user(name))?;
                (&["max-connections", "max-channels"], &user.limits)
            }
        };
        if let Some((name, _)) = limits.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            return Err(refuse(Reason::InvalidArgument, format!("unknown limit '{name}'")));
        }
        Ok((limits.iter().cloned().collect::<BTreeMap<_, _>>() == *current).then_some(Applied::Unchanged))
    }

    pub(crate) fn decide_parameter(
        &self,
        vhost: Option<&str>,
        component: &str,
        name: &str,
        value: &str,
    ) -> Result<Option<Applied>, Rejection> {
        if let Some(missing) = vhost.filter(|vhost| !self.has_vhost(vhost)) {
            return Err(refusal::no_vhost(missing));
        }
        let key = (vhost.map(str::to_owned), component.to_owned(), name.to_owned());
        match self.parameters.get(&key) {
            Some(current) if current == value => Ok(Some(Applied::Unchanged)),
            None if self.parameters.len() >= PARAMETERS_MAX => {
                Err(refuse(Reason::Limit, format!("parameter limit of {PARAMETERS_MAX} is reached")))
            }
            _ => Ok(None),
        }
    }

    /// A new vhost gets the predeclared exchanges.
    pub(crate) fn put_vhost(&mut self, spec: VhostSpec) {
        if let Some(vhost) = self.vhosts.get_mut(&*spec.name) {
            vhost.spec = spec;
            return;
        }
        let name = spec.name.clone();
        self.vhosts.insert(name.as_str().into(), Vhost { spec, ..Vhost::default() });
        for (exchange, kind) in PREDECLARED {
            self.add_exchange(ExchangeSpec {
                vhost: name.clone(),
                name: (*exchange).to_owned(),
                kind: *kind,
                durable: true,
                auto_delete: false,
                // Only the broker itself publishes traces.
                internal: *exchange == "amq.rabbitmq.trace",
                arguments: Table::new(),
            });
        }
    }

    pub(crate) fn put_limits(&mut self, scope: &LimitScope, limits: &[(String, i64)]) {
        let target = match scope {
            LimitScope::Vhost(name) => self.vhosts.get_mut(&**name).map(|vhost| &mut vhost.limits),
            LimitScope::User(name) => self.users.get_mut(&**name).map(|user| &mut user.limits),
        };
        if let Some(target) = target {
            *target = limits.iter().cloned().collect();
        }
    }

    /// Forgets a vhost and all in it. Its shards drop the queues and partitions afterwards; a crash in between is
    /// made good by `Reconcile`.
    pub(crate) fn delete_vhost(&mut self, name: &str) -> Applied {
        let mut queues: Vec<_> =
            self.queues.values().filter(|queue| queue.declared.vhost == name).map(|queue| queue.id).collect();
        queues.sort_unstable();
        for queue in &queues {
            self.remove_queue(*queue);
        }
        let topics: Vec<String> = self.topics(name).map(|topic| topic.name.clone()).collect();
        let mut partitions = Vec::new();
        for topic in topics {
            if let Applied::TopicRemoved { partitions: gone, .. } = self.delete_topic(name, &topic) {
                partitions.extend(gone);
            }
        }
        let mut exchanges: Vec<_> =
            self.vhosts.get(name).into_iter().flat_map(|vhost| vhost.exchanges.values().copied()).collect();
        exchanges.sort_unstable();
        self.remove_exchanges(exchanges);
        self.vhosts.remove(name);
        for user in self.users.values_mut() {
            user.permissions.remove(name);
            user.topics.retain(|(vhost, _), _| **vhost != *name);
        }
        self.parameters.retain(|(vhost, ..), _| vhost.as_deref() != Some(name));
        Applied::VhostRemoved { name: name.into(), queues, partitions }
    }
}
