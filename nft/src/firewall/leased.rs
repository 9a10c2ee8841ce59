//! The openings that take leases, by key and by handle; a handle of another installation finds none.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::OpeningHandle;
use crate::{
    ruleset::{Ip, Names},
    sys::Ident,
};

/// The lease sets of one opening.
#[derive(Debug, Clone)]
pub(super) struct LeaseSets {
    v4: Ident,
    v6: Ident,
}

impl LeaseSets {
    pub(super) fn of(key: &str) -> Self {
        let names = Names::of(key);
        Self { v4: names.leases(Ip::V4), v6: names.leases(Ip::V6) }
    }

    pub(super) const fn get(&self, address: IpAddr) -> &Ident {
        match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        }
    }
}

/// The openings of the ruleset that stands.
#[derive(Debug, Default)]
pub(super) struct Leased {
    installation: u32,
    by_key: HashMap<Arc<str>, u32>,
    openings: Vec<(Arc<str>, LeaseSets)>,
}

impl Leased {
    /// Another ruleset stands now: all handles given are stale. No key comes twice.
    pub(super) fn replace<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        self.installation = self.installation.wrapping_add(1);
        self.by_key.clear();
        self.openings.clear();
        for key in keys {
            let index = self.openings.len() as u32;
            let shared: Arc<str> = Arc::from(key);
            self.by_key.insert(shared.clone(), index);
            self.openings.push((shared, LeaseSets::of(key)));
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.openings.len()
    }

    pub(super) fn handle(&self, key: &str) -> Option<OpeningHandle> {
        self.by_key.get(key).map(|index| OpeningHandle { installation: self.installation, index: *index })
    }

    fn find(&self, handle: OpeningHandle) -> Option<&(Arc<str>, LeaseSets)> {
        self.openings.get(handle.index as usize).filter(|_| handle.installation == self.installation)
    }

    pub(super) fn get(&self, handle: OpeningHandle) -> Option<&LeaseSets> {
        self.find(handle).map(|(_, sets)| sets)
    }

    pub(super) fn key(&self, handle: OpeningHandle) -> Option<&Arc<str>> {
        self.find(handle).map(|(key, _)| key)
    }

    /// The keys, in the order of the ruleset.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.openings.iter().map(|(key, _)| key)
    }
}
