"""Well-formed methods that ask for nonsense: arguments and headers of wrong types, out of range, forged, huge. Each gets the
documented error on its channel, and nobody else notices (neighbours.py)."""

import time

import pytest

from conftest import Broker, eventually
from neighbours import *
from raw_amqp import *

DURABLE, EXCLUSIVE = 2, 4
ALL_TYPES = [1.5, ("f", 1.5), ("d", float("nan")), ("D", (2, 100)), ("T", 5), True, None, "5", b"5", {}, {"a": [1]}, [], [1]]
INTEGERS = [("b", 1), ("B", 1), ("s", 1), ("u", 1), 1, ("i", 1), ("l", 1)]


@pytest.fixture
def raw(broker):
    with Raw(broker) as raw:
        yield raw.handshake().channel(1)


def refused(raw, *pieces):
    """(code, text) with which the channel was closed; it is open again."""
    raw.send(*pieces)
    level, code, text = raw.error()
    assert level == "channel", (level, code, text)
    raw.channel(1)
    return code, text


def taken(raw, queue):
    """(headers and other properties as octets, body) of the next message, or None."""
    raw.send(get(1, queue))
    kind, _, payload = raw.frame()
    assert kind == METHOD
    if payload[:4] == b"\x00\x3c\x00\x48":
        return None
    assert payload[:4] == b"\x00\x3c\x00\x47", payload
    _, _, properties = raw.frame()
    (size,) = struct.unpack(">Q", properties[4:12])
    text = b""
    while len(text) < size:
        text += raw.frame()[2]
    return properties[12:], text


def declared(raw, queue="", arguments={}, flags=EXCLUSIVE):
    raw.send(declare(1, queue, flags, table(arguments)))
    answer = raw.expect(50, 11)
    return answer[1 : 1 + answer[0]].decode()


def published(raw, exchange, key, headers, text=b"x", channel=1):
    raw.send(publish(channel, exchange, key), with_headers(channel, headers, len(text)), body(channel, text))


# --- arguments of queues --------------------------------------------------------------------------------------------

CLASSIC, QUORUM, STREAM = ({}, EXCLUSIVE), ({"x-queue-type": "quorum"}, DURABLE), ({"x-queue-type": "stream"}, DURABLE)
YEARS = 315_360_000_000
INTEGER_ARGUMENTS = [
    ("x-message-ttl", CLASSIC, [-1, ("l", -(1 << 63)), YEARS + 1, ("l", (1 << 63) - 1)]),
    ("x-expires", CLASSIC, [-1, 0, YEARS + 1]),
    ("x-max-length", CLASSIC, [-1, ("b", -1)]),
    ("x-max-length-bytes", CLASSIC, [-1]),
    ("x-max-priority", CLASSIC, [-1, 256, ("l", 1 << 40)]),
    ("x-queue-version", CLASSIC, [-1, 0, 3]),
    ("x-consumer-timeout", CLASSIC, [-1]),
    ("x-retry-attempts", CLASSIC, [-1, 0]),
    ("x-retry-min", CLASSIC, [-1, YEARS + 1]),
    ("x-retry-max", CLASSIC, [-1, YEARS + 1]),
    ("x-retry-jitter", CLASSIC, [-1, 101]),
    ("x-delivery-limit", QUORUM, []),
    ("x-max-in-memory-length", QUORUM, [-1]),
    ("x-quorum-initial-group-size", QUORUM, [-1, 0]),
    ("x-delayed-retry-min", QUORUM, [-1, 0]),
    ("x-delayed-retry-max", QUORUM, [-1, 0]),
    ("x-consumer-disconnected-timeout", QUORUM, [-1]),
    ("x-max-length-bytes", STREAM, [-1]),
    ("x-stream-max-segment-size-bytes", STREAM, [-1, 3_000_000_001]),
    ("x-stream-filter-size-bytes", STREAM, [-1, 15, 256]),
    ("x-initial-cluster-size", STREAM, [-1, 0]),
]


@pytest.mark.parametrize("argument, queue, out_of_range", INTEGER_ARGUMENTS, ids=lambda value: value if isinstance(value, str) else "")
def test_integer_arguments(raw, name, argument, queue, out_of_range):
    base, flags = queue
    where = f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{name}' in vhost '/': "
    for value in ALL_TYPES:
        expected = f'"expected integer, got {TYPE_NAMES[letter(value)]}"'
        assert refused(raw, declare(1, name, flags, table({**base, argument: value}))) == (406, where + expected)
    for value in out_of_range:
        code, text = refused(raw, declare(1, name, flags, table({**base, argument: value})))
        assert code == 406 and (text.startswith(where) or argument in text), text
    assert refused(raw, declare(1, name, 1))[0] == 404, "nothing was made"


