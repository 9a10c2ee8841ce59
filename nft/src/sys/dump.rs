//! Reading what the kernel holds.

use std::{ffi::CStr, io};

use nftnl::nftnl_sys as c;

use super::{
    Chain, Element, Ident, Netlink, Object, Set, SetFlags, Table,
    owned::{Native, Owned},
    socket::Message,
};

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETSET: u16 = 10;
pub(super) const GETSETELEM: u16 = 13;
const GETOBJ: u16 = 19;

const F_ACK: u16 = 0x4;
const F_DUMP: u16 = 0x300;

/// How often a dump is tried again when the tables change under it.
const TRIES: u32 = 8;

/// Room for one question: three names of at most 128 bytes each and their headers.
const ROOM: usize = 4096;

/// A chain as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainSeen {
    pub(crate) name: Ident,
    /// Whether it is a base chain.
    pub(crate) hooked: bool,
    pub(crate) device: Option<String>,
}

/// A set as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetSeen {
    pub(crate) name: Ident,
    pub(crate) key_type: u32,
    pub(crate) key_len: u32,
    pub(crate) flags: u32,
    pub(crate) size: u32,
    pub(crate) user_data: Vec<u8>,
}

/// An element as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ElementSeen {
    pub(crate) key: Vec<u8>,
    /// Milliseconds left; `None`: it does not end.
    pub(crate) left: Option<u64>,
    pub(crate) user_data: Vec<u8>,
}

