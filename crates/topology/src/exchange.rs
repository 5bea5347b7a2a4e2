//! One declared exchange, and the table by which it matches routing keys.

use crate::bag::Bag;
use crate::bindings::{Record, Target, decoded_arguments};
use crate::headers::{HeaderTable, LazyHeaders, MessageHeaders};
use crate::trie::Trie;
use crate::{arguments, names};
use bowline_model::meta::{ExchangeKind, ExchangeSpec, Value};
use hashbrown::HashMap;

#[derive(Debug)]
pub struct Exchange {
    /// As declared.
    pub spec: ExchangeSpec,
    /// Argument `alternate-exchange`: where messages go that it has no destination for.
    pub alternate: Option<String>,
    /// Predeclared: cannot be deleted.
    pub system: bool,
    pub(crate) matcher: Matcher,
}

/// From routing key (or headers) to targets.
#[derive(Debug)]
pub(crate) enum Matcher {
    Direct(HashMap<Box<[u8]>, Bag<Target>>),
    Fanout(Bag<Target>),
    Topic(Box<Trie>),
    Headers(Box<HeaderTable>),
}

impl Exchange {
    pub(crate) fn new(spec: ExchangeSpec) -> Exchange {
        let alternate = match arguments::get(&spec.arguments, arguments::ALTERNATE_EXCHANGE) {
            Some(Value::Str(name)) => Some(String::from_utf8_lossy(name).into_owned()),
            _ => None,
        };
        let matcher = Matcher::new(spec.kind);
        let system = names::is_reserved(&spec.name) || spec.name.is_empty();
        Exchange { alternate, system, matcher, spec }
    }
}

impl Matcher {
    fn new(kind: ExchangeKind) -> Matcher {
        match kind {
            ExchangeKind::Direct => Matcher::Direct(HashMap::new()),
            ExchangeKind::Fanout => Matcher::Fanout(Bag::new()),
            ExchangeKind::Topic => Matcher::Topic(Box::new(Trie::new())),
            ExchangeKind::Headers => Matcher::Headers(Box::new(HeaderTable::new())),
        }
    }

    /// `binding` is the number of `record`.
    pub fn add(&mut self, binding: u32, record: &Record) {
        let key = record.key.as_bytes();
        match self {
            Matcher::Direct(keys) => keys.entry(key.into()).or_insert_with(Bag::new).add(record.target),
            Matcher::Fanout(targets) => targets.add(record.target),
            Matcher::Topic(trie) => trie.add(key, record.target),
            Matcher::Headers(table) => {
                table.add(binding, &decoded_arguments(&record.arguments), record.target);
            }
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
        }
    }
}
