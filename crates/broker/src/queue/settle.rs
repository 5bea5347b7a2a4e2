//! Messages leave: consumers settle their deliveries, and the log confirms it.

use super::consumers::{Consumer, ConsumerRef};
use super::death::die;
use super::enforce::{NOWHERE, came_back};
use super::failures::Verdict;
use super::housekeeping::Listed;
use super::unacked::Unsettled;
use super::volatile::VolatileStore;
use super::window::MessageRef;
use super::{Queue, QueueRef, Queues};
use crate::effects::Happened;
use bowline_model::record::{self, Record, SettleReason};
use bowline_model::request::{Outcome, Settle};
use bowline_model::{Millis, QueueId, SessionId};

impl Queues {
    /// Deliveries are settled by those who got them. Numbers that are unknown or settled already are ignored.
    pub fn settle(&mut self, session: SessionId, settles: &[Settle]) {
        let Some(slot) = self.sessions.find(session) else { return };
        for settle in settles {
            let Some(at) = self.sessions[slot].consumer(settle.consumer) else { continue };
            let Some(consumer) = self.consumers.get_mut(at) else { continue };
            if consumer.redriving.is_some() {
                self.settle_redriven(at, settle);
                self.has_settled(at);
                continue;
            }
            let mut settling = Settling {
                slots: &mut self.slots,
                volatile: &mut self.volatile,
                housekeeping: &mut self.housekeeping,
                dirty: &mut self.dirty,
                outcome: settle.outcome,
                now: self.now,
            };
            consumer.unacked.settle(settle.first, settle.count, |entry| settling.one(entry));
            self.has_settled(at);
        }
    }

    /// All that `consumer` holds goes back to where it was. `outcome`: whether that is a failure.
    pub(super) fn return_all(&mut self, consumer: &mut Consumer, outcome: Outcome) {
        if consumer.redriving.is_some() {
            consumer.unacked.settle_all(|entry| self.give_back(entry));
            return;
        }
        let mut settling = self.settling(outcome);
        consumer.unacked.settle_all(|entry| settling.one(entry));
    }

    pub(super) fn settling(&mut self, outcome: Outcome) -> Settling<'_> {
        Settling {
            slots: &mut self.slots,
            volatile: &mut self.volatile,
            housekeeping: &mut self.housekeeping,
            dirty: &mut self.dirty,
            outcome,
            now: self.now,
        }
    }

    /// Applies a Settle record.
    pub fn apply_settle(&mut self, record: &Record<'_>) {
        let Some((id, reason, runs)) = record::take_settle(record.body) else { return };
        let Some(at) = self.find(QueueId(id)) else { return };
        let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { return };
        for (first, count) in runs {
            if let Some(special) = queue.special.as_deref_mut()
                && queue.spec.settings.max_length_bytes.is_some()
                && first.saturating_add(count) > queue.fresh.dispatched()
            {
                let (from, to) = (first.max(queue.fresh.dispatched()), first.saturating_add(count));
                special.took(special.kept.sizes.live_between(from, to, &queue.index));
            }
            if queue.special.is_some()
                && queue.settled_elsewhere(first, first.saturating_add(count), &self.volatile)
            {
                Queues::mark(&mut self.dirty, queue);
            }
            if let Some(special) = &mut queue.special {
                special.kept.classes.settling(first, first.saturating_add(count), &queue.index);
                special.forget(first, count);
            }
            queue.fresh.settling(first, first.saturating_add(count), &queue.index);
            queue.settled[reason as usize] += queue.index.settle(first, count, &mut self.segments);
            if let Some(special) = &mut queue.special {
                let head = queue.index.first_live(0).unwrap_or(queue.index.next_seq());
                special.settled(first, count, head);
            }
        }
    }

    /// A whole block has been applied: what ended with it is settled, as nobody else will.
    pub fn finish_block(&mut self) {
        self.landed_block();
        for (at, seq, reason) in std::mem::take(&mut self.ended) {
            let Some(queue) = self.slots[at.slot as usize].as_deref_mut().filter(|q| q.at == at) else {
                continue;
            };
            let end = seq.saturating_add(1);
            if queue.special.is_some() && queue.settled_elsewhere(seq, end, &self.volatile) {
                Queues::mark(&mut self.dirty, queue);
            }
            if let Some(special) = &mut queue.special {
                special.kept.classes.settling(seq, end, &queue.index);
            }
            let settled = queue.index.settle(seq, 1, &mut self.segments);
            if reason == Some(SettleReason::Purged) {
                let message = MessageRef { seq, lsn: NOWHERE, offset: 0, len: 0 };
                queue.tell(&message, &self.volatile, Happened::Purged { count: 1 });
            }
            if let Some(reason) = reason {
                queue.settled[reason as usize] += settled;
                Queues::mark(&mut self.dirty, queue);
            }
            let head = queue.index.first_live(0).unwrap_or(queue.index.next_seq());
            if let Some(special) = &mut queue.special {
                special.forget(seq, 1);
                special.settled(seq, 1, head);
            }
        }
    }

    /// Gives a consumer that settled something, or may hold more than before, its place in the ring back, or forgets it
    /// if that was its last.
    pub(super) fn has_settled(&mut self, at: ConsumerRef) {
        let Some(consumer) = self.consumers.get_mut(at) else { return };
        if consumer.may_enter()
            && let Some(queue) = consumer.queue
            && let Some(queue) = self.slots[queue.slot as usize].as_deref_mut().filter(|q| q.at == queue)
        {
            consumer.in_ring = true;
            queue.ring.enter(at, consumer.priority);
            Queues::mark(&mut self.dirty, queue);
        } else if !consumer.active && consumer.queue.is_some() && consumer.unacked.len() == 0 {
            self.forget_consumer(at);
        } else if consumer.passive && consumer.unacked.len() == 0 {
            self.has_drained(at);
        }
    }

    /// A consumer that has to make place for one of higher priority holds nothing any more.
    #[cold]
    fn has_drained(&mut self, at: ConsumerRef) {
        let queue = self.consumers.get(at).and_then(|consumer| consumer.queue);
        if let Some(queue) = queue
            && let Some(queue) = self.slots[queue.slot as usize].as_deref_mut().filter(|q| q.at == queue)
        {
            Queues::take_turns(queue, &mut self.consumers, &mut self.dirty);
        }
    }
}

