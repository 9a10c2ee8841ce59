//! Objects of libnftnl, freed when dropped.

use std::ptr::NonNull;

use nftnl::nftnl_sys as c;

/// An object of libnftnl: allocated by it, owned here, freed by it.
pub(super) trait Native {
    /// Allocates one; null when there is no memory.
    fn alloc() -> *mut Self;
    /// Frees one.
    ///
    /// # Safety
    /// `this` comes from [`Native::alloc`] and is not used afterwards.
    unsafe fn free(this: *mut Self);
}

macro_rules! native {
    ($($type:ident: $alloc:ident, $free:ident;)*) => {$(
        impl Native for c::$type {
            fn alloc() -> *mut Self {
                // SAFETY: takes nothing, gives a new object or null.
                unsafe { c::$alloc() }
            }
            unsafe fn free(this: *mut Self) {
                // SAFETY: the caller's promise.
                unsafe { c::$free(this) };
            }
        }
    )*};
}

native! {
    nftnl_table: nftnl_table_alloc, nftnl_table_free;
    nftnl_chain: nftnl_chain_alloc, nftnl_chain_free;
    nftnl_set: nftnl_set_alloc, nftnl_set_free;
    nftnl_set_elem: nftnl_set_elem_alloc, nftnl_set_elem_free;
    nftnl_rule: nftnl_rule_alloc, nftnl_rule_free;
    nftnl_obj: nftnl_obj_alloc, nftnl_obj_free;
}

/// The owner of one object.
pub(super) struct Owned<T: Native>(NonNull<T>);

impl<T: Native> Owned<T> {
    /// A new object. Without memory the process ends, as for every other allocation.
    pub(super) fn new() -> Self {
        match NonNull::new(T::alloc()) {
            Some(object) => Self(object),
            None => std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; 256]>()),
        }
    }

    pub(super) fn ptr(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// Gives the object to another owner (libnftnl's list of elements, of expressions).
    pub(super) fn into_ptr(self) -> *mut T {
        let ptr = self.ptr();
        std::mem::forget(self);
        ptr
    }
}

impl<T: Native> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: allocated by `Native::alloc`, owned by `self` alone, and `self` is gone after this.
        unsafe { T::free(self.ptr()) };
    }
}
