//! From the group's target assignment to what each member may read now.

use super::{Consumer, assign, collect, has, pairs};
use bowline_model::Millis;
use bowline_model::consumer_group::{LEAVES_FOR_A_WHILE, MemberState, Partitions};
use std::collections::BTreeMap;

impl Consumer {
    /// A new target assignment for the group's epoch.
    pub fn assign(&mut self) {
        let subscribers: Vec<assign::Subscriber<'_>> = self
            .members
            .iter()
            .map(|(id, member)| assign::Subscriber {
                id,
                instance_id: member.at.instance_id.as_deref(),
                topics: self.subscribed.topics_of(&member.at),
                previous: &member.at.target,
            })
            .collect();
        let targets = assign::assign(self.assignor(), &subscribers);
        for ((id, member), target) in self.members.iter_mut().zip(targets) {
            if member.at.target != target {
                member.at.target = target;
                self.changed.insert(id.clone());
            }
        }
        self.assignment_epoch = self.epoch;
    }

    /// What most members prefer; the default if none says.
    pub fn assignor(&self) -> &'static str {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.at.assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.values().copied().max();
        let chosen = assign::ASSIGNORS.iter().find(|name| votes.get(**name).copied() == most);
        if most.is_none() { assign::DEFAULT } else { chosen.copied().unwrap_or(assign::DEFAULT) }
    }

    /// Brings the member on towards its target as far as the others allow. `owned`: what it says that it has;
    /// `None`: the same as before.
    pub fn reconcile(&mut self, id: &str, owned: Option<&Partitions>, now: Millis) {
        let Some(member) = self.members.get(id) else { return };
        let at = &member.at;
        let epoch = match at.state {
            MemberState::Stable if at.epoch == self.assignment_epoch => return,
            MemberState::Stable | MemberState::Waiting => at.epoch,
            MemberState::Revoking => match owned {
                Some(owned) if pairs(&at.revoking).all(|pair| !has(owned, pair)) => at.epoch + 1,
                // It still has what it must give back, or does not say.
                _ => return,
            },
        };
        debug_assert!(at.epoch != LEAVES_FOR_A_WHILE, "who has left sends no heartbeats");
        // What it does not list is free from here on, for itself as well.
        self.release(id);
        let Some(member) = self.members.get_mut(id) else { return };
        let mut at = member.at.clone();
        let kept = collect(pairs(&at.assigned).filter(|pair| has(&at.target, *pair)));
        let lost = collect(pairs(&at.assigned).filter(|pair| !has(&at.target, *pair)));
        let wanted = || pairs(&at.target).filter(|pair| !has(&kept, *pair));
        let free = collect(wanted().filter(|pair| !self.held.contains(pair)));
        let waits = wanted().any(|pair| self.held.contains(&pair));
        let has_lost = owned.is_none_or(|owned| pairs(&lost).any(|pair| has(owned, pair)));
        let next = if !lost.is_empty() && has_lost {
            at.state = MemberState::Revoking;
            at.assigned = kept;
            at.revoking = lost;
            epoch
        } else {
            at.state = if waits { MemberState::Waiting } else { MemberState::Stable };
            at.assigned = collect(pairs(&kept).chain(pairs(&free)));
            at.revoking.clear();
            self.assignment_epoch
        };
        if next != at.epoch {
            at.previous_epoch = at.epoch;
            at.epoch = next;
        }
        member.revoke_by = match (at.state, member.revoke_by) {
            (MemberState::Revoking, Some((epoch, by))) if epoch == at.epoch => Some((epoch, by)),
            (MemberState::Revoking, _) => Some((at.epoch, now + u64::from(at.rebalance_timeout_ms))),
            _ => None,
        };
        member.since.retain(|pair, _| has(&at.assigned, *pair) || has(&at.revoking, *pair));
        for pair in pairs(&at.assigned) {
            member.since.entry(pair).or_insert(at.epoch);
        }
        if member.at != at {
            member.at = at;
            self.changed.insert(id.to_owned());
        }
        self.hold(id);
    }

    /// Some of what the member waits for is still held by others.
    pub fn is_blocked(&self, id: &str) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let at = &member.at;
        pairs(&at.target).any(|pair| !has(&at.assigned, pair) && self.held.contains(&pair))
    }
}
