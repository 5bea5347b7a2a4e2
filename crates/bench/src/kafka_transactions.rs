//! Transactional producers: small transactions one after the other, each over two partitions where there are two.
//!
//! What is measured is a whole transaction, from when it was due until the answer to its end: partitions joined,
//! records written, markers on their way. Version 2 (KIP-890) is spoken with brokers that have it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use bowline_client::kafka::codec::records::BatchBuilder;
use bowline_client::kafka::{
    Acks, Connection, End, Sequences, Transactions, TxnVersion, error_name, receive_produce, send_produce_in,
};
use bowline_client::retry::Backoff;
use bytes::Bytes;

use crate::args::Settings;
use crate::clock::now_ns;
use crate::control::{Control, Phase, Produced};
use crate::filler::Filler;
use crate::kafka_load::{PATIENCE, TICK, by_leader, compression, connect};
use crate::pace::Pace;
use crate::stamp::Stamp;

/// After which the coordinator would end a transaction of ours by itself.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
const CONCURRENT_TRANSACTIONS: i16 = 51;
const RETRY_CEILING: Duration = Duration::from_millis(100);
/// Enough for atomicity to mean something.
const PARTITIONS_EACH: usize = 2;

struct Producer<'a> {
    settings: &'a Settings,
    number: u16,
    transactions: Transactions,
    transactional_id: String,
    /// The leader of each partition, a connection to each leader.
    leaders: Vec<usize>,
    connections: Vec<Connection>,
    /// The next partition to write to.
    next: usize,
    sequences: Sequences,
    lanes: Vec<u32>,
    filler: Filler,
}

/// Runs transactions of `records` each until the phase says stop, or `count` records are out.
pub fn produce(
    settings: &Settings,
    control: &Control,
    number: usize,
    count: Option<u64>,
    records: u64,
) -> anyhow::Result<Produced> {
    let mut cluster = connect(settings)?;
    let topic = cluster.topic(&settings.name, true)?;
    let mut leaders = vec![0; topic.partitions.len()];
    let mut connections = Vec::new();
    for (leader, partitions) in by_leader(&topic, 0..topic.partitions.len()) {
        partitions.iter().for_each(|partition| leaders[*partition as usize] = connections.len());
        connections.push(cluster.connect_to(leader)?);
    }
    let transactional_id = format!("{}-{number}", settings.name);
    let transactions =
        Transactions::open_as(&mut cluster, &transactional_id, TRANSACTION_TIMEOUT, TxnVersion::Two)?;
    for connection in &mut connections {
        connection.speak_transactions(transactions.version());
    }
    let mut producer = Producer {
        settings,
        number: number as u16,
        transactions,
        transactional_id,
        next: number % leaders.len(),
        lanes: vec![0; leaders.len()],
        leaders,
        connections,
        sequences: Sequences::default(),
        filler: Filler::new(settings),
    };
    let mut outcome = Produced::new();
    if !control.wait_for_start() {
        return Ok(outcome);
    }
    let rate = settings.rate.map(|rate| rate / records as f64);
    let pace = Pace::new(rate, settings.producers, number, now_ns());
    let mut begun = 0;
    while control.phase() < Phase::Finish && count.is_none_or(|count| outcome.sent < count) {
        let now = now_ns();
        let due = pace.due_at(begun, now);
        if due > now {
            std::thread::sleep(Duration::from_nanos(due - now).min(TICK));
            continue;
        }
        begun += 1;
        let records = records.min(count.map_or(records, |count| count - outcome.sent));
        control.sent.fetch_add(records, Ordering::Relaxed);
        outcome.sent += records;
        producer.transaction(records, due)?;
        let end = now_ns();
        if control.measuring() {
            outcome.confirm.saturating_record(end.saturating_sub(due));
        }
        outcome.stall_ns_max = outcome.stall_ns_max.max(end.saturating_sub(now));
        outcome.confirmed += records;
        control.confirmed.fetch_add(records, Ordering::Relaxed);
    }
    Ok(outcome)
}

impl Producer<'_> {
    fn transaction(&mut self, records: u64, due: u64) -> anyhow::Result<()> {
        let partitions: Vec<usize> = (0..PARTITIONS_EACH.min(self.leaders.len()).min(records as usize))
            .map(|step| (self.next + step) % self.leaders.len())
            .collect();
        self.next = (self.next + partitions.len()) % self.leaders.len();
        if self.transactions.version() == TxnVersion::Two {
            // Each transaction has an epoch of its own, in which sequences begin at 0.
            self.sequences = Sequences::default();
        }
        let indexes: Vec<i32> = partitions.iter().map(|partition| *partition as i32).collect();
        self.transactions.add_partitions(&self.settings.name, &indexes)?;
        let mut requests: Vec<Vec<(i32, Bytes)>> = vec![Vec::new(); self.connections.len()];
        let parts = partitions.len() as u64;
        for (place, partition) in (0..).zip(partitions) {
            let share = records / parts + u64::from(place < records % parts);
            requests[self.leaders[partition]].push((partition as i32, self.batch(partition, share, due)?));
        }
        for (connection, batches) in self.connections.iter_mut().zip(&requests) {
            if !batches.is_empty() {
                write(connection, &self.transactional_id, &self.settings.name, batches)?;
            }
        }
        Ok(self.transactions.end(End::Commit)?)
    }

    fn batch(&mut self, partition: usize, records: u64, due: u64) -> anyhow::Result<Bytes> {
        let timestamp =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let identity = self.transactions.producer();
        let sequence = self.sequences.take(partition as i32, records as i32);
        let mut builder = BatchBuilder::new(timestamp)
            .compression(compression(self.settings))
            .producer(identity.id, identity.epoch, sequence)
            .transactional();
        for _ in 0..records {
            let sequence = self.lanes[partition];
            self.lanes[partition] = sequence.wrapping_add(1);
            let value = self.filler.value(Stamp { time_ns: due, producer: self.number, sequence });
            builder.append(None, Some(value), &[], timestamp)?;
        }
        Ok(builder.build()?)
    }
}

/// Writes one broker's part. In version 2 that makes the partitions part of the transaction, for which the end of the
/// one before may have to be waited for.
fn write(
    connection: &mut Connection,
    transactional_id: &str,
    topic: &str,
    batches: &[(i32, Bytes)],
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut backoff = Backoff::new(RETRY_CEILING);
    loop {
        send_produce_in(connection, Some(transactional_id), topic, Acks::All, PATIENCE, batches.to_vec())?;
        let Some(appended) = receive_produce(connection, PATIENCE)? else { bail!("no answer to a produce") };
        let Some(refused) = appended.iter().find(|answer| answer.error_code != 0) else { return Ok(()) };
        if refused.error_code != CONCURRENT_TRANSACTIONS || Instant::now() >= deadline {
            bail!("produce to partition {}: {}", refused.partition, error_name(refused.error_code));
        }
        std::thread::sleep(backoff.step());
    }
}
