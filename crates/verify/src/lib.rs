//! `bowline verify`: attacks a broker under load and counts what it had promised and did not keep.
//!
//! ```text
//!            ┌─ producers, consumers (amqp_work, kafka_work) ──► ledger, partition logs ─┐
//! lib ─ world┤                                                                          ├─► judge ─► report
//!            └─ attacker: kill, pause, cut, fill ──► broker (a child process) ─► drain ──┘
//! ```
//! The clients are our own but speak only the public protocols; with `--observe` they watch any broker. A message is
//! numbered and checksummed ([`payload`]), and what happened to it is kept until the end ([`ledger`]).
//!
//! What it does not do: power cuts. A killed process leaves its writes in the kernel; that they are on the disk
//! before the confirm is what the simulation checks.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bowline_client::Address;
use bowline_client::address::{AmqpAddress, KafkaAddress};
use bowline_client::interrupt::Interrupt;
use indicatif::{ProgressBar, ProgressStyle};
use rand::Rng;

mod amqp_work;
mod args;
mod attack;
mod broker;
mod disk;
mod drain;
mod judge;
mod kafka_work;
mod ledger;
mod payload;
mod report;
mod rules;
mod transactions;
mod world;

pub use args::{Args, Workload};
pub use judge::Report;

use attack::{Attacker, Plan, Tally};
use broker::{Broker, Launch};
use disk::SmallDisk;
use judge::{Recovery, Verdict};
use ledger::Account;
use transactions::Bank;
use transactions::lists::Lists;
use transactions::work::Reads;
use world::{Config, Consumer, Phase, Producer, World, Wrong};

const KILLS_DEFAULT: u32 = 20;
const OBSERVE_DEFAULT: Duration = Duration::from_secs(30);
/// The broker blocks publishers when its disk has less; on a small disk the usual reserve would be all of it.
const SMALL_DISK_RESERVE: &str = "64MiB";

/// Runs `bowline verify`. The exit status is a failure when a promise was broken.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::catch();
    let report = if args.observe { observe(&args, &interrupt)? } else { attack(&args, &interrupt)? };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", report::text(&report));
    }
    Ok(if report.kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where the broker of a test lives.
struct Home {
    directory: PathBuf,
    /// Dropped, and thereby unmounted, before the directory is removed.
    disk: Option<SmallDisk>,
    /// Removes the directory unless it is kept.
    temporary: Option<tempfile::TempDir>,
    /// Why there is no small disk although one was wanted.
    no_disk: Option<String>,
}

impl Home {
    fn make(args: &Args) -> anyhow::Result<Home> {
        let temporary = match &args.dir {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("bowline-verify-").tempdir()?),
        };
        let directory = match (&args.dir, &temporary) {
            (Some(directory), _) => directory.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => bail!("no directory"),
        };
        std::fs::create_dir_all(&directory)?;
        if std::fs::read_dir(&directory)?.next().is_some() {
            bail!("{} is not empty", directory.display());
        }
        let (disk, no_disk) =
            match args.disk_full.then(|| SmallDisk::mount(&directory, args.disk_size as u64)) {
                Some(Ok(disk)) => (Some(disk), None),
                Some(Err(error)) => (None, Some(format!("the disk was not filled: {error:#}"))),
                None => (None, None),
            };
        Ok(Home { directory, disk, temporary, no_disk })
    }

    fn data_dir(&self) -> PathBuf {
        self.disk.as_ref().map_or(self.directory.as_path(), |disk| disk.path()).join("data")
    }

    /// After a broken promise the data is evidence.
    fn keep(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.keep();
        }
        if let Some(temporary) = self.temporary.take() {
            eprintln!("the broker's data and log are kept in {}", temporary.keep().display());
        }
    }
}

