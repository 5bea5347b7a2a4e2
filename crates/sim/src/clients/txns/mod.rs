//! Transactional producers over Kafka, as front ends have them, and what they were promised.
//!
//! A [`Worker`] is a transactional id with an endless list of transfers, number 0, 1, 2 …. A transaction (an
//! [`Attempt`]) makes a few of them: [`Part`]s, which are batches with amounts that come to nothing in all, in several
//! partitions, and the offset of the worker's group, which says how many transfers have been made. That offset is all
//! that an [`Instance`] of the worker knows of the past. Several instances may believe that they are the worker.
//!
//! A request that is not answered is sent again on a new connection ([`Connection`]), and the copy on the old one is
//! still on its way: it may arrive long after the producer has moved on. Half of the workers raise their epoch with
//! each transaction (KIP-890), the others do not; both are promised the same.
//!
//! Where the plan is so, workers without an epoch for each transaction are *careless*: they abort a transaction while
//! batches of it are on their way, and go on. Such a batch may be written late, into a later transaction of its
//! producer, and nothing is promised of it but that it is nowhere else and there once; all else holds as before. And
//! where the plan is so, transactions also write to the *annex*, a topic that is deleted and made anew at any time:
//! what they have written there goes with it, and nothing else does.
//!
//! What is checked: [`Clients::txn_decided`] and the [`log`]s of partitions (a transaction is there as a whole or not
//! at all, in its order, and nothing twice), [`Clients::txn_offset`] (offsets do not go back, and say nothing that was
//! not committed), [`Clients::txn_failed`] (nobody is refused without a reason), [`Txns::account`] (in the end each
//! transfer is made once, and money is neither made nor lost).

mod log;

use super::{Asked, Clients};
use crate::note;
use crate::plan::Plan;
use bowline_model::event::{AppendError, Appended};
use bowline_model::group::{self, PartitionCommit};
use bowline_model::meta::Command;
use bowline_model::record::Append;
use bowline_model::request::{Propose, Request, Want};
use bowline_model::txn::{self, Error, Member, OffsetsCommit, Producer, Reply};
use bowline_model::{PartitionId, ShardId, Token};
use bowline_topology::Topology;
use log::Log;
pub use log::Wanted;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Where transfers are written; no other client of the simulation knows it.
pub const TOPIC: &str = "bank";
/// What comes and goes.
pub const ANNEX: &str = "annex";
pub const TOPICS: [&str; 2] = [TOPIC, ANNEX];

/// Numbers batches of transactions in the order in which they were made.
pub type PartId = u64;

/// A transactional id.
#[derive(Debug)]
pub struct Worker {
    pub id: String,
    pub group: String,
    /// Its producers know KIP-890: an epoch for each transaction, and partitions join by being written to.
    pub bumps: bool,
    /// They do not wait for the batches of a transaction that they abort.
    pub careless: bool,
    /// Requests for its identity that were delivered and not answered.
    inits: u32,
    /// The highest offset that was read or whose commit was acknowledged.
    offset: i64,
}

/// What happened to a transaction, as far as anybody was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Nobody has asked for a commit: it can only be aborted.
    Open,
    /// A commit was asked for, and no answer has come.
    InDoubt,
    Committed,
    Aborted,
}

#[derive(Debug)]
pub struct Attempt {
    pub worker: usize,
    /// The transfers that it makes.
    pub first: i64,
    pub count: i64,
    pub fate: Fate,
    pub parts: Vec<PartId>,
    /// What was read of it by readers of what is committed.
    seen: BTreeSet<PartId>,
    /// How it ended, as the partitions say.
    ended: Option<bool>,
}

/// A batch of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub attempt: usize,
    pub partition: u32,
    pub count: u32,
    pub amount: i64,
    pub timestamp: i64,
    /// Once it was sent: as whom, and its first sequence.
    pub sent: Option<(Producer, i32)>,
    /// Its producer has gone on without it.
    pub given_up: bool,
    /// Of a topic that comes and goes.
    pub in_annex: bool,
}