TEXT_ARGUMENTS = [
    ("x-dead-letter-routing-key", CLASSIC, []),
    ("x-overflow", CLASSIC, ["", "drop-tail", ("S", b"\xff")]),
    ("x-queue-type", CLASSIC, ["Quorum", "x", ("S", b"\xff\x00")]),
    ("x-queue-leader-locator", CLASSIC, ["", "nowhere"]),
    ("x-retry-on", CLASSIC, ["", "never"]),
    ("x-order-key", CLASSIC, ["", "k" * 256, ("S", b"\xff")]),
    ("x-fair-key", CLASSIC, ["", "k" * 256, ("S", b"\xff")]),
    ("x-dead-letter-strategy", QUORUM, ["", "never"]),
    ("x-delayed-retry-type", QUORUM, ["", "never"]),
    ("x-max-age", STREAM, ["", "5", "D", "-1D", "1.5h", "7d", "0D", " 1D", ("S", b"\xff")]),
]


@pytest.mark.parametrize("argument, queue, unknown", TEXT_ARGUMENTS, ids=lambda value: value if isinstance(value, str) else "")
def test_text_arguments(raw, name, argument, queue, unknown):
    base, flags = queue
    base = {**base, "x-dead-letter-exchange": ""} if argument == "x-dead-letter-routing-key" else base
    where = f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{name}' in vhost '/': "
    for value in [value for value in ALL_TYPES if letter(value) != "S"] + INTEGERS:
        expected = "{unacceptable_type," + TYPE_NAMES[letter(value)] + "}"
        assert refused(raw, declare(1, name, flags, table({**base, argument: value}))) == (406, where + expected)
    for value in unknown:
        code, text = refused(raw, declare(1, name, flags, table({**base, argument: value})))
        assert code == 406 and text.startswith(where), text
    assert refused(raw, declare(1, name, 1))[0] == 404, "nothing was made"


def test_other_arguments_of_queues(raw, name):
    def said(arguments, queue=CLASSIC):
        base, flags = queue
        code, text = refused(raw, declare(1, name, flags, table({**base, **arguments})))
        assert code == 406
        return text.removeprefix("PRECONDITION_FAILED - ")

    for value in ALL_TYPES + INTEGERS:
        kind = TYPE_NAMES[letter(value)]
        if kind != "longstr":
            text = f"invalid type '{kind}' for arg 'x-dead-letter-exchange' in queue '{name}' in vhost '/'"
            assert said({"x-dead-letter-exchange": value}) == text
        if kind != "bool":
            assert "x-single-active-consumer" in said({"x-single-active-consumer": value})
        if kind not in ("bool", "table"):
            assert "x-deduplication" in said({"x-deduplication": value})
        if kind not in ("array",):
            assert "x-retry-delays" in said({"x-retry-delays": value})
    for delays in ([], [-1], ["5"], [None], [1] * 101, [YEARS + 1], [[1]]):
        assert "x-retry-delays" in said({"x-retry-delays": delays})
    for factor in (0, -1, 0.5, 1001, ("d", float("nan")), ("d", float("inf")), "2", [], None, True):
        assert "x-retry-factor" in said({"x-retry-factor": factor})
    for table_ in ({"window": 0}, {"window": "1"}, {"count": 0}, {"count": 10**9}, {"header": 5}, {"header": ""}, {"other": 1}, {"count": {}}):
        assert "x-deduplication" in said({"x-deduplication": table_})
    assert said({"x-dead-letter-routing-key": "k"}).endswith("routing_key_but_no_dlx_defined")
    assert "less_than_delayed_retry_min" in said({"x-delayed-retry-min": 5, "x-delayed-retry-max": 4}, QUORUM)
    for partitions in (0, -1, "4", 1 << 40, None, [], 1.5):
        assert "x-partitions" in said({"x-partitions": partitions}, STREAM)


def test_what_nobody_knows_is_kept_whatever_it_is(raw, name):
    """…and compared with nothing: the declaration may be repeated without it."""
    arguments = {f"mine-{at}": value for at, value in enumerate(ALL_TYPES + INTEGERS)} | {"x-mine": {"a": [{"b": b"\0"}]}, "": 1, "ü": "ü"}
    assert declared(raw, name, arguments) == name
    assert declared(raw, name) == name


