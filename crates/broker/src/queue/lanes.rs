//! Messages that are not simply handed out in the order of their numbers: by priority, by key, by tenant, and those
//! that wait for a time. A queue has lanes while it holds messages of other than the usual priority, with a key or a
//! tenant, or that have to wait.
//!
//! ```text
//!             ┌ waiting, parked: for their time ┐
//!   come in ──┤                                 ├── lane of their priority ── out
//!             └ behind another of their key ────┘   (tenants take turns in it)
//! ```
//! Ready messages lie in one lane a priority. Within a lane what came back goes first, each in its place; then the
//! others in order, where one that waited for its time stands behind what came in before that time. A lane keeps
//! numbers, as runs; where a message lies is looked up when its turn comes. In a queue that shares fairly a lane is
//! [`Tenants`] instead, each with its messages in the order of their places. Of a key that is to be kept in order one
//! message at a time is in a lane ([`Keys`]).
//!
//! All of it is the leader's and is made anew from [`Kept`] when the node starts. Entries of messages that are settled
//! by the log meanwhile are passed over when they are met.

use super::enforce::NOWHERE;
use super::keys::Keys;
use super::marks::Marks;
use super::returned::{Place, Returned};
use super::tenants::{NOBODY, Tenants};
use super::window::MessageRef;
use super::{Index, Kept, Queue};
use bowline_model::Millis;
use bowline_model::record::Extras;
use bowline_model::settings::QueueSettings;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

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
    /// The same, of those that may be cancelled.
    named: BTreeSet<(Millis, u64)>,
    /// Templates: when the next copy is due, and their numbers.
    armed: BTreeSet<(Millis, u64)>,
    /// Messages that came back, or are in memory only, and wait.
    parked: BinaryHeap<Reverse<Parked>>,
    /// For messages that have one.
    pub keys: Keys,
    /// New messages take turns by tenant.
    fair: bool,
    /// When it was last looked at what is due.
    pub now: Millis,
    oldest: Oldest,
}

/// The search for messages that are ready and old, and not the first in line: see [`Lanes::oldest`].
#[derive(Debug, Default)]
struct Oldest {
    /// No logged message below stands behind another of its key.
    behind: u64,
    /// No logged message below is in line by its tenant, or stands behind another of its key.
    aside: u64,
    /// Where what was shown last is: its key or tenant, and its place.
    shown: (u64, Place),
    /// There was more to search.
    is_unfinished: bool,
}

/// So many messages that are not ready are passed over in one search.
const SEARCHED_MAX: usize = 1024;
/// What is due goes into its lane so many at a time.
const RELEASED_MAX: usize = 4096;

/// Where among the ready a message belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Class {
    pub level: u8,
    /// [`NOBODY`] where that is of no interest.
    pub tenant: u64,
}

/// How a logged message gets in line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// It has the highest number so far.
    Fresh,
    /// Its key has let it go.
    LetGo,
}

#[derive(Debug, Default)]
struct Lane {
    /// If there are tenants, all messages are theirs.
    tenants: Option<Box<Tenants>>,
    returned: Returned,
    /// Let go by their keys: older than what came in since, and never handed out.
    let_go: Returned,
    /// In memory, or due: each stands before the logged message of a number.
    early: VecDeque<(u64, MessageRef)>,
    /// Never handed out: runs of numbers, ascending.
    fresh: VecDeque<(u64, u32)>,
}

/// Where in the lanes a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spot {
    Returned,
    LetGo,
    /// In memory, or due.
    Early,
    Fresh,
    /// The first of the tenant whose turn it is.
    Turn {
        returned: bool,
    },
    /// Ready, and not the first in line: what [`Lanes::oldest`] showed last.
    Aside,
    /// Behind another of its key: likewise.
    Behind,
}

impl Spot {
    pub fn is_returned(self) -> bool {
        matches!(self, Spot::Returned | Spot::Turn { returned: true })
    }
}

impl Class {
    /// Of a message in memory.
    pub fn of(settings: &QueueSettings, extras: &Extras) -> Class {
        let tenant = extras.tenant.filter(|_| settings.fair);
        Class { level: level(settings, extras.priority), tenant: tenant.unwrap_or(NOBODY) }
    }
}

/// A message that waits with all that is known of it.
#[derive(Clone, Copy, Debug)]
struct Parked {
    due: Millis,
    place: Place,
    class: Class,
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
    /// Those behind others of their key are ready, too.
    pub fn ready(&self) -> u64 {
        self.ready + self.keys.behind.len()
    }

