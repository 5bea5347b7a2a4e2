//! Kafka producers and group members that go on whatever happens to the broker, and the reader who judges in the end.
//!
//! A producer is idempotent and keeps a batch until it is confirmed; after a reconnect it sends the same bytes
//! again, and the broker has to notice what it already has.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bowline_client::Error;
use bowline_client::kafka::codec::records::{BatchBuilder, Record};
use bowline_client::kafka::{
    Acks, Beat, Cluster, Connection, EARLIEST, FetchLimits, Fetched, Fetcher, GroupOptions, LATEST, Member,
    NewTopic, Position, ProducerId, Sequences, error_name, for_each_record, init_producer_id, is_retriable,
    list_offsets, receive_produce, send_produce,
};
use bowline_client::retry::Backoff;
use bytes::Bytes;
use rand::Rng;
use rand::rngs::SmallRng;

use crate::payload::{self, Flaw, Identity};
use crate::world::{PATIENCE, PartitionLog, Phase, World, Wrong, fingerprint};

const TICK: Duration = Duration::from_millis(20);
const RECONNECT_CEILING: Duration = Duration::from_millis(20);
const IN_FLIGHT_MAX: usize = 5;
const BATCH_RECORDS_MAX: u64 = 40;
/// Producers may take so long to confirm what they have begun.
const LAST_CONFIRMS: Duration = Duration::from_secs(60);
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// The shortest that brokers usually allow.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

const OUT_OF_ORDER_SEQUENCE: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const UNKNOWN_PRODUCER_ID: i16 = 59;
const OFFSET_OUT_OF_RANGE: i16 = 1;

type Result<T> = std::result::Result<T, Error>;

pub fn set_up(world: &World) -> Result<()> {
    let mut cluster = Cluster::connect(&world.kafka_options("set-up"))?;
    let partitions = world.config.partitions as i32;
    let topic =
        NewTopic { name: &world.config.topic, partitions, replication_factor: 1, configs: Vec::new() };
    let found = cluster.create_topic(&topic)?.partitions.len();
    if found == partitions as usize {
        Ok(())
    } else {
        Err(Error::Protocol(format!("topic {} has {found} partitions instead of {partitions}", topic.name)))
    }
}

pub fn delete_all(world: &World) -> Result<()> {
    Cluster::connect(&world.kafka_options("tear-down"))?.delete_topic(&world.config.topic)
}

/// A batch that is not confirmed yet.
struct Pending {
    partition: i32,
    batch: Bytes,
    sequences: Vec<u64>,
}

/// Produces until the load ends and everything is confirmed.
pub fn produce(world: &World, index: usize) {
    let mut work = ProducerWork {
        world,
        index,
        random: world.random(2000 + index as u64),
        identity: None,
        sequences: Sequences::default(),
        pending: VecDeque::new(),
        start: Instant::now(),
        sent: 0,
    };
    let mut backoff = Backoff::new(RECONNECT_CEILING);
    let mut draining_since = None;
    loop {
        if world.phase() > Phase::Load {
            let since: &mut Instant = draining_since.get_or_insert_with(Instant::now);
            if work.pending.is_empty() || since.elapsed() > LAST_CONFIRMS {
                return;
            }
        }
        if let Err(error) = work.session(&mut backoff) {
            world.failed("Kafka producer", &error);
            thread::sleep(backoff.step());
        }
    }
}

struct ProducerWork<'a> {
    world: &'a World,
    index: usize,
    random: SmallRng,
    identity: Option<ProducerId>,
    sequences: Sequences,
    /// Oldest first; in this order they are sent again.
    pending: VecDeque<Pending>,
    start: Instant,
    sent: u64,
}

