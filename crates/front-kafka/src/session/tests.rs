//! Sessions against shards that the test plays itself.

use super::*;
use crate::catalog::{AppendRules, Topic};
use bowline_codec_kafka::frame::{decode_response_head, encode_request};
use bowline_codec_kafka::message::Kind;
use bowline_codec_kafka::messages::{self, catalog};
use bowline_codec_kafka::records::BatchBuilder;
use bowline_codec_kafka::{ErrorCode, Request as WireRequest, Response as WireResponse, Uuid};
use bowline_model::event::{AppendResult, Appended, BatchSlice, Failure, Fetched, FetchedPartition};
use bowline_model::meta::{Command, ConfigKind, Outcome};
use bowline_model::{Block, Lsn, PartitionId, SessionId, TopicId};
use bowline_topology::Topology;
use bowline_topology::config::Defaults;
use messages::fetch_request::{FetchPartition, FetchTopic};
use messages::metadata_request::MetadataRequestTopic;
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod access;
mod administration;
mod every_version;
mod login;
mod permissions;
mod sharing;
mod telemetry;
mod transactions;

const DATA_SHARDS: u16 = 2;

#[derive(Default)]
struct Topics {
    version: u64,
    topics: Vec<Arc<Topic>>,
    /// Users, access rules and quotas.
    topology: Option<Topology>,
}

#[derive(Clone, Default)]
struct FakeCatalog(Arc<Mutex<Topics>>);

impl Topics {
    fn topology(&mut self) -> &mut Topology {
        self.topology.get_or_insert_with(|| Topology::new(DATA_SHARDS, Defaults::default()))
    }
}

impl FakeCatalog {
    /// As the meta shard does.
    fn apply(&self, command: &Command) {
        let mut inner = self.0.lock().unwrap();
        inner.version += 1;
        inner.topology().apply(0, command).unwrap();
    }

    /// `first` is the id of partition 0; the others follow.
    fn add(&self, name: &str, partitions: u32, first: u32, rules: AppendRules) {
        let mut inner = self.0.lock().unwrap();
        inner.version += 1;
        inner.topics.push(Arc::new(Topic {
            name: name.into(),
            id: TopicId([first as u8; 16]),
            partitions: (first..first + partitions).map(PartitionId).collect(),
            compacts_only: rules.keyed,
            rules,
            explicit: Vec::new(),
        }));
    }
}

impl Catalog for FakeCatalog {
    fn version(&self) -> u64 {
        self.0.lock().unwrap().version
    }
    fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.0.lock().unwrap().topics.iter().find(|topic| topic.name == name).cloned()
    }
    fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.0.lock().unwrap().topics.iter().find(|topic| topic.id == id).cloned()
    }
    fn topics(&self) -> Vec<Arc<Topic>> {
        self.0.lock().unwrap().topics.clone()
    }
    fn defaults(&self) -> Defaults {
        Defaults::default()
    }
    fn configs(&self, kind: ConfigKind, name: &str) -> Vec<(String, String)> {
        self.0.lock().unwrap().topology().configs(kind, name).to_vec()
    }
    fn configured(&self, kind: ConfigKind) -> Vec<String> {
        if kind == ConfigKind::Group {
            return vec!["g".into()];
        }
        self.0.lock().unwrap().topology().configured(kind).map(|(name, _)| name.to_owned()).collect()
    }
    fn meta_index(&self) -> u64 {
        41
    }
    fn volume(&self) -> Option<(u64, u64)> {
        Some((1000, 300))
    }

    fn look(&self, at: &mut dyn FnMut(&Topology)) {
        at(self.0.lock().unwrap().topology());
    }
}

/// A client on the same machine.
fn near() -> Peer {
    Peer {
        client_host: "/127.0.0.1".into(),
        port: 40_123,
        is_loopback: true,
        advertised: ("127.0.0.1".into(), 9092),
        certified: None,
    }
}

/// A clock that goes on by as much as each look at it takes.
#[derive(Clone)]
struct Ticking(Arc<Mutex<(Instant, Duration, u32)>>);

