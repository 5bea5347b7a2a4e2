//! A counted set that is walked much more often than it is changed.
//!
//! Bindings that differ only in what an exchange type does not look at (a fanout's routing keys, a direct exchange's
//! arguments) lead to the same target: the target is listed once and counted. Small bags are one inline element or
//! a short vector; large ones carry an index, so that adding and removing stay O(1) with 100,000 targets.

use hashbrown::HashMap;
use smallvec::SmallVec;
use std::hash::Hash;

/// From here on a bag carries an index of positions.
const INDEXED_FROM: usize = 16;

#[derive(Debug)]
pub(crate) struct Bag<T> {
    items: SmallVec<[(T, u32); 1]>,
    positions: Option<Box<HashMap<T, u32>>>,
}

impl<T: Copy + Eq + Hash> Bag<T> {
    pub fn new() -> Bag<T> {
        Bag { items: SmallVec::new(), positions: None }
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.items.iter().map(|(item, _)| *item)
    }

    pub fn add(&mut self, item: T) {
        if let Some(at) = self.position(item) {
            self.items[at].1 += 1;
            return;
        }
        let at = self.items.len() as u32;
        self.items.push((item, 1));
        match &mut self.positions {
            Some(positions) => {
                positions.insert(item, at);
            }
            None if self.items.len() >= INDEXED_FROM => {
                let positions = self.items.iter().zip(0u32..).map(|((item, _), at)| (*item, at)).collect();
                self.positions = Some(Box::new(positions));
            }
            None => {}
        }
    }

    /// Takes back one `add`.
    pub fn remove(&mut self, item: T) {
        let Some(at) = self.position(item) else { return };
        self.items[at].1 -= 1;
        if self.items[at].1 > 0 {
            return;
        }
        self.items.swap_remove(at);
        if let Some(positions) = &mut self.positions {
            positions.remove(&item);
            if let Some((moved, _)) = self.items.get(at) {
                positions.insert(*moved, at as u32);
            }
        }
        if self.items.len() < INDEXED_FROM / 2 {
            self.positions = None;
            self.items.shrink_to_fit();
        }
    }

    fn position(&self, item: T) -> Option<usize> {
        match &self.positions {
            Some(positions) => positions.get(&item).map(|at| *at as usize),
            None => self.items.iter().position(|(other, _)| *other == item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn behaves_like_a_counted_set_through_growing_and_shrinking() {
        let mut bag = Bag::new();
        let mut model = BTreeMap::<u32, u32>::new();
        let mut seed = 7u32;
        for round in 0..20_000u32 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let item = (seed >> 16) % 60;
            // Phases of growth and of decline, so that the index comes and goes.
            if (seed >> 8) % 10 < if (round / 2_000) % 2 == 0 { 7 } else { 3 } {
                bag.add(item);
                *model.entry(item).or_default() += 1;
            } else {
                bag.remove(item);
                if let Some(count) = model.get_mut(&item) {
                    *count -= 1;
                    if *count == 0 {
                        model.remove(&item);
                    }
                }
            }
        }
        let mut items: Vec<u32> = bag.iter().collect();
        items.sort_unstable();
        assert_eq!(items, model.keys().copied().collect::<Vec<_>>());
    }
}
