//! What clients do next: requests by chance, within what their protocols allow.

use crate::clients::message::{self, Message};
use crate::clients::{Asked, Batch, Clients, Consumer, Note};
use crate::note;
use crate::plan::Class;
use crate::world::World;
use bowline_model::meta::{Command, MetaRequest, QueueDeclaration};
use bowline_model::request::{Outcome, Propose, Request, Settle, Subscribe, Volatile, Want};
use bowline_model::{ConsumerId, QueueId, ShardId};
use std::collections::BTreeMap;

/// Consumers of a session.
const CONSUMERS_MAX: usize = 6;

impl World {
    /// One request, or a few that belong together.
    pub fn client_action(&mut self) {
        let txn_percent = self.plan.txn_percent;
        if txn_percent > 0 && self.plan.has(Class::Transactions) && self.chance.percent(txn_percent) {
            return self.txn_action();
        }
        if self.plan.has(Class::Streams) && self.chance.percent(self.plan.stream_percent) {
            return self.stream_action();
        }
        if self.plan.has(Class::Groups) && self.chance.percent(self.plan.group_percent) {
            return self.group_action();
        }
        if self.plan.has(Class::Rules) && self.chance.percent(self.plan.rule_percent) {
            return self.rule_action();
        }
        if self.clients.names.len() < self.plan.queues_max && self.chance.percent(30) {
            return self.declare();
        }
        let weights = [6, 40, 14, 30, 3, 3, 3, 8, 2, 3, 2, 2];
        match self.chance.weighted(&weights) {
            0 => self.open_session(),
            1 => self.publish(),
            2 => self.subscribe(),
            3 => self.settle(),
            4 => self.cancel(),
            5 => self.close_channel(),
            6 => self.close_session(),
            7 => self.get(),
            8 => self.purge(),
            9 => self.ask_info(),
            10 => self.delete(),
            _ => self.declare(),
        }
    }

    pub(crate) fn shard_of(&self, queue: u32) -> ShardId {
        ShardId::of(queue, self.plan.data_shards)
    }

    pub(crate) fn send(&mut self, shard: ShardId, session: u64, request: Request, note: Note) {
        if let Some(node) = &mut self.node {
            node.send(shard, session, request, note);
        }
    }

    pub(crate) fn some_session(&mut self) -> Option<u64> {
        if self.clients.sessions.is_empty() {
            self.open_session();
        }
        let i = self.chance.index(self.clients.sessions.len());
        self.clients.sessions.keys().nth(i).copied()
    }

    fn some_queue(&mut self) -> Option<u32> {
        let i = self.chance.index(self.clients.names.len().max(1));
        self.clients.names.values().nth(i).copied()
    }

    fn open_session(&mut self) {
        if self.clients.sessions.len() < self.plan.sessions_max {
            let channels = self.chance.within(1..=3) as u16;
            let id = self.clients.open_session(channels);
            note!(self.clients.trace, "open s{}", id);
        }
    }

    fn declare(&mut self) {
        let Some(session) = self.some_session() else { return };
        let name = format!("queue.{}", self.chance.below(self.plan.queues_max as u64));
        // Declared again like it was, if it is there.
        let known = self.clients.names.get(&name).and_then(|id| self.clients.queues.get(id));
        let (durable, auto_delete, exclusive) = match known {
            Some(queue) => (queue.survives, queue.auto_delete, queue.exclusive_to.is_some()),
            None => match self.chance.below(10) {
                0 => (false, false, false),
                1 => (true, true, false),
                2 => (false, false, true),
                _ => (true, false, false),
            },
        };
        let asked = Asked::DeclareQueue { name: name.clone(), durable, auto_delete, exclusive };
        let token = self.clients.ask(session, 0, asked);
        note!(self.clients.trace, "declare s{} t{} durable={}", session, token.0, durable);
        let declaration = QueueDeclaration {
            vhost: "/".into(),
            name,
            durable,
            auto_delete,
            exclusive: exclusive.then_some(bowline_model::SessionId(session)),
            arguments: Vec::new(),
        };
        if let Some(node) = &mut self.node {
            node.ask_meta(session, token, MetaRequest::Propose(Command::QueueDeclare(declaration)));
        }
    }

