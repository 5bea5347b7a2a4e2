//! State machines that never crash: fed with every committed block once, in order. After each restart the recovered
//! ones, which came from a checkpoint and a replay, must be their equals, byte for byte.

use crate::plan::Plan;
use bowline_broker::{Effects, Shard};
use bowline_model::{BlockRef, ShardId};
use bowline_replica::States;
use bowline_storage::Log;
use bowline_topology::Topology;

/// `None`: not compared (sabotage is to be noticed by what clients see, and what a compaction swaps is not in the log).
pub struct Shadows(Option<Machines>);

struct Machines {
    topology: Topology,
    meta_index: u64,
    shards: Vec<Shard>,
}

impl Shadows {
    pub fn new(plan: &Plan) -> Shadows {
        if plan.sabotage.is_some() || plan.compacts {
            return Shadows(None);
        }
        let options = |id| bowline_broker::Options { cache_bytes: 0, readahead_bytes: 0, ..plan.shard(id) };
        Shadows(Some(Machines {
            topology: Topology::new(plan.data_shards, plan.topology()),
            meta_index: 0,
            shards: (1..=plan.data_shards).map(|i| Shard::new(options(ShardId(i)))).collect(),
        }))
    }

    pub fn apply(&mut self, block: &BlockRef) {
        if let Some(machines) = &mut self.0 {
            machines.apply(block);
        }
    }

    /// The node has recovered from the log.
    pub fn compare(&mut self, log: &Log, states: &States) {
        let Some(machines) = &mut self.0 else { return };
        machines.catch_up(log, ShardId::META, machines.meta_index, states.meta_applied.1);
        assert!(
            machines.topology.checkpoint() == states.topology.checkpoint(),
            "promise: checkpoint and replay give the topology that was"
        );
        for (i, (id, shard)) in states.shards.iter().enumerate() {
            machines.catch_up(log, *id, machines.shards[i].applied().1, shard.applied().1);
            assert_eq!(machines.shards[i].applied(), shard.applied());
            assert!(
                machines.shards[i].checkpoint() == shard.checkpoint(),
                "promise: checkpoint and replay give the state that was in shard {id}"
            );
            assert_eq!(machines.shards[i].live_segments(), shard.live_segments());
        }
    }
}

impl Machines {
    fn apply(&mut self, block: &BlockRef) {
        if block.shard == ShardId::META {
            bowline_replica::meta::replay(&mut self.topology, block);
            self.meta_index = block.index;
        } else {
            let shard = &mut self.shards[usize::from(block.shard.0) - 1];
            shard.apply(block, Vec::new(), &mut Effects::default());
        }
    }

    /// Blocks that were written and not committed when the node went.
    fn catch_up(&mut self, log: &Log, shard: ShardId, from: u64, upto: u64) {
        assert!(
            from <= upto,
            "promise: what was committed is there after a crash; shard {shard} had {from} blocks and has {upto}"
        );
        for index in from + 1..=upto {
            let lsn = log.locate(shard, index).expect("it was replayed just now");
            let block = log.read(lsn).expect("it was replayed just now");
            self.apply(&block);
        }
    }
}
