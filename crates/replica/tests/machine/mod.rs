//! A data shard over a log on a fake disk, driven by hand: nothing happens between two calls.

use bowline_broker::Effects;
use bowline_model::event::Event;
use bowline_model::record;
use bowline_model::request::{PartitionSpec, Propose, Provision, QueueSpec, Request, Want};
use bowline_model::{BlockRef, Lsn, Millis, SessionId, ShardId, Token};
use bowline_raft::{SingleNode, Slot};
use bowline_replica::data::DataShard;
use bowline_replica::{META_SESSION, recover};
use bowline_storage::{Checkpoint, Driver, FakeDisk, Identity, Log, Options};
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

pub const ID: ShardId = ShardId(1);
pub const A: SessionId = SessionId(10);

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

pub struct Machine {
    pub log: Log,
    pub driver: Driver,
    pub shard: DataShard<SingleNode>,
    pub events: Vec<Event>,
    pub now: Millis,
    committed: Arc<Mutex<VecDeque<BlockRef>>>,
}

impl Machine {
    /// What is on the disk comes back; lives are numbered from 1 on.
    pub fn open(
        disk: &FakeDisk,
        life: u64,
        queues: Vec<QueueSpec>,
        partitions: Vec<PartitionSpec>,
    ) -> Machine {
        let options = Options {
            identity: Identity { node: [1; 16], data_shards: 1 },
            segment_bytes: 64 << 10,
            first_segment_bytes: 64 << 10,
            ready_segments: 1,
            spare_segments: 1,
            free_bytes_min: 0,
            epoch_seed: life,
            ..Options::default()
        };
        let (log, recovered) = Log::open(Arc::new(disk.clone()), options).expect("the log opens");
        let broker = |id| bowline_broker::Options {
            cache_bytes: 10_000,
            readahead_bytes: 20_000,
            ..bowline_broker::Options::new(id)
        };
        let states =
            recover(recovered, 1, bowline_topology::Defaults::default(), broker).expect("it is whole");
        let (_, shard) = states.shards.into_iter().next().unwrap();
        let committed = Arc::new(Mutex::new(VecDeque::new()));
        let commits = committed.clone();
        let on_complete =
            move |_, block: Result<BlockRef, _>| commits.lock().push_back(block.expect("no faults"));
        let driver = log.start_manual(Arc::new(on_complete)).unwrap();
        let (term, index) = log.last(ID).unwrap_or(shard.applied()).max(shard.applied());
        let mut shard = DataShard::new(shard, SingleNode::new(log.clone(), ID, Slot { term, index }));
        let now = life * 1_000_000;
        shard.begin(now).unwrap();
        let mut machine = Machine { log, driver, shard, events: Vec::new(), now, committed };
        machine.pump();
        machine.send(META_SESSION, Request::Provision(Provision::Reconcile { queues, partitions }));
        machine
    }

    pub fn send(&mut self, session: SessionId, request: Request) {
        let mut fx = Effects::default();
        self.shard.request(self.now, session, request, &mut fx);
        self.perform(fx);
        self.pump();
    }

    /// Until everything is durable, applied and delivered.
    fn pump(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            let mut fx = Effects::default();
            self.now += 10;
            self.shard.advance(self.now, &mut fx);
            quiet = if fx.is_empty() && self.committed.lock().is_empty() { quiet + 1 } else { 0 };
            self.perform(fx);
            self.driver.settle();
            while let Some(block) = { self.committed.lock().pop_front() } {
                let mut fx = Effects::default();
                self.shard.committed(&block, &mut fx);
                self.perform(fx);
            }
        }
    }

    fn perform(&mut self, fx: Effects) {
        self.events.extend(fx.events.into_iter().map(|(_, event)| event));
        for read in fx.reads {
            let result = self.log.read_run(read.lsn, read.max_bytes as usize, read.max_blocks as usize);
            let mut fx = Effects::default();
            self.shard.loaded(read.lsn, result.map_err(|_| ()), &mut fx);
            self.perform(fx);
        }
    }

    /// All of `records`, in one block.
    pub fn propose(&mut self, records: Vec<u8>) {
        let count = record::iter(&records).count() as u32;
        let (token, records) = (Token(1), records.into());
        self.send(A, Request::Propose(Propose { token, records, count, want: Want::Done, checked: false }));
        let done = |e: &Event| matches!(e, Event::Done { token: Token(1) });
        assert!(std::mem::take(&mut self.events).iter().any(done), "it is confirmed");
    }

    pub fn checkpoint(&mut self) {
        let part = self.shard.snapshot(ID);
        let (live_segments, live_cold) = (part.live_segments, part.live_cold);
        self.log
            .write_checkpoint(&Checkpoint { shards: vec![part.checkpoint], live_segments, live_cold })
            .unwrap();
        self.driver.settle();
    }

    /// Files that are not written to any more, most of them.
    pub fn some_files(&self, random: &mut Random) -> BTreeSet<Lsn> {
        let active = self.log.segments().last().map(|n| Lsn::new(*n, 0)).unwrap();
        let mut files: BTreeSet<Lsn> = self.shard.shard.survey().into_keys().collect();
        files.retain(|file| *file != active && random.below(10) < 8);
        files
    }
}
