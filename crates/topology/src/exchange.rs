//! One declared exchange, and the table by which it matches routing keys.

use crate::bag::Bag;
use crate::bindings::{Record, Target, decoded_arguments};
use crate::headers::{HeaderTable, LazyHeaders, MessageHeaders};
use crate::policy::InForce;
use crate::settings::Deduplication;
use crate::spread::{By, Spread, hash};
use crate::trie::Trie;
use crate::{arguments, names};
use crate::{spread::Property, value};
use bowline_model::QueueId;
use bowline_model::meta::{ExchangeKind, ExchangeSpec, Table, Value};
use hashbrown::HashMap;

#[derive(Debug)]
pub struct Exchange {
    /// As declared.
    pub spec: ExchangeSpec,
    /// Argument or policy `alternate-exchange`: where messages go that it has no destination for.
    pub alternate: Option<String>,
    /// Argument or policy `x-deduplication`: of what is published to it, for queues that have none of their own.
    pub dedup: Option<Box<Deduplication>>,
    /// Predeclared: cannot be deleted.
    pub system: bool,
    /// Policies that hold for it, if any does.
    pub in_force: Option<Box<InForce>>,
    /// Where it remembers what went through it, if it does.
    pub history: Option<QueueId>,
    pub(crate) matcher: Matcher,
}

/// What routing may have to know of a message besides its routing key. Asked for when it is needed.
pub trait Message {
    /// Its header table.
    fn headers(&mut self) -> Table;

    /// A property as text, if the message has it.
    fn property(&mut self, property: Property) -> Option<Vec<u8>> {
        let _ = property;
        None
    }

    /// A random number: for exchanges that choose by chance.
    fn chance(&mut self) -> u64 {
        0
    }
}

/// A message of which only the headers count.
impl<F: FnMut() -> Table> Message for F {
    fn headers(&mut self) -> Table {
        self()
    }
}

/// From routing key (or headers) to targets.
#[derive(Debug)]
pub(crate) enum Matcher {
    Direct(HashMap<Box<[u8]>, Bag<Target>>),
    Fanout(Bag<Target>),
    Topic(Box<Trie>),
    Headers(Box<HeaderTable>),
    Spread(Box<Spread>),
}

impl Exchange {
    pub(crate) fn new(spec: ExchangeSpec) -> Exchange {
        let alternate = match arguments::get(&spec.arguments, arguments::ALTERNATE_EXCHANGE) {
            Some(Value::Str(name)) => Some(String::from_utf8_lossy(name).into_owned()),
            _ => None,
        };
        let dedup = arguments::get(&spec.arguments, arguments::DEDUPLICATION).and_then(Deduplication::of);
        let matcher = Matcher::new(effective_kind(&spec), &spec.arguments);
        let system = names::is_reserved(&spec.name) || spec.name.is_empty();
        Exchange { alternate, dedup, system, in_force: None, history: None, matcher, spec }
    }

    /// Messages wait as long as their header `x-delay` says before they are routed to queues.
    pub fn delayed(&self) -> bool {
        self.spec.kind == ExchangeKind::Delayed
    }

    /// The type by which it routes.
    pub fn routes_as(&self) -> ExchangeKind {
        effective_kind(&self.spec)
    }
}

/// A delayed exchange routes as argument `x-delayed-type` says.
pub(crate) fn effective_kind(spec: &ExchangeSpec) -> ExchangeKind {
    match (spec.kind, arguments::get(&spec.arguments, arguments::DELAYED_TYPE)) {
        (ExchangeKind::Delayed, Some(Value::Str(name))) => std::str::from_utf8(name)
            .ok()
            .and_then(|name| arguments::exchange_kind(name).ok())
            .unwrap_or(ExchangeKind::Direct),
        (kind, _) => kind,
    }
}

impl Matcher {
    fn new(kind: ExchangeKind, arguments: &Table) -> Matcher {
        let spread = |by| Matcher::Spread(Box::new(Spread::new(by)));
        match kind {
            ExchangeKind::Direct => Matcher::Direct(HashMap::new()),
            ExchangeKind::Fanout | ExchangeKind::RecentHistory => Matcher::Fanout(Bag::new()),
            ExchangeKind::Topic => Matcher::Topic(Box::new(Trie::new())),
            ExchangeKind::Headers => Matcher::Headers(Box::new(HeaderTable::new())),
            ExchangeKind::ConsistentHash => spread(By::of(arguments).unwrap_or(By::Key)),
            ExchangeKind::ModulusHash => spread(By::Modulus),
            ExchangeKind::Random | ExchangeKind::LocalRandom => spread(By::Chance),
            // Declared only with another type inside.
            ExchangeKind::Delayed => Matcher::Direct(HashMap::new()),
        }
    }

    /// Targets depend on more than the routing key.
    pub fn looks_into_the_message(&self) -> bool {
        match self {
            Matcher::Headers(_) => true,
            Matcher::Spread(spread) => spread.by().looks_into_the_message(),
            _ => false,
        }
    }

    /// `binding` is the number of `record`; `seed` is the destination's, the same after a restart.
    pub fn add(&mut self, binding: u32, record: &Record, seed: u64) {
        let key = record.key.as_bytes();
        match self {
            Matcher::Direct(keys) => keys.entry(key.into()).or_insert_with(Bag::new).add(record.target),
            Matcher::Fanout(targets) => targets.add(record.target),
            Matcher::Topic(trie) => trie.add(key, record.target),
            Matcher::Headers(table) => {
                table.add(binding, &decoded_arguments(&record.arguments), record.target);
            }
            Matcher::Spread(spread) => spread.add(binding, &record.key, seed, record.target),
        }
    }

    pub fn remove(&mut self, binding: u32, record: &Record) {
        let key = record.key.as_bytes();
        match self {
            Matcher::Direct(keys) => {
                if let Some(targets) = keys.get_mut(key) {
                    targets.remove(record.target);
                    if targets.is_empty() {
                        keys.remove(key);
                    }
                }
            }
            Matcher::Fanout(targets) => targets.remove(record.target),
            Matcher::Topic(trie) => trie.remove(key, record.target),
            Matcher::Headers(table) => table.remove(binding),
            Matcher::Spread(spread) => spread.remove(binding),
        }
    }

    /// Calls `found` for every target. True if a target may have come more than once.
    #[inline]
    pub fn find(&self, key: &[u8], headers: &mut LazyHeaders<'_>, mut found: impl FnMut(Target)) -> bool {
        match self {
            Matcher::Direct(keys) => {
                keys.get(key).into_iter().flat_map(Bag::iter).for_each(found);
                false
            }
            Matcher::Fanout(targets) => {
                targets.iter().for_each(found);
                false
            }
            Matcher::Topic(trie) => {
                let mut lists = 0;
                trie.find(key, |targets| {
                    lists += 1;
                    targets.iter().for_each(&mut found);
                });
                lists > 1
            }
            Matcher::Headers(table) => {
                table.find(&MessageHeaders::new(headers.get()), found);
                true
            }
            Matcher::Spread(spread) => {
                let hashed = match spread.by() {
                    By::Key | By::Modulus => hash(key),
                    By::Header(name) => match MessageHeaders::new(headers.get()).get(name) {
                        Some(Value::Str(text)) => hash(text),
                        Some(other) => hash(value::printed(other).as_bytes()),
                        None => hash(b""),
                    },
                    By::Property(property) => hash(&headers.property(*property).unwrap_or_default()),
                    By::Chance => headers.chance(),
                };
                spread.pick(hashed).into_iter().for_each(found);
                false
            }
        }
    }
}
