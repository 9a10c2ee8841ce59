//! What a hostile app in the pod tries, each try aimed at an address of its own so that the wire says which one got out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::Deserialize;

use crate::{Packet, Pod, Watcher};

/// The bytes that every attack carries where it can carry any (a DNS label, so that a question can carry it too).
pub const MARKER: &str = "portreeve-leak";

const COMMON: &str = include_str!("../attacks/common.py");
const FORGE: &str = include_str!("../attacks/forge.py");
const FRAME: &str = include_str!("../attacks/frame.py");
const RAW: &str = include_str!("../attacks/raw.py");
const IMPERSONATE: &str = include_str!("../attacks/impersonate.py");
const RESOLVER: &str = include_str!("../attacks/resolver.py");
const ORDINARY: &str = include_str!("../attacks/ordinary.py");

/// With whose rights an attack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Uid 1000, no capability, no way to get one.
    User,
    /// Root with the capabilities that a container runtime gives by default.
    ContainerRoot,
}

/// One attack, ready to run.
#[derive(Clone, Debug)]
pub struct Attack {
    /// What it is called in reports.
    pub name: &'static str,
    /// With whose rights it runs.
    pub rights: Rights,
    /// Where its packets go.
    pub target: IpAddr,
    script: &'static str,
    args: Vec<String>,
    /// The pod has `ip_forward` = 1 while it runs.
    needs_forward: bool,
}

/// What an attack says of itself, one JSON line.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Packets that the kernel took from it.
    pub sent: u64,
    /// What came back, if it listens for something.
    pub got: Option<String>,
    /// What stopped it.
    pub error: Option<String>,
}

/// The targets of attack number `n`.
fn targets(n: u8) -> (Ipv4Addr, Ipv6Addr) {
    (Ipv4Addr::new(203, 0, 113, n), Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0xa77a, n.into()))
}

impl Attack {
    /// Every attack there is, for this pod. `proxy_uid` is the uid of the process that is to be impersonated, `upstream` the resolver
    /// that it may ask.
    #[must_use]
    pub fn all(pod: &Pod, proxy_uid: u32, upstream: IpAddr) -> Vec<Self> {
        use Rights::{ContainerRoot, User};
        let (own, own6) = (pod.v4().to_string(), pod.v6().to_string());
        let (mac, own_mac) = (pod.gateway_mac(), pod.mac());
        let uid = proxy_uid.to_string();
        let mut all = Vec::new();
        let mut add = |name, rights, script, v6: bool, args: &[&str]| {
            let (target, target6) = targets(10 + u8::try_from(all.len()).expect("few attacks"));
            let target: IpAddr = if v6 { target6.into() } else { target.into() };
            let mut all_args = vec!["--to".to_owned(), target.to_string()];
            all_args.extend(args.iter().map(|arg| (*arg).to_owned()));
            all.push(Self { name, rights, target, script, args: all_args, needs_forward: false });
        };
        add("forged UDP reply, IPV6_FREEBIND", User, FORGE, true, &["--own", &own6, "--mode", "freebind", "--proto", "udp"]);
        add("forged TCP reply, IPV6_FREEBIND", User, FORGE, true, &["--own", &own6, "--mode", "freebind", "--proto", "tcp"]);
        add("forged UDP reply, IP_TRANSPARENT", ContainerRoot, FORGE, false, &["--own", &own, "--mode", "transparent", "--proto", "udp"]);
        add("forged TCP reply, IP_TRANSPARENT", ContainerRoot, FORGE, false, &["--own", &own, "--mode", "transparent", "--proto", "tcp"]);
        add("forged UDP reply, IPV6_TRANSPARENT", ContainerRoot, FORGE, true, &["--own", &own6, "--mode", "transparent", "--proto", "udp"]);
        for mode in ["raw", "dgram", "bypass"] {
            let name = match mode {
                "raw" => ["AF_PACKET raw frame v4", "AF_PACKET raw frame v6"],
                "dgram" => ["AF_PACKET datagram v4", "AF_PACKET datagram v6"],
                _ => ["AF_PACKET with PACKET_QDISC_BYPASS v4", "AF_PACKET with PACKET_QDISC_BYPASS v6"],
            };
            let on = ["--device", "eth0", "--mac", &mac, "--own-mac", &own_mac, "--mode", mode];
            add(name[0], ContainerRoot, FRAME, false, &[&on[..], &["--from", &own]].concat());
            add(name[1], ContainerRoot, FRAME, true, &[&on[..], &["--from", &own6]].concat());
        }
        add("raw ICMPv6 type 135 with payload, hop limit 255", ContainerRoot, RAW, true, &["--kind", "nd", "--hops", "255"]);
        add("raw ICMPv6 type 135 with payload, hop limit 64", ContainerRoot, RAW, true, &["--kind", "nd", "--hops", "64"]);
        add("raw ICMPv6 echo with payload", ContainerRoot, RAW, true, &["--kind", "echo6", "--hops", "64"]);
        add("raw MLD report with payload", ContainerRoot, RAW, true, &["--kind", "mld", "--hops", "255"]);
        add("raw IGMP with payload", ContainerRoot, RAW, false, &["--kind", "igmp", "--hops", "64"]);
        add("raw IP of an unknown protocol", ContainerRoot, RAW, false, &["--kind", "unknown", "--hops", "64"]);
        add("raw UDP with own IP header", ContainerRoot, RAW, false, &["--kind", "hdrincl", "--hops", "64"]);
        add("raw fragment without its first", ContainerRoot, RAW, false, &["--kind", "fragment", "--hops", "64"]);
        add("raw UDP behind destination options", ContainerRoot, RAW, true, &["--kind", "options", "--hops", "64"]);
        add("ping as an ordinary user", User, RAW, false, &["--kind", "ping", "--hops", "64"]);
        add("marks guessed", ContainerRoot, IMPERSONATE, false, &["--marks", "20000"]);
        add("the proxy's uid taken", ContainerRoot, IMPERSONATE, false, &["--uid", &uid]);
        add("the proxy's uid taken, marks guessed", ContainerRoot, IMPERSONATE, false, &["--uid", &uid, "--marks", "5000"]);
        add("a question from every source port", User, IMPERSONATE, false, &["--ports", "all"]);
        add("hard-coded resolver, UDP", User, RESOLVER, false, &["--proto", "udp"]);
        add("hard-coded resolver, UDP v6", User, RESOLVER, true, &["--proto", "udp"]);
        add("hard-coded resolver, TCP", User, RESOLVER, false, &["--proto", "tcp"]);
        add("hard-coded resolver, DoT port 853", User, RESOLVER, false, &["--proto", "tcp", "--port", "853"]);
        add("hard-coded resolver, other port", User, RESOLVER, false, &["--proto", "udp", "--port", "5353"]);
        let zero = "00:00:00:00:00:00";
        let on = ["--device", "lo", "--mac", zero, "--own-mac", zero, "--mode", "raw"];
        let (stranger, stranger6) = (neighbour(pod).0.to_string(), neighbour(pod).1.to_string());
        add("frame on lo with ip_forward v4", ContainerRoot, FRAME, false, &[&on[..], &["--from", &stranger]].concat());
        add("frame on lo with ip_forward v6", ContainerRoot, FRAME, true, &[&on[..], &["--from", &stranger6]].concat());
        for attack in &mut all {
            attack.needs_forward = attack.name.starts_with("frame on lo");
            if attack.script == IMPERSONATE {
                // What the proxy may do is bound to its upstream, so that is whom its impostor asks.
                attack.target = upstream;
                attack.args[1] = upstream.to_string();
            }
        }
        all
    }

