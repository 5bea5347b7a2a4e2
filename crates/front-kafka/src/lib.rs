//! The Kafka front end: sessions that serve unmodified Kafka clients.
//!
//! ```text
//! socket ─► connection (frames in, segments out) ─► session (order, what waits for what) ─► handlers/ (one API each)
//!                                                       │ requests                   ▲ events
//!                                                       ▼                            │
//!                                                     Link (the shards of the node)
//! ```
//! * [`server`]: listener to connections. [`connection`]: the thin shell around a socket.
//! * [`session`]: frames and events in, requests and response segments out; no socket, no clock.
//! * [`handlers`]: one file for each API; [`versions`] says what is served.
//! * [`features`]: levels that ApiVersions tells. [`fetch_sessions`]: what consumers read, remembered over their requests.
//! * [`access`]: what a client may do; [`quotas`]: and how much.
//! * [`txns`]: what a connection knows of its producers' transactions.
//! * [`authentication`]: how clients log in; [`login`]: one connection's; [`accounts`]: the users; [`passwords`]: checking them.
//! * [`share`]: share groups' members and sessions.
//! * [`batch_rules`]: what a produced batch must keep. [`catalog`]: topics as Kafka sees them, out of the topology. [`errors`]: refusals to Kafka's codes.
//!
//! Invariants: responses leave in the order of the requests; what is advertised is served; everything a peer can
//! make grow has a bound in [`options::Limits`]. Streams groups are
//! absent on purpose, and therefore not advertised.

pub mod access;
pub mod accounts;
pub mod authentication;
pub mod batch_rules;
pub mod catalog;
pub mod connection;
pub mod errors;
pub mod features;
pub mod fetch_sessions;
pub mod handlers;
pub mod loggers;
pub mod login;
pub mod options;
pub mod passwords;
pub mod pending;
pub mod quotas;
pub mod server;
pub mod session;
pub mod share;
pub mod telemetry;
pub mod txns;
pub mod versions;

pub use authentication::{Anonymous, Authentication};
pub use loggers::Loggers;
pub use options::{AclOptions, CertificateUser, Limits, Options};
pub use server::serve;
