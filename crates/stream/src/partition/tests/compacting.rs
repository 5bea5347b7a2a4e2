use crate::partition::Extent;
use crate::partition::compaction::{Compacted, Progress};
use crate::testing::{Batch, World, appends, spec};
use bowline_model::record::{self, Kind};
use bowline_model::request::Compaction;
use bowline_model::{Lsn, PartitionId};
use std::collections::BTreeSet;

const P: PartitionId = PartitionId(1);

pub fn configure(world: &mut World, compaction: Compaction) {
    let mut spec = spec(1, None, None);
    spec.config.compaction = Some(Box::new(compaction));
    let mut records = Vec::new();
    record::put_value(&mut records, Kind::PartitionCreate, &spec);
    world.write(0, records);
}

pub fn usual() -> Compaction {
    Compaction { min_lag_ms: 0, max_lag_ms: i64::MAX as u64, delete_retention_ms: 100, dirty_ppm: 500_000 }
}

/// Four extents of ten records, at times 1000, 2000, 3000 and 4000.
fn four() -> World {
    let mut world = World::with_partitions(1);
    for time in 1..=4 {
        world.write(0, appends(&[(1, Batch::plain(10).at(time * 1_000))]));
    }
    world
}

#[test]
fn it_is_time_by_ratio_lag_or_tombstones() {
    let mut world = four();
    let due = |world: &World, now| world.stream.partitions.compaction_due(now).first().copied();
    assert_eq!(due(&world, 5_000), None, "it is not compacted");
    configure(&mut world, usual());
    let all = due(&world, 5_000).unwrap();
    assert_eq!((all.dirty_ppm, all.dirty_bytes, all.bytes, all.overdue), (1_000_000, 4 * 71, 4 * 71, false));
    let done = |upto, tombstone_due| Compacted { partition: P, progress: Progress { upto, tombstone_due } };
    world.stream.partitions.compacted(done(20, None));
    assert_eq!(due(&world, 5_000).unwrap().dirty_ppm, 500_000);
    world.stream.partitions.compacted(done(30, None));
    assert_eq!(due(&world, 5_000), None, "a quarter is not half");
    configure(&mut world, Compaction { max_lag_ms: 1_000, ..usual() });
    assert_eq!(due(&world, 5_000), None, "the oldest is as old as it may be");
    assert!(due(&world, 5_001).unwrap().overdue);
    configure(&mut world, Compaction { min_lag_ms: 2_500, ..usual() });
    world.stream.partitions.compacted(done(0, None));
    let old = due(&world, 5_000).unwrap();
    assert_eq!((old.dirty_bytes, old.bytes), (2 * 71, 2 * 71), "two are too young");
    configure(&mut world, usual());
    world.stream.partitions.compacted(done(40, Some(9_000)));
    assert_eq!(due(&world, 8_999), None);
    assert!(due(&world, 9_000).unwrap().overdue);
    // How far it got survives.
    let checkpoint = world.checkpoint();
    world.stream.restore(&checkpoint, crate::SECTIONS).unwrap();
    assert_eq!(due(&world, 8_999), None);
    assert!(due(&world, 9_000).is_some());
}

#[test]
fn a_plan_ends_where_keys_would_find_no_room() {
    let mut world = four();
    configure(&mut world, usual());
    let plan = |world: &World, max| world.stream.partitions.plan_compaction(P, 5_000, max).unwrap();
    assert_eq!((plan(&world, 25).dirty, plan(&world, 25).upto), (0, 20));
    assert_eq!(plan(&world, 3).upto, 10, "one extent in any case");
    world
        .stream
        .partitions
        .compacted(Compacted { partition: P, progress: Progress { upto: 10, tombstone_due: None } });
    let whole = plan(&world, 1_000);
    assert_eq!((whole.dirty, whole.upto, whole.extents.len()), (10, 40, 3));
    let pieces = |from, bytes| -> Vec<u64> {
        let planned = world.stream.partitions.extents_between(P, from, 40, bytes);
        planned.into_iter().map(|planned| planned.extent.end()).collect()
    };
    assert_eq!((pieces(0, 142), pieces(20, 1_000), pieces(40, 1_000)), (vec![10, 20], vec![30, 40], vec![]));
}

#[test]
fn a_swap_may_leave_fewer_extents_and_offsets_without_batches() {
    let mut world = four();
    configure(&mut world, usual());
    let files: BTreeSet<Lsn> = (0..9).map(|n| Lsn::new(n, 0)).collect();
    let cold = |first_offset, count| Extent {
        lsn: Lsn::cold(1, 4096),
        first_offset,
        max_timestamp: 1_000,
        count,
        record_position: 0,
        bytes: 71,
    };
    assert!(!world.stream.partitions.relocate(P, &files, &[cold(0, 25)]), "not where an extent ends");
    assert!(world.stream.partitions.relocate(P, &files, &[cold(0, 30)]));
    assert_eq!(world.stream.partitions.info(P).unwrap().bytes, 2 * 71);
    assert_eq!(world.stream.partitions.high_watermark(P), Some(40));
}
