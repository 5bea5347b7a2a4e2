//! Compaction of the node's topics in steps, between any two of which everything else goes on, or the node dies. What
//! production's compactor (`bowline_replica::compact`) does in its thread is done here by hand, with the same [`Job`].

use crate::node::Node;
use bowline_broker::{Compacted, Moved};
use bowline_model::{Millis, ShardId};
use bowline_replica::compact::Job;
use bowline_storage::ColdWriter;

/// What is rewritten before a swap, bytes: many pieces, as partitions are small.
const PIECE_BYTES: u64 = 3_000;

/// The compaction under way.
#[derive(Default)]
pub enum Compaction {
    #[default]
    None,
    /// Keys are known.
    Planned(usize, Job),
    /// A piece is written, and not durable.
    Written(usize, Job, ColdWriter, Moved, Vec<Compacted>),
    /// … and not swapped.
    Durable(usize, Job, Moved, Vec<Compacted>),
}

impl Node {
    /// The next step of the compaction under way, or the first one in data shard `i`. False: there is nothing to
    /// compact. One that meets a fault is given up, as in production.
    pub fn compact(&mut self, i: usize, now: Millis) -> bool {
        self.compaction = match std::mem::take(&mut self.compaction) {
            Compaction::None => return self.begin_compaction(i, now),
            Compaction::Planned(i, job) => self.rewrite_piece(i, job),
            Compaction::Written(i, job, cold, moved, done) => match cold.finish() {
                Ok(_) => Compaction::Durable(i, job, moved, done),
                Err(_) => Compaction::None,
            },
            Compaction::Durable(i, mut job, moved, done) => {
                let refused = self.data[i].shard.compacted(&moved, &done);
                job.give_up(&refused);
                let is_done = job.partitions().next().is_none();
                if is_done { Compaction::None } else { Compaction::Planned(i, job) }
            }
        };
        true
    }

    fn begin_compaction(&mut self, i: usize, now: Millis) -> bool {
        let shard = &self.data[i].shard.shard;
        let due: Vec<_> = shard.compaction_due(now).into_iter().map(|due| due.partition).collect();
        if due.is_empty() {
            return false;
        }
        let plans = shard.plan_compaction(&due, now, Job::offsets_max(0));
        let mut job = Job::new(ShardId(i as u16 + 1), plans, 0, now);
        if job.scan(&self.log, &mut |_| true).is_ok() {
            self.compaction = Compaction::Planned(i, job);
        }
        true
    }

    fn rewrite_piece(&mut self, i: usize, mut job: Job) -> Compaction {
        let (mut relocation, ends) = self.data[i].shard.shard.plan_rewriting(&job.wanted(), PIECE_BYTES);
        if relocation.is_empty() {
            let done = job.rewritten(&ends);
            return Compaction::Durable(i, job, relocation.finish(), done);
        }
        let Ok(mut cold) = self.log.new_cold_file(None) else { return Compaction::None };
        if job.rewrite(&self.log, &mut relocation, &mut cold, &mut |_| true).is_err() {
            return Compaction::None;
        }
        let done = job.rewritten(&ends);
        Compaction::Written(i, job, cold, relocation.finish(), done)
    }
}
