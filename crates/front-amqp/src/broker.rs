//! The session's view of the node: the topology to look things up in, and a line to the shards.
//!
//! A trait because tests and the simulation stand on the other side of it as often as a node does.

use bowline_model::event::DirectReply;
use bowline_model::meta::MetaRequest;
use bowline_model::request::Request;
use bowline_model::{SessionId, ShardId, Token};
use bowline_replica::{Link, Usage};
use bowline_topology::Topology;
use std::sync::Arc;

pub trait Broker {
    fn session_id(&self) -> SessionId;

    /// How many data shards there are.
    fn data_shards(&self) -> u16;

    /// Moves whenever the topology has changed.
    fn topology_version(&self) -> u64;

    /// Runs `read` once, under the topology's lock: it must be short. Callers use `look_up`.
    fn read_topology(&self, read: &mut dyn FnMut(&Topology));

    /// Who uses the node, for limits.
    fn usage(&self) -> Arc<Usage>;

    /// Adds a request for a data shard to the batch that goes out after this round of input or events.
    fn send(&mut self, shard: ShardId, request: Request);

    /// Adds a request for the meta shard to that batch.
    fn ask_meta(&mut self, token: Token, request: MetaRequest);

    /// A new address for direct replies to this session; nobody can guess it.
    fn open_replies(&mut self) -> u128;

    fn close_replies(&mut self, address: u128);

    /// Whether some session has that address.
    fn takes_replies(&self, address: u128) -> bool;

    /// Hands a reply to the session that has its address, at most once. False if there is none.
    fn send_reply(&mut self, reply: Box<DirectReply>) -> bool;
}

/// [`Broker::read_topology`] with an answer.
pub fn look_up<T>(broker: &dyn Broker, read: impl FnOnce(&Topology) -> T) -> T {
    let mut read = Some(read);
    let mut answer = None;
    broker.read_topology(&mut |topology| {
        if let Some(read) = read.take() {
            answer = Some(read(topology));
        }
    });
    answer.expect("read_topology runs its closure")
}

impl Broker for Link {
    fn session_id(&self) -> SessionId {
        self.id()
    }

    fn data_shards(&self) -> u16 {
        self.node().data_shards()
    }

    fn topology_version(&self) -> u64 {
        self.node().topology_version()
    }

    fn read_topology(&self, read: &mut dyn FnMut(&Topology)) {
        read(&self.node().topology());
    }

    fn usage(&self) -> Arc<Usage> {
        self.node().usage().clone()
    }

    fn send(&mut self, shard: ShardId, request: Request) {
        Link::send(self, shard, request);
    }

    fn ask_meta(&mut self, token: Token, request: MetaRequest) {
        Link::ask_meta(self, token, request);
    }

    fn open_replies(&mut self) -> u128 {
        Link::open_replies(self)
    }

    fn close_replies(&mut self, address: u128) {
        Link::close_replies(self, address);
    }

    fn takes_replies(&self, address: u128) -> bool {
        Link::takes_replies(self, address)
    }

    fn send_reply(&mut self, reply: Box<DirectReply>) -> bool {
        Link::send_reply(self, reply)
    }
}
