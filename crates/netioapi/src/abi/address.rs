//! Unicast addresses: table, entry, changes, stability.

use std::ffi::c_void;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use teredo_sys::unix::secure_env;

use super::layout::{
    AF_INET, AF_INET6, AF_INET6_WINDOWS, AF_UNSPEC, AddressFamily, Aligned64, Handle,
    LIFETIME_INFINITE, MibUnicastIpAddressRow, MibUnicastIpAddressTable, ORIGIN_UNCHANGED,
    PREFIX_LENGTH_NONE, SockaddrIn, SockaddrIn6, SockaddrInet,
};
use super::port::{
    MIB_ADD_INSTANCE, MIB_DELETE_INSTANCE, MIB_INITIAL_NOTIFICATION, MIB_PARAMETER_NOTIFICATION,
};
use super::{Context, DONE, Out, PENDING, code, handle, status};
use crate::address::{
    Family, UnicastAddress, unicast_address, unicast_address_of_index, unicast_addresses,
};
use crate::error::Error;
use crate::inbox::{Change, Notice};
use crate::interface::Luid;
use crate::watch::{self, StableOrCookie};

/// `PUNICAST_IPADDRESS_CHANGE_CALLBACK`.
type AddressCallback =
    extern "C" fn(context: *mut c_void, row: *mut MibUnicastIpAddressRow, notification_type: i32);
/// `PSTABLE_UNICAST_IPADDRESS_TABLE_CALLBACK`.
type StableCallback = extern "C" fn(context: *mut c_void, table: *mut MibUnicastIpAddressTable);

/// All unicast addresses of a family, to be freed with [`FreeMibTable`].
///
/// # Safety
/// `table` is null or good for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn GetUnicastIpAddressTable(
    family: AddressFamily,
    table: *mut *mut MibUnicastIpAddressTable,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        let out = unsafe { Out::new(table)? };
        out.put(ptr::null_mut());
        out.put(allocate(&unicast_addresses(parse_family(family)?)?)?);
        Ok(())
    })
}

/// Frees a table of this library; null is ignored.
///
/// # Safety
/// `memory` is null or a table of this library that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FreeMibTable(memory: *mut c_void) {
    // SAFETY: the caller promises that, and all tables come from `calloc`.
    unsafe { libc::free(memory) };
}

/// Completes a row of which address and interface are given.
///
/// # Safety
/// `row` is null or good for reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn GetUnicastIpAddressEntry(row: *mut MibUnicastIpAddressRow) -> u32 {
    status(|| {
        // SAFETY: the caller promises that; a row is plain numbers, so any bytes are one.
        let given = unsafe { row.as_ref().ok_or(Error::InvalidParameter)? };
        let address = address_of(&given.address)?;
        let luid = Luid::from_bits(given.interface_luid.0);
        let found = if luid == Luid::default() {
            unicast_address_of_index(address, given.interface_index)
        } else {
            unicast_address(address, luid)
        };
        let found = encode(&found?);
        // SAFETY: as above, and `given` is not used any more.
        unsafe { row.write(found) };
        Ok(())
    })
}

/// Fills a row with what says nothing.
///
/// # Safety
/// `row` is null or good for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn InitializeUnicastIpAddressEntry(row: *mut MibUnicastIpAddressRow) {
    if row.is_null() {
        return;
    }
    // SAFETY: the caller promises that. First all bytes, so that the padding is 0 too; and zeros
    // are a valid row, whose members are then set in place.
    unsafe {
        row.write_bytes(0, 1);
        (*row).prefix_origin = ORIGIN_UNCHANGED;
        (*row).suffix_origin = ORIGIN_UNCHANGED;
        (*row).valid_lifetime = LIFETIME_INFINITE;
        (*row).preferred_lifetime = LIFETIME_INFINITE;
        (*row).on_link_prefix_length = PREFIX_LENGTH_NONE;
    }
}

/// Calls `callback` whenever an address comes, goes or changes.
///
/// # Safety
/// `notification_handle` is null or good for writing; `callback` may be called on any thread until
/// it is cancelled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn NotifyUnicastIpAddressChange(
    family: AddressFamily,
    callback: Option<AddressCallback>,
    caller_context: *mut c_void,
    initial_notification: u8,
    notification_handle: *mut Handle,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        let out = unsafe { Out::new(notification_handle)? };
        out.put(ptr::null_mut());
        let family = parse_family(family)?;
        let callback = callback.ok_or(Error::InvalidParameter)?;
        let context = Context(caller_context);
        let call = move |notice: Notice| match notice {
            Notice::Initial => callback(context.get(), ptr::null_mut(), MIB_INITIAL_NOTIFICATION),
            Notice::Address(change, row) => call_with_row(callback, context, change, &row),
            Notice::Port(_) | Notice::Stable(_) => {}
        };
        let announce = |cookie| out.put(handle(cookie));
        let is_initial = initial_notification != 0;
        watch::register_addresses(family, is_initial, Box::new(call), announce).map(|_| ())
    })
}

