//! Segments are recycled under new epochs, space is given back, and a full disk is an alarm, not an end.

use crate::support::{Manual, append, open, payload, small};
use bowline_model::{Lsn, ShardId};
use bowline_storage::{AppendError, Checkpoint, Disk, FakeDisk, Options, ReadErrorKind, ShardCheckpoint};

fn checkpoint(manual: &mut Manual) {
    let (applied_term, applied_index) = manual.log.last(ShardId(1)).unwrap();
    let replay_from = manual.log.position();
    let state = Vec::new();
    let shard = ShardCheckpoint { shard: ShardId(1), applied_term, applied_index, replay_from, state };
    manual.log.write_checkpoint(&Checkpoint { shards: vec![shard], ..Checkpoint::default() }).unwrap();
    manual.log.purge_prefix(ShardId(1), applied_index);
    while manual.driver.upkeep() {}
}

#[test]
fn recycled_segments_do_not_grow_the_disk_and_their_old_blocks_are_not_believed() {
    let disk = FakeDisk::new(1, 512);
    let mut manual = open(&disk, small()).unwrap();
    let first = manual.write(1, 1, 10)[0];
    for round in 0..60 {
        manual.write(1, 20, 6000);
        checkpoint(&mut manual);
        if round == 10 {
            assert!(matches!(manual.log.read(first).unwrap_err().kind, ReadErrorKind::Gone));
        }
    }
    assert!(disk.used_bytes() < 20 * (128 << 10), "{} bytes", disk.used_bytes());
    assert!(manual.log.position().segment() > 40);
    assert!(manual.log.stats().segments_spare > 0);

    // The tail is torn off in a recycled segment full of old blocks: none of them may come back.
    let lsns = manual.write(1, 3, 3000);
    manual.log.append(append(1, manual.log.last(ShardId(1)).unwrap().1 + 1, b"in flight")).unwrap();
    let _in_flight = manual.driver.begin_write();
    disk.crash();
    let manual = open(&disk, Options { epoch_seed: 10, ..small() }).unwrap();
    let came: Vec<Lsn> = manual.replayed.iter().map(|b| b.lsn).collect();
    assert_eq!(came[..3], lsns[..]);
    assert!(came.len() <= 4);
}

#[test]
fn restarts_do_not_pile_up_empty_segments() {
    let disk = FakeDisk::new(2, 512);
    for life in 0..30 {
        let mut manual = open(&disk, Options { epoch_seed: life, ..small() }).unwrap();
        manual.write(1, 1, 100);
        manual.driver.close();
        while manual.driver.upkeep() {}
    }
    assert!(disk.used_bytes() < 30 * 12_000 + 2 * (128 << 10), "{} bytes", disk.used_bytes());
    assert_eq!(open(&disk, small()).unwrap().replayed.len(), 30);
}

#[test]
fn on_a_full_disk_essential_appends_go_on_and_space_ends_the_alarm() {
    let disk = FakeDisk::new(3, 512);
    let options = Options { ready_segments: 2, ..small() };
    let mut manual = open(&disk, options.clone()).unwrap();
    manual.write(1, 20, 6000);
    disk.set_capacity(disk.used_bytes() + (100 << 10));

    let mut refused = false;
    for _ in 0..100 {
        let index = manual.log.last(ShardId(1)).unwrap().1 + 1;
        match manual.log.append(append(1, index, &payload(1, index, 6000))) {
            Ok(_) => manual.driver.settle(),
            Err(AppendError::Full) => {
                refused = true;
                break;
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(refused && manual.log.space().alarm && manual.log.fatal().is_none());

    // The reserve takes what frees space; when even that is used up, it says so.
    let mut essential = 0;
    loop {
        let index = manual.log.last(ShardId(1)).unwrap().1 + 1;
        let block = append(1, index, &payload(1, index, 6000));
        match manual.log.append(bowline_storage::Append { essential: true, ..block }) {
            Ok(_) => essential += 1,
            Err(AppendError::Full) => break,
            Err(e) => panic!("{e}"),
        }
        manual.driver.settle();
        assert!(essential < 200, "the reserve has no end");
    }
    assert!(essential > 15, "only {essential} blocks of reserve");

    // A checkpoint needs little room and frees much.
    disk.set_capacity(disk.used_bytes() + (100 << 10));
    checkpoint(&mut manual);
    assert!(!manual.log.space().alarm);
    manual.write(1, 20, 6000);
    let written = manual.log.last(ShardId(1)).unwrap().1;
    drop(manual);
    disk.crash();
    let manual = open(&disk, Options { epoch_seed: 11, ..options }).unwrap();
    assert_eq!(manual.log.last(ShardId(1)), Some((1, written)));
}

#[test]
fn little_free_space_raises_the_alarm_too() {
    let disk = FakeDisk::new(4, 512);
    let mut manual = open(&disk, Options { free_bytes_min: 1 << 20, ..small() }).unwrap();
    manual.write(1, 1, 10);
    disk.set_capacity(disk.used_bytes() + (1 << 20) - 1);
    assert!(manual.log.space().alarm);
    assert!(matches!(manual.log.append(append(1, 2, b"x")), Err(AppendError::Full)));
    disk.set_capacity(disk.free_bytes().unwrap() + (8 << 20));
    assert!(!manual.log.space().alarm);
    manual.write(1, 1, 10);
}

#[test]
fn a_new_log_is_small() {
    let disk = FakeDisk::new(5, 4096);
    let mut manual = open(&disk, Options { free_bytes_min: 0, ..Options::default() }).unwrap();
    manual.write(1, 5, 100);
    assert!(disk.used_bytes() < 5 << 20, "{} bytes", disk.used_bytes());
}
