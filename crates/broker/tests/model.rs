//! A shard under random requests, commits, crashes and replays, next to a model that is too simple to be wrong.
//!
//! The model keeps every message of every queue in one sorted map and reads durable truth straight from the log.
//! Now and then the content of segments is relocated, and what a checkpoint does not list any more is recycled; what
//! a crash does to that in between is part of the game.
//!
//! It checks after every step: each delivery is the next ready message in order, and by the round robin's rules;
//! `redelivered = false` was never seen before; the log settles only what somebody settled; what was confirmed is
//! in the log; counts agree; segments are live exactly as long as they are needed; and in the end, when everything
//! is drained, nothing is left.

use crate::common::*;
use bowline_broker::{Moved, Options, Shard};
use bowline_model::event::{Event, Failure, MetaEvent};
use bowline_model::record::{self, Kind, Publish};
use bowline_model::request::{Outcome, Provision, QueueSpec, Request, Settle, Subscribe};
use bowline_model::settings::QueueSettings;
use bowline_model::{BlockRef, ConsumerId, Lsn, QueueId, Token};
use std::collections::{BTreeMap, BTreeSet};

/// A message, unique over all publishes.
type Id = u64;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Left {
    No,
    /// Settled or purged in memory; a Settle record may or may not have made it.
    Yes,
}

#[derive(Default)]
struct ModelQueue {
    /// Ready messages by place: a number that grows with every message that comes in.
    ready: BTreeMap<u64, Id>,
    place: BTreeMap<Id, u64>,
    left: BTreeMap<Id, Left>,
    delivered: BTreeSet<Id>,
    unacked: u64,
    exclusive: bool,
}

struct ModelConsumer {
    queue: u32,
    prefetch: u32,
    no_ack: bool,
    priority: i32,
    exclusive: bool,
    channel: u16,
    active: bool,
    get: bool,
    next_number: u64,
    held: BTreeMap<u64, (u32, Id)>,
}

struct Batch {
    queues: Vec<u32>,
    ids: Vec<Id>,
    logged: bool,
}

struct Test {
    world: World,
    random: Random,
    queues: BTreeMap<u32, ModelQueue>,
    consumers: BTreeMap<(u64, u32), ModelConsumer>,
    batches: BTreeMap<Token, Batch>,
    gets: BTreeMap<Token, (u64, u32, u32, bool)>,
    confirmed: BTreeSet<Id>,
    next_id: Id,
    next_place: u64,
    next_consumer: u32,
    next_queue: u32,
    sessions: Vec<u64>,
    next_session: u64,
    checkpoint: Option<Saved>,
    /// Copied into a cold file, and the shard does not know yet; and which files should not be needed any more then.
    copied: Option<(Moved, BTreeSet<Lsn>)>,
    /// Something lies elsewhere than the log says.
    relocated: bool,
    /// A read has failed: gets may come back empty-handed.
    read_failed: bool,
}

/// A checkpoint, and how much of the log it covers.
struct Saved {
    bytes: Vec<u8>,
    covered: usize,
    relocated: bool,
}

/// xorshift64*: the test's only source of chance.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What the log alone says of a queue.
#[derive(Default)]
struct Truth {
    messages: Vec<Id>,
    settled: BTreeSet<u64>,
    blocks: Vec<BlockRef>,
}

