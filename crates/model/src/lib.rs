//! The shared vocabulary of Bowline: ids, log positions, blocks, records, and what sessions and
//! shards say to each other. Plain data; no I/O, no clock, no protocol.
//!
//! * [`id`], [`lsn`]: names for things.
//! * [`block`]: the unit of writing, replication and caching; [`record`]: what a block holds.
//! * [`request`] / [`event`]: session → shard and shard → session.
//! * [`extras`], [`settings`]: what a queue knows of a message, and what it enforces.
//! * [`principal`]: who a client is; [`acl`], [`quota`]: what Kafka's rules let it do, and how much.
//! * [`meta`]: topology commands (declare, bind, create topic …) and their outcomes.
//! * [`consumer_group`]: the same of groups whose partitions the broker assigns; [`group_config`]: settings of groups.
//! * [`group`]: consumer-group requests and replies; [`share`]: the same of share groups, which settle record by record;
//!   [`share_config`]: their settings; [`txn`]: the same of transactions.

pub mod acl;
pub mod block;
pub mod consumer_group;
pub mod event;
pub mod extras;
pub mod group;
pub mod group_config;
pub mod id;
pub mod lsn;
pub mod meta;
pub mod outbox;
pub mod pool;
pub mod principal;
pub mod quota;
pub mod record;
pub mod request;
pub mod schedule;
pub mod settings;
pub mod share;
pub mod share_config;
pub mod transferred;
pub mod txn;
pub mod varint;

pub use block::{AlignedBuf, Block, BlockRef};
pub use id::{ConsumerId, PartitionId, QueueId, SessionId, ShardId, Token, TopicId};
pub use lsn::Lsn;
pub use principal::Principal;

/// Milliseconds since the Unix epoch. Always an input, never read from a clock inside the core.
pub type Millis = u64;
