//! JoinGroup: becoming a member, or saying again that one is.

use super::member::{Member, Wait, metadata_bytes};
use super::state::{Group, refuse_join};
use super::{Ctx, GROUP_METADATA_BYTES_MAX, MEMBER_METADATA_BYTES_MAX, PROTOCOLS_MAX};
use bowline_model::group::{Error, Join, Reply, State};

/// How long a new member's join may wait, ms; if nobody listens any more, it is given up (KAFKA-5792's limit).
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1000;

impl Group {
    /// Answered at once or when the rebalance is over.
    pub fn join(&mut self, wait: Wait, join: &Join, ctx: &mut Ctx<'_>) {
        if let Err(error) = self.admit(join, ctx) {
            return refuse_join(wait, error, &join.member_id, ctx);
        }
        if !join.member_id.is_empty() {
            return self.join_known(wait, join, ctx);
        }
        let new_id = &join.new_member_id;
        if self.members.contains_key(new_id) || self.pending.contains_key(new_id) {
            // Ids are unique by promise; should one not be, it must not take another's place. The client retries.
            return refuse_join(wait, Error::CoordinatorNotAvailable, "", ctx);
        }
        match &join.instance_id {
            Some(instance) if self.static_members.contains_key(instance) => {
                self.rejoin_static(wait, join, instance, ctx);
            }
            None if join.require_known_member_id => {
                let deadline = ctx.now + join.session_timeout_ms as u64;
                self.pending.insert(new_id.clone(), deadline);
                self.wake_by(deadline);
                refuse_join(wait, Error::MemberIdRequired, new_id, ctx);
            }
            _ => self.join_new(wait, new_id.clone(), join, ctx),
        }
    }

    /// Limits, and whether there is a protocol in common.
    fn admit(&self, join: &Join, ctx: &Ctx<'_>) -> Result<(), Error> {
        let size = metadata_bytes(&join.protocols);
        if join.protocols.len() > PROTOCOLS_MAX || size > MEMBER_METADATA_BYTES_MAX {
            return Err(Error::InconsistentGroupProtocol);
        }
        let member = self.members.get(&join.member_id);
        let replaces = join.instance_id.as_ref().is_some_and(|id| self.static_members.contains_key(id));
        if member.is_none() && !replaces {
            // While a rebalance gathers members, those who may yet be evicted do not count (as in Kafka), but
            // not without any bound.
            let waiting = self.members.values().filter(|m| m.awaiting_join.is_some()).count();
            let preparing = self.state == State::PreparingRebalance;
            let counted = if preparing { waiting } else { self.members.len() };
            let all = self.members.values().map(Member::metadata_bytes).sum::<usize>();
            if counted >= ctx.options.members_max
                || self.members.len() >= 2 * ctx.options.members_max
                || self.pending.len() >= ctx.options.members_max
                || all + size > GROUP_METADATA_BYTES_MAX
            {
                return Err(Error::GroupMaxSizeReached);
            }
        }
        if self.supports(&join.protocol_type, &join.protocols) {
            Ok(())
        } else {
            Err(Error::InconsistentGroupProtocol)
        }
    }

    fn join_new(&mut self, wait: Wait, member_id: String, join: &Join, ctx: &mut Ctx<'_>) {
        let mut member = Member::new(join);
        member.awaiting_join = Some(wait);
        member.is_new = true;
        member.deadline = ctx.now + NEW_MEMBER_JOIN_TIMEOUT_MS;
        self.wake_by(member.deadline);
        if let Some(phase) = &mut self.join_phase {
            phase.newcomers = true;
        }
        self.add(member_id, member, &join.protocol_type);
        self.rebalance_or_complete(ctx);
    }

    fn join_known(&mut self, wait: Wait, join: &Join, ctx: &mut Ctx<'_>) {
        let id = &join.member_id;
        if self.pending.contains_key(id) && join.instance_id.is_none() {
            return self.join_new(wait, id.clone(), join, ctx);
        }
        if let Err(error) = self.validate(id, join.instance_id.as_deref()) {
            return refuse_join(wait, error, id, ctx);
        }
        let unchanged = self.members.get(id).is_some_and(|member| member.matches(&join.protocols));
        match self.state {
            // It lost the answer, and the assignment will be for the metadata that it has sent already.
            State::CompletingRebalance if unchanged => self.answer_current(wait, id, ctx),
            // A leader joins again because the subscribed topics have changed: that is for all.
            State::Stable if unchanged && !self.is_leader(id) => self.answer_current(wait, id, ctx),
            _ => {
                self.await_join(wait, id, join, ctx);
                self.rebalance_or_complete(ctx);
            }
        }
    }

    /// A static member restarted: it takes the place, and usually the assignment, of its former self.
    fn rejoin_static(&mut self, wait: Wait, join: &Join, instance: &str, ctx: &mut Ctx<'_>) {
        let id = &join.new_member_id;
        let led_by = self.leader.clone();
        self.replace_static(instance, id, ctx);
        self.touch(ctx.now, id);
        if self.state == State::Stable {
            if let Some(member) = self.members.get_mut(id) {
                member.update(join);
            }
            if self.select_protocol() == self.protocol {
                // KIP-814: a leader learns who the members are, but must not assign anew.
                let mut joined = self.joined(id);
                joined.led_as = led_by.filter(|_| self.is_leader(id));
                return ctx.reply(wait, Reply::Join(Ok(joined)));
            }
        }
        // In CompletingRebalance the leader may be assigning to the old id, so all begin again.
        self.await_join(wait, id, join, ctx);
        self.rebalance_or_complete(ctx);
    }

    fn await_join(&mut self, wait: Wait, member_id: &str, join: &Join, ctx: &mut Ctx<'_>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.update(join);
        if let Some(before) = member.awaiting_join.replace(wait) {
            refuse_join(before, Error::RebalanceInProgress, member_id, ctx);
        }
    }

    fn answer_current(&mut self, wait: Wait, member_id: &str, ctx: &mut Ctx<'_>) {
        self.touch(ctx.now, member_id);
        ctx.reply(wait, Reply::Join(Ok(self.joined(member_id))));
    }
}