impl Ticking {
    fn look(&self) -> Instant {
        let mut inner = self.0.lock().unwrap();
        let (at, each, looks) = *inner;
        *inner = (at + each, each, looks + 1);
        at
    }

    fn looks(&self) -> u32 {
        self.0.lock().unwrap().2
    }

    fn set(&self, at: Instant, each: Duration) {
        let mut inner = self.0.lock().unwrap();
        (inner.0, inner.1) = (at, each);
    }
}

struct Bench {
    session: Session,
    clock: Ticking,
    catalog: FakeCatalog,
    now: Now,
    correlation_id: i32,
    output: Vec<u8>,
}

impl Bench {
    /// With topic `t` of two partitions, ids 4 (shard 1) and 5 (shard 2).
    fn new() -> Bench {
        Bench::with(near(), Options::default())
    }

    fn with(peer: Peer, options: Options) -> Bench {
        let catalog = FakeCatalog::default();
        catalog.add("t", 2, 4, AppendRules::default());
        let now = Now { instant: Instant::now(), millis: 1_700_000_000_000 };
        let clock = Ticking(Arc::new(Mutex::new((now.instant, Duration::ZERO, 0))));
        let looked_at = clock.clone();
        let broker = Broker {
            options,
            cluster_id: "cluster".into(),
            data_shards: DATA_SHARDS,
            catalog: Box::new(catalog.clone()),
            fetch_sessions: FetchSessions::default(),
            accounts: Box::new(login::Ann),
            clock: Box::new(move || looked_at.look()),
        };
        let session = Session::new(Arc::new(broker), peer, SessionId(9));
        Bench { session, clock, catalog, now, correlation_id: 0, output: Vec::new() }
    }

    fn send<R: WireRequest>(&mut self, version: i16, request: &R) -> i32 {
        self.correlation_id += 1;
        let frame = encode_request(version, self.correlation_id, Some("test"), request).unwrap().concat();
        self.session.frame(frame[4..].to_vec().into(), self.now);
        self.correlation_id
    }

    fn sent(&mut self) -> Vec<(ShardId, Request)> {
        std::mem::take(&mut self.session.outgoing().requests)
    }

    fn asked_meta(&mut self) -> Vec<(Token, MetaRequest)> {
        std::mem::take(&mut self.session.outgoing().meta)
    }

    fn event(&mut self, event: Event) {
        self.session.event(event, self.now);
    }

    /// The next response frame, without its size.
    fn frame(&mut self) -> Option<Bytes> {
        let mut segments = VecDeque::new();
        let bytes = self.session.take_ready(&mut segments);
        let before = self.output.len();
        segments.iter().for_each(|segment| self.output.extend_from_slice(segment));
        assert_eq!(self.output.len() - before, bytes);
        if self.output.is_empty() {
            return None;
        }
        let size = u32::from_be_bytes(self.output[..4].try_into().unwrap()) as usize;
        let frame = self.output[4..4 + size].to_vec();
        self.output.drain(..4 + size);
        Some(frame.into())
    }

    fn receive<R: WireResponse>(&mut self, version: i16) -> Option<(i32, R)> {
        let mut reader = Reader::new(self.frame()?);
        let api = ApiKey::from_i16(R::KEY).unwrap();
        let correlation_id = decode_response_head(&mut reader, api, version).unwrap();
        let body = R::decode(&mut reader, version).unwrap();
        reader.expect_end().unwrap();
        Some((correlation_id, body))
    }

    fn produced(
        &mut self,
        version: i16,
    ) -> Option<(i32, messages::produce_response::PartitionProduceResponse)> {
        let (id, response) = self.receive::<messages::ProduceResponse>(version)?;
        Some((id, response.responses[0].partition_responses[0].clone()))
    }
}

fn batch(value: &[u8], timestamp: i64) -> Bytes {
    let mut batch = BatchBuilder::new(timestamp);
    batch.append(None, Some(value), &[], timestamp).unwrap();
    batch.build().unwrap()
}

