//! Every served version of every API, refused and answered in full.

use super::sharing::{is_answered, share_acknowledge, share_fetch, well_shared};
use super::*;
use bowline_model::txn;

/// Every served version of every API: a request with nothing in it, and shards that fail, must still get a response
/// that can be read in that version.
#[test]
fn every_version_is_answered() {
    for (api, offered) in versions::SERVED {
        for version in offered.clone().filter(|version| versions::is_served(*api, *version)) {
            let codec = |kind| {
                let all = catalog::ALL.iter();
                all.clone().find(|codec| codec.kind == kind && codec.key == Some(*api as i16)).unwrap()
            };
            let mut bench = Bench::new();
            let mut frame = (*api as i16).to_be_bytes().to_vec();
            frame.extend(version.to_be_bytes());
            frame.extend([0, 0, 0, 1, 0xff, 0xff]);
            if api.request_header_version(version) == 2 {
                frame.push(0);
            }
            frame.extend_from_slice(&codec(Kind::Request).encode_default(version).unwrap());
            if *api == ApiKey::ApiVersions && version >= 3 {
                continue; // Without a name it is refused; see above.
            }
            bench.session.frame(frame.into(), bench.now);
            let reason = Failure::Stopping;
            for (_, request) in bench.sent() {
                bench.event(Event::Failed { token: token(&request), reason });
            }
            for (token, _) in bench.asked_meta() {
                bench.event(Event::Failed { token, reason });
            }
            assert!(bench.session.closed().is_none(), "{api} v{version}: {:?}", bench.session.closed());
            if *api == ApiKey::Produce {
                assert!(bench.frame().is_none(), "acks 0");
                continue;
            }
            let frame = bench.frame().unwrap_or_else(|| panic!("{api} v{version} is not answered"));
            let body = frame.slice(if api.response_header_version(version) == 1 { 5 } else { 4 }..);
            codec(Kind::Response)
                .recode(body, version, 1 << 20)
                .unwrap_or_else(|e| panic!("{api} v{version}: {e}"));
        }
    }
}

/// Every served version of every API, asked in full and answered well by the shards: nothing may be set that the
/// version cannot carry, and nothing may go wrong.
#[test]
fn every_version_carries_a_full_answer() {
    for (api, offered) in versions::SERVED {
        for version in offered.clone().filter(|version| versions::is_served(*api, *version)) {
            let mut bench = Bench::with_rules();
            send_full(&mut bench, *api, version);
            answer(&mut bench);
            assert!(bench.session.closed().is_none(), "{api} v{version}: {:?}", bench.session.closed());
            let frame = bench.frame().unwrap_or_else(|| panic!("{api} v{version} is not answered"));
            let body = frame.slice(if api.response_header_version(version) == 1 { 5 } else { 4 }..);
            let codec =
                catalog::ALL.iter().find(|c| c.kind == Kind::Response && c.key == Some(*api as i16)).unwrap();
            codec.recode(body, version, 1 << 20).unwrap_or_else(|e| panic!("{api} v{version}: {e}"));
        }
    }
}

