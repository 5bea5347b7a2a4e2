//! Requests that concern groups whose partitions the broker assigns: found here, done by [`Consumer`], logged, and
//! answered when that is durable.

use super::{Consumer, Env, beat, refused};
use crate::group::member::Wait;
use crate::group::{Ctx, GROUPS_MAX, Groups};
use crate::out::{Out, Proposal, Waiter};
use bowline_model::Millis;
use bowline_model::consumer_group::{Description, GroupRecord, Heartbeat, Refused};
use bowline_model::event::Event;
use bowline_model::group::{self as api, Error, Join, Leaving, Reply, Sync};
use bowline_model::record::{self, Kind};
use std::sync::Arc;

impl Groups {
    pub(in crate::group) fn consumer_heartbeat(
        &mut self,
        now: Millis,
        wait: Wait,
        heartbeat: &Heartbeat,
        out: &mut Out,
    ) {
        let result = beat::validate(heartbeat).and_then(|()| self.prepared(now, heartbeat, out));
        let name = match result {
            Ok(name) => name,
            Err(refused) => {
                let reply = Reply::ConsumerHeartbeat(Err(refused));
                return out.replies.push((wait.session, Event::Group { token: wait.token, reply }));
            }
        };
        let answer = self.with_consumer(now, &name, |consumer, env| consumer.heartbeat(heartbeat, env));
        let result = answer.unwrap_or_else(|| Err(no_such_group(&name)));
        self.conclude(now, &name, Some((wait, Reply::ConsumerHeartbeat(result))), out);
    }

    pub(in crate::group) fn consumer_describe(&self, name: &str) -> Result<Description, Refused> {
        match self.by_name.get(name) {
            None => Err(refused(Error::GroupIdNotFound, format!("Group {name} not found."))),
            Some(group) => match &group.consumer {
                None => Err(not_of_this_kind(name)),
                Some(consumer) => Ok(consumer.describe(name, &self.topics)),
            },
        }
    }

