//! OAUTHBEARER (RFC 7628): one message with a token, and a short farewell when it is not good.
//!
//! ```text
//! client                                          server
//!   n,,^Aauth=Bearer <token>^A^A            ─►
//!                                           ◄─    nothing, or [`INVALID_TOKEN`]
//!   ^A                                      ─►    (only after that)
//! ```

use crate::Refused;

/// The server's words about a token that is not good (section 3.2.2). The client acknowledges them, then it is refused.
pub const INVALID_TOKEN: &[u8] = br#"{"status":"invalid_token"}"#;

/// Ends a pair of the message, and the message.
const SEPARATOR: char = '\u{1}';

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Whom it wants to act for, escaped as SCRAM's names; empty: for the token's subject.
    pub authorized: &'a str,
    pub token: &'a str,
}

/// Reads the client's first message. Pairs other than `auth` (Kafka's extensions among them) are not used.
pub fn read(message: &[u8]) -> Result<Message<'_>, Refused> {
    let text = std::str::from_utf8(message).map_err(|_| Refused::Malformed)?;
    let (header, pairs) = text.split_once(SEPARATOR).ok_or(Refused::Malformed)?;
    let mut header = header.split(',');
    let (Some(binding), Some(authorized), Some(""), None) =
        (header.next(), header.next(), header.next(), header.next())
    else {
        return Err(Refused::Malformed);
    };
    if binding.starts_with("p=") {
        return Err(Refused::Unsupported);
    }
    let authorized = match authorized {
        "" => "",
        named => named.strip_prefix("a=").ok_or(Refused::Malformed)?,
    };
    if !matches!(binding, "n" | "y") {
        return Err(Refused::Malformed);
    }
    let pairs = pairs.strip_suffix(SEPARATOR).ok_or(Refused::Malformed)?;
    let mut found = None;
    for pair in pairs.split_terminator(SEPARATOR) {
        let (key, value) = pair.split_once('=').ok_or(Refused::Malformed)?;
        if key == "auth" && found.replace(value).is_some() {
            return Err(Refused::Malformed);
        }
    }
    let (scheme, token) = found.and_then(|value| value.split_once(' ')).ok_or(Refused::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refused::Malformed);
    }
    Ok(Message { authorized, token: token.trim() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        for (message, authorized) in [
            ("n,,\u{1}auth=Bearer a.b.c\u{1}\u{1}", ""),
            ("y,,\u{1}auth=bearer a.b.c\u{1}\u{1}", ""),
            ("n,a=ann,\u{1}host=h\u{1}port=1\u{1}auth=Bearer a.b.c\u{1}trace=x\u{1}\u{1}", "ann"),
        ] {
            let read = read(message.as_bytes()).ok().unwrap();
            assert_eq!((read.authorized, read.token), (authorized, "a.b.c"), "{message:?}");
        }
        for bad in [
            "",
            "\u{1}",
            "n,,",
            "n,,\u{1}\u{1}",
            "n,\u{1}auth=Bearer x\u{1}\u{1}",
            "n,b=x,\u{1}auth=Bearer x\u{1}\u{1}",
            "n,,\u{1}auth=Bearer\u{1}\u{1}",
            "n,,\u{1}auth=Basic x\u{1}\u{1}",
            "n,,\u{1}auth=Bearer x\u{1}auth=Bearer x\u{1}\u{1}",
            "n,,\u{1}auth\u{1}\u{1}",
            "n,,\u{1}auth=Bearer x",
        ] {
            assert_eq!(read(bad.as_bytes()).err(), Some(Refused::Malformed), "{bad:?}");
        }
        assert_eq!(read(b"p=x,,\x01auth=Bearer x\x01\x01").err(), Some(Refused::Unsupported));
    }
}
