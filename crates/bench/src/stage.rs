//! Runs producers and consumers through the phases of one stage and measures.

use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{anyhow, bail};
use indicatif::ProgressBar;

use crate::args::{Mode, Proto, Settings};
use crate::clock::{now_ns, own_cpu_ns};
use crate::control::{Consumed, Control, Phase, Produced};
use crate::process::{self, ProcessSample};
use crate::report::{BrokerUse, Check, Latency, Point, Stage, TopicBytes};
use crate::{amqp_load, kafka_load};
use bowline_client::units::grouped;

const POLL: Duration = Duration::from_millis(10);
const ATTEND: Duration = Duration::from_millis(250);
/// A series has a point this often, and fewer in long runs.
const SERIES_NS: u64 = 250_000_000;
const SERIES_POINTS_MAX: u64 = 400;
/// Connecting many clients to a slow broker takes its time.
const PREPARE_MAX: Duration = Duration::from_secs(120);
/// Producers wait so long for their last confirms.
const LAST_CONFIRMS_MAX: Duration = Duration::from_secs(60);
const STACK_BYTES: usize = 512 << 10;

/// What a stage is to do.
pub struct Plan<'a> {
    pub name: &'static str,
    pub settings: &'a Settings,
    pub produce: bool,
    pub consume: bool,
    /// Messages to publish; else it is the time that ends the stage, or that the backlog is read.
    pub count: Option<u64>,
    /// Producers of stages before, whose messages may come here too.
    pub producers_before: usize,
    /// Messages to wait for when nobody produces.
    pub expected: Option<u64>,
    /// Deliveries due from before; with producers the stage ends when so many have come.
    pub backlog: Option<u64>,
    pub broker_pid: Option<u32>,
    pub progress: &'a ProgressBar,
}

/// Everything that is read at the borders of the measured time.
#[derive(Clone, Copy)]
struct Snapshot {
    at_ns: u64,
    sent: u64,
    confirmed: u64,
    received: u64,
    broker: ProcessSample,
    own_cpu_ns: u64,
    machine_busy: Option<f64>,
}

/// When count-bound producers and consumers were through.
#[derive(Default)]
struct Ends {
    produced_ns: Option<u64>,
    consumed_ns: Option<u64>,
}

pub fn run(plan: &Plan<'_>) -> anyhow::Result<Stage> {
    let control = Control::default();
    let settings = plan.settings;
    let producers = if plan.produce { settings.producers } else { 0 };
    let consumers = if plan.consume { settings.readers() } else { 0 };
    // Waits of some microseconds are to be that long, and not 50 µs longer.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    thread::scope(|scope| {
        let control = &control;
        let spawn = |name: String| thread::Builder::new().name(name).stack_size(STACK_BYTES);
        let mut producing: Vec<ScopedJoinHandle<'_, Option<Produced>>> = Vec::new();
        let mut consuming: Vec<ScopedJoinHandle<'_, Option<Consumed>>> = Vec::new();
        for index in 0..consumers {
            let work = move || guard(control, "consumer", || consume(settings, control, index));
            consuming.push(spawn(format!("consumer-{index}")).spawn_scoped(scope, work)?);
        }
        for index in 0..producers {
            let count = plan.count.map(|count| part(count, settings.producers, index));
            let number = plan.producers_before + index;
            let work = move || {
                let outcome = guard(control, "producer", || produce(settings, control, number, count));
                control.producers_done.fetch_add(1, Ordering::SeqCst);
                outcome
            };
            producing.push(spawn(format!("producer-{index}")).spawn_scoped(scope, work)?);
        }
        let measured = conduct(plan, control, producers, producers + consumers);
        control.enter(Phase::Stop);
        let mut produced = Produced::new();
        let mut consumed = Consumed::new();
        for thread in producing {
            produced.merge(
                thread.join().map_err(|_| anyhow!("a producer panicked"))?.unwrap_or_else(Produced::new),
            );
        }
        for thread in consuming {
            consumed.merge(
                thread.join().map_err(|_| anyhow!("a consumer panicked"))?.unwrap_or_else(Consumed::new),
            );
        }
        if let Some(reason) = control.failure() {
            bail!(reason);
        }
        let (before, after, ends, series) = measured?;
        Ok(assess(plan, &before, &after, &ends, series, produced, consumed))
    })
}

