"""One side of a conversation: plays its steps against one broker and notes what comes back, step by step.

What a broker sends in answer to a step has no fixed order between streams that do not depend on one another: replies,
confirms, and each consumer's deliveries. So a step's answers are kept as a stream each; within a stream order counts.
A step is over when its reply and its confirms are there and nothing more has come for `quiet_seconds`.
"""

import re
import socket
import struct
import time

import codec

PATIENCE_SECONDS = 10
# Methods that are answered by another name than their own with "-ok".
ANSWERS = {"basic.get": ("basic.get-ok", "basic.get-empty")}
UNANSWERED = {"basic.publish", "basic.ack", "basic.nack", "basic.reject", "basic.recover-async"}
# `Step.delivery` when the message has not been delivered: a tag that no channel has given.
NO_SUCH_TAG = 99999


class Step:
    """A method on a channel of a connection; with `body`, a publish. `delivery` names a message delivered before on
    that channel, by its body: its tag is sent. Method "sleep" waits `milliseconds`; "drop" cuts the connection."""

    def __init__(self, method, channel=1, connection="a", body=None, properties=None, delivery=None, **arguments):
        self.method, self.channel, self.connection = method, channel, connection
        self.body, self.properties, self.delivery, self.arguments = body, properties or {}, delivery, arguments

    def __str__(self):
        shown = [f"{key}={value!r}" for key, value in self.arguments.items()]
        shown += [f"delivery={self.delivery!r}"] if self.delivery else []
        shown += [f"properties={self.properties!r}"] if self.properties else []
        shown += [f"body={self.body!r}"] if self.body is not None else []
        place = "" if (self.connection, self.channel) == ("a", 1) else f"{self.connection}{self.channel} "
        return f"{place}{self.method}({', '.join(shown)})"


class Peer:
    """Connections are opened when a step first needs them, and again after the broker has closed one."""

    def __init__(self, port, quiet_seconds):
        self.port, self.quiet_seconds = port, quiet_seconds
        self.connections = {}

    def play(self, steps):
        """What came back, for each step: {stream: [event, …]}."""
        try:
            return [self._step(step) for step in steps]
        finally:
            for connection in self.connections.values():
                connection.socket.close()

    def _step(self, step):
        if step.method == "sleep":
            time.sleep(step.arguments["milliseconds"] / 1000)
        elif step.method == "drop":
            dropped = self.connections.pop(step.connection, None)
            if dropped:
                dropped.socket.close()
        else:
            self._connection(step.connection).send(step)
        events = {}
        for name, connection in self.connections.items():
            for stream, items in connection.collect(self.quiet_seconds).items():
                events[f"{name} {stream}"] = items
        self.connections = {name: it for name, it in self.connections.items() if not it.closed}
        return events

    def _connection(self, name):
        if name not in self.connections:
            self.connections[name] = Connection(self.port)
        return self.connections[name]


