//! Keyed order: of the messages with one key one at a time is in line, out, or waiting for its time: it *holds* the
//! key. The others stand *behind* it, in order, and the first of them is in line when the one that holds the key has
//! left the queue, however it did. So a key's messages are delivered one after the other, and other keys go on.
//!
//! What takes memory is messages: a key takes 16 bytes in a table while a message holds it.

use super::Queue;
use super::enforce::NOWHERE;
use super::groups::{Groups, Member};
use super::lanes::{Class, Door};
use super::returned::Place;
use super::sorted::due;
use super::volatile::VolatileStore;
use super::window::MessageRef;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// By key, the name of the message that holds it.
    holders: HashMap<u64, u64, FixedState>,
    pub behind: Groups,
}

/// Tells a message from all others of its queue, while it is there.
pub(super) fn name(message: &MessageRef) -> u64 {
    if message.lsn.is_volatile() {
        1 << 63 | (message.lsn.0 & u64::from(u32::MAX >> 1)) << 32 | u64::from(message.offset)
    } else {
        message.seq
    }
}

impl Keys {
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// A message with `key` comes in: true if it holds the key now.
    pub fn enter(&mut self, key: u64, name: u64) -> bool {
        *self.holders.entry(key).or_insert(name) == name
    }

    /// The message with that name has left: the one that holds the key now.
    fn pass_on(&mut self, key: u64, name: u64) -> Option<Member> {
        let holder = self.holders.get_mut(&key).filter(|holder| **holder == name)?;
        let Some(next) = self.behind.first(key) else {
            self.holders.remove(&key);
            if self.holders.capacity() > 4096 && self.holders.len() < self.holders.capacity() / 8 {
                self.holders.shrink_to(self.holders.len() * 2);
            }
            return None;
        };
        *holder = self::name(&next.message);
        self.behind.remove(key, next.place);
        Some(next)
    }
}

impl Queue {
    /// A message is out of the queue: its key goes on. True if another message is in line for that.
    #[cold]
    pub(super) fn pass_on(&mut self, message: &MessageRef, volatile: &VolatileStore) -> bool {
        let Some(special) = self.special.as_deref_mut() else { return false };
        let Some(lanes) = special.lanes.as_mut().filter(|lanes| !lanes.keys.is_empty()) else { return false };
        let key = match message.lsn.is_volatile() {
            true => volatile.extras(message).key,
            false => special.kept.keys.get(message.seq),
        };
        let next = key.and_then(|key| lanes.keys.pass_on(key, name(message)));
        let Some(Member { place, message, .. }) = next else { return false };
        if message.lsn.is_volatile() {
            let extras = volatile.extras(&message);
            let stamp = volatile.block(message.lsn).map_or(0, |block| block.stamp);
            let class = Class::of(&self.spec.settings, &extras);
            match due(&extras, stamp).filter(|due| *due > lanes.now) {
                Some(due) => lanes.park(due, class, false, place, message),
                None => lanes.push_let_go(class, place, message),
            }
        } else {
            special.kept.line_up(lanes, &self.spec.settings, message.seq, Door::LetGo);
        }
        true
    }

    /// The log says that messages `first..to` are settled. Those that nobody here has settled leave their keys. True if
    /// another message is in line for that.
    pub(super) fn settled_elsewhere(&mut self, first: u64, to: u64, volatile: &VolatileStore) -> bool {
        let Some(special) = self.special.as_deref_mut().filter(|s| !s.kept.keys.is_empty()) else {
            return false;
        };
        let keys: Vec<(u64, u64)> = special.kept.keys.from(first).take_while(|(seq, _)| *seq < to).collect();
        let Some(lanes) = &mut special.lanes else { return false };
        // First those that hold none, lest they be the next.
        for (seq, key) in &keys {
            lanes.keys.behind.remove(*key, Place::of_logged(*seq));
        }
        let mut any = false;
        for (seq, _) in keys {
            let message = MessageRef { seq, lsn: NOWHERE, offset: 0, len: 0 };
            any |= self.pass_on(&message, volatile);
        }
        any
    }
}
