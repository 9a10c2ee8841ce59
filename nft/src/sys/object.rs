//! What a table holds, as plain values, and how each becomes a message.

use nftnl::nftnl_sys as c;

use super::{Expr, Ident, UserData, Verdict, owned::Owned};

/// The most elements in one message: 64 KiB is the most that a list of attributes can span.
pub(crate) const MAX_ELEMENTS: usize = 100;

/// Address families of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Family {
    Inet = 1,
    Netdev = 5,
}

/// Table flags (`enum nft_table_flags`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum TableFlags {
    OwnerPersist = 2 | 4,
}

/// A table.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) family: Family,
    pub(crate) name: Ident,
}

impl Table {
    pub(super) fn build(&self, header: *mut c::libc::nlmsghdr, flags: Option<TableFlags>) {
        let table = Owned::<c::nftnl_table>::new();
        // SAFETY: a live table; attributes of the types that libnftnl keeps; the header stands in a buffer with room (see `sys`).
        unsafe {
            c::nftnl_table_set_str(table.ptr(), c::NFTNL_TABLE_NAME as u16, self.name.as_c().as_ptr());
            if let Some(flags) = flags {
                c::nftnl_table_set_u32(table.ptr(), c::NFTNL_TABLE_FLAGS as u16, flags as u32);
            }
            c::nftnl_table_nlmsg_build_payload(header, table.ptr());
        }
    }
}

/// What kind of work a base chain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HookKind {
    Filter,
    Nat,
}

/// A base chain's verdict at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Accept,
    Drop,
}

/// Where a base chain hooks in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) kind: HookKind,
    pub(crate) number: u32,
    pub(crate) priority: i32,
    pub(crate) policy: Policy,
    pub(crate) device: Option<Ident>,
}

impl Hook {
    /// `NF_INET_PRE_ROUTING`
    pub(crate) const PREROUTING: u32 = 0;
    /// `NF_INET_FORWARD`
    pub(crate) const FORWARD: u32 = 2;
    /// `NF_INET_LOCAL_OUT`
    pub(crate) const OUTPUT: u32 = 3;
    /// `NF_NETDEV_EGRESS`
    pub(crate) const EGRESS: u32 = 1;
}

/// A chain, with a hook or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: Ident,
    pub(crate) hook: Option<Hook>,
}

impl Chain {
    pub(super) fn build(&self, header: *mut c::libc::nlmsghdr, table: &Table) {
        let chain = Owned::<c::nftnl_chain>::new();
        // SAFETY: a live chain; attributes of the types that libnftnl keeps; the header stands in a buffer with room (see `sys`).
        unsafe {
            c::nftnl_chain_set_str(chain.ptr(), c::NFTNL_CHAIN_TABLE as u16, table.name.as_c().as_ptr());
            c::nftnl_chain_set_str(chain.ptr(), c::NFTNL_CHAIN_NAME as u16, self.name.as_c().as_ptr());
            if let Some(hook) = &self.hook {
                c::nftnl_chain_set_u32(chain.ptr(), c::NFTNL_CHAIN_HOOKNUM as u16, hook.number);
                c::nftnl_chain_set_s32(chain.ptr(), c::NFTNL_CHAIN_PRIO as u16, hook.priority);
                c::nftnl_chain_set_u32(chain.ptr(), c::NFTNL_CHAIN_POLICY as u16, u32::from(hook.policy == Policy::Accept));
                let kind = match hook.kind {
                    HookKind::Filter => c"filter",
                    HookKind::Nat => c"nat",
                };
                c::nftnl_chain_set_str(chain.ptr(), c::NFTNL_CHAIN_TYPE as u16, kind.as_ptr());
                if let Some(device) = &hook.device {
                    c::nftnl_chain_set_str(chain.ptr(), c::NFTNL_CHAIN_DEV as u16, device.as_c().as_ptr());
                }
            }
            c::nftnl_chain_nlmsg_build_payload(header, chain.ptr());
        }
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) chain: Ident,
    pub(crate) exprs: Vec<Expr>,
    pub(crate) user_data: UserData,
}

