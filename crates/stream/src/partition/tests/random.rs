//! Random appends, duplicates, trims and fetches against a model that keeps every batch in a list.

use crate::FetchOutcome;
use crate::testing::{Batch, World, appends, base, sent};
use bowline_model::event::{FetchError, FetchedPartition};
use bowline_model::record::crc32c;
use bowline_model::request::{Fetch, FetchPartition};
use bowline_model::{PartitionId, SessionId, Token};
use proptest::prelude::*;
use std::collections::BTreeMap;

const PARTITIONS: u32 = 3;

/// Base offset and checksum of each batch; `None` for an error.
type Got = Option<Vec<(u64, u32)>>;

#[derive(Debug, Clone)]
enum Step {
    /// One block: partition, records, padding, and what the producer does.
    Block(Vec<(u32, u32, usize, Send)>),
    Trim(u32, u64),
    /// Offsets as fractions of the partition, limits, and which blocks are absent.
    Fetch(Vec<(u32, u64, u32)>, u32, u64),
    Checkpoint,
}

#[derive(Debug, Clone, Copy)]
enum Send {
    Plain,
    Next,
    /// The last batch again.
    Again,
    Gap,
}

fn step() -> impl Strategy<Value = Step> {
    let send = prop_oneof![
        Just(Send::Plain),
        Just(Send::Next),
        Just(Send::Next),
        Just(Send::Again),
        Just(Send::Gap)
    ];
    let append = (1..=PARTITIONS, 1..20u32, 0..300usize, send);
    let wanted = (1..=PARTITIONS + 1, 0..120u64, 0..2_000u32);
    prop_oneof![
        4 => prop::collection::vec(append, 1..12).prop_map(Step::Block),
        1 => (1..=PARTITIONS, 0..110u64).prop_map(|(p, at)| Step::Trim(p, at)),
        4 => (prop::collection::vec(wanted, 1..5), 0..4_000u32, any::<u64>())
            .prop_map(|(wanted, max, absent)| Step::Fetch(wanted, max, absent)),
        1 => Just(Step::Checkpoint),
    ]
}

#[derive(Default)]
struct Model {
    /// Base offset, count and bytes.
    batches: BTreeMap<u32, Vec<(u64, u32, Vec<u8>)>>,
    starts: BTreeMap<u32, u64>,
    ends: BTreeMap<u32, u64>,
    /// Next sequence, and the last batch with its offset.
    producers: BTreeMap<u32, (i32, Option<(Batch, u64)>)>,
}

impl Model {
    fn end(&self, partition: u32) -> u64 {
        self.ends.get(&partition).copied().unwrap_or(0)
    }

    fn start(&self, partition: u32) -> u64 {
        self.starts.get(&partition).copied().unwrap_or(0)
    }

    /// The batch to send and the offset to expect.
    fn append(&mut self, partition: u32, count: u32, padding: usize, send: Send) -> (Batch, Option<u64>) {
        let mut batch = Batch { body: vec![partition as u8; padding], ..Batch::plain(count) };
        let (next, last) = self.producers.entry(partition).or_insert((0, None));
        match (send, &last) {
            (Send::Plain, _) => {}
            (Send::Again, Some((batch, offset))) => return (batch.clone(), Some(*offset)),
            (Send::Gap, Some(_)) => {
                batch = Batch { producer: 5, epoch: 0, sequence: *next + 1, ..batch };
                return (batch, None);
            }
            _ => {
                batch = Batch { producer: 5, epoch: 0, sequence: *next, ..batch };
                *next += count as i32;
            }
        }
        let offset = self.ends.get(&partition).copied().unwrap_or(0);
        if batch.producer >= 0 {
            *last = Some((batch.clone(), offset));
        }
        self.ends.insert(partition, offset + u64::from(count));
        self.batches.entry(partition).or_default().push((offset, count, batch.bytes()));
        (batch, Some(offset))
    }

    /// What a fetch brings when everything is resident.
    fn fetch(&self, wanted: &[FetchPartition], max_bytes: u32) -> Vec<Got> {
        let mut left = max_bytes as usize;
        let mut any = false;
        let mut all = Vec::new();
        for one in wanted {
            let id = one.partition.0;
            if id > PARTITIONS || one.offset < self.start(id) || one.offset > self.end(id) {
                all.push(None);
                continue;
            }
            let mut mine = left.min(one.max_bytes as usize);
            let mut got = Vec::new();
            for (offset, count, bytes) in self.batches.get(&id).into_iter().flatten() {
                if offset + u64::from(*count) <= one.offset {
                    continue;
                }
                if any && bytes.len() > mine {
                    break;
                }
                any = true;
                left = left.saturating_sub(bytes.len());
                mine = mine.saturating_sub(bytes.len());
                got.push((*offset, crc32c(bytes)));
            }
            all.push(Some(got));
        }
        all
    }
}

