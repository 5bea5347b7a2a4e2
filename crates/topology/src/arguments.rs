//! Arguments of declarations: what they mean, which are refused, and RabbitMQ's words for it.
//!
//! Two kinds of refusal, in this order as in RabbitMQ: a value that is no good (`invalid arg …`) and an argument that
//! belongs to another queue type (`… of queue type …`). Arguments nobody knows are kept and mean nothing.

use crate::refusal::{Resource, refuse, unknown_exchange_type};
use crate::settings::{SOURCES, Source};
use crate::spread::By;
use crate::value::{integer, type_name};
use crate::{exchange, history};
use bowline_model::meta::{ExchangeKind, ExchangeSpec, QueueDeclaration, Reason, Rejection, Table, Value};

pub const QUEUE_TYPE: &str = "x-queue-type";
pub const ALTERNATE_EXCHANGE: &str = "alternate-exchange";
pub const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
pub const DELAYED_TYPE: &str = "x-delayed-type";
/// Bowline's own, of queues and exchanges: what a message must share with an earlier one to be dropped (message-id or a
/// header), and for how long. A bool, or a table of `window` (ms), `count` (ids) and `header`.
pub const DEDUPLICATION: &str = "x-deduplication";
/// Bowline's own: where the key is within which messages stay in order (see [`Source`](crate::settings::Source)).
pub const ORDER_KEY: &str = "x-order-key";
/// Bowline's own: where it says whose message it is; they take turns.
pub const FAIR_KEY: &str = "x-fair-key";
/// What happens to the queue's messages is told there.
pub const TRACE_EXCHANGE: &str = "x-trace-exchange";

/// What argument `x-queue-type` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeclaredType {
    Classic,
    Quorum,
    /// Make it a topic: `Command::TopicCreate`.
    Stream,
}

/// What is known of one argument. The first error of `check` is an Erlang term, as RabbitMQ prints it.
struct Argument {
    name: &'static str,
    types: &'static [DeclaredType],
    check: fn(&Value, &Table) -> Result<(), String>,
}

const CLASSIC: &[DeclaredType] = &[DeclaredType::Classic];
const QUORUM: &[DeclaredType] = &[DeclaredType::Quorum];
const STREAM: &[DeclaredType] = &[DeclaredType::Stream];
const QUEUES: &[DeclaredType] = &[DeclaredType::Classic, DeclaredType::Quorum];
const ALL: &[DeclaredType] = &[DeclaredType::Classic, DeclaredType::Quorum, DeclaredType::Stream];
const SIZED: &[DeclaredType] = ALL;