/// The usable addresses once they are stable.
///
/// # Safety
/// `table` and `notification_handle` are null or good for writing; `caller_callback` may be called
/// on any thread until it is cancelled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn NotifyStableUnicastIpAddressTable(
    family: AddressFamily,
    table: *mut *mut MibUnicastIpAddressTable,
    caller_callback: Option<StableCallback>,
    caller_context: *mut c_void,
    notification_handle: *mut Handle,
) -> u32 {
    code(|| {
        // SAFETY: the caller promises that.
        let (out, table) = unsafe { (Out::new(notification_handle), Out::new(table)) };
        // Each that there is gets a defined value, also if the other is missing.
        if let Ok(out) = &out {
            out.put(ptr::null_mut());
        }
        if let Ok(table) = &table {
            table.put(ptr::null_mut());
        }
        let (out, table) = (out?, table?);
        let family = parse_family(family)?;
        let callback = caller_callback.ok_or(Error::InvalidParameter)?;
        let context = Context(caller_context);
        let call = move |notice: Notice| {
            // Without memory there is no table; it will be told of the next time.
            if let Notice::Stable(rows) = notice
                && let Ok(table) = allocate(&rows)
            {
                callback(context.get(), table);
            }
        };
        let announce = |cookie| out.put(handle(cookie));
        match watch::request_stable(family, Box::new(call), announce)? {
            StableOrCookie::Stable(rows) => {
                table.put(allocate(&rows)?);
                Ok(DONE)
            }
            StableOrCookie::Pending(_) => Ok(PENDING),
        }
    })
}

/// Calls with the keys of the row only, as Windows does; what else is to be known may have changed
/// before the callee looks at it.
fn call_with_row(
    callback: AddressCallback,
    context: Context,
    change: Change,
    row: &UnicastAddress,
) {
    // On the heap and freed afterwards, so that the callee's sanitizer tells it if it keeps it.
    let Ok(rows) = allocate(std::slice::from_ref(row)) else { return };
    // SAFETY: a table of one row has a first row.
    let first = unsafe { &raw mut (*rows).table }.cast::<MibUnicastIpAddressRow>();
    // SAFETY: the row was written by `allocate` and nobody else has it.
    unsafe {
        let keys = first.read();
        first.write_bytes(0, 1);
        (*first).address = keys.address;
        (*first).interface_luid = keys.interface_luid;
        (*first).interface_index = keys.interface_index;
    }
    let kind = match change {
        Change::Parameter => MIB_PARAMETER_NOTIFICATION,
        Change::Added => MIB_ADD_INSTANCE,
        Change::Deleted => MIB_DELETE_INSTANCE,
    };
    callback(context.get(), first, kind);
    // SAFETY: it came from `allocate`. It is overwritten first, so that whoever keeps it finds out.
    unsafe {
        first.write_bytes(POISON, 1);
        libc::free(rows.cast());
    }
}

/// A table in memory of its own, to be freed with `free`.
fn allocate(rows: &[UnicastAddress]) -> Result<*mut MibUnicastIpAddressTable, Error> {
    let count = u32::try_from(rows.len()).map_err(|_| Error::NotEnoughMemory)?;
    let rows_len = rows.len() * size_of::<MibUnicastIpAddressRow>();
    // Never less than the structure as it is declared, with one row.
    let offset = std::mem::offset_of!(MibUnicastIpAddressTable, table);
    let len = (offset + rows_len).max(size_of::<MibUnicastIpAddressTable>());
    // SAFETY: `calloc` may be called with any size; no member of a table needs more alignment than
    // `calloc` gives.
    let table: *mut MibUnicastIpAddressTable = unsafe { libc::calloc(1, len) }.cast();
    if table.is_null() {
        return Err(Error::NotEnoughMemory);
    }
    // SAFETY: there is room for `rows.len()` rows behind the count, and nobody else has the memory.
    unsafe {
        (&raw mut (*table).num_entries).write(count);
        let first = (&raw mut (*table).table).cast::<MibUnicastIpAddressRow>();
        for (at, row) in rows.iter().enumerate() {
            first.add(at).write(encode(row));
        }
    }
    Ok(table)
}

