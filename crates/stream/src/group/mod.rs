//! The coordinator of consumer groups (Kafka's classic protocol) and the store of their offsets.
//!
//! Groups whose members leave the assignment to the broker (KIP-848) are in [`consumer`]; what follows is the classic
//! protocol.
//!
//! Membership is volatile: after a restart members are unknown, are told so, and join again, as Kafka's clients do
//! whenever a coordinator moves. Offsets are durable: a commit is checked here, proposed as a record, and answered
//! when it has been applied. Rules follow Kafka's coordinator (KIP-62, 134, 211, 345, 394, 496, 814); what members
//! tell each other (metadata, assignments) is opaque here, except for [`subscription`].
//!
//! Time: each group knows the earliest moment at which it has to be looked at; heartbeats only push deadlines out,
//! so they cost nothing there, and the group finds out when its turn comes.

mod admin;
mod checkpoint;
mod commit;
mod consumer;
mod expiry;
mod join;
mod member;
mod membership;
mod offsets;
mod rebalance;
mod state;
mod subscription;
#[cfg(test)]
mod tests;
mod txn;

use crate::out::{Out, Proposal, Waiter};
use crate::topics::Topics;
use crate::txn::Pending;
use bowline_model::consumer_group::{GroupRecord, Refused};
use bowline_model::event::Event;
use bowline_model::group::{
    self as api, Commit, Error, Join, JoinRefused, Leaving, OffsetCommitRecord, OffsetDeleteRecord, Reply,
    Request,
};
use bowline_model::group_config::GroupConfig;
use bowline_model::record::{self, Kind, Record};
use bowline_model::{Block, Millis, SessionId};
use consumer::Stored;
pub use member::Wait;
use state::Group;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Groups of one shard; further ones are refused.
pub const GROUPS_MAX: usize = 50_000;
/// Partitions for which one group may have committed.
pub const OFFSETS_PER_GROUP_MAX: usize = 200_000;
/// Longest text with a committed offset, bytes (Kafka's `offset.metadata.max.bytes`).
pub const COMMIT_METADATA_BYTES_MAX: usize = 4096;
/// Protocols that a member may offer.
pub const PROTOCOLS_MAX: usize = 64;
/// Names and metadata of all protocols of a member, bytes.
pub const MEMBER_METADATA_BYTES_MAX: usize = 1024 * 1024;
/// The same of all members together.
pub const GROUP_METADATA_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Assignments of one generation, bytes.
pub const ASSIGNMENT_BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct Options {
    /// How long the first rebalance of an empty group waits for more members, ms; prolonged while they keep
    /// coming, up to the rebalance timeout. 0: not at all.
    pub initial_rebalance_delay_ms: u32,
    /// Session timeouts that members may ask for, ms.
    pub session_timeout_ms: std::ops::RangeInclusive<i32>,
    /// Members in a group.
    pub members_max: usize,
    /// An offset is forgotten so long after it was committed and the group was left, ms (Kafka's
    /// `offsets.retention.minutes`).
    pub offsets_retention_ms: u64,
    /// What groups have that do not set it.
    pub config: GroupConfig,
}

impl Default for Options {
    /// Kafka's limits, but a tenth of its initial delay: it is there for groups whose members start together.
    fn default() -> Options {
        Options {
            initial_rebalance_delay_ms: 300,
            session_timeout_ms: 6_000..=1_800_000,
            members_max: 2_000,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            config: GroupConfig::default(),
        }
    }
}

/// Topic names, and partitions of each.
type TopicPartitions = Vec<(String, Vec<i32>)>;

/// All groups that this shard coordinates.
#[derive(Debug)]
pub struct Groups {
    options: Options,
    /// What can be subscribed to.
    pub topics: Topics,
    /// Of groups that do not have the defaults.
    configs: BTreeMap<Arc<str>, GroupConfig>,
    by_name: BTreeMap<Arc<str>, Group>,
    /// KIP-848 groups as the log has them. Durable.
    stored: BTreeMap<Arc<str>, Stored>,
    /// `stored` was read and not gone on with yet.
    load: bool,
    /// When each group wants to be looked at (`Group::registered`).
    wakes: BTreeSet<(Millis, Arc<str>)>,
    /// Groups in which a session waits or waited for something.
    sessions: BTreeMap<SessionId, BTreeSet<Arc<str>>>,
    next_check: Millis,
}

