//! What alike flows have in common: told once for all of them, kept once for all of them.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use nft::{Connection, FlowOwner, Packet, Told, ToldPacket};

use crate::record::{Cause, Direction, FlowEvent, FlowRecord, Timestamp, Transport, Verdict, cause};

/// What the kernel tells of a flow and what is asked of the fence about it: packets that are equal in this are joined once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Whose it is; `None`: it was refused, or passed in audit.
    pub owner: Owner,
    /// Who began it.
    pub source: IpAddr,
    /// With whom.
    pub destination: IpAddr,
    /// The number of the protocol.
    pub protocol: u8,
    /// The destination's port.
    pub port: Option<u16>,
    /// The user of the socket.
    pub uid: Option<u32>,
}

/// Whose a flow is, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A rule permits it, nothing opens it but it passed, or it came in.
    Passed(FlowOwner),
    /// Nothing opens it.
    Refused,
}

impl Owner {
    /// Whether a connection with this mark is such a flow's.
    pub fn is_of(self, mark: FlowOwner) -> bool {
        self == Owner::Passed(mark) || (self == Owner::Refused && mark == FlowOwner::Audit)
    }
}

impl Seen {
    /// Of a packet that was told.
    pub fn of_packet(told: &ToldPacket) -> Self {
        let Packet { source, destination, protocol, destination_port, uid, .. } = told.packet;
        let owner = match told.what {
            Told::Refused => Owner::Refused,
            Told::Permitted(id) => Owner::Passed(FlowOwner::Rule(id)),
            Told::Inbound => Owner::Passed(FlowOwner::Inbound),
        };
        Seen { owner, source, destination, protocol, port: destination_port, uid }
    }

    /// Of an entry of the connection table whose beginning was not told.
    pub fn of_connection(connection: &Connection) -> Self {
        let Connection { owner, source, destination, protocol, destination_port, .. } = *connection;
        Seen { owner: Owner::Passed(owner), source, destination, protocol, port: destination_port, uid: None }
    }
}

/// A flow as it is told, without what differs from one to the next: two kinds are equal if their flows are alike, however long ago a lease
/// of theirs has ended.
#[derive(Debug, Clone)]
pub struct Kind {
    /// What the kernel told.
    pub seen: Seen,
    /// What the policy says.
    pub verdict: Verdict,
    /// Whether the pod was held.
    pub audit: bool,
    /// The names, sorted.
    pub names: Vec<String>,
    /// The rule and its policy.
    pub rule: Option<RuleName>,
    /// Why not.
    pub cause: Option<Cause>,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        let cause = match (&self.cause, &other.cause) {
            (Some(Cause::LeaseEnded { name, .. }), Some(Cause::LeaseEnded { name: of_other, .. })) => name == of_other,
            (one, other) => one == other,
        };
        let Kind { seen, verdict, audit, names, rule, cause: _ } = other;
        cause && self.seen == *seen && self.verdict == *verdict && self.audit == *audit && self.names == *names && self.rule == *rule
    }
}

impl Eq for Kind {}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.seen, self.verdict, &self.names).hash(state);
    }
}

/// A rule as people know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleName {
    /// The policy.
    pub policy: std::sync::Arc<str>,
    /// The rule in it.
    pub rule: std::sync::Arc<str>,
}

/// What was folded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fold {
    /// How many.
    pub count: u64,
    /// When the first was.
    pub first: Timestamp,
    /// When the last was.
    pub last: Timestamp,
    /// The source port of the only one.
    pub source_port: Option<u16>,
    /// What went out and came in.
    pub volumes: Option<Volumes>,
    /// Milliseconds, summed; of flows whose beginning was seen.
    pub duration_ms: Option<u64>,
}

/// Volumes, seen from the pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Volumes {
    /// From the pod.
    pub sent: nft::Volume,
    /// To the pod.
    pub received: nft::Volume,
}

impl Fold {
    /// One flow.
    pub fn one(at: Timestamp, source_port: Option<u16>) -> Self {
        Fold { count: 1, first: at, last: at, source_port, volumes: None, duration_ms: None }
    }

    /// Takes in others.
    pub fn add(&mut self, other: &Fold) {
        if self.count == 0 {
            *self = *other;
            return;
        }
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.source_port = None;
        let sum = |one: nft::Volume, other: nft::Volume| nft::Volume {
            packets: one.packets.saturating_add(other.packets),
            bytes: one.bytes.saturating_add(other.bytes),
        };
        self.volumes = match (self.volumes, other.volumes) {
            (Some(one), Some(other)) => Some(Volumes { sent: sum(one.sent, other.sent), received: sum(one.received, other.received) }),
            (one, other) => one.or(other),
        };
        self.duration_ms = match (self.duration_ms, other.duration_ms) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
    }
}

impl Kind {
    /// Whether somebody outside began it.
    pub fn came_in(&self) -> bool {
        self.seen.owner == Owner::Passed(FlowOwner::Inbound)
    }

    /// The record of what was folded.
    pub fn record(&self, event: FlowEvent, fold: &Fold) -> FlowRecord {
        let Seen { source, destination, protocol, port, uid, .. } = self.seen;
        FlowRecord {
            event,
            verdict: self.verdict,
            mode: if self.audit { "audit" } else { "enforce" }.to_owned(),
            direction: if self.came_in() { Direction::Inbound } else { Direction::Outbound },
            count: fold.count,
            first: fold.first,
            last: fold.last,
            shared_address: self.names.len() > 1,
            names: self.names.clone(),
            rule: self.rule.as_ref().map(|rule| rule.rule.to_string()),
            policy: self.rule.as_ref().map(|rule| rule.policy.to_string()),
            cause: self.cause.clone(),
            transport: Transport::from_number(protocol),
            network_type: cause::network_type(destination).to_owned(),
            source,
            source_port: fold.source_port.filter(|_| fold.count == 1),
            destination,
            destination_port: port,
            uid,
            bytes_sent: fold.volumes.map(|volumes| volumes.sent.bytes),
            bytes_received: fold.volumes.map(|volumes| volumes.received.bytes),
            packets_sent: fold.volumes.map(|volumes| volumes.sent.packets),
            packets_received: fold.volumes.map(|volumes| volumes.received.packets),
            duration_ms: fold.duration_ms,
        }
    }
}
