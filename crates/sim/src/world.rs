//! A node, its disk and its clients, moved by one seed.

use crate::chance::Chance;
use crate::clients::{Clients, Counts};
use crate::node::Node;
use crate::note;
use crate::plan::{Class, Plan};
use crate::sabotage::Sabotage;
use crate::shadows::Shadows;
use crate::trace::Trace;
use bowline_model::Millis;
use bowline_raft::Replication;
use bowline_storage::fake_disk::Operation;
use bowline_storage::{CheckpointError, FakeDisk};
use std::collections::BTreeMap;
use std::io;

/// A node that does not come to rest within so many rounds never does.
const ROUNDS_MAX: u32 = 20_000;

pub struct World {
    pub plan: Plan,
    pub chance: Chance,
    pub now: Millis,
    disk: FakeDisk,
    pub clients: Clients,
    pub node: Option<Node>,
    /// Sessions are served.
    pub serving: bool,
    /// There is an end to the disk at present.
    confined: bool,
    /// What the shards were told of the disk.
    told_full: bool,
}

/// What a run that kept all promises came to.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub hash: u64,
    pub counts: Counts,
}

/// How a node goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The machine loses power.
    Crash,
    /// The process is killed, the machine stays.
    Kill,
    /// It is asked to stop.
    Stop,
}

/// Lives through a seed.
///
/// # Panics
/// If a promise is broken, with what and where.
pub fn run(plan: Plan, prints: bool) -> Summary {
    Sabotage::plant(plan.sabotage);
    let mut world = World::new(plan, prints);
    world.start();
    for step in 0..world.plan.steps_in_all() {
        world.clients.trace.at_step(step);
        crate::progress::set_step(step);
        world.step();
    }
    world.finish();
    Summary { hash: world.clients.trace.hash(), counts: world.clients.counts }
}

impl World {
    fn new(plan: Plan, prints: bool) -> World {
        let shadows = Shadows::new(&plan);
        World {
            chance: Chance::new(plan.seed),
            now: 1_700_000_000_000,
            disk: FakeDisk::new(plan.seed, plan.sector_bytes),
            clients: Clients::new(Trace::new(prints), shadows, &plan),
            node: None,
            serving: false,
            confined: false,
            told_full: false,
            plan,
        }
    }

    fn step(&mut self) {
        self.flush_txns();
        if self.node.as_ref().is_some_and(|n| n.is_dead) {
            note!(self.clients.trace, "the node is dead");
            let how = self.chance.choose([End::Crash, End::Kill]);
            return self.end(how);
        }
        if self.plan.crash_permille > 0 && self.chance.below(1000) < self.plan.crash_permille {
            return self.some_end();
        }
        if self.chance.below(1000) < self.plan.disk_error_permille && self.plan.has(Class::DiskErrors) {
            self.order_disk_error();
        }
        if self.chance.below(1000) < self.plan.full_disk_permille && self.plan.has(Class::FullDisks) {
            self.confine_disk();
        }
        let Some(node) = &mut self.node else { return };
        let some = |any: bool, weight: u32| if any { weight } else { 0 };
        let data_work = node.data.iter().any(|d| !d.inbox.is_empty());
        let weights = [
            some(self.serving, 40),
            some(data_work, 30),
            some(!node.meta_inbox.is_empty(), 8),
            10,
            some(node.writes_in_flight() > 0, self.plan.disk_speed),
            some(!node.reads.is_empty(), 10),
            4,
            1,
            6,
            some(self.plan.has(Class::Checkpoints), 3),
            some(self.serving && !self.confined, 1),
            some(self.confined || self.told_full, 5),
            some(self.confined, 1),
        ];
        match self.chance.weighted(&weights) {
            0 => self.client_action(),
            1 | 8 => self.pump_some(),
            2 => self.pump_meta(),
            3 => {
                let begun = node.begin_write();
                note!(self.clients.trace, "begin write {}", begun);
            }
            4 => self.finish_some_write(),
            5 => {
                let i = self.chance.index(node.reads.len());
                self.answer_read(i);
            }
            6 => {
                node.upkeep();
            }
            7 => {
                node.seal();
            }
            9 => self.checkpoint(),
            11 => self.look_at_space(),
            12 => self.free_disk(),
            _ => self.rest(),
        }
    }

    /// Some write or sync of the log is going to fail; that stops the node.
    fn order_disk_error(&mut self) {
        let operation = self.chance.choose([
            Operation::WriteDurable,
            Operation::WriteDurable,
            Operation::Write,
            Operation::Sync,
            Operation::SyncDir,
            Operation::Rename,
            Operation::Allocate,
        ]);
        let after = self.chance.below(4);
        note!(self.clients.trace, "disk error ordered {} {}", operation as u32, after);
        self.disk.fail(operation, "log", after, io::ErrorKind::Other);
    }

    /// Leaves the disk little room.
    fn confine_disk(&mut self) {
        let room = self.chance.below(2 * u64::from(self.plan.segment_bytes));
        note!(self.clients.trace, "the disk has {} bytes left", room);
        self.disk.set_capacity(self.disk.used_bytes() + room);
        self.confined = true;
    }

