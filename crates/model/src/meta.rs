//! Topology commands: every way the meta shard's state may change, and what comes of it.
//!
//! Commands are logged as postcard, so variants and fields are only ever appended.

use crate::acl::Acl;
use crate::quota::{QuotaChanges, QuotaEntity};
use crate::{PartitionId, QueueId, SessionId, TopicId};
use serde::{Deserialize, Serialize};

/// A typed argument value, as declarations and bindings carry them (AMQP field values). The type is kept
/// because equivalence errors name it and because it must survive a restart exactly.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Value {
    Bool(bool),
    /// Signed and unsigned integers of every width; `tag` is the AMQP type letter.
    Int {
        tag: u8,
        value: i128,
    },
    Float(f32),
    Double(f64),
    Decimal {
        scale: u8,
        value: i32,
    },
    /// Long string; usually UTF-8, not necessarily.
    Str(Vec<u8>),
    Bytes(Vec<u8>),
    /// Seconds since the Unix epoch.
    Timestamp(u64),
    Array(Vec<Value>),
    Table(Table),
    Void,
}

/// Ordered as the client sent it.
pub type Table = Vec<(String, Value)>;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Hash)]
pub enum ExchangeKind {
    Direct,
    Fanout,
    Topic,
    Headers,
    /// `x-consistent-hash`: bindings share the messages by weight, one value of what is hashed goes to one of them.
    ConsistentHash,
    /// `x-modulus-hash`: by the routing key's hash modulo the number of destinations.
    ModulusHash,
    /// `x-random` and `x-local-random`: one destination by chance.
    Random,
    LocalRandom,
    /// `x-delayed-message`: routes as the type in argument `x-delayed-type`, after the delay in header `x-delay`.
    Delayed,
    /// `x-recent-history`: routes as a fanout, and gives its last messages to who is bound to it.
    RecentHistory,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ExchangeSpec {
    pub vhost: String,
    pub name: String,
    pub kind: ExchangeKind,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: Table,
}

/// What a client asked a queue to be. A stream is not a queue: it is a [`TopicSpec`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct QueueDeclaration {
    pub vhost: String,
    pub name: String,
    pub durable: bool,
    pub auto_delete: bool,
    /// The connection that alone may use it and with which it goes.
    pub exclusive: Option<SessionId>,
    pub arguments: Table,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TopicSpec {
    pub vhost: String,
    pub name: String,
    /// Random, chosen by the proposer.
    pub id: TopicId,
    /// ≥ 1.
    pub partitions: u32,
    /// Kafka topic configuration set explicitly, by its Kafka names, validated by the proposer and again on apply.
    pub configs: Vec<(String, String)>,
    /// Arguments of the AMQP declaration, when it was declared as a stream queue.
    pub arguments: Table,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// A queue or a topic, by name.
    Queue(String),
    Exchange(String),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Binding {
    pub vhost: String,
    pub source: String,
    pub destination: Destination,
    pub routing_key: String,
    pub arguments: Table,
}

/// A virtual host and what is said about it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VhostSpec {
    pub name: String,
    pub description: String,
    pub tags: Vec<String>,
    /// `classic`, `quorum` or `stream`: for declarations that do not say.
    pub default_queue_type: Option<String>,
}

/// Who may log in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserSpec {
    pub name: String,
    /// `None`: no password opens this account.
    pub password: Option<PasswordHash>,
    pub tags: Vec<String>,
}

/// A password that cannot be read back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasswordHash {
    /// RabbitMQ's: 4 octets of salt, then SHA-256 of salt and password.
    Sha256(Vec<u8>),
    /// As before with SHA-512.
    Sha512(Vec<u8>),
    /// A PHC string: `$argon2id$v=19$…`.
    Argon2id(String),
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// The hash function of a SCRAM mechanism (RFC 5802).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ScramMechanism {
    Sha256,
    Sha512,
}

impl ScramMechanism {
    /// Octets of a hash, and so of every key and proof.
    pub fn hash_bytes(self) -> usize {
        match self {
            ScramMechanism::Sha256 => 32,
            ScramMechanism::Sha512 => 64,
        }
    }
}

/// What the broker keeps of a password for SCRAM (RFC 5802, section 3): enough to check a proof, not enough to make
/// one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramCredential {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramCredential")
    }
}

/// What a user may do in a vhost: three regular expressions over names of exchanges and queues; the empty one matches
/// the empty name alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PermissionSpec {
    pub user: String,
    pub vhost: String,
    pub configure: String,
    pub write: String,
    pub read: String,
}

/// What routing keys a user may use with a topic exchange. `{username}` and `{vhost}` stand for those.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TopicPermissionSpec {
    pub user: String,
    pub vhost: String,
    pub exchange: String,
    pub write: String,
    pub read: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PolicySpec {
    pub vhost: String,
    pub name: String,
    /// An operator's: it bounds what policies and arguments say.
    pub operator: bool,
    /// Regular expression over names.
    pub pattern: String,
    pub apply_to: ApplyTo,
    /// The one with the highest priority that matches is in force.
    pub priority: i64,
    /// Names as in arguments without `x-`.
    pub definition: Table,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ApplyTo {
    All,
    Exchanges,
    Queues,
    ClassicQueues,
    QuorumQueues,
    Streams,
}

/// Whose limits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum LimitScope {
    Vhost(String),
    User(String),
}

