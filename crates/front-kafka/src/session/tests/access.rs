//! Who may not: every API gives Kafka's code, asks no shard for it, and tells nothing of what is there.

use super::*;
use crate::access::AclOptions;
use bowline_model::Principal;
use bowline_model::acl::{Acl, Operation, PatternKind, Permission, ResourceKind};
use bowline_model::quota::{QuotaEntity, QuotaKey};
use messages::*;

impl Bench {
    /// Access rules are on, and nobody is a super user.
    pub fn strict() -> Bench {
        Bench::with(near(), Options { acls: Some(AclOptions::default()), ..Options::default() })
    }

    /// Access rules and quotas are there, and the client may do everything.
    pub fn with_rules() -> Bench {
        let super_users = vec![Principal::anonymous()];
        let acls = Some(AclOptions { super_users, ..AclOptions::default() });
        let bench = Bench::with(near(), Options { acls, ..Options::default() });
        bench.allow(Operation::Read, ResourceKind::Group, "g");
        bench.quota(QuotaKey::ProducerByteRate, 1e9);
        bench
    }

    fn rule(&self, permission: Permission, operation: Operation, resource: ResourceKind, name: &str) {
        self.catalog.apply(&Command::AclsAdd(vec![Acl {
            resource,
            pattern: PatternKind::Literal,
            name: name.into(),
            principal: Principal::anonymous(),
            host: "*".into(),
            operation,
            permission,
        }]));
    }

    pub fn allow(&self, operation: Operation, resource: ResourceKind, name: &str) {
        self.rule(Permission::Allow, operation, resource, name);
    }

    /// For everybody by default.
    pub fn quota(&self, key: QuotaKey, rate: f64) {
        let entity = QuotaEntity { user: Some(None), ..QuotaEntity::default() };
        self.catalog.apply(&Command::QuotasSet { entity, changes: vec![(key, Some(rate))] });
    }

    /// A request that is answered at once, without a question to a shard.
    pub fn ask<R: WireRequest>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        let (sent, asked) = (self.sent(), self.asked_meta());
        assert!(sent.is_empty() && asked.is_empty(), "{} asks {sent:?} {asked:?}", R::NAME);
        self.receive::<R::Response>(version).unwrap_or_else(|| panic!("{} is not answered", R::NAME)).1
    }
}

const TOPIC_DENIED: i16 = 29;
const GROUP_DENIED: i16 = 30;
const CLUSTER_DENIED: i16 = 31;

