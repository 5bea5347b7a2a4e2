//! The way from the index to the consumers: messages that were never delivered in this life of the process
//! ("fresh"), in order.
//!
//! ```text
//!   settled or out      window: resolved        extents only
//!  ───────────────┬──────────────────────┬──────────────────────►
//!             dispatched              resolved              next_seq
//! ```
//! At the tail, `apply` pushes straight into the window. A backlog is resolved later, with the
//! blocks' directories.

use super::index::{Extent, Index, SettledIn};
use crate::cache::Cache;
use crate::directory::Entry;
use bowline_model::{Lsn, QueueId};
use std::collections::VecDeque;

/// Where a message lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MessageRef {
    /// Its number; of a volatile message, the number of the durable message that comes behind it.
    pub seq: u64,
    pub lsn: Lsn,
    pub offset: u32,
    /// Length of the record, bytes.
    pub len: u32,
}

/// The window takes this many when somebody is ready to consume …
pub(crate) const WINDOW_MAX: usize = 4096;
/// … this many when all consumers are busy: enough to go on at once; and none when there are no consumers.
pub(crate) const WINDOW_BUSY_MAX: usize = 256;
/// Messages resolved from the index at a time.
const REFILL: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Fresh {
    window: VecDeque<MessageRef>,
    /// Fresh messages below were handed out (or are settled).
    dispatched: u64,
    /// Fresh messages below are in the window or were handed out.
    resolved: u64,
    /// Live messages at or above `dispatched`.
    ready: u64,
}

/// What the window has to say about the next fresh message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Peek {
    /// It is this one.
    Ready(MessageRef),
    /// It is in a block that is not in memory.
    Missing(Lsn),
    /// The block does not hold what the index says it does.
    Inconsistent(Lsn),
    None,
}

impl Fresh {
    /// All live messages of `index` are fresh (a restart).
    pub fn rebuilt(index: &Index) -> Fresh {
        Fresh { ready: index.live(), ..Fresh::default() }
    }

    pub fn ready(&self) -> u64 {
        self.ready
    }

    /// All messages below were handed out, or are settled.
    #[inline]
    pub fn dispatched(&self) -> u64 {
        self.dispatched
    }

    /// Message `message.seq` was just appended to the index. The window may hold `room`.
    #[inline]
    pub fn push(&mut self, message: MessageRef, room: usize) {
        self.ready += 1;
        if self.resolved == message.seq && self.window.len() < room {
            self.window.push_back(message);
            self.resolved = message.seq + 1;
        }
    }

    /// The message that was pushed last is none after all, and will be settled with its block.
    pub fn unpush(&mut self, seq: u64) {
        self.ready -= 1;
        if self.window.back().is_some_and(|message| message.seq == seq) {
            self.window.pop_back();
        }
    }

    /// The number of the next fresh message.
    #[inline]
    pub fn next_seq(&self, index: &Index) -> Option<u64> {
        match self.window.front() {
            Some(message) => Some(message.seq),
            None if self.ready == 0 => None,
            None => index.first_live(self.resolved),
        }
    }

    /// The next fresh message; resolves some more when the window is empty.
    #[inline]
    pub fn peek(&mut self, id: QueueId, index: &Index, cache: &mut Cache) -> Peek {
        match self.window.front() {
            Some(message) => Peek::Ready(*message),
            None if self.ready == 0 => Peek::None,
            None => self.refill(id, index, cache),
        }
    }

    /// Takes what [`Fresh::peek`] showed.
    #[inline]
    pub fn take(&mut self) {
        if let Some(message) = self.window.pop_front() {
            self.dispatched = message.seq + 1;
            self.ready -= 1;
        }
    }

    /// Passes over the next fresh message, `seq`, of which perhaps only that is known.
    pub fn pass(&mut self, seq: u64) {
        if self.window.is_empty() {
            self.dispatched = seq + 1;
            self.resolved = self.resolved.max(seq + 1);
            self.ready -= 1;
        } else {
            debug_assert_eq!(self.window.front().map(|message| message.seq), Some(seq));
            self.take();
        }
    }

    /// From which number on messages are known by the index only; `None` if none are.
    pub fn unresolved(&self) -> Option<u64> {
        (self.ready > self.window.len() as u64).then_some(self.resolved)
    }

    /// Passes over all that is fresh: from which number, and how many it was.
    pub fn skip_all(&mut self, index: &Index) -> (u64, u64) {
        let skipped = (self.dispatched, self.ready);
        self.dispatched = index.next_seq();
        self.resolved = index.next_seq();
        self.ready = 0;
        self.window.clear();
        self.relax();
        skipped
    }

    /// Messages from `first` to `to` (exclusive) are about to be settled by the log without having been handed
    /// out here: on replay, or by another node's consumers.
    pub fn settling(&mut self, first: u64, to: u64, index: &Index) {
        if to <= self.dispatched {
            return;
        }
        self.ready -= index.live_between(first.max(self.dispatched), to);
        if !self.window.is_empty() {
            self.window.clear();
            self.resolved = self.dispatched;
        }
    }

    /// Messages from `from` to `to` (exclusive) lie elsewhere now: what was resolved of them is resolved anew.
    pub fn relocated(&mut self, from: u64, to: u64) {
        if let (Some(first), Some(last)) = (self.window.front(), self.window.back())
            && first.seq < to
            && from <= last.seq
        {
            self.window.clear();
            self.resolved = self.dispatched;
        }
    }

    /// Gives memory back after a burst.
    pub fn relax(&mut self) {
        if self.window.is_empty() && self.window.capacity() > 2 * WINDOW_BUSY_MAX {
            self.window = VecDeque::new();
        }
    }

    #[cold]
    fn refill(&mut self, id: QueueId, index: &Index, cache: &mut Cache) -> Peek {
        let mut i = index.position(self.resolved);
        while let Some(extent) = index.extent(i) {
            if extent.live > 0 {
                let Some(directory) = cache.directory(extent.lsn) else { return Peek::Missing(extent.lsn) };
                let entries = directory.of(id);
                // There may be more: the block's first messages may have come before the queue was created in it.
                let Some(before) = entries.len().checked_sub(extent.count as usize) else {
                    return Peek::Inconsistent(extent.lsn);
                };
                let entries = &entries[before..];
                self.resolve(extent, index.settled_in(extent), entries);
            }
            if let Some(message) = self.window.front() {
                return Peek::Ready(*message);
            }
            i += 1;
        }
        debug_assert_eq!(self.ready, 0, "fresh messages are in the index");
        self.resolved = index.next_seq();
        Peek::None
    }

    /// Moves up to [`REFILL`] messages of `extent` into the window, which is empty.
    fn resolve(&mut self, extent: &Extent, settled: SettledIn<'_>, entries: &[Entry]) {
        let from = self.resolved.max(extent.first);
        self.resolved = extent.end();
        for (seq, entry) in (from..).zip(&entries[(from - extent.first) as usize..]) {
            if settled.contains(seq) {
                continue;
            }
            if self.window.len() == REFILL {
                self.resolved = seq;
                return;
            }
            self.window.push_back(MessageRef { seq, lsn: extent.lsn, offset: entry.offset, len: entry.len });
        }
    }
}
