//! Committed offsets of one group: durable, changed by OffsetCommit and OffsetDelete records only.

use super::TopicPartitions;
use bowline_model::Millis;
use bowline_model::group::{PartitionCommit, PartitionOffset};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    pub offset: i64,
    /// −1 when unknown.
    pub leader_epoch: i32,
    pub metadata: Option<Box<str>>,
    /// Stamp of the block that brought it.
    pub stamp: Millis,
}

/// By topic name and partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    topics: BTreeMap<Box<str>, BTreeMap<i32, Committed>>,
    len: usize,
}

impl Offsets {
    /// Partitions with an offset.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.topics.get(topic)?.get(&partition)
    }

    pub fn topics(&self) -> impl Iterator<Item = (&str, &BTreeMap<i32, Committed>)> {
        self.topics.iter().map(|(name, partitions)| (&**name, partitions))
    }

    /// Partitions of the topic that have an offset.
    pub fn partitions(&self, topic: &str) -> Vec<i32> {
        self.topics.get(topic).map(|all| all.keys().copied().collect()).unwrap_or_default()
    }

    pub fn set(&mut self, topic: &str, partition: i32, committed: Committed) {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.into(), BTreeMap::new());
        }
        if let Some(partitions) = self.topics.get_mut(topic)
            && partitions.insert(partition, committed).is_none()
        {
            self.len += 1;
        }
    }

    pub fn commit(&mut self, topic: &str, commit: PartitionCommit, stamp: Millis) {
        let committed = Committed {
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata.filter(|text| !text.is_empty()).map(String::into_boxed_str),
            stamp,
        };
        self.set(topic, commit.partition, committed);
    }

    pub fn remove(&mut self, topic: &str, partitions: &[i32]) {
        let Some(all) = self.topics.get_mut(topic) else { return };
        for partition in partitions {
            if all.remove(partition).is_some() {
                self.len -= 1;
            }
        }
        if all.is_empty() {
            self.topics.remove(topic);
        }
    }

    pub fn clear(&mut self) {
        *self = Offsets::default();
    }

    /// What OffsetFetch says of a partition; empty metadata is the same as none.
    pub fn answer(&self, topic: &str, partition: i32) -> PartitionOffset {
        match self.get(topic, partition) {
            Some(committed) => answer(partition, committed),
            None => PartitionOffset {
                partition,
                offset: -1,
                leader_epoch: -1,
                metadata: Some(String::new()),
                unstable: false,
            },
        }
    }

    /// What OffsetFetch says when asked for everything.
    pub fn answer_all(&self) -> Vec<(String, Vec<PartitionOffset>)> {
        self.topics
            .iter()
            .map(|(topic, all)| (topic.to_string(), all.iter().map(|(&p, c)| answer(p, c)).collect()))
            .collect()
    }

    /// Topics and partitions that were last committed at or before `limit`, except in topics that `keep` names.
    pub fn older_than(&self, limit: Millis, keep: impl Fn(&str) -> bool) -> TopicPartitions {
        let mut old = Vec::new();
        for (topic, all) in self.topics.iter().filter(|(topic, _)| !keep(topic)) {
            let partitions: Vec<i32> =
                all.iter().filter(|(_, c)| c.stamp <= limit).map(|(&partition, _)| partition).collect();
            if !partitions.is_empty() {
                old.push((topic.to_string(), partitions));
            }
        }
        old
    }
}

fn answer(partition: i32, committed: &Committed) -> PartitionOffset {
    PartitionOffset {
        partition,
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: Some(committed.metadata.as_deref().unwrap_or_default().to_owned()),
        unstable: false,
    }
}