#[test]
fn without_permission_every_api_gives_kafkas_code() {
    let mut bench = Bench::strict();
    let text = |text: &str| text.to_owned();

    let produced = bench.ask(9, &good(0));
    assert_eq!(produced.responses[0].partition_responses[0].error_code, TOPIC_DENIED);
    let fetched = bench.ask(12, &fetch(500, 1));
    assert_eq!(fetched.responses[0].partitions.iter().map(|p| p.error_code).collect::<Vec<_>>(), [29, 29]);
    let listed = bench.ask(
        7,
        &ListOffsetsRequest {
            topics: vec![list_offsets_request::ListOffsetsTopic {
                name: "t".into(),
                partitions: vec![Default::default()],
            }],
            ..Default::default()
        },
    );
    assert_eq!(listed.topics[0].partitions[0].error_code, TOPIC_DENIED);
    let epochs = bench.ask(
        4,
        &OffsetForLeaderEpochRequest {
            topics: vec![offset_for_leader_epoch_request::OffsetForLeaderTopic {
                topic: "t".into(),
                partitions: vec![Default::default()],
            }],
            ..Default::default()
        },
    );
    assert_eq!(epochs.topics[0].partitions[0].error_code, TOPIC_DENIED);
    let trimmed = bench.ask(
        2,
        &DeleteRecordsRequest {
            topics: vec![delete_records_request::DeleteRecordsTopic {
                name: "t".into(),
                partitions: vec![Default::default()],
            }],
            timeout_ms: 0,
        },
    );
    assert_eq!(trimmed.topics[0].partitions[0].error_code, TOPIC_DENIED);

    // Groups.
    let committed = bench.ask(
        8,
        &OffsetCommitRequest {
            group_id: "g".into(),
            topics: vec![offset_commit_request::OffsetCommitRequestTopic {
                name: "t".into(),
                partitions: vec![Default::default()],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    assert_eq!(committed.topics[0].partitions[0].error_code, GROUP_DENIED);
    let offsets = |version| OffsetFetchRequest {
        group_id: if version < 8 { text("g") } else { String::new() },
        topics: (version < 8).then(|| {
            vec![offset_fetch_request::OffsetFetchRequestTopic {
                name: "t".into(),
                partition_indexes: vec![0],
            }]
        }),
        groups: match version < 8 {
            true => vec![],
            false => vec![offset_fetch_request::OffsetFetchRequestGroup {
                group_id: "g".into(),
                topics: None,
                ..Default::default()
            }],
        },
        ..Default::default()
    };
    let old = bench.ask(1, &offsets(1));
    assert_eq!(old.topics[0].partitions[0].error_code, GROUP_DENIED);
    assert_eq!(bench.ask(7, &offsets(7)).error_code, GROUP_DENIED);
    assert_eq!(bench.ask(9, &offsets(9)).groups[0].error_code, GROUP_DENIED);
    let find = FindCoordinatorRequest { coordinator_keys: vec![text("g")], ..Default::default() };
    assert_eq!(bench.ask(4, &find).coordinators[0].error_code, GROUP_DENIED);
    let join = JoinGroupRequest { group_id: "g".into(), ..Default::default() };
    assert_eq!(bench.ask(9, &join).error_code, GROUP_DENIED);
    let sync = SyncGroupRequest { group_id: "g".into(), ..Default::default() };
    assert_eq!(bench.ask(4, &sync).error_code, GROUP_DENIED);
    let beat = HeartbeatRequest { group_id: "g".into(), ..Default::default() };
    assert_eq!(bench.ask(4, &beat).error_code, GROUP_DENIED);
    let leave = LeaveGroupRequest { group_id: "g".into(), ..Default::default() };
    assert_eq!(bench.ask(5, &leave).error_code, GROUP_DENIED);
    let described =
        bench.ask(5, &DescribeGroupsRequest { groups: vec![text("g")], include_authorized_operations: true });
    assert_eq!(described.groups[0].error_code, GROUP_DENIED);
    assert_eq!(described.groups[0].authorized_operations, i32::MIN);
    let gone = bench.ask(2, &DeleteGroupsRequest { groups_names: vec![text("g")] });
    assert_eq!(gone.results[0].error_code, GROUP_DENIED);
    let forgotten = bench.ask(0, &OffsetDeleteRequest { group_id: "g".into(), topics: vec![] });
    assert_eq!(forgotten.error_code, GROUP_DENIED);

    let beat = ConsumerGroupHeartbeatRequest { group_id: "g".into(), ..Default::default() };
    assert_eq!(bench.ask(1, &beat).error_code, GROUP_DENIED);
    let described = bench.ask(
        1,
        &ConsumerGroupDescribeRequest { group_ids: vec![text("g")], include_authorized_operations: true },
    );
    assert_eq!(described.groups[0].error_code, GROUP_DENIED);

    // Topics made and changed, whether they exist or not.
    for name in ["t", "n"] {
        let topic = create_topics_request::CreatableTopic {
            name: name.into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        };
        let made = bench.ask(7, &CreateTopicsRequest { topics: vec![topic], ..Default::default() });
        assert_eq!(made.topics[0].error_code, TOPIC_DENIED);
        let grown = create_partitions_request::CreatePartitionsTopic {
            name: name.into(),
            count: 5,
            assignments: None,
        };
        let grown = bench.ask(3, &CreatePartitionsRequest { topics: vec![grown], ..Default::default() });
        assert_eq!(grown.results[0].error_code, TOPIC_DENIED);
        let deleted =
            bench.ask(5, &DeleteTopicsRequest { topic_names: vec![text(name)], ..Default::default() });
        assert_eq!(deleted.responses[0].error_code, TOPIC_DENIED);
    }
    let state = delete_topics_request::DeleteTopicState { name: None, topic_id: Uuid([4; 16]) };
    let deleted = bench.ask(6, &DeleteTopicsRequest { topics: vec![state], ..Default::default() });
    assert_eq!((deleted.responses[0].error_code, &deleted.responses[0].name), (TOPIC_DENIED, &None));

    // Settings.
    let resource = |resource_type, name: &str| describe_configs_request::DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: None,
    };
    let resources = vec![resource(2, "t"), resource(2, "n"), resource(4, "1")];
    let described = bench.ask(4, &DescribeConfigsRequest { resources, ..Default::default() });
    assert_eq!(described.results.iter().map(|r| r.error_code).collect::<Vec<_>>(), [29, 29, 31]);
    let resource = |resource_type, name: &str| incremental_alter_configs_request::AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs: vec![],
    };
    let resources = vec![resource(2, "t"), resource(4, "1")];
    let altered = bench.ask(1, &IncrementalAlterConfigsRequest { resources, validate_only: false });
    assert_eq!(altered.responses.iter().map(|r| r.error_code).collect::<Vec<_>>(), [29, 31]);
    let resource = alter_configs_request::AlterConfigsResource {
        resource_type: 2,
        resource_name: "t".into(),
        configs: vec![],
    };
    let altered = bench.ask(2, &AlterConfigsRequest { resources: vec![resource], validate_only: false });
    assert_eq!(altered.responses[0].error_code, TOPIC_DENIED);

    // The broker as a whole.
    let dir = alter_replica_log_dirs_request::AlterReplicaLogDir {
        path: "/bowline".into(),
        topics: vec![alter_replica_log_dirs_request::AlterReplicaLogDirTopic {
            name: "t".into(),
            partitions: vec![0],
        }],
    };
    let moved = bench.ask(2, &AlterReplicaLogDirsRequest { dirs: vec![dir] });
    assert_eq!(moved.results[0].partitions[0].error_code, CLUSTER_DENIED);
    let topics = vec![elect_leaders_request::TopicPartitions { topic: "t".into(), partitions: vec![0] }];
    let election = ElectLeadersRequest { topic_partitions: Some(topics), ..Default::default() };
    let elected = bench.ask(0, &election);
    assert_eq!(elected.replica_election_results[0].partition_result[0].error_code, CLUSTER_DENIED);
    assert_eq!(bench.ask(2, &election).error_code, CLUSTER_DENIED);
    let reassign = AlterPartitionReassignmentsRequest::default();
    assert_eq!(bench.ask(0, &reassign).error_code, CLUSTER_DENIED);
    let reassignments = ListPartitionReassignmentsRequest::default();
    assert_eq!(bench.ask(0, &reassignments).error_code, CLUSTER_DENIED);
    assert_eq!(bench.ask(2, &DescribeQuorumRequest::default()).error_code, CLUSTER_DENIED);
    assert_eq!(bench.ask(2, &UpdateFeaturesRequest::default()).error_code, CLUSTER_DENIED);
    assert_eq!(bench.ask(1, &ListConfigResourcesRequest::default()).error_code, CLUSTER_DENIED);
    let init = InitProducerIdRequest { transactional_id: None, ..Default::default() };
    assert_eq!(bench.ask(4, &init).error_code, CLUSTER_DENIED);
    assert_eq!(bench.ask(4, &DescribeLogDirsRequest { topics: None }).error_code, CLUSTER_DENIED);
    let any = DescribeAclsRequest { resource_type_filter: 1, operation: 1, ..Default::default() };
    assert_eq!(bench.ask(3, &any).error_code, CLUSTER_DENIED);
    let made = bench.ask(3, &CreateAclsRequest { creations: vec![Default::default()] });
    assert_eq!(made.results[0].error_code, CLUSTER_DENIED);
    let gone = bench.ask(3, &DeleteAclsRequest { filters: vec![Default::default()] });
    assert_eq!(gone.filter_results[0].error_code, CLUSTER_DENIED);
    let quotas = bench.ask(1, &DescribeClientQuotasRequest::default());
    assert_eq!((quotas.error_code, quotas.entries), (CLUSTER_DENIED, None));
    let entries = vec![alter_client_quotas_request::EntryData { entity: vec![], ops: vec![] }];
    let altered = bench.ask(1, &AlterClientQuotasRequest { entries, validate_only: false });
    assert_eq!(altered.entries[0].error_code, CLUSTER_DENIED);
    let scram = bench.ask(0, &DescribeUserScramCredentialsRequest { users: None });
    assert_eq!((scram.error_code, scram.results.len()), (CLUSTER_DENIED, 0));
    let deletion =
        alter_user_scram_credentials_request::ScramCredentialDeletion { name: text("ann"), mechanism: 1 };
    let request = AlterUserScramCredentialsRequest { deletions: vec![deletion], ..Default::default() };
    assert_eq!(bench.ask(0, &request).results[0].error_code, CLUSTER_DENIED);
    let cluster = bench.ask(
        1,
        &DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() },
    );
    assert_eq!((cluster.error_code, cluster.cluster_authorized_operations), (0, 0));
}

#[test]
fn metadata_shows_what_may_be_seen() {
    let mut bench = Bench::strict();
    bench.catalog.add("shown", 1, 8, AppendRules::default());
    bench.allow(Operation::Read, ResourceKind::Topic, "shown");
    let named = |name: &str| MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let by_id = |id| MetadataRequestTopic { name: None, topic_id: Uuid([id; 16]) };
    let all = bench.ask(12, &MetadataRequest { topics: None, ..Default::default() });
    assert_eq!(all.topics.iter().map(|t| t.name.as_deref()).collect::<Vec<_>>(), [Some("shown")]);
    // A topic that exists, one that does not, and one that the client may see, asked for twice; none is created.
    let topics = Some(vec![named("t"), named("n"), by_id(4), by_id(8), by_id(9), named("shown")]);
    let request = MetadataRequest {
        topics,
        allow_auto_topic_creation: true,
        include_topic_authorized_operations: true,
        ..Default::default()
    };
    let found = bench.ask(12, &request);
    let shown: Vec<_> =
        found.topics.iter().map(|t| (t.error_code, t.topic_id.is_zero(), t.partitions.len())).collect();
    assert_eq!(shown, [(29, true, 0), (29, true, 0), (100, false, 0), (0, false, 1), (100, false, 0)]);
    assert_eq!(found.topics[3].topic_authorized_operations, 1 << 3 | 1 << 8, "read, and so describe");
    let pages = bench.ask(0, &DescribeTopicPartitionsRequest::default());
    assert_eq!(pages.topics.iter().map(|t| t.name.as_deref()).collect::<Vec<_>>(), [Some("shown")]);
    let topics = vec![describe_topic_partitions_request::TopicRequest { name: "t".into() }];
    let page = bench.ask(0, &DescribeTopicPartitionsRequest { topics, ..Default::default() });
    assert_eq!((page.topics[0].error_code, page.topics[0].topic_id), (TOPIC_DENIED, Uuid::ZERO));

    // Creation needs its own permission.
    bench.allow(Operation::Describe, ResourceKind::Topic, "n");
    let request = MetadataRequest { topics: Some(vec![named("n")]), ..Default::default() };
    assert_eq!(bench.ask(12, &request).topics[0].error_code, TOPIC_DENIED);
    bench.allow(Operation::Create, ResourceKind::Topic, "n");
    bench.send(12, &request);
    assert!(matches!(
        &bench.asked_meta()[..],
        [(_, MetaRequest::Propose(Command::TopicCreate(spec)))] if spec.name == "n"
    ));
}

#[test]
fn a_rule_holds_at_once_and_until_it_is_removed() {
    let mut bench = Bench::strict();
    let code = |bench: &mut Bench| {
        bench.send(9, &good(0));
        match &bench.sent()[..] {
            [] => bench.produced(9).unwrap().1.error_code,
            [(_, request)] => {
                bench.event(appended(request, 1));
                bench.produced(9).unwrap().1.error_code
            }
            more => panic!("{more:?}"),
        }
    };
    assert_eq!(code(&mut bench), TOPIC_DENIED);
    bench.allow(Operation::Write, ResourceKind::Topic, "*");
    assert_eq!(code(&mut bench), 0);
    bench.rule(Permission::Deny, Operation::Write, ResourceKind::Topic, "t");
    assert_eq!(code(&mut bench), TOPIC_DENIED);
    // With Write on some topic a producer id can be had.
    bench.send(4, &InitProducerIdRequest { transactional_id: None, ..Default::default() });
    assert_eq!(bench.asked_meta().len(), 1);
}

#[test]
fn lists_show_what_may_be_seen() {
    let mut bench = Bench::strict();
    bench.allow(Operation::Read, ResourceKind::Group, "mine");
    let listed = |group: &str| bowline_model::group::Listed {
        group: group.into(),
        protocol_type: "consumer".into(),
        state: bowline_model::group::State::Empty,
        kind: bowline_model::group::GroupKind::Classic,
    };
    bench.send(4, &ListGroupsRequest::default());
    for (_, request) in bench.sent() {
        let token = token(&request);
        if let Request::Share(_) = request {
            let shared =
                |group: &str| bowline_model::share::Listed { group: group.into(), has_members: false };
            let reply = bowline_model::share::Reply::Listed(vec![shared("mine"), shared("their share")]);
            bench.event(Event::Share { token, reply });
            continue;
        }
        let groups = vec![listed("mine"), listed("theirs")];
        bench.event(Event::Group { token, reply: bowline_model::group::Reply::List(groups) });
    }
    let (_, response) = bench.receive::<ListGroupsResponse>(4).unwrap();
    assert!(response.groups.iter().all(|group| group.group_id == "mine"));
    assert_eq!(response.groups.len(), usize::from(DATA_SHARDS) + 1, "consumer groups, and a share group");
}

#[test]
fn without_an_authorizer_there_are_no_rules() {
    let mut bench = Bench::new();
    let any = DescribeAclsRequest { resource_type_filter: 1, operation: 1, ..Default::default() };
    assert_eq!(bench.ask(3, &any).error_code, ErrorCode::SecurityDisabled.code());
    let made = bench.ask(3, &CreateAclsRequest { creations: vec![Default::default()] });
    assert_eq!(made.results[0].error_code, ErrorCode::SecurityDisabled.code());
    let gone = bench.ask(3, &DeleteAclsRequest { filters: vec![Default::default()] });
    assert_eq!(gone.filter_results[0].error_code, ErrorCode::SecurityDisabled.code());
}

#[test]
fn rules_are_made_listed_and_removed() {
    let mut bench = Bench::with_rules();
    let creation = |principal: &str, name: &str, operation| create_acls_request::AclCreation {
        resource_type: 2,
        resource_name: name.into(),
        resource_pattern_type: 4,
        principal: principal.into(),
        host: "*".into(),
        operation,
        permission_type: 3,
    };
    let creations = vec![
        creation("User:alice", "a", 3),
        creation("alice", "a", 3),
        creation("User:alice", "", 3),
        creation("User:alice", "a", 1),
        creation("User:bob", "b", 4),
    ];
    bench.send(3, &CreateAclsRequest { creations });
    for (token, request) in bench.asked_meta() {
        let MetaRequest::Propose(command) = request else { panic!() };
        bench.catalog.apply(&command);
        bench.event(Event::Meta { token, result: Ok(Outcome::Ok) });
    }
    let (_, made) = bench.receive::<CreateAclsResponse>(3).unwrap();
    assert_eq!(made.results.iter().map(|r| r.error_code).collect::<Vec<_>>(), [0, 42, 42, 42, 0]);
    assert_eq!(made.results[0].error_message.as_deref(), Some(""), "as Kafka says that nothing is wrong");

    let filter = |name: Option<&str>, pattern| DescribeAclsRequest {
        resource_type_filter: 2,
        resource_name_filter: name.map(str::to_owned),
        pattern_type_filter: pattern,
        principal_filter: None,
        host_filter: None,
        operation: 1,
        permission_type: 1,
    };
    let found = bench.ask(3, &filter(Some("abc"), 2));
    assert_eq!(found.resources.len(), 1);
    let acl = &found.resources[0].acls[0];
    assert_eq!(
        (found.resources[0].resource_name.as_str(), found.resources[0].pattern_type, acl.principal.as_str()),
        ("a", 4, "User:alice")
    );
    assert_eq!(bench.ask(3, &filter(None, 1)).resources.len(), 2);
    assert_eq!(bench.ask(3, &filter(None, 9)).error_code, ErrorCode::InvalidRequest.code());

    let filter = |principal: &str| delete_acls_request::DeleteAclsFilter {
        resource_type_filter: 2,
        resource_name_filter: None,
        pattern_type_filter: 1,
        principal_filter: Some(principal.into()),
        host_filter: None,
        operation: 1,
        permission_type: 1,
    };
    bench.send(3, &DeleteAclsRequest { filters: vec![filter("User:alice"), filter("User:nobody")] });
    for (token, request) in bench.asked_meta() {
        let MetaRequest::Propose(command) = request else { panic!() };
        bench.catalog.apply(&command);
        bench.event(Event::Meta { token, result: Ok(Outcome::Ok) });
    }
    let (_, gone) = bench.receive::<DeleteAclsResponse>(3).unwrap();
    assert_eq!(gone.filter_results.iter().map(|f| f.matching_acls.len()).collect::<Vec<_>>(), [1, 0]);
    let left = bench.ask(
        3,
        &DescribeAclsRequest {
            principal_filter: None,
            ..DescribeAclsRequest {
                resource_type_filter: 2,
                resource_name_filter: None,
                pattern_type_filter: 1,
                host_filter: None,
                operation: 1,
                permission_type: 1,
                ..Default::default()
            }
        },
    );
    assert_eq!(left.resources.iter().map(|r| r.resource_name.as_str()).collect::<Vec<_>>(), ["b"]);
}

/// Everything that the session owes is answered; the response that throttles, and how long nothing is to be read.
#[test]
fn a_producer_beyond_its_quota_is_answered_and_held_back() {
    let mut bench = Bench::new();
    bench.quota(QuotaKey::ProducerByteRate, 1000.0);
    let large = || produce(0, -1, batch(&[1; 9000], 1_700_000_000_000));
    let throttle = |bench: &mut Bench| {
        bench.send(9, &large());
        let sent = bench.sent();
        bench.event(appended(&sent[0].1, 1));
        let (_, response) = bench.receive::<ProduceResponse>(9).unwrap();
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0, "it is appended all the same");
        response.throttle_time_ms
    };
    assert_eq!((throttle(&mut bench), bench.session.muted_until()), (0, None));
    // Two requests of 9 kB and something, less 10 kB at once: 8 s and something at 1 kB/s.
    let told = throttle(&mut bench);
    assert!((8000..9000).contains(&told), "{told}");
    let until = bench.now.instant + Duration::from_millis(told as u64);
    assert_eq!((bench.session.muted_until(), bench.session.deadline()), (Some(until), Some(until)));
    bench.now.instant = until;
    bench.session.expire(bench.now);
    assert_eq!(bench.session.muted_until(), None);
    // All of it was owed; the next one is throttled for its own bytes.
    let told = throttle(&mut bench);
    assert!((9000..9300).contains(&told), "{told}");
    // What is owed is paid off at the new rate.
    bench.quota(QuotaKey::ProducerByteRate, 1e6);
    let told = throttle(&mut bench);
    assert!((18..20).contains(&told), "{told}");
}

