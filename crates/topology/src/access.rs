//! Who may do what: users, the three permissions per vhost, topic permissions.
//!
//! Questions are answered from compiled patterns and cost one or two regular expressions over a name: sessions keep
//! answers under the topology's version. Users of the node's configuration are not part of the replicated state:
//! they may log in here, and do everything in every vhost.

use crate::pattern::{Pattern, expanded};
use crate::refusal::{self, refuse};
use crate::state::Topology;
use crate::{Applied, password};
use bowline_model::meta::{PasswordHash, PermissionSpec, Reason, Rejection, TopicPermissionSpec, UserSpec};
use hashbrown::HashMap;
use std::collections::BTreeMap;

pub const USERS_MAX: usize = 100_000;
/// RabbitMQ's default user: everything in vhost `/`, from the loopback interface only.
pub const GUEST: &str = "guest";
/// Tag of users that may publish under another's user-id.
pub const IMPERSONATOR: &str = "impersonator";
/// How RabbitMQ calls the default exchange where names are matched.
pub const DEFAULT_EXCHANGE: &str = "amq.default";

/// What somebody wants to do with an exchange or queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Configure,
    Write,
    Read,
}

#[derive(Debug)]
pub struct User {
    pub spec: UserSpec,
    /// By vhost.
    pub(crate) permissions: BTreeMap<Box<str>, Permission>,
    /// By vhost and exchange.
    pub(crate) topics: BTreeMap<(Box<str>, Box<str>), TopicPermission>,
    pub(crate) limits: BTreeMap<String, i64>,
}

#[derive(Debug)]
pub(crate) struct Permission {
    pub spec: PermissionSpec,
    configure: Pattern,
    write: Pattern,
    read: Pattern,
}

#[derive(Debug)]
pub(crate) struct TopicPermission {
    pub spec: TopicPermissionSpec,
    write: Pattern,
    read: Pattern,
}

/// Users of the node's configuration, by name.
pub type Configured = HashMap<String, PasswordHash>;

impl Access {
    pub fn name(self) -> &'static str {
        match self {
            Access::Configure => "configure",
            Access::Write => "write",
            Access::Read => "read",
        }
    }

    /// RabbitMQ's words for a refusal: `write access to queue 'q' in vhost '/' refused for user 'u'`.
    pub fn refusal(self, resource: refusal::Resource<'_>, user: &str) -> Rejection {
        let text = format!("{} access to {resource} refused for user '{user}'", self.name());
        refuse(Reason::Forbidden, text)
    }

    /// As [`Access::refusal`], for a routing key.
    pub fn topic_refusal(self, vhost: &str, exchange: &str, key: &str, user: &str) -> Rejection {
        let name = self.name();
        let text = format!(
            "{name} access to topic '{key}' in exchange '{exchange}' in vhost '{vhost}' refused for user '{user}'"
        );
        refuse(Reason::Forbidden, text)
    }
}

impl User {
    fn new(spec: UserSpec) -> User {
        User { spec, permissions: BTreeMap::new(), topics: BTreeMap::new(), limits: BTreeMap::new() }
    }

    pub fn has_tag(&self, tag: &str) -> bool {
        self.spec.tags.iter().any(|other| other == tag)
    }
}

impl Topology {
    /// The hash that the password has to fit, if `user` may log in from there at all. Check it with
    /// [`password::accepts`], after giving back the topology's lock.
    pub fn login(&self, user: &str, from_loopback: bool) -> Option<PasswordHash> {
        if user == GUEST && !self.lets_guest_in(from_loopback) {
            return None;
        }
        match self.configured.get(user) {
            Some(hash) => Some(hash.clone()),
            None => self.users.get(user)?.spec.password.clone(),
        }
    }

    /// Whether somebody who has proved to be `user` without a password (by a certificate) may log in from there.
    pub fn may_log_in(&self, user: &str, from_loopback: bool) -> bool {
        self.has_user(user) && (user != GUEST || self.lets_guest_in(from_loopback))
    }

    /// Everybody knows guest's password: to let it in is to let anybody in.
    pub(crate) fn lets_guest_in(&self, from_loopback: bool) -> bool {
        from_loopback && !self.guest_is_out
    }

    /// Nobody may come without a name of their own: guest is refused from loopback, too. Not part of the replicated
    /// state.
    pub fn keep_guest_out(&mut self) {
        self.guest_is_out = true;
    }

    /// Whether somebody of that name may be logged in (any more).
    pub fn has_user(&self, user: &str) -> bool {
        self.configured.contains_key(user) || self.users.contains_key(user)
    }

    /// Whether the user may use the vhost at all (connection.open).
    pub fn may_enter(&self, user: &str, vhost: &str) -> bool {
        self.configured.contains_key(user)
            || self.users.get(user).is_some_and(|user| user.permissions.contains_key(vhost))
    }

    /// Whether `user` may do this with an exchange or queue of that name; the default exchange is "".
    pub fn may(&self, user: &str, vhost: &str, access: Access, name: &str) -> bool {
        if self.configured.contains_key(user) {
            return true;
        }
        let name = if name.is_empty() { DEFAULT_EXCHANGE } else { name };
        self.users.get(user).and_then(|user| user.permissions.get(vhost)).is_some_and(|permission| {
            match access {
                Access::Configure => permission.configure.matches(name),
                Access::Write => permission.write.matches(name),
                Access::Read => permission.read.matches(name),
            }
        })
    }

    /// Whether `user` may publish with (write) or bind by (read) this routing key at a topic exchange. Without
    /// topic permissions for it the exchange's own are all there is.
    pub fn may_topic(&self, user: &str, vhost: &str, access: Access, exchange: &str, key: &str) -> bool {
        let Some(user) = self.users.get(user).filter(|user| !user.topics.is_empty()) else { return true };
        let Some(permission) = user.topics.get(&(vhost.into(), exchange.into())) else { return true };
        match access {
            Access::Configure => true,
            Access::Write => permission.write.matches(key),
            Access::Read => permission.read.matches(key),
        }
    }

