//! What is asked, in the one form that cache, upstreams and policy share: lower-case octets, so that equal questions have equal bytes.

/// A question of class IN, as far as it decides the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question<'a> {
    /// The name: length octet and label in turn, lower-case, without the root's empty label. At most 254 octets.
    pub(crate) name: &'a [u8],
    /// The type's number (RFC 1035 §3.2.2).
    pub(crate) rtype: u16,
    /// Whether the client wants DNSSEC records (DO, RFC 3225).
    pub(crate) dnssec_ok: bool,
    /// Whether the upstream is told not to check (CD, RFC 4035 §3.2.2).
    pub(crate) checking_disabled: bool,
}

impl Question<'_> {
    /// A copy that owns its name.
    pub(crate) fn to_owned(self) -> OwnedQuestion {
        OwnedQuestion { name: self.name.into(), rtype: self.rtype, dnssec_ok: self.dnssec_ok, checking_disabled: self.checking_disabled }
    }
}

/// A [`Question`] that owns its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OwnedQuestion {
    name: Box<[u8]>,
    rtype: u16,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl OwnedQuestion {
    /// The question.
    pub(crate) fn get(&self) -> Question<'_> {
        Question { name: &self.name, rtype: self.rtype, dnssec_ok: self.dnssec_ok, checking_disabled: self.checking_disabled }
    }
}
