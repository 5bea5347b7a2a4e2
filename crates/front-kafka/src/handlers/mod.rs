//! One file for each API: a decoded request in, a [`Step`] out.
//!
//! A handler answers at once, or asks shards and says what to do with their answers. It never waits itself.

mod acls;
mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_replica_log_dirs;
mod api_versions;
mod client_quotas;
mod configs;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delegation_tokens;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_transactions;
mod elect_leaders;
mod end_txn;
mod fetch;
mod find_coordinator;
mod get_telemetry_subscriptions;
mod group_kinds;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod partition_reassignments;
mod produce;
mod push_telemetry;
pub(crate) mod sasl_authenticate;
mod sasl_handshake;
mod scram_credentials;
mod share_acknowledge;
mod share_acks;
mod share_fetch;
mod share_group_describe;
mod share_group_heartbeat;
mod share_group_offsets;
mod sync_group;
mod txn_offset_commit;
mod update_features;
mod write_txn_markers;

use crate::pending::{Closed, Context, Step};
use bowline_codec_kafka::frame::RequestHead;
use bowline_codec_kafka::{ApiKey, ErrorCode, Reader, Request};
use bowline_model::acl::{Operation, Resource};

/// Epoch of every partition's leader: this node has led since the partition was made, and no other ever did.
pub const LEADER_EPOCH: i32 = 0;

/// Answer of the `*_authorized_operations` fields when they were not asked for.
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// What the client may do with the broker, for who may look at it; nothing for others.
fn cluster_operations(asked: bool, cx: &mut Context<'_>) -> i32 {
    match asked {
        false => OPERATIONS_NOT_ASKED,
        true if cx.allows(Operation::Describe, Resource::Cluster) => {
            cx.authorized_operations(Resource::Cluster)
        }
        true => 0,
    }
}

/// What concerns the broker as a whole.
fn may_rule(operation: Operation, cx: &mut Context<'_>) -> Result<(), ErrorCode> {
    cx.check(operation, Resource::Cluster, ErrorCode::ClusterAuthorizationFailed)
}

/// Members of a group read by it.
fn may_join(group: &str, cx: &mut Context<'_>) -> Result<(), ErrorCode> {
    cx.check(Operation::Read, Resource::Group(group), ErrorCode::GroupAuthorizationFailed)
}

/// What people are told when they may not. Kafka says no more either.
fn denied(error: ErrorCode) -> create_topics::Refusal {
    (error, "Authorization failed.".to_owned())
}

