//! The durable state of partitions as bytes.
//!
//! ```text
//! version u8 = 6 | clock | n partitions, by id: n ×
//!   spec (length, postcard) | next offset | log start | leader epoch (signed) |
//!   n extents: n × ( lsn − previous lsn (signed) | count | record position | bytes |
//!                    max timestamp − previous (signed) ) |
//!   n producers: n × ( id (signed) | epoch (signed) | stamp | n batches: n × (first sequence | last sequence |
//!                      base offset) | from version 4 on, its open transaction: 0 (none) | 1, epoch (none of it has
//!                      come) | 2, epoch, first offset | from version 5 on: last timestamp (signed) | epoch of the
//!                      coordinator of its last marker (signed; version 5: 1 if there was one, else 0) ) |
//!   from version 4 on: n aborted transactions: n × ( producer id (signed) | first offset | offset of the marker |
//!                      last stable offset then ) |
//!   what was moved here from other shards (length, postcard; empty if nothing; from version 2 on) |
//!   how far it is compacted (the same; from version 3 on)
//! ```
//! Numbers are varints. First offsets follow from the counts: extents leave no gaps and end at the next offset.

use super::Partitions;
use super::aborted::Aborted;
use super::extent::{Extent, Extents};
use super::producer::{Admitted, BATCHES_REMEMBERED, Producer, Producers, Written};
use super::segments::Segments;
use super::state::Partition;
use crate::checkpoint::{Damaged, put_bytes, put_signed, take, take_bytes, take_i32, take_signed, take_u32};
use bowline_model::request::PartitionSpec;
use bowline_model::txn::{COORDINATOR_EPOCH, NO_COORDINATOR};
use bowline_model::{Lsn, Millis, varint};

const VERSION: u8 = 6;
/// Offsets are signed 64-bit numbers for clients.
const OFFSET_MAX: u64 = i64::MAX as u64;

impl Partitions {
    /// Appends the durable state to `out`.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        varint::put(out, self.clock);
        varint::put(out, self.by_id.len() as u64);
        for id in self.sorted_ids() {
            if let Some(partition) = self.by_id.get(&id) {
                put_partition(out, partition, self.clock);
            }
        }
    }

    /// Replaces durable state by what [`Partitions::checkpoint`] wrote; forgets volatile state.
    pub fn restore(&mut self, mut input: &[u8]) -> Result<(), Damaged> {
        let input = &mut input;
        let version = match input.split_off_first() {
            Some(&version @ 1..=VERSION) => version,
            _ => return Err(Damaged("version of partitions")),
        };
        let mut restored = Partitions::new(self.options.clone());
        restored.clock = take(input)?;
        for _ in 0..take(input)? {
            let partition = take_partition(input, version, &mut restored.segments)?;
            restored.by_id.insert(partition.spec.partition, Box::new(partition));
        }
        if !input.is_empty() {
            return Err(Damaged("bytes after the partitions"));
        }
        *self = restored;
        Ok(())
    }
}

fn put_partition(out: &mut Vec<u8>, partition: &Partition, clock: Millis) {
    let spec = postcard::to_stdvec(&partition.spec).expect("our plain data always serialises");
    put_bytes(out, &spec);
    varint::put(out, partition.next_offset);
    varint::put(out, partition.log_start);
    put_signed(out, i64::from(partition.leader_epoch));
    varint::put(out, partition.extents.len() as u64);
    let (mut lsn, mut timestamp) = (0i64, 0i64);
    for extent in partition.extents.iter() {
        put_signed(out, (extent.lsn.0 as i64).wrapping_sub(lsn));
        varint::put(out, u64::from(extent.count));
        varint::put(out, u64::from(extent.record_position));
        varint::put(out, u64::from(extent.bytes));
        put_signed(out, extent.max_timestamp.wrapping_sub(timestamp));
        (lsn, timestamp) = (extent.lsn.0 as i64, extent.max_timestamp);
    }
    let none = Producers::default();
    let producers = partition.producers.as_deref().unwrap_or(&none);
    varint::put(out, producers.live(clock).count() as u64);
    for (id, producer) in producers.live(clock) {
        put_signed(out, id);
        put_signed(out, i64::from(producer.epoch));
        varint::put(out, producer.stamp);
        varint::put(out, u64::from(producer.len));
        for batch in producer.written() {
            varint::put(out, batch.first_sequence as u64);
            varint::put(out, batch.last_sequence as u64);
            varint::put(out, batch.base_offset);
        }
        match producer.txn {
            None => varint::put(out, 0),
            Some(txn) => {
                varint::put(out, 1 + u64::from(txn.first_offset.is_some()));
                put_signed(out, i64::from(txn.epoch));
                txn.first_offset.into_iter().for_each(|first| varint::put(out, first));
            }
        }
        put_signed(out, producer.last_timestamp);
        put_signed(out, i64::from(producer.coordinator_epoch));
    }
    varint::put(out, producers.all_aborted().len() as u64);
    for aborted in producers.all_aborted() {
        put_signed(out, aborted.producer_id);
        varint::put(out, aborted.first_offset);
        varint::put(out, aborted.last_offset);
        varint::put(out, aborted.last_stable);
    }
    let transferred = partition.transferred.as_deref().map(postcard::to_stdvec).transpose();
    put_bytes(out, &transferred.expect("our plain data always serialises").unwrap_or_default());
    let compacted = partition.compacted.as_deref().map(postcard::to_stdvec).transpose();
    put_bytes(out, &compacted.expect("our plain data always serialises").unwrap_or_default());
}

