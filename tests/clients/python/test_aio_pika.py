"""What RabbitMQ users do from asyncio, with aio-pika."""

import asyncio
import functools

import aio_pika
import aio_pika.exceptions
import aiormq.exceptions
import pytest
from aio_pika import DeliveryMode, ExchangeType, Message


def asynchronous(test):
    """Runs a coroutine as a test; 30 s at most."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        return asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return run


def url(broker):
    return f"amqp://guest:guest@{broker.host}:{broker.amqp_port}/"


async def came_true(check, timeout=20):
    end = asyncio.get_running_loop().time() + timeout
    while not check():
        assert asyncio.get_running_loop().time() < end, "it never came true"
        await asyncio.sleep(0.02)


@asynchronous
async def test_the_tutorial(broker, name):
    connection = await aio_pika.connect_robust(url(broker))
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        queue = await channel.declare_queue(name, durable=True)
        await channel.default_exchange.publish(
            Message(b"hello", delivery_mode=DeliveryMode.PERSISTENT), routing_key=name)
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    assert message.body == b"hello" and not message.redelivered
                break
        await queue.delete()


@asynchronous
async def test_many_confirmed_publishes_in_flight(broker, name):
    n = 500
    async with await aio_pika.connect(url(broker)) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(name, durable=True)
        await asyncio.gather(*(
            channel.default_exchange.publish(
                Message(str(i).encode(), delivery_mode=DeliveryMode.PERSISTENT), routing_key=name)
            for i in range(n)))
        again = await channel.declare_queue(name, durable=True)
        assert again.declaration_result.message_count == n
        got = []

        async def on_message(message):
            got.append(int(message.body))
            await message.ack()

        tag = await queue.consume(on_message)
        await came_true(lambda: len(got) == n)
        assert got == list(range(n))
        await queue.cancel(tag)
        await queue.delete(if_unused=False, if_empty=False)


@asynchronous
async def test_exchanges_and_headers(broker, name):
    async with await aio_pika.connect(url(broker)) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(name, ExchangeType.TOPIC, auto_delete=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, "logs.#")
        headers = {"text": "ü", "int": 7, "list": [1, "a"], "table": {"deep": True}, "bytes": bytearray(b"\x00\xff")}
        await exchange.publish(Message(b"1", headers=headers, message_id="m", expiration=None), "logs.a.b")
        await exchange.publish(Message(b"2"), "other", mandatory=False)
        message = await queue.get(timeout=5)
        assert message.body == b"1" and message.routing_key == "logs.a.b" and message.exchange == name
        assert message.headers == headers and message.message_id == "m"
        await message.ack()
        with pytest.raises(aio_pika.exceptions.QueueEmpty):
            await queue.get(timeout=5)
        await queue.unbind(exchange, "logs.#")


@asynchronous
async def test_reject_and_requeue(broker, name):
    async with await aio_pika.connect(url(broker)) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(name, exclusive=True)
        await channel.default_exchange.publish(Message(b"x"), routing_key=name)
        first = await queue.get()
        assert not first.redelivered
        await first.nack(requeue=True)
        second = await queue.get()
        assert second.redelivered and second.body == b"x"
        with pytest.raises(ValueError):
            async with second.process(requeue=False):
                raise ValueError("handling failed")
        assert await queue.get(fail=False) is None


@asynchronous
async def test_unroutable_mandatory_is_an_error(broker, name):
    async with await aio_pika.connect(url(broker)) as connection:
        channel = await connection.channel(on_return_raises=True)
        with pytest.raises(aio_pika.exceptions.PublishError):
            await channel.default_exchange.publish(Message(b"lost"), routing_key=name, mandatory=True)


@asynchronous
async def test_a_channel_error_leaves_the_connection(broker, name):
    async with await aio_pika.connect(url(broker)) as connection:
        channel = await connection.channel()
        with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity) as error:
            await channel.declare_queue(name, passive=True)
        assert f"no queue '{name}' in vhost '/'" in str(error.value)
        other = await connection.channel()
        await other.declare_queue(exclusive=True)


@asynchronous
async def test_request_and_reply(broker, name):
    """The RPC tutorial: a server on a named queue, a client with an exclusive queue for the answers."""
    async with await aio_pika.connect(url(broker)) as connection:
        channel = await connection.channel()
        requests = await channel.declare_queue(name, exclusive=True)

        async def serve(message):
            async with message.process():
                answer = Message(message.body.upper(), correlation_id=message.correlation_id)
                await channel.default_exchange.publish(answer, routing_key=message.reply_to)

        await requests.consume(serve)
        answers = await channel.declare_queue(exclusive=True)
        got = {}

        async def collect(message):
            got[message.correlation_id] = message.body

        await answers.consume(collect, no_ack=True)
        for i in range(50):
            await channel.default_exchange.publish(
                Message(b"ask %d" % i, correlation_id=str(i), reply_to=answers.name), routing_key=name)
        await came_true(lambda: len(got) == 50)
        assert got == {str(i): b"ASK %d" % i for i in range(50)}


@asynchronous
async def test_many_channels_on_one_connection(broker, name):
    async with await aio_pika.connect(url(broker)) as connection:
        channels = await asyncio.gather(*(connection.channel() for _ in range(100)))
        queues = await asyncio.gather(*(c.declare_queue(exclusive=True) for c in channels))
        await asyncio.gather(*(
            c.default_exchange.publish(Message(q.name.encode()), routing_key=q.name) for c, q in zip(channels, queues)))
        messages = await asyncio.gather(*(q.get(timeout=10, no_ack=True) for q in queues))
        assert [m.body.decode() for m in messages] == [q.name for q in queues]


def test_a_robust_connection_survives_a_kill(own_broker, name):
    """connect_robust finds its queue, its consumer and its messages again."""

    async def run():
        connection = await aio_pika.connect_robust(url(own_broker), reconnect_interval=0.2)
        async with connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(name, durable=True)
            got = []

            async def on_message(message):
                got.append(message.body)
                await message.ack()

            await queue.consume(on_message)
            persistent = dict(delivery_mode=DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(Message(b"before", **persistent), routing_key=name)
            await came_true(lambda: b"before" in got)
            await asyncio.to_thread(own_broker.restart)
            # Another client, which knows nothing of the restart.
            async with await aio_pika.connect(url(own_broker)) as other:
                c = await other.channel()
                await c.default_exchange.publish(Message(b"after", **persistent), routing_key=name)
            await came_true(lambda: b"after" in got)

    asyncio.run(asyncio.wait_for(run(), 60))
