//! OffsetDelete (47): forgets committed offsets of topics that no live member reads.

use crate::access::Named;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::offset_delete_request::OffsetDeleteRequestPartition;
use bowline_codec_kafka::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use bowline_codec_kafka::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::group::{Error, Reply, Request};

pub fn start(request: OffsetDeleteRequest, cx: &mut Context<'_>) -> Step {
    let denied = ErrorCode::GroupAuthorizationFailed;
    if let Err(error) = cx.check(Operation::Delete, Resource::Group(&request.group_id), denied) {
        return refuse(error, cx);
    }
    if request.group_id.is_empty() {
        return refuse(ErrorCode::InvalidGroupId, cx);
    }
    let mut topics: Vec<(String, Vec<i32>)> = Vec::with_capacity(request.topics.len());
    let mut refused: Vec<OffsetDeleteResponseTopic> = Vec::new();
    for asked in request.topics {
        let topic = cx.permitted(Operation::Read, Named::Name(&asked.name));
        let (mut known, mut partitions) = (Vec::new(), Vec::new());
        for OffsetDeleteRequestPartition { partition_index } in asked.partitions {
            let error = match topic.as_ref().map(|topic| topic.partition(partition_index)) {
                Ok(Some(_)) => {
                    known.push(partition_index);
                    continue;
                }
                Ok(None) => ErrorCode::UnknownTopicOrPartition,
                Err(error) => *error,
            };
            partitions.push(OffsetDeleteResponsePartition { partition_index, error_code: error.code() });
        }
        if !partitions.is_empty() {
            refused.push(OffsetDeleteResponseTopic { name: asked.name.clone(), partitions });
        }
        if !known.is_empty() {
            topics.push((asked.name, known));
        }
    }
    let group = request.group_id.clone();
    cx.ask_group(0, &group, Request::OffsetDelete { group: request.group_id, topics });
    cx.gather(1, move |mut answers, cx| match answers.pop() {
        Some(Event::Group { reply: Reply::OffsetDelete(Ok(results)), .. }) => {
            let topics = results.into_iter().map(|(name, partitions)| OffsetDeleteResponseTopic {
                name,
                partitions: partitions.into_iter().map(partition).collect(),
            });
            let mut all: Vec<OffsetDeleteResponseTopic> = topics.collect();
            // A topic of which some partitions are refused is one topic all the same.
            for topic in refused {
                match all.iter_mut().find(|other| other.name == topic.name) {
                    Some(other) => other.partitions.extend(topic.partitions),
                    None => all.push(topic),
                }
            }
            cx.reply(&OffsetDeleteResponse { topics: all, ..Default::default() })
        }
        Some(Event::Group { reply: Reply::OffsetDelete(Err(error)), .. }) => refuse(errors::group(error), cx),
        Some(Event::Failed { reason, .. }) => refuse(errors::coordinator_failure(reason), cx),
        _ => cx.mismatch(),
    })
}

fn partition((partition_index, result): (i32, Result<(), Error>)) -> OffsetDeleteResponsePartition {
    let error = result.map_or_else(errors::group, |()| ErrorCode::None);
    OffsetDeleteResponsePartition { partition_index, error_code: error.code() }
}

fn refuse(error: ErrorCode, cx: &Context<'_>) -> Step {
    cx.reply(&OffsetDeleteResponse { error_code: error.code(), ..Default::default() })
}