/// The topic that comes and goes.
#[derive(Debug, Default)]
pub struct Annex {
    /// None: it is not there, as far as is known.
    pub partitions: Vec<u32>,
    /// It is being made or deleted.
    pub under_way: bool,
    /// Partitions that somebody has asked to delete, all of them.
    pub going: BTreeSet<u32>,
}

#[derive(Clone, Debug)]
pub enum Ask {
    Init {
        known: Option<Producer>,
        fresh: Option<i64>,
    },
    /// Partitions, or the group.
    Add {
        producer: Producer,
        partitions: Vec<u32>,
    },
    Produce {
        producer: Producer,
        part: PartId,
    },
    Commit {
        producer: Producer,
        offset: i64,
    },
    End {
        producer: Producer,
        attempt: usize,
        commit: bool,
        fresh: Option<i64>,
    },
    /// How many transfers were made? At least so many were.
    Offset {
        least: i64,
    },
}

impl Ask {
    /// Which of its connections a producer uses for it.
    fn line(&self) -> usize {
        usize::from(matches!(self, Ask::Produce { .. }))
    }
}

/// A request on its way, or waiting for its answer; there may be several of one operation.
#[derive(Clone, Debug)]
pub struct Copied {
    instance: usize,
    op: u64,
    ask: Ask,
    /// The coordinator is asked first whether that may join.
    joining: bool,
}

/// How far the group's offset of the transaction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offsets {
    ToAdd,
    ToCommit,
    /// Under way, or done.
    Asked,
}

/// A running producer.
#[derive(Debug)]
pub struct Instance {
    pub worker: usize,
    pub timeout_ms: i32,
    /// To coordinators, and to partitions.
    pub lines: [u64; 2],
    pub producer: Option<Producer>,
    /// What it was when it was refused.
    pub was: Option<Producer>,
    /// The next transfer; `None`: to be asked.
    pub next: Option<i64>,
    pub attempt: Option<usize>,
    /// When that began.
    began: u64,
    pub added: bool,
    pub offsets: Offsets,
    /// Batches that were not sent, by partition.
    pub left: BTreeMap<u32, VecDeque<PartId>>,
    /// Operations that are not answered.
    pub doing: BTreeMap<u64, Ask>,
    ops: u64,
    sequences: BTreeMap<u32, i32>,
    /// Somebody else may have taken its id over.
    contested: bool,
    /// It has given batches up under this epoch, and what it sends may not follow what is there.
    gave_up: bool,
    /// It will do nothing more.
    pub over: bool,
}

/// What was sent and has not arrived.
#[derive(Debug, Default)]
pub struct Connection {
    pub queue: VecDeque<Copied>,
    /// Held up on its way.
    pub slow: bool,
    /// Which partitions have joined, as the front end knows.
    joined: BTreeSet<(i64, i16, u32)>,
}

/// What goes to the node next.
#[derive(Debug)]
pub enum Outgoing {
    Shard(ShardId, u64, Request),
    Meta(u64, Token, Command),
}

/// What the answer to a request says.
#[derive(Debug)]
pub enum Answer {
    Txn(Reply),
    Appended(Result<Appended, AppendError>),
    Group(group::Reply),
    Failed,
    Outdated,
}

#[derive(Debug, Default)]
pub struct Txns {
    shards: u16,
    /// What is aborted may be gone, and leave gaps.
    compacts: bool,
    /// Partitions of the topic; none: it is not there yet.
    pub topic: Vec<u32>,
    pub creating: bool,
    pub annex: Annex,
    pub workers: Vec<Worker>,
    pub instances: Vec<Instance>,
    pub attempts: Vec<Attempt>,
    pub parts: Vec<Part>,
    pub logs: BTreeMap<u32, Log>,
    pub network: BTreeMap<u64, Connection>,
    pub outbox: Vec<Outgoing>,
    /// A fetch is under way.
    pub reading: bool,
    /// No new transactions.
    pub ending: bool,
}

