//! What a client has to be allowed for each API, by Kafka's table: with less it is refused, and no shard hears of it;
//! with that it is served.

use super::every_version::{answer, send_full};
use super::*;
use bowline_model::acl::Operation::{
    self, Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs, IdempotentWrite,
    Read, Write,
};
use bowline_model::acl::ResourceKind::{self, Cluster, Group, Topic, TransactionalId};
use messages::*;

type Needs = &'static [(Operation, ResourceKind)];

/// For everybody: there is nothing in it, or nothing but what may be seen.
const NOTHING: Needs = &[];

/// They ask shards what there is before they look who asks, and tell nothing of it.
const ASK_FIRST: &[ApiKey] = &[ApiKey::ShareGroupDescribe, ApiKey::DescribeShareGroupOffsets];

/// What the request of [`send_full`] needs. An API that is missing here fails the test.
fn needs(api: ApiKey, version: i16) -> Needs {
    match api {
        ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => NOTHING,
        ApiKey::ListGroups | ApiKey::ListTransactions | ApiKey::DescribeCluster => NOTHING,
        // Every client may be asked for its metrics, and what it pushes the broker publishes.
        ApiKey::GetTelemetrySubscriptions | ApiKey::PushTelemetry => NOTHING,
        // Has no place for the error: it shows nothing.
        ApiKey::DescribeLogDirs if version < 3 => NOTHING,
        // Delegation tokens are not in use, whoever asks.
        ApiKey::CreateDelegationToken
        | ApiKey::RenewDelegationToken
        | ApiKey::ExpireDelegationToken
        | ApiKey::DescribeDelegationToken => NOTHING,

        ApiKey::Produce => &[(Write, Topic)],
        ApiKey::Fetch | ApiKey::DescribeProducers => &[(Read, Topic)],
        ApiKey::ListOffsets | ApiKey::OffsetForLeaderEpoch => &[(Describe, Topic)],
        ApiKey::Metadata | ApiKey::DescribeTopicPartitions => &[(Describe, Topic)],
        ApiKey::DeleteRecords | ApiKey::DeleteTopics => &[(Delete, Topic)],
        ApiKey::CreateTopics => &[(Create, Cluster)],
        ApiKey::CreatePartitions => &[(Alter, Topic)],
        ApiKey::DescribeConfigs => {
            &[(DescribeConfigs, Topic), (DescribeConfigs, Cluster), (DescribeConfigs, Group)]
        }
        ApiKey::AlterConfigs | ApiKey::IncrementalAlterConfigs => &[(AlterConfigs, Topic)],

        ApiKey::OffsetCommit => &[(Read, Group), (Read, Topic)],
        ApiKey::OffsetFetch => &[(Describe, Group), (Describe, Topic)],
        ApiKey::FindCoordinator | ApiKey::DescribeGroups => &[(Describe, Group)],
        ApiKey::JoinGroup | ApiKey::SyncGroup | ApiKey::Heartbeat | ApiKey::LeaveGroup => &[(Read, Group)],
        ApiKey::DeleteGroups => &[(Delete, Group)],
        ApiKey::OffsetDelete => &[(Delete, Group), (Read, Topic)],
        ApiKey::ConsumerGroupHeartbeat => &[(Read, Group), (Describe, Topic)],
        ApiKey::ConsumerGroupDescribe => &[(Describe, Group), (Describe, Topic)],

        // Without a transactional id.
        ApiKey::InitProducerId => &[(IdempotentWrite, Cluster)],
        ApiKey::AddPartitionsToTxn if version >= 4 => &[(ClusterAction, Cluster)],
        ApiKey::AddPartitionsToTxn => &[(Write, TransactionalId), (Write, Topic)],
        ApiKey::AddOffsetsToTxn => &[(Write, TransactionalId), (Read, Group)],
        ApiKey::TxnOffsetCommit => &[(Write, TransactionalId), (Read, Group), (Read, Topic)],
        ApiKey::EndTxn => &[(Write, TransactionalId)],
        ApiKey::DescribeTransactions => &[(Describe, TransactionalId)],
        ApiKey::WriteTxnMarkers => &[(Alter, Cluster)],

        ApiKey::ShareGroupHeartbeat => &[(Read, Group), (Describe, Topic)],
        ApiKey::ShareGroupDescribe => &[(Describe, Group)],
        ApiKey::ShareFetch | ApiKey::ShareAcknowledge => &[(Read, Group), (Read, Topic)],
        ApiKey::DescribeShareGroupOffsets => &[(Describe, Group), (Describe, Topic)],
        ApiKey::AlterShareGroupOffsets => &[(Read, Group), (Read, Topic)],
        ApiKey::DeleteShareGroupOffsets => &[(Delete, Group), (Read, Topic)],

        ApiKey::DescribeAcls | ApiKey::DescribeLogDirs | ApiKey::DescribeQuorum => &[(Describe, Cluster)],
        ApiKey::ListPartitionReassignments | ApiKey::DescribeUserScramCredentials => &[(Describe, Cluster)],
        ApiKey::CreateAcls | ApiKey::DeleteAcls | ApiKey::AlterUserScramCredentials => &[(Alter, Cluster)],
        ApiKey::AlterReplicaLogDirs | ApiKey::ElectLeaders | ApiKey::UpdateFeatures => &[(Alter, Cluster)],
        ApiKey::AlterPartitionReassignments => &[(Alter, Cluster)],
        ApiKey::DescribeClientQuotas | ApiKey::ListConfigResources => &[(DescribeConfigs, Cluster)],
        ApiKey::AlterClientQuotas => &[(AlterConfigs, Cluster)],
        other => panic!("nobody has said what {other} needs"),
    }
}

