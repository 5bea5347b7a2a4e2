//! Queues that enforce something, and the queues for what dies in them: what the clients know of each message there.
//!
//! The model is not as exact as that of plain queues ([`super::queue`]): when a timer strikes is the broker's affair.
//! It knows what may not happen: a second copy of a message, a message lost, something too early or too late.
//!
//! A message that dies goes from queue to queue, along a *path*: the queues in which it died, oldest first, as its
//! header `x-death` tells. Where it is on its way is a *spot*: queue, message and path. Dead letters go to queues of
//! higher number only, so a path never comes back, and of each spot there is one copy or none. A copy is known by its
//! place in the log.

mod account;
mod rule;

use super::message::{self, Id};
use super::queue::ConsumerKey;
use crate::chance::Chance;
use crate::plan::Plan;
use bowline_broker::QueueStats;
use bowline_codec_amqp::{Properties, Value as Field};
use bowline_model::event::Delivery;
use bowline_model::record::{self, Extras, PUBLISH_DIED, PUBLISH_PERSISTENT, Publish};
use bowline_model::request::{Outcome, Settle};
use bowline_model::{Block, Millis};
use rule::LONG_MS;
pub use rule::{Rule, name_of};
use std::collections::{BTreeMap, BTreeSet};

/// A message's properties: the delivery mode.
const PROPERTIES: [u8; 3] = [0x10, 0, 2];

/// A message to queues with rules.
#[derive(Clone, Debug)]
pub struct Ruled {
    pub publisher: u64,
    pub body_len: u32,
    pub logged: bool,
    pub extras: Extras,
    pub sent_at: Millis,
    pub life: u32,
    /// Messages that share a fate: one block or none.
    pub batch: usize,
}

/// Appends its Publish record for `queues`.
pub fn encode(out: &mut Vec<u8>, id: Id, message: &Ruled, queues: &[u32]) {
    let flags = if message.logged { PUBLISH_PERSISTENT } else { 0 };
    let body = message::body(id, message.body_len);
    let (queues, pieces) = (queues.iter().copied(), [body.as_slice()]);
    Publish::encode_with(out, flags, queues, b"", b"key", &PROPERTIES, &message.extras, pieces.into_iter());
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Presence {
    /// A dead letter, known because it was seen.
    #[default]
    Born,
    Sent,
    There,
    /// A crash has left doubt.
    Perhaps,
    Refused,
}

type Path = Vec<usize>;
/// Queue by slot, message, and where it died before.
type Key = (usize, Id, Path);

/// What is known of a message in a queue.
#[derive(Debug, Default)]
struct Spot {
    presence: Presence,
    /// It cannot have come in before.
    since: Millis,
    logged: bool,
    /// Where in the log it was seen.
    copies: BTreeSet<(u64, u32)>,
    delivered: bool,
    held: Option<ConsumerKey>,
    /// It was acknowledged (or rejected where that ends it), and whether a crash may undo that.
    over: Option<Millis>,
    is_sure: bool,
    /// In this life something was done that makes it leave for its heir.
    dying: bool,
    rejected: bool,
    /// Failures that the broker knows of, at least and at most, and those that a crash does not undo.
    failures: (u64, u64),
    sure_failures: u64,
    /// It came back, and has to wait.
    waits_until: Millis,
    wait_is_sure: bool,
}

/// A consumer of a queue with rules.
#[derive(Debug)]
pub struct Taker {
    pub slot: usize,
    pub shard: u16,
    pub channel: u16,
    pub prefetch: u32,
    pub active: bool,
    pub known: bool,
    next_number: u64,
    held: BTreeMap<u64, Key>,
    /// In the end: priorities of what comes may only fall.
    pub falls: Option<u8>,
}

impl Taker {
    pub fn new(slot: usize, shard: u16, channel: u16, prefetch: u32) -> Taker {
        Taker {
            slot,
            shard,
            channel,
            prefetch,
            active: false,
            known: false,
            next_number: 0,
            held: BTreeMap::new(),
            falls: None,
        }
    }

    pub fn held(&self) -> impl Iterator<Item = u64> + '_ {
        self.held.keys().copied()
    }
}

