//! The Kafka client half against a server that follows a script.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bowline_client::Error;
use bowline_client::kafka::Connection;
use bowline_client::kafka::codec::api_key::ApiKey;
use bowline_client::kafka::codec::frame::{RequestHead, encode_response};
use bowline_client::kafka::codec::messages::api_versions_response::ApiVersion;
use bowline_client::kafka::codec::messages::{
    ApiVersionsResponse, FetchRequest, FetchResponse, HeartbeatRequest, HeartbeatResponse, MetadataRequest,
};
use bowline_client::kafka::codec::{Reader, Response};

const WAIT: Duration = Duration::from_secs(10);
const UNSUPPORTED_VERSION: i16 = 35;

struct Peer(TcpStream);

impl Peer {
    fn receive(&mut self) -> RequestHead {
        let mut size = [0; 4];
        self.0.read_exact(&mut size).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.0.read_exact(&mut frame).unwrap();
        RequestHead::decode(&mut Reader::new(frame.into())).unwrap()
    }

    fn answer<R: Response>(&mut self, head: &RequestHead, version: i16, response: &R) {
        let bytes = encode_response(version, head.correlation_id, response).unwrap().concat();
        // In two pieces, so that the client sees a frame that is cut.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.0.write_all(first).unwrap();
        self.0.write_all(second).unwrap();
    }
}

fn versions(rows: &[(ApiKey, i16, i16)]) -> ApiVersionsResponse {
    let api_keys = rows
        .iter()
        .map(|(api, first, last)| ApiVersion {
            api_key: *api as i16,
            min_version: *first,
            max_version: *last,
        })
        .collect();
    ApiVersionsResponse { api_keys, ..Default::default() }
}

fn serve(script: impl FnOnce(&mut Peer) + Send + 'static) -> (Result<Connection, Error>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || script(&mut Peer(listener.accept().unwrap().0)));
    (Connection::open(&address, "test", WAIT), server)
}

#[test]
fn an_old_broker_is_asked_again() {
    let (connection, server) = serve(|peer| {
        let head = peer.receive();
        assert_eq!((head.api, head.version), (ApiKey::ApiVersions, 3));
        peer.answer(&head, 0, &ApiVersionsResponse { error_code: UNSUPPORTED_VERSION, ..Default::default() });
        let head = peer.receive();
        assert_eq!((head.api, head.version), (ApiKey::ApiVersions, 0));
        peer.answer(&head, 0, &versions(&[(ApiKey::Metadata, 0, 5), (ApiKey::Fetch, 14, 16)]));
    });
    let connection = connection.unwrap();
    assert_eq!(connection.version::<MetadataRequest>().unwrap(), 5);
    // We speak topics by name, so nothing above version 12.
    assert!(matches!(connection.version::<FetchRequest>(), Err(Error::Unsupported(_))));
    assert!(matches!(connection.version::<HeartbeatRequest>(), Err(Error::Unsupported(_))));
    server.join().unwrap();
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let (connection, server) = serve(|peer| {
        let head = peer.receive();
        peer.answer(&head, 3, &versions(&[(ApiKey::Heartbeat, 0, 4), (ApiKey::Fetch, 4, 12)]));
        let (first, second, third) = (peer.receive(), peer.receive(), peer.receive());
        assert_eq!(first.client_id(), Some("test"));
        peer.answer(&first, 4, &HeartbeatResponse { error_code: 1, ..Default::default() });
        let mut large = FetchResponse { throttle_time_ms: 2, ..Default::default() };
        large.responses = vec![Default::default(); 20_000];
        peer.answer(&second, 12, &large);
        // Out of order: the answer to a request that nobody has sent.
        let mut lie = third;
        lie.correlation_id = 99;
        peer.answer(&lie, 4, &HeartbeatResponse::default());
    });
    let mut connection = connection.unwrap();
    connection.send(&HeartbeatRequest::default()).unwrap();
    connection.send(&FetchRequest::default()).unwrap();
    connection.send(&HeartbeatRequest::default()).unwrap();
    let first = connection.receive::<HeartbeatRequest>(WAIT).unwrap().unwrap();
    assert_eq!(first.error_code, 1);
    let second = connection.receive::<FetchRequest>(WAIT).unwrap().unwrap();
    assert_eq!((second.throttle_time_ms, second.responses.len()), (2, 20_000));
    assert!(matches!(connection.receive::<HeartbeatRequest>(WAIT), Err(Error::Protocol(_))));
    server.join().unwrap();
}

#[test]
fn something_else_than_kafka_is_noticed() {
    let (connection, server) = serve(|peer| {
        peer.receive();
        peer.0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    assert!(matches!(connection, Err(Error::Protocol(_))));
    server.join().unwrap();
}
