//! SCRAM (RFC 5802; with SHA-256: RFC 7677): the server's side, and credentials out of passwords.
//!
//! ```text
//! client                                  server
//!   n,,n=user,r=<nonce>             ─►                       First::read
//!                                   ◄─    r=<nonce><more>,s=<salt>,i=<iterations>     First::challenge
//!   c=biws,r=<nonce><more>,p=<proof>─►                       Exchange::finish
//!                                   ◄─    v=<the server's signature>
//! ```
//! Without channel binding, as all clients of Kafka. Names and passwords are taken as they are: SASLprep (RFC 4013),
//! which changes some that are not ASCII, is not applied, as in Kafka.

use crate::{Refused, equal_in_constant_time, fingerprint};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64ct::{Base64, Encoding};
use bowline_model::meta::{ScramCredential, ScramMechanism};
use std::num::NonZeroU32;

/// What a client may choose, and what we choose (RFC 7677, section 4: at least 4096).
pub const ITERATIONS_MIN: u32 = 4096;
/// Every login costs the client this much work: an attack on clients otherwise.
pub const ITERATIONS_MAX: u32 = 16_384;
/// Octets of a salt that we choose.
const SALT_BYTES: usize = 16;
/// Characters of the part of the nonce that a client chooses.
const NONCE_CHARS_MAX: usize = 1024;

/// What is kept of a password. Takes milliseconds on purpose.
pub fn derive(
    mechanism: ScramMechanism,
    password: &[u8],
    salt: &[u8],
    iterations: NonZeroU32,
) -> ScramCredential {
    of_salted(mechanism, &salted(mechanism, password, salt, iterations), salt, iterations.get())
}

/// What is kept of a password that was salted elsewhere.
pub fn of_salted(mechanism: ScramMechanism, salted: &[u8], salt: &[u8], iterations: u32) -> ScramCredential {
    let client_key = signed(mechanism, salted, b"Client Key");
    ScramCredential {
        salt: salt.to_vec(),
        iterations,
        stored_key: hashed(mechanism, client_key.as_ref()),
        server_key: signed(mechanism, salted, b"Server Key").as_ref().to_vec(),
    }
}

/// The salt of a name, whoever it belongs to: those who are not there get it, and those whose password is in the
/// configuration, so that a salt does not tell one from the other. `secret` makes it a secret of the broker's.
pub fn salt_of(secret: &[u8; 32], mechanism: ScramMechanism, user: &str) -> [u8; SALT_BYTES] {
    let kind = [mechanism as u8];
    let whole = fingerprint(secret, &[b"SCRAM salt", &kind, user.as_bytes()]);
    let mut salt = [0; SALT_BYTES];
    salt.copy_from_slice(&whole[..SALT_BYTES]);
    salt
}

/// The credential of a user of the configuration.
pub fn of_configured(
    secret: &[u8; 32],
    mechanism: ScramMechanism,
    user: &str,
    password: &[u8],
) -> ScramCredential {
    let iterations = NonZeroU32::new(ITERATIONS_MIN).expect("a constant above 0");
    derive(mechanism, password, &salt_of(secret, mechanism, user), iterations)
}

/// The client's first message.
#[derive(Debug)]
pub struct First {
    pub user: String,
    nonce: String,
    /// What it says of channel binding: comes again at the end.
    gs2_header: String,
    bare: String,
}

impl First {
    pub fn read(message: &[u8]) -> Result<First, Refused> {
        let text = std::str::from_utf8(message).map_err(|_| Refused::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let (Some(binding), Some(authorized), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Refused::Malformed);
        };
        match binding {
            // "y": it would bind if we did.
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err(Refused::Unsupported),
            _ => return Err(Refused::Malformed),
        }
        let mut fields = bare.split(',');
        let user = fields.next().ok_or(Refused::Malformed)?;
        if user.starts_with("m=") {
            return Err(Refused::Unsupported);
        }
        let user = unescaped(user.strip_prefix("n=").ok_or(Refused::Malformed)?)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(Refused::Malformed)?;
        let printable = |octet: u8| (0x21..=0x7e).contains(&octet);
        if nonce.is_empty() || nonce.len() > NONCE_CHARS_MAX || !nonce.bytes().all(printable) {
            return Err(Refused::Malformed);
        }
        // Kafka's extension for delegation tokens, which we have none of.
        if fields.any(|field| field == "tokenauth=true") {
            return Err(Refused::Unsupported);
        }
        if !authorized.is_empty() {
            let authorized = unescaped(authorized.strip_prefix("a=").ok_or(Refused::Malformed)?)?;
            if authorized != user {
                return Err(Refused::ActsForAnother);
            }
        }
        Ok(First {
            user,
            nonce: nonce.to_owned(),
            gs2_header: text[..text.len() - bare.len()].to_owned(),
            bare: bare.to_owned(),
        })
    }

