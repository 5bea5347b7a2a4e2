"""The Kafka protocol by hand: for sending what no client library would send."""

import socket
import struct
import time

PRODUCE, FETCH, LIST_OFFSETS, METADATA, JOIN_GROUP, HEARTBEAT = 0, 1, 2, 3, 11, 12
SASL_HANDSHAKE, API_VERSIONS, CREATE_TOPICS, INIT_PRODUCER_ID = 17, 18, 19, 22


def int8(n):
    return struct.pack(">b", n)


def int16(n):
    return struct.pack(">h", n)


def int32(n):
    return struct.pack(">i", n)


def int64(n):
    return struct.pack(">q", n)


def string(text):
    return int16(-1) if text is None else int16(len(text.encode())) + text.encode()


def octets(raw):
    return int32(-1) if raw is None else int32(len(raw)) + raw


def array(items):
    return int32(-1) if items is None else int32(len(items)) + b"".join(items)


def uvarint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def varint(n):
    return uvarint((n << 1) ^ (n >> 63) if n < 0 else n << 1)


def compact(text):
    return uvarint(len(text) + 1) + text.encode()


def framed(raw):
    return int32(len(raw)) + raw


def header(key, version, correlation, client="raw", flexible=False):
    return int16(key) + int16(version) + int32(correlation) + string(client) + (b"\0" if flexible else b"")


CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def record(value, offset_delta=0, key=None):
    def field(raw):
        return varint(-1) if raw is None else varint(len(raw)) + raw

    content = b"\0" + varint(0) + varint(offset_delta) + field(key) + field(value) + varint(0)
    return varint(len(content)) + content


def batch(values=(b"v",), magic=2, attributes=0, count=None, last_delta=None, producer=(-1, -1, -1), body=None,
          crc=None, length=None, timestamp=None):
    """A record batch; every part of it can be wrong."""
    if body is None:
        body = b"".join(record(value, i) for i, value in enumerate(values))
    count = len(values) if count is None else count
    last_delta = count - 1 if last_delta is None else last_delta
    timestamp = int(time.time() * 1000) if timestamp is None else timestamp
    tail = (int16(attributes) + int32(last_delta) + int64(timestamp) + int64(timestamp)
            + int64(producer[0]) + int16(producer[1]) + int32(producer[2]) + int32(count) + body)
    crc = crc32c(tail) if crc is None else crc
    rest = int32(-1) + int8(magic) + struct.pack(">I", crc) + tail
    return int64(0) + int32(len(rest) if length is None else length) + rest


def message_set(value, magic):
    """The formats of old: magic 0 and 1."""
    import zlib

    content = int8(magic) + int8(0) + (int64(int(time.time() * 1000)) if magic else b"") + octets(None) + octets(value)
    message = struct.pack(">I", zlib.crc32(content)) + content
    return int64(0) + int32(len(message)) + message


class Raw:
    """A socket to the broker, speaking requests and responses."""

    def __init__(self, broker):
        host, port = broker.kafka.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), 20)
        self.correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, raw):
        try:
            self.socket.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self, n):
        got = b""
        while len(got) < n:
            try:
                more = self.socket.recv(n - len(got))
            except ConnectionResetError:
                more = b""
            if not more:
                return None
            got += more
        return got

    def response(self):
        """(correlation id, body) of the next response, or None if the server closed."""
        size = self.receive(4)
        if size is None:
            return None
        raw = self.receive(struct.unpack(">i", size)[0])
        return None if raw is None else (struct.unpack(">i", raw[:4])[0], raw[4:])

    def request(self, key, version, body, flexible=False):
        """Sends a request; the response's body, or None if the server closed."""
        self.correlation += 1
        self.send(framed(header(key, version, self.correlation, flexible=flexible) + body))
        answer = self.response()
        if answer is None:
            return None
        assert answer[0] == self.correlation
        return answer[1]

    def create(self, topic, partitions=1):
        """Creates a topic and waits until it is led."""
        body = array([string(topic) + int32(partitions) + int16(1) + array([]) + array([])]) + int32(10_000) + b"\0"
        self.request(CREATE_TOPICS, 2, body)
        end = time.monotonic() + 10
        while self.produce_error(topic, batch()) != 0:
            assert time.monotonic() < end, "the topic did not come"

    def produce(self, topic, records, acks=-1, partition=0, version=3):
        body = string(None) + int16(acks) + int32(10_000) + array([
            string(topic) + array([int32(partition) + octets(records)])])
        return self.request(PRODUCE, version, body)

    def produce_error(self, topic, records, **more):
        """The error code, or None if the server closed."""
        answer = self.produce(topic, records, **more)
        if answer is None:
            return None
        at = 4 + 2 + len(topic.encode()) + 4 + 4
        return struct.unpack(">h", answer[at : at + 2])[0]

    def is_closed(self, timeout=20):
        end = time.monotonic() + timeout
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
