//! Clients: the resolvers that apps link (glibc, musl), the tools people use (dig, curl), and bare sockets.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

use crate::stubs::{self, Libc};
use crate::{Finished, Namespace, Pod};

/// Asks one question over UDP in `namespace`, with EDNS; `None` when no message with the question's id comes within `limit`.
///
/// # Panics
/// When the name cannot be read or no socket can be had.
#[must_use]
pub fn ask(namespace: &Arc<Namespace>, server: SocketAddr, name: &str, record_type: RecordType, limit: Duration) -> Option<Message> {
    namespace.run(|| ask_here(server, name, record_type, limit)).ok()
}

/// The same in the namespace that the calling thread is in, with the reason when there is no answer.
///
/// # Errors
/// What send() or recv() said: `WouldBlock` when the time was up.
///
/// # Panics
/// When the name cannot be read or no socket can be had.
pub fn ask_here(server: SocketAddr, name: &str, record_type: RecordType, limit: Duration) -> io::Result<Message> {
    // from_ascii keeps the case, from_str does not.
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    let id = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |at| at.subsec_micros() as u16);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, record_type));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    let bytes = message.to_vec().expect("a small message");
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    let end = Instant::now() + limit;
    socket.connect(server)?;
    socket.send(&bytes)?;
    let mut buffer = [0; 65_535];
    loop {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        if let Some(reply) = Message::from_vec(&buffer[..length]).ok().filter(|reply| reply.metadata.id == id) {
            return Ok(reply);
        }
    }
}

/// Connects from the pod; gives the stream and how long it took.
///
/// # Errors
/// What connect() said: refused at once, or the time-out.
pub fn connect(pod: &Pod, target: SocketAddr, limit: Duration) -> io::Result<(TcpStream, Duration)> {
    pod.run(|| {
        let start = Instant::now();
        let stream = TcpStream::connect_timeout(&target, limit)?;
        Ok((stream, start.elapsed()))
    })
}

/// Sends one datagram from the pod and waits for what comes back.
///
/// # Errors
/// What send() or recv() said.
pub fn echo(pod: &Pod, target: SocketAddr, payload: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    pod.run(|| {
        let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(limit))?;
        socket.connect(target)?;
        socket.send(payload)?;
        let mut buffer = vec![0; 65_535];
        let length = socket.recv(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    })
}

/// The addresses that glibc gives an app: `getent ahosts NAME`. Empty when it has none.
#[must_use]
pub fn getent(pod: &Pod, name: &str) -> Vec<IpAddr> {
    addresses(&pod.command("getent").args(["ahosts", name]).output())
}

/// The addresses that musl gives an app. Empty when it has none.
#[must_use]
pub fn musl(pod: &Pod, name: &str) -> Vec<IpAddr> {
    stubs::resolve(pod, Libc::Musl, name).addresses
}

fn addresses(said: &Finished) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = said.stdout.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// What `dig` made of an answer.
#[derive(Clone, Debug)]
pub struct Dig {
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL` …; empty when no answer came.
    pub status: String,
    /// The answer section: (name, TTL, type, data).
    pub answers: Vec<(String, u32, String, String)>,
    /// The SOA in the authority section, as text.
    pub soa: Option<String>,
    /// Extended DNS errors: (code, text).
    pub ede: Vec<(u16, String)>,
    /// Everything it printed.
    pub raw: String,
}

impl Dig {
    /// The addresses in the answer section.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.answers.iter().filter_map(|(_, _, _, data)| data.parse().ok()).collect()
    }

    /// Why it was refused, as the first extended error says.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.ede.first().map(|(_, text)| text.as_str())
    }
}

/// `dig ARGS` in the pod, one try of 3 s: `dig(&pod, &["@10.96.0.10", "api.example.com", "AAAA", "+tcp"])`.
#[must_use]
pub fn dig(pod: &Pod, args: &[&str]) -> Dig {
    let said = pod.command("dig").args(["+tries=1", "+time=3", "+nocookie"]).args(args).output();
    read_dig(said.stdout + &said.stderr)
}

fn read_dig(raw: String) -> Dig {
    let mut dig = Dig { status: String::new(), answers: Vec::new(), soa: None, ede: Vec::new(), raw: String::new() };
    let mut section = "";
    for line in raw.lines() {
        if let Some((_, rest)) = line.split_once("status: ") {
            dig.status = rest.split(',').next().unwrap_or_default().to_owned();
        } else if let Some(rest) = line.strip_prefix("; EDE: ") {
            dig.ede.extend(read_ede(rest));
        } else if line.starts_with(";;") {
            section = line;
        } else if let [name, ttl, _class, record_type, data @ ..] = line.split_whitespace().collect::<Vec<_>>().as_slice() {
            let Ok(ttl) = ttl.parse() else { continue };
            if section.starts_with(";; ANSWER") {
                dig.answers.push(((*name).to_owned(), ttl, (*record_type).to_owned(), data.join(" ")));
            } else if section.starts_with(";; AUTHORITY") && *record_type == "SOA" {
                dig.soa = Some(line.to_owned());
            }
        }
    }
    dig.raw = raw;
    dig
}

/// `15 (Blocked): (the text)`: the outer parentheses are dig's.
fn read_ede(text: &str) -> Option<(u16, String)> {
    let (code, rest) = text.split_once(' ')?;
    let said = rest.split_once(": ").map_or("", |(_, said)| said.trim());
    let said = said.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(said);
    Some((code.parse().ok()?, said.to_owned()))
}

/// `curl` to a URL in the pod, 5 s at most, certificates unchecked; gives (exit code, HTTP status, body and messages).
#[must_use]
pub fn curl(pod: &Pod, url: &str) -> Finished {
    pod.command("curl").args(["--silent", "--show-error", "--insecure", "--max-time", "5", "--noproxy", "*", url]).output()
}
