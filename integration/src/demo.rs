//! `make demo`: three apps in namespaces try what they may and what they may not, and a table says what happened and why.

mod apps;
mod attempt;
mod stage;
mod table;

use std::io::{Write, stderr};
use std::time::{Duration, Instant};

use crate::Setup;
use apps::App;
use attempt::Row;
use stage::Stage;

/// How many flows are shown at the end.
const TOLD: &str = "8";

/// Plays all apps; gives the table to print and whether every row is as it must be.
///
/// # Panics
/// With the command to type, when rights, packages or the product's binary are missing.
#[must_use]
pub fn play() -> (String, bool) {
    let start = Instant::now();
    progress("building the network: an authority, servers on 22 and 443, three pods");
    let stage = Stage::build();
    let apps = apps::all();
    let (mut rows, mut told) = (Vec::new(), String::new());
    for app in &apps {
        let (of_app, flows) = play_one(&stage, app);
        rows.extend(of_app);
        told = format!("\nwhat the sidecar of {} told of it (portreeve flows --last {TOLD}):\n\n{flows}", app.name);
    }
    let good = rows.iter().filter(|row| row.as_it_must).count();
    let seconds = start.elapsed().as_secs_f32();
    let summary = format!("\n{good} of {} attempts went as they must ({seconds:.1} s)\n", rows.len());
    (table::draw(&rows) + &told + &summary, good == rows.len())
}

/// The rows of one app, and the last flows as its sidecar tells them.
///
/// # Panics
/// When nothing is told.
fn play_one(stage: &Stage, app: &App) -> (Vec<Row>, String) {
    let pod = stage.world.pod(app.name);
    let text = app.policy();
    let file = format!("{}.toml", app.name);
    let started = Instant::now();
    let portreeve = Setup::new(&pod).namespace("shop").labels(&[("app", app.name)]).policy(&file, &text).start();
    progress(&format!("{}: portreeve is ready after {} ms", app.name, started.elapsed().as_millis()));
    let watcher = pod.watch();
    let mut rows = Vec::new();
    for attempt in &app.attempts {
        let row = attempt.play(app, stage, &pod, &watcher, portreeve.policies().path());
        progress(&format!("{}: {} … {}", app.name, row.attempt, row.happened));
        rows.push(row);
    }
    if rows.iter().any(|row| !row.as_it_must) {
        progress(&format!("{}: the log of portreeve:\n{}", app.name, portreeve.log()));
    }
    // The last ones are told within the window in which alike ones are gathered.
    let told = crate::wait_until(Duration::from_secs(8), || {
        let said = portreeve.ask(&["flows", "--last", TOLD]);
        (said.ok() && said.stdout.lines().count() > 3).then_some(said.stdout)
    });
    (rows, told.unwrap_or_else(|| panic!("{}: no flow is told\n{}", app.name, portreeve.log())))
}

fn progress(line: &str) {
    let _nobody_reads = writeln!(stderr(), "  {line}");
}
