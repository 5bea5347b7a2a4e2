//! Access rules for Kafka clients: kept, found and evaluated.
//!
//! Evaluation is Kafka's: of the rules that name the resource (by its name, by `*`, or by a prefix of its name), those
//! that fit who asks, from where, and for what, decide; one that denies wins over any that allow. Whether rules are
//! asked at all, and what a resource without any rule means, is the front end's business.
//!
//! Rules lie by resource kind, pattern and name, so a question costs two look-ups and a walk over the prefixes of the
//! name that some rule has, however many rules there are.

use crate::refusal::refuse;
use crate::state::Topology;
use bowline_model::Principal;
use bowline_model::acl::{
    Acl, AclFilter, CLUSTER, Operation, PatternKind, Permission, Resource, ResourceKind, WILDCARD,
};
use bowline_model::meta::{Reason, Rejection};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Rules of one cluster.
pub const ACLS_MAX: usize = 100_000;
/// Octets of a resource's name, a principal or a host in a rule.
const TEXT_BYTES_MAX: usize = 4096;

/// All rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Acls {
    tables: BTreeMap<(ResourceKind, PatternKind), BTreeMap<Box<str>, BTreeSet<Entry>>>,
    count: usize,
}

/// What a rule says of the resources it names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry {
    principal: Principal,
    host: String,
    operation: Operation,
    permission: Permission,
}

/// Who asks, and from which address.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub principal: &'a Principal,
    /// An IP address.
    pub host: &'a str,
}

/// What the rules say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Allowed,
    /// By a rule, or because the resource has rules and none of them allows it.
    Denied,
    /// No rule names the resource.
    NoRules,
}

impl Entry {
    fn concerns(&self, asker: Asker<'_>) -> bool {
        let principal = &self.principal;
        principal.kind == asker.principal.kind
            && (principal.name == WILDCARD || principal.name == asker.principal.name)
            && (self.host == WILDCARD || self.host == asker.host)
    }

    /// What is allowed implies that one may look at it; what is denied implies nothing.
    fn covers(&self, operation: Operation) -> bool {
        use Operation::*;
        if self.operation == operation || self.operation == All {
            return true;
        }
        self.permission == Permission::Allow
            && match operation {
                Describe => matches!(self.operation, Read | Write | Delete | Alter),
                DescribeConfigs => self.operation == AlterConfigs,
                _ => false,
            }
    }
}

