//! Names and ids that nobody should guess or meet twice. Chance enters as a seed, so that a run can be replayed.

use bowline_convert::step;
use bowline_model::TopicId;

/// A random source for names: SplitMix64 over two seeds. Not for keys or passwords.
pub struct Chance {
    state: [u64; 2],
}

impl Chance {
    pub fn new(seed: [u64; 2]) -> Chance {
        Chance { state: seed }
    }

    pub fn bits(&mut self) -> u128 {
        let [a, b] = &mut self.state;
        u128::from(step(a)) << 64 | u128::from(step(b))
    }

    /// `prefix` and 22 characters of base64url without padding, the shape of RabbitMQ's generated names.
    pub fn name(&mut self, prefix: &str) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bits = self.bits();
        let mut name = String::with_capacity(prefix.len() + 22);
        name.push_str(prefix);
        for _ in 0..22 {
            name.push(char::from(DIGITS[(bits & 63) as usize]));
            bits >>= 6;
        }
        name
    }

    /// A random (version 4) UUID.
    pub fn topic_id(&mut self) -> TopicId {
        let mut id = self.bits().to_be_bytes();
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        TopicId(id)
    }
}
