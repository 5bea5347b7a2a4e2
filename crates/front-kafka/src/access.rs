//! What a client may do: the question that every handler asks, and how it is answered cheaply.
//!
//! | mode | who decides |
//! |---|---|
//! | [`Mode::Open`] | nobody: who is let in without a login may do everything |
//! | [`Mode::Permissions`] | the user's AMQP permissions in vhost `/`, so that Kafka is no way around them |
//! | [`Mode::Acls`] | Kafka's access rules alone; what no rule allows is denied |
//!
//! Answers come out of the topology under its lock; a session keeps them until the topology moves, so a question costs
//! one look-up in a hash table, and in open mode one branch.

use crate::catalog::{Catalog, Topic, VHOST};
use crate::options::Options;
use crate::pending::Context;
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::Principal;
use bowline_model::acl::{Operation, Resource, ResourceKind};
use bowline_topology::acls::{Asker, Verdict};
use bowline_topology::{Access, Topology};
use hashbrown::{Equivalent, HashMap};
use std::sync::Arc;

/// Answers that one session keeps before it starts over.
const CACHED_ANSWERS_MAX: usize = 10_000;
/// Tag of users that may do what concerns the whole broker.
const ADMINISTRATOR: &str = "administrator";

/// Kafka's authorizer, when it is switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclOptions {
    /// They may do everything, whatever the rules say: somebody has to make the first rule.
    pub super_users: Vec<Principal>,
    /// A resource that no rule names is open to all (Kafka's `allow.everyone.if.no.acl.found`).
    pub open_without_rules: bool,
}

/// Who decides; see the module.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    Open,
    Permissions,
    Acls(&'a AclOptions),
}

impl<'a> Mode<'a> {
    pub fn of(options: &'a Options, principal: &Principal) -> Mode<'a> {
        match &options.acls {
            Some(acls) => Mode::Acls(acls),
            // Whether it may come at all is decided before it asks for anything.
            None if principal.is_anonymous() => Mode::Open,
            None => Mode::Permissions,
        }
    }

    pub fn is_open(self) -> bool {
        matches!(self, Mode::Open)
    }

    /// Whether `asker` may do this.
    pub fn allows(
        self,
        topology: &Topology,
        asker: Asker<'_>,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        match self {
            Mode::Open => true,
            Mode::Permissions => permitted(topology, asker.principal, operation, resource),
            Mode::Acls(options) => {
                options.super_users.contains(asker.principal)
                    || match topology.acls().verdict(asker, operation, resource) {
                        Verdict::Allowed => true,
                        Verdict::Denied => false,
                        Verdict::NoRules => options.open_without_rules,
                    }
            }
        }
    }

    /// Whether `asker` may do this with any resource of the kind at all.
    pub fn allows_any(
        self,
        topology: &Topology,
        asker: Asker<'_>,
        operation: Operation,
        kind: ResourceKind,
    ) -> bool {
        match self {
            Mode::Open => true,
            // Which names a regular expression leaves is not asked: nothing is gained before one is named.
            Mode::Permissions => {
                let user = &asker.principal.name;
                !topology.has_user(user) || topology.may_enter(user, VHOST)
            }
            Mode::Acls(options) => {
                options.super_users.contains(asker.principal)
                    || match topology.acls().verdict_of_any(asker, operation, kind) {
                        Verdict::Allowed => true,
                        // There is always a name that no rule names, unless one denies them all.
                        Verdict::Denied => {
                            options.open_without_rules
                                && topology.acls().verdict(asker, operation, nameless(kind))
                                    == Verdict::NoRules
                        }
                        Verdict::NoRules => options.open_without_rules,
                    }
            }
        }
    }
}

/// A name that only `*` matches.
fn nameless(kind: ResourceKind) -> Resource<'static> {
    match kind {
        ResourceKind::Topic => Resource::Topic(""),
        ResourceKind::Group => Resource::Group(""),
        ResourceKind::Cluster => Resource::Cluster,
        ResourceKind::TransactionalId => Resource::TransactionalId(""),
        ResourceKind::DelegationToken => Resource::DelegationToken(""),
        ResourceKind::User => Resource::User(""),
    }
}

