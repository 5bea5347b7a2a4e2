"""Conversations made from a seed. Each theme is a function that gives steps; names begin with the conversation's own
prefix, so that many can be played at once. Bodies are unique in a conversation: a step names a delivery by its body.
"""

import random

from peer import Step

# What is left by a conversation would be found by no other, but takes memory: queues go with their connection or are
# few and small.
QUEUES, EXCHANGES = ["q1", "q2", "q3"], ["x1", "x2"]
KEYS = ["", "a", "a.b", "a.b.c", "b", "#", "*.b"]
PATTERNS = ["#", "a.#", "*.b", "a.*.c", "a", "a.b", "*", "#.c"]
# Durations in ms, far enough apart that a slow machine keeps their order.
SHORT, LONG = 150, 60_000

GOOD_ARGUMENTS = [
    {}, {}, {}, {"x-message-ttl": LONG}, {"x-message-ttl": ("l", LONG)}, {"x-expires": LONG}, {"x-max-length": 5},
    {"x-max-length": 2, "x-overflow": "reject-publish"}, {"x-max-length-bytes": 100}, {"x-max-priority": 5},
    {"x-dead-letter-exchange": ""}, {"x-dead-letter-exchange": "amq.fanout", "x-dead-letter-routing-key": "k"},
    {"x-single-active-consumer": True}, {"x-queue-type": "classic"}, {"x-queue-mode": "lazy"}, {"x-unknown": "x"},
    {"x-queue-version": 2}, {"x-queue-master-locator": "client-local"}, {"unknown": 1.5},
]
BAD_ARGUMENTS = [
    {"x-message-ttl": -1}, {"x-message-ttl": "1000"}, {"x-message-ttl": 1.5}, {"x-message-ttl": True}, {"x-expires": 0},
    {"x-expires": -1}, {"x-expires": "soon"}, {"x-max-length": -1}, {"x-max-length": "5"}, {"x-max-length-bytes": -7},
    {"x-max-length-bytes": []}, {"x-max-priority": -1}, {"x-max-priority": 256}, {"x-max-priority": "high"},
    {"x-overflow": "drop-tail"}, {"x-overflow": 1}, {"x-dead-letter-exchange": 5}, {"x-dead-letter-exchange": None},
    {"x-dead-letter-routing-key": "k"}, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": 1},
    {"x-single-active-consumer": "yes"}, {"x-single-active-consumer": 1}, {"x-queue-type": "fast"}, {"x-queue-type": 1},
    {"x-queue-version": 9}, {"x-message-ttl": ("l", 10**12)}, {"x-expires": ("l", 10**12)}, {"x-message-ttl": {}},
    {"x-max-age": "1D"}, {"x-delivery-limit": 3}, {"x-queue-mode": 7}, {"x-queue-master-locator": "nowhere"},
    {"x-queue-leader-locator": "nowhere"}, {"x-queue-leader-locator": 5}, {"x-stream-max-segment-size-bytes": 1000},
]
REPLICATED_ARGUMENTS = [
    {}, {"x-max-length": 5}, {"x-max-priority": 5}, {"x-delivery-limit": -1}, {"x-delivery-limit": "x"},
    {"x-max-age": "1D"}, {"x-max-age": "fast"}, {"x-max-age": 5}, {"x-max-length-bytes": 10_000}, {"x-queue-mode": "lazy"},
    {"x-quorum-initial-group-size": 1}, {"x-quorum-initial-group-size": 0}, {"x-quorum-initial-group-size": "a"},
    {"x-initial-cluster-size": 0}, {"x-stream-max-segment-size-bytes": 4 * 10**9 // 2}, {"x-single-active-consumer": True},
    {"x-dead-letter-strategy": "at-least-once"}, {"x-dead-letter-strategy": "never"}, {"x-overflow": "reject-publish"},
]


class Talk:
    """Grows one conversation."""

    def __init__(self, seed, number):
        self.random, self.prefix = random.Random(f"{seed} {number}"), f"d{number}-"
        self.steps, self.bodies, self.waits = [], 0, 0

    def say(self, method, **more):
        self.steps.append(Step(method, **more))

    def name(self, short):
        return self.prefix + short

    def queue(self):
        return self.name(self.random.choice(QUEUES))

    def exchange(self):
        return self.name(self.random.choice(EXCHANGES))

    def some(self, *choices):
        return self.random.choice(choices)

    def chance(self, share):
        return self.random.random() < share

    def declare(self, queue, arguments=None, **more):
        self.say("queue.declare", queue=queue, arguments=arguments or {}, **more)

    def publish(self, exchange, key, properties=None, **more):
        self.bodies += 1
        body = f"m{self.bodies}"
        self.say("basic.publish", exchange=exchange, routing_key=key, properties=properties or {}, body=body, **more)
        return body

    def drain(self, queue, n, **more):
        for _ in range(n):
            self.say("basic.get", queue=queue, no_ack=True, **more)

    def sleep(self, milliseconds):
        self.say("sleep", milliseconds=milliseconds)


def declarations(talk):
    """Queues and exchanges, good and bad, again and differently; passive, deleted, in use or not."""
    for _ in range(14):
        queue, exchange = talk.queue(), talk.exchange()
        flags = {flag: True for flag in ("durable", "exclusive", "auto_delete") if talk.chance(0.3)}
        match talk.random.randrange(12):
            case 0 | 1 | 2:
                talk.declare(queue, talk.some(*GOOD_ARGUMENTS), **flags)
            case 3 | 4:
                talk.declare(talk.name(talk.some("q1", "bad")), talk.some(*BAD_ARGUMENTS), **flags)
            case 5:
                talk.declare(talk.some(queue, talk.name("nowhere")), passive=True)
            case 6 | 7:
                kind = talk.some("direct", "fanout", "topic", "headers", "direct", "nonsense", "")
                arguments = talk.some({}, {}, {"alternate-exchange": talk.exchange()}, {"alternate-exchange": 5}, {"x": 1})
                flags = {flag: True for flag in ("durable", "internal", "auto_delete", "passive") if talk.chance(0.2)}
                name = talk.some(exchange, exchange, exchange, "amq.direct", "amq.mine", "")
                talk.say("exchange.declare", exchange=name, type=kind, arguments=arguments, **flags)
            case 8:
                talk.say("queue.delete", queue=queue, if_unused=talk.chance(0.3), if_empty=talk.chance(0.3))
            case 9:
                name = talk.some(exchange, exchange, "amq.topic", "", talk.name("nowhere"))
                talk.say("exchange.delete", exchange=name, if_unused=talk.chance(0.5))
            case 10:
                talk.say("queue.bind", queue=queue, exchange=talk.some(exchange, "amq.direct", ""), routing_key="k")
            case 11:
                talk.say("queue.purge", queue=queue)


def every_argument(talk):
    """Each argument by itself, then the same again with another value or without: equivalence."""
    for arguments in talk.random.sample(BAD_ARGUMENTS, 8):
        talk.declare(talk.name("bad"), arguments)
    for arguments in talk.random.sample(GOOD_ARGUMENTS, 5):
        queue = talk.name(f"good{talk.bodies}")
        talk.bodies += 1
        talk.declare(queue, arguments, exclusive=True)
        talk.declare(queue, arguments, exclusive=True)
        talk.declare(queue, talk.some(*GOOD_ARGUMENTS), exclusive=True)
        talk.declare(queue, arguments, exclusive=True, auto_delete=True)


def replicated_declarations(talk):
    """Quorum queues and streams: what they refuse."""
    for kind in ("quorum", "stream", talk.some("quorum", "stream")):
        queue = talk.name(f"{kind}{len(talk.steps)}")
        flags = {"durable": talk.chance(0.9), "exclusive": talk.chance(0.1), "auto_delete": talk.chance(0.1)}
        talk.declare(talk.some(queue, queue, queue, ""), {"x-queue-type": kind, **talk.some(*REPLICATED_ARGUMENTS)}, **flags)
        talk.declare(queue, passive=True)
        talk.say("queue.delete", queue=queue)


def routing(talk):
    """Exchanges of every type, bound to one another and to queues; publishes and what arrives where."""
    kinds = {name: talk.some("direct", "fanout", "topic", "headers") for name in ("x1", "x2", "x3")}
    for name, kind in kinds.items():
        alternate = {"alternate-exchange": talk.name("x3")} if name == "x1" and talk.chance(0.5) else {}
        talk.say("exchange.declare", exchange=talk.name(name), type=kind, auto_delete=talk.chance(0.2), arguments=alternate)
    for queue in QUEUES:
        talk.declare(talk.name(queue), exclusive=True)
    for _ in range(6):
        source = talk.some(*kinds)
        arguments = {}
        if kinds[source] == "headers":
            arguments = {"x-match": talk.some("all", "any"), **talk.some({"h": "1"}, {"h": 1}, {"h": "1", "i": "2"}, {"h": None}, {})}
            if talk.chance(0.1):
                arguments = talk.some({"x-match": "most"}, {"x-match": 5}, {"h": "1"})
        if talk.chance(0.2):
            talk.say("exchange.bind", destination=talk.name(talk.some(*kinds)), source=talk.name(source),
                     routing_key=talk.some(*PATTERNS), arguments=arguments)
        else:
            talk.say("queue.bind", queue=talk.queue(), exchange=talk.name(source), routing_key=talk.some(*PATTERNS), arguments=arguments)
    if talk.chance(0.5):
        talk.say("confirm.select")
    for _ in range(6):
        headers = talk.some(None, {"h": "1"}, {"h": 1}, {"h": "1", "i": "2"}, {"h": ("l", 1)}, {"i": "2"})
        properties = {"headers": headers} if headers else {}
        if talk.chance(0.2):
            properties.setdefault("headers", {})
            properties["headers"] = {**properties["headers"], talk.some("CC", "BCC"): talk.some(["a.b"], ["a", "b"], [talk.name("q1")], "a", [1])}
        talk.publish(talk.some(talk.name("x1"), talk.name("x2"), talk.name("x3"), "", talk.name("nowhere") if talk.chance(0.2) else ""),
                     talk.some(*KEYS, talk.name("q1")), properties, mandatory=talk.chance(0.4))
    for queue in QUEUES:
        talk.drain(talk.name(queue), 4)
    for _ in range(3):
        talk.say("queue.unbind", queue=talk.queue(), exchange=talk.name(talk.some(*kinds)), routing_key=talk.some(*PATTERNS))
    talk.say("exchange.unbind", destination=talk.name("x1"), source=talk.name("x2"), routing_key="#")
    talk.say("exchange.delete", exchange=talk.name("x1"), if_unused=True)
    for name in kinds:
        talk.say("exchange.delete", exchange=talk.name(name))


def consuming(talk):
    """Consumers, prefetch, every way to settle, requeues and their order."""
    queue, other = talk.name("q1"), talk.name("q2")
    talk.declare(queue, exclusive=True)
    talk.declare(other, exclusive=True)
    sent = [talk.publish("", queue) for _ in range(4)]
    if talk.chance(0.6):
        talk.say("basic.qos", prefetch_count=talk.some(1, 2, 3), **({"global": True} if talk.chance(0.2) else {}))
    talk.say("basic.consume", queue=queue, consumer_tag="c", no_ack=talk.chance(0.15), exclusive=talk.chance(0.2),
             no_local=talk.chance(0.2))
    for _ in range(14):
        match talk.random.randrange(13):
            case 0 | 1:
                sent.append(talk.publish("", queue, talk.some({}, {"delivery-mode": 2}, {"priority": 3})))
            case 2 | 3:
                talk.say("basic.ack", delivery=talk.some(*sent[-4:]), multiple=talk.chance(0.3))
            case 4 | 5:
                talk.say("basic.nack", delivery=talk.some(*sent[-4:]), multiple=talk.chance(0.3), requeue=talk.chance(0.3))
            case 6:
                talk.say("basic.reject", delivery=talk.some(*sent[-4:]), requeue=talk.chance(0.2))
            case 7:
                talk.say("basic.cancel", consumer_tag=talk.some("c", "d", "nobody"))
            case 8:
                talk.say("basic.consume", queue=talk.some(queue, other), consumer_tag=talk.some("c", "d", "e"),
                         arguments=talk.some({}, {}, {"x-priority": 5}, {"x-priority": "high"}))
            case 9:
                talk.say("basic.get", queue=talk.some(queue, other), no_ack=talk.chance(0.5))
            case 10:
                talk.say("basic.recover", requeue=talk.chance(0.9))
            case 11:
                talk.say("basic.qos", prefetch_count=talk.some(0, 1, 5))
            case 12:
                talk.declare(queue, exclusive=True, passive=True)
    talk.say("basic.ack", delivery_tag=0, multiple=True)
    talk.drain(queue, 2)


def getting(talk):
    """basic.get and settlements in every order, on a queue without consumers."""
    queue = talk.name("q1")
    talk.declare(queue, exclusive=True)
    sent = [talk.publish("", queue) for _ in range(5)]
    for _ in range(16):
        match talk.random.randrange(8):
            case 0 | 1 | 2:
                talk.say("basic.get", queue=queue)
            case 3:
                talk.say("basic.ack", delivery=talk.some(*sent), multiple=talk.chance(0.3))
            case 4:
                talk.say("basic.nack", delivery=talk.some(*sent), multiple=talk.chance(0.5), requeue=True)
            case 5:
                talk.say("basic.reject", delivery=talk.some(*sent), requeue=talk.chance(0.7))
            case 6:
                talk.say("basic.recover", requeue=True)
            case 7:
                talk.say("queue.purge", queue=queue)
    talk.say("basic.nack", delivery_tag=0, multiple=True, requeue=True)
    talk.drain(queue, 5)
    talk.say("queue.delete", queue=queue)


def confirms_and_transactions(talk):
    """confirm.select and tx.*, alone, mixed, and misused."""
    queue = talk.name("q1")
    talk.declare(queue, exclusive=True, durable=talk.chance(0.5))
    sent = [talk.publish("", queue), talk.publish("", queue)]
    for method in talk.some(("confirm.select",), ("tx.select",), ("tx.select",), ("tx.select", "confirm.select"),
                            ("confirm.select", "tx.select"), ("tx.commit",), ("tx.rollback",), ("confirm.select", "confirm.select")):
        talk.say(method)
    for _ in range(12):
        match talk.random.randrange(9):
            case 0 | 1 | 2:
                sent.append(talk.publish(*talk.some(("", queue), ("", queue), ("amq.direct", "nobody"), ("", talk.name("nowhere"))),
                                         talk.some({}, {"delivery-mode": 2}), mandatory=talk.chance(0.5)))
            case 3:
                talk.say("basic.get", queue=queue)
            case 4:
                talk.say("basic.ack", delivery=talk.some(*sent), multiple=talk.chance(0.2))
            case 5:
                talk.say("basic.reject", delivery=talk.some(*sent), requeue=talk.chance(0.5))
            case 6 | 7:
                talk.say(talk.some("tx.commit", "tx.commit", "tx.rollback"))
            case 8:
                talk.declare(queue, passive=True)
    talk.drain(queue, 3, channel=2)


def errors(talk):
    """What closes channels and connections, and what is still there afterwards."""
    queue = talk.name("q1")
    talk.declare(queue, auto_delete=True)
    talk.publish("", queue)
    mistakes = [
        lambda: talk.say("basic.ack", delivery_tag=77),
        lambda: talk.say("basic.nack", delivery_tag=77, multiple=True, requeue=True),
        lambda: talk.say("basic.reject", delivery_tag=77),
        lambda: talk.say("basic.consume", queue=talk.name("nowhere")),
        lambda: talk.say("basic.get", queue=talk.name("nowhere")),
        lambda: talk.say("basic.get", queue="", channel=2),
        lambda: talk.say("queue.purge", queue=talk.name("nowhere")),
        lambda: talk.say("queue.bind", queue=talk.name("nowhere"), exchange="amq.direct"),
        lambda: talk.say("queue.bind", queue=queue, exchange=talk.name("nowhere")),
        lambda: talk.say("queue.unbind", queue=queue, exchange=talk.name("nowhere")),
        lambda: talk.say("queue.bind", queue=queue, exchange="", routing_key="k"),
        lambda: talk.say("queue.declare", queue="amq.mine"),
        lambda: talk.say("exchange.declare", exchange="amq.mine", type="direct"),
        lambda: talk.say("exchange.declare", exchange="", type="direct"),
        lambda: talk.say("exchange.delete", exchange="amq.direct"),
        lambda: talk.say("exchange.bind", destination=talk.name("nowhere"), source="amq.direct"),
        lambda: talk.say("exchange.bind", destination="amq.direct", source=""),
        lambda: talk.publish(talk.name("nowhere"), "k"),
        lambda: talk.publish("", queue, immediate=True),
        lambda: talk.publish("", queue, {"expiration": talk.some("-1", "soon", "", "1.5", "99999999999999")}),
        lambda: talk.publish("", queue, {"user-id": talk.some("guest", "somebody")}),
        lambda: talk.publish("", queue, {"headers": {"CC": talk.some("text", 5, [5])}}),
        lambda: talk.publish("", queue, {"reply-to": "amq.rabbitmq.reply-to"}),
        lambda: talk.say("basic.consume", queue="amq.rabbitmq.reply-to", consumer_tag="r"),
        lambda: talk.say("basic.consume", queue=queue, consumer_tag="twice", channel=2),
        lambda: talk.say("basic.qos", prefetch_size=5),
        lambda: talk.say("channel.flow", active=talk.chance(0.5)),
        lambda: talk.say("access.request", realm="/data"),
        lambda: talk.say("channel.open", channel=talk.some(1, 2)),
        lambda: talk.say("basic.recover", requeue=False),
        lambda: talk.say("basic.recover-async", requeue=True),
        lambda: talk.say("tx.commit"),
        lambda: talk.say("basic.consume", queue=queue, arguments={"x-priority": talk.some("5", 5, None)}),
        lambda: talk.say("channel.close", reply_code=200, reply_text="bye"),
        lambda: talk.say("connection.close", channel=0, reply_code=200, reply_text="bye"),
    ]
    for mistake in talk.random.sample(mistakes, 9):
        mistake()
        if talk.chance(0.4):
            talk.declare(queue, auto_delete=True)
    talk.say("queue.delete", queue=queue)


def two_connections(talk):
    """What one connection does to another: locks, notices, what comes back when one goes."""
    queue = talk.name("q1")
    exclusive = talk.chance(0.3)
    talk.declare(queue, exclusive=exclusive, auto_delete=talk.chance(0.3))
    sent = [talk.publish("", queue) for _ in range(3)]
    for _ in range(12):
        on = talk.some("a", "b")
        match talk.random.randrange(9):
            case 0:
                talk.say("basic.consume", queue=queue, consumer_tag=f"{on}{len(talk.steps)}", connection=on, exclusive=talk.chance(0.3))
            case 1 | 2:
                sent.append(talk.publish("", queue, connection=on))
            case 3:
                talk.say("basic.get", queue=queue, connection=on, no_ack=talk.chance(0.3))
            case 4:
                talk.say("basic.ack", delivery=talk.some(*sent), connection=on)
            case 5:
                talk.declare(queue, connection=on, passive=True)
            case 6:
                talk.say("drop", connection="b")
            case 7:
                talk.say("queue.delete", queue=queue, connection=on, if_unused=talk.chance(0.5))
            case 8:
                talk.declare(queue, exclusive=exclusive, connection=on)
    talk.say("drop", connection="b")
    talk.drain(queue, 3)
    talk.say("queue.delete", queue=queue)


def lifetimes(talk):
    """TTL of queues and messages, expiring queues, and where dead letters go."""
    queue, grave = talk.name("q1"), talk.name("grave")
    talk.declare(grave, exclusive=True)
    letter = talk.some({}, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": grave},
                       {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": grave},
                       {"x-dead-letter-exchange": "amq.direct"}, {"x-dead-letter-exchange": talk.name("nowhere")})
    if letter.get("x-dead-letter-exchange") == "amq.direct":
        talk.say("queue.bind", queue=grave, exchange="amq.direct", routing_key=queue)
    limits = talk.some({"x-message-ttl": SHORT}, {"x-message-ttl": 0}, {}, {"x-max-length": 2}, {"x-max-length-bytes": 5},
                       {"x-max-length": 2, "x-overflow": "reject-publish"}, {"x-max-length": 0},
                       {"x-max-length": 2, "x-overflow": "reject-publish-dlx"}, {"x-message-ttl": LONG}, {"x-expires": SHORT})
    talk.declare(queue, {**letter, **limits}, durable=talk.chance(0.3))
    if talk.chance(0.6):
        talk.say("confirm.select")
    sent = []
    for _ in range(4):
        properties = talk.some({}, {}, {"expiration": str(SHORT)}, {"expiration": str(LONG)}, {"expiration": "0"}, {"delivery-mode": 2},
                               {"headers": {"x": "y", "CC": [talk.name("cc")]}}, {"message-id": "i", "priority": 3})
        sent.append(talk.publish("", queue, properties))
    if talk.chance(0.5):
        talk.say("basic.get", queue=queue)
        talk.say(talk.some("basic.nack", "basic.reject"), delivery=sent[0], requeue=talk.chance(0.3))
    talk.sleep(4 * SHORT)
    talk.drain(grave, 5)
    talk.drain(queue, 2)
    talk.declare(queue, passive=True)
    talk.say("queue.delete", queue=queue)


def dead_letter_rounds(talk):
    """A message that dies over and over, and what its headers say of that."""
    work, wait = talk.name("work"), talk.name("wait")
    talk.declare(work, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait}, exclusive=True)
    talk.declare(wait, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work, **talk.some({"x-message-ttl": SHORT}, {})},
                 exclusive=True)
    properties = {"expiration": str(SHORT)} if talk.chance(0.5) else {}
    if talk.chance(0.3):
        properties["headers"] = {"mine": "1"}
    body = talk.publish("", work, properties)
    for _ in range(3):
        talk.say("basic.get", queue=work)
        talk.say("basic.reject", delivery=body)
        talk.sleep(3 * SHORT)
    talk.drain(work, 2)
    talk.drain(wait, 2)


