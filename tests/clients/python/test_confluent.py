"""What Kafka users do, with confluent-kafka (librdkafka)."""

import threading
import time

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING, Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition)
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType)

import raw_kafka as raw
from conftest import RECENT, eventually


def producer(broker, **options):
    return Producer({"bootstrap.servers": broker.kafka, **{k.replace("_", "."): v for k, v in options.items()}})


def consumer(broker, group, **options):
    options = {k.replace("_", "."): v for k, v in options.items()}
    return Consumer({"bootstrap.servers": broker.kafka, "group.id": group, "auto.offset.reset": "earliest",
                     "session.timeout.ms": 10_000, "heartbeat.interval.ms": 500, **options})


@pytest.fixture
def admin(broker):
    return AdminClient({"bootstrap.servers": broker.kafka})


def make_topic(admin, name, partitions=1, **config):
    admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(20)


def produce(p, topic, values, **more):
    """Sends, waits for every delivery report, and returns the offsets by value."""
    reports = {}

    def on_delivery(error, message):
        assert error is None, error
        reports[message.value()] = (message.partition(), message.offset())

    for value in values:
        p.produce(topic, value, on_delivery=on_delivery, **more)
        p.poll(0)
    assert p.flush(20) == 0
    return reports


def take(c, n, timeout=30):
    got, end = [], time.monotonic() + timeout
    while len(got) < n:
        assert time.monotonic() < end, f"only {len(got)} of {n} came"
        for message in c.consume(n - len(got), 0.5):
            if message.error():
                # A consumer that asked before the topic was there is told so; it goes on asking.
                assert message.error().code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._PARTITION_EOF), message.error()
            else:
                got.append(message)
    return got


def test_the_tutorial(broker, name):
    p = producer(broker)
    reports = produce(p, name, [str(i).encode() for i in range(100)])
    assert reports == {str(i).encode(): (0, i) for i in range(100)}
    c = consumer(broker, name)
    c.subscribe([name])
    got = take(c, 100)
    assert [int(m.value()) for m in got] == list(range(100)) and [m.offset() for m in got] == list(range(100))
    c.close()


def test_an_idempotent_producer(broker, name):
    p = producer(broker, enable_idempotence=True, linger_ms=1, batch_num_messages=7)
    produce(p, name, [str(i).encode() for i in range(1000)])
    c = consumer(broker, name)
    c.subscribe([name])
    assert [int(m.value()) for m in take(c, 1000)] == list(range(1000))
    c.close()


def test_nulls_headers_and_timestamps(broker, name):
    p = producer(broker)
    headers = [("h", b"\x00\xff"), ("h", b"again"), ("none", None), ("empty", b"")]
    p.produce(name, value=None, key=b"k", headers=headers, timestamp=RECENT + 123)
    p.produce(name, value=b"", key=None)
    assert p.flush(20) == 0
    c = consumer(broker, name)
    c.subscribe([name])
    first, second = take(c, 2)
    assert (first.value(), first.key(), first.headers()) == (None, b"k", headers)
    assert first.timestamp()[1] == RECENT + 123
    assert (second.value() or b"", second.key()) == (b"", None)
    c.close()


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compression(broker, name, codec):
    p = producer(broker, compression_type=codec, linger_ms=50)
    values = [(b"%d " % i) * 50 for i in range(300)]
    produce(p, name, values)
    c = consumer(broker, name, check_crcs=True)
    c.subscribe([name])
    assert [m.value() for m in take(c, 300)] == values
    c.close()


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_kind_of_acks(broker, name, acks):
    p = producer(broker, acks=acks)
    # The topic first: without acknowledgements nobody repeats a produce that came too early.
    p.produce(name, b"first")
    p.flush(20)
    for i in range(20):
        p.produce(name, b"%d" % i)
    assert p.flush(20) == 0
    c = consumer(broker, name)
    c.subscribe([name])
    assert {m.value() for m in take(c, 20)} <= {b"first"} | {b"%d" % i for i in range(20)}
    c.close()


def test_a_group_rebalances_when_members_come_and_go(broker, admin, name):
    make_topic(admin, name, 6)
    events = {0: [], 1: []}

    def member(i):
        c = consumer(broker, name)
        c.subscribe([name], on_assign=lambda c, ps: events[i].append(len(ps)), on_revoke=lambda c, ps: events[i].append(-len(ps)))
        return c

    one = member(0)
    eventually(lambda: one.poll(0.1) or len(one.assignment()) == 6, timeout=30)
    two = member(1)

    def shared():
        one.poll(0.1)
        two.poll(0.1)
        return len(one.assignment()) == 3 and len(two.assignment()) == 3

    eventually(shared, timeout=30)
    own = {(p.topic, p.partition) for p in one.assignment()}
    others = {(p.topic, p.partition) for p in two.assignment()}
    assert own | others == {(name, i) for i in range(6)}
    two.close()
    eventually(lambda: one.poll(0.1) or len(one.assignment()) == 6, timeout=30)
    one.close()
    assert events[0][0] == 6 and -6 in events[0]


