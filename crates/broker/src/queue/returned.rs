//! Messages that were delivered and came back: first in line, each in its original place.

use super::window::MessageRef;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A message's place in its queue. Durable messages are placed by number alone. A volatile one is placed before
/// the durable message of its number, among others of that number by when its batch arrived (from 1 on) and where it
/// lies in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Place {
    pub seq: u64,
    /// Number of the volatile batch; `u64::MAX` for durable messages.
    pub batch: u64,
    pub offset: u32,
}

impl Place {
    pub const FIRST: Place = Place { seq: 0, batch: 0, offset: 0 };
    pub const LAST: Place = Place { seq: u64::MAX, batch: u64::MAX, offset: u32::MAX };

    /// Of a logged message, wherever it lies.
    pub fn of_logged(seq: u64) -> Place {
        Place { seq, batch: u64::MAX, offset: 0 }
    }

    /// Of a message in memory, the `nth` of those of that number of which the batch is not known: before the others.
    pub fn unnumbered(seq: u64, nth: u32) -> Place {
        Place { seq, batch: 0, offset: nth }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Place,
    message: MessageRef,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.place == other.place
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        self.place.cmp(&other.place)
    }
}

/// Ordered by place. All of it lies before all fresh messages, because those are handed out in order.
#[derive(Debug, Default)]
pub(crate) struct Returned {
    heap: BinaryHeap<Reverse<Entry>>,
}

impl Returned {
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn push(&mut self, place: Place, message: MessageRef) {
        #[cfg(feature = "sabotage")]
        let place = match crate::sabotage::REQUEUE_AT_THE_END.load(std::sync::atomic::Ordering::Relaxed) {
            true => Place { seq: u64::MAX, batch: u64::MAX, offset: self.heap.len() as u32 },
            false => place,
        };
        self.heap.push(Reverse(Entry { place, message }));
    }

    #[inline]
    pub fn peek(&self) -> Option<&MessageRef> {
        self.heap.peek().map(|entry| &entry.0.message)
    }

    /// Corrects where the message that [`Returned::peek`] shows lies.
    pub fn correct(&mut self, message: MessageRef) {
        if let Some(mut first) = self.heap.peek_mut() {
            debug_assert_eq!(first.0.message.seq, message.seq);
            first.0.message = message;
        }
    }

    pub fn take(&mut self) {
        self.heap.pop();
        if self.heap.is_empty() && self.heap.capacity() > 1024 {
            self.heap = BinaryHeap::new();
        }
    }

    /// All of it, in order.
    pub fn in_order(&self) -> Vec<MessageRef> {
        let mut entries: Vec<Entry> = self.heap.iter().map(|entry| entry.0).collect();
        entries.sort_unstable();
        entries.into_iter().map(|entry| entry.message).collect()
    }

    /// Empties it; in order.
    pub fn drain(&mut self) -> Vec<MessageRef> {
        self.drain_places().into_iter().map(|(_, message)| message).collect()
    }

    /// The same, with the places.
    pub fn drain_places(&mut self) -> Vec<(Place, MessageRef)> {
        let sorted = std::mem::take(&mut self.heap).into_sorted_vec();
        sorted.into_iter().rev().map(|entry| (entry.0.place, entry.0.message)).collect()
    }
}