/// What a publish batch has: messages, each with the slots of the queues that it goes to.
pub type Sent = Vec<(Id, Vec<usize>)>;

#[derive(Debug, Default)]
pub struct Rules {
    pub slots: Vec<Rule>,
    /// Ids of the queues, by slot, once they are declared.
    pub queues: BTreeMap<usize, u32>,
    pub messages: Vec<Ruled>,
    pub batches: Vec<Sent>,
    /// Batches that a crash has left in doubt.
    doubtful: BTreeSet<usize>,
    pub takers: BTreeMap<ConsumerKey, Taker>,
    spots: BTreeMap<Key, Spot>,
    /// By shard: spots where something was done that a crash may undo.
    unsure: BTreeMap<u16, BTreeSet<Key>>,
    /// Which messages with a deduplication id came into a queue: with the times of their blocks, if known.
    seen: BTreeMap<(usize, u128), BTreeMap<Id, Option<Millis>>>,
    /// The last one that was delivered, by queue, order key and publisher.
    key_upto: BTreeMap<(usize, u64, u64), Id>,
    /// All is drained.
    pub is_over: bool,
}

impl Rules {
    /// The queues of a world: some with rules, and two without for what dies.
    pub fn new(plan: &Plan) -> Rules {
        if plan.rule_percent == 0 {
            return Rules::default();
        }
        let mut chance = Chance::new(plan.seed ^ 0x0072_756c_6573);
        let ruled = chance.within(2..=5) as usize;
        let slots = (0..ruled).map(|slot| rule::some(&mut chance, slot, ruled + 2));
        let slots = slots.collect::<Vec<_>>().into_iter().chain([Rule::default(), Rule::default()]).collect();
        Rules { slots, ..Rules::default() }
    }

    pub fn all_declared(&self) -> bool {
        self.queues.len() == self.slots.len()
    }

    /// Messages that may be in some queue yet.
    pub fn alive(&self) -> usize {
        self.spots.values().filter(|s| s.over.is_none() && s.presence != Presence::Refused).count()
    }

    /// A batch goes out.
    pub fn sent(&mut self, batch: usize) {
        for (id, slots) in &self.batches[batch] {
            let message = &self.messages[*id as usize];
            for slot in slots {
                let spot = Spot {
                    presence: Presence::Sent,
                    since: message.sent_at,
                    logged: message.logged,
                    ..Spot::default()
                };
                self.spots.insert((*slot, *id, Vec::new()), spot);
            }
        }
    }

    pub fn answered(&mut self, batch: usize, confirmed: bool) {
        for (id, slots) in &self.batches[batch] {
            for slot in slots {
                let spot = self.spots.entry((*slot, *id, Vec::new())).or_default();
                spot.presence = if confirmed { Presence::There } else { Presence::Refused };
            }
        }
    }

    /// `None`: the consumer is none of ours. Otherwise queue (by slot), message, and how often it has died.
    pub fn delivered(
        &mut self,
        key: ConsumerKey,
        delivery: &Delivery,
        block: &Block,
        (now, life): (Millis, u32),
    ) -> Option<(usize, Id, usize)> {
        let taker = self.takers.get_mut(&key)?;
        let slot = taker.slot;
        assert_eq!(delivery.number, taker.next_number, "promise: deliveries of {key:?} are numbered densely");
        taker.next_number += 1;
        let (id, path, reason) = identify(block, delivery, &self.messages);
        let spot_key = (slot, id, path);
        taker.held.insert(delivery.number, spot_key.clone());
        assert!(taker.active, "promise: a cancelled consumer {key:?} gets nothing");
        assert!(
            taker.prefetch == 0 || taker.held.len() <= taker.prefetch as usize,
            "promise: {key:?} holds no more than its prefetch of {}",
            taker.prefetch
        );
        let message = &self.messages[id as usize];
        if let Some(least) = &mut taker.falls
            && spot_key.2.is_empty()
            && (message.extras.delay_ms, message.extras.deliver_at) == (None, None)
            && self.spots.get(&spot_key).is_some_and(|spot| spot.waits_until == 0)
            && !self.slots[slot].is_keyed
        {
            let priority =
                if self.slots[slot].has_priorities { message.extras.priority.unwrap_or(0).min(5) } else { 0 };
            assert!(
                priority <= *least,
                "promise: of what waits, the higher priority goes first; {id} has {priority} in queue {slot}, after {least}"
            );
            *least = priority;
        }
        if let Some(reason) = reason {
            self.died(&spot_key, &reason, block.stamp);
        }
        self.accepted(&spot_key, Some(block.stamp));
        self.check_key(&spot_key);
        self.look(&spot_key, key, delivery, block, (now, life));
        Some((slot, id, spot_key.2.len()))
    }

