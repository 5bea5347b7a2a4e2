//! Messages by group (a key, or a tenant), each group in the order of places. Of most of them the number is all that
//! is known: 4 bytes each, and 24 and what a table takes for a group.

use super::enforce::NOWHERE;
use super::returned::Place;
use super::window::MessageRef;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Logged, and never handed out in this life of the process.
    lines: HashMap<u64, Line, FixedState>,
    /// Messages in all of them.
    numbers: u64,
    /// In memory, or handed out and come back; and logged ones that no line takes.
    known: BTreeMap<(u64, Place), (MessageRef, bool)>,
    /// The groups of those, by place.
    places: BTreeMap<Place, u64>,
}

/// Numbers, ascending.
#[derive(Debug)]
enum Line {
    One(u64),
    Many(Box<Many>),
}

/// Not empty.
#[derive(Debug)]
struct Many {
    base: u64,
    /// What is to be added to `base`.
    of: VecDeque<u32>,
}

/// A number that is to be put in has to be this near to an end of its line.
const MOVED_MAX: usize = 1024;

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

impl Line {
    /// The first that is not below `from`.
    fn first_from(&self, from: u64) -> Option<u64> {
        match self {
            Line::One(seq) => Some(*seq).filter(|seq| *seq >= from),
            Line::Many(many) => many.get(many.of.partition_point(|of| many.base + u64::from(*of) < from)),
        }
    }

    fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let (one, many) = match self {
            Line::One(seq) => (Some(*seq), None),
            Line::Many(many) => (None, Some(many)),
        };
        let many = many.into_iter().flat_map(|many| many.of.iter().map(|of| many.base + u64::from(*of)));
        one.into_iter().chain(many)
    }
}

impl Many {
    /// Room for as much below `first` as above.
    fn begin(first: u64) -> Many {
        Many { base: first.saturating_sub(1 << 31), of: VecDeque::new() }
    }

    fn offset(&self, seq: u64) -> Option<u32> {
        u32::try_from(seq.checked_sub(self.base)?).ok()
    }

    fn get(&self, i: usize) -> Option<u64> {
        self.of.get(i).map(|offset| self.base + u64::from(*offset))
    }

    /// False if the number is too far from the others.
    fn add(&mut self, seq: u64) -> bool {
        let Some(offset) = self.offset(seq) else { return false };
        if self.of.back().is_none_or(|last| *last < offset) {
            self.of.push_back(offset);
            return true;
        }
        let Err(i) = self.of.binary_search(&offset) else { return true };
        let is_near = i.min(self.of.len() - i) <= MOVED_MAX;
        if is_near {
            self.of.insert(i, offset);
        }
        is_near
    }

    fn remove(&mut self, seq: u64) -> bool {
        let Some(offset) = self.offset(seq) else { return false };
        if self.of.front() == Some(&offset) {
            self.of.pop_front();
        } else {
            let Ok(i) = self.of.binary_search(&offset) else { return false };
            self.of.remove(i);
        }
        if self.of.capacity() > 64 && self.of.len() < self.of.capacity() / 4 {
            self.of.shrink_to(self.of.len() * 2);
        }
        true
    }
}

impl Groups {
    pub fn len(&self) -> u64 {
        self.numbers + self.known.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn add_number(&mut self, group: u64, seq: u64) {
        let taken = match self.lines.entry(group) {
            Entry::Vacant(entry) => {
                entry.insert(Line::One(seq));
                true
            }
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Line::One(one) => {
                    let mut many = Many::begin(*one);
                    let taken = many.add(*one) && many.add(seq);
                    if taken {
                        entry.insert(Line::Many(Box::new(many)));
                    }
                    taken
                }
                Line::Many(many) => many.add(seq),
            },
        };
        if taken {
            self.numbers += 1;
        } else {
            let Member { place, message, returned } = Member::number(seq);
            self.add_known(group, place, message, returned);
        }
    }

    pub fn add_known(&mut self, group: u64, place: Place, message: MessageRef, returned: bool) {
        self.known.insert((group, place), (message, returned));
        self.places.insert(place, group);
    }

    /// Whether `seq` is the first number of its group.
    pub fn is_first(&self, group: u64, seq: u64) -> bool {
        self.first_number(group) == Some(seq)
    }

