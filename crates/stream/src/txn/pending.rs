//! Offsets that wait for a transaction (KIP-98, KIP-447): kept in the shard of their group until the coordinator says
//! how the transaction has ended.

use bowline_model::group::{OffsetDeleteRecord, PartitionCommit};
use bowline_model::txn::{AdmitRecord, GroupsRecord, OffsetsRecord, Producer};
use bowline_model::{SessionId, group};
use std::collections::BTreeMap;

/// Offsets, by topic.
pub type Topics = Vec<(String, Vec<PartitionCommit>)>;

/// Producers of groups whose newest session is remembered; then all are forgotten.
const NEWEST_MAX: usize = 100_000;

/// Topic, partition.
pub type Key = (String, i32);

/// Of all groups of the shard.
#[derive(Debug, Default)]
pub struct Pending {
    pub(super) by_group: BTreeMap<String, BTreeMap<i64, PendingTxn>>,
    /// Volatile: by group and producer id, the epoch and the newest session on which it spoke.
    newest: BTreeMap<(String, i64), (i16, SessionId)>,
}

/// What one producer's transaction has for a group.
#[derive(Debug, Default)]
pub struct PendingTxn {
    pub epoch: i16,
    pub offsets: BTreeMap<Key, PartitionCommit>,
}

/// Why offsets are not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    Error(group::Error),
    /// What comes out of this connection is of the past.
    Outdated,
}

impl Pending {
    /// May the producer add offsets for the group? `session`: unless its epoch tells what is of the past.
    pub fn check(
        &mut self,
        group: &str,
        producer: Producer,
        session: Option<SessionId>,
    ) -> Result<(), Refused> {
        let found = self.by_group.get(group).and_then(|all| all.get(&producer.id));
        match found {
            Some(open) if open.epoch == producer.epoch => match session {
                Some(session) => self.hear(group, producer, session),
                None => Ok(()),
            },
            Some(open) if open.epoch > producer.epoch => {
                Err(Refused::Error(group::Error::InvalidProducerEpoch))
            }
            _ => Err(Refused::Error(group::Error::InvalidTxnState)),
        }
    }

    /// Producers speak on their newest connection: what an older one still brings was sent before, perhaps in a
    /// transaction that has ended.
    fn hear(&mut self, group: &str, producer: Producer, session: SessionId) -> Result<(), Refused> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_on(&crate::sabotage::OLD_CONNECTION_HEARD) {
            return Ok(());
        }
        if self.newest.len() >= NEWEST_MAX {
            self.newest.clear();
        }
        let newest = self.newest.entry((group.to_owned(), producer.id)).or_default();
        if newest.0 == producer.epoch && session < newest.1 {
            return Err(Refused::Outdated);
        }
        *newest = (producer.epoch, session);
        Ok(())
    }

    /// Whether an open transaction may change the group's offset there.
    pub fn is_unstable(&self, group: &str, topic: &str, partition: i32) -> bool {
        let Some(open) = self.by_group.get(group) else { return false };
        let key = (topic.to_owned(), partition);
        open.values().any(|open| open.offsets.contains_key(&key))
    }

    /// No transaction is open in any group.
    pub fn is_empty(&self) -> bool {
        self.by_group.is_empty()
    }

    pub fn is_open(&self, group: &str) -> bool {
        self.by_group.contains_key(group)
    }

    /// Offsets that wait in the group.
    pub fn len(&self, group: &str) -> usize {
        self.by_group.get(group).map_or(0, |open| open.values().map(|open| open.offsets.len()).sum())
    }

    /// Applies the part of a TxnAdmit record that is about groups.
    pub fn admit(&mut self, record: AdmitRecord) {
        for group in record.groups {
            let open = self.by_group.entry(group).or_default().entry(record.producer.id).or_default();
            open.epoch = open.epoch.max(record.producer.epoch);
        }
    }

    pub fn add(&mut self, record: OffsetsRecord) {
        let found = self.by_group.get_mut(&record.group).and_then(|all| all.get_mut(&record.producer.id));
        let Some(open) = found.filter(|open| open.epoch == record.producer.epoch) else { return };
        for (topic, partitions) in record.topics {
            for commit in partitions {
                open.offsets.insert((topic.clone(), commit.partition), commit);
            }
        }
    }

    /// The group has committed these offsets itself, after what waits for them, which counts no more: the last word
    /// holds, whenever the transaction ends.
    pub fn overtaken(&mut self, group: &str, topics: &Topics) {
        let Some(open) = self.by_group.get_mut(group) else { return };
        for (topic, partitions) in topics {
            for commit in partitions {
                let key = (topic.clone(), commit.partition);
                open.values_mut().for_each(|open| drop(open.offsets.remove(&key)));
            }
        }
    }

    /// The group, or these offsets of it, have been deleted: what waits for them goes with them, and the transaction
    /// goes on without (as in Kafka).
    pub fn deleted(&mut self, delete: &OffsetDeleteRecord) {
        let Some(open) = self.by_group.get_mut(&delete.group) else { return };
        let Some(topics) = &delete.topics else {
            return open.values_mut().for_each(|open| open.offsets.clear());
        };
        for (topic, partitions) in topics {
            for &partition in partitions {
                let key = (topic.clone(), partition);
                open.values_mut().for_each(|open| drop(open.offsets.remove(&key)));
            }
        }
    }

    /// Groups and partitions of the topic for which offsets wait.
    pub fn of_topic<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = (&'a str, i32)> {
        self.by_group.iter().flat_map(move |(group, open)| {
            let keys = open.values().flat_map(|open| open.offsets.keys());
            keys.filter(move |(t, _)| t == topic).map(move |(_, partition)| (group.as_str(), *partition))
        })
    }

    /// The transaction has ended: what it had, by group.
    pub fn end(&mut self, record: &GroupsRecord) -> Vec<(String, Topics)> {
        let mut ended = Vec::new();
        for group in &record.groups {
            let Some(all) = self.by_group.get_mut(group) else { continue };
            if all.get(&record.producer.id).is_none_or(|open| open.epoch > record.producer.epoch) {
                continue;
            }
            let Some(open) = all.remove(&record.producer.id) else { continue };
            if all.is_empty() {
                self.by_group.remove(group);
            }
            let mut topics: Vec<(String, Vec<PartitionCommit>)> = Vec::new();
            for ((topic, _), commit) in open.offsets {
                match topics.last_mut() {
                    Some((last, commits)) if *last == topic => commits.push(commit),
                    _ => topics.push((topic, vec![commit])),
                }
            }
            ended.push((group.clone(), topics));
        }
        ended
    }
}
