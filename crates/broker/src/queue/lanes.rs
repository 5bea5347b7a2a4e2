//! Messages that are not simply handed out in the order of their numbers: by priority, and those that wait for a
//! time. A queue has lanes while it holds messages of other than the usual priority, or that have to wait.
//!
//! Ready messages lie in one lane a priority. Within a lane what came back goes first, each in its place; then the
//! others in order, where one that waited for its time stands behind what came in before that time. A lane keeps
//! numbers, as runs; where a message lies is looked up when its turn comes. All of it is the leader's and is made
//! anew from [`Kept`](super::Kept) when the node starts. Entries of messages that are settled by the log meanwhile are
//! passed over when they are met.

use super::enforce::NOWHERE;
use super::returned::{Place, Returned};
use super::window::MessageRef;
use super::{Index, Queue};
use bowline_model::Millis;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// By priority.
    lanes: Vec<Lane>,
    /// Messages in all lanes.
    ready: u64,
    /// Numbers below were handed out, some of them.
    reach: u64,
    /// Logged messages that wait: when they are due, and their numbers.
    waiting: BinaryHeap<Reverse<(Millis, u64)>>,
    /// Messages that came back, or are in memory only, and wait.
    parked: BinaryHeap<Reverse<Parked>>,
}

#[derive(Debug, Default)]
struct Lane {
    returned: Returned,
    /// In memory, or due: each stands before the logged message of a number.
    early: VecDeque<(u64, MessageRef)>,
    /// Never handed out: runs of numbers, ascending.
    fresh: VecDeque<(u64, u32)>,
}

/// Where in the lanes a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spot {
    Returned,
    /// In memory, or due.
    Early,
    Fresh,
}

/// A message that waits with all that is known of it.
#[derive(Clone, Copy, Debug)]
struct Parked {
    due: Millis,
    place: Place,
    level: u8,
    /// It came back. If not, it is new and in memory only.
    returned: bool,
    message: MessageRef,
}

impl PartialEq for Parked {
    fn eq(&self, other: &Parked) -> bool {
        (self.due, self.place) == (other.due, other.place)
    }
}

impl Eq for Parked {}

impl PartialOrd for Parked {
    fn partial_cmp(&self, other: &Parked) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parked {
    fn cmp(&self, other: &Parked) -> std::cmp::Ordering {
        (self.due, self.place).cmp(&(other.due, other.place))
    }
}

impl Lanes {
    pub fn ready(&self) -> u64 {
        self.ready
    }

    /// Messages that wait for their time.
    pub fn delayed(&self) -> u64 {
        (self.waiting.len() + self.parked.len()) as u64
    }

    /// Messages at or above were never handed out.
    pub fn reach(&self) -> u64 {
        self.reach
    }

    /// When the first of those that wait is due.
    pub fn next_due(&self) -> Option<Millis> {
        let waiting = self.waiting.peek().map(|Reverse((due, _))| *due);
        let parked = self.parked.peek().map(|Reverse(parked)| parked.due);
        waiting.into_iter().chain(parked).min()
    }

    /// A logged message that nobody has had, the highest number so far.
    pub fn push(&mut self, level: u8, seq: u64) {
        self.ready += 1;
        let fresh = &mut self.lane(level).fresh;
        match fresh.back_mut() {
            Some((first, count)) if *first + u64::from(*count) == seq && *count < u32::MAX => *count += 1,
            _ => fresh.push_back((seq, 1)),
        }
    }

    pub fn push_waiting(&mut self, due: Millis, seq: u64) {
        self.waiting.push(Reverse((due, seq)));
    }

    /// A message in memory.
    pub fn push_volatile(&mut self, level: u8, message: MessageRef) {
        self.ready += 1;
        self.lane(level).early.push_back((message.seq, message));
    }

    pub fn push_returned(&mut self, level: u8, place: Place, message: MessageRef) {
        self.ready += 1;
        self.lane(level).returned.push(place, message);
    }

