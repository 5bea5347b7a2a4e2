//! What is done to the broker and to its clients, when, and how often.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bowline_client::amqp::codec::methods::BasicPublish;
use bowline_client::amqp::codec::{EncodeMethod, ShortStr};
use bowline_client::amqp::{Connection, Consume};
use bowline_client::interrupt::Interrupt;
use bowline_client::kafka::{Cluster, GroupOptions, Member};
use indicatif::ProgressBar;
use rand::Rng;
use rand::rngs::SmallRng;
use serde::Serialize;

use crate::args::Workload;
use crate::broker::Broker;
use crate::disk::SmallDisk;
use crate::world::{World, Wrong};

/// Misbehaving connections that are kept open at a time.
const CITIZENS_MAX: usize = 30;
const POLL: Duration = Duration::from_millis(5);

/// How often each was done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    pub kills: u32,
    /// Kills while the broker was still starting.
    pub kills_during_start: u32,
    pub shutdowns: u32,
    pub pauses: u32,
    pub cut_connections: u32,
    pub misbehaving_clients: u32,
    pub full_disks: u32,
}

/// Which attacks there are, and when it ends.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kills: Option<u32>,
    pub duration: Option<Duration>,
    pub interval: Duration,
    pub pauses: bool,
    pub drops: bool,
    pub shutdowns: bool,
    pub workloads: Vec<Workload>,
    pub queue: Option<String>,
}

pub struct Attacker<'a> {
    world: &'a World,
    broker: Broker,
    plan: Plan,
    random: SmallRng,
    disk: Option<&'a SmallDisk>,
    ports: Vec<SocketAddr>,
    progress: &'a ProgressBar,
    tally: Tally,
    starts: Vec<Duration>,
    /// Connections that hold on without behaving. Closed when the attacks are over.
    citizens: Vec<Box<dyn std::any::Any>>,
}

enum Attack {
    Kill,
    Shutdown,
    Pause,
    Cut,
    Citizen,
    FullDisk,
}

