//! Forgetting: offsets that nobody uses any more, and groups that hold nothing.
//!
//! An offset goes some days after it was committed *and* the group has been without members; in a group with
//! consumers only if none of them subscribes to the topic (KIP-211). Since when a group is empty is not logged:
//! after a restart the days count anew, which keeps offsets too long rather than too short.

use super::state::Group;
use super::subscription::Subscribed;
use super::{Groups, TopicPartitions, propose_delete};
use crate::out::Out;
use crate::txn::Pending;
use bowline_model::Millis;
use bowline_model::group::State;
use std::sync::Arc;

/// How often it is looked at, ms.
pub const EXPIRY_CHECK_MS: u64 = 10 * 60 * 1000;

impl Groups {
    /// Proposes to forget expired offsets, and drops vacant groups.
    pub(super) fn expire(&mut self, now: Millis, waiting: &Pending, out: &mut Out) {
        if now < self.next_check {
            return;
        }
        self.next_check = now + EXPIRY_CHECK_MS;
        let mut vacant: Vec<Arc<str>> = Vec::new();
        for (name, group) in &mut self.by_name {
            if group.is_vacant() {
                match &group.consumer {
                    None => vacant.push(name.clone()),
                    // The log has it.
                    Some(_) if waiting.is_open(name) => {}
                    Some(_) => propose_delete(name, None, None, out),
                }
                continue;
            }
            let mut topics = expired(group, now, self.options.offsets_retention_ms);
            // What is about to be committed anew would be forgotten with the old one.
            for (topic, partitions) in &mut topics {
                partitions.retain(|&partition| !waiting.is_unstable(name, topic, partition));
            }
            topics.retain(|(_, partitions)| !partitions.is_empty());
            if !topics.is_empty() {
                propose_delete(name, Some(topics), None, out);
            }
        }
        vacant.iter().for_each(|name| self.forget(name));
    }
}

fn expired(group: &mut Group, now: Millis, retention_ms: u64) -> TopicPartitions {
    let limit = now.saturating_sub(retention_ms);
    // A commit that is on its way is not in the offsets yet.
    if group.commit_asked > limit || group.offsets.is_empty() {
        if group.state() == State::Empty {
            group.empty_since.get_or_insert(now);
        }
        return Vec::new();
    }
    match group.state() {
        State::Empty if *group.empty_since.get_or_insert(now) > limit => Vec::new(),
        State::Empty | State::Stable | State::Assigning | State::Reconciling => {
            let subscribed = group.subscribed();
            let keep = |topic: &str| {
                group.state() != State::Empty
                    && (subscribed == Subscribed::NotConsumers || subscribed.contains(topic))
            };
            group.offsets.older_than(limit, keep)
        }
        _ => Vec::new(),
    }
}
