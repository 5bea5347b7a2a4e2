//! Where a publish goes: asked of the topology once per exchange and routing key, then remembered.
//!
//! What is remembered holds for one version of the topology. Routes that depend on a message's headers are
//! asked for every time.

use bowline_codec_amqp::Properties;
use bowline_convert::{Routable, Wants};
use bowline_model::ShardId;
use bowline_topology::{Access, Targets, TopicTarget};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::access::Asking;
use crate::broker::{Broker, look_up};
use crate::options::ROUTES_MAX;

/// The outcome of routing one exchange and routing key.
#[derive(Clone, Default)]
pub struct Route {
    exchange: Box<[u8]>,
    routing_key: Box<[u8]>,
    pub verdict: Verdict,
    /// Queue ids by data shard.
    pub queues: Vec<(ShardId, Vec<u32>)>,
    /// Queues that want to know more of a message, or may refuse it.
    pub special: Vec<Special>,
    /// Queues in which exchanges remember, if the message is to be remembered.
    pub history: Vec<(ShardId, u32)>,
    /// At least one of the queues survives a restart.
    pub durable: bool,
    pub topics: Vec<TopicTarget>,
    /// One of the topics is compacted, and refuses what has no key.
    pub wants_key: bool,
}

/// A queue that messages are prepared for.
#[derive(Clone)]
pub struct Special {
    pub shard: ShardId,
    pub queue: u32,
    pub wants: Wants,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    #[default]
    Allowed,
    NoExchange,
    /// Clients may not publish to it.
    Internal,
    /// The user may not publish to it, or not with this routing key.
    NoPermission,
    NoTopicPermission,
}

pub struct RouteCache {
    vhost: Arc<str>,
    user: Arc<str>,
    /// For exchanges that choose by chance.
    chance: u64,
    version: u64,
    routes: Vec<Route>,
    /// Indexes into `routes`.
    index: HashTable<u32>,
    hasher: FixedState,
    /// The route used last: publishers rarely change it.
    last: usize,
    /// A route that is not remembered.
    single: Route,
    targets: Targets,
}

/// What to route by: the publish's own key and those of its CC and BCC headers.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub copies: &'a [&'a [u8]],
    pub properties: Properties<'a>,
}

impl<'a> Keys<'a> {
    pub fn all(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        std::iter::once(self.routing_key).chain(self.copies.iter().copied())
    }
}

impl Route {
    /// Nobody gets the message. What exchanges remember of it does not count.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.topics.is_empty() && self.special.is_empty()
    }

    fn is_for(&self, keys: &Keys<'_>) -> bool {
        is_same(&self.routing_key, keys.routing_key) && is_same(&self.exchange, keys.exchange)
    }
}

impl RouteCache {
    pub fn new(chance: u64) -> RouteCache {
        RouteCache {
            vhost: "".into(),
            user: "".into(),
            chance,
            version: 0,
            routes: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::default(),
            last: 0,
            single: Route::default(),
            targets: Targets::default(),
        }
    }

    /// The connection is open: who publishes, and where.
    pub fn begin(&mut self, vhost: Arc<str>, user: Arc<str>) {
        self.vhost = vhost;
        self.user = user;
        self.forget();
    }

    /// Forgets everything if the topology has changed since.
    pub fn refresh(&mut self, version: u64) {
        if version != self.version {
            self.version = version;
            self.forget();
        }
    }

    /// The version of the topology that routes are remembered for.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The route of a publish.
    #[inline]
    pub fn find(&mut self, keys: &Keys<'_>, broker: &dyn Broker) -> &Route {
        if keys.copies.is_empty() {
            if self.routes.get(self.last).is_some_and(|route| route.is_for(keys)) {
                return &self.routes[self.last];
            }
            let hash = self.hash(keys);
            let routes = &self.routes;
            if let Some(&at) = self.index.find(hash, |&at| routes[at as usize].is_for(keys)) {
                self.last = at as usize;
                return &self.routes[self.last];
            }
        }
        self.ask(keys, broker)
    }

