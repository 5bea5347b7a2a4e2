//! Relocation where the model test does not look: wide gaps, large runs, and partitions.

use crate::common::*;
use bowline_broker::Options;
use bowline_model::event::Event;
use bowline_model::record::{self, Append, Kind};
use bowline_model::request::{
    Fetch, FetchPartition, OffsetQuery, Outcome, PartitionConfig, PartitionSpec, Propose, Provision, Request,
    Want,
};
use bowline_model::{Lsn, PartitionId, Token, TopicId};
use std::collections::{BTreeMap, BTreeSet};

const A: u64 = 1;

fn all_files(world: &World) -> BTreeSet<Lsn> {
    world.shard.survey().into_keys().collect()
}

/// Moves everything there is into a new cold file; the old ones are gone.
fn relocate_all(world: &mut World, pass_bytes: usize) {
    let files = all_files(world);
    let moved = world.copy(&files, pass_bytes, || false);
    world.relocated(&moved);
    assert!(all_files(world).iter().all(|file| file.is_cold() && !files.contains(file)));
    world.recycled.extend(files);
}

#[test]
fn what_is_left_between_wide_gaps_keeps_its_place() {
    for pass_bytes in [1, 10_000, 1 << 20] {
        let options = Options { cache_bytes: 0, readahead_bytes: 20_000, ..Options::new(SHARD) };
        let mut world = World::with(options);
        world.declare(queue(7));
        world.declare(queue(8));
        let left = [0u32, 1, 5, 69, 71, 200, 201, 202, 340, 499];
        for first in (0..500u32).step_by(10) {
            let bodies: Vec<Vec<u8>> = (first..first + 10).map(|i| i.to_le_bytes().to_vec()).collect();
            let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
            world.publish(A, &[7, 8], &bodies);
            world.settle_down();
        }
        world.subscribe(A, 1, 7, 0);
        world.settle_down();
        world.take_events();
        for number in (0..500).filter(|n| !left.contains(n)) {
            world.settle(A, 1, u64::from(number), 1, Outcome::Acked);
        }
        world.settle_down();
        relocate_all(&mut world, pass_bytes);
        let empty = |block: &bowline_model::BlockRef| {
            let publishes =
                record::iter(&block.payload).map(|r| r.unwrap()).filter(|r| r.kind == Kind::Publish);
            publishes.filter(|r| r.len < 20).count()
        };
        assert_eq!(world.cold.iter().map(empty).sum::<usize>(), 3 + 63 + 1, "the small gaps");
        // Again, from cold file to cold file.
        relocate_all(&mut world, pass_bytes);
        let expected: Vec<Vec<u8>> = left.iter().map(|n| n.to_le_bytes().to_vec()).collect();
        // What the consumer still holds comes back, from where it lies now; and so it does after a restart.
        world.handle(A, Request::CloseSession);
        let checkpoint = world.shard.checkpoint();
        for session in [2, 3] {
            world.subscribe(session, 1, 7, 0);
            world.settle_down();
            let seen = deliveries(&world.take_events());
            assert!(seen.iter().all(|seen| seen.redelivered));
            assert_eq!(seen.into_iter().map(|seen| seen.body).collect::<Vec<_>>(), expected);
            world.crash(0, Some((&checkpoint, world.log.len())));
        }
        world.subscribe(A, 2, 8, 0);
        world.settle_down();
        let seen = deliveries(&world.take_events());
        assert!(seen.into_iter().map(|seen| seen.body).eq((0..500u32).map(|i| i.to_le_bytes().to_vec())));
    }
}

#[test]
fn a_large_queue_fills_blocks_and_the_window_looks_again() {
    let mut world = World::new();
    world.declare(queue(7));
    for i in 0..200u32 {
        let mut body = vec![0; 8_000];
        body[..4].copy_from_slice(&i.to_le_bytes());
        world.publish(A, &[7], &[&body]);
        world.settle_down();
    }
    // Some are out, some are in the window, some in the index only.
    world.subscribe(A, 1, 7, 3);
    world.settle_down();
    assert_eq!(deliveries(&world.take_events()).len(), 3);
    relocate_all(&mut world, 100_000);
    assert_eq!(world.cold.len(), 4, "of half a MiB each");
    world.settle(A, 1, 1, 2, Outcome::Returned);
    let mut bodies = Vec::new();
    for number in 3.. {
        world.settle_down();
        let seen = deliveries(&world.take_events());
        if seen.is_empty() {
            break;
        }
        bodies.extend(seen.into_iter().map(|seen| u32::from_le_bytes(seen.body[..4].try_into().unwrap())));
        world.handle(A, Request::Drained { bytes: u64::MAX });
        world.settle(A, 1, number, 1, Outcome::Acked);
    }
    assert!(bodies.into_iter().eq(1..200));
}

fn spec(id: u32) -> PartitionSpec {
    let config = PartitionConfig::default();
    let (partition, topic) = (PartitionId(id), TopicId([7; 16]));
    PartitionSpec { partition, topic, topic_name: "t".into(), index: id, config }
}

