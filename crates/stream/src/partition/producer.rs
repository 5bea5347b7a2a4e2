//! Producers with an id (KIP-98, KIP-360, KIP-890): what a partition remembers of who wrote to it.
//!
//! Per producer id: the epoch, the last five batches of that epoch, and its open transaction. A batch that comes again
//! gets the answer that it got; a batch that skips some is refused. A producer that has written nothing for a day is
//! forgotten, and so are the longest silent ones when there are too many; an unknown producer may start anywhere.
//! One with an open transaction is never forgotten.
//!
//! A batch of a transaction is taken only between the record that *admits* the transaction here and the marker that
//! ends it. The coordinator has both logged, one after the other, so a batch that was held up on its way finds the
//! transaction open, or is refused: it can neither hang for ever nor slip into the next one.
//!
//! "A day" is measured by the stamps of applied blocks, whose maximum (`clock`) never goes back: what has expired
//! stays expired, so it makes no difference when an expired producer's memory is given back.

use super::aborted::Aborted;
use super::batch::Header;
use bowline_model::Millis;
use bowline_model::event::AppendError;
use bowline_model::record::{APPEND_FOREIGN_MARKER, APPEND_FOREIGN_MARKER_V2};
use bowline_model::txn::{self, ActiveProducer, NO_COORDINATOR};
use std::collections::{BTreeMap, VecDeque};

/// A producer that wrote nothing for so long is forgotten (Kafka's `producer.id.expiration.ms`).
pub const PRODUCER_EXPIRY_MS: u64 = 24 * 60 * 60 * 1000;
/// Producers that a partition remembers; beyond it the longest silent sixteenth is forgotten.
pub const PRODUCERS_MAX: usize = 100_000;
/// Batches remembered per producer: as many as Kafka lets a producer have in flight.
pub const BATCHES_REMEMBERED: usize = 5;
/// `Producer::epoch` of one that was admitted and is not known to have written anything.
pub const NO_EPOCH: i16 = -1;

/// A batch that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: u64,
}

/// A transaction that the partition takes batches of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admitted {
    pub epoch: i16,
    /// Of its first batch; `None`: none has come.
    pub first_offset: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Producer {
    pub epoch: i16,
    /// Used entries of `batches`.
    pub len: u8,
    /// Oldest first.
    pub batches: [Written; BATCHES_REMEMBERED],
    /// The clock when it last wrote.
    pub stamp: Millis,
    /// Of its last batch or marker, as that says itself; −1: none is known.
    pub last_timestamp: i64,
    /// Of the last marker that came; [`NO_COORDINATOR`]: none has.
    pub coordinator_epoch: i32,
    pub txn: Option<Admitted>,
}

impl Producer {
    pub fn new(epoch: i16, stamp: Millis) -> Producer {
        Producer {
            epoch,
            len: 0,
            batches: Default::default(),
            stamp,
            last_timestamp: -1,
            coordinator_epoch: NO_COORDINATOR,
            txn: None,
        }
    }

    pub fn written(&self) -> &[Written] {
        &self.batches[..usize::from(self.len)]
    }

    fn last_sequence(&self) -> i32 {
        self.written().last().map_or(-1, |batch| batch.last_sequence)
    }

    pub fn push(&mut self, batch: Written) {
        if usize::from(self.len) == BATCHES_REMEMBERED {
            self.batches.rotate_left(1);
            self.len -= 1;
        }
        self.batches[usize::from(self.len)] = batch;
        self.len += 1;
    }

    /// A later epoch, in which nothing has been written.
    fn raise(&mut self, epoch: i16) {
        if epoch > self.epoch {
            (self.epoch, self.len) = (epoch, 0);
        }
    }

    fn expired(&self, clock: Millis) -> bool {
        self.txn.is_none() && clock.saturating_sub(self.stamp) >= PRODUCER_EXPIRY_MS
    }