    /// Messages that wait for their time. Templates are none.
    pub fn delayed(&self) -> u64 {
        (self.waiting.len() + self.named.len() + self.parked.len()) as u64
    }

    /// Nothing is there, and no key is held.
    fn is_empty(&self) -> bool {
        self.ready() + self.delayed() == 0 && self.keys.is_empty()
    }

    /// Messages at or above were never handed out.
    pub fn reach(&self) -> u64 {
        self.reach
    }

    /// When the first of those that wait is due.
    pub fn next_due(&self) -> Option<Millis> {
        let waiting = self.waiting.peek().map(|Reverse((due, _))| *due);
        let parked = self.parked.peek().map(|Reverse(parked)| parked.due);
        let others = [&self.named, &self.armed].into_iter().filter_map(|set| Some(set.first()?.0));
        waiting.into_iter().chain(parked).chain(others).min()
    }

    /// From now on new messages take turns by tenant, or no more. `tenant` tells that of a logged one.
    pub fn share(&mut self, fair: bool, tenant: impl Fn(u64) -> u64) {
        self.fair = fair;
        if fair {
            self.lanes.iter_mut().for_each(|lane| lane.share(&tenant));
        }
    }

    /// A logged message that nobody has had, the highest number so far.
    pub fn push(&mut self, class: Class, seq: u64) {
        self.ready += 1;
        self.oldest.aside = self.oldest.aside.min(seq);
        let lane = self.lane(class.level);
        if let Some(tenants) = &mut lane.tenants {
            return tenants.push_number(class.tenant, seq);
        }
        match lane.fresh.back_mut() {
            Some((first, count)) if *first + u64::from(*count) == seq && *count < u32::MAX => *count += 1,
            _ => lane.fresh.push_back((seq, 1)),
        }
    }

    pub fn push_waiting(&mut self, due: Millis, seq: u64) {
        self.waiting.push(Reverse((due, seq)));
    }

    /// As [`Lanes::push_waiting`], for one that may be cancelled.
    pub fn push_named(&mut self, due: Millis, seq: u64) {
        self.named.insert((due, seq));
    }

    /// A template's next copy is due.
    pub fn arm(&mut self, due: Millis, seq: u64) {
        self.armed.insert((due, seq));
    }

    /// What waits under a handle, or is a template, goes.
    pub fn withdraw(&mut self, due: Millis, seq: u64) {
        self.named.remove(&(due, seq));
        self.armed.remove(&(due, seq));
    }

    /// The first template that a copy is due of.
    pub fn first_armed(&self, now: Millis) -> Option<(Millis, u64)> {
        self.armed.first().copied().filter(|(due, _)| *due <= now)
    }

    /// A message in memory, the last so far.
    pub fn push_volatile(&mut self, class: Class, place: Place, message: MessageRef) {
        self.ready += 1;
        let lane = self.lane(class.level);
        match &mut lane.tenants {
            Some(tenants) => tenants.push_known(class.tenant, place, message, false),
            None => lane.early.push_back((message.seq, message)),
        }
    }

    pub fn push_returned(&mut self, class: Class, place: Place, message: MessageRef) {
        self.ready += 1;
        let lane = self.lane(class.level);
        match &mut lane.tenants {
            Some(tenants) => tenants.push_known(class.tenant, place, message, true),
            None => lane.returned.push(place, message),
        }
    }

    /// A message that nobody has had holds its key now.
    pub fn push_let_go(&mut self, class: Class, place: Place, message: MessageRef) {
        self.ready += 1;
        let lane = self.lane(class.level);
        match &mut lane.tenants {
            Some(tenants) if message.lsn == NOWHERE => tenants.push_number(class.tenant, message.seq),
            Some(tenants) => tenants.push_known(class.tenant, place, message, false),
            None => lane.let_go.push(place, message),
        }
    }

    /// What has become due, in memory or logged.
    fn push_due(&mut self, class: Class, next_seq: u64, place: Place, message: MessageRef) {
        self.oldest.aside = self.oldest.aside.min(message.seq);
        let lane = self.lane(class.level);
        if lane.tenants.is_some() {
            return self.push_let_go(class, place, message);
        }
        lane.early.push_back((next_seq, message));
        self.ready += 1;
    }

