//! The durable part of a queue's contents: which messages there are, and in which block each lies.
//!
//! Messages are numbered densely by `next_seq`. An [`Extent`] stands for all messages of the queue in one block;
//! extents are ascending in number. A settled message is known by its absence from the live extents, or below
//! `head`, or by a bit in its extent's set. So the cost of a backlog is 24 bytes per (queue, block), plus one bit
//! per message of those extents that were settled out of order; gaps cost nothing.
//!
//! Invariants: an extent is counted in [`Segments`] exactly while `live > 0`; `live` is the number of its messages
//! that are not settled; the front extent is live; numbers below `head` are settled.

use super::bits::Bits;
use crate::segments::Segments;
use bowline_model::Lsn;
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};

/// The messages of one queue in one block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub lsn: Lsn,
    /// Number of the first message.
    pub first: u64,
    pub count: u32,
    /// Not settled yet; 0 marks a dead extent between live ones, to be swept.
    pub live: u32,
}

impl Extent {
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

const _: () = assert!(size_of::<Extent>() == 24);

/// Dead extents between live ones are swept when they are more than half, and more than this.
const SWEEP_MIN: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Index {
    next_seq: u64,
    head: u64,
    extents: VecDeque<Extent>,
    dead: usize,
    /// By the number of the extent's first message.
    partly: HashMap<u64, Bits, foldhash::fast::FixedState>,
    live: u64,
}

impl Index {
    /// The number that the next message gets.
    #[inline]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Messages that are not settled.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// Extents held in memory.
    pub fn extents_len(&self) -> usize {
        self.extents.len()
    }

    /// Numbers a message of block `lsn`. Blocks come in log order, messages in block order.
    #[inline]
    pub fn push(&mut self, lsn: Lsn, segments: &mut Segments) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.live += 1;
        match self.extents.back_mut() {
            // A dead back extent is left alone: reviving it would need its set of settled messages back.
            Some(last) if last.lsn == lsn && last.end() == seq && last.live > 0 => {
                debug_assert!(
                    !self.partly.contains_key(&last.first),
                    "a block is applied before it is settled"
                );
                last.count += 1;
                last.live += 1;
            }
            _ => {
                self.extents.push_back(Extent { lsn, first: seq, count: 1, live: 1 });
                segments.add(lsn);
            }
        }
        seq
    }

    /// Marks `first .. first + count` as settled; how many of them were not before. In order it costs O(1) per run
    /// and extent, otherwise a search for the first extent.
    pub fn settle(&mut self, first: u64, count: u64, segments: &mut Segments) -> u64 {
        let to = first.saturating_add(count).min(self.next_seq);
        let mut at = first.max(self.head);
        let mut newly = 0;
        let mut i = self.position(at);
        while at < to && i < self.extents.len() {
            let extent = &self.extents[i];
            let from = at.max(extent.first);
            at = to.min(extent.end());
            if extent.live > 0 && from < at {
                newly += u64::from(self.settle_in(i, from, at, segments));
            }
            if i == 0 && self.extents[0].live == 0 {
                self.trim_front();
            } else {
                i += 1;
            }
        }
        self.live -= newly;
        self.sweep();
        newly
    }

    /// The extent that holds `seq`, or else the first one behind it. May be dead.
    #[inline]
    pub fn position(&self, seq: u64) -> usize {
        match self.extents.front() {
            Some(front) if seq < front.end() => 0,
            _ => self.extents.partition_point(|e| e.end() <= seq),
        }
    }

    #[inline]
    pub fn extent(&self, i: usize) -> Option<&Extent> {
        self.extents.get(i)
    }

    /// The first message at or behind `seq` that is not settled.
    pub fn first_live(&self, seq: u64) -> Option<u64> {
        let mut at = seq.max(self.head);
        for i in self.position(at)..self.extents.len() {
            let extent = &self.extents[i];
            at = at.max(extent.first);
            if extent.live == 0 {
                continue;
            }
            match self.partly.get(&extent.first) {
                None if at < extent.end() => return Some(at),
                None => {}
                Some(bits) => {
                    if let Some(bit) = bits.first_clear((at - extent.first) as u32, extent.count) {
                        return Some(extent.first + u64::from(bit));
                    }
                }
            }
        }
        None
    }

