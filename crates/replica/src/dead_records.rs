//! What becomes of a record that a share group has given up: a record of the group's dead-letter topic (KIP-1191), or a
//! message for the dead-letter exchange of an AMQP consumer.
//!
//! The letter and the end of the record are one batch of the log of the record's shard. What is for other shards is in
//! an Outbox record of that batch, and is handed over until it has arrived.

use bowline_broker::DeadRecord;
use bowline_codec_amqp::Properties;
use bowline_codec_kafka::records::{
    Batch, BatchBuilder, BatchHeader, Header, Record, RecordIter, set_log_append_time,
};
use bowline_convert::{FieldBuffer, Incoming, Parcel, Posted, parcels, read_record};
use bowline_dead_letter::{Letter, rewrite};
use bowline_model::event::BatchSlice;
use bowline_model::meta::{Command, ConfigKind, TopicSpec};
use bowline_model::outbox::Part;
use bowline_model::record::{
    self, APPEND_CONVERTED, Append, Extras, Kind, PUBLISH_PERSISTENT, Publish, SettleReason,
};
use bowline_model::share::DeadLetterExchange;
use bowline_model::share_config::ShareConfig;
use bowline_model::{Lsn, Millis, ShardId, TopicId};
use bowline_topology::config::DEAD_LETTERS;
use bowline_topology::{Topic, Topology};
use bytes::Bytes;

/// Where Kafka's topics live.
const VHOST: &str = "/";
/// Largest batch, decompressed, bytes.
const BATCH_BYTES_MAX: usize = 100 << 20;
/// Largest property block of a message made of a record, octets.
const PROPERTIES_BYTES_MAX: usize = 128 << 10;

// Headers of records in a dead-letter topic (KIP-1191).
const HEADERS: &[u8] = b"__dlq.errors.";
const TOPIC: &[u8] = b"__dlq.errors.topic";
const PARTITION: &[u8] = b"__dlq.errors.partition";
const OFFSET: &[u8] = b"__dlq.errors.offset";
const GROUP: &[u8] = b"__dlq.errors.group";
const DELIVERY_COUNT: &[u8] = b"__dlq.errors.delivery.count";
const MESSAGE: &[u8] = b"__dlq.errors.message";
// What clients tell the reasons by, as Kafka has it.
const REJECTED: &[u8] = b"Offset rejected by client.";
const DELIVERED_TOO_OFTEN: &[u8] = b"Offset delivery count exceeded the threshold.";

/// What is to be logged.
#[derive(Debug, Default)]
pub struct Letters {
    /// Framed.
    pub records: Vec<u8>,
    pub count: u32,
    /// Why nobody gets it, if so.
    pub lost: Option<&'static str>,
}

/// The batch that was opened last: records that die together often lie in one.
#[derive(Default)]
pub struct Opened(Option<(Lsn, u32, BatchHeader, Bytes)>);

impl Opened {
    fn open(&mut self, slice: &BatchSlice) -> Option<(BatchHeader, Bytes)> {
        if let Some((lsn, offset, header, records)) = &self.0
            && (*lsn, *offset) == (slice.block.lsn, slice.offset)
        {
            return Some((*header, records.clone()));
        }
        let range = slice.offset as usize..slice.offset as usize + slice.len as usize;
        let bytes = slice.block.payload.get(range.clone()).map(|_| slice.block.payload.slice(range))?;
        let header = BatchHeader::parse(&bytes).ok()?;
        let records = Batch { header, bytes }.records(BATCH_BYTES_MAX).ok()?;
        self.0 = Some((slice.block.lsn, slice.offset, header, records.clone()));
        Some((header, records))
    }
}

