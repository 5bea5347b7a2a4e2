//! Relocation on a fake disk that loses power at any moment: between copying, finishing the cold file, telling the
//! shard, and any number of checkpoints. What was not settled is always there, once and in order, wherever it lies.

use bowline_broker::{Effects, Moved};
use bowline_model::event::Event;
use bowline_model::record::{self, Append, Publish};
use bowline_model::request::{
    Fetch, FetchPartition, PartitionConfig, PartitionSpec, Propose, Provision, QueueSpec, Request, Settle,
    Subscribe, Want,
};
use bowline_model::{
    BlockRef, ConsumerId, Lsn, Millis, PartitionId, QueueId, SessionId, ShardId, Token, TopicId,
};
use bowline_raft::{SingleNode, Slot};
use bowline_replica::data::DataShard;
use bowline_replica::{META_SESSION, recover, relocate};
use bowline_storage::{Checkpoint, ColdWriter, Driver, FakeDisk, Identity, Log, Options};
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

const ID: ShardId = ShardId(1);
const KEPT: QueueId = QueueId(1);
const PASSING: QueueId = QueueId(2);
const PARTITION: PartitionId = PartitionId(3);
const A: SessionId = SessionId(10);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A data shard over a log that is driven by hand.
struct Node {
    log: Log,
    driver: Driver,
    committed: Arc<Mutex<VecDeque<BlockRef>>>,
    shard: DataShard<SingleNode>,
    events: Vec<Event>,
    now: Millis,
    /// Relocations on their way: the cold file is not finished; the shard does not know yet.
    copied: Option<(ColdWriter, Moved)>,
    finished: Option<Moved>,
}

impl Node {
    fn open(disk: &FakeDisk, life: u64) -> Node {
        let options = Options {
            identity: Identity { node: [1; 16], data_shards: 1 },
            segment_bytes: 64 << 10,
            first_segment_bytes: 64 << 10,
            ready_segments: 1,
            spare_segments: 1,
            free_bytes_min: 0,
            epoch_seed: life,
            ..Options::default()
        };
        let (log, recovered) = Log::open(Arc::new(disk.clone()), options).expect("the log opens");
        let broker = |id| bowline_broker::Options {
            cache_bytes: 10_000,
            readahead_bytes: 20_000,
            ..bowline_broker::Options::new(id)
        };
        let states =
            recover(recovered, 1, bowline_topology::Defaults::default(), broker).expect("it is whole");
        let (_, shard) = states.shards.into_iter().next().unwrap();
        let committed = Arc::new(Mutex::new(VecDeque::new()));
        let commits = committed.clone();
        let on_complete =
            move |_, block: Result<BlockRef, _>| commits.lock().push_back(block.expect("no faults"));
        let driver = log.start_manual(Arc::new(on_complete)).unwrap();
        let (term, index) = log.last(ID).unwrap_or(shard.applied()).max(shard.applied());
        let mut shard = DataShard::new(shard, SingleNode::new(log.clone(), ID, Slot { term, index }));
        let now = life * 1_000_000;
        shard.begin(now).unwrap();
        let (events, copied, finished) = (Vec::new(), None, None);
        let mut node = Node { log, driver, committed, shard, events, now, copied, finished };
        node.pump();
        let queue = |queue: QueueId| QueueSpec {
            queue,
            vhost: "/".into(),
            name: format!("{}", queue.0),
            durable: true,
            auto_delete: false,
            exclusive: false,
            arguments: Vec::new(),
            settings: Default::default(),
        };
        let config = PartitionConfig::default();
        let topic = TopicId([7; 16]);
        let spec = PartitionSpec { partition: PARTITION, topic, topic_name: "t".into(), index: 0, config };
        let (queues, partitions) = (vec![queue(KEPT), queue(PASSING)], vec![spec]);
        node.send(META_SESSION, Request::Provision(Provision::Reconcile { queues, partitions }));
        node
    }

