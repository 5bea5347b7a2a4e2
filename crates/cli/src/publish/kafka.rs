//! Producing over Kafka.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{bail, ensure};
use bowline_client::address::KafkaAddress;
use bowline_client::interrupt::Interrupt;
use bowline_client::kafka::codec::partitioner::partition_for_key;
use bowline_client::kafka::codec::records::{BatchBuilder, Header};
use bowline_client::kafka::{
    Acks, Cluster, ConnectOptions, Connection, ProducerId, Sequences, Topic, error_name, init_producer_id,
    receive_produce, send_produce,
};
use indicatif::ProgressBar;

use super::source::Source;
use super::{Args, Summary};
use crate::pace::Pace;

/// A batch is sent when it has so many octets: below every broker's usual limit of 1 MiB.
const BATCH_BYTES: usize = 256 << 10;
const IN_FLIGHT_MAX: usize = 5;
/// Brokers close connections that were silent for ten minutes; after so long we make a new one.
const IDLE_MAX: Duration = Duration::from_secs(300);

pub fn publish(
    address: &KafkaAddress,
    args: &Args,
    mut source: Source,
    interrupt: &Interrupt,
    progress: &ProgressBar,
) -> anyhow::Result<Summary> {
    let amqp_only =
        args.queue.is_some() || args.exchange.is_some() || !args.properties.is_empty() || args.mandatory;
    ensure!(!amqp_only, "queues, exchanges and properties are for amqp://; say --topic");
    let Some(name) = &args.topic else { bail!("where to? --topic NAME") };
    let options = ConnectOptions { timeout: args.timeout, ..ConnectOptions::new(address.clone()) };
    let mut cluster = Cluster::connect(&options)?;
    let topic = cluster.topic(name, true)?;
    let mut producer = Producer::new(cluster, topic, args)?;
    let mut pace = Pace::new(args.rate);
    while !interrupt.is_set() {
        let Some(value) = source.next()? else { break };
        let wait = pace.take();
        if !wait.is_zero() {
            producer.flush()?;
            std::thread::sleep(wait);
        }
        producer.append(&value)?;
        progress.inc(1);
        if source.may_wait() {
            producer.flush()?;
        }
    }
    producer.flush()?;
    producer.drain(0)?;
    Ok(producer.summary)
}

struct Producer<'a> {
    args: &'a Args,
    topic: Topic,
    cluster: Cluster,
    /// By broker.
    connections: HashMap<i32, Connection>,
    identity: Option<ProducerId>,
    sequences: Sequences,
    /// Batches that fill, by partition.
    filling: HashMap<i32, BatchBuilder>,
    /// Records of each request in flight, by broker, oldest first.
    in_flight: HashMap<i32, std::collections::VecDeque<u64>>,
    turn: usize,
    last_used: Instant,
    summary: Summary,
}

impl<'a> Producer<'a> {
    fn new(cluster: Cluster, topic: Topic, args: &'a Args) -> anyhow::Result<Producer<'a>> {
        if let Some(wanted) = args.partition
            && !topic.partitions.iter().any(|partition| partition.index == wanted)
        {
            bail!("topic {} has no partition {wanted}", topic.name);
        }
        let mut producer = Producer {
            args,
            topic,
            cluster,
            connections: HashMap::new(),
            identity: None,
            sequences: Sequences::default(),
            filling: HashMap::new(),
            in_flight: HashMap::new(),
            turn: 0,
            last_used: Instant::now(),
            summary: Summary::default(),
        };
        if args.confirm {
            let leader = producer.topic.partitions[0].leader;
            producer.identity = Some(init_producer_id(producer.connection(leader)?)?);
        }
        Ok(producer)
    }

    fn connection(&mut self, leader: i32) -> anyhow::Result<&mut Connection> {
        if self.last_used.elapsed() > IDLE_MAX {
            self.drain(0)?;
            self.connections.clear();
        }
        self.last_used = Instant::now();
        if !self.connections.contains_key(&leader) {
            self.connections.insert(leader, self.cluster.connect_to(leader)?);
        }
        self.connections.get_mut(&leader).ok_or_else(|| anyhow::anyhow!("no connection to broker {leader}"))
    }

    fn append(&mut self, value: &[u8]) -> anyhow::Result<()> {
        let partitions = &self.topic.partitions;
        let partition = match (self.args.partition, &self.args.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => {
                let place = partition_for_key(key.as_bytes(), partitions.len() as i32);
                partitions[place as usize].index
            }
            (None, None) => partitions[self.turn % partitions.len()].index,
        };
        let timestamp =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let headers: Vec<Header<'_>> = self
            .args
            .headers
            .iter()
            .map(|(name, value)| Header { key: name.as_bytes(), value: Some(value.as_bytes()) })
            .collect();
        let key = self.args.key.as_deref().map(str::as_bytes);
        let builder = self.filling.entry(partition).or_insert_with(|| BatchBuilder::new(timestamp));
        builder.append(key, Some(value), &headers, timestamp)?;
        self.summary.published += 1;
        if builder.uncompressed_bytes() >= BATCH_BYTES {
            self.send(partition)?;
            self.turn += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let partitions: Vec<i32> = self.filling.keys().copied().collect();
        for partition in partitions {
            self.send(partition)?;
        }
        self.turn += 1;
        Ok(())
    }

    fn send(&mut self, partition: i32) -> anyhow::Result<()> {
        let Some(mut builder) = self.filling.remove(&partition) else { return Ok(()) };
        let leader =
            self.topic.partitions.iter().find(|known| known.index == partition).map(|known| known.leader);
        let Some(leader) = leader else { bail!("no partition {partition}") };
        let records = builder.count();
        if let Some(identity) = self.identity {
            let sequence = self.sequences.take(partition, records);
            builder = builder.producer(identity.id, identity.epoch, sequence);
        }
        let batch = builder.build()?;
        let acks = if self.args.confirm { Acks::All } else { Acks::Leader };
        let (name, timeout) = (self.topic.name.clone(), self.args.timeout);
        let connection = self.connection(leader)?;
        send_produce(connection, &name, acks, timeout, vec![(partition, batch)])?;
        connection.flush()?;
        self.in_flight.entry(leader).or_default().push_back(records as u64);
        self.drain(IN_FLIGHT_MAX - 1)
    }

    /// Takes answers until at most `left` requests per broker are in flight.
    fn drain(&mut self, left: usize) -> anyhow::Result<()> {
        for (leader, requests) in &mut self.in_flight {
            let Some(connection) = self.connections.get_mut(leader) else { continue };
            while requests.len() > left {
                let Some(appended) = receive_produce(connection, self.args.timeout)? else {
                    bail!("the broker did not confirm in time");
                };
                let records = requests.pop_front().unwrap_or(0);
                match appended.iter().find(|part| part.error_code != 0) {
                    None => self.summary.confirmed += records,
                    Some(part) => {
                        self.summary.refused += records;
                        eprintln!("partition {}: {}", part.partition, error_name(part.error_code));
                    }
                }
            }
        }
        Ok(())
    }
}
