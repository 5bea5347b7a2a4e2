//! What a message costs the shard: nanoseconds per message for each step of its way, at several body sizes.
//!
//! `cargo run --release -p bowline-broker --example hot_path [messages]`
//!
//! One core, no I/O: a block is "committed" as soon as it is sealed. Compare runs of one machine only; the first
//! column is the copy into the block that any design pays.

// A benchmark is the shell here: it may look at the clock.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use bowline_broker::{Effects, Options, Shard};
use bowline_model::block::BLOCK_HEADER_BYTES;
use bowline_model::event::Event;
use bowline_model::record::{PUBLISH_PERSISTENT, Publish};
use bowline_model::request::{
    Outcome, Propose, Provision, QueueSpec, Request, Settle, Subscribe, Volatile, Want,
};
use bowline_model::{Block, ConsumerId, Lsn, QueueId, SessionId, ShardId, Token};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PUBLISHER: SessionId = SessionId(1);
const CONSUMER: SessionId = SessionId(2);
const BATCH: usize = 64;

struct Bench {
    shard: Shard,
    fx: Effects,
    next_index: u64,
    position: u64,
    cost: Cost,
}

#[derive(Default)]
struct Cost {
    handle: Duration,
    seal: Duration,
    apply: Duration,
    dispatch: Duration,
    settle: Duration,
    delivered: u64,
}

impl Bench {
    fn new(queues: u32) -> Bench {
        let mut bench = Bench {
            shard: Shard::new(Options::new(ShardId(1))),
            fx: Effects::default(),
            next_index: 1,
            position: 4096,
            cost: Cost::default(),
        };
        for id in 0..queues {
            let spec = QueueSpec {
                queue: QueueId(id),
                vhost: "/".into(),
                name: format!("q{id}"),
                durable: true,
                auto_delete: false,
                exclusive: false,
                arguments: Vec::new(),
                settings: Default::default(),
            };
            bench.shard.handle(0, PUBLISHER, Request::Provision(Provision::Queue(spec)), &mut bench.fx);
        }
        bench.commit();
        bench
    }

    fn subscribe(&mut self, queue: u32, prefetch: u32) {
        let subscribe = Subscribe {
            tag: Box::default(),
            token: Token(0),
            queue: QueueId(queue),
            channel: 1,
            consumer: ConsumerId(queue),
            prefetch,
            no_ack: false,
            exclusive: false,
            priority: 0,
            timeout_ms: None,
        };
        self.shard.handle(0, CONSUMER, Request::Subscribe(subscribe), &mut self.fx);
    }

    /// Seals and applies all there is.
    fn commit(&mut self) {
        loop {
            let start = Instant::now();
            let Some(proposal) = self.shard.seal(0) else { return };
            let len = proposal.buf.payload_len();
            let payload = proposal.buf.freeze().slice(BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + len);
            let lsn = Lsn(self.position + (1 << 32));
            self.position = (self.position + len as u64 + 128).next_multiple_of(4096);
            let index = self.next_index;
            self.next_index += 1;
            let block = Arc::new(Block { lsn, shard: ShardId(1), term: 1, index, stamp: 0, payload });
            self.cost.seal += start.elapsed();
            let start = Instant::now();
            self.shard.apply(&block, proposal.waiters, &mut self.fx);
            self.cost.apply += start.elapsed();
        }
    }

    /// Dispatches, and settles what came, as a session with `multiple` acknowledgements would.
    fn consume(&mut self) -> u64 {
        let start = Instant::now();
        self.shard.dispatch(0, &mut self.fx);
        self.cost.dispatch += start.elapsed();
        let mut settles = Vec::new();
        let (mut bytes, mut delivered) = (0, 0);
        for (_, event) in self.fx.events.drain(..) {
            let Event::Deliver(round) = event else { continue };
            for item in round.items {
                bytes += u64::from(item.len);
                delivered += 1;
                let next = |s: &Settle| s.consumer == item.consumer && s.first + s.count == item.number;
                match settles.last_mut() {
                    Some(last) if next(last) => last.count += 1,
                    _ => settles.push(Settle {
                        consumer: item.consumer,
                        first: item.number,
                        count: 1,
                        outcome: Outcome::Acked,
                    }),
                }
            }
        }
        self.fx.meta.clear();
        let start = Instant::now();
        self.shard.handle(0, CONSUMER, Request::Settle(settles), &mut self.fx);
        self.shard.handle(0, CONSUMER, Request::Drained { bytes }, &mut self.fx);
        self.cost.settle += start.elapsed();
        self.cost.delivered += delivered;
        delivered
    }

