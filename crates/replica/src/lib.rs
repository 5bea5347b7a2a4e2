//! Joins the rooms: one thread per shard drives the deterministic core (`bowline-broker`,
//! `bowline-topology`) over the log (`bowline-storage`), and performs the effects.
//!
//! Front ends see [`Node`] and [`Link`] only. [`data::DataShard`] and [`meta::MetaShard`] know no threads and no
//! clock, so that the simulation drives the very code that serves.

pub mod compact;
pub mod data;
pub mod dead_letters;
mod dead_records;
pub mod history;
pub mod keys;
mod link;
pub mod meta;
mod node;
pub mod relocate;
mod replies;
mod snapshot;
mod stories;
mod thread;
mod usage;

pub use bowline_stream::group::Options as GroupOptions;
pub use link::{Link, Node};
pub use node::{Engine, Options, Recovery, StartError, States, recover, start};
pub use snapshot::ShardSnapshot;
pub use usage::{Full, Place, Usage};

/// Whom data shards take the meta shard for. Sessions are numbered from the next one on.
pub const META_SESSION: bowline_model::SessionId = bowline_model::SessionId(0);
