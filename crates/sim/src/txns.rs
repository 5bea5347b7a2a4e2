//! What transactional producers and their readers do next ([`crate::clients::txns`]), and what becomes of their
//! requests on the way: they are held up, sent again on new connections, and arrive in any order of connections.

use crate::clients::txns::{ANNEX, Ask, Offsets, Outgoing, TOPIC, Wanted};
use crate::clients::{Asked, Note};
use crate::note;
use crate::plan::Class;
use crate::world::World;
use bowline_model::meta::{Command, MetaRequest, TopicSpec};
use bowline_model::request::{Fetch, FetchPartition, Request};
use bowline_model::{PartitionId, ShardId, TopicId};

/// Running producers, also of the same transactional id.
const INSTANCES_MAX: usize = 5;
/// Everybody comes to an end within so many rounds.
const ROUNDS_MAX: u32 = 300;

impl World {
    pub(crate) fn txn_action(&mut self) {
        if self.clients.txns.topic.is_empty() {
            return self.create_bank();
        }
        if self.plan.compacts && self.chance.percent(25) {
            let shard = self.chance.index(usize::from(self.plan.data_shards));
            self.compact(shard);
        }
        if self.plan.annex && self.chance.percent(4) {
            self.annex_comes_or_goes();
        }
        for _ in 0..self.chance.within(2..=8) {
            match self.chance.weighted(&[44, 40, 14, 5, 4, 1]) {
                0 => self.deliver_some(),
                1 => self.producer_goes_on(),
                2 => self.read_bank(),
                3 => self.lose_a_connection(),
                4 => self.now += self.chance.choose([1, 5, 20, 100]),
                _ => self.abandon_some(),
            }
        }
    }

    /// What was asked goes into inboxes. Whether there was something.
    pub(crate) fn flush_txns(&mut self) -> bool {
        let outbox = std::mem::take(&mut self.clients.txns.outbox);
        let any = !outbox.is_empty();
        let Some(node) = &mut self.node else { return any };
        for outgoing in outbox {
            match outgoing {
                Outgoing::Shard(shard, session, request) => {
                    node.send(shard, session, request, Note::Nothing);
                }
                Outgoing::Meta(session, token, command) => {
                    node.ask_meta(session, token, MetaRequest::Propose(command));
                }
            }
        }
        any
    }

    fn create_bank(&mut self) {
        if self.clients.txns.creating {
            return;
        }
        self.clients.txns.creating = true;
        let partitions = self.chance.within(2..=5) as u32;
        self.create(TOPIC, partitions, Asked::TxnTopic);
    }

