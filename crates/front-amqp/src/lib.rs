//! AMQP 0-9-1 for clients that were written for RabbitMQ.
//!
//! [`Session`] is the protocol: a state machine without I/O. [`serve`] runs sessions on sockets. In the order of a
//! connection's life: `handshake`, `methods` (channels, and who waits for what), `publish` and `publisher`,
//! `queues` and `exchanges`, `consume`, `deliver`, `settle`; `answers` takes what shards say. Streams are apart
//! (`stream`), because a session reads a topic by itself.
//!
//! What it deliberately does not know: storage, other sessions, other protocols. It sees the topology to route by,
//! and shards to ask ([`Broker`]). What it asks of shards is told in the shards' terms: `extras` reads out of
//! properties and headers what queues have to know. Transactions (`tx`) and direct replies (`replies`) live here
//! alone; the latter go from session to session.

mod access;
mod answers;
mod broker;
mod chance;
mod channel;
mod consume;
mod consumers;
mod deliver;
mod exchanges;
mod extras;
mod group;
mod handshake;
mod intent;
mod login;
mod methods;
mod options;
mod outbox;
mod publish;
mod publisher;
mod queues;
mod refusal;
mod replies;
mod routes;
mod serve;
mod session;
mod settle;
mod stream;
mod token;
mod tx;
mod unacked;
mod windows;

/// What a [`Broker`] counts.
pub use bowline_replica::Usage;
pub use broker::Broker;
pub use options::{CertificateUser, Options};
pub use outbox::Outbox;
pub use serve::serve;
pub use session::{Now, Peer, Session};
