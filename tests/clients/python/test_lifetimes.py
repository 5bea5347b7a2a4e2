"""How messages end, and where they go then: expiry, bounds, dead letters. As RabbitMQ's documentation promises it."""

import os
import time

import pika
import pika.exceptions
import pytest

from conftest import Broker, eventually
from test_pika import channel, connect, connection, drain, persistent  # noqa: F401 (fixtures)

# Long enough for a slow machine to get a message through before it expires, short enough to wait for.
TTL_MS = 400
FAR_MS = 3_600_000


def ready(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def take(channel, queue):
    """(method, properties, body) of a message that is there or comes soon; acknowledged."""
    def get():
        got = channel.basic_get(queue, auto_ack=True)
        return got if got[0] else None
    return eventually(get)


def bodies(channel, queue):
    got = []
    while (message := channel.basic_get(queue, auto_ack=True))[0]:
        got.append(message[2])
    return got


class Graveyard:
    """A queue for dead letters, and the arguments that lead there."""

    def __init__(self, channel, name):
        self.channel, self.queue = channel, name + "-dead"
        channel.queue_declare(self.queue, durable=True)
        self.arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.queue}

    def take(self):
        return take(self.channel, self.queue)


@pytest.fixture
def dead(channel, name):
    graveyard = Graveyard(channel, name)
    yield graveyard
    if channel.is_open:
        channel.queue_delete(graveyard.queue)


def declare(channel, name, kind="classic", **arguments):
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": kind, **arguments})
    channel.confirm_delivery()


KINDS = pytest.mark.parametrize("kind", ["classic", "quorum"])

# --- time to live ---------------------------------------------------------------------------------------------------


@KINDS
def test_a_message_expires_after_the_queue_s_ttl(channel, name, kind):
    declare(channel, name, kind, x_message_ttl=TTL_MS)
    channel.basic_publish("", name, b"old", persistent())
    eventually(lambda: ready(channel, name) == 0)
    channel.basic_publish("", name, b"new", persistent())
    assert take(channel, name)[2] == b"new"
    channel.queue_delete(name)


def test_a_message_s_own_expiration(channel, name):
    declare(channel, name)
    channel.basic_publish("", name, b"short", persistent(expiration=str(TTL_MS)))
    channel.basic_publish("", name, b"long", persistent(expiration=str(FAR_MS)))
    channel.basic_publish("", name, b"for ever", persistent())
    eventually(lambda: ready(channel, name) == 2)
    method, properties, body = take(channel, name)
    assert (body, properties.expiration) == (b"long", str(FAR_MS))
    assert take(channel, name)[2] == b"for ever"
    channel.queue_delete(name)


def test_the_shorter_of_both_counts(channel, name):
    declare(channel, name, x_message_ttl=FAR_MS)
    channel.basic_publish("", name, b"x", persistent(expiration=str(TTL_MS)))
    eventually(lambda: ready(channel, name) == 0)
    channel.queue_delete(name)
    declare(channel, name, x_message_ttl=TTL_MS)
    channel.basic_publish("", name, b"x", persistent(expiration=str(FAR_MS)))
    eventually(lambda: ready(channel, name) == 0)
    channel.queue_delete(name)


def test_ttl_zero_delivers_to_who_waits_and_drops_otherwise(channel, name):
    declare(channel, name, x_message_ttl=0)
    channel.basic_publish("", name, b"nobody waits", persistent())
    eventually(lambda: ready(channel, name) == 0)
    assert channel.basic_get(name)[0] is None
    got = []
    channel.basic_consume(name, lambda *message: got.append(message[3]), auto_ack=True)
    channel.basic_publish("", name, b"here", persistent())
    eventually(lambda: channel.connection.process_data_events(0.05) or got == [b"here"])
    channel.queue_delete(name)


