//! Transactions as one partition sees them.

use super::compacting;
use crate::partition::compaction::{Compacted, Progress};
use crate::testing::{Batch, World, base, sent};
use crate::{FetchOutcome, Stream};
use bowline_model::event::{AppendError, Fetched, SLICE_ABORTED};
use bowline_model::record::{self, APPEND_FOREIGN_MARKER, APPEND_FOREIGN_MARKER_V2, Append, Kind};
use bowline_model::request::{Fetch, FetchPartition};
use bowline_model::txn::{AdmitRecord, Producer, marker, marker_of};
use bowline_model::{PartitionId, Token};

const P: PartitionId = PartitionId(1);

fn admit(world: &mut World, id: i64, epoch: i16) {
    let producer = Producer { id, epoch };
    let record = AdmitRecord { producer, partitions: vec![P], groups: Vec::new(), from_zero: false };
    let mut records = Vec::new();
    record::put_value(&mut records, Kind::TxnAdmit, &record);
    world.write(1, records);
}

fn write(world: &mut World, id: i64, epoch: i16, sequence: i32) -> Result<u64, AppendError> {
    let mut batch = Batch::from(id, epoch, sequence, 2).bytes();
    batch[22] |= 0x10;
    let mut records = Vec::new();
    Append::encode(&mut records, 1, 0, &batch);
    base(&world.write(1, records)[0])
}

fn end(world: &mut World, id: i64, epoch: i16, commit: bool) -> u64 {
    let mut records = Vec::new();
    Append::encode(&mut records, 1, 0, &marker(Producer { id, epoch }, commit, 5));
    base(&world.write(1, records)[0]).unwrap()
}

