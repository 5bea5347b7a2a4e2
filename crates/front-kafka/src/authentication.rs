//! How clients of a listener log in: who may do without, which mechanisms there are, how long a login lasts.

use crate::passwords::Passwords;
use bowline_sasl::{Mechanism, jwt};
use std::sync::Arc;
use std::time::Duration;

/// Settings of a listener. Clones share the tokens' keys and the memory of passwords.
#[derive(Clone, Default)]
pub struct Authentication {
    pub anonymous: Anonymous,
    /// A login lasts this long, then the client has to log in anew on its connection (Kafka's
    /// `connections.max.reauth.ms`, KIP-368). `None`: as long as the connection.
    pub lasts: Option<Duration>,
    /// Checks the tokens of OAUTHBEARER, which is offered only with it.
    pub tokens: Option<Arc<jwt::Verifier>>,
    pub passwords: Arc<Passwords>,
}

/// Who is served without a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Anonymous {
    /// Clients on the same machine, as RabbitMQ lets in its user guest.
    #[default]
    Loopback,
    Nobody,
    Everybody,
}

impl Anonymous {
    pub fn lets_in(self, from_loopback: bool) -> bool {
        match self {
            Anonymous::Loopback => from_loopback,
            Anonymous::Nobody => false,
            Anonymous::Everybody => true,
        }
    }
}

impl Authentication {
    pub fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        let has_tokens = self.tokens.is_some();
        Mechanism::ALL.into_iter().filter(move |m| *m != Mechanism::OAuthBearer || has_tokens)
    }
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication")
            .field("anonymous", &self.anonymous)
            .field("lasts", &self.lasts)
            .finish()
    }
}