def test_what_a_consumer_holds_does_not_expire_until_it_comes_back(channel, name):
    declare(channel, name, x_message_ttl=TTL_MS)
    channel.basic_publish("", name, b"held", persistent())
    method, _, body = channel.basic_get(name)
    assert body == b"held"
    time.sleep(2 * TTL_MS / 1000)  # What is tested is that time goes by.
    channel.basic_ack(method.delivery_tag)
    # Had it expired, the tag would be unknown and the channel closed.
    assert ready(channel, name) == 0
    channel.basic_publish("", name, b"held again", persistent())
    method, _, _ = channel.basic_get(name)
    time.sleep(2 * TTL_MS / 1000)
    channel.basic_reject(method.delivery_tag, requeue=True)
    eventually(lambda: ready(channel, name) == 0)
    assert channel.basic_get(name)[0] is None
    channel.queue_delete(name)


@pytest.mark.parametrize("expiration", ["-1", "soon", "1.5", ""])
def test_a_bad_expiration_is_refused(channel, name, expiration):
    channel.queue_declare(name, exclusive=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.basic_publish("", name, b"", pika.BasicProperties(expiration=expiration))
        ready(channel, name)
    assert closed.value.reply_code == 406 and f"invalid expiration '{expiration}'" in closed.value.reply_text


def test_an_unused_queue_goes_and_a_used_one_stays(channel, name):
    declare(channel, name, x_expires=TTL_MS)
    used = name + "-used"
    declare(channel, used, x_expires=TTL_MS)
    channel.basic_consume(used, lambda *_: None)

    def gone():
        other = channel.connection.channel()
        try:
            # Declaring it passively counts as a use in some versions: ask rarely.
            other.queue_declare(name, passive=True)
            other.close()
            return False
        except pika.exceptions.ChannelClosedByBroker as closed:
            return closed.reply_code == 404
    eventually(gone, every=3 * TTL_MS / 1000)
    assert ready(channel, used) == 0
    channel.queue_delete(used)


def test_expiry_goes_on_after_kill_9(own_broker, name):
    channel = connect(own_broker).channel()
    dead = Graveyard(channel, name)
    declare(channel, name, x_message_ttl=3_000, **dead.arguments)
    for i in range(20):
        channel.basic_publish("", name, str(i), persistent())
    own_broker.restart()
    channel = connect(own_broker).channel()
    eventually(lambda: ready(channel, dead.queue) == 20)
    assert bodies(channel, dead.queue) == [str(i).encode() for i in range(20)]
    assert ready(channel, name) == 0


# --- dead letters ---------------------------------------------------------------------------------------------------


@KINDS
def test_a_rejected_message_is_dead_lettered_and_says_why(channel, name, dead, kind):
    declare(channel, name, kind, **dead.arguments)
    before = int(time.time())
    channel.basic_publish("", name, b"x", persistent(headers={"mine": "kept"}, message_id="m"))
    method, _, _ = take_unacked(channel, name)
    channel.basic_reject(method.delivery_tag, requeue=False)
    method, properties, body = dead.take()
    assert (body, method.exchange, method.routing_key, method.redelivered) == (b"x", "", dead.queue, False)
    headers = properties.headers
    assert (headers["mine"], properties.message_id) == ("kept", "m")
    (death,) = headers["x-death"]
    assert (death["count"], death["reason"], death["queue"], death["exchange"], death["routing-keys"]) == (
        1, "rejected", name, "", [name])
    assert abs(death["time"].timestamp() - before) < 3600 * 24
    assert (headers["x-first-death-reason"], headers["x-first-death-queue"], headers["x-first-death-exchange"]) == (
        "rejected", name, "")
    channel.queue_delete(name)


def take_unacked(channel, queue):
    def get():
        got = channel.basic_get(queue)
        return got if got[0] else None
    return eventually(get)


@pytest.mark.parametrize("how", ["nack", "reject"])
def test_requeue_does_not_dead_letter(channel, name, dead, how):
    declare(channel, name, **dead.arguments)
    channel.basic_publish("", name, b"x", persistent())
    method, _, _ = take_unacked(channel, name)
    getattr(channel, f"basic_{how}")(method.delivery_tag, requeue=True)
    method, _, _ = take_unacked(channel, name)
    assert method.redelivered
    channel.basic_ack(method.delivery_tag)
    assert ready(channel, dead.queue) == 0
    channel.queue_delete(name)


def test_several_at_once_keep_their_order(channel, name, dead):
    declare(channel, name, **dead.arguments)
    for i in range(5):
        channel.basic_publish("", name, str(i), persistent())
    for _ in range(5):
        method, _, _ = take_unacked(channel, name)
    channel.basic_nack(method.delivery_tag, multiple=True, requeue=False)
    eventually(lambda: ready(channel, dead.queue) == 5)
    assert bodies(channel, dead.queue) == [b"0", b"1", b"2", b"3", b"4"]
    channel.queue_delete(name)


@KINDS
def test_an_expired_message_is_dead_lettered_without_its_expiration(channel, name, dead, kind):
    declare(channel, name, kind, **dead.arguments)
    channel.basic_publish("", name, b"x", persistent(expiration=str(TTL_MS)))
    _, properties, _ = dead.take()
    (death,) = properties.headers["x-death"]
    assert (death["reason"], death["original-expiration"]) == ("expired", str(TTL_MS))
    # Or it would expire again where it is.
    assert properties.expiration is None
    channel.queue_delete(name)


def test_without_a_key_of_its_own_the_message_keeps_its_keys(channel, name):
    exchange = name + "-dlx"
    channel.exchange_declare(exchange, "direct")
    declare(channel, name, x_dead_letter_exchange=exchange)
    channel.queue_declare(name + "-dead", exclusive=True)
    channel.queue_bind(name + "-dead", exchange, name)
    channel.queue_declare(name + "-copy", exclusive=True)
    channel.queue_bind(name + "-copy", exchange, "other")
    channel.basic_publish("", name, b"x", persistent(headers={"CC": ["other"]}))
    method, _, _ = take_unacked(channel, name)
    channel.basic_reject(method.delivery_tag, requeue=False)
    method, properties, _ = take(channel, name + "-dead")
    assert (method.exchange, method.routing_key) == (exchange, name)
    assert properties.headers["x-death"][0]["routing-keys"] == [name, "other"]
    assert take(channel, name + "-copy")[2] == b"x"
    channel.queue_delete(name)
    channel.exchange_delete(exchange)


def test_a_dead_letter_exchange_that_is_not_there_drops(channel, name):
    declare(channel, name, x_dead_letter_exchange=name + "-nowhere")
    channel.basic_publish("", name, b"x", persistent())
    method, _, _ = take_unacked(channel, name)
    channel.basic_reject(method.delivery_tag, requeue=False)
    eventually(lambda: ready(channel, name) == 0)
    channel.queue_delete(name)


def test_deaths_are_counted_by_queue_and_reason(channel, name):
    """The retry loop that everybody builds: work -> rejected -> wait -> expired -> work."""
    work, wait = name + "-work", name + "-wait"
    declare(channel, work, x_dead_letter_exchange="", x_dead_letter_routing_key=wait)
    declare(channel, wait, x_message_ttl=50, x_dead_letter_exchange="", x_dead_letter_routing_key=work)
    channel.basic_publish("", work, b"x", persistent())
    for round in range(4):
        method, properties, _ = take_unacked(channel, work)
        deaths = (properties.headers or {}).get("x-death", [])
        assert [(d["queue"], d["reason"], d["count"]) for d in deaths] == (
            [(wait, "expired", round), (work, "rejected", round)] if round else [])
        channel.basic_reject(method.delivery_tag, requeue=False)
    channel.queue_delete(work)
    channel.queue_delete(wait)


def test_a_cycle_without_a_rejection_ends(channel, name):
    """A message that would expire round and round without anybody's doing is dropped when it comes back."""
    declare(channel, name, x_message_ttl=50, x_dead_letter_exchange="", x_dead_letter_routing_key=name)
    channel.basic_publish("", name, b"x", persistent())
    eventually(lambda: ready(channel, name) == 0)
    assert channel.basic_get(name)[0] is None
    channel.queue_delete(name)


def test_dead_letters_survive_kill_9_and_there_is_one_of_each(own_broker, name):
    channel = connect(own_broker).channel()
    dead = Graveyard(channel, name)
    declare(channel, name, **dead.arguments)
    for i in range(50):
        channel.basic_publish("", name, str(i), persistent())
    for _ in range(50):
        method, _, _ = take_unacked(channel, name)
    channel.basic_nack(method.delivery_tag, multiple=True, requeue=False)
    eventually(lambda: ready(channel, dead.queue) == 50)
    own_broker.restart()
    channel = connect(own_broker).channel()
    # What had not been settled durably before the kill is still in the first queue, and in that only.
    left = bodies(channel, name)
    assert sorted(left + bodies(channel, dead.queue), key=int) == [str(i).encode() for i in range(50)]


# --- bounds ---------------------------------------------------------------------------------------------------------


@KINDS
def test_a_full_queue_drops_its_oldest(channel, name, dead, kind):
    declare(channel, name, kind, x_max_length=3, **dead.arguments)
    for i in range(5):
        channel.basic_publish("", name, str(i), persistent())
    eventually(lambda: ready(channel, dead.queue) == 2)
    _, properties, body = dead.take()
    assert (body, properties.headers["x-death"][0]["reason"]) == (b"0", "maxlen")
    assert bodies(channel, name) == [b"2", b"3", b"4"]
    channel.queue_delete(name)


def test_a_bound_in_bytes(channel, name):
    declare(channel, name, x_max_length_bytes=100)
    for i in range(5):
        channel.basic_publish("", name, str(i) * 40, persistent())
    eventually(lambda: ready(channel, name) == 2)
    assert bodies(channel, name) == [b"3" * 40, b"4" * 40]
    channel.queue_delete(name)


def test_what_is_unacknowledged_does_not_count(channel, name):
    declare(channel, name, x_max_length=2)
    channel.basic_publish("", name, b"held", persistent())
    held, _, _ = take_unacked(channel, name)
    for body in (b"1", b"2"):
        channel.basic_publish("", name, body, persistent())
    assert ready(channel, name) == 2
    channel.basic_ack(held.delivery_tag)
    assert bodies(channel, name) == [b"1", b"2"]
    channel.queue_delete(name)


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
def test_a_full_queue_that_refuses_nacks(channel, name, dead, overflow):
    declare(channel, name, x_max_length=2, x_overflow=overflow, **dead.arguments)
    for i in range(2):
        channel.basic_publish("", name, str(i), persistent())
    # RabbitMQ counts lazily: a publish or two may pass.
    with pytest.raises(pika.exceptions.NackError):
        for i in range(2, 10):
            channel.basic_publish("", name, str(i), persistent())
    kept = bodies(channel, name)
    assert kept[:2] == [b"0", b"1"]
    channel.basic_publish("", name, b"room again", persistent())
    assert take(channel, name)[2] == b"room again"
    if overflow == "reject-publish":
        assert ready(channel, dead.queue) == 0
    else:
        assert dead.take()[1].headers["x-death"][0]["reason"] == "maxlen"
    channel.queue_delete(name)


def test_bounds_hold_after_kill_9(own_broker, name):
    channel = connect(own_broker).channel()
    declare(channel, name, x_max_length=10)
    for i in range(25):
        channel.basic_publish("", name, str(i), persistent())
    own_broker.restart()
    channel = connect(own_broker).channel()
    channel.confirm_delivery()
    eventually(lambda: ready(channel, name) == 10)
    channel.basic_publish("", name, b"25", persistent())
    eventually(lambda: ready(channel, name) == 10)
    assert bodies(channel, name) == [str(i).encode() for i in range(16, 26)]


# --- dead letters into streams --------------------------------------------------------------------------------------


def read_stream(channel, stream, n):
    """The first `n` messages of a stream, as (properties, body)."""
    got = []
    channel.basic_qos(prefetch_count=100)
    tag = channel.basic_consume(
        stream, lambda _, method, properties, body: (got.append((properties, body)), channel.basic_ack(method.delivery_tag)),
        arguments={"x-stream-offset": "first"})
    eventually(lambda: channel.connection.process_data_events(0.05) or len(got) >= n)
    channel.basic_cancel(tag)
    return got


def stream_of_the_dead(channel, name):
    """A stream behind an exchange that has nothing else, and the arguments that lead there."""
    stream, exchange = name + "-stream", name + "-dlx"
    channel.queue_declare(stream, durable=True, arguments={"x-queue-type": "stream"})
    channel.exchange_declare(exchange, "fanout", durable=True)
    channel.queue_bind(stream, exchange)
    return stream, {"x-dead-letter-exchange": exchange}


def test_dead_letters_go_into_a_stream(channel, name):
    stream, arguments = stream_of_the_dead(channel, name)
    declare(channel, name, x_max_length=3, **arguments)
    for i in range(5):
        channel.basic_publish("", name, str(i), persistent(headers={"mine": i}, message_id=f"m{i}", expiration=str(FAR_MS)))
    eventually(lambda: ready(channel, stream) == 2)
    method, _, _ = take_unacked(channel, name)
    channel.basic_reject(method.delivery_tag, requeue=False)
    dead = read_stream(channel, stream, 3)
    assert [body for _, body in dead] == [b"0", b"1", b"2"]
    reasons = []
    for i, (properties, _) in enumerate(dead):
        (death,) = properties.headers["x-death"]
        assert (properties.headers["mine"], properties.message_id, properties.expiration) == (i, f"m{i}", None)
        assert (death["queue"], death["original-expiration"], death["routing-keys"]) == (name, str(FAR_MS), [name])
        reasons.append(death["reason"])
    assert reasons == ["maxlen", "maxlen", "rejected"]
    channel.queue_delete(name)
    channel.queue_delete(stream)


@pytest.fixture
def sharded_broker(tmp_path):
    if os.environ.get("BOWLINE_AMQP"):
        pytest.skip("needs a broker of its own")
    broker = Broker(tmp_path / "data", "--shards", "3").start()
    yield broker
    broker.kill()


def test_dead_letters_in_a_stream_survive_kill_9_and_there_is_one_of_each(sharded_broker, name):
    """Four queues on three shards: some share the stream's, some do not."""
    own_broker = sharded_broker
    channel = connect(own_broker).channel()
    stream, arguments = stream_of_the_dead(channel, name)
    queues = [f"{name}-{i}" for i in range(4)]
    for queue in queues:
        declare(channel, queue, **arguments)
        for i in range(50):
            channel.basic_publish("", queue, f"{queue} {i}", persistent())
    for attempt in range(3):
        for queue in queues:
            last = None
            while (message := channel.basic_get(queue))[0]:
                last = message[0].delivery_tag
            if last:
                channel.basic_nack(last, multiple=True, requeue=False)
        if attempt == 0:
            # Some of what has died is on its way, some has arrived, some is settled.
            eventually(lambda: ready(channel, stream) > 0, every=0)
        elif attempt == 1:
            eventually(lambda: ready(channel, stream) == 200)
        own_broker.restart()
        channel = connect(own_broker).channel()

    def all_have_ended():
        """What arrived just before a kill may still be in its queue: it dies again, and does not arrive again."""
        nonlocal channel
        for queue in queues:
            while (message := channel.basic_get(queue))[0]:
                channel.basic_nack(message[0].delivery_tag, requeue=False)
        own_broker.restart(kill=False)
        channel = connect(own_broker).channel()
        return [ready(channel, queue) for queue in queues] == [0] * 4
    eventually(all_have_ended)
    assert ready(channel, stream) == 200
    got = [body for _, body in read_stream(channel, stream, 200)]
    assert sorted(got) == sorted(f"{queue} {i}".encode() for queue in queues for i in range(50))


def test_a_dead_letter_that_nobody_gets_is_told(own_broker, name):
    with connect(own_broker) as connection:
        channel = connection.channel()
        channel.queue_declare(name, arguments={"x-dead-letter-exchange": f"{name}-nowhere"})
        for _ in range(100):
            channel.basic_publish("", name, b"x")
            channel.basic_nack(take_unacked(channel, name)[0].delivery_tag, requeue=False)
        told = [line for line in eventually(lambda: [e for e in own_broker.errors if "dead letters are dropped" in e])]
        assert len(told) == 1 and name in told[0] and "nowhere to send it" in told[0]
    assert own_broker.stop() == 0
    eventually(lambda: any("lost: 100" in line for line in own_broker.errors))
