//! Ids of messages that a queue has seen lately. A message with one of them is confirmed like any other and goes no
//! further. The window is bounded by the times of the blocks that brought the messages, and by a count.
//!
//! An id takes 16 bytes in order of arrival and 6 to 12 in a table, 28 at most; hashes are taken as they come, for an
//! id is one. Times are kept a few thousand to a window: an id is forgotten late by that much, never early.

use super::Queue;
use bowline_model::settings::Dedup;
use bowline_model::{Millis, extras};
use hashbrown::HashTable;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, VecDeque};

/// Ids allocated at a time.
const CHUNK: usize = 1024;
/// Times in a window are told apart that many at most.
const MARKS_MAX: u64 = 4096;
/// No queue remembers more, whatever it is told to.
const COUNT_MAX: u64 = 1 << 30;

/// The windows of a queue. Durable. Its own is used while its settings say so; the others are those of exchanges that
/// do it for queues that do not, and go when they are empty.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scopes {
    by_scope: BTreeMap<u64, (Window, Seen)>,
    /// When it was last looked through.
    swept: Millis,
}

/// How long a window may be empty before it goes, ms.
const SWEEP_MS: u64 = 1_000;

/// Time, and count.
type Window = (u64, u64);

impl Scopes {
    fn is_second(&mut self, id: u128, stamp: Millis, window: extras::Window) -> bool {
        let extras::Window { scope, bounds } = window;
        if stamp >= self.swept.saturating_add(SWEEP_MS) {
            self.swept = stamp;
            self.by_scope.retain(|_, ((window_ms, _), seen)| {
                seen.forget(stamp, *window_ms);
                seen.len() > 0
            });
        }
        let (kept, seen) = self.by_scope.entry(scope).or_default();
        *kept = (bounds.window_ms, bounds.count_max);
        seen.is_second(id, stamp, bounds)
    }
}

