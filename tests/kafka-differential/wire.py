"""Kafka's messages in every version, read from the schema: values to bytes and back, with nothing guessed.

The schema is the one from which the broker's own codec is generated; this reading of it is independent of that code.
A message is a dictionary. A field that is not given has its default; one that the version does not have is left out.
"""

import json
import pathlib
import struct
import uuid

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "crates/codec-kafka/schema/kafka.json"
API_VERSIONS = 18
NUMBERS = {"bool": ">?", "int8": ">b", "int16": ">h", "int32": ">i", "int64": ">q", "uint16": ">H", "uint32": ">I",
           "float64": ">d"}
BYTES = ("bytes", "records")
NO_ID = str(uuid.UUID(int=0))


class Field:
    """`name type versions`, then what follows in any order; see `about` in the schema."""

    def __init__(self, line):
        self.name, kind, versions, *more = line.split()
        self.array, self.kind = kind.startswith("[]"), kind.removeprefix("[]")
        self.versions = _range(versions)
        options = dict(part.split("=", 1) if "=" in part else (part, "") for part in more)
        self.nullable = _range(options["null"]) if "null" in options else None
        self.tag, self.tagged = None, None
        if "tag" in options:
            tag, tagged = options["tag"].split("/")
            self.tag, self.tagged = int(tag), _range(tagged)
        self.default, self.never_flexible = options.get("default"), options.get("flexible") == "none"

    def is_tagged(self, version):
        return self.tag is not None and version in self.tagged

    def default_value(self, structs, version):
        if self.default == "null":
            return None
        if self.array:
            return []
        if self.kind in structs:
            return {field.name: field.default_value(structs, version) for field in structs[self.kind]
                    if version in field.versions}
        if self.kind == "bool":
            return self.default == "true"
        if self.kind in NUMBERS:
            return float(self.default or 0) if self.kind == "float64" else int(self.default or "0", 0)
        if self.kind == "uuid":
            return NO_ID
        return b"" if self.kind in BYTES else self.default or ""


class Message:
    def __init__(self, raw):
        self.name, self.key = raw["name"], raw.get("key")
        self.versions, self.flexible = _range(raw["versions"]), raw["flexible"]
        self.fields = [Field(line) for line in raw["fields"]]
        self.structs = {one["name"]: [Field(line) for line in one["fields"]] for one in raw.get("structs", [])}

    def is_flexible(self, version):
        return self.flexible is not None and version >= self.flexible

    def encode(self, value, version):
        return _Writer(self, version).fields(self.fields, value)

    def decode(self, data, version):
        """(value, octets that were left over)"""
        reader = _Reader(self, version, data)
        return reader.fields(self.fields), len(data) - reader.at


def _range(text):
    if text == "none":
        return range(0)
    low, _, high = text.rstrip("+").partition("-")
    return range(int(low), 32768 if text.endswith("+") else int(high or low) + 1)


MESSAGES = {raw["name"]: Message(raw) for raw in json.loads(SCHEMA.read_text())["messages"]}
REQUESTS = {name.removesuffix("Request"): it for name, it in MESSAGES.items() if name.endswith("Request")}
RESPONSES = {name.removesuffix("Response"): it for name, it in MESSAGES.items() if name.endswith("Response")}


def request(api, version, correlation, body, client="differential", cut=0):
    message = REQUESTS[api]
    flexible = message.is_flexible(version)
    head = struct.pack(">hhih", message.key, version, correlation, len(client)) + client.encode()
    raw = head + (b"\0" if flexible else b"") + message.encode(body, version)
    raw = raw[:-cut] if cut > 0 else raw + bytes(-cut)
    return struct.pack(">i", len(raw)) + raw


def response(api, version, raw):
    """(correlation id, value, octets that were left over) of a frame without its size."""
    message, at = RESPONSES[api], 4
    if message.is_flexible(version) and message.key != API_VERSIONS:
        assert raw[4] == 0, "tags in a response header"
        at = 5
    value, left = message.decode(raw[at:], version)
    return struct.unpack(">i", raw[:4])[0], value, left


