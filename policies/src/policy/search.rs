//! Telling the steps of a stub resolver's search list from the wishes of an app: with `ndots:5` most questions are such steps.
use super::Inner;
use crate::name::{self, NAME_OCTETS};

impl Inner {
    /// Whether a refused name is one that the search list made: less its search domain it is permitted, or it is with another domain of
    /// the list in the place of that one.
    pub(super) fn is_search_step(&self, wire: &[u8]) -> bool {
        self.search.iter().any(|domain| {
            let front = name::front_of(wire, domain.as_wire()).unwrap_or(&[]);
            if front.is_empty() || domain.is_root() {
                return false;
            }
            let mut joined = [0; NAME_OCTETS];
            self.grants(front)
                || self.search.iter().any(|other| join(&mut joined, front, other.as_wire()).is_some_and(|name| self.grants(name)))
        })
    }

    fn grants(&self, wire: &[u8]) -> bool {
        name::depth_of(wire).is_ok_and(|depth| self.table.grants(wire, depth))
    }
}

/// The octets of `front` below `zone`, in `room`; `None` where they are too many for a name.
fn join<'a>(room: &'a mut [u8; NAME_OCTETS], front: &[u8], zone: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = room.split_at_mut_checked(front.len())?;
    head.copy_from_slice(front);
    tail.get_mut(..zone.len())?.copy_from_slice(zone);
    room.get(..front.len() + zone.len())
}