    /// A message waits until `due`.
    pub fn park(&mut self, due: Millis, class: Class, returned: bool, place: Place, message: MessageRef) {
        self.parked.push(Reverse(Parked { due, place, class, returned, message }));
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

    /// Takes what [`Lanes::peek`] or [`Lanes::oldest`] showed.
    pub fn take(&mut self, level: u8, spot: Spot) {
        if spot == Spot::Behind {
            let (key, place) = self.oldest.shown;
            self.keys.behind.remove(key, place);
            return;
        }
        let Some(lane) = self.lanes.get_mut(usize::from(level)) else { return };
        self.ready = self.ready.saturating_sub(1);
        let taken = match spot {
            Spot::Returned => {
                lane.returned.take();
                None
            }
            Spot::LetGo => {
                let message = lane.let_go.peek().copied();
                lane.let_go.take();
                message
            }
            Spot::Early => lane.early.pop_front().map(|(_, message)| message),
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
                None
            }
            Spot::Turn { returned } => {
                let taken = lane.tenants.as_mut().and_then(|tenants| tenants.take());
                taken.filter(|_| !returned).map(|member| member.message)
            }
            Spot::Aside => {
                let (tenant, place) = self.oldest.shown;
                if !lane.tenants.as_mut().is_some_and(|tenants| tenants.remove(tenant, place)) {
                    self.ready += 1;
                }
                None
            }
            Spot::Behind => None,
        };
        if let Some(message) = taken.filter(|message| !message.lsn.is_volatile()) {
            self.reach = self.reach.max(message.seq + 1);
        }
    }

    /// Of the ready messages that are not first in line because of their key or tenant, the one that came in first: for
    /// those who look for what is too old. Logged ones only if `search`, and if many in front of it are out or wait,
    /// not at once.
    pub fn oldest(
        &mut self,
        kept: &Kept,
        settings: &QueueSettings,
        search: bool,
    ) -> Option<(u8, Spot, MessageRef)> {
        let Lanes { lanes, keys, oldest, .. } = self;
        oldest.is_unfinished = false;
        let mut best: Option<(Place, u8, Spot, u64, MessageRef)> = None;
        let mut offer = |place: Place, level: usize, spot: Spot, group: u64, message: MessageRef| {
            if best.is_none_or(|(first, ..)| place < first) {
                best = Some((place, level as u8, spot, group, message));
            }
        };
        let number = |seq: u64| MessageRef { seq, lsn: NOWHERE, offset: 0, len: 0 };
        let is_shared = lanes.iter().any(|lane| lane.tenants.is_some());
        if search && !keys.behind.is_empty() {
            let is_behind = |seq, key| keys.behind.is_first(key, seq);
            let found = first_of(&kept.keys, &mut oldest.behind, &mut oldest.is_unfinished, is_behind);
            if let Some((seq, key)) = found {
                offer(Place::of_logged(seq), 0, Spot::Behind, key, number(seq));
            }
        }
        if search && is_shared {
            let is_aside = |seq, tenant| {
                let lane = lanes.get(usize::from(kept.class(settings, seq).level));
                let tenants = lane.and_then(|lane| lane.tenants.as_deref());
                tenants.is_some_and(|tenants| tenants.messages().is_first(tenant, seq))
            };
            // Those behind are found here, too, and let be: so that a long row of them is not passed over each time.
            let is_behind = |seq| kept.keys.get(seq).is_some_and(|key| keys.behind.is_first(key, seq));
            let is_ready = |seq, tenant| is_aside(seq, tenant) || is_behind(seq);
            let found = first_of(&kept.tenants, &mut oldest.aside, &mut oldest.is_unfinished, is_ready);
            if let Some((seq, tenant)) = found.filter(|(seq, tenant)| is_aside(*seq, *tenant)) {
                let level = usize::from(kept.class(settings, seq).level);
                offer(Place::of_logged(seq), level, Spot::Aside, tenant, number(seq));
            }
        }
        if let Some((key, member)) = keys.behind.first_known() {
            offer(member.place, 0, Spot::Behind, key, member.message);
        }
        for (level, lane) in lanes.iter().enumerate().filter(|_| is_shared) {
            let known = lane.tenants.as_ref().and_then(|tenants| tenants.messages().first_known());
            if let Some((tenant, member)) = known {
                offer(member.place, level, Spot::Aside, tenant, member.message);
            }
        }
        let (place, level, spot, group, message) = best?;
        oldest.shown = (group, place);
        Some((level, spot, message))
    }

    /// [`Lanes::oldest`] has more to search.
    pub fn is_unfinished(&self) -> bool {
        self.oldest.is_unfinished
    }

