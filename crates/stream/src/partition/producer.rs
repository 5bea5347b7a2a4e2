//! Idempotent producers (KIP-98, KIP-360): what a partition remembers of who wrote to it.
//!
//! Per producer id: the epoch and the last five batches of that epoch. A batch that comes again gets the answer
//! that it got; a batch that skips some is refused. A producer that has written nothing for a day is forgotten,
//! and so are the longest silent ones when there are too many; an unknown producer may start anywhere.
//!
//! "A day" is measured by the stamps of applied blocks, whose maximum (`clock`) never goes back: what has expired
//! stays expired, so it makes no difference when an expired producer's memory is given back.

use super::batch::Header;
use bowline_model::Millis;
use bowline_model::event::AppendError;
use std::collections::BTreeMap;

/// A producer that wrote nothing for so long is forgotten (Kafka's `producer.id.expiration.ms`).
pub const PRODUCER_EXPIRY_MS: u64 = 24 * 60 * 60 * 1000;
/// Producers that a partition remembers; beyond it the longest silent sixteenth is forgotten.
pub const PRODUCERS_MAX: usize = 100_000;
/// Batches remembered per producer: as many as Kafka lets a producer have in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// A batch that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Producer {
    pub epoch: i16,
    /// Used entries of `batches`, ≥ 1.
    pub len: u8,
    /// Oldest first.
    pub batches: [Written; BATCHES_REMEMBERED],
    /// The clock when it last wrote.
    pub stamp: Millis,
}

impl Producer {
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

    fn expired(&self, clock: Millis) -> bool {
        clock.saturating_sub(self.stamp) >= PRODUCER_EXPIRY_MS
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
pub struct Producers(BTreeMap<i64, Box<Producer>>);

impl Producers {
    pub fn check(&self, batch: &Header, clock: Millis) -> Verdict {
        if batch.base_sequence < 0 || batch.producer_epoch < 0 {
            return Verdict::Refuse(AppendError::OutOfOrderSequence);
        }
        let Some(producer) = self.0.get(&batch.producer_id).filter(|p| !p.expired(clock)) else {
            return Verdict::Append;
        };
        if batch.producer_epoch < producer.epoch {
            return Verdict::Refuse(AppendError::InvalidProducerEpoch);
        }
        let in_order = if batch.producer_epoch > producer.epoch {
            batch.base_sequence == 0
        } else {
            let last = last_sequence(batch);
            if let Some(same) = producer
                .written()
                .iter()
                .find(|w| w.first_sequence == batch.base_sequence && w.last_sequence == last)
            {
                #[cfg(feature = "sabotage")]
                if crate::sabotage::RETRY_APPENDED.load(std::sync::atomic::Ordering::Relaxed) {
                    return Verdict::Append;
                }
                return Verdict::Duplicate(same.base_offset);
            }
            batch.base_sequence == sequence_after(producer.last_sequence())
        };
        if in_order { Verdict::Append } else { Verdict::Refuse(AppendError::OutOfOrderSequence) }
    }

    /// Remembers an accepted batch.
    pub fn record(&mut self, batch: &Header, base_offset: u64, clock: Millis) {
        let written =
            Written { first_sequence: batch.base_sequence, last_sequence: last_sequence(batch), base_offset };
        if let Some(producer) = self.0.get_mut(&batch.producer_id)
            && producer.epoch == batch.producer_epoch
            && !producer.expired(clock)
        {
            producer.push(written);
            producer.stamp = clock;
            return;
        }
        self.make_room(clock);
        let mut producer =
            Producer { epoch: batch.producer_epoch, len: 0, batches: Default::default(), stamp: clock };
        producer.push(written);
        self.0.insert(batch.producer_id, Box::new(producer));
    }

    /// Gives back the memory of expired producers.
    pub fn purge(&mut self, clock: Millis) {
        self.0.retain(|_, producer| !producer.expired(clock));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are not expired, by id.
    pub fn live(&self, clock: Millis) -> impl Iterator<Item = (i64, &Producer)> {
        self.0.iter().filter(move |(_, p)| !p.expired(clock)).map(|(&id, p)| (id, &**p))
    }

    pub fn insert(&mut self, id: i64, producer: Producer) {
        self.0.insert(id, Box::new(producer));
    }

    /// Whether a replica has purged or not, the same producers are left afterwards: the expired go first, and
    /// only if the rest is too many, the longest silent follow.
    fn make_room(&mut self, clock: Millis) {
        if self.0.len() < PRODUCERS_MAX {
            return;
        }
        self.purge(clock);
        if self.0.len() < PRODUCERS_MAX {
            return;
        }
        let mut by_age: Vec<(Millis, i64)> = self.0.iter().map(|(&id, p)| (p.stamp, id)).collect();
        let n = PRODUCERS_MAX / 16;
        by_age.select_nth_unstable(n);
        for (_, id) in &by_age[..n] {
            self.0.remove(id);
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