/// In the order in which RabbitMQ checks them.
#[rustfmt::skip]
static ARGUMENTS: &[Argument] = &[
    Argument { name: "x-expires", types: QUEUES, check: check_expires },
    Argument { name: "x-message-ttl", types: QUEUES, check: check_ttl },
    Argument { name: DEAD_LETTER_EXCHANGE, types: QUEUES, check: check_string },
    Argument { name: "x-dead-letter-routing-key", types: QUEUES, check: check_dead_letter_key },
    Argument { name: "x-dead-letter-strategy", types: QUORUM, check: check_strategy },
    Argument { name: "x-max-length", types: QUEUES, check: check_size },
    // A stream's retention; see `validate_stream`.
    Argument { name: "x-max-length-bytes", types: SIZED, check: check_size },
    // Messages of quorum queues are on disk here as there: nothing to do.
    Argument { name: "x-max-in-memory-length", types: QUORUM, check: check_size },
    Argument { name: "x-max-in-memory-bytes", types: QUORUM, check: check_size },
    // RabbitMQ refuses it for quorum queues, which always have 32; here it says how many, as on classic ones.
    Argument { name: "x-max-priority", types: QUEUES, check: check_priority },
    Argument { name: "x-overflow", types: QUEUES, check: check_overflow },
    Argument { name: "x-queue-mode", types: CLASSIC, check: check_nothing },
    Argument { name: "x-queue-version", types: CLASSIC, check: check_version },
    Argument { name: "x-single-active-consumer", types: QUEUES, check: check_bool },
    // RabbitMQ refuses it for classic queues since 4.3.2.
    Argument { name: "x-consumer-timeout", types: QUEUES, check: check_size },
    // About consumers on other nodes; a consumer of ours is lost at once, and its messages return.
    Argument { name: "x-consumer-disconnected-timeout", types: QUORUM, check: check_size },
    Argument { name: QUEUE_TYPE, types: ALL, check: check_nothing },
    Argument { name: "x-quorum-initial-group-size", types: QUORUM, check: check_positive },
    Argument { name: "x-max-age", types: STREAM, check: check_age },
    Argument { name: "x-stream-max-segment-size-bytes", types: STREAM, check: check_size },
    Argument { name: "x-stream-filter-size-bytes", types: STREAM, check: check_size },
    Argument { name: "x-initial-cluster-size", types: STREAM, check: check_positive },
    Argument { name: "x-queue-leader-locator", types: ALL, check: check_locator },
    Argument { name: "x-member-placement-tag", types: QUORUM, check: check_tag },
    Argument { name: "x-delivery-limit", types: QUORUM, check: check_integer },
    Argument { name: "x-delayed-retry-type", types: QUORUM, check: check_retry_type },
    Argument { name: "x-delayed-retry-min", types: QUORUM, check: check_positive },
    Argument { name: "x-delayed-retry-max", types: QUORUM, check: check_retry_max },
    Argument { name: "x-queue-master-locator", types: CLASSIC, check: check_nothing },
    // Bowline's own.
    Argument { name: "x-retry-attempts", types: QUEUES, check: check_positive },
    Argument { name: "x-retry-delays", types: QUEUES, check: check_delays },
    Argument { name: "x-retry-min", types: QUEUES, check: check_ttl },
    Argument { name: "x-retry-max", types: QUEUES, check: check_ttl },
    Argument { name: "x-retry-factor", types: QUEUES, check: check_factor },
    Argument { name: "x-retry-jitter", types: QUEUES, check: check_percent },
    Argument { name: "x-retry-on", types: QUEUES, check: check_retry_on },
    Argument { name: TRACE_EXCHANGE, types: QUEUES, check: check_string },
    Argument { name: DEDUPLICATION, types: QUEUES, check: check_deduplication },
    Argument { name: ORDER_KEY, types: QUEUES, check: check_source },
    Argument { name: FAIR_KEY, types: QUEUES, check: check_source },
];

impl DeclaredType {
    pub fn name(self) -> &'static str {
        match self {
            DeclaredType::Classic => "classic",
            DeclaredType::Quorum => "quorum",
            DeclaredType::Stream => "stream",
        }
    }

    /// RabbitMQ's name of the implementation, which its refusals show.
    fn module(self) -> &'static str {
        match self {
            DeclaredType::Classic => "rabbit_classic_queue",
            DeclaredType::Quorum => "rabbit_quorum_queue",
            DeclaredType::Stream => "rabbit_stream_queue",
        }
    }
}

/// Reads `x-queue-type`; absent is classic. Refused: values that are none of these.
pub fn declared_type(vhost: &str, name: &str, arguments: &Table) -> Result<DeclaredType, Rejection> {
    let problem = match get(arguments, QUEUE_TYPE) {
        None => return Ok(DeclaredType::Classic),
        Some(Value::Str(kind)) => match kind.as_slice() {
            b"classic" | b"" | b"undefined" => return Ok(DeclaredType::Classic),
            b"quorum" => return Ok(DeclaredType::Quorum),
            b"stream" => return Ok(DeclaredType::Stream),
            other => format!("\"unsupported queue type '{}'\"", String::from_utf8_lossy(other)),
        },
        Some(other) => unacceptable(other),
    };
    Err(invalid(&Resource::queue(vhost, name), QUEUE_TYPE, &problem))
}

