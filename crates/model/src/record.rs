//! Records: the commands inside a block, as bytes.
//!
//! ```text
//! record := len u32 | crc u32 | kind u8 | body          little-endian; len counts kind and body;
//!                                                        crc is CRC-32C over kind and body
//! ```
//! Sessions encode the records that carry messages themselves, in parallel; a shard only copies the
//! finished run into its open block. Numbers of kinds are part of the disk format: never reused.
//!
//! | kind | body |
//! |---|---|
//! | 1 Publish | flags u8, n varint, n × queue id varint, exchange (u8 len), routing key (u8 len), properties (varint len), with [`PUBLISH_EXTRAS`] extras (u8 len, see [`crate::extras`]), message body (rest) |
//! | 2 Append | partition id varint, flags u8, with [`APPEND_MOVED`] queue id varint and number varint, one Kafka record batch v2 (rest) |
//! | 3 Settle | queue id varint, reason u8, n varint, n × (gap from the end of the previous run varint, length varint) |
//! | 4 Horizon | queue id varint, up to (exclusive) varint |
//! | 27 Cancel | n varint, n × queue id varint, handle (16 bytes little-endian) |
//! | 28 Outbox | n × part, see [`crate::outbox`] |
//! | others | a postcard value, see the constants |

pub use crate::extras::Extras;
use crate::varint;

/// Bytes in front of the kind.
pub const FRAME_BYTES: usize = 8;

/// What a record is. The number is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A message for one or more queues of this shard.
    Publish = 1,
    /// A Kafka record batch for one partition.
    Append = 2,
    /// Messages leave a queue.
    Settle = 3,
    /// Messages of a queue below a number may have been delivered.
    Horizon = 4,
    /// `request::QueueSpec`.
    QueueCreate = 5,
    /// `QueueId`.
    QueueDelete = 6,
    /// `request::PartitionSpec`; also replaces the configuration of an existing partition.
    PartitionCreate = 7,
    /// `PartitionId`.
    PartitionDelete = 8,
    /// `(PartitionId, u64)`: nothing below this offset is kept.
    PartitionTrim = 9,
    /// `group::OffsetCommitRecord`.
    OffsetCommit = 10,
    /// `group::OffsetDeleteRecord`.
    OffsetDelete = 11,
    /// `meta::Command`, in the meta shard only.
    Meta = 12,
    /// The node started: nothing volatile of before is left. Empty body.
    NodeStarted = 13,
    /// Storage: entries of this shard from `u64 index` (rest: u64 LE) on are void.
    Truncate = 14,
    /// Storage: no content; makes a block that carries the durable position when the log goes idle.
    Noop = 15,
    /// `(QueueId, settings::QueueSettings)`: replaces what a queue enforces.
    QueueSettings = 16,
    /// Messages of a queue came back: how often each has failed, a postcard value.
    Failures = 17,
    /// Messages of a queue are not to be delivered before a time, a postcard value.
    Delays = 18,
    /// Up to which number the messages of another shard's queue are settled there, so that what is known of those
    /// that were moved from it ([`Extras::from`]) may be forgotten.
    Transferred = 19,
    /// `share::CreateRecord`: a share group on a partition.
    ShareCreate = 20,
    /// `share::DeleteRecord`.
    ShareDelete = 21,
    /// `share::SettleRecord`: a share group is done with records of a partition.
    ShareSettle = 22,
    /// `share::HorizonRecord`: records of a partition below an offset may have been delivered in a share group.
    ShareHorizon = 23,
    /// `share::CountsRecord`: records of a partition came back to a share group.
    ShareCounts = 24,
    /// Messages of queues that wait under a handle are withdrawn, unless their time has come.
    Cancel = 27,
    /// What this shard has committed for others: see [`crate::outbox`].
    Outbox = 28,
    /// `u64`: the outbox entry of that number is with whom it was for.
    OutboxDone = 29,
    /// `txn::TxnRecord`: something becomes of a transactional id.
    Txn = 30,
    /// `txn::AdmitRecord`: partitions and groups take what comes of a transaction from here on.
    TxnAdmit = 31,
    /// `txn::OffsetsRecord`: offsets that a group commits if a transaction does.
    TxnOffsets = 32,
    /// `txn::GroupsRecord`: a transaction ends for groups. (For partitions, an Append of a control batch says so.)
    TxnGroups = 33,
    /// `consumer_group::GroupRecord`: members of a group whose partitions the broker assigns, and their epochs.
    ConsumerGroup = 40,
}

