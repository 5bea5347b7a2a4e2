//! The AMQP client half against a server that follows a script.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bowline_client::Error;
use bowline_client::address::AmqpAddress;
use bowline_client::amqp::codec::frame::{DeliverHead, encode_body_frames, frame_len};
use bowline_client::amqp::codec::methods::*;
use bowline_client::amqp::codec::{EncodeMethod, Method, ShortStr, TableRef, split_frame};
use bowline_client::amqp::{ConnectOptions, Connection, Event, Queue};

const FRAME_MAX: u32 = 4096;
const WAIT: Duration = Duration::from_secs(10);

/// The server's side of a connection.
struct Peer {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Peer {
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn send_method(&mut self, channel: u16, method: &impl EncodeMethod) {
        let mut out = Vec::new();
        method.encode_frame(channel, &mut out);
        self.send(&out);
    }

    /// Reads until the client has sent that method.
    fn expect(&mut self, name: &str) {
        loop {
            let whole = frame_len(&self.inbox).is_some_and(|len| len <= self.inbox.len());
            if !whole {
                let mut chunk = [0; 4096];
                let read = self.stream.read(&mut chunk).unwrap();
                assert!(read > 0, "the client left while {name} was awaited");
                self.inbox.extend_from_slice(&chunk[..read]);
                continue;
            }
            let (frame, len) = split_frame(&self.inbox, u32::MAX).unwrap().unwrap();
            let found = frame.kind as u8 == 1 && Method::decode(frame.payload).unwrap().name() == name;
            self.inbox.drain(..len);
            if found {
                return;
            }
        }
    }
}

fn serve(script: impl FnOnce(&mut Peer) + Send + 'static) -> (Connection, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let mut peer = Peer { stream: listener.accept().unwrap().0, inbox: Vec::new() };
        let mut header = [0; 8];
        peer.stream.read_exact(&mut header).unwrap();
        assert_eq!(&header, b"AMQP\x00\x00\x09\x01");
        peer.send_method(
            0,
            &ConnectionStart {
                version_major: 0,
                version_minor: 9,
                server_properties: TableRef::EMPTY,
                mechanisms: b"AMQPLAIN PLAIN",
                locales: b"en_US",
            },
        );
        peer.expect("connection.start-ok");
        peer.send_method(0, &ConnectionTune { channel_max: 10, frame_max: FRAME_MAX, heartbeat: 0 });
        peer.expect("connection.open");
        peer.send_method(0, &ConnectionOpenOk);
        script(&mut peer);
    });
    let options =
        ConnectOptions { timeout: WAIT, heartbeat: 0, ..ConnectOptions::new(AmqpAddress::at(address)) };
    (Connection::open(&options).unwrap(), server)
}

/// A delivery's frames, one by one.
fn delivery(channel: u16, tag: u64, body: &[u8]) -> Vec<Vec<u8>> {
    let head = DeliverHead {
        channel,
        consumer_tag: ShortStr::truncated("c"),
        delivery_tag: tag,
        redelivered: false,
        exchange: ShortStr::EMPTY,
        routing_key: ShortStr::truncated("k"),
        properties: &[0, 0],
        body_size: body.len() as u64,
    };
    let mut bytes = Vec::new();
    head.encode(&mut bytes);
    encode_body_frames(&mut bytes, channel, body, FRAME_MAX);
    let mut frames = Vec::new();
    while let Some(len) = frame_len(&bytes) {
        frames.push(bytes.drain(..len).collect());
    }
    frames
}

/// The next event as channel, tag and body; anything else fails.
fn next_delivery(connection: &mut Connection) -> (u16, u64, Vec<u8>) {
    loop {
        if let Some(event) = connection.next().unwrap() {
            let Event::Deliver { channel, method, content } = event else { panic!("{event:?}") };
            return (channel, method.delivery_tag, content.body.to_vec());
        }
        assert!(connection.fill(WAIT).unwrap(), "nothing came");
    }
}

#[test]
fn deliveries_around_a_reply_are_kept_in_order() {
    let (mut connection, server) = serve(|peer| {
        peer.expect("channel.open");
        peer.send_method(1, &ChannelOpenOk);
        peer.expect("queue.declare");
        let mut out: Vec<u8> = delivery(1, 1, b"before").concat();
        QueueDeclareOk { queue: ShortStr::truncated("q"), message_count: 7, consumer_count: 0 }
            .encode_frame(1, &mut out);
        out.extend(delivery(1, 2, b"after").concat());
        // Cut anywhere: the reply is found although it comes in pieces.
        for chunk in out.chunks(11) {
            peer.send(chunk);
        }
        peer.expect("connection.close");
        peer.send_method(0, &ConnectionCloseOk);
    });
    let channel = connection.open_channel().unwrap();
    let counts = connection.declare_queue(channel, &Queue { name: "q", ..Queue::default() }).unwrap();
    assert_eq!((counts.name.as_str(), counts.messages), ("q", 7));
    // What came with the reply need not be waited for.
    let start = Instant::now();
    assert!(connection.fill(WAIT).unwrap() && start.elapsed() < WAIT / 2);
    assert_eq!(next_delivery(&mut connection), (1, 1, b"before".to_vec()));
    assert_eq!(next_delivery(&mut connection), (1, 2, b"after".to_vec()));
    connection.close().unwrap();
    server.join().unwrap();
}

