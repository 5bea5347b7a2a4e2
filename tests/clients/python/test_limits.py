"""Quantity: many connections, many queues, slow readers. Memory stays bounded and everybody is served."""

import contextlib
import resource
import socket
import struct
import threading

import pika
import pytest

import raw_amqp
import raw_kafka
from conftest import Broker, eventually
from raw_amqp import Raw, consume, declare

MIB = 1 << 20


@pytest.fixture(autouse=True)
def room_for_many_sockets():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connection(broker):
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.amqp_port, heartbeat=0))


def test_many_idle_connections(own_broker):
    """2000 AMQP and 2000 Kafka connections: 40 KiB each at most, and the next client is served at once."""
    n = 2000
    with contextlib.ExitStack() as stack:
        with connection(own_broker) as first:
            first.channel()
        before = own_broker.rss_bytes()
        for _ in range(n):
            stack.enter_context(Raw(own_broker)).handshake().channel(1)
        for _ in range(n):
            raw = stack.enter_context(raw_kafka.Raw(own_broker))
            assert raw.request(raw_kafka.API_VERSIONS, 0, b"")[:2] == b"\0\0"
        eventually(lambda: own_broker.rss_bytes() - before < 2 * n * 40 * 1024, timeout=10)
        with connection(own_broker) as last:
            last.channel().queue_declare("", exclusive=True)
    eventually(lambda: own_broker.open_files() < 200)


def test_a_flood_of_connections_beyond_the_limit(tmp_path):
    """More than --max-connections: the rest are turned away, those who are in do not notice, and places become free."""
    broker = Broker(tmp_path / "data", "--max-connections", "50").start()
    try:
        with connection(broker) as inside:
            channel = inside.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            flood = [Raw(broker) for _ in range(500)]
            channel.basic_publish("", queue, b"x")
            assert channel.basic_get(queue, auto_ack=True)[2] == b"x"
            [raw.socket.close() for raw in flood]

            def a_place():
                with contextlib.suppress(pika.exceptions.AMQPError, OSError):
                    connection(broker).close()
                    return True

            eventually(a_place)
        kafka = [raw_kafka.Raw(broker) for _ in range(500)]
        [raw.socket.close() for raw in kafka]

        def answered():
            with contextlib.suppress(OSError), raw_kafka.Raw(broker) as raw:
                return raw.request(raw_kafka.API_VERSIONS, 0, b"") is not None

        eventually(answered)
    finally:
        assert broker.stop() == 0


def test_connecting_and_leaving_in_a_hurry(own_broker):
    """3000 connections that come and go at every stage leave nothing behind."""
    before, files = own_broker.rss_bytes(), own_broker.open_files()
    for i in range(1000):
        for step in range(3):
            raw = Raw(own_broker)
            if step > 0:
                raw.send(raw_amqp.HEADER, raw_amqp.start_ok())
            if step > 1:
                raw.send(raw_amqp.tune_ok(), raw_amqp.open_vhost(), raw_amqp.open_channel(1), declare(1, "", 4))
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.socket.close()
    eventually(lambda: own_broker.open_files() <= files + 2)
    assert own_broker.rss_bytes() < before + 64 * MIB


@pytest.mark.parametrize("durable", [True, False])
def test_a_consumer_that_does_not_read(own_broker, name, durable):
    """200 MiB for one that takes nothing: the broker holds a window of it, not all; others on the queue are served."""
    n, size = 2000, 100_000
    with connection(own_broker) as publisher, Raw(own_broker, receive_buffer=4096) as sleeper:
        channel = publisher.channel()
        channel.queue_declare(name, durable=True)
        sleeper.handshake().channel(1)
        sleeper.send(consume(1, name, "sleeper"))
        sleeper.expect(60, 21)
        channel.confirm_delivery()
        body, properties = b"x" * size, pika.BasicProperties(delivery_mode=2 if durable else 1)
        for _ in range(n):
            channel.basic_publish("", name, body, properties)
        assert own_broker.rss_bytes() < 400 * MIB
        sleeper.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sleeper.socket.close()
        # What had been sent its way comes back.
        eventually(lambda: channel.queue_declare(name, passive=True).method.message_count == n)
        with connection(own_broker) as reader:
            c, got = reader.channel(), 0
            c.basic_qos(prefetch_count=50)
            for method, _, body in c.consume(name, inactivity_timeout=20):
                assert method is not None, f"{got} of {n}"
                assert len(body) == size
                c.basic_ack(method.delivery_tag)
                got += 1
                if got == n:
                    break
        assert own_broker.rss_bytes() < 400 * MIB


