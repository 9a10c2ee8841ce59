//! A permitted name that answers with an address it has no business with opens nothing (DNS rebinding).

use super::*;

/// One name each, so that none lives on what another opened.
fn answer_with(scene: &Scene, zone: &str, number: usize, addresses: &[&str]) -> (String, [Dig; 2]) {
    let name = format!("n{number}.{zone}");
    let (v4, v6): (Vec<&str>, Vec<&str>) = addresses.iter().partition(|address| !address.contains(':'));
    if !v4.is_empty() {
        scene.authority.a(&name, &v4, 60);
    }
    if !v6.is_empty() {
        scene.authority.aaaa(&name, &v6, 60);
    }
    let answers = ["A", "AAAA"].map(|kind| dig(&scene.pod, &[&name, kind]));
    (name, answers)
}

fn told(answers: &[Dig; 2]) -> Vec<IpAddr> {
    answers.iter().flat_map(Dig::addresses).collect()
}

#[test]
fn a_permitted_name_that_answers_with_an_inner_address_opens_nothing() {
    let scene = scene();
    let (pod, portreeve) = (&scene.pod, Setup::new(&scene.pod).policy("web.toml", POLICY).start());
    let inner = [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "169.254.169.254",
        "169.254.1.1",
        "10.1.2.3",
        "10.96.0.10",
        "172.16.0.1",
        "192.168.44.5",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fd00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::10.0.0.1",
        "2002:a00:1::1",
        "::ffff:0:10.0.0.1",
    ];
    let watcher = pod.watch();
    for (number, address) in inner.iter().enumerate() {
        let (name, answers) = answer_with(&scene, "rebind.example.com", number, &[address]);
        let asked_for = usize::from(address.contains(':'));
        let stripped = &answers[asked_for];
        assert_eq!((stripped.status.as_str(), stripped.answers.len()), ("NOERROR", 0), "{name} {address}: {}", stripped.raw);
        assert_eq!(stripped.ede.first().map(|(code, _)| *code), Some(17), "{name} {address}: {}", stripped.raw);
        if *address != "::" && *address != "0.0.0.0" {
            let _held = connect(pod, SocketAddr::new(address.parse().unwrap(), 443), SECOND / 4).err();
        }
    }
    expect_only_questions(&watcher);
    assert_eq!(portreeve.status()["leases"], 0, "{:#}", portreeve.status());
    // One among others, at the end of a chain too: the others open, it does not.
    let (_, mixed) = answer_with(&scene, "rebind.example.com", 100, &["203.0.113.20", "192.168.44.5", "fd00::5", "2001:db8:ffff::20"]);
    let outer: Vec<IpAddr> = vec!["203.0.113.20".parse().unwrap(), "2001:db8:ffff::20".parse().unwrap()];
    assert_eq!(told(&mixed), outer);
    scene.authority.cname("chain.rebind.example.com", "elsewhere.example.net", 60);
    scene.authority.a("elsewhere.example.net", &["192.168.44.5"], 60);
    let chain = dig(pod, &["chain.rebind.example.com"]);
    assert_eq!((chain.addresses().len(), chain.ede.first().map(|(code, _)| *code)), (0, Some(17)), "{}", chain.raw);
    expect(&scene, &[(Tcp, "203.0.113.20:443", true), (Tcp, "[2001:db8:ffff::20]:443", true), (Tcp, "192.168.44.5:443", false)]);
}

#[test]
fn a_rule_with_a_right_to_private_addresses_opens_them_and_no_others() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
    let open = ["192.168.44.5", "10.96.7.7", "2001:db8:ffff::21", "fd00::21"];
    let held = [
        "127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fd00:ec2::254",
        "fe80::1",
        "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe",
    ];
    for (number, address) in open.iter().enumerate() {
        let (name, answers) = answer_with(&scene, "inside.example.com", number, &[address]);
        assert_eq!(told(&answers), [address.parse::<IpAddr>().unwrap()], "{name}: {}{}", answers[0].raw, answers[1].raw);
    }
    for (number, address) in held.iter().enumerate() {
        let (name, answers) = answer_with(&scene, "inside.example.com", 100 + number, &[address]);
        assert!(told(&answers).is_empty(), "{name} {address}");
    }
    // It is counted once a second.
    portreeve.wait_status("leases", 5 * SECOND, |status| status["leases"] == open.len());
    let (pod, watcher) = (&scene.pod, scene.pod.watch());
    let _nobody_there = connect(pod, "[fd00::21]:443".parse().unwrap(), SECOND / 2);
    assert!(watcher.wait_for(SECOND, |packet| packet.is_syn() && packet.is_to("[fd00::21]:443".parse().unwrap())).is_some());
    expect(
        &scene,
        &[
            (Tcp, "192.168.44.5:443", true),
            (Tcp, "10.96.7.7:443", true),
            (Tcp, "192.168.44.5:80", false),
            (Tcp, "169.254.169.254:443", false),
        ],
    );
}
