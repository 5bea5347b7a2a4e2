//! What the clients know of one partition: which batch lies where, and what was promised of it.

use super::message::fill;
use bowline_model::event::{AppendError, Appended, BatchSlice, FetchError, Fetched};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers record batches of a seed in the order in which they were first sent.
pub type BatchId = u64;

/// A record batch (format v2), whose bytes follow from this and its number.
#[derive(Clone, Copy, Debug)]
pub struct Records {
    pub partition: u32,
    /// Offsets that it takes.
    pub count: u32,
    /// Producer id, epoch, first sequence number.
    pub producer: Option<(i64, i16, i32)>,
    pub body_len: u32,
    pub timestamp: i64,
}

/// Bytes in front of the records (Kafka documentation, "Record Batch").
const HEADER_BYTES: usize = 61;

impl Records {
    pub fn bytes(&self, id: BatchId) -> Vec<u8> {
        let (producer, epoch, sequence) = self.producer.unwrap_or((-1, -1, -1));
        let mut out = vec![0; 8];
        out.extend((49 + 8 + self.body_len as i32).to_be_bytes());
        out.extend(0i32.to_be_bytes());
        out.push(2);
        // Checksum and attributes are the front ends' business.
        out.extend([0; 6]);
        out.extend((self.count as i32 - 1).to_be_bytes());
        out.extend(self.timestamp.to_be_bytes());
        out.extend(self.timestamp.to_be_bytes());
        out.extend(producer.to_be_bytes());
        out.extend(epoch.to_be_bytes());
        out.extend(sequence.to_be_bytes());
        out.extend((self.count as i32).to_be_bytes());
        debug_assert_eq!(out.len(), HEADER_BYTES);
        out.extend(id.to_le_bytes());
        let len = out.len() + self.body_len as usize;
        fill(&mut out, id ^ 0x6b61_666b, len);
        out
    }
}

