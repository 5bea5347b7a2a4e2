//! A group changes its protocol while it runs (Kafka's migration policy `bidirectional`): classic members stay when
//! the first member of the new protocol comes, and when the last of those leaves, the group is classic again.

use super::classic::{CONSUMER, assignment_bytes, partitions};
use super::protocol::{self, Subscription};
use super::{Consumer, Env, Live, refused};
use crate::group::Ctx;
use crate::group::member::Member as Classic;
use crate::group::state::{Group, dismiss};
use bowline_model::consumer_group::{ClassicMember, Member, Refused};
use bowline_model::group::{Error, State};
use bytes::Bytes;

impl Consumer {
    /// Only classic members are left.
    pub fn goes_classic(&self) -> bool {
        !self.members.is_empty() && self.members.values().all(|member| member.at.classic.is_some())
    }
}

impl Group {
    /// The classic group as one whose partitions the broker assigns, every member with what it has. Rebalances that
    /// are under way end: who waits joins again.
    pub(in crate::group) fn upgrade(
        &mut self,
        name: &str,
        env: &Env<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Refused> {
        let mut consumer = Consumer::default();
        if !self.members.is_empty() {
            if self.protocol_type != CONSUMER {
                return Err(refused(
                    Error::GroupIdNotFound,
                    format!("Group {name} is not a consumer group."),
                ));
            }
            if self.members.len() >= env.members_max {
                let text = format!(
                    "The group {name} has reached its maximum capacity of {} members.",
                    env.members_max
                );
                return Err(refused(Error::GroupMaxSizeReached, text));
            }
            consumer.epoch = self.generation;
            consumer.assignment_epoch = self.generation;
            for (id, member) in &self.members {
                let Some(at) = self.upgraded(member, env) else {
                    let text =
                        format!("Group {name} cannot be upgraded: its members' metadata cannot be read.");
                    return Err(refused(Error::GroupIdNotFound, text));
                };
                consumer.insert(id, at);
                if let Some(live) = consumer.members.get_mut(id) {
                    live.deadline = env.now + member.session_timeout_ms;
                    // A classic assignor may have given one partition to two: one of them has it.
                    let held = &consumer.held;
                    live.at.assigned =
                        super::collect(super::pairs(&live.at.assigned).filter(|pair| !held.contains(pair)));
                    live.at.target.clone_from(&live.at.assigned);
                }
                consumer.hold(id);
            }
        }
        for (id, mut member) in std::mem::take(&mut self.members) {
            dismiss(&mut member, &id, Error::RebalanceInProgress, ctx);
        }
        let offsets = std::mem::take(&mut self.offsets);
        let (registered, wake, commit_asked) = (self.registered, self.wake, self.commit_asked);
        *self = Group { offsets, registered, wake, commit_asked, ..Group::default() };
        self.consumer = Some(Box::new(consumer));
        Ok(())
    }

    fn upgraded(&self, member: &Classic, env: &Env<'_>) -> Option<Member> {
        let chosen = self.protocol.as_deref();
        let metadata = member.protocols.iter().find(|(name, _)| chosen.is_none_or(|chosen| chosen == name));
        let subscription = Subscription::parse(&metadata.or(member.protocols.first())?.1)?;
        let assigned = match self.state {
            State::Stable => partitions(&protocol::parse_assignment(&member.assignment)?, env.topics),
            _ => Default::default(),
        };
        let mut topics = subscription.topics;
        topics.sort_unstable();
        topics.dedup();
        Some(Member {
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: u32::try_from(member.rebalance_timeout_ms).unwrap_or(u32::MAX),
            topics,
            epoch: self.generation,
            previous_epoch: self.generation,
            target: assigned.clone(),
            assigned,
            classic: Some(ClassicMember {
                session_timeout_ms: u32::try_from(member.session_timeout_ms).unwrap_or(u32::MAX),
                protocols: member
                    .protocols
                    .iter()
                    .map(|(name, data)| (name.clone(), data.to_vec()))
                    .collect(),
            }),
            ..Member::default()
        })
    }

    /// Back again: the members rebalance among themselves, from what they have.
    pub(in crate::group) fn downgrade(&mut self, env: &Env<'_>, ctx: &mut Ctx<'_>) {
        let Some(consumer) = self.consumer.take() else { return };
        // The one in which the members are, so that they are told to join again rather than that they have lost all.
        let epochs = consumer.members.values().map(|live| live.at.epoch);
        self.generation = epochs.max().unwrap_or(consumer.epoch);
        self.state = State::Stable;
        for (id, live) in consumer.members {
            let Some(member) = downgraded(&live, env) else { continue };
            self.add(id, member, CONSUMER);
        }
        self.protocol = self.select_protocol();
        self.prepare(ctx);
    }
}

fn downgraded(live: &Live, env: &Env<'_>) -> Option<Classic> {
    let classic = live.at.classic.as_ref()?;
    Some(Classic {
        instance_id: live.at.instance_id.clone(),
        client_id: live.at.client_id.clone(),
        client_host: live.at.client_host.clone(),
        session_timeout_ms: classic.session_timeout_ms.into(),
        rebalance_timeout_ms: live.at.rebalance_timeout_ms.into(),
        protocols: classic
            .protocols
            .iter()
            .map(|(name, data)| (name.clone(), Bytes::copy_from_slice(data)))
            .collect(),
        assignment: assignment_bytes(&live.at, env.topics),
        awaiting_join: None,
        awaiting_sync: None,
        synced: true,
        is_new: false,
        deadline: env.now + u64::from(classic.session_timeout_ms),
    })
}
