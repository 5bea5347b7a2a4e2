//! Joins the rooms: one thread per shard drives the deterministic core (`bowline-broker`,
//! `bowline-topology`) over the log (`bowline-storage`), and performs the effects.
//!
//! Front ends see [`Node`] and [`Link`] only.

pub mod link;

pub use link::{Link, Node};
