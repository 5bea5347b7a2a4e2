"""Octets that no Kafka client should send. Each gets the protocol's own answer or a clean close, and nobody else notices:
after every test a neighbour on another connection still produces and fetches, and memory has not grown."""

import gzip
import random
import socket
import struct
import threading
import time

import cramjam
import lz4.frame
import pytest
import zstandard

from conftest import Broker, eventually
from raw_kafka import *

MIB = 1 << 20


@pytest.fixture(scope="module")
def topic(broker):
    topic = f"bad-input-{random.randrange(1 << 32):x}"
    with Raw(broker) as raw:
        raw.create(topic)
    return topic


@pytest.fixture(scope="module")
def neighbour(broker, topic):
    with Raw(broker) as raw:
        yield raw


@pytest.fixture(autouse=True)
def others_do_not_notice(broker, neighbour, topic):
    before = broker.rss_bytes() if isinstance(broker, Broker) else 0
    yield
    # Memory comes back as the broker goes on working.
    eventually(lambda: neighbour.produce_error(topic, batch()) == 0 and (
        not isinstance(broker, Broker) or broker.rss_bytes() < before + 64 * MIB))


def heavy(broker):
    """Tests that a real Kafka does not bear: it sets memory aside for what is only announced."""
    if not isinstance(broker, Broker):
        pytest.skip("only for Bowline")


# --- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [
    int32(-1), int32(0), int32(3) + b"abc", int32(2**31 - 1), int32(100 * MIB + 1),
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"AMQP\x00\x00\x09\x01",
    framed(int16(METADATA) + int16(1)),
    framed(int16(METADATA) + int16(1) + int32(7) + int16(1000) + b"a"),
    framed(int16(METADATA) + int16(1) + int32(7) + int16(-7)),
], ids=["size-negative", "size-0", "size-3", "size-2g", "size-100m", "http", "tls", "amqp", "header-cut", "client-id",
        "client-id-negative"])
def test_what_is_no_request_ends_the_connection(broker, octets):
    with Raw(broker) as raw:
        raw.send(octets)
        assert raw.response() is None


@pytest.mark.parametrize("key, version", [(9999, 0), (-1, 0), (4, 0), (52, 0), (METADATA, 99), (METADATA, -1), (PRODUCE, 99), (JOIN_GROUP, 77)])
def test_unknown_requests_and_versions_end_the_connection(broker, key, version):
    with Raw(broker) as raw:
        assert raw.request(key, version, b"") is None


@pytest.mark.parametrize("version, flexible", [(99, True), (6, True), (-1, False)])
def test_api_versions_answers_any_version(broker, version, flexible):
    """KIP-511: error 35 in the format of version 0, and the row that tells which versions there are."""
    with Raw(broker) as raw:
        answer = raw.request(API_VERSIONS, version, b"\0" if flexible else b"", flexible)
        error, rows = struct.unpack(">hi", answer[:6])
        assert error == 35
        keys = {k: (low, high) for k, low, high in (struct.unpack_from(">hhh", answer, 6 + 6 * i) for i in range(rows))}
        assert keys[API_VERSIONS][0] == 0 and keys[API_VERSIONS][1] >= 3
        # And the connection goes on.
        assert raw.request(API_VERSIONS, 0, b"")[:2] == b"\0\0"


def test_a_client_name_that_is_none(broker):
    with Raw(broker) as raw:
        answer = raw.request(API_VERSIONS, 3, compact("a b!") + compact("1") + b"\0", True)
        assert struct.unpack(">h", answer[:2]) == (42,)


