//! Access rules in Kafka's terms: who may do what to which resource, from where.
//!
//! The numbers are Kafka's and part of the log's format: never reused. What the rules say together is decided by the
//! topology; nothing here evaluates them.

use crate::Principal;
use serde::{Deserialize, Serialize};

/// Declares an enum with Kafka's wire numbers and the way back from them.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "i8", into = "i8")]
        #[repr(i8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $number,)*
        }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// `None` for numbers that stand for none of them, which in filters include "unknown" and "any".
            pub fn from_i8(number: i8) -> Option<$name> {
                $name::ALL.iter().copied().find(|known| *known as i8 == number)
            }
        }

        impl From<$name> for i8 {
            fn from(value: $name) -> i8 {
                value as i8
            }
        }

        impl TryFrom<i8> for $name {
            type Error = &'static str;

            fn try_from(number: i8) -> Result<$name, &'static str> {
                $name::from_i8(number).ok_or(concat!("unknown ", stringify!($name)))
            }
        }
    };
}

numbered! {
    /// What somebody wants to do.
    Operation {
        /// In rules only: every operation.
        All = 2,
        Read = 3,
        Write = 4,
        Create = 5,
        Delete = 6,
        Alter = 7,
        Describe = 8,
        ClusterAction = 9,
        DescribeConfigs = 10,
        AlterConfigs = 11,
        IdempotentWrite = 12,
        CreateTokens = 13,
        DescribeTokens = 14,
        TwoPhaseCommit = 15,
    }
}

numbered! {
    ResourceKind {
        Topic = 2,
        Group = 3,
        /// There is one: [`CLUSTER`].
        Cluster = 4,
        TransactionalId = 5,
        DelegationToken = 6,
        User = 7,
    }
}

numbered! {
    /// How a rule names resources.
    PatternKind {
        /// The one of that name; the name [`WILDCARD`] means all.
        Literal = 3,
        /// All whose names begin so.
        Prefixed = 4,
    }
}

numbered! {
    Permission {
        Deny = 2,
        Allow = 3,
    }
}

/// The name of the only resource of kind Cluster.
pub const CLUSTER: &str = "kafka-cluster";
/// In rules: every resource of the kind, every host; with `User:` before it, every user.
pub const WILDCARD: &str = "*";

/// One rule. Ordered as listings show them: by resource, then by who.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Acl {
    pub resource: ResourceKind,
    pub pattern: PatternKind,
    pub name: String,
    /// Its name [`WILDCARD`] means everybody of the kind.
    pub principal: Principal,
    /// An IP address, or [`WILDCARD`].
    pub host: String,
    pub operation: Operation,
    pub permission: Permission,
}

/// What somebody wants to use, by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    Cluster,
    TransactionalId(&'a str),
    DelegationToken(&'a str),
    User(&'a str),
}

impl<'a> Resource<'a> {
    pub fn kind(self) -> ResourceKind {
        match self {
            Resource::Topic(_) => ResourceKind::Topic,
            Resource::Group(_) => ResourceKind::Group,
            Resource::Cluster => ResourceKind::Cluster,
            Resource::TransactionalId(_) => ResourceKind::TransactionalId,
            Resource::DelegationToken(_) => ResourceKind::DelegationToken,
            Resource::User(_) => ResourceKind::User,
        }
    }

    pub fn name(self) -> &'a str {
        match self {
            Resource::Topic(name)
            | Resource::Group(name)
            | Resource::TransactionalId(name)
            | Resource::DelegationToken(name)
            | Resource::User(name) => name,
            Resource::Cluster => CLUSTER,
        }
    }
}

impl ResourceKind {
    /// The operations that mean something for such a resource, as `*_authorized_operations` count them.
    pub fn operations(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            ResourceKind::Topic => {
                &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs]
            }
            ResourceKind::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            ResourceKind::Cluster => {
                &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite]
            }
            ResourceKind::TransactionalId => &[Write, Describe, TwoPhaseCommit],
            ResourceKind::DelegationToken => &[Describe],
            ResourceKind::User => &[CreateTokens, DescribeTokens],
        }
    }
}

