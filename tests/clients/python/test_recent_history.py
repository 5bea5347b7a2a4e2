"""Exchanges of type x-recent-history: what is bound gets the last messages that went through.

Against RabbitMQ: enable rabbitmq_recent_history_exchange there.
"""

import pika
import pytest

from conftest import eventually
from test_lifetimes import bodies, ready
from test_pika import channel, connect, connection, persistent  # noqa: F401 (fixtures)


def listen(channel, exchange, queue, count):
    """Binds a new queue and gives what it got by that."""
    channel.queue_declare(queue, exclusive=True)
    channel.queue_bind(queue, exchange, "")
    eventually(lambda: ready(channel, queue) == count)
    return bodies(channel, queue)


def test_a_newly_bound_queue_gets_the_last_messages_in_order(broker, channel, name):
    channel.exchange_declare(name, "x-recent-history", auto_delete=True, arguments={"x-recent-history-length": 3})
    for i in range(5):
        channel.basic_publish(name, f"key {i}", str(i), persistent() if i % 2 else None)
    assert listen(channel, name, name, 3) == [b"2", b"3", b"4"]
    # From then on it is a fanout, and the same binding again brings nothing.
    channel.basic_publish(name, "any", b"5")
    channel.queue_bind(name, name, "")
    assert bodies(channel, name) == [b"5"]
    assert listen(channel, name, f"{name}-2", 3) == [b"3", b"4", b"5"]
    # Another binding of the same queue is a new one.
    channel.queue_bind(name, name, "another")
    eventually(lambda: ready(channel, name) == 3)


def test_twenty_are_remembered_if_nothing_is_said(broker, channel, name):
    channel.exchange_declare(name, "x-recent-history", auto_delete=True)
    for i in range(30):
        channel.basic_publish(name, "", str(i))
    assert listen(channel, name, name, 20) == [str(i).encode() for i in range(10, 30)]


def test_messages_come_back_as_they_were_and_some_are_not_remembered(broker, channel, name):
    channel.exchange_declare(name, "x-recent-history", auto_delete=True)
    headers = {"color": "green"}
    channel.basic_publish(name, "key", b"kept", pika.BasicProperties(headers=headers, message_id="7", expiration="60000"))
    for store in (False, True, "true"):
        properties = pika.BasicProperties(headers={"x-recent-history-no-store": store})
        channel.basic_publish(name, "key", str(store).encode(), properties)
    channel.queue_declare(name, exclusive=True)
    channel.queue_bind(name, name, "")
    eventually(lambda: ready(channel, name) == 3)
    method, properties, body = channel.basic_get(name, auto_ack=True)
    assert (method.exchange, method.routing_key, method.redelivered, body) == (name, "key", False, b"kept")
    assert (properties.headers, properties.message_id, properties.expiration) == (headers, "7", "60000")
    assert bodies(channel, name) == [b"False", b"true"]


def test_what_only_is_remembered_is_unroutable(broker, channel, name):
    channel.exchange_declare(name, "x-recent-history", auto_delete=True)
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish(name, "", b"x", mandatory=True)
    assert listen(channel, name, name, 1) == [b"x"]


def test_a_bound_exchange_routes_the_history_on(broker, channel, name):
    channel.exchange_declare(name, "x-recent-history", auto_delete=True)
    channel.exchange_declare(f"{name}-onward", "direct")
    channel.queue_declare(name, exclusive=True)
    channel.queue_bind(name, f"{name}-onward", "a")
    for key in ("a", "b", "a"):
        channel.basic_publish(name, key, key.encode())
    channel.exchange_bind(f"{name}-onward", name, "")
    eventually(lambda: ready(channel, name) == 2)
    channel.exchange_delete(f"{name}-onward")


def test_a_history_needs_a_positive_length(broker, channel, name):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="Invalid argument 0"):
        channel.exchange_declare(name, "x-recent-history", arguments={"x-recent-history-length": 0})


def test_a_durable_history_survives_kill_9(own_broker, name):
    with connect(own_broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare(name, "x-recent-history", durable=True, arguments={"x-recent-history-length": 3})
        for i in range(5):
            channel.basic_publish(name, "", str(i), persistent())
    own_broker.restart()
    with connect(own_broker) as connection:
        channel = connection.channel()
        assert listen(channel, name, name, 3) == [b"2", b"3", b"4"]
        channel.basic_publish(name, "", b"5", persistent())
    own_broker.restart(kill=False)
    with connect(own_broker) as connection:
        channel = connection.channel()
        assert listen(channel, name, name, 3) == [b"3", b"4", b"5"]
        channel.exchange_delete(name)
        channel.exchange_declare(name, "x-recent-history", durable=True, arguments={"x-recent-history-length": 3})
        assert listen(channel, name, f"{name}-2", 0) == []


@pytest.mark.parametrize("shards", [1, 3])
def test_a_long_history_arrives_whole_before_what_follows(tmp_path, name, shards):
    from conftest import Broker
    broker = Broker(tmp_path / "data", "--shards", str(shards)).start()
    try:
        with connect(broker) as connection:
            channel = connection.channel()
            channel.exchange_declare(name, "x-recent-history", durable=True, arguments={"x-recent-history-length": 5000})
            channel.confirm_delivery()
            for i in range(300):
                channel.basic_publish(name, "", b"%d" % i + b" " * 20_000, persistent())
            queues = [f"{name}-{i}" for i in range(4)]
            for queue in queues:
                channel.queue_declare(queue, durable=True)
                channel.queue_bind(queue, name, "")
            channel.basic_publish(name, "", b"300", persistent())
            for queue in queues:
                eventually(lambda: ready(channel, queue) == 301)
                assert [int(body) for body in bodies(channel, queue)] == list(range(301))
    finally:
        broker.kill()