def priorities(talk):
    """A priority queue."""
    queue = talk.name("q1")
    talk.declare(queue, {"x-max-priority": talk.some(0, 1, 3, 10, 255)}, exclusive=True)
    sent = [talk.publish("", queue, {"priority": talk.random.randrange(12)} if talk.chance(0.8) else {}) for _ in range(8)]
    for _ in range(3):
        talk.say("basic.get", queue=queue)
        talk.say("basic.reject", delivery=talk.some(*sent), requeue=True)
    talk.drain(queue, 9)


def single_active(talk):
    """Single active consumer: who gets messages, and who takes over."""
    queue = talk.name("q1")
    talk.declare(queue, {"x-single-active-consumer": True}, exclusive=True)
    for channel in (1, 2, 3):
        talk.say("basic.qos", prefetch_count=2, channel=channel)
        talk.say("basic.consume", queue=queue, consumer_tag=f"c{channel}", channel=channel)
    sent = []
    for _ in range(8):
        match talk.random.randrange(5):
            case 0 | 1:
                sent.append(talk.publish("", queue, channel=4))
            case 2 if sent:
                talk.say("basic.ack", delivery=talk.some(*sent[-2:]), channel=1)
            case 3:
                talk.say("basic.cancel", consumer_tag="c1", channel=1)
            case 4:
                talk.say("basic.get", queue=queue, channel=4)


