//! Damage at rest: what was acknowledged and is bad is reported with its place and never served or cut;
//! with the operator's consent it is left out, kept aside, and everything else comes back.

use crate::support::{Failed, Manual, open, payload, small};
use bowline_model::{Lsn, ShardId};
use bowline_storage::fake_disk::Operation;
use bowline_storage::{
    Checkpoint, Corrupt, FakeDisk, OpenError, Options, ReadErrorKind, ReplayError, ShardCheckpoint,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::io;

fn corrupt(result: Result<Manual, Failed>) -> Corrupt {
    match result {
        Err(Failed::Replay(ReplayError::Corrupt(c)) | Failed::Open(OpenError::Corrupt(c))) => c,
        Err(e) => panic!("{e:?}"),
        Ok(_) => panic!("opened"),
    }
}

fn path(lsn: Lsn) -> String {
    format!("log/{:08}.seg", lsn.segment())
}

#[test]
fn a_flipped_bit_in_an_acknowledged_block_is_reported_wherever_it_is() {
    for seed in 0..60 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let disk = FakeDisk::new(seed, if seed % 2 == 0 { 512 } else { 4096 });
        let mut manual = open(&disk, small()).unwrap();
        let mut lsns = Vec::new();
        for _ in 0..rng.random_range(2..20) {
            let bytes = rng.random_range(1..20_000);
            lsns.extend(manual.write(1, 1, bytes).into_iter().map(|lsn| (lsn, bytes)));
        }
        manual.driver.seal();
        manual.driver.settle();
        if rng.random() {
            manual.driver.close();
        }
        drop(manual);
        let victim = rng.random_range(0..lsns.len());
        let (lsn, bytes) = lsns[victim];
        let at = u64::from(lsn.byte_position()) + rng.random_range(0..128 + bytes as u64);
        assert!(disk.flip_bit(&path(lsn), at, rng.random_range(0..8)));

        let found = corrupt(open(&disk, small()));
        if found.path != path(lsn) {
            // The first block of a segment: the hole begins where the segment before it ends.
            assert_eq!(lsn.byte_position(), 4096, "seed {seed}: {found}");
        } else {
            assert_eq!(found.position, u64::from(lsn.byte_position()), "seed {seed}: {found}");
        }
        if let Some(resume) = found.resume {
            assert!(resume > lsn, "seed {seed}: {found}");
        }

        let accept = Options { accept_loss: true, epoch_seed: 99, ..small() };
        let mut manual = open(&disk, accept.clone()).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
        let came: Vec<Lsn> = manual.replayed.iter().map(|b| b.lsn).collect();
        let expected: Vec<Lsn> = lsns.iter().map(|l| l.0).filter(|l| *l != lsn).collect();
        assert_eq!(came, expected, "seed {seed}");
        assert_eq!(manual.report.losses.len(), 1);
        let read = manual.log.read(lsn).unwrap_err();
        assert!(matches!(read.kind, ReadErrorKind::Header(_) | ReadErrorKind::Payload { .. }), "{read}");
        // After a checkpoint nobody asks any more.
        manual.write(1, 1, 10);
        let (term, index) = manual.log.last(ShardId(1)).unwrap();
        let checkpoint = Checkpoint {
            shards: vec![ShardCheckpoint {
                shard: ShardId(1),
                applied_term: term,
                applied_index: index,
                replay_from: manual.log.position(),
                state: b"state".to_vec(),
            }],
            ..Checkpoint::default()
        };
        manual.log.write_checkpoint(&checkpoint).unwrap();
        drop(manual);
        open(&disk, Options { epoch_seed: 100, ..small() }).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
    }
}

#[test]
fn a_damaged_segment_header_alone_loses_nothing() {
    let disk = FakeDisk::new(1, 512);
    let mut manual = open(&disk, small()).unwrap();
    let lsns = manual.write(1, 40, 9000);
    manual.driver.close();
    drop(manual);
    for number in [1, 2] {
        disk.flip_bit(&format!("log/{number:08}.seg"), 30, 1);
    }
    let manual = open(&disk, Options { epoch_seed: 8, ..small() }).unwrap();
    assert_eq!(manual.replayed.len(), 40);
    assert_eq!(manual.report.notes.len(), 2, "{:?}", manual.report);
    assert_eq!(manual.log.read(lsns[0]).unwrap().payload, payload(1, 1, 9000));
}

#[test]
fn a_missing_segment_is_reported() {
    use bowline_storage::Disk;
    for victim in 1..=4u32 {
        let disk = FakeDisk::new(1, 512);
        let mut manual = open(&disk, small()).unwrap();
        manual.write(1, 50, 9000);
        manual.driver.close();
        drop(manual);
        disk.remove(&format!("log/{victim:08}.seg")).unwrap();
        let found = corrupt(open(&disk, small()));
        assert!(found.resume.is_some(), "{found}");
    }
}

#[test]
fn of_two_checkpoints_a_damaged_newest_leaves_the_other() {
    let disk = FakeDisk::new(2, 512);
    let mut manual = open(&disk, small()).unwrap();
    let mut checkpoints = Vec::new();
    for round in 0..5u8 {
        manual.write(1, 30, 4000);
        let (applied_term, applied_index) = manual.log.last(ShardId(1)).unwrap();
        let replay_from = manual.log.position();
        let state = vec![round; 30_000];
        let shard = ShardCheckpoint { shard: ShardId(1), applied_term, applied_index, replay_from, state };
        checkpoints.push(Checkpoint { shards: vec![shard], ..Checkpoint::default() });
        manual.log.write_checkpoint(checkpoints.last().unwrap()).unwrap();
        manual.driver.settle();
    }
    manual.write(1, 3, 100);
    drop(manual);
    // Five were written: the last is in the first file.
    disk.flip_bit("checkpoint.0", 8192 + 77, 3);
    let manual = open(&disk, Options { epoch_seed: 9, ..small() }).unwrap();
    assert_eq!(manual.checkpoint.as_ref(), Some(&checkpoints[3]));
    let indexes: Vec<u64> = manual.replayed.iter().map(|b| b.index).collect();
    assert_eq!(indexes, (121..=153).collect::<Vec<_>>());
    drop(manual);
    // Both: without them the beginning of the log would be needed, and that was recycled.
    disk.flip_bit("checkpoint.1", 20, 3);
    corrupt(open(&disk, small()));
}