/// Sends a request of this API in which something is asked for, after whatever has to come before it.
pub fn send_full(bench: &mut Bench, api: ApiKey, version: i16) {
    use messages::*;
    let _ = match api {
        ApiKey::Produce => bench.send(version, &full_produce(version)),
        ApiKey::Fetch => bench.send(version, &full_fetch(version)),
        ApiKey::ListOffsets => {
            let partition =
                |timestamp| list_offsets_request::ListOffsetsPartition { timestamp, ..Default::default() };
            let topic = list_offsets_request::ListOffsetsTopic {
                name: "t".into(),
                partitions: vec![partition(-1), partition(-2), partition(1), partition(-3)],
            };
            bench.send(version, &ListOffsetsRequest { topics: vec![topic], ..Default::default() })
        }
        ApiKey::Metadata => {
            let topics = vec![MetadataRequestTopic { name: Some("t".into()), ..Default::default() }];
            bench.send(
                version,
                &MetadataRequest {
                    topics: Some(topics),
                    include_cluster_authorized_operations: (8..=10).contains(&version),
                    include_topic_authorized_operations: version >= 8,
                    ..Default::default()
                },
            )
        }
        ApiKey::OffsetCommit => {
            let partition = offset_commit_request::OffsetCommitRequestPartition::default();
            let topic = offset_commit_request::OffsetCommitRequestTopic {
                name: if version < 10 { "t".into() } else { String::new() },
                topic_id: if version < 10 { Uuid::ZERO } else { Uuid([4; 16]) },
                partitions: vec![partition],
            };
            let request =
                OffsetCommitRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() };
            bench.send(version, &request)
        }
        ApiKey::OffsetFetch if version < 8 => {
            let topic = offset_fetch_request::OffsetFetchRequestTopic {
                name: "t".into(),
                partition_indexes: vec![0],
            };
            let topics = Some(vec![topic]);
            bench.send(version, &OffsetFetchRequest { group_id: "g".into(), topics, ..Default::default() })
        }
        ApiKey::OffsetFetch => {
            let topic = offset_fetch_request::OffsetFetchRequestTopics {
                name: if version < 10 { "t".into() } else { String::new() },
                topic_id: if version < 10 { Uuid::ZERO } else { Uuid([4; 16]) },
                partition_indexes: vec![0],
            };
            let group = |group_id: &str, topics| offset_fetch_request::OffsetFetchRequestGroup {
                group_id: group_id.into(),
                topics,
                ..Default::default()
            };
            let groups = vec![group("g", Some(vec![topic])), group("h", None)];
            bench.send(version, &OffsetFetchRequest { groups, ..Default::default() })
        }
        ApiKey::FindCoordinator => {
            let keys = if version < 4 { vec![] } else { vec!["g".into()] };
            let key = if version < 4 { "g".into() } else { String::new() };
            bench.send(version, &FindCoordinatorRequest { key, coordinator_keys: keys, key_type: 0 })
        }
        ApiKey::LeaveGroup => {
            let member = leave_group_request::MemberIdentity { member_id: "m".into(), ..Default::default() };
            bench.send(
                version,
                &LeaveGroupRequest {
                    group_id: "g".into(),
                    member_id: if version < 3 { "m".into() } else { String::new() },
                    members: if version < 3 { vec![] } else { vec![member] },
                },
            )
        }
        ApiKey::SyncGroup => bench.send(
            version,
            &SyncGroupRequest {
                protocol_type: (version >= 5).then(|| "consumer".into()),
                protocol_name: (version >= 5).then(|| "range".into()),
                ..Default::default()
            },
        ),
        ApiKey::DescribeGroups => bench.send(
            version,
            &DescribeGroupsRequest { groups: vec!["g".into()], include_authorized_operations: version >= 3 },
        ),
        ApiKey::ApiVersions => bench.send(
            version,
            &ApiVersionsRequest {
                client_software_name: if version < 3 { String::new() } else { "c".into() },
                client_software_version: if version < 3 { String::new() } else { "1".into() },
                ..Default::default()
            },
        ),
        ApiKey::CreateTopics => {
            let topic = create_topics_request::CreatableTopic {
                name: "n".into(),
                num_partitions: 1,
                replication_factor: 1,
                ..Default::default()
            };
            bench.send(version, &CreateTopicsRequest { topics: vec![topic], ..Default::default() })
        }
        ApiKey::DeleteTopics => {
            let state =
                delete_topics_request::DeleteTopicState { name: Some("t".into()), topic_id: Uuid::ZERO };
            bench.send(
                version,
                &DeleteTopicsRequest {
                    topics: if version < 6 { vec![] } else { vec![state] },
                    topic_names: if version < 6 { vec!["t".into()] } else { vec![] },
                    timeout_ms: 0,
                },
            )
        }
        ApiKey::DeleteRecords => {
            let partitions = vec![Default::default()];
            let topic = delete_records_request::DeleteRecordsTopic { name: "t".into(), partitions };
            bench.send(version, &DeleteRecordsRequest { topics: vec![topic], timeout_ms: 0 })
        }
        ApiKey::OffsetForLeaderEpoch => {
            let partition = offset_for_leader_epoch_request::OffsetForLeaderPartition {
                leader_epoch: 0,
                ..Default::default()
            };
            let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic {
                topic: "t".into(),
                partitions: vec![partition],
            };
            bench.send(version, &OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() })
        }
        ApiKey::DescribeConfigs => {
            let resource = |resource_type, name: &str| describe_configs_request::DescribeConfigsResource {
                resource_type,
                resource_name: name.into(),
                configuration_keys: None,
            };
            bench.send(
                version,
                &DescribeConfigsRequest {
                    resources: vec![resource(2, "t"), resource(4, "1"), resource(32, "g")],
                    include_synonyms: true,
                    include_documentation: version >= 3,
                },
            )
        }
        ApiKey::AlterConfigs => {
            let resource = alter_configs_request::AlterConfigsResource {
                resource_type: 2,
                resource_name: "t".into(),
                configs: vec![],
            };
            bench.send(version, &AlterConfigsRequest { resources: vec![resource], validate_only: false })
        }
        ApiKey::IncrementalAlterConfigs => {
            let resource = incremental_alter_configs_request::AlterConfigsResource {
                resource_type: 2,
                resource_name: "t".into(),
                configs: vec![],
            };
            let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
            bench.send(version, &request)
        }
        ApiKey::CreatePartitions => {
            let topic = create_partitions_request::CreatePartitionsTopic {
                name: "t".into(),
                count: 3,
                assignments: None,
            };
            bench.send(version, &CreatePartitionsRequest { topics: vec![topic], ..Default::default() })
        }
        ApiKey::DeleteGroups => bench.send(version, &DeleteGroupsRequest { groups_names: vec!["g".into()] }),
        ApiKey::OffsetDelete => {
            let partitions = vec![Default::default()];
            let topics =
                vec![offset_delete_request::OffsetDeleteRequestTopic { name: "t".into(), partitions }];
            bench.send(version, &OffsetDeleteRequest { group_id: "g".into(), topics })
        }
        ApiKey::DescribeTopicPartitions => {
            let topics = vec![describe_topic_partitions_request::TopicRequest { name: "t".into() }];
            bench.send(version, &DescribeTopicPartitionsRequest { topics, ..Default::default() })
        }
        ApiKey::AlterReplicaLogDirs => {
            let topic = alter_replica_log_dirs_request::AlterReplicaLogDirTopic {
                name: "t".into(),
                partitions: vec![0, 9],
            };
            let dir = alter_replica_log_dirs_request::AlterReplicaLogDir {
                path: "/bowline".into(),
                topics: vec![topic],
            };
            bench.send(version, &AlterReplicaLogDirsRequest { dirs: vec![dir] })
        }
        ApiKey::ElectLeaders => {
            let topic = elect_leaders_request::TopicPartitions { topic: "t".into(), partitions: vec![0, 9] };
            let topic_partitions = Some(vec![topic]);
            bench.send(version, &ElectLeadersRequest { topic_partitions, ..Default::default() })
        }
        ApiKey::AlterPartitionReassignments => {
            use alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
            let to = |partition_index, replicas| ReassignablePartition { partition_index, replicas };
            let partitions = vec![to(0, Some(vec![1])), to(1, None), to(9, None)];
            let topics = vec![ReassignableTopic { name: "t".into(), partitions }];
            bench.send(version, &AlterPartitionReassignmentsRequest { topics, ..Default::default() })
        }
        ApiKey::ListPartitionReassignments => {
            bench.send(version, &ListPartitionReassignmentsRequest::default())
        }
        ApiKey::DescribeQuorum => {
            let partitions = vec![Default::default()];
            let topic_name = "__cluster_metadata".into();
            let topics = vec![describe_quorum_request::TopicData { topic_name, partitions }];
            bench.send(version, &DescribeQuorumRequest { topics })
        }
        ApiKey::UpdateFeatures => {
            let update = update_features_request::FeatureUpdateKey {
                feature: "none.version".into(),
                max_version_level: 1,
                ..Default::default()
            };
            let feature_updates = vec![update];
            bench.send(version, &UpdateFeaturesRequest { feature_updates, ..Default::default() })
        }
        ApiKey::GetTelemetrySubscriptions => {
            bench.send(version, &GetTelemetrySubscriptionsRequest::default())
        }
        ApiKey::PushTelemetry => {
            bench.send(0, &GetTelemetrySubscriptionsRequest::default());
            let (_, told) = bench.receive::<GetTelemetrySubscriptionsResponse>(0).unwrap();
            let request = PushTelemetryRequest {
                client_instance_id: told.client_instance_id,
                subscription_id: told.subscription_id,
                metrics: Bytes::from_static(b"metrics"),
                ..Default::default()
            };
            bench.send(version, &request)
        }
        ApiKey::ListConfigResources => bench.send(version, &ListConfigResourcesRequest::default()),
        ApiKey::CreateDelegationToken => bench.send(version, &CreateDelegationTokenRequest::default()),
        ApiKey::RenewDelegationToken => bench.send(version, &RenewDelegationTokenRequest::default()),
        ApiKey::ExpireDelegationToken => bench.send(version, &ExpireDelegationTokenRequest::default()),
        ApiKey::DescribeDelegationToken => bench.send(version, &DescribeDelegationTokenRequest::default()),
        ApiKey::SaslHandshake => bench.send(version, &SaslHandshakeRequest { mechanism: "PLAIN".into() }),
        ApiKey::SaslAuthenticate => {
            bench.send(1, &SaslHandshakeRequest { mechanism: "SCRAM-SHA-256".into() });
            bench.frame().unwrap();
            let auth_bytes = Bytes::from_static(b"n,,n=ann,r=x");
            bench.send(version, &SaslAuthenticateRequest { auth_bytes })
        }
        ApiKey::DescribeUserScramCredentials => {
            bench.send(version, &DescribeUserScramCredentialsRequest { users: None })
        }
        ApiKey::AlterUserScramCredentials => {
            use alter_user_scram_credentials_request::ScramCredentialDeletion;
            let deletion = ScramCredentialDeletion { name: "ann".into(), mechanism: 1 };
            let request =
                AlterUserScramCredentialsRequest { deletions: vec![deletion], ..Default::default() };
            bench.send(version, &request)
        }
        ApiKey::ConsumerGroupHeartbeat => {
            let owned = consumer_group_heartbeat_request::TopicPartitions {
                topic_id: Uuid([4; 16]),
                partitions: vec![0],
            };
            let request = ConsumerGroupHeartbeatRequest {
                group_id: "g".into(),
                member_id: "m".into(),
                member_epoch: 3,
                subscribed_topic_names: Some(vec!["t".into()]),
                subscribed_topic_regex: (version >= 1).then(|| "t.*".into()),
                topic_partitions: Some(vec![owned]),
                ..Default::default()
            };
            bench.send(version, &request)
        }
        ApiKey::ConsumerGroupDescribe => {
            let group_ids = vec!["g".into()];
            bench.send(
                version,
                &ConsumerGroupDescribeRequest { group_ids, include_authorized_operations: true },
            )
        }
        ApiKey::JoinGroup => {
            let (group_id, member_id) = ("g".into(), "m".into());
            bench.send(version, &JoinGroupRequest { group_id, member_id, ..Default::default() })
        }
        ApiKey::Heartbeat => {
            bench.send(version, &HeartbeatRequest { group_id: "g".into(), ..Default::default() })
        }
        ApiKey::ListGroups => bench.send(version, &ListGroupsRequest::default()),
        ApiKey::InitProducerId => {
            bench.send(version, &InitProducerIdRequest { transactional_id: None, ..Default::default() })
        }
        ApiKey::AddPartitionsToTxn => {
            let topics = || {
                vec![add_partitions_to_txn_request::AddPartitionsToTxnTopic {
                    name: "t".into(),
                    partitions: vec![0],
                }]
            };
            let mut request = AddPartitionsToTxnRequest::default();
            if version >= 4 {
                let transaction =
                    |verify_only| add_partitions_to_txn_request::AddPartitionsToTxnTransaction {
                        transactional_id: "x".into(),
                        producer_id: 7,
                        producer_epoch: 1,
                        verify_only,
                        topics: topics(),
                    };
                request.transactions = vec![transaction(false), transaction(true)];
            } else {
                request.v3_and_below_transactional_id = "x".into();
                request.v3_and_below_topics = topics();
            }
            bench.send(version, &request)
        }
        ApiKey::AddOffsetsToTxn => bench.send(
            version,
            &AddOffsetsToTxnRequest {
                transactional_id: "x".into(),
                group_id: "g".into(),
                ..Default::default()
            },
        ),
        ApiKey::EndTxn => bench.send(
            version,
            &EndTxnRequest { transactional_id: "x".into(), committed: true, ..Default::default() },
        ),
        ApiKey::WriteTxnMarkers => {
            let topics = vec![write_txn_markers_request::WritableTxnMarkerTopic {
                name: "t".into(),
                partition_indexes: vec![0],
            }];
            let marker = write_txn_markers_request::WritableTxnMarker { topics, ..Default::default() };
            bench.send(version, &WriteTxnMarkersRequest { markers: vec![marker] })
        }
        ApiKey::TxnOffsetCommit => {
            let by_name = version < 6;
            let topics = vec![txn_offset_commit_request::TxnOffsetCommitRequestTopic {
                name: if by_name { "t".into() } else { String::new() },
                topic_id: if by_name { Uuid::ZERO } else { Uuid([4; 16]) },
                partitions: vec![Default::default()],
            }];
            bench.send(
                version,
                &TxnOffsetCommitRequest {
                    transactional_id: "x".into(),
                    group_id: "g".into(),
                    topics,
                    ..Default::default()
                },
            )
        }
        ApiKey::DescribeProducers => {
            let topics = vec![describe_producers_request::TopicRequest {
                name: "t".into(),
                partition_indexes: vec![0],
            }];
            bench.send(version, &DescribeProducersRequest { topics })
        }
        ApiKey::DescribeTransactions => {
            bench.send(version, &DescribeTransactionsRequest { transactional_ids: vec!["x".into()] })
        }
        ApiKey::ListTransactions => bench.send(version, &ListTransactionsRequest::default()),
        ApiKey::DescribeLogDirs => bench.send(version, &DescribeLogDirsRequest { topics: None }),
        ApiKey::DescribeCluster => bench.send(
            version,
            &DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() },
        ),
        ApiKey::DescribeAcls => bench.send(
            version,
            &DescribeAclsRequest {
                resource_type_filter: 1,
                resource_name_filter: None,
                pattern_type_filter: 1,
                principal_filter: None,
                host_filter: None,
                operation: 1,
                permission_type: 1,
            },
        ),
        ApiKey::CreateAcls => {
            let creation = create_acls_request::AclCreation {
                resource_type: 2,
                resource_name: "t".into(),
                resource_pattern_type: 4,
                principal: "User:alice".into(),
                host: "*".into(),
                operation: 3,
                permission_type: 3,
            };
            bench.send(version, &CreateAclsRequest { creations: vec![creation] })
        }
        ApiKey::DeleteAcls => {
            let filter = delete_acls_request::DeleteAclsFilter {
                resource_type_filter: 1,
                resource_name_filter: None,
                pattern_type_filter: 1,
                principal_filter: None,
                host_filter: None,
                operation: 1,
                permission_type: 1,
            };
            bench.send(version, &DeleteAclsRequest { filters: vec![filter] })
        }
        ApiKey::DescribeClientQuotas => {
            let component = describe_client_quotas_request::ComponentData {
                entity_type: "user".into(),
                match_type: 2,
                match_: None,
            };
            let components = vec![component];
            bench.send(version, &DescribeClientQuotasRequest { components, strict: false })
        }
        ApiKey::AlterClientQuotas => {
            let part =
                alter_client_quotas_request::EntityData { entity_type: "user".into(), entity_name: None };
            let op = alter_client_quotas_request::OpData {
                key: "producer_byte_rate".into(),
                value: 1.0,
                remove: false,
            };
            let entry = alter_client_quotas_request::EntryData { entity: vec![part], ops: vec![op] };
            bench.send(version, &AlterClientQuotasRequest { entries: vec![entry], validate_only: false })
        }
        ApiKey::ShareGroupHeartbeat => bench.send(version, &full_share_heartbeat()),
        ApiKey::ShareGroupDescribe => {
            bench.send(1, &full_share_heartbeat());
            answer(bench);
            bench.receive::<ShareGroupHeartbeatResponse>(1).unwrap();
            bench.send(
                version,
                &ShareGroupDescribeRequest {
                    group_ids: vec!["g".into(), "h".into()],
                    include_authorized_operations: true,
                },
            )
        }
        ApiKey::ShareFetch => bench.send(version, &share_fetch(0)),
        ApiKey::ShareAcknowledge => {
            bench.send(2, &share_fetch(0));
            answer(bench);
            bench.receive::<ShareFetchResponse>(2).unwrap();
            bench.send(version, &share_acknowledge(1, 7, 7, &[1]))
        }
        ApiKey::DescribeShareGroupOffsets => {
            let topic = describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestTopic {
                topic_name: "t".into(),
                partitions: vec![0],
            };
            let group =
                |topics| describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup {
                    group_id: "g".into(),
                    topics,
                };
            let groups = vec![group(Some(vec![topic])), group(None)];
            bench.send(version, &DescribeShareGroupOffsetsRequest { groups })
        }
        ApiKey::AlterShareGroupOffsets => {
            let partition =
                alter_share_group_offsets_request::AlterShareGroupOffsetsRequestPartition::default();
            let topic = alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic {
                topic_name: "t".into(),
                partitions: vec![partition],
            };
            let topics = vec![topic];
            bench.send(version, &AlterShareGroupOffsetsRequest { group_id: "g".into(), topics })
        }
        ApiKey::DeleteShareGroupOffsets => {
            let topics = vec![delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic {
                topic_name: "t".into(),
            }];
            bench.send(version, &DeleteShareGroupOffsetsRequest { group_id: "g".into(), topics })
        }
        other => panic!("{other} has no request here"),
    };
}