impl Kind {
    #[inline]
    pub fn from_u8(value: u8) -> Option<Kind> {
        Some(match value {
            1 => Kind::Publish,
            2 => Kind::Append,
            3 => Kind::Settle,
            4 => Kind::Horizon,
            5 => Kind::QueueCreate,
            6 => Kind::QueueDelete,
            7 => Kind::PartitionCreate,
            8 => Kind::PartitionDelete,
            9 => Kind::PartitionTrim,
            10 => Kind::OffsetCommit,
            11 => Kind::OffsetDelete,
            12 => Kind::Meta,
            13 => Kind::NodeStarted,
            14 => Kind::Truncate,
            15 => Kind::Noop,
            16 => Kind::QueueSettings,
            17 => Kind::Failures,
            18 => Kind::Delays,
            19 => Kind::Transferred,
            20 => Kind::ShareCreate,
            21 => Kind::ShareDelete,
            22 => Kind::ShareSettle,
            23 => Kind::ShareHorizon,
            24 => Kind::ShareCounts,
            27 => Kind::Cancel,
            28 => Kind::Outbox,
            29 => Kind::OutboxDone,
            30 => Kind::Txn,
            31 => Kind::TxnAdmit,
            32 => Kind::TxnOffsets,
            33 => Kind::TxnGroups,
            40 => Kind::ConsumerGroup,
            _ => return None,
        })
    }
}

/// CRC-32C (Castagnoli), as on disk and in Kafka batches.
pub fn crc32c(data: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, data) as u32
}

/// Starts a record in `out`; returns the mark to give to [`end`]. The caller writes the body between.
pub fn begin(out: &mut Vec<u8>, kind: Kind) -> usize {
    let mark = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    out.push(kind as u8);
    mark
}

/// Completes the record begun at `mark`: fills in length and checksum.
pub fn end(out: &mut [u8], mark: usize) {
    let (frame, content) = out[mark..].split_at_mut(FRAME_BYTES);
    frame[..4].copy_from_slice(&(content.len() as u32).to_le_bytes());
    frame[4..].copy_from_slice(&crc32c(content).to_le_bytes());
}

/// A whole record around `body`.
pub fn put(out: &mut Vec<u8>, kind: Kind, body: &[u8]) {
    let mark = begin(out, kind);
    out.extend_from_slice(body);
    end(out, mark);
}

/// A record around a postcard value.
pub fn put_value<T: serde::Serialize>(out: &mut Vec<u8>, kind: Kind, value: &T) {
    let body = postcard::to_stdvec(value).expect("our plain data always serialises");
    put(out, kind, &body);
}

/// One record seen in a payload.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub kind: Kind,
    pub body: &'a [u8],
    /// Where the frame begins in the payload, bytes.
    pub offset: u32,
    /// Length of the whole record with its frame, bytes.
    pub len: u32,
}

/// Why a payload cannot be read as records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// The frame runs past the end, or has no kind.
    Length {
        offset: u32,
    },
    Checksum {
        offset: u32,
    },
    Kind {
        offset: u32,
        kind: u8,
    },
}

/// Walks the records of a payload from `offset` on, without checking record checksums: the block's own
/// checksum was verified when the block was read or written. Use [`verify`] for a full check.
pub fn iter_from(payload: &[u8], offset: u32) -> Iter<'_> {
    Iter { payload, at: offset as usize }
}