    fn send(&mut self, session: SessionId, request: Request) {
        let mut fx = Effects::default();
        self.shard.request(self.now, session, request, &mut fx);
        self.perform(fx);
        self.pump();
    }

    /// Until everything is durable, applied and delivered.
    fn pump(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            let mut fx = Effects::default();
            self.now += 10;
            self.shard.advance(self.now, &mut fx);
            quiet = if fx.is_empty() && self.committed.lock().is_empty() { quiet + 1 } else { 0 };
            self.perform(fx);
            self.driver.settle();
            while let Some(block) = { self.committed.lock().pop_front() } {
                let mut fx = Effects::default();
                self.shard.committed(&block, &mut fx);
                self.perform(fx);
            }
        }
    }

    fn perform(&mut self, fx: Effects) {
        self.events.extend(fx.events.into_iter().map(|(_, event)| event));
        for read in fx.reads {
            let result = self.log.read_run(read.lsn, read.max_bytes as usize, read.max_blocks as usize);
            let mut fx = Effects::default();
            self.shard.loaded(read.lsn, result.map_err(|_| ()), &mut fx);
            self.perform(fx);
        }
    }

    fn propose(&mut self, records: Vec<u8>) {
        let count = record::iter(&records).count() as u32;
        let records = records.into();
        self.send(
            A,
            Request::Propose(Propose { token: Token(1), records, count, want: Want::Done, checked: false }),
        );
        let done = |e: &Event| matches!(e, Event::Done { token: Token(1) });
        assert!(std::mem::take(&mut self.events).iter().any(done), "it is confirmed");
    }

    fn checkpoint(&mut self) {
        let part = self.shard.snapshot(ID);
        let (live_segments, live_cold) = (part.live_segments, part.live_cold);
        self.log
            .write_checkpoint(&Checkpoint { shards: vec![part.checkpoint], live_segments, live_cold })
            .unwrap();
        self.driver.settle();
    }

    /// The next step of a relocation.
    fn relocate(&mut self, random: &mut Random) {
        if let Some(moved) = self.finished.take() {
            self.shard.relocated(&moved);
        } else if let Some((writer, moved)) = self.copied.take() {
            writer.finish().unwrap();
            self.finished = Some(moved);
        } else {
            let active = self.log.segments().last().map(|n| Lsn::new(*n, 0)).unwrap();
            let mut files: BTreeSet<Lsn> = self.shard.shard.survey().into_keys().collect();
            files.retain(|file| *file != active && random.below(10) < 8);
            let mut relocation = self.shard.shard.plan_relocation(&files);
            if !relocation.is_empty() {
                let mut writer = self.log.new_cold_file(None).unwrap();
                relocate::copy(&self.log, &mut relocation, &mut writer, |_| true).unwrap();
                self.copied = Some((writer, relocation.finish()));
            }
        }
    }

    /// Takes what the kept queue holds, and settles `settle` of it from the front.
    fn consume(&mut self, expected: &[u64], settle: u64) {
        self.events.clear();
        let subscribe = Subscribe {
            tag: Box::default(),
            token: Token(2),
            queue: KEPT,
            channel: 1,
            consumer: ConsumerId(1),
            prefetch: 0,
            no_ack: false,
            exclusive: false,
            priority: 0,
            timeout_ms: None,
        };
        self.send(A, Request::Subscribe(subscribe));
        let mut got = Vec::new();
        for event in std::mem::take(&mut self.events) {
            let Event::Deliver(round) = event else { continue };
            for item in &round.items {
                let found = record::at(&round.blocks[item.block as usize].payload, item.offset).unwrap();
                let body = Publish::decode(found.body).unwrap().body;
                got.push(u64::from_le_bytes(body[..8].try_into().unwrap()));
            }
        }
        assert_eq!(got, expected);
        let (consumer, outcome) = (ConsumerId(1), bowline_model::request::Outcome::Acked);
        self.send(A, Request::Settle(vec![Settle { consumer, first: 0, count: settle, outcome }]));
        self.send(A, Request::CloseSession);
        self.events.clear();
    }

    fn fetch_all(&mut self, batches: &[Vec<u8>]) {
        let mut offset = 0;
        while offset < batches.len() {
            self.events.clear();
            let at = FetchPartition { partition: PARTITION, offset: offset as u64, max_bytes: 1_000 };
            self.send(
                A,
                Request::Fetch(Fetch {
                    token: Token(3),
                    partitions: vec![at],
                    max_bytes: 1_000,
                    committed: false,
                }),
            );
            let [Event::Fetched { partitions, .. }] = &self.events[..] else { panic!("{:?}", self.events) };
            let fetched = partitions[0].result.as_ref().unwrap();
            assert_eq!(fetched.high_watermark, batches.len() as u64);
            assert!(!fetched.batches.is_empty());
            for slice in &fetched.batches {
                let bytes = &slice.block.payload[slice.offset as usize..][..slice.len as usize];
                assert_eq!((slice.base_offset, bytes), (offset as u64, &batches[offset][..]));
                offset += 1;
            }
        }
    }
}

