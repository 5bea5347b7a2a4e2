//! Events: each must be the answer to what was asked, or a delivery that is due.

use super::message::identify;
use super::queue::{ConsumerKey, Queue};
use super::streams::Appends;
use super::txns::Answer;
use super::{Asked, Batch, Clients, Waiting};
use crate::note;
use bowline_model::event::{Delivery, Event, FetchError, MetaEvent, QueueInfo};
use bowline_model::meta::{Outcome, Reason, Rejection};
use bowline_model::{Block, SessionId, ShardId, Token};

impl Clients {
    /// A shard (0: the meta shard) tells a session something.
    pub fn event(&mut self, shard: ShardId, session: SessionId, event: Event) {
        let session = session.0;
        match event {
            Event::Deliver(round) => {
                for item in &round.items {
                    let block = &round.blocks[item.block as usize];
                    self.delivery(shard, session, item, block, None);
                }
            }
            Event::Done { token } => match self.answer(session, token) {
                Asked::Publish(batch) => {
                    self.confirmed(token, &batch);
                    for id in &batch.records {
                        let partition = self.streams.batches[*id as usize].partition;
                        self.streams.partitions.entry(partition).and_modify(|p| p.confirmed(*id));
                    }
                }
                Asked::PublishRuled(batch) => {
                    note!(self.trace, "confirmed t{} ruled b{}", token.0, batch);
                    self.counts.confirmed += self.rules.batches[batch].len() as u64;
                    self.rules.answered(batch, true);
                }
                _ => {}
            },
            Event::Failed { token, .. } => match self.answer(session, token) {
                Asked::Publish(batch) => {
                    self.refused(token, &batch);
                    self.appends_refused(&Appends { batches: batch.records });
                }
                Asked::PublishRuled(batch) => {
                    note!(self.trace, "refused t{} ruled b{}", token.0, batch);
                    self.rules.answered(batch, false);
                }
                Asked::Append(appends) => {
                    note!(self.trace, "appends refused t{}", token.0);
                    self.appends_refused(&appends);
                }
                Asked::Txn(copy) => self.txn_answer(session, copy, Answer::Failed),
                Asked::TxnFetch(..) => self.txns.reading = false,
                // Nothing is lost: what was purged is gone from memory, and the log hears of it later.
                Asked::Purge { .. } | Asked::Forgotten => {}
                asked => panic!("Failed is no answer to {asked:?}"),
            },
            Event::Subscribed { token, result, .. } => match self.answer(session, token) {
                Asked::SubscribeRuled(key) => {
                    assert!(result.is_ok(), "promise: queues with rules are there");
                    self.rules.takers.entry(key).and_modify(|taker| taker.active = true);
                }
                Asked::Subscribe(key) => {
                    note!(self.trace, "subscribed s{} c{} ok={}", key.0, key.1, result.is_ok());
                    match result {
                        Ok(()) => {
                            if let Some(consumer) = self.consumers.get_mut(&key) {
                                consumer.active = true;
                            }
                        }
                        Err(_) => {
                            self.consumers.remove(&key);
                        }
                    }
                }
                _ => {}
            },
            Event::Cancelled { token: Some(token), .. } => {
                self.answer(session, token);
            }
            Event::Cancelled { token: None, consumer } => {
                if let Some(consumer) = self.consumers.get_mut(&(session, consumer.0)) {
                    consumer.active = false;
                }
            }
            Event::Got { token, result } => {
                let Asked::Get { queue, getter, no_ack } = self.answer(session, token) else { return };
                match result {
                    Ok(Some(got)) => {
                        self.delivery(shard, session, &got.delivery, &got.block, Some((queue, no_ack)))
                    }
                    Ok(None) => note!(self.trace, "got nothing s{} q{}", getter.0, queue),
                    Err(_) => {
                        let gone = self.queues.get(&queue).is_none_or(|q| self.may_be_going(q));
                        assert!(gone, "promise: queue {queue} exists, and a get finds it");
                    }
                }
            }
            Event::QueueInfo { token, result } => {
                let Asked::Info { queue } = self.answer(session, token) else { return };
                self.info(queue, result.ok());
            }
            Event::Purged { token, result } => {
                let Asked::Purge { queue, gone, ready } = self.answer(session, token) else { return };
                note!(self.trace, "purged q{} {} messages, {} known", queue, result.unwrap_or(0), gone.len());
                if let (Ok(messages), Some(model)) = (result, self.queues.get_mut(&queue)) {
                    assert!(
                        ready.is_none_or(|ready| ready == messages),
                        "promise: a purge of queue {queue} says {messages} messages where {ready:?} were ready"
                    );
                    model.departed_ids(&gone);
                }
            }
            Event::Appended { token, results } => match self.answer(session, token) {
                Asked::Append(appends) => self.appended(token, &appends, &results),
                Asked::Txn(copy) => {
                    assert_eq!(results.len(), 1, "promise: each append of t{} is answered", token.0);
                    self.txn_answer(session, copy, Answer::Appended(results[0].result));
                }
                _ => {}
            },
            Event::Fetched { token, partitions } => match self.answer(session, token) {
                Asked::Fetch(asked) => self.fetched(&asked, &partitions),
                Asked::TxnFetch(asked, committed) => self.txn_fetched(&asked, committed, &partitions),
                _ => {}
            },
            Event::Moved { token } => {
                note!(self.trace, "moved t{}", token.0);
                self.answer(session, token);
            }
            Event::Offsets { token, results } => {
                if let Asked::Offsets(asked) = self.answer(session, token) {
                    self.offsets_found(&asked, &results);
                }
            }
            Event::Trimmed { token, result } => {
                let Asked::Trim { partition, offset } = self.answer(session, token) else { return };
                let Some(model) = self.streams.partitions.get_mut(&partition) else { return };
                match result {
                    Ok(start) => model.trimmed(offset, start),
                    // The log had no room for it.
                    Err(FetchError::Storage) => {}
                    Err(error) => {
                        assert!(model.going, "promise: partition {partition} is trimmed: {error:?}")
                    }
                }
            }
            Event::Group { token, reply } => match self.answer(session, token) {
                Asked::Group(question) => self.group_answer(question, reply),
                Asked::Txn(copy) => self.txn_answer(session, copy, Answer::Group(reply)),
                _ => {}
            },
            Event::Meta { token, result } => self.meta_answer(session, token, result),
            Event::Txn { token, reply } => {
                if let Asked::Txn(copy) = self.answer(session, token) {
                    self.txn_answer(session, copy, Answer::Txn(reply));
                }
            }
            Event::Outdated { token } => {
                if let Asked::Txn(copy) = self.answer(session, token) {
                    self.txn_answer(session, copy, Answer::Outdated);
                }
            }
            Event::Alarm { .. } | Event::Shutdown | Event::Revoked(_) => {}
            other => panic!("nobody asked for {other:?}"),
        }
    }

