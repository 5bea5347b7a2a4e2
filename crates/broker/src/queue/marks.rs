//! A hash for some of a queue's messages, durable: their keys (see [`super::keys`]), or their tenants (see
//! [`super::tenants`]). 9 bytes a message, in chunks.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const CHUNK: u64 = 256;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Marks {
    chunks: BTreeMap<u64, Chunk>,
}

/// Two lists of one length.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Chunk {
    /// Positions in the chunk, ascending.
    at: Vec<u8>,
    of: Vec<u64>,
}

impl Marks {
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub fn set(&mut self, seq: u64, hash: u64) {
        let chunk = self.chunks.entry(seq / CHUNK).or_default();
        let at = (seq % CHUNK) as u8;
        match chunk.find(at) {
            Ok(i) => chunk.of[i] = hash,
            Err(i) => {
                chunk.at.insert(i, at);
                chunk.of.insert(i, hash);
            }
        }
    }

    pub fn get(&self, seq: u64) -> Option<u64> {
        let chunk = self.chunks.get(&(seq / CHUNK))?;
        chunk.of.get(chunk.find((seq % CHUNK) as u8).ok()?).copied()
    }

    /// Those of `first` and above, ascending.
    pub fn from(&self, first: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = self.chunks.range(first / CHUNK..).flat_map(|(number, chunk)| {
            chunk.at.iter().zip(&chunk.of).map(move |(at, hash)| (number * CHUNK + u64::from(*at), *hash))
        });
        all.skip_while(move |(seq, _)| *seq < first)
    }

    /// Messages `first..to` are settled.
    pub fn forget(&mut self, first: u64, to: u64) {
        if self.chunks.is_empty() || first >= to {
            return;
        }
        let mut emptied = Vec::new();
        for (&number, chunk) in self.chunks.range_mut(first / CHUNK..=(to - 1) / CHUNK) {
            let start = number * CHUNK;
            let below = |seq: u64| chunk.at.partition_point(|at| start + u64::from(*at) < seq);
            let (from, upto) = (below(first), below(to).min(chunk.of.len()));
            if from < upto {
                chunk.at.drain(from..upto);
                chunk.of.drain(from..upto);
            }
            if chunk.at.is_empty() {
                emptied.push(number);
            } else if chunk.of.capacity() > 16 && chunk.of.len() < chunk.of.capacity() / 4 {
                chunk.at.shrink_to(chunk.at.len() * 2);
                chunk.of.shrink_to(chunk.of.len() * 2);
            }
        }
        for number in emptied {
            self.chunks.remove(&number);
        }
    }
}

impl Chunk {
    /// Where `at` is, or belongs.
    #[inline]
    fn find(&self, at: u8) -> Result<usize, usize> {
        match self.at.last() {
            Some(last) if *last < at => Err(self.at.len().min(self.of.len())),
            // Nothing in front of it has gone, usually.
            _ if self.at.get(usize::from(at)) == Some(&at) => Ok(usize::from(at)),
            _ => self.at.binary_search(&at),
        }
        .and_then(|i| if i < self.of.len() { Ok(i) } else { Err(self.of.len()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_map() {
        let mut random = 7u64;
        let mut next = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        let (mut marks, mut model) = (Marks::default(), BTreeMap::new());
        let mut seq = 0;
        for step in 0..3_000u64 {
            seq += 1 + next(3);
            marks.set(seq, step);
            model.insert(seq, step);
            if next(3) == 0 {
                let first = seq - next(seq.min(400));
                let to = first + next(4) * next(200);
                marks.forget(first, to);
                model.retain(|seq, _| !(first..to).contains(seq));
            }
            let at = next(seq + 2);
            assert_eq!(marks.get(at), model.get(&at).copied());
            assert!(marks.from(at).take(3).eq(model.range(at..).map(|(a, b)| (*a, *b)).take(3)));
        }
        assert!(marks.from(0).eq(model.iter().map(|(a, b)| (*a, *b))));
        let again: Marks = postcard::from_bytes(&postcard::to_stdvec(&marks).unwrap()).unwrap();
        assert!(again.from(0).eq(marks.from(0)));
        marks.forget(0, u64::MAX);
        assert!(marks.is_empty());
    }
}