    fn free_disk(&mut self) {
        note!(self.clients.trace, "the disk has room");
        self.disk.set_capacity(u64::MAX / 2);
        self.confined = false;
    }

    /// What production does every second.
    fn look_at_space(&mut self) {
        let Some(node) = &mut self.node else { return };
        let full = node.log.space().alarm;
        if full != self.told_full {
            note!(self.clients.trace, "full {}", full);
            self.told_full = full;
            node.tell_full(full);
        }
    }

    fn pump_some(&mut self) {
        let Some(node) = &mut self.node else { return };
        if self.chance.percent(20) {
            self.now += self.chance.choose([1, 2, 5, 20, 300]);
        }
        let i = self.chance.index(node.data.len());
        let len = node.data[i].inbox.len() as u64;
        let most = if self.chance.percent(50) { len } else { self.chance.within(0..=len) };
        note!(self.clients.trace, "pump shard {} {} of {}", i + 1, most, len);
        node.pump(i, most as usize, self.now, &mut self.clients);
        node.after_proposals();
        self.look_started();
    }

    fn pump_meta(&mut self) {
        let Some(node) = &mut self.node else { return };
        let most = self.chance.within(1..=node.meta_inbox.len() as u64);
        note!(self.clients.trace, "pump meta {}", most);
        node.pump_meta(most as usize, self.now, &mut self.clients);
        node.after_proposals();
        self.look_started();
    }

    fn look_started(&mut self) {
        let Some(node) = &mut self.node else { return };
        if !self.serving && !node.is_dead && node.serves() {
            self.serving = true;
            self.clients.started(&node.meta.topology());
        }
    }

    fn finish_some_write(&mut self) {
        let Some(node) = &mut self.node else { return };
        let i = self.chance.index(node.writes_in_flight());
        note!(self.clients.trace, "finish write {}", i);
        node.finish_write(i);
    }

    fn answer_read(&mut self, i: usize) {
        let Some(node) = &mut self.node else { return };
        let ok = node.answer_read(i);
        note!(self.clients.trace, "read answered {}", ok);
        assert!(ok, "promise: what the index refers to can be read");
    }

    fn checkpoint(&mut self) {
        let Some(node) = &mut self.node else { return };
        if !node.checkpoint_is_gathered() {
            note!(self.clients.trace, "begin checkpoint");
            return node.begin_checkpoint();
        }
        let torn = self.plan.has(Class::Crashes) && self.plan.crash_permille > 0 && self.chance.percent(15);
        if torn {
            let operation = self.chance.choose([Operation::Write, Operation::Sync, Operation::WriteDurable]);
            let after = self.chance.below(2);
            self.disk.fail(operation, "checkpoint", after, io::ErrorKind::Other);
        }
        let result = node.write_checkpoint();
        note!(self.clients.trace, "checkpoint ok={} torn={}", result.is_ok(), torn);
        match result {
            Ok(()) => self.clients.counts.checkpoints += 1,
            Err(CheckpointError::Full(_)) if self.confined => {}
            Err(e) => assert!(torn || node.is_dead, "promise: checkpoints can be written: {e}"),
        }
        if torn {
            self.end(End::Crash);
        }
    }

    fn some_end(&mut self) {
        let ends: Vec<End> =
            [(Class::Crashes, End::Crash), (Class::Kills, End::Kill), (Class::Stops, End::Stop)]
                .into_iter()
                .filter(|(class, _)| self.plan.has(*class))
                .map(|(_, end)| end)
                .collect();
        if let Some(end) = self.chance.pick(&ends).copied() {
            self.end(end);
        }
    }

    /// The node goes, and comes back.
    fn end(&mut self, how: End) {
        let alive = self.node.as_ref().is_some_and(|n| !n.is_dead);
        note!(self.clients.trace, "end {}", how as u32);
        if how == End::Stop && alive && self.serving {
            self.stop_in_order();
        }
        if let Some(node) = self.node.take()
            && how == End::Stop
            && alive
        {
            node.close();
        }
        match how {
            End::Crash => self.disk.crash(),
            End::Kill | End::Stop => self.disk.kill(),
        }
        self.clients.crashed();
        self.resume_txns();
        self.start();
    }

    /// As `bowline_replica::Engine::stop`.
    fn stop_in_order(&mut self) {
        self.rest();
        if let Some(node) = &mut self.node {
            node.data.iter_mut().for_each(|data| data.shard.stop());
        }
        self.rest();
        if let Some(node) = &mut self.node {
            node.begin_checkpoint();
        }
        self.rest();
        if let Some(node) = &mut self.node
            && node.checkpoint_is_gathered()
            && let Err(e) = node.write_checkpoint()
            && !node.is_dead
        {
            panic!("promise: checkpoints can be written: {e}");
        }
    }

