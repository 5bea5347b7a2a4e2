//! A queue that enforces something is served: what has expired or is too much leaves at the head, before and after
//! its consumers had their turn; what died is handed to the dead-letter router; and the queue says when it wants to
//! be looked at again.
//!
//! Messages expire at the head: one that waits behind others that live longer goes when they have gone, and never is
//! delivered. The work of one round is bounded; what is left is for the next.

use super::death::{Head, body_bytes, die};
use super::dispatch::{Dispatch, Next, Source, take};
use super::redrive::Moving;
use super::sorted::{Found, due};
use super::special::extras_of;
use super::window::{MessageRef, Peek};
use super::{Queue, death};
use crate::effects::{DeadLetter, DeadLetters, Remains};
use bowline_model::event::MetaEvent;
use bowline_model::record::SettleReason;
use bowline_model::settings::Overflow;
use bowline_model::{Lsn, Millis};

/// A search for old messages that was not finished goes on after this long.
const SEARCH_AGAIN_MS: u64 = 10;
/// Dead letters of one queue in one round.
const LETTERS_MAX: usize = 1024;

impl Dispatch<'_> {
    pub(super) fn serve_special(&mut self, queue: &mut Queue) {
        self.blocked = false;
        self.lease(queue);
        self.make_copies(queue);
        self.release(queue);
        self.prune(queue, false);
        self.serve(queue);
        if !self.blocked {
            let (next_seq, volatile) = (queue.index.next_seq(), queue.volatile.len());
            let special = queue.special();
            (special.offered, special.offered_volatile) = (next_seq, volatile);
        }
        self.prune(queue, true);
        self.bury(queue);
        if !queue.special().copying.is_empty() {
            self.copy(queue);
        }
        self.carry(queue);
        self.narrate(queue);
        self.release(queue);
        if let Some(at) = self.next_look(queue) {
            self.timers.set(queue, at);
        }
    }

    /// The message whose turn it is, after those that may not be delivered any more have left.
    pub(super) fn next_alive(&mut self, queue: &mut Queue) -> Next {
        loop {
            let has_lanes = queue.special.as_deref().is_some_and(|special| special.lanes.is_some());
            let next = if has_lanes { self.next_in_lanes(queue) } else { self.next_ready(queue) };
            match next {
                Next::Message { message, source, .. } if self.has_expired(queue, message, source, false) => {
                    if self.removals_left == 0 {
                        self.blocked = true;
                        return Next::Blocked;
                    }
                    self.remove(queue, message, source, SettleReason::Expired);
                }
                Next::Blocked => {
                    self.blocked = true;
                    return next;
                }
                Next::Message { message, source, redelivered: true } => {
                    let unseen = &queue.special().unseen;
                    let redelivered = unseen.is_empty() || !unseen.contains(&self.volatile.place(&message));
                    return Next::Message { message, source, redelivered };
                }
                _ => return next,
            }
        }
    }

    /// Takes away what has no right to be there, from the head on. `after`: consumers had their turn.
    fn prune(&mut self, queue: &mut Queue, after: bool) {
        while self.removals_left > 0 {
            let head = Head::of(queue);
            let reason = head.and_then(|head| {
                if self.has_expired(queue, head.message, head.source, after) {
                    Some(SettleReason::Expired)
                } else {
                    (after && is_too_long(queue)).then_some(SettleReason::MaxLength)
                }
            });
            let (Some(head), Some(reason)) = (head, reason) else {
                if !self.prune_oldest(queue, after) {
                    return;
                }
                continue;
            };
            if head.is_resolved || queue.spec.settings.dead_letter_exchange.is_none() {
                self.remove(queue, head.message, head.source, reason);
                continue;
            }
            // Whoever routes it has to read it.
            if queue.lanes().is_some() {
                let Ok((message, source)) = self.first_in_lanes(queue) else { return };
                self.remove(queue, message, source, reason);
                continue;
            }
            match queue.fresh.peek(queue.at.id, &queue.index, self.cache) {
                Peek::Ready(message) => self.remove(queue, message, Source::Fresh, reason),
                Peek::Missing(lsn) => return self.read(queue, lsn),
                Peek::Inconsistent(lsn) => return self.lost(queue, lsn),
                Peek::None => return,
            }
        }
    }

    /// Where keys or tenants keep messages from being first in line, they expire all the same; and they are too many if
    /// all that might go before them is out. False if there is nothing more to do.
    fn prune_oldest(&mut self, queue: &mut Queue, after: bool) -> bool {
        let Some((message, source)) = self.oldest(queue) else { return false };
        let reason = if self.has_expired(queue, message, source, after) {
            SettleReason::Expired
        } else if after && is_too_long(queue) {
            SettleReason::MaxLength
        } else {
            return false;
        };
        if message.lsn != NOWHERE || queue.spec.settings.dead_letter_exchange.is_none() {
            self.remove(queue, message, source, reason);
            return true;
        }
        match self.find(queue, message.seq) {
            Found::At(message) => self.remove(queue, message, source, reason),
            Found::Gone => {
                if let Source::Lane(level, spot) = source
                    && let Some(lanes) = queue.lanes()
                {
                    lanes.take(level, spot);
                }
            }
            Found::Later => return false,
        }
        true
    }

    fn remove(&mut self, queue: &mut Queue, message: MessageRef, source: Source, reason: SettleReason) {
        self.removals_left -= 1;
        take(queue, source, &message, self.volatile);
        die(queue, message, reason, self.volatile, self.housekeeping);
    }

    /// Whether a ready message may not be delivered any more. One with a lifetime of 0 may until it was offered.
    fn has_expired(&self, queue: &Queue, message: MessageRef, source: Source, after: bool) -> bool {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_on(&crate::sabotage::LIVES_FOR_EVER) {
            return false;
        }
        let Some(expiry) = expiry(queue, &message, self.volatile) else { return false };
        let has_chance = expiry == 0 && !after && is_new(queue, &message, source);
        expiry <= self.now && !has_chance && !(expiry == 0 && self.blocked && is_new(queue, &message, source))
    }

    /// Hands what died to the router, as far as its blocks are at hand.
    fn bury(&mut self, queue: &mut Queue) {
        let mut letters = Vec::new();
        while letters.len() < LETTERS_MAX
            && let Some(&(message, reason)) = queue.special().dying.front()
        {
            let Some(message) = self.locate(queue, message) else { break };
            let Some(block) = death::block_of(self.volatile, self.cache, message.lsn).cloned() else {
                self.read(queue, message.lsn);
                break;
            };
            queue.special().dying.pop_front();
            let MessageRef { seq, lsn, offset, len } = message;
            let remains = if lsn.is_volatile() { Remains::Memory(lsn) } else { Remains::Log(seq) };
            letters.push(DeadLetter { remains, block, offset, len, reason, ticket: None });
        }
        if !letters.is_empty() {
            self.fx.dead.push(DeadLetters::of(&queue.spec, letters));
        }
    }

    /// The same for what is moving elsewhere.
    fn carry(&mut self, queue: &mut Queue) {
        let mut left = LETTERS_MAX;
        while left > 0
            && let Some(Moving { message, to, ticket }) = queue.special().moving.front().cloned()
        {
            let Some(message) = self.locate(queue, message) else { return };
            let Some(block) = death::block_of(self.volatile, self.cache, message.lsn).cloned() else {
                return self.read(queue, message.lsn);
            };
            left -= 1;
            queue.special().moving.pop_front();
            let MessageRef { seq, lsn, offset, len } = message;
            let remains = if lsn.is_volatile() { Remains::Memory(lsn) } else { Remains::Log(seq) };
            let reason = SettleReason::Redriven;
            let letter = DeadLetter { remains, block, offset, len, reason, ticket: Some(ticket) };
            match self.fx.dead.last_mut() {
                Some(last) if last.queue == queue.at.id && last.redrive.as_ref() == Some(&to) => {
                    last.letters.push(letter);
                }
                _ => {
                    let redrive = Some(to);
                    self.fx.dead.push(DeadLetters { redrive, ..DeadLetters::of(&queue.spec, vec![letter]) });
                }
            }
        }
    }

    /// Begins, ends or checks the time that the queue may go unused.
    fn lease(&mut self, queue: &mut Queue) {
        let Some(expires_ms) = queue.spec.settings.expires_ms else { return };
        let (now, is_used) = (self.now, queue.ring.len() > 0 || !queue.gets.is_empty());
        let special = queue.special();
        if std::mem::take(&mut special.touched) || is_used || special.idle_since.is_none() {
            special.idle_since = Some(now);
        } else if special.idle_since.is_some_and(|since| since.saturating_add(expires_ms) <= now) {
            // Should meta refuse, it is asked again in time.
            special.idle_since = Some(now);
            self.fx.meta.push(MetaEvent::Expired { queue: queue.at.id });
        }
    }

    /// When the queue has to be looked at again though nothing happens to it.
    fn next_look(&mut self, queue: &mut Queue) -> Option<Millis> {
        let waits = queue.reading || queue.unreadable;
        let head = Head::of(queue).map(|head| head.message);
        let oldest = self.oldest(queue).map(|(message, _)| message);
        let is_unfinished = queue.lanes().is_some_and(|lanes| lanes.is_unfinished());
        let (is_too_long, queue) = (is_too_long(queue), &*queue);
        let special = queue.special.as_deref()?;
        let firsts = head.into_iter().chain(oldest).filter(|_| !waits);
        let expiries = firsts.clone().filter_map(|message| {
            let expiry = expiry(queue, &message, self.volatile)?;
            // It waits for something else: whatever that is brings the queue back.
            let is_held = expiry == 0 && self.blocked && self.removals_left > 0;
            (!is_held).then(|| expiry.max(self.now))
        });
        let expiry = expiries.min();
        let is_routed =
            !special.dying.is_empty() || !special.copying.is_empty() || !special.moving.is_empty();
        let more = (self.removals_left == 0 && firsts.count() > 0 && is_too_long)
            || (is_routed && !waits)
            || !special.story.is_empty();
        let search = is_unfinished.then(|| self.now.saturating_add(SEARCH_AGAIN_MS));
        let lease = queue.spec.settings.expires_ms.filter(|_| queue.ring.len() == 0);
        let lease = lease.and_then(|ms| Some(special.idle_since?.saturating_add(ms)));
        [expiry, more.then_some(self.now), lease, search].into_iter().flatten().min()
    }
}

