use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::cli::RunningArgs;
use crate::status::Conditions;

/// A sidecar that answers with what `answer` says, and hands on what it was asked.
fn sidecar(dir: &std::path::Path, answer: fn(&str) -> String) -> (PathBuf, Receiver<String>) {
    let path = dir.join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (asked, questions) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = String::new();
            BufReader::new(&stream).read_line(&mut question).unwrap();
            writeln!(stream, "{}", answer(question.trim())).unwrap();
            if asked.send(question.trim().to_owned()).is_err() {
                return;
            }
        }
    });
    (path, questions)
}

const OLD_STATUS: &str = r#"{"pid":1,"version":"0.0.1","ready":true,"mode":"enforce","generation":"0","policies":[],"rules":0,"leases":0,
    "upstreams":[],"loads":1,"table-restored":0,"raw-guard":true,"queries":{"received":0,"refused":0,"servfail":0,"dropped":0,"withheld":0}}"#;
const UNKNOWN: &str = r#"{"error":"the questions are: status, leases, explain TARGET"}"#;

fn args(dir: &std::path::Path, control: PathBuf) -> DoctorArgs {
    let (hosts, resolv_conf) = (dir.join("hosts"), dir.join("resolv.conf"));
    std::fs::write(&hosts, "198.51.100.50 db.example.org\n198.51.100.51 db2.example.org\n2001:db8::1 db3.example.org\n").unwrap();
    std::fs::write(&resolv_conf, "nameserver 10.96.0.10\n").unwrap();
    DoctorArgs { hosts, resolv_conf, running: RunningArgs { json: false, control } }
}

#[test]
fn an_older_sidecar_is_said_to_be_one_and_nothing_else_is_blamed() {
    let dir = tempfile::tempdir().unwrap();
    let answer = |question: &str| if question == "status" { OLD_STATUS.replace('\n', "") } else { UNKNOWN.to_owned() };
    let (control, _questions) = sidecar(dir.path(), answer);
    let findings = look(&args(dir.path(), control));
    let of = |about: &str| findings.iter().find(|finding| finding.about == about).unwrap();
    for about in ["version", "hosts", "ruleset"] {
        assert_eq!((of(about).weight, of(about).anchor), (Weight::Warning, "#version"), "{:#?}", of(about));
    }
    assert!(of("version").says.starts_with("version 0.0.1 does not tell"), "{}", of("version").says);
}

#[test]
fn the_sidecar_is_asked_once_for_all_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let answer = |question: &str| match question.split(' ').next() {
        Some("permits") => r#"{"permitted":[false,true,false]}"#.to_owned(),
        _ => UNKNOWN.to_owned(),
    };
    let (control, questions) = sidecar(dir.path(), answer);
    let args = args(dir.path(), control.clone());
    let findings = files::hosts(&args.hosts, &control);
    let says: Vec<&str> = findings.iter().filter_map(|finding| finding.says.split(' ').next()).collect();
    assert_eq!(says, ["db.example.org", "db3.example.org"], "{findings:#?}");
    assert_eq!(questions.iter().take(1).collect::<Vec<_>>(), ["permits 198.51.100.50 198.51.100.51 2001:db8::1"]);
    assert!(questions.try_recv().is_err(), "asked more than once");
}

fn weight(finding: &Finding) -> (Weight, &str) {
    (finding.weight, finding.anchor)
}

fn conditions() -> Conditions {
    Conditions { flow_log: "stdout".to_owned(), flows_heard: true, table_owned: true, conntrack_timeout: true, ..Conditions::default() }
}

#[test]
fn the_kernels_list_says_whether_both_groups_are_read() {
    let log = nft::Log::default();
    let listed = |groups: &[u16]| groups.iter().map(|group| format!("{group:5} 4026 0 2 128 100 1\n")).collect::<String>();
    let told = |groups: &[u16]| kernel::told(&conditions(), log, Some(&listed(groups)));
    assert_eq!(told(&[log.refused, log.began]).weight, Weight::Ok);
    assert_eq!(weight(&told(&[log.refused])), (Weight::Problem, "#flow-log"));
    assert_eq!(weight(&told(&[])), (Weight::Problem, "#flow-log"));
    assert_eq!(kernel::told(&conditions(), log, None).weight, Weight::Warning);
    let off = Conditions { flow_log: "off".to_owned(), flows_heard: false, ..conditions() };
    assert_eq!(weight(&kernel::told(&off, log, Some(""))), (Weight::Warning, "#flow-log"));
    let deaf = Conditions { flows_heard: false, ..conditions() };
    assert_eq!(weight(&kernel::told(&deaf, log, Some(&listed(&[log.refused, log.began])))), (Weight::Problem, "#flow-log"));
}

