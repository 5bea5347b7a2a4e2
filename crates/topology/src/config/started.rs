//! Settings of the broker that are made when it starts (`bowline serve --kafka-config`) and not while it runs: what
//! groups inherit, and bounds of groups and of compaction. In Kafka most of them are read-only, too. Their names are
//! Kafka's, at the broker.

use super::{Entry, Rule, Type, get, group, invalid};
use crate::config::Defaults;
use crate::refusal::refuse;
use bowline_model::meta::{Reason, Rejection};

pub const SESSION_TIMEOUT_MIN: &str = "group.min.session.timeout.ms";
pub const SESSION_TIMEOUT_MAX: &str = "group.max.session.timeout.ms";
pub const SHARE_MEMBERS_MAX: &str = "group.share.max.size";
pub const COMPACTION_REST: &str = "log.cleaner.backoff.ms";

/// What a group setting's name begins with at the broker.
const GROUP: &str = "group.";

/// Settings that no group inherits, sorted by name.
#[rustfmt::skip]
static OWN: &[Entry] = &[
    Entry { name: SESSION_TIMEOUT_MAX, kind: Type::Int, broker_name: SESSION_TIMEOUT_MAX,
        rule: Rule::Number(1, super::INT_MAX), default: |_| "1800000".into(),
        doc: "The longest session timeout that a member of a classic group may ask for." },
    Entry { name: SESSION_TIMEOUT_MIN, kind: Type::Int, broker_name: SESSION_TIMEOUT_MIN,
        rule: Rule::Number(1, super::INT_MAX), default: |_| "6000".into(),
        doc: "The shortest." },
    Entry { name: SHARE_MEMBERS_MAX, kind: Type::Int, broker_name: SHARE_MEMBERS_MAX,
        rule: Rule::Number(1, 1_000), default: |_| "200".into(),
        doc: "Members of a share group." },
    Entry { name: COMPACTION_REST, kind: Type::Long, broker_name: COMPACTION_REST,
        rule: Rule::Number(0, 86_400_000), default: |_| "15000".into(),
        doc: "So long a partition that was compacted is not compacted again, unless there is much to do." },
];

/// All of them.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    group::ENTRIES.iter().filter(|entry| !entry.broker_name.is_empty()).chain(OWN)
}

fn entry(broker_name: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.broker_name == broker_name)
}

/// Checks what an operator gives, by the names at the broker.
///
/// # Errors
/// InvalidArgument: there is no such setting, or it is given twice. InvalidConfig: it cannot have that value.
pub fn validate(configs: &[(String, String)]) -> Result<(), Rejection> {
    for (at, (name, value)) in configs.iter().enumerate() {
        let Some(entry) = entry(name) else {
            let known: Vec<&str> = entries().map(|entry| entry.broker_name).collect();
            let text = format!("{name} cannot be set at the start; these can: {}", known.join(", "));
            return Err(refuse(Reason::InvalidArgument, text));
        };
        if get(&configs[..at], name).is_some() {
            return Err(refuse(Reason::InvalidArgument, format!("{name} is given twice")));
        }
        entry.validate(value)?;
    }
    if number(configs, SESSION_TIMEOUT_MIN) > number(configs, SESSION_TIMEOUT_MAX) {
        return Err(invalid(format!("{SESSION_TIMEOUT_MIN} must not be more than {SESSION_TIMEOUT_MAX}")));
    }
    let defaults = Defaults { started: configs.to_vec(), ..Defaults::default() };
    group::check_timeouts(&[], &group::inherited(&defaults))
}

/// A number among `configs`, or its default; 0 where there is no such setting.
pub fn number(configs: &[(String, String)], broker_name: &str) -> u64 {
    let default =
        || entry(broker_name).map(|entry| (entry.default)(&Defaults::default())).unwrap_or_default();
    let value = get(configs, broker_name).map_or_else(default, str::to_owned);
    value.trim().parse().unwrap_or(0)
}

/// What of `configs` is for groups, by the names that groups' own settings have.
pub fn for_groups(configs: &[(String, String)]) -> Vec<(String, String)> {
    let own = |(name, value): &(String, String)| Some((name.strip_prefix(GROUP)?.to_owned(), value.clone()));
    configs.iter().filter_map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(configs: &[(&str, &str)]) -> Vec<(String, String)> {
        configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_unknown_out_of_bounds_or_contradicts_itself_is_refused() {
        for (configs, good) in [
            (&[("group.share.record.lock.duration.ms", "1000")][..], true),
            (&[("group.share.record.lock.duration.ms", "999")], false),
            (&[("share.record.lock.duration.ms", "1000")], false),
            (&[("", "1000")], false),
            (&[("num.partitions", "3")], false),
            (&[("group.share.max.size", "1000")], true),
            (&[("group.share.max.size", "0")], false),
            (&[("group.min.session.timeout.ms", "1"), ("group.max.session.timeout.ms", "1")], true),
            (&[("group.max.session.timeout.ms", "5999")], false),
            (&[("group.share.session.timeout.ms", "6000")], true),
            (
                &[("group.share.session.timeout.ms", "6000"), ("group.share.heartbeat.interval.ms", "6000")],
                false,
            ),
            (&[("group.share.max.size", "5"), ("group.share.max.size", "5")], false),
            (&[("log.cleaner.backoff.ms", "0")], true),
        ] {
            assert_eq!(validate(&all(configs)).is_ok(), good, "{configs:?}");
        }
    }

    #[test]
    fn groups_inherit_what_was_started_with() {
        for entry in group::ENTRIES.iter().filter(|entry| !entry.broker_name.is_empty()) {
            assert_eq!(entry.broker_name.strip_prefix(GROUP), Some(entry.name));
        }
        let started = all(&[("group.share.session.timeout.ms", "60000"), ("log.cleaner.backoff.ms", "1")]);
        assert_eq!(for_groups(&started), all(&[("share.session.timeout.ms", "60000")]));
        let defaults = Defaults { started, ..Defaults::default() };
        assert_eq!(get(&group::inherited(&defaults), "share.session.timeout.ms"), Some("60000"));
        assert_eq!(number(&defaults.started, COMPACTION_REST), 1);
        assert_eq!(number(&[], COMPACTION_REST), 15_000);
    }
}