/// Everything that can be wrong with a classic or quorum declaration by itself. A stream is refused as InvalidArgument.
pub fn validate_queue(declaration: &QueueDeclaration) -> Result<(), Rejection> {
    let QueueDeclaration { vhost, name, arguments, .. } = declaration;
    let resource = Resource::queue(vhost, name);
    check_exchange_name(&resource, DEAD_LETTER_EXCHANGE, arguments)?;
    let kind = declared_type(vhost, name, arguments)?;
    validate_arguments(&resource, kind, arguments)?;
    match kind {
        DeclaredType::Classic => {}
        DeclaredType::Quorum => {
            let durable = declaration.durable && declaration.exclusive.is_none();
            let exclusive = declaration.exclusive.is_some();
            validate_replicated(&resource, durable, exclusive, declaration.auto_delete)?;
        }
        DeclaredType::Stream => {
            return Err(refuse(Reason::InvalidArgument, format!("{resource} of type stream is a topic")));
        }
    }
    Ok(())
}

/// Everything that can be wrong with declaring a stream; `durable`, `exclusive`, `auto_delete` as the client sent them.
/// Gives the topic configuration that its arguments amount to (`x-max-age`, `x-max-length-bytes`): as in RabbitMQ,
/// and unlike in Kafka, a stream without them is kept for ever.
pub fn validate_stream(
    vhost: &str,
    name: &str,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    arguments: &Table,
) -> Result<Vec<(String, String)>, Rejection> {
    let resource = Resource::queue(vhost, name);
    check_exchange_name(&resource, DEAD_LETTER_EXCHANGE, arguments)?;
    validate_arguments(&resource, DeclaredType::Stream, arguments)?;
    validate_replicated(&resource, durable && !exclusive, exclusive, auto_delete)?;
    let segment = get(arguments, "x-stream-max-segment-size-bytes").and_then(integer);
    if segment.is_some_and(|bytes| bytes > STREAM_SEGMENT_BYTES_MAX) {
        let text = "Exceeded max value for x-stream-max-segment-size-bytes";
        return Err(refuse(Reason::InvalidArgument, text));
    }
    let filter = get(arguments, "x-stream-filter-size-bytes").and_then(integer);
    if filter.is_some_and(|bytes| !(16..=255).contains(&bytes)) {
        return Err(refuse(Reason::InvalidArgument, "Invalid value for x-stream-filter-size-bytes"));
    }
    let bytes = get(arguments, "x-max-length-bytes").and_then(integer).map_or(-1, |n| n.min(i64::MAX.into()));
    let age_ms = match get(arguments, "x-max-age") {
        Some(Value::Str(text)) => age_ms(text).map_or(-1, i128::from),
        _ => -1,
    };
    Ok(vec![
        ("retention.bytes".to_owned(), bytes.to_string()),
        ("retention.ms".to_owned(), age_ms.to_string()),
    ])
}

/// An argument that names an exchange. RabbitMQ looks at these before all others.
fn check_exchange_name(resource: &Resource<'_>, name: &str, arguments: &Table) -> Result<(), Rejection> {
    match get(arguments, name) {
        None | Some(Value::Str(_)) => Ok(()),
        Some(other) => Err(invalid_type(other, name, resource)),
    }
}

