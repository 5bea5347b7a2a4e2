//! Who is at the other end of a connection, as access rules name it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The only kind that Kafka's clients and ours have.
const USER: &str = "User";
/// The name of whoever did not say who it is.
const ANONYMOUS: &str = "ANONYMOUS";

/// Kafka's notion of an identity, written `User:alice`. Its kind is `User` for everybody who has logged in, by whatever
/// mechanism, and for who has not: `User:ANONYMOUS`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Principal {
    pub kind: String,
    pub name: String,
}

impl Principal {
    pub fn user(name: impl Into<String>) -> Principal {
        Principal { kind: USER.to_owned(), name: name.into() }
    }

    pub fn anonymous() -> Principal {
        Principal::user(ANONYMOUS)
    }

    pub fn is_anonymous(&self) -> bool {
        self.kind == USER && self.name == ANONYMOUS
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

/// Text that is no `kind:name`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoPrincipal;

impl FromStr for Principal {
    type Err = NoPrincipal;

    /// Everything behind the first colon is the name: it may hold colons, as distinguished names do.
    fn from_str(text: &str) -> Result<Principal, NoPrincipal> {
        match text.split_once(':') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
                Ok(Principal { kind: kind.to_owned(), name: name.to_owned() })
            }
            _ => Err(NoPrincipal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_as_kafka_does() {
        let app = Principal::user("CN=a:b,O=x");
        assert_eq!((app.to_string().as_str(), app.is_anonymous()), ("User:CN=a:b,O=x", false));
        assert_eq!("User:CN=a:b,O=x".parse(), Ok(app));
        assert_eq!("User:ANONYMOUS".parse(), Ok(Principal::anonymous()));
        for bad in ["", "alice", ":alice", "User:"] {
            assert_eq!(bad.parse::<Principal>(), Err(NoPrincipal), "{bad}");
        }
    }
}