    /// A message waits until `due`.
    pub fn park(&mut self, due: Millis, level: u8, returned: bool, place: Place, message: MessageRef) {
        self.parked.push(Reverse(Parked { due, place, level, returned, message }));
    }

    /// The message whose turn it is: its lane, where it is in that, and what is known of it.
    #[inline]
    pub fn peek(&self) -> Option<(u8, Spot, MessageRef)> {
        if self.ready == 0 {
            return None;
        }
        self.lanes.iter().enumerate().rev().find_map(|(level, lane)| {
            let (spot, message) = lane.peek()?;
            Some((level as u8, spot, message))
        })
    }

    /// Takes what [`Lanes::peek`] showed.
    pub fn take(&mut self, level: u8, spot: Spot) {
        let Some(lane) = self.lanes.get_mut(usize::from(level)) else { return };
        self.ready = self.ready.saturating_sub(1);
        match spot {
            Spot::Returned => lane.returned.take(),
            Spot::Early => {
                if let Some((_, message)) = lane.early.pop_front()
                    && !message.lsn.is_volatile()
                {
                    self.reach = self.reach.max(message.seq + 1);
                }
            }
            Spot::Fresh => {
                let Some((first, count)) = lane.fresh.front_mut() else { return };
                self.reach = self.reach.max(*first + 1);
                (*first, *count) = (*first + 1, *count - 1);
                if *count == 0 {
                    lane.fresh.pop_front();
                    if lane.fresh.is_empty() && lane.fresh.capacity() > 1024 {
                        lane.fresh = VecDeque::new();
                    }
                }
            }
        }
    }

