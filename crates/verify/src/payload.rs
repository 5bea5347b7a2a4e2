//! The messages of the test: each says who it is, and every octet of it can be checked.
//!
//! ```text
//! 0       4       8          10      12         20       24    28
//! | magic | run   | producer | epoch | sequence | length | crc | filler …
//!   u32     u32     u16        u16     u64        u32      u32   (all little-endian)
//! ```
//! `epoch` counts a producer's connections: order is promised within one channel, not from one connection to the
//! next. The filler follows from the identity, and the CRC-32C covers everything but itself, so that a body that was
//! cut, mixed with another or filled with zeros does not pass.

use bowline_client::kafka::codec::checksum::Crc32c;

pub const HEAD_BYTES: usize = 28;
const MAGIC: u32 = 0x4845_4C44;
const CRC_AT: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub producer: u16,
    pub epoch: u16,
    /// From 0, never used twice by a producer.
    pub sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Not a message of this test: from an earlier run, or from somebody else.
    Foreign,
    /// Ours by its first octets, but not as it was sent.
    Corrupt,
}

/// Writes a message of `length` octets, at least [`HEAD_BYTES`].
pub fn write(run: u32, identity: Identity, length: usize) -> Vec<u8> {
    let length = length.max(HEAD_BYTES);
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(&MAGIC.to_le_bytes());
    body.extend_from_slice(&run.to_le_bytes());
    body.extend_from_slice(&identity.producer.to_le_bytes());
    body.extend_from_slice(&identity.epoch.to_le_bytes());
    body.extend_from_slice(&identity.sequence.to_le_bytes());
    body.extend_from_slice(&(length as u32).to_le_bytes());
    body.extend_from_slice(&[0; 4]);
    let mut state = identity.sequence ^ u64::from(identity.producer) << 48;
    while body.len() < length {
        // SplitMix64: cheap, and no two messages look alike.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        let octets = (word ^ word >> 31).to_le_bytes();
        let take = octets.len().min(length - body.len());
        body.extend_from_slice(&octets[..take]);
    }
    let crc = checksum(&body);
    body[CRC_AT..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    body
}

/// Reads and checks a message.
pub fn read(run: u32, body: &[u8]) -> Result<Identity, Flaw> {
    let head: &[u8; HEAD_BYTES] = body.first_chunk().ok_or(Flaw::Corrupt)?;
    let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if u32_at(0) != MAGIC {
        return Err(Flaw::Corrupt);
    }
    let whole = u32_at(20) as usize == body.len() && u32_at(CRC_AT) == checksum(body);
    if !whole {
        return Err(Flaw::Corrupt);
    }
    if u32_at(4) != run {
        return Err(Flaw::Foreign);
    }
    let mut sequence = [0; 8];
    sequence.copy_from_slice(&head[12..20]);
    Ok(Identity {
        producer: u16::from_le_bytes([head[8], head[9]]),
        epoch: u16::from_le_bytes([head[10], head[11]]),
        sequence: u64::from_le_bytes(sequence),
    })
}

fn checksum(body: &[u8]) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(&body[..CRC_AT]);
    crc.update(&body[HEAD_BYTES..]);
    crc.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damaged_octet_is_noticed() {
        let identity = Identity { producer: 3, epoch: 2, sequence: 77 };
        for length in [0, HEAD_BYTES, HEAD_BYTES + 1, 100] {
            let body = write(9, identity, length);
            assert_eq!(read(9, &body), Ok(identity));
            assert_eq!(read(8, &body), Err(Flaw::Foreign));
            for at in 0..body.len() {
                let mut damaged = body.clone();
                damaged[at] ^= 0x10;
                assert_eq!(read(9, &damaged), Err(Flaw::Corrupt), "octet {at} of {length}");
            }
            assert_eq!(read(9, &body[..body.len() - 1]), Err(Flaw::Corrupt));
        }
    }
}
