"""Order by key and fair share between tenants: Bowline's own, seen by a client."""

import collections
import json
import signal
import threading
import time

import pika
import pika.exceptions
import pytest
from conftest import Broker, eventually
from test_lifetimes import declare, ready, take
from test_pika import channel, connect, connection, persistent  # noqa: F401 (fixtures)
from test_queue_kinds import ours

KINDS = [{}, {"x-queue-type": "quorum"}]


def send(channel, name, key, number, **properties):
    channel.basic_publish("", name, f"{key}/{number}", persistent(headers={"key": key}, **properties))


def got(channel, name):
    """What a get finds, with its delivery tag."""
    method, _, body = channel.basic_get(name)
    return (method.delivery_tag, body.decode()) if method else None


def refused(broker, name, arguments):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        connect(broker).channel().queue_declare(name, durable=True, arguments=arguments)
    return error.value


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_a_key_at_a_time(broker, channel, name, kind):
    ours(broker)
    declare(channel, name, **kind, **{"x-order-key": "header:key"})
    for key, number in [("a", 1), ("a", 2), ("b", 1), ("a", 3)]:
        send(channel, name, key, number)
    eventually(lambda: ready(channel, name) == 4)
    a, b = got(channel, name), got(channel, name)
    assert (a[1], b[1]) == ("a/1", "b/1")
    assert got(channel, name) is None, "both keys are out"
    # What comes back is the next of its key.
    channel.basic_nack(a[0], requeue=True)
    a = take_now(channel, name)
    assert a[1] == "a/1"
    channel.basic_ack(a[0])
    a = take_now(channel, name)
    assert a[1] == "a/2"
    # So is what follows a message that was dropped.
    channel.basic_reject(a[0], requeue=False)
    assert take_now(channel, name)[1] == "a/3"
    channel.queue_delete(name)


def take_now(channel, name):
    return eventually(lambda: got(channel, name))


def test_the_routing_key_may_be_the_key(broker, channel, name):
    ours(broker)
    channel.exchange_declare(name, "topic")
    declare(channel, name, **{"x-order-key": "routing-key"})
    channel.queue_bind(name, name, "#")
    for key in ("order.1", "order.1", "order.2"):
        channel.basic_publish(name, key, key, persistent())
    eventually(lambda: ready(channel, name) == 3)
    assert [got(channel, name)[1] for _ in range(2)] == ["order.1", "order.2"]
    assert got(channel, name) is None
    channel.queue_delete(name)
    channel.exchange_delete(name)


