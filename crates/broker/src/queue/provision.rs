//! Queues come and go, as the topology says; and what is asked of a queue as a whole.

use super::enforce::NOWHERE;
use super::horizon::Horizon;
use super::housekeeping::sort_and_merge;
use super::settle::leave;
use super::window::MessageRef;
use super::{Index, Queue, QueueRef, Queues, Special};
use crate::effects::{Effects, Happened};
use crate::proposal::{Proposals, Provisioned, Waits};
use bowline_model::event::{DropRefused, Event, MetaEvent, NoSuchQueue, QueueInfo};
use bowline_model::record::{self, Kind, Record, SettleReason};
use bowline_model::request::QueueSpec;
use bowline_model::settings::QueueSettings;
use bowline_model::{Millis, QueueId, SessionId, Token};

/// Runs of a purge in one Settle record.
const PURGE_RUNS_MAX: usize = 16 * 1024;

impl Queues {
    /// Creates the queue unless it is there. Answered by `QueueReady`.
    pub fn provision(&mut self, spec: &QueueSpec, proposals: &mut Proposals, fx: &mut Effects) {
        match self.queue(spec.queue).filter(|q| !q.dropping) {
            Some(queue) => fx.meta.push(MetaEvent::QueueReady { queue: spec.queue, info: queue.info() }),
            None => propose_create(spec, proposals, Provisioned::QueueReady(spec.queue)),
        }
    }

    /// Proposes what the queue enforces from now on.
    pub fn configure(&mut self, id: QueueId, settings: &QueueSettings, proposals: &mut Proposals) {
        if self.queue(id).is_some_and(|queue| *queue.spec.settings != *settings) {
            let mut record = Vec::new();
            record::put_value(&mut record, Kind::QueueSettings, &(id, settings));
            proposals.provision(record, Provisioned::Reconciled);
        }
    }

    /// Applies a QueueSettings record.
    pub fn apply_settings(&mut self, stamp: Millis, record: &Record<'_>) {
        if let Ok((id, settings)) = postcard::from_bytes::<(QueueId, QueueSettings)>(record.body)
            && let Some(at) = self.find(id)
            && let Some(queue) = self.slots[at.slot as usize].as_deref_mut()
        {
            queue.change(settings, stamp);
            Queues::mark(&mut self.dirty, queue);
            Queues::take_turns(queue, &mut self.consumers, &mut self.dirty);
            self.bound_consumers(at, stamp);
        }
    }

    /// Somebody used it: the time that it may go unused begins anew.
    pub fn touch(&mut self, id: QueueId) {
        let Some(at) = self.find(id) else { return };
        if let Some(queue) = self.slots[at.slot as usize].as_deref_mut() {
            queue.touched(&mut self.dirty);
        }
    }

    /// Checks, and proposes to drop. Answered by `QueueDropped`.
    pub fn drop_queue(
        &mut self,
        id: QueueId,
        if_unused: bool,
        if_empty: bool,
        proposals: &mut Proposals,
        fx: &mut Effects,
    ) {
        let result = match self.find_queue(id) {
            // It may yet be under way; what the log says last holds.
            None => {
                return propose_delete(id, proposals, Provisioned::QueueDropped { queue: id, messages: 0 });
            }
            Some(queue) if if_unused && queue.ring.len() > 0 => Err(DropRefused::InUse),
            Some(queue) if if_empty && queue.ready() + queue.delayed() + queue.templates() > 0 => {
                Err(DropRefused::NotEmpty)
            }
            Some(queue) => {
                queue.dropping = true;
                return propose_delete(id, proposals, Provisioned::QueueDropped { queue: id, messages: 0 });
            }
        };
        fx.meta.push(MetaEvent::QueueDropped { queue: id, result });
    }

