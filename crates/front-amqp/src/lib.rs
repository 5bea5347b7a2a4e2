//! AMQP 0-9-1 for clients that were written for RabbitMQ.
//!
//! [`Session`] is the protocol: a state machine without I/O. [`serve`] runs one on a socket. In the order of a
//! connection's life: [`handshake`](Session), channels and their methods, publishing ([`publisher`]), deliveries,
//! settling; streams are apart, because a session reads a topic by itself.
//!
//! What it deliberately does not know: storage, other sessions, other protocols. It sees the topology to route by,
//! and shards to ask ([`Broker`]).

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
