//! One round: what the pod tries, and beside each try what must be told of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use super::{Expected, Stage};
use crate::clients::{ask, connect, echo};
use crate::{Authority, Pod, Portreeve, TcpTarget, UdpTarget, World, leases, wait_until};

/// The port that the pod serves on.
pub(super) const SERVED: u16 = 8080;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(15);
/// A name leased within a hundredth of a second between a first packet and its telling would be told with it.
const TOLD: Duration = Duration::from_millis(60);

/// A connection or an exchange that passed, with the question that came before it: to be tried again under another policy.
#[derive(Clone, Debug)]
pub struct Passed {
    /// What was asked for first.
    pub asked: Option<(String, RecordType)>,
    /// Where it went.
    pub to: SocketAddr,
    /// Whether it was UDP.
    pub udp: bool,
}

/// The script, as far as it was played.
#[derive(Debug)]
pub struct Hour<'a> {
    pod: &'a Pod,
    world: &'a World,
    authority: &'a Authority,
    portreeve: &'a Portreeve<'a>,
    expected: Expected,
    passed: Vec<Passed>,
    stage: Option<Stage>,
    /// Names that were asked for and never used, with their address: their leases end.
    waiting: Vec<(u32, String, Ipv4Addr)>,
    _targets: Vec<TcpTarget>,
}

