"""Messages that are to come later: Bowline's own, with the header and the exchange type of RabbitMQ's plugin."""

import time

import pika
import pika.exceptions
import pytest

from conftest import eventually
from test_lifetimes import bodies, dead, declare, ready, take, take_unacked  # noqa: F401 (fixtures)
from test_pika import channel, connect, connection, persistent  # noqa: F401 (fixtures)
from test_queue_kinds import ours


def test_a_delayed_message_comes_when_it_is_time(broker, channel, name):
    ours(broker)
    declare(channel, name)
    began = time.monotonic()
    channel.basic_publish("", name, b"later", persistent(headers={"x-delay": 1_000}))
    channel.basic_publish("", name, b"now", persistent())
    assert take(channel, name)[2] == b"now"
    assert channel.basic_get(name)[0] is None
    assert take(channel, name)[2] == b"later"
    assert time.monotonic() - began > 0.9
    channel.queue_delete(name)


def test_the_delayed_exchange(broker, channel, name):
    """As the plugin had it: a type, the type that it routes like, and a header."""
    ours(broker)
    channel.exchange_declare(name, "x-delayed-message", durable=True, arguments={"x-delayed-type": "direct"})
    declare(channel, name)
    channel.queue_bind(name, name, "key")
    for delay in (800, 400, 0):
        channel.basic_publish(name, "key", str(delay), persistent(headers={"x-delay": delay}))
    got = [take(channel, name) for _ in range(3)]
    assert [body for _, _, body in got] == [b"0", b"400", b"800"]
    # It shows by its negative that it is over: who publishes the message again does not delay it again.
    assert [properties.headers["x-delay"] for _, properties, _ in got] == [0, -400, -800]
    channel.queue_delete(name)
    channel.exchange_delete(name)


def test_delayed_messages_survive_kill_9(own_broker, name):
    channel = connect(own_broker).channel()
    declare(channel, name)
    for i in range(20):
        channel.basic_publish("", name, str(i), persistent(headers={"x-delay": 3_000}))
    own_broker.restart()
    channel = connect(own_broker).channel()
    eventually(lambda: ready(channel, name) == 20)
    assert bodies(channel, name) == [str(i).encode() for i in range(20)]


# --- cancelling -----------------------------------------------------------------------------------------------------


def delayed(ms, handle, **more):
    return persistent(headers={"x-delay": ms, "x-delay-handle": handle, **more})


def cancels(channel, exchange, key, handle):
    """Whether something was cancelled everywhere: an ack. The channel confirms."""
    try:
        channel.basic_publish(exchange, key, b"", pika.BasicProperties(headers={"x-delay-cancel": handle}))
        return True
    except pika.exceptions.NackError:
        return False


def test_a_delayed_message_is_cancelled_by_its_handle(broker, channel, name):
    ours(broker)
    declare(channel, name)
    for handle in ("one", "two", "three"):
        channel.basic_publish("", name, handle, delayed(1_000, handle))
    assert cancels(channel, "", name, "two")
    assert not cancels(channel, "", name, "two"), "once is enough"
    assert not cancels(channel, "", name, "four"), "nothing has that name"
    assert [take(channel, name)[2] for _ in range(2)] == [b"one", b"three"]
    assert not cancels(channel, "", name, "one"), "its time has come"
    assert ready(channel, name) == 0
    channel.queue_delete(name)


def test_what_is_ready_cannot_be_cancelled(broker, channel, name):
    ours(broker)
    declare(channel, name)
    channel.basic_publish("", name, b"x", delayed(100, "h"))
    eventually(lambda: ready(channel, name) == 1)
    assert not cancels(channel, "", name, "h")
    assert take(channel, name)[2] == b"x"
    channel.queue_delete(name)


def test_cancelling_goes_the_way_of_the_message(broker, channel, name):
    """Through the delayed exchange, and to every queue that it leads to."""
    ours(broker)
    channel.exchange_declare(name, "x-delayed-message", durable=True, arguments={"x-delayed-type": "topic"})
    queues = [f"{name}-{i}" for i in range(5)]
    for queue in queues:
        declare(channel, queue)
        channel.queue_bind(queue, name, "order.#")
    channel.basic_publish(name, "order.17", b"gone", delayed(700, "17"))
    channel.basic_publish(name, "order.18", b"stays", delayed(700, "18"))
    assert cancels(channel, name, "order.17", "17")
    assert not cancels(channel, name, "nobody", "18"), "that leads nowhere"
    # One of the queues does not have it any more: then it is no longer cancelled everywhere.
    assert cancels(channel, "", queues[0], "18")
    assert not cancels(channel, name, "order.18", "18")
    channel.basic_publish(name, "order.19", b"last", delayed(700, "19"))
    for queue in queues:
        assert take(channel, queue)[2] == b"last"
        channel.queue_delete(queue)
    channel.exchange_delete(name)


