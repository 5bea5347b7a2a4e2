"""Octets that no AMQP client should send. Each gets the protocol's own answer or a clean close, and nobody else notices:
after every test a neighbour on another connection still publishes and gets, and memory has not grown."""

import random
import socket
import struct
import time

import pytest

from conftest import Broker, eventually
from neighbours import *
from raw_amqp import *


# --- before the login -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opening", [
    b"AMQP\x00\x00\x09\x02", b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00", b"\x00" * 8,
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    struct.pack(">ihhih", 10, 18, 0, 1, -1) + bytes(8),
], ids=["0-9-2", "1.0", "sasl", "zeros", "http", "tls", "kafka"])
def test_another_protocol_is_told_ours(broker, opening):
    with Raw(broker) as raw:
        raw.send(opening)
        assert raw.receive(8) == HEADER
        assert raw.is_closed()


@pytest.mark.parametrize("opening", [b"", b"A", b"AMQP\x00\x00\x09"])
def test_a_client_that_leaves_before_it_has_said_anything(broker, opening):
    with Raw(broker) as raw:
        raw.send(opening)
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.is_closed()


def refused_before_open(broker, *pieces, tuned=False):
    """RabbitMQ closes without a word after three seconds; to say why is as good."""
    with Raw(broker) as raw:
        raw.send(HEADER)
        raw.expect(10, 10)
        if tuned:
            raw.send(start_ok())
            raw.expect(10, 30)
        raw.send(*pieces)
        return raw.error()


@pytest.mark.parametrize("pieces", [
    [start_ok("NOPE")],
    [start_ok("NOPE", properties=CAPABILITIES)],
    [start_ok(response=b"guest")],
    [tune_ok()],
    [open_vhost()],
    [open_channel(1)],
    [method(0, 10, 50, b"")],
    [b"\xff" * 64],
    [struct.pack(">BHI", 1, 0, MIB), b"x" * MIB],
    [struct.pack(">BHI", 1, 0, 0xFFFFFFFF)],
    [method(0, 10, 11, struct.pack(">I", 0xFFFFFFF0))],
], ids=["mechanism", "mechanism-told", "plain", "tune-ok", "open", "channel", "close-cut", "garbage", "large", "size-4g", "table-size"])
def test_nonsense_before_the_login(broker, pieces):
    level, code, _ = refused_before_open(broker, *pieces)
    assert level in ("closed", "connection") and code in (0, 403, 501, 502, 503, 504, 505, 530)


@pytest.mark.parametrize("pieces", [
    [tune_ok(channel_max=65535)],
    [tune_ok(frame_max=1 << 30)],
    [tune_ok(frame_max=1000)],
    [open_vhost()],
], ids=["channel_max", "frame_max-high", "frame_max-low", "no-tune-ok"])
def test_nonsense_while_tuning(broker, pieces):
    level, code, _ = refused_before_open(broker, *pieces, tuned=True)
    assert level in ("closed", "connection") and code in (0, 503, 504, 505, 530)


def test_a_wrong_password_is_told_to_those_who_understand(broker):
    level, code, text = refused_before_open(broker, start_ok(response=b"\0guest\0wrong", properties=CAPABILITIES))
    assert (level, code) == ("connection", 403)
    assert text.startswith("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.")
    assert refused_before_open(broker, start_ok(response=b"\0guest\0wrong")) == ("closed", 0, "")


def test_amqplain_works(broker):
    login = short("LOGIN") + b"S" + long(b"guest") + short("PASSWORD") + b"S" + long(b"guest")
    with Raw(broker) as raw:
        raw.send(HEADER)
        raw.expect(10, 10)
        raw.send(start_ok("AMQPLAIN", login))
        raw.expect(10, 30)