/// Everything that can be wrong with an exchange declaration by itself but its name.
pub fn validate_exchange(spec: &ExchangeSpec) -> Result<(), Rejection> {
    let resource = Resource::exchange(&spec.vhost, &spec.name);
    check_exchange_name(&resource, ALTERNATE_EXCHANGE, &spec.arguments)?;
    if let Some(value) = get(&spec.arguments, DEDUPLICATION) {
        check_deduplication(value, &spec.arguments)
            .map_err(|problem| invalid(&resource, DEDUPLICATION, &problem))?;
    }
    if spec.kind == ExchangeKind::Delayed {
        let inner = match get(&spec.arguments, DELAYED_TYPE) {
            Some(Value::Str(name)) => {
                std::str::from_utf8(name).ok().and_then(|name| exchange_kind(name).ok())
            }
            _ => None,
        };
        // The plugin's words.
        if inner.is_none_or(|kind| matches!(kind, ExchangeKind::Delayed | ExchangeKind::RecentHistory)) {
            let text = format!("Invalid argument, '{DELAYED_TYPE}' must be an existing exchange type");
            return Err(refuse(Reason::InvalidArgument, text));
        }
    }
    if spec.kind == ExchangeKind::RecentHistory {
        history::validate(spec)?;
    }
    if exchange::effective_kind(spec) == ExchangeKind::ConsistentHash {
        By::of(&spec.arguments).map_err(|text| refuse(Reason::InvalidArgument, text))?;
    }
    Ok(())
}

/// Keys of policies that no argument of a queue has.
const POLICY_ONLY: &[&str] = &[ALTERNATE_EXCHANGE];

fn argument_of(policy_key: &str) -> Option<&'static Argument> {
    ARGUMENTS.iter().find(|argument| argument.name.strip_prefix("x-") == Some(policy_key))
}

/// Whether a queue of this type understands a policy's key; keys that nobody knows do no harm.
pub(crate) fn may_be_policy_of(key: &str, kind: DeclaredType) -> bool {
    argument_of(key).is_none_or(|argument| argument.types.contains(&kind))
}

/// One key of a policy's definition. Known but meaningless here are `ha-*`, `federation-upstream(-set)` and the like:
/// refused, lest somebody counts on them.
pub(crate) fn validate_policy_key(key: &str, value: &Value, definition: &Table) -> Result<(), Rejection> {
    if POLICY_ONLY.contains(&key) {
        return match value {
            Value::Str(_) => Ok(()),
            other => Err(refuse(
                Reason::InvalidArgument,
                format!("invalid value for '{key}': {}", unacceptable(other)),
            )),
        };
    }
    let argument = argument_of(key).filter(|argument| argument.name != QUEUE_TYPE);
    let Some(argument) = argument else {
        return Err(refuse(
            Reason::InvalidArgument,
            format!("[{{<<\"{key}\">>,<<\"is not recognised\">>}}]"),
        ));
    };
    // Checks that look at their neighbours find them under their argument names.
    let neighbours: Table =
        definition.iter().map(|(key, value)| (format!("x-{key}"), value.clone())).collect();
    // A routing key by policy may go with an exchange by argument.
    let alone = argument.name == "x-dead-letter-routing-key";
    let checked = if alone { check_string(value, &neighbours) } else { (argument.check)(value, &neighbours) };
    checked.map_err(|problem| {
        refuse(Reason::InvalidArgument, format!("invalid value for '{key}': {problem}"))
    })?;
    Ok(())
}

/// `direct`, `fanout`, `topic`, `headers` and the types with `x-`; anything else is refused as RabbitMQ does.
pub fn exchange_kind(name: &str) -> Result<ExchangeKind, Rejection> {
    match name {
        "direct" => Ok(ExchangeKind::Direct),
        "fanout" => Ok(ExchangeKind::Fanout),
        "topic" => Ok(ExchangeKind::Topic),
        "headers" => Ok(ExchangeKind::Headers),
        "x-consistent-hash" => Ok(ExchangeKind::ConsistentHash),
        "x-modulus-hash" => Ok(ExchangeKind::ModulusHash),
        "x-random" => Ok(ExchangeKind::Random),
        "x-local-random" => Ok(ExchangeKind::LocalRandom),
        "x-delayed-message" => Ok(ExchangeKind::Delayed),
        "x-recent-history" => Ok(ExchangeKind::RecentHistory),
        _ => Err(unknown_exchange_type(name)),
    }
}

