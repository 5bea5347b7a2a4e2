"""The methods of AMQP 0-9-1, one by one, where clients count on details. Expectations hold against RabbitMQ 3.10."""

import struct

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from conftest import Broker, eventually
from raw_amqp import *


def parameters(broker, **more):
    return pika.ConnectionParameters(broker.host, broker.amqp_port, heartbeat=0, **more)


@pytest.fixture
def connection(broker):
    connection = pika.BlockingConnection(parameters(broker))
    yield connection
    if connection.is_open:
        connection.close()


@pytest.fixture
def channel(connection):
    return connection.channel()


def refusal(connection, act):
    """(code, text) with which a new channel is closed."""
    with pytest.raises(ChannelClosedByBroker) as refused:
        act(connection.channel())
    return refused.value.reply_code, refused.value.reply_text


def not_allowed(text):
    return 403, f"ACCESS_REFUSED - {text}"


# --- connections and channels -----------------------------------------------------------------------------------------


def test_what_the_server_says_of_itself(connection):
    told = connection._impl.server_properties
    assert all(told["capabilities"][name] is True for name in (
        "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
        "consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to"))
    assert isinstance(told["product"], str) and isinstance(told["version"], str)


def test_a_broker_that_ends_says_so(own_broker):
    with pytest.raises(ConnectionClosedByBroker) as closed, pika.BlockingConnection(parameters(own_broker)) as connection:
        channel = connection.channel()
        channel.queue_declare("x", exclusive=True)
        own_broker.process.terminate()
        while True:
            connection.process_data_events(1)
    assert closed.value.reply_code == 320
    assert closed.value.reply_text == "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
    assert own_broker.process.wait(20) == 0


@pytest.mark.parametrize("number", [1, 2047])
def test_a_channel_number_is_free_again_at_once(broker, name, number):
    """Closed by either side, over and over: the next open is answered, and nothing of the one before comes after it."""
    with Raw(broker) as raw:
        raw.handshake()
        for round in range(20):
            raw.channel(number)
            raw.send(declare(number, name, 4), consume(number, name, "tag"), publish(number, "", name), content_header(number, 0))
            raw.expect(50, 11), raw.expect(60, 21)
            if round % 2:
                raw.send(method(number, 60, 80, struct.pack(">QB", 99, 0)))
                assert raw.error() == ("channel", 406, "PRECONDITION_FAILED - unknown delivery tag 99")
            else:
                raw.send(method(number, 20, 40, struct.pack(">H", 200) + short("") + bytes(4)))
                while (got := raw.frame())[2][:4] != struct.pack(">HH", 20, 41):
                    assert got[1] == number


def test_both_close_a_channel_at_once(broker):
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        # The second is on its way when the server refuses the first.
        raw.send(method(1, 60, 80, struct.pack(">QB", 99, 0)), method(1, 20, 40, struct.pack(">H", 200) + short("") + bytes(4)))
        raw.expect(20, 40, 1)
        raw.expect(20, 41, 1)
        raw.send(method(1, 20, 41))
        raw.channel(1)


def test_close_ok_that_nobody_waits_for(broker):
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        raw.send(method(1, 20, 41))
        assert raw.error()[:2] == ("connection", 503)


def test_access_request_and_flow_are_answered(broker):
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        raw.send(method(1, 30, 10, short("/data") + b"\x1f"))
        assert raw.expect(30, 11, 1) == b"\x00\x01"
        raw.send(method(1, 20, 20, b"\x01"))
        assert raw.expect(20, 21, 1) == b"\x01"
        if isinstance(broker, Broker):
            raw.send(method(0, 10, 70, long(b"new password") + short("it was time")))
            raw.expect(10, 71, 0)


@pytest.mark.parametrize("frame_max", [4096, 8192, 131072])
def test_frames_keep_to_what_was_agreed(broker, name, frame_max):
    """Nothing larger is sent than the client asked for, whatever is delivered."""
    with Raw(broker) as raw:
        raw.handshake(frame_max=frame_max).channel(1)
        raw.send(declare(1, name, 4), consume(1, name, "tag", 2), publish(1, "", name), content_header(1, 300_000))
        for at in range(0, 300_000, frame_max - 8):
            raw.send(body(1, b"x" * min(frame_max - 8, 300_000 - at)))
        raw.expect(50, 11), raw.expect(60, 21), raw.expect(60, 60)
        got = 0
        while got < 300_000:
            kind, _, payload = raw.frame()
            assert len(payload) + 8 <= frame_max
            got += len(payload) if kind == BODY else 0
        assert got == 300_000