/// The one before would do for this start, but not the newest for the next one: it wants nothing replayed that lies
/// below where the log ended when it was made, and that is where this start would have gone on.
#[test]
fn no_start_passes_over_a_checkpoint_that_it_cannot_read() {
    let disk = FakeDisk::new(2, 512);
    let mut manual = open(&disk, small()).unwrap();
    let checkpoint = |manual: &Manual| {
        let (applied_term, applied_index) = manual.log.last(ShardId(1)).unwrap();
        let replay_from = manual.log.position();
        let state = vec![1; 30];
        let shard = ShardCheckpoint { shard: ShardId(1), applied_term, applied_index, replay_from, state };
        Checkpoint { shards: vec![shard], ..Checkpoint::default() }
    };
    manual.write(1, 3, 100);
    manual.log.write_checkpoint(&checkpoint(&manual)).unwrap();
    manual.write(1, 3, 100);
    // Shard 2 has a block under way when the newest checkpoint is made, and it does not land.
    let newest = {
        let payload = payload(2, 1, 50_000);
        manual.log.append(crate::support::append(2, 1, &payload)).unwrap();
        checkpoint(&manual)
    };
    manual.log.write_checkpoint(&newest).unwrap();
    drop(manual);
    disk.kill();
    for after in 0..8 {
        disk.fail(Operation::Read, "checkpoint", after, io::ErrorKind::Other);
        match open(&disk, Options { epoch_seed: 10 + after, ..small() }) {
            Ok(manual) => assert_eq!(manual.checkpoint.as_ref(), Some(&newest), "read {after} fails"),
            Err(Failed::Open(OpenError::Disk(_))) => {}
            Err(e) => panic!("{e:?}"),
        }
        disk.forget_faults();
    }
    // With the operator's consent it goes, and does not come back.
    disk.fail(Operation::Read, "checkpoint.1", 0, io::ErrorKind::Other);
    let mut manual = open(&disk, Options { epoch_seed: 20, accept_loss: true, ..small() }).unwrap();
    assert_ne!(manual.checkpoint.as_ref(), Some(&newest));
    let lsns = manual.write(1, 3, 100);
    drop(manual);
    disk.kill();
    let manual = open(&disk, Options { epoch_seed: 21, ..small() }).unwrap();
    let came: Vec<Lsn> = manual.replayed.iter().map(|b| b.lsn).collect();
    assert!(came.ends_with(&lsns), "{came:?} {lsns:?}");
}

#[test]
fn inspection_tells_damage_from_cuts() {
    use bowline_storage::header::SegmentKind;
    use bowline_storage::inspect;
    let disk = FakeDisk::new(3, 512);
    let mut manual = open(&disk, small()).unwrap();
    let lsns = manual.write(1, 30, 9000);
    let summary = inspect::verify(&disk, &mut |_| {}).unwrap();
    assert!(summary.damage.is_empty() && summary.notes.is_empty(), "{summary:?}");
    assert_eq!((summary.blocks, summary.records, summary.last), (30, 30, lsns[29]));
    let scrubbed = inspect::scrub(&manual.log, SegmentKind::Log, 2, &mut |_| {}).unwrap();
    assert!(scrubbed.damage.is_empty() && scrubbed.blocks > 5);

    // Two writes in flight of which only the second lands, then a restart: a cut, and no damage.
    for (index, bytes) in [(31, 600), (32, 50_000)] {
        manual
            .log
            .append(bowline_storage::Append {
                essential: true,
                ..crate::support::append(1, index, &payload(1, index, bytes))
            })
            .unwrap();
    }
    drop(manual);
    let mut manual = open(&disk, Options { epoch_seed: 8, ..small() }).unwrap();
    manual.write(1, 5, 100);
    drop(manual);
    disk.flip_bit(&path(lsns[10]), u64::from(lsns[10].byte_position()) + 500, 1);
    let mut visited = 0;
    let summary = inspect::verify(&disk, &mut |_| visited += 1).unwrap();
    assert_eq!(visited, 34);
    assert_eq!(summary.damage.len(), 1, "{:?}", summary.damage);
    assert_eq!(summary.damage[0].position, u64::from(lsns[10].byte_position()));
}

#[test]
fn a_read_that_fails_while_recovering_is_no_end_of_the_log() {
    let disk = FakeDisk::new(1, 512);
    let mut written = Vec::new();
    // Each life writes into a segment of its own.
    for life in 0..4 {
        let mut manual = open(&disk, Options { epoch_seed: life, ..small() }).unwrap();
        written.extend(manual.write(1, 3, 100));
        disk.kill();
    }
    for after in 0..60 {
        disk.fail(Operation::Read, "", after, io::ErrorKind::Other);
        if let Ok(manual) = open(&disk, Options { epoch_seed: 100 + after, ..small() }) {
            let came: Vec<Lsn> = manual.replayed.iter().map(|b| b.lsn).collect();
            assert_eq!(came, written, "read {after} failed");
        }
        disk.kill();
    }
}
