//! Messages that live in memory only, until they are settled or the process ends.
//!
//! A session's batch is kept as one block under a slot; its messages are referred to like any others, by
//! `(lsn, offset, len)` with a volatile [`Lsn`]. The block goes when its last message in its last queue has gone.
//! Memory is counted in whole batches, because that is what one forgotten message holds, with an allowance for each
//! message's references.

use super::returned::Place;
use super::window::MessageRef;
use bowline_model::record::{self, Extras, Publish};
use bowline_model::{Block, BlockRef, Lsn, Millis, ShardId};
use bytes::Bytes;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct VolatileStore {
    slots: Vec<Slot>,
    free: Vec<u32>,
    bytes: usize,
    bytes_max: usize,
    /// Numbers batches in order of arrival.
    next_batch: u64,
}

#[derive(Debug)]
struct Slot {
    block: Option<BlockRef>,
    batch: u64,
    /// Messages times queues that are not settled yet.
    live: u32,
    cost: usize,
}

impl VolatileStore {
    pub fn new(bytes_max: usize) -> VolatileStore {
        VolatileStore { slots: Vec::new(), free: Vec::new(), bytes: 0, bytes_max, next_batch: 1 }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a batch would stay within the budget. Batches are counted when they are stored and while they wait
    /// for their turn.
    pub fn has_room(&self, cost: usize) -> bool {
        self.bytes + cost <= self.bytes_max
    }

    /// Counts a batch that waits outside. Undone by [`VolatileStore::unreserve`].
    pub fn reserve(&mut self, cost: usize) {
        self.bytes += cost;
    }

    pub fn unreserve(&mut self, cost: usize) {
        self.bytes -= cost;
    }

    /// Keeps a batch. The caller holds it by one live message until it has enqueued them all, and then calls
    /// [`VolatileStore::release`] for it.
    pub fn store(&mut self, shard: ShardId, stamp: Millis, payload: Bytes, cost: usize) -> BlockRef {
        self.bytes += cost;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { block: None, batch: 0, live: 0, cost: 0 });
            self.slots.len() as u32 - 1
        });
        let lsn = Lsn::volatile(slot);
        let block = Arc::new(Block { lsn, shard, term: 0, index: 0, stamp, payload });
        let kept = Some(block.clone());
        self.slots[slot as usize] = Slot { block: kept, batch: self.next_batch, live: 1, cost };
        self.next_batch += 1;
        block
    }

    /// One more message in one more queue refers to the batch.
    #[inline]
    pub fn hold(&mut self, lsn: Lsn) {
        self.slots[slot(lsn)].live += 1;
    }

    /// One message in one queue is settled.
    #[inline]
    pub fn release(&mut self, lsn: Lsn) {
        let entry = &mut self.slots[slot(lsn)];
        entry.live -= 1;
        if entry.live == 0 {
            entry.block = None;
            self.bytes -= entry.cost;
            self.free.push(slot(lsn) as u32);
        }
    }

    /// The batch of a message that is not settled.
    #[inline]
    pub fn block(&self, lsn: Lsn) -> Option<&BlockRef> {
        self.slots.get(slot(lsn))?.block.as_ref()
    }

    /// What a message says of itself.
    pub fn extras(&self, message: &MessageRef) -> Extras {
        let block = self.block(message.lsn);
        let found = block.and_then(|block| record::at(&block.payload, message.offset).ok());
        found.and_then(|found| Publish::decode(found.body)).map_or_else(Extras::default, |found| found.extras)
    }

    /// Where a message that came back belongs.
    pub fn place(&self, message: &MessageRef) -> Place {
        let batch = if message.lsn.is_volatile() { self.slots[slot(message.lsn)].batch } else { u64::MAX };
        Place { seq: message.seq, batch, offset: message.offset }
    }
}

/// What a batch of `count` messages takes, bytes.
pub(crate) fn cost(records: &Bytes, count: u32) -> usize {
    cost_of(records.len(), count)
}

/// The same, by length.
pub(crate) fn cost_of(bytes: usize, count: u32) -> usize {
    bytes + count as usize * size_of::<MessageRef>()
}

fn slot(lsn: Lsn) -> usize {
    debug_assert!(lsn.is_volatile());
    lsn.0 as u32 as usize
}
