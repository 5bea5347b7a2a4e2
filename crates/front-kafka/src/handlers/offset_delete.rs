//! OffsetDelete (47): forgets committed offsets of topics that no live member reads.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
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
    let topics: Vec<(String, Vec<i32>)> = request
        .topics
        .into_iter()
        .map(|topic| (topic.name, topic.partitions.into_iter().map(|p| p.partition_index).collect()))
        .collect();
    let (topics, denied): (Vec<_>, Vec<_>) =
        topics.into_iter().partition(|(name, _)| cx.allows(Operation::Read, Resource::Topic(name)));
    let denied: Vec<OffsetDeleteResponseTopic> = denied.into_iter().map(denied_topic).collect();
    let group = request.group_id.clone();
    cx.ask_group(0, &group, Request::OffsetDelete { group: request.group_id, topics });
    cx.gather(1, move |mut answers, cx| match answers.pop() {
        Some(Event::Group { reply: Reply::OffsetDelete(Ok(results)), .. }) => {
            let topics = results.into_iter().map(|(name, partitions)| OffsetDeleteResponseTopic {
                name,
                partitions: partitions.into_iter().map(partition).collect(),
            });
            let topics = topics.chain(denied).collect();
            cx.reply(&OffsetDeleteResponse { topics, ..Default::default() })
        }
        Some(Event::Group { reply: Reply::OffsetDelete(Err(error)), .. }) => refuse(errors::group(error), cx),
        Some(Event::Failed { reason, .. }) => refuse(errors::coordinator_failure(reason), cx),
        _ => cx.mismatch(),
    })
}

fn denied_topic((name, partitions): (String, Vec<i32>)) -> OffsetDeleteResponseTopic {
    let error_code = ErrorCode::TopicAuthorizationFailed.code();
    let partitions = partitions
        .into_iter()
        .map(|partition_index| OffsetDeleteResponsePartition { partition_index, error_code });
    OffsetDeleteResponseTopic { name, partitions: partitions.collect() }
}

fn partition((partition_index, result): (i32, Result<(), Error>)) -> OffsetDeleteResponsePartition {
    let error = result.map_or_else(errors::group, |()| ErrorCode::None);
    OffsetDeleteResponsePartition { partition_index, error_code: error.code() }
}

fn refuse(error: ErrorCode, cx: &Context<'_>) -> Step {
    cx.reply(&OffsetDeleteResponse { error_code: error.code(), ..Default::default() })
}
