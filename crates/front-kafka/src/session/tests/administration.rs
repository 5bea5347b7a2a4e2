//! What tools ask of a cluster, answered by its one node.

use super::*;
use messages::*;

fn answer<Q: WireRequest>(version: i16, request: &Q) -> Q::Response {
    let mut bench = Bench::new();
    bench.send(version, request);
    for (_, request) in bench.sent() {
        let Request::PartitionInfo { token, .. } = request else { panic!("{request:?}") };
        let info = bowline_model::event::PartitionInfo { log_start: 0, high_watermark: 5, bytes: 100 };
        bench.event(Event::PartitionInfo { token, result: Ok(info) });
    }
    bench.receive(version).unwrap().1
}

#[test]
fn nothing_is_to_be_elected() {
    let topic = |topic: &str, partitions: &[i32]| elect_leaders_request::TopicPartitions {
        topic: topic.into(),
        partitions: partitions.to_vec(),
    };
    let request = |topics| ElectLeadersRequest { topic_partitions: topics, ..Default::default() };
    let response = answer(2, &request(Some(vec![topic("t", &[0, 2]), topic("u", &[0])])));
    let codes: Vec<_> = response
        .replica_election_results
        .iter()
        .flat_map(|topic| topic.partition_result.iter().map(|partition| partition.error_code))
        .collect();
    assert_eq!(codes, [84, 3, 3]);
    let all = answer(2, &request(None));
    assert!(all.error_code == 0 && all.replica_election_results.is_empty());
    let odd = ElectLeadersRequest { election_type: 7, ..request(None) };
    assert_eq!(answer(2, &odd).error_code, ErrorCode::InvalidRequest.code());
}

#[test]
fn partitions_stay_where_they_are() {
    use alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
    let code = |index, replicas: Option<&[i32]>| {
        let replicas = replicas.map(<[i32]>::to_vec);
        let partitions = vec![ReassignablePartition { partition_index: index, replicas }];
        let topics = vec![ReassignableTopic { name: "t".into(), partitions }];
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        answer(1, &request).responses[0].partitions[0].error_code
    };
    assert_eq!(code(0, Some(&[1])), 0);
    assert_eq!(code(0, None), ErrorCode::NoReassignmentInProgress.code());
    assert_eq!(code(2, Some(&[1])), ErrorCode::UnknownTopicOrPartition.code());
    for bad in [&[][..], &[2], &[1, 2], &[1, 1]] {
        assert_eq!(code(0, Some(bad)), ErrorCode::InvalidReplicaAssignment.code(), "{bad:?}");
    }
    let listed = answer(0, &ListPartitionReassignmentsRequest::default());
    assert!(listed.error_code == 0 && listed.topics.is_empty());
}

#[test]
fn directories_are_one() {
    let request = |path: &str| {
        let topic = alter_replica_log_dirs_request::AlterReplicaLogDirTopic {
            name: "t".into(),
            partitions: vec![0, 2],
        };
        let dir =
            alter_replica_log_dirs_request::AlterReplicaLogDir { path: path.into(), topics: vec![topic] };
        let response = answer(2, &AlterReplicaLogDirsRequest { dirs: vec![dir] });
        response.results[0].partitions.iter().map(|partition| partition.error_code).collect::<Vec<_>>()
    };
    assert_eq!(request("/bowline"), [0, 3]);
    assert_eq!(request("/elsewhere"), [ErrorCode::LogDirNotFound.code(); 2]);
    let described = answer(4, &DescribeLogDirsRequest { topics: None });
    let dir = &described.results[0];
    assert_eq!((dir.total_bytes, dir.usable_bytes), (1000, 300));
    assert_eq!(dir.topics[0].partitions.iter().map(|p| p.partition_size).sum::<i64>(), 200);
}

#[test]
fn the_quorum_is_this_node() {
    let asked = |topic_name: &str| DescribeQuorumRequest {
        topics: vec![describe_quorum_request::TopicData {
            topic_name: topic_name.into(),
            partitions: vec![Default::default()],
        }],
    };
    let response = answer(2, &asked("__cluster_metadata"));
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.leader_id, partition.high_watermark), (1, 42));
    assert_eq!(partition.current_voters.len(), 1);
    assert_eq!(response.nodes[0].listeners[0].port, 9092);
    assert_eq!(answer(2, &asked("t")).topics[0].partitions[0].error_code, 3);
}

