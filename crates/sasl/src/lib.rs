//! SASL mechanisms: tokens in, tokens and verdicts out. No I/O, clock or randomness: nonces, keys and the time are
//! inputs.
//!
//! * [`plain`]: user and password in one message (RFC 4616).
//! * [`scram`]: a proof of the password that does not tell it (RFC 5802, RFC 7677).
//! * [`oauth`]: a token of somebody else's (RFC 7628), which [`jwt`] checks (RFC 7519).
//!
//! What comes from a client is bounded by the caller ([`TOKEN_BYTES_MAX`]) before it comes here, and nothing that it
//! may say makes this panic. What a refusal tells the client is the caller's to choose; the reasons given here are for
//! logs.

pub mod jwt;
pub mod oauth;
pub mod plain;
pub mod scram;

use aws_lc_rs::hmac;
use bowline_model::meta::ScramMechanism;

/// No token of a client is larger, octets. Tokens of OAUTHBEARER, the largest, are a few KiB in practice.
pub const TOKEN_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    Plain,
    Scram(ScramMechanism),
    OAuthBearer,
}

impl Mechanism {
    /// In the order in which servers offer them: what tells least to a listener comes first.
    pub const ALL: [Mechanism; 4] = [
        Mechanism::Scram(ScramMechanism::Sha512),
        Mechanism::Scram(ScramMechanism::Sha256),
        Mechanism::OAuthBearer,
        Mechanism::Plain,
    ];

    /// As registered with IANA.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(ScramMechanism::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(ScramMechanism::Sha512) => "SCRAM-SHA-512",
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }

    pub fn named(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }
}

/// A value that only who has the key can tell, of all the parts: for remembering a secret without keeping it.
pub fn fingerprint(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        // The length first: what is told apart by the caller stays apart.
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// Takes as long for a wrong first octet as for a wrong last one; the length is not kept secret.
pub fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// Why a login came to nothing, for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Not a message of this mechanism.
    Malformed,
    /// It wants to act for somebody else than who it is.
    ActsForAnother,
    /// Channel binding, delegation tokens, extensions that must be understood.
    Unsupported,
    WrongCredentials,
    Token(jwt::Bad),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::Malformed => f.write_str("malformed message"),
            Refused::ActsForAnother => f.write_str("authorization identity differs from the user"),
            Refused::Unsupported => f.write_str("the message asks for what is not supported"),
            Refused::WrongCredentials => f.write_str("wrong credentials"),
            Refused::Token(bad) => write!(f, "token: {bad}"),
        }
    }
}
