//! What a shard knows of the sessions that talk to it: how much they were sent and have not drained, the deliveries
//! of this round, their consumers, and volatile batches that wait behind logged ones.

use crate::Effects;
use crate::queue::ConsumerRef;
use bowline_model::event::{Deliveries, Delivery, Event};
use bowline_model::request::{DELIVERY_WINDOW_BYTES, Volatile};
use bowline_model::{BlockRef, ConsumerId, Lsn, Millis, SessionId};
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};

/// Room for so many deliveries is made at once, if there were as many in the last round.
const ROUND_RESERVE_MAX: usize = 1024;

/// A place in [`Sessions`]. Whoever keeps one belongs to the session and goes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SessionSlot(u32);

#[derive(Debug)]
pub(crate) struct Session {
    pub id: SessionId,
    /// Bytes delivered and not yet reported as drained.
    outstanding: u64,
    round: Deliveries,
    /// Deliveries in the last round: a guess at the next one.
    usual_round: usize,
    consumers: HashMap<ConsumerId, ConsumerRef, foldhash::fast::FixedState>,
    channels: BTreeSet<(u16, ConsumerId)>,
    /// The consumer that was asked for last.
    last: Option<(ConsumerId, ConsumerRef)>,
    /// Logged batches of this session, numbered from 1: the last handed to the open proposal, and the last up to which
    /// all have landed (been applied, or refused for good). Refused ones may land `early`, before blocks under way.
    proposed: u64,
    landed: u64,
    early: BTreeSet<u64>,
    /// Volatile batches, each with the number of logged batches that must land before it, and when it came.
    held: VecDeque<(u64, Millis, Volatile)>,
    /// Consumers that were passed over because of the window: those whose queue delivered nothing to this session
    /// in its last round go first when there is room again, so that one queue cannot take the window for good.
    starved: VecDeque<ConsumerRef>,
    stalled: VecDeque<ConsumerRef>,
    closed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_id: HashMap<SessionId, SessionSlot, foldhash::fast::FixedState>,
    slots: Vec<Option<Session>>,
    free: Vec<u32>,
    /// Sessions with deliveries in this round.
    touched: Vec<SessionSlot>,
}

impl Sessions {
    pub fn find(&self, id: SessionId) -> Option<SessionSlot> {
        self.by_id.get(&id).copied()
    }

