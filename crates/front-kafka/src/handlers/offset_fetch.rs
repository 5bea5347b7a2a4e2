//! OffsetFetch (9): where a group is. Nothing committed is offset −1 and no error.

use crate::access::Named;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use bowline_codec_kafka::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use bowline_codec_kafka::messages::{OffsetFetchRequest, OffsetFetchResponse};
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::group::{PartitionOffset, Reply, Request};

/// From this version on a request names several groups.
const BATCHED_FROM: i16 = 8;
/// First version in which topics are named by id.
const TOPIC_IDS_FROM: i16 = 10;
/// First version with an error of the whole response.
const ERROR_FROM: i16 = 2;

/// What is known of one group's question while its coordinator looks.
struct Asked {
    group: String,
    /// `None`: all topics.
    topics: Option<Vec<AskedTopic>>,
    /// The coordinator was not asked, because of this.
    refused: Option<ErrorCode>,
}

/// A topic as the client named it.
struct AskedTopic {
    id: Uuid,
    /// As it was asked for.
    shown: String,
    /// What the id stands for, or what was asked for by name; or why it is not looked for.
    name: Result<String, ErrorCode>,
    partitions: Vec<i32>,
}

pub fn start(request: OffsetFetchRequest, cx: &mut Context<'_>) -> Step {
    let groups = match cx.head.version >= BATCHED_FROM {
        true => request.groups,
        false => vec![OffsetFetchRequestGroup {
            group_id: request.group_id,
            topics: request.topics.map(|topics| {
                let renamed = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
                    name: topic.name,
                    topic_id: Uuid::ZERO,
                    partition_indexes: topic.partition_indexes,
                });
                renamed.collect()
            }),
            ..Default::default()
        }],
    };
    let require_stable = request.require_stable;
    let mut asked = Vec::with_capacity(groups.len());
    let mut count = 0;
    for group in groups {
        // Who names itself must be a member, in its current epoch (KIP-848).
        let member = group.member_id.filter(|id| !id.is_empty() || group.member_epoch >= 0);
        let member = member.map(|id| (id, group.member_epoch));
        let denied = ErrorCode::GroupAuthorizationFailed;
        let refused = cx.check(Operation::Describe, Resource::Group(&group.group_id), denied).err();
        let resolved =
            group.topics.map(|topics| topics.into_iter().map(|topic| resolve(topic, cx)).collect());
        let one: Asked = Asked { group: group.group_id, topics: resolved, refused };
        if one.refused.is_none() {
            let topics = one.topics.as_ref().map(|topics: &Vec<_>| {
                let found = topics.iter().filter_map(|topic: &AskedTopic| {
                    Some((topic.name.clone().ok()?, topic.partitions.clone()))
                });
                found.collect()
            });
            cx.ask_group(
                count,
                &one.group,
                Request::FetchOffsets { group: one.group.clone(), topics, member, require_stable },
            );
            count += 1;
        }
        asked.push(one);
    }
    cx.gather(count as usize, |answers, cx| {
        let mut groups = Vec::with_capacity(asked.len());
        let mut answers = answers.into_iter();
        for asked in asked {
            if let Some(error) = asked.refused {
                groups.push(refused(asked, error));
                continue;
            }
            let Some(answer) = answers.next() else { return cx.mismatch() };
            groups.push(match answer {
                Event::Group { reply: Reply::FetchOffsets(Ok(offsets)), .. } => found(asked, offsets, cx),
                Event::Group { reply: Reply::FetchOffsets(Err(error)), .. } => OffsetFetchResponseGroup {
                    group_id: asked.group,
                    topics: Vec::new(),
                    error_code: errors::group(error).code(),
                },
                Event::Failed { reason, .. } => OffsetFetchResponseGroup {
                    group_id: asked.group,
                    topics: Vec::new(),
                    error_code: errors::coordinator_failure(reason).code(),
                },
                _ => return cx.mismatch(),
            });
        }
        respond(groups, cx)
    })
}