pub fn exchange_kind_name(kind: ExchangeKind) -> &'static str {
    match kind {
        ExchangeKind::Direct => "direct",
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Topic => "topic",
        ExchangeKind::Headers => "headers",
        ExchangeKind::ConsistentHash => "x-consistent-hash",
        ExchangeKind::ModulusHash => "x-modulus-hash",
        ExchangeKind::Random => "x-random",
        ExchangeKind::LocalRandom => "x-local-random",
        ExchangeKind::Delayed => "x-delayed-message",
        ExchangeKind::RecentHistory => "x-recent-history",
    }
}

/// The value of an argument; the first one if it is given twice.
pub fn get<'a>(arguments: &'a Table, name: &str) -> Option<&'a Value> {
    arguments.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Names of the arguments that mean something to a type.
pub(crate) fn known_to(kind: DeclaredType) -> impl Iterator<Item = &'static str> {
    ARGUMENTS.iter().filter(move |argument| argument.types.contains(&kind)).map(|argument| argument.name)
}

fn known(arguments: &Table) -> impl Iterator<Item = (&'static Argument, &Value)> {
    ARGUMENTS.iter().filter_map(|argument| Some((argument, get(arguments, argument.name)?)))
}

fn validate_arguments(
    resource: &Resource<'_>,
    kind: DeclaredType,
    arguments: &Table,
) -> Result<(), Rejection> {
    for (argument, value) in known(arguments).filter(|(argument, _)| argument.types.contains(&kind)) {
        (argument.check)(value, arguments).map_err(|problem| invalid(resource, argument.name, &problem))?;
    }
    match known(arguments).find(|(argument, _)| !argument.types.contains(&kind)) {
        None => Ok(()),
        Some((Argument { name, .. }, _)) => Err(refuse(
            Reason::InvalidArgument,
            format!("invalid arg '{name}' for {resource} of queue type {}", kind.module()),
        )),
    }
}

/// Quorum queues and streams.
fn validate_replicated(
    resource: &Resource<'_>,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
) -> Result<(), Rejection> {
    let property = if auto_delete {
        "auto-delete"
    } else if exclusive {
        "exclusive-owner"
    } else if !durable {
        "non-durable"
    } else {
        return Ok(());
    };
    Err(refuse(Reason::InvalidArgument, format!("invalid property '{property}' for {resource}")))
}

fn invalid_type(value: &Value, name: &str, resource: &Resource<'_>) -> Rejection {
    let text = format!("invalid type '{}' for arg '{name}' in {resource}", type_name(value));
    refuse(Reason::InvalidArgument, text)
}

/// How RabbitMQ says that an argument is no good: `problem` is an Erlang term.
pub fn invalid(resource: &Resource<'_>, name: &str, problem: &str) -> Rejection {
    refuse(Reason::InvalidArgument, format!("invalid arg '{name}' for {resource}: {problem}"))
}

/// RabbitMQ's bounds.
const EXPIRY_MS_MAX: i128 = 315_360_000_000;
const PRIORITY_MAX: i128 = 255;
const STREAM_SEGMENT_BYTES_MAX: i128 = 3_000_000_000;

fn unacceptable(value: &Value) -> String {
    format!("{{unacceptable_type,{}}}", type_name(value))
}

fn integer_or(value: &Value) -> Result<i128, String> {
    match value {
        Value::Int { value, .. } => Ok(*value),
        other => Err(format!("\"expected integer, got {}\"", type_name(other))),
    }
}

fn check_nothing(_: &Value, _: &Table) -> Result<(), String> {
    Ok(())
}

fn check_size(value: &Value, _: &Table) -> Result<(), String> {
    match integer_or(value)? {
        n if n < 0 => Err(format!("{{value_negative,{n}}}")),
        _ => Ok(()),
    }
}

fn check_integer(value: &Value, _: &Table) -> Result<(), String> {
    integer_or(value).map(|_| ())
}

