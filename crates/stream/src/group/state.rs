//! One group: its members and what they have agreed on.
//!
//! ```text
//!            first join                 all joined, or time is up            leader's assignment
//!   Empty ───────────────► Preparing ─────────────────────────► Completing ─────────────────────► Stable
//!     ▲                        │  ▲  ▲                               │ join, leave, timeout          │
//!     └── nobody has joined ───┘  │  └───────────────────────────────┘                               │
//!                                 └──────────── join with changes, leave, timeout ───────────────────┘
//! ```
//! `Dead` groups are not kept: a group that holds nothing is removed.

use super::Ctx;
use super::consumer::Consumer;
use super::member::{Member, Wait};
use super::offsets::Offsets;
use bowline_model::Millis;
use bowline_model::group::{self as api, Error, JoinRefused, Joined, Reply, State};
use bytes::Bytes;
use std::collections::BTreeMap;

#[derive(Debug)]
pub struct Group {
    /// Durable; all else is volatile.
    pub offsets: Offsets,
    pub state: State,
    /// A KIP-848 group: then all that belongs to the classic protocol is empty.
    pub consumer: Option<Box<Consumer>>,
    /// Counts rebalances; 0 before the first.
    pub generation: i32,
    /// Of the members, or of those who were there last; empty if there never were any.
    pub protocol_type: String,
    /// What the current generation has agreed on.
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub members: BTreeMap<String, Member>,
    /// Instance id → member id of static members (KIP-345).
    pub static_members: BTreeMap<String, String>,
    /// Ids that were handed out with MEMBER_ID_REQUIRED, and until when they are expected back (KIP-394).
    pub pending: BTreeMap<String, Millis>,
    /// In PreparingRebalance.
    pub join_phase: Option<JoinPhase>,
    /// Since CompletingRebalance: those who have not synced by then are given up.
    pub sync_deadline: Option<Millis>,
    /// `None`: it has members, or it is not known yet since when it has none.
    pub empty_since: Option<Millis>,
    /// When somebody last asked to commit, applied or not.
    pub commit_asked: Millis,
    /// The group has to be looked at by then; may be early, never late.
    pub wake: Millis,
    /// The entry in the set of wake times.
    pub registered: Millis,
}

/// A rebalance that waits for members.
#[derive(Clone, Copy, Debug)]
pub struct JoinPhase {
    pub deadline: Millis,
    /// The first rebalance of an empty group does not end when all known members are there, as the others are not
    /// known yet; it may be prolonged by this many ms.
    pub initial_left_ms: Option<u64>,
    /// Somebody came since the deadline was set.
    pub newcomers: bool,
}

impl Default for Group {
    fn default() -> Group {
        Group {
            offsets: Offsets::default(),
            state: State::Empty,
            consumer: None,
            generation: 0,
            protocol_type: String::new(),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            join_phase: None,
            sync_deadline: None,
            empty_since: None,
            commit_asked: 0,
            wake: Millis::MAX,
            registered: Millis::MAX,
        }
    }
}

impl Group {
    /// Nothing would be lost with it.
    pub fn is_vacant(&self) -> bool {
        self.state() == State::Empty && self.pending.is_empty() && self.offsets.is_empty()
    }

    /// Whatever protocol it speaks.
    pub fn state(&self) -> State {
        self.consumer.as_ref().map_or(self.state, |consumer| consumer.state())
    }

    /// Is this what the member waits for?
    pub fn waits(&self, member_id: &str, wait: Wait) -> bool {
        let waiting = |m: &Member| m.awaiting_join == Some(wait) || m.awaiting_sync == Some(wait);
        self.members.get(member_id).is_some_and(waiting)
    }

    pub fn wake_by(&mut self, at: Millis) {
        self.wake = self.wake.min(at);
    }

    /// The earliest of all its timers.
    pub fn next_timer(&self) -> Millis {
        let members = self.members.values().filter_map(Member::expires);
        let phases = self.join_phase.map(|phase| phase.deadline).into_iter().chain(self.sync_deadline);
        let consumer = self.consumer.as_ref().map(|consumer| consumer.next_timer());
        let classic = members.chain(self.pending.values().copied()).chain(phases);
        classic.chain(consumer).min().unwrap_or(Millis::MAX)
    }