# --- arguments of exchanges, bindings, consumers ----------------------------------------------------------------------


def test_arguments_of_exchanges(raw, name):
    for value in [value for value in ALL_TYPES if letter(value) != "S"] + INTEGERS:
        kind = TYPE_NAMES[letter(value)]
        code, text = refused(raw, declare_exchange(1, name, "direct", 0, table({"alternate-exchange": value})))
        assert (code, text) == (406, f"PRECONDITION_FAILED - invalid type '{kind}' for arg 'alternate-exchange' in exchange '{name}' in vhost '/'")
    for value in ALL_TYPES + ["", "nonsense", "x-delayed-message", ("S", b"\xff")]:
        code, text = refused(raw, declare_exchange(1, name, "x-delayed-message", 0, table({"x-delayed-type": value})))
        assert (code, text) == (406, "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing exchange type")
    for kind in ("", "nonsense", "x" * 255):
        assert refused(raw, declare_exchange(1, name, kind))[0] == 406
    assert refused(raw, declare_exchange(1, name, "direct", 1))[0] == 404, "nothing was made"


def test_arguments_of_bindings(raw, name):
    queue = declared(raw, name)
    for value in ALL_TYPES + INTEGERS + ["", "most", ("S", b"\xff")]:
        code, text = refused(raw, bind(1, queue, "amq.headers", "", table({"x-match": value})))
        assert code == 406 and text.startswith("PRECONDITION_FAILED - Invalid x-match field "), text
    for pattern in ("#.#.#", "#.a.#.b.#", ".".join("#" * 128)):
        code, text = refused(raw, bind(1, queue, "amq.topic", pattern))
        assert code == 406 and text.startswith(f"PRECONDITION_FAILED - Topic binding key '{pattern}"[:250]), text
        declared(raw, name)
    raw.send(declare_exchange(1, name, "x-consistent-hash", 4 | 8))
    raw.expect(40, 11)
    for weight in ("", "many", "-1", "1.5", "99999999999999999999", "1 "):
        assert refused(raw, bind(1, queue, name, weight))[0] == 406, weight


def test_a_headers_binding_of_anything_holds_for_the_same(raw, name):
    queue = declared(raw, name)
    values = [value for value in ALL_TYPES + INTEGERS if value is not None]
    for at, value in enumerate(values):
        raw.send(bind(1, queue, "amq.headers", "", table({f"{name}-{at}": value})))
        raw.expect(50, 21)
    for at, value in enumerate(values):
        published(raw, "amq.headers", "", {f"{name}-{at}": value}, b"%d" % at)
        published(raw, "amq.headers", "", {f"{name}-{at}": "another"}, b"no")
        assert taken(raw, queue)[1] == b"%d" % at, value
    # Numbers are compared by value: 1, 1.0 and a byte of 1 are one.
    published(raw, "amq.headers", "", {f"{name}-{values.index(('b', 1))}": 1.0}, b"by value")
    assert taken(raw, queue)[1] == b"by value" and taken(raw, queue) is None


def test_arguments_of_consumers(raw, name):
    queue = declared(raw, name)
    for argument, out_of_range in (("x-priority", []), ("x-consumer-timeout", [0, -1]), ("x-retry-delay", [-1])):
        where = f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{queue}' in vhost '/': "
        for value in ALL_TYPES:
            queue = declared(raw, name)
            expected = f'"expected integer, got {TYPE_NAMES[letter(value)]}"'
            assert refused(raw, consume(1, queue, "t", 0, table({argument: value}))) == (406, where + expected)
        for value in out_of_range:
            assert refused(raw, consume(1, queue, "t", 0, table({argument: value})))[1].startswith(where)
    # Any integer is a priority.
    for at, value in enumerate([("l", -(1 << 63)), ("l", (1 << 63) - 1), ("b", -128)]):
        raw.send(consume(1, queue, f"t{at}", 0, table({"x-priority": value})))
        raw.expect(60, 21)


