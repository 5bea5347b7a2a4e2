//! A connection's login: what has been agreed on, what comes next, how long it is good for.
//!
//! ```text
//! Idle ── SaslHandshake ──► Begun ── token ──► (Proof | Denied) ── token ──► Idle, logged in or refused
//! ```
//! The exchange is [`crate::handlers`]' work; what a login lets pass is [`crate::session`]'s.

use bowline_model::Principal;
use bowline_sasl::Mechanism;
use bowline_sasl::scram;
use std::sync::Arc;
use std::time::Instant;

#[derive(Default)]
pub struct Login {
    pub(crate) stage: Stage,
    /// The handshake had version 0: tokens come without headers until the exchange is over.
    pub(crate) bare_tokens: bool,
    /// Nothing but a login is served before there is one.
    pub(crate) is_demanded: bool,
    /// Whoever has logged in with SASL stays who it is for the rest of the connection.
    pub(crate) is_by_sasl: bool,
    /// Nothing but a new login is served from then on.
    pub(crate) ends: Option<Instant>,
}

#[derive(Default)]
pub(crate) enum Stage {
    #[default]
    Idle,
    Begun(Mechanism),
    /// SCRAM: the challenge is out.
    Proof(Box<scram::Exchange>, Mechanism),
    /// OAUTHBEARER: the client has been told, and acknowledges it.
    Denied,
}

impl Login {
    pub(crate) fn is_wanted(&self, now: Instant) -> bool {
        self.is_demanded || self.ends.is_some_and(|ends| ends <= now)
    }

    pub(crate) fn is_midway(&self) -> bool {
        !matches!(self.stage, Stage::Idle)
    }

    pub(crate) fn accept(&mut self, ends: Option<Instant>) {
        *self = Login { is_by_sasl: true, ends, ..Login::default() };
    }
}

/// What comes of a successful exchange.
pub struct Accepted {
    pub principal: Arc<Principal>,
    pub ends: Option<Instant>,
}
