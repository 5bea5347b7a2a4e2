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
mod fetching;
mod groups;
mod login;
mod permissions;
mod producing;
mod protocol;
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
