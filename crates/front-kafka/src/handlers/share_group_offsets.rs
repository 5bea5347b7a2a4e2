//! DescribeShareGroupOffsets (90), AlterShareGroupOffsets (91), DeleteShareGroupOffsets (92): how far share groups are,
//! for people to look at and to change. Changes need a group in which nobody is, AMQP consumers included.

use super::LEADER_EPOCH;
use super::share_group_heartbeat::topic as lookup;
use crate::catalog::Topic;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::alter_share_group_offsets_response as altered;
use bowline_codec_kafka::messages::delete_share_group_offsets_response as deleted;
use bowline_codec_kafka::messages::describe_share_group_offsets_response as described;
use bowline_codec_kafka::messages::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, DeleteShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsResponse, DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse,
};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::request::Request;
use bowline_model::share::{ChangeError, Described, Reply, Request as ShareRequest, Start};
use bowline_model::{PartitionId, ShardId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nothing is known.
const NOWHERE: i64 = -1;

pub fn describe(request: DescribeShareGroupOffsetsRequest, cx: &mut Context<'_>) -> Step {
    let shards = cx.broker.data_shards;
    for (at, group) in request.groups.iter().enumerate() {
        for shard in 1..=shards {
            let token = cx.token(at as u32 * u32::from(shards) + u32::from(shard) - 1);
            let describe = ShareRequest::Describe { token, group: group.group_id.clone(), partitions: None };
            cx.send(ShardId(shard), Request::Share(describe));
        }
    }
    cx.gather(request.groups.len() * usize::from(shards), move |answers, cx| {
        let mut answers = answers.into_iter();
        let mut groups = Vec::with_capacity(request.groups.len());
        for asked in request.groups {
            let mut known: BTreeMap<PartitionId, Described> = BTreeMap::new();
            let mut error = ErrorCode::None;
            for answer in answers.by_ref().take(shards.into()) {
                match answer {
                    Event::Share { reply: Reply::Described(described), .. } => known.extend(described),
                    Event::Failed { reason, .. } => error = errors::coordinator_failure(reason),
                    _ => return cx.mismatch(),
                }
            }
            let group_id = asked.group_id;
            let denied = ErrorCode::GroupAuthorizationFailed;
            if let Err(refused) = cx.check(Operation::Describe, Resource::Group(&group_id), denied) {
                error = refused;
            }
            if error != ErrorCode::None {
                let error_message = Some(format!("share group '{group_id}' is not to be had"));
                let error_code = error.code();
                groups.push(described::DescribeShareGroupOffsetsResponseGroup {
                    group_id,
                    error_code,
                    error_message,
                    ..Default::default()
                });
                continue;
            }
            let topics = match asked.topics {
                Some(topics) => topics.into_iter().map(|t| (t.topic_name, Some(t.partitions))).collect(),
                None => everywhere(&known, cx),
            };
            let topics = topics.into_iter().map(|(name, indexes)| describe_topic(name, indexes, &known, cx));
            groups.push(described::DescribeShareGroupOffsetsResponseGroup {
                topics: topics.collect(),
                group_id,
                ..Default::default()
            });
        }
        cx.reply(&DescribeShareGroupOffsetsResponse { groups, ..Default::default() })
    })
}

/// Topics that have one of the partitions, each with the indexes of those that are known.
fn everywhere(known: &BTreeMap<PartitionId, Described>, cx: &Context<'_>) -> Vec<(String, Option<Vec<i32>>)> {
    let mut topics = Vec::new();
    for topic in cx.broker.catalog.topics() {
        let indexes = (0..).zip(topic.partitions.iter()).filter(|(_, id)| known.contains_key(id));
        let indexes: Vec<i32> = indexes.map(|(index, _)| index).collect();
        if !indexes.is_empty() {
            topics.push((topic.name.clone(), Some(indexes)));
        }
    }
    topics
}

fn describe_topic(
    topic_name: String,
    indexes: Option<Vec<i32>>,
    known: &BTreeMap<PartitionId, Described>,
    cx: &mut Context<'_>,
) -> described::DescribeShareGroupOffsetsResponseTopic {
    let allowed = cx.allows(Operation::Describe, Resource::Topic(&topic_name));
    let topic = cx.topic(&topic_name).filter(|_| allowed);
    let partition = |partition_index: i32| {
        let id = topic.as_ref().and_then(|topic| topic.partition(partition_index));
        let found = id.and_then(|id| known.get(&id));
        // A partition on which the group has not begun is no error.
        let error = match id {
            None if !allowed => ErrorCode::TopicAuthorizationFailed,
            None => ErrorCode::UnknownTopicOrPartition,
            Some(_) => ErrorCode::None,
        };
        described::DescribeShareGroupOffsetsResponsePartition {
            partition_index,
            start_offset: found.map_or(NOWHERE, |found| found.start as i64),
            leader_epoch: found.map_or(0, |_| LEADER_EPOCH),
            lag: match cx.head.version {
                0 => NOWHERE,
                _ => found.map_or(NOWHERE, |found| found.lag as i64),
            },
            error_code: error.code(),
            error_message: None,
        }
    };
    described::DescribeShareGroupOffsetsResponseTopic {
        partitions: indexes.unwrap_or_default().into_iter().map(partition).collect(),
        topic_id: topic.as_ref().map(|topic| topic.wire_id()).unwrap_or_default(),
        topic_name,
    }
}

pub fn alter(request: AlterShareGroupOffsetsRequest, cx: &mut Context<'_>) -> Step {
    let group = request.group_id;
    let refuse = |error: ErrorCode, cx: &Context<'_>| {
        cx.reply(&AlterShareGroupOffsetsResponse { error_code: error.code(), ..Default::default() })
    };
    if group.is_empty() || group.len() > bowline_model::share::NAME_BYTES_MAX {
        return refuse(ErrorCode::InvalidGroupId, cx);
    }
    let denied = ErrorCode::GroupAuthorizationFailed;
    if let Err(error) = cx.check(Operation::Read, Resource::Group(&group), denied) {
        return refuse(error, cx);
    }
    if is_inhabited(&group, cx) {
        return refuse(ErrorCode::NonEmptyGroup, cx);
    }
    let mut asked: Asked<(PartitionId, Start)> = Asked::default();
    let mut responses = Vec::with_capacity(request.topics.len());
    for (t, of_topic) in request.topics.into_iter().enumerate() {
        let allowed = cx.allows(Operation::Read, Resource::Topic(&of_topic.topic_name));
        let missing =
            if allowed { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::TopicAuthorizationFailed };
        let topic = cx.topic(&of_topic.topic_name).filter(|_| allowed);
        let mut partitions = Vec::with_capacity(of_topic.partitions.len());
        for (p, partition) in of_topic.partitions.into_iter().enumerate() {
            let id = topic.as_ref().and_then(|topic| topic.partition(partition.partition_index));
            let start = u64::try_from(partition.start_offset).map_err(|_| ErrorCode::InvalidRequest);
            let checked = id.ok_or(missing).and_then(|id| Ok((id, start?)));
            let error = match checked {
                Ok((id, start)) => {
                    asked.add(cx.shard_of(id), (id, Start::Offset(start)), (t, p));
                    ErrorCode::None
                }
                Err(error) => error,
            };
            partitions.push(altered::AlterShareGroupOffsetsResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
                error_message: None,
            });
        }
        responses.push(altered::AlterShareGroupOffsetsResponseTopic {
            topic_id: topic.as_ref().map(|topic| topic.wire_id()).unwrap_or_default(),
            topic_name: of_topic.topic_name,
            partitions,
        });
    }
    let places =
        asked.send(cx, |token, partitions| ShareRequest::Reset { token, group: group.clone(), partitions });
    cx.gather(places.len(), move |answers, cx| {
        for (places, answer) in places.into_iter().zip(answers) {
            let Some(error) = changed(answer) else { return cx.mismatch() };
            for (t, p) in places {
                responses[t].partitions[p].error_code = error.code();
            }
        }
        cx.reply(&AlterShareGroupOffsetsResponse { responses, ..Default::default() })
    })
}

