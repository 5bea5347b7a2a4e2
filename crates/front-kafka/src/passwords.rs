//! Checking passwords without keeping sessions waiting: a good hash takes tens of milliseconds and megabytes on
//! purpose.
//!
//! Few are checked at a time, on threads of their own. A password that was right is remembered as a fingerprint, so
//! that a thousand clients that come back together are not kept out by the hash that protects them.

use bowline_model::meta::PasswordHash;
use bowline_topology::password;
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::Semaphore;

/// Hashes that are worked on at a time; each takes tens of MiB.
const AT_A_TIME_MAX: usize = 4;
/// Users whose password is remembered. Beyond that all are forgotten.
const REMEMBERED_MAX: usize = 10_000;

/// Shared by all sessions.
pub struct Passwords {
    turns: Semaphore,
    /// Of this process alone.
    key: [u8; 32],
    /// By user: of the hash and the password that fitted it.
    right: Mutex<HashMap<String, [u8; 32]>>,
}

/// A password to be checked.
pub struct Check {
    pub user: String,
    /// `None`: there is no such user. The check then takes as long, and fails.
    pub hash: Option<PasswordHash>,
    pub password: Vec<u8>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Default for Passwords {
    fn default() -> Passwords {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let mut key = [0; 32];
        key[..16].copy_from_slice(random[0].as_bytes());
        key[16..].copy_from_slice(random[1].as_bytes());
        Passwords { turns: Semaphore::new(threads.min(AT_A_TIME_MAX)), key, right: Mutex::default() }
    }
}

impl Passwords {
    /// Whether it is the user's password.
    pub async fn check(self: Arc<Self>, check: Check) -> bool {
        let fingerprint = self.fingerprint(&check);
        if fingerprint.is_some_and(|fingerprint| self.remembers(&check.user, &fingerprint)) {
            return true;
        }
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let Check { user, hash, password } = check;
        let work = move || is_right(hash.as_ref(), &password);
        let is_right = tokio::task::spawn_blocking(work).await.unwrap_or(false);
        if let (true, Some(fingerprint)) = (is_right, fingerprint) {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if right.len() >= REMEMBERED_MAX {
                right.clear();
            }
            right.insert(user, fingerprint);
        }
        is_right
    }

    fn remembers(&self, user: &str, fingerprint: &[u8; 32]) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(user).is_some_and(|known| bowline_sasl::equal_in_constant_time(known, fingerprint))
    }

    /// Of hashes that are slow to check: with a new password comes a new hash, and the old one is of no use.
    fn fingerprint(&self, check: &Check) -> Option<[u8; 32]> {
        let Some(PasswordHash::Argon2id(hash)) = &check.hash else { return None };
        Some(bowline_sasl::fingerprint(&self.key, &[check.user.as_bytes(), hash.as_bytes(), &check.password]))
    }
}

fn is_right(hash: Option<&PasswordHash>, said: &[u8]) -> bool {
    static NOBODYS: OnceLock<Option<PasswordHash>> = OnceLock::new();
    match hash {
        Some(hash) => password::accepts(hash, said),
        None => {
            let hash = NOBODYS.get_or_init(|| password::argon2id([0; 16], b"nobody"));
            std::hint::black_box(hash.as_ref().is_some_and(|hash| password::accepts(hash, said)));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(passwords: &Arc<Passwords>, hash: Option<&PasswordHash>, password: &[u8]) -> bool {
        let check = Check { user: "ann".into(), hash: hash.cloned(), password: password.to_vec() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(passwords.clone().check(check))
    }

    #[test]
    fn what_is_remembered_opens_no_more_than_what_was_checked() {
        let passwords = Arc::new(Passwords::default());
        let old = password::argon2id([1; 16], b"old").unwrap();
        let new = password::argon2id([2; 16], b"new").unwrap();
        assert!(!ask(&passwords, Some(&old), b"wrong") && !ask(&passwords, None, b"nobody"));
        assert!(passwords.right.lock().unwrap().is_empty());
        assert!(ask(&passwords, Some(&old), b"old") && passwords.right.lock().unwrap().len() == 1);
        assert!(ask(&passwords, Some(&old), b"old") && !ask(&passwords, Some(&old), b"new"));
        assert!(!ask(&passwords, Some(&new), b"old") && ask(&passwords, Some(&new), b"new"));
        assert!(!ask(&passwords, None, b"new"), "the user is gone");
    }
}
