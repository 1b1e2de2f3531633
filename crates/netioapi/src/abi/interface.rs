//! Interfaces: entry and conversions between index, LUID, GUID, name and alias.

use std::ffi::{CStr, c_char};

use teredo_sys::netlink::LinkState;

use super::layout::{Aligned64, MibIfRow2};
use super::{Out, status};
use crate::error::Error;
use crate::interface::{
    IF_TYPE_ETHERNET, IF_TYPE_LOOPBACK, IF_TYPE_PPP, IF_TYPE_TUNNEL, IF_TYPE_WIRELESS, Interface,
    Luid, TunnelType,
};

/// Completes a row of which the LUID or the index is given.
///
/// # Safety
/// `row` is null or good for reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn GetIfEntry2(row: *mut MibIfRow2) -> u32 {
    status(|| {
        // SAFETY: the caller promises that. Only the two keys are read, in place: the rest may be
        // uninitialised.
        let (luid, index) = unsafe {
            let row = row.as_mut().ok_or(Error::InvalidParameter)?;
            (Luid::from_bits(row.interface_luid.0), row.interface_index)
        };
        let found = match (luid.bits(), index) {
            (0, 0) => return Err(Error::InvalidParameter),
            (0, index) => Interface::of_index(index)?,
            _ => Interface::of_luid(luid)?,
        };
        let found = encode(&found);
        // SAFETY: as above.
        unsafe { row.write(found) };
        Ok(())
    })
}

/// # Safety
/// Both are null, or good for reading and for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceLuidToIndex(
    luid: *const Aligned64,
    index: *mut u32,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        let (luid, out) = unsafe { (read(luid)?, Out::new(index)?) };
        out.put(0);
        out.put(Luid::from_bits(luid.0).link()?.index);
        Ok(())
    })
}

/// # Safety
/// `luid` is null or good for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceIndexToLuid(index: u32, luid: *mut Aligned64) -> u32 {
    // SAFETY: the caller promises that.
    status(|| unsafe { put_luid(luid, || Luid::of_index(index)) })
}

/// # Safety
/// Both are null, or good for reading and for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceLuidToGuid(
    luid: *const Aligned64,
    guid: *mut [u8; 16],
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        let (luid, out) = unsafe { (read(luid)?, Out::new(guid)?) };
        out.put([0; 16]);
        let luid = Luid::from_bits(luid.0);
        luid.link()?;
        out.put(guid_of(luid));
        Ok(())
    })
}

/// # Safety
/// Both are null, or good for reading and for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceGuidToLuid(
    guid: *const [u8; 16],
    luid: *mut Aligned64,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        unsafe {
            let guid = read(guid);
            put_luid(luid, || {
                let guid = guid?;
                let (prefix, bits) = guid.split_at(GUID_PREFIX.len());
                let bits: [u8; 8] = bits.try_into().map_err(|_| Error::System)?;
                let luid = Luid::from_bits(u64::from_be_bytes(bits));
                if prefix != GUID_PREFIX {
                    return Err(Error::NoInterface);
                }
                luid.link().map(|_| luid)
            })
        }
    })
}

/// # Safety
/// `luid` is null or good for reading, `name` is null or good for writing `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceLuidToNameA(
    luid: *const Aligned64,
    name: *mut c_char,
    length: usize,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        unsafe {
            let luid = read(luid)?;
            if length == 0 {
                return Err(Error::NotEnoughMemory);
            }
            put_text8(&Luid::from_bits(luid.0).name(), name, length)
        }
    })
}

/// # Safety
/// `luid` is null or good for reading, `name` is null or good for writing `length` units.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceLuidToNameW(
    luid: *const Aligned64,
    name: *mut u16,
    length: usize,
) -> u32 {
    // SAFETY: the caller promises that.
    status(|| unsafe { put_text16(&Luid::from_bits(read(luid)?.0).name(), name, length) })
}

/// # Safety
/// `name` is null or a string ended by NUL, `luid` is null or good for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceNameToLuidA(
    name: *const c_char,
    luid: *mut Aligned64,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that. With no name the LUID stays as it is, as on Windows.
        unsafe {
            if !luid.is_null() && name.is_null() {
                return Err(Error::InvalidName);
            }
            put_luid(luid, || Luid::of_name(text8(name).map_err(|_| Error::InvalidName)?))
        }
    })
}

/// # Safety
/// `name` is null or a string ended by NUL, `luid` is null or good for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceNameToLuidW(
    name: *const u16,
    luid: *mut Aligned64,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        unsafe { put_luid(luid, || Luid::of_name(&text16(name).map_err(|_| Error::InvalidName)?)) }
    })
}

/// # Safety
/// `luid` is null or good for reading, `alias` is null or good for writing `length` units.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceLuidToAlias(
    luid: *const Aligned64,
    alias: *mut u16,
    length: usize,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        unsafe {
            let luid = read(luid)?;
            check(alias)?;
            put_text16(&Luid::from_bits(luid.0).link()?.name, alias, length)
        }
    })
}

