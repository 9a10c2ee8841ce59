//! What stands, read once before an installation or a read-back.

use std::{collections::HashMap, io};

use super::{Firewall, ReadError};
use crate::sys::{ChainSeen, ElementSeen, Ident, SetSeen, Table};

/// The inet table as it stands.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) chains: Vec<ChainSeen>,
    pub(super) sets: HashMap<Ident, SetSeen>,
}

/// What a dump gave, or why it did not.
pub(super) fn whole<T>(found: io::Result<Option<T>>, what: impl Fn() -> String) -> Result<T, ReadError> {
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(ReadError::Unsteady { what: what() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ReadError::TableVanished),
        Err(source) => Err(ReadError::Refused { what: what(), source }),
    }
}

impl Firewall {
    pub(super) fn has_table(&mut self, table: &Table) -> Result<bool, ReadError> {
        let found = self.netlink.has_table(table);
        found.map_err(|source| ReadError::Refused { what: "the table".to_owned(), source })
    }

    /// `None`: no table.
    pub(super) fn seen(&mut self) -> Result<Option<Seen>, ReadError> {
        let table = self.inet.clone();
        if !self.has_table(&table)? {
            return Ok(None);
        }
        let chains = self.chains_of(&table)?;
        let sets = match whole(self.netlink.sets(&table), || "the list of sets".to_owned()) {
            // It stood a moment ago.
            Err(ReadError::TableVanished) => return Ok(None),
            sets => sets?,
        };
        Ok(Some(Seen { chains, sets: sets.into_iter().map(|set| (set.name.clone(), set)).collect() }))
    }

    /// The chains of a table; none if there is no table.
    pub(super) fn chains_of(&mut self, table: &Table) -> Result<Vec<ChainSeen>, ReadError> {
        match whole(self.netlink.chains(table), || "the list of chains".to_owned()) {
            Err(ReadError::TableVanished) => Ok(Vec::new()),
            chains => chains,
        }
    }

    pub(super) fn netdev_chains(&mut self) -> Result<Option<Vec<ChainSeen>>, ReadError> {
        let table = self.netdev.clone();
        // A kernel without the family says so here; what follows from it is found out by trying.
        if !self.netlink.has_table(&table).unwrap_or(false) {
            return Ok(None);
        }
        self.chains_of(&table).map(Some)
    }

    pub(super) fn elements_of(&mut self, set: &Ident) -> Result<Vec<ElementSeen>, ReadError> {
        let table = self.inet.clone();
        whole(self.netlink.elements(&table, set), || format!("set {set}"))
    }
}
