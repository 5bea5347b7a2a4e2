//! ListOffsets (2): the offset that belongs to a time, or to one of the ends.
//!
//! For times a shard names the batches in which the answer lies; the record itself is found here. Readers of what is
//! committed are told nothing at or above the last stable offset, as in Kafka.

use super::LEADER_EPOCH;
use super::fetch::check_leader_epoch;
use crate::access::Named;
use crate::batch_rules::DECOMPRESSED_BYTES_MAX;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::list_offsets_request::ListOffsetsPartition;
use bowline_codec_kafka::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use bowline_codec_kafka::messages::{ListOffsetsRequest, ListOffsetsResponse};
use bowline_codec_kafka::records::{Batch, BatchError, BatchHeader, RecordIter};
use bowline_model::acl::Operation;
use bowline_model::event::{BatchSlice, Event, OffsetFound};
use bowline_model::request::{OffsetQuery, Request};
use bowline_model::{PartitionId, ShardId};

// Times with a meaning of their own, and the first version that knows each.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: (i64, i16) = (-3, 7);
const EARLIEST_LOCAL: (i64, i16) = (-4, 8);
const LATEST_TIERED: (i64, i16) = (-5, 9);
const EARLIEST_PENDING_UPLOAD: (i64, i16) = (-6, 11);

/// First version that tells the leader epoch of what was found.
const LEADER_EPOCH_FROM: i16 = 4;

const READ_COMMITTED: i8 = 1;

/// No record answers the question. Not an error.
const NOTHING: i64 = -1;

/// The questions for one shard.
struct Asked {
    shard: ShardId,
    queries: Vec<(PartitionId, OffsetQuery)>,
    /// Topic and partition positions in the response.
    places: Vec<(usize, usize)>,
}

pub fn start(request: ListOffsetsRequest, cx: &mut Context<'_>) -> Step {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut asked: Vec<Asked> = Vec::new();
    let committed = request.isolation_level == READ_COMMITTED;
    let latest = if committed { OffsetQuery::LatestStable } else { OffsetQuery::Latest };
    for asked_topic in request.topics {
        let twice = twice(&asked_topic.partitions);
        let topic = cx.permitted(Operation::Describe, Named::Name(&asked_topic.name));
        let mut partitions = Vec::with_capacity(asked_topic.partitions.len());
        for partition in asked_topic.partitions {
            let mut result = ListOffsetsPartitionResponse {
                partition_index: partition.partition_index,
                error_code: 0,
                timestamp: NOTHING,
                offset: NOTHING,
                leader_epoch: -1,
            };
            let id = topic.as_ref().map(|topic| topic.partition(partition.partition_index));
            let denied = topic.as_ref().err() == Some(&ErrorCode::TopicAuthorizationFailed);
            if !denied && twice.contains(&partition.partition_index) {
                // Once, for nobody could say which of the answers is to which question.
                if partitions.iter().all(|(other, _): &(ListOffsetsPartitionResponse, i64)| {
                    other.partition_index != result.partition_index
                }) {
                    result.error_code = ErrorCode::InvalidRequest.code();
                    partitions.push((result, partition.timestamp));
                }
                continue;
            }
            match (id, query(&partition, cx.head.version, latest)) {
                (Err(error), _) => result.error_code = error.code(),
                (Ok(None), _) => result.error_code = ErrorCode::UnknownTopicOrPartition.code(),
                (_, Err(error)) => result.error_code = error.code(),
                (Ok(Some(_)), Ok(None)) => {}
                (Ok(Some(id)), Ok(Some(query))) => {
                    let shard = cx.shard_of(id);
                    let place = (topics.len(), partitions.len());
                    match asked.iter_mut().find(|asked| asked.shard == shard) {
                        Some(asked) => {
                            asked.queries.push((id, query));
                            asked.places.push(place);
                        }
                        None => asked.push(Asked { shard, queries: vec![(id, query)], places: vec![place] }),
                    }
                }
            }
            partitions.push((result, partition.timestamp));
        }
        topics.push((asked_topic.name, partitions));
    }
    let mut places = Vec::with_capacity(asked.len());
    for (sub, asked) in asked.into_iter().enumerate() {
        let token = cx.token(sub as u32);
        cx.send(asked.shard, Request::ListOffsets { token, queries: asked.queries });
        places.push(asked.places);
    }
    cx.gather(places.len(), move |answers, cx| {
        for (places, answer) in places.into_iter().zip(answers) {
            match answer {
                Event::Offsets { results, .. } if results.len() == places.len() => {
                    for ((t, p), (_, found)) in places.into_iter().zip(results) {
                        let (result, time) = &mut topics[t].1[p];
                        match found {
                            Ok(found) => fill(result, found, *time, committed),
                            Err(error) => result.error_code = errors::fetch(error).code(),
                        }
                    }
                }
                Event::Failed { reason, .. } => {
                    for (t, p) in places {
                        topics[t].1[p].0.error_code = errors::failure(reason).code();
                    }
                }
                _ => return cx.mismatch(),
            }
        }
        if cx.head.version < LEADER_EPOCH_FROM {
            let all = topics.iter_mut().flat_map(|(_, partitions)| partitions);
            all.for_each(|(result, _)| result.leader_epoch = -1);
        }
        let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopicResponse {
            name,
            partitions: partitions.into_iter().map(|(result, _)| result).collect(),
        });
        cx.reply(&ListOffsetsResponse { topics: topics.collect(), ..Default::default() })
    })
}

