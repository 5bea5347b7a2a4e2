//! Settings of subscriptions to clients' metrics (KIP-714): which exist, their checks in Kafka's words, and which
//! clients a subscription is for.
//!
//! Patterns are those of our engine, in which a match takes time linear in the text: look-around and back-references,
//! which Java knows, are refused when the setting is made.

use super::{Type, elements, invalid};
use crate::pattern::Pattern;
use crate::refusal::refuse;
use bowline_model::meta::{Reason, Rejection};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    pub name: &'static str,
    pub kind: Type,
    /// What holds where it is not set.
    pub default: &'static str,
    pub doc: &'static str,
}

const INTERVAL: &str = "interval.ms";
const MATCH: &str = "match";
const METRICS: &str = "metrics";

/// All settings, sorted by name.
#[rustfmt::skip]
pub static SETTINGS: &[Setting] = &[
    Setting { name: INTERVAL, kind: Type::Int, default: "300000",
        doc: "How often a client pushes its metrics, in milliseconds: 100 to 3600000." },
    Setting { name: MATCH, kind: Type::List, default: "",
        doc: "Which clients are meant: name=regular expression, of which all have to match; none: every client. Names are client_instance_id, \
              client_id, client_software_name, client_software_version, client_source_address and client_source_port." },
    Setting { name: METRICS, kind: Type::List, default: "",
        doc: "What the names of the wanted metrics begin with; *: all metrics." },
];

/// In [`Subscription::metrics`]: all of them.
pub const ALL_METRICS: &str = "*";
/// `interval.ms` of clients that no subscription is for.
pub const INTERVAL_MS_DEFAULT: u32 = 300_000;
const INTERVAL_MS_MIN: i32 = 100;
const INTERVAL_MS_MAX: i32 = 3_600_000;
/// Longest value, bytes: what is asked of clients goes to each of them.
const VALUE_BYTES_MAX: usize = 32 * 1024;

/// What a client tells of itself, and its connection. What is not known matches nothing.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    pub instance_id: &'a str,
    pub client_id: Option<&'a str>,
    pub software_name: &'a str,
    pub software_version: &'a str,
    pub source_address: &'a str,
    pub source_port: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attribute {
    InstanceId,
    ClientId,
    SoftwareName,
    SoftwareVersion,
    SourceAddress,
    SourcePort,
}

impl Attribute {
    fn from_name(name: &str) -> Option<Attribute> {
        Some(match name {
            "client_instance_id" => Attribute::InstanceId,
            "client_id" => Attribute::ClientId,
            "client_software_name" => Attribute::SoftwareName,
            "client_software_version" => Attribute::SoftwareVersion,
            "client_source_address" => Attribute::SourceAddress,
            "client_source_port" => Attribute::SourcePort,
            _ => return None,
        })
    }

    fn of<'a>(self, client: &Client<'a>) -> Option<&'a str> {
        match self {
            Attribute::InstanceId => Some(client.instance_id),
            Attribute::ClientId => client.client_id,
            Attribute::SoftwareName => Some(client.software_name),
            Attribute::SoftwareVersion => Some(client.software_version),
            Attribute::SourceAddress => Some(client.source_address),
            Attribute::SourcePort => Some(client.source_port),
        }
    }
}

/// A subscription's settings, read.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// What names begin with, or [`ALL_METRICS`].
    pub metrics: Vec<String>,
    /// 100 to 3 600 000.
    pub interval_ms: u32,
    matches: Vec<(Attribute, Pattern)>,
}

impl Subscription {
    /// Explicit settings over the defaults; `None` if they are not valid.
    pub fn parsed(explicit: &[(String, String)]) -> Option<Subscription> {
        parse(explicit).ok()
    }

    /// Whether the client is meant.
    pub fn is_for(&self, client: &Client<'_>) -> bool {
        self.matches
            .iter()
            .all(|(attribute, pattern)| attribute.of(client).is_some_and(|value| pattern.matches(value)))
    }
}

/// The setting of that name.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// A valid value as it is shown: lists without the spaces around their elements.
pub fn shown(setting: &Setting, value: &str) -> String {
    match setting.kind {
        Type::List => elements(value).join(","),
        _ => value.trim().parse::<i32>().map_or_else(|_| value.to_owned(), |n| n.to_string()),
    }
}

