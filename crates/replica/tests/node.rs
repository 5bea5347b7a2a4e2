//! A whole node without sockets: sessions talk to it through `Link`, as front ends do.

use bowline_model::event::{Deliveries, Event};
use bowline_model::meta::{Command, MetaRequest, Outcome, QueueDeclaration, Table, TopicSpec, Value};
use bowline_model::record::{self, Publish};
use bowline_model::request::{self, Propose, Request, Settle, Subscribe, Volatile, Want};
use bowline_model::{ConsumerId, PartitionId, QueueId, ShardId, Token, TopicId};
use bowline_replica::{Engine, Link, Node, Options};
use std::path::Path;
use std::time::{Duration, Instant};

fn options(dir: &Path, shards: u16) -> Options {
    Options {
        data_dir: dir.to_owned(),
        shards: Some(shards),
        cache_bytes: 16 << 20,
        transient_bytes: 16 << 20,
        segment_bytes: 16 << 20,
        disk_reserve_bytes: 1 << 20,
        relaxed_flush: false,
        accept_loss: false,
        num_partitions: 1,
        compaction_bytes: bowline_replica::compact::KEYS_BYTES,
        groups: Default::default(),
        started: Vec::new(),
    }
}

fn start(dir: &Path, shards: u16) -> (Node, Engine) {
    bowline_replica::start(options(dir, shards)).expect("the node starts")
}

/// A session that waits for events by polling: no runtime needed.
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
            if let Some(at) = self.events.iter().position(|e| pick(e).is_some()) {
                let event = self.events.remove(at);
                return pick(&event).unwrap();
            }
            let mut more = Vec::new();
            if self.link.take(&mut more) {
                self.events.extend(more);
            } else {
                assert!(Instant::now() < end, "no {what}; there are {:?}", self.events);
                std::thread::yield_now();
            }
        }
    }

    fn declare(&mut self, name: &str, durable: bool) -> (QueueId, u64) {
        self.declare_with(name, durable, Vec::new())
    }

    fn declare_with(&mut self, name: &str, durable: bool, arguments: Table) -> (QueueId, u64) {
        let declaration = QueueDeclaration {
            vhost: "/".into(),
            name: name.into(),
            durable,
            auto_delete: false,
            exclusive: None,
            arguments,
        };
        let request = MetaRequest::Propose(Command::QueueDeclare(declaration));
        self.link.ask_meta(Token(1), request);
        self.link.flush();
        let outcome = self.wait("declare", |e| match e {
            Event::Meta { result, .. } => Some(result.clone()),
            _ => None,
        });
        match outcome.unwrap() {
            Outcome::Queue { queue, ready, .. } => (queue, ready),
            other => panic!("{other:?}"),
        }
    }

    /// Its only partition.
    fn create_topic(&mut self, name: &str) -> PartitionId {
        let (vhost, name, id) = ("/".into(), name.into(), TopicId([7; 16]));
        let spec = TopicSpec { vhost, name, id, partitions: 1, configs: Vec::new(), arguments: Vec::new() };
        self.link.ask_meta(Token(2), MetaRequest::Propose(Command::TopicCreate(spec)));
        self.link.flush();
        let outcome = self.wait("topic", |e| match e {
            Event::Meta { result, .. } => Some(result.clone()),
            _ => None,
        });
        match outcome.unwrap() {
            Outcome::Topic { partitions, .. } => partitions[0],
            other => panic!("{other:?}"),
        }
    }

    /// Offset of the partition's next record.
    fn end_of(&mut self, partition: PartitionId) -> u64 {
        let shard = ShardId::of(partition.0, self.link.node().data_shards());
        self.link.send(shard, Request::PartitionInfo { token: Token(3), partition });
        self.link.flush();
        self.wait("partition", |e| match e {
            Event::PartitionInfo { result, .. } => result.as_ref().ok().map(|info| info.high_watermark),
            _ => None,
        })
    }

    fn publish(&mut self, queue: QueueId, bodies: &[String], logged: bool) {
        let mut records = Vec::new();
        for body in bodies {
            let pieces = [body.as_bytes()];
            Publish::encode(&mut records, 1, [queue.0].into_iter(), b"", b"k", &[0, 0], pieces.into_iter());
        }
        let (token, count, records) = (Token(7), bodies.len() as u32, records.into());
        let shard = self.shard(queue);
        self.link.send(
            shard,
            match logged {
                true => Request::Propose(Propose { token, records, count, want: Want::Done, checked: false }),
                false => Request::Volatile(Volatile { token, records, count, checked: false }),
            },
        );
        self.link.flush();
        self.wait("done", |e| matches!(e, Event::Done { token: Token(7) }).then_some(()));
    }

    fn subscribe(&mut self, queue: QueueId, prefetch: u32) -> ConsumerId {
        let consumer = ConsumerId(5);
        let subscribe = Subscribe {
            tag: Box::default(),
            token: Token(9),
            queue,
            channel: 1,
            consumer,
            prefetch,
            no_ack: false,
            exclusive: false,
            priority: 0,
            timeout_ms: None,
        };
        let shard = self.shard(queue);
        self.link.send(shard, Request::Subscribe(subscribe));
        self.link.flush();
        self.wait("subscribed", |e| match e {
            Event::Subscribed { result, .. } => Some(*result),
            _ => None,
        })
        .unwrap();
        consumer
    }

    /// The next `n` deliveries: number, redelivered, body.
    fn deliveries(&mut self, n: usize) -> Vec<(u64, bool, String)> {
        let mut got = Vec::new();
        while got.len() < n {
            let some = self.wait("deliveries", |e| match e {
                Event::Deliver(deliveries) => Some(read(deliveries)),
                _ => None,
            });
            got.extend(some);
        }
        got
    }

    fn settle(
        &mut self,
        queue: QueueId,
        consumer: ConsumerId,
        first: u64,
        count: u64,
        outcome: request::Outcome,
    ) {
        let shard = self.shard(queue);
        self.link.send(shard, Request::Settle(vec![Settle { consumer, first, count, outcome }]));
        self.link.flush();
    }

    fn shard(&self, queue: QueueId) -> ShardId {
        ShardId::of(queue.0, self.link.node().data_shards())
    }
}