def test_who_does_not_finish_the_handshake_is_let_go(broker):
    """Silence at any step, or a drip of octets: ten seconds for all of it, a few more at most."""
    waiting = []
    for pieces in ([], [HEADER], [HEADER, start_ok()], [HEADER, start_ok(), tune_ok()], [HEADER[:5]]):
        raw = Raw(broker)
        raw.send(*pieces)
        waiting.append(raw)
    drip, began = Raw(broker), time.monotonic()
    drip.send(HEADER)
    octets = frame(HEARTBEAT, 0, b"") * 100

    def let_go():
        try:
            drip.socket.send(octets[:1])
            return False
        except OSError:
            return True

    eventually(let_go, timeout=20, every=0.2)
    assert all(raw.is_closed(20) for raw in waiting)
    assert time.monotonic() - began > 5, "too hasty for a slow network"
    [raw.socket.close() for raw in waiting + [drip]]


# --- frames ---------------------------------------------------------------------------------------------------------


def refused(broker, *pieces, channel=True, **tuning):
    with Raw(broker) as raw:
        raw.handshake(**tuning)
        if channel:
            raw.channel(1)
        raw.send(*pieces)
        return raw.error()


@pytest.mark.parametrize("pieces", [
    [frame(METHOD, 0, b"\x00\x0a\x00\x32", end=b"\x00")],
    [frame(METHOD, 1, b"\x00\x32\x00\x0a", end=b"\xcd")],
    [struct.pack(">BHI", BODY, 1, 0xFFFFFFFF)],
    [struct.pack(">BHI", METHOD, 1, 200_000), b"x" * 200_000, b"\xce"],
    [struct.pack(">BHI", CONTENT_HEADER, 1, 1 << 30)],
    [frame(0, 0, b"abc")], [frame(4, 1, b"abc")], [frame(7, 0, b"")], [frame(255, 1, b"abc")],
    [frame(METHOD, 1, b"")], [frame(METHOD, 1, b"\x00\x32\x00")],
    [frame(HEARTBEAT, 0, b"abc")],
], ids=["end", "end-cd", "size-4g", "large-method", "large-header", "type-0", "type-4", "type-7", "type-255", "empty",
        "three-octets", "heartbeat-payload"])
def test_malformed_frames_are_frame_errors(broker, pieces):
    level, code, text = refused(broker, *pieces)
    assert level == "connection" and code in (501, 502)
    assert text.startswith(("FRAME_ERROR", "SYNTAX_ERROR"))


def test_a_frame_larger_than_negotiated(broker):
    level, code, _ = refused(
        broker, publish(1, "", "x"), content_header(1, 10_000), body(1, b"x" * 10_000), frame_max=8192)
    assert (level, code) == ("connection", 501)
    # As large as negotiated, envelope included, is fine.
    with Raw(broker) as raw:
        raw.handshake(frame_max=8192).channel(1)
        raw.send(declare(1, "", 4 | 8), publish(1, "", ""), content_header(1, 8184), body(1, b"x" * 8184), qos(1, 1))
        raw.expect(50, 11)
        raw.expect(60, 11)


def test_a_heartbeat_belongs_to_channel_0(broker):
    level, code, _ = refused(broker, frame(HEARTBEAT, 1, b""))
    assert level == "connection" and code in (501, 503, 505)


# --- methods --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces, channel, codes", [
    ([declare(1, "x")], False, {504}),
    ([publish(7, "", "x"), content_header(7, 0)], False, {504}),
    ([open_channel(1)], True, {504}),
    ([declare(0, "x")], False, {503, 504}),
    ([method(1, 10, 40, short("/") + b"\0\0")], True, {503, 504}),
    ([open_vhost()], False, {503, 504, 505}),
    ([start_ok()], False, {503, 504, 505}),
    ([tune_ok()], False, {503, 504, 505}),
    ([method(0, 10, 51)], False, {503, 504, 505}),
    ([method(1, 50, 11, short("q") + bytes(8))], True, {503, 504, 505}),
    ([method(1, 20, 11, long(b""))], True, {503, 504, 505}),
    # RabbitMQ's reader dies of these; a sentence is better.
    ([method(1, 999, 1)], True, {0, 501, 502, 503, 540}),
    ([method(1, 50, 999)], True, {0, 501, 502, 503, 540}),
    ([method(0, 999, 1)], False, {0, 501, 502, 503, 504, 540}),
], ids=["declare-unopened", "publish-unopened", "open-twice", "declare-on-0", "connection-on-1", "vhost-twice",
        "start-ok-again", "tune-ok-again", "close-ok-unasked", "declare-ok", "open-ok", "class", "method", "class-on-0"])
