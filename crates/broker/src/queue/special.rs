//! What a queue keeps beyond a plain one: there only for queues that enforce something ([`QueueSettings`]), or that
//! hold a message with a life of its own ([`Extras`]). A plain queue pays one branch.
//!
//! [`Kept`] is durable: it changes by applied records alone and is in the checkpoint. The rest is the leader's.
//! Whoever changes what a queue holds calls the hook of that name here: [`Special::arrived`], [`Special::took`],
//! [`Special::returned`], [`Special::settled`].

use super::classes::Classes;
use super::duplicates::{Scopes, Seen};
use super::failures::Counts;
use super::handles::Handles;
use super::lanes::Lanes;
use super::lifetime::Lifetimes;
use super::marks::Marks;
use super::redrive::Moving;
use super::returned::Place;
use super::sizes::Sizes;
use super::sorted::due;
use super::story::Story;
use super::templates::Template;
use super::volatile::VolatileStore;
use super::window::MessageRef;
use super::{Index, Queue, QueueRef, Queues};
use crate::effects::Happened;
use bowline_model::record::{self, Extras, PUBLISH_EXTRAS, Publish, Record, SettleReason};
use bowline_model::settings::QueueSettings;
use bowline_model::transferred::Transferred;
use bowline_model::{Block, Lsn, Millis};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The durable part. Fields are only ever appended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub lifetimes: Lifetimes,
    pub sizes: Sizes,
    /// Priorities, for queues that have them.
    pub classes: Classes,
    /// Not to be delivered before, by number; times that are over are forgotten at the next start.
    pub dues: BTreeMap<u64, Millis>,
    /// How often messages came back.
    pub failures: BTreeMap<u64, Counts>,
    pub seen: Seen,
    pub transferred: Transferred,
    /// Hashes of the keys of messages that stay in order within them.
    pub keys: Marks,
    /// Hashes of those whose messages they are, for queues that share fairly.
    pub tenants: Marks,
    /// Names of messages that wait.
    pub handles: Handles,
    /// Messages with a schedule.
    pub templates: BTreeMap<u64, Template>,
    /// When the lives of messages begin that waited first, by number; where the queue has a bound on them.
    pub born: BTreeMap<u64, Millis>,
    /// Ids seen lately, by exchanges that ask for it.
    pub scopes: Scopes,
}

#[derive(Debug, Default)]
pub(crate) struct Special {
    pub kept: Kept,
    /// Body bytes of ready messages; kept only if the queue has a bound on it.
    pub ready_bytes: u64,
    /// Messages that are out of the queue but for what the dead-letter exchange makes of them: neither ready nor
    /// unacked, and live in the index. In the order in which they died.
    pub dying: VecDeque<(MessageRef, SettleReason)>,
    /// Messages that are on their way elsewhere because somebody wants it; as those that are dying otherwise.
    pub moving: VecDeque<Moving>,
    /// What is to be told of what happened.
    pub story: Story,
    /// Everything below has been offered to consumers: a message with a time to live of 0 had its chance.
    pub offered: u64,
    /// As `offered`, for volatile messages: so many at the front.
    pub offered_volatile: usize,
    /// Checked messages on their way through the log.
    pub arriving: u64,
    /// Since when nobody has used it; `None`: not known yet.
    pub idle_since: Option<Millis>,
    /// For queues with priorities, or with messages that have to wait.
    pub lanes: Option<Lanes>,
    /// As [`Kept::failures`], and what the log has yet to hear of.
    pub counts: BTreeMap<u64, Counts>,
    /// Of messages in memory, by where they lie.
    pub counts_in_memory: HashMap<(u64, u32), Counts, foldhash::fast::FixedState>,
    /// Messages that came back, and how long they have to wait, for the log.
    pub unreported: BTreeMap<u64, Option<Millis>>,
    /// Messages that came back without having been seen
    /// ([`Outcome::Withdrawn`](bowline_model::request::Outcome::Withdrawn)).
    pub unseen: BTreeSet<Place>,
    /// What is being copied of it, for an exchange's history.
    pub copying: VecDeque<super::Copying>,
    /// Messages that were dropped because their id was known, since the start.
    pub duplicates: u64,
    /// The block that was read last for it.
    pub read_last: Lsn,
    /// Failed messages that are not handed out again before the log has their counts, each with when it is due if
    /// it has to wait longer.
    pub unlogged: BTreeMap<u64, (MessageRef, Option<Millis>)>,
    /// Somebody has just used it.
    pub touched: bool,
    /// The earliest entry of this queue in [`super::timers::Timers`].
    pub timer: Option<Millis>,
}

