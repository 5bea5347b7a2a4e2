//! Committed blocks in memory, and the reads that bring more of them.
//!
//! Two rings with budgets of their own, in bytes of memory: the *tail* (what was just written; a consumer that keeps up
//! finds everything here) and *ahead* (what was read back). A replay of old data fills and empties the second and so
//! never evicts the first. Deliveries hold blocks by themselves, so evicting is always safe.
//!
//! At most one read covers a place of the log: who wants something that is under way just joins.

use crate::directory::Directory;
use crate::effects::{Effects, Read};
use crate::queue::QueueRef;
use bowline_model::block::{BLOCK_ALIGN, BLOCK_HEADER_BYTES};
use bowline_model::{BlockRef, Lsn, Millis};
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};

/// A read may cover this many bytes of log however many are under way.
const SPAN_MIN: u32 = 64 * 1024;
/// What could not be read is tried again after this long, milliseconds.
const RETRY_MS: u64 = 1000;
/// While so many reads are under way, none is made that nobody waits for.
const AHEAD_READS_MAX: usize = 3;
/// Blocks that one read may bring.
const BLOCKS_MAX: u32 = 4096;

/// What a block takes besides its payload: [`bowline_model::Block`], what counts its readers, its place in the cache.
const BLOCK_OVERHEAD: usize = 256;

/// What directories of blocks may take, as a part of what blocks may take. They take 8 bytes a message, and no message
/// is shorter than 32: all blocks that are resident may have theirs. Where messages are wanted in another order than
/// that of the log (priorities, delays, keys), a directory that is not there is a walk over a block for each of them.
const DIRECTORY_SHARE: usize = 4;

type ByLsn<T> = HashMap<Lsn, T, foldhash::fast::FixedState>;

/// Who waits for a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reader {
    Queue(QueueRef),
    /// A peeker of queues, by its number.
    Peek(u64),
    /// A parked fetch or offset query, by its number.
    Fetch(u64),
    /// Nobody yet: somebody who reads on will.
    Ahead,
}

#[derive(Debug)]
pub(crate) struct Cache {
    resident: ByLsn<BlockRef>,
    tail: Ring,
    ahead: Ring,
    directories: ByLsn<Directory>,
    mapped: Ring,
    reads: Vec<Outstanding>,
    /// Blocks that could not be read; forgotten now and then, so that it is tried again.
    unreadable: BTreeSet<Lsn>,
    retry_at: Option<Millis>,
}

#[derive(Debug)]
struct Ring {
    order: VecDeque<(Lsn, usize)>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Outstanding {
    lsn: Lsn,
    /// Blocks that begin below come with it (if they are in one segment, and not too many).
    upto: Lsn,
    readers: Vec<Reader>,
}

impl Cache {
    pub fn new(tail_bytes_max: usize, ahead_bytes_max: usize) -> Cache {
        Cache {
            resident: HashMap::default(),
            tail: Ring::new(tail_bytes_max),
            ahead: Ring::new(ahead_bytes_max),
            directories: HashMap::default(),
            mapped: Ring::new(((tail_bytes_max + ahead_bytes_max) / DIRECTORY_SHARE).max(64 * 1024)),
            reads: Vec::new(),
            unreadable: BTreeSet::new(),
            retry_at: None,
        }
    }

    /// Bytes of memory that blocks take: tail and ahead.
    pub fn bytes(&self) -> (usize, usize) {
        (self.tail.bytes, self.ahead.bytes)
    }

    #[inline]
    pub fn get(&self, lsn: Lsn) -> Option<&BlockRef> {
        self.resident.get(&lsn)
    }

    pub fn contains(&self, lsn: Lsn) -> bool {
        self.resident.contains_key(&lsn)
    }

