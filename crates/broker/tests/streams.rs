//! Partitions and groups through the shard: what the shard adds to them (proposals, parked fetches, provisioning).

use crate::common::*;
use bowline_broker::Options;
use bowline_model::event::{AppendError, Event, FetchError, MetaEvent, OffsetFound};
use bowline_model::group;
use bowline_model::record::Append;
use bowline_model::request::{
    Fetch, FetchPartition, OffsetQuery, PartitionConfig, PartitionSpec, Propose, Provision, Request, Want,
};
use bowline_model::{PartitionId, Token, TopicId};

const A: u64 = 1;
const P: PartitionId = PartitionId(20);

fn spec(id: PartitionId) -> PartitionSpec {
    let config = PartitionConfig::default();
    PartitionSpec { partition: id, topic: TopicId([7; 16]), topic_name: "t".into(), index: 0, config }
}

fn provision(world: &mut World, what: Provision) -> Option<MetaEvent> {
    world.handle(0, Request::Provision(what));
    world.settle_down();
    world.meta.pop()
}

/// A batch of `count` records of no content: nobody looks into it here.
fn batch(count: i32) -> Vec<u8> {
    let mut batch = vec![0; 61];
    batch[8..12].copy_from_slice(&(61i32 - 12).to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[35..43].copy_from_slice(&5_000i64.to_be_bytes());
    batch[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch
}

fn append(world: &mut World, token: u64, partitions: &[PartitionId]) {
    let mut records = Vec::new();
    partitions.iter().for_each(|p| Append::encode(&mut records, p.0, 0, &batch(3)));
    let count = partitions.len() as u32;
    let propose =
        Propose { token: Token(token), records: records.into(), count, want: Want::Appended, checked: false };
    world.handle(A, Request::Propose(propose));
}

fn fetch(world: &mut World, token: u64, offset: u64) {
    let partitions = vec![FetchPartition { partition: P, offset, max_bytes: 1 << 20 }];
    world.handle(
        A,
        Request::Fetch(Fetch { token: Token(token), partitions, max_bytes: 1 << 20, committed: false }),
    );
}

/// Offsets of the batches in the only `Fetched` event.
fn fetched(world: &mut World) -> Result<Vec<u64>, FetchError> {
    let events = world.take_events();
    let [(_, Event::Fetched { partitions, .. })] = &events[..] else { panic!("{events:?}") };
    let fetched = partitions[0].result.as_ref().map_err(|error| *error)?;
    for slice in &fetched.batches {
        let bytes = &slice.block.payload[slice.offset as usize..][..slice.len as usize];
        assert_eq!(bytes, batch(3));
    }
    Ok(fetched.batches.iter().map(|b| b.base_offset).collect())
}

#[test]
fn appends_answer_each_in_their_own_batch_and_watches_fire() {
    let mut world = World::new();
    let ready = provision(&mut world, Provision::Partition(spec(P)));
    assert!(matches!(ready, Some(MetaEvent::PartitionReady { partition: P })));
    let again = provision(&mut world, Provision::Partition(spec(P)));
    assert!(again.is_some() && world.log.len() == 2, "nothing to log the second time");
    world.handle(A, Request::Watch { token: Token(9), partitions: vec![(P, 0)], committed: false });
    append(&mut world, 1, &[P, PartitionId(99)]);
    world.publish(A, &[7], &[b"nobody's"]);
    append(&mut world, 2, &[P]);
    assert!(world.events.is_empty());
    world.settle_down();
    let mut results = Vec::new();
    let mut moved = 0;
    for (_, event) in world.take_events() {
        match event {
            Event::Appended { token, results: r } => results
                .push((token.0, r.into_iter().map(|r| r.result.map(|a| a.base_offset)).collect::<Vec<_>>())),
            Event::Moved { token: Token(9) } => moved += 1,
            _ => {}
        }
    }
    assert_eq!(results, [(1, vec![Ok(0), Err(AppendError::UnknownPartition)]), (2, vec![Ok(3)])]);
    assert_eq!(moved, 1);
    fetch(&mut world, 3, 0);
    assert_eq!(fetched(&mut world), Ok(vec![0, 3]));
}

#[test]
fn a_fetch_waits_for_its_blocks_and_a_bad_disk_is_told() {
    let mut world = World::with(Options { cache_bytes: 0, ..Options::new(SHARD) });
    provision(&mut world, Provision::Partition(spec(P)));
    for i in 0..20 {
        append(&mut world, i, &[P]);
        world.settle_down();
    }
    world.take_events();
    fetch(&mut world, 50, 0);
    assert!(world.events.is_empty() && !world.reads.is_empty());
    while world.answer_read(false) {}
    assert_eq!(fetched(&mut world), Ok((0..20).map(|i| i * 3).collect()));
    // The same blocks again, gone from memory, and the disk fails.
    let options = Options { cache_bytes: 0, readahead_bytes: 0, ..Options::new(SHARD) };
    world.options = options;
    world.crash(0, None);
    fetch(&mut world, 51, 30);
    while world.answer_read(true) {}
    assert_eq!(fetched(&mut world), Err(FetchError::Storage));
    world.tick(0);
    let retry = world.shard.next_deadline().expect("it is tried again");
    world.tick(retry - world.now);
    fetch(&mut world, 52, 30);
    while world.answer_read(false) {}
    assert_eq!(fetched(&mut world).map(|offsets| offsets[0]), Ok(30));
    // Whoever leaves is not answered.
    world.crash(0, None);
    fetch(&mut world, 53, 0);
    world.handle(A, Request::CloseSession);
    while world.answer_read(false) {}
    assert!(world.events.is_empty());
    let queries = vec![(P, OffsetQuery::Latest), (P, OffsetQuery::Timestamp(4_000))];
    world.handle(A, Request::ListOffsets { token: Token(54), queries });
    while world.answer_read(false) {}
    let events = world.take_events();
    let [(_, Event::Offsets { results, .. })] = &events[..] else { panic!("{events:?}") };
    assert!(matches!(results[0].1, Ok(OffsetFound::Offset(60))));
    assert!(matches!(&results[1].1, Ok(OffsetFound::Batches { batches, .. }) if batches[0].base_offset == 0));
}

#[test]
fn trims_and_commits_are_answered_when_durable_and_survive() {
    let mut world = World::new();
    provision(&mut world, Provision::Partition(spec(P)));
    append(&mut world, 1, &[P, P]);
    world.settle_down();
    assert!(!world.shard.live_segments().0.is_empty());
    let member =
        group::Member { group: "g".into(), member_id: String::new(), generation: -1, instance_id: None };
    let commit =
        group::PartitionCommit { partition: 0, offset: 4, leader_epoch: -1, metadata: Some("m".into()) };
    let request = group::Request::Commit(group::Commit {
        member,
        topics: vec![("t".into(), vec![commit])],
        knows_epochs: true,
    });
    world.take_events();
    world.handle(A, Request::Group { token: Token(2), request });
    world.handle(A, Request::Trim { token: Token(3), partition: P, offset: None });
    assert!(world.events.is_empty());
    world.settle_down();
    let events = world.take_events();
    assert!(matches!(
        events[..],
        [
            (_, Event::Group { reply: group::Reply::Commit(Ok(_)), .. }),
            (_, Event::Trimmed { result: Ok(6), .. })
        ]
    ));
    assert!(world.shard.live_segments().0.is_empty(), "trimmed to the end");
    let checkpoint = world.shard.checkpoint();
    world.crash(0, Some((&checkpoint, world.log.len())));
    assert_eq!(world.shard.stats().partitions, 1);
    let request =
        group::Request::FetchOffsets { group: "g".into(), topics: None, member: None, require_stable: false };
    world.handle(A, Request::Group { token: Token(4), request });
    let events = world.take_events();
    let [(_, Event::Group { reply: group::Reply::FetchOffsets(Ok(topics)), .. })] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(topics[0].1[0].offset, 4);
    let dropped = provision(&mut world, Provision::DropPartition { partition: P });
    assert!(matches!(dropped, Some(MetaEvent::PartitionDropped { partition: P })));
    fetch(&mut world, 5, 0);
    assert_eq!(fetched(&mut world), Err(FetchError::UnknownPartition));
}
