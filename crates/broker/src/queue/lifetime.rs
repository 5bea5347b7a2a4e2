//! How long messages may live: the queue's own bound, counted from the stamp of the block that brought a message, and
//! the bound that a message brings itself. Whichever ends first counts. All of it is durable.

use bowline_model::Millis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lifetimes {
    /// Messages from this number on, up to that of the next entry, arrived at this time. Kept while the queue has a
    /// bound.
    stamps: VecDeque<(u64, Millis)>,
    /// When messages with a bound of their own expire, by number.
    own: BTreeMap<u64, Millis>,
}

impl Lifetimes {
    /// `born`: from when on the message's own bound counts.
    pub fn arrived(
        &mut self,
        seq: u64,
        (stamp, born): (Millis, Millis),
        queue_ttl_ms: Option<u64>,
        own_ttl_ms: Option<u64>,
    ) {
        if queue_ttl_ms.is_some() && self.stamps.back().is_none_or(|(_, last)| *last != stamp) {
            self.stamps.push_back((seq, stamp));
        }
        if let Some(ttl) = own_ttl_ms {
            // 0: it may not wait at all.
            self.own.insert(seq, if ttl == 0 { 0 } else { born.saturating_add(ttl) });
        }
    }

    /// The queue gets a bound at time `stamp`, or loses it. What is there from `head` on counts from then: when it
    /// arrived is not known.
    pub fn bounded(&mut self, is_bounded: bool, was_bounded: bool, head: u64, stamp: Millis) {
        if is_bounded && !was_bounded {
            self.stamps = VecDeque::from([(head, stamp)]);
        } else if !is_bounded {
            self.stamps = VecDeque::new();
        }
    }

    /// When message `seq` expires; `None`: never; 0: it may not wait. `born`: from when on the queue's bound counts,
    /// if not from the message's arrival.
    pub fn expiry(&self, seq: u64, queue_ttl_ms: Option<u64>, born: Option<Millis>) -> Option<Millis> {
        let own = if self.own.is_empty() { None } else { self.own.get(&seq).copied() };
        let of_queue =
            queue_ttl_ms.and_then(|ttl| Some(born.or_else(|| self.stamp(seq))?.saturating_add(ttl)));
        own.into_iter().chain(of_queue).min()
    }

    /// Some messages have a bound of their own.
    pub fn some_have_their_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// Messages `first..first + count` are settled, and all below `head` are.
    pub fn settled(&mut self, first: u64, count: u64, head: u64) {
        while self.stamps.get(1).is_some_and(|(first, _)| *first <= head) {
            self.stamps.pop_front();
        }
        if !self.own.is_empty() {
            let end = first.saturating_add(count);
            while let Some((&seq, _)) = self.own.range(first..end).next() {
                self.own.remove(&seq);
            }
        }
    }

    fn stamp(&self, seq: u64) -> Option<Millis> {
        let i = match self.stamps.get(1) {
            Some((second, _)) if seq >= *second => self.stamps.partition_point(|(first, _)| *first <= seq),
            _ => 1,
        };
        self.stamps.get(i - 1).map(|(_, stamp)| *stamp)
    }
}