fn encode(row: &UnicastAddress) -> MibUnicastIpAddressRow {
    MibUnicastIpAddressRow {
        address: encode_address(row.address, row.scope_id),
        padding_1: 0,
        interface_luid: Aligned64(row.luid.bits()),
        interface_index: row.index,
        prefix_origin: row.prefix_origin as i32,
        suffix_origin: row.suffix_origin as i32,
        valid_lifetime: row.valid_lifetime_s,
        preferred_lifetime: row.preferred_lifetime_s,
        on_link_prefix_length: row.on_link_prefix_length,
        skip_as_source: 0,
        padding_2: [0; 2],
        dad_state: row.dad_state as i32,
        scope_id: row.scope_id,
        creation_time_stamp: Aligned64(row.created.cast_unsigned()),
    }
}

fn encode_address(address: IpAddr, scope_id: u32) -> SockaddrInet {
    match address {
        IpAddr::V4(address) => {
            let (sin_port, sin_zero) = ([0; 2], [0; 20]);
            let sin_addr = address.octets();
            SockaddrInet { ipv4: SockaddrIn { sin_family: AF_INET, sin_port, sin_addr, sin_zero } }
        }
        IpAddr::V6(address) => SockaddrInet {
            ipv6: SockaddrIn6 {
                sin6_family: family_inet6(),
                sin6_port: [0; 2],
                sin6_flowinfo: [0; 4],
                sin6_addr: address.octets(),
                sin6_scope_id: scope_id,
            },
        },
    }
}

fn address_of(address: &SockaddrInet) -> Result<IpAddr, Error> {
    // SAFETY: all three begin with the family, and any bytes are valid in each of them.
    unsafe {
        match address.si_family {
            AF_INET => Ok(Ipv4Addr::from(address.ipv4.sin_addr).into()),
            AF_INET6 | AF_INET6_WINDOWS => Ok(Ipv6Addr::from(address.ipv6.sin6_addr).into()),
            _ => Err(Error::InvalidParameter),
        }
    }
}

fn parse_family(family: AddressFamily) -> Result<Family, Error> {
    match family {
        AF_UNSPEC => Ok(Family::Any),
        AF_INET => Ok(Family::V4),
        AF_INET6 | AF_INET6_WINDOWS => Ok(Family::V6),
        _ => Err(Error::InvalidParameter),
    }
}

/// The number that stands for IPv6 in rows; 0 until it has been chosen.
static FAMILY_INET6: AtomicU16 = AtomicU16::new(0);

fn family_inet6() -> AddressFamily {
    match FAMILY_INET6.load(Ordering::Relaxed) {
        0 => {
            let asked = secure_env(FAMILY_VARIABLE).is_some_and(|value| value == "23");
            let family = if asked { AF_INET6_WINDOWS } else { AF_INET6 };
            // Somebody may have chosen meanwhile: that holds.
            let _ = FAMILY_INET6.compare_exchange(0, family, Ordering::Relaxed, Ordering::Relaxed);
            FAMILY_INET6.load(Ordering::Relaxed)
        }
        family => family,
    }
}

pub(super) fn set_family_inet6(family: AddressFamily) -> Result<(), Error> {
    if family != AF_INET6 && family != AF_INET6_WINDOWS {
        return Err(Error::InvalidParameter);
    }
    FAMILY_INET6.store(family, Ordering::Relaxed);
    Ok(())
}

/// For bindings that are made for Windows, in programs that cannot call a function of ours.
const FAMILY_VARIABLE: &str = "NETIO_AF_INET6";
/// No sensible value of any member.
const POISON: u8 = 0xcc;

#[cfg(test)]
mod tests {
    use super::*;

    //= API-59: tables of no row, one row and ten thousand rows are allocated and freed
    #[test]
    fn tables_of_any_size() {
        let Ok(rows) = unicast_addresses(Family::V4) else { return };
        for count in [0, 1, 10_000] {
            let table = allocate(&vec![rows[0]; count]).unwrap();
            // SAFETY: a table as `allocate` makes it, with its rows behind the count.
            unsafe {
                assert_eq!((*table).num_entries as usize, count);
                let first = (&raw const (*table).table).cast::<MibUnicastIpAddressRow>();
                for at in 0..count {
                    assert_eq!(address_of(&(*first.add(at)).address), Ok(rows[0].address));
                }
                FreeMibTable(table.cast());
            }
        }
        // SAFETY: null is allowed.
        unsafe { FreeMibTable(ptr::null_mut()) };
    }
}