    /// What a data shard tells the meta shard.
    pub fn meta_event(&mut self, event: &MetaEvent) {
        match event {
            MetaEvent::QueueDropped { queue, result } => {
                note!(self.trace, "queue dropped q{} ok={}", queue.0, result.is_ok());
                if result.is_ok() {
                    self.dropped.insert(queue.0);
                    self.queues.entry(queue.0).and_modify(Queue::drop_messages);
                }
            }
            MetaEvent::AutoDelete { queue } | MetaEvent::Expired { queue } => {
                if let Some(queue) = self.queues.get_mut(&queue.0) {
                    queue.may_vanish = true;
                }
            }
            MetaEvent::QueueReady { .. }
            | MetaEvent::HistoryCopied { .. }
            | MetaEvent::PartitionReady { .. }
            | MetaEvent::PartitionDropped { .. } => {}
        }
    }

    fn answer(&mut self, session: u64, token: Token) -> Asked {
        let Some(Waiting { session: asker, asked, .. }) = self.waiting.remove(&token.0) else {
            if !self.sessions.contains_key(&session) {
                return Asked::Forgotten;
            }
            panic!("promise: request {token} is answered once (and only if it was made)");
        };
        assert_eq!(asker, session, "promise: answers go to those who asked");
        asked
    }

