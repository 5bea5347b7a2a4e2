//! DescribeTopicPartitions (75): topics in pages of partitions, ordered by name.

use super::{LEADER_EPOCH, OPERATIONS_NOT_ASKED};
use crate::access::Named;
use crate::catalog::{Topic, is_valid_name};
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use bowline_codec_kafka::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use bowline_model::acl::{Operation, Resource};
use std::sync::Arc;

/// Most partitions in one response, as in Kafka (`max.request.partition.size.limit`).
const PAGE_PARTITIONS_MAX: usize = 2000;

pub fn start(request: DescribeTopicPartitionsRequest, cx: &mut Context<'_>) -> Step {
    let (from_topic, from_partition) = match request.cursor {
        Some(cursor) if cursor.partition_index < 0 => {
            // Nothing in the response could carry the error, so say that nothing follows.
            return cx.reply(&DescribeTopicPartitionsResponse::default());
        }
        Some(cursor) => (cursor.topic_name, cursor.partition_index as usize),
        None => (String::new(), 0),
    };
    let all = request.topics.is_empty();
    let mut names: Vec<(String, Option<Arc<Topic>>)> = match all {
        true => {
            let mut all = cx.broker.catalog.topics();
            all.retain(|topic| cx.allows(Operation::Describe, Resource::Topic(&topic.name)));
            all.into_iter().map(|topic| (topic.name.clone(), Some(topic))).collect()
        }
        false => request.topics.into_iter().map(|topic| (topic.name, None)).collect(),
    };
    names.retain(|(name, _)| *name >= from_topic);
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    names.dedup_by(|a, b| a.0 == b.0);

    let mut left = (request.response_partition_limit.max(1) as usize).min(PAGE_PARTITIONS_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    for (name, known) in names {
        let found = known.map_or_else(|| cx.permitted(Operation::Describe, Named::Name(&name)), Ok);
        let topic = match found {
            Ok(topic) => topic,
            Err(_) if left == 0 => {
                response.next_cursor = Some(Cursor { topic_name: name, partition_index: 0 });
                break;
            }
            Err(error) => {
                response.topics.push(unknown(name, error, cx));
                continue;
            }
        };
        let first = if name == from_topic { from_partition.min(topic.partitions.len()) } else { 0 };
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: first as i32 });
            break;
        }
        let end = topic.partitions.len().min(first + left);
        left -= end - first;
        response.topics.push(describe(&topic, first..end, cx));
        if end < topic.partitions.len() {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: end as i32 });
            break;
        }
    }
    cx.reply(&response)
}

fn describe(
    topic: &Topic,
    page: std::ops::Range<usize>,
    cx: &mut Context<'_>,
) -> DescribeTopicPartitionsResponseTopic {
    let node_id = cx.broker.options.node_id;
    let partitions = page.map(|index| DescribeTopicPartitionsResponsePartition {
        error_code: 0,
        partition_index: index as i32,
        leader_id: node_id,
        leader_epoch: LEADER_EPOCH,
        replica_nodes: vec![node_id],
        isr_nodes: vec![node_id],
        // Null is legal, and the Java client fails on it.
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: Vec::new(),
    });
    DescribeTopicPartitionsResponseTopic {
        error_code: 0,
        name: Some(topic.name.clone()),
        topic_id: topic.wire_id(),
        is_internal: false,
        partitions: partitions.collect(),
        topic_authorized_operations: cx.authorized_operations(Resource::Topic(&topic.name)),
    }
}

fn unknown(name: String, error: ErrorCode, cx: &mut Context<'_>) -> DescribeTopicPartitionsResponseTopic {
    let topic_authorized_operations = match error {
        ErrorCode::UnknownTopicOrPartition => cx.authorized_operations(Resource::Topic(&name)),
        _ => OPERATIONS_NOT_ASKED,
    };
    let error = match error {
        ErrorCode::UnknownTopicOrPartition if !is_valid_name(&name) => ErrorCode::InvalidTopicException,
        error => error,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(name),
        topic_authorized_operations,
        ..Default::default()
    }
}