fn read(deliveries: &Deliveries) -> Vec<(u64, bool, String)> {
    let body = |d: &bowline_model::event::Delivery| {
        let payload = &deliveries.blocks[d.block as usize].payload;
        let publish = Publish::decode(record::at(payload, d.offset).unwrap().body).unwrap();
        (d.number, d.redelivered, String::from_utf8(publish.body.to_vec()).unwrap())
    };
    deliveries.items.iter().map(body).collect()
}

fn bodies(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|i| format!("message {i}")).collect()
}

#[test]
fn what_was_confirmed_and_not_settled_is_there_after_a_restart() {
    for shards in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let (node, engine) = start(dir.path(), shards);
        let mut session = Session::new(&node);
        let (queue, ready) = session.declare("work", true);
        assert_eq!(ready, 0);
        session.publish(queue, &bodies(0..100), true);
        let consumer = session.subscribe(queue, 10);
        let got = session.deliveries(10);
        assert!(got.iter().all(|(_, redelivered, _)| !redelivered));
        assert_eq!(got[3].2, "message 3");
        session.settle(queue, consumer, 0, 4, request::Outcome::Acked);
        let more = session.deliveries(4);
        assert_eq!(more[3].2, "message 13");
        drop(session);
        engine.stop().unwrap();

        let (node, engine) = start(dir.path(), shards);
        let mut session = Session::new(&node);
        let (again, ready) = session.declare("work", true);
        assert_eq!((again, ready), (queue, 96));
        session.subscribe(queue, 0);
        let got = session.deliveries(96);
        assert_eq!(got.iter().map(|g| g.2.clone()).collect::<Vec<_>>(), bodies(4..100));
        assert!(got[..10].iter().all(|(_, redelivered, _)| *redelivered), "delivered before the restart");
        drop(session);
        engine.stop().unwrap();
    }
}

#[test]
fn transient_messages_and_queues_do_not_outlive_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (node, engine) = start(dir.path(), 1);
    let mut session = Session::new(&node);
    let (queue, _) = session.declare("durable", true);
    let (gone, _) = session.declare("gone", false);
    session.publish(queue, &bodies(0..3), false);
    session.publish(queue, &bodies(3..5), true);
    session.publish(gone, &bodies(0..3), false);
    session.subscribe(queue, 0);
    let got = session.deliveries(5);
    assert_eq!(got.iter().map(|g| g.2.clone()).collect::<Vec<_>>(), bodies(0..5));
    drop(session);
    engine.stop().unwrap();

    let (node, engine) = start(dir.path(), 1);
    let mut session = Session::new(&node);
    assert_eq!(session.declare("durable", true).1, 2);
    let (new, ready) = session.declare("gone", false);
    assert!(new != gone && ready == 0);
    drop(session);
    engine.stop().unwrap();
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, engine) = start(dir.path(), 1);
    let error = bowline_replica::start(options(dir.path(), 1)).err().expect("it is in use");
    assert!(error.to_string().contains("in use by process"), "{error}");
    engine.stop().unwrap();
}

#[test]
fn a_relaxed_log_is_whole_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let relaxed =
        || bowline_replica::start(Options { relaxed_flush: true, ..options(dir.path(), 2) }).unwrap();
    let (node, engine) = relaxed();
    let mut session = Session::new(&node);
    let (queue, _) = session.declare("work", true);
    session.publish(queue, &bodies(0..50), true);
    drop(session);
    engine.stop().unwrap();
    let (node, engine) = relaxed();
    assert_eq!(Session::new(&node).declare("work", true).1, 50);
    engine.stop().unwrap();
}

