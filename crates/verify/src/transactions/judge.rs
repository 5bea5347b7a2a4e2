//! The verdict on bank and lists: what is committed, read from end to end, against what workers were told.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bowline_client::kafka::{
    Cluster, FetchLimits, Fetcher, LATEST, Position, Transactions, for_each_record, list_offsets,
};
use bowline_client::{Error, Result};
use serde::Serialize;

use super::lists::Value;
use super::{Bank, Entry, Fate, work};
use crate::world::{PATIENCE, PartitionLog, World, Wrong};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub transactions: u64,
    /// Of them in version 2 of the protocol.
    pub second: u64,
    pub committed: u64,
    /// Aborted or abandoned.
    pub aborted: u64,
    /// A commit was asked for and no answer came; and how many of them are there.
    pub in_doubt: u64,
    pub in_doubt_committed: u64,
    /// Transfers that the committed offsets speak of.
    pub transfers: u64,
    pub records: u64,
    /// Of them values of lists.
    pub values: u64,
    /// Committed transactions of which nothing is there.
    pub lost: u64,
    /// Transactions of which a part is there.
    pub torn: u64,
    /// Aborted transactions of which something was read.
    pub aborted_reads: u64,
    /// Records that are there more than once.
    pub duplicated: u64,
    /// Transfers that were made twice; below the committed offset and not made; made although the offset does not say
    /// so.
    pub doubled: u64,
    pub skipped: u64,
    pub ahead: u64,
    /// What all accounts together have: money made or lost.
    pub balance: i64,
}

impl Verdict {
    pub fn kept(&self) -> bool {
        let sins = [
            self.lost,
            self.torn,
            self.aborted_reads,
            self.duplicated,
            self.doubled,
            self.skipped,
            self.ahead,
        ];
        sins.iter().all(|count| *count == 0) && self.balance == 0
    }
}

/// Ends what is still open, reads everything, and judges.
pub fn judge(world: &World, bank: &Bank) -> Result<Verdict> {
    let mut cluster = Cluster::connect(&world.kafka_options("judge"))?;
    let mut done = Vec::new();
    for worker in 0..bank.workers() {
        Transactions::open(&mut cluster, &bank.transactional_id(worker), PATIENCE)?;
        done.push(work::transfers_done(world, bank, &mut cluster, worker)?);
    }
    let entries = read_bank(world, bank, &mut cluster)?;
    let values = read_lists(world, bank, &mut cluster)?;
    Ok(verdict(world, bank, &entries, &values, &done))
}

fn read_bank(world: &World, bank: &Bank, cluster: &mut Cluster) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut last_attempt: BTreeMap<(i32, u16), u32> = BTreeMap::new();
    read_all(world, cluster, &bank.topic, &bank.logs, |partition, offset, bytes| {
        let Some(entry) = Entry::read(world.run, bytes) else {
            world.wrong(Wrong::Corrupt, || format!("bank, {partition}/{offset}"));
            return 0;
        };
        if bank.partition_of(entry.account) != partition {
            world.wrong(Wrong::Misrouted, || format!("bank, {partition}/{offset}: {entry:?}"));
        }
        let last = last_attempt.entry((partition, entry.worker)).or_insert(entry.attempt);
        if entry.attempt < *last {
            world.wrong(Wrong::Reordered, || format!("bank, {partition}/{offset}: {entry:?}"));
        }
        *last = entry.attempt;
        entries.push(entry);
        entry.fingerprint()
    })?;
    Ok(entries)
}

fn read_lists(world: &World, bank: &Bank, cluster: &mut Cluster) -> Result<Vec<Value>> {
    let mut values = Vec::new();
    let mut last: BTreeMap<(i32, u16), (u32, u32)> = BTreeMap::new();
    read_all(world, cluster, &bank.lists.topic, &bank.lists.logs, |list, offset, bytes| {
        let Some(value) = Value::read(world.run, bytes) else {
            world.wrong(Wrong::Corrupt, || format!("list {list}/{offset}"));
            return 0;
        };
        if value.list as i32 != list {
            world.wrong(Wrong::Misrouted, || format!("list {list}/{offset}: {value:?}"));
        }
        let place = (value.attempt, value.number);
        let before = last.insert((list, value.worker), place);
        if before.is_some_and(|before| before > place) {
            world.wrong(Wrong::Reordered, || format!("list {list}/{offset}: {value:?}"));
        }
        values.push(value);
        value.fingerprint()
    })?;
    Ok(values)
}

