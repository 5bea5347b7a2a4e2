//! In the end: everything that was promised came out.

use super::{Id, Presence, Rule, Rules};
use std::collections::BTreeSet;

impl Rules {
    /// Everything that was there was delivered or died, and was seen.
    pub fn account(&mut self) {
        let mut seen: BTreeSet<(usize, Id)> = BTreeSet::new();
        for ((slot, id, path), _) in self.spots.iter().filter(|(_, spot)| !spot.copies.is_empty()) {
            seen.insert((path.first().copied().unwrap_or(*slot), *id));
        }
        let lost = |slot: usize, id: Id| {
            let rule = &self.slots[slot];
            let dedup = self.messages[id as usize].extras.dedup;
            let is_duplicate = rule.window_ms.is_some() && dedup.is_some();
            let has_ttl = self.messages[id as usize].extras.ttl_ms.is_some() && rule.heir.is_none();
            !has_ttl && !self.loses(slot) && !is_duplicate && !seen.contains(&(slot, id))
        };
        for ((slot, id, path), spot) in &self.spots {
            assert!(
                spot.presence != Presence::There || !spot.logged || !path.is_empty() || !lost(*slot, *id),
                "promise: message {id}, confirmed by queue {slot}, is delivered or dies, and does not get lost: {spot:?}"
            );
        }
        // Of those that are the same to a queue, one is there if any was confirmed.
        let confirmed = self.spots.iter().filter(|((_, _, path), spot)| {
            path.is_empty() && spot.presence == Presence::There && spot.logged
        });
        for ((slot, id, _), _) in confirmed {
            let rule = &self.slots[*slot];
            let message = &self.messages[*id as usize];
            let (Some(_), Some(dedup)) = (rule.window_ms, message.extras.dedup) else { continue };
            if self.loses(*slot) {
                continue;
            }
            let same = |other: &Id| self.messages[*other as usize].extras.dedup == Some(dedup);
            let is_known = seen.iter().any(|(at, other)| at == slot && same(other));
            let may_die =
                self.messages.iter().any(|m| m.extras.dedup == Some(dedup) && m.extras.ttl_ms.is_some());
            let may_go = self.messages.iter().any(|m| m.extras.dedup == Some(dedup) && !m.logged);
            assert!(
                is_known || may_go || (may_die && rule.heir.is_none()),
                "promise: of messages that are the same to queue {slot} as {id}, one is delivered"
            );
        }
        self.check_batches(&seen);
    }

    /// A batch that was not answered is there as a whole, or not at all.
    fn check_batches(&self, seen: &BTreeSet<(usize, Id)>) {
        for batch in &self.doubtful {
            let sent = &self.batches[*batch];
            let all: Vec<(usize, Id)> =
                sent.iter().flat_map(|(id, slots)| slots.iter().map(|slot| (*slot, *id))).collect();
            let is_visible = |(slot, id): &(usize, Id)| {
                let message = &self.messages[*id as usize];
                let rule = &self.slots[*slot];
                let stays =
                    |rule: &Rule| rule.max_length.is_none() && rule.window_ms.is_none() && !rule.loses();
                message.logged
                    && stays(rule)
                    && (message.extras.ttl_ms.is_none() || rule.heir.is_some())
                    && rule.heir.is_none_or(|heir| stays(&self.slots[heir]))
                    && rule.heir.and_then(|heir| self.slots[heir].heir).is_none()
            };
            let visible: Vec<_> = all.into_iter().filter(is_visible).collect();
            let there: Vec<_> = visible.iter().filter(|one| seen.contains(one)).collect();
            assert!(
                there.is_empty() || there.len() == visible.len(),
                "promise: what was published together is there together; of {visible:?} there are {there:?}"
            );
        }
    }

    /// Whether messages leave this queue, or one that inherits from it, and go nowhere.
    fn loses(&self, slot: usize) -> bool {
        let heirs = std::iter::successors(Some(slot), |at| self.slots[*at].heir);
        heirs.into_iter().any(|at| self.slots[at].loses())
    }
}
