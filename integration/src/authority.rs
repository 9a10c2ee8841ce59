//! An authoritative server whose records change while it runs, that counts what it is asked, and that lies when told to.
//!
//! It speaks hickory-proto's messages over its own sockets: hickory-server makes and checks ids and questions itself, so it
//! cannot be made to send wrong ones. It answers every name (what it does not know is NXDOMAIN with a SOA), with AA and RA
//! set, so that it can stand for a resolver as well as for an authority.

mod behaviour;
mod records;
mod serve;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use hickory_proto::rr::{Name, RecordType};
use tokio::task::JoinHandle;

pub use behaviour::Behaviour;
pub use hickory_proto::op::ResponseCode;
pub use hickory_proto::rr::RecordType as Type;

use crate::Namespace;
use records::Records;

/// How many questions are kept; the counters go on.
const KEPT: usize = 200_000;

/// The server; it stops when this value is dropped.
#[derive(Debug)]
pub struct Authority {
    state: Arc<Mutex<State>>,
    addresses: Vec<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    _namespace: Arc<Namespace>,
}

/// One question as it came over the wire.
#[derive(Clone, Debug)]
pub struct Question {
    /// When it arrived.
    pub at: SystemTime,
    /// Lower-case name, without the trailing dot.
    pub name: String,
    /// The name with the case it had on the wire.
    pub spelled: String,
    /// What was asked for.
    pub record_type: RecordType,
    /// The message's id.
    pub id: u16,
    /// Who asked, with the source port.
    pub from: SocketAddr,
    /// The server's address that was asked.
    pub to: SocketAddr,
    /// Over TCP.
    pub tcp: bool,
    /// The EDNS payload size, if there was an OPT record.
    pub edns: Option<u16>,
}

#[derive(Debug, Default)]
struct State {
    records: Records,
    behaviours: behaviour::Table,
    questions: Vec<Question>,
    counts: std::collections::HashMap<(String, RecordType), u64>,
}

impl Authority {
    pub(crate) fn start(namespace: &Arc<Namespace>, addresses: &[SocketAddr]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (for_loop, wanted) = (Arc::clone(&state), addresses.to_vec());
        let (addresses, tasks) = namespace.wait_for(async move { serve::start(&for_loop, &wanted).await });
        Self { state, addresses, tasks, _namespace: Arc::clone(namespace) }
    }

    /// Where it listens (port 0 has become a real one).
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Sets the records of one name and type: the text of each is as in a zone file, names in it absolute
    /// (`"target.example.com."`). What was there before is replaced. TTL in seconds. A leading `*.` label stands for every name
    /// below that has no records of its own.
    ///
    /// # Panics
    /// When a name or a record cannot be read.
    pub fn set(&self, name: &str, record_type: RecordType, data: &[&str], ttl: u32) {
        self.state().records.set(&absolute(name), record_type, data, ttl);
    }

    /// Shorthand: A records.
    pub fn a(&self, name: &str, addresses: &[&str], ttl: u32) {
        self.set(name, RecordType::A, addresses, ttl);
    }

    /// Shorthand: AAAA records.
    pub fn aaaa(&self, name: &str, addresses: &[&str], ttl: u32) {
        self.set(name, RecordType::AAAA, addresses, ttl);
    }

    /// Shorthand: a CNAME record. Chains and loops are served as they are, 16 links at most.
    pub fn cname(&self, name: &str, target: &str, ttl: u32) {
        self.set(name, RecordType::CNAME, &[&format!("{}.", target.trim_end_matches('.'))], ttl);
    }

    /// Takes the records of one name and type away.
    ///
    /// # Panics
    /// When the name cannot be read.
    pub fn remove(&self, name: &str, record_type: RecordType) {
        self.state().records.remove(&absolute(name), record_type);
    }

    /// From now on questions for `name` are treated so (all of them, in order); an empty list is honest again.
    pub fn behave(&self, name: &str, behaviours: &[Behaviour]) {
        self.state().behaviours.set(Some(&absolute(name)), behaviours);
    }

    /// The same for every name that has none of its own.
    pub fn behave_always(&self, behaviours: &[Behaviour]) {
        self.state().behaviours.set(None, behaviours);
    }

    /// How often this name and type was asked for.
    #[must_use]
    pub fn asked(&self, name: &str, record_type: RecordType) -> u64 {
        self.state().counts.get(&(plain(&absolute(name)), record_type)).copied().unwrap_or(0)
    }

    /// How many questions there were in all.
    #[must_use]
    pub fn asked_in_all(&self) -> u64 {
        self.state().counts.values().sum()
    }

    /// The questions seen, oldest first (the first 200,000).
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        self.state().questions.clone()
    }

    /// Forgets questions and counts.
    pub fn forget(&self) {
        let mut state = self.state();
        state.questions.clear();
        state.counts.clear();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl State {
    fn note(&mut self, question: Question) {
        *self.counts.entry((question.name.clone(), question.record_type)).or_default() += 1;
        if self.questions.len() < KEPT {
            self.questions.push(question);
        }
    }
}

fn absolute(name: &str) -> Name {
    let mut name = Name::from_str(name).unwrap_or_else(|cause| panic!("{name}: {cause}")).to_lowercase();
    name.set_fqdn(true);
    name
}

/// Lower case, no trailing dot.
fn plain(name: &Name) -> String {
    name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()
}
