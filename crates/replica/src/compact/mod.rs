//! The compactor: has compacted topics rewritten without what later records supersede.
//!
//! Every data shard is asked now and then which of its partitions it is time for
//! (`bowline_stream::partition::compaction`). Some of them are taken together: their dirty parts are read in log order
//! and the latest offset of each key is noted, as many keys as the budget allows; then the partitions are rewritten up
//! to there, in pieces, each into a cold file that the shard takes in place of what was rewritten. Reading and writing
//! keep to a rate. A crash between any two steps finds the old extents or the new ones, as with relocation.

mod job;
mod keys;

pub use job::{Counts, Job};

use crate::link::{Inbox, Internal};
use crate::relocate::{Abandoned, Pace, Rewriting};
use bowline_broker::{Candidate, Plan};
use bowline_model::{PartitionId, ShardId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Memory for keys, bytes, unless the operator says otherwise: 3.5 million keys at a time. It is taken while a
/// compaction needs it.
pub const KEYS_BYTES: usize = 48 << 20;
/// How often shards are asked, at most …
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// … every so often while nothing is appended …
const LOOK_WHEN_IDLE: Duration = Duration::from_secs(5);
/// … and for this part of their time.
const LOOK_SHARE: u32 = 200;
/// A partition that was just compacted rests, unless there is so much to do, bytes.
const AGAIN_SOON_BYTES: u64 = 16 << 20;
/// One that cannot be compacted is left alone for so long.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Partitions taken together, and the bytes of all but the first.
const PARTITIONS_MAX: usize = 1024;
const BYTES_MAX: u64 = 128 << 20;
/// What is rewritten before a swap, bytes: this much more disk is needed for a while.
const PIECE_BYTES: u64 = 256 << 20;

/// Chooses partitions. Knows no clock.
#[derive(Debug, Default)]
struct Policy {
    /// How long a partition rests that was just compacted.
    rest: Duration,
    /// Not before this time, unless there is much to do …
    rests: BTreeMap<PartitionId, Instant>,
    /// … and in no case before this time.
    failed: BTreeMap<PartitionId, Instant>,
}

impl Policy {
    fn choose(&mut self, now: Instant, mut due: Vec<Candidate>) -> Vec<PartitionId> {
        self.rests.retain(|_, until| *until > now);
        self.failed.retain(|_, until| *until > now);
        due.retain(|candidate| {
            let rests = self.rests.contains_key(&candidate.partition);
            let soon = !rests || candidate.dirty_bytes >= AGAIN_SOON_BYTES;
            soon && !self.failed.contains_key(&candidate.partition)
        });
        due.sort_unstable_by_key(|c| {
            (!c.overdue, std::cmp::Reverse((c.dirty_ppm, c.dirty_bytes)), c.partition)
        });
        let mut left = BYTES_MAX;
        let mut chosen = Vec::new();
        for candidate in due.iter().take(PARTITIONS_MAX) {
            if !chosen.is_empty() && candidate.bytes > left {
                continue;
            }
            left = left.saturating_sub(candidate.bytes);
            chosen.push(candidate.partition);
        }
        chosen
    }
}

/// Runs until the node stops. `keys_bytes`: memory for keys. `rest`: how long a partition rests that was just compacted
/// (Kafka's `log.cleaner.backoff.ms`).
pub(crate) fn watch(mut rewriting: Rewriting<'_>, keys_bytes: usize, rest: Duration) {
    let mut policy = Policy { rest, ..Policy::default() };
    let mut pause = LOOK_EVERY;
    let mut sum = Counts::default();
    let mut seen = 0;
    while rewriting.wait(pause) {
        let appended = rewriting.log.stats().bytes;
        let idle = std::mem::replace(&mut seen, appended) == appended;
        pause = if idle { LOOK_WHEN_IDLE } else { LOOK_EVERY };
        rewriting.forget_unlisted();
        for shard in 1..rewriting.shared.inboxes.len() {
            let inbox = &rewriting.shared.inboxes[shard];
            let asked = Instant::now();
            let Some(due) = rewriting.ask(inbox, Internal::CompactionDue) else { return };
            pause = pause.max(asked.elapsed() * LOOK_SHARE);
            let chosen = policy.choose(Instant::now(), due);
            if chosen.is_empty() {
                continue;
            }
            match compact(&mut rewriting, inbox, shard as u16, &chosen, keys_bytes, &mut policy) {
                Ok(counts) => {
                    sum.add(&counts);
                    tracing::info!(shard, partitions = chosen.len(), ?counts, all = ?sum, "compacted");
                }
                Err(Abandoned::Stopped) => return,
                Err(error) => {
                    tracing::warn!(?error, shard, partitions = ?chosen, "a compaction was abandoned");
                    policy.failed.extend(chosen.iter().map(|id| (*id, Instant::now() + TRY_AGAIN)));
                }
            }
        }
    }
}

fn compact(
    rewriting: &mut Rewriting<'_>,
    inbox: &Inbox,
    shard: u16,
    chosen: &[PartitionId],
    keys_bytes: usize,
    policy: &mut Policy,
) -> Result<Counts, Abandoned> {
    let offsets_max = Job::offsets_max(keys_bytes);
    let turn = rewriting.turn;
    // Nobody else moves extents while the plan counts on where they are.
    let mine = turn.lock();
    let ask = |reply| Internal::PlanCompaction(chosen.to_vec(), offsets_max, reply);
    let plans: Vec<Plan> = rewriting.ask(inbox, ask).ok_or(Abandoned::Stopped)?;
    let now = crate::thread::now();
    let rest = Instant::now() + policy.rest;
    // What had no room for all its keys goes on at once.
    let all = |plan: &&Plan| plan.upto - plan.dirty <= offsets_max / 2;
    policy.rests.extend(plans.iter().filter(all).map(|plan| (plan.partition, rest)));
    let mut job = Job::new(ShardId(shard), plans, keys_bytes, now);
    let mut reading = Pace::new(rewriting.log.clone(), rewriting.stop.clone());
    job.scan(&rewriting.log, &mut |bytes| reading.spend(bytes))?;
    drop(mine);
    while job.partitions().next().is_some() {
        let _mine = turn.lock();
        let wanted = job.wanted();
        let ask = |reply| Internal::PlanRewriting(wanted, PIECE_BYTES, reply);
        let (mut relocation, ends) = rewriting.ask(inbox, ask).ok_or(Abandoned::Stopped)?;
        let mut file = None;
        if !relocation.is_empty() {
            if rewriting.log.space().free_bytes / 4 < PIECE_BYTES {
                return Err(Abandoned::NoRoom);
            }
            let mut cold = rewriting.new_cold_file()?;
            job.rewrite(&rewriting.log, &mut relocation, &mut cold, &mut |bytes| reading.spend(bytes))?;
            file = Some(cold.finish().map_err(Abandoned::Cold)?);
        }
        let done = job.rewritten(&ends);
        let moved = relocation.finish();
        let ask = |reply| Internal::Rewritten(moved, done, reply);
        let refused = rewriting.ask(inbox, ask).ok_or(Abandoned::Stopped)?;
        job.give_up(&refused);
        if let Some(file) = file {
            rewriting.is_fresh(file);
        }
    }
    Ok(job.counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(n: u32, overdue: bool, dirty_ppm: u32, dirty_bytes: u64) -> Candidate {
        let partition = PartitionId(n);
        Candidate { partition, overdue, dirty_ppm, dirty_bytes, bytes: 60 << 20 }
    }

    #[test]
    fn the_dirtiest_go_first_and_rest_afterwards() {
        let mut policy = Policy::default();
        let now = Instant::now();
        let due = || {
            vec![
                candidate(1, false, 500_000, 1 << 20),
                candidate(2, false, 900_000, 1 << 20),
                candidate(3, true, 0, 0),
                candidate(4, false, 600_000, 1 << 20),
            ]
        };
        assert_eq!(policy.choose(now, due()), [PartitionId(3), PartitionId(2)]);
        let rest = Duration::from_secs(15);
        policy.rests.insert(PartitionId(2), now + rest);
        policy.failed.insert(PartitionId(3), now + TRY_AGAIN);
        assert_eq!(policy.choose(now, due()), [PartitionId(4), PartitionId(1)]);
        let much = vec![candidate(2, false, 900_000, AGAIN_SOON_BYTES), candidate(3, true, 0, 1 << 30)];
        assert_eq!(policy.choose(now, much), [PartitionId(2)]);
        assert_eq!(policy.choose(now + rest, due())[0], PartitionId(2));
    }
}