def test_cooperative_rebalancing(broker, admin, name):
    make_topic(admin, name, 4)
    one = consumer(broker, name, partition_assignment_strategy="cooperative-sticky")
    two = consumer(broker, name, partition_assignment_strategy="cooperative-sticky")
    one.subscribe([name])
    eventually(lambda: one.poll(0.1) or len(one.assignment()) == 4, timeout=30)
    two.subscribe([name])

    def shared():
        one.poll(0.1)
        two.poll(0.1)
        return len(one.assignment()) == 2 and len(two.assignment()) == 2

    eventually(shared, timeout=40)
    one.close()
    two.close()


def test_commits_are_kept_and_told(broker, admin, name):
    make_topic(admin, name, 2)
    p = producer(broker)
    for i in range(20):
        p.produce(name, str(i).encode(), partition=i % 2)
    assert p.flush(20) == 0
    c = consumer(broker, name, enable_auto_commit=False)
    c.subscribe([name])
    take(c, 20)
    c.commit(offsets=[TopicPartition(name, 0, 4, metadata="note"), TopicPartition(name, 1, 10)], asynchronous=False)
    told = c.committed([TopicPartition(name, 0), TopicPartition(name, 1)], timeout=10)
    assert [t.offset for t in told] == [4, 10] and told[0].metadata == "note"
    c.close()
    again = consumer(broker, name, enable_auto_commit=False)
    again.subscribe([name])
    assert [int(m.value()) for m in take(again, 6)] == [8, 10, 12, 14, 16, 18]
    again.close()
    # The administrator's view.
    listed = admin.list_consumer_groups(request_timeout=10).result().valid
    assert name in {g.group_id for g in listed}
    described = admin.describe_consumer_groups([name], request_timeout=10)[name].result()
    assert described.group_id == name and described.state.name in ("EMPTY", "STABLE")
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)], request_timeout=10)[name].result()
    assert {(t.partition, t.offset) for t in offsets.topic_partitions} == {(0, 4), (1, 10)}
    admin.delete_consumer_groups([name], request_timeout=10)[name].result()
    fresh = consumer(broker, name, enable_auto_commit=False)
    assert fresh.committed([TopicPartition(name, 0)], timeout=10)[0].offset < 0
    fresh.close()


def test_offsets_by_time_watermarks_and_seek(broker, name):
    p = producer(broker)
    for i in range(30):
        p.produce(name, str(i).encode(), timestamp=RECENT + i * 1000)
    assert p.flush(20) == 0
    c = consumer(broker, name)
    assert c.get_watermark_offsets(TopicPartition(name, 0), timeout=10) == (0, 30)
    (found,) = c.offsets_for_times([TopicPartition(name, 0, RECENT + 12_500)], timeout=10)
    assert found.offset == 13
    (end,) = c.offsets_for_times([TopicPartition(name, 0, RECENT + 100_000_000_000)], timeout=10)
    assert end.offset == -1
    c.assign([TopicPartition(name, 0, 25)])
    assert [m.offset() for m in take(c, 5)] == [25, 26, 27, 28, 29]
    c.seek(TopicPartition(name, 0, OFFSET_BEGINNING))
    assert take(c, 1)[0].offset() == 0
    c.close()


def test_end_of_partition_is_told(broker, name):
    produce(producer(broker), name, [b"only"])
    c = consumer(broker, name, enable_partition_eof=True)
    c.assign([TopicPartition(name, 0, OFFSET_BEGINNING)])
    seen = []

    def eof():
        message = c.poll(0.5)
        if message is not None:
            seen.append(message.error().code() if message.error() else message.value())
        return KafkaError._PARTITION_EOF in seen

    eventually(eof)
    assert seen == [b"only", KafkaError._PARTITION_EOF]
    c.close()


