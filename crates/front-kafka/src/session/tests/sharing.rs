//! Share sessions against shards that the test plays itself.

use super::*;
use bowline_model::ConsumerId;
use bowline_model::share::{
    AcknowledgeError, Acquire, AcquireRest, Acquired, Described, Join, Listed, Outcome as Became, Reply,
    Request as ShareRequest, Settle, Start,
};
use messages::{ShareAcknowledgeRequest, ShareAcknowledgeResponse, ShareFetchRequest, ShareFetchResponse};
use messages::{share_acknowledge_request, share_fetch_request};

/// For both partitions of `t`, 100 records within 10 ms.
pub fn share_fetch(epoch: i32) -> ShareFetchRequest {
    let partition = |partition_index| share_fetch_request::FetchPartition {
        partition_index,
        acknowledgement_batches: Vec::new(),
    };
    ShareFetchRequest {
        group_id: Some("g".into()),
        member_id: Some("m".into()),
        share_session_epoch: epoch,
        max_wait_ms: 10,
        min_bytes: 1,
        max_bytes: 1 << 20,
        max_records: 100,
        batch_size: 100,
        topics: vec![share_fetch_request::FetchTopic {
            topic_id: Uuid([4; 16]),
            partitions: vec![partition(0), partition(1)],
        }],
        ..Default::default()
    }
}

/// Of partition 0.
pub fn share_acknowledge(epoch: i32, first: i64, last: i64, types: &[i8]) -> ShareAcknowledgeRequest {
    let batch = share_acknowledge_request::AcknowledgementBatch {
        first_offset: first,
        last_offset: last,
        acknowledge_types: types.to_vec(),
    };
    let partition = share_acknowledge_request::AcknowledgePartition {
        partition_index: 0,
        acknowledgement_batches: vec![batch],
    };
    ShareAcknowledgeRequest {
        group_id: Some("g".into()),
        member_id: Some("m".into()),
        share_session_epoch: epoch,
        is_renew_ack: false,
        topics: vec![share_acknowledge_request::AcknowledgeTopic {
            topic_id: Uuid([4; 16]),
            partitions: vec![partition],
        }],
    }
}

pub fn token(request: &ShareRequest) -> Token {
    match request {
        ShareRequest::Join(join) => join.token,
        ShareRequest::Acquire(acquire) => acquire.token,
        ShareRequest::AcquireRest(rest) => rest.token,
        ShareRequest::Acknowledge(acknowledge) => acknowledge.token,
        ShareRequest::List { token }
        | ShareRequest::Describe { token, .. }
        | ShareRequest::Delete { token, .. }
        | ShareRequest::Reset { token, .. } => *token,
        other => panic!("{other:?}"),
    }
}

pub fn is_answered(request: &Request) -> bool {
    !matches!(
        request,
        Request::CloseChannel { .. }
            | Request::Unwatch { .. }
            | Request::Share(ShareRequest::Settle(_) | ShareRequest::Leave { .. } | ShareRequest::End { .. })
    )
}

/// The answer of a shard that has record 7 of partition 4, and nothing else.
pub fn well_shared(request: &ShareRequest) -> Event {
    let reply = match request {
        ShareRequest::Join(_) => Reply::Joined(Ok(())),
        ShareRequest::Acquire(Acquire { max: 0, .. }) => Reply::Acquired(vec![]),
        ShareRequest::Acquire(_) => Reply::Acquired(vec![run(4, 7, 1)]),
        ShareRequest::AcquireRest(_) => Reply::Acquired(vec![]),
        ShareRequest::Acknowledge(acknowledge) => {
            Reply::Acknowledged(acknowledge.partitions.iter().map(|(id, _)| (*id, Ok(()))).collect())
        }
        ShareRequest::List { .. } => Reply::Listed(vec![Listed { group: "h".into(), has_members: false }]),
        ShareRequest::Describe { .. } => {
            Reply::Described(vec![(PartitionId(4), Described { start: 3, lag: 2 })])
        }
        ShareRequest::Delete { .. } | ShareRequest::Reset { .. } => Reply::Changed(Ok(())),
        other => panic!("{other:?}"),
    };
    Event::Share { token: token(request), reply }
}

