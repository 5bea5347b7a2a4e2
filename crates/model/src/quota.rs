//! Client quotas in Kafka's terms: how much whom is let do, on each node.

use serde::{Deserialize, Serialize};

/// Whom a quota is for: a user, a client id, a user's client id, or an address. Empty never.
///
/// An outer `None` does not speak of it, `Some(None)` is the default for all that have no quota of their own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct QuotaEntity {
    pub user: Option<Option<String>>,
    pub client_id: Option<Option<String>>,
    /// Goes with none of the others.
    pub ip: Option<Option<String>>,
}

/// What is limited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum QuotaKey {
    /// Bytes of Produce requests a second.
    ProducerByteRate,
    /// Bytes of Fetch responses a second.
    ConsumerByteRate,
    /// Partitions created and deleted a second.
    ControllerMutationRate,
    /// Connections accepted a second, of an address.
    ConnectionCreationRate,
    /// Time that a session works for requests, as percent of one thread's.
    RequestPercentage,
}

impl QuotaKey {
    pub const ALL: [QuotaKey; 5] = [
        QuotaKey::ProducerByteRate,
        QuotaKey::ConsumerByteRate,
        QuotaKey::ControllerMutationRate,
        QuotaKey::ConnectionCreationRate,
        QuotaKey::RequestPercentage,
    ];

    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            QuotaKey::ProducerByteRate => "producer_byte_rate",
            QuotaKey::ConsumerByteRate => "consumer_byte_rate",
            QuotaKey::ControllerMutationRate => "controller_mutation_rate",
            QuotaKey::ConnectionCreationRate => "connection_creation_rate",
            QuotaKey::RequestPercentage => "request_percentage",
        }
    }

    pub fn from_name(name: &str) -> Option<QuotaKey> {
        QuotaKey::ALL.into_iter().find(|key| key.name() == name)
    }
}

/// What changes of one entity: the new value, or none any more.
pub type QuotaChanges = Vec<(QuotaKey, Option<f64>)>;
