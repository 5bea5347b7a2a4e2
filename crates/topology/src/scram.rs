//! What SCRAM knows of users, by mechanism; and the broker's secret, which makes up salts for those who are not there.
//!
//! A credential may belong to a name that is no AMQP user: Kafka's tools make them so. It goes with the user when that
//! is deleted, and when the user's password is replaced: an old password must not open what a new one is for.

use crate::Applied;
use crate::access::{GUEST, USERS_MAX};
use crate::refusal::refuse;
use crate::state::Topology;
use bowline_model::meta::{Reason, Rejection, ScramCredential, ScramMechanism};
use std::collections::BTreeMap;

/// Octets of a salt.
const SALT_BYTES_MAX: usize = 1024;

/// By user.
pub type ScramUsers = BTreeMap<Box<str>, BTreeMap<ScramMechanism, ScramCredential>>;

impl Topology {
    /// What a proof of `user`'s has to fit, if it may log in from there by this mechanism at all.
    pub fn scram_login(
        &self,
        user: &str,
        mechanism: ScramMechanism,
        from_loopback: bool,
    ) -> Option<&ScramCredential> {
        if user == GUEST && !self.lets_guest_in(from_loopback) {
            return None;
        }
        // As for passwords: what the configuration says of a name comes first.
        let users = match self.configured_scram.contains_key(user) {
            true => &self.configured_scram,
            false => &self.scram,
        };
        users.get(user)?.get(&mechanism)
    }

    /// Of the replicated state, without the users of the configuration; sorted by name.
    pub fn scram_users(&self) -> &ScramUsers {
        &self.scram
    }

    /// `None` until the first start has set it.
    pub fn secret(&self) -> Option<&[u8; 32]> {
        self.secret.as_ref()
    }

    /// SCRAM for the users of the node's configuration. Not part of the replicated state.
    pub fn set_configured_scram(&mut self, users: ScramUsers) {
        self.configured_scram = users;
    }

    pub(crate) fn decide_scram(
        &self,
        user: &str,
        put: &[(ScramMechanism, ScramCredential)],
        remove: &[ScramMechanism],
    ) -> Result<Option<Applied>, Rejection> {
        crate::names::validate("user", user)?;
        let present = self.scram.get(user);
        if let Some(missing) = remove.iter().find(|m| !present.is_some_and(|known| known.contains_key(m))) {
            let text = format!("user '{user}' has no credential for SCRAM with {missing:?}");
            return Err(refuse(Reason::NotFound, text));
        }
        if put.iter().any(|(mechanism, credential)| !is_well_formed(*mechanism, credential)) {
            let text = format!("a SCRAM credential of user '{user}' is not well formed");
            return Err(refuse(Reason::InvalidArgument, text));
        }
        if present.is_none() && self.scram.len() >= USERS_MAX {
            return Err(refuse(Reason::Limit, format!("user limit of {USERS_MAX} is reached")));
        }
        let same = remove.is_empty()
            && put.iter().all(|(mechanism, new)| present.and_then(|known| known.get(mechanism)) == Some(new));
        Ok(same.then_some(Applied::Unchanged))
    }

    pub(crate) fn alter_scram(
        &mut self,
        user: &str,
        put: &[(ScramMechanism, ScramCredential)],
        remove: &[ScramMechanism],
    ) {
        let known = self.scram.entry(user.into()).or_default();
        known.retain(|mechanism, _| !remove.contains(mechanism));
        known.extend(put.iter().cloned());
        if known.is_empty() {
            self.scram.remove(user);
        }
    }
}

fn is_well_formed(mechanism: ScramMechanism, credential: &ScramCredential) -> bool {
    let ScramCredential { salt, iterations, stored_key, server_key } = credential;
    (1..=SALT_BYTES_MAX).contains(&salt.len())
        && *iterations > 0
        && stored_key.len() == mechanism.hash_bytes()
        && server_key.len() == mechanism.hash_bytes()
}
