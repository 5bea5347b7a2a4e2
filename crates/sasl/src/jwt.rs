//! Signed tokens (JWS, RFC 7515, in compact form) with claims (JWT, RFC 7519), and the keys that they are checked with
//! (JWKS, RFC 7517).
//!
//! Only signatures with a public key are known here: what a token says of its own algorithm picks a hash, never the
//! kind of key, so that neither `none` nor an HMAC with a public key as secret can pass.

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

/// A key set that is used has a handful.
const KEYS_MAX: usize = 100;
/// A coordinate of a point of the curve P-256, octets; of P-384.
const P256_BYTES: usize = 32;
const P384_BYTES: usize = 48;

/// What of a token has to fit, apart from its signature and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Claim `iss`; `None`: whoever has a key of ours may issue for anybody.
    pub issuer: Option<String>,
    /// Claim `aud`; `None`: tokens for other services are good here.
    pub audience: Option<String>,
    /// Clocks may differ by so much, milliseconds.
    pub skew_ms: i64,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub subject: String,
    /// Milliseconds since the Unix epoch.
    pub expires: i64,
}

/// Why a token is not good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    Form,
    Algorithm,
    NoKey,
    Signature,
    Issuer,
    Audience,
    Subject,
    Expired,
    NotYet,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bad::Form => "not a signed token with an expiry",
            Bad::Algorithm => "algorithm is not accepted",
            Bad::NoKey => "no key fits",
            Bad::Signature => "wrong signature",
            Bad::Issuer => "another issuer's",
            Bad::Audience => "for another audience",
            Bad::Subject => "no subject",
            Bad::Expired => "expired",
            Bad::NotYet => "not valid yet",
        })
    }
}

/// Checks tokens; its keys may be replaced while it does.
#[derive(Debug)]
pub struct Verifier {
    rules: Rules,
    keys: RwLock<Keys>,
    missed: AtomicBool,
}

impl Verifier {
    pub fn new(rules: Rules, keys: Keys) -> Verifier {
        Verifier { rules, keys: RwLock::new(keys), missed: AtomicBool::new(false) }
    }

    /// Whether they are others than before.
    pub fn replace(&self, keys: Keys) -> bool {
        let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let differ = *known != keys;
        *known = keys;
        differ
    }

    /// As [`verify`].
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, Bad> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let verified = verify(token, &keys, &self.rules, now);
        if verified == Err(Bad::NoKey) {
            self.missed.store(true, Ordering::Relaxed);
        }
        verified
    }

    /// Whether a token since the last call wanted a key that is not here: its issuer may have a new one.
    pub fn missed_a_key(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }
}

/// Public keys of whoever issues tokens.
#[derive(Debug, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

#[derive(Debug, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug, PartialEq, Eq)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
}

/// Why a key set cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadKeys {
    Json(String),
    TooMany,
    /// Nothing in it checks signatures that we know.
    NoneUsable,
}

impl fmt::Display for BadKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadKeys::Json(error) => write!(f, "not a JSON Web Key Set: {error}"),
            BadKeys::TooMany => write!(f, "more than {KEYS_MAX} keys"),
            BadKeys::NoneUsable => f.write_str("no RSA, P-256 or P-384 key for signatures in it"),
        }
    }
}

impl std::error::Error for BadKeys {}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<WrittenKey>,
}