@pytest.mark.parametrize("version, body", [
    (1, b"\0\0"),
    (1, int32(2**31 - 1)),
    (1, int32(2**31 - 1) + string("t") * 10),
    (1, int32(1) + int16(32767) + b"ab"),
    (1, int32(1) + int16(-5)),
    (1, int32(1) + int16(-1)),
    (9, b"\xff\xff\xff\xff\x0f"),
    (9, b"\xff" * 10),
    (9, b"\x02\xff\xff\xff\xff\x0f"),
], ids=["cut", "giant", "giant-begun", "string", "string-negative", "string-null", "compact-giant", "varint", "compact-string"])
def test_bodies_that_cannot_be_read_end_the_connection(broker, version, body):
    with Raw(broker) as raw:
        assert raw.request(METADATA, version, body, flexible=version >= 9) is None


def test_giant_arrays_in_every_request(broker):
    """Five octets that promise two thousand million elements, as the first thing in the body of every API."""
    heavy(broker)
    with Raw(broker) as raw:
        answer = raw.request(API_VERSIONS, 0, b"")
    rows = struct.unpack(">i", answer[2:6])[0]
    served = [struct.unpack_from(">hhh", answer, 6 + 6 * i) for i in range(rows)]
    for key, low, high in served:
        for version in {low, high}:
            for giant in (b"\xff\xff\xff\xff\x0f" * 3, b"\x7f\xff\xff\xff" * 4, b"\0\0\x7f\xff\xff\xff" * 3):
                with Raw(broker) as raw:
                    raw.send(framed(header(key, version, 1, flexible=version >= 6) + giant))
                    raw.socket.shutdown(socket.SHUT_WR)
                    assert raw.is_closed(), (key, version)


def test_a_request_one_octet_at_a_time(broker):
    with Raw(broker) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in framed(header(API_VERSIONS, 0, 77)):
            raw.send(bytes([octet]))
        assert raw.response()[0] == 77


def test_pipelined_requests_are_answered_in_order(broker, topic):
    fetch = (int32(-1) + int32(50) + int32(1) + int32(MIB) + b"\0"
             + array([string(topic) + array([int32(0) + int64(0) + int32(MIB)])]))
    requests = []
    for i in range(200):
        key, version, body = [(API_VERSIONS, 0, b""), (METADATA, 1, array([string(topic)])), (FETCH, 4, fetch)][i % 3]
        requests.append(framed(header(key, version, i) + body))
    with Raw(broker) as raw:
        raw.send(b"".join(requests))
        assert [raw.response()[0] for _ in range(200)] == list(range(200))


def test_a_mechanism_that_is_not_on_offer(broker):
    with Raw(broker) as raw:
        answer = raw.request(SASL_HANDSHAKE, 1, string("GSSAPI"))
        assert struct.unpack(">h", answer[:2])[0] == 33


# --- produce --------------------------------------------------------------------------------------------------------

GARBAGE = b"\xde\xad\xbe\xef" * 5


@pytest.mark.parametrize("records, codes", [
    (batch(crc=1), {2}),
    (message_set(b"v", 0), {87, 43}),
    (message_set(b"v", 1), {87, 43}),
    (batch(magic=3), {2, 87}),
    (batch(magic=-1), {2, 87}),
    (batch()[:-3], {87}),
    (batch()[:30], {87}),
    (b"x", {2, 87}),
    (b"", {2, 87, 42}),
    (batch(length=10**6), {2, 87}),
    (batch(length=-1), {2, 87}),
    (batch(length=0), {2, 87}),
    (batch() + batch(), {87, 42}),
    (batch(values=(), count=0, last_delta=-1), {87, 42, 2}),
    (batch(count=5, last_delta=4), {87, 2}),
    (batch(values=(b"a", b"b"), last_delta=7), {87, 2}),
    (batch(count=-1), {87, 2}),
    (batch(count=2**31 - 1), {87, 2}),
    (batch(attributes=5), {-1, 2, 76, 87}),
    (batch(attributes=1, body=GARBAGE), {-1, 2, 87}),
    (batch(attributes=2, body=GARBAGE), {-1, 2, 87}),
    (batch(attributes=3, body=GARBAGE), {-1, 2, 87}),
    (batch(attributes=4, body=GARBAGE), {-1, 2, 76, 87}),
    (batch(attributes=1, body=b""), {-1, 2, 87}),
    (batch(body=b"\xff" * 30, count=1), {-1, 2, 87}),
    (batch(body=record(b"v") + b"junk", count=1), {2, 87}),
    (batch(attributes=0x20), {87, 42, 2}),
    (batch(producer=(5, 0, -1)), {87, 42, 2}),
    (batch(timestamp=int(time.time() * 1000) + 10**9), {32}),
], ids=["crc", "magic-0", "magic-1", "magic-3", "magic-negative", "cut", "header-cut", "one-octet", "empty", "length-high",
        "length-negative", "length-0", "two", "count-0", "count-high", "delta", "count-negative", "count-giant", "codec-5",
        "gzip-garbage", "snappy-garbage", "lz4-garbage", "zstd-garbage", "gzip-empty", "record-garbage", "record-junk",
        "control", "no-sequence", "future"])