def test_heartbeats_go_both_ways(broker):
    """One second: the server sends them, and lets go a client that does not."""
    with Raw(broker) as raw:
        raw.handshake(heartbeat=1)
        raw.socket.settimeout(10)
        assert raw.receive(8) == frame(HEARTBEAT, 0, b"")
        assert raw.is_closed(10)


def test_vhosts_of_all_names(broker):
    """An unknown one is refused by name; `%2F` is nobody's but a client library's affair."""
    for vhost in ("nowhere", "%2F", "", "/ ", "ü", "x" * 255):
        with Raw(broker) as raw:
            raw.send(HEADER)
            raw.expect(10, 10)
            raw.send(start_ok())
            raw.expect(10, 30)
            raw.send(tune_ok(), open_vhost(vhost))
            level, code, text = raw.error()
            assert (level, code) == ("connection", 530) and text.startswith(f"NOT_ALLOWED - vhost {vhost}"[:200]), text
    for url in ("amqp://guest:guest@{}:{}/%2F", "amqp://guest:guest@{}:{}", "amqp://guest:guest@{}:{}/%2f?heartbeat=0"):
        pika.BlockingConnection(pika.URLParameters(url.format(broker.host, broker.amqp_port))).close()


# --- exchanges ----------------------------------------------------------------------------------------------------------


def test_deleting_exchanges(connection, channel, name):
    channel.exchange_delete(name)
    channel.exchange_declare(name, "fanout")
    channel.queue_declare(name, exclusive=True)
    channel.queue_bind(name, name)
    assert refusal(connection, lambda ch: ch.exchange_delete(name, if_unused=True)) == (
        406, f"PRECONDITION_FAILED - exchange '{name}' in vhost '/' in use")
    channel.queue_unbind(name, name)
    channel.exchange_delete(name, if_unused=True)
    assert refusal(connection, lambda ch: ch.exchange_declare(name, passive=True))[0] == 404


def test_the_default_exchange_is_nobodys(connection, channel, name):
    channel.queue_declare(name, exclusive=True)
    text = not_allowed("operation not permitted on the default exchange")
    for act in (lambda ch: ch.queue_bind(name, "", "k"), lambda ch: ch.queue_unbind(name, "", name), lambda ch: ch.exchange_delete(""),
                lambda ch: ch.exchange_declare("", "direct", durable=True), lambda ch: ch.exchange_bind("", "amq.direct", "k"),
                lambda ch: ch.exchange_bind("amq.direct", "", "k")):
        assert refusal(connection, act) == text


def test_headers_match(connection, channel, name):
    channel.exchange_declare(name, "headers", auto_delete=True)
    bindings = {
        "all": {"x-match": "all", "a": 1, "b": "x"}, "default": {"a": 1, "b": "x"}, "any": {"x-match": "any", "a": 1, "b": "x"},
        "there": {"a": None}, "none-all": {"x-match": "all"}, "none-any": {"x-match": "any"}, "x-ignored": {"x-match": "all", "x-a": 1},
    }
    for key, arguments in bindings.items():
        channel.queue_declare(f"{name}-{key}", exclusive=True)
        channel.queue_bind(f"{name}-{key}", name, arguments=arguments)

    def reached(headers):
        channel.basic_publish(name, "any key", b"", pika.BasicProperties(headers=headers))
        return {key for key in bindings if channel.basic_get(f"{name}-{key}", auto_ack=True)[0]}

    always = {"none-all", "x-ignored"}
    assert reached({}) == reached(None) == always
    assert reached({"a": 1}) == {"any", "there"} | always
    assert reached({"a": 2**40, "b": "x"}) == {"any", "there"} | always
    assert reached({"a": "1", "b": "X"}) == {"there"} | always
    assert reached({"a": None}) == {"there"} | always
    assert reached({"c": 1, "b": "x", "a": 1}) == {"all", "default", "any", "there"} | always
    for value, text in ((5, "type signedint (value 5); expected longstr"), ("most", 'value <<"most">>; expected all, any, all-with-x, or any-with-x')):
        code, told = refusal(connection, lambda ch: ch.queue_bind(f"{name}-all", name, arguments={"x-match": value}))
        assert code == 406 and told.startswith("PRECONDITION_FAILED - Invalid x-match field ")
        assert not isinstance(value, int) or told.endswith(text)


