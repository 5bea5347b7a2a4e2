"""What is compared with what, and what is aimed at. Data only: add a line here to compare more."""

from dataclasses import dataclass, field

BOWLINE, CLASSIC, QUORUM, KAFKA, FLUSHED, ROOMY = (
    "Bowline", "RabbitMQ classic", "RabbitMQ quorum", "Kafka", "Kafka flushed", "Bowline, 3 GiB cache")

# Other processes used more of a core than this: the run is disturbed, and repeated.
FOREIGN_CORES_MAX = 0.35

# Whose process serves a target.
BROKER = {BOWLINE: "bowline", CLASSIC: "rabbitmq", QUORUM: "rabbitmq", KAFKA: "kafka", FLUSHED: "kafka-flushed",
          ROOMY: "bowline-roomy"}
# With a budget of memory as large as what Kafka's log takes of the page cache.
ROOMY_OPTIONS = ["--cache", "3GiB"]

DURABILITY = {
    BOWLINE: "fsync before every confirm",
    CLASSIC: "fsync before the confirm, in large batches",
    QUORUM: "fsync of its log before the confirm",
    KAFKA: "**no fsync**: confirmed from the page cache (its default)",
    FLUSHED: "fsync per batch before the answer (`log.flush.interval.messages=1`)",
    ROOMY: "fsync before every confirm",
}
# From 4.0 on, classic queues confirm before they sync.
CLASSIC_UNSYNCED_FROM = 4
CLASSIC_UNSYNCED = "no fsync before the confirm (classic queues from 4.0 on)"
UNCONFIRMED = "nothing is promised: transient, no confirms"

@dataclass(frozen=True)
class Workload:
    """A preset of `bowline bench` and against whom it runs. `stages`: what is tabled, stage name to rate."""
    id: str
    about: str
    targets: tuple
    stages: dict = field(default_factory=lambda: {"pair": "received_per_second"})
    proto: str = "amqp"
    timed: bool = True
    quick_count: int = 0
    count: int = 0
    rounds_max: int = 99
    cold: bool = False
    confirmed: bool = True
    unit: str = "messages/s"
    # A feature: brokers of its own, started afresh, and a row in the features' table.
    feature: bool = False
    # What the set-up makes so many of, for its rate.
    made: tuple = ()
    # Policies of the brokers.
    policies: tuple = ()
    # Paced at half of the rate that the broker had in that workload.
    half_of: str = ""
    # Each of half as many keys as the count is written twice.
    keyed: bool = False
    # The stage whose latencies are tabled.
    latency_stage: str = "pair"
    # The spread of the latencies is of interest.
    wide: bool = False


def _kafka(id, about, targets=(BOWLINE, KAFKA), **more):
    """A workload over Kafka; rates are of what was confirmed unless it says otherwise."""
    return Workload(id, about, targets, **{"stages": {"pair": "confirmed_per_second"}, "proto": "kafka",
                                           "unit": "records/s", "rounds_max": 2, **more})


# 20 GB are 20,000,000: `--catch-up`.
CATCH_UP = 2_000_000

