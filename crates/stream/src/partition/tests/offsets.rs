use crate::testing::{Batch, World, appends, sent};
use crate::{OffsetsOutcome, OffsetsSearch};
use bowline_model::PartitionId;
use bowline_model::event::{FetchError, OffsetFound};
use bowline_model::request::OffsetQuery::{self, Earliest, Latest, MaxTimestamp, Timestamp};

/// Base offset of the batch found, −1 for none, or the offset itself.
fn ask(world: &mut World, query: OffsetQuery) -> i64 {
    let mut search = OffsetsSearch::new(vec![(PartitionId(1), query)]);
    loop {
        match world.stream.partitions.list_offsets(&mut search, &mut world.blocks) {
            OffsetsOutcome::Missing(reads) => world.blocks.load(&reads),
            OffsetsOutcome::Ready(mut answers) => {
                return match answers.remove(0).1.unwrap() {
                    OffsetFound::Offset(offset) => offset as i64,
                    OffsetFound::Batches { batches, .. } => batches.first().map_or(-1, |b| {
                        assert_eq!(sent(b), &b.block.payload[..], "keeps nothing but the batch");
                        b.base_offset as i64
                    }),
                };
            }
        }
    }
}

#[test]
fn finds_the_first_batch_that_is_young_enough() {
    let mut world = World::with_partitions(1);
    for query in [Timestamp(0), MaxTimestamp] {
        assert_eq!(ask(&mut world, query), -1);
    }
    // Times go back and forth; the third batch has none.
    world.write(1_000, appends(&[(1, Batch::plain(2).at(100)), (1, Batch::plain(2).at(50))]));
    world.write(1_000, appends(&[(1, Batch::plain(2).at(-1))]));
    world.write(1_000, appends(&[(1, Batch::plain(2).at(70)), (1, Batch::plain(2).at(300))]));
    world.write(1_000, appends(&[(1, Batch::plain(2).at(200))]));
    let blocks = world.blocks.all.keys().copied().collect::<Vec<_>>();
    for absent in [&[][..], &blocks[..]] {
        world.blocks.absent = absent.iter().copied().collect();
        assert_eq!(ask(&mut world, Earliest), 0);
        assert_eq!(ask(&mut world, Latest), 12);
        assert_eq!(ask(&mut world, Timestamp(0)), 0);
        assert_eq!(ask(&mut world, Timestamp(100)), 0);
        assert_eq!(ask(&mut world, Timestamp(101)), 8);
        assert_eq!(ask(&mut world, Timestamp(300)), 8);
        assert_eq!(ask(&mut world, Timestamp(301)), -1);
    }
    world.stream.partitions.trim(
        bowline_model::SessionId(1),
        bowline_model::Token(1),
        PartitionId(1),
        Some(3),
        &mut world.out,
    );
    world.settle(0);
    assert_eq!(ask(&mut world, Timestamp(51)), 6, "the first batch is gone, the second is not young enough");
    assert_eq!(ask(&mut world, Timestamp(50)), 2, "it reaches beyond the log start");
    assert_eq!(ask(&mut world, Earliest), 3);
}

#[test]
fn what_is_left_of_a_cut_batch_is_told_with_the_next() {
    let mut world = World::with_partitions(1);
    // The records of the first batch are of one time here; its deleted part may have been the young one.
    world.write(1_000, appends(&[(1, Batch::plain(4).at(100)), (1, Batch::plain(2).at(50))]));
    world.write(1_000, appends(&[(1, Batch::plain(2).at(100)), (1, Batch::plain(2).at(100))]));
    let (session, token) = (bowline_model::SessionId(1), bowline_model::Token(1));
    world.stream.partitions.trim(session, token, PartitionId(1), Some(3), &mut world.out);
    world.settle(0);
    for query in [Timestamp(60), MaxTimestamp] {
        let mut search = OffsetsSearch::new(vec![(PartitionId(1), query)]);
        let OffsetsOutcome::Ready(answers) =
            world.stream.partitions.list_offsets(&mut search, &mut world.blocks)
        else {
            panic!("all is there");
        };
        let Ok(OffsetFound::Batches { batches, log_start: 3, last_stable: 10 }) = &answers[0].1 else {
            panic!("{answers:?}")
        };
        assert_eq!(batches.iter().map(|batch| batch.base_offset).collect::<Vec<_>>(), [0, 6]);
    }
}

#[test]
fn the_youngest_of_all() {
    let mut world = World::with_partitions(1);
    world.write(0, appends(&[(1, Batch::plain(2).at(100)), (1, Batch::plain(2).at(500))]));
    world.write(0, appends(&[(1, Batch::plain(2).at(400))]));
    assert_eq!(ask(&mut world, MaxTimestamp), 2);
}

#[test]
fn keeps_what_it_has_while_the_rest_is_read() {
    let mut world = World::with_partitions(2);
    world.write(0, appends(&[(1, Batch::plain(1))]));
    world.write(0, appends(&[(2, Batch::plain(1))]));
    let lsns: Vec<_> = world.blocks.all.keys().copied().collect();
    world.blocks.absent.insert(lsns[2]);
    let queries = [1, 2, 3].map(|id| (PartitionId(id), Timestamp(0)));
    let mut search = OffsetsSearch::new(queries.to_vec());
    assert!(matches!(
        world.stream.partitions.list_offsets(&mut search, &mut world.blocks),
        OffsetsOutcome::Missing(_)
    ));
    // Only one block is ever resident.
    world.blocks.absent = [lsns[1]].into();
    let OffsetsOutcome::Ready(answers) = world.stream.partitions.list_offsets(&mut search, &mut world.blocks)
    else {
        panic!("all known");
    };
    assert!(
        answers[..2]
            .iter()
            .all(|(_, a)| matches!(a, Ok(OffsetFound::Batches { batches: b, .. }) if b.len() == 1))
    );
    assert!(matches!(answers[2], (PartitionId(3), Err(FetchError::UnknownPartition))));
}