def test_a_second_message_with_a_handle_replaces_the_first(broker, channel, name):
    ours(broker)
    declare(channel, name)
    channel.basic_publish("", name, b"soon", delayed(500, "h"))
    channel.basic_publish("", name, b"later", delayed(1_200, "h"))
    began = time.monotonic()
    assert take(channel, name)[2] == b"later"
    assert time.monotonic() - began > 1
    assert channel.basic_get(name)[0] is None
    channel.queue_delete(name)


def test_handles_survive_kill_9_and_so_do_cancels(own_broker, name):
    channel = connect(own_broker).channel()
    declare(channel, name)
    for i in range(30):
        # A message with a handle is in the log, whatever its delivery mode.
        mode = 1 + i % 2
        headers = {"x-delay": 4_000, "x-delay-handle": f"h{i}"}
        channel.basic_publish("", name, f"{i}", pika.BasicProperties(delivery_mode=mode, headers=headers))
    assert all(cancels(channel, "", name, f"h{i}") for i in range(0, 30, 3))
    own_broker.restart()
    channel = connect(own_broker).channel()
    channel.confirm_delivery()
    assert not cancels(channel, "", name, "h0")
    assert all(cancels(channel, "", name, f"h{i}") for i in range(1, 30, 3))
    own_broker.restart()
    channel = connect(own_broker).channel()
    eventually(lambda: ready(channel, name) == 10)
    assert bodies(channel, name) == [f"{i}".encode() for i in range(2, 30, 3)]


def test_cancelling_in_a_transaction(broker, connection, name):
    """Takes effect with the commit, which does not fail if there is nothing."""
    ours(broker)
    declare(connection.channel(), name)
    channel = connection.channel()
    channel.tx_select()
    channel.basic_publish("", name, b"old", delayed(600, "h"))
    channel.tx_commit()
    cancel = pika.BasicProperties(headers={"x-delay-cancel": "h"})
    channel.basic_publish("", name, b"", cancel)
    channel.tx_rollback()
    channel.basic_publish("", name, b"", cancel)
    channel.basic_publish("", name, b"", pika.BasicProperties(headers={"x-delay-cancel": "unknown"}))
    channel.basic_publish("", name, b"new", persistent())
    channel.tx_commit()
    assert take(channel, name)[2] == b"new"
    time.sleep(0.8)  # Longer than the delay: what was cancelled does not come.
    assert channel.basic_get(name)[0] is None
    channel.queue_delete(name)


def test_a_dead_letter_has_no_handle_and_does_not_wait(broker, channel, name, dead):
    ours(broker)
    declare(channel, name, **dead.arguments)
    channel.basic_publish("", name, b"x", delayed(300, "h"))
    method = take_unacked(channel, name)[0]
    channel.basic_reject(method.delivery_tag, requeue=False)
    method, properties, body = dead.take()
    assert body == b"x" and properties.headers["x-delay-handle"] == "h"
    assert not cancels(channel, "", dead.queue, "h")
    channel.queue_delete(name)


@pytest.mark.parametrize("headers, why", [
    ({"x-delay-handle": 5}, "invalid header 'x-delay-handle': expected a string"),
    ({"x-delay-handle": "x" * 256}, "invalid header 'x-delay-handle': expected 1 to 255 octets, got 256"),
    ({"x-delay-cancel": ""}, "invalid header 'x-delay-cancel': expected 1 to 255 octets, got 0"),
    ({"x-schedule": "every 1s"}, "it needs a header 'x-delay-handle'"),
    ({"x-schedule": "0 0 30 2 *", "x-delay-handle": "h"}, "invalid header 'x-schedule': no day is like that"),
    ({"x-schedule": "61 * * * *", "x-delay-handle": "h"}, "61 is not within 0 to 59"),
    ({"x-schedule": "every 1s", "x-delay-handle": "h", "x-schedule-count": -1}, "'x-schedule-count': expected"),
])
def test_headers_that_make_no_sense_are_refused(broker, channel, name, headers, why):
    ours(broker)
    declare(channel, name)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
        channel.basic_publish("", name, b"x", persistent(headers=headers))
    assert refused.value.reply_code == 406 and why in refused.value.reply_text
    channel.connection.channel().queue_delete(name)