/// When a message expires; 0: it may not wait.
fn expiry(queue: &Queue, message: &MessageRef, volatile: &super::volatile::VolatileStore) -> Option<Millis> {
    let special = queue.special.as_deref()?;
    let ttl = queue.spec.settings.message_ttl_ms;
    if message.lsn.is_volatile() {
        let block = volatile.block(message.lsn)?;
        let extras = extras_of(block, message.offset);
        let ttl = extras.ttl_ms.into_iter().chain(ttl).min()?;
        let born = due(&extras, block.stamp).unwrap_or(block.stamp);
        Some(if ttl == 0 { 0 } else { born.saturating_add(ttl) })
    } else if ttl == Some(0) {
        Some(0)
    } else {
        let kept = &special.kept;
        kept.lifetimes.expiry(message.seq, ttl, kept.born.get(&message.seq).copied())
    }
}

/// Consumers have not been offered it yet.
fn is_new(queue: &Queue, message: &MessageRef, source: Source) -> bool {
    queue.special.as_deref().is_some_and(|special| match source {
        Source::Fresh => message.seq >= special.offered,
        Source::Volatile => special.offered_volatile == 0,
        Source::Lane(_, spot) => !spot.is_returned() && message.seq >= special.offered,
        Source::Returned => false,
    })
}

