//! `bowline bench`: a load generator that drives any AMQP 0-9-1 or Kafka broker with the same client code, so that
//! what is compared are brokers and not tools.
//!
//! ```text
//! args + workload ─► Settings ─► set up ─► stage (threads: amqp_load, kafka_load) ─► report ─► table, JSON, SVG
//! ```
//! Every message carries who sent it, its number and when it was due ([`stamp`]); consumers check that all arrived,
//! once and in order ([`lanes`]). A run with lost or doubled messages is void, and the exit status says so.
//!
//! The client is one blocking thread per connection, writes in batches and copies each message once; it reports its
//! own CPU beside the broker's.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

mod amqp_load;
mod args;
mod clock;
mod control;
mod filler;
mod kafka_compaction;
mod kafka_load;
mod kafka_transactions;
mod lanes;
mod pace;
mod plot;
pub mod probe;
pub mod process;
mod report;
mod stage;
mod stamp;
mod workload;

pub use args::{Args, Settings};
pub use report::Report;

use args::{Mode, Proto};
use report::{Machine, Stage};
use stage::Plan;

const PROBE_TIME: Duration = Duration::from_millis(300);

/// Runs `bowline bench`. The exit status is a failure when messages were lost, doubled or out of order.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.list {
        for workload in workload::WORKLOADS {
            println!("{:<14} {}", workload.id, workload.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let runs = runs(&args)?;
    let mut reports = Vec::new();
    for settings in &runs {
        let report = measure(settings, !args.json).with_context(|| format!("workload {}", settings.label))?;
        if args.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{}", report.details());
        }
        if let Some(path) = &args.plot {
            let path = if runs.len() > 1 {
                path.with_extension(format!("{}.svg", report.label))
            } else {
                path.clone()
            };
            std::fs::write(&path, plot::svg(&report))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        reports.push(report);
    }
    if !args.json && reports.len() > 1 {
        println!("{}", report::summary(&reports));
    }
    Ok(if reports.iter().all(Report::is_clean) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The settings of each run that the arguments ask for.
fn runs(args: &Args) -> anyhow::Result<Vec<Settings>> {
    if args.workload.is_empty() {
        return Ok(vec![Settings::resolve(args, "bench")?]);
    }
    let mut runs = Vec::new();
    for id in &args.workload {
        let found = workload::find(id);
        if found.is_empty() {
            bail!("no workload {id:?}; `bowline bench --list` shows all");
        }
        for workload in found {
            runs.push(Settings::resolve(&args.clone().or(&workload.args()), workload.id)?);
        }
    }
    Ok(runs)
}

/// Runs one workload. `progress`: draw a progress bar (on a terminal only).
pub fn measure(settings: &Settings, progress: bool) -> anyhow::Result<Report> {
    let progress = if progress { progress_bar(&settings.label) } else { ProgressBar::hidden() };
    progress.set_message("disk probe");
    let flush_probe = probe::flush_probe(&settings.probe_dir, PROBE_TIME).ok();
    let address = if settings.proto == Proto::Amqp { &settings.amqp_addr } else { &settings.kafka_addr };
    let broker_pid = settings.broker_pid.or_else(|| process::listener_pid(address));
    let fresh = settings.mode != Mode::Drain;
    progress.set_message("set-up");
    let set_up = Instant::now();
    // A stream that Kafka shares is created by the producers' protocol; the other one finds it.
    if settings.uses(Proto::Kafka) && settings.proto == Proto::Kafka {
        kafka_load::set_up(settings, fresh)?;
    }
    if settings.uses(Proto::Amqp) && (settings.proto == Proto::Amqp || settings.mode == Mode::Drain) {
        amqp_load::set_up(settings, fresh)?;
    }
    let set_up_seconds = set_up.elapsed().as_secs_f64();
    let broker = if settings.uses(Proto::Amqp) { broker_name(settings)? } else { String::new() };
    let stages = stages(settings, broker_pid, &progress);
    if !settings.keep {
        progress.set_message("tear-down");
        let torn_down = match settings.proto {
            Proto::Amqp => amqp_load::tear_down(settings),
            Proto::Kafka => kafka_load::tear_down(settings),
        };
        if stages.is_ok() {
            torn_down?;
        }
    }
    progress.finish_and_clear();
    Ok(Report {
        label: settings.label.clone(),
        broker,
        unix_time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        machine: machine(),
        settings: settings.clone(),
        flush_probe,
        set_up_seconds,
        stages: stages?,
    })
}

fn stages(
    settings: &Settings,
    broker_pid: Option<u32>,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<Stage>> {
    let plan = |name, produce, consume, expected| Plan {
        name,
        settings,
        produce,
        consume,
        count: if produce { settings.count } else { None },
        producers_before: 0,
        expected,
        backlog: None,
        broker_pid,
        progress,
    };
    let drain = |published: Option<u64>| -> anyhow::Result<Stage> {
        drop_caches(settings)?;
        let waiting = match (settings.consume_proto, published) {
            // What is delayed does not count as waiting.
            (Proto::Amqp, Some(published)) if settings.delay.is_some() => published,
            (Proto::Amqp, _) => amqp_load::waiting(settings)?,
            (Proto::Kafka, _) => kafka_load::waiting(settings)? * settings.groups as u64,
        };
        stage::run(&plan("drain", false, true, Some(waiting)))
    };
    Ok(match settings.mode {
        Mode::Pair => vec![stage::run(&plan("pair", true, true, None))?],
        Mode::Publish => vec![stage::run(&plan("publish", true, false, None))?],
        Mode::Drain => vec![drain(None)?],
        Mode::Backlog => vec![stage::run(&plan("publish", true, false, None))?, drain(settings.count)?],
        Mode::CatchUp => {
            let at_full_speed = Settings { rate: None, ..settings.clone() };
            let publish =
                stage::run(&Plan { settings: &at_full_speed, ..plan("publish", true, false, None) })?;
            drop_caches(settings)?;
            let catch_up = stage::run(&Plan {
                count: None,
                producers_before: settings.producers,
                backlog: settings.count.map(|count| count * settings.fan_out()),
                ..plan("catch-up", true, true, None)
            })?;
            vec![publish, catch_up]
        }
        Mode::Compact => {
            let publish = stage::run(&plan("publish", true, false, None))?;
            let compact = kafka_compaction::wait(&plan("compact", false, false, None))?;
            vec![publish, compact, drain(settings.count)?]
        }
    })
}

fn drop_caches(settings: &Settings) -> anyhow::Result<()> {
    if settings.drop_caches {
        // Only what is clean can be dropped.
        rustix::fs::sync();
        std::fs::write("/proc/sys/vm/drop_caches", "1").context("dropping the page cache needs root")?;
    }
    Ok(())
}

fn broker_name(settings: &Settings) -> anyhow::Result<String> {
    let (connection, _) = amqp_load::connect(settings, "hello")?;
    let server = connection.server();
    let name = format!("{} {}", server.product, server.version);
    connection.close()?;
    Ok(name.trim().to_owned())
}

fn machine() -> Machine {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    Machine {
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        cpu: model
            .map_or("unknown CPU".into(), |model| model.trim_start_matches([' ', '\t', ':']).to_owned()),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
    }
}

fn progress_bar(label: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {elapsed_precise} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(1000).with_style(style).with_prefix(label.to_owned())
}