    /// Of messages with one key one is out at a time, and each publisher's come in order.
    fn check_key(&mut self, spot_key: &Key) {
        let (slot, id, path) = spot_key;
        let key_of = |id: Id, path: &[usize]| match path {
            [] => self.messages[id as usize].extras.key,
            // Dead letters come with the routing key of their queue.
            _ => Some(u64::MAX),
        };
        if !self.slots[*slot].is_keyed {
            return;
        }
        let Some(key) = key_of(*id, path) else { return };
        let of_queue = self.spots.range((*slot, 0, Vec::new())..(*slot + 1, 0, Vec::new()));
        for ((_, other, way), spot) in of_queue {
            assert!(
                spot.held.is_none() || key_of(*other, way) != Some(key) || (other, way) == (id, path),
                "promise: of messages with one key in queue {slot} one is out: {id} goes and {other} is"
            );
        }
        let message = &self.messages[*id as usize];
        let is_first = self.spots.get(spot_key).is_none_or(|spot| !spot.delivered);
        if path.is_empty() && message.logged && is_first {
            let last = self.key_upto.entry((*slot, key, message.publisher)).or_insert(*id);
            assert!(
                *last <= *id,
                "promise: messages with one key in queue {slot} are in order: {id} after {last}"
            );
            *last = *id;
        }
    }

    /// A message was given out: may it have been?
    fn look(
        &mut self,
        spot_key: &Key,
        key: ConsumerKey,
        delivery: &Delivery,
        block: &Block,
        (now, life): (Millis, u32),
    ) {
        let (slot, id, path) = spot_key;
        let (slot, id) = (*slot, *id);
        let rule = &self.slots[slot];
        let message = &self.messages[id as usize];
        assert!(
            !path.is_empty() || self.spots.contains_key(spot_key),
            "promise: message {id} was not sent to queue {slot}"
        );
        let spot = self.spots.entry(spot_key.clone()).or_default();
        if spot.presence == Presence::Born && spot.copies.is_empty() {
            (spot.since, spot.logged) = (block.stamp, message.logged);
        }
        assert_ne!(
            spot.presence,
            Presence::Refused,
            "promise: a refused message {id} is not in queue {slot}"
        );
        spot.copies.insert((block.lsn.0, delivery.offset));
        assert!(
            spot.copies.len() == 1 || !spot.logged,
            "promise: message {id} is in queue {slot} once, by way of {path:?}; and it lies at {:?}; {rule:?} {message:?}",
            spot.copies
        );
        assert!(
            spot.over.is_none(),
            "promise: message {id} was settled in queue {slot}, and is not delivered"
        );
        assert!(!spot.dying, "promise: message {id} has died in queue {slot}, and is not delivered");
        assert!(spot.held.is_none(), "promise: message {id} of queue {slot} goes to one consumer at a time");
        assert!(
            delivery.redelivered || !spot.delivered,
            "promise: message {id} of queue {slot} was delivered before; redelivered must be set"
        );
        assert!(
            !delivery.redelivered || spot.delivered || !path.is_empty() || message.life < life,
            "promise: message {id} of queue {slot} cannot have been delivered before"
        );
        let due = match path.as_slice() {
            [] => {
                let due = message.extras.delay_ms.map_or(0, |ms| block.stamp + ms);
                due.max(message.extras.deliver_at.unwrap_or(0))
            }
            _ => 0,
        };
        assert!(
            now >= due,
            "promise: message {id} of queue {slot} is delivered at {due}, and not {} ms before",
            due - now
        );
        if let Some(ttl) = lifetime(rule, message, path) {
            // The life of a delayed message begins when it is due.
            let began = due.max(block.stamp);
            assert!(
                now < began + ttl,
                "promise: message {id} of queue {slot} lives for {ttl} ms, and {} later is not delivered",
                now - began
            );
        }
        assert!(
            now >= spot.waits_until,
            "promise: message {id} failed in queue {slot} and comes back in {} ms, not at once",
            spot.waits_until - now
        );
        if let Some((_, attempts)) = &rule.retry {
            assert!(
                spot.failures.0 < *attempts,
                "promise: message {id} of queue {slot} has {attempts} attempts, and failed as often"
            );
        }
        spot.delivered = true;
        spot.held = Some(key);
    }

