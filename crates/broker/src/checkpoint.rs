//! The durable state as bytes. All numbers are LEB128 varints unless said otherwise; queues ascend by id, so the
//! same state gives the same bytes.
//!
//! ```text
//! checkpoint := version u16 LE | term | index | n | n × queue
//!               len | outbox (postcard, from version 8 on) | stream (rest: its own format; with share groups from version 5
//!               on, transactions over Kafka from version 9 on)
//! queue      := len | QueueSpec as postcard (len bytes)
//!               next number | horizon | suspect below | settled, by reason (7; 6 before version 5, 3 before version 3) | bytes of records (from version 2 on)
//!               n | n × extent
//!               len | what it keeps beyond a plain queue (`Kept`, postcard; empty if that is nothing; from version 4 on, and
//!                   where it is not empty, of this version only)
//! extent     := lsn, difference from the previous extent's (zigzag) | first number, gap from the previous end
//!               count
//!               n | n × settled run (gap from the end of the previous run | length)
//! ```

use crate::outbox;
use crate::queue::{Extent, Horizon, Index, Kept, Queues, Special};
use crate::segments::Segments;
use crate::shard::RestoreError;
use bowline_model::record::SETTLE_REASONS;
use bowline_model::request::QueueSpec;
use bowline_model::{Lsn, varint};
use bowline_stream::Stream;

const VERSION: u16 = 9;

pub(crate) fn write(
    out: &mut Vec<u8>,
    applied: (u64, u64),
    queues: &Queues,
    outbox: &outbox::Kept,
    stream: &Stream,
) {
    out.extend_from_slice(&VERSION.to_le_bytes());
    varint::put(out, applied.0);
    varint::put(out, applied.1);
    varint::put(out, queues.len() as u64);
    let nothing = postcard::to_stdvec(&Kept::default()).expect("our plain data always serialises");
    for queue in queues.ids().into_iter().filter_map(|id| queues.queue(id)) {
        let spec = postcard::to_stdvec(&queue.spec).expect("our plain data always serialises");
        varint::put(out, spec.len() as u64);
        out.extend_from_slice(&spec);
        let settled = queue.settled;
        let horizon = queue.horizon;
        for value in [queue.index.next_seq(), horizon.reserved(), horizon.suspect()]
            .into_iter()
            .chain(settled)
            .chain([queue.bytes])
        {
            varint::put(out, value);
        }
        write_extents(out, &queue.index);
        let kept = queue.special.as_ref().map(|special| postcard::to_stdvec(&special.kept));
        let kept = kept.transpose().expect("our plain data always serialises").unwrap_or_default();
        // Whether there is a place for it may depend on messages in memory.
        let kept = if kept == nothing { Vec::new() } else { kept };
        varint::put(out, kept.len() as u64);
        out.extend_from_slice(&kept);
    }
    let outbox = postcard::to_stdvec(outbox).expect("our plain data always serialises");
    varint::put(out, outbox.len() as u64);
    out.extend_from_slice(&outbox);
    stream.checkpoint(out);
}

