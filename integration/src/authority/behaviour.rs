//! What a server that cannot be trusted does, one deed a value.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;

/// One deed. Several on one name are done together.
#[derive(Clone, Debug, PartialEq)]
pub enum Behaviour {
    /// Answer this much later.
    Delay(Duration),
    /// Do not answer at all.
    Drop,
    /// Do not answer over UDP; answer over TCP.
    DropUdp,
    /// Do not answer the next so many questions.
    DropFirst(u32),
    /// Over UDP, answer with TC set and no records.
    TruncateUdp,
    /// Answer with this code and no records.
    Code(ResponseCode),
    /// Answer with another id, and never with the right one.
    WrongId,
    /// Answer with another name in the question section.
    WrongQuestion,
    /// Answer from another source port (UDP only).
    WrongPort,
    /// Send forged messages first (other ids, an address record for the name that points to this address), then the true one.
    ForgedFirst(Ipv4Addr),
    /// Add records that nobody asked for: this name has this address, in the answer, authority and additional sections.
    Stray(String, Ipv4Addr),
    /// Answer with the name in lower case, in question and records (0x20 case is lost).
    LowerCase,
    /// Answer with bytes that are no message: the id, then 0xff.
    Garbage,
    /// Cut the message after so many bytes.
    CutAt(usize),
    /// Answer every question twice.
    Twice,
    /// Close TCP connections without an answer.
    CloseTcp,
    /// Answer without a SOA where there is nothing.
    NoSoa,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    of_name: HashMap<Name, Vec<Behaviour>>,
    of_all: Vec<Behaviour>,
}

impl Table {
    pub(super) fn set(&mut self, name: Option<&Name>, behaviours: &[Behaviour]) {
        match name {
            Some(name) if behaviours.is_empty() => drop(self.of_name.remove(name)),
            Some(name) => drop(self.of_name.insert(name.clone(), behaviours.to_vec())),
            None => self.of_all = behaviours.to_vec(),
        }
    }

    /// What to do with this question; counts [`Behaviour::DropFirst`] down.
    pub(super) fn take(&mut self, name: &Name) -> Vec<Behaviour> {
        let list = self.of_name.get_mut(name).unwrap_or(&mut self.of_all);
        let now = list.clone();
        for behaviour in list {
            if let Behaviour::DropFirst(left) = behaviour {
                *left = left.saturating_sub(1);
            }
        }
        now
    }
}
