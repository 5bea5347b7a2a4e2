//! DescribeQuorum (55): the quorum of the metadata log, which is this node alone. Offsets are those of the meta shard's
//! log.

use super::LEADER_EPOCH;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_quorum_request::TopicData as AskedTopic;
use bowline_codec_kafka::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use bowline_codec_kafka::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use bowline_model::acl::Operation;

/// Kafka's name of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// First version with error messages and with the voters' listeners.
const NODES_FROM: i16 = 2;
/// First version that tells when a voter was heard of.
const TIMES_FROM: i16 = 1;

pub fn start(request: DescribeQuorumRequest, cx: &mut Context<'_>) -> Step {
    if let Err(error) = super::may_rule(Operation::Describe, cx) {
        return cx.reply(&DescribeQuorumResponse { error_code: error.code(), ..Default::default() });
    }
    let topics = request.topics.into_iter().map(|topic| describe(topic, cx)).collect();
    let (host, port) = cx.peer.advertised.clone();
    let listener = Listener { name: "PLAINTEXT".into(), host, port };
    let node = Node { node_id: cx.broker.options.node_id, listeners: vec![listener] };
    let nodes = if cx.head.version >= NODES_FROM { vec![node] } else { vec![] };
    cx.reply(&DescribeQuorumResponse { topics, nodes, ..Default::default() })
}

fn describe(topic: AskedTopic, cx: &Context<'_>) -> TopicData {
    let partitions = topic.partitions.iter().map(|asked| {
        if topic.topic_name != METADATA_TOPIC || asked.partition_index != 0 {
            let error_code = ErrorCode::UnknownTopicOrPartition.code();
            return PartitionData {
                partition_index: asked.partition_index,
                error_code,
                ..Default::default()
            };
        }
        let end = cx.broker.catalog.meta_index() as i64 + 1;
        let now = if cx.head.version >= TIMES_FROM { cx.now.millis } else { -1 };
        let voter = ReplicaState {
            replica_id: cx.broker.options.node_id,
            log_end_offset: end,
            last_fetch_timestamp: now,
            last_caught_up_timestamp: now,
            ..Default::default()
        };
        PartitionData {
            partition_index: 0,
            leader_id: cx.broker.options.node_id,
            leader_epoch: LEADER_EPOCH,
            high_watermark: end,
            current_voters: vec![voter],
            ..Default::default()
        }
    });
    TopicData { partitions: partitions.collect(), topic_name: topic.topic_name.clone() }
}
