//! What the shards propose to: the production single node, and in between the place where blocks can be tampered
//! with on purpose.

use crate::sabotage::Sabotage;
use bowline_model::record::{self, Kind};
use bowline_model::{AlignedBuf, Block, BlockRef, Lsn, Millis, ShardId};
use bowline_raft::{Entry, Replication, SingleNode, Slot};
use bowline_storage::{AppendError, Fatal, Log};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Completions of the log, in the order in which it called back.
#[derive(Default)]
pub struct Completions {
    queue: Mutex<VecDeque<(ShardId, Result<BlockRef, Fatal>)>>,
    /// Payloads as proposed, of blocks that went to the disk otherwise or are to be committed early.
    originals: Mutex<BTreeMap<(ShardId, u64), BlockRef>>,
}

impl Completions {
    pub fn take(&self) -> Option<(ShardId, Result<BlockRef, Fatal>)> {
        self.queue.lock().expect("one thread").pop_front()
    }

    /// The log's callback.
    pub fn complete(&self, shard: ShardId, result: Result<BlockRef, Fatal>, sabotage: Option<Sabotage>) {
        let result = match (result, sabotage) {
            (Ok(_), Some(Sabotage::AckBeforeFlush)) => return,
            (Ok(block), Some(_)) => {
                let original = self.originals.lock().expect("one thread").remove(&(shard, block.index));
                match (original, sabotage) {
                    // Committed before its turn.
                    (None, Some(Sabotage::CommitOutOfOrder)) => return,
                    (original, _) => Ok(original.unwrap_or(block)),
                }
            }
            (result, _) => result,
        };
        self.queue.lock().expect("one thread").push_back((shard, result));
    }

    /// Commits everything proposed up to `last` although the log has not.
    pub fn commit_early(&self, last: Lsn) {
        let mut originals = self.originals.lock().expect("one thread");
        let mut early: Vec<BlockRef> = originals.values().filter(|b| b.lsn <= last).cloned().collect();
        early.sort_by_key(|block| block.lsn);
        for block in early {
            originals.remove(&(block.shard, block.index));
            self.queue.lock().expect("one thread").push_back((block.shard, Ok(block)));
        }
    }
}

pub struct Proposer {
    node: SingleNode,
    log: Log,
    shard: ShardId,
    sabotage: Option<Sabotage>,
    completions: Arc<Completions>,
}

impl Proposer {
    pub fn new(
        log: &Log,
        shard: ShardId,
        recovered: Slot,
        sabotage: Option<Sabotage>,
        completions: &Arc<Completions>,
    ) -> Proposer {
        let node = SingleNode::new(log.clone(), shard, recovered);
        Proposer { node, log: log.clone(), shard, sabotage, completions: completions.clone() }
    }

    fn remember(&self, slot: Slot, stamp: Millis, payload: Vec<u8>) -> BlockRef {
        let lsn = self.log.locate(self.shard, slot.index).expect("it was appended just now");
        Arc::new(Block {
            lsn,
            shard: self.shard,
            term: slot.term,
            index: slot.index,
            stamp,
            payload: payload.into(),
        })
    }
}

impl Replication for Proposer {
    fn propose(&mut self, mut entry: Entry) -> Result<Slot, AppendError> {
        if self.sabotage == Some(Sabotage::NodeStartedLost) && self.shard != ShardId::META {
            void(&mut entry.buf, Kind::NodeStarted);
        }
        let lost = match self.sabotage {
            Some(Sabotage::HorizonLost) => Some(Kind::Horizon),
            Some(Sabotage::SettleLost) => Some(Kind::Settle),
            Some(Sabotage::OffsetCommitLost) => Some(Kind::OffsetCommit),
            Some(Sabotage::AckBeforeFlush | Sabotage::CommitOutOfOrder) => None,
            _ => return self.node.propose(entry),
        };
        let original = entry.buf.payload().to_vec();
        if let Some(kind) = lost {
            void(&mut entry.buf, kind);
        }
        let stamp = entry.stamp;
        let slot = self.node.propose(entry)?;
        let block = self.remember(slot, stamp, original);
        if self.sabotage == Some(Sabotage::AckBeforeFlush) {
            self.completions.queue.lock().expect("one thread").push_back((self.shard, Ok(block)));
        } else {
            self.completions.originals.lock().expect("one thread").insert((self.shard, slot.index), block);
        }
        Ok(slot)
    }

    fn read_barrier(&self) -> u64 {
        self.node.read_barrier()
    }

    fn last(&self) -> Slot {
        self.node.last()
    }

    fn compacted(&mut self, index: u64) {
        self.node.compacted(index);
    }

    fn position(&self) -> Lsn {
        self.node.position()
    }
}

/// Makes every record of `kind` one without content, in place.
fn void(buf: &mut AlignedBuf, kind: Kind) {
    let records: Vec<(usize, usize)> = record::iter(buf.payload())
        .filter_map(|r| r.ok())
        .filter(|r| r.kind == kind)
        .map(|r| (r.offset as usize, r.len as usize))
        .collect();
    let header = buf.as_slice().len() - buf.payload().len();
    for (offset, len) in records {
        let record = &mut buf.as_mut_slice()[header + offset..header + offset + len];
        record[record::FRAME_BYTES] = Kind::Noop as u8;
        record::end(record, 0);
    }
}
