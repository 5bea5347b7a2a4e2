//! The topology: vhosts, exchanges, bindings, queues and topics.

/// The meta shard's state.
#[derive(Default)]
pub struct Topology {}
