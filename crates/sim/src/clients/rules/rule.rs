//! What a queue is told to enforce, as a client declares it.

use crate::chance::Chance;
use bowline_model::meta::{Table, Value};

/// A window that no run outlasts.
pub const LONG_MS: u64 = 1_000_000_000;

/// What a queue enforces.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub ttl_ms: Option<u64>,
    /// Delays before each further attempt, and how many attempts there are.
    pub retry: Option<(Vec<u64>, u64)>,
    /// Duplicates are dropped within this window.
    pub window_ms: Option<u64>,
    pub has_priorities: bool,
    /// `x-order-key` and `x-fair-key`.
    pub is_keyed: bool,
    pub is_fair: bool,
    pub max_length: Option<u64>,
    /// `x-overflow`.
    pub overflow: &'static str,
    /// The queue that gets what dies.
    pub heir: Option<usize>,
}

impl Rule {
    /// Whether messages leave without anybody having settled them, and go nowhere.
    pub fn loses(&self) -> bool {
        let drops = self.max_length.is_some() && self.overflow == "drop-head";
        self.heir.is_none() && (self.ttl_ms.is_some() || drops || self.retry.is_some())
    }

    /// Whether each publish has to be asked for.
    pub fn refuses(&self) -> bool {
        self.max_length.is_some() && self.overflow != "drop-head"
    }

    /// As a client declares it.
    pub fn arguments(&self) -> Table {
        let int = |value: u64| Value::Int { tag: b'l', value: value.into() };
        let text = |text: &str| Value::Str(text.as_bytes().to_vec());
        let mut table: Table = Vec::new();
        let mut add = |name: &str, value: Value| table.push((name.to_owned(), value));
        if let Some(ms) = self.ttl_ms {
            add("x-message-ttl", int(ms));
        }
        if let Some((delays, attempts)) = &self.retry {
            add("x-retry-delays", Value::Array(delays.iter().map(|ms| int(*ms)).collect()));
            add("x-retry-attempts", int(*attempts));
        }
        if let Some(ms) = self.window_ms {
            add("x-deduplication", Value::Table(vec![("window".to_owned(), int(ms))]));
        }
        if self.has_priorities {
            add("x-max-priority", int(5));
        }
        if self.is_keyed {
            add("x-order-key", text("routing-key"));
        }
        if self.is_fair {
            add("x-fair-key", text("user"));
        }
        if let Some(max) = self.max_length {
            add("x-max-length", int(max));
            add("x-overflow", text(self.overflow));
        }
        if let Some(heir) = self.heir {
            add("x-dead-letter-exchange", text(""));
            add("x-dead-letter-routing-key", text(&name_of(heir)));
        }
        table
    }
}

pub fn name_of(slot: usize) -> String {
    format!("rule.{slot}")
}

/// The rule of queue `slot`, of `slots` in all.
pub fn some(chance: &mut Chance, slot: usize, slots: usize) -> Rule {
    let ttl_ms = chance.choose([5, 40, 300, 2_000]);
    let first = chance.choose([1, 20, 100, 500]);
    let delays = if chance.percent(50) { vec![first] } else { vec![first, chance.choose([5, 50, 700])] };
    let attempts = chance.within(1..=4);
    let window_ms = chance.choose([50, 500, LONG_MS]);
    let max_length = chance.within(1..=6);
    let overflow = chance.choose(["drop-head", "reject-publish", "reject-publish-dlx"]);
    let heir = slot + 1 + chance.index(slots - slot - 1);
    Rule {
        ttl_ms: chance.percent(40).then_some(ttl_ms),
        retry: chance.percent(35).then_some((delays, attempts)),
        window_ms: chance.percent(25).then_some(window_ms),
        has_priorities: chance.percent(30),
        is_keyed: chance.percent(20),
        is_fair: chance.percent(15),
        max_length: chance.percent(35).then_some(max_length),
        overflow,
        heir: chance.percent(88).then_some(heir),
    }
}
