//! What the world of a seed is like. Everything follows from the seed, but for what the caller changes.

use crate::chance::Chance;
use crate::sabotage::Sabotage;
use bowline_model::ShardId;
use bowline_storage::Identity;

/// A kind of action that can be left out, to see whether a failure needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Fanout,
    Transient,
    Gets,
    NoAck,
    Returns,
    Purges,
    Deletes,
    Checkpoints,
    Crashes,
    Kills,
    Stops,
    DiskErrors,
    FullDisks,
    BitRot,
    Streams,
    Groups,
    Rules,
    Transactions,
}

pub const CLASSES: &[(Class, &str)] = &[
    (Class::Streams, "streams"),
    (Class::Groups, "groups"),
    (Class::Rules, "rules"),
    (Class::Transactions, "transactions"),
    (Class::Transient, "transient"),
    (Class::Fanout, "fanout"),
    (Class::Gets, "gets"),
    (Class::NoAck, "no-ack"),
    (Class::Returns, "returns"),
    (Class::Purges, "purges"),
    (Class::Deletes, "deletes"),
    (Class::BitRot, "bit-rot"),
    (Class::FullDisks, "full-disks"),
    (Class::DiskErrors, "disk-errors"),
    (Class::Stops, "stops"),
    (Class::Kills, "kills"),
    (Class::Crashes, "crashes"),
    (Class::Checkpoints, "checkpoints"),
];

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub steps: u32,
    pub sabotage: Option<Sabotage>,
    /// Left out.
    pub without: Vec<Class>,
    pub data_shards: u16,
    pub sector_bytes: u32,
    pub segment_bytes: u32,
    pub first_segment_bytes: u32,
    pub write_bytes_max: usize,
    pub ready_segments: u32,
    pub spare_segments: usize,
    pub cache_bytes: usize,
    pub readahead_bytes: usize,
    pub volatile_bytes: usize,
    pub queues_max: usize,
    pub sessions_max: usize,
    pub body_bytes_max: u64,
    /// Of what clients do, how much is about topics; and of the rest, about groups.
    pub stream_percent: u64,
    pub group_percent: u64,
    /// Of what clients do, how much is about queues that enforce something.
    pub rule_percent: u64,
    /// Of what clients do, how much is about transactions.
    pub txn_percent: u64,
    /// Transactional ids.
    pub txn_workers: usize,
    /// Producers that know no KIP-890 give batches up and go on as if they had been written.
    pub careless: bool,
    /// Transactions write to a topic that is deleted and made anew.
    pub annex: bool,
    /// What transactions write is compacted.
    pub compacts: bool,
    /// Chance of a crash, in thousandths of a step.
    pub crash_permille: u64,
    /// The same of a write that is going to fail.
    pub disk_error_permille: u64,
    /// The same of a disk that fills up.
    pub full_disk_permille: u64,
    /// Weight of a write being done, among what may happen next: the less, the more are in flight.
    pub disk_speed: u32,
    /// Free space below this raises the alarm.
    pub free_bytes_min: u64,
}

impl Plan {
    pub fn new(seed: u64, steps: u32) -> Plan {
        // Not the stream of numbers that the world goes on to draw from.
        let mut chance = Chance::new(seed ^ 0x0062_6f77_6c69_6e65);
        let c = &mut chance;
        let segment_bytes = c.choose([16, 16, 32, 64, 128]) << 10;
        let mut plan = Plan {
            seed,
            steps,
            sabotage: None,
            without: Vec::new(),
            data_shards: c.within(1..=3) as u16,
            sector_bytes: c.choose([512, 4096]),
            segment_bytes,
            first_segment_bytes: c.choose([8 << 10, 12 << 10, segment_bytes]),
            write_bytes_max: c.choose([4, 16, 64]) << 10,
            ready_segments: c.within(1..=2) as u32,
            spare_segments: c.index(3),
            cache_bytes: c.choose([0, 4 << 10, 16 << 10, 1 << 20]),
            readahead_bytes: c.choose([4 << 10, 32 << 10, 1 << 20]),
            volatile_bytes: c.choose([2 << 10, 64 << 20]),
            queues_max: c.within(1..=5) as usize,
            sessions_max: c.within(1..=5) as usize,
            body_bytes_max: c.choose([16, 200, 1500]),
            stream_percent: c.choose([0, 10, 30, 70]),
            group_percent: c.choose([0, 5, 30]),
            rule_percent: 0,
            txn_percent: 0,
            txn_workers: 0,
            careless: false,
            annex: false,
            compacts: false,
            crash_permille: c.choose([0, 4, 8, 20]),
            disk_error_permille: c.choose([0, 0, 0, 5]),
            full_disk_permille: c.choose([0, 0, 0, 20]),
            disk_speed: c.choose([14, 14, 4, 1]),
            free_bytes_min: c.choose([0, u64::from(segment_bytes)]),
        };
        plan.rule_percent = c.choose([0, 20, 50]);
        plan.txn_percent = c.choose([0, 0, 40, 85]);
        plan.txn_workers = c.within(1..=3) as usize;
        plan.careless = c.percent(40);
        plan.annex = c.percent(40);
        // Cold files are given up by restarts alone here.
        plan.compacts = c.percent(30) && plan.full_disk_permille == 0 && plan.txn_percent > 0;
        if plan.rule_percent > 0 {
            // Much may die at once, and a block must fit.
            plan.segment_bytes = plan.segment_bytes.max(64 << 10);
        }
        plan
    }

    /// A transaction takes many requests, so worlds that have some live longer.
    fn lives(&self) -> u32 {
        if self.txn_percent > 0 && self.has(Class::Transactions) { 10 } else { 1 }
    }

    pub fn steps_in_all(&self) -> u32 {
        self.lives() * self.steps
    }

    /// Lets the world end behind this step.
    pub fn end_after(&mut self, step: u32) {
        self.steps = (step + 1).div_ceil(self.lives());
    }

    pub fn has(&self, class: Class) -> bool {
        !self.without.contains(&class)
    }

    /// Bytes that publishers may have unanswered: no block outgrows a segment.
    pub fn unanswered_bytes_max(&self) -> usize {
        self.segment_bytes as usize / 4
    }

    /// Messages for memory never overflow into the log.
    pub fn memory_is_ample(&self) -> bool {
        self.volatile_bytes > 1 << 20
    }

    /// For life `life` of the node: no two lives share epochs.
    pub fn storage(&self, life: u32) -> bowline_storage::Options {
        bowline_storage::Options {
            identity: Identity { node: [7; 16], data_shards: self.data_shards },
            segment_bytes: self.segment_bytes,
            first_segment_bytes: self.first_segment_bytes,
            write_bytes_max: self.write_bytes_max,
            ready_segments: self.ready_segments,
            spare_segments: self.spare_segments,
            free_bytes_min: self.free_bytes_min,
            accept_loss: false,
            epoch_seed: self.seed.wrapping_add(u64::from(life).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            ..bowline_storage::Options::default()
        }
    }

    pub fn topology(&self) -> bowline_topology::Defaults {
        bowline_topology::Defaults::default()
    }

    pub fn shard(&self, id: ShardId) -> bowline_broker::Options {
        bowline_broker::Options {
            cache_bytes: self.cache_bytes,
            readahead_bytes: self.readahead_bytes,
            volatile_bytes: self.volatile_bytes,
            data_shards: self.data_shards,
            ..bowline_broker::Options::new(id)
        }
    }
}
