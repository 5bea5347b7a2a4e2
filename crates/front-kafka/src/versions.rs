//! Which APIs are served, in which versions. The one table behind ApiVersions and behind what is refused.
//!
//! Ranges are Kafka's own without holes, because clients derive features from overlaps and even guess the broker's
//! release from single rows. ApiVersions stops at 4: version 5 lets clients check the node's identity, which breaks
//! behind NAT. InitProducerId stops at 5: 6 is unreleased.

use bowline_codec_kafka::ApiKey;
use std::ops::RangeInclusive;

/// Served APIs in ascending order of their keys, with the versions that clients are offered.
pub const SERVED: &[(ApiKey, RangeInclusive<i16>)] = &[
    // Offered from 0 although 3 is the first: older librdkafka stops compressing otherwise (KAFKA-18659).
    (ApiKey::Produce, 0..=13),
    (ApiKey::Fetch, 4..=18),
    (ApiKey::ListOffsets, 1..=11),
    (ApiKey::Metadata, 0..=13),
    (ApiKey::OffsetCommit, 2..=10),
    (ApiKey::OffsetFetch, 1..=10),
    (ApiKey::FindCoordinator, 0..=6),
    (ApiKey::JoinGroup, 0..=9),
    (ApiKey::Heartbeat, 0..=4),
    (ApiKey::LeaveGroup, 0..=5),
    (ApiKey::SyncGroup, 0..=5),
    (ApiKey::DescribeGroups, 0..=6),
    (ApiKey::ListGroups, 0..=5),
    (ApiKey::SaslHandshake, 0..=1),
    (ApiKey::ApiVersions, 0..=4),
    (ApiKey::CreateTopics, 2..=7),
    (ApiKey::DeleteTopics, 1..=6),
    (ApiKey::DeleteRecords, 0..=2),
    (ApiKey::InitProducerId, 0..=5),
    (ApiKey::OffsetForLeaderEpoch, 2..=4),
    (ApiKey::AddPartitionsToTxn, 0..=5),
    (ApiKey::AddOffsetsToTxn, 0..=4),
    (ApiKey::EndTxn, 0..=5),
    (ApiKey::WriteTxnMarkers, 1..=2),
    (ApiKey::TxnOffsetCommit, 0..=6),
    (ApiKey::DescribeAcls, 1..=3),
    (ApiKey::CreateAcls, 1..=3),
    (ApiKey::DeleteAcls, 1..=3),
    (ApiKey::DescribeConfigs, 1..=4),
    (ApiKey::AlterConfigs, 0..=2),
    (ApiKey::AlterReplicaLogDirs, 1..=2),
    (ApiKey::DescribeLogDirs, 1..=5),
    (ApiKey::SaslAuthenticate, 0..=2),
    (ApiKey::CreatePartitions, 0..=3),
    (ApiKey::CreateDelegationToken, 1..=3),
    (ApiKey::RenewDelegationToken, 1..=2),
    (ApiKey::ExpireDelegationToken, 1..=2),
    (ApiKey::DescribeDelegationToken, 1..=3),
    (ApiKey::DeleteGroups, 0..=3),
    (ApiKey::ElectLeaders, 0..=2),
    (ApiKey::IncrementalAlterConfigs, 0..=1),
    (ApiKey::AlterPartitionReassignments, 0..=1),
    (ApiKey::ListPartitionReassignments, 0..=0),
    (ApiKey::OffsetDelete, 0..=0),
    (ApiKey::DescribeClientQuotas, 0..=1),
    (ApiKey::AlterClientQuotas, 0..=1),
    (ApiKey::DescribeUserScramCredentials, 0..=0),
    (ApiKey::AlterUserScramCredentials, 0..=0),
    (ApiKey::DescribeQuorum, 0..=2),
    (ApiKey::UpdateFeatures, 0..=2),
    (ApiKey::DescribeCluster, 0..=2),
    (ApiKey::DescribeProducers, 0..=0),
    (ApiKey::DescribeTransactions, 0..=0),
    (ApiKey::ListTransactions, 0..=2),
    (ApiKey::ConsumerGroupHeartbeat, 0..=1),
    (ApiKey::ConsumerGroupDescribe, 0..=1),
    (ApiKey::GetTelemetrySubscriptions, 0..=0),
    (ApiKey::PushTelemetry, 0..=0),
    (ApiKey::ListConfigResources, 0..=1),
    (ApiKey::DescribeTopicPartitions, 0..=0),
    (ApiKey::ShareGroupHeartbeat, 1..=1),
    (ApiKey::ShareGroupDescribe, 1..=1),
    (ApiKey::ShareFetch, 1..=2),
    (ApiKey::ShareAcknowledge, 1..=2),
    (ApiKey::DescribeShareGroupOffsets, 0..=1),
    (ApiKey::AlterShareGroupOffsets, 0..=0),
    (ApiKey::DeleteShareGroupOffsets, 0..=0),
];

/// Clients that see these ask what is wanted of their metrics, and may push them.
pub fn is_telemetry(api: ApiKey) -> bool {
    matches!(api, ApiKey::GetTelemetrySubscriptions | ApiKey::PushTelemetry)
}

/// Whether a request of this API and version is served. Narrower than [`SERVED`] for Produce, whose first versions
/// are offered and yet refused, as Kafka does.
pub fn is_served(api: ApiKey, version: i16) -> bool {
    let offered = SERVED.iter().find(|(key, _)| *key == api);
    offered.is_some_and(|(_, range)| range.contains(&version)) && api.versions().contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact rows that clients see: a change here is a change of every client's behaviour.
    #[test]
    fn the_offer_is_kafkas_ranges_without_holes() {
        for (api, offered) in SERVED {
            let full = api.advertised_versions();
            let narrowed = match api {
                ApiKey::ApiVersions => 0..=4,
                _ => full,
            };
            assert_eq!(*offered, narrowed, "{api}");
            for version in offered.clone() {
                let lie = *api == ApiKey::Produce && version < 3;
                assert_eq!(is_served(*api, version), !lie, "{api} v{version}");
            }
            assert!(!is_served(*api, offered.end() + 1) && !is_served(*api, -1));
        }
        assert!(SERVED.is_sorted_by_key(|(api, _)| *api as i16));
        assert!(!is_served(ApiKey::StreamsGroupHeartbeat, 0));
    }
}
