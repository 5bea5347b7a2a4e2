//! The SASL mechanisms PLAIN, AMQPLAIN and EXTERNAL.

use bowline_codec_amqp::TableRef;

/// What connection.start offers. EXTERNAL only to clients whose certificate names a user.
pub fn mechanisms(is_certified: bool) -> &'static [u8] {
    if is_certified { b"EXTERNAL PLAIN AMQPLAIN" } else { b"PLAIN AMQPLAIN" }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub user: &'a str,
    pub password: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    AmqPlain,
    /// The user is who the TLS certificate says (RFC 4422, appendix A); the response says nothing.
    External,
}

impl Mechanism {
    pub fn named(name: &[u8]) -> Option<Mechanism> {
        match name {
            b"PLAIN" => Some(Mechanism::Plain),
            b"AMQPLAIN" => Some(Mechanism::AmqPlain),
            b"EXTERNAL" => Some(Mechanism::External),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::AmqPlain => "AMQPLAIN",
            Mechanism::External => "EXTERNAL",
        }
    }

    /// `None` when the response is malformed, or has no credentials in it.
    pub fn read(self, response: &[u8]) -> Option<Credentials<'_>> {
        match self {
            Mechanism::Plain => plain(response),
            Mechanism::AmqPlain => amqplain(response),
            Mechanism::External => None,
        }
    }
}

/// RFC 4616: authorization identity, NUL, user, NUL, password. The first may be empty and is not used.
fn plain(response: &[u8]) -> Option<Credentials<'_>> {
    let mut parts = response.splitn(3, |octet| *octet == 0);
    let _authorization = parts.next()?;
    let user = std::str::from_utf8(parts.next()?).ok()?;
    let password = parts.next()?;
    (!user.is_empty()).then_some(Credentials { user, password })
}

/// A field table without its length: LOGIN and PASSWORD as long strings.
fn amqplain(response: &[u8]) -> Option<Credentials<'_>> {
    use bowline_codec_amqp::Value;
    let table = TableRef::parse(response).ok()?;
    let user = table.get("LOGIN")?.as_str()?;
    match table.get("PASSWORD")? {
        Value::LongStr(password) => Some(Credentials { user, password }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_codec_amqp::FieldTable;

    #[test]
    fn responses() {
        let expected = Some(Credentials { user: "ann", password: b"s\0t" });
        assert_eq!(Mechanism::Plain.read(b"\0ann\0s\0t"), expected);
        assert_eq!(Mechanism::Plain.read(b"other\0ann\0s\0t"), expected);
        assert_eq!(Mechanism::Plain.read(b"ann\0st"), None);
        assert_eq!(Mechanism::Plain.read(b""), None);
        let table = FieldTable::new().with("LOGIN", "ann").with("PASSWORD", "s\0t").to_bytes();
        assert_eq!(Mechanism::AmqPlain.read(&table), expected);
        assert_eq!(Mechanism::AmqPlain.read(b"\x05LOGIN"), None);
    }
}
