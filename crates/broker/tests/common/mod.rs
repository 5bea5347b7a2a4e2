//! A shard with a log that is a list, driven one step at a time.

use bowline_broker::{
    DeadLetters, Draft, Effects, Moved, Options, Proposal, Read, Shard, Told, Urgency, Waiter,
};
use bowline_model::block::BLOCK_HEADER_BYTES;
use bowline_model::event::{Event, Failure, MetaEvent};
use bowline_model::record::{self, Extras, Kind, PUBLISH_PERSISTENT, Publish};
use bowline_model::request::{
    Outcome, Propose, Provision, QueueSpec, Request, Settle, Subscribe, Volatile, Want,
};
use bowline_model::{
    AlignedBuf, Block, BlockRef, ConsumerId, Lsn, Millis, QueueId, SessionId, ShardId, Token,
};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

pub const SHARD: ShardId = ShardId(1);
/// Small, so that tests cross segments.
const SEGMENT_BYTES: u32 = 12 * 1024;

pub struct World {
    pub shard: Shard,
    pub options: Options,
    pub now: Millis,
    /// Committed.
    pub log: Vec<BlockRef>,
    /// Sealed, on its way to the disk.
    pub in_flight: VecDeque<(BlockRef, Vec<Waiter>)>,
    /// Blocks in cold files, and the number of the last file.
    pub cold: Vec<BlockRef>,
    pub cold_file: u32,
    /// Cold files that some checkpoint has listed.
    pub listed_cold: BTreeSet<u32>,
    /// Files that are no more.
    pub recycled: BTreeSet<Lsn>,
    pub reads: Vec<Read>,
    pub events: Vec<(SessionId, Event)>,
    pub meta: Vec<MetaEvent>,
    pub dead: Vec<DeadLetters>,
    pub told: Vec<Told>,
    /// Of what is published by the shorthands.
    pub extras: Extras,
    fx: Effects,
    next_position: (u32, u32),
    next_token: u64,
}

impl World {
    pub fn new() -> World {
        World::with(Options::new(SHARD))
    }

    pub fn with(options: Options) -> World {
        let mut world = World {
            shard: Shard::new(options.clone()),
            options,
            now: 1_000,
            log: Vec::new(),
            in_flight: VecDeque::new(),
            cold: Vec::new(),
            cold_file: 0,
            listed_cold: BTreeSet::new(),
            recycled: BTreeSet::new(),
            reads: Vec::new(),
            events: Vec::new(),
            meta: Vec::new(),
            dead: Vec::new(),
            told: Vec::new(),
            extras: Extras::default(),
            fx: Effects::default(),
            next_position: (1, 4096),
            next_token: 0,
        };
        world.start();
        world
    }

    pub fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    pub fn handle(&mut self, session: u64, request: Request) {
        self.shard.handle(self.now, SessionId(session), request, &mut self.fx);
        self.collect();
    }

    /// Seals one block, if there is anything to seal.
    pub fn seal(&mut self) -> bool {
        let Some(Proposal { buf, n_records, waiters }) = self.shard.seal(self.now) else { return false };
        assert_eq!(record::iter(buf.payload()).count(), n_records as usize);
        let block = self.block(buf);
        self.in_flight.push_back((block, waiters));
        true
    }

    pub fn commit(&mut self) -> bool {
        let Some((block, waiters)) = self.in_flight.pop_front() else { return false };
        self.log.push(block.clone());
        self.shard.apply(&block, waiters, &mut self.fx);
        self.collect();
        true
    }

    pub fn abandon(&mut self, failure: Failure) -> bool {
        let Some((block, waiters)) = self.in_flight.pop_back() else { return false };
        self.shard.abandon(waiters, failure, &mut self.fx);
        self.next_position = (block.lsn.segment(), block.lsn.byte_position());
        self.collect();
        true
    }

    pub fn dispatch(&mut self) {
        self.shard.dispatch(self.now, &mut self.fx);
        self.collect();
    }

    /// Answers the oldest read from the log.
    pub fn answer_read(&mut self, fail: bool) -> bool {
        if self.reads.is_empty() {
            return false;
        }
        let read = self.reads.remove(0);
        let found =
            self.log.iter().chain(&self.cold).filter(|b| !self.recycled.contains(&b.lsn.file())).filter(
                |b| {
                    let (at, from) = (b.lsn.0, read.lsn.0);
                    at == from || (at > from && at - from < u64::from(read.max_bytes))
                },
            );
        let blocks: Vec<BlockRef> = found.take(read.max_blocks as usize).cloned().collect();
        let result = if fail || blocks.is_empty() { Err(()) } else { Ok(blocks) };
        self.shard.loaded(read.lsn, result, &mut self.fx);
        self.collect();
        true
    }

