//! Segment and block headers as bytes. The byte tables are in `docs/formats.md`; this file obeys them.
//!
//! A header never vouches for itself alone: a block is taken for one only if its checksum holds, it
//! names the position where it was found and the epoch of its file. So what an earlier use of a recycled
//! file left behind, or a message body that happens to look like a block, is not mistaken for one.

use crate::error::HeaderDamage;
use bowline_model::block::{BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_HARD_MAX};
use bowline_model::record::crc32c;
use bowline_model::{Lsn, Millis, ShardId};

/// Bytes before the first block of a segment or cold file.
pub const SEGMENT_HEADER_BYTES: u32 = 4096;
/// Of which this many are in use and under the checksum: less than the smallest sector, so it is written whole or not
/// at all.
const SEGMENT_HEADER_USED: usize = 512;
const SEGMENT_MAGIC: [u8; 8] = *b"BOWLSEGM";
const SEGMENT_VERSION: u32 = 1;
const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"BWLB");
const BLOCK_VERSION: u8 = 1;

/// The shard of blocks that are the log's own; no shard has this number.
pub const SYSTEM_SHARD: ShardId = ShardId(u16::MAX);

/// The block lies in a cold file.
pub const FLAG_COLD: u16 = 1;
/// The log was closed in order with this block: nothing follows it in its segment.
pub const FLAG_CLOSED: u16 = 2;

/// What a file of blocks is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentKind {
    Log,
    Cold,
}

/// The first 4 KiB of a segment or cold file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    pub kind: SegmentKind,
    /// Also the file's name. Never used for two files with data.
    pub number: u32,
    /// New at each use of the file; never 0.
    pub epoch: u64,
    pub node: [u8; 16],
    /// Data key that wraps the blocks' encryption; 0: not encrypted. Reserved, always 0 in version 1.
    pub key_id: u32,
    /// Blocks begin at multiples of this: 512 or 4096.
    pub sector_bytes: u32,
    /// No block ends beyond this position.
    pub capacity: u64,
}

impl SegmentHeader {
    pub fn encode(&self, out: &mut [u8]) {
        let out = &mut out[..SEGMENT_HEADER_USED];
        out.fill(0);
        out[0..8].copy_from_slice(&SEGMENT_MAGIC);
        put32(out, 12, SEGMENT_VERSION);
        put32(out, 16, if self.kind == SegmentKind::Log { 1 } else { 2 });
        put32(out, 20, self.number);
        put64(out, 24, self.epoch);
        out[32..48].copy_from_slice(&self.node);
        put32(out, 48, self.key_id);
        put32(out, 52, self.sector_bytes);
        put64(out, 56, self.capacity);
        let crc = crc32c(&out[12..]);
        put32(out, 8, crc);
    }

    /// Reads the header of file `number` of `kind`.
    pub fn decode(bytes: &[u8], kind: SegmentKind, number: u32) -> Result<SegmentHeader, HeaderDamage> {
        let Some(b) = bytes.get(..SEGMENT_HEADER_USED) else {
            return Err(HeaderDamage::Length(bytes.len() as u32));
        };
        if b[0..8] != SEGMENT_MAGIC {
            return Err(HeaderDamage::Magic);
        }
        if get32(b, 8) != crc32c(&b[12..]) {
            return Err(HeaderDamage::Checksum);
        }
        if get32(b, 12) != SEGMENT_VERSION {
            return Err(HeaderDamage::Version(get32(b, 12)));
        }
        let found = match get32(b, 16) {
            1 => SegmentKind::Log,
            2 => SegmentKind::Cold,
            _ => return Err(HeaderDamage::Position),
        };
        if found != kind || get32(b, 20) != number {
            return Err(HeaderDamage::Position);
        }
        let sector_bytes = get32(b, 52);
        if sector_bytes != 512 && sector_bytes != 4096 {
            return Err(HeaderDamage::Length(sector_bytes));
        }
        let mut node = [0; 16];
        node.copy_from_slice(&b[32..48]);
        Ok(SegmentHeader {
            kind,
            number,
            epoch: get64(b, 24),
            node,
            key_id: get32(b, 48),
            sector_bytes,
            capacity: get64(b, 56),
        })
    }
}

/// The first 128 bytes of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    pub flags: u16,
    pub key_id: u32,
    pub epoch: u64,
    pub lsn: Lsn,
    pub shard: ShardId,
    /// 0 in the log's own blocks, which are no entries.
    pub term: u64,
    /// 0 in the log's own blocks.
    pub index: u64,
    pub stamp: Millis,
    pub n_records: u32,
    pub payload_len: u32,
    pub payload_crc: u32,
    /// The block before this one in the log, over all shards; `Lsn(0)` for the first ever.
    pub prev_lsn: Lsn,
    /// Header checksum of that block.
    pub prev_crc: u32,
    /// When this block was sealed, all blocks up to and including this one were on stable storage.
    pub durable_upto: Lsn,
}

impl BlockHeader {
    /// Writes the header; returns its checksum, which the next block carries as `prev_crc`.
    pub fn encode(&self, out: &mut [u8]) -> u32 {
        let out = &mut out[..BLOCK_HEADER_BYTES];
        out.fill(0);
        put32(out, 0, BLOCK_MAGIC);
        out[8] = BLOCK_VERSION;
        out[10..12].copy_from_slice(&self.flags.to_le_bytes());
        put32(out, 12, self.key_id);
        put64(out, 16, self.epoch);
        put64(out, 24, self.lsn.0);
        out[32..34].copy_from_slice(&self.shard.0.to_le_bytes());
        put32(out, 36, self.n_records);
        put64(out, 40, self.term);
        put64(out, 48, self.index);
        put64(out, 56, self.stamp);
        put32(out, 64, self.payload_len);
        put32(out, 68, self.payload_crc);
        put64(out, 72, self.prev_lsn.0);
        put32(out, 80, self.prev_crc);
        put64(out, 88, self.durable_upto.0);
        let crc = crc32c(&out[8..]);
        put32(out, 4, crc);
        crc
    }