#[test]
fn a_reader_beyond_its_quota_comes_again_later() {
    let mut bench = Bench::new();
    bench.quota(QuotaKey::ConsumerByteRate, 1000.0);
    let filled = |bench: &mut Bench| {
        bench.send(12, &fetch(0, 1));
        for (_, request) in bench.sent() {
            let Request::Fetch(asked) = &request else { panic!("{request:?}") };
            assert!(asked.max_bytes <= 10_000, "no more than a window's worth is read");
            bench.event(fetched(&request, &[(7, batch(&[1; 7000], 1))]));
        }
        bench.receive::<FetchResponse>(12).unwrap().1
    };
    let first = filled(&mut bench);
    assert_eq!(first.responses.len(), 1);
    let second = filled(&mut bench);
    assert!(first.throttle_time_ms + second.throttle_time_ms > 0, "{second:?}");
    // Whoever comes too early gets nothing but the time to wait.
    let early = bench.ask(12, &fetch(500, 1));
    assert!(early.responses.is_empty() && early.throttle_time_ms > 0 && early.error_code == 0);
    bench.now.instant = bench.session.muted_until().unwrap();
    bench.session.expire(bench.now);
    assert_eq!(filled(&mut bench).responses.len(), 1);
}

/// Each look at the clock takes 10 ms here, and there are two steps of that between the looks at each request: until it
/// is answered, and until it is out of hand.
#[test]
fn who_takes_too_much_of_the_sessions_time_is_held_back_and_told() {
    const LOOK: Duration = Duration::from_millis(10);
    let options = Options::default();
    let (mut flooding, mut modest) = (Bench::with(near(), options.clone()), Bench::with(near(), options));
    modest.session.principal = Arc::new(Principal::user("modest"));
    for bench in [&flooding, &modest] {
        bench.clock.set(bench.now.instant, LOOK);
    }
    let ask = |bench: &mut Bench| {
        let told = bench.ask(2, &DescribeClusterRequest::default()).throttle_time_ms;
        (told, bench.session.muted_until())
    };
    assert_eq!((ask(&mut flooding), flooding.clock.looks()), ((0, None), 0), "nobody looks without need");
    for bench in [&flooding, &modest] {
        bench.quota(QuotaKey::RequestPercentage, 10.0);
    }
    // A window's worth is a second, of which each request takes 20 ms, while 2 to 3 ms come back.
    let mut served = 0;
    let told = loop {
        let (told, muted) = ask(&mut flooding);
        let until = flooding.now.instant + Duration::from_millis(told as u64);
        assert_eq!(muted, (told > 0).then_some(until));
        if told > 0 {
            break told;
        }
        served += 1;
    };
    assert!((50..=60).contains(&served), "{served}");
    assert!((1..=200).contains(&told), "what one request takes, ten times: {told}");
    assert_eq!(ask(&mut modest), (0, None), "the one next to it");
    // It goes on all the same, is answered, and held back for a second at most.
    for _ in 0..100 {
        ask(&mut flooding);
    }
    assert_eq!(ask(&mut flooding).0, 1000);
    // A producer that wants no answers is held back without being told.
    flooding.session.muted_until = None;
    flooding.send(9, &produce(0, 0, batch(b"x", 1_700_000_000_000)));
    let sent = flooding.sent();
    assert_eq!(flooding.session.muted_until(), None, "it is not done");
    flooding.event(appended(&sent[0].1, 1));
    assert!(flooding.frame().is_none() && flooding.session.muted_until().is_some());
    // After a window of silence all is paid.
    let later = flooding.now.instant + Duration::from_secs(30);
    (flooding.now.instant, flooding.session.muted_until) = (later, None);
    flooding.clock.set(later, LOOK);
    assert_eq!(ask(&mut flooding), (0, None));
}