def test_topics_and_their_configuration(broker, admin, name):
    make_topic(admin, name, 3, **{"retention.ms": "3600000"})
    with pytest.raises(KafkaException) as error:
        make_topic(admin, name, 3)
    assert error.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    assert len(admin.list_topics(name, timeout=10).topics[name].partitions) == 3
    resource = ConfigResource(ResourceType.TOPIC, name)
    config = admin.describe_configs([resource])[resource].result(10)
    assert config["retention.ms"].value == "3600000"
    entry = ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET)
    changed = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    admin.incremental_alter_configs([changed])[changed].result(10)
    eventually(lambda: admin.describe_configs([resource])[resource].result(10)["retention.ms"].value == "7200000")
    admin.create_partitions([NewPartitions(name, 5)])[name].result(10)
    eventually(lambda: len(admin.list_topics(name, timeout=10).topics[name].partitions) == 5)
    cluster = admin.describe_cluster(request_timeout=10).result()
    assert len(cluster.nodes) == 1 and cluster.cluster_id
    admin.delete_topics([name])[name].result(10)
    eventually(lambda: name not in admin.list_topics(timeout=10).topics)


def test_bad_topics_are_refused_with_the_right_error(broker, admin, name):
    def refused(topic):
        with pytest.raises(KafkaException) as error:
            admin.create_topics([topic])[topic.topic].result(10)
        return error.value.args[0].code()

    assert refused(NewTopic("bad/name", 1, 1)) == KafkaError.TOPIC_EXCEPTION
    assert refused(NewTopic("x" * 250, 1, 1)) == KafkaError.TOPIC_EXCEPTION
    assert refused(NewTopic(name, 1, 5)) == KafkaError.INVALID_REPLICATION_FACTOR
    assert refused(NewTopic(name, 0, 1)) == KafkaError.INVALID_PARTITIONS
    assert refused(NewTopic(name, 1, 1, config={"retention.ms": "soon"})) == KafkaError.INVALID_CONFIG


def test_deleted_records_are_gone(broker, admin, name):
    p = producer(broker)
    produce(p, name, [str(i).encode() for i in range(20)])
    partition = TopicPartition(name, 0, 12)
    deleted = admin.delete_records([partition])[partition].result(10)
    assert deleted.low_watermark == 12
    c = consumer(broker, name)
    c.assign([TopicPartition(name, 0, OFFSET_BEGINNING)])
    assert [m.offset() for m in take(c, 8)] == list(range(12, 20))
    assert c.get_watermark_offsets(TopicPartition(name, 0), timeout=10) == (12, 20)
    told = admin.list_offsets({TopicPartition(name, 0): OffsetSpec.earliest()})[TopicPartition(name, 0)].result(10)
    assert told.offset == 12
    c.close()


def test_an_offset_out_of_range_follows_the_reset_policy(broker, name):
    produce(producer(broker), name, [str(i).encode() for i in range(5)])
    c = consumer(broker, name)
    c.assign([TopicPartition(name, 0, 1000)])
    assert take(c, 1)[0].offset() == 0
    c.close()


