//! Settings of groups: which exist, their bounds and defaults. As with topics only what is enforced is listed.
//!
//! `bowline_model::group_config` reads the values for the coordinators.

use super::{Entry, Rule, Type};
use crate::refusal::refuse;
use bowline_model::group_config::GroupConfig;
use bowline_model::meta::{Reason, Rejection};

/// All settings, sorted by name. Bounds are those that Kafka's brokers set for groups
/// (`group.consumer.{min,max}.session.timeout.ms` and so on).
#[rustfmt::skip]
pub static ENTRIES: &[Entry] = &[
    Entry { name: "consumer.heartbeat.interval.ms", kind: Type::Int,
        broker_name: "group.consumer.heartbeat.interval.ms",
        rule: Rule::Number(5_000, 15_000), default: |_| "5000".into(),
        doc: "How often members of a consumer group with broker-side assignment are told to be heard of." },
    Entry { name: "consumer.session.timeout.ms", kind: Type::Int,
        broker_name: "group.consumer.session.timeout.ms",
        rule: Rule::Number(45_000, 60_000), default: |_| "45000".into(),
        doc: "A member of such a group that is not heard of for so long is given up." },
];

/// The setting of that name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.binary_search_by_key(&name, |entry| entry.name).ok().map(|at| &ENTRIES[at])
}

/// Checks explicit settings; InvalidConfig with Kafka's texts otherwise.
pub fn validate(configs: &[(String, String)]) -> Result<(), Rejection> {
    for (name, value) in configs {
        match entry(name) {
            Some(entry) => entry.validate(value)?,
            None => return Err(invalid(format!("Unknown group config name: {name}"))),
        }
    }
    let GroupConfig { consumer_session_timeout_ms, consumer_heartbeat_interval_ms, .. } =
        GroupConfig::parsed(configs);
    if consumer_session_timeout_ms <= consumer_heartbeat_interval_ms {
        let text = "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms";
        return Err(invalid(text.to_owned()));
    }
    Ok(())
}

fn invalid(text: String) -> Rejection {
    refuse(Reason::InvalidConfig, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Defaults;

    fn one(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn the_defaults_that_are_shown_are_those_that_hold() {
        assert!(ENTRIES.is_sorted_by_key(|entry| entry.name));
        let shown: Vec<_> = ENTRIES
            .iter()
            .map(|entry| (entry.name.to_owned(), entry.inherited(&Defaults::default())))
            .collect();
        validate(&shown).unwrap();
        assert_eq!(GroupConfig::parsed(&shown), GroupConfig::default());
    }

    #[test]
    fn bounds_are_kafkas() {
        for (name, value, good) in [
            ("consumer.session.timeout.ms", "45000", true),
            ("consumer.session.timeout.ms", "60000", true),
            ("consumer.session.timeout.ms", "44999", false),
            ("consumer.session.timeout.ms", "60001", false),
            ("consumer.heartbeat.interval.ms", "15000", true),
            ("consumer.heartbeat.interval.ms", "4999", false),
            ("consumer.heartbeat.interval.ms", "often", false),
            ("consumer.heart", "1", false),
        ] {
            assert_eq!(validate(&one(name, value)).is_ok(), good, "{name}={value}");
        }
        let config = GroupConfig::parsed(&one("consumer.session.timeout.ms", "50000"));
        assert_eq!(config.consumer_session_timeout_ms, 50_000);
    }
}
