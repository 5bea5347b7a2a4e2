"""Looking at what lies in a queue without taking any of it: basic.consume with x-peek, and `bowline peek`."""

import json
import subprocess

import pika
import pytest

from conftest import BINARY, eventually


def connect(broker):
    return pika.BlockingConnection(
        pika.ConnectionParameters(broker.host, broker.amqp_port, heartbeat=0, blocked_connection_timeout=30)
    )


@pytest.fixture
def channel(broker):
    connection = connect(broker)
    yield connection.channel()
    if connection.is_open:
        connection.close()


def peek(channel, queue, **arguments):
    """All that a peeker is shown: the broker ends it, so the generator ends by itself."""
    options = {"x-peek": True} | {f"x-peek-{key}": value for key, value in arguments.items()}
    shown = []
    for method, properties, body in channel.consume(queue, auto_ack=True, arguments=options):
        if method is None:
            break
        shown.append((body.decode(), properties, method.redelivered))
    channel.cancel()
    return shown


def bodies(shown):
    return [body for body, _, _ in shown]


def persistent(**more):
    return pika.BasicProperties(delivery_mode=2, **more)


def test_peeking_leaves_no_trace(broker, channel, name):
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 0, "x-single-active-consumer": True}
    channel.queue_declare(name, durable=True, arguments=arguments)
    for n in range(20):
        channel.basic_publish("", name, str(n), persistent(headers={"n": n}, message_id=f"m{n}"))
    eventually(lambda: channel.queue_declare(name, passive=True).method.message_count == 20)
    for _ in range(3):
        shown = peek(channel, name)
        assert bodies(shown) == [str(n) for n in range(20)]
    body, properties, redelivered = shown[7]
    assert properties.message_id == "m7" and properties.headers["n"] == 7 and not redelivered
    assert properties.headers["x-peek-state"] == "ready"
    assert properties.headers["x-peek-number"] == 7
    assert bodies(peek(channel, name, **{"from": 5, "count": 3})) == ["5", "6", "7"]
    declared = channel.queue_declare(name, passive=True).method
    assert (declared.message_count, declared.consumer_count) == (20, 0)
    for n in range(20):
        method, properties, body = next(channel.consume(name))
        assert (body.decode(), method.redelivered) == (str(n), False)
        assert "x-delivery-count" not in (properties.headers or {})
        channel.basic_ack(method.delivery_tag)
    channel.cancel()


def test_a_peeker_beside_a_consumer_sees_what_it_holds(broker, channel, name):
    channel.queue_declare(name, durable=True)
    for n in range(6):
        channel.basic_publish("", name, str(n), persistent())
    other = channel.connection.channel()
    other.basic_qos(prefetch_count=2)
    held = []
    other.basic_consume(name, lambda ch, method, properties, body: held.append(body))
    eventually(lambda: channel.connection.process_data_events(0.01) or len(held) == 2)
    assert bodies(peek(channel, name)) == ["2", "3", "4", "5"]
    assert bodies(peek(channel, name, state="unacked")) == ["0", "1"]
    everything = peek(channel, name, state="all")
    assert [(body, p.headers["x-peek-state"]) for body, p, _ in everything] == [
        ("0", "unacked"), ("1", "unacked"), ("2", "ready"), ("3", "ready"), ("4", "ready"), ("5", "ready"),
    ]
    assert len(held) == 2
    other.close()


def test_a_long_queue_is_peeked_to_its_end(broker, channel, name):
    channel.queue_declare(name, durable=True)
    channel.confirm_delivery()
    body = b"x" * 20_000
    for n in range(400):
        channel.basic_publish("", name, body, persistent(message_id=str(n)))
    shown = peek(channel, name)
    assert [p.message_id for _, p, _ in shown] == [str(n) for n in range(400)]


def test_peeking_needs_no_ack_a_queue_and_sense(broker, name):
    def refused(**how):
        connection = connect(broker)
        channel = connection.channel()
        channel.queue_declare(name, durable=True)
        channel.queue_declare(name + "-s", durable=True, arguments={"x-queue-type": "stream"})
        how = {"queue": name, "auto_ack": True} | how
        with pytest.raises((pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker)) as caught:
            channel.basic_consume(on_message_callback=print, **how)
        if connection.is_open:
            connection.close()
        return caught.value.reply_code, caught.value.reply_text

    assert refused(auto_ack=False, arguments={"x-peek": True})[0] == 406
    assert refused(arguments={"x-peek": "yes"})[0] == 406
    assert refused(arguments={"x-peek": True, "x-peek-count": -1})[0] == 406
    assert refused(arguments={"x-peek": True, "x-peek-state": "odd"})[0] == 406
    assert refused(arguments={"x-peek-count": 1})[0] == 406
    assert refused(queue=name + "-s", arguments={"x-peek": True})[0] == 406
    assert refused(queue=name + "-none", arguments={"x-peek": True})[0] == 404


def test_the_command_shows_properties_headers_and_body(broker, channel, name):
    channel.queue_declare(name, durable=True)
    for n in range(3):
        headers = {"tenant": "t1", "n": n}
        channel.basic_publish("", name, f"body {n}", persistent(headers=headers, message_id=f"m{n}", type="order"))
    eventually(lambda: channel.queue_declare(name, passive=True).method.message_count == 3)
    command = [BINARY, "peek", f"amqp://{broker.host}:{broker.amqp_port}", "--queue", name]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    for part in ["#0", "#2", "m1", "order", "tenant", "t1", "body 2"]:
        assert part in text, text
    lines = subprocess.run([*command, "--json", "--from", "1", "--count", "1"], capture_output=True, text=True,
                           check=True, timeout=60).stdout.splitlines()
    [shown] = map(json.loads, lines)
    assert shown["body"] == "body 1" and shown["number"] == 1 and shown["state"] == "ready"
    assert shown["headers"] == {"tenant": "t1", "n": 1} and shown["message_id"] == "m1"
    assert channel.queue_declare(name, passive=True).method.message_count == 3