/// Decides for a record that died in `shard`.
pub fn letters(
    topology: &Topology,
    shard: ShardId,
    now: Millis,
    DeadRecord { dead, batch }: &DeadRecord,
    opened: &mut Opened,
) -> Letters {
    let lost = |why| Letters { lost: Some(why), ..Letters::default() };
    let Some(topic) = topology.topic_of(dead.partition) else { return lost("its topic is gone") };
    let index = topic.partitions.iter().position(|id| *id == dead.partition).unwrap_or(0);
    let batch = batch.as_ref().and_then(|slice| Some((slice, opened.open(slice)?)));
    let found = batch.as_ref().and_then(|(slice, (header, records))| {
        let mut all = RecordIter::new(records, header.records_count).map_while(Result::ok);
        let at = |record: &Record<'_>| slice.base_offset.checked_add_signed(record.offset_delta.into());
        let record = all.find(|record| at(record) == Some(dead.offset))?;
        let timestamp = header.record_timestamp(record.timestamp_delta);
        Some(Found { record, timestamp, flags: slice.flags & APPEND_CONVERTED })
    });
    let died = Died { dead, topic, index, now };
    let made = match &dead.exchange {
        Some(exchange) => match found {
            Some(found) => died.message(exchange, &found, topology),
            None => Err("it cannot be read"),
        },
        None => died.record(found.as_ref(), topology),
    };
    match made {
        Ok(parcels) => packed(shard, parcels),
        Err(why) => lost(why),
    }
}

/// The dead-letter topic that the record is for, if it is not there and is to be made, or `is_being_made`.
pub fn topic_to_make(
    topology: &Topology,
    DeadRecord { dead, .. }: &DeadRecord,
    is_being_made: impl Fn(&str) -> bool,
) -> Option<String> {
    let defaults = topology.defaults();
    if dead.exchange.is_some() || !defaults.creates_dead_letter_topics() {
        return None;
    }
    let name = ShareConfig::parsed(topology.configs(ConfigKind::Group, &dead.group)).dead_letter_topic?;
    let waits = topology.topic(VHOST, &name).is_none() || is_being_made(&name);
    (waits && name.starts_with(defaults.dead_letter_prefix())).then_some(name)
}

/// How it is made.
pub fn topic_made(topology: &Topology, name: &str) -> Command {
    Command::TopicCreate(TopicSpec {
        vhost: VHOST.to_owned(),
        name: name.to_owned(),
        id: TopicId(*uuid::Uuid::new_v4().as_bytes()),
        partitions: topology.defaults().partitions,
        configs: vec![(DEAD_LETTERS.to_owned(), "true".to_owned())],
        arguments: Vec::new(),
    })
}

/// A record that died, and where.
struct Died<'a> {
    dead: &'a bowline_stream::share::Dead,
    topic: &'a Topic,
    /// Of the partition in the topic.
    index: usize,
    now: Millis,
}

/// The record itself.
struct Found<'a> {
    record: Record<'a>,
    timestamp: i64,
    flags: u8,
}