/// Reads durable truth the slow way. Deleted queues are left out.
fn truth(log: &[BlockRef]) -> BTreeMap<u32, Truth> {
    let mut queues: BTreeMap<u32, (Truth, bool)> = BTreeMap::new();
    for block in log {
        for record in record::iter(&block.payload) {
            let record = record.unwrap();
            match record.kind {
                Kind::QueueCreate => {
                    let spec: QueueSpec = postcard::from_bytes(record.body).unwrap();
                    queues.entry(spec.queue.0).or_insert((Truth::default(), spec.durable));
                }
                Kind::QueueDelete => {
                    let id: QueueId = postcard::from_bytes(record.body).unwrap();
                    queues.remove(&id.0);
                }
                Kind::NodeStarted => queues.retain(|_, (_, durable)| *durable),
                Kind::Publish => {
                    let publish = Publish::decode(record.body).unwrap();
                    for id in publish.queues() {
                        if let Some((truth, _)) = queues.get_mut(&id) {
                            truth.messages.push(id_of(publish.body));
                            truth.blocks.push(block.clone());
                        }
                    }
                }
                Kind::Settle => {
                    let (id, _, runs) = record::take_settle(record.body).unwrap();
                    for (first, count) in runs {
                        if let Some((truth, _)) = queues.get_mut(&id) {
                            assert!(first + count <= truth.messages.len() as u64, "settled before it came");
                            truth.settled.extend(first..first + count);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    queues.into_iter().map(|(id, (truth, _))| (id, truth)).collect()
}

fn id_of(body: &[u8]) -> Id {
    u64::from_le_bytes(body[..8].try_into().unwrap())
}

impl Test {
    fn new(seed: u64) -> Test {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // Often there is hardly any memory, so that blocks have to be read back.
        let cache_bytes = [0, 2_000, 1 << 20][random.below(3) as usize];
        let readahead_bytes = [0, 5_000, 1 << 20][random.below(3) as usize];
        // A short reach makes the horizon matter all the time.
        let horizon_margin = [1, 4, 16 * 1024][random.below(3) as usize];
        let options = Options { cache_bytes, readahead_bytes, horizon_margin, ..Options::new(SHARD) };
        let mut test = Test {
            world: World::with(options),
            random,
            queues: BTreeMap::new(),
            consumers: BTreeMap::new(),
            batches: BTreeMap::new(),
            gets: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            next_id: 0,
            next_place: 0,
            next_consumer: 0,
            next_queue: 10,
            sessions: vec![1, 2, 3],
            next_session: 4,
            checkpoint: None,
            copied: None,
            relocated: false,
            read_failed: false,
        };
        // All have the same: so queues with priorities keep the usual order, on their own ways.
        test.world.extras.priority = test.random.chance(50).then_some(2);
        for _ in 0..3 {
            test.declare();
        }
        test
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..13 => self.publish(true),
            13 => self.relocate(),
            14..22 => self.publish(false),
            22..36 => drop(self.world.seal()),
            36..51 => drop(self.world.commit()),
            51 => drop(self.world.abandon(Failure::DiskFull)),
            52..64 => return self.dispatch(),
            64..72 => {
                let fail = self.random.chance(10);
                self.read_failed |= self.world.answer_read(fail) && fail;
            }
            72..77 => self.subscribe(),
            77..87 => self.settle(),
            87..89 => self.get(),
            89..91 => self.cancel(),
            91 => self.close_channel(),
            92 => self.close_session(),
            93 => self.purge(),
            94 => self.world.tick(300),
            95 => self.take_checkpoint(),
            96 => self.provision(),
            97 => self.info(),
            98 => self.relocate(),
            _ if self.random.chance(60) => self.crash(),
            _ => {}
        }
        self.absorb(&[]);
    }

    fn publish(&mut self, logged: bool) {
        let session = self.session();
        let mut queues: Vec<u32> = self.queues.keys().copied().collect();
        queues.push(5);
        let first = queues[self.random.below(queues.len() as u64) as usize];
        let mut to = vec![first];
        if self.random.chance(30) {
            to.extend(queues.iter().copied().find(|q| *q != first));
        }
        let n = 1 + self.random.below(5);
        let ids: Vec<Id> = (0..n).map(|i| self.next_id + i).collect();
        self.next_id += n;
        let bodies: Vec<Vec<u8>> = ids
            .iter()
            .map(|id| {
                let mut body = id.to_le_bytes().to_vec();
                body.resize(8 + self.random.below(200) as usize, b'.');
                body
            })
            .collect();
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let token = if logged {
            self.world.publish(session, &to, &bodies)
        } else {
            self.world.publish_volatile(session, &to, &bodies)
        };
        self.batches.insert(token, Batch { queues: to, ids, logged });
    }

    fn subscribe(&mut self) {
        let session = self.session();
        let queue = self.queue();
        let consumer = self.next_consumer;
        self.next_consumer += 1;
        let subscribe = Subscribe {
            tag: Box::default(),
            token: Token(0),
            queue: QueueId(queue),
            channel: 1 + self.random.below(2) as u16,
            consumer: ConsumerId(consumer),
            prefetch: [0, 1, 2, 7][self.random.below(4) as usize],
            no_ack: self.random.chance(20),
            exclusive: self.random.chance(5),
            priority: self.random.below(2) as i32,
            timeout_ms: None,
        };
        let model = ModelConsumer {
            queue,
            prefetch: subscribe.prefetch,
            no_ack: subscribe.no_ack,
            priority: subscribe.priority,
            exclusive: subscribe.exclusive,
            channel: subscribe.channel,
            active: true,
            get: false,
            next_number: 0,
            held: BTreeMap::new(),
        };
        let active = self.consumers.values().filter(|c| c.active && c.queue == queue).count();
        let locked = self.queues.get(&queue).is_some_and(|q| q.exclusive);
        self.world.handle(session, Request::Subscribe(subscribe));
        let Some((_, Event::Subscribed { result, .. })) = self.world.events.pop() else {
            panic!("no answer")
        };
        let allowed = self.queues.contains_key(&queue) && !locked && !(model.exclusive && active > 0);
        assert_eq!(result.is_ok(), allowed);
        if allowed {
            self.queues.get_mut(&queue).unwrap().exclusive = model.exclusive;
            self.consumers.insert((session, consumer), model);
        }
    }

    fn settle(&mut self) {
        let holders: Vec<(u64, u32)> =
            self.consumers.iter().filter(|(_, c)| !c.held.is_empty()).map(|(key, _)| *key).collect();
        if holders.is_empty() {
            return;
        }
        let (session, consumer) = holders[self.random.below(holders.len() as u64) as usize];
        let outcome = [Outcome::Acked, Outcome::Acked, Outcome::Acked, Outcome::Returned, Outcome::Rejected]
            [self.random.below(5) as usize];
        let held = &self.consumers[&(session, consumer)].held;
        let skip = self.random.below(held.len() as u64) as usize;
        let first = if self.random.chance(50) { 0 } else { *held.keys().nth(skip).unwrap() };
        let count = [1, 2, 5, u64::MAX][self.random.below(4) as usize];
        let settle = Settle { consumer: ConsumerId(consumer), first, count, outcome };
        self.world.handle(session, Request::Settle(vec![settle]));
        self.settled(session, consumer, first, count, outcome);
    }

    fn settled(&mut self, session: u64, consumer: u32, first: u64, count: u64, outcome: Outcome) {
        let consumer = self.consumers.get_mut(&(session, consumer)).unwrap();
        let end = first.saturating_add(count);
        let numbers: Vec<u64> = consumer.held.range(first..end).map(|(n, _)| *n).collect();
        for number in numbers {
            let (queue, id) = consumer.held.remove(&number).unwrap();
            let Some(queue) = self.queues.get_mut(&queue) else { continue };
            queue.unacked -= 1;
            match outcome {
                Outcome::Returned
                | Outcome::Withdrawn { .. }
                | Outcome::Failed
                | Outcome::FailedFor { .. } => {
                    queue.ready.insert(queue.place[&id], id);
                }
                Outcome::Acked | Outcome::Rejected => drop(queue.left.insert(id, Left::Yes)),
            }
        }
    }

    fn get(&mut self) {
        let session = self.session();
        let queue = self.queue();
        let found = self.consumers.iter().find(|((s, _), c)| *s == session && c.get && c.channel == 1);
        let consumer = match found {
            Some(((_, id), _)) => *id,
            None => {
                let id = self.next_consumer;
                self.next_consumer += 1;
                let model = ModelConsumer {
                    queue: 0,
                    prefetch: 0,
                    no_ack: false,
                    priority: 0,
                    exclusive: false,
                    channel: 1,
                    active: false,
                    get: true,
                    next_number: 0,
                    held: BTreeMap::new(),
                };
                if self.queues.contains_key(&queue) {
                    self.consumers.insert((session, id), model);
                }
                id
            }
        };
        let token = self.world.token();
        let no_ack = self.random.chance(30);
        let (id, consumer_id) = (QueueId(queue), ConsumerId(consumer));
        let request = Request::Get { token, queue: id, channel: 1, consumer: consumer_id, no_ack };
        self.gets.insert(token, (session, consumer, queue, no_ack));
        self.world.handle(session, request);
    }

    fn cancel(&mut self) {
        let active: Vec<(u64, u32)> =
            self.consumers.iter().filter(|(_, c)| c.active).map(|(key, _)| *key).collect();
        if !active.is_empty() {
            let (session, consumer) = active[self.random.below(active.len() as u64) as usize];
            self.world.handle(session, Request::Cancel { token: Token(0), consumer: ConsumerId(consumer) });
            self.deactivate(session, consumer);
        }
    }

    fn deactivate(&mut self, session: u64, consumer: u32) {
        let consumer = self.consumers.get_mut(&(session, consumer)).unwrap();
        if std::mem::take(&mut consumer.active)
            && consumer.exclusive
            && let Some(queue) = self.queues.get_mut(&consumer.queue)
        {
            queue.exclusive = false;
        }
    }

    fn close_channel(&mut self) {
        let session = self.session();
        self.world.handle(session, Request::CloseChannel { channel: 1 });
        self.closed(session, Some(1));
    }

    fn close_session(&mut self) {
        let session = self.session();
        self.world.handle(session, Request::CloseSession);
        self.closed(session, None);
        self.sessions.retain(|s| *s != session);
        self.sessions.push(self.next_session);
        self.next_session += 1;
    }

    fn closed(&mut self, session: u64, channel: Option<u16>) {
        let gone: Vec<u32> = self
            .consumers
            .iter()
            .filter(|((s, _), c)| *s == session && channel.is_none_or(|channel| c.channel == channel))
            .map(|((_, id), _)| *id)
            .collect();
        for consumer in gone {
            self.deactivate(session, consumer);
            self.settled(session, consumer, 0, u64::MAX, Outcome::Returned);
            self.consumers.remove(&(session, consumer));
        }
        self.gets.retain(|_, (s, _, _, _)| *s != session);
    }

    fn purge(&mut self) {
        let queue = self.queue();
        if let Some(model) = self.queues.get_mut(&queue) {
            let ready = std::mem::take(&mut model.ready);
            model.left.extend(ready.into_values().map(|id| (id, Left::Yes)));
        }
        self.world.handle(1_000, Request::Purge { token: Token(0), queue: QueueId(queue) });
    }

    fn provision(&mut self) {
        if self.random.chance(50) {
            self.declare();
        } else if self.queues.len() > 2 {
            let id = self.queue();
            let (queue, if_unused, if_empty) = (QueueId(id), false, false);
            self.world.handle(0, Request::Provision(Provision::DropQueue { queue, if_unused, if_empty }));
            while self.world.seal() {}
            self.check_settles();
            while self.world.commit() {}
            self.absorb(&[id]);
            let ready = self.queues.remove(&id).map_or(0, |q| q.ready.len() as u64);
            let dropped = self.world.meta.iter().find_map(|m| match m {
                MetaEvent::QueueDropped { queue: q, result } if *q == queue => Some(*result),
                _ => None,
            });
            assert_eq!(dropped, Some(Ok(ready)));
            for consumer in self.consumers.values_mut().filter(|c| c.queue == id) {
                consumer.active = false;
            }
        }
        self.world.meta.clear();
    }

    fn declare(&mut self) {
        let settings = Box::new(self.settings());
        let spec = QueueSpec { durable: self.random.chance(75), settings, ..queue(self.next_queue) };
        self.next_queue += 1;
        let id = spec.queue.0;
        self.queues.insert(id, ModelQueue::default());
        self.world.declare(spec);
        self.absorb(&[]);
    }

    /// What a queue may enforce without that changing what anybody sees.
    fn settings(&mut self) -> QueueSettings {
        let counts_deliveries = self.random.chance(30);
        QueueSettings {
            counts_deliveries,
            max_priority: self.random.chance(30).then_some(3),
            // All messages are of one tenant.
            fair: self.random.chance(25),
            ..QueueSettings::default()
        }
    }

    fn info(&mut self) {
        let id = self.queue();
        self.world.handle(1_000, Request::QueueInfo { token: Token(0), queue: QueueId(id) });
        let Some((_, Event::QueueInfo { result, .. })) = self.world.events.pop() else { panic!("no answer") };
        match self.queues.get(&id) {
            None => assert!(result.is_err()),
            Some(queue) => {
                let info = result.unwrap();
                let consumers = self.consumers.values().filter(|c| c.active && c.queue == id).count();
                assert_eq!(info.ready, queue.ready.len() as u64, "ready in {id}");
                assert_eq!(info.unacked, queue.unacked, "unacked in {id}");
                assert_eq!(info.consumers as usize, consumers);
            }
        }
    }

    fn take_checkpoint(&mut self) {
        let bytes = self.world.shard.checkpoint();
        let restored = Shard::restore(self.world.options.clone(), &bytes).unwrap();
        assert!(restored.checkpoint() == bytes, "a checkpoint comes back as it was");
        assert_eq!(restored.applied(), self.world.shard.applied());
        assert_eq!(restored.live_segments(), self.world.shard.live_segments());
        if !self.relocated {
            let mut replayed = Shard::new(self.world.options.clone());
            let mut nothing = bowline_broker::Effects::default();
            self.world.log.iter().for_each(|block| replayed.apply(block, Vec::new(), &mut nothing));
            assert!(replayed.checkpoint() == bytes, "the log alone gives the same");
        }
        let truth = truth(&self.world.log);
        let mut needed = BTreeSet::new();
        for truth in truth.values() {
            for (seq, block) in truth.blocks.iter().enumerate() {
                if !truth.settled.contains(&(seq as u64)) {
                    needed.insert(block.lsn.segment());
                }
            }
        }
        let live = self.world.shard.live_segments().0;
        assert!(if self.relocated { live.is_subset(&needed) } else { live == needed });
        self.world.recycle();
        self.checkpoint = Some(Saved { bytes, covered: self.world.log.len(), relocated: self.relocated });
    }

    /// Copies some files, or tells the shard that they have been copied.
    fn relocate(&mut self) {
        if let Some((moved, given_up)) = self.copied.take() {
            let before = self.world.shard.stats();
            self.relocated |= self.world.relocated(&moved) > 0;
            let after = self.world.shard.stats();
            assert_eq!((before.ready, before.unacked), (after.ready, after.unacked));
            let survey = self.world.shard.survey();
            assert!(given_up.iter().all(|file| !survey.contains_key(file)), "nothing is left behind");
            assert_eq!(self.world.relocated(&moved), 0, "once is enough");
            return;
        }
        let mut files: BTreeSet<Lsn> = self.world.shard.survey().into_keys().collect();
        files.retain(|_| self.random.chance(70));
        let sealed = self.world.sealed_below();
        let mut given_up: BTreeSet<Lsn> =
            files.iter().copied().filter(|f| f.is_cold() || *f < sealed).collect();
        let pass_bytes = [1, 1_000, 1 << 20][self.random.below(3) as usize];
        let bad_percent = if self.random.chance(20) { 20 } else { 0 };
        let random = &mut self.random;
        let mut any_bad = false;
        let moved = self.world.copy(&files, pass_bytes, || {
            let bad = random.chance(bad_percent);
            any_bad |= bad;
            bad
        });
        if any_bad {
            given_up.clear();
        }
        self.copied = Some((moved, given_up));
    }

    fn crash(&mut self) {
        self.check_settles();
        let survive = self.random.below(self.world.in_flight.len() as u64 + 1) as usize;
        let checkpoint = self.checkpoint.take().filter(|_| self.random.chance(70));
        if checkpoint.is_none() {
            // There never was one, so nothing was recycled.
            self.world.recycled.clear();
        }
        self.world.crash(survive, checkpoint.as_ref().map(|saved| (&saved.bytes[..], saved.covered)));
        self.relocated = checkpoint.as_ref().is_some_and(|saved| saved.relocated);
        self.checkpoint = checkpoint;
        self.copied = None;
        self.world.recycle_unlisted();
        self.consumers.clear();
        self.batches.clear();
        self.gets.clear();
        self.sessions = (self.next_session..self.next_session + 3).collect();
        self.next_session += 3;
        self.read_failed = false;
        let mut truth = truth(&self.world.log);
        self.queues.retain(|id, _| truth.contains_key(id));
        assert_eq!(self.queues.len(), truth.len());
        for (id, queue) in &mut self.queues {
            let truth = truth.remove(id).unwrap();
            queue.ready.clear();
            queue.unacked = 0;
            queue.exclusive = false;
            for (seq, message) in truth.messages.iter().enumerate() {
                let place = self.next_place;
                self.next_place += 1;
                queue.place.insert(*message, place);
                if !truth.settled.contains(&(seq as u64)) {
                    queue.ready.insert(place, *message);
                    queue.left.insert(*message, Left::No);
                }
            }
        }
        let log: BTreeSet<Id> = self.world.log.iter().flat_map(ids_in).collect();
        assert!(self.confirmed.is_subset(&log), "what was confirmed is in the log");
    }

    /// What the blocks under way settle must have been settled by somebody.
    fn check_settles(&mut self) {
        let mut log = self.world.log.clone();
        log.extend(self.world.in_flight.iter().map(|(block, _)| block.clone()));
        for (id, truth) in truth(&log) {
            let Some(queue) = self.queues.get(&id) else { continue };
            for seq in truth.settled {
                let message = truth.messages[seq as usize];
                assert_eq!(queue.left.get(&message), Some(&Left::Yes), "{message} of {id} was not settled");
            }
        }
    }

    /// One round of deliveries, checked.
    fn dispatch(&mut self) {
        self.absorb(&[]);
        self.world.dispatch();
        let seen = self.absorb(&[]);
        let mut by_queue: BTreeMap<u32, Vec<(Seen, u64)>> = BTreeMap::new();
        for seen in seen {
            let consumer = &self.consumers[&(seen.session, seen.consumer)];
            let queue = &self.queues[&consumer.queue];
            let place = queue.place[&id_of(&seen.body)];
            by_queue.entry(consumer.queue).or_default().push((seen, place));
        }
        for (id, mut round) in by_queue {
            round.sort_by_key(|(_, place)| *place);
            let mut got: BTreeMap<u32, u64> = BTreeMap::new();
            for (seen, place) in round {
                let consumer = self.consumers.get_mut(&(seen.session, seen.consumer)).unwrap();
                let message = id_of(&seen.body);
                assert!(consumer.active, "{} was cancelled", seen.consumer);
                assert_eq!(seen.number, consumer.next_number);
                consumer.next_number += 1;
                *got.entry(seen.consumer).or_default() += 1;
                let queue = self.queues.get_mut(&id).unwrap();
                assert_eq!(queue.ready.pop_first(), Some((place, message)), "the next in queue {id}");
                assert!(seen.redelivered || !queue.delivered.contains(&message), "{message} was seen before");
                queue.delivered.insert(message);
                if consumer.no_ack {
                    queue.left.insert(message, Left::Yes);
                } else {
                    consumer.held.insert(seen.number, (id, message));
                    queue.unacked += 1;
                    assert!(consumer.prefetch == 0 || consumer.held.len() <= consumer.prefetch as usize);
                }
            }
            self.check_fairness(id, &got);
        }
    }

    /// Who still has credit after a round got as much as anyone of its priority, give or take one, and nobody of a
    /// lower priority got anything.
    fn check_fairness(&self, id: u32, got: &BTreeMap<u32, u64>) {
        let members = self.consumers.iter().filter(|(_, c)| c.queue == id && c.active);
        let credit = |c: &ModelConsumer| c.no_ack || c.prefetch == 0 || c.held.len() < c.prefetch as usize;
        for ((_, eager), consumer) in members.clone().filter(|(_, c)| credit(c)) {
            let mine = got.get(eager).copied().unwrap_or(0);
            for ((_, other), theirs) in members.clone() {
                let other = got.get(other).copied().unwrap_or(0);
                if theirs.priority == consumer.priority {
                    assert!(other <= mine + 1, "{other} against {mine} of {eager}");
                } else if theirs.priority < consumer.priority {
                    assert_eq!(other, 0, "a lower priority was served");
                }
            }
        }
    }

    /// Takes note of all events but deliveries, which it hands back. Queues in `dropping` are about to go.
    fn absorb(&mut self, dropping: &[u32]) -> Vec<Seen> {
        self.check_settles_sometimes();
        let events = self.world.take_events();
        let seen = deliveries(&events);
        for (_, event) in events {
            match event {
                Event::Done { token } => self.done(token),
                Event::Got { token, result } => {
                    let Some((session, consumer, id, no_ack)) = self.gets.remove(&token) else { continue };
                    let Some(queue) = self.queues.get_mut(&id).filter(|_| !dropping.contains(&id)) else {
                        assert!(result.is_err());
                        continue;
                    };
                    let Some(got) = result.unwrap() else {
                        assert!(queue.ready.is_empty() || self.read_failed, "there was something to get");
                        continue;
                    };
                    let body = body_at(&got.block, got.delivery.offset, got.delivery.len);
                    let message = id_of(&body);
                    assert_eq!(queue.ready.pop_first().map(|(_, m)| m), Some(message));
                    assert_eq!(got.remaining, queue.ready.len() as u64);
                    assert!(got.delivery.redelivered || !queue.delivered.contains(&message));
                    queue.delivered.insert(message);
                    let getter = self.consumers.get_mut(&(session, consumer)).unwrap();
                    assert_eq!(got.delivery.number, getter.next_number);
                    getter.next_number += 1;
                    if no_ack {
                        queue.left.insert(message, Left::Yes);
                    } else {
                        getter.held.insert(got.delivery.number, (id, message));
                        queue.unacked += 1;
                    }
                }
                Event::Failed { token, .. } => drop(self.batches.remove(&token)),
                _ => {}
            }
        }
        self.world.meta.retain(|m| matches!(m, MetaEvent::QueueDropped { .. }));
        seen
    }

    fn check_settles_sometimes(&mut self) {
        if self.random.chance(5) {
            self.check_settles();
        }
    }

    /// A batch is in its queues now.
    fn done(&mut self, token: Token) {
        let Some(Batch { queues, ids, logged }) = self.batches.remove(&token) else { return };
        for id in ids {
            if logged {
                self.confirmed.insert(id);
            }
            for queue in &queues {
                let Some(queue) = self.queues.get_mut(queue) else { continue };
                queue.place.insert(id, self.next_place);
                queue.ready.insert(self.next_place, id);
                queue.left.insert(id, Left::No);
                self.next_place += 1;
            }
        }
    }

    /// Drains everything: what is published and not settled must come out.
    fn finish(&mut self) {
        self.rest();
        for session in self.sessions.clone() {
            self.world.handle(session, Request::CloseSession);
            self.closed(session, None);
        }
        for id in self.queues.keys().copied().collect::<Vec<_>>() {
            let consumer = self.next_consumer;
            self.next_consumer += 1;
            let model = ModelConsumer {
                queue: id,
                prefetch: 0,
                no_ack: true,
                priority: 0,
                exclusive: false,
                channel: 1,
                active: true,
                get: false,
                next_number: 0,
                held: BTreeMap::new(),
            };
            self.consumers.insert((u64::MAX, consumer), model);
            let subscribe = Subscribe {
                tag: Box::default(),
                token: Token(0),
                queue: QueueId(id),
                channel: 1,
                consumer: ConsumerId(consumer),
                prefetch: 0,
                no_ack: true,
                exclusive: false,
                priority: 0,
                timeout_ms: None,
            };
            self.world.handle(u64::MAX, Request::Subscribe(subscribe));
            assert!(matches!(self.world.events.last(), Some((_, Event::Subscribed { result: Ok(()), .. }))));
        }
        self.rest();
        for (id, queue) in &self.queues {
            assert!(queue.ready.is_empty(), "{:?} are left in {id}", queue.ready);
        }
        self.take_checkpoint();
        assert_eq!(self.world.shard.live_segments(), Default::default());
        let stats = self.world.shard.stats();
        assert_eq!((stats.ready, stats.unacked, stats.extents, stats.volatile_bytes), (0, 0, 0, 0));
    }

    fn rest(&mut self) {
        for _ in 0..10_000 {
            self.world.tick(0);
            self.dispatch();
            let moved = self.world.seal() | self.world.commit() | self.world.answer_read(false);
            self.absorb(&[]);
            self.world.handle(u64::MAX, Request::Drained { bytes: u64::MAX });
            if !moved && self.world.in_flight.is_empty() {
                if self.world.shard.next_deadline().is_none() {
                    return;
                }
                self.world.tick(1_000);
            }
        }
        panic!("it never comes to rest");
    }

    fn session(&mut self) -> u64 {
        self.sessions[self.random.below(self.sessions.len() as u64) as usize]
    }

    /// Usually one that exists.
    fn queue(&mut self) -> u32 {
        let n = self.random.below(self.queues.len() as u64 * 10 + 1) as usize;
        self.queues.keys().nth(n / 10).copied().unwrap_or(5)
    }
}

fn ids_in(block: &BlockRef) -> Vec<Id> {
    let publishes = record::iter(&block.payload).map(|r| r.unwrap()).filter(|r| r.kind == Kind::Publish);
    publishes.map(|r| id_of(Publish::decode(r.body).unwrap().body)).collect()
}

#[test]
fn agrees_with_the_model_whatever_happens() {
    // The seed is the test's input; the shard never sees it.
    #[allow(clippy::disallowed_methods)]
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    let first = number("BOWLINE_SEED").unwrap_or(0);
    let count = number("BOWLINE_SEEDS").unwrap_or(if first > 0 { 1 } else { 200 });
    let seeds = first..first + count;
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut test = Test::new(seed);
            for _ in 0..800 {
                test.step();
            }
            test.finish();
        });
        assert!(outcome.is_ok(), "seed {seed} (BOWLINE_SEED={seed} runs it alone)");
    }
}

#[test]
fn a_damaged_checkpoint_is_refused_or_harmless() {
    let mut test = Test::new(4);
    while test.world.shard.checkpoint().len() < 400 {
        test.step();
    }
    let bytes = test.world.shard.checkpoint();
    let options = &test.world.options;
    for cut in 0..bytes.len() {
        assert!(Shard::restore(options.clone(), &bytes[..cut]).is_err(), "{cut}");
    }
    for byte in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1 << bit;
            if let Ok(shard) = Shard::restore(options.clone(), &damaged) {
                shard.stats();
            }
        }
    }
    let mut newer = bytes.clone();
    newer[0] += 1;
    let error = Shard::restore(options.clone(), &newer).map(|_| ()).unwrap_err();
    assert_eq!(error, bowline_broker::RestoreError::Version(u16::from(newer[0])));
}