def test_bad_batches_are_refused_and_the_connection_goes_on(broker, topic, records, codes):
    with Raw(broker) as raw:
        assert raw.produce_error(topic, records) in codes
        assert raw.produce_error(topic, batch()) == 0


def test_what_was_refused_is_not_in_the_log(broker, topic):
    with Raw(broker) as raw:
        def end():
            answer = raw.request(LIST_OFFSETS, 1, int32(-1) + array([string(topic) + array([int32(0) + int64(-1)])]))
            return struct.unpack(">q", answer[-8:])[0]

        before = end()
        for bad in (batch(crc=1), batch()[:-3], batch() + batch(), batch(attributes=1, body=GARBAGE), message_set(b"v", 1)):
            assert raw.produce_error(topic, bad) != 0
        assert end() == before
        assert raw.produce_error(topic, batch((b"a", b"b"))) == 0
        assert end() == before + 2


def test_a_transactional_batch_needs_a_transaction(broker, topic):
    with Raw(broker) as raw:
        assert raw.produce_error(topic, batch(attributes=0x10, producer=(5, 0, 0))) not in (0, None)


@pytest.mark.parametrize("acks", [2, -2, 32767])
def test_acks_that_mean_nothing(broker, topic, acks):
    with Raw(broker) as raw:
        assert raw.produce_error(topic, batch(), acks=acks) == 21


@pytest.mark.parametrize("name, partition", [(None, 99), (None, -1), ("there is no/such topic", 0), ("no-such-topic-at-all", 0), ("", 0)])
def test_partitions_that_are_not_there(broker, topic, name, partition):
    with Raw(broker) as raw:
        assert raw.produce_error(topic if name is None else name, batch(), partition=partition) in (3, 17)


def test_no_acks_no_answer_and_a_close_on_error(broker, topic):
    def fire(raw, records):
        body = string(None) + int16(0) + int32(1000) + array([string(topic) + array([int32(0) + octets(records)])])
        raw.send(framed(header(PRODUCE, 3, 1) + body))
        raw.send(framed(header(API_VERSIONS, 0, 2)))
        return raw.response()

    with Raw(broker) as raw:
        assert fire(raw, batch())[0] == 2
    with Raw(broker) as raw:
        assert fire(raw, batch(crc=1)) is None


def bomb_of(codec, raw):
    """Compressed as Kafka has it: gzip, snappy in Java's framing, an lz4 frame, zstd."""
    if codec == 2:
        packed = cramjam.snappy.compress_raw(raw)
        return b"\x82SNAPPY\0" + int32(1) + int32(1) + framed(bytes(packed))
    return {1: gzip.compress, 3: lz4.frame.compress, 4: zstandard.ZstdCompressor().compress}[codec](raw)


