//! OffsetForLeaderEpoch (23): where an epoch ended. There is one epoch, 0, and it has not ended.

use super::LEADER_EPOCH;
use super::fetch::check_leader_epoch;
use crate::access::Named;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use bowline_codec_kafka::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use bowline_model::acl::Operation;
use bowline_model::event::{Event, OffsetFound};
use bowline_model::request::{OffsetQuery, Request};

/// "Undefined" for epochs and offsets.
const UNDEFINED: i32 = -1;

pub fn start(request: OffsetForLeaderEpochRequest, cx: &mut Context<'_>) -> Step {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut asked: Vec<(usize, usize)> = Vec::new();
    for asked_topic in request.topics {
        let topic = cx.permitted(Operation::Describe, Named::Name(&asked_topic.topic));
        let mut partitions = Vec::with_capacity(asked_topic.partitions.len());
        for partition in asked_topic.partitions {
            let mut result = EpochEndOffset {
                error_code: 0,
                partition: partition.partition,
                leader_epoch: UNDEFINED,
                end_offset: UNDEFINED.into(),
            };
            let id = topic.as_ref().map(|topic| topic.partition(partition.partition));
            match (id, check_leader_epoch(partition.current_leader_epoch)) {
                (Err(error), _) => result.error_code = error.code(),
                (Ok(None), _) => result.error_code = ErrorCode::UnknownTopicOrPartition.code(),
                (_, Err(error)) => result.error_code = error.code(),
                // An epoch that never was is undefined, which is no error.
                (Ok(Some(_)), Ok(())) if partition.leader_epoch != LEADER_EPOCH => {}
                (Ok(Some(id)), Ok(())) => {
                    let token = cx.token(asked.len() as u32);
                    let queries = vec![(id, OffsetQuery::Latest)];
                    cx.send(cx.shard_of(id), Request::ListOffsets { token, queries });
                    asked.push((topics.len(), partitions.len()));
                }
            }
            partitions.push(result);
        }
        topics.push(OffsetForLeaderTopicResult { topic: asked_topic.topic, partitions });
    }
    cx.gather(asked.len(), move |answers, cx| {
        for ((t, p), answer) in asked.into_iter().zip(answers) {
            let result = &mut topics[t].partitions[p];
            let found = match answer {
                Event::Offsets { mut results, .. } => results.pop(),
                Event::Failed { reason, .. } => {
                    result.error_code = errors::failure(reason).code();
                    continue;
                }
                _ => None,
            };
            match found {
                Some((_, Ok(OffsetFound::Offset(end)))) => {
                    result.leader_epoch = LEADER_EPOCH;
                    result.end_offset = end as i64;
                }
                Some((_, Err(error))) => result.error_code = errors::fetch(error).code(),
                _ => return cx.mismatch(),
            }
        }
        cx.reply(&OffsetForLeaderEpochResponse { topics, ..Default::default() })
    })
}