impl Rule {
    pub(super) fn build(&self, header: *mut c::libc::nlmsghdr, table: &Table, ids: &[u32]) {
        let rule = Owned::<c::nftnl_rule>::new();
        let mut ids = ids.iter().copied();
        for expr in &self.exprs {
            expr.add_to(&rule, &mut ids);
        }
        // SAFETY: a live rule; attributes of the types that libnftnl keeps; the header stands in a buffer with room (see `sys`).
        unsafe {
            c::nftnl_rule_set_str(rule.ptr(), c::NFTNL_RULE_TABLE as u16, table.name.as_c().as_ptr());
            c::nftnl_rule_set_str(rule.ptr(), c::NFTNL_RULE_CHAIN as u16, self.chain.as_c().as_ptr());
            let data = self.user_data.as_bytes();
            if !data.is_empty() {
                c::nftnl_rule_set_data(rule.ptr(), c::NFTNL_RULE_USERDATA as u16, data.as_ptr().cast(), data.len() as u32);
            }
            c::nftnl_rule_nlmsg_build_payload(header, rule.ptr());
        }
    }

    /// The message that empties every chain of a table.
    pub(super) fn build_flush(header: *mut c::libc::nlmsghdr, table: &Table) {
        let rule = Owned::<c::nftnl_rule>::new();
        // SAFETY: as in `build`.
        unsafe {
            c::nftnl_rule_set_str(rule.ptr(), c::NFTNL_RULE_TABLE as u16, table.name.as_c().as_ptr());
            c::nftnl_rule_nlmsg_build_payload(header, rule.ptr());
        }
    }
}

/// What a set's keys are: nft's number of the type (it prints by it), length in bytes, whether in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetKey {
    Ipv4,
    Ipv6,
    Mark,
    Port,
    Uid,
    Icmpv6Type,
}

impl SetKey {
    pub(crate) const fn nft_type(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Port => 13,
            Self::Mark => 19,
            Self::Uid => 24,
            Self::Icmpv6Type => 29,
        }
    }

    pub(crate) const fn len(self) -> u32 {
        match self {
            Self::Ipv6 => 16,
            Self::Ipv4 | Self::Mark | Self::Uid => 4,
            Self::Port => 2,
            Self::Icmpv6Type => 1,
        }
    }

    /// nft's `enum byteorder`.
    const fn byte_order(self) -> u32 {
        match self {
            Self::Mark | Self::Uid => 1,
            _ => 2,
        }
    }
}

/// Set flags (`enum nft_set_flags`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SetFlags(pub(crate) u32);

impl SetFlags {
    pub(crate) const ANONYMOUS: u32 = 1;
    pub(crate) const CONSTANT: u32 = 2;
    pub(crate) const INTERVAL: u32 = 4;
    pub(crate) const MAP: u32 = 8;
    pub(crate) const TIMEOUT: u32 = 0x10;
    pub(crate) const DYNAMIC: u32 = 0x20;
}

/// A set or a verdict map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: Ident,
    pub(crate) key: SetKey,
    pub(crate) flags: SetFlags,
    /// Most elements; 0 = no bound.
    pub(crate) size: u32,
    /// Milliseconds; 0 = none.
    pub(crate) timeout: u64,
    /// Our own entries; the key's byte order is added.
    pub(crate) user_data: UserData,
}

