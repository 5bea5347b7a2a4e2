"""Messages that are to come later: Bowline's own, with the header and the exchange type of RabbitMQ's plugin."""

import time

from conftest import eventually
from test_lifetimes import bodies, declare, ready, take
from test_pika import channel, connect, connection, persistent  # noqa: F401 (fixtures)
from test_queue_kinds import ours


def test_a_delayed_message_comes_when_it_is_time(broker, channel, name):
    ours(broker)
    declare(channel, name)
    began = time.monotonic()
    channel.basic_publish("", name, b"later", persistent(headers={"x-delay": 1_000}))
    channel.basic_publish("", name, b"now", persistent())
    assert take(channel, name)[2] == b"now"
    assert channel.basic_get(name)[0] is None
    assert take(channel, name)[2] == b"later"
    assert time.monotonic() - began > 0.9
    channel.queue_delete(name)


def test_the_delayed_exchange(broker, channel, name):
    """As the plugin had it: a type, the type that it routes like, and a header."""
    ours(broker)
    channel.exchange_declare(name, "x-delayed-message", durable=True, arguments={"x-delayed-type": "direct"})
    declare(channel, name)
    channel.queue_bind(name, name, "key")
    for delay in (800, 400, 0):
        channel.basic_publish(name, "key", str(delay), persistent(headers={"x-delay": delay}))
    got = [take(channel, name) for _ in range(3)]
    assert [body for _, _, body in got] == [b"0", b"400", b"800"]
    # It shows by its negative that it is over: who publishes the message again does not delay it again.
    assert [properties.headers["x-delay"] for _, properties, _ in got] == [0, -400, -800]
    channel.queue_delete(name)
    channel.exchange_delete(name)


def test_delayed_messages_survive_kill_9(own_broker, name):
    channel = connect(own_broker).channel()
    declare(channel, name)
    for i in range(20):
        channel.basic_publish("", name, str(i), persistent(headers={"x-delay": 3_000}))
    own_broker.restart()
    channel = connect(own_broker).channel()
    eventually(lambda: ready(channel, name) == 20)
    assert bodies(channel, name) == [str(i).encode() for i in range(20)]
