//! What is in flight: questions, and for each the tries that may still bring its answer. Tables with places used again, and no more.

use std::time::Instant;

use slab::Slab;

use super::{
    Ticket,
    octets::{Asked, Spelling},
    server::Manner,
};

/// No place: the end of a list.
const NONE: u32 = u32::MAX;

/// One try for good: its place is used again, its serial is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TryId {
    pub(super) index: u32,
    serial: u32,
}

/// A question in flight.
#[derive(Debug)]
pub(super) struct Pending {
    serial: u32,
    pub(super) asked: Asked,
    /// What it is asked for.
    pub(super) purpose: Purpose,
    /// When it fails at the latest.
    pub(super) deadline: Instant,
    /// When the next server is asked though no try that is waited for has ended: a pause, or after trouble of our own.
    pub(super) resume: Option<Instant>,
    /// When something is to be done about it; never later than any time in it and in its tries.
    pub(super) due: Instant,
    /// Rounds over all servers that are over.
    pub(super) round: u8,
    /// Packets sent.
    pub(super) sent: u8,
    /// Servers (by bit) that answered what helps nobody: not asked again.
    pub(super) spoken: u16,
    /// Servers asked in this round.
    pub(super) asked_in_round: u16,
    /// The try that is waited for: when its time is over, the next server is asked.
    pub(super) main: Option<TryId>,
    /// The newest try; each knows the one before.
    newest: u32,
}

/// What a question in flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be answered.
    Answer,
    /// To see how fast a server is, or whether it lives. Its answer is welcome to the question it is a copy of.
    Measure(Ticket),
}

/// One message to one server.
#[derive(Debug)]
pub(super) struct Try {
    serial: u32,
    /// The place of the question.
    pub(super) pending: u32,
    pub(super) server: u8,
    pub(super) manner: Manner,
    pub(super) spelling: Spelling,
    pub(super) id: u16,
    /// The place of the socket that waits for its answer; none once it has come.
    pub(super) socket: Option<u32>,
    /// It went over to TCP.
    pub(super) streamed: bool,
    pub(super) sent: Instant,
    /// When it counts as lost; none once it did. It stays open then: late is better than not.
    pub(super) due: Option<Instant>,
    older: u32,
}

/// All that is in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pendings: Slab<Pending>,
    tries: Slab<Try>,
    serial: u32,
}

impl Pending {
    /// A question that was not yet sent to anybody.
    pub(super) fn new(asked: Asked, purpose: Purpose, deadline: Instant) -> Self {
        Self {
            serial: 0,
            asked,
            purpose,
            deadline,
            resume: None,
            due: deadline,
            round: 0,
            sent: 0,
            spoken: 0,
            asked_in_round: 0,
            main: None,
            newest: NONE,
        }
    }
}

impl Try {
    /// A try that is about to be sent.
    pub(super) fn new(server: u8, manner: Manner, spelling: Spelling, id: u16, socket: u32, sent: Instant, due: Instant) -> Self {
        Self {
            serial: 0,
            pending: NONE,
            server,
            manner,
            spelling,
            id,
            socket: Some(socket),
            streamed: false,
            sent,
            due: Some(due),
            older: NONE,
        }
    }
}

impl InFlight {
    /// How many questions there are.
    pub(super) fn len(&self) -> usize {
        self.pendings.len()
    }

    /// Takes a question.
    pub(super) fn insert(&mut self, mut pending: Pending) -> Ticket {
        self.serial = self.serial.wrapping_add(1);
        pending.serial = self.serial;
        Ticket { index: place(self.pendings.insert(pending)), serial: self.serial }
    }

    /// The question at a place.
    pub(super) fn pending(&mut self, index: u32) -> Option<&mut Pending> {
        self.pendings.get_mut(index as usize)
    }

    /// The ticket of the question at a place.
    pub(super) fn ticket(&self, index: u32) -> Option<Ticket> {
        self.pendings.get(index as usize).map(|pending| Ticket { index, serial: pending.serial })
    }

    /// All questions, with their places.
    pub(super) fn pendings(&mut self) -> impl Iterator<Item = (u32, &mut Pending)> {
        self.pendings.iter_mut().map(|(index, pending)| (place(index), pending))
    }

    /// Lets go of a question, which must have no tries left.
    pub(super) fn remove(&mut self, index: u32) -> Option<Pending> {
        self.pendings.try_remove(index as usize)
    }

    /// Adds a try to the question at a place.
    pub(super) fn add(&mut self, index: u32, mut new: Try) -> Option<TryId> {
        let pending = self.pendings.get_mut(index as usize)?;
        self.serial = self.serial.wrapping_add(1);
        new.serial = self.serial;
        new.pending = index;
        new.older = pending.newest;
        pending.newest = place(self.tries.insert(new));
        Some(TryId { index: pending.newest, serial: self.serial })
    }

    /// The try at a place, with its question.
    pub(super) fn get(&mut self, index: u32) -> Option<(TryId, &mut Try, &mut Pending)> {
        let one = self.tries.get_mut(index as usize)?;
        let pending = self.pendings.get_mut(one.pending as usize)?;
        Some((TryId { index, serial: one.serial }, one, pending))
    }

    /// The try, unless it is over.
    pub(super) fn still(&mut self, of: TryId) -> Option<(&mut Try, &mut Pending)> {
        self.get(of.index).filter(|(id, ..)| *id == of).map(|(_, one, pending)| (one, pending))
    }

    /// The newest try of a question.
    pub(super) fn newest(&self, index: u32) -> Option<u32> {
        self.pendings.get(index as usize).map(|pending| pending.newest).filter(|newest| *newest != NONE)
    }

    /// The try made before that at a place.
    pub(super) fn older(&self, index: u32) -> Option<u32> {
        self.tries.get(index as usize).map(|one| one.older).filter(|older| *older != NONE)
    }

    /// Lets go of a try.
    pub(super) fn end(&mut self, index: u32) -> Option<Try> {
        let gone = self.tries.try_remove(index as usize)?;
        let pending = self.pendings.get_mut(gone.pending as usize)?;
        if pending.main.is_some_and(|main| main.index == index) {
            pending.main = None;
        }
        if pending.newest == index {
            pending.newest = gone.older;
            return Some(gone);
        }
        let mut at = pending.newest;
        while let Some(newer) = self.tries.get_mut(at as usize) {
            if newer.older == index {
                newer.older = gone.older;
                break;
            }
            at = newer.older;
        }
        Some(gone)
    }

    /// The tries of which `which` is true.
    pub(super) fn tries(&self, mut which: impl FnMut(&Try) -> bool) -> Vec<u32> {
        self.tries.iter().filter(|(_, one)| which(one)).map(|(index, _)| place(index)).collect()
    }

    /// When something is to be done about a question: noted there, and returned.
    pub(super) fn note_due(&mut self, index: u32) -> Option<Instant> {
        let pending = self.pendings.get_mut(index as usize)?;
        let mut due = pending.resume.map_or(pending.deadline, |resume| resume.min(pending.deadline));
        let mut at = pending.newest;
        while let Some(one) = self.tries.get(at as usize) {
            due = one.due.map_or(due, |lost| lost.min(due));
            at = one.older;
        }
        pending.due = due;
        Some(due)
    }
}

/// A place in a table. There are never so many: `NONE` stands for no question, and none would be found there.
fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}
