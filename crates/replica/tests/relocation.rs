//! A whole node in which something is forgotten while heavy traffic passes: the log must not grow for it, and what
//! was forgotten must be there, whole and in order, also after a restart.

use bowline_model::event::Event;
use bowline_model::meta::{Command, MetaRequest, Outcome, QueueDeclaration, TopicSpec};
use bowline_model::record::{self, Append, Publish};
use bowline_model::request::{Fetch, FetchPartition, Propose, Request, Subscribe, Want};
use bowline_model::{ConsumerId, PartitionId, QueueId, ShardId, Token, TopicId};
use bowline_replica::relocate::PINNED_SEGMENTS_MAX;
use bowline_replica::{Engine, Link, Node, Options};
use std::path::Path;
use std::time::{Duration, Instant};

const SEGMENT_BYTES: u64 = 1 << 20;

fn start(dir: &Path, shards: u16) -> (Node, Engine) {
    let options = Options {
        data_dir: dir.to_owned(),
        shards: Some(shards),
        cache_bytes: 1 << 20,
        transient_bytes: 1 << 20,
        segment_bytes: SEGMENT_BYTES,
        disk_reserve_bytes: 1 << 20,
        relaxed_flush: true,
        accept_loss: false,
        num_partitions: 1,
    };
    bowline_replica::start(options).expect("the node starts")
}

struct Session {
    link: Link,
    events: Vec<Event>,
}

impl Session {
    fn new(node: &Node) -> Session {
        Session { link: node.connect(), events: Vec::new() }
    }

    fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some((at, found)) =
                self.events.iter().enumerate().find_map(|(i, e)| pick(e).map(|f| (i, f)))
            {
                self.events.remove(at);
                return found;
            }
            let mut more = Vec::new();
            if self.link.take(&mut more) {
                self.events.extend(more);
            } else {
                assert!(Instant::now() < end, "no {what}");
                std::thread::yield_now();
            }
        }
    }

    fn propose(&mut self, command: Command) -> Outcome {
        self.link.ask_meta(Token(1), MetaRequest::Propose(command));
        self.link.flush();
        let result = self.wait("an answer", |e| match e {
            Event::Meta { result, .. } => Some(result.clone()),
            _ => None,
        });
        result.unwrap()
    }

    fn declare(&mut self, name: &str) -> (QueueId, u64) {
        let (vhost, name) = ("/".into(), name.into());
        let (auto_delete, exclusive, arguments) = (false, None, Vec::new());
        let declaration = QueueDeclaration { vhost, name, durable: true, auto_delete, exclusive, arguments };
        match self.propose(Command::QueueDeclare(declaration)) {
            Outcome::Queue { queue, ready, .. } => (queue, ready),
            other => panic!("{other:?}"),
        }
    }

    fn create_topic(&mut self) -> PartitionId {
        let (vhost, name) = ("/".into(), "topic".into());
        let spec = TopicSpec {
            vhost,
            name,
            id: TopicId([7; 16]),
            partitions: 1,
            configs: Vec::new(),
            arguments: Vec::new(),
        };
        match self.propose(Command::TopicCreate(spec)) {
            Outcome::Topic { partitions, .. } => partitions[0],
            other => panic!("{other:?}"),
        }
    }

    fn log(&mut self, id: u32, records: Vec<u8>) {
        let shard = self.shard(id);
        let count = record::iter(&records).count() as u32;
        let propose = Propose { token: Token(7), records: records.into(), count, want: Want::Done };
        self.link.send(shard, Request::Propose(propose));
        self.link.flush();
        self.wait("done", |e| matches!(e, Event::Done { token: Token(7) }).then_some(()));
    }

    fn subscribe(&mut self, queue: QueueId, consumer: u32, no_ack: bool) {
        let subscribe = Subscribe {
            token: Token(9),
            queue,
            channel: 1,
            consumer: ConsumerId(consumer),
            prefetch: 0,
            no_ack,
            exclusive: false,
            priority: 0,
        };
        let shard = self.shard(queue.0);
        self.link.send(shard, Request::Subscribe(subscribe));
        self.link.flush();
        self.wait("subscribed", |e| matches!(e, Event::Subscribed { result: Ok(()), .. }).then_some(()));
    }

    /// Bodies of what was delivered, of all consumers.
    fn delivered(&mut self) -> Vec<Vec<u8>> {
        let (bodies, bytes) = self.wait("deliveries", |e| {
            let Event::Deliver(deliveries) = e else { return None };
            let body = |d: &bowline_model::event::Delivery| {
                let payload = &deliveries.blocks[d.block as usize].payload;
                let found = record::at(payload, d.offset).unwrap();
                record::verify(payload, &found).unwrap();
                Publish::decode(found.body).unwrap().body.to_vec()
            };
            let bytes: u64 = deliveries.items.iter().map(|d| u64::from(d.len)).sum();
            Some((deliveries.items.iter().map(body).collect(), bytes))
        });
        for shard in 1..=self.link.node().data_shards() {
            self.link.send(ShardId(shard), Request::Drained { bytes });
        }
        self.link.flush();
        bodies
    }

    /// All batches of the partition, by asking again and again.
    fn fetch_all(&mut self, partition: PartitionId, n: u64) -> Vec<(u64, Vec<u8>)> {
        let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut offset = 0;
        while offset < n {
            let partitions = vec![FetchPartition { partition, offset, max_bytes: 10_000 }];
            let shard = self.shard(partition.0);
            self.link.send(shard, Request::Fetch(Fetch { token: Token(3), partitions, max_bytes: 10_000 }));
            self.link.flush();
            let batches: Vec<(u64, Vec<u8>)> = self.wait("fetched", |e| {
                let Event::Fetched { partitions, .. } = e else { return None };
                let fetched = partitions[0].result.as_ref().unwrap();
                assert_eq!(fetched.high_watermark, n);
                let bytes = |b: &bowline_model::event::BatchSlice| {
                    b.block.payload[b.offset as usize..(b.offset + b.len) as usize].to_vec()
                };
                Some(fetched.batches.iter().map(|b| (b.base_offset, bytes(b))).collect())
            });
            assert!(!batches.is_empty());
            offset = batches.last().unwrap().0 + 2;
            all.extend(batches);
        }
        all
    }

    fn shard(&self, id: u32) -> ShardId {
        ShardId::of(id, self.link.node().data_shards())
    }
}

