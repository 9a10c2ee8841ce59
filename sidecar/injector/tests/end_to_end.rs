//! The binary from the CA that it prints to the answers that it gives: over TLS, through renewals, each answer the pure function's.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "serve/client.rs"]
mod client;
#[allow(dead_code, reason = "here the pods and the reviews around them")]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/mounted.rs"]
mod mounted;
#[path = "support/serving.rs"]
mod serving;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Client, Http};
use injector::answering::ENFORCED;
use injector::platform::Platform;
use injector::review::{Reviewed, Reviewer, review};
use injector::settings::Settings;
use policies::Date;
use serde_json::{Value, json};
use serving::{NOBODY, Serving};

const SETTINGS: &str = "opt-out = true\nport = 6053\nexcluded-namespaces = [\"infra\"]\n[namespace.lab]\nunsafe-pods = \"warn\"\n";
const PLATFORM: &str = "version = 1\nname = \"platform\"\nplatform = true\n[[limit]]\nhosts = [\"*.pagerduty.com\"]\nports = [\"443\"]\n";
const ALERTS: &str =
    "version = 1\nname = \"alerts\"\n[[allow]]\nname = \"pagerduty\"\nhosts = [\"events.pagerduty.com\"]\nports = [\"443\"]\n";
const BROKEN: &str = "version = 1\nname = \"alerts\"\nmode = \"enforced\"\n\n[[allow]]\nname = \"pagerduty\"\nhosts = [\"https://events.pagerduty.com/v2\"]\nport = [\"443\"]\n";

/// Mounts the Secret that `ca` prints, as the Deployment has it: read by the group alone. Returns the certificate, which is all that a
/// client of it knows.
fn mounted_ca(dir: &Path) -> String {
    let printed = Command::new(env!("CARGO_BIN_EXE_portreeve-injector")).arg("ca").output().unwrap();
    let secret: Value = serde_saphyr::from_str(std::str::from_utf8(&printed.stdout).unwrap()).unwrap();
    let data = secret["data"].as_object().unwrap().iter();
    let files: Vec<(String, String)> =
        data.map(|(key, value)| (key.clone(), String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap())).collect();
    mount(dir, &files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>());
    files.into_iter().find(|(name, _)| name == "tls.crt").unwrap().1
}

fn mount(dir: &Path, files: &[(&str, &str)]) {
    mounted::swap(dir, &files.iter().map(|(name, text)| (*name, Some(*text))).collect::<Vec<_>>());
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, _) in files {
        let file = dir.join(name);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&file, None, Some(NOBODY)).unwrap();
        }
    }
}

/// A path of the webhook, and a review for it.
type Question = (&'static str, Value);

/// Every pod, in the namespace that its file names, and policies that are right, wrong, and of another ConfigMap.
fn questions() -> Vec<Question> {
    let mut all: Vec<Question> = Vec::new();
    for case in cluster::cases() {
        let path = if case.reviewer.enforced.is_some() { "/pods-under-pod-security" } else { "/pods" };
        all.push((path, cluster::request("pods", "", "CREATE", &case.namespace, &case.pod, &Value::Null)));
        all.push(("/pods", cluster::request("pods", "", "CREATE", "lab", &case.pod, &Value::Null)));
    }
    let outside = ALERTS.replace("\"443\"", "\"443\", \"22\"");
    for (name, text) in [("portreeve-alerts", ALERTS), ("portreeve-alerts", BROKEN), ("portreeve-alerts", &outside), ("other", BROKEN)] {
        all.push(("/configmaps", policy(name, text)));
    }
    all
}

fn policy(name: &str, text: &str) -> Value {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"alerts.toml": text}});
    cluster::request("configmaps", "", "CREATE", "shop", &map, &Value::Null)
}

