"""Consumers that share a stream by `x-group`: each message goes to one of them, and is settled by itself."""

import os
import time

import pika
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from conftest import eventually


@pytest.fixture(autouse=True)
def bowline_only():
    if os.environ.get("BOWLINE_AMQP") or os.environ.get("BOWLINE_KAFKA"):
        pytest.skip("no other broker has this")


def connect(broker):
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.amqp_port, heartbeat=0))


class Member:
    """A consumer of a group, on a connection of its own. Keeps what it gets until told what to do with it."""

    def __init__(self, broker, stream, group, prefetch=10, **arguments):
        self.connection = connect(broker)
        self.channel = self.connection.channel()
        self.channel.basic_qos(prefetch_count=prefetch)
        self.got = []
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.tag = self.channel.basic_consume(stream, self.keep, arguments={"x-group": group, **arguments})

    def keep(self, channel, method, properties, body):
        self.got.append((method, properties, body.decode()))

    def turn(self):
        self.connection.process_data_events(0.02)

    def bodies(self):
        return [body for _, _, body in self.got]

    def ack_all(self):
        """Acknowledges what it has; the bodies."""
        self.turn()
        got, self.got = self.got, []
        for method, _, _ in got:
            self.channel.basic_ack(method.delivery_tag)
        return [body for _, _, body in got]


def declare(broker, name, partitions=1):
    connection = connect(broker)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "stream", "x-partitions": partitions})
    return channel


def publish(channel, name, bodies):
    for body in bodies:
        channel.basic_publish("", name, body)


def numbers(n, start=0):
    return [f"{i:04}" for i in range(start, n)]


def drain(members, n):
    """Acknowledges until n messages have come; who got what."""
    got = [[] for _ in members]

    def enough():
        for own, member in zip(got, members):
            own += member.ack_all()
        return sum(map(len, got)) >= n

    eventually(enough)
    return got


def test_two_consumers_share(broker, name):
    channel = declare(broker, name)
    members = [Member(broker, name, "g"), Member(broker, name, "g")]
    publish(channel, name, numbers(200))
    got = drain(members, 200)
    assert sorted(got[0] + got[1]) == numbers(200)
    assert got[0] and got[1]
    assert got[0] == sorted(got[0]) and got[1] == sorted(got[1])


def test_groups_and_readers_are_independent(broker, name):
    channel = declare(broker, name)
    publish(channel, name, numbers(50))
    one = Member(broker, name, "one", x_stream_offset="first")
    two = Member(broker, name, "two", x_stream_offset="first")
    assert drain([one], 50) == [numbers(50)]
    assert drain([two], 50) == [numbers(50)]
    reader = connect(broker).channel()
    reader.basic_qos(prefetch_count=100)
    seen = []
    reader.basic_consume(name, lambda c, m, p, b: seen.append(b.decode()), arguments={"x-stream-offset": "first"})
    eventually(lambda: reader.connection.process_data_events(0.02) or seen == numbers(50))


@pytest.mark.parametrize("offset,expected", [("first", 0), ("next", 10), (4, 4), ("last", 9)])
def test_where_a_group_begins(broker, name, offset, expected):
    channel = declare(broker, name)
    publish(channel, name, numbers(10))
    member = Member(broker, name, "g", 100, x_stream_offset=offset)
    publish(channel, name, numbers(12, 10))
    assert drain([member], 12 - expected) == [numbers(12, expected)]


def test_what_is_nacked_comes_back_to_somebody(broker, name):
    channel = declare(broker, name)
    publish(channel, name, numbers(3))
    member = Member(broker, name, "g", x_stream_offset="first")
    eventually(lambda: member.turn() or len(member.got) == 3)
    assert not any(method.redelivered for method, _, _ in member.got)
    assert all("x-delivery-count" not in properties.headers for _, properties, _ in member.got)
    first = member.got.pop(0)
    member.channel.basic_nack(first[0].delivery_tag, requeue=True)
    eventually(lambda: member.turn() or len(member.got) == 3)
    method, properties, body = member.got.pop()
    assert method.redelivered and body == "0000" and properties.headers["x-delivery-count"] == 1
    member.channel.basic_reject(method.delivery_tag, requeue=False)
    # The rest goes to another when the channel ends.
    other = Member(broker, name, "g")
    member.connection.close()
    eventually(lambda: other.turn() or len(other.got) == 2)
    assert other.bodies() == ["0001", "0002"] and all(method.redelivered for method, _, _ in other.got)


def test_a_delivery_limit_archives(broker, name):
    channel = declare(broker, name)
    publish(channel, name, numbers(2))
    member = Member(broker, name, "g", 1, x_stream_offset="first", x_delivery_limit=2)
    seen = []

    def reject_the_first():
        member.turn()
        while member.got:
            method, _, body = member.got.pop()
            seen.append(body)
            if body == "0000":
                member.channel.basic_nack(method.delivery_tag, requeue=True)
        return "0001" in seen

    eventually(reject_the_first)
    assert seen == ["0000"] * 3 + ["0001"]