def test_exchanges_are_made_again_the_same(connection, channel, name):
    def told(argument, received, current):
        return 406, (f"PRECONDITION_FAILED - inequivalent arg '{argument}' for exchange '{name}' in vhost '/': "
                     f"received {received} but current is {current}")

    make = dict(exchange=name, exchange_type="topic", durable=True, internal=True, arguments={"alternate-exchange": "a", "mine": 1})
    channel.exchange_declare(**make)
    channel.exchange_declare(**{**make, "arguments": {"alternate-exchange": "a", "other": 2}})
    for change, answer in (
            ({"exchange_type": "direct"}, told("type", "'direct'", "'topic'")), ({"durable": False}, told("durable", "'false'", "'true'")),
            ({"auto_delete": True}, told("auto_delete", "'true'", "'false'")), ({"internal": False}, told("internal", "'false'", "'true'")),
            ({"arguments": None}, told("alternate-exchange", "none", "the value 'a' of type 'longstr'")),
            ({"arguments": {"alternate-exchange": "b"}}, told("alternate-exchange", "'b'", "'a'"))):
        assert refusal(connection, lambda ch: ch.exchange_declare(**{**make, **change})) == answer
    channel.exchange_declare(name, "whatever", passive=True)
    channel.exchange_delete(name)


# --- queues -----------------------------------------------------------------------------------------------------------


def test_an_empty_name_is_the_queue_declared_last(connection, channel):
    assert refusal(connection, lambda ch: ch.queue_purge("")) == (404, "NOT_FOUND - no previously declared queue")
    queue = channel.queue_declare("", exclusive=True).method.queue
    # Neither queue nor key: the queue's name is the key.
    channel.queue_bind("", "amq.direct", "")
    channel.basic_publish("amq.direct", queue, b"found")
    assert channel.basic_get("", auto_ack=True)[2] == b"found"
    channel.queue_unbind("", "amq.direct", queue)
    channel.basic_publish("amq.direct", queue, b"lost")
    assert channel.basic_get("", auto_ack=True)[0] is None
    channel.queue_delete("")


def test_names_the_server_keeps_for_itself(connection, channel, name):
    for queue in ("amq.mine", "amq.", f"amq.{name}"):
        text = f"queue name '{queue}' contains reserved prefix 'amq.*'"
        assert refusal(connection, lambda ch: ch.queue_declare(queue)) == not_allowed(text)
        assert refusal(connection, lambda ch: ch.queue_declare(queue, passive=True))[0] == 404
    channel.queue_declare("amq", exclusive=True)


def test_names_of_all_shapes(broker, connection, channel, name):
    """255 octets, letters of all alphabets, spaces; line ends are dropped."""
    for queue in ("ä" * 60 + name, name + "x" * (255 - len(name)), f" {name} ", f"{name}\t#*."):
        assert channel.queue_declare(queue, exclusive=True).method.queue == queue
        channel.basic_publish("", queue, b"x")
        assert channel.basic_get(queue, auto_ack=True)[0].routing_key == queue
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        raw.send(declare(1, f"{name}\r\n2", 4))
        assert raw.expect(50, 11).startswith(short(f"{name}2"))


