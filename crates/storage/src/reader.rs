//! Reading blocks back: single ones, and runs in one large read. Every read checks header and payload.

use crate::error::{HeaderDamage, ReadError, ReadErrorKind};
use crate::header::BlockHeader;
use crate::log::Shared;
use crate::segments::{Segment, cold_path, segment_path};
use bowline_model::block::BLOCK_HEADER_BYTES;
use bowline_model::record::crc32c;
use bowline_model::{AlignedBuf, Block, BlockRef, Lsn};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of the first read of a single block: most blocks of a quiet log fit.
const FIRST_READ_BYTES: u64 = 16 << 10;

/// Blocks read at once, and where the log goes on.
#[derive(Debug)]
pub struct Run {
    pub blocks: Vec<BlockRef>,
    /// The position behind the last block read, the log's own included. Perhaps there is no block there: then
    /// the file ended, and the log goes on in the next.
    pub next: Lsn,
}

pub(crate) fn read(shared: &Shared, lsn: Lsn) -> Result<BlockRef, ReadError> {
    let segment = find(shared, lsn)?;
    read_block(&segment, lsn).map_err(|kind| place(shared, &segment, lsn, kind))
}

pub(crate) fn read_run(
    shared: &Shared,
    lsn: Lsn,
    max_bytes: usize,
    max_blocks: usize,
) -> Result<Run, ReadError> {
    let segment = find(shared, lsn)?;
    let durable = shared.durable.load(Ordering::Acquire);
    read_blocks(&segment, lsn, max_bytes, max_blocks, durable)
        .map_err(|kind| place(shared, &segment, lsn, kind))
}

fn find(shared: &Shared, lsn: Lsn) -> Result<Arc<Segment>, ReadError> {
    let fail = |kind| {
        let path = if lsn.is_cold() { cold_path(lsn.segment()) } else { segment_path(lsn.segment()) };
        ReadError { lsn, path, position: u64::from(lsn.byte_position()), kind }
    };
    if !lsn.is_cold() && lsn.0 > shared.durable.load(Ordering::Acquire) {
        return Err(fail(ReadErrorKind::NotDurable));
    }
    shared.table.get(lsn).ok_or_else(|| fail(ReadErrorKind::Gone))
}

/// Completes an error. A file that was recycled while it was being read is gone, not damaged.
fn place(shared: &Shared, segment: &Arc<Segment>, lsn: Lsn, kind: ReadErrorKind) -> ReadError {
    let still = shared.table.get(lsn).is_some_and(|s| Arc::ptr_eq(&s, segment));
    let kind = if still { kind } else { ReadErrorKind::Gone };
    ReadError { lsn, path: segment.file.path().to_string(), position: u64::from(lsn.byte_position()), kind }
}

/// Reads the block at `lsn` of `segment`.
pub(crate) fn read_block(segment: &Segment, lsn: Lsn) -> Result<BlockRef, ReadErrorKind> {
    let position = u64::from(lsn.byte_position());
    let first = load(segment, position, FIRST_READ_BYTES)?;
    let header = header_at(segment, &first, lsn)?;
    let bytes = header.block_bytes(segment.sector_bytes);
    let all = if bytes <= first.len() as u64 { first } else { load(segment, position, bytes)? };
    block(&header, &all)
}

fn read_blocks(
    segment: &Segment,
    lsn: Lsn,
    max_bytes: usize,
    max_blocks: usize,
    durable: u64,
) -> Result<Run, ReadErrorKind> {
    let start = u64::from(lsn.byte_position());
    let data = load(segment, start, (max_bytes as u64).next_multiple_of(4096).max(4096))?;
    let mut blocks = Vec::new();
    let mut at = 0u64;
    let mut taken = 0;
    while taken < max_blocks.max(1) {
        let here = segment.lsn(start + at);
        if !here.is_cold() && here.0 > durable {
            break;
        }
        let rest = data.slice((at as usize).min(data.len())..);
        let found = header_at(segment, &rest, here).and_then(|header| {
            let bytes = header.block_bytes(segment.sector_bytes);
            // The first block is read whole however large it is; the run ends before another that is cut off.
            let all = if bytes > rest.len() as u64 && at == 0 { load(segment, start, bytes)? } else { rest };
            Ok((header, bytes, block(&header, &all)?))
        });
        match found {
            Ok((header, bytes, block)) => {
                taken += 1;
                at += bytes;
                if header.is_entry() || lsn.is_cold() {
                    blocks.push(block);
                }
            }
            Err(kind) if at == 0 => return Err(kind),
            Err(_) => break,
        }
    }
    Ok(Run { blocks, next: segment.lsn(start + at) })
}

fn load(segment: &Segment, position: u64, len: u64) -> Result<Bytes, ReadErrorKind> {
    let len = len.min(segment.len.saturating_sub(position));
    let mut buf = AlignedBuf::zeroed(len as usize);
    let n = if len == 0 { 0 } else { segment.file.read_at(position, buf.as_mut_slice())? };
    Ok(buf.freeze().slice(..n))
}

fn header_at(segment: &Segment, bytes: &[u8], lsn: Lsn) -> Result<BlockHeader, ReadErrorKind> {
    let (header, _) = BlockHeader::decode_at(bytes, lsn, segment.epoch).map_err(ReadErrorKind::Header)?;
    let end = u64::from(lsn.byte_position()) + header.block_bytes(segment.sector_bytes);
    if end > segment.len {
        return Err(ReadErrorKind::Header(HeaderDamage::Length(header.payload_len)));
    }
    Ok(header)
}

fn block(header: &BlockHeader, bytes: &Bytes) -> Result<BlockRef, ReadErrorKind> {
    let end = BLOCK_HEADER_BYTES + header.payload_len as usize;
    if bytes.len() < end {
        return Err(ReadErrorKind::Header(HeaderDamage::Length(header.payload_len)));
    }
    let payload = bytes.slice(BLOCK_HEADER_BYTES..end);
    let actual = crc32c(&payload);
    #[cfg(feature = "sabotage")]
    let actual = match crate::sabotage::CHECKSUM_UNREAD.load(std::sync::atomic::Ordering::Relaxed) {
        true => header.payload_crc,
        false => actual,
    };
    if actual != header.payload_crc {
        return Err(ReadErrorKind::Payload { stored: header.payload_crc, actual });
    }
    Ok(Arc::new(Block {
        lsn: header.lsn,
        shard: header.shard,
        term: header.term,
        index: header.index,
        stamp: header.stamp,
        payload,
    }))
}