/// AMQP permissions in Kafka's terms. Topics are streams of vhost `/`; groups and transactional ids have no permissions
/// in AMQP and go by the same patterns, so that tenants kept apart by names stay apart. What concerns the whole
/// broker is for administrators. Somebody who logged in and is no user of AMQP's (by a certificate, a token, or SCRAM
/// credentials alone) has no permissions to get round: as in a Kafka without an authorizer it may do everything.
fn permitted(
    topology: &Topology,
    principal: &Principal,
    operation: Operation,
    resource: Resource<'_>,
) -> bool {
    let user = &principal.name;
    if !topology.has_user(user) {
        return true;
    }
    let may = |access| topology.may(user, VHOST, access, resource.name());
    match resource {
        Resource::Topic(_) | Resource::Group(_) | Resource::TransactionalId(_) => match operation {
            Operation::Read => may(Access::Read),
            Operation::Write => may(Access::Write),
            Operation::Describe | Operation::DescribeConfigs => {
                may(Access::Read) || may(Access::Write) || may(Access::Configure)
            }
            _ => may(Access::Configure),
        },
        Resource::Cluster if matches!(operation, Operation::Describe | Operation::IdempotentWrite) => {
            topology.may_enter(user, VHOST)
        }
        Resource::Cluster | Resource::DelegationToken(_) | Resource::User(_) => {
            topology.has_tag(user, ADMINISTRATOR)
        }
    }
}

/// What one session has been told.
#[derive(Default)]
pub struct AccessCache {
    version: u64,
    principal: Option<Arc<Principal>>,
    answers: HashMap<Key, bool, foldhash::fast::RandomState>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    operation: Operation,
    kind: ResourceKind,
    name: Box<str>,
}

/// [`Key`] without an allocation. Hashes alike, because `str` and `Box<str>` do.
#[derive(Hash)]
struct Question<'a> {
    operation: Operation,
    kind: ResourceKind,
    name: &'a str,
}

impl Equivalent<Key> for Question<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.operation == key.operation && self.kind == key.kind && *self.name == *key.name
    }
}

impl AccessCache {
    pub fn allows(
        &mut self,
        mode: Mode<'_>,
        catalog: &dyn Catalog,
        (principal, host): (&Arc<Principal>, &str),
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        self.refresh(catalog.version(), principal);
        let question = Question { operation, kind: resource.kind(), name: resource.name() };
        if let Some(answer) = self.answers.get(&question) {
            return *answer;
        }
        let asker = Asker { principal, host };
        let mut answer = false;
        catalog.look(&mut |topology| answer = mode.allows(topology, asker, operation, resource));
        if !answer {
            tracing::debug!(%principal, host, ?operation, ?resource, "denied");
        }
        let key = Key { operation, kind: question.kind, name: question.name.into() };
        self.answers.insert(key, answer);
        answer
    }

    fn refresh(&mut self, version: u64, principal: &Arc<Principal>) {
        let same = self.principal.as_ref().is_some_and(|known| Arc::ptr_eq(known, principal));
        if !same || version != self.version || self.answers.len() >= CACHED_ANSWERS_MAX {
            self.answers.clear();
            self.principal = Some(principal.clone());
            self.version = version;
        }
    }
}

impl Context<'_> {
    /// Whether the client may do this. To be asked before anything is looked up by the name, so that nobody learns by
    /// the error what exists.
    pub fn allows(&mut self, operation: Operation, resource: Resource<'_>) -> bool {
        let mode = Mode::of(&self.broker.options, self.principal);
        if mode.is_open() {
            return true;
        }
        let who = (self.principal, self.peer.ip());
        self.access.allows(mode, &*self.broker.catalog, who, operation, resource)
    }

    /// As [`Context::allows`], or `refusal`.
    pub fn check(
        &mut self,
        operation: Operation,
        resource: Resource<'_>,
        refusal: ErrorCode,
    ) -> Result<(), ErrorCode> {
        if self.allows(operation, resource) { Ok(()) } else { Err(refusal) }
    }

    /// Whether the client may do this with any resource of the kind at all.
    pub fn allows_any(&self, operation: Operation, kind: ResourceKind) -> bool {
        let mode = Mode::of(&self.broker.options, self.principal);
        let asker = Asker { principal: self.principal, host: self.peer.ip() };
        let mut answer = mode.is_open();
        if !answer {
            let ask = &mut |topology: &Topology| answer = mode.allows_any(topology, asker, operation, kind);
            self.broker.catalog.look(ask);
        }
        answer
    }

    /// The topic that a request names by name or, in its later versions, by id.
    ///
    /// # Errors
    /// TOPIC_AUTHORIZATION_FAILED, whether the name stands for a topic or not; UNKNOWN_TOPIC_OR_PARTITION or
    /// UNKNOWN_TOPIC_ID.
    pub fn permitted(&mut self, operation: Operation, named: Named<'_>) -> Result<Arc<Topic>, ErrorCode> {
        let denied = ErrorCode::TopicAuthorizationFailed;
        match named {
            Named::Name(name) => {
                self.check(operation, Resource::Topic(name), denied)?;
                self.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)
            }
            Named::Id(id) => {
                let topic = self.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)?;
                self.check(operation, Resource::Topic(&topic.name), denied)?;
                Ok(topic)
            }
        }
    }

    /// What the client may do with the resource, as the `*_authorized_operations` fields have it: bit n stands for the
    /// operation with number n.
    pub fn authorized_operations(&mut self, resource: Resource<'_>) -> i32 {
        let all = resource.kind().operations().iter();
        all.filter(|operation| self.allows(**operation, resource))
            .fold(0, |bits, operation| bits | 1 << (*operation as i8))
    }
}

