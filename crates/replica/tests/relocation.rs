//! A whole node in which something is forgotten while heavy traffic passes: the log must not grow for it, and what
//! was forgotten must be there, whole and in order, also after a restart.

use crate::common::*;
use bowline_model::record::{Append, Publish};
use bowline_replica::Node;
use bowline_replica::relocate::PINNED_SEGMENTS_MAX;
use std::time::{Duration, Instant};

fn publish(queues: &[u32], body: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    let ids = queues.iter().copied();
    Publish::encode(&mut records, 1, ids, b"", b"key", &[0, 0], [body].into_iter());
    records
}

/// A batch of two records, as far as the broker looks inside.
fn batch(n: u32) -> Vec<u8> {
    let mut batch = vec![0; 61];
    batch.extend_from_slice(&n.to_le_bytes());
    let len = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&len.to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&1i32.to_be_bytes());
    // Without times: as young as the block, so retention leaves it alone.
    batch[35..43].copy_from_slice(&(-1i64).to_be_bytes());
    batch[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    batch[57..61].copy_from_slice(&2i32.to_be_bytes());
    batch
}

fn forgotten_body(i: u32) -> Vec<u8> {
    format!("forgotten {i}").into_bytes()
}

#[test]
fn what_is_forgotten_does_not_pin_the_log_and_is_not_lost() {
    const N: u32 = 1_000;
    for shards in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let (node, engine) = start(dir.path(), shards);
        let mut session = Session::new(&node);
        let (busy, _) = session.declare("busy");
        let (forgotten, _) = session.declare("forgotten");
        let partition = session.create_topic();
        session.subscribe(busy, 1, true);

        // Among every 64 KiB of what comes and goes, one message and one batch that stay.
        let traffic = publish(&[busy.0], &vec![b'x'; 64 * 1024]);
        for i in 0..N {
            session.log(busy.0, traffic.clone());
            session.log(forgotten.0, publish(&[forgotten.0], &forgotten_body(i)));
            let mut records = Vec::new();
            Append::encode(&mut records, partition.0, 0, &batch(i));
            session.log(partition.0, records);
            session.delivered();
        }
        assert!(engine.log().stats().bytes > 60 * SEGMENT_BYTES);

        // Checkpoints come with traffic, and keep what was written since the last but one.
        let last = engine.log().segments().last().copied().unwrap();
        let old = || engine.log().segments().into_iter().filter(|segment| *segment <= last).count() as u64;
        let end = Instant::now() + Duration::from_secs(60);
        while old() > PINNED_SEGMENTS_MAX {
            assert!(Instant::now() < end, "{:?}", engine.log().stats());
            session.log(busy.0, traffic.clone());
            session.delivered();
        }
        let stats = engine.log().stats();
        assert!(stats.cold_files >= 1 && stats.cold_bytes < 8 * SEGMENT_BYTES, "{stats:?}");
        drop(session);

        let read_back = |node: &Node| {
            let mut session = Session::new(node);
            let (again, ready) = session.declare("forgotten");
            assert_eq!((again, ready), (forgotten, u64::from(N)));
            session.subscribe(forgotten, 2, false);
            let mut bodies = Vec::new();
            while bodies.len() < N as usize {
                bodies.extend(session.delivered());
            }
            assert!(bodies.into_iter().eq((0..N).map(forgotten_body)));
            let batches = session.fetch_all(partition, 2 * u64::from(N));
            assert!(batches.into_iter().eq((0..N).map(|i| (2 * u64::from(i), batch(i)))));
        };
        read_back(&node);
        engine.stop().unwrap();
        let (node, engine) = start(dir.path(), shards);
        read_back(&node);
        engine.stop().unwrap();
    }
}