impl Set {
    pub(super) fn build(&self, header: *mut c::libc::nlmsghdr, table: &Table, id: u32) {
        let set = Owned::<c::nftnl_set>::new();
        let mut user_data = UserData::default();
        user_data.put(c::NFTNL_UDATA_SET_KEYBYTEORDER as u8, &self.key.byte_order().to_ne_bytes());
        let mut bytes = user_data.as_bytes().to_vec();
        bytes.extend(self.user_data.as_bytes().iter().take(UserData::MAX - bytes.len()));
        // SAFETY: a live set; attributes of the types that libnftnl keeps; the header stands in a buffer with room (see `sys`).
        unsafe {
            c::nftnl_set_set_str(set.ptr(), c::NFTNL_SET_TABLE as u16, table.name.as_c().as_ptr());
            c::nftnl_set_set_str(set.ptr(), c::NFTNL_SET_NAME as u16, self.name.as_c().as_ptr());
            c::nftnl_set_set_u32(set.ptr(), c::NFTNL_SET_FLAGS as u16, self.flags.0);
            c::nftnl_set_set_u32(set.ptr(), c::NFTNL_SET_KEY_TYPE as u16, self.key.nft_type());
            c::nftnl_set_set_u32(set.ptr(), c::NFTNL_SET_KEY_LEN as u16, self.key.len());
            c::nftnl_set_set_u32(set.ptr(), c::NFTNL_SET_ID as u16, id);
            if self.flags.0 & SetFlags::MAP != 0 {
                // NFT_DATA_VERDICT
                c::nftnl_set_set_u32(set.ptr(), c::NFTNL_SET_DATA_TYPE as u16, 0xffff_ff00);
                c::nftnl_set_set_u32(set.ptr(), c::NFTNL_SET_DATA_LEN as u16, 16);
            }
            if self.size != 0 {
                c::nftnl_set_set_u32(set.ptr(), c::NFTNL_SET_DESC_SIZE as u16, self.size);
            }
            if self.timeout != 0 {
                c::nftnl_set_set_u64(set.ptr(), c::NFTNL_SET_TIMEOUT as u16, self.timeout);
            }
            c::nftnl_set_set_data(set.ptr(), c::NFTNL_SET_USERDATA as u16, bytes.as_ptr().cast(), bytes.len() as u32);
            c::nftnl_set_nlmsg_build_payload(header, set.ptr());
        }
    }

    /// The message that names a set: to delete it, or to ask for its elements.
    pub(super) fn build_name(header: *mut c::libc::nlmsghdr, table: &Table, name: Option<&Ident>) {
        let set = Owned::<c::nftnl_set>::new();
        // SAFETY: as in `build`.
        unsafe {
            c::nftnl_set_set_str(set.ptr(), c::NFTNL_SET_TABLE as u16, table.name.as_c().as_ptr());
            if let Some(name) = name {
                c::nftnl_set_set_str(set.ptr(), c::NFTNL_SET_NAME as u16, name.as_c().as_ptr());
            }
            c::nftnl_set_nlmsg_build_payload(header, set.ptr());
        }
    }
}

/// An element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Element {
    /// As long as the set's key, at most 16 bytes.
    pub(crate) key: Vec<u8>,
    /// Ends an interval: the first key that is not in it.
    pub(crate) interval_end: bool,
    /// Milliseconds.
    pub(crate) timeout: Option<u64>,
    pub(crate) user_data: UserData,
    pub(crate) verdict: Option<Verdict>,
}

impl Element {
    fn native(&self) -> Owned<c::nftnl_set_elem> {
        let elem = Owned::<c::nftnl_set_elem>::new();
        let key = self.key.get(..16).unwrap_or(&self.key);
        // SAFETY: a live element; attributes of the types that libnftnl keeps; at most 16 of its 64 bytes of key, 256 of user data.
        unsafe {
            c::nftnl_set_elem_set(elem.ptr(), c::NFTNL_SET_ELEM_KEY as u16, key.as_ptr().cast(), key.len() as u32);
            if self.interval_end {
                c::nftnl_set_elem_set_u32(elem.ptr(), c::NFTNL_SET_ELEM_FLAGS as u16, 1);
            }
            if let Some(timeout) = self.timeout {
                c::nftnl_set_elem_set_u64(elem.ptr(), c::NFTNL_SET_ELEM_TIMEOUT as u16, timeout);
            }
            if let Some(verdict) = &self.verdict {
                c::nftnl_set_elem_set_u32(elem.ptr(), c::NFTNL_SET_ELEM_VERDICT as u16, verdict.code());
                if let Some(chain) = verdict.chain() {
                    c::nftnl_set_elem_set_str(elem.ptr(), c::NFTNL_SET_ELEM_CHAIN as u16, chain.as_c().as_ptr());
                }
            }
            let data = self.user_data.as_bytes();
            if !data.is_empty() {
                c::nftnl_set_elem_set(elem.ptr(), c::NFTNL_SET_ELEM_USERDATA as u16, data.as_ptr().cast(), data.len() as u32);
            }
        }
        elem
    }