fn attack(args: &Args, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let workloads = args.workloads();
    let mut home = Home::make(args)?;
    let mut random = rand::rng();
    let (amqp, kafka) = (broker::free_port(&mut random)?, broker::free_port(&mut random)?);
    let uses_amqp = workloads.iter().any(|one| one.uses_amqp());
    let uses_kafka = workloads.iter().any(|one| one.uses_kafka());
    let (mut awaited, mut ports) = (Vec::new(), Vec::new());
    if uses_amqp {
        awaited.push(Address::Amqp(amqp_address(args, amqp.to_string())?));
        ports.push(amqp);
    }
    if uses_kafka {
        awaited.push(Address::Kafka(KafkaAddress::at(kafka.to_string())));
        ports.push(kafka);
    }
    let mut environment = vec![("BOWLINE_NO_PROBE".to_owned(), "true".to_owned())];
    if workloads.contains(&Workload::Rules) || workloads.contains(&Workload::Transactions) {
        environment.push(("BOWLINE_SHARDS".into(), rules::SHARDS.to_string()));
    }
    if home.disk.is_some() {
        environment.push(("BOWLINE_DISK_RESERVE".into(), SMALL_DISK_RESERVE.into()));
    }
    let launch = Launch {
        program: match &args.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("finding this program")?,
        },
        amqp,
        kafka,
        data_dir: home.data_dir(),
        log_file: home.directory.join("broker.log"),
        extra: args.serve_arg.clone(),
        awaited,
        environment,
    };
    // Lives as long as the process: every thread counts the broker's lives by it.
    let incarnation: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    let mut broker = Broker::new(launch, incarnation);
    broker.spawn()?;
    broker.await_ready()?;
    let test = Test::prepare(args, amqp.to_string(), kafka.to_string(), workloads, incarnation)?;
    if let Some(reason) = &home.no_disk {
        test.world.note(reason.clone());
    }
    let plan = Plan {
        kills: args.kills.or(args.duration.is_none().then_some(KILLS_DEFAULT)),
        duration: args.duration,
        interval: args.interval,
        pauses: !args.no_pauses,
        drops: !args.no_drops,
        shutdowns: !args.no_shutdowns,
        workloads: test.workloads.clone(),
        queue: test.queues.first().cloned(),
    };
    let progress = progress_bar(args.json);
    let mut attacker = Attacker::new(&test.world, broker, plan, home.disk.as_ref(), ports, &progress);
    let report = test.run(&progress, interrupt, &mut Role::Attack(&mut attacker));
    // The broker must have ended before its disk is unmounted.
    drop(attacker);
    if !report.as_ref().is_ok_and(|report| report.kept) {
        home.keep();
    }
    report
}

/// Watches a broker that others run, and perhaps attack.
fn observe(args: &Args, interrupt: &Interrupt) -> anyhow::Result<Report> {
    static ALWAYS_THE_SAME: AtomicU64 = AtomicU64::new(0);
    let amqp = args.amqp_addr.clone().unwrap_or_else(|| "localhost:5672".into());
    let kafka = args.kafka_addr.clone().unwrap_or_else(|| "localhost:9092".into());
    let test = Test::prepare(args, amqp, kafka, args.workloads(), &ALWAYS_THE_SAME)?;
    let duration = args.duration.unwrap_or(OBSERVE_DEFAULT);
    let report = test.run(&progress_bar(args.json), interrupt, &mut Role::Observe(duration))?;
    test.clean_up();
    Ok(report)
}

/// What happens while the load runs.
enum Role<'a, 'b> {
    Attack(&'a mut Attacker<'b>),
    Observe(Duration),
}

impl Role<'_, '_> {
    fn play(&mut self, world: &World, progress: &ProgressBar, interrupt: &Interrupt) -> anyhow::Result<()> {
        let duration = match self {
            Role::Attack(attacker) => return attacker.run(interrupt),
            Role::Observe(duration) => *duration,
        };
        progress.set_length(duration.as_millis() as u64);
        let start = Instant::now();
        while start.elapsed() < duration && !interrupt.is_set() {
            thread::sleep(Duration::from_millis(100));
            progress.set_position(start.elapsed().as_millis() as u64);
            progress.set_message(format!("{} sent", world.progress()));
        }
        Ok(())
    }

    /// A broker of ours that has ended is started again.
    fn look_after(&mut self) -> anyhow::Result<()> {
        match self {
            Role::Attack(attacker) => attacker.look_after_broker(),
            Role::Observe(_) => Ok(()),
        }
    }

    fn done(&self) -> (Option<Tally>, Vec<Duration>) {
        match self {
            Role::Attack(attacker) => {
                let (tally, starts) = attacker.done();
                (Some(tally), starts)
            }
            Role::Observe(_) => (None, Vec::new()),
        }
    }
}

fn amqp_address(args: &Args, socket: String) -> anyhow::Result<AmqpAddress> {
    let (user, password) = args.login.split_once(':').context("--login is USER:PASSWORD")?;
    Ok(AmqpAddress { user: user.into(), password: password.into(), ..AmqpAddress::at(socket) })
}

/// A prepared workload.
struct Test {
    world: World,
    workloads: Vec<Workload>,
    queues: Vec<String>,
}

