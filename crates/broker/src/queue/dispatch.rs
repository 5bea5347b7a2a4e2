//! Ready messages meet consumers.
//!
//! A round serves every queue in which something changed. Within a queue: first parked gets, then consumers round
//! robin, one message each, until messages, credit, delivery windows, the horizon or resident blocks run out.
//! Whatever ends the round for a queue also brings it back: new messages, settles, `Drained`, a committed horizon
//! or a block that was read all mark it dirty.

use super::consumers::Consumers;
use super::deadlines::Deadlines;
use super::death::{block_of, body_bytes};
use super::housekeeping::Listed;
use super::lanes::Spot;
use super::settle::leave;
use super::timers::Timers;
use super::unacked::Unsettled;
use super::volatile::VolatileStore;
use super::window::{MessageRef, Peek};
use super::{Extent, Get, Queue, QueueRef, Queues};
use crate::cache::{Cache, Reader};
use crate::effects::{Effects, Happened};
use crate::session::Sessions;
use bowline_model::event::{Delivery, Event, Got};
use bowline_model::record::SettleReason;
use bowline_model::{Lsn, Millis};

/// One read brings at most this much of the log for a queue, bytes.
const READ_AHEAD: u64 = 1024 * 1024;
/// So many extents are looked at to see how far reading ahead is of use.
const READ_AHEAD_EXTENTS: usize = 256;
/// A queue that works off a backlog keeps this many extents resident ahead of its window.
const RESIDENT_AHEAD: usize = 16;
/// Messages removed in one round by what queues enforce: others have to be served, too. What is left is for the next
/// round, at once.
const REMOVALS_MAX: u32 = 4096;

impl Queues {
    /// Makes deliveries: one event per session.
    pub fn dispatch(&mut self, now: Millis, cache: &mut Cache, fx: &mut Effects) {
        let mut round = std::mem::take(&mut self.dirty);
        let mut removals_left = REMOVALS_MAX;
        let time_of_log = self.time_of_log(now);
        for at in round.drain(..) {
            let Some(queue) = self.slots[at.slot as usize].as_deref_mut().filter(|q| q.at == at) else {
                continue;
            };
            queue.dirty = false;
            let mut dispatch = Dispatch {
                now,
                time_of_log,
                removals_left,
                late: &mut self.late,
                copies: &mut self.copies,
                timers: &mut self.timers,
                deadlines: &mut self.deadlines,
                blocked: false,
                sessions: &mut self.sessions,
                consumers: &mut self.consumers,
                volatile: &mut self.volatile,
                housekeeping: &mut self.housekeeping,
                unreadable: &mut self.unreadable,
                cache: &mut *cache,
                fx: &mut *fx,
            };
            if queue.special.is_some() && !queue.dropping {
                dispatch.serve_special(queue);
                removals_left = dispatch.removals_left;
            } else if !queue.dropping {
                dispatch.serve(queue);
            }
        }
        debug_assert!(self.dirty.is_empty());
        self.dirty = round;
        self.sessions.flush(fx);
        fx.events.append(&mut self.told);
        if !self.peekers.is_empty() {
            self.serve_peekers(cache, fx);
        }
    }

    /// A read that the queue waited for has been answered.
    pub fn loaded(&mut self, at: QueueRef) {
        if let Some(queue) = self.slots.get_mut(at.slot as usize).and_then(Option::as_deref_mut)
            && queue.at == at
        {
            queue.reading = false;
            Queues::mark(&mut self.dirty, queue);
        }
    }

    /// Queues that ran into an unreadable block try again.
    pub fn retry_unreadable(&mut self) {
        for at in std::mem::take(&mut self.unreadable) {
            if let Some(queue) = self.slots[at.slot as usize].as_deref_mut().filter(|q| q.at == at) {
                queue.unreadable = false;
                Queues::mark(&mut self.dirty, queue);
            }
        }
    }
}

/// All that dispatch touches besides the queue.
pub(super) struct Dispatch<'a> {
    pub(super) now: Millis,
    /// What waits until then may be released.
    pub(super) time_of_log: Millis,
    pub(super) late: &'a mut Vec<QueueRef>,
    pub(super) copies: &'a mut Vec<Vec<u8>>,
    /// So many messages may yet be removed in this round by what queues enforce.
    pub(super) removals_left: u32,
    pub(super) timers: &'a mut Timers,
    pub(super) deadlines: &'a mut Deadlines,
    /// The queue has a message that cannot be handed out yet. Kept for queues that enforce something.
    pub(super) blocked: bool,
    pub(super) sessions: &'a mut Sessions,
    pub(super) consumers: &'a mut Consumers,
    pub(super) volatile: &'a mut VolatileStore,
    pub(super) housekeeping: &'a mut Listed,
    pub(super) unreadable: &'a mut Vec<QueueRef>,
    pub(super) cache: &'a mut Cache,
    pub(super) fx: &'a mut Effects,
}

