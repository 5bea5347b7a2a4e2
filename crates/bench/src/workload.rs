//! The named presets: the project's benchmark, workload by workload.

use std::time::Duration;

use crate::args::{Args, CompressionArg, ExchangeKind, Mode, Proto, QueueType};

/// A preset: what it sets, and what it is for.
pub struct Workload {
    pub id: &'static str,
    pub about: &'static str,
    set: fn(&mut Args),
}

impl Workload {
    pub fn args(&self) -> Args {
        let mut args = Args::default();
        (self.set)(&mut args);
        args
    }
}

/// Finds presets by id, by group (`W2` stands for all `W2-…` where no preset has that very name), or `all`.
pub fn find(id: &str) -> Vec<&'static Workload> {
    let exact: Vec<_> = WORKLOADS.iter().filter(|workload| workload.id.eq_ignore_ascii_case(id)).collect();
    if !exact.is_empty() {
        return exact;
    }
    let group = format!("{}-", id.to_ascii_uppercase());
    WORKLOADS.iter().filter(|workload| id == "all" || workload.id.starts_with(&group)).collect()
}

macro_rules! workload {
    ($id:literal, $about:literal, $($field:ident = $value:expr),* $(,)?) => {
        Workload { id: $id, about: $about, set: |args| { let _ = &args; $(args.$field = Some($value);)* } }
    };
}

