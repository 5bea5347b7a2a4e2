//! `x-recent-history`: an exchange that remembers its last messages and gives them to whatever is bound to it next.
//!
//! The memory is a queue like any other but for its name, which is empty: nobody can declare, find or delete it, no
//! policy matches it. It lives in a data shard, is bounded by `x-max-length`, and outlives a restart if the exchange
//! does. It comes and goes with its exchange.

use crate::arguments::get;
use crate::refusal::refuse;
use crate::state::Topology;
use crate::value::{integer, type_name};
use crate::{Applied, Queue};
use bowline_model::meta::{Binding, ExchangeKind, ExchangeSpec, QueueDeclaration, Reason, Rejection, Value};
use bowline_model::{Millis, QueueId};

/// How many messages an exchange remembers.
const LENGTH: &str = "x-recent-history-length";
const LENGTH_DEFAULT: i128 = 20;
/// They are copied for every new binding.
const LENGTH_MAX: i128 = 10_000;
/// Body bytes that an exchange remembers: the copying of one history takes about as much memory.
const BYTES_MAX: i128 = 64 << 20;
/// Which exchange a history belongs to.
const EXCHANGE: &str = "x-recent-history-exchange";

/// Header of messages that are not to be remembered, if it is `true`.
pub const NO_STORE: &str = "x-recent-history-no-store";

pub(crate) fn validate(spec: &ExchangeSpec) -> Result<(), Rejection> {
    let Some(value) = get(&spec.arguments, LENGTH) else { return Ok(()) };
    let refusal = |shown: &str, rule: &str| {
        let text = format!("Invalid argument {shown}, '{LENGTH}' must be {rule}");
        Err(refuse(Reason::InvalidArgument, text))
    };
    match integer(value) {
        None => refusal(&format!("of type {}", type_name(value)), "a positive integer"),
        Some(n) if n < 1 => refusal(&n.to_string(), "a positive integer"),
        Some(n) if n > LENGTH_MAX => refusal(&n.to_string(), &format!("at most {LENGTH_MAX}")),
        Some(_) => Ok(()),
    }
}

/// The queue that remembers for an exchange of that kind.
fn declaration(spec: &ExchangeSpec) -> QueueDeclaration {
    let length = get(&spec.arguments, LENGTH).and_then(integer).unwrap_or(LENGTH_DEFAULT);
    let number = |value| Value::Int { tag: b'l', value };
    QueueDeclaration {
        vhost: spec.vhost.clone(),
        name: String::new(),
        durable: spec.durable,
        auto_delete: false,
        exclusive: None,
        arguments: vec![
            (EXCHANGE.to_owned(), Value::Str(spec.name.clone().into_bytes())),
            ("x-max-length".to_owned(), number(length)),
            ("x-max-length-bytes".to_owned(), number(BYTES_MAX)),
        ],
    }
}

/// The exchange for which a queue remembers, if that is what it is for.
pub(crate) fn exchange_of(declared: &QueueDeclaration) -> Option<&str> {
    match get(&declared.arguments, EXCHANGE) {
        Some(Value::Str(name)) if declared.name.is_empty() => std::str::from_utf8(name).ok(),
        _ => None,
    }
}

impl Queue {
    /// It is the memory of an exchange, and not for clients.
    pub fn is_history(&self) -> bool {
        self.history_of().is_some()
    }

    /// The exchange whose memory it is, if it is one.
    pub fn history_of(&self) -> Option<&str> {
        exchange_of(&self.declared)
    }
}

impl Topology {
    pub(crate) fn declare_exchange(&mut self, now: Millis, spec: &ExchangeSpec) -> Applied {
        self.add_exchange(spec.clone());
        if spec.kind != ExchangeKind::RecentHistory {
            return Applied::Changed;
        }
        let id = QueueId(self.next_id);
        self.next_id += 1;
        self.add_queue(id, now, declaration(spec));
        Applied::NewHistory(self.queues[&id].spec())
    }

    /// What is to be done for a binding that has just been made.
    pub(crate) fn bound(&self, binding: &Binding) -> Applied {
        let exchange = self.exchange(&binding.vhost, &binding.source);
        let history = exchange.and_then(|exchange| exchange.history).and_then(|id| self.queues.get(&id));
        match history {
            None => Applied::Changed,
            Some(history) => Applied::BoundToHistory {
                history: history.id,
                shard: history.shard,
                destination: binding.destination.clone(),
            },
        }
    }

    /// The memory of an exchange goes with it.
    pub(crate) fn forget_history(&mut self, history: Option<QueueId>) {
        if let Some(id) = history.filter(|id| self.queues.contains_key(id)) {
            self.remove_queue(id);
            self.histories_gone.push(id);
        }
    }

    /// Histories that have gone with the last command applied: their shards have to drop them.
    pub fn take_histories_gone(&mut self) -> Vec<QueueId> {
        std::mem::take(&mut self.histories_gone)
    }
}

const _: () = assert!(LENGTH_DEFAULT <= LENGTH_MAX);
