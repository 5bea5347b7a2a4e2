//! What all threads of a test share: who sends what where, what was promised, what was seen, and what was wrong.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bowline_client::address::{AmqpAddress, KafkaAddress};
use bowline_client::{Error, amqp, kafka};
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

use crate::args::Workload;
use crate::ledger::{Account, Stopwatch};

/// A client gives a broker so long; a paused one comes back sooner.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Distinct texts of unusual events that are kept.
const NOTES_MAX: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Everybody works.
    Load,
    /// Producers collect what is still unconfirmed and end; consumers take the rest.
    Drain,
    /// Everybody ends.
    Stop,
}

/// A broken promise, or what looks like one. Each occurrence is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wrong {
    /// A body that is not what was sent.
    Corrupt,
    /// A message of this test that nobody has sent.
    Invented,
    /// A message in another queue or partition than it was sent to.
    Misrouted,
    /// Properties or key are not those that were sent; the history of a dead letter is not what happened.
    Altered,
    /// First deliveries of one channel, or records of one producer, out of their order.
    Reordered,
    /// Before its time: a delay, a retry, the end of a life.
    Early,
    /// Two records claim the same offset, or a record is not where the broker has said.
    Moved,
    /// A record that was confirmed or read at an offset is not there any more.
    Vanished,
    /// Read as committed when nobody had asked to commit it.
    Uncommitted,
    /// A committed offset went back behind a confirmed commit.
    CommitLost,
    /// The broker has forgotten an idempotent producer, or its sequence.
    SequenceLost,
    /// The broker answered against its protocol, or closed with an error that no client has caused.
    Protocol,
    /// A queue or topic is gone, or the broker cannot give back what it has.
    Unreadable,
    /// The broker's process ended by itself.
    Died,
}

impl Wrong {
    pub fn name(self) -> &'static str {
        match self {
            Wrong::Corrupt => "corrupt",
            Wrong::Invented => "invented",
            Wrong::Misrouted => "misrouted",
            Wrong::Altered => "altered",
            Wrong::Reordered => "reordered",
            Wrong::Early => "early",
            Wrong::Moved => "moved",
            Wrong::Vanished => "vanished",
            Wrong::Uncommitted => "read before commit",
            Wrong::CommitLost => "commit lost",
            Wrong::SequenceLost => "sequence lost",
            Wrong::Protocol => "protocol",
            Wrong::Unreadable => "unreadable",
            Wrong::Died => "died",
        }
    }
}

/// A producer and where its messages go.
#[derive(Debug)]
pub struct Producer {
    pub workload: Workload,
    /// Queue, topic or stream.
    pub destination: String,
    pub account: Account,
}

/// A consumer's share of the load.
#[derive(Debug)]
pub struct Consumer {
    pub workload: Workload,
    pub destination: String,
    pub received: AtomicU64,
}

/// How soon work went on after the broker was started again.
#[derive(Debug, Default)]
pub struct Recovery {
    pub confirm: Stopwatch,
    pub delivery: Stopwatch,
}

#[derive(Debug)]
pub struct World {
    /// Tells the messages of this run from all others.
    pub run: u32,
    pub seed: u64,
    pub config: Config,
    pub producers: Vec<Producer>,
    pub consumers: Vec<Consumer>,
    /// Queues that enforce something.
    pub lanes: Vec<crate::rules::Lane>,
    /// Kafka transactions.
    pub bank: Option<crate::transactions::Bank>,
    /// Partitions of the Kafka topic, then the one of the stream.
    pub topic_log: Vec<PartitionLog>,
    pub stream_log: PartitionLog,
    pub incarnation: &'static AtomicU64,
    pub amqp_recovery: Recovery,
    pub kafka_recovery: Recovery,
    pub sockets: Sockets,
    pub deliveries: AtomicU64,
    phase: AtomicU8,
    wrong: Mutex<BTreeMap<Wrong, u64>>,
    notes: Mutex<BTreeMap<String, u64>>,
}

/// What the workers need to know of the arguments.
#[derive(Clone, Debug)]
pub struct Config {
    pub amqp: AmqpAddress,
    pub kafka: KafkaAddress,
    pub queue_type: Option<String>,
    pub rate: u32,
    pub size: usize,
    pub window: usize,
    pub prefetch: u16,
    pub topic: String,
    pub partitions: usize,
    pub stream: String,
    pub group: String,
    /// Readers of transactions read everything.
    pub read_uncommitted: bool,
}