    pub(in crate::group) fn is_consumer(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|group| group.consumer.is_some())
    }

    /// A classic member joins such a group.
    pub(in crate::group) fn join_consumer(&mut self, now: Millis, wait: Wait, join: &Join, out: &mut Out) {
        let name = self.key(&join.group);
        let refused =
            || api::JoinRefused { error: Error::UnknownMemberId, member_id: join.member_id.clone() };
        let result = self.with_consumer(now, &name, |consumer, env| consumer.join(join, env));
        let reply = Reply::Join(result.unwrap_or_else(|| Err(refused())));
        self.conclude(now, &name, Some((wait, reply)), out);
    }

    pub(in crate::group) fn sync_consumer(&mut self, now: Millis, wait: Wait, sync: &Sync, out: &mut Out) {
        let name = self.key(&sync.member.group);
        let result = self.with_consumer(now, &name, |consumer, env| consumer.sync(sync, env));
        let reply = Reply::Sync(result.unwrap_or(Err(Error::UnknownMemberId)));
        self.conclude(now, &name, Some((wait, reply)), out);
    }

    pub(in crate::group) fn beat_consumer(
        &mut self,
        now: Millis,
        wait: Wait,
        member: &api::Member,
        out: &mut Out,
    ) {
        let name = self.key(&member.group);
        let result = self.with_consumer(now, &name, |consumer, env| consumer.beat_classic(member, env));
        let reply = Reply::Heartbeat(result.unwrap_or(Err(Error::UnknownMemberId)));
        self.conclude(now, &name, Some((wait, reply)), out);
    }

    pub(in crate::group) fn leave_consumer(
        &mut self,
        now: Millis,
        wait: Wait,
        group: &str,
        members: Vec<Leaving>,
        out: &mut Out,
    ) {
        let name = self.key(group);
        let results = self.with_consumer(now, &name, |consumer, _| consumer.leave_group(members));
        let reply = Reply::Leave(results.unwrap_or_default());
        self.conclude(now, &name, Some((wait, reply)), out);
    }

    /// Time has come for the group.
    pub(in crate::group) fn tick_consumer(&mut self, now: Millis, name: &Arc<str>, out: &mut Out) {
        if self.with_consumer(now, name, |consumer, _| consumer.tick(now)).unwrap_or(false) {
            self.conclude(now, name, None, out);
        }
    }

    /// After a start: groups go on where the log ends.
    pub(in crate::group) fn load_consumers(&mut self, now: Millis) {
        let names: Vec<Arc<str>> = self.stored.keys().cloned().collect();
        for name in names {
            let config = self.config(&name);
            let Some(stored) = self.stored.get(&name) else { continue };
            let group = self.by_name.entry(name.clone()).or_default();
            if group.consumer.is_none() {
                let consumer = Consumer::restored(stored, now, config);
                group.wake_by(consumer.next_timer());
                group.consumer = Some(Box::new(consumer));
            }
            self.settle(&name);
        }
    }

    /// A group that nobody is in is of no kind: a classic member who comes makes it a classic one.
    pub(in crate::group) fn leaves_kind(&mut self, name: &str, out: &mut Out) {
        let name = self.key(name);
        let Some(group) = self.by_name.get_mut(&name) else { return };
        if group.consumer.take_if(|consumer| consumer.members.is_empty()).is_none() {
            return;
        }
        let mut proposal = Proposal::new(false);
        record::put_value(&mut proposal.records, Kind::ConsumerGroup, &gone(&name));
        proposal.count = 1;
        out.propose.push(proposal);
    }

    /// Makes sure that there is a group of the right kind.
    fn prepared(&mut self, now: Millis, heartbeat: &Heartbeat, out: &mut Out) -> Result<Arc<str>, Refused> {
        let name = self.key(&heartbeat.group);
        let joins = heartbeat.epoch == 0;
        match self.by_name.get(&name) {
            None if !joins => return Err(no_such_group(&name)),
            None if self.by_name.len() >= GROUPS_MAX => {
                return Err(refused(Error::GroupMaxSizeReached, "there are too many groups"));
            }
            Some(group) if group.consumer.is_none() && !joins => return Err(not_of_this_kind(&name)),
            _ => {}
        }
        let config = self.config(&name);
        let Groups { options, topics, by_name, .. } = self;
        let group = by_name.entry(name.clone()).or_default();
        if group.consumer.is_none() {
            let env = Env { now, topics, config, members_max: options.members_max };
            group.upgrade(&name, &env, &mut Ctx { now, options, out })?;
        }
        Ok(name)
    }

    fn with_consumer<T>(
        &mut self,
        now: Millis,
        name: &str,
        act: impl FnOnce(&mut Consumer, &Env<'_>) -> T,
    ) -> Option<T> {
        let config = self.config(name);
        let Groups { options, topics, by_name, .. } = self;
        let group = by_name.get_mut(name)?;
        let consumer = group.consumer.as_mut()?;
        let result = act(consumer, &Env { now, topics, config, members_max: options.members_max });
        if consumer.members.is_empty() {
            group.empty_since.get_or_insert(now);
        } else {
            group.empty_since = None;
        }
        Some(result)
    }

    /// Logs what has changed, answers when it is durable, and keeps the group's kind and wake time right.
    fn conclude(&mut self, now: Millis, name: &Arc<str>, answer: Option<(Wait, Reply)>, out: &mut Out) {
        let config = self.config(name);
        let Groups { options, topics, by_name, stored, .. } = self;
        let Some(group) = by_name.get_mut(name) else { return };
        let Some(consumer) = &mut group.consumer else { return };
        let mut record = consumer.take_record(name);
        if consumer.is_blank() {
            // Nobody came of it; and a group that was never logged need not be.
            (group.consumer, record) = (None, None);
        } else if consumer.goes_classic() {
            let was_logged = stored.contains_key(name) || record.is_some();
            record = was_logged.then(|| gone(name));
            let env = Env { now, topics, config, members_max: options.members_max };
            group.downgrade(&env, &mut Ctx { now, options, out });
        } else {
            let at = consumer.next_timer();
            group.wake_by(at);
        }
        match (record, answer) {
            (Some(record), answer) => {
                let mut proposal = Proposal::new(answer.is_some());
                record::put_value(&mut proposal.records, Kind::ConsumerGroup, &record);
                proposal.count = 1;
                proposal.waiter =
                    answer.map(|(Wait { session, token }, reply)| Waiter::Group { session, token, reply });
                out.propose.push(proposal);
            }
            (None, Some((wait, reply))) => {
                out.replies.push((wait.session, Event::Group { token: wait.token, reply }));
            }
            (None, None) => {}
        }
        self.settle(name);
    }
}

/// It is no group of this kind any more.
fn gone(name: &str) -> GroupRecord {
    GroupRecord {
        group: name.to_owned(),
        gone: true,
        epoch: 0,
        assignment_epoch: 0,
        subscribed: 0,
        members: Vec::new(),
    }
}

fn no_such_group(name: &str) -> Refused {
    refused(Error::GroupIdNotFound, format!("Consumer group {name} not found."))
}

fn not_of_this_kind(name: &str) -> Refused {
    refused(Error::GroupIdNotFound, format!("Group {name} is not a consumer group."))
}