/// The parts that settling a delivery touches.
pub(super) struct Settling<'a> {
    slots: &'a mut Vec<Option<Box<Queue>>>,
    volatile: &'a mut VolatileStore,
    housekeeping: &'a mut Listed,
    dirty: &'a mut Vec<QueueRef>,
    outcome: Outcome,
    now: Millis,
}

impl Settling<'_> {
    #[inline]
    pub(super) fn one(&mut self, Unsettled { message, queue: at }: Unsettled) {
        let queue = self.slots[at.slot as usize].as_deref_mut().filter(|q| q.at == at);
        let Some(queue) = queue else {
            // The queue was dropped meanwhile; what it held in memory goes now.
            if message.lsn.is_volatile() {
                self.volatile.release(message.lsn);
            }
            return;
        };
        queue.unacked -= 1;
        if self.outcome == Outcome::Acked && queue.is_traced() {
            queue.tell(&message, self.volatile, Happened::Acked);
            Queues::mark(self.dirty, queue);
        }
        match self.outcome {
            Outcome::Acked => {
                if leave(queue, message, SettleReason::Acked, self.volatile, self.housekeeping) {
                    Queues::mark(self.dirty, queue);
                }
            }
            Outcome::Rejected if queue.special.is_some() => {
                die(queue, message, SettleReason::Rejected, self.volatile, self.housekeeping);
                Queues::mark(self.dirty, queue);
            }
            Outcome::Rejected => {
                leave(queue, message, SettleReason::Rejected, self.volatile, self.housekeeping);
            }
            Outcome::Withdrawn { redelivered } => self.withdraw(at, message, redelivered),
            Outcome::Returned | Outcome::Failed | Outcome::FailedFor { .. } => {
                if queue.special.is_some() || matches!(self.outcome, Outcome::FailedFor { .. }) {
                    return self.come_back(at, message);
                }
                queue.returned.push(self.volatile.place(&message), message);
                if queue.is_wanted() {
                    Queues::mark(self.dirty, queue);
                }
            }
        }
    }
}

impl Settling<'_> {
    /// A message comes back that the client has not seen.
    #[cold]
    fn withdraw(&mut self, at: QueueRef, message: MessageRef, redelivered: bool) {
        let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { return };
        if !redelivered {
            queue.special().unseen.insert(self.volatile.place(&message));
        }
        queue.tell(&message, self.volatile, Happened::Returned { failed: false });
        queue.put_back(message, None, self.volatile);
        came_back(queue, &message, self.volatile);
        Queues::mark(self.dirty, queue);
    }

    /// A message comes back to a queue that counts what does, or makes it wait.
    #[cold]
    fn come_back(&mut self, at: QueueRef, message: MessageRef) {
        let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { return };
        let failed = self.outcome != Outcome::Returned;
        let told =
            |due: Option<_>| due.map_or(Happened::Returned { failed }, |until| Happened::Delayed { until });
        let due = match queue.judge(&message, self.outcome, self.now, self.housekeeping) {
            Verdict::Enough => {
                die(queue, message, SettleReason::DeliveryLimit, self.volatile, self.housekeeping);
                return Queues::mark(self.dirty, queue);
            }
            Verdict::WhenLogged(due) => {
                queue.tell(&message, self.volatile, told(due));
                queue.special().unlogged.insert(message.seq, (message, due));
                return Queues::mark(self.dirty, queue);
            }
            Verdict::WaitUntil(due) => Some(due),
            Verdict::Ready => None,
        };
        queue.tell(&message, self.volatile, told(due));
        queue.put_back(message, due, self.volatile);
        came_back(queue, &message, self.volatile);
        Queues::mark(self.dirty, queue);
    }
}

/// A message leaves its queue for good: the log is told, or the memory is given back. True if another is in line for
/// that.
#[inline]
pub(super) fn leave(
    queue: &mut Queue,
    message: MessageRef,
    reason: SettleReason,
    volatile: &mut VolatileStore,
    housekeeping: &mut Listed,
) -> bool {
    let passed_on = queue.special.is_some() && queue.pass_on(&message, volatile);
    if message.lsn.is_volatile() {
        volatile.release(message.lsn);
        if let Some(special) = &mut queue.special {
            special.counts_in_memory.remove(&(message.lsn.0, message.offset));
        }
    } else {
        housekeeping.settle(queue, reason, message.seq);
    }
    passed_on
}
