//! What readers know of one partition in which transactions are written.

use super::{KEY_AT, Part, PartId};
use crate::clients::Clients;
use crate::note;
use bowline_model::event::{BatchSlice, Fetched, FetchedPartition, SLICE_ABORTED};
use bowline_model::txn::Producer;
use bowline_model::varint;
use std::collections::BTreeMap;

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub partition: u32,
    pub offset: u64,
    /// Bounds known when it was asked.
    pub stable: u64,
    pub end: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Placed {
    Part(PartId),
    Marker(Producer, bool),
    /// Compaction keeps the place of what it has removed.
    Nothing,
}

#[derive(Debug, Default)]
pub struct Log {
    /// By base offset, with how many offsets it takes.
    placed: BTreeMap<u64, (Placed, u32)>,
    place_of: BTreeMap<PartId, u64>,
    /// At least so far it is stable, and taken.
    pub stable: u64,
    pub end: u64,
    /// Where the reader is that reads everything that is committed, in order.
    pub position: u64,
    /// What that one has read of transactions whose marker is still to come, by producer; and whether it is aborted.
    open: BTreeMap<i64, Vec<(PartId, bool)>>,
    /// By worker: the last transaction of which something was read.
    last: BTreeMap<usize, usize>,
}

impl Log {
    pub(super) fn is_at(&mut self, part: PartId, base: u64, count: u32) {
        let known = *self.place_of.entry(part).or_insert(base);
        assert_eq!(known, base, "promise: batch {part} of a transaction is once in its partition");
        self.put(base, Placed::Part(part), count);
    }

    fn put(&mut self, base: u64, what: Placed, count: u32) {
        let known = *self.placed.entry(base).or_insert((what, count));
        assert_eq!(known, (what, count), "promise: what is at {base} stays there");
        let before = self.placed.range(..base).next_back();
        assert!(
            before.is_none_or(|(at, (_, n))| at + u64::from(*n) <= base),
            "promise: what is at {base} does not lie on {before:?}"
        );
        self.end = self.end.max(base + u64::from(count));
    }

    pub(super) fn check_at_end(&self, partition: u32) {
        assert!(
            self.stable == self.end && self.position == self.end && self.open.is_empty(),
            "promise: no transaction is open in partition {partition} for ever: stable to {}, read to {}, ends at {}",
            self.stable,
            self.position,
            self.end
        );
    }
}

/// The head of a batch, as a client reads it.
struct Head {
    producer: Producer,
    count: u32,
    is_marker: bool,
    is_empty: bool,
}

fn bytes(slice: &BatchSlice) -> &[u8] {
    &slice.block.payload[slice.offset as usize..(slice.offset + slice.len) as usize]
}

fn head(bytes: &[u8]) -> Head {
    let id = i64::from_be_bytes(bytes[43..51].try_into().expect("eight bytes"));
    let epoch = i16::from_be_bytes([bytes[51], bytes[52]]);
    let delta = i32::from_be_bytes(bytes[23..27].try_into().expect("four bytes"));
    Head {
        producer: Producer { id, epoch },
        count: delta as u32 + 1,
        is_marker: bytes[22] & 0x20 != 0,
        is_empty: bytes[57..61] == [0; 4],
    }
}

/// What a marker's record says, also of one that compaction has dated, of which the times take more octets.
fn commits(record: &[u8]) -> Option<bool> {
    let mut rest = record;
    // Length, attributes, differences of time and offset, length of the key; the key is a version and a kind.
    for _ in 0..5 {
        varint::take(&mut rest)?;
    }
    match rest.get(..4)? {
        [_, _, 0, 0] => Some(false),
        [_, _, 0, 1] => Some(true),
        _ => None,
    }
}

/// What a batch is.
fn identify(bytes: &[u8], sent: &[Part]) -> Placed {
    let head = head(bytes);
    if head.is_empty {
        return Placed::Nothing;
    }
    if head.is_marker {
        let commit = commits(&bytes[61..]).expect("promise: a marker is one");
        return Placed::Marker(head.producer, commit);
    }
    let id = bytes.get(KEY_AT..KEY_AT + 8).and_then(|id| id.try_into().ok()).map(u64::from_le_bytes);
    let id = id.expect("promise: a fetched batch is what was sent");
    let part = sent.get(id as usize).expect("promise: a fetched batch is what was sent");
    // But for the base offset, which compaction writes.
    assert!(
        bytes[8..] == part.bytes(id)[8..],
        "promise: batch {id} of a transaction comes back byte for byte"
    );
    Placed::Part(id)
}

impl Clients {
    pub(in crate::clients) fn txn_fetched(
        &mut self,
        asked: &[Wanted],
        committed: bool,
        answers: &[FetchedPartition],
    ) {
        self.txns.reading = false;
        assert_eq!(asked.len(), answers.len(), "promise: each partition of a fetch is answered");
        for (wanted, answer) in asked.iter().zip(answers) {
            assert_eq!(wanted.partition, answer.partition.0, "promise: partitions are answered in order");
            let partition = wanted.partition;
            let fetched = answer.result.as_ref();
            if fetched.is_err() && self.txns.annex.going.contains(&partition) {
                continue;
            }
            let fetched =
                fetched.unwrap_or_else(|e| panic!("promise: partition {partition} can be read: {e:?}"));
            // Of a fetch over several partitions, not each is sure to get something.
            self.txn_fetched_of(wanted, committed, asked.len() == 1, fetched);
        }
    }