    fn delete(&mut self) {
        if !self.plan.has(Class::Deletes) {
            return;
        }
        let (Some(session), Some(queue)) = (self.some_session(), self.some_queue()) else { return };
        let Some(name) = self.clients.queues.get(&queue).map(|q| q.name.clone()) else { return };
        let token = self.clients.ask(session, 0, Asked::DeleteQueue { name: name.clone(), queue });
        *self.clients.deleting.entry(name.clone()).or_default() += 1;
        let (if_unused, if_empty) = (self.chance.percent(40), self.chance.percent(30));
        note!(self.clients.trace, "delete q{} t{} {} {}", queue, token.0, if_unused, if_empty);
        if let Some(node) = &mut self.node {
            let request = MetaRequest::QueueDelete { vhost: "/".into(), name, if_unused, if_empty };
            node.ask_meta(session, token, request);
        }
    }

    fn publish(&mut self) {
        let Some(session) = self.some_session() else { return };
        if unanswered_bytes(&self.clients) > self.plan.unanswered_bytes_max() {
            return;
        }
        let transient = self.plan.has(Class::Transient) && self.chance.percent(25);
        // Messages of one batch, each for some queues.
        let mut by_shard: BTreeMap<ShardId, Vec<(u64, Vec<u32>)>> = BTreeMap::new();
        let mut bytes = 0;
        for _ in 0..self.chance.within(1..=8) {
            if bytes > self.plan.unanswered_bytes_max() / 2 {
                break;
            }
            let Some(first) = self.some_queue() else { return };
            let mut queues = vec![first];
            if self.plan.has(Class::Fanout) {
                while self.chance.percent(30) {
                    queues.extend(self.some_queue());
                }
                queues.sort_unstable();
                queues.dedup();
            }
            let id = self.clients.messages.len() as u64;
            let body_len = self.chance.within(8..=self.plan.body_bytes_max) as u32;
            self.clients.messages.push(Message { publisher: session, body_len });
            bytes += body_len as usize + 64;
            self.clients.counts.published += 1;
            for queue in queues {
                let messages = by_shard.entry(self.shard_of(queue)).or_default();
                match messages.last_mut() {
                    Some((last, its)) if *last == id => its.push(queue),
                    _ => messages.push((id, vec![queue])),
                }
            }
        }
        for (shard, messages) in by_shard {
            self.publish_to(session, shard, messages, !transient);
        }
    }

    fn publish_to(&mut self, session: u64, shard: ShardId, messages: Vec<(u64, Vec<u32>)>, logged: bool) {
        let mut records = Vec::new();
        for (id, queues) in &messages {
            message::encode(&mut records, *id, &self.clients.messages[*id as usize], queues);
        }
        let mut count = messages.len() as u32;
        let first = messages[0].0;
        let mut batches = Vec::new();
        if logged && self.plan.has(Class::Streams) && self.chance.percent(self.plan.stream_percent / 4) {
            batches.extend(self.riding_batch(shard));
            let (more, n) = self.encode_appends(&batches);
            records.extend(more);
            count += n;
        }
        let batch = Batch { session, logged, messages, records: batches };
        let token = self.clients.ask(session, shard.0, Asked::Publish(batch));
        note!(
            self.clients.trace,
            "publish s{} t{} shard {} m{}.. ({}) logged={}",
            session,
            token.0,
            shard.0,
            first,
            count,
            logged
        );
        let records = records.into();
        let request = if logged {
            Request::Propose(Propose { token, records, count, want: Want::Done, checked: false })
        } else {
            Request::Volatile(Volatile { token, records, count, checked: false })
        };
        self.send(shard, session, request, Note::Publish(token));
    }

    fn subscribe(&mut self) {
        let (Some(session), Some(queue)) = (self.some_session(), self.some_queue()) else { return };
        let has = self.clients.consumers.range((session, 0)..=(session, u32::MAX)).count();
        if has >= CONSUMERS_MAX {
            return;
        }
        let no_ack = self.plan.has(Class::NoAck) && self.chance.percent(15);
        let prefetch = self.chance.choose([0, 1, 2, 5, 20]);
        let exclusive = self.chance.percent(4);
        self.subscribe_to(session, queue, prefetch, no_ack, exclusive);
    }