fn today() -> Date {
    Date::from_unix_seconds(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
}

/// What the pure function says to it.
fn purely(reviewer: &Reviewer, path: &str, body: &[u8]) -> Reviewed {
    let enforced = (path == "/pods-under-pod-security").then(|| ENFORCED.into());
    review(&Reviewer { today: today(), enforced, ..reviewer.clone() }, body)
}

/// How often which verdict was given for which reason.
type Tally = BTreeMap<(&'static str, &'static str), usize>;

#[tokio::test]
async fn five_thousand_reviews_over_tls_are_answered_as_the_pure_function_does() {
    let (ca_dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = Arc::new(mounted_ca(ca_dir.path()));
    mount(files.path(), &[("settings.toml", SETTINGS), ("platform.toml", PLATFORM)]);
    let (settings, platform) = (files.path().join("settings.toml"), files.path().join("platform.toml"));
    let args = ["--settings", settings.to_str().unwrap(), "--platform-policy", platform.to_str().unwrap(), "--drain-pause", "0s"];
    let mut server = Serving::start(ca_dir.path(), &[&args[..], &["--certificate-lifetime", "3s"]].concat());
    let reviewer = Reviewer {
        settings: Arc::new(Settings::parse(SETTINGS).unwrap()),
        platform: Arc::new(Platform::parse(PLATFORM).unwrap()),
        today: today(),
        enforced: None,
    };
    let (asked, questions) = (Arc::new(AtomicUsize::new(0)), Arc::new(questions()));
    // Of three seconds, renewed after two: two renewals take somewhat more than four.
    let (begun, least) = (Instant::now(), Duration::from_secs(6));
    let clients = [Http::One, Http::Two, Http::Two, Http::One].map(|http| {
        let (asked, questions, ca, reviewer, address) = (asked.clone(), questions.clone(), ca.clone(), reviewer.clone(), server.https);
        tokio::spawn(async move {
            let (mut shown, mut tally) = (BTreeSet::new(), Tally::new());
            while asked.load(Ordering::Relaxed) < 5_000 || begun.elapsed() < least {
                // New connections all the time: each handshake may meet a renewal.
                let (mut client, certificate) = Client::connect(address, &[&ca], http).await.expect("a connection");
                shown.insert(certificate.to_vec());
                for _ in 0..25 {
                    let number = asked.fetch_add(1, Ordering::Relaxed);
                    let (path, mut question) = questions[number % questions.len()].clone();
                    question["request"]["uid"] = number.to_string().into();
                    let body = question.to_string().into_bytes();
                    let before = purely(&reviewer, path, &body);
                    let (status, said) = client.ask(path, body.clone()).await.expect("an answer");
                    // The day may have changed in between.
                    let wanted = if before.body == said { before } else { purely(&reviewer, path, &body) };
                    let told = (status.as_u16(), String::from_utf8_lossy(&said));
                    assert_eq!(told, (200, String::from_utf8_lossy(&wanted.body)), "{path}");
                    *tally.entry((wanted.verdict.as_str(), wanted.reason)).or_default() += 1;
                }
            }
            (shown, tally)
        })
    });
    let (mut shown, mut tally) = (BTreeSet::new(), Tally::new());
    for client in clients {
        let (certificates, own) = client.await.unwrap();
        shown.extend(certificates);
        own.into_iter().for_each(|(key, count)| *tally.entry(key).or_default() += count);
    }
    assert!(asked.load(Ordering::Relaxed) >= 5_000);
    assert!(shown.len() >= 3, "{} certificates in {:?}: two renewals at least", shown.len(), begun.elapsed());
    for mixed in ["patched", "admitted", "refused"] {
        assert!(tally.keys().any(|(verdict, _)| *verdict == mixed), "{mixed} is one of {tally:?}");
    }
    // The server counted just these, and refused nothing unread.
    let (_, metrics) = server.get("/metrics");
    let mut counted = Tally::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("portreeve_injector_reviews_total{")) {
        let (labels, count) = line.split_once("} ").unwrap();
        let (verdict, reason) = *tally
            .keys()
            .find(|(verdict, reason)| {
                labels.contains(&format!("verdict=\"{verdict}\"")) && labels.contains(&format!("reason=\"{reason}\""))
            })
            .unwrap_or_else(|| panic!("nobody was told {line}"));
        *counted.entry((verdict, reason)).or_default() += count.parse::<usize>().unwrap();
    }
    assert_eq!(counted, tally);
    for line in metrics.lines().filter(|line| line.starts_with("portreeve_injector_requests_refused_total{")) {
        assert!(line.ends_with(" 0"), "{line}");
    }
    // Who trusts another CA does not speak with it.
    let other = injector::ca::make(SystemTime::now()).unwrap().certificate;
    assert!(Client::connect(server.https, &[&other], Http::Two).await.is_err());

    let (mut client, _) = Client::connect(server.https, &[&ca], Http::Two).await.unwrap();
    let (_, said) = client.ask("/configmaps", policy("portreeve-alerts", BROKEN).to_string().into_bytes()).await.unwrap();
    let status = serde_json::from_slice::<Value>(&said).unwrap()["response"]["status"].take();
    assert_eq!((&status["code"], &status["reason"]), (&json!(422), &json!("Invalid")));
    insta::assert_snapshot!("what_a_person_sees_of_a_broken_policy", status["message"].as_str().unwrap());
    server.stop();
    assert_eq!(server.ended(), Some(0));
}

#[tokio::test]
async fn the_settings_and_the_platform_policy_of_each_pod_reach_its_answer() {
    let ca_dir = tempfile::tempdir().unwrap();
    let ca = mounted_ca(ca_dir.path());
    let mut own = 0;
    for case in cluster::cases() {
        if *case.reviewer.settings == Settings::default() && case.reviewer.platform.text().is_empty() {
            continue;
        }
        own += 1;
        let files = tempfile::tempdir().unwrap();
        let settings = toml::to_string(&*case.reviewer.settings).unwrap();
        mount(files.path(), &[("settings.toml", &settings), ("platform.toml", case.reviewer.platform.text())]);
        let (settings, platform) = (files.path().join("settings.toml"), files.path().join("platform.toml"));
        let args = ["--settings", settings.to_str().unwrap(), "--platform-policy", platform.to_str().unwrap()];
        let server = Serving::start(ca_dir.path(), &args);
        let body = cluster::request("pods", "", "CREATE", &case.namespace, &case.pod, &Value::Null).to_string().into_bytes();
        let (mut client, _) = Client::connect(server.https, &[&ca], Http::Two).await.unwrap();
        let (_, said) = client.ask("/pods", body.clone()).await.unwrap();
        let wanted = purely(&case.reviewer, "/pods", &body).body;
        assert_eq!(String::from_utf8_lossy(&said), String::from_utf8_lossy(&wanted), "{}", case.name);
    }
    assert!(own >= 5, "only {own} pods have settings of their own");
}

#[tokio::test]
async fn what_a_review_takes_in_memory_has_a_bound() {
    let ca_dir = tempfile::tempdir().unwrap();
    let ca = mounted_ca(ca_dir.path());
    let (mut read, mut unread) = (0, 0);
    for (what, body) in memory::hostile_reviews() {
        // A server of its own for each: what one review leaves behind would hide what the next one takes.
        let server = Serving::start(ca_dir.path(), &[]);
        let (mut client, _) = Client::connect(server.https, &[&ca], Http::Two).await.unwrap();
        let small = cluster::request("pods", "", "CREATE", "shop", &json!({"spec": {"containers": [{"name": "a"}]}}), &Value::Null);
        assert_eq!(client.ask("/pods", small.to_string().into_bytes()).await.unwrap().0, 200);
        let before = server.peak();
        let (status, said) = client.ask("/pods", body).await.unwrap();
        assert_eq!(status, 200, "{what}: whoever made it is told");
        if String::from_utf8_lossy(&said).contains("too many values to be read") {
            unread += 1
        } else {
            read += 1
        }
        // KiB. The server takes 8 MiB at rest, and is to stay below 20; texts of 3 MiB, which no stored pod can have, may take more.
        let most = if what.contains("text") && what.contains("MiB") { 20_000 } else { 12_000 };
        let taken = server.peak() - before;
        assert!(taken < most, "{what}: {taken} KiB, of {most}");
    }
    assert!(read >= 5 && unread >= 3, "{read} of them were read, {unread} were refused by their weight");
}
