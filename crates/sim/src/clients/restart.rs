//! What clients may expect of a node that went and came back.

use super::Clients;
use crate::note;
use bowline_topology::Topology;
use std::collections::BTreeMap;

impl Clients {
    /// The node is gone, in whatever way; so are all connections.
    pub fn crashed(&mut self) {
        self.counts.crashes += 1;
        self.life += 1;
        self.in_round.clear();
        self.streams.crashed();
        self.groups.crashed();
        self.rules.crashed();
        self.txns.crashed();
        self.dropped.clear();
        self.leaving.clear();
        self.sessions.clear();
        self.consumers.clear();
        // Declarations under way may have been carried out; a client has to ask again.
        self.waiting.clear();
        for queue in self.queues.values_mut() {
            queue.crashed(self.memory_is_ample);
        }
    }

    /// A data shard has recovered; `ready` counts the messages of its queues. Nothing has happened since.
    pub fn recovered(&mut self, shard: u16, data_shards: u16, ready: &BTreeMap<u32, u64>) {
        let mine = |id: u32| bowline_model::ShardId::of(id, data_shards).0 == shard;
        let going: Vec<u32> = self.queues.values().filter(|q| self.may_be_going(q)).map(|q| q.id).collect();
        for queue in self.queues.values_mut().filter(|q| q.survives && !q.dropped && mine(q.id)) {
            match ready.get(&queue.id) {
                Some(ready) => {
                    note!(self.trace, "recovered q{} ready={}", queue.id, *ready);
                    queue.count(*ready);
                }
                None => {
                    assert!(
                        going.contains(&queue.id),
                        "promise: durable queue {} outlives a crash",
                        queue.id
                    );
                    queue.drop_messages();
                }
            }
        }
    }

    /// The node serves again.
    pub fn started(&mut self, topology: &Topology) {
        let going: Vec<u32> = self.queues.values().filter(|q| self.may_be_going(q)).map(|q| q.id).collect();
        self.deleting.clear();
        let mut gone = Vec::new();
        for queue in self.queues.values_mut() {
            match topology.queue_by_id(bowline_model::QueueId(queue.id)) {
                Some(_) => {
                    assert!(queue.survives, "promise: queue {} does not outlive the node", queue.id);
                    queue.may_vanish = false;
                    // Dropped by its shard and not by the topology: whoever wants it has to declare it.
                    if queue.dropped {
                        gone.push(queue.id);
                    }
                }
                None => {
                    assert!(
                        !queue.survives || going.contains(&queue.id),
                        "promise: the declaration of queue {} outlives a crash",
                        queue.id
                    );
                    gone.push(queue.id);
                }
            }
        }
        for id in gone {
            self.queues.remove(&id);
            self.names.retain(|_, queue| *queue != id);
        }
        self.streams.started(topology);
        self.txns.started(topology);
        note!(self.trace, "started life {} with {} queues", self.life, self.queues.len());
    }
}
