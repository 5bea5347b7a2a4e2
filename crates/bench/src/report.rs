//! What a run has measured, as a document and as a table.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::args::Settings;
use crate::probe::FlushProbe;
use bowline_client::units::{bytes_text, grouped, latency_text};

/// One workload against one broker.
#[derive(Debug, Serialize)]
pub struct Report {
    pub label: String,
    /// As the broker calls itself; empty for Kafka, which does not say.
    pub broker: String,
    pub unix_time: u64,
    pub machine: Machine,
    pub settings: Settings,
    /// Before the run.
    pub flush_probe: Option<FlushProbe>,
    /// Declaring queues and topics, and binding.
    pub set_up_seconds: f64,
    pub stages: Vec<Stage>,
}

#[derive(Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub kernel: String,
}

/// A part of a run that is measured by itself: publishing and consuming together, or one of them.
#[derive(Debug, Serialize)]
pub struct Stage {
    pub name: &'static str,
    pub seconds: f64,
    pub sent_per_second: Option<f64>,
    pub confirmed_per_second: Option<f64>,
    /// Confirmed transactions; the confirms below are theirs then.
    pub transactions_per_second: Option<f64>,
    pub received_per_second: Option<f64>,
    pub confirm: Option<Latency>,
    pub end_to_end: Option<Latency>,
    /// Longest time without a confirm while one was due.
    pub confirm_stall_ms_max: Option<f64>,
    pub broker: Option<BrokerUse>,
    pub client_cores: f64,
    /// Cores kept busy by neither the broker nor this client. Above 0.35 the run is not clean.
    pub other_cores: Option<f64>,
    pub topic_bytes: Option<TopicBytes>,
    pub check: Check,
    pub series: Vec<Point>,
}

/// What the broker says that a topic takes (DescribeLogDirs), at the begin and at the end of a stage.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TopicBytes {
    pub before: u64,
    pub after: u64,
}

#[derive(Debug, Serialize)]
pub struct BrokerUse {
    pub pid: u32,
    pub cores: f64,
    pub us_per_message: Option<f64>,
    pub rss_bytes: Option<u64>,
    /// During this stage where the kernel allows to say so, else since the broker's start.
    pub rss_peak_bytes: Option<u64>,
    pub written_bytes: Option<u64>,
    pub written_per_payload_byte: Option<f64>,
}

/// Percentiles in nanoseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub samples: u64,
    pub mean_ns: f64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub p9999_ns: u64,
    pub max_ns: u64,
    /// For plots: quantile and value.
    #[serde(skip)]
    pub curve: Vec<(f64, u64)>,
}

/// Whether everything arrived, over the whole stage with warm-up.
#[derive(Debug, Default, Serialize)]
pub struct Check {
    pub sent: u64,
    pub confirmed: u64,
    pub refused: u64,
    pub unanswered: u64,
    pub received: u64,
    pub expected: Option<u64>,
    pub lost: u64,
    pub duplicates: u64,
    pub redelivered: u64,
    pub out_of_order: u64,
    pub foreign: u64,
    /// Smallest and largest share of a consumer, relative to an even share.
    pub share_min: Option<f64>,
    pub share_max: Option<f64>,
}

/// A moment of a stage.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Point {
    pub seconds: f64,
    pub sent_per_second: f64,
    pub received_per_second: f64,
    pub rss_bytes: Option<u64>,
}

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        // Evenly spaced on a scale of nines, as such curves are drawn.
        let nines = (0..=100).map(|step| 1.0 - 10_f64.powf(-f64::from(step) * 0.05));
        let enough = 1.0 - 1.0 / histogram.len() as f64;
        Some(Latency {
            samples: histogram.len(),
            mean_ns: histogram.mean(),
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            p9999_ns: at(0.9999),
            max_ns: histogram.max(),
            curve: nines
                .filter(|quantile| *quantile <= enough)
                .map(|quantile| (quantile, at(quantile)))
                .collect(),
        })
    }
}

impl Check {
    pub fn is_clean(&self) -> bool {
        let wrong =
            [self.refused, self.unanswered, self.lost, self.duplicates, self.out_of_order, self.foreign];
        wrong.iter().all(|count| *count == 0)
    }
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.stages.iter().all(|stage| stage.check.is_clean())
    }

    /// Everything about this run, one fact a line.
    pub fn details(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        let mut row = |name: &str, value: String| {
            table.add_row([Cell::new(name), Cell::new(value)]);
        };
        row("workload", self.label.clone());
        if !self.broker.is_empty() {
            row("broker", self.broker.clone());
        }
        row(
            "machine",
            format!("{} cores, {}, Linux {}", self.machine.cores, self.machine.cpu, self.machine.kernel),
        );
        if let Some(probe) = &self.flush_probe {
            let (p50, p99) = (latency_text(probe.p50_ns), latency_text(probe.p99_ns));
            row("disk flush, 4 KiB", format!("p50 {p50}, p99 {p99} ({})", probe.method));
        }
        row("set-up", format!("{:.2} s", self.set_up_seconds));
        for stage in &self.stages {
            row("", String::new());
            stage.rows(&mut row);
        }
        table.to_string()
    }
}

