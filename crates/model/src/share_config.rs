//! Settings of share groups (Kafka's config resource type GROUP, names `share.…`), as front ends obey them.
//!
//! Names, bounds and texts are in `bowline_topology::config::group`, which lets only valid settings in; here they
//! become numbers. Those that begin with `bowline.` are ours.

use crate::share::{Backoff, DeadLetters, Lock, Policy};

/// What holds for one share group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShareConfig {
    /// `share.session.timeout.ms`: a member that is not heard of for so long is given up.
    pub session_timeout_ms: u32,
    /// `share.heartbeat.interval.ms`: how often members are told to be heard of.
    pub heartbeat_interval_ms: u32,
    /// `share.record.lock.duration.ms`: how long a consumer may hold a record.
    pub record_lock_ms: u32,
    /// `share.delivery.count.limit`: a record is handed out so often at most. ≥ 1.
    pub delivery_count_limit: u32,
    /// `share.delivery.count.limit` was set for this group; then it binds AMQP consumers as well.
    pub delivery_count_limited: bool,
    /// `share.partition.max.record.locks`: records of one partition that may be in hand.
    pub record_locks_max: u32,
    /// `share.max.size`, which is the broker's alone: members of the group.
    pub members_max: u32,
    /// `share.renew.acknowledge.enable`: consumers may prolong a lock.
    pub renew: bool,
    /// `share.auto.offset.reset`.
    pub reset: Reset,
    /// `share.isolation.level` is read_committed.
    pub committed: bool,
    /// `bowline.share.redelivery.backoff.ms`, 0: none; and `bowline.share.redelivery.backoff.max.ms`.
    pub backoff_ms: u64,
    pub backoff_max_ms: u64,
    /// `bowline.share.redelivery.order` is `last`: what is new goes before what came back.
    pub fresh_first: bool,
    /// `errors.deadletterqueue.topic.name`, unless blank: the topic that gets what is archived (KIP-1191).
    pub dead_letter_topic: Option<String>,
    /// `errors.deadletterqueue.copy.record.enable`: it gets the records, not only where they are.
    pub dead_letter_copies: bool,
    /// `bowline.share.order.by.key`: records of one key are handed out one after the other.
    pub by_key: bool,
}

/// Where a group begins on a partition that it has not been on before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reset {
    Earliest,
    Latest,
    /// With the first record that is younger than this, ms.
    ByDuration(u64),
}

impl Default for ShareConfig {
    /// Kafka's defaults.
    fn default() -> ShareConfig {
        ShareConfig {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            record_lock_ms: 30_000,
            delivery_count_limit: 5,
            delivery_count_limited: false,
            record_locks_max: 2_000,
            members_max: 200,
            renew: true,
            reset: Reset::Latest,
            committed: false,
            backoff_ms: 0,
            backoff_max_ms: 60_000,
            fresh_first: false,
            dead_letter_topic: None,
            dead_letter_copies: false,
            by_key: false,
        }
    }
}

impl ShareConfig {
    /// Explicit settings over the defaults.
    pub fn parsed(explicit: &[(String, String)]) -> ShareConfig {
        ShareConfig::default().with(explicit)
    }

    /// What groups inherit from a broker that was started with these settings.
    pub fn started(configs: &[(String, String)]) -> ShareConfig {
        ShareConfig { delivery_count_limited: false, ..ShareConfig::parsed(configs) }
    }

    /// Explicit settings over these. What cannot be read counts as not set.
    pub fn with(self, explicit: &[(String, String)]) -> ShareConfig {
        let mut config = self;
        for (name, value) in explicit {
            let value = value.trim();
            let set = |field: &mut u32| *field = value.parse().unwrap_or(*field);
            let set_long = |field: &mut u64| *field = value.parse().unwrap_or(*field);
            match name.as_str() {
                "share.session.timeout.ms" => set(&mut config.session_timeout_ms),
                "share.heartbeat.interval.ms" => set(&mut config.heartbeat_interval_ms),
                "share.record.lock.duration.ms" => set(&mut config.record_lock_ms),
                "share.delivery.count.limit" => {
                    set(&mut config.delivery_count_limit);
                    config.delivery_count_limited = true;
                }
                "share.partition.max.record.locks" => set(&mut config.record_locks_max),
                "share.max.size" => set(&mut config.members_max),
                "share.renew.acknowledge.enable" => config.renew = !value.eq_ignore_ascii_case("false"),
                "share.auto.offset.reset" => config.reset = Reset::parsed(value).unwrap_or(config.reset),
                "share.isolation.level" => config.committed = value.eq_ignore_ascii_case("read_committed"),
                "bowline.share.redelivery.backoff.ms" => set_long(&mut config.backoff_ms),
                "bowline.share.redelivery.backoff.max.ms" => set_long(&mut config.backoff_max_ms),
                "errors.deadletterqueue.topic.name" => {
                    config.dead_letter_topic = (!value.is_empty()).then(|| value.to_owned());
                }
                "errors.deadletterqueue.copy.record.enable" => {
                    config.dead_letter_copies = value.eq_ignore_ascii_case("true");
                }
                "bowline.share.order.by.key" => config.by_key = value.eq_ignore_ascii_case("true"),
                "bowline.share.redelivery.order" => config.fresh_first = value == "last",
                _ => {}
            }
        }
        config
    }

