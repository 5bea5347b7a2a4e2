//! The meta shard's state machine: exchanges, bindings, the declarations of queues and topics, and routing.
//!
//! [`Topology::apply`] changes the state from a logged [`Command`] alone, so every replica and every replay ends in
//! the same state; [`Topology::checkpoint`] is canonical: equal states give equal bytes. [`Topology::check`] tells
//! beforehand whether a command has anything to do, so that refusals and no-ops need no log entry.
//!
//! What it deliberately does not do: I/O, clocks and random numbers (times and topic ids come with commands), messages
//! and consumers (data shards); enforcing permissions, access rules and quotas (sessions ask [`Topology::may`],
//! [`acls`] and [`quotas`])
//!
//! Words: an exchange *routes* a message to *targets*; a target is a queue or a topic. Queues and topics share one
//! name space per vhost, because to AMQP clients a topic is a queue of type `stream`.

pub mod access;
pub mod acls;
mod applied;
mod apply;
pub mod arguments;
mod bag;
mod bindings;
mod checkpoint;
pub mod config;
mod configured;
mod decide;
mod equivalence;
mod exchange;
mod headers;
pub mod history;
mod listing;
pub mod names;
pub mod password;
mod pattern;
pub mod policy;
mod queue;
pub mod quotas;
pub mod refusal;
mod route;
pub mod scram;
pub mod settings;
mod slab;
mod spread;
mod state;
mod targets;
mod topic;
mod trie;
pub mod value;
pub mod vhosts;

pub use access::Access;
pub use applied::{Applied, Check};
pub use checkpoint::RestoreError;
pub use config::Defaults;
pub use configured::{CONFIGURED_MAX, CONFIGURED_NAME_BYTES_MAX};
pub use exchange::{Exchange, Message};
pub use queue::{Queue, QueueType};
pub use spread::Property;
pub use state::{
    BINDINGS_MAX, EXCHANGES_MAX, Entry, PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX, QUEUES_MAX, Topology,
};
pub use targets::{NoExchange, QueueTarget, Targets, TopicTarget};
pub use topic::Topic;

pub use bowline_model::meta::{Command, Reason, Rejection};
