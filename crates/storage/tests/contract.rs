//! What a log promises, on a real directory with threads and on the fake disk with threads.

use crate::support::{append, collect, payload, small};
use bowline_model::{AlignedBuf, Lsn, ShardId};
use bowline_storage::fake_disk::Operation;
use bowline_storage::{
    AppendError, Checkpoint, ColdBlock, Disk, FakeDisk, Log, OpenError, Options, ReadErrorKind, RealDisk,
    ShardCheckpoint,
};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

fn on_both(test: impl Fn(&dyn Fn() -> Arc<dyn Disk>)) {
    let fake = FakeDisk::new(1, 512);
    test(&|| Arc::new(fake.clone()));
    let dir = tempfile::tempdir().unwrap();
    test(&|| Arc::new(RealDisk::open(dir.path().join("data")).unwrap()));
}

/// Opens without replaying.
fn started(disk: Arc<dyn Disk>) -> (Log, crate::support::Completions) {
    let (log, mut recovered) = Log::open(disk, small()).unwrap();
    recovered.replay.skip_all().unwrap();
    let (done, on_complete) = collect();
    log.start(on_complete).unwrap();
    (log, done)
}

#[test]
fn blocks_complete_in_order_and_come_back() {
    on_both(|open: &dyn Fn() -> Arc<dyn Disk>| {
        let (log, done) = started(open());
        let mut last = Lsn::default();
        let mut lsns = Vec::new();
        for index in 1..=200 {
            for shard in 0..3 {
                let bytes = if index % 40 == 0 { 40_000 } else { 300 };
                let lsn = log.append(append(shard, index, &payload(shard, index, bytes))).unwrap();
                assert!(lsn > last);
                last = lsn;
                lsns.push(lsn);
            }
        }
        log.wait_durable(last).unwrap();
        log.close().unwrap();
        assert!(matches!(log.append(append(0, 201, b"x")), Err(AppendError::NotStarted)));
        let completed: Vec<Lsn> = done.lock().drain(..).map(|(_, block)| block.unwrap().lsn).collect();
        assert_eq!(completed, lsns);
        assert_eq!(log.last(ShardId(1)), Some((1, 200)));
        let at = log.locate(ShardId(2), 40).unwrap();
        assert_eq!(log.read(at).unwrap().payload, payload(2, 40, 40_000));
        let run = log.read_run(lsns[0], 4096, 5).unwrap();
        assert!(!run.is_empty() && run.len() <= 5);
        let (mut seen, mut next) = (Vec::new(), lsns[0]);
        while seen.len() < lsns.len() {
            match log.read_on(next, 32 << 10, 1000) {
                Ok(run) => {
                    seen.extend(run.blocks.iter().map(|b| b.lsn));
                    next = run.next;
                }
                // The file ended.
                Err(_) => next = Lsn::new(next.segment() + 1, 4096),
            }
        }
        assert_eq!(seen, lsns);
        drop(log);

        let (log, mut recovered) = Log::open(open(), small()).unwrap();
        let replayed: Vec<_> = (&mut recovered.replay).map(|b| b.unwrap()).collect();
        assert_eq!(replayed.iter().map(|b| b.lsn).collect::<Vec<_>>(), lsns);
        assert!(replayed.iter().all(|b| b.payload
            == payload(b.shard.0, b.index, b.payload.len().min(40_000).saturating_sub(9))
            || b.payload.len() > 300));
        let report = recovered.replay.report();
        assert!(report.closed && report.cut.is_none() && report.notes.is_empty(), "{report:?}");
        let (done, on_complete) = collect();
        log.start(on_complete).unwrap();
        let lsn = log.append(append(0, 201, &payload(0, 201, 5))).unwrap();
        log.wait_durable(lsn).unwrap();
        assert!(lsn > last);
        log.close().unwrap();
        assert_eq!(done.lock().len(), 1);
    });
}

