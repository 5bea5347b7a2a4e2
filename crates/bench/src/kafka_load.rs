//! Producers and consumers over Kafka: one thread each, a connection to every broker that leads a partition.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use bowline_client::address::KafkaAddress;
use bowline_client::kafka::codec::records::{BatchBuilder, Compression};
use bowline_client::kafka::{
    Acks, Cluster, ConnectOptions, Connection, EARLIEST, FetchLimits, Fetcher, LATEST, NewTopic, Position,
    ProducerId, Sequences, Topic, commit_offsets, for_each_record, init_producer_id, list_offsets,
    receive_produce, send_produce, wait_any,
};

use crate::amqp_load::share;
use crate::args::{AcksArg, CompressionArg, Mode, Settings};
use crate::clock::now_ns;
use crate::control::{Consumed, Control, Phase, Produced};
use crate::filler::Filler;
use crate::kafka_transactions;
use crate::pace::Pace;
use crate::stamp::Stamp;

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const TICK: Duration = Duration::from_millis(100);
/// As Kafka's consumers do by default every five seconds; more often here, as runs are short.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// Octets of records in one produce request: `max.request.size` of the Java producer.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// What a record takes beside its value, roughly.
const RECORD_OVERHEAD: usize = 12;

pub fn connect(settings: &Settings) -> anyhow::Result<Cluster> {
    let options = ConnectOptions {
        client_id: "bowline-bench".into(),
        timeout: PATIENCE,
        ..ConnectOptions::new(KafkaAddress::at(&settings.kafka_addr))
    };
    Ok(Cluster::connect(&options)?)
}

