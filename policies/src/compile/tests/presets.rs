//! What presets open, and where.
use super::*;

#[test]
fn a_preset_without_its_place_opens_nothing_and_says_so() {
    let file = file("a", "use = [\"kubernetes-api\", \"node-agents\", \"istio\"]\n");
    let policy = compile_in(&[file], &Surroundings::on(today())).unwrap();
    assert!(policy.openings().is_empty());
    assert_eq!(policy.warnings().warnings(), 3);
}

#[test]
fn every_preset_opens_something_and_is_listed() {
    for preset in presets() {
        let policy = compile(&[file("a", &format!("use = [\"{}\"]\n", preset.name))]);
        let openings = policy.openings();
        assert!(!openings.is_empty() && !preset.opens.is_empty(), "{}", preset.name);
        assert!(
            openings.iter().all(|opening| opening.preset == Some(preset.preset) && opening.has_hosts | !opening.cidrs.is_empty()),
            "{}",
            preset.name
        );
        let mut keys = keys(&policy);
        keys.dedup();
        assert_eq!(keys.len(), openings.len());
    }
}

#[test]
fn presets_open_what_they_say() {
    let opened = |preset: &str| {
        let policy = compile(&[file("a", &format!("use = [\"{preset}\"]\n"))]);
        let line = |opening: &Opening| {
            format!("{} {} on {}", opening.key, opening.cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(","), opening.ports)
        };
        policy.openings().iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(opened("kubernetes-api"), ["a.use.kubernetes-api 10.96.0.1/32 on 443", "a.use.kubernetes-api-2  on 443"]);
    assert_eq!(opened("aws-pod-identity"), ["a.use.aws-pod-identity 169.254.170.23/32,fd00:ec2::23/128 on 80"]);
    assert_eq!(
        opened("gke-workload-identity"),
        ["a.use.gke-workload-identity 169.254.169.254/32 on 80, 8080", "a.use.gke-workload-identity-2 169.254.169.252/32 on 987-988"]
    );
    assert_eq!(opened("node-agents"), ["a.use.node-agents 192.0.2.10/32 on 4317-4318, 8126, 8125/udp"]);
    let policy = compile(&[file("a", "use = [\"kubernetes-api\"]\n")]);
    let api = SocketAddr::from(([10, 96, 0, 1], 443));
    assert!(policy.openings()[0].cidrs[0].contains(&api.ip()) && policy.openings()[0].ports.contains(Protocol::Tcp, api.port()));
    let policy = compile(&[file("a", "use = [\"gke-workload-identity\"]\n")]);
    assert_eq!(grant(&policy, "metadata.google.internal").permits_address(ip("169.254.169.254")), Ok(()));
}