def test_arguments_of_stream_consumers(raw, name):
    declared(raw, name, {"x-queue-type": "stream"}, DURABLE)
    bad = {
        "x-stream-offset": ["", "soon", "D", "7d", "-1h", -1, 1.5, True, None, {}, [], b"1", ("D", (0, 1)), ("S", b"\xff")],
        "x-stream-filter": [1, None, True, {}, [1], ["a", None], [["a"]], b"a"],
        "x-priority": ["high"],
    }
    for argument, values in bad.items():
        for value in values:
            raw.send(qos(1, 10))
            raw.expect(60, 11)
            code, text = refused(raw, consume(1, name, "t", 0, table({argument: value})))
            assert code == 406 and argument in text, text
    for value in (1, "true", None, []):
        raw.send(qos(1, 10))
        raw.expect(60, 11)
        assert refused(raw, consume(1, name, "t", 0, table({"x-stream-filter": "a", "x-stream-match-unfiltered": value})))[0] == 406
    # Offsets and times far from anything: the end, or the beginning, and the connection lives.
    for at, value in enumerate([("l", (1 << 63) - 1), ("T", (1 << 64) - 1), ("T", 0), "99999999999999999999Y", "1s", ("b", 1)]):
        raw.send(qos(1, 10), consume(1, name, f"t{at}", 0, table({"x-stream-offset": value})))
        raw.expect(60, 11)
        raw.expect(60, 21)
    # Deleted by another: its consumers need not be told, this client did not ask for it.
    raw.send(open_channel(2), method(2, 50, 40, b"\0\0" + short(name) + b"\0"))
    raw.expect(20, 11, 2)
    raw.expect(50, 41, 2)


def test_a_filter_of_thousands_of_values(raw, name):
    declared(raw, name, {"x-queue-type": "stream"}, DURABLE)
    for value in ["v7", 7, None, b"\xff", "x" * 60_000, ["v8"], {}]:
        published(raw, "", name, {"x-stream-filter-value": value})
    raw.send(open_channel(2))
    raw.expect(20, 11, 2)
    raw.send(qos(2, 100))
    raw.expect(60, 11, 2)
    wanted = table({"x-stream-filter": [f"v{at}" for at in range(9_000)], "x-stream-offset": "first"})
    raw.send(consume(2, name, "t", 0, wanted))
    raw.expect(60, 21, 2)
    raw.expect(60, 60, 2)
    assert b"v7" in raw.frame()[2] and raw.frame()[2] == b"x"
    raw.send(method(2, 20, 40, struct.pack(">H", 200) + short("") + bytes(4)))
    raw.expect(20, 41, 2)
    raw.send(method(1, 50, 40, b"\0\0" + short(name) + b"\0"))
    raw.expect(50, 41)


# --- size and depth -------------------------------------------------------------------------------------------------


def nested(depth):
    """A table's octets."""
    octets = b"I" + bytes(4)
    for level in range(depth):
        octets = b"F" + long(short("a") + octets) if level % 2 else b"A" + long(octets)
    return short("a") + octets


def test_large_arguments(raw, name):
    text = "PRECONDITION_FAILED - arguments of 17007 octets are larger than the maximum of 16384"
    large = table({"x": "y" * 17_000})
    queue = declared(raw, name)
    for pieces in (declare(1, name + "2", EXCLUSIVE, large), declare_exchange(1, name, "direct", 0, large), bind(1, queue, "amq.headers", "", large)):
        assert refused(raw, pieces) == (406, text)
    # As many as fit are welcome.
    many = table({f"{at}": at for at in range(1_500)})
    raw.send(declare(1, name + "3", EXCLUSIVE, many), bind(1, queue, "amq.headers", "", many))
    raw.expect(50, 11)
    raw.expect(50, 21)
    published(raw, "amq.headers", "", {f"{at}": at for at in range(1_500)}, b"all of them")
    assert taken(raw, queue)[1] == b"all of them"


@pytest.mark.parametrize("where", ["queue", "exchange", "binding", "consumer", "headers"])
def test_nested_arguments(raw, name, where):
    queue = declared(raw, name)
    send = {
        "queue": lambda arguments: declare(1, name + "2", EXCLUSIVE, arguments),
        "exchange": lambda arguments: declare_exchange(1, name, "direct", 4 | 2, arguments),
        "binding": lambda arguments: bind(1, queue, "amq.headers", "", arguments),
        "consumer": lambda arguments: consume(1, queue, "", 0, arguments),
        "headers": lambda arguments: publish(1, "", queue) + content_header(1, 0, 0x2000, long(arguments)) + qos(1, 0),
    }[where]
    raw.send(send(nested(60)))
    raw.frame()
    raw.send(send(nested(2_000)))
    level, code, text = raw.error()
    assert (level, code, text) == ("connection", 502, "SYNTAX_ERROR - field table nested deeper than 64")


# --- headers of messages ----------------------------------------------------------------------------------------------


