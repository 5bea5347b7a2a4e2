//! Committed blocks in memory, and the reads that bring more of them.
//!
//! Two rings with budgets of their own: the *tail* (what was just written; a consumer that keeps up finds
//! everything here) and *ahead* (what was read back). A replay of old data fills and empties the second and so
//! never evicts the first. Deliveries hold blocks by themselves, so evicting is always safe.
//!
//! At most one read covers a place of the log: who wants something that is under way just joins.

use crate::directory::Directory;
use crate::effects::{Effects, Read};
use crate::queue::QueueRef;
use bowline_model::{BlockRef, Lsn, Millis};
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};

/// A read may cover this many bytes of log however many are under way.
const SPAN_MIN: u32 = 64 * 1024;
/// What could not be read is tried again after this long, milliseconds.
const RETRY_MS: u64 = 1000;
/// Blocks that one read may bring.
const BLOCKS_MAX: u32 = 4096;

/// What directories of blocks may take, as a part of what blocks may take.
const DIRECTORY_SHARE: usize = 16;

type ByLsn<T> = HashMap<Lsn, T, foldhash::fast::FixedState>;

/// Who waits for a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reader {
    Queue(QueueRef),
    /// A parked fetch or offset query, by its number.
    Fetch(u64),
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

    /// Bytes of payload held: tail and ahead.
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
        self.tail.make_room(&mut self.resident, block.payload.len());
        self.tail.insert(&mut self.resident, block.lsn, block.payload.len(), block);
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

    /// The answer to the read at `asked`: who waited for it.
    pub fn loaded(&mut self, asked: Lsn, result: Result<Vec<BlockRef>, ()>) -> Vec<Reader> {
        let Some(i) = self.reads.iter().position(|r| r.lsn == asked) else { return Vec::new() };
        let readers = self.reads.swap_remove(i).readers;
        let blocks = result.unwrap_or_default();
        if !blocks.iter().any(|b| b.lsn == asked) && !self.contains(asked) {
            self.unreadable.insert(asked);
            return readers;
        }
        let fresh: Vec<BlockRef> = blocks.into_iter().filter(|b| !self.contains(b.lsn)).collect();
        self.ahead.make_room(&mut self.resident, fresh.iter().map(|b| b.payload.len()).sum());
        for block in fresh {
            // It stays among the unreadable until all who gave it up try again.
            self.ahead.insert(&mut self.resident, block.lsn, block.payload.len(), block);
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