impl ProducerWork<'_> {
    fn session(&mut self, backoff: &mut Backoff) -> Result<()> {
        let world = self.world;
        let life = world.life();
        let mut cluster = Cluster::connect(&world.kafka_options("producer"))?;
        let topic = cluster.topic(&world.config.topic, false)?;
        let leader = topic.partitions.first().map_or(0, |partition| partition.leader);
        let mut connection = cluster.connect_to(leader)?;
        let _registered = world.sockets.register(connection.stream());
        if self.identity.is_none() {
            self.identity = Some(init_producer_id(&mut connection)?);
        }
        // Everything unconfirmed goes out again, in order and within the pipeline's depth.
        let mut sent = 0;
        loop {
            while sent < self.pending.len().min(IN_FLIGHT_MAX) {
                let pending = &self.pending[sent];
                let batches = vec![(pending.partition, pending.batch.clone())];
                send_produce(&mut connection, &world.config.topic, Acks::All, PATIENCE, batches)?;
                sent += 1;
            }
            connection.flush()?;
            let load = world.phase() == Phase::Load;
            if !load && self.pending.is_empty() {
                return Ok(());
            }
            if load && self.pending.len() < IN_FLIGHT_MAX && self.due() > 0 {
                self.begin_batch()?;
                continue;
            }
            if sent == 0 {
                thread::sleep(TICK.min(Duration::from_millis(5)));
                continue;
            }
            if let Some(appended) = receive_produce(&mut connection, TICK)? {
                sent -= 1;
                let Some(answer) = appended.first() else {
                    return Err(Error::Protocol("an empty answer".into()));
                };
                self.answered(answer.partition, answer.error_code, answer.base_offset)?;
                world.kafka_recovery.confirm.stop(life);
                backoff.reset();
            }
        }
    }

    /// Records that the schedule asks for.
    fn due(&self) -> u64 {
        match self.world.config.rate {
            0 => BATCH_RECORDS_MAX,
            rate => ((self.start.elapsed().as_secs_f64() * f64::from(rate)) as u64).saturating_sub(self.sent),
        }
    }

    fn begin_batch(&mut self) -> Result<()> {
        let world = self.world;
        let account = &world.producers[self.index].account;
        // After a pause the schedule is not made up for in one go.
        let due = self.due();
        if due > 10 * BATCH_RECORDS_MAX {
            self.sent += due - BATCH_RECORDS_MAX;
        }
        let records = due.min(self.random.random_range(1..=BATCH_RECORDS_MAX));
        let partition = self.random.random_range(0..world.config.partitions) as i32;
        let identity = self.identity.ok_or(Error::Protocol("no producer id".into()))?;
        let timestamp =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let first = self.sequences.take(partition, records as i32);
        let mut builder = BatchBuilder::new(timestamp).producer(identity.id, identity.epoch, first);
        let mut sequences = Vec::with_capacity(records as usize);
        for _ in 0..records {
            let sequence = account.publish();
            // A producer's order is per partition over all its connections, so there is but one epoch.
            let id = Identity { producer: self.index as u16, epoch: 0, sequence };
            let body = payload::write(world.run, id, world.message_size(&mut self.random));
            let key = key_of(id);
            builder
                .append(Some(key.as_bytes()), Some(&body), &[], timestamp)
                .map_err(|error| Error::Protocol(error.to_string()))?;
            sequences.push(sequence);
        }
        self.sent += records;
        let batch = builder.build().map_err(|error| Error::Protocol(error.to_string()))?;
        self.pending.push_back(Pending { partition, batch, sequences });
        Ok(())
    }

    fn answered(&mut self, partition: i32, code: i16, base_offset: i64) -> Result<()> {
        let world = self.world;
        let Some(pending) = self.pending.front().filter(|pending| pending.partition == partition) else {
            return Err(Error::Protocol(format!("an answer for partition {partition}, which was not asked")));
        };
        let account = &world.producers[self.index].account;
        match code {
            0 => {
                let mut facts = world.topic_log[partition as usize].lock();
                for (offset, sequence) in (base_offset..).zip(&pending.sequences) {
                    account.confirm(*sequence);
                    // A duplicate that the broker no longer knows the place of is confirmed with −1.
                    if base_offset >= 0 && !facts.claim(offset, fingerprint(self.index as u16, *sequence)) {
                        world.wrong(Wrong::Moved, || {
                            format!("confirmed at {partition}/{offset}, where another is")
                        });
                    }
                }
                drop(facts);
                self.pending.pop_front();
                Ok(())
            }
            OUT_OF_ORDER_SEQUENCE | INVALID_PRODUCER_EPOCH | UNKNOWN_PRODUCER_ID => {
                world.wrong(Wrong::SequenceLost, || error_name(code).to_owned());
                // A new identity, as applications get it; what was under way is in doubt.
                self.identity = None;
                self.sequences = Sequences::default();
                self.pending.clear();
                Err(Error::Kafka { api: "Produce", code })
            }
            code if is_retriable(code) => Err(Error::Kafka { api: "Produce", code }),
            code => {
                world.wrong(Wrong::Protocol, || format!("produce refused: {}", error_name(code)));
                pending.sequences.iter().for_each(|sequence| account.refuse(*sequence));
                self.pending.pop_front();
                Ok(())
            }
        }
    }
}

fn key_of(identity: Identity) -> String {
    format!("p{}", identity.producer)
}

/// A member of the group: reads, checks, commits, until everything stops.
pub fn consume(world: &World, index: usize) {
    let mut backoff = Backoff::new(RECONNECT_CEILING);
    while world.phase() < Phase::Stop {
        if let Err(error) = member_session(world, index, &mut backoff) {
            world.failed("Kafka consumer", &error);
            thread::sleep(backoff.step());
        }
    }
}