def replies(talk):
    """Direct reply-to, by one who asks on channel 1 and one who answers on channel 2."""
    queue = talk.name("q1")
    talk.declare(queue, exclusive=True)
    if talk.chance(0.8):
        talk.say("basic.consume", queue="amq.rabbitmq.reply-to", consumer_tag="r", no_ack=talk.chance(0.9))
    if talk.chance(0.2):
        talk.say("basic.consume", queue="amq.rabbitmq.reply-to", consumer_tag="r2", no_ack=True)
    talk.publish("", queue, {"reply-to": "amq.rabbitmq.reply-to", "correlation-id": "1"}, mandatory=True)
    talk.drain(queue, 1, channel=2)
    talk.say("queue.declare", queue="amq.rabbitmq.reply-to", passive=True)
    talk.publish("", "amq.rabbitmq.reply-to.forged.1", mandatory=True, channel=2)
    talk.say("basic.cancel", consumer_tag="r")
    talk.publish("", queue, {"reply-to": "amq.rabbitmq.reply-to"})


def alternates(talk):
    """Alternate exchanges behind one another and bound in circles, with CC and BCC: who takes what nobody wants."""
    names = [talk.name(f"x{i}") for i in range(4)]
    for name in names:
        alternate = {"alternate-exchange": talk.some(*names, talk.name("nowhere"))} if talk.chance(0.7) else {}
        talk.say("exchange.declare", exchange=name, type=talk.some("direct", "topic", "fanout", "direct"), arguments=alternate,
                 internal=talk.chance(0.15))
    queues = [talk.name(queue) for queue in QUEUES]
    for queue in queues:
        talk.declare(queue, exclusive=True)
    for _ in range(5):
        if talk.chance(0.4):
            talk.say("exchange.bind", destination=talk.some(*names), source=talk.some(*names), routing_key=talk.some("a", "#", "b"))
        else:
            talk.say("queue.bind", queue=talk.some(*queues), exchange=talk.some(*names), routing_key=talk.some("a", "a.b", "#", "b"))
    if talk.chance(0.5):
        talk.say("confirm.select")
    for _ in range(6):
        headers = {}
        for name in ("CC", "BCC"):
            if talk.chance(0.3):
                headers[name] = [talk.some("a", "b", "a.b", "none", *queues) for _ in range(talk.some(1, 2))]
        talk.publish(talk.some(*names, ""), talk.some("a", "b", "a.b", "none"), {"headers": headers} if headers else {},
                     mandatory=talk.chance(0.5))
        if talk.chance(0.15):
            talk.say("exchange.delete", exchange=talk.some(*names))
    for queue in queues:
        talk.drain(queue, 6)
    for name in names:
        talk.say("exchange.delete", exchange=name)


