//! Hashes of passwords: RabbitMQ's, so that its users can be taken over, and argon2id for our own.
//!
//! Salt is an input: nothing here is random. Checking an argon2id hash takes tens of milliseconds on purpose: take
//! the hash out of the topology first ([`crate::Topology::login`]), so that its lock is not held meanwhile.

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHash as Phc, PasswordVerifier, Version};
use bowline_model::meta::PasswordHash;
use sha2::{Digest, Sha256, Sha512};

/// Octets of salt before RabbitMQ's hashes.
const SALT_BYTES: usize = 4;
/// Bounds of what an imported argon2id hash may cost: 64 MiB, 10 passes.
const ARGON2_KIB_MAX: u32 = 65_536;
const ARGON2_PASSES_MAX: u32 = 10;

/// `Sha256` over salt and password.
pub fn sha256(salt: [u8; SALT_BYTES], password: &[u8]) -> PasswordHash {
    PasswordHash::Sha256(
        [&salt[..], &Sha256::new().chain_update(salt).chain_update(password).finalize()].concat(),
    )
}

/// The hash for passwords that we set ourselves. `None` only for passwords beyond 4 GiB.
pub fn argon2id(salt: [u8; 16], password: &[u8]) -> Option<PasswordHash> {
    let salt = SaltString::encode_b64(&salt).ok()?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default());
    Some(PasswordHash::Argon2id(hasher.hash_password(password, &salt).ok()?.to_string()))
}

/// Whether a hash is of a form that [`accepts`] can check, and not a costly one.
pub fn is_well_formed(hash: &PasswordHash) -> bool {
    match hash {
        PasswordHash::Sha256(bytes) => bytes.len() == SALT_BYTES + 32,
        PasswordHash::Sha512(bytes) => bytes.len() == SALT_BYTES + 64,
        PasswordHash::Argon2id(text) => Phc::new(text).is_ok_and(|phc| {
            phc.algorithm == argon2::ARGON2ID_IDENT
                && Params::try_from(&phc)
                    .is_ok_and(|p| p.m_cost() <= ARGON2_KIB_MAX && p.t_cost() <= ARGON2_PASSES_MAX)
        }),
    }
}

/// Whether this is the password.
pub fn accepts(hash: &PasswordHash, password: &[u8]) -> bool {
    fn salted<D: Digest>(stored: &[u8], password: &[u8]) -> bool {
        let Some((salt, expected)) = stored.split_at_checked(SALT_BYTES) else { return false };
        let found = D::new().chain_update(salt).chain_update(password).finalize();
        equal_in_constant_time(&found, expected)
    }
    match hash {
        PasswordHash::Sha256(stored) => salted::<Sha256>(stored, password),
        PasswordHash::Sha512(stored) => salted::<Sha512>(stored, password),
        PasswordHash::Argon2id(text) => {
            is_well_formed(hash)
                && Phc::new(text).is_ok_and(|phc| Argon2::default().verify_password(password, &phc).is_ok())
        }
    }
}

/// Takes as long for a wrong first octet as for a wrong last one; the length is not kept secret.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_password_and_no_other() {
        let mut sha512 = vec![1, 2, 3, 4];
        sha512.extend_from_slice(&Sha512::digest([&[1, 2, 3, 4][..], b"secret"].concat()));
        let hashes = [
            sha256([1, 2, 3, 4], b"secret"),
            PasswordHash::Sha512(sha512),
            argon2id([7; 16], b"secret").unwrap(),
        ];
        for hash in &hashes {
            assert!(is_well_formed(hash) && accepts(hash, b"secret"), "{hash:?}");
            assert!(!accepts(hash, b"secrets") && !accepts(hash, b""));
        }
    }

    #[test]
    fn malformed_and_costly_hashes_open_nothing() {
        let bad = [
            PasswordHash::Sha256(vec![]),
            PasswordHash::Sha512(vec![0; 36]),
            PasswordHash::Argon2id("secret".to_owned()),
            PasswordHash::Argon2id(
                "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG".to_owned(),
            ),
        ];
        for hash in &bad {
            assert!(!is_well_formed(hash) && !accepts(hash, b"secret"), "{hash:?}");
        }
    }
}
