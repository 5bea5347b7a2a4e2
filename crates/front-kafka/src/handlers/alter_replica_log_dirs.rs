//! AlterReplicaLogDirs (34): there is one directory, in which every partition is already.

use super::describe_log_dirs::LOG_DIR;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use bowline_codec_kafka::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use bowline_model::acl::Operation;

pub fn start(request: AlterReplicaLogDirsRequest, cx: &mut Context<'_>) -> Step {
    let allowed = super::may_rule(Operation::Alter, cx);
    let mut results = Vec::new();
    for dir in request.dirs {
        for topic in dir.topics {
            let known = cx.topic(&topic.name);
            let partitions = topic.partitions.into_iter().map(|partition_index| {
                let exists = known.as_ref().is_some_and(|known| known.partition(partition_index).is_some());
                let error = match (dir.path == LOG_DIR, exists) {
                    _ if allowed.is_err() => ErrorCode::ClusterAuthorizationFailed,
                    (false, _) => ErrorCode::LogDirNotFound,
                    (true, false) => ErrorCode::UnknownTopicOrPartition,
                    (true, true) => ErrorCode::None,
                };
                AlterReplicaLogDirPartitionResult { partition_index, error_code: error.code() }
            });
            results.push(AlterReplicaLogDirTopicResult {
                partitions: partitions.collect(),
                topic_name: topic.name,
            });
        }
    }
    cx.reply(&AlterReplicaLogDirsResponse { results, ..Default::default() })
}