    /// Proposes what it takes for exactly `specs` to exist.
    pub fn reconcile(&mut self, specs: &[QueueSpec], proposals: &mut Proposals) {
        let mut surplus = self.ids();
        for spec in specs {
            if surplus.remove(&spec.queue) {
                self.configure(spec.queue, &spec.settings, proposals);
            } else {
                propose_create(spec, proposals, Provisioned::Reconciled);
            }
        }
        for id in surplus {
            if let Some(queue) = self.find_queue(id) {
                queue.dropping = true;
            }
            propose_delete(id, proposals, Provisioned::Reconciled);
        }
    }

    /// Applies a QueueCreate record.
    pub fn apply_create(&mut self, record: &Record<'_>) {
        if let Some(spec) = QueueSpec::from_stored(record.body)
            && self.find(spec.queue).is_none()
        {
            self.insert(spec, Index::default(), Horizon::new(0, 0, self.horizon_margin));
        }
    }

    /// Applies a QueueDelete record: which queue, and how many ready messages went with it.
    pub fn apply_delete(&mut self, record: &Record<'_>, fx: &mut Effects) -> Option<(QueueId, u64)> {
        let id: QueueId = postcard::from_bytes(record.body).ok()?;
        Some((id, self.delete(id, fx)))
    }

    /// Applies a Horizon record.
    pub fn apply_horizon(&mut self, record: &Record<'_>) {
        let Some((id, upto)) = record::take_horizon(record.body) else { return };
        let Some(at) = self.find(QueueId(id)) else { return };
        if let Some(queue) = self.slots[at.slot as usize].as_deref_mut() {
            queue.horizon.apply(upto);
            if queue.is_wanted() {
                Queues::mark(&mut self.dirty, queue);
            }
        }
    }

    /// Applies a NodeStarted record: queues that do not outlive the process are gone, and what was under a horizon
    /// may have been delivered.
    pub fn apply_node_started(&mut self, stamp: Millis, fx: &mut Effects) {
        for id in self.ids() {
            let Some(at) = self.find(id) else { continue };
            let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { continue };
            if let Some(special) = &mut queue.special {
                // What was offered in an earlier life is not known; it had its chance.
                special.offered = queue.index.next_seq();
                Queues::mark(&mut self.dirty, queue);
            }
            queue.rebuild_lanes(stamp);
            queue.forget_story();
            if queue.survives {
                queue.horizon.node_started(queue.index.next_seq());
            } else {
                self.delete(id, fx);
            }
        }
    }

    pub fn info(&mut self, id: QueueId) -> Result<QueueInfo, NoSuchQueue> {
        self.find_queue(id).filter(|q| !q.dropping).map(|q| q.info()).ok_or(NoSuchQueue)
    }

    /// Drops what is ready. Messages in memory are gone at once; `Purged` comes when the rest is durable.
    pub fn purge(
        &mut self,
        session: SessionId,
        token: Token,
        id: QueueId,
        proposals: &mut Proposals,
        fx: &mut Effects,
    ) {
        let found = self.find(id);
        let queue = found.and_then(|at| self.slots[at.slot as usize].as_deref_mut());
        let Some(queue) = queue.filter(|q| !q.dropping) else {
            fx.event(session, Event::Purged { token, result: Err(NoSuchQueue) });
            return;
        };
        let messages = queue.ready() + queue.delayed();
        let mut runs = Vec::new();
        for message in queue.returned.drain() {
            if message.lsn.is_volatile() {
                queue.tell(&message, &self.volatile, Happened::Purged { count: 1 });
                self.volatile.release(message.lsn);
            } else {
                runs.push((message.seq, 1));
            }
        }
        for message in std::mem::take(&mut queue.volatile) {
            queue.tell(&message, &self.volatile, Happened::Purged { count: 1 });
            leave(queue, message, SettleReason::Purged, &mut self.volatile, &mut self.housekeeping);
        }
        if let Some(lanes) = queue.lanes() {
            let (memory, numbers) = lanes.drain();
            runs.extend(numbers);
            for message in memory {
                queue.tell(&message, &self.volatile, Happened::Purged { count: 1 });
                leave(queue, message, SettleReason::Purged, &mut self.volatile, &mut self.housekeeping);
            }
        }
        let (first, fresh) = queue.fresh.skip_all(&queue.index);
        if let Some(special) = &mut queue.special {
            special.ready_bytes = 0;
        }
        if fresh > 0 {
            runs.push((first, queue.index.next_seq() - first));
        }
        if runs.is_empty() {
            fx.event(session, Event::Purged { token, result: Ok(messages) });
            return;
        }
        sort_and_merge(&mut runs);
        if queue.is_traced() {
            for &(first, count) in &runs {
                let message = MessageRef { seq: first, lsn: NOWHERE, offset: 0, len: 0 };
                queue.tell(&message, &self.volatile, Happened::Purged { count });
            }
            Queues::mark(&mut self.dirty, queue);
        }
        let mut records = Vec::new();
        let mut count = 0;
        for part in runs.chunks(PURGE_RUNS_MAX) {
            record::put_settle(&mut records, id.0, SettleReason::Purged, part);
            count += 1;
        }
        let waits = Waits::Purged { session, token, queue: queue.at, messages, runs };
        proposals.append(&records, count, true, Some(waits));
    }