def test_methods_out_of_place(broker, pieces, channel, codes):
    level, code, _ = refused(broker, *pieces, channel=channel)
    assert level in ("connection", "closed") and code in codes


def test_a_channel_above_the_maximum(broker):
    with Raw(broker) as raw:
        raw.handshake(channel_max=10)
        raw.send(open_channel(11))
        got = raw.frame()
        # RabbitMQ before 4 does not hold clients to what they said.
        if isinstance(broker, Broker):
            code, = struct.unpack(">H", got[2][4:6])
            assert got[2][:4] == struct.pack(">HH", 10, 50) and code in (504, 530)


@pytest.mark.parametrize("pieces", [
    [method(1, 50, 10, b"\0\0\x05ab")],
    [method(1, 50, 10)],
    [method(1, 50, 10, b"\0\0" + short("q") + b"\0" + struct.pack(">I", 0xFFFFFFF0))],
    [declare(1, "q", 0, short("a") + b"?x")],
    [declare(1, "q", 0, short("a") + b"S" + struct.pack(">I", 100) + b"ab")],
    [declare(1, "q", 0, short("a") + b"A" + struct.pack(">I", 0x7FFFFFFF))],
    [declare(1, "q", 0, b"\xff")],
], ids=["short-string", "nothing", "table-size", "field-type", "long-string", "array-size", "name-size"])
def test_arguments_that_cannot_be_read(broker, pieces):
    level, code, _ = refused(broker, *pieces)
    assert level in ("connection", "closed") and code in (0, 501, 502)


def test_tables_nested_too_deep_are_refused_and_not_followed(broker):
    table = b""
    for _ in range(2500):
        table = short("a") + b"F" + long(table)
    level, code, _ = refused(broker, declare(1, "", 4 | 8, table)) if isinstance(broker, Broker) else ("connection", 502, "")
    assert level in ("connection", "channel") and code in (406, 501, 502)


@pytest.mark.parametrize("piece, code, text", [
    (method(1, 20, 20, b"\0"), 540, "NOT_IMPLEMENTED - active=false"),
    (method(1, 60, 10, struct.pack(">IHB", 10, 1, 0)), 540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)"),
    (method(1, 60, 110, b"\0"), 540, "NOT_IMPLEMENTED - requeue=false"),
    (publish(1, "", "x", 2) + content_header(1, 0), 540, "NOT_IMPLEMENTED - immediate=true"),
    (declare(1, "", 4) + consume(1, "", "t") + consume(1, "", "t"), 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'"),
], ids=["flow", "prefetch-size", "recover", "immediate", "tag"])
def test_what_is_not_served_is_said(broker, piece, code, text):
    assert refused(broker, piece) == ("connection", code, text)


def test_a_channel_error_closes_the_channel_only(broker):
    with Raw(broker) as raw:
        raw.handshake().channel(1).channel(2)
        raw.send(method(1, 60, 80, struct.pack(">QB", 7, 0)))
        assert raw.error() == ("channel", 406, "PRECONDITION_FAILED - unknown delivery tag 7")
        raw.send(declare(2, "", 4))
        raw.expect(50, 11, 2)
        # Its number is free again.
        raw.channel(1)


def test_what_comes_after_a_channel_error_is_dropped_until_close_ok(broker):
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        raw.send(method(1, 60, 80, struct.pack(">QB", 7, 0)), declare(1, "nobody", 1), publish(1, "", "x"), content_header(1, 3), body(1, b"abc"))
        assert raw.error()[:2] == ("channel", 406)
        raw.channel(1)
        raw.send(declare(1, "nobody", 1))
        assert raw.error()[:2] == ("channel", 404)


# --- contents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [
    [body(1, b"x")],
    [content_header(1, 1)],
    [publish(1, "", "x"), body(1, b"x")],
    [publish(1, "", "x"), declare(1, "y")],
    [publish(1, "", "x"), content_header(1, 10), body(1, b"abc"), declare(1, "y")],
    [publish(1, "", "x"), content_header(1, 10), content_header(1, 10)],
    [publish(1, "", "x"), content_header(1, 0), body(1, b"a")],
    [publish(1, "", "x"), content_header(1, 3, class_id=50)],
    [body(0, b"x")],
    [content_header(0, 1)],
], ids=["body", "header", "no-header", "method-for-header", "method-for-body", "header-twice", "body-too-many", "class",
        "body-on-0", "header-on-0"])
