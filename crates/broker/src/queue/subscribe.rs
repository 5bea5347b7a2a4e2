//! Consumers come and go.

use super::consumers::{Consumer, ConsumerRef};
use super::deadlines::Held;
use super::redrive::Redriving;
use super::unacked::Unacked;
use super::{Get, Queue, Queues};
use crate::effects::Effects;
use crate::session::SessionSlot;
use bowline_model::event::{Event, MetaEvent, NoSuchQueue, SubscribeError};
use bowline_model::request::{Outcome, RedriveTo, Subscribe};
use bowline_model::{ConsumerId, QueueId, SessionId, Token};

impl Queues {
    /// `redrive`: where it wants moved what it acks.
    pub fn subscribe(
        &mut self,
        session: SessionId,
        subscribe: Subscribe,
        redrive: Option<RedriveTo>,
        fx: &mut Effects,
    ) {
        let Subscribe { token, consumer, .. } = subscribe;
        let result = self.try_subscribe(session, subscribe, redrive);
        fx.event(session, Event::Subscribed { token, consumer, result });
    }

    fn try_subscribe(
        &mut self,
        session: SessionId,
        subscribe: Subscribe,
        redrive: Option<RedriveTo>,
    ) -> Result<(), SubscribeError> {
        let Subscribe {
            queue: id,
            channel,
            consumer,
            tag,
            prefetch,
            no_ack,
            exclusive,
            priority,
            timeout_ms,
            ..
        } = subscribe;
        let at = self.find(id).ok_or(SubscribeError::NoSuchQueue)?;
        let slot = self.sessions.open(session);
        // A session never uses a number twice.
        if self.sessions[slot].consumer(consumer).is_some() {
            debug_assert!(false, "{consumer} is taken in {session}");
            return Err(SubscribeError::Exclusive);
        }
        let queue = self.slots[at.slot as usize].as_deref_mut().ok_or(SubscribeError::NoSuchQueue)?;
        if queue.dropping {
            return Err(SubscribeError::NoSuchQueue);
        }
        let single = queue.spec.settings.single_active_consumer;
        if queue.ring.exclusive || (exclusive && (single || queue.ring.len() > 0)) {
            return Err(SubscribeError::Exclusive);
        }
        // Whoever redrives may hold for long what it leaves alone.
        let usual_bound = queue.spec.settings.consumer_timeout_ms.filter(|_| redrive.is_none());
        let bound = timeout_ms.or(usual_bound).filter(|_| !no_ack);
        let new = Consumer {
            session: slot,
            channel,
            id: consumer,
            tag,
            queue: Some(at),
            priority,
            prefetch,
            no_ack,
            exclusive,
            active: true,
            in_ring: !single,
            stalled: false,
            passive: single,
            arrival: 0,
            own_bound_ms: timeout_ms,
            held: bound.map(|bound| Box::new(Held::new(bound))),
            redriving: redrive.map(|to| Box::new(Redriving::new(to))),
            unacked: Unacked::default(),
        };
        let consumer_at = self.consumers.insert(new);
        queue.ring.exclusive = exclusive;
        queue.ring.join(consumer_at, priority);
        if single {
            Queues::take_turns(queue, &mut self.consumers, &mut self.dirty);
        } else {
            queue.ring.enter(consumer_at, priority);
        }
        let next = queue.next_fresh();
        self.housekeeping.reserve(queue, next, true);
        Queues::mark(&mut self.dirty, queue);
        self.sessions[slot].add_consumer(consumer, channel, consumer_at);
        Ok(())
    }

    /// Deliveries stop; what the consumer holds stays with it until it is settled.
    pub fn cancel(&mut self, session: SessionId, token: Token, consumer: ConsumerId, fx: &mut Effects) {
        let slot = self.sessions.find(session);
        if let Some(slot) = slot {
            self.peekers.cancel(slot, consumer);
        }
        if let Some(at) = slot.and_then(|slot| self.sessions[slot].consumer(consumer)) {
            self.deactivate(at, fx);
            if self.consumers.get(at).is_some_and(|c| c.unacked.len() == 0 && c.queue.is_some()) {
                self.forget_consumer(at);
            }
        }
        fx.event(session, Event::Cancelled { token: Some(token), consumer });
    }

    /// A consumer may hold so many deliveries from now on.
    pub fn limit(&mut self, session: SessionId, consumer: ConsumerId, prefetch: u32) {
        let found = self.sessions.find(session).and_then(|slot| self.sessions[slot].consumer(consumer));
        if let Some(at) = found
            && let Some(consumer) = self.consumers.get_mut(at)
        {
            consumer.prefetch = prefetch;
            self.has_settled(at);
        }
    }

    pub fn close_channel(&mut self, session: SessionId, channel: u16, fx: &mut Effects) {
        if let Some(slot) = self.sessions.find(session) {
            self.close_consumers(slot, Some(channel), fx);
        }
    }

    pub fn close_session(&mut self, session: SessionId, fx: &mut Effects) {
        if let Some(slot) = self.sessions.find(session) {
            self.close_consumers(slot, None, fx);
            self.sessions.close(slot);
        }
    }

