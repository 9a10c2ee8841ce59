//! Reviews: thousands through a renewal, by both HTTPs, by another client; what is refused unread; settings that change.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use injector::certificates::Source;
use serde_json::Value;

use crate::client::{Client, Http, NAME};
use crate::echo::question;
use crate::world::World;

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}

#[tokio::test]
async fn five_thousand_reviews_pass_while_certificates_are_renewed() {
    let (world, ca) = World::start(|_, options| {
        if let Source::Ca { lifetime, .. } = &mut options.source {
            *lifetime = Duration::from_secs(3);
        }
    });
    let (asked, ca) = (Arc::new(AtomicUsize::new(0)), Arc::new(ca.certificate));
    let until = tokio::time::Instant::now() + Duration::from_secs(5);
    let clients = [Http::One, Http::Two, Http::One, Http::Two, Http::Two].map(|http| {
        let (asked, ca, address) = (asked.clone(), ca.clone(), world.https);
        tokio::spawn(async move {
            let mut shown = BTreeSet::new();
            while asked.load(Ordering::Relaxed) < 5_000 || tokio::time::Instant::now() < until {
                // New connections all the time: each handshake may meet a renewal.
                let (mut client, certificate) = Client::connect(address, &[&ca], http).await.expect("a connection");
                shown.insert(certificate.to_vec());
                for _ in 0..20 {
                    let uid = asked.fetch_add(1, Ordering::Relaxed).to_string();
                    let (status, body) = client.ask("/pods", question(&uid)).await.expect("an answer");
                    let answer = json(&body);
                    assert_eq!(
                        (status.as_u16(), &answer["response"]["uid"], &answer["response"]["allowed"]),
                        (200, &uid.into(), &true.into())
                    );
                }
            }
            shown
        })
    });
    let mut shown = BTreeSet::new();
    for client in clients {
        shown.extend(client.await.unwrap());
    }
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked >= 5_000, "{asked}");
    // Three seconds long, renewed after two: at least two renewals in five seconds, and no more than a handful.
    assert!((3..=6).contains(&shown.len()), "{} certificates", shown.len());
    assert_eq!(world.metric("portreeve_injector_reviews_total{path=\"pods\",reason=\"\",verdict=\"admitted\"}").await, asked as f64);
    assert_eq!(world.metric("portreeve_injector_review_duration_seconds_count{path=\"pods\"}").await, asked as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_verifies_the_printed_ca_with_both_tls_versions() {
    let (world, ca) = World::start(|_, _| {});
    let file = world.dir.path().join("ca.crt");
    fs::write(&file, &ca.certificate).unwrap();
    let url = format!("https://{NAME}:{}/pods", world.https.port());
    let resolve = format!("{NAME}:{}:127.0.0.1", world.https.port());
    for version in ["1.2", "1.3"] {
        let said = Command::new("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", "--tls-max", version, &format!("--tlsv{version}")])
            .args(["--resolve", &resolve, "--header", "content-type: application/json; charset=utf-8", "--data-binary", "@-", "--cacert"])
            .arg(&file)
            .arg(&url)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .and_then(|mut curl| {
                std::io::Write::write_all(&mut curl.stdin.take().unwrap(), &question("by-curl"))?;
                curl.wait_with_output()
            })
            .expect("curl runs (Debian: apt-get install curl)");
        assert!(said.status.success(), "TLS {version}: {}", said.status);
        assert_eq!(json(&said.stdout)["response"]["uid"], "by-curl");
    }
}

#[tokio::test]
async fn what_is_no_review_is_refused_by_its_head() {
    let (world, ca) = World::start(|_, _| {});
    for http in [Http::One, Http::Two] {
        let cases = [
            ("POST", "/pods", "application/json", 200),
            ("POST", "/configmaps?timeout=5s", "Application/JSON", 200),
            ("POST", "/", "application/json", 404),
            ("POST", "/pods/", "application/json", 404),
            ("POST", "/metrics", "application/json", 404),
            ("GET", "/pods", "application/json", 405),
            ("PUT", "/pods", "application/json", 405),
            ("POST", "/pods", "text/plain", 415),
            ("POST", "/pods", "", 415),
        ];
        for (method, path, kind, status) in cases {
            let (mut client, _) = Client::connect(world.https, &[&ca.certificate], http).await.unwrap();
            let request =
                Request::builder().method(method).uri(format!("https://{NAME}{path}")).header("host", NAME).header("content-type", kind);
            let answer = client.send(request.body(Full::new(Bytes::from(question("1")))).unwrap()).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{method} {path} {kind}");
            assert_eq!(answer.headers().contains_key("allow"), status == 405, "{method} {path}");
        }
    }
    assert_eq!(world.metric("portreeve_injector_requests_refused_total{why=\"not-found\"}").await, 6.0);
    assert_eq!(world.get("/livez").await.0, 200);
    assert_eq!(world.get("/readyz").await.0, 200);
    assert_eq!(world.get("/pods").await.0, 404);
}

#[tokio::test]
async fn changed_settings_come_into_force_and_broken_ones_do_not() {
    let (world, ca) = World::start(|dir, options| {
        options.settings = Some(dir.join("settings.toml"));
        options.platform = Some(dir.join("platform.toml"));
        fs::write(dir.join("settings.toml"), "port = 6001").unwrap();
    });
    let (mut client, _) = Client::connect(world.https, &[&ca.certificate], Http::Two).await.unwrap();
    let mut by = async || {
        let response = json(&client.ask("/pods", question("1")).await.unwrap().1)["response"].take();
        (response["port"].as_u64(), response["platform"].as_str().map(str::to_owned))
    };
    let failing = "portreeve_injector_reload_failing{what=\"settings\"}";
    let failed = "portreeve_injector_reloads_failed_total{what=\"settings\"}";
    assert_eq!(by().await, (Some(6001), None));
    for (count, (file, broken)) in
        [("settings.toml", "prot = 6002"), ("platform.toml", "broken"), ("settings.toml", "port = \"a\"")].into_iter().enumerate()
    {
        let before = fs::read(world.dir.path().join(file)).ok();
        fs::write(world.dir.path().join(file), broken).unwrap();
        world.until(failing, 1.0).await;
        // Some looks later it is still counted and told once.
        tokio::time::sleep(crate::world::LOOK * 4).await;
        assert_eq!(world.metric(failed).await, count as f64 + 1.0);
        assert_eq!(by().await, (Some(6001), None));
        match before {
            Some(before) => fs::write(world.dir.path().join(file), before).unwrap(),
            None => fs::remove_file(world.dir.path().join(file)).unwrap(),
        }
        world.until(failing, 0.0).await;
    }
    fs::remove_file(world.dir.path().join("settings.toml")).unwrap();
    world.until(failing, 1.0).await;
    fs::write(world.dir.path().join("settings.toml"), "port = 6003").unwrap();
    fs::write(world.dir.path().join("platform.toml"), "of the platform").unwrap();
    world.until(failing, 0.0).await;
    tokio::time::sleep(crate::world::LOOK * 2).await;
    assert_eq!(by().await, (Some(6003), Some("of the platform".to_owned())));
}