/// How a request names a topic.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    Name(&'a str),
    Id(Uuid),
}

impl<'a> Named<'a> {
    /// `by_id` is a matter of the request's version.
    pub fn new(by_id: bool, name: &'a str, id: Uuid) -> Named<'a> {
        if by_id { Named::Id(id) } else { Named::Name(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::acl::{Acl, PatternKind, Permission};
    use bowline_model::meta::{Command, PermissionSpec, UserSpec};
    use bowline_topology::config::Defaults;

    fn topology(commands: Vec<Command>) -> Topology {
        let mut topology = Topology::new(1, Defaults::default());
        commands.iter().for_each(|command| drop(topology.apply(0, command).unwrap()));
        topology
    }

    fn user(name: &str, tags: &[&str], read: &str, write: &str, configure: &str) -> Vec<Command> {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        vec![
            Command::UserPut(UserSpec { name: name.into(), password: None, tags }),
            Command::PermissionPut(PermissionSpec {
                user: name.into(),
                vhost: "/".into(),
                configure: configure.into(),
                write: write.into(),
                read: read.into(),
            }),
        ]
    }

    #[test]
    fn amqp_permissions_hold_over_kafka() {
        use Operation::*;
        use Resource::*;
        let mut commands = user("app", &[], "^in", "^out", "^own");
        commands.extend(user("boss", &["administrator"], "", "", ""));
        commands.push(Command::UserPut(UserSpec { name: "elsewhere".into(), password: None, tags: vec![] }));
        let topology = topology(commands);
        let may = |name: &str, operation, resource| {
            let principal = Principal::user(name);
            let asker = Asker { principal: &principal, host: "127.0.0.1" };
            Mode::Permissions.allows(&topology, asker, operation, resource)
        };
        for (operation, resource, expected) in [
            (Read, Topic("in"), true),
            (Write, Topic("in"), false),
            (Describe, Topic("in"), true),
            (Write, Topic("out"), true),
            (Read, Topic("out"), false),
            (Create, Topic("own"), true),
            (Delete, Topic("out"), false),
            (AlterConfigs, Topic("own"), true),
            (Describe, Topic("other"), false),
            (Read, Group("in-group"), true),
            (Read, Group("out-group"), false),
            (Delete, Group("own-group"), true),
            (Write, TransactionalId("out-1"), true),
            (Write, TransactionalId("in-1"), false),
            (Describe, Cluster, true),
            (IdempotentWrite, Cluster, true),
            (Create, Cluster, false),
            (Alter, Cluster, false),
            (CreateTokens, User("app"), false),
        ] {
            assert_eq!(may("app", operation, resource), expected, "{operation:?} {resource:?}");
        }
        assert!(may("boss", Alter, Cluster) && !may("boss", Read, Topic("in")));
        assert!(!may("elsewhere", Read, Topic("in")) && !may("elsewhere", Describe, Cluster));
        assert!(may("no-user", Read, Topic("in")) && may("no-user", Alter, Cluster));
    }

    #[test]
    fn rules_decide_alone_when_they_are_on() {
        let mut commands = user("app", &["administrator"], ".*", ".*", ".*");
        let rule = |permission, name: &str| Acl {
            resource: ResourceKind::Topic,
            pattern: PatternKind::Literal,
            name: name.into(),
            principal: Principal::user("app"),
            host: "*".into(),
            operation: Operation::Read,
            permission,
        };
        commands
            .push(Command::AclsAdd(vec![rule(Permission::Allow, "mine"), rule(Permission::Deny, "secret")]));
        let topology = topology(commands);
        let may = |options: &AclOptions, name: &str, topic| {
            let principal = Principal::user(name);
            let asker = Asker { principal: &principal, host: "127.0.0.1" };
            Mode::Acls(options).allows(&topology, asker, Operation::Read, Resource::Topic(topic))
        };
        let strict = AclOptions { super_users: vec![Principal::user("root")], ..Default::default() };
        assert_eq!(["mine", "secret", "other"].map(|topic| may(&strict, "app", topic)), [true, false, false]);
        assert_eq!(["mine", "secret", "other"].map(|topic| may(&strict, "root", topic)), [true; 3]);
        let lax = AclOptions { open_without_rules: true, ..strict };
        assert_eq!(["mine", "secret", "other"].map(|topic| may(&lax, "app", topic)), [true, false, true]);
        assert_eq!(["mine", "secret", "other"].map(|topic| may(&lax, "bob", topic)), [false, false, true]);
    }
}