    /// Heard of the member: its session begins anew.
    pub fn touch(&mut self, now: Millis, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.deadline = now + member.session_timeout_ms;
            let deadline = member.deadline;
            self.wake_by(deadline);
        }
    }

    pub fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Is it who it says it is? A static member that was replaced is fenced (KIP-345).
    pub fn validate(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), Error> {
        if let Some(instance) = instance_id {
            match self.static_members.get(instance) {
                None => return Err(Error::UnknownMemberId),
                Some(current) if current != member_id => return Err(Error::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(Error::UnknownMemberId) }
    }

    /// As [`Group::validate`], and of the current generation; in a KIP-848 group, in its current epoch.
    pub fn validate_generation(&self, member: &api::Member) -> Result<(), Error> {
        if let Some(consumer) = &self.consumer {
            return consumer.admit_offsets(&member.member_id, member.generation);
        }
        self.validate(&member.member_id, member.instance_id.as_deref())?;
        if member.generation == self.generation { Ok(()) } else { Err(Error::IllegalGeneration) }
    }

    pub fn add(&mut self, member_id: String, member: Member, protocol_type: &str) {
        if self.members.is_empty() {
            self.protocol_type = protocol_type.to_owned();
            self.empty_since = None;
        }
        if self.leader.is_none() {
            self.leader = Some(member_id.clone());
        }
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), member_id.clone());
        }
        self.pending.remove(&member_id);
        self.members.insert(member_id, member);
    }

    /// Takes the member out; if it still waits for something, it learns that it is none.
    pub fn remove(&mut self, member_id: &str, ctx: &mut Ctx<'_>) {
        let Some(mut member) = self.members.remove(member_id) else { return };
        if let Some(instance) = &member.instance_id
            && self.static_members.get(instance).is_some_and(|id| id == member_id)
        {
            self.static_members.remove(instance);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        dismiss(&mut member, member_id, Error::UnknownMemberId, ctx);
    }

    /// The static member comes back under another id; the old id is fenced from now on.
    pub fn replace_static(&mut self, instance: &str, new_id: &str, ctx: &mut Ctx<'_>) {
        let Some(old_id) = self.static_members.insert(instance.to_owned(), new_id.to_owned()) else { return };
        let Some(mut member) = self.members.remove(&old_id) else { return };
        dismiss(&mut member, &old_id, Error::FencedInstanceId, ctx);
        if self.is_leader(&old_id) {
            self.leader = Some(new_id.to_owned());
        }
        self.members.insert(new_id.to_owned(), member);
    }

    /// Would a member with these protocols fit in?
    pub fn supports(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let common = |name: &str| self.members.values().all(|member| member.supports(name));
        self.protocol_type == protocol_type && protocols.iter().any(|(name, _)| common(name))
    }

    /// The protocol that most members prefer among those that all have; of equals the first by name.
    pub fn select_protocol(&self) -> Option<String> {
        let first = self.members.values().next()?;
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, _) in &first.protocols {
            if self.members.values().all(|member| member.supports(name)) {
                votes.insert(name, 0);
            }
        }
        for member in self.members.values() {
            let preferred = member.protocols.iter().find(|(name, _)| votes.contains_key(name.as_str()));
            if let Some(count) = preferred.and_then(|(name, _)| votes.get_mut(name.as_str())) {
                *count += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|&(_, count)| count == most).map(|(name, _)| name.to_owned())
    }

    /// The longest that any member wants to be waited for, ms.
    pub fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// What a member learns of the current generation. The leader also gets everybody's metadata.
    pub fn joined(&self, member_id: &str) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if self.is_leader(member_id) {
            let all = self.members.iter();
            all.map(|(id, m)| (id.clone(), m.instance_id.clone(), m.metadata(&protocol))).collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: protocol,
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            members,
            led_as: None,
        }
    }
}

/// Answers what the member waits for with an error.
pub fn dismiss(member: &mut Member, member_id: &str, error: Error, ctx: &mut Ctx<'_>) {
    if let Some(wait) = member.awaiting_join.take() {
        refuse_join(wait, error, member_id, ctx);
    }
    if let Some(wait) = member.awaiting_sync.take() {
        ctx.reply(wait, Reply::Sync(Err(error)));
    }
}

pub fn refuse_join(wait: Wait, error: Error, member_id: &str, ctx: &mut Ctx<'_>) {
    ctx.reply(wait, Reply::Join(Err(JoinRefused { error, member_id: member_id.to_owned() })));
}
