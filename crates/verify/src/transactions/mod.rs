//! A bank and lists in Kafka transactions, under attack.
//!
//! Worker *w* has an endless list of transfers, number 0, 1, 2 …, each from one account to another; which ones follows
//! from the seed. A transaction makes a few of them: for each a debit and a credit, which lie in the partitions of
//! their accounts, and with them the group's committed offset, which says how many transfers this worker has made. That
//! offset is all that a worker knows of its past when its session has broken. Some transactions are aborted, some
//! abandoned, some lose their connection while they end. Each transaction also appends unique values to [`lists`], in a
//! topic of their own. Every other worker speaks version 2 of the protocol (KIP-890), and batches are compressed in all
//! ways that there are.
//!
//! ```text
//! worker ─ begin, debits and credits, values, offset, end ──► bank (attempts) ─┐
//! readers ─ read what is committed meanwhile ──► logs (claims)                ─┼─► judge
//! judge  ─ reads everything in the end ────────────────────────────────────────┘
//! ```
//! So every transfer below the offset is there exactly once, whole, and none beyond; what was aborted is never seen;
//! money is neither made nor lost. What the lists have of a transaction is what the accounts have: all or nothing. That
//! is the list of anomalies which analyses of Kafka and its kin look for: lost and aborted reads, torn transactions,
//! duplicates, offsets that go back.

pub mod judge;
pub mod lists;
pub mod work;

use std::sync::{Mutex, MutexGuard};

use bowline_client::kafka::codec::checksum::Crc32c;

use crate::world::PartitionLog;
use lists::Lists;

pub const ACCOUNTS: u32 = 40;
const MAGIC: u32 = 0x4241_4E4B;
pub const ENTRY_BYTES: usize = 40;

/// What happened to one transaction, as far as its worker was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nobody has asked for a commit: it can only be aborted.
    Open,
    /// A commit was asked for, and no answer has come.
    InDoubt,
    Committed,
    Aborted,
}

/// One transaction: `count` transfers from number `first` on.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub first: u64,
    pub count: u64,
    /// In version 2 of the protocol.
    pub second: bool,
    pub fate: Fate,
}

/// Everything that workers and the reader have to say.
#[derive(Debug)]
pub struct Bank {
    pub topic: String,
    pub group: String,
    /// Attempts by worker.
    workers: Vec<Mutex<Vec<Attempt>>>,
    /// What the reader has seen, by partition.
    pub logs: Vec<PartitionLog>,
    pub lists: Lists,
}

/// Money that moves: half a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub worker: u16,
    pub attempt: u32,
    pub transfer: u64,
    pub account: u32,
    /// Negative for the debit.
    pub amount: i64,
}

impl Bank {
    pub fn new(name: &str, workers: usize, partitions: usize, lists: Lists) -> Bank {
        Bank {
            topic: format!("{name}-bank"),
            group: format!("{name}-tellers"),
            workers: (0..workers).map(|_| Mutex::default()).collect(),
            logs: (0..partitions).map(|_| PartitionLog::default()).collect(),
            lists,
        }
    }

    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    pub fn transactional_id(&self, worker: usize) -> String {
        format!("{}-{worker}", self.topic)
    }

    pub fn partition_of(&self, account: u32) -> i32 {
        (account as usize % self.logs.len()) as i32
    }

    pub fn attempts(&self, worker: usize) -> MutexGuard<'_, Vec<Attempt>> {
        self.workers[worker].lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A new transaction's number.
    pub fn begin(&self, worker: usize, first: u64, count: u64, second: bool) -> u32 {
        let mut attempts = self.attempts(worker);
        attempts.push(Attempt { first, count, second, fate: Fate::Open });
        attempts.len() as u32 - 1
    }

    pub fn decide(&self, worker: usize, attempt: u32, fate: Fate) {
        self.attempts(worker)[attempt as usize].fate = fate;
    }

