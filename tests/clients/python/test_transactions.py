"""Kafka transactions: with confluent-kafka and kafka-python, across restarts, and as AMQP consumers see them."""

import random
import threading
import time

import pika
import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from kafka import KafkaConsumer, KafkaProducer

from conftest import Broker, eventually


def transactional(broker, name, **options):
    p = Producer({"bootstrap.servers": broker.kafka, "transactional.id": name, "transaction.timeout.ms": 20_000,
                  # librdkafka 2.16 that begins anew at the bootstrap address forgets that it waits for a coordinator.
                  "metadata.recovery.strategy": "none",
                  **{k.replace("_", "."): v for k, v in options.items()}})
    p.init_transactions(30)
    return p


def consumer(broker, group, isolation="read_committed", **options):
    return Consumer({"bootstrap.servers": broker.kafka, "group.id": group, "auto.offset.reset": "earliest",
                     "isolation.level": isolation, "enable.auto.commit": False, "session.timeout.ms": 10_000,
                     **{k.replace("_", "."): v for k, v in options.items()}})


def make_topic(broker, name, partitions=1):
    admin = AdminClient({"bootstrap.servers": broker.kafka})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(20)


def values(broker, topic, partitions=1, isolation="read_committed"):
    """All values of the topic as it is now, by partition and in order."""
    c = consumer(broker, "none", isolation, enable_partition_eof=True)
    got = {}
    for partition in range(partitions):
        got[partition], at_end = [], False
        c.assign([TopicPartition(topic, partition, 0)])
        deadline = time.monotonic() + 30
        while not at_end:
            assert time.monotonic() < deadline, f"{topic}/{partition}: {len(got[partition])} and no end"
            for message in c.consume(1000, 0.2):
                if message.error() is None:
                    got[partition].append(message.value())
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                    at_end = True
    c.close()
    return got


def test_commit_and_abort(broker, name):
    make_topic(broker, name, 2)
    p = transactional(broker, name)
    for i in range(6):
        p.begin_transaction()
        for partition in (0, 1):
            p.produce(name, f"{i}-{partition}".encode(), partition=partition)
        p.commit_transaction(20) if i % 2 == 0 else (p.flush(20), p.abort_transaction(20))
    p.begin_transaction()
    p.produce(name, b"open", partition=0)
    assert p.flush(20) == 0
    for partition in (0, 1):
        assert values(broker, name, 2)[partition] == [f"{i}-{partition}".encode() for i in (0, 2, 4)]
    everything = values(broker, name, 2, "read_uncommitted")[0]
    assert everything == [f"{i}-0".encode() for i in range(6)] + [b"open"]
    p.commit_transaction(20)
    assert values(broker, name, 2)[0][-1] == b"open"


def test_a_committed_reader_waits_for_the_decision(broker, name):
    make_topic(broker, name)
    c = consumer(broker, name)
    c.subscribe([name])
    p = transactional(broker, name)
    p.begin_transaction()
    p.produce(name, b"a")
    p.flush(20)
    other = Producer({"bootstrap.servers": broker.kafka})
    other.produce(name, b"plain")
    other.flush(20)
    # The plain record is behind an open transaction: nobody may see it yet.
    assert not [m for m in c.consume(10, 2) if m.error() is None]
    p.commit_transaction(20)
    got = eventually(lambda: c.consume(10, 5))
    while len(got) < 2:
        got += c.consume(10, 5)
    assert [m.value() for m in got] == [b"a", b"plain"]
    c.close()