/// Creates the topic. With `fresh` an old one is deleted first.
pub fn set_up(settings: &Settings, fresh: bool) -> anyhow::Result<()> {
    const UNKNOWN_TOPIC: i16 = 3;
    let mut cluster = connect(settings)?;
    if fresh {
        match cluster.delete_topic(&settings.name) {
            Ok(()) | Err(bowline_client::Error::Kafka { code: UNKNOWN_TOPIC, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let configs = settings.topic_config.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let topic = cluster.create_topic(&NewTopic {
        name: &settings.name,
        partitions: settings.partitions as i32,
        replication_factor: 1,
        configs,
    })?;
    if topic.partitions.len() != settings.partitions {
        bail!(
            "topic {} has {} partitions, not {}",
            settings.name,
            topic.partitions.len(),
            settings.partitions
        );
    }
    // Leaders of many partitions take a moment until they serve.
    waiting(settings).map(|_| ())
}

pub fn tear_down(settings: &Settings) -> anyhow::Result<()> {
    Ok(connect(settings)?.delete_topic(&settings.name)?)
}

/// Records that the topic holds.
pub fn waiting(settings: &Settings) -> anyhow::Result<u64> {
    let mut cluster = connect(settings)?;
    let topic = cluster.topic(&settings.name, false)?;
    let mut records = 0;
    for (leader, partitions) in by_leader(&topic, 0..topic.partitions.len()) {
        let mut connection = cluster.connect_to(leader)?;
        let ends = list_offsets(&mut connection, &settings.name, &partitions, LATEST)?;
        let starts = list_offsets(&mut connection, &settings.name, &partitions, EARLIEST)?;
        let sum = |offsets: &[(i32, i64)]| offsets.iter().map(|(_, offset)| offset).sum::<i64>();
        records += (sum(&ends) - sum(&starts)).max(0) as u64;
    }
    Ok(records)
}

pub fn by_leader(topic: &Topic, which: impl Iterator<Item = usize>) -> Vec<(i32, Vec<i32>)> {
    let mut leaders: Vec<(i32, Vec<i32>)> = Vec::new();
    for partition in which.filter_map(|index| topic.partitions.get(index)) {
        match leaders.iter_mut().find(|(leader, _)| *leader == partition.leader) {
            Some((_, partitions)) => partitions.push(partition.index),
            None => leaders.push((partition.leader, vec![partition.index])),
        }
    }
    leaders
}

/// A batch on its way: when its records were due.
struct Sent {
    partition: i32,
    times: Vec<u64>,
}

/// One producer's way to one broker.
struct Route {
    connection: Connection,
    /// Partitions that the broker leads, used in turn.
    partitions: Vec<i32>,
    next: usize,
    /// Requests in flight, oldest first.
    in_flight: VecDeque<Vec<Sent>>,
}

struct Producer<'a> {
    settings: &'a Settings,
    control: &'a Control,
    producer: u16,
    identity: Option<ProducerId>,
    sequences: Sequences,
    lanes: Vec<u32>,
    filler: Filler,
    outcome: Produced,
    last_confirm: u64,
}

/// Produces until the phase says stop, or `count` records are out.
pub fn produce(
    settings: &Settings,
    control: &Control,
    producer: usize,
    count: Option<u64>,
) -> anyhow::Result<Produced> {
    if let Some(records) = settings.transaction {
        return kafka_transactions::produce(settings, control, producer, count, records);
    }
    let mut cluster = connect(settings)?;
    let topic = cluster.topic(&settings.name, true)?;
    let mut routes = Vec::new();
    for (leader, partitions) in by_leader(&topic, 0..topic.partitions.len()) {
        // Producers begin at different partitions, so that they do not march in step.
        let next = producer % partitions.len();
        let connection = cluster.connect_to(leader)?;
        routes.push(Route { connection, partitions, next, in_flight: VecDeque::new() });
    }
    let identity = match (settings.idempotent && settings.acks == AcksArg::All, routes.first_mut()) {
        (true, Some(route)) => Some(init_producer_id(&mut route.connection)?),
        _ => None,
    };
    let mut worker = Producer {
        settings,
        control,
        producer: producer as u16,
        identity,
        sequences: Sequences::default(),
        lanes: vec![0; topic.partitions.len()],
        filler: Filler::new(settings),
        outcome: Produced::new(),
        last_confirm: 0,
    };
    if !control.wait_for_start() {
        return Ok(worker.outcome);
    }
    worker.run(&mut routes, count.unwrap_or(u64::MAX))?;
    Ok(worker.outcome)
}

impl Producer<'_> {
    fn run(&mut self, routes: &mut [Route], count: u64) -> anyhow::Result<()> {
        let settings = self.settings;
        let pace = Pace::new(settings.rate, settings.producers, self.producer.into(), now_ns());
        let mut turn = 0;
        loop {
            let sending = self.control.phase() < Phase::Finish && self.outcome.sent < count;
            let open: usize = routes.iter().map(|route| route.in_flight.len()).sum();
            if !sending && (open == 0 || self.control.phase() == Phase::Stop) {
                self.outcome.unanswered = routes
                    .iter()
                    .flat_map(|route| &route.in_flight)
                    .flatten()
                    .map(|sent| sent.times.len() as u64)
                    .sum();
                return Ok(());
            }
            let now = now_ns();
            if open == 0 {
                self.last_confirm = now;
            }
            let due =
                pace.due(now).saturating_sub(self.outcome.sent).min(count - self.outcome.sent.min(count));
            let mut sent_any = false;
            let has_room = routes.iter().position(|route| route.in_flight.len() < settings.in_flight);
            if sending
                && let Some(first) = has_room
                && self.batch_is_ready(&pace, due, now)
            {
                // Brokers take turns among those with room.
                let index = (0..routes.len())
                    .map(|step| (turn + step) % routes.len())
                    .find(|index| routes[*index].in_flight.len() < settings.in_flight)
                    .unwrap_or(first);
                turn = index + 1;
                self.send_request(&mut routes[index], &pace, due, now)?;
                sent_any = true;
            }
            let wait = if sent_any && routes.iter().any(|route| route.in_flight.len() < settings.in_flight) {
                Duration::ZERO
            } else if sending && has_room.is_some() && pace.is_open_loop() {
                self.next_batch_in(&pace, now)
            } else {
                TICK
            };
            self.receive(routes, wait)?;
        }
    }

    fn batch_records(&self) -> u64 {
        (self.settings.batch / (self.settings.size + RECORD_OVERHEAD)).max(1) as u64
    }

    /// With a schedule, a batch waits for its records as long as the linger allows.
    fn batch_is_ready(&self, pace: &Pace, due: u64, now: u64) -> bool {
        if due == 0 || !pace.is_open_loop() {
            return due > 0;
        }
        let oldest = pace.due_at(self.outcome.sent, now);
        due >= self.batch_records() || now.saturating_sub(oldest) >= self.settings.linger.as_nanos() as u64
    }

    fn next_batch_in(&self, pace: &Pace, now: u64) -> Duration {
        let linger = self.settings.linger.as_nanos() as u64;
        let full = pace.due_at(self.outcome.sent + self.batch_records() - 1, now);
        let at = full.min(pace.due_at(self.outcome.sent, now) + linger);
        Duration::from_nanos(at.saturating_sub(now)).min(TICK)
    }

    /// One batch for each partition in turn, as long as records are due and the request has room.
    fn send_request(&mut self, route: &mut Route, pace: &Pace, mut due: u64, now: u64) -> anyhow::Result<()> {
        let settings = self.settings;
        let mut batches = Vec::new();
        let mut request = Vec::new();
        let mut bytes = 0;
        while due > 0 && batches.len() < route.partitions.len() && bytes < REQUEST_BYTES_MAX {
            let partition = route.partitions[route.next];
            route.next = (route.next + 1) % route.partitions.len();
            let records = due.min(self.batch_records());
            due -= records;
            let (batch, times) = self.build_batch(partition, records, pace, now)?;
            bytes += batch.len();
            batches.push((partition, batch));
            request.push(Sent { partition, times });
        }
        let records: u64 = request.iter().map(|sent| sent.times.len() as u64).sum();
        let acks = match settings.acks {
            AcksArg::None => Acks::None,
            AcksArg::Leader => Acks::Leader,
            AcksArg::All => Acks::All,
        };
        send_produce(&mut route.connection, &settings.name, acks, PATIENCE, batches)?;
        route.connection.flush()?;
        self.control.sent.fetch_add(records, Ordering::Relaxed);
        if acks != Acks::None {
            route.in_flight.push_back(request);
        }
        Ok(())
    }

    fn build_batch(
        &mut self,
        partition: i32,
        records: u64,
        pace: &Pace,
        now: u64,
    ) -> anyhow::Result<(bytes::Bytes, Vec<u64>)> {
        let timestamp =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let mut builder = BatchBuilder::new(timestamp).compression(compression(self.settings));
        if let Some(identity) = self.identity {
            let sequence = self.sequences.take(partition, records as i32);
            builder = builder.producer(identity.id, identity.epoch, sequence);
        }
        let mut times = Vec::with_capacity(records as usize);
        let Some(lane) = self.lanes.get_mut(partition as usize) else { bail!("no partition {partition}") };
        for _ in 0..records {
            let time_ns = pace.due_at(self.outcome.sent, now);
            let stamp = Stamp { time_ns, producer: self.producer, sequence: *lane };
            let key = self.settings.keys.map(|keys| (u64::from(*lane) % keys).to_be_bytes());
            *lane = lane.wrapping_add(1);
            let value = self.filler.value(stamp);
            builder.append(key.as_ref().map(|key| &key[..]), Some(value), &[], timestamp)?;
            self.outcome.sent += 1;
            times.push(time_ns);
        }
        Ok((builder.build()?, times))
    }

    fn receive(&mut self, routes: &mut [Route], mut wait: Duration) -> anyhow::Result<()> {
        let several = routes.len() > 1;
        for route in routes.iter_mut() {
            if route.in_flight.is_empty() {
                if several {
                    continue;
                }
                // Nothing can come; the wait is for the schedule.
                if !wait.is_zero() {
                    std::thread::sleep(wait);
                }
                return Ok(());
            }
            if several {
                // With several brokers each is asked briefly; with one, the wait is exact.
                wait = wait.min(Duration::from_micros(200));
            }
            while let Some(appended) = receive_produce(&mut route.connection, wait)? {
                wait = Duration::ZERO;
                let Some(request) = route.in_flight.pop_front() else { bail!("an answer to no request") };
                self.settle(&request, &appended)?;
                if route.in_flight.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn settle(
        &mut self,
        request: &[Sent],
        appended: &[bowline_client::kafka::Appended],
    ) -> anyhow::Result<()> {
        let now = now_ns();
        let measuring = self.control.measuring();
        self.outcome.stall_ns_max = self.outcome.stall_ns_max.max(now.saturating_sub(self.last_confirm));
        self.last_confirm = now;
        for sent in request {
            let Some(answer) = appended.iter().find(|answer| answer.partition == sent.partition) else {
                bail!("no answer for partition {}", sent.partition);
            };
            if answer.error_code != 0 {
                bail!(
                    "produce to partition {}: {}",
                    sent.partition,
                    bowline_client::kafka::error_name(answer.error_code)
                );
            }
            if measuring {
                sent.times
                    .iter()
                    .for_each(|at| self.outcome.confirm.saturating_record(now.saturating_sub(*at)));
            }
            self.outcome.confirmed += sent.times.len() as u64;
            self.control.confirmed.fetch_add(sent.times.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

pub fn compression(settings: &Settings) -> Compression {
    match settings.compression {
        CompressionArg::None => Compression::None,
        CompressionArg::Gzip => Compression::Gzip,
        CompressionArg::Snappy => Compression::Snappy,
        CompressionArg::Lz4 => Compression::Lz4,
        CompressionArg::Zstd => Compression::Zstd,
    }
}

/// One group among several: says now and then how far it is.
struct Commits {
    coordinator: Connection,
    group: String,
    next: Instant,
}

impl Commits {
    fn open(cluster: &mut Cluster, group: String) -> anyhow::Result<Commits> {
        let coordinator = cluster.connect_to_coordinator(&group)?;
        Ok(Commits { coordinator, group, next: Instant::now() + COMMIT_INTERVAL })
    }

    fn tick(&mut self, fetchers: &[Fetcher]) -> anyhow::Result<()> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + COMMIT_INTERVAL;
        let positions: Vec<Position> = fetchers.iter().flat_map(Fetcher::positions).cloned().collect();
        Ok(commit_offsets(&mut self.coordinator, &self.group, &positions)?)
    }
}

/// Reads its share of the partitions from their start, until the phase says stop.
pub fn consume(settings: &Settings, control: &Control, reader: usize) -> anyhow::Result<Consumed> {
    let (group, consumer) = (reader / settings.consumers, reader % settings.consumers);
    let limits = FetchLimits { read_committed: settings.transaction.is_some(), ..FetchLimits::default() };
    let mut cluster = connect(settings)?;
    let topic = cluster.topic(&settings.name, false)?;
    let mut fetchers = Vec::new();
    let mine = if settings.consumers > topic.partitions.len() && consumer >= topic.partitions.len() {
        Vec::new()
    } else {
        share(topic.partitions.len(), settings.consumers, consumer).collect()
    };
    for (leader, partitions) in by_leader(&topic, mine.into_iter()) {
        let mut connection = cluster.connect_to(leader)?;
        let positions = list_offsets(&mut connection, &settings.name, &partitions, EARLIEST)?
            .into_iter()
            .map(|(partition, offset)| Position { topic: settings.name.clone(), partition, offset })
            .collect();
        fetchers.push(Fetcher::new(connection, limits, positions));
    }
    let mut commits = match settings.groups {
        1 => None,
        _ => Some(Commits::open(&mut cluster, format!("{}-{group}", settings.name))?),
    };
    // Each group's deliveries are lanes of their own.
    let first_lane = (group * topic.partitions.len()) as u32;
    let mut outcome = Consumed::new();
    if !control.wait_for_start() {
        return Ok(outcome);
    }
    while control.phase() < Phase::Stop {
        for fetcher in &mut fetchers {
            fetcher.request()?;
        }
        if fetchers.is_empty() {
            std::thread::sleep(TICK);
        } else if fetchers.len() > 1 {
            wait_any(&fetchers, TICK)?;
        }
        let wait = if fetchers.len() > 1 { Duration::ZERO } else { TICK };
        for fetcher in &mut fetchers {
            let at = progress(fetcher);
            let Some(parts) = fetcher.receive(wait)? else { continue };
            let passed = progress(fetcher) - at;
            let now = now_ns();
            // The broker works on the next answer while this one is looked at.
            fetcher.request()?;
            let measuring = control.measuring();
            let mut received = 0;
            for part in &parts {
                if part.error_code != 0 {
                    bail!(
                        "fetch from partition {}: {}",
                        part.partition,
                        bowline_client::kafka::error_name(part.error_code)
                    );
                }
                for_each_record(part, |_, _, record| {
                    received += 1;
                    let value = record.value.unwrap_or_default();
                    match Stamp::decode(value).filter(|_| value.len() == settings.size) {
                        Some(stamp) => {
                            if measuring {
                                outcome.end_to_end.saturating_record(now.saturating_sub(stamp.time_ns));
                            }
                            outcome.lanes.received(
                                first_lane + part.partition as u32,
                                stamp.producer,
                                stamp.sequence,
                                false,
                            );
                        }
                        None => outcome.foreign += 1,
                    }
                })?;
            }
            outcome.received += received;
            control.received.fetch_add(received, Ordering::Relaxed);
            // A compacted topic is read when its end is reached, however few records it has.
            let fresh = if settings.mode == Mode::Compact { passed } else { received };
            control.received_fresh.fetch_add(fresh, Ordering::Relaxed);
        }
        if let Some(commits) = &mut commits {
            commits.tick(&fetchers)?;
        }
    }
    Ok(outcome)
}

/// Offsets behind the reader, of all its partitions together.
fn progress(fetcher: &Fetcher) -> u64 {
    fetcher.positions().iter().map(|position| position.offset as u64).sum()
}
