//! The successor interface: `FwpmSystemPortsGet0` and its relatives.

use std::ffi::c_void;
use std::num::NonZeroU16;
use std::ptr;

use super::layout::{FWPM_SYSTEM_PORT_TEREDO, FwpmSystemPorts0, FwpmSystemPortsByType0, Handle};
use super::{CancelMibChangeNotify2, Context, Out, handle, status};
use crate::error::Error;
use crate::inbox::Notice;
use crate::watch;

/// `FWPM_SYSTEM_PORTS_CALLBACK0`.
type PortsCallback = extern "C" fn(context: *mut c_void, ports: *const FwpmSystemPorts0);

/// All system ports, which is Teredo's, or none.
///
/// # Safety
/// `ports` is null or good for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FwpmSystemPortsGet0(
    _engine: Handle,
    ports: *mut *mut FwpmSystemPorts0,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        let out = unsafe { Out::new(ports)? };
        out.put(ptr::null_mut());
        let port = match crate::port() {
            Ok(port) => Some(port),
            Err(Error::NotReady | Error::NotSupported) => None,
            Err(error) => return Err(error),
        };
        out.put(PortsBlock::allocate(port)?.cast());
        Ok(())
    })
}

/// Calls `callback` with all system ports whenever they change.
///
/// # Safety
/// `subscription` is null or good for writing; `callback` may be called on any thread until it is
/// unsubscribed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FwpmSystemPortsSubscribe0(
    _engine: Handle,
    reserved: *mut c_void,
    callback: Option<PortsCallback>,
    context: *mut c_void,
    subscription: *mut Handle,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        let out = unsafe { Out::new(subscription)? };
        out.put(ptr::null_mut());
        if !reserved.is_null() {
            return Err(Error::InvalidParameter);
        }
        let callback = callback.ok_or(Error::InvalidParameter)?;
        let context = Context(context);
        let call = move |notice: Notice| {
            let Notice::Port(port) = notice else { return };
            // Without memory the change cannot be told; there is nobody to tell that either.
            let Ok(block) = PortsBlock::allocate(port) else { return };
            callback(context.get(), block.cast());
            // SAFETY: allocated just now, and the callback may not keep it.
            unsafe { libc::free(block.cast()) };
        };
        let announce = |cookie| out.put(handle(cookie));
        watch::register_port(false, Box::new(call), announce).map(|_| ())
    })
}

/// Ends a subscription, as `CancelMibChangeNotify2` does.
#[unsafe(no_mangle)]
pub extern "C" fn FwpmSystemPortsUnsubscribe0(_engine: Handle, subscription: Handle) -> u32 {
    CancelMibChangeNotify2(subscription)
}

/// Frees what [`FwpmSystemPortsGet0`] returned, and sets the pointer to null.
///
/// # Safety
/// `memory` is null, or good for reading and writing a pointer that is null or came from there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FwpmFreeMemory0(memory: *mut *mut c_void) {
    if !memory.is_null() {
        // SAFETY: the caller promises that; `free` ignores null.
        unsafe {
            libc::free(memory.read());
            memory.write(ptr::null_mut());
        }
    }
}

/// The structures that hang together, in one piece, so that one `free` is enough.
#[repr(C)]
struct PortsBlock {
    ports: FwpmSystemPorts0,
    teredo: FwpmSystemPortsByType0,
    port: u16,
}

impl PortsBlock {
    fn allocate(port: Option<NonZeroU16>) -> Result<*mut Self, Error> {
        // SAFETY: `malloc` may be called with any size.
        let block: *mut Self = unsafe { libc::malloc(size_of::<Self>()) }.cast();
        if block.is_null() {
            return Err(Error::NotEnoughMemory);
        }
        // SAFETY: `block` is memory of our own, large enough and, from `malloc`, well aligned; it
        // is only pointed into, and then written as a whole.
        unsafe {
            let (teredo, ports) = (&raw mut (*block).teredo, &raw mut (*block).port);
            block.write(Self {
                ports: FwpmSystemPorts0 { num_types: 1, types: teredo },
                teredo: FwpmSystemPortsByType0 {
                    kind: FWPM_SYSTEM_PORT_TEREDO,
                    num_ports: port.is_some().into(),
                    ports,
                },
                port: port.map_or(0, NonZeroU16::get),
            });
        }
        Ok(block)
    }
}
