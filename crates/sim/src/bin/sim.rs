//! `cargo xtask sim` runs this: many seeds on all cores, or one to look at.

use anyhow::{Context, bail};
use bowline_sim::plan::{CLASSES, Class, Plan};
use bowline_sim::sabotage::{self, Sabotage};
use bowline_sim::seeds::{self, Failure};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The fake disk and the log's buffers come and go with every simulated start; the system's allocator would give them
/// back to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELP: &str = "\
sim [--seeds N] [--from S] [--steps M] [--threads T]   run seeds S .. S+N
sim --seed S [--steps M] [--trace]                      run one seed (twice: it must do the same)
    --without CLASS,…                                   leave out kinds of action
    --sabotage NAME|all                                 plant a bug and see that it is found";

struct Options {
    from: u64,
    seeds: u64,
    steps: u32,
    threads: usize,
    one: bool,
    trace: bool,
    without: Vec<Class>,
    sabotage: Vec<Sabotage>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let options = parse(std::env::args().skip(1))?;
    if options.one {
        return one(&options);
    }
    if options.sabotage.is_empty() {
        match many(&options, None, true) {
            Some(failure) => {
                report(&options, None, failure);
                bail!("a promise was broken");
            }
            None => return Ok(()),
        }
    }
    if let Some(sabotage) = options.sabotage.iter().find(|s| s.is_within() && !cfg!(feature = "sabotage")) {
        bail!("{} needs a build with the feature sabotage, as cargo xtask sim makes", sabotage.name());
    }
    let mut missed = Vec::new();
    println!("{:<22} {:>6}  caught by", "sabotage", "seeds");
    for sabotage in &options.sabotage {
        match many(&options, Some(*sabotage), false) {
            Some(failure) if seeds::run(plan(&options, failure.seed, None), false).is_err() => {
                println!("{:<22} {:>6}  seed {} fails without it too", sabotage.name(), "-", failure.seed);
                missed.push(sabotage.name());
            }
            Some(failure) => {
                let seeds = failure.seed - options.from + 1;
                println!("{:<22} {seeds:>6}  {}", sabotage.name(), failure.message);
            }
            None => {
                println!("{:<22} {:>6}  not caught", sabotage.name(), "-");
                missed.push(sabotage.name());
            }
        }
    }
    if !missed.is_empty() {
        bail!("not caught: {}", missed.join(", "));
    }
    Ok(())
}

fn plan(options: &Options, seed: u64, sabotage: Option<Sabotage>) -> Plan {
    let mut plan = Plan::new(seed, options.steps);
    plan.without = options.without.clone();
    plan.sabotage = sabotage;
    plan
}

/// The failing seed with the lowest number, if any fails.
fn many(options: &Options, sabotage: Option<Sabotage>, talk: bool) -> Option<Failure> {
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let found: Mutex<Option<Failure>> = Mutex::new(None);
    let began = Instant::now();
    let totals = Mutex::new(bowline_sim::clients::Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= options.seeds {
                        break;
                    }
                    match seeds::run(plan(options, options.from + i, sabotage), false) {
                        Ok(summary) => totals.lock().expect("no panics here").add(&summary.counts),
                        Err(failure) => {
                            stop.store(true, Ordering::Relaxed);
                            let mut found = found.lock().expect("no panics here");
                            if found.as_ref().is_none_or(|f| failure.seed < f.seed) {
                                *found = Some(failure);
                            }
                        }
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        if talk {
            scope.spawn(|| {
                let mut told = Instant::now();
                while done.load(Ordering::Relaxed) < options.seeds && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(50));
                    if told.elapsed() > Duration::from_secs(5) {
                        told = Instant::now();
                        let done = done.load(Ordering::Relaxed);
                        println!("{done} of {} seeds, {:.0}/s", options.seeds, rate(done, began));
                    }
                }
            });
        }
    });
    let done = done.into_inner();
    if talk {
        let c = totals.into_inner().expect("no panics here");
        println!(
            "{done} seeds in {:.1} s ({:.0}/s): {} messages published, {} confirmed, {} deliveries ({} again), \
             {} record batches appended, {} fetched, {} transactions, {} restarts, {} checkpoints",
            began.elapsed().as_secs_f64(),
            rate(done, began),
            c.published,
            c.confirmed,
            c.delivered,
            c.redelivered,
            c.appended,
            c.fetched,
            c.transactions,
            c.crashes,
            c.checkpoints
        );
    }
    found.into_inner().expect("no panics here")
}

fn rate(done: u64, began: Instant) -> f64 {
    done as f64 / began.elapsed().as_secs_f64().max(0.001)
}

fn report(options: &Options, sabotage: Option<Sabotage>, failure: Failure) {
    println!("\nseed {} fails at step {}: {}", failure.seed, failure.step, failure.message);
    let (plan, failure) = seeds::shrink(&plan(options, failure.seed, sabotage), failure);
    println!("shortest way found: at step {}: {}", failure.step, failure.message);
    println!("    cargo xtask sim {} --trace\n", seeds::replay_options(&plan));
}

fn one(options: &Options) -> anyhow::Result<()> {
    let sabotage = options.sabotage.first().copied();
    let result = seeds::run(plan(options, options.from, sabotage), options.trace);
    let again = seeds::run(plan(options, options.from, sabotage), false);
    match (result, again) {
        (Ok(first), Ok(second)) => {
            if first.hash != second.hash {
                bail!("seed {} is not deterministic", options.from);
            }
            println!(
                "seed {}: kept all promises; trace {:016x}; {:?}",
                options.from, first.hash, first.counts
            );
            Ok(())
        }
        (Err(failure), _) => {
            if options.trace {
                println!("seed {} fails at step {}: {}", failure.seed, failure.step, failure.message);
            } else {
                report(options, sabotage, failure);
            }
            bail!("a promise was broken")
        }
        (Ok(_), Err(_)) => bail!("seed {} is not deterministic", options.from),
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
    let mut options = Options {
        from: 0,
        seeds: 1000,
        steps: 300,
        threads: cores,
        one: false,
        trace: false,
        without: Vec::new(),
        sabotage: Vec::new(),
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--seeds" => options.seeds = value()?.parse()?,
            "--from" => options.from = value()?.parse()?,
            "--seed" => (options.from, options.one) = (value()?.parse()?, true),
            "--steps" => options.steps = value()?.parse()?,
            "--threads" => options.threads = value()?.parse()?,
            "--trace" => (options.trace, options.one) = (true, true),
            "--without" => {
                for name in value()?.split(',') {
                    let class = CLASSES.iter().find(|(_, n)| *n == name);
                    options.without.push(class.with_context(|| format!("no class {name}"))?.0);
                }
            }
            "--sabotage" => {
                let name = value()?;
                options.sabotage = match name.as_str() {
                    "all" => sabotage::ALL.iter().map(|(sabotage, _, _)| *sabotage).collect(),
                    name => vec![Sabotage::named(name).with_context(|| format!("no sabotage {name}"))?],
                };
            }
            "--help" | "-h" => {
                println!("{HELP}");
                std::process::exit(0);
            }
            other => bail!("{other} is not an option\n{HELP}"),
        }
    }
    Ok(options)
}