impl<'a> Attacker<'a> {
    /// `ports`: where clients connect. The broker runs already.
    pub fn new(
        world: &'a World,
        broker: Broker,
        plan: Plan,
        disk: Option<&'a SmallDisk>,
        ports: Vec<SocketAddr>,
        progress: &'a ProgressBar,
    ) -> Attacker<'a> {
        let (tally, starts, citizens) = (Tally::default(), Vec::new(), Vec::new());
        let random = world.random(u64::MAX);
        Attacker { world, broker, plan, random, disk, ports, progress, tally, starts, citizens }
    }

    /// What was done, and how long the broker took from each start to open ports.
    pub fn done(&self) -> (Tally, Vec<Duration>) {
        (self.tally.clone(), self.starts.clone())
    }

    /// Attacks until the plan is through. The broker runs in the end, and only well-behaved clients are left.
    pub fn run(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let start = Instant::now();
        while !interrupt.is_set() && !self.is_through(start) {
            self.wait(interrupt)?;
            match self.choose() {
                Attack::Kill => self.kill()?,
                Attack::Shutdown => self.shut_down()?,
                Attack::Pause => self.pause()?,
                Attack::Cut => self.cut(),
                Attack::Citizen => self.misbehave(),
                Attack::FullDisk => self.fill_disk()?,
            }
            self.show(start);
        }
        self.citizens.clear();
        Ok(())
    }

    fn is_through(&self, start: Instant) -> bool {
        let by_kills = self.plan.kills.is_some_and(|kills| self.tally.kills >= kills);
        let by_time = self.plan.duration.is_some_and(|duration| start.elapsed() >= duration);
        by_kills || by_time
    }

    fn show(&self, start: Instant) {
        let (position, length) = match (self.plan.kills, self.plan.duration) {
            (Some(kills), _) => (u64::from(self.tally.kills), u64::from(kills)),
            (None, Some(duration)) => (start.elapsed().as_millis() as u64, duration.as_millis() as u64),
            (None, None) => (0, 0),
        };
        self.progress.set_length(length);
        self.progress.set_position(position);
        let deliveries = self.world.deliveries.load(std::sync::atomic::Ordering::Relaxed);
        self.progress.set_message(format!(
            "{} kills, {} sent, {deliveries} delivered",
            self.tally.kills,
            self.world.progress()
        ));
    }

    /// Lets the load run for a while: exponentially distributed, so that attacks come in bursts as well.
    fn wait(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let factor = -(1.0 - self.random.random::<f64>()).ln();
        let until = Instant::now() + self.plan.interval.mul_f64(factor.clamp(0.02, 5.0));
        while Instant::now() < until && !interrupt.is_set() {
            self.look_after_broker()?;
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// A broker that has ended by itself is one of the things we are looking for.
    pub fn look_after_broker(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.broker.exited()? {
            let tail = self.broker.log_tail();
            self.world.wrong(Wrong::Died, || format!("{status}; its last words:\n{tail}"));
            self.broker.kill()?;
            self.start()?;
        }
        Ok(())
    }

    fn choose(&mut self) -> Attack {
        let weights = [
            (50, Attack::Kill, true),
            (4, Attack::Shutdown, self.plan.shutdowns),
            (8, Attack::Pause, self.plan.pauses),
            (20, Attack::Cut, self.plan.drops),
            (10, Attack::Citizen, self.plan.drops),
            (8, Attack::FullDisk, self.disk.is_some()),
        ];
        let total: u32 = weights.iter().filter(|(.., on)| *on).map(|(weight, ..)| weight).sum();
        let mut left = self.random.random_range(0..total);
        for (weight, attack, on) in weights {
            if !on {
                continue;
            }
            if left < weight {
                return attack;
            }
            left -= weight;
        }
        Attack::Kill
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        self.broker.kill()?;
        self.tally.kills += 1;
        // Now and then the next kill comes while the broker recovers from this one.
        while self.random.random_bool(0.15) {
            self.broker.spawn()?;
            thread::sleep(Duration::from_millis(self.random.random_range(1..80)));
            self.broker.kill()?;
            self.tally.kills_during_start += 1;
        }
        if self.random.random_bool(0.2) {
            thread::sleep(Duration::from_millis(self.random.random_range(1..400)));
        }
        self.start()
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let at = Instant::now();
        let incarnation = self.broker.spawn()?;
        for recovery in [&self.world.amqp_recovery, &self.world.kafka_recovery] {
            recovery.confirm.start(at, incarnation);
            recovery.delivery.start(at, incarnation);
        }
        let took = self.broker.await_ready()?;
        self.starts.push(took);
        Ok(())
    }

    fn shut_down(&mut self) -> anyhow::Result<()> {
        self.tally.shutdowns += 1;
        if let Err(error) = self.broker.shut_down() {
            self.world.wrong(Wrong::Died, || format!("orderly shutdown: {error:#}"));
        }
        self.start()
    }

    fn pause(&mut self) -> anyhow::Result<()> {
        self.tally.pauses += 1;
        self.broker.pause()?;
        thread::sleep(Duration::from_millis(self.random.random_range(20..1500)));
        if self.random.random_bool(0.2) {
            return self.kill();
        }
        self.broker.resume()
    }

    fn cut(&mut self) {
        for _ in 0..self.random.random_range(1..=3) {
            self.tally.cut_connections += u32::from(self.world.sockets.cut(&mut self.random));
        }
    }

    /// Fills the disk, keeps it full for a moment, and gives the space back.
    fn fill_disk(&mut self) -> anyhow::Result<()> {
        let Some(disk) = self.disk else { return Ok(()) };
        self.tally.full_disks += 1;
        let leave = [0, 1 << 20, 32 << 20][self.random.random_range(0..3)];
        disk.fill(leave)?;
        let hold = Duration::from_millis(self.random.random_range(300..3000));
        let kill_at = self.random.random_bool(0.3).then(|| hold / 2);
        if let Some(wait) = kill_at {
            thread::sleep(wait);
            self.broker.kill()?;
            self.tally.kills += 1;
            if let Err(error) = self.start() {
                // No promise says that it starts without a byte of room.
                self.world.note(format!("did not start on a full disk: {error:#}"));
                self.broker.kill()?;
                disk.release()?;
                return self.start();
            }
        }
        thread::sleep(hold - kill_at.unwrap_or_default());
        disk.release()
    }

    /// A client that does what no client should.
    fn misbehave(&mut self) {
        self.tally.misbehaving_clients += 1;
        if self.citizens.len() >= CITIZENS_MAX {
            self.citizens.remove(0);
        }
        let amqp = self.plan.workloads.iter().any(|workload| workload.uses_amqp());
        let kafka = self.plan.workloads.iter().any(|workload| workload.uses_kafka());
        let citizen = match self.random.random_range(0..5) {
            0 => self.silent(),
            1 => self.babbling(),
            2 if amqp => self.deaf_consumer(),
            3 if amqp => self.torn_publish(),
            4 if kafka && self.random.random_bool(0.3) => self.vanished_member(),
            _ => self.silent(),
        };
        // The broker may be down just now.
        self.citizens.extend(citizen);
    }

    fn connect_any(&mut self) -> Option<TcpStream> {
        let port = self.ports[self.random.random_range(0..self.ports.len())];
        TcpStream::connect_timeout(&port, Duration::from_secs(1)).ok()
    }

    fn silent(&mut self) -> Option<Box<dyn std::any::Any>> {
        Some(Box::new(self.connect_any()?))
    }

    /// Random octets, or a protocol header that stops in the middle.
    fn babbling(&mut self) -> Option<Box<dyn std::any::Any>> {
        let mut stream = self.connect_any()?;
        let mut words = vec![0_u8; self.random.random_range(1..2000)];
        self.random.fill(&mut words[..]);
        if self.random.random_bool(0.5) {
            words = b"AMQP\x00\x00\x09\x01"[..self.random.random_range(1..8)].to_vec();
        }
        let _ = stream.write_all(&words);
        Some(Box::new(stream))
    }

    /// Takes messages and then neither reads nor acknowledges nor sends heartbeats, as if the cable were cut: the
    /// broker has to notice by itself and give the messages to others.
    fn deaf_consumer(&mut self) -> Option<Box<dyn std::any::Any>> {
        let queue = self.plan.queue.clone()?;
        let mut connection = Connection::open(&self.world.amqp_options("deaf consumer")).ok()?;
        let channel = connection.open_channel().ok()?;
        connection.qos(channel, 20).ok()?;
        connection.consume(channel, &Consume { queue: &queue, ..Consume::default() }).ok()?;
        Some(Box::new(connection))
    }

    /// Begins a message and goes away: nobody may ever see it.
    fn torn_publish(&mut self) -> Option<Box<dyn std::any::Any>> {
        let queue = self.plan.queue.clone()?;
        let mut connection = Connection::open(&self.world.amqp_options("torn publish")).ok()?;
        let channel = connection.open_channel().ok()?;
        let method = BasicPublish {
            exchange: ShortStr::EMPTY,
            routing_key: ShortStr::truncated(&queue),
            mandatory: false,
            immediate: false,
        };
        method.encode_frame(channel, connection.out());
        let mut header = Vec::new();
        bowline_client::amqp::codec::frame::encode_header_frame(&mut header, channel, 1000, &[0, 0]);
        connection.out().extend_from_slice(&header);
        bowline_client::amqp::codec::frame::encode_body_frames(connection.out(), channel, &[7; 500], 4096);
        connection.flush().ok()?;
        drop(connection);
        None
    }

    /// Joins the group and is never heard of again: the others have to get its partitions.
    fn vanished_member(&mut self) -> Option<Box<dyn std::any::Any>> {
        let mut cluster = Cluster::connect(&self.world.kafka_options("vanished")).ok()?;
        let options = GroupOptions {
            session_timeout: Duration::from_secs(6),
            rebalance_timeout: Duration::from_secs(6),
            ..GroupOptions::new(self.world.config.group.clone(), vec![self.world.config.topic.clone()])
        };
        let mut member = Member::new(&mut cluster, options).ok()?;
        member.join(&mut cluster).ok()?;
        Some(Box::new(member))
    }
}
