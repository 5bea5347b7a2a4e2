//! Keys of records, for share groups that keep them in order.

use bowline_broker::Unkeyed;
use bowline_codec_kafka::records::{Batch, BatchHeader, RecordIter};
use bowline_convert::hash64;
use bowline_model::event::BatchSlice;

/// Largest batch, decompressed, bytes.
const BATCH_BYTES_MAX: usize = 100 << 20;

/// Hashes by offset, and the first offset of which nothing is known. What cannot be read has no key.
pub fn look_up(unkeyed: &Unkeyed) -> (Vec<(u64, u64)>, u64) {
    let mut keys = Vec::new();
    let mut upto = None;
    for slice in &unkeyed.batches {
        let Some(end) = add_keys(slice, &mut keys) else { break };
        upto = Some(end);
    }
    (keys, upto.unwrap_or(unkeyed.upto).max(unkeyed.wanted.from + 1))
}

/// The end of the batch; `None` if it is no batch.
fn add_keys(slice: &BatchSlice, keys: &mut Vec<(u64, u64)>) -> Option<u64> {
    let range = slice.offset as usize..slice.offset as usize + slice.len as usize;
    let bytes = slice.block.payload.get(range.clone()).map(|_| slice.block.payload.slice(range))?;
    let header = BatchHeader::parse(&bytes).ok()?;
    let end = slice.base_offset + header.last_offset_delta.max(0) as u64 + 1;
    if header.is_control() {
        return Some(end);
    }
    let Ok(records) = (Batch { header, bytes }).records(BATCH_BYTES_MAX) else { return Some(end) };
    for record in RecordIter::new(&records, header.records_count).map_while(Result::ok) {
        let offset = slice.base_offset.checked_add_signed(record.offset_delta.into());
        if let (Some(offset), Some(key)) = (offset, record.key) {
            keys.push((offset, hash64(key)));
        }
    }
    Some(end)
}
