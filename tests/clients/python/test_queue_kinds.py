"""Queues that do more than first in, first out: priorities, a single active consumer, counted deliveries, delays, retries,
deduplication. RabbitMQ's where it has them; the rest is Bowline's own."""

import time

import pika
import pika.exceptions
import pytest

from conftest import eventually
from test_lifetimes import Graveyard, bodies, dead, declare, ready, take, take_unacked  # noqa: F401 (fixtures)
from test_pika import channel, connect, connection, drain, persistent  # noqa: F401 (fixtures)


def ours(broker):
    """Skips what RabbitMQ does not have."""
    if not hasattr(broker, "data_dir"):
        pytest.skip("Bowline's own")


# --- priorities -----------------------------------------------------------------------------------------------------


def test_the_highest_priority_comes_first(channel, name):
    declare(channel, name, x_max_priority=5)
    for i, priority in enumerate([0, 5, None, 3, 5, 9, 1]):
        channel.basic_publish("", name, f"{i}", persistent(priority=priority))
    # 9 counts as 5, none as 0; equals keep their order.
    assert bodies(channel, name) == [b"1", b"4", b"5", b"3", b"6", b"0", b"2"]
    channel.queue_delete(name)


def test_a_requeued_message_keeps_its_priority(channel, name):
    declare(channel, name, x_max_priority=5)
    for priority in (1, 4):
        channel.basic_publish("", name, f"{priority}", persistent(priority=priority))
    method, properties, body = take_unacked(channel, name)
    assert (body, properties.priority) == (b"4", 4)
    channel.basic_reject(method.delivery_tag, requeue=True)
    eventually(lambda: ready(channel, name) == 2)
    assert bodies(channel, name) == [b"4", b"1"]
    channel.queue_delete(name)


def test_priorities_survive_kill_9(own_broker, name):
    channel = connect(own_broker).channel()
    declare(channel, name, x_max_priority=9)
    for i in range(30):
        channel.basic_publish("", name, str(i), persistent(priority=i % 10))
    own_broker.restart()
    channel = connect(own_broker).channel()
    assert bodies(channel, name) == [str(i).encode() for p in range(9, -1, -1) for i in range(30) if i % 10 == p]


# --- one active consumer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_only_one_consumer_is_served_and_another_takes_over(connection, name, kind):
    first, second = connection.channel(), connection.channel()
    declare(first, name, kind, x_single_active_consumer=True)
    got = []
    first.basic_consume(name, lambda _, m, p, b: got.append((1, b)) or first.basic_ack(m.delivery_tag), consumer_tag="1")
    second.basic_consume(name, lambda _, m, p, b: got.append((2, b)) or second.basic_ack(m.delivery_tag), consumer_tag="2")
    for i in range(4):
        second.basic_publish("", name, str(i), persistent())
    eventually(lambda: connection.process_data_events(0.05) or len(got) == 4)
    assert {who for who, _ in got} == {1}
    first.basic_cancel("1")
    second.basic_publish("", name, b"4", persistent())
    eventually(lambda: connection.process_data_events(0.05) or len(got) == 5)
    assert got[-1] == (2, b"4")
    second.queue_delete(name)


