use crate::testing::{Batch, World, appends, spec};
use bowline_model::event::{Event, FetchError};
use bowline_model::record::{self, Kind};
use bowline_model::{PartitionId, SessionId, Token};

const P: PartitionId = PartitionId(1);

fn trim(world: &mut World, partition: u32, offset: Option<u64>) -> Result<u64, FetchError> {
    world.stream.partitions.trim(SessionId(1), Token(4), PartitionId(partition), offset, &mut world.out);
    world.settle(0);
    match world.replies().remove(0) {
        (SessionId(1), Event::Trimmed { token: Token(4), result }) => result,
        other => panic!("{other:?}"),
    }
}

fn configure(world: &mut World, retention_ms: Option<u64>, retention_bytes: Option<u64>) {
    let mut records = Vec::new();
    record::put_value(&mut records, Kind::PartitionCreate, &spec(1, retention_ms, retention_bytes));
    world.write(0, records);
}

/// Ticks, and logs what comes of it.
fn retain(world: &mut World, now: u64) -> u64 {
    assert!(world.stream.partitions.next_deadline().is_some_and(|at| at <= now));
    world.stream.tick(now, &mut world.out);
    assert!(world.out.propose.iter().all(|p| !p.urgent && p.waiter.is_none()));
    world.settle(now);
    world.stream.partitions.log_start(P).unwrap()
}

#[test]
fn moves_the_log_start_and_lets_extents_go() {
    let mut world = World::with_partitions(1);
    for _ in 0..3 {
        world.write(0, appends(&[(1, Batch::plain(10))]));
    }
    assert_eq!(
        trim(&mut world, 1, Some(31)),
        Err(FetchError::OutOfRange { log_start: 0, high_watermark: 30 })
    );
    assert_eq!(trim(&mut world, 5, None), Err(FetchError::UnknownPartition));
    let live = |w: &World| w.stream.partitions.live_segments().next().map_or(0, |(_, live)| live.extents);
    assert_eq!((trim(&mut world, 1, Some(5)), live(&world)), (Ok(5), 3));
    assert_eq!((trim(&mut world, 1, Some(10)), live(&world)), (Ok(10), 2));
    assert_eq!((trim(&mut world, 1, Some(7)), live(&world)), (Ok(10), 2), "never back");
    assert_eq!(world.stream.partitions.info(P).unwrap().bytes, 142);
    assert_eq!((trim(&mut world, 1, None), live(&world)), (Ok(30), 0));
    assert_eq!(world.stream.partitions.info(P).unwrap().bytes, 0);
    world.write(0, appends(&[(1, Batch::plain(10))]));
    assert_eq!(world.stream.partitions.high_watermark(P), Some(40));
    world.assert_replays(None, 0);
}

#[test]
fn a_trim_that_was_not_logged_is_told() {
    let mut world = World::with_partitions(1);
    world.write(0, appends(&[(1, Batch::plain(10))]));
    world.stream.partitions.trim(SessionId(1), Token(4), P, None, &mut world.out);
    let waiter = world.out.propose.remove(0).waiter.unwrap();
    world.stream.refused(waiter, true, &mut world.out);
    assert!(matches!(world.replies()[..], [(_, Event::Trimmed { result: Err(FetchError::Storage), .. })]));
    assert_eq!(world.stream.partitions.log_start(P), Some(0));
}

#[test]
fn retention_by_time_goes_from_the_front_in_whole_extents() {
    let mut world = World::with_partitions(1);
    for time in [1_000, 3_000, 2_000, 9_000] {
        world.write(0, appends(&[(1, Batch::plain(10).at(time))]));
    }
    // No time of its own: as old as its block.
    world.write(10_000, appends(&[(1, Batch::plain(10).at(-1))]));
    configure(&mut world, Some(5_000), None);
    assert_eq!(retain(&mut world, 6_000), 0, "exactly as old as allowed");
    assert_eq!(retain(&mut world, 16_001 - 5_000 + 5_000), 50);
    world.assert_replays(None, 0);

    let mut world = World::with_partitions(1);
    for time in [1_000, 3_000, 2_000, 9_000] {
        world.write(0, appends(&[(1, Batch::plain(10).at(time))]));
    }
    configure(&mut world, Some(5_000), None);
    assert_eq!(retain(&mut world, 7_500), 10, "the third is old enough, but the second protects it");
    configure(&mut world, Some(10_000), None);
    assert_eq!(retain(&mut world, 17_500), 30);
    configure(&mut world, None, None);
    assert_eq!(retain(&mut world, 1_000_000), 30);
}

#[test]
fn retention_by_size_keeps_at_least_that_much() {
    let mut world = World::with_partitions(1);
    for _ in 0..10 {
        world.write(0, appends(&[(1, Batch::plain(10))]));
    }
    configure(&mut world, None, Some(710));
    assert_eq!(retain(&mut world, 1), 0);
    configure(&mut world, None, Some(300));
    assert_eq!(retain(&mut world, 20_000), 50);
    assert_eq!(world.stream.partitions.info(P).unwrap().bytes, 355);
    assert_eq!(retain(&mut world, 40_000), 50);
    configure(&mut world, None, Some(0));
    assert_eq!(retain(&mut world, 60_000), 100);
}

#[test]
fn retention_by_number_keeps_at_least_that_many() {
    let mut world = World::with_partitions(1);
    for _ in 0..10 {
        world.write(0, appends(&[(1, Batch::plain(10))]));
    }
    let keep = |world: &mut World, n| {
        let mut spec = spec(1, None, None);
        spec.config.retention_records = Some(n);
        let mut records = Vec::new();
        record::put_value(&mut records, Kind::PartitionCreate, &spec);
        world.write(0, records);
    };
    keep(&mut world, 100);
    assert_eq!(retain(&mut world, 1), 0);
    keep(&mut world, 35);
    assert_eq!(retain(&mut world, 20_000), 60);
    keep(&mut world, 0);
    assert_eq!(retain(&mut world, 40_000), 100);
}

#[test]
fn deleting_releases_the_log() {
    let mut world = World::with_partitions(2);
    world.write(0, appends(&[(1, Batch::plain(10)), (2, Batch::from(3, 0, 0, 10))]));
    let mut records = Vec::new();
    record::put_value(&mut records, Kind::PartitionDelete, &P);
    world.write(0, records);
    assert_eq!(world.stream.partitions.ids().collect::<Vec<_>>(), [PartitionId(2)]);
    let live: Vec<_> = world.stream.partitions.live_segments().collect();
    assert_eq!((live.len(), live[0].1.extents, live[0].1.bytes), (1, 1, 71));
    world.assert_replays(None, 0);
}

#[test]
fn damaged_checkpoints_are_refused_without_panic() {
    let mut world = World::with_partitions(2);
    for i in 0..5 {
        world.write(i, appends(&[(1, Batch::from(5, 0, i as i32 * 3, 3)), (2, Batch::plain(1))]));
    }
    let good = world.checkpoint();
    for cut in 0..good.len() {
        assert!(world.stream.restore(&good[..cut], crate::SECTIONS).is_err(), "{cut}");
    }
    for at in 0..good.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            let _ = world.stream.restore(&bad, crate::SECTIONS);
        }
    }
    world.stream.restore(&good, crate::SECTIONS).unwrap();
    assert!(good == world.checkpoint());
}
