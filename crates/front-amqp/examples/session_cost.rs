//! Nanoseconds that a session spends on a message: publish with confirm, delivery, acknowledgement. No sockets, no
//! shards: what they are asked is answered at once, so what is measured is the protocol alone.
//!
//! `cargo run --release -p bowline-front-amqp --example session_cost`

use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use bowline_codec_amqp::frame::{PROTOCOL_HEADER, encode_body_frames, encode_header_frame};
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{EncodeMethod, OwnedProperties, ShortStr, TableRef};
use bowline_front_amqp::{Broker, Now, Options, Peer, Session};
use bowline_model::event::{Deliveries, Delivery, Event};
use bowline_model::meta::{Command, MetaRequest, QueueDeclaration};
use bowline_model::request::Request;
use bowline_model::{Block, ConsumerId, Lsn, SessionId, ShardId, Token, record};
use bowline_topology::{Defaults, Topology};

const ROUNDS: usize = 300;

/// Answers everything and keeps the records.
struct Sink {
    topology: Topology,
    events: Vec<Event>,
    records: bytes::Bytes,
    settled: u64,
}

impl Broker for Sink {
    fn session_id(&self) -> SessionId {
        SessionId(1)
    }
    fn data_shards(&self) -> u16 {
        1
    }
    fn topology_version(&self) -> u64 {
        1
    }
    fn read_topology(&self, read: &mut dyn FnMut(&Topology)) {
        read(&self.topology);
    }
    fn usage(&self) -> std::sync::Arc<bowline_replica::Usage> {
        std::sync::Arc::default()
    }
    fn send(&mut self, _: ShardId, request: Request) {
        match request {
            Request::Propose(propose) => {
                self.events.push(Event::Done { token: propose.token });
                self.records = propose.records;
            }
            Request::Subscribe(subscribe) => self.events.push(Event::Subscribed {
                token: subscribe.token,
                consumer: subscribe.consumer,
                result: Ok(()),
            }),
            Request::Settle(settles) => {
                self.settled += settles.iter().map(|settle| settle.count).sum::<u64>()
            }
            _ => {}
        }
    }
    fn ask_meta(&mut self, _: Token, _: MetaRequest) {}
    fn open_replies(&mut self) -> u128 {
        0
    }
    fn close_replies(&mut self, _: u128) {}
    fn takes_replies(&self, _: u128) -> bool {
        false
    }
    fn send_reply(&mut self, _: Box<bowline_model::event::DirectReply>) -> bool {
        false
    }
}

fn s(text: &str) -> ShortStr<'_> {
    ShortStr::truncated(text)
}

fn main() {
    for (size, messages) in [(16, 1000), (1024, 200), (16 * 1024, 50)] {
        measure(size, messages);
    }
}

fn measure(size: usize, messages: usize) {
    let mut sink = sink();
    let mut session = open(&mut sink);
    let publishes = publishes(size, messages);
    let publish_ns = best(messages, || {
        feed(&mut session, &publishes, &mut sink);
        drain(&mut session, &mut sink);
    });

    let block = Arc::new(Block {
        lsn: Lsn::new(1, 4096),
        shard: ShardId(1),
        term: 1,
        index: 1,
        stamp: 0,
        payload: sink.records.clone(),
    });
    let places: Vec<(u32, u32)> = record::iter(&block.payload)
        .map(|record| record.expect("a record"))
        .map(|r| (r.offset, r.len))
        .collect();
    assert_eq!(places.len(), messages);
    let mut number = 0;
    let mut tag = 0;
    let (mut deliver_ns, mut ack_each_ns, mut ack_all_ns) = (f64::MAX, f64::MAX, f64::MAX);
    for round in 0..ROUNDS {
        let item = |&(offset, len): &(u32, u32)| {
            number += 1;
            Delivery {
                consumer: ConsumerId(1),
                number: number - 1,
                acquired: 0,
                failures: 0,
                redelivered: false,
                block: 0,
                offset,
                len,
            }
        };
        let items = places.iter().map(item).collect();
        let deliveries = Deliveries { blocks: vec![block.clone()], items };
        sink.events.push(Event::Deliver(deliveries));
        deliver_ns = deliver_ns.min(once(messages, || drain(&mut session, &mut sink)));

        let mut acks = Vec::new();
        if round % 2 == 0 {
            for n in 1..=messages as u64 {
                BasicAck { delivery_tag: tag + n, multiple: false }.encode_frame(1, &mut acks);
            }
            ack_each_ns = ack_each_ns.min(once(messages, || feed(&mut session, &acks, &mut sink)));
        } else {
            BasicAck { delivery_tag: tag + messages as u64, multiple: true }.encode_frame(1, &mut acks);
            ack_all_ns = ack_all_ns.min(once(messages, || feed(&mut session, &acks, &mut sink)));
        }
        tag += messages as u64;
    }
    assert_eq!(sink.settled, tag);
    println!(
        "{size:6} B: publish+confirm {publish_ns:6.1} ns, deliver {deliver_ns:6.1} ns, \
         ack each {ack_each_ns:5.1} ns, ack multiple {ack_all_ns:5.2} ns a message"
    );
}