/// Hands all that is committed to `each`, which gives its fingerprint; compared with what readers have seen before.
fn read_all(
    world: &World,
    cluster: &mut Cluster,
    topic: &str,
    logs: &[PartitionLog],
    mut each: impl FnMut(i32, i64, &[u8]) -> u64,
) -> Result<()> {
    let found = cluster.topic(topic, false)?;
    let leader = found.partitions.first().map_or(0, |partition| partition.leader);
    let partitions: Vec<i32> = (0..logs.len() as i32).collect();
    let ends = list_offsets(&mut cluster.connect_to(leader)?, topic, &partitions, LATEST)?;
    for (partition, end) in ends {
        let Some(log) = logs.get(partition as usize) else { continue };
        let position = Position { topic: topic.to_owned(), partition, offset: 0 };
        let limits = FetchLimits {
            max_wait: Duration::from_millis(100),
            read_committed: !world.config.read_uncommitted,
            ..FetchLimits::default()
        };
        let mut fetcher = Fetcher::new(cluster.connect_to(leader)?, limits, vec![position]);
        let mut seen: HashMap<i64, u64> = HashMap::new();
        let (mut at, mut progress) = (0, Instant::now());
        while at < end {
            fetcher.request()?;
            let parts = fetcher.receive(PATIENCE)?.ok_or(Error::Timeout("the last read"))?;
            for part in &parts {
                if part.error_code != 0 {
                    return Err(Error::Kafka { api: "Fetch", code: part.error_code });
                }
                for_each_record(part, |_, offset, record| {
                    seen.insert(offset, each(partition, offset, record.value.unwrap_or_default()));
                })?;
            }
            let position = fetcher.positions().first().map_or(end, |position| position.offset);
            if position > at {
                (at, progress) = (position, Instant::now());
            } else if progress.elapsed() > PATIENCE {
                // All transactions have ended: nothing may hold readers back.
                return Err(Error::Timeout("what is committed ends before the partition does"));
            }
        }
        let facts = log.lock();
        for offset in 0..facts.claims_end() {
            let claimed = facts.claimed(offset);
            if claimed.is_some() && claimed != seen.get(&(offset as i64)).copied() {
                world.wrong(Wrong::Vanished, || {
                    format!("{topic}, {partition}/{offset} was read as committed before")
                });
            }
        }
    }
    Ok(())
}