/// What a group needs to do its work.
struct Ctx<'a> {
    now: Millis,
    options: &'a Options,
    out: &'a mut Out,
}

impl Ctx<'_> {
    fn reply(&mut self, to: Wait, reply: Reply) {
        self.out.replies.push((to.session, Event::Group { token: to.token, reply }));
    }
}

impl Groups {
    pub fn new(options: Options) -> Groups {
        Groups {
            options,
            topics: Topics::default(),
            configs: BTreeMap::new(),
            by_name: BTreeMap::new(),
            stored: BTreeMap::new(),
            load: false,
            wakes: BTreeSet::new(),
            sessions: BTreeMap::new(),
            next_check: 0,
        }
    }

    /// Takes a request. The answer is `Event::Group`: at once; for Join and Sync when the others have come; for what
    /// changes offsets when the proposal has been applied. `waiting`: offsets of open transactions.
    pub fn handle(&mut self, now: Millis, wait: Wait, request: Request, waiting: &Pending, out: &mut Out) {
        let Wait { session, token } = wait;
        self.load(now);
        if let Request::Join(join) = &request {
            self.leaves_kind(&join.group, out);
        }
        let reply = match request {
            Request::ConsumerHeartbeat(heartbeat) => {
                return self.consumer_heartbeat(now, wait, &heartbeat, out);
            }
            Request::ConsumerDescribe { group } => Reply::ConsumerDescribe(self.consumer_describe(&group)),
            Request::Join(join) if self.is_consumer(&join.group) => {
                return self.join_consumer(now, wait, &join, out);
            }
            Request::Sync(sync) if self.is_consumer(&sync.member.group) => {
                return self.sync_consumer(now, wait, &sync, out);
            }
            Request::Heartbeat(member) if self.is_consumer(&member.group) => {
                return self.beat_consumer(now, wait, &member, out);
            }
            Request::Leave { group, members } if self.is_consumer(&group) => {
                return self.leave_consumer(now, wait, &group, members, out);
            }
            Request::Join(join) => return self.join(now, wait, join, out),
            Request::Sync(sync) => return self.sync(now, wait, sync, out),
            Request::Commit(commit) => return self.commit(now, wait, commit, out),
            Request::Delete { group } => return self.delete(wait, &group, waiting, out),
            Request::OffsetDelete { group, topics } => {
                return self.delete_offsets(wait, &group, topics, waiting, out);
            }
            Request::Heartbeat(member) => Reply::Heartbeat(self.heartbeat(now, &member)),
            Request::Leave { group, members } => Reply::Leave(self.leave(now, &group, members, out)),
            Request::FetchOffsets { group, topics, member, .. } => {
                Reply::FetchOffsets(self.admit_fetch(&group, member).map(|()| self.offsets(&group, topics)))
            }
            Request::Describe { group } => Reply::Describe(match self.by_name.get(group.as_str()) {
                Some(state) if state.consumer.is_none() => state.describe(&group),
                // To the classic protocol a group of the other kind is none (as in Kafka).
                _ => admin::describe_dead(group),
            }),
            Request::KindOf { group } => {
                let found = self.by_name.get(group.as_str()).map(|state| state.list(&group));
                Reply::KindOf(found.filter(|group| group.state != api::State::Dead).map(|group| group.kind))
            }
            Request::List => Reply::List(self.by_name.iter().map(|(name, group)| group.list(name)).collect()),
        };
        out.replies.push((session, Event::Group { token, reply }));
    }

    /// Applies an OffsetCommit, OffsetDelete, ConsumerGroup or NodeStarted record; others do nothing.
    pub fn apply(&mut self, block: &Block, record: &Record<'_>) {
        match record.kind {
            Kind::OffsetCommit => {
                if let Ok(commit) = postcard::from_bytes::<OffsetCommitRecord>(record.body) {
                    self.commit_applied(commit.group, commit.topics, block.stamp);
                }
            }
            Kind::OffsetDelete => {
                if let Ok(delete) = postcard::from_bytes::<OffsetDeleteRecord>(record.body) {
                    self.apply_delete(&delete);
                }
            }
            Kind::ConsumerGroup => {
                if let Ok(change) = postcard::from_bytes::<GroupRecord>(record.body) {
                    if change.gone {
                        self.stored.remove(change.group.as_str());
                    } else {
                        let name = self.key(&change.group);
                        self.stored.entry(name).or_default().apply(change);
                    }
                }
            }
            Kind::NodeStarted => self.load = true,
            _ => {}
        }
    }