def test_times_are_looked_up_among_what_is_decided(broker, name):
    make_topic(broker, name)
    p = transactional(broker, name)
    p.begin_transaction()
    p.produce(name, b"a", timestamp=1_000)
    p.commit_transaction(20)
    p.begin_transaction()
    soon = int(time.time() * 1000) + 60_000
    p.produce(name, b"b", timestamp=soon)
    p.flush(20)
    admin = AdminClient({"bootstrap.servers": broker.kafka})
    partition = TopicPartition(name, 0)

    def offsets(level):
        specs = OffsetSpec.latest(), OffsetSpec.for_timestamp(soon - 1), OffsetSpec.max_timestamp()
        asked = [admin.list_offsets({partition: spec}, isolation_level=level)[partition] for spec in specs]
        return [future.result(20).offset for future in asked]

    committed, all_of_it = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED
    # The marker of the first is at offset 1; whether the second counts is not known.
    assert offsets(all_of_it) == [3, 2, 2]
    assert offsets(committed) == [2, -1, -1]
    p.commit_transaction(20)
    eventually(lambda: offsets(committed) == [4, 2, 2])


def test_a_zombie_is_fenced(broker, name):
    make_topic(broker, name)
    old = transactional(broker, name)
    old.begin_transaction()
    old.produce(name, b"of the old")
    old.flush(20)
    new = transactional(broker, name)
    new.begin_transaction()
    new.produce(name, b"of the new")
    new.commit_transaction(20)
    with pytest.raises(KafkaException) as refused:
        old.commit_transaction(20)
    assert refused.value.args[0].fatal() and refused.value.args[0].code() == KafkaError._FENCED
    assert values(broker, name)[0] == [b"of the new"]


def test_a_transaction_that_takes_too_long_is_aborted(broker, name):
    make_topic(broker, name)
    p = transactional(broker, name, transaction_timeout_ms=1500, message_timeout_ms=1000)
    p.begin_transaction()
    p.produce(name, b"late")
    p.flush(20)
    after = Producer({"bootstrap.servers": broker.kafka})
    after.produce(name, b"after")
    after.flush(20)
    eventually(lambda: values(broker, name)[0] == [b"after"])
    with pytest.raises(KafkaException):
        p.commit_transaction(10)


def test_a_timeout_that_is_too_long_is_refused(broker, name):
    p = Producer({"bootstrap.servers": broker.kafka, "transactional.id": name, "transaction.timeout.ms": 900_001})
    with pytest.raises(KafkaException) as refused:
        p.init_transactions(20)
    assert refused.value.args[0].code() == KafkaError.INVALID_TRANSACTION_TIMEOUT


def test_with_kafka_python(broker, name):
    make_topic(broker, name)
    p = KafkaProducer(bootstrap_servers=broker.kafka, transactional_id=name)
    p.init_transactions()
    for i in range(4):
        p.begin_transaction()
        p.send(name, f"{i}".encode()).get(20)
        p.commit_transaction() if i % 2 else p.abort_transaction()
    p.close()
    c = KafkaConsumer(name, bootstrap_servers=broker.kafka, auto_offset_reset="earliest", consumer_timeout_ms=5000,
                      isolation_level="read_committed")
    assert [r.value for r in c] == [b"1", b"3"]
    c.close()


def copy(broker, source, target, group, stop, progress):
    """Consume, transform, produce: offsets and results in one transaction, whatever breaks."""
    while not stop.is_set():
        c = p = None
        try:
            c = consumer(broker, group)
            c.subscribe([source])
            p = transactional(broker, group)
            while not stop.is_set():
                got = [m for m in c.consume(20, 0.3) if m.error() is None]
                if not got:
                    continue
                p.begin_transaction()
                for m in got:
                    p.produce(target, m.value(), partition=m.partition())
                    p.poll(0)
                p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), 10)
                p.commit_transaction(10)
                progress.append(len(got))
        except KafkaException as error:
            progress.append(str(error))
        finally:
            if c is not None:
                c.close()
            del p


