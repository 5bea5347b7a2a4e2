"""kombu by itself (over py-amqp), as OpenStack and Airflow use it: producers with retry, consumer mixins, simple queues, pools,
compression and serializers, broadcast; and its settings for quorum queues."""

import threading

import pytest

kombu = pytest.importorskip("kombu")
from amqp.exceptions import MessageNacked
from kombu.mixins import ConsumerProducerMixin


@pytest.fixture
def connection(broker):
    with kombu.Connection(f"amqp://guest:guest@{broker.host}:{broker.amqp_port}//", heartbeat=5) as connection:
        yield connection


def drained(connection, queue, count, **options):
    """That many (body, message) of a queue, acknowledged."""
    got = []

    def on_message(body, message):
        got.append((body, message))
        message.ack()

    with kombu.Consumer(connection, [queue], callbacks=[on_message], **options):
        while len(got) < count:
            connection.drain_events(timeout=20)
    return got


def test_the_broker_takes_prefetch_per_consumer(connection):
    """What kombu looks at (product and version) makes it use basic.qos as the specification has it."""
    assert connection.transport.qos_semantics_matches_spec(connection.connection)


def test_serializers_and_compression(connection, name):
    queue = kombu.Queue(name, kombu.Exchange(name, "direct", auto_delete=True), routing_key="k", auto_delete=True)
    payload = {"text": "grün", "number": 2**60, "list": [1, None, {"a": True}]}
    with connection.Producer() as producer:
        for serializer in ("json", "pickle"):
            for compression in (None, "zlib", "bzip2"):
                producer.publish(payload, exchange=queue.exchange, routing_key="k", declare=[queue], serializer=serializer,
                                 compression=compression, retry=True)
    got = drained(connection, queue, 6, accept=["json", "pickle"])
    assert all(body == payload for body, _ in got)
    assert [message.headers.get("compression") for _, message in got] == [None, "application/x-gzip", "application/x-bz2"] * 2


def test_topics_and_a_queue_with_several_bindings(connection, name):
    exchange = kombu.Exchange(name, "topic", durable=False)
    queue = kombu.Queue(name, [kombu.binding(exchange, "a.*"), kombu.binding(exchange, "#.z")], exclusive=True)
    with connection.Producer(exchange=exchange) as producer:
        queue(connection.default_channel).declare()
        for key in ("a.z", "b.c", "q.z", "z"):
            producer.publish(key, routing_key=key)
    assert [body for body, _ in drained(connection, queue, 3)] == ["a.z", "q.z", "z"]
    exchange(connection.default_channel).delete()


def test_priorities_expiry_and_a_length_as_kombu_says_them(connection, name):
    queue = kombu.Queue(name, max_priority=5, max_length=2, message_ttl=60, expires=60, durable=False)
    with connection.Producer() as producer:
        for priority in (1, 5, 3):
            producer.publish(priority, routing_key=name, declare=[queue], priority=priority)
    bound = queue(connection.default_channel)
    # One too many: what goes is the head, the next to be delivered, as in RabbitMQ.
    assert [body for body, _ in drained(connection, bound, 2)] == [3, 1]
    bound.delete()


def test_a_quorum_queue_with_a_delivery_limit_and_dead_letters(connection, name):
    dead = kombu.Queue(f"{name}-dead", exclusive=True)
    queue = kombu.Queue(name, queue_arguments={
        "x-queue-type": "quorum", "x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name})
    channel = connection.channel()
    dead(channel).declare()
    tries = []
    with connection.Producer(channel) as producer:
        producer.publish("poison", routing_key=name, declare=[queue])

    def refuse(body, message):
        tries.append(message.headers.get("x-delivery-count"))
        message.reject(requeue=True)

    with kombu.Consumer(channel, [queue], callbacks=[refuse], prefetch_count=1):
        while len(tries) < 3:
            connection.drain_events(timeout=20)
    assert tries == [None, 1, 2]
    ((body, message),) = drained(connection, dead, 1)
    assert (body, message.headers["x-death"][0]["reason"]) == ("poison", "delivery_limit")
    queue(channel).delete()


def test_a_server_of_requests(connection, broker, name):
    """ConsumerProducerMixin: the worker loop of many services, with a reply queue for each client."""
    requests = kombu.Queue(name, durable=False)

    class Server(ConsumerProducerMixin):
        def __init__(self, connection):
            self.connection = connection

        def get_consumers(self, consumer, channel):
            return [consumer([requests], on_message=self.serve, prefetch_count=10)]

        def serve(self, message):
            self.producer.publish(message.payload * 2, exchange="", routing_key=message.properties["reply_to"],
                                  correlation_id=message.properties["correlation_id"], retry=True)
            message.ack()

    server = Server(connection.clone())
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    replies = kombu.Queue(f"{name}-replies", exclusive=True, auto_delete=True)
    with connection.Producer() as producer:
        for i in range(10):
            producer.publish(i, routing_key=name, declare=[requests, replies], reply_to=replies.name, correlation_id=str(i))
    got = drained(connection, replies, 10)
    assert [(body, message.properties["correlation_id"]) for body, message in got] == [(2 * i, str(i)) for i in range(10)]
    server.should_stop = True
    thread.join(10)
    assert not thread.is_alive()


def test_simple_queues(connection, name):
    with connection.SimpleQueue(name) as queue:
        queue.put({"hello": 1})
        message = queue.get(timeout=20)
        assert message.payload == {"hello": 1}
        message.requeue()
        assert queue.get(timeout=20).delivery_info["redelivered"]
        assert queue.clear() == 0
    kombu.Queue(name)(connection.default_channel).delete()


def test_confirms_and_what_goes_nowhere(broker, name):
    options = {"confirm_publish": True}
    with kombu.Connection(f"amqp://{broker.host}:{broker.amqp_port}//", transport_options=options) as connection:
        returned = []
        with connection.Producer(on_return=lambda *told: returned.append(told[1:2])) as producer:
            producer.publish("lost", routing_key=name, mandatory=True)
            # The return came before the confirm that publish waited for.
            assert returned
        full = kombu.Queue(name, max_length=1, queue_arguments={"x-overflow": "reject-publish"})
        with connection.Producer() as producer:
            producer.publish("one", routing_key=name, declare=[full])
            with pytest.raises(MessageNacked):
                producer.publish("two", routing_key=name)
        full(connection).delete()


def test_a_connection_is_made_again_after_kill_9(own_broker, name):
    """`ensure`, as Celery publishes: the producer retries over the restart, the durable queue has both messages."""
    url = f"amqp://{own_broker.host}:{own_broker.amqp_port}//"
    with kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
        queue = kombu.Queue(name)
        with connection.Producer() as producer:
            producer.publish("before", routing_key=name, declare=[queue])
            own_broker.restart()
            producer.publish("after", routing_key=name, declare=[queue], retry=True, retry_policy={"interval_start": 0.1, "max_retries": 50})
        assert [body for body, _ in drained(connection, queue, 2)] == ["before", "after"]


def test_broadcast(connection, name):
    exchange = kombu.Exchange(name, "fanout", auto_delete=True)
    with connection.channel() as one, connection.channel() as other:
        queues = [kombu.common.Broadcast(name=f"{name}-{i}", exchange=exchange)(channel) for i, channel in enumerate((one, other))]
        [queue.declare() for queue in queues]
        with connection.Producer() as producer:
            producer.publish("news", exchange=exchange)
        assert [drained(connection, queue, 1)[0][0] for queue in queues] == ["news", "news"]
