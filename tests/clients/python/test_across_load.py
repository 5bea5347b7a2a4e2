"""Both dialects on one stream while the broker is killed again and again: what was confirmed over either is there once,
in one order, the same for readers of both, with types and headers exact. And batches of other clients, read over AMQP."""

import asyncio
import itertools
import threading
import time

import pika
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer, TopicPartition
from kafka import KafkaProducer

from conftest import eventually
from test_across import connect, declare_stream, fetch, make_topic, one_broker, read  # noqa: F401

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
KILLS = 3


class Publisher(threading.Thread):
    """Publishes over AMQP into an exchange, one confirmed message after the other, whatever happens to the broker."""

    def __init__(self, broker, exchange, key, stop):
        super().__init__(daemon=True)
        self.broker, self.exchange, self.key, self.stop = broker, exchange, key, stop
        self.confirmed, self.sent = [], 0

    def run(self):
        while not self.stop.is_set():
            try:
                with connect(self.broker) as connection:
                    channel = connection.channel()
                    channel.confirm_delivery()
                    while not self.stop.is_set():
                        number, self.sent = self.sent, self.sent + 1
                        headers = {"n": number, "text": f"grüße {number}", "flag": number % 2 == 0, "nothing": None}
                        channel.basic_publish(self.exchange, self.key, b"amqp %d" % number,
                                              pika.BasicProperties(headers=headers, delivery_mode=2, message_id=str(number)), mandatory=True)
                        self.confirmed.append(number)
            except (pika.exceptions.AMQPError, OSError):
                time.sleep(0.02)


class Writer(threading.Thread):
    """An idempotent Kafka producer with a codec; it retries by itself."""

    def __init__(self, broker, topic, codec, stop):
        super().__init__(daemon=True)
        self.codec, self.stop, self.topic = codec, stop, topic
        self.producer = Producer({"bootstrap.servers": broker.kafka, "enable.idempotence": True, "compression.type": codec, "linger.ms": 5,
                                  "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20, "message.timeout.ms": 60_000})
        self.confirmed, self.failed = [], []

    def run(self):
        for number in itertools.count():
            if self.stop.is_set():
                break
            value = b"%s %d" % (self.codec.encode(), number)
            self.producer.produce(self.topic, value, key=self.codec, headers=[("n", b"%d" % number), ("raw", b"\xff\x00"), ("none", None)],
                                  on_delivery=lambda error, message, number=number: (self.failed if error else self.confirmed).append(number))
            self.producer.poll(0)
            time.sleep(0.001)
        assert self.producer.flush(60) == 0


def test_both_dialects_under_kills(own_broker, name):
    with connect(own_broker) as connection:
        channel = connection.channel()
        declare_stream(channel, name)
        channel.exchange_declare(name, "topic", durable=True)
        channel.queue_bind(name, name, "orders.#")
    stop = threading.Event()
    publisher = Publisher(own_broker, name, "orders.new", stop)
    writers = [Writer(own_broker, name, codec, stop) for codec in CODECS]
    workers = [publisher, *writers]
    [worker.start() for worker in workers]
    for _ in range(KILLS):
        before = [len(worker.confirmed) for worker in workers]
        # Everybody has got on before the next kill.
        eventually(lambda: all(len(worker.confirmed) > count + 20 for worker, count in zip(workers, before)), timeout=40)
        own_broker.restart(kill=True)
    eventually(lambda: len(publisher.confirmed) > 100, timeout=40)
    stop.set()
    [worker.join(70) for worker in workers]
    assert not any(worker.is_alive() for worker in workers) and not any(writer.failed for writer in writers)

    end = end_of(own_broker, name)
    records = fetch(own_broker, name, end)
    assert [record.offset() for record in records] == list(range(end))
    with connect(own_broker) as connection:
        messages = read(connection.channel(), name, end, prefetch=1000)
    assert [body for _, _, body in messages] == [record.value() for record in records], "one order for both"
    assert [properties.headers["x-stream-offset"] for _, properties, _ in messages] == list(range(end))

    seen = {}
    for (method, properties, body), record in zip(messages, records):
        origin, number = body.split()
        number = int(number)
        seen.setdefault(origin.decode(), []).append(number)
        headers = {key: value for key, value in properties.headers.items() if not key.startswith("x-")}
        if origin == b"amqp":
            assert headers == {"n": number, "text": f"grüße {number}", "flag": number % 2 == 0, "nothing": None}
            assert (properties.message_id, method.routing_key, method.exchange) == (str(number), "orders.new", name)
            assert dict(record.headers())["bowline.amqp.message-id"] == str(number).encode() and record.key() == b"orders.new"
        else:
            assert headers == {"n": str(number).encode().decode(), "raw": b"\xff\x00", "none": None}
            assert method.routing_key == origin.decode()
    for writer in writers:
        assert seen[writer.codec] == sorted(writer.confirmed), f"{writer.codec}: once, and in order"
    # A message whose confirm was lost may be there: then once, for it was not sent again.
    assert seen["amqp"] == sorted(set(seen["amqp"])) and set(publisher.confirmed) <= set(seen["amqp"])


def end_of(broker, topic):
    from confluent_kafka import Consumer
    consumer = Consumer({"bootstrap.servers": broker.kafka, "group.id": "none"})
    try:
        return eventually(lambda: consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10))[1]
    finally:
        consumer.close()


# --- batches of other clients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS[1:])
@pytest.mark.parametrize("client", ["kafka-python", "aiokafka"])
def test_batches_of_several_clients_are_read_over_amqp(broker, name, client, codec):
    make_topic(broker, name)
    values = [b"%d " % i * 40 for i in range(100)]
    headers = [("h", b"text"), ("raw", b"\x00\xff")]
    if client == "kafka-python":
        producer = KafkaProducer(bootstrap_servers=broker.kafka, compression_type=codec, linger_ms=50)
        futures = [producer.send(name, value, key=b"k", headers=headers) for value in values]
        [future.get(20) for future in futures]
        producer.close()
    else:
        async def run():
            producer = AIOKafkaProducer(bootstrap_servers=broker.kafka, compression_type=codec, linger_ms=50)
            await producer.start()
            try:
                for future in [await producer.send(name, value, key=b"k", headers=headers) for value in values]:
                    await future
            finally:
                await producer.stop()

        asyncio.run(run())
    with connect(broker) as connection:
        got = read(connection.channel(), name, len(values))
    assert [body for _, _, body in got] == values
    for at, (method, properties, _) in enumerate(got):
        assert method.routing_key == "k" and properties.headers["x-stream-offset"] == at
        assert properties.headers["h"] == "text" and properties.headers["raw"] == b"\x00\xff"


# --- names ----------------------------------------------------------------------------------------------------------


def test_names_that_kafka_does_not_have_are_not_shown_to_it(broker, name):
    """A stream may have any name of AMQP's; to Kafka it is not there, rather than there under another name."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": broker.kafka})
    with connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        strange = f"{name} with spaces / and ü"
        declare_stream(channel, strange)
        channel.basic_publish("", strange, b"x")
        channel.queue_declare(f"{name}-queue", durable=True)
        shown = admin.list_topics(timeout=10).topics
        assert not any(topic.startswith(f"{name} ") for topic in shown) and f"{name}-queue" not in shown
        assert [body for _, _, body in read(channel, strange, 1)] == [b"x"]
        # The name of a queue that is no stream is taken.
        with pytest.raises(KafkaException) as refused:
            admin.create_topics([NewTopic(f"{name}-queue", 1, 1)])[f"{name}-queue"].result(10)
        assert refused.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
        channel.queue_delete(strange)
        channel.queue_delete(f"{name}-queue")