fn publish(queues: &[u32], body: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    let ids = queues.iter().copied();
    Publish::encode(&mut records, 1, ids, b"", b"key", &[0, 0], [body].into_iter());
    records
}

/// A batch of two records, as far as the broker looks inside.
fn batch(n: u32) -> Vec<u8> {
    let mut batch = vec![0; 61];
    batch.extend_from_slice(&n.to_le_bytes());
    let len = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&len.to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&1i32.to_be_bytes());
    // Without times: as young as the block, so retention leaves it alone.
    batch[35..43].copy_from_slice(&(-1i64).to_be_bytes());
    batch[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    batch
}

fn forgotten_body(i: u32) -> Vec<u8> {
    format!("forgotten {i}").into_bytes()
}

#[test]
fn what_is_forgotten_does_not_pin_the_log_and_is_not_lost() {
    const N: u32 = 1_000;
    for shards in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let (node, engine) = start(dir.path(), shards);
        let mut session = Session::new(&node);
        let (busy, _) = session.declare("busy");
        let (forgotten, _) = session.declare("forgotten");
        let partition = session.create_topic();
        session.subscribe(busy, 1, true);

        // Among every 64 KiB of what comes and goes, one message and one batch that stay.
        let traffic = publish(&[busy.0], &vec![b'x'; 64 * 1024]);
        for i in 0..N {
            session.log(busy.0, traffic.clone());
            session.log(forgotten.0, publish(&[forgotten.0], &forgotten_body(i)));
            let mut records = Vec::new();
            Append::encode(&mut records, partition.0, 0, &batch(i));
            session.log(partition.0, records);
            session.delivered();
        }
        assert!(engine.log().stats().bytes > 60 * SEGMENT_BYTES);

        // Checkpoints come with traffic, and keep what was written since the last but one.
        let last = engine.log().segments().last().copied().unwrap();
        let old = || engine.log().segments().into_iter().filter(|segment| *segment <= last).count() as u64;
        let end = Instant::now() + Duration::from_secs(60);
        while old() > PINNED_SEGMENTS_MAX {
            assert!(Instant::now() < end, "{:?}", engine.log().stats());
            session.log(busy.0, traffic.clone());
            session.delivered();
        }
        let stats = engine.log().stats();
        assert!(stats.cold_files >= 1 && stats.cold_bytes < 8 * SEGMENT_BYTES, "{stats:?}");
        drop(session);

        let read_back = |node: &Node| {
            let mut session = Session::new(node);
            let (again, ready) = session.declare("forgotten");
            assert_eq!((again, ready), (forgotten, u64::from(N)));
            session.subscribe(forgotten, 2, false);
            let mut bodies = Vec::new();
            while bodies.len() < N as usize {
                bodies.extend(session.delivered());
            }
            assert!(bodies.into_iter().eq((0..N).map(forgotten_body)));
            let batches = session.fetch_all(partition, 2 * u64::from(N));
            assert!(batches.into_iter().eq((0..N).map(|i| (2 * u64::from(i), batch(i)))));
        };
        read_back(&node);
        engine.stop().unwrap();
        let (node, engine) = start(dir.path(), shards);
        read_back(&node);
        engine.stop().unwrap();
    }
}
