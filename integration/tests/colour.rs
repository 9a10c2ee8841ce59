//! Promise: verdicts have a colour where somebody looks at them on a terminal, and nowhere else: not in a pipe, with NO_COLOR, or in JSON.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::process::{Command, Stdio};

const RED: &str = "\u{1b}[31mrefused\u{1b}[0m";

/// What `policy explain` of a refused name prints, on a terminal of its own (`script`) or into a pipe.
fn explained(terminal: bool, more: &str, no_color: bool) -> String {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("shop.toml");
    std::fs::write(&policy, "version = 1\nname = \"shop\"\n[[allow]]\nname = \"web\"\nhosts = [\"a.example\"]\nports = [\"443\"]\n")
        .unwrap();
    let line = format!("{} policy explain {} github.com:22 {more}", integration::product::binary().display(), policy.display());
    let mut command = if terminal { Command::new("script") } else { Command::new("sh") };
    if terminal {
        command.args(["-q", "-e", "-c", &line, "/dev/null"]);
    } else {
        command.args(["-c", &line]);
    }
    command.env("TERM", "xterm").env_remove("NO_COLOR").stdin(Stdio::null());
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let output = command.output().expect("script of util-linux is there");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_verdict_is_coloured_on_a_terminal_alone() {
    let seen = explained(true, "", false);
    assert!(seen.starts_with(&format!("{RED}: github.com:22/tcp")), "{seen:?}");
    for (terminal, more, no_color) in [(true, "", true), (true, "--json", false), (false, "", false)] {
        let plain = explained(terminal, more, no_color);
        assert!(plain.contains("refused") && !plain.contains('\u{1b}'), "{terminal} {more} {no_color}: {plain:?}");
    }
}