fn sink() -> Sink {
    let mut topology = Topology::new(1, Defaults::default());
    let declaration = QueueDeclaration {
        vhost: "/".to_string(),
        name: "queue".to_string(),
        durable: true,
        auto_delete: false,
        exclusive: None,
        arguments: Vec::new(),
    };
    topology.apply(0, &Command::QueueDeclare(declaration)).expect("the first queue");
    Sink { topology, events: Vec::new(), records: bytes::Bytes::new(), settled: 0 }
}

/// A session with channel 1, confirms on it, and consumer 1.
fn open(sink: &mut Sink) -> Session {
    let peer = Peer { address: "here".to_string(), is_loopback: true, certified: None };
    let mut session = Session::new(Arc::new(Options::default()), peer, 1, [1, 2], Now::default());
    let mut input = PROTOCOL_HEADER.to_vec();
    ConnectionStartOk {
        client_properties: TableRef::EMPTY,
        mechanism: s("PLAIN"),
        response: b"\0guest\0guest",
        locale: s("en_US"),
    }
    .encode_frame(0, &mut input);
    ConnectionTuneOk { channel_max: 100, frame_max: 131_072, heartbeat: 0 }.encode_frame(0, &mut input);
    ConnectionOpen { virtual_host: s("/") }.encode_frame(0, &mut input);
    ChannelOpen.encode_frame(1, &mut input);
    ConfirmSelect { no_wait: true }.encode_frame(1, &mut input);
    BasicConsume {
        queue: s("queue"),
        consumer_tag: s("ctag1.0123456789abcdef"),
        no_local: false,
        no_ack: false,
        exclusive: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    }
    .encode_frame(1, &mut input);
    feed(&mut session, &input, sink);
    drain(&mut session, sink);
    session
}

fn publishes(size: usize, messages: usize) -> Vec<u8> {
    let properties = OwnedProperties { delivery_mode: Some(2), ..Default::default() }.to_bytes();
    let body = vec![7; size];
    let mut input = Vec::new();
    for _ in 0..messages {
        let method =
            BasicPublish { exchange: s(""), routing_key: s("queue"), mandatory: false, immediate: false };
        method.encode_frame(1, &mut input);
        encode_header_frame(&mut input, 1, size as u64, &properties);
        encode_body_frames(&mut input, 1, &body, 131_072);
    }
    input
}

fn feed(session: &mut Session, input: &[u8], sink: &mut Sink) {
    assert_eq!(session.input(black_box(input), Now::default(), sink), input.len());
}

/// Takes the events and writes everything to nowhere.
fn drain(session: &mut Session, sink: &mut Sink) {
    let mut events = std::mem::take(&mut sink.events);
    session.events(&mut events, Now::default(), sink);
    loop {
        let mut slices = [IoSlice::new(&[]); 64];
        let used = session.outbox().slices(&mut slices);
        let written = slices[..used].iter().map(|slice| black_box(slice).len()).sum();
        if written == 0 {
            return;
        }
        session.outbox().advance(written);
        session.wrote(Now::default(), sink);
    }
}

fn once(messages: usize, run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / messages as f64
}

/// Of many rounds the one that neighbours disturbed least.
fn best(messages: usize, mut round: impl FnMut()) -> f64 {
    (0..ROUNDS).map(|_| once(messages, &mut round)).fold(f64::MAX, f64::min)
}