fn produce(partition: i32, acks: i16, batch: Bytes) -> messages::ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(batch.into()) };
    messages::ProduceRequest {
        acks,
        topic_data: vec![TopicProduceData {
            name: "t".into(),
            partition_data: vec![data],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn good(partition: i32) -> messages::ProduceRequest {
    produce(partition, -1, batch(b"hello", 1_700_000_000_000))
}

fn fetch(max_wait_ms: i32, min_bytes: i32) -> messages::FetchRequest {
    let partition = |partition| FetchPartition {
        partition,
        fetch_offset: 7,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    messages::FetchRequest {
        max_wait_ms,
        min_bytes,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: vec![partition(0), partition(1)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn appended(request: &Request, base_offset: u64) -> Event {
    let Request::Propose(propose) = request else { panic!("{request:?}") };
    let result = Ok(Appended { base_offset, log_start: 0 });
    let one = AppendResult { partition: PartitionId(4), result };
    Event::Appended { token: propose.token, results: vec![one; propose.count as usize] }
}

fn fetched(request: &Request, batches: &[(u64, Bytes)]) -> Event {
    let Request::Fetch(fetch) = request else { panic!("{request:?}") };
    let end = batches.last().map_or(7, |(base, _)| base + 1);
    let slice = |(base_offset, bytes): &(u64, Bytes)| {
        let block = Block {
            lsn: Lsn::new(0, 0),
            shard: ShardId(1),
            term: 1,
            index: 1,
            stamp: 0,
            payload: [b"head", &bytes[..]].concat().into(),
        };
        BatchSlice {
            block: Arc::new(block),
            offset: 4,
            len: bytes.len() as u32,
            base_offset: *base_offset,
            flags: 0,
        }
    };
    let found = |partition| FetchedPartition {
        partition,
        result: Ok(Fetched {
            high_watermark: end,
            last_stable: end,
            log_start: 0,
            batches: batches.iter().map(slice).collect(),
            aborted: Vec::new(),
        }),
    };
    Event::Fetched {
        token: fetch.token,
        partitions: fetch.partitions.iter().map(|p| found(p.partition)).collect(),
    }
}

fn token(request: &Request) -> Token {
    match request {
        Request::Propose(propose) => propose.token,
        Request::Txn { token, .. } | Request::TxnOffsets { token, .. } | Request::Producers { token, .. } => {
            *token
        }
        Request::Fetch(fetch) => fetch.token,
        Request::Watch { token, .. }
        | Request::Unwatch { token }
        | Request::ListOffsets { token, .. }
        | Request::Trim { token, .. }
        | Request::PartitionInfo { token, .. }
        | Request::Group { token, .. } => *token,
        Request::Share(share) => sharing::token(share),
        other => panic!("{other:?}"),
    }
}

#[test]
fn produce_requests_overlap_and_are_answered_in_order() {
    let mut bench = Bench::new();
    let first = bench.send(9, &good(0));
    let second = bench.send(9, &good(1));
    let third = bench.send(7, &good(0));
    let sent = bench.sent();
    assert_eq!(sent.iter().map(|(shard, _)| shard.0).collect::<Vec<_>>(), [1, 2, 1]);
    let unanswered = bench.session.unanswered_bytes();
    bench.event(appended(&sent[1].1, 20));
    assert!(bench.frame().is_none(), "the first is not done");
    bench.event(appended(&sent[0].1, 10));
    let (id, answer) = bench.produced(9).unwrap();
    assert_eq!((id, answer.base_offset, answer.error_code), (first, 10, 0));
    let (id, answer) = bench.produced(9).unwrap();
    assert_eq!((id, answer.base_offset), (second, 20));
    bench.event(Event::Failed { token: token(&sent[2].1), reason: Failure::DiskFull });
    let (id, answer) = bench.produced(7).unwrap();
    assert_eq!((id, answer.error_code, answer.base_offset), (third, ErrorCode::KafkaStorageError.code(), -1));
    assert!(unanswered > 0 && bench.session.unanswered_bytes() == 0);
}

#[test]
fn the_appended_record_is_the_producers_batch() {
    let mut bench = Bench::new();
    let sent_batch = batch(b"payload", 1_700_000_000_000);
    bench.send(13, &{
        let mut request = produce(1, 1, sent_batch.clone());
        request.topic_data[0].topic_id = Uuid([4; 16]);
        request
    });
    let sent = bench.sent();
    let Request::Propose(propose) = &sent[0].1 else { panic!() };
    let record = bowline_model::record::iter(&propose.records).next().unwrap().unwrap();
    let append = bowline_model::record::Append::decode(record.body).unwrap();
    assert_eq!((append.partition, append.flags, append.batch), (5, 0, &sent_batch[..]));
}

#[test]
fn acks_0_has_no_response_and_closes_on_failure() {
    let mut bench = Bench::new();
    bench.send(9, &produce(0, 0, batch(b"a", 1)));
    let after = bench.send(9, &good(0));
    let sent = bench.sent();
    bench.event(appended(&sent[0].1, 0));
    bench.event(appended(&sent[1].1, 1));
    assert_eq!(bench.produced(9).unwrap().0, after);
    assert!(bench.session.closed().is_none());
    bench.send(9, &produce(9, 0, batch(b"a", 1)));
    assert!(matches!(bench.session.closed(), Some(Closed::UnacknowledgedFailure)));
    assert!(bench.frame().is_none());
}

#[test]
fn bad_batches_get_their_codes_and_are_not_sent() {
    let now = 1_700_000_000_000;
    let whole = batch(b"hello", now);
    let mut damaged = whole.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut old_magic = whole.to_vec();
    old_magic[16] = 1;
    let mut transactional = BatchBuilder::new(now).producer(1, 0, 0).transactional();
    transactional.append(None, Some(b"x"), &[], now).unwrap();
    let mut control = BatchBuilder::new(now).producer(1, 0, 0).control();
    control.append(None, Some(b"x"), &[], now).unwrap();
    let cases = [
        (damaged.into(), ErrorCode::CorruptMessage),
        (old_magic.into(), ErrorCode::InvalidRecord),
        (Bytes::new(), ErrorCode::InvalidRecord),
        ([&whole[..], &whole[..]].concat().into(), ErrorCode::InvalidRecord),
        (whole.slice(..40), ErrorCode::InvalidRecord),
        (transactional.build().unwrap(), ErrorCode::TransactionalIdAuthorizationFailed),
        (control.build().unwrap(), ErrorCode::InvalidRecord),
        (batch(&vec![0; 1_100_000], now), ErrorCode::MessageTooLarge),
        (batch(b"x", now + 3_700_000), ErrorCode::InvalidTimestamp),
    ];
    let mut bench = Bench::new();
    for (bytes, expected) in cases {
        bench.send(9, &produce(0, -1, bytes));
        let (_, answer) = bench.produced(9).unwrap();
        assert_eq!(ErrorCode::from_i16(answer.error_code), Some(expected));
        assert_eq!((answer.base_offset, bench.sent().len()), (-1, 0));
        if expected == ErrorCode::InvalidTimestamp {
            assert_eq!(answer.record_errors.len(), 1);
        }
    }
    bench.send(9, &produce(0, 2, whole.clone()));
    assert_eq!(bench.produced(9).unwrap().1.error_code, ErrorCode::InvalidRequiredAcks.code());
}

#[test]
fn a_transaction_joins_partitions_once_and_batches_do_not_overtake() {
    let mut bench = Bench::new();
    let now = 1_700_000_000_000;
    let request = |sequence| {
        let mut batch = BatchBuilder::new(now).producer(7, 3, sequence).transactional();
        batch.append(None, Some(b"x"), &[], now).unwrap();
        let mut request = produce(0, -1, batch.build().unwrap());
        request.transactional_id = Some("tx".into());
        request
    };
    // Older versions have said so to the coordinator; the partition knows.
    bench.send(11, &request(0));
    assert!(matches!(&bench.sent()[..], [(_, Request::Propose(_))]));
    let mut bench = Bench::new();
    bench.send(12, &request(0));
    bench.send(12, &request(1));
    let asked = bench.sent();
    assert!(asked.iter().all(|(_, request)| matches!(request, Request::Txn { .. })), "{asked:?}");
    let joined = |request: &Request| {
        let reply = bowline_model::txn::Reply::Added(Ok(()));
        Event::Txn { token: token(request), reply }
    };
    bench.event(joined(&asked[0].1));
    // The second still waits, so the third has to.
    bench.send(12, &request(2));
    let sent = bench.sent();
    assert!(matches!(&sent[..], [(_, Request::Propose(_)), (_, Request::Txn { .. })]), "{sent:?}");
    bench.event(joined(&asked[1].1));
    bench.event(joined(&sent[1].1));
    bench.send(12, &request(3));
    let sent = bench.sent();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|(_, request)| matches!(request, Request::Propose(_))), "known by now: {sent:?}");
    // Another epoch is another transaction.
    let mut batch = BatchBuilder::new(now).producer(7, 4, 0).transactional();
    batch.append(None, Some(b"x"), &[], now).unwrap();
    let mut request = produce(0, -1, batch.build().unwrap());
    request.transactional_id = Some("tx".into());
    bench.send(12, &request);
    let sent = bench.sent();
    let [(_, ask @ Request::Txn { .. })] = &sent[..] else { panic!("{sent:?}") };
    let fenced = bowline_model::txn::Reply::Added(Err(bowline_model::txn::Error::ProducerFenced));
    bench.event(Event::Txn { token: token(ask), reply: fenced });
    assert!(bench.sent().is_empty());
}

#[test]
fn log_append_time_is_stamped_and_told() {
    let mut bench = Bench::new();
    bench.catalog.add("stamped", 1, 8, AppendRules { log_append_time: true, ..Default::default() });
    let mut request = good(0);
    request.topic_data[0].name = "stamped".into();
    bench.send(9, &request);
    let sent = bench.sent();
    let Request::Propose(propose) = &sent[0].1 else { panic!() };
    let record = bowline_model::record::iter(&propose.records).next().unwrap().unwrap();
    let append = bowline_model::record::Append::decode(record.body).unwrap();
    let header = bowline_codec_kafka::records::verify_batch(append.batch).unwrap();
    assert_eq!(header.max_timestamp, bench.now.millis);
    assert_eq!(header.timestamp_type(), bowline_codec_kafka::records::TimestampType::LogAppendTime);
    bench.event(appended(&sent[0].1, 0));
    assert_eq!(bench.produced(9).unwrap().1.log_append_time_ms, bench.now.millis);
}

#[test]
fn what_a_batch_says_of_its_youngest_record_is_true_in_the_log() {
    use bowline_codec_kafka::records::{set_max_timestamp, verify_batch};
    let mut bench = Bench::new();
    let time = bench.now.millis - 1_000;
    for told in [5, i64::MAX, time] {
        let mut batch = batch(b"x", time).to_vec();
        set_max_timestamp(&mut batch, told).unwrap();
        bench.send(9, &produce(0, -1, batch.into()));
        let sent = bench.sent();
        let Request::Propose(propose) = &sent[0].1 else { panic!() };
        let record = bowline_model::record::iter(&propose.records).next().unwrap().unwrap();
        let append = bowline_model::record::Append::decode(record.body).unwrap();
        assert_eq!(verify_batch(append.batch).unwrap().max_timestamp, time, "{told}");
    }
}

/// A batch of three records, the second without a key, to the topic that follows these rules.
fn to_topic(bench: &mut Bench, rules: AppendRules, acks: i16, second_key: Option<&[u8]>) {
    bench.catalog.add("special", 1, 8, rules);
    let now = bench.now.millis;
    let mut builder = BatchBuilder::new(now);
    for key in [Some(&b"k"[..]), second_key, Some(b"k")] {
        builder.append(key, Some(&[b'v'; 500]), &[], now).unwrap();
    }
    let mut request = produce(0, acks, builder.build().unwrap());
    request.topic_data[0].name = "special".into();
    bench.send(9, &request);
}

#[test]
fn a_compacted_topic_wants_keys() {
    let mut bench = Bench::new();
    let rules = AppendRules { keyed: true, ..Default::default() };
    to_topic(&mut bench, rules.clone(), -1, None);
    let (_, answer) = bench.produced(9).unwrap();
    assert_eq!(answer.error_code, ErrorCode::InvalidRecord.code());
    assert!(answer.error_message.is_some());
    assert_eq!(answer.record_errors.iter().map(|e| e.batch_index).collect::<Vec<_>>(), [1]);
    assert_eq!(bench.sent().len(), 0);
    to_topic(&mut bench, rules, -1, Some(b"k"));
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn batches_are_compressed_as_the_topic_says() {
    use bowline_codec_kafka::records::{Batch, Compression, RecordIter, verify_batch};
    use bowline_topology::config::Recompression;
    for (compression, expected) in [
        (Recompression::Producer, Compression::None),
        (Recompression::Uncompressed, Compression::None),
        (Recompression::Gzip(Some(9)), Compression::Gzip),
        (Recompression::Snappy, Compression::Snappy),
        (Recompression::Lz4, Compression::Lz4),
        (Recompression::Zstd(Some(-5)), Compression::Zstd),
    ] {
        let mut bench = Bench::new();
        to_topic(&mut bench, AppendRules { compression, ..Default::default() }, -1, None);
        let sent = bench.sent();
        let Request::Propose(propose) = &sent[0].1 else { panic!() };
        let record = bowline_model::record::iter(&propose.records).next().unwrap().unwrap();
        let append = bowline_model::record::Append::decode(record.body).unwrap();
        let header = verify_batch(append.batch).unwrap();
        assert_eq!(header.compression().unwrap(), expected);
        let body = Batch { header, bytes: append.batch.to_vec().into() }.records(1 << 20).unwrap();
        let values = RecordIter::new(&body, 3).map(|record| record.unwrap().value.unwrap().len());
        assert_eq!(values.collect::<Vec<_>>(), [500; 3]);
    }
}

#[test]
fn acks_all_asks_for_replicas_that_are_not_there() {
    let mut bench = Bench::new();
    let rules = AppendRules { in_sync_min: 2, ..Default::default() };
    to_topic(&mut bench, rules.clone(), -1, None);
    assert_eq!(bench.produced(9).unwrap().1.error_code, ErrorCode::NotEnoughReplicas.code());
    assert_eq!(bench.sent().len(), 0);
    to_topic(&mut bench, rules, 1, None);
    assert_eq!(bench.sent().len(), 1);
}

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

#[test]
fn metadata_creates_a_topic_and_answers_with_it() {
    let mut bench = Bench::new();
    let named = |name: &str| MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let request = messages::MetadataRequest {
        topics: Some(vec![named("new"), named("t"), named("bad name"), named("new")]),
        ..Default::default()
    };
    bench.send(9, &request);
    let asked = bench.asked_meta();
    let [(token, MetaRequest::Propose(Command::TopicCreate(spec)))] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((spec.name.as_str(), spec.vhost.as_str(), spec.partitions), ("new", "/", 1));
    assert!(bench.frame().is_none());
    bench.catalog.add("new", 1, 8, AppendRules::default());
    let outcome = Outcome::Topic { id: spec.id, partitions: vec![PartitionId(8)] };
    bench.event(Event::Meta { token: *token, result: Ok(outcome) });
    let (_, response) = bench.receive::<messages::MetadataResponse>(9).unwrap();
    let codes: Vec<_> = response.topics.iter().map(|t| (t.error_code, t.partitions.len())).collect();
    assert_eq!(codes, [(0, 1), (0, 2), (17, 0)], "what is named twice is told once");
    assert_eq!(response.brokers[0].port, 9092);
    // Not allowed by the client.
    let request = messages::MetadataRequest {
        topics: Some(vec![named("other")]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    bench.send(9, &request);
    assert_eq!(bench.receive::<messages::MetadataResponse>(9).unwrap().1.topics[0].error_code, 3);
    // Null asks for all, empty for none; in version 0 empty asks for all.
    for (version, topics, count) in [(1, None, 2), (1, Some(vec![]), 0), (0, Some(vec![]), 2)] {
        bench.send(version, &messages::MetadataRequest { topics, ..Default::default() });
        let (_, response) = bench.receive::<messages::MetadataResponse>(version).unwrap();
        assert_eq!(response.topics.len(), count, "v{version}");
    }
}

/// The bytes of a librdkafka 2.x ApiVersions v3 request, and the answer's fixed part.
#[test]
fn negotiation_as_clients_send_it() {
    let mut bench = Bench::new();
    let golden = b"\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0\x0blibrdkafka\x062.5.3\0";
    bench.session.frame(Bytes::from_static(golden), bench.now);
    let answer = bench.frame().unwrap();
    // Correlation id, no header tags, no error, rows + 1.
    assert_eq!(answer[..7], [0, 0, 0, 1, 0, 0, versions::SERVED.len() as u8 + 1]);
    // Produce 0-13.
    assert_eq!(answer[7..14], [0, 0, 0, 0, 0, 13, 0]);
    // Features that are in force, by which clients choose: whether transactions are of the second kind, for one.
    let told = messages::ApiVersionsResponse::decode(&mut Reader::new(answer.slice(4..)), 3).unwrap();
    let told =
        told.finalized_features.iter().map(|feature| (feature.name.as_str(), feature.max_version_level));
    let on = crate::features::FEATURES.iter().filter(|feature| feature.level > 0);
    assert_eq!(told.collect::<Vec<_>>(), on.map(|feature| (feature.name, feature.level)).collect::<Vec<_>>());

    // kafka-python and others begin with version 0.
    bench.session.frame(Bytes::from_static(b"\0\x12\0\0\0\0\0\x02\0\x01c"), bench.now);
    let answer = bench.frame().unwrap();
    assert_eq!(answer[..10], [0, 0, 0, 2, 0, 0, 0, 0, 0, versions::SERVED.len() as u8]);

    // From the future: version 0 of the answer, error 35, the one row that matters (KIP-511). The body is not read.
    bench.session.frame(Bytes::from_static(b"\0\x12\0\x63\0\0\0\x03\xff\xff\0anything"), bench.now);
    assert_eq!(bench.frame().unwrap()[..], [0, 0, 0, 3, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);

    let request = messages::ApiVersionsRequest {
        client_software_name: "-bad-".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    bench.send(4, &request);
    let (_, response) = bench.receive::<messages::ApiVersionsResponse>(4).unwrap();
    assert_eq!((response.error_code, response.api_keys.len()), (ErrorCode::InvalidRequest.code(), 0));
    assert!(bench.session.closed().is_none());
}

#[test]
fn what_is_not_served_closes() {
    for frame in [
        // Produce v2, Fetch v3, an API that nobody knows, SaslHandshake v2, and no header at all.
        &b"\0\0\0\x02\0\0\0\x01\xff\xff"[..],
        b"\0\x01\0\x03\0\0\0\x01\xff\xff",
        b"\x01\xf4\0\0\0\0\0\x01\xff\xff",
        b"\0\x11\0\x02\0\0\0\x01\xff\xff\0\x05PLAIN",
        b"",
        b"\0\x03",
    ] {
        let mut bench = Bench::new();
        bench.session.frame(Bytes::copy_from_slice(frame), bench.now);
        assert!(bench.session.closed().is_some() && bench.frame().is_none(), "{frame:?}");
    }
}

/// What is ready before a bad request still leaves, and nothing after it.
#[test]
fn a_malformed_request_ends_the_connection_behind_its_predecessors() {
    let mut bench = Bench::new();
    let before = bench.send(0, &messages::ApiVersionsRequest::default());
    bench.session.frame(Bytes::from_static(b"\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff"), bench.now);
    assert!(matches!(bench.session.closed(), Some(Closed::Malformed { api: ApiKey::Metadata, .. })));
    bench.send(0, &messages::ApiVersionsRequest::default());
    assert_eq!(bench.receive::<messages::ApiVersionsResponse>(0).unwrap().0, before);
    assert!(bench.frame().is_none());
}

/// Stopping: what was produced is answered, what waits is not, and then it is over.
#[test]
fn a_stopping_node_answers_producers_first() {
    let mut bench = Bench::new();
    bench.send(9, &good(0));
    let sent = bench.sent();
    bench.event(Event::Shutdown);
    assert!(bench.session.closed().is_none());
    bench.event(appended(&sent[0].1, 1));
    assert!(bench.produced(9).is_some());
    assert!(matches!(bench.session.closed(), Some(Closed::Stopping)));
}

/// Damaged requests of every API: whatever comes of them, no panic, and no request of the node's that is out of bounds.
#[test]
fn damage_never_panics() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut originals: Vec<Vec<u8>> = Vec::new();
    for (api, offered) in versions::SERVED {
        for version in [*offered.end(), (*offered.start()).max(*api.versions().start())] {
            let codec =
                catalog::ALL.iter().find(|c| c.kind == Kind::Request && c.key == Some(*api as i16)).unwrap();
            let mut frame = (*api as i16).to_be_bytes().to_vec();
            frame.extend(version.to_be_bytes());
            frame.extend([0, 0, 0, 1, 0xff, 0xff]);
            if api.request_header_version(version) == 2 {
                frame.push(0);
            }
            frame.extend_from_slice(&codec.encode_default(version).unwrap());
            originals.push(frame);
        }
    }
    originals.push(encode_request(9, 1, None, &good(0)).unwrap().concat()[4..].to_vec());
    originals.push(encode_request(12, 1, None, &fetch(500, 1)).unwrap().concat()[4..].to_vec());
    for _ in 0..20_000 {
        let mut bench = Bench::new();
        let mut frame = originals[random() as usize % originals.len()].clone();
        for _ in 0..1 + random() % 4 {
            let at = (random() as usize) % frame.len();
            match random() % 4 {
                0 => frame.truncate(at.max(8)),
                1 => frame[at] = random() as u8,
                2 => frame.insert(at, random() as u8),
                _ => frame[at] ^= 1 << (random() % 8),
            }
        }
        bench.session.frame(frame.into(), bench.now);
        for (shard, request) in bench.sent() {
            assert!((1..=DATA_SHARDS).contains(&shard.0));
            if !matches!(request, Request::Unwatch { .. }) {
                bench.event(Event::Failed { token: token(&request), reason: Failure::Stopping });
            }
        }
        for (token, _) in bench.asked_meta() {
            bench.event(Event::Failed { token, reason: Failure::Stopping });
        }
        bench.now.instant += Duration::from_secs(1 << 22);
        bench.session.expire(bench.now);
        while bench.frame().is_some() {}
    }
}

/// KIP-814: what a static leader that came back hears goes by what its version can say.
#[test]
fn a_returning_leader_does_not_assign_anew() {
    use bowline_model::group::{Joined, Reply};
    for version in [5, 8, 9] {
        let mut bench = Bench::new();
        let request = messages::JoinGroupRequest { group_id: "g".into(), ..Default::default() };
        bench.send(version, &request);
        let (_, request) = bench.sent().remove(0);
        let joined = Joined {
            generation: 4,
            protocol_type: "consumer".into(),
            protocol_name: "range".into(),
            leader: "new".into(),
            member_id: "new".into(),
            members: vec![("new".into(), Some("i".into()), Bytes::new())],
            led_as: Some("old".into()),
        };
        bench.event(Event::Group { token: token(&request), reply: Reply::Join(Ok(joined)) });
        let (_, answer) = bench.receive::<messages::JoinGroupResponse>(version).unwrap();
        let told = (answer.leader.as_str(), answer.members.len(), answer.skip_assignment);
        assert_eq!(told, if version < 9 { ("old", 0, false) } else { ("new", 1, true) });
    }
}