    /// Whether a commit of that transaction was asked for, so that it may be read.
    pub fn may_be_read(&self, worker: u16, attempt: u32) -> bool {
        usize::from(worker) < self.workers()
            && self
                .attempts(usize::from(worker))
                .get(attempt as usize)
                .is_some_and(|attempt| matches!(attempt.fate, Fate::InDoubt | Fate::Committed))
    }

    /// How many transfers of a worker are certain to be made, and how many may be.
    pub fn bounds(&self, worker: usize) -> (u64, u64) {
        let attempts = self.attempts(worker);
        let end = |fates: &[Fate]| {
            let ends =
                attempts.iter().filter(|one| fates.contains(&one.fate)).map(|one| one.first + one.count);
            ends.max().unwrap_or(0)
        };
        (end(&[Fate::Committed]), end(&[Fate::Committed, Fate::InDoubt]))
    }

    pub fn transactions(&self) -> u64 {
        (0..self.workers()).map(|worker| self.attempts(worker).len() as u64).sum()
    }
}

/// Debit and credit of a transfer.
pub fn transfer(seed: u64, worker: u16, attempt: u32, number: u64) -> [Entry; 2] {
    let mut state = seed ^ u64::from(worker) << 48 ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    state = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state ^= state >> 27;
    let from = state as u32 % ACCOUNTS;
    let to = (from + 1 + (state >> 32) as u32 % (ACCOUNTS - 1)) % ACCOUNTS;
    let amount = (state >> 16 & 0xFFFF) as i64 + 1;
    [(from, -amount), (to, amount)].map(|(account, amount)| Entry {
        worker,
        attempt,
        transfer: number,
        account,
        amount,
    })
}

impl Entry {
    pub fn write(&self, run: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENTRY_BYTES);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&run.to_le_bytes());
        out.extend_from_slice(&u32::from(self.worker).to_le_bytes());
        out.extend_from_slice(&self.attempt.to_le_bytes());
        out.extend_from_slice(&self.transfer.to_le_bytes());
        out.extend_from_slice(&self.account.to_le_bytes());
        out.extend_from_slice(&self.amount.to_le_bytes());
        let mut crc = Crc32c::new();
        crc.update(&out);
        out.extend_from_slice(&crc.finish().to_le_bytes());
        out
    }

    /// `None`: not what anybody has written in this run.
    pub fn read(run: u32, bytes: &[u8]) -> Option<Entry> {
        let (content, crc): (&[u8; ENTRY_BYTES - 4], _) = bytes.split_first_chunk()?;
        let mut sum = Crc32c::new();
        sum.update(content);
        let u32_at =
            |at: usize| u32::from_le_bytes([content[at], content[at + 1], content[at + 2], content[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if crc != sum.finish().to_le_bytes() || u32_at(0) != MAGIC || u32_at(4) != run {
            return None;
        }
        Some(Entry {
            worker: u32_at(8) as u16,
            attempt: u32_at(12),
            transfer: u64_at(16),
            account: u32_at(24),
            amount: u64_at(28) as i64,
        })
    }

    /// This entry in one number, never 0.
    pub fn fingerprint(&self) -> u64 {
        let side = u64::from(self.amount > 0);
        (u64::from(self.worker) + 1) << 56
            | u64::from(self.attempt) << 28
            | (self.transfer << 1 | side) & 0xFFF_FFFF
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_and_damage_does_not() {
        let [debit, credit] = transfer(7, 3, 5, 900);
        assert_eq!(debit.amount + credit.amount, 0);
        assert_ne!(debit.account, credit.account);
        assert_ne!(debit.fingerprint(), credit.fingerprint());
        let bytes = credit.write(1);
        assert_eq!(bytes.len(), ENTRY_BYTES);
        assert_eq!(Entry::read(1, &bytes), Some(credit));
        assert_eq!(Entry::read(2, &bytes), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(Entry::read(1, &damaged), None, "octet {at}");
        }
    }
}
