//! A node in a directory, and a session that waits for events by polling: no runtime needed.

use bowline_model::event::Event;
use bowline_model::meta::{Command, MetaRequest, Outcome, QueueDeclaration, TopicSpec};
use bowline_model::record::{self, Publish};
use bowline_model::request::{Fetch, FetchPartition, Propose, Request, Subscribe, Want};
use bowline_model::{ConsumerId, PartitionId, QueueId, ShardId, Token, TopicId, group};
use bowline_replica::{Engine, Link, Node, Options};
use std::path::Path;
use std::time::{Duration, Instant};

pub const SEGMENT_BYTES: u64 = 1 << 20;

pub fn start(dir: &Path, shards: u16) -> (Node, Engine) {
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
        compaction_bytes: bowline_replica::compact::KEYS_BYTES,
        groups: Default::default(),
        started: Vec::new(),
    };
    bowline_replica::start(options).expect("the node starts")
}

pub struct Session {
    pub link: Link,
    events: Vec<Event>,
}

impl Session {
    pub fn new(node: &Node) -> Session {
        Session { link: node.connect(), events: Vec::new() }
    }

    pub fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
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

    pub fn propose(&mut self, command: Command) -> Outcome {
        self.link.ask_meta(Token(1), MetaRequest::Propose(command));
        self.link.flush();
        let result = self.wait("an answer", |e| match e {
            Event::Meta { result, .. } => Some(result.clone()),
            _ => None,
        });
        result.unwrap()
    }

    pub fn declare(&mut self, name: &str) -> (QueueId, u64) {
        let (vhost, name) = ("/".into(), name.into());
        let (auto_delete, exclusive, arguments) = (false, None, Vec::new());
        let declaration = QueueDeclaration { vhost, name, durable: true, auto_delete, exclusive, arguments };
        match self.propose(Command::QueueDeclare(declaration)) {
            Outcome::Queue { queue, ready, .. } => (queue, ready),
            other => panic!("{other:?}"),
        }
    }

    pub fn create_topic(&mut self) -> PartitionId {
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

    pub fn log(&mut self, id: u32, records: Vec<u8>) {
        let shard = self.shard(id);
        let count = record::iter(&records).count() as u32;
        let propose =
            Propose { token: Token(7), records: records.into(), count, want: Want::Done, checked: false };
        self.link.send(shard, Request::Propose(propose));
        self.link.flush();
        self.wait("done", |e| matches!(e, Event::Done { token: Token(7) }).then_some(()));
    }

    pub fn subscribe(&mut self, queue: QueueId, consumer: u32, no_ack: bool) {
        let subscribe = Subscribe {
            tag: Box::default(),
            token: Token(9),
            queue,
            channel: 1,
            consumer: ConsumerId(consumer),
            prefetch: 0,
            no_ack,
            exclusive: false,
            priority: 0,
            timeout_ms: None,
        };
        let shard = self.shard(queue.0);
        self.link.send(shard, Request::Subscribe(subscribe));
        self.link.flush();
        self.wait("subscribed", |e| matches!(e, Event::Subscribed { result: Ok(()), .. }).then_some(()));
    }

    /// Bodies of what was delivered, of all consumers.
    pub fn delivered(&mut self) -> Vec<Vec<u8>> {
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
    pub fn fetch_all(&mut self, partition: PartitionId, n: u64) -> Vec<(u64, Vec<u8>)> {
        let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut offset = 0;
        while offset < n {
            let partitions = vec![FetchPartition { partition, offset, max_bytes: 10_000 }];
            let shard = self.shard(partition.0);
            self.link.send(
                shard,
                Request::Fetch(Fetch { token: Token(3), partitions, max_bytes: 10_000, committed: false }),
            );
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

    pub fn group(&mut self, shard: ShardId, request: group::Request) -> group::Reply {
        self.link.send(shard, Request::Group { token: Token(4), request });
        self.link.flush();
        self.wait("a coordinator's answer", |e| match e {
            Event::Group { reply, .. } => Some(reply.clone()),
            _ => None,
        })
    }

    pub fn shard(&self, id: u32) -> ShardId {
        ShardId::of(id, self.link.node().data_shards())
    }
}