/// The same in UTF-8.
///
/// # Safety
/// `luid` is null or good for reading, `alias` is null or good for writing `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceLuidToAliasA(
    luid: *const Aligned64,
    alias: *mut c_char,
    length: usize,
) -> u32 {
    status(|| {
        // SAFETY: the caller promises that.
        unsafe {
            let luid = read(luid)?;
            check(alias)?;
            put_text8(&Luid::from_bits(luid.0).link()?.name, alias, length)
        }
    })
}

/// # Safety
/// `alias` is null or a string ended by NUL, `luid` is null or good for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceAliasToLuid(
    alias: *const u16,
    luid: *mut Aligned64,
) -> u32 {
    // SAFETY: the caller promises that.
    status(|| unsafe { put_luid(luid, || Luid::of_alias(&text16(alias)?)) })
}

/// The same in UTF-8.
///
/// # Safety
/// `alias` is null or a string ended by NUL, `luid` is null or good for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ConvertInterfaceAliasToLuidA(
    alias: *const c_char,
    luid: *mut Aligned64,
) -> u32 {
    // SAFETY: the caller promises that.
    status(|| unsafe { put_luid(luid, || Luid::of_alias(text8(alias)?)) })
}

/// # Safety
/// `pointer` is null or good for reading.
unsafe fn read<T: Copy>(pointer: *const T) -> Result<T, Error> {
    check(pointer)?;
    // SAFETY: the caller promises that, and it is not null.
    Ok(unsafe { pointer.read() })
}

fn check<T>(pointer: *const T) -> Result<(), Error> {
    if pointer.is_null() { Err(Error::InvalidParameter) } else { Ok(()) }
}

/// Writes what `find` finds, or zeros if it fails.
///
/// # Safety
/// `luid` is null or good for writing.
unsafe fn put_luid(
    luid: *mut Aligned64,
    find: impl FnOnce() -> Result<Luid, Error>,
) -> Result<(), Error> {
    // SAFETY: the caller promises that.
    let out = unsafe { Out::new(luid)? };
    out.put(Aligned64(0));
    out.put(Aligned64(find()?.bits()));
    Ok(())
}

/// # Safety
/// `text` is null or ended by NUL, and stays for as long as the result is used.
unsafe fn text8<'a>(text: *const c_char) -> Result<&'a str, Error> {
    check(text)?;
    // SAFETY: the caller promises that, and it is not null.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| Error::InvalidParameter)
}

/// # Safety
/// `text` is null or ended by NUL.
unsafe fn text16(text: *const u16) -> Result<String, Error> {
    check(text)?;
    // SAFETY: the caller promises that there is a NUL; nothing behind it is read. A longer text is
    // no name of an interface.
    let units = (0..TEXT_UNITS_MAX).map(|at| unsafe { text.add(at).read() });
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16(&units).map_err(|_| Error::InvalidParameter)
}

/// # Safety
/// `buffer` is null or good for writing `len` bytes.
unsafe fn put_text8(text: &str, buffer: *mut c_char, len: usize) -> Result<(), Error> {
    check(buffer)?;
    if text.len() >= len {
        return Err(Error::NotEnoughMemory);
    }
    // SAFETY: the text and its NUL fit.
    unsafe {
        buffer.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        buffer.add(text.len()).write(0);
    }
    Ok(())
}

/// # Safety
/// `buffer` is null or good for writing `len` units.
unsafe fn put_text16(text: &str, buffer: *mut u16, len: usize) -> Result<(), Error> {
    check(buffer)?;
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    if units.len() > len {
        return Err(Error::NotEnoughMemory);
    }
    // SAFETY: they fit, and are ours.
    unsafe { buffer.copy_from_nonoverlapping(units.as_ptr(), units.len()) };
    Ok(())
}