/// Shards to which nothing bad happens answer until nothing more is asked. Whether anything was.
pub fn answer(bench: &mut Bench) -> bool {
    let mut any = false;
    loop {
        let (requests, meta) = (bench.sent(), bench.asked_meta());
        if requests.is_empty() && meta.is_empty() {
            return any;
        }
        any = true;
        for request in requests.iter().map(|(_, request)| request).filter(|request| is_answered(request)) {
            bench.event(well(request));
        }
        for (token, request) in meta {
            bench.event(Event::Meta { token, result: Ok(well_meta(&request)) });
        }
    }
}

fn full_share_heartbeat() -> messages::ShareGroupHeartbeatRequest {
    messages::ShareGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        member_epoch: 0,
        rack_id: Some("r".into()),
        subscribed_topic_names: Some(vec!["t".into()]),
    }
}

fn full_produce(version: i16) -> messages::ProduceRequest {
    let mut request = good(0);
    if version >= 13 {
        request.topic_data[0].name.clear();
        request.topic_data[0].topic_id = Uuid([4; 16]);
    }
    request
}

fn full_fetch(version: i16) -> messages::FetchRequest {
    let mut request = fetch(0, 1);
    if version >= 13 {
        request.topics[0].topic.clear();
        request.topics[0].topic_id = Uuid([4; 16]);
    }
    request
}