/// Which rules are meant, when they are listed or removed. What is `None` matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AclFilter {
    pub resource: Option<ResourceKind>,
    pub name: Option<String>,
    pub pattern: PatternFilter,
    /// As it is written: `User:alice`.
    pub principal: Option<String>,
    pub host: Option<String>,
    pub operation: Option<Operation>,
    pub permission: Option<Permission>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PatternFilter {
    /// Rules of that very name, whatever their kind of pattern.
    #[default]
    Any,
    /// Rules that apply to a resource of that name.
    Match,
    /// Rules of that very name and kind of pattern.
    Is(PatternKind),
}

impl AclFilter {
    pub fn matches(&self, acl: &Acl) -> bool {
        fn is<T: PartialEq>(wanted: &Option<T>, found: &T) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        }
        is(&self.resource, &acl.resource)
            && self.matches_pattern(acl)
            && self.principal.as_ref().is_none_or(|wanted| *wanted == acl.principal.to_string())
            && is(&self.host, &acl.host)
            && is(&self.operation, &acl.operation)
            && is(&self.permission, &acl.permission)
    }

    fn matches_pattern(&self, acl: &Acl) -> bool {
        let kind_fits = match self.pattern {
            PatternFilter::Any | PatternFilter::Match => true,
            PatternFilter::Is(kind) => kind == acl.pattern,
        };
        kind_fits
            && self.name.as_deref().is_none_or(|wanted| match (self.pattern, acl.pattern) {
                (PatternFilter::Match, PatternKind::Literal) => wanted == acl.name || acl.name == WILDCARD,
                (PatternFilter::Match, PatternKind::Prefixed) => wanted.starts_with(&acl.name),
                _ => wanted == acl.name,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(pattern: PatternKind, name: &str) -> Acl {
        Acl {
            resource: ResourceKind::Topic,
            pattern,
            name: name.into(),
            principal: Principal::user("alice"),
            host: WILDCARD.into(),
            operation: Operation::Read,
            permission: Permission::Allow,
        }
    }

    #[test]
    fn filters_by_name_and_pattern_are_kafkas() {
        let rules = [
            acl(PatternKind::Literal, "foobar"),
            acl(PatternKind::Literal, "foo"),
            acl(PatternKind::Literal, "*"),
            acl(PatternKind::Prefixed, "foo"),
            acl(PatternKind::Prefixed, "bar"),
        ];
        let found = |pattern, name: Option<&str>| -> Vec<usize> {
            let filter = AclFilter { pattern, name: name.map(str::to_owned), ..Default::default() };
            (0..rules.len()).filter(|at| filter.matches(&rules[*at])).collect()
        };
        assert_eq!(found(PatternFilter::Any, None), [0, 1, 2, 3, 4]);
        assert_eq!(found(PatternFilter::Match, None), [0, 1, 2, 3, 4]);
        assert_eq!(found(PatternFilter::Any, Some("foo")), [1, 3]);
        assert_eq!(found(PatternFilter::Match, Some("foobar")), [0, 2, 3]);
        assert_eq!(found(PatternFilter::Match, Some("foo")), [1, 2, 3]);
        assert_eq!(found(PatternFilter::Is(PatternKind::Literal), Some("foo")), [1]);
        assert_eq!(found(PatternFilter::Is(PatternKind::Prefixed), Some("foo")), [3]);
        assert_eq!(found(PatternFilter::Is(PatternKind::Prefixed), None), [3, 4]);
    }

    #[test]
    fn filters_by_who_and_what() {
        let rule = acl(PatternKind::Literal, "t");
        let mut filter = AclFilter {
            resource: Some(ResourceKind::Topic),
            principal: Some("User:alice".into()),
            host: Some("*".into()),
            operation: Some(Operation::Read),
            permission: Some(Permission::Allow),
            ..Default::default()
        };
        assert!(filter.matches(&rule));
        filter.host = Some("10.0.0.1".into());
        assert!(!filter.matches(&rule), "a filter's host is compared, not evaluated");
        filter.host = None;
        filter.operation = Some(Operation::All);
        assert!(!filter.matches(&rule), "so is its operation");
    }

    #[test]
    fn numbers_are_kafkas() {
        assert_eq!(Operation::from_i8(12), Some(Operation::IdempotentWrite));
        assert_eq!(ResourceKind::from_i8(7), Some(ResourceKind::User));
        assert_eq!((Operation::from_i8(0), Operation::from_i8(1)), (None, None));
        assert_eq!((Permission::from_i8(3), PatternKind::from_i8(2)), (Some(Permission::Allow), None));
    }
}
