//! The programs as processes: what `ca` prints, how `serve` begins and ends, and with which exit codes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "support/serving.rs"]
mod serving;

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serving::Serving;

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
    let head = "\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: portreeve-ca\n  namespace: portreeve-system\n";
    assert!(manifest.contains(head), "{manifest}");
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

#[test]
fn any_user_can_run_it_and_sigterm_ends_it_in_order() {
    let manifest = String::from_utf8(ca(&[]).stdout).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for file in ["tls.crt", "tls.key"] {
        fs::write(dir.path().join(file), field(&manifest, file)).unwrap();
        fs::set_permissions(dir.path().join(file), fs::Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = Serving::start(dir.path(), &["--drain-pause", "1s"]);
    let ready = |server: &Serving| server.get("/readyz").0 == 200;
    assert!(ready(&server));
    server.stop();
    std::thread::sleep(Duration::from_millis(200));
    assert!(!ready(&server));
    assert!(TcpStream::connect(server.https).is_ok(), "open in the pause");
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn it_takes_one_source_of_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut child = serving::command(dir.path(), args).spawn().unwrap();
        let code = serving::ended(&mut child);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    };
    let (code, said) = run(&["--tls-cert", "a", "--tls-key", "b"]);
    assert!(code == Some(2) && said.contains("cannot be used with"), "{said}");
    let (code, said) = run(&["--certificate-lifetime", "1s"]);
    assert!(code == Some(2) && said.contains("2s at least"), "{said}");
    let (code, said) = run(&[]);
    assert!(code == Some(2) && said.contains("portreeve-injector ca"), "{said}");
}