def test_what_is_nacked_may_have_to_wait(broker, name):
    channel = declare(broker, name)
    publish(channel, name, numbers(2))
    member = Member(broker, name, "g", 1, x_stream_offset="first", x_retry_delay=1500)
    eventually(lambda: member.turn() or member.bodies() == ["0000"])
    nacked = time.monotonic()
    member.channel.basic_nack(member.got.pop()[0].delivery_tag, requeue=True)
    # Meanwhile it gets others.
    assert drain([member], 1) == [["0001"]]
    assert drain([member], 1) == [["0000"]]
    assert time.monotonic() - nacked >= 1.5


def test_progress_survives_a_kill(own_broker, name):
    channel = declare(own_broker, name)
    publish(channel, name, numbers(30))
    member = Member(own_broker, name, "g", 20, x_stream_offset="first")
    eventually(lambda: member.turn() or len(member.got) == 20)
    # Every other one of what it has; then its further deliveries show that the broker has heard.
    acked = member.bodies()[::2]
    nacked = member.got[1]
    for method, _, _ in member.got[::2]:
        member.channel.basic_ack(method.delivery_tag)
    member.channel.basic_nack(nacked[0].delivery_tag, requeue=True)
    eventually(lambda: member.turn() or len(member.got) == 31)
    # A confirmed publish is in a later block than the acknowledgements.
    publish(channel, name, ["last"])
    own_broker.restart(kill=True)

    member = Member(own_broker, name, "g", 100)
    eventually(lambda: member.turn() or len(member.got) == 21)
    assert sorted(member.bodies()) == sorted(set(numbers(30)) - set(acked)) + ["last"]
    flags = {body: method.redelivered for method, _, body in member.got}
    assert all(flags[body] for body in numbers(30) if body not in acked), "what was delivered before is flagged"
    counts = {body: properties.headers.get("x-delivery-count") for _, properties, body in member.got}
    assert counts[nacked[2]] == 1
    member.ack_all()
    publish(declare(own_broker, name), name, ["new"])
    eventually(lambda: member.turn() or member.bodies() == ["new"])
    assert not member.got[0][0].redelivered


def test_kills_lose_nothing_and_undo_no_acknowledgement(own_broker, name):
    channel = declare(own_broker, name, 2)
    channel.queue_bind(name, "amq.topic", "#")
    for n in numbers(800):
        channel.basic_publish("amq.topic", n, n)
    acked, held = [], set()
    for _ in range(4):
        members = [Member(own_broker, name, "g", 30, x_stream_offset="first") for _ in range(2)]
        for own in drain(members, 80):
            acked += filter(None, own)
        eventually(lambda: [member.turn() for member in members] and all(member.got for member in members))
        # A round trip shows that the broker has heard the acknowledgements; what is confirmed behind them, on both
        # partitions, that they are in the log.
        for member in members:
            member.channel.basic_qos(prefetch_count=30)
        held = {body for member in members for body in member.bodies()} - {""}
        channel = connect(own_broker).channel()
        channel.confirm_delivery()
        for n in numbers(8):
            channel.basic_publish("amq.topic", n, "")
        own_broker.restart(kill=True)
    member = Member(own_broker, name, "g", 1000)
    eventually(lambda: member.turn() or len({body for body in member.bodies() + acked if body}) == 800)
    got = list(filter(None, member.bodies()))
    assert not set(got) & set(acked), "nothing acknowledged comes again"
    assert len(got + acked) == 800
    assert {body for method, _, body in member.got if method.redelivered} >= held


def test_a_group_on_a_topic_with_partitions(broker, name):
    admin = KafkaAdminClient(bootstrap_servers=broker.kafka)
    admin.create_topics([NewTopic(name, 3, 1)])
    members = [Member(broker, name, "g", 5, x_stream_offset="first") for _ in range(3)]
    producer = KafkaProducer(bootstrap_servers=broker.kafka)
    for n in numbers(300):
        producer.send(name, n.encode(), key=n.encode())
    producer.flush()
    got = drain(members, 300)
    assert sorted(sum(got, [])) == numbers(300)
    assert all(got)
    producer.close()
    admin.close()


def test_a_record_held_for_too_long_goes_to_another(broker, name):
    channel = declare(broker, name)
    publish(channel, name, ["x"])
    slow = Member(broker, name, "g", x_stream_offset="first", x_consumer_timeout=500)
    eventually(lambda: slow.turn() or slow.bodies() == ["x"])
    cancelled = []
    slow.channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    other = Member(broker, name, "g")
    eventually(lambda: other.turn() or other.bodies() == ["x"])
    assert other.got[0][0].redelivered
    eventually(lambda: slow.turn() or cancelled == [slow.tag])


def test_deleting_the_stream_cancels_and_forgets(broker, name):
    channel = declare(broker, name)
    publish(channel, name, numbers(3))
    member = Member(broker, name, "g", x_stream_offset="first")
    drain([member], 3)
    cancelled = []
    member.channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    channel.queue_delete(name)
    eventually(lambda: member.turn() or cancelled == [member.tag])
    channel = declare(broker, name)
    publish(channel, name, numbers(2))
    assert drain([Member(broker, name, "g", x_stream_offset="first")], 2) == [numbers(2)]


def test_large_messages_and_a_backlog(broker, name):
    channel = declare(broker, name)
    bodies = [f"{i:04}" + "x" * 100_000 for i in range(60)]
    publish(channel, name, bodies)
    members = [Member(broker, name, "g", 4, x_stream_offset="first") for _ in range(2)]
    got = drain(members, 60)
    assert sorted(got[0] + got[1]) == bodies