/// The disk is asked for more than one piece.
#[test]
fn a_run_of_megabytes_comes_in_one_answer() {
    on_both(|open: &dyn Fn() -> Arc<dyn Disk>| {
        let large = Options { segment_bytes: 8 << 20, first_segment_bytes: 8 << 20, ..small() };
        let (log, mut recovered) = Log::open(open(), large).unwrap();
        recovered.replay.skip_all().unwrap();
        let (_done, on_complete) = collect();
        log.start(on_complete).unwrap();
        // Odd lengths: blocks lie across the pieces' ends.
        let lsns: Vec<Lsn> = (1..=11)
            .map(|index| log.append(append(1, index, &payload(1, index, 300_001))).unwrap())
            .collect();
        log.wait_durable(*lsns.last().unwrap()).unwrap();
        let run = log.read_run(lsns[0], 8 << 20, 100).unwrap();
        assert_eq!(run.len(), lsns.len());
        for (block, index) in run.iter().zip(1..) {
            assert_eq!((block.index, &block.payload[..]), (index, &payload(1, index, 300_001)[..]));
        }
        log.close().unwrap();
    });
}

#[test]
fn a_held_block_is_written_by_whoever_releases_it() {
    on_both(|open: &dyn Fn() -> Arc<dyn Disk>| {
        let (log, done) = started(open());
        let mut lsns = Vec::new();
        for index in 1..=50 {
            // Large ones are left to the writers; either way it is durable soon, and in order.
            let bytes = if index % 10 == 0 { 100_000 } else { 300 };
            lsns.push(log.append_held(append(1, index, &payload(1, index, bytes))).unwrap());
            if index % 7 == 0 {
                lsns.push(log.append(append(2, index / 7, &payload(2, index / 7, 300))).unwrap());
            }
            log.write_here();
        }
        log.wait_durable(*lsns.last().unwrap()).unwrap();
        log.write_here();
        log.close().unwrap();
        let completed: Vec<Lsn> = done.lock().drain(..).map(|(_, block)| block.unwrap().lsn).collect();
        assert_eq!(completed, lsns);
        drop(log);

        let (_, mut recovered) = Log::open(open(), small()).unwrap();
        let replayed: Vec<Lsn> = (&mut recovered.replay).map(|b| b.unwrap().lsn).collect();
        assert_eq!(replayed, lsns);
        let report = recovered.replay.report();
        assert!(report.closed && report.cut.is_none() && report.notes.is_empty(), "{report:?}");
    });
}

#[test]
fn indexes_are_contiguous_and_the_end_can_be_voided() {
    on_both(|open: &dyn Fn() -> Arc<dyn Disk>| {
        let (log, _) = started(open());
        for index in 5..=9 {
            log.append(append(1, index, &payload(1, index, 10))).unwrap();
        }
        assert!(matches!(log.append(append(1, 11, b"x")), Err(AppendError::Index { expected: 10, .. })));
        assert!(matches!(log.append(append(2, 0, b"x")), Err(AppendError::Index { .. })));
        let too_large = vec![0; 200 << 10];
        assert!(matches!(log.append(append(2, 1, &too_large)), Err(AppendError::TooLarge { .. })));
        log.truncate_suffix(ShardId(1), 7).unwrap();
        assert_eq!((log.last(ShardId(1)), log.locate(ShardId(1), 7)), (Some((1, 6)), None));
        let lsn = log.append(append(1, 7, b"again")).unwrap();
        log.wait_durable(lsn).unwrap();
        drop(log);

        let (log, mut recovered) = Log::open(open(), small()).unwrap();
        recovered.replay.skip_all().unwrap();
        assert_eq!((log.last(ShardId(1)), log.locate(ShardId(1), 7)), (Some((1, 7)), Some(lsn)));
        log.purge_prefix(ShardId(1), 6);
        assert_eq!((log.locate(ShardId(1), 6), log.purged(ShardId(1))), (None, Some((1, 6))));
    });
}