impl Test {
    /// Declares queues and topics, and casts the roles.
    fn prepare(
        args: &Args,
        amqp: String,
        kafka: String,
        workloads: Vec<Workload>,
        incarnation: &'static AtomicU64,
    ) -> anyhow::Result<Test> {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let seed = args.seed.unwrap_or(clock % 1_000_000_007);
        // The same seed twice must not take the messages of the first run for its own.
        let run = rand::rng().random();
        let name = format!("bowline-verify-{run:08x}");
        let config = Config {
            amqp: amqp_address(args, amqp)?,
            kafka: KafkaAddress::at(kafka),
            queue_type: args.queue_type.clone(),
            rate: args.rate,
            size: args.size,
            window: args.window.max(1),
            prefetch: args.prefetch.max(1),
            topic: format!("{name}-topic"),
            partitions: args.partitions.max(1),
            stream: format!("{name}-stream"),
            group: format!("{name}-group"),
            read_uncommitted: args.read_uncommitted,
        };
        let mut world = World::new(run, seed, config, incarnation);
        let uses = |workload| workloads.contains(&workload);
        let queue_count = if uses(Workload::Amqp) { args.queues.max(1) } else { 0 };
        let queues: Vec<String> = (0..queue_count).map(|index| format!("{name}-q{index}")).collect();
        let mut cast = |workload, destination: &str, consumers| {
            for _ in 0..args.producers.max(1) {
                let destination = destination.to_owned();
                world.producers.push(Producer { workload, destination, account: Account::default() });
            }
            for _ in 0..consumers {
                let destination = destination.to_owned();
                world.consumers.push(Consumer { workload, destination, received: AtomicU64::new(0) });
            }
        };
        let (topic, stream) = (format!("{name}-topic"), format!("{name}-stream"));
        for queue in &queues {
            cast(Workload::Amqp, queue, args.consumers.max(1));
        }
        if uses(Workload::Kafka) {
            cast(Workload::Kafka, &topic, args.consumers.max(1));
        }
        if uses(Workload::Stream) {
            cast(Workload::Stream, &stream, 0);
        }
        if uses(Workload::Rules) {
            world.lanes = rules::lanes(&name);
            drain::retry(|| rules::set_up(&world)).context("declaring queues with rules")?;
        }
        if uses(Workload::Transactions) {
            let partitions = args.partitions.max(1);
            let lists = Lists::new(&name, partitions, seed);
            let bank = Bank::new(&name, args.producers.max(1), partitions, lists);
            drain::retry(|| transactions::work::set_up(&world, &bank))
                .context("creating the topics of transactions")?;
            world.bank = Some(bank);
        }
        if uses(Workload::Amqp) || uses(Workload::Stream) {
            drain::retry(|| amqp_work::set_up(&world, &queues, uses(Workload::Stream)))
                .context("declaring queues")?;
        }
        if uses(Workload::Kafka) {
            drain::retry(|| kafka_work::set_up(&world)).context("creating the topic")?;
        }
        Ok(Test { world, workloads, queues })
    }

    fn uses(&self, workload: Workload) -> bool {
        self.workloads.contains(&workload)
    }

    /// Load, attack, drain, judge.
    fn run(
        &self,
        progress: &ProgressBar,
        interrupt: &Interrupt,
        role: &mut Role<'_, '_>,
    ) -> anyhow::Result<Report> {
        let world = &self.world;
        let start = Instant::now();
        let ends = thread::scope(|scope| {
            let mut producers = Vec::new();
            for (index, producer) in world.producers.iter().enumerate() {
                producers.push(scope.spawn(move || {
                    if amqp_work::publishes(producer) {
                        amqp_work::produce(world, index);
                    } else {
                        kafka_work::produce(world, index);
                    }
                }));
            }
            let mut consumers = Vec::new();
            if self.uses(Workload::Rules) {
                for kind in rules::KINDS {
                    producers.push(scope.spawn(move || rules::produce::run(world, kind)));
                    let from = rules::take::From::Lanes(kind);
                    consumers.push(scope.spawn(move || rules::take::run(world, from)));
                }
                for live in [true, false] {
                    let from = rules::take::From::Seconds { live };
                    consumers.push(scope.spawn(move || rules::take::run(world, from)));
                }
            }
            if let Some(bank) = &world.bank {
                for worker in 0..bank.workers() {
                    producers.push(scope.spawn(move || transactions::work::run(world, bank, worker)));
                }
                for reads in [Reads::Bank, Reads::Lists, Reads::Lists] {
                    consumers.push(scope.spawn(move || transactions::work::look_on(world, bank, reads)));
                }
            }
            for (index, consumer) in world.consumers.iter().enumerate() {
                consumers.push(scope.spawn(move || match consumer.workload {
                    Workload::Kafka => kafka_work::consume(world, index),
                    _ => amqp_work::consume(world, index),
                }));
            }
            let attacked = role.play(world, progress, interrupt);
            world.enter(Phase::Drain);
            progress.set_message("last confirms");
            let mut panicked = producers.into_iter().map(|thread| thread.join()).any(|end| end.is_err());
            let ends = attacked.map(|()| self.drain(progress, role));
            world.enter(Phase::Stop);
            panicked |= consumers.into_iter().map(|thread| thread.join()).any(|end| end.is_err());
            if panicked {
                bail!("a client thread panicked");
            }
            ends
        })?;
        progress.set_message("comparing");
        if self.uses(Workload::Amqp)
            && let Err(error) = drain::leftovers(world, &self.queues)
        {
            world
                .wrong(Wrong::Unreadable, || format!("what is left in the queues: {}", world::chain(&error)));
        }
        if let Err(error) = drain::logs(world, self.uses(Workload::Kafka), self.uses(Workload::Stream)) {
            world.wrong(Wrong::Unreadable, || format!("the final read: {}", world::chain(&error)));
        }
        let bank = world.bank.as_ref().and_then(|bank| match transactions::judge::judge(world, bank) {
            Ok(verdict) => Some(verdict),
            Err(error) => {
                world.wrong(Wrong::Unreadable, || format!("the bank: {}", world::chain(&error)));
                None
            }
        });
        role.look_after()?;
        progress.finish_and_clear();
        if interrupt.is_set() {
            world.note("interrupted: the attacks ended early".into());
        }
        let (tally, starts) = role.done();
        Ok(self.judge(tally, starts, &ends, bank, start.elapsed()))
    }

