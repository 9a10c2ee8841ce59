//! Expressions: the words that a rule is made of.

use std::{ffi::CStr, ptr::NonNull};

use nftnl::nftnl_sys as c;

use super::{Element, Ident, SetKey, owned::Owned};

/// The most expressions a rule can have here.
pub(crate) const MAX_EXPRS: usize = 32;

/// The register that everything is loaded into. One is enough: no rule here concatenates.
const REGISTER: u32 = 1;

/// The name of a set that has none: the kernel puts a number in.
pub(super) const ANONYMOUS: &str = "__set%d";

/// Comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Cmp {
    Eq = 0,
    Neq = 1,
    Lte = 3,
    Gte = 5,
}

/// `meta` keys (`enum nft_meta_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum MetaKey {
    Priority = 2,
    Mark = 3,
    Iif = 4,
    Oif = 5,
    IifType = 8,
    SkUid = 10,
    RtClassId = 13,
    NfProto = 15,
    L4Proto = 16,
}

/// `ct` keys (`enum nft_ct_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum CtKey {
    State = 0,
    Direction = 1,
    Status = 2,
    Mark = 3,
    Bytes = 15,
    Zone = 17,
}

/// Which header a payload offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum PayloadBase {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// What becomes of the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Jump(Ident),
    Goto(Ident),
}

impl Verdict {
    /// The kernel's number: NF_DROP, NF_ACCEPT, NFT_JUMP, NFT_GOTO.
    pub(super) const fn code(&self) -> u32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => (-3_i32).cast_unsigned(),
            Self::Goto(_) => (-4_i32).cast_unsigned(),
        }
    }

    pub(super) const fn chain(&self) -> Option<&Ident> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            Self::Accept | Self::Drop => None,
        }
    }
}

/// One expression. Values are in the byte order that the kernel keeps them in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    MetaLoad(MetaKey),
    /// `meta KEY set` to what was loaded.
    MetaSet(MetaKey),
    /// Loads a zero of four bytes.
    ImmediateZero,
    CtLoad(CtKey),
    CtSetMark,
    /// `ct original zone set` to what was loaded.
    CtSetOriginalZone,
    Payload {
        base: PayloadBase,
        offset: u32,
        len: u32,
    },
    /// 1 where the packet has this IPv6 extension header, else 0.
    HasExtension(u8),
    Cmp(Cmp, Vec<u8>),
    /// `reg = (reg & mask) ^ xor`
    Bitwise {
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    /// Host to network order, four bytes.
    ByteOrder,
    Lookup {
        set: Ident,
    },
    /// A set that belongs to this rule alone: `{ … }`. It comes and goes with the rule, and holds no intervals (see `ruleset::plan`).
    LookupAmong {
        key: SetKey,
        elements: Vec<Element>,
    },
    /// A lookup whose data is the verdict.
    VerdictMap {
        map: Ident,
    },
    /// `fib saddr type` or `fib daddr type`
    FibType {
        source: bool,
    },
    Update {
        set: Ident,
    },
    CounterRef(Ident),
    CtTimeoutRef(Ident),
    Limit {
        per_second: u32,
        burst: u32,
    },
    Log {
        /// At most 127 bytes, as the kernel's.
        prefix: Option<Ident>,
        group: u16,
        snaplen: u32,
    },
    NoTrack,
    /// Loads a port for the redirect.
    ImmediatePort(u16),
    /// Loads the number of a conntrack zone.
    ImmediateZone(u16),
    Redirect,
    RejectTcpReset,
    RejectAdminProhibited,
    Verdict(Verdict),
}

/// An expression of libnftnl that no rule owns yet.
pub(super) struct Native(NonNull<c::nftnl_expr>);

impl Native {
    /// `name` is one of libnftnl's own, so null can only mean that there is no memory.
    fn new(name: &CStr) -> Self {
        // SAFETY: a NUL-terminated string that outlives the call.
        match NonNull::new(unsafe { c::nftnl_expr_alloc(name.as_ptr()) }) {
            Some(expr) => Self(expr),
            None => std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; 64]>()),
        }
    }

    fn u8(self, attr: u32, value: u8) -> Self {
        // SAFETY: a live expression; an attribute of this type for which libnftnl keeps a u8.
        unsafe { c::nftnl_expr_set_u8(self.0.as_ptr(), attr as u16, value) };
        self
    }

    fn u16(self, attr: u32, value: u16) -> Self {
        // SAFETY: as above, for a u16.
        unsafe { c::nftnl_expr_set_u16(self.0.as_ptr(), attr as u16, value) };
        self
    }

    fn u32(self, attr: u32, value: u32) -> Self {
        // SAFETY: as above, for a u32.
        unsafe { c::nftnl_expr_set_u32(self.0.as_ptr(), attr as u16, value) };
        self
    }

    fn u64(self, attr: u32, value: u64) -> Self {
        // SAFETY: as above, for a u64.
        unsafe { c::nftnl_expr_set_u64(self.0.as_ptr(), attr as u16, value) };
        self
    }

    fn text(self, attr: u32, value: &Ident) -> Self {
        // SAFETY: as above, for a string, which is NUL-terminated and copied.
        unsafe { c::nftnl_expr_set_str(self.0.as_ptr(), attr as u16, value.as_c().as_ptr()) };
        self
    }

    /// At most 16 bytes, what a register holds; libnftnl has room for 64.
    fn data(self, attr: u32, value: &[u8]) -> Self {
        let value = value.get(..16).unwrap_or(value);
        // SAFETY: as above, for data of this length, which is copied.
        unsafe { c::nftnl_expr_set(self.0.as_ptr(), attr as u16, value.as_ptr().cast(), value.len() as u32) };
        self
    }
}

