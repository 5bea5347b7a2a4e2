//! Fetch: what waits, what wakes it, sessions and limits.

use super::*;

#[test]
fn produce_passes_a_waiting_fetch_and_nothing_else_does() {
    let mut bench = Bench::new();
    let waiting = bench.send(12, &fetch(500, 1));
    for (_, request) in bench.sent() {
        bench.event(fetched(&request, &[]));
    }
    assert_eq!(bench.sent().len(), 2, "a watch in each shard");
    let passing = bench.send(9, &good(0));
    let heartbeat = messages::HeartbeatRequest { group_id: "g".into(), ..Default::default() };
    let behind = bench.send(0, &heartbeat);
    let sent = bench.sent();
    assert_eq!(sent.len(), 1, "the heartbeat waits for its turn");
    bench.event(appended(&sent[0].1, 3));
    assert!(bench.frame().is_none());
    bench.now.instant += Duration::from_millis(501);
    assert!(bench.session.deadline().unwrap() <= bench.now.instant);
    bench.session.expire(bench.now);
    assert_eq!(bench.receive::<messages::FetchResponse>(12).unwrap().0, waiting);
    assert_eq!(bench.produced(9).unwrap().0, passing);
    let sent = bench.sent();
    assert!(matches!(
        sent[..],
        [(_, Request::Unwatch { .. }), (_, Request::Unwatch { .. }), (_, Request::Group { .. })]
    ));
    bench.event(Event::Failed { token: token(&sent[2].1), reason: Failure::Stopping });
    let (id, answer) = bench.receive::<messages::HeartbeatResponse>(0).unwrap();
    assert_eq!((id, answer.error_code), (behind, ErrorCode::CoordinatorNotAvailable.code()));
}

#[test]
fn a_fetch_is_woken_and_stamps_offsets() {
    let mut bench = Bench::new();
    bench.send(12, &fetch(500, 1));
    for (_, request) in bench.sent() {
        bench.event(fetched(&request, &[]));
    }
    let watches = bench.sent();
    let Request::Watch { partitions, .. } = &watches[1].1 else { panic!() };
    assert_eq!(partitions[..], [(PartitionId(5), 7)]);
    bench.event(Event::Moved { token: token(&watches[1].1) });
    let again = bench.sent();
    assert!(matches!(&again[..], [(ShardId(2), Request::Fetch(_))]));
    assert_eq!(bench.session.deadline(), None, "there is nothing to answer with while a shard is asked");
    let batches = [(7, batch(b"small", 1)), (8, batch(&vec![1; 5000], 1))];
    bench.event(fetched(&again[0].1, &batches));
    let (_, response) = bench.receive::<messages::FetchResponse>(12).unwrap();
    assert_eq!((response.session_id, response.error_code), (0, 0));
    let [first, second] = &response.responses[0].partitions[..] else { panic!() };
    assert!(first.records.as_ref().unwrap().is_empty() && first.aborted_transactions.is_none());
    assert_eq!((second.high_watermark, second.last_stable_offset), (9, 9));
    let records = second.records.clone().unwrap().into_bytes();
    let got: Vec<_> =
        bowline_codec_kafka::records::Batches::new(records).map(|batch| batch.unwrap()).collect();
    assert_eq!(got.iter().map(|b| b.header.base_offset).collect::<Vec<_>>(), [7, 8]);
    for (got, (_, sent)) in got.iter().zip(&batches) {
        assert_eq!(got.header.partition_leader_epoch, 0);
        assert_eq!(got.bytes[16..], sent[16..]);
        bowline_codec_kafka::records::verify_batch(&got.bytes).unwrap();
    }
}

