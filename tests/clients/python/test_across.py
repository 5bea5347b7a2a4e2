"""One log, two protocols: an AMQP queue of type stream is a Kafka topic and the other way round.

The mapping is the one of ARCHITECTURE.md, section "Streams = topics"; nothing else may get lost or be added.
"""

import datetime
import decimal
import os
import struct

import pika
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import raw_amqp
from conftest import RECENT, eventually
from raw_amqp import Raw, content_header, long, publish, short


@pytest.fixture(autouse=True)
def one_broker():
    if os.environ.get("BOWLINE_AMQP") or os.environ.get("BOWLINE_KAFKA"):
        pytest.skip("needs one broker for both protocols")


def connect(broker):
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.amqp_port, heartbeat=0))


@pytest.fixture
def channel(broker):
    connection = connect(broker)
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    if connection.is_open:
        connection.close()


def declare_stream(channel, name):
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "stream"})


def make_topic(broker, name, partitions=1):
    admin = AdminClient({"bootstrap.servers": broker.kafka})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(20)


def produce(broker, topic, *records):
    """Each record: keyword arguments of `Producer.produce`."""
    producer, failed = Producer({"bootstrap.servers": broker.kafka}), []
    for record in records:
        producer.produce(topic, on_delivery=lambda error, _: error and failed.append(error), **record)
    assert producer.flush(20) == 0 and not failed


