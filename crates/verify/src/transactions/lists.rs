//! Lists to which transactions append, in the manner of list-append checkers: each partition of a topic is a list, each
//! value is unique and says who appended it in which transaction, and what a list has to be follows from the order of
//! its own values. Readers begin again at the start of the lists after each broken connection, so the same is read many
//! times: by each of them in order, and always the same.
//!
//! Transactions are not serial to one another: two that append to the same two lists may be in another order in each,
//! as in Kafka. That is not looked for.

use bowline_client::kafka::codec::checksum::Crc32c;

use crate::world::PartitionLog;

const MAGIC: u32 = 0x4C49_5354;
const VALUE_BYTES: usize = 28;
/// Values that a transaction appends.
const APPENDS_MAX: u64 = 5;

#[derive(Debug)]
pub struct Lists {
    pub topic: String,
    seed: u64,
    /// What readers have seen, by list.
    pub logs: Vec<PartitionLog>,
}

/// A value of a list; `number`: of the transaction's values in all lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub list: u32,
    pub worker: u16,
    pub attempt: u32,
    pub number: u32,
}

impl Lists {
    /// Without lists, nothing is appended.
    pub fn new(name: &str, lists: usize, seed: u64) -> Lists {
        Lists {
            topic: format!("{name}-lists"),
            seed,
            logs: (0..lists).map(|_| PartitionLog::default()).collect(),
        }
    }

    /// What a transaction appends, in order.
    pub fn appends(&self, worker: u16, attempt: u32) -> Vec<Value> {
        let lists = self.logs.len() as u64;
        if lists == 0 {
            return Vec::new();
        }
        let mut state = self.seed ^ u64::from(worker) << 40 ^ u64::from(attempt);
        let mut random = || {
            // splitmix64
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB) >> 20
        };
        let count = random() % APPENDS_MAX;
        (0..count as u32)
            .map(|number| Value { list: (random() % lists) as u32, worker, attempt, number })
            .collect()
    }
}

impl Value {
    pub fn write(&self, run: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(VALUE_BYTES);
        for word in [MAGIC, run, self.list, u32::from(self.worker), self.attempt, self.number] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let mut crc = Crc32c::new();
        crc.update(&out);
        out.extend_from_slice(&crc.finish().to_le_bytes());
        out
    }

    /// `None`: not what anybody has appended in this run.
    pub fn read(run: u32, bytes: &[u8]) -> Option<Value> {
        let (content, crc): (&[u8; VALUE_BYTES - 4], _) = bytes.split_first_chunk()?;
        let mut sum = Crc32c::new();
        sum.update(content);
        let word = |n: usize| {
            let at = 4 * n;
            u32::from_le_bytes([content[at], content[at + 1], content[at + 2], content[at + 3]])
        };
        if crc != sum.finish().to_le_bytes() || word(0) != MAGIC || word(1) != run {
            return None;
        }
        Some(Value { list: word(2), worker: word(3) as u16, attempt: word(4), number: word(5) })
    }

    /// This value in one number, never 0.
    pub fn fingerprint(&self) -> u64 {
        (u64::from(self.worker) + 1) << 48 | u64::from(self.attempt) << 8 | u64::from(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_and_damage_does_not() {
        let lists = Lists::new("test", 3, 7);
        let values: Vec<Value> = (0..50).flat_map(|attempt| lists.appends(1, attempt)).collect();
        assert!(values.len() > 50 && (0..3).all(|list| values.iter().any(|value| value.list == list)));
        for value in values {
            let bytes = value.write(1);
            assert_eq!(bytes.len(), VALUE_BYTES);
            assert_eq!(Value::read(1, &bytes), Some(value));
            assert_eq!(Value::read(2, &bytes), None);
            let mut damaged = bytes.clone();
            damaged[20] ^= 1;
            assert_eq!(Value::read(1, &damaged), None);
        }
        assert!(Lists::new("test", 0, 7).appends(1, 3).is_empty());
    }
}