    /// Is it the batch's turn, as far as transactions go?
    fn check_txn(&self, batch: &Header) -> Result<(), AppendError> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_on(&crate::sabotage::LATE_BATCH_TAKEN) && self.txn.is_none() {
            return Ok(());
        }
        match &self.txn {
            Some(txn) if !batch.is_transactional() && txn.first_offset.is_some() => {
                Err(AppendError::InvalidTxnState)
            }
            _ if !batch.is_transactional() => Ok(()),
            Some(txn) if txn.epoch == batch.producer_epoch => Ok(()),
            Some(txn) if txn.epoch > batch.producer_epoch => Err(AppendError::InvalidProducerEpoch),
            _ => Err(AppendError::InvalidTxnState),
        }
    }
}

/// May the batch be appended?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Append,
    /// It was, with this base offset.
    Duplicate(u64),
    Refuse(AppendError),
}

/// The producers of one partition. Boxed one by one: most partitions have a few.
#[derive(Debug, Default)]
pub struct Producers {
    by_id: BTreeMap<i64, Box<Producer>>,
    /// First offsets of open transactions, and whose they are.
    open: BTreeMap<u64, i64>,
    /// By the offset of the marker. As many as the partition keeps something of.
    aborted: VecDeque<Aborted>,
}

impl Producers {
    pub fn check(&self, batch: &Header, clock: Millis) -> Verdict {
        if batch.base_sequence < 0 || batch.producer_epoch < 0 {
            return Verdict::Refuse(AppendError::OutOfOrderSequence);
        }
        let Some(producer) = self.by_id.get(&batch.producer_id).filter(|p| !p.expired(clock)) else {
            return match batch.is_transactional() {
                true => Verdict::Refuse(AppendError::InvalidTxnState),
                false => Verdict::Append,
            };
        };
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_on(&crate::sabotage::OLD_EPOCH_TAKEN)
            && producer.txn.is_some_and(|txn| txn.epoch > batch.producer_epoch)
        {
            return Verdict::Append;
        }
        if batch.producer_epoch < producer.epoch {
            return Verdict::Refuse(AppendError::InvalidProducerEpoch);
        }
        let in_order = if producer.epoch == NO_EPOCH {
            true
        } else if batch.producer_epoch > producer.epoch {
            batch.base_sequence == 0
        } else {
            let last = last_sequence(batch);
            if let Some(same) = producer
                .written()
                .iter()
                .find(|w| w.first_sequence == batch.base_sequence && w.last_sequence == last)
            {
                #[cfg(feature = "sabotage")]
                if crate::sabotage::is_on(&crate::sabotage::RETRY_APPENDED) {
                    return Verdict::Append;
                }
                return Verdict::Duplicate(same.base_offset);
            }
            batch.base_sequence == sequence_after(producer.last_sequence())
        };
        match producer.check_txn(batch) {
            Err(error) => Verdict::Refuse(error),
            Ok(()) if in_order => Verdict::Append,
            Ok(()) => Verdict::Refuse(AppendError::OutOfOrderSequence),
        }
    }

    /// Remembers an accepted batch.
    pub fn record(&mut self, batch: &Header, base_offset: u64, clock: Millis) {
        let written =
            Written { first_sequence: batch.base_sequence, last_sequence: last_sequence(batch), base_offset };
        let known = self.by_id.get(&batch.producer_id).is_some_and(|producer| !producer.expired(clock));
        if !known {
            self.make_room(clock);
            self.by_id.insert(batch.producer_id, Box::new(Producer::new(batch.producer_epoch, clock)));
        }
        let Some(producer) = self.by_id.get_mut(&batch.producer_id) else { return };
        producer.raise(batch.producer_epoch);
        producer.push(written);
        (producer.stamp, producer.last_timestamp) = (clock, batch.max_timestamp);
        if batch.is_transactional()
            && let Some(txn) = &mut producer.txn
            && txn.first_offset.is_none()
        {
            txn.first_offset = Some(base_offset);
            self.open.insert(base_offset, batch.producer_id);
        }
    }

