//! SyncGroup, Heartbeat, LeaveGroup, and members that are not heard of any more.

use super::member::Wait;
use super::state::Group;
use super::{ASSIGNMENT_BYTES_MAX, Ctx};
use bowline_model::group::{Error, Leaving, Member, Reply, State, Sync, Synced};
use bowline_model::{Millis, SessionId};
use bytes::Bytes;
use std::collections::BTreeMap;

impl Group {
    /// Answered when the leader has sent the assignment.
    pub fn sync(&mut self, wait: Wait, sync: Sync, ctx: &mut Ctx<'_>) {
        let id = &sync.member.member_id;
        if let Err(error) = self.admit_sync(&sync) {
            return ctx.reply(wait, Reply::Sync(Err(error)));
        }
        let leads = self.is_leader(id);
        let Some(member) = self.members.get_mut(id) else { return };
        member.synced = true;
        if self.state == State::Stable {
            self.touch(ctx.now, id);
            let synced = self.synced(id);
            return ctx.reply(wait, Reply::Sync(Ok(synced)));
        }
        if let Some(before) = member.awaiting_sync.replace(wait) {
            ctx.reply(before, Reply::Sync(Err(Error::RebalanceInProgress)));
        }
        if leads {
            self.assign(sync.assignments, ctx);
        }
    }

    pub fn heartbeat(&mut self, now: Millis, member: &Member) -> Result<(), Error> {
        self.validate_generation(member)?;
        self.touch(now, &member.member_id);
        match self.state {
            State::PreparingRebalance => Err(Error::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
            _ => Err(Error::UnknownMemberId),
        }
    }

    /// One result for each, in order. An administrator may name a static member by its instance id alone.
    pub fn leave(&mut self, members: Vec<Leaving>, ctx: &mut Ctx<'_>) -> Vec<(Leaving, Result<(), Error>)> {
        let mut results = Vec::with_capacity(members.len());
        for leaving in members {
            let result = self.leave_one(&leaving, ctx);
            results.push((leaving, result));
        }
        if results.iter().any(|(_, result)| result.is_ok()) {
            self.after_removal(ctx);
        }
        results
    }

    /// Gives up whoever is overdue and ends phases that are.
    pub fn tick(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.now;
        let before = self.pending.len();
        self.pending.retain(|_, deadline| *deadline > now);
        let overdue: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| member.expires().is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &overdue {
            self.remove(id, ctx);
        }
        if !overdue.is_empty() || self.pending.len() < before {
            self.after_removal(ctx);
        }
        if self.join_phase.is_some_and(|phase| phase.deadline <= now) {
            self.join_deadline(ctx);
        }
        if self.sync_deadline.is_some_and(|at| at <= now) {
            self.sync_deadline(ctx);
        }
    }

    /// Whatever waits for the session is not waited for any more. The members stay until their sessions (in the
    /// groups' sense) time out: usually the client is back before that, with the same id.
    pub fn close_session(&mut self, now: Millis, session: SessionId) {
        for member in self.members.values_mut() {
            let joins = member.awaiting_join.take_if(|wait| wait.session == session).is_some();
            let syncs = member.awaiting_sync.take_if(|wait| wait.session == session).is_some();
            if joins || syncs {
                member.is_new = false;
                member.deadline = now + member.session_timeout_ms;
                self.wake = self.wake.min(member.deadline);
            }
        }
    }

    fn admit_sync(&self, sync: &Sync) -> Result<(), Error> {
        self.validate_generation(&sync.member)?;
        let differs = |asked: &Option<String>, ours: &str| asked.as_deref().is_some_and(|a| a != ours);
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let bytes: usize = sync.assignments.iter().map(|(id, blob)| id.len() + blob.len()).sum();
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol_name, protocol)
            || bytes > ASSIGNMENT_BYTES_MAX
        {
            return Err(Error::InconsistentGroupProtocol);
        }
        match self.state {
            State::CompletingRebalance | State::Stable => Ok(()),
            State::PreparingRebalance => Err(Error::RebalanceInProgress),
            _ => Err(Error::UnknownMemberId),
        }
    }

    /// The leader has spoken. Whom it did not name gets an empty assignment.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>, ctx: &mut Ctx<'_>) {
        let mut assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        self.state = State::Stable;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in &ids {
            let Some(member) = self.members.get_mut(id) else { continue };
            let assignment = assignments.remove(id).unwrap_or_default();
            member.assignment = Bytes::copy_from_slice(&assignment);
            if let Some(wait) = member.awaiting_sync.take() {
                self.touch(ctx.now, id);
                let synced = self.synced(id);
                ctx.reply(wait, Reply::Sync(Ok(synced)));
            }
        }
    }

    fn synced(&self, member_id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone().unwrap_or_default(),
            assignment: self.members.get(member_id).map(|m| m.assignment.clone()).unwrap_or_default(),
        }
    }

    fn leave_one(&mut self, leaving: &Leaving, ctx: &mut Ctx<'_>) -> Result<(), Error> {
        let named = &leaving.member_id;
        let id = match &leaving.instance_id {
            None if self.pending.remove(named).is_some() => return Ok(()),
            Some(instance) if named.is_empty() => {
                self.static_members.get(instance).cloned().ok_or(Error::UnknownMemberId)?
            }
            instance => {
                self.validate(named, instance.as_deref())?;
                named.clone()
            }
        };
        self.remove(&id, ctx);
        Ok(())
    }

    fn after_removal(&mut self, ctx: &mut Ctx<'_>) {
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare(ctx),
            State::PreparingRebalance => self.complete_if_all_joined(ctx),
            _ => {}
        }
    }
}
