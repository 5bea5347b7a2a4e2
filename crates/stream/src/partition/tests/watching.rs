use crate::testing::{Batch, World, appends};
use bowline_model::event::Event;
use bowline_model::record::{self, Kind};
use bowline_model::{PartitionId, SessionId, Token};

fn watch(world: &mut World, session: u64, token: u64, partitions: &[(u32, u64)]) {
    let partitions = partitions.iter().map(|&(id, offset)| (PartitionId(id), offset)).collect();
    world.stream.partitions.watch(SessionId(session), Token(token), partitions, false, &mut world.out);
}

/// Sessions and tokens told.
fn moved(world: &mut World) -> Vec<(u64, u64)> {
    let one = |(session, event): (SessionId, Event)| match event {
        Event::Moved { token } => (session.0, token.0),
        other => panic!("{other:?}"),
    };
    world.replies().into_iter().map(one).collect()
}

#[test]
fn tells_once_when_one_has_grown() {
    let mut world = World::with_partitions(3);
    watch(&mut world, 1, 1, &[(1, 0), (2, 0), (2, 0)]);
    watch(&mut world, 1, 2, &[(1, 5)]);
    watch(&mut world, 2, 1, &[(1, 0)]);
    assert_eq!(moved(&mut world), []);
    world.write(0, appends(&[(3, Batch::plain(9))]));
    assert_eq!(moved(&mut world), []);
    world.write(0, appends(&[(1, Batch::plain(2)), (2, Batch::plain(2)), (1, Batch::plain(2))]));
    assert_eq!(moved(&mut world), [(1, 1), (2, 1)]);
    world.write(0, appends(&[(1, Batch::plain(1))]));
    assert_eq!(moved(&mut world), [], "five records: the last has offset 4");
    world.write(0, appends(&[(1, Batch::plain(1))]));
    assert_eq!(moved(&mut world), [(1, 2)]);
    assert!(world.stream.partitions.watches_are_consistent());
}

#[test]
fn answers_at_once_when_there_is_something_to_see() {
    let mut world = World::with_partitions(2);
    world.write(0, appends(&[(1, Batch::plain(2))]));
    watch(&mut world, 1, 1, &[(2, 0), (1, 1)]);
    watch(&mut world, 1, 2, &[(2, 0), (9, 0)]);
    assert_eq!(moved(&mut world), [(1, 1), (1, 2)]);
}

#[test]
fn ends_with_unwatch_session_and_partition() {
    let mut world = World::with_partitions(2);
    watch(&mut world, 1, 1, &[(1, 0), (2, 0)]);
    watch(&mut world, 2, 1, &[(1, 0), (2, 0)]);
    watch(&mut world, 2, 7, &[(1, 0)]);
    watch(&mut world, 3, 1, &[(1, 0), (2, 0)]);
    world.stream.partitions.unwatch(SessionId(1), Token(1));
    world.stream.close_session(0, SessionId(2), &mut world.out);
    let mut records = Vec::new();
    record::put_value(&mut records, Kind::PartitionDelete, &PartitionId(2));
    world.write(0, records);
    assert_eq!(moved(&mut world), [(3, 1)]);
    world.write(0, appends(&[(1, Batch::plain(2))]));
    assert_eq!(moved(&mut world), []);
    assert!(world.stream.partitions.watches_are_consistent());
}