def test_queues_are_made_again_the_same(connection, channel, name):
    """Values count, not the width of integers; what only one side has is told with its type."""
    def told(argument, received, current):
        return 406, (f"PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{name}' in vhost '/': "
                     f"received {received} but current is {current}")

    channel.queue_declare(name, durable=True, arguments={"x-max-length": 5, "x-overflow": "drop-head", "mine": 1})
    same = {"x-max-length": 5, "x-overflow": "drop-head"}
    channel.queue_declare(name, durable=True, arguments=same)
    channel.queue_declare(name, durable=True, arguments={**same, "x-queue-type": "classic"})
    channel.queue_declare(name, passive=True, exclusive=True, arguments={"x-max-length": -1})
    for change, answer in (
            ({"x-max-length": 6}, told("x-max-length", "'6'", "'5'")),
            ({"x-overflow": "reject-publish"}, told("x-overflow", "'reject-publish'", "'drop-head'")),
            ({"x-message-ttl": 5}, told("x-message-ttl", "the value '5' of type 'signedint'", "none"))):
        assert refusal(connection, lambda ch: ch.queue_declare(name, durable=True, arguments={**same, **change})) == answer
    assert refusal(connection, lambda ch: ch.queue_declare(name, durable=True, arguments={"x-overflow": "drop-head"})) == told(
        "x-max-length", "none", "the value '5' of type 'signedint'")
    assert refusal(connection, lambda ch: ch.queue_declare(name, arguments=same)) == told("durable", "'false'", "'true'")
    assert refusal(connection, lambda ch: ch.queue_declare(name, durable=True, auto_delete=True, arguments=same)) == told(
        "auto_delete", "'true'", "'false'")
    assert refusal(connection, lambda ch: ch.queue_declare(name, durable=True, exclusive=True, arguments=same))[0] == 405
    channel.queue_delete(name)


