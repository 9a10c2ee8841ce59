//! The flows that live: sixteen octets each, so that an end can carry the names of its beginning.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use hashbrown::HashTable;
use nft::{Connection, Packet};

use super::folding::KindId;

/// The most flows that are remembered: 2 MiB. The end of one that is not is counted as lost.
const MOST: usize = 114_688;

/// A flow's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    hash: u64,
    /// What it is.
    pub kind: KindId,
    /// When, in tenths of a second since the table was made; the highest bit is a mark.
    at: u32,
}

/// On a flow that the kernel has listed since the last sweep. A worker does not live for the seven years that the bits below it count.
const LISTED: u32 = 1 << 31;

impl Begun {
    /// When it began, in tenths of a second since the table was made.
    pub const fn at(&self) -> u32 {
        self.at & !LISTED
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Living {
    hasher: RandomState,
    flows: HashTable<Begun>,
}

/// What tells one flow from another at one time. Two that are told apart by nothing else in 2^64 would be mixed up.
fn hash(hasher: &RandomState, source: IpAddr, destination: IpAddr, protocol: u8, ports: [Option<u16>; 2]) -> u64 {
    hasher.hash_one((source, destination, protocol, ports))
}

impl Living {
    /// The hash of a packet's flow.
    pub fn of_packet(&self, packet: &Packet) -> u64 {
        let Packet { source, destination, protocol, source_port, destination_port, .. } = *packet;
        hash(&self.hasher, source, destination, protocol, [source_port, destination_port])
    }

    /// The hash of a connection.
    pub fn of_connection(&self, connection: &Connection) -> u64 {
        let Connection { source, destination, protocol, source_port, destination_port, .. } = *connection;
        hash(&self.hasher, source, destination, protocol, [source_port, destination_port])
    }

    /// The hash of a connection the other way round: where the pod began it and the kernel's entry was made anew by what the other sent.
    pub fn of_reversed(&self, connection: &Connection) -> u64 {
        let Connection { source, destination, protocol, source_port, destination_port, .. } = *connection;
        hash(&self.hasher, destination, source, protocol, [destination_port, source_port])
    }

    /// The flow, if it lives.
    pub fn get(&self, hash: u64) -> Option<Begun> {
        self.flows.find(hash, |begun| begun.hash == hash).copied()
    }

    /// Notes a beginning. What the flow was before, if it came under another rule; `Err` where there is no room.
    pub fn begin(&mut self, hash: u64, kind: KindId, at: u32) -> Result<Option<Begun>, Full> {
        if let Some(found) = self.flows.find_mut(hash, |begun| begun.hash == hash) {
            let before = *found;
            found.kind = kind;
            return Ok(Some(before));
        }
        if self.is_full() {
            return Err(Full);
        }
        self.flows.insert_unique(hash, Begun { hash, kind, at }, |begun| begun.hash);
        Ok(None)
    }

    /// Whether there is no room for another.
    pub fn is_full(&self) -> bool {
        self.flows.len() >= MOST
    }

    /// Forgets a flow.
    pub fn end(&mut self, hash: u64) -> Option<Begun> {
        let found = self.flows.find_entry(hash, |begun| begun.hash == hash).ok()?;
        let (begun, _) = found.remove();
        if self.flows.capacity() > 1024 && self.flows.len() < self.flows.capacity() / 4 {
            self.flows.shrink_to(self.flows.len() * 2, |begun| begun.hash);
        }
        Some(begun)
    }

    /// Notes that the kernel still has the flow.
    pub fn mark(&mut self, hash: u64) {
        if let Some(found) = self.flows.find_mut(hash, |begun| begun.hash == hash) {
            found.at |= LISTED;
        }
    }

    /// Forgets the flows that began before `before` and were not marked since the last sweep; gives their kinds to `gone`. Ends were lost.
    pub fn sweep(&mut self, before: u32, mut gone: impl FnMut(KindId)) {
        self.flows.retain(|begun| {
            let stays = begun.at >= before;
            begun.at &= !LISTED;
            if !stays {
                gone(begun.kind);
            }
            stays
        });
    }
}

/// No room for another flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_finds_its_beginning_and_there_is_a_bound() {
        let mut living = Living::default();
        assert_eq!(size_of::<Begun>(), 16);
        for n in 0..MOST as u64 {
            assert_eq!(living.begin(n << 20 | n, 7, 1), Ok(None));
        }
        assert!(living.is_full());
        assert_eq!(living.begin(u64::MAX, 7, 1), Err(Full));
        assert_eq!(living.end(5 << 20 | 5).map(|begun| begun.kind), Some(7));
        assert_eq!(living.end(5 << 20 | 5), None);
        assert_eq!(living.begin(6 << 20 | 6, 8, 2).unwrap().map(|before| before.kind), Some(7));
        living.mark(6 << 20 | 6);
        let mut gone = 0;
        living.sweep(2, |_| gone += 1);
        assert_eq!(gone, MOST - 2);
        // The mark is of one sweep alone, and no part of the time.
        assert_eq!(living.get(6 << 20 | 6).map(|begun| (begun.kind, begun.at())), Some((8, 1)));
        living.sweep(2, |_| gone += 1);
        assert_eq!((gone, living.get(6 << 20 | 6)), (MOST - 1, None));
    }
}