    /// What lies where in the block at `lsn`, if that is resident. Made when it is first asked for.
    pub fn directory(&mut self, lsn: Lsn) -> Option<&Directory> {
        if !self.directories.contains_key(&lsn) {
            let directory = Directory::new(self.resident.get(&lsn)?);
            let bytes = directory.bytes();
            self.mapped.make_room(&mut self.directories, bytes);
            self.mapped.insert(&mut self.directories, lsn, bytes, directory);
        }
        self.directories.get(&lsn)
    }

    /// A block that was just written.
    pub fn insert_tail(&mut self, block: BlockRef) {
        let bytes = tail_bytes(&block);
        self.tail.make_room(&mut self.resident, bytes);
        self.tail.insert(&mut self.resident, block.lsn, bytes, block);
    }

    /// Asks for the block at `lsn` and, with one read, for those that begin within `ahead` bytes behind it. False
    /// if `reader` already waits for a read that covers `lsn`.
    pub fn want(&mut self, reader: Reader, lsn: Lsn, ahead: u32, fx: &mut Effects) -> bool {
        if let Some(read) = self.reads.iter_mut().find(|r| r.lsn <= lsn && lsn < r.upto) {
            let new = !read.readers.contains(&reader);
            if new {
                read.readers.push(reader);
            }
            return new;
        }
        // With many readers each gets less, so that what is read is still there when its turn comes.
        let fair = (self.ahead.bytes_max / (2 * (self.reads.len() + 1))) as u64;
        let span = u64::from(ahead).min(fair.max(u64::from(SPAN_MIN))).max(1);
        fx.reads.push(Read { lsn, max_bytes: span as u32, max_blocks: BLOCKS_MAX });
        self.reads.push(Outstanding { lsn, upto: Lsn(lsn.0 + span), readers: vec![reader] });
        true
    }

    /// Has `reads` made before anybody asks, unless there is enough to read as it is.
    pub fn read_ahead(&mut self, reads: impl IntoIterator<Item = (Lsn, u32)>, fx: &mut Effects) {
        for (lsn, len) in reads {
            if self.reads.len() >= AHEAD_READS_MAX {
                return;
            }
            self.want(Reader::Ahead, lsn, len, fx);
        }
    }

    /// The answer to the read at `asked`: who waited for it.
    pub fn loaded(&mut self, asked: Lsn, result: Result<Vec<BlockRef>, ()>) -> Vec<Reader> {
        let Some(i) = self.reads.iter().position(|r| r.lsn == asked) else { return Vec::new() };
        let readers = self.reads.swap_remove(i).readers;
        let blocks = result.unwrap_or_default();
        if !blocks.iter().any(|b| b.lsn == asked) && !self.contains(asked) {
            self.unreadable.insert(asked);
            return readers;
        }
        // Another read may have brought it as a neighbour. Whoever asked for it needs it now, so it is not to make room
        // for its own neighbours.
        if blocks.iter().any(|b| b.lsn == asked) {
            self.ahead.remove(&mut self.resident, asked);
        }
        let fresh: Vec<BlockRef> = blocks.into_iter().filter(|b| !self.contains(b.lsn)).collect();
        self.ahead.make_room(&mut self.resident, fresh.iter().map(ahead_bytes).sum());
        for block in fresh {
            // It stays among the unreadable until all who gave it up try again.
            self.ahead.insert(&mut self.resident, block.lsn, ahead_bytes(&block), block);
        }
        readers
    }

    /// Reading it was tried and failed; it is not asked for again for a while.
    pub fn is_unreadable(&self, lsn: Lsn) -> bool {
        self.unreadable.contains(&lsn)
    }

    /// The block at `lsn` is no use: as if it could not be read.
    pub fn set_unreadable(&mut self, lsn: Lsn) {
        self.unreadable.insert(lsn);
    }

    /// True when it is time to try again what could not be read.
    pub fn tick(&mut self, now: Millis) -> bool {
        match self.retry_at {
            None if !self.unreadable.is_empty() => self.retry_at = Some(now + RETRY_MS),
            Some(at) if at <= now => {
                self.retry_at = None;
                self.unreadable.clear();
                return true;
            }
            _ => {}
        }
        false
    }

