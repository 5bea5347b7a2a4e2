//! Lists of what is there, for inspection and for checkpoints. Not for hot paths.

use crate::bindings::{Record, Target, decoded_arguments, encoded_arguments};
use crate::decide::resolve;
use crate::state::Topology;
use crate::{Exchange, Queue};
use bowline_model::meta::{Binding, Destination};

impl Topology {
    /// Sorted by name; the default exchange is the first.
    pub fn exchanges(&self, vhost: &str) -> Vec<&Exchange> {
        let slots = self.vhosts.get(vhost).into_iter().flat_map(|vhost| vhost.exchanges.values());
        let mut exchanges: Vec<&Exchange> = slots.filter_map(|slot| self.exchanges.get(*slot)).collect();
        exchanges.sort_unstable_by(|a, b| a.spec.name.cmp(&b.spec.name));
        exchanges
    }

    /// Those that clients know, ascending by id.
    pub fn queues(&self, vhost: &str) -> Vec<&Queue> {
        let of = |queue: &&Queue| queue.declared.vhost == vhost && !queue.is_history();
        let mut queues: Vec<&Queue> = self.queues.values().filter(of).collect();
        queues.sort_unstable_by_key(|queue| queue.id);
        queues
    }

    /// Bindings whose source is this exchange, in canonical order.
    pub fn bindings_from(&self, vhost: &str, exchange: &str) -> Vec<Binding> {
        let Some(slot) = self.vhosts.get(vhost).and_then(|vhost| vhost.exchanges.get(exchange)) else {
            return Vec::new();
        };
        self.described(self.bindings.of_source(*slot))
    }

    /// Bindings that lead to this queue, topic or exchange, in canonical order.
    pub fn bindings_to(&self, vhost: &str, destination: &Destination) -> Vec<Binding> {
        let target = self.vhosts.get(vhost).and_then(|vhost| resolve(vhost, destination));
        target.map(|target| self.described(self.bindings.of_target(target))).unwrap_or_default()
    }

    fn described(&self, ids: &[u32]) -> Vec<Binding> {
        let records = ids.iter().filter_map(|id| self.bindings.get(*id));
        in_order(records.filter_map(|record| self.describe(record)).collect())
    }

    /// A binding by names.
    pub(crate) fn describe(&self, record: &Record) -> Option<Binding> {
        let source = &self.exchanges.get(record.source)?.spec;
        let destination = match record.target {
            Target::Queue { queue, .. } => Destination::Queue(self.queues.get(&queue)?.declared.name.clone()),
            Target::Topic(slot) => Destination::Queue(self.topics.get(slot)?.name.clone()),
            Target::Exchange(slot) => Destination::Exchange(self.exchanges.get(slot)?.spec.name.clone()),
        };
        Some(Binding {
            vhost: source.vhost.clone(),
            source: source.name.clone(),
            destination,
            routing_key: record.key.to_string(),
            arguments: decoded_arguments(&record.arguments),
        })
    }
}

/// By source, destination, key and the arguments' bytes: the parts of a binding's identity.
pub(crate) fn in_order(mut bindings: Vec<Binding>) -> Vec<Binding> {
    bindings.sort_by(|a, b| {
        let of = |binding: &Binding| encoded_arguments(&binding.arguments);
        let ends = (&a.vhost, &a.source, &a.destination).cmp(&(&b.vhost, &b.source, &b.destination));
        ends.then_with(|| a.routing_key.cmp(&b.routing_key)).then_with(|| of(a).cmp(&of(b)))
    });
    bindings
}
