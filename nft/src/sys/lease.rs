//! Lease elements, written straight into the batch: libnftnl would make an object of each and copy its parts three times.

use std::{io, net::IpAddr, time::Duration};

use super::{
    Ident, Netlink, Table,
    batch::{Batch, DELSETELEM, F_ACK, F_CREATE, NEWSETELEM, What},
    dump::GETSETELEM,
};

// `NFNL_SUBSYS_NFTABLES`, and linux/netfilter/nf_tables.h: `enum nft_set_elem_list_attributes`, `nft_list_attributes`,
// `nft_set_elem_attributes`, `nft_data_attributes`.
const SUBSYSTEM: u16 = 10 << 8;
const F_REQUEST: u16 = 1;
const NESTED: u16 = 0x8000;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEM: u16 = 1;
const ELEM_KEY: u16 = 1;
const ELEM_TIMEOUT: u16 = 4;
const ELEM_USERDATA: u16 = 6;
const DATA_VALUE: u16 = 1;

/// Where a list of elements ends and the next message begins: the length of an attribute has 16 bits, and an element is below 400 bytes.
const MOST: usize = 60_000;

/// What becomes of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Add,
    Delete,
}

/// One lease as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Lease<'a> {
    pub(crate) address: IpAddr,
    /// Rounded down to the millisecond, at least one: the kernel reads 0 as "the set's default", which is none.
    pub(crate) timeout: Duration,
    pub(crate) note: Note<'a>,
}

/// The element's user data.
#[derive(Debug, Clone)]
pub(crate) enum Note<'a> {
    /// nft's comment: at most [`super::UserData::MAX_COMMENT`] bytes that nft can print.
    Comment(&'a str),
    /// Made before, at most [`super::UserData::MAX`] bytes.
    Made(super::UserData),
}

impl Batch {
    /// Adds the leases to the set or deletes them, in as few messages as they fit into.
    pub(crate) fn leases<'a>(&mut self, table: &Table, set: &Ident, act: Act, leases: impl Iterator<Item = Lease<'a>>) {
        let mut leases = leases.peekable();
        while leases.peek().is_some() {
            let (kind, flags) = if act == Act::Add { (NEWSETELEM, F_REQUEST | F_CREATE) } else { (DELSETELEM, F_REQUEST) };
            let start = self.begin_message(table.family, What::Elements(set.clone()));
            let bytes = self.bytes();
            // The sequence number is filled in when the batch is sent.
            head(bytes, table, set, kind, flags, 0);
            let list = open(bytes, LIST_ELEMENTS | NESTED);
            while bytes.len() - list < MOST
                && let Some(lease) = leases.next()
            {
                element(bytes, &lease, act);
            }
            close(bytes, list);
            end(bytes, start);
        }
    }
}

impl Netlink {
    /// Whether this one element stands in the set. An absent set has none.
    pub(crate) fn has_element(&mut self, table: &Table, set: &Ident, address: IpAddr) -> io::Result<bool> {
        let build = |seq| {
            let mut bytes = Vec::with_capacity(256);
            head(&mut bytes, table, set, GETSETELEM, F_REQUEST | F_ACK, seq);
            let list = open(&mut bytes, LIST_ELEMENTS | NESTED);
            element(&mut bytes, &Lease { address, timeout: Duration::ZERO, note: Note::Comment("") }, Act::Delete);
            close(&mut bytes, list);
            end(&mut bytes, 0);
            bytes
        };
        let mut found = false;
        match self.ask(build, |message| found |= message.kind() == SUBSYSTEM | NEWSETELEM) {
            Ok(_) => Ok(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The headers of a message about a set, and the names of both.
fn head(bytes: &mut Vec<u8>, table: &Table, set: &Ident, kind: u16, flags: u16, seq: u32) {
    bytes.extend([0; 4]);
    bytes.extend((SUBSYSTEM | kind).to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(seq.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([table.family as u8, 0, 0, 0]);
    put(bytes, LIST_TABLE, &[table.name.as_c().to_bytes_with_nul()]);
    put(bytes, LIST_SET, &[set.as_c().to_bytes_with_nul()]);
}

/// Fills in the length of the message that starts here and ends with the bytes.
fn end(bytes: &mut [u8], start: usize) {
    let len = (bytes.len() - start) as u32;
    if let Some(field) = bytes.get_mut(start..start + 4) {
        field.copy_from_slice(&len.to_ne_bytes());
    }
}

fn element(bytes: &mut Vec<u8>, lease: &Lease<'_>, act: Act) {
    let element = open(bytes, LIST_ELEM | NESTED);
    let key = open(bytes, ELEM_KEY | NESTED);
    match lease.address {
        IpAddr::V4(address) => put(bytes, DATA_VALUE, &[&address.octets()]),
        IpAddr::V6(address) => put(bytes, DATA_VALUE, &[&address.octets()]),
    }
    close(bytes, key);
    if act == Act::Add {
        let milliseconds = u64::try_from(lease.timeout.as_millis()).unwrap_or(u64::MAX / 2_000_000).max(1);
        put(bytes, ELEM_TIMEOUT, &[&milliseconds.to_be_bytes()]);
        match &lease.note {
            // nft counts the NUL.
            Note::Comment(text) => put(bytes, ELEM_USERDATA, &[&[0, text.len() as u8 + 1], text.as_bytes(), &[0]]),
            Note::Made(data) => put(bytes, ELEM_USERDATA, &[data.as_bytes()]),
        }
    }
    close(bytes, element);
}

/// An attribute whose value has these parts.
fn put(bytes: &mut Vec<u8>, kind: u16, parts: &[&[u8]]) {
    let at = open(bytes, kind);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    close(bytes, at);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Begins an attribute; what [`close`] needs to end it.
fn open(bytes: &mut Vec<u8>, kind: u16) -> usize {
    let at = bytes.len();
    bytes.extend([0; 2]);
    bytes.extend(kind.to_ne_bytes());
    at
}

fn close(bytes: &mut [u8], at: usize) {
    let len = (bytes.len() - at) as u16;
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&len.to_ne_bytes());
    }
}
