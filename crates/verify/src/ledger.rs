//! What was promised and what was seen, message by message. Workers write into it while the broker is attacked; the
//! judge reads it afterwards.
//!
//! A verdict on `redelivered` must not depend on which of two threads writes first: a message that one consumer
//! still has in its socket may be redelivered to another. So the ledger only counts, per message, how often it came
//! with and without the flag. That it came *twice without* is wrong in any order.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Facts about one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub confirmed: bool,
    /// The broker said that it does not keep it.
    pub refused: bool,
    /// A consumer gave it back (nack or reject with requeue).
    pub given_back: bool,
    /// A consumer sent an ack for it.
    pub acked: bool,
    /// Deliveries with `redelivered` false, up to 3.
    pub first_deliveries: u8,
    /// Deliveries with `redelivered` true, up to 255.
    pub redeliveries: u8,
    /// Deliveries after an ack for it was sent, up to 3.
    pub after_ack: u8,
}

impl Entry {
    pub fn deliveries(&self) -> u32 {
        u32::from(self.first_deliveries) + u32::from(self.redeliveries)
    }
}

const FIRST_MAX: u8 = 3;
const AFTER_ACK_MAX: u8 = 3;

/// An entry in two octets: there are millions of them.
#[derive(Clone, Copy, Debug, Default)]
struct Packed {
    /// confirmed, refused, given_back, acked, first_deliveries (2 bits), after_ack (2 bits)
    bits: u8,
    redeliveries: u8,
}

impl Packed {
    fn unpack(self) -> Entry {
        Entry {
            confirmed: self.bits & 1 != 0,
            refused: self.bits & 2 != 0,
            given_back: self.bits & 4 != 0,
            acked: self.bits & 8 != 0,
            first_deliveries: self.bits >> 4 & 3,
            after_ack: self.bits >> 6,
            redeliveries: self.redeliveries,
        }
    }

    fn pack(entry: Entry) -> Packed {
        let flags = [entry.confirmed, entry.refused, entry.given_back, entry.acked];
        let flags = flags.iter().enumerate().fold(0, |bits, (place, flag)| bits | u8::from(*flag) << place);
        Packed {
            bits: flags | entry.first_deliveries << 4 | entry.after_ack << 6,
            redeliveries: entry.redeliveries,
        }
    }
}

/// All messages of one producer.
#[derive(Debug, Default)]
pub struct Account {
    entries: Mutex<Vec<Packed>>,
}

impl Account {
    /// A message is about to be sent; returns its number.
    pub fn publish(&self) -> u64 {
        let mut entries = self.lock();
        entries.push(Packed::default());
        entries.len() as u64 - 1
    }

    pub fn confirm(&self, sequence: u64) {
        self.update(sequence, |entry| entry.confirmed = true);
    }

    pub fn refuse(&self, sequence: u64) {
        self.update(sequence, |entry| entry.refused = true);
    }

    pub fn give_back(&self, sequence: u64) {
        self.update(sequence, |entry| entry.given_back = true);
    }

    pub fn ack(&self, sequence: u64) {
        self.update(sequence, |entry| entry.acked = true);
    }

    /// `false`: nobody ever sent such a message.
    #[must_use]
    pub fn deliver(&self, sequence: u64, redelivered: bool) -> bool {
        self.update(sequence, |entry| {
            if redelivered {
                entry.redeliveries = entry.redeliveries.saturating_add(1);
            } else {
                entry.first_deliveries = (entry.first_deliveries + 1).min(FIRST_MAX);
            }
            if entry.acked {
                entry.after_ack = (entry.after_ack + 1).min(AFTER_ACK_MAX);
            }
        })
    }

    pub fn len(&self) -> u64 {
        self.lock().len() as u64
    }

    pub fn entry(&self, sequence: u64) -> Option<Entry> {
        self.lock().get(usize::try_from(sequence).ok()?).map(|packed| packed.unpack())
    }

    /// All entries in order.
    pub fn for_each(&self, mut each: impl FnMut(u64, Entry)) {
        for (sequence, packed) in (0..).zip(self.lock().iter()) {
            each(sequence, packed.unpack());
        }
    }

    fn update(&self, sequence: u64, change: impl FnOnce(&mut Entry)) -> bool {
        let mut entries = self.lock();
        let Some(packed) = usize::try_from(sequence).ok().and_then(|index| entries.get_mut(index)) else {
            return false;
        };
        let mut entry = packed.unpack();
        change(&mut entry);
        *packed = Packed::pack(entry);
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Packed>> {
        self.entries.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// How long things took after an attack.
#[derive(Debug, Default)]
pub struct Stopwatch {
    since: Mutex<Option<(Instant, u64)>>,
    times: Mutex<Vec<Duration>>,
}

impl Stopwatch {
    /// The broker was killed; its next life has that number.
    pub fn start(&self, at: Instant, incarnation: u64) {
        *self.since.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((at, incarnation));
    }

    /// What was waited for has happened on a connection to that life of the broker. Only the first time counts.
    pub fn stop(&self, incarnation: u64) {
        let mut since = self.since.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if since.is_some_and(|(_, awaited)| incarnation >= awaited)
            && let Some((at, _)) = since.take()
        {
            self.times.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(at.elapsed());
        }
    }

    pub fn times(&self) -> Vec<Duration> {
        let mut times = self.times.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        times.sort();
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_packing() {
        let account = Account::default();
        let sequence = account.publish();
        account.confirm(sequence);
        assert!(account.deliver(sequence, false) && account.deliver(sequence, true));
        account.give_back(sequence);
        account.ack(sequence);
        assert!(account.deliver(sequence, false));
        for _ in 0..300 {
            assert!(account.deliver(sequence, true));
        }
        let expected = Entry {
            confirmed: true,
            refused: false,
            given_back: true,
            acked: true,
            first_deliveries: 2,
            redeliveries: 255,
            after_ack: 3,
        };
        assert_eq!(account.entry(sequence), Some(expected));
        assert!(!account.deliver(sequence + 1, false));
    }

    #[test]
    fn only_the_new_life_stops_the_watch() {
        let watch = Stopwatch::default();
        watch.start(Instant::now(), 2);
        watch.stop(1);
        assert!(watch.times().is_empty());
        watch.stop(2);
        watch.stop(2);
        assert_eq!(watch.times().len(), 1);
    }
}
