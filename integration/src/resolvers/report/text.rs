//! The report as people read it: aligned columns, ratios beside the figures.

use std::fmt::Write as _;

use super::{Report, Row, targets};
use crate::resolvers::Contestant;

pub(super) fn draw(report: &Report, rows: &[Row]) -> String {
    let (machine, plan) = (&report.machine, report.plan);
    let mut out = format!(
        "{}, Linux {}, getppid {:.0} ns; load average before: {} (others on these cores make the figures noisy)\n\
         {}; medians of {} alternating rounds, {:.0} s in all\n\
         hot: 100 names for {} s; cold: {} names once; serial: {} names once, one after the other\n\n",
        machine.cpu,
        machine.kernel,
        machine.getppid_nanoseconds,
        machine.load,
        report.cores,
        plan.rounds,
        report.took_seconds,
        plan.hot_seconds,
        plan.cold_names,
        plan.serial_names
    );
    let of = |contestant| rows.iter().find(|row| row.contestant == contestant);
    out += &table(rows, of(Contestant::Echo), of(Contestant::Portreeve));
    let lines = |name: &str, figure: fn(&Row) -> Option<String>| {
        let told = rows.iter().filter_map(|row| Some(format!("{}: {}", row.contestant.name(), figure(row)?))).collect::<Vec<_>>();
        if told.is_empty() { String::new() } else { format!("{name}: {}\n", told.join("; ")) }
    };
    out += "\n";
    out += &lines("CPU a refusal (denied names)", |row| row.denied_microseconds.map(|denied| format!("{denied:.2} us")));
    out += &lines("addresses open in the kernel after the cold load", |row| row.open.map(|open| open.to_string()));
    out += "\n";
    for target in targets::all(plan, rows) {
        let mark = if target.reached { "ok" } else { "!!" };
        let _ = writeln!(out, "{mark}  {:<54} {:>14}   must be {}", target.figure, target.measured, target.must);
    }
    out
}

const HEAD: [&str; 14] = [
    "",
    "hot/s",
    "hot us",
    "x echo",
    "x ours",
    "cold/s",
    "cold us",
    "x echo",
    "x ours",
    "serial us",
    "added us",
    "idle MiB",
    "full MiB",
    "lost/other",
];

fn table(rows: &[Row], echo: Option<&Row>, ours: Option<&Row>) -> String {
    let ratio = |figure: f64, of: Option<f64>| of.map_or_else(|| "-".to_owned(), |of| format!("{:.2}", figure / of));
    let some = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1}"));
    let mib = |bytes: f64| format!("{:.1}", bytes / f64::from(1 << 20));
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let (hot, cold) = (row.hot_microseconds, row.cold_microseconds);
        [
            row.contestant.name().to_owned(),
            format!("{:.0}", row.hot_per_second),
            format!("{hot:.2}"),
            ratio(hot, echo.map(|echo| echo.hot_microseconds)),
            ratio(hot, ours.map(|ours| ours.hot_microseconds)),
            format!("{:.0}", row.cold_per_second),
            format!("{cold:.2}"),
            ratio(cold, echo.map(|echo| echo.cold_microseconds)),
            ratio(cold, ours.map(|ours| ours.cold_microseconds)),
            some(row.serial_microseconds),
            some(row.added_microseconds),
            mib(row.idle_bytes),
            mib(row.full_bytes),
            format!("{}/{}", row.lost, row.other_codes),
        ]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; HEAD.len()] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