pub fn delete(request: DeleteShareGroupOffsetsRequest, cx: &mut Context<'_>) -> Step {
    let group = request.group_id;
    if group.is_empty() {
        let error_code = ErrorCode::InvalidGroupId.code();
        return cx.reply(&DeleteShareGroupOffsetsResponse { error_code, ..Default::default() });
    }
    let denied = ErrorCode::GroupAuthorizationFailed;
    if let Err(error) = cx.check(Operation::Delete, Resource::Group(&group), denied) {
        let error_code = error.code();
        return cx.reply(&DeleteShareGroupOffsetsResponse { error_code, ..Default::default() });
    }
    if is_inhabited(&group, cx) {
        let error_code = ErrorCode::NonEmptyGroup.code();
        return cx.reply(&DeleteShareGroupOffsetsResponse { error_code, ..Default::default() });
    }
    let mut asked: Asked<PartitionId> = Asked::default();
    let mut responses = Vec::with_capacity(request.topics.len());
    for (t, named) in request.topics.into_iter().enumerate() {
        let allowed = cx.allows(Operation::Read, Resource::Topic(&named.topic_name));
        let missing =
            if allowed { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::TopicAuthorizationFailed };
        let topic: Option<Arc<Topic>> = cx.topic(&named.topic_name).filter(|_| allowed);
        for &id in topic.iter().flat_map(|topic| topic.partitions.iter()) {
            asked.add(cx.shard_of(id), id, (t, 0));
        }
        let error = if topic.is_some() { ErrorCode::None } else { missing };
        responses.push(deleted::DeleteShareGroupOffsetsResponseTopic {
            topic_id: topic.as_ref().map(|topic| topic.wire_id()).unwrap_or_default(),
            topic_name: named.topic_name,
            error_code: error.code(),
            error_message: None,
        });
    }
    let places = asked.send(cx, |token, partitions| ShareRequest::Delete {
        token,
        group: group.clone(),
        partitions: Some(partitions),
    });
    cx.gather(places.len(), move |answers, cx| {
        for (places, answer) in places.into_iter().zip(answers) {
            match changed(answer) {
                // There is nothing to forget.
                Some(ErrorCode::None | ErrorCode::GroupIdNotFound) => {}
                Some(error) => {
                    places.into_iter().for_each(|(t, _)| responses[t].error_code = error.code());
                }
                None => return cx.mismatch(),
            }
        }
        cx.reply(&DeleteShareGroupOffsetsResponse { responses, ..Default::default() })
    })
}