impl Expr {
    /// Gives the expression to the rule. `ids`: of the sets that belong to the rule, in order.
    pub(super) fn add_to(&self, rule: &Owned<c::nftnl_rule>, ids: &mut impl Iterator<Item = u32>) {
        let mut expr = self.native();
        if matches!(self, Self::LookupAmong { .. }) {
            expr = expr.u32(c::NFTNL_EXPR_LOOKUP_SET_ID, ids.next().unwrap_or_default());
        }
        // SAFETY: both live; the rule owns the expression from here on and frees it.
        unsafe { c::nftnl_rule_add_expr(rule.ptr(), expr.0.as_ptr()) };
    }

    fn native(&self) -> Native {
        let reg = REGISTER;
        match self {
            Self::MetaLoad(key) => Native::new(c"meta").u32(c::NFTNL_EXPR_META_KEY, *key as u32).u32(c::NFTNL_EXPR_META_DREG, reg),
            Self::MetaSet(key) => Native::new(c"meta").u32(c::NFTNL_EXPR_META_KEY, *key as u32).u32(c::NFTNL_EXPR_META_SREG, reg),
            Self::ImmediateZero => Native::new(c"immediate").u32(c::NFTNL_EXPR_IMM_DREG, reg).data(c::NFTNL_EXPR_IMM_DATA, &[0; 4]),
            Self::CtLoad(key) => Native::new(c"ct").u32(c::NFTNL_EXPR_CT_KEY, *key as u32).u32(c::NFTNL_EXPR_CT_DREG, reg),
            Self::CtSetMark => Native::new(c"ct").u32(c::NFTNL_EXPR_CT_KEY, CtKey::Mark as u32).u32(c::NFTNL_EXPR_CT_SREG, reg),
            Self::CtSetOriginalZone => {
                Native::new(c"ct").u32(c::NFTNL_EXPR_CT_KEY, CtKey::Zone as u32).u8(c::NFTNL_EXPR_CT_DIR, 0).u32(c::NFTNL_EXPR_CT_SREG, reg)
            }
            Self::Payload { base, offset, len } => Native::new(c"payload")
                .u32(c::NFTNL_EXPR_PAYLOAD_DREG, reg)
                .u32(c::NFTNL_EXPR_PAYLOAD_BASE, *base as u32)
                .u32(c::NFTNL_EXPR_PAYLOAD_OFFSET, *offset)
                .u32(c::NFTNL_EXPR_PAYLOAD_LEN, *len),
            Self::HasExtension(kind) => Native::new(c"exthdr")
                .u32(c::NFTNL_EXPR_EXTHDR_DREG, reg)
                .u8(c::NFTNL_EXPR_EXTHDR_TYPE, *kind)
                .u32(c::NFTNL_EXPR_EXTHDR_OFFSET, 0)
                .u32(c::NFTNL_EXPR_EXTHDR_LEN, 1)
                .u32(c::NFTNL_EXPR_EXTHDR_FLAGS, 1),
            Self::Cmp(op, data) => Native::new(c"cmp")
                .u32(c::NFTNL_EXPR_CMP_SREG, reg)
                .u32(c::NFTNL_EXPR_CMP_OP, *op as u32)
                .data(c::NFTNL_EXPR_CMP_DATA, data),
            Self::Bitwise { mask, xor } => Native::new(c"bitwise")
                .u32(c::NFTNL_EXPR_BITWISE_SREG, reg)
                .u32(c::NFTNL_EXPR_BITWISE_DREG, reg)
                .u32(c::NFTNL_EXPR_BITWISE_LEN, mask.len().min(16) as u32)
                .data(c::NFTNL_EXPR_BITWISE_MASK, mask)
                .data(c::NFTNL_EXPR_BITWISE_XOR, xor),
            Self::ByteOrder => Native::new(c"byteorder")
                .u32(c::NFTNL_EXPR_BYTEORDER_SREG, reg)
                .u32(c::NFTNL_EXPR_BYTEORDER_DREG, reg)
                .u32(c::NFTNL_EXPR_BYTEORDER_OP, 1)
                .u32(c::NFTNL_EXPR_BYTEORDER_LEN, 4)
                .u32(c::NFTNL_EXPR_BYTEORDER_SIZE, 4),
            Self::Lookup { set } => Native::new(c"lookup").u32(c::NFTNL_EXPR_LOOKUP_SREG, reg).text(c::NFTNL_EXPR_LOOKUP_SET, set),
            Self::LookupAmong { .. } => {
                Native::new(c"lookup").u32(c::NFTNL_EXPR_LOOKUP_SREG, reg).text(c::NFTNL_EXPR_LOOKUP_SET, &Ident::new(ANONYMOUS))
            }
            Self::VerdictMap { map } => Native::new(c"lookup")
                .u32(c::NFTNL_EXPR_LOOKUP_SREG, reg)
                .u32(c::NFTNL_EXPR_LOOKUP_DREG, 0)
                .text(c::NFTNL_EXPR_LOOKUP_SET, map),
            Self::FibType { source } => Native::new(c"fib")
                .u32(c::NFTNL_EXPR_FIB_RESULT, 3)
                .u32(c::NFTNL_EXPR_FIB_FLAGS, if *source { 1 } else { 2 })
                .u32(c::NFTNL_EXPR_FIB_DREG, reg),
            Self::Update { set } => Native::new(c"dynset")
                .u32(c::NFTNL_EXPR_DYNSET_SREG_KEY, reg)
                .u32(c::NFTNL_EXPR_DYNSET_OP, 1)
                .text(c::NFTNL_EXPR_DYNSET_SET_NAME, set),
            Self::CounterRef(name) => {
                Native::new(c"objref").u32(c::NFTNL_EXPR_OBJREF_IMM_TYPE, 1).text(c::NFTNL_EXPR_OBJREF_IMM_NAME, name)
            }
            Self::CtTimeoutRef(name) => {
                Native::new(c"objref").u32(c::NFTNL_EXPR_OBJREF_IMM_TYPE, 7).text(c::NFTNL_EXPR_OBJREF_IMM_NAME, name)
            }
            Self::Limit { per_second, burst } => Native::new(c"limit")
                .u64(c::NFTNL_EXPR_LIMIT_RATE, u64::from(*per_second))
                .u64(c::NFTNL_EXPR_LIMIT_UNIT, 1)
                .u32(c::NFTNL_EXPR_LIMIT_BURST, *burst)
                .u32(c::NFTNL_EXPR_LIMIT_TYPE, 0),
            Self::Log { prefix, group, snaplen } => {
                let log = Native::new(c"log").u16(c::NFTNL_EXPR_LOG_GROUP, *group).u32(c::NFTNL_EXPR_LOG_SNAPLEN, *snaplen);
                match prefix {
                    Some(prefix) => log.text(c::NFTNL_EXPR_LOG_PREFIX, prefix),
                    None => log,
                }
            }
            Self::NoTrack => Native::new(c"notrack"),
            Self::ImmediatePort(port) => {
                Native::new(c"immediate").u32(c::NFTNL_EXPR_IMM_DREG, reg).data(c::NFTNL_EXPR_IMM_DATA, &port.to_be_bytes())
            }
            Self::ImmediateZone(zone) => {
                Native::new(c"immediate").u32(c::NFTNL_EXPR_IMM_DREG, reg).data(c::NFTNL_EXPR_IMM_DATA, &zone.to_ne_bytes())
            }
            Self::Redirect => Native::new(c"redir").u32(c::NFTNL_EXPR_REDIR_REG_PROTO_MIN, reg).u32(c::NFTNL_EXPR_REDIR_FLAGS, 2),
            Self::RejectTcpReset => Native::new(c"reject").u32(c::NFTNL_EXPR_REJECT_TYPE, 1).u8(c::NFTNL_EXPR_REJECT_CODE, 0),
            Self::RejectAdminProhibited => Native::new(c"reject").u32(c::NFTNL_EXPR_REJECT_TYPE, 2).u8(c::NFTNL_EXPR_REJECT_CODE, 3),
            Self::Verdict(verdict) => {
                let immediate = Native::new(c"immediate").u32(c::NFTNL_EXPR_IMM_DREG, 0).u32(c::NFTNL_EXPR_IMM_VERDICT, verdict.code());
                match verdict.chain() {
                    Some(chain) => immediate.text(c::NFTNL_EXPR_IMM_CHAIN, chain),
                    None => immediate,
                }
            }
        }
    }
}