    fn confirmed(&mut self, token: Token, batch: &Batch) {
        note!(self.trace, "confirmed t{} {} messages", token.0, batch.messages.len());
        self.counts.confirmed += batch.messages.len() as u64;
        for (id, queues) in &batch.messages {
            for queue in queues {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.confirmed(*id);
                }
            }
        }
    }

    fn refused(&mut self, token: Token, batch: &Batch) {
        note!(self.trace, "refused t{}", token.0);
        for (id, queues) in &batch.messages {
            for queue in queues {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.refused(*id);
                }
            }
        }
    }

    /// `get`: the queue that was asked, and whether the message settles itself.
    fn delivery(
        &mut self,
        shard: ShardId,
        session: u64,
        delivery: &Delivery,
        block: &Block,
        get: Option<(u32, bool)>,
    ) {
        let key: ConsumerKey = (session, delivery.consumer.0);
        if let Some((slot, id, deaths)) = self.rules.delivered(key, delivery, block, (self.now, self.life)) {
            note!(
                self.trace,
                "delivered r{} rule.{} after {} deaths s{} c{} n{} again={}",
                id,
                slot,
                deaths,
                key.0,
                key.1,
                delivery.number,
                delivery.redelivered
            );
            self.counts.delivered += 1;
            self.counts.redelivered += u64::from(delivery.redelivered);
            return;
        }
        let id = identify(block, delivery.offset, delivery.len, &self.messages);
        let consumer =
            self.consumers.get_mut(&key).unwrap_or_else(|| panic!("promise: consumer {key:?} lives"));
        let (queue_id, no_ack) = get.unwrap_or((consumer.queue.unwrap_or(0), consumer.no_ack));
        note!(
            self.trace,
            "delivered m{} q{} s{} c{} n{} again={}",
            id,
            queue_id,
            key.0,
            key.1,
            delivery.number,
            delivery.redelivered
        );
        assert_eq!(shard.0, consumer.shard);
        assert!(get.is_some() || consumer.active, "promise: a cancelled consumer {key:?} gets nothing");
        assert_eq!(
            delivery.number, consumer.next_number,
            "promise: deliveries of {key:?} are numbered densely"
        );
        consumer.next_number += 1;
        if !no_ack {
            consumer.held.insert(delivery.number, (queue_id, id));
        }
        assert!(
            consumer.prefetch == 0 || consumer.held.len() <= consumer.prefetch as usize,
            "promise: {key:?} holds no more than its prefetch of {}",
            consumer.prefetch
        );
        let queue: &mut Queue = self.queues.get_mut(&queue_id).expect("consumers are of known queues");
        queue.delivered(id, key, delivery.redelivered, self.life, no_ack);
        if no_ack {
            self.leaving.entry(shard.0).or_default().insert(queue_id);
        }
        self.in_round.insert(queue_id);
        self.counts.delivered += 1;
        self.counts.redelivered += u64::from(delivery.redelivered);
    }

    fn info(&mut self, queue: u32, info: Option<QueueInfo>) {
        let Some(model) = self.queues.get(&queue) else { return };
        let Some(info) = info else {
            assert!(self.may_be_going(model), "promise: queue {queue} exists, and can be asked");
            return;
        };
        let unacked = model.entries.values().filter(|e| e.held.is_some()).count() as u64;
        if !model.dropped {
            assert_eq!(info.unacked, unacked, "promise: queue {queue} counts what is unacknowledged");
        }
        note!(self.trace, "info q{} ready={} unacked={}", queue, info.ready, info.unacked);
    }

    fn meta_answer(&mut self, session: u64, token: Token, result: Result<Outcome, Rejection>) {
        match (self.answer(session, token), result) {
            (
                Asked::DeclareQueue { name, durable, auto_delete, exclusive },
                Ok(Outcome::Queue { queue, .. }),
            ) => {
                note!(self.trace, "declared q{}", queue.0);
                let owner = exclusive.then_some(session);
                self.queue_is_there(queue.0, &name, durable && !exclusive, auto_delete, owner);
                if exclusive && !self.sessions.contains_key(&session) {
                    self.queues.entry(queue.0).and_modify(|q| q.may_vanish = true);
                }
            }
            (Asked::DeclareRuled { slot }, Ok(Outcome::Queue { queue, .. })) => {
                note!(self.trace, "declared rule.{} q{}", slot, queue.0);
                self.rules.queues.insert(slot, queue.0);
            }
            (Asked::DeclareQueue { .. } | Asked::DeclareRuled { .. }, Err(rejection)) => {
                note!(self.trace, "declaration refused {}", rejection.reason as u32);
            }
            (Asked::CreateTopic { name, retains_bytes }, Ok(Outcome::Topic { partitions, .. })) => {
                note!(self.trace, "topic with {} partitions", partitions.len());
                self.streams.topic_is_there(&name, &partitions, retains_bytes);
            }
            (Asked::CreateTopic { .. }, Err(rejection)) => {
                note!(self.trace, "topic refused {}", rejection.reason as u32);
            }
            (Asked::DeleteTopic { name }, Ok(_)) => {
                note!(self.trace, "topic deleted");
                self.streams.forget_topic(&name);
            }
            (Asked::DeleteTopic { .. }, Err(_)) => {}
            (Asked::TxnTopic, Ok(Outcome::Topic { partitions, .. })) => {
                note!(self.trace, "the bank has {} partitions", partitions.len());
                self.txns.topic_is_there(&partitions);
            }
            (Asked::TxnTopic, Err(_)) => self.txns.creating = false,
            (Asked::Annex, Ok(Outcome::Topic { partitions, .. })) => {
                note!(self.trace, "the annex has {} partitions", partitions.len());
                self.txns.annex_is_there(&partitions);
            }
            (Asked::AnnexGone, Ok(_)) => {
                note!(self.trace, "the annex is gone");
                self.txns.annex_is_there(&[]);
            }
            (Asked::Annex | Asked::AnnexGone, Err(_)) => self.txns.annex.under_way = false,
            (Asked::TxnId(copy), Ok(Outcome::ProducerId(id))) => self.txn_id(session, copy, id),
            (Asked::TxnId(copy), Err(_)) => self.txn_answer(session, copy, Answer::Failed),
            (Asked::ProducerId { partition }, Ok(Outcome::ProducerId(id))) => {
                note!(self.trace, "producer {}", id);
                assert!(self.streams.producer_ids.insert(id), "promise: producer id {id} is given out once");
                self.streams.new_producer(id, partition, session);
            }
            (Asked::ProducerId { .. }, Err(_)) => {}
            (Asked::DeleteQueue { name, queue }, result) => self.deleted(&name, queue, result),
            (asked, result) => panic!("{result:?} is no answer to {asked:?}"),
        }
    }

    /// A declaration was answered, or the node knows the queue after a start.
    pub fn queue_is_there(
        &mut self,
        id: u32,
        name: &str,
        survives: bool,
        auto_delete: bool,
        owner: Option<u64>,
    ) {
        self.names.insert(name.to_owned(), id);
        let queue = self
            .queues
            .entry(id)
            .or_insert_with(|| Queue::new(id, name.to_owned(), survives, auto_delete, owner));
        if self.dropped.contains(&id) {
            queue.drop_messages();
        }
    }

    fn deleted(&mut self, name: &str, queue: u32, result: Result<Outcome, Rejection>) {
        self.deleting.entry(name.to_owned()).and_modify(|n| *n -= 1);
        let Some(model) = self.queues.get(&queue) else { return };
        match result {
            Ok(Outcome::QueueDeleted { messages }) => {
                note!(self.trace, "deleted q{} {} messages", queue, messages);
                assert!(
                    model.dropped || model.may_vanish,
                    "promise: queue {queue} is deleted when the answer says so"
                );
                if self.names.get(name) == Some(&queue) {
                    self.names.remove(name);
                }
            }
            Err(Rejection { reason: Reason::InUse | Reason::NotEmpty | Reason::Locked, .. }) => {}
            other => panic!("{other:?} is no answer to a delete"),
        }
    }
}