    /// One message, if there is one: dispatch will tell.
    pub fn get(
        &mut self,
        session: SessionId,
        queue: QueueId,
        channel: u16,
        consumer: ConsumerId,
        get: Get,
        fx: &mut Effects,
    ) {
        let found = self.find(queue).filter(|at| self.at(*at).is_some_and(|q| !q.dropping));
        let Some(at) = found else {
            fx.event(session, Event::Got { token: get.token, result: Err(NoSuchQueue) });
            return;
        };
        let slot = self.sessions.open(session);
        let consumer = match self.sessions[slot].consumer(consumer) {
            Some(at) => at,
            None => self.add_getter(slot, channel, consumer),
        };
        if let Some(queue) = self.slots[at.slot as usize].as_deref_mut() {
            queue.gets.push_back((consumer, get));
            queue.touched(&mut self.dirty);
            let next = queue.next_fresh();
            self.housekeeping.reserve(queue, next, queue.ready() > 0);
            Queues::mark(&mut self.dirty, queue);
        }
    }

    /// The session has written `bytes` of deliveries: consumers that waited for room go on.
    pub fn drained(&mut self, session: SessionId, bytes: u64) {
        let Some(slot) = self.sessions.find(session) else { return };
        self.sessions[slot].drained(bytes);
        for at in self.sessions[slot].take_stalled() {
            let Some(consumer) = self.consumers.get_mut(at) else { continue };
            consumer.stalled = false;
            if consumer.may_enter()
                && let Some(queue) = consumer.queue
                && let Some(queue) = self.slots[queue.slot as usize].as_deref_mut().filter(|q| q.at == queue)
            {
                consumer.in_ring = true;
                queue.ring.enter(at, consumer.priority);
                Queues::mark(&mut self.dirty, queue);
            }
        }
    }

    /// The queue is gone: its consumers hear of it, and keep what they hold until they settle it in vain.
    pub(super) fn cancel_all(&mut self, queue: &Queue, fx: &mut Effects) {
        for at in queue.ring.members() {
            let Some(consumer) = self.consumers.get_mut(at) else { continue };
            consumer.active = false;
            let (session, id) = (self.sessions[consumer.session].id, consumer.id);
            fx.event(session, Event::Cancelled { token: None, consumer: id });
            let holds = consumer.unacked.len() > 0;
            if consumer.redriving.is_some() {
                self.unstick(at);
            }
            if !holds {
                self.forget_consumer(at);
            }
        }
        for (at, get) in &queue.gets {
            if let Some(consumer) = self.consumers.get(*at) {
                let session = self.sessions[consumer.session].id;
                fx.event(session, Event::Got { token: get.token, result: Err(NoSuchQueue) });
            }
        }
    }

    pub(super) fn forget_consumer(&mut self, at: ConsumerRef) -> Option<Consumer> {
        let consumer = self.consumers.remove(at)?;
        if let Some(held) = &consumer.held {
            self.deadlines.forget(at, held);
        }
        self.sessions[consumer.session].remove_consumer(consumer.id, consumer.channel);
        Some(consumer)
    }

    fn add_getter(&mut self, slot: SessionSlot, channel: u16, id: ConsumerId) -> ConsumerRef {
        let at = self.consumers.insert(Consumer {
            session: slot,
            channel,
            id,
            tag: Box::default(),
            queue: None,
            priority: 0,
            prefetch: 0,
            no_ack: false,
            exclusive: false,
            active: false,
            in_ring: false,
            stalled: false,
            passive: false,
            arrival: 0,
            own_bound_ms: None,
            held: None,
            redriving: None,
            unacked: Unacked::default(),
        });
        self.sessions[slot].add_consumer(id, channel, at);
        at
    }

    /// Stops deliveries to a consumer. Tells meta if an auto-delete queue lost its last.
    pub(super) fn deactivate(&mut self, at: ConsumerRef, fx: &mut Effects) {
        let Some(consumer) = self.consumers.get_mut(at) else { return };
        if !std::mem::take(&mut consumer.active) {
            return;
        }
        let (priority, exclusive) = (consumer.priority, consumer.exclusive);
        let redrives = consumer.redriving.is_some();
        let Some(queue_at) = consumer.queue else { return };
        let queue = self.slots.get_mut(queue_at.slot as usize).and_then(Option::as_deref_mut);
        let Some(queue) = queue.filter(|q| q.at == queue_at) else { return };
        queue.ring.leave(at, priority);
        queue.ring.exclusive &= !exclusive;
        if queue.ring.chosen.is_some() {
            Queues::take_turns(queue, &mut self.consumers, &mut self.dirty);
        }
        queue.touched(&mut self.dirty);
        if queue.spec.auto_delete && queue.ring.len() == 0 {
            fx.meta.push(MetaEvent::AutoDelete { queue: queue_at.id });
        }
        if redrives {
            self.unstick(at);
        }
    }

    /// Ends the consumers of a channel, or of all, and returns what they hold.
    fn close_consumers(&mut self, slot: SessionSlot, channel: Option<u16>, fx: &mut Effects) {
        self.peekers.close(slot, channel);
        let ids = self.sessions[slot].consumers_of(channel);
        // First nobody takes any more, then things return: so nothing goes round among those who leave.
        let ats: Vec<ConsumerRef> = ids.iter().filter_map(|id| self.sessions[slot].consumer(*id)).collect();
        for at in &ats {
            self.deactivate(*at, fx);
        }
        for at in ats {
            if let Some(mut consumer) = self.forget_consumer(at) {
                self.return_all(&mut consumer, Outcome::Failed);
            }
        }
    }
}