    #[cold]
    fn ask(&mut self, keys: &Keys<'_>, broker: &dyn Broker) -> &Route {
        self.targets.clear();
        let targets = &mut self.targets;
        let mut special = Vec::new();
        let mut message = Routable { properties: keys.properties, chance: &mut self.chance };
        let (vhost, user) = (&*self.vhost, &*self.user);
        let verdict = look_up(broker, |topology| {
            let asking = Asking { topology, vhost, user };
            let verdict = route(asking, keys, &mut message, targets);
            let exchange = std::str::from_utf8(keys.exchange).ok();
            let exchange = exchange.and_then(|name| topology.exchange(vhost, name));
            let exchange = exchange.filter(|exchange| exchange.dedup.is_some());
            special.extend(targets.queues.iter().map(|target| {
                let is_special = target.limited || target.reads;
                let queue = is_special.then(|| topology.queue_by_id(target.queue)).flatten();
                let wants = queue.map(Wants::of).unwrap_or_default();
                match exchange {
                    Some(exchange) => wants.from_exchange(exchange),
                    None => wants,
                }
            }));
            verdict
        });
        let mut route = Route { verdict, ..Route::default() };
        for (target, wants) in self.targets.queues.iter().zip(special) {
            route.durable |= target.durable;
            if !wants.is_nothing() {
                route.special.push(Special { shard: target.shard, queue: target.queue.0, wants });
                continue;
            }
            match route.queues.iter_mut().find(|(shard, _)| *shard == target.shard) {
                Some((_, queues)) => queues.push(target.queue.0),
                None => route.queues.push((target.shard, vec![target.queue.0])),
            }
        }
        route.topics.extend(self.targets.topics.iter().cloned());
        route.wants_key = route.topics.iter().any(|topic| topic.keyed);
        for target in &self.targets.history {
            route.durable |= target.durable;
            route.history.push((target.shard, target.queue.0));
        }
        if self.targets.needs_headers || !keys.copies.is_empty() {
            self.single = route;
            return &self.single;
        }
        if self.routes.len() >= ROUTES_MAX {
            self.forget();
        }
        route.exchange = keys.exchange.into();
        route.routing_key = keys.routing_key.into();
        self.last = self.routes.len();
        self.routes.push(route);
        let hash = self.hash(keys);
        let (routes, hasher) = (&self.routes, &self.hasher);
        self.index.insert_unique(hash, self.last as u32, |&at| {
            let route = &routes[at as usize];
            hasher.hash_one((&*route.exchange, &*route.routing_key))
        });
        &self.routes[self.last]
    }

    fn hash(&self, keys: &Keys<'_>) -> u64 {
        self.hasher.hash_one((keys.exchange, keys.routing_key))
    }

    fn forget(&mut self) {
        self.routes = Vec::new();
        self.index = HashTable::new();
        self.last = 0;
    }
}

/// Equality of short strings: a loop over words, which beats a call into the C library at these lengths.
#[inline]
fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let (left_words, left_rest) = left.as_chunks::<8>();
    let (right_words, right_rest) = right.as_chunks::<8>();
    left_words.iter().zip(right_words).all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
        && left_rest.iter().zip(right_rest).all(|(a, b)| a == b)
}

fn route(
    asking: Asking<'_>,
    keys: &Keys<'_>,
    message: &mut Routable<'_, '_>,
    targets: &mut Targets,
) -> Verdict {
    let Asking { topology, vhost, .. } = asking;
    let Ok(exchange) = std::str::from_utf8(keys.exchange) else { return Verdict::NoExchange };
    if asking.exchange(Access::Write, exchange).is_err() {
        return Verdict::NoPermission;
    }
    let all_keys: SmallVec<[&[u8]; 4]> = keys.all().collect();
    if topology.route_by(vhost, exchange, &all_keys, message, targets).is_err() {
        return Verdict::NoExchange;
    }
    if topology.exchange(vhost, exchange).is_some_and(|exchange| exchange.spec.internal) {
        return Verdict::Internal;
    }
    let may = |key: &[u8]| asking.topic(Access::Write, exchange, &String::from_utf8_lossy(key)).is_ok();
    if topology.checks_topics(asking.user, vhost, exchange) && !all_keys.iter().all(|key| may(key)) {
        return Verdict::NoTopicPermission;
    }
    Verdict::Allowed
}
