//! Settings of what is no topic: groups, clients' metrics, brokers. They hold for a kind and a name, whether or not
//! something of that name exists yet, as in Kafka.

use crate::decide::Decision;
use crate::refusal::refuse;
use crate::state::Topology;
use crate::{Applied, config};
use bowline_model::meta::{ConfigKind, Reason};
use std::collections::BTreeMap;

/// Explicit settings by kind and name; never empty ones.
pub(crate) type Named = BTreeMap<(ConfigKind, String), Vec<(String, String)>>;

/// Things with settings of their own; each takes some hundred bytes.
pub const CONFIGURED_MAX: usize = 100_000;
/// Subscriptions to clients' metrics: each client is compared with all of them.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;
/// Longest name of such a thing, bytes.
pub const CONFIGURED_NAME_BYTES_MAX: usize = 4096;

impl Topology {
    /// The explicit settings, sorted by name; empty if there are none.
    pub fn configs(&self, kind: ConfigKind, name: &str) -> &[(String, String)] {
        self.named.get(&(kind, name.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// All things of this kind that have settings, by name.
    pub fn configured(&self, kind: ConfigKind) -> impl Iterator<Item = (&str, &[(String, String)])> {
        let all = self.named.iter().filter(move |((k, _), _)| *k == kind);
        all.map(|((_, name), configs)| (name.as_str(), configs.as_slice()))
    }

    pub(crate) fn decide_config(
        &self,
        kind: ConfigKind,
        name: &str,
        configs: &[(String, String)],
    ) -> Decision {
        match kind {
            ConfigKind::Group => {
                if name.is_empty() {
                    let text = "Default group resources are not allowed.";
                    return Err(refuse(Reason::InvalidArgument, text));
                }
                config::group::validate(configs)?;
            }
            ConfigKind::Broker => config::broker::validate(configs)?,
            ConfigKind::ClientMetrics => {
                config::client_metrics::validate(name, configs)?;
                let is_new = !configs.is_empty() && self.configs(kind, name).is_empty();
                if is_new && self.configured(kind).count() >= SUBSCRIPTIONS_MAX {
                    let text = format!("the limit of {SUBSCRIPTIONS_MAX} subscriptions is reached");
                    return Err(refuse(Reason::Limit, text));
                }
            }
        }
        if name.len() > CONFIGURED_NAME_BYTES_MAX {
            return Err(refuse(Reason::InvalidArgument, "the resource's name is too long"));
        }
        let known = self.configs(kind, name);
        if known.is_empty() && !configs.is_empty() && self.named.len() >= CONFIGURED_MAX {
            return Err(refuse(Reason::Limit, "too many resources have settings"));
        }
        Ok((known == config::normalised(configs)).then_some(Applied::Unchanged))
    }

    pub(crate) fn put_config(
        &mut self,
        kind: ConfigKind,
        name: &str,
        configs: &[(String, String)],
    ) -> Applied {
        let configs = config::normalised(configs);
        let key = (kind, name.to_owned());
        match configs.is_empty() {
            true => self.named.remove(&key),
            false => self.named.insert(key, configs.clone()),
        };
        if kind == ConfigKind::Broker {
            self.follow_broker_settings();
            let partitions = self.topics.iter().flat_map(|(_, topic)| topic.specs(0, &self.defaults));
            return Applied::Reconfigured { queues: Vec::new(), partitions: partitions.collect() };
        }
        Applied::Configured { kind, name: name.to_owned(), configs }
    }

    /// What topics inherit follows from what is set for all brokers (the empty name) and then for the one.
    pub(crate) fn follow_broker_settings(&mut self) {
        let broker = self.named.iter().filter(|((kind, _), _)| *kind == ConfigKind::Broker);
        self.defaults.change(broker.map(|(_, configs)| configs.as_slice()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Check, Command, Defaults};
    use bowline_model::SessionId;

    fn put(value: Option<&str>) -> Command {
        let configs = value.map(|v| ("consumer.session.timeout.ms".to_owned(), v.to_owned()));
        Command::ConfigPut {
            kind: ConfigKind::Group,
            name: "g".into(),
            configs: configs.into_iter().collect(),
        }
    }

    #[test]
    fn topics_inherit_what_the_broker_is_set_to() {
        let put = |name: &str, setting: &str, value: &str| Command::ConfigPut {
            kind: ConfigKind::Broker,
            name: name.into(),
            configs: vec![(setting.into(), value.into())],
        };
        let mut topology = Topology::new(1, Defaults::default());
        for (setting, value) in [("log.retention.ms", "soon"), ("num.io.threads", "8"), ("retention.ms", "5")]
        {
            assert!(matches!(topology.check(&put("", setting, value), SessionId(1)), Check::Refuse(_)));
        }
        topology.apply(0, &put("", "log.retention.ms", "5000")).unwrap();
        topology.apply(0, &put("1", "message.max.bytes", "700")).unwrap();
        let restored = Topology::restore(&topology.checkpoint(), Defaults::default()).unwrap();
        for topology in [&topology, &restored] {
            let parsed = config::parsed(&[], topology.defaults());
            assert_eq!((parsed.partition.retention_ms, parsed.max_message_bytes), (Some(5000), 700));
            let own = [("retention.ms".to_owned(), "9".to_owned())];
            assert_eq!(config::parsed(&own, topology.defaults()).partition.retention_ms, Some(9));
        }
        topology.apply(0, &put("1", "log.retention.ms", "6000")).unwrap();
        let parsed = config::parsed(&[], topology.defaults());
        assert_eq!(parsed.partition.retention_ms, Some(6000), "one broker's own goes before all brokers'");
        assert_eq!(parsed.max_message_bytes, 1_048_588, "settings are replaced as a whole");
    }

    #[test]
    fn settings_of_a_group_are_kept_and_forgotten() {
        let mut topology = Topology::new(1, Defaults::default());
        assert!(matches!(topology.check(&put(Some("1")), SessionId(1)), Check::Refuse(_)));
        assert_eq!(topology.check(&put(None), SessionId(1)), Check::Done(Applied::Unchanged));
        topology.apply(0, &put(Some("50000"))).unwrap();
        assert_eq!(topology.check(&put(Some("50000")), SessionId(1)), Check::Done(Applied::Unchanged));
        let restored = Topology::restore(&topology.checkpoint(), Defaults::default()).unwrap();
        let found: Vec<_> = restored.configured(ConfigKind::Group).collect();
        assert_eq!(found, [("g", &[("consumer.session.timeout.ms".to_owned(), "50000".to_owned())][..])]);
        topology.apply(0, &put(None)).unwrap();
        assert_eq!(topology.configs(ConfigKind::Group, "g"), []);
        assert_eq!(topology.checkpoint(), Topology::new(1, Defaults::default()).checkpoint());
    }

    #[test]
    fn subscriptions_to_metrics_are_kept_bounded_and_forgotten() {
        let put = |name: &str, interval: &[&str]| Command::ConfigPut {
            kind: ConfigKind::ClientMetrics,
            name: name.into(),
            configs: interval.iter().map(|ms| ("interval.ms".to_owned(), (*ms).to_owned())).collect(),
        };
        let mut topology = Topology::new(1, Defaults::default());
        assert!(matches!(topology.check(&put("m", &["1"]), SessionId(1)), Check::Refuse(_)));
        assert!(matches!(topology.check(&put("", &["1000"]), SessionId(1)), Check::Refuse(_)));
        for n in 0..SUBSCRIPTIONS_MAX {
            topology.apply(0, &put(&n.to_string(), &["1000"])).unwrap();
        }
        let refused = topology.check(&put("one too many", &["1000"]), SessionId(1));
        assert!(matches!(refused, Check::Refuse(rejection) if rejection.reason == Reason::Limit));
        let restored = Topology::restore(&topology.checkpoint(), Defaults::default()).unwrap();
        assert_eq!(restored.configured(ConfigKind::ClientMetrics).count(), SUBSCRIPTIONS_MAX);
        assert_eq!(restored.configs(ConfigKind::ClientMetrics, "7"), [("interval.ms".into(), "1000".into())]);
        // Who is there already may change, and what is gone makes room.
        topology.apply(0, &put("7", &["2000"])).unwrap();
        topology.apply(0, &put("8", &[])).unwrap();
        topology.apply(0, &put("one too many", &["1000"])).unwrap();
    }
}
