//! AlterPartitionReassignments (45) and ListPartitionReassignments (46): partitions stay on this node, the only one.
//! Assigning them to it is done at once, and none is ever under way.

use super::create_topics::Refusal;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use bowline_codec_kafka::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use bowline_model::acl::Operation;

pub fn alter(request: AlterPartitionReassignmentsRequest, cx: &mut Context<'_>) -> Step {
    if let Err(error) = super::may_rule(Operation::Alter, cx) {
        return cx
            .reply(&AlterPartitionReassignmentsResponse { error_code: error.code(), ..Default::default() });
    }
    let responses = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let checked = check(&topic.name, partition.partition_index, partition.replicas.as_deref(), cx);
            let (error, error_message) = match checked {
                Ok(()) => (ErrorCode::None, None),
                Err((error, message)) => (error, Some(message)),
            };
            let partition_index = partition.partition_index;
            ReassignablePartitionResponse { partition_index, error_code: error.code(), error_message }
        });
        ReassignableTopicResponse { partitions: partitions.collect(), name: topic.name.clone() }
    });
    let responses = responses.collect();
    cx.reply(&AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses,
        error_message: None,
        ..Default::default()
    })
}

pub fn list(_request: ListPartitionReassignmentsRequest, cx: &mut Context<'_>) -> Step {
    if let Err(error) = super::may_rule(Operation::Describe, cx) {
        return cx
            .reply(&ListPartitionReassignmentsResponse { error_code: error.code(), ..Default::default() });
    }
    cx.reply(&ListPartitionReassignmentsResponse { error_message: None, ..Default::default() })
}

fn check(topic: &str, index: i32, replicas: Option<&[i32]>, cx: &mut Context<'_>) -> Result<(), Refusal> {
    let known = cx.topic(topic).is_some_and(|topic| topic.partition(index).is_some());
    if !known {
        return Err((ErrorCode::UnknownTopicOrPartition, "there is no such topic or partition".into()));
    }
    let node = cx.broker.options.node_id;
    let invalid = |text: String| Err((ErrorCode::InvalidReplicaAssignment, text));
    match replicas {
        // Null calls off what is under way.
        None => Err((ErrorCode::NoReassignmentInProgress, "nothing is being reassigned".into())),
        Some([]) => invalid("a partition needs a replica".into()),
        Some(replicas) => match replicas.iter().find(|replica| **replica != node) {
            Some(stranger) => invalid(format!("there is no broker {stranger}")),
            None if replicas.len() > 1 => invalid(format!("broker {node} is named more than once")),
            None => Ok(()),
        },
    }
}
