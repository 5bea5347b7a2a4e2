//! Relocation on a fake disk that loses power at any moment: between copying, finishing the cold file, telling the
//! shard, and any number of checkpoints. What was not settled is always there, once and in order, wherever it lies.

use crate::machine::{A, ID, Machine, Random};
use bowline_broker::Moved;
use bowline_model::event::Event;
use bowline_model::record::{self, Append, Publish};
use bowline_model::request::{
    Fetch, FetchPartition, PartitionConfig, PartitionSpec, QueueSpec, Request, Settle, Subscribe,
};
use bowline_model::{ConsumerId, PartitionId, QueueId, Token, TopicId};
use bowline_replica::relocate;
use bowline_storage::{ColdWriter, FakeDisk};

const KEPT: QueueId = QueueId(1);
const PASSING: QueueId = QueueId(2);
const PARTITION: PartitionId = PartitionId(3);

struct Node {
    machine: Machine,
    /// Relocations on their way: the cold file is not finished; the shard does not know yet.
    copied: Option<(ColdWriter, Moved)>,
    finished: Option<Moved>,
}

impl Node {
    fn open(disk: &FakeDisk, life: u64) -> Node {
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
        let machine = Machine::open(disk, life, vec![queue(KEPT), queue(PASSING)], vec![spec]);
        Node { machine, copied: None, finished: None }
    }

    /// The next step of a relocation.
    fn relocate(&mut self, random: &mut Random) {
        if let Some(moved) = self.finished.take() {
            self.machine.shard.relocated(&moved);
        } else if let Some((writer, moved)) = self.copied.take() {
            writer.finish().unwrap();
            self.finished = Some(moved);
        } else {
            let files = self.machine.some_files(random);
            let mut relocation = self.machine.shard.shard.plan_relocation(&files);
            if !relocation.is_empty() {
                let mut writer = self.machine.log.new_cold_file(None).unwrap();
                relocate::copy(&self.machine.log, &mut relocation, &mut writer, |_| true).unwrap();
                self.copied = Some((writer, relocation.finish()));
            }
        }
    }

    /// Takes what the kept queue holds, and settles `settle` of it from the front.
    fn consume(&mut self, expected: &[u64], settle: u64) {
        self.machine.events.clear();
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
        self.machine.send(A, Request::Subscribe(subscribe));
        let mut got = Vec::new();
        for event in std::mem::take(&mut self.machine.events) {
            let Event::Deliver(round) = event else { continue };
            for item in &round.items {
                let found = record::at(&round.blocks[item.block as usize].payload, item.offset).unwrap();
                let body = Publish::decode(found.body).unwrap().body;
                got.push(u64::from_le_bytes(body[..8].try_into().unwrap()));
            }
        }
        assert_eq!(got, expected);
        let (consumer, outcome) = (ConsumerId(1), bowline_model::request::Outcome::Acked);
        self.machine.send(A, Request::Settle(vec![Settle { consumer, first: 0, count: settle, outcome }]));
        self.machine.send(A, Request::CloseSession);
        self.machine.events.clear();
    }

    fn fetch_all(&mut self, batches: &[Vec<u8>]) {
        let mut offset = 0;
        while offset < batches.len() {
            self.machine.events.clear();
            let at = FetchPartition { partition: PARTITION, offset: offset as u64, max_bytes: 1_000 };
            self.machine.send(
                A,
                Request::Fetch(Fetch {
                    token: Token(3),
                    partitions: vec![at],
                    max_bytes: 1_000,
                    committed: false,
                }),
            );
            let [Event::Fetched { partitions, .. }] = &self.machine.events[..] else {
                panic!("{:?}", self.machine.events)
            };
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
                        node.machine.propose(records);
                    }
                    5 => node.machine.send(A, Request::Purge { token: Token(4), queue: PASSING }),
                    6 => {
                        let settle = random.below(1 + kept.len() as u64 / 4);
                        node.consume(&kept, settle);
                        kept.drain(..settle as usize);
                    }
                    7..10 => node.relocate(&mut random),
                    10 => node.machine.checkpoint(),
                    _ => node.fetch_all(&batches),
                }
            }
            node.consume(&kept, 0);
            node.fetch_all(&batches);
            relocated += node.machine.shard.snapshot(ID).live_cold.len();
            recycled += usize::from(node.machine.log.segments()[0] > 1);
            // The process goes with its threads, if it had any, before the disk does.
            drop(node);
            if random.below(3) == 0 { disk.kill() } else { disk.crash() }
        }
        let mut node = Node::open(&disk, 9);
        node.consume(&kept, 0);
        node.fetch_all(&batches);
        let listed = node.machine.shard.snapshot(ID).live_cold.len() as u32;
        node.machine.checkpoint();
        node.machine.checkpoint();
        assert_eq!(node.machine.log.stats().cold_files, listed, "nothing is left over");
    }
    assert!(recycled > 20 && relocated > 40, "{recycled} {relocated}");
}