fn resolve(topic: OffsetFetchRequestTopics, cx: &mut Context<'_>) -> AskedTopic {
    let name = match cx.head.version >= TOPIC_IDS_FROM {
        true => cx.permitted(Operation::Describe, Named::Id(topic.topic_id)).map(|topic| topic.name.clone()),
        // Offsets may be asked for of topics that are gone.
        false => {
            let denied = ErrorCode::TopicAuthorizationFailed;
            let allowed = cx.check(Operation::Describe, Resource::Topic(&topic.name), denied);
            allowed.map(|()| topic.name.clone())
        }
    };
    AskedTopic { id: topic.topic_id, shown: topic.name, name, partitions: topic.partition_indexes }
}

/// Joins what the coordinator found with what was asked.
fn found(
    asked: Asked,
    offsets: Vec<(String, Vec<PartitionOffset>)>,
    cx: &mut Context<'_>,
) -> OffsetFetchResponseGroup {
    let mut offsets = offsets.into_iter();
    let topics = match asked.topics {
        None => offsets.filter_map(|(name, partitions)| unasked(name, partitions, cx)).collect(),
        Some(topics) => {
            let join = |AskedTopic { id: topic_id, shown, name, partitions }| {
                let name = match name {
                    Ok(name) => name,
                    Err(error) => return nothing(shown, topic_id, partitions, error),
                };
                let partitions = offsets.next().map(|(_, partitions)| partitions).unwrap_or_default();
                let partitions = partitions.into_iter().map(committed).collect();
                OffsetFetchResponseTopics { name, topic_id, partitions }
            };
            topics.into_iter().map(join).collect()
        }
    };
    OffsetFetchResponseGroup { group_id: asked.group, topics, error_code: 0 }
}

/// A topic of a group that was asked for as a whole. Topics that are gone have no id to be named by.
fn unasked(
    name: String,
    partitions: Vec<PartitionOffset>,
    cx: &mut Context<'_>,
) -> Option<OffsetFetchResponseTopics> {
    if !cx.allows(Operation::Describe, Resource::Topic(&name)) {
        return None;
    }
    let topic_id = match cx.head.version >= TOPIC_IDS_FROM {
        true => cx.topic(&name)?.wire_id(),
        false => Uuid::ZERO,
    };
    let partitions = partitions.into_iter().map(committed).collect();
    Some(OffsetFetchResponseTopics { name, topic_id, partitions })
}

fn committed(found: PartitionOffset) -> OffsetFetchResponsePartitions {
    if found.unstable {
        return OffsetFetchResponsePartitions {
            partition_index: found.partition,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Some(String::new()),
            error_code: ErrorCode::UnstableOffsetCommit.code(),
        };
    }
    OffsetFetchResponsePartitions {
        partition_index: found.partition,
        committed_offset: found.offset,
        committed_leader_epoch: found.leader_epoch,
        metadata: Some(found.metadata.unwrap_or_default()),
        error_code: 0,
    }
}

/// The error is the group's, and for versions without one each partition's.
fn refused(asked: Asked, error: ErrorCode) -> OffsetFetchResponseGroup {
    let topics = asked.topics.unwrap_or_default().into_iter();
    let topics = topics.map(|topic| nothing(topic.shown, topic.id, topic.partitions, error));
    OffsetFetchResponseGroup { group_id: asked.group, topics: topics.collect(), error_code: error.code() }
}

fn nothing(name: String, topic_id: Uuid, indexes: Vec<i32>, error: ErrorCode) -> OffsetFetchResponseTopics {
    let partitions = indexes.into_iter().map(|partition_index| OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        error_code: error.code(),
    });
    OffsetFetchResponseTopics { name, topic_id, partitions: partitions.collect() }
}

fn respond(mut groups: Vec<OffsetFetchResponseGroup>, cx: &Context<'_>) -> Step {
    if cx.head.version >= BATCHED_FROM {
        return cx.reply(&OffsetFetchResponse { groups, ..Default::default() });
    }
    let Some(group) = groups.pop() else { return cx.mismatch() };
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|p| OffsetFetchResponsePartition {
                partition_index: p.partition_index,
                committed_offset: p.committed_offset,
                committed_leader_epoch: p.committed_leader_epoch,
                metadata: p.metadata,
                error_code: p.error_code,
            })
            .collect(),
    });
    cx.reply(&OffsetFetchResponse {
        topics: topics.collect(),
        // Version 1 has no place for it; what was found is answered and the rest is not there.
        error_code: if cx.head.version >= ERROR_FROM { group.error_code } else { 0 },
        ..Default::default()
    })
}
