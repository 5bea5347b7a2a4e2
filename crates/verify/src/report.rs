//! The report as tables.

use bowline_client::units::grouped;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::judge::{Report, Verdict};

/// Everything for a terminal.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    if !report.workloads.is_empty() {
        out += &format!("{}\n", promises(&report.workloads));
    }
    if !report.rules.is_empty() {
        out += &format!("\n{}\n", rules(&report.rules));
    }
    if let Some(bank) = &report.transactions {
        out += &format!("\n{}\n", transactions(bank));
    }
    if !report.wrong.is_empty() {
        let rows = report.wrong.iter().map(|(name, count)| [(*name).to_owned(), grouped(*count as f64)]);
        out += &format!("\nBroken promises\n{}\n", plain(["kind", "times"], rows));
    }
    if let Some(attacks) = &report.attacks {
        out += &format!(
            "\nAttacks: {} kills (and {} during the start), {} shutdowns, {} pauses, {} cut connections, {} \
             misbehaving clients, {} full disks\n",
            attacks.kills,
            attacks.kills_during_start,
            attacks.shutdowns,
            attacks.pauses,
            attacks.cut_connections,
            attacks.misbehaving_clients,
            attacks.full_disks
        );
    }
    if !report.recovery.is_empty() {
        let rows = report.recovery.iter().map(|recovery| {
            let ms = |value: f64| format!("{value:.0} ms");
            [
                recovery.what.to_owned(),
                recovery.times.to_string(),
                ms(recovery.median_ms),
                ms(recovery.p90_ms),
                ms(recovery.max_ms),
            ]
        });
        out += &format!("\n{}\n", plain(["recovery", "times", "median", "p90", "max"], rows));
    }
    if !report.shares.is_empty() {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let rows = report.shares.iter().map(|share| {
            [share.destination.clone(), share.consumers.to_string(), percent(share.min), percent(share.max)]
        });
        out += &format!("\n{}\n", plain(["shares of an even load", "consumers", "least", "most"], rows));
    }
    if !report.notes.is_empty() {
        out += "\nNotes\n";
        for (note, times) in &report.notes {
            out += &format!("  {times} × {note}\n");
        }
    }
    let verdict = if report.kept { "Every promise was kept." } else { "PROMISES WERE BROKEN." };
    out += &format!("\n{verdict} Seed {}, {:.0} s.", report.seed, report.seconds);
    out
}

/// One column a workload.
fn promises(verdicts: &[Verdict]) -> String {
    let mut table = table();
    let mut header = vec!["".to_owned()];
    header.extend(verdicts.iter().map(|verdict| verdict.workload.to_owned()));
    table.set_header(header);
    let mut row = |name: &str, value: &dyn Fn(&Verdict) -> String| {
        let mut cells = vec![Cell::new(name)];
        cells.extend(verdicts.iter().map(|one| Cell::new(value(one)).set_alignment(CellAlignment::Right)));
        table.add_row(cells);
    };
    let count = |number: u64| grouped(number as f64);
    let queue_only = |verdict: &Verdict, number: u64| {
        if verdict.workload == "amqp" { grouped(number as f64) } else { "–".into() }
    };
    let group_only = |verdict: &Verdict, number: u64| {
        if verdict.workload == "kafka" { grouped(number as f64) } else { "–".into() }
    };
    row("published", &|one| count(one.published));
    row("confirmed", &|one| count(one.confirmed));
    row("refused", &|one| count(one.refused));
    row("in doubt", &|one| count(one.in_doubt));
    row("received", &|one| count(one.received));
    row("deliveries", &|one| count(one.deliveries));
    row("LOST after confirm", &|one| count(one.lost));
    row("DUPLICATED in a log", &|one| {
        if one.workload == "amqp" { "–".into() } else { count(one.duplicated) }
    });
    row("WRONGLY FLAGGED as first", &|one| queue_only(one, one.wrongly_flagged));
    row("MISSED by the group", &|one| group_only(one, one.group_missed));
    row("delivered again, flagged", &|one| queue_only(one, one.duplicated));
    row("  of them after our ack", &|one| queue_only(one, one.again_after_ack));
    row("flagged, first one unseen", &|one| queue_only(one, one.flagged_unseen));
    row("read again by the group", &|one| group_only(one, one.group_repeated));
    let probability = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.6}"));
    row("P(durable | confirmed)", &|one| probability(one.probability.durable_if_confirmed));
    row("  loss below, at 95 %", &|one| {
        one.probability.loss_below_at_95.map_or("–".into(), |bound| format!("{bound:.1e}"))
    });
    row("P(delivered)", &|one| probability(one.probability.delivered));
    row("P(duplicate)", &|one| probability(one.probability.duplicate));
    table.to_string()
}

/// One row a rule.
fn rules(verdicts: &[crate::rules::judge::Verdict]) -> String {
    let header = [
        "queues with rules",
        "published",
        "confirmed",
        "refused",
        "in doubt",
        "consumed",
        "second",
        "both",
        "LOST",
        "TWICE DEAD",
        "DOUBLED",
        "TORN",
        "UNDEAD",
        "HALF DONE",
    ];
    let rows = verdicts.iter().map(|one| {
        let counts = [
            one.published,
            one.confirmed,
            one.refused,
            one.in_doubt,
            one.consumed,
            one.second,
            one.both,
            one.lost,
            one.dead_twice,
            one.doubled,
            one.torn,
            one.undead,
            one.half_done,
        ];
        let mut cells = [const { String::new() }; 14];
        cells[0] = one.rule.to_owned();
        for (cell, count) in cells[1..].iter_mut().zip(counts) {
            *cell = grouped(count as f64);
        }
        cells
    });
    plain(header, rows)
}

/// Kafka transactions, one row a number.
fn transactions(bank: &crate::transactions::judge::Verdict) -> String {
    let counts = [
        ("begun", bank.transactions),
        ("  of them in version 2", bank.second),
        ("committed", bank.committed),
        ("aborted", bank.aborted),
        ("in doubt", bank.in_doubt),
        ("  of them committed", bank.in_doubt_committed),
        ("transfers by committed offsets", bank.transfers),
        ("records read", bank.records),
        ("  of them values of lists", bank.values),
        ("LOST after commit", bank.lost),
        ("TORN", bank.torn),
        ("ABORTED and read", bank.aborted_reads),
        ("DUPLICATED records", bank.duplicated),
        ("transfers DOUBLED", bank.doubled),
        ("transfers SKIPPED by the offset", bank.skipped),
        ("transfers AHEAD of the offset", bank.ahead),
    ];
    let mut rows: Vec<_> =
        counts.iter().map(|(name, count)| [(*name).to_owned(), grouped(*count as f64)]).collect();
    rows.push(["MONEY made or lost".into(), bank.balance.to_string()]);
    plain(["transactions", ""], rows.into_iter())
}

fn plain<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = table();
    table.set_header(header);
    for row in rows {
        let cells = row.into_iter().enumerate().map(|(column, text)| {
            let alignment = if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
            Cell::new(text).set_alignment(alignment)
        });
        table.add_row(cells.collect::<Vec<_>>());
    }
    table.to_string()
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table
}
