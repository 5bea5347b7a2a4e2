//! Workers, whose sessions break and who go on from the committed offset; and readers who look on.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bowline_client::kafka::codec::records::{BatchBuilder, Compression};
use bowline_client::kafka::{
    Acks, Cluster, Connection, End, FetchLimits, Fetcher, NewTopic, Position, ProducerId, Sequences,
    Transactions, TxnVersion, committed_offsets, for_each_record, receive_produce, send_produce_in,
};
use bowline_client::retry::Backoff;
use bowline_client::{Error, Result};
use bytes::Bytes;
use rand::Rng;
use rand::rngs::SmallRng;

use super::lists::Value;
use super::{Bank, Entry, Fate, transfer};
use crate::world::{PATIENCE, PartitionLog, Phase, World, Wrong};

const RECONNECT_CEILING: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(20);
/// Longer than any pause of the broker: a transaction that the coordinator gives up is not what is looked for here.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
const TRANSFERS_MAX: u64 = 3;
/// How batches are compressed.
const COMPRESSIONS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
const OFFSET_OUT_OF_RANGE: i16 = 1;
const INVALID_TXN_STATE: i16 = 48;

pub fn set_up(world: &World, bank: &Bank) -> Result<()> {
    let mut cluster = Cluster::connect(&world.kafka_options("set-up"))?;
    for (name, logs) in [(&bank.topic, &bank.logs), (&bank.lists.topic, &bank.lists.logs)] {
        let partitions = logs.len() as i32;
        cluster.create_topic(&NewTopic { name, partitions, replication_factor: 1, configs: Vec::new() })?;
    }
    Ok(())
}

pub fn delete_all(world: &World, bank: &Bank) -> Result<()> {
    let mut cluster = Cluster::connect(&world.kafka_options("tear-down"))?;
    cluster.delete_topic(&bank.topic)?;
    cluster.delete_topic(&bank.lists.topic)
}

/// Makes transfers until the load ends.
pub fn run(world: &World, bank: &Bank, worker: usize) {
    let mut random = world.random(5000 + worker as u64);
    let mut backoff = Backoff::new(RECONNECT_CEILING);
    while world.phase() == Phase::Load {
        if let Err(error) = session(world, bank, worker, &mut random, &mut backoff) {
            if matches!(error, Error::Kafka { code: INVALID_TXN_STATE, .. }) {
                world.wrong(Wrong::Protocol, || format!("a transaction in its right order: {error}"));
            }
            world.failed("transactions", &error);
            thread::sleep(backoff.step());
        }
    }
}

