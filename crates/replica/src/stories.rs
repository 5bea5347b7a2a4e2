//! Stories on their way to trace exchanges: what happened to the messages of a queue, as a small message each.
//!
//! Best effort: nobody waits for them, what has nowhere to go is dropped, and a queue that is traced itself takes none.
//!
//! A story's routing key is `QUEUE.EVENT`. What it tells is in headers, for those who route and filter by them, and the
//! same as JSON in the body, for those who read a stream.

use bowline_broker::{Happened, Shard, Told, ToldEvent, Transfer};
use bowline_codec_amqp::{FieldTable, FieldValue, OwnedProperties, Properties};
use bowline_convert::{Parcel, Posted, Routable, parcels};
use bowline_dead_letter::reason_name;
use bowline_model::record::{self, Extras, PUBLISH_PERSISTENT, Publish};
use bowline_model::{Millis, ShardId};
use bowline_topology::{Targets, Topology};

/// Records for one shard that go together, bytes.
const TRANSFER_BYTES_MAX: usize = 256 * 1024;

/// Publishes what `shard`, which is number `id`, has told. Returns what goes to other shards, in order.
pub fn publish(
    topology: &Topology,
    (id, shard): (ShardId, &mut Shard),
    now: Millis,
    told: &[Told],
) -> Vec<(ShardId, Transfer)> {
    let mut ready = Vec::new();
    let mut turn = now;
    for told in told {
        let mut lost = told.lost;
        for event in &told.events {
            turn = turn.wrapping_add(1);
            let story = Story { told, event, lost: std::mem::take(&mut lost) };
            for parcel in story.parcels(topology, now, turn) {
                gather(&mut ready, parcel);
            }
        }
    }
    let mut elsewhere = Vec::new();
    for (to, transfer) in ready {
        match to == id {
            true => shard.receive(now, transfer),
            false => elsewhere.push((to, transfer)),
        }
    }
    elsewhere
}

/// Joins what goes to the same shard in the same way.
fn gather(ready: &mut Vec<(ShardId, Transfer)>, parcel: Parcel) {
    let Parcel { shard, records, count, logged } = parcel;
    let last = ready.iter_mut().rev().find(|(to, _)| *to == shard);
    if let Some((_, transfer)) = last
        && transfer.logged == logged
        && transfer.records.len() + records.len() <= TRANSFER_BYTES_MAX
    {
        transfer.records.extend_from_slice(&records);
        transfer.count += count;
        return;
    }
    ready.push((shard, Transfer { records, count, logged, receipt: None }));
}

struct Story<'a> {
    told: &'a Told,
    event: &'a ToldEvent,
    /// Events before this one of which nothing is known.
    lost: u64,
}