    /// Takes a queue out with all that is in it; how many messages were ready.
    fn delete(&mut self, id: QueueId, fx: &mut Effects) -> u64 {
        let Some(mut queue) = self.remove(id) else { return 0 };
        let ready = queue.ready();
        self.cancel_all(&queue, fx);
        queue.abandon_copies(fx);
        let in_lanes = queue.lanes().map(|lanes| lanes.drain().0).unwrap_or_default();
        in_lanes.iter().for_each(|message| self.volatile.release(message.lsn));
        let Queue { index, returned, volatile, special, .. } = &mut *queue;
        index.clear(&mut self.segments);
        let dying = special.iter_mut().flat_map(|special| {
            let moving = special.moving.drain(..).map(|moving| moving.message);
            special.dying.drain(..).map(|(message, _)| message).chain(moving)
        });
        for message in volatile.drain(..).chain(returned.drain()).chain(dying).filter(|m| m.lsn.is_volatile())
        {
            self.volatile.release(message.lsn);
        }
        ready
    }
}

impl Queue {
    /// From time `stamp` on it enforces `settings`.
    fn change(&mut self, settings: QueueSettings, stamp: Millis) {
        let next_seq = self.index.next_seq();
        let head = self.index.first_live(0).unwrap_or(next_seq);
        let guess = self.record_bytes();
        let ready = self.ready();
        let old = std::mem::replace(&mut *self.spec.settings, settings);
        if self.special.is_none() && !Special::is_needed(&self.spec.settings) {
            return;
        }
        let special = self.special.get_or_insert_default();
        if self.spec.settings.dedup.is_none() {
            special.kept.seen = Default::default();
        }
        special.changed((&old, &self.spec.settings), (head, next_seq), guess, stamp);
        if old.fair != self.spec.settings.fair
            && let Some(lanes) = &mut special.lanes
        {
            lanes.share(self.spec.settings.fair, |seq| special.kept.tenant(seq));
        }
        if self.spec.settings.max_length_bytes.is_some() && old.max_length_bytes.is_none() {
            special.ready_bytes = ready.saturating_mul(guess);
        }
    }

    /// Somebody used it.
    pub(super) fn touched(&mut self, dirty: &mut Vec<QueueRef>) {
        if let Some(special) = &mut self.special {
            special.touched = true;
            Queues::mark(dirty, self);
        }
    }
}

fn propose_create(spec: &QueueSpec, proposals: &mut Proposals, answer: Provisioned) {
    let mut record = Vec::new();
    record::put_value(&mut record, Kind::QueueCreate, spec);
    proposals.provision(record, answer);
}

fn propose_delete(id: QueueId, proposals: &mut Proposals, answer: Provisioned) {
    let mut record = Vec::new();
    record::put_value(&mut record, Kind::QueueDelete, &id);
    proposals.provision(record, answer);
}