#[test]
fn what_the_kernel_lacks_is_said() {
    assert_eq!(kernel::features(&conditions(), Some("6.18.0\n")).says, "Linux 6.18.0: the table is owned, entries of questions end early");
    let shared = Conditions { table_owned: false, ..conditions() };
    assert_eq!(weight(&kernel::features(&shared, Some("6.1.0"))), (Weight::Warning, "#ownership"));
    let long = Conditions { conntrack_timeout: false, ..conditions() };
    assert_eq!(weight(&kernel::features(&long, Some("6.12.0"))), (Weight::Warning, "#conntrack-timeout"));
    assert_eq!(kernel::accounting(Some("1\n")).weight, Weight::Ok);
    assert_eq!(weight(&kernel::accounting(Some("0\n"))), (Weight::Warning, "#accounting"));
    assert_eq!(weight(&kernel::accounting(None)), (Weight::Warning, "#accounting"));
}

#[test]
fn a_clock_that_was_set_is_said_with_its_way() {
    let by = |clock_stepped_seconds| kernel::stepped(&Conditions { clock_stepped_seconds, ..conditions() });
    assert_eq!((by(0), by(5), by(-5)), (None, None, None));
    assert!(by(3600).unwrap().says.starts_with("the clock was set forward by 3600 s"));
    assert!(by(-60).unwrap().says.starts_with("the clock was set back by 60 s"));
}

#[test]
fn a_metrics_port_is_asked_and_not_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        for says in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n\r\n"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(says.as_bytes()).unwrap();
        }
    });
    let everywhere = format!("0.0.0.0:{}", address.port()).parse().unwrap();
    assert_eq!(sidecar::metrics(everywhere).says, format!("{address} answers"));
    assert_eq!(weight(&sidecar::metrics(address)), (Weight::Problem, "#metrics-port"));
    served.join().unwrap();
    assert!(sidecar::metrics(address).says.contains("does not answer"));
}

#[test]
fn what_the_policy_warns_of_is_a_finding_and_so_is_another_version() {
    let mut status: Status = serde_json::from_str(OLD_STATUS).unwrap();
    let warnings = vec!["alerts.toml:5: rule `pager` expires in 3 days".to_owned()];
    status.conditions = Some(Conditions { warnings, ..conditions() });
    let findings = sidecar::of_conditions(&status);
    assert_eq!(findings.iter().map(weight).collect::<Vec<_>>(), [(Weight::Warning, "#version"), (Weight::Warning, "#policy-warnings")]);
    assert!(findings[1].says.ends_with("expires in 3 days"));
    status.version = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(sidecar::of_conditions(&status)[0].weight, Weight::Ok);
}

#[test]
fn findings_for_people_and_as_json() {
    let findings = [
        View::Sidecar.fine("sidecar", "ready"),
        View::File.warning("hosts", "db is \u{1b}[0m", "open it", "#hosts-file"),
        View::Both.problem("ruleset", "torn", "look", "#drift"),
    ];
    insta::assert_snapshot!(output::plain(&render(&findings)), @r"
    ok       sidecar: ready
    warning  hosts: db is �[0m
             hint: open it (sidecar/README.md#hosts-file)
    PROBLEM  ruleset: torn
             hint: look (sidecar/README.md#drift)
    (sidecar, policy, resolver, flow log, metrics: by the sidecar; kernel, clock, rights: by the kernel; ruleset: both; files: as they are)
    ");
    insta::assert_snapshot!(serde_json::to_string(&findings[2]).unwrap(), @r##"{"weight":"problem","about":"ruleset","view":"both","says":"torn","hint":"look","anchor":"#drift"}"##);
}
