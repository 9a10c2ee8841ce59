//! An upstream resolver that answers, lies, delays and stays silent as a test tells it to.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{A, AAAA, CNAME, SOA},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

/// A query as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) message: Message,
    pub(crate) tcp: bool,
    /// Came while an equal one was not answered yet: sent again because the machine is slow, or the script is.
    pub(crate) again: bool,
}

/// One step of an answer.
pub(crate) enum Act {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends them from another socket (UDP only).
    FromElsewhere(Vec<u8>),
    /// Waits.
    Wait(Duration),
}

type Script = Arc<dyn Fn(&Seen) -> Vec<Act> + Send + Sync>;

/// The scripted upstream. Ends when dropped.
pub(crate) struct ScriptedUpstream {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl ScriptedUpstream {
    /// Starts one that does what `script` says about each query.
    pub(crate) async fn start(script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let script: Script = Arc::new(script);
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (Arc::new(udp), tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&script), Arc::clone(&seen)));
        tasks.spawn(serve_tcp(tcp, script, Arc::clone(&seen)));
        Self { address, seen, _tasks: tasks }
    }

    /// One that answers every A with 203.0.113.1 and every AAAA with 2001:db8::1, TTL 300.
    pub(crate) async fn honest() -> Self {
        Self::start(|seen| vec![Act::Send(bytes(&honest_answer(seen)))]).await
    }

    /// One that answers like the honest one, after a while.
    pub(crate) async fn slow(wait: Duration) -> Self {
        Self::start(move |seen| vec![Act::Wait(wait), Act::Send(bytes(&honest_answer(seen)))]).await
    }

    /// One that answers like the honest one, with this TTL.
    pub(crate) async fn with_ttl(ttl: u32) -> Self {
        Self::start(move |seen| vec![Act::Send(bytes(&aged(honest_answer(seen), ttl)))]).await
    }

    /// How many questions it was asked so far, each once however often it was sent.
    pub(crate) fn questions(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| !seen.again).count()
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, script: Script, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut tasks = JoinSet::new();
    let mut buffer = [0; 4096];
    let unanswered: Arc<Mutex<Vec<_>>> = Arc::default();
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let message = Message::from_vec(&buffer[..length]).unwrap();
        let question = &message.queries[0];
        let dnssec_ok = message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let key = (question.name.to_lowercase(), question.query_type, dnssec_ok, message.metadata.checking_disabled);
        let again = unanswered.lock().unwrap().contains(&key);
        let query = Seen { message, tcp: false, again };
        seen.lock().unwrap().push(query.clone());
        let acts = script(&query);
        let (socket, unanswered) = (Arc::clone(&socket), Arc::clone(&unanswered));
        unanswered.lock().unwrap().push(key.clone());
        tasks.spawn(async move {
            for act in acts {
                match act {
                    Act::Send(bytes) => drop(socket.send_to(&bytes, from).await),
                    Act::FromElsewhere(bytes) => {
                        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                        other.send_to(&bytes, from).await.unwrap();
                    }
                    Act::Wait(time) => tokio::time::sleep(time).await,
                }
            }
            unanswered.lock().unwrap().retain(|open| *open != key);
        });
    }
}

async fn serve_tcp(listener: TcpListener, script: Script, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut tasks = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
        tasks.spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut buffer = vec![0; usize::from(length)];
                stream.read_exact(&mut buffer).await.unwrap();
                let query = Seen { message: Message::from_vec(&buffer).unwrap(), tcp: true, again: false };
                seen.lock().unwrap().push(query.clone());
                for act in script(&query) {
                    match act {
                        Act::Send(bytes) => {
                            stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
                            stream.write_all(&bytes).await.unwrap();
                        }
                        Act::FromElsewhere(_) => unreachable!("a stream has one source"),
                        Act::Wait(time) => tokio::time::sleep(time).await,
                    }
                }
            }
        });
    }
}

/// An empty NOERROR to a query, with its id and question.
pub(crate) fn empty_answer(seen: &Seen) -> Message {
    let mut message = Message::new(seen.message.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.queries = seen.message.queries.clone();
    message
}

/// One address of the type asked for; empty for other types.
pub(crate) fn honest_answer(seen: &Seen) -> Message {
    let mut message = empty_answer(seen);
    let question = &seen.message.queries[0];
    match u16::from(question.query_type) {
        1 => message.answers.push(address(&question.name.to_string(), 300, "203.0.113.1")),
        28 => message.answers.push(address(&question.name.to_string(), 300, "2001:db8::1")),
        _ => {}
    }
    message
}

/// The same message with this TTL in every answer.
pub(crate) fn aged(mut message: Message, ttl: u32) -> Message {
    for record in &mut message.answers {
        record.ttl = ttl;
    }
    message
}

/// Nothing, by this code; with a SOA of these two numbers, its TTL and its MINIMUM, if there are any.
pub(crate) fn nothing(seen: &Seen, code: ResponseCode, soa: Option<(u32, u32)>) -> Message {
    let mut message = empty_answer(seen);
    message.metadata.response_code = code;
    let name = |text| Name::from_ascii(text).unwrap();
    message.authorities.extend(soa.map(|(ttl, minimum)| {
        let soa = SOA::new(name("ns.example.com."), name("hostmaster.example.com."), 7, 1, 2, 3, minimum);
        Record::from_rdata(name("example.com."), ttl, RData::SOA(soa))
    }));
    message
}

/// An answer with these records.
pub(crate) fn answer_with(seen: &Seen, records: &[Record]) -> Vec<Act> {
    let mut message = empty_answer(seen);
    message.answers = records.to_vec();
    vec![Act::Send(bytes(&message))]
}

/// An A or AAAA record.
pub(crate) fn address(owner: &str, ttl: u32, address: &str) -> Record {
    let data = match IpAddr::from_str(address).unwrap() {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    Record::from_rdata(Name::from_ascii(owner).unwrap(), ttl, data)
}

/// A CNAME record.
pub(crate) fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(Name::from_ascii(owner).unwrap(), ttl, RData::CNAME(CNAME(Name::from_ascii(target).unwrap())))
}

/// A message on the wire.
pub(crate) fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}