    /// The topic is gone, so what was committed for it must not meet a later topic of the same name: proposes to
    /// forget it. What waits for a transaction is forgotten with it.
    pub fn topic_deleted(&mut self, topic: &str, waiting: &Pending, out: &mut Out) {
        let mut found: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
        for (name, group) in &self.by_name {
            found.insert(name, group.offsets.partitions(topic).into_iter().collect());
        }
        for (name, partition) in waiting.of_topic(topic) {
            found.entry(name).or_default().insert(partition);
        }
        for (name, partitions) in found {
            if !partitions.is_empty() {
                let topics = vec![(topic.to_owned(), partitions.into_iter().collect())];
                propose_delete(name, Some(topics), None, out);
            }
        }
    }

    /// Explicit settings of a group; none: the defaults hold.
    pub fn configure(&mut self, group: &str, configs: &[(String, String)]) {
        if configs.is_empty() {
            self.configs.remove(group);
        } else {
            self.configs.insert(group.into(), self.options.config.with(configs));
        }
    }

    /// What holds for the group.
    pub fn config(&self, group: &str) -> GroupConfig {
        self.configs.get(group).copied().unwrap_or(self.options.config)
    }

    /// Gives up members that are overdue, ends rebalances whose time is up, proposes to forget expired offsets.
    pub fn tick(&mut self, now: Millis, waiting: &Pending, out: &mut Out) {
        self.load(now);
        while self.wakes.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, name)) = self.wakes.pop_first() else { break };
            let Some(group) = self.by_name.get_mut(&name) else { continue };
            group.registered = Millis::MAX;
            group.tick(&mut Ctx { now, options: &self.options, out });
            self.tick_consumer(now, &name, out);
            let Some(group) = self.by_name.get_mut(&name) else { continue };
            group.wake = group.next_timer().max(now + 1);
            self.settle(&name);
        }
        self.expire(now, waiting, out);
    }

    pub fn next_deadline(&self) -> Option<Millis> {
        if self.by_name.is_empty() {
            return None;
        }
        if self.load {
            return Some(0);
        }
        Some(self.wakes.first().map_or(self.next_check, |(at, _)| self.next_check.min(*at)))
    }

    /// Drops the session's waiting joins and syncs without an answer. Its members stay until they time out.
    pub fn close_session(&mut self, now: Millis, session: SessionId) {
        for name in self.sessions.remove(&session).unwrap_or_default() {
            if let Some(group) = self.by_name.get_mut(&name) {
                group.close_session(now, session);
                self.settle(&name);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The answer in place of `reply`, whose record will not be applied.
    pub fn refused(&mut self, reply: Reply) -> Reply {
        let error = Error::CoordinatorNotAvailable;
        match reply {
            Reply::Commit(_) => Reply::Commit(Err(error)),
            Reply::OffsetDelete(_) => Reply::OffsetDelete(Err(error)),
            Reply::ConsumerHeartbeat(_) | Reply::Join(_) | Reply::Leave(_) => {
                // What members are is ahead of the log now. It has to be told all of it again.
                let groups = self.by_name.values_mut().filter_map(|group| group.consumer.as_mut());
                groups.for_each(|consumer| consumer.tell_again());
                match reply {
                    Reply::Join(_) => Reply::Join(Err(JoinRefused { error, member_id: String::new() })),
                    Reply::Leave(all) => {
                        Reply::Leave(all.into_iter().map(|(member, _)| (member, Err(error))).collect())
                    }
                    _ => {
                        let message = "the coordinator cannot log anything now".to_owned();
                        Reply::ConsumerHeartbeat(Err(Refused { error, message }))
                    }
                }
            }
            _ => Reply::Delete(Err(error)),
        }
    }

    fn load(&mut self, now: Millis) {
        if std::mem::take(&mut self.load) {
            self.load_consumers(now);
        }
    }

    /// KIP-848: who says that it is a member must be one, in its current epoch.
    fn admit_fetch(&self, group: &str, member: Option<(String, i32)>) -> Result<(), Error> {
        let consumer = self.by_name.get(group).and_then(|group| group.consumer.as_ref());
        match (consumer, member) {
            (Some(consumer), Some((id, epoch))) => consumer.admit_offsets(&id, epoch),
            _ => Ok(()),
        }
    }

    fn join(&mut self, now: Millis, wait: Wait, join: Join, out: &mut Out) {
        let known = self.by_name.contains_key(join.group.as_str());
        let error = if join.group.is_empty() {
            Some(Error::InvalidGroupId)
        } else if !self.options.session_timeout_ms.contains(&join.session_timeout_ms) {
            Some(Error::InvalidSessionTimeout)
        } else if !known && !join.member_id.is_empty() {
            Some(Error::UnknownMemberId)
        } else if !known && self.by_name.len() >= GROUPS_MAX {
            Some(Error::GroupMaxSizeReached)
        } else {
            None
        };
        if let Some(error) = error {
            let reply = Reply::Join(Err(JoinRefused { error, member_id: join.member_id }));
            return out.replies.push((wait.session, Event::Group { token: wait.token, reply }));
        }
        let name = self.key(&join.group);
        let group = self.by_name.entry(name.clone()).or_default();
        group.join(wait, &join, &mut Ctx { now, options: &self.options, out });
        let member_id = if join.member_id.is_empty() { &join.new_member_id } else { &join.member_id };
        if group.waits(member_id, wait) {
            self.note_wait(wait.session, &name);
        }
        self.settle(&name);
    }

    fn sync(&mut self, now: Millis, wait: Wait, sync: api::Sync, out: &mut Out) {
        let name = self.key(&sync.member.group);
        let mut ctx = Ctx { now, options: &self.options, out };
        match self.by_name.get_mut(&name) {
            None => ctx.reply(wait, Reply::Sync(Err(no_group(&name)))),
            Some(group) => {
                let member_id = sync.member.member_id.clone();
                group.sync(wait, sync, &mut ctx);
                if group.waits(&member_id, wait) {
                    self.note_wait(wait.session, &name);
                }
                self.settle(&name);
            }
        }
    }

    fn heartbeat(&mut self, now: Millis, member: &api::Member) -> Result<(), Error> {
        let group = self.by_name.get_mut(member.group.as_str()).ok_or(no_group(&member.group))?;
        group.heartbeat(now, member)
    }

    fn leave(
        &mut self,
        now: Millis,
        group: &str,
        members: Vec<Leaving>,
        out: &mut Out,
    ) -> Vec<(Leaving, Result<(), Error>)> {
        let name = self.key(group);
        let Some(group) = self.by_name.get_mut(&name) else {
            return members.into_iter().map(|member| (member, Err(no_group(&name)))).collect();
        };
        let results = group.leave(members, &mut Ctx { now, options: &self.options, out });
        self.settle(&name);
        results
    }

    fn commit(&mut self, now: Millis, wait: Wait, commit: Commit, out: &mut Out) {
        let name = self.key(&commit.member.group);
        let full = self.by_name.len() >= GROUPS_MAX;
        let checked = match self.by_name.get_mut(&name) {
            Some(group) => group.commit(now, commit, &self.topics),
            // Consumers that are no members keep their offsets in a group that exists for nothing else.
            None if commit.member.generation >= 0 && commit.knows_epochs => Err(Error::GroupIdNotFound),
            None if commit.member.generation >= 0 => Err(Error::IllegalGeneration),
            None if full => Err(Error::CoordinatorNotAvailable),
            None => Group::default().commit(now, commit, &self.topics),
        };
        let reply = match checked {
            Ok((record, results)) if !record.topics.is_empty() => {
                let mut proposal = Proposal::new(true);
                record::put_value(&mut proposal.records, Kind::OffsetCommit, &record);
                proposal.count = 1;
                let reply = Reply::Commit(Ok(results));
                proposal.waiter = Some(Waiter::Group { session: wait.session, token: wait.token, reply });
                return out.propose.push(proposal);
            }
            Ok((_, results)) => Reply::Commit(Ok(results)),
            Err(error) => Reply::Commit(Err(error)),
        };
        out.replies.push((wait.session, Event::Group { token: wait.token, reply }));
    }

    fn offsets(
        &self,
        group: &str,
        topics: Option<TopicPartitions>,
    ) -> Vec<(String, Vec<api::PartitionOffset>)> {
        let nothing = offsets::Offsets::default();
        let offsets = self.by_name.get(group).map_or(&nothing, |group| &group.offsets);
        let Some(topics) = topics else { return offsets.answer_all() };
        topics
            .into_iter()
            .map(|(topic, partitions)| {
                let answers =
                    partitions.into_iter().map(|partition| offsets.answer(&topic, partition)).collect();
                (topic, answers)
            })
            .collect()
    }

    fn delete(&mut self, wait: Wait, group: &str, waiting: &Pending, out: &mut Out) {
        let allowed = match self.by_name.get(group) {
            None if waiting.len(group) > 0 => Ok(()),
            None => Err(Error::GroupIdNotFound),
            Some(state) => state.may_be_deleted(),
        };
        let reply = Reply::Delete(allowed);
        if allowed.is_ok() {
            let waiter = Waiter::Group { session: wait.session, token: wait.token, reply };
            propose_delete(group, None, Some(waiter), out);
        } else {
            out.replies.push((wait.session, Event::Group { token: wait.token, reply }));
        }
    }

    fn delete_offsets(
        &mut self,
        wait: Wait,
        group: &str,
        topics: TopicPartitions,
        waiting: &Pending,
        out: &mut Out,
    ) {
        let waits = |topic: &str, partition| waiting.is_unstable(group, topic, partition);
        let checked = match self.by_name.get(group) {
            // It is nothing else yet.
            None if waiting.len(group) > 0 => Group::default().delete_offsets(topics, waits),
            None => Err(Error::GroupIdNotFound),
            Some(state) => state.delete_offsets(topics, waits),
        };
        let (accepted, result) = match checked {
            Ok((accepted, results)) => (accepted, Ok(results)),
            Err(error) => (Vec::new(), Err(error)),
        };
        let reply = Reply::OffsetDelete(result);
        if accepted.is_empty() {
            out.replies.push((wait.session, Event::Group { token: wait.token, reply }));
        } else {
            let waiter = Waiter::Group { session: wait.session, token: wait.token, reply };
            propose_delete(group, Some(accepted), Some(waiter), out);
        }
    }

    fn apply_delete(&mut self, delete: &OffsetDeleteRecord) {
        if delete.topics.is_none() {
            self.stored.remove(delete.group.as_str());
        }
        let Some(group) = self.by_name.get_mut(delete.group.as_str()) else { return };
        match &delete.topics {
            Some(topics) => topics.iter().for_each(|(topic, all)| group.offsets.remove(topic, all)),
            None => {
                group.offsets.clear();
                group.consumer.take_if(|consumer| consumer.members.is_empty());
                if group.is_vacant() {
                    self.forget(&delete.group);
                }
            }
        }
    }

    /// The group's name as it is kept, shared.
    fn key(&self, name: &str) -> Arc<str> {
        self.by_name.get_key_value(name).map_or_else(|| name.into(), |(key, _)| key.clone())
    }

    /// So that [`Groups::close_session`] finds it. Entries are not taken out when the wait is over: it is nearly
    /// always the same group, and groups that are no more go when there are many.
    fn note_wait(&mut self, session: SessionId, name: &Arc<str>) {
        let names = self.sessions.entry(session).or_default();
        names.insert(name.clone());
        if names.len().is_multiple_of(1024) {
            names.retain(|name| self.by_name.contains_key(name));
        }
    }

    fn forget(&mut self, name: &str) {
        if let Some((name, group)) = self.by_name.remove_entry(name) {
            self.wakes.remove(&(group.registered, name));
        }
    }

    /// After something happened to the group: keeps its wake time right; drops it if nothing came of it.
    fn settle(&mut self, name: &Arc<str>) {
        let Some(group) = self.by_name.get_mut(name) else { return };
        if group.is_vacant() && group.generation == 0 && group.consumer.is_none() {
            return self.forget(name);
        }
        if group.wake < group.registered {
            self.wakes.remove(&(group.registered, name.clone()));
            self.wakes.insert((group.wake, name.clone()));
            group.registered = group.wake;
        }
    }
}

/// What a member is told whose group does not exist.
fn no_group(name: &str) -> Error {
    if name.is_empty() { Error::InvalidGroupId } else { Error::UnknownMemberId }
}

/// `topics: None`: the whole group.
fn propose_delete(group: &str, topics: Option<TopicPartitions>, waiter: Option<Waiter>, out: &mut Out) {
    let mut proposal = Proposal::new(waiter.is_some());
    let delete = OffsetDeleteRecord { group: group.to_owned(), topics };
    record::put_value(&mut proposal.records, Kind::OffsetDelete, &delete);
    proposal.count = 1;
    proposal.waiter = waiter;
    out.propose.push(proposal);
}