/// Starts a request whose API and version are served (ApiVersions: whose API is).
pub fn start(head: &RequestHead, body: &mut Reader, cx: &mut Context<'_>) -> Step {
    match head.api {
        ApiKey::ApiVersions => api_versions::start(body, cx),
        ApiKey::SaslHandshake => run(body, cx, sasl_handshake::start),
        ApiKey::SaslAuthenticate => run(body, cx, sasl_authenticate::start),
        ApiKey::DescribeUserScramCredentials => run(body, cx, scram_credentials::describe),
        ApiKey::AlterUserScramCredentials => run(body, cx, scram_credentials::alter),
        ApiKey::Produce => run(body, cx, produce::start),
        ApiKey::Fetch => run(body, cx, fetch::start),
        ApiKey::ListOffsets => run(body, cx, list_offsets::start),
        ApiKey::Metadata => run(body, cx, metadata::start),
        ApiKey::OffsetCommit => run(body, cx, offset_commit::start),
        ApiKey::OffsetFetch => run(body, cx, offset_fetch::start),
        ApiKey::FindCoordinator => run(body, cx, find_coordinator::start),
        ApiKey::JoinGroup => run(body, cx, |request, cx| join_group::start(request, head.client_id(), cx)),
        ApiKey::Heartbeat => run(body, cx, heartbeat::start),
        ApiKey::LeaveGroup => run(body, cx, leave_group::start),
        ApiKey::SyncGroup => run(body, cx, sync_group::start),
        ApiKey::DescribeGroups => run(body, cx, describe_groups::start),
        ApiKey::ListGroups => run(body, cx, list_groups::start),
        ApiKey::ConsumerGroupHeartbeat => {
            run(body, cx, |request, cx| consumer_group_heartbeat::start(request, head.client_id(), cx))
        }
        ApiKey::ConsumerGroupDescribe => run(body, cx, consumer_group_describe::start),
        ApiKey::CreateTopics => run(body, cx, create_topics::start),
        ApiKey::DeleteTopics => run(body, cx, delete_topics::start),
        ApiKey::DeleteRecords => run(body, cx, delete_records::start),
        ApiKey::InitProducerId => run(body, cx, init_producer_id::start),
        ApiKey::AddPartitionsToTxn => run(body, cx, add_partitions_to_txn::start),
        ApiKey::AddOffsetsToTxn => run(body, cx, add_offsets_to_txn::start),
        ApiKey::EndTxn => run(body, cx, end_txn::start),
        ApiKey::TxnOffsetCommit => run(body, cx, txn_offset_commit::start),
        ApiKey::WriteTxnMarkers => run(body, cx, write_txn_markers::start),
        ApiKey::DescribeProducers => run(body, cx, describe_producers::start),
        ApiKey::DescribeTransactions => run(body, cx, describe_transactions::start),
        ApiKey::ListTransactions => run(body, cx, list_transactions::start),
        ApiKey::OffsetForLeaderEpoch => run(body, cx, offset_for_leader_epoch::start),
        ApiKey::DescribeConfigs => run(body, cx, configs::describe),
        ApiKey::AlterConfigs => run(body, cx, configs::alter),
        ApiKey::IncrementalAlterConfigs => run(body, cx, configs::alter_incrementally),
        ApiKey::AlterReplicaLogDirs => run(body, cx, alter_replica_log_dirs::start),
        ApiKey::DescribeLogDirs => run(body, cx, describe_log_dirs::start),
        ApiKey::CreatePartitions => run(body, cx, create_partitions::start),
        ApiKey::CreateDelegationToken => run(body, cx, delegation_tokens::create),
        ApiKey::RenewDelegationToken => run(body, cx, delegation_tokens::renew),
        ApiKey::ExpireDelegationToken => run(body, cx, delegation_tokens::expire),
        ApiKey::DescribeDelegationToken => run(body, cx, delegation_tokens::describe),
        ApiKey::DeleteGroups => run(body, cx, delete_groups::start),
        ApiKey::ElectLeaders => run(body, cx, elect_leaders::start),
        ApiKey::AlterPartitionReassignments => run(body, cx, partition_reassignments::alter),
        ApiKey::ListPartitionReassignments => run(body, cx, partition_reassignments::list),
        ApiKey::OffsetDelete => run(body, cx, offset_delete::start),
        ApiKey::DescribeAcls => run(body, cx, acls::describe),
        ApiKey::CreateAcls => run(body, cx, acls::create),
        ApiKey::DeleteAcls => run(body, cx, acls::delete),
        ApiKey::DescribeClientQuotas => run(body, cx, client_quotas::describe),
        ApiKey::AlterClientQuotas => run(body, cx, client_quotas::alter),
        ApiKey::DescribeQuorum => run(body, cx, describe_quorum::start),
        ApiKey::UpdateFeatures => run(body, cx, update_features::start),
        ApiKey::DescribeCluster => run(body, cx, describe_cluster::start),
        ApiKey::GetTelemetrySubscriptions => {
            run(body, cx, |request, cx| get_telemetry_subscriptions::start(request, head.client_id(), cx))
        }
        ApiKey::PushTelemetry => {
            run(body, cx, |request, cx| push_telemetry::start(request, head.client_id(), cx))
        }
        ApiKey::ListConfigResources => run(body, cx, list_config_resources::start),
        ApiKey::DescribeTopicPartitions => run(body, cx, describe_topic_partitions::start),
        ApiKey::ShareGroupHeartbeat => {
            run(body, cx, |request, cx| share_group_heartbeat::start(request, head.client_id(), cx))
        }
        ApiKey::ShareGroupDescribe => run(body, cx, share_group_describe::start),
        ApiKey::ShareFetch => run(body, cx, share_fetch::start),
        ApiKey::ShareAcknowledge => run(body, cx, share_acknowledge::start),
        ApiKey::DescribeShareGroupOffsets => run(body, cx, share_group_offsets::describe),
        ApiKey::AlterShareGroupOffsets => run(body, cx, share_group_offsets::alter),
        ApiKey::DeleteShareGroupOffsets => run(body, cx, share_group_offsets::delete),
        _ => Step::Close(Closed::NotServed { key: head.api as i16, version: head.version }),
    }
}

/// Decodes the body and calls the handler. Bytes behind the body are ignored, as Kafka does.
fn run<R: Request>(
    body: &mut Reader,
    cx: &mut Context<'_>,
    handler: impl FnOnce(R, &mut Context<'_>) -> Step,
) -> Step {
    match R::decode(body, cx.head.version) {
        Ok(request) => handler(request, cx),
        Err(error) => Step::Close(Closed::Malformed { api: cx.head.api, version: cx.head.version, error }),
    }
}