impl Txns {
    pub fn new(plan: &Plan) -> Txns {
        let careless = plan.careless;
        let worker = |n: usize| Worker {
            id: format!("id-{n}"),
            group: format!("tellers-{n}"),
            bumps: n.is_multiple_of(2) != careless,
            careless: careless && n.is_multiple_of(2),
            inits: 0,
            offset: 0,
        };
        Txns {
            shards: plan.data_shards,
            compacts: plan.compacts,
            workers: (0..plan.txn_workers).map(worker).collect(),
            ..Txns::default()
        }
    }

    pub fn topic_is_there(&mut self, partitions: &[PartitionId]) {
        self.topic = partitions.iter().map(|p| p.0).collect();
        for id in &self.topic {
            self.logs.entry(*id).or_default();
        }
    }

    pub fn annex_is_there(&mut self, partitions: &[PartitionId]) {
        self.annex.under_way = false;
        self.annex.partitions = partitions.iter().map(|p| p.0).collect();
        for id in &self.annex.partitions {
            self.logs.entry(*id).or_default();
        }
        let (bank, annex) = (&self.topic, &self.annex.partitions);
        self.logs.retain(|id, _| bank.contains(id) || annex.contains(id));
    }

    /// Partitions that are there, as far as is known.
    pub fn partitions(&self) -> impl Iterator<Item = u32> {
        self.topic.iter().chain(&self.annex.partitions).copied()
    }

    /// A producer goes on without the batches that are on their way.
    pub fn give_up(&mut self, i: usize) {
        let me = &mut self.instances[i];
        me.gave_up = true;
        for ask in std::mem::take(&mut me.doing).into_values() {
            if let Ask::Produce { part, .. } = ask {
                self.parts[part as usize].given_up = true;
            }
        }
    }

    pub fn crashed(&mut self) {
        self.network.clear();
        self.outbox.clear();
        self.annex.under_way = false;
        (self.creating, self.reading) = (false, false);
        self.workers.iter_mut().for_each(|worker| worker.inits = 0);
    }

    pub fn started(&mut self, topology: &Topology) {
        match topology.topic("/", TOPIC) {
            Some(topic) => {
                let partitions = topic.partitions.clone();
                self.topic_is_there(&partitions);
            }
            None => assert!(self.topic.is_empty(), "promise: topic {TOPIC} outlives a crash"),
        }
        let annex = topology.topic("/", ANNEX).map(|topic| topic.partitions.clone()).unwrap_or_default();
        let known = self.annex.partitions.iter();
        let lost = known.filter(|id| !annex.contains(&PartitionId(**id)) && !self.annex.going.contains(id));
        assert_eq!(lost.count(), 0, "promise: topic {ANNEX} outlives a crash");
        self.annex_is_there(&annex);
    }

    /// What is known to be committed of a worker's transfers, at least.
    pub fn least(&self, worker: usize) -> i64 {
        let committed = self.attempts.iter().filter(|a| a.worker == worker && a.fate == Fate::Committed);
        committed.map(|a| a.first + a.count).max().unwrap_or(0).max(self.workers[worker].offset)
    }

    /// A batch for a partition that may be deleted.
    fn is_going(&self, ask: &Ask) -> bool {
        let Ask::Produce { part, .. } = ask else { return false };
        self.annex.going.contains(&self.parts[*part as usize].partition)
    }

    fn most(&self, worker: usize) -> i64 {
        let asked = |a: &&Attempt| a.worker == worker && matches!(a.fate, Fate::Committed | Fate::InDoubt);
        self.attempts.iter().filter(asked).map(|a| a.first + a.count).max().unwrap_or(0)
    }

    pub fn add_instance(&mut self, worker: usize, timeout_ms: i32, lines: [u64; 2]) {
        self.instances.push(Instance {
            worker,
            timeout_ms,
            lines,
            producer: None,
            was: None,
            next: None,
            attempt: None,
            began: 0,
            added: false,
            offsets: Offsets::Asked,
            left: BTreeMap::new(),
            doing: BTreeMap::new(),
            ops: 0,
            sequences: BTreeMap::new(),
            contested: true,
            gave_up: false,
            over: false,
        });
    }

