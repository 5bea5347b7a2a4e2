//! From a queue's arguments and the policies that match it to what its data shard enforces.
//!
//! Where an argument and a policy say different things, RabbitMQ's rules hold: of numbers the smaller counts, of
//! names (dead-letter exchange and key) the argument; of `overflow` the argument on classic queues, the policy on
//! quorum queues. An operator policy has been merged into the policy before (see `policy`).
//!
//! Defaults come from the queue's type: a quorum queue counts deliveries, limits them to 20, and has 32 priorities.

use crate::QueueType;
use crate::arguments::{DEDUPLICATION, FAIR_KEY, ORDER_KEY, TRACE_EXCHANGE, get};
use crate::value::integer;
use bowline_model::meta::{Table, Value};
use bowline_model::settings::{Backoff, Dedup, Overflow, QueueSettings, Retry, RetryOn};

/// RabbitMQ 4: of quorum queues that say nothing about it.
const DELIVERY_LIMIT_DEFAULT: u64 = 20;
/// RabbitMQ 4.3: every quorum queue has priorities 0 to 31, and messages without one have 4.
const QUORUM_PRIORITY_MAX: u8 = 31;
const QUORUM_PRIORITY_DEFAULT: u8 = 4;
/// Of `x-delayed-retry-type` without bounds.
const DELAYED_RETRY_MIN_MS: u64 = 1_000;
const DELAYED_RETRY_MAX_MS: u64 = 60_000;
/// Of `x-retry-attempts` without delays: 1 s, 2 s, 4 s … up to 10 minutes, spread by a fifth.
const RETRY_MIN_MS: u64 = 1_000;
const RETRY_MAX_MS: u64 = 600_000;
const RETRY_FACTOR_PERCENT: u32 = 100;
const RETRY_JITTER_PERCENT: u32 = 20;
/// Of `x-deduplication` without bounds.
const DEDUP_WINDOW_MS: u64 = 300_000;
const DEDUP_COUNT: u64 = 1_000_000;

/// What sessions have to read out of a message for a queue (into `model::extras::Extras`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reads {
    /// What makes a message the same as another.
    pub dedup: Option<Source>,
    /// Within which messages stay in order.
    pub key: Option<Source>,
    /// Whose message it is.
    pub tenant: Option<Source>,
}

/// Where in a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    Header(String),
    RoutingKey,
    MessageId,
    CorrelationId,
    AppId,
    /// Who published it: the property user-id, which is checked when it comes, else the connection's user.
    User,
}

impl Reads {
    pub(crate) fn of(said: &Said<'_>) -> Option<Box<Reads>> {
        let dedup = said.first(DEDUPLICATION).and_then(Source::of_id);
        let reads = Reads { dedup, key: said.source(ORDER_KEY), tenant: said.source(FAIR_KEY) };
        (reads != Reads::default()).then(|| Box::new(reads))
    }
}

/// Duplicate detection by an exchange, for queues without one of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deduplication {
    pub source: Source,
    pub window: Dedup,
}

impl Deduplication {
    /// What argument or policy `x-deduplication` asks for, if it is on.
    pub(crate) fn of(value: &Value) -> Option<Box<Deduplication>> {
        Some(Box::new(Deduplication { source: Source::of_id(value)?, window: window(value)? }))
    }
}

impl Source {
    /// Where the id is that `x-deduplication` goes by.
    fn of_id(value: &Value) -> Option<Source> {
        match value {
            Value::Bool(true) => Some(Source::MessageId),
            Value::Table(table) => match get(table, "header") {
                Some(Value::Str(name)) => Some(Source::named(&String::from_utf8_lossy(name))),
                _ => Some(Source::MessageId),
            },
            _ => None,
        }
    }

    fn named(name: &str) -> Source {
        match name {
            "routing-key" => Source::RoutingKey,
            "message-id" => Source::MessageId,
            "user-id" => Source::User,
            header => Source::Header(header.to_owned()),
        }
    }

    /// As `x-order-key` and `x-fair-key` say it: one of [`SOURCES`], or `header:NAME`.
    pub(crate) fn parse(text: &str) -> Option<Source> {
        Some(match text {
            "routing-key" => Source::RoutingKey,
            "message-id" => Source::MessageId,
            "correlation-id" => Source::CorrelationId,
            "app-id" => Source::AppId,
            "user" => Source::User,
            _ => Source::Header(text.strip_prefix("header:").filter(|name| !name.is_empty())?.to_owned()),
        })
    }
}

/// What [`Source::parse`] knows.
pub(crate) const SOURCES: &str = "routing-key, user, app-id, correlation-id, message-id or header:NAME";

