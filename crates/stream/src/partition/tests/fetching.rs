use crate::FetchOutcome;
use crate::partition::{PINNED_BYTES_MAX, READ_BYTES_MAX};
use crate::testing::{Batch, World, appends, sent};
use bowline_model::event::{FetchError, FetchedPartition};
use bowline_model::record::{APPEND_CONVERTED, Append};
use bowline_model::request::{Fetch, FetchPartition};
use bowline_model::{PartitionId, Token};

fn fetch(wanted: &[(u32, u64, u32)], max_bytes: u32) -> Fetch {
    let one = |&(id, offset, max_bytes): &(u32, u64, u32)| FetchPartition {
        partition: PartitionId(id),
        offset,
        max_bytes,
    };
    Fetch { token: Token(1), partitions: wanted.iter().map(one).collect(), max_bytes, committed: false }
}

fn ready(world: &mut World, fetch: &Fetch) -> Vec<FetchedPartition> {
    match world.stream.partitions.fetch(fetch, false, &mut world.blocks) {
        FetchOutcome::Ready(partitions) => partitions,
        FetchOutcome::Missing(reads) => panic!("missing {reads:?}"),
    }
}

/// Base offsets per partition.
fn bases(partitions: &[FetchedPartition]) -> Vec<Vec<u64>> {
    let one = |p: &FetchedPartition| {
        let fetched = p.result.as_ref().expect("no error");
        fetched.batches.iter().map(|b| b.base_offset).collect()
    };
    partitions.iter().map(one).collect()
}

/// 71 bytes a batch.
fn three_blocks() -> World {
    let mut world = World::with_partitions(2);
    for _ in 0..3 {
        let batches = [(1, Batch::plain(5)), (2, Batch::plain(1)), (1, Batch::plain(5))];
        world.write(0, appends(&batches));
    }
    world
}

#[test]
fn whole_batches_from_any_offset() {
    let mut world = three_blocks();
    for (offset, expected) in [
        (0, vec![0, 5, 10, 15, 20, 25]),
        (4, vec![0, 5, 10, 15, 20, 25]),
        (5, vec![5, 10, 15, 20, 25]),
        (19, vec![15, 20, 25]),
        (29, vec![25]),
        (30, vec![]),
    ] {
        assert_eq!(bases(&ready(&mut world, &fetch(&[(1, offset, 10_000)], 10_000))), [expected], "{offset}");
    }
    let got = ready(&mut world, &fetch(&[(1, 0, 10_000)], 10_000));
    let fetched = got[0].result.as_ref().unwrap();
    assert_eq!((fetched.high_watermark, fetched.last_stable, fetched.log_start), (30, 30, 0));
    assert!(fetched.batches.iter().all(|b| sent(b) == Batch::plain(5).bytes()));
}

#[test]
fn out_of_range_and_unknown() {
    let mut world = three_blocks();
    let got = ready(&mut world, &fetch(&[(1, 31, 100), (9, 0, 100)], 1000));
    let range = FetchError::OutOfRange { log_start: 0, high_watermark: 30 };
    assert_eq!(got[0].result.as_ref().unwrap_err(), &range);
    assert_eq!(got[1].result.as_ref().unwrap_err(), &FetchError::UnknownPartition);
}

#[test]
fn limits_as_in_kip_74() {
    let mut world = three_blocks();
    let mut check = |wanted: &[(u32, u64, u32)], max: u32, expected: [Vec<u64>; 2]| {
        assert_eq!(bases(&ready(&mut world, &fetch(wanted, max))), expected, "{wanted:?} {max}");
    };
    check(&[(1, 0, 142), (2, 0, 71)], 1000, [vec![0, 5], vec![0]]);
    check(&[(1, 0, 141), (2, 0, 1000)], 142, [vec![0], vec![0]]);
    check(&[(1, 0, 1), (2, 0, 1)], 1000, [vec![0], vec![]]);
    check(&[(1, 30, 1), (2, 1, 1)], 1, [vec![], vec![1]]);
    check(&[(2, 0, 1000), (1, 7, 1000)], 0, [vec![0], vec![]]);
    check(&[(1, 0, 1000), (2, 0, 1000)], 426, [vec![0, 5, 10, 15, 20, 25], vec![]]);
}

