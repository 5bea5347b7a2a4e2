//! Messages by group (a key, or a tenant), each group in the order of places. Of most of them the number is all that
//! is known: 16 bytes each, and what a tree takes.

use super::enforce::NOWHERE;
use super::returned::Place;
use super::window::MessageRef;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Logged, and never handed out in this life of the process: group and number.
    numbers: BTreeSet<(u64, u64)>,
    /// In memory, or handed out and come back.
    known: BTreeMap<(u64, Place), (MessageRef, bool)>,
    /// The groups of those, by place.
    places: BTreeMap<Place, u64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub place: Place,
    /// In no block, if only the number is known.
    pub message: MessageRef,
    /// It came back.
    pub returned: bool,
}

impl Member {
    fn number(seq: u64) -> Member {
        let place = Place::of_logged(seq);
        Member { place, message: MessageRef { seq, lsn: NOWHERE, offset: 0, len: 0 }, returned: false }
    }
}

impl Groups {
    pub fn len(&self) -> u64 {
        (self.numbers.len() + self.known.len()) as u64
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.known.is_empty()
    }

    pub fn add_number(&mut self, group: u64, seq: u64) {
        self.numbers.insert((group, seq));
    }

    pub fn add_known(&mut self, group: u64, place: Place, message: MessageRef, returned: bool) {
        self.known.insert((group, place), (message, returned));
        self.places.insert(place, group);
    }

    pub fn has_number(&self, group: u64, seq: u64) -> bool {
        self.numbers.contains(&(group, seq))
    }

    /// The first of its group.
    pub fn first(&self, group: u64) -> Option<Member> {
        let number = self.numbers.range((group, 0)..=(group, u64::MAX)).next();
        let number = number.map(|(_, seq)| Member::number(*seq));
        let (from, to) = ((group, Place::FIRST), (group, Place::LAST));
        let known = self.known.range(from..=to).next();
        let known = known.map(|((_, place), (message, returned))| Member {
            place: *place,
            message: *message,
            returned: *returned,
        });
        match (number, known) {
            (Some(number), Some(known)) if number.place < known.place => Some(number),
            (number, known) => known.or(number),
        }
    }

    /// The first of its group behind that place.
    pub fn next(&self, group: u64, after: Option<Place>) -> Option<Member> {
        let Some(after) = after else { return self.first(group) };
        let numbers = self.numbers.range((group, after.seq)..=(group, u64::MAX));
        let number = numbers.map(|(_, seq)| Member::number(*seq)).find(|member| member.place > after);
        let behind = (Bound::Excluded((group, after)), Bound::Included((group, Place::LAST)));
        let known = self.known.range(behind).next();
        let known = known.map(|((_, place), (message, returned))| Member {
            place: *place,
            message: *message,
            returned: *returned,
        });
        match (number, known) {
            (Some(number), Some(known)) if number.place < known.place => Some(number),
            (number, known) => known.or(number),
        }
    }

    /// All, by place.
    pub fn in_order(&self) -> Vec<Member> {
        let numbers = self.numbers.iter().map(|(_, seq)| Member::number(*seq));
        let known = self.known.iter().map(|((_, place), (message, returned))| Member {
            place: *place,
            message: *message,
            returned: *returned,
        });
        let mut all: Vec<Member> = numbers.chain(known).collect();
        all.sort_unstable_by_key(|member| member.place);
        all
    }

    /// The first of all that are known, and its group.
    pub fn first_known(&self) -> Option<(u64, Member)> {
        let (place, group) = self.places.first_key_value()?;
        let (message, returned) = *self.known.get(&(*group, *place))?;
        Some((*group, Member { place: *place, message, returned }))
    }

    /// False if it was not there.
    pub fn remove(&mut self, group: u64, place: Place) -> bool {
        if place.batch == u64::MAX && self.numbers.remove(&(group, place.seq)) {
            return true;
        }
        self.places.remove(&place);
        self.known.remove(&(group, place)).is_some()
    }

    /// Empties it, in no particular order.
    pub fn drain(&mut self) -> impl Iterator<Item = MessageRef> + use<> {
        let Groups { numbers, known, .. } = std::mem::take(self);
        let numbers = numbers.into_iter().map(|(_, seq)| Member::number(seq).message);
        numbers.chain(known.into_values().map(|(message, _)| message))
    }
}
