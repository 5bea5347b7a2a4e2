//! What the settings of all subscriptions mean for one client.

use super::instances::Plan;
use crate::catalog::Catalog;
use bowline_codec_kafka::Uuid;
use bowline_codec_kafka::checksum::Crc32c;
use bowline_model::meta::ConfigKind;
use bowline_topology::config::client_metrics::{ALL_METRICS, Client, INTERVAL_MS_DEFAULT, Subscription};
use std::collections::BTreeSet;
use std::time::Duration;

/// Settings by the subscription's name.
type Raw = Vec<(String, Vec<(String, String)>)>;

/// All subscriptions, at one version of the topology.
#[derive(Debug, Default)]
pub struct Subscriptions {
    seen: Option<u64>,
    raw: Raw,
    list: Vec<Subscription>,
    version: u64,
}

/// What is wanted of one client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// What names begin with, sorted; [`ALL_METRICS`] alone for all, and nothing at all if no subscription is for the
    /// client.
    pub metrics: Vec<String>,
    pub interval_ms: u32,
    /// Changes when the others do.
    pub subscription_id: i32,
    version: u64,
}

impl Subscriptions {
    /// Anew, if the topology has moved. Patterns are compiled again only if a subscription has changed.
    pub fn refreshed(&self, catalog: &dyn Catalog) -> Option<Subscriptions> {
        let seen = catalog.version();
        if self.seen == Some(seen) {
            return None;
        }
        let mut raw = Raw::new();
        catalog.look(&mut |topology| {
            let all = topology.configured(ConfigKind::ClientMetrics);
            raw = all.map(|(name, configs)| (name.to_owned(), configs.to_vec())).collect();
        });
        let (list, version) = match raw == self.raw {
            true => (self.list.clone(), self.version),
            false => {
                let list = raw.iter().filter_map(|(_, configs)| Subscription::parsed(configs));
                (list.collect(), self.version + 1)
            }
        };
        Some(Subscriptions { seen: Some(seen), raw, list, version })
    }

    /// Goes up when a subscription changes.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The metrics of all subscriptions that are for the client, as often as the most frequent says.
    pub fn wanted(&self, id: Uuid, client: &Client<'_>) -> Wanted {
        let mut interval_ms = INTERVAL_MS_DEFAULT;
        let mut metrics = BTreeSet::new();
        for subscription in self.list.iter().filter(|subscription| subscription.is_for(client)) {
            interval_ms = interval_ms.min(subscription.interval_ms);
            metrics.extend(subscription.metrics.iter().map(String::as_str));
        }
        if metrics.contains(ALL_METRICS) {
            metrics = BTreeSet::from([ALL_METRICS]);
        }
        let mut crc = Crc32c::new();
        for metric in &metrics {
            crc.update(metric.as_bytes());
            crc.update(b",");
        }
        crc.update(&interval_ms.to_be_bytes());
        Wanted {
            metrics: metrics.into_iter().map(str::to_owned).collect(),
            interval_ms,
            // Of each client its own, as KIP-714 has it.
            subscription_id: (crc.finish() ^ folded(id)) as i32,
            version: self.version,
        }
    }
}

impl Wanted {
    pub fn plan(&self) -> Plan {
        Plan {
            subscription_id: self.subscription_id,
            interval: Duration::from_millis(self.interval_ms.into()),
            version: self.version,
        }
    }
}

fn folded(id: Uuid) -> u32 {
    let wide = id.as_u128();
    (0..4).fold(0, |folded, word| folded ^ (wide >> (32 * word)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client<'static> = Client {
        instance_id: "i",
        client_id: Some("c"),
        software_name: "librdkafka",
        software_version: "2.6.0",
        source_address: "127.0.0.1",
        source_port: "9",
    };

    fn of(settings: &[&[(&str, &str)]]) -> Subscriptions {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let parsed =
            |one: &&[(&str, &str)]| Subscription::parsed(&one.iter().map(owned).collect::<Vec<_>>()).unwrap();
        Subscriptions { list: settings.iter().map(parsed).collect(), ..Subscriptions::default() }
    }

    #[test]
    fn the_union_of_the_metrics_at_the_shortest_interval() {
        let all = of(&[
            &[("metrics", "b,a"), ("interval.ms", "2000")],
            &[("metrics", "c,a"), ("interval.ms", "1000"), ("match", "client_id=c")],
            &[("metrics", "d"), ("interval.ms", "100"), ("match", "client_id=other")],
        ]);
        let wanted = all.wanted(Uuid([1; 16]), &CLIENT);
        assert_eq!((wanted.metrics, wanted.interval_ms), (vec!["a".into(), "b".into(), "c".into()], 1000));
        let every = of(&[&[("metrics", "b")], &[("metrics", "*,a")]]).wanted(Uuid([1; 16]), &CLIENT);
        assert_eq!(every.metrics, [ALL_METRICS], "all is all");
        let nothing = of(&[&[("metrics", "*"), ("interval.ms", "100"), ("match", "client_id=other")]]);
        let nothing = nothing.wanted(Uuid([1; 16]), &CLIENT);
        assert_eq!((nothing.metrics, nothing.interval_ms), (vec![], INTERVAL_MS_DEFAULT));
        // An interval alone asks for nothing, but that often.
        let alone = of(&[&[("interval.ms", "500")]]).wanted(Uuid([1; 16]), &CLIENT);
        assert_eq!((alone.metrics, alone.interval_ms), (vec![], 500));
    }

    #[test]
    fn the_subscription_id_follows_what_is_wanted_and_who_is_asked() {
        let id = |settings: &[&[(&str, &str)]], instance| {
            of(settings).wanted(Uuid([instance; 16]), &CLIENT).subscription_id
        };
        let one = id(&[&[("metrics", "a,b")]], 1);
        assert_eq!(one, id(&[&[("metrics", "b")], &[("metrics", "a")]], 1), "the same is wanted");
        // (16 equal octets fold to nothing.)
        let other = of(&[&[("metrics", "a,b")]]).wanted(Uuid::from_u128(7), &CLIENT).subscription_id;
        let others = [
            id(&[&[("metrics", "a,bc")]], 1),
            id(&[&[("metrics", "a,b"), ("interval.ms", "100")]], 1),
            other,
        ];
        assert!(!others.contains(&one), "{one} {others:?}");
    }
}