    /// Runs it in the pod, 60 s at most. Sets `ip_forward` for the attacks that need it, and back.
    ///
    /// # Panics
    /// When the script breaks (a refusal by the kernel is no break: it is in the report).
    #[must_use]
    pub fn run(&self, pod: &Pod) -> Report {
        if self.needs_forward {
            pod.set_ip_forward(true);
        }
        let report = run_script(pod, self.rights, self.script, &self.args);
        if self.needs_forward {
            pod.set_ip_forward(false);
        }
        report
    }

    /// The packets of this attack that left the pod: to its target (or any with the marker to a multicast group), with the marker
    /// in the payload, or of TCP.
    #[must_use]
    pub fn on_the_wire(&self, watcher: &Watcher) -> Vec<Packet> {
        watcher.left_pod(|packet| packet.destination == self.target && (packet.carries(MARKER) || packet.is_tcp()))
    }
}

/// A neighbour's addresses: a source that is not the pod's own, so that a frame on lo is no martian.
fn neighbour(pod: &Pod) -> (Ipv4Addr, Ipv6Addr) {
    let (v4, v6) = (pod.v4().octets(), pod.v6().segments());
    (Ipv4Addr::new(v4[0], v4[1], v4[2], 99), Ipv6Addr::new(v6[0], v6[1], v6[2], v6[3], 0, 0, 0, 0x99))
}

/// What must go on working under every guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordinary {
    /// A datagram of 5,000 bytes that is echoed: four fragments each way.
    Fragments,
    /// `ping`, of the target's family.
    Ping,
}

/// Sends something ordinary from the pod as uid 1000; `got` is `"echo"` when it came back.
#[must_use]
pub fn ordinary(pod: &Pod, kind: Ordinary, target: IpAddr, port: u16) -> Report {
    let kind = match kind {
        Ordinary::Fragments => "fragments",
        Ordinary::Ping => "ping",
    };
    let args = ["--kind".to_owned(), kind.to_owned(), "--to".to_owned(), target.to_string(), "--port".to_owned(), port.to_string()];
    run_script(pod, Rights::User, ORDINARY, &args)
}

/// Runs one of `attacks/`'s scripts in the pod, 60 s at most, and reads the JSON of its last line; `common.py` comes before it.
///
/// # Panics
/// When the script breaks (a refusal by the kernel is no break: it is in the report).
#[must_use]
pub fn run_script<T: serde::de::DeserializeOwned>(pod: &Pod, rights: Rights, script: &str, args: &[String]) -> T {
    // As text: uid 1000 need not be able to read this directory.
    let text = format!("{COMMON}\n{script}");
    let command = pod.command("/usr/bin/python3").args(["-I", "-c", &text]).args(args).within(Duration::from_secs(60));
    let command = match rights {
        Rights::User => command.as_user(1000),
        Rights::ContainerRoot => command.as_container_root(),
    };
    let said = command.output().expect_ok(&format!("attack {args:?}"));
    let line = said.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|cause| panic!("attack {args:?}: {cause}: {said}"))
}