    /// An instance begins a transaction of these batches: partition, offsets that it takes, amount.
    pub fn begin(&mut self, i: usize, count: i64, parts: &[(u32, u32, i64)], now: u64) {
        let (worker, first) = (self.instances[i].worker, self.instances[i].next.unwrap_or(0));
        let attempt = self.attempts.len();
        let mut left: BTreeMap<u32, VecDeque<PartId>> = BTreeMap::new();
        let mut ids = Vec::new();
        for (partition, count, amount) in parts {
            let id = self.parts.len() as PartId;
            let (partition, count, amount) = (*partition, *count, *amount);
            let in_annex = !self.topic.contains(&partition);
            let (timestamp, sent, given_up) = (now as i64, None, false);
            let part = Part { attempt, partition, count, amount, timestamp, sent, given_up, in_annex };
            self.parts.push(part);
            left.entry(partition).or_default().push_back(id);
            if !in_annex {
                ids.push(id);
            }
        }
        let (fate, seen) = (Fate::Open, BTreeSet::new());
        self.attempts.push(Attempt { worker, first, count, fate, parts: ids, seen, ended: None });
        let offsets = if self.workers[worker].bumps { Offsets::ToCommit } else { Offsets::ToAdd };
        let me = &mut self.instances[i];
        (me.attempt, me.began, me.added, me.offsets, me.left) = (Some(attempt), now, false, offsets, left);
    }

    /// An instance sends something.
    pub fn issue(&mut self, i: usize, ask: Ask) {
        if let Ask::Produce { producer, part } = ask {
            let part = &mut self.parts[part as usize];
            let sequence = self.instances[i].sequences.entry(part.partition).or_default();
            part.sent = Some((producer, *sequence));
            *sequence += part.count as i32;
        }
        if let Ask::End { attempt, commit: true, .. } = ask {
            self.attempts[attempt].fate = Fate::InDoubt;
        }
        let me = &mut self.instances[i];
        me.ops += 1;
        me.doing.insert(me.ops, ask.clone());
        let copy = Copied { instance: i, op: me.ops, ask, joining: false };
        self.network.entry(me.lines[copy.ask.line()]).or_default().queue.push_back(copy);
    }

    /// An instance does not believe that answers will come, and asks again on a new connection.
    pub fn reconnect(&mut self, i: usize, line: usize, session: u64) {
        let me = &mut self.instances[i];
        me.lines[line] = session;
        let again = me.doing.iter().filter(|(_, ask)| ask.line() == line);
        let copies = again.map(|(op, ask)| Copied { instance: i, op: *op, ask: ask.clone(), joining: false });
        self.network.entry(session).or_default().queue.extend(copies);
    }

    /// An instance forgets what it was doing; the requests are still on their way.
    pub fn abandon(&mut self, i: usize) {
        let me = &mut self.instances[i];
        me.was = me.producer.take();
        (me.attempt, me.next) = (None, None);
        me.doing.clear();
    }

    /// The end: what is committed must come to the sum of what was promised.
    pub fn account(&self) {
        let mut money = 0;
        for (n, attempt) in self.attempts.iter().enumerate() {
            let whole = attempt.seen.len() == attempt.parts.len();
            let there = attempt.seen.len();
            match attempt.fate {
                Fate::Committed => assert!(
                    whole,
                    "promise: transaction {n} was committed: {there} of {} batches are there",
                    attempt.parts.len()
                ),
                Fate::Open | Fate::Aborted => {
                    assert!(
                        there == 0,
                        "promise: transaction {n} was not committed, and {there} batches are there"
                    );
                }
                Fate::InDoubt => assert!(
                    whole || there == 0,
                    "promise: transaction {n} is whole: {there} of {} batches are there",
                    attempt.parts.len()
                ),
            }
            money += attempt.seen.iter().map(|part| self.parts[*part as usize].amount).sum::<i64>();
        }
        assert_eq!(money, 0, "promise: money is neither made nor lost");
        for (n, worker) in self.workers.iter().enumerate() {
            let mut made: Vec<(i64, i64)> = self
                .attempts
                .iter()
                .filter(|a| a.worker == n && !a.seen.is_empty())
                .map(|a| (a.first, a.count))
                .collect();
            made.sort_unstable();
            let mut next = 0;
            for (first, count) in made {
                assert_eq!(first, next, "promise: each transfer of worker {n} is made once");
                next += count;
            }
            assert_eq!(
                worker.offset, next,
                "promise: the offset of worker {n} says how many transfers are there"
            );
        }
        for (id, log) in &self.logs {
            log.check_at_end(*id);
        }
    }
}

