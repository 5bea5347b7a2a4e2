//! Addresses of sessions that take direct replies, and the way from one session to another.
//!
//! Replies pass by the shards: they are in no log, and a receiver that is gone or too slow goes without (at most
//! once). An address cannot be guessed: it is a keyed hash of a counter, and the keys are the process's own. So
//! whoever knows one was told it by its owner, in a `reply-to`.

use crate::link::Outbox;
use bowline_model::event::{DirectReply, Event};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Replies that wait for one session may be this large altogether, bytes; what comes beyond is dropped.
pub(crate) const REPLIES_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Default)]
pub(crate) struct Replies {
    addresses: RwLock<HashMap<u128, Arc<Outbox>>>,
    keys: [RandomState; 2],
    next: AtomicU64,
}

impl Replies {
    /// A new address, at which replies reach `outbox`.
    pub fn open(&self, outbox: &Arc<Outbox>) -> u128 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let [high, low] = self.keys.each_ref().map(|key| u128::from(key.hash_one(number)));
        let address = high << 64 | low;
        self.addresses.write().insert(address, outbox.clone());
        address
    }

    pub fn close(&self, address: u128) {
        self.addresses.write().remove(&address);
    }

    pub fn is_open(&self, address: u128) -> bool {
        self.addresses.read().contains_key(&address)
    }

    /// Hands a reply over. False if nobody has that address (any more); a reply that there is no room for is
    /// dropped all the same.
    pub fn send(&self, reply: Box<DirectReply>) -> bool {
        let Some(outbox) = self.addresses.read().get(&reply.to).cloned() else { return false };
        let bytes = reply.body.len() + reply.properties.len() + size_of::<DirectReply>();
        if outbox.reserve_replies(bytes) {
            outbox.push_all(&mut vec![Event::Reply(reply)]);
        }
        true
    }
}