    /// Opens the data directory. A fault may hit it on the way; then it goes down again.
    fn start(&mut self) {
        self.serving = false;
        self.told_full = false;
        for attempt in 0.. {
            let faulty = attempt < 3 && self.plan.crash_permille > 0 && self.chance.percent(5);
            if faulty {
                let operation = self.chance.choose([
                    Operation::WriteDurable,
                    Operation::Write,
                    Operation::Sync,
                    Operation::Rename,
                    Operation::SyncDir,
                    Operation::Allocate,
                    Operation::Read,
                ]);
                self.disk.fail(operation, "", self.chance.below(6), io::ErrorKind::Other);
            }
            let clients = &mut self.clients;
            let data_shards = self.plan.data_shards;
            let node = Node::open(&self.disk, &self.plan, clients.life, self.now, |log, states| {
                for (id, shard) in &states.shards {
                    let ready: BTreeMap<u32, u64> =
                        shard.queue_stats().map(|q| (q.queue.0, q.ready)).collect();
                    clients.recovered(id.0, data_shards, &ready);
                }
                clients.shadows.compare(log, states);
            });
            self.disk.forget_faults();
            match node {
                Ok(node) => {
                    self.node = Some(node);
                    return;
                }
                Err(_) if self.confined => self.free_disk(),
                Err(reason) => assert!(faulty, "promise: the node starts again: {reason}"),
            }
            note!(self.clients.trace, "start failed {}", attempt);
            self.disk.crash();
            self.clients.life += 1;
        }
    }

    /// Lets everything come to rest, without new requests, and checks that nothing and nobody was forgotten.
    pub fn rest(&mut self) {
        note!(self.clients.trace, "rest");
        if self.confined {
            self.free_disk();
        }
        self.disk.forget_faults();
        for _ in 0..ROUNDS_MAX {
            if self.node.as_ref().is_none_or(|n| n.is_dead) {
                return;
            }
            self.look_at_space();
            if !self.move_everything() {
                match self.next_deadline() {
                    Some(at) => self.now = self.now.max(at),
                    None => return self.check_rest(),
                }
            }
        }
        panic!("promise: a node without new requests comes to rest");
    }

    /// Whether anything moved.
    fn move_everything(&mut self) -> bool {
        let mut moved = self.flush_txns();
        let Some(node) = &mut self.node else { return false };
        while node.upkeep() {}
        while node.begin_write() {
            moved = true;
        }
        while node.writes_in_flight() > 0 {
            let i = self.chance.index(node.writes_in_flight());
            node.finish_write(i);
        }
        while !node.reads.is_empty() {
            moved = true;
            let ok = node.answer_read(0);
            assert!(ok, "promise: what the index refers to can be read");
        }
        for i in 0..node.data.len() {
            let len = node.data[i].inbox.len();
            let due = node.data[i].shard.next_deadline().is_some_and(|at| at <= self.now);
            if len > 0 || due {
                let last = node.data[i].shard.replication.last();
                node.pump(i, len, self.now, &mut self.clients);
                node.after_proposals();
                moved |= len > 0 || node.data[i].shard.replication.last() != last;
            }
        }
        if !node.meta_inbox.is_empty() || node.meta.next_deadline().is_some_and(|at| at <= self.now) {
            moved = true;
            let len = node.meta_inbox.len();
            node.pump_meta(len, self.now, &mut self.clients);
            node.after_proposals();
        }
        moved |= !node.reads.is_empty() || node.data.iter().any(|data| !data.inbox.is_empty());
        self.look_started();
        moved
    }

    /// When somebody is waited for, be it a shard that is not idle or a group that gathers: when to call again.
    fn next_deadline(&self) -> Option<Millis> {
        let node = self.node.as_ref()?;
        let busy = node.data.iter().filter(|d| !d.shard.is_idle());
        let due = busy.filter_map(|d| d.shard.next_deadline()).chain(node.meta.next_deadline()).min();
        if due.is_some() || !self.clients.somebody_joins() {
            return due;
        }
        // Whoever waits for the other members of a group waits for time to pass.
        node.data.iter().filter_map(|d| d.shard.next_deadline()).min()
    }

    fn check_rest(&mut self) {
        let Some(node) = &mut self.node else { return };
        assert!(
            node.is_idle(),
            "promise: a node without new requests comes to rest, and not {}",
            node.busy()
        );
        assert!(self.serving, "promise: a node that is up serves");
        for data in &node.data {
            for stats in data.shard.shard.queue_stats() {
                self.clients.check_queue_at_rest(&stats);
            }
        }
        self.clients.check_nobody_waits();
    }

    /// The end of a seed: one more restart, then everything is drained and accounted for.
    fn finish(&mut self) {
        self.rest();
        let end = self.chance.choose([End::Crash, End::Kill, End::Stop]);
        self.end(end);
        self.rest();
        self.drain();
        self.read_everything();
        self.drain_ruled();
        self.drain_txns();
        let end = self.chance.choose([End::Crash, End::Kill, End::Stop]);
        self.end(end);
        self.rest();
        self.clients.check_all_empty();
    }
}