pub static WORKLOADS: &[Workload] = &[
    workload!("W1", "1 KiB, durable, confirms (window 1000), 1→1, prefetch 1000, ack every 100",),
    workload!("W1-16", "as W1 with 16 octets", size = 16),
    workload!("W1-quorum", "as W1 on a quorum queue", queue_type = QueueType::Quorum),
    workload!("W1-stream", "as W1 on a stream", queue_type = QueueType::Stream),
    workload!("W2-12", "as W1 with 12 octets", size = 12),
    workload!("W2-100", "as W1 with 100 octets", size = 100),
    workload!("W2-4k", "as W1 with 4 KiB", size = 4 << 10),
    workload!(
        "W2-100k",
        "as W1 with 100 KiB, window 100",
        size = 100 << 10,
        window = 100,
        prefetch = 100,
        ack_every = 10
    ),
    workload!(
        "W2-1m",
        "as W1 with 1 MiB (several frames), window 20",
        size = 1 << 20,
        window = 20,
        prefetch = 20,
        ack_every = 5
    ),
    workload!(
        "W3",
        "transient, automatic acknowledgement, no confirms",
        persistent = false,
        durable = false,
        confirm = false,
        ack_every = 0
    ),
    workload!("W3-confirm", "transient, with confirms and acks", persistent = false, durable = false),
    workload!("W4", "one outstanding confirm: the latency of a durable publish", window = 1, ack_every = 1),
    workload!("W5-1k", "open loop, 1,000 a second", rate = 1_000.0, ack_every = 1),
    workload!("W5-10k", "open loop, 10,000 a second", rate = 10_000.0, ack_every = 10),
    workload!("W5-50k", "open loop, 50,000 a second", rate = 50_000.0),
    workload!("W6-10", "10 queues, 10→10", pairs = 10),
    workload!("W6-100", "100 queues, 100→100", pairs = 100, window = 100, prefetch = 100, ack_every = 10),
    workload!(
        "W6-1000q",
        "1,000 queues with one message a second each",
        queues = 1000,
        rate = 1_000.0,
        ack_every = 1
    ),
    workload!("W6-1to10", "one producer, one queue, 10 consumers", consumers = 10),
    workload!("W6-10to1", "10 producers, one queue, one consumer", producers = 10),
    workload!("W7-5", "fan-out 1→5", exchange = ExchangeKind::Fanout, queues = 5, consumers = 5),
    workload!("W7-50", "fan-out 1→50", exchange = ExchangeKind::Fanout, queues = 50, consumers = 10),
    workload!(
        "W7-topic",
        "topic exchange with 1,000 bindings",
        exchange = ExchangeKind::Topic,
        bindings = 1000
    ),
    workload!("W8", "publish 1 million × 1 KiB, then drain", mode = Mode::Backlog, count = 1_000_000),
    workload!(
        "W8-quorum",
        "as W8 on a quorum queue",
        mode = Mode::Backlog,
        count = 1_000_000,
        queue_type = QueueType::Quorum
    ),
    workload!("W8-10m", "publish 10 million × 1 KiB, then drain", mode = Mode::Backlog, count = 10_000_000),
    workload!(
        "W9-slow",
        "5 % of the deliveries are never acknowledged",
        ack_skip = 5.0,
        prefetch = 0,
        ack_every = 1,
        count = 500_000
    ),
    workload!("W9-requeue", "20 % of the deliveries are requeued", requeue = 20.0, ack_every = 1),
    workload!("W10-each", "ack of every message by itself", ack_every = 1),
    Workload {
        id: "W10-shuffle",
        about: "acks one by one in random order",
        set: |args| args.ack_shuffle = true,
    },
    workload!("W10-prefetch1", "prefetch 1", prefetch = 1, ack_every = 1),
    workload!(
        "F-delay",
        "1 million × 100 octets wait for 30 s, then come",
        mode = Mode::Backlog,
        count = 1_000_000,
        size = 100,
        delay = Duration::from_secs(30),
        drain_timeout = Duration::from_secs(60),
    ),
    workload!(
        "F-priority",
        "publish 1 million × 100 octets with priorities 0 to 9 in turn, then drain",
        mode = Mode::Backlog,
        count = 1_000_000,
        size = 100,
        priorities = 9
    ),
    workload!(
        "F-topic",
        "topic exchange with 100,000 bindings, 100 octets",
        exchange = ExchangeKind::Topic,
        bindings = 100_000,
        size = 100
    ),
    workload!(
        "F-queues",
        "10,000 queues, published to in turn, then drained (give them a policy)",
        mode = Mode::Backlog,
        queues = 10_000,
        count = 1_000_000,
        size = 100,
        prefetch = 10,
        ack_every = 5
    ),
    Workload {
        id: "F-dedup",
        about: "10 million messages with ids that the queue remembers, 16 octets",
        set: |args| {
            args.queue_arg = vec![r#"x-deduplication={"window":3600000,"count":10000000}"#.to_owned()];
            (args.count, args.size, args.message_ids) = (Some(10_000_000), Some(16), Some(true));
        },
    },
    workload!("K1", "Kafka: 1 KiB, acks=all, idempotent, batches of 16 KiB, 1→1", proto = Proto::Kafka),
    workload!("K1-16", "as K1 with 16 octets", proto = Proto::Kafka, size = 16),
    workload!("K1-100", "as K1 with 100 octets", proto = Proto::Kafka, size = 100),
    workload!(
        "K1-64k",
        "as K1 with 64 KiB, four of them a batch",
        proto = Proto::Kafka,
        size = 64 << 10,
        batch = 260 << 10
    ),
    workload!("K1-1000p", "as K1 with 1,000 partitions", proto = Proto::Kafka, partitions = 1000),
    workload!(
        "K1-lz4",
        "as K1, compressed with lz4",
        proto = Proto::Kafka,
        compression = CompressionArg::Lz4
    ),
    workload!(
        "K1-zstd",
        "as K1, compressed with zstd",
        proto = Proto::Kafka,
        compression = CompressionArg::Zstd
    ),
    workload!("K1-half", "as K1 in an open loop: give it half the rate of K1", proto = Proto::Kafka),
    workload!(
        "K1-single",
        "one record a batch, one request in flight",
        proto = Proto::Kafka,
        batch = 1,
        in_flight = 1
    ),
    workload!(
        "K1-10k",
        "open loop, 10,000 a second, linger 5 ms",
        proto = Proto::Kafka,
        rate = 10_000.0,
        linger = Duration::from_millis(5)
    ),
    workload!(
        "K2",
        "produce 2 million × 1 KiB, then catch up",
        proto = Proto::Kafka,
        mode = Mode::Backlog,
        count = 2_000_000,
        batch = 64 << 10
    ),
    workload!(
        "K2-4",
        "as K2 with 4 partitions and consumers",
        proto = Proto::Kafka,
        mode = Mode::Backlog,
        count = 2_000_000,
        batch = 64 << 10,
        partitions = 4,
        consumers = 4
    ),
    workload!(
        "K3-1",
        "1 partition, 20,000 a second, linger 1 ms",
        proto = Proto::Kafka,
        rate = 20_000.0,
        linger = Duration::from_millis(1)
    ),
    workload!(
        "K3-16",
        "16 partitions, 20,000 a second, linger 1 ms",
        proto = Proto::Kafka,
        partitions = 16,
        rate = 20_000.0,
        linger = Duration::from_millis(1)
    ),
    workload!(
        "K3-100",
        "100 partitions, 20,000 a second, linger 1 ms",
        proto = Proto::Kafka,
        partitions = 100,
        rate = 20_000.0,
        linger = Duration::from_millis(1)
    ),
    workload!(
        "K4",
        "10 GiB backlog, then drain",
        proto = Proto::Kafka,
        mode = Mode::Backlog,
        count = 10 << 20,
        batch = 256 << 10
    ),
    workload!(
        "K5",
        "50 producers with small batches over 16 partitions",
        proto = Proto::Kafka,
        producers = 50,
        partitions = 16,
        batch = 2 << 10,
        consumers = 4
    ),
    workload!("K6", "fan-out: as K1, read by 10 groups that commit", proto = Proto::Kafka, groups = 10),
    workload!(
        "K7",
        "catch up with 2 million × 1 KiB from the disk while 20,000 a second are produced",
        proto = Proto::Kafka,
        mode = Mode::CatchUp,
        count = 2_000_000,
        batch = 64 << 10,
        rate = 20_000.0,
        linger = Duration::from_millis(5)
    ),
    workload!(
        "K8",
        "open loop, 1,000 transactions a second of 10 × 100 octets in 2 partitions, 20 producers",
        proto = Proto::Kafka,
        size = 100,
        transaction = 10,
        rate = 10_000.0,
        producers = 20,
        partitions = 20
    ),
    workload!(
        "K8-max",
        "as K8, each producer as fast as it can",
        proto = Proto::Kafka,
        size = 100,
        transaction = 10,
        producers = 20,
        partitions = 20
    ),
    Workload {
        id: "K9",
        about: "compaction: 10 million keys, each written twice, 100 octets",
        set: |args| {
            (args.proto, args.mode) = (Some(Proto::Kafka), Some(Mode::Compact));
            (args.count, args.keys) = (Some(20_000_000), Some(10_000_000));
            (args.size, args.batch) = (Some(100), Some(64 << 10));
            // All of it is to be compacted, not a half; Kafka spares the segment that is written to.
            let configs =
                ["cleanup.policy=compact", "min.cleanable.dirty.ratio=0.01", "segment.bytes=16777216"];
            args.topic_config = configs.map(String::from).to_vec();
            args.drain_timeout = Some(Duration::from_secs(90));
        },
    },
    workload!(
        "X1",
        "published over AMQP, consumed over Kafka",
        queue_type = QueueType::Stream,
        consume_proto = Proto::Kafka
    ),
    workload!(
        "X1-reverse",
        "produced over Kafka, consumed over AMQP",
        proto = Proto::Kafka,
        queue_type = QueueType::Stream,
        consume_proto = Proto::Amqp
    ),
    workload!("S1", "soak: one hour, 10 queues, 10→10", pairs = 10, duration = Duration::from_secs(3600)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Settings;

    #[test]
    fn every_preset_resolves_and_has_its_own_name() {
        let mut names = std::collections::BTreeSet::new();
        for workload in WORKLOADS {
            assert!(names.insert(workload.id), "{} twice", workload.id);
            Settings::resolve(&workload.args(), workload.id)
                .unwrap_or_else(|error| panic!("{}: {error}", workload.id));
        }
    }

    #[test]
    fn ids_and_groups() {
        let ids = |id| find(id).iter().map(|workload| workload.id).collect::<Vec<_>>();
        assert_eq!(ids("w1"), ["W1"]);
        assert_eq!(ids("W7"), ["W7-5", "W7-50", "W7-topic"]);
        assert_eq!(ids("W99"), [""; 0]);
        assert_eq!(ids("all").len(), WORKLOADS.len());
    }
}
