//! ElectLeaders (43): every partition is led by this node, which is preferred and the only one; there is nothing to
//! elect.

use super::create_topics::Refusal;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use bowline_codec_kafka::messages::{ElectLeadersRequest, ElectLeadersResponse};

// Election types.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub fn start(request: ElectLeadersRequest, cx: &mut Context<'_>) -> Step {
    if !matches!(request.election_type, PREFERRED | UNCLEAN) {
        let error_code = ErrorCode::InvalidRequest.code();
        return cx.reply(&ElectLeadersResponse { error_code, ..Default::default() });
    }
    // Null asks for all partitions, and is answered with those whose leader was not the wanted one.
    let topics = request.topic_partitions.unwrap_or_default();
    let results = topics.into_iter().map(|asked| {
        let results = asked.partitions.into_iter().map(|partition_id| {
            let (error, message) = refusal(&asked.topic, partition_id, cx);
            PartitionResult { partition_id, error_code: error.code(), error_message: Some(message) }
        });
        ReplicaElectionResult { partition_result: results.collect(), topic: asked.topic.clone() }
    });
    let replica_election_results = results.collect();
    cx.reply(&ElectLeadersResponse { replica_election_results, ..Default::default() })
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
