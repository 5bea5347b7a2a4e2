//! Messages move to cold files. The index is told; what was resolved before is resolved anew when its turn comes:
//! the window at once, a message that a consumer holds only if it comes back ([`super::dispatch`]). So moving costs
//! nothing per message that is out.

use super::{Extent, Queue, Queues};
use bowline_model::{Lsn, QueueId};
use std::collections::BTreeSet;

/// Taken for the size of a message of a queue that never knew (it is from a checkpoint of version 1), bytes.
const RECORD_BYTES_GUESS: u64 = 64;

impl Queues {
    /// A run of messages of queue `id` in `files` now lies where `new` says. False if that is not so any more.
    pub fn relocate(&mut self, id: QueueId, files: &BTreeSet<Lsn>, new: &[Extent]) -> bool {
        let Some(at) = self.find(id) else { return false };
        let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { return false };
        if !queue.index.relocate(files, new, &mut self.segments) {
            return false;
        }
        queue.relocated = true;
        if let (Some(first), Some(last)) = (new.first(), new.last()) {
            queue.fresh.relocated(first.first, last.end());
        }
        true
    }
}

impl Queue {
    /// Mean length of its messages' records, bytes.
    pub fn record_bytes(&self) -> u64 {
        if self.bytes == 0 { RECORD_BYTES_GUESS } else { self.bytes.div_ceil(self.index.next_seq().max(1)) }
    }
}