    pub fn next_deadline(&self) -> Option<Millis> {
        self.retry_at
    }
}

/// What a block just written takes: its buffer is whole pages. On a quiet broker, where each message is a block, that
/// is several times its payload.
fn tail_bytes(block: &BlockRef) -> usize {
    (BLOCK_HEADER_BYTES + block.payload.len()).next_multiple_of(BLOCK_ALIGN) + BLOCK_OVERHEAD
}

/// What a block read back takes: a slice of a buffer that it shares with its neighbours.
fn ahead_bytes(block: &BlockRef) -> usize {
    block.payload.len() + BLOCK_OVERHEAD
}

impl Ring {
    fn new(bytes_max: usize) -> Ring {
        Ring { order: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn insert<T>(&mut self, resident: &mut ByLsn<T>, lsn: Lsn, len: usize, what: T) {
        if resident.insert(lsn, what).is_none() {
            self.order.push_back((lsn, len));
            self.bytes += len;
        }
    }

    fn remove<T>(&mut self, resident: &mut ByLsn<T>, lsn: Lsn) {
        if resident.contains_key(&lsn)
            && let Some(i) = self.order.iter().position(|(held, _)| *held == lsn)
            && let Some((_, len)) = self.order.remove(i)
        {
            resident.remove(&lsn);
            self.bytes -= len;
        }
    }

    /// Evicts the oldest until `len` more bytes fit the budget. What does not fit at all is taken alone.
    fn make_room<T>(&mut self, resident: &mut ByLsn<T>, len: usize) {
        while self.bytes + len > self.bytes_max
            && let Some((lsn, len)) = self.order.pop_front()
        {
            resident.remove(&lsn);
            self.bytes -= len;
        }
    }
}

impl bowline_stream::BlockLookup for Cache {
    fn block(&mut self, lsn: Lsn) -> Option<BlockRef> {
        self.get(lsn).cloned()
    }

    fn unreadable(&self, lsn: Lsn) -> bool {
        self.is_unreadable(lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::{Block, ShardId};
    use std::sync::Arc;

    fn block(lsn: u64) -> BlockRef {
        let payload = vec![0; 100].into();
        Arc::new(Block { lsn: Lsn(lsn), shard: ShardId(1), term: 1, index: lsn, stamp: 0, payload })
    }

    /// Two readers whose spans overlap, and room for one of them: each has its block when its read is answered.
    #[test]
    fn what_was_asked_for_does_not_make_room_for_its_neighbours() {
        let mut cache = Cache::new(0, 4 * ahead_bytes(&block(0)));
        let mut fx = Effects::default();
        for asked in [0, 512] {
            assert!(cache.want(Reader::Ahead, Lsn(asked), 1, &mut fx));
        }
        cache.loaded(Lsn(0), Ok(vec![block(0), block(512)]));
        cache.loaded(Lsn(512), Ok((1..=4).map(|n| block(n * 512)).collect()));
        assert!(cache.contains(Lsn(512)));
        assert_eq!(cache.bytes().1, cache.resident.len() * ahead_bytes(&block(0)));
    }

    /// A block of a single small message takes a page; the budget is of memory, not of payload.
    #[test]
    fn small_blocks_do_not_take_more_than_the_budget() {
        let mut cache = Cache::new(1 << 20, 1 << 20);
        for index in 1..=10_000 {
            cache.insert_tail(Arc::new(Block {
                lsn: Lsn(index * 512),
                shard: ShardId(1),
                term: 1,
                index,
                stamp: 0,
                payload: vec![0; 100].into(),
            }));
        }
        assert!(cache.resident.len() * BLOCK_ALIGN <= 1 << 20, "{} blocks", cache.resident.len());
        assert!(cache.bytes().0 <= 1 << 20 && cache.contains(Lsn(10_000 * 512)));
    }
}
