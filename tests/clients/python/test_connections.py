"""What concerns a whole connection: alarms, secrets, the broker's end, who may speak for others. And consumers' own delays,
filters of streams, transactions that end with their connection."""

import json
import os
import signal
import time

import pika
import pika.exceptions
import pytest

from conftest import Broker, eventually
from test_definitions import DEFINITIONS
from test_lifetimes import bodies, declare, ready, take, take_unacked
from test_pika import channel, connect, connection, persistent  # noqa: F401 (fixtures)
from test_queue_kinds import ours


@pytest.fixture
def brokers(tmp_path):
    """Starts brokers on the test's own data directory, one after the other."""
    if os.environ.get("BOWLINE_AMQP"):
        pytest.skip("needs a broker of its own")
    started = []

    def start(*options):
        started.append(Broker(tmp_path / "data", *options).start())
        return started[-1]

    yield start
    for broker in started:
        if broker.process.poll() is None:
            broker.kill()


# --- alarms ---------------------------------------------------------------------------------------------------------


def test_a_publisher_is_told_of_the_alarm_and_acknowledgements_go_on(brokers, name):
    """The connection is opened while the alarm is on."""
    broker = brokers()
    channel = connect(broker).channel()
    declare(channel, name)
    for i in range(3):
        channel.basic_publish("", name, str(i), persistent())
    assert broker.stop() == 0
    broker = brokers("--disk-reserve", "1000000GiB")
    eventually(lambda: any("disk space alarm full=true" in line for line in broker.errors))
    connection = connect(broker)
    blocked, got = [], []
    connection.add_on_connection_blocked_callback(lambda _, frame: blocked.append(frame.method.reason))
    consuming, publishing = connection.channel(), connection.channel()
    connection.process_data_events(0.1)
    assert not blocked, "who does not publish is not concerned"
    publishing.basic_publish("", name, b"blocked", persistent())
    eventually(lambda: connection.process_data_events(0.05) or blocked)
    assert blocked == ["low on disk"]
    consuming.basic_qos(prefetch_count=1)
    consuming.basic_consume(name, lambda _, method, properties, body: (got.append(body), consuming.basic_ack(method.delivery_tag)))
    eventually(lambda: connection.process_data_events(0.05) or len(got) == 3)
    assert got == [b"0", b"1", b"2"] and connection.is_open
    assert broker.stop() == 0
    # What was acknowledged meanwhile is settled; what was blocked never came in.
    broker = brokers()
    assert ready(connect(broker).channel(), name) == 0


# --- the broker ends ------------------------------------------------------------------------------------------------


