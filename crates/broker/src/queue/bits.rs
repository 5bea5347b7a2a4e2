//! A fixed-size set of small numbers: which messages of a partly settled extent are gone.

/// Bits `0..len`, all clear at first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bits {
    words: Box<[u64]>,
}

impl Bits {
    pub fn new(len: u32) -> Bits {
        Bits { words: vec![0; len.div_ceil(64) as usize].into_boxed_slice() }
    }

    #[inline]
    pub fn get(&self, i: u32) -> bool {
        self.words[(i / 64) as usize] >> (i % 64) & 1 == 1
    }

    /// Sets `from..to`; how many were clear.
    pub fn set_range(&mut self, from: u32, to: u32) -> u32 {
        let mut newly = 0;
        let mut at = from;
        while at < to {
            let n = (64 - at % 64).min(to - at);
            let mask = (u64::MAX >> (64 - n)) << (at % 64);
            let word = &mut self.words[(at / 64) as usize];
            newly += (mask & !*word).count_ones();
            *word |= mask;
            at += n;
        }
        newly
    }

    /// The first clear bit in `from..len`.
    pub fn first_clear(&self, from: u32, len: u32) -> Option<u32> {
        let mut at = from;
        while at < len {
            let rest = !self.words[(at / 64) as usize] >> (at % 64);
            if rest != 0 {
                let found = at + rest.trailing_zeros();
                return (found < len).then_some(found);
            }
            at += 64 - at % 64;
        }
        None
    }

    /// Runs of set bits in `0..len`, ascending: `(first, count)`.
    pub fn runs(&self, len: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < len && !self.get(at) {
                at += 1;
            }
            let first = at;
            while at < len && self.get(at) {
                at += 1;
            }
            (at > first).then_some((first, at - first))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_set() {
        let len = 300;
        let mut bits = Bits::new(len);
        let mut model = vec![false; len as usize];
        for (from, to) in [(3, 4), (60, 70), (0, 1), (127, 193), (100, 260), (299, 300), (5, 5)] {
            let newly = model[from as usize..to as usize].iter().filter(|set| !**set).count() as u32;
            model[from as usize..to as usize].fill(true);
            assert_eq!(bits.set_range(from, to), newly);
        }
        for i in 0..len {
            assert_eq!(bits.get(i), model[i as usize]);
            let clear = (i..len).find(|&j| !model[j as usize]);
            assert_eq!(bits.first_clear(i, len), clear);
        }
        let runs: Vec<_> = bits.runs(len).collect();
        assert_eq!(runs, [(0, 1), (3, 1), (60, 10), (100, 160), (299, 1)]);
    }
}
