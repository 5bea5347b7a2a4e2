//! AMQP 0-9-1 for clients that were written for RabbitMQ.
//!
//! [`Session`] is the protocol: a state machine without I/O. [`serve`] runs sessions on sockets. In the order of a
//! connection's life: `handshake`, `methods` (channels, and who waits for what), `publish` and `publisher`,
//! `queues` and `exchanges`, `consume`, `deliver`, `settle`; `answers` takes what shards say. Streams are apart
//! (`stream`, `convert`), because a session reads a topic by itself.
//!
//! What it deliberately does not know: storage, other sessions, other protocols. It sees the topology to route by,
//! and shards to ask ([`Broker`]). Not served yet, and refused by name: transactions (tx), direct reply-to, message
//! expiration, consumer timeouts, stream filters.

mod answers;
mod broker;
mod chance;
mod channel;
mod consume;
mod consumers;
mod convert;
mod deliver;
mod exchanges;
mod fields;
mod handshake;
mod login;
mod methods;
mod options;
mod outbox;
mod publish;
mod publisher;
mod queues;
mod refusal;
mod routes;
mod serve;
mod session;
mod settle;
mod stream;
mod token;
mod unacked;
mod windows;

pub use broker::Broker;
pub use options::{Options, Users};
pub use outbox::Outbox;
pub use serve::serve;
pub use session::{Now, Peer, Session};