def fetch(broker, topic, n):
    """The first n records of partition 0."""
    consumer = Consumer({"bootstrap.servers": broker.kafka, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    got = []
    eventually(lambda: got.extend(consumer.consume(n - len(got), 0.2)) or len(got) == n)
    consumer.close()
    assert all(m.error() is None for m in got)
    return got


def read(channel, stream, n, offset="first", prefetch=100):
    """n messages of a stream from an offset on."""
    channel.basic_qos(prefetch_count=prefetch)
    got = []
    tag = channel.basic_consume(stream, lambda c, m, p, b: (got.append((m, p, b)), c.basic_ack(m.delivery_tag)),
                                arguments={"x-stream-offset": offset})
    eventually(lambda: channel.connection.process_data_events(0.05) or len(got) >= n)
    channel.basic_cancel(tag)
    assert len(got) >= n
    return got[:n]


# --- AMQP in, Kafka out ---------------------------------------------------------------------------------------------


def test_a_published_message_is_a_record(broker, channel, name):
    declare_stream(channel, name)
    channel.basic_publish("", name, b"hello")
    channel.basic_publish("", name, b"")
    first, second = fetch(broker, name, 2)
    assert (first.value(), first.key(), first.headers()) == (b"hello", name.encode(), None)
    assert (second.value(), second.offset()) == (b"", 1)
    # Dated by the broker.
    now = datetime.datetime.now().timestamp() * 1000
    assert first.timestamp()[0] == 1 and abs(first.timestamp()[1] - now) < 60_000


def test_every_property_becomes_a_header(broker, channel, name):
    declare_stream(channel, name)
    channel.basic_publish("", name, b"x", pika.BasicProperties(
        content_type="text/plain", content_encoding="utf-8", delivery_mode=2, priority=7, correlation_id="c", reply_to="r",
        message_id="m", timestamp=1_700_000_000, type="t", user_id="guest", app_id="a"))
    (record,) = fetch(broker, name, 1)
    assert dict(record.headers()) == {
        f"bowline.amqp.{name}": value.encode() for name, value in {
            "content-type": "text/plain", "content-encoding": "utf-8", "delivery-mode": "2", "priority": "7",
            "correlation-id": "c", "reply-to": "r", "message-id": "m", "timestamp": "1700000000",
            "type": "t", "user-id": "guest", "app-id": "a"}.items()}


FIELDS = {
    b"S": ("text", long("grüße".encode())),
    b"I": ("int", struct.pack(">i", -42)),
    b"l": ("long", struct.pack(">q", -(2**40))),
    b"i": ("unsigned", struct.pack(">I", 2**32 - 1)),
    b"s": ("small", struct.pack(">h", -2)),
    b"u": ("usmall", struct.pack(">H", 65535)),
    b"b": ("byte", b"\xff"),
    b"B": ("ubyte", b"\xff"),
    b"t": ("bool", b"\x01"),
    b"f": ("float", struct.pack(">f", 1.5)),
    b"d": ("double", struct.pack(">d", -0.1)),
    b"D": ("decimal", b"\x02" + struct.pack(">i", 314)),
    b"T": ("time", struct.pack(">Q", 1_700_000_000)),
    b"x": ("octets", long(b"\x00\xff\x80")),
    b"V": ("void", b""),
    b"A": ("list", long(b"I" + struct.pack(">i", 1) + b"S" + long(b"two"))),
    b"F": ("table", long(short("deep") + b"F" + long(short("er") + b"t\x00"))),
}
# Of the type that becomes a plain header. What is no UTF-8 would come back as octets (x) and keeps its type instead.
LONG_STRINGS = [("empty", b""), ("latin", b"\xe4\xf6")]


def table_of_all_types():
    fields = b"".join(short(key) + tag + value for tag, (key, value) in FIELDS.items())
    return fields + b"".join(short(key) + b"S" + long(value) for key, value in LONG_STRINGS)


def publish_raw(broker, exchange, key, table, body):
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        raw.send(raw_amqp.method(1, 85, 10, b"\0"), publish(1, exchange, key),
                 content_header(1, len(body), 0x2000, long(table)), raw_amqp.body(1, body))
        raw.expect(85, 11)
        raw.expect(60, 80)


def test_every_type_of_field_becomes_a_header(broker, channel, name):
    declare_stream(channel, name)
    publish_raw(broker, "", name, table_of_all_types(), b"x")
    (record,) = fetch(broker, name, 1)
    expected = {f"bowline.amqp.header.{tag.decode()}.{key}": value for tag, (key, value) in FIELDS.items() if tag != b"S"}
    expected["text"] = "grüße".encode()
    expected["empty"] = b""
    expected["bowline.amqp.header.S.latin"] = long(b"\xe4\xf6")
    got = {key: value or b"" for key, value in record.headers()}
    assert got == expected
    assert len(record.headers()) == len(expected)


def test_through_exchanges(broker, channel, name):
    declare_stream(channel, name)
    channel.exchange_declare(name, "topic", auto_delete=True)
    channel.queue_bind(name, name, "orders.#")
    channel.queue_declare(f"{name}-queue", exclusive=True)
    channel.queue_bind(f"{name}-queue", name, "orders.new")
    channel.basic_publish(name, "orders.new", b"1", mandatory=True)
    channel.basic_publish(name, "orders.old", b"2", mandatory=True)
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish(name, "else", b"3", mandatory=True)
    first, second = fetch(broker, name, 2)
    assert (first.key(), first.value(), first.headers()) == (b"orders.new", b"1", [("bowline.amqp.exchange", name.encode())])
    assert (second.key(), second.value()) == (b"orders.old", b"2")
    # The queue beside it got its own copy.
    assert channel.basic_get(f"{name}-queue", auto_ack=True)[2] == b"1"


def test_an_empty_routing_key_is_no_key(broker, channel, name):
    declare_stream(channel, name)
    channel.exchange_declare(name, "fanout", auto_delete=True)
    channel.queue_bind(name, name, "")
    channel.basic_publish(name, "", b"x")
    assert fetch(broker, name, 1)[0].key() is None


# --- Kafka in, AMQP out ---------------------------------------------------------------------------------------------


def test_a_produced_record_is_a_message(broker, channel, name):
    make_topic(broker, name)
    produce(broker, name, dict(value=b"v", key=b"k", timestamp=RECENT + 123, headers=[("h", b"text"), ("octets", b"\x00\xff")]))
    ((method, properties, body),) = read(channel, name, 1)
    assert (method.routing_key, method.exchange, body) == ("k", "", b"v")
    headers = dict(properties.headers)
    assert headers.pop("x-stream-offset") == 0
    # In milliseconds, which AMQP's own timestamp cannot hold.
    assert headers.pop("x-bowline-timestamp") == RECENT + 123
    assert headers == {"h": "text", "octets": b"\x00\xff"}
    assert properties.timestamp is None and properties.delivery_mode in (None, 2)


def test_null_values_null_keys_and_null_headers(broker, channel, name):
    make_topic(broker, name)
    produce(broker, name, dict(value=None, key=b"k"), dict(value=b"", key=None), dict(value=b"x", headers=[("none", None), ("empty", b"")]))
    null, empty, header = read(channel, name, 3)
    assert null[2] == b"" and null[1].headers["x-bowline-null-value"] is True
    assert empty[2] == b"" and "x-bowline-null-value" not in empty[1].headers
    assert empty[0].routing_key == name
    assert header[1].headers["none"] is None and header[1].headers["empty"] == ""


def test_keys_that_are_no_text_and_keys_that_are_too_long(broker, channel, name):
    make_topic(broker, name)
    produce(broker, name, dict(value=b"1", key=b"\x00\xff\xfe"), dict(value=b"2", key=b"k" * 300), dict(value=b"3", key="schlüssel".encode()))
    binary, longer, text = read(channel, name, 3)
    assert binary[0].routing_key == name and binary[1].headers["x-bowline-key"] == b"\x00\xff\xfe"
    assert text[0].routing_key == "schlüssel" and "x-bowline-key" not in text[1].headers
    assert longer[2] == b"2"


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_are_read_over_amqp(broker, channel, name, codec):
    make_topic(broker, name)
    producer = Producer({"bootstrap.servers": broker.kafka, "compression.type": codec, "linger.ms": 50})
    values = [b"%d " % i * 50 for i in range(200)]
    for value in values:
        producer.produce(name, value)
    assert producer.flush(20) == 0
    got = read(channel, name, 200)
    assert [g[2] for g in got] == values
    assert [g[1].headers["x-stream-offset"] for g in got] == list(range(200))


def test_all_partitions_of_a_topic_are_read(broker, channel, name):
    make_topic(broker, name, 3)
    produce(broker, name, *(dict(value=b"%d" % i, partition=i % 3) for i in range(30)))
    got = read(channel, name, 30)
    seen = {(g[1].headers["x-bowline-partition"], g[1].headers["x-stream-offset"]): int(g[2]) for g in got}
    assert seen == {(i % 3, i // 3): i for i in range(30)}


# --- there and back -------------------------------------------------------------------------------------------------


def test_amqp_to_amqp_through_a_stream_is_exact(broker, channel, name):
    """What goes in comes out, octet for octet: all properties, all types of fields, the exchange, the key."""
    declare_stream(channel, name)
    channel.exchange_declare(name, "direct", auto_delete=True)
    channel.queue_bind(name, name, "the key")
    publish_raw(broker, name, "the key", table_of_all_types(), b"the body")
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        raw.send(raw_amqp.qos(1, 10))
        raw.expect(60, 11)
        arguments = short("x-stream-offset") + b"S" + long(b"first")
        raw.send(raw_amqp.method(1, 60, 20, b"\0\0" + short(name) + short("tag") + b"\0" + long(arguments)))
        raw.expect(60, 21)
        deliver = raw.expect(60, 60)
        assert deliver == short("tag") + struct.pack(">Q", 1) + b"\0" + short(name) + short("the key")
        kind, _, header = raw.frame()
        assert kind == raw_amqp.CONTENT_HEADER
        (flags,) = struct.unpack(">H", header[12:14])
        assert flags == 0x2000, "no property but the headers was given"
        fields = split_table(header[14:])
        assert fields.pop("x-stream-offset")[0:1] in (b"l", b"L")
        assert fields == {key: tag + value for tag, (key, value) in FIELDS.items()} | {
            key: b"S" + long(value) for key, value in LONG_STRINGS}
        assert raw.frame()[2] == b"the body"


def split_table(table):
    """Field name → type and value as they stand in the octets."""
    sizes = {b"I": 4, b"l": 8, b"i": 4, b"s": 2, b"u": 2, b"b": 1, b"B": 1, b"t": 1, b"f": 4, b"d": 8, b"D": 5, b"T": 8, b"V": 0, b"L": 8}
    (size,) = struct.unpack(">I", table[:4])
    assert size == len(table) - 4
    at, fields = 4, {}
    while at < len(table):
        n = table[at]
        key, tag = table[at + 1 : at + 1 + n].decode(), table[at + 1 + n : at + 2 + n]
        at += 2 + n
        length = sizes[tag] if tag in sizes else 4 + struct.unpack(">I", table[at : at + 4])[0]
        fields[key] = tag + table[at : at + length]
        at += length
    return fields


def test_properties_come_back_through_a_stream(broker, channel, name):
    declare_stream(channel, name)
    sent = pika.BasicProperties(
        content_type="text/plain", content_encoding="utf-8", headers={"n": decimal.Decimal("3.14"), "a": [1, {"b": None}]},
        delivery_mode=2, priority=7, correlation_id="c", reply_to="r", message_id="m",
        timestamp=1_700_000_000, type="t", user_id="guest", app_id="a")
    channel.basic_publish("", name, b"x", sent)
    ((method, got, body),) = read(channel, name, 1)
    assert body == b"x" and method.routing_key == name
    for field in ("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to",
                  "message_id", "timestamp", "type", "user_id", "app_id"):
        assert getattr(got, field) == getattr(sent, field), field
    assert {k: v for k, v in got.headers.items() if k != "x-stream-offset"} == sent.headers


def test_both_write_and_both_read_the_same_order(broker, channel, name):
    declare_stream(channel, name)
    for i in range(0, 50, 2):
        channel.basic_publish("", name, b"%d" % i)
        produce(broker, name, dict(value=b"%d" % (i + 1)))
    expected = [b"%d" % i for i in range(50)]
    assert [g[2] for g in read(channel, name, 50)] == expected
    assert [m.value() for m in fetch(broker, name, 50)] == expected


# --- streams as AMQP sees them --------------------------------------------------------------------------------------


def test_reading_takes_nothing_away(broker, channel, name):
    declare_stream(channel, name)
    for i in range(20):
        channel.basic_publish("", name, b"%d" % i)
    for _ in range(2):
        assert [g[2] for g in read(channel, name, 20)] == [b"%d" % i for i in range(20)]
    assert not read(channel, name, 1)[0][0].redelivered


@pytest.mark.parametrize("offset, first", [("first", 0), (7, 7), ("last", None), ("next", None)])
def test_where_a_reader_begins(broker, channel, name, offset, first):
    declare_stream(channel, name)
    for i in range(10):
        channel.basic_publish("", name, b"%d" % i)
    channel.basic_qos(prefetch_count=100)
    got = []
    channel.basic_consume(name, lambda c, m, p, b: got.append(int(b)), arguments={"x-stream-offset": offset})
    channel.basic_publish("", name, b"10")
    eventually(lambda: channel.connection.process_data_events(0.05) or 10 in got)
    if offset == "next":
        assert got == [10]
    elif offset == "last":
        assert got[0] > 0 and got == list(range(got[0], 11))
    else:
        assert got == list(range(first, 11))


def test_credit_bounds_a_stream_reader(broker, channel, name):
    declare_stream(channel, name)
    for i in range(30):
        channel.basic_publish("", name, b"%d" % i)
    channel.basic_qos(prefetch_count=5)
    got = []
    channel.basic_consume(name, lambda c, m, p, b: got.append((m.delivery_tag, int(b))), arguments={"x-stream-offset": "first"})
    eventually(lambda: channel.connection.process_data_events(0.05) or len(got) >= 5)
    channel.connection.process_data_events(0.3)
    assert [n for _, n in got] == list(range(5))
    channel.basic_ack(got[-1][0], multiple=True)
    eventually(lambda: channel.connection.process_data_events(0.05) or len(got) >= 10)
    assert [n for _, n in got] == list(range(10))


def test_what_streams_refuse(broker, name):
    """As RabbitMQ's streams do; with its codes."""
    with connect(broker) as connection:
        declare_stream(connection.channel(), name)

    def refused(action):
        connection = connect(broker)
        with pytest.raises((pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker)) as closed:
            channel = connection.channel()
            action(channel)
            channel.queue_declare("", exclusive=True)
        if connection.is_open:
            connection.close()
        return closed.value.reply_code

    stream = {"x-queue-type": "stream"}
    assert refused(lambda c: c.basic_get(name)) == 540
    assert refused(lambda c: c.queue_purge(name)) == 540
    assert refused(lambda c: (c.basic_qos(prefetch_count=1), c.basic_consume(name, lambda *_: None, auto_ack=True))) == 540
    assert refused(lambda c: c.basic_consume(name, lambda *_: None)) == 406
    assert refused(lambda c: c.queue_declare(f"{name}-x", durable=False, arguments=stream)) == 406
    assert refused(lambda c: c.queue_declare(f"{name}-x", durable=True, exclusive=True, arguments=stream)) == 406
    assert refused(lambda c: c.queue_declare(f"{name}-x", durable=True, auto_delete=True, arguments=stream)) == 406
    assert refused(lambda c: c.queue_declare(name, durable=True)) == 406


def test_declaring_and_deleting_is_seen_by_both(broker, channel, name):
    admin = AdminClient({"bootstrap.servers": broker.kafka})
    declare_stream(channel, name)
    assert len(admin.list_topics(name, timeout=10).topics[name].partitions) == 1
    channel.queue_delete(name)
    eventually(lambda: name not in admin.list_topics(timeout=10).topics)
    make_topic(broker, name, 2)
    channel.queue_declare(name, passive=True)
    admin.delete_topics([name])[name].result(10)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare(name, passive=True)
    assert closed.value.reply_code == 404


def test_a_stream_survives_a_kill(own_broker, name):
    with connect(own_broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        declare_stream(channel, name)
        for i in range(100):
            channel.basic_publish("", name, b"%d" % i, pika.BasicProperties(headers={"i": i}))
    produce(own_broker, name, *(dict(value=b"%d" % i) for i in range(100, 200)))
    own_broker.restart(kill=True)
    assert [int(m.value()) for m in fetch(own_broker, name, 200)] == list(range(200))
    with connect(own_broker) as connection:
        got = read(connection.channel(), name, 200)
        assert [int(g[2]) for g in got] == list(range(200))
        assert [g[1].headers["i"] for g in got[:100]] == list(range(100))
