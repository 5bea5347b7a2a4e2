"""Exchange types beyond the four of the specification; RabbitMQ ships them as plugins."""

from test_lifetimes import bodies
from test_pika import channel, connection  # noqa: F401 (fixtures)
from test_queue_kinds import ours


def test_a_consistent_hash_exchange_spreads_and_is_steady(broker, channel, name):
    ours(broker)  # Plugins there.
    channel.exchange_declare(name, "x-consistent-hash", auto_delete=True)
    queues = [f"{name}-{i}" for i in range(3)]
    for queue in queues:
        channel.queue_declare(queue, exclusive=True)
        channel.queue_bind(queue, name, "10")
    for i in range(300):
        channel.basic_publish(name, str(i), str(i))
    first = [bodies(channel, queue) for queue in queues]
    assert sum(len(part) for part in first) == 300 and min(len(part) for part in first) > 30
    for i in range(300):
        channel.basic_publish(name, str(i), str(i))
    assert [bodies(channel, queue) for queue in queues] == first


def test_a_random_exchange_chooses_one(broker, channel, name):
    ours(broker)  # Plugins there.
    channel.exchange_declare(name, "x-random", auto_delete=True)
    queues = [f"{name}-{i}" for i in range(3)]
    for queue in queues:
        channel.queue_declare(queue, exclusive=True)
        channel.queue_bind(queue, name, "")
    for i in range(100):
        channel.basic_publish(name, "k", str(i))
    counts = [len(bodies(channel, queue)) for queue in queues]
    assert sum(counts) == 100 and max(counts) < 100