fn member_session(world: &World, index: usize, backoff: &mut Backoff) -> Result<()> {
    let life = world.life();
    let mut cluster = Cluster::connect(&world.kafka_options(&format!("consumer-{index}")))?;
    let options = GroupOptions {
        session_timeout: SESSION_TIMEOUT,
        rebalance_timeout: SESSION_TIMEOUT,
        heartbeat_interval: Duration::from_millis(500),
        ..GroupOptions::new(world.config.group.clone(), vec![world.config.topic.clone()])
    };
    let mut member = Member::new(&mut cluster, options)?;
    let topic = cluster.topic(&world.config.topic, false)?;
    let leader = topic.partitions.first().map_or(0, |partition| partition.leader);
    loop {
        member.join(&mut cluster)?;
        backoff.reset();
        let mut positions = member.committed()?;
        check_commits(world, &positions);
        let mut connection = cluster.connect_to(leader)?;
        let _registered = world.sockets.register(connection.stream());
        for position in positions.iter_mut().filter(|position| position.offset < 0) {
            // The group reads everything: where nothing was committed it begins at the start.
            let found = list_offsets(&mut connection, &position.topic, &[position.partition], EARLIEST)?;
            position.offset = found.first().map_or(0, |(_, offset)| *offset);
        }
        let mut fetcher = Fetcher::new(connection, fetch_limits(), positions);
        let mut last_commit = Instant::now();
        loop {
            if world.phase() == Phase::Stop {
                return member.leave();
            }
            if member.beat()? == Beat::Rejoin {
                break;
            }
            if fetcher.positions().is_empty() {
                thread::sleep(TICK);
                continue;
            }
            fetcher.request()?;
            if let Some(parts) = fetcher.receive(TICK)? {
                for part in &parts {
                    read_part(world, index, part)?;
                    world.kafka_recovery.delivery.stop(life);
                }
            }
            if last_commit.elapsed() >= COMMIT_EVERY {
                last_commit = Instant::now();
                if commit(world, &mut member, fetcher.positions())? == Beat::Rejoin {
                    break;
                }
            }
        }
    }
}

fn fetch_limits() -> FetchLimits {
    FetchLimits { max_wait: Duration::from_millis(100), ..FetchLimits::default() }
}

/// A confirmed commit must be found again, or a later one.
fn check_commits(world: &World, positions: &[Position]) {
    for position in positions {
        let Some(log) = world.topic_log.get(position.partition as usize) else { continue };
        if let Some(confirmed) = log.lock().committed
            && position.offset < confirmed
        {
            let (partition, offset) = (position.partition, position.offset);
            world.wrong(Wrong::CommitLost, || format!("partition {partition}: {offset} after {confirmed}"));
        }
    }
}

fn commit(world: &World, member: &mut Member, positions: &[Position]) -> Result<Beat> {
    let beat = member.commit(positions)?;
    if beat == Beat::Member {
        for position in positions {
            if let Some(log) = world.topic_log.get(position.partition as usize) {
                let mut facts = log.lock();
                facts.committed = facts.committed.max(Some(position.offset));
            }
        }
    }
    Ok(beat)
}

fn read_part(world: &World, consumer: usize, part: &Fetched) -> Result<()> {
    if part.error_code == OFFSET_OUT_OF_RANGE {
        let detail = || format!("partition {}: offset {} is out of range", part.partition, part.offset);
        world.wrong(Wrong::Vanished, detail);
    }
    if part.error_code != 0 {
        return Err(Error::Kafka { api: "Fetch", code: part.error_code });
    }
    let Some(log) = world.topic_log.get(part.partition as usize) else {
        return Err(Error::Protocol(format!("records of partition {}", part.partition)));
    };
    let mut next = part.offset;
    for_each_record(part, |_, offset, record| {
        // There are no transactions, no compaction and no retention here, so offsets have no gaps.
        if offset != next {
            world.wrong(Wrong::Vanished, || format!("partition {}: {offset} follows {next}", part.partition));
        }
        next = offset + 1;
        world.deliveries.fetch_add(1, Ordering::Relaxed);
        world.consumers[consumer].received.fetch_add(1, Ordering::Relaxed);
        if let Some(id) = check(world, record, part.partition, offset) {
            let mut facts = log.lock();
            facts.group_read(offset);
            if !facts.claim(offset, fingerprint(id.producer, id.sequence)) {
                world.wrong(Wrong::Moved, || {
                    format!("{id:?} at {}/{offset}, where another was", part.partition)
                });
            }
        }
    })
}