fn got(partitions: &[FetchedPartition]) -> Vec<Got> {
    partitions.iter().map(got_one).collect()
}

fn got_one(partition: &FetchedPartition) -> Got {
    match &partition.result {
        Ok(fetched) => Some(fetched.batches.iter().map(|b| (b.base_offset, crc32c(sent(b)))).collect()),
        Err(FetchError::Storage) => panic!("nothing is damaged here"),
        Err(_) => None,
    }
}

fn run(steps: Vec<Step>) {
    let mut world = World::with_partitions(PARTITIONS);
    let mut model = Model::default();
    let mut checkpoint = (None, 0);
    for step in steps {
        match step {
            Step::Block(items) => {
                let planned: Vec<_> = items
                    .into_iter()
                    .map(|(p, count, padding, send)| (p, model.append(p, count, padding, send)))
                    .collect();
                let batches: Vec<_> = planned.iter().map(|(p, (batch, _))| (*p, batch.clone())).collect();
                let results = world.write(0, appends(&batches));
                for (result, (p, (_, expected))) in results.iter().zip(&planned) {
                    assert_eq!((result.partition.0, base(result).ok()), (*p, *expected));
                }
            }
            Step::Trim(partition, percent) => {
                let offset = model.end(partition) * percent / 100;
                world.stream.partitions.trim(
                    SessionId(1),
                    Token(1),
                    PartitionId(partition),
                    Some(offset),
                    &mut world.out,
                );
                world.settle(0);
                if offset <= model.end(partition) {
                    let start = model.start(partition).max(offset);
                    model.starts.insert(partition, start);
                }
                assert_eq!(
                    world.stream.partitions.log_start(PartitionId(partition)),
                    Some(model.start(partition))
                );
            }
            Step::Fetch(wanted, max_bytes, absent) => {
                let partitions: Vec<_> = wanted
                    .into_iter()
                    .map(|(id, percent, max_bytes)| FetchPartition {
                        partition: PartitionId(id),
                        offset: model.end(id) * percent / 100,
                        max_bytes,
                    })
                    .collect();
                check_fetch(
                    &mut world,
                    &model,
                    Fetch { token: Token(1), partitions, max_bytes, committed: false },
                    absent,
                );
            }
            Step::Checkpoint => {
                world.assert_replays(checkpoint.0.as_deref(), checkpoint.1);
                checkpoint = (Some(world.checkpoint()), world.blocks.all.len());
            }
        }
    }
    world.assert_replays(None, 0);
    world.assert_replays(checkpoint.0.as_deref(), checkpoint.1);
}

fn check_fetch(world: &mut World, model: &Model, fetch: Fetch, absent: u64) {
    let expected = model.fetch(&fetch.partitions, fetch.max_bytes);
    world.blocks.absent.clear();
    let FetchOutcome::Ready(all) = world.stream.partitions.fetch(&fetch, false, &mut world.blocks) else {
        panic!("everything is resident");
    };
    assert_eq!(got(&all), expected);

    // The bits say which blocks are absent; after each round the reads come, and (at first) others go.
    let lsns: Vec<_> = world.blocks.all.keys().copied().collect();
    let absent_ones =
        |bits: u64| lsns.iter().enumerate().filter(move |(i, _)| bits >> (i % 64) & 1 == 1).map(|(_, l)| *l);
    world.blocks.absent = absent_ones(absent).collect();
    for round in 0.. {
        assert!(round < 4, "must come to an end");
        match world.stream.partitions.fetch(&fetch, round > 0, &mut world.blocks) {
            FetchOutcome::Missing(reads) => {
                if round == 0 {
                    world.blocks.absent.extend(absent_ones(absent.rotate_left(17)));
                }
                world.blocks.load(&reads);
            }
            FetchOutcome::Ready(some) => {
                let some = got(&some);
                let count = |all: &[Got]| all.iter().flatten().map(Vec::len).sum::<usize>();
                assert_eq!(count(&some) > 0, count(&expected) > 0);
                for ((one, full), wanted) in some.iter().zip(&expected).zip(&fetch.partitions) {
                    assert_eq!(one.is_some(), full.is_some());
                    // Nothing is skipped: a beginning of what is there, though limits may fall elsewhere.
                    let unlimited =
                        model.fetch(&[FetchPartition { max_bytes: u32::MAX, ..*wanted }], u32::MAX).remove(0);
                    if let (Some(one), Some(unlimited)) = (one, unlimited) {
                        assert_eq!(one[..], unlimited[..one.len()]);
                    }
                }
                return;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn behaves_like_a_list_of_batches(steps in prop::collection::vec(step(), 1..60)) {
        run(steps);
    }
}
