//! What tests need: a log in memory that is applied as it is written, and record batches.

use crate::{BlockLookup, Options, Out, Read, Stream};
use bowline_model::event::{AppendError, AppendResult, BatchSlice, Event};
use bowline_model::record::{self, Append, Kind};
use bowline_model::request::{PartitionConfig, PartitionSpec};
use bowline_model::{Block, BlockRef, Lsn, Millis, PartitionId, SessionId, ShardId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Blocks by position; only some are resident.
#[derive(Default)]
pub struct Blocks {
    pub all: BTreeMap<Lsn, BlockRef>,
    pub absent: BTreeSet<Lsn>,
    pub broken: BTreeSet<Lsn>,
}

impl Blocks {
    pub fn load(&mut self, reads: &[Read]) {
        for read in reads {
            assert!(self.all.contains_key(&read.lsn), "a block begins at {:?}", read.lsn);
            let end = Lsn(read.lsn.0 + u64::from(read.max_bytes));
            self.absent.retain(|lsn| !(read.lsn..end).contains(lsn));
        }
    }
}

impl BlockLookup for Blocks {
    fn block(&mut self, lsn: Lsn) -> Option<BlockRef> {
        if self.absent.contains(&lsn) || self.broken.contains(&lsn) {
            None
        } else {
            self.all.get(&lsn).cloned()
        }
    }

    fn unreadable(&self, lsn: Lsn) -> bool {
        self.broken.contains(&lsn)
    }
}

/// A shard's log and state.
pub struct World {
    pub stream: Stream,
    pub blocks: Blocks,
    pub out: Out,
    pub next: Lsn,
}

impl World {
    pub fn new() -> World {
        World {
            stream: Stream::new(Options::default()),
            blocks: Blocks::default(),
            out: Out::default(),
            next: Lsn::new(1, 0),
        }
    }

    /// With partitions 1..=n that keep everything.
    pub fn with_partitions(n: u32) -> World {
        let mut world = World::new();
        let mut records = Vec::new();
        for id in 1..=n {
            record::put_value(&mut records, Kind::PartitionCreate, &spec(id, None, None));
        }
        world.write(0, records);
        world
    }

    /// Logs the records as one block and applies it.
    pub fn write(&mut self, stamp: Millis, records: Vec<u8>) -> Vec<AppendResult> {
        let bytes = (records.len() as u64 + 128).next_multiple_of(512);
        let block = Block {
            lsn: self.next,
            shard: ShardId(1),
            term: 1,
            index: self.blocks.all.len() as u64 + 1,
            stamp,
            payload: records.into(),
        };
        // A new segment now and then.
        self.next = Lsn(self.next.0 + bytes);
        if self.next.byte_position() > 1 << 20 {
            self.next = Lsn::new(self.next.segment() + 1, 0);
        }
        let block = Arc::new(block);
        self.blocks.all.insert(block.lsn, block.clone());
        apply(&mut self.stream, &block, &mut self.out)
    }

    /// Logs what was proposed, one block each, and answers the waiters.
    pub fn settle(&mut self, stamp: Millis) {
        for proposal in std::mem::take(&mut self.out.propose) {
            assert_eq!(record::iter(&proposal.records).count(), proposal.count as usize);
            self.write(stamp, proposal.records);
            if let Some(waiter) = proposal.waiter {
                self.stream.applied(waiter, &mut self.out);
            }
        }
    }

    pub fn replies(&mut self) -> Vec<(SessionId, Event)> {
        std::mem::take(&mut self.out.replies)
    }

    pub fn checkpoint(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.checkpoint(&mut bytes);
        bytes
    }

    /// The state after a restart: from `checkpoint`, taken when `applied` blocks had been applied, and the rest of
    /// the log.
    pub fn replayed(&self, checkpoint: Option<&[u8]>, applied: usize) -> Stream {
        let mut stream = Stream::new(Options::default());
        if let Some(bytes) = checkpoint {
            stream.restore(bytes, crate::SECTIONS).expect("what was written can be read");
        }
        let mut out = Out::default();
        for block in self.blocks.all.values().skip(applied) {
            apply(&mut stream, block, &mut out);
        }
        stream
    }

    pub fn assert_replays(&self, checkpoint: Option<&[u8]>, applied: usize) {
        let mut bytes = Vec::new();
        let replayed = self.replayed(checkpoint, applied);
        replayed.checkpoint(&mut bytes);
        assert!(bytes == self.checkpoint(), "the same log gives the same state");
        let live = |stream: &Stream| stream.partitions.live_segments().collect::<Vec<_>>();
        assert_eq!(live(&replayed), live(&self.stream));
    }
}

pub fn apply(stream: &mut Stream, block: &Block, out: &mut Out) -> Vec<AppendResult> {
    let mut results = Vec::new();
    for record in record::iter(&block.payload) {
        let record = record.unwrap();
        if record.kind == Kind::Append {
            results.push(stream.apply_append(block, &record));
        } else {
            stream.apply(block, &record, out);
        }
    }
    stream.finish_block(block.stamp, out);
    results
}

pub fn spec(id: u32, retention_ms: Option<u64>, retention_bytes: Option<u64>) -> PartitionSpec {
    PartitionSpec {
        partition: PartitionId(id),
        topic: TopicId([7; 16]),
        topic_name: "topic".into(),
        index: id,
        config: PartitionConfig { retention_ms, retention_bytes, ..PartitionConfig::default() },
    }
}

/// A batch whose records are `body`, which nobody reads here.
#[derive(Clone)]
pub struct Batch {
    pub count: u32,
    pub max_timestamp: i64,
    pub producer: i64,
    pub epoch: i16,
    pub sequence: i32,
    pub body: Vec<u8>,
}

impl Batch {
    pub fn plain(count: u32) -> Batch {
        Batch { count, max_timestamp: 1_000, producer: -1, epoch: -1, sequence: -1, body: vec![b'x'; 10] }
    }

    pub fn from(producer: i64, epoch: i16, sequence: i32, count: u32) -> Batch {
        Batch { producer, epoch, sequence, ..Batch::plain(count) }
    }

    pub fn at(self, max_timestamp: i64) -> Batch {
        Batch { max_timestamp, ..self }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; 8];
        out.extend((49 + self.body.len() as i32).to_be_bytes());
        out.extend(0i32.to_be_bytes());
        out.push(2);
        out.extend([0; 6]);
        out.extend((self.count as i32 - 1).to_be_bytes());
        out.extend(0i64.to_be_bytes());
        out.extend(self.max_timestamp.to_be_bytes());
        out.extend(self.producer.to_be_bytes());
        out.extend(self.epoch.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend((self.count as i32).to_be_bytes());
        out.extend(&self.body);
        out
    }

    pub fn put(&self, records: &mut Vec<u8>, partition: u32) {
        Append::encode(records, partition, 0, &self.bytes());
    }
}

/// Appends of `(partition, batch)` as records.
pub fn appends(batches: &[(u32, Batch)]) -> Vec<u8> {
    let mut records = Vec::new();
    batches.iter().for_each(|(partition, batch)| batch.put(&mut records, *partition));
    records
}

/// Base offset, or why not.
pub fn base(result: &AppendResult) -> Result<u64, AppendError> {
    result.result.map(|appended| appended.base_offset)
}

/// The batch as it was sent.
pub fn sent(slice: &BatchSlice) -> &[u8] {
    &slice.block.payload[slice.offset as usize..(slice.offset + slice.len) as usize]
}