impl Stage {
    fn rows(&self, row: &mut impl FnMut(&str, String)) {
        row("stage", format!("{}, {:.1} s", self.name, self.seconds));
        let rate = |rate: f64| format!("{}/s", grouped(rate));
        if let Some(sent) = self.sent_per_second {
            row("published", rate(sent));
        }
        if let Some(confirmed) = self.confirmed_per_second.filter(|rate| *rate > 0.0) {
            row("confirmed", rate(confirmed));
        }
        if let Some(transactions) = self.transactions_per_second {
            row("transactions", rate(transactions));
        }
        if let Some(bytes) = &self.topic_bytes {
            let (before, after) = (bytes_text(bytes.before as f64), bytes_text(bytes.after as f64));
            row("topic", format!("{before} before, {after} after"));
        }
        if let Some(received) = self.received_per_second {
            row("received", rate(received));
        }
        if let Some(latency) = &self.confirm {
            row("confirm latency", latency.text());
        }
        if let Some(stall) = self.confirm_stall_ms_max {
            row("longest wait for a confirm", format!("{stall:.1} ms"));
        }
        if let Some(latency) = &self.end_to_end {
            row("end-to-end latency", latency.text());
        }
        if let Some(broker) = &self.broker {
            let per_message =
                broker.us_per_message.map_or(String::new(), |us| format!(", {us:.2} µs a message"));
            row("broker CPU", format!("{:.2} cores{per_message}", broker.cores));
            if let Some(rss) = broker.rss_bytes {
                let peak = broker.rss_peak_bytes.map_or("?".into(), |peak| bytes_text(peak as f64));
                row("broker memory", format!("{} now, {peak} peak", bytes_text(rss as f64)));
            }
            if let Some(written) = broker.written_bytes {
                let ratio = broker
                    .written_per_payload_byte
                    .map_or(String::new(), |ratio| format!(", {ratio:.2} per payload byte"));
                row("written to disk", format!("{}{ratio}", bytes_text(written as f64)));
            }
        }
        let other = self.other_cores.map_or(String::new(), |other| format!(", others {other:.2}"));
        row("client CPU", format!("{:.2} cores{other}", self.client_cores));
        row("check", self.check.text());
    }
}

impl Latency {
    fn text(&self) -> String {
        let parts =
            [("p50", self.p50_ns), ("p99", self.p99_ns), ("p99.9", self.p999_ns), ("max", self.max_ns)];
        parts.map(|(name, ns)| format!("{name} {}", latency_text(ns))).join(", ")
    }
}

impl Check {
    fn text(&self) -> String {
        let mut notes = Vec::new();
        let counts = [
            (self.refused, "refused"),
            (self.unanswered, "unanswered"),
            (self.lost, "LOST"),
            (self.duplicates, "DUPLICATED"),
            (self.out_of_order, "OUT OF ORDER"),
            (self.foreign, "not ours"),
            (self.redelivered, "redelivered"),
        ];
        for (count, name) in counts {
            if count > 0 {
                notes.push(format!("{} {name}", grouped(count as f64)));
            }
        }
        if notes.is_empty() {
            let good = if self.expected.is_some() { "all there, once, in order" } else { "none refused" };
            notes.push(good.into());
        }
        if let (Some(min), Some(max)) = (self.share_min, self.share_max) {
            notes.push(format!("consumers' shares {:.0} % to {:.0} % of even", min * 100.0, max * 100.0));
        }
        format!(
            "{} sent, {} received: {}",
            grouped(self.sent as f64),
            grouped(self.received as f64),
            notes.join(", ")
        )
    }
}

/// Several runs, one line each.
pub fn summary(reports: &[Report]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "workload",
        "in/s",
        "out/s",
        "confirm p50",
        "p99",
        "end-to-end p50",
        "p99",
        "broker cores",
        "client",
        "RSS peak",
        "written",
        "flush p50",
        "check",
    ]);
    for report in reports {
        for stage in &report.stages {
            let label = if report.stages.len() > 1 {
                format!("{} {}", report.label, stage.name)
            } else {
                report.label.clone()
            };
            let latency = |latency: &Option<Latency>, pick: fn(&Latency) -> u64| {
                latency.as_ref().map_or("–".into(), |latency| latency_text(pick(latency)))
            };
            let rate = |rate: Option<f64>| rate.map_or("–".into(), grouped);
            let broker = stage.broker.as_ref();
            let cells = [
                rate(stage.confirmed_per_second.filter(|rate| *rate > 0.0).or(stage.sent_per_second)),
                rate(stage.received_per_second),
                latency(&stage.confirm, |latency| latency.p50_ns),
                latency(&stage.confirm, |latency| latency.p99_ns),
                latency(&stage.end_to_end, |latency| latency.p50_ns),
                latency(&stage.end_to_end, |latency| latency.p99_ns),
                broker.map_or("–".into(), |broker| format!("{:.2}", broker.cores)),
                format!("{:.2}", stage.client_cores),
                broker
                    .and_then(|broker| broker.rss_peak_bytes)
                    .map_or("–".into(), |peak| bytes_text(peak as f64)),
                broker
                    .and_then(|broker| broker.written_per_payload_byte)
                    .map_or("–".into(), |ratio| format!("{ratio:.2}×")),
                report.flush_probe.as_ref().map_or("–".into(), |probe| latency_text(probe.p50_ns)),
                if stage.check.is_clean() { "ok".into() } else { "BAD".to_owned() },
            ];
            let mut row = vec![Cell::new(label)];
            row.extend(cells.into_iter().map(|text| Cell::new(text).set_alignment(CellAlignment::Right)));
            table.add_row(row);
        }
    }
    table.to_string()
}