    fn txn_fetched_of(&mut self, wanted: &Wanted, committed: bool, alone: bool, fetched: &Fetched) {
        let partition = wanted.partition;
        let (stable, end) = (fetched.last_stable, fetched.high_watermark);
        note!(
            self.trace,
            "txn fetched p{} from {}: {} batches, stable to {} of {}",
            partition,
            wanted.offset,
            fetched.batches.len(),
            stable,
            end
        );
        assert!(
            stable >= wanted.stable && end >= wanted.end && stable <= end && fetched.log_start == 0,
            "promise: partition {partition} does not go back: {stable} {end}, known {wanted:?}"
        );
        let bound = if committed { stable } else { end };
        let mut next = wanted.offset;
        assert!(
            !alone || !fetched.batches.is_empty() || next == bound,
            "promise: partition {partition} has something from {next} to {bound}, and a fetch gets it"
        );
        assert!(fetched.aborted.is_sorted_by_key(|(_, first)| *first), "promise: aborted ones are sorted");
        // As clients tell what was aborted: by the list, and by markers.
        let mut list = fetched.aborted.iter().peekable();
        let mut aborted: Vec<i64> = Vec::new();
        for slice in &fetched.batches {
            let raw = bytes(slice);
            let head = head(raw);
            let upto = slice.base_offset + u64::from(head.count);
            let gap = next < slice.base_offset;
            assert!(
                (!gap || self.txns.compacts) && next < upto && upto <= bound,
                "promise: offsets of partition {partition} are dense and end at {bound}: {}..{upto} at {next}",
                slice.base_offset
            );
            let from = std::mem::replace(&mut next, upto);
            let what = identify(raw, &self.txns.parts);
            let Some(log) = self.txns.logs.get_mut(&partition) else { continue };
            match what {
                Placed::Part(part) => log.is_at(part, slice.base_offset, head.count),
                Placed::Nothing => {}
                marker => log.put(slice.base_offset, marker, head.count),
            }
            if let Placed::Part(part) = what {
                let meant = self.txns.parts[part as usize].partition;
                assert_eq!(meant, partition, "promise: partitions are kept apart");
            }
            if !committed {
                continue;
            }
            while let Some((id, _)) = list.next_if(|(_, first)| *first < upto) {
                aborted.push(*id);
            }
            let is_aborted = slice.flags & SLICE_ABORTED != 0;
            match what {
                Placed::Marker(producer, false) => {
                    if let Some(at) = aborted.iter().position(|id| *id == producer.id) {
                        aborted.swap_remove(at);
                    }
                }
                Placed::Marker(..) | Placed::Nothing => {}
                Placed::Part(part) => assert_eq!(
                    aborted.contains(&head.producer.id),
                    is_aborted,
                    "promise: clients and AMQP readers are told the same of batch {part}"
                ),
            }
            if from == self.txns.logs[&partition].position {
                self.txn_read(partition, slice.base_offset, what, head.producer, is_aborted);
                self.txns.logs.entry(partition).or_default().position = upto;
            }
        }
        if let Some(log) = self.txns.logs.get_mut(&partition) {
            (log.stable, log.end) = (log.stable.max(stable), log.end.max(end));
        }
        self.counts.fetched += fetched.batches.len() as u64;
    }

    /// The reader who reads all that is committed, in order, comes to this.
    fn txn_read(&mut self, partition: u32, at: u64, what: Placed, producer: Producer, is_aborted: bool) {
        let log = self.txns.logs.entry(partition).or_default();
        match what {
            Placed::Part(part) => {
                let open = log.open.entry(producer.id).or_default();
                let Part { attempt: n, given_up, in_annex, .. } = self.txns.parts[part as usize];
                if given_up {
                    // It may be anywhere, as long as it is in a transaction of its producer.
                    return open.push((part, is_aborted));
                }
                let others = open.iter().map(|(other, _)| self.txns.parts[*other as usize]);
                if let Some(other) = others.into_iter().find(|other| !other.given_up) {
                    assert_eq!(
                        other.attempt, n,
                        "promise: batch {part} at {at} of partition {partition} is in its own transaction"
                    );
                }
                open.push((part, is_aborted));
                if !is_aborted && !in_annex {
                    let worker = self.txns.attempts[n].worker;
                    let last = log.last.insert(worker, n);
                    assert!(
                        last.is_none_or(|last| last <= n),
                        "promise: worker {worker} wrote transaction {n} before {last:?}"
                    );
                    let once = self.txns.attempts[n].seen.insert(part);
                    assert!(once, "promise: batch {part} is once in partition {partition}");
                }
                self.txn_decided(n, !is_aborted);
            }
            Placed::Nothing => {}
            Placed::Marker(_, commit) => {
                let ended = log.open.remove(&producer.id).unwrap_or_default();
                for (part, was_aborted) in ended {
                    assert_eq!(
                        was_aborted, !commit,
                        "promise: batch {part} of partition {partition} ends as its marker at {at} says"
                    );
                    let (writer, _) = self.txns.parts[part as usize].sent.unwrap_or((producer, 0));
                    assert!(
                        writer.id == producer.id && writer.epoch <= producer.epoch,
                        "promise: a marker of {producer:?} ends nothing of {writer:?}"
                    );
                }
            }
        }
    }
}
