//! Looking without taking. A *peeker* is shown what lay in the queue when it came, and then is no more. The queue knows
//! nothing of it: nothing is marked as delivered, nobody's turn changes, no horizon is reserved, no lease begins anew.
//!
//! What it is to see is planned when it comes: numbers of logged messages, as runs, and references to those in
//! memory; never more than the queue itself keeps of them. Messages that leave before their turn are passed over.
//! Blocks are read as they are needed, and what the session's delivery window does not hold waits.

use super::lanes::Lanes;
use super::window::MessageRef;
use super::{Index, Queue, QueueRef, Queues};
use crate::cache::{Cache, Reader};
use crate::effects::Effects;
use crate::session::SessionSlot;
use bowline_model::event::{Event, MessageState, Peeked, PeekedMessage, SubscribeError};
use bowline_model::request::{Peek, PeekAt};
use bowline_model::{ConsumerId, Lsn, SessionId};
use std::collections::VecDeque;

/// Messages passed or shown for one peeker in one round; what is left is for the next, at once.
const STEPS_MAX: u32 = 4096;
/// A peeker that waits for a block has what follows it read, too, bytes.
const READ_AHEAD: u32 = 256 * 1024;
/// Runs and single messages in a plan; what is beyond is not shown. Only queues in which messages take turns come
/// near it.
const PARTS_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Peekers {
    open: Vec<Peeker>,
    next_number: u64,
    /// Somebody has not come to an end, and waits for nothing.
    more: bool,
}

#[derive(Debug)]
struct Peeker {
    /// By which the cache knows it.
    number: u64,
    session: SessionSlot,
    channel: u16,
    consumer: ConsumerId,
    queue: QueueRef,
    plan: VecDeque<Part>,
    skip: u64,
    left: u64,
    /// Waits for a block.
    reading: bool,
}

/// Messages that come one after the other.
#[derive(Clone, Copy, Debug)]
struct Part {
    what: What,
    state: MessageState,
    /// They were handed out, and came back.
    returned: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Logged { first: u64, count: u64 },
    Memory(MessageRef),
}

/// Why a peeker does not go on.
enum Pause {
    /// It has seen it all.
    End,
    /// It waits for a block.
    Reading,
    /// Its session has enough for now.
    Full,
    /// Others want to be served, too.
    Turn,
}

impl Peekers {
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Somebody wants to be served though nothing happens.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// The channel of a session, or all of it, is closed.
    pub fn close(&mut self, session: SessionSlot, channel: Option<u16>) {
        self.open.retain(|p| p.session != session || channel.is_some_and(|channel| p.channel != channel));
    }

    pub fn cancel(&mut self, session: SessionSlot, consumer: ConsumerId) {
        self.open.retain(|p| p.session != session || p.consumer != consumer);
    }

    /// The block that it waited for is there, or cannot be read.
    pub fn loaded(&mut self, number: u64) {
        if let Some(peeker) = self.open.iter_mut().find(|p| p.number == number) {
            peeker.reading = false;
        }
    }
}

impl Queues {
    pub fn peek(&mut self, session: SessionId, peek: Peek, fx: &mut Effects) {
        let Peek { token, consumer, .. } = peek;
        let result = self.open_peeker(session, &peek);
        fx.event(session, Event::Subscribed { token, consumer, result });
    }