pub fn iter(payload: &[u8]) -> Iter<'_> {
    iter_from(payload, 0)
}

/// The record whose frame begins at `offset`.
pub fn at(payload: &[u8], offset: u32) -> Result<Record<'_>, Damage> {
    iter_from(payload, offset).next().unwrap_or(Err(Damage::Length { offset }))
}

/// Checks the checksum of one record.
pub fn verify(payload: &[u8], record: &Record<'_>) -> Result<(), Damage> {
    let start = record.offset as usize;
    let stored = u32::from_le_bytes(payload[start + 4..start + 8].try_into().expect("four bytes"));
    let actual = crc32c(&payload[start + FRAME_BYTES..start + record.len as usize]);
    if stored == actual { Ok(()) } else { Err(Damage::Checksum { offset: record.offset }) }
}

pub struct Iter<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<Record<'a>, Damage>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.payload.get(self.at..)?;
        if rest.is_empty() {
            return None;
        }
        let offset = self.at as u32;
        let len = match rest.get(..4) {
            Some(b) => u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize,
            None => 0,
        };
        if len == 0 || len > rest.len().saturating_sub(FRAME_BYTES) {
            self.at = self.payload.len();
            return Some(Err(Damage::Length { offset }));
        }
        let content = &rest[FRAME_BYTES..FRAME_BYTES + len];
        self.at += FRAME_BYTES + len;
        match Kind::from_u8(content[0]) {
            Some(kind) => {
                Some(Ok(Record { kind, body: &content[1..], offset, len: (FRAME_BYTES + len) as u32 }))
            }
            None => {
                self.at = self.payload.len();
                Some(Err(Damage::Kind { offset, kind: content[0] }))
            }
        }
    }
}

/// Flag of a publish: the publisher asked for persistence (`delivery_mode` 2).
pub const PUBLISH_PERSISTENT: u8 = 1;
/// Flag of a publish: it has [`Extras`].
pub const PUBLISH_EXTRAS: u8 = 2;
/// Flag of a publish: it came by way of a dead-letter exchange, so its header `x-death` is the broker's own word.
pub const PUBLISH_DIED: u8 = 4;

/// A message as it lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    pub flags: u8,
    /// Varints, read with [`Publish::queues`].
    queue_ids: &'a [u8],
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    /// AMQP property flags and list exactly as the publisher sent them.
    pub properties: &'a [u8],
    /// What the queue has to know of it; default for most messages.
    pub extras: Extras,
    pub body: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Appends a whole Publish record. `exchange` and `routing_key` ≤ 255 bytes; `queues` not empty.
    /// `body` arrives in pieces because AMQP frames split it.
    pub fn encode<'b>(
        out: &mut Vec<u8>,
        flags: u8,
        queues: impl ExactSizeIterator<Item = u32>,
        exchange: &[u8],
        routing_key: &[u8],
        properties: &[u8],
        body: impl Iterator<Item = &'b [u8]>,
    ) {
        let plain = &Extras::default();
        Publish::encode_with(out, flags, queues, exchange, routing_key, properties, plain, body);
    }

    /// As [`Publish::encode`], for a message that has extras; sets [`PUBLISH_EXTRAS`] if so.
    #[allow(clippy::too_many_arguments)]
    pub fn encode_with<'b>(
        out: &mut Vec<u8>,
        flags: u8,
        queues: impl ExactSizeIterator<Item = u32>,
        exchange: &[u8],
        routing_key: &[u8],
        properties: &[u8],
        extras: &Extras,
        body: impl Iterator<Item = &'b [u8]>,
    ) {
        let with_extras = *extras != Extras::default();
        let flags = if with_extras { flags | PUBLISH_EXTRAS } else { flags & !PUBLISH_EXTRAS };
        let mark = begin(out, Kind::Publish);
        out.push(flags);
        varint::put(out, queues.len() as u64);
        for queue in queues {
            varint::put(out, u64::from(queue));
        }
        debug_assert!(exchange.len() < 256 && routing_key.len() < 256);
        out.push(exchange.len() as u8);
        out.extend_from_slice(exchange);
        out.push(routing_key.len() as u8);
        out.extend_from_slice(routing_key);
        varint::put(out, properties.len() as u64);
        out.extend_from_slice(properties);
        if with_extras {
            extras.put(out);
        }
        for piece in body {
            out.extend_from_slice(piece);
        }
        end(out, mark);
    }

    /// Reads a record body. `None` if it is not one.
    #[inline]
    pub fn decode(mut body: &'a [u8]) -> Option<Publish<'a>> {
        let flags = take_u8(&mut body)?;
        let n = varint::take(&mut body)?;
        let all = body;
        for _ in 0..n {
            varint::take_u32(&mut body)?;
        }
        let queue_ids = &all[..all.len() - body.len()];
        let exchange = take_short(&mut body)?;
        let routing_key = take_short(&mut body)?;
        let n = usize::try_from(varint::take(&mut body)?).ok()?;
        if n > body.len() {
            return None;
        }
        let (properties, mut body) = body.split_at(n);
        let extras = if flags & PUBLISH_EXTRAS != 0 { Extras::take(&mut body)? } else { Extras::default() };
        Some(Publish { flags, queue_ids, exchange, routing_key, properties, extras, body })
    }

    /// The queues of this shard that get the message.
    #[inline]
    pub fn queues(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut rest = self.queue_ids;
        std::iter::from_fn(move || varint::take_u32(&mut rest))
    }
}