/// A stage in which the broker works by itself: measured until `done` says so, which is asked now and then. It gives
/// the octets that the topic has had and has, and whether that was all.
pub fn attend(
    plan: &Plan<'_>,
    mut done: impl FnMut() -> anyhow::Result<(TopicBytes, bool)>,
) -> anyhow::Result<Stage> {
    let control = Control::default();
    if let Some(pid) = plan.broker_pid {
        process::reset_peak(pid);
    }
    let before = snapshot(plan, &control);
    let (mut series, mut last) = (Vec::new(), before);
    let topic_bytes = loop {
        thread::sleep(ATTEND);
        let next = snapshot(plan, &control);
        series.push(point(&before, &last, &next));
        last = next;
        let (bytes, through) = done()?;
        plan.progress.set_message(format!("{} of {} octets left", bytes.after, bytes.before));
        if through {
            break bytes;
        }
    };
    let after = snapshot(plan, &control);
    let ends = Ends::default();
    let mut stage = assess(plan, &before, &after, &ends, series, Produced::new(), Consumed::new());
    stage.topic_bytes = Some(topic_bytes);
    Ok(stage)
}

fn produce(
    settings: &Settings,
    control: &Control,
    index: usize,
    count: Option<u64>,
) -> anyhow::Result<Produced> {
    match settings.proto {
        Proto::Amqp => amqp_load::produce(settings, control, index, count),
        Proto::Kafka => kafka_load::produce(settings, control, index, count),
    }
}

fn consume(settings: &Settings, control: &Control, index: usize) -> anyhow::Result<Consumed> {
    match settings.consume_proto {
        Proto::Amqp => amqp_load::consume(settings, control, index),
        Proto::Kafka => kafka_load::consume(settings, control, index),
    }
}

/// Turns a thread's error into the run's failure.
fn guard<T>(control: &Control, role: &str, work: impl FnOnce() -> anyhow::Result<T>) -> Option<T> {
    work().map_err(|error| control.fail(format!("{role}: {error:#}"))).ok()
}

/// An even part of `count`.
fn part(count: u64, workers: usize, index: usize) -> u64 {
    count / workers as u64 + u64::from((index as u64) < count % workers as u64)
}

type Measured = (Snapshot, Snapshot, Ends, Vec<Point>);

/// Leads the threads through the phases.
fn conduct(plan: &Plan<'_>, control: &Control, producers: usize, threads: usize) -> anyhow::Result<Measured> {
    let settings = plan.settings;
    let prepare_start = now_ns();
    while control.ready.load(Ordering::SeqCst) < threads {
        if control.phase() == Phase::Stop {
            bail!("the run ended before it began");
        }
        if elapsed(prepare_start) > PREPARE_MAX {
            bail!("the clients did not get ready within {} s", PREPARE_MAX.as_secs());
        }
        thread::sleep(POLL);
    }
    let timed = plan.count.is_none() && plan.produce && plan.backlog.is_none();
    if timed && !settings.warmup.is_zero() {
        control.enter(Phase::Warmup);
        plan.progress.set_message("warm-up");
        let start = now_ns();
        while elapsed(start) < settings.warmup && control.phase() != Phase::Stop {
            thread::sleep(POLL);
        }
    }
    if let Some(pid) = plan.broker_pid {
        process::reset_peak(pid);
    }
    control.set_measuring(true);
    let before = snapshot(plan, control);
    if control.phase() != Phase::Stop {
        control.enter(Phase::Measure);
    }
    let mut ends = Ends::default();
    let series = watch(plan, control, producers, &before, timed, &mut ends);
    let after = snapshot(plan, control);
    control.set_measuring(!timed);
    finish(plan, control, producers);
    Ok((before, after, ends, series))
}

/// Lets the time pass, or the messages; takes points of the series meanwhile.
fn watch(
    plan: &Plan<'_>,
    control: &Control,
    producers: usize,
    before: &Snapshot,
    timed: bool,
    ends: &mut Ends,
) -> Vec<Point> {
    let settings = plan.settings;
    let interval = if timed {
        SERIES_NS.max(settings.duration.as_nanos() as u64 / SERIES_POINTS_MAX)
    } else {
        SERIES_NS
    };
    let mut series = Vec::new();
    let mut last = *before;
    let (mut progress_at, mut progress_count) = (now_ns(), 0);
    loop {
        thread::sleep(POLL);
        let now = now_ns();
        if now - last.at_ns >= interval {
            let next = snapshot(plan, control);
            series.push(point(before, &last, &next));
            plan.progress.set_message(progress_text(&series));
            last = next;
        }
        let (sent, received) =
            (control.sent.load(Ordering::Relaxed), control.received.load(Ordering::Relaxed));
        // What producers do at a rate is no progress with a backlog.
        let progress = if plan.backlog.is_some() { received } else { sent + received };
        if progress != progress_count {
            (progress_at, progress_count) = (now, progress);
        }
        plan.progress.set_position(position(plan, control, before, now));
        if control.producers_done.load(Ordering::SeqCst) == producers && producers > 0 {
            ends.produced_ns.get_or_insert(now);
        }
        let expected = plan
            .expected
            .or(plan.backlog)
            .or_else(|| ends.produced_ns.map(|_| deliveries_due(settings, control)));
        if expected.is_some_and(|expected| control.received_fresh.load(Ordering::Relaxed) >= expected) {
            ends.consumed_ns.get_or_insert(now);
        }
        let through = if timed {
            now - before.at_ns >= settings.duration.as_nanos() as u64
        } else if plan.backlog.is_some() {
            ends.consumed_ns.is_some()
        } else {
            (!plan.produce || ends.produced_ns.is_some()) && (!plan.consume || ends.consumed_ns.is_some())
        };
        let stalled = !timed && plan.consume && elapsed(progress_at) > settings.drain_timeout;
        if through || stalled || control.phase() == Phase::Stop {
            return series;
        }
    }
}

