//! The C boundary: the functions of `netioapi.h` over the safe ones of this crate. Everything that
//! is `unsafe` here is about pointers that a caller gives, and each function trusts its caller as
//! far as a C function must: a pointer is null or good for what the header says.
//!
//! No panic passes: a function that should panic returns 31 (`ERROR_GEN_FAILURE`).
#![allow(unsafe_code, reason = "the C boundary (I4)")]
#![allow(unreachable_pub, reason = "the functions are reached by name, from C")]
#![allow(non_snake_case, reason = "the functions have the names that Windows gave them")]

mod address;
mod interface;
mod layout;
mod message;
mod port;
mod system_ports;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use self::layout::Handle;
use crate::error::Error;
use crate::registry::Cookie;
use crate::watch;

/// `ERROR_SUCCESS`.
const DONE: u32 = 0;
/// `ERROR_IO_PENDING`.
const PENDING: u32 = 997;

/// Runs what a function does and says how it went.
#[inline]
fn status(body: impl FnOnce() -> Result<(), Error>) -> u32 {
    code(|| body().map(|()| DONE))
}

/// As [`status`], for functions that can succeed in more ways than one.
#[inline]
fn code(body: impl FnOnce() -> Result<u32, Error>) -> u32 {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(Error::System));
    result.unwrap_or_else(Error::code)
}

/// Where a caller wants a result. It may be uninitialised before.
struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// `pointer` is null, or good for writing a `T` as long as this value lives.
    unsafe fn new(pointer: *mut T) -> Result<Self, Error> {
        NonNull::new(pointer).map(Self).ok_or(Error::InvalidParameter)
    }

    fn put(&self, value: T) {
        // SAFETY: whoever made this value promised that.
        unsafe { self.0.write(value) };
    }
}

/// What a caller wants back in its callback: it is carried and never looked at.
#[derive(Clone, Copy)]
struct Context(*mut std::ffi::c_void);

// SAFETY: the pointer is not followed here; that the callback can use it on another thread is what
// the caller of a function with a callback asks for.
unsafe impl Send for Context {}

impl Context {
    /// A method rather than the field, so that closures capture the whole of it.
    fn get(self) -> *mut std::ffi::c_void {
        self.0
    }
}

fn handle(cookie: Cookie) -> Handle {
    std::ptr::without_provenance_mut(cookie.bits())
}

/// Ends a registration of any kind; see the reference, `CancelMibChangeNotify2`.
#[unsafe(no_mangle)]
pub extern "C" fn CancelMibChangeNotify2(notification_handle: Handle) -> u32 {
    status(|| {
        let cookie = Cookie::from_bits(notification_handle.addr());
        watch::cancel(cookie.ok_or(Error::InvalidParameter)?)
    })
}
