//! Every shipped example is free of problems and keeps its own expectations, alone and all of them together.
#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests a failed unwrap is the report")]
use std::{fs, path::PathBuf};

use policies::{Date, PolicyFile, Source, Surroundings, parse, run_expectations};

const SHIPPED: [&str; 8] = ["alerts", "database", "deny-all", "in-cluster", "payment", "platform", "updates", "web"];

fn examples() -> Vec<PolicyFile> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let parsed = parse(&Source::new(name, fs::read_to_string(&path).unwrap()));
        assert!(parsed.problems.is_empty(), "{}", parsed.problems);
        parsed.file.unwrap()
    };
    paths.into_iter().map(read).collect()
}

fn surroundings() -> Surroundings {
    Surroundings::stand_in(Date::new(2026, 6, 1).unwrap())
}

fn keep(files: &[PolicyFile]) -> usize {
    let reports = run_expectations(files, &surroundings()).unwrap_or_else(|problems| panic!("{problems}"));
    for report in &reports {
        assert!(report.met, "{}:{} expected {:?} of {}", report.file, report.line, report.expected, report.explanation);
    }
    reports.len()
}

#[test]
fn every_example_keeps_its_expectations_alone() {
    let files = examples();
    assert_eq!(files.iter().map(PolicyFile::name).collect::<Vec<_>>(), SHIPPED, "the examples that are promised");
    for file in &files {
        assert!(keep(std::slice::from_ref(file)) > 0, "{} expects nothing", file.path());
    }
}

#[test]
fn every_example_keeps_its_expectations_under_the_platform_file() {
    let files = examples();
    let expected: usize = files.iter().map(|file| file.expectations().len()).sum();
    assert_eq!(keep(&files), expected);
}

#[test]
fn an_expectation_that_does_not_hold_is_reported() {
    let text = "version = 1\n[[allow]]\nname = \"a\"\nhosts = [\"github.com\"]\nports = [\"22\"]\n[[expect]]\nallow = \"github.com:443\"\n[[expect]]\ndeny = \"github.com:22\"\n";
    let file = parse(&Source::new("wrong.toml", text)).file.unwrap();
    let reports = run_expectations(&[file], &surroundings()).unwrap();
    assert_eq!(reports.iter().map(|report| (report.line, report.met)).collect::<Vec<_>>(), [(6, false), (8, false)]);
}

#[test]
fn the_platform_takes_away_what_an_app_file_grants() {
    let app = "version = 1\n[[allow]]\nname = \"a\"\nhosts = [\"github.com\"]\nports = [\"22\", \"9418\"]\n[[expect]]\nallow = \"github.com:9418\"\n";
    let app = parse(&Source::new("app.toml", app)).file.unwrap();
    let platform = parse(&Source::new("platform.toml", "version = 1\nplatform = true\n[[limit]]\nports = [\"22\"]\n")).file.unwrap();
    assert!(run_expectations(std::slice::from_ref(&app), &surroundings()).unwrap()[0].met);
    assert!(!run_expectations(&[app, platform], &surroundings()).unwrap()[0].met);
}
