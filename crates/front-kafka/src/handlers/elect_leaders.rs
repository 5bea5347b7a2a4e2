//! ElectLeaders (43): every partition is led by this node, which is preferred and the only one; there is nothing to
//! elect.

use super::create_topics::Refusal;
use super::denied;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use bowline_codec_kafka::messages::{ElectLeadersRequest, ElectLeadersResponse};
use bowline_model::acl::Operation;

/// First version with an error of the whole request.
const ERROR_FROM: i16 = 1;

// Election types.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub fn start(request: ElectLeadersRequest, cx: &mut Context<'_>) -> Step {
    if !matches!(request.election_type, PREFERRED | UNCLEAN) {
        let error_code = ErrorCode::InvalidRequest.code();
        return cx.reply(&ElectLeadersResponse { error_code, ..Default::default() });
    }
    let allowed = super::may_rule(Operation::Alter, cx);
    // Versions without an error for the whole request have it with each partition.
    let error_code = match allowed {
        Err(error) if cx.head.version >= ERROR_FROM => error.code(),
        _ => 0,
    };
    // Null asks for all partitions, and is answered with those whose leader was not the wanted one.
    let topics = request.topic_partitions.unwrap_or_default();
    let results = topics.into_iter().map(|asked| {
        let results = asked.partitions.into_iter().map(|partition_id| {
            let (error, message) = match allowed {
                Ok(()) => refusal(&asked.topic, partition_id, cx),
                Err(error) => denied(error),
            };
            PartitionResult { partition_id, error_code: error.code(), error_message: Some(message) }
        });
        ReplicaElectionResult { partition_result: results.collect(), topic: asked.topic.clone() }
    });
    let replica_election_results = results.collect();
    cx.reply(&ElectLeadersResponse { error_code, replica_election_results, ..Default::default() })
}

fn refusal(topic: &str, partition: i32, cx: &mut Context<'_>) -> Refusal {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    match cx.topic(topic) {
        None => (unknown, format!("there is no topic '{topic}'")),
        Some(known) if known.partition(partition).is_none() => {
            (unknown, format!("topic '{topic}' has no partition {partition}"))
        }
        Some(_) => (ErrorCode::ElectionNotNeeded, "the wanted leader leads already".into()),
    }
}
