//! A proxy between a scripted upstream and a scripted gate, with clients to ask it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use dnsproxy::{Config, Event, Handle, Limits, Observer, Outcome, Proxy, RecordType, Source};
use hickory_proto::{
    op::{Edns, Message, Query},
    rr::Name,
};
use policies::{Date, Pod, Policy, Surroundings, parse};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use crate::gate::ScriptedGate;

/// Longer than any reply takes, shorter than anybody's patience.
const PATIENCE: Duration = Duration::from_secs(8);

/// The policy of most tests.
pub(crate) const POLICY: &str = r#"
version = 1
name = "test"

[[allow]]
name = "web"
hosts = ["www.example.com", "*.cdn.example.net"]
ports = ["443"]

[[allow]]
name = "inside"
hosts = ["db.corp.example"]
ports = ["5432"]
private = true

[[allow]]
name = "service"
hosts = ["api.shop.svc.cluster.local"]
ports = ["80"]

[[deny]]
hosts = ["tracker.example.org"]
"#;

/// A policy from its text, in a cluster whose domain is cluster.local.
pub(crate) fn policy(text: &str) -> Policy {
    let parsed = parse(&policies::Source::new("test.toml", text));
    let file = parsed.file.unwrap_or_else(|| panic!("{}", parsed.problems));
    let surroundings =
        Surroundings { search: vec!["shop.svc.cluster.local".parse().unwrap()], ..Surroundings::stand_in(Date::new(2026, 8, 1).unwrap()) };
    let pod = Pod { namespace: "shop".into(), name: "test-0".into(), labels: BTreeMap::new() };
    Policy::compile(&[file], &pod, &surroundings).unwrap()
}

/// What an observer heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ttl: Option<u32>,
    pub(crate) source: Source,
}

/// Notes what it hears.
#[derive(Clone, Default)]
pub(crate) struct Ear(Arc<Mutex<Vec<Heard>>>);

impl Observer for Ear {
    fn told(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(Heard {
            name: event.name().to_string(),
            outcome: event.outcome.clone(),
            addresses: event.addresses().collect(),
            ttl: event.ttl,
            source: event.source,
        });
    }
}

/// A proxy that runs until it is dropped.
pub(crate) struct World {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) policy: Arc<ArcSwap<Policy>>,
    pub(crate) handle: Handle<ScriptedGate>,
    ear: Ear,
    pub(crate) cancel: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
}

impl World {
    /// With the default limits.
    pub(crate) async fn start(upstreams: &[SocketAddr], gate: ScriptedGate) -> Self {
        Self::with_limits(upstreams, gate, Limits::default()).await
    }

    /// With these limits.
    pub(crate) async fn with_limits(upstreams: &[SocketAddr], gate: ScriptedGate, limits: Limits) -> Self {
        let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], upstreams: upstreams.to_vec(), identity: None, limits };
        let policy = Arc::new(ArcSwap::from_pointee(policy(POLICY)));
        let ear = Ear::default();
        let proxy = Proxy::bind(config, Arc::clone(&policy), gate, ear.clone()).unwrap();
        let (cancel, cancelled) = oneshot::channel::<()>();
        let (addresses, handle) = (proxy.addresses().to_vec(), proxy.handle());
        let task = tokio::spawn(async move {
            proxy.run(async { drop(cancelled.await) }).await.unwrap();
        });
        Self { addresses, policy, handle, ear, cancel: Some(cancel), task }
    }

    /// With the default limits, under this policy.
    pub(crate) async fn under(text: &str, upstreams: &[SocketAddr], gate: ScriptedGate) -> Self {
        let world = Self::start(upstreams, gate).await;
        world.set_policy(text);
        world
    }

    /// Puts another policy in force.
    pub(crate) fn set_policy(&self, text: &str) {
        self.policy.store(policy(text).into());
    }

    /// Waits for the end of a round: what was asked of the handle before is done by then.
    pub(crate) async fn round(&self) {
        self.handle.with_gate(|_| ()).await.unwrap();
    }

    /// What the observer heard; waits for the first word, which comes after the reply.
    pub(crate) async fn heard(&self) -> Vec<Heard> {
        self.heard_of(1).await
    }

    /// What the observer heard; waits for so many words.
    pub(crate) async fn heard_of(&self, count: usize) -> Vec<Heard> {
        for _ in 0..200 {
            let heard = self.ear.0.lock().unwrap().clone();
            if heard.len() >= count {
                return heard;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the observer was not told so much");
    }

    /// A client's socket, connected to the proxy's first address.
    pub(crate) async fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.addresses[0]).await.unwrap();
        socket
    }

    /// Asks over UDP and waits for the reply.
    pub(crate) async fn ask(&self, name: &str, rtype: RecordType) -> Message {
        self.send(&question(name, rtype)).await.expect("a reply")
    }

    /// Asks over UDP with an OPT record.
    pub(crate) async fn ask_edns(&self, name: &str, rtype: RecordType) -> Message {
        let mut query = question(name, rtype);
        query.edns = Some(Edns::new());
        self.send(&query).await.expect("a reply")
    }

    /// Sends a message over UDP; `None` if nothing came back.
    pub(crate) async fn send(&self, query: &Message) -> Option<Message> {
        let client = self.client().await;
        client.send(&query.to_vec().unwrap()).await.unwrap();
        receive(&client, PATIENCE).await
    }

    /// Asks over TCP.
    pub(crate) async fn ask_tcp(&self, query: &Message) -> Message {
        let mut stream = TcpStream::connect(self.addresses[0]).await.unwrap();
        write_framed(&mut stream, query).await;
        timeout(PATIENCE, read_framed(&mut stream)).await.unwrap().expect("a reply")
    }
}

/// The next message a client gets within `time`.
pub(crate) async fn receive(client: &UdpSocket, time: Duration) -> Option<Message> {
    let mut buffer = vec![0; 65_535];
    let length = timeout(time, client.recv(&mut buffer)).await.ok()?.unwrap();
    Some(Message::from_vec(&buffer[..length]).unwrap())
}

/// Writes a message with its length.
pub(crate) async fn write_framed(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
}

/// Reads a message with its length; `None` at the end of the stream.
pub(crate) async fn read_framed(stream: &mut TcpStream) -> Option<Message> {
    let length = stream.read_u16().await.ok()?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.unwrap();
    Some(Message::from_vec(&bytes).unwrap())
}

/// A query.
pub(crate) fn question(name: &str, rtype: RecordType) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.queries.push(Query::query(Name::from_ascii(name).unwrap(), rtype));
    query
}

/// A query with an OPT record, and DO in it.
pub(crate) fn question_edns(name: &str, rtype: RecordType, dnssec_ok: bool) -> Message {
    let mut edns = Edns::new();
    edns.set_dnssec_ok(dnssec_ok);
    let mut query = question(name, rtype);
    query.edns = Some(edns);
    query
}

/// An address from its text.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The addresses in a reply's answer section, sorted.
pub(crate) fn addresses(reply: &Message) -> Vec<IpAddr> {
    let mut addresses: Vec<_> = reply.all_sections().filter_map(|record| record.data.ip_addr()).collect();
    addresses.sort();
    addresses
}

/// The extended error of a reply: its code and text (RFC 8914).
pub(crate) fn extended_error(reply: &Message) -> Option<(u16, String)> {
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    match reply.edns.as_ref()?.option(EdnsCode::from(15))? {
        EdnsOption::Unknown(15, data) => Some((u16::from_be_bytes([data[0], data[1]]), String::from_utf8(data[2..].to_vec()).unwrap())),
        _ => None,
    }
}
