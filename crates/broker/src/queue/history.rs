//! The queue behind an `x-recent-history` exchange gives copies of what it holds to whatever is bound there.
//!
//! What to copy is settled once everything that was asked before is applied (a record that means nothing goes
//! through the log for it); then blocks are read as they are needed, some messages a round. Nothing here changes
//! the queue, and nothing is durable: after a crash in between, a binding is there without the history.

use super::dispatch::Dispatch;
use super::{Queue, Queues};
use crate::effects::{Copies, Effects};
use crate::proposal::{Proposals, Provisioned};
use bowline_model::event::MetaEvent;
use bowline_model::meta::Destination;
use bowline_model::record::{self, Kind};
use bowline_model::{BlockRef, Lsn, QueueId};
use std::collections::VecDeque;

/// Copies of one queue in one round.
const COPIES_MAX: usize = 1024;
/// Bytes of their records, unless one alone is larger.
const COPIES_BYTES_MAX: usize = 4 << 20;

/// A copy under way.
#[derive(Debug)]
pub(crate) struct Copying {
    to: Destination,
    /// Whom to tell when it is done.
    ticket: u64,
    /// Oldest first.
    left: VecDeque<Remembered>,
}

#[derive(Debug)]
enum Remembered {
    /// In the log, under that number.
    Logged(u64),
    /// In memory; as in [`super::window::MessageRef`].
    Volatile(BlockRef, u32, u32),
}

enum Found {
    At(BlockRef, u32, u32),
    /// In a block that has to be read.
    In(Lsn),
    Gone,
}

impl Queues {
    /// Copies what the queue `history` holds as soon as all that was asked before has been applied.
    pub fn copy_history(
        &mut self,
        history: QueueId,
        to: Destination,
        ticket: u64,
        proposals: &mut Proposals,
    ) {
        let mut nothing = Vec::new();
        record::put(&mut nothing, Kind::Noop, &[]);
        proposals.provision(nothing, Provisioned::CopyHistory { history, to, ticket });
    }

    /// Everything that was asked before is applied.
    pub fn begin_copy(&mut self, history: QueueId, to: Destination, ticket: u64, fx: &mut Effects) {
        let Some(at) = self.find(history) else {
            fx.meta.push(MetaEvent::HistoryCopied { ticket });
            return;
        };
        let Some(queue) = self.slots[at.slot as usize].as_deref_mut() else { return };
        let mut left = VecDeque::new();
        // A message in memory comes before the logged one whose number it bears.
        let mut memory = queue.volatile.iter().peekable();
        let mut remember = |upto: u64, left: &mut VecDeque<Remembered>| {
            while let Some(message) = memory.next_if(|message| message.seq <= upto) {
                let block = self.volatile.block(message.lsn).cloned();
                left.extend(block.map(|block| Remembered::Volatile(block, message.offset, message.len)));
            }
        };
        let mut next = queue.index.first_live(queue.reach());
        while let Some(seq) = next {
            remember(seq, &mut left);
            left.push_back(Remembered::Logged(seq));
            next = queue.index.first_live(seq + 1);
        }
        remember(u64::MAX, &mut left);
        // What is one too many leaves when the queue is looked at next.
        let length = queue.spec.settings.max_length.map_or(usize::MAX, |length| length as usize);
        left.drain(..left.len().saturating_sub(length));
        queue.special().copying.push_back(Copying { to, ticket, left });
        Queues::mark(&mut self.dirty, queue);
    }
}

impl Queue {
    /// It is going: nobody shall wait for its copies.
    pub(super) fn abandon_copies(&mut self, fx: &mut Effects) {
        let copying = self.special.iter_mut().flat_map(|special| special.copying.drain(..));
        fx.meta.extend(copying.map(|copying| MetaEvent::HistoryCopied { ticket: copying.ticket }));
    }
}

impl Dispatch<'_> {
    /// Hands copies to the router, as far as their blocks are at hand.
    pub(super) fn copy(&mut self, queue: &mut Queue) {
        let (mut copied, mut bytes) = (0, 0);
        while copied < COPIES_MAX
            && bytes < COPIES_BYTES_MAX
            && let Some(mut copying) = queue.special().copying.pop_front()
        {
            let mut messages = Vec::new();
            let mut missing = None;
            while copied < COPIES_MAX
                && bytes < COPIES_BYTES_MAX
                && let Some(next) = copying.left.front()
            {
                let found = match next {
                    Remembered::Volatile(block, offset, len) => Found::At(block.clone(), *offset, *len),
                    Remembered::Logged(seq) => self.find_remembered(queue, *seq),
                };
                match found {
                    Found::At(block, offset, len) => {
                        copied += 1;
                        bytes += len as usize;
                        messages.push((block, offset));
                    }
                    Found::In(lsn) if !self.cache.is_unreadable(lsn) => {
                        missing = Some(lsn);
                        break;
                    }
                    // The log has told of the damage; a binding should not wait for ever.
                    Found::In(_) | Found::Gone => {}
                }
                copying.left.pop_front();
            }
            let is_done = copying.left.is_empty();
            let to = copying.to.clone();
            let ticket = is_done.then_some(copying.ticket);
            if !is_done {
                queue.special().copying.push_front(copying);
            }
            let vhost = queue.spec.vhost.clone();
            self.fx.copies.push(Copies { history: queue.at.id, vhost, to, messages, ticket });
            if let Some(lsn) = missing {
                return self.read(queue, lsn);
            }
        }
    }

    fn find_remembered(&mut self, queue: &Queue, seq: u64) -> Found {
        let extent = queue.index.extent(queue.index.position(seq));
        let Some(extent) = extent.filter(|extent| extent.live > 0 && extent.first <= seq) else {
            return Found::Gone;
        };
        if queue.index.settled_in(extent).contains(seq) {
            return Found::Gone;
        }
        let (nth, count) = ((seq - extent.first) as usize, extent.count as usize);
        let Some(directory) = self.cache.directory(extent.lsn) else { return Found::In(extent.lsn) };
        let entries = directory.of(queue.at.id);
        let Some(entry) = entries.len().checked_sub(count).map(|before| entries[before + nth]) else {
            return Found::Gone;
        };
        match self.cache.get(extent.lsn) {
            Some(block) => Found::At(block.clone(), entry.offset, entry.len),
            None => Found::In(extent.lsn),
        }
    }
}
