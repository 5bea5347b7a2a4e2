//! What a connection knows of the transactions of its producers: which partitions have joined, so that the
//! coordinator is asked once for each partition and transaction (KIP-890), and not for each batch.
//!
//! Only producers whose every transaction has an epoch of its own join partitions by producing. What is remembered
//! is therefore true as long as anything is accepted under the epoch.

use bowline_model::PartitionId;
use bowline_model::txn::Producer;
use std::collections::{BTreeMap, BTreeSet};

/// Producers remembered; a connection of a client has one.
const PRODUCERS_MAX: usize = 64;

#[derive(Default)]
pub struct Joined(BTreeMap<(i64, i16), Transaction>);

#[derive(Default)]
struct Transaction {
    partitions: BTreeSet<PartitionId>,
    /// Questions that the coordinator has not answered: batches behind them must not overtake them.
    asking: u32,
}

impl Joined {
    /// Whether the coordinator has to be asked before a batch goes to these. If so, [`Joined::answered`] is due.
    pub fn ask(&mut self, producer: Producer, mut partitions: impl Iterator<Item = PartitionId>) -> bool {
        let key = (producer.id, producer.epoch);
        if !self.0.contains_key(&key) {
            let room = self.0.len() < PRODUCERS_MAX;
            self.0.retain(|(id, _), known| known.asking > 0 || (room && *id != producer.id));
        }
        let known = self.0.entry(key).or_default();
        let must = known.asking > 0 || partitions.any(|partition| !known.partitions.contains(&partition));
        known.asking += u32::from(must);
        must
    }

    /// Those which have joined; none if they may not.
    pub fn answered(&mut self, producer: Producer, joined: impl Iterator<Item = PartitionId>) {
        if let Some(known) = self.0.get_mut(&(producer.id, producer.epoch)) {
            known.asking = known.asking.saturating_sub(1);
            known.partitions.extend(joined);
        }
    }
}
