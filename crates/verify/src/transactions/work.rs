//! Workers, whose sessions break and who go on from the committed offset; and the reader who looks on.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bowline_client::kafka::codec::records::BatchBuilder;
use bowline_client::kafka::{
    Acks, Cluster, Connection, End, FetchLimits, Fetcher, NewTopic, Position, Sequences, Transactions,
    committed_offsets, for_each_record, receive_produce, send_produce_in,
};
use bowline_client::retry::Backoff;
use bowline_client::{Error, Result};
use bytes::Bytes;
use rand::Rng;
use rand::rngs::SmallRng;

use super::{Bank, Entry, Fate, transfer};
use crate::world::{PATIENCE, Phase, World, Wrong};

const RECONNECT_CEILING: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(20);
/// Longer than any pause of the broker: a transaction that the coordinator gives up is not what is looked for here.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
const TRANSFERS_MAX: u64 = 3;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const INVALID_TXN_STATE: i16 = 48;

pub fn set_up(world: &World, bank: &Bank) -> Result<()> {
    let mut cluster = Cluster::connect(&world.kafka_options("set-up"))?;
    let partitions = bank.logs.len() as i32;
    let topic = NewTopic { name: &bank.topic, partitions, replication_factor: 1, configs: Vec::new() };
    cluster.create_topic(&topic).map(|_| ())
}

pub fn delete_all(world: &World, bank: &Bank) -> Result<()> {
    Cluster::connect(&world.kafka_options("tear-down"))?.delete_topic(&bank.topic)
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
    let mut transactions =
        Transactions::open(&mut cluster, &bank.transactional_id(worker), TRANSACTION_TIMEOUT)?;
    let mut done = transfers_done(world, bank, &mut cluster, worker)?;
    let mut connection = connect_to_leader(&mut cluster, &bank.topic)?;
    let _registered = (
        world.sockets.register(connection.stream()),
        world.sockets.register(transactions.connection().stream()),
    );
    let mut sequences = Sequences::default();
    let begun = Instant::now();
    let mut made = 0;
    while world.phase() == Phase::Load {
        if world.config.rate > 0 && made as f64 > begun.elapsed().as_secs_f64() * f64::from(world.config.rate)
        {
            thread::sleep(TICK);
            continue;
        }
        let count = random.random_range(1..=TRANSFERS_MAX);
        let attempt = bank.begin(worker, done, count);
        let mut parts: BTreeMap<i32, Vec<Entry>> = BTreeMap::new();
        for number in done..done + count {
            for entry in transfer(world.seed, worker as u16, attempt, number) {
                parts.entry(bank.partition_of(entry.account)).or_default().push(entry);
            }
        }
        let partitions: Vec<i32> = parts.keys().copied().collect();
        transactions.add_partitions(&bank.topic, &partitions)?;
        let batches = batches(world, &transactions, &mut sequences, parts)?;
        let id = bank.transactional_id(worker);
        send_produce_in(&mut connection, Some(&id), &bank.topic, Acks::All, PATIENCE, batches)?;
        let appended = receive_produce(&mut connection, PATIENCE)?.ok_or(Error::Timeout("Produce"))?;
        if let Some(refused) = appended.iter().find(|part| part.error_code != 0) {
            return Err(Error::Kafka { api: "Produce", code: refused.error_code });
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

fn batches(
    world: &World,
    transactions: &Transactions,
    sequences: &mut Sequences,
    parts: BTreeMap<i32, Vec<Entry>>,
) -> Result<Vec<(i32, Bytes)>> {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let producer = transactions.producer();
    let mut batches = Vec::with_capacity(parts.len());
    for (partition, entries) in parts {
        let first = sequences.take(partition, entries.len() as i32);
        let mut builder =
            BatchBuilder::new(timestamp).producer(producer.id, producer.epoch, first).transactional();
        for entry in entries {
            let key = format!("account {}", entry.account);
            builder
                .append(Some(key.as_bytes()), Some(&entry.write(world.run)), &[], timestamp)
                .map_err(|error| Error::Protocol(error.to_string()))?;
        }
        batches.push((partition, builder.build().map_err(|error| Error::Protocol(error.to_string()))?));
    }
    Ok(batches)
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

/// Reads what is committed as it comes, until everything stops, and remembers what was where.
pub fn look_on(world: &World, bank: &Bank) {
    let mut backoff = Backoff::new(RECONNECT_CEILING);
    let mut positions: Vec<Position> = (0..bank.logs.len() as i32)
        .map(|partition| Position { topic: bank.topic.clone(), partition, offset: 0 })
        .collect();
    while world.phase() < Phase::Stop {
        if let Err(error) = watch(world, bank, &mut positions, &mut backoff) {
            world.failed("reader of transactions", &error);
            thread::sleep(backoff.step());
        }
    }
}

fn watch(world: &World, bank: &Bank, positions: &mut Vec<Position>, backoff: &mut Backoff) -> Result<()> {
    let mut cluster = Cluster::connect(&world.kafka_options("auditor"))?;
    let connection = connect_to_leader(&mut cluster, &bank.topic)?;
    let _registered = world.sockets.register(connection.stream());
    let limits = FetchLimits {
        max_wait: Duration::from_millis(100),
        read_committed: !world.config.read_uncommitted,
        ..FetchLimits::default()
    };
    let mut fetcher = Fetcher::new(connection, limits, positions.clone());
    while world.phase() < Phase::Stop {
        fetcher.request()?;
        let Some(parts) = fetcher.receive(TICK)? else { continue };
        backoff.reset();
        for part in &parts {
            if part.error_code == OFFSET_OUT_OF_RANGE {
                let (partition, offset) = (part.partition, part.offset);
                world.wrong(Wrong::Vanished, || {
                    format!("bank, partition {partition}: {offset} is out of range")
                });
            }
            if part.error_code != 0 {
                return Err(Error::Kafka { api: "Fetch", code: part.error_code });
            }
            let Some(log) = bank.logs.get(part.partition as usize) else { continue };
            for_each_record(part, |_, offset, record| {
                let seen = Entry::read(world.run, record.value.unwrap_or_default());
                let known = seen.is_some_and(|entry| log.lock().claim(offset, entry.fingerprint()));
                if !known {
                    world.wrong(Wrong::Moved, || format!("bank, {}/{offset}: {seen:?}", part.partition));
                }
            })?;
        }
        // Only what was looked at counts: after an error it is fetched again.
        *positions = fetcher.positions().to_vec();
    }
    Ok(())
}