fn dead_letters_to(queue: &str, more: &[(&str, i128)]) -> Table {
    let text = |value: &str| Value::Str(value.as_bytes().to_vec());
    let mut arguments = vec![
        ("x-dead-letter-exchange".to_owned(), text("")),
        ("x-dead-letter-routing-key".to_owned(), text(queue)),
    ];
    arguments
        .extend(more.iter().map(|(name, value)| (name.to_string(), Value::Int { tag: b'I', value: *value })));
    arguments
}

/// Asks until `queue` holds `n` ready messages.
fn wait_for_ready(session: &mut Session, name: &str, arguments: &Table, n: u64) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, ready) = session.declare_with(name, true, arguments.clone());
        if ready == n {
            return;
        }
        assert!(Instant::now() < end, "{name} has {ready} and not {n}");
        std::thread::yield_now();
    }
}

#[test]
fn the_dead_arrive_once_wherever_their_queue_is() {
    for shards in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let (node, engine) = start(dir.path(), shards);
        let mut session = Session::new(&node);
        // Ids go round the shards: three queues for the dead, so that some are in another shard.
        let names = ["dead 1", "dead 2", "dead 3"];
        let dead = names.map(|name| session.declare(name, true).0);
        for (name, dead) in names.iter().zip(dead) {
            let arguments = dead_letters_to(name, &[("x-max-length", 40)]);
            let source = format!("source of {name}");
            let (work, _) = session.declare_with(&source, true, arguments.clone());
            session.publish(work, &bodies(0..100), true);
            wait_for_ready(&mut session, &source, &arguments, 40);
            wait_for_ready(&mut session, name, &Vec::new(), 60);
            let mut taker = Session::new(&node);
            let consumer = taker.subscribe(work, 0);
            assert_eq!(taker.deliveries(40)[0].2, "message 60");
            taker.settle(work, consumer, 0, 40, request::Outcome::Rejected);
            wait_for_ready(&mut session, name, &Vec::new(), 100);
            let mut reader = Session::new(&node);
            reader.subscribe(dead, 0);
            let got: Vec<_> = reader.deliveries(100).into_iter().map(|got| got.2).collect();
            assert_eq!(got, bodies(0..100));
        }
        drop(session);
        engine.stop().unwrap();
        let (node, engine) = start(dir.path(), shards);
        let mut session = Session::new(&node);
        for name in names {
            assert_eq!(session.declare(name, true).1, 100);
            let arguments = dead_letters_to(name, &[("x-max-length", 40)]);
            assert_eq!(session.declare_with(&format!("source of {name}"), true, arguments).1, 0);
        }
        drop(session);
        engine.stop().unwrap();
    }
}

#[test]
fn the_dead_arrive_once_in_a_stream_wherever_it_is() {
    for shards in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let (node, engine) = start(dir.path(), shards);
        let mut session = Session::new(&node);
        let dead = session.create_topic("dead");
        let arguments = dead_letters_to("dead", &[("x-max-length", 40)]);
        // Ids go round the shards: some of the three are in the stream's, some are not.
        for source in ["source 1", "source 2", "source 3"] {
            let (work, _) = session.declare_with(source, true, arguments.clone());
            session.publish(work, &bodies(0..80), true);
            // Transient messages, too: a stream keeps what it gets.
            session.publish(work, &bodies(80..100), false);
            wait_for_ready(&mut session, source, &arguments, 40);
            let mut taker = Session::new(&node);
            let consumer = taker.subscribe(work, 0);
            taker.deliveries(40);
            taker.settle(work, consumer, 0, 40, request::Outcome::Rejected);
        }
        let end = Instant::now() + Duration::from_secs(20);
        while session.end_of(dead) < 300 {
            assert!(Instant::now() < end);
        }
        drop(session);
        engine.stop().unwrap();
        let (node, engine) = start(dir.path(), shards);
        let mut session = Session::new(&node);
        assert_eq!(session.end_of(dead), 300);
        for source in ["source 1", "source 2", "source 3"] {
            assert_eq!(session.declare_with(source, true, arguments.clone()).1, 0);
        }
        drop(session);
        engine.stop().unwrap();
    }
}

#[test]
fn messages_expire_on_time_and_queues_that_nobody_uses_go() {
    let dir = tempfile::tempdir().unwrap();
    let (node, engine) = start(dir.path(), 2);
    let mut session = Session::new(&node);
    session.declare("dead", true);
    let arguments = dead_letters_to("dead", &[("x-message-ttl", 50)]);
    let (work, _) = session.declare_with("work", true, arguments.clone());
    let begun = Instant::now();
    session.publish(work, &bodies(0..10), true);
    session.publish(work, &bodies(10..20), false);
    wait_for_ready(&mut session, "dead", &Vec::new(), 20);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    wait_for_ready(&mut session, "work", &arguments, 0);
    let lease = vec![("x-expires".to_owned(), Value::Int { tag: b'I', value: 60 })];
    session.declare_with("leased", true, lease);
    let end = Instant::now() + Duration::from_secs(20);
    while node.topology().queue("/", "leased").is_some() {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
    drop(session);
    engine.stop().unwrap();
}
