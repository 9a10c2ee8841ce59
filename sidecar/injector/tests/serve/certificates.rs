//! Certificates: a change of CAs for clients that trust one, the other or both; what is broken is kept out; a mounted pair.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use injector::certificates::Source;
use injector::serve::{Options, Server};

use crate::client::{Client, Http, NAME};
use crate::echo::{question, reviewers};
use crate::world::{World, new_ca, swap, write_ca};

const SHOWN: &str = "portreeve_injector_certificates_total";
const FAILING: &str = "portreeve_injector_reload_failing{what=\"certificates\"}";
const FAILED: &str = "portreeve_injector_reloads_failed_total{what=\"certificates\"}";

/// Whether a client that trusts these CAs gets an answer.
async fn served(address: SocketAddr, cas: &[&str]) -> bool {
    match Client::connect(address, cas, Http::Two).await {
        Ok((mut client, _)) => client.ask("/pods", question("1")).await.unwrap().0 == 200,
        Err(error) => {
            assert!(error.to_string().contains("certificate"), "{error}");
            false
        }
    }
}

#[tokio::test]
async fn through_a_change_of_cas_no_bundle_is_too_old_or_too_new() {
    let (world, old) = World::start(|_, _| {});
    let new = new_ca();
    let (o, n) = (old.certificate.as_str(), new.certificate.as_str());
    let seen = async || [served(world.https, &[o]).await, served(world.https, &[o, n]).await, served(world.https, &[n]).await];
    assert_eq!(seen().await, [true, true, false]);

    write_ca(world.dir.path(), "next", &new);
    world.until(SHOWN, 2.0).await;
    assert_eq!(seen().await, [true, true, true]);
    let ends = |ca: &str| format!("portreeve_injector_ca_expires_timestamp_seconds{{ca=\"{ca}\"}}");
    let ten_years = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64() + 10.0 * 365.25 * 86_400.0;
    for ca in ["tls", "next"] {
        let ends = world.metric(&ends(ca)).await;
        assert!((ends - ten_years).abs() < 86_400.0, "{ca}: {ends}");
    }

    // The move of the README, in one swap.
    let files = [("tls.crt", Some(n)), ("tls.key", Some(new.key.as_str())), ("next.crt", None), ("next.key", None)];
    swap(world.dir.path(), &files);
    world.until(SHOWN, 3.0).await;
    assert_eq!(seen().await, [false, true, true]);
    assert!(!world.get("/metrics").await.1.contains(&ends("next")));
}

#[tokio::test]
async fn the_same_ca_in_both_places_serves_as_one() {
    let (world, ca) = World::start(|_, _| {});
    write_ca(world.dir.path(), "next", &ca);
    world.until(SHOWN, 2.0).await;
    assert!(served(world.https, &[&ca.certificate]).await);
}

#[tokio::test]
async fn a_broken_ca_changes_nothing_and_renewal_goes_on() {
    let (world, ca) = World::start(|_, options| {
        if let Source::Ca { lifetime, .. } = &mut options.source {
            *lifetime = Duration::from_secs(3);
        }
    });
    let other = new_ca();
    let serving = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let (serving, key) = (serving.cert.pem(), serving.signing_key.serialize_pem());
    let broken: [&[(&str, Option<&str>)]; 5] = [
        &[("tls.crt", Some(&other.certificate))],
        &[("tls.crt", Some("no PEM at all"))],
        &[("tls.crt", Some(&serving)), ("tls.key", Some(&key))],
        &[("tls.crt", Some(&ca.certificate)), ("tls.key", Some(&ca.key)), ("next.crt", Some(&other.certificate))],
        &[("next.key", Some("no key"))],
    ];
    for (count, files) in broken.iter().enumerate() {
        swap(world.dir.path(), files);
        world.until(FAILED, count as f64 + 1.0).await;
        assert_eq!(world.metric(FAILING).await, 1.0);
        assert!(served(world.https, &[&ca.certificate]).await);
    }
    let shown = world.metric(SHOWN).await;
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert!(world.metric(SHOWN).await > shown, "renewed from the CA in memory");
    assert!(served(world.https, &[&ca.certificate]).await);
    assert_eq!(world.metric(FAILED).await, broken.len() as f64, "told once each");
    swap(world.dir.path(), &[("next.key", Some(&other.key))]);
    world.until(FAILING, 0.0).await;
    assert!(served(world.https, &[&other.certificate]).await);
}

#[tokio::test]
async fn a_day_long_certificate_is_not_renewed_at_each_look() {
    let (world, _) = World::start(|_, _| {});
    tokio::time::sleep(crate::world::LOOK * 10).await;
    assert_eq!(world.metric(SHOWN).await, 1.0);
    let left = world.metric("portreeve_injector_certificate_expires_timestamp_seconds").await
        - SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((86_300.0..=86_400.0).contains(&left), "{left}");
}

#[tokio::test]
async fn a_mounted_pair_is_read_again_and_half_a_one_is_not() {
    let made = || {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let (first, second) = (made(), made());
    let (world, _) = World::start(|dir, options| {
        swap(dir, &[("pair.crt", Some(&first.0)), ("pair.key", Some(&first.1))]);
        options.source = Source::Pair { certificate: dir.join("pair.crt"), key: dir.join("pair.key") };
    });
    assert!(served(world.https, &[&first.0]).await);
    assert!(!served(world.https, &[&second.0]).await);
    swap(world.dir.path(), &[("pair.crt", Some(&second.0))]);
    world.until(FAILED, 1.0).await;
    assert!(served(world.https, &[&first.0]).await);
    swap(world.dir.path(), &[("pair.key", Some(&second.1))]);
    world.until(SHOWN, 2.0).await;
    assert!(served(world.https, &[&second.0]).await);
    assert_eq!(world.metric(FAILING).await, 0.0);
}

#[tokio::test]
async fn without_a_ca_it_does_not_start_and_says_how_to_get_one() {
    let dir = tempfile::tempdir().unwrap();
    let local = (Some("127.0.0.1".parse().unwrap()), 0);
    let source = Source::Ca { dir: dir.path().to_owned(), names: vec![NAME.to_owned()], lifetime: Duration::from_secs(60) };
    let (look, none) = (Duration::from_secs(5), Duration::ZERO);
    let options =
        Options { https: local, ops: local, settings: None, platform: None, source, look, drain_pause: none, drain_timeout: none };
    let error = Server::build(options, reviewers()).err().expect("no server");
    assert!(error.to_string().contains("`portreeve-injector ca | kubectl create -f -`"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.ends_with("tls.crt is missing"), "{cause}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
