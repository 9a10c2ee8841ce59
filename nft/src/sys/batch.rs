//! Messages that the kernel takes together or not at all.

use std::{fmt, io};

use nftnl::nftnl_sys as c;

use super::{
    Chain, Element, Expr, Ident, MAX_ELEMENTS, MAX_EXPRS, Object, Rule, Set, SetFlags, Table, TableFlags, UserData, expr::ANONYMOUS,
};

// Message types (`enum nf_tables_msg_types`).
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const DELCHAIN: u16 = 5;
const NEWRULE: u16 = 6;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const DELSET: u16 = 11;
pub(super) const NEWSETELEM: u16 = 12;
pub(super) const DELSETELEM: u16 = 14;
const NEWOBJ: u16 = 18;

pub(super) const F_ACK: u16 = 0x4;
pub(super) const F_CREATE: u16 = 0x400;
const F_APPEND: u16 = 0x800;

/// Room for one message. The largest: [`MAX_ELEMENTS`] elements, each with 16 bytes of key, 8 of time, 256 of user data, a verdict with
/// a name of 127, and less than 100 bytes of attribute headers: below 52 KiB. A rule: [`MAX_EXPRS`] expressions below 300 bytes each.
const ROOM: usize = 128 * 1024;

const _: () = assert!(MAX_ELEMENTS * (16 + 8 + 256 + 128 + 100) + 1024 < 65_536 && MAX_EXPRS * 300 + 1024 < ROOM);

/// What a message is about, for the error that it may bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Table,
    Chain(Ident),
    Rule {
        chain: Ident,
        number: usize,
    },
    Set(Ident),
    Elements(Ident),
    Object(Ident),
    /// The batch as a whole.
    Batch,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => f.write_str("the table"),
            Self::Chain(name) => write!(f, "chain {name}"),
            Self::Rule { chain, number } => write!(f, "rule {number} of chain {chain}"),
            Self::Set(name) => write!(f, "set {name}"),
            Self::Elements(name) => write!(f, "elements of set {name}"),
            Self::Object(name) => write!(f, "object {name}"),
            Self::Batch => f.write_str("the batch"),
        }
    }
}

/// The first message that the kernel refused; nothing of the batch holds.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) table: Option<super::Family>,
    pub(crate) what: What,
    pub(crate) source: io::Error,
}