    /// Whether the routing key of what this user publishes to this exchange matters, so that [`Topology::may_topic`]
    /// has to be asked.
    pub fn checks_topics(&self, user: &str, vhost: &str, exchange: &str) -> bool {
        self.users.get(user).is_some_and(|user| {
            !user.topics.is_empty() && user.topics.contains_key(&(vhost.into(), exchange.into()))
        })
    }

    /// Users of the configuration have the tags of administrators, and may speak for others.
    pub fn has_tag(&self, user: &str, tag: &str) -> bool {
        self.configured.contains_key(user) || self.users.get(user).is_some_and(|user| user.has_tag(tag))
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// Sorted by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// Sorted by user, then vhost.
    pub fn permissions(&self) -> impl Iterator<Item = &PermissionSpec> {
        self.users.values().flat_map(|user| user.permissions.values().map(|permission| &permission.spec))
    }

    /// Sorted by user, vhost, exchange.
    pub fn topic_permissions(&self) -> impl Iterator<Item = &TopicPermissionSpec> {
        self.users.values().flat_map(|user| user.topics.values().map(|permission| &permission.spec))
    }

    /// Who else may log in on this node. Not part of the replicated state.
    pub fn set_configured_users(&mut self, users: Configured) {
        self.configured = users;
    }

    /// `max-connections` and `max-channels` of a user; `None`: no limit.
    pub fn user_limit(&self, user: &str, limit: &str) -> Option<u64> {
        self.users.get(user)?.limits.get(limit).and_then(|n| u64::try_from(*n).ok())
    }

    pub(crate) fn decide_user(&self, spec: &UserSpec) -> Result<Option<Applied>, Rejection> {
        crate::names::validate("user", &spec.name)?;
        if spec.password.as_ref().is_some_and(|hash| !password::is_well_formed(hash)) {
            let text = format!("the password hash of user '{}' is not well formed", spec.name);
            return Err(refuse(Reason::InvalidArgument, text));
        }
        match self.users.get(&*spec.name) {
            Some(user) if user.spec == *spec => Ok(Some(Applied::Unchanged)),
            None if self.users.len() >= USERS_MAX => {
                Err(refuse(Reason::Limit, format!("user limit of {USERS_MAX} is reached")))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn decide_permission(&self, spec: &PermissionSpec) -> Result<Option<Applied>, Rejection> {
        let user = self.user_and_vhost(&spec.user, &spec.vhost)?;
        for pattern in [&spec.configure, &spec.write, &spec.read] {
            Pattern::new(pattern)?;
        }
        let same = user.permissions.get(&*spec.vhost).is_some_and(|permission| permission.spec == *spec);
        Ok(same.then_some(Applied::Unchanged))
    }

    pub(crate) fn decide_topic_permission(
        &self,
        spec: &TopicPermissionSpec,
    ) -> Result<Option<Applied>, Rejection> {
        let user = self.user_and_vhost(&spec.user, &spec.vhost)?;
        for pattern in [&spec.write, &spec.read] {
            Pattern::new(&expanded(pattern, &spec.user, &spec.vhost))?;
        }
        let key = (spec.vhost.as_str().into(), spec.exchange.as_str().into());
        let same = user.topics.get(&key).is_some_and(|permission| permission.spec == *spec);
        Ok(same.then_some(Applied::Unchanged))
    }

    fn user_and_vhost(&self, user: &str, vhost: &str) -> Result<&User, Rejection> {
        if !self.has_vhost(vhost) {
            return Err(refusal::no_vhost(vhost));
        }
        self.users.get(user).ok_or_else(|| refusal::no_user(user))
    }

    pub(crate) fn put_user(&mut self, spec: UserSpec) {
        match self.users.get_mut(&*spec.name) {
            Some(user) => {
                if user.spec.password != spec.password {
                    self.scram.remove(&*spec.name);
                }
                user.spec = spec;
            }
            None => {
                self.users.insert(spec.name.as_str().into(), User::new(spec));
            }
        }
    }

    pub(crate) fn put_permission(&mut self, spec: PermissionSpec) {
        let Some(user) = self.users.get_mut(&*spec.user) else { return };
        let pattern = Pattern::known;
        let (configure, write, read) = (pattern(&spec.configure), pattern(&spec.write), pattern(&spec.read));
        user.permissions.insert(spec.vhost.as_str().into(), Permission { spec, configure, write, read });
    }

    pub(crate) fn put_topic_permission(&mut self, spec: TopicPermissionSpec) {
        let Some(user) = self.users.get_mut(&*spec.user) else { return };
        let pattern = |text: &str| Pattern::known(&expanded(text, &spec.user, &spec.vhost));
        let (write, read) = (pattern(&spec.write), pattern(&spec.read));
        let key = (spec.vhost.as_str().into(), spec.exchange.as_str().into());
        user.topics.insert(key, TopicPermission { spec, write, read });
    }

    /// The predeclared user.
    pub(crate) fn add_guest(&mut self) {
        // The password is known to everybody: so may be its salt.
        let hash = password::sha256([0x67, 0x75, 0x65, 0x73], GUEST.as_bytes());
        let all = || ".*".to_owned();
        let tags = vec!["administrator".to_owned()];
        self.put_user(UserSpec { name: GUEST.to_owned(), password: Some(hash), tags });
        self.put_permission(PermissionSpec {
            user: GUEST.to_owned(),
            vhost: "/".to_owned(),
            configure: all(),
            write: all(),
            read: all(),
        });
    }
}
