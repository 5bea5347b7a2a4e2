//! The headers exchange's table: bindings as predicates over message headers.
//!
//! A binding's arguments are its criteria: a name that must be there (void value), or a name and its value. Argument
//! `x-match` says whether all or any must hold; in the plain modes criteria whose names begin with `x-` do not count,
//! in the `-with-x` modes all but `x-match` itself do. No criteria: `all` always holds, `any` never.
//!
//! Predicates are found through their criteria, so a publish looks at those that share a header with the message and
//! not at all of them: `any` is filed under each criterion, `all` under one.

use crate::bag::Bag;
use crate::bindings::Target;
use crate::exchange::Message;
use crate::spread::Property;
use crate::value;
use bowline_model::meta::{Table, Value};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash, Hasher};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    All,
    Any,
}

#[derive(Debug)]
struct Predicate {
    mode: Mode,
    criteria: Vec<Criterion>,
    target: Target,
}

#[derive(Clone, Debug)]
struct Criterion {
    name: Box<str>,
    /// `None`: any value will do.
    value: Option<Value>,
}

/// The predicates filed under one criterion, by binding.
#[derive(Debug)]
struct File {
    criterion: Criterion,
    bindings: Bag<u32>,
}

#[derive(Debug)]
pub(crate) struct HeaderTable {
    predicates: HashMap<u32, Predicate>,
    files: HashTable<File>,
    /// `all` without criteria.
    unconditional: Bag<u32>,
    hasher: DefaultHashBuilder,
}

/// A message's headers, decoded when the first headers exchange is met.
pub(crate) struct LazyHeaders<'a> {
    message: &'a mut dyn Message,
    table: Option<Table>,
}

