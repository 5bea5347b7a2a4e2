//! Where a partition begins and ends.

use bowline_codec_kafka::messages::ListOffsetsRequest;
use bowline_codec_kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};

use super::{Connection, check};
use crate::error::Result;

/// Stands for the offset of the next record.
pub const LATEST: i64 = -1;
/// Stands for the offset of the oldest record.
pub const EARLIEST: i64 = -2;

/// The offset that stands behind `timestamp` ([`LATEST`], [`EARLIEST`], or milliseconds since 1970) in each
/// partition; −1 where there is none.
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
    let response = connection.call(&request)?;
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|partition| {
            check("ListOffsets", partition.error_code)?;
            Ok((partition.partition_index, partition.offset))
        })
        .collect()
}