    /// Takes batches of the producer's transaction from now on. `from_zero`: their sequences begin at 0.
    pub fn admit(&mut self, producer: txn::Producer, from_zero: bool, clock: Millis) {
        let known = self.by_id.get(&producer.id).is_some_and(|producer| !producer.expired(clock));
        if !known {
            self.make_room(clock);
            self.by_id.insert(producer.id, Box::new(Producer::new(NO_EPOCH, clock)));
        }
        let Some(known) = self.by_id.get_mut(&producer.id) else { return };
        if known.epoch > producer.epoch {
            return;
        }
        if from_zero {
            known.raise(producer.epoch);
        }
        known.stamp = clock;
        let first_offset = known.txn.and_then(|txn| txn.first_offset);
        known.txn = Some(Admitted { epoch: producer.epoch, first_offset });
    }

    /// Whether there is a transaction that the marker ends.
    pub fn is_open(&self, marker: &Header) -> bool {
        let txn = self.by_id.get(&marker.producer_id).and_then(|producer| producer.txn);
        txn.is_some_and(|txn| txn.epoch <= marker.producer_epoch)
    }

    /// Whether the marker may come, whatever it ends (KIP-98, KIP-890; Kafka's `ProducerAppendInfo`). Those of our own
    /// coordinator always may: it has decided, and would wait for ever. `flags`: of the append. A marker that is
    /// taken is remembered by its coordinator's epoch, also if it ends nothing.
    pub fn admit_marker(
        &mut self,
        marker: &Header,
        flags: u8,
        coordinator_epoch: i32,
    ) -> Result<(), AppendError> {
        let Some(producer) = self.by_id.get_mut(&marker.producer_id) else { return Ok(()) };
        if flags & (APPEND_FOREIGN_MARKER | APPEND_FOREIGN_MARKER_V2) == 0 {
            producer.coordinator_epoch = producer.coordinator_epoch.max(coordinator_epoch);
            return Ok(());
        }
        let (told, known) = (marker.producer_epoch, producer.epoch);
        // Of KIP-890, each end has an epoch above that of its transaction, unless it comes a second time.
        let is_open = producer.txn.is_some_and(|txn| txn.first_offset.is_some());
        let is_low = flags & APPEND_FOREIGN_MARKER_V2 != 0 && told == known && is_open && told < i16::MAX;
        if told < known || is_low {
            return Err(AppendError::InvalidProducerEpoch);
        }
        if coordinator_epoch < producer.coordinator_epoch {
            return Err(AppendError::CoordinatorFenced);
        }
        producer.coordinator_epoch = coordinator_epoch;
        Ok(())
    }

    /// The marker is at `offset`.
    pub fn end(&mut self, marker: &Header, commit: bool, offset: u64, clock: Millis) {
        let id = marker.producer_id;
        let Some(producer) = self.by_id.get_mut(&id) else { return };
        let first_offset = producer.txn.take().and_then(|txn| txn.first_offset);
        (producer.stamp, producer.last_timestamp) = (clock, marker.max_timestamp);
        if producer.epoch == NO_EPOCH {
            // It never wrote, so there is nothing to know of it.
            self.by_id.remove(&id);
        } else {
            producer.raise(marker.producer_epoch);
        }
        let Some(first_offset) = first_offset else { return };
        self.open.remove(&first_offset);
        if !commit {
            let last_stable = self.first_open().unwrap_or(offset + 1);
            self.aborted.push_back(Aborted {
                producer_id: id,
                first_offset,
                last_offset: offset,
                last_stable,
            });
        }
    }

    /// First offset of the oldest open transaction.
    #[inline]
    pub fn first_open(&self) -> Option<u64> {
        self.open.first_key_value().map(|(&first, _)| first)
    }