/// A record of a [`Part`].
const RECORD_BYTES: usize = 24;
/// Where in a batch the key of its first record is.
const KEY_AT: usize = 61 + 5;

impl Part {
    /// The batch, but for what front ends alone look at.
    fn bytes(&self, id: PartId) -> Vec<u8> {
        let (producer, sequence) = self.sent.unwrap_or((Producer { id: -1, epoch: -1 }, -1));
        let mut out = vec![0; 8];
        out.extend((49 + self.count as i32 * RECORD_BYTES as i32).to_be_bytes());
        out.extend([0, 0, 0, 0, 2, 0, 0, 0, 0]);
        out.extend(0x10i16.to_be_bytes()); // of a transaction
        out.extend((self.count as i32 - 1).to_be_bytes());
        out.extend(self.timestamp.to_be_bytes());
        out.extend(self.timestamp.to_be_bytes());
        out.extend(producer.id.to_be_bytes());
        out.extend(producer.epoch.to_be_bytes());
        out.extend(sequence.to_be_bytes());
        out.extend((self.count as i32).to_be_bytes());
        for n in 0..self.count as u8 {
            // Lengths and differences are zigzag varints; each key is there once. No headers.
            out.extend([(RECORD_BYTES as u8 - 1) << 1, 0, 0, n << 1, 9 << 1]);
            out.extend(id.to_le_bytes());
            out.extend([n, 8 << 1]);
            out.extend(self.amount.to_le_bytes());
            out.push(0);
        }
        let checksum = bowline_model::record::crc32c(&out[21..]);
        out[17..21].copy_from_slice(&checksum.to_be_bytes());
        out
    }
}

impl Clients {
    /// A request arrives at the front end.
    pub fn txn_deliver(&mut self, session: u64, mut copy: Copied) {
        let worker = self.txns.instances[copy.instance].worker;
        if let Ask::Init { .. } = copy.ask {
            self.txns.workers[worker].inits += 1;
            let others = self.txns.instances.iter_mut().filter(|other| other.worker == worker);
            others.for_each(|other| other.contested = true);
        }
        copy.joining = self.txns.workers[worker].bumps
            && match copy.ask {
                Ask::Produce { producer, part } => {
                    let partition = self.txns.parts[part as usize].partition;
                    let joined = self.txns.network.get(&session).map(|connection| &connection.joined);
                    joined.is_none_or(|j| !j.contains(&(producer.id, producer.epoch, partition)))
                }
                Ask::Commit { .. } => true,
                _ => false,
            };
        self.txn_send(session, copy);
    }

    fn txn_send(&mut self, session: u64, copy: Copied) {
        let (shard, request) = self.txn_request(&copy);
        let token = self.ask(session, shard.0, Asked::Txn(copy));
        note!(self.trace, "txn request s{} t{} shard {}", session, token.0, shard.0);
        self.txns.outbox.push(Outgoing::Shard(shard, session, request(token)));
    }

