//! The sockets of an [`super::Authority`]: what arrives, what is sent back, and how it is bent on the way.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use super::behaviour::Behaviour;
use super::{Question, State, absolute, plain};

type Shared = Arc<Mutex<State>>;

/// The messages to send, and how.
struct Plan {
    messages: Vec<Vec<u8>>,
    delay: std::time::Duration,
    from_another_port: bool,
    close: bool,
}

pub(super) async fn start(state: &Shared, wanted: &[SocketAddr]) -> (Vec<SocketAddr>, Vec<JoinHandle<()>>) {
    let (mut addresses, mut tasks) = (Vec::new(), Vec::new());
    for address in wanted {
        let tcp = TcpListener::bind(address).await.unwrap_or_else(|cause| panic!("authority on {address} tcp: {cause}"));
        let real = tcp.local_addr().expect("own address");
        let udp = UdpSocket::bind(real).await.unwrap_or_else(|cause| panic!("authority on {real} udp: {cause}"));
        addresses.push(real);
        tasks.push(tokio::spawn(serve_udp(Arc::clone(state), Arc::new(udp), real)));
        tasks.push(tokio::spawn(serve_tcp(Arc::clone(state), tcp, real)));
    }
    (addresses, tasks)
}

async fn serve_udp(state: Shared, socket: Arc<UdpSocket>, own: SocketAddr) {
    let mut buffer = vec![0; 65_535];
    loop {
        // An ICMP error of an earlier answer is reported here; it is nobody's question.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(plan) = plan(&state, &buffer[..length], from, own, false) else { continue };
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            tokio::time::sleep(plan.delay).await;
            let other = if plan.from_another_port { UdpSocket::bind((own.ip(), 0)).await.ok() } else { None };
            for message in plan.messages {
                let _client_gone = other.as_ref().unwrap_or(&socket).send_to(&message, from).await;
            }
        });
    }
}

async fn serve_tcp(state: Shared, listener: TcpListener, own: SocketAddr) {
    while let Ok((stream, from)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let _client_gone = serve_connection(&state, stream, from, own).await;
        });
    }
}

async fn serve_connection(state: &Shared, mut stream: TcpStream, from: SocketAddr, own: SocketAddr) -> io::Result<()> {
    loop {
        let mut message = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut message).await?;
        let Some(plan) = plan(state, &message, from, own, true) else { continue };
        if plan.close {
            return Ok(());
        }
        tokio::time::sleep(plan.delay).await;
        for message in plan.messages {
            let length = u16::try_from(message.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], &message].concat()).await?;
        }
    }
}

/// Notes the question and decides what goes back; `None` is silence.
fn plan(state: &Shared, bytes: &[u8], from: SocketAddr, own: SocketAddr, tcp: bool) -> Option<Plan> {
    let query = Message::from_vec(bytes).ok()?;
    let asked = query.queries.first()?.clone();
    let mut state = state.lock().unwrap();
    state.note(Question {
        at: SystemTime::now(),
        name: plain(&asked.name),
        spelled: asked.name.to_ascii().trim_end_matches('.').to_owned(),
        record_type: asked.query_type,
        id: query.metadata.id,
        from,
        to: own,
        tcp,
        edns: query.edns.as_ref().map(Edns::max_payload),
    });
    let behaviours = state.behaviours.take(&asked.name.to_lowercase());
    let honest = state.records.answer(&asked.name, asked.query_type);
    drop(state);

    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.authoritative = true;
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(asked.clone());
    if !honest.exists {
        reply.metadata.response_code = ResponseCode::NXDomain;
    }
    reply.answers = honest.answers;
    reply.authorities.extend(honest.soa);
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        reply.set_edns(edns);
    }
    let mut plan = Plan { messages: Vec::new(), delay: std::time::Duration::ZERO, from_another_port: false, close: false };
    let mut before = Vec::new();
    for behaviour in &behaviours {
        match behaviour {
            Behaviour::Drop => return None,
            Behaviour::DropUdp if !tcp => return None,
            Behaviour::DropFirst(1..) => return None,
            Behaviour::Delay(delay) => plan.delay = *delay,
            Behaviour::WrongPort => plan.from_another_port = true,
            Behaviour::CloseTcp => plan.close = true,
            Behaviour::ForgedFirst(address) => before = forged(&reply, &asked.name, *address),
            other => bend(&mut reply, other, tcp),
        }
    }
    let mut bytes = encode(&mut reply, query.max_payload(), tcp);
    bend_bytes(&mut bytes, &behaviours);
    plan.messages = before;
    plan.messages.push(bytes.clone());
    if behaviours.contains(&Behaviour::Twice) {
        plan.messages.push(bytes);
    }
    Some(plan)
}

fn bend(reply: &mut Message, behaviour: &Behaviour, tcp: bool) {
    match behaviour {
        Behaviour::TruncateUdp if !tcp => truncate(reply),
        Behaviour::Code(code) => {
            reply.metadata.response_code = *code;
            reply.answers.clear();
            reply.authorities.clear();
        }
        Behaviour::WrongId => reply.metadata.id = reply.metadata.id.wrapping_add(1),
        Behaviour::WrongQuestion => {
            for query in &mut reply.queries {
                query.name = absolute("another.example.net");
            }
        }
        Behaviour::Stray(name, address) => {
            let stray = Record::from_rdata(absolute(name), 60, RData::A(A(*address)));
            reply.answers.push(stray.clone());
            reply.authorities.push(stray.clone());
            reply.additionals.push(stray);
        }
        Behaviour::LowerCase => {
            for query in &mut reply.queries {
                query.name = query.name.to_lowercase();
            }
            for record in &mut reply.answers {
                record.name = record.name.to_lowercase();
            }
        }
        Behaviour::NoSoa => reply.authorities.clear(),
        _ => {}
    }
}

fn bend_bytes(bytes: &mut Vec<u8>, behaviours: &[Behaviour]) {
    for behaviour in behaviours {
        match behaviour {
            Behaviour::Garbage => {
                bytes.truncate(2);
                bytes.extend([0xff; 30]);
            }
            Behaviour::CutAt(length) => bytes.truncate(*length),
            _ => {}
        }
    }
}

/// Twenty messages as an attacker off the path would send them: ids near the right one, never it.
fn forged(reply: &Message, name: &Name, address: Ipv4Addr) -> Vec<Vec<u8>> {
    let forge = |offset: u16| {
        let mut message = Message::new(reply.metadata.id.wrapping_add(offset), MessageType::Response, OpCode::Query);
        message.metadata = reply.metadata;
        message.metadata.id = reply.metadata.id.wrapping_add(offset);
        message.metadata.response_code = ResponseCode::NoError;
        message.add_queries(reply.queries.iter().cloned());
        message.add_answer(Record::from_rdata(name.clone(), 3600, RData::A(A(address))));
        message.to_vec().expect("a small message")
    };
    (1..=20).map(forge).collect()
}

fn encode(reply: &mut Message, room: u16, tcp: bool) -> Vec<u8> {
    let bytes = reply.to_vec().expect("an answer fits 64 KiB");
    if tcp || bytes.len() <= usize::from(room.max(512)) {
        return bytes;
    }
    truncate(reply);
    reply.to_vec().expect("a small message")
}

fn truncate(reply: &mut Message) {
    reply.metadata.truncation = true;
    reply.answers.clear();
    reply.authorities.clear();
    reply.additionals.clear();
}