@pytest.mark.parametrize("codec", [1, 2, 3, 4], ids=["gzip", "snappy", "lz4", "zstd"])
def test_decompression_bombs(broker, topic, codec):
    """A little that would be 200 MiB, and the same hidden behind a good record; several at once."""
    heavy(broker)
    size = 200 * MIB if codec != 2 else 14 * MIB  # snappy packs no tighter: max.message.bytes stops it sooner
    bomb = batch(attributes=codec, body=bomb_of(codec, varint(size) + bytes(size)), count=1)
    hidden = batch(attributes=codec, body=bomb_of(codec, record(b"v") + bytes(size)), count=1)
    before, peak, errors = broker.rss_bytes(), 0, []

    def throw(records):
        with Raw(broker) as raw:
            # zstd may be sent from version 7 on.
            errors.append(raw.produce_error(topic, records, version=7))
            assert raw.produce_error(topic, batch()) == 0

    threads = [threading.Thread(target=throw, args=(records,)) for records in [bomb, hidden] * 4]
    [t.start() for t in threads]
    while any(t.is_alive() for t in threads):
        peak = max(peak, broker.rss_bytes())
        threads[-1].join(0.02)
    assert len(errors) == 8 and set(errors) <= {10, 87}, errors
    assert peak < before + 400 * MIB


def test_a_bomb_of_many_small_frames(broker, topic):
    """Frames one after the other, each small: a reader that goes on from frame to frame must still count."""
    heavy(broker)
    raw_record = record(b"v")
    for codec, frame in ((1, gzip.compress(bytes(MIB))), (3, lz4.frame.compress(bytes(MIB))),
                         (4, zstandard.ZstdCompressor().compress(bytes(MIB)))):
        many = bomb_of(codec, raw_record) + frame * 150
        with Raw(broker) as raw:
            before = broker.rss_bytes()
            error = raw.produce_error(topic, batch(attributes=codec, body=many, count=1), version=7)
            # A second frame of lz4 is none of Kafka's business: its readers stop at the end of the first.
            assert error in (10, 87) or codec == 3 and error == 0
            assert broker.rss_bytes() < before + 200 * MIB


# --- producers ------------------------------------------------------------------------------------------------------


def init_producer_id(raw):
    answer = raw.request(INIT_PRODUCER_ID, 0, string(None) + int32(60_000))
    error, producer, epoch = struct.unpack(">hqh", answer[4:])
    assert error == 0
    return producer, epoch


def produce_request(topic, records, correlation, acks=-1):
    body = string(None) + int16(acks) + int32(10_000) + array([string(topic) + array([int32(0) + octets(records)])])
    return framed(header(PRODUCE, 3, correlation) + body)


