//! Settings of groups: which exist, their bounds and defaults. As with topics only what is enforced is listed.
//!
//! `bowline_model::group_config` and `bowline_model::share_config` read the values.

use super::{BOOLEANS, Defaults, Entry, Rule, Type, get, invalid};
use crate::names::validate_kafka_topic;
use bowline_model::meta::Rejection;
use bowline_model::share_config::Reset;

/// All settings, sorted by name. Bounds are those that Kafka's brokers set for groups
/// (`group.consumer.{min,max}.session.timeout.ms` and so on), for share groups wider ones. Those that begin with
/// `bowline.` are ours.
#[rustfmt::skip]
pub static ENTRIES: &[Entry] = &[
    Entry { name: "bowline.share.order.by.key", kind: Type::Boolean, broker_name: "",
        rule: Rule::OneOf(BOOLEANS), default: |_| "false".into(),
        doc: "Whether a share group delivers records of the same key and partition one after the other: the next when the one before is settled." },
    Entry { name: "bowline.share.redelivery.backoff.max.ms", kind: Type::Long, broker_name: "",
        rule: Rule::Number(0, 86_400_000), default: |_| "60000".into(),
        doc: "The longest wait that doubling bowline.share.redelivery.backoff.ms leads to." },
    Entry { name: "bowline.share.redelivery.backoff.ms", kind: Type::Long, broker_name: "",
        rule: Rule::Number(0, 86_400_000), default: |_| "0".into(),
        doc: "How long a record that came back to a share group waits before it is delivered again; twice as long each further time." },
    Entry { name: "bowline.share.redelivery.order", kind: Type::String, broker_name: "",
        rule: Rule::OneOf(&["first", "last"]), default: |_| "first".into(),
        doc: "Whether records that came back to a share group are delivered before those that nobody has had yet, or after them." },
    Entry { name: "consumer.heartbeat.interval.ms", kind: Type::Int,
        broker_name: "group.consumer.heartbeat.interval.ms",
        rule: Rule::Number(5_000, 15_000), default: |_| "5000".into(),
        doc: "How often members of a consumer group with broker-side assignment are told to be heard of." },
    Entry { name: "consumer.session.timeout.ms", kind: Type::Int,
        broker_name: "group.consumer.session.timeout.ms",
        rule: Rule::Number(45_000, 60_000), default: |_| "45000".into(),
        doc: "A member of such a group that is not heard of for so long is given up." },
    Entry { name: "errors.deadletterqueue.copy.record.enable", kind: Type::Boolean, broker_name: "",
        rule: Rule::OneOf(BOOLEANS), default: |_| "false".into(),
        doc: "Whether the dead-letter topic gets the records themselves, or only where they are and why they are dead." },
    Entry { name: "errors.deadletterqueue.topic.name", kind: Type::String, broker_name: "",
        rule: Rule::Like(|text| text.is_empty() || is_dead_letter_topic(text), "blank, or the name of a topic that does not begin with __"),
        default: |_| String::new(),
        doc: "The topic that gets what members of a share group reject, or have given back too often; blank: none. It needs errors.deadletterqueue.group.enable." },
    Entry { name: "share.auto.offset.reset", kind: Type::String, broker_name: "",
        rule: Rule::Like(|text| Reset::parsed(text).is_some(), "earliest, latest or by_duration:<ISO 8601 duration>"),
        default: |_| "latest".into(),
        doc: "Where a share group begins on a partition that it has not been on: at the earliest record, behind the latest, or with the first that is no older than a duration." },
    Entry { name: "share.delivery.count.limit", kind: Type::Int, broker_name: "group.share.delivery.count.limit",
        rule: Rule::Number(1, 1_000), default: |_| "5".into(),
        doc: "A share group delivers a record so often at most; then it is archived." },
    Entry { name: "share.heartbeat.interval.ms", kind: Type::Int,
        broker_name: "group.share.heartbeat.interval.ms",
        rule: Rule::Number(1_000, 60_000), default: |_| "5000".into(),
        doc: "How often members of a share group are told to be heard of." },
    Entry { name: "share.isolation.level", kind: Type::String, broker_name: "",
        rule: Rule::OneOf(&["read_committed", "read_uncommitted"]), default: |_| "read_uncommitted".into(),
        doc: "read_committed: members of a share group get nothing that an open transaction may take back, and nothing that was taken back." },
    Entry { name: "share.partition.max.record.locks", kind: Type::Int,
        broker_name: "group.share.partition.max.record.locks",
        rule: Rule::Number(1, 10_000), default: |_| "2000".into(),
        doc: "Records of one partition, from the first that is not settled on, that a share group may have in hand." },
    Entry { name: "share.record.lock.duration.ms", kind: Type::Int,
        broker_name: "group.share.record.lock.duration.ms",
        rule: Rule::Number(1_000, 3_600_000), default: |_| "30000".into(),
        doc: "How long a member of a share group may hold a record before it is delivered again." },
    Entry { name: "share.renew.acknowledge.enable", kind: Type::Boolean, broker_name: "",
        rule: Rule::OneOf(BOOLEANS), default: |_| "true".into(),
        doc: "Whether members of a share group may prolong the time for which they hold a record." },
    Entry { name: "share.session.timeout.ms", kind: Type::Int, broker_name: "group.share.session.timeout.ms",
        rule: Rule::Number(6_000, 1_800_000), default: |_| "45000".into(),
        doc: "A member of a share group that is not heard of for so long is given up." },
];