fn take_partition(input: &mut &[u8], version: u8, segments: &mut Segments) -> Result<Partition, Damaged> {
    let spec = PartitionSpec::decode(take_bytes(input)?).ok_or(Damaged("partition's specification"))?;
    let mut partition = Partition::new(spec);
    partition.next_offset = take(input)?;
    partition.log_start = take(input)?;
    if partition.next_offset > OFFSET_MAX || partition.log_start > partition.next_offset {
        return Err(Damaged("offsets"));
    }
    partition.leader_epoch = take_i32(input)?;
    take_extents(input, &mut partition, segments)?;
    let producers = take_producers(input, version)?;
    if !producers.is_empty() {
        partition.producers = Some(Box::new(producers));
    }
    let transferred = if version > 1 { take_bytes(input)? } else { &[] };
    if !transferred.is_empty() {
        let transferred = postcard::from_bytes(transferred).map_err(|_| Damaged("transferred"))?;
        partition.transferred = Some(Box::new(transferred));
    }
    let compacted = if version > 2 { take_bytes(input)? } else { &[] };
    if !compacted.is_empty() {
        let compacted = postcard::from_bytes(compacted).map_err(|_| Damaged("compaction"))?;
        partition.compacted = Some(Box::new(compacted));
    }
    Ok(partition)
}

fn take_extents(
    input: &mut &[u8],
    partition: &mut Partition,
    segments: &mut Segments,
) -> Result<(), Damaged> {
    let n = take(input)?;
    let (mut lsn, mut timestamp) = (0i64, 0i64);
    let mut extents = Vec::new();
    let mut offsets = 0u64;
    for _ in 0..n {
        lsn = lsn.wrapping_add(take_signed(input)?);
        let count = take_u32(input)?;
        if count == 0 {
            return Err(Damaged("extents"));
        }
        let (record_position, bytes) = (take_u32(input)?, take_u32(input)?);
        timestamp = timestamp.wrapping_add(take_signed(input)?);
        // Relative to the first extent; the absolute offset is known when the sum is.
        extents.push(Extent {
            lsn: Lsn(lsn as u64),
            first_offset: offsets,
            max_timestamp: timestamp,
            count,
            record_position,
            bytes,
        });
        offsets = offsets.checked_add(u64::from(count)).ok_or(Damaged("extents"))?;
    }
    let first = partition.next_offset.checked_sub(offsets).ok_or(Damaged("extents"))?;
    for extent in &mut extents {
        extent.first_offset += first;
        partition.bytes += u64::from(extent.bytes);
        segments.add_extent(extent.lsn, extent.bytes);
    }
    partition.extents = Extents::from(extents);
    Ok(())
}

fn take_producers(input: &mut &[u8], version: u8) -> Result<Producers, Damaged> {
    let mut producers = Producers::default();
    for _ in 0..take(input)? {
        let id = take_signed(input)?;
        let epoch = take_epoch(input)?;
        let stamp = take(input)?;
        let batches = take(input)?;
        if batches > BATCHES_REMEMBERED as u64 {
            return Err(Damaged("producer's batches"));
        }
        let mut producer = Producer::new(epoch, stamp);
        for _ in 0..batches {
            let mut sequence = || i32::try_from(take_u32(input)?).map_err(|_| Damaged("sequence"));
            let (first_sequence, last_sequence) = (sequence()?, sequence()?);
            producer.push(Written { first_sequence, last_sequence, base_offset: take(input)? });
        }
        if version > 3 {
            producer.txn = match take(input)? {
                0 => None,
                1 => Some(Admitted { epoch: take_epoch(input)?, first_offset: None }),
                2 => Some(Admitted { epoch: take_epoch(input)?, first_offset: Some(take(input)?) }),
                _ => return Err(Damaged("producer's transaction")),
            };
        }
        if version > 4 {
            producer.last_timestamp = take_signed(input)?;
            producer.coordinator_epoch = match version {
                5 if take(input)? != 0 => COORDINATOR_EPOCH,
                5 => NO_COORDINATOR,
                _ => take_i32(input)?,
            };
        }
        producers.insert(id, producer);
    }
    if version > 3 {
        for _ in 0..take(input)? {
            producers.insert_aborted(Aborted {
                producer_id: take_signed(input)?,
                first_offset: take(input)?,
                last_offset: take(input)?,
                last_stable: take(input)?,
            });
        }
    }
    Ok(producers)
}

fn take_epoch(input: &mut &[u8]) -> Result<i16, Damaged> {
    i16::try_from(take_i32(input)?).map_err(|_| Damaged("producer epoch"))
}