/// Checks name and explicit settings of a subscription.
///
/// # Errors
/// `InvalidArgument` and `InvalidConfig`, where Kafka has INVALID_REQUEST and INVALID_CONFIG.
pub fn validate(name: &str, configs: &[(String, String)]) -> Result<(), Rejection> {
    if name.is_empty() {
        return Err(refuse(Reason::InvalidArgument, "Subscription name can't be empty"));
    }
    parse(configs).map(drop)
}

fn parse(configs: &[(String, String)]) -> Result<Subscription, Rejection> {
    for (name, value) in configs {
        if setting(name).is_none() {
            let text = format!("Unknown client metrics configuration: {name}");
            return Err(refuse(Reason::InvalidArgument, text));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(invalid(format!("Configuration '{name}' is longer than {VALUE_BYTES_MAX} bytes")));
        }
    }
    let value = |name: &str| configs.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value);
    let metrics = list(METRICS, value(METRICS))?;
    let interval = value(INTERVAL).map(|value| interval(value)).transpose()?;
    let matches = list(MATCH, value(MATCH))?;
    if let Some(ms) = interval
        && !(INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(&ms)
    {
        let bounds = "interval must be between 100 and 3600000 (1 hour)";
        return Err(refuse(Reason::InvalidArgument, format!("Invalid value {ms} for {INTERVAL}, {bounds}")));
    }
    let mut read: Vec<(Attribute, Pattern)> = Vec::with_capacity(matches.len());
    for element in matches {
        let (attribute, pattern) =
            matcher(element).ok_or_else(|| invalid(format!("Illegal client matching pattern: {element}")))?;
        // Of several patterns for one attribute the last counts, as in Kafka.
        read.retain(|(known, _)| *known != attribute);
        read.push((attribute, pattern));
    }
    Ok(Subscription {
        metrics: metrics.into_iter().map(str::to_owned).collect(),
        interval_ms: interval.map_or(INTERVAL_MS_DEFAULT, i32::unsigned_abs),
        matches: read,
    })
}

fn interval(value: &str) -> Result<i32, Rejection> {
    value.trim().parse().map_err(|_| {
        invalid(format!("Invalid value {value} for configuration {INTERVAL}: Not a number of type INT"))
    })
}

/// `name=regular expression`, which has to match the whole value.
fn matcher(element: &str) -> Option<(Attribute, Pattern)> {
    let (name, pattern) = element.split_once('=')?;
    let pattern = pattern.trim();
    if pattern.is_empty() || pattern.contains('=') {
        return None;
    }
    // It has to be a pattern before it is one within brackets.
    Pattern::new(pattern).ok()?;
    Some((Attribute::from_name(name.trim())?, Pattern::new(&format!("^(?:{pattern})$")).ok()?))
}

fn list<'a>(name: &str, value: Option<&'a String>) -> Result<Vec<&'a str>, Rejection> {
    let elements = value.map(|value| elements(value)).unwrap_or_default();
    if elements.contains(&"") {
        return Err(invalid(format!("Configuration '{name}' values must not be empty.")));
    }
    Ok(elements)
}