fn batch(count: i32, time: i64, content: u64) -> Vec<u8> {
    let mut batch = vec![0; 61];
    batch.extend_from_slice(&content.to_le_bytes());
    batch.resize(batch.len() + (content % 97) as usize, b'.');
    let len = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&len.to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[35..43].copy_from_slice(&time.to_be_bytes());
    batch[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    batch
}

/// What a partition should hold: batches by base offset, and where it starts and ends.
#[derive(Default)]
struct Model {
    batches: BTreeMap<u64, Vec<u8>>,
    start: u64,
    end: u64,
}

fn check(world: &mut World, id: u32, model: &Model, from: u64) {
    let mut offset = from;
    while offset < model.end {
        let partitions = vec![FetchPartition { partition: PartitionId(id), offset, max_bytes: 700 }];
        world.handle(
            A,
            Request::Fetch(Fetch { token: Token(1), partitions, max_bytes: 700, committed: false }),
        );
        while world.answer_read(false) {}
        let events = world.take_events();
        let [(_, Event::Fetched { partitions, .. })] = &events[..] else { panic!("{events:?}") };
        let fetched = partitions[0].result.as_ref().unwrap();
        assert_eq!((fetched.log_start, fetched.high_watermark), (model.start, model.end));
        assert!(!fetched.batches.is_empty());
        for slice in &fetched.batches {
            let bytes = &slice.block.payload[slice.offset as usize..][..slice.len as usize];
            let expected = model.batches.range(..=offset).next_back().unwrap();
            assert_eq!((slice.base_offset, bytes, slice.flags), (*expected.0, &expected.1[..], 1));
            let count = i32::from_be_bytes(bytes[23..27].try_into().unwrap()) + 1;
            offset = slice.base_offset + count as u64;
        }
    }
}

/// The first batch that has a record of `time` or later.
fn find(world: &mut World, id: u32, time: i64) -> Option<u64> {
    let queries = vec![(PartitionId(id), OffsetQuery::Timestamp(time))];
    world.handle(A, Request::ListOffsets { token: Token(2), queries });
    while world.answer_read(false) {}
    let events = world.take_events();
    let [(_, Event::Offsets { results, .. })] = &events[..] else { panic!("{events:?}") };
    match results[0].1.as_ref().unwrap() {
        bowline_model::event::OffsetFound::Batches { batches, .. } => batches.first().map(|b| b.base_offset),
        other => panic!("{other:?}"),
    }
}

#[test]
fn partitions_hold_what_they_should_wherever_it_lies() {
    for seed in 1..60u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = move |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        let (cache_bytes, readahead_bytes) = [(0, 2_000), (1 << 20, 1 << 20)][below(2) as usize];
        let mut world = World::with(Options { cache_bytes, readahead_bytes, ..Options::new(SHARD) });
        let mut models: BTreeMap<u32, Model> = BTreeMap::new();
        for id in 1..=3 {
            world.handle(0, Request::Provision(Provision::Partition(spec(id))));
            models.insert(id, Model::default());
        }
        world.settle_down();
        let mut content = 0;
        let mut copied = None;
        let mut checkpoint = (world.shard.checkpoint(), world.log.len());
        for _ in 0..300 {
            let id = 1 + below(3) as u32;
            let model = models.get_mut(&id).unwrap();
            match below(20) {
                0..9 => {
                    let mut records = Vec::new();
                    let n = 1 + below(4);
                    for _ in 0..n {
                        let count = 1 + below(5) as i32;
                        content += 1;
                        let time = if below(4) == 0 { -1 } else { 1_000 + content as i64 };
                        let batch = batch(count, time, content);
                        Append::encode(&mut records, id, 1, &batch);
                        model.batches.insert(model.end, batch);
                        model.end += count as u64;
                    }
                    let (token, want) = (Token(9), Want::Done);
                    let propose =
                        Propose { token, records: records.into(), count: n as u32, want, checked: false };
                    world.handle(A, Request::Propose(propose));
                    world.settle_down();
                }
                9 => {
                    let offset = model.start + below(1 + (model.end - model.start) / 3);
                    let request =
                        Request::Trim { token: Token(8), partition: PartitionId(id), offset: Some(offset) };
                    world.handle(A, request);
                    world.settle_down();
                    model.start = offset;
                }
                10..13 => {
                    world.take_events();
                    let from = model.start + below(1 + model.end - model.start);
                    check(&mut world, id, model, from);
                    if below(2) == 0 {
                        let here = find(&mut world, id, 1_000 + below(content + 1) as i64);
                        let moved = world.shard.checkpoint();
                        assert!(here.is_none_or(|offset| model.batches.contains_key(&offset)));
                        assert_eq!(moved, world.shard.checkpoint());
                    }
                }
                13..17 => match copied.take() {
                    None => {
                        let mut files = all_files(&world);
                        files.retain(|_| below(10) < 7);
                        let pass_bytes = [1, 2_000, 1 << 20][below(3) as usize];
                        copied = Some(world.copy(&files, pass_bytes, || below(50) == 0));
                    }
                    Some(moved) => {
                        let before = partition_bytes(&mut world);
                        world.relocated(&moved);
                        assert!(partition_bytes(&mut world) >= before);
                    }
                },
                17 => {
                    world.recycle();
                    checkpoint = (world.shard.checkpoint(), world.log.len());
                }
                18 => {
                    let (bytes, covered) = &checkpoint;
                    world.crash(0, Some((&bytes.clone(), *covered)));
                    world.recycle_unlisted();
                    copied = None;
                    assert!(world.shard.survey().keys().all(|file| !world.recycled.contains(file)));
                }
                _ => {
                    let restored =
                        bowline_broker::Shard::restore(world.options.clone(), &world.shard.checkpoint());
                    let restored = restored.unwrap();
                    assert_eq!(restored.survey(), world.shard.survey());
                    assert_eq!(restored.checkpoint(), world.shard.checkpoint());
                }
            }
            world.take_events();
        }
        for (id, model) in &models {
            check(&mut world, *id, model, model.start);
        }
    }
}

fn partition_bytes(world: &mut World) -> u64 {
    world.shard.survey().values().map(|held| held.bytes).sum()
}
