//! What the session itself says about transactions, before and after it asks a coordinator.

use super::every_version::answer;
use super::*;
use bowline_model::event::OffsetFound;
use bowline_model::txn::{ActiveProducer, Listed, Producer, Reply, State};
use messages::*;

const INVALID_REQUEST: i16 = 42;

impl Bench {
    /// A request that no shard hears of.
    fn at_once<R: WireRequest>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        assert!(self.sent().is_empty() && self.asked_meta().is_empty(), "{} asks", R::NAME);
        self.receive::<R::Response>(version).unwrap().1
    }
}

#[test]
fn what_makes_no_sense_is_an_invalid_request() {
    let mut bench = Bench::new();
    let init = |transactional_id: Option<&str>, producer_id, producer_epoch| InitProducerIdRequest {
        transactional_id: transactional_id.map(str::to_owned),
        transaction_timeout_ms: 1_000,
        producer_id,
        producer_epoch,
        ..Default::default()
    };
    // An id without an epoch, an epoch without an id, and an empty transactional id.
    for request in [
        init(Some("x"), -1, 3),
        init(Some("x"), 3, -1),
        init(None, -1, 3),
        init(None, 3, -1),
        init(Some(""), -1, -1),
    ] {
        let response = bench.at_once(5, &request);
        assert_eq!((response.error_code, response.producer_id), (INVALID_REQUEST, -1), "{request:?}");
    }
    assert_eq!(bench.at_once(5, &EndTxnRequest::default()).error_code, INVALID_REQUEST);
    let topics = |index| {
        vec![add_partitions_to_txn_request::AddPartitionsToTxnTopic {
            name: "t".into(),
            partitions: vec![0, index],
        }]
    };
    let add = |index| AddPartitionsToTxnRequest { v3_and_below_topics: topics(index), ..Default::default() };
    let mut codes = |index| -> Vec<i16> {
        let response = bench.at_once(3, &add(index));
        let topic = &response.results_by_topic_v3_and_below[0];
        topic.results_by_partition.iter().map(|result| result.partition_error_code).collect()
    };
    assert_eq!(codes(1), [INVALID_REQUEST; 2]);
    assert_eq!(codes(9), [55, 3], "a partition that does not exist is told first");
}

#[test]
fn that_nothing_is_wrong_is_told_in_kafkas_words() {
    let mut bench = Bench::new();
    let key_type = 1;
    let one = FindCoordinatorRequest { key: "x".into(), key_type, ..Default::default() };
    assert_eq!(bench.at_once(3, &one).error_message.as_deref(), Some("NONE"));
    let several =
        FindCoordinatorRequest { coordinator_keys: vec!["x".into()], key_type, ..Default::default() };
    assert_eq!(bench.at_once(4, &several).coordinators[0].error_message.as_deref(), Some(""));
    assert_eq!(bench.at_once(0, &ListPartitionReassignmentsRequest::default()).error_message, None);
}

#[test]
fn partitions_that_are_not_in_the_transaction() {
    let mut bench = Bench::new();
    let transaction = add_partitions_to_txn_request::AddPartitionsToTxnTransaction {
        transactional_id: "x".into(),
        verify_only: true,
        topics: vec![add_partitions_to_txn_request::AddPartitionsToTxnTopic {
            name: "t".into(),
            partitions: vec![0, 1],
        }],
        ..Default::default()
    };
    bench.send(5, &AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() });
    let token = token(&bench.sent()[0].1);
    bench.event(Event::Txn { token, reply: Reply::Verified(Ok(vec![true, false])) });
    let (_, response) = bench.receive::<AddPartitionsToTxnResponse>(5).unwrap();
    let results = &response.results_by_transaction[0].topic_results[0].results_by_partition;
    let codes: Vec<i16> = results.iter().map(|result| result.partition_error_code).collect();
    assert_eq!(codes, [0, ErrorCode::TransactionAbortable.code()]);
}

