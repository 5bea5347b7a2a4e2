//! Client quotas: kept, and found for whoever does something. Front ends enforce them.
//!
//! A quota of bytes or partitions is looked for in Kafka's order, and the first that is there counts:
//!
//! | user | client id | counted together |
//! |---|---|---|
//! | named | named | this client id of this user |
//! | named | default | this client id of this user |
//! | named | | this user |
//! | default | named | this client id of this user |
//! | default | default | this client id of this user |
//! | default | | this user |
//! | | named | this client id |
//! | | default | this client id |

use crate::refusal::refuse;
use crate::state::Topology;
use bowline_model::meta::{Reason, Rejection};
use bowline_model::quota::{QuotaEntity, QuotaKey};
use std::collections::BTreeMap;

/// Entities that have quotas.
pub const QUOTA_ENTITIES_MAX: usize = 100_000;
/// Octets of a user or client id.
const NAME_BYTES_MAX: usize = 4096;

/// What an entity may use, a second.
pub type Limits = BTreeMap<QuotaKey, f64>;

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Quotas {
    entities: BTreeMap<QuotaEntity, Limits>,
}

/// Whose use is counted together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shared {
    pub user: bool,
    pub client_id: bool,
}

/// How the table above names entities; `true` is by name, `false` by default.
const ORDER: [(Option<bool>, Option<bool>); 8] = [
    (Some(true), Some(true)),
    (Some(true), Some(false)),
    (Some(true), None),
    (Some(false), Some(true)),
    (Some(false), Some(false)),
    (Some(false), None),
    (None, Some(true)),
    (None, Some(false)),
];

impl Quotas {
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// Sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&QuotaEntity, &Limits)> {
        self.entities.iter()
    }

    /// What `user` may use by `client_id`, and with whom it shares that.
    pub fn of_client(&self, key: QuotaKey, user: &str, client_id: &str) -> Option<(f64, Shared)> {
        if self.entities.is_empty() {
            return None;
        }
        let named = |how: Option<bool>, name: &str| how.map(|named| named.then(|| name.to_owned()));
        ORDER.into_iter().find_map(|(by_user, by_client_id)| {
            let entity = QuotaEntity {
                user: named(by_user, user),
                client_id: named(by_client_id, client_id),
                ip: None,
            };
            let limit = self.entities.get(&entity)?.get(&key)?;
            Some((*limit, Shared { user: by_user.is_some(), client_id: by_client_id.is_some() }))
        })
    }

    /// What the address may use.
    pub fn of_address(&self, key: QuotaKey, ip: &str) -> Option<f64> {
        if self.entities.is_empty() {
            return None;
        }
        let limit = |name: Option<String>| {
            let entity = QuotaEntity { ip: Some(name), ..QuotaEntity::default() };
            self.entities.get(&entity)?.get(&key).copied()
        };
        limit(Some(ip.to_owned())).or_else(|| limit(None))
    }

    /// True if nothing would change.
    pub(crate) fn check_set(
        &self,
        entity: &QuotaEntity,
        changes: &[(QuotaKey, Option<f64>)],
    ) -> Result<bool, Rejection> {
        check(entity, changes)?;
        let known = self.entities.get(entity);
        if known.is_none() && self.entities.len() >= QUOTA_ENTITIES_MAX {
            let text = format!("the limit of {QUOTA_ENTITIES_MAX} entities with quotas is reached");
            return Err(refuse(Reason::Limit, text));
        }
        let now = |key: &QuotaKey| known.and_then(|limits| limits.get(key)).copied();
        Ok(changes.iter().all(|(key, value)| now(key) == *value))
    }

    pub(crate) fn set(&mut self, entity: &QuotaEntity, changes: &[(QuotaKey, Option<f64>)]) {
        let limits = self.entities.entry(entity.clone()).or_default();
        for (key, value) in changes {
            match value {
                Some(value) => drop(limits.insert(*key, *value)),
                None => drop(limits.remove(key)),
            }
        }
        if limits.is_empty() {
            self.entities.remove(entity);
        }
    }
}

impl Topology {
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }
}