    #[allow(clippy::type_complexity)]
    fn txn_request(&self, copy: &Copied) -> (ShardId, Box<dyn FnOnce(Token) -> Request>) {
        let txns = &self.txns;
        let me = &txns.instances[copy.instance];
        let worker = &txns.workers[me.worker];
        let coordinator = ShardId::of_group(&worker.id, txns.shards);
        let tellers = ShardId::of_group(&worker.group, txns.shards);
        let (id, group, implicit, timeout_ms) =
            (worker.id.clone(), worker.group.clone(), worker.bumps, me.timeout_ms);
        let member = |partition: &u32| Member {
            partition: PartitionId(*partition),
            topic: if txns.topic.contains(partition) { TOPIC } else { ANNEX }.to_owned(),
            index: txns.topic.iter().position(|p| p == partition).unwrap_or(0) as u32,
        };
        let ask = match &copy.ask {
            Ask::Init { known, fresh } => txn::Request::Init { id, timeout_ms, known: *known, fresh: *fresh },
            Ask::Add { producer, partitions } => {
                let group = partitions.is_empty().then_some(group);
                let members = partitions.iter().map(member).collect();
                txn::Request::Add { id, producer: *producer, members, group, implicit }
            }
            Ask::Produce { producer, part } if copy.joining => {
                let members = vec![member(&txns.parts[*part as usize].partition)];
                txn::Request::Add { id, producer: *producer, members, group: None, implicit }
            }
            Ask::Commit { producer, .. } if copy.joining => {
                let group = Some(group);
                txn::Request::Add { id, producer: *producer, members: Vec::new(), group, implicit }
            }
            Ask::End { producer, commit, fresh, .. } => {
                txn::Request::End { id, producer: *producer, commit: *commit, bumps: implicit, fresh: *fresh }
            }
            Ask::Produce { part, .. } => {
                let batch = txns.parts[*part as usize];
                let mut records = Vec::new();
                Append::encode(&mut records, batch.partition, 0, &batch.bytes(*part));
                let shard = ShardId::of(batch.partition, txns.shards);
                let (records, want) = (records.into(), Want::Appended);
                let request =
                    move |token| Request::Propose(Propose { token, records, count: 1, want, checked: false });
                return (shard, Box::new(request));
            }
            Ask::Commit { producer, offset } => {
                let commit =
                    PartitionCommit { partition: 0, offset: *offset, leader_epoch: -1, metadata: None };
                let member =
                    group::Member { group, member_id: String::new(), generation: -1, instance_id: None };
                let topics = vec![(TOPIC.to_owned(), vec![commit])];
                let commit = OffsetsCommit { member, producer: *producer, topics, implicit };
                return (tellers, Box::new(|token| Request::TxnOffsets { token, commit }));
            }
            Ask::Offset { .. } => {
                let topics = Some(vec![(TOPIC.to_owned(), vec![0])]);
                let request =
                    group::Request::FetchOffsets { group, topics, member: None, require_stable: true };
                return (tellers, Box::new(|token| Request::Group { token, request }));
            }
        };
        (coordinator, Box::new(|token| Request::Txn { token, request: ask }))
    }