/// What a message says of itself, read when it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub seq: u64,
    pub stamp: Millis,
    pub extras: Extras,
    pub body_bytes: u32,
}

impl Kept {
    /// Messages have the order of their numbers.
    pub fn is_in_plain_order(&self) -> bool {
        let is_ordered = self.classes.is_empty() && self.keys.is_empty() && self.tenants.is_empty();
        is_ordered && self.dues.is_empty() && self.templates.is_empty()
    }
}

impl Special {
    /// Whether a queue with these settings has one from the start.
    pub fn is_needed(settings: &QueueSettings) -> bool {
        *settings != QueueSettings::default()
    }

    /// As of a checkpoint.
    pub fn restored(kept: Kept, index: &Index) -> Special {
        let ready_bytes = kept.sizes.live(index);
        Special { kept, ready_bytes, ..Special::default() }
    }

    /// Durable: the queue enforces something else from time `stamp` on. `head` is the first message that is not
    /// settled, `next_seq` the next; `guess` the usual size of a message.
    pub fn changed(
        &mut self,
        (old, new): (&QueueSettings, &QueueSettings),
        (head, next_seq): (u64, u64),
        guess: u64,
        stamp: Millis,
    ) {
        self.kept.lifetimes.bounded(new.message_ttl_ms.is_some(), old.message_ttl_ms.is_some(), head, stamp);
        if new.max_length_bytes.is_none() {
            self.kept.sizes = Sizes::default();
            self.ready_bytes = 0;
        } else if old.max_length_bytes.is_none() {
            self.kept.sizes.begin(next_seq, guess);
        }
        self.touched = true;
    }

    /// Durable: a logged message came in.
    pub fn arrived(&mut self, settings: &QueueSettings, arrival: &Arrival) {
        let Arrival { seq, stamp, extras, body_bytes } = *arrival;
        // What waits does not age.
        let due = due(&extras, stamp);
        let times = (stamp, due.unwrap_or(stamp));
        self.kept.lifetimes.arrived(seq, times, settings.message_ttl_ms, extras.ttl_ms);
        if let Some(due) = due.filter(|_| settings.message_ttl_ms.is_some()) {
            self.kept.born.insert(seq, due);
        }
        if settings.max_length_bytes.is_some() {
            self.kept.sizes.arrived(seq, body_bytes);
            self.ready_bytes += u64::from(body_bytes);
        }
        self.arriving = self.arriving.saturating_sub(1);
    }

    /// Durable: the log says that messages `first..first + count` are settled. `head`: the first that is not.
    pub fn settled(&mut self, first: u64, count: u64, head: u64) {
        self.kept.lifetimes.settled(first, count, head);
        self.kept.sizes.settled(head);
    }

    /// Durable: messages `first..first + count` are settled, nothing has to be known of them any more.
    pub fn forget(&mut self, first: u64, count: u64) {
        let to = first.saturating_add(count);
        self.kept.keys.forget(first, to);
        self.kept.tenants.forget(first, to);
        forget_range(&mut self.kept.dues, first, to);
        forget_range(&mut self.kept.failures, first, to);
        forget_range(&mut self.kept.templates, first, to);
        forget_range(&mut self.kept.born, first, to);
        self.kept.handles.forget(first, to);
        forget_range(&mut self.counts, first, to);
        forget_range(&mut self.unreported, first, to);
        if !self.unseen.is_empty() {
            self.unseen.retain(|place| place.batch != u64::MAX || !(first..to).contains(&place.seq));
        }
        forget_range(&mut self.unlogged, first, to);
    }

