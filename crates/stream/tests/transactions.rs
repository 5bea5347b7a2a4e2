//! Coordinators and partitions of several shards together, under clients that send requests again on new connections
//! while the old ones are still on their way, and a node that dies at any moment: no transaction is ever torn.
//!
//! Clients of both kinds: those that keep their epoch from one transaction to the next, for which every broker that
//! only compares epochs has been found unsafe, and those that raise it.

use bowline_model::event::{AppendError, Event, SLICE_ABORTED};
use bowline_model::record::{self, Append, Kind};
use bowline_model::request::{Fetch, FetchPartition, PartitionConfig, PartitionSpec};
use bowline_model::txn::{Error, Member, Producer, Reply, Request};
use bowline_model::{Block, BlockRef, Lsn, Millis, PartitionId, SessionId, ShardId, Token, TopicId};
use bowline_stream::txn::{Place, Send};
use bowline_stream::{BlockLookup, FetchOutcome, Options, Out, Stream, Waiter};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const SHARDS: u16 = 2;
const PARTITIONS: u32 = 4;
const TXNS: u64 = 12;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Default)]
struct Blocks(BTreeMap<Lsn, BlockRef>);

impl BlockLookup for Blocks {
    fn block(&mut self, lsn: Lsn) -> Option<BlockRef> {
        self.0.get(&lsn).cloned()
    }
}

/// What a shard is asked.
#[derive(Clone)]
enum Ask {
    Txn(Request),
    /// A batch of one record, which says whose and of which transaction it is.
    Append {
        partition: u32,
        batch: Vec<u8>,
    },
    /// The same, of a client that lets partitions join by producing.
    Join {
        id: String,
        producer: Producer,
        partition: u32,
        batch: Vec<u8>,
    },
}

enum Input {
    Step(Send, ShardId),
    Taken(u64),
}

/// Something on its way into a shard's log.
struct Logging {
    records: Vec<u8>,
    waiter: Option<Waiter>,
    receipt: Option<(ShardId, u64)>,
    asker: Option<Token>,
}

struct Shard {
    stream: Stream,
    blocks: Blocks,
    inbox: VecDeque<Input>,
    log: VecDeque<Logging>,
}

fn options(shard: u16) -> Options {
    Options { place: Place { shard: ShardId(shard), data_shards: SHARDS }, ..Options::default() }
}

impl Shard {
    fn apply(stream: &mut Stream, block: &Block, out: &mut Out) -> Option<Result<u64, AppendError>> {
        let mut appended = None;
        for record in record::iter(&block.payload) {
            let record = record.unwrap();
            match record.kind {
                Kind::Append => {
                    let result = stream.apply_append(block, &record).result;
                    appended = Some(result.map(|appended| appended.base_offset));
                }
                _ => {
                    stream.apply(block, &record, out);
                }
            }
        }
        stream.finish_block(block.stamp, out);
        appended
    }

    fn write(&mut self, stamp: Millis, records: Vec<u8>, out: &mut Out) -> Option<Result<u64, AppendError>> {
        let n = self.blocks.0.len() as u64;
        let block = Arc::new(Block {
            lsn: Lsn::new(1, n as u32 * 512),
            shard: ShardId(1),
            term: 1,
            index: n + 1,
            stamp,
            payload: records.into(),
        });
        self.blocks.0.insert(block.lsn, block.clone());
        Shard::apply(&mut self.stream, &block, out)
    }
}

/// How a client's transaction ended, as far as it knows.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Committed,
    Aborted,
    Unknown,
}

struct Client {
    id: String,
    number: u64,
    bumps: bool,
    session: u64,
    producer: Option<Producer>,
    /// The operation that is under way, and its number.
    doing: Option<(u64, Ask)>,
    ops: u64,
    txn: u64,
    partitions: Vec<u32>,
    left: Vec<u32>,
    commit: bool,
    asked_to_commit: bool,
    sequences: BTreeMap<u32, i32>,
    fates: BTreeMap<u64, (Fate, Vec<u32>)>,
    in_txn: bool,
    done: bool,
}

/// Batches that wait until their partition has joined.
type Waiting = VecDeque<(u32, Vec<u8>)>;

struct World {
    random: Random,
    now: Millis,
    shards: Vec<Shard>,
    clients: Vec<Client>,
    /// By session: requests in order.
    network: BTreeMap<u64, VecDeque<(Token, Ask)>>,
    /// Batches that wait for the coordinator's word, by session: each copy of a request for its own answer.
    joining: BTreeMap<(u64, Token), Waiting>,
    next_session: u64,
    next_producer: i64,
    outdated: u64,
    crashes: u64,
}

