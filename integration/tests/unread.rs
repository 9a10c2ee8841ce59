//! Promise: a log that nobody reads holds up nothing: names are answered and refused, flows pass, and what was not written is counted.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use integration::clients::{ask, connect};
use integration::product::binary;
use integration::world::RESOLVER;
use integration::{Setup, TcpTarget, World, wait_until};
use nix::sys::stat::Mode;
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const POLICY: &str = "version = 1\nname = \"shop\"\n[[allow]]\nname = \"web\"\nhosts = [\"*.example.com\"]\nports = [\"443\"]\n\
                      budget = { names = 100000, bytes = \"16MiB\" }\n";

/// A pipe that is open and not read.
fn unread(path: &Path) -> File {
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o666)).unwrap();
    let pipe = OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(path).unwrap();
    // The smallest there is: a few lines fill it.
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    pipe
}

#[test]
fn stdout_and_stderr_that_nobody_reads_hold_up_no_answer_and_what_was_not_written_is_told() {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 60);
    let _web = TcpTarget::on(world.outside(), "198.51.100.7:443", "");
    let pod = world.pod("app");
    let [out, err] = ["out", "err"].map(|name| pod.files().join(name));
    let (flows, _log) = (unread(&out), unread(&err));
    let script = pod.files().join("unread");
    fs::write(
        &script,
        format!("#!/bin/sh\n[ \"$1\" = run ] && exec >{} 2>{}\nexec {} \"$@\"\n", out.display(), err.display(), binary().display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let portreeve = Setup::new(&pod).policy("shop.toml", POLICY).program(&script).option("--log", "debug").start();
    let (resolver, web) = (SocketAddr::from((RESOLVER, 53)), SocketAddr::from(([198, 51, 100, 7], 443)));
    let answer = |name: &str| ask(pod.namespace(), resolver, name, RecordType::A, 2 * SECOND);
    let mut slowest = Duration::ZERO;
    // Each name is another kind of question, so each is a line; debug makes it several of the log.
    for number in 0..6_000 {
        if number == 3_000 {
            // Two thousand kinds are gathered in a window: the next one brings more than what waits for the writer.
            std::thread::sleep(6 * SECOND);
        }
        let began = Instant::now();
        let refused = answer(&format!("n{number}.example.org")).unwrap_or_else(|| panic!("no answer to question {number}"));
        assert_eq!(refused.metadata.response_code, ResponseCode::NXDomain);
        slowest = slowest.max(began.elapsed());
        if number % 500 == 0 {
            assert_eq!(answer("api.example.com").expect("an answer").answers.len(), 1);
            drop(connect(&pod, web, 5 * SECOND).unwrap());
        }
    }
    println!("6,000 refused, the slowest answer after {slowest:?}");
    let ready = portreeve.ask(&["status", "--ready"]);
    assert!(ready.ok(), "{}{}", ready.stdout, ready.stderr);
    let knows = || portreeve.ask(&["dns", "--name", "*.example.org"]).stdout.contains("example.org").then_some(());
    assert!(wait_until(10 * SECOND, knows).is_some(), "the command line knows nothing");
    // Now somebody reads: what was written meanwhile, and that the rest was not.
    let (mut lines, mut text) = (BufReader::new(flows), String::new());
    let (end, mut questions, mut unwritten, mut left_out) = (Instant::now() + 20 * SECOND, 0, 0, 0);
    while Instant::now() < end && questions + unwritten + left_out < 6_000 {
        // A line of which only a part is there yet stays in `text`.
        if lines.read_line(&mut text).is_err() {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let line = std::mem::take(&mut text);
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        if line["lost.what"] == "records" {
            assert_eq!(line["lost.why"], "not-written", "{line}");
            unwritten += line["lost.count"].as_u64().unwrap();
        }
        // Kinds of questions beyond what is gathered at a time.
        left_out += if line["lost.what"] == "questions" { line["lost.count"].as_u64().unwrap() } else { 0 };
        questions += if line["dns.verdict"] == "refused" { line["dns.count"].as_u64().unwrap() } else { 0 };
    }
    println!("{questions} lines were kept for the reader, {unwritten} told as not written, {left_out} as too many at a time");
    // What was not written are lines of any kind: a few are of the permitted ones.
    assert!(
        questions > 0 && unwritten > 0 && (6_000..6_060).contains(&(questions + unwritten + left_out)),
        "{questions}, {unwritten}, {left_out}"
    );
}