WORKLOADS = [
    Workload("W1", "1 KiB, durable, persistent, confirms (window 1000), 1→1, prefetch 1000, ack every 100",
             (BOWLINE, CLASSIC)),
    Workload("W1-quorum", "the same on a quorum queue", (BOWLINE, QUORUM)),
    Workload("W1-16", "as W1 with 16 bytes", (BOWLINE, CLASSIC)),
    Workload("W6-10", "as W1 with 10 queues, 10→10", (BOWLINE, CLASSIC)),
    Workload("W10-each", "as W1, every message acknowledged by itself", (BOWLINE, CLASSIC)),
    Workload("W7-5", "as W1 through a fan-out exchange, 1→5 queues", (BOWLINE, CLASSIC), unit="deliveries/s"),
    Workload("W2-100k", "as W1 with 100 KiB, window 100", (BOWLINE, CLASSIC)),
    Workload("W3", "1 KiB, transient, automatic acknowledgement, no confirms", (BOWLINE, CLASSIC), confirmed=False),
    Workload("W4", "1 KiB, durable, one outstanding confirm: latency", (BOWLINE, CLASSIC, QUORUM), wide=True),
    Workload("W5-1k", "1 KiB, durable, open loop, 1,000 a second", (BOWLINE, CLASSIC)),
    Workload("W8", "publish {count} × 1 KiB, durable, confirms; then drain", (BOWLINE, CLASSIC),
             stages={"publish": "confirmed_per_second", "drain": "received_per_second"}, timed=False,
             count=1_000_000, quick_count=100_000, rounds_max=2),
    Workload("F-delay", "{count} × 100 bytes wait for 30 s, all pending at once; then come", (BOWLINE,),
             stages={"publish": "confirmed_per_second", "drain": "received_per_second"}, timed=False, feature=True,
             count=1_000_000, quick_count=100_000, rounds_max=1),
    Workload("F-priority", "publish {count} × 100 bytes with priorities 0 to 9 in turn; then drain", (BOWLINE, CLASSIC),
             stages={"publish": "confirmed_per_second", "drain": "received_per_second"}, timed=False, feature=True,
             count=1_000_000, quick_count=100_000, rounds_max=1),
    Workload("F-topic", "as W1 with 100 bytes through a topic exchange with 100,000 bindings, keys in turn",
             (BOWLINE, CLASSIC), feature=True, made=(100_000, "bindings"), rounds_max=1),
    Workload("F-queues", "publish {count} × 100 bytes to 10,000 queues in turn, all with a policy; then drain",
             (BOWLINE, CLASSIC),
             stages={"publish": "confirmed_per_second", "drain": "received_per_second"}, timed=False, feature=True,
             count=1_000_000, quick_count=100_000, rounds_max=1, made=(10_000, "queues"),
             policies=({"vhost": "/", "name": "bounds", "pattern": "^compare-", "apply-to": "queues", "priority": 1,
                        "definition": {"max-length": 1_000_000, "message-ttl": 3_600_000}},)),
    Workload("F-dedup", "{count} × 16 bytes with ids, 1→1, all ids remembered", (BOWLINE,), timed=False, feature=True,
             count=10_000_000, quick_count=1_000_000, rounds_max=1),
    Workload("K1", "produce and consume 1 KiB, acks=all, idempotent, batches of 16 KiB, 1→1",
             (BOWLINE, KAFKA, FLUSHED), stages={"pair": "confirmed_per_second"}, proto="kafka", unit="records/s"),
    Workload("K2", "produce {count} × 1 KiB in batches of 64 KiB, then catch up; again with the page cache dropped",
             (BOWLINE, ROOMY, KAFKA, FLUSHED),
             stages={"publish": "confirmed_per_second", "drain": "received_per_second",
                     "cold drain": "received_per_second"},
             proto="kafka", timed=False, count=1_000_000, quick_count=200_000, rounds_max=2, cold=True, unit="records/s"),
    _kafka("K1-half", "as K1 in an open loop at half of the rate that the broker reached in K1: latency",
           (BOWLINE, KAFKA, FLUSHED), half_of="K1", wide=True),
    _kafka("K1-single", "as K1, one record a batch and one outstanding: latency", (BOWLINE, KAFKA, FLUSHED), wide=True),
    _kafka("K1-16", "as K1 with 16 bytes"),
    _kafka("K1-100", "as K1 with 100 bytes"),
    _kafka("K1-64k", "as K1 with 64 KiB, four in a batch"),
    _kafka("K1-1000p", "as K1 with 1,000 partitions"),
    _kafka("K1-lz4", "as K1, text compressed with lz4"),
    _kafka("K1-zstd", "as K1, text compressed with zstd"),
    _kafka("K6", "fan-out: as K1, read by 10 groups", stages={"pair": "received_per_second"}, unit="deliveries/s"),
    _kafka("K8", "open loop, 1,000 transactions a second of 10 × 100 bytes in 2 of 20 partitions, 20 producers: latency",
           stages={"pair": "transactions_per_second"}, unit="transactions/s", wide=True),
    _kafka("K8-max", "as K8, each producer as fast as it can", stages={"pair": "transactions_per_second"},
           unit="transactions/s"),
    _kafka("K7", "catch up with {count} × 1 KiB, the page cache dropped, while 20,000 a second are produced",
           stages={"publish": "confirmed_per_second", "catch-up": "received_per_second"}, timed=False,
           count=CATCH_UP, quick_count=500_000, rounds_max=1, latency_stage="catch-up"),
    _kafka("K9", "compaction of {count} × 100 bytes, each key twice; then drain",
           stages={"publish": "confirmed_per_second", "compact": "seconds", "drain": "received_per_second"},
           timed=False, feature=True, keyed=True, count=20_000_000, quick_count=2_000_000, rounds_max=1),
]
# Issue by issue: parts under one name for `--only`.
SETS = {"kafka": [workload.id for workload in WORKLOADS if workload.proto == "kafka"]}
STANDING = "standing"  # what needs no load: memory, start, connections, declarations
RESTART = "restart"