/// The message whose turn it is.
#[derive(Clone, Copy)]
pub(super) enum Next {
    Message {
        message: MessageRef,
        source: Source,
        redelivered: bool,
    },
    Nothing,
    /// There is one, but it cannot be handed out yet.
    Blocked,
}

#[derive(Clone, Copy)]
pub(super) enum Source {
    Returned,
    Volatile,
    Fresh,
    /// Of that priority, and there.
    Lane(u8, Spot),
}

impl Dispatch<'_> {
    pub(super) fn serve(&mut self, queue: &mut Queue) {
        let before = queue.reach();
        if self.serve_gets(queue) {
            self.serve_consumers(queue);
        }
        if queue.reach() != before {
            self.housekeeping.reserve(queue, queue.reach(), false);
            self.read_ahead(queue);
            queue.fresh.relax();
        }
    }

    fn serve_consumers(&mut self, queue: &mut Queue) {
        let mut delivered = false;
        while let Some(at) = queue.ring.front() {
            let Some(consumer) = self.consumers.get_mut(at).filter(|c| c.active) else {
                queue.ring.pop_front();
                continue;
            };
            debug_assert!(consumer.in_ring);
            if !consumer.has_credit() || consumer.passive {
                consumer.in_ring = false;
                queue.ring.pop_front();
                continue;
            }
            let Next::Message { message, source, redelivered } = self.next(queue) else { return };
            let Some(consumer) = self.consumers.get_mut(at) else { return };
            let session = &mut self.sessions[consumer.session];
            if !session.has_room(message.len) {
                session.stall(at, !delivered);
                consumer.stalled = true;
                consumer.in_ring = false;
                queue.ring.pop_front();
                continue;
            }
            let (acquired, failures) = queue.counts_of(&message);
            let delivery = Delivery {
                consumer: consumer.id,
                number: consumer.unacked.next_number(),
                redelivered,
                acquired,
                failures,
                block: 0,
                offset: message.offset,
                len: message.len,
            };
            let block = || block_of(self.volatile, self.cache, message.lsn).cloned();
            if !self.sessions.deliver(consumer.session, message.lsn, delivery, block) {
                return self.read(queue, message.lsn);
            }
            delivered = true;
            take(queue, source, &message, self.volatile);
            if queue.special.is_some() {
                let told = Told { tag: &consumer.tag, redelivered, no_ack: consumer.no_ack };
                handed_out(queue, &message, told, self.volatile);
            }
            let entry = Unsettled { message, queue: queue.at };
            if consumer.no_ack {
                consumer.unacked.push_settled(entry);
                leave(queue, message, SettleReason::Acked, self.volatile, self.housekeeping);
            } else {
                if let Some(held) = &mut consumer.held {
                    held.delivered(at, consumer.unacked.next_number(), self.now, self.deadlines);
                }
                consumer.unacked.push(entry);
                queue.unacked += 1;
            }
            if consumer.has_credit() {
                queue.ring.rotate();
            } else {
                consumer.in_ring = false;
                queue.ring.pop_front();
            }
        }
    }

    /// Answers parked gets. False if one has to wait; consumers wait with it, as it came first.
    fn serve_gets(&mut self, queue: &mut Queue) -> bool {
        while let Some(&(at, Get { token, no_ack })) = queue.gets.front() {
            if self.consumers.get(at).is_none() {
                queue.gets.pop_front();
                continue;
            }
            let got = match self.next(queue) {
                Next::Message { message, source, redelivered } => {
                    let Some(block) = block_of(self.volatile, self.cache, message.lsn).cloned() else {
                        self.read(queue, message.lsn);
                        return false;
                    };
                    take(queue, source, &message, self.volatile);
                    let Some(consumer) = self.consumers.get_mut(at) else { return false };
                    let (acquired, failures) = queue.counts_of(&message);
                    let delivery = Delivery {
                        consumer: consumer.id,
                        number: consumer.unacked.next_number(),
                        redelivered,
                        acquired,
                        failures,
                        block: 0,
                        offset: message.offset,
                        len: message.len,
                    };
                    if queue.special.is_some() {
                        let told = Told { tag: &consumer.tag, redelivered, no_ack };
                        handed_out(queue, &message, told, self.volatile);
                    }
                    let entry = Unsettled { message, queue: queue.at };
                    if no_ack {
                        consumer.unacked.push_settled(entry);
                        leave(queue, message, SettleReason::Acked, self.volatile, self.housekeeping);
                    } else {
                        consumer.unacked.push(entry);
                        queue.unacked += 1;
                    }
                    Some(Got { delivery, block, remaining: queue.ready() })
                }
                Next::Nothing => None,
                // There is no answer for "it cannot be read now"; better none than to hang the channel.
                Next::Blocked if queue.unreadable => None,
                Next::Blocked => return false,
            };
            queue.gets.pop_front();
            if let Some(consumer) = self.consumers.get(at) {
                let session = self.sessions[consumer.session].id;
                self.fx.event(session, Event::Got { token, result: Ok(got) });
            }
        }
        true
    }

    /// The message with the lowest place.
    #[inline]
    fn next(&mut self, queue: &mut Queue) -> Next {
        if queue.special.is_some() { self.next_alive(queue) } else { self.next_ready(queue) }
    }

    #[inline]
    pub(super) fn next_ready(&mut self, queue: &mut Queue) -> Next {
        if let Some(&message) = queue.returned.peek() {
            return match self.whereabouts(queue, message) {
                Some(message) => Next::Message { message, source: Source::Returned, redelivered: true },
                None => Next::Blocked,
            };
        }
        if let Some(&message) = queue.volatile.front()
            && queue.fresh.next_seq(&queue.index).is_none_or(|seq| message.seq <= seq)
        {
            return Next::Message { message, source: Source::Volatile, redelivered: false };
        }
        match queue.fresh.peek(queue.at.id, &queue.index, self.cache) {
            Peek::Ready(message) if !queue.survives || queue.horizon.covers(message.seq) => {
                let redelivered = queue.horizon.is_suspect(message.seq);
                Next::Message { message, source: Source::Fresh, redelivered }
            }
            Peek::Ready(message) => {
                queue.horizon.ran_out();
                self.housekeeping.reserve(queue, message.seq, true);
                Next::Blocked
            }
            Peek::None => Next::Nothing,
            Peek::Missing(lsn) => {
                self.read(queue, lsn);
                Next::Blocked
            }
            Peek::Inconsistent(lsn) => {
                self.lost(queue, lsn);
                Next::Blocked
            }
        }
    }

    /// The first returned message as it can be had now. `None`: its block has to be read first.
    #[inline]
    fn whereabouts(&mut self, queue: &mut Queue, message: MessageRef) -> Option<MessageRef> {
        if queue.relocated && !message.lsn.is_volatile() {
            self.relocated(queue, message)
        } else {
            Some(message)
        }
    }

    #[cold]
    fn relocated(&mut self, queue: &mut Queue, message: MessageRef) -> Option<MessageRef> {
        let found = self.locate(queue, message)?;
        if found.lsn != message.lsn {
            queue.returned.correct(found);
        }
        Some(found)
    }

    /// A message that is out of the index' hands, as it can be had now. `None`: its block has to be read first, or
    /// cannot be.
    pub(super) fn locate(&mut self, queue: &mut Queue, message: MessageRef) -> Option<MessageRef> {
        if !queue.relocated || message.lsn.is_volatile() {
            return Some(message);
        }
        let holds = |extent: &&Extent| extent.live > 0 && extent.first <= message.seq;
        let extent = queue.index.extent(queue.index.position(message.seq)).filter(holds);
        debug_assert!(extent.is_some(), "what came back is live");
        let Some(extent) = extent.filter(|extent| extent.lsn != message.lsn) else { return Some(message) };
        let (lsn, nth, count) = (extent.lsn, (message.seq - extent.first) as usize, extent.count as usize);
        let Some(directory) = self.cache.directory(lsn) else {
            self.read(queue, lsn);
            return None;
        };
        let entries = directory.of(queue.at.id);
        let Some(entry) = entries.len().checked_sub(count).map(|before| entries[before + nth]) else {
            self.lost(queue, lsn);
            return None;
        };
        Some(MessageRef { lsn, offset: entry.offset, len: entry.len, ..message })
    }

    /// Has the block at `lsn` read, and what the queue needs next behind it.
    #[cold]
    pub(super) fn read(&mut self, queue: &mut Queue, lsn: Lsn) {
        if queue.reading {
            return;
        }
        if self.cache.is_unreadable(lsn) {
            return self.give_up(queue);
        }
        queue.reading = true;
        let span = useful_span(queue, lsn);
        self.cache.want(Reader::Queue(queue.at), lsn, span, self.fx);
        if let Some(special) = &mut queue.special {
            special.read_last = lsn;
        }
    }

    /// The block does not hold what the index says.
    #[cold]
    pub(super) fn lost(&mut self, queue: &mut Queue, lsn: Lsn) {
        self.cache.set_unreadable(lsn);
        self.give_up(queue);
    }

    /// Leaves the queue alone for a while: its next message cannot be had.
    #[cold]
    fn give_up(&mut self, queue: &mut Queue) {
        if !std::mem::replace(&mut queue.unreadable, true) {
            self.unreadable.push(queue.at);
        }
    }

    /// A queue that works off a backlog should not have to stop for its next block.
    fn read_ahead(&mut self, queue: &mut Queue) {
        if queue.reading || queue.unreadable {
            return;
        }
        let Some(resolved) = queue.fresh.unresolved() else { return };
        let first = queue.index.position(resolved);
        let missing = (first..first + RESIDENT_AHEAD)
            .map_while(|i| queue.index.extent(i))
            .find(|extent| extent.live > 0 && !self.cache.contains(extent.lsn));
        if let Some(lsn) = missing.map(|extent| extent.lsn)
            && !self.cache.is_unreadable(lsn)
        {
            self.read(queue, lsn);
        }
    }
}

