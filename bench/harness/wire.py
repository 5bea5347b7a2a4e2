"""Just enough of AMQP 0-9-1 and of Kafka's protocol to greet a broker, hold connections and declare queues.

Load is never made here: that is `bowline bench`, the same client for all.
"""

import socket
import struct

PATIENCE_SECONDS = 30


def _exactly(sock, count):
    data = bytearray()
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ConnectionError("closed by the broker")
        data += part
    return bytes(data)


def _connect(port):
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Amqp:
    """One connection. The steps of the handshake are apart, so that many can be taken in parallel."""

    CONNECTION_START, CONNECTION_TUNE, CONNECTION_OPEN_OK = (10, 10), (10, 30), (10, 41)
    CHANNEL_OPEN_OK, QUEUE_DECLARE_OK = (20, 11), (50, 11)
    BASIC_GET_OK, BASIC_GET_EMPTY = (60, 71), (60, 72)

    def __init__(self, port):
        self.sock = _connect(port)
        self.sock.sendall(b"AMQP\0\0\x09\x01")

    @classmethod
    def open(cls, port):
        amqp = cls(port)
        amqp.answer_start()
        amqp.answer_tune()
        amqp.await_open()
        return amqp

    def answer_start(self):
        self._expect(self.CONNECTION_START)
        self._send(0, 10, 11, struct.pack(">L", 0) + _short(b"PLAIN") + _long(b"\0guest\0guest") + _short(b"en_US"))

    def answer_tune(self):
        limits = self._expect(self.CONNECTION_TUNE)
        self._send(0, 10, 31, limits[:6] + struct.pack(">H", 0))  # no heartbeats: the connection is to idle
        self._send(0, 10, 40, _short(b"/") + _short(b"") + b"\0")

    def await_open(self):
        self._expect(self.CONNECTION_OPEN_OK)

    def open_channel(self):
        self._send(1, 20, 10, _short(b""))
        self._expect(self.CHANNEL_OPEN_OK)

    def declare(self, name, passive=False):
        """Declares a durable queue; returns the messages that are ready in it."""
        flags = 0b01 if passive else 0b10
        self._send(1, 50, 10, b"\0\0" + _short(name.encode()) + bytes([flags]) + struct.pack(">L", 0))
        answer = self._expect(self.QUEUE_DECLARE_OK)
        return struct.unpack_from(">L", answer, 1 + answer[0])[0]

    def get(self, name):
        """Whether the queue gives a message; it is not acknowledged."""
        self._send(1, 60, 70, b"\0\0" + _short(name.encode()) + b"\0")
        return self._expect(self.BASIC_GET_OK, self.BASIC_GET_EMPTY, which=True) == self.BASIC_GET_OK

    def close(self):
        self.sock.close()

    def _send(self, channel, klass, method, arguments):
        payload = struct.pack(">HH", klass, method) + arguments
        self.sock.sendall(struct.pack(">BHL", 1, channel, len(payload)) + payload + b"\xce")

    def _expect(self, *methods, which=False):
        """Arguments of the next method frame, which must be one of these (or which of them it is)."""
        while True:
            kind, _, size = struct.unpack(">BHL", _exactly(self.sock, 7))
            payload = _exactly(self.sock, size + 1)[:-1]
            if kind == 1:
                break
        got = struct.unpack_from(">HH", payload)
        if got not in methods:
            raise ConnectionError(f"method {got}, not {methods}: {payload[4:200]!r}")
        return got if which else payload[4:]


class Kafka:
    """One connection."""

    API_VERSIONS, METADATA = 18, 3

    def __init__(self, port):
        self.sock = _connect(port)

    @classmethod
    def open(cls, port):
        kafka = cls(port)
        kafka.ask_versions()
        kafka.await_answer()
        return kafka

    def ask_versions(self):
        self._send(self.API_VERSIONS, 0, b"")

    def await_answer(self):
        (size,) = struct.unpack(">l", _exactly(self.sock, 4))
        return _exactly(self.sock, size)[4:]

    def brokers(self):
        """How many brokers the metadata name: none while the broker is still starting."""
        self._send(self.METADATA, 4, struct.pack(">l", 0) + b"\0")
        return struct.unpack_from(">l", self.await_answer(), 4)[0]

    def close(self):
        self.sock.close()

    def _send(self, key, version, body):
        request = struct.pack(">hhlh", key, version, 1, 7) + b"compare" + body
        self.sock.sendall(struct.pack(">l", len(request)) + request)


def _short(text):
    return bytes([len(text)]) + text


def _long(text):
    return struct.pack(">L", len(text)) + text
