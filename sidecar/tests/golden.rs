//! Promise: what each command prints, for people and as JSON, is as the golden files beside this one say; so is the help of each.
//!
//! The binary runs against a control socket that gives recorded answers, so times and addresses are fixed. `INSTA_UPDATE=always` writes the files
//! anew: look at the difference before it is committed.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

/// Answers each question with the file of its first word.
fn sidecar(dir: &Path) -> PathBuf {
    let path = dir.join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = String::new();
            BufReader::new(&stream).read_line(&mut question).unwrap();
            let answer = match question.trim().split(' ').next().unwrap() {
                lines @ ("flows" | "dns") => format!("{lines}.jsonl"),
                whole => format!("{whole}.json"),
            };
            let mut text = std::fs::read(recorded().join(answer)).unwrap();
            if question.trim().ends_with("marked") {
                text.push(b'\n');
            }
            // Who has read enough may have gone.
            let _ = stream.write_all(&text);
        }
    });
    path
}

/// What a command line prints, and how it ends.
fn printed(args: &[&str], control: Option<&Path>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(args).env_clear().current_dir(recorded());
    if let Some(control) = control {
        command.arg("--control").arg(control);
    }
    let output = command.output().unwrap();
    let mut text = format!("$ portreeve {}\n", args.join(" "));
    text.push_str(&String::from_utf8(output.stdout).unwrap());
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        let _ = writeln!(text, "stderr: {line}");
    }
    let _ = writeln!(text, "exit {}", output.status.code().unwrap());
    text
}

/// All in one golden file.
fn golden(name: &str, commands: &[&[&str]], running: bool) {
    let dir = tempfile::tempdir().unwrap();
    let control = running.then(|| sidecar(dir.path()));
    let all: Vec<String> = commands.iter().map(|args| printed(args, control.as_deref())).collect();
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, all.join("\n"));
    });
}

#[test]
fn status() {
    golden("status", &[&["status"], &["status", "--ready"], &["status", "--json"]], true);
}

#[test]
fn leases() {
    golden("leases", &[&["leases"], &["leases", "--json"]], true);
}

#[test]
fn flows() {
    let denied = ["flows", "--denied", "--last", "3"];
    golden("flows", &[&["flows"], &denied, &["flows", "--follow", "--last", "2"], &["flows", "--json"]], true);
}

#[test]
fn dns() {
    golden("dns", &[&["dns"], &["dns", "--follow", "--name", "*.example.com"], &["dns", "--json"]], true);
}

#[test]
fn explain() {
    golden("explain", &[&["explain", "github.com:22"], &["explain", "github.com:22", "--json"]], true);
}

#[test]
fn policy() {
    let commands: [&[&str]; 12] = [
        &["policy", "check", "shop.toml"],
        &["policy", "check", "shop.toml", "--json"],
        &["policy", "check", "broken.toml"],
        &["policy", "check", "broken.toml", "--json"],
        &["policy", "test", "shop.toml"],
        &["policy", "test", "shop.toml", "--json"],
        &["policy", "test", "stricter.toml"],
        &["policy", "test", "stricter.toml", "--json"],
        &["policy", "explain", "shop.toml", "api.example.com:443"],
        &["policy", "explain", "shop.toml", "github.com:22"],
        &["policy", "explain", "shop.toml", "github.com:22", "--json"],
        &["policy", "presets"],
    ];
    golden("policy", &commands, false);
}

#[test]
fn policy_from_what_was_recorded() {
    let commands: [&[&str]; 6] = [
        &["policy", "learn", "flows.jsonl"],
        &["policy", "replay", "shop.toml", "flows.jsonl"],
        &["policy", "replay", "stricter.toml", "flows.jsonl"],
        &["policy", "replay", "stricter.toml", "flows.jsonl", "--json"],
        &["policy", "diff", "shop.toml", "stricter.toml"],
        &["policy", "diff", "shop.toml", "stricter.toml", "--json"],
    ];
    golden("recorded", &commands, false);
}

#[test]
fn help() {
    let mut text = String::new();
    let mut root = sidecar::cli::Cli::command().term_width(100);
    root.build();
    helps(&mut root, "portreeve", &mut text);
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("help", text);
    });
}

fn helps(command: &mut clap::Command, path: &str, text: &mut String) {
    let _ = writeln!(text, "$ {path} --help\n{}", command.clone().term_width(100).render_long_help());
    let hidden = |command: &clap::Command| command.is_hide_set() || command.get_name() == "help";
    for sub in command.get_subcommands_mut().filter(|sub| !hidden(sub)) {
        let path = format!("{path} {}", sub.get_name());
        helps(sub, &path, text);
    }
}

/// The recorded lines are such as a sidecar writes: a record that no longer can be would make the golden files say nothing.
#[test]
fn what_is_recorded_keeps_to_the_schema() {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    let schema = serde_json::from_str(&read(recorded().join("../../schema/flow-log-1.json"))).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let lines = read(recorded().join("flows.jsonl")) + &read(recorded().join("dns.jsonl"));
    let mut later = 0;
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        match line["event.name"] == "portreeve.later" {
            true => later += 1,
            false => assert!(validator.is_valid(&line), "{line:#}"),
        }
    }
    assert_eq!(later, 1, "one line is of a newer sidecar");
}