def test_a_shutdown_is_told_with_its_code(own_broker, name):
    connection = connect(own_broker)
    channel = connection.channel()
    declare(channel, name)
    channel.basic_publish("", name, b"kept", persistent())
    own_broker.process.send_signal(signal.SIGTERM)
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        eventually(lambda: connection.process_data_events(0.05))
    assert (closed.value.reply_code, closed.value.reply_text) == (
        320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'")
    assert own_broker.process.wait(20) == 0
    own_broker.start()
    assert bodies(connect(own_broker).channel(), name) == [b"kept"]


def test_a_new_secret_is_taken_note_of(connection, name):
    connection.update_secret("another token", "the old one expires")
    channel = connection.channel()
    channel.queue_declare(name, exclusive=True)
    channel.basic_publish("", name, b"x")
    assert take(channel, name)[2] == b"x"


# --- users ----------------------------------------------------------------------------------------------------------


def test_an_impersonator_speaks_for_others(brokers, tmp_path, name):
    definitions = json.loads(DEFINITIONS.read_text())
    for user in definitions["users"]:
        if user["name"] == "guest":
            user["tags"] = ["administrator", "impersonator"]
    definitions["permissions"].append(
        {"user": "clerk", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"})
    file = tmp_path / "definitions.json"
    file.write_text(json.dumps(definitions))
    broker = brokers("--definitions", str(file))

    def enter(user, password):
        parameters = pika.ConnectionParameters(broker.host, broker.amqp_port, "/", pika.PlainCredentials(user, password))
        return pika.BlockingConnection(parameters).channel()

    guest, clerk = enter("guest", "guest"), enter("clerk", "pencil")
    declare(guest, name)
    guest.basic_publish("", name, b"x", persistent(user_id="somebody"))
    assert take(guest, name)[1].user_id == "somebody"
    clerk.confirm_delivery()
    clerk.basic_publish("", name, b"y", persistent(user_id="clerk"))
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        clerk.basic_publish("", name, b"z", persistent(user_id="guest"))
    assert closed.value.reply_code == 406
    assert closed.value.reply_text == (
        "PRECONDITION_FAILED - user_id property set to 'guest' but authenticated user was 'clerk'")
    assert bodies(guest, name) == [b"y"]


# --- consumers ------------------------------------------------------------------------------------------------------


def test_a_consumer_says_when_it_wants_to_try_again(broker, connection, name):
    ours(broker)
    channel = connection.channel()
    declare(channel, name)
    times = []

    def fail_twice(_, method, properties, body):
        times.append((time.monotonic(), method.redelivered))
        if len(times) < 3:
            channel.basic_reject(method.delivery_tag, requeue=True)
        else:
            channel.basic_ack(method.delivery_tag)

    channel.basic_consume(name, fail_twice, arguments={"x-retry-delay": 500})
    channel.basic_publish("", name, b"x", persistent())
    eventually(lambda: connection.process_data_events(0.02) or len(times) == 3)
    assert [redelivered for _, redelivered in times] == [False, True, True]
    assert all(later - sooner > 0.45 for (sooner, _), (later, _) in zip(times, times[1:])), times
    channel.queue_delete(name)


@pytest.mark.parametrize("arguments, expected", [
    ({"x-stream-filter": "red"}, ["red 0", "red 1"]),
    ({"x-stream-filter": ["red", "blue"]}, ["red 0", "blue 0", "red 1", "blue 1"]),
    ({"x-stream-filter": "blue", "x-stream-match-unfiltered": True}, ["blue 0", "none 0", "blue 1", "none 1"]),
])
def test_a_stream_consumer_gets_what_passes_its_filter(broker, connection, name, arguments, expected):
    ours(broker)
    channel = connection.channel()
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "stream"})
    channel.confirm_delivery()
    for i in range(2):
        for colour in ("red", "blue", "none"):
            headers = {} if colour == "none" else {"x-stream-filter-value": colour}
            channel.basic_publish("", name, f"{colour} {i}", pika.BasicProperties(headers=headers))
    channel.basic_publish("", name, b"end", pika.BasicProperties(headers={"x-stream-filter-value": "red"}))
    channel.basic_publish("", name, b"end", pika.BasicProperties(headers={"x-stream-filter-value": "blue"}))
    got = []
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(
        name, lambda _, method, properties, body: (got.append(body.decode()), channel.basic_ack(method.delivery_tag)),
        arguments={"x-stream-offset": "first", **arguments})
    eventually(lambda: connection.process_data_events(0.05) or "end" in got)
    assert got[:got.index("end")] == expected
    channel.queue_delete(name)


# --- transactions ---------------------------------------------------------------------------------------------------


def test_what_a_lost_transaction_settled_comes_back(broker, channel, name):
    declare(channel, name)
    for body in ("0", "1"):
        channel.basic_publish("", name, body, persistent())
    worker = connect(broker)
    working = worker.channel()
    working.tx_select()
    for body in (b"0", b"1"):
        method, _, got = take_unacked(working, name)
        assert (got, method.redelivered) == (body, False)
        working.basic_ack(method.delivery_tag)
        working.basic_publish("", name, b"done " + body, persistent())
        if body == b"0":
            working.tx_commit()
    # In the middle of the second.
    worker.close()
    eventually(lambda: ready(channel, name) == 2)
    got = [channel.basic_get(name, auto_ack=True) for _ in range(2)]
    assert [(body, method.redelivered) for method, _, body in got] == [(b"1", True), (b"done 0", False)]
    channel.queue_delete(name)
