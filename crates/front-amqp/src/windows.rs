//! Tells each shard how much of what it delivered has reached the socket.
//!
//! A shard stops at [`DELIVERY_WINDOW_BYTES`] that were not reported. Deliveries leave the outbox in the order in
//! which they entered it, so a marker behind each batch of deliveries is enough.

use std::collections::VecDeque;

use bowline_model::ShardId;
use bowline_model::request::{DELIVERY_WINDOW_BYTES, Request};

use crate::broker::Broker;

/// One report for this many octets at the latest; smaller ones ride with settles or wait for a quiet moment.
const REPORT_BYTES: u64 = DELIVERY_WINDOW_BYTES / 4;

pub struct Windows {
    /// Once the outbox has written up to `position`, `bytes` of `shard` are through.
    markers: VecDeque<Marker>,
    /// Written and not yet reported, per data shard.
    owed: Vec<u64>,
}

struct Marker {
    position: u64,
    shard: ShardId,
    bytes: u64,
}

impl Windows {
    pub fn new(data_shards: u16) -> Windows {
        Windows { markers: VecDeque::new(), owed: vec![0; usize::from(data_shards)] }
    }

    /// `bytes` of deliveries (as the shard counts them) end at `position` of the outbox.
    pub fn delivered(&mut self, shard: ShardId, bytes: u64, position: u64) {
        self.markers.push_back(Marker { position, shard, bytes });
    }

    /// The outbox has written up to `position`.
    pub fn written(&mut self, position: u64, broker: &mut dyn Broker) {
        while let Some(marker) = self.markers.front()
            && marker.position <= position
        {
            let owed = &mut self.owed[usize::from(marker.shard.0) - 1];
            *owed += marker.bytes;
            if *owed >= REPORT_BYTES {
                broker.send(marker.shard, Request::Drained { bytes: std::mem::take(owed) });
            }
            self.markers.pop_front();
        }
    }

    /// Reports what that shard was not told yet, however little: it may have a message that needs the whole window.
    pub fn report(&mut self, shard: ShardId, broker: &mut dyn Broker) {
        let owed = &mut self.owed[usize::from(shard.0) - 1];
        if *owed > 0 {
            broker.send(shard, Request::Drained { bytes: std::mem::take(owed) });
        }
    }

    pub fn report_all(&mut self, broker: &mut dyn Broker) {
        for at in 0..self.owed.len() {
            self.report(ShardId(at as u16 + 1), broker);
        }
    }

    pub fn owes(&self) -> bool {
        self.owed.iter().any(|&owed| owed > 0)
    }
}
