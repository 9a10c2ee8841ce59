//! Lease elements: an address, its time, and the name that it was resolved for.

use std::{net::IpAddr, time::Duration};

use super::Change;
use crate::{
    ruleset::{Ip, UDATA_LONG_NAME, UDATA_NAME, address_key},
    sys,
    sys::{Element, ElementSeen, Note, UserData},
};

/// The longest name that an element carries: the longest there is, in text without its last dot.
pub(super) const MAX_NAME: usize = 253;

/// The element's key alone: to delete it.
pub(super) fn bare(address: IpAddr) -> Element {
    Element { key: address_key(address), ..Element::default() }
}

/// `Err`: the name's length, which is too long.
pub(super) fn element(address: IpAddr, name: &str, timeout: Duration) -> Result<Element, usize> {
    let user_data = named(name).ok_or(name.len())?;
    // The kernel reads 0 as "the set's default", which is none.
    let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX / 2_000_000).max(1);
    Ok(Element { timeout: Some(timeout), user_data, ..bare(address) })
}

/// A change as it is sent. The name is at most [`MAX_NAME`] bytes.
pub(super) fn lease<'a>(change: &Change<'a>) -> sys::Lease<'a> {
    let note = match plain(change.name) {
        true => Note::Comment(change.name),
        false => Note::Made(named(change.name).unwrap_or_default()),
    };
    sys::Lease { address: change.address, timeout: change.timeout, note }
}

/// Whether nft can print it as a comment.
fn plain(name: &str) -> bool {
    name.len() <= UserData::MAX_COMMENT && !name.chars().any(|c| c.is_control() || c == '"')
}

/// A name as nft's comment; what is too long for one, or has characters that nft cannot print, in an entry of our own.
fn named(name: &str) -> Option<UserData> {
    let mut data = UserData::default();
    if plain(name) {
        data.put_comment(0, name);
        return Some(data);
    }
    if name.len() > MAX_NAME {
        return None;
    }
    if !data.put(UDATA_NAME, name.as_bytes()) {
        return data.put_alone(UDATA_LONG_NAME, name.as_bytes()).then_some(data);
    }
    let room = (UserData::MAX - data.as_bytes().len()).saturating_sub(3).min(UserData::MAX_COMMENT);
    if room > 16 {
        // The end of a name tells more than its beginning.
        let mut tail = name;
        while tail.len() >= room {
            tail = tail.get(1..).or_else(|| tail.get(2..)).or_else(|| tail.get(3..)).or_else(|| tail.get(4..)).unwrap_or_default();
        }
        data.put_comment(0, &format!("~{tail}"));
    }
    Some(data)
}

/// The name in an element's user data.
pub(super) fn name(user_data: &[u8]) -> String {
    let long = user_data.split_first().filter(|(kind, _)| **kind == UDATA_LONG_NAME).map(|(_, name)| name);
    let raw = match long.or_else(|| UserData::find(user_data, UDATA_NAME)) {
        Some(name) => name,
        None => UserData::find(user_data, 0).map(|comment| comment.strip_suffix(&[0]).unwrap_or(comment)).unwrap_or_default(),
    };
    String::from_utf8_lossy(raw).into_owned()
}

/// The address that a key is.
pub(super) fn address(key: &[u8], family: Ip) -> Option<IpAddr> {
    match family {
        Ip::V4 => <[u8; 4]>::try_from(key).ok().map(IpAddr::from),
        Ip::V6 => <[u8; 16]>::try_from(key).ok().map(IpAddr::from),
    }
}

/// How long an element still stands. The kernel rounds to its tick; what has no time never ends.
pub(super) fn left(seen: &ElementSeen) -> Duration {
    seen.left.map_or(Duration::MAX, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_whatever_their_length() {
        for len in [0, 1, 126, 127, 130, 200, 252, 253] {
            let long = "n".repeat(len);
            assert_eq!(name(named(&long).unwrap().as_bytes()), long, "{len}");
        }
        assert!(named(&"n".repeat(254)).is_none());
        assert_eq!(name(named("quoted\"name").unwrap().as_bytes()), "quoted\"name");
        assert_eq!(name(&[]), "");
    }
}
