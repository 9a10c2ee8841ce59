//! Promise: an established connection outlives its lease and every reload that still permits it, and is reset by the one that does not.
//!
//! The cut is seen by the next packet: a client that neither sends nor is sent anything learns of it later. Inbound connections are
//! nobody's business.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use integration::authority::{Behaviour, ResponseCode, Type};
use integration::clients::{connect, getent};
use integration::{Authority, Pod, Portreeve, Setup, TcpTarget, UdpTarget, World, kernel, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);
const API: &str = "198.51.100.7";
const OLD: &str = "198.51.100.8";

/// A policy with these hosts in one rule, and whatever comes before and after it. Leases last 3 s when the TTL is 1 s.
fn policy(head: &str, hosts: &str, rest: &str) -> String {
    let mut text = format!("version = 1\nname = \"web\"\n{head}\n[lease]\nmin = \"2s\"\nmax = \"1h\"\ngrace = \"1s\"\n");
    if !hosts.is_empty() {
        let hosts: Vec<String> = hosts.split(' ').map(|host| format!("\"{host}\"")).collect();
        write!(text, "[[allow]]\nname = \"web\"\nhosts = [{}]\nports = [\"443\", \"9000/udp\"]\n", hosts.join(", ")).unwrap();
    }
    text + rest
}

struct Scene {
    inside: TcpTarget,
    pod: Pod,
    authority: Authority,
    _targets: ([TcpTarget; 2], [UdpTarget; 2]),
    world: World,
}

fn scene(ttl: u32) -> Scene {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &[API], ttl);
    authority.a("old.example.com", &[OLD], ttl);
    let outside = world.outside();
    let tcp = [API, OLD].map(|address| TcpTarget::on(outside, &format!("{address}:443"), ""));
    let udp = [API, OLD].map(|address| UdpTarget::on(outside, &format!("{address}:9000")));
    let pod = world.pod("app");
    let inside = TcpTarget::start(pod.namespace(), (pod.v4(), 8080), "");
    Scene { inside, pod, authority, _targets: (tcp, udp), world }
}

/// A connection that goes on, and what was said over it last.
struct Talk(TcpStream);

impl Talk {
    fn start(pod: &Pod, address: &str) -> Self {
        let (stream, _) =
            connect(pod, format!("{address}:443").parse().unwrap(), SECOND).unwrap_or_else(|cause| panic!("{address}: {cause}"));
        Self::over(stream)
    }

