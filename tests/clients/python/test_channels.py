"""Transactions, direct reply-to, copies, alternate exchanges, exchange types and consumer priorities."""

import os
import threading

import pika
import pika.exceptions
import pytest

from conftest import Broker, eventually
from test_lifetimes import bodies, ready, take, take_unacked
from test_pika import channel, connect, connection, drain, persistent  # noqa: F401 (fixtures)
from test_queue_kinds import ours

# --- transactions ---------------------------------------------------------------------------------------------------


def test_publishes_appear_with_the_commit_and_not_before(channel, connection, name):
    channel.queue_declare(name, durable=True)
    channel.tx_select()
    for i in range(3):
        channel.basic_publish("", name, str(i), persistent())
    other = connection.channel()
    assert ready(other, name) == 0
    channel.tx_commit()
    assert bodies(other, name) == [b"0", b"1", b"2"]
    channel.queue_delete(name)


def test_rollback_forgets_publishes_and_keeps_acks_back(channel, connection, name):
    channel.queue_declare(name, durable=True)
    channel.basic_publish("", name, b"first", persistent())
    channel.tx_select()
    method, _, _ = take_unacked(channel, name)
    channel.basic_ack(method.delivery_tag)
    channel.basic_publish("", name, b"never", persistent())
    channel.tx_rollback()
    # The delivery is still unacknowledged and can be settled again.
    channel.basic_nack(method.delivery_tag, requeue=True)
    channel.tx_commit()
    assert bodies(connection.channel(), name) == [b"first"]
    channel.queue_delete(name)


def test_acks_take_effect_with_the_commit(broker, channel, name):
    channel.queue_declare(name, durable=True)
    channel.basic_publish("", name, b"x", persistent())
    other = connect(broker)
    theirs = other.channel()
    theirs.tx_select()
    method, _, _ = take_unacked(theirs, name)
    theirs.basic_ack(method.delivery_tag)
    other.close()
    # Not committed: it comes back.
    method, _, body = take_unacked(channel, name)
    assert body == b"x" and method.redelivered
    channel.basic_ack(method.delivery_tag)
    channel.queue_delete(name)


def test_what_was_committed_survives_kill_9(own_broker, name):
    channel = connect(own_broker).channel()
    queues = [f"{name}-{i}" for i in range(3)]
    for queue in queues:
        channel.queue_declare(queue, durable=True)
    channel.tx_select()
    for i in range(10):
        for queue in queues:
            channel.basic_publish("", queue, str(i), persistent())
    channel.tx_commit()
    channel.basic_publish("", queues[0], b"uncommitted", persistent())
    own_broker.restart()
    channel = connect(own_broker).channel()
    for queue in queues:
        assert bodies(channel, queue) == [str(i).encode() for i in range(10)]


@pytest.fixture
def broker_of_four(tmp_path):
    """One with four data shards, that the test may kill."""
    if os.environ.get("BOWLINE_AMQP") or os.environ.get("BOWLINE_KAFKA"):
        pytest.skip("needs a broker of its own")
    broker = Broker(tmp_path / "data", "--shards", "4").start()
    yield broker
    if broker.process.poll() is None:
        broker.kill()


def test_a_transaction_is_whole_wherever_its_queues_lie(broker_of_four, name):
    """Queues of all data shards, and a topic: killed at any point, all of them have a transaction or none has."""
    queues = [f"{name}-{i}" for i in range(6)]
    channel = connect(broker_of_four).channel()
    for queue in queues:
        channel.queue_declare(queue, durable=True)
    stream = f"{name}-stream"
    channel.queue_declare(stream, durable=True, arguments={"x-queue-type": "stream"})
    committed, begun = set(), 0
    for life in range(6):
        channel = connect(broker_of_four).channel()
        channel.tx_select()
        killer = threading.Timer(0.05 + 0.03 * life, broker_of_four.kill)
        killer.start()
        try:
            while True:
                begun += 1
                for queue in [*queues, stream]:
                    channel.basic_publish("", queue, str(begun), persistent())
                channel.tx_commit()
                committed.add(begun)
        except pika.exceptions.AMQPError:
            killer.join()
        broker_of_four.start()
    channel = connect(broker_of_four).channel()
    # What was not answered may be still on its way to the last queue.
    first = bodies(channel, queues[0])
    assert len(first) == len(set(first)) and committed <= {int(body) for body in first}
    assert len(committed) > 6, "too few to say anything"
    for queue in queues[1:]:
        eventually(lambda queue=queue: ready(channel, queue) == len(first))
        assert bodies(channel, queue) == first
    assert read_stream(broker_of_four, stream, len(first)) == first


def read_stream(broker, stream, count):
    channel = connect(broker).channel()
    channel.basic_qos(prefetch_count=100)
    found = []
    for method, _, body in channel.consume(stream, arguments={"x-stream-offset": "first"}, inactivity_timeout=10):
        if method is None:
            break
        found.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(found) == count:
            break
    channel.cancel()
    return found