impl<'a> LazyHeaders<'a> {
    pub fn new(message: &'a mut dyn Message) -> LazyHeaders<'a> {
        LazyHeaders { message, table: None }
    }

    pub fn get(&mut self) -> &Table {
        self.table.get_or_insert_with(|| self.message.headers())
    }

    pub fn property(&mut self, property: Property) -> Option<Vec<u8>> {
        self.message.property(property)
    }

    pub fn chance(&mut self) -> u64 {
        self.message.chance()
    }
}

/// A message's headers, sorted by name; the last one of a name counts.
pub(crate) struct MessageHeaders<'a>(SmallVec<[(&'a str, &'a Value); 16]>);

impl<'a> MessageHeaders<'a> {
    pub fn new(table: &'a Table) -> MessageHeaders<'a> {
        let mut sorted: SmallVec<[(&str, &Value); 16]> = SmallVec::new();
        // From the back, with a stable sort: the last of equal names comes first and survives.
        sorted.extend(table.iter().rev().map(|(name, value)| (name.as_str(), value)));
        sorted.sort_by_key(|(name, _)| *name);
        sorted.dedup_by_key(|(name, _)| *name);
        MessageHeaders(sorted)
    }

    pub fn get(&self, name: &str) -> Option<&'a Value> {
        let at = self.0.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        Some(self.0[at].1)
    }
}

impl HeaderTable {
    pub fn new() -> HeaderTable {
        HeaderTable {
            predicates: HashMap::new(),
            files: HashTable::new(),
            unconditional: Bag::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// `binding` names the predicate; its arguments were accepted by [`mode`].
    pub fn add(&mut self, binding: u32, arguments: &Table, target: Target) {
        let predicate = Predicate::new(arguments, target);
        if predicate.mode == Mode::All && predicate.criteria.is_empty() {
            self.unconditional.add(binding);
        }
        for criterion in predicate.filed_under() {
            let hash = self.hash(&criterion.name, criterion.value.as_ref());
            let hasher = &self.hasher;
            let rehash =
                |file: &File| criterion_hash(hasher, &file.criterion.name, file.criterion.value.as_ref());
            self.files
                .entry(hash, |file| file.criterion.is(&criterion.name, criterion.value.as_ref()), rehash)
                .or_insert_with(|| File { criterion: criterion.clone(), bindings: Bag::new() })
                .get_mut()
                .bindings
                .add(binding);
        }
        self.predicates.insert(binding, predicate);
    }

    pub fn remove(&mut self, binding: u32) {
        let Some(predicate) = self.predicates.remove(&binding) else { return };
        self.unconditional.remove(binding);
        for criterion in predicate.filed_under() {
            let hash = self.hash(&criterion.name, criterion.value.as_ref());
            let is_it = |file: &File| file.criterion.is(&criterion.name, criterion.value.as_ref());
            if let Ok(mut entry) = self.files.find_entry(hash, is_it) {
                entry.get_mut().bindings.remove(binding);
                if entry.get().bindings.is_empty() {
                    entry.remove();
                }
            }
        }
    }

    /// Calls `found` with the target of every predicate that holds; perhaps more than once.
    pub fn find(&self, headers: &MessageHeaders<'_>, mut found: impl FnMut(Target)) {
        let mut try_all = |bindings: &Bag<u32>| {
            for binding in bindings.iter() {
                let predicate = &self.predicates[&binding];
                if predicate.holds(headers) {
                    found(predicate.target);
                }
            }
        };
        try_all(&self.unconditional);
        for (name, value) in &headers.0 {
            for value in [None, Some(*value)] {
                let hash = self.hash(name, value);
                if let Some(file) = self.files.find(hash, |file| file.criterion.is(name, value)) {
                    try_all(&file.bindings);
                }
            }
        }
    }

    fn hash(&self, name: &str, value: Option<&Value>) -> u64 {
        criterion_hash(&self.hasher, name, value)
    }
}

impl Predicate {
    fn new(arguments: &Table, target: Target) -> Predicate {
        // Refused before it was bound if it is not one of the four.
        let (mode, with_x) = mode(arguments).unwrap_or((Mode::All, false));
        let counts = |name: &str| name != X_MATCH && (with_x || !name.starts_with("x-"));
        let criteria = arguments
            .iter()
            .filter(|(name, _)| counts(name))
            .map(|(name, value)| Criterion {
                name: name.as_str().into(),
                value: (*value != Value::Void).then(|| value.clone()),
            })
            .collect();
        Predicate { mode, criteria, target }
    }

    fn filed_under(&self) -> &[Criterion] {
        match self.mode {
            Mode::Any => &self.criteria,
            // A value tells more than a name.
            Mode::All => {
                let at = self.criteria.iter().position(|c| c.value.is_some()).unwrap_or(0);
                self.criteria.get(at..=at).unwrap_or(&[])
            }
        }
    }

    fn holds(&self, headers: &MessageHeaders<'_>) -> bool {
        let met = |criterion: &Criterion| match (headers.get(&criterion.name), &criterion.value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(there), Some(wanted)) => value::same(there, wanted),
        };
        match self.mode {
            Mode::All => self.criteria.iter().all(met),
            Mode::Any => self.criteria.iter().any(met),
        }
    }
}

impl Criterion {
    fn is(&self, name: &str, value: Option<&Value>) -> bool {
        *self.name == *name
            && match (&self.value, value) {
                (None, None) => true,
                (Some(a), Some(b)) => value::same(a, b),
                _ => false,
            }
    }
}

fn criterion_hash(hasher: &DefaultHashBuilder, name: &str, value: Option<&Value>) -> u64 {
    let mut state = hasher.build_hasher();
    name.hash(&mut state);
    if let Some(value) = value {
        value::hash(value, &mut state);
    }
    state.finish()
}

pub(crate) const X_MATCH: &str = "x-match";

/// Reads `x-match`: the mode, and whether names with `x-` count. What is wrong with it otherwise, in RabbitMQ's words.
pub(crate) fn mode(arguments: &Table) -> Result<(Mode, bool), String> {
    match crate::arguments::get(arguments, X_MATCH) {
        None => Ok((Mode::All, false)),
        Some(found @ Value::Str(text)) => match text.as_slice() {
            b"all" => Ok((Mode::All, false)),
            b"any" => Ok((Mode::Any, false)),
            b"all-with-x" => Ok((Mode::All, true)),
            b"any-with-x" => Ok((Mode::Any, true)),
            _ => Err(format!(
                "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
                value::as_term(found)
            )),
        },
        Some(other) => Err(format!(
            "Invalid x-match field type {} (value {}); expected longstr",
            value::type_name(other),
            value::printed(other)
        )),
    }
}
