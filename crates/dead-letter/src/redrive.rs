//! A message on its way out of a dead-letter queue: somebody wants it processed again. It begins anew: what it died of
//! is forgotten, and a header counts how often that was done.

use crate::history::History;
use crate::rewrite::{Reborn, copies};
use bowline_codec_amqp::{FieldTable, FieldValue, Properties};
use bowline_convert::Routable;
use bowline_model::QueueId;
use bowline_model::record::{Extras, PUBLISH_DIED, Publish};
use bowline_model::request::RedriveTo;
use bowline_topology::{Targets, Topology};

/// How often a message was redriven.
pub const REDRIVE_COUNT: &str = "x-redrive-count";

/// A message to be redriven.
#[derive(Clone, Copy, Debug)]
pub struct Redrive<'a> {
    pub publish: &'a Publish<'a>,
    pub vhost: &'a str,
    /// Where it lies.
    pub queue: QueueId,
    pub to: &'a RedriveTo,
    /// For exchanges that choose by chance.
    pub chance: u64,
}

/// Rewrites and routes. `None` if there is no place for it but the one where it lies.
///
/// What goes straight into a queue has the exchange and routing key that it had before it died last.
pub fn redrive(redrive: &Redrive<'_>, topology: &Topology) -> Option<Reborn> {
    let publish = redrive.publish;
    let mut properties = Properties::parse(publish.properties).unwrap_or(Properties::EMPTY).to_owned();
    let mut headers = properties.headers.take().unwrap_or_default();
    let died = publish.flags & PUBLISH_DIED != 0;
    // What a client wrote about deaths is none of ours.
    let last = if died { History::take_all(&mut headers).last() } else { None };
    let copies = copies(&headers);
    let (old_exchange, keys) = match &last {
        Some(last) if !last.routing_keys.is_empty() => (&last.exchange[..], last.routing_keys.clone()),
        _ => {
            let own = std::iter::once(publish.routing_key.to_vec());
            (publish.exchange, own.chain(copies).collect())
        }
    };
    let routing_key = keys.first().cloned().unwrap_or_default();
    if routing_key.len() > 255 || old_exchange.len() > 255 {
        return None;
    }

    count(&mut headers);
    properties.headers = Some(headers);
    properties.expiration = None;
    let block = properties.to_bytes();

    let mut targets = Targets::default();
    let mut chance = redrive.chance;
    // What was just encoded can be read.
    let properties = Properties::parse(&block).unwrap_or(Properties::EMPTY);
    let mut message = Routable { properties, chance: &mut chance };
    let mut route = |exchange: &str, key: &[u8]| {
        // An exchange that is not there routes nowhere.
        let _ = topology.route(redrive.vhost, exchange, key, &mut message, &mut targets);
    };
    let exchange = match redrive.to {
        RedriveTo::Source => {
            route("", &last.as_ref()?.queue);
            old_exchange.to_vec()
        }
        RedriveTo::Queue(name) => {
            route("", name.as_bytes());
            old_exchange.to_vec()
        }
        RedriveTo::Exchange(name) => {
            keys.iter().for_each(|key| route(name, key));
            name.clone().into_bytes()
        }
    };
    targets.queues.retain(|target| target.queue != redrive.queue);
    if targets.is_empty() {
        return None;
    }
    let Extras { priority, key, tenant, .. } = publish.extras;
    Some(Reborn {
        flags: publish.flags & !PUBLISH_DIED,
        exchange,
        routing_key,
        properties: block,
        // Nothing of its times and names: it begins anew.
        extras: Extras { priority, key, tenant, ..Extras::default() },
        targets,
        cycle: false,
    })
}

/// Once more.
fn count(headers: &mut FieldTable) {
    let before = match headers.get(REDRIVE_COUNT) {
        Some(FieldValue::I64(count)) => *count,
        _ => 0,
    };
    let mut counted = FieldTable::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != REDRIVE_COUNT.as_bytes()) {
        counted.push_bytes(name, value.clone());
    }
    counted.push(REDRIVE_COUNT, before.saturating_add(1));
    *headers = counted;
}