def test_copies_that_are_no_lists_of_names(raw, name):
    queue = declared(raw, name)
    for header in ("CC", "BCC"):
        for value in [value for value in ALL_TYPES if letter(value) != "A"] + INTEGERS:
            code, text = refused(raw, publish(1, "", queue), with_headers(1, {header: value}))
            kind = TYPE_NAMES[letter(value)]
            assert (code, text) == (406, f'PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,"{header}",{kind}}}')
            declared(raw, name)
        # What is no name in a list is passed over.
        published(raw, "", "nowhere", {header: [1, None, [queue], {}, b"x", ("S", b"\xff\xfe"), "x" * 1000, queue, queue]})
        assert taken(raw, queue) and taken(raw, queue) is None, "one copy"


def test_ten_thousand_copies(raw, name):
    queue, dead = declared(raw, name, {"x-dead-letter-exchange": "amq.fanout"}), declared(raw, name + "-dead")
    raw.send(bind(1, dead, "amq.fanout"))
    raw.expect(50, 21)
    keys = [f"{at:06}" for at in range(10_000)] + [queue]
    published(raw, "", "nowhere", {"CC": keys})
    raw.send(get(1, queue, False))
    raw.expect(60, 71)
    raw.frame(), raw.frame()
    raw.send(method(1, 60, 90, struct.pack(">QB", 1, 0)))
    properties, _ = eventually(lambda: taken(raw, dead))
    # Its header grows by a few keys at each death, not by all of them.
    assert len(properties) < len(table({"CC": keys})) + 5_000