    /// Copies the live content of `files` into a new cold file, as the relocator does, in passes of `pass_bytes`.
    /// Blocks of which `unreadable` says so are not read. Durable when it returns, but the shard does not know.
    pub fn copy(
        &mut self,
        files: &BTreeSet<Lsn>,
        pass_bytes: usize,
        mut unreadable: impl FnMut() -> bool,
    ) -> Moved {
        let mut relocation = self.shard.plan_relocation(files);
        self.cold_file += 1;
        let (mut position, file, now) = (4096, self.cold_file, self.now);
        loop {
            let wanted = relocation.begin_pass(pass_bytes);
            if wanted.is_empty() {
                return relocation.finish();
            }
            for lsn in wanted {
                if !relocation.is_past(lsn) && !unreadable() {
                    let block =
                        self.log.iter().chain(&self.cold).find(|b| b.lsn == lsn).expect("it is there");
                    relocation.take(&block.clone());
                }
            }
            let write = |draft: Draft| {
                let Draft { buf, n_records, stamp } = draft;
                assert!(stamp <= now);
                let len = buf.payload_len();
                let payload = buf.freeze().slice(BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + len);
                assert_eq!(record::iter(&payload).count(), n_records as usize);
                let lsn = Lsn::cold(file, position);
                position = (position + (BLOCK_HEADER_BYTES + len) as u32).next_multiple_of(512);
                self.cold.push(Arc::new(Block { lsn, shard: SHARD, term: 0, index: 0, stamp, payload }));
                Ok::<_, ()>(lsn)
            };
            relocation.end_pass(write).expect("memory does not fail");
        }
    }

    /// Segments of the log that nothing is added to any more, and all of which has been applied.
    pub fn sealed_below(&self) -> Lsn {
        let next = Lsn::new(self.next_position.0, 0);
        self.in_flight.front().map_or(next, |(block, _)| block.lsn.file().min(next))
    }

    /// A checkpoint was written: what it does not list is no more, but for cold files that never were listed.
    pub fn recycle(&mut self) {
        let (log, cold) = self.shard.live_segments();
        self.listed_cold.extend(&cold);
        let sealed = self.sealed_below();
        let is_dead = |lsn: Lsn| match lsn.is_cold() {
            true => !cold.contains(&lsn.segment()) && self.listed_cold.contains(&lsn.segment()),
            false => lsn.file() < sealed && !log.contains(&lsn.segment()),
        };
        let files = self.log.iter().chain(&self.cold).map(|b| b.lsn.file());
        self.recycled.extend(files.filter(|file| is_dead(*file)));
    }

    /// The start after a crash removes cold files that the checkpoint does not list.
    pub fn recycle_unlisted(&mut self) {
        let (_, cold) = self.shard.live_segments();
        let files = self.cold.iter().map(|b| b.lsn.file());
        self.recycled.extend(files.filter(|file| !cold.contains(&file.segment())));
    }

    pub fn relocated(&mut self, moved: &Moved) -> usize {
        self.shard.relocated(moved)
    }

    pub fn tick(&mut self, ms: u64) {
        self.now += ms;
        self.shard.tick(self.now, &mut self.fx);
        self.collect();
    }

    /// Until nothing moves any more.
    pub fn settle_down(&mut self) {
        for _ in 0..100_000 {
            self.dispatch();
            let moved = self.seal() | self.commit() | self.answer_read(false);
            if !moved && self.in_flight.is_empty() {
                assert_eq!(self.shard.proposal_urgency(), Urgency::Nothing);
                return;
            }
        }
        panic!("it never comes to rest");
    }

    pub fn take_events(&mut self) -> Vec<(SessionId, Event)> {
        std::mem::take(&mut self.events)
    }

    /// The process dies and starts again. `survive` of the blocks under way are on the disk; `checkpoint` and how
    /// much of the log it covers, if there is one.
    pub fn crash(&mut self, survive: usize, checkpoint: Option<(&[u8], usize)>) {
        let under_way = std::mem::take(&mut self.in_flight);
        for (block, _) in under_way.into_iter().take(survive) {
            self.log.push(block);
        }
        let last = self.log.last().map_or(0, |b| b.index);
        assert!(self.log.iter().zip(1..).all(|(b, index)| b.index == index), "{last}");
        let (mut shard, from) = match checkpoint {
            Some((bytes, covered)) => {
                (Shard::restore(self.options.clone(), bytes).expect("our own checkpoint"), covered)
            }
            None => (Shard::new(self.options.clone()), 0),
        };
        for block in &self.log[from..] {
            shard.apply(block, Vec::new(), &mut Effects::default());
        }
        self.shard = shard;
        self.reads.clear();
        self.events.clear();
        self.meta.clear();
        self.dead.clear();
        self.told.clear();
        self.fx = Effects::default();
        self.start();
    }

    /// What the node does first in each life.
    fn start(&mut self) {
        let mut records = Vec::new();
        record::put(&mut records, Kind::NodeStarted, &[]);
        let mut buf = AlignedBuf::with_payload_capacity(64);
        buf.extend_from_slice(&records);
        let block = self.block(buf);
        self.in_flight.push_back((block, Vec::new()));
        self.commit();
    }