def test_confirms_and_transactions_do_not_mix(connection):
    channel = connection.channel()
    channel.tx_select()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.confirm_delivery()
    assert closed.value.reply_code == 406 and "cannot switch from tx to confirm mode" in closed.value.reply_text
    channel = connection.channel()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.tx_commit()
    assert closed.value.reply_code == 406 and "channel is not transactional" in closed.value.reply_text


# --- direct reply-to ------------------------------------------------------------------------------------------------

REPLY_TO = "amq.rabbitmq.reply-to"


def test_a_question_is_answered_without_a_queue(broker, connection, name):
    asking = connection.channel()
    asking.queue_declare(name, exclusive=False, auto_delete=True)
    answers = []
    asking.basic_consume(REPLY_TO, lambda _, m, p, body: answers.append((p.correlation_id, body)), auto_ack=True)
    for i in range(5):
        asking.basic_publish("", name, str(i), pika.BasicProperties(reply_to=REPLY_TO, correlation_id=str(i)))
    server = connect(broker)
    serving = server.channel()
    for _, properties, body in drain(serving, name, 5):
        assert properties.reply_to.startswith(REPLY_TO + ".")
        # Whoever answers may ask whether somebody still listens.
        assert serving.queue_declare(properties.reply_to, passive=True).method.queue == properties.reply_to
        serving.basic_publish("", properties.reply_to, body * 2, pika.BasicProperties(correlation_id=properties.correlation_id))
    eventually(lambda: connection.process_data_events(0.05) or len(answers) == 5)
    assert answers == [(str(i), str(i).encode() * 2) for i in range(5)]
    server.close()


@pytest.mark.parametrize("mistake, text", [
    ("acknowledging", "reply consumer cannot acknowledge"), ("twice", "reply consumer already set"),
    ("not listening", "fast reply consumer does not exist"),
])
def test_mistakes_with_direct_reply_to(connection, mistake, text):
    channel = connection.channel()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        if mistake == "not listening":
            channel.basic_publish("", "anybody", b"", pika.BasicProperties(reply_to=REPLY_TO))
        else:
            channel.basic_consume(REPLY_TO, lambda *_: None, auto_ack=mistake == "twice")
            channel.basic_consume(REPLY_TO, lambda *_: None, auto_ack=True)
        channel.queue_declare("", exclusive=True)
    assert closed.value.reply_code == 406 and text in closed.value.reply_text


def test_a_forged_reply_address_reaches_nobody(broker, connection):
    ours(broker)  # RabbitMQ 3.10 falls over such an address (541).
    channel = connection.channel()
    answers = []
    channel.basic_consume(REPLY_TO, lambda *message: answers.append(message), auto_ack=True)
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish("", REPLY_TO + ".g1h2AA5yZXBseUA.forged", b"x", mandatory=True)
    connection.process_data_events(0.1)
    assert not answers


# --- copies ---------------------------------------------------------------------------------------------------------


def test_cc_and_bcc(channel, name):
    queues = [f"{name}-{i}" for i in range(3)]
    for queue in queues:
        channel.queue_declare(queue, exclusive=True)
    channel.basic_publish("", queues[0], b"x", pika.BasicProperties(headers={"CC": [queues[1]], "BCC": [queues[2]]}))
    for queue in queues:
        method, properties, _ = take(channel, queue)
        assert method.routing_key == queues[0]
        # The receivers see one another, but not those of BCC.
        assert properties.headers == {"CC": [queues[1]]}


# --- exchanges ------------------------------------------------------------------------------------------------------


def test_an_alternate_exchange_takes_what_nobody_wants(channel, name):
    other, queue = name + "-other", name + "-q"
    channel.exchange_declare(other, "fanout", auto_delete=True)
    channel.exchange_declare(name, "direct", arguments={"alternate-exchange": other})
    for unwanted, keys in ((True, []), (False, ["key"])):
        channel.queue_declare(f"{queue}-{unwanted}", exclusive=True)
        channel.queue_bind(f"{queue}-{unwanted}", other if unwanted else name, "key")
    channel.confirm_delivery()
    channel.basic_publish(name, "key", b"wanted", mandatory=True)
    channel.basic_publish(name, "nobody's", b"unwanted", mandatory=True)
    assert bodies(channel, queue + "-False") == [b"wanted"]
    assert bodies(channel, queue + "-True") == [b"unwanted"]
    channel.exchange_delete(name)


# --- consumers ------------------------------------------------------------------------------------------------------


def test_the_consumer_with_the_higher_priority_is_served_first(connection, name):
    low, high = connection.channel(), connection.channel()
    low.queue_declare(name, auto_delete=True)
    got = []
    for channel, tag, priority in ((low, "low", 0), (high, "high", 10)):
        channel.basic_qos(prefetch_count=2)
        channel.basic_consume(name, lambda _, m, p, b: got.append((m.consumer_tag, b)), consumer_tag=tag,
                              arguments={"x-priority": priority})
    for i in range(4):
        low.basic_publish("", name, str(i))
    eventually(lambda: connection.process_data_events(0.05) or len(got) == 4)
    assert sorted(got) == [("high", b"0"), ("high", b"1"), ("low", b"2"), ("low", b"3")]