    fn report(&mut self, what: &str, messages: u64) {
        let Cost { handle, seal, apply, dispatch, settle, delivered } = std::mem::take(&mut self.cost);
        assert_eq!(delivered, messages, "{what}");
        let ns = |d: Duration| d.as_nanos() as f64 / messages as f64;
        println!(
            "{what:<34} {:>7.1} {:>7.1} {:>7.1} {:>9.1} {:>7.1} {:>9.1}",
            ns(handle),
            ns(seal),
            ns(apply),
            ns(dispatch),
            ns(settle),
            ns(apply + dispatch + settle)
        );
    }
}

fn batch(size: usize, queues: &[u32]) -> Bytes {
    let mut records = Vec::new();
    let body = vec![b'x'; size];
    for i in 0..BATCH {
        let queue = [queues[i % queues.len()]];
        let body = [&body[..]];
        let to = queue.into_iter();
        Publish::encode(&mut records, PUBLISH_PERSISTENT, to, b"", b"queue", b"\x10\0\x02", body.into_iter());
    }
    records.into()
}

/// Producers and consumers keep up with one another: blocks of `batches` batches.
fn flow(what: &str, messages: u64, size: usize, queues: u32, batches: usize, logged: bool) {
    let mut bench = Bench::new(queues);
    (0..queues).for_each(|q| bench.subscribe(q, 10_000));
    bench.commit();
    bench.consume();
    bench.cost = Cost::default();
    let ids: Vec<u32> = (0..queues).collect();
    let records = batch(size, &ids);
    let rounds = messages / (BATCH * batches) as u64;
    let total = rounds * (BATCH * batches) as u64;
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..batches {
            let (token, records, count) = (Token(0), records.clone(), BATCH as u32);
            let request = if logged {
                Request::Propose(Propose { token, records, count, want: Want::Done, checked: false })
            } else {
                Request::Volatile(Volatile { token, records, count, checked: false })
            };
            bench.shard.handle(0, PUBLISHER, request, &mut bench.fx);
        }
        bench.cost.handle += start.elapsed();
        bench.commit();
        while bench.consume() > 0 {}
    }
    bench.commit();
    bench.report(what, total);
}

/// Everything is published first and consumed afterwards, all from the cache.
fn backlog(what: &str, messages: u64, size: usize, queues: u32) {
    let mut bench = Bench::new(queues);
    let ids: Vec<u32> = (0..queues).collect();
    let records = batch(size, &ids);
    let messages = messages.min((60 << 20) / (size as u64 + 30)) / BATCH as u64 * BATCH as u64;
    for _ in 0..messages / BATCH as u64 {
        let start = Instant::now();
        let propose = Propose {
            token: Token(0),
            records: records.clone(),
            count: BATCH as u32,
            want: Want::Done,
            checked: false,
        };
        bench.shard.handle(0, PUBLISHER, Request::Propose(propose), &mut bench.fx);
        bench.cost.handle += start.elapsed();
    }
    bench.commit();
    (0..queues).for_each(|q| bench.subscribe(q, 10_000));
    bench.commit();
    while bench.consume() > 0 {
        bench.commit();
    }
    bench.report(what, messages);
}

fn main() {
    let messages = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    println!(
        "{:<34} {:>7} {:>7} {:>7} {:>9} {:>7} {:>9}",
        "ns a message", "handle", "seal", "apply", "dispatch", "settle", "last three"
    );
    for size in [16, 1024, 16 * 1024] {
        let n = if size > 1024 { messages / 10 } else { messages };
        flow(&format!("{size} B, one queue"), n, size, 1, 8, true);
    }
    flow("1024 B, small blocks", messages, 1024, 1, 1, true);
    flow("1024 B, 50 queues", messages, 1024, 50, 8, true);
    flow("1024 B, in memory", messages, 1024, 1, 8, false);
    backlog("16 B, backlog", messages, 16, 1);
    backlog("1024 B, backlog", messages, 1024, 1);
    backlog("1024 B, backlog in 50 queues", messages, 1024, 50);
}
