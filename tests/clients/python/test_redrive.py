"""Out of a dead-letter queue and back: basic.consume with x-redrive, and `bowline redrive`."""

import json
import os
import random
import subprocess
import time

import pika
import pytest

from conftest import BINARY, Broker, eventually


def connect(broker, **more):
    return pika.BlockingConnection(
        pika.ConnectionParameters(broker.host, broker.amqp_port, heartbeat=0, blocked_connection_timeout=30, **more)
    )


@pytest.fixture
def channel(broker):
    connection = connect(broker)
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    if connection.is_open:
        connection.close()


def count(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def declare_pair(channel, name, queue_type="classic"):
    """A queue whose rejects die into another; the messages come through a topic exchange."""
    channel.exchange_declare(name + "-x", "topic", durable=True)
    channel.queue_declare(name + "-dead", durable=True)
    channel.queue_declare(name, durable=True, arguments={
        "x-queue-type": queue_type, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": name + "-dead",
    })
    channel.queue_bind(name, name + "-x", "#")


def kill_messages(channel, name, messages):
    """Publishes (key, headers, body) and rejects them all."""
    for key, headers, body in messages:
        channel.basic_publish(name + "-x", key, body, pika.BasicProperties(delivery_mode=2, headers=headers))
    before = count(channel, name + "-dead")
    reject(channel, name, len(messages))
    eventually(lambda: count(channel, name + "-dead") == before + len(messages))


def reject(channel, queue, n):
    for method, _, _ in channel.consume(queue):
        n -= 1
        channel.basic_nack(method.delivery_tag, requeue=False)
        if n == 0:
            break
    channel.cancel()


def take_all(channel, queue, ack=True):
    taken = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=0.5):
        if method is None:
            break
        taken.append((method, properties, body.decode()))
        if ack:
            channel.basic_ack(method.delivery_tag)
    channel.cancel()
    return taken


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_acks_move_back_and_the_history_begins_anew(broker, channel, name, queue_type):
    declare_pair(channel, name, queue_type)
    kill_messages(channel, name, [(f"k.{n}", {"n": n}, f"{n}") for n in range(6)])
    [(method, properties, _)] = take_all_of(channel, name + "-dead", 1)
    assert properties.headers["x-last-death-queue"] == name

    consumer = channel.connection.channel()
    consumer.basic_qos(prefetch_count=6)
    for method, properties, body in consumer.consume(name + "-dead", arguments={"x-redrive": "source"}):
        if properties.headers["n"] % 2 == 0:
            consumer.basic_ack(method.delivery_tag)
        else:
            consumer.basic_nack(method.delivery_tag, requeue=True) if body == b"1" else None
        if body == b"5":
            break
    eventually(lambda: count(channel, name) == 3)
    consumer.connection.process_data_events(0)
    consumer.close()
    eventually(lambda: count(channel, name + "-dead") == 3)

    moved = take_all(channel, name)
    assert [body for _, _, body in moved] == ["0", "2", "4"]
    for method, properties, body in moved:
        assert (method.exchange, method.routing_key, method.redelivered) == (name + "-x", f"k.{body}", False)
        assert properties.headers == {"n": int(body), "x-redrive-count": 1}
    left = take_all(channel, name + "-dead")
    assert [body for _, _, body in left] == ["1", "3", "5"]
    assert all(p.headers["x-death"][0]["count"] == 1 for _, p, _ in left)


def take_all_of(channel, queue, n):
    """Looks at the first n."""
    seen = []
    for method, properties, body in channel.consume(queue, auto_ack=True,
                                                    arguments={"x-peek": True, "x-peek-count": n}):
        seen.append((method, properties, body))
    channel.cancel()
    return seen


def test_a_message_that_dies_again_counts_its_redrives(broker, channel, name):
    declare_pair(channel, name)
    kill_messages(channel, name, [("k", {}, "again")])
    for times in range(1, 4):
        redriver = channel.connection.channel()
        method, _, _ = next(redriver.consume(name + "-dead", arguments={"x-redrive": "source"}))
        redriver.basic_ack(method.delivery_tag)
        eventually(lambda: count(channel, name) == 1)
        redriver.close()
        reject(channel, name, 1)
        eventually(lambda: count(channel, name + "-dead") == 1)
        [(_, properties, _)] = take_all_of(channel, name + "-dead", 1)
        assert properties.headers["x-redrive-count"] == times
        assert [(d["count"], d["reason"]) for d in properties.headers["x-death"]] == [(1, "rejected")]


