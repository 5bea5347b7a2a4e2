//! An AMQP client that says anything, on a whole broker without sockets (the one of front-amqp's tests): the session,
//! the topology and the data shards. Every frame that comes back is whole, and a neighbour on the same broker is served
//! after.
//!
//! The first octet: how many octets a read brings; the second: where the rest begins.
#![no_main]

use bowline_codec_amqp::frame::PROTOCOL_HEADER;
use bowline_codec_amqp::methods::ConfirmSelect;
use bowline_fuzz as _;
use libfuzzer_sys::fuzz_target;
use world::{Client, World, consume, declare, get};

#[allow(dead_code, reason = "the tests of sessions use more of it")]
#[path = "../../crates/front-amqp/tests/world/mod.rs"]
mod world;

/// The neighbour's queue: a name that nobody hits upon.
const OWN: &str = "the neighbour's own queue";

fuzz_target!(|data: &[u8]| {
    let [chunk, begin, rest @ ..] = data else { return };
    let world = World::new(1 + u16::from(begin >> 7));
    let mut neighbour = Client::open(&world);
    let mut client = match begin % 4 {
        0 => Client::new(&world),
        1 => {
            let mut client = Client::new(&world);
            client.pending.extend_from_slice(&PROTOCOL_HEADER);
            client
        }
        _ => {
            let mut client = Client::open(&world);
            client.say(1, declare("q", &[]));
            client.say(1, ConfirmSelect { no_wait: true });
            client.publish(1, "", "q", b"one");
            client.publish(1, "", "q", b"two");
            client.say(1, consume("q", "tag"));
            client.hear();
            client
        }
    };
    client.chunk = usize::from(*chunk);
    match begin % 4 {
        3 => frames(rest, &mut client.pending),
        _ => client.pending.extend_from_slice(rest),
    }
    match begin % 4 {
        0 | 1 => drop(client.take_raw()),
        _ => drop(client.hear()),
    }
    client.on_time();
    drop(client);

    neighbour.say(1, declare(OWN, &[]));
    neighbour.publish(1, "", OWN, b"still here");
    neighbour.say(1, get(OWN));
    let heard = neighbour.hear();
    assert!(heard.iter().any(|line| line.contains("still here")), "{heard:#?}");
});

/// Frames around pieces of the input: an octet for type and channel, one for the size, then the payload.
fn frames(mut input: &[u8], out: &mut Vec<u8>) {
    while let [head, size, rest @ ..] = input {
        let (payload, after) = rest.split_at(usize::from(*size).min(rest.len()));
        input = after;
        let kind = [1, 2, 3, 1, 1, 1, 8, 1][usize::from(head & 7)];
        out.extend([kind, 0, head >> 3 & 3]);
        out.extend((payload.len() as u32).to_be_bytes());
        out.extend(payload);
        out.push(0xce);
    }
}