fn encode(interface: &Interface) -> MibIfRow2 {
    let (link, counters) = (&interface.link, &interface.link.counters);
    let is_teredo = interface.tunnel_type == TunnelType::Teredo;
    let address = if is_teredo { &TEREDO_PHYSICAL_ADDRESS[..] } else { &link.address };
    let permanent =
        if link.permanent_address.is_empty() { address } else { &link.permanent_address };
    let (media_type, physical_medium_type) = media(interface.if_type());
    let received_unicast = counters.rx_packets.saturating_sub(counters.multicast);
    MibIfRow2 {
        interface_luid: Aligned64(interface.luid.bits()),
        interface_index: interface.index,
        interface_guid: guid_of(interface.luid),
        alias: fixed16(&interface.alias),
        description: fixed16(&interface.description),
        physical_address_length: address.len().min(PHYSICAL_ADDRESS_MAX) as u32,
        physical_address: fixed8(address),
        permanent_physical_address: fixed8(permanent),
        mtu: interface.mtu,
        if_type: interface.if_type().into(),
        tunnel_type: interface.tunnel_type as i32,
        media_type,
        physical_medium_type,
        access_type: access_type(interface),
        direction_type: 0,
        interface_and_oper_status_flags: flags(interface),
        padding_1: [0; 3],
        oper_status: oper_status(interface.state()),
        admin_status: if link.is_up { 1 } else { 2 },
        media_connect_state: if link.is_running { 1 } else { 2 },
        network_guid: [0; 16],
        connection_type: CONNECTION_DEDICATED,
        padding_2: 0,
        transmit_link_speed: Aligned64(0),
        receive_link_speed: Aligned64(0),
        in_octets: Aligned64(counters.rx_bytes),
        in_ucast_pkts: Aligned64(received_unicast),
        in_nucast_pkts: Aligned64(counters.multicast),
        in_discards: Aligned64(counters.rx_dropped),
        in_errors: Aligned64(counters.rx_errors),
        in_unknown_protos: Aligned64(counters.rx_no_handler),
        in_ucast_octets: Aligned64(counters.rx_bytes),
        in_multicast_octets: Aligned64(0),
        in_broadcast_octets: Aligned64(0),
        out_octets: Aligned64(counters.tx_bytes),
        out_ucast_pkts: Aligned64(counters.tx_packets),
        out_nucast_pkts: Aligned64(0),
        out_discards: Aligned64(counters.tx_dropped),
        out_errors: Aligned64(counters.tx_errors),
        out_ucast_octets: Aligned64(counters.tx_bytes),
        out_multicast_octets: Aligned64(0),
        out_broadcast_octets: Aligned64(0),
        out_qlen: Aligned64(0),
    }
}

/// `NDIS_MEDIUM` and `NDIS_PHYSICAL_MEDIUM`.
fn media(if_type: u16) -> (i32, i32) {
    match if_type {
        IF_TYPE_ETHERNET => (0, 14),
        IF_TYPE_WIRELESS => (16, 9),
        IF_TYPE_PPP => (3, 0),
        IF_TYPE_LOOPBACK => (17, 0),
        IF_TYPE_TUNNEL => (15, 0),
        // Ethernet and unspecified: what Windows says of what it does not know.
        _ => (0, 0),
    }
}

/// `NET_IF_ACCESS_TYPE`.
fn access_type(interface: &Interface) -> i32 {
    match interface.if_type() {
        IF_TYPE_LOOPBACK => 1,
        _ if interface.link.is_point_to_point => 3,
        _ if interface.link.is_broadcast => 2,
        _ => 4,
    }
}

fn flags(interface: &Interface) -> u8 {
    let is_hardware = interface.link.kind.is_empty() && interface.if_type() != IF_TYPE_LOOPBACK;
    u8::from(is_hardware) * (FLAG_HARDWARE | FLAG_CONNECTOR)
        + u8::from(!interface.link.is_running) * FLAG_NOT_CONNECTED
}

/// `IF_OPER_STATUS`.
fn oper_status(state: LinkState) -> i32 {
    match state {
        LinkState::Up => 1,
        LinkState::Down => 2,
        LinkState::Testing => 3,
        LinkState::Unknown => 4,
        LinkState::Dormant => 5,
        LinkState::NotPresent => 6,
        LinkState::LowerLayerDown => 7,
    }
}

/// Linux has none: one that is always the same for an interface and carries its LUID.
fn guid_of(luid: Luid) -> [u8; 16] {
    let mut guid = [0; 16];
    guid[..8].copy_from_slice(&GUID_PREFIX);
    guid[8..].copy_from_slice(&luid.bits().to_be_bytes());
    guid
}

fn fixed8(bytes: &[u8]) -> [u8; PHYSICAL_ADDRESS_MAX] {
    let mut fixed = [0; PHYSICAL_ADDRESS_MAX];
    let len = bytes.len().min(fixed.len());
    fixed[..len].copy_from_slice(&bytes[..len]);
    fixed
}

/// As much as fits before the NUL.
fn fixed16(text: &str) -> [u16; 257] {
    let mut fixed = [0; 257];
    let room = fixed.len() - 1;
    fixed.iter_mut().take(room).zip(text.encode_utf16()).for_each(|(to, from)| *to = from);
    fixed
}

/// "NETIO", version 8 (RFC 9562: no meaning for anybody else), in the byte order of memory.
const GUID_PREFIX: [u8; 8] = [0x4e, 0x45, 0x54, 0x49, 0x4f, 0x00, 0x00, 0x80];
/// As on Windows.
const TEREDO_PHYSICAL_ADDRESS: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 0xe0];
/// `IF_MAX_PHYS_ADDRESS_LENGTH`.
const PHYSICAL_ADDRESS_MAX: usize = 32;
/// Far more than any name; a string without an end is not read for ever.
const TEXT_UNITS_MAX: usize = 1024;
/// `NET_IF_CONNECTION_DEDICATED`.
const CONNECTION_DEDICATED: i32 = 1;
const FLAG_HARDWARE: u8 = 1 << 0;
const FLAG_CONNECTOR: u8 = 1 << 2;
const FLAG_NOT_CONNECTED: u8 = 1 << 4;