def test_to_another_queue_and_through_an_exchange(broker, channel, name):
    declare_pair(channel, name)
    kill_messages(channel, name, [("eu.new", {}, "a"), ("us.new", {}, "b")])
    channel.exchange_declare(name + "-y", "topic", durable=True)
    for region in ["eu", "us"]:
        channel.queue_declare(f"{name}-{region}", durable=True)
        channel.queue_bind(f"{name}-{region}", name + "-y", region + ".#")
    redriver = channel.connection.channel()
    seen = 0
    for method, _, _ in redriver.consume(name + "-dead", arguments={"x-redrive": f"exchange:{name}-y"}):
        redriver.basic_ack(method.delivery_tag)
        seen += 1
        if seen == 2:
            break
    eventually(lambda: count(channel, name + "-eu") == 1 and count(channel, name + "-us") == 1)
    redriver.close()
    redriver = channel.connection.channel()
    method, _, _ = next(redriver.consume(name + "-eu", arguments={"x-redrive": f"queue:{name}-us"}))
    redriver.basic_ack(method.delivery_tag)
    eventually(lambda: count(channel, name + "-us") == 2)
    redriver.close()
    assert sorted(body for _, _, body in take_all(channel, name + "-us")) == ["a", "b"]


def test_what_has_no_place_is_returned_and_stays(broker, channel, name):
    declare_pair(channel, name)
    kill_messages(channel, name, [("k", {}, "a"), ("k", {}, "b")])
    channel.queue_delete(name)
    redriver = channel.connection.channel()
    returned = []
    redriver.add_on_return_callback(lambda ch, method, properties, body: returned.append((method.reply_code, body)))
    seen = 0
    for method, _, _ in redriver.consume(name + "-dead", arguments={"x-redrive": "source"}, inactivity_timeout=0.5):
        if method is None:
            break
        seen += 1
        redriver.basic_ack(method.delivery_tag)
    assert seen == 2, "they do not come round and round"
    assert returned == [(312, b"a"), (312, b"b")]
    redriver.close()
    eventually(lambda: count(channel, name + "-dead") == 2)


def test_who_redrives_must_be_able_to_publish_and_say_where_to(broker, name):
    def refused(how, queue=name, auto_ack=False):
        connection = connect(broker)
        channel = connection.channel()
        channel.queue_declare(name, durable=True)
        channel.queue_declare(name + "-s", durable=True, arguments={"x-queue-type": "stream"})
        with pytest.raises((pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker)) as caught:
            channel.basic_consume(queue, print, auto_ack=auto_ack, arguments={"x-redrive": how})
        if connection.is_open:
            connection.close()
        return caught.value.reply_code

    assert refused("somewhere") == 406
    assert refused(True) == 406
    assert refused("source", auto_ack=True) == 406
    assert refused("queue:" + name) == 406
    assert refused("queue:" + name + "-none") == 404
    assert refused("exchange:" + name + "-none") == 404
    assert refused("exchange:") == 406
    assert refused("source", queue=name + "-s") == 406


def redrive(broker, *options, **how):
    command = [BINARY, "redrive", f"amqp://{broker.host}:{broker.amqp_port}", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **how)