    /// What is settled in `extent`: ask it for each of its messages.
    #[inline]
    pub fn settled_in(&self, extent: &Extent) -> SettledIn<'_> {
        SettledIn { head: self.head, first: extent.first, bits: self.partly.get(&extent.first) }
    }

    /// The messages in `from..to` that are not settled, counted.
    pub fn live_between(&self, from: u64, to: u64) -> u64 {
        let mut live = 0;
        let mut i = self.position(from);
        while let Some(extent) = self.extents.get(i).filter(|e| e.first < to) {
            let (a, b) = (from.max(extent.first).max(self.head), to.min(extent.end()));
            if extent.live > 0 && a < b {
                live += match self.partly.get(&extent.first) {
                    _ if b - a == u64::from(extent.count) => u64::from(extent.live),
                    None => b - a,
                    Some(bits) => (a..b).filter(|seq| !bits.get((seq - extent.first) as u32)).count() as u64,
                };
            }
            i += 1;
        }
        live
    }

    pub fn iter(&self) -> impl Iterator<Item = &Extent> + Clone + '_ {
        self.extents.iter()
    }

    /// What is settled of a live extent: ascending runs of (position in the extent, count).
    pub fn settled_runs(&self, extent: &Extent) -> Vec<(u32, u32)> {
        match self.partly.get(&extent.first) {
            Some(bits) => bits.runs(extent.count).collect(),
            None if self.head > extent.first => vec![(0, (self.head - extent.first) as u32)],
            None => Vec::new(),
        }
    }

    /// Adds an extent with nothing settled behind the others (from a checkpoint).
    pub fn append(&mut self, extent: Extent, segments: &mut Segments) {
        if self.extents.is_empty() {
            self.head = extent.first;
        }
        segments.add(extent.lsn);
        self.live += u64::from(extent.count);
        self.next_seq = extent.end();
        self.extents.push_back(extent);
    }

    pub fn set_next_seq(&mut self, next_seq: u64) {
        self.next_seq = next_seq;
        if self.extents.is_empty() {
            self.head = next_seq;
        }
    }

    /// Live extents in `files` (see [`Lsn::file`]), with what is settled of each, and whether no other live extent
    /// lies between it and the one before it in this list.
    pub fn extents_in<'a>(
        &'a self,
        files: &'a BTreeSet<Lsn>,
    ) -> impl Iterator<Item = (&'a Extent, Vec<(u32, u32)>, bool)> {
        let mut joined = false;
        self.extents.iter().filter(|e| e.live > 0).filter_map(move |extent| {
            let was_joined = std::mem::replace(&mut joined, files.contains(&extent.lsn.file()));
            joined.then(|| (extent, self.settled_runs(extent), was_joined))
        })
    }

    /// The messages of a run of extents in `files` now lie where `new` says: extents ascending in number, whose
    /// counts of live messages are not looked at. False if the extents there are not what they were, or nothing in
    /// them lives any more; then nothing changes.
    pub fn relocate(&mut self, files: &BTreeSet<Lsn>, new: &[Extent], segments: &mut Segments) -> bool {
        let (Some(from), Some(to)) = (new.first().map(|e| e.first), new.last().map(Extent::end)) else {
            return false;
        };
        let (i, j) = (self.position(from), self.extents.partition_point(|e| e.first < to));
        if i >= j {
            return false;
        }
        let old: Vec<Extent> = self.extents.range(i..j).filter(|e| e.live > 0).cloned().collect();
        if old.is_empty() || !old.iter().all(|e| files.contains(&e.lsn.file())) {
            return false;
        }
        let mut kept = Vec::with_capacity(new.len());
        let mut sets = Vec::new();
        for extent in new {
            let (extent, settled) = self.filled(extent, &old);
            if extent.live > 0 {
                sets.extend(settled.map(|bits| (extent.first, bits)));
                kept.push(extent);
            }
        }
        let sum = |extents: &[Extent]| extents.iter().map(|e| u64::from(e.live)).sum::<u64>();
        if sum(&kept) != sum(&old) {
            return false;
        }
        for extent in &old {
            segments.release(extent.lsn);
            self.partly.remove(&extent.first);
        }
        self.dead -= (j - i) - old.len();
        kept.iter().for_each(|e| segments.add(e.lsn));
        self.partly.extend(sets);
        if i == 0 {
            self.head = self.head.max(kept[0].first);
        }
        self.replace(i..j, kept);
        true
    }

    /// Gives up all extents (the queue is dropped).
    pub fn clear(&mut self, segments: &mut Segments) {
        self.extents.drain(..).filter(|e| e.live > 0).for_each(|e| segments.release(e.lsn));
        self.partly.clear();
        self.dead = 0;
        self.live = 0;
        self.head = self.next_seq;
    }

    /// Settles `from..to`, which lies in live extent `i` at or above `head`; how many that were.
    fn settle_in(&mut self, i: usize, from: u64, to: u64, segments: &mut Segments) -> u32 {
        let extent = &mut self.extents[i];
        let (a, b) = ((from - extent.first) as u32, (to - extent.first) as u32);
        let head = self.head.max(extent.first);
        let newly = if let Some(bits) = self.partly.get_mut(&extent.first) {
            bits.set_range(a, b)
        } else if i == 0 && from <= head {
            // In order: the usual way, and nothing but `head` has to move.
            self.head = to;
            (to - head) as u32
        } else if b - a >= extent.live {
            extent.live
        } else {
            let mut bits = Bits::new(extent.count);
            bits.set_range(0, (head - extent.first) as u32);
            let newly = bits.set_range(a, b);
            self.partly.insert(extent.first, bits);
            newly
        };
        extent.live -= newly;
        if extent.live == 0 {
            segments.release(extent.lsn);
            self.partly.remove(&extent.first);
            self.dead += 1;
        }
        newly
    }

    /// `extent` with its live messages counted: those that live in `old`, ascending; and the set of the others, if
    /// there are any.
    fn filled(&self, extent: &Extent, old: &[Extent]) -> (Extent, Option<Bits>) {
        let mut bits = Bits::new(extent.count);
        let mut gone = 0;
        let mut at = extent.first;
        let bit = |seq: u64| (seq - extent.first) as u32;
        for one in &old[old.partition_point(|e| e.end() <= extent.first)..] {
            let (a, b) = (one.first.max(extent.first), one.end().min(extent.end()));
            if a >= b {
                break;
            }
            gone += bits.set_range(bit(at), bit(a));
            at = b;
            if one.live < one.count {
                let settled = self.settled_in(one);
                for seq in (a..b).filter(|seq| settled.contains(*seq)) {
                    gone += bits.set_range(bit(seq), bit(seq) + 1);
                }
            }
        }
        gone += bits.set_range(bit(at), extent.count);
        (Extent { live: extent.count - gone, ..extent.clone() }, (gone > 0).then_some(bits))
    }

    /// Costs what lies before or behind the range, whichever is less.
    fn replace(&mut self, range: std::ops::Range<usize>, new: Vec<Extent>) {
        if range.start <= self.extents.len() - range.end {
            let before: Vec<Extent> = self.extents.drain(..range.end).take(range.start).collect();
            for extent in before.into_iter().chain(new).rev() {
                self.extents.push_front(extent);
            }
        } else {
            let behind = self.extents.split_off(range.end);
            self.extents.truncate(range.start);
            self.extents.extend(new.into_iter().chain(behind));
        }
        // A run of many blocks may have become a few.
        if self.extents.capacity() > 64 && self.extents.len() < self.extents.capacity() / 4 {
            self.extents.shrink_to(self.extents.len() * 2);
        }
    }

    fn trim_front(&mut self) {
        while self.extents.front().is_some_and(|e| e.live == 0) {
            self.extents.pop_front();
            self.dead -= 1;
        }
        let front = self.extents.front().map_or(self.next_seq, |e| e.first);
        self.head = self.head.max(front);
        if self.extents.is_empty() && self.extents.capacity() > 64 {
            self.extents = VecDeque::new();
        }
    }

    fn sweep(&mut self) {
        if self.dead > SWEEP_MIN && self.dead * 2 > self.extents.len() {
            self.extents.retain(|e| e.live > 0);
            self.extents.shrink_to(self.extents.len() * 2);
            self.dead = 0;
        }
    }
}

