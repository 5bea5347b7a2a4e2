//! Messages come in: from committed blocks, or from volatile batches.

use super::enforce::came_back;
use super::special::has_extras;
use super::volatile::VolatileStore;
use super::window::{MessageRef, WINDOW_BUSY_MAX, WINDOW_MAX};
use super::{Queue, Queues, volatile};
use crate::effects::{Effects, Happened};
use crate::proposal::{Proposals, Waits};
use crate::session::SessionSlot;
use bowline_model::block::{BLOCK_PAYLOAD_HARD_MAX, BLOCK_PAYLOAD_SOFT_MAX};
use bowline_model::event::{Event, Failure};
use bowline_model::record::{self, Kind, Record};
use bowline_model::request::{Propose, Volatile, Want};
use bowline_model::{Block, Millis, QueueId, SessionId};
use bytes::Bytes;

/// A batch is one block's at most, with room for housekeeping.
const BATCH_BYTES_MAX: usize = BLOCK_PAYLOAD_HARD_MAX - 2 * BLOCK_PAYLOAD_SOFT_MAX;

impl Queues {
    /// Applies a Publish record: the message gets its number in each queue that exists. True if any does.
    #[inline]
    pub fn apply_publish(&mut self, block: &Block, record: &Record<'_>) -> bool {
        let mut kept = false;
        let extras = has_extras(record.body);
        for id in record::publish_queues(record.body).into_iter().flatten() {
            let Some(at) = self.find(QueueId(id)) else { continue };
            let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { continue };
            let seq = queue.index.push(block.lsn, &mut self.segments);
            queue.bytes += u64::from(record.len);
            let wanted = queue.is_wanted();
            let room = match queue.ring.len() {
                _ if wanted => WINDOW_MAX,
                0 => 0,
                _ => WINDOW_BUSY_MAX,
            };
            let message = MessageRef { seq, lsn: block.lsn, offset: record.offset, len: record.len };
            queue.fresh.push(message, room);
            if extras || queue.special.is_some() {
                Queues::apply_special(queue, block, record, seq, &self.volatile, &mut self.ended);
            }
            if wanted || queue.special.is_some() {
                Queues::mark(&mut self.dirty, queue);
            }
            kept = true;
        }
        kept
    }

    /// A batch to be logged.
    pub fn propose(
        &mut self,
        now: Millis,
        session: SessionId,
        propose: Propose,
        proposals: &mut Proposals,
        fx: &mut Effects,
    ) {
        let Propose { token, records, count, want, checked } = propose;
        debug_assert_eq!(record::iter(&records).filter(|r| r.is_ok()).count(), count as usize);
        if records.len() > BATCH_BYTES_MAX {
            // Sessions bound what they send; whoever forgot to must not stop the shard.
            debug_assert!(false, "a batch of {} bytes", records.len());
            return fx.event(session, Event::Failed { token, reason: Failure::Stopping });
        }
        if records.is_empty() {
            return fx.event(
                session,
                match want {
                    Want::Done => Event::Done { token },
                    Want::Cancelled => Event::Failed { token, reason: Failure::NothingWaits },
                    Want::Appended => Event::Appended { token, results: Vec::new() },
                },
            );
        }
        if checked && !self.admits(now, &records, fx) {
            return fx.event(session, Event::Failed { token, reason: Failure::QueueFull });
        }
        #[cfg(feature = "sabotage")]
        let (records, count) = match crate::sabotage::is_on(&crate::sabotage::BATCH_SPLIT) && count > 1 {
            true => (proposals.split(records), count - 1),
            false => (records, count),
        };
        let slot = self.sessions.open(session);
        let batch = self.sessions.proposed(slot);
        let waits = match want {
            Want::Done => Waits::Done { session, token, batch, outbox: None },
            Want::Appended => Waits::Appended { session, token, batch, results: Vec::new() },
            Want::Cancelled => Waits::Cancelled { session, token, batch, all: true },
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
        if batch.checked && !self.admits(now, &batch.records, fx) {
            return fx.event(session, Event::Failed { token: batch.token, reason: Failure::QueueFull });
        }
        let slot = self.sessions.open(session);
        let cost = volatile::cost(&batch.records, batch.count);
        if !self.volatile.has_room(cost) {
            let number = self.sessions.proposed(slot);
            let (records, count) = (batch.records.clone(), batch.count);
            let waits = Waits::Overflow { session, batch: number, records, count };
            proposals.append(&batch.records, batch.count, true, Some(waits));
            fx.event(session, Event::Done { token: batch.token });
        } else if self.sessions[slot].may_overtake() {
            self.enqueue_volatile(now, batch.records, cost);
            fx.event(session, Event::Done { token: batch.token });
        } else {
            self.volatile.reserve(cost);
            self.sessions[slot].hold(now, batch);
        }
    }

    /// Logged batch `batch` of `session` was applied, or never will be: what waited behind it is enqueued.
    pub fn landed(&mut self, session: SessionId, batch: u64, fx: &mut Effects) {
        if let Some(slot) = self.sessions.landed(session, batch) {
            self.release_held(slot, fx);
        }
    }

    fn release_held(&mut self, slot: SessionSlot, fx: &mut Effects) {
        let mut any = false;
        while let Some((since, batch)) = self.sessions.next_held(slot) {
            let cost = volatile::cost(&batch.records, batch.count);
            self.volatile.unreserve(cost);
            self.enqueue_volatile(since, batch.records, cost);
            fx.event(self.sessions[slot].id, Event::Done { token: batch.token });
            any = true;
        }
        if any {
            self.sessions.forget_if_done(slot);
        }
    }

    pub(super) fn enqueue_volatile(&mut self, now: Millis, records: Bytes, cost: usize) {
        let block = self.volatile.store(self.shard, now, records, cost);
        for record in record::iter(&block.payload) {
            let Ok(record) = record else { break };
            if record.kind != Kind::Publish {
                continue;
            }
            for id in record::publish_queues(record.body).into_iter().flatten() {
                let Some(at) = self.find(QueueId(id)) else { continue };
                let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { continue };
                let (lsn, offset, len) = (block.lsn, record.offset, record.len);
                let message = MessageRef { seq: queue.index.next_seq(), lsn, offset, len };
                queue.volatile.push_back(message);
                self.volatile.hold(lsn);
                if has_extras(record.body) || queue.special.is_some() {
                    came_in(queue, &message, &self.volatile);
                }
                if queue.is_wanted() || queue.special.is_some() {
                    Queues::mark(&mut self.dirty, queue);
                }
            }
        }
        self.volatile.release(block.lsn);
    }
}

/// A message in memory came into a queue that enforces something, or has a life of its own.
#[cold]
fn came_in(queue: &mut Queue, message: &MessageRef, volatile: &VolatileStore) {
    let special = queue.special();
    special.arriving = special.arriving.saturating_sub(1);
    let extras = volatile.extras(message);
    let stamp = volatile.block(message.lsn).map_or(0, |block| block.stamp);
    queue.tell(message, volatile, Happened::Published);
    queue.sort_in_volatile(&extras, stamp, volatile);
    came_back(queue, message, volatile);
}

impl Queue {
    /// Somebody could take a message at once.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        !self.ring.is_idle() || !self.gets.is_empty()
    }
}