    /// Aborted transactions that may have something in these offsets, by first offset. `to` is at or below the last
    /// stable offset.
    pub fn aborted(&self, from: u64, to: u64) -> Vec<Aborted> {
        let at = self.aborted.partition_point(|aborted| aborted.last_offset < from);
        let mut found = Vec::new();
        for aborted in self.aborted.range(at..) {
            if aborted.first_offset < to {
                found.push(*aborted);
            }
            if aborted.last_stable >= to {
                break;
            }
        }
        found.sort_unstable_by_key(|aborted| aborted.first_offset);
        found
    }

    /// Nothing of transactions that ended below `offset` is kept, or nothing of those that were aborted.
    pub fn trim(&mut self, offset: u64) {
        while self.aborted.front().is_some_and(|aborted| aborted.last_offset < offset) {
            self.aborted.pop_front();
        }
    }

    /// Gives back the memory of expired producers.
    pub fn purge(&mut self, clock: Millis) {
        self.by_id.retain(|_, producer| !producer.expired(clock));
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.aborted.is_empty()
    }

    /// Those that are not expired, by id.
    pub fn live(&self, clock: Millis) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_id.iter().filter(move |(_, p)| !p.expired(clock)).map(|(&id, p)| (id, &**p))
    }

    /// Those of them that have left something in the partition, as an administrator sees them.
    pub fn active(&self, clock: Millis) -> Vec<ActiveProducer> {
        let active = |(id, producer): (i64, &Producer)| {
            let epoch = match producer.txn {
                Some(txn) => txn.epoch.max(producer.epoch),
                None => producer.epoch,
            };
            ActiveProducer {
                producer: txn::Producer { id, epoch },
                last_sequence: producer.last_sequence(),
                last_timestamp: producer.last_timestamp,
                coordinator_epoch: producer.coordinator_epoch,
                open_since: producer.txn.and_then(|txn| txn.first_offset),
            }
        };
        let left_something = |(_, producer): &(i64, &Producer)| {
            producer.len > 0 || producer.coordinator_epoch != NO_COORDINATOR
        };
        self.live(clock).filter(left_something).map(active).collect()
    }

    /// For checkpoints.
    pub fn all_aborted(&self) -> impl ExactSizeIterator<Item = &Aborted> {
        self.aborted.iter()
    }

    /// From a checkpoint.
    pub fn insert(&mut self, id: i64, producer: Producer) {
        if let Some(first) = producer.txn.and_then(|txn| txn.first_offset) {
            self.open.insert(first, id);
        }
        self.by_id.insert(id, Box::new(producer));
    }

    /// From a checkpoint: in the order of [`Producers::all_aborted`].
    pub fn insert_aborted(&mut self, aborted: Aborted) {
        self.aborted.push_back(aborted);
    }

    /// Whether a replica has purged or not, the same producers are left afterwards: the expired go first, and
    /// only if the rest is too many, the longest silent follow.
    fn make_room(&mut self, clock: Millis) {
        if self.by_id.len() < PRODUCERS_MAX {
            return;
        }
        self.purge(clock);
        if self.by_id.len() < PRODUCERS_MAX {
            return;
        }
        let idle = self.by_id.iter().filter(|(_, p)| p.txn.is_none());
        let mut by_age: Vec<(Millis, i64)> = idle.map(|(&id, p)| (p.stamp, id)).collect();
        let n = (PRODUCERS_MAX / 16).min(by_age.len());
        if n < by_age.len() {
            by_age.select_nth_unstable(n);
        }
        for (_, id) in &by_age[..n] {
            self.by_id.remove(id);
        }
    }
}

/// Sequences run from 0 to 2^31 − 1 and begin again at 0.
fn sequence_after(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

fn last_sequence(batch: &Header) -> i32 {
    ((i64::from(batch.base_sequence) + i64::from(batch.count) - 1) % (1 << 31)) as i32
}