    pub(super) fn txn_answer(&mut self, session: u64, copy: Copied, answer: Answer) {
        let worker = self.txns.instances[copy.instance].worker;
        let waits_on = matches!(answer, Answer::Txn(Reply::NeedsId));
        if matches!(copy.ask, Ask::Init { .. }) && !waits_on {
            let inits = &mut self.txns.workers[worker].inits;
            *inits = inits.saturating_sub(1);
        }
        match answer {
            Answer::Txn(Reply::NeedsId) => {
                let token = self.ask(session, 0, Asked::TxnId(copy));
                self.txns.outbox.push(Outgoing::Meta(session, token, Command::ProducerId));
            }
            Answer::Txn(Reply::Added(Ok(()))) if copy.joining => {
                if let Ask::Produce { producer, part } = copy.ask
                    && let Some(connection) = self.txns.network.get_mut(&session)
                {
                    let partition = self.txns.parts[part as usize].partition;
                    connection.joined.insert((producer.id, producer.epoch, partition));
                }
                self.txn_send(session, Copied { joining: false, ..copy });
            }
            Answer::Txn(Reply::Added(Ok(()))) => self.txn_done(session, &copy, None),
            Answer::Txn(Reply::Producer(Ok(producer))) => {
                if let Ask::End { attempt, commit, .. } = copy.ask {
                    self.txn_fate(attempt, commit);
                }
                self.txn_done(session, &copy, Some(producer));
            }
            Answer::Txn(Reply::Added(Err(error)) | Reply::Producer(Err(error))) => match error {
                Error::CoordinatorNotAvailable | Error::ConcurrentTransactions => {
                    self.txn_again(session, copy)
                }
                error => self.txn_failed(session, &copy, error as i16),
            },
            Answer::Appended(Ok(appended)) => {
                if let Ask::Produce { part, .. } = copy.ask {
                    let Part { partition, count, .. } = self.txns.parts[part as usize];
                    if let Some(log) = self.txns.logs.get_mut(&partition) {
                        log.is_at(part, appended.base_offset, count);
                    }
                    self.counts.appended += 1;
                }
                self.txn_done(session, &copy, None);
            }
            Answer::Appended(Err(AppendError::DiskFull)) | Answer::Failed => self.txn_again(session, copy),
            // It goes on without what it wanted to write there.
            Answer::Appended(Err(AppendError::UnknownPartition)) if self.txns.is_going(&copy.ask) => {
                self.txn_done(session, &copy, None);
            }
            Answer::Appended(Err(error)) => self.txn_failed(session, &copy, 100 + error as i16),
            Answer::Group(group::Reply::Commit(result)) => {
                let refused = match result {
                    Ok(topics) => topics.iter().flat_map(|(_, all)| all).find_map(|(_, result)| result.err()),
                    Err(error) => Some(error),
                };
                match refused {
                    None => self.txn_done(session, &copy, None),
                    Some(error @ (group::Error::InvalidTxnState | group::Error::InvalidProducerEpoch)) => {
                        self.txn_failed(session, &copy, error as i16);
                    }
                    Some(_) => self.txn_again(session, copy),
                }
            }
            Answer::Group(group::Reply::FetchOffsets(Ok(topics))) => {
                let found = topics.first().and_then(|(_, partitions)| partitions.first());
                let found = found.expect("promise: an offset that was asked for is answered");
                match found.unstable {
                    true => self.txn_again(session, copy),
                    false => self.txn_offset(session, &copy, found.offset),
                }
            }
            Answer::Txn(Reply::Outdated) | Answer::Outdated => {
                // The connection is closed, with what is still on it.
                let me = &self.txns.instances[copy.instance];
                assert!(
                    !self.txns.workers[worker].bumps && !me.lines.contains(&session),
                    "promise: producers are heard on their newest connection"
                );
                note!(self.trace, "outdated s{}", session);
                self.txns.network.remove(&session);
            }
            other => panic!("{other:?} is no answer to {copy:?}"),
        }
    }

    /// A producer id for who needed one.
    pub(super) fn txn_id(&mut self, session: u64, mut copy: Copied, id: i64) {
        assert!(self.streams.producer_ids.insert(id), "promise: producer id {id} is given out once");
        if let Ask::Init { fresh, .. } | Ask::End { fresh, .. } = &mut copy.ask {
            *fresh = Some(id);
        }
        self.txn_send(session, copy);
    }

    /// The operation that it is a copy of, if its producer still waits for it on this connection.
    fn txn_current(&mut self, session: u64, copy: &Copied) -> Option<&mut Instance> {
        let me = &mut self.txns.instances[copy.instance];
        let is_current = me.lines[copy.ask.line()] == session && me.doing.contains_key(&copy.op);
        is_current.then_some(me)
    }

    /// It was told to come again.
    pub(super) fn txn_again(&mut self, session: u64, copy: Copied) {
        if self.txn_current(session, &copy).is_some() {
            let connection = self.txns.network.entry(session).or_default();
            connection.queue.push_back(Copied { joining: false, ..copy });
        }
    }