/// `done`: what the committed offset of each worker says.
pub fn verdict(world: &World, bank: &Bank, entries: &[Entry], values: &[Value], done: &[u64]) -> Verdict {
    let mut verdict = Verdict {
        records: (entries.len() + values.len()) as u64,
        values: values.len() as u64,
        transfers: done.iter().sum(),
        balance: entries.iter().map(|entry| entry.amount).sum(),
        ..Verdict::default()
    };
    // Distinct records of each attempt, and attempts of each transfer.
    let mut by_attempt: HashMap<(u16, u32), u64> = HashMap::new();
    let mut by_transfer: HashMap<(u16, u64), Vec<u32>> = HashMap::new();
    let mut known: HashMap<u64, ()> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let attempts = match usize::from(entry.worker) < bank.workers() {
            true => bank.attempts(usize::from(entry.worker)).len(),
            false => 0,
        };
        if entry.attempt as usize >= attempts {
            world.wrong(Wrong::Invented, || format!("bank: {entry:?}"));
            continue;
        }
        if known.insert(entry.fingerprint(), ()).is_some() {
            verdict.duplicated += 1;
            continue;
        }
        *by_attempt.entry((entry.worker, entry.attempt)).or_default() += 1;
        let attempts = by_transfer.entry((entry.worker, entry.transfer)).or_default();
        if !attempts.contains(&entry.attempt) {
            attempts.push(entry.attempt);
        }
    }
    let mut known: HashMap<u64, ()> = HashMap::with_capacity(values.len());
    for value in values {
        if !bank.lists.appends(value.worker, value.attempt).contains(value) {
            world.wrong(Wrong::Invented, || format!("lists: {value:?}"));
        } else if known.insert(value.fingerprint(), ()).is_some() {
            verdict.duplicated += 1;
        } else {
            *by_attempt.entry((value.worker, value.attempt)).or_default() += 1;
        }
    }
    for worker in 0..bank.workers() {
        for (number, attempt) in (0..).zip(bank.attempts(worker).iter()) {
            let there = by_attempt.get(&(worker as u16, number)).copied().unwrap_or(0);
            let appends = bank.lists.appends(worker as u16, number).len() as u64;
            let whole = there == 2 * attempt.count + appends;
            let sin = match attempt.fate {
                Fate::Committed if there == 0 => Some(&mut verdict.lost),
                Fate::Open | Fate::Aborted if there > 0 => Some(&mut verdict.aborted_reads),
                _ if there > 0 && !whole => Some(&mut verdict.torn),
                _ => None,
            };
            if let Some(count) = sin {
                *count += 1;
                world.note(format!(
                    "bank: worker {worker}, transaction {number}: {attempt:?}, {there} records"
                ));
            }
            verdict.transactions += 1;
            verdict.second += u64::from(attempt.second);
            match attempt.fate {
                Fate::Committed => verdict.committed += 1,
                Fate::Open | Fate::Aborted => verdict.aborted += 1,
                Fate::InDoubt => {
                    verdict.in_doubt += 1;
                    verdict.in_doubt_committed += u64::from(whole);
                }
            }
        }
        let done = done.get(worker).copied().unwrap_or(0);
        let made = |number: u64| by_transfer.get(&(worker as u16, number)).map_or(0, Vec::len);
        verdict.skipped += (0..done).filter(|number| made(*number) == 0).count() as u64;
    }
    for ((worker, number), attempts) in &by_transfer {
        verdict.doubled += u64::from(attempts.len() > 1);
        let done = done.get(usize::from(*worker)).copied().unwrap_or(0);
        verdict.ahead += u64::from(*number >= done);
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::world;
    use crate::transactions::lists::Lists;
    use crate::transactions::transfer;
    use Fate::*;

    /// A worker's transactions: first transfer, number of them, fate, and records that are there.
    fn of(attempts: &[(u64, u64, Fate, usize)], done: u64) -> Verdict {
        let world = world(crate::Workload::Transactions);
        let bank = Bank::new("test", 1, 3, Lists::new("test", 0, 1));
        let mut entries = Vec::new();
        for (first, count, fate, there) in attempts {
            let attempt = bank.begin(0, *first, *count, false);
            bank.decide(0, attempt, *fate);
            let all: Vec<Entry> =
                (*first..first + count).flat_map(|number| transfer(1, 0, attempt, number)).collect();
            entries.extend(all.iter().cycle().take(*there));
        }
        verdict(&world, &bank, &entries, &[], &[done])
    }

    /// One transfer and what goes to three lists with it; `kept`: which of the values are there, by number.
    fn with_lists(fate: Fate, money: bool, kept: impl Fn(u32) -> usize) -> Verdict {
        let world = world(crate::Workload::Transactions);
        let bank = Bank::new("test", 1, 3, Lists::new("test", 3, 1));
        let mut attempt = bank.begin(0, 0, 1, true);
        while bank.lists.appends(0, attempt).len() < 2 {
            // It came to nothing.
            bank.decide(0, attempt, Aborted);
            attempt = bank.begin(0, 0, 1, true);
        }
        bank.decide(0, attempt, fate);
        let entries = if money { transfer(1, 0, attempt, 0).to_vec() } else { Vec::new() };
        let appends = bank.lists.appends(0, attempt).into_iter();
        let values: Vec<Value> = appends.flat_map(|value| vec![value; kept(value.number)]).collect();
        verdict(&world, &bank, &entries, &values, &[u64::from(money)])
    }

    #[test]
    fn each_sin_of_lists_is_found() {
        let good = with_lists(Committed, true, |_| 1);
        assert!(good.kept() && good.values >= 2 && good.second == good.transactions, "{good:?}");
        assert!(with_lists(InDoubt, false, |_| 0).kept());
        assert_eq!(with_lists(Committed, true, |number| usize::from(number > 0)).torn, 1);
        assert_eq!(with_lists(InDoubt, false, |_| 1).torn, 1, "values without money");
        assert_eq!(with_lists(InDoubt, true, |_| 0).torn, 1, "money without values");
        assert_eq!(with_lists(Committed, true, |number| 1 + usize::from(number == 0)).duplicated, 1);
        assert_eq!(with_lists(Aborted, false, |_| 1).aborted_reads, 1);
    }

    #[test]
    fn a_good_bank() {
        let verdict = of(
            &[
                (0, 2, Committed, 4),
                (2, 1, Aborted, 0),
                (2, 1, InDoubt, 0),
                (2, 1, Open, 0),
                (2, 3, InDoubt, 6),
            ],
            5,
        );
        assert!(verdict.kept(), "{verdict:?}");
        assert_eq!((verdict.transactions, verdict.committed, verdict.aborted), (5, 1, 2));
        assert_eq!((verdict.in_doubt, verdict.in_doubt_committed, verdict.transfers), (2, 1, 5));
    }

    #[test]
    fn each_sin_of_a_bank_is_found() {
        type Count = fn(&Verdict) -> u64;
        type Sin<'a> = (&'a [(u64, u64, Fate, usize)], u64, Count);
        let sins: [Sin<'_>; 8] = [
            (&[(0, 1, Committed, 0)], 0, |v| v.lost),
            (&[(0, 1, Committed, 1)], 1, |v| v.torn),
            (&[(0, 2, InDoubt, 3)], 2, |v| v.torn),
            (&[(0, 1, Aborted, 2)], 1, |v| v.aborted_reads),
            (&[(0, 1, Open, 1)], 1, |v| v.aborted_reads),
            (&[(0, 1, Committed, 4)], 1, |v| v.duplicated / 2),
            (&[(0, 1, InDoubt, 2), (0, 1, Committed, 2)], 1, |v| v.doubled),
            (&[(0, 1, InDoubt, 2)], 0, |v| v.ahead),
        ];
        for (attempts, done, count) in sins {
            let verdict = of(attempts, done);
            assert!(!verdict.kept(), "{attempts:?}");
            assert_eq!(count(&verdict), 1, "{attempts:?}: {verdict:?}");
        }
        let skipped = of(&[(0, 1, InDoubt, 0)], 1);
        assert!(!skipped.kept() && skipped.skipped == 1);
        assert_ne!(of(&[(0, 1, Committed, 1)], 1).balance, 0, "a debit without its credit");
    }
}