    pub fn open(&mut self, id: SessionId) -> SessionSlot {
        if let Some(&slot) = self.by_id.get(&id) {
            return slot;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let slot = SessionSlot(index);
        self.slots[index as usize] = Some(Session::new(id));
        self.by_id.insert(id, slot);
        slot
    }

    /// The session sends no more requests and wants no more events. What it published is still carried out.
    pub fn close(&mut self, slot: SessionSlot) {
        let session = &mut self[slot];
        session.closed = true;
        self.forget_if_done(slot);
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// A logged batch goes into the open proposal: its number.
    pub fn proposed(&mut self, slot: SessionSlot) -> u64 {
        self[slot].proposed += 1;
        self[slot].proposed
    }

    /// Logged batch `number` of session `id` has been applied, or never will be: the volatile batches that waited for
    /// it, and for all before it, may go. None if the session is gone.
    pub fn landed(&mut self, id: SessionId, number: u64) -> Option<SessionSlot> {
        let slot = self.find(id)?;
        let session = &mut self[slot];
        if number == session.landed + 1 {
            session.landed = number;
            while session.early.remove(&(session.landed + 1)) {
                session.landed += 1;
            }
        } else {
            session.early.insert(number);
        }
        Some(slot)
    }

    pub fn next_held(&mut self, slot: SessionSlot) -> Option<(Millis, Volatile)> {
        let session = &mut self[slot];
        let (behind, ..) = session.held.front()?;
        if *behind > session.landed {
            return None;
        }
        session.held.pop_front().map(|(_, since, volatile)| (since, volatile))
    }

    pub fn forget_if_done(&mut self, slot: SessionSlot) {
        let session = &self[slot];
        if session.closed && session.held.is_empty() {
            debug_assert!(session.round.items.is_empty(), "rounds end before requests are handled");
            let id = session.id;
            self.by_id.remove(&id);
            self.slots[slot.0 as usize] = None;
            self.free.push(slot.0);
        }
    }

    /// Adds a delivery to the session's round. `block` is asked for only if the previous delivery was not from
    /// the block at `lsn`.
    #[inline]
    pub fn deliver(
        &mut self,
        slot: SessionSlot,
        lsn: Lsn,
        mut delivery: Delivery,
        block: impl FnOnce() -> Option<BlockRef>,
    ) -> bool {
        let session = self.slots[slot.0 as usize].as_mut().expect("its consumer lives");
        let round = &mut session.round;
        if round.blocks.last().is_none_or(|last| last.lsn != lsn) {
            let Some(block) = block() else { return false };
            if round.items.is_empty() {
                self.touched.push(slot);
                round.items.reserve(session.usual_round);
            }
            round.blocks.push(block);
        }
        delivery.block = round.blocks.len() as u32 - 1;
        round.items.push(delivery);
        session.outstanding += u64::from(delivery.len);
        true
    }

    /// Ends the round: one event for each session that got something.
    pub fn flush(&mut self, fx: &mut Effects) {
        for slot in self.touched.drain(..) {
            if let Some(session) = &mut self.slots[slot.0 as usize] {
                session.usual_round = session.round.items.len().min(ROUND_RESERVE_MAX);
                fx.event(session.id, Event::Deliver(std::mem::take(&mut session.round)));
            }
        }
    }
}

impl std::ops::Index<SessionSlot> for Sessions {
    type Output = Session;

    fn index(&self, slot: SessionSlot) -> &Session {
        self.slots[slot.0 as usize].as_ref().expect("whoever keeps a slot goes with its session")
    }
}

impl std::ops::IndexMut<SessionSlot> for Sessions {
    fn index_mut(&mut self, slot: SessionSlot) -> &mut Session {
        self.slots[slot.0 as usize].as_mut().expect("whoever keeps a slot goes with its session")
    }
}

impl Session {
    fn new(id: SessionId) -> Session {
        Session {
            id,
            outstanding: 0,
            round: Deliveries::default(),
            usual_round: 0,
            consumers: HashMap::default(),
            channels: BTreeSet::new(),
            last: None,
            proposed: 0,
            landed: 0,
            early: BTreeSet::new(),
            held: VecDeque::new(),
            starved: VecDeque::new(),
            stalled: VecDeque::new(),
            closed: false,
        }
    }

    /// Whether a delivery of `len` bytes fits the window. One that is larger than the window goes alone.
    #[inline]
    pub fn has_room(&self, len: u32) -> bool {
        self.outstanding == 0 || self.outstanding + u64::from(len) <= DELIVERY_WINDOW_BYTES
    }

    /// Something of `len` bytes was sent that is not in a round.
    pub fn sent(&mut self, len: u32) {
        self.outstanding += u64::from(len);
    }

    /// The session wrote `bytes` of deliveries.
    pub fn drained(&mut self, bytes: u64) {
        self.outstanding = self.outstanding.saturating_sub(bytes);
    }

    /// `consumer` has to wait for the window. `starved`: it got nothing in the round that filled it.
    pub fn stall(&mut self, consumer: ConsumerRef, starved: bool) {
        if starved {
            self.starved.push_back(consumer);
        } else {
            self.stalled.push_back(consumer);
        }
    }

    /// The consumers that waited for the window, those first that went without.
    pub fn take_stalled(&mut self) -> impl Iterator<Item = ConsumerRef> + use<> {
        std::mem::take(&mut self.starved).into_iter().chain(std::mem::take(&mut self.stalled))
    }

    #[inline]
    pub fn consumer(&mut self, id: ConsumerId) -> Option<ConsumerRef> {
        if let Some((last, at)) = self.last
            && last == id
        {
            return Some(at);
        }
        let at = self.consumers.get(&id).copied()?;
        self.last = Some((id, at));
        Some(at)
    }

    pub fn add_consumer(&mut self, id: ConsumerId, channel: u16, at: ConsumerRef) {
        self.consumers.insert(id, at);
        self.channels.insert((channel, id));
    }

    pub fn remove_consumer(&mut self, id: ConsumerId, channel: u16) {
        self.consumers.remove(&id);
        self.channels.remove(&(channel, id));
        self.last = None;
    }

    /// Consumers of a channel, or of all channels, oldest first.
    pub fn consumers_of(&self, channel: Option<u16>) -> Vec<ConsumerId> {
        let (from, to) = (channel.unwrap_or(0), channel.unwrap_or(u16::MAX));
        self.channels.range((from, ConsumerId(0))..=(to, ConsumerId(u32::MAX))).map(|(_, id)| *id).collect()
    }

    /// A volatile batch may be enqueued now: nothing of this session's that was before it is still under way.
    pub fn may_overtake(&self) -> bool {
        self.held.is_empty() && self.proposed == self.landed
    }

    pub fn hold(&mut self, now: Millis, volatile: Volatile) {
        self.held.push_back((self.proposed, now, volatile));
    }
}