/// Deliveries that what was published will cause.
fn deliveries_due(settings: &Settings, control: &Control) -> u64 {
    let accepted =
        control.sent.load(Ordering::Relaxed).saturating_sub(control.refused.load(Ordering::Relaxed));
    accepted * settings.fan_out()
}

/// Producers collect their last confirms, consumers what is still on the way.
fn finish(plan: &Plan<'_>, control: &Control, producers: usize) {
    if control.phase() != Phase::Stop {
        control.enter(Phase::Finish);
    }
    let start = now_ns();
    while control.producers_done.load(Ordering::SeqCst) < producers
        && elapsed(start) < LAST_CONFIRMS_MAX
        && control.phase() != Phase::Stop
    {
        thread::sleep(POLL);
    }
    if !plan.consume {
        return;
    }
    plan.progress.set_message("draining");
    let expected =
        plan.expected.unwrap_or_else(|| plan.backlog.unwrap_or(0) + deliveries_due(plan.settings, control));
    let (mut progress_at, mut seen) = (now_ns(), 0);
    loop {
        let fresh = control.received_fresh.load(Ordering::Relaxed);
        let received = control.received.load(Ordering::Relaxed);
        if received != seen {
            (progress_at, seen) = (now_ns(), received);
        }
        if fresh >= expected
            || elapsed(progress_at) > plan.settings.drain_timeout
            || control.phase() == Phase::Stop
        {
            return;
        }
        thread::sleep(POLL);
    }
}

fn snapshot(plan: &Plan<'_>, control: &Control) -> Snapshot {
    Snapshot {
        at_ns: now_ns(),
        sent: control.sent.load(Ordering::Relaxed),
        confirmed: control.confirmed.load(Ordering::Relaxed),
        received: control.received.load(Ordering::Relaxed),
        broker: plan.broker_pid.map(process::sample).unwrap_or_default(),
        own_cpu_ns: own_cpu_ns(),
        machine_busy: process::machine_busy_seconds(),
    }
}

fn point(start: &Snapshot, last: &Snapshot, next: &Snapshot) -> Point {
    let seconds = (next.at_ns - last.at_ns) as f64 / 1e9;
    Point {
        seconds: (next.at_ns - start.at_ns) as f64 / 1e9,
        sent_per_second: (next.sent - last.sent) as f64 / seconds,
        received_per_second: (next.received - last.received) as f64 / seconds,
        rss_bytes: next.broker.rss_bytes,
    }
}

fn progress_text(series: &[Point]) -> String {
    series.last().map_or(String::new(), |point| {
        format!("{}/s in, {}/s out", grouped(point.sent_per_second), grouped(point.received_per_second))
    })
}

/// Thousandths of the stage that are done.
fn position(plan: &Plan<'_>, control: &Control, before: &Snapshot, now: u64) -> u64 {
    let settings = plan.settings;
    let of = |done: u64, all: u64| done.saturating_mul(1000) / all.max(1);
    match (plan.count, plan.expected.or(plan.backlog)) {
        (_, Some(expected)) => of(control.received_fresh.load(Ordering::Relaxed), expected),
        (Some(count), None) => of(control.sent.load(Ordering::Relaxed), count),
        (None, None) => of(now - before.at_ns, settings.duration.as_nanos() as u64),
    }
    .min(1000)
}

fn elapsed(since_ns: u64) -> Duration {
    Duration::from_nanos(now_ns().saturating_sub(since_ns))
}

