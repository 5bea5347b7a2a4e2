//! What a call into the shard asks of the outside. The caller performs it; on replay it is thrown away.

use bowline_model::event::{Event, MetaEvent};
use bowline_model::{Lsn, SessionId};

/// Gathered over one or many calls; the caller drains it when it likes.
#[derive(Debug, Default)]
pub struct Effects {
    /// In order for each session. Deliveries of one dispatch round are one [`Event::Deliver`] per session. A session
    /// that has closed may still be mentioned.
    pub events: Vec<(SessionId, Event)>,
    /// For the meta shard, in order.
    pub meta: Vec<MetaEvent>,
    /// Each is answered by one [`crate::Shard::loaded`].
    pub reads: Vec<Read>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.meta.is_empty() && self.reads.is_empty()
    }

    pub(crate) fn event(&mut self, session: SessionId, event: Event) {
        self.events.push((session, event));
    }
}

/// Read committed blocks back from the log: the one at `lsn` in any case, then as many of those that follow it
/// in the same segment (or cold file) as begin less than `max_bytes` behind it, at most `max_blocks` in all.
/// Blocks of other shards may be left out or handed over; they are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    pub lsn: Lsn,
    pub max_bytes: u32,
    pub max_blocks: u32,
}