fn run(partition: u32, first: u64, count: u64) -> Acquired {
    Acquired { partition: PartitionId(partition), first, count, redelivered: false, returns: 0 }
}

impl Bench {
    /// What is asked of share groups now, in order.
    pub fn shared(&mut self) -> Vec<ShareRequest> {
        let share = |(_, request)| match request {
            Request::Share(share) => share,
            other => panic!("{other:?}"),
        };
        self.sent().into_iter().map(share).collect()
    }

    pub fn reply(&mut self, request: &ShareRequest, reply: Reply) {
        self.event(Event::Share { token: token(request), reply });
    }

    /// Joins, and has the two shards answer the acquires.
    fn acquire(&mut self, runs: [Vec<Acquired>; 2]) {
        self.acquire_from(&runs);
    }

    /// As [`Bench::acquire`]; shards behind the last of `runs` are not asked any more.
    fn acquire_from(&mut self, runs: &[Vec<Acquired>]) {
        let joins = self.shared();
        for join in &joins {
            let ShareRequest::Join(Join { partitions, returns_max, .. }) = join else { panic!("{join:?}") };
            assert_eq!((partitions[0].1, *returns_max), (Start::Next, Some(4)));
            self.reply(join, Reply::Joined(Ok(())));
        }
        for runs in runs {
            let acquire = self.shared().remove(0);
            assert!(matches!(acquire, ShareRequest::Acquire(Acquire { max: 1.., wait: false, .. })));
            self.reply(&acquire, Reply::Acquired(runs.clone()));
        }
    }

    /// Of which a share session holds records 6 to 8 of partition 4.
    fn with_three() -> Bench {
        let mut bench = Bench::new();
        bench.send(2, &share_fetch(0));
        bench.acquire([vec![run(4, 6, 3)], vec![]]);
        let (_, fetch) = bench.sent().remove(0);
        bench.event(fetched(&fetch, &[(6, three())]));
        bench.shared_fetch().unwrap();
        bench
    }

    fn shared_fetch(&mut self) -> Option<ShareFetchResponse> {
        self.receive(2).map(|(_, response)| response)
    }
}

/// Three records.
fn three() -> Bytes {
    let mut batch = BatchBuilder::new(5);
    for _ in 0..3 {
        batch.append(None, Some(b"x"), &[], 5).unwrap();
    }
    batch.build().unwrap()
}

#[test]
fn whole_batches_come_with_what_was_acquired() {
    let mut bench = Bench::new();
    bench.send(2, &share_fetch(0));
    let again = Acquired { returns: 2, ..run(4, 11, 4) };
    bench.acquire([vec![run(4, 7, 1), again], vec![]]);
    let fetches = bench.sent();
    let [(_, fetch)] = &fetches[..] else { panic!("{fetches:?}") };
    bench.event(fetched(fetch, &[(6, three()), (12, three())]));
    let response = bench.shared_fetch().unwrap();
    assert_eq!((response.error_code, response.acquisition_lock_timeout_ms), (0, 30_000));
    let data = &response.responses[0].partitions[0];
    let acquired: Vec<_> =
        data.acquired_records.iter().map(|r| (r.first_offset, r.last_offset, r.delivery_count)).collect();
    assert_eq!(acquired, [(7, 7, 1), (12, 14, 3)]);
    assert_eq!(data.records.as_ref().unwrap().len(), 2 * three().len());
    // Record 11 does not exist.
    let settles = bench.shared();
    let [ShareRequest::Settle(settles)] = &settles[..] else { panic!("{settles:?}") };
    let gone: Vec<_> =
        settles.iter().map(|Settle { first, count, outcome, .. }| (*first, *count, *outcome)).collect();
    assert_eq!(gone, [(11, 1, Became::Accepted)]);
    // Who has joined need not again.
    bench.send(2, &ShareFetchRequest { topics: vec![], ..share_fetch(1) });
    assert!(matches!(bench.shared()[..], [ShareRequest::Acquire(_)]));
}