/// It holds more than it may, and the oldest have to go.
pub(super) fn is_too_long(queue: &Queue) -> bool {
    let settings = &queue.spec.settings;
    if settings.overflow != Overflow::DropHead {
        return false;
    }
    settings.max_length.is_some_and(|max| queue.ready() > max)
        || settings
            .max_length_bytes
            .is_some_and(|max| queue.special.as_deref().is_some_and(|special| special.ready_bytes > max))
}

impl Queue {
    /// Whether one more message is more than it takes, behind so many of the same batch. `bytes` of all their bodies.
    pub(super) fn refuses(&self, before: u64, bytes: u64) -> bool {
        let settings = &self.spec.settings;
        let Some(special) = self.special.as_deref().filter(|_| settings.overflow != Overflow::DropHead)
        else {
            return false;
        };
        settings.max_length.is_some_and(|max| self.ready() + special.arriving + before >= max)
            || settings.max_length_bytes.is_some_and(|max| special.ready_bytes.saturating_add(bytes) > max)
    }
}

/// A place in no block.
pub(super) const NOWHERE: Lsn = Lsn(0);

/// Counts a ready message of a queue that counts bytes as one that came back.
pub(super) fn came_back(queue: &mut Queue, message: &MessageRef, volatile: &super::volatile::VolatileStore) {
    let bytes = body_bytes(queue, message, volatile);
    if let Some(special) = &mut queue.special {
        special.returned(bytes);
    }
}
