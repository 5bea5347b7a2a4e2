//! Topics' clients: producers, idempotent or not, and readers; their answers.

use super::partition::{BatchId, Partition, Records};
use super::{Asked, Clients};
use crate::note;
use bowline_model::event::{AppendError, AppendResult, FetchError, FetchedPartition, OffsetFound};
use bowline_model::{PartitionId, Token};
use bowline_topology::Topology;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The topic configuration that lets old batches go by themselves.
pub const RETENTION_BYTES: &str = "retention.bytes";

/// A batch of appends, as one shard gets it.
#[derive(Debug)]
pub struct Appends {
    pub batches: Vec<BatchId>,
}

/// An idempotent producer: it sends what was not answered again, in order, until it is.
#[derive(Debug)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
    pub partition: u32,
    pub next_sequence: i32,
    /// Sent and not answered for good, in order.
    pub unanswered: VecDeque<BatchId>,
    /// Requests under way.
    pub requests: u32,
    /// Something was refused, or the connection is gone: all that is unanswered has to be sent again before anything
    /// new.
    pub stumbled: bool,
    /// A batch was refused since, so those behind it may be.
    pub excused: bool,
    pub session: u64,
}

#[derive(Debug)]
pub struct Topic {
    pub partitions: Vec<u32>,
    pub retains_bytes: bool,
    pub going: bool,
}

/// Everything about streams.
#[derive(Debug, Default)]
pub struct Streams {
    pub batches: Vec<Records>,
    pub topics: BTreeMap<String, Topic>,
    pub partitions: BTreeMap<u32, Partition>,
    pub producers: Vec<Producer>,
    /// Producer ids that were given out.
    pub producer_ids: BTreeSet<i64>,
    /// Batches of idempotent producers that were refused because the disk was full.
    had_no_room: BTreeSet<BatchId>,
    /// Names of topics that were deleted, or asked to be.
    pub deleted: BTreeSet<String>,
    /// Where readers are, by partition.
    pub readers: BTreeMap<u32, u64>,
    /// While everything is read in the end: what was seen.
    pub seen: BTreeMap<u32, BTreeSet<BatchId>>,
}

impl Streams {
    fn producer_of(&mut self, batch: BatchId) -> Option<&mut Producer> {
        let (id, epoch, _) = self.batches[batch as usize].producer?;
        self.producers.iter_mut().find(|p| p.id == id && p.epoch == epoch)
    }

    /// The disk was full when it came and not any more when the one behind it did; and as the partition did not know
    /// the producer, that one was let in as its first. As in Kafka, those in front come too late.
    fn is_overtaken(&self, batch: BatchId) -> bool {
        let Some((id, epoch, sequence)) = self.batches[batch as usize].producer else { return false };
        let written = self.partitions[&self.batches[batch as usize].partition].batches();
        let theirs = written.filter_map(|b| self.batches[b as usize].producer).filter(|p| p.0 == id);
        self.had_no_room.contains(&batch)
            && theirs.map(|p| (p.1, p.2)).min().is_some_and(|first| first.0 == epoch && first.1 > sequence)
    }

    /// Its producer tells the application that it failed, and is not used any more.
    fn give_up(&mut self, batch: BatchId) {
        let producer = self.batches[batch as usize].producer.map(|(id, epoch, _)| (id, epoch));
        self.producers.retain(|p| Some((p.id, p.epoch)) != producer);
    }

    pub fn topic_is_there(&mut self, name: &str, partitions: &[PartitionId], retains_bytes: bool) {
        let topic = self.topics.entry(name.to_owned()).or_insert_with(|| Topic {
            partitions: Vec::new(),
            retains_bytes,
            going: false,
        });
        topic.partitions = partitions.iter().map(|p| p.0).collect();
        for (index, id) in topic.partitions.iter().enumerate() {
            self.partitions
                .entry(*id)
                .or_insert_with(|| Partition::new(*id, name.to_owned(), index as i32, topic.retains_bytes));
        }
    }

