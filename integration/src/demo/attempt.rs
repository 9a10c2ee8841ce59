//! One attempt: played by real clients, judged by the wire.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::apps::App;
use super::stage::{OTHER_RESOLVER, Stage};
use crate::clients::{connect, dig, echo, getent};
use crate::product::portreeve;
use crate::world::{RESOLVER, RESOLVER6};
use crate::{Packet, Pod, Watcher};

/// How long an attempt may hang: a refusal is told at once, so this is not reached when all is well.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
pub(super) enum Try {
    /// Ask for the name as an app does (getaddrinfo), then connect to an IPv4 address of it.
    Name(&'static str, u16),
    /// The same with an IPv6 address.
    NameV6(&'static str, u16),
    /// Connect to an address.
    Address(&'static str),
    /// Send a datagram to an address and wait for its echo.
    Datagram(&'static str),
    /// Ask another resolver, over TCP or not.
    Resolver(&'static str, bool),
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Must {
    Leave,
    BeHeld,
}

pub(super) struct Attempt {
    pub(super) what: &'static str,
    pub(super) how: Try,
    pub(super) must: Must,
}

/// One line of the table.
pub(super) struct Row {
    pub(super) app: &'static str,
    pub(super) attempt: String,
    pub(super) happened: String,
    pub(super) why: String,
    pub(super) as_it_must: bool,
}

/// What the client saw.
struct Seen {
    said: String,
    reached: bool,
}

impl Attempt {
    pub(super) fn play(&self, app: &App, stage: &Stage, pod: &Pod, watcher: &Watcher, policies: &Path) -> Row {
        watcher.forget();
        let seen = self.how.play(pod);
        // The product's own questions for permitted names may leave; anything else of a held attempt may not.
        let own =
            |packet: &Packet| packet.destination_port == 53 && [IpAddr::from(RESOLVER), RESOLVER6.into()].contains(&packet.destination);
        let left = watcher.left_pod(|packet| !packet.is_housekeeping() && !own(packet));
        let asked_outside = self.how.asked_outside(stage);
        // The file's name is enough here; where this demo keeps it is of no interest.
        let why = self.why(pod, policies).replace(&format!("{}/", policies.display()), "");
        let (happened, held) = match (&left[..], seen.reached) {
            ([], false) if !asked_outside => (format!("held: {}", seen.said), true),
            ([], false) => ("the question left the pod".to_owned(), false),
            (_, true) => (seen.said, false),
            ([first, ..], false) => (format!("left the pod: {first}"), false),
        };
        let as_it_must = match self.must {
            Must::BeHeld => held,
            Must::Leave => seen.reached && !left.is_empty(),
        };
        Row { app: app.name, attempt: self.what.to_owned(), happened, as_it_must: as_it_must && !why.is_empty(), why }
    }

    /// Why, in the product's own words: the extended error of the refused answer, as `dig` shows it; else what `policy explain` says.
    fn why(&self, pod: &Pod, policies: &Path) -> String {
        let explain = |target: &str| {
            let said = portreeve(pod).args(["policy", "explain", "--json"]).arg(policies.display()).arg(target).output();
            let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_default();
            report["because"].as_str().unwrap_or_default().to_owned()
        };
        let refusal = |name: &str| dig(pod, &[name]).why().map(str::to_owned);
        match self.how {
            Try::Name(name, port) | Try::NameV6(name, port) => refusal(name).unwrap_or_else(|| explain(&format!("{name}:{port}"))),
            Try::Address(address) => explain(address),
            Try::Datagram(address) => explain(&format!("{address}/udp")),
            Try::Resolver(name, _) => refusal(name).unwrap_or_else(|| explain(name)),
        }
    }
}

impl Try {
    fn play(self, pod: &Pod) -> Seen {
        match self {
            Try::Name(name, port) => by_name(pod, name, port, IpAddr::is_ipv4),
            Try::NameV6(name, port) => by_name(pod, name, port, IpAddr::is_ipv6),
            Try::Address(address) => dial(pod, address.parse().expect("an address with a port")),
            Try::Datagram(address) => {
                let target = address.parse().expect("an address with a port");
                match echo(pod, target, b"hello", PATIENCE) {
                    Ok(_) => Seen { said: format!("{target} answered"), reached: true },
                    Err(cause) => Seen { said: told(&cause), reached: false },
                }
            }
            Try::Resolver(name, tcp) => {
                let server = format!("@{OTHER_RESOLVER}");
                let answer = dig(pod, &[&server, name, if tcp { "+tcp" } else { "+notcp" }]);
                let found = answer.addresses();
                match found.first() {
                    Some(address) => Seen { said: format!("{name} is {address}"), reached: true },
                    None => Seen { said: if answer.status.is_empty() { "no answer".to_owned() } else { answer.status }, reached: false },
                }
            }
        }
    }

    /// Whether a name that must not leave as a question did.
    fn asked_outside(self, stage: &Stage) -> bool {
        use crate::authority::Type;
        match self {
            Try::Resolver(name, _) => stage.other_resolver.asked_in_all() > 0 || stage.authority.asked(name, Type::A) > 0,
            _ => false,
        }
    }
}

fn by_name(pod: &Pod, name: &str, port: u16, family: impl Fn(&IpAddr) -> bool) -> Seen {
    match getent(pod, name).into_iter().find(family) {
        Some(address) => dial(pod, SocketAddr::new(address, port)),
        None => Seen { said: "no such name".to_owned(), reached: false },
    }
}

fn dial(pod: &Pod, target: SocketAddr) -> Seen {
    match connect(pod, target, PATIENCE) {
        Ok((stream, _)) => Seen { said: format!("connected to {target}{}", greeting(stream)), reached: true },
        Err(cause) => Seen { said: told(&cause), reached: false },
    }
}

/// What the server says first, if it is one that speaks first.
fn greeting(mut stream: TcpStream) -> String {
    let mut buffer = [0; 64];
    let waited = stream.set_read_timeout(Some(Duration::from_millis(100)));
    let length = waited.and_then(|()| stream.read(&mut buffer)).unwrap_or(0);
    let line = String::from_utf8_lossy(&buffer[..length]);
    line.lines().next().map_or(String::new(), |line| format!(" ({line})"))
}

fn told(cause: &std::io::Error) -> String {
    match cause.kind() {
        ErrorKind::ConnectionRefused => "refused at once".to_owned(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!("silence for {PATIENCE:?}"),
        ErrorKind::HostUnreachable => "prohibited at once".to_owned(),
        _ => cause.to_string().split(" (os error").next().unwrap_or_default().to_lowercase(),
    }
}