fn check_retry_type(value: &Value, _: &Table) -> Result<(), String> {
    check_one_of(value, &["disabled", "all", "failed", "returned"], "invalid_delayed_retry_type")
}

fn check_retry_max(value: &Value, arguments: &Table) -> Result<(), String> {
    check_positive(value, arguments)?;
    let min = get(arguments, "x-delayed-retry-min").and_then(integer);
    match integer_or(value)? {
        n if min.is_some_and(|min| n < min) => Err(format!("{{less_than_delayed_retry_min,{n}}}")),
        _ => Ok(()),
    }
}

/// A delay for each attempt; more than this many say nothing that a backoff would not.
const DELAYS_MAX: usize = 100;

fn check_delays(value: &Value, arguments: &Table) -> Result<(), String> {
    match value {
        Value::Array(delays) if (1..=DELAYS_MAX).contains(&delays.len()) => {
            delays.iter().try_for_each(|delay| check_ttl(delay, arguments))
        }
        Value::Array(_) => Err(format!("\"expected 1 to {DELAYS_MAX} delays\"")),
        other => Err(unacceptable(other)),
    }
}

fn check_factor(value: &Value, _: &Table) -> Result<(), String> {
    match value {
        Value::Float(_) | Value::Double(_) | Value::Int { .. } => {
            match crate::settings::factor_percent(value) {
                Some(_) => Ok(()),
                None => Err("\"expected a factor of 1 to 1000\"".to_owned()),
            }
        }
        other => Err(unacceptable(other)),
    }
}

fn check_percent(value: &Value, arguments: &Table) -> Result<(), String> {
    check_size(value, arguments)?;
    match integer_or(value)? {
        n if n > 100 => Err(format!("{{max_value_exceeded,{n}}}")),
        _ => Ok(()),
    }
}

fn check_retry_on(value: &Value, _: &Table) -> Result<(), String> {
    check_one_of(value, &["all", "failed", "returned"], "invalid_retry_on")
}

fn check_deduplication(value: &Value, arguments: &Table) -> Result<(), String> {
    match value {
        Value::Bool(_) => Ok(()),
        Value::Table(table) => table.iter().try_for_each(|(name, value)| match name.as_str() {
            "window" => check_expires(value, arguments),
            "count" => match integer_or(value)? {
                n if !(1..=DEDUP_COUNT_MAX).contains(&n) => {
                    Err(format!("\"expected a count of 1 to {DEDUP_COUNT_MAX}, got {n}\""))
                }
                _ => Ok(()),
            },
            "header" => check_key(value, arguments),
            other => Err(format!("\"unknown key '{other}'\"")),
        }),
        other => Err(unacceptable(other)),
    }
}

/// Ids that a queue remembers at most: each costs memory.
const DEDUP_COUNT_MAX: i128 = 100_000_000;

/// The key of `x-order-key` and `x-fair-key`.
fn check_source(value: &Value, arguments: &Table) -> Result<(), String> {
    check_key(value, arguments)?;
    match value {
        Value::Str(text) if std::str::from_utf8(text).is_ok_and(|text| Source::parse(text).is_some()) => {
            Ok(())
        }
        _ => Err(format!("\"expected {SOURCES}\"")),
    }
}

/// A header's name, or a property's.
fn check_key(value: &Value, _: &Table) -> Result<(), String> {
    match value {
        Value::Str(name) if (1..=255).contains(&name.len()) && std::str::from_utf8(name).is_ok() => Ok(()),
        Value::Str(_) => Err("\"expected a name of 1 to 255 octets\"".to_owned()),
        other => Err(unacceptable(other)),
    }
}

fn check_positive(value: &Value, arguments: &Table) -> Result<(), String> {
    check_size(value, arguments)?;
    if integer_or(value)? == 0 { Err("{value_zero,0}".to_owned()) } else { Ok(()) }
}