/// Kafka's own topics are not for the dead.
fn is_dead_letter_topic(name: &str) -> bool {
    !name.starts_with("__") && validate_kafka_topic(name).is_ok()
}

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
    check_timeouts(configs, &[])
}

/// What holds for groups that set nothing.
pub fn inherited(defaults: &Defaults) -> Vec<(String, String)> {
    ENTRIES.iter().map(|entry| (entry.name.to_owned(), entry.inherited(defaults))).collect()
}

/// Members must be heard of before they are given up. What is neither set nor among `inherited` is not compared: how
/// the node is started may change, and what was once accepted must stay so.
pub fn check_timeouts(configs: &[(String, String)], inherited: &[(String, String)]) -> Result<(), Rejection> {
    for kind in ["consumer", "share"] {
        let (session, heartbeat) =
            (format!("{kind}.session.timeout.ms"), format!("{kind}.heartbeat.interval.ms"));
        let number = |name: &str| {
            get(configs, name)
                .or_else(|| get(inherited, name))
                .and_then(|value| value.trim().parse::<u32>().ok())
        };
        if let (Some(timeout), Some(interval)) = (number(&session), number(&heartbeat))
            && timeout <= interval
        {
            return Err(invalid(format!("{session} must be greater than {heartbeat}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::group_config::GroupConfig;
    use bowline_model::share_config::ShareConfig;

    fn one(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn the_defaults_that_are_shown_are_those_that_hold() {
        assert!(ENTRIES.is_sorted_by_key(|entry| entry.name));
        let shown = inherited(&Defaults::default());
        validate(&shown).unwrap();
        assert_eq!(GroupConfig::parsed(&shown), GroupConfig::default());
        let share = ShareConfig { delivery_count_limited: true, ..ShareConfig::default() };
        assert_eq!(ShareConfig::parsed(&shown), share);
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
            ("share.auto.offset.reset", "by_duration:PT1H", true),
            ("share.auto.offset.reset", "by_duration:1H", false),
            ("share.delivery.count.limit", "0", false),
            ("share.renew.acknowledge.enable", "maybe", false),
            ("share.heartbeat.interval.ms", "60000", false),
            ("share.isolation.level", "read_committed", true),
            ("share.isolation.level", "serializable", false),
            ("errors.deadletterqueue.topic.name", "", true),
            ("errors.deadletterqueue.topic.name", "dlq.orders", true),
            ("errors.deadletterqueue.topic.name", "__orders", false),
            ("errors.deadletterqueue.topic.name", "dlq/orders", false),
            ("errors.deadletterqueue.copy.record.enable", "perhaps", false),
        ] {
            let shown = inherited(&Defaults::default());
            let checked = validate(&one(name, value)).and(check_timeouts(&one(name, value), &shown));
            assert_eq!(checked.is_ok(), good, "{name}={value}");
        }
        let config = GroupConfig::parsed(&one("consumer.session.timeout.ms", "50000"));
        assert_eq!(config.consumer_session_timeout_ms, 50_000);
    }
}