impl Acls {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sorted.
    pub fn iter(&self) -> impl Iterator<Item = Acl> + '_ {
        self.tables.iter().flat_map(|((resource, pattern), names)| {
            names.iter().flat_map(move |(name, entries)| {
                entries.iter().map(move |entry| Acl {
                    resource: *resource,
                    pattern: *pattern,
                    name: name.to_string(),
                    principal: entry.principal.clone(),
                    host: entry.host.clone(),
                    operation: entry.operation,
                    permission: entry.permission,
                })
            })
        })
    }

    /// Sorted.
    pub fn matching(&self, filter: &AclFilter) -> Vec<Acl> {
        self.iter().filter(|acl| filter.matches(acl)).collect()
    }

    pub fn contains(&self, acl: &Acl) -> bool {
        let names = self.tables.get(&(acl.resource, acl.pattern));
        names.and_then(|names| names.get(&*acl.name)).is_some_and(|entries| entries.contains(&entry(acl)))
    }

    /// May `asker` do this?
    pub fn verdict(&self, asker: Asker<'_>, operation: Operation, resource: Resource<'_>) -> Verdict {
        let (mut allowed, mut any) = (false, false);
        for entries in self.naming(resource) {
            any = true;
            for entry in entries {
                if entry.concerns(asker) && entry.covers(operation) {
                    match entry.permission {
                        Permission::Deny => return Verdict::Denied,
                        Permission::Allow => allowed = true,
                    }
                }
            }
        }
        match (allowed, any) {
            (true, _) => Verdict::Allowed,
            (false, true) => Verdict::Denied,
            (false, false) => Verdict::NoRules,
        }
    }

    /// May `asker` do this to any resource of the kind at all (whether it exists or not)? It may if something allows
    /// it that is not wholly denied again: a rule for a name is undone by one for the same name or for a beginning of
    /// it, and everything is undone by one for `*`.
    pub fn verdict_of_any(&self, asker: Asker<'_>, operation: Operation, kind: ResourceKind) -> Verdict {
        let table = |pattern| self.tables.get(&(kind, pattern));
        let says = |entries: &BTreeSet<Entry>, permission| {
            entries.iter().any(|entry| {
                entry.permission == permission && entry.concerns(asker) && entry.covers(operation)
            })
        };
        let says_of = |pattern, name: &str, permission| {
            table(pattern).and_then(|names| names.get(name)).is_some_and(|entries| says(entries, permission))
        };
        if says_of(PatternKind::Literal, WILDCARD, Permission::Deny) {
            return Verdict::Denied;
        }
        let denied_by_prefix = |name: &str| {
            let names = table(PatternKind::Prefixed);
            names.is_some_and(|names| prefixes(names, name).any(|entries| says(entries, Permission::Deny)))
        };
        let mut any = false;
        for pattern in [PatternKind::Literal, PatternKind::Prefixed] {
            for (name, entries) in table(pattern).into_iter().flatten() {
                any = true;
                if !says(entries, Permission::Allow) {
                    continue;
                }
                let everything = pattern == PatternKind::Literal && &**name == WILDCARD;
                let undone = says(entries, Permission::Deny) || denied_by_prefix(name);
                if everything || !undone {
                    return Verdict::Allowed;
                }
            }
        }
        if any { Verdict::Denied } else { Verdict::NoRules }
    }

    /// The entries of every pattern that the resource's name fits.
    fn naming<'a>(&'a self, resource: Resource<'a>) -> impl Iterator<Item = &'a BTreeSet<Entry>> {
        let (kind, name) = (resource.kind(), resource.name());
        let literals = self.tables.get(&(kind, PatternKind::Literal));
        let own = literals.and_then(|names| names.get(name));
        let all = literals.filter(|_| name != WILDCARD).and_then(|names| names.get(WILDCARD));
        let prefixed = self.tables.get(&(kind, PatternKind::Prefixed));
        own.into_iter().chain(all).chain(prefixed.into_iter().flat_map(move |names| prefixes(names, name)))
    }

    /// True if all of them are there already.
    pub(crate) fn check_add(&self, acls: &[Acl]) -> Result<bool, Rejection> {
        acls.iter().try_for_each(check)?;
        let new = acls.iter().filter(|acl| !self.contains(acl)).count();
        if self.count + new > ACLS_MAX {
            let text = format!("the limit of {ACLS_MAX} access rules is reached");
            return Err(refuse(Reason::Limit, text));
        }
        Ok(new == 0)
    }

    pub(crate) fn add(&mut self, acl: Acl) {
        let entry = entry(&acl);
        let names = self.tables.entry((acl.resource, acl.pattern)).or_default();
        if names.entry(acl.name.into()).or_default().insert(entry) {
            self.count += 1;
        }
    }

    pub(crate) fn remove(&mut self, acl: &Acl) {
        let key = (acl.resource, acl.pattern);
        let Some(names) = self.tables.get_mut(&key) else { return };
        let Some(entries) = names.get_mut(&*acl.name) else { return };
        if entries.remove(&entry(acl)) {
            self.count -= 1;
        }
        if entries.is_empty() {
            names.remove(&*acl.name);
        }
        if names.is_empty() {
            self.tables.remove(&key);
        }
    }
}

impl Topology {
    /// The access rules for Kafka clients.
    pub fn acls(&self) -> &Acls {
        &self.acls
    }
}

/// Whether a rule can be meant: the words are Kafka's.
///
/// # Errors
/// `InvalidArgument` for what is not.
pub fn check(acl: &Acl) -> Result<(), Rejection> {
    let invalid = |text: &str| Err(refuse(Reason::InvalidArgument, text));
    if acl.name.is_empty() {
        return invalid("Resource name should not be empty.");
    }
    if acl.resource == ResourceKind::Cluster && acl.name != CLUSTER {
        return invalid("The only valid name for the CLUSTER resource is kafka-cluster.");
    }
    if acl.host.is_empty() {
        return invalid("The host of a rule should not be empty.");
    }
    let long = [&acl.name, &acl.host, &acl.principal.name, &acl.principal.kind];
    if long.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return invalid("The rule is too long.");
    }
    Ok(())
}

fn entry(acl: &Acl) -> Entry {
    Entry {
        principal: acl.principal.clone(),
        host: acl.host.clone(),
        operation: acl.operation,
        permission: acl.permission,
    }
}

/// The entries of all keys that `name` begins with, the longest first. Each step goes to the greatest key that can
/// still be a beginning, so what lies between is not walked.
fn prefixes<'a>(
    names: &'a BTreeMap<Box<str>, BTreeSet<Entry>>,
    name: &'a str,
) -> impl Iterator<Item = &'a BTreeSet<Entry>> {
    let mut upto = Some(Bound::Included(name));
    std::iter::from_fn(move || {
        loop {
            let bound = upto?;
            let (key, entries) = names.range::<str, _>((Bound::Unbounded, bound)).next_back()?;
            if name.starts_with(&**key) {
                upto = Some(Bound::Excluded(&name[..key.len()]));
                return Some(entries);
            }
            // Less than `name` and no beginning of it: whatever else is one is not longer than what they share.
            upto = Some(Bound::Included(shared(name, key)));
        }
    })
}

/// The longest common beginning.
fn shared<'a>(name: &'a str, other: &str) -> &'a str {
    let same = name.chars().zip(other.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8());
    &name[..same.sum()]
}

#[cfg(test)]
mod tests;
