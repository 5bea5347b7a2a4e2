//! Members that speak the classic protocol in a group whose partitions the broker assigns: JoinGroup takes the part
//! of a heartbeat that says what is owned, SyncGroup that of its answer, and a classic heartbeat tells by
//! REBALANCE_IN_PROGRESS that it is time for both. Their generation is their member epoch.

use super::protocol::{self, Subscription};
use super::{Consumer, Env, collect, pairs, session_timeout_ms};
use crate::topics::Topics;
use bowline_model::consumer_group::{ClassicMember, Member, MemberState, Partitions};
use bowline_model::group::{
    self as api, Error, Join, JoinRefused, Joined, Leaving, PartitionCommit, Sync, Synced,
};
use bytes::Bytes;
use std::collections::BTreeSet;

/// Protocol type of consumers.
pub const CONSUMER: &str = "consumer";
/// The latest version of an assignment's format.
const ASSIGNMENT_VERSION_MAX: i16 = 3;

impl Consumer {
    /// Answered at once: nobody has to be waited for.
    pub fn join(&mut self, join: &Join, env: &Env<'_>) -> Result<Joined, JoinRefused> {
        let refuse = |error, member_id: &str| JoinRefused { error, member_id: member_id.to_owned() };
        let inconsistent = || refuse(Error::InconsistentGroupProtocol, &join.member_id);
        let subscription = match join.protocols.first() {
            Some((_, metadata)) if join.protocol_type == CONSUMER => {
                Subscription::parse(metadata).ok_or_else(inconsistent)?
            }
            _ => return Err(inconsistent()),
        };
        let names: BTreeSet<&str> = join.protocols.iter().map(|(name, _)| name.as_str()).collect();
        if !self
            .common_protocols(&join.member_id)
            .is_none_or(|common| common.iter().any(|n| names.contains(n.as_str())))
        {
            return Err(inconsistent());
        }
        let replaced = join.instance_id.as_ref().and_then(|instance| self.statics.get(instance)).cloned();
        let (id, replaces) = match (&replaced, join.member_id.as_str()) {
            (None, "") if join.require_known_member_id => {
                return Err(refuse(Error::MemberIdRequired, &join.new_member_id));
            }
            (None, "") => (join.new_member_id.clone(), None),
            // It restarted, without a word of leaving, as classic members do.
            (Some(old), "") => (join.new_member_id.clone(), Some(old.clone())),
            (Some(current), named) if current != named => {
                return Err(refuse(Error::FencedInstanceId, named));
            }
            (None, named) if join.instance_id.is_some() => {
                return Err(refuse(Error::UnknownMemberId, named));
            }
            (_, named) => (named.to_owned(), None),
        };
        let is_new = replaces.is_none() && !self.members.contains_key(&id);
        if is_new && self.members.len() >= env.members_max {
            return Err(refuse(Error::GroupMaxSizeReached, &join.member_id));
        }
        match &replaces {
            Some(old) => self.replace(old, &id),
            None if is_new => {
                self.insert(&id, Member { instance_id: join.instance_id.clone(), ..Member::default() });
            }
            None => {}
        }
        let subscribes = self.update_classic(&id, join, &subscription);
        self.follow(is_new || subscribes, env);
        let owned = owned(&subscription, env.topics);
        self.reconcile(&id, Some(&owned), env.now);
        let Some(member) = self.members.get_mut(&id) else { return Err(refuse(Error::UnknownMemberId, &id)) };
        member.deadline = env.now + session_timeout_ms(&member.at, env.config);
        member.join_by = None;
        member.sync_by = Some(env.now + u64::from(member.at.rebalance_timeout_ms));
        Ok(Joined {
            generation: member.at.epoch,
            protocol_type: CONSUMER.to_owned(),
            protocol_name: join.protocols.first().map(|(name, _)| name.clone()).unwrap_or_default(),
            // Nobody leads: the broker assigns.
            leader: String::new(),
            member_id: id,
            members: Vec::new(),
            led_as: None,
        })
    }

