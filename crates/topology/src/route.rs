//! Routing: from exchange to exchange until only queues and topics are left.
//!
//! Exchange-to-exchange bindings and alternate exchanges may form cycles: each exchange is visited once per publish.
//! An alternate exchange takes over when its exchange matched nothing at all, another exchange included, as in
//! RabbitMQ; whether that other exchange then found a queue does not count. A message with several routing keys (CC,
//! BCC) visits each exchange once with all of them, and matched nothing there if none of them did.

use crate::bindings::{Slot, Target};
use crate::exchange::Message;
use crate::headers::LazyHeaders;
use crate::names::partition_name;
use crate::state::{Named, Topology, Vhost};
use crate::{NoExchange, QueueTarget, Targets, TopicTarget};
use bowline_model::{QueueId, ShardId};
use smallvec::SmallVec;

impl Topology {
    /// Adds to `out` where a message goes that is published to `exchange` with `routing_key`. `message` is asked
    /// when an exchange is met that looks into messages. Does not refuse internal exchanges.
    #[inline]
    pub fn route(
        &self,
        vhost: &str,
        exchange: &str,
        routing_key: &[u8],
        message: &mut dyn Message,
        out: &mut Targets,
    ) -> Result<(), NoExchange> {
        self.route_by(vhost, exchange, &[routing_key], message, out)
    }

    /// The same for a message with several routing keys.
    pub fn route_by(
        &self,
        vhost: &str,
        exchange: &str,
        keys: &[&[u8]],
        message: &mut dyn Message,
        out: &mut Targets,
    ) -> Result<(), NoExchange> {
        let vhost = self.vhosts.get(vhost).ok_or(NoExchange)?;
        let mut repeated = !out.is_empty() || keys.len() > 1;
        if exchange.is_empty() {
            for key in keys {
                match vhost.names.get(*key) {
                    Some(named) => self.put(named.target(), out),
                    None => out.topics.extend(self.partition_named(vhost, key)),
                }
            }
            if repeated {
                out.deduplicate();
            }
            return Ok(());
        }
        let start = *vhost.exchanges.get(exchange).ok_or(NoExchange)?;
        let mut headers = LazyHeaders::new(message);
        let mut onward = Onward::default();
        repeated |= self.visit(start, keys, &mut headers, out, &mut onward);
        if !onward.is_empty() {
            self.walk(vhost, start, keys, &mut headers, out, onward);
            repeated = true;
        }
        if repeated {
            out.deduplicate();
        }
        Ok(())
    }

    /// The default exchange knows the partitions of a topic by name, too.
    #[cold]
    fn partition_named(&self, vhost: &Vhost, name: &[u8]) -> Option<TopicTarget> {
        let (topic, index) = partition_name(std::str::from_utf8(name).ok()?)?;
        let Named::Topic(slot) = *vhost.names.get(topic.as_bytes())? else { return None };
        let topic = self.topics.get(slot)?;
        Some(TopicTarget::new(topic, [*topic.partitions.get(index)?].into(), &self.defaults))
    }

    /// Visits what `start` led on to, and so on.
    #[cold]
    fn walk<'a>(
        &'a self,
        vhost: &Vhost,
        start: Slot,
        keys: &[&[u8]],
        headers: &mut LazyHeaders<'_>,
        out: &mut Targets,
        mut onward: Onward<'a>,
    ) {
        let mut visited = Visited::default();
        visited.enter(start);
        loop {
            if let Some(name) = onward.alternate.take()
                && let Some(slot) = vhost.exchanges.get(name)
            {
                onward.exchanges.push(*slot);
            }
            let Some(slot) = onward.exchanges.pop() else { break };
            if visited.enter(slot) {
                self.visit(slot, keys, headers, out, &mut onward);
            }
        }
    }

    /// Adds the targets of one exchange to `out`, and where to go on to `onward`. True if there may be doubles.
    #[inline]
    fn visit<'a>(
        &'a self,
        slot: Slot,
        keys: &[&[u8]],
        headers: &mut LazyHeaders<'_>,
        out: &mut Targets,
        onward: &mut Onward<'a>,
    ) -> bool {
        let Some(exchange) = self.exchanges.get(slot) else { return false };
        let mut matched = false;
        out.needs_headers |= exchange.matcher.looks_into_the_message();
        if let Some(history) = exchange.history {
            self.remember(history, out);
        }
        let mut repeated = false;
        for key in keys {
            repeated |= exchange.matcher.find(key, headers, |target| {
                matched = true;
                match target {
                    Target::Exchange(next) => onward.exchanges.push(next),
                    _ => self.put(target, out),
                }
            });
        }
        if !matched {
            onward.alternate = exchange.alternate.as_deref();
        }
        repeated
    }

    #[cold]
    fn remember(&self, history: QueueId, out: &mut Targets) {
        let Some(queue) = self.queues.get(&history) else { return };
        if out.history.iter().all(|target| target.queue != history) {
            let (shard, durable) = (queue.shard, queue.declared.durable);
            let (limited, reads) = (false, false);
            out.history.push(QueueTarget { queue: history, shard, durable, limited, reads });
        }
    }

    #[inline]
    fn put(&self, target: Target, out: &mut Targets) {
        match target {
            Target::Queue { queue, durable } => {
                let shard = ShardId::of(queue.0, self.data_shards);
                let (limited, reads) = self.special.of(queue);
                out.queues.push(QueueTarget { queue, shard, durable, limited, reads });
            }
            Target::Topic(slot) => {
                if let Some(topic) = self.topics.get(slot) {
                    out.topics.push(TopicTarget::new(topic, topic.partitions.clone(), &self.defaults));
                }
            }
            Target::Exchange(_) => {}
        }
    }
}

/// Where one visit leads on to.
#[derive(Default)]
struct Onward<'a> {
    exchanges: SmallVec<[Slot; 4]>,
    /// Set when the exchange just visited matched nothing.
    alternate: Option<&'a str>,
}

impl Onward<'_> {
    fn is_empty(&self) -> bool {
        self.exchanges.is_empty() && self.alternate.is_none()
    }
}

/// A set of exchanges as bits.
#[derive(Default)]
struct Visited(SmallVec<[u64; 4]>);

impl Visited {
    /// False if it was in already.
    fn enter(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot as usize / 64, 1u64 << (slot % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }
}

impl Targets {
    fn deduplicate(&mut self) {
        if self.queues.len() > 1 {
            self.queues.sort_unstable_by_key(|target| target.queue);
            self.queues.dedup_by_key(|target| target.queue);
        }
        if self.topics.len() > 1 {
            self.topics.sort_by(|a, b| (a.id, &a.partitions).cmp(&(b.id, &b.partitions)));
            self.topics.dedup();
        }
    }
}

impl Named {
    #[inline]
    pub(crate) fn target(self) -> Target {
        match self {
            Named::Queue { queue, durable } => Target::Queue { queue, durable },
            Named::Topic(slot) => Target::Topic(slot),
        }
    }
}