def test_contents_out_of_order_are_unexpected_frames(broker, pieces):
    level, code, text = refused(broker, *pieces)
    assert (level, code) == ("connection", 505) and text.startswith("UNEXPECTED_FRAME")


def test_contents_of_two_channels_may_interleave(broker):
    with Raw(broker) as raw:
        raw.handshake().channel(1).channel(2)
        raw.send(declare(1, "", 4))
        queue = raw.expect(50, 11)
        queue = queue[1 : 1 + queue[0]].decode()
        raw.send(publish(1, "", queue), publish(2, "", queue), content_header(2, 2), content_header(1, 2),
                 body(1, b"a"), body(2, b"c"), body(2, b"d"), body(1, b"b"))
        raw.send(method(1, 20, 40, struct.pack(">H", 200) + short("") + bytes(4)))
        raw.expect(20, 41, 1)

        def count():
            raw.send(declare(2, queue, 1))
            answer = raw.expect(50, 11, 2)
            return struct.unpack(">I", answer[-8:-4])[0] == 2

        eventually(count)


def test_a_body_larger_than_its_header(broker):
    if not isinstance(broker, Broker):
        pytest.skip("RabbitMQ 3.10 takes it (a known advisory); later ones answer 501")
    level, code, _ = refused(broker, publish(1, "", "x"), content_header(1, 3), body(1, b"abcdef"))
    assert level == "connection" and code in (501, 505)


@pytest.mark.parametrize("size", [33 * MIB, 600 * MIB, 2**63, 2**64 - 1])
def test_an_announced_size_is_not_believed(broker, size):
    if not isinstance(broker, Broker):
        pytest.skip("the limit of RabbitMQ 3.10 is 128 MiB and it tells at the end of the body")
    with Raw(broker) as raw:
        raw.handshake().channel(1)
        # What has been sent of the body when the answer comes is dropped.
        raw.send(publish(1, "", "x"), content_header(1, size), body(1, b"x" * 1000))
        level, code, text = raw.error()
        assert (level, code) in (("channel", 406), ("connection", 501))
        if level == "channel":
            assert text.startswith(f"PRECONDITION_FAILED - message size {size} is larger than configured max size ")
            raw.channel(1)


@pytest.mark.parametrize("header", [
    content_header(1, 0, flags=0x8000, properties=b"\x20ab"),
    content_header(1, 0, flags=0x2000, properties=struct.pack(">I", 0xFFFFFFF0)),
    content_header(1, 0, properties=b"junk"),
    frame(CONTENT_HEADER, 1, b"\x00\x3c\x00"),
], ids=["short-string", "table", "junk", "three-octets"])
def test_properties_that_cannot_be_read(broker, header):
    level, code, _ = refused(broker, publish(1, "", "x"), header, open_channel(2), open_channel(2))
    # RabbitMQ looks at properties late or never; then the second open of channel 2 ends the connection.
    assert level == "connection" and code in ((501, 502) if isinstance(broker, Broker) else (501, 502, 504, 541))


# --- quantity -------------------------------------------------------------------------------------------------------