    /// Reads a header, checking only that it is one. See [`BlockHeader::decode_at`].
    pub fn decode(bytes: &[u8]) -> Result<(BlockHeader, u32), HeaderDamage> {
        let Some(b) = bytes.get(..BLOCK_HEADER_BYTES) else {
            return Err(HeaderDamage::Length(bytes.len() as u32));
        };
        if get32(b, 0) != BLOCK_MAGIC {
            return Err(HeaderDamage::Magic);
        }
        let crc = crc32c(&b[8..]);
        if get32(b, 4) != crc {
            return Err(HeaderDamage::Checksum);
        }
        // Byte 9 is the compression, 0 = none: what we cannot read we must not serve.
        if b[8] != BLOCK_VERSION || b[9] != 0 {
            return Err(HeaderDamage::Version(u32::from(b[8]) | u32::from(b[9]) << 8));
        }
        let payload_len = get32(b, 64);
        if payload_len as usize > BLOCK_PAYLOAD_HARD_MAX {
            return Err(HeaderDamage::Length(payload_len));
        }
        let header = BlockHeader {
            flags: u16::from_le_bytes([b[10], b[11]]),
            key_id: get32(b, 12),
            epoch: get64(b, 16),
            lsn: Lsn(get64(b, 24)),
            shard: ShardId(u16::from_le_bytes([b[32], b[33]])),
            n_records: get32(b, 36),
            term: get64(b, 40),
            index: get64(b, 48),
            stamp: get64(b, 56),
            payload_len,
            payload_crc: get32(b, 68),
            prev_lsn: Lsn(get64(b, 72)),
            prev_crc: get32(b, 80),
            durable_upto: Lsn(get64(b, 88)),
        };
        Ok((header, crc))
    }

    /// Reads the header of the block that should begin at `lsn`. `epoch` 0: the file's is not known.
    pub fn decode_at(bytes: &[u8], lsn: Lsn, epoch: u64) -> Result<(BlockHeader, u32), HeaderDamage> {
        let (header, crc) = BlockHeader::decode(bytes)?;
        if header.lsn != lsn {
            return Err(HeaderDamage::Position);
        }
        if epoch != 0 && header.epoch != epoch {
            return Err(HeaderDamage::Epoch);
        }
        Ok((header, crc))
    }

    /// Whether this is an entry of a shard, not one of the log's own blocks.
    pub fn is_entry(&self) -> bool {
        self.index != 0
    }

    /// Bytes that the block takes in its file.
    pub fn block_bytes(&self, sector_bytes: u32) -> u64 {
        block_bytes(self.payload_len as usize, sector_bytes)
    }
}

/// Header, payload and padding to whole sectors.
pub fn block_bytes(payload_len: usize, sector_bytes: u32) -> u64 {
    ((BLOCK_HEADER_BYTES + payload_len) as u64).next_multiple_of(u64::from(sector_bytes))
}

pub(crate) fn put32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put64(out: &mut [u8], at: usize, value: u64) {
    out[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn get32(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

pub(crate) fn get64(b: &[u8], at: usize) -> u64 {
    u64::from(get32(b, at)) | u64::from(get32(b, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> BlockHeader {
        BlockHeader {
            flags: FLAG_CLOSED,
            key_id: 0,
            epoch: 0x1122_3344_5566_7788,
            lsn: Lsn::new(3, 8192),
            shard: ShardId(2),
            term: 7,
            index: 99,
            stamp: 1_700_000_000_000,
            n_records: 5,
            payload_len: 1000,
            payload_crc: 0xdead_beef,
            prev_lsn: Lsn::new(3, 4096),
            prev_crc: 17,
            durable_upto: Lsn::new(2, 4096),
        }
    }

    #[test]
    fn headers_come_back_and_every_flipped_bit_is_seen() {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        let crc = block().encode(&mut bytes);
        assert_eq!(BlockHeader::decode_at(&bytes, block().lsn, block().epoch), Ok((block(), crc)));
        assert_eq!(BlockHeader::decode_at(&bytes, Lsn::new(3, 4096), 0), Err(HeaderDamage::Position));
        assert_eq!(BlockHeader::decode_at(&bytes, block().lsn, 1), Err(HeaderDamage::Epoch));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(BlockHeader::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }

        let segment = SegmentHeader {
            kind: SegmentKind::Log,
            number: 9,
            epoch: 5,
            node: [7; 16],
            key_id: 0,
            sector_bytes: 512,
            capacity: 1 << 20,
        };
        let mut bytes = [0; SEGMENT_HEADER_USED];
        segment.encode(&mut bytes);
        assert_eq!(SegmentHeader::decode(&bytes, SegmentKind::Log, 9), Ok(segment));
        assert_eq!(SegmentHeader::decode(&bytes, SegmentKind::Log, 8), Err(HeaderDamage::Position));
        assert_eq!(SegmentHeader::decode(&bytes, SegmentKind::Cold, 9), Err(HeaderDamage::Position));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes, SegmentKind::Log, 9).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
