//! The whole way over real sockets: clients made of the codec, a node on a directory that is thrown away.

use bowline_codec_kafka::frame::{decode_response_head, encode_request};
use bowline_codec_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use bowline_codec_kafka::messages::metadata_request::MetadataRequestTopic;
use bowline_codec_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use bowline_codec_kafka::messages::*;
use bowline_codec_kafka::records::{BatchBuilder, Batches};
use bowline_codec_kafka::{ApiKey, Reader, Request, Response};
use bowline_front_kafka::{Limits, Options};
use bowline_net::{Limit, Listener};
use bowline_replica::Engine;
use bytes::Bytes;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Long enough for any machine, short enough for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Served {
    port: u16,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    engine: Engine,
    _dir: tempfile::TempDir,
}

impl Served {
    async fn start(limits: Limits) -> Served {
        let dir = tempfile::tempdir().unwrap();
        let options = bowline_replica::Options {
            data_dir: dir.path().into(),
            shards: Some(2),
            cache_bytes: 8 << 20,
            transient_bytes: 8 << 20,
            segment_bytes: 16 << 20,
            disk_reserve_bytes: 0,
            relaxed_flush: true,
            accept_loss: false,
            num_partitions: 1,
            compaction_bytes: bowline_replica::compact::KEYS_BYTES,
            groups: Default::default(),
            started: Vec::new(),
        };
        let (node, engine) = bowline_replica::start(options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, shutdown) = watch::channel(false);
        let options = Options { limits, num_partitions: 2, ..Options::default() };
        let server = tokio::spawn(bowline_front_kafka::serve(
            Listener { socket: listener, tls: None },
            node,
            options,
            Limit::new(100),
            shutdown,
        ));
        Served { port, stop, server, engine, _dir: dir }
    }

    async fn client(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, correlation_id: 0 }
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        soon(self.server).await.unwrap();
        tokio::task::spawn_blocking(move || self.engine.stop()).await.unwrap().unwrap();
    }
}

struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    async fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let frame = encode_request(version, self.correlation_id, Some("test"), request).unwrap().concat();
        soon(self.stream.write_all(&frame)).await.unwrap();
    }

    async fn receive<R: Response>(&mut self, version: i16) -> (i32, R) {
        let size = soon(self.stream.read_u32()).await.unwrap();
        let mut frame = vec![0; size as usize];
        soon(self.stream.read_exact(&mut frame)).await.unwrap();
        let mut reader = Reader::new(Bytes::from(frame));
        let id = decode_response_head(&mut reader, ApiKey::from_i16(R::KEY).unwrap(), version).unwrap();
        let body = R::decode(&mut reader, version).unwrap();
        reader.expect_end().unwrap();
        (id, body)
    }

    async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request).await;
        self.receive(version).await.1
    }

    async fn create(&mut self, name: &str) {
        let topics = Some(vec![MetadataRequestTopic { name: Some(name.into()), ..Default::default() }]);
        let response = self.ask(12, &MetadataRequest { topics, ..Default::default() }).await;
        assert_eq!((response.topics[0].error_code, response.topics[0].partitions.len()), (0, 2));
    }

    /// The server has closed the connection: nothing more comes, by end or by reset.
    async fn is_closed(&mut self) {
        let mut rest = [0; 64];
        match soon(self.stream.read(&mut rest)).await {
            Ok(0) | Err(_) => {}
            Ok(n) => panic!("{:?} came instead", &rest[..n]),
        }
    }
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happens")
}

fn produce(topic: &str, partition: i32, value: &[u8]) -> ProduceRequest {
    let mut batch = BatchBuilder::new(1);
    batch.append(None, Some(value), &[], 1).unwrap();
    let data = PartitionProduceData { index: partition, records: Some(batch.build().unwrap().into()) };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() }
}