def test_a_message_too_large_is_refused_and_the_producer_goes_on(broker, name):
    p = producer(broker, message_max_bytes=5_000_000)
    errors = []
    p.produce(name, b"x" * 3_000_000, on_delivery=lambda e, m: errors.append(e))
    assert p.flush(20) == 0
    assert errors[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert produce(p, name, [b"small"]) == {b"small": (0, 0)}


def test_an_unknown_topic_without_creation(broker, name):
    """librdkafka consumers do not create topics; they are told that there is none."""
    c = consumer(broker, name)
    c.subscribe([name])
    errors = []

    def told():
        message = c.poll(0.5)
        if message is not None and message.error():
            errors.append(message.error().code())
        return errors

    eventually(told)
    assert errors[0] == KafkaError.UNKNOWN_TOPIC_OR_PART
    c.close()


def test_static_members_keep_their_partitions(broker, admin, name):
    make_topic(admin, name, 2)
    options = dict(group_instance_id="member-1", enable_auto_commit=False)
    first = consumer(broker, name, **options)
    first.subscribe([name])
    eventually(lambda: first.poll(0.1) or len(first.assignment()) == 2, timeout=30)
    first.close()
    second = consumer(broker, name, **options)
    second.subscribe([name])
    eventually(lambda: second.poll(0.1) or len(second.assignment()) == 2, timeout=30)
    second.close()


def test_several_producers_and_consumers_at_once(broker, admin, name):
    n, partitions = 2000, 4
    make_topic(admin, name, partitions)

    def send(lane):
        p = producer(broker, linger_ms=2, enable_idempotence=True)
        for i in range(n):
            p.produce(name, b"%d %d" % (lane, i), partition=lane)
            p.poll(0)
        assert p.flush(30) == 0

    threads = [threading.Thread(target=send, args=(lane,)) for lane in range(partitions)]
    [t.start() for t in threads]
    c = consumer(broker, name)
    c.subscribe([name])
    got = take(c, n * partitions, timeout=60)
    [t.join() for t in threads]
    for lane in range(partitions):
        assert [m.value() for m in got if m.partition() == lane] == [b"%d %d" % (lane, i) for i in range(n)]
    c.close()


def test_a_producer_rides_through_a_kill(own_broker, name):
    """Nothing lost, nothing twice, order kept: an idempotent producer over a kill -9."""
    p = producer(own_broker, enable_idempotence=True, acks="all", retry_backoff_ms=50, reconnect_backoff_max_ms=500)
    failed = []
    for i in range(200):
        p.produce(name, str(i).encode(), on_delivery=lambda e, m: e and failed.append(e))
    assert p.flush(20) == 0
    for i in range(200, 1000):
        p.produce(name, str(i).encode(), on_delivery=lambda e, m: e and failed.append(e))
        p.poll(0)
    own_broker.restart(kill=True)
    for i in range(1000, 1200):
        p.produce(name, str(i).encode(), on_delivery=lambda e, m: e and failed.append(e))
    assert p.flush(60) == 0 and not failed
    c = consumer(own_broker, name)
    c.assign([TopicPartition(name, 0, OFFSET_BEGINNING)])
    assert [int(m.value()) for m in take(c, 1200)] == list(range(1200))
    assert c.get_watermark_offsets(TopicPartition(name, 0), timeout=10) == (0, 1200)
    c.close()


def test_group_settings_are_kept(own_broker, name):
    """Settings of a group hold for its name, before there is one, and over a kill -9."""
    admin = AdminClient({"bootstrap.servers": own_broker.kafka})

    def described():
        resource = ConfigResource(ResourceType.GROUP, name)
        return {key: (entry.value, entry.source) for key, entry in admin.describe_configs([resource])[resource].result(20).items()}

    def alter(key, value, operation=AlterConfigOpType.SET):
        entry = ConfigEntry(key, value, incremental_operation=operation)
        resource = ConfigResource(ResourceType.GROUP, name, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(20)

    assert described()["consumer.session.timeout.ms"][0] == "45000"
    assert described()["consumer.heartbeat.interval.ms"][0] == "5000"
    alter("consumer.session.timeout.ms", "50000")
    for key, value in [("consumer.session.timeout.ms", "1"), ("consumer.heartbeat.interval.ms", "soon"), ("no.such", "1")]:
        with pytest.raises(KafkaException) as refused:
            alter(key, value)
        assert refused.value.args[0].code() == KafkaError.INVALID_CONFIG
    own_broker.restart(kill=True)
    eventually(lambda: described()["consumer.session.timeout.ms"][0] == "50000")
    alter("consumer.session.timeout.ms", None, AlterConfigOpType.DELETE)
    assert described()["consumer.session.timeout.ms"][0] == "45000"


def subscribe_to_metrics(broker, name, **settings):
    """IncrementalAlterConfigs of a resource type that the library does not know."""
    changes = [raw.string(key) + raw.int8(0) + raw.string(value) for key, value in settings.items()]
    resource = raw.int8(16) + raw.string(name) + raw.array(changes)
    with raw.Raw(broker) as connection:
        connection.send(raw.framed(raw.header(44, 0, 1) + raw.array([resource]) + b"\0"))
        size = int.from_bytes(connection.receive(4), "big")
        answer = connection.receive(size)
    # Correlation id, throttle time, one resource, no error.
    assert answer[4:14] == b"\0\0\0\0" + b"\0\0\0\1" + b"\0\0", answer


def test_metrics_that_the_client_pushes(own_broker, name):
    subscribe_to_metrics(own_broker, "m", **{"metrics": "*", "interval.ms": "500", "match": "client_id=watched,client_software_name=.*kafka.*"})
    p = producer(own_broker, client_id="watched")
    reader = Consumer({"bootstrap.servers": own_broker.kafka, "group.id": name, "auto.offset.reset": "earliest",
                       "enable.metrics.push": False})
    end = time.monotonic() + 60
    # Until a push of a time in which something was produced.
    while True:
        assert time.monotonic() < end, "nothing was pushed"
        produce(p, name, [b"v"])
        if "otlp_metrics" not in p.list_topics(timeout=10).topics:
            continue
        if not reader.assignment():
            reader.assign([TopicPartition("otlp_metrics", 0, OFFSET_BEGINNING)])
        message = reader.poll(0.5)
        if message and not message.error() and b"org.apache.kafka.producer." in message.value():
            break
    headers = dict(message.headers())
    assert headers["client_id"] == b"watched" and b"kafka" in headers["client_software_name"]
    assert len(message.key()) == 22
    reader.close()