/// Who is it, and is it whole?
fn check(world: &World, record: &Record<'_>, partition: i32, offset: i64) -> Option<Identity> {
    match payload::read(world.run, record.value.unwrap_or_default()) {
        Ok(identity) => {
            let Some(producer) = world.producers.get(usize::from(identity.producer)) else {
                world.wrong(Wrong::Invented, || format!("{identity:?}"));
                return None;
            };
            let key = if crate::amqp_work::publishes(producer) {
                producer.destination.clone()
            } else {
                key_of(identity)
            };
            if record.key != Some(key.as_bytes()) {
                world.wrong(Wrong::Altered, || format!("key of {identity:?} at {partition}/{offset}"));
            }
            Some(identity)
        }
        Err(Flaw::Foreign) => {
            world.note("a record of another run".into());
            None
        }
        Err(Flaw::Corrupt) => {
            world.wrong(Wrong::Corrupt, || format!("record at {partition}/{offset}"));
            None
        }
    }
}

/// Ends of the topic's partitions.
pub fn ends(world: &World, topic: &str) -> Result<Vec<(i32, i64)>> {
    let mut cluster = Cluster::connect(&world.kafka_options("ends"))?;
    let (_, mut connection, partitions) = open_topic(&mut cluster, topic)?;
    list_offsets(&mut connection, topic, &partitions, LATEST)
}

fn open_topic(cluster: &mut Cluster, topic: &str) -> Result<(i32, Connection, Vec<i32>)> {
    let found = cluster.topic(topic, false)?;
    let leader = found.partitions.first().map_or(0, |partition| partition.leader);
    let partitions = found.partitions.iter().map(|partition| partition.index).collect();
    Ok((leader, cluster.connect_to(leader)?, partitions))
}

/// Reads everything from the start to the end, compares it with all claims, and enters it into the accounts.
pub fn final_read(world: &World, topic: &str, logs: &[&PartitionLog]) -> Result<()> {
    let mut cluster = Cluster::connect(&world.kafka_options("judge"))?;
    let (leader, mut connection, partitions) = open_topic(&mut cluster, topic)?;
    let starts = list_offsets(&mut connection, topic, &partitions, EARLIEST)?;
    let ends = list_offsets(&mut connection, topic, &partitions, LATEST)?;
    for (partition, start) in starts {
        let end = ends.iter().find(|(index, _)| *index == partition).map_or(0, |(_, end)| *end);
        let Some(log) = logs.get(partition as usize) else { continue };
        if start > 0 {
            world.wrong(Wrong::Vanished, || format!("{topic}/{partition} begins at {start}"));
        }
        let position = Position { topic: topic.to_owned(), partition, offset: start };
        read_partition(world, cluster.connect_to(leader)?, position, end, log)?;
        let facts = log.lock();
        for offset in end.max(0) as usize..facts.claims_end() {
            if facts.claimed(offset).is_some() {
                world.wrong(Wrong::Vanished, || {
                    format!("{topic}/{partition} ends at {end}, {offset} was seen")
                });
            }
        }
    }
    Ok(())
}

fn read_partition(
    world: &World,
    connection: Connection,
    position: Position,
    end: i64,
    log: &PartitionLog,
) -> Result<()> {
    let (topic, partition) = (position.topic.clone(), position.partition);
    let mut next = position.offset;
    let mut order: HashMap<(u16, u16), u64> = HashMap::new();
    let mut fetcher = Fetcher::new(connection, fetch_limits(), vec![position]);
    let mut progress = Instant::now();
    while next < end {
        fetcher.request()?;
        let Some(parts) = fetcher.receive(PATIENCE)? else { return Err(Error::Timeout("the final read")) };
        for part in &parts {
            if part.error_code != 0 {
                return Err(Error::Kafka { api: "Fetch", code: part.error_code });
            }
            for_each_record(part, |_, offset, record| {
                progress = Instant::now();
                if offset != next {
                    world.wrong(Wrong::Vanished, || format!("{topic}/{partition}: {offset} follows {next}"));
                }
                next = offset + 1;
                let Some(id) = check(world, record, partition, offset) else { return };
                if !world.producers[usize::from(id.producer)].account.deliver(id.sequence, false) {
                    world.wrong(Wrong::Invented, || format!("{id:?}"));
                }
                if !log.lock().claim(offset, fingerprint(id.producer, id.sequence)) {
                    world.wrong(Wrong::Moved, || {
                        format!("{id:?} at {topic}/{partition}/{offset}, where another was")
                    });
                }
                let last = order.entry((id.producer, id.epoch)).or_insert(id.sequence);
                if id.sequence < *last {
                    world.wrong(Wrong::Reordered, || format!("{id:?} in {topic}/{partition}"));
                }
                *last = (*last).max(id.sequence);
            })?;
        }
        if progress.elapsed() > PATIENCE {
            return Err(Error::Timeout("records before the end of the partition"));
        }
    }
    Ok(())
}
