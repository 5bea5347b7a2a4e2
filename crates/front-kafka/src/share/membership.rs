//! Who is in a share group, and what each member is to fetch from (KIP-932): the coordinator's half that says nothing
//! of records.
//!
//! Members tell that they live by heartbeats; who is silent for too long is forgotten when somebody next looks. When a
//! member comes or goes, changes its topics, or a topic changes its partitions, the group's *epoch* rises and
//! everything is assigned anew; a member learns of it with its next heartbeat. Nothing is handed over: partitions are
//! shared anyway.
//!
//! All of it is volatile. After a restart a member is unknown, which makes its client join again.

use super::assignor::{self, Assignment};
use bowline_model::TopicId;
use bowline_model::share_config::ShareConfig;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Groups with members.
pub const GROUPS_MAX: usize = 10_000;
/// Topics that a member may subscribe to.
pub const TOPICS_MAX: usize = 10_000;

/// The epoch with which a member joins, and that with which it leaves.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;

/// What a topic is, as of now; `None` if there is none of that name.
pub type Lookup<'a> = &'a mut dyn FnMut(&str) -> Option<(TopicId, u32)>;

/// All share groups of the node that have members.
#[derive(Debug, Default)]
pub struct Groups {
    by_name: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
struct Group {
    epoch: i32,
    members: BTreeMap<String, Member>,
    /// The topics that members subscribe to, as the assignment knows them.
    topics: BTreeMap<String, (TopicId, u32)>,
}

#[derive(Debug, Clone)]
struct Member {
    rack: Option<String>,
    client_id: String,
    client_host: String,
    topics: Vec<String>,
    epoch: i32,
    previous_epoch: i32,
    /// What it was told last.
    assignment: Assignment,
    /// What it is to be told.
    target: Assignment,
    deadline: Instant,
}

#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub group: String,
    pub member: String,
    pub epoch: i32,
    pub rack: Option<String>,
    /// `None`: as before.
    pub topics: Option<Vec<String>>,
    pub client_id: String,
    pub client_host: String,
}

#[derive(Debug, PartialEq)]
pub struct Answer {
    pub epoch: i32,
    /// `None`: as before.
    pub assignment: Option<Assignment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// And what is wrong with the request.
    Invalid(&'static str),
    UnknownMember,
    FencedEpoch,
    GroupFull,
    TooManyGroups,
}

#[derive(Debug)]
pub struct Described {
    pub epoch: i32,
    pub members: Vec<DescribedMember>,
}

#[derive(Debug)]
pub struct DescribedMember {
    pub member: String,
    pub rack: Option<String>,
    pub epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    /// Topic names beside.
    pub assignment: Vec<(TopicId, String, Vec<i32>)>,
}

impl Groups {
    pub fn heartbeat(
        &mut self,
        heartbeat: Heartbeat,
        config: &ShareConfig,
        now: Instant,
        lookup: Lookup<'_>,
    ) -> Result<Answer, Refusal> {
        check(&heartbeat)?;
        self.expire(&heartbeat.group, now, lookup);
        if heartbeat.epoch == JOINS && !self.by_name.contains_key(&heartbeat.group) {
            if self.by_name.len() >= GROUPS_MAX {
                self.expire_all(now, lookup);
            }
            if self.by_name.len() >= GROUPS_MAX {
                return Err(Refusal::TooManyGroups);
            }
            self.by_name.insert(heartbeat.group.clone(), Group::default());
        }
        let group = self.by_name.get_mut(&heartbeat.group).ok_or(Refusal::UnknownMember)?;
        let answer = match heartbeat.epoch {
            LEAVES => group.leave(&heartbeat.member, lookup),
            _ => group.heartbeat(&heartbeat, config, now, lookup),
        };
        if group.members.is_empty() {
            self.by_name.remove(&heartbeat.group);
        }
        answer
    }

    /// `None`: nobody is there.
    pub fn describe(&mut self, name: &str, now: Instant, lookup: Lookup<'_>) -> Option<Described> {
        self.expire(name, now, lookup);
        let group = self.by_name.get(name)?;
        let names: BTreeMap<TopicId, &String> =
            group.topics.iter().map(|(name, (id, _))| (*id, name)).collect();
        let describe = |(name, member): (&String, &Member)| DescribedMember {
            member: name.clone(),
            rack: member.rack.clone(),
            epoch: member.epoch,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: member.topics.clone(),
            assignment: member
                .assignment
                .iter()
                .map(|(id, of)| {
                    (*id, names.get(id).map_or(String::new(), |name| (*name).clone()), of.clone())
                })
                .collect(),
        };
        Some(Described { epoch: group.epoch, members: group.members.iter().map(describe).collect() })
    }

    /// Names of groups with members.
    pub fn names(&mut self, now: Instant, lookup: Lookup<'_>) -> Vec<String> {
        self.expire_all(now, lookup);
        self.by_name.keys().cloned().collect()
    }

    fn expire_all(&mut self, now: Instant, lookup: Lookup<'_>) {
        let names: Vec<String> = self.by_name.keys().cloned().collect();
        names.iter().for_each(|name| self.expire(name, now, lookup));
    }

