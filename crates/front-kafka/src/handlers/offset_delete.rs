//! OffsetDelete (47): forgets committed offsets of topics that no live member reads.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use bowline_codec_kafka::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use bowline_model::event::Event;
use bowline_model::group::{Error, Reply, Request};

pub fn start(request: OffsetDeleteRequest, cx: &mut Context<'_>) -> Step {
    if request.group_id.is_empty() {
        return refuse(ErrorCode::InvalidGroupId, cx);
    }
    let topics: Vec<(String, Vec<i32>)> = request
        .topics
        .into_iter()
        .map(|topic| (topic.name, topic.partitions.into_iter().map(|p| p.partition_index).collect()))
        .collect();
    let group = request.group_id.clone();
    cx.ask_group(0, &group, Request::OffsetDelete { group: request.group_id, topics });
    cx.gather(1, |mut answers, cx| match answers.pop() {
        Some(Event::Group { reply: Reply::OffsetDelete(Ok(results)), .. }) => {
            let topics = results.into_iter().map(|(name, partitions)| OffsetDeleteResponseTopic {
                name,
                partitions: partitions.into_iter().map(partition).collect(),
            });
            cx.reply(&OffsetDeleteResponse { topics: topics.collect(), ..Default::default() })
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