impl Queue {
    /// Durable: a message with `id` has come in at `stamp`. True if it is a second one, by the queue's own window or by
    /// the one that its exchange brings along.
    pub(super) fn has_seen(&mut self, id: u128, of_exchange: Option<extras::Window>, stamp: Millis) -> bool {
        match (self.spec.settings.dedup, of_exchange) {
            (Some(window), _) => self.special().kept.seen.is_second(id, stamp, window),
            (None, Some(window)) => self.special().kept.scopes.is_second(id, stamp, window),
            (None, None) => false,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// In order of arrival; all chunks but the last are full. The first `gone` ids of the first are forgotten.
    chunks: VecDeque<Vec<u128>>,
    gone: usize,
    /// The number of the first id in the first chunk; numbers wrap around.
    base: u32,
    /// Ids from this one on, counted from the first that ever came, arrived at this time at the latest.
    marks: VecDeque<(u64, Millis)>,
    /// Ids that ever came, and of these those forgotten.
    came: u64,
    left: u64,
    /// Numbers by id.
    table: HashTable<u32>,
}

impl Seen {
    /// A message with `id` arrives at time `stamp`: true if it is a second one. If not, the next will be.
    pub fn is_second(&mut self, id: u128, stamp: Millis, window: Dedup) -> bool {
        self.forget(stamp, window.window_ms);
        let Seen { chunks, table, base, .. } = self;
        let get = |number: u32| at(chunks, *base, number);
        if table.find(hash(id), |number| get(*number) == Some(id)).is_some() {
            return true;
        }
        while self.len() >= window.count_max.clamp(1, COUNT_MAX) {
            self.forget_first();
        }
        // One mark for all that arrive until its time.
        let last = self.marks.back().map(|(_, last)| *last).filter(|last| stamp <= *last);
        self.insert(id, last.unwrap_or(stamp.saturating_add(window.window_ms / MARKS_MAX)));
        false
    }

    pub fn len(&self) -> u64 {
        self.came - self.left
    }

    fn insert(&mut self, id: u128, stamp: Millis) {
        if self.marks.back().is_none_or(|(_, last)| *last < stamp) {
            self.marks.push_back((self.came, stamp));
        }
        if self.chunks.back().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push_back(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(id);
        }
        self.came += 1;
        let number = self.base.wrapping_add(((self.chunks.len() - 1) * CHUNK) as u32);
        let number = number.wrapping_add(self.chunks.back().map_or(0, |chunk| chunk.len() as u32 - 1));
        let Seen { chunks, table, base, .. } = self;
        table.insert_unique(hash(id), number, |number| hash(at(chunks, *base, *number).unwrap_or(0)));
    }

    /// Forgets what is too old.
    fn forget(&mut self, now: Millis, window_ms: u64) {
        // The time of the next mark ends this one's.
        while self.len() > 0
            && self.marks.front().is_some_and(|(_, stamp)| stamp.saturating_add(window_ms) <= now)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Seen { chunks, table, base, gone, .. } = self;
        let number = base.wrapping_add(*gone as u32);
        if let Some(id) = at(chunks, *base, number)
            && let Ok(entry) = table.find_entry(hash(id), |found| *found == number)
        {
            entry.remove();
        }
        self.gone += 1;
        self.left += 1;
        if self.gone == CHUNK || self.left == self.came {
            self.chunks.pop_front();
            self.base = self.base.wrapping_add(CHUNK as u32);
            self.gone = 0;
        }
        while self.marks.get(1).is_some_and(|(from, _)| *from <= self.left) || self.left == self.came {
            if self.marks.pop_front().is_none() {
                break;
            }
        }
        if self.table.capacity() > 4096 && self.table.len() < self.table.capacity() / 8 {
            let Seen { chunks, table, base, .. } = self;
            table.shrink_to(table.len() * 2, |number| hash(at(chunks, *base, *number).unwrap_or(0)));
        }
    }

    /// Remembered ids with their times, oldest first.
    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = (u128, Millis)> + '_ {
        let mut mark = 0;
        let ids = self.chunks.iter().flatten().skip(self.gone);
        ids.zip(self.left..).map(move |(id, number)| {
            while self.marks.get(mark + 1).is_some_and(|(from, _)| *from <= number) {
                mark += 1;
            }
            (*id, self.marks.get(mark).map_or(0, |(_, stamp)| *stamp))
        })
    }
}

fn at(chunks: &VecDeque<Vec<u128>>, base: u32, number: u32) -> Option<u128> {
    let i = number.wrapping_sub(base) as usize;
    chunks.get(i / CHUNK)?.get(i % CHUNK).copied()
}

/// An id is a hash already, of which any part will do.
fn hash(id: u128) -> u64 {
    ((id >> 64) as u64 ^ id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What is stored of [`Seen`]: the ids in order of arrival, and from which of them on which time counts.
#[derive(Serialize, Deserialize)]
struct Stored<Ids> {
    marks: Vec<(u64, Millis)>,
    ids: Ids,
}

/// A run of ids as bytes: a window of millions is stored while its shard waits, and number by number that takes long.
struct Run(Vec<u8>);

const ID_BYTES: usize = size_of::<u128>();

impl Serialize for Run {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Run, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Run;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("ids of 16 bytes each")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Run, E> {
                match bytes.len() % ID_BYTES {
                    0 => Ok(Run(bytes.to_vec())),
                    _ => Err(E::invalid_length(bytes.len(), &self)),
                }
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The runs of a window, one in memory at a time, and as long whatever has been forgotten.
struct Runs<'a>(&'a Seen);

impl Serialize for Runs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Seen { chunks, gone, .. } = self.0;
        let mut ids = chunks.iter().flatten().skip(*gone);
        let runs = self.0.len().div_ceil(CHUNK as u64);
        let mut sequence = serializer.serialize_seq(Some(runs as usize))?;
        for _ in 0..runs {
            let mut run = Vec::with_capacity(CHUNK * ID_BYTES);
            ids.by_ref().take(CHUNK).for_each(|id| run.extend_from_slice(&id.to_le_bytes()));
            sequence.serialize_element(&Run(run))?;
        }
        sequence.end()
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let marks = self.marks.iter().map(|(from, stamp)| (from.saturating_sub(self.left), *stamp)).collect();
        Stored { marks, ids: Runs(self) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seen, D::Error> {
        let Stored { marks, ids } = Stored::<Vec<Run>>::deserialize(deserializer)?;
        let mut seen = Seen::default();
        let mut marks = marks.into_iter().peekable();
        let mut stamp = 0;
        let count = ids.iter().map(|Run(bytes)| bytes.len() / ID_BYTES).sum();
        seen.table.reserve(count, |_| 0);
        for id in ids.iter().flat_map(|Run(bytes)| bytes.as_chunks().0) {
            while let Some((_, next)) = marks.next_if(|(from, _)| *from <= seen.came) {
                stamp = next;
            }
            seen.insert(u128::from_le_bytes(*id), stamp);
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(window_ms: u64, count_max: u64) -> Dedup {
        Dedup { window_ms, count_max }
    }

    #[test]
    fn ids_are_known_within_time_and_count() {
        let mut seen = Seen::default();
        assert!(!seen.is_second(7, 1_000, window(100, 10)));
        assert!(seen.is_second(7, 1_099, window(100, 10)));
        assert!(!seen.is_second(7, 1_100, window(100, 10)), "the window begins with the first");
        for id in 100..110 {
            assert!(!seen.is_second(id, 1_100, window(100, 10)));
        }
        assert_eq!(seen.len(), 10);
        assert!(!seen.is_second(7, 1_100, window(100, 10)), "it was the oldest of more than ten");
        assert!(seen.is_second(105, 1_100, window(100, 10)));
    }

    #[test]
    fn many_ids_come_and_go_and_survive_being_stored() {
        let mut seen = Seen::default();
        let window = window(5_000, 20_000);
        for n in 0..60_000u64 {
            let id = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            assert!(!seen.is_second(id, n / 7, window), "{n}");
            assert!(seen.is_second(id, n / 7, window), "{n}");
        }
        assert_eq!((seen.len(), seen.table.len()), (20_000, 20_000));
        assert!(seen.chunks.len() <= 21);
        let bytes = postcard::to_stdvec(&seen).unwrap();
        let again: Seen = postcard::from_bytes(&bytes).unwrap();
        assert!(again.iter().eq(seen.iter()));
        assert!(postcard::to_stdvec(&again).unwrap() == bytes, "the same state gives the same bytes");
    }
}
