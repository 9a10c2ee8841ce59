//! An end is told with what its flow was when it began, whatever the same addresses and ports are used for since.

use std::collections::HashSet;
use std::time::Instant;

use nft::{Connection, FlowOwner};

use super::kind::{Fold, Seen, Volumes};
use super::living::Begun;
use super::{AT_ONCE, EARLY, Ended, MOST_EARLY, Teller, folding};
use crate::record::{FlowEvent, LostWhat, LostWhy, Timestamp};

impl Teller {
    /// Tells what has ended; an end waits for its beginning where that may still come.
    pub(super) fn ends(&mut self, ends: Vec<(Instant, Connection)>, now: Instant) -> Result<(), Ended> {
        let at = Timestamp::now();
        let mut strange = Vec::new();
        for (came, connection) in ends {
            match self.take_living(&connection) {
                Some((begun, connection)) => self.ended_after(begun, &connection, at, now),
                None if now.duration_since(came) < EARLY && self.early.len() < MOST_EARLY => self.early.push((came, connection)),
                None => strange.push(connection),
            }
        }
        for part in strange.chunks(AT_ONCE) {
            // Its beginning was lost, or there was no room for it: the rule is known all the same, and the names of now.
            let kinds = self.join(part.iter().map(Seen::of_connection).collect(), HashSet::new())?;
            for (connection, kind) in part.iter().zip(kinds) {
                match self.folding.place(kind) {
                    Some(id) => self.ended(id, connection, at, None),
                    None => self.losses.note(LostWhat::EndedFlows, LostWhy::QueueFull, 1),
                }
            }
        }
        Ok(())
    }

    /// The flow that has ended and the connection as the pod saw it.
    fn take_living(&mut self, connection: &Connection) -> Option<(Begun, Connection)> {
        if let Some(begun) = self.living.end(self.living.of_connection(connection)) {
            return Some((begun, *connection));
        }
        // What comes in is always told the way that the kernel's entry has it.
        if connection.owner == FlowOwner::Inbound {
            return None;
        }
        let begun = self.living.end(self.living.of_reversed(connection))?;
        Some((begun, connection.reversed()))
    }

    /// Tells the end of a flow that lives and has not come under another rule since; whether it was one.
    pub(super) fn ended_before(&mut self, connection: &Connection, at: Timestamp, now: Instant) -> bool {
        let hash = self.living.of_connection(connection);
        let same = |begun: &Begun| self.folding.owner(begun.kind).is_some_and(|owner| owner.is_of(connection.owner));
        let Some(begun) = self.living.get(hash).filter(same) else { return false };
        let _ = self.living.end(hash);
        self.ended_after(begun, connection, at, now);
        true
    }

    fn ended_after(&mut self, begun: Begun, connection: &Connection, at: Timestamp, now: Instant) {
        let age = self.ticks(now).saturating_sub(begun.at());
        self.ended(begun.kind, connection, at, Some(age));
        self.folding.live(begun.kind, false);
    }

    fn ended(&mut self, id: folding::KindId, connection: &Connection, at: Timestamp, age: Option<u32>) {
        let inbound = connection.owner == FlowOwner::Inbound;
        let (sent, received) = match inbound {
            true => (connection.received, connection.sent),
            false => (connection.sent, connection.received),
        };
        let idle = u64::try_from(connection.idle_time().as_millis()).unwrap_or(u64::MAX);
        let duration_ms = age.map(|age| (u64::from(age) * 100).saturating_sub(idle));
        let fold = Fold { volumes: Some(Volumes { sent, received }), duration_ms, ..Fold::one(at, connection.source_port) };
        let told = self.folding.add(id, FlowEvent::Ended, &fold, at.millis());
        self.tell(told);
    }

    /// Ends were lost, or there is no room: the flows that are not there any more have ended unseen.
    pub(super) fn reconcile(&mut self) {
        let before = self.ticks(Instant::now()).saturating_sub(10);
        // As they are listed: as a list they would take more memory than all that live.
        let listed = nft::each_connection(|connection| {
            for hash in [self.living.of_connection(&connection), self.living.of_reversed(&connection)] {
                self.living.mark(hash);
            }
        });
        if listed.is_err() {
            return;
        }
        let (folding, mut gone) = (&mut self.folding, 0);
        self.living.sweep(before, |kind| {
            folding.live(kind, false);
            gone += 1;
        });
        self.losses.note(LostWhat::EndedFlows, LostWhy::NotReadInTime, gone);
    }
}
