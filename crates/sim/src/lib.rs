//! Bowline under simulation: core and log on a fake disk, in one thread, from one seed.
//!
//! A [`world::World`] is a node ([`node::Node`]: production's shards over production's log on
//! `bowline_storage::FakeDisk`), its clients ([`workload`]) and what they were promised ([`clients`], the shadow
//! model). Whatever threads, disks and networks decide in production is drawn from the seed ([`chance`]): who runs
//! next, which write is done first, what a crash leaves of those that are not, when a checkpoint is taken. After every
//! step the model compares what it sees with what it was promised; a broken promise panics, and [`seeds`] tells the
//! seed and the step. The same seed gives the same run, down to a checksum over every event ([`trace`]).
//!
//! `docs/simulation.md` says what is checked, how to replay a failure, and which planted bugs ([`sabotage`]) it finds.
//!
//! Not simulated: sockets and the two protocols' sessions (they have tests of their own), threads (the log's and the
//! shards' hand-over between them), real disks (`bowline verify` does that).

pub mod chance;
pub mod clients;
mod compaction;
mod disk;
pub mod node;
pub mod plan;
pub mod progress;
mod replication;
mod rules;
pub mod sabotage;
pub mod seeds;
mod shadows;
pub mod topics;
pub mod trace;
mod txns;
pub mod workload;
pub mod world;
