//! AMQP messages whose every byte follows from their number, so that what comes back can be checked in full.

use bowline_model::Block;
use bowline_model::record::{self, Kind, PUBLISH_PERSISTENT, Publish};

/// Numbers messages of a seed in the order in which they were sent.
pub type Id = u64;

#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// The session that sent it.
    pub publisher: u64,
    pub body_len: u32,
}

/// Appends the Publish record of message `id` for `queues`.
pub fn encode(out: &mut Vec<u8>, id: Id, message: &Message, queues: &[u32]) {
    let body = body(id, message.body_len);
    let (front, back) = body.split_at(body.len() / 2);
    Publish::encode(
        out,
        PUBLISH_PERSISTENT,
        queues.iter().copied(),
        b"exchange",
        &key(id),
        &properties(id),
        [front, back].into_iter(),
    );
}

/// Reads the record at `offset` and says which message it is.
///
/// # Panics
/// If it is not, byte for byte, a message that was sent.
pub fn identify(block: &Block, offset: u32, len: u32, sent: &[Message]) -> Id {
    let record = record::at(&block.payload, offset).expect("promise: a delivery is a record");
    assert_eq!((record.kind, record.len), (Kind::Publish, len), "promise: a delivery is a whole message");
    record::verify(&block.payload, &record).expect("promise: a delivered record has its checksum");
    let publish = Publish::decode(record.body).expect("promise: a delivered record is a message");
    let (id, _) = publish.body.split_first_chunk::<8>().expect("promise: a body is what was sent");
    let id = u64::from_le_bytes(*id);
    let message = sent.get(id as usize).expect("promise: a body is what was sent");
    assert!(
        publish.body == body(id, message.body_len)
            && publish.routing_key == key(id)
            && publish.properties == properties(id)
            && publish.exchange == b"exchange",
        "promise: message {id} comes back byte for byte"
    );
    id
}

/// `len` ≥ 8.
pub fn body(id: Id, len: u32) -> Vec<u8> {
    let mut out = id.to_le_bytes().to_vec();
    fill(&mut out, id, len as usize);
    out
}

/// Appends bytes that follow from `seed` until `out` is `len` long.
pub fn fill(out: &mut Vec<u8>, seed: u64, len: usize) {
    let mut x = seed;
    while out.len() < len {
        x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = ((x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9)).to_le_bytes();
        let n = (len - out.len()).min(8);
        out.extend_from_slice(&word[..n]);
    }
}

fn key(id: Id) -> Vec<u8> {
    format!("key.{id}").into_bytes()
}

fn properties(id: Id) -> [u8; 3] {
    [0x10, 0, (id % 251) as u8]
}