    /// At most [`MAX_ELEMENTS`] are taken; the caller sends the rest in other messages.
    pub(super) fn build_all(header: *mut c::libc::nlmsghdr, table: &Table, set: &Ident, id: u32, elements: &[Self]) {
        let list = Owned::<c::nftnl_set>::new();
        for element in elements.iter().take(MAX_ELEMENTS) {
            // SAFETY: both live; the set owns the element from here on and frees it.
            unsafe { c::nftnl_set_elem_add(list.ptr(), element.native().into_ptr()) };
        }
        // SAFETY: a live set; attributes of the types that libnftnl keeps; the header stands in a buffer with room (see `sys`).
        unsafe {
            c::nftnl_set_set_str(list.ptr(), c::NFTNL_SET_TABLE as u16, table.name.as_c().as_ptr());
            c::nftnl_set_set_str(list.ptr(), c::NFTNL_SET_NAME as u16, set.as_c().as_ptr());
            if id != 0 {
                c::nftnl_set_set_u32(list.ptr(), c::NFTNL_SET_ID as u16, id);
            }
            c::nftnl_set_elems_nlmsg_build_payload(header, list.ptr());
        }
    }
}

/// A named object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    Counter(Ident),
    /// Seconds for each state of `protocol`, in libnftnl's order; what the protocol has not is 0.
    CtTimeout {
        name: Ident,
        protocol: u8,
        states: [u32; 11],
    },
}

impl Object {
    pub(crate) const fn name(&self) -> &Ident {
        match self {
            Self::Counter(name) | Self::CtTimeout { name, .. } => name,
        }
    }

    const fn kind(&self) -> u32 {
        match self {
            Self::Counter(_) => 1,
            Self::CtTimeout { .. } => 7,
        }
    }

    pub(super) fn build(&self, header: *mut c::libc::nlmsghdr, table: &Table) {
        let object = Owned::<c::nftnl_obj>::new();
        // SAFETY: a live object whose type is set first, which says what its other attributes are; the array has the 11 places that
        // libnftnl copies; the header stands in a buffer with room (see `sys`).
        unsafe {
            c::nftnl_obj_set_str(object.ptr(), c::NFTNL_OBJ_TABLE as u16, table.name.as_c().as_ptr());
            c::nftnl_obj_set_str(object.ptr(), c::NFTNL_OBJ_NAME as u16, self.name().as_c().as_ptr());
            c::nftnl_obj_set_u32(object.ptr(), c::NFTNL_OBJ_TYPE as u16, self.kind());
            if let Self::CtTimeout { protocol, states, .. } = self {
                c::nftnl_obj_set_u16(object.ptr(), c::NFTNL_OBJ_CT_TIMEOUT_L3PROTO as u16, Family::Inet as u16);
                c::nftnl_obj_set_u8(object.ptr(), c::NFTNL_OBJ_CT_TIMEOUT_L4PROTO as u16, *protocol);
                let bytes = std::mem::size_of_val(states) as u32;
                c::nftnl_obj_set_data(object.ptr(), c::NFTNL_OBJ_CT_TIMEOUT_ARRAY as u16, states.as_ptr().cast(), bytes);
            }
            c::nftnl_obj_nlmsg_build_payload(header, object.ptr());
        }
    }
}