#[test]
fn a_fetch_session_is_told_news_only() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, request: messages::FetchRequest, batches: &[(u64, Bytes)]| {
        bench.send(12, &request);
        for (shard, request) in bench.sent() {
            bench.event(fetched(&request, if shard == ShardId(2) { batches } else { &[] }));
        }
        let (_, response) = bench.receive::<messages::FetchResponse>(12).unwrap();
        let told = response.responses.iter().flat_map(|t| t.partitions.iter().map(|p| p.partition_index));
        (response.session_id, response.error_code, told.collect::<Vec<_>>())
    };
    let (id, error, told) = ask(&mut bench, messages::FetchRequest { session_epoch: 0, ..fetch(0, 1) }, &[]);
    assert!(id > 0 && error == 0);
    assert_eq!(told, [0, 1]);
    let within = |session_epoch| messages::FetchRequest {
        session_id: id,
        session_epoch,
        topics: Vec::new(),
        ..fetch(0, 1)
    };
    assert_eq!(ask(&mut bench, within(1), &[]), (id, 0, vec![]));
    assert_eq!(ask(&mut bench, within(2), &[(7, batch(b"x", 1))]), (id, 0, vec![1]));
    assert_eq!(ask(&mut bench, within(2), &[]).1, ErrorCode::InvalidFetchSessionEpoch.code());
    // Another connection to the node goes on with it.
    let (broker, peer) = (bench.session.broker.clone(), bench.session.peer.clone());
    bench.session = Session::new(broker, peer, SessionId(10));
    assert_eq!(ask(&mut bench, within(3), &[(7, batch(b"x", 1))]), (id, 0, vec![1]));
    let forgotten = messages::fetch_request::ForgottenTopic {
        topic: "t".into(),
        partitions: vec![1],
        ..Default::default()
    };
    let forget = messages::FetchRequest { forgotten_topics_data: vec![forgotten], ..within(4) };
    bench.send(12, &forget);
    let asked = bench.sent();
    assert!(matches!(&asked[..], [(ShardId(1), Request::Fetch(_))]), "partition 1 is not read any more");
}

#[test]
fn a_fetch_is_answered_at_once_when_it_can_be() {
    let mut bench = Bench::new();
    // No time to wait.
    bench.send(12, &fetch(0, 1));
    bench.sent().iter().for_each(|(_, request)| bench.session.event(fetched(request, &[]), bench.now));
    assert!(bench.receive::<messages::FetchResponse>(12).is_some());
    // An error: here, an unknown partition beside a known one. Read-committed readers get a list of aborted ones.
    let mut request = fetch(500, 1);
    request.isolation_level = 1;
    request.topics[0].partitions[1].partition = 99;
    bench.send(12, &request);
    bench.sent().iter().for_each(|(_, request)| bench.session.event(fetched(request, &[]), bench.now));
    let (_, response) = bench.receive::<messages::FetchResponse>(12).unwrap();
    assert_eq!(response.responses[0].partitions[1].error_code, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(response.responses[0].partitions[0].aborted_transactions, Some(vec![]));
    // Topic ids.
    let mut request = fetch(500, 1);
    request.topics[0].topic_id = Uuid([9; 16]);
    bench.send(13, &request);
    let (_, response) = bench.receive::<messages::FetchResponse>(13).unwrap();
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UnknownTopicId.code());
    // A session that we never gave.
    let request = messages::FetchRequest { session_id: 5, session_epoch: 1, ..fetch(500, 1) };
    bench.send(12, &request);
    let (_, response) = bench.receive::<messages::FetchResponse>(12).unwrap();
    assert_eq!(response.error_code, ErrorCode::FetchSessionIdNotFound.code());
    // An epoch that never was.
    let mut request = fetch(500, 1);
    request.topics[0].partitions[0].current_leader_epoch = 3;
    request.topics[0].partitions.truncate(1);
    bench.send(12, &request);
    let (_, response) = bench.receive::<messages::FetchResponse>(12).unwrap();
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UnknownLeaderEpoch.code());
}

#[test]
fn max_bytes_counts_over_shards_but_the_first_batch_is_free() {
    let mut bench = Bench::new();
    let request = messages::FetchRequest { max_bytes: 1000, ..fetch(500, 1) };
    bench.send(12, &request);
    let large = batch(&vec![0; 3000], 1);
    for (_, request) in bench.sent() {
        bench.event(fetched(&request, &[(7, large.clone()), (8, large.clone())]));
    }
    let (_, response) = bench.receive::<messages::FetchResponse>(12).unwrap();
    let sizes: Vec<usize> =
        response.responses[0].partitions.iter().map(|p| p.records.as_ref().unwrap().len()).collect();
    assert_eq!(sizes, [large.len(), 0]);
}
