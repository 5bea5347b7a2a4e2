"""Compacted topics as their users see them: a table that is rebuilt from a topic, tombstones, every compression."""

import pika
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType)
from kafka import KafkaConsumer

from conftest import eventually

# Compacted as soon as anything can be.
EAGER = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"}


def make(broker, name, **config):
    admin = AdminClient({"bootstrap.servers": broker.kafka})
    config = {k.replace("_", "."): v for k, v in config.items()}
    admin.create_topics([NewTopic(name, 1, 1, config={**EAGER, **config})])[name].result(20)
    return admin


def send(broker, topic, records, **options):
    """Key and value pairs; all are confirmed."""
    p = Producer({"bootstrap.servers": broker.kafka, "linger.ms": 5, **{k.replace("_", "."): v for k, v in options.items()}})
    failures = []
    for key, value in records:
        p.produce(topic, key=key, value=value, on_delivery=lambda error, _: error and failures.append(error))
        p.poll(0)
    assert p.flush(60) == 0
    assert not failures, failures


def rows(broker, topic, isolation="read_committed"):
    """Offset, key and value of everything that is there."""
    c = Consumer({"bootstrap.servers": broker.kafka, "group.id": "rows", "enable.auto.commit": False,
                  "isolation.level": isolation, "enable.partition.eof": True})
    c.assign([TopicPartition(topic, 0, 0)])
    found = []
    while True:
        message = c.poll(20)
        assert message is not None, "the end does not come"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF
            c.close()
            return found
        found.append((message.offset(), message.key(), message.value()))


def table(found):
    latest = {key: value for _, key, value in found}
    return {key: value for key, value in latest.items() if value is not None}


def compacted(broker, topic, keys):
    """Waits until there is one record a key at most, in ascending order of offsets."""
    def once():
        found = rows(broker, topic)
        offsets = [offset for offset, _, _ in found]
        assert offsets == sorted(set(offsets))
        return found if len(found) <= keys else None

    return eventually(once, timeout=90)


def test_a_table_survives_compaction_and_kill_9(own_broker):
    broker = own_broker
    make(broker, "t-table")
    expected = {}
    for round in range(4):
        changes = [(b"k%d" % (n % 500), b"%d-%d" % (round, n)) for n in range(3_000)]
        send(broker, "t-table", changes, compression_type="lz4")
        expected.update(changes)
        assert table(rows(broker, "t-table")) == expected
        if round == 1:
            assert table(compacted(broker, "t-table", 500)) == expected
        broker.restart()
        assert table(rows(broker, "t-table")) == expected
    found = compacted(broker, "t-table", 500)
    assert table(found) == expected
    # The last 500 of 12,000: nothing has another offset than it had.
    assert [offset for offset, _, _ in found] == list(range(11_500, 12_000))
    broker.restart()
    assert rows(broker, "t-table")[-1][0] == 11_999
    send(broker, "t-table", [(b"new", b"1")])
    assert rows(broker, "t-table")[-1] == (12_000, b"new", b"1")


def test_what_has_no_key_goes_when_a_topic_becomes_compacted(own_broker):
    broker = own_broker
    admin = make(broker, "t-becomes", cleanup_policy="delete")
    send(broker, "t-becomes", [(b"k", b"1"), (None, b"nobody's"), (b"l", b"2"), (None, b"nobody's"), (b"k", b"3")])
    assert len(rows(broker, "t-becomes")) == 5
    compact = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, "t-becomes", incremental_configs=[compact])
    admin.incremental_alter_configs([topic])[topic].result(20)
    assert compacted(broker, "t-becomes", 2) == [(2, b"l", b"2"), (4, b"k", b"3")]


def test_transactions_are_compacted_when_they_are_decided(own_broker):
    broker = own_broker
    make(broker, "t-txn", delete_retention_ms="1000")

    def producer(name):
        p = Producer({"bootstrap.servers": broker.kafka, "transactional.id": name,
                      "metadata.recovery.strategy": "none"})
        p.init_transactions(30)
        return p

    expected = {}

    def transact(p, n, commit):
        p.begin_transaction()
        changes = [(b"k%d" % (i % 20), b"%d-%d-%s" % (n, i, b"kept" if commit else b"lost")) for i in range(50)]
        changes.append((b"k%d" % (n % 20), None))
        for key, value in changes + [(b"aborted", b"lost")] * (not commit):
            p.produce("t-txn", key=key, value=value)
        if commit:
            p.commit_transaction(30)
            expected.update(changes)
        else:
            p.flush(30)
            p.abort_transaction(30)

    def is_right():
        assert table(rows(broker, "t-txn")) == {key: value for key, value in expected.items() if value is not None}

    def clean():
        """Everything that is there, once nothing is that was aborted or superseded."""
        found = rows(broker, "t-txn", "read_uncommitted")
        return found if len(found) <= 21 and not any(value and b"lost" in value for _, _, value in found) else None

    p = producer("table")
    for n in range(20):
        transact(p, n, commit=n % 3 != 1)
    is_right()
    # What is open supersedes nothing, and is itself kept.
    other = producer("other")
    other.begin_transaction()
    other.produce("t-txn", key=b"k0", value=b"open")
    other.flush(30)
    is_right()
    broker.restart()  # and so it is compacted at once, however little it has rested
    assert eventually(lambda: len(found := rows(broker, "t-txn", "read_uncommitted")) <= 22 and found, timeout=90)[-1][2] == b"open"
    is_right()
    other.abort_transaction(30)
    # The producer goes on where it was, and so do readers after a crash.
    transact(p, 20, commit=True)
    broker.restart()
    assert eventually(clean, timeout=90)
    is_right()
    # A kill may bring back what no checkpoint knows to be gone: then it does not count any more than before.
    broker.restart()
    is_right()
    for n in (21, 22):
        transact(p, n, commit=n == 22)
    is_right()


