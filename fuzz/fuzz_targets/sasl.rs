//! Tokens of logins: whatever a stranger sends, nothing panics, and nobody gets in without a password or a key.
#![no_main]

use bowline_fuzz as _;
use bowline_model::meta::ScramMechanism;
use bowline_sasl::jwt::{self, Keys, Rules};
use bowline_sasl::{oauth, plain, scram};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [how, token @ ..] = data else { return };
    let mechanism = if how & 0x80 == 0 { ScramMechanism::Sha256 } else { ScramMechanism::Sha512 };
    match how & 3 {
        0 => _ = plain::read(token),
        1 => {
            let mut parts = token.splitn(2, |octet| *octet == b'\n');
            let (first, last) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let Ok(first) = scram::First::read(first) else { return };
            let (_, exchange) = first.challenge(mechanism, None, &[7; 32], "nonce");
            assert!(exchange.finish(last).is_err(), "nobody has this password");
        }
        2 => {
            let Ok(message) = oauth::read(token) else { return };
            let keys = jwt::testing::Issuer::new().jwks("k");
            let keys = Keys::parse(keys.as_bytes()).expect("a key set of our own");
            let rules = Rules { issuer: None, audience: None, skew_ms: 0 };
            assert!(jwt::verify(message.token, &keys, &rules, 0).is_err(), "nobody has this key");
        }
        _ => _ = Keys::parse(token),
    }
});
