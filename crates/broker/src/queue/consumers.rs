//! Who consumes: consumers with their credit, and a queue's round robin over those that can take a message.
//!
//! A consumer is in its queue's ring exactly while it may have credit; one that is found without leaves the ring and
//! is put back by whatever gives it credit again. So a message costs O(1), however many consumers are busy.
//! Within a priority level the ring goes round message by message; a lower level gets what no higher one can take.

use super::QueueRef;
use super::deadlines::Held;
use super::redrive::Redriving;
use super::unacked::Unacked;
use super::window::MessageRef;
use crate::session::SessionSlot;
use bowline_model::ConsumerId;
use std::collections::{BTreeSet, VecDeque};

/// A place in [`Consumers`], with a generation that tells a successor from the one that was meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ConsumerRef {
    pub slot: u32,
    generation: u32,
}

/// A consumer, or what remains of it until the last of its deliveries is settled; or the pseudo-consumer of a
/// channel's gets, which is never active.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub session: SessionSlot,
    pub channel: u16,
    pub id: ConsumerId,
    /// By which people know it.
    pub tag: Box<[u8]>,
    /// None: the pseudo-consumer of a channel's gets.
    pub queue: Option<QueueRef>,
    pub priority: i32,
    /// 0: no limit.
    pub prefetch: u32,
    pub no_ack: bool,
    pub exclusive: bool,
    /// May be given messages; ends with Cancel or with the queue.
    pub active: bool,
    pub in_ring: bool,
    /// Waits for its session's delivery window.
    pub stalled: bool,
    /// Waits until it is the single active consumer.
    pub passive: bool,
    /// Numbers consumers in order of arrival.
    pub arrival: u64,
    /// Its own bound on how long it may hold a message, ms; goes before the queue's.
    pub own_bound_ms: Option<u64>,
    /// How long it has held what, if there is a bound.
    pub held: Option<Box<Held>>,
    /// What it acks is moved elsewhere.
    pub redriving: Option<Box<Redriving>>,
    pub unacked: Unacked,
}

impl Consumer {
    #[inline]
    pub fn has_credit(&self) -> bool {
        self.prefetch == 0 || self.unacked.len() < self.prefetch as usize
    }

    /// Belongs into the ring and is not in it.
    #[inline]
    pub fn may_enter(&self) -> bool {
        self.active && !self.in_ring && !self.stalled && !self.passive && self.has_credit()
    }
}

/// All consumers of the shard.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    slots: Vec<(u32, Option<Consumer>)>,
    free: Vec<u32>,
    arrivals: u64,
}

impl Consumers {
    pub fn insert(&mut self, mut consumer: Consumer) -> ConsumerRef {
        self.arrivals += 1;
        consumer.arrival = self.arrivals;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let entry = &mut self.slots[slot as usize];
        entry.1 = Some(consumer);
        ConsumerRef { slot, generation: entry.0 }
    }

    pub fn remove(&mut self, at: ConsumerRef) -> Option<Consumer> {
        let entry = self.slots.get_mut(at.slot as usize).filter(|e| e.0 == at.generation)?;
        let consumer = entry.1.take()?;
        entry.0 = entry.0.wrapping_add(1);
        self.free.push(at.slot);
        Some(consumer)
    }

    /// What all consumers hold of a queue.
    pub fn held_of(&self, queue: QueueRef) -> impl Iterator<Item = MessageRef> + '_ {
        let consumers = self.slots.iter().filter_map(|(_, consumer)| consumer.as_ref());
        // Gets draw on many queues.
        let of_queue = consumers.filter(move |consumer| consumer.queue.is_none_or(|own| own == queue));
        let held = of_queue.flat_map(|consumer| consumer.unacked.iter().chain(consumer.stuck()));
        held.filter(move |entry| entry.queue == queue).map(|entry| entry.message)
    }

    #[inline]
    pub fn get(&self, at: ConsumerRef) -> Option<&Consumer> {
        let entry = self.slots.get(at.slot as usize)?;
        if entry.0 == at.generation { entry.1.as_ref() } else { None }
    }

    #[inline]
    pub fn get_mut(&mut self, at: ConsumerRef) -> Option<&mut Consumer> {
        let entry = self.slots.get_mut(at.slot as usize)?;
        if entry.0 == at.generation { entry.1.as_mut() } else { None }
    }
}

/// The consumers of one queue.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// Highest priority first.
    levels: Vec<Level>,
    /// Levels before this one have nobody in the ring.
    first: usize,
    members: BTreeSet<ConsumerRef>,
    pub exclusive: bool,
    /// The single active consumer, where there is to be one.
    pub chosen: Option<ConsumerRef>,
}

#[derive(Debug)]
struct Level {
    priority: i32,
    members: usize,
    /// May contain some that have been cancelled: they are dropped when met, or swept when they are many.
    ready: VecDeque<ConsumerRef>,
}

impl Ring {
    /// Active consumers.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Nobody in the ring could take a message now.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.levels.iter().skip(self.first).all(|level| level.ready.is_empty())
    }

    pub fn members(&self) -> impl Iterator<Item = ConsumerRef> + '_ {
        self.members.iter().copied()
    }

    /// A new consumer; it is not in the ring yet.
    pub fn join(&mut self, at: ConsumerRef, priority: i32) {
        if self.members.insert(at) {
            let i = self.level(priority);
            self.levels[i].members += 1;
        }
    }

    /// It takes no more messages.
    pub fn leave(&mut self, at: ConsumerRef, priority: i32) {
        if !self.members.remove(&at) {
            return;
        }
        let members = &self.members;
        if let Some(i) = self.levels.iter().position(|l| l.priority == priority) {
            let level = &mut self.levels[i];
            level.members -= 1;
            if level.members == 0 {
                self.levels.remove(i);
                self.first = 0;
            } else if level.ready.len() > 2 * level.members + 16 {
                level.ready.retain(|at| members.contains(at));
            }
        }
    }

    /// Puts a member that has credit at the end of its level's round.
    pub fn enter(&mut self, at: ConsumerRef, priority: i32) {
        let i = self.level(priority);
        self.levels[i].ready.push_back(at);
        self.first = self.first.min(i);
    }

    /// Whose turn it is.
    #[inline]
    pub fn front(&mut self) -> Option<ConsumerRef> {
        while let Some(level) = self.levels.get(self.first) {
            if let Some(&at) = level.ready.front() {
                return Some(at);
            }
            self.first += 1;
        }
        None
    }

    /// Takes the front out of the ring.
    #[inline]
    pub fn pop_front(&mut self) {
        if let Some(level) = self.levels.get_mut(self.first) {
            level.ready.pop_front();
        }
    }

    /// The front has had its message and may have another: it goes behind the others of its level.
    #[inline]
    pub fn rotate(&mut self) {
        if let Some(level) = self.levels.get_mut(self.first)
            && level.ready.len() > 1
        {
            level.ready.rotate_left(1);
        }
    }

    /// Where the level of `priority` is; makes it if need be.
    fn level(&mut self, priority: i32) -> usize {
        let i = self.levels.partition_point(|level| level.priority > priority);
        if self.levels.get(i).is_none_or(|level| level.priority != priority) {
            self.levels.insert(i, Level { priority, members: 0, ready: VecDeque::new() });
            self.first = 0;
        }
        i
    }
}