#[test]
fn levels_of_features_stay() {
    let typed = |version, name: &str, level, upgrade_type| {
        let update = update_features_request::FeatureUpdateKey {
            feature: name.into(),
            max_version_level: level,
            upgrade_type,
            ..Default::default()
        };
        let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
        let response = answer(version, &request);
        (response.error_code, response.results.iter().map(|result| result.error_code).collect::<Vec<_>>())
    };
    let codes = |version, name: &str, level| typed(version, name, level, 1);
    let refused = ErrorCode::InvalidUpdateVersion.code();
    for version in [1, 2] {
        assert_eq!(codes(version, "none.version", 1), (refused, vec![]));
    }
    for feature in crate::features::FEATURES {
        assert_eq!(codes(1, feature.name, feature.level), (0, vec![0]));
        assert_eq!(codes(2, feature.name, feature.level), (0, vec![]));
        assert_eq!(codes(2, feature.name, feature.supported.1 + 1), (refused, vec![]));
        for (upgrade_type, error) in [(0, refused), (2, 0), (3, 0), (4, refused)] {
            assert_eq!(typed(2, feature.name, feature.level, upgrade_type).0, error, "{upgrade_type}");
        }
    }
}

#[test]
fn what_has_settings_is_listed() {
    let listed = |version, types: &[i8]| {
        let request = ListConfigResourcesRequest { resource_types: types.to_vec() };
        let response = answer(version, &request);
        let named =
            |r: &list_config_resources_response::ConfigResource| (r.resource_type, r.resource_name.clone());
        (response.error_code, response.config_resources.iter().map(named).collect::<Vec<_>>())
    };
    assert_eq!(listed(1, &[]), (0, vec![(2, "t".into()), (4, "1".into()), (32, "g".into())]));
    assert_eq!(listed(1, &[2]), (0, vec![(2, "t".into())]));
    assert_eq!(listed(0, &[]), (0, vec![]));
    assert_eq!(listed(1, &[5]), (ErrorCode::UnsupportedVersion.code(), vec![]));
}

#[test]
fn tokens_are_disabled() {
    let disabled = ErrorCode::DelegationTokenAuthDisabled.code();
    assert_eq!(answer(3, &CreateDelegationTokenRequest::default()).error_code, disabled);
    assert_eq!(answer(3, &DescribeDelegationTokenRequest::default()).error_code, disabled);
}

#[test]
fn a_topic_that_is_to_go_is_named_in_one_way() {
    let code = |name: Option<&str>, topic_id| {
        let topics = vec![delete_topics_request::DeleteTopicState { name: name.map(Into::into), topic_id }];
        let mut bench = Bench::new();
        bench.send(6, &DeleteTopicsRequest { topics, ..Default::default() });
        assert!(bench.asked_meta().is_empty());
        bench.receive::<DeleteTopicsResponse>(6).unwrap().1.responses[0].error_code
    };
    let invalid = ErrorCode::InvalidRequest.code();
    assert_eq!(code(None, Uuid::ZERO), invalid);
    assert_eq!(code(Some("t"), Uuid([4; 16])), invalid);
    assert_eq!(code(None, Uuid([77; 16])), ErrorCode::UnknownTopicId.code());
    // By both at once, in whichever order.
    let state = |name: Option<&str>, topic_id| delete_topics_request::DeleteTopicState {
        name: name.map(Into::into),
        topic_id,
    };
    let mut topics = vec![state(Some("t"), Uuid::ZERO), state(None, Uuid([4; 16]))];
    for _ in 0..2 {
        topics.reverse();
        let mut bench = Bench::new();
        bench.send(6, &DeleteTopicsRequest { topics: topics.clone(), ..Default::default() });
        assert!(bench.asked_meta().is_empty());
        let (_, response) = bench.receive::<DeleteTopicsResponse>(6).unwrap();
        let told = response.responses.iter().map(|topic| (topic.error_code, topic.topic_id));
        assert_eq!(told.collect::<Vec<_>>(), [(invalid, Uuid([4; 16]))]);
    }
}

#[test]
fn compaction_alone_decides_what_a_compacted_topic_loses() {
    let mut bench = Bench::new();
    bench.catalog.add("compacted", 1, 6, AppendRules { keyed: true, ..AppendRules::default() });
    let topics = ["t", "compacted"].map(|name| delete_records_request::DeleteRecordsTopic {
        name: name.into(),
        partitions: vec![
            delete_records_request::DeleteRecordsPartition { partition_index: 0, offset: 3 },
            delete_records_request::DeleteRecordsPartition { partition_index: 9, offset: -7 },
        ],
    });
    bench.send(2, &DeleteRecordsRequest { topics: topics.to_vec(), ..Default::default() });
    let asked = bench.sent();
    let [(_, Request::Trim { token, partition: PartitionId(4), offset: Some(3) })] = asked[..] else {
        panic!("{asked:?}")
    };
    bench.event(Event::Trimmed { token, result: Ok(3) });
    let (_, response) = bench.receive::<DeleteRecordsResponse>(2).unwrap();
    let told = |topic: &delete_records_response::DeleteRecordsTopicResult| {
        topic.partitions.iter().map(|p| (p.error_code, p.low_watermark)).collect::<Vec<_>>()
    };
    let unknown = (ErrorCode::UnknownTopicOrPartition.code(), -1);
    assert_eq!(told(&response.topics[0]), [(0, 3), unknown]);
    assert_eq!(told(&response.topics[1]), [(ErrorCode::PolicyViolation.code(), -1), unknown]);
}
