//! Redriving: a consumer whose acks do not end a message but move it elsewhere, as a rule out of a dead-letter queue
//! and back to where it died. The router that carries dead letters carries these, too: the new message and the end of
//! the old one are one block, or the other shard knows it again.
//!
//! A message is *moving* from its ack until the router has said what becomes of it. If it has no place to go, it is
//! *stuck*: its consumer keeps it, though it acked it, until the consumer ends; so it does not come round again and
//! again. What goes back to the queue here has not failed.

use super::consumers::{Consumer, ConsumerRef};
use super::enforce::came_back;
use super::unacked::Unsettled;
use super::volatile::VolatileStore;
use super::window::MessageRef;
use super::{Queue, QueueRef, Queues};
use crate::effects::{DeadLetter, Happened};
use bowline_model::QueueId;
use bowline_model::event::Event;
use bowline_model::request::{Outcome, RedriveTo, Settle};
use std::sync::Arc;

/// What makes a consumer one that redrives.
#[derive(Debug)]
pub(crate) struct Redriving {
    to: Arc<RedriveTo>,
    stuck: Vec<Unsettled>,
}

/// A message that was acked by a consumer that redrives.
#[derive(Clone, Debug)]
pub(crate) struct Moving {
    pub message: MessageRef,
    pub to: Arc<RedriveTo>,
    pub ticket: Ticket,
}

/// What the shard has to know of a moving message should it come back. See [`DeadLetter::ticket`].
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    message: MessageRef,
    consumer: ConsumerRef,
}

impl Redriving {
    pub fn new(to: RedriveTo) -> Redriving {
        Redriving { to: Arc::new(to), stuck: Vec::new() }
    }
}

impl Consumer {
    /// Messages that it acked and that found no place.
    pub fn stuck(&self) -> &[Unsettled] {
        self.redriving.as_ref().map_or(&[], |redriving| &redriving.stuck)
    }
}

impl Queues {
    /// Deliveries of a consumer that redrives are settled.
    #[cold]
    pub(super) fn settle_redriven(&mut self, at: ConsumerRef, settle: &Settle) {
        let Some(consumer) = self.consumers.get_mut(at) else { return };
        let Some(to) = consumer.redriving.as_ref().map(|redriving| redriving.to.clone()) else { return };
        let mut entries = Vec::new();
        consumer.unacked.settle(settle.first, settle.count, |entry| entries.push(entry));
        for entry in entries {
            match settle.outcome {
                Outcome::Acked => self.set_moving(entry, at, &to),
                outcome @ (Outcome::Rejected | Outcome::Withdrawn { .. }) => {
                    self.settling(outcome).one(entry)
                }
                Outcome::Returned | Outcome::Failed | Outcome::FailedFor { .. } => self.give_back(entry),
            }
        }
    }

    fn set_moving(&mut self, entry: Unsettled, consumer: ConsumerRef, to: &Arc<RedriveTo>) {
        let Unsettled { message, queue: at } = entry;
        let Some(queue) = find(&mut self.slots, at) else { return release(&mut self.volatile, &message) };
        queue.unacked -= 1;
        let ticket = Ticket { message, consumer };
        // A logged one keeps its key until the log says that it has gone.
        if message.lsn.is_volatile() {
            queue.pass_on(&message, &self.volatile);
        }
        queue.tell(&message, &self.volatile, Happened::Redriven);
        queue.special().moving.push_back(Moving { message, to: to.clone(), ticket });
        Queues::mark(&mut self.dirty, queue);
    }

    /// An unsettled message goes back to its place as if nobody had had it but for the flag that says so.
    pub(super) fn give_back(&mut self, entry: Unsettled) {
        let Unsettled { message, queue: at } = entry;
        let Some(queue) = find(&mut self.slots, at) else { return release(&mut self.volatile, &message) };
        queue.unacked -= 1;
        queue.tell(&message, &self.volatile, Happened::Returned { failed: false });
        queue.put_back(message, None, &self.volatile);
        came_back(queue, &message, &self.volatile);
        Queues::mark(&mut self.dirty, queue);
    }

    /// The router has no place for a moving message of queue `from`.
    pub(crate) fn unmoved(&mut self, from: QueueId, letter: &DeadLetter) {
        let Some(Ticket { message, consumer }) = letter.ticket else { return };
        let Some(at) = self.find(from) else { return release(&mut self.volatile, &message) };
        let Some(queue) = find(&mut self.slots, at) else { return release(&mut self.volatile, &message) };
        queue.unacked += 1;
        queue.tell(&message, &self.volatile, Happened::Unmoved);
        Queues::mark(&mut self.dirty, queue);
        let entry = Unsettled { message, queue: at };
        let keeper = self.consumers.get_mut(consumer).filter(|consumer| consumer.active);
        let Some((keeper, redriving)) = keeper
            .and_then(|Consumer { session, id, redriving, .. }| Some(((*session, *id), redriving.as_mut()?)))
        else {
            return self.give_back(entry);
        };
        redriving.stuck.push(entry);
        let (session, consumer) = (self.sessions[keeper.0].id, keeper.1);
        let (block, offset) = (letter.block.clone(), letter.offset);
        self.told.push((session, Event::Unmoved { consumer, block, offset }));
    }

    /// A consumer that redrives ends: what it is stuck with goes back.
    pub(super) fn unstick(&mut self, at: ConsumerRef) {
        let redriving = self.consumers.get_mut(at).and_then(|consumer| consumer.redriving.as_mut());
        for entry in redriving.map(|redriving| std::mem::take(&mut redriving.stuck)).unwrap_or_default() {
            self.give_back(entry);
        }
    }
}

fn find(slots: &mut [Option<Box<Queue>>], at: QueueRef) -> Option<&mut Queue> {
    slots.get_mut(at.slot as usize)?.as_deref_mut().filter(|queue| queue.at == at)
}

/// Its queue is gone.
fn release(volatile: &mut VolatileStore, message: &MessageRef) {
    if message.lsn.is_volatile() {
        volatile.release(message.lsn);
    }
}