    /// From outside to the pod's own server.
    fn inbound(scene: &Scene) -> Self {
        let address = scene.inside.address();
        Self::over(scene.world.outside().run(|| TcpStream::connect_timeout(&address, SECOND)).expect("inbound"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(3 * SECOND)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Says it and hears it back.
    fn say(&mut self, what: &str) -> io::Result<()> {
        self.0.write_all(what.as_bytes())?;
        let mut heard = vec![0; what.len()];
        self.0.read_exact(&mut heard)?;
        assert_eq!(heard, what.as_bytes());
        Ok(())
    }

    fn expect(&mut self, when: &str, portreeve: &Portreeve<'_>) {
        self.say(when).unwrap_or_else(|cause| panic!("{when}: {cause}\n{}", portreeve.log()));
    }

    /// The connection is reset, by the client's word.
    fn expect_reset(&mut self, when: &str) {
        let cause = self.say(when).expect_err("it goes on");
        assert!(matches!(cause.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{when}: {cause}");
    }
}

/// A UDP flow that goes on.
fn flow(pod: &Pod, address: &str) -> UdpSocket {
    let target: SocketAddr = format!("{address}:9000").parse().unwrap();
    let socket = pod.run(|| UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect(target).map(|()| socket))).expect("a socket");
    socket.set_read_timeout(Some(SECOND)).unwrap();
    socket
}

fn exchange(socket: &UdpSocket, what: &str) -> io::Result<()> {
    socket.send(what.as_bytes())?;
    let mut heard = [0; 256];
    let length = socket.recv(&mut heard)?;
    assert_eq!(&heard[..length], what.as_bytes());
    Ok(())
}

fn reload(portreeve: &Portreeve<'_>, text: &str) {
    let loads = portreeve.status()["loads"].as_u64().expect("loads");
    portreeve.swap_policies(&[("web.toml", text)]);
    portreeve.wait_status("the reload is counted", LIMIT, |status| status["loads"].as_u64() > Some(loads));
}

fn wait_until_the_lease_is_over(pod: &Pod, address: &str) {
    let over = wait_until(LIMIT, || connect(pod, format!("{address}:443").parse().unwrap(), SECOND).is_err().then_some(()));
    assert!(over.is_some(), "{:?}", kernel::leases(pod));
    assert!(kernel::lease(pod, "web.web", address).is_none());
}

/// From now on upstream does not know what the name's addresses are: a lease in use cannot be renewed, and one that has ended stays so.
fn nobody_knows_any_more(authority: &Authority, name: &str) {
    authority.forget();
    authority.behave(name, &[Behaviour::Code(ResponseCode::ServFail)]);
}

#[test]
fn a_connection_outlives_its_lease_and_50_reloads_and_is_reset_when_its_rule_goes() {
    let scene = scene(1);
    let pod = &scene.pod;
    let portreeve = Setup::new(pod).policy("web.toml", &policy("", "api.example.com", "")).start();
    assert_eq!(getent(pod, "api.example.com").len(), 1, "{}", portreeve.log());
    let (mut talk, mut inbound, udp) = (Talk::start(pod, API), Talk::inbound(&scene), flow(pod, API));
    talk.expect("first words", &portreeve);
    exchange(&udp, "first datagram").unwrap();
    nobody_knows_any_more(&scene.authority, "api.example.com");
    wait_until_the_lease_is_over(pod, API);
    talk.expect("after the lease", &portreeve);
    exchange(&udp, "after the lease").unwrap();
    let mut hosts = "api.example.com".to_owned();
    for number in 0..50 {
        // The same again, then a grown one: further hosts of the rule, further rules, in turn.
        let rest = if number % 2 == 0 {
            format!("# {number}\n")
        } else {
            write!(hosts, " host-{number}.example.net").unwrap();
            format!("[[allow]]\nname = \"rule-{number}\"\nhosts = [\"*.example.org\"]\nports = [\"8443\"]\n")
        };
        reload(&portreeve, &policy("", &hosts, &rest));
        talk.expect(&format!("after reload {number}"), &portreeve);
        inbound.expect("inbound", &portreeve);
    }
    exchange(&udp, "after 50 reloads").unwrap();
    connect(pod, format!("{API}:443").parse().unwrap(), SECOND).expect_err("the lease is over for new connections");
    assert!(kernel::lease(pod, "web.web", API).is_none());
    let asked = wait_until(LIMIT, || Some(scene.authority.asked("api.example.com", Type::A)).filter(|asked| *asked > 0));
    assert!(asked.is_some(), "nobody tried to renew the lease: that it ended shows nothing");

    reload(&portreeve, &policy("", "", "[[allow]]\nname = \"other\"\nhosts = [\"*.example.org\"]\nports = [\"443\"]\n"));
    let watcher = pod.watch();
    talk.expect_reset("not permitted any more");
    assert!(exchange(&udp, "not permitted any more").is_err());
    let _gone = talk.say("and again");
    let out = watcher.left_pod(|packet| packet.destination.to_string() == API);
    assert!(out.is_empty(), "{} packets left after the reload, the first {}", out.len(), out[0]);
    inbound.expect("inbound after the cut", &portreeve);
    // To nothing at all.
    reload(&portreeve, "version = 1\nname = \"web\"\n");
    inbound.expect("inbound under an empty policy", &portreeve);
    Talk::inbound(&scene).expect("a new one", &portreeve);
}

#[test]
fn a_client_that_is_being_sent_to_is_cut_as_well() {
    let scene = scene(60);
    let pod = &scene.pod;
    let portreeve = Setup::new(pod).policy("web.toml", &policy("", "api.example.com", "")).start();
    assert_eq!(getent(pod, "api.example.com").len(), 1);
    let mut talk = Talk::start(pod, API);
    talk.expect("first words", &portreeve);
    reload(&portreeve, &policy("", "old.example.com", ""));
    // The very next packet of the client is refused; whatever it reads then is the end.
    let watcher = pod.watch();
    let _sent_or_not = talk.0.write_all(b"half a word");
    let mut rest = [0; 1];
    let cause = talk.0.read(&mut rest).expect_err("reset");
    assert_eq!(cause.kind(), ErrorKind::ConnectionReset, "{cause}");
    let data = watcher.left_pod(|packet| packet.destination.to_string() == API && !packet.payload.is_empty());
    assert!(data.is_empty(), "{}", data[0]);
}

#[test]
fn revoke_new_keeps_the_connection_and_refuses_new_ones() {
    let scene = scene(60);
    let pod = &scene.pod;
    let portreeve = Setup::new(pod).policy("web.toml", &policy("revoke = \"new\"", "api.example.com", "")).start();
    assert_eq!(getent(pod, "api.example.com").len(), 1);
    let (mut talk, udp) = (Talk::start(pod, API), flow(pod, API));
    talk.expect("first words", &portreeve);
    exchange(&udp, "first datagram").unwrap();
    reload(&portreeve, &policy("revoke = \"new\"", "old.example.com", ""));
    for round in 0..3 {
        talk.expect("its host is gone", &portreeve);
        exchange(&udp, "its host is gone").unwrap();
        let refused = connect(pod, format!("{API}:443").parse().unwrap(), SECOND).expect_err("a new connection");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(exchange(&flow(pod, API), "a new flow").is_err());
        // The rule goes as well, then everything.
        let next = [policy("revoke = \"new\"", "", ""), "version = 1\nname = \"web\"\n".to_owned(), String::new()];
        if round < 2 {
            reload(&portreeve, &next[round]);
        }
    }
    // A restart knows of it too.
    let _killed = portreeve.kill_worker();
    std::thread::sleep(SECOND / 5);
    portreeve.expect_ready(LIMIT);
    exchange(&udp, "after a restart").unwrap();
    connect(pod, format!("{API}:443").parse().unwrap(), SECOND).expect_err("a new connection after a restart");
    assert!(getent(pod, "api.example.com").is_empty());
    talk.expect("under an empty policy", &portreeve);
}

#[test]
fn a_host_that_goes_from_a_rule_is_cut_while_another_hosts_flow_goes_on() {
    let scene = scene(60);
    let pod = &scene.pod;
    let portreeve = Setup::new(pod).policy("web.toml", &policy("", "api.example.com old.example.com", "")).start();
    assert_eq!((getent(pod, "api.example.com").len(), getent(pod, "old.example.com").len()), (1, 1));
    let (mut kept, mut cut, mut inbound) = (Talk::start(pod, API), Talk::start(pod, OLD), Talk::inbound(&scene));
    let (kept_udp, cut_udp) = (flow(pod, API), flow(pod, OLD));
    for talk in [&mut kept, &mut cut, &mut inbound] {
        talk.expect("first words", &portreeve);
    }
    exchange(&kept_udp, "first datagram").unwrap();
    exchange(&cut_udp, "first datagram").unwrap();
    reload(&portreeve, &policy("", "api.example.com", ""));
    let watcher = pod.watch();
    cut.expect_reset("its host is gone");
    assert!(exchange(&cut_udp, "its host is gone").is_err());
    for _ in 0..3 {
        kept.expect("still permitted", &portreeve);
        exchange(&kept_udp, "still permitted").unwrap();
        inbound.expect("inbound", &portreeve);
    }
    let out = watcher.left_pod(|packet| packet.destination.to_string() == OLD);
    assert!(out.is_empty(), "{} packets left after the reload, the first {}", out.len(), out[0]);
    assert!(!watcher.left_pod(|packet| packet.destination.to_string() == API).is_empty());
}

#[test]
fn whatever_takes_the_permission_away_cuts() {
    let deny = |what: &str| format!("version = 1\nname = \"deny\"\n[[deny]]\n{what}\n");
    let whole = policy("", "api.example.com old.example.com", "");
    let limit =
        "version = 1\nname = \"limit\"\nplatform = true\n[[limit]]\nhosts = [\"api.example.com\"]\nports = [\"*/tcp\", \"*/udp\"]\n";
    for (what, second) in [
        ("a denied host", deny("hosts = [\"old.example.com\"]")),
        ("a denied range", deny(&format!("cidrs = [\"{OLD}/32\"]"))),
        ("a denied port of a range", deny(&format!("cidrs = [\"{OLD}/32\"]\nports = [\"443\", \"9000/udp\"]"))),
        ("a platform's limit", limit.to_owned()),
    ] {
        let scene = scene(60);
        let pod = &scene.pod;
        let portreeve = Setup::new(pod).policy("web.toml", &whole).start();
        assert_eq!((getent(pod, "api.example.com").len(), getent(pod, "old.example.com").len()), (1, 1));
        let (mut kept, mut cut, udp) = (Talk::start(pod, API), Talk::start(pod, OLD), flow(pod, OLD));
        kept.expect("first words", &portreeve);
        cut.expect("first words", &portreeve);
        exchange(&udp, "first datagram").unwrap();
        let loads = portreeve.status()["loads"].as_u64();
        portreeve.swap_policies(&[("web.toml", whole.as_str()), ("more.toml", second.as_str())]);
        portreeve.wait_status(what, LIMIT, |status| status["loads"].as_u64() > loads);
        let watcher = pod.watch();
        cut.expect_reset(what);
        assert!(exchange(&udp, what).is_err(), "{what}");
        kept.expect(what, &portreeve);
        let out = watcher.left_pod(|packet| packet.destination.to_string() == OLD);
        assert!(out.is_empty(), "{what}: {} packets left after the reload, the first {}", out.len(), out[0]);
    }
}

/// No lease and no name is in play here: the denied range itself stands before established flows.
#[test]
fn a_denied_range_cuts_what_a_permitted_range_had_opened() {
    let scene = scene(60);
    let pod = &scene.pod;
    let rest = "[[allow]]\nname = \"ranges\"\ncidrs = [\"198.51.100.0/24\"]\nports = [\"443\", \"9000/udp\"]\n";
    let portreeve = Setup::new(pod).policy("web.toml", &policy("", "", rest)).start();
    let (mut kept, mut cut, udp) = (Talk::start(pod, API), Talk::start(pod, OLD), flow(pod, OLD));
    kept.expect("first words", &portreeve);
    cut.expect("first words", &portreeve);
    exchange(&udp, "first datagram").unwrap();
    reload(&portreeve, &policy("", "", &format!("{rest}[[deny]]\ncidrs = [\"{OLD}/32\"]\n")));
    let watcher = pod.watch();
    cut.expect_reset("its range is denied");
    assert!(exchange(&udp, "its range is denied").is_err());
    kept.expect("another address", &portreeve);
    let out = watcher.left_pod(|packet| packet.destination.to_string() == OLD);
    assert!(out.is_empty(), "{} packets left after the reload, the first {}", out.len(), out[0]);
}