/// Opens the transactional id, asks how far it is, and goes on from there.
fn session(
    world: &World,
    bank: &Bank,
    worker: usize,
    random: &mut SmallRng,
    backoff: &mut Backoff,
) -> Result<()> {
    let life = world.life();
    let mut cluster = Cluster::connect(&world.kafka_options(&format!("teller-{worker}")))?;
    let id = bank.transactional_id(worker);
    let version = if worker.is_multiple_of(2) { TxnVersion::Two } else { TxnVersion::One };
    let mut transactions = Transactions::open_as(&mut cluster, &id, TRANSACTION_TIMEOUT, version)?;
    let second = transactions.version() == TxnVersion::Two;
    let mut done = transfers_done(world, bank, &mut cluster, worker)?;
    let mut connection = connect_to_leader(&mut cluster, &bank.topic)?;
    connection.speak_transactions(version);
    let _registered = (
        world.sockets.register(connection.stream()),
        world.sockets.register(transactions.connection().stream()),
    );
    let mut written = Written::default();
    let begun = Instant::now();
    let mut made = 0;
    while world.phase() == Phase::Load {
        if world.config.rate > 0 && made as f64 > begun.elapsed().as_secs_f64() * f64::from(world.config.rate)
        {
            thread::sleep(TICK);
            continue;
        }
        let count = random.random_range(1..=TRANSFERS_MAX);
        let attempt = bank.begin(worker, done, count, second);
        let mut parts: Parts = BTreeMap::new();
        for number in done..done + count {
            for entry in transfer(world.seed, worker as u16, attempt, number) {
                let key = format!("account {}", entry.account);
                let part = parts.entry((0, bank.partition_of(entry.account))).or_default();
                part.push((key, entry.write(world.run)));
            }
        }
        for value in bank.lists.appends(worker as u16, attempt) {
            let part = parts.entry((1, value.list as i32)).or_default();
            part.push((format!("list {}", value.list), value.write(world.run)));
        }
        // Both requests are on their way before the first is answered.
        let lists = parts.split_off(&(1, i32::MIN));
        let mut requests = 0;
        for (topic, parts) in [(&bank.topic, parts), (&bank.lists.topic, lists)] {
            let partitions: Vec<i32> = parts.keys().map(|(_, partition)| *partition).collect();
            if partitions.is_empty() {
                continue;
            }
            transactions.add_partitions(topic, &partitions)?;
            let batches = written.batches(transactions.producer(), parts, random)?;
            send_produce_in(&mut connection, Some(&id), topic, Acks::All, PATIENCE, batches)?;
            requests += 1;
        }
        for _ in 0..requests {
            let appended = receive_produce(&mut connection, PATIENCE)?.ok_or(Error::Timeout("Produce"))?;
            if let Some(refused) = appended.iter().find(|part| part.error_code != 0) {
                return Err(Error::Kafka { api: "Produce", code: refused.error_code });
            }
        }
        let position = Position {
            topic: bank.topic.clone(),
            partition: place_of(bank, worker),
            offset: (done + count) as i64,
        };
        transactions.commit_offsets(&mut cluster, &group_of(bank, worker), &[position])?;
        match random.random_range(0..20) {
            // Abandoned: the next session's opening ends it.
            0 => return Ok(()),
            1..4 => {
                transactions.end(End::Abort)?;
                bank.decide(worker, attempt, Fate::Aborted);
            }
            _ => {
                bank.decide(worker, attempt, Fate::InDoubt);
                transactions.end(End::Commit)?;
                bank.decide(worker, attempt, Fate::Committed);
                done += count;
                made += count;
                world.kafka_recovery.confirm.stop(life);
                backoff.reset();
            }
        }
    }
    Ok(())
}

/// Records, key and value, by topic and partition.
type Parts = BTreeMap<(usize, i32), Vec<(String, Vec<u8>)>>;

/// What a producer has written under its present epoch.
#[derive(Default)]
struct Written {
    producer: Option<ProducerId>,
    /// By topic.
    sequences: [Sequences; 2],
}

impl Written {
    /// Batches by partition, compressed in one way or another.
    fn batches(
        &mut self,
        producer: ProducerId,
        parts: Parts,
        random: &mut SmallRng,
    ) -> Result<Vec<(i32, Bytes)>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        if self.producer != Some(producer) {
            *self = Written { producer: Some(producer), ..Written::default() };
        }
        let mut batches = Vec::with_capacity(parts.len());
        for ((topic, partition), records) in parts {
            let first = self.sequences[topic].take(partition, records.len() as i32);
            let mut builder = BatchBuilder::new(now)
                .compression(COMPRESSIONS[random.random_range(0..COMPRESSIONS.len())])
                .producer(producer.id, producer.epoch, first)
                .transactional();
            for (key, value) in records {
                builder
                    .append(Some(key.as_bytes()), Some(&value), &[], now)
                    .map_err(|error| Error::Protocol(error.to_string()))?;
            }
            batches.push((partition, builder.build().map_err(|error| Error::Protocol(error.to_string()))?));
        }
        Ok(batches)
    }
}

/// Each worker has a group, so that their coordinators may differ, and a partition in it.
fn group_of(bank: &Bank, worker: usize) -> String {
    format!("{}-{worker}", bank.group)
}

fn place_of(bank: &Bank, worker: usize) -> i32 {
    (worker % bank.logs.len()) as i32
}

/// How many transfers the committed offset says, which must be what was confirmed.
pub fn transfers_done(world: &World, bank: &Bank, cluster: &mut Cluster, worker: usize) -> Result<u64> {
    let group = group_of(bank, worker);
    let mut coordinator = cluster.connect_to_coordinator(&group)?;
    let found = committed_offsets(&mut coordinator, &group, &bank.topic, &[place_of(bank, worker)])?;
    let done = found.first().map_or(0, |(_, offset)| (*offset).max(0) as u64);
    let (least, most) = bank.bounds(worker);
    if done < least || done > most {
        world.wrong(Wrong::CommitLost, || {
            format!("worker {worker}: offset {done}, where {least} transfers at least and {most} at most were made")
        });
    }
    Ok(done)
}

