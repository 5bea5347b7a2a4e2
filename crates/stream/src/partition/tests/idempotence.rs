use crate::partition::{PRODUCER_EXPIRY_MS, PRODUCERS_MAX};
use crate::testing::{Batch, World, appends, base};
use bowline_model::event::AppendError::{self, InvalidProducerEpoch, OutOfOrderSequence};

/// Appends one batch to partition 1 in a block of its own.
fn append(world: &mut World, stamp: u64, batch: Batch) -> Result<u64, AppendError> {
    base(&world.write(stamp, appends(&[(1, batch)]))[0])
}

#[test]
fn duplicates_get_the_offset_they_got_and_gaps_are_refused() {
    let mut world = World::with_partitions(1);
    for i in 0..6 {
        assert_eq!(append(&mut world, 0, Batch::from(9, 0, i * 10, 10)), Ok(i as u64 * 10));
    }
    for i in 1..6 {
        assert_eq!(
            append(&mut world, 0, Batch::from(9, 0, i * 10, 10)),
            Ok(i as u64 * 10),
            "one of the last 5"
        );
    }
    assert_eq!(
        append(&mut world, 0, Batch::from(9, 0, 0, 10)),
        Err(OutOfOrderSequence),
        "the sixth is forgotten"
    );
    assert_eq!(append(&mut world, 0, Batch::from(9, 0, 50, 9)), Err(OutOfOrderSequence), "cut differently");
    assert_eq!(append(&mut world, 0, Batch::from(9, 0, 61, 1)), Err(OutOfOrderSequence), "a gap");
    assert_eq!(append(&mut world, 0, Batch::from(9, 0, 60, 1)), Ok(60));
    assert_eq!(append(&mut world, 0, Batch::from(8, 0, 77, 1)), Ok(61), "unknown producers begin anywhere");
    assert_eq!(append(&mut world, 0, Batch::plain(1)), Ok(62));
    assert_eq!(append(&mut world, 0, Batch::from(9, 0, -1, 1)), Err(OutOfOrderSequence));
    world.assert_replays(None, 0);
}

#[test]
fn epochs_fence_and_begin_at_zero() {
    let mut world = World::with_partitions(1);
    assert_eq!(append(&mut world, 0, Batch::from(9, 3, 100, 5)), Ok(0));
    assert_eq!(append(&mut world, 0, Batch::from(9, 2, 105, 5)), Err(InvalidProducerEpoch));
    assert_eq!(append(&mut world, 0, Batch::from(9, 4, 105, 5)), Err(OutOfOrderSequence));
    assert_eq!(append(&mut world, 0, Batch::from(9, 4, 0, 5)), Ok(5));
    assert_eq!(append(&mut world, 0, Batch::from(9, 4, 0, 5)), Ok(5), "a duplicate in the new epoch");
    assert_eq!(append(&mut world, 0, Batch::from(9, 3, 105, 5)), Err(InvalidProducerEpoch));
    world.assert_replays(None, 0);
}

#[test]
fn sequences_wrap() {
    let mut world = World::with_partitions(1);
    assert_eq!(append(&mut world, 0, Batch::from(9, 0, i32::MAX - 4, 5)), Ok(0));
    assert_eq!(append(&mut world, 0, Batch::from(9, 0, 0, 5)), Ok(5), "after 2^31 - 1 comes 0");
    assert_eq!(append(&mut world, 0, Batch::from(8, 0, i32::MAX - 1, 5)), Ok(10), "across the end");
    assert_eq!(append(&mut world, 0, Batch::from(8, 0, i32::MAX - 1, 5)), Ok(10));
    assert_eq!(append(&mut world, 0, Batch::from(8, 0, 4, 1)), Err(OutOfOrderSequence));
    assert_eq!(append(&mut world, 0, Batch::from(8, 0, 3, 1)), Ok(15));
    world.assert_replays(None, 0);
}

#[test]
fn remembers_across_a_restart() {
    let mut world = World::with_partitions(2);
    append(&mut world, 5, Batch::from(9, 1, 0, 3)).unwrap();
    let (checkpoint, applied) = (world.checkpoint(), world.blocks.all.len());
    append(&mut world, 6, Batch::from(9, 1, 3, 3)).unwrap();
    world.assert_replays(Some(&checkpoint), applied);
    world.stream = world.replayed(Some(&checkpoint), applied);
    assert_eq!(append(&mut world, 7, Batch::from(9, 1, 0, 3)), Ok(0));
    assert_eq!(append(&mut world, 7, Batch::from(9, 1, 3, 3)), Ok(3));
    assert_eq!(append(&mut world, 7, Batch::from(9, 1, 7, 3)), Err(OutOfOrderSequence));
    assert_eq!(append(&mut world, 7, Batch::from(9, 1, 6, 3)), Ok(6));
}

