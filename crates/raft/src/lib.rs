//! The consensus border: what the rest of Bowline asks of replication, and the single node behind it.
//!
//! A shard is one Raft group; an entry is one block. The owner of a shard proposes blocks in order and hears
//! of commits in the same order, through the callback that the log was started with. Terms and indexes are
//! Raft's: dense, from 1. A single node is a group with an immediate majority of one, so "durable here" is
//! "committed". `docs/decisions/0002-replication-border.md` tells how a consensus engine takes this place.
//!
//! Not here: what entries mean (`bowline-broker`), where they lie (`bowline-storage`).

use bowline_model::{AlignedBuf, Lsn, Millis, ShardId};
use bowline_storage::{Append, AppendError, Log};

/// A block to replicate.
pub struct Entry {
    /// "Now", for whoever applies it.
    pub stamp: Millis,
    pub n_records: u32,
    pub buf: AlignedBuf,
}

/// A term and an index name an entry for good.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Slot {
    pub term: u64,
    pub index: u64,
}

/// One shard's replication, as its owner uses it.
pub trait Replication: Send {
    /// Appends an entry. It is committed when the commit callback hands its block over; entries of a shard
    /// commit in the order of their proposal or, if leadership is lost, never.
    ///
    /// # Errors
    /// [`AppendError`] when the log cannot take it; nothing was appended then.
    fn propose(&mut self, entry: Entry) -> Result<Slot, AppendError>;

    /// As [`Replication::propose`], by an owner that has nothing else to do: the entry may wait for
    /// [`Replication::release`], which must follow soon.
    ///
    /// # Errors
    /// As [`Replication::propose`].
    fn propose_held(&mut self, entry: Entry) -> Result<Slot, AppendError> {
        self.propose(entry)
    }

    /// Lets go of what is held. The commit callback may be called before this returns.
    fn release(&mut self) {}

    /// The index that has to be applied before a read may be answered as if it had happened now.
    fn read_barrier(&self) -> u64;

    /// The last entry proposed.
    fn last(&self) -> Slot;

    /// Everything up to `index` is in a durable snapshot; the log may drop it.
    fn compacted(&mut self, index: u64);

    /// Where a block proposed from now on will lie at the earliest.
    fn position(&self) -> Lsn;
}

/// A group of one.
pub struct SingleNode {
    log: Log,
    shard: ShardId,
    last: Slot,
    /// Something was appended that no writer was woken for.
    held: bool,
}

impl SingleNode {
    /// `recovered`: the last entry of this shard that the log or the checkpoint knows. A start begins a
    /// new term, as an election would.
    pub fn new(log: Log, shard: ShardId, recovered: Slot) -> SingleNode {
        SingleNode {
            log,
            shard,
            last: Slot { term: recovered.term + 1, index: recovered.index },
            held: false,
        }
    }

    fn place(&mut self, entry: Entry, hold: bool) -> Result<Slot, AppendError> {
        let slot = Slot { term: self.last.term, index: self.last.index + 1 };
        let append = Append {
            shard: self.shard,
            term: slot.term,
            index: slot.index,
            stamp: entry.stamp,
            n_records: entry.n_records,
            buf: entry.buf,
            essential: true,
        };
        if hold {
            self.log.append_held(append)?
        } else {
            self.log.append(append)?
        };
        self.held |= hold;
        self.last = slot;
        Ok(slot)
    }
}

impl Replication for SingleNode {
    fn propose(&mut self, entry: Entry) -> Result<Slot, AppendError> {
        self.place(entry, false)
    }

    fn propose_held(&mut self, entry: Entry) -> Result<Slot, AppendError> {
        self.place(entry, true)
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            self.log.write_here();
        }
    }

    fn read_barrier(&self) -> u64 {
        self.last.index
    }

    fn last(&self) -> Slot {
        self.last
    }

    fn compacted(&mut self, index: u64) {
        self.log.purge_prefix(self.shard, index);
    }

    fn position(&self) -> Lsn {
        self.log.position()
    }
}