    pub(crate) fn subscribe_to(
        &mut self,
        session: u64,
        queue: u32,
        prefetch: u32,
        no_ack: bool,
        exclusive: bool,
    ) {
        let shard = self.shard_of(queue);
        let Some(from) = self.clients.sessions.get_mut(&session) else { return };
        let channel = 1 + self.chance.below(u64::from(from.channels)) as u16;
        let id = from.next_consumer;
        from.next_consumer += 1;
        let consumer = Consumer {
            known: false,
            shard: shard.0,
            channel,
            queue: Some(queue),
            prefetch,
            no_ack,
            active: false,
            next_number: 0,
            held: BTreeMap::new(),
        };
        self.clients.consumers.insert((session, id), consumer);
        let token = self.clients.ask(session, shard.0, Asked::Subscribe((session, id)));
        note!(
            self.clients.trace,
            "subscribe s{} c{} q{} prefetch={} no_ack={}",
            session,
            id,
            queue,
            prefetch,
            no_ack
        );
        let priority = self.chance.choose([0, 0, 0, 5, -1]);
        let request = Subscribe {
            tag: Box::default(),
            token,
            queue: QueueId(queue),
            channel,
            consumer: ConsumerId(id),
            prefetch,
            no_ack,
            exclusive,
            priority,
            timeout_ms: None,
        };
        self.send(shard, session, Request::Subscribe(request), Note::Consumer(id));
    }

    fn settle(&mut self) {
        let holders: Vec<(u64, u32)> =
            self.clients.consumers.iter().filter(|(_, c)| !c.held.is_empty()).map(|(key, _)| *key).collect();
        let Some(&key) = self.chance.pick(&holders) else { return };
        let consumer = &self.clients.consumers[&key];
        let shard = ShardId(consumer.shard);
        let numbers: Vec<u64> = consumer.held.keys().copied().collect();
        let mut settles = Vec::new();
        for _ in 0..self.chance.within(1..=3) {
            let outcome = match self.chance.below(10) {
                0..=1 if self.plan.has(Class::Returns) => Outcome::Returned,
                2 => Outcome::Rejected,
                _ => Outcome::Acked,
            };
            let first = numbers[self.chance.index(numbers.len())];
            let (first, count) = match self.chance.below(4) {
                // multiple = true: everything up to this one.
                0 => (0, first + 1),
                1 => (first, self.chance.within(1..=6)),
                2 if self.chance.percent(20) => (0, u64::MAX),
                _ => (first, 1),
            };
            settles.push(Settle { consumer: ConsumerId(key.1), first, count, outcome });
        }
        note!(self.clients.trace, "settle s{} c{} {} runs", key.0, key.1, settles.len());
        self.send(shard, key.0, Request::Settle(settles.clone()), Note::Settle(settles));
    }

    fn cancel(&mut self) {
        let active: Vec<(u64, u32)> = self
            .clients
            .consumers
            .iter()
            .filter(|(_, c)| c.active && c.queue.is_some())
            .map(|(key, _)| *key)
            .collect();
        let Some(&key) = self.chance.pick(&active) else { return };
        let shard = ShardId(self.clients.consumers[&key].shard);
        let token = self.clients.ask(key.0, shard.0, Asked::Cancel(key));
        note!(self.clients.trace, "cancel s{} c{}", key.0, key.1);
        let request = Request::Cancel { token, consumer: ConsumerId(key.1) };
        self.send(shard, key.0, request, Note::Cancel(key.1));
    }

    fn close_channel(&mut self) {
        let Some(session) = self.some_session() else { return };
        let channels = self.clients.sessions[&session].channels;
        let channel = 1 + self.chance.below(u64::from(channels)) as u16;
        note!(self.clients.trace, "close s{} channel {}", session, channel);
        for shard in (1..=self.plan.data_shards).map(ShardId) {
            self.send(shard, session, Request::CloseChannel { channel }, Note::CloseChannel(channel));
        }
        // A channel that is opened again has other consumers for its gets.
        if let Some(session) = self.clients.sessions.get_mut(&session) {
            session.getters.retain(|(c, _), _| *c != channel);
        }
    }

    fn close_session(&mut self) {
        let Some(session) = self.some_session() else { return };
        note!(self.clients.trace, "close s{}", session);
        self.close_session_now(session);
    }

