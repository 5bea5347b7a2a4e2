"""What happens to a queue's messages is told to its trace exchange: x-trace-exchange, and `bowline story`."""

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


def count(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def declare_story(channel, name, kind="classic"):
    """A trace exchange, and a queue or stream that keeps all that is told."""
    exchange, keeper = name + "-x", name + "-story"
    channel.exchange_declare(exchange, "topic", durable=True)
    channel.queue_declare(keeper, durable=True, arguments={"x-queue-type": kind})
    channel.queue_bind(keeper, exchange, name + ".#")
    return exchange, keeper


def told(channel, keeper, n):
    """The first n events: routing key and headers without the time."""
    eventually(lambda: count(channel, keeper) >= n)
    events = []
    for method, properties, body in channel.consume(keeper, auto_ack=True, arguments={"x-peek": True}):
        headers = dict(properties.headers)
        assert json.loads(body) == {key: value for key, value in headers.items() if not key.startswith("x-")}
        assert properties.content_type == "application/json"
        assert headers.pop("time") > 1_600_000_000_000
        headers = {key: value for key, value in headers.items() if not key.startswith("x-")}
        assert method.routing_key == f"{headers['queue']}.{headers['event']}"
        events.append(headers)
    channel.cancel()
    assert len(events) == n, [event["event"] for event in events]
    return events


def persistent(**more):
    return pika.BasicProperties(delivery_mode=2, **more)


@pytest.mark.parametrize("durable", [True, False])
def test_the_life_of_a_message(broker, channel, name, durable):
    exchange, keeper = declare_story(channel, name)
    channel.queue_declare(name, durable=durable, arguments={
        "x-trace-exchange": exchange, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": name + "-dead",
        "x-retry-delays": [50], "x-retry-attempts": 2,
    })
    channel.queue_declare(name + "-dead", durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", name, "body", pika.BasicProperties(
        delivery_mode=2 if durable else 1, message_id="m1", correlation_id="c1"))
    consumer = channel.connection.channel()
    attempts = []
    def refuse(ch, method, properties, body):
        attempts.append(method.redelivered)
        ch.basic_nack(method.delivery_tag, requeue=True)
    consumer.basic_consume(name, refuse, consumer_tag="who")
    eventually(lambda: consumer.connection.process_data_events(0.02) or count(channel, name + "-dead") == 1)
    consumer.close()
    assert attempts == [False, True]
    ids = {"queue": name, "message-id": "m1", "correlation-id": "c1"} | ({"number": 0} if durable else {})
    events = told(channel, keeper, 5)
    assert events[2].pop("until") > 1_600_000_000_000
    assert events == [
        ids | {"event": "published", "exchange": "", "routing-key": name},
        ids | {"event": "delivered", "consumer-tag": "who", "redelivered": False, "attempt": 1},
        ids | {"event": "delayed"},
        ids | {"event": "delivered", "consumer-tag": "who", "redelivered": True, "attempt": 2},
        ids | {"event": "dead-lettered", "reason": "delivery_limit"},
    ]


def test_what_else_becomes_of_messages(broker, channel, name):
    exchange, keeper = declare_story(channel, name)
    channel.queue_declare(name, durable=True, arguments={
        "x-trace-exchange": exchange, "x-max-length": 3, "x-deduplication": True,
    })
    channel.confirm_delivery()
    for n in range(4):
        channel.basic_publish("", name, str(n), persistent(message_id=f"m{n}"))
    channel.basic_publish("", name, "3", persistent(message_id="m3"))
    method, _, _ = channel.basic_get(name)
    channel.basic_reject(method.delivery_tag, requeue=True)
    method, _, _ = channel.basic_get(name)
    channel.basic_ack(method.delivery_tag)
    channel.basic_get(name, auto_ack=True)
    channel.queue_purge(name)
    channel.basic_publish("", name, "4", persistent(message_id="m4", expiration="0"))
    events = told(channel, keeper, 15)
    lives = {}
    for event in events:
        lives.setdefault(event["number"], []).append(event["event"])
    assert lives == {
        0: ["published", "dropped"],
        1: ["published", "delivered", "returned", "delivered", "acked"],
        2: ["published", "delivered", "acked"],
        3: ["published", "purged"],
        4: ["duplicate"],
        5: ["published", "expired"],
    }, lives
    assert [e["reason"] for e in events if e["event"] in ("dropped", "returned")] == ["maxlen", "failed"]
    assert [e["count"] for e in events if e["event"] == "purged"] == [2], "at most"