    fn create(&mut self, name: &str, partitions: u32, asked: Asked) {
        let session = self.clients.new_session_id();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.chance.number().to_le_bytes());
        let token = self.clients.ask(session, 0, asked);
        note!(self.clients.trace, "create a topic t{} of {}", token.0, partitions);
        let spec = TopicSpec {
            vhost: "/".into(),
            name: name.into(),
            id: TopicId(id),
            partitions,
            configs: if self.plan.compacts { compacted() } else { Vec::new() },
            arguments: Vec::new(),
        };
        let create = Outgoing::Meta(session, token, Command::TopicCreate(spec));
        self.clients.txns.outbox.push(create);
    }

    /// The next step of a compaction. False: there was none to make.
    fn compact(&mut self, shard: usize) -> bool {
        let Some(node) = self.node.as_mut().filter(|_| self.serving) else { return false };
        let any = node.compact(shard, self.now);
        note!(self.clients.trace, "compaction in shard {} {}", shard + 1, any);
        any
    }

    fn annex_comes_or_goes(&mut self) {
        let annex = &mut self.clients.txns.annex;
        if std::mem::replace(&mut annex.under_way, true) {
            return;
        }
        if annex.partitions.is_empty() {
            let partitions = self.chance.within(1..=2) as u32;
            return self.create(ANNEX, partitions, Asked::Annex);
        }
        annex.going.extend(&annex.partitions);
        let session = self.clients.new_session_id();
        let token = self.clients.ask(session, 0, Asked::AnnexGone);
        note!(self.clients.trace, "delete the annex t{}", token.0);
        let delete = Command::TopicDelete { vhost: "/".into(), name: ANNEX.into() };
        self.clients.txns.outbox.push(Outgoing::Meta(session, token, delete));
    }

    fn deliver_some(&mut self) {
        let txns = &self.clients.txns;
        let full = txns.network.iter().filter(|(_, connection)| !connection.queue.is_empty());
        let sessions: Vec<(u64, bool)> = full.map(|(session, c)| (*session, c.slow)).collect();
        let Some(&(session, slow)) = self.chance.pick(&sessions) else { return self.producer_goes_on() };
        if !slow || self.chance.percent(10) {
            self.deliver(session);
        }
    }

    fn deliver(&mut self, session: u64) {
        let connection = self.clients.txns.network.get_mut(&session);
        if let Some(copy) = connection.and_then(|connection| connection.queue.pop_front()) {
            self.clients.txn_deliver(session, copy);
        }
    }

    fn producer_goes_on(&mut self) {
        let txns = &self.clients.txns;
        let idle = (0..txns.workers.len()).find(|n| !txns.instances.iter().any(|i| i.worker == *n));
        let live = txns.instances.iter().filter(|i| !i.over).count();
        let worker = match idle {
            Some(worker) => Some(worker),
            // Another one believes that it is the worker.
            None if live < INSTANCES_MAX && !txns.ending && self.chance.percent(1) => {
                Some(self.chance.index(self.clients.txns.workers.len()))
            }
            None => None,
        };
        if let Some(worker) = worker {
            self.new_instance(worker);
        }
        let all = self.clients.txns.instances.iter().enumerate();
        let live: Vec<usize> = all.filter(|(_, i)| !i.over).map(|(n, _)| n).collect();
        if let Some(i) = self.chance.pick(&live).copied() {
            self.goes_on(i);
        }
    }

    fn new_instance(&mut self, worker: usize) {
        let timeout_ms = self.chance.choose([50, 1_000, 60_000, 60_000]);
        let lines = [self.clients.new_session_id(), self.clients.new_session_id()];
        note!(self.clients.trace, "producer of w{} s{} s{}", worker, lines[0], lines[1]);
        self.clients.txns.add_instance(worker, timeout_ms, lines);
    }

    /// One step of a producer that is not waiting for something.
    fn goes_on(&mut self, i: usize) {
        let txns = &mut self.clients.txns;
        let (worker, ending) = (txns.instances[i].worker, txns.ending);
        let (bumps, careless) = (txns.workers[worker].bumps, txns.workers[worker].careless);
        let least = txns.least(worker);
        let me = &mut txns.instances[i];
        let (waits, attempt) = (!me.doing.is_empty(), me.attempt);
        let Some(producer) = me.producer else {
            if !waits && !me.over {
                let known = me.was.take().filter(|_| self.chance.percent(60));
                txns.issue(i, Ask::Init { known, fresh: None });
            }
            return;
        };
        let (Some(_), Some(attempt)) = (me.next, attempt) else {
            return match me.next {
                _ if waits => {}
                None => txns.issue(i, Ask::Offset { least }),
                Some(_) if ending => me.over = true,
                Some(_) => self.begin_transfers(i),
            };
        };
        if !bumps && !me.added {
            if !waits {
                let partitions = me.left.keys().copied().collect();
                txns.issue(i, Ask::Add { producer, partitions });
            }
            return;
        }
        if me.doing.values().any(|ask| matches!(ask, Ask::End { .. })) {
            return;
        }
        if !waits && self.chance.percent(4) {
            me.offsets = Offsets::Asked;
            return txns.issue(i, Ask::End { producer, attempt, commit: false, fresh: None });
        }
        let only_batches = me.doing.values().all(|ask| matches!(ask, Ask::Produce { .. }));
        if careless && waits && only_batches && self.chance.percent(8) {
            return self.gives_up(i);
        }
        // Batches of a partition go one after the other, those of several partitions together.
        let asked = me.doing.values().filter_map(|ask| match ask {
            Ask::Produce { part, .. } => Some(txns.parts[*part as usize].partition),
            _ => None,
        });
        let asked: Vec<u32> = asked.collect();
        if let Some((_, left)) = me.left.iter_mut().find(|(id, left)| !left.is_empty() && !asked.contains(id))
        {
            let part = left.pop_front().unwrap_or_default();
            return txns.issue(i, Ask::Produce { producer, part });
        }
        match me.offsets {
            Offsets::ToAdd if !waits => {
                me.offsets = Offsets::Asked;
                return txns.issue(i, Ask::Add { producer, partitions: Vec::new() });
            }
            Offsets::ToCommit => {
                me.offsets = Offsets::Asked;
                let ends = &txns.attempts[attempt];
                let offset = ends.first + ends.count;
                return txns.issue(i, Ask::Commit { producer, offset });
            }
            _ => {}
        }
        if !waits {
            let commit = !self.chance.percent(20);
            note!(self.clients.trace, "end i{} transaction {} {}", i, attempt, commit);
            self.clients.txns.issue(i, Ask::End { producer, attempt, commit, fresh: None });
        }
    }

    /// A careless producer aborts, though batches are on their way, and may arrive much later.
    fn gives_up(&mut self, i: usize) {
        let session = self.clients.new_session_id();
        let txns = &mut self.clients.txns;
        txns.give_up(i);
        let me = &mut txns.instances[i];
        me.offsets = Offsets::Asked;
        let old = std::mem::replace(&mut me.lines[1], session);
        let (Some(producer), Some(attempt)) = (me.producer, me.attempt) else { return };
        txns.network.entry(old).and_modify(|connection| connection.slow = true);
        note!(self.clients.trace, "i{} gives batches up", i);
        self.clients.txns.issue(i, Ask::End { producer, attempt, commit: false, fresh: None });
    }

    fn begin_transfers(&mut self, i: usize) {
        let mut parts: Vec<(u32, u32, i64)> = Vec::new();
        let topic = self.clients.txns.topic.clone();
        let mut owed = 0;
        for _ in 0..self.chance.within(1..=4) {
            let partition = topic[self.chance.index(topic.len())];
            let amount = self.chance.within(1..=100) as i64;
            parts.push((partition, self.chance.within(1..=3) as u32, -amount));
            owed += amount;
        }
        let partition = topic[self.chance.index(topic.len())];
        parts.push((partition, 1, owed));
        let annex = &self.clients.txns.annex.partitions;
        if let Some(partition) = self.chance.pick(annex).copied() {
            parts.push((partition, 1, 0));
        }
        let count = self.chance.within(1..=3) as i64;
        note!(self.clients.trace, "begin i{} {} batches", i, parts.len());
        self.clients.txns.begin(i, count, &parts, self.now);
    }

    /// A producer hears nothing, and asks again on a new connection; what was on the old one may still arrive.
    fn lose_a_connection(&mut self) {
        let waiting: Vec<usize> = (0..self.clients.txns.instances.len())
            .filter(|i| !self.clients.txns.instances[*i].doing.is_empty())
            .collect();
        let Some(&i) = self.chance.pick(&waiting) else { return };
        let line = self.chance.index(2);
        let old = self.clients.txns.instances[i].lines[line];
        let slow = self.chance.percent(70);
        self.clients.txns.network.entry(old).and_modify(|connection| connection.slow = slow);
        let session = self.clients.new_session_id();
        note!(self.clients.trace, "i{} asks again on s{}", i, session);
        self.clients.txns.reconnect(i, line, session);
    }

    /// A producer dies, and comes back as one that knows nothing.
    fn abandon_some(&mut self) {
        let i = self.chance.index(self.clients.txns.instances.len().max(1));
        if self.clients.txns.instances.get(i).is_some_and(|instance| !instance.over) {
            note!(self.clients.trace, "i{} forgets", i);
            for line in 0..2 {
                let session = self.clients.new_session_id();
                let old = self.clients.txns.instances[i].lines[line];
                self.clients.txns.network.entry(old).and_modify(|connection| connection.slow = true);
                self.clients.txns.instances[i].lines[line] = session;
            }
            self.clients.txns.abandon(i);
        }
    }

    /// The node is back: everybody asks again what was not answered.
    pub(crate) fn resume_txns(&mut self) {
        for i in 0..self.clients.txns.instances.len() {
            for line in 0..2 {
                let session = self.clients.new_session_id();
                self.clients.txns.reconnect(i, line, session);
            }
        }
    }

    fn read_bank(&mut self) {
        if self.clients.txns.reading {
            return;
        }
        let shard = ShardId(1 + self.chance.below(u64::from(self.plan.data_shards)) as u16);
        let all = self.clients.txns.partitions();
        let here: Vec<u32> = all.filter(|id| self.shard_of(*id) == shard).collect();
        let committed = self.chance.percent(80);
        let mut wanted = Vec::new();
        for partition in here {
            let log = &self.clients.txns.logs[&partition];
            let (position, stable, end) = (log.position, log.stable, log.end);
            let most = if committed { stable } else { end };
            let again = self.chance.percent(20);
            let offset = if again { self.chance.within(0..=most) } else { position };
            wanted.push(Wanted { partition, offset, stable, end });
        }
        if !wanted.is_empty() {
            let max_bytes = self.chance.choose([1, 400, 1 << 20]);
            self.fetch_bank(shard, wanted, committed, max_bytes);
        }
    }

    fn fetch_bank(&mut self, shard: ShardId, wanted: Vec<Wanted>, committed: bool, max_bytes: u32) {
        let partitions = wanted
            .iter()
            .map(|w| FetchPartition { partition: PartitionId(w.partition), offset: w.offset, max_bytes })
            .collect();
        let session = self.clients.new_session_id();
        self.clients.txns.reading = true;
        let token = self.clients.ask(session, shard.0, Asked::TxnFetch(wanted, committed));
        note!(self.clients.trace, "read the bank t{} shard {}", token.0, shard.0);
        let request = Request::Fetch(Fetch { token, partitions, max_bytes, committed });
        self.send(shard, session, request, Note::Nothing);
    }

    /// All transactions come to an end, all that is committed is read, and the books must balance.
    pub(crate) fn drain_txns(&mut self) {
        if self.clients.txns.instances.is_empty() || !self.plan.has(Class::Transactions) {
            return;
        }
        note!(self.clients.trace, "drain transactions");
        self.clients.txns.ending = true;
        self.end_producers();
        // Whatever an instance has left open, the next one ends.
        for worker in 0..self.clients.txns.workers.len() {
            self.new_instance(worker);
        }
        self.end_producers();
        for shard in 0..usize::from(self.plan.data_shards) {
            while self.plan.compacts && self.compact(shard) {}
        }
        for partition in self.clients.txns.partitions().collect::<Vec<_>>() {
            for _ in 0..ROUNDS_MAX {
                let log = &self.clients.txns.logs[&partition];
                let (offset, stable, end) = (log.position, log.stable, log.end);
                let wanted = vec![Wanted { partition, offset, stable, end }];
                self.fetch_bank(self.shard_of(partition), wanted, true, 4_000);
                self.rest();
                if self.node.as_ref().is_none_or(|n| n.is_dead) {
                    return;
                }
                if self.clients.txns.logs[&partition].position == offset {
                    break;
                }
            }
        }
        self.clients.txns.account();
    }

    fn end_producers(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let sessions: Vec<u64> = self.clients.txns.network.keys().copied().collect();
            for session in sessions {
                while self.clients.txns.network.get(&session).is_some_and(|c| !c.queue.is_empty()) {
                    self.deliver(session);
                }
            }
            for i in 0..self.clients.txns.instances.len() {
                for _ in 0..4 {
                    self.goes_on(i);
                }
            }
            self.rest();
            if self.node.as_ref().is_none_or(|n| n.is_dead) {
                return;
            }
            let txns = &self.clients.txns;
            if txns.instances.iter().all(|i| i.over) && txns.network.values().all(|c| c.queue.is_empty()) {
                return;
            }
        }
        panic!("promise: transactions come to an end");
    }
}

/// Each key is there once, so compaction removes what was aborted, and nothing else. Markers stay for a day.
fn compacted() -> Vec<(String, String)> {
    let config = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![config("cleanup.policy", "compact"), config("min.cleanable.dirty.ratio", "0")]
}

impl crate::clients::Clients {
    /// Of a connection that nobody else uses.
    pub(crate) fn new_session_id(&mut self) -> u64 {
        let id = self.next_session;
        self.next_session += 1;
        id
    }
}
