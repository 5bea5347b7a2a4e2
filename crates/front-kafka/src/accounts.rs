//! Who may log in, out of the node's topology: the same users as AMQP's, and SCRAM credentials.

use bowline_model::meta::{PasswordHash, ScramCredential, ScramMechanism};
use bowline_replica::Node;

/// A user and the mechanisms that it has credentials for, with their iterations.
pub type ScramUser = (String, Vec<(ScramMechanism, u32)>);

/// Read access to the users of the node. Crossed by tests, which have no node.
pub trait Accounts: Send + Sync {
    /// The hash that the password has to fit, if `user` may log in from there at all.
    fn password(&self, user: &str, from_loopback: bool) -> Option<PasswordHash>;
    /// What a proof has to fit.
    fn scram(&self, user: &str, mechanism: ScramMechanism, from_loopback: bool) -> Option<ScramCredential>;
    /// Ordered by name, without the users of the configuration.
    fn scram_users(&self) -> Vec<ScramUser>;
    /// As [`Accounts::scram_users`], one of them.
    fn scram_user(&self, user: &str) -> Option<ScramUser>;
    /// What nobody outside knows.
    fn secret(&self) -> [u8; 32];
}

impl Accounts for Node {
    fn password(&self, user: &str, from_loopback: bool) -> Option<PasswordHash> {
        self.topology().login(user, from_loopback)
    }

    fn scram(&self, user: &str, mechanism: ScramMechanism, from_loopback: bool) -> Option<ScramCredential> {
        self.topology().scram_login(user, mechanism, from_loopback).cloned()
    }

    fn scram_users(&self) -> Vec<ScramUser> {
        let topology = self.topology();
        let users = topology.scram_users().iter();
        users.map(|(name, known)| (name.to_string(), mechanisms(known))).collect()
    }

    fn scram_user(&self, user: &str) -> Option<ScramUser> {
        let topology = self.topology();
        let known = topology.scram_users().get(user)?;
        Some((user.to_owned(), mechanisms(known)))
    }

    fn secret(&self) -> [u8; 32] {
        self.topology().secret().copied().unwrap_or_default()
    }
}

fn mechanisms<'a>(
    known: impl IntoIterator<Item = (&'a ScramMechanism, &'a ScramCredential)>,
) -> Vec<(ScramMechanism, u32)> {
    known.into_iter().map(|(mechanism, credential)| (*mechanism, credential.iterations)).collect()
}
