//! What the test files share: payloads, appends, and a log on a fake disk driven by hand.

use bowline_model::record::{self, Kind};
use bowline_model::{AlignedBuf, BlockRef, Lsn, ShardId};
use bowline_storage::{
    Append, Checkpoint, Driver, FakeDisk, Fatal, Log, OnComplete, OpenError, Options, ReplayError, Report,
};
use parking_lot::Mutex;
use std::sync::Arc;

pub type Completions = Arc<Mutex<Vec<(ShardId, Result<BlockRef, Fatal>)>>>;

/// A payload of one record that says whose it is.
pub fn payload(shard: u16, index: u64, bytes: usize) -> Vec<u8> {
    let mut body = format!("{shard}/{index}/").into_bytes();
    let n = body.len().max(bytes);
    let fill = (index as u8).wrapping_mul(31).wrapping_add(shard as u8) | 1;
    body.resize(n, fill);
    let mut out = Vec::new();
    record::put(&mut out, Kind::Publish, &body);
    out
}

pub fn append(shard: u16, index: u64, payload: &[u8]) -> Append {
    let mut buf = AlignedBuf::with_payload_capacity(payload.len());
    buf.extend_from_slice(payload);
    Append { shard: ShardId(shard), term: 1, index, stamp: index * 10, n_records: 1, buf, essential: false }
}

pub fn small() -> Options {
    Options {
        identity: bowline_storage::Identity { node: [1; 16], data_shards: 2 },
        segment_bytes: 128 << 10,
        first_segment_bytes: 32 << 10,
        free_bytes_min: 0,
        epoch_seed: 7,
        ..Options::default()
    }
}

pub fn collect() -> (Completions, OnComplete) {
    let done = Completions::default();
    let into = done.clone();
    (done, Arc::new(move |shard, result| into.lock().push((shard, result))))
}

/// A log on a fake disk, driven by hand.
pub struct Manual {
    pub log: Log,
    pub driver: Driver,
    pub done: Completions,
    pub checkpoint: Option<Checkpoint>,
    pub replayed: Vec<BlockRef>,
    pub report: Report,
}

#[derive(Debug)]
pub enum Failed {
    Open(OpenError),
    Replay(ReplayError),
}

pub fn open(disk: &FakeDisk, options: Options) -> Result<Manual, Failed> {
    let (log, mut recovered) = Log::open(Arc::new(disk.clone()), options).map_err(Failed::Open)?;
    let mut replayed = Vec::new();
    for block in &mut recovered.replay {
        replayed.push(block.map_err(Failed::Replay)?);
    }
    let (done, on_complete) = collect();
    let driver = log.start_manual(on_complete).map_err(Failed::Open)?;
    let report = recovered.replay.report().clone();
    Ok(Manual { log, driver, done, checkpoint: recovered.checkpoint, replayed, report })
}

impl Manual {
    /// Appends `n` entries of `shard` after the last one, and makes them durable.
    pub fn write(&mut self, shard: u16, n: u64, bytes: usize) -> Vec<Lsn> {
        let next = self.log.last(ShardId(shard)).map_or(1, |(_, index)| index + 1);
        let lsns = (next..next + n)
            .map(|index| self.log.append(append(shard, index, &payload(shard, index, bytes))).unwrap())
            .collect();
        self.driver.settle();
        lsns
    }
}