    /// Gives the ends of the topic's partitions. That the broker cannot give back what it has is a finding, too.
    fn drain(&self, progress: &ProgressBar, role: &mut Role<'_, '_>) -> Vec<(i32, i64)> {
        let world = &self.world;
        if self.uses(Workload::Amqp)
            && let Err(error) = drain::queues(world, &self.queues, progress, &mut || role.look_after())
        {
            world.wrong(Wrong::Unreadable, || format!("draining the queues: {error:#}"));
        }
        if self.uses(Workload::Rules)
            && let Err(error) =
                drain::queues(world, &rules::queues(world), progress, &mut || role.look_after())
        {
            world.wrong(Wrong::Unreadable, || format!("draining queues with rules: {error:#}"));
        }
        if !self.uses(Workload::Kafka) {
            return Vec::new();
        }
        drain::group(world, progress, &mut || role.look_after()).unwrap_or_else(|error| {
            world.wrong(Wrong::Unreadable, || format!("draining the topic: {error:#}"));
            Vec::new()
        })
    }

    fn judge(
        &self,
        attacks: Option<Tally>,
        starts: Vec<Duration>,
        ends: &[(i32, i64)],
        transactions: Option<transactions::judge::Verdict>,
        took: Duration,
    ) -> Report {
        let world = &self.world;
        let counted = self.workloads.iter().filter(|workload| workload.is_counted());
        let workloads: Vec<Verdict> = counted.map(|workload| Verdict::of(world, *workload, ends)).collect();
        let rules = rules::judge::all(world);
        let wrong = world.all_wrong();
        Report {
            seed: world.seed,
            seconds: took.as_secs_f64(),
            kept: wrong.is_empty()
                && workloads.iter().all(Verdict::kept)
                && rules.iter().all(rules::judge::Verdict::kept)
                && transactions.as_ref().is_none_or(|bank| bank.kept()),
            workloads,
            rules,
            transactions,
            wrong: wrong.into_iter().map(|(kind, times)| (kind.name(), times)).collect(),
            attacks,
            recovery: Recovery::all(world, starts),
            shares: judge::shares(world),
            notes: world.notes(),
        }
    }

    /// Removes what the test has created on somebody else's broker.
    fn clean_up(&self) {
        let (stream, kafka) = (self.uses(Workload::Stream), self.uses(Workload::Kafka));
        let mut outcomes = Vec::new();
        if stream || self.uses(Workload::Amqp) {
            outcomes.push(amqp_work::delete_all(&self.world, &self.queues, stream));
        }
        if self.uses(Workload::Rules) {
            outcomes.push(amqp_work::delete_all(&self.world, &rules::queues(&self.world), false));
        }
        if kafka {
            outcomes.push(kafka_work::delete_all(&self.world));
        }
        if let Some(bank) = &self.world.bank {
            outcomes.push(transactions::work::delete_all(&self.world, bank));
        }
        for error in outcomes.into_iter().filter_map(Result::err) {
            eprintln!("could not remove everything that the test has created: {error}");
        }
    }
}

fn progress_bar(hidden: bool) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} [{bar:30}] {elapsed_precise} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style.progress_chars("=> "));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