/// Whether a Kafka member is there.
pub fn is_inhabited(group: &str, cx: &Context<'_>) -> bool {
    let catalog = &*cx.broker.catalog;
    let mut lookup = |name: &str| lookup(catalog, name);
    cx.broker.options.share.groups().describe(group, cx.now.instant, &mut lookup).is_some()
}

/// What came of a change; `None` if that is no answer to one.
pub fn changed(answer: Event) -> Option<ErrorCode> {
    Some(match answer {
        Event::Share { reply: Reply::Changed(result), .. } => match result {
            Ok(()) => ErrorCode::None,
            Err(ChangeError::HasMembers) => ErrorCode::NonEmptyGroup,
            Err(ChangeError::UnknownGroup) => ErrorCode::GroupIdNotFound,
            Err(ChangeError::UnknownPartition) => ErrorCode::UnknownTopicOrPartition,
            Err(ChangeError::TooMany) => ErrorCode::GroupMaxSizeReached,
            Err(ChangeError::Storage) => ErrorCode::KafkaStorageError,
        },
        Event::Failed { reason, .. } => errors::coordinator_failure(reason),
        _ => return None,
    })
}

/// What is asked of each shard, and which places of the response it answers.
struct Asked<T>(Vec<(ShardId, Vec<T>, Places)>);

/// Positions of a topic, and of a partition in it.
type Places = Vec<(usize, usize)>;

impl<T> Default for Asked<T> {
    fn default() -> Asked<T> {
        Asked(Vec::new())
    }
}

impl<T> Asked<T> {
    fn add(&mut self, shard: ShardId, what: T, place: (usize, usize)) {
        match self.0.iter_mut().find(|(known, ..)| *known == shard) {
            Some((_, all, places)) => {
                all.push(what);
                places.push(place);
            }
            None => self.0.push((shard, vec![what], vec![place])),
        }
    }

    /// Sends them as questions from 0 on.
    fn send(
        self,
        cx: &mut Context<'_>,
        request: impl Fn(bowline_model::Token, Vec<T>) -> ShareRequest,
    ) -> Vec<Places> {
        let mut all = Vec::with_capacity(self.0.len());
        for (sub, (shard, what, places)) in self.0.into_iter().enumerate() {
            let request = request(cx.token(sub as u32), what);
            cx.send(shard, Request::Share(request));
            all.push(places);
        }
        all
    }
}