#[test]
fn those_that_last_too_long_are_listed() {
    let ids = |duration_filter| {
        let mut bench = Bench::new();
        bench.send(2, &ListTransactionsRequest { duration_filter, ..Default::default() });
        let now = bench.now.millis as u64;
        let listed = |id: &str, state, started| Listed { id: id.into(), producer_id: 7, state, started };
        let asked = bench.sent();
        let mut all = vec![vec![
            listed("long", State::Ongoing, Some(now - 5_000)),
            listed("short", State::Ongoing, Some(now - 500)),
            listed("never", State::Empty, None),
        ]];
        all.resize(asked.len(), Vec::new());
        for ((_, request), listed) in asked.iter().zip(all) {
            bench.event(Event::Txn { token: token(request), reply: Reply::Listed(listed) });
        }
        let (_, response) = bench.receive::<ListTransactionsResponse>(2).unwrap();
        response.transaction_states.into_iter().map(|state| state.transactional_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(-1), ["long", "short", "never"]);
    assert_eq!(ids(1_000), ["long", "never"], "Kafka says that what never began began before everything");
}

#[test]
fn producers_that_no_marker_has_met_have_no_coordinator() {
    let mut bench = Bench::new();
    let topics =
        vec![describe_producers_request::TopicRequest { name: "t".into(), partition_indexes: vec![0] }];
    bench.send(0, &DescribeProducersRequest { topics });
    let token = token(&bench.sent()[0].1);
    let active = |coordinator_epoch, last_timestamp| ActiveProducer {
        producer: Producer { id: 7, epoch: 1 },
        last_sequence: -1,
        last_timestamp,
        coordinator_epoch,
        open_since: None,
    };
    bench.event(Event::Producers { token, result: Ok(vec![active(-1, 9), active(3, -1)]) });
    let (_, response) = bench.receive::<DescribeProducersResponse>(0).unwrap();
    let producers = &response.topics[0].partitions[0].active_producers;
    let told: Vec<_> = producers.iter().map(|p| (p.coordinator_epoch, p.last_timestamp)).collect();
    assert_eq!(told, [(-1, 9), (3, -1)]);
}

#[test]
fn a_batch_of_a_transaction_comes_with_the_transactions_id() {
    let batch = |transactional: bool| {
        let batch = BatchBuilder::new(1_700_000_000_000);
        let batch = batch.producer(5, 0, 0);
        let mut batch = if transactional { batch.transactional() } else { batch };
        batch.append(None, Some(b"x"), &[], 1_700_000_000_000).unwrap();
        batch.build().unwrap()
    };
    let mut bench = Bench::new();
    let mut request = produce(0, -1, batch(false));
    let other = produce(1, -1, batch(true)).topic_data.remove(0).partition_data.remove(0);
    request.topic_data[0].partition_data.push(other);
    for version in [9, 12] {
        let response = bench.at_once(version, &request);
        let partitions = response.responses[0].partition_responses.iter();
        let codes: Vec<i16> = partitions.map(|partition| partition.error_code).collect();
        assert_eq!(codes, [ErrorCode::TransactionalIdAuthorizationFailed.code(); 2]);
    }
    request.topic_data[0].partition_data.pop();
    bench.send(9, &request);
    assert_eq!(bench.sent().len(), 1, "without it the others are stored");
}

#[test]
fn outside_a_transaction_clients_that_know_how_are_told_to_abort() {
    use bowline_model::event::{AppendError, AppendResult};
    let code = |version| {
        let mut batch = BatchBuilder::new(1_700_000_000_000).producer(5, 0, 0).transactional();
        batch.append(None, Some(b"x"), &[], 1_700_000_000_000).unwrap();
        let mut bench = Bench::new();
        let request =
            ProduceRequest { transactional_id: Some("x".into()), ..produce(0, -1, batch.build().unwrap()) };
        bench.send(version, &request);
        let sent = bench.sent();
        let result = AppendResult { partition: PartitionId(4), result: Err(AppendError::InvalidTxnState) };
        bench.event(Event::Appended { token: token(&sent[0].1), results: vec![result] });
        bench.produced(version).unwrap().1.error_code
    };
    assert_eq!(code(10), ErrorCode::InvalidTxnState.code());
    assert_eq!(code(11), ErrorCode::TransactionAbortable.code());
    let offsets = |version| {
        let partitions = vec![Default::default()];
        let topic = txn_offset_commit_request::TxnOffsetCommitRequestTopic {
            name: "t".into(),
            partitions,
            ..Default::default()
        };
        let request = TxnOffsetCommitRequest {
            transactional_id: "x".into(),
            group_id: "g".into(),
            topics: vec![topic],
            ..Default::default()
        };
        let mut bench = Bench::new();
        bench.send(version, &request);
        let Request::TxnOffsets { token, .. } = bench.sent().remove(0).1 else { panic!() };
        let reply = bowline_model::group::Reply::Commit(Err(bowline_model::group::Error::InvalidTxnState));
        bench.event(Event::Group { token, reply });
        let (_, response) = bench.receive::<TxnOffsetCommitResponse>(version).unwrap();
        response.topics[0].partitions[0].error_code
    };
    assert_eq!(offsets(3), ErrorCode::InvalidTxnState.code());
    assert_eq!(offsets(4), ErrorCode::TransactionAbortable.code());
}

#[test]
fn committed_readers_are_told_no_offset_that_may_not_count() {
    let ask = |isolation_level, timestamp, last_stable| {
        let mut bench = Bench::new();
        let partition = list_offsets_request::ListOffsetsPartition { timestamp, ..Default::default() };
        let topic = list_offsets_request::ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
        let topics = vec![topic];
        bench.send(9, &ListOffsetsRequest { isolation_level, topics, ..Default::default() });
        let Request::ListOffsets { token, queries } = bench.sent().remove(0).1 else { panic!() };
        let wanted =
            bowline_model::request::FetchPartition { partition: queries[0].0, offset: 7, max_bytes: 1 };
        let request =
            bowline_model::request::Fetch { token, partitions: vec![wanted], max_bytes: 1, committed: false };
        let found = fetched(&Request::Fetch(request), &[(7, batch(b"x", 1_000))]);
        let Event::Fetched { mut partitions, .. } = found else { panic!() };
        let batches = partitions.remove(0).result.unwrap().batches;
        let found = OffsetFound::Batches { batches, log_start: 0, last_stable };
        bench.event(Event::Offsets { token, results: vec![(queries[0].0, Ok(found))] });
        assert!(!answer(&mut bench));
        let (_, response) = bench.receive::<ListOffsetsResponse>(9).unwrap();
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.offset, partition.timestamp)
    };
    for timestamp in [1, -3] {
        assert_eq!(ask(0, timestamp, 7), (0, 7, 1_000));
        assert_eq!(ask(1, timestamp, 8), (0, 7, 1_000));
        assert_eq!(ask(1, timestamp, 7), (0, -1, -1), "its transaction is open");
    }
}