/// Whether these quotas can be meant.
///
/// # Errors
/// `InvalidArgument` for what cannot.
pub fn check(entity: &QuotaEntity, changes: &[(QuotaKey, Option<f64>)]) -> Result<(), Rejection> {
    let invalid = |text: String| Err(refuse(Reason::InvalidArgument, text));
    let of_client = entity.user.is_some() || entity.client_id.is_some();
    if of_client == entity.ip.is_some() {
        return invalid("Invalid quota entity combination: user, client-id, both, or ip".into());
    }
    let names = [&entity.user, &entity.client_id, &entity.ip];
    for name in names.into_iter().flatten().flatten() {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return invalid("A quota entity's name is empty or too long".into());
        }
    }
    if let Some(Some(ip)) = &entity.ip
        && ip.parse::<std::net::IpAddr>().is_err()
    {
        return invalid(format!("{ip} is not a valid IP address"));
    }
    for (key, value) in changes {
        let name = key.name();
        if (*key == QuotaKey::ConnectionCreationRate) != entity.ip.is_some() {
            return invalid(format!("Invalid configuration key {name} for this kind of entity"));
        }
        let Some(value) = value else { continue };
        if !value.is_finite() || *value <= 0.0 {
            return invalid(format!("Quota {name} must be greater than 0"));
        }
        let whole = !matches!(key, QuotaKey::ControllerMutationRate | QuotaKey::RequestPercentage);
        if whole && (value - value.round()).abs() > 1e-6 {
            return invalid(format!("{name} cannot be a fractional value"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: QuotaKey = QuotaKey::ProducerByteRate;

    fn entity(user: Option<Option<&str>>, client_id: Option<Option<&str>>) -> QuotaEntity {
        let owned = |name: Option<Option<&str>>| name.map(|name| name.map(str::to_owned));
        QuotaEntity { user: owned(user), client_id: owned(client_id), ip: None }
    }

    /// All eight levels are set; taking the winner away lets the next one win.
    #[test]
    fn precedence_is_kafkas() {
        let named = |name| Some(Some(name));
        let order = [
            (entity(named("u"), named("c")), (true, true)),
            (entity(named("u"), Some(None)), (true, true)),
            (entity(named("u"), None), (true, false)),
            (entity(Some(None), named("c")), (true, true)),
            (entity(Some(None), Some(None)), (true, true)),
            (entity(Some(None), None), (true, false)),
            (entity(None, named("c")), (false, true)),
            (entity(None, Some(None)), (false, true)),
        ];
        let mut quotas = Quotas::default();
        for (at, (entity, _)) in order.iter().enumerate() {
            quotas.set(entity, &[(RATE, Some(at as f64 + 1.0))]);
        }
        // Of others: nothing of theirs counts.
        quotas.set(&entity(named("v"), named("c")), &[(RATE, Some(99.0))]);
        quotas.set(&entity(named("u"), named("c")), &[(QuotaKey::ConsumerByteRate, Some(99.0))]);
        for (at, (entity, (user, client_id))) in order.iter().enumerate() {
            let expected = (at as f64 + 1.0, Shared { user: *user, client_id: *client_id });
            assert_eq!(quotas.of_client(RATE, "u", "c"), Some(expected));
            quotas.set(entity, &[(RATE, None)]);
        }
        assert_eq!(quotas.of_client(RATE, "u", "c"), None);
        assert_eq!(quotas.of_client(RATE, "v", "c").map(|found| found.0), Some(99.0));
    }

    #[test]
    fn addresses_have_defaults_too() {
        let ip = |name: Option<&str>| QuotaEntity { ip: Some(name.map(str::to_owned)), ..Default::default() };
        let key = QuotaKey::ConnectionCreationRate;
        let mut quotas = Quotas::default();
        quotas.set(&ip(None), &[(key, Some(5.0))]);
        quotas.set(&ip(Some("10.0.0.1")), &[(key, Some(7.0))]);
        assert_eq!(quotas.of_address(key, "10.0.0.1"), Some(7.0));
        assert_eq!(quotas.of_address(key, "10.0.0.2"), Some(5.0));
        quotas.set(&ip(None), &[(key, None)]);
        assert_eq!(quotas.of_address(key, "10.0.0.2"), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let user = entity(Some(Some("u")), None);
        let ip = QuotaEntity { ip: Some(Some("10.0.0.1".into())), ..Default::default() };
        let both = QuotaEntity { ip: Some(None), ..user.clone() };
        let nowhere = QuotaEntity { ip: Some(Some("there".into())), ..Default::default() };
        let empty = entity(Some(Some("")), None);
        let connections = QuotaKey::ConnectionCreationRate;
        assert!(check(&user, &[(RATE, Some(1.0)), (QuotaKey::ControllerMutationRate, Some(0.5))]).is_ok());
        assert!(check(&user, &[(QuotaKey::RequestPercentage, Some(12.5))]).is_ok());
        assert!(check(&ip, &[(QuotaKey::RequestPercentage, Some(12.5))]).is_err());
        assert!(check(&ip, &[(connections, Some(1.0))]).is_ok());
        for (entity, change) in [
            (QuotaEntity::default(), (RATE, Some(1.0))),
            (both, (RATE, Some(1.0))),
            (nowhere, (connections, Some(1.0))),
            (empty, (RATE, Some(1.0))),
            (user.clone(), (connections, Some(1.0))),
            (ip, (RATE, Some(1.0))),
            (user.clone(), (RATE, Some(0.0))),
            (user.clone(), (RATE, Some(-1.0))),
            (user.clone(), (RATE, Some(f64::NAN))),
            (user, (RATE, Some(1.5))),
        ] {
            assert_eq!(check(&entity, &[change]).unwrap_err().reason, Reason::InvalidArgument, "{entity:?}");
        }
    }

    #[test]
    fn an_entity_without_quotas_is_forgotten() {
        let user = entity(Some(Some("u")), None);
        let mut quotas = Quotas::default();
        quotas.set(&user, &[(RATE, Some(1.0))]);
        assert_eq!(quotas.check_set(&user, &[(RATE, Some(1.0))]), Ok(true));
        assert_eq!(quotas.check_set(&user, &[(RATE, None)]), Ok(false));
        quotas.set(&user, &[(RATE, None)]);
        assert!(quotas.is_empty());
    }
}
