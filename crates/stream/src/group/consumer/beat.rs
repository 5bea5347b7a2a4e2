//! ConsumerGroupHeartbeat: joining, living, leaving.

use super::{Consumer, Env, Live, SUBSCRIPTION_BYTES_MAX, assign, has, pairs, refused, session_timeout_ms};
use bowline_model::consumer_group::{
    Beat, Heartbeat, LEAVES, LEAVES_FOR_A_WHILE, Member, MemberState, Partitions, Refused,
};
use bowline_model::group::Error;

/// What is wrong with a heartbeat whatever the group.
pub fn validate(beat: &Heartbeat) -> Result<(), Refused> {
    let wrong = |text: &str| Err(refused(Error::InvalidRequest, text));
    if beat.group.is_empty() {
        return wrong("GroupId can't be empty.");
    }
    if beat.member_id.is_empty() {
        return wrong("MemberId can't be empty.");
    }
    if beat.instance_id.as_deref() == Some("") {
        return wrong("InstanceId can't be empty.");
    }
    if beat.rack_id.as_deref() == Some("") {
        return wrong("RackId can't be empty.");
    }
    match beat.epoch {
        0 => {
            if beat.rebalance_timeout_ms == -1 {
                return wrong("RebalanceTimeoutMs must be provided in first request.");
            }
            if beat.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return wrong("TopicPartitions must be empty when (re-)joining.");
            }
            if beat.topics.is_none() && beat.regex.is_none() {
                return wrong(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        LEAVES_FOR_A_WHILE if beat.instance_id.is_none() => return wrong("InstanceId can't be null."),
        i32::MIN..LEAVES_FOR_A_WHILE => return wrong("MemberEpoch is invalid."),
        _ => {}
    }
    let names = beat.topics.iter().flatten().map(|name| name.len() + 1).sum::<usize>();
    if names > SUBSCRIPTION_BYTES_MAX {
        return wrong("the subscription is too large");
    }
    match &beat.assignor {
        Some(name) if !assign::ASSIGNORS.contains(&name.as_str()) => Err(refused(
            Error::UnsupportedAssignor,
            format!(
                "ServerAssignor {name} is not supported. Supported assignors: {}.",
                assign::ASSIGNORS.join(", ")
            ),
        )),
        _ => Ok(()),
    }
}

impl Consumer {
    /// `beat` is [`validate`]d.
    pub fn heartbeat(&mut self, beat: &Heartbeat, env: &Env<'_>) -> Result<Beat, Refused> {
        match beat.epoch {
            LEAVES | LEAVES_FOR_A_WHILE => self.leave(beat, env),
            _ => self.live(beat, env),
        }
    }

    fn live(&mut self, beat: &Heartbeat, env: &Env<'_>) -> Result<Beat, Refused> {
        let id = beat.member_id.as_str();
        if let Some(regex) = beat.regex.as_deref().filter(|regex| !regex.is_empty()) {
            self.subscribed.compile(regex)?;
        }
        let is_new = self.admit(beat, env)?;
        let before = self.members.get(id).map(|member| member.at.assigned.clone()).unwrap_or_default();
        let subscribes = self.update(beat);
        self.follow(is_new || subscribes, env);
        self.reconcile(id, beat.owned.as_ref(), env.now);
        let Some(member) = self.members.get_mut(id) else {
            return Err(unknown(beat));
        };
        member.deadline = env.now + session_timeout_ms(&member.at, env.config);
        let full = beat.rebalance_timeout_ms != -1
            && (beat.topics.is_some() || beat.regex.is_some())
            && beat.owned.is_some();
        let tell = beat.epoch == 0 || full || member.at.assigned != before;
        Ok(Beat {
            member_id: beat.member_id.clone(),
            epoch: member.at.epoch,
            heartbeat_interval_ms: env.config.consumer_heartbeat_interval_ms,
            assignment: tell.then(|| member.at.assigned.clone()),
        })
    }

    /// Something may have changed for the whole group: if it has (`certainly`: as is known already), a new epoch
    /// begins, and with it an assignment.
    pub fn follow(&mut self, certainly: bool, env: &Env<'_>) {
        let topics = self.refresh(certainly, env);
        if certainly || topics {
            self.bump();
        }
        if self.epoch > self.assignment_epoch {
            self.assign();
        }
    }

    /// Makes sure that there is such a member, who says so rightly; true if it is new.
    fn admit(&mut self, beat: &Heartbeat, env: &Env<'_>) -> Result<bool, Refused> {
        let id = &beat.member_id;
        let joins = beat.epoch == 0;
        if joins && let Some(instance) = &beat.instance_id {
            self.rename(id, instance);
        }
        let current = match &beat.instance_id {
            None => self.members.contains_key(id).then(|| id.clone()),
            Some(instance) => self.statics.get(instance).cloned(),
        };
        let Some(current) = current else {
            if !joins {
                return Err(unknown(beat));
            }
            if self.members.len() >= env.members_max {
                let text = format!(
                    "The consumer group has reached its maximum capacity of {} members.",
                    env.members_max
                );
                return Err(refused(Error::GroupMaxSizeReached, text));
            }
            self.insert(id, Member { instance_id: beat.instance_id.clone(), ..Member::default() });
            return Ok(true);
        };
        let Some(member) = self.members.get(&current) else { return Err(unknown(beat)) };
        if !joins {
            if current != *id {
                return Err(fenced_instance(beat));
            }
            check_epoch(&member.at, beat)?;
            return Ok(false);
        }
        if current != *id {
            // Somebody else with this instance id: only if the former has left, or is of the classic protocol, in
            // which nobody leaves.
            if member.at.epoch != LEAVES_FOR_A_WHILE && member.at.classic.is_none() {
                let text = format!(
                    "Static member {id} with instance id {} cannot join: the instance id is used by another member.",
                    beat.instance_id.as_deref().unwrap_or_default()
                );
                return Err(refused(Error::UnreleasedInstanceId, text));
            }
            self.replace(&current, id);
        } else if member.at.epoch == LEAVES_FOR_A_WHILE
            && let Some(member) = self.members.get_mut(id)
        {
            (member.at.epoch, member.at.previous_epoch) = (0, 0);
        }
        if let Some(member) = self.members.get_mut(id)
            && member.at.classic.take().is_some()
        {
            (member.join_by, member.sync_by) = (None, None);
            self.changed.insert(id.clone());
        }
        Ok(false)
    }

    pub(super) fn insert(&mut self, id: &str, at: Member) {
        if let Some(instance) = &at.instance_id {
            self.statics.insert(instance.clone(), id.to_owned());
        }
        self.members.insert(id.to_owned(), Live { at, deadline: u64::MAX, ..Live::default() });
        self.changed.insert(id.to_owned());
    }

    /// A member that joins anew as an instance that there is not is still itself, with all that it has, and that instance
    /// from now on.
    fn rename(&mut self, id: &str, instance: &str) {
        if self.statics.contains_key(instance) {
            return;
        }
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some(former) = member.at.instance_id.replace(instance.to_owned())
            && self.statics.get(&former).is_some_and(|current| current == id)
        {
            self.statics.remove(&former);
        }
        self.statics.insert(instance.to_owned(), id.to_owned());
        self.changed.insert(id.to_owned());
    }

    /// The static member comes back under another id and takes over all that was its. Who had that id is no more.
    pub(super) fn replace(&mut self, old: &str, new: &str) {
        self.remove(new);
        self.release(old);
        let Some(mut member) = self.members.remove(old) else { return };
        (member.at.epoch, member.at.previous_epoch) = (0, 0);
        member.at.state = MemberState::Stable;
        member.at.revoking.clear();
        member.revoke_by = None;
        if let Some(instance) = &member.at.instance_id {
            self.statics.insert(instance.clone(), new.to_owned());
        }
        self.members.insert(new.to_owned(), member);
        self.hold(new);
        self.changed.extend([old.to_owned(), new.to_owned()]);
    }

    /// Takes over what the member says of itself; true if it subscribes to something else than before.
    fn update(&mut self, beat: &Heartbeat) -> bool {
        let Some(member) = self.members.get_mut(&beat.member_id) else { return false };
        let mut at = member.at.clone();
        at.client_id.clone_from(&beat.client_id);
        at.client_host.clone_from(&beat.client_host);
        if let Some(rack) = &beat.rack_id {
            at.rack_id = Some(rack.clone());
        }
        if let Ok(timeout) = u32::try_from(beat.rebalance_timeout_ms) {
            at.rebalance_timeout_ms = timeout;
        }
        if let Some(topics) = &beat.topics {
            at.topics.clone_from(topics);
            at.topics.sort_unstable();
            at.topics.dedup();
        }
        if let Some(regex) = &beat.regex {
            at.regex = Some(regex.clone()).filter(|regex| !regex.is_empty());
        }
        if let Some(assignor) = &beat.assignor {
            at.assignor = Some(assignor.clone());
        }
        self.take(&beat.member_id, at)
    }

    /// Replaces the member; true if the new one subscribes to something else.
    pub(super) fn take(&mut self, id: &str, at: Member) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        if member.at == at {
            return false;
        }
        let same =
            member.at.topics == at.topics && member.at.regex == at.regex && member.at.assignor == at.assignor;
        member.at = at;
        self.changed.insert(id.to_owned());
        !same
    }

    fn leave(&mut self, beat: &Heartbeat, env: &Env<'_>) -> Result<Beat, Refused> {
        let id = &beat.member_id;
        if let Some(instance) = &beat.instance_id {
            match self.statics.get(instance) {
                None => return Err(unknown(beat)),
                Some(current) if current != id => return Err(fenced_instance(beat)),
                Some(_) => {}
            }
        }
        if !self.members.contains_key(id) {
            return Err(unknown(beat));
        }
        if beat.epoch == LEAVES {
            self.remove(id);
        } else {
            self.release(id);
            if let Some(member) = self.members.get_mut(id) {
                member.at.epoch = LEAVES_FOR_A_WHILE;
                member.at.state = MemberState::Stable;
                member.at.revoking.clear();
                member.revoke_by = None;
                member.deadline = env.now + session_timeout_ms(&member.at, env.config);
            }
            self.hold(id);
            self.changed.insert(id.clone());
        }
        Ok(Beat { member_id: id.clone(), epoch: beat.epoch, heartbeat_interval_ms: 0, assignment: None })
    }
}

/// The epoch that was given last; or the one before, if the answer was lost and the member has not got anything that
/// it must not have.
fn check_epoch(member: &Member, beat: &Heartbeat) -> Result<(), Refused> {
    let subset = |owned: &Partitions| pairs(owned).all(|pair| has(&member.assigned, pair));
    if beat.epoch == member.epoch
        || beat.epoch == member.previous_epoch
            && beat.epoch < member.epoch
            && beat.owned.as_ref().is_some_and(subset)
    {
        return Ok(());
    }
    let than = if beat.epoch > member.epoch { "greater" } else { "smaller" };
    let text = format!(
        "The consumer group member has a {than} member epoch ({}) than the one known by the group coordinator ({}). \
         The member must abandon all its partitions and rejoin.",
        beat.epoch, member.epoch
    );
    Err(refused(Error::FencedMemberEpoch, text))
}

fn unknown(beat: &Heartbeat) -> Refused {
    let text = match &beat.instance_id {
        Some(instance) => format!("Instance id {instance} is unknown."),
        None => format!("Member {} is not a member of group {}.", beat.member_id, beat.group),
    };
    refused(Error::UnknownMemberId, text)
}

fn fenced_instance(beat: &Heartbeat) -> Refused {
    let text = format!(
        "Static member {} with instance id {} was fenced by another member.",
        beat.member_id,
        beat.instance_id.as_deref().unwrap_or_default()
    );
    refused(Error::FencedInstanceId, text)
}