    /// The server's first message and what goes on from there. `credential` is the user's; whoever has none gets a
    /// challenge of which nobody knows the answer. `nonce` is fresh, printable, random and without commas.
    pub fn challenge(
        self,
        mechanism: ScramMechanism,
        credential: Option<ScramCredential>,
        secret: &[u8; 32],
        nonce: &str,
    ) -> (Vec<u8>, Exchange) {
        let credential = credential.unwrap_or_else(|| ScramCredential {
            salt: salt_of(secret, mechanism, &self.user).to_vec(),
            iterations: ITERATIONS_MIN,
            // No proof hashes to the empty string.
            stored_key: Vec::new(),
            server_key: Vec::new(),
        });
        let nonce = format!("{}{nonce}", self.nonce);
        let salt = Base64::encode_string(&credential.salt);
        let challenge = format!("r={nonce},s={salt},i={}", credential.iterations);
        let exchange = Exchange {
            user: self.user,
            mechanism,
            so_far: format!("{},{challenge}", self.bare),
            binding: Base64::encode_string(self.gs2_header.as_bytes()),
            nonce,
            credential,
        };
        (challenge.into_bytes(), exchange)
    }
}

/// Between the challenge and its answer.
#[derive(Debug)]
pub struct Exchange {
    pub user: String,
    mechanism: ScramMechanism,
    credential: ScramCredential,
    nonce: String,
    binding: String,
    /// The messages that both sides sign, but the client's last.
    so_far: String,
}

impl Exchange {
    /// The client's last message; the server's, if the proof is good.
    pub fn finish(&self, message: &[u8]) -> Result<Vec<u8>, Refused> {
        let text = std::str::from_utf8(message).map_err(|_| Refused::Malformed)?;
        let (signed_part, proof) = text.rsplit_once(",p=").ok_or(Refused::Malformed)?;
        let proof = Base64::decode_vec(proof).map_err(|_| Refused::Malformed)?;
        let mut fields = signed_part.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c="));
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else { return Err(Refused::Malformed) };
        if binding != self.binding || nonce != self.nonce || proof.len() != self.mechanism.hash_bytes() {
            return Err(Refused::Malformed);
        }
        let signed_by_both = format!("{},{signed_part}", self.so_far);
        let ScramCredential { stored_key, server_key, .. } = &self.credential;
        let signature = signed(self.mechanism, stored_key, signed_by_both.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        if !equal_in_constant_time(&hashed(self.mechanism, &client_key), stored_key) {
            return Err(Refused::WrongCredentials);
        }
        let verifier = signed(self.mechanism, server_key, signed_by_both.as_bytes());
        Ok(format!("v={}", Base64::encode_string(verifier.as_ref())).into_bytes())
    }
}

/// `=2C` and `=3D` stand for what has a meaning itself.
fn unescaped(name: &str) -> Result<String, Refused> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('=') {
        out.push_str(before);
        out.push(match after.get(..2) {
            Some("2C") => ',',
            Some("3D") => '=',
            _ => return Err(Refused::Malformed),
        });
        rest = &after[2..];
    }
    out.push_str(rest);
    if out.is_empty() { Err(Refused::Malformed) } else { Ok(out) }
}

fn salted(mechanism: ScramMechanism, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
    let algorithm = match mechanism {
        ScramMechanism::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        ScramMechanism::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
    };
    let mut salted = vec![0; mechanism.hash_bytes()];
    pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
    salted
}

fn signed(mechanism: ScramMechanism, key: &[u8], text: &[u8]) -> hmac::Tag {
    let algorithm = match mechanism {
        ScramMechanism::Sha256 => hmac::HMAC_SHA256,
        ScramMechanism::Sha512 => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(algorithm, key), text)
}

fn hashed(mechanism: ScramMechanism, text: &[u8]) -> Vec<u8> {
    let algorithm = match mechanism {
        ScramMechanism::Sha256 => &digest::SHA256,
        ScramMechanism::Sha512 => &digest::SHA512,
    };
    digest::digest(algorithm, text).as_ref().to_vec()
}

/// The client's side.
pub mod client {
    use super::*;

