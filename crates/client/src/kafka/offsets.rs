//! Where a partition begins and ends, and how far a group is.

use std::time::{Duration, Instant};

use bowline_codec_kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use bowline_codec_kafka::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use bowline_codec_kafka::messages::offset_fetch_request::OffsetFetchRequestTopic;
use bowline_codec_kafka::messages::{ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest};

use super::transaction::persist;
use super::{Connection, Position, check};
use crate::error::{Error, Result};
use crate::retry::Backoff;

const UNSTABLE_OFFSET_COMMIT: i16 = 88;
/// A transaction with offsets is ended by its coordinator at the latest; usually it takes milliseconds.
const UNSTABLE_MAX: Duration = Duration::from_secs(60);
const RETRY_CEILING: Duration = Duration::from_millis(100);
/// A partition that was just made may have no leader yet, a group no coordinator.
const LEADER_PATIENCE: Duration = Duration::from_secs(10);

/// Stands for the offset of the next record.
pub const LATEST: i64 = -1;
/// Stands for the offset of the oldest record.
pub const EARLIEST: i64 = -2;

/// The offset that stands behind `timestamp` ([`LATEST`], [`EARLIEST`], or milliseconds since 1970) in each
/// partition; −1 where there is none. Partitions that were just made get some seconds to find their leader.
pub fn list_offsets(
    connection: &mut Connection,
    topic: &str,
    partitions: &[i32],
    timestamp: i64,
) -> Result<Vec<(i32, i64)>> {
    let partitions = partitions
        .iter()
        .map(|index| ListOffsetsPartition { partition_index: *index, current_leader_epoch: -1, timestamp })
        .collect();
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: topic.to_owned(), partitions }],
        ..Default::default()
    };
    persist(connection, LEADER_PATIENCE, "ListOffsets", |connection| {
        let response = connection.call(&request)?;
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let code = partitions.clone().map(|partition| partition.error_code).find(|code| *code != 0);
        let offsets = partitions.map(|partition| (partition.partition_index, partition.offset)).collect();
        Ok((code.unwrap_or(0), offsets))
    })
}

/// Commits for a group without members, as readers do that assign partitions to themselves.
pub fn commit_offsets(coordinator: &mut Connection, group: &str, positions: &[Position]) -> Result<()> {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for position in positions {
        let partition = OffsetCommitRequestPartition {
            partition_index: position.partition,
            committed_offset: position.offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(String::new()),
        };
        match topics.last_mut().filter(|topic| topic.name == position.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(OffsetCommitRequestTopic {
                name: position.topic.clone(),
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        retention_time_ms: -1,
        topics,
        ..Default::default()
    };
    persist(coordinator, LEADER_PATIENCE, "OffsetCommit", |coordinator| {
        let response = coordinator.call(&request)?;
        let mut codes =
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code);
        Ok((codes.find(|code| *code != 0).unwrap_or(0), ()))
    })
}

/// Committed offsets of a group, −1 where there is none; asked of its coordinator by who is no member. While a
/// transaction with a commit is open, its outcome is waited for (KIP-447).
pub fn committed_offsets(
    coordinator: &mut Connection,
    group: &str,
    topic: &str,
    partitions: &[i32],
) -> Result<Vec<(i32, i64)>> {
    let request = OffsetFetchRequest {
        group_id: group.to_owned(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: topic.to_owned(),
            partition_indexes: partitions.to_vec(),
        }]),
        require_stable: true,
        ..Default::default()
    };
    let deadline = Instant::now() + UNSTABLE_MAX;
    let mut backoff = Backoff::new(RETRY_CEILING);
    loop {
        let response = coordinator.call(&request)?;
        check("OffsetFetch", response.error_code)?;
        let found: Vec<_> = response.topics.into_iter().flat_map(|topic| topic.partitions).collect();
        if found.iter().all(|partition| partition.error_code != UNSTABLE_OFFSET_COMMIT) {
            let told = found.into_iter().map(|partition| {
                check("OffsetFetch", partition.error_code)?;
                Ok((partition.partition_index, partition.committed_offset))
            });
            return told.collect();
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout("the end of a transaction with offsets"));
        }
        std::thread::sleep(backoff.step());
    }
}
