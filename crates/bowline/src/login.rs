//! Who may log in, as the configuration says it: users and their proofs, tokens of an issuer, and whoever says nothing.

use crate::config::{Anonymity, Config};
use crate::definitions::propose;
use crate::issuer::Issuer;
use anyhow::Context;
use bowline_front_kafka::{Anonymous, Authentication};
use bowline_model::meta::{Command, ScramMechanism};
use bowline_replica::Node;
use bowline_sasl::scram;
use std::collections::BTreeMap;
use std::time::Duration;

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

/// How Kafka clients log in.
pub fn of_kafka(config: &Config, issuer: Option<&Issuer>) -> Authentication {
    Authentication {
        anonymous: match config.anonymous {
            Anonymity::Loopback => Anonymous::Loopback,
            Anonymity::Off => Anonymous::Nobody,
            Anonymity::Everywhere => Anonymous::Everybody,
        },
        lasts: (config.kafka_reauth_ms > 0).then(|| Duration::from_millis(config.kafka_reauth_ms)),
        tokens: issuer.map(Issuer::verifier),
        ..Authentication::default()
    }
}