/// The queue ids of a Publish record body, without looking at the rest: what applying needs.
#[inline]
pub fn publish_queues(body: &[u8]) -> Option<impl Iterator<Item = u32> + '_> {
    let mut rest = body.get(1..)?;
    let mut left = varint::take(&mut rest)?;
    Some(std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        varint::take_u32(&mut rest)
    }))
}

/// Flag of an append: the broker itself converted it from another protocol.
pub const APPEND_CONVERTED: u8 = 1;
/// [`Append`]: compaction wrote it into a cold file. The batch says its own base offset, there may be offsets missing
/// before it, and it may have fewer records than offsets.
pub const APPEND_COMPACTED: u8 = 4;
/// Flag of an append: it is a marker that an administrator has written past the transaction's coordinator, and is held
/// against what the partition knows of its producer.
pub const APPEND_FOREIGN_MARKER: u8 = 8;
/// The same, by the stricter rule of producers that raise their epoch with each transaction (KIP-890).
pub const APPEND_FOREIGN_MARKER_V2: u8 = 16;
/// Flag of an append: it says where the batch was moved from ([`Append::from`]).
pub const APPEND_MOVED: u8 = 2;

/// A Kafka record batch as it lies in the log. The batch is the producer's, byte for byte: base offset
/// and leader epoch in it are whatever the producer wrote; the partition's index knows the real ones.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    pub partition: u32,
    pub flags: u8,
    /// The queue of another shard that it was moved from, and its number there: a second arrival is the same batch.
    pub from: Option<(u32, u64)>,
    pub batch: &'a [u8],
}

impl<'a> Append<'a> {
    /// Appends a whole Append record of a batch that was not moved from anywhere.
    pub fn encode(out: &mut Vec<u8>, partition: u32, flags: u8, batch: &[u8]) {
        Append { partition, flags, from: None, batch }.put(out);
    }

    /// Appends the whole record; [`APPEND_MOVED`] is set or cleared as `from` says.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mark = begin(out, Kind::Append);
        varint::put(out, u64::from(self.partition));
        match self.from {
            None => out.push(self.flags & !APPEND_MOVED),
            Some((queue, number)) => {
                out.push(self.flags | APPEND_MOVED);
                varint::put(out, u64::from(queue));
                varint::put(out, number);
            }
        }
        out.extend_from_slice(self.batch);
        end(out, mark);
    }

    #[inline]
    pub fn decode(mut body: &'a [u8]) -> Option<Append<'a>> {
        let partition = varint::take_u32(&mut body)?;
        let flags = take_u8(&mut body)?;
        let from = match flags & APPEND_MOVED {
            0 => None,
            _ => Some((varint::take_u32(&mut body)?, varint::take(&mut body)?)),
        };
        Some(Append { partition, flags, from, batch: body })
    }
}