def test_one_message_to_queues_with_different_keys(broker, channel, name):
    """Each of the queues reads its own key out of it."""
    ours(broker)
    channel.exchange_declare(name, "fanout")
    arguments = [{"x-order-key": "header:customer"}, {"x-order-key": "header:region"}, {}]
    queues = [f"{name}-{n}" for n in range(3)]
    for queue, argument in zip(queues, arguments):
        declare(channel, queue, **argument)
        channel.queue_bind(queue, name)
    for customer, region in [(1, "n"), (2, "n"), (1, "s")]:
        headers = {"customer": customer, "region": region}
        channel.basic_publish(name, "", f"{customer}{region}", persistent(headers=headers))
    for queue in queues:
        eventually(lambda: ready(channel, queue) == 3)
    out = [[message[1] for message in iter(lambda: got(channel, queue), None)] for queue in queues]
    assert out == [["1n", "2n"], ["1n", "1s"], ["1n", "2n", "1s"]]
    for queue in queues:
        channel.queue_delete(queue)
    channel.exchange_delete(name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_poisoned_key_is_parked_and_the_others_go_on(broker, channel, name, kind):
    ours(broker)
    dead = f"{name}-dead"
    declare(channel, dead)
    declare(channel, name, **kind, **{
        "x-order-key": "header:key",
        "x-retry-attempts": 2,
        "x-retry-delays": [1_500],
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead,
    })
    for number in (1, 2):
        send(channel, name, "poison", number)
    for number in range(5):
        send(channel, name, "good", number)
    eventually(lambda: ready(channel, name) == 7)
    poison = got(channel, name)
    assert poison[1] == "poison/1"
    channel.basic_reject(poison[0], requeue=True)
    began = time.monotonic()
    for number in range(5):
        tag, body = take_now(channel, name)
        assert body == f"good/{number}"
        channel.basic_ack(tag)
    assert time.monotonic() - began < 1.2, "nobody waited for the poisoned key"
    tag, body = take_now(channel, name)
    assert body == "poison/1"
    assert time.monotonic() - began > 1.2
    # Enough: it is dead, and the key goes on at once.
    channel.basic_reject(tag, requeue=True)
    assert take_now(channel, name)[1] == "poison/2"
    assert take(channel, dead)[2] == b"poison/1"
    channel.queue_delete(name)
    channel.queue_delete(dead)


class Worker(threading.Thread):
    """Consumes on a connection of its own and tells `note` of each message before and after its work."""

    def __init__(self, broker, name, note, prefetch=5):
        super().__init__(daemon=True)
        self.broker, self.name_of_queue, self.note, self.prefetch = broker, name, note, prefetch
        self.connection = connect(broker)
        self.stopped = False

    def run(self):
        channel = self.connection.channel()
        channel.basic_qos(prefetch_count=self.prefetch)
        held = []
        for method, properties, body in channel.consume(self.name_of_queue, inactivity_timeout=0.02):
            if method:
                self.note("begin", body.decode())
                held.append((method.delivery_tag, body.decode()))
            # Settles in another order than it got them.
            if held and (method is None or len(held) >= self.prefetch):
                tag, message = held.pop()
                self.note("end", message)
                channel.basic_ack(tag)
            if self.stopped and not held:
                break
        channel.cancel()
        self.connection.close()


@pytest.mark.parametrize("kind", KINDS)
def test_two_consumers_at_once_and_never_two_of_a_key(broker, channel, name, kind):
    ours(broker)
    keys, each = 20, 25
    declare(channel, name, **kind, **{"x-order-key": "header:key"})
    out, done, lock, wrong = set(), collections.defaultdict(list), threading.Lock(), []

    def note(what, message):
        key, number = message.split("/")
        with lock:
            if what == "begin":
                if key in out:
                    wrong.append(f"{message} while another of {key} is out")
                out.add(key)
            else:
                out.discard(key)
                done[key].append(int(number))

    workers = [Worker(broker, name, note) for _ in range(2)]
    for worker in workers:
        worker.start()
    for number in range(each):
        for key in range(keys):
            send(channel, name, key, number)
    eventually(lambda: sum(map(len, done.values())) == keys * each, timeout=60)
    for worker in workers:
        worker.stopped = True
        worker.join(20)
    assert wrong == []
    assert all(done[str(key)] == list(range(each)) for key in range(keys))
    channel.queue_delete(name)


def test_keys_stay_in_order_over_kill_9(own_broker, name):
    channel = connect(own_broker).channel()
    channel.confirm_delivery()
    declare(channel, name, **{"x-order-key": "header:key", "x-queue-type": "quorum"})
    for number in range(10):
        for key in "abc":
            send(channel, name, key, number)
    first = [got(channel, name) for _ in range(3)]
    assert [body for _, body in first] == ["a/0", "b/0", "c/0"]
    channel.basic_ack(first[0][0])
    assert take_now(channel, name)[1] == "a/1"
    # What the log has heard of is settled; publishing has it written.
    send(channel, name, "d", 0)
    own_broker.restart()
    channel = connect(own_broker).channel()
    eventually(lambda: ready(channel, name) == 30)
    order = collections.defaultdict(list)
    while True:
        batch = list(iter(lambda: got(channel, name), None))
        if not batch:
            break
        assert len({body[0] for _, body in batch}) == len(batch), "one of a key"
        for tag, body in batch:
            order[body[0]].append(int(body[2:]))
            channel.basic_ack(tag)
        time.sleep(0.02)
    assert dict(order) == {"a": list(range(1, 10)), "b": list(range(10)), "c": list(range(10)), "d": [0]}


@pytest.mark.parametrize("kind", KINDS)
def test_tenants_take_turns(broker, channel, name, kind):
    ours(broker)
    declare(channel, name, **kind, **{"x-fair-key": "header:key"})
    for number in range(2_000):
        send(channel, name, "big", number)
    for number in range(3):
        for tenant in ("x", "y"):
            send(channel, name, tenant, number)
    eventually(lambda: ready(channel, name) == 2_006)
    first = [got(channel, name)[1] for _ in range(12)]
    turns = [f"{tenant}/{n}" for n in range(3) for tenant in ("big", "x", "y")]
    assert first == turns + ["big/3", "big/4", "big/5"]
    channel.queue_delete(name)


def test_keys_and_tenants_together(broker, channel, name):
    ours(broker)
    declare(channel, name, **{"x-fair-key": "app-id", "x-order-key": "header:key"})
    for app in ("ann", "ann", "ann", "bob"):
        send(channel, name, f"{app}-key", app, app_id=app)
    send(channel, name, "mine", 0)
    eventually(lambda: ready(channel, name) == 5)
    # Of one key one is out; the others have their turn.
    assert [got(channel, name)[1] for _ in range(3)] == ["ann-key/ann", "bob-key/bob", "mine/0"]
    assert got(channel, name) is None
    channel.queue_delete(name)


def test_everybody_s_user_may_be_the_tenant(broker, channel, name):
    """With one user there is one tenant, and the property says the same as the connection."""
    ours(broker)
    declare(channel, name, **{"x-fair-key": "user"})
    for number, user in enumerate([None, "guest", None]):
        send(channel, name, "k", number, user_id=user)
    eventually(lambda: ready(channel, name) == 3)
    assert [got(channel, name)[1] for _ in range(3)] == ["k/0", "k/1", "k/2"]
    channel.queue_delete(name)


def test_keys_that_are_none_are_refused(broker, channel, name):
    ours(broker)
    for argument, value in [("x-order-key", "header:"), ("x-fair-key", "customer"), ("x-order-key", 7)]:
        error = refused(broker, name, {argument: value})
        assert (error.reply_code, f"invalid arg '{argument}'" in error.reply_text) == (406, True)
    assert refused(broker, name, {"x-queue-type": "stream", "x-order-key": "user"}).reply_code == 406


def test_a_dead_letter_has_the_key_of_the_queue_that_gets_it(broker, channel, name):
    ours(broker)
    target = f"{name}-target"
    declare(channel, target, **{"x-order-key": "header:key"})
    declare(channel, name, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target})
    for number in range(2):
        send(channel, name, "a", number)
    for _ in range(2):
        channel.basic_reject(take_now(channel, name)[0], requeue=False)
    eventually(lambda: ready(channel, target) == 2)
    assert got(channel, target)[1] == "a/0"
    assert got(channel, target) is None
    channel.queue_delete(name)
    channel.queue_delete(target)