    /// The last message to a server that answered `first` with `challenge`. A challenge that is none gets a proof that
    /// is none.
    pub fn proof(mechanism: ScramMechanism, password: &str, first: &str, challenge: &str) -> String {
        let field =
            |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name)).unwrap_or("");
        let salt = Base64::decode_vec(field("s=")).unwrap_or_default();
        let iterations = field("i=").parse().unwrap_or(NonZeroU32::MIN);
        let salted = salted(mechanism, password.as_bytes(), &salt, iterations);
        let client_key = signed(mechanism, &salted, b"Client Key");
        let bare = first.splitn(3, ',').nth(2).unwrap_or("");
        let header = Base64::encode_string(&first.as_bytes()[..first.len() - bare.len()]);
        let unsigned = format!("c={header},r={}", field("r="));
        let message = format!("{bare},{challenge},{unsigned}");
        let signature = signed(mechanism, &hashed(mechanism, client_key.as_ref()), message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        format!("{unsigned},p={}", Base64::encode_string(&proof))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ScramMechanism::{Sha256, Sha512};

    const SECRET: [u8; 32] = [7; 32];

    /// RFC 7677, section 3.
    #[test]
    fn the_example_of_the_standard() {
        let salt = Base64::decode_vec("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let credential = derive(Sha256, b"pencil", &salt, NonZeroU32::new(4096).unwrap());
        let first = First::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(first.user, "user");
        let (challenge, exchange) =
            first.challenge(Sha256, Some(credential), &SECRET, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(
            challenge,
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let answer = exchange.finish(last).unwrap();
        assert_eq!(answer, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    fn login(
        mechanism: ScramMechanism,
        stored: Option<&str>,
        said: &str,
        first: &str,
    ) -> Result<(), Refused> {
        let read = First::read(first.as_bytes())?;
        let stored =
            stored.map(|password| of_configured(&SECRET, mechanism, &read.user, password.as_bytes()));
        let (challenge, exchange) = read.challenge(mechanism, stored, &SECRET, "abc");
        let last = client::proof(mechanism, said, first, std::str::from_utf8(&challenge).unwrap());
        exchange.finish(last.as_bytes()).map(drop)
    }

    #[test]
    fn the_password_and_no_other_opens() {
        for mechanism in [Sha256, Sha512] {
            for first in ["n,,n=ann,r=x", "y,,n=ann,r=x", "n,a=ann,n=ann,r=x", "n,,n=a=2Cb=3Dc,r=x,ext=1"] {
                assert_eq!(login(mechanism, Some("pw"), "pw", first), Ok(()), "{first}");
                assert_eq!(login(mechanism, Some("pw"), "px", first), Err(Refused::WrongCredentials));
                assert_eq!(login(mechanism, None, "pw", first), Err(Refused::WrongCredentials));
            }
        }
    }

    /// Whether somebody is there shows in nothing of the challenge.
    #[test]
    fn nobody_is_asked_like_somebody() {
        let challenge =
            |stored| First::read(b"n,,n=ann,r=x").unwrap().challenge(Sha256, stored, &SECRET, "y").0;
        let somebody = challenge(Some(of_configured(&SECRET, Sha256, "ann", b"pw")));
        assert_eq!(challenge(None), somebody);
        assert_ne!(salt_of(&SECRET, Sha256, "ann"), salt_of(&SECRET, Sha256, "bob"));
        assert_ne!(salt_of(&SECRET, Sha256, "ann"), salt_of(&SECRET, Sha512, "ann"));
        assert_ne!(salt_of(&SECRET, Sha256, "ann"), salt_of(&[8; 32], Sha256, "ann"));
    }

    #[test]
    fn what_is_no_first_message() {
        for (message, refused) in [
            ("", Refused::Malformed),
            ("n,", Refused::Malformed),
            ("n,,", Refused::Malformed),
            ("n,,r=x,n=ann", Refused::Malformed),
            ("n,,n=ann", Refused::Malformed),
            ("n,,n=,r=x", Refused::Malformed),
            ("n,,n=ann,r=", Refused::Malformed),
            ("n,,n=a=b,r=x", Refused::Malformed),
            ("n,,n=a=2,r=x", Refused::Malformed),
            ("x,,n=ann,r=x", Refused::Malformed),
            ("n,b=ann,n=ann,r=x", Refused::Malformed),
            ("n,,n=ann,r=\u{1}", Refused::Malformed),
            ("n,a=root,n=ann,r=x", Refused::ActsForAnother),
            ("p=tls-unique,,n=ann,r=x", Refused::Unsupported),
            ("n,,m=1,n=ann,r=x", Refused::Unsupported),
            ("n,,n=ann,r=x,tokenauth=true", Refused::Unsupported),
        ] {
            assert_eq!(First::read(message.as_bytes()).err(), Some(refused), "{message}");
        }
        assert_eq!(First::read(b"n,,n=\xff,r=x").err(), Some(Refused::Malformed));
        let long = format!("n,,n=ann,r={}", "x".repeat(NONCE_CHARS_MAX + 1));
        assert_eq!(First::read(long.as_bytes()).err(), Some(Refused::Malformed));
    }

    #[test]
    fn what_is_no_last_message() {
        let first = "n,,n=ann,r=x";
        let stored = of_configured(&SECRET, Sha256, "ann", b"pw");
        let (challenge, exchange) =
            First::read(first.as_bytes()).unwrap().challenge(Sha256, Some(stored), &SECRET, "y");
        let good = client::proof(Sha256, "pw", first, std::str::from_utf8(&challenge).unwrap());
        assert!(exchange.finish(good.as_bytes()).is_ok());
        for bad in [
            String::new(),
            good.replace("c=biws", "c=eSws"),
            good.replace("r=xy", "r=xz"),
            good.replace("r=xy", "r=x"),
            good.replace(",p=", ",q="),
            format!("{good}="),
            good[..good.len() - 4].to_owned(),
            "c=biws,r=xy,p=".to_owned(),
        ] {
            assert_eq!(exchange.finish(bad.as_bytes()).err(), Some(Refused::Malformed), "{bad}");
        }
        assert_eq!(exchange.finish(b"c=biws,r=xy,p=\xff").err(), Some(Refused::Malformed));
    }
}