    /// What is due goes into its lane; `next_seq` is the number of the queue's next message, `level` tells the priority
    /// of a logged one. True if anything was.
    pub fn release(&mut self, now: Millis, next_seq: u64, level: impl Fn(u64) -> u8) -> bool {
        let before = self.ready;
        loop {
            let waiting = self.waiting.peek().map(|Reverse((due, _))| *due).filter(|due| *due <= now);
            let parked = self.parked.peek().map(|Reverse(one)| one.due).filter(|due| *due <= now);
            match (waiting, parked) {
                (None, None) => break,
                (Some(due), other) if other.is_none_or(|parked| due <= parked) => {
                    let Some(Reverse((_, seq))) = self.waiting.pop() else { break };
                    let message = MessageRef { seq, lsn: NOWHERE, offset: 0, len: 0 };
                    self.ready += 1;
                    self.lane(level(seq)).early.push_back((next_seq, message));
                }
                _ => {
                    let Some(Reverse(one)) = self.parked.pop() else { break };
                    let Parked { place, level, returned, message, .. } = one;
                    if returned {
                        self.push_returned(level, place, message);
                    } else {
                        self.ready += 1;
                        self.lane(level).early.push_back((next_seq, message));
                    }
                }
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 1024 {
            self.waiting = BinaryHeap::new();
        }
        self.ready != before
    }

    /// Empties it: all messages in memory, and the numbers of the others as runs. `delayed`: with those that wait.
    pub fn drain(&mut self) -> (Vec<MessageRef>, Vec<(u64, u64)>) {
        let (mut volatile, mut runs) = (Vec::new(), Vec::new());
        let mut one = |message: MessageRef| match message.lsn.is_volatile() {
            true => volatile.push(message),
            false => runs.push((message.seq, 1)),
        };
        for lane in &mut self.lanes {
            lane.returned.drain().into_iter().for_each(&mut one);
            lane.early.drain(..).for_each(|(_, message)| one(message));
        }
        self.parked.drain().for_each(|Reverse(parked)| one(parked.message));
        runs.extend(self.waiting.drain().map(|Reverse((_, seq))| (seq, 1)));
        for lane in &mut self.lanes {
            runs.extend(lane.fresh.drain(..).map(|(first, count)| (first, u64::from(count))));
        }
        self.ready = 0;
        (volatile, runs)
    }

    fn lane(&mut self, level: u8) -> &mut Lane {
        let level = usize::from(level);
        if self.lanes.len() <= level {
            self.lanes.resize_with(level + 1, Lane::default);
        }
        &mut self.lanes[level]
    }
}

impl Lane {
    #[inline]
    fn peek(&self) -> Option<(Spot, MessageRef)> {
        if let Some(message) = self.returned.peek() {
            return Some((Spot::Returned, *message));
        }
        let fresh = self.fresh.front().map(|(first, _)| *first);
        match self.early.front() {
            Some((before, message)) if fresh.is_none_or(|first| *before <= first) => {
                Some((Spot::Early, *message))
            }
            _ => fresh.map(|seq| (Spot::Fresh, MessageRef { seq, lsn: NOWHERE, offset: 0, len: 0 })),
        }
    }
}

/// The messages in `from..to` that are not settled, ascending.
pub(super) fn live(index: &Index, from: u64, to: u64) -> impl Iterator<Item = u64> + '_ {
    let extents = (index.position(from)..).map_while(|i| index.extent(i));
    extents.take_while(move |extent| extent.first < to).filter(|extent| extent.live > 0).flat_map(
        move |extent| {
            let settled = index.settled_in(extent);
            (extent.first.max(from)..extent.end().min(to)).filter(move |seq| !settled.contains(*seq))
        },
    )
}

impl Queue {
    /// Has lanes from now on: what is ready moves there. `except` was just numbered and is not ready.
    pub(super) fn with_lanes(&mut self, except: Option<u64>) -> &mut Lanes {
        let Queue { special, fresh, index, volatile, returned, spec, .. } = self;
        // Whoever has another has lanes.
        let usual = level(&spec.settings, None);
        let special = special.get_or_insert_default();
        special.lanes.get_or_insert_with(|| {
            let mut lanes = Lanes { reach: fresh.dispatched(), ..Lanes::default() };
            let (from, _) = fresh.skip_all(index);
            for seq in live(index, from, index.next_seq()).filter(|seq| Some(*seq) != except) {
                lanes.push(usual, seq);
            }
            volatile.drain(..).for_each(|message| lanes.push_volatile(usual, message));
            lanes.ready += returned.len() as u64;
            lanes.lane(usual).returned = std::mem::take(returned);
            lanes
        })
    }

    /// The node starts at time `stamp`: what is ready, and what waits, by what the log has said. Deliveries that are due
    /// are not told from others any more.
    pub(super) fn rebuild_lanes(&mut self, stamp: Millis) {
        let Queue { special, fresh, index, spec, .. } = self;
        let Some(special) = special else { return };
        special.counts = special.kept.failures.clone();
        special.kept.dues.retain(|_, due| *due > stamp);
        if special.kept.classes.is_empty() && special.kept.dues.is_empty() {
            if special.lanes.take().is_some() {
                *fresh = super::Fresh::rebuilt(index);
            }
            return;
        }
        fresh.skip_all(index);
        let mut lanes = Lanes::default();
        for seq in live(index, 0, index.next_seq()) {
            match special.kept.dues.get(&seq) {
                Some(due) => lanes.push_waiting(*due, seq),
                None => lanes
                    .push(special.kept.classes.get(seq).unwrap_or_else(|| level(&spec.settings, None)), seq),
            }
        }
        special.lanes = Some(lanes);
        if spec.settings.max_length_bytes.is_some() {
            special.ready_bytes = special.kept.sizes.live(index);
        }
    }
}

/// The lane for a message of that priority.
pub(super) fn level(settings: &bowline_model::settings::QueueSettings, priority: Option<u8>) -> u8 {
    settings.max_priority.map_or(0, |max| priority.unwrap_or(settings.default_priority).min(max))
}
