//! Queues with lanes ([`super::lanes`]): messages come in, and are found when their turn comes.

use super::dispatch::{Dispatch, Next, Source};
use super::enforce::is_too_long;
use super::keys::name;
use super::lanes::{Class, level};
use super::tenants::NOBODY;
use super::volatile::VolatileStore;
use super::window::MessageRef;
use super::{Queue, Special};
use bowline_model::Millis;
use bowline_model::record::Extras;

/// Where a logged message is.
pub(super) enum Found {
    At(MessageRef),
    /// It is settled.
    Gone,
    /// Its block has to be read first, or cannot be.
    Later,
}

impl Dispatch<'_> {
    pub(super) fn next_in_lanes(&mut self, queue: &mut Queue) -> Next {
        let (message, source) = match self.first_in_lanes(queue) {
            Ok(first) => first,
            Err(next) => return next,
        };
        let returned = matches!(source, Source::Lane(_, spot) if spot.is_returned());
        if message.lsn.is_volatile() || returned {
            return Next::Message { message, source, redelivered: returned };
        }
        if queue.survives && !queue.horizon.covers(message.seq) {
            queue.horizon.ran_out();
            self.housekeeping.reserve(queue, message.seq, true);
            return Next::Blocked;
        }
        let counts = queue.special.as_deref().and_then(|special| special.counts.get(&message.seq));
        let redelivered = counts.is_some_and(|counts| counts.0 > 0) || queue.horizon.is_suspect(message.seq);
        Next::Message { message, source, redelivered }
    }

    /// The first in line, and where it lies. An error says that there is none, or that it has to be read first.
    pub(super) fn first_in_lanes(&mut self, queue: &mut Queue) -> Result<(MessageRef, Source), Next> {
        loop {
            let lanes = queue.special.as_deref().and_then(|special| special.lanes.as_ref());
            let Some((level, spot, message)) = lanes.and_then(|lanes| lanes.peek()) else {
                return Err(Next::Nothing);
            };
            let source = Source::Lane(level, spot);
            if message.lsn.is_volatile() {
                return Ok((message, source));
            }
            match self.find(queue, message.seq) {
                Found::At(message) => return Ok((message, source)),
                Found::Later => return Err(Next::Blocked),
                Found::Gone => {
                    if let Some(lanes) = queue.lanes() {
                        lanes.take(level, spot);
                    }
                }
            }
        }
    }

    /// What is due is ready; and when to look again.
    pub(super) fn release(&mut self, queue: &mut Queue) {
        let next_seq = queue.index.next_seq();
        let Queue { special, spec, .. } = queue;
        let Some(Special { lanes: Some(lanes), kept, .. }) = special.as_deref_mut() else { return };
        lanes.release(self.time_of_log, next_seq, |seq| kept.class(&spec.settings, seq));
        match lanes.next_due() {
            Some(due) if due > self.now => self.timers.set(queue, due),
            // Reading, or the next attempt, brings the queue back.
            Some(_) if queue.reading || queue.unreadable => {}
            Some(due) if due > self.time_of_log => self.late.push(queue.at),
            Some(_) => self.timers.set(queue, self.now),
            None => queue.leave_lanes(),
        }
    }

    /// Of the ready messages that are not first in line, the one that came in first: where it lies, if that is known.
    pub(super) fn oldest(&mut self, queue: &mut Queue) -> Option<(MessageRef, Source)> {
        let is_too_long = is_too_long(queue);
        let Queue { special, spec, .. } = queue;
        let Some(Special { lanes: Some(lanes), kept, .. }) = special.as_deref_mut() else { return None };
        let search =
            is_too_long || spec.settings.message_ttl_ms.is_some() || kept.lifetimes.some_have_their_own();
        let (level, spot, message) = lanes.oldest(kept, &spec.settings, search)?;
        Some((message, Source::Lane(level, spot)))
    }

    pub(super) fn find(&mut self, queue: &mut Queue, seq: u64) -> Found {
        let extent = queue.index.extent(queue.index.position(seq));
        let Some(extent) = extent.filter(|extent| extent.live > 0 && extent.first <= seq) else {
            return Found::Gone;
        };
        if queue.index.settled_in(extent).contains(seq) {
            return Found::Gone;
        }
        let (lsn, nth, count) = (extent.lsn, (seq - extent.first) as usize, extent.count as usize);
        let Some(directory) = self.cache.directory(lsn) else {
            self.read(queue, lsn);
            return Found::Later;
        };
        // There may be more: the block's first messages may have come before the queue was created in it.
        let entries = directory.of(queue.at.id);
        let entry = entries.len().checked_sub(count).and_then(|before| entries.get(before + nth));
        let Some(entry) = entry else {
            self.lost(queue, lsn);
            return Found::Later;
        };
        Found::At(MessageRef { seq, lsn, offset: entry.offset, len: entry.len })
    }
}

impl Queue {
    pub(super) fn lanes(&mut self) -> Option<&mut super::lanes::Lanes> {
        self.special.as_deref_mut()?.lanes.as_mut()
    }