    fn open_peeker(&mut self, session: SessionId, peek: &Peek) -> Result<(), SubscribeError> {
        let at = self.find(peek.queue).ok_or(SubscribeError::NoSuchQueue)?;
        let queue = self.slots[at.slot as usize].as_deref().filter(|queue| !queue.dropping);
        let queue = queue.ok_or(SubscribeError::NoSuchQueue)?;
        let mut plan = Plan::default();
        if matches!(peek.what, PeekAt::Unacked | PeekAt::All) {
            let mut held: Vec<MessageRef> = self.consumers.held_of(at).collect();
            held.sort_unstable_by_key(|message| self.volatile.place(message));
            held.iter().for_each(|message| plan.add(message, 1, MessageState::Unacked, false));
        }
        if matches!(peek.what, PeekAt::Ready | PeekAt::All) {
            plan.add_ready(queue, peek.from.saturating_add(peek.count));
        }
        if let Some(lanes) = lanes(queue)
            && matches!(peek.what, PeekAt::Delayed | PeekAt::All)
        {
            lanes.visit_delayed(&mut |message, came_back| {
                plan.add(message, 1, MessageState::Delayed, came_back);
            });
        }
        let peekers = &mut self.peekers;
        peekers.next_number += 1;
        peekers.open.push(Peeker {
            number: peekers.next_number,
            session: self.sessions.open(session),
            channel: peek.channel,
            consumer: peek.consumer,
            queue: at,
            plan: plan.0,
            skip: peek.from,
            left: peek.count,
            reading: false,
        });
        Ok(())
    }

    /// Shows every peeker as much as can be had now.
    #[cold]
    pub(super) fn serve_peekers(&mut self, cache: &mut Cache, fx: &mut Effects) {
        self.peekers.more = false;
        for mut peeker in std::mem::take(&mut self.peekers.open) {
            if peeker.reading {
                self.peekers.open.push(peeker);
                continue;
            }
            let session = self.sessions[peeker.session].id;
            let mut messages = Vec::new();
            let pause = self.show(&mut peeker, &mut messages, cache, fx);
            let ended = matches!(pause, Pause::End);
            if ended || !messages.is_empty() {
                let peeked = Peeked { consumer: peeker.consumer, messages, ended };
                fx.event(session, Event::Peeked(peeked));
            }
            peeker.reading = matches!(pause, Pause::Reading);
            self.peekers.more |= matches!(pause, Pause::Turn);
            if !ended {
                self.peekers.open.push(peeker);
            }
        }
    }

    fn show(
        &mut self,
        peeker: &mut Peeker,
        out: &mut Vec<PeekedMessage>,
        cache: &mut Cache,
        fx: &mut Effects,
    ) -> Pause {
        let at = peeker.queue;
        let Some(queue) = self.slots[at.slot as usize].as_deref().filter(|queue| queue.at == at) else {
            return Pause::End;
        };
        for _ in 0..STEPS_MAX {
            if peeker.left == 0 {
                return Pause::End;
            }
            let Some(part) = peeker.plan.front_mut() else { return Pause::End };
            let Part { state, returned, .. } = *part;
            let (message, is_last) = match &mut part.what {
                What::Memory(message) => (*message, true),
                What::Logged { first, count } => {
                    let Some(seq) = queue.index.first_live(*first).filter(|seq| *seq < *first + *count)
                    else {
                        peeker.plan.pop_front();
                        continue;
                    };
                    *count -= seq - *first;
                    *first = seq;
                    if peeker.skip == 0 {
                        match find(&queue.index, at, seq, cache) {
                            Found::At(message) => (message, *count == 1),
                            Found::Missing(lsn) => {
                                cache.want(Reader::Peek(peeker.number), lsn, READ_AHEAD, fx);
                                return Pause::Reading;
                            }
                            Found::Unreadable { end } => {
                                let passed = (end - seq).min(*count);
                                (*first, *count) = (seq + passed, *count - passed);
                                continue;
                            }
                        }
                    } else {
                        (MessageRef { seq, lsn: Lsn(0), offset: 0, len: 0 }, *count == 1)
                    }
                }
            };
            if peeker.skip == 0 {
                let block = match message.lsn.is_volatile() {
                    true => self.volatile.block(message.lsn),
                    false => cache.get(message.lsn),
                };
                if let Some(block) = block.cloned() {
                    let session = &mut self.sessions[peeker.session];
                    if !session.has_room(message.len) {
                        return Pause::Full;
                    }
                    session.sent(message.len);
                    peeker.left -= 1;
                    let place = self.volatile.place(&message);
                    // It came back, and no client has seen it.
                    let unseen = queue.special.as_deref().is_some_and(|s| s.unseen.contains(&place));
                    out.push(shown(queue, block, &message, state, returned && !unseen));
                }
            } else {
                peeker.skip -= 1;
            }
            match &mut part.what {
                What::Logged { first, count } if !is_last => (*first, *count) = (*first + 1, *count - 1),
                _ => drop(peeker.plan.pop_front()),
            }
        }
        Pause::Turn
    }
}