def test_a_policy_gives_a_queue_its_key_and_another_one_later(broker, tmp_path):
    ours(broker)
    path = tmp_path / "definitions.json"

    def write(key):
        policy = {"vhost": "/", "name": "keys", "pattern": "^keyed$", "apply-to": "queues", "priority": 0}
        policy["definition"] = {"order-key": key, "fair-key": "user"}
        path.write_text(json.dumps({"vhosts": [{"name": "/"}], "policies": [policy]}))

    write("header:key")
    own = Broker(tmp_path / "data", "--definitions", str(path)).start()
    channel = connect(own).channel()
    declare(channel, "keyed")
    for number in range(2):
        send(channel, "keyed", "a", number)
    first = take_now(channel, "keyed")
    assert first[1] == "a/0" and got(channel, "keyed") is None
    write("app-id")
    own.process.send_signal(signal.SIGHUP)

    def both_are_out():
        """Of two messages with one header and no app-id. Until the policy is in force one has to wait."""
        for number in range(2):
            send(channel, "keyed", "b", number)
        return len(list(iter(lambda: got(channel, "keyed"), None))) == 2

    eventually(both_are_out)
    # What was in order stays so.
    channel.basic_ack(first[0])
    eventually(lambda: "a/1" in [m[1] for m in iter(lambda: got(channel, "keyed"), None)])
    own.kill()