def all_close(broker, openings):
    """A connection for each; what it sends is the end of what it says. All are closed, side by side."""
    connections = []
    for opening in openings:
        raw = Raw(broker)
        opening(raw)
        try:
            raw.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # Closed already.
        connections.append(raw)
    for raw in connections:
        assert raw.is_closed()
        raw.socket.close()


def test_garbage_after_the_login(broker):
    chance = random.Random(1)
    all_close(broker, [lambda raw: raw.handshake().channel(1).send(chance.randbytes(chance.randint(8, 400)))] * 100)


def test_damaged_sessions(broker, name):
    """A good session with a few octets changed: whatever it comes to, it ends."""
    chance = random.Random(2)
    good = b"".join([
        HEADER, start_ok(properties=CAPABILITIES), tune_ok(), open_vhost(), open_channel(1), declare(1, name, 8 | 4),
        method(1, 85, 10, b"\0"), publish(1, "", name), content_header(1, 5, 0x1000, b"\x02"), body(1, b"hello"),
        consume(1, name, "tag"), method(1, 60, 80, struct.pack(">QB", 1, 0)), method(0, 10, 50, struct.pack(">H", 200) + short("") + bytes(4))])

    def one(raw):
        damaged = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(8, len(damaged))] = chance.randrange(256)
        if chance.random() < 0.3:
            del damaged[chance.randrange(8, len(damaged)) :]
        raw.send(bytes(damaged))

    for _ in range(4):
        all_close(broker, [one] * 100)


def test_one_octet_at_a_time(broker, name):
    with Raw(broker) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pieces = b"".join([HEADER, start_ok(), tune_ok(), open_vhost(), open_channel(1), declare(1, name, 4)])
        for octet in pieces:
            raw.send(bytes([octet]))
        for expected in ((10, 10), (10, 30), (10, 41), (20, 11), (50, 11)):
            raw.expect(*expected)


def test_half_open_connections_and_unfinished_frames_cost_little(broker):
    """Each has begun a frame of the largest size, or a message of many megabytes, and says no more."""
    connections = []
    for i in range(200):
        raw = Raw(broker)
        raw.handshake()
        if i % 2:
            raw.send(struct.pack(">BHI", METHOD, 0, 131_000))
        else:
            raw.channel(1)
            raw.send(publish(1, "", "x"), content_header(1, 15 * MIB), body(1, b"x" * 1000))
        connections.append(raw)
    if isinstance(broker, Broker):
        assert broker.rss_bytes() < 200 * MIB
    for raw in connections:
        # A reset, as from a machine that lost power and came back.
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.socket.close()


def test_a_client_that_never_reads_its_replies(broker):
    """Questions without end, and nobody takes the answers: the broker stops reading instead of piling them up."""
    with Raw(broker, receive_buffer=4096) as raw:
        raw.handshake().channel(1)
        raw.socket.settimeout(1)
        questions = qos(1, 1) * 10_000
        sent = 0
        try:
            while sent < 64 * MIB:
                sent += raw.socket.send(questions)
        except TimeoutError:
            pass
        if isinstance(broker, Broker):
            assert sent < 64 * MIB, "it went on reading"


def test_many_channels_with_unfinished_contents_are_bounded(broker):
    """2000 channels of one connection, each in the middle of a large message."""
    if not isinstance(broker, Broker):
        pytest.skip("RabbitMQ has no such bound")
    before = broker.rss_bytes()
    with Raw(broker) as raw:
        raw.handshake()
        raw.socket.settimeout(2)
        raw.send(*(open_channel(n) for n in range(1, 2001)))
        for n in range(1, 2001):
            raw.expect(20, 11, n)
        piece = b"x" * 100_000
        try:
            for n in range(1, 2001):
                raw.socket.sendall(publish(n, "", "x") + content_header(n, 16 * MIB) + body(n, piece))
        except OSError:
            pass  # Refused or no longer read: both bound it.
        assert broker.rss_bytes() < before + 128 * MIB