#[test]
fn a_refused_batch_in_the_middle_of_a_block_is_not_served() {
    let mut world = World::with_partitions(1);
    let results = world.write(
        0,
        appends(&[
            (1, Batch::from(9, 0, 0, 2)),
            (1, Batch::from(9, 0, 2, 2)),
            (1, Batch::from(9, 0, 0, 2)), // duplicate
            (1, Batch::from(9, 0, 4, 2)),
            (1, Batch::from(9, 0, 9, 2)), // gap
            (1, Batch::from(9, 0, 6, 2)),
        ]),
    );
    assert_eq!(results.iter().filter(|r| r.result.is_ok()).count(), 5);
    let got = ready(&mut world, &fetch(&[(1, 0, 10_000)], 10_000));
    assert_eq!(bases(&got), [[0, 2, 4, 6]]);
    let sequences: Vec<i32> = got[0]
        .result
        .as_ref()
        .unwrap()
        .batches
        .iter()
        .map(|b| i32::from_be_bytes(sent(b)[53..57].try_into().unwrap()))
        .collect();
    assert_eq!(sequences, [0, 2, 4, 6]);
    assert_eq!(bases(&ready(&mut world, &fetch(&[(1, 5, 10_000)], 10_000))), [[4, 6]]);
    world.assert_replays(None, 0);
}

#[test]
fn tells_what_was_converted() {
    let mut world = World::with_partitions(1);
    let mut records = appends(&[(1, Batch::plain(1))]);
    Append::encode(&mut records, 1, APPEND_CONVERTED, &Batch::plain(1).bytes());
    world.write(0, records);
    let got = ready(&mut world, &fetch(&[(1, 0, 10_000)], 10_000));
    let flags: Vec<u8> = got[0].result.as_ref().unwrap().batches.iter().map(|b| b.flags).collect();
    assert_eq!(flags, [0, APPEND_CONVERTED]);
}