fn shown(
    queue: &Queue,
    block: bowline_model::BlockRef,
    message: &MessageRef,
    state: MessageState,
    returned: bool,
) -> PeekedMessage {
    let number = (!message.lsn.is_volatile()).then_some(message.seq);
    let (acquired, failures) = queue.counts_of(message);
    let is_suspect = number.is_some_and(|seq| queue.horizon.is_suspect(seq));
    let redelivered = returned || acquired > 0 || is_suspect;
    let MessageRef { offset, len, .. } = *message;
    PeekedMessage { block, offset, len, number, state, redelivered, acquired, failures }
}

/// Where a logged message that is not settled lies.
enum Found {
    At(MessageRef),
    Missing(Lsn),
    /// Nor can those below `end`.
    Unreadable {
        end: u64,
    },
}

fn find(index: &Index, at: QueueRef, seq: u64, cache: &mut Cache) -> Found {
    let Some(extent) = index.extent(index.position(seq)) else { return Found::Unreadable { end: seq + 1 } };
    let (lsn, end) = (extent.lsn, extent.end());
    if cache.is_unreadable(lsn) {
        return Found::Unreadable { end };
    }
    if !cache.contains(lsn) {
        return Found::Missing(lsn);
    }
    let (nth, count) = ((seq - extent.first) as usize, extent.count as usize);
    let entries = cache.directory(lsn).map(|directory| directory.of(at.id)).unwrap_or_default();
    // There may be more: the block's first messages may have come before the queue was created in it.
    let entry = entries.len().checked_sub(count).and_then(|before| entries.get(before + nth));
    entry.map_or(Found::Unreadable { end }, |entry| {
        Found::At(MessageRef { seq, lsn, offset: entry.offset, len: entry.len })
    })
}

fn lanes(queue: &Queue) -> Option<&Lanes> {
    queue.special.as_deref().and_then(|special| special.lanes.as_ref())
}

/// What a peeker is to see, in order.
#[derive(Default)]
struct Plan(VecDeque<Part>);

impl Plan {
    fn add(&mut self, message: &MessageRef, n: u64, state: MessageState, returned: bool) {
        if self.0.len() >= PARTS_MAX {
            return;
        }
        if message.lsn.is_volatile() {
            self.0.push_back(Part { what: What::Memory(*message), state, returned });
            return;
        }
        if let Some(last) = self.0.back_mut()
            && (last.state, last.returned) == (state, returned)
            && let What::Logged { first, count } = &mut last.what
            && *first + *count == message.seq
        {
            *count += n;
        } else if n > 0 {
            let what = What::Logged { first: message.seq, count: n };
            self.0.push_back(Part { what, state, returned });
        }
    }

    /// `wanted`: more need not be planned.
    fn add_ready(&mut self, queue: &Queue, wanted: u64) {
        let state = MessageState::Ready;
        if let Some(lanes) = lanes(queue) {
            let max = usize::try_from(wanted).unwrap_or(usize::MAX).min(PARTS_MAX);
            return lanes.visit_ready(max, &mut |message, count, returned| {
                self.add(message, count, state, returned);
            });
        }
        queue.returned.in_order().iter().for_each(|message| self.add(message, 1, state, true));
        let mut at = queue.fresh.dispatched();
        let mut fresh = |plan: &mut Plan, upto: u64| {
            let first = MessageRef { seq: at, lsn: Lsn(0), offset: 0, len: 0 };
            plan.add(&first, upto.saturating_sub(at), state, false);
            at = at.max(upto);
        };
        for message in &queue.volatile {
            fresh(self, message.seq);
            self.add(message, 1, state, false);
        }
        fresh(self, queue.index.next_seq());
    }
}