#[test]
fn the_last_batch_becomes_the_clients_as_a_whole() {
    let acquired = |response: &ShareFetchResponse| -> Vec<(i64, i64)> {
        let runs = &response.responses[0].partitions[0].acquired_records;
        runs.iter().map(|run| (run.first_offset, run.last_offset)).collect()
    };
    for (mode, batch_size) in [(0, 100), (0, 2), (1, 2)] {
        let mut bench = Bench::new();
        let request =
            ShareFetchRequest { max_records: 4, share_acquire_mode: mode, batch_size, ..share_fetch(0) };
        bench.send(2, &request);
        bench.acquire_from(&[vec![run(4, 6, 4)]]);
        let (_, fetch) = bench.sent().remove(0);
        bench.event(fetched(&fetch, &[(6, three()), (9, three()), (12, three())]));
        if mode == 1 {
            assert_eq!(acquired(&bench.shared_fetch().unwrap()), [(6, 9)], "no record more");
            continue;
        }
        let rest = bench.shared().remove(0);
        let ShareRequest::AcquireRest(AcquireRest { runs, .. }) = &rest else { panic!("{rest:?}") };
        assert_eq!(runs[..], [(PartitionId(4), 9, 3)], "of what is read beyond nothing is asked for");
        // Somebody else has 10.
        bench.reply(&rest, Reply::Acquired(vec![run(4, 11, 1)]));
        let told = acquired(&bench.shared_fetch().unwrap());
        match batch_size {
            2 => assert_eq!(told, [(6, 8), (9, 9), (11, 11)], "runs end with batches"),
            _ => assert_eq!(told, [(6, 9), (11, 11)]),
        }
        assert!(bench.shared().is_empty(), "nothing goes back");
    }
}

#[test]
fn what_does_not_fit_goes_back() {
    let mut bench = Bench::new();
    bench.send(2, &ShareFetchRequest { max_bytes: 100, ..share_fetch(0) });
    bench.acquire([vec![run(4, 6, 9)], vec![]]);
    let (_, fetch) = bench.sent().remove(0);
    bench.event(fetched(&fetch, &[(6, three()), (9, three())]));
    let response = bench.shared_fetch().unwrap();
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.acquired_records[0].last_offset, data.acquired_records.len()), (8, 1));
    assert_eq!(data.records.as_ref().unwrap().len(), three().len());
    let settles = bench.shared();
    let [ShareRequest::Settle(settles)] = &settles[..] else { panic!("{settles:?}") };
    assert_eq!((settles[0].first, settles[0].count, settles[0].outcome), (9, 6, Became::Untouched));
}

#[test]
fn an_empty_fetch_waits_until_there_is_something() {
    let mut bench = Bench::new();
    bench.send(2, &share_fetch(0));
    bench.acquire([vec![], vec![]]);
    let notices = bench.shared();
    assert!(notices.iter().all(|n| matches!(n, ShareRequest::Acquire(Acquire { max: 0, wait: true, .. }))));
    assert_eq!((notices.len(), bench.shared_fetch()), (2, None));
    assert_eq!(bench.session.deadline(), Some(bench.now.instant + Duration::from_millis(10)));
    bench.reply(&notices[1], Reply::Acquired(vec![]));
    let acquire = bench.shared().remove(0);
    assert_eq!(bench.session.deadline(), None, "what is acquired now must not be lost");
    bench.reply(&acquire, Reply::Acquired(vec![]));
    let acquire = bench.shared().remove(0);
    bench.reply(&acquire, Reply::Acquired(vec![]));
    bench.shared();
    bench.now.instant += Duration::from_millis(10);
    let now = bench.now;
    bench.session.expire(now);
    assert_eq!(bench.shared_fetch().unwrap().responses, []);
    bench.reply(&notices[0], Reply::Acquired(vec![]));
    assert!(bench.session.closed().is_none(), "a notice that comes too late is nothing");
}