    /// A ready message of that many body bytes was handed out, or left.
    #[inline]
    pub fn took(&mut self, bytes: u64) {
        self.ready_bytes = self.ready_bytes.saturating_sub(bytes);
    }

    /// A message came back.
    #[inline]
    pub fn returned(&mut self, bytes: u64) {
        self.ready_bytes += bytes;
    }
}

impl Queue {
    /// Has the optional state, making it if need be.
    pub(super) fn special(&mut self) -> &mut Special {
        self.special.get_or_insert_default()
    }
}

impl Queues {
    /// The part of applying a Publish record that plain messages of plain queues do without. `queue` has just
    /// numbered the message `seq`. What ends with its block is added to `ended`, be it this message or another.
    #[cold]
    #[inline(never)]
    pub(super) fn apply_special(
        queue: &mut Queue,
        block: &Block,
        record: &Record<'_>,
        seq: u64,
        volatile: &VolatileStore,
        ended: &mut Vec<(QueueRef, u64, Option<SettleReason>)>,
    ) {
        let Some(publish) = Publish::decode(record.body) else { return };
        let Extras { ttl_ms, delay_ms, deliver_at, from, made_by, recurrence, window, .. } = publish.extras;
        let is_timed = ttl_ms.is_some() || delay_ms.is_some() || deliver_at.is_some() || recurrence.is_some();
        let is_plain = from.is_none() && made_by.is_none() && window.is_none();
        if queue.special.is_none() && !is_timed && is_plain {
            return;
        }
        let body_bytes = publish.body.len() as u32;
        let arrival = Arrival { seq, stamp: block.stamp, extras: publish.extras, body_bytes };
        let special = queue.special.get_or_insert_default();
        special.arrived(&queue.spec.settings, &arrival);
        let sorted = queue.sort_in(seq, &publish.extras, block.stamp);
        let at = queue.at;
        queue.special().duplicates += u64::from(sorted.is_duplicate);
        // Neither duplicates nor templates are ever ready.
        let never_ready = sorted.is_duplicate || recurrence.is_some();
        if never_ready && queue.spec.settings.max_length_bytes.is_some() {
            queue.special().took(u64::from(body_bytes));
        }
        let message = MessageRef { seq, lsn: block.lsn, offset: record.offset, len: record.len };
        let what = if sorted.is_duplicate { Happened::Duplicate } else { Happened::Published };
        queue.tell(&message, volatile, what);
        if sorted.is_duplicate {
            ended.push((at, seq, None));
        }
        ended.extend(sorted.replaced.map(|seq| (at, seq, Some(SettleReason::Purged))));
        ended.extend(sorted.exhausted.map(|seq| (at, seq, Some(SettleReason::Acked))));
    }
}

fn forget_range<T>(map: &mut BTreeMap<u64, T>, first: u64, to: u64) {
    while let Some((&seq, _)) = map.range(first..to).next() {
        map.remove(&seq);
    }
}

/// Whether a Publish record's body has extras.
#[inline]
pub(super) fn has_extras(body: &[u8]) -> bool {
    body.first().is_some_and(|flags| flags & PUBLISH_EXTRAS != 0)
}

/// What the message at `offset` says of itself.
pub(super) fn extras_of(block: &Block, offset: u32) -> Extras {
    let found = record::at(&block.payload, offset).ok().filter(|found| has_extras(found.body));
    found.and_then(|found| Publish::decode(found.body)).map(|publish| publish.extras).unwrap_or_default()
}