# `--type` for those targets whose queue type is not the preset's.
QUEUE_TYPE = {QUORUM: "quorum"}


@dataclass(frozen=True)
class Ratio:
    """At least so many times the peer's rate."""
    text: str
    workload: str
    stage: str
    peer: str
    least: float


@dataclass(frozen=True)
class Figure:
    """A figure of Bowline's own, at most (or at least) so much. `measure` is a key of document.FIGURES."""
    text: str
    measure: str
    limit: float
    unit: str
    at_least: bool = False


AIMS = [
    Ratio("durable 1 KiB, confirms, 1→1", "W1", "pair", CLASSIC, 10),
    Ratio("durable 1 KiB, confirms, 1→1", "W1-quorum", "pair", QUORUM, 10),
    Ratio("the same, 16 bytes", "W1-16", "pair", CLASSIC, 14),
    Ratio("the same, 10 queues, 10→10", "W6-10", "pair", CLASSIC, 10),
    Ratio("the same, ack each", "W10-each", "pair", CLASSIC, 10),
    Ratio("fan-out 1→5", "W7-5", "pair", CLASSIC, 10),
    Ratio("100 KiB bodies", "W2-100k", "pair", CLASSIC, 1.5),
    Ratio("transient, auto-ack, 1 KiB", "W3", "pair", CLASSIC, 8),
    Figure("confirm p50, one outstanding, over (flush p50 + loopback round trip)", "confirm_p50", 1.5, "×"),
    Figure("confirm p99, one outstanding, over (flush p50 + loopback round trip)", "confirm_p99", 3, "×"),
    Figure("CPU idle (0: below a thousandth of a core)", "idle_cores", 0, "core"),
    Figure("CPU at 1,000 messages/s", "cores_1k", 0.05, "core"),
    Figure("bytes written per payload byte, 1 KiB, consumed soon", "written", 1.10, "×"),
    Ratio("backlog of 1 KiB messages: publish", "W8", "publish", CLASSIC, 10),
    Ratio("backlog of 1 KiB messages: drain", "W8", "drain", CLASSIC, 10),
    Figure("peak RSS during the backlog", "backlog_rss", 150, "MB"),
    Ratio("Kafka produce, 16 KiB batches", "K1", "pair", KAFKA, 1.5),
    Ratio("Kafka produce, 16 KiB batches", "K1", "pair", FLUSHED, 5),
    Ratio("Kafka consume, page cache warm", "K2", "drain", KAFKA, 1.5),
    Ratio("Kafka consume, page cache dropped", "K2", "cold drain", KAFKA, 1.5),
    Figure("Kafka produce at half of saturation: p99 over (flush p50 + loopback round trip) (K1-half)", "half_p99", 3, "×"),
    Figure("peak RSS over all Kafka workloads at the default budgets", "kafka_rss", 200, "MB"),
    Figure("RSS idle", "idle_rss", 25, "MB"),
    Figure("start of an empty broker", "start_ms", 150, "ms"),
    Figure("restart after kill -9 with a backlog of {restart_messages}", "restart_s", 2, "s"),
    Figure("memory of an idle AMQP connection", "amqp_connection_kb", 20, "KB"),
    Figure("memory of an idle Kafka connection", "kafka_connection_kb", 20, "KB"),
    Figure("durable queues declared, one after the other", "declares", 2000, "/s", at_least=True),
]