HEADER_VALUES = ["1", 1, ("l", 1), ("s", 1), 1.0, True, None, "", ["1"], {"a": 1}]


def headers_exchange(talk):
    """What a headers exchange takes for equal."""
    exchange = talk.name("x")
    talk.say("exchange.declare", exchange=exchange, type="headers", auto_delete=talk.chance(0.3))
    queues = [talk.name(queue) for queue in QUEUES]
    for queue in queues:
        talk.declare(queue, exclusive=True)
        for _ in range(talk.some(1, 2)):
            arguments = {name: talk.some(*HEADER_VALUES) for name in ("h", "i", "x-h") if talk.chance(0.5)}
            match = talk.some("all", "any", "all-with-x", "any-with-x", None)
            if match:
                arguments["x-match"] = match
            talk.say("queue.bind", queue=queue, exchange=exchange, routing_key=talk.some("", "k"), arguments=arguments)
            if talk.chance(0.2):
                talk.say("queue.unbind", queue=queue, exchange=exchange, routing_key="", arguments=arguments)
    for _ in range(8):
        headers = {name: talk.some(*HEADER_VALUES) for name in ("h", "i", "x-h") if talk.chance(0.6)}
        talk.publish(exchange, talk.some("", "k"), {"headers": headers} if talk.chance(0.9) else {}, mandatory=talk.chance(0.5))
    for queue in queues:
        talk.drain(queue, 9)