    fn txn_done(&mut self, session: u64, copy: &Copied, producer: Option<Producer>) {
        note!(self.trace, "txn done s{} i{} op{}", session, copy.instance, copy.op);
        let inits = self.txns.workers[self.txns.instances[copy.instance].worker].inits;
        let Some(me) = self.txn_current(session, copy) else { return };
        me.doing.remove(&copy.op);
        match copy.ask {
            Ask::Init { .. } => {
                (me.producer, me.next, me.contested) = (producer, None, inits > 0);
                me.gave_up = false;
                me.sequences.clear();
            }
            Ask::Add { ref partitions, .. } => match partitions.is_empty() {
                true => me.offsets = Offsets::ToCommit,
                false => me.added = true,
            },
            Ask::End { attempt, commit, .. } => {
                if producer != me.producer {
                    me.sequences.clear();
                }
                (me.producer, me.attempt) = (producer, None);
                if commit {
                    let ended = &self.txns.attempts[attempt];
                    self.txns.instances[copy.instance].next = Some(ended.first + ended.count);
                }
            }
            Ask::Produce { .. } | Ask::Commit { .. } | Ask::Offset { .. } => {}
        }
    }

    /// It was refused for good: it has to begin anew.
    fn txn_failed(&mut self, session: u64, copy: &Copied, error: i16) {
        let now = self.now;
        note!(self.trace, "txn failed s{} i{} op{} {}", session, copy.instance, copy.op, error);
        let Some(me) = self.txn_current(session, copy) else { return };
        let is_late = me.attempt.is_some() && now >= me.began + me.timeout_ms as u64;
        assert!(
            me.contested || me.gave_up || is_late,
            "promise: a producer whom nobody has fenced, and whose time is not over, is not refused: {copy:?}, {error}; \
             it began at {} and has {} ms, now it is {now}",
            me.began,
            me.timeout_ms
        );
        self.txns.abandon(copy.instance);
        // The newest instance has the id; whoever was fenced leaves it to that one.
        let worker = self.txns.instances[copy.instance].worker;
        let newer = self.txns.instances.iter().skip(copy.instance + 1);
        let fenced = newer.into_iter().any(|other| other.worker == worker && !other.over);
        self.txns.instances[copy.instance].over = fenced;
    }

    fn txn_offset(&mut self, session: u64, copy: &Copied, offset: i64) {
        let Ask::Offset { least } = copy.ask else { panic!("nobody asked for an offset") };
        let worker = self.txns.instances[copy.instance].worker;
        let (found, most) = (offset.max(0), self.txns.most(worker));
        note!(self.trace, "txn offset w{} {}", worker, found);
        assert!(
            (least..=most).contains(&found),
            "promise: worker {worker} has made {least} to {most} transfers; the offset says {found}"
        );
        let known = &mut self.txns.workers[worker].offset;
        *known = (*known).max(found);
        if let Some(me) = self.txn_current(session, copy) {
            me.doing.remove(&copy.op);
            me.next = Some(found);
        }
    }

    /// Somebody was told how a transaction ended.
    fn txn_fate(&mut self, n: usize, commit: bool) {
        note!(self.trace, "transaction {} ended {}", n, commit);
        let attempt = &mut self.txns.attempts[n];
        assert!(
            attempt.ended != Some(!commit),
            "promise: transaction {n} has ended as its producer was told: committed: {commit}"
        );
        attempt.fate = if commit { Fate::Committed } else { Fate::Aborted };
        self.counts.transactions += u64::from(commit);
    }

    /// A partition says how a transaction ended.
    fn txn_decided(&mut self, n: usize, commit: bool) {
        let attempt = &mut self.txns.attempts[n];
        assert!(
            attempt.ended != Some(!commit),
            "promise: transaction {n} is committed in all partitions or in none"
        );
        attempt.ended = Some(commit);
        let fate = attempt.fate;
        let may =
            if commit { [Fate::InDoubt, Fate::Committed].contains(&fate) } else { fate != Fate::Committed };
        assert!(may, "promise: transaction {n}, of fate {fate:?}, is not read as committed: {commit}");
    }
}