    /// A message with this path was seen: it has died where the path ends.
    fn died(&mut self, child: &Key, reason: &str, born: Millis) {
        let (_, id, path) = child;
        let Some((&from, before)) = path.split_last() else { return };
        let parent_key = (from, *id, before.to_vec());
        let rule = &self.slots[from];
        assert_eq!(rule.heir, Some(child.0), "promise: what dies in queue {from} goes to its heir");
        let message = &self.messages[*id as usize];
        let is_known = self.spots.contains_key(&parent_key);
        assert!(is_known || !before.is_empty(), "promise: message {id} was not sent to queue {from}");
        let parent = self.spots.entry(parent_key.clone()).or_default();
        if !is_known {
            parent.logged = message.logged;
        }
        if self.spots.get(child).is_some_and(|child| !child.copies.is_empty()) {
            return;
        }
        let parent = &self.spots[&parent_key];
        let is_due = match reason {
            "expired" => lifetime(rule, message, before).is_some_and(|ttl| born >= parent.since + ttl),
            "rejected" => parent.rejected,
            "maxlen" => rule.max_length.is_some(),
            "delivery_limit" => {
                rule.retry.as_ref().is_some_and(|(_, attempts)| parent.failures.1 >= *attempts)
            }
            _ => false,
        };
        assert!(
            is_due,
            "promise: nothing dies in queue {from} without a reason, as {id} with {reason} at {born}: {parent:?}"
        );
        assert!(
            parent.presence != Presence::Refused || rule.overflow == "reject-publish-dlx",
            "promise: message {id} was refused by queue {from} and did not die there"
        );
        assert!(
            parent.over.is_none_or(|over| born <= over),
            "promise: message {id} was settled in queue {from} at {:?}, and does not die at {born}",
            parent.over
        );
        // What is refused may go to the heir all the same.
        if reason != "maxlen" || rule.overflow != "reject-publish-dlx" {
            self.accepted(&parent_key, None);
        }
    }

    /// A message was seen to have come into a queue; `stamp`: when its block was made.
    fn accepted(&mut self, (slot, id, path): &Key, stamp: Option<Millis>) {
        let (Some(window), Some(dedup)) =
            (self.slots[*slot].window_ms, self.messages[*id as usize].extras.dedup)
        else {
            return;
        };
        if !path.is_empty() || !self.messages[*id as usize].logged {
            return;
        }
        let seen = self.seen.entry((*slot, dedup)).or_default();
        let entry = seen.entry(*id).or_default();
        *entry = entry.or(stamp);
        for (other, at) in seen.iter().filter(|(other, _)| *other != id) {
            let is_apart = match (at, stamp) {
                (Some(a), Some(b)) => a.abs_diff(b) >= window,
                _ => window < LONG_MS,
            };
            assert!(
                is_apart,
                "promise: {id} and {other} are the same message, of which queue {slot} takes one in {window} ms; {seen:?}, now at {stamp:?}"
            );
        }
    }

