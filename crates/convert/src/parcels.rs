//! What the broker itself publishes, made ready for the shards.

use bowline_codec_amqp::Properties;
use bowline_codec_kafka::records::{BatchBuilder, BuildError};
use bowline_model::record::{APPEND_CONVERTED, Append, Extras, PUBLISH_PERSISTENT, Publish};
use bowline_model::{Millis, PartitionId, QueueId, ShardId};
use bowline_topology::{QueueTarget, Targets, Topology};
use bytes::Bytes;

use crate::record::{HeaderBuffer, Outgoing, append_record, partition_of};
use crate::wants::{Of, Wants};

/// A message that the broker publishes.
#[derive(Clone, Copy, Debug)]
pub struct Posted<'a> {
    /// Of the Publish record.
    pub flags: u8,
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    /// Property block, flags included.
    pub properties: Properties<'a>,
    /// `key` and `tenant` are what is known of them; a queue that reads them out of the message overrides them.
    /// `dedup` counts as it is, and `from` is `moved`'s.
    pub extras: Extras,
    pub body: &'a [u8],
    /// The shard and queue that it is moved from, and its number there: any other shard recognises it by that if it
    /// comes again.
    pub moved: Option<(ShardId, QueueId, u64)>,
    /// Records without a key go round a topic's partitions by this number. The same message has the same each time.
    pub turn: u64,
    pub time: Millis,
}

/// What one shard gets.
#[derive(Debug)]
pub struct Parcel {
    pub shard: ShardId,
    /// Framed Publish and Append records.
    pub records: Vec<u8>,
    pub count: u32,
    /// For the log; else for memory.
    pub logged: bool,
}

/// A message's records, one parcel a shard, by shard. It is logged if it is persistent and a target queue is durable,
/// or if a target is a topic.
///
/// # Errors
/// When the message is too large for a record batch (2 GiB).
pub fn parcels(
    message: &Posted<'_>,
    targets: &Targets,
    topology: &Topology,
) -> Result<Vec<Parcel>, BuildError> {
    let persistent = message.flags & PUBLISH_PERSISTENT != 0;
    let logged =
        persistent && targets.queues.iter().any(|target| target.durable) || !targets.topics.is_empty();
    let mut parcels = Parcels { message, logged, all: Vec::new() };
    let mut plain: Vec<QueueTarget> = Vec::new();
    for target in &targets.queues {
        let queue = target.reads.then(|| topology.queue_by_id(target.queue)).flatten();
        match queue {
            Some(queue) => parcels.put(target.shard, &[target.queue.0], parcels.known_to(&Wants::of(queue))),
            None => plain.push(*target),
        }
    }
    plain.sort_by_key(|target| target.shard);
    for same in plain.chunk_by(|a, b| a.shard == b.shard) {
        let queues: Vec<u32> = same.iter().map(|target| target.queue.0).collect();
        parcels.put(same[0].shard, &queues, message.extras);
    }
    if !targets.topics.is_empty() {
        let batch = batch(message)?;
        for topic in &targets.topics {
            let partition = partition_of(&topic.partitions, message.routing_key, message.turn);
            parcels.append(ShardId::of(partition.0, topology.data_shards()), partition, &batch);
        }
    }
    parcels.all.sort_by_key(|parcel| parcel.shard);
    Ok(parcels.all)
}

/// The message as a record batch of its own.
fn batch(message: &Posted<'_>) -> Result<Bytes, BuildError> {
    let time = message.time as i64;
    let Posted { exchange, routing_key, properties, body, .. } = *message;
    let record = Outgoing { exchange, routing_key, properties, body, timestamp: time };
    let mut batch = BatchBuilder::new(time);
    append_record(&record, &mut HeaderBuffer::default(), &mut batch)?;
    batch.build()
}

struct Parcels<'a> {
    message: &'a Posted<'a>,
    logged: bool,
    all: Vec<Parcel>,
}

impl Parcels<'_> {
    /// The extras for a queue that wants to know something.
    fn known_to(&self, wants: &Wants) -> Extras {
        let Posted { routing_key, properties, extras: known, .. } = self.message;
        let mut extras = *known;
        wants.add(&Of { routing_key, properties, user: None }, &mut extras);
        Extras { dedup: known.dedup, window: known.window, tenant: extras.tenant.or(known.tenant), ..extras }
    }

    fn put(&mut self, shard: ShardId, queues: &[u32], extras: Extras) {
        let Posted { flags, exchange, routing_key, properties, body, .. } = *self.message;
        let extras = Extras { from: self.name_for(shard), ..extras };
        let (queues, body) = (queues.iter().copied(), [body].into_iter());
        let out = self.parcel(shard);
        Publish::encode_with(out, flags, queues, exchange, routing_key, properties.as_bytes(), &extras, body);
    }

    fn append(&mut self, shard: ShardId, partition: PartitionId, batch: &[u8]) {
        let from = self.name_for(shard);
        Append { partition: partition.0, flags: APPEND_CONVERTED, from, batch }.put(self.parcel(shard));
    }

    /// By what the shard recognises the message. Where it comes from, there is one block for both ends.
    fn name_for(&self, shard: ShardId) -> Option<(u32, u64)> {
        let (own, queue, number) = self.message.moved?;
        (own != shard && self.logged).then_some((queue.0, number))
    }

    /// Room for one more record.
    fn parcel(&mut self, shard: ShardId) -> &mut Vec<u8> {
        let at = self.all.iter().position(|parcel| parcel.shard == shard).unwrap_or_else(|| {
            let logged = self.logged;
            self.all.push(Parcel { shard, records: Vec::new(), count: 0, logged });
            self.all.len() - 1
        });
        self.all[at].count += 1;
        &mut self.all[at].records
    }
}