fn assess(
    plan: &Plan<'_>,
    before: &Snapshot,
    after: &Snapshot,
    ends: &Ends,
    series: Vec<Point>,
    produced: Produced,
    mut consumed: Consumed,
) -> Stage {
    let settings = plan.settings;
    let span = |end: Option<u64>| (end.unwrap_or(after.at_ns) - before.at_ns) as f64 / 1e9;
    let seconds = span(None);
    let sent = after.sent - before.sent;
    let received = after.received - before.received;
    let broker = plan.broker_pid.map(|pid| {
        let messages = if plan.produce { sent } else { received };
        broker_use(pid, settings, before, after, seconds, messages)
    });
    let client_cores = (after.own_cpu_ns - before.own_cpu_ns) as f64 / 1e9 / seconds;
    let busy = before.machine_busy.zip(after.machine_busy).map(|(before, after)| (after - before) / seconds);
    let other_cores =
        busy.zip(broker.as_ref()).map(|(busy, broker)| (busy - broker.cores - client_cores).max(0.0));
    let count_bound = plan.count.is_some() || plan.backlog.is_some();
    let rate = |on: bool, count: u64, end: Option<u64>| {
        on.then(|| count as f64 / span(if count_bound || !plan.produce { end } else { None }))
    };
    Stage {
        name: plan.name,
        seconds,
        sent_per_second: rate(plan.produce, sent, ends.produced_ns),
        confirmed_per_second: rate(plan.produce, after.confirmed - before.confirmed, ends.produced_ns),
        transactions_per_second: settings.transaction.and_then(|records| {
            rate(plan.produce, (after.confirmed - before.confirmed) / records, ends.produced_ns)
        }),
        received_per_second: rate(plan.consume, received, ends.consumed_ns),
        confirm: Latency::of(&produced.confirm),
        // A message that waited in a backlog says nothing about latency, but for one that had to wait.
        end_to_end: if (plan.produce && plan.backlog.is_none()) || settings.delay.is_some() {
            Latency::of(&consumed.end_to_end)
        } else {
            None
        },
        confirm_stall_ms_max: (produced.confirmed > 0).then_some(produced.stall_ns_max as f64 / 1e6),
        broker,
        client_cores,
        other_cores,
        topic_bytes: None,
        check: check(plan, produced, &mut consumed),
        series,
    }
}

fn broker_use(
    pid: u32,
    settings: &Settings,
    before: &Snapshot,
    after: &Snapshot,
    seconds: f64,
    messages: u64,
) -> BrokerUse {
    let cpu =
        before.broker.cpu_seconds.zip(after.broker.cpu_seconds).map_or(0.0, |(before, after)| after - before);
    let written = before
        .broker
        .written_bytes
        .zip(after.broker.written_bytes)
        .map(|(before, after)| after.saturating_sub(before));
    BrokerUse {
        pid,
        cores: cpu / seconds,
        us_per_message: (messages > 0).then(|| cpu * 1e6 / messages as f64),
        rss_bytes: after.broker.rss_bytes,
        rss_peak_bytes: after.broker.rss_peak_bytes,
        written_bytes: written,
        written_per_payload_byte: written
            .filter(|_| messages > 0)
            .map(|written| written as f64 / (messages as f64 * settings.size as f64)),
    }
}

fn check(plan: &Plan<'_>, produced: Produced, consumed: &mut Consumed) -> Check {
    // Of a compacted topic only the last record of each key has to be there.
    let superseded = match (plan.settings.mode, plan.settings.keys, plan.settings.count) {
        (Mode::Compact, Some(keys), Some(count)) => count.saturating_sub(keys),
        _ => 0,
    };
    let distinct = consumed.lanes.distinct_from(superseded);
    let accepted = produced.sent - produced.refused.min(produced.sent);
    let expected = if !plan.consume {
        None
    } else if plan.produce {
        Some(plan.backlog.unwrap_or(0) + accepted * plan.settings.fan_out())
    } else {
        plan.expected.map(|expected| expected.saturating_sub(superseded))
    };
    let even = consumed.received as f64 / consumed.shares.len().max(1) as f64;
    let several = consumed.shares.len() > 1 && consumed.received > 0;
    let share = |share: Option<&u64>| share.filter(|_| several).map(|share| *share as f64 / even);
    // Fan-out delivers each lane once per queue; lanes are kept per queue, so they count as deliveries.
    let lost = expected.map_or(0, |expected| expected.saturating_sub(distinct));
    Check {
        sent: produced.sent,
        confirmed: produced.confirmed,
        refused: produced.refused,
        unanswered: produced.unanswered,
        received: consumed.received,
        expected,
        lost,
        duplicates: consumed.lanes.duplicates,
        redelivered: consumed.lanes.redelivered,
        out_of_order: consumed.lanes.out_of_order,
        foreign: consumed.foreign,
        share_min: share(consumed.shares.iter().min()),
        share_max: share(consumed.shares.iter().max()),
    }
}