def test_tombstones_vanish(own_broker):
    broker = own_broker
    make(broker, "t-tomb", delete_retention_ms="1000")
    send(broker, "t-tomb", [(b"a", b"1"), (b"b", b"2"), (b"a", None), (b"c", b"3")])
    assert table(rows(broker, "t-tomb")) == {b"b": b"2", b"c": b"3"}
    left = eventually(lambda: (lambda found: found if len(found) == 2 else None)(rows(broker, "t-tomb")), timeout=90)
    assert left == [(1, b"b", b"2"), (3, b"c", b"3")]


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_compacted_batches_of_every_compression(broker, compression):
    topic = "t-c-" + compression
    make(broker, topic)
    changes = [(b"k%d" % (n % 40), b"v%d" % n * 20) for n in range(400)]
    send(broker, topic, changes, compression_type=compression)
    found = compacted(broker, topic, 40)
    assert table(found) == dict(changes)
    python = KafkaConsumer(topic, bootstrap_servers=broker.kafka, auto_offset_reset="earliest", consumer_timeout_ms=5_000)
    assert [(m.offset, m.key, m.value) for m in python] == found
    python.close()
    # And over AMQP, from any offset on.
    with pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.amqp_port)) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=100)
        arguments = {"x-stream-offset": 380}
        got = []
        for method, properties, body in channel.consume(topic, arguments=arguments, inactivity_timeout=20):
            assert method, "nothing came"
            got.append((properties.headers["x-stream-offset"], method.routing_key.encode(), body))
            channel.basic_ack(method.delivery_tag)
            if got[-1][0] == found[-1][0]:
                break
        assert got == [row for row in found if row[0] >= 380]


def test_records_without_keys_are_refused(broker):
    make(broker, "t-keyless")
    failures = []
    p = Producer({"bootstrap.servers": broker.kafka})
    p.produce("t-keyless", b"no key", on_delivery=lambda error, _: failures.append(error))
    p.flush(20)
    assert failures[0].code() == KafkaError.INVALID_RECORD
    send(broker, "t-keyless", [(b"k", b"v")])


def test_messages_without_keys_are_nacked(broker):
    make(broker, "t-keyless-amqp", compression_type="zstd")
    with pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.amqp_port)) as connection:
        channel = connection.channel()
        channel.exchange_declare("t-keyless", "fanout", auto_delete=True)
        channel.queue_bind("t-keyless-amqp", "t-keyless")
        beside = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(beside, "t-keyless")
        channel.confirm_delivery()
        channel.basic_publish("t-keyless", "k1", b"1")
        with pytest.raises(pika.exceptions.NackError):
            channel.basic_publish("t-keyless", "", b"2")
        channel.basic_publish("t-keyless", "k2", b"3")
        assert [channel.basic_get(beside, auto_ack=True)[2] for _ in range(3)] == [b"1", b"2", b"3"]
        transaction = connection.channel()
        transaction.tx_select()
        transaction.basic_publish("t-keyless", "k3", b"4")
        transaction.basic_publish("t-keyless", "", b"5")
        with pytest.raises(pika.exceptions.ChannelClosedByBroker):
            transaction.tx_commit()
        assert channel.basic_get(beside, auto_ack=True)[0] is None
    assert [(key, value) for _, key, value in rows(broker, "t-keyless-amqp")] == [(b"k1", b"1"), (b"k2", b"3")]


def test_a_live_topic_changes_its_policy(broker):
    admin = make(broker, "t-switch", cleanup_policy="delete")
    send(broker, "t-switch", [(b"k%d" % (n % 10), b"%d" % n) for n in range(100)])
    assert len(rows(broker, "t-switch")) == 100

    def configure(operation, value):
        entry = ConfigEntry("cleanup.policy", value, incremental_operation=operation)
        resource = ConfigResource(ResourceType.TOPIC, "t-switch", incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(20)

    configure(AlterConfigOpType.APPEND, "compact")
    described = ConfigResource(ResourceType.TOPIC, "t-switch")
    assert admin.describe_configs([described])[described].result(20)["cleanup.policy"].value == "delete,compact"
    found = compacted(broker, "t-switch", 10)
    assert [offset for offset, _, _ in found] == list(range(90, 100))
    configure(AlterConfigOpType.SUBTRACT, "compact")
    send(broker, "t-switch", [(b"k1", b"again"), (b"k1", b"and again")])
    assert len(rows(broker, "t-switch")) == 12


def test_acks_all_wants_the_replicas_that_the_topic_says(broker):
    make(broker, "t-isr", min_insync_replicas="2", cleanup_policy="delete")
    send(broker, "t-isr", [(b"k", b"v")], acks="1")
    with pytest.raises(AssertionError):
        send(broker, "t-isr", [(b"k", b"v")], acks="all", message_timeout_ms=3_000)
    assert len(rows(broker, "t-isr")) == 1
