//! Copies of an exchange's history on their way to what was bound to it: routed as if they were published there again.

use bowline_broker::{Copies, Reborn, Remains, Transfer};
use bowline_codec_amqp::Properties;
use bowline_convert::{Posted, Routable, parcels};
use bowline_model::meta::Destination;
use bowline_model::record::{self, Extras, Publish, SettleReason};
use bowline_model::{Millis, ShardId};
use bowline_topology::{Entry, QueueTarget, Targets, TopicTarget, Topology};
use std::collections::BTreeMap;

/// Records by shard, in the order of the history. Those for the history's own shard come as if they were reborn of
/// nothing.
#[derive(Debug, Default)]
pub struct Copied {
    pub own: Option<Reborn>,
    pub elsewhere: Vec<(ShardId, Transfer)>,
}

/// Where `copies`, which are of `shard`, go.
pub fn route(topology: &Topology, shard: ShardId, now: Millis, copies: &Copies) -> Copied {
    let mut by_shard: BTreeMap<ShardId, (Vec<u8>, u32)> = BTreeMap::new();
    // Messages that are logged do not overtake others: if one is, all are.
    let mut logged = false;
    for ((block, offset), turn) in copies.messages.iter().zip(0..) {
        let found = record::at(&block.payload, *offset).ok();
        let Some(publish) = found.and_then(|found| Publish::decode(found.body)) else { continue };
        // Sessions store only blocks that they have validated.
        let properties = Properties::parse(publish.properties).unwrap_or(Properties::EMPTY);
        let targets = targets(topology, copies, &publish, properties, turn);
        let expiration = properties.expiration().and_then(|text| text.to_string().parse().ok());
        let posted = Posted {
            flags: publish.flags,
            exchange: publish.exchange,
            routing_key: publish.routing_key,
            properties,
            extras: Extras { ttl_ms: expiration, priority: properties.priority(), ..Extras::default() },
            body: publish.body,
            moved: None,
            turn,
            time: now,
        };
        for parcel in parcels(&posted, &targets, topology).unwrap_or_default() {
            let (records, count) = by_shard.entry(parcel.shard).or_default();
            records.extend_from_slice(&parcel.records);
            *count += parcel.count;
            logged |= parcel.logged;
        }
    }
    let mut copied = Copied::default();
    for (to, (records, count)) in by_shard {
        if to == shard {
            let (remains, reason) = (Remains::Nowhere, SettleReason::Acked);
            copied.own = Some(Reborn { remains, reason, records, count, logged });
        } else {
            copied.elsewhere.push((to, Transfer { records, count, logged, receipt: None }));
        }
    }
    copied
}

fn targets(
    topology: &Topology,
    copies: &Copies,
    publish: &Publish<'_>,
    properties: Properties<'_>,
    turn: u64,
) -> Targets {
    let mut targets = Targets::default();
    let vhost = &copies.vhost;
    match &copies.to {
        Destination::Queue(name) => match topology.entry(vhost, name) {
            Some(Entry::Queue(queue)) => targets.queues.push(QueueTarget {
                queue: queue.id,
                shard: queue.shard,
                durable: queue.declared.durable,
                limited: false,
                reads: queue.reads.is_some(),
            }),
            Some(Entry::Topic(topic)) => {
                let partitions = topic.partitions.clone();
                targets.topics.push(TopicTarget::new(topic, partitions, topology.defaults()));
            }
            // It has gone meanwhile.
            None => {}
        },
        Destination::Exchange(name) => {
            let mut message = Routable { properties, chance: &mut turn.clone() };
            let _ = topology.route(vhost, name, publish.routing_key, &mut message, &mut targets);
            let histories = std::mem::take(&mut targets.history);
            targets.queues.extend(histories);
        }
    }
    targets
}