fn fetch(topic: &str, offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = |partition| FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic { topic: topic.into(), partitions: vec![partition(0)], ..Default::default() };
    FetchRequest { max_wait_ms, min_bytes: 1, max_bytes: 8 << 20, topics: vec![topic], ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_batches_come_back_in_order_and_whole() {
    let served = Served::start(Limits::default()).await;
    let mut client = served.client().await;
    client.create("t").await;
    for i in 0..200u32 {
        client.send(9, &produce("t", 0, &vec![i as u8; 1 + 37 * i as usize])).await;
    }
    for i in 0..200 {
        let (id, response) = client.receive::<ProduceResponse>(9).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((id, answer.error_code, answer.base_offset), (i + 2, 0, i64::from(i)));
    }
    let mut offset = 0;
    while offset < 200 {
        let response = client.ask(12, &fetch("t", offset, 0)).await;
        let records = response.responses[0].partitions[0].records.clone().unwrap().into_bytes();
        for batch in Batches::new(records) {
            let batch = batch.unwrap();
            bowline_codec_kafka::records::verify_batch(&batch.bytes).unwrap();
            assert_eq!(batch.header.base_offset, offset);
            offset += 1;
        }
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_wakes_and_holds_up_nobody() {
    let served = Served::start(Limits::default()).await;
    let (mut reader, mut writer) = (served.client().await, served.client().await);
    writer.create("t").await;
    let began = Instant::now();
    reader.send(12, &fetch("t", 0, 60_000)).await;
    // Behind the poll on the same connection: done at once, though answered after it.
    reader.send(9, &produce("t", 1, b"behind")).await;
    let mut other = fetch("t", 0, 60_000);
    other.topics[0].partitions[0].partition = 1;
    let response = writer.ask(12, &other).await;
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
    writer.ask(9, &produce("t", 0, b"woken")).await;
    let (_, response) = reader.receive::<FetchResponse>(12).await;
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
    reader.receive::<ProduceResponse>(9).await;
    assert!(began.elapsed() < Duration::from_secs(30));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_vandals_are_shown_out() {
    let served = Served::start(Limits::default()).await;
    let mut steady = served.client().await;
    steady.create("t").await;
    for noise in [
        &b"AMQP\0\0\x09\x01"[..],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\x04\0\x03\0\x01",
        // Metadata with two thousand million topics in ten bytes.
        b"\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff",
        // Flexible Metadata whose array length is a varint without end.
        b"\0\0\0\x13\0\x03\0\x0c\0\0\0\x01\xff\xff\0\xff\xff\xff\xff\xff\xff\xff\xff",
        // A version that was never offered.
        b"\0\0\0\x0a\0\x01\0\x63\0\0\0\x01\xff\xff",
    ] {
        let mut vandal = served.client().await;
        soon(vandal.stream.write_all(noise)).await.unwrap();
        vandal.is_closed().await;
    }
    assert_eq!(
        steady.ask(9, &produce("t", 0, b"still here")).await.responses[0].partition_responses[0].error_code,
        0
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_and_silence_both_end() {
    let limits =
        Limits { stall: Duration::from_millis(200), idle: Duration::from_millis(500), ..Limits::default() };
    let served = Served::start(limits).await;
    // A claim of 90 MiB, of which nothing comes.
    let mut claims = served.client().await;
    soon(claims.stream.write_all(&(90u32 << 20).to_be_bytes())).await.unwrap();
    claims.is_closed().await;
    let mut silent = served.client().await;
    silent.is_closed().await;
    // Waiting for records is not idling.
    let mut waiting = served.client().await;
    waiting.create("t").await;
    waiting.ask(12, &fetch("t", 0, 1500)).await;
    served.stop().await;
}

/// A client that asks and does not read stops being read itself; when it reads, everything is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_held_back() {
    let limits = Limits { unsent_bytes_max: 64 << 10, ..Limits::default() };
    let served = Served::start(limits).await;
    let mut client = served.client().await;
    client.create("t").await;
    client.ask(9, &produce("t", 0, &vec![7; 900_000])).await;
    let request = encode_request(12, 99, None, &fetch("t", 0, 0)).unwrap().concat();
    let mut sent = 0;
    // Requests of about 90 bytes: the kernel's buffers take some thousands before the server's reluctance is felt,
    // and answers to all of them would take gigabytes.
    while let Ok(result) =
        tokio::time::timeout(Duration::from_millis(500), client.stream.write_all(&request)).await
    {
        result.unwrap();
        sent += 1;
        assert!(sent < 1_000_000, "the server reads on and on");
        if sent >= 4000 {
            break;
        }
    }
    for _ in 0..50 {
        let (id, response) = client.receive::<FetchResponse>(12).await;
        assert_eq!((id, response.responses[0].partitions[0].error_code), (99, 0));
    }
    served.stop().await;
}

/// Requests beyond the budget for large ones wait for their turn, and get it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_take_turns() {
    let limits = Limits { large_requests_bytes_max: 3 << 20, ..Limits::default() };
    let served = Served::start(limits).await;
    let mut first = served.client().await;
    first.create("t").await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = served.client().await;
        clients.push(tokio::spawn(async move {
            for _ in 0..5 {
                // Two batches below the limit of one message, together a large request.
                let mut request = produce("t", 0, &vec![1; 1_000_000]);
                let second =
                    produce("t", 1, &vec![2; 1_000_000]).topic_data.remove(0).partition_data.remove(0);
                request.topic_data[0].partition_data.push(second);
                let response = client.ask(9, &request).await;
                let answers = &response.responses[0].partition_responses;
                assert!(answers.iter().all(|answer| answer.error_code == 0), "{answers:?}");
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(first.ask(12, &fetch("t", 19, 0)).await.responses[0].partitions[0].high_watermark, 20);
    served.stop().await;
}
