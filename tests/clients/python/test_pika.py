"""What RabbitMQ users do, with pika's BlockingConnection."""

import threading
import time

import pika
import pika.exceptions
import pytest

from conftest import eventually


def connect(broker, **options):
    parameters = pika.ConnectionParameters(broker.host, broker.amqp_port, **options)
    return pika.BlockingConnection(parameters)


@pytest.fixture
def connection(broker):
    connection = connect(broker)
    yield connection
    if connection.is_open:
        connection.close()


@pytest.fixture
def channel(connection):
    return connection.channel()


def drain(channel, queue, n, timeout=10):
    """n messages from the queue, acknowledged."""
    got = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=timeout):
        assert method is not None, f"only {len(got)} of {n} came"
        channel.basic_ack(method.delivery_tag)
        got.append((method, properties, body))
        if len(got) == n:
            break
    channel.cancel()
    return got


def persistent(**more):
    return pika.BasicProperties(delivery_mode=2, **more)


# --- queues ---------------------------------------------------------------------------------------------------------


def test_a_message_goes_through_a_plain_queue(channel, name):
    channel.queue_declare(queue=name, auto_delete=True)
    channel.basic_publish(exchange="", routing_key=name, body=b"hello")
    ((method, properties, body),) = drain(channel, name, 1)
    assert body == b"hello"
    assert method.exchange == "" and method.routing_key == name and not method.redelivered
    channel.queue_delete(name)


def test_declare_tells_name_and_counts(channel, name):
    ok = channel.queue_declare(queue=name, durable=True).method
    assert (ok.queue, ok.message_count, ok.consumer_count) == (name, 0, 0)
    channel.confirm_delivery()
    for i in range(3):
        channel.basic_publish("", name, str(i), persistent())
    ok = channel.queue_declare(queue=name, durable=True, passive=True).method
    assert (ok.message_count, ok.consumer_count) == (3, 0)
    assert channel.queue_delete(name).method.message_count == 3


def test_the_server_names_a_queue(channel):
    name = channel.queue_declare(queue="", exclusive=True).method.queue
    assert name.startswith("amq.gen-")
    # Without a name, the last declared queue is meant.
    channel.queue_bind("", "amq.direct", "key")
    channel.basic_publish("amq.direct", "key", b"x")
    assert drain(channel, name, 1)[0][2] == b"x"


def test_properties_and_headers_come_back_exactly(channel, name):
    channel.queue_declare(queue=name, exclusive=True)
    headers = {"text": "ü", "int": 42, "big": 2**40, "neg": -1, "bool": True, "list": [1, "two", {"three": 3}],
               "table": {"a": {"b": None}}, "none": None, "bytes": b"\x00\xff"}
    sent = pika.BasicProperties(
        content_type="text/plain", content_encoding="utf-8", headers=headers, delivery_mode=1, priority=3,
        correlation_id="c-1", reply_to="back", expiration=None, message_id="m-1", timestamp=1700000000,
        type="greeting", user_id="guest", app_id="tests")
    channel.basic_publish("", name, b"body", sent)
    ((_, got, body),) = drain(channel, name, 1)
    assert body == b"body"
    for field in ("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to",
                  "message_id", "timestamp", "type", "user_id", "app_id", "headers"):
        assert getattr(got, field) == getattr(sent, field), field


