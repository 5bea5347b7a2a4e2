//! OffsetCommit (8): progress of a group, answered when it is on stable storage.

use super::group_kinds::not_shared;
use crate::access::Named;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use bowline_codec_kafka::messages::{OffsetCommitRequest, OffsetCommitResponse};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::group::{Commit, Member, PartitionCommit, PartitionResults, Reply, Request};

/// First version that speaks of member epochs (KIP-848).
const EPOCHS_FROM: i16 = 9;
/// First version in which topics are named by id.
const TOPIC_IDS_FROM: i16 = 10;

/// For each topic of a commit: its position in the response and the positions of its partitions there.
type Places = Vec<(usize, Vec<usize>)>;

pub fn start(request: OffsetCommitRequest, cx: &mut Context<'_>) -> Step {
    let group_allowed = cx.allows(Operation::Read, Resource::Group(&request.group_id));
    let mut response = OffsetCommitResponse::default();
    let mut topics = Vec::new();
    let mut places = Places::new();
    for asked in request.topics {
        let named = Named::new(cx.head.version >= TOPIC_IDS_FROM, &asked.name, asked.topic_id);
        let topic = match group_allowed {
            true => cx.permitted(Operation::Read, named),
            false => Err(ErrorCode::GroupAuthorizationFailed),
        };
        let mut answers = Vec::with_capacity(asked.partitions.len());
        let mut commits = Vec::with_capacity(asked.partitions.len());
        let mut positions = Vec::with_capacity(asked.partitions.len());
        for partition in asked.partitions {
            let known = topic.as_ref().map(|topic| topic.partition(partition.partition_index).is_some());
            let error = match known {
                Err(error) => *error,
                Ok(false) => ErrorCode::UnknownTopicOrPartition,
                Ok(true) => {
                    positions.push(answers.len());
                    commits.push(PartitionCommit {
                        partition: partition.partition_index,
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: partition.committed_metadata,
                    });
                    ErrorCode::None
                }
            };
            answers.push(OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
            });
        }
        if let (Ok(topic), false) = (&topic, commits.is_empty()) {
            places.push((response.topics.len(), positions));
            topics.push((topic.name.clone(), commits));
        }
        response.topics.push(OffsetCommitResponseTopic {
            name: asked.name,
            topic_id: asked.topic_id,
            partitions: answers,
        });
    }
    if !group_allowed {
        return cx.reply(&response);
    }
    // Sent even when no topic is left of it, because it is also a sign of life and may be refused as a whole.
    let member = Member {
        group: request.group_id,
        member_id: request.member_id,
        generation: request.generation_id_or_member_epoch,
        instance_id: request.group_instance_id,
    };
    let knows_epochs = cx.head.version >= EPOCHS_FROM;
    let commit = Commit { member, topics, knows_epochs };
    if commit.member.generation >= 0 {
        return log(commit, response, places, cx);
    }
    // Who is no member may begin a group.
    not_shared(commit.member.group.clone(), cx, move |free, cx| match free {
        Ok(()) => log(commit, response, places, cx),
        Err(error) => refuse(error, response, cx),
    })
}

/// Answered when it is logged.
fn log(commit: Commit, mut response: OffsetCommitResponse, places: Places, cx: &mut Context<'_>) -> Step {
    let group = commit.member.group.clone();
    cx.ask_group(0, &group, Request::Commit(commit));
    cx.gather(1, move |mut answers, cx| {
        let whole = match answers.pop() {
            Some(Event::Group { reply: Reply::Commit(Ok(results)), .. }) => {
                fill(&mut response, &places, results);
                None
            }
            Some(Event::Group { reply: Reply::Commit(Err(error)), .. }) => Some(errors::group(error)),
            Some(Event::Failed { reason, .. }) => Some(errors::coordinator_failure(reason)),
            _ => return cx.mismatch(),
        };
        match whole {
            Some(error) => refuse(error, response, cx),
            None => cx.reply(&response),
        }
    })
}

/// There is no room for an error of the whole request, so every partition gets it.
fn refuse(error: ErrorCode, mut response: OffsetCommitResponse, cx: &Context<'_>) -> Step {
    let all = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    all.filter(|partition| partition.error_code == 0).for_each(|p| p.error_code = error.code());
    cx.reply(&response)
}

fn fill(response: &mut OffsetCommitResponse, places: &[(usize, Vec<usize>)], results: PartitionResults) {
    for ((t, positions), (_, partitions)) in places.iter().zip(results) {
        for (p, (_, result)) in positions.iter().zip(partitions) {
            let error = result.map_or_else(errors::group, |()| ErrorCode::None);
            response.topics[*t].partitions[*p].error_code = error.code();
        }
    }
}