@pytest.mark.parametrize("shards", [1, 3])
def test_consume_transform_produce_is_exact_though_the_broker_dies(tmp_path, name, shards):
    broker = Broker(tmp_path / "data", "--shards", str(shards)).start()
    try:
        source, target = f"{name}-in", f"{name}-out"
        make_topic(broker, source, 2)
        make_topic(broker, target, 2)
        total = 600
        p = Producer({"bootstrap.servers": broker.kafka, "enable.idempotence": True})
        for i in range(total):
            p.produce(source, str(i).encode(), partition=i % 2)
        assert p.flush(30) == 0
        stop, progress = threading.Event(), []
        worker = threading.Thread(target=copy, args=(broker, source, target, name, stop, progress))
        worker.start()
        chance = random.Random(7)
        done = lambda: sum(n for n in progress if isinstance(n, int)) >= total  # noqa: E731
        for _ in range(4):
            before = len(progress)
            eventually(lambda: len(progress) > before + 1 or done(), timeout=60)
            time.sleep(chance.random() * 0.05)
            broker.restart()
        committed = lambda: sum(map(len, values(broker, target, 2).values())) >= total  # noqa: E731
        eventually(lambda: done() or committed(), timeout=120, every=0.5)
        stop.set()
        worker.join(60)
        got = values(broker, target, 2)
        for partition in (0, 1):
            assert [int(v) for v in got[partition]] == list(range(partition, total, 2)), progress
    finally:
        broker.kill()


@pytest.mark.parametrize("shards", [1, 3])
def test_no_transaction_is_torn_when_the_broker_dies(tmp_path, name, shards):
    """Each transaction writes its number to every partition."""
    broker = Broker(tmp_path / "data", "--shards", str(shards)).start()
    partitions = 4
    try:
        make_topic(broker, name, partitions)
        committed, n = set(), 0
        chance = random.Random(shards)
        for _ in range(6):
            killer = threading.Timer(0.3 + chance.random(), broker.kill)
            p = transactional(broker, name)
            killer.start()
            try:
                while True:
                    p.begin_transaction()
                    for partition in range(partitions):
                        p.produce(name, str(n).encode(), partition=partition)
                    n += 1
                    p.commit_transaction(1)
                    committed.add(n - 1)
            except KafkaException:
                pass
            killer.join()
            del p
            broker.start()
        # The last to come aborts or completes what is still open.
        transactional(broker, name)
        got = values(broker, name, partitions)
        seen = [[int(v) for v in got[partition]] for partition in range(partitions)]
        assert all(s == seen[0] for s in seen), "torn"
        assert len(set(seen[0])) == len(seen[0]) and committed <= set(seen[0]), committed - set(seen[0])
        assert len(committed) > 10
    finally:
        broker.kill()


def test_amqp_consumers_see_what_is_committed(broker, name):
    make_topic(broker, name)
    connection = pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.amqp_port, heartbeat=0))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=100)
    got, shared = [], []

    def take(into):
        def on_message(ch, method, properties, body):
            into.append(body)
            ch.basic_ack(method.delivery_tag)
        return on_message

    channel.basic_consume(name, take(got), arguments={"x-stream-offset": "first"})
    channel.basic_consume(name, take(shared), arguments={"x-stream-offset": "first", "x-group": "g"})
    p = transactional(broker, name)
    expected = []
    for i in range(10):
        p.begin_transaction()
        p.produce(name, f"{i}".encode())
        if i % 3 == 1:
            p.flush(20)
            p.abort_transaction(20)
        else:
            p.commit_transaction(20)
            expected.append(f"{i}".encode())
    p.begin_transaction()
    p.produce(name, b"open")
    p.flush(20)
    plain = Producer({"bootstrap.servers": broker.kafka})
    plain.produce(name, b"plain")
    plain.flush(20)
    end = time.monotonic() + 20
    while (len(got) < len(expected) or len(shared) < len(expected)) and time.monotonic() < end:
        connection.process_data_events(0.1)
    connection.process_data_events(0.5)
    assert got == expected and shared == expected
    p.abort_transaction(20)
    expected.append(b"plain")
    while (len(got) < len(expected) or len(shared) < len(expected)) and time.monotonic() < end:
        connection.process_data_events(0.1)
    connection.process_data_events(0.3)
    assert got == expected and shared == expected
    connection.close()
