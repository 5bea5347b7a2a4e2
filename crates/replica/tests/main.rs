//! A node of threads, and shards over a fake disk: one program for all tests, which is quicker to build than one for
//! each file.

mod common;
mod compaction_crash;
mod machine;
mod node;
mod relocation;
mod relocation_crash;
mod starting;
mod topics;
