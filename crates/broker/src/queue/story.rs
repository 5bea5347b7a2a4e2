//! The story of messages: queues with a trace exchange tell what happens to each of theirs. What is told waits here
//! until the queue is served, then goes to the router, which makes small messages of it.
//!
//! Best effort, and bounded: where too much happens between two rounds, what is beyond is counted instead
//! ([`Told::lost`]). Nothing of it is durable before the router's messages are; what is under way when a node dies is
//! not told.

use super::Queue;
use super::dispatch::Dispatch;
use super::volatile::VolatileStore;
use super::window::MessageRef;
use crate::effects::{Happened, Told, ToldEvent};
use bowline_model::BlockRef;

/// Events of one queue that wait to be told.
const WAITING_MAX: usize = 16 * 1024;
/// Events of one queue in one round.
const ROUND_MAX: usize = 4096;

/// What waits to be told.
#[derive(Debug, Default)]
pub(crate) struct Story {
    events: Vec<Event>,
    lost: u64,
}

#[derive(Debug)]
struct Event {
    message: MessageRef,
    /// Of a message in memory, which may be gone when it is told.
    block: Option<BlockRef>,
    what: Happened,
}

impl Story {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl Queue {
    pub(super) fn is_traced(&self) -> bool {
        self.special.is_some() && self.spec.settings.trace_exchange.is_some()
    }

    /// Something happened to a message, if anybody wants to know. The caller has the queue served.
    #[inline]
    pub(super) fn tell(&mut self, message: &MessageRef, volatile: &VolatileStore, what: Happened) {
        if self.is_traced() {
            self.note(message, volatile, what);
        }
    }

    #[cold]
    fn note(&mut self, message: &MessageRef, volatile: &VolatileStore, what: Happened) {
        let block = message.lsn.is_volatile().then(|| volatile.block(message.lsn).cloned()).flatten();
        let Some(special) = &mut self.special else { return };
        if special.story.events.len() >= WAITING_MAX {
            special.story.lost += 1;
        } else {
            special.story.events.push(Event { message: *message, block, what });
        }
    }

    /// What happened in an earlier life was told then, or not at all.
    pub(super) fn forget_story(&mut self) {
        if let Some(special) = &mut self.special {
            special.story = Story::default();
        }
    }
}

impl Dispatch<'_> {
    /// Hands what happened to the router.
    pub(super) fn narrate(&mut self, queue: &mut Queue) {
        let Some(exchange) = queue.spec.settings.trace_exchange.clone() else { return };
        let Some(special) = queue.special.as_deref_mut().filter(|special| !special.story.is_empty()) else {
            return;
        };
        let lost = std::mem::take(&mut special.story.lost);
        let events = &mut special.story.events;
        let rest = events.split_off(events.len().min(ROUND_MAX));
        let round = std::mem::replace(events, rest);
        let events = round.into_iter().map(|Event { message, block, what }| {
            let is_logged = !message.lsn.is_volatile();
            // The block of a message that was settled long after it came may not be at hand; its number is.
            let block = block.or_else(|| is_logged.then(|| self.cache.get(message.lsn).cloned()).flatten());
            ToldEvent {
                number: is_logged.then_some(message.seq),
                message: block.map(|block| (block, message.offset)),
                what,
            }
        });
        let told = Told {
            queue: queue.at.id,
            vhost: queue.spec.vhost.clone(),
            name: queue.spec.name.clone(),
            exchange,
            events: events.collect(),
            lost,
        };
        self.fx.told.push(told);
    }
}