fn batch(producer: Producer, sequence: i32, client: u64, txn: u64) -> Vec<u8> {
    let mut out = vec![0; 8];
    out.extend((49 + 16i32).to_be_bytes());
    out.extend([0, 0, 0, 0, 2, 0, 0, 0, 0]);
    out.extend(0x10i16.to_be_bytes());
    out.extend(0i32.to_be_bytes());
    out.extend([0; 16]);
    out.extend(producer.id.to_be_bytes());
    out.extend(producer.epoch.to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend(1i32.to_be_bytes());
    out.extend(client.to_be_bytes());
    out.extend(txn.to_be_bytes());
    out
}

impl World {
    fn new(seed: u64) -> World {
        let mut shards: Vec<Shard> = (1..=SHARDS)
            .map(|id| Shard {
                stream: Stream::new(options(id)),
                blocks: Blocks::default(),
                inbox: VecDeque::new(),
                log: VecDeque::new(),
            })
            .collect();
        for id in 0..PARTITIONS {
            let config = PartitionConfig::default();
            let topic = TopicId([7; 16]);
            let partition = PartitionId(id);
            let spec = PartitionSpec { partition, topic, topic_name: "t".into(), index: id, config };
            let mut records = Vec::new();
            record::put_value(&mut records, Kind::PartitionCreate, &spec);
            shards[shard_of(id)].write(0, records, &mut Out::default());
        }
        let client = |number: u64| Client {
            id: format!("id-{number}"),
            number,
            bumps: number.is_multiple_of(2),
            session: number + 1,
            producer: None,
            doing: None,
            ops: 0,
            txn: 0,
            partitions: Vec::new(),
            left: Vec::new(),
            commit: false,
            asked_to_commit: false,
            sequences: BTreeMap::new(),
            fates: BTreeMap::new(),
            in_txn: false,
            done: false,
        };
        World {
            random: Random(seed),
            now: 1_000,
            shards,
            clients: (0..4).map(client).collect(),
            network: BTreeMap::new(),
            joining: BTreeMap::new(),
            next_session: 100,
            next_producer: 1,
            outdated: 0,
            crashes: 0,
        }
    }

    /// Something happens.
    fn step(&mut self, calm: bool) {
        self.now += self.random.below(20) as u64;
        match self.random.below(if calm { 60 } else { 64 }) {
            0..20 => self.deliver(),
            20..30 => self.receive(),
            30..48 => self.log(),
            48..58 => self.client(),
            58..60 => self.tick(),
            60..62 => {
                // A client hears nothing and tries again on another connection.
                let at = self.random.below(self.clients.len());
                if self.clients[at].doing.is_some() {
                    self.reconnect(at);
                }
            }
            62 => self.now += 400,
            _ if self.random.one_in(6) => self.crash(),
            _ => {}
        }
    }

    fn reconnect(&mut self, at: usize) {
        self.next_session += 1;
        let client = &mut self.clients[at];
        client.session = self.next_session;
        if let Some((op, ask)) = client.doing.clone() {
            let token = Token(at as u64 * 1_000_000 + op);
            self.network.entry(client.session).or_default().push_back((token, ask));
        }
    }

    fn deliver(&mut self) {
        let sessions: Vec<u64> = self.network.keys().copied().collect();
        if sessions.is_empty() {
            return;
        }
        let session = sessions[self.random.below(sessions.len())];
        let Some((token, ask)) = self.network.get_mut(&session).and_then(VecDeque::pop_front) else { return };
        if self.network[&session].is_empty() {
            self.network.remove(&session);
        }
        self.ask(session, token, ask);
    }

    fn ask(&mut self, session: u64, token: Token, ask: Ask) {
        let mut out = Out::default();
        let (now, session) = (self.now, SessionId(session));
        let at = match ask {
            Ask::Append { partition, batch } => {
                let mut records = Vec::new();
                Append::encode(&mut records, partition, 0, &batch);
                let asker = Some(token);
                let logging = Logging { records, waiter: None, receipt: None, asker };
                return self.shards[shard_of(partition)].log.push_back(logging);
            }
            Ask::Join { id, producer, partition, batch } => {
                self.joining.entry((session.0, token)).or_default().push_back((partition, batch));
                let members = vec![member(partition)];
                let at = coordinator(&id);
                let request = Request::Add { id, producer, members, group: None, implicit: true };
                self.shards[at].stream.txn(now, session, token, request, &mut out);
                at
            }
            Ask::Txn(request) => {
                let at = match &request {
                    Request::Init { id, .. } | Request::Add { id, .. } | Request::End { id, .. } => {
                        coordinator(id)
                    }
                    _ => unreachable!("not asked here"),
                };
                self.shards[at].stream.txn(now, session, token, request, &mut out);
                at
            }
        };
        self.perform(at, out);
    }

    fn perform(&mut self, at: usize, out: Out) {
        for proposal in out.propose {
            let logging =
                Logging { records: proposal.records, waiter: proposal.waiter, receipt: None, asker: None };
            self.shards[at].log.push_back(logging);
        }
        for send in out.sends {
            let to = usize::from(send.shard.0) - 1;
            self.shards[to].inbox.push_back(Input::Step(send, ShardId(at as u16 + 1)));
        }
        for (session, event) in out.replies {
            match event {
                Event::Txn { token, reply } => self.reply(session.0, token, reply),
                other => panic!("{other:?}"),
            }
        }
    }

    fn receive(&mut self) {
        let at = self.random.below(self.shards.len());
        match self.shards[at].inbox.pop_front() {
            Some(Input::Step(send, from)) => {
                let receipt = Some((from, send.ticket));
                let logging = Logging { records: send.records, waiter: None, receipt, asker: None };
                self.shards[at].log.push_back(logging);
            }
            Some(Input::Taken(ticket)) => {
                let mut out = Out::default();
                self.shards[at].stream.confirmed(ticket, &mut out);
                self.perform(at, out);
            }
            None => {}
        }
    }

    fn log(&mut self) {
        let at = self.random.below(self.shards.len());
        let Some(logging) = self.shards[at].log.pop_front() else { return };
        let mut out = Out::default();
        // The log has no room now and then.
        if let Some(waiter) = logging.waiter {
            if self.random.one_in(40) {
                self.shards[at].stream.refused(waiter, true, &mut out);
            } else {
                self.shards[at].write(self.now, logging.records, &mut out);
                self.shards[at].stream.applied(waiter, &mut out);
            }
            return self.perform(at, out);
        }
        let appended = self.shards[at].write(self.now, logging.records, &mut out);
        self.perform(at, out);
        if let Some((from, ticket)) = logging.receipt {
            self.shards[usize::from(from.0) - 1].inbox.push_back(Input::Taken(ticket));
        }
        if let (Some(token), Some(result)) = (logging.asker, appended) {
            self.answered(token, result.map(|_| None).map_err(|_| ()));
        }
    }

    fn tick(&mut self) {
        for at in 0..self.shards.len() {
            let mut out = Out::default();
            self.shards[at].stream.tick(self.now, &mut out);
            self.perform(at, out);
        }
    }

    /// The node dies, and comes back with what its log holds.
    fn crash(&mut self) {
        self.crashes += 1;
        self.network.clear();
        self.joining.clear();
        for at in 0..self.shards.len() {
            let shard = &mut self.shards[at];
            (shard.inbox, shard.log) = Default::default();
            let from = self.random.below(shard.blocks.0.len() + 1);
            let mut stream = Stream::new(options(at as u16 + 1));
            let mut ignored = Out::default();
            for (i, block) in shard.blocks.0.values().enumerate() {
                if i == from {
                    let mut bytes = Vec::new();
                    stream.checkpoint(&mut bytes);
                    stream = Stream::new(options(at as u16 + 1));
                    stream.restore(&bytes, bowline_stream::SECTIONS).unwrap();
                }
                Shard::apply(&mut stream, block, &mut ignored);
            }
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            shard.stream.checkpoint(&mut expected);
            stream.checkpoint(&mut got);
            assert!(expected == got, "the same log gives the same state");
            shard.stream = stream;
            let mut records = Vec::new();
            record::put(&mut records, Kind::NodeStarted, &[]);
            shard.write(self.now, records, &mut ignored);
        }
        for at in 0..self.clients.len() {
            self.reconnect(at);
        }
    }

    fn reply(&mut self, session: u64, token: Token, reply: Reply) {
        if let Some((partition, batch)) =
            self.joining.get_mut(&(session, token)).and_then(VecDeque::pop_front)
        {
            return match reply {
                Reply::Added(Ok(())) => self.ask(session, token, Ask::Append { partition, batch }),
                _ => self.answered(token, Err(())),
            };
        }
        match reply {
            Reply::Outdated => {
                // The connection is closed, with what is still on it.
                self.outdated += 1;
                self.network.remove(&session);
                let at = (token.0 / 1_000_000) as usize;
                if self.clients[at].session == session {
                    self.reconnect(at);
                }
            }
            Reply::NeedsId => {
                let at = (token.0 / 1_000_000) as usize;
                self.next_producer += 1;
                let next = self.next_producer;
                if let Some((op, Ask::Txn(Request::Init { fresh, .. } | Request::End { fresh, .. }))) =
                    &mut self.clients[at].doing
                    && *op == token.0 % 1_000_000
                {
                    *fresh = Some(next);
                    let ask = self.clients[at].doing.clone().unwrap().1;
                    self.ask(session, token, ask);
                }
            }
            Reply::Producer(Ok(producer)) => self.answered(token, Ok(Some(producer))),
            Reply::Added(Ok(())) => self.answered(token, Ok(None)),
            // To be tried again.
            Reply::Producer(Err(Error::CoordinatorNotAvailable | Error::ConcurrentTransactions))
            | Reply::Added(Err(Error::CoordinatorNotAvailable | Error::ConcurrentTransactions)) => {
                let at = (token.0 / 1_000_000) as usize;
                if self.clients[at].doing.as_ref().is_some_and(|(op, _)| *op == token.0 % 1_000_000)
                    && self.clients[at].session == session
                {
                    let ask = self.clients[at].doing.clone().unwrap().1;
                    self.network.entry(session).or_default().push_back((token, ask));
                }
            }
            Reply::Producer(Err(_)) | Reply::Added(Err(_)) => self.answered(token, Err(())),
            other => panic!("{other:?}"),
        }
    }

    /// The operation of the client is over, unless it was over before.
    fn answered(&mut self, token: Token, result: Result<Option<Producer>, ()>) {
        let client = &mut self.clients[(token.0 / 1_000_000) as usize];
        let Some((_, ask)) = client.doing.take_if(|(op, _)| *op == token.0 % 1_000_000) else { return };
        let Ok(producer) = result else {
            // It cannot go on as what it is.
            if client.in_txn {
                let fate = if client.asked_to_commit { Fate::Unknown } else { Fate::Aborted };
                client.fates.insert(client.txn, (fate, client.partitions.clone()));
                client.in_txn = false;
            }
            client.producer = None;
            return;
        };
        match ask {
            Ask::Txn(Request::Init { .. }) => {
                client.producer = producer;
                client.sequences.clear();
            }
            Ask::Txn(Request::End { commit, .. }) => {
                let fate = if commit { Fate::Committed } else { Fate::Aborted };
                client.fates.insert(client.txn, (fate, client.partitions.clone()));
                client.in_txn = false;
                if producer != client.producer {
                    client.sequences.clear();
                }
                client.producer = producer;
            }
            Ask::Txn(_) => {}
            Ask::Append { partition, .. } | Ask::Join { partition, .. } => {
                *client.sequences.entry(partition).or_default() += 1;
                client.left.retain(|left| *left != partition);
            }
        }
    }

    /// A client that waits for nothing does the next thing.
    fn client(&mut self) {
        let at = self.random.below(self.clients.len());
        let client = &mut self.clients[at];
        if client.doing.is_some() || client.done {
            return;
        }
        let id = client.id.clone();
        let ask = match client.producer {
            None => Ask::Txn(Request::Init { id, timeout_ms: 1_000, known: None, fresh: None }),
            Some(_) if !client.in_txn && client.txn >= TXNS => {
                // Whatever is still open ends with this.
                client.done = true;
                return;
            }
            Some(producer) if !client.in_txn => {
                client.txn += 1;
                (client.in_txn, client.asked_to_commit) = (true, false);
                client.partitions = (0..PARTITIONS).filter(|_| self.random.one_in(2)).collect();
                if client.partitions.is_empty() {
                    client.partitions.push(self.random.below(PARTITIONS as usize) as u32);
                }
                client.left = client.partitions.clone();
                client.commit = !self.random.one_in(4);
                if client.bumps {
                    return;
                }
                let members = client.partitions.iter().map(|p| member(*p)).collect();
                Ask::Txn(Request::Add { id, producer, members, group: None, implicit: false })
            }
            Some(producer) => match client.left.first().copied() {
                Some(partition) => {
                    let sequence = client.sequences.get(&partition).copied().unwrap_or(0);
                    let batch = batch(producer, sequence, client.number, client.txn);
                    match client.bumps {
                        true => Ask::Join { id, producer, partition, batch },
                        false => Ask::Append { partition, batch },
                    }
                }
                None => {
                    let (commit, bumps) = (client.commit, client.bumps);
                    client.asked_to_commit = commit;
                    Ask::Txn(Request::End { id, producer, commit, bumps, fresh: None })
                }
            },
        };
        client.ops += 1;
        client.doing = Some((client.ops, ask.clone()));
        let token = Token(at as u64 * 1_000_000 + client.ops);
        self.network.entry(client.session).or_default().push_back((token, ask));
    }

    /// `(client, transaction)` of each committed record of a partition.
    fn committed(&mut self, partition: u32) -> Vec<(u64, u64)> {
        let shard = &mut self.shards[shard_of(partition)];
        let id = PartitionId(partition);
        let stable = shard.stream.partitions.last_stable(id);
        assert_eq!(stable, shard.stream.partitions.high_watermark(id), "nothing is left open");
        let at = FetchPartition { partition: id, offset: 0, max_bytes: u32::MAX };
        let fetch = Fetch { token: Token(1), partitions: vec![at], max_bytes: u32::MAX, committed: true };
        let FetchOutcome::Ready(found) = shard.stream.partitions.fetch(&fetch, false, &mut shard.blocks)
        else {
            panic!("all blocks are there")
        };
        let fetched = found.into_iter().next().unwrap().result.unwrap();
        assert!(fetched.aborted.is_sorted_by_key(|(_, first)| *first));
        let mut seen = Vec::new();
        for slice in fetched.batches {
            let bytes = &slice.block.payload[slice.offset as usize..(slice.offset + slice.len) as usize];
            if bytes[22] & 0x20 == 0 && slice.flags & SLICE_ABORTED == 0 {
                let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
                seen.push((number(61), number(69)));
            }
        }
        seen
    }
}

fn member(partition: u32) -> Member {
    Member { partition: PartitionId(partition), topic: "t".into(), index: partition }
}

fn shard_of(partition: u32) -> usize {
    usize::from(ShardId::of(partition, SHARDS).0) - 1
}

fn coordinator(id: &str) -> usize {
    usize::from(ShardId::of_group(id, SHARDS).0) - 1
}

#[test]
fn no_transaction_is_torn_whatever_is_lost_sent_again_or_overtaken() {
    let (mut committed, mut aborted, mut outdated, mut crashes) = (0, 0, 0, 0);
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..4_000 {
            world.step(false);
        }
        // Everybody comes to an end.
        for round in 0..200_000 {
            world.step(true);
            if round % 500 == 0 {
                for at in 0..world.clients.len() {
                    if world.clients[at].doing.is_some() {
                        world.reconnect(at);
                    }
                }
            }
            if world.clients.iter().all(|client| client.done) && world.network.is_empty() {
                break;
            }
        }
        assert!(world.clients.iter().all(|client| client.done), "seed {seed}: somebody is stuck");
        // What nobody ended is aborted when its time is over.
        world.now += 10_000;
        for _ in 0..200 {
            world.tick();
            for _ in 0..20 {
                world.receive();
                world.log();
            }
            world.now += 100;
        }
        let mut seen: BTreeMap<(u64, u64), Vec<u32>> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let mut once = BTreeSet::new();
            for record in world.committed(partition) {
                assert!(once.insert(record), "seed {seed}: {record:?} twice in {partition}");
                seen.entry(record).or_default().push(partition);
            }
        }
        for client in &world.clients {
            for (txn, (fate, partitions)) in &client.fates {
                let found = seen.remove(&(client.number, *txn)).unwrap_or_default();
                let whole = found == *partitions;
                let told =
                    format!("seed {seed}, {} {txn}: {fate:?}, {partitions:?}, found {found:?}", client.id);
                match fate {
                    Fate::Committed => assert!(whole, "{told}"),
                    Fate::Aborted => assert!(found.is_empty(), "{told}"),
                    Fate::Unknown => assert!(whole || found.is_empty(), "{told}"),
                }
                committed += u64::from(!found.is_empty());
                aborted += u64::from(found.is_empty());
            }
        }
        assert!(seen.is_empty(), "seed {seed}: {seen:?}");
        outdated += world.outdated;
        crashes += world.crashes;
    }
    // The test is worth something only if all of this happened, and often.
    assert!(committed > 1_000 && aborted > 1_000, "{committed} {aborted}");
    assert!(outdated > 20 && crashes > 100, "{outdated} {crashes}");
}