    pub fn settle(&mut self, key: ConsumerKey, settle: &Settle, now: Millis) {
        let Some(taker) = self.takers.get_mut(&key) else { return };
        let end = settle.first.saturating_add(settle.count);
        let numbers: Vec<u64> = taker.held.range(settle.first..end).map(|(n, _)| *n).collect();
        let shard = taker.shard;
        let spots: Vec<Key> = numbers.iter().filter_map(|n| taker.held.remove(n)).collect();
        for spot in spots {
            self.settle_one(shard, spot, settle.outcome, now);
        }
    }

    fn settle_one(&mut self, shard: u16, key: Key, outcome: Outcome, now: Millis) {
        let rule = &self.slots[key.0];
        let Some(spot) = self.spots.get_mut(&key) else { return };
        spot.held = None;
        match outcome {
            Outcome::Acked => (spot.over, spot.is_sure) = (Some(now), false),
            Outcome::Rejected if rule.heir.is_some() => (spot.rejected, spot.dying) = (true, true),
            Outcome::Rejected => (spot.over, spot.is_sure) = (Some(now), false),
            // Sessions do that with what they have not handed out; these hand out everything.
            Outcome::Withdrawn { .. } => {}
            Outcome::Returned | Outcome::Failed | Outcome::FailedFor { .. } => {
                let mut delay = 0;
                let mut may_be_enough = false;
                if let Some((delays, attempts)) = &rule.retry {
                    let (least, most) = spot.failures;
                    spot.failures = (least + 1, most + 1);
                    let nth = |n: u64| delays[(n as usize).min(delays.len() - 1)];
                    delay = (least..=most).map(nth).min().unwrap_or(0);
                    may_be_enough = most + 1 >= *attempts;
                    if least + 1 >= *attempts {
                        match rule.heir {
                            Some(_) => spot.dying = true,
                            None => (spot.over, spot.is_sure) = (Some(now), false),
                        }
                    }
                }
                if let Outcome::FailedFor { delay_ms } = outcome {
                    delay = delay_ms;
                }
                // What has failed too often does not wait; and should a crash undo its end, it is there at once.
                let waits_until = if may_be_enough { 0 } else { now + delay };
                (spot.waits_until, spot.wait_is_sure) = (waits_until, false);
            }
        }
        self.unsure.entry(shard).or_default().insert(key);
    }

    /// A channel's consumers in this shard end, or all of the session's: what they hold comes back, as failures.
    pub fn close(&mut self, shard: u16, session: u64, channel: Option<u16>, now: Millis) {
        let range = self.takers.range((session, 0)..=(session, u32::MAX));
        let ours = range.filter(|(_, t)| {
            t.known && t.shard == shard && channel.is_none_or(|channel| t.channel == channel)
        });
        let keys: Vec<ConsumerKey> = ours.map(|(key, _)| *key).collect();
        for key in keys {
            let Some(taker) = self.takers.remove(&key) else { continue };
            for spot in taker.held.into_values() {
                self.settle_one(shard, spot, Outcome::Failed, now);
            }
        }
    }

    /// The shard has written all it had to: a crash undoes nothing of it.
    pub fn idle(&mut self, shard: u16) {
        for key in std::mem::take(self.unsure.entry(shard).or_default()) {
            let Some(spot) = self.spots.get_mut(&key) else { continue };
            spot.is_sure = true;
            // The failure that was one too many is not counted: the message leaves for it, or comes back.
            if !spot.dying {
                spot.sure_failures = spot.failures.0;
            }
            spot.wait_is_sure = true;
        }
    }

    pub fn crashed(&mut self) {
        self.takers.clear();
        self.unsure.clear();
        for ((_, id, path), spot) in &mut self.spots {
            spot.held = None;
            spot.dying = false;
            spot.failures.0 = spot.sure_failures;
            if !spot.is_sure {
                spot.over = None;
            }
            if !spot.wait_is_sure {
                spot.waits_until = 0;
            }
            if spot.presence == Presence::Sent {
                if path.is_empty() {
                    self.doubtful.insert(self.messages[*id as usize].batch);
                }
                spot.presence = Presence::Perhaps;
            }
            if !spot.logged {
                spot.copies.clear();
                if matches!(spot.presence, Presence::There) {
                    spot.presence = Presence::Perhaps;
                }
            }
        }
    }