fn check_ttl(value: &Value, _: &Table) -> Result<(), String> {
    match integer_or(value)? {
        n if n < 0 => Err(format!("{{value_negative,{n}}}")),
        n if n > EXPIRY_MS_MAX => Err(format!("{{value_too_large,{n}}}")),
        _ => Ok(()),
    }
}

fn check_expires(value: &Value, arguments: &Table) -> Result<(), String> {
    if integer_or(value)? == 0 { Err("{value_zero,0}".to_owned()) } else { check_ttl(value, arguments) }
}

fn check_priority(value: &Value, arguments: &Table) -> Result<(), String> {
    check_size(value, arguments)?;
    match integer_or(value)? {
        n if n > PRIORITY_MAX => Err(format!("{{max_value_exceeded,{n}}}")),
        _ => Ok(()),
    }
}

fn check_version(value: &Value, arguments: &Table) -> Result<(), String> {
    check_size(value, arguments)?;
    match integer_or(value)? {
        // Version 1 differs in RabbitMQ's files alone; clients that ask for it lose nothing.
        1 | 2 => Ok(()),
        n => Err(format!("\"unsupported queue version '{n}'\"")),
    }
}

fn check_bool(value: &Value, _: &Table) -> Result<(), String> {
    match value {
        Value::Bool(_) => Ok(()),
        other => Err(unacceptable(other)),
    }
}

fn check_string(value: &Value, _: &Table) -> Result<(), String> {
    match value {
        Value::Str(_) => Ok(()),
        other => Err(unacceptable(other)),
    }
}

fn check_dead_letter_key(value: &Value, arguments: &Table) -> Result<(), String> {
    check_string(value, arguments)?;
    match get(arguments, DEAD_LETTER_EXCHANGE) {
        None => Err("routing_key_but_no_dlx_defined".to_owned()),
        Some(_) => Ok(()),
    }
}

fn check_one_of(value: &Value, allowed: &[&str], otherwise: &str) -> Result<(), String> {
    match value {
        Value::Str(text) if allowed.iter().any(|name| name.as_bytes() == text.as_slice()) => Ok(()),
        Value::Str(_) => Err(otherwise.to_owned()),
        other => Err(unacceptable(other)),
    }
}

fn check_strategy(value: &Value, _: &Table) -> Result<(), String> {
    check_one_of(value, &["at-most-once", "at-least-once"], "invalid_dlx_strategy")
}

fn check_overflow(value: &Value, _: &Table) -> Result<(), String> {
    check_one_of(value, &["drop-head", "reject-publish", "reject-publish-dlx"], "invalid_overflow")
}

fn check_locator(value: &Value, _: &Table) -> Result<(), String> {
    let allowed = ["client-local", "balanced", "random", "least-leaders", "min-masters"];
    check_one_of(value, &allowed, "invalid_queue_locator_arg")
}

fn check_tag(value: &Value, _: &Table) -> Result<(), String> {
    match value {
        Value::Str(text) if text.is_empty() => Err("invalid_member_placement_tag_arg".to_owned()),
        Value::Str(_) => Ok(()),
        other => Err(unacceptable(other)),
    }
}

fn check_age(value: &Value, _: &Table) -> Result<(), String> {
    match value {
        Value::Str(text) if age_ms(text).is_some() => Ok(()),
        Value::Str(_) => Err("invalid_max_age".to_owned()),
        other => Err(unacceptable(other)),
    }
}

/// `7D`: a positive number and a unit of Y (365 days), M (30 days), D, h, m, s. Ages beyond i64 are as good as that.
pub fn age_ms(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let unit_ms = match unit {
        "Y" => 365 * DAY_MS,
        "M" => 30 * DAY_MS,
        "D" => DAY_MS,
        "h" => 3600 * 1000,
        "m" => 60 * 1000,
        "s" => 1000,
        _ => return None,
    };
    if number.is_empty() || number.bytes().all(|b| b == b'0') {
        return None;
    }
    // Only a number too long for 64 bits fails to parse here.
    Some(number.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(unit_ms))
}