/// Each once, where it stands first.
#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    const CLIENT: Client<'static> = Client {
        instance_id: "AAAAAAAAAAAAAAAAAAAABw",
        client_id: Some("orders-1"),
        software_name: "apache-kafka-java",
        software_version: "4.3.1",
        source_address: "10.0.0.7",
        source_port: "40123",
    };

    #[test]
    fn the_defaults_that_are_shown_are_those_that_hold() {
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
        let shown: Vec<_> = SETTINGS.iter().map(|s| (s.name.to_owned(), s.default.to_owned())).collect();
        validate("m", &shown).unwrap();
        for configs in [&shown[..], &[]] {
            let read = Subscription::parsed(configs).unwrap();
            assert_eq!((read.metrics, read.interval_ms), (vec![], INTERVAL_MS_DEFAULT));
        }
        assert!(
            Subscription::parsed(&shown).unwrap().is_for(&CLIENT),
            "without a pattern it is for everybody"
        );
    }

    /// Kafka's codes: `InvalidArgument` is 42, `InvalidConfig` is 40.
    #[test]
    fn what_is_refused_and_how() {
        use Reason::{InvalidArgument, InvalidConfig};
        for (name, value, expected) in [
            ("interval.ms", "100", None),
            ("interval.ms", " 3600000 ", None),
            (
                "interval.ms",
                "99",
                Some((
                    InvalidArgument,
                    "Invalid value 99 for interval.ms, interval must be between 100 and 3600000 (1 hour)",
                )),
            ),
            (
                "interval.ms",
                "3600001",
                Some((
                    InvalidArgument,
                    "Invalid value 3600001 for interval.ms, interval must be between 100 and 3600000 (1 hour)",
                )),
            ),
            (
                "interval.ms",
                "soon",
                Some((
                    InvalidConfig,
                    "Invalid value soon for configuration interval.ms: Not a number of type INT",
                )),
            ),
            (
                "intervalms",
                "100",
                Some((InvalidArgument, "Unknown client metrics configuration: intervalms")),
            ),
            ("metrics", "", None),
            ("metrics", "*", None),
            ("metrics", "org.apache.kafka.producer., org.apache.kafka.consumer.", None),
            ("metrics", "a,b,a", None),
            ("match", "client_id=a,client_id=a", None),
            ("metrics", "a,,b", Some((InvalidConfig, "Configuration 'metrics' values must not be empty."))),
            ("match", "client_id=.*,client_software_name=apache-kafka-java", None),
            ("match", "client_id", Some((InvalidConfig, "Illegal client matching pattern: client_id"))),
            ("match", "client_id=", Some((InvalidConfig, "Illegal client matching pattern: client_id="))),
            (
                "match",
                "client_id=a=b",
                Some((InvalidConfig, "Illegal client matching pattern: client_id=a=b")),
            ),
            ("match", "=a", Some((InvalidConfig, "Illegal client matching pattern: =a"))),
            ("match", "user=a", Some((InvalidConfig, "Illegal client matching pattern: user=a"))),
            ("match", "client_id=[", Some((InvalidConfig, "Illegal client matching pattern: client_id=["))),
            (
                "match",
                "client_id=a)|(b",
                Some((InvalidConfig, "Illegal client matching pattern: client_id=a)|(b")),
            ),
        ] {
            let found =
                validate("m", &one(name, value)).err().map(|rejection| (rejection.reason, rejection.text));
            let expected = expected.map(|(reason, text)| (reason, text.to_owned()));
            assert_eq!(found, expected, "{name}={value}");
        }
        assert_eq!(validate("", &one("metrics", "*")).unwrap_err().reason, InvalidArgument);
        let long = "a".repeat(VALUE_BYTES_MAX + 1);
        assert_eq!(validate("m", &one("metrics", &long)).unwrap_err().reason, InvalidConfig);
    }

    #[test]
    fn a_subscription_is_for_those_whom_all_its_patterns_match() {
        for (patterns, expected) in [
            ("client_id=orders-.*", true),
            ("client_id=orders", false),
            ("client_id=rders-1", false),
            ("client_id=no|orders-1", true),
            ("client_id = orders-1 , client_software_version = 4\\..*", true),
            ("client_id=orders-1,client_software_version=3\\..*", false),
            ("client_id=other,client_id=orders-1", true),
            ("client_instance_id=AAAAAAAAAAAAAAAAAAAABw", true),
            ("client_source_address=10\\.0\\.0\\.\\d+,client_source_port=4012[0-9]", true),
            ("client_source_address=10.0.0.8", false),
            ("client_software_name=librdkafka", false),
        ] {
            let read = Subscription::parsed(&one("match", patterns)).unwrap();
            assert_eq!(read.is_for(&CLIENT), expected, "{patterns}");
        }
        let nameless = Client { client_id: None, ..CLIENT };
        assert!(!Subscription::parsed(&one("match", "client_id=.*")).unwrap().is_for(&nameless));
    }

    #[test]
    fn values_are_shown_without_spaces() {
        let show = |name: &str, value: &str| shown(setting(name).unwrap(), value);
        assert_eq!(show("metrics", " a. , b. "), "a.,b.");
        assert_eq!(show("metrics", "b.,a.,b."), "b.,a.", "each once");
        assert_eq!((show("metrics", ""), show("interval.ms", "+500 ")), (String::new(), "500".into()));
    }
}