    /// Nothing is under way in the shard of the queue.
    pub fn check_at_rest(&self, stats: &QueueStats) {
        let Some((&slot, _)) = self.queues.iter().find(|(_, id)| **id == stats.queue.0) else { return };
        let takers = self.takers.iter().filter(|(_, t)| t.active && t.slot == slot);
        let (mut n, mut held) = (0, 0);
        for (key, taker) in takers {
            n += 1;
            held += taker.held.len() as u64;
            let has_credit = taker.prefetch == 0 || taker.held.len() < taker.prefetch as usize;
            assert!(
                // What stands behind another of its key is ready.
                !has_credit || stats.ready == 0 || self.slots[slot].is_keyed,
                "promise: {} messages of {} are ready and {key:?} has credit, and nothing moves",
                stats.ready,
                name_of(slot)
            );
        }
        assert_eq!(stats.consumers, n, "promise: {} counts its consumers", name_of(slot));
        assert_eq!(stats.unacked, held, "promise: {} counts what is unacknowledged", name_of(slot));
        let rule = &self.slots[slot];
        if rule.overflow == "drop-head"
            && let Some(max) = rule.max_length
        {
            assert!(stats.ready <= max, "promise: {} has {} of {max} messages", name_of(slot), stats.ready);
        }
        assert!(
            !self.is_over || stats.ready + stats.unacked == 0,
            "promise: settled messages do not come back to {}",
            name_of(slot)
        );
    }
}

/// How long a message may live in a queue.
fn lifetime(rule: &Rule, message: &Ruled, path: &[usize]) -> Option<u64> {
    let own = message.extras.ttl_ms.filter(|_| path.is_empty());
    own.into_iter().chain(rule.ttl_ms).min()
}

/// Which message it is, its path, and why it died last.
///
/// # Panics
/// If it is not a message that was sent.
fn identify(block: &Block, delivery: &Delivery, sent: &[Ruled]) -> (Id, Path, Option<String>) {
    let record = record::at(&block.payload, delivery.offset).expect("promise: a delivery is a record");
    record::verify(&block.payload, &record).expect("promise: a delivered record has its checksum");
    let publish = Publish::decode(record.body).expect("promise: a delivered record is a message");
    let (id, _) = publish.body.split_first_chunk::<8>().expect("promise: a body is what was sent");
    let id = u64::from_le_bytes(*id);
    let message = sent.get(id as usize).expect("promise: a body is what was sent");
    assert!(
        publish.body == message::body(id, message.body_len),
        "promise: message {id} comes back byte for byte"
    );
    if publish.flags & PUBLISH_DIED == 0 {
        assert!(publish.properties == PROPERTIES, "promise: message {id} comes back byte for byte");
        return (id, Vec::new(), None);
    }
    let properties = Properties::parse(publish.properties).expect("promise: a dead letter has properties");
    let Some(Field::Array(deaths)) = properties.headers().and_then(|headers| headers.get("x-death")) else {
        panic!("promise: a dead letter tells its history; {id} does not");
    };
    let mut path = Vec::new();
    let mut last = None;
    for death in deaths.iter() {
        let Field::Table(death) = death else { panic!("promise: a death of {id} is a table") };
        let (Some(Field::LongStr(queue)), Some(Field::LongStr(reason))) =
            (death.get("queue"), death.get("reason"))
        else {
            panic!("promise: a death of {id} has a queue and a reason");
        };
        let count = death.get("count").and_then(|count| count.as_i64());
        assert_eq!(count, Some(1), "promise: message {id} died in {queue:?} once");
        let slot = std::str::from_utf8(queue).ok().and_then(|name| name.strip_prefix("rule."));
        path.push(
            slot.and_then(|slot| slot.parse().ok())
                .expect("promise: a death names a queue that was declared"),
        );
        last = last.or(Some(String::from_utf8_lossy(reason).into_owned()));
    }
    path.reverse();
    (id, path, last)
}
