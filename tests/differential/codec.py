"""AMQP 0-9-1 frames, methods, properties and tables: values to bytes and back, with nothing guessed.

A table's value carries its type, as (type octet, value), because brokers answer for types: ("I", 5) is not ("l", 5).
Plain Python values stand for the usual types. What is decoded is text that can be compared: "I:5".
"""

import struct

HEADER = b"AMQP\x00\x00\x09\x01"
METHOD, CONTENT_HEADER, BODY, HEARTBEAT = 1, 2, 3, 8

# Field types: o octet, h u16, l u32, q u64, s short string, S long string, T table, b bit.
_METHODS = """
10.10 connection.start version-major:o version-minor:o server-properties:T mechanisms:S locales:S
10.11 connection.start-ok client-properties:T mechanism:s response:S locale:s
10.30 connection.tune channel-max:h frame-max:l heartbeat:h
10.31 connection.tune-ok channel-max:h frame-max:l heartbeat:h
10.40 connection.open virtual-host:s reserved-1:s reserved-2:b
10.41 connection.open-ok reserved-1:s
10.50 connection.close reply-code:h reply-text:s class-id:h method-id:h
10.51 connection.close-ok
10.60 connection.blocked reason:s
10.61 connection.unblocked
10.70 connection.update-secret new-secret:S reason:s
10.71 connection.update-secret-ok
20.10 channel.open reserved-1:s
20.11 channel.open-ok reserved-1:S
20.20 channel.flow active:b
20.21 channel.flow-ok active:b
20.40 channel.close reply-code:h reply-text:s class-id:h method-id:h
20.41 channel.close-ok
30.10 access.request realm:s exclusive:b passive:b active:b write:b read:b
30.11 access.request-ok ticket:h
40.10 exchange.declare ticket:h exchange:s type:s passive:b durable:b auto-delete:b internal:b no-wait:b arguments:T
40.11 exchange.declare-ok
40.20 exchange.delete ticket:h exchange:s if-unused:b no-wait:b
40.21 exchange.delete-ok
40.30 exchange.bind ticket:h destination:s source:s routing-key:s no-wait:b arguments:T
40.31 exchange.bind-ok
40.40 exchange.unbind ticket:h destination:s source:s routing-key:s no-wait:b arguments:T
40.51 exchange.unbind-ok
50.10 queue.declare ticket:h queue:s passive:b durable:b exclusive:b auto-delete:b no-wait:b arguments:T
50.11 queue.declare-ok queue:s message-count:l consumer-count:l
50.20 queue.bind ticket:h queue:s exchange:s routing-key:s no-wait:b arguments:T
50.21 queue.bind-ok
50.30 queue.purge ticket:h queue:s no-wait:b
50.31 queue.purge-ok message-count:l
50.40 queue.delete ticket:h queue:s if-unused:b if-empty:b no-wait:b
50.41 queue.delete-ok message-count:l
50.50 queue.unbind ticket:h queue:s exchange:s routing-key:s arguments:T
50.51 queue.unbind-ok
60.10 basic.qos prefetch-size:l prefetch-count:h global:b
60.11 basic.qos-ok
60.20 basic.consume ticket:h queue:s consumer-tag:s no-local:b no-ack:b exclusive:b no-wait:b arguments:T
60.21 basic.consume-ok consumer-tag:s
60.30 basic.cancel consumer-tag:s no-wait:b
60.31 basic.cancel-ok consumer-tag:s
60.40 basic.publish ticket:h exchange:s routing-key:s mandatory:b immediate:b
60.50 basic.return reply-code:h reply-text:s exchange:s routing-key:s
60.60 basic.deliver consumer-tag:s delivery-tag:q redelivered:b exchange:s routing-key:s
60.70 basic.get ticket:h queue:s no-ack:b
60.71 basic.get-ok delivery-tag:q redelivered:b exchange:s routing-key:s message-count:l
60.72 basic.get-empty reserved-1:s
60.80 basic.ack delivery-tag:q multiple:b
60.90 basic.reject delivery-tag:q requeue:b
60.100 basic.recover-async requeue:b
60.110 basic.recover requeue:b
60.111 basic.recover-ok
60.120 basic.nack delivery-tag:q multiple:b requeue:b
85.10 confirm.select no-wait:b
85.11 confirm.select-ok
90.10 tx.select
90.11 tx.select-ok
90.20 tx.commit
90.21 tx.commit-ok
90.30 tx.rollback
90.31 tx.rollback-ok
"""

BY_NAME, BY_ID = {}, {}
for _line in _METHODS.split("\n"):
    if _line:
        _ids, _name, *_fields = _line.split()
        _id = tuple(int(part) for part in _ids.split("."))
        _shape = [tuple(field.split(":")) for field in _fields]
        BY_NAME[_name] = (_id, _shape)
        BY_ID[_id] = (_name, _shape)

PROPERTIES = [("content-type", "s"), ("content-encoding", "s"), ("headers", "T"), ("delivery-mode", "o"),
              ("priority", "o"), ("correlation-id", "s"), ("reply-to", "s"), ("expiration", "s"), ("message-id", "s"),
              ("timestamp", "q"), ("type", "s"), ("user-id", "s"), ("app-id", "s"), ("cluster-id", "s")]

