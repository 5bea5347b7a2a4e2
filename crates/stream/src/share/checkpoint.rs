//! The durable state of share groups as bytes.
//!
//! ```text
//! version u8 = 1 | n groups on partitions, by partition and name: n ×
//!   partition | name (length, bytes) | start | reserved | suspect below | accepted | archived |
//!   n settled runs: n × (gap from the end of the previous run, or from the start | length) |
//!   n records that came back: n × (offset − previous | times)
//! ```
//! Numbers are varints.

use super::progress::Progress;
use super::{Share, Shares};
use crate::checkpoint::{Damaged, put_bytes, take, take_str, take_u32};
use bowline_model::{PartitionId, varint};

const VERSION: u8 = 1;
const DAMAGED: Damaged = Damaged("share group");

impl Shares {
    /// Appends the durable state to `out`.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        varint::put(out, self.by_name.len() as u64);
        for share in self.by_name.values().filter_map(|number| self.shares.get(number)) {
            varint::put(out, u64::from(share.partition.0));
            put_bytes(out, share.group.as_bytes());
            put_progress(out, &share.progress);
        }
    }

    /// Replaces everything by what [`Shares::checkpoint`] wrote.
    pub fn restore(&mut self, mut input: &[u8]) -> Result<(), Damaged> {
        let input = &mut input;
        if input.split_off_first() != Some(&VERSION) {
            return Err(Damaged("version of share groups"));
        }
        let mut restored = Shares::default();
        for _ in 0..take(input)? {
            let partition = PartitionId(take_u32(input)?);
            let group = take_str(input)?.into();
            restored.insert(Share::new(partition, group, take_progress(input)?));
        }
        if !input.is_empty() {
            return Err(Damaged("bytes after the share groups"));
        }
        *self = restored;
        Ok(())
    }
}

fn put_progress(out: &mut Vec<u8>, progress: &Progress) {
    for number in [
        progress.start(),
        progress.reserved(),
        progress.suspect(),
        progress.accepted,
        progress.archived,
        progress.settled().len() as u64,
    ] {
        varint::put(out, number);
    }
    let mut at = progress.start();
    for (first, end) in progress.settled() {
        varint::put(out, first - at);
        varint::put(out, end - first);
        at = end;
    }
    varint::put(out, progress.returns().len() as u64);
    at = 0;
    for (offset, times) in progress.returns() {
        varint::put(out, offset - at);
        varint::put(out, u64::from(times));
        at = offset;
    }
}

fn take_progress(input: &mut &[u8]) -> Result<Progress, Damaged> {
    let (start, reserved, suspect) = (take(input)?, take(input)?, take(input)?);
    let mut progress = Progress::new(start, reserved);
    (progress.accepted, progress.archived) = (take(input)?, take(input)?);
    let mut at = start;
    let mut settled = Vec::new();
    for _ in 0..take(input)? {
        let first = at.checked_add(take(input)?).ok_or(DAMAGED)?;
        at = first.checked_add(take(input)?).ok_or(DAMAGED)?;
        settled.push((first, at));
    }
    at = 0;
    let mut returns = Vec::new();
    for _ in 0..take(input)? {
        at = at.checked_add(take(input)?).ok_or(DAMAGED)?;
        returns.push((at, take_u32(input)?));
    }
    if reserved < start || !progress.restore(suspect, &settled, &returns) {
        return Err(DAMAGED);
    }
    Ok(progress)
}