#[test]
fn partitions_are_made_at_the_quotas_rate() {
    let mut bench = Bench::new();
    bench.quota(QuotaKey::ControllerMutationRate, 1.0);
    let create = |names: &[&str], partitions| CreateTopicsRequest {
        topics: names
            .iter()
            .map(|name| create_topics_request::CreatableTopic {
                name: (*name).into(),
                num_partitions: partitions,
                replication_factor: 1,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    // A window's worth is ten; the first topic may exceed it, the second has to wait for that.
    bench.send(7, &create(&["a", "b"], 15));
    let asked = bench.asked_meta();
    let [(token, MetaRequest::Propose(Command::TopicCreate(spec)))] = &asked[..] else { panic!("{asked:?}") };
    let outcome = Outcome::Topic { id: spec.id, partitions: vec![] };
    bench.event(Event::Meta { token: *token, result: Ok(outcome) });
    let (_, made) = bench.receive::<CreateTopicsResponse>(7).unwrap();
    let codes: Vec<_> = made.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!((codes, made.throttle_time_ms), (vec![0, ErrorCode::ThrottlingQuotaExceeded.code()], 5000));
    assert_eq!(made.topics[0].error_message, None, "as Kafka says that nothing is wrong");
    // What is only validated costs nothing.
    let request = CreateTopicsRequest { validate_only: true, ..create(&["c"], 1) };
    assert_eq!(bench.ask(7, &request).topics[0].error_code, 0);
    // It is told of all that would be refused.
    bench
        .catalog
        .apply(&Command::TopicCreate(bowline_model::meta::TopicSpec { name: "v.x".into(), ..spec.clone() }));
    let request = CreateTopicsRequest { validate_only: true, ..create(&["v_x"], 1) };
    assert_eq!(bench.ask(7, &request).topics[0].error_code, ErrorCode::InvalidTopicException.code());
    // Older clients do not know the error: they are served, and wait.
    bench.send(4, &create(&["d"], 1));
    let asked = bench.asked_meta();
    bench.event(Event::Failed { token: asked[0].0, reason: Failure::DiskFull });
    assert_eq!(bench.receive::<CreateTopicsResponse>(4).unwrap().1.throttle_time_ms, 6000);
}

#[test]
fn quotas_are_set_and_described() {
    let mut bench = Bench::with_rules();
    let entry = |parts: &[(&str, Option<&str>)], key: &str, value| alter_client_quotas_request::EntryData {
        entity: parts
            .iter()
            .map(|(entity_type, name)| alter_client_quotas_request::EntityData {
                entity_type: (*entity_type).into(),
                entity_name: name.map(str::to_owned),
            })
            .collect(),
        ops: vec![alter_client_quotas_request::OpData { key: key.into(), value, remove: false }],
    };
    let entries = vec![
        entry(&[("user", Some("u")), ("client-id", None)], "consumer_byte_rate", 5.0),
        entry(&[("ip", Some("10.0.0.1"))], "connection_creation_rate", 5.0),
        entry(&[("user", Some("v"))], "request_percentage", 12.5),
        entry(&[("ip", Some("10.0.0.1"))], "request_percentage", 12.5),
        entry(&[("user", Some("u"))], "nonsense", 5.0),
        entry(&[("user", Some("u")), ("user", Some("v"))], "producer_byte_rate", 5.0),
        entry(&[("tenant", Some("u"))], "producer_byte_rate", 5.0),
        entry(&[], "producer_byte_rate", 5.0),
    ];
    let mut request = AlterClientQuotasRequest { entries, validate_only: true };
    let codes = |response: &AlterClientQuotasResponse| -> Vec<i16> {
        response.entries.iter().map(|entry| entry.error_code).collect()
    };
    assert_eq!(codes(&bench.ask(1, &request)), [0, 0, 0, 42, 42, 42, 42, 42]);
    request.entries[4].ops[0].remove = true;
    let nothing = codes(&bench.ask(1, &request));
    assert_eq!(nothing, [0, 0, 0, 42, 0, 42, 42, 42], "what is not there is easily removed");
    request.entries[4].ops[0].remove = false;
    bench.send(1, &AlterClientQuotasRequest { validate_only: false, ..request });
    for (token, request) in bench.asked_meta() {
        let MetaRequest::Propose(command) = request else { panic!() };
        bench.catalog.apply(&command);
        bench.event(Event::Meta { token, result: Ok(Outcome::Ok) });
    }
    let (_, altered) = bench.receive::<AlterClientQuotasResponse>(1).unwrap();
    assert_eq!(codes(&altered), [0, 0, 0, 42, 42, 42, 42, 42]);

    let mut found = |parts: &[(&str, i8, Option<&str>)], strict| {
        let component = |(entity_type, match_type, name): &(&str, i8, Option<&str>)| {
            describe_client_quotas_request::ComponentData {
                entity_type: (*entity_type).into(),
                match_type: *match_type,
                match_: name.map(str::to_owned),
            }
        };
        let components = parts.iter().map(component).collect();
        let response = bench.ask(1, &DescribeClientQuotasRequest { components, strict });
        assert_eq!(response.error_code, if response.entries.is_some() { 0 } else { 42 });
        let text = response.error_message.as_deref();
        assert_eq!(text == Some(""), response.error_code == 0, "as Kafka says that nothing is wrong");
        response.entries.map(|entries| entries.len())
    };
    // There is one for all users by default, too.
    assert_eq!(found(&[], false), Some(4));
    assert_eq!(found(&[("user", 0, Some("u"))], false), Some(1));
    assert_eq!(found(&[("user", 0, Some("u"))], true), Some(0));
    assert_eq!(found(&[("user", 0, Some("u")), ("client-id", 1, None)], true), Some(1));
    assert_eq!(found(&[("user", 2, None)], false), Some(3));
    assert_eq!(found(&[("user", 2, None)], true), Some(2));
    assert_eq!(found(&[("ip", 0, Some("10.0.0.1"))], true), Some(1));
    assert_eq!(found(&[("user", 0, None)], true), None);
    assert_eq!(found(&[("user", 2, None), ("ip", 2, None)], true), None);
}

/// Whoever was a user, with permissions, is not somebody unknown to them afterwards.
#[test]
fn a_removed_users_connection_ends() {
    let peer = Peer { certified: Some("app".into()), ..near() };
    let mut bench = Bench::with(peer, Options::default());
    for (name, ends) in [("other", false), ("app", true)] {
        bench.event(Event::Revoked(bowline_model::event::Revoked::User(name.into())));
        assert_eq!(matches!(bench.session.closed(), Some(Closed::UserRemoved)), ends, "{name}");
    }
}

/// A member sees what it subscribes to; patterns may find any topic.
#[test]
fn members_subscribe_to_what_they_may_see() {
    let mut bench = Bench::strict();
    bench.allow(Operation::Read, ResourceKind::Group, "g");
    bench.allow(Operation::Describe, ResourceKind::Topic, "shown");
    let beat = |name: &str, regex: Option<&str>| ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        subscribed_topic_names: Some(vec![name.into()]),
        subscribed_topic_regex: regex.map(str::to_owned),
        ..Default::default()
    };
    assert_eq!(bench.ask(1, &beat("t", None)).error_code, TOPIC_DENIED);
    assert_eq!(bench.ask(1, &beat("shown", Some(".*"))).error_code, TOPIC_DENIED);
    bench.send(1, &beat("shown", None));
    assert_eq!(bench.sent().len(), 1);
}