/// The settled messages of one extent.
#[derive(Clone, Copy)]
pub(crate) struct SettledIn<'a> {
    head: u64,
    first: u64,
    bits: Option<&'a Bits>,
}

impl SettledIn<'_> {
    #[inline]
    pub fn contains(&self, seq: u64) -> bool {
        seq < self.head || self.bits.is_some_and(|bits| bits.get((seq - self.first) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn next(random: &mut u64, n: u64) -> u64 {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 33) % n
    }

    fn check(index: &Index, model: &BTreeSet<u64>, blocks: &BTreeMap<u64, Lsn>, segments: &Segments) {
        assert_eq!(index.live(), model.len() as u64);
        let extents: Vec<&Extent> = index.iter().filter(|e| e.live > 0).collect();
        assert_eq!(index.extents_len() - extents.len(), index.dead);
        let mut seen = BTreeSet::new();
        for extent in &extents {
            let settled = index.settled_in(extent);
            let live: Vec<u64> = (extent.first..extent.end()).filter(|seq| !settled.contains(*seq)).collect();
            assert_eq!(live.len(), extent.live as usize);
            assert!(live.iter().all(|seq| blocks[seq] == extent.lsn));
            let gone: u32 = index.settled_runs(extent).iter().map(|(_, count)| count).sum();
            assert_eq!(gone, extent.count - extent.live);
            seen.extend(live);
        }
        assert_eq!(&seen, model);
        let mut expected = Segments::default();
        extents.iter().for_each(|e| expected.add(e.lsn));
        assert_eq!(segments, &expected);
    }

    #[test]
    fn agrees_with_a_plain_set_in_any_order_of_settling() {
        for seed in 1..40u64 {
            let mut random = seed;
            let (mut index, mut segments) = (Index::default(), Segments::default());
            let (mut model, mut blocks) = (BTreeSet::new(), BTreeMap::new());
            for step in 0..400u64 {
                let lsn = Lsn::new((step / 20) as u32, step as u32);
                for _ in 0..next(&mut random, 6) * next(&mut random, 30) {
                    let seq = index.push(lsn, &mut segments);
                    model.insert(seq);
                    blocks.insert(seq, lsn);
                }
                for _ in 0..next(&mut random, 8) {
                    let lowest = model.first().copied().unwrap_or(0);
                    let reach = [3, 50, 2_000][next(&mut random, 3) as usize];
                    let in_order = seed % 3 == 0 || next(&mut random, 3) == 0;
                    let first = if in_order { lowest } else { lowest + next(&mut random, reach) };
                    let longest = [1, 20, 200][next(&mut random, 3) as usize];
                    let count = 1 + next(&mut random, longest);
                    let gone: Vec<u64> = model.range(first..first + count).copied().collect();
                    assert_eq!(index.live_between(first, first + count), gone.len() as u64);
                    assert_eq!(index.settle(first, count, &mut segments), gone.len() as u64);
                    gone.iter().for_each(|seq| assert!(model.remove(seq)));
                    assert_eq!(index.settle(first, count, &mut segments), 0, "once is enough");
                    let at = lowest + next(&mut random, reach);
                    assert_eq!(index.first_live(at), model.range(at..).next().copied());
                }
                check(&index, &model, &blocks, &segments);
            }
            assert!(index.dead <= SWEEP_MIN.max(index.extents_len()));
            index.clear(&mut segments);
            check(&index, &BTreeSet::new(), &blocks, &segments);
        }
    }
}
