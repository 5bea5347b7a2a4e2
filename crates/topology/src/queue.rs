//! One declared queue.

use bowline_model::meta::QueueDeclaration;
use bowline_model::{Millis, QueueId, SessionId, ShardId};

#[derive(Debug)]
pub struct Queue {
    pub id: QueueId,
    /// Where its messages are.
    pub shard: ShardId,
    pub kind: QueueType,
    /// As declared; an exclusive queue is never durable here, whatever was asked for (as in RabbitMQ).
    pub declared: QueueDeclaration,
    pub created: Millis,
}

/// Argument `x-queue-type`. Absent is classic. `stream` makes a topic instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueType {
    Classic,
    Quorum,
}

impl Queue {
    /// Whether session `by` may use it: exclusive queues belong to one connection.
    pub fn open_to(&self, by: SessionId) -> bool {
        self.declared.exclusive.is_none_or(|owner| owner == by)
    }
}
