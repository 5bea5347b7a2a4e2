//! What the clients of queues with rules do next ([`crate::clients::rules`]): they declare them all, publish in
//! batches that share a block, take, settle in every way, and let time pass.

use crate::clients::rules::{self, Ruled, Taker, name_of};
use crate::clients::{Asked, Note};
use crate::note;
use crate::plan::Class;
use crate::world::World;
use bowline_model::meta::{Command, MetaRequest, QueueDeclaration};
use bowline_model::record::Extras;
use bowline_model::request::{Outcome, Propose, Request, Settle, Subscribe, Volatile, Want};
use bowline_model::{ConsumerId, QueueId, ShardId};

/// Consumers of a session.
const TAKERS_MAX: usize = 4;
/// What a dead letter takes in the log at most, with its history; all that is alive may die in one block.
const DEAD_BYTES_MAX: usize = 900;
/// Time that passes in the end: more than any delay or life.
const LONG_MS: u64 = 10_000;

impl World {
    pub(crate) fn rule_action(&mut self) {
        if !self.clients.rules.all_declared() {
            return self.declare_all();
        }
        match self.chance.weighted(&[40, 12, 34, 6]) {
            0 => self.publish_ruled(),
            1 => self.subscribe_ruled(),
            2 => self.settle_ruled(),
            _ => {
                self.now += self.chance.choose([1, 5, 30, 200, 1_000]);
                note!(self.clients.trace, "time passes");
            }
        }
    }

    fn declare_all(&mut self) {
        let Some(session) = self.some_session() else { return };
        if self.clients.waiting.values().any(|w| matches!(w.asked, Asked::DeclareRuled { .. })) {
            return;
        }
        for slot in 0..self.clients.rules.slots.len() {
            if !self.clients.rules.queues.contains_key(&slot) {
                self.declare_ruled(session, slot);
            }
        }
    }

    fn declare_ruled(&mut self, session: u64, slot: usize) {
        let token = self.clients.ask(session, 0, Asked::DeclareRuled { slot });
        note!(self.clients.trace, "declare rule.{} t{}", slot, token.0);
        let declaration = QueueDeclaration {
            vhost: "/".into(),
            name: name_of(slot),
            durable: true,
            auto_delete: false,
            exclusive: None,
            arguments: self.clients.rules.slots[slot].arguments(),
        };
        if let Some(node) = &mut self.node {
            node.ask_meta(session, token, MetaRequest::Propose(Command::QueueDeclare(declaration)));
        }
    }

    fn publish_ruled(&mut self) {
        let Some(session) = self.some_session() else { return };
        let alive_max = self.plan.segment_bytes as usize / 4 / DEAD_BYTES_MAX;
        if self.clients.rules.alive() >= alive_max
            || crate::workload::unanswered_bytes(&self.clients) > self.plan.unanswered_bytes_max() / 2
        {
            return;
        }
        let shard = ShardId(1 + self.chance.below(u64::from(self.plan.data_shards)) as u16);
        let queues = self.clients.rules.queues.iter();
        let here: Vec<usize> =
            queues.filter(|(_, id)| self.shard_of(**id) == shard).map(|(slot, _)| *slot).collect();
        let (Some(&first), logged) = (self.chance.pick(&here), self.chance.percent(90)) else { return };
        let batch = self.clients.rules.batches.len();
        let checked = self.clients.rules.slots[first].refuses();
        let many = if checked { 1 } else { self.chance.within(1..=5) };
        let (mut sent, mut records, mut count) = (Vec::new(), Vec::new(), 0);
        for n in 0..many {
            let mut slots = vec![if n == 0 { first } else { here[self.chance.index(here.len())] }];
            if self.chance.percent(20) {
                slots.push(here[self.chance.index(here.len())]);
            }
            slots.retain(|slot| *slot == first || !self.clients.rules.slots[*slot].refuses());
            slots.sort_unstable();
            slots.dedup();
            if slots.is_empty() {
                continue;
            }
            let extras = self.some_extras();
            let id = self.clients.rules.messages.len() as u64;
            let body_len = self.chance.within(8..=60) as u32;
            let (sent_at, life) = (self.now, self.clients.life);
            let message = Ruled { publisher: session, body_len, logged, extras, sent_at, life, batch };
            let ids: Vec<u32> = slots.iter().map(|slot| self.clients.rules.queues[slot]).collect();
            rules::encode(&mut records, id, &message, &ids);
            self.clients.rules.messages.push(message);
            self.clients.counts.published += 1;
            sent.push((id, slots));
            count += 1;
        }
        self.clients.rules.batches.push(sent);
        self.clients.rules.sent(batch);
        let token = self.clients.ask(session, shard.0, Asked::PublishRuled(batch));
        note!(
            self.clients.trace,
            "publish ruled s{} t{} r{}.. ({} messages) logged={}",
            session,
            token.0,
            self.clients.rules.batches[batch][0].0,
            count,
            logged
        );
        let records = records.into();
        let request = if logged {
            Request::Propose(Propose { token, records, count, want: Want::Done, checked })
        } else {
            Request::Volatile(Volatile { token, records, count, checked })
        };
        self.send(shard, session, request, Note::Nothing);
    }