    pub fn new_producer(&mut self, id: i64, partition: u32, session: u64) {
        if self.partitions.get(&partition).is_some_and(|p| !p.going) {
            self.producers.push(Producer {
                id,
                epoch: 0,
                partition,
                next_sequence: 0,
                unanswered: VecDeque::new(),
                requests: 0,
                stumbled: false,
                excused: false,
                session,
            });
        }
    }

    /// The connections are gone with the node.
    pub fn crashed(&mut self) {
        for producer in &mut self.producers {
            producer.requests = 0;
            producer.stumbled = true;
            producer.excused = false;
        }
    }

    /// The node serves again; the topology says which topics there are.
    pub fn started(&mut self, topology: &Topology) {
        let mut gone = Vec::new();
        for (name, topic) in &mut self.topics {
            let found = topology.topic("/", name).map(|found| &found.partitions);
            let is_there =
                found.is_some_and(|found| found.iter().map(|p| p.0).eq(topic.partitions.iter().copied()));
            assert!(is_there || topic.going, "promise: topic {name} and its partitions outlive a crash");
            if !is_there {
                gone.push(name.clone());
                continue;
            }
            topic.going = false;
            for id in &topic.partitions {
                self.partitions.entry(*id).and_modify(|p| p.going = false);
            }
        }
        gone.iter().for_each(|name| self.forget_topic(name));
        // Of some the creation was not answered in time.
        for found in topology.topics("/").filter(|found| !super::txns::TOPICS.contains(&found.name.as_str()))
        {
            let retains_bytes = found.configs.iter().any(|(name, _)| name == RETENTION_BYTES);
            self.topic_is_there(&found.name, &found.partitions, retains_bytes);
        }
    }

    pub fn forget_topic(&mut self, name: &str) {
        let Some(topic) = self.topics.remove(name) else { return };
        for id in topic.partitions {
            self.readers.remove(&id);
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.going = true;
            }
            self.producers.retain(|p| p.partition != id);
        }
    }
}