fn committed(world: &mut World, offset: u64) -> Fetched {
    let at = FetchPartition { partition: P, offset, max_bytes: 1 << 20 };
    let fetch = Fetch { token: Token(1), partitions: vec![at], max_bytes: 1 << 20, committed: true };
    let World { stream, blocks, .. } = world;
    let stream: &Stream = stream;
    match stream.partitions.fetch(&fetch, false, blocks) {
        FetchOutcome::Ready(mut found) => found.remove(0).result.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn offsets(fetched: &Fetched) -> Vec<u64> {
    let visible = |s: &&bowline_model::event::BatchSlice| {
        s.flags & SLICE_ABORTED == 0 && bowline_model::txn::commits(sent(s)).is_none_or(|_| s.len != 78)
    };
    fetched.batches.iter().filter(visible).map(|slice| slice.base_offset).collect()
}

#[test]
fn committed_readers() {
    let mut world = World::with_partitions(1);
    admit(&mut world, 7, 0);
    admit(&mut world, 8, 0);
    assert_eq!(write(&mut world, 8, 0, 0), Ok(0));
    assert_eq!(write(&mut world, 7, 0, 0), Ok(2));
    assert_eq!(write(&mut world, 8, 0, 2), Ok(4));
    let open = committed(&mut world, 0);
    assert_eq!((open.last_stable, open.high_watermark, open.batches.len()), (0, 6, 0));
    // The one that began later ends first, so the list has to be sorted.
    assert_eq!(end(&mut world, 7, 0, false), 6);
    assert_eq!(committed(&mut world, 0).batches.len(), 0, "the older one is still open");
    assert_eq!(end(&mut world, 8, 0, false), 7);
    let both = committed(&mut world, 0);
    assert_eq!((both.last_stable, both.aborted.clone()), (8, vec![(8, 0), (7, 2)]));
    assert!(offsets(&both).is_empty());
    // A second time the marker ends nothing and takes no offset.
    assert_eq!(end(&mut world, 7, 0, false), 8);
    admit(&mut world, 7, 0);
    assert_eq!(write(&mut world, 7, 0, 2), Ok(8));
    assert_eq!(end(&mut world, 7, 0, true), 10);
    assert_eq!(offsets(&committed(&mut world, 0)), [8]);
    assert!(committed(&mut world, 8).aborted.is_empty(), "they lie before");
    let checkpoint = world.checkpoint();
    world.assert_replays(Some(&checkpoint), world.blocks.all.len());
    world.assert_replays(None, 0);
    // Trimmed, they are forgotten.
    let mut records = Vec::new();
    record::put_value(&mut records, Kind::PartitionTrim, &(P, 8u64));
    world.write(2, records);
    assert!(committed(&mut world, 8).aborted.is_empty());
}

#[test]
fn compaction_stays_below_open_transactions_and_forgets_what_was_aborted() {
    let mut world = World::with_partitions(1);
    compacting::configure(&mut world, compacting::usual());
    admit(&mut world, 7, 0);
    admit(&mut world, 8, 0);
    write(&mut world, 7, 0, 0).unwrap();
    assert_eq!(end(&mut world, 7, 0, false), 2);
    admit(&mut world, 7, 0);
    assert_eq!(write(&mut world, 7, 0, 2), Ok(3));
    assert_eq!(write(&mut world, 8, 0, 0), Ok(5));
    assert_eq!(end(&mut world, 7, 0, false), 7);
    let partitions = &mut world.stream.partitions;
    assert_eq!(
        partitions.compaction_due(9)[0].dirty_bytes,
        2 * 71 + 78,
        "what is open, and behind it, is not"
    );
    let plan = partitions.plan_compaction(P, 9, 1_000).unwrap();
    assert_eq!((plan.dirty, plan.upto), (0, 5));
    assert!(plan.aborted.covers(7, 0) && plan.aborted.covers(7, 3) && plan.aborted.ends_at(2));
    let done = |upto| Compacted { partition: P, progress: Progress { upto, tombstone_due: None } };
    partitions.compacted(done(5));
    assert!(partitions.plan_compaction(P, 9, 1_000).unwrap().extents.is_empty(), "nothing is new below");
    // The second one reaches beyond what was compacted.
    assert_eq!(end(&mut world, 8, 0, true), 8);
    assert_eq!(committed(&mut world, 0).aborted, [(7, 3)]);
    let checkpoint = world.checkpoint();
    world.assert_replays(Some(&checkpoint), world.blocks.all.len());
    let plan = world.stream.partitions.plan_compaction(P, 9, 1_000).unwrap();
    assert_eq!((plan.dirty, plan.upto), (5, 9));
    assert!(!plan.aborted.covers(8, 5) && plan.aborted.ends_at(7) && !plan.aborted.ends_at(2));
    world.stream.partitions.compacted(done(9));
    assert!(committed(&mut world, 0).aborted.is_empty());
}

#[test]
fn producers_as_administrators_see_them() {
    let mut world = World::with_partitions(1);
    let seen = |world: &World| -> Vec<(i64, i64, i32, Option<u64>)> {
        let all = world.stream.partitions.active_producers(P).unwrap();
        all.iter().map(|p| (p.producer.id, p.last_timestamp, p.coordinator_epoch, p.open_since)).collect()
    };
    admit(&mut world, 7, 0);
    assert_eq!(seen(&world), [], "it has written nothing here");
    let mut batch = Batch::from(7, 0, 0, 2).at(1_234).bytes();
    batch[22] |= 0x10;
    let mut records = Vec::new();
    Append::encode(&mut records, 1, 0, &batch);
    world.write(99, records);
    assert_eq!(seen(&world), [(7, 1_234, -1, Some(0))]);
    end(&mut world, 7, 0, true);
    assert_eq!(seen(&world), [(7, 5, 0, None)]);
    let checkpoint = world.checkpoint();
    world.stream.restore(&checkpoint, crate::SECTIONS).unwrap();
    assert_eq!(seen(&world), [(7, 5, 0, None)]);
}

/// An administrator ends the transaction as a coordinator of that epoch would. `next`: by the rule of KIP-890.
fn intervene(
    world: &mut World,
    id: i64,
    epoch: i16,
    coordinator_epoch: i32,
    next: bool,
) -> Result<u64, AppendError> {
    let flags = if next { APPEND_FOREIGN_MARKER_V2 } else { APPEND_FOREIGN_MARKER };
    let mut records = Vec::new();
    let marker = marker_of(coordinator_epoch, Producer { id, epoch }, false, 5);
    Append::encode(&mut records, 1, flags, &marker);
    base(&world.write(1, records)[0])
}

#[test]
fn markers_past_the_coordinator_are_held_against_what_is_known() {
    let mut world = World::with_partitions(1);
    let known = |world: &World| world.stream.partitions.active_producers(P).unwrap()[0].coordinator_epoch;
    admit(&mut world, 7, 3);
    assert_eq!(write(&mut world, 7, 3, 0), Ok(0));
    assert_eq!(intervene(&mut world, 7, 2, 5, false), Err(AppendError::InvalidProducerEpoch));
    assert_eq!(intervene(&mut world, 7, 3, 5, true), Err(AppendError::InvalidProducerEpoch));
    assert_eq!(known(&world), -1, "what was refused is not remembered");
    assert_eq!(committed(&mut world, 0).last_stable, 0);
    assert_eq!(intervene(&mut world, 7, 3, 5, false), Ok(2));
    assert_eq!((committed(&mut world, 0).last_stable, known(&world)), (3, 5));
    // The same again, by either rule: there is nothing left to end.
    assert_eq!(intervene(&mut world, 7, 3, 5, true), Ok(3));
    assert_eq!(intervene(&mut world, 7, 3, 4, false), Err(AppendError::CoordinatorFenced));
    let (checkpoint, applied) = (world.checkpoint(), world.blocks.all.len());
    world.stream.restore(&checkpoint, crate::SECTIONS).unwrap();
    assert_eq!(known(&world), 5);
    // The transaction's own coordinator is not fenced by what others claim.
    admit(&mut world, 7, 4);
    assert_eq!(write(&mut world, 7, 4, 0), Ok(3));
    assert_eq!(intervene(&mut world, 7, 4, 0, false), Err(AppendError::CoordinatorFenced));
    assert_eq!(end(&mut world, 7, 4, true), 5);
    assert_eq!((committed(&mut world, 0).last_stable, known(&world)), (6, 5));
    // Of a producer that is not known there is nothing to fence, and nothing to end.
    assert_eq!(intervene(&mut world, 8, 0, 0, true), Ok(6));
    world.assert_replays(Some(&checkpoint), applied);
    world.assert_replays(None, 0);
}

#[test]
fn batches_that_come_too_late_or_too_early() {
    let mut world = World::with_partitions(1);
    assert_eq!(write(&mut world, 7, 3, 0), Err(AppendError::InvalidTxnState));
    admit(&mut world, 7, 3);
    assert_eq!(write(&mut world, 7, 2, 0), Err(AppendError::InvalidProducerEpoch));
    assert_eq!(write(&mut world, 7, 4, 0), Err(AppendError::InvalidTxnState), "it has not joined as that");
    assert_eq!(write(&mut world, 7, 3, 0), Ok(0));
    let plain = base(&world.write(1, crate::testing::appends(&[(1, Batch::from(7, 3, 2, 1))]))[0]);
    assert_eq!(plain, Err(AppendError::InvalidTxnState), "not of the transaction that is open");
    end(&mut world, 7, 4, true);
    assert_eq!(
        write(&mut world, 7, 3, 2),
        Err(AppendError::InvalidProducerEpoch),
        "the marker has raised it"
    );
    admit(&mut world, 7, 4);
    assert_eq!(write(&mut world, 7, 4, 2), Err(AppendError::OutOfOrderSequence));
    assert_eq!(write(&mut world, 7, 4, 0), Ok(3));
    assert_eq!(write(&mut world, 7, 4, 0), Ok(3), "it comes again");
    world.assert_replays(None, 0);
}
