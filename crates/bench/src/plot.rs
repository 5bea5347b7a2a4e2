//! An SVG of one run: latency by percentile on the left, throughput over time on the right. Drawn by hand, so that
//! no plotting library comes along.

use std::fmt::Write;

use crate::report::{Latency, Report, Stage};
use bowline_client::units::{grouped, latency_text};

const WIDTH: f64 = 1000.0;
const PANEL_HEIGHT: f64 = 320.0;
const TITLE_HEIGHT: f64 = 48.0;
const MARGIN: f64 = 70.0;
const COLOURS: [&str; 3] = ["#1f6feb", "#d9480f", "#2b8a3e"];

/// A rectangle with linear axes, already in the units that are drawn (logarithms where the axis is logarithmic).
struct Panel {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Panel {
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let part =
            |value: f64, (low, high): (f64, f64)| if high > low { (value - low) / (high - low) } else { 0.5 };
        (
            self.left + part(x, self.x).clamp(0.0, 1.0) * self.width,
            self.top + self.height - part(y, self.y).clamp(0.0, 1.0) * self.height,
        )
    }

    fn frame(&self, out: &mut String, title: &str) {
        let Panel { left, top, width, height, .. } = self;
        let _ = write!(
            out,
            r##"<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>"##
        );
        text(out, left + width / 2.0, top - 10.0, "middle", title);
    }

    fn x_tick(&self, out: &mut String, at: f64, label: &str) {
        let (x, _) = self.place(at, self.y.0);
        let (top, bottom) = (self.top, self.top + self.height);
        let _ = write!(out, r##"<line x1="{x:.1}" y1="{top}" x2="{x:.1}" y2="{bottom}" stroke="#e5e5e5"/>"##);
        text(out, x, bottom + 16.0, "middle", label);
    }

    fn y_tick(&self, out: &mut String, at: f64, label: &str) {
        let (_, y) = self.place(self.x.0, at);
        let (left, right) = (self.left, self.left + self.width);
        let _ = write!(out, r##"<line x1="{left}" y1="{y:.1}" x2="{right}" y2="{y:.1}" stroke="#e5e5e5"/>"##);
        text(out, left - 6.0, y + 4.0, "end", label);
    }

    fn line(&self, out: &mut String, points: impl Iterator<Item = (f64, f64)>, colour: &str) {
        let mut path = String::new();
        for (x, y) in points {
            let (x, y) = self.place(x, y);
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let _ = write!(out, r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"#);
    }

    fn legend(&self, out: &mut String, entries: &[(&str, &str)]) {
        for (index, (name, colour)) in entries.iter().enumerate() {
            let (x, y) = (self.left + 12.0, self.top + 18.0 + 18.0 * index as f64);
            let _ =
                write!(out, r#"<rect x="{x}" y="{:.1}" width="14" height="4" fill="{colour}"/>"#, y - 5.0);
            text(out, x + 20.0, y, "start", name);
        }
    }
}

/// The whole drawing; one row of panels for each stage.
pub fn svg(report: &Report) -> String {
    let height = TITLE_HEIGHT + PANEL_HEIGHT * report.stages.len() as f64;
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#222"><rect width="100%" height="100%" fill="white"/>"##
    );
    let flush = report
        .flush_probe
        .as_ref()
        .map_or(String::new(), |probe| format!(" · disk flush p50 {}", latency_text(probe.p50_ns)));
    let title = format!("{} · {}{flush}", report.label, report.broker);
    text(&mut out, WIDTH / 2.0, 22.0, "middle", &title);
    for (index, stage) in report.stages.iter().enumerate() {
        let top = TITLE_HEIGHT + PANEL_HEIGHT * index as f64 + 20.0;
        latency_panel(&mut out, stage, top);
        throughput_panel(&mut out, stage, top);
    }
    out.push_str("</svg>\n");
    out
}

fn latency_panel(out: &mut String, stage: &Stage, top: f64) {
    let curves: Vec<(&str, &Latency, &str)> =
        [("confirm", &stage.confirm), ("end to end", &stage.end_to_end)]
            .into_iter()
            .zip(COLOURS)
            .filter_map(|((name, latency), colour)| latency.as_ref().map(|latency| (name, latency, colour)))
            .collect();
    let points = || curves.iter().flat_map(|(_, latency, _)| &latency.curve);
    let low = points().map(|(_, ns)| *ns).min().unwrap_or(1_000).max(1) as f64;
    let high = points().map(|(_, ns)| *ns).max().unwrap_or(1_000_000).max(10) as f64;
    let nines_max = points().map(|(quantile, _)| nines(*quantile)).fold(2.0, f64::max);
    let panel = Panel {
        left: MARGIN,
        top,
        width: WIDTH / 2.0 - MARGIN - 30.0,
        height: PANEL_HEIGHT - 70.0,
        x: (0.0, nines_max),
        y: (low.log10().floor(), high.log10().ceil()),
    };
    for (at, label) in [
        (0.0, "0"),
        (0.301, "50 %"),
        (1.0, "90 %"),
        (2.0, "99 %"),
        (3.0, "99.9 %"),
        (4.0, "99.99 %"),
        (5.0, "99.999 %"),
    ] {
        if at <= nines_max {
            panel.x_tick(out, at, label);
        }
    }
    for decade in panel.y.0 as i32..=panel.y.1 as i32 {
        panel.y_tick(out, decade.into(), &latency_text(10_f64.powi(decade) as u64));
    }
    for (_, latency, colour) in &curves {
        panel.line(
            out,
            latency.curve.iter().map(|(q, ns)| (nines(*q), ((*ns).max(1) as f64).log10())),
            colour,
        );
    }
    panel.legend(out, &curves.iter().map(|(name, _, colour)| (*name, *colour)).collect::<Vec<_>>());
    panel.frame(out, &format!("{}: latency by percentile", stage.name));
}

fn throughput_panel(out: &mut String, stage: &Stage, top: f64) {
    let high = stage
        .series
        .iter()
        .map(|point| point.sent_per_second.max(point.received_per_second))
        .fold(1.0, f64::max);
    let end = stage.series.last().map_or(1.0, |point| point.seconds);
    let panel = Panel {
        left: WIDTH / 2.0 + MARGIN,
        top,
        width: WIDTH / 2.0 - MARGIN - 30.0,
        height: PANEL_HEIGHT - 70.0,
        x: (0.0, end),
        y: (0.0, high * 1.1),
    };
    for part in 0..=4 {
        let part = f64::from(part) / 4.0;
        panel.x_tick(out, end * part, &format!("{:.1} s", end * part));
        panel.y_tick(out, high * part, &grouped(high * part));
    }
    let mut legend = Vec::new();
    if stage.sent_per_second.is_some() {
        panel.line(out, stage.series.iter().map(|point| (point.seconds, point.sent_per_second)), COLOURS[0]);
        legend.push(("published", COLOURS[0]));
    }
    if stage.received_per_second.is_some() {
        panel.line(
            out,
            stage.series.iter().map(|point| (point.seconds, point.received_per_second)),
            COLOURS[1],
        );
        legend.push(("received", COLOURS[1]));
    }
    panel.legend(out, &legend);
    panel.frame(out, "messages a second over time");
}

/// How many nines a quantile has: 0.99 has two.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let escaped = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = write!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{escaped}</text>"#);
}