    /// What is due goes into its lane; `next_seq` is the number of the queue's next message, `class` tells that of a
    /// logged one.
    pub fn release(&mut self, now: Millis, next_seq: u64, class: impl Fn(u64) -> Class) {
        self.now = now;
        for _ in 0..RELEASED_MAX {
            // One by one, so that both kinds come out in order.
            if let Some(&(due, seq)) = self.named.first()
                && due <= now
            {
                self.named.pop_first();
                self.waiting.push(Reverse((due, seq)));
                continue;
            }
            let waiting = self.waiting.peek().map(|Reverse((due, _))| *due).filter(|due| *due <= now);
            let parked = self.parked.peek().map(|Reverse(one)| one.due).filter(|due| *due <= now);
            match (waiting, parked) {
                (None, None) => break,
                (Some(due), other) if other.is_none_or(|parked| due <= parked) => {
                    let Some(Reverse((_, seq))) = self.waiting.pop() else { break };
                    let message = MessageRef { seq, lsn: NOWHERE, offset: 0, len: 0 };
                    self.push_due(class(seq), next_seq, Place::of_logged(seq), message);
                }
                _ => {
                    let Some(Reverse(one)) = self.parked.pop() else { break };
                    let Parked { place, class, returned, message, .. } = one;
                    match returned {
                        true => self.push_returned(class, place, message),
                        false => self.push_due(class, next_seq, place, message),
                    }
                }
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 1024 {
            self.waiting = BinaryHeap::new();
        }
        if self.parked.is_empty() && self.parked.capacity() > 1024 {
            self.parked = BinaryHeap::new();
        }
    }

    /// All that is ready, in the order in which it is handed out as far as that is known now: runs of logged messages,
    /// each by its first and how many, and whether they came back. Some may be settled by now. Of tenants' messages at
    /// most `max` in a lane; and then `max` of those that stand behind others of their keys.
    pub fn visit_ready(&self, max: usize, visit: &mut dyn FnMut(&MessageRef, u64, bool)) {
        for lane in self.lanes.iter().rev() {
            match &lane.tenants {
                Some(tenants) => tenants.in_turn().take(max).for_each(|m| visit(&m.message, 1, m.returned)),
                None => lane.visit(visit),
            }
        }
        for member in self.keys.behind.in_order(max) {
            visit(&member.message, 1, member.returned);
        }
    }

    /// All that waits, the earliest first, and whether it came back.
    pub fn visit_delayed(&self, visit: &mut dyn FnMut(&MessageRef, bool)) {
        let waiting = self.waiting.iter().map(|Reverse(one)| one).chain(&self.named);
        let waiting = waiting.map(|(due, seq)| (*due, numbered(*seq), false));
        let parked = self.parked.iter().map(|Reverse(one)| (one.due, one.message, one.returned));
        let mut all: Vec<(Millis, MessageRef, bool)> = waiting.chain(parked).collect();
        all.sort_by_key(|(due, message, _)| (*due, message.seq));
        all.iter().for_each(|(_, message, returned)| visit(message, *returned));
    }

    /// Empties it but for templates: all messages in memory, and the numbers of the others as runs.
    pub fn drain(&mut self) -> (Vec<MessageRef>, Vec<(u64, u64)>) {
        let (mut volatile, mut runs) = (Vec::new(), Vec::new());
        let mut one = |message: MessageRef| match message.lsn.is_volatile() {
            true => volatile.push(message),
            false => runs.push((message.seq, 1)),
        };
        for lane in &mut self.lanes {
            lane.returned.drain().into_iter().for_each(&mut one);
            lane.let_go.drain().into_iter().for_each(&mut one);
            lane.early.drain(..).for_each(|(_, message)| one(message));
            lane.tenants.iter_mut().flat_map(|tenants| tenants.drain()).for_each(&mut one);
        }
        self.keys.behind.drain().for_each(&mut one);
        self.parked.drain().for_each(|Reverse(parked)| one(parked.message));
        runs.extend(self.waiting.drain().map(|Reverse((_, seq))| (seq, 1)));
        runs.extend(std::mem::take(&mut self.named).into_iter().map(|(_, seq)| (seq, 1)));
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
        let lane = &mut self.lanes[level];
        match &lane.tenants {
            None if self.fair => lane.tenants = Some(Box::default()),
            Some(tenants) if !self.fair && tenants.is_empty() => lane.tenants = None,
            _ => {}
        }
        lane
    }
}

/// The first message from `from` on that is one of those wanted, and its mark.
fn first_of(
    marks: &Marks,
    from: &mut u64,
    is_unfinished: &mut bool,
    is_wanted: impl Fn(u64, u64) -> bool,
) -> Option<(u64, u64)> {
    for (n, (seq, mark)) in marks.from(*from).enumerate() {
        *from = seq;
        if is_wanted(seq, mark) {
            return Some((seq, mark));
        }
        if n == SEARCHED_MAX {
            *is_unfinished = true;
            return None;
        }
    }
    None
}

impl Lane {
    #[inline]
    fn peek(&self) -> Option<(Spot, MessageRef)> {
        if let Some(tenants) = &self.tenants {
            let member = tenants.peek()?;
            return Some((Spot::Turn { returned: member.returned }, member.message));
        }
        if let Some(message) = self.returned.peek() {
            return Some((Spot::Returned, *message));
        }
        let fresh = self.fresh.front().map(|(first, _)| *first);
        let early = self.early.front().filter(|(before, _)| fresh.is_none_or(|first| *before <= first));
        let next = early.map(|(before, _)| *before).or(fresh);
        if let Some(message) = self.let_go.peek().filter(|one| next.is_none_or(|next| one.seq <= next)) {
            return Some((Spot::LetGo, *message));
        }
        match early {
            Some((_, message)) => Some((Spot::Early, *message)),
            None => fresh.map(|seq| (Spot::Fresh, MessageRef { seq, lsn: NOWHERE, offset: 0, len: 0 })),
        }
    }

    /// As [`Lanes::visit_ready`], of a lane without tenants.
    fn visit(&self, visit: &mut dyn FnMut(&MessageRef, u64, bool)) {
        self.returned.in_order().iter().for_each(|message| visit(message, 1, true));
        let let_go = self.let_go.in_order();
        let (mut let_go, mut early) = (let_go.iter().peekable(), self.early.iter().peekable());
        let runs = self.fresh.iter().map(|(first, count)| (*first, *first + u64::from(*count)));
        for (first, end) in runs.chain([(u64::MAX, u64::MAX)]) {
            let mut at = first;
            loop {
                let next = early.peek().map_or(at, |(before, _)| at.min(*before));
                if let Some(message) = let_go.next_if(|message| message.seq <= next) {
                    visit(message, 1, false);
                } else if let Some((_, message)) = early.next_if(|(before, _)| *before <= at) {
                    visit(message, 1, false);
                } else if at < end {
                    let to = early.peek().map_or(end, |(before, _)| end.min(*before));
                    let to = let_go.peek().map_or(to, |message| to.min(message.seq));
                    visit(&numbered(at), to - at, false);
                    at = to;
                } else {
                    break;
                }
            }
        }
    }

    /// What is there goes to its tenants.
    fn share(&mut self, tenant: &impl Fn(u64) -> u64) {
        if self.tenants.is_some() {
            return;
        }
        let mut tenants = Tenants::default();
        for (place, message) in self.returned.drain_places() {
            let whose = if message.lsn.is_volatile() { NOBODY } else { tenant(message.seq) };
            tenants.push_known(whose, place, message, true);
        }
        let early = std::mem::take(&mut self.early).into_iter().zip(0..);
        let early = early.map(|((before, message), nth)| (Place::unnumbered(before, nth), message));
        for (place, message) in self.let_go.drain_places().into_iter().chain(early) {
            match message.lsn.is_volatile() {
                true => tenants.push_known(NOBODY, place, message, false),
                false => tenants.push_number(tenant(message.seq), message.seq),
            }
        }
        for (first, count) in std::mem::take(&mut self.fresh) {
            (first..first + u64::from(count)).for_each(|seq| tenants.push_number(tenant(seq), seq));
        }
        self.tenants = Some(Box::new(tenants));
    }
}

/// A logged message of which only the number is known.
fn numbered(seq: u64) -> MessageRef {
    MessageRef { seq, lsn: NOWHERE, offset: 0, len: 0 }
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

impl Kept {
    /// Where a logged message belongs.
    pub fn class(&self, settings: &QueueSettings, seq: u64) -> Class {
        let own = if self.classes.is_empty() { None } else { self.classes.get(seq) };
        Class { level: own.unwrap_or_else(|| level(settings, None)), tenant: self.tenant(seq) }
    }

    pub fn tenant(&self, seq: u64) -> u64 {
        if self.tenants.is_empty() { NOBODY } else { self.tenants.get(seq).unwrap_or(NOBODY) }
    }

    /// A logged message that nobody has had gets in line: it is ready, or waits for its time or for its key.
    pub fn come_in(&self, lanes: &mut Lanes, settings: &QueueSettings, seq: u64) {
        let key = if self.keys.is_empty() { None } else { self.keys.get(seq) };
        match key {
            Some(key) if !lanes.keys.enter(key, seq) => lanes.keys.behind.add_number(key, seq),
            _ => self.line_up(lanes, settings, seq, Door::Fresh),
        }
    }

    /// The same for one that no key keeps.
    pub fn line_up(&self, lanes: &mut Lanes, settings: &QueueSettings, seq: u64, door: Door) {
        let class = self.class(settings, seq);
        match (self.dues.get(&seq).filter(|due| **due > lanes.now), door) {
            (Some(due), _) if self.handles.has(seq) => lanes.push_named(*due, seq),
            (Some(due), _) => lanes.push_waiting(*due, seq),
            (None, Door::Fresh) => lanes.push(class, seq),
            (None, Door::LetGo) => {
                let message = MessageRef { seq, lsn: NOWHERE, offset: 0, len: 0 };
                lanes.push_let_go(class, Place::of_logged(seq), message);
            }
        }
    }
}

impl Queue {
    /// Has lanes from now on: what is ready moves there. `except` was just numbered and is not ready.
    pub(super) fn with_lanes(&mut self, except: Option<u64>) -> &mut Lanes {
        let Queue { special, fresh, index, volatile, returned, spec, .. } = self;
        // Whoever has another has lanes.
        let usual = Class { level: level(&spec.settings, None), tenant: NOBODY };
        let special = special.get_or_insert_default();
        special.lanes.get_or_insert_with(|| {
            let fair = spec.settings.fair;
            let mut lanes = Lanes { reach: fresh.dispatched(), ..Lanes::default() };
            let (from, _) = fresh.skip_all(index);
            for seq in live(index, from, index.next_seq()).filter(|seq| Some(*seq) != except) {
                lanes.push(usual, seq);
            }
            for message in volatile.drain(..) {
                lanes.push_volatile(usual, Place::unnumbered(message.seq, 0), message);
            }
            lanes.ready += returned.len() as u64;
            lanes.lane(usual.level).returned = std::mem::take(returned);
            lanes.share(fair, |_| NOBODY);
            lanes
        })
    }

    /// The node starts at time `stamp`: what is ready, and what waits, by what the log has said. Deliveries that are
    /// due are not told from others any more.
    pub(super) fn rebuild_lanes(&mut self, stamp: Millis) {
        let Queue { special, fresh, index, spec, .. } = self;
        let Some(special) = special else { return };
        special.counts = special.kept.failures.clone();
        let kept = &mut special.kept;
        kept.dues.retain(|_, due| *due > stamp);
        kept.handles.forget_due(stamp);
        #[cfg(feature = "sabotage")]
        {
            if crate::sabotage::is_on(&crate::sabotage::DELAYS_FORGOTTEN) {
                kept.dues.clear();
            }
            if crate::sabotage::is_on(&crate::sabotage::DUPLICATES_FORGOTTEN) {
                kept.seen = Default::default();
            }
        }
        if kept.is_in_plain_order() {
            if special.lanes.take().is_some() {
                *fresh = super::Fresh::rebuilt(index);
            }
            return;
        }
        fresh.skip_all(index);
        let mut lanes = Lanes { fair: spec.settings.fair, ..Lanes::default() };
        for seq in live(index, 0, index.next_seq()) {
            match kept.templates.get(&seq) {
                Some(template) => lanes.arm(template.due, seq),
                None => kept.come_in(&mut lanes, &spec.settings, seq),
            }
        }
        let of_templates: u64 = kept.templates.keys().map(|seq| kept.sizes.get(*seq)).sum();
        special.lanes = Some(lanes);
        if spec.settings.max_length_bytes.is_some() {
            special.ready_bytes = special.kept.sizes.live(index).saturating_sub(of_templates);
        }
    }

    /// Nothing is there, out or waiting: the next message finds a plain queue.
    pub(super) fn leave_lanes(&mut self) {
        let unacked = self.unacked;
        if let Some(special) = &mut self.special
            && special.kept.classes.is_empty()
            && special.kept.templates.is_empty()
            && special.lanes.as_ref().is_some_and(|lanes| lanes.is_empty() && unacked == 0)
        {
            special.lanes = None;
        }
    }
}

/// The lane for a message of that priority.
pub(super) fn level(settings: &QueueSettings, priority: Option<u8>) -> u8 {
    settings.max_priority.map_or(0, |max| priority.unwrap_or(settings.default_priority).min(max))
}