/// All that was said about one queue.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub kind: QueueType,
    /// Names begin with `x-`.
    pub arguments: &'a Table,
    /// The definition of the policy in force; the names without `x-`.
    pub policy: &'a Table,
}

impl Said<'_> {
    /// The argument, else the policy.
    fn first(&self, argument: &str) -> Option<&Value> {
        get(self.arguments, argument).or_else(|| self.policy(argument))
    }

    fn policy(&self, argument: &str) -> Option<&Value> {
        get(self.policy, argument.strip_prefix("x-")?)
    }

    fn text(&self, argument: &str) -> Option<String> {
        match self.first(argument) {
            Some(Value::Str(text)) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        }
    }

    fn source(&self, argument: &str) -> Option<Source> {
        self.text(argument).and_then(|text| Source::parse(&text))
    }

    /// The smaller of the two; negative ones say nothing.
    fn number(&self, argument: &str) -> Option<u64> {
        let read = |value: Option<&Value>| value.and_then(integer).and_then(unsigned);
        match (read(get(self.arguments, argument)), read(self.policy(argument))) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What the queue enforces.
    pub fn settings(&self) -> QueueSettings {
        let quorum = self.kind == QueueType::Quorum;
        let retry = self.retry();
        let own_retry = self.has_own_retry();
        let max_priority = self.number("x-max-priority").map(|n| n.min(255) as u8);
        QueueSettings {
            message_ttl_ms: self.number("x-message-ttl"),
            expires_ms: self.number("x-expires").filter(|ms| *ms > 0),
            dead_letter_exchange: self.text("x-dead-letter-exchange"),
            dead_letter_routing_key: self.text("x-dead-letter-routing-key"),
            max_length: self.number("x-max-length"),
            max_length_bytes: self.number("x-max-length-bytes"),
            overflow: self.overflow(),
            max_priority: max_priority.or(quorum.then_some(QUORUM_PRIORITY_MAX)),
            default_priority: match max_priority {
                None if quorum => QUORUM_PRIORITY_DEFAULT,
                // Whoever asked for priorities knows classic queues: without one is 0.
                _ => 0,
            },
            single_active_consumer: matches!(self.first("x-single-active-consumer"), Some(Value::Bool(true))),
            counts_deliveries: quorum || own_retry,
            delivery_limit: self.delivery_limit(),
            // RabbitMQ 4.3: basic.nack with requeue says nothing about the message. With a retry policy of ours
            // every return that waits is an attempt.
            returns_are_failures: own_retry
                && retry.as_ref().is_some_and(|retry| retry.on != RetryOn::Failed),
            consumer_timeout_ms: self.number("x-consumer-timeout").filter(|ms| *ms > 0),
            retry,
            dedup: self.first(DEDUPLICATION).and_then(window),
            keyed: self.source(ORDER_KEY).is_some(),
            fair: self.source(FAIR_KEY).is_some(),
            trace_exchange: self.text(TRACE_EXCHANGE),
        }
    }

    fn overflow(&self) -> Overflow {
        let argument = "x-overflow";
        let value = match self.kind {
            QueueType::Classic => self.first(argument),
            QueueType::Quorum => self.policy(argument).or_else(|| get(self.arguments, argument)),
        };
        match value {
            Some(Value::Str(name)) if name == b"reject-publish" => Overflow::RejectPublish,
            Some(Value::Str(name)) if name == b"reject-publish-dlx" => Overflow::RejectPublishDlx,
            _ => Overflow::DropHead,
        }
    }

    /// Negative is none at all, whoever says it.
    fn delivery_limit(&self) -> Option<u64> {
        let name = "x-delivery-limit";
        let said = [get(self.arguments, name), self.policy(name)].map(|v| v.and_then(integer));
        let limit = match said {
            [None, None] if self.kind == QueueType::Quorum => return Some(DELIVERY_LIMIT_DEFAULT),
            [Some(a), Some(b)] if a < 0 || b < 0 => a.max(b),
            [Some(a), Some(b)] => a.min(b),
            [a, b] => a.or(b)?,
        };
        unsigned(limit)
    }

    fn has_own_retry(&self) -> bool {
        RETRY.iter().any(|name| self.first(name).is_some())
    }

    fn retry(&self) -> Option<Retry> {
        if self.has_own_retry() { Some(self.own_retry()) } else { self.delayed_retry() }
    }

    /// `x-retry-*`.
    fn own_retry(&self) -> Retry {
        let delays_ms: Vec<u64> = match self.first("x-retry-delays") {
            Some(Value::Array(items)) => items.iter().filter_map(|item| unsigned(integer(item)?)).collect(),
            _ => Vec::new(),
        };
        let percent = |name: &str| self.number(name).map(|n| n.min(1_000_000) as u32);
        let backoff = delays_ms.is_empty().then(|| {
            let min_ms = self.number("x-retry-min").unwrap_or(RETRY_MIN_MS);
            Backoff {
                min_ms,
                max_ms: self.number("x-retry-max").unwrap_or(RETRY_MAX_MS).max(min_ms),
                factor_percent: Some(
                    self.first("x-retry-factor").and_then(factor_percent).unwrap_or(RETRY_FACTOR_PERCENT),
                ),
                jitter_percent: percent("x-retry-jitter").unwrap_or(RETRY_JITTER_PERCENT).min(100),
            }
        });
        let on = match self.text("x-retry-on").as_deref() {
            Some("failed") => RetryOn::Failed,
            Some("returned") => RetryOn::Returned,
            _ => RetryOn::All,
        };
        Retry { on, delays_ms, backoff, attempts_max: self.number("x-retry-attempts") }
    }

    /// RabbitMQ 4.3's: delay = min(min × max(1, failures), max).
    fn delayed_retry(&self) -> Option<Retry> {
        let on = match self.text("x-delayed-retry-type").as_deref() {
            Some("all") => RetryOn::All,
            Some("failed") => RetryOn::Failed,
            Some("returned") => RetryOn::Returned,
            _ => return None,
        };
        let min_ms = self.number("x-delayed-retry-min").unwrap_or(DELAYED_RETRY_MIN_MS);
        let max_ms = self.number("x-delayed-retry-max").unwrap_or(DELAYED_RETRY_MAX_MS).max(min_ms);
        let backoff = Backoff { min_ms, max_ms, factor_percent: None, jitter_percent: 0 };
        Some(Retry { on, delays_ms: Vec::new(), backoff: Some(backoff), attempts_max: None })
    }
}