    /// Gives a sealed payload its place in the log.
    fn block(&mut self, buf: AlignedBuf) -> BlockRef {
        let len = buf.payload_len() as u32;
        let (segment, position) = self.next_position;
        let end = (position + BLOCK_HEADER_BYTES as u32 + len).next_multiple_of(512);
        self.next_position = if end > SEGMENT_BYTES { (segment + 1, 4096) } else { (segment, end) };
        let index = (self.log.len() + self.in_flight.len()) as u64 + 1;
        let payload = buf.freeze().slice(BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + len as usize);
        let lsn = Lsn::new(segment, position);
        Arc::new(Block { lsn, shard: SHARD, term: 1, index, stamp: self.now, payload })
    }

    fn collect(&mut self) {
        self.events.append(&mut self.fx.events);
        self.meta.append(&mut self.fx.meta);
        self.reads.append(&mut self.fx.reads);
        self.dead.append(&mut self.fx.dead);
        self.told.append(&mut self.fx.told);
    }

    // Shorthands for requests.

    pub fn declare(&mut self, spec: QueueSpec) {
        self.handle(0, Request::Provision(Provision::Queue(spec)));
        while self.seal() {}
        while self.commit() {}
    }

    pub fn publish(&mut self, session: u64, queues: &[u32], bodies: &[&[u8]]) -> Token {
        let token = self.token();
        let (records, count) = messages(queues, bodies, &self.extras);
        self.handle(
            session,
            Request::Propose(Propose { token, records, count, want: Want::Done, checked: false }),
        );
        token
    }

    pub fn publish_volatile(&mut self, session: u64, queues: &[u32], bodies: &[&[u8]]) -> Token {
        let token = self.token();
        let (records, count) = messages(queues, bodies, &self.extras);
        self.handle(session, Request::Volatile(Volatile { token, records, count, checked: false }));
        token
    }

    pub fn subscribe(&mut self, session: u64, consumer: u32, queue: u32, prefetch: u32) {
        let token = self.token();
        let subscribe = Subscribe {
            tag: Box::default(),
            token,
            queue: QueueId(queue),
            channel: 1,
            consumer: ConsumerId(consumer),
            prefetch,
            no_ack: false,
            exclusive: false,
            priority: 0,
            timeout_ms: None,
        };
        self.handle(session, Request::Subscribe(subscribe));
    }

    pub fn settle(&mut self, session: u64, consumer: u32, first: u64, count: u64, outcome: Outcome) {
        let settle = Settle { consumer: ConsumerId(consumer), first, count, outcome };
        self.handle(session, Request::Settle(vec![settle]));
    }

    pub fn get(&mut self, session: u64, queue: u32, consumer: u32) -> Token {
        let token = self.token();
        let (queue, consumer) = (QueueId(queue), ConsumerId(consumer));
        self.handle(session, Request::Get { token, queue, channel: 1, consumer, no_ack: false });
        token
    }
}

/// A delivery as a test wants to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub session: u64,
    pub consumer: u32,
    pub number: u64,
    pub redelivered: bool,
    pub body: Vec<u8>,
}

/// The deliveries among `events`, in order, with their bodies.
pub fn deliveries(events: &[(SessionId, Event)]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (session, event) in events {
        let Event::Deliver(round) = event else { continue };
        for item in &round.items {
            let block = &round.blocks[item.block as usize];
            let body = body_at(block, item.offset, item.len);
            seen.push(Seen {
                session: session.0,
                consumer: item.consumer.0,
                number: item.number,
                redelivered: item.redelivered,
                body,
            });
        }
    }
    seen
}

pub fn body_at(block: &Block, offset: u32, len: u32) -> Vec<u8> {
    let record = record::at(&block.payload, offset).expect("a record");
    assert_eq!((record.kind, record.len), (Kind::Publish, len));
    record::verify(&block.payload, &record).expect("whole");
    Publish::decode(record.body).expect("a message").body.to_vec()
}

pub fn messages(queues: &[u32], bodies: &[&[u8]], extras: &Extras) -> (Bytes, u32) {
    let mut out = Vec::new();
    for body in bodies {
        let body = [*body];
        let ids = queues.iter().copied();
        Publish::encode_with(
            &mut out,
            PUBLISH_PERSISTENT,
            ids,
            b"",
            b"key",
            b"\0\0",
            extras,
            body.into_iter(),
        );
    }
    (out.into(), bodies.len() as u32)
}

pub fn queue(id: u32) -> QueueSpec {
    QueueSpec {
        queue: QueueId(id),
        vhost: "/".into(),
        name: format!("q{id}"),
        durable: true,
        auto_delete: false,
        exclusive: false,
        arguments: Vec::new(),
        settings: Default::default(),
    }
}