def test_the_command_moves_what_matches(broker, channel, name):
    declare_pair(channel, name)
    messages = [(f"k.{n % 3}", {"tenant": f"t{n % 2}"}, str(n)) for n in range(12)]
    kill_messages(channel, name, messages)
    dead = name + "-dead"
    dry = redrive(broker, "--queue", dead, "--where", "tenant=t1", "--where", "reason=rejected", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert json.loads(dry.stdout) == {"matched": 6, "moved": 0, "left": 6, "failed": 0}
    assert (count(channel, dead), count(channel, name)) == (12, 0)

    some = redrive(broker, "--queue", dead, "--where", "tenant=t1", "--where", "routing-key=k.1", "--where",
                   f"source={name}", "--json")
    assert some.returncode == 0, some.stderr
    assert json.loads(some.stdout) == {"matched": 2, "moved": 2, "left": 10, "failed": 0}
    assert sorted(int(body) for _, _, body in take_all(channel, name)) == [1, 7]

    two = redrive(broker, "--queue", dead, "--count", "2", "--rate", "1000", "--json")
    assert json.loads(two.stdout) == {"matched": 2, "moved": 2, "left": 0, "failed": 0}
    assert [int(body) for _, _, body in take_all(channel, name)] == [0, 2]

    channel.queue_delete(name)
    none = redrive(broker, "--queue", dead, "--json")
    assert none.returncode != 0
    assert json.loads(none.stdout) == {"matched": 8, "moved": 0, "left": 0, "failed": 8}
    channel.queue_declare(name + "-other", durable=True)
    rest = redrive(broker, "--queue", dead, "--to", f"queue:{name}-other")
    assert rest.returncode == 0 and "8" in rest.stderr, rest.stderr
    assert (count(channel, dead), count(channel, name + "-other")) == (0, 8)


def test_the_command_may_be_interrupted(broker, channel, name):
    declare_pair(channel, name)
    kill_messages(channel, name, [("k", {}, str(n)) for n in range(50)])
    command = [BINARY, "redrive", f"amqp://{broker.host}:{broker.amqp_port}", "--queue", name + "-dead",
               "--rate", "20", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: count(channel, name) >= 5)
    process.send_signal(2)
    out, err = process.communicate(timeout=30)
    told = json.loads(out)
    eventually(lambda: count(channel, name) + count(channel, name + "-dead") == 50)
    assert told["moved"] == count(channel, name) and 5 <= told["moved"] < 50, err


@pytest.fixture
def own_broker(tmp_path):
    if os.environ.get("BOWLINE_AMQP"):
        pytest.skip("needs a broker of its own")
    broker = Broker(tmp_path / "data", "--shards", "3").start()
    yield broker
    if broker.process.poll() is None:
        broker.kill()


def test_nothing_is_lost_or_doubled_when_the_broker_is_killed(own_broker, name):
    """Kills during redrives of thousands, to a queue of whichever shard; then finishes, and counts."""
    total, kills = 6_000, 4
    connection = connect(own_broker)
    channel = connection.channel()
    dead, pairs = name + "-dead", [f"{name}-{n}" for n in range(4)]
    channel.queue_declare(dead, durable=True)
    for queue in pairs:
        channel.queue_declare(queue, durable=True, arguments={
            "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead,
        })
    channel.confirm_delivery()
    for n in range(total):
        channel.basic_publish("", pairs[n % 4], str(n), pika.BasicProperties(delivery_mode=2))
    for queue in pairs:
        reject(channel, queue, total // 4)
    eventually(lambda: count(channel, dead) == total, timeout=60)
    connection.close()

    random.seed(7)
    for _ in range(kills):
        redriver = subprocess.Popen(
            [BINARY, "redrive", f"amqp://{own_broker.host}:{own_broker.amqp_port}", "--queue", dead,
             "--rate", "2000", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        time.sleep(random.uniform(0.2, 0.7))
        own_broker.restart()
        redriver.communicate(timeout=60)
        connection = connect(own_broker)
        left = count(connection.channel(), dead)
        connection.close()
        if left == 0:
            break
    assert left < total, "something was moved before the kills"
    last = redrive(own_broker, "--queue", dead, "--json")
    assert last.returncode == 0, last.stderr
    connection = connect(own_broker)
    channel = connection.channel()
    assert count(channel, dead) == 0
    got = []
    for n, queue in enumerate(pairs):
        taken = [int(body) for _, _, body in take_all(channel, queue)]
        assert all(one % 4 == n for one in taken)
        got += taken
    connection.close()
    assert sorted(got) == list(range(total)), (len(got), len(set(got)))