class _Writer:
    def __init__(self, message, version):
        self.structs, self.version, self.flexible = message.structs, version, message.is_flexible(version)

    def fields(self, fields, value):
        unknown = set(value) - {field.name for field in fields}
        assert not unknown, f"no field {unknown}"
        out, tags = bytearray(), []
        for field in fields:
            if self.version not in field.versions:
                continue
            given = value.get(field.name, field.default_value(self.structs, self.version))
            if field.is_tagged(self.version):
                if field.name in value:
                    tags.append((field.tag, self.field(field, given)))
            else:
                out += self.field(field, given)
        if self.flexible:
            out += _uvarint(len(tags))
            for tag, data in tags:
                out += _uvarint(tag) + _uvarint(len(data)) + data
        return bytes(out)

    def field(self, field, value):
        flexible = self.flexible and not field.never_flexible
        if not field.array:
            if field.kind in self.structs and field.nullable and self.version in field.nullable:
                return b"\xff" if value is None else b"\1" + self.value(field.kind, value, flexible)
            return self.value(field.kind, value, flexible)
        if value is None:
            return b"\0" if flexible else struct.pack(">i", -1)
        count = _uvarint(len(value) + 1) if flexible else struct.pack(">i", len(value))
        return count + b"".join(self.value(field.kind, item, flexible) for item in value)

    def value(self, kind, value, flexible):
        if kind in NUMBERS:
            return struct.pack(NUMBERS[kind], value)
        if kind == "uuid":
            return uuid.UUID(value).bytes
        if kind in self.structs:
            return self.fields(self.structs[kind], value)
        raw = value.encode() if isinstance(value, str) else value
        if flexible:
            return b"\0" if raw is None else _uvarint(len(raw) + 1) + raw
        size = ">i" if kind in BYTES else ">h"
        return struct.pack(size, -1) if raw is None else struct.pack(size, len(raw)) + raw


class _Reader:
    def __init__(self, message, version, data):
        self.structs, self.version, self.flexible = message.structs, version, message.is_flexible(version)
        self.data, self.at = data, 0

    def fields(self, fields):
        value, tagged = {}, {}
        for field in fields:
            if self.version not in field.versions:
                continue
            if field.is_tagged(self.version):
                tagged[field.tag] = field
                value[field.name] = field.default_value(self.structs, self.version)
            else:
                value[field.name] = self.field(field)
        if self.flexible:
            for _ in range(self.uvarint()):
                tag, size = self.uvarint(), self.uvarint()
                end = self.at + size
                if tag in tagged:
                    value[tagged[tag].name] = self.field(tagged[tag])
                    assert self.at == end, f"tag {tag} has the wrong size"
                else:
                    value[f"tag {tag}"], self.at = self.data[self.at:end].hex(), end
        return value

    def field(self, field):
        flexible = self.flexible and not field.never_flexible
        if not field.array:
            if field.kind in self.structs and field.nullable and self.version in field.nullable:
                return None if self.number("int8") < 0 else self.value(field.kind, flexible)
            return self.value(field.kind, flexible)
        count = self.uvarint() - 1 if flexible else self.number("int32")
        return None if count < 0 else [self.value(field.kind, flexible) for _ in range(count)]

    def value(self, kind, flexible):
        if kind in NUMBERS:
            return self.number(kind)
        if kind == "uuid":
            return str(uuid.UUID(bytes=self.take(16)))
        if kind in self.structs:
            return self.fields(self.structs[kind])
        size = self.uvarint() - 1 if flexible else self.number("int32" if kind in BYTES else "int16")
        if size < 0:
            return None
        raw = self.take(size)
        return raw if kind in BYTES else raw.decode()

    def number(self, kind):
        shape = NUMBERS[kind]
        return struct.unpack(shape, self.take(struct.calcsize(shape)))[0]

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError("the answer ends in the middle of a field")
        self.at += count
        return self.data[self.at - count:self.at]

    def uvarint(self):
        value = shift = 0
        while True:
            (octet,) = self.take(1)
            value |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                return value


def _uvarint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
