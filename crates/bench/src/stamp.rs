//! The first octets of every body: who sent it, as which number, and when.
//!
//! ```text
//! 0           6          8          12
//! | time      | producer | sequence | filler …
//!   u48, in 100 ns       u16        u32          (all little-endian)
//! ```
//! Twelve octets, so that messages of 12 octets can be measured; 100 ns are fine enough for a network and last
//! for years.

/// Size of a stamp, and so of the smallest body.
pub const STAMP_BYTES: usize = 12;

const TICK_NS: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When the message was due, by the machine's monotonic clock. Kept to 100 ns.
    pub time_ns: u64,
    pub producer: u16,
    /// Counts from 0 in each lane: per producer and queue (or partition).
    pub sequence: u32,
}

impl Stamp {
    pub fn encode(self) -> [u8; STAMP_BYTES] {
        let mut out = [0; STAMP_BYTES];
        out[..6].copy_from_slice(&(self.time_ns / TICK_NS).to_le_bytes()[..6]);
        out[6..8].copy_from_slice(&self.producer.to_le_bytes());
        out[8..].copy_from_slice(&self.sequence.to_le_bytes());
        out
    }

    /// `None` for a body that is not ours.
    pub fn decode(body: &[u8]) -> Option<Stamp> {
        let stamp: &[u8; STAMP_BYTES] = body.first_chunk()?;
        let mut ticks = [0; 8];
        ticks[..6].copy_from_slice(&stamp[..6]);
        Some(Stamp {
            time_ns: u64::from_le_bytes(ticks) * TICK_NS,
            producer: u16::from_le_bytes([stamp[6], stamp[7]]),
            sequence: u32::from_le_bytes([stamp[8], stamp[9], stamp[10], stamp[11]]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        let stamp = Stamp { time_ns: 123_456_789_012_300, producer: 65_535, sequence: 4_000_000_000 };
        assert_eq!(Stamp::decode(&stamp.encode()), Some(stamp));
        assert_eq!(Stamp::decode(&[0; 11]), None);
    }
}