#[test]
fn cold_files_are_read_like_the_log_and_go_when_no_checkpoint_lists_them() {
    on_both(|open: &dyn Fn() -> Arc<dyn Disk>| {
        let (log, _) = started(open());
        let paced = Arc::new(Mutex::new(0));
        let counter = paced.clone();
        let mut cold = log.new_cold_file(Some(Box::new(move |bytes| *counter.lock() += bytes))).unwrap();
        let lsns: Vec<Lsn> = (1..=20)
            .map(|index| {
                let mut buf = AlignedBuf::with_payload_capacity(100);
                buf.extend_from_slice(&payload(1, index, 5000));
                cold.append(ColdBlock { shard: ShardId(1), term: 0, index, stamp: 0, n_records: 1, buf })
                    .unwrap()
            })
            .collect();
        assert!(log.read(lsns[0]).is_err(), "not finished");
        let number = cold.finish().unwrap();
        assert!(*paced.lock() >= 100_000 && lsns.iter().all(|l| l.is_cold() && l.segment() == number));
        let run = log.read_run(lsns[3], 64 << 10, 5).unwrap();
        assert_eq!(run.iter().map(|b| b.index).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
        drop(log.new_cold_file(None).unwrap());

        let checkpoint = |live: &[u32]| Checkpoint {
            shards: vec![],
            live_segments: BTreeSet::new(),
            live_cold: live.iter().copied().collect(),
        };
        log.write_checkpoint(&checkpoint(&[])).unwrap();
        log.write_checkpoint(&checkpoint(&[])).unwrap();
        assert!(
            log.read(lsns[0]).is_ok(),
            "never listed: perhaps it was finished after the states were captured"
        );
        log.write_checkpoint(&checkpoint(&[number])).unwrap();
        log.close().unwrap();
        drop(log);

        let (log, _) = started(open());
        assert_eq!(log.read(lsns[19]).unwrap().payload, payload(1, 20, 5000));
        assert_ne!(log.new_cold_file(None).unwrap().number(), number);
        log.write_checkpoint(&checkpoint(&[])).unwrap();
        assert!(log.read(lsns[0]).is_ok(), "the checkpoint before still lists it");
        log.write_checkpoint(&checkpoint(&[])).unwrap();
        assert!(matches!(log.read(lsns[0]).unwrap_err().kind, ReadErrorKind::Gone));
    });
}

#[test]
fn large_states_are_kept() {
    on_both(|open: &dyn Fn() -> Arc<dyn Disk>| {
        let (log, _) = started(open());
        let state: Vec<u8> = (0..5_000_001u32).map(|i| (i * 7) as u8).collect();
        let shard = |number| ShardCheckpoint {
            shard: ShardId(number),
            applied_term: 0,
            applied_index: 0,
            replay_from: log.position(),
            state: state.clone(),
        };
        let checkpoint = Checkpoint { shards: vec![shard(0), shard(1)], ..Checkpoint::default() };
        log.write_checkpoint(&checkpoint).unwrap();
        drop(log);
        let (_, recovered) = Log::open(open(), small()).unwrap();
        assert_eq!(recovered.checkpoint, Some(checkpoint));
    });
}

#[test]
fn callbacks_may_append() {
    on_both(|open: &dyn Fn() -> Arc<dyn Disk>| {
        let (log, mut recovered) = Log::open(open(), small()).unwrap();
        recovered.replay.skip_all().unwrap();
        let state = Arc::new((Mutex::new(None::<Log>), Mutex::new(0u64), Condvar::new()));
        let inner = state.clone();
        log.start(Arc::new(move |_, result| {
            let index = result.unwrap().index;
            if index < 50 {
                let log = inner.0.lock().clone().unwrap();
                log.append(append(0, index + 1, &payload(0, index + 1, 10))).unwrap();
            }
            *inner.1.lock() = index;
            inner.2.notify_one();
        }))
        .unwrap();
        *state.0.lock() = Some(log.clone());
        log.append(append(0, 1, &payload(0, 1, 10))).unwrap();
        let mut seen = state.1.lock();
        while *seen < 50 {
            assert!(!state.2.wait_for(&mut seen, Duration::from_secs(20)).timed_out());
        }
        drop(seen);
        *state.0.lock() = None;
        log.close().unwrap();
    });
}

#[test]
fn a_failed_write_is_final() {
    let disk = FakeDisk::new(3, 512);
    let (log, done) = started(Arc::new(disk.clone()));
    let lsn = log.append(append(0, 1, &payload(0, 1, 10))).unwrap();
    log.wait_durable(lsn).unwrap();
    disk.fail(Operation::WriteDurable, "log/", 0, io::ErrorKind::Other);
    let lsn = log.append(append(0, 2, &payload(0, 2, 10))).unwrap();
    assert!(log.wait_durable(lsn).is_err());
    for index in 3..10 {
        assert!(matches!(log.append(append(0, index, b"x")), Err(AppendError::Fatal(_))));
    }
    assert!(log.write_checkpoint(&Checkpoint::default()).is_err());
    assert!(log.new_cold_file(None).is_err());
    assert!(log.close().is_err());
    let done = done.lock();
    assert_eq!(done.len(), 2);
    assert!(done[0].1.is_ok() && done[1].1.is_err());
    assert!(log.fatal().unwrap().to_string().contains("log/"), "names the file");
}

#[test]
fn an_idle_log_seals_itself_once() {
    let disk = FakeDisk::new(4, 512);
    let (log, _) = started(Arc::new(disk.clone()));
    let lsn = log.append(append(0, 1, &payload(0, 1, 10))).unwrap();
    log.wait_durable(lsn).unwrap();
    while log.durable() == lsn {
        std::thread::yield_now();
    }
    let writes = disk.counts();
    // Three times the idle time: a second seal would be seen.
    std::thread::sleep(3 * Options::default().idle_seal_after);
    assert_eq!(disk.counts(), writes, "an idle log does nothing");
}

#[test]
fn a_second_process_is_told_who_is_in() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    match RealDisk::open(dir.path()) {
        Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("opened twice"),
    }
    assert_eq!(RealDisk::locked_by(dir.path()), Some(std::process::id().to_string()));
    drop(disk);
    assert_eq!(RealDisk::locked_by(dir.path()), None);
    RealDisk::open(dir.path()).unwrap();
}