def test_a_publisher_without_confirms_that_outruns_the_disk(own_broker, name):
    """300 MiB as fast as the socket takes them: nothing is dropped and memory stays bounded."""
    n, size = 3000, 100_000
    peak = 0
    with connection(own_broker) as publisher:
        channel = publisher.channel()
        channel.queue_declare(name, durable=True)
        body, properties = b"x" * size, pika.BasicProperties(delivery_mode=2)
        for i in range(n):
            channel.basic_publish("", name, body, properties)
            if i % 100 == 0:
                peak = max(peak, own_broker.rss_bytes())
        eventually(lambda: channel.queue_declare(name, passive=True).method.message_count == n)
        peak = max(peak, own_broker.rss_bytes())
    assert peak < 300 * MIB


def test_thousands_of_queues(own_broker):
    n = 2000
    with connection(own_broker) as first:
        channel = first.channel()
        for i in range(n):
            channel.queue_declare(f"queue-{i}", durable=True)
        channel.exchange_declare("all", "fanout", durable=True)
        for i in range(n):
            channel.queue_bind(f"queue-{i}", "all", "")
        channel.confirm_delivery()
        channel.basic_publish("all", "", b"to everybody", pika.BasicProperties(delivery_mode=2))
        assert own_broker.rss_bytes() < 200 * MIB
    own_broker.restart(kill=True)
    with connection(own_broker) as second:
        channel = second.channel()
        for i in range(0, n, 100):
            assert channel.basic_get(f"queue-{i}", auto_ack=True)[2] == b"to everybody"
        for i in range(n):
            channel.queue_delete(f"queue-{i}")
        channel.exchange_delete("all")


def test_many_topics_and_partitions(own_broker, name):
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import NewTopic

    admin = KafkaAdminClient(bootstrap_servers=own_broker.kafka)
    topics = [f"{name}-{i}" for i in range(50)]
    admin.create_topics([NewTopic(t, 20, 1) for t in topics])
    producer = KafkaProducer(bootstrap_servers=own_broker.kafka, linger_ms=50)
    for t in topics:
        for partition in range(20):
            producer.send(t, b"x", partition=partition)
    producer.flush()
    consumer = KafkaConsumer(bootstrap_servers=own_broker.kafka, auto_offset_reset="earliest")
    ends = consumer.end_offsets([TopicPartition(t, p) for t in topics for p in range(20)])
    assert set(ends.values()) == {1} and len(ends) == 1000
    consumer.assign(list(ends))
    got = []
    eventually(lambda: got.extend(r for rs in consumer.poll(500).values() for r in rs) or len(got) == 1000, timeout=40)
    producer.close()
    consumer.close()
    admin.close()


def test_many_publishers_at_once(own_broker, name):
    """40 connections publish confirmed messages to one queue; none is lost and each keeps its own order."""
    publishers, each = 40, 50
    with connection(own_broker) as setup:
        setup.channel().queue_declare(name, durable=True)
    failures = []

    def work(i):
        try:
            with connection(own_broker) as c:
                channel = c.channel()
                channel.confirm_delivery()
                for k in range(each):
                    channel.basic_publish("", name, b"%d %d" % (i, k), pika.BasicProperties(delivery_mode=2))
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(publishers)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures
    seen = {i: [] for i in range(publishers)}
    with connection(own_broker) as reader:
        channel = reader.channel()
        for _ in range(publishers * each):
            i, k = map(int, channel.basic_get(name, auto_ack=True)[2].split())
            seen[i].append(k)
    assert all(ks == list(range(each)) for ks in seen.values())