def test_a_queue_that_is_traced_itself_takes_no_stories(broker, channel, name):
    exchange, keeper = declare_story(channel, name)
    channel.queue_declare(name, durable=True, arguments={"x-trace-exchange": exchange})
    channel.queue_declare(name + "-loop", durable=True, arguments={"x-trace-exchange": exchange})
    channel.queue_bind(name + "-loop", exchange, "#")
    channel.basic_publish("", name, "x", persistent())
    assert [e["event"] for e in told(channel, keeper, 1)] == ["published"]
    assert count(channel, name + "-loop") == 0


def test_the_command_tells_a_life_from_a_stream_or_a_queue(broker, channel, name):
    exchange, keeper = declare_story(channel, name)
    channel.queue_declare(name + "-stream", durable=True, arguments={"x-queue-type": "stream"})
    channel.queue_bind(name + "-stream", exchange, "#")
    channel.queue_declare(name, durable=True, arguments={"x-trace-exchange": exchange})
    channel.confirm_delivery()
    for n in range(3):
        channel.basic_publish("", name, str(n), persistent(message_id=f"m{n}"))
    for _ in range(3):
        method, _, _ = channel.basic_get(name)
        channel.basic_ack(method.delivery_tag)
    eventually(lambda: count(channel, keeper) == 9)
    command = [BINARY, "story", f"amqp://{broker.host}:{broker.amqp_port}"]
    for source in [keeper, name + "-stream"]:
        for which in (["--message-id", "m1"], ["--queue", name, "--number", "1"]):
            run = subprocess.run([*command, "--from", source, *which, "--json"], capture_output=True, text=True, timeout=60)
            assert run.returncode == 0, run.stderr
            events = [json.loads(line) for line in run.stdout.splitlines()]
            assert [(e["event"], e["number"]) for e in events] == [("published", 1), ("delivered", 1), ("acked", 1)]
        text = subprocess.run([*command, "--from", source, "--message-id", "m2"], capture_output=True, text=True, timeout=60)
        lines = text.stdout.splitlines()
        assert len(lines) == 3 and f"{name} #2  published" in lines[0] and "acked" in lines[2], text.stdout
    nothing = subprocess.run([*command, "--from", keeper, "--message-id", "none"], capture_output=True, text=True, timeout=60)
    assert nothing.returncode == 1 and nothing.stdout == ""
    assert count(channel, keeper) == 9


def test_a_trace_exchange_needs_its_permission(broker, channel, name):
    """As with a dead-letter exchange; here only that a strange value is refused."""
    for value in [7, ["x"]]:
        connection = connect(broker)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
            connection.channel().queue_declare(name, durable=True, arguments={"x-trace-exchange": value})
        assert caught.value.reply_code == 406
        connection.close()


def test_stories_survive_a_crash_and_none_is_told_twice(own_broker, name):
    connection = connect(own_broker)
    channel = connection.channel()
    exchange, keeper = declare_story(channel, name, "stream")
    channel.queue_declare(name, durable=True, arguments={"x-trace-exchange": exchange})
    channel.confirm_delivery()
    for n in range(50):
        channel.basic_publish("", name, str(n), persistent(message_id=f"m{n}"))
    eventually(lambda: count(channel, keeper) == 50)
    own_broker.restart()
    connection = connect(own_broker)
    channel = connection.channel()
    assert count(channel, keeper) == 50, "the start tells nothing again"
    method, _, _ = channel.basic_get(name)
    channel.basic_ack(method.delivery_tag)
    eventually(lambda: count(channel, keeper) == 52)
    connection.close()