#[test]
fn a_directory_keeps_its_identity() {
    let disk = FakeDisk::new(5, 512);
    let (log, _) = started(Arc::new(disk.clone()));
    let format = log.format();
    drop(log);
    let mut other = small();
    other.identity.node = [9; 16];
    other.identity.data_shards = 77;
    let (log, _) = Log::open(Arc::new(disk.clone()), other).unwrap();
    assert_eq!(log.format(), format);
    drop(log);
    disk.flip_bit("format", 40, 0);
    assert!(matches!(Log::open(Arc::new(disk), small()), Err(OpenError::Format { .. })));
}

#[test]
fn many_threads_append_and_the_order_is_one() {
    on_both(|open: &dyn Fn() -> Arc<dyn Disk>| {
        let (log, done) = started(open());
        std::thread::scope(|scope| {
            for shard in 0..4 {
                let log = log.clone();
                scope.spawn(move || {
                    for index in 1..=300 {
                        let bytes = 50 + (index * 37 % 2000) as usize;
                        let lsn = log.append(append(shard, index, &payload(shard, index, bytes))).unwrap();
                        if index % 50 == 0 {
                            log.wait_durable(lsn).unwrap();
                        }
                    }
                });
            }
        });
        log.close().unwrap();
        let done = done.lock();
        assert_eq!(done.len(), 1200);
        let mut last = Lsn::default();
        let mut next = [1; 4];
        for (shard, block) in done.iter() {
            let block = block.as_ref().unwrap();
            assert!(block.lsn > last && block.index == next[shard.0 as usize]);
            last = block.lsn;
            next[shard.0 as usize] += 1;
            assert_eq!(log.read(block.lsn).unwrap().payload, block.payload);
        }
        let stats = log.stats();
        assert!(
            stats.blocks >= 1200 && stats.writes <= stats.blocks && stats.flush_quantile_us(0.5) > 0,
            "{stats:?}"
        );
    });
}

#[test]
fn the_flush_probe_measures_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let probe = bowline_storage::flush_probe(dir.path(), Duration::from_millis(20)).unwrap();
    assert!(probe.writes > 0 && probe.p50 <= probe.p99 && probe.p99 <= probe.max && !probe.p50.is_zero());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
