//! How long consumers may hold a message: one that holds any for longer is cancelled, and all that it holds returns.
//!
//! When each delivery was made is not kept, only a mark now and then: the number of the next delivery, and the time.
//! So a consumer with a bound costs a few marks, one without costs nothing, and a bound is kept late by a sixteenth
//! of it at most.

use super::consumers::{Consumer, ConsumerRef};
use super::{QueueRef, Queues};
use crate::effects::Effects;
use bowline_model::Millis;
use bowline_model::event::Event;
use std::collections::{BTreeSet, VecDeque};

/// Marks are set this part of the bound apart.
const MARKS: u64 = 16;

/// What is known of a bounded consumer's deliveries.
#[derive(Debug)]
pub(crate) struct Held {
    bound_ms: u64,
    /// Deliveries from this number on were made at this time or later, but before the next mark's.
    marks: VecDeque<(u64, Millis)>,
    /// When it is listed in [`Deadlines`].
    armed: Option<Millis>,
}

/// Bounded consumers that hold something, by when to look at them.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    listed: BTreeSet<(Millis, ConsumerRef)>,
}

impl Held {
    pub fn new(bound_ms: u64) -> Held {
        Held { bound_ms, marks: VecDeque::new(), armed: None }
    }

    /// Delivery `number` is being made to the consumer at `at`.
    pub fn delivered(&mut self, at: ConsumerRef, number: u64, now: Millis, deadlines: &mut Deadlines) {
        if self.marks.back().is_none_or(|mark| now > mark.1 + self.step()) {
            self.marks.push_back((number, now));
        }
        if self.armed.is_none() {
            let until = now.saturating_add(self.bound_ms);
            self.armed = Some(until);
            deadlines.listed.insert((until, at));
        }
    }

    /// Until when delivery `oldest`, the oldest that is not settled, may be held.
    fn until(&mut self, oldest: u64) -> Millis {
        while self.marks.get(1).is_some_and(|next| next.0 <= oldest) {
            self.marks.pop_front();
        }
        // Where others follow in the same mark it may have been made as late as this.
        let made = self.marks.front().map_or(0, |mark| mark.1);
        let slack = if self.marks.front().is_some_and(|mark| mark.0 == oldest) { 0 } else { self.step() };
        made.saturating_add(slack).saturating_add(self.bound_ms)
    }

    fn step(&self) -> u64 {
        self.bound_ms / MARKS
    }
}

impl Deadlines {
    /// The consumer is no more, or has no bound any more.
    pub fn forget(&mut self, at: ConsumerRef, held: &Held) {
        if let Some(until) = held.armed {
            self.listed.remove(&(until, at));
        }
    }

    pub fn next(&self) -> Option<Millis> {
        self.listed.first().map(|(at, _)| *at)
    }
}

impl Queues {
    /// Consumers whose time is over are cancelled.
    pub fn expire_holds(&mut self, now: Millis, fx: &mut Effects) {
        while let Some(&(at_ms, at)) = self.deadlines.listed.first().filter(|(at_ms, _)| *at_ms <= now) {
            self.deadlines.listed.remove(&(at_ms, at));
            let Some(consumer) = self.consumers.get_mut(at) else { continue };
            let Some(held) = &mut consumer.held else { continue };
            held.armed = None;
            let Some(oldest) = consumer.unacked.oldest() else {
                held.marks.clear();
                continue;
            };
            let until = held.until(oldest);
            if until > now {
                held.armed = Some(until);
                self.deadlines.listed.insert((until, at));
            } else {
                self.cancel_holder(at, fx);
            }
        }
    }

    /// What the queue allows its consumers has changed.
    pub(super) fn bound_consumers(&mut self, at: QueueRef, now: Millis) {
        let Some(queue) = self.slots[at.slot as usize].as_deref().filter(|q| q.at == at) else { return };
        let bound = queue.spec.settings.consumer_timeout_ms;
        for at in queue.ring.members() {
            let Some(consumer) = self.consumers.get_mut(at) else { continue };
            let bound = consumer.own_bound_ms.or(bound.filter(|_| consumer.redriving.is_none()));
            if bound == consumer.held.as_ref().map(|held| held.bound_ms) {
                continue;
            }
            if let Some(held) = &consumer.held {
                self.deadlines.forget(at, held);
            }
            consumer.held = bound.map(|bound| Box::new(Held::new(bound)));
            if let (Some(held), Some(oldest)) = (&mut consumer.held, consumer.unacked.oldest()) {
                held.delivered(at, oldest, now, &mut self.deadlines);
            }
        }
    }

    fn cancel_holder(&mut self, at: ConsumerRef, fx: &mut Effects) {
        let Some(&Consumer { session, id, active, .. }) = self.consumers.get(at) else { return };
        let session = self.sessions[session].id;
        self.deactivate(at, fx);
        if let Some(mut consumer) = self.forget_consumer(at) {
            self.return_all(&mut consumer, bowline_model::request::Outcome::Returned);
        }
        if active {
            fx.event(session, Event::Cancelled { token: None, consumer: id });
        }
    }
}
