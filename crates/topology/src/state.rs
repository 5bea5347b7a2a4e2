//! The state and its public face.

use crate::{Applied, Check, Defaults, Exchange, NoExchange, Queue, Targets, Topic, refusal};
use bowline_model::meta::{Command, Reason, Rejection, Table};
use bowline_model::request::{PartitionSpec, QueueSpec};
use bowline_model::{Millis, QueueId, SessionId, ShardId, TopicId};

#[derive(Debug)]
pub struct Topology {
    data_shards: u16,
    defaults: Defaults,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    Queue(&'a Queue),
    Topic(&'a Topic),
}

/// A checkpoint that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreError {
    /// Written by a later version.
    Version(u32),
    Damaged,
}

impl Topology {
    /// One vhost, `/`, with RabbitMQ's predeclared exchanges. `data_shards` ≥ 1 never changes for a data directory.
    pub fn new(data_shards: u16, defaults: Defaults) -> Topology {
        Topology { data_shards, defaults }
    }

    /// Deterministic in state, `now` and `command`.
    pub fn apply(&mut self, now: Millis, command: &Command) -> Result<Applied, Rejection> {
        let _ = (now, command);
        Err(refusal::refuse(Reason::NotImplemented, "not yet"))
    }

    /// What `apply` would do with it; also refuses what `by` must not touch (other connections' exclusive queues),
    /// which `apply` cannot know.
    pub fn check(&self, command: &Command, by: SessionId) -> Check {
        let _ = (command, by);
        Check::Log
    }

    /// The node started again (record `NodeStarted`): exclusive queues, non-durable queues and exchanges go, with
    /// their bindings. The queues that went, ascending.
    pub fn node_started(&mut self) -> Vec<QueueId> {
        Vec::new()
    }

    /// What goes with a connection, ascending.
    pub fn exclusive_queues_of(&self, session: SessionId) -> Vec<QueueId> {
        let _ = session;
        Vec::new()
    }

    /// All that data shard `shard` should hold, ascending, for `Provision::Reconcile`.
    pub fn specs(&self, shard: ShardId) -> (Vec<QueueSpec>, Vec<PartitionSpec>) {
        let _ = shard;
        (Vec::new(), Vec::new())
    }

    /// The whole state, versioned and canonical.
    pub fn checkpoint(&self) -> Vec<u8> {
        Vec::new()
    }

    pub fn restore(checkpoint: &[u8], defaults: Defaults) -> Result<Topology, RestoreError> {
        let _ = (checkpoint, defaults);
        Err(RestoreError::Damaged)
    }

    pub fn data_shards(&self) -> u16 {
        self.data_shards
    }

    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    pub fn has_vhost(&self, vhost: &str) -> bool {
        vhost == "/"
    }

    /// The default exchange is "".
    pub fn exchange(&self, vhost: &str, name: &str) -> Option<&Exchange> {
        let _ = (vhost, name);
        None
    }

    pub fn queue(&self, vhost: &str, name: &str) -> Option<&Queue> {
        let _ = (vhost, name);
        None
    }

    pub fn queue_by_id(&self, queue: QueueId) -> Option<&Queue> {
        let _ = queue;
        None
    }

    /// The queue, if it exists and `by` may use it; NotFound or Locked with RabbitMQ's words otherwise.
    pub fn queue_for(&self, vhost: &str, name: &str, by: SessionId) -> Result<&Queue, Rejection> {
        let queue = self.queue(vhost, name).ok_or_else(|| refusal::no_queue(vhost, name))?;
        if queue.open_to(by) { Ok(queue) } else { Err(refusal::locked(vhost, name)) }
    }

    pub fn topic(&self, vhost: &str, name: &str) -> Option<&Topic> {
        let _ = (vhost, name);
        None
    }

    pub fn topic_by_id(&self, id: &TopicId) -> Option<&Topic> {
        let _ = id;
        None
    }

    /// Sorted by name.
    pub fn topics(&self, vhost: &str) -> impl Iterator<Item = &Topic> {
        let _ = vhost;
        std::iter::empty()
    }

    /// What an AMQP queue name stands for.
    pub fn entry(&self, vhost: &str, name: &str) -> Option<Entry<'_>> {
        match self.queue(vhost, name) {
            Some(queue) => Some(Entry::Queue(queue)),
            None => self.topic(vhost, name).map(Entry::Topic),
        }
    }

    /// Adds to `out` where a message goes that is published to `exchange` with `routing_key`. `headers` is called at
    /// most once, when a headers exchange is met. Does not refuse internal exchanges.
    pub fn route(
        &self,
        vhost: &str,
        exchange: &str,
        routing_key: &[u8],
        headers: &mut dyn FnMut() -> Table,
        out: &mut Targets,
    ) -> Result<(), NoExchange> {
        let _ = (vhost, exchange, routing_key, headers, out);
        Err(NoExchange)
    }
}