/// A change of the topology. Applying is idempotent where the protocols say so.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Command {
    ExchangeDeclare(ExchangeSpec),
    ExchangeDelete {
        vhost: String,
        name: String,
        if_unused: bool,
    },
    Bind(Binding),
    Unbind(Binding),
    QueueDeclare(QueueDeclaration),
    /// The data shard has dropped the queue's messages; forget it and its bindings.
    QueueRemove {
        queue: QueueId,
    },
    TopicCreate(TopicSpec),
    /// Remove topic and bindings; the data shards are told to drop the partitions afterwards.
    TopicDelete {
        vhost: String,
        name: String,
    },
    /// Grow to `total` partitions.
    PartitionsAdd {
        vhost: String,
        name: String,
        total: u32,
    },
    /// Replace the explicit configuration.
    TopicConfigure {
        vhost: String,
        name: String,
        configs: Vec<(String, String)>,
    },
    /// Allocate one producer id.
    ProducerId,
    /// Create a vhost, or say something else about it.
    VhostPut(VhostSpec),
    /// With everything in it.
    VhostDelete {
        name: String,
    },
    UserPut(UserSpec),
    /// With its permissions and limits.
    UserDelete {
        name: String,
    },
    PermissionPut(PermissionSpec),
    PermissionDelete {
        user: String,
        vhost: String,
    },
    TopicPermissionPut(TopicPermissionSpec),
    TopicPermissionDelete {
        user: String,
        vhost: String,
        /// `None`: for all exchanges.
        exchange: Option<String>,
    },
    PolicyPut(PolicySpec),
    PolicyDelete {
        vhost: String,
        name: String,
        operator: bool,
    },
    /// Replace the limits: `max-connections`, `max-queues`, `max-channels`; negative ones are none.
    LimitsPut {
        scope: LimitScope,
        limits: Vec<(String, i64)>,
    },
    /// A runtime parameter that Bowline keeps and gives back, without acting on it: its value as JSON.
    ParameterPut {
        /// `None`: a global parameter.
        vhost: Option<String>,
        component: String,
        name: String,
        value: String,
    },
    /// Replace the explicit settings of something that is known by kind and name alone; none at all forgets it.
    ConfigPut {
        kind: ConfigKind,
        name: String,
        configs: Vec<(String, String)>,
    },
    /// Change what SCRAM knows of a user, all of it or nothing. Removing what is not there is refused.
    ScramAlter {
        user: String,
        put: Vec<(ScramMechanism, ScramCredential)>,
        remove: Vec<ScramMechanism>,
    },
    /// Random octets that nobody outside shall know, proposed by the first start; later ones are ignored.
    SecretSet([u8; 32]),
    /// Access rules for Kafka clients; those that are there already stay.
    AclsAdd(Vec<Acl>),
    /// Exactly these, if they are there.
    AclsRemove(Vec<Acl>),
    /// Change what one entity may use. An entity without quotas is forgotten.
    QuotasSet {
        entity: QuotaEntity,
        changes: QuotaChanges,
    },
}

/// What else than a topic has settings: Kafka's config resource types.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum ConfigKind {
    /// A consumer or share group, by its id.
    Group,
    /// A subscription to clients' metrics.
    ClientMetrics,
    /// A broker by its node id; the empty name stands for all.
    Broker,
}

/// What a command answered.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// Done, or was so already.
    Ok,
    /// The queue exists now. Counts come from its data shard.
    Queue {
        queue: QueueId,
        name: String,
        ready: u64,
        consumers: u32,
    },
    /// The queue is gone; this many ready messages went with it.
    QueueDeleted {
        messages: u64,
    },
    Topic {
        id: TopicId,
        partitions: Vec<PartitionId>,
    },
    ProducerId(i64),
}

/// Why a command was refused. `text` is the explanation that the AMQP client sees behind the code's
/// name (RabbitMQ's wording), and that Kafka clients see as error message.
#[derive(Clone, PartialEq, Debug)]
pub struct Rejection {
    pub reason: Reason,
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    NotFound,
    AlreadyExists,
    /// Declared again with other properties.
    Inequivalent,
    /// Exclusive to another connection.
    Locked,
    InUse,
    NotEmpty,
    /// Reserved names, the default exchange, system exchanges.
    Forbidden,
    InvalidArgument,
    InvalidName,
    InvalidPartitions,
    InvalidConfig,
    NotImplemented,
    /// A bound was reached.
    Limit,
    /// The node cannot write (disk full, stopping).
    Unavailable,
}

/// What a session asks of the meta shard. Answered by `Event::Meta` with the same token.
#[derive(Clone, PartialEq, Debug)]
pub enum MetaRequest {
    Propose(Command),
    /// Delete a queue: the data shard checks `if_unused` and `if_empty` and drops the messages first.
    /// `by` is the asking session, for exclusive queues.
    QueueDelete {
        vhost: String,
        name: String,
        if_unused: bool,
        if_empty: bool,
    },
}