def test_a_message_on_a_very_long_way(raw, name):
    """Three hundred queues, each expiring into the next: it ends, and costs others nothing."""
    for at in range(300):
        declared(raw, f"{name}-{at}", {"x-message-ttl": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{name}-{at + 1}"})
    declared(raw, f"{name}-300")
    for first, arrives in ((100, True), (0, False)):
        published(raw, "", f"{name}-{first}", {"CC": ["x" * 200] * 500})
        published(raw, "", f"{name}-299", {}, b"neighbour")
        came = [eventually(lambda: taken(raw, f"{name}-300"))[1] for _ in range(1 + arrives)]
        # Which of the two is first depends on how fast two hundred hops are.
        assert sorted(came) == sorted([b"neighbour"] + [b"x"] * arrives)
        if not arrives:
            published(raw, "", f"{name}-100", {}, b"later")
            assert eventually(lambda: taken(raw, f"{name}-300"))[1] == b"later", "the one that died too often never comes"


FORGED = ["x", 5, None, {}, [], [1, None, "x", []], [{}], [{"queue": 5, "reason": [], "count": "many"}], {"a": [{"b": [[[{}]]]}]},
          [{"queue": "{}", "reason": "expired", "count": ("l", (1 << 63) - 1)}] * 2, [{"queue": "{}", "reason": "rejected", "count": -5}],
          [{"queue": f"q{at}", "reason": "rejected", "count": at, "routing-keys": ["a"] * 10} for at in range(600)]]


@pytest.mark.parametrize("forged", FORGED, ids=lambda value: repr(value)[:20])
def test_a_forged_history(raw, name, forged):
    """A message that says itself what it died of is dead-lettered as if it had not: neither lost as a cycle nor sent round for
    ever as none. What it said is kept aside."""
    queue, dead = declared(raw, name, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{name}-dead"}), declared(raw, f"{name}-dead")
    if isinstance(forged, list):
        forged = [{**entry, "queue": queue} if isinstance(entry, dict) and entry.get("queue") == "{}" else entry for entry in forged]
    published(raw, "", queue, {"x-death": forged, "x-first-death-reason": 5, "x-last-death-queue": [queue], "x-death-": 1})
    raw.send(get(1, queue, False))
    raw.expect(60, 71)
    assert field(forged) in raw.frame()[2]
    raw.frame()
    raw.send(method(1, 60, 90, struct.pack(">QB", 1, 0)))
    properties, _ = eventually(lambda: taken(raw, dead))
    assert short("x-death") + b"A" in properties and short("x-published-death") + field(forged) in properties
    assert short("x-first-death-reason") + field("rejected") in properties
    # A queue that expires into itself drops it at the first round, whoever claims to have rejected it.
    itself = {"x-message-ttl": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{name}-around"}
    around = declared(raw, f"{name}-around", itself)
    published(raw, "", around, {"x-death": [{"queue": around, "reason": "rejected", "count": 1}]})
    published(raw, "", dead, {})
    eventually(lambda: taken(raw, dead))
    assert declared(raw, around, itself) and taken(raw, around) is None


def test_forged_reply_addresses(raw, name):
    queue = declared(raw, name)
    for address in ("amq.rabbitmq.reply-to.", "amq.rabbitmq.reply-to.x", "amq.rabbitmq.reply-to." + "A" * 233,
                    "amq.rabbitmq.reply-to.g1h2AA5yZXBseUAxNTAxNTk3MQAAAAA=.x"):
        raw.send(publish(1, "", address, 1), content_header(1, 0))
        answer = raw.expect(60, 50)
        assert struct.unpack(">H", answer[:2]) == (312,)
        raw.frame()
        code, _ = refused(raw, declare(1, address, 1))
        assert code == 404
    declared(raw, name)
    code, text = refused(raw, publish(1, "", queue), content_header(1, 0, 0x0200, short("amq.rabbitmq.reply-to")))
    assert (code, text) == (406, "PRECONDITION_FAILED - fast reply consumer does not exist")


def test_expirations(raw, name):
    queue = declared(raw, name)
    for text in ("", " ", "x", "-1", "+", "1.5", "1e3", "0x10", "9" * 100, "18446744073709551616", "５", b"\xff", b"1\x00"):
        code, _ = refused(raw, publish(1, "", queue), content_header(1, 0, 0x0100, short(text)))
        assert code == 406, text
        declared(raw, name)
    raw.send(publish(1, "", queue), content_header(1, 0, 0x0100, short("18446744073709551615")))
    assert taken(raw, queue)


NO_DELAY = [0, -1, ("l", -(1 << 63)), "soon", "", "9" * 30, None, True, {}, [], ("d", float("nan")), ("d", -1e300), ("S", b"\xff"), ("D", (0, 5))]
FOR_EVER = [("l", (1 << 63) - 1), ("d", 1e300), ("d", float("inf")), "9223372036854775807"]


def test_delays_beyond_reason(raw, name):
    """What is no delay is none; what is longer than anybody lives waits, and is dropped with its queue."""
    if not isinstance(raw.broker, Broker):
        pytest.skip("the delayed-message plugin is not everywhere")
    queue = declared(raw, name)
    for header, none, never in (("x-delay", NO_DELAY, FOR_EVER), ("x-deliver-at", NO_DELAY + [("T", 0), ("T", 1_000_000_000)],
                                                                 [("l", (1 << 63) - 1), ("T", (1 << 64) - 1), ("T", 31_556_889_864_403_199)])):
        for value in none:
            published(raw, "", queue, {header: value}, b"now")
            assert taken(raw, queue)[1] == b"now", value
        for value in never:
            published(raw, "", queue, {header: value}, b"never")
        published(raw, "", queue, {}, b"now")
        assert taken(raw, queue)[1] == b"now" and taken(raw, queue) is None


def test_hostile_topics_cost_little(raw, name):
    queue = declared(raw, name)
    for pattern in ["#.#", "." * 255, ".".join("*" * 128), "#." + ".".join("*" * 126)] + [f"#.{at}.#" for at in range(200)]:
        raw.send(bind(1, queue, "amq.topic", pattern))
        raw.expect(50, 21)
    began = time.monotonic()
    for key in ("." * 255, ".".join("1" * 128), "a" * 255):
        for _ in range(100):
            published(raw, "amq.topic", key, {})
    assert declared(raw, name) == name
    assert time.monotonic() - began < 10


def test_names_that_are_not_text(raw, name):
    """Octets that are no UTF-8 are no names of queues and exchanges; as routing keys and tags they are as good as any."""
    for pieces in (lambda: declare(1, b"\xff", EXCLUSIVE), lambda: declare_exchange(1, b"\xff", "direct"), lambda: declare_exchange(1, name, b"\xff"),
                   lambda: bind(1, name, "amq.topic", b"\xff"), lambda: declare(1, b"amq.rabbitmq.reply-to.\xff", 1)):
        with Raw(raw.broker) as other:
            other.handshake().channel(1)
            other.send(pieces())
            level, code, _ = other.error()
            assert level == "connection" and code in (501, 502)
    queue = declared(raw, name)
    raw.send(bind(1, queue, "amq.topic", "#"))
    raw.expect(50, 21)
    raw.send(publish(1, "amq.topic", b"\xff\xfe.\x00"), content_header(1, 0))
    raw.send(consume(1, queue, b"\xff\x00tag"))
    assert raw.expect(60, 21) == short(b"\xff\x00tag")
    assert b"\xff\xfe.\x00" in raw.expect(60, 60)
