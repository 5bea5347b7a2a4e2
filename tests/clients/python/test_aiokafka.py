"""What Kafka users do from asyncio, with aiokafka."""

import asyncio
import functools

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import MessageSizeTooLargeError, TopicAlreadyExistsError

from conftest import RECENT


def asynchronous(test):
    """Runs a coroutine as a test; 60 s at most."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        return asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))

    return run


async def started(client):
    await client.start()
    return client


def producer(broker, **options):
    return AIOKafkaProducer(bootstrap_servers=broker.kafka, **options)


def consumer(broker, *topics, **options):
    options = {"auto_offset_reset": "earliest", "metadata_max_age_ms": 1000, **options}
    return AIOKafkaConsumer(*topics, bootstrap_servers=broker.kafka, **options)


async def take(consumer, n):
    return [await asyncio.wait_for(consumer.getone(), 30) for _ in range(n)]


async def came_true(check, timeout=40):
    end = asyncio.get_running_loop().time() + timeout
    while not check():
        assert asyncio.get_running_loop().time() < end, "it never came true"
        await asyncio.sleep(0.05)


@asynchronous
async def test_the_tutorial(broker, name):
    async with producer(broker) as p:
        first = await p.send_and_wait(name, b"0")
        assert (first.partition, first.offset) == (0, 0)
        sent = [await p.send(name, str(i).encode()) for i in range(1, 100)]
        assert [(await s).offset for s in sent] == list(range(1, 100))
    async with consumer(broker, name) as c:
        assert [int(r.value) for r in await take(c, 100)] == list(range(100))


@asynchronous
async def test_an_idempotent_producer_with_keys_and_headers(broker, name):
    async with producer(broker, enable_idempotence=True, acks="all") as p:
        await p.send_and_wait(name, b"v", key=b"k", headers=[("h", b"\x00\xff")], timestamp_ms=RECENT + 123)
        await p.send_and_wait(name, None, key=b"k")
    async with consumer(broker, name) as c:
        first, second = await take(c, 2)
        assert (first.key, first.value, first.timestamp) == (b"k", b"v", RECENT + 123)
        assert list(first.headers) == [("h", b"\x00\xff")]
        assert second.value is None


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
@asynchronous
async def test_compression(broker, name, codec):
    values = [b"%d " % i * 60 for i in range(100)]
    async with producer(broker, compression_type=codec, linger_ms=30) as p:
        for sent in [await p.send(name, value) for value in values]:
            await sent
    async with consumer(broker, name) as c:
        assert [r.value for r in await take(c, 100)] == values


@asynchronous
async def test_a_group_commits_and_resumes(broker, name):
    async with producer(broker) as p:
        for i in range(20):
            await p.send_and_wait(name, str(i).encode())
    options = dict(group_id=name, enable_auto_commit=False)
    async with consumer(broker, name, **options) as c:
        await take(c, 12)
        await c.commit({TopicPartition(name, 0): 12})
        assert await c.committed(TopicPartition(name, 0)) == 12
    async with consumer(broker, name, **options) as c:
        assert [int(r.value) for r in await take(c, 8)] == list(range(12, 20))


@asynchronous
async def test_a_group_shares_partitions(broker, name):
    admin = await started(AIOKafkaAdminClient(bootstrap_servers=broker.kafka))
    answer = await admin.create_topics([NewTopic(name, 4, 1)])
    assert answer.topic_errors[0][1] == 0
    assigned = {0: [], 1: []}

    class Listener(ConsumerRebalanceListener):
        def __init__(self, i):
            self.i = i

        async def on_partitions_revoked(self, revoked):
            pass

        async def on_partitions_assigned(self, now):
            assigned[self.i] = sorted(p.partition for p in now)

    async def member(i):
        c = consumer(broker, group_id=name, heartbeat_interval_ms=300, session_timeout_ms=10_000)
        await c.start()
        c.subscribe([name], listener=Listener(i))
        return c

    one = await member(0)
    await came_true(lambda: assigned[0] == [0, 1, 2, 3])
    two = await member(1)
    await came_true(lambda: len(assigned[0]) == len(assigned[1]) == 2)
    assert sorted(assigned[0] + assigned[1]) == [0, 1, 2, 3]
    await two.stop()
    await came_true(lambda: assigned[0] == [0, 1, 2, 3])
    await one.stop()
    await admin.delete_topics([name])
    await admin.close()


@asynchronous
async def test_offsets_and_seeking(broker, name):
    async with producer(broker) as p:
        for i in range(30):
            await p.send_and_wait(name, str(i).encode(), timestamp_ms=RECENT + i * 1000)
    tp = TopicPartition(name, 0)
    async with consumer(broker) as c:
        c.assign([tp])
        assert await c.beginning_offsets([tp]) == {tp: 0} and await c.end_offsets([tp]) == {tp: 30}
        found = (await c.offsets_for_times({tp: RECENT + 12_500}))[tp]
        assert (found.offset, found.timestamp) == (13, RECENT + 13_000)
        c.seek(tp, 27)
        assert [r.offset for r in await take(c, 3)] == [27, 28, 29]
        await c.seek_to_beginning(tp)
        assert (await take(c, 1))[0].offset == 0


@asynchronous
async def test_a_parked_fetch_does_not_delay_other_requests(broker, name):
    """A long poll on an idle topic, and a produce that wakes it."""
    async with producer(broker) as p:
        await p.send_and_wait(name, b"first")
        async with consumer(broker, name, fetch_max_wait_ms=5000) as c:
            await take(c, 1)
            waiting = asyncio.create_task(c.getone())
            await asyncio.sleep(0)
            began = asyncio.get_running_loop().time()
            await p.send_and_wait(name, b"second")
            record = await asyncio.wait_for(waiting, 20)
            assert record.value == b"second"
            assert asyncio.get_running_loop().time() - began < 3, "the fetch slept through the produce"


@asynchronous
async def test_admin_errors_and_limits(broker, name):
    admin = await started(AIOKafkaAdminClient(bootstrap_servers=broker.kafka))
    await admin.create_topics([NewTopic(name, 1, 1)])
    with pytest.raises(TopicAlreadyExistsError):
        answer = await admin.create_topics([NewTopic(name, 1, 1)])
        if answer.topic_errors[0][1] == TopicAlreadyExistsError.errno:
            raise TopicAlreadyExistsError
    assert name in await admin.list_topics()
    (described,) = await admin.describe_topics([name])
    assert described["topic"] == name and len(described["partitions"]) == 1
    async with producer(broker, max_request_size=8_000_000) as p:
        with pytest.raises(MessageSizeTooLargeError):
            await p.send_and_wait(name, b"x" * 3_000_000)
        await p.send_and_wait(name, b"small")
    await admin.close()


def test_a_consumer_goes_on_after_a_kill(own_broker, name):
    async def run():
        async with producer(own_broker, retry_backoff_ms=100) as p:
            await p.send_and_wait(name, b"before")
        async with consumer(own_broker, name, group_id=name, retry_backoff_ms=100) as c:
            assert (await take(c, 1))[0].value == b"before"
            await c.commit()
            await asyncio.to_thread(own_broker.restart)
            async with producer(own_broker, retry_backoff_ms=100) as p:
                assert (await p.send_and_wait(name, b"after")).offset == 1
            assert (await take(c, 1))[0].value == b"after"

    asyncio.run(asyncio.wait_for(run(), 90))
