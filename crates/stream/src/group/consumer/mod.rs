//! KIP-848 groups: the coordinator decides who reads what, and tells each member in the answer to its heartbeat.
//!
//! Three epochs. The *group epoch* goes up when members, their subscriptions or the topics change; the *assignment
//! epoch* follows when a new target assignment has been computed for it; a *member epoch* follows that when the
//! member has given back what it must. Only then is what it gives back another's:
//!
//! ```text
//!                target has all it owns                       heartbeat lists none of what it lost
//!   Stable ──────────────────────────────► Stable/Waiting ◄────────────────────────────── Revoking
//!      └──────── target lacks something that it owns ───────────────────────────────────────► ▲
//! ```
//! `Waiting`: something of the target is held by another member yet.
//!
//! Who changes is logged whole (record ConsumerGroup), and the member hears of it when that is durable. So after a
//! restart members go on as if nothing had been: [`Stored`] is what the log says, [`Consumer`] is made of it and
//! runs ahead of it. Members that speak the classic protocol may be in the group as well: [`classic`], [`convert`].

mod admin;
mod assign;
mod beat;
mod classic;
mod convert;
mod protocol;
mod reconcile;
mod requests;
mod subscribed;

use crate::topics::Topics;
use bowline_model::consumer_group::{GroupRecord, Member, MemberState, Partitions, Refused};
use bowline_model::group::{Error, State};
use bowline_model::group_config::GroupConfig;
use bowline_model::{Millis, TopicId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use subscribed::Subscribed;

pub(super) use protocol::Subscription;

/// Names of topics and a pattern that one member may subscribe to, bytes.
pub const SUBSCRIPTION_BYTES_MAX: usize = 1024 * 1024;
/// Longest pattern, bytes.
pub const REGEX_BYTES_MAX: usize = 4096;

/// What the coordinator knows beside the group itself.
pub(super) struct Env<'a> {
    pub now: Millis,
    pub topics: &'a Topics,
    pub config: GroupConfig,
    pub members_max: usize,
}

/// A group as the log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    epoch: i32,
    assignment_epoch: i32,
    subscribed: u64,
    members: BTreeMap<String, Member>,
}

impl Stored {
    pub fn apply(&mut self, record: GroupRecord) {
        self.epoch = record.epoch;
        self.assignment_epoch = record.assignment_epoch;
        self.subscribed = record.subscribed;
        for (id, member) in record.members {
            match member {
                Some(member) => self.members.insert(id, member),
                None => self.members.remove(&id),
            };
        }
    }
}

/// A group as its leader runs it.
#[derive(Debug, Default)]
pub(super) struct Consumer {
    pub epoch: i32,
    pub assignment_epoch: i32,
    pub members: BTreeMap<String, Live>,
    /// Instance id → member id of static members.
    statics: BTreeMap<String, String>,
    /// Partitions that some member may read, or has not given back yet.
    held: BTreeSet<(TopicId, u32)>,
    subscribed: Subscribed,
    /// Members that the log does not know as they are, or does not know to be gone.
    changed: BTreeSet<String>,
    /// Epochs and subscribed topics as the log has them.
    logged: (i32, i32, u64),
}

/// A member, and when it has to have done what.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub at: Member,
    /// In which of its epochs it got each partition that it holds; a commit from then on is good (KIP-1251). Of what
    /// it held at the start only the epoch then is known.
    since: BTreeMap<(TopicId, u32), i32>,
    /// Given up unless it is heard of.
    deadline: Millis,
    /// Given up if it is still in this epoch then, because it does not give back what it must.
    revoke_by: Option<(i32, Millis)>,
    /// Classic members: when it has to have joined again, and to have asked for its assignment.
    join_by: Option<Millis>,
    sync_by: Option<Millis>,
}

impl Consumer {
    /// Goes on where the log ends. Sessions begin anew.
    pub fn restored(stored: &Stored, now: Millis, config: GroupConfig) -> Consumer {
        let mut group = Consumer {
            epoch: stored.epoch,
            assignment_epoch: stored.assignment_epoch,
            subscribed: Subscribed::restored(stored.subscribed),
            logged: (stored.epoch, stored.assignment_epoch, stored.subscribed),
            ..Consumer::default()
        };
        for (id, at) in &stored.members {
            let timeout = session_timeout_ms(at, config);
            let revoke_by = (at.state == MemberState::Revoking)
                .then_some((at.epoch, now + u64::from(at.rebalance_timeout_ms)));
            if let Some(instance) = &at.instance_id {
                group.statics.insert(instance.clone(), id.clone());
            }
            let since = pairs(&at.assigned).chain(pairs(&at.revoking)).map(|pair| (pair, at.epoch)).collect();
            let live = Live { at: at.clone(), since, deadline: now + timeout, revoke_by, ..Live::default() };
            group.members.insert(id.clone(), live);
            group.hold(id);
        }
        group
    }