pub(crate) fn read(
    mut input: &[u8],
    queues: &mut Queues,
    stream: &mut Stream,
) -> Result<((u64, u64), outbox::Kept), RestoreError> {
    let version = input.split_off(..2).ok_or(RestoreError::Malformed)?;
    let version = u16::from_le_bytes([version[0], version[1]]);
    if version == 0 || version > VERSION {
        return Err(RestoreError::Version(version));
    }
    let input = &mut input;
    let applied = (take(input)?, take(input)?);
    for _ in 0..take(input)? {
        let len = take(input)?;
        let len = usize::try_from(len).ok().filter(|len| *len <= input.len());
        let spec = input.split_off(..len.ok_or(RestoreError::Malformed)?).ok_or(RestoreError::Malformed)?;
        let spec = QueueSpec::from_stored(spec).ok_or(RestoreError::Malformed)?;
        let next_seq = take(input)?;
        let horizon = Horizon::new(take(input)?, take(input)?, queues.horizon_margin);
        let mut settled = [0; SETTLE_REASONS];
        let reasons = match version {
            0..3 => 3,
            3..5 => 6,
            _ => SETTLE_REASONS,
        };
        for count in &mut settled[..reasons] {
            *count = take(input)?;
        }
        let bytes = if version >= 2 { take(input)? } else { 0 };
        let index = read_extents(input, next_seq, &mut queues.segments)?;
        let kept = if version >= 4 { take_kept(input, version)? } else { None };
        let special = kept.map(|kept| Box::new(Special::restored(kept, &index)));
        if queues.queue(spec.queue).is_some() {
            return Err(RestoreError::Malformed);
        }
        let queue = queues.insert(spec, index, horizon);
        (queue.settled, queue.bytes) = (settled, bytes);
        queue.special = special.or(queue.special.take());
    }
    let outbox = match version {
        8.. => {
            let len = usize::try_from(take(input)?).map_err(|_| RestoreError::Malformed)?;
            let bytes = input.split_off(..len).ok_or(RestoreError::Malformed)?;
            postcard::from_bytes(bytes).map_err(|_| RestoreError::Malformed)?
        }
        _ => outbox::Kept::default(),
    };
    let sections = match version {
        0..5 => 2,
        5..9 => 3,
        _ => bowline_stream::SECTIONS,
    };
    stream.restore(input, sections).map_err(|_| RestoreError::Malformed)?;
    Ok((applied, outbox))
}

fn write_extents(out: &mut Vec<u8>, index: &Index) {
    let live = index.iter().filter(|extent| extent.live > 0);
    varint::put(out, live.clone().count() as u64);
    let (mut lsn, mut end) = (Lsn::default(), 0);
    for extent in live {
        varint::put(out, zigzag(extent.lsn.0.wrapping_sub(lsn.0) as i64));
        varint::put(out, extent.first - end);
        varint::put(out, u64::from(extent.count));
        let runs = index.settled_runs(extent);
        varint::put(out, runs.len() as u64);
        let mut at = 0;
        for (first, count) in runs {
            varint::put(out, u64::from(first - at));
            varint::put(out, u64::from(count));
            at = first + count;
        }
        (lsn, end) = (extent.lsn, extent.end());
    }
}

fn read_extents(input: &mut &[u8], next_seq: u64, segments: &mut Segments) -> Result<Index, RestoreError> {
    let mut index = Index::default();
    let mut settled = Vec::new();
    let (mut lsn, mut end) = (Lsn::default(), 0u64);
    for _ in 0..take(input)? {
        lsn = Lsn(lsn.0.wrapping_add(unzigzag(take(input)?) as u64));
        let first = end.checked_add(take(input)?).ok_or(RestoreError::Malformed)?;
        let count = take_u32(input)?;
        end = first.checked_add(u64::from(count)).ok_or(RestoreError::Malformed)?;
        if count == 0 || end > next_seq || lsn.is_volatile() {
            return Err(RestoreError::Malformed);
        }
        index.append(Extent { lsn, first, count, live: count }, segments);
        let mut at = first;
        for _ in 0..take(input)? {
            let run = at.checked_add(take(input)?).ok_or(RestoreError::Malformed)?;
            let length = take(input)?;
            at = run.checked_add(length).filter(|at| *at <= end).ok_or(RestoreError::Malformed)?;
            settled.push((run, length));
        }
    }
    index.set_next_seq(next_seq);
    for (first, count) in settled {
        index.settle(first, count, segments);
    }
    Ok(index)
}

fn take_kept(input: &mut &[u8], version: u16) -> Result<Option<Kept>, RestoreError> {
    let len = usize::try_from(take(input)?).map_err(|_| RestoreError::Malformed)?;
    match input.split_off(..len).ok_or(RestoreError::Malformed)? {
        [] => Ok(None),
        _ if version < VERSION => Err(RestoreError::Version(version)),
        bytes => postcard::from_bytes(bytes).map(Some).map_err(|_| RestoreError::Malformed),
    }
}

fn take(input: &mut &[u8]) -> Result<u64, RestoreError> {
    varint::take(input).ok_or(RestoreError::Malformed)
}

fn take_u32(input: &mut &[u8]) -> Result<u32, RestoreError> {
    varint::take_u32(input).ok_or(RestoreError::Malformed)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