/// A batch that is being written. Sequence numbers count from the first message; [`super::Netlink`] adds its own.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    scratch: Vec<u32>,
    messages: Vec<(super::Family, What, usize)>,
    set_ids: u32,
    rules: usize,
    fault: Option<What>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let mut batch =
            Self { bytes: Vec::with_capacity(4096), scratch: vec![0; ROOM / 4], messages: Vec::new(), set_ids: 0, rules: 0, fault: None };
        batch.begin();
        batch
    }

    /// Empties it for the next use.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.messages.clear();
        self.set_ids = 0;
        self.rules = 0;
        self.fault = None;
        self.begin();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many messages it has.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    fn begin(&mut self) {
        // SAFETY: the buffer is aligned for a header and has room for the 20 bytes of this message.
        self.append(|buffer| unsafe { c::nftnl_batch_begin(buffer.cast(), 0) });
    }

    /// Builds one message and takes over its bytes.
    fn append(&mut self, build: impl FnOnce(*mut u32) -> *mut c::libc::nlmsghdr) {
        let header = build(self.scratch.as_mut_ptr());
        // SAFETY: libnftnl gave back a header at the start of `scratch`; it filled in the length.
        let len = unsafe { (*header).nlmsg_len } as usize;
        // SAFETY: the message is in `scratch`, which is ROOM bytes long, and no builder writes more (see `sys`).
        let bytes = unsafe { std::slice::from_raw_parts(self.scratch.as_ptr().cast::<u8>(), len.min(ROOM)) };
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn message(&mut self, table: &Table, what: What, kind: u16, flags: u16, payload: impl FnOnce(*mut c::libc::nlmsghdr)) {
        let at = self.bytes.len();
        let seq = self.messages.len() as u32 + 1;
        self.append(|buffer| {
            // SAFETY: the buffer is aligned for a header and has room for it and for the payload (see `sys`).
            let header = unsafe { c::nftnl_nlmsg_build_hdr(buffer.cast(), kind, table.family as u16, flags, seq) };
            payload(header);
            header
        });
        self.messages.push((table.family, what, at));
    }

    /// For a message that is written without libnftnl: where it starts in [`Batch::bytes`].
    pub(super) fn begin_message(&mut self, family: super::Family, what: What) -> usize {
        let at = self.bytes.len();
        self.messages.push((family, what, at));
        at
    }

    /// The batch so far; a multiple of four bytes.
    pub(super) const fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Without flags a table that stands keeps its own.
    pub(crate) fn table(&mut self, table: &Table, flags: Option<TableFlags>) {
        self.message(table, What::Table, NEWTABLE, F_CREATE, |header| table.build(header, flags));
    }

    /// Only for the raw guard's table; never for the one that holds leases.
    pub(crate) fn delete_table(&mut self, table: &Table) {
        self.message(table, What::Table, DELTABLE, 0, |header| table.build(header, None));
    }

    pub(crate) fn chain(&mut self, table: &Table, chain: &Chain) {
        self.message(table, What::Chain(chain.name.clone()), NEWCHAIN, F_CREATE, |header| chain.build(header, table));
    }

    pub(crate) fn delete_chain(&mut self, table: &Table, name: &Ident) {
        let chain = Chain { name: name.clone(), hook: None };
        self.message(table, What::Chain(name.clone()), DELCHAIN, 0, |header| chain.build(header, table));
    }

    pub(crate) fn rule(&mut self, table: &Table, rule: &Rule) {
        self.rules += 1;
        let what = What::Rule { chain: rule.chain.clone(), number: self.rules };
        if rule.exprs.len() > MAX_EXPRS {
            self.fault.get_or_insert(what);
            return;
        }
        let mut ids = Vec::new();
        for expr in &rule.exprs {
            let Expr::LookupAmong { key, elements } = expr else { continue };
            let set = Set {
                name: Ident::new(ANONYMOUS),
                key: *key,
                flags: SetFlags(SetFlags::ANONYMOUS | SetFlags::CONSTANT),
                size: 0,
                timeout: 0,
                user_data: UserData::default(),
            };
            self.set(table, &set);
            ids.push(self.set_ids);
            self.put_elements(table, &set.name, self.set_ids, elements);
        }
        self.message(table, what, NEWRULE, F_CREATE | F_APPEND, |header| rule.build(header, table, &ids));
    }

    /// Empties every chain of the table.
    pub(crate) fn flush_rules(&mut self, table: &Table) {
        self.message(table, What::Table, DELRULE, 0, |header| Rule::build_flush(header, table));
    }

    pub(crate) fn set(&mut self, table: &Table, set: &Set) {
        self.set_ids += 1;
        let id = self.set_ids;
        self.message(table, What::Set(set.name.clone()), NEWSET, F_CREATE, |header| set.build(header, table, id));
    }

    pub(crate) fn delete_set(&mut self, table: &Table, name: &Ident) {
        self.message(table, What::Set(name.clone()), DELSET, 0, |header| Set::build_name(header, table, Some(name)));
    }

    pub(crate) fn elements(&mut self, table: &Table, set: &Ident, elements: &[Element]) {
        self.put_elements(table, set, 0, elements);
    }

    fn put_elements(&mut self, table: &Table, set: &Ident, id: u32, elements: &[Element]) {
        for part in elements.chunks(MAX_ELEMENTS) {
            let what = What::Elements(set.clone());
            self.message(table, what, NEWSETELEM, F_CREATE, |header| Element::build_all(header, table, set, id, part));
        }
    }

    pub(crate) fn delete_elements(&mut self, table: &Table, set: &Ident, elements: &[Element]) {
        for part in elements.chunks(MAX_ELEMENTS) {
            let what = What::Elements(set.clone());
            self.message(table, what, DELSETELEM, 0, |header| Element::build_all(header, table, set, 0, part));
        }
    }

    pub(crate) fn flush_set(&mut self, table: &Table, set: &Ident) {
        self.message(table, What::Elements(set.clone()), DELSETELEM, 0, |header| Element::build_all(header, table, set, 0, &[]));
    }

    pub(crate) fn object(&mut self, table: &Table, object: &Object) {
        self.message(table, What::Object(object.name().clone()), NEWOBJ, F_CREATE, |header| object.build(header, table));
    }

    /// The batch as it goes to the kernel: sequence numbers from `first`, the acknowledgement asked for by the last message alone.
    /// `Err` names a rule that is longer than this vocabulary can send.
    pub(super) fn finish(&mut self, first: u32) -> Result<&[u8], What> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let last = self.messages.len();
        let offsets = std::iter::once(0).chain(self.messages.iter().map(|(_, _, at)| *at));
        for (number, at) in offsets.enumerate() {
            if let Some(seq) = self.bytes.get_mut(at + 8..at + 12) {
                seq.copy_from_slice(&first.wrapping_add(number as u32).to_ne_bytes());
            }
            if number == last
                && let Some(flags) = self.bytes.get_mut(at + 6..at + 8)
                && let Ok(old) = <[u8; 2]>::try_from(&*flags)
            {
                flags.copy_from_slice(&(u16::from_ne_bytes(old) | F_ACK).to_ne_bytes());
            }
        }
        let end = first.wrapping_add(last as u32 + 1);
        // SAFETY: the buffer is aligned for a header and has room for the 20 bytes of this message.
        self.append(|buffer| unsafe { c::nftnl_batch_end(buffer.cast(), end) });
        Ok(&self.bytes)
    }

    /// What the message with this sequence number (counted from the batch's first) is about; 0 is the batch itself.
    pub(super) fn what(&self, number: u32) -> (Option<super::Family>, What) {
        let message = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)).and_then(|index| self.messages.get(index));
        match message {
            Some((family, what, _)) => (Some(*family), what.clone()),
            None => (None, What::Batch),
        }
    }
}