/// How much of the log from `lsn` on holds what the queue wants next, bytes.
fn useful_span(queue: &Queue, lsn: Lsn) -> u32 {
    let Some(resolved) = queue.fresh.unresolved() else {
        // What comes by priority or by time is found all over the log. If that is near what was read last, so is the
        // next.
        let last = queue.special.as_deref().map(|special| special.read_last.0);
        let is_near = last.is_some_and(|last| lsn.0 > last && lsn.0 - last <= 2 * READ_AHEAD);
        return if is_near { READ_AHEAD as u32 } else { 1 };
    };
    let first = queue.index.position(resolved);
    let last = (first..first + READ_AHEAD_EXTENTS)
        .map_while(|i| queue.index.extent(i))
        .filter(|extent| extent.live > 0 && extent.lsn >= lsn)
        .take_while(|extent| extent.lsn.0 - lsn.0 < READ_AHEAD)
        .last();
    last.map_or(1, |extent| (extent.lsn.0 - lsn.0) as u32 + 1)
}

/// How a message is handed out.
struct Told<'a> {
    tag: &'a [u8],
    redelivered: bool,
    no_ack: bool,
}

/// A queue that is traced tells of it.
#[cold]
fn handed_out(queue: &mut Queue, message: &MessageRef, told: Told<'_>, volatile: &VolatileStore) {
    if !queue.is_traced() {
        return;
    }
    let Told { tag, redelivered, no_ack } = told;
    let attempt = queue.spec.settings.counts_deliveries.then(|| queue.counts_of(message).0.saturating_add(1));
    queue.tell(message, volatile, Happened::Delivered { tag: tag.into(), redelivered, attempt });
    if no_ack {
        queue.tell(message, volatile, Happened::Acked);
    }
}

/// A queue that enforces something keeps count.
#[cold]
fn took(queue: &mut Queue, source: Source, message: &MessageRef, volatile: &VolatileStore) {
    let bytes = body_bytes(queue, message, volatile);
    let special = queue.special();
    special.took(bytes);
    if !special.unseen.is_empty() {
        special.unseen.remove(&volatile.place(message));
    }
    if matches!(source, Source::Volatile) {
        special.offered_volatile = special.offered_volatile.saturating_sub(1);
    }
}

#[inline]
pub(super) fn take(queue: &mut Queue, source: Source, message: &MessageRef, volatile: &VolatileStore) {
    if queue.special.is_some() {
        took(queue, source, message, volatile);
    }
    match source {
        Source::Returned => queue.returned.take(),
        Source::Volatile => drop(queue.volatile.pop_front()),
        Source::Fresh => queue.fresh.pass(message.seq),
        Source::Lane(level, spot) => {
            if let Some(lanes) = queue.lanes() {
                lanes.take(level, spot);
            }
        }
    }
}