#[derive(Deserialize)]
struct WrittenKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Before any are known: no token is good.
    pub fn none() -> Keys {
        Keys(Vec::new())
    }

    /// Reads a JSON Web Key Set. Keys of kinds that are not known here are left out, as the standard asks.
    pub fn parse(json: &[u8]) -> Result<Keys, BadKeys> {
        let set: KeySet = serde_json::from_slice(json).map_err(|error| BadKeys::Json(error.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(BadKeys::TooMany);
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(WrittenKey::usable).collect();
        if keys.is_empty() { Err(BadKeys::NoneUsable) } else { Ok(Keys(keys)) }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl WrittenKey {
    fn usable(self) -> Option<Key> {
        if self.used_for.is_some_and(|used_for| used_for != "sig") {
            return None;
        }
        let octets = |text: Option<String>| Base64UrlUnpadded::decode_vec(text?.trim_end_matches('=')).ok();
        let material = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { modulus: octets(self.n)?, exponent: octets(self.e)? },
            ("EC", Some("P-256")) => Material::P256(point(octets(self.x)?, octets(self.y)?, P256_BYTES)?),
            ("EC", Some("P-384")) => Material::P384(point(octets(self.x)?, octets(self.y)?, P384_BYTES)?),
            _ => return None,
        };
        Some(Key { id: self.kid, algorithm: self.alg, material })
    }
}

fn point(x: Vec<u8>, y: Vec<u8>, coordinate_bytes: usize) -> Option<Vec<u8>> {
    let fits = x.len() == coordinate_bytes && y.len() == coordinate_bytes;
    fits.then(|| [&[4], &x[..], &y[..]].concat())
}

impl Key {
    /// `None`: this algorithm is not for this key.
    fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> Option<bool> {
        if self.algorithm.as_deref().is_some_and(|only| only != algorithm) {
            return None;
        }
        let verified = match (&self.material, algorithm) {
            (Material::Rsa { modulus, exponent }, _) => {
                let hash = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return None,
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(hash, message, signature)
            }
            (Material::P256(point), "ES256") => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Material::P384(point), "ES384") => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, signature)
            }
            _ => return None,
        };
        Some(verified.is_ok())
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: we understand none.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct WrittenClaims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn holds(&self, audience: &str) -> bool {
        match self {
            Audience::One(one) => one == audience,
            Audience::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

/// What the token says, if it is good at `now` (milliseconds since the Unix epoch).
pub fn verify(token: &str, keys: &Keys, rules: &Rules, now: i64) -> Result<Claims, Bad> {
    let claims: WrittenClaims =
        serde_json::from_slice(&signed_content(token, keys)?).map_err(|_| Bad::Form)?;
    if rules.issuer.is_some() && claims.iss != rules.issuer {
        return Err(Bad::Issuer);
    }
    if let Some(audience) = &rules.audience
        && !claims.aud.is_some_and(|named| named.holds(audience))
    {
        return Err(Bad::Audience);
    }
    let millis = |seconds: f64| (seconds * 1000.0) as i64;
    let expires = claims.exp.map(millis).ok_or(Bad::Form)?;
    if now >= expires.saturating_add(rules.skew_ms) {
        return Err(Bad::Expired);
    }
    if claims.nbf.map(millis).is_some_and(|begin| now < begin.saturating_sub(rules.skew_ms)) {
        return Err(Bad::NotYet);
    }
    let subject = claims.sub.filter(|subject| !subject.is_empty()).ok_or(Bad::Subject)?;
    Ok(Claims { subject, expires })
}

/// The content of a token with a good signature.
fn signed_content(token: &str, keys: &Keys) -> Result<Vec<u8>, Bad> {
    let (message, signature) = token.rsplit_once('.').ok_or(Bad::Form)?;
    let (header, content) = message.split_once('.').ok_or(Bad::Form)?;
    let octets = |part: &str| Base64UrlUnpadded::decode_vec(part).map_err(|_| Bad::Form);
    let header: Header = serde_json::from_slice(&octets(header)?).map_err(|_| Bad::Form)?;
    if header.crit.is_some() {
        return Err(Bad::Algorithm);
    }
    let (content, signature) = (octets(content)?, octets(signature)?);
    let named = |key: &&Key| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
    let mut found = Bad::NoKey;
    for key in keys.0.iter().filter(named) {
        match key.verifies(&header.alg, message.as_bytes(), &signature) {
            Some(true) => return Ok(content),
            Some(false) => found = Bad::Signature,
            None if found == Bad::NoKey => found = Bad::Algorithm,
            None => {}
        }
    }
    Err(found)
}

/// Tokens of one's own, for tests.
pub mod testing {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    /// Issues tokens, with a key that it makes up.
    pub struct Issuer(EcdsaKeyPair);

    impl Issuer {
        #[allow(clippy::new_without_default)]
        pub fn new() -> Issuer {
            Issuer(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
        }

        /// Its key set; beside its key one that is of no use.
        pub fn jwks(&self, id: &str) -> String {
            let point = self.0.public_key().as_ref();
            let (x, y) = point[1..].split_at(P256_BYTES);
            let text = Base64UrlUnpadded::encode_string;
            format!(
                r#"{{"keys":[{{"kty":"oct","k":"AAAA"}},{{"kty":"EC","crv":"P-256","kid":"{id}","use":"sig","x":"{}","y":"{}"}}]}}"#,
                text(x),
                text(y)
            )
        }

        /// `header` and `claims` are JSON.
        pub fn token(&self, header: &str, claims: &str) -> String {
            let text = Base64UrlUnpadded::encode_string;
            let message = format!("{}.{}", text(header.as_bytes()), text(claims.as_bytes()));
            let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
            format!("{message}.{}", text(signature.as_ref()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Issuer;
    use super::*;
    use serde_json::{Value, json};

    const NOW: i64 = 1_700_000_000_000;

    /// RFC 7515, appendices A.2 and A.3.
    #[test]
    fn the_examples_of_the_standard() {
        let keys = json!({"keys": [
            {"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJr\
        cS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA\
        9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs\
        91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
            {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
             "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        ]});
        let keys = Keys::parse(keys.to_string().as_bytes()).unwrap();
        let content =
            "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let rs256 = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujG\
bds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_\
dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlU\
PQGe77Rw";
        let es256 = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        for (header, signature) in [("eyJhbGciOiJSUzI1NiJ9", rs256), ("eyJhbGciOiJFUzI1NiJ9", es256)] {
            let token = format!("{header}.{content}.{signature}");
            let content = signed_content(&token, &keys).unwrap();
            assert!(content.starts_with(b"{\"iss\":\"joe\""));
            let other = token.replace(".eyJpc3M", ".eyJpc3N");
            assert_eq!(signed_content(&other, &keys), Err(Bad::Signature));
        }
        // The signature of one under the other's name, and names that no key is for.
        for (alg, bad) in [("RS512", Bad::Signature), ("none", Bad::Algorithm), ("HS256", Bad::Algorithm)] {
            let header = Base64UrlUnpadded::encode_string(json!({ "alg": alg }).to_string().as_bytes());
            assert_eq!(signed_content(&format!("{header}.{content}.{rs256}"), &keys), Err(bad), "{alg}");
        }
    }

    fn header() -> Value {
        json!({"alg": "ES256", "kid": "one", "typ": "JWT"})
    }

    fn claims() -> Value {
        json!({"iss": "https://issuer", "aud": "kafka", "sub": "ann", "exp": NOW / 1000 + 60})
    }

    fn rules() -> Rules {
        Rules { issuer: Some("https://issuer".into()), audience: Some("kafka".into()), skew_ms: 30_000 }
    }

    #[test]
    fn claims_have_to_fit() {
        let issuer = Issuer::new();
        let keys = Keys::parse(issuer.jwks("one").as_bytes()).unwrap();
        assert_eq!(keys.len(), 1);
        let check = |change: &dyn Fn(&mut Value)| {
            let mut claims = claims();
            change(&mut claims);
            verify(&issuer.token(&header().to_string(), &claims.to_string()), &keys, &rules(), NOW)
        };
        let good = Claims { subject: "ann".into(), expires: NOW + 60_000 };
        assert_eq!(check(&|_| {}), Ok(good.clone()));
        assert_eq!(check(&|c| c["aud"] = json!(["other", "kafka"])), Ok(good));
        assert_eq!(
            check(&|c| c["exp"] = json!(NOW as f64 / 1000.0 - 29.5)).map(|c| c.expires),
            Ok(NOW - 29_500)
        );
        assert_eq!(check(&|c| c["exp"] = json!(NOW / 1000 - 30)), Err(Bad::Expired));
        assert_eq!(check(&|c| c["exp"] = json!(null)), Err(Bad::Form));
        assert_eq!(check(&|c| c["exp"] = json!("soon")), Err(Bad::Form));
        assert!(check(&|c| c["nbf"] = json!(NOW / 1000 + 30)).is_ok());
        assert_eq!(check(&|c| c["nbf"] = json!(NOW / 1000 + 31)), Err(Bad::NotYet));
        assert_eq!(check(&|c| c["iss"] = json!("https://other")), Err(Bad::Issuer));
        assert_eq!(check(&|c| c["iss"] = json!(null)), Err(Bad::Issuer));
        assert_eq!(check(&|c| c["aud"] = json!(["other"])), Err(Bad::Audience));
        assert_eq!(check(&|c| c["aud"] = json!(null)), Err(Bad::Audience));
        assert_eq!(check(&|c| c["sub"] = json!("")), Err(Bad::Subject));
        let anybody = Rules { issuer: None, audience: None, skew_ms: 0 };
        let token =
            issuer.token(&header().to_string(), &json!({"sub": "ann", "exp": NOW / 1000 + 1}).to_string());
        assert!(verify(&token, &keys, &anybody, NOW).is_ok());
    }

    #[test]
    fn keys_have_to_fit() {
        let (issuer, stranger) = (Issuer::new(), Issuer::new());
        let keys = Keys::parse(issuer.jwks("one").as_bytes()).unwrap();
        let check = |token: &str| verify(token, &keys, &rules(), NOW).err();
        assert_eq!(check(&issuer.token(r#"{"alg":"ES256"}"#, &claims().to_string())), None);
        assert_eq!(
            check(&stranger.token(&header().to_string(), &claims().to_string())),
            Some(Bad::Signature)
        );
        assert_eq!(
            check(&issuer.token(r#"{"alg":"ES256","kid":"two"}"#, &claims().to_string())),
            Some(Bad::NoKey)
        );
        assert_eq!(check(&issuer.token(r#"{"alg":"RS256"}"#, &claims().to_string())), Some(Bad::Algorithm));
        let demanding = json!({"alg": "ES256", "crit": ["b64"], "b64": false});
        assert_eq!(check(&issuer.token(&demanding.to_string(), &claims().to_string())), Some(Bad::Algorithm));
        for form in ["", ".", "..", "a.b", "a.b.c", "e30.e30.e30"] {
            assert_eq!(check(form), Some(Bad::Form), "{form}");
        }
    }

    #[test]
    fn key_sets_that_are_of_no_use() {
        let parse = |json: &str| Keys::parse(json.as_bytes()).err();
        assert!(matches!(parse("{}"), Some(BadKeys::Json(_))));
        assert!(matches!(parse("keys"), Some(BadKeys::Json(_))));
        for none in [
            r#"{"keys": []}"#,
            r#"{"keys": [{"kty": "oct", "k": "AAAA"}]}"#,
            r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}]}"#,
            r#"{"keys": [{"kty": "RSA", "use": "enc", "n": "AAAA", "e": "AQAB"}]}"#,
            r#"{"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]}"#,
        ] {
            assert_eq!(parse(none), Some(BadKeys::NoneUsable), "{none}");
        }
        let key = r#"{"kty": "RSA", "n": "AAAA", "e": "AQAB"}"#;
        let many = format!(r#"{{"keys": [{}]}}"#, vec![key; KEYS_MAX + 1].join(","));
        assert_eq!(parse(&many), Some(BadKeys::TooMany));
    }
}
