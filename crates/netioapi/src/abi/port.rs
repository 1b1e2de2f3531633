//! `GetTeredoPort` and `NotifyTeredoPortChange`.

use std::ffi::c_void;
use std::num::NonZeroU16;
use std::ptr;

use super::layout::Handle;
use super::{Context, Out, handle, status};
use crate::error::Error;
use crate::inbox::Notice;
use crate::watch;

/// `PTEREDO_PORT_CHANGE_CALLBACK`.
type PortCallback = extern "C" fn(context: *mut c_void, port: u16, notification_type: i32);

/// The UDP port of the Teredo client.
///
/// # Safety
/// `port` is null or good for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn GetTeredoPort(port: *mut u16) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        let out = unsafe { Out::new(port)? };
        let port = crate::port();
        out.put(port.map_or(NO_PORT, NonZeroU16::get));
        port.map(|_| ())
    })
}

/// Calls `callback` whenever the port changes.
///
/// # Safety
/// `notification_handle` is null or good for writing; `callback` may be called on any thread until
/// it is cancelled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn NotifyTeredoPortChange(
    callback: Option<PortCallback>,
    caller_context: *mut c_void,
    initial_notification: u8,
    notification_handle: *mut Handle,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        let out = unsafe { Out::new(notification_handle)? };
        out.put(ptr::null_mut());
        let callback = callback.ok_or(Error::InvalidParameter)?;
        let context = Context(caller_context);
        let call = move |notice: Notice| match notice {
            Notice::Initial => callback(context.get(), NO_PORT, MIB_INITIAL_NOTIFICATION),
            Notice::Port(port) => {
                let port = port.map_or(NO_PORT, NonZeroU16::get);
                callback(context.get(), port, MIB_PARAMETER_NOTIFICATION);
            }
            Notice::Address(..) | Notice::Stable(_) => {}
        };
        let announce = |cookie| out.put(handle(cookie));
        watch::register_port(initial_notification != 0, Box::new(call), announce).map(|_| ())
    })
}

/// `MIB_INVALID_TEREDO_PORT_NUMBER`.
const NO_PORT: u16 = 0;

/// `MibParameterNotification`.
pub(super) const MIB_PARAMETER_NOTIFICATION: i32 = 0;
/// `MibAddInstance`.
pub(super) const MIB_ADD_INSTANCE: i32 = 1;
/// `MibDeleteInstance`.
pub(super) const MIB_DELETE_INSTANCE: i32 = 2;
/// `MibInitialNotification`.
pub(super) const MIB_INITIAL_NOTIFICATION: i32 = 3;
