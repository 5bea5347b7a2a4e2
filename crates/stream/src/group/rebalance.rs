//! A rebalance from its cause to the new generation.

use super::Ctx;
use super::state::{Group, JoinPhase};
use bowline_model::group::{Error, Reply, State};

impl Group {
    /// Membership has changed, or a member wants to change it.
    pub fn rebalance_or_complete(&mut self, ctx: &mut Ctx<'_>) {
        match self.state {
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare(ctx),
            State::PreparingRebalance => self.complete_if_all_joined(ctx),
            State::Dead | State::Assigning | State::Reconciling => {}
        }
    }

    /// Begins a rebalance: members learn of it from their heartbeats and join again.
    pub fn prepare(&mut self, ctx: &mut Ctx<'_>) {
        for member in self.members.values_mut() {
            member.assignment = Default::default();
            if let Some(wait) = member.awaiting_sync.take() {
                member.deadline = ctx.now + member.session_timeout_ms;
                self.wake = self.wake.min(member.deadline);
                ctx.reply(wait, Reply::Sync(Err(Error::RebalanceInProgress)));
            }
        }
        self.sync_deadline = None;
        let timeout = self.rebalance_timeout_ms();
        let phase = if self.state == State::Empty && ctx.options.initial_rebalance_delay_ms > 0 {
            let delay = u64::from(ctx.options.initial_rebalance_delay_ms).min(timeout);
            JoinPhase { deadline: ctx.now + delay, initial_left_ms: Some(timeout - delay), newcomers: false }
        } else {
            JoinPhase { deadline: ctx.now + timeout, initial_left_ms: None, newcomers: false }
        };
        self.state = State::PreparingRebalance;
        self.join_phase = Some(phase);
        self.wake_by(phase.deadline);
        self.complete_if_all_joined(ctx);
    }

    /// The deadline of the join phase has come: prolongs it, or goes on with those who are there.
    pub fn join_deadline(&mut self, ctx: &mut Ctx<'_>) {
        let Some(phase) = &mut self.join_phase else { return };
        if let Some(left) = &mut phase.initial_left_ms
            && phase.newcomers
            && *left > 0
        {
            let delay = u64::from(ctx.options.initial_rebalance_delay_ms).min(*left);
            *left -= delay;
            phase.newcomers = false;
            phase.deadline = ctx.now + delay;
            let deadline = phase.deadline;
            return self.wake_by(deadline);
        }
        self.complete(ctx);
    }

    /// The deadline of the sync phase has come: who has not asked for an assignment is given up.
    pub fn sync_deadline(&mut self, ctx: &mut Ctx<'_>) {
        self.sync_deadline = None;
        let missing: Vec<String> =
            self.members.iter().filter(|(_, m)| !m.synced).map(|(id, _)| id.clone()).collect();
        if missing.is_empty() {
            return;
        }
        for id in &missing {
            self.remove(id, ctx);
        }
        self.rebalance_or_complete(ctx);
    }

    pub fn complete_if_all_joined(&mut self, ctx: &mut Ctx<'_>) {
        let Some(phase) = &self.join_phase else { return };
        let all = self.members.values().all(|member| member.awaiting_join.is_some());
        if phase.initial_left_ms.is_none() && all && self.pending.is_empty() {
            self.complete(ctx);
        }
    }

    /// Ends the join phase: a new generation of those who have joined. Static members that have not joined stay;
    /// their sessions will tell.
    fn complete(&mut self, ctx: &mut Ctx<'_>) {
        let laggards: Vec<String> = self
            .members
            .iter()
            .filter(|(_, m)| m.awaiting_join.is_none() && m.instance_id.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in &laggards {
            self.remove(id, ctx);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members, none of them here: wait until one comes or their sessions end.
            let deadline = ctx.now + self.rebalance_timeout_ms().max(1);
            self.join_phase = Some(JoinPhase { deadline, initial_left_ms: None, newcomers: false });
            return self.wake_by(deadline);
        }
        self.join_phase = None;
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        if self.members.is_empty() {
            self.state = State::Empty;
            self.protocol = None;
            self.leader = None;
            self.empty_since = Some(ctx.now);
            return;
        }
        self.protocol = self.select_protocol();
        self.state = State::CompletingRebalance;
        let sync_deadline = ctx.now + self.rebalance_timeout_ms();
        self.sync_deadline = Some(sync_deadline);
        self.wake_by(sync_deadline);
        self.announce(ctx);
    }

    /// Tells all who have joined what the generation is.
    fn announce(&mut self, ctx: &mut Ctx<'_>) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in &ids {
            let joined = self.joined(id);
            if let Some(member) = self.members.get_mut(id) {
                member.is_new = false;
                member.synced = false;
                if let Some(wait) = member.awaiting_join.take() {
                    ctx.reply(wait, Reply::Join(Ok(joined)));
                }
            }
            self.touch(ctx.now, id);
        }
    }

    /// Keeps the leader if it has joined, else takes one who has; false if nobody has.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &String| self.members.get(id).is_some_and(|m| m.awaiting_join.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        match self.members.iter().find(|(_, member)| member.awaiting_join.is_some()) {
            Some((id, _)) => {
                self.leader = Some(id.clone());
                true
            }
            None => false,
        }
    }
}