#[test]
fn forgets_after_a_day_of_log_time_whoever_purged_when() {
    let mut world = World::with_partitions(1);
    append(&mut world, 1_000, Batch::from(9, 0, 0, 1)).unwrap();
    let day = 1_000 + PRODUCER_EXPIRY_MS;
    assert_eq!(append(&mut world, day - 1, Batch::from(9, 0, 5, 1)), Err(OutOfOrderSequence));
    let before = world.checkpoint();
    // A clock that goes back does not bring it back.
    append(&mut world, day, Batch::plain(1)).unwrap();
    assert_eq!(append(&mut world, 2_000, Batch::from(9, 0, 5, 1)), Ok(2));
    world.assert_replays(Some(&before), world.blocks.all.len() - 2);

    let mut out = Default::default();
    append(&mut world, day * 3, Batch::plain(1)).unwrap();
    let state = world.checkpoint();
    world.stream.tick(day * 3, &mut out);
    assert!(state == world.checkpoint(), "giving memory back changes nothing that can be seen");
}

#[test]
fn the_longest_silent_make_room() {
    let mut world = World::with_partitions(1);
    for chunk in 0..11 {
        let mut records = Vec::new();
        for i in 0..10_000 {
            Batch::from(i64::from(chunk) * 10_000 + i, 0, 0, 1).put(&mut records, 1);
        }
        world.write(chunk as u64, records);
    }
    assert!(world.stream.partitions.producers_of(bowline_model::PartitionId(1)) <= PRODUCERS_MAX);
    assert_eq!(append(&mut world, 20, Batch::from(109_999, 0, 5, 1)), Err(OutOfOrderSequence), "remembered");
    assert_eq!(
        append(&mut world, 20, Batch::from(0, 0, 5, 1)),
        Ok(110_000),
        "forgotten, so it may begin anywhere"
    );
    world.assert_replays(None, 0);
}

/// A shard that does not know whether its batch arrived sends it again.
#[test]
fn what_was_moved_here_twice_is_here_once() {
    let mut world = World::with_partitions(2);
    let moved = |numbers: &[u64]| {
        let mut records = Vec::new();
        for number in numbers {
            let batch = &Batch::plain(1).bytes();
            let from = Some((77, *number));
            bowline_model::record::Append { partition: 1, flags: 0, from, batch }.put(&mut records);
        }
        records
    };
    let end = |world: &World| world.stream.partitions.high_watermark(bowline_model::PartitionId(1));
    world.write(1, moved(&[3, 4, 3, 5]));
    assert_eq!(end(&world), Some(3));
    let (checkpoint, applied) = (world.checkpoint(), world.blocks.all.len());
    world.write(2, moved(&[5, 6]));
    assert_eq!(end(&world), Some(4));
    world.assert_replays(Some(&checkpoint), applied);
    world.stream = world.replayed(Some(&checkpoint), applied);
    world.write(3, moved(&[3, 6, 7]));
    assert_eq!(end(&world), Some(5));
    let known = world.checkpoint().len();
    world.stream.partitions.transferred(bowline_model::QueueId(77), 8);
    assert!(world.checkpoint().len() < known, "forgotten");
}

#[test]
fn nonsense_is_refused_and_harms_nobody() {
    let mut world = World::with_partitions(1);
    let good = Batch::plain(2).bytes();
    let mut broken: Vec<Vec<u8>> = vec![vec![], good[..60].to_vec(), good[..good.len() - 1].to_vec()];
    let mut bad = good.clone();
    bad[16] = 1;
    broken.push(bad);
    let mut bad = good.clone();
    bad[23..27].copy_from_slice(&(-1i32).to_be_bytes());
    broken.push(bad);
    for batch in broken {
        let mut records = appends(&[(1, Batch::plain(1))]);
        bowline_model::record::Append::encode(&mut records, 1, 0, &batch);
        let results = world.write(0, records);
        assert!(results[0].result.is_ok());
        assert_eq!(base(&results[1]), Err(OutOfOrderSequence));
    }
    assert_eq!(
        base(&world.write(0, appends(&[(77, Batch::plain(1))]))[0]),
        Err(AppendError::UnknownPartition)
    );
    world.assert_replays(None, 0);
}