#[test]
fn every_api_needs_what_kafkas_does() {
    let mut wrong = Vec::new();
    for (api, offered) in versions::SERVED {
        let mut served = offered.clone().filter(|version| versions::is_served(*api, *version));
        let first = served.next().unwrap();
        for version in [first, served.next_back().unwrap_or(first)] {
            let send = |bench: &mut Bench| send_full(bench, *api, version);
            wrong.extend(faults(*api, version, needs(*api, version), &send));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_else_will_do() {
    let markers = |bench: &mut Bench| send_full(bench, ApiKey::WriteTxnMarkers, 2);
    check(ApiKey::WriteTxnMarkers, 2, &[(ClusterAction, Cluster)], &markers);
    let no_transactions = |bench: &mut Bench| send_full(bench, ApiKey::InitProducerId, 5);
    check(ApiKey::InitProducerId, 5, &[(Write, Topic)], &no_transactions);
    let topic = |bench: &mut Bench| send_full(bench, ApiKey::CreateTopics, 7);
    check(ApiKey::CreateTopics, 7, &[(Create, Topic)], &topic);
}

#[test]
fn transactional_ids() {
    let init = |bench: &mut Bench| {
        let transactional_id = Some("x".into());
        bench.send(5, &InitProducerIdRequest { transactional_id, ..Default::default() });
    };
    check(ApiKey::InitProducerId, 5, &[(Write, TransactionalId)], &init);
    let find = |bench: &mut Bench| {
        let coordinator_keys = vec!["x".into()];
        bench.send(6, &FindCoordinatorRequest { coordinator_keys, key_type: 1, ..Default::default() });
    };
    check(ApiKey::FindCoordinator, 6, &[(Describe, TransactionalId)], &find);
    // One by its name is not another.
    let mut bench = Bench::strict();
    bench.allow(Write, TransactionalId, "y");
    init(&mut bench);
    assert!(!answer(&mut bench));
    // Topics that may not be seen are left out of descriptions.
    for (topics, shown) in [(&["t"][..], 1), (&[], 0)] {
        let mut bench = Bench::strict();
        bench.allow(Describe, TransactionalId, "x");
        topics.iter().for_each(|topic| bench.allow(Describe, Topic, topic));
        send_full(&mut bench, ApiKey::DescribeTransactions, 0);
        answer(&mut bench);
        let (_, described) = bench.receive::<DescribeTransactionsResponse>(0).unwrap();
        assert_eq!((described.transaction_states[0].topics.len()), shown);
    }
}

/// `send` sends a request that needs just `needs`: what is wrong about that.
fn faults(api: ApiKey, version: i16, needs: Needs, send: &dyn Fn(&mut Bench)) -> Vec<String> {
    let with = |allowed: &[(Operation, ResourceKind)]| {
        let mut bench = Bench::strict();
        for (operation, kind) in allowed {
            bench.allow(*operation, *kind, if *kind == Cluster { "kafka-cluster" } else { "*" });
        }
        send(&mut bench);
        let asked = answer(&mut bench);
        let frame = bench.frame().or_else(|| {
            bench.now.instant += Duration::from_secs(1);
            bench.session.expire(bench.now);
            bench.frame()
        });
        let frame = frame.unwrap_or_else(|| panic!("{api} v{version} with {allowed:?} is not answered"));
        let body = frame.slice(if api.response_header_version(version) == 1 { 5 } else { 4 }..);
        let mut all = catalog::ALL.iter();
        let codec = all.find(|c| c.kind == Kind::Response && c.key == Some(api as i16)).unwrap();
        (asked, denied(&codec.show(body, version).unwrap()))
    };
    let mut faults = Vec::new();
    let mut fault = |what: &str| faults.push(format!("{api} v{version} {what}"));
    let (asked, refused) = with(&[]);
    if refused == needs.is_empty() {
        fault(&format!("without any right is refused: {refused}"));
    }
    if asked && !needs.is_empty() && !ASK_FIRST.contains(&api) {
        fault("without any right: a shard heard of it");
    }
    if with(needs).1 {
        fault(&format!("is refused with {needs:?}"));
    }
    for n in 0..needs.len() {
        let others: Vec<_> =
            needs.iter().enumerate().filter(|(at, _)| *at != n).map(|(_, need)| *need).collect();
        if !with(&others).1 {
            fault(&format!("is served without {:?}", needs[n]));
        }
    }
    faults
}

fn check(api: ApiKey, version: i16, needs: Needs, send: &dyn Fn(&mut Bench)) {
    assert_eq!(faults(api, version, needs, send), Vec::<String>::new());
}

/// Whether a response tells of a right that is missing. A topic is made though its settings are not shown.
fn denied(response: &str) -> bool {
    let codes = response.replace("topic_config_error_code", "");
    let mut codes = codes.split("error_code: ").skip(1);
    codes.any(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        matches!(digits, Some("29" | "30" | "31" | "53" | "65"))
    })
}