    /// How often a record may come back before it is archived.
    pub fn returns_max(&self) -> u64 {
        u64::from(self.delivery_count_limit.saturating_sub(1))
    }

    pub fn lock(&self) -> Lock {
        Lock { ms: self.record_lock_ms.into(), cancels: false }
    }

    pub fn policy(&self) -> Policy {
        let (first_ms, max_ms) = (self.backoff_ms, self.backoff_max_ms.max(self.backoff_ms));
        Policy {
            window: self.record_locks_max,
            backoff: (first_ms > 0).then_some(Backoff { first_ms, max_ms }),
            fresh_first: self.fresh_first,
            committed: self.committed,
            by_key: self.by_key,
            dead_letters: match (&self.dead_letter_topic, self.dead_letter_copies) {
                (None, _) => DeadLetters::Nothing,
                (Some(_), false) => DeadLetters::Pointers,
                (Some(_), true) => DeadLetters::Copies,
            },
        }
    }
}

impl Reset {
    /// `earliest`, `latest` or `by_duration:` and a duration as ISO 8601 has it, in days, hours, minutes and seconds.
    pub fn parsed(text: &str) -> Option<Reset> {
        match text.to_ascii_lowercase().as_str() {
            "earliest" => Some(Reset::Earliest),
            "latest" => Some(Reset::Latest),
            other => other.strip_prefix("by_duration:").and_then(duration_ms).map(Reset::ByDuration),
        }
    }
}

/// `pNdTNhNmN.Ns` in lower case, ms; `None` if it is something else or too long for a number.
fn duration_ms(text: &str) -> Option<u64> {
    let (days, time) = match text.strip_prefix('p')?.split_once('t') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (text.strip_prefix('p')?, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut total = 0u64;
    let mut parts = |mut text: &str, units: &[(char, u64)]| -> Option<()> {
        for &(unit, ms) in units {
            let Some((number, rest)) = text.split_once(unit) else { continue };
            let (whole, fraction) = match number.split_once('.') {
                Some((whole, fraction)) if unit == 's' => (whole, fraction),
                Some(_) => return None,
                None => (number, ""),
            };
            if whole.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
                return None;
            }
            let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
            total = total.checked_add(whole.parse::<u64>().ok()?.checked_mul(ms)?)?;
            total = total.checked_add(thousandths.parse().ok()?)?;
            text = rest;
        }
        text.is_empty().then_some(())
    };
    parts(days, &[('d', 86_400_000)])?;
    parts(time, &[('h', 3_600_000), ('m', 60_000), ('s', 1_000)])?;
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_java_writes_them() {
        for (text, ms) in [
            ("by_duration:PT1H", Some(3_600_000)),
            ("by_duration:P1DT2H3M4.5S", Some(93_784_500)),
            ("by_duration:P2D", Some(172_800_000)),
            ("by_duration:pt0.001s", Some(1)),
            ("by_duration:PT", None),
            ("by_duration:P", None),
            ("by_duration:PT-1S", None),
            ("by_duration:PT1M1H", None),
            ("by_duration:PT1.5H", None),
            ("by_duration:P99999999999999999999D", None),
            ("by_duration:1H", None),
        ] {
            assert_eq!(Reset::parsed(text), ms.map(Reset::ByDuration), "{text}");
        }
        assert_eq!(Reset::parsed("earliest"), Some(Reset::Earliest));
        assert_eq!(Reset::parsed("none"), None);
    }

    #[test]
    fn settings_are_read() {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let config = ShareConfig::parsed(&[
            set("share.delivery.count.limit", "3"),
            set("share.record.lock.duration.ms", "15000"),
            set("bowline.share.redelivery.backoff.ms", "100"),
        ]);
        assert_eq!((config.returns_max(), config.delivery_count_limited), (2, true));
        assert_eq!(config.lock(), Lock { ms: 15_000, cancels: false });
        let backoff = config.policy().backoff.unwrap();
        assert_eq!([1, 2, 3, 20, 100].map(|times| backoff.after(times)), [100, 200, 400, 60_000, 60_000]);
        assert_eq!(ShareConfig::parsed(&[set("share.delivery.count.limit", "many")]).delivery_count_limit, 5);
    }
}
