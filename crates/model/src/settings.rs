//! What a queue enforces: its declaration's arguments and the policies that match it, resolved by the topology into
//! plain values. Data shards know no argument names.

use serde::{Deserialize, Serialize};

/// All off by default: a plain queue, on the short paths. Fields are only ever appended (it is stored as postcard).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct QueueSettings {
    /// Messages live this long in the queue, ms; 0: only as long as it takes to hand them to somebody who waits.
    pub message_ttl_ms: Option<u64>,
    /// The queue goes when it has had no consumers, gets or declarations for this long, ms. > 0.
    pub expires_ms: Option<u64>,
    /// Where messages go that are rejected, expire, are too many or come back too often; `""` is the default exchange.
    pub dead_letter_exchange: Option<String>,
    /// Instead of the message's own routing keys.
    pub dead_letter_routing_key: Option<String>,
    /// Ready messages.
    pub max_length: Option<u64>,
    /// Body bytes of ready messages.
    pub max_length_bytes: Option<u64>,
    pub overflow: Overflow,
    /// Priorities 0 to this; `None`: all messages are equal.
    pub max_priority: Option<u8>,
    /// Of messages that have none.
    pub default_priority: u8,
    pub single_active_consumer: bool,
    /// Deliveries tell how often the message was acquired and how often it failed (quorum queues).
    pub counts_deliveries: bool,
    /// A message that has failed more often than this is dead-lettered or dropped.
    pub delivery_limit: Option<u64>,
    /// Any return counts as a failure, not only rejections and lost consumers.
    pub returns_are_failures: bool,
    /// A consumer that holds a message longer than this is cancelled and its messages return, ms.
    pub consumer_timeout_ms: Option<u64>,
    /// What comes back waits before it is delivered again.
    pub retry: Option<Retry>,
    /// Messages with an id that was seen in the window are confirmed and dropped.
    pub dedup: Option<Dedup>,
    /// Messages with one key go to one consumer at a time, in order.
    pub keyed: bool,
    /// Tenants take turns.
    pub fair: bool,
    /// What happens to its messages is told to this exchange.
    pub trace_exchange: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Overflow {
    #[default]
    DropHead,
    RejectPublish,
    /// Refused messages are dead-lettered with reason maxlen.
    RejectPublishDlx,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Retry {
    /// Which returns wait.
    pub on: RetryOn,
    /// Delay before attempt n + 1 is entry n (the last one for all beyond), ms. Not empty unless `backoff` is set.
    pub delays_ms: Vec<u64>,
    pub backoff: Option<Backoff>,
    /// After this many failures the message is dead-lettered or dropped with reason delivery_limit.
    pub attempts_max: Option<u64>,
}

/// delay = min(max, base × growth), spread by ± jitter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Backoff {
    pub min_ms: u64,
    pub max_ms: u64,
    /// Percent by which each delay exceeds the one before (100 doubles); `None`: linear, min × failures.
    pub factor_percent: Option<u32>,
    /// Percent, 0 to 100; derived from the message's number, so that replicas agree.
    pub jitter_percent: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RetryOn {
    All,
    /// Rejections with requeue and lost consumers.
    Failed,
    /// `basic.nack` with requeue.
    Returned,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dedup {
    pub window_ms: u64,
    /// Ids remembered at most; the oldest goes first.
    pub count_max: u64,
}