/// Which batch a slice is.
///
/// # Panics
/// If it is not, byte for byte, one that was sent.
pub fn identify(slice: &BatchSlice, sent: &[Records]) -> BatchId {
    let bytes = &slice.block.payload[slice.offset as usize..(slice.offset + slice.len) as usize];
    let id =
        bytes.get(HEADER_BYTES..HEADER_BYTES + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let id = id.expect("promise: a fetched batch is what was sent");
    let batch = sent.get(id as usize).expect("promise: a fetched batch is what was sent");
    assert!(bytes == batch.bytes(id), "promise: batch {id} comes back byte for byte");
    id
}

#[derive(Debug)]
pub struct Partition {
    pub id: u32,
    pub topic: String,
    pub index: i32,
    /// The topic was deleted, perhaps.
    pub going: bool,
    /// Old batches may go by themselves.
    pub retains_bytes: bool,
    /// By base offset: batch and how many offsets it takes. What was acknowledged or seen.
    placed: BTreeMap<u64, (BatchId, u32)>,
    place_of: BTreeMap<BatchId, u64>,
    /// Confirmed without being told where.
    somewhere: BTreeSet<BatchId>,
    /// Refused; never to turn up.
    void: BTreeSet<BatchId>,
    /// Nothing below is served any more, as acknowledged or seen.
    pub start: u64,
    /// A trim up to here was asked for.
    pub trim_asked: u64,
    /// At least so many offsets are taken.
    pub end: u64,
}

impl Partition {
    pub fn new(id: u32, topic: String, index: i32, retains_bytes: bool) -> Partition {
        Partition {
            id,
            topic,
            index,
            going: false,
            retains_bytes,
            placed: BTreeMap::new(),
            place_of: BTreeMap::new(),
            somewhere: BTreeSet::new(),
            void: BTreeSet::new(),
            start: 0,
            trim_asked: 0,
            end: 0,
        }
    }

    /// Batch `id` is at `base`, as the broker says or as was fetched.
    pub fn is_at(&mut self, id: BatchId, base: u64, count: u32) {
        let partition = self.id;
        assert!(
            !self.void.contains(&id),
            "promise: batch {id} was refused and is not in partition {partition}"
        );
        if let Some(known) = self.place_of.get(&id) {
            assert_eq!(
                *known, base,
                "promise: batch {id} is once in partition {partition}, and stays where it is"
            );
            return;
        }
        if let Some((at, (other, n))) = self.placed.range(..=base).next_back() {
            assert!(
                at + u64::from(*n) <= base,
                "promise: batch {id} at {base} of partition {partition} does not lie on {other} at {at}"
            );
        }
        if let Some((at, (other, _))) = self.placed.range(base..).next() {
            assert!(
                base + u64::from(count) <= *at,
                "promise: batch {id} at {base} of partition {partition} does not lie on {other} at {at}"
            );
        }
        self.placed.insert(base, (id, count));
        self.place_of.insert(id, base);
        self.somewhere.remove(&id);
        self.end = self.end.max(base + u64::from(count));
    }

    pub fn appended(&mut self, id: BatchId, count: u32, appended: &Appended) {
        self.is_at(id, appended.base_offset, count);
        self.starts_at(appended.log_start);
    }

    /// Confirmed together with messages: where it is was not told.
    pub fn confirmed(&mut self, id: BatchId) {
        if !self.place_of.contains_key(&id) {
            self.somewhere.insert(id);
        }
    }

    /// It was not written, and nobody will send it again.
    pub fn refused(&mut self, id: BatchId, why: Option<AppendError>) {
        assert!(
            !self.place_of.contains_key(&id),
            "promise: batch {id} of partition {} is there; {why:?} is no answer",
            self.id
        );
        self.void.insert(id);
    }

    fn starts_at(&mut self, start: u64) {
        assert!(
            start <= self.trim_asked || self.retains_bytes,
            "promise: partition {} begins at {start} although nobody trimmed it beyond {}",
            self.id,
            self.trim_asked
        );
        self.start = self.start.max(start);
    }

    pub fn trimmed(&mut self, asked: u64, start: u64) {
        assert!(start >= asked, "promise: partition {} is trimmed to {asked}, not {start}", self.id);
        self.starts_at(start);
    }

    /// An answer to a fetch from `offset`. `end`, `start`: what was known when it was asked for. Returns where to go
    /// on.
    pub fn fetched(
        &mut self,
        offset: u64,
        (start, end): (u64, u64),
        result: &Result<Fetched, FetchError>,
        sent: &[Records],
    ) -> Option<u64> {
        let partition = self.id;
        let fetched = match result {
            Ok(fetched) => fetched,
            Err(FetchError::OutOfRange { log_start, high_watermark }) => {
                assert!(
                    offset < *log_start || offset > *high_watermark,
                    "promise: {offset} is in range of partition {partition}: {log_start}..{high_watermark}"
                );
                assert!(*high_watermark >= end, "promise: partition {partition} ends at {end} or later");
                self.starts_at(*log_start);
                return Some(*log_start);
            }
            Err(FetchError::UnknownPartition) => {
                assert!(self.going, "promise: partition {partition} is there");
                return None;
            }
            Err(FetchError::Storage) => panic!("promise: partition {partition} can be read"),
        };
        assert!(
            fetched.high_watermark >= end && fetched.log_start >= start,
            "promise: partition {partition} does not go back: {}..{}, known {start}..{end}",
            fetched.log_start,
            fetched.high_watermark
        );
        self.starts_at(fetched.log_start);
        let mut next = offset;
        for slice in &fetched.batches {
            let id = identify(slice, sent);
            let batch = &sent[id as usize];
            assert_eq!(batch.partition, partition, "promise: partitions are kept apart");
            let upto = slice.base_offset + u64::from(batch.count);
            assert!(
                (slice.base_offset <= next && next < upto) && (next == offset || slice.base_offset == next),
                "promise: offsets of partition {partition} are dense: {}..{upto} at {next}",
                slice.base_offset
            );
            assert!(
                upto <= fetched.high_watermark,
                "promise: nothing above the high watermark of partition {partition} is served"
            );
            self.is_at(id, slice.base_offset, batch.count);
            next = upto;
        }
        assert!(
            !fetched.batches.is_empty() || offset == fetched.high_watermark || offset < self.start,
            "promise: partition {partition} has batches from {offset} to {}, and a fetch gets some",
            fetched.high_watermark
        );
        self.end = self.end.max(fetched.high_watermark);
        Some(next)
    }

    /// Those that are known to have been written, by offset.
    pub fn batches(&self) -> impl Iterator<Item = BatchId> + '_ {
        self.placed.values().map(|(id, _)| *id)
    }

    /// Everything was read from `start` to the end.
    pub fn check_complete(&self, seen: &BTreeSet<BatchId>, sent: &[Records]) {
        self.check_sequences(sent);
        for (base, (id, count)) in self.placed.range(self.start..) {
            assert!(
                seen.contains(id),
                "promise: batch {id} at {base} (of {count}) of partition {} is there in the end",
                self.id
            );
        }
        if self.start == 0 {
            assert!(
                self.somewhere.iter().all(|id| seen.contains(id)),
                "promise: what was confirmed in partition {} is there in the end: {:?}",
                self.id,
                self.somewhere
            );
        }
    }

    /// Idempotent producers' batches follow one another without gaps, in each epoch from 0 on.
    fn check_sequences(&self, sent: &[Records]) {
        let mut next = BTreeMap::new();
        for (base, (id, count)) in self.placed.range(self.start..) {
            let Some((producer, epoch, sequence)) = sent[*id as usize].producer else { continue };
            if let Some((epoch_before, expected)) = next.insert(producer, (epoch, sequence + *count as i32)) {
                assert!(
                    if epoch == epoch_before {
                        sequence == expected
                    } else {
                        epoch > epoch_before && sequence == 0
                    },
                    "promise: batch {id} at {base} of partition {} follows the one before of producer {producer}: \
                     epoch {epoch} sequence {sequence}, after {epoch_before} and {expected}",
                    self.id
                );
            }
        }
    }
}