    pub fn sync(&mut self, sync: &Sync, env: &Env<'_>) -> Result<Synced, Error> {
        let id = &sync.member.member_id;
        self.validate(&sync.member)?;
        if sync.protocol_type.as_deref().is_some_and(|kind| kind != CONSUMER) {
            return Err(Error::InconsistentGroupProtocol);
        }
        let newer = self.epoch;
        let Some(member) = self.members.get_mut(id) else { return Err(Error::UnknownMemberId) };
        let Some(classic) = &member.at.classic else { return Err(Error::UnknownMemberId) };
        let name = classic.protocols.first().map(|(name, _)| name.clone()).unwrap_or_default();
        if sync.protocol_name.as_ref().is_some_and(|asked| *asked != name) {
            return Err(Error::InconsistentGroupProtocol);
        }
        member.deadline = env.now + session_timeout_ms(&member.at, env.config);
        // Who has to give something back must learn that first, and joins again afterwards by itself.
        if newer > member.at.epoch && member.at.state != MemberState::Revoking {
            member.join_by.get_or_insert(env.now + u64::from(member.at.rebalance_timeout_ms));
            return Err(Error::RebalanceInProgress);
        }
        member.sync_by = None;
        let assignment = assignment_bytes(&member.at, env.topics);
        Ok(Synced { protocol_type: CONSUMER.to_owned(), protocol_name: name, assignment })
    }

    pub fn beat_classic(&mut self, member: &api::Member, env: &Env<'_>) -> Result<(), Error> {
        self.validate(member)?;
        let id = &member.member_id;
        let blocked = self.is_blocked(id);
        let newer = self.epoch;
        let Some(member) = self.members.get_mut(id) else { return Err(Error::UnknownMemberId) };
        member.deadline = env.now + session_timeout_ms(&member.at, env.config);
        let must_join = member.at.epoch < newer
            || member.at.state == MemberState::Revoking
            || member.at.state == MemberState::Waiting && !blocked;
        if must_join {
            member.join_by.get_or_insert(env.now + u64::from(member.at.rebalance_timeout_ms));
            return Err(Error::RebalanceInProgress);
        }
        Ok(())
    }

    /// One result for each. Administrators remove members of either kind this way.
    pub fn leave_group(&mut self, members: Vec<Leaving>) -> Vec<(Leaving, Result<(), Error>)> {
        let mut results = Vec::with_capacity(members.len());
        for leaving in members {
            let found = match &leaving.instance_id {
                None => Ok(leaving.member_id.clone()),
                Some(instance) => match self.statics.get(instance) {
                    None => Err(Error::UnknownMemberId),
                    // An administrator names the instance alone.
                    Some(current) if leaving.member_id.is_empty() || *current == leaving.member_id => {
                        Ok(current.clone())
                    }
                    Some(_) => Err(Error::FencedInstanceId),
                },
            };
            let result = match found {
                Ok(id) if self.members.contains_key(&id) => {
                    self.remove(&id);
                    Ok(())
                }
                Ok(_) => Err(Error::UnknownMemberId),
                Err(error) => Err(error),
            };
            results.push((leaving, result));
        }
        results
    }