/// The answer of a shard to which nothing bad happens.
fn well(request: &Request) -> Event {
    use bowline_model::event::{OffsetFound, PartitionInfo};
    use bowline_model::group::{self, Reply};
    match request {
        Request::Propose(_) => appended(request, 5),
        Request::Fetch(_) => fetched(request, &[(7, batch(b"x", 1))]),
        Request::ListOffsets { token, queries } => {
            let found = |query: &_| match query {
                bowline_model::request::OffsetQuery::Timestamp(_)
                | bowline_model::request::OffsetQuery::MaxTimestamp => {
                    let fetch = bowline_model::request::Fetch {
                        token: Token(0),
                        partitions: vec![bowline_model::request::FetchPartition {
                            partition: PartitionId(4),
                            offset: 7,
                            max_bytes: 1,
                        }],
                        max_bytes: 1,
                        committed: false,
                    };
                    let Event::Fetched { mut partitions, .. } =
                        fetched(&Request::Fetch(fetch), &[(7, batch(b"x", 9))])
                    else {
                        panic!()
                    };
                    OffsetFound::Batches {
                        batches: partitions.remove(0).result.unwrap().batches,
                        log_start: 0,
                        last_stable: 8,
                    }
                }
                _ => OffsetFound::Offset(3),
            };
            let results = queries.iter().map(|(partition, query)| (*partition, Ok(found(query)))).collect();
            Event::Offsets { token: *token, results }
        }
        Request::Share(share) => well_shared(share),
        Request::Trim { token, .. } => Event::Trimmed { token: *token, result: Ok(3) },
        Request::PartitionInfo { token, .. } => {
            let info = PartitionInfo { log_start: 0, high_watermark: 5, bytes: 100 };
            Event::PartitionInfo { token: *token, result: Ok(info) }
        }
        Request::Group { token, request } => {
            let reply = match request {
                group::Request::Join(_) => Reply::Join(Ok(group::Joined {
                    generation: 1,
                    protocol_type: "consumer".into(),
                    protocol_name: "range".into(),
                    leader: "m".into(),
                    member_id: "m".into(),
                    members: vec![("m".into(), Some("i".into()), Bytes::from_static(b"meta"))],
                    led_as: Some("m".into()),
                })),
                group::Request::Sync(_) => Reply::Sync(Ok(group::Synced {
                    protocol_type: "consumer".into(),
                    protocol_name: "range".into(),
                    assignment: Bytes::from_static(b"all"),
                })),
                group::Request::Heartbeat(_) => Reply::Heartbeat(Ok(())),
                group::Request::Leave { members, .. } => {
                    Reply::Leave(members.iter().map(|member| (member.clone(), Ok(()))).collect())
                }
                group::Request::Commit(commit) => {
                    let done = |(name, partitions): &(String, Vec<group::PartitionCommit>)| {
                        assert_eq!(name, "t");
                        (name.clone(), partitions.iter().map(|one| (one.partition, Ok(()))).collect())
                    };
                    Reply::Commit(Ok(commit.topics.iter().map(done).collect()))
                }
                group::Request::FetchOffsets { .. } => {
                    let offset = group::PartitionOffset {
                        partition: 0,
                        offset: 9,
                        leader_epoch: 0,
                        metadata: None,
                        unstable: false,
                    };
                    Reply::FetchOffsets(Ok(vec![("t".into(), vec![offset])]))
                }
                group::Request::Describe { group } => Reply::Describe(group::Description {
                    group: group.clone(),
                    state: group::State::Dead,
                    protocol_type: "consumer".into(),
                    protocol_name: "range".into(),
                    members: vec![group::DescribedMember {
                        member_id: "m".into(),
                        instance_id: Some("i".into()),
                        client_id: "c".into(),
                        client_host: "/h".into(),
                        metadata: Bytes::new(),
                        assignment: Bytes::new(),
                    }],
                }),
                group::Request::KindOf { .. } => Reply::KindOf(None),
                group::Request::List => Reply::List(vec![group::Listed {
                    group: "g".into(),
                    protocol_type: "consumer".into(),
                    state: group::State::Stable,
                    kind: group::GroupKind::Consumer,
                }]),
                group::Request::Delete { .. } => Reply::Delete(Ok(())),
                group::Request::ConsumerHeartbeat(beat) => {
                    Reply::ConsumerHeartbeat(Ok(bowline_model::consumer_group::Beat {
                        member_id: beat.member_id.clone(),
                        epoch: 7,
                        heartbeat_interval_ms: 5000,
                        assignment: beat.owned.clone(),
                    }))
                }
                group::Request::ConsumerDescribe { group } => {
                    let topic = bowline_model::consumer_group::DescribedTopic {
                        id: TopicId([4; 16]),
                        name: "t".into(),
                        partitions: vec![0],
                    };
                    let member = bowline_model::consumer_group::DescribedMember {
                        member_id: "m".into(),
                        instance_id: Some("i".into()),
                        rack_id: Some("r".into()),
                        epoch: 7,
                        client_id: "c".into(),
                        client_host: "/h".into(),
                        topics: vec!["t".into()],
                        regex: Some("t.*".into()),
                        assigned: vec![topic.clone()],
                        target: vec![topic],
                        classic: true,
                    };
                    Reply::ConsumerDescribe(Ok(bowline_model::consumer_group::Description {
                        group: group.clone(),
                        state: group::State::Reconciling,
                        epoch: 8,
                        assignment_epoch: 7,
                        assignor: "uniform".into(),
                        members: vec![member],
                    }))
                }
                group::Request::OffsetDelete { .. } => {
                    Reply::OffsetDelete(Ok(vec![("t".into(), vec![(0, Ok(()))])]))
                }
            };
            Event::Group { token: *token, reply }
        }
        Request::Txn { token, request } => {
            let producer = txn::Producer { id: 7, epoch: 1 };
            let member = txn::Member { partition: PartitionId(4), topic: "t".into(), index: 0 };
            let reply = match request {
                txn::Request::Init { .. } | txn::Request::End { .. } => txn::Reply::Producer(Ok(producer)),
                txn::Request::Add { .. } => txn::Reply::Added(Ok(())),
                txn::Request::Verify { partitions, .. } => {
                    txn::Reply::Verified(Ok(vec![true; partitions.len()]))
                }
                txn::Request::Describe { .. } => txn::Reply::Described(Some(txn::Description {
                    state: txn::State::Ongoing,
                    timeout_ms: 60_000,
                    started: Some(5),
                    producer,
                    members: vec![member],
                })),
                txn::Request::List => txn::Reply::Listed(vec![txn::Listed {
                    id: "x".into(),
                    producer_id: 7,
                    state: txn::State::Empty,
                    started: None,
                }]),
            };
            Event::Txn { token: *token, reply }
        }
        Request::TxnOffsets { token, .. } => {
            Event::Group { token: *token, reply: Reply::Commit(Ok(vec![("t".into(), vec![(0, Ok(()))])])) }
        }
        Request::Producers { token, .. } => {
            let active = txn::ActiveProducer {
                producer: txn::Producer { id: 7, epoch: 1 },
                last_sequence: 3,
                last_timestamp: 9,
                coordinator_epoch: 0,
                open_since: Some(2),
            };
            Event::Producers { token: *token, result: Ok(vec![active]) }
        }
        other => panic!("{other:?}"),
    }
}

fn well_meta(request: &MetaRequest) -> Outcome {
    match request {
        MetaRequest::Propose(Command::TopicCreate(spec)) => {
            Outcome::Topic { id: spec.id, partitions: vec![PartitionId(8)] }
        }
        MetaRequest::Propose(Command::ProducerId) => Outcome::ProducerId(77),
        _ => Outcome::Ok,
    }
}