#[test]
fn contents_may_come_scattered() {
    let long: Vec<u8> = (0..10_000).map(|n| n as u8).collect();
    let expected = long.clone();
    let (mut connection, server) = serve(move |peer| {
        let a = delivery(1, 1, &long);
        let b = delivery(2, 1, b"short");
        let c = delivery(3, 1, b"");
        assert_eq!((a.len(), b.len(), c.len()), (5, 3, 2));
        // Frames of several channels, one after the other; heartbeats wherever they like.
        let heartbeat = [8, 0, 0, 0, 0, 0, 0, 0xCE].to_vec();
        let frames =
            [&a[0], &b[0], &heartbeat, &a[1], &a[2], &c[0], &b[1], &a[3], &c[1], &b[2], &heartbeat, &a[4]];
        for frame in frames {
            peer.send(frame);
        }
        peer.send(&delivery(1, 2, b"whole").concat());
    });
    assert_eq!(next_delivery(&mut connection), (3, 1, Vec::new()));
    assert_eq!(next_delivery(&mut connection), (2, 1, b"short".to_vec()));
    assert_eq!(next_delivery(&mut connection), (1, 1, expected));
    assert_eq!(next_delivery(&mut connection), (1, 2, b"whole".to_vec()));
    server.join().unwrap();
}

#[test]
fn get_takes_its_message_from_between_others() {
    let body: Vec<u8> = vec![5; 9000];
    let expected = body.clone();
    let (mut connection, server) = serve(move |peer| {
        peer.expect("basic.get");
        let mut get_ok = delivery(1, 9, &body);
        get_ok[0].clear();
        BasicGetOk {
            delivery_tag: 9,
            redelivered: true,
            exchange: ShortStr::EMPTY,
            routing_key: ShortStr::truncated("k"),
            message_count: 3,
        }
        .encode_frame(1, &mut get_ok[0]);
        peer.send(&delivery(1, 8, b"pushed").concat());
        peer.send(&get_ok.concat());
        peer.expect("basic.get");
        peer.send_method(1, &BasicGetEmpty);
    });
    let got = connection.get(1, "q", false).unwrap().unwrap();
    assert_eq!((got.delivery_tag, got.redelivered, got.message_count), (9, true, 3));
    assert_eq!(got.body, expected);
    assert_eq!(connection.get(1, "q", false).unwrap(), None);
    assert_eq!(next_delivery(&mut connection), (1, 8, b"pushed".to_vec()));
    server.join().unwrap();
}

#[test]
fn closes_are_errors_with_their_reason() {
    let (mut connection, server) = serve(|peer| {
        peer.expect("queue.declare");
        let text = ShortStr::truncated("NOT_FOUND - no queue");
        peer.send_method(1, &ChannelClose { reply_code: 404, reply_text: text, class_id: 50, method_id: 10 });
        peer.expect("channel.close-ok");
        peer.expect("queue.declare");
        let text = ShortStr::truncated("CONNECTION_FORCED - enough");
        peer.send_method(
            0,
            &ConnectionClose { reply_code: 320, reply_text: text, class_id: 0, method_id: 0 },
        );
        peer.expect("connection.close-ok");
    });
    let queue = Queue { name: "q", passive: true, ..Queue::default() };
    match connection.declare_queue(1, &queue) {
        Err(Error::ChannelClosed { channel: 1, code: 404, text }) => assert_eq!(text, "NOT_FOUND - no queue"),
        other => panic!("{other:?}"),
    }
    match connection.declare_queue(2, &queue) {
        Err(Error::ConnectionClosed { code: 320, .. }) => {}
        other => panic!("{other:?}"),
    }
    server.join().unwrap();
}

#[test]
fn a_last_publish_that_was_refused_shows_at_the_close() {
    let (connection, server) = serve(|peer| {
        peer.expect("connection.close");
        let text = ShortStr::truncated("NOT_FOUND - no exchange");
        peer.send_method(1, &ChannelClose { reply_code: 404, reply_text: text, class_id: 60, method_id: 40 });
        peer.send_method(0, &ConnectionCloseOk);
    });
    assert!(matches!(connection.close(), Err(Error::ChannelClosed { code: 404, .. })));
    server.join().unwrap();
}

#[test]
fn nonsense_is_an_error_and_no_panic() {
    let scripts: [&[u8]; 4] = [
        b"\x01\x00\x01\xff\xff\xff\xff",
        b"\x09\x00\x01\x00\x00\x00\x00\xce",
        // A body without a method, and a method that does not exist.
        b"\x03\x00\x01\x00\x00\x00\x01x\xce",
        b"\x01\x00\x01\x00\x00\x00\x04\x00\x3c\x00\x63\xce",
    ];
    for script in scripts {
        let (mut connection, server) = serve(move |peer| peer.send(script));
        // It may have come together with the last frame of the handshake.
        let refused = loop {
            match connection.next() {
                Ok(Some(event)) => panic!("{event:?}"),
                Ok(None) => assert!(connection.fill(WAIT).unwrap()),
                Err(error) => break error,
            }
        };
        assert!(!matches!(refused, Error::Closed | Error::Timeout(_)), "{script:?}: {refused}");
        server.join().unwrap();
    }
}