# --- schedules ------------------------------------------------------------------------------------------------------


def recurring(schedule, handle, **more):
    return persistent(headers={"x-schedule": schedule, "x-delay-handle": handle, **more})


def test_a_message_recurs_until_it_is_cancelled(broker, channel, name):
    ours(broker)
    declare(channel, name)
    channel.basic_publish("", name, b"tick", recurring("every 300ms", "h", mine="yes"))
    assert ready(channel, name) == 0, "the template itself is not there to be had"
    times = []
    for _ in range(4):
        method, properties, body = take(channel, name)
        assert body == b"tick" and properties.headers["mine"] == "yes" and properties.delivery_mode == 2
        assert "x-schedule" not in properties.headers
        times.append(properties.headers["x-scheduled-for"])
    assert [later - earlier for earlier, later in zip(times, times[1:])] == [300, 300, 300]
    assert cancels(channel, "", name, "h")
    bodies(channel, name)
    time.sleep(0.7)  # More than two periods: nothing comes any more.
    assert ready(channel, name) == 0
    channel.queue_delete(name)


def test_a_cron_expression(broker, channel, name):
    """The time of the first copy is in the set. (That it comes then is shown with periods, which are shorter.)"""
    ours(broker)
    declare(channel, name)
    channel.basic_publish("", name, b"x", recurring("*/1 * * * *", "h"))
    wait = 60 - time.time() % 60
    got = eventually(lambda: (message := channel.basic_get(name, auto_ack=True))[0] and message, timeout=wait + 20)
    due = got[1].headers["x-scheduled-for"]
    assert due % 60_000 == 0 and abs(due - time.time() * 1000) < 30_000
    channel.queue_delete(name)


def test_schedules_end_by_themselves(broker, channel, name):
    ours(broker)
    declare(channel, name)
    until = int(time.time() * 1000) + 1_000
    channel.basic_publish("", name, b"count", recurring("every 100ms", "a", **{"x-schedule-count": 3}))
    channel.basic_publish("", name, b"until", recurring("every 300ms", "b", **{"x-schedule-until": until}))
    time.sleep(1.5)
    got = bodies(channel, name)
    assert got.count(b"count") == 3 and 1 <= got.count(b"until") <= 3
    # A queue with a schedule that goes on would not be empty.
    channel.queue_delete(name, if_empty=True)


def test_a_schedule_survives_kill_9_and_catches_up_once(own_broker, name):
    channel = connect(own_broker).channel()
    declare(channel, name)
    channel.basic_publish("", name, b"tick", recurring("every 500ms", "h"))
    first = take(channel, name)[1].headers["x-scheduled-for"]
    own_broker.kill()
    time.sleep(1.6)  # Some times are missed.
    own_broker.start()
    channel = connect(own_broker).channel()
    channel.confirm_delivery()
    times = [first]
    while len(times) < 5:
        method, properties, _ = take(channel, name)
        # The acknowledgement of the first may have been lost.
        if not (properties.headers["x-scheduled-for"] == first and method.redelivered):
            times.append(properties.headers["x-scheduled-for"])
    assert len(set(times)) == 5 and times == sorted(times), "none twice"
    assert all((due - first) % 500 == 0 for due in times), "the rhythm is kept"
    # What was missed is made up for by one copy, then one comes at a time.
    steps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert sum(step > 500 for step in steps) <= 2 and steps[-2:] == [500, 500]
    assert cancels(channel, "", name, "h")
    own_broker.restart()
    channel = connect(own_broker).channel()
    channel.confirm_delivery()
    assert not cancels(channel, "", name, "h")


def test_a_queue_with_a_schedule_is_not_empty_and_purging_leaves_it(broker, channel, name):
    ours(broker)
    declare(channel, name)
    channel.basic_publish("", name, b"tick", recurring("every 1h", "h"))
    channel.queue_purge(name)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.queue_delete(name, if_empty=True)
    channel = channel.connection.channel()
    channel.confirm_delivery()
    assert cancels(channel, "", name, "h")
    channel.queue_delete(name, if_empty=True)


def test_what_waits_does_not_age(broker, channel, name):
    """A time to live counts from when the message is there to be had, as with the plugin."""
    ours(broker)
    declare(channel, name, x_message_ttl=500)
    channel.basic_publish("", name, b"x", persistent(headers={"x-delay": 1_000}))
    assert take(channel, name)[2] == b"x"
    channel.queue_delete(name)
