//! PLAIN (RFC 4616): authorization identity, NUL, user, NUL, password.

use crate::Refused;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub user: &'a str,
    pub password: &'a [u8],
}

/// Reads the one message. The authorization identity is empty or the user.
pub fn read(message: &[u8]) -> Result<Credentials<'_>, Refused> {
    let mut parts = message.split(|octet| *octet == 0);
    let (Some(authorized), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused::Malformed);
    };
    let user = std::str::from_utf8(user).map_err(|_| Refused::Malformed)?;
    if user.is_empty() || password.is_empty() {
        return Err(Refused::Malformed);
    }
    match authorized.is_empty() || authorized == user.as_bytes() {
        true => Ok(Credentials { user, password }),
        false => Err(Refused::ActsForAnother),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        for good in [&b"\0ann\0pw"[..], b"ann\0ann\0pw"] {
            let read = read(good).ok().unwrap();
            assert_eq!((read.user, read.password), ("ann", &b"pw"[..]));
        }
        for bad in [&b""[..], b"ann", b"\0ann", b"\0\0pw", b"\0ann\0", b"\0ann\0pw\0", b"\0\xff\0pw"] {
            assert_eq!(read(bad).err(), Some(Refused::Malformed), "{bad:?}");
        }
        assert_eq!(read(b"root\0ann\0pw").err(), Some(Refused::ActsForAnother));
    }
}