def test_an_exclusive_queue_is_locked_for_all_methods(broker, connection, channel, name):
    channel.queue_declare(name, exclusive=True)
    with pika.BlockingConnection(parameters(broker)) as other:
        for act in (lambda ch: ch.queue_declare(name), lambda ch: ch.queue_declare(name, passive=True), lambda ch: ch.queue_purge(name),
                    lambda ch: ch.queue_delete(name), lambda ch: ch.queue_bind(name, "amq.direct", "k"), lambda ch: ch.basic_get(name),
                    lambda ch: ch.basic_consume(name, lambda *_: None)):
            code, text = refusal(other, act)
            assert code == 405 and text.startswith(f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '/'.")
        # Anybody may publish to it.
        other.channel().basic_publish("", name, b"for you")
    assert eventually(lambda: channel.basic_get(name, auto_ack=True)[2]) == b"for you"


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_return_comes_before_its_confirm(broker, name):
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        raw.send(method(1, 85, 10, b"\0"))
        raw.expect(85, 11)
        for tag in range(1, 21):
            raw.send(publish(1, "amq.direct", name, 1), content_header(1, 3), body(1, b"abc"))
            assert raw.expect(60, 50).startswith(struct.pack(">H", 312) + short("NO_ROUTE") + short("amq.direct") + short(name))
            assert raw.frame()[0] == CONTENT_HEADER and raw.frame() == (BODY, 1, b"abc")
            assert struct.unpack(">QB", raw.expect(60, 80)) == (tag, 0)


def test_tag_zero_and_multiple(broker, name):
    """Zero with multiple is everything, also if that is nothing; without, it is a tag that nobody has. With multiple the tag
    itself must be unacknowledged."""
    def settle(id, tag, *bits):
        return method(1, 60, id, struct.pack(">QB", tag, sum(bit << at for at, bit in enumerate(bits))))

    with Raw(broker) as raw:
        raw.handshake().channel(1)
        raw.send(settle(80, 0, 1), settle(120, 0, 1, 1), declare(1, name, 4))
        raw.expect(50, 11)
        for id, bits in ((80, ()), (90, (1,)), (120, (0, 1))):
            raw.send(settle(id, 0, *bits))
            assert raw.error() == ("channel", 406, "PRECONDITION_FAILED - unknown delivery tag 0")
            raw.channel(1)
        for last, then in ((3, 80), (3, 120), (7, 80)):
            raw.send(declare(1, name, 4), method(1, 50, 30, b"\0\0" + short(name) + b"\0"))
            raw.expect(50, 11), raw.expect(50, 31)
            for _ in range(4):
                raw.send(publish(1, "", name), content_header(1, 0), get(1, name, False))
                raw.expect(60, 71), raw.frame()
            # Up to the second; then that tag is gone, and one beyond the last never was.
            raw.send(settle(80, 2, 1), settle(80, 3))
            raw.send(settle(then, last, 1))
            assert raw.error() == ("channel", 406, f"PRECONDITION_FAILED - unknown delivery tag {last}")
            raw.channel(1)


def test_get_finds_what_was_published_before_it(channel, name):
    channel.queue_declare(name, exclusive=True)
    assert channel.basic_get(name) == (None, None, None)
    for at in range(50):
        channel.basic_publish("", name, str(at).encode())
        method, _, body = channel.basic_get(name, auto_ack=True)
        assert body == str(at).encode() and method.message_count == 0 and not method.redelivered
    for at in range(3):
        channel.basic_publish("", name, b"x")
    assert [channel.basic_get(name)[0].message_count for _ in range(3)] == [2, 1, 0]


def test_no_local_means_nothing(broker, name):
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        raw.send(declare(1, name, 4), consume(1, name, "tag", 1), publish(1, "", name), content_header(1, 0))
        raw.expect(50, 11), raw.expect(60, 21), raw.expect(60, 60)


def test_nothing_is_delivered_after_cancel_ok(broker, name):
    """While a publisher does not stop. What was delivered stays unacknowledged and may be settled."""
    with Raw(broker) as raw, Raw(broker) as publisher:
        raw.handshake().channel(1)
        publisher.handshake().channel(1)
        raw.send(declare(1, name, 4))
        raw.expect(50, 11)
        for round in range(20):
            raw.send(consume(1, name, f"tag{round}"))
            publisher.send(*[publish(1, "", name) + content_header(1, 0)] * 50)
            raw.expect(60, 21)
            raw.send(method(1, 60, 30, short(f"tag{round}") + b"\0"))
            while (got := raw.frame())[0] != METHOD or got[2][:4] != struct.pack(">HH", 60, 31):
                pass
            raw.send(qos(1, 0))
            raw.expect(60, 11)
        raw.send(method(1, 60, 80, struct.pack(">QB", 0, 1)), declare(1, name, 1))
        answer = raw.expect(50, 11)
        assert struct.unpack(">I", answer[-4:]) == (0,), "no consumers"


def test_cancelling_what_is_not_there(broker, name):
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        for tag in ("nobody", "", "x" * 255):
            raw.send(method(1, 60, 30, short(tag) + b"\0"))
            assert raw.expect(60, 31) == short(tag)


def test_tags_are_made_and_are_of_one_channel(broker, name):
    with Raw(broker) as raw:
        raw.handshake().channel(1).channel(2)
        raw.send(declare(1, name, 4), consume(1, name), consume(1, name), consume(1, name, "mine"))
        raw.expect(50, 11)
        made = [raw.expect(60, 21)[1:] for _ in range(2)]
        assert all(tag.startswith(b"amq.ctag-") for tag in made) and made[0] != made[1]
        raw.send(consume(2, name, "mine"))
        assert raw.expect(60, 21, 1) == raw.expect(60, 21, 2) == short("mine")
        raw.send(consume(2, name, "mine"))
        assert raw.error() == ("connection", 530, "NOT_ALLOWED - attempt to reuse consumer tag 'mine'")


def test_counts_are_of_what_is_ready_and_of_all_consumers(connection, channel, name):
    channel.queue_declare(name, exclusive=True)
    for _ in range(5):
        channel.basic_publish("", name, b"x")
    channel.basic_get(name)
    other = connection.channel()
    other.basic_qos(prefetch_count=2)
    other.basic_consume(name, lambda *_: None)
    other.basic_consume(name, lambda *_: None)
    # One held by the get, two by each consumer.
    counts = eventually(lambda: (got := channel.queue_declare(name, passive=True).method).message_count == 0 and got)
    assert counts.consumer_count == 2
    other.close()
    assert channel.queue_declare(name, passive=True).method.message_count == 4
    assert channel.queue_purge(name).method.message_count == 4
    channel.close()
    assert connection.channel().queue_delete(name).method.message_count == 1
