//! A topology as one would write it on a blackboard: lists and recursion, no indexes. Small inputs only.

use bowline_model::SessionId;
use bowline_model::meta::{Command, Destination, ExchangeKind, Table, Value};
use std::collections::BTreeSet;

#[derive(Default)]
pub struct Naive {
    pub exchanges: Vec<Exchange>,
    pub queues: Vec<Queue>,
    pub topics: BTreeSet<String>,
    pub bindings: Vec<Binding>,
}

pub struct Exchange {
    pub name: String,
    pub kind: ExchangeKind,
    pub durable: bool,
    pub auto_delete: bool,
    pub alternate: Option<String>,
}

pub struct Queue {
    pub name: String,
    pub durable: bool,
    pub exclusive: Option<SessionId>,
}

#[derive(Clone, PartialEq)]
pub struct Binding {
    pub source: String,
    pub destination: Destination,
    pub key: String,
    pub arguments: Table,
}

impl Naive {
    /// Follows a command that the topology accepted.
    pub fn follow(&mut self, command: &Command) {
        match command {
            Command::ExchangeDeclare(spec) if self.exchange(&spec.name).is_none() => {
                let alternate = spec.arguments.iter().find(|(name, _)| name == "alternate-exchange");
                self.exchanges.push(Exchange {
                    name: spec.name.clone(),
                    kind: spec.kind,
                    durable: spec.durable,
                    auto_delete: spec.auto_delete,
                    alternate: alternate.map(|(_, value)| text(value)),
                });
            }
            Command::ExchangeDelete { name, .. } => self.delete_exchange(name),
            Command::Bind(b) => {
                let binding = from(b);
                if !self.bindings.contains(&binding) {
                    self.bindings.push(binding);
                }
            }
            Command::Unbind(b) => {
                let binding = from(b);
                self.drop_bindings(|other| *other == binding);
            }
            Command::QueueDeclare(d) if !self.queues.iter().any(|q| q.name == d.name) => {
                let durable = d.durable && d.exclusive.is_none();
                self.queues.push(Queue { name: d.name.clone(), durable, exclusive: d.exclusive });
            }
            Command::TopicCreate(spec) => {
                self.topics.insert(spec.name.clone());
            }
            Command::TopicDelete { name, .. } => {
                self.topics.remove(name);
                self.drop_bindings(|b| b.destination == Destination::Queue(name.clone()));
            }
            _ => {}
        }
    }

    pub fn delete_queue(&mut self, name: &str) {
        self.queues.retain(|q| q.name != name);
        self.drop_bindings(|b| b.destination == Destination::Queue(name.to_owned()));
    }

    pub fn node_started(&mut self) {
        let names: Vec<String> = self.queues.iter().filter(|q| !q.durable).map(|q| q.name.clone()).collect();
        names.iter().for_each(|name| self.delete_queue(name));
        let names: Vec<String> =
            self.exchanges.iter().filter(|x| !x.durable).map(|x| x.name.clone()).collect();
        names.iter().for_each(|name| self.delete_exchange(name));
    }

    fn delete_exchange(&mut self, name: &str) {
        self.exchanges.retain(|x| x.name != name);
        self.bindings.retain(|b| b.source != name);
        self.drop_bindings(|b| b.destination == Destination::Exchange(name.to_owned()));
    }

    fn drop_bindings(&mut self, goes: impl Fn(&Binding) -> bool) {
        let sources: BTreeSet<String> =
            self.bindings.iter().filter(|b| goes(b)).map(|b| b.source.clone()).collect();
        self.bindings.retain(|b| !goes(b));
        for source in sources {
            let abandoned = !self.bindings.iter().any(|b| b.source == source);
            if abandoned && self.exchange(&source).is_some_and(|x| x.auto_delete) {
                self.delete_exchange(&source);
            }
        }
    }

    fn exchange(&self, name: &str) -> Option<&Exchange> {
        self.exchanges.iter().find(|x| x.name == name)
    }

    /// Names of the queues and topics reached; `None`: no such exchange.
    pub fn route(&self, exchange: &str, key: &str, headers: &Table) -> Option<BTreeSet<String>> {
        let mut reached = BTreeSet::new();
        if exchange.is_empty() {
            if self.topics.contains(key) || self.queues.iter().any(|q| q.name == key) {
                reached.insert(key.to_owned());
            }
            return Some(reached);
        }
        self.exchange(exchange)?;
        self.spread(exchange, key, headers, &mut BTreeSet::new(), &mut reached);
        Some(reached)
    }

    fn spread(
        &self,
        exchange: &str,
        key: &str,
        headers: &Table,
        seen: &mut BTreeSet<String>,
        reached: &mut BTreeSet<String>,
    ) {
        let Some(found) = self.exchange(exchange) else { return };
        if !seen.insert(exchange.to_owned()) {
            return;
        }
        let mut matched = false;
        for binding in self.bindings.iter().filter(|b| b.source == exchange) {
            let holds = match found.kind {
                ExchangeKind::Direct => binding.key == key,
                ExchangeKind::Fanout => true,
                ExchangeKind::Topic => topic_matches(&words(&binding.key), &words(key)),
                ExchangeKind::Headers => headers_match(&binding.arguments, headers),
                // The model knows the types that match every binding by itself.
                _ => unreachable!("not generated"),
            };
            if !holds {
                continue;
            }
            matched = true;
            match &binding.destination {
                Destination::Queue(name) => {
                    reached.insert(name.clone());
                }
                Destination::Exchange(name) => self.spread(name, key, headers, seen, reached),
            }
        }
        if let (false, Some(alternate)) = (matched, &found.alternate) {
            self.spread(alternate, key, headers, seen, reached);
        }
    }
}

fn from(b: &bowline_model::meta::Binding) -> Binding {
    let mut arguments = b.arguments.clone();
    arguments.sort_by(|(a, _), (b, _)| a.cmp(b));
    Binding {
        source: b.source.clone(),
        destination: b.destination.clone(),
        key: b.routing_key.clone(),
        arguments,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Str(bytes) => String::from_utf8(bytes.clone()).expect("the test's own text"),
        _ => panic!("the test gives strings only"),
    }
}

fn words(key: &str) -> Vec<&str> {
    if key.is_empty() { Vec::new() } else { key.split('.').collect() }
}

pub fn topic_matches(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((&"#", rest)), _) => {
            topic_matches(rest, key) || (!key.is_empty() && topic_matches(pattern, &key[1..]))
        }
        (Some((word, rest)), Some((first, others))) => {
            (*word == "*" || word == first) && topic_matches(rest, others)
        }
        _ => false,
    }
}

fn headers_match(arguments: &Table, headers: &Table) -> bool {
    let mode =
        arguments.iter().find(|(name, _)| name == "x-match").map_or("all".to_owned(), |(_, v)| text(v));
    let with_x = mode.ends_with("-with-x");
    let criteria: Vec<_> =
        arguments.iter().filter(|(n, _)| n != "x-match" && (with_x || !n.starts_with("x-"))).collect();
    let met = |(name, wanted): &&(String, Value)| {
        let there = headers.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value);
        match (there, wanted) {
            (None, _) => false,
            (Some(_), Value::Void) => true,
            (Some(Value::Int { value: a, .. }), Value::Int { value: b, .. }) => a == b,
            (Some(there), wanted) => there == wanted,
        }
    };
    if mode.starts_with("all") { criteria.iter().all(met) } else { criteria.iter().any(met) }
}
