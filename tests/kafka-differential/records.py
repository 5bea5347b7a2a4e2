"""Record batches (format 2), every part of which can be wrong, and the formats before; and what is in batches that come back."""

import gzip
import pathlib
import struct
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients/python"))

from raw_kafka import crc32c, int16, int32, int64, uvarint, varint  # noqa: E402

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TRANSACTIONAL, CONTROL = 0x10, 0x20


class Batch:
    """A batch to come: what refers to answers (a producer's id) is filled in when it is sent. Times are the
    conversation's: `time` of the first record, one millisecond more for each of the others."""

    def __init__(self, *values, time=0, codec="none", producer=(-1, -1, -1), keys=None, attributes=0, **wrong):
        self.values, self.time, self.codec, self.producer = values, time, codec, producer
        self.keys, self.attributes, self.wrong = keys, attributes, wrong

    def __repr__(self):
        parts = [f"{len(self.values)} records" if len(repr(self.values)) > 60 else repr(list(self.values))]
        parts += [f"codec={self.codec}"] if self.codec != "none" else []
        parts += [f"producer={self.producer}"] if self.producer[0] != -1 else []
        parts += [f"keys={self.keys}"] if self.keys is not None else []
        parts += [f"attributes={self.attributes:#x}"] if self.attributes else []
        parts += [f"{name}={value!r}" for name, value in self.wrong.items() if name != "raw"]
        return f"Batch({', '.join(parts)})"

    def octets(self, resolve, clock):
        """`clock`: what time 0 is, in ms since 1970."""
        it, wrong = self, self.wrong
        producer = [resolve(part) for part in it.producer]
        keys = it.keys if it.keys is not None else [None] * len(it.values)
        body = b"".join(record(value, index, keys[index], index) for index, value in enumerate(it.values))
        # `raw`: records as they are before they are compressed; `what` says what is wrong with them.
        body = wrong.get("body", compress(it.codec, wrong.get("raw", body)))
        count = wrong.get("count", len(it.values))
        last = wrong.get("last_delta", count - 1)
        first_time = clock + it.time
        tail = (int16(it.attributes | CODECS[it.codec]) + int32(last) + int64(first_time)
                + int64(wrong.get("max_time", first_time + max(0, len(it.values) - 1)))
                + int64(producer[0]) + int16(producer[1]) + int32(producer[2]) + int32(count) + body)
        rest = int32(wrong.get("leader_epoch", -1)) + bytes([wrong.get("magic", 2)])
        rest += struct.pack(">I", wrong.get("crc", crc32c(tail))) + tail
        raw = int64(wrong.get("base_offset", 0)) + int32(wrong.get("length", len(rest))) + rest
        raw += wrong.get("behind", b"")
        return raw[:len(raw) + wrong["cut"]] if "cut" in wrong else raw


class Row:
    """Several batches as the records of one partition."""

    def __init__(self, *batches):
        self.batches = batches

    def __repr__(self):
        return f"Row{self.batches}"

    def octets(self, resolve, clock):
        return b"".join(batch.octets(resolve, clock) for batch in self.batches)


class MessageSet:
    """Messages of format 0 or 1, each for itself or all within a compressed one."""

    def __init__(self, *values, magic=1, codec="none", time=0, crc=None):
        self.values, self.magic, self.codec, self.time, self.crc = values, magic, codec, time, crc

    def __repr__(self):
        wrong = "" if self.crc is None else f", crc={self.crc}"
        return f"MessageSet({list(self.values)}, magic={self.magic}, codec={self.codec}{wrong})"

    def octets(self, resolve, clock):
        inner = b"".join(self._message(index, value, 0, clock) for index, value in enumerate(self.values))
        if self.codec == "none":
            return inner
        return self._message(len(self.values) - 1, compress(self.codec, inner), CODECS[self.codec], clock)

    def _message(self, offset, value, attributes, clock):
        content = bytes([self.magic, attributes]) + (int64(clock + self.time) if self.magic else b"")
        content += int32(-1) + int32(len(value)) + value
        content = struct.pack(">I", zlib.crc32(content) if self.crc is None else self.crc) + content
        return int64(offset) + int32(len(content)) + content


