"""The ordinary, with AMQPStorm."""

import amqpstorm
import pytest

from conftest import eventually


@pytest.fixture
def connection(broker):
    with amqpstorm.Connection(broker.host, "guest", "guest", port=broker.amqp_port) as connection:
        yield connection


def test_publish_consume_acknowledge(connection, name):
    with connection.channel() as channel:
        channel.queue.declare(name, durable=True)
        channel.confirm_deliveries()
        for i in range(5):
            properties = {"delivery_mode": 2, "headers": {"i": i}, "correlation_id": str(i)}
            assert channel.basic.publish(f"{i}", name, properties=properties)
        got = []

        def take(message):
            got.append((message.body, message.properties["headers"]["i"], message.correlation_id))
            message.ack()

        channel.basic.qos(2)
        channel.basic.consume(take, name)
        eventually(lambda: channel.process_data_events() or len(got) == 5)
        assert got == [(str(i), i, str(i)) for i in range(5)]
        channel.queue.delete(name)


def test_exchanges_get_and_reject(connection, name):
    with connection.channel() as channel:
        channel.exchange.declare(name, "topic", auto_delete=True)
        channel.queue.declare(name, exclusive=True)
        channel.queue.bind(name, name, "a.#")
        channel.confirm_deliveries()
        channel.basic.publish("x", "a.b", name)
        message = channel.basic.get(name)
        assert (message.body, message.method["routing_key"]) == ("x", "a.b")
        message.reject(requeue=True)
        again = eventually(lambda: channel.basic.get(name))
        assert again.redelivered
        again.ack()
        assert channel.queue.purge(name)["message_count"] == 0


def test_errors_are_told(connection, name):
    channel = connection.channel()
    with pytest.raises(amqpstorm.AMQPChannelError) as error:
        channel.queue.declare(name, passive=True)
    assert error.value.error_code == 404
    with connection.channel() as channel:
        channel.confirm_deliveries()
        with pytest.raises(amqpstorm.AMQPMessageError):
            channel.basic.publish("x", name + "-nowhere", mandatory=True)


def test_a_transaction(connection, name):
    with connection.channel() as channel:
        channel.queue.declare(name, exclusive=True)
        channel.tx.select()
        channel.basic.publish("x", name)
        channel.tx.rollback()
        channel.basic.publish("y", name)
        channel.tx.commit()
        assert channel.basic.get(name).body == "y"
        assert channel.basic.get(name) is None