impl Died<'_> {
    /// A record for the dead-letter topic of the group.
    fn record(&self, found: Option<&Found<'_>>, topology: &Topology) -> Result<Vec<Parcel>, &'static str> {
        let dead = self.dead;
        let config = ShareConfig::parsed(topology.configs(ConfigKind::Group, &dead.group));
        let name = config.dead_letter_topic.ok_or("the group has no dead-letter topic any more")?;
        let topic = topology.topic(VHOST, &name).ok_or("there is no such dead-letter topic")?;
        let settings = topic.config(topology.defaults());
        if !settings.dead_letters {
            return Err("the topic does not take dead letters (errors.deadletterqueue.group.enable)");
        }
        if !name.starts_with(topology.defaults().dead_letter_prefix()) {
            return Err("the dead-letter topic's name has not the broker's prefix");
        }
        let built = |found| self.build(found).map_err(|_| "it is too large");
        let (mut found, mut batch) = (found, built(found)?);
        if batch.len() > settings.max_message_bytes as usize && found.is_some() {
            (found, batch) = (None, built(None)?);
        }
        if batch.len() > settings.max_message_bytes as usize {
            return Err("it is too large for the dead-letter topic");
        }
        if settings.partition.compaction.is_some() && found.is_none_or(|found| found.record.key.is_none()) {
            return Err("it has no key, and the dead-letter topic is compacted");
        }
        let flags = found.map_or(0, |found| found.flags);
        let mut batch = Vec::from(batch);
        if settings.log_append_time {
            // It was just built.
            let _ = set_log_append_time(&mut batch, self.now as i64);
        }
        let partition = topic.partitions[self.index % topic.partitions.len()];
        let shard = ShardId::of(partition.0, topology.data_shards());
        let mut records = Vec::with_capacity(batch.len() + 16);
        Append { partition: partition.0, flags, from: None, batch: &batch }.put(&mut records);
        Ok(vec![Parcel { shard, records, count: 1, logged: true }])
    }

    fn build(&self, found: Option<&Found<'_>>) -> Result<Bytes, bowline_codec_kafka::records::BuildError> {
        let dead = self.dead;
        let (partition, offset) = (self.index.to_string(), dead.offset.to_string());
        let deliveries = dead.deliveries.min(i16::MAX as u32).to_string();
        let message = match dead.reason {
            SettleReason::DeliveryLimit => DELIVERED_TOO_OFTEN,
            _ => REJECTED,
        };
        let own = [
            (TOPIC, self.topic.name.as_bytes()),
            (PARTITION, partition.as_bytes()),
            (OFFSET, offset.as_bytes()),
            (GROUP, dead.group.as_bytes()),
            (DELIVERY_COUNT, deliveries.as_bytes()),
            (MESSAGE, message),
        ];
        let kept = found.into_iter().flat_map(|found| found.record.headers.clone());
        // What it died of before is told by the record that it was then.
        let kept = kept.filter(|header| !header.key.starts_with(HEADERS));
        let own = own.map(|(key, value)| Header { key, value: Some(value) });
        let headers: Vec<Header<'_>> = own.into_iter().chain(kept).collect();
        let mut batch = BatchBuilder::new(self.now as i64);
        let (key, value) = found.map_or((None, None), |found| (found.record.key, found.record.value));
        batch.append(key, value, &headers, self.now as i64)?;
        batch.build()
    }

    /// A message for a dead-letter exchange.
    fn message(
        &self,
        to: &DeadLetterExchange,
        found: &Found<'_>,
        topology: &Topology,
    ) -> Result<Vec<Parcel>, &'static str> {
        let dead = self.dead;
        let incoming = Incoming {
            stream: &self.topic.name,
            offset: dead.offset,
            partition: (self.topic.partitions.len() > 1).then_some(self.index as u32),
            timestamp: found.timestamp,
            converted: found.flags & APPEND_CONVERTED != 0,
            key: found.record.key,
            value: found.record.value,
            headers: found.record.headers.clone(),
            returns: Some(dead.deliveries.saturating_sub(1)),
        };
        let mut block = Vec::new();
        let message = read_record(&incoming, PROPERTIES_BYTES_MAX, &mut FieldBuffer::default(), &mut block);
        let priority = Properties::parse(&block).ok().and_then(|properties| properties.priority());
        let extras = Extras { priority, ..Extras::default() };
        let mut framed = Vec::new();
        let (nowhere, body) = (std::iter::empty(), [message.body].into_iter());
        let (exchange, key) = (message.exchange, message.routing_key);
        Publish::encode_with(&mut framed, PUBLISH_PERSISTENT, nowhere, exchange, key, &block, &extras, body);
        let publish = record::at(&framed, 0).ok().and_then(|record| Publish::decode(record.body));
        let publish = publish.ok_or("it cannot be a message")?;
        let letter = Letter {
            publish: &publish,
            vhost: &to.vhost,
            queue: &self.topic.name,
            reason: dead.reason,
            exchange: &to.exchange,
            routing_key: to.routing_key.as_deref(),
            time: self.now / 1000,
            chance: dead.offset,
        };
        let new = rewrite(&letter, topology);
        if new.targets.is_empty() {
            return Err(if new.cycle {
                "it would go round for ever"
            } else {
                "its exchange has nowhere to send it"
            });
        }
        let posted = Posted {
            flags: new.flags,
            exchange: &new.exchange,
            routing_key: &new.routing_key,
            // Just made.
            properties: Properties::parse(&new.properties).unwrap_or(Properties::EMPTY),
            extras: new.extras,
            body: publish.body,
            moved: None,
            turn: dead.offset,
            time: self.now,
        };
        parcels(&posted, &new.targets, topology).map_err(|_| "it is too large")
    }
}

/// Parcels of this shard as they are, those of others in one Outbox record.
fn packed(shard: ShardId, parcels: Vec<Parcel>) -> Letters {
    let (mut letters, mut outbox) = (Letters::default(), Vec::new());
    for Parcel { shard: to, records, count, .. } in parcels {
        if to == shard {
            letters.records.extend_from_slice(&records);
            letters.count += count;
        } else {
            Part { shard: to, count, records: &records }.put(&mut outbox);
        }
    }
    if !outbox.is_empty() {
        record::put(&mut letters.records, Kind::Outbox, &outbox);
        letters.count += 1;
    }
    letters
}