    /// May this member commit or ask for offsets? Who is none may as long as nobody is.
    pub fn admit_offsets(&self, member_id: &str, epoch: i32) -> Result<(), Error> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(member_id).ok_or(Error::UnknownMemberId)?;
        match (member.at.epoch == epoch, &member.at.classic) {
            (true, _) => Ok(()),
            (false, None) => Err(Error::StaleMemberEpoch),
            (false, Some(_)) => Err(Error::IllegalGeneration),
        }
    }

    /// A member of the new protocol commits in versions that know of it.
    pub fn admit_without_epochs(&self, member_id: &str) -> Result<(), Error> {
        let modern = self.members.get(member_id).is_some_and(|member| member.at.classic.is_none());
        if modern { Err(Error::UnsupportedVersion) } else { Ok(()) }
    }

    /// May it commit for these? Also in an epoch that is over, if it had all of them in that already: the partitions
    /// have not been another's in between (KIP-1251).
    pub fn admit_commit(
        &self,
        member: &api::Member,
        topics: &[(String, Vec<PartitionCommit>)],
        known: &Topics,
    ) -> Result<(), Error> {
        let (id, epoch) = (&member.member_id, member.generation);
        let Err(error) = self.admit_offsets(id, epoch) else { return Ok(()) };
        let Some(live) = self.members.get(id) else { return Err(error) };
        let had = |name: &str, number: i32| {
            let pair = known.get(name).zip(u32::try_from(number).ok());
            let since = pair.and_then(|(topic, number)| live.since.get(&(topic.id, number)));
            since.is_some_and(|since| *since <= epoch)
        };
        let mut places =
            topics.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one.partition)));
        let before = error == Error::StaleMemberEpoch && (1..live.at.epoch).contains(&epoch);
        if before && places.all(|(name, number)| had(name, number)) { Ok(()) } else { Err(error) }
    }

    /// What all classic members but `except` offer; `None`: there are none.
    fn common_protocols(&self, except: &str) -> Option<BTreeSet<String>> {
        let others = self.members.iter().filter(|(id, _)| *id != except);
        let mut offers = others.filter_map(|(_, member)| member.at.classic.as_ref()).map(|classic| {
            classic.protocols.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<String>>()
        });
        let first = offers.next()?;
        Some(offers.fold(first, |common, offer| common.intersection(&offer).cloned().collect()))
    }

    fn update_classic(&mut self, id: &str, join: &Join, subscription: &Subscription) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let mut at = member.at.clone();
        at.client_id.clone_from(&join.client_id);
        at.client_host.clone_from(&join.client_host);
        at.rebalance_timeout_ms = join.rebalance_timeout_ms.max(0) as u32;
        at.topics.clone_from(&subscription.topics);
        at.topics.sort_unstable();
        at.topics.dedup();
        at.regex = None;
        at.assignor = None;
        at.classic = Some(ClassicMember {
            session_timeout_ms: join.session_timeout_ms.max(0) as u32,
            protocols: join.protocols.iter().map(|(name, data)| (name.clone(), data.to_vec())).collect(),
        });
        self.take(id, at)
    }

    /// As in a classic group: who says so, of which generation.
    fn validate(&self, member: &api::Member) -> Result<(), Error> {
        if let Some(instance) = &member.instance_id {
            match self.statics.get(instance) {
                None => return Err(Error::UnknownMemberId),
                Some(current) if *current != member.member_id => return Err(Error::FencedInstanceId),
                Some(_) => {}
            }
        }
        let live = self.members.get(&member.member_id).ok_or(Error::UnknownMemberId)?;
        if live.at.classic.is_none() {
            return Err(Error::UnknownMemberId);
        }
        if live.at.epoch == member.generation { Ok(()) } else { Err(Error::IllegalGeneration) }
    }
}

/// What a classic member is told to read. Topics that are gone have no name to be told by.
pub fn assignment_bytes(member: &Member, topics: &Topics) -> Bytes {
    let named: Vec<(&str, Vec<u32>)> = member
        .assigned
        .iter()
        .filter_map(|(id, numbers)| Some((&**topics.name(id)?, numbers.iter().copied().collect())))
        .collect();
    let version = |metadata: &[u8]| Subscription::parse(metadata).map(|subscription| subscription.version);
    let versions = member.classic.iter().flat_map(|classic| &classic.protocols);
    let version = versions.filter_map(|(_, metadata)| version(metadata)).min().unwrap_or(0);
    protocol::assignment(version.clamp(0, ASSIGNMENT_VERSION_MAX), &named)
}

fn owned(subscription: &Subscription, topics: &Topics) -> Partitions {
    partitions(&subscription.owned, topics)
}

/// By id; what is not there is left out.
pub fn partitions(named: &[(String, Vec<i32>)], topics: &Topics) -> Partitions {
    let known = named.iter().filter_map(|(name, numbers)| Some((topics.get(name)?, numbers)));
    let all: Partitions = collect(known.flat_map(|(known, numbers)| {
        let numbers = numbers.iter().filter_map(|number| u32::try_from(*number).ok());
        numbers.filter(move |number| *number < known.partitions).map(move |number| (known.id, number))
    }));
    debug_assert!(pairs(&all).count() <= named.iter().map(|(_, numbers)| numbers.len()).sum());
    all
}