fn connect_to_leader(cluster: &mut Cluster, topic: &str) -> Result<Connection> {
    let found = cluster.topic(topic, false)?;
    let leader = found.partitions.first().map_or(0, |partition| partition.leader);
    cluster.connect_to(leader)
}

/// What a reader looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The bank, each record once.
    Bank,
    /// The lists, from their beginning with each connection.
    Lists,
}

impl Reads {
    fn of(self, bank: &Bank) -> (&str, &[PartitionLog]) {
        match self {
            Reads::Bank => (&bank.topic, &bank.logs),
            Reads::Lists => (&bank.lists.topic, &bank.lists.logs),
        }
    }

    /// Who wrote a record in which transaction, and its fingerprint; `None`: nobody.
    fn identify(self, run: u32, bytes: &[u8]) -> Option<(u16, u32, u64)> {
        match self {
            Reads::Bank => Entry::read(run, bytes).map(|e| (e.worker, e.attempt, e.fingerprint())),
            Reads::Lists => Value::read(run, bytes).map(|v| (v.worker, v.attempt, v.fingerprint())),
        }
    }
}

/// Reads what is committed as it comes, until everything stops, and remembers what was where.
pub fn look_on(world: &World, bank: &Bank, reads: Reads) {
    let mut backoff = Backoff::new(RECONNECT_CEILING);
    let (topic, logs) = reads.of(bank);
    let start = |partition| Position { topic: topic.to_owned(), partition, offset: 0 };
    let mut positions: Vec<Position> = (0..logs.len() as i32).map(start).collect();
    while world.phase() < Phase::Stop {
        if reads == Reads::Lists {
            positions.iter_mut().for_each(|position| position.offset = 0);
        }
        if let Err(error) = watch(world, bank, reads, &mut positions, &mut backoff) {
            world.failed("reader of transactions", &error);
            thread::sleep(backoff.step());
        }
    }
}

fn watch(
    world: &World,
    bank: &Bank,
    reads: Reads,
    positions: &mut Vec<Position>,
    backoff: &mut Backoff,
) -> Result<()> {
    let (topic, logs) = reads.of(bank);
    let mut cluster = Cluster::connect(&world.kafka_options("auditor"))?;
    let connection = connect_to_leader(&mut cluster, topic)?;
    let _registered = world.sockets.register(connection.stream());
    let limits = FetchLimits {
        max_wait: Duration::from_millis(100),
        read_committed: !world.config.read_uncommitted,
        ..FetchLimits::default()
    };
    let mut fetcher = Fetcher::new(connection, limits, positions.clone());
    // Where each partition was left.
    let mut next = vec![0; logs.len()];
    while world.phase() < Phase::Stop {
        fetcher.request()?;
        let Some(parts) = fetcher.receive(TICK)? else { continue };
        backoff.reset();
        for part in &parts {
            let partition = part.partition;
            if part.error_code == OFFSET_OUT_OF_RANGE {
                let offset = part.offset;
                world.wrong(Wrong::Vanished, || format!("{topic}/{partition}: {offset} is out of range"));
            }
            if part.error_code != 0 {
                return Err(Error::Kafka { api: "Fetch", code: part.error_code });
            }
            let (Some(log), Some(next)) = (logs.get(partition as usize), next.get_mut(partition as usize))
            else {
                continue;
            };
            for_each_record(part, |_, offset, record| {
                let seen = reads.identify(world.run, record.value.unwrap_or_default());
                let known = seen.is_some_and(|(.., fingerprint)| log.lock().claim(offset, fingerprint));
                if !known {
                    world.wrong(Wrong::Moved, || format!("{topic}/{partition}/{offset}: {seen:?}"));
                }
                if seen.is_some_and(|(worker, attempt, _)| !bank.may_be_read(worker, attempt)) {
                    world.wrong(Wrong::Uncommitted, || format!("{topic}/{partition}/{offset}: {seen:?}"));
                }
                if offset < *next {
                    world.wrong(Wrong::Reordered, || format!("{topic}/{partition}/{offset} after {next}"));
                }
                *next = offset + 1;
            })?;
        }
        // Only what was looked at counts: after an error it is fetched again.
        *positions = fetcher.positions().to_vec();
    }
    Ok(())
}
