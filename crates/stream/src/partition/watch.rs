//! Watches: tell a session once when one of some partitions has grown. How a fetch at the end of a partition
//! waits without asking again and again.
//!
//! How many a session may have is bounded by its front end: one per parked fetch or stream consumer.

use super::Partitions;
use crate::out::Out;
use bowline_model::event::Event;
use bowline_model::{PartitionId, SessionId, Token};

/// In a partition: whom to tell, and from which offset on.
#[derive(Clone, Copy, Debug)]
pub struct Watcher {
    pub session: SessionId,
    pub token: Token,
    pub offset: u64,
    /// It is the last stable offset that has to move.
    pub committed: bool,
}

impl Partitions {
    /// Answers by one `Event::Moved` when any of the partitions has a record (with `committed`: that readers of what is
    /// committed may have) at or above its offset; at once if one has already, or does not exist (the fetch will tell).
    /// The same token again replaces the watch.
    pub fn watch(
        &mut self,
        session: SessionId,
        token: Token,
        partitions: Vec<(PartitionId, u64)>,
        committed: bool,
        out: &mut Out,
    ) {
        self.unwatch(session, token);
        let moved = |&(id, offset): &(PartitionId, u64)| {
            let end = if committed { self.last_stable(id) } else { self.high_watermark(id) };
            end.is_none_or(|end| end > offset)
        };
        if partitions.iter().any(moved) {
            out.replies.push((session, Event::Moved { token }));
            return;
        }
        for &(id, offset) in &partitions {
            if let Some(partition) = self.by_id.get_mut(&id) {
                partition.watchers.push(Watcher { session, token, offset, committed });
            }
        }
        let ids = partitions.into_iter().map(|(id, _)| id).collect();
        self.watches.insert((session, token), ids);
    }

    /// Forgets a watch; nothing if it has been answered.
    pub fn unwatch(&mut self, session: SessionId, token: Token) {
        for id in self.watches.remove(&(session, token)).unwrap_or_default() {
            if let Some(partition) = self.by_id.get_mut(&id) {
                partition.watchers.retain(|w| (w.session, w.token) != (session, token));
                if partition.watchers.is_empty() {
                    partition.watchers = Vec::new();
                }
            }
        }
    }

    /// Forgets the session's watches.
    pub fn close_session(&mut self, session: SessionId) {
        let all = (session, Token(0))..=(session, Token(u64::MAX));
        let tokens: Vec<Token> = self.watches.range(all).map(|(&(_, token), _)| token).collect();
        for token in tokens {
            self.unwatch(session, token);
        }
    }

    /// Answers the watches of partitions that have grown since the last call. Those partitions, and those that share
    /// groups want to know of.
    pub fn finish_block(&mut self, out: &mut Out) -> Vec<PartitionId> {
        let moved = std::mem::take(&mut self.moved);
        for id in &moved {
            let Some(partition) = self.by_id.get(id) else { continue };
            let (end, last_stable) = (partition.next_offset, partition.last_stable());
            let moved = |w: &&Watcher| w.offset < if w.committed { last_stable } else { end };
            let hit: Vec<Watcher> = partition.watchers.iter().filter(moved).copied().collect();
            self.fire(&hit, out);
        }
        moved
    }

    pub(super) fn fire(&mut self, watchers: &[Watcher], out: &mut Out) {
        for watcher in watchers {
            // A request may name a partition twice.
            if self.watches.contains_key(&(watcher.session, watcher.token)) {
                self.unwatch(watcher.session, watcher.token);
                out.replies.push((watcher.session, Event::Moved { token: watcher.token }));
            }
        }
    }
}
