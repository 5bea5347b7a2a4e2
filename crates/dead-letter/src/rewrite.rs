//! A message on its way through a dead-letter exchange.

use crate::history::{Death, History};
use bowline_codec_amqp::{FieldTable, FieldValue, OwnedProperties, Properties};
use bowline_convert::Routable;
use bowline_model::record::{Extras, PUBLISH_DIED, Publish, SettleReason};
use bowline_topology::history::NO_STORE;
use bowline_topology::{Targets, Topology};

/// A message that died.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    pub publish: &'a Publish<'a>,
    pub vhost: &'a str,
    /// Where it died.
    pub queue: &'a str,
    pub reason: SettleReason,
    /// The queue's dead-letter exchange, and its routing key if it has one.
    pub exchange: &'a str,
    pub routing_key: Option<&'a str>,
    /// Seconds since 1970.
    pub time: u64,
    /// For exchanges that choose by chance.
    pub chance: u64,
}

/// What it is now.
#[derive(Debug)]
pub struct Reborn {
    pub flags: u8,
    /// What its deliveries say that it was published to.
    pub exchange: Vec<u8>,
    pub routing_key: Vec<u8>,
    pub properties: Vec<u8>,
    pub extras: Extras,
    /// Empty: it goes nowhere.
    pub targets: Targets,
    /// It would have gone round for ever in one of its targets, which is left out; or it has died too often, and has
    /// none.
    pub cycle: bool,
}

/// Rewrites and routes. An exchange that is not there routes nowhere.
pub fn rewrite(letter: &Letter<'_>, topology: &Topology) -> Reborn {
    let publish = letter.publish;
    // Sessions store only blocks that they have validated.
    let properties = Properties::parse(publish.properties).unwrap_or(Properties::EMPTY);
    let mut properties: OwnedProperties = properties.to_owned();
    let mut headers = properties.headers.take().unwrap_or_default();
    let copies = copies(&headers);
    let mut old_keys = vec![publish.routing_key];
    old_keys.extend(copies.iter().map(Vec::as_slice));
    let death = Death {
        queue: letter.queue,
        reason: letter.reason,
        time: letter.time,
        exchange: publish.exchange,
        routing_keys: &old_keys,
        expiration: properties.expiration.as_deref(),
    };
    let mut history = History::take(&mut headers, publish.flags & PUBLISH_DIED != 0);
    history.add(&death);
    let keys: Vec<&[u8]> = match letter.routing_key {
        Some(key) => vec![key.as_bytes()],
        None => old_keys.clone(),
    };
    if letter.routing_key.is_some() {
        headers = without(&headers, b"CC");
    }

    if publish.extras.made_by.is_some() {
        // It is a copy: whoever publishes it again does not mean to begin another schedule.
        for name in [&b"x-schedule"[..], b"x-schedule-count", b"x-schedule-until"] {
            headers = without(&headers, name);
        }
    }
    history.put(&mut headers, &death);
    let routing_key = keys[0].to_vec();
    properties.headers = Some(headers);
    properties.expiration = None;
    let block = properties.to_bytes();

    let mut targets = Targets::default();
    let mut chance = letter.chance;
    // What was just encoded can be read.
    let properties = Properties::parse(&block).unwrap_or(Properties::EMPTY);
    let mut message = Routable { properties, chance: &mut chance };
    let is_full = history.is_full();
    if !is_full {
        // A missing exchange drops the message, as in RabbitMQ.
        let _ = topology.route_by(letter.vhost, letter.exchange, &keys, &mut message, &mut targets);
    }
    let before = targets.queues.len();
    targets.queues.retain(|target| {
        let queue = topology.queue_by_id(target.queue);
        !queue.is_some_and(|queue| history.is_cycle(&queue.declared.name))
    });
    let cycle = is_full || targets.queues.len() < before;
    let histories = std::mem::take(&mut targets.history);
    if properties.headers().and_then(|headers| headers.get(NO_STORE)?.as_bool()) != Some(true) {
        targets.queues.extend(histories);
    }
    Reborn {
        flags: publish.flags | PUBLISH_DIED,
        exchange: letter.exchange.as_bytes().to_vec(),
        routing_key,
        properties: block,
        extras: Extras {
            ttl_ms: None,
            delay_ms: None,
            deliver_at: None,
            dedup: None,
            window: None,
            from: None,
            handle: None,
            made_by: None,
            recurrence: None,
            ..publish.extras
        },
        targets,
        cycle,
    }
}

/// The further keys that the header CC names.
pub(crate) fn copies(headers: &FieldTable) -> Vec<Vec<u8>> {
    let Some(FieldValue::Array(keys)) = headers.get("CC") else { return Vec::new() };
    let keys = keys.iter().filter_map(|key| match key {
        FieldValue::LongStr(key) => Some(key.clone()),
        _ => None,
    });
    keys.collect()
}

fn without(headers: &FieldTable, gone: &[u8]) -> FieldTable {
    let mut kept = FieldTable::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != gone) {
        kept.push_bytes(name, value.clone());
    }
    kept
}