impl Netlink {
    /// Asks until the tables hold still. `Ok(None)`: they never did.
    fn dump<T: Native, R>(
        &mut self,
        table: &Table,
        kind: u16,
        flags: u16,
        payload: impl Fn(*mut c::libc::nlmsghdr),
        parse: unsafe extern "C" fn(*const c::libc::nlmsghdr, *mut T) -> i32,
        mut read: impl FnMut(&Owned<T>, &mut Vec<R>),
    ) -> io::Result<Option<Vec<R>>> {
        for _ in 0..TRIES {
            let mut found = Vec::new();
            let build = |seq| {
                let mut buffer = vec![0_u32; ROOM / 4];
                // SAFETY: the buffer is aligned for a header and has room for it and the payload (names alone, see ROOM).
                let header = unsafe { c::nftnl_nlmsg_build_hdr(buffer.as_mut_ptr().cast(), kind, table.family as u16, flags, seq) };
                payload(header);
                // SAFETY: the header is at the start of `buffer`.
                let len = unsafe { (*header).nlmsg_len } as usize;
                buffer.iter().flat_map(|word| word.to_ne_bytes()).take(len).collect()
            };
            let steady = self.ask(build, |message| {
                if let Some(object) = parsed(message, parse) {
                    read(&object, &mut found);
                }
            })?;
            if steady {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether the table stands.
    pub(crate) fn has_table(&mut self, table: &Table) -> io::Result<bool> {
        let payload = |header| table.build(header, None);
        let found = self.dump::<c::nftnl_table, ()>(table, GETTABLE, F_ACK, payload, c::nftnl_table_nlmsg_parse, |_, found| found.push(()));
        match found {
            Ok(found) => Ok(found.is_some_and(|found| !found.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The chains of a table.
    pub(crate) fn chains(&mut self, table: &Table) -> io::Result<Option<Vec<ChainSeen>>> {
        let nothing = Chain { name: Ident::new(""), hook: None };
        let payload = |header| nothing.build(header, table);
        self.dump::<c::nftnl_chain, ChainSeen>(table, GETCHAIN, F_DUMP, payload, c::nftnl_chain_nlmsg_parse, |chain, found| {
            // SAFETY: a live chain; each getter gives what the attribute is kept as, or null.
            unsafe {
                let text = |attr: u32| string(c::nftnl_chain_get_str(chain.ptr(), attr as u16));
                if text(c::NFTNL_CHAIN_TABLE).as_deref() != Some(table.name.as_str()) {
                    return;
                }
                let Some(name) = text(c::NFTNL_CHAIN_NAME) else { return };
                let hooked = c::nftnl_chain_is_set(chain.ptr(), c::NFTNL_CHAIN_HOOKNUM as u16);
                found.push(ChainSeen { name: Ident::new(&name), hooked, device: device(chain) });
            }
        })
    }

    /// The named sets of a table; not those that belong to a rule.
    pub(crate) fn sets(&mut self, table: &Table) -> io::Result<Option<Vec<SetSeen>>> {
        let payload = |header| Set::build_name(header, table, None);
        self.dump::<c::nftnl_set, SetSeen>(table, GETSET, F_DUMP, payload, c::nftnl_set_nlmsg_parse, |set, found| {
            // SAFETY: a live set; each getter gives what the attribute is kept as, 0 or null where it is not set.
            unsafe {
                let number = |attr: u32| c::nftnl_set_get_u32(set.ptr(), attr as u16);
                let Some(name) = string(c::nftnl_set_get_str(set.ptr(), c::NFTNL_SET_NAME as u16)) else { return };
                if number(c::NFTNL_SET_FLAGS) & SetFlags::ANONYMOUS != 0 {
                    return;
                }
                let mut len = 0;
                let data = c::nftnl_set_get_data(set.ptr(), c::NFTNL_SET_USERDATA as u16, &raw mut len);
                found.push(SetSeen {
                    name: Ident::new(&name),
                    key_type: number(c::NFTNL_SET_KEY_TYPE),
                    key_len: number(c::NFTNL_SET_KEY_LEN),
                    flags: number(c::NFTNL_SET_FLAGS),
                    size: number(c::NFTNL_SET_DESC_SIZE),
                    user_data: bytes(data, len),
                });
            }
        })
    }

    /// The elements of a set.
    pub(crate) fn elements(&mut self, table: &Table, set: &Ident) -> io::Result<Option<Vec<ElementSeen>>> {
        let payload = |header| Element::build_all(header, table, set, 0, &[]);
        self.dump::<c::nftnl_set, ElementSeen>(table, GETSETELEM, F_DUMP, payload, c::nftnl_set_elems_nlmsg_parse, |set, found| {
            // SAFETY: a live set; the iterator is made and ended here and gives elements that live as long as the set; each getter gives
            // what the attribute is kept as, or null.
            unsafe {
                let elements = c::nftnl_set_elems_iter_create(set.ptr());
                if elements.is_null() {
                    return;
                }
                loop {
                    let element = c::nftnl_set_elems_iter_next(elements);
                    if element.is_null() {
                        break;
                    }
                    let mut len = 0;
                    let key = c::nftnl_set_elem_get(element, c::NFTNL_SET_ELEM_KEY as u16, &raw mut len);
                    let key = bytes(key, len);
                    let data = if c::nftnl_set_elem_is_set(element, c::NFTNL_SET_ELEM_USERDATA as u16) {
                        c::nftnl_set_elem_get(element, c::NFTNL_SET_ELEM_USERDATA as u16, &raw mut len)
                    } else {
                        std::ptr::null()
                    };
                    let left = c::nftnl_set_elem_is_set(element, c::NFTNL_SET_ELEM_EXPIRATION as u16)
                        .then(|| c::nftnl_set_elem_get_u64(element, c::NFTNL_SET_ELEM_EXPIRATION as u16));
                    found.push(ElementSeen { key, left, user_data: bytes(data, len) });
                }
                c::nftnl_set_elems_iter_destroy(elements);
            }
        })
    }

    /// Packets and bytes of a named counter.
    pub(crate) fn counter(&mut self, table: &Table, name: &Ident) -> io::Result<Option<(u64, u64)>> {
        let object = Object::Counter(name.clone());
        let payload = |header| object.build(header, table);
        let found = self.dump::<c::nftnl_obj, (u64, u64)>(table, GETOBJ, F_ACK, payload, c::nftnl_obj_nlmsg_parse, |object, found| {
            // SAFETY: a live object, parsed as a counter: the question asked for one.
            unsafe {
                let number = |attr: u32| c::nftnl_obj_get_u64(object.ptr(), attr as u16);
                found.push((number(c::NFTNL_OBJ_CTR_PKTS), number(c::NFTNL_OBJ_CTR_BYTES)));
            }
        })?;
        Ok(found.and_then(|found| found.first().copied()))
    }
}

fn parsed<T: Native>(message: &Message<'_>, parse: unsafe extern "C" fn(*const c::libc::nlmsghdr, *mut T) -> i32) -> Option<Owned<T>> {
    let object = Owned::<T>::new();
    // SAFETY: a whole message with its header, aligned (see `Message`); libnftnl checks every attribute against the message's length.
    let result = unsafe { parse(message.bytes.as_ptr().cast(), object.ptr()) };
    (result >= 0).then_some(object)
}

/// # Safety
/// `text` is null or a string that lives for the call.
unsafe fn string(text: *const std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// # Safety
/// `data` is null or `len` bytes that live for the call.
unsafe fn bytes(data: *const std::ffi::c_void, len: u32) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len as usize) }.to_vec()
}

/// The first device of a base chain: kernels tell it as one name or as a list.
///
/// # Safety
/// A live chain.
unsafe fn device(chain: &Owned<c::nftnl_chain>) -> Option<String> {
    // SAFETY: the caller's promise; the array ends with null, and its strings live as long as the chain.
    unsafe {
        if c::nftnl_chain_is_set(chain.ptr(), c::NFTNL_CHAIN_DEVICES as u16) {
            let devices = c::nftnl_chain_get_array(chain.ptr(), c::NFTNL_CHAIN_DEVICES as u16);
            return if devices.is_null() { None } else { string(*devices) };
        }
        string(c::nftnl_chain_get_str(chain.ptr(), c::NFTNL_CHAIN_DEV as u16))
    }
}