class Channel:
    def __init__(self):
        self.tags, self.last_tag = {}, 0
        self.confirming, self.published, self.unconfirmed = False, 0, set()
        self.content = None


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.channels, self.closed, self.awaited = b"", {}, False, None
        self.events = {}
        self.socket.sendall(codec.HEADER)
        self._expect("connection.start")
        capabilities = {"capabilities": {"consumer_cancel_notify": True, "authentication_failure_close": True,
                                         "basic.nack": True, "publisher_confirms": True}}
        self.socket.sendall(codec.method(0, "connection.start-ok", client_properties=capabilities, mechanism="PLAIN",
                                         response=b"\0guest\0guest", locale="en_US"))
        self._expect("connection.tune")
        self.socket.sendall(codec.method(0, "connection.tune-ok", channel_max=100, frame_max=131072, heartbeat=0)
                            + codec.method(0, "connection.open", virtual_host="/"))
        self._expect("connection.open-ok")

    def send(self, step):
        number = step.channel
        out = b""
        if number and number not in self.channels and step.method != "channel.open":
            self.channels[number] = Channel()
            out += codec.method(number, "channel.open")
        elif step.method == "channel.open":
            self.channels.setdefault(number, Channel())
        channel = self.channels.get(number)
        arguments = dict(step.arguments)
        if step.delivery is not None:
            arguments["delivery_tag"] = channel.tags.get(step.delivery, NO_SUCH_TAG)
        out += codec.method(number, step.method, **arguments)
        if step.body is not None:
            out += codec.content(number, step.properties, step.body.encode())
            channel.published += 1
            if channel.confirming:
                channel.unconfirmed.add(channel.published)
        if step.method not in UNANSWERED and not arguments.get("no_wait"):
            self.awaited = number, ANSWERS.get(step.method, (step.method + "-ok",))
        if step.method == "confirm.select":
            channel.confirming, channel.published = True, 0
        try:
            self.socket.sendall(out)
        except OSError:
            pass  # What the broker said before it closed can still be read.

    def collect(self, quiet_seconds):
        """The events of a step, by stream."""
        self.events, start, last = {}, time.monotonic(), time.monotonic()
        while not self.closed:
            busy = self.awaited or any(c.unconfirmed or c.content for c in self.channels.values())
            end = start + PATIENCE_SECONDS if busy else last + quiet_seconds
            if time.monotonic() >= end:
                if self.awaited:
                    self._note("replies", f"no {self.awaited[1][0]} came")
                    self.awaited = None
                for channel in self.channels.values():
                    if channel.unconfirmed:
                        self._note("confirms", f"never confirmed: {sorted(channel.unconfirmed)}")
                        channel.unconfirmed.clear()
                break
            got = self._frame(end)
            if got is None and self.closed:
                self._note("replies", "the socket is closed")
            elif got:
                last = time.monotonic()
                self._take(*got)
        for stream, items in self.events.items():
            if stream.endswith("confirms"):
                items.sort()
        return self.events

    def _take(self, kind, number, payload):
        channel = self.channels.get(number)
        if kind == codec.METHOD:
            self._take_method(number, channel, *codec.decode_method(payload))
        elif channel and channel.content and kind == codec.CONTENT_HEADER:
            channel.content["size"], channel.content["properties"] = codec.decode_header(payload)
            self._finish_content(number, channel)
        elif channel and channel.content and kind == codec.BODY:
            channel.content["body"] += payload
            self._finish_content(number, channel)
        else:
            self._note("replies", f"unexpected frame of type {kind} on {number}")

    def _take_method(self, number, channel, name, fields):
        if self.awaited and number == self.awaited[0] and name in self.awaited[1]:
            self.awaited = None
        if name in ("basic.deliver", "basic.get-ok", "basic.return"):
            channel.content = {"name": name, "fields": fields, "body": b"", "size": None}
            return
        if name in ("basic.ack", "basic.nack"):
            self._take_confirm(number, channel, name, fields)
            return
        stream = _plain(f"notices to {fields['consumer-tag']}") if name == "basic.cancel" else "replies"
        self._note(f"{number} {stream}", f"{name} {_plain(fields)}")
        if name == "connection.close":
            self.closed, self.awaited = True, None
            self.socket.sendall(codec.method(0, "connection.close-ok"))
        elif name == "connection.close-ok":
            self.closed = True
        elif name in ("channel.close", "channel.close-ok"):
            self.channels.pop(number, None)
            if name == "channel.close":
                self.socket.sendall(codec.method(number, "channel.close-ok"))
            if self.awaited and self.awaited[0] == number:
                self.awaited = None

    def _take_confirm(self, number, channel, name, fields):
        upto = fields["delivery-tag"]
        which = {tag for tag in channel.unconfirmed if tag <= upto} if fields["multiple"] else {upto}
        for tag in which:
            self._note(f"{number} confirms", f"{name} {tag}")
        channel.unconfirmed -= which

    def _finish_content(self, number, channel):
        it = channel.content
        if len(it["body"]) < it["size"]:
            return
        channel.content, fields, body = None, it["fields"], it["body"].decode(errors="replace")
        tag = fields.pop("delivery-tag", None)
        if tag is not None:
            channel.tags[body] = tag
            if tag != channel.last_tag + 1:
                self._note(f"{number} replies", f"delivery tag {tag} after {channel.last_tag}")
            channel.last_tag = tag
        stream = f"deliveries to {fields['consumer-tag']}" if "consumer-tag" in fields else "replies"
        stream = "returns" if it["name"] == "basic.return" else _plain(stream)
        self._note(f"{number} {stream}", f"{it['name']} {body!r} {_plain(fields)} {_plain(it['properties'])}")

    def _note(self, stream, event):
        self.events.setdefault(stream, []).append(event)

    def _expect(self, name):
        got = self._frame(time.monotonic() + PATIENCE_SECONDS)
        if got is None or codec.decode_method(got[2])[0] != name:
            raise RuntimeError(f"{name} was expected, {got} came")

    def _frame(self, end):
        """The next frame, or None: none came until `end`, or the socket is closed (`closed`)."""
        while True:
            if len(self.buffer) >= 7:
                kind, channel, size = struct.unpack(">BHI", self.buffer[:7])
                if len(self.buffer) >= size + 8:
                    payload, self.buffer = self.buffer[7:7 + size], self.buffer[8 + size:]
                    if kind != codec.HEARTBEAT:
                        return kind, channel, payload
                    continue
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                return None
            except OSError:
                more = b""
            if not more:
                self.closed = True
                return None
            self.buffer += more


def _plain(value):
    """Text without what differs from run to run: made-up names, times, the order within tables; and without the headers
    that only newer RabbitMQs than the one asked add to dead letters."""
    value = _sorted(value)
    text = value if isinstance(value, str) else repr(value)
    text = re.sub(r"amq\.gen-[\w-]+", "amq.gen-*", text)
    text = re.sub(r"amq\.ctag-[\w-]+", "amq.ctag-*", text)
    text = re.sub(r"amq\.rabbitmq\.reply-to\.[\w+/=.-]+", "amq.rabbitmq.reply-to.*", text)
    return re.sub(r"'time': 'T:\d+'", "'time': *", text)


def _sorted(value):
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value) if not key.startswith("x-last-death-")}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
