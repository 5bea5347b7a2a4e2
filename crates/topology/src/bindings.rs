//! All bindings, with indexes from both ends.
//!
//! A binding is what its source, target, routing key and arguments say: adding it again changes nothing. The indexes
//! make binding, unbinding and the removal of a queue cost what they touch, however many bindings there are.

use crate::slab::Slab;
use bowline_model::QueueId;
use bowline_model::meta::Table;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use smallvec::SmallVec;
use std::hash::BuildHasher;

/// Number of an exchange or topic in its slab.
pub(crate) type Slot = u32;

/// Where a binding leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Target {
    /// `durable` never changes for a queue; carried here so that routing need not look the queue up.
    Queue {
        queue: QueueId,
        durable: bool,
    },
    Topic(Slot),
    Exchange(Slot),
}

#[derive(Debug)]
pub(crate) struct Record {
    pub source: Slot,
    pub target: Target,
    pub key: Box<str>,
    /// See [`encoded_arguments`].
    pub arguments: Box<[u8]>,
    /// Positions in the lists of `by_source` and `by_target`.
    at_source: u32,
    at_target: u32,
}

type List = SmallVec<[u32; 4]>;

#[derive(Debug)]
pub(crate) struct Bindings {
    records: Slab<Record>,
    identity: HashTable<u32>,
    by_source: HashMap<Slot, List>,
    by_target: HashMap<Target, List>,
    hasher: DefaultHashBuilder,
}

/// Arguments in canonical order and bytes, so that they can be compared: empty, or a postcard [`Table`].
pub(crate) fn encoded_arguments(arguments: &Table) -> Box<[u8]> {
    if arguments.is_empty() {
        return Box::default();
    }
    let mut sorted = arguments.clone();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    postcard::to_stdvec(&sorted).expect("our plain data always serialises").into_boxed_slice()
}

pub(crate) fn decoded_arguments(encoded: &[u8]) -> Table {
    if encoded.is_empty() {
        return Table::new();
    }
    postcard::from_bytes(encoded).expect("written by encoded_arguments")
}

impl Bindings {
    pub fn new() -> Bindings {
        Bindings {
            records: Slab::new(),
            identity: HashTable::new(),
            by_source: HashMap::new(),
            by_target: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn get(&self, id: u32) -> Option<&Record> {
        self.records.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().map(|(_, record)| record)
    }

    pub fn of_source(&self, source: Slot) -> &[u32] {
        self.by_source.get(&source).map_or(&[], |list| list)
    }

    pub fn of_target(&self, target: Target) -> &[u32] {
        self.by_target.get(&target).map_or(&[], |list| list)
    }

    pub fn find(&self, source: Slot, target: Target, key: &str, arguments: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one((source, target, key, arguments));
        let same = |id: &u32| {
            self.records.get(*id).is_some_and(|r| {
                r.source == source && r.target == target && *r.key == *key && *r.arguments == *arguments
            })
        };
        self.identity.find(hash, same).copied()
    }

    /// Adds a binding that is not there yet.
    pub fn insert(&mut self, source: Slot, target: Target, key: Box<str>, arguments: Box<[u8]>) -> u32 {
        let hash = self.hasher.hash_one((source, target, &*key, &*arguments));
        let from = self.by_source.entry(source).or_default();
        let to = self.by_target.entry(target).or_default();
        let (at_source, at_target) = (from.len() as u32, to.len() as u32);
        let id = self.records.insert(Record { source, target, key, arguments, at_source, at_target });
        from.push(id);
        to.push(id);
        let (records, hasher) = (&self.records, &self.hasher);
        self.identity.insert_unique(hash, id, |id| identity_hash(records, hasher, *id));
        id
    }

    pub fn remove(&mut self, id: u32) -> Option<Record> {
        let hash = identity_hash(&self.records, &self.hasher, id);
        if let Ok(entry) = self.identity.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        let record = self.records.remove(id)?;
        if let Some(moved) = take(&mut self.by_source, record.source, record.at_source)
            && let Some(other) = self.records.get_mut(moved)
        {
            other.at_source = record.at_source;
        }
        if let Some(moved) = take(&mut self.by_target, record.target, record.at_target)
            && let Some(other) = self.records.get_mut(moved)
        {
            other.at_target = record.at_target;
        }
        Some(record)
    }
}

fn identity_hash(records: &Slab<Record>, hasher: &DefaultHashBuilder, id: u32) -> u64 {
    records.get(id).map_or(0, |r| hasher.hash_one((r.source, r.target, &*r.key, &*r.arguments)))
}

/// Removes position `at` of the list under `key`; the id that took its place, if one did.
fn take<K: std::hash::Hash + Eq>(lists: &mut HashMap<K, List>, key: K, at: u32) -> Option<u32> {
    let list = lists.get_mut(&key)?;
    list.swap_remove(at as usize);
    if list.is_empty() {
        lists.remove(&key);
        return None;
    }
    list.get(at as usize).copied()
}