/// Why messages leave a queue. The number is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SettleReason {
    /// The consumer acknowledged, or asked for no acknowledgements.
    Acked = 0,
    /// Rejected without requeue.
    Rejected = 1,
    /// Somebody wanted it gone: a purge, a cancelled or replaced delay.
    Purged = 2,
    /// Its time to live was over.
    Expired = 3,
    /// The queue was longer than it may be.
    MaxLength = 4,
    /// It came back too often.
    DeliveryLimit = 5,
    /// Moved to another queue because somebody wanted it to (`Request::Redrive`).
    Redriven = 6,
}

/// How many [`SettleReason`]s there are.
pub const SETTLE_REASONS: usize = 7;

impl SettleReason {
    pub fn from_u8(value: u8) -> Option<SettleReason> {
        SettleReason::ALL.into_iter().find(|r| *r as u8 == value)
    }

    /// In the order of their numbers.
    pub const ALL: [SettleReason; SETTLE_REASONS] = [
        SettleReason::Acked,
        SettleReason::Rejected,
        SettleReason::Purged,
        SettleReason::Expired,
        SettleReason::MaxLength,
        SettleReason::DeliveryLimit,
        SettleReason::Redriven,
    ];
}

/// Appends a Settle record. `runs` are `(first sequence number, count)`, ascending and disjoint.
pub fn put_settle(out: &mut Vec<u8>, queue: u32, reason: SettleReason, runs: &[(u64, u64)]) {
    let mark = begin(out, Kind::Settle);
    varint::put(out, u64::from(queue));
    out.push(reason as u8);
    varint::put(out, runs.len() as u64);
    let mut end_of_previous = 0;
    for &(first, count) in runs {
        debug_assert!(first >= end_of_previous && count > 0);
        varint::put(out, first - end_of_previous);
        varint::put(out, count);
        end_of_previous = first + count;
    }
    end(out, mark);
}

/// Reads a Settle body: queue, reason and the runs.
pub fn take_settle(mut body: &[u8]) -> Option<(u32, SettleReason, impl Iterator<Item = (u64, u64)> + '_)> {
    let queue = varint::take_u32(&mut body)?;
    let reason = SettleReason::from_u8(take_u8(&mut body)?)?;
    let mut left = varint::take(&mut body)?;
    let mut at = 0u64;
    let runs = std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let first = at.checked_add(varint::take(&mut body)?)?;
        let count = varint::take(&mut body)?;
        at = first.checked_add(count)?;
        Some((first, count))
    });
    Some((queue, reason, runs))
}

pub fn put_horizon(out: &mut Vec<u8>, queue: u32, upto: u64) {
    let mark = begin(out, Kind::Horizon);
    varint::put(out, u64::from(queue));
    varint::put(out, upto);
    end(out, mark);
}

pub fn take_horizon(mut body: &[u8]) -> Option<(u32, u64)> {
    Some((varint::take_u32(&mut body)?, varint::take(&mut body)?))
}

/// Appends a Cancel record. `queues` not empty.
pub fn put_cancel(out: &mut Vec<u8>, queues: impl ExactSizeIterator<Item = u32>, handle: u128) {
    let mark = begin(out, Kind::Cancel);
    varint::put(out, queues.len() as u64);
    for queue in queues {
        varint::put(out, u64::from(queue));
    }
    out.extend_from_slice(&handle.to_le_bytes());
    end(out, mark);
}