def channels(talk):
    """Deliveries spread over channels: settled late, twice, on the wrong one, after a channel has gone."""
    queue = talk.name("q1")
    talk.declare(queue, exclusive=True)
    sent = [talk.publish("", queue) for _ in range(6)]
    for channel in (1, 2):
        talk.say("basic.qos", prefetch_count=talk.some(1, 2, 4), channel=channel)
    for _ in range(16):
        channel = talk.some(1, 2, 3)
        match talk.random.randrange(10):
            case 0 | 1 | 2:
                talk.say("basic.get", queue=queue, channel=channel)
            case 3:
                talk.say("basic.ack", delivery=talk.some(*sent), channel=channel, multiple=talk.chance(0.4))
            case 4:
                talk.say("basic.nack", delivery=talk.some(*sent), channel=channel, multiple=talk.chance(0.5), requeue=talk.chance(0.7))
            case 5:
                talk.say("channel.close", channel=channel, reply_code=200, reply_text="")
            case 6:
                talk.say("basic.nack", delivery_tag=0, channel=channel, multiple=True, requeue=talk.chance(0.7))
            case 7:
                talk.say("basic.recover", channel=channel, requeue=True)
            case 8:
                sent.append(talk.publish("", queue, channel=channel))
            case 9:
                talk.declare(queue, passive=True, channel=channel)
    for channel in (1, 2, 3):
        talk.say("channel.close", channel=channel, reply_code=200, reply_text="")
    talk.drain(queue, 8, channel=4)