impl<'a> Hour<'a> {
    /// Starts the servers outside and in the pod.
    #[must_use]
    pub fn new(pod: &'a Pod, world: &'a World, authority: &'a Authority, portreeve: &'a Portreeve<'a>) -> Self {
        let mut targets: Vec<TcpTarget> = [22, 80, 443, 8443, 9091]
            .map(|port| TcpTarget::start(world.outside(), SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), ""))
            .into();
        targets.push(TcpTarget::start(pod.namespace(), SocketAddr::from((Ipv6Addr::UNSPECIFIED, SERVED)), ""));
        let (expected, passed, waiting) = (Expected::default(), Vec::new(), Vec::new());
        Hour { pod, world, authority, portreeve, expected, passed, stage: Some(Stage::Wide), waiting, _targets: targets }
    }

    /// What must have been told so far.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// What has passed so far.
    #[must_use]
    pub fn passed(&self) -> &[Passed] {
        &self.passed
    }

    /// Plays a round, with `burst` connections within a second besides, and ends every connection entry.
    ///
    /// # Panics
    /// When an attempt passes that must not, or the other way round.
    pub fn play(&mut self, round: u32, burst: u32) {
        let stage = Stage::of(round);
        if self.stage != Some(stage) {
            self.reload(stage);
        }
        let udp = UdpTarget::on(self.world.outside(), &format!("{}:9000", v4(round, 10)));
        self.ended_lease(round, stage);
        self.names(round, stage);
        self.shared(round, stage);
        self.other_rules(round, stage);
        self.refused(round, stage);
        self.inbound();
        if burst > 0 {
            self.burst(round, stage, burst);
        }
        self.quiet();
        drop(udp);
    }

    fn reload(&mut self, stage: Stage) {
        std::thread::sleep(TOLD);
        let loads = self.portreeve.status()["loads"].as_u64().expect("loads");
        self.portreeve.swap_policies(&[("shop.toml", &stage.policy())]);
        self.portreeve.wait_status("the reload is counted", LIMIT, |status| status["loads"].as_u64() > Some(loads));
        self.stage = Some(stage);
    }

    /// Names on 443, some IPv6 alone, one behind an alias, one for UDP; and ports that their rule does not have.
    fn names(&mut self, round: u32, stage: Stage) {
        for host in 1..=5 {
            let name = format!("p{host}.r{round}.example.com");
            self.authority.a(&name, &[&v4(round, host).to_string()], 60);
            self.permitted_name(&name, v4(round, host).into(), stage.web());
            for _ in 0..=(round + u32::from(host)) % 3 {
                self.dial(&[&name], Some(stage.web()), (v4(round, host), 443).into());
            }
        }
        for host in 1..=3 {
            let name = format!("six{host}.r{round}.example.com");
            self.authority.aaaa(&name, &[&v6(round, host).to_string()], 60);
            self.permitted_name(&name, v6(round, host).into(), stage.web());
            self.dial(&[&name], Some(stage.web()), (v6(round, host), 443).into());
        }
        let (alias, target) = (format!("alias.r{round}.example.com"), format!("edge.r{round}.example.org"));
        self.authority.cname(&alias, &target, 60);
        self.authority.a(&target, &[&v4(round, 21).to_string()], 60);
        let mut told = self.permitted_line(&alias, v4(round, 21).into(), stage.web());
        told["dns.chain"] = json!([target]);
        self.question(&alias, RecordType::A, told);
        self.dial(&[&alias], Some(stage.web()), (v4(round, 21), 443).into());
        let name = format!("time.r{round}.example.com");
        self.authority.a(&name, &[&v4(round, 10).to_string()], 60);
        self.permitted_name(&name, v4(round, 10).into(), stage.web());
        let granted = json!({"type": "port-not-granted", "names": [&name], "ports": stage.web_ports()});
        for _ in 0..2 {
            let to = SocketAddr::from((v4(round, 10), 9000));
            if stage == Stage::Narrow { self.refuse_udp(&[&name], &granted, to) } else { self.exchange(&name, stage.web(), to) }
        }
        let first = format!("p1.r{round}.example.com");
        let granted = json!({"type": "port-not-granted", "names": [&first], "ports": stage.web_ports()});
        self.refuse(&[&first], &granted, (v4(round, 1), 22).into());
    }

    /// Two names of one address: the flows of before are told with the first alone.
    fn shared(&mut self, round: u32, stage: Stage) {
        let names = ["a", "b"].map(|name| format!("{name}.cdn.r{round}.example.com"));
        let to = SocketAddr::from((v4(round, 20), 443));
        for name in &names {
            self.authority.a(name, &[&to.ip().to_string()], 60);
        }
        self.permitted_name(&names[0], to.ip(), stage.web());
        self.dial(&[&names[0]], Some(stage.web()), to);
        std::thread::sleep(TOLD);
        self.permitted_name(&names[1], to.ip(), stage.web());
        self.dial(&[&names[0], &names[1]], Some(stage.web()), to);
        self.dial(&[&names[0], &names[1]], Some(stage.web()), to);
    }

    /// A rule of other names, and one of a range: in force or not.
    fn other_rules(&mut self, round: u32, stage: Stage) {
        let name = format!("alt.r{round}.example.net");
        let (alt, range) = (v4(round, 50), Ipv4Addr::new(198, 19, block(round), 7));
        self.authority.a(&name, &[&alt.to_string()], 60);
        if stage.has_alt() {
            self.permitted_name(&name, alt.into(), "alt");
            self.dial(&[&name], Some("alt"), (alt, 8443).into());
            self.dial(&[], Some("metrics"), (range, 9091).into());
            self.refuse(&[], &json!({"type": "port-not-granted", "ports": "9091"}), (range, 80).into());
        } else {
            self.refused_name(&name, alt.into(), stage);
            self.refuse(&[], &json!({"type": "never-resolved"}), (alt, 8443).into());
            self.refuse(&[], &json!({"type": "never-resolved"}), (range, 9091).into());
        }
    }

    /// A name of no rule, addresses of no name, a range that is denied.
    fn refused(&mut self, round: u32, stage: Stage) {
        let name = format!("evil.r{round}.example.org");
        self.authority.a(&name, &[&v4(round, 30).to_string()], 60);
        self.refused_name(&name, v4(round, 30).into(), stage);
        if stage == Stage::Audit {
            let cause = json!({"type": "refused-name", "name": &name, "reason": "not-permitted"});
            self.refuse(&[&name], &cause, (v4(round, 30), 443).into());
        } else {
            self.refuse(&[], &json!({"type": "never-resolved"}), (v4(round, 30), 443).into());
        }
        for _ in 0..=round % 3 {
            self.refuse(&[], &json!({"type": "never-resolved"}), (v4(round, 99), 443).into());
        }
        self.refuse(&[], &json!({"type": "never-resolved"}), (v6(round, 99), 443).into());
        let denied = json!({"type": "denied-range", "range": "203.0.113.0/24", "policy": "shop"});
        self.refuse(&[], &denied, (Ipv4Addr::new(203, 0, 113, block(round)), 443).into());
    }

    /// Asks for a name that will not be used; and tries those of two rounds ago, whose leases have ended.
    fn ended_lease(&mut self, round: u32, stage: Stage) {
        let (name, address) = (format!("brief.r{round}.example.com"), v4(round, 40));
        self.authority.a(&name, &[&address.to_string()], 1);
        self.permitted_name(&name, address.into(), stage.web());
        // It has moved: the question that its refusal makes does not open the address again.
        self.authority.a(&name, &[&v4(round, 41).to_string()], 60);
        self.waiting.push((round, name, address));
        while let Some((_, name, address)) = self.waiting.first().filter(|(of, ..)| of + 2 <= round).cloned() {
            let _oldest = self.waiting.remove(0);
            let ended = wait_until(LIMIT, || leases::of(self.pod, &address.to_string()).is_empty().then_some(()));
            assert!(ended.is_some(), "the lease of {name} does not end: {:?}", leases::of(self.pod, &address.to_string()));
            self.refuse(&[], &json!({"type": "lease-ended", "name": name}), (address, 443).into());
        }
    }

    /// Somebody outside calls.
    fn inbound(&mut self) {
        let to = SocketAddr::from((self.pod.v4(), SERVED));
        let stream = self.world.outside().run(|| TcpStream::connect_timeout(&to, 5 * SECOND));
        drop(stream.unwrap_or_else(|error| panic!("inbound: {error}")));
        let mut line = self.flow(&[], to, "tcp");
        for (key, value) in [("flow.direction", json!("inbound")), ("source.address", json!(self.pod.gateway()))] {
            line[key] = value;
        }
        let _inbound_has_none = line.as_object_mut().expect("an object").remove("process.user.id");
        self.expected.add(&line);
    }

    /// So many connections within a second, to twenty names.
    fn burst(&mut self, round: u32, stage: Stage, burst: u32) {
        let hosts: Vec<(String, SocketAddr)> =
            (100..120).map(|host| (format!("b{host}.r{round}.example.com"), SocketAddr::from((v4(round, host), 443)))).collect();
        for (name, to) in &hosts {
            self.authority.a(name, &[&to.ip().to_string()], 60);
            self.permitted_name(name, to.ip(), stage.web());
        }
        let began = Instant::now();
        let failed = self.pod.run(|| {
            let mut failed = 0_u32;
            for (number, (_, to)) in (0..burst).zip(hosts.iter().cycle()) {
                let due = began + SECOND * number / burst;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                failed += u32::from(TcpStream::connect(to).is_err());
            }
            failed
        });
        assert_eq!(failed, 0, "connections of the burst");
        for (_, (name, to)) in (0..burst).zip(hosts.iter().cycle()) {
            let line = self.permitted_flow(&[name], Some(stage.web()), *to, "tcp");
            self.expected.add(&line);
        }
    }

    /// Waits until every connection has closed, and has the kernel forget them: so their ends are told, with their volumes.
    fn quiet(&self) {
        let living = || {
            let listed = self.pod.command("conntrack").args(["-L", "-p", "tcp"]).output().stdout
                + &self.pod.command("conntrack").args(["-L", "-f", "ipv6", "-p", "tcp"]).output().stdout;
            ["ESTABLISHED", "SYN_", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"].iter().any(|state| listed.contains(state))
        };
        // A segment that was sent again may have the kernel begin an entry of its own: that one does not close.
        let _all_closed = wait_until(LIMIT, || (!living()).then_some(()));
        std::thread::sleep(TOLD);
        for family in ["ipv4", "ipv6"] {
            for of in [&["-p", "tcp"][..], &["-p", "udp", "--dport", "9000"]] {
                let _none_is_an_error = self.pod.command("conntrack").args(["-D", "-f", family]).args(of).output();
            }
        }
    }

    fn question(&mut self, name: &str, record_type: RecordType, told: Value) {
        let resolver = SocketAddr::from((crate::world::RESOLVER, 53));
        let answer = ask(self.pod.namespace(), resolver, name, record_type, 5 * SECOND);
        assert!(answer.is_some(), "no answer for {name}");
        self.expected.add(&told);
    }

    fn permitted_line(&self, name: &str, address: IpAddr, rule: &str) -> Value {
        json!({
            "event.name": "portreeve.dns", "dns.question.name": name, "dns.question.type": kind(address).to_string(),
            "dns.verdict": "permitted", "dns.response_code": "NOERROR", "dns.rule": rule, "dns.policy": "shop",
            "dns.answers": [address], "network.transport": "udp",
        })
    }

    fn permitted_name(&mut self, name: &str, address: IpAddr, rule: &str) {
        let told = self.permitted_line(name, address, rule);
        self.question(name, kind(address), told);
    }

    fn refused_name(&mut self, name: &str, address: IpAddr, stage: Stage) {
        let mut told = json!({
            "event.name": "portreeve.dns", "dns.question.name": name, "dns.question.type": kind(address).to_string(),
            "dns.verdict": "refused", "dns.reason": "not-permitted", "dns.response_code": "NXDOMAIN", "network.transport": "udp",
        });
        if stage == Stage::Audit {
            for (key, value) in
                [("dns.verdict", json!("would-deny")), ("dns.response_code", json!("NOERROR")), ("dns.answers", json!([address]))]
            {
                told[key] = value;
            }
        }
        self.question(name, kind(address), told);
    }

    fn flow(&self, names: &[&str], to: SocketAddr, transport: &str) -> Value {
        let source: IpAddr = if to.is_ipv4() { self.pod.v4().into() } else { self.pod.v6().into() };
        let mut line = json!({
            "event.name": "portreeve.flow", "flow.event": "began", "flow.verdict": "permitted",
            "flow.mode": self.stage.map(Stage::mode), "flow.direction": "outbound", "network.transport": transport,
            "network.type": if to.is_ipv4() { "ipv4" } else { "ipv6" }, "source.address": source,
            "destination.address": to.ip(), "destination.port": to.port(), "process.user.id": 0,
        });
        if !names.is_empty() {
            line["flow.names"] = json!(names);
        }
        if names.len() > 1 {
            line["flow.shared-address"] = json!(true);
        }
        line
    }

    fn permitted_flow(&self, names: &[&str], rule: Option<&str>, to: SocketAddr, transport: &str) -> Value {
        let mut line = self.flow(names, to, transport);
        line["flow.rule"] = json!(rule);
        line["flow.policy"] = json!("shop");
        line
    }

    fn dial(&mut self, names: &[&str], rule: Option<&str>, to: SocketAddr) {
        drop(connect(self.pod, to, 5 * SECOND).unwrap_or_else(|error| panic!("{to}: {error}")));
        let line = self.permitted_flow(names, rule, to, "tcp");
        self.expected.add(&line);
        self.note(names, to, false);
    }

    fn exchange(&mut self, name: &str, rule: &str, to: SocketAddr) {
        assert_eq!(echo(self.pod, to, b"what time", 5 * SECOND).unwrap_or_else(|error| panic!("{to}: {error}")), b"what time");
        let line = self.permitted_flow(&[name], Some(rule), to, "udp");
        self.expected.add(&line);
        self.note(&[name], to, true);
    }

    /// Must not pass; in audit it passes, and is told with the same cause.
    fn refuse(&mut self, names: &[&str], cause: &Value, to: SocketAddr) {
        let passed = connect(self.pod, to, 5 * SECOND);
        let audit = self.stage == Some(Stage::Audit);
        assert_eq!(passed.is_ok(), audit, "{to}: {passed:?}");
        let line = self.refused_flow(names, cause, to, "tcp");
        self.expected.add(&line);
        if audit {
            self.note(names, to, false);
        }
    }

    fn refuse_udp(&mut self, names: &[&str], cause: &Value, to: SocketAddr) {
        assert!(echo(self.pod, to, b"what time", SECOND).is_err(), "{to}");
        let line = self.refused_flow(names, cause, to, "udp");
        self.expected.add(&line);
    }

    fn refused_flow(&self, names: &[&str], cause: &Value, to: SocketAddr, transport: &str) -> Value {
        let mut line = self.flow(names, to, transport);
        let audit = self.stage == Some(Stage::Audit);
        line["flow.event"] = json!(if audit { "began" } else { "refused" });
        line["flow.verdict"] = json!(if audit { "would-deny" } else { "refused" });
        line["flow.cause"] = cause.clone();
        line
    }

    fn note(&mut self, names: &[&str], to: SocketAddr, udp: bool) {
        let asked = names.first().map(|name| ((*name).to_owned(), kind(to.ip())));
        self.passed.push(Passed { asked, to, udp });
    }
}

/// Addresses come back after 250 rounds.
fn block(round: u32) -> u8 {
    (round % 250) as u8
}

fn v4(round: u32, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, block(round), host)
}

fn v6(round: u32, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0x100 + u16::from(block(round)), 0, 0, 0, host)
}

fn kind(address: IpAddr) -> RecordType {
    if address.is_ipv4() { RecordType::A } else { RecordType::AAAA }
}