impl World {
    pub fn new(run: u32, seed: u64, config: Config, incarnation: &'static AtomicU64) -> World {
        World {
            run,
            seed,
            topic_log: (0..config.partitions).map(|_| PartitionLog::default()).collect(),
            stream_log: PartitionLog::default(),
            config,
            producers: Vec::new(),
            consumers: Vec::new(),
            lanes: Vec::new(),
            bank: None,
            incarnation,
            amqp_recovery: Recovery::default(),
            kafka_recovery: Recovery::default(),
            sockets: Sockets::default(),
            deliveries: AtomicU64::new(0),
            phase: AtomicU8::new(0),
            wrong: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Load,
            1 => Phase::Drain,
            _ => Phase::Stop,
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// The number of the broker's present life; read it before connecting.
    pub fn life(&self) -> u64 {
        self.incarnation.load(Ordering::SeqCst)
    }

    /// Chance of its own for each thread, from the one seed.
    pub fn random(&self, stream: u64) -> SmallRng {
        SmallRng::seed_from_u64(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(stream))
    }

    pub fn wrong(&self, what: Wrong, detail: impl FnOnce() -> String) {
        *lock(&self.wrong).entry(what).or_default() += 1;
        self.note(format!("{}: {}", what.name(), detail()));
    }

    /// Something unusual, whether or not it breaks a promise. Only so many distinct texts are kept.
    pub fn note(&self, text: String) {
        let mut notes = lock(&self.notes);
        if notes.len() < NOTES_MAX || notes.contains_key(&text) {
            *notes.entry(text).or_default() += 1;
        }
    }

    pub fn all_wrong(&self) -> BTreeMap<Wrong, u64> {
        lock(&self.wrong).clone()
    }

    pub fn notes(&self) -> BTreeMap<String, u64> {
        lock(&self.notes).clone()
    }

    /// Sorts a worker's error: a connection that ends is what the attacks are for; a broker that breaks its protocol
    /// is not.
    pub fn failed(&self, who: &str, error: &Error) {
        const CONNECTION_FORCED: u16 = 320;
        match error {
            Error::Io(_) | Error::Connect { .. } | Error::Closed => {}
            // A paused broker, or one with a full disk.
            Error::Timeout(what) => self.note(format!("{who}: timeout: {what}")),
            Error::ConnectionClosed { code: CONNECTION_FORCED, .. } => {}
            Error::Kafka { .. } => self.note(format!("{who}: {error}")),
            other => self.wrong(Wrong::Protocol, || format!("{who}: {}", chain(other))),
        }
    }

    pub fn amqp_options(&self, name: &str) -> amqp::ConnectOptions {
        amqp::ConnectOptions {
            timeout: PATIENCE,
            heartbeat: 5,
            name: format!("bowline verify {name}"),
            ..amqp::ConnectOptions::new(self.config.amqp.clone())
        }
    }

    pub fn kafka_options(&self, client_id: &str) -> kafka::ConnectOptions {
        kafka::ConnectOptions {
            timeout: PATIENCE,
            client_id: format!("bowline-verify-{client_id}"),
            ..kafka::ConnectOptions::new(self.config.kafka.clone())
        }
    }

    /// A size for the next message: anything up to the limit, small ones as often as large ones by magnitude.
    pub fn message_size(&self, random: &mut SmallRng) -> usize {
        let low = (crate::payload::HEAD_BYTES as f64).ln();
        let high = (self.config.size.max(crate::payload::HEAD_BYTES + 1) as f64).ln();
        random.random_range(low..=high).exp() as usize
    }

    /// Messages published and confirmed so far.
    pub fn progress(&self) -> u64 {
        let ruled: usize = self.lanes.iter().map(|lane| lane.items().len()).sum();
        let sent: u64 = self.producers.iter().map(|producer| producer.account.len()).sum();
        sent + ruled as u64 + self.bank.as_ref().map_or(0, |bank| bank.transactions())
    }
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// What is known of a partition, offset by offset.
#[derive(Debug, Default)]
pub struct PartitionLog(Mutex<PartitionFacts>);

#[derive(Debug, Default)]
pub struct PartitionFacts {
    /// Fingerprint of the record that a confirm or a reader has placed at an offset; 0 where nobody has.
    claims: Vec<u64>,
    /// How often the group has read an offset.
    group_reads: Vec<u8>,
    /// The highest commit that was confirmed.
    pub committed: Option<i64>,
}

/// A record's identity in one number, never 0.
pub fn fingerprint(producer: u16, sequence: u64) -> u64 {
    u64::from(producer) << 48 | ((sequence + 1) & 0xFFFF_FFFF_FFFF)
}

impl PartitionLog {
    pub fn lock(&self) -> std::sync::MutexGuard<'_, PartitionFacts> {
        lock(&self.0)
    }
}

impl PartitionFacts {
    /// Somebody has seen that record at that offset. `false`: somebody else has seen another one there.
    pub fn claim(&mut self, offset: i64, fingerprint: u64) -> bool {
        let Ok(index) = usize::try_from(offset) else { return false };
        if index >= self.claims.len() {
            self.claims.resize(index + 1, 0);
        }
        let claim = &mut self.claims[index];
        if *claim == 0 {
            *claim = fingerprint;
        }
        *claim == fingerprint
    }

    /// What was claimed about an offset.
    pub fn claimed(&self, offset: usize) -> Option<u64> {
        self.claims.get(offset).copied().filter(|claim| *claim != 0)
    }

    /// One above the highest offset that anybody has spoken of.
    pub fn claims_end(&self) -> usize {
        self.claims.len()
    }

    pub fn group_read(&mut self, offset: i64) {
        let Ok(index) = usize::try_from(offset) else { return };
        if index >= self.group_reads.len() {
            self.group_reads.resize(index + 1, 0);
        }
        self.group_reads[index] = self.group_reads[index].saturating_add(1);
    }

    /// Offsets below `end` that the group has read never, and more than once.
    pub fn group_misses_and_repeats(&self, end: usize) -> (u64, u64) {
        let reads = |index: usize| self.group_reads.get(index).copied().unwrap_or(0);
        (0..end).fold((0, 0), |(misses, repeats), index| match reads(index) {
            0 => (misses + 1, repeats),
            1 => (misses, repeats),
            _ => (misses, repeats + 1),
        })
    }
}

/// Live connections of the workers, within reach of the attacker.
#[derive(Debug, Default)]
pub struct Sockets {
    open: Mutex<(u64, BTreeMap<u64, TcpStream>)>,
}

/// Takes a worker's connection off the list when the worker is done with it.
pub struct Registered<'a> {
    sockets: &'a Sockets,
    id: u64,
}

impl Sockets {
    pub fn register(&self, stream: &TcpStream) -> Option<Registered<'_>> {
        let stream = stream.try_clone().ok()?;
        let mut open = lock(&self.open);
        open.0 += 1;
        let id = open.0;
        open.1.insert(id, stream);
        Some(Registered { sockets: self, id })
    }

    /// Cuts a connection chosen by chance: both ways, or only the way to the broker (a half-open connection).
    pub fn cut(&self, random: &mut SmallRng) -> bool {
        let open = lock(&self.open);
        let Some(stream) = open.1.values().choose(random) else { return false };
        let how = if random.random_bool(0.7) { Shutdown::Both } else { Shutdown::Write };
        stream.shutdown(how).is_ok()
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        lock(&self.sockets.open).1.remove(&self.id);
    }
}

/// A panicked worker has broken no invariant of these collections.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_conflict_when_two_records_share_an_offset() {
        let log = PartitionLog::default();
        let mut facts = log.lock();
        assert!(facts.claim(3, fingerprint(1, 0)) && facts.claim(3, fingerprint(1, 0)));
        assert!(!facts.claim(3, fingerprint(1, 1)) && !facts.claim(-1, 7));
        assert_eq!(
            (facts.claimed(3), facts.claimed(2), facts.claims_end()),
            (Some(fingerprint(1, 0)), None, 4)
        );
        facts.group_read(0);
        facts.group_read(2);
        facts.group_read(2);
        assert_eq!(facts.group_misses_and_repeats(4), (2, 1));
    }
}