def transactions(talk):
    """Publishes and settlements of several queues in transactions that commit, roll back, or end with their channel."""
    queues = [talk.name(queue) for queue in QUEUES[:2]]
    for queue in queues:
        talk.declare(queue, exclusive=True)
    sent = [talk.publish("", queue) for queue in queues for _ in range(2)]
    talk.say("tx.select")
    for _ in range(14):
        match talk.random.randrange(9):
            case 0 | 1:
                sent.append(talk.publish("", talk.some(*queues, talk.name("nowhere")), mandatory=talk.chance(0.3)))
            case 2 | 3:
                talk.say("basic.get", queue=talk.some(*queues))
            case 4:
                talk.say(talk.some("basic.ack", "basic.nack"), delivery=talk.some(*sent), multiple=talk.chance(0.4))
            case 5:
                talk.say("tx.commit")
            case 6:
                talk.say("tx.rollback")
            case 7:
                talk.declare(talk.some(*queues), passive=True, channel=2)
            case 8:
                if talk.chance(0.4):
                    talk.say("channel.close", reply_code=200, reply_text="")
                    talk.say("tx.select")
                else:
                    talk.publish(talk.some("amq.direct", "amq.fanout", talk.name("nowhere") if talk.chance(0.3) else "amq.topic"), "k")
    talk.say("channel.close", reply_code=200, reply_text="")
    for queue in queues:
        talk.drain(queue, 6, channel=2)


THEMES = [declarations, every_argument, replicated_declarations, routing, consuming, getting, confirms_and_transactions, errors,
          two_connections, lifetimes, dead_letter_rounds, priorities, single_active, replies, routing, consuming, errors, lifetimes, alternates, headers_exchange, channels,
          transactions, alternates]


def conversation(seed, number, theme=None):
    """(theme's name, steps); the same for the same seed and number."""
    talk = Talk(seed, number)
    chosen = THEMES[number % len(THEMES)] if theme is None else {t.__name__: t for t in THEMES}[theme]
    chosen(talk)
    return chosen.__name__, talk.steps
