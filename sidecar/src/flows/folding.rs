//! Alike flows are told together: the first at once, the others of the next seconds as one record with their number.

use std::collections::HashMap;
use std::sync::Arc;

use super::kind::{Fold, Kind, Owner};
use crate::record::{FlowEvent, FlowRecord, Verdict};

/// How long alike flows are gathered, in milliseconds.
pub const WINDOW_MS: u64 = 5_000;
/// The most kinds at a time, 500 octets each at the most.
const MOST_KINDS: usize = 8_192;
/// Of these, kinds of refused flows: an app that is refused at ever new places takes no room from those that are permitted.
const MOST_REFUSED: usize = 2_048;
/// And kinds of flows that came in: a neighbour who tries all ports takes none either.
const MOST_INBOUND: usize = 2_048;

/// The place of a kind.
pub type KindId = u32;

/// The kinds that are known, each as long as it has an open window or a flow that lives.
#[derive(Debug, Default)]
pub struct Folding {
    places: HashMap<Arc<Kind>, KindId>,
    kinds: Vec<Option<Place>>,
    free: Vec<KindId>,
    /// Kinds with an open window.
    open: Vec<KindId>,
    refused: usize,
    inbound: usize,
}

#[derive(Debug)]
struct Place {
    kind: Arc<Kind>,
    /// Flows that live.
    flows: u32,
    /// Of begun or refused flows, and of ended ones.
    windows: [Option<Window>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Window {
    event: FlowEvent,
    ends: u64,
    fold: Fold,
}

impl Folding {
    /// The place of a kind; `None` where there is no room for it.
    pub fn place(&mut self, kind: Kind) -> Option<KindId> {
        if let Some(id) = self.places.get(&kind) {
            return Some(*id);
        }
        let (refused, inbound) = (kind.cause.is_some(), kind.came_in());
        let full = (refused && self.refused >= MOST_REFUSED) || (inbound && self.inbound >= MOST_INBOUND);
        if self.places.len() >= MOST_KINDS || full {
            return None;
        }
        let kind = Arc::new(kind);
        let place = Place { kind: Arc::clone(&kind), flows: 0, windows: [None; 2] };
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.kinds.push(None);
                u32::try_from(self.kinds.len() - 1).ok()?
            }
        };
        *self.kinds.get_mut(id as usize)? = Some(place);
        self.places.insert(kind, id);
        self.refused += usize::from(refused);
        self.inbound += usize::from(inbound);
        Some(id)
    }

    /// Whether flows of the kind passed though nothing opens them.
    pub fn is_audit(&self, id: KindId) -> bool {
        self.kinds.get(id as usize).and_then(Option::as_ref).is_some_and(|place| place.kind.verdict == Verdict::WouldDeny)
    }

    /// Takes in flows of a kind. The record that is due now: of the first, where none of its like was told within the window.
    pub fn add(&mut self, id: KindId, event: FlowEvent, fold: &Fold, now: u64) -> Option<FlowRecord> {
        let place = self.kinds.get_mut(id as usize)?.as_mut()?;
        let window = place.windows.get_mut(usize::from(event == FlowEvent::Ended))?;
        match window {
            Some(window) => {
                window.fold.add(fold);
                None
            }
            None => {
                *window = Some(Window { event, ends: now + WINDOW_MS, fold: Fold::default() });
                let record = place.kind.record(event, fold);
                self.open.push(id);
                Some(record)
            }
        }
    }

    /// Whose flows of the kind are.
    pub fn owner(&self, id: KindId) -> Option<Owner> {
        self.kinds.get(id as usize).and_then(Option::as_ref).map(|place| place.kind.seen.owner)
    }

    /// A flow of the kind lives, or has ended.
    pub fn live(&mut self, id: KindId, begins: bool) {
        let Some(Some(place)) = self.kinds.get_mut(id as usize) else { return };
        place.flows = if begins { place.flows.saturating_add(1) } else { place.flows.saturating_sub(1) };
        if !begins {
            self.leave(id);
        }
    }

    /// Tells what was gathered in windows that have ended.
    pub fn due(&mut self, now: u64, mut tell: impl FnMut(FlowRecord)) {
        let mut open = std::mem::take(&mut self.open);
        // A kind with both windows stands in the list twice, and may be told for either.
        open.retain(|&id| {
            let Some(Some(place)) = self.kinds.get_mut(id as usize) else { return false };
            let mut stays = false;
            for window in &mut place.windows {
                match window {
                    Some(found) if found.ends <= now => {
                        if found.fold.count > 0 {
                            tell(place.kind.record(found.event, &found.fold));
                            found.fold = Fold::default();
                            found.ends = now + WINDOW_MS;
                            stays = true;
                        } else {
                            *window = None;
                        }
                    }
                    Some(_) => stays = true,
                    None => {}
                }
            }
            if !stays {
                self.leave(id);
            }
            stays
        });
        open.append(&mut self.open);
        open.sort_unstable();
        open.dedup();
        self.open = open;
    }

    /// Tells what has been gathered so far: the sidecar ends.
    pub fn all(&mut self, tell: impl FnMut(FlowRecord)) {
        self.due(u64::MAX - WINDOW_MS, tell);
    }

    fn leave(&mut self, id: KindId) {
        let Some(slot) = self.kinds.get_mut(id as usize) else { return };
        if let Some(place) = slot.take_if(|place| place.flows == 0 && place.windows.iter().all(Option::is_none)) {
            self.refused -= usize::from(place.kind.cause.is_some());
            self.inbound -= usize::from(place.kind.came_in());
            self.places.remove(&place.kind);
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests;
