//! DeleteRecords (21): moves the start of a partition's log. Offset −1 means up to the high watermark. A
//! topic that is compacted and nothing else keeps the latest of each key, and loses nothing this way.

use crate::access::Named;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use bowline_codec_kafka::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use bowline_model::acl::Operation;
use bowline_model::event::Event;
use bowline_model::request::Request;

const UP_TO_HIGH_WATERMARK: i64 = -1;

pub fn start(request: DeleteRecordsRequest, cx: &mut Context<'_>) -> Step {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut asked: Vec<(usize, usize)> = Vec::new();
    for asked_topic in request.topics {
        let topic = cx.permitted(Operation::Delete, Named::Name(&asked_topic.name));
        let compacts_only = topic.as_ref().is_ok_and(|topic| topic.compacts_only);
        let mut partitions = Vec::with_capacity(asked_topic.partitions.len());
        for partition in asked_topic.partitions {
            let mut result = DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: -1,
                error_code: 0,
            };
            let id = topic.as_ref().map(|topic| topic.partition(partition.partition_index));
            let offset = match partition.offset {
                UP_TO_HIGH_WATERMARK => Ok(None),
                offset => u64::try_from(offset).map(Some).map_err(|_| ErrorCode::OffsetOutOfRange),
            };
            match (id, offset) {
                (Err(error), _) => result.error_code = error.code(),
                (Ok(None), _) => result.error_code = ErrorCode::UnknownTopicOrPartition.code(),
                (Ok(Some(_)), _) if compacts_only => result.error_code = ErrorCode::PolicyViolation.code(),
                (_, Err(error)) => result.error_code = error.code(),
                (Ok(Some(id)), Ok(offset)) => {
                    let token = cx.token(asked.len() as u32);
                    cx.send(cx.shard_of(id), Request::Trim { token, partition: id, offset });
                    asked.push((topics.len(), partitions.len()));
                }
            }
            partitions.push(result);
        }
        topics.push(DeleteRecordsTopicResult { name: asked_topic.name, partitions });
    }
    cx.gather(asked.len(), move |answers, cx| {
        for ((t, p), answer) in asked.into_iter().zip(answers) {
            let result = &mut topics[t].partitions[p];
            match answer {
                Event::Trimmed { result: Ok(log_start), .. } => result.low_watermark = log_start as i64,
                Event::Trimmed { result: Err(error), .. } => result.error_code = errors::fetch(error).code(),
                Event::Failed { reason, .. } => result.error_code = errors::failure(reason).code(),
                _ => return cx.mismatch(),
            }
        }
        cx.reply(&DeleteRecordsResponse { topics, ..Default::default() })
    })
}