    /// The first of its group.
    pub fn first(&self, group: u64) -> Option<Member> {
        let number = self.first_number(group).map(Member::number);
        if self.known.is_empty() {
            return number;
        }
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
        let from = if after.batch == u64::MAX { after.seq.saturating_add(1) } else { after.seq };
        let number = self.lines.get(&group).and_then(|line| line.first_from(from)).map(Member::number);
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

    /// All by place, but no more than `max`.
    pub fn in_order(&self, max: usize) -> Vec<Member> {
        let mut numbers: Vec<u64> = self.lines.values().flat_map(Line::numbers).collect();
        if max < numbers.len() {
            numbers.select_nth_unstable(max);
            numbers.truncate(max);
        }
        let numbers = numbers.into_iter().map(Member::number);
        let known = self.known.iter().map(|((_, place), (message, returned))| Member {
            place: *place,
            message: *message,
            returned: *returned,
        });
        let mut all: Vec<Member> = numbers.chain(known).collect();
        all.sort_unstable_by_key(|member| member.place);
        all.truncate(max);
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
        if place.batch == u64::MAX && self.remove_number(group, place.seq) {
            return true;
        }
        self.known.remove(&(group, place)).is_some() && self.places.remove(&place).is_some()
    }

    /// Empties it, in no particular order.
    pub fn drain(&mut self) -> impl Iterator<Item = MessageRef> + use<> {
        let Groups { lines, known, .. } = std::mem::take(self);
        let numbers = lines.into_values().flat_map(|line| {
            let (base, of) = match line {
                Line::One(seq) => (seq, VecDeque::from([0])),
                Line::Many(many) => (many.base, many.of),
            };
            of.into_iter().map(move |offset| base + u64::from(offset))
        });
        numbers.map(|seq| Member::number(seq).message).chain(known.into_values().map(|(message, _)| message))
    }

    fn first_number(&self, group: u64) -> Option<u64> {
        match self.lines.get(&group)? {
            Line::One(seq) => Some(*seq),
            Line::Many(many) => many.get(0),
        }
    }

    fn remove_number(&mut self, group: u64, seq: u64) -> bool {
        let Entry::Occupied(mut entry) = self.lines.entry(group) else { return false };
        let found = match entry.get_mut() {
            Line::One(one) => *one == seq,
            Line::Many(many) => many.remove(seq),
        };
        if !found {
            return false;
        }
        self.numbers -= 1;
        let left = match entry.get() {
            Line::One(_) => None,
            Line::Many(many) if many.of.len() == 1 => many.get(0),
            Line::Many(_) => return true,
        };
        match left {
            Some(one) => drop(entry.insert(Line::One(one))),
            None => drop(entry.remove()),
        }
        if self.lines.capacity() > 4096 && self.lines.len() < self.lines.capacity() / 8 {
            self.lines.shrink_to(self.lines.len() * 2);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::Lsn;
    use std::collections::BTreeSet;

    #[test]
    fn agrees_with_a_sorted_set() {
        let mut random = 5u64;
        let mut next = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        let (mut groups, mut model) = (Groups::default(), BTreeSet::new());
        for step in 0..40_000u64 {
            let group = next(3);
            // Usually the highest so far; now and then from anywhere, and from far away.
            let seq = match next(20) {
                0 => next(step + 1),
                1 => (1 << 40) + next(50),
                _ => step,
            };
            let place = Place::of_logged(seq);
            if !model.iter().any(|(_, other)| *other == place) {
                match next(10) {
                    0 => groups.add_known(
                        group,
                        place,
                        MessageRef { seq, lsn: Lsn::new(1, 0), offset: 0, len: 1 },
                        true,
                    ),
                    _ => groups.add_number(group, seq),
                }
                model.insert((group, place));
            }
            if next(3) == 0 {
                let first = model.range((group, Place::FIRST)..=(group, Place::LAST)).next().copied();
                assert_eq!(groups.first(group).map(|member| (group, member.place)), first);
                if let Some((group, place)) = first {
                    assert!(groups.remove(group, place));
                    assert!(!groups.remove(group, place));
                    model.remove(&(group, place));
                }
            }
            assert_eq!(groups.len(), model.len() as u64);
            let after = Place { seq: next(step + 1), batch: [0, u64::MAX][(step % 2) as usize], offset: 0 };
            let behind = (Bound::Excluded((group, after)), Bound::Included((group, Place::LAST)));
            let expected = model.range(behind).next().map(|(_, place)| *place);
            assert_eq!(groups.next(group, Some(after)).map(|member| member.place), expected);
            if step % 5_000 == 0 {
                let mut expected: Vec<Place> = model.iter().map(|(_, place)| *place).collect();
                expected.sort_unstable();
                expected.truncate(100);
                let places: Vec<Place> = groups.in_order(100).iter().map(|member| member.place).collect();
                assert_eq!(places, expected);
            }
            if step % 20_000 == 19_999 {
                let mut numbers: Vec<u64> = groups.drain().map(|message| message.seq).collect();
                numbers.sort_unstable();
                let mut expected: Vec<u64> = model.iter().map(|(_, place)| place.seq).collect();
                expected.sort_unstable();
                assert_eq!(numbers, expected);
                assert!(groups.is_empty());
                model.clear();
            }
        }
    }
}