@pytest.mark.parametrize("size", [0, 1, 4088, 131064, 131065, 1_000_000, 5_000_000])
def test_bodies_of_all_sizes(channel, name, size):
    channel.queue_declare(queue=name, durable=True)
    channel.confirm_delivery()
    body = bytes(i * 7 % 251 for i in range(min(size, 10_000))) * (size // 10_000 + 1)
    body = body[:size]
    channel.basic_publish("", name, body, persistent())
    channel.basic_publish("", name, body)
    assert [m[2] for m in drain(channel, name, 2)] == [body, body]
    channel.queue_delete(name)


def test_a_small_frame_max_works(broker, name):
    connection = connect(broker, frame_max=8192)
    channel = connection.channel()
    channel.queue_declare(queue=name, exclusive=True)
    body = bytes(range(256)) * 400
    channel.basic_publish("", name, body)
    assert drain(channel, name, 1)[0][2] == body
    connection.close()


def test_purge_drops_ready_messages_only(channel, name):
    channel.queue_declare(queue=name, durable=True)
    channel.confirm_delivery()
    for i in range(5):
        channel.basic_publish("", name, str(i), persistent())
    method, _, _ = channel.basic_get(name)
    assert channel.queue_purge(name).method.message_count == 4
    channel.basic_nack(method.delivery_tag, requeue=True)
    method, _, body = channel.basic_get(name)
    assert body == b"0" and method.redelivered
    channel.queue_delete(name)


def test_delete_if_unused_and_if_empty(broker, channel, name):
    channel.queue_declare(queue=name, durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", name, b"x", persistent())
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_delete(name, if_empty=True)
    assert closed.value.reply_code == 406 and "not empty" in closed.value.reply_text
    with connect(broker) as other:
        second = other.channel()
        second.basic_consume(name, lambda *_: None)
        third = other.channel()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
            third.queue_delete(name, if_unused=True)
        assert closed.value.reply_code == 406 and "in use" in closed.value.reply_text
        second.queue_delete(name)


def test_deleting_what_is_not_there_succeeds(channel, name):
    assert channel.queue_delete(name).method.message_count == 0
    channel.exchange_delete(name)


def test_auto_delete_goes_with_the_last_consumer(broker, channel, name):
    channel.queue_declare(queue=name, auto_delete=True)
    tag = channel.basic_consume(name, lambda *_: None)
    channel.basic_cancel(tag)

    def gone():
        with connect(broker) as other:
            try:
                other.channel().queue_declare(queue=name, passive=True)
                return False
            except pika.exceptions.ChannelClosedByBroker as closed:
                return closed.reply_code == 404

    eventually(gone)


def test_exclusive_queues_are_private_and_go_with_the_connection(broker, name):
    owner = connect(broker)
    owner.channel().queue_declare(queue=name, exclusive=True)
    with connect(broker) as other:
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
            other.channel().queue_declare(queue=name, exclusive=True)
        assert closed.value.reply_code == 405
        assert "cannot obtain exclusive access to locked queue" in closed.value.reply_text
        owner.close()

        def gone():
            try:
                other.channel().queue_declare(queue=name, passive=True)
            except pika.exceptions.ChannelClosedByBroker as closed:
                return closed.reply_code == 404

        eventually(gone)


# --- errors at the right level --------------------------------------------------------------------------------------


def test_inequivalent_redeclaration(channel, name):
    channel.queue_declare(queue=name, durable=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare(queue=name, durable=False)
    assert closed.value.reply_code == 406
    assert closed.value.reply_text.startswith(
        f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{name}' in vhost '/': "
        "received 'false' but current is 'true'")
    channel.connection.channel().queue_delete(name)


def test_missing_queue_and_exchange(connection, name):
    for action in (
        lambda c: c.queue_declare(queue=name, passive=True),
        lambda c: c.basic_consume(name, lambda *_: None),
        lambda c: c.basic_get(name),
        lambda c: c.queue_purge(name),
    ):
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
            action(connection.channel())
        assert closed.value.reply_code == 404
        assert closed.value.reply_text == f"NOT_FOUND - no queue '{name}' in vhost '/'"
    channel = connection.channel()
    channel.basic_publish(name, "key", b"x")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare(queue="", exclusive=True)
    assert closed.value.reply_code == 404
    assert closed.value.reply_text == f"NOT_FOUND - no exchange '{name}' in vhost '/'"


def test_unknown_delivery_tag(connection, name):
    channel = connection.channel()
    channel.basic_ack(42)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare(queue="", exclusive=True)
    assert closed.value.reply_code == 406
    assert closed.value.reply_text == "PRECONDITION_FAILED - unknown delivery tag 42"
    # The connection lives.
    assert connection.channel().is_open


def test_a_reused_consumer_tag_is_a_connection_error(broker, name):
    connection = connect(broker)
    channel = connection.channel()
    channel.queue_declare(queue=name, exclusive=True)
    channel.basic_consume(name, lambda *_: None, consumer_tag="tag")
    with pytest.raises((pika.exceptions.DuplicateConsumerTag, pika.exceptions.ConnectionClosedByBroker)):
        channel.basic_consume(name, lambda *_: None, consumer_tag="tag")


def test_wrong_password_is_refused(broker):
    with pytest.raises((pika.exceptions.ProbableAuthenticationError, pika.exceptions.AuthenticationError)):
        connect(broker, credentials=pika.PlainCredentials("guest", "wrong"))


def test_unknown_vhost_is_refused(broker):
    with pytest.raises((pika.exceptions.ProbableAccessDeniedError, pika.exceptions.ConnectionClosedByBroker)) as error:
        connect(broker, virtual_host="nowhere")
    assert "530" in str(error.value) and "vhost nowhere not found" in str(error.value)


def test_reserved_names(connection):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        connection.channel().exchange_declare("amq.mine", "direct")
    assert closed.value.reply_code == 403 and "reserved prefix 'amq.*'" in closed.value.reply_text


# --- exchanges ------------------------------------------------------------------------------------------------------


def bound(channel, exchange, *keys, **arguments):
    queue = channel.queue_declare(queue="", exclusive=True).method.queue
    for key in keys:
        channel.queue_bind(queue, exchange, key, **arguments)
    return queue


def bodies(channel, queue):
    got = []
    while True:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return got
        got.append(body)


def test_direct_fanout_topic_headers(channel, name):
    channel.confirm_delivery()
    for kind in ("direct", "fanout", "topic", "headers"):
        channel.exchange_declare(f"{name}-{kind}", kind, auto_delete=True)
    direct = bound(channel, f"{name}-direct", "red", "green")
    fan = [bound(channel, f"{name}-fanout", "") for _ in range(3)]
    words = bound(channel, f"{name}-topic", "stock.*.nyse", "#.all")
    head = bound(channel, f"{name}-headers", "", arguments={"x-match": "all", "a": 1, "b": "two"})
    some = bound(channel, f"{name}-headers", "", arguments={"x-match": "any", "a": 1, "b": "two"})
    for key in ("red", "blue", "green"):
        channel.basic_publish(f"{name}-direct", key, key)
    assert bodies(channel, direct) == [b"red", b"green"]
    channel.basic_publish(f"{name}-fanout", "whatever", b"all")
    assert [bodies(channel, q) for q in fan] == [[b"all"]] * 3
    for key in ("stock.usd.nyse", "stock.nyse", "stock.a.b.nyse", "all", "x.y.all", "all.x"):
        channel.basic_publish(f"{name}-topic", key, key)
    assert bodies(channel, words) == [b"stock.usd.nyse", b"all", b"x.y.all"]
    for headers in ({"a": 1, "b": "two"}, {"a": 1}, {"c": 3}):
        channel.basic_publish(f"{name}-headers", "", str(headers), pika.BasicProperties(headers=headers))
    assert len(bodies(channel, head)) == 1 and len(bodies(channel, some)) == 2


def test_exchange_to_exchange_and_one_copy_per_queue(channel, name):
    channel.confirm_delivery()
    channel.exchange_declare(f"{name}-a", "topic")
    channel.exchange_declare(f"{name}-b", "fanout")
    channel.exchange_bind(f"{name}-b", f"{name}-a", "x.#")
    queue = bound(channel, f"{name}-b", "")
    channel.queue_bind(queue, f"{name}-a", "x.*")
    channel.basic_publish(f"{name}-a", "x.y", b"once")
    assert bodies(channel, queue) == [b"once"]
    channel.exchange_unbind(f"{name}-b", f"{name}-a", "x.#")
    channel.queue_unbind(queue, f"{name}-a", "x.*")
    channel.basic_publish(f"{name}-a", "x.y", b"gone")
    assert bodies(channel, queue) == []
    for exchange in (f"{name}-a", f"{name}-b"):
        channel.exchange_delete(exchange)


def test_an_auto_delete_exchange_goes_with_its_last_binding(connection, name):
    channel = connection.channel()
    channel.exchange_declare(name, "fanout", auto_delete=True)
    queue = bound(channel, name, "")
    channel.queue_unbind(queue, name, "")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.exchange_declare(name, passive=True)
    assert closed.value.reply_code == 404


def test_mandatory_unroutable_comes_back(channel, name):
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError) as error:
        channel.basic_publish("", name, b"lost", mandatory=True)
    returned = error.value.messages[0]
    assert returned.method.reply_code == 312 and returned.method.reply_text == "NO_ROUTE"
    assert returned.body == b"lost"
    # Not mandatory: confirmed and dropped.
    channel.basic_publish("", name, b"lost")


def test_internal_exchange_refuses_publishers(connection, name):
    channel = connection.channel()
    channel.exchange_declare(name, "fanout", internal=True, auto_delete=False)
    channel.basic_publish(name, "", b"x")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare(queue="", exclusive=True)
    assert closed.value.reply_code == 403 and "cannot publish to internal exchange" in closed.value.reply_text
    connection.channel().exchange_delete(name)


# --- consumers ------------------------------------------------------------------------------------------------------


def test_nack_requeues_to_the_original_place_and_flags(channel, name):
    channel.queue_declare(queue=name, durable=True)
    channel.confirm_delivery()
    for i in range(4):
        channel.basic_publish("", name, str(i), persistent())
    tags = [channel.basic_get(name)[0].delivery_tag for _ in range(3)]
    channel.basic_nack(tags[1], requeue=True)
    channel.basic_nack(tags[0], requeue=True)
    channel.basic_reject(tags[2], requeue=True)
    got = drain(channel, name, 4)
    assert [g[2] for g in got] == [b"0", b"1", b"2", b"3"]
    assert [g[0].redelivered for g in got] == [True, True, True, False]
    channel.queue_delete(name)


def test_nack_without_requeue_drops(channel, name):
    channel.queue_declare(queue=name, durable=True)
    channel.confirm_delivery()
    for i in range(3):
        channel.basic_publish("", name, str(i), persistent())
    last = [channel.basic_get(name)[0].delivery_tag for _ in range(3)][-1]
    channel.basic_nack(last, multiple=True, requeue=False)
    assert channel.basic_get(name)[0] is None
    channel.queue_delete(name)


def test_prefetch_bounds_what_is_unacknowledged(connection, name):
    channel = connection.channel()
    channel.queue_declare(queue=name, durable=True)
    channel.confirm_delivery()
    for i in range(10):
        channel.basic_publish("", name, str(i), persistent())
    channel.basic_qos(prefetch_count=3)
    got = []
    channel.basic_consume(name, lambda c, m, p, b: got.append((m.delivery_tag, b)))
    eventually(lambda: connection.process_data_events(0.05) or len(got) >= 3)
    connection.process_data_events(0.3)
    assert [b for _, b in got] == [b"0", b"1", b"2"]
    channel.basic_ack(got[-1][0], multiple=True)
    eventually(lambda: connection.process_data_events(0.05) or len(got) >= 6)
    assert [b for _, b in got] == [str(i).encode() for i in range(6)]
    channel.queue_delete(name)


def test_two_consumers_share_the_load(broker, name):
    n = 200
    with connect(broker) as setup:
        channel = setup.channel()
        channel.queue_declare(queue=name, durable=True)
        counts, stop, threads, ready = [0, 0], threading.Event(), [], threading.Barrier(3)

        def work(i):
            with connect(broker) as connection:
                channel = connection.channel()
                channel.basic_qos(prefetch_count=1)

                def on_message(c, method, _, body):
                    counts[i] += 1
                    c.basic_ack(method.delivery_tag)

                channel.basic_consume(name, on_message)
                ready.wait()
                while not stop.is_set():
                    connection.process_data_events(0.05)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        [t.start() for t in threads]
        ready.wait()
        channel.confirm_delivery()
        for i in range(n):
            channel.basic_publish("", name, str(i), persistent())
        eventually(lambda: sum(counts) == n)
        stop.set()
        [t.join() for t in threads]
        assert min(counts) > n / 5, counts
        channel.queue_delete(name)


def test_unacknowledged_messages_return_when_a_connection_goes(broker, name):
    with connect(broker) as keeper:
        channel = keeper.channel()
        channel.queue_declare(queue=name, durable=True)
        channel.confirm_delivery()
        for i in range(5):
            channel.basic_publish("", name, str(i), persistent())
        victim = connect(broker)
        c = victim.channel()
        for _ in range(3):
            c.basic_get(name)
        victim.close()
        eventually(lambda: channel.queue_declare(queue=name, passive=True).method.message_count == 5)
        got = drain(channel, name, 5)
        assert [g[2] for g in got] == [b"0", b"1", b"2", b"3", b"4"]
        assert [g[0].redelivered for g in got] == [True, True, True, False, False]
        channel.queue_delete(name)


def test_cancel_notify_when_the_queue_goes(broker, connection, name):
    channel = connection.channel()
    channel.queue_declare(queue=name, durable=True)
    cancelled = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tag = channel.basic_consume(name, lambda *_: None)
    with connect(broker) as other:
        other.channel().queue_delete(name)
    eventually(lambda: connection.process_data_events(0.05) or cancelled)
    assert cancelled == [tag]


def test_exclusive_consumer(connection, name):
    first = connection.channel()
    first.queue_declare(queue=name, exclusive=True)
    first.basic_consume(name, lambda *_: None, exclusive=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        connection.channel().basic_consume(name, lambda *_: None)
    assert closed.value.reply_code == 403 and "in exclusive use" in closed.value.reply_text


def test_recover_redelivers(connection, name):
    channel = connection.channel()
    channel.queue_declare(queue=name, durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", name, b"x", persistent())
    got = []
    channel.basic_consume(name, lambda c, m, p, b: got.append(m.redelivered))
    eventually(lambda: connection.process_data_events(0.05) or len(got) == 1)
    channel.basic_recover(requeue=True)
    eventually(lambda: connection.process_data_events(0.05) or len(got) == 2)
    assert got == [False, True]
    channel.queue_delete(name)


def test_auto_ack_removes_at_delivery(channel, name):
    channel.queue_declare(queue=name, durable=True)
    channel.confirm_delivery()
    for i in range(20):
        channel.basic_publish("", name, str(i), persistent())
    got = []
    for method, _, body in channel.consume(name, auto_ack=True, inactivity_timeout=10):
        got.append(body)
        if len(got) == 20:
            break
    channel.cancel()
    assert got == [str(i).encode() for i in range(20)]
    assert channel.queue_declare(queue=name, passive=True).method.message_count == 0
    channel.queue_delete(name)


# --- durability -----------------------------------------------------------------------------------------------------


def test_confirmed_messages_survive_kill_9(own_broker, name):
    n = 1000
    channel = connect(own_broker).channel()
    channel.exchange_declare(name, "topic", durable=True)
    channel.queue_declare(queue=name, durable=True)
    channel.queue_bind(name, name, "k.#")
    channel.queue_declare(queue=f"{name}-transient")
    channel.confirm_delivery()
    for i in range(n):
        channel.basic_publish(name, f"k.{i % 7}", str(i), persistent(headers={"i": i}))
    own_broker.restart(kill=True)
    with connect(own_broker) as connection:
        channel = connection.channel()
        assert channel.queue_declare(queue=name, durable=True, passive=True).method.message_count == n
        got = drain(channel, name, n)
        assert [g[2] for g in got] == [str(i).encode() for i in range(n)]
        assert all(g[1].headers["i"] == i for i, g in enumerate(got))
        # A queue that is not durable does not come back.
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
            connection.channel().queue_declare(queue=f"{name}-transient", passive=True)
        assert closed.value.reply_code == 404
        # Bindings do.
        channel.confirm_delivery()
        channel.basic_publish(name, "k.again", b"after", persistent(), mandatory=True)
        assert drain(channel, name, 1)[0][2] == b"after"


def test_acknowledged_messages_stay_away_after_a_clean_restart(own_broker, name):
    with connect(own_broker) as connection:
        channel = connection.channel()
        channel.queue_declare(queue=name, durable=True)
        channel.confirm_delivery()
        for i in range(10):
            channel.basic_publish("", name, str(i), persistent())
        drain(channel, name, 4)
        method, _, body = channel.basic_get(name)
        assert body == b"4"
    own_broker.restart(kill=False)
    with connect(own_broker) as connection:
        got = drain(connection.channel(), name, 6)
        assert [g[2] for g in got] == [b"4", b"5", b"6", b"7", b"8", b"9"]
        assert got[0][0].redelivered, "it was delivered before the restart"


def test_delivered_before_a_kill_means_redelivered_after(own_broker, name):
    channel = connect(own_broker).channel()
    channel.queue_declare(queue=name, durable=True)
    channel.confirm_delivery()
    for i in range(5):
        channel.basic_publish("", name, str(i), persistent())
    for _ in range(3):
        assert not channel.basic_get(name)[0].redelivered
    own_broker.restart(kill=True)
    with connect(own_broker) as connection:
        got = drain(connection.channel(), name, 5)
        assert [g[2] for g in got] == [b"0", b"1", b"2", b"3", b"4"]
        assert all(g[0].redelivered for g in got[:3])
    with connect(own_broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", name, b"new", persistent())
        assert not drain(channel, name, 1)[0][0].redelivered, "published after the restart"


def test_a_second_broker_on_the_same_data_is_refused(own_broker):
    from conftest import Broker

    second = Broker(own_broker.data_dir)
    with pytest.raises(RuntimeError) as error:
        second.start()
    assert "in use" in str(error.value) and str(own_broker.process.pid) in str(error.value)


def test_heartbeats_keep_an_idle_connection(broker):
    connection = connect(broker, heartbeat=1)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        connection.process_data_events(0.2)
    assert connection.is_open
    connection.close()
