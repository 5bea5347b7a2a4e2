"""What Kafka users do, with kafka-python."""

import json
import threading
import time

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import TopicAlreadyExistsError

from conftest import RECENT, Broker, eventually


def producer(broker, **options):
    return KafkaProducer(bootstrap_servers=broker.kafka, **options)


def consumer(broker, *topics, **options):
    options = {"auto_offset_reset": "earliest", "consumer_timeout_ms": 15_000, **options}
    return KafkaConsumer(*topics, bootstrap_servers=broker.kafka, **options)


def take(consumer, n):
    got = []
    for record in consumer:
        got.append(record)
        if len(got) == n:
            break
    assert len(got) == n, f"only {len(got)} of {n} came"
    return got


def test_the_tutorial(broker, name):
    p = producer(broker, value_serializer=lambda v: json.dumps(v).encode())
    for i in range(10):
        p.send(name, {"n": i})
        p.flush()
    for i in range(10, 100):
        p.send(name, {"n": i})
    p.flush()
    c = consumer(broker, name, value_deserializer=json.loads)
    assert [r.value["n"] for r in take(c, 100)] == list(range(100))
    c.close()
    p.close()


def test_keys_headers_timestamps_and_nulls(broker, name):
    p = producer(broker)
    meta = p.send(name, key=b"k", value=b"v", headers=[("h", b"\x00\xff"), ("h", b"2")], timestamp_ms=RECENT + 123).get(10)
    assert (meta.partition, meta.offset) == (0, 0)
    p.send(name, key=b"k", value=None).get(10)
    first, second = take(consumer(broker, name), 2)
    assert (first.key, first.value, first.timestamp) == (b"k", b"v", RECENT + 123)
    assert first.headers in ([("h", b"\x00\xff"), ("h", b"2")], (("h", b"\x00\xff"), ("h", b"2")))
    assert second.value is None and second.offset == 1


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compression(broker, name, codec):
    try:
        p = producer(broker, compression_type=codec, linger_ms=20)
    except AssertionError as missing:
        pytest.skip(str(missing))
    for i in range(200):
        p.send(name, b"x" * 100 + str(i).encode())
    p.flush()
    assert [r.value for r in take(consumer(broker, name), 200)] == [b"x" * 100 + str(i).encode() for i in range(200)]


def test_a_group_shares_partitions_and_resumes(broker, name):
    admin = KafkaAdminClient(bootstrap_servers=broker.kafka)
    admin.create_topics([NewTopic(name, 4, 1)])
    p = producer(broker)
    for i in range(100):
        p.send(name, str(i).encode(), partition=i % 4)
    p.flush()
    group = dict(group_id=name, enable_auto_commit=False, session_timeout_ms=10_000, heartbeat_interval_ms=500)
    stop, got, assigned = threading.Event(), [], {}

    def read(i):
        c = consumer(broker, name, **group)
        while not stop.is_set():
            for records in c.poll(200).values():
                got.extend(int(r.value) for r in records)
            assigned[i] = c.assignment()
        c.commit()
        c.close()

    readers = [threading.Thread(target=read, args=(i,)) for i in range(2)]
    [r.start() for r in readers]
    try:
        eventually(lambda: [len(a) for a in assigned.values()] == [2, 2] and len(set(got)) == 100, timeout=40)
        assert assigned[0] | assigned[1] == {TopicPartition(name, i) for i in range(4)}
    finally:
        stop.set()
        [r.join() for r in readers]
    for i in range(100, 120):
        p.send(name, str(i).encode(), partition=i % 4)
    p.flush()
    assert sorted(int(r.value) for r in take(consumer(broker, name, **group), 20)) == list(range(100, 120))


def test_offsets_and_seeking(broker, name):
    p = producer(broker)
    for i in range(50):
        p.send(name, str(i).encode(), timestamp_ms=RECENT + i * 1000)
    p.flush()
    c = consumer(broker)
    tp = TopicPartition(name, 0)
    c.assign([tp])
    assert c.beginning_offsets([tp]) == {tp: 0} and c.end_offsets([tp]) == {tp: 50}
    found = c.offsets_for_times({tp: RECENT + 20_500})[tp]
    assert (found.offset, found.timestamp) == (21, RECENT + 21_000)
    assert c.offsets_for_times({tp: RECENT + 100_000_000_000})[tp] is None
    c.seek(tp, 45)
    assert [r.offset for r in take(c, 5)] == [45, 46, 47, 48, 49]


def test_topics_are_created_grown_described_and_deleted(broker, name):
    admin = KafkaAdminClient(bootstrap_servers=broker.kafka)
    admin.create_topics([NewTopic(name, 2, 1, topic_configs={"retention.ms": "3600000"})])
    with pytest.raises(TopicAlreadyExistsError):
        admin.create_topics([NewTopic(name, 2, 1)])
    assert name in admin.list_topics()
    admin.create_partitions({name: NewPartitions(5)})
    c = consumer(broker)
    assert c.partitions_for_topic(name) == set(range(5))
    admin.delete_topics([name])
    eventually(lambda: name not in admin.list_topics())


def test_long_poll_is_woken_by_a_produce(broker, name):
    import time

    p = producer(broker)
    p.send(name, b"first").get(10)
    c = consumer(broker, name, fetch_max_wait_ms=10_000, request_timeout_ms=30_000)
    take(c, 1)
    timer = threading.Timer(0.5, lambda: p.send(name, b"second"))
    began = time.monotonic()
    timer.start()
    assert take(c, 1)[0].value == b"second"
    assert time.monotonic() - began < 5, "the fetch slept through the produce"


def test_large_messages_and_the_limit(broker, name):
    from kafka.errors import MessageSizeTooLargeError

    p = producer(broker, max_request_size=8_000_000)
    p.send(name, b"x" * 900_000).get(10)
    with pytest.raises(MessageSizeTooLargeError):
        p.send(name, b"x" * 2_000_000).get(10)
    assert len(take(consumer(broker, name), 1)[0].value) == 900_000


def test_acknowledged_records_and_commits_survive_kill_9(own_broker, name):
    p = producer(own_broker, acks="all")
    for i in range(500):
        p.send(name, str(i).encode())
    p.flush()
    p.close()
    group = dict(group_id=name, enable_auto_commit=False)
    c = consumer(own_broker, name, **group)
    take(c, 200)
    c.commit({TopicPartition(name, 0): __offset(200)})
    own_broker.restart(kill=True)
    c2 = consumer(own_broker, name, **group)
    assert [int(r.value) for r in take(c2, 300)] == list(range(200, 500))


def __offset(n):
    from kafka.structs import OffsetAndMetadata

    try:
        return OffsetAndMetadata(n, "", -1)
    except TypeError:
        return OffsetAndMetadata(n, "")


def test_what_the_operator_says_of_groups(tmp_path, name):
    broker = Broker(tmp_path / "data", "--kafka-rebalance-delay", "1500", "--kafka-offsets-retention", "60").start()
    try:
        admin = KafkaAdminClient(bootstrap_servers=broker.kafka)
        told = admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, "1")], config_filter="all")
        assert "group.initial.rebalance.delay.ms" in str(told) and "offsets.retention.minutes" in str(told)
        admin.create_topics([NewTopic(name, 1, 1)])
        began = time.monotonic()
        consumer = KafkaConsumer(name, group_id=name, bootstrap_servers=broker.kafka)
        eventually(lambda: consumer.poll(timeout_ms=100) is not None and consumer.assignment())
        # Nobody else came, but might have.
        assert time.monotonic() - began > 1.5
        consumer.close()
        admin.close()
    finally:
        broker.kill()
