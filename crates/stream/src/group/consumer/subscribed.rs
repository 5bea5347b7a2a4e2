//! Which topics the members' names and patterns stand for now.

use super::{Consumer, Env, REGEX_BYTES_MAX, refused};
use crate::topics::{Known, Topics};
use bowline_model::consumer_group::{Member, Refused};
use bowline_model::group::Error;
use bowline_model::{Millis, TopicId};
use regex::{Regex, RegexBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Patterns are matched against changed topics at most this often, ms: each time it takes a walk over all topics.
pub const REGEX_REFRESH_MS: u64 = 1_000;
/// What a compiled pattern may take, bytes.
const REGEX_MEMORY_MAX: usize = 1 << 20;

/// Volatile but for [`Subscribed::hash`].
#[derive(Debug, Default)]
pub struct Subscribed {
    /// Of those that exist.
    topics: BTreeMap<Arc<str>, Known>,
    patterns: BTreeMap<String, Pattern>,
    hash: u64,
    /// Of [`Topics`], when they were last looked at.
    version: u64,
    refreshed: Millis,
}

#[derive(Debug)]
struct Pattern {
    regex: Regex,
    matches: BTreeSet<Arc<str>>,
}

impl Subscribed {
    pub fn restored(hash: u64) -> Subscribed {
        Subscribed { hash, ..Subscribed::default() }
    }

    /// Stands for the topics and their numbers of partitions.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The topics that the pattern matched when it was last looked at.
    fn matches(&self, pattern: &str) -> impl Iterator<Item = &str> {
        self.patterns.get(pattern).into_iter().flat_map(|pattern| pattern.matches.iter().map(|name| &**name))
    }

    /// Knows the pattern from now on. It is matched by an automaton in time linear in the name, and bounded in size.
    pub fn compile(&mut self, pattern: &str) -> Result<(), Refused> {
        if self.patterns.contains_key(pattern) {
            return Ok(());
        }
        let invalid = |why: String| {
            let text = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {why}.");
            refused(Error::InvalidRegularExpression, text)
        };
        if pattern.len() > REGEX_BYTES_MAX {
            return Err(invalid(format!("it is longer than {REGEX_BYTES_MAX} bytes")));
        }
        let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_MEMORY_MAX).build();
        // By itself first, as parentheses that do not match might do so with the group that is put around it.
        build(pattern).map_err(|error| invalid(error.to_string()))?;
        let regex = build(&format!(r"\A(?:{pattern})\z")).map_err(|error| invalid(error.to_string()))?;
        self.patterns.insert(pattern.to_owned(), Pattern { regex, matches: BTreeSet::new() });
        Ok(())
    }

    /// With their numbers of partitions.
    pub fn topics_of(&self, member: &Member) -> BTreeMap<TopicId, u32> {
        let matches = member.regex.iter().flat_map(|regex| self.matches(regex));
        let names = member.topics.iter().map(String::as_str).chain(matches);
        names.filter_map(|name| self.topics.get(name)).map(|known| (known.id, known.partitions)).collect()
    }

    fn look(&mut self, members: &[&Member], topics: &Topics) {
        let wanted: BTreeSet<&str> = members.iter().filter_map(|member| member.regex.as_deref()).collect();
        self.patterns.retain(|pattern, _| wanted.contains(pattern.as_str()));
        for pattern in wanted {
            // Those of members that were restored are not known yet. They were valid.
            let _ = self.compile(pattern);
        }
        self.topics.clear();
        for pattern in self.patterns.values_mut() {
            let matches = topics.iter().filter(|(name, _)| pattern.regex.is_match(name));
            pattern.matches = matches.map(|(name, _)| name.clone()).collect();
        }
        let matches = self.patterns.values().flat_map(|pattern| pattern.matches.iter().map(|name| &**name));
        let names = members.iter().flat_map(|member| member.topics.iter().map(String::as_str)).chain(matches);
        for name in names {
            if !self.topics.contains_key(name)
                && let Some(known) = topics.get(name)
            {
                self.topics.insert(name.into(), known);
            }
        }
    }
}

impl Consumer {
    /// Looks at the topics again, if they or (`subscriptions`) what is subscribed to have changed; true if that makes
    /// a difference to the group.
    pub fn refresh(&mut self, subscriptions: bool, env: &Env<'_>) -> bool {
        let subscribed = &mut self.subscribed;
        let version = env.topics.version();
        // Nothing was told yet: that is not the same as that there are none.
        if version == 0 || !subscriptions && version == subscribed.version {
            return false;
        }
        let early = env.now < subscribed.refreshed + REGEX_REFRESH_MS;
        if !subscriptions && early && !subscribed.patterns.is_empty() {
            return false;
        }
        let members: Vec<&Member> = self.members.values().map(|member| &member.at).collect();
        subscribed.look(&members, env.topics);
        subscribed.version = version;
        subscribed.refreshed = env.now;
        let hash = hash(&subscribed.topics);
        std::mem::replace(&mut subscribed.hash, hash) != hash
    }

    /// Names of all topics that a member reads: of those who are there now, whoever was when topics were last looked
    /// at.
    pub fn subscribed_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for member in self.members.values() {
            names.extend(member.at.topics.iter().cloned());
            let matches = member.at.regex.iter().flat_map(|regex| self.subscribed.matches(regex));
            names.extend(matches.map(str::to_owned));
        }
        names
    }
}

/// FNV-1a: the same on every platform and in every version.
fn hash(topics: &BTreeMap<Arc<str>, Known>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut put = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    for (name, known) in topics {
        put(name.as_bytes());
        put(&known.id.0);
        put(&known.partitions.to_le_bytes());
    }
    hash
}