impl Story<'_> {
    fn parcels(&self, topology: &Topology, now: Millis, turn: u64) -> Vec<Parcel> {
        let Told { vhost, name, exchange, .. } = self.told;
        let mut routing_key = format!("{name}.{}", event_name(&self.event.what)).into_bytes();
        routing_key.truncate(255);
        let headers = self.headers(now);
        let body = json(&headers);
        let owned = OwnedProperties {
            content_type: Some(b"application/json".to_vec()),
            delivery_mode: Some(2),
            timestamp: Some(now / 1000),
            headers: Some(headers),
            ..OwnedProperties::default()
        };
        let block = owned.to_bytes();
        // Just made.
        let properties = Properties::parse(&block).unwrap_or(Properties::EMPTY);
        let mut targets = Targets::default();
        let mut chance = turn;
        let mut message = Routable { properties, chance: &mut chance };
        // An exchange that is not there gets nothing.
        let _ = topology.route(vhost, exchange, &routing_key, &mut message, &mut targets);
        targets.queues.retain(|target| {
            let queue = topology.queue_by_id(target.queue);
            queue.is_some_and(|queue| queue.settings.trace_exchange.is_none())
        });
        let posted = Posted {
            flags: PUBLISH_PERSISTENT,
            exchange: exchange.as_bytes(),
            routing_key: &routing_key,
            properties,
            extras: Extras::default(),
            body: body.as_bytes(),
            moved: None,
            turn,
            time: now,
        };
        parcels(&posted, &targets, topology).unwrap_or_default()
    }

    fn headers(&self, now: Millis) -> FieldTable {
        let mut headers = FieldTable::new();
        headers.push("event", event_name(&self.event.what));
        headers.push("queue", self.told.name.as_str());
        if let Some(number) = self.event.number {
            headers.push("number", number as i64);
        }
        if let Some((block, offset)) = &self.event.message
            && let Ok(found) = record::at(&block.payload, *offset)
            && let Some(publish) = Publish::decode(found.body)
            && let Ok(properties) = Properties::parse(publish.properties)
        {
            if let Some(id) = properties.message_id() {
                headers.push_bytes(b"message-id", FieldValue::LongStr(id.as_bytes().to_vec()));
            }
            if let Some(id) = properties.correlation_id() {
                headers.push_bytes(b"correlation-id", FieldValue::LongStr(id.as_bytes().to_vec()));
            }
            if matches!(self.event.what, Happened::Published) {
                headers.push_bytes(b"exchange", FieldValue::LongStr(publish.exchange.to_vec()));
                headers.push_bytes(b"routing-key", FieldValue::LongStr(publish.routing_key.to_vec()));
            }
        }
        headers.push("time", now as i64);
        match &self.event.what {
            Happened::Delivered { tag, redelivered, attempt } => {
                headers.push_bytes(b"consumer-tag", FieldValue::LongStr(tag.to_vec()));
                headers.push("redelivered", *redelivered);
                if let Some(attempt) = attempt {
                    headers.push("attempt", i64::from(*attempt));
                }
            }
            Happened::Returned { failed } => {
                headers.push("reason", if *failed { "failed" } else { "returned" })
            }
            Happened::Delayed { until } => headers.push("until", *until as i64),
            Happened::DeadLettered(reason) | Happened::Dropped(reason) => {
                headers.push("reason", reason_name(*reason));
            }
            Happened::Purged { count } => headers.push("count", *count as i64),
            Happened::Published
            | Happened::Duplicate
            | Happened::Acked
            | Happened::Expired
            | Happened::Redriven
            | Happened::Unmoved => {}
        }
        if self.lost > 0 {
            headers.push("lost-before", self.lost as i64);
        }
        headers
    }
}

fn event_name(what: &Happened) -> &'static str {
    match what {
        Happened::Published => "published",
        Happened::Duplicate => "duplicate",
        Happened::Delivered { .. } => "delivered",
        Happened::Acked => "acked",
        Happened::Returned { .. } => "returned",
        Happened::Delayed { .. } => "delayed",
        Happened::Expired => "expired",
        Happened::DeadLettered(_) => "dead-lettered",
        Happened::Dropped(_) => "dropped",
        Happened::Purged { .. } => "purged",
        Happened::Redriven => "redriven",
        Happened::Unmoved => "unmoved",
    }
}

/// Text, numbers and truth: all that there is in those headers.
fn json(headers: &FieldTable) -> String {
    let mut out = String::from("{");
    for (name, value) in headers.iter() {
        if out.len() > 1 {
            out.push(',');
        }
        quote(&mut out, &String::from_utf8_lossy(name));
        out.push(':');
        match value {
            FieldValue::I64(n) => out.push_str(&n.to_string()),
            FieldValue::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            FieldValue::LongStr(text) => quote(&mut out, &String::from_utf8_lossy(text)),
            _ => out.push_str("null"),
        }
    }
    out.push('}');
    out
}

/// RFC 8259, section 7.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_json() {
        let mut headers =
            FieldTable::new().with("event", "acked").with("number", 7_i64).with("redelivered", true);
        headers.push_bytes(b"message-id", FieldValue::LongStr(b"a\"b\\c\n\xff".to_vec()));
        let expected = "{\"event\":\"acked\",\"number\":7,\"redelivered\":true,\"message-id\":\"a\\\"b\\\\c\\u000a\u{fffd}\"}";
        assert_eq!(json(&headers), expected);
    }
}
