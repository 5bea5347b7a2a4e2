//! Who may log in, as the configuration says it: users and their proofs, tokens of an issuer, and whoever says nothing.

use crate::config::{Anonymity, Config, Tokens};
use crate::definitions::propose;
use anyhow::Context;
use bowline_front_kafka::{Anonymous, Authentication};
use bowline_model::meta::{Command, ScramMechanism};
use bowline_replica::Node;
use bowline_sasl::jwt::{Keys, Rules, Verifier};
use bowline_sasl::scram;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A key set is never larger, bytes.
const KEYS_BYTES_MAX: u64 = 1 << 20;
/// Clocks of issuers may be so far off, milliseconds.
const SKEW_MS: i64 = 30_000;

/// Makes the users of the configuration known to the node, and to SCRAM if Kafka clients may come.
pub async fn configure_users(config: &Config, node: &Node) -> anyhow::Result<()> {
    node.configure_users(config.users.iter().cloned(), rand::random());
    if config.anonymous == Anonymity::Off {
        node.keep_guest_out();
    }
    if config.kafka_addr.is_none() && config.kafka_tls_addr.is_none() {
        return Ok(());
    }
    let secret = secret(node).await?;
    let users = config.users.clone();
    let credentials = tokio::task::spawn_blocking(move || {
        let of = |(name, password): &(String, String)| {
            let known = [ScramMechanism::Sha256, ScramMechanism::Sha512];
            let known = known.map(|m| (m, scram::of_configured(&secret, m, name, password.as_bytes())));
            (name.as_str().into(), BTreeMap::from(known))
        };
        users.iter().map(of).collect()
    });
    node.configure_scram(credentials.await?);
    Ok(())
}

/// The broker's secret, which the first start makes up.
async fn secret(node: &Node) -> anyhow::Result<[u8; 32]> {
    let known = || node.topology().secret().copied();
    if let Some(secret) = known() {
        return Ok(secret);
    }
    propose(node, &[Command::SecretSet(rand::random())], &mut Default::default()).await?;
    known().context("the node has not kept its secret")
}

/// Keys of an issuer of tokens, read again when their file changes.
pub struct Issuer {
    path: PathBuf,
    stamp: Stamp,
    verifier: Arc<Verifier>,
}

/// A file's time and size.
type Stamp = Option<(SystemTime, u64)>;

impl Issuer {
    pub fn load(tokens: &Tokens) -> anyhow::Result<Issuer> {
        let Tokens { keys: path, issuer, audience } = tokens;
        let rules = Rules { issuer: issuer.clone(), audience: audience.clone(), skew_ms: SKEW_MS };
        let (stamp, keys) = (stamp(path), read(path)?);
        Ok(Issuer { path: path.clone(), stamp, verifier: Arc::new(Verifier::new(rules, keys)) })
    }

    /// Reads the file again if it has changed. What cannot be used leaves the keys as they are.
    pub fn reload(&mut self) {
        let stamp = stamp(&self.path);
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        match read(&self.path) {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "token keys read again");
                self.verifier.replace(keys);
            }
            Err(error) => tracing::error!("token keys stay as they are: {error:#}"),
        }
    }
}

fn stamp(path: &PathBuf) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

fn read(path: &PathBuf) -> anyhow::Result<Keys> {
    let name = || format!("token keys {}", path.display());
    let bytes = std::fs::metadata(path).with_context(name)?.len();
    anyhow::ensure!(bytes <= KEYS_BYTES_MAX, "{} is larger than {KEYS_BYTES_MAX} bytes", path.display());
    Keys::parse(&std::fs::read(path).with_context(name)?).with_context(name)
}

/// How Kafka clients log in.
pub fn of_kafka(config: &Config, issuer: Option<&Issuer>) -> Authentication {
    Authentication {
        anonymous: match config.anonymous {
            Anonymity::Loopback => Anonymous::Loopback,
            Anonymity::Off => Anonymous::Nobody,
            Anonymity::Everywhere => Anonymous::Everybody,
        },
        lasts: (config.kafka_reauth_ms > 0).then(|| Duration::from_millis(config.kafka_reauth_ms)),
        tokens: issuer.map(|issuer| issuer.verifier.clone()),
        ..Authentication::default()
    }
}
