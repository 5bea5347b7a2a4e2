//! Messages that were moved here from a queue of another shard: see [`bowline_model::transferred`].

use super::Queues;
use bowline_model::QueueId;
use bowline_model::record::{self, Kind};

impl Queues {
    /// Applies a Transferred record: names of `source` below `upto` are not used again.
    pub fn apply_transferred(&mut self, source: QueueId, upto: u64) {
        for special in self.slots.iter_mut().flatten().filter_map(|queue| queue.special.as_deref_mut()) {
            special.kept.transferred.forget(source.0, upto);
        }
    }

    /// Which messages of `queue` the log says are gone: all below.
    pub(crate) fn settled_below(&self, queue: QueueId) -> Option<u64> {
        let index = &self.queue(queue)?.index;
        Some(index.first_live(0).unwrap_or(index.next_seq()))
    }
}

/// A Transferred record.
pub(crate) fn transferred(source: QueueId, upto: u64) -> Vec<u8> {
    let mut out = Vec::new();
    record::put_value(&mut out, Kind::Transferred, &(source, upto));
    out
}
