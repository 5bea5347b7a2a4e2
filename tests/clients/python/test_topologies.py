"""Topologies that frameworks of other languages lay out, by hand: MassTransit's, NServiceBus's and the usual retry ladders."""

import json
import time

import pika
import pytest

from conftest import eventually


@pytest.fixture
def channel(broker):
    connection = pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.amqp_port, heartbeat=0))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    connection.close()


def taken(channel, queue):
    return eventually(lambda: (got := channel.basic_get(queue, auto_ack=True))[0] and got)


def test_masstransit(channel, name):
    """A fanout exchange for each message type, base types behind it; one for each endpoint, its queue behind that; `_error` and
    `_skipped` with an exchange and a queue each. What a consumer cannot do is published to `_error`, and redriven from there."""
    event, base, endpoint = f"{name}:OrderSubmitted", f"{name}:IOrder", f"{name}-orders"
    for exchange in (event, base, endpoint):
        channel.exchange_declare(exchange, "fanout", durable=True)
        channel.exchange_declare(exchange, "fanout", durable=True)  # Every start of every service does.
    channel.queue_declare(endpoint, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(endpoint, endpoint)
    channel.exchange_bind(base, event)
    # Bound to the type and to its base: one copy all the same.
    channel.exchange_bind(endpoint, event)
    channel.exchange_bind(endpoint, base)
    for suffix in ("_error", "_skipped"):
        channel.exchange_declare(endpoint + suffix, "fanout", durable=True)
        channel.queue_declare(endpoint + suffix, durable=True)
        channel.queue_bind(endpoint + suffix, endpoint + suffix)
    # The bus of each instance: its own address for answers.
    channel.exchange_declare(f"{name}-bus", "fanout", auto_delete=True)
    channel.queue_declare(f"{name}-bus", exclusive=True, auto_delete=True, arguments={"x-expires": 60000})
    channel.queue_bind(f"{name}-bus", f"{name}-bus")

    envelope = {"messageId": "1", "messageType": [f"urn:message:{event}", f"urn:message:{base}"], "message": {"id": 7},
                "responseAddress": f"rabbitmq://localhost/{name}-bus?temporary=true"}
    properties = pika.BasicProperties(
        content_type="application/vnd.masstransit+json", delivery_mode=2, message_id="1",
        headers={"Content-Type": "application/vnd.masstransit+json", "publishId": "1"})
    channel.basic_publish(event, "", json.dumps(envelope), properties, mandatory=True)
    deliveries = channel.consume(endpoint, inactivity_timeout=20)
    method, got, body = next(deliveries)
    assert json.loads(body) == envelope and got.headers == properties.headers
    # It fails: to the error exchange, with why, and then the acknowledgement.
    got.headers.update({"MT-Fault-Message": "no stock", "MT-Reason": "fault", "MT-Fault-RetryCount": 3})
    channel.basic_publish(f"{endpoint}_error", "", body, got, mandatory=True)
    channel.basic_ack(method.delivery_tag)
    channel.basic_publish(f"{name}-bus", "", b"fault", mandatory=True)
    channel.cancel()
    assert taken(channel, f"{name}-bus")[2] == b"fault"
    assert channel.queue_declare(endpoint, passive=True).method.message_count == 0
    _, failed, body = taken(channel, f"{endpoint}_error")
    assert failed.headers["MT-Fault-Message"] == "no stock"
    channel.basic_publish(endpoint, "", body, failed, mandatory=True)
    assert json.loads(taken(channel, endpoint)[2]) == envelope
    # A type that nobody consumes any more: its exchange leads nowhere, which is no error unless asked.
    channel.exchange_unbind(endpoint, event)
    channel.exchange_unbind(endpoint, base)
    channel.basic_publish(event, "", b"{}")
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish(event, "", b"{}", mandatory=True)
    for exchange in (event, base, endpoint, f"{endpoint}_error", f"{endpoint}_skipped"):
        channel.exchange_delete(exchange)
    for queue in (endpoint, f"{endpoint}_error", f"{endpoint}_skipped"):
        channel.queue_delete(queue)


def test_nservicebus_delays(channel, name):
    """Delays of up to 2^27 seconds by a ladder of topic exchanges and queues with a TTL of 2^n seconds each; here of 3 levels
    and in tenths. (Celery does the same: test_celery.py.)"""
    def level(n):
        return f"{name}-delay-{n}"

    destination = f"{name}-destination"
    channel.queue_declare(destination)
    channel.exchange_declare(f"{name}-delivery", "topic", durable=True)
    channel.queue_bind(destination, f"{name}-delivery", f"#.{destination}")
    for n in range(3):
        below = f"{name}-delivery" if n == 0 else level(n - 1)
        channel.exchange_declare(level(n), "topic", durable=True)
        channel.queue_declare(level(n), durable=True, arguments={
            "x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish",
            "x-message-ttl": 100 << n, "x-dead-letter-exchange": below})
        # The bit is set: wait here. It is not: straight to the next.
        bits = ".".join(["*"] * (2 - n))
        channel.queue_bind(level(n), level(n), f"{bits}.1.#".lstrip("."))
        channel.exchange_bind(below, level(n), f"{bits}.0.#".lstrip("."))
    began = time.monotonic()
    for delay in (5, 2, 0):
        key = ".".join(f"{delay:03b}") + f".{destination}"
        channel.basic_publish(level(2), key, str(delay).encode(), pika.BasicProperties(delivery_mode=2), mandatory=True)
    got, times = [], []
    for _ in range(3):
        _, properties, body = taken(channel, destination)
        got.append((body, [death["reason"] for death in (properties.headers or {}).get("x-death", [])]))
        times.append(time.monotonic() - began)
    assert got == [(b"0", []), (b"2", ["expired"]), (b"5", ["expired", "expired"])]
    assert times[1] >= 0.2 and times[2] >= 0.5
    channel.queue_delete(destination)
    for n in range(3):
        channel.queue_delete(level(n))
        channel.exchange_delete(level(n))
    channel.exchange_delete(f"{name}-delivery")


def test_a_ladder_of_retry_queues(channel, name):
    """Per-message expiration into waiting queues without consumers, back through the default exchange, then parked."""
    work, parked = name, f"{name}-parked"
    waits = [f"{name}-wait-{i}" for i in range(3)]
    channel.queue_declare(work, durable=True)
    channel.queue_declare(parked, durable=True)
    for wait in waits:
        channel.queue_declare(wait, durable=True, arguments={
            "x-dead-letter-exchange": "", "x-dead-letter-routing-key": work, "x-expires": 60_000})
    channel.basic_publish("", work, b"poison", pika.BasicProperties(delivery_mode=2))
    tries = 0
    for method, properties, body in channel.consume(work, inactivity_timeout=20):
        assert method, "it got lost"
        headers = properties.headers or {}
        # What it died of is told; what it died of before it was published again is not taken from a client.
        assert [(death["queue"], death["count"]) for death in headers.get("x-death", [])] == [(wait, 1) for wait in waits[:tries][-1:]]
        assert headers.get("tries", 0) == tries
        target = waits[tries] if tries < 3 else parked
        properties.expiration = "50" if tries < 3 else None
        properties.headers = {**headers, "tries": tries + 1}
        tries += 1
        channel.basic_publish("", target, body, properties, mandatory=True)
        channel.basic_ack(method.delivery_tag)
        if target == parked:
            break
    channel.cancel()
    _, properties, body = taken(channel, parked)
    assert body == b"poison" and properties.headers["tries"] == 4
    for queue in (work, parked, *waits):
        channel.queue_delete(queue)