/// Partitions that are named more than once.
fn twice(partitions: &[ListOffsetsPartition]) -> Vec<i32> {
    let mut indexes: Vec<i32> = partitions.iter().map(|partition| partition.partition_index).collect();
    indexes.sort_unstable();
    let mut twice: Vec<i32> =
        indexes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    twice.dedup();
    twice
}

/// What to ask the shard; `None` when the answer is known to be nothing.
fn query(
    partition: &ListOffsetsPartition,
    version: i16,
    latest: OffsetQuery,
) -> Result<Option<OffsetQuery>, ErrorCode> {
    check_leader_epoch(partition.current_leader_epoch)?;
    let time = partition.timestamp;
    let since = |(known, first): (i64, i16)| time == known && version >= first;
    match time {
        LATEST => Ok(Some(latest)),
        EARLIEST => Ok(Some(OffsetQuery::Earliest)),
        0.. => Ok(Some(OffsetQuery::Timestamp(time))),
        _ if since(MAX_TIMESTAMP) => Ok(Some(OffsetQuery::MaxTimestamp)),
        // Everything is local ...
        _ if since(EARLIEST_LOCAL) => Ok(Some(OffsetQuery::Earliest)),
        // ... and nothing is, or waits to be, elsewhere.
        _ if since(LATEST_TIERED) || since(EARLIEST_PENDING_UPLOAD) => Ok(None),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

fn fill(result: &mut ListOffsetsPartitionResponse, found: OffsetFound, time: i64, committed: bool) {
    match found {
        OffsetFound::Offset(offset) => {
            result.offset = offset as i64;
            result.leader_epoch = LEADER_EPOCH;
        }
        OffsetFound::Batches { batches, log_start, last_stable } => match seek(&batches, log_start, time) {
            Ok(Some((offset, _))) if committed && offset >= last_stable as i64 => {}
            Ok(Some((offset, timestamp))) => {
                result.offset = offset;
                result.timestamp = timestamp;
                result.leader_epoch = LEADER_EPOCH;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "a stored batch cannot be read");
                result.error_code = ErrorCode::CorruptMessage.code();
            }
        },
    }
}

/// Offset and time of the record that is asked for: the first at or after `time`, or the youngest. Records that were
/// deleted out of the middle of a batch are none.
pub(super) fn seek(
    batches: &[BatchSlice],
    log_start: u64,
    time: i64,
) -> Result<Option<(i64, i64)>, BatchError> {
    let mut youngest: Option<(i64, i64)> = None;
    for slice in batches {
        let bytes = slice.block.payload.slice(slice.offset as usize..(slice.offset + slice.len) as usize);
        let header = BatchHeader::parse(&bytes)?;
        let batch = Batch { header, bytes };
        let body = batch.records(DECOMPRESSED_BYTES_MAX)?;
        for record in RecordIter::new(&body, header.records_count) {
            let record = record?;
            let timestamp = header.record_timestamp(record.timestamp_delta);
            let offset = slice.base_offset as i64 + i64::from(record.offset_delta);
            if offset < log_start as i64 {
                continue;
            }
            if time >= 0 && timestamp >= time {
                return Ok(Some((offset, timestamp)));
            }
            if youngest.is_none_or(|(_, best)| timestamp > best) {
                youngest = Some((offset, timestamp));
            }
        }
    }
    Ok(youngest.filter(|_| time < 0))
}
