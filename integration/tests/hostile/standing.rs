//! What stands stays: the raw guard on new devices, the tables against others, the log and the resolver against floods.

use std::collections::BTreeMap;

use super::*;

#[test]
fn raw_frames_are_held_on_devices_that_come_later() {
    let scene = scene();
    let (pod, outside) = (&scene.pod, scene.world.outside());
    let _portreeve = scene.hold();
    let peer = "ip link add later type veth peer name laterpeer netns";
    let add = format!("{peer} {} && ip link set later up && sysctl -qw net.ipv6.conf.later.disable_ipv6=1", outside.tid());
    let _ = pod.command("sh").args(["-ec", &add]).output().expect_ok("a veth pair");
    let _ = scene
        .world
        .command("sh")
        .args(["-ec", "sysctl -qw net.ipv6.conf.laterpeer.disable_ipv6=1 && ip link set laterpeer up"])
        .output()
        .expect_ok("its peer");
    let _ = pod.command("ip").args(["link", "add", "mac0", "link", "eth0", "type", "macvlan"]).output().expect_ok("a macvlan");
    let _ = pod.command("ip").args(["link", "set", "mac0", "up"]).output().expect_ok("up");
    let heard = |what: &str| {
        let counters = outside.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        let line = counters.lines().find(|line| line.trim_start().starts_with("laterpeer:")).expect(what).to_owned();
        line.split_whitespace().nth(2).expect("packets").parse::<u64>().expect("a number")
    };
    let send = |device: &str| {
        let script = r#"
import socket, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
for kind in (0x0800, 0x0806, 0x88b5):
    try:
        out.sendto(bytes(12) + kind.to_bytes(2, "big") + b"portreeve-leak" * 5, (sys.argv[1], kind))
    except OSError as cause:
        print(cause)
"#;
        pod.command("/usr/bin/python3").args(["-I", "-c", script, device]).as_container_root().output()
    };
    // Within two seconds; a busy machine is given more, and it must be the guard that ends it.
    let guarded = || pod.command("nft").args(["list", "table", "netdev", "portreeve"]).output().stdout;
    let both = || (guarded().contains("\"later\"") && guarded().contains("\"mac0\"")).then_some(());
    assert!(integration::wait_until(LIMIT, both).is_some(), "{}", guarded());
    let (watcher, before) = (pod.watch(), heard("the peer"));
    for device in ["later", "mac0"] {
        let said = send(device);
        assert_eq!(said.stdout.matches("No buffer space").count(), 3, "{device}: {}{}", said.stdout, said.stderr);
    }
    assert_eq!(heard("the peer"), before, "frames on the veth");
    assert!(watcher.left_pod(|packet| packet.carries("portreeve")).is_empty(), "frames on the macvlan");
}

#[test]
fn nobody_else_changes_the_tables_and_the_proxys_port_cannot_be_taken() {
    let scene = scene();
    let pod = &scene.pod;
    let portreeve = scene.hold();
    let listing = || pod.command("nft").args(["-s", "list", "ruleset"]).output().stdout;
    let standing = |text: &str| text.lines().filter(|line| !line.contains("expires")).count();
    let before = standing(&listing());
    let open = "add element inet portreeve web.api_v4 { 203.0.113.9 timeout 1h }";
    let deeds =
        ["flush ruleset", "delete table inet portreeve", "insert rule inet portreeve egress accept", "delete table netdev portreeve", open];
    for deed in deeds {
        for (whose, command) in
            [("root without NET_ADMIN", pod.command("nft").as_container_root()), ("root with NET_ADMIN", pod.command("nft"))]
        {
            let _refused_or_left_out = command.args(deed.split(' ')).output();
            assert_eq!(standing(&listing()), before, "{whose}: {deed}");
            assert!(!listing().contains("203.0.113.9"), "{whose}: {deed}");
        }
    }
    assert!(!pod.command("nft").args(["list", "ruleset"]).as_container_root().output().ok(), "without NET_ADMIN it cannot even be read");
    let script = "import socket\nfor family,address in ((2,'127.0.0.1'),(2,'0.0.0.0'),(10,'::1'),(10,'::')):\n for kind in (1,2):\n  s=socket.socket(family,kind)\n                    for option in (2,15): s.setsockopt(1,option,1)\n  try: s.bind((address,5453)); kind==1 and s.listen(); print(address,kind)\n  except OSError: pass";
    for command in [pod.command("/usr/bin/python3").as_user(1000), pod.command("/usr/bin/python3").as_container_root()] {
        assert_eq!(command.args(["-I", "-c", script]).output().stdout, "", "bound besides the proxy");
    }
    scene.echoes();
    assert!(connect(pod, "203.0.113.9:443".parse().unwrap(), SECOND).is_err());
    assert!(portreeve.is_ready());
}

#[test]
fn an_app_can_neither_flood_the_log_nor_break_the_resolver() {
    let scene = scene();
    scene.authority.a("*.wild.example.com", &[VIA[0]], 60);
    let policy = POLICY.replace("\"api.example.com\"", "\"api.example.com\", \"*.wild.example.com\"");
    let portreeve = Setup::new(&scene.pod).policy("web.toml", &policy).start();
    let worker = portreeve.worker();
    let report: Report = run_script(&scene.pod, Rights::User, NONSENSE, &["--to", "127.0.0.1"].map(str::to_owned));
    assert!(report.sent > 1000, "{report:?}");
    assert_eq!(portreeve.worker(), worker, "the same worker: {}", portreeve.log());
    let log = portreeve.log();
    assert!(!log.contains("panicked"), "{log}");
    // Names of 399 bytes as text, and refused ones: some lines a second each, whatever was asked.
    assert!(log.contains("too long"), "the name that no comment holds was asked for: {log}");
    let mut seconds: BTreeMap<&str, usize> = BTreeMap::new();
    for at in log.lines().filter_map(|line| line.split("\"timestamp\":\"").nth(1)?.get(.."2000-01-01T00:00:00".len())) {
        *seconds.entry(at).or_default() += 1;
    }
    // Twenty refusals and ten complaints, twice where two of its seconds fall into one of the clock's; and the few lines of the start.
    assert!(seconds.values().all(|lines| *lines <= 70) && !seconds.is_empty(), "{seconds:?} for {} questions", report.sent);
    assert!(!log.contains('\u{1b}'), "control characters reach the log");
    scene.hold_on(&portreeve);
}