    fn some_extras(&mut self) -> Extras {
        let (priority, ttl_ms) = (self.chance.below(8) as u8, self.chance.choose([1, 30, 500]));
        let (delay_ms, dedup) = (self.chance.choose([1, 20, 200, 1_500]), u128::from(self.chance.below(6)));
        let key = self.chance.below(3);
        let deliver_at = self.now + self.chance.choose([3, 60, 900]);
        Extras {
            priority: self.chance.percent(50).then_some(priority),
            ttl_ms: self.chance.percent(20).then_some(ttl_ms),
            delay_ms: self.chance.percent(20).then_some(delay_ms),
            deliver_at: self.chance.percent(8).then_some(deliver_at),
            dedup: self.chance.percent(60).then_some(dedup),
            key: self.chance.percent(80).then_some(key),
            tenant: self.chance.percent(80).then_some(key),
            ..Extras::default()
        }
    }

    fn subscribe_ruled(&mut self) {
        let Some(session) = self.some_session() else { return };
        let takers = &self.clients.rules.takers;
        if takers.range((session, 0)..=(session, u32::MAX)).count() >= TAKERS_MAX {
            return;
        }
        let slot = self.chance.index(self.clients.rules.slots.len());
        let prefetch = self.chance.choose([1, 2, 5, 20]);
        self.take_from(session, slot, prefetch, None);
    }

    fn take_from(&mut self, session: u64, slot: usize, prefetch: u32, falls: Option<u8>) {
        let Some(&queue) = self.clients.rules.queues.get(&slot) else { return };
        let shard = self.shard_of(queue);
        let Some(from) = self.clients.sessions.get_mut(&session) else { return };
        let channel = 1 + self.chance.below(u64::from(from.channels)) as u16;
        let id = from.next_consumer;
        from.next_consumer += 1;
        let mut taker = Taker::new(slot, shard.0, channel, prefetch);
        taker.falls = falls;
        self.clients.rules.takers.insert((session, id), taker);
        let token = self.clients.ask(session, shard.0, Asked::SubscribeRuled((session, id)));
        note!(self.clients.trace, "subscribe s{} c{} rule.{} prefetch={}", session, id, slot, prefetch);
        let request = Subscribe {
            tag: Box::default(),
            token,
            queue: QueueId(queue),
            channel,
            consumer: ConsumerId(id),
            prefetch,
            no_ack: false,
            exclusive: false,
            priority: 0,
            timeout_ms: None,
        };
        self.send(shard, session, Request::Subscribe(request), Note::Consumer(id));
    }

    fn settle_ruled(&mut self) {
        let takers = self.clients.rules.takers.iter().filter(|(_, t)| t.held().next().is_some());
        let holders: Vec<(u64, u32)> = takers.map(|(key, _)| *key).collect();
        let Some(&key) = self.chance.pick(&holders) else { return };
        let numbers: Vec<u64> = self.clients.rules.takers[&key].held().collect();
        let shard = ShardId(self.clients.rules.takers[&key].shard);
        let outcome = match self.chance.below(20) {
            0..=4 if self.plan.has(Class::Returns) => Outcome::Failed,
            5..=6 if self.plan.has(Class::Returns) => Outcome::Returned,
            7 if self.plan.has(Class::Returns) => {
                Outcome::FailedFor { delay_ms: self.chance.choose([1, 50, 400]) }
            }
            8..=11 => Outcome::Rejected,
            _ => Outcome::Acked,
        };
        let first = numbers[self.chance.index(numbers.len())];
        let count = self.chance.choose([1, 1, 3]);
        let settles = vec![Settle { consumer: ConsumerId(key.1), first, count, outcome }];
        note!(self.clients.trace, "settle s{} c{} {}+{}", key.0, key.1, first, count);
        self.send(shard, key.0, Request::Settle(settles.clone()), Note::Settle(settles));
    }

    /// Everything in queues with rules goes to consumers or dies; in the end the books must balance.
    pub(crate) fn drain_ruled(&mut self) {
        if !self.clients.rules.all_declared() {
            return;
        }
        note!(self.clients.trace, "drain ruled");
        let session = self.clients.open_session(1);
        for slot in 0..self.clients.rules.slots.len() {
            self.take_from(session, slot, 0, Some(u8::MAX));
        }
        self.rest();
        // What waits comes now; what dies meanwhile may live for a while where it goes, and of one key comes one at a
        // time.
        let (mut last, mut quiet) = (self.clients.counts.delivered, 0);
        while quiet < self.clients.rules.slots.len() + 2 {
            self.now += LONG_MS;
            self.rest();
            self.ack_ruled();
            let delivered = self.clients.counts.delivered;
            quiet = if delivered == last { quiet + 1 } else { 0 };
            last = delivered;
        }
        self.clients.rules.account();
        self.clients.rules.is_over = true;
    }

    fn ack_ruled(&mut self) {
        let keys: Vec<((u64, u32), u16)> =
            self.clients.rules.takers.iter().map(|(key, taker)| (*key, taker.shard)).collect();
        for ((session, consumer), shard) in keys {
            let settle =
                Settle { consumer: ConsumerId(consumer), first: 0, count: u64::MAX, outcome: Outcome::Acked };
            self.send(ShardId(shard), session, Request::Settle(vec![settle]), Note::Settle(vec![settle]));
        }
        self.rest();
    }
}
