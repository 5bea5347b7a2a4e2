//! Small integer names. All are allocated by the log or by a session, never by chance or by the clock.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A replicated log and the state machine it feeds. 0 is the meta shard, 1..=N are data shards.
    ShardId(u16)
);
id!(
    /// A queue, allocated by the meta shard. Queues and partitions share one number space, so an id
    /// names at most one of them, ever: ids are never reused.
    QueueId(u32)
);
id!(
    /// A partition of a topic; same number space as [`QueueId`].
    PartitionId(u32)
);
id!(
    /// One client connection of this node's life. Never reused until the node restarts.
    SessionId(u64)
);
id!(
    /// Chosen by a session, echoed in the answer. Means nothing to a shard.
    Token(u64)
);
id!(
    /// A consumer, unique in its session; allocated by the session, never reused within it.
    ConsumerId(u32)
);

/// A topic's identity on the wire (Kafka topic id). Random 128 bits that enter with the command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct TopicId(pub [u8; 16]);

impl ShardId {
    /// The shard that holds exchanges, bindings, queues' and topics' declarations and users.
    pub const META: ShardId = ShardId(0);

    /// The data shard that owns queue or partition `id`. `data_shards` ≥ 1 is fixed when the data
    /// directory is created, so this never changes for an id.
    pub fn of(id: u32, data_shards: u16) -> ShardId {
        ShardId(1 + (id % u32::from(data_shards)) as u16)
    }

    /// The data shard that coordinates consumer group `name`.
    pub fn of_group(name: &str, data_shards: u16) -> ShardId {
        // FNV-1a: stable across versions and platforms, which a std hasher is not.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        ShardId(1 + (hash % u64::from(data_shards)) as u16)
    }
}