    pub(crate) fn close_session_now(&mut self, session: u64) {
        self.clients.sessions.remove(&session);
        self.clients.groups.closed(session);
        for queue in self.clients.queues.values_mut().filter(|q| q.exclusive_to == Some(session)) {
            queue.may_vanish = true;
        }
        for shard in (1..=self.plan.data_shards).map(ShardId) {
            self.send(shard, session, Request::CloseSession, Note::CloseSession);
        }
        if let Some(node) = &mut self.node {
            node.meta_inbox.push_back(crate::node::MetaInput::Closed(bowline_model::SessionId(session)));
        }
    }

    fn get(&mut self) {
        if !self.plan.has(Class::Gets) {
            return;
        }
        let (Some(session), Some(queue)) = (self.some_session(), self.some_queue()) else { return };
        let shard = self.shard_of(queue);
        let Some(from) = self.clients.sessions.get_mut(&session) else { return };
        let channel = 1 + self.chance.below(u64::from(from.channels)) as u16;
        let getter = *from.getters.entry((channel, shard.0)).or_insert_with(|| {
            from.next_consumer += 1;
            from.next_consumer - 1
        });
        self.clients.consumers.entry((session, getter)).or_insert_with(|| Consumer {
            known: false,
            shard: shard.0,
            channel,
            queue: None,
            prefetch: 0,
            no_ack: false,
            active: false,
            next_number: 0,
            held: BTreeMap::new(),
        });
        let no_ack = self.plan.has(Class::NoAck) && self.chance.percent(30);
        let asked = Asked::Get { queue, getter: (session, getter), no_ack };
        let token = self.clients.ask(session, shard.0, asked);
        note!(self.clients.trace, "get s{} c{} q{} t{}", session, getter, queue, token.0);
        let request =
            Request::Get { token, queue: QueueId(queue), channel, consumer: ConsumerId(getter), no_ack };
        self.send(shard, session, request, Note::Consumer(getter));
    }

    fn purge(&mut self) {
        if !self.plan.has(Class::Purges) {
            return;
        }
        let (Some(session), Some(queue)) = (self.some_session(), self.some_queue()) else { return };
        let shard = self.shard_of(queue);
        let token = self.clients.ask(session, shard.0, Asked::Purge { queue, gone: Vec::new(), ready: None });
        note!(self.clients.trace, "purge q{} t{}", queue, token.0);
        self.send(shard, session, Request::Purge { token, queue: QueueId(queue) }, Note::Purge(token));
    }

    fn ask_info(&mut self) {
        let (Some(session), Some(queue)) = (self.some_session(), self.some_queue()) else { return };
        let shard = self.shard_of(queue);
        let token = self.clients.ask(session, shard.0, Asked::Info { queue });
        self.send(shard, session, Request::QueueInfo { token, queue: QueueId(queue) }, Note::Nothing);
    }

    /// Everything that is in a queue goes to a consumer, and is acknowledged.
    pub fn drain(&mut self) {
        note!(self.clients.trace, "drain");
        let session = self.clients.open_session(1);
        let queues: Vec<u32> = self.clients.queues.values().filter(|q| !q.dropped).map(|q| q.id).collect();
        for queue in queues {
            self.subscribe_to(session, queue, 0, false, false);
        }
        self.rest();
        self.clients.check_all_delivered();
        let consumers: Vec<(u64, u32, u16)> =
            self.clients.consumers.iter().map(|(key, c)| (key.0, key.1, c.shard)).collect();
        for (session, consumer, shard) in consumers {
            let settle =
                Settle { consumer: ConsumerId(consumer), first: 0, count: u64::MAX, outcome: Outcome::Acked };
            self.send(ShardId(shard), session, Request::Settle(vec![settle]), Note::Settle(vec![settle]));
        }
        self.rest();
    }
}

pub(crate) fn unanswered_bytes(clients: &Clients) -> usize {
    let batches = |ids: &[u64]| -> usize {
        ids.iter().map(|id| clients.streams.batches[*id as usize].body_len as usize + 100).sum()
    };
    let bytes = |asked: &Asked| match asked {
        Asked::Publish(batch) => {
            let messages =
                batch.messages.iter().map(|(id, _)| clients.messages[*id as usize].body_len as usize + 64);
            messages.sum::<usize>() + batches(&batch.records)
        }
        Asked::PublishRuled(batch) => 160 * clients.rules.batches[*batch].len(),
        Asked::Append(appends) => batches(&appends.batches),
        _ => 0,
    };
    clients.waiting.values().map(|w| bytes(&w.asked)).sum()
}