#[test]
fn acknowledgements_are_answered_when_they_are_durable() {
    let mut bench = Bench::with_three();
    bench.send(2, &share_acknowledge(1, 6, 8, &[1, 2, 3]));
    let asked = bench.shared();
    let [ShareRequest::Acknowledge(acknowledge)] = &asked[..] else { panic!("{asked:?}") };
    let runs = [(6, 1, Became::Accepted), (7, 1, Became::Released), (8, 1, Became::Rejected)];
    assert_eq!(acknowledge.partitions, [(PartitionId(4), runs.to_vec())]);
    assert_eq!(bench.receive::<ShareAcknowledgeResponse>(2), None);
    let refused = vec![(PartitionId(4), Err(AcknowledgeError::NotHeld))];
    bench.reply(&asked[0], Reply::Acknowledged(refused));
    let (_, response) = bench.receive::<ShareAcknowledgeResponse>(2).unwrap();
    let error = response.responses[0].partitions[0].error_code;
    assert_eq!((response.error_code, error), (0, ErrorCode::InvalidRecordState.code()));
    // Along with a fetch.
    let mut request = share_fetch(2);
    request.topics[0].partitions[0].acknowledgement_batches =
        vec![share_fetch_request::AcknowledgementBatch {
            first_offset: 6,
            last_offset: 6,
            acknowledge_types: vec![4],
        }];
    bench.send(2, &request);
    let (renewed, asked) = (ErrorCode::InvalidRequest.code(), bench.shared());
    assert!(matches!(asked[..], [ShareRequest::Acquire(_)]), "a renewal has to be announced");
    bench.reply(&asked[0], Reply::Acquired(vec![]));
    let acquire = bench.shared().remove(0);
    bench.reply(&acquire, Reply::Acquired(vec![]));
    let response = bench.shared_fetch().expect("acknowledgements are not kept waiting");
    assert_eq!(response.responses[0].partitions[0].acknowledge_error_code, renewed);
    request.share_session_epoch = 3;
    request.is_renew_ack = true;
    bench.send(2, &request);
    let asked = bench.shared();
    let [ShareRequest::Acknowledge(acknowledge)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(acknowledge.partitions[0].1, [(6, 1, Became::Renewed)]);
    bench.event(well_shared(&asked[0]));
    assert_eq!(bench.shared_fetch().unwrap().responses[0].partitions[0].acknowledge_error_code, 0);
}

#[test]
fn sessions_open_go_on_and_close() {
    let mut bench = Bench::new();
    let code = |bench: &mut Bench| bench.shared_fetch().unwrap().error_code;
    bench.send(2, &share_fetch(1));
    assert_eq!(code(&mut bench), ErrorCode::ShareSessionNotFound.code());
    bench.send(2, &ShareFetchRequest { max_records: 0, ..share_fetch(0) });
    assert_eq!(code(&mut bench), 0);
    bench.send(2, &share_fetch(5));
    assert_eq!(code(&mut bench), ErrorCode::InvalidShareSessionEpoch.code());
    bench.send(2, &share_acknowledge(0, 1, 1, &[1]));
    let (_, response) = bench.receive::<ShareAcknowledgeResponse>(2).unwrap();
    assert_eq!(response.error_code, ErrorCode::InvalidShareSessionEpoch.code());
    for nameless in [
        ShareAcknowledgeRequest { member_id: Some(String::new()), ..share_acknowledge(1, 1, 1, &[1]) },
        ShareAcknowledgeRequest { group_id: Some(String::new()), ..share_acknowledge(1, 1, 1, &[1]) },
    ] {
        bench.send(2, &nameless);
        let (_, response) = bench.receive::<ShareAcknowledgeResponse>(2).unwrap();
        assert_eq!(response.error_code, ErrorCode::InvalidRequest.code());
    }
    // What is unknown is told, and forgotten when the client says so.
    let mut request = ShareFetchRequest { max_records: 0, ..share_fetch(1) };
    request.topics[0].topic_id = Uuid([99; 16]);
    bench.send(2, &request);
    let response = bench.shared_fetch().unwrap();
    let codes: Vec<i16> = response.responses[0].partitions.iter().map(|data| data.error_code).collect();
    assert_eq!(codes, [ErrorCode::UnknownTopicId.code(); 2]);
    let forgotten = share_fetch_request::ForgottenTopic { topic_id: Uuid([99; 16]), partitions: vec![0, 1] };
    bench.send(
        2,
        &ShareFetchRequest {
            max_records: 0,
            topics: vec![],
            forgotten_topics_data: vec![forgotten],
            ..share_fetch(2)
        },
    );
    assert_eq!(bench.shared_fetch().unwrap().responses, []);
    assert!(bench.sent().is_empty());
    bench.send(2, &ShareFetchRequest { topics: vec![], ..share_fetch(-1) });
    assert_eq!(code(&mut bench), 0);
    let closed = bench.sent();
    assert_eq!(closed.len(), usize::from(DATA_SHARDS));
    let ends = |request: &Request| match request {
        Request::Share(ShareRequest::End { session, consumer }) => (session.0, consumer.0) == (9, 1),
        other => panic!("{other:?}"),
    };
    assert!(closed.iter().all(|(_, request)| ends(request)));
    bench.send(2, &share_fetch(3));
    assert_eq!(code(&mut bench), ErrorCode::ShareSessionNotFound.code());
}

/// As franz-go does it, which keeps a connection for fetches alone.
#[test]
fn acknowledgements_may_come_over_another_connection() {
    let mut bench = Bench::with_three();
    let (broker, peer) = (bench.session.broker.clone(), bench.session.peer.clone());
    let other = Session::new(broker, peer, SessionId(10));
    let fetching = std::mem::replace(&mut bench.session, other);
    bench.send(2, &share_acknowledge(-1, 6, 8, &[1]));
    let mut asked = bench.shared();
    assert_eq!(asked.len(), 1 + usize::from(DATA_SHARDS), "the consumer ends behind it");
    let ShareRequest::Acknowledge(acknowledge) = &asked[0] else { panic!("{asked:?}") };
    assert_eq!((acknowledge.session, acknowledge.consumer), (SessionId(9), ConsumerId(1)));
    bench.event(well_shared(&asked.remove(0)));
    let (_, response) = bench.receive::<ShareAcknowledgeResponse>(2).unwrap();
    assert_eq!((response.error_code, response.responses[0].partitions[0].error_code), (0, 0));
    assert!(matches!(asked[0], ShareRequest::End { session: SessionId(9), consumer: ConsumerId(1) }));
    bench.session = fetching;
    bench.send(2, &share_fetch(1));
    assert_eq!(bench.shared_fetch().unwrap().error_code, ErrorCode::ShareSessionNotFound.code());
}

#[test]
fn a_partition_is_read_as_far_as_it_was_asked_for() {
    let mut bench = Bench::new();
    bench.send(2, &ShareFetchRequest { max_bytes: 4 << 20, ..share_fetch(0) });
    bench.acquire([vec![run(4, 7, 1)], vec![]]);
    let fetches = bench.sent();
    let [(_, Request::Fetch(fetch))] = &fetches[..] else { panic!("{fetches:?}") };
    assert_eq!((fetch.partitions[0].max_bytes, fetch.max_bytes, fetch.committed), (4 << 20, 4 << 20, false));
}

#[test]
fn deleting_a_consumer_group_leaves_a_share_group_of_the_name() {
    use bowline_model::group::{self, Error};
    use messages::{DeleteGroupsRequest, DeleteGroupsResponse};
    let mut bench = Bench::new();
    let names = vec!["consumers".to_owned(), "sharers".into(), "nobody".into()];
    bench.send(2, &DeleteGroupsRequest { groups_names: names });
    let asked = bench.sent();
    assert_eq!(asked.len(), 3);
    for ((_, request), result) in
        asked.iter().zip([Ok(()), Err(Error::GroupIdNotFound), Err(Error::GroupIdNotFound)])
    {
        let Request::Group { token, request: group::Request::Delete { .. } } = request else {
            panic!("{request:?}")
        };
        bench.event(Event::Group { token: *token, reply: group::Reply::Delete(result) });
    }
    let asked = bench.shared();
    assert_eq!(asked.len(), 4, "two shards for each that is no consumer group");
    for request in &asked {
        let ShareRequest::Delete { group, .. } = request else { panic!("{request:?}") };
        let result = match (group.as_str(), request) {
            ("sharers", _) => Ok(()),
            _ => Err(bowline_model::share::ChangeError::UnknownGroup),
        };
        bench.reply(request, Reply::Changed(result));
    }
    let (_, response) = bench.receive::<DeleteGroupsResponse>(2).unwrap();
    let codes: Vec<i16> = response.results.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [0, 0, ErrorCode::GroupIdNotFound.code()]);
}