    /// Messages that wait for their time.
    pub fn delayed(&self) -> u64 {
        let lanes = self.special.as_deref().and_then(|special| special.lanes.as_ref());
        lanes.map_or(0, |lanes| lanes.delayed())
    }

    /// Durable: message `seq` has just come in, and is taken for fresh. Puts it where it belongs.
    pub(super) fn sort_in(&mut self, seq: u64, extras: &Extras, stamp: Millis) -> Sorted {
        let mut sorted = Sorted::default();
        let from = extras.from;
        #[cfg(feature = "sabotage")]
        let from = from.filter(|_| !crate::sabotage::is_on(&crate::sabotage::TRANSFER_TWICE));
        if let Some((source, number)) = from
            && !self.special().kept.transferred.insert(source, number)
        {
            return self.duplicate(seq);
        }
        if let Some((template, due)) = extras.made_by {
            match self.made(template, due, seq, stamp) {
                None => return self.duplicate(seq),
                Some(is_last) => sorted.exhausted = is_last.then_some(template),
            }
        }
        if let Some(id) = extras.dedup
            && self.has_seen(id, extras.window, stamp)
        {
            return self.duplicate(seq);
        }
        if let Some(recurrence) = extras.recurrence {
            // One that is over before it begins makes nothing.
            let Some(due) = self.add_template(seq, recurrence, stamp) else { return self.duplicate(seq) };
            sorted.replaced = extras.handle.and_then(|handle| self.name(handle, seq, Millis::MAX, stamp));
            self.with_lanes(Some(seq)).arm(due, seq);
            self.fresh.skip_all(&self.index);
            return sorted;
        }
        let settings = &*self.spec.settings;
        let own_class = Some(level(settings, extras.priority)).filter(|own| *own != level(settings, None));
        let key = extras.key.filter(|_| settings.keyed);
        let tenant = settings.fair.then(|| extras.tenant.unwrap_or(NOBODY));
        let due = due(extras, stamp);
        if own_class.is_some() || key.is_some() || tenant.is_some() || due.is_some() {
            let kept = &mut self.special.get_or_insert_default().kept;
            own_class.into_iter().for_each(|class| kept.classes.set(seq, class));
            key.into_iter().for_each(|key| kept.keys.set(seq, key));
            tenant.into_iter().for_each(|tenant| kept.tenants.set(seq, tenant));
            kept.dues.extend(due.map(|due| (seq, due)));
            self.with_lanes(Some(seq));
        }
        if let (Some(due), Some(handle)) = (due, extras.handle) {
            sorted.replaced = self.name(handle, seq, due, stamp);
        }
        let Queue { special, spec, fresh, index, .. } = self;
        if let Some(Special { lanes: Some(lanes), kept, .. }) = special.as_deref_mut() {
            kept.come_in(lanes, &spec.settings, seq);
            fresh.skip_all(index);
        }
        sorted
    }

    /// Message `seq`, which was taken for fresh, is none.
    fn duplicate(&mut self, seq: u64) -> Sorted {
        self.fresh.unpush(seq);
        Sorted { is_duplicate: true, ..Sorted::default() }
    }

    /// The same for the last of the messages in memory, which came in just now. What queues remember of messages is in
    /// the log, and so are the messages that they remember ([`Extras::must_be_logged`]): here is nothing of that.
    pub(super) fn sort_in_volatile(&mut self, extras: &Extras, stamp: Millis, volatile: &VolatileStore) {
        let settings = &*self.spec.settings;
        let class = Class::of(settings, extras);
        let key = extras.key.filter(|_| settings.keyed);
        let due = due(extras, stamp);
        let is_plain = class.level == level(settings, None) && !settings.fair && key.is_none();
        if is_plain && due.is_none() && self.lanes().is_none() {
            return;
        }
        let Some(message) = self.volatile.pop_back() else { return };
        let place = volatile.place(&message);
        let lanes = self.with_lanes(None);
        match (key, due) {
            (Some(key), _) if !lanes.keys.enter(key, name(&message)) => {
                lanes.keys.behind.add_known(key, place, message, false);
            }
            (_, Some(due)) => lanes.park(due, class, false, place, message),
            (_, None) => lanes.push_volatile(class, place, message),
        }
    }
}

/// What became of a message that came in.
#[derive(Default)]
pub(super) struct Sorted {
    /// It belongs nowhere, and is to be settled.
    pub is_duplicate: bool,
    /// It took the place of another, which is to be settled.
    pub replaced: Option<u64>,
    /// It was the last copy of this template, which is to be settled.
    pub exhausted: Option<u64>,
}

/// When a message that arrives at `stamp` may be delivered, if not at once.
pub(super) fn due(extras: &Extras, stamp: Millis) -> Option<Millis> {
    let delay = extras.delay_ms.map(|ms| stamp.saturating_add(ms));
    delay.into_iter().chain(extras.deliver_at).max().filter(|due| *due > stamp)
}
