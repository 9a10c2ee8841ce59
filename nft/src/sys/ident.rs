//! Names and user data that fit into a message and that nft can print and read.

use std::{
    ffi::{CStr, CString},
    fmt,
    sync::Arc,
};

/// The name of a table, chain, set, object or device: 1 to 127 bytes without NUL. nft reads names up to 127 bytes, the kernel up to 255.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ident(Arc<CStr>);

impl Ident {
    /// The longest name, in bytes.
    pub(crate) const MAX: usize = 127;

    /// Cuts what is too long and what follows a NUL: for names whose making already keeps them within bounds.
    pub(crate) fn new(name: &str) -> Self {
        let mut end = name.len().min(Self::MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let clean: Vec<u8> = name.bytes().take(end).take_while(|byte| *byte != 0).collect();
        Self(CString::new(clean).unwrap_or_default().into())
    }

    pub(crate) fn as_c(&self) -> &CStr {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl From<&str> for Ident {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// User data as nft keeps it: type, length, value, one after another, 254 bytes in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserData(Vec<u8>);

impl UserData {
    /// The kernel's bound is 256 (NFT_USERDATA_MAXLEN), but it counts an element's, and one byte for their length, in eight bits
    /// (nft_set_ext_tmpl): 255 bytes it refuses, and of 256 it keeps none and says nothing.
    pub(crate) const MAX: usize = 254;
    /// The longest comment that nft prints, without its NUL.
    pub(crate) const MAX_COMMENT: usize = 126;

    /// Adds a value; one that does not fit is left out and `false` comes back.
    pub(crate) fn put(&mut self, kind: u8, value: &[u8]) -> bool {
        let Ok(len) = u8::try_from(value.len()) else { return false };
        if self.0.len() + 2 + value.len() > Self::MAX {
            return false;
        }
        self.0.extend([kind, len]);
        self.0.extend(value);
        true
    }

    /// Makes `value` all there is: an entry without a length, which no other can stand beside.
    pub(crate) fn put_alone(&mut self, kind: u8, value: &[u8]) -> bool {
        let fits = self.0.is_empty() && value.len() < Self::MAX;
        if fits {
            self.0.push(kind);
            self.0.extend(value);
        }
        fits
    }

    /// Adds a comment, with the NUL that nft wants. Characters that would end nft's quoted string become `_`.
    pub(crate) fn put_comment(&mut self, kind: u8, text: &str) {
        let mut value: Vec<u8> = Vec::with_capacity(text.len() + 1);
        for c in text.chars() {
            let c = if c.is_control() || c == '"' { '_' } else { c };
            if value.len() + c.len_utf8() > Self::MAX_COMMENT {
                break;
            }
            value.extend(c.encode_utf8(&mut [0; 4]).bytes());
        }
        value.push(0);
        self.put(kind, &value);
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value of the first entry of this kind in raw user data.
    pub(crate) fn find(raw: &[u8], kind: u8) -> Option<&[u8]> {
        let mut rest = raw;
        while let [this, len, tail @ ..] = rest {
            let value = tail.get(..usize::from(*len))?;
            if *this == kind {
                return Some(value);
            }
            rest = tail.get(usize::from(*len)..)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let mut data = UserData::default();
        assert!(!data.put(1, &[7; 253]));
        assert!(data.put(1, &[7; 252]));
        assert!(!data.put(2, b""));
        assert_eq!(UserData::find(data.as_bytes(), 1), Some(&[7; 252][..]));
        assert_eq!(UserData::find(data.as_bytes(), 2), None);
    }

    #[test]
    fn cut_user_data_is_read_without_a_panic() {
        for raw in [&[0_u8][..], &[0, 5, 1], &[1, 0, 0], &[1, 255]] {
            assert_eq!(UserData::find(raw, 0), None);
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(Ident::new(&"ä".repeat(100)).as_str().len(), 126);
    }
}
