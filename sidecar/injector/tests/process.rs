//! The programs as processes: what `ca` prints, how `serve` begins and ends, and with which exit codes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn ca(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portreeve-injector")).arg("ca").args(args).output().unwrap()
}

/// The text under a key of the Secret.
fn field(manifest: &str, key: &str) -> String {
    let value =
        manifest.lines().find_map(|line| line.strip_prefix(&format!("  {key}: "))).unwrap_or_else(|| panic!("no {key} in {manifest}"));
    String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
}

#[test]
fn ca_prints_a_secret_with_a_new_ca_of_ten_years() {
    let said = ca(&[]);
    assert!(said.status.success());
    let manifest = String::from_utf8(said.stdout).unwrap();
    let head = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: portreeve-ca\n  namespace: portreeve-system\n";
    assert!(manifest.starts_with(head), "{manifest}");
    assert!(manifest.contains("\ntype: kubernetes.io/tls\ndata:\n"));
    assert!(field(&manifest, "tls.key").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    fs::write(&file, field(&manifest, "tls.crt")).unwrap();
    let read =
        Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&file).output().expect("openssl runs (Debian: openssl)");
    let text = String::from_utf8(read.stdout).unwrap();
    for wanted in
        ["CA:TRUE, pathlen:1", "Certificate Sign", "NIST CURVE: P-256", "CN = portreeve-injector CA ", "CN=portreeve-injector CA "]
    {
        // Two releases of openssl write a name in two ways.
        assert!(text.contains(wanted) || wanted.starts_with("CN") && text.contains("portreeve-injector CA "), "{wanted}: {text}");
    }
    let nine_years = (9 * 365 * 86_400).to_string();
    let lasts = Command::new("openssl").args(["x509", "-noout", "-checkend", &nine_years, "-in"]).arg(&file).output().unwrap();
    assert!(lasts.status.success());

    let next = String::from_utf8(ca(&["--next", "--namespace", "elsewhere"]).stdout).unwrap();
    assert!(next.contains("\n  namespace: elsewhere\n") && !next.contains("tls."), "{next}");
    assert_ne!(field(&next, "next.key"), field(&manifest, "tls.key"));
    assert!(field(&next, "next.crt").starts_with("-----BEGIN CERTIFICATE-----\n"));
    let refused = ca(&["--namespace", "a: b"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0));
}

/// The example `echo`, which stands beside the tests' directory.
fn server(args: &[&str], dir: &Path) -> Command {
    let examples = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples");
    let echo = examples.join("echo");
    assert!(echo.exists(), "{} is missing: cargo build -p injector --examples", echo.display());
    let mut command = Command::new(echo);
    command.args(["--listen", "127.0.0.1", "--port", "0", "--metrics-port", "0", "--ca"]).arg(dir).args(args).stderr(Stdio::piped());
    command
}

/// The port that a line of the log names.
fn port(line: &str, name: &str) -> u16 {
    let at = line.split_once(&format!("\"{name}\":\"127.0.0.1:")).unwrap_or_else(|| panic!("no {name} in {line}")).1;
    at.split('"').next().unwrap().parse().unwrap()
}

fn ended(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status.code(),
            None if start.elapsed() > Duration::from_secs(10) => {
                child.kill().unwrap();
                panic!("it does not end");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[test]
fn any_user_can_run_it_and_sigterm_ends_it_in_order() {
    let manifest = String::from_utf8(ca(&[]).stdout).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for file in ["tls.crt", "tls.key"] {
        fs::write(dir.path().join(file), field(&manifest, file)).unwrap();
        fs::set_permissions(dir.path().join(file), fs::Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = server(&["--drain-pause", "1s"], dir.path());
    // The tests run as root in CI; a user of the machine has rights enough anyway.
    if nix::unistd::geteuid().is_root() {
        command.uid(65_532).gid(65_532);
    }
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let (https, ops) = (port(&line, "https"), port(&line, "ops"));
    let ready = || {
        let mut stream = TcpStream::connect(("127.0.0.1", ops)).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said.starts_with("HTTP/1.1 200 ")
    };
    assert!(ready());
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(!ready());
    assert!(TcpStream::connect(("127.0.0.1", https)).is_ok(), "open in the pause");
    assert_eq!(ended(&mut child), Some(0));
}

#[test]
fn it_takes_one_source_of_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut child = server(args, dir.path()).spawn().unwrap();
        let code = ended(&mut child);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    };
    let (code, said) = run(&["--tls-cert", "a", "--tls-key", "b"]);
    assert!(code == Some(2) && said.contains("cannot be used with"), "{said}");
    let (code, said) = run(&["--certificate-lifetime", "1s"]);
    assert!(code == Some(2) && said.contains("2s at least"), "{said}");
    let (code, said) = run(&[]);
    assert!(code == Some(1) && said.contains("portreeve-injector ca"), "{said}");
}