    pub fn state(&self) -> State {
        if self.members.is_empty() {
            State::Empty
        } else if self.epoch > self.assignment_epoch {
            State::Assigning
        } else if self.members.values().all(|member| self.is_settled(&member.at)) {
            State::Stable
        } else {
            State::Reconciling
        }
    }

    /// It never had a member.
    pub fn is_blank(&self) -> bool {
        self.members.is_empty() && self.epoch == 0
    }

    /// What the log has to be told; `None`: nothing.
    pub fn take_record(&mut self, name: &str) -> Option<GroupRecord> {
        let header = (self.epoch, self.assignment_epoch, self.subscribed.hash());
        if self.changed.is_empty() && header == self.logged {
            return None;
        }
        self.logged = header;
        let changed = std::mem::take(&mut self.changed);
        let member = |id: String| {
            let at = self.members.get(&id).map(|live| live.at.clone());
            (id, at)
        };
        Some(GroupRecord {
            group: name.to_owned(),
            gone: false,
            epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            subscribed: self.subscribed.hash(),
            members: changed.into_iter().map(member).collect(),
        })
    }

    /// The log may lack anything of late.
    pub fn tell_again(&mut self) {
        self.changed.extend(self.members.keys().cloned());
        self.logged = (-1, -1, 0);
    }

    /// The earliest of all timers.
    pub fn next_timer(&self) -> Millis {
        let timers = |member: &Live| {
            let revoke = member.revoke_by.map(|(_, at)| at);
            [Some(member.deadline), revoke, member.join_by, member.sync_by].into_iter().flatten().min()
        };
        self.members.values().filter_map(timers).min().unwrap_or(Millis::MAX)
    }

    /// Gives up members that are overdue; true if there were any.
    pub fn tick(&mut self, now: Millis) -> bool {
        let overdue = |member: &Live| {
            let revokes = member.revoke_by.is_some_and(|(epoch, at)| at <= now && member.at.epoch == epoch);
            let due = |at: Option<Millis>| at.is_some_and(|at| at <= now);
            member.deadline <= now || revokes || due(member.join_by) || due(member.sync_by)
        };
        let overdue: Vec<String> =
            self.members.iter().filter(|(_, member)| overdue(member)).map(|(id, _)| id.clone()).collect();
        overdue.iter().for_each(|id| self.remove(id));
        !overdue.is_empty()
    }

    /// The member is none any more; what it held is free.
    fn remove(&mut self, id: &str) {
        self.release(id);
        let Some(member) = self.members.remove(id) else { return };
        if let Some(instance) = &member.at.instance_id
            && self.statics.get(instance).is_some_and(|current| current == id)
        {
            self.statics.remove(instance);
        }
        self.changed.insert(id.to_owned());
        self.bump();
    }

    fn bump(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
    }

    /// It has all that the current assignment has for it, and nothing else.
    fn is_settled(&self, member: &Member) -> bool {
        member.state == MemberState::Stable && member.epoch == self.assignment_epoch
    }

    fn hold(&mut self, id: &str) {
        if let Some(member) = self.members.get(id) {
            self.held.extend(pairs(&member.at.assigned).chain(pairs(&member.at.revoking)));
        }
    }

    fn release(&mut self, id: &str) {
        if let Some(member) = self.members.get(id) {
            for pair in pairs(&member.at.assigned).chain(pairs(&member.at.revoking)) {
                self.held.remove(&pair);
            }
        }
    }
}

/// One by one.
fn pairs(partitions: &Partitions) -> impl Iterator<Item = (TopicId, u32)> + '_ {
    partitions.iter().flat_map(|(topic, numbers)| numbers.iter().map(|number| (*topic, *number)))
}

#[cfg(test)]
pub(super) fn pairs_of(partitions: &Partitions) -> impl Iterator<Item = (TopicId, u32)> + '_ {
    pairs(partitions)
}

fn collect(pairs: impl Iterator<Item = (TopicId, u32)>) -> Partitions {
    let mut partitions = Partitions::new();
    for (topic, number) in pairs {
        partitions.entry(topic).or_default().insert(number);
    }
    partitions
}

fn has(partitions: &Partitions, (topic, number): (TopicId, u32)) -> bool {
    partitions.get(&topic).is_some_and(|numbers| numbers.contains(&number))
}

fn session_timeout_ms(member: &Member, config: GroupConfig) -> u64 {
    let own = member.classic.as_ref().map(|classic| classic.session_timeout_ms);
    u64::from(own.unwrap_or(config.consumer_session_timeout_ms))
}

fn refused(error: Error, message: impl Into<String>) -> Refused {
    Refused { error, message: message.into() }
}