/// The bounds that `x-deduplication` gives.
fn window(value: &Value) -> Option<Dedup> {
    let default = Dedup { window_ms: DEDUP_WINDOW_MS, count_max: DEDUP_COUNT };
    match value {
        Value::Bool(on) => on.then_some(default),
        Value::Table(table) => {
            let number = |name: &str| get(table, name).and_then(integer).and_then(unsigned);
            Some(Dedup {
                window_ms: number("window").unwrap_or(default.window_ms),
                count_max: number("count").unwrap_or(default.count_max),
            })
        }
        _ => None,
    }
}

/// Arguments of which any switches Bowline's own retries on.
const RETRY: &[&str] = &[
    "x-retry-attempts",
    "x-retry-delays",
    "x-retry-min",
    "x-retry-max",
    "x-retry-factor",
    "x-retry-jitter",
    "x-retry-on",
];

fn unsigned(n: i128) -> Option<u64> {
    if n < 0 { None } else { Some(u64::try_from(n).unwrap_or(u64::MAX)) }
}

/// `2` or `2.0` doubles: 100 percent more each time.
pub(crate) fn factor_percent(value: &Value) -> Option<u32> {
    let factor = match value {
        Value::Float(n) => f64::from(*n),
        Value::Double(n) => *n,
        other => integer(other)? as f64,
    };
    (1.0..=1000.0).contains(&factor).then(|| ((factor - 1.0) * 100.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(value: i128) -> Value {
        Value::Int { tag: b'l', value }
    }

    fn text(value: &str) -> Value {
        Value::Str(value.as_bytes().to_vec())
    }

    fn table(entries: &[(&str, Value)]) -> Table {
        entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn settings(kind: QueueType, arguments: &[(&str, Value)], policy: &[(&str, Value)]) -> QueueSettings {
        Said { kind, arguments: &table(arguments), policy: &table(policy) }.settings()
    }

    #[test]
    fn a_plain_classic_queue_is_on_the_short_paths() {
        assert_eq!(settings(QueueType::Classic, &[("x-mine", int(1))], &[]), QueueSettings::default());
    }

    #[test]
    fn a_quorum_queue_counts_limits_and_has_priorities() {
        let plain = settings(QueueType::Quorum, &[], &[]);
        assert!(plain.counts_deliveries && !plain.returns_are_failures);
        assert_eq!(
            (plain.delivery_limit, plain.max_priority, plain.default_priority),
            (Some(20), Some(31), 4)
        );
        let limit = |arguments: &[(&str, Value)], policy: &[(&str, Value)]| {
            settings(QueueType::Quorum, arguments, policy).delivery_limit
        };
        assert_eq!(limit(&[("x-delivery-limit", int(-1))], &[]), None);
        assert_eq!(limit(&[("x-delivery-limit", int(3))], &[("delivery-limit", int(2))]), Some(2));
        assert_eq!(limit(&[("x-delivery-limit", int(-1))], &[("delivery-limit", int(2))]), Some(2));
        assert_eq!(limit(&[], &[("delivery-limit", int(-1))]), None);
    }

    #[test]
    fn numbers_take_the_smaller_and_names_the_argument() {
        let both = settings(
            QueueType::Classic,
            &[("x-message-ttl", int(60_000)), ("x-dead-letter-exchange", text("mine"))],
            &[("message-ttl", int(5)), ("dead-letter-exchange", text("policy")), ("max-length", int(7))],
        );
        assert_eq!((both.message_ttl_ms, both.max_length), (Some(5), Some(7)));
        assert_eq!(both.dead_letter_exchange.as_deref(), Some("mine"));
        let overflow = |kind| {
            let argument = [("x-overflow", text("drop-head"))];
            settings(kind, &argument, &[("overflow", text("reject-publish"))]).overflow
        };
        assert_eq!(overflow(QueueType::Classic), Overflow::DropHead);
        assert_eq!(overflow(QueueType::Quorum), Overflow::RejectPublish);
    }

    #[test]
    fn retries() {
        let theirs = settings(
            QueueType::Quorum,
            &[("x-delayed-retry-type", text("failed")), ("x-delayed-retry-min", int(10))],
            &[],
        );
        let backoff = Backoff { min_ms: 10, max_ms: 60_000, factor_percent: None, jitter_percent: 0 };
        let retry =
            Retry { on: RetryOn::Failed, delays_ms: vec![], backoff: Some(backoff), attempts_max: None };
        assert_eq!(theirs.retry, Some(retry));
        assert!(!theirs.returns_are_failures);

        let delays = Value::Array(vec![int(100), int(1000)]);
        let listed = [("x-retry-attempts", int(5)), ("x-retry-delays", delays)];
        let ours = settings(QueueType::Classic, &listed, &[]);
        let retry =
            Retry { on: RetryOn::All, delays_ms: vec![100, 1000], backoff: None, attempts_max: Some(5) };
        assert_eq!(ours.retry, Some(retry));
        assert!(ours.returns_are_failures && ours.counts_deliveries);

        let growing = settings(QueueType::Classic, &[("x-retry-factor", Value::Double(1.5))], &[]);
        let backoff = growing.retry.unwrap().backoff.unwrap();
        assert_eq!((backoff.min_ms, backoff.factor_percent, backoff.jitter_percent), (1000, Some(50), 20));
    }

    #[test]
    fn stories_go_to_the_exchange_of_the_argument_or_else_of_the_policy() {
        let policy = [("trace-exchange", text("policy"))];
        let by_policy = settings(QueueType::Classic, &[], &policy);
        assert_eq!(by_policy.trace_exchange.as_deref(), Some("policy"));
        let both = settings(QueueType::Quorum, &[("x-trace-exchange", text("mine"))], &policy);
        assert_eq!(both.trace_exchange.as_deref(), Some("mine"));
    }

    #[test]
    fn what_sessions_must_read() {
        let of = |arguments: &[(&str, Value)]| {
            Reads::of(&Said { kind: QueueType::Classic, arguments: &table(arguments), policy: &Table::new() })
        };
        assert_eq!(of(&[("x-deduplication", Value::Bool(false))]), None);
        let reads = of(&[
            ("x-deduplication", Value::Table(table(&[("header", text("id")), ("window", int(5))]))),
            ("x-order-key", text("routing-key")),
            ("x-fair-key", text("header:tenant")),
        ]);
        let header = |name: &str| Some(Source::Header(name.to_owned()));
        let expected = Reads { dedup: header("id"), key: Some(Source::RoutingKey), tenant: header("tenant") };
        assert_eq!(reads, Some(Box::new(expected)));
        assert_eq!(of(&[("x-deduplication", Value::Bool(true))]).unwrap().dedup, Some(Source::MessageId));
        let key = |name: &str| of(&[("x-order-key", text(name))]).and_then(|reads| reads.key);
        let properties = ["user", "app-id", "correlation-id", "message-id"].map(key);
        let expected = [Source::User, Source::AppId, Source::CorrelationId, Source::MessageId].map(Some);
        assert_eq!(properties, expected);
        assert_eq!(["tenant", "header:", "Routing-Key", ""].map(key), [None, None, None, None]);
        assert_eq!(key("header:routing-key"), header("routing-key"));
    }
}