/// Reads a Cancel body: the queues and the handle.
pub fn take_cancel(mut body: &[u8]) -> Option<(Vec<u32>, u128)> {
    let n = varint::take(&mut body)?;
    // A queue takes a byte at least.
    let n = usize::try_from(n).ok().filter(|n| *n <= body.len())?;
    let queues = (0..n).map(|_| varint::take_u32(&mut body)).collect::<Option<Vec<u32>>>()?;
    Some((queues, u128::from_le_bytes(body.try_into().ok()?)))
}

fn take_u8(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

fn take_short<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let n = take_u8(input)? as usize;
    let value = input.get(..n)?;
    *input = &input[n..];
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_comes_back_as_it_went_in() {
        let mut out = Vec::new();
        let pieces: [&[u8]; 2] = [b"hello ", b"world"];
        Publish::encode(
            &mut out,
            PUBLISH_PERSISTENT,
            [3, 70_000].into_iter(),
            b"ex",
            b"a.b",
            b"\x10\x00\x02",
            pieces.into_iter(),
        );
        put_settle(&mut out, 9, SettleReason::Acked, &[(4, 2), (10, 1)]);
        let records: Vec<_> = iter(&out).map(|r| r.unwrap()).collect();
        assert_eq!(records.len(), 2);
        records.iter().for_each(|r| verify(&out, r).unwrap());
        let publish = Publish::decode(records[0].body).unwrap();
        assert_eq!(publish.queues().collect::<Vec<_>>(), [3, 70_000]);
        assert_eq!(publish_queues(records[0].body).unwrap().collect::<Vec<_>>(), [3, 70_000]);
        assert_eq!(
            (publish.exchange, publish.routing_key, publish.body),
            (&b"ex"[..], &b"a.b"[..], &b"hello world"[..])
        );
        let (queue, reason, runs) = take_settle(records[1].body).unwrap();
        assert_eq!(
            (queue, reason, runs.collect::<Vec<_>>()),
            (9, SettleReason::Acked, vec![(4, 2), (10, 1)])
        );
        assert_eq!(at(&out, records[1].offset).unwrap().kind, Kind::Settle);
    }

    #[test]
    fn an_append_says_where_it_was_moved_from() {
        for from in [None, Some((3, 0)), Some((u32::MAX, u64::MAX))] {
            let mut out = Vec::new();
            Append { partition: 300, flags: APPEND_CONVERTED, from, batch: b"batch" }.put(&mut out);
            let found = Append::decode(&out[FRAME_BYTES + 1..]).unwrap();
            assert_eq!((found.partition, found.from, found.batch), (300, from, &b"batch"[..]));
            assert_eq!(found.flags & APPEND_MOVED != 0, from.is_some());
            // Copied by who does not look at it: as a batch that was not moved.
            let mut plain = Vec::new();
            Append::encode(&mut plain, found.partition, found.flags, found.batch);
            assert_eq!(Append::decode(&plain[FRAME_BYTES + 1..]).unwrap().from, None);
        }
    }

    #[test]
    fn a_cancel_comes_back_as_it_went_in() {
        let mut out = Vec::new();
        put_cancel(&mut out, [3, 70_000].into_iter(), 1 << 100);
        let record = iter(&out).next().unwrap().unwrap();
        assert_eq!(take_cancel(record.body), Some((vec![3, 70_000], 1 << 100)));
        for cut in 0..record.body.len() {
            assert_eq!(take_cancel(&record.body[..cut]), None);
        }
        assert_eq!(take_cancel(&[0xff; 40]), None);
    }

    #[test]
    fn damage_is_told_and_never_panics() {
        let mut out = Vec::new();
        put(&mut out, Kind::Noop, b"abc");
        for cut in 1..out.len() {
            assert!(matches!(iter(&out[..cut]).next(), Some(Err(Damage::Length { offset: 0 }))), "{cut}");
        }
        for bit in 64..out.len() * 8 {
            let mut flipped = out.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let bad = match iter(&flipped).next().unwrap() {
                Ok(record) => verify(&flipped, &record).is_err(),
                Err(_) => true,
            };
            assert!(bad, "bit {bit}");
        }
    }
}