_NUMBERS = {"o": ">B", "h": ">H", "l": ">I", "q": ">Q"}
_TABLE_NUMBERS = {"b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">q", "f": ">f",
                  "d": ">d", "T": ">Q"}


def frame(kind, channel, payload):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(channel, name, **arguments):
    """A method's frame; what is not given is zero, empty or false. Underscores stand for hyphens."""
    (class_id, method_id), shape = BY_NAME[name]
    given = {key.replace("_", "-"): value for key, value in arguments.items()}
    unknown = set(given) - {field for field, _ in shape}
    assert not unknown, f"{name} has no {unknown}"
    out, bits = bytearray(struct.pack(">HH", class_id, method_id)), []
    for field, kind in shape:
        if kind == "b":
            bits.append(bool(given.get(field)))
            continue
        _put_bits(out, bits)
        out += _put(kind, given.get(field))
    _put_bits(out, bits)
    return frame(METHOD, channel, bytes(out))


def content(channel, properties, body, frame_max=131072):
    flags, out = 0, bytearray()
    for index, (field, kind) in enumerate(PROPERTIES):
        if field in properties:
            flags |= 1 << (15 - index)
            out += _put(kind, properties[field])
    header = frame(CONTENT_HEADER, channel, struct.pack(">HHQH", 60, 0, len(body), flags) + bytes(out))
    step = frame_max - 8
    return header + b"".join(frame(BODY, channel, body[at:at + step]) for at in range(0, len(body), step))


def decode_method(payload):
    """(name, {field: value})"""
    name, shape = BY_ID[struct.unpack(">HH", payload[:4])]
    at, bit, fields = 4, 0, {}
    for field, kind in shape:
        if kind == "b":
            if bit == 8:
                at, bit = at + 1, 0
            fields[field] = bool(payload[at] >> bit & 1)
            bit += 1
            continue
        if bit:
            at, bit = at + 1, 0
        fields[field], at = _take(kind, payload, at)
    return name, fields


def decode_header(payload):
    """(body size, {property: value})"""
    size, flags = struct.unpack(">QH", payload[4:14])
    at, found = 14, {}
    for index, (field, kind) in enumerate(PROPERTIES):
        if flags >> (15 - index) & 1:
            found[field], at = _take(kind, payload, at)
    return size, found


def _put_bits(out, bits):
    for at in range(0, len(bits), 8):
        out.append(sum(bit << i for i, bit in enumerate(bits[at:at + 8])))
    bits.clear()


def _put(kind, value):
    if kind in _NUMBERS:
        return struct.pack(_NUMBERS[kind], value or 0)
    if kind == "T":
        table = b"".join(_short(name) + _put_value(field) for name, field in (value or {}).items())
        return struct.pack(">I", len(table)) + table
    raw = value if isinstance(value, bytes) else (value or "").encode()
    return _short(raw) if kind == "s" else struct.pack(">I", len(raw)) + raw


def _short(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return bytes([len(raw)]) + raw


def _put_value(value):
    kind, value = value if isinstance(value, tuple) else (_usual_type(value), value)
    tag = kind.encode()
    if kind in _TABLE_NUMBERS:
        return tag + struct.pack(_TABLE_NUMBERS[kind], value)
    if kind == "V":
        return tag
    if kind == "t":
        return tag + bytes([value])
    if kind == "F":
        return tag + _put("T", value)
    if kind == "A":
        items = b"".join(_put_value(item) for item in value)
        return tag + struct.pack(">I", len(items)) + items
    return tag + _put("S", value)


def _usual_type(value):
    for python, kind in ((bool, "t"), (int, "I"), (str, "S"), (bytes, "x"), (float, "d"), (dict, "F"), (list, "A")):
        if isinstance(value, python):
            return kind
    return "V"


def _take(kind, payload, at):
    if kind in _NUMBERS:
        size = struct.calcsize(_NUMBERS[kind])
        return struct.unpack(_NUMBERS[kind], payload[at:at + size])[0], at + size
    if kind == "s":
        end = at + 1 + payload[at]
        return payload[at + 1:end].decode(errors="replace"), end
    (size,) = struct.unpack(">I", payload[at:at + 4])
    end = at + 4 + size
    if kind == "S":
        return payload[at + 4:end].decode(errors="replace"), end
    at, table = at + 4, {}
    while at < end:
        name, at = _take("s", payload, at)
        table[name], at = _take_value(payload, at)
    return table, end


def _take_value(payload, at):
    kind, at = chr(payload[at]), at + 1
    if kind in _TABLE_NUMBERS:
        size = struct.calcsize(_TABLE_NUMBERS[kind])
        return f"{kind}:{struct.unpack(_TABLE_NUMBERS[kind], payload[at:at + size])[0]}", at + size
    if kind == "V":
        return "V", at
    if kind == "t":
        return f"t:{bool(payload[at])}", at + 1
    if kind == "D":
        return f"D:{payload[at:at + 5].hex()}", at + 5
    if kind == "F":
        return _take("T", payload, at)
    if kind == "A":
        (size,) = struct.unpack(">I", payload[at:at + 4])
        end, at, items = at + 4 + size, at + 4, []
        while at < end:
            item, at = _take_value(payload, at)
            items.append(item)
        return items, end
    text, at = _take("S", payload, at)
    return f"{kind}:{text}", at