def pipelined(raw, requests, window=500):
    """Sends all, with so many unanswered at a time; the bodies of the answers."""
    answers, sent = [], 0
    while len(answers) < len(requests):
        more = requests[sent:len(answers) + window]
        raw.send(b"".join(more))
        sent += len(more)
        for _ in range(max(1, len(more) // 2) if sent < len(requests) else sent - len(answers)):
            answers.append(raw.response()[1])
    return answers


def test_a_flood_of_wrong_sequences(broker, name):
    """Each is told that it is wrong, none is written, and the producer may go on where it was."""
    heavy(broker)
    with Raw(broker) as raw:
        raw.create(name)
        producer, epoch = init_producer_id(raw)
        assert raw.produce_error(name, batch((b"0",), producer=(producer, epoch, 0))) == 0
        before = broker.rss_bytes()
        wrong = [batch((b"x",), producer=(producer, epoch, 5 + i * 100_003 % 2**30)) for i in range(5000)]
        answers = pipelined(raw, [produce_request(name, records, i) for i, records in enumerate(wrong)])
        at = 4 + 2 + len(name) + 4 + 4
        codes = [struct.unpack(">h", answer[at:at + 2])[0] for answer in answers]
        assert set(codes) == {45}
        assert raw.produce_error(name, batch((b"1",), producer=(producer, epoch, 1))) == 0
        assert broker.rss_bytes() < before + 32 * MIB


def test_a_hundred_thousand_idle_producers(own_broker, name):
    """Each writes one batch and is never heard of again: what the broker remembers of them is bounded."""
    heavy(own_broker)
    producers, at = 100_000, 0
    with Raw(own_broker) as raw:
        raw.create(name)
        first, epoch = init_producer_id(raw)
        before, began = own_broker.rss_bytes(), time.monotonic()
        while at < producers:
            # Ids that the broker has not given are as good: it knows producers by what they write.
            some = [produce_request(name, batch((b"v",), producer=(first + 1_000_000 + i, epoch, 0)), i)
                    for i in range(at, at + 5000)]
            pipelined(raw, some, window=900)
            at += len(some)
        grown, seconds = own_broker.rss_bytes() - before, time.monotonic() - began
        print(f"{producers} producers: {grown / MIB:.0f} MiB, {seconds:.0f} s")
        assert grown < 150 * MIB
        # And the newest of them is known: a repeated batch is a duplicate, not a new record.
        again = batch((b"v",), producer=(first + 1_000_000 + producers - 1, epoch, 0))
        answer = raw.produce(name, again)
        start = 4 + 2 + len(name) + 4 + 4
        assert struct.unpack(">hq", answer[start:start + 10]) == (0, producers)


def test_a_flood_of_headers(broker, name):
    """A record with as many headers as a batch can hold is kept and given back; one that says it has more is refused."""
    headers = [(b"h%d" % i, b"") for i in range(100_000)]
    many = b"".join(varint(len(key)) + key + varint(0) for key, _ in headers)
    def record_with(count, raw_headers):
        content = b"\0" + varint(0) + varint(0) + varint(-1) + varint(1) + b"v" + varint(count) + raw_headers
        return varint(len(content)) + content

    with Raw(broker) as raw:
        raw.create(name)
        assert raw.produce_error(name, batch(count=1, body=record_with(100_000, many))) == 0
        for count in (100_001, 2**31 - 1, -1):
            assert raw.produce_error(name, batch(count=1, body=record_with(count, many))) in (87, 2)


# --- fetch, offsets, groups -----------------------------------------------------------------------------------------


def fetch_error(raw, topic, offset, partition=0, max_bytes=MIB, partition_bytes=MIB, wait=100, min_bytes=1):
    body = (int32(-1) + int32(wait) + int32(min_bytes) + int32(max_bytes) + b"\0"
            + array([string(topic) + array([int32(partition) + int64(offset) + int32(partition_bytes)])]))
    answer = raw.request(FETCH, 4, body)
    if answer is None:
        return None
    at = 4 + 4 + 2 + len(topic) + 4 + 4
    return struct.unpack(">h", answer[at : at + 2])[0]


def test_fetches_that_miss(broker, topic):
    with Raw(broker) as raw:
        assert raw.produce_error(topic, batch()) == 0
        assert fetch_error(raw, topic, -1) == 1
        assert fetch_error(raw, topic, 10**12) == 1
        assert fetch_error(raw, topic, 10**12, wait=-1) == 1
        assert fetch_error(raw, topic, 0, partition=9) == 3
        assert fetch_error(raw, topic, 0, partition=-1) == 3
        assert fetch_error(raw, "no-such-topic-at-all", 0) == 3
        # No room at all still brings the first batch, so that nobody is stuck (KIP-74).
        assert fetch_error(raw, topic, 0, max_bytes=0, partition_bytes=0) == 0
        assert fetch_error(raw, topic, 0, min_bytes=2**31 - 1, wait=100) == 0


def test_list_offsets_with_an_unknown_sentinel(broker, topic):
    with Raw(broker) as raw:
        answer = raw.request(LIST_OFFSETS, 1, int32(-1) + array([string(topic) + array([int32(0) + int64(-9)])]))
        assert struct.unpack(">h", answer[-18:-16])[0] in (35, 42)


def join(group="g", session=10_000, member="", protocols=("range",)):
    return (string(group) + int32(session) + int32(10_000) + string(member) + string("consumer")
            + array([string(p) + octets(b"") for p in protocols]))


@pytest.mark.parametrize("key, version, body, code, at", [
    (JOIN_GROUP, 2, join(group=""), 24, 4),
    (JOIN_GROUP, 2, join(session=1), 26, 4),
    (JOIN_GROUP, 2, join(protocols=()), 23, 4),
    (JOIN_GROUP, 2, join(member="who"), 25, 4),
    (HEARTBEAT, 0, string("g-none") + int32(1) + string("who"), 25, 0),
    (13, 0, string("g-none") + string("who"), 25, 0),
    (14, 0, string("g-none") + int32(1) + string("who") + array([]), 25, 0),
], ids=["no-group", "session", "no-protocol", "member", "heartbeat", "leave", "sync"])
def test_group_requests_out_of_place(broker, key, version, body, code, at):
    with Raw(broker) as raw:
        answer = raw.request(key, version, body)
        assert struct.unpack(">h", answer[at : at + 2])[0] == code


@pytest.mark.parametrize("partitions", [0, -5, 2**31 - 1])
def test_topics_of_impossible_size(broker, partitions, name):
    with Raw(broker) as raw:
        body = array([string(name) + int32(partitions) + int16(1) + array([]) + array([])]) + int32(1000) + b"\0"
        answer = raw.request(CREATE_TOPICS, 2, body)
        at = 4 + 4 + 2 + len(name)
        assert struct.unpack(">h", answer[at : at + 2])[0] in (37, 42, 44)


# --- quantity -------------------------------------------------------------------------------------------------------


def say_and_go(broker, sayings):
    """A connection for each saying. Once all are gone the broker holds none of them."""
    before = broker.open_files()
    connections = []
    for saying in sayings:
        raw = Raw(broker)
        raw.send(saying)
        connections.append(raw)
    for raw in connections:
        raw.socket.close()
    eventually(lambda: broker.open_files() <= before)


def test_garbage(broker):
    heavy(broker)
    chance = random.Random(1)
    say_and_go(broker, [framed(chance.randbytes(chance.randint(1, 300))) for _ in range(150)])
    say_and_go(broker, [chance.randbytes(chance.randint(1, 300)) for _ in range(150)])


def test_damaged_requests(broker, topic):
    heavy(broker)
    chance = random.Random(2)
    fetch = int32(-1) + int32(10) + int32(1) + int32(MIB) + b"\0" + array([
        string(topic) + array([int32(0) + int64(0) + int32(MIB)])])
    produce = string(None) + int16(-1) + int32(1000) + array([string(topic) + array([int32(0) + octets(batch())])])
    good = [
        framed(header(METADATA, 1, 1) + array([string(topic)])),
        framed(header(PRODUCE, 3, 2) + produce),
        framed(header(FETCH, 4, 3) + fetch),
        framed(header(JOIN_GROUP, 2, 4) + join("damaged")),
        framed(header(API_VERSIONS, 3, 5, flexible=True) + compact("a") + compact("1") + b"\0"),
    ]
    sayings = []
    for _ in range(400):
        damaged = bytearray(b"".join(chance.sample(good, 3)))
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(4, len(damaged))] = chance.randrange(256)
        sayings.append(bytes(damaged))
    say_and_go(broker, sayings)


def test_a_parked_fetch_is_dropped_with_its_connection(broker, topic):
    heavy(broker)
    fetch = int32(-1) + int32(2**31 - 1) + int32(2**31 - 1) + int32(MIB) + b"\0" + array([
        string(topic) + array([int32(0) + int64(0) + int32(MIB)])])
    say_and_go(broker, [framed(header(FETCH, 4, 1) + fetch)] * 50)


def test_announced_requests_cost_nothing_until_they_come(broker):
    """200 connections announce 99 MiB each, send a little of it, and fall silent."""
    heavy(broker)
    before = broker.rss_bytes()
    connections = []
    for _ in range(200):
        raw = Raw(broker)
        raw.send(int32(99 * MIB) + header(PRODUCE, 3, 1) + bytes(1000))
        connections.append(raw)
    with Raw(broker) as raw:
        assert raw.request(API_VERSIONS, 0, b"")[:2] == b"\0\0"
    assert broker.rss_bytes() < before + 64 * MIB
    for raw in connections:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.socket.close()


def test_a_client_that_never_reads_its_responses(broker, topic):
    heavy(broker)
    with Raw(broker) as filler:
        assert filler.produce_error(topic, batch((b"x" * 500_000,))) == 0
    before = broker.rss_bytes()
    fetch = (int32(-1) + int32(0) + int32(1) + int32(MIB) + b"\0"
             + array([string(topic) + array([int32(0) + int64(0) + int32(MIB)])]))
    with Raw(broker) as raw:
        raw.socket.settimeout(1)
        sent = 0
        try:
            for i in range(20_000):
                sent += raw.socket.send(framed(header(FETCH, 4, i) + fetch))
        except TimeoutError:
            pass
        assert broker.rss_bytes() < before + 64 * MIB


def test_a_flood_of_group_names(own_broker):
    """A hundred thousand names: asking about one costs nothing, and those that may come to be are bounded."""
    heavy(own_broker)
    with Raw(own_broker) as raw:
        before, began = own_broker.rss_bytes(), time.monotonic()
        beats = [framed(header(HEARTBEAT, 0, i) + string(f"beat-{i}") + int32(1) + string("m")) for i in range(50_000)]
        assert {struct.unpack(">h", answer[:2])[0] for answer in pipelined(raw, beats)} == {25}
        assert own_broker.rss_bytes() < before + 32 * MIB
        # A member has to come back with the id that it is given, so the first join makes no group.
        joins = [framed(header(JOIN_GROUP, 4, i) + join_4(f"join-{i}")) for i in range(50_000)]
        assert {struct.unpack(">h", answer[4:6])[0] for answer in pipelined(raw, joins)} <= {79, 15, 81, -1}
        grown, seconds = own_broker.rss_bytes() - before, time.monotonic() - began
        print(f"100,000 names of groups: {grown / MIB:.0f} MiB, {seconds:.0f} s")
        assert grown < 150 * MIB


def join_4(group):
    return (string(group) + int32(10_000) + int32(10_000) + string("") + string("consumer")
            + array([string("range") + octets(b"")]))


def test_a_flood_of_client_ids(broker):
    """Whatever is kept by client id must not grow with their number."""
    heavy(broker)
    with Raw(broker) as raw:
        def flood(start, count):
            requests = [framed(header(METADATA, 1, i, client=f"client {i} ".ljust(1000, "x")) + array([])) for i in range(start, start + count)]
            pipelined(raw, requests)

        flood(0, 2000)
        before = broker.rss_bytes()
        flood(2000, 20_000)
        assert broker.rss_bytes() < before + 16 * MIB


@pytest.mark.parametrize("tags, answered", [
    (b"\x01\x63\x03abc", True),
    (b"\x02\x00\x00\x7f\x01z", True),
    (b"\x01\x63" + uvarint(100_000) + b"t" * 100_000, True),
    (b"\x01\x63\xff\xff\xff\xff\x0f", False),
    (b"\xff\xff\xff\xff\x0f", False),
    (b"\x01\x63\x05abc", False),
], ids=["one", "two", "large", "giant", "many", "cut"])
def test_unknown_tags(broker, tags, answered):
    """Tags that nobody knows are skipped, at the end of the header and of the body, as far as they are there."""
    body = compact("a") + compact("1")
    with Raw(broker) as raw:
        head = int16(API_VERSIONS) + int16(3) + int32(1) + string("raw") + b"\0"
        raw.send(framed(head + body + tags))
        answer = raw.response()
        # What cannot be read of ApiVersions, or of anything else, ends the connection.
        assert (answer is not None and answer[1][:2] == b"\0\0") is answered
    with Raw(broker) as raw:
        raw.send(framed(head[:-1] + tags + body + b"\0"))
        assert (raw.response() is not None) is answered
