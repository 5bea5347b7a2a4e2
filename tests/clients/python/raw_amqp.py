"""AMQP 0-9-1 by hand: for sending what no client library would send."""

import socket
import struct
import time

HEADER = b"AMQP\x00\x00\x09\x01"
METHOD, CONTENT_HEADER, BODY, HEARTBEAT = 1, 2, 3, 8


def short(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return bytes([len(raw)]) + raw


def long(raw):
    return struct.pack(">I", len(raw)) + raw


# Types of table fields that plain Python values do not stand for are said as (letter, value).
NUMBERS = {"b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">Q", "f": ">f", "d": ">d", "T": ">Q"}
TYPE_NAMES = {"b": "byte", "B": "unsignedbyte", "s": "short", "u": "unsignedshort", "I": "signedint", "i": "unsignedint", "l": "long",
              "L": "long", "f": "float", "d": "double", "T": "timestamp", "D": "decimal", "t": "bool", "V": "void", "S": "longstr",
              "x": "binary", "A": "array", "F": "table"}


def letter(value):
    """The type that a value is sent with."""
    if isinstance(value, tuple):
        return value[0]
    if isinstance(value, bool):
        return "t"
    if isinstance(value, int):
        return "I" if -(1 << 31) <= value < 1 << 31 else "l"
    return {float: "d", str: "S", bytes: "x", dict: "F", list: "A", type(None): "V"}[type(value)]


def field(value):
    kind, value = letter(value), value[1] if isinstance(value, tuple) else value
    if kind in NUMBERS:
        raw = struct.pack(NUMBERS[kind], value)
    elif kind == "D":
        raw = struct.pack(">BI", *value)
    elif kind == "t":
        raw = bytes([value])
    elif kind == "V":
        raw = b""
    elif kind == "F":
        raw = long(table(value))
    elif kind == "A":
        raw = long(b"".join(map(field, value)))
    else:
        raw = long(value if isinstance(value, bytes) else value.encode())
    return kind.encode() + raw


def table(fields):
    """A field table without its length."""
    return b"".join(short(name) + field(value) for name, value in fields.items())


def frame(kind, channel, payload, end=b"\xce"):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def method(channel, class_id, method_id, arguments=b""):
    return frame(METHOD, channel, struct.pack(">HH", class_id, method_id) + arguments)


def content_header(channel, size, flags=0, properties=b"", class_id=60, weight=0):
    return frame(CONTENT_HEADER, channel, struct.pack(">HHQH", class_id, weight, size, flags) + properties)


def body(channel, payload):
    return frame(BODY, channel, payload)


def start_ok(mechanism="PLAIN", response=b"\0guest\0guest", properties=b"", locale="en_US"):
    return method(0, 10, 11, long(properties) + short(mechanism) + long(response) + short(locale))


# Tells the server that we understand a connection.close after a failed login.
CAPABILITIES = short("capabilities") + b"F" + long(short("authentication_failure_close") + b"t\x01")


def tune_ok(channel_max=2047, frame_max=131072, heartbeat=0):
    return method(0, 10, 31, struct.pack(">HIH", channel_max, frame_max, heartbeat))


def open_vhost(vhost="/"):
    return method(0, 10, 40, short(vhost) + b"\x00\x00")


def open_channel(channel):
    return method(channel, 20, 10, b"\x00")


def declare(channel, queue, flags=0, arguments=b""):
    return method(channel, 50, 10, b"\x00\x00" + short(queue) + bytes([flags]) + long(arguments))


def publish(channel, exchange, key, flags=0):
    return method(channel, 60, 40, b"\x00\x00" + short(exchange) + short(key) + bytes([flags]))


def consume(channel, queue, tag="", flags=0, arguments=b""):
    return method(channel, 60, 20, b"\x00\x00" + short(queue) + short(tag) + bytes([flags]) + long(arguments))


def bind(channel, queue, exchange, key="", arguments=b""):
    return method(channel, 50, 20, b"\x00\x00" + short(queue) + short(exchange) + short(key) + b"\x00" + long(arguments))


def declare_exchange(channel, exchange, kind, flags=0, arguments=b""):
    return method(channel, 40, 10, b"\x00\x00" + short(exchange) + short(kind) + bytes([flags]) + long(arguments))


def get(channel, queue, no_ack=True):
    return method(channel, 60, 70, b"\x00\x00" + short(queue) + bytes([no_ack]))


def with_headers(channel, headers, body_size=0):
    """A content header with nothing but message headers."""
    return content_header(channel, body_size, 0x2000, long(table(headers)))


def qos(channel, prefetch):
    return method(channel, 60, 10, struct.pack(">IHB", 0, prefetch, 0))


class Raw:
    """A socket to the broker, speaking frames."""

    def __init__(self, broker, receive_buffer=None):
        self.broker, self.socket = broker, socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect((broker.host, broker.amqp_port))
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *pieces):
        try:
            self.socket.sendall(b"".join(pieces))
        except (BrokenPipeError, ConnectionResetError):
            pass  # What the server said before it closed can still be read.

    def receive(self, n):
        """n octets, or fewer if the server closed."""
        while len(self.buffer) < n:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                break
            self.buffer += more
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def frame(self):
        """The next frame that is not a heartbeat, as (kind, channel, payload), or None if the server closed."""
        while True:
            head = self.receive(7)
            if len(head) < 7:
                return None
            kind, channel, size = struct.unpack(">BHI", head)
            payload = self.receive(size + 1)
            if len(payload) < size + 1:
                return None
            assert payload[-1:] == b"\xce"
            if kind != HEARTBEAT:
                return kind, channel, payload[:-1]

    def expect(self, class_id, method_id, channel=None):
        """The arguments of the next method, which must be that one."""
        got = self.frame()
        assert got is not None, f"closed while {class_id}.{method_id} was expected"
        kind, on, payload = got
        assert kind == METHOD and struct.unpack(">HH", payload[:4]) == (class_id, method_id), got
        assert channel is None or on == channel
        return payload[4:]

    def handshake(self, **tuning):
        self.send(HEADER)
        self.expect(10, 10)
        self.send(start_ok())
        self.expect(10, 30)
        self.send(tune_ok(**tuning), open_vhost())
        self.expect(10, 41)
        return self

    def channel(self, number=1):
        self.send(open_channel(number))
        self.expect(20, 11, number)
        return self

    def error(self):
        """Reads until the server closes a channel or the connection: (level, code, text). ("closed", 0, "") if it
        ends without a word. Answers a connection.close and sees that the socket is closed then."""
        while True:
            got = self.frame()
            if got is None:
                return "closed", 0, ""
            kind, channel, payload = got
            if kind != METHOD:
                continue
            ids = struct.unpack(">HH", payload[:4])
            if ids in ((10, 50), (20, 40)):
                (code,) = struct.unpack(">H", payload[4:6])
                text = payload[7 : 7 + payload[6]].decode()
                if ids == (20, 40):
                    assert channel != 0
                    self.send(method(channel, 20, 41))
                    return "channel", code, text
                assert channel == 0
                self.send(method(0, 10, 51))
                assert self.is_closed()
                return "connection", code, text

    def is_closed(self, timeout=20):
        """Whether the server closes within that time; reads and drops whatever still comes."""
        end = time.monotonic() + timeout
        self.buffer = b""
        while time.monotonic() < end:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                if not self.socket.recv(65536):
                    return True
            except (ConnectionResetError, BrokenPipeError):
                return True
            except TimeoutError:
                return False
        return False
