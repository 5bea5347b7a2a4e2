//! Transactions: the coordinator of transactional ids, and the offsets that groups commit with a transaction.
//!
//! * [`coordinator`]: what a request, a timer or a confirmation makes of one id.
//! * [`pending`]: in the shards of groups, offsets that wait for a transaction's end.
//! * [`checkpoint`]: the durable state of both as bytes.
//!
//! What partitions do is in [`crate::partition`]; the steps are drawn in [`bowline_model::txn`].
//!
//! A coordinator does one thing at a time: requests that come while something is under way wait for it, in order, so
//! each finds its predecessors carried out and durable. Where all who take part live in the coordinator's shard (with
//! one data shard: always), each step is one block, and a transaction's end is atomic in the log. Else the coordinator
//! writes down what it has decided, has the other shards write their part ([`Send`]) until each has confirmed, and
//! writes down that it is done; after a crash it begins again at what it had decided.

mod checkpoint;
mod coordinator;
mod pending;
#[cfg(test)]
mod tests;

pub use checkpoint::{read as read_checkpoint, write as write_checkpoint};
pub use coordinator::{TxnWaiter, Txns};
pub use pending::{Pending, Refused};

use bowline_model::ShardId;

/// An id that has had no open transaction for so long is forgotten, ms (Kafka's `transactional.id.expiration.ms`).
pub const ID_EXPIRY_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Transactional ids of one shard; further ones are refused.
pub const IDS_MAX: usize = 100_000;
/// Longest transactional id, bytes.
pub const ID_BYTES_MAX: usize = 32 * 1024;
/// Partitions (and as many groups) in one transaction.
pub const MEMBERS_MAX: usize = 20_000;
/// Requests about one id that wait for their turn; further ones are told to come again.
const WAITING_MAX: usize = 256;

/// Which of how many data shards this is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub shard: ShardId,
    pub data_shards: u16,
}

impl Default for Place {
    fn default() -> Place {
        Place { shard: ShardId(1), data_shards: 1 }
    }
}

/// Records for another shard, to be logged there sooner or later; then `Stream::confirmed` wants the ticket.
#[derive(Debug)]
pub struct Send {
    pub shard: ShardId,
    pub records: Vec<u8>,
    pub count: u32,
    pub ticket: u64,
}