fn batch(n: usize) -> Vec<u8> {
    let mut batch = vec![0; 61];
    batch.extend_from_slice(&n.to_le_bytes());
    let len = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&len.to_be_bytes());
    batch[16] = 2;
    batch[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    batch
}

#[test]
fn power_may_fail_at_any_step_of_a_relocation() {
    let (mut recycled, mut relocated) = (0, 0);
    for seed in 1..=40 {
        let mut random = Random(seed * 7919);
        let disk = FakeDisk::new(seed, [512, 4096][seed as usize % 2]);
        let (mut kept, mut batches): (Vec<u64>, Vec<Vec<u8>>) = Default::default();
        let mut next = 0;
        for life in 1..6 {
            let mut node = Node::open(&disk, life);
            for _ in 0..10 + random.below(60) {
                match random.below(12) {
                    0..5 => {
                        let mut records = Vec::new();
                        let mut to = |queues: &[u32], n: u64, len: usize| {
                            let mut body = n.to_le_bytes().to_vec();
                            body.resize(len, b'.');
                            let ids = queues.iter().copied();
                            Publish::encode(&mut records, 1, ids, b"", b"", &[0, 0], [&body[..]].into_iter());
                        };
                        for _ in 0..1 + random.below(3) {
                            to(if random.below(2) == 0 { &[1] } else { &[2, 1] }, next, 20);
                            kept.push(next);
                            next += 1;
                        }
                        to(&[2], 0, 8_000 + random.below(20_000) as usize);
                        Append::encode(&mut records, PARTITION.0, 0, &batch(batches.len()));
                        batches.push(batch(batches.len()));
                        node.propose(records);
                    }
                    5 => node.send(A, Request::Purge { token: Token(4), queue: PASSING }),
                    6 => {
                        let settle = random.below(1 + kept.len() as u64 / 4);
                        node.consume(&kept, settle);
                        kept.drain(..settle as usize);
                    }
                    7..10 => node.relocate(&mut random),
                    10 => node.checkpoint(),
                    _ => node.fetch_all(&batches),
                }
            }
            node.consume(&kept, 0);
            node.fetch_all(&batches);
            relocated += node.shard.snapshot(ID).live_cold.len();
            recycled += usize::from(node.log.segments()[0] > 1);
            // The process goes with its threads, if it had any, before the disk does.
            drop(node);
            if random.below(3) == 0 { disk.kill() } else { disk.crash() }
        }
        let mut node = Node::open(&disk, 9);
        node.consume(&kept, 0);
        node.fetch_all(&batches);
        let listed = node.shard.snapshot(ID).live_cold.len() as u32;
        node.checkpoint();
        node.checkpoint();
        assert_eq!(node.log.stats().cold_files, listed, "nothing is left over");
    }
    assert!(recycled > 20 && relocated > 40, "{recycled} {relocated}");
}
