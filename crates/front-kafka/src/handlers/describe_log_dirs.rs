//! DescribeLogDirs (35): sizes of partitions, for tools and dashboards. All data is in one place.

use crate::catalog::Topic;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use bowline_codec_kafka::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use bowline_model::PartitionId;
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::request::Request;
use std::sync::Arc;

/// The data directory is nobody's business on the wire; the name only has to be stable.
pub const LOG_DIR: &str = "/bowline";

/// When the system does not tell about the volume.
const UNKNOWN_BYTES: i64 = -1;

/// First version that tells the size of the volume (KIP-827).
const VOLUME_FROM: i16 = 4;

pub fn start(request: DescribeLogDirsRequest, cx: &mut Context<'_>) -> Step {
    if !cx.allows(Operation::Describe, Resource::Cluster) {
        // Versions without an error for the whole response tell nothing.
        let error_code = ErrorCode::ClusterAuthorizationFailed.code();
        return cx.reply(&DescribeLogDirsResponse { error_code, ..Default::default() });
    }
    let wanted: Vec<(Arc<Topic>, Vec<i32>)> = match request.topics {
        None => cx.broker.catalog.topics().into_iter().map(|topic| (topic.clone(), all(&topic))).collect(),
        Some(topics) => {
            let known =
                |asked: bowline_codec_kafka::messages::describe_log_dirs_request::DescribableLogDirTopic| {
                    Some((cx.topic(&asked.topic)?, asked.partitions))
                };
            topics.into_iter().filter_map(known).collect()
        }
    };
    let mut topics = Vec::with_capacity(wanted.len());
    let mut count = 0u32;
    for (topic, indexes) in wanted {
        let mut partitions = Vec::with_capacity(indexes.len());
        for partition_index in indexes {
            let Some(partition) = topic.partition(partition_index) else { continue };
            ask(count, partition, cx);
            count += 1;
            partitions.push(DescribeLogDirsPartition { partition_index, ..Default::default() });
        }
        topics.push(DescribeLogDirsTopic { name: topic.name.clone(), partitions });
    }
    cx.gather(count as usize, move |answers, cx| {
        let mut answers = answers.into_iter();
        for topic in &mut topics {
            // A partition that has gone meanwhile, or cannot be asked, is left out.
            topic.partitions.retain_mut(|partition| match answers.next() {
                Some(Event::PartitionInfo { result: Ok(info), .. }) => {
                    partition.partition_size = info.bytes as i64;
                    true
                }
                _ => false,
            });
        }
        topics.retain(|topic| !topic.partitions.is_empty());
        let volume = cx.broker.catalog.volume().filter(|_| cx.head.version >= VOLUME_FROM);
        let (total_bytes, usable_bytes) =
            volume.map_or((UNKNOWN_BYTES, UNKNOWN_BYTES), |(total, free)| (total as i64, free as i64));
        let result = DescribeLogDirsResult {
            log_dir: LOG_DIR.into(),
            topics,
            // From version 4 on; earlier ones cannot carry it.
            total_bytes,
            usable_bytes,
            ..Default::default()
        };
        cx.reply(&DescribeLogDirsResponse { results: vec![result], ..Default::default() })
    })
}

fn all(topic: &Topic) -> Vec<i32> {
    (0..topic.partitions.len() as i32).collect()
}

fn ask(sub: u32, partition: PartitionId, cx: &mut Context<'_>) {
    let token = cx.token(sub);
    cx.send(cx.shard_of(partition), Request::PartitionInfo { token, partition });
}
