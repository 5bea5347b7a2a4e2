//! Messages come in: from committed blocks, or from volatile batches.

use super::window::MessageRef;
use super::{Queue, Queues};
use crate::effects::Effects;
use crate::proposal::{Proposals, Waits};
use crate::session::SessionSlot;
use bowline_model::event::Event;
use bowline_model::record::{self, Kind, Record};
use bowline_model::request::{Propose, Volatile, Want};
use bowline_model::{Block, Millis, QueueId, SessionId};
use bytes::Bytes;

impl Queues {
    /// Applies a Publish record: the message gets its number in each queue that exists. True if any does.
    #[inline]
    pub fn apply_publish(&mut self, block: &Block, record: &Record<'_>) -> bool {
        let mut kept = false;
        for id in record::publish_queues(record.body).into_iter().flatten() {
            let Some(at) = self.find(QueueId(id)) else { continue };
            let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { continue };
            let seq = queue.index.push(block.lsn, &mut self.segments);
            let eager = queue.is_wanted();
            let message = MessageRef { seq, lsn: block.lsn, offset: record.offset, len: record.len };
            queue.fresh.push(message, eager);
            if eager {
                Queues::mark(&mut self.dirty, queue);
            }
            kept = true;
        }
        kept
    }

    /// A batch to be logged.
    pub fn propose(&mut self, session: SessionId, propose: Propose, proposals: &mut Proposals) {
        let Propose { token, records, count, want } = propose;
        debug_assert_eq!(record::iter(&records).filter(|r| r.is_ok()).count(), count as usize);
        let slot = self.sessions.open(session);
        self.sessions.proposed(slot);
        let waits = match want {
            Want::Done => Waits::Done { session, token },
            Want::Appended => Waits::Appended { session, token, results: Vec::new() },
        };
        proposals.append(&records, count, true, Some(waits));
    }

    /// A batch for memory. It waits behind logged batches of the same session that are under way; if memory is
    /// short, it is logged like them, though nobody waits for that.
    pub fn publish_volatile(
        &mut self,
        now: Millis,
        session: SessionId,
        batch: Volatile,
        proposals: &mut Proposals,
        fx: &mut Effects,
    ) {
        let slot = self.sessions.open(session);
        if !self.volatile.has_room(batch.records.len()) {
            self.sessions.proposed(slot);
            proposals.append(&batch.records, batch.count, true, Some(Waits::Overflow { session }));
            fx.event(session, Event::Done { token: batch.token });
        } else if self.sessions[slot].may_overtake() {
            self.enqueue_volatile(now, batch.records);
            fx.event(session, Event::Done { token: batch.token });
        } else {
            self.volatile.reserve(batch.records.len());
            self.sessions[slot].hold(batch);
        }
    }

    /// A logged batch of `session` was applied, or never will be: what waited behind it is enqueued.
    pub fn landed(&mut self, now: Millis, session: SessionId, fx: &mut Effects) {
        if let Some(slot) = self.sessions.landed(session) {
            self.release_held(now, slot, fx);
        }
    }

    fn release_held(&mut self, now: Millis, slot: SessionSlot, fx: &mut Effects) {
        let mut any = false;
        while let Some(batch) = self.sessions.next_held(slot) {
            self.volatile.unreserve(batch.records.len());
            self.enqueue_volatile(now, batch.records);
            fx.event(self.sessions[slot].id, Event::Done { token: batch.token });
            any = true;
        }
        if any {
            self.sessions.forget_if_done(slot);
        }
    }

    fn enqueue_volatile(&mut self, now: Millis, records: Bytes) {
        let block = self.volatile.store(self.shard, now, records);
        for record in record::iter(&block.payload) {
            let Ok(record) = record else { break };
            if record.kind != Kind::Publish {
                continue;
            }
            for id in record::publish_queues(record.body).into_iter().flatten() {
                let Some(at) = self.find(QueueId(id)) else { continue };
                let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { continue };
                let (lsn, offset, len) = (block.lsn, record.offset, record.len);
                queue.volatile.push_back(MessageRef { seq: queue.index.next_seq(), lsn, offset, len });
                self.volatile.hold(lsn);
                if queue.is_wanted() {
                    Queues::mark(&mut self.dirty, queue);
                }
            }
        }
        self.volatile.release(block.lsn);
    }
}

impl Queue {
    /// Somebody could take a message at once.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        !self.ring.is_idle() || !self.gets.is_empty()
    }
}