impl Clients {
    pub(super) fn appended(&mut self, token: Token, appends: &Appends, results: &[AppendResult]) {
        assert_eq!(results.len(), appends.batches.len(), "promise: each append of t{} is answered", token.0);
        for (id, result) in appends.batches.iter().zip(results) {
            let records = self.streams.batches[*id as usize];
            assert_eq!(result.partition.0, records.partition, "promise: appends are answered in order");
            note!(
                self.trace,
                "appended b{} p{} at {}",
                *id,
                records.partition,
                result.result.as_ref().map_or(-1, |a| a.base_offset as i64)
            );
            let Some(partition) = self.streams.partitions.get_mut(&records.partition) else { continue };
            match &result.result {
                Ok(appended) => {
                    self.counts.appended += 1;
                    partition.appended(*id, records.count, appended);
                    if let Some(producer) = self.streams.producer_of(*id) {
                        producer.requests -= 1;
                        producer.unanswered.retain(|batch| batch != id);
                    }
                }
                Err(error) => {
                    let going = partition.going;
                    if *error == AppendError::UnknownPartition {
                        assert!(going, "promise: partition {} is there", records.partition);
                    }
                    match self.streams.producer_of(*id) {
                        None if records.producer.is_none() => {
                            self.streams.partitions.entry(records.partition).and_modify(|p| {
                                p.refused(*id, Some(*error));
                            });
                            assert!(
                                going,
                                "promise: batch {id} without a producer is not refused: {error:?}"
                            );
                        }
                        None => {}
                        Some(producer) => {
                            producer.requests -= 1;
                            producer.stumbled = true;
                            let excused = going || producer.excused;
                            if *error == AppendError::OutOfOrderSequence && self.streams.is_overtaken(*id) {
                                note!(self.trace, "overtaken b{}", *id);
                                self.streams.give_up(*id);
                            } else {
                                assert!(
                                    excused,
                                    "promise: batch {id} comes in order, and is not refused: {error:?}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    /// The whole request was refused.
    pub(super) fn appends_refused(&mut self, appends: &Appends) {
        for id in &appends.batches {
            let records = self.streams.batches[*id as usize];
            match self.streams.producer_of(*id) {
                Some(producer) => {
                    producer.requests -= 1;
                    producer.stumbled = true;
                    producer.excused = true;
                    self.streams.had_no_room.insert(*id);
                }
                None => {
                    if let Some(partition) = self.streams.partitions.get_mut(&records.partition)
                        && records.producer.is_none()
                    {
                        partition.refused(*id, None);
                    }
                }
            }
        }
    }

    pub(super) fn fetched(&mut self, asked: &[(u32, u64, (u64, u64))], answers: &[FetchedPartition]) {
        assert_eq!(asked.len(), answers.len(), "promise: each partition of a fetch is answered");
        for ((id, offset, known), answer) in asked.iter().zip(answers) {
            assert_eq!(*id, answer.partition.0, "promise: partitions are answered in order");
            let Some(partition) = self.streams.partitions.get_mut(id) else { continue };
            let n = answer.result.as_ref().map_or(0, |f| f.batches.len());
            note!(self.trace, "fetched p{} from {}: {} batches", *id, *offset, n);
            // Of a fetch over several partitions, only the first is sure to get something.
            if asked.len() > 1
                && let Ok(fetched) = &answer.result
                && fetched.batches.is_empty()
            {
                continue;
            }
            self.counts.fetched += n as u64;
            if let Some(next) = partition.fetched(*offset, *known, &answer.result, &self.streams.batches) {
                self.streams.readers.insert(*id, next);
                if let (Some(seen), Ok(fetched)) = (self.streams.seen.get_mut(id), &answer.result) {
                    for slice in &fetched.batches {
                        seen.insert(super::partition::identify(slice, &self.streams.batches));
                    }
                }
            }
        }
    }

    pub(super) fn offsets_found(
        &mut self,
        asked: &[(u32, bool, (u64, u64))],
        answers: &[(PartitionId, Result<OffsetFound, FetchError>)],
    ) {
        assert_eq!(asked.len(), answers.len(), "promise: each offset asked for is answered");
        for ((id, latest, (start, end)), (partition, result)) in asked.iter().zip(answers) {
            assert_eq!(*id, partition.0);
            let Some(model) = self.streams.partitions.get(id) else { continue };
            match result {
                Ok(OffsetFound::Offset(offset)) => {
                    let known = if *latest { *end } else { *start };
                    assert!(
                        *offset >= known,
                        "promise: offsets of partition {id} do not go back: {offset} < {known}"
                    );
                }
                Ok(OffsetFound::Batches { batches, .. }) => {
                    batches.iter().for_each(|slice| {
                        super::partition::identify(slice, &self.streams.batches);
                    });
                }
                Err(FetchError::UnknownPartition) => assert!(model.going, "promise: partition {id} is there"),
                Err(error) => panic!("promise: offsets of partition {id} can be had: {error:?}"),
            }
        }
    }

    /// A watch that is still waiting must have nothing to tell.
    pub(super) fn check_watches(&self) {
        for waiting in self.waiting.values().filter(|w| self.sessions.contains_key(&w.session)) {
            let Asked::Watch(watched) = &waiting.asked else { continue };
            for (id, offset) in watched {
                let Some(partition) = self.streams.partitions.get(id).filter(|p| !p.going) else { continue };
                assert!(
                    partition.end <= *offset,
                    "promise: a watch of partition {id} from {offset} on is told that it has {}",
                    partition.end
                );
            }
        }
    }

    /// Known bounds of a partition.
    pub fn bounds(&self, partition: u32) -> (u64, u64) {
        self.streams.partitions.get(&partition).map_or((0, 0), |p| (p.start, p.end))
    }
}
