//! Topology commands: every way the meta shard's state may change, and what comes of it.
//!
//! Commands are logged as postcard, so variants and fields are only ever appended.

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
