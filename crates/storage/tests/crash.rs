//! Crashes at random points, with torn, lost and reordered writes: every acknowledged block must come back
//! identical and in order, nothing else may, and the log must open without asking anybody.

use crate::support::{Manual, append, open, payload};
use bowline_model::{Lsn, ShardId};
use bowline_storage::fake_disk::{Counts, Operation};
use bowline_storage::{Checkpoint, FakeDisk, Options, ShardCheckpoint, Ticket};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

const SHARDS: u16 = 3;

/// What must be true of one shard.
#[derive(Default, Clone, PartialEq, Debug)]
struct Shard {
    /// Size of each entry appended and not lost, by index from 1 on; `acked` of them were acknowledged.
    sizes: Vec<usize>,
    lsns: Vec<Lsn>,
    acked: usize,
    /// Contained in the newest checkpoint.
    applied: u64,
    /// Entries below `applied` that the checkpoints still refer to.
    live: BTreeSet<u64>,
}

struct World {
    rng: SmallRng,
    disk: FakeDisk,
    options: Options,
    shards: Vec<Shard>,
    checkpoints: u64,
    newest: Option<Checkpoint>,
    candidate: Option<Checkpoint>,
}

#[test]
fn acknowledged_blocks_survive_every_crash() {
    let seeds = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(150u64);
    let first = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    for seed in first.map_or(0..seeds, |s| s..s + 1) {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_seed_gives_the_same_bytes_twice() {
    assert_eq!(run(4711), run(4711));
    assert_ne!(run(4711), run(4712));
}

/// Returns what the disk did and where the log ended.
fn run(seed: u64) -> (Counts, Vec<Shard>) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let sector = if rng.random() { 512 } else { 4096 };
    let options = Options {
        segment_bytes: [64 << 10, 128 << 10, 256 << 10][rng.random_range(0..3)],
        write_bytes_max: 48 << 10,
        ready_segments: rng.random_range(1..4),
        spare_segments: rng.random_range(0..3),
        ..crate::support::small()
    };
    let disk = FakeDisk::new(seed, sector);
    let shards = vec![Shard::default(); SHARDS as usize];
    let mut world = World { rng, disk, options, shards, checkpoints: 0, newest: None, candidate: None };
    for life in 0..6 {
        world.options.epoch_seed = seed * 100 + life;
        let manual = open(&world.disk, world.options.clone())
            .unwrap_or_else(|e| panic!("life {life} does not begin: {e:?}"));
        world.check(&manual);
        world.live(manual);
        if world.rng.random_range(0..4) == 0 { world.disk.kill() } else { world.disk.crash() }
    }
    (world.disk.counts(), world.shards)
}

impl World {
    /// What came back must be what was acknowledged, perhaps a little more, and nothing else.
    fn check(&mut self, manual: &Manual) {
        if manual.checkpoint != self.newest {
            assert!(
                self.candidate.is_some() && manual.checkpoint == self.candidate,
                "a checkpoint that counted is gone"
            );
            self.adopt_candidate();
        }
        self.candidate = None;
        let mut last = Lsn::default();
        let mut next: BTreeMap<u16, u64> =
            (0..SHARDS).map(|s| (s, self.shards[s as usize].applied + 1)).collect();
        for block in &manual.replayed {
            assert!(block.lsn > last, "out of order");
            last = block.lsn;
            let index = next.get_mut(&block.shard.0).unwrap();
            assert_eq!(block.index, *index, "shard {} has a gap", block.shard);
            *index += 1;
            let shard = &mut self.shards[block.shard.0 as usize];
            let size = shard.sizes[block.index as usize - 1];
            assert_eq!(block.payload, payload(block.shard.0, block.index, size));
            assert_eq!(block.lsn, shard.lsns[block.index as usize - 1]);
            assert_eq!(manual.log.locate(block.shard, block.index), Some(block.lsn));
            assert_eq!(manual.log.read(block.lsn).unwrap().payload, block.payload);
        }
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let came = next[&(number as u16)] - 1;
            assert!(
                came >= shard.acked as u64,
                "shard {number}: {} acknowledged, {came} came back",
                shard.acked
            );
            shard.sizes.truncate(came as usize);
            shard.lsns.truncate(came as usize);
            shard.acked = came as usize;
            let expected = (came > 0).then_some((1, came));
            assert_eq!(manual.log.last(ShardId(number as u16)), expected);
            for index in &shard.live {
                let block =
                    manual.log.read(shard.lsns[*index as usize - 1]).expect("live blocks stay readable");
                assert_eq!(block.payload, payload(number as u16, *index, shard.sizes[*index as usize - 1]));
            }
        }
    }

    fn live(&mut self, mut manual: Manual) {
        let mut tickets: Vec<Ticket> = Vec::new();
        let steps = self.rng.random_range(0..120);
        for _ in 0..steps {
            match self.rng.random_range(0..20) {
                0..8 => self.append(&manual),
                8..12 => tickets.extend(manual.driver.begin_write().filter(|_| true)),
                12..15 if !tickets.is_empty() => {
                    let ticket = tickets.swap_remove(self.rng.random_range(0..tickets.len()));
                    manual.driver.finish_write(ticket);
                    self.acknowledge(&manual);
                }
                15..18 => {
                    manual.driver.upkeep();
                }
                18 => {
                    manual.driver.seal();
                }
                19 => self.checkpoint(&manual),
                _ => {}
            }
            if tickets.len() > 3 {
                let ticket = tickets.remove(0);
                manual.driver.finish_write(ticket);
                self.acknowledge(&manual);
            }
        }
        match self.rng.random_range(0..6) {
            0 => {
                tickets.drain(..).for_each(|t| manual.driver.finish_write(t));
                manual.driver.close();
                self.acknowledge(&manual);
            }
            1 => self.fail_somewhere(&mut manual, tickets),
            _ => {}
        }
    }

    fn append(&mut self, manual: &Manual) {
        let number = self.rng.random_range(0..SHARDS);
        let shard = &mut self.shards[number as usize];
        let size = match self.rng.random_range(0..4) {
            0 => self.rng.random_range(1..30_000),
            _ => self.rng.random_range(1..3000),
        };
        let index = shard.sizes.len() as u64 + 1;
        let lsn = manual.log.append(append(number, index, &payload(number, index, size))).unwrap();
        shard.sizes.push(size);
        shard.lsns.push(lsn);
    }

    fn acknowledge(&mut self, manual: &Manual) {
        let mut last = Lsn::default();
        for (shard, result) in manual.done.lock().drain(..) {
            let Ok(block) = result else { continue };
            assert!(block.lsn > last);
            last = block.lsn;
            let shard = &mut self.shards[shard.0 as usize];
            assert_eq!(block.index, shard.acked as u64 + 1, "acknowledged out of order");
            shard.acked += 1;
        }
    }

    /// Takes a checkpoint of what is acknowledged; refers to some old blocks and forgets others.
    fn capture(&mut self, manual: &Manual) -> Checkpoint {
        let position = manual.log.position();
        let mut shards = Vec::new();
        let mut lives = Vec::new();
        for (number, shard) in self.shards.iter().enumerate() {
            let mut live: BTreeSet<u64> = shard.live.clone();
            live.extend((shard.applied + 1)..=shard.acked as u64);
            live.retain(|_| self.rng.random_range(0..3) == 0);
            let len = self.rng.random_range(0..10_000);
            shards.push(ShardCheckpoint {
                shard: ShardId(number as u16),
                applied_term: u64::from(shard.acked > 0),
                applied_index: shard.acked as u64,
                replay_from: shard.lsns.get(shard.acked).copied().unwrap_or(position),
                state: vec![number as u8 + 1; len],
            });
            lives.push(live);
        }
        let live_segments = self
            .shards
            .iter()
            .zip(&lives)
            .flat_map(|(shard, live)| live.iter().map(|i| shard.lsns[*i as usize - 1].segment()))
            .collect();
        self.candidate_lives(lives);
        Checkpoint { shards, live_segments, live_cold: BTreeSet::new() }
    }

    fn candidate_lives(&mut self, lives: Vec<BTreeSet<u64>>) {
        for (shard, live) in self.shards.iter_mut().zip(lives) {
            // Blocks that only the newer checkpoint forgets may be gone when it counts.
            shard.live.retain(|i| live.contains(i));
            shard.live.extend(live);
        }
    }

    fn checkpoint(&mut self, manual: &Manual) {
        let checkpoint = self.capture(manual);
        manual.log.write_checkpoint(&checkpoint).unwrap();
        self.checkpoints += 1;
        self.candidate = Some(checkpoint);
        self.adopt_candidate();
    }

    fn adopt_candidate(&mut self) {
        let Some(checkpoint) = self.candidate.take() else { return };
        for shard in &checkpoint.shards {
            self.shards[shard.shard.0 as usize].applied = shard.applied_index;
        }
        self.newest = Some(checkpoint);
    }

    /// A failing disk at the end of a life: a write of the log or of a checkpoint fails, in part done.
    fn fail_somewhere(&mut self, manual: &mut Manual, tickets: Vec<Ticket>) {
        let in_checkpoint: bool = self.rng.random();
        let after = self.rng.random_range(0..3);
        let (operation, path) = match (in_checkpoint, self.rng.random_range(0..3)) {
            (true, 0) => (Operation::Write, "checkpoint"),
            (true, 1) => (Operation::Sync, "checkpoint"),
            (true, _) => (Operation::WriteDurable, "checkpoint"),
            (false, _) => (Operation::WriteDurable, "log"),
        };
        self.disk.fail(operation, path, if in_checkpoint { 0 } else { after }, io::ErrorKind::Other);
        if in_checkpoint {
            let before: Vec<Shard> = self.shards.clone();
            let checkpoint = self.capture(manual);
            match manual.log.write_checkpoint(&checkpoint) {
                Ok(()) => {
                    self.candidate = Some(checkpoint);
                    self.adopt_candidate();
                }
                Err(_) => {
                    assert!(manual.log.fatal().is_some());
                    // Written in part: it counts if all of it happened to get there.
                    self.candidate = Some(checkpoint);
                    for (shard, before) in self.shards.iter_mut().zip(before) {
                        shard.live.retain(|i| before.live.contains(i));
                    }
                }
            }
        }
        for ticket in tickets {
            manual.driver.finish_write(ticket);
        }
        manual.driver.settle();
        self.acknowledge(manual);
    }
}
