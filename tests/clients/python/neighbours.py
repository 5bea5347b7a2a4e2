"""Fixtures of the bad-input tests: whatever one client sends, nobody else notices. Import `*`."""

import pika
import pytest

from conftest import Broker, eventually

MIB = 1 << 20


@pytest.fixture(scope="module")
def neighbour(broker):
    connection = pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.amqp_port, heartbeat=0))
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    yield channel, queue
    connection.close()


@pytest.fixture(autouse=True)
def others_do_not_notice(broker, neighbour):
    before = broker.rss_bytes() if isinstance(broker, Broker) else 0
    yield
    channel, queue = neighbour
    channel.basic_publish("", queue, b"still here")
    assert channel.basic_get(queue, auto_ack=True)[2] == b"still here"
    if isinstance(broker, Broker):

        def let_go():
            # Allocators give memory back when the threads that had it go on working.
            channel.basic_publish("", queue, b"x" * 1000)
            channel.basic_get(queue, auto_ack=True)
            return broker.rss_bytes() < before + 64 * MIB

        eventually(let_go, timeout=20)
