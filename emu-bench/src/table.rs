//! The table for the terminal, and for documents: it is Markdown.

use std::fmt::Write as _;

use crate::engine::EARLIER;
use crate::guest::Guest;
use crate::report::{Measured, Report};
use crate::statistics::geometric_mean;
use crate::workload::Class;

/// Seconds in a unit that suits them.
fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.01 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.2} ms", s * 1e3),
    }
}

fn factor(value: f64) -> String {
    if value >= 99.5 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// One table for each guest that was measured, and the means.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for guest in Guest::ALL {
        let results: Vec<_> = report.results.iter().filter(|result| result.guest == guest).collect();
        if !results.is_empty() {
            let _ = writeln!(text, "{}: time for a unit, and how many times native", guest.name());
            text += &align(&rows(report, &results));
            text += "\n";
        }
    }
    text
}

/// The name of the engine that others are held against as "us".
fn ours(engines: &[&str]) -> Option<&'static str> {
    ["jit", "interp", "other"].into_iter().find(|name| engines.contains(name))
}

fn rows(report: &Report, results: &[&Measured]) -> Vec<Vec<String>> {
    let (mut engines, clock) = (report.engines(), report.clock);
    engines.retain(|name| !name.starts_with(EARLIER));
    let us = ours(&engines);
    let against: Vec<&str> =
        engines.iter().copied().filter(|name| Some(*name) != us && *name != "native").collect();
    let mut header = vec!["workload".to_owned()];
    for name in &engines {
        header.push((*name).into());
        if *name != "native" && engines.contains(&"native") {
            header.push("×native".into());
        }
    }
    if let Some(us) = us {
        header.extend(against.iter().map(|name| format!("{name}/{us}")));
    }
    let mut rows = vec![header];
    for result in results {
        let mut row = vec![result.workload.clone()];
        for name in &engines {
            row.push(result.median(name, clock).map_or("-".into(), time));
            if *name != "native" && engines.contains(&"native") {
                row.push(result.ratio(name, "native", clock).map_or("-".into(), factor));
            }
        }
        if let Some(us) = us {
            row.extend(against.iter().map(|name| result.ratio(name, us, clock).map_or("-".into(), factor)));
        }
        rows.push(row);
    }
    let groups: [(&str, &[Class]); 3] = [
        ("mean, compute", &[Class::Integer, Class::Float]),
        ("mean, float and vectors", &[Class::Float]),
        ("mean, system", &[Class::Rep, Class::System]),
    ];
    for (name, classes) in groups {
        let chosen: Vec<_> = results.iter().filter(|result| classes.contains(&result.class)).collect();
        if chosen.len() < 2 {
            continue;
        }
        let mean = |engine: &str, to: &str| {
            geometric_mean(chosen.iter().filter_map(|result| result.ratio(engine, to, clock)))
                .map_or("-".into(), factor)
        };
        let mut row = vec![name.to_owned()];
        for engine in &engines {
            row.push(String::new());
            if *engine != "native" && engines.contains(&"native") {
                row.push(mean(engine, "native"));
            }
        }
        if let Some(us) = us {
            row.extend(against.iter().map(|engine| mean(engine, us)));
        }
        rows.push(row);
    }
    rows
}

/// Rows as a table whose columns stand under each other; the first row is the head.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            let _ = if column == 0 { write!(text, "| {cell}{pad} ") } else { write!(text, "| {pad}{cell} ") };
        }
        text += "|\n";
        if n == 0 {
            for (column, width) in widths.iter().enumerate() {
                let line = "-".repeat(width + 1);
                let _ = if column == 0 { write!(text, "|{line}-") } else { write!(text, "|{line}:") };
            }
            text += "|\n";
        }
    }
    text
}