#[test]
fn asks_for_what_is_missing_and_then_takes_what_is_there() {
    let mut world = three_blocks();
    let lsns: Vec<_> = world.blocks.all.keys().copied().collect();
    // 0 holds the creation. The tail is resident, the rest is not.
    world.blocks.absent.extend([lsns[1], lsns[2]]);
    let all = fetch(&[(1, 0, 10_000), (2, 0, 10_000)], 10_000);
    let FetchOutcome::Missing(reads) = world.stream.partitions.fetch(&all, false, &mut world.blocks) else {
        panic!("the head is missing");
    };
    assert_eq!(reads.len(), 1, "neighbours are one read");
    assert_eq!(reads[0].lsn, lsns[1]);
    assert!(lsns[1].0 + u64::from(reads[0].max_bytes) > lsns[2].0);
    assert!(lsns[1].0 + u64::from(reads[0].max_bytes) <= lsns[3].0, "not beyond what is wanted");
    world.blocks.load(&reads);
    assert_eq!(bases(&ready(&mut world, &all)), [vec![0, 5, 10, 15, 20, 25], vec![0, 1, 2]]);

    // Half of it is gone again when we come back: no gaps are served.
    world.blocks.absent.insert(lsns[2]);
    let FetchOutcome::Ready(got) = world.stream.partitions.fetch(&all, true, &mut world.blocks) else {
        panic!("there is something");
    };
    assert_eq!(bases(&got), [vec![0, 5], vec![0]]);
    // All of it.
    world.blocks.absent.extend(&lsns);
    assert!(matches!(
        world.stream.partitions.fetch(&all, true, &mut world.blocks),
        FetchOutcome::Missing(reads) if reads[0].lsn == lsns[1]
    ));
    // No more is asked for than is allowed to be sent.
    let little = fetch(&[(1, 0, 100)], 100);
    let FetchOutcome::Missing(reads) = world.stream.partitions.fetch(&little, false, &mut world.blocks)
    else {
        panic!("missing");
    };
    assert!(lsns[1].0 + u64::from(reads[0].max_bytes) <= lsns[2].0);
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_a_loop() {
    let mut world = three_blocks();
    let lsns: Vec<_> = world.blocks.all.keys().copied().collect();
    world.blocks.broken.insert(lsns[2]);
    let got = ready(&mut world, &fetch(&[(1, 0, 10_000), (2, 1, 10_000)], 10_000));
    assert_eq!(bases(&got[..1]), [[0, 5]], "up to the damage");
    assert_eq!(got[1].result.as_ref().unwrap_err(), &FetchError::Storage);
}

#[test]
fn reading_and_pinning_are_bounded() {
    let mut world = World::with_partitions(1);
    // Little of partition 1 in each of many large blocks.
    let other = Batch { body: vec![0; 900_000], ..Batch::plain(1) };
    for _ in 0..40 {
        world.write(0, appends(&[(2, other.clone()), (1, Batch::plain(1))]));
    }
    let all = fetch(&[(1, 0, u32::MAX)], u32::MAX);
    let got = bases(&ready(&mut world, &all))[0].len() as u64;
    assert!(got >= 1 && got * 900_000 <= PINNED_BYTES_MAX, "{got}");
    world.blocks.absent = world.blocks.all.keys().copied().collect();
    let FetchOutcome::Missing(reads) = world.stream.partitions.fetch(&all, false, &mut world.blocks) else {
        panic!("missing");
    };
    let bytes: u64 = reads.iter().map(|read| u64::from(read.max_bytes)).sum();
    assert!(bytes > 900_000 && bytes <= u64::from(READ_BYTES_MAX), "{bytes}");
}

#[test]
fn what_a_reader_behind_wants_next_is_read_ahead_in_pieces() {
    let mut world = World::with_partitions(1);
    let large = Batch { body: vec![0; 300_000], ..Batch::plain(1) };
    for _ in 0..40 {
        world.write(0, appends(&[(1, large.clone())]));
    }
    let got = ready(&mut world, &fetch(&[(1, 0, 900_000)], 900_000));
    assert_eq!(bases(&got), [[0, 1]]);
    let none = world.stream.partitions.read_ahead(&got, &mut world.blocks);
    assert!(none.is_empty(), "all is in memory: {none:?}");

    // The first block created the partition.
    world.blocks.absent = world.blocks.all.keys().copied().skip(3).collect();
    let reads = world.stream.partitions.read_ahead(&got, &mut world.blocks);
    let third = *world.blocks.all.keys().nth(3).unwrap();
    assert_eq!(reads[0].lsn, third);
    assert!(reads.len() > 1, "several may be under way: {reads:?}");
    let bytes: u64 = reads.iter().map(|read| u64::from(read.max_bytes)).sum();
    assert!((2_000_000..6_000_000).contains(&bytes), "{bytes}");
    for pair in reads.windows(2) {
        assert!(pair[0].lsn.0 + u64::from(pair[0].max_bytes) <= pair[1].lsn.0, "{pair:?}");
    }
}

/// Twenty partitions whose batches lie side by side: an answer has something of each before it has more of any.
#[test]
fn of_many_partitions_each_gets_its_share() {
    let mut world = World::with_partitions(20);
    for _ in 0..10 {
        let round: Vec<(u32, Batch)> = (1..=20).map(|id| (id, Batch::plain(1))).collect();
        world.write(0, appends(&round));
    }
    let bytes = u32::try_from(Batch::plain(1).bytes().len()).unwrap();
    let from = |offset| (1..=20).map(|id| (id, offset, 1 << 20)).collect::<Vec<_>>();
    let counts = |got: &[FetchedPartition]| bases(got).iter().map(Vec::len).collect::<Vec<_>>();
    let got = ready(&mut world, &fetch(&from(0), 40 * bytes));
    assert_eq!(counts(&got), [2; 20]);
    // Less than a batch each is one batch each, as far as it goes.
    let got = ready(&mut world, &fetch(&from(0), 10 * bytes));
    assert_eq!(counts(&got), [[1; 10], [0; 10]].concat());
    // Those at their end take nothing from the others.
    let mut wanted = from(10);
    wanted[..5].iter_mut().for_each(|partition| partition.1 = 0);
    let got = ready(&mut world, &fetch(&wanted, 20 * bytes));
    assert_eq!(counts(&got)[..5], [10, 10, 0, 0, 0]);
}

#[test]
fn what_many_partitions_want_next_is_read_once() {
    let mut world = World::with_partitions(20);
    let large = Batch { body: vec![0; 30_000], ..Batch::plain(1) };
    for _ in 0..10 {
        let round: Vec<(u32, Batch)> = (1..=20).map(|id| (id, large.clone())).collect();
        world.write(0, appends(&round));
    }
    let all: Vec<(u32, u64, u32)> = (1..=20).map(|id| (id, 0, 1 << 20)).collect();
    let wanted = fetch(&all, 700_000);
    let got = ready(&mut world, &wanted);
    assert!(bases(&got).iter().all(|partition| *partition == [0]), "one of each");
    let blocks: Vec<_> = world.blocks.all.keys().copied().collect();
    // The first blocks made the partitions.
    world.blocks.absent = blocks[blocks.len() - 9..].iter().copied().collect();
    let reads = world.stream.partitions.read_ahead(&got, &mut world.blocks);
    assert_eq!(reads.first().map(|read| read.lsn), Some(blocks[blocks.len() - 9]));
    let bytes: u64 = reads.iter().map(|read| u64::from(read.max_bytes)).sum();
    assert!((2_000_000..6_000_000).contains(&bytes), "{bytes}");
    for pair in reads.windows(2) {
        assert!(pair[0].lsn.0 + u64::from(pair[0].max_bytes) <= pair[1].lsn.0, "{pair:?}");
    }
}
