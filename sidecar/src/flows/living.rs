//! The flows that live: sixteen octets each, so that an end can carry the names of its beginning.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use hashbrown::HashTable;
use nft::{Connection, Packet};

use super::folding::KindId;

/// The most flows that are remembered: 2.2 MiB. The end of one that is not is counted as lost.
const MOST: usize = 106_496;
/// The parts of the table. What makes one anew moves a sixteenth of the flows.
const PARTS: usize = 16;
/// The most places of a part.
const PLACES: usize = 8_192;
/// The most flows of a part: as many as its places take. The hash is keyed, so that a part's share of [`MOST`] stays six sigma below.
const MOST_OF_PART: usize = PLACES / 8 * 7;

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

/// The table, in parts.
#[derive(Debug, Default)]
pub struct Living {
    hasher: RandomState,
    parts: [HashTable<Begun>; PARTS],
    /// For making a part anew; its memory is kept.
    moved: Vec<Begun>,
}

/// The hash's bits that say which part; the table itself takes the lowest and the highest.
const fn part_of(hash: u64) -> usize {
    (hash >> 32) as usize % PARTS
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

    fn part(&mut self, hash: u64) -> Option<&mut HashTable<Begun>> {
        self.parts.get_mut(part_of(hash))
    }

    fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    /// The flow, if it lives.
    pub fn get(&self, hash: u64) -> Option<Begun> {
        self.parts.get(part_of(hash))?.find(hash, |begun| begun.hash == hash).copied()
    }

    /// Notes a beginning. What the flow was before, if it came under another rule; `Err` where there is no room.
    pub fn begin(&mut self, hash: u64, kind: KindId, at: u32) -> Result<Option<Begun>, Full> {
        let full = self.is_full();
        let part = self.parts.get_mut(part_of(hash)).ok_or(Full)?;
        if let Some(found) = part.find_mut(hash, |begun| begun.hash == hash) {
            let before = *found;
            found.kind = kind;
            return Ok(Some(before));
        }
        if full || part.len() >= MOST_OF_PART {
            return Err(Full);
        }
        // Flows come and go, and each that went may leave a place that cannot be used: out of these, the table would take twice the memory
        // that its flows need, and never give it back.
        let grows = part.num_buckets() < PLACES && part.len() >= part.num_buckets() / 16 * 13;
        if part.len() == part.capacity() && !grows {
            self.moved.extend(part.drain());
            for begun in self.moved.drain(..) {
                part.insert_unique(begun.hash, begun, |begun| begun.hash);
            }
        }
        part.insert_unique(hash, Begun { hash, kind, at }, |begun| begun.hash);
        Ok(None)
    }

    /// Whether there is no room for another.
    pub fn is_full(&self) -> bool {
        self.len() >= MOST
    }

    /// Forgets a flow.
    pub fn end(&mut self, hash: u64) -> Option<Begun> {
        let part = self.part(hash)?;
        let found = part.find_entry(hash, |begun| begun.hash == hash).ok()?;
        let (begun, _) = found.remove();
        if part.capacity() > 64 && part.len() < part.capacity() / 4 {
            part.shrink_to(part.len() * 2, |begun| begun.hash);
        }
        Some(begun)
    }

    /// Notes that the kernel still has the flow.
    pub fn mark(&mut self, hash: u64) {
        if let Some(found) = self.part(hash).and_then(|part| part.find_mut(hash, |begun| begun.hash == hash)) {
            found.at |= LISTED;
        }
    }

    /// Forgets the flows that began before `before` and were not marked since the last sweep; gives their kinds to `gone`. Ends were lost.
    pub fn sweep(&mut self, before: u32, mut gone: impl FnMut(KindId)) {
        for part in &mut self.parts {
            part.retain(|begun| {
                let stays = begun.at >= before;
                begun.at &= !LISTED;
                if !stays {
                    gone(begun.kind);
                }
                stays
            });
        }
    }
}

/// No room for another flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    /// The octets that the table takes.
    fn size(living: &Living) -> usize {
        living.parts.iter().map(HashTable::allocation_size).sum()
    }

    /// Of a hash as good as the real one, and always the same.
    fn hash(n: usize) -> u64 {
        use std::hash::{DefaultHasher, Hasher};
        let mut hasher = DefaultHasher::new();
        hasher.write_usize(n);
        hasher.finish()
    }

    #[test]
    fn an_end_finds_its_beginning_and_there_is_a_bound() {
        let mut living = Living::default();
        assert_eq!(size_of::<Begun>(), 16);
        for n in 0..MOST {
            assert_eq!(living.begin(hash(n), 7, 1), Ok(None));
        }
        assert!(living.is_full());
        assert_eq!(living.begin(hash(MOST), 7, 1), Err(Full));
        assert_eq!(living.end(hash(5)).map(|begun| begun.kind), Some(7));
        assert_eq!(living.end(hash(5)), None);
        assert_eq!(living.begin(hash(6), 8, 2).unwrap().map(|before| before.kind), Some(7));
        living.mark(hash(6));
        let mut gone = 0;
        living.sweep(2, |_| gone += 1);
        assert_eq!(gone, MOST - 2);
        // The mark is of one sweep alone, and no part of the time.
        assert_eq!(living.get(hash(6)).map(|begun| (begun.kind, begun.at())), Some((8, 1)));
        living.sweep(2, |_| gone += 1);
        assert_eq!((gone, living.get(hash(6))), (MOST - 1, None));
    }

    #[test]
    fn flows_that_come_and_go_take_no_more_room_than_those_that_live() {
        let mut living = Living::default();
        for many in [60_000, MOST - 1] {
            for n in 0..1_000_000 {
                assert_eq!(living.begin(hash(n), 7, 1), Ok(None));
                if let Some(before) = n.checked_sub(many) {
                    assert!(living.end(hash(before)).is_some());
                }
            }
            assert!(size(&living) < 2_300_000, "{many}: {} octets", size(&living));
            for n in 1_000_000 - many..1_000_000 {
                assert!(living.end(hash(n)).is_some());
            }
            assert!(size(&living) < 100_000, "{} octets", size(&living));
        }
    }

    #[test]
    fn hashes_that_all_fall_into_one_part_find_its_bound() {
        let mut living = Living::default();
        let begun = (0..MOST as u64).take_while(|n| living.begin(n << 40 | n, 7, 1).is_ok()).count();
        assert_eq!(begun, MOST_OF_PART);
    }
}