def test_get_is_refused_on_it(broker, channel, name):
    ours(broker)  # RabbitMQ 3.10 lets it pass; newer ones refuse it.
    declare(channel, name, x_single_active_consumer=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.basic_get(name)
    assert closed.value.reply_code == 405 and "single active consumer" in closed.value.reply_text


def test_an_exclusive_consumer_is_refused_on_it(channel, name):
    declare(channel, name, x_single_active_consumer=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.basic_consume(name, lambda *_: None, exclusive=True)
    assert closed.value.reply_code == 403


# --- counted deliveries ---------------------------------------------------------------------------------------------


def test_a_poison_message_is_dead_lettered(channel, name, dead):
    declare(channel, name, "quorum", x_delivery_limit=2, **dead.arguments)
    channel.basic_publish("", name, b"poison", persistent())
    for attempt in range(3):
        method, properties, _ = take_unacked(channel, name)
        assert (properties.headers or {}).get("x-delivery-count", 0) == attempt
        channel.basic_reject(method.delivery_tag, requeue=True)
    _, properties, body = dead.take()
    assert (body, properties.headers["x-death"][0]["reason"]) == (b"poison", "delivery_limit")
    assert channel.basic_get(name)[0] is None
    channel.queue_delete(name)


def test_a_delivery_limit_counts_over_kill_9(own_broker, name):
    channel = connect(own_broker).channel()
    dead = Graveyard(channel, name)
    declare(channel, name, "quorum", x_delivery_limit=3, **dead.arguments)
    channel.basic_publish("", name, b"poison", persistent())
    for _ in range(2):
        method, _, _ = take_unacked(channel, name)
        channel.basic_reject(method.delivery_tag, requeue=True)
    # A confirm of what comes after is durable after what came before.
    channel.basic_publish("", dead.queue + "x", b"", persistent())
    eventually(lambda: ready(channel, name) == 1)
    channel.queue_declare(name + "-other", durable=True)
    own_broker.restart()
    channel = connect(own_broker).channel()
    rejected = 0
    while ready(channel, dead.queue) == 0:
        method, properties, _ = channel.basic_get(name)
        if method:
            channel.basic_reject(method.delivery_tag, requeue=True)
            rejected += 1
    # At most as often as if there had been no crash and what was counted last had been lost.
    assert 1 <= rejected <= 4


# --- a consumer that holds a message too long ---------------------------------------------------------------------


def test_a_consumer_that_holds_a_message_too_long_loses_it(broker, connection, name):
    ours(broker)
    channel = connection.channel()
    declare(channel, name, "quorum", x_consumer_timeout=1_000)
    channel.basic_publish("", name, b"x", persistent())
    got, cancelled = [], []
    channel.add_on_cancel_callback(cancelled.append)
    channel.basic_consume(name, lambda *message: got.append(message), consumer_tag="slow")
    eventually(lambda: connection.process_data_events(0.05) or cancelled)
    assert [message[3] for message in got] == [b"x"]
    method, _, body = take_unacked(channel, name)
    assert body == b"x" and method.redelivered
    channel.basic_ack(method.delivery_tag)
    channel.queue_delete(name)


# --- again ----------------------------------------------------------------------------------------------------------


def test_a_rejected_message_waits_longer_each_time_and_then_dies(broker, channel, name, dead):
    ours(broker)
    declare(channel, name, x_retry_attempts=3, x_retry_delays=[200, 600], **dead.arguments)
    channel.basic_publish("", name, b"x", persistent())
    times = []
    for _ in range(3):
        method, _, _ = take_unacked(channel, name)
        times.append(time.monotonic())
        channel.basic_reject(method.delivery_tag, requeue=True)
    assert times[1] - times[0] > 0.15 and times[2] - times[1] > 0.5
    _, properties, body = dead.take()
    assert (body, properties.headers["x-death"][0]["reason"]) == (b"x", "delivery_limit")
    channel.queue_delete(name)


def test_attempts_grow_apart_and_are_capped(broker, channel, name, dead):
    ours(broker)
    declare(channel, name, x_retry_attempts=4, x_retry_min=200, x_retry_factor=3, x_retry_max=500, x_retry_jitter=0,
            **dead.arguments)
    channel.basic_publish("", name, b"x", persistent())
    times = []
    for _ in range(4):
        method, _, _ = take_unacked(channel, name)
        times.append(time.monotonic())
        channel.basic_reject(method.delivery_tag, requeue=True)
    steps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert steps[0] > 0.19 and steps[1] > 0.49 and steps[2] > 0.49
    assert dead.take()[1].headers["x-death"][0]["reason"] == "delivery_limit"
    channel.queue_delete(name)


def test_what_counts_as_an_attempt(broker, channel, name, dead):
    """With x-retry-on failed, basic.nack with requeue comes back at once and does not count."""
    ours(broker)
    declare(channel, name, x_retry_attempts=2, x_retry_delays=[300], x_retry_on="failed", **dead.arguments)
    channel.basic_publish("", name, b"x", persistent())
    for _ in range(3):
        method, properties, _ = take_unacked(channel, name)
        channel.basic_nack(method.delivery_tag, requeue=True)
    method, properties, _ = take_unacked(channel, name)
    assert (properties.headers["x-acquired-count"], properties.headers["x-delivery-count"]) == (3, 0)
    # A lost consumer is a failure.
    other = connect(broker)
    lost = other.channel()
    channel.basic_nack(method.delivery_tag, requeue=True)
    take_unacked(lost, name)
    other.close()
    began = time.monotonic()
    method, properties, _ = take_unacked(channel, name)
    assert time.monotonic() - began > 0.2 and properties.headers["x-delivery-count"] == 1
    channel.basic_reject(method.delivery_tag, requeue=True)
    assert dead.take()[2] == b"x"
    channel.queue_delete(name)


def test_a_consumer_says_how_long_what_it_rejects_waits(broker, connection, name):
    ours(broker)
    channel = connection.channel()
    declare(channel, name, x_retry_delays=[60_000])
    channel.basic_publish("", name, b"x", persistent())
    times = []

    def reject(channel, method, properties, body):
        times.append(time.monotonic())
        channel.basic_reject(method.delivery_tag, requeue=True)

    channel.basic_consume(name, reject, arguments={"x-retry-delay": 300})
    eventually(lambda: connection.process_data_events(0.05) or len(times) == 3)
    assert all(later - earlier > 0.25 for earlier, later in zip(times, times[1:]))
    channel.queue_delete(name)


def test_attempts_are_counted_over_kill_9(own_broker, name):
    """As often as the message may fail, and once more for each crash at most."""
    limit, crashes, seen = 6, 0, 0
    channel = connect(own_broker).channel()
    declare(channel, name, x_retry_attempts=limit, x_retry_delays=[1])
    channel.basic_publish("", name, b"x", persistent())
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < 3:
        method, _, _ = channel.basic_get(name)
        if method is None:
            time.sleep(0.02)
            continue
        idle_since = time.monotonic()
        seen += 1
        channel.basic_reject(method.delivery_tag, requeue=True)
        if seen in (2, 4):
            own_broker.restart()
            crashes += 1
            channel = connect(own_broker).channel()
    assert limit <= seen <= limit + crashes


# --- once -----------------------------------------------------------------------------------------------------------


def test_a_second_message_with_the_same_id_is_confirmed_and_dropped(broker, channel, name):
    ours(broker)
    declare(channel, name, x_deduplication=True)
    for message_id in ("a", "b", "a", None, None, "b"):
        channel.basic_publish("", name, str(message_id), persistent(message_id=message_id))
    eventually(lambda: ready(channel, name) == 4)
    assert bodies(channel, name) == [b"a", b"b", b"None", b"None"]
    # Consumed is not forgotten.
    channel.basic_publish("", name, b"a", persistent(message_id="a"))
    assert ready(channel, name) == 0
    channel.queue_delete(name)


def test_seen_ids_survive_kill_9(own_broker, name):
    channel = connect(own_broker).channel()
    declare(channel, name, x_deduplication=True)
    for i in range(100):
        channel.basic_publish("", name, str(i), persistent(message_id=str(i)))
    own_broker.restart()
    channel = connect(own_broker).channel()
    channel.confirm_delivery()
    for i in range(50, 150):
        channel.basic_publish("", name, str(i), persistent(message_id=str(i)))
    eventually(lambda: ready(channel, name) == 150)
    assert bodies(channel, name) == [str(i).encode() for i in range(150)]


def test_one_window_for_persistent_and_transient(broker, channel, name):
    ours(broker)
    declare(channel, name, x_deduplication=True)
    transient = lambda id: pika.BasicProperties(delivery_mode=1, message_id=id)
    channel.basic_publish("", name, b"1", persistent(message_id="a"))
    channel.basic_publish("", name, b"2", transient("a"))
    channel.basic_publish("", name, b"3", transient("b"))
    channel.basic_publish("", name, b"4", persistent(message_id="b"))
    channel.basic_publish("", name, b"5", transient("b"))
    eventually(lambda: ready(channel, name) == 2)
    assert bodies(channel, name) == [b"1", b"3"]
    channel.queue_delete(name)


def test_the_window_ends_by_time(broker, channel, name):
    ours(broker)
    declare(channel, name, x_deduplication={"window": 1_000, "header": "id"})
    began = time.monotonic()
    channel.basic_publish("", name, b"1", persistent(headers={"id": 17}))
    # A number is the same as its text; the second does not make the window longer.
    channel.basic_publish("", name, b"2", persistent(headers={"id": "17"}))
    if time.monotonic() - began < 0.9:
        assert ready(channel, name) == 1
    time.sleep(1.1)
    channel.basic_publish("", name, b"3", persistent(headers={"id": 17}))
    assert bodies(channel, name)[-1] == b"3"
    channel.queue_delete(name)


def test_the_window_ends_by_count(broker, channel, name):
    ours(broker)
    declare(channel, name, x_deduplication={"count": 3})
    for id in ("a", "b", "c", "a", "d", "b", "a"):
        channel.basic_publish("", name, id, persistent(message_id=id))
    # The fourth drove the first out, which then was new, and drove out the second …
    assert bodies(channel, name) == [b"a", b"b", b"c", b"d", b"a"]
    channel.queue_delete(name)


def test_ids_in_transactions(broker, connection, name):
    ours(broker)
    declare(connection.channel(), name, x_deduplication=True)
    channel = connection.channel()
    channel.tx_select()
    publish = lambda id: channel.basic_publish("", name, id, persistent(message_id=id))
    publish("a")
    channel.tx_rollback()
    publish("a")
    publish("a")
    publish("b")
    channel.tx_commit()
    publish("b")
    publish("c")
    channel.tx_commit()
    assert bodies(channel, name) == [b"a", b"b", b"c"], "what was rolled back was never seen"
    channel.queue_delete(name)


def test_a_confirmed_message_is_not_doubled_by_a_publisher_that_tries_again(own_broker, name):
    """The publisher does not know what was confirmed when the broker died, and publishes all of it again."""
    channel = connect(own_broker).channel()
    declare(channel, name, x_deduplication=True)
    def publish():
        for i in range(500):
            if i == 300 and not killed:
                killed.append(own_broker.kill())
            channel.basic_publish("", name, str(i), persistent(message_id=str(i)))
    killed = []
    with pytest.raises(pika.exceptions.AMQPError):
        publish()
    own_broker.start()
    channel = connect(own_broker).channel()
    channel.confirm_delivery()
    publish()
    assert bodies(channel, name) == [str(i).encode() for i in range(500)]


def test_an_exchange_deduplicates_for_its_queues(broker, channel, name):
    ours(broker)
    for exchange, arguments in ((name, {"x-deduplication": {"header": "id"}}), (name + "-plain", None)):
        channel.exchange_declare(exchange, "fanout", durable=True, arguments=arguments)
    plain, own = name + "-q", name + "-own"
    declare(channel, plain)
    declare(channel, own, x_deduplication=True)
    for queue in (plain, own):
        channel.queue_bind(queue, name)
        channel.queue_bind(queue, name + "-plain")
    def publish(exchange, id, message_id, body):
        channel.basic_publish(exchange, "", body, persistent(headers={"id": id}, message_id=message_id))
    publish(name, "x", "1", b"first")
    publish(name, "x", "2", b"again")
    publish(name + "-plain", "x", "3", b"elsewhere")
    publish(name, "y", "1", b"other")
    assert bodies(channel, plain) == [b"first", b"elsewhere", b"other"]
    # A queue's own comes first.
    assert bodies(channel, own) == [b"first", b"again", b"elsewhere"]
    for bad in ("yes", {"windows": 5}, {"count": 0}):
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            other = channel.connection.channel()
            other.exchange_declare(name + "-bad", "fanout", arguments={"x-deduplication": bad})
        assert refused.value.reply_code == 406
    for queue in (plain, own):
        channel.queue_delete(queue)
    for exchange in (name, name + "-plain"):
        channel.exchange_delete(exchange)


def test_an_exchange_s_window_survives_kill_9(own_broker, name):
    channel = connect(own_broker).channel()
    channel.exchange_declare(name, "direct", durable=True, arguments={"x-deduplication": True})
    declare(channel, name)
    channel.queue_bind(name, name, "k")
    for i in range(50):
        channel.basic_publish(name, "k", str(i), persistent(message_id=str(i)))
    own_broker.restart()
    channel = connect(own_broker).channel()
    channel.confirm_delivery()
    for i in range(25, 75):
        channel.basic_publish(name, "k", str(i), persistent(message_id=str(i)))
    assert bodies(channel, name) == [str(i).encode() for i in range(75)]