def rough(value=b"v", size=None, attributes=0, time=0, offset=0, key=-1, value_size=None, headers=0, tail=b""):
    """A record of a batch's body, every number of which can be wrong."""
    value_size = len(value) if value_size is None else value_size
    content = bytes([attributes]) + varint(time) + varint(offset) + varint(key) + varint(value_size) + value
    content += varint(headers) + tail
    return varint(len(content) if size is None else size) + content


def record(value, offset_delta=0, key=None, time_delta=0, headers=()):
    def field(raw):
        return varint(-1) if raw is None else varint(len(raw)) + raw

    content = b"\0" + varint(time_delta) + varint(offset_delta) + field(key) + field(value) + varint(len(headers))
    content += b"".join(field(name) + field(worth) for name, worth in headers)
    return varint(len(content)) + content


def compress(codec, raw):
    """By hand and without compressing, but for gzip: what libraries must be able to read all the same."""
    return {"none": lambda it: it, "gzip": lambda it: gzip.compress(it, mtime=0), "snappy": xerial, "lz4": lz4, "zstd": zstd}[codec](raw)


def snappy(raw):
    """One literal. (Format description of snappy, section 2.1.)"""
    if not raw:
        return uvarint(0)
    size = len(raw) - 1
    octets = (size.bit_length() + 7) // 8 or 1
    tag = bytes([size << 2]) if size < 60 else bytes([59 + octets << 2]) + size.to_bytes(octets, "little")
    return uvarint(len(raw)) + tag + raw


def xerial(raw):
    """The framing that Java clients use."""
    packed = snappy(raw)
    return b"\x82SNAPPY\0" + int32(1) + int32(1) + int32(len(packed)) + packed


def lz4(raw):
    head = b"\x60\x40"
    check = bytes([xxhash32(head) >> 8 & 0xFF])
    blocks = b"".join(struct.pack("<I", len(part) | 1 << 31) + part
                      for part in (raw[at:at + 65536] for at in range(0, len(raw), 65536)))
    return b"\x04\x22\x4d\x18" + head + check + blocks + bytes(4)


def zstd(raw):
    parts = [raw[at:at + 65536] for at in range(0, len(raw) or 1, 65536)]
    blocks = b"".join((len(part) << 3 | (index == len(parts) - 1)).to_bytes(3, "little") + part
                      for index, part in enumerate(parts))
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(raw)) + blocks


def xxhash32(data):
    """For fewer than 16 octets, which is all that a frame's head has."""
    mask = 0xFFFFFFFF
    h = (374761393 + len(data)) & mask
    for octet in data:
        h = (h + octet * 374761393) & mask
        h = ((h << 11 | h >> 21) & mask) * 2654435761 & mask
    h = (h ^ h >> 15) * 2246822519 & mask
    h = (h ^ h >> 13) * 3266489917 & mask
    return h ^ h >> 16


def split(raw):
    """What is in the records of a fetch, batch by batch, as dictionaries. A cut batch at the end is told as such."""
    at, batches = 0, []
    while at < len(raw or b""):
        if len(raw) - at < 61:
            batches.append({"cut": True})
            break
        base, length, epoch, magic = struct.unpack(">qiib", raw[at:at + 17])
        (crc,) = struct.unpack(">I", raw[at + 17:at + 21])
        attributes, last, first_time, max_time, producer, producer_epoch, sequence, count = struct.unpack(
            ">hiqqqhii", raw[at + 21:at + 61])
        end = at + 12 + length
        if end > len(raw):
            batches.append({"cut": True, "BaseOffset": base})
            break
        body = told(attributes, raw[at + 61:end])
        batches.append({"BaseOffset": base, "Magic": magic, "PartitionLeaderEpoch": epoch,
                        "CrcRight": crc == crc32c(raw[at + 21:end]), "Attributes": attributes, "LastOffsetDelta": last,
                        "BaseTimestamp": first_time, "MaxTimestamp": max_time, "ProducerId": producer,
                        "ProducerEpoch": producer_epoch, "BaseSequence": sequence, "Count": count,
                        "Body": body.hex() if len(body) < 200 else f"{len(body)} octets"})
        at = end
    return batches


def told(attributes, body):
    """The records of a batch, without what differs from one gzip to another."""
    if attributes & 7 != CODECS["gzip"]:
        return body
    try:
        return b"gzip" + gzip.decompress(body)
    except (OSError, EOFError, zlib.error):
        return body