    fn expire(&mut self, name: &str, now: Instant, lookup: Lookup<'_>) {
        let Some(group) = self.by_name.get_mut(name) else { return };
        let before = group.members.len();
        group.members.retain(|_, member| member.deadline > now);
        if group.members.is_empty() {
            self.by_name.remove(name);
        } else if group.members.len() < before {
            group.assign(lookup);
        }
    }
}

impl Group {
    fn leave(&mut self, member: &str, lookup: Lookup<'_>) -> Result<Answer, Refusal> {
        self.members.remove(member).ok_or(Refusal::UnknownMember)?;
        self.assign(lookup);
        Ok(Answer { epoch: LEAVES, assignment: None })
    }

    fn heartbeat(
        &mut self,
        heartbeat: &Heartbeat,
        config: &ShareConfig,
        now: Instant,
        lookup: Lookup<'_>,
    ) -> Result<Answer, Refusal> {
        let known = self.members.get(&heartbeat.member);
        if heartbeat.epoch != JOINS {
            let member = known.ok_or(Refusal::UnknownMember)?;
            // The answer that told of the present epoch may have been lost.
            if heartbeat.epoch != member.epoch && heartbeat.epoch != member.previous_epoch {
                return Err(Refusal::FencedEpoch);
            }
        } else if known.is_none() && self.members.len() >= config.members_max as usize {
            return Err(Refusal::GroupFull);
        }
        let is_new = known.is_none();
        let deadline = now + Duration::from_millis(config.session_timeout_ms.into());
        let member = self.members.entry(heartbeat.member.clone()).or_insert_with(|| Member {
            rack: None,
            client_id: String::new(),
            client_host: String::new(),
            topics: Vec::new(),
            epoch: 0,
            previous_epoch: 0,
            assignment: Assignment::new(),
            target: Assignment::new(),
            deadline,
        });
        member.deadline = deadline;
        member.client_id.clone_from(&heartbeat.client_id);
        member.client_host.clone_from(&heartbeat.client_host);
        if let Some(rack) = &heartbeat.rack {
            member.rack = Some(rack.clone());
        }
        let mut changed = is_new;
        if let Some(topics) = &heartbeat.topics {
            let mut topics = topics.clone();
            topics.sort_unstable();
            topics.dedup();
            changed |= member.topics != topics;
            member.topics = topics;
        }
        if changed || self.topics_moved(lookup) {
            self.assign(lookup);
        }
        let (epoch, told_before) = (self.epoch, heartbeat.epoch != JOINS && heartbeat.topics.is_none());
        let Some(member) = self.members.get_mut(&heartbeat.member) else {
            return Err(Refusal::UnknownMember);
        };
        let lost = heartbeat.epoch != member.epoch;
        let moved = member.assignment != member.target;
        if member.epoch != epoch {
            (member.previous_epoch, member.epoch) = (heartbeat.epoch, epoch);
        }
        member.assignment.clone_from(&member.target);
        let assignment = (!told_before || lost || moved).then(|| member.assignment.clone());
        Ok(Answer { epoch, assignment })
    }

    /// A topic has come, gone, or has another number of partitions than the assignment knows.
    fn topics_moved(&self, lookup: Lookup<'_>) -> bool {
        let names = self.members.values().flat_map(|member| &member.topics);
        names.into_iter().any(|name| lookup(name) != self.topics.get(name).copied())
    }

    fn assign(&mut self, lookup: Lookup<'_>) {
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        self.topics.clear();
        for name in self.members.values().flat_map(|member| &member.topics) {
            if !self.topics.contains_key(name)
                && let Some(topic) = lookup(name)
            {
                self.topics.insert(name.clone(), topic);
            }
        }
        let subscribed = |member: &Member| {
            member.topics.iter().filter_map(|name| self.topics.get(name)).map(|(id, _)| *id).collect()
        };
        let members: BTreeMap<&str, Vec<TopicId>> =
            self.members.iter().map(|(name, member)| (name.as_str(), subscribed(member))).collect();
        let partitions = self.topics.values().copied().collect();
        let assigned: Vec<Assignment> = assignor::assign(&members, &partitions).into_values().collect();
        for (member, target) in self.members.values_mut().zip(assigned) {
            member.target = target;
        }
    }
}

fn check(heartbeat: &Heartbeat) -> Result<(), Refusal> {
    let invalid = |what| Err(Refusal::Invalid(what));
    if heartbeat.group.is_empty() || heartbeat.group.len() > bowline_model::share::NAME_BYTES_MAX {
        return invalid("GroupId must have 1 to 255 bytes.");
    }
    if heartbeat.member.is_empty() || heartbeat.member.len() > 255 {
        return invalid("MemberId must have 1 to 255 bytes.");
    }
    if heartbeat.epoch < LEAVES {
        return invalid("MemberEpoch is invalid.");
    }
    if heartbeat.topics.as_ref().is_some_and(|topics| topics.len() > TOPICS_MAX) {
        return invalid("SubscribedTopicNames has too many names.");
    }
    if heartbeat.epoch == JOINS && heartbeat.topics.as_ref().is_none_or(Vec::is_empty) {
        return invalid("SubscribedTopicNames must be set in first request.");
    }
    if heartbeat.rack.as_ref().is_some_and(String::is_empty) {
        return invalid("RackId can't be empty.");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
