//! The structures and numbers of `netioapi.h`, as they lie in memory, on 64-bit and 32-bit systems
//! alike: 64-bit members are aligned to 8 bytes, which i386 would not do of itself.
//!
//! Names and numbers are those of the Windows headers; the layouts are asserted below, so that a
//! program built for the original finds every member where it expects it.

use core::ffi::c_void;

/// Windows' `USHORT`-sized address family. In: [`AF_INET6`] and [`AF_INET6_WINDOWS`] mean the same.
pub(crate) type AddressFamily = u16;
/// IPv4 and IPv6.
pub(crate) const AF_UNSPEC: AddressFamily = 0;
/// IPv4.
pub(crate) const AF_INET: AddressFamily = 2;
/// IPv6, as Linux numbers it.
pub(crate) const AF_INET6: AddressFamily = 10;
/// IPv6, as Windows numbers it.
pub(crate) const AF_INET6_WINDOWS: AddressFamily = 23;

/// `NET_LUID`, and any other 64-bit member: 24 bits reserved, 24 bits of index, 16 bits of type.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aligned64(pub(crate) u64);

/// `SOCKADDR_IN`: port and address in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SockaddrIn {
    /// [`AF_INET`].
    pub(crate) sin_family: AddressFamily,
    /// UDP or TCP port, in network byte order; 0 in address rows.
    pub(crate) sin_port: [u8; 2],
    /// IPv4 address, in network byte order.
    pub(crate) sin_addr: [u8; 4],
    /// Zero: its own 8 bytes of padding, and those by which the other kind is longer.
    pub(crate) sin_zero: [u8; 20],
}

/// `SOCKADDR_IN6`: port, flow information and address in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SockaddrIn6 {
    /// [`AF_INET6`], or [`AF_INET6_WINDOWS`] when asked for.
    pub(crate) sin6_family: AddressFamily,
    /// UDP or TCP port, in network byte order; 0 in address rows.
    pub(crate) sin6_port: [u8; 2],
    /// Flow information, in network byte order; 0 in address rows.
    pub(crate) sin6_flowinfo: [u8; 4],
    /// IPv6 address, in network byte order.
    pub(crate) sin6_addr: [u8; 16],
    /// Interface index of a link-local address, in host byte order; otherwise 0.
    pub(crate) sin6_scope_id: u32,
}

/// `SOCKADDR_INET`: one of the two, told apart by the family that both begin with.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) union SockaddrInet {
    /// IPv4.
    pub(crate) ipv4: SockaddrIn,
    /// IPv6.
    pub(crate) ipv6: SockaddrIn6,
    /// Which of them.
    pub(crate) si_family: AddressFamily,
}

/// `MIB_UNICASTIPADDRESS_ROW`: an address of an interface.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MibUnicastIpAddressRow {
    /// Key: the address.
    pub(crate) address: SockaddrInet,
    /// Zero. Padding has names, so that equal rows are equal byte by byte.
    pub(crate) padding_1: u32,
    /// Key: the interface; wins over the index when it is not 0.
    pub(crate) interface_luid: Aligned64,
    /// Key: the interface's index.
    pub(crate) interface_index: u32,
    /// Where the prefix comes from: `NL_PREFIX_ORIGIN`.
    pub(crate) prefix_origin: i32,
    /// Where the rest comes from: `NL_SUFFIX_ORIGIN`.
    pub(crate) suffix_origin: i32,
    /// Seconds; `LIFETIME_INFINITE` for ever.
    pub(crate) valid_lifetime: u32,
    /// Seconds; [`LIFETIME_INFINITE`] for ever.
    pub(crate) preferred_lifetime: u32,
    /// Bits of the on-link prefix; 255 is no length.
    pub(crate) on_link_prefix_length: u8,
    /// Not 0: never chosen as a source.
    pub(crate) skip_as_source: u8,
    /// Zero.
    pub(crate) padding_2: [u8; 2],
    /// `NL_DAD_STATE`.
    pub(crate) dad_state: i32,
    /// `SCOPE_ID`: 28 bits of zone, 4 of level; 0 for IPv4.
    pub(crate) scope_id: u32,
    /// 100 ns since 1601-01-01 UTC.
    pub(crate) creation_time_stamp: Aligned64,
}

/// `MIB_UNICASTIPADDRESS_TABLE`, declared with one row; there are `num_entries`.
#[repr(C)]
pub(crate) struct MibUnicastIpAddressTable {
    /// Number of rows.
    pub(crate) num_entries: u32,
    /// The first row; the others follow it.
    pub(crate) table: [MibUnicastIpAddressRow; 1],
}

/// `MIB_IF_ROW2`: an interface.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the members are those of MIB_IF_ROW2, documented in the reference")]
pub(crate) struct MibIfRow2 {
    pub(crate) interface_luid: Aligned64,
    pub(crate) interface_index: u32,
    pub(crate) interface_guid: [u8; 16],
    pub(crate) alias: [u16; 257],
    pub(crate) description: [u16; 257],
    pub(crate) physical_address_length: u32,
    pub(crate) physical_address: [u8; 32],
    pub(crate) permanent_physical_address: [u8; 32],
    pub(crate) mtu: u32,
    pub(crate) if_type: u32,
    pub(crate) tunnel_type: i32,
    pub(crate) media_type: i32,
    pub(crate) physical_medium_type: i32,
    pub(crate) access_type: i32,
    pub(crate) direction_type: i32,
    pub(crate) interface_and_oper_status_flags: u8,
    pub(crate) padding_1: [u8; 3],
    pub(crate) oper_status: i32,
    pub(crate) admin_status: i32,
    pub(crate) media_connect_state: i32,
    pub(crate) network_guid: [u8; 16],
    pub(crate) connection_type: i32,
    pub(crate) padding_2: u32,
    pub(crate) transmit_link_speed: Aligned64,
    pub(crate) receive_link_speed: Aligned64,
    pub(crate) in_octets: Aligned64,
    pub(crate) in_ucast_pkts: Aligned64,
    pub(crate) in_nucast_pkts: Aligned64,
    pub(crate) in_discards: Aligned64,
    pub(crate) in_errors: Aligned64,
    pub(crate) in_unknown_protos: Aligned64,
    pub(crate) in_ucast_octets: Aligned64,
    pub(crate) in_multicast_octets: Aligned64,
    pub(crate) in_broadcast_octets: Aligned64,
    pub(crate) out_octets: Aligned64,
    pub(crate) out_ucast_pkts: Aligned64,
    pub(crate) out_nucast_pkts: Aligned64,
    pub(crate) out_discards: Aligned64,
    pub(crate) out_errors: Aligned64,
    pub(crate) out_ucast_octets: Aligned64,
    pub(crate) out_multicast_octets: Aligned64,
    pub(crate) out_broadcast_octets: Aligned64,
    pub(crate) out_qlen: Aligned64,
}

/// `FWPM_SYSTEM_PORTS0`: ports that the system uses, by type.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FwpmSystemPorts0 {
    /// Number of types.
    pub(crate) num_types: u32,
    /// As many.
    pub(crate) types: *mut FwpmSystemPortsByType0,
}

/// `FWPM_SYSTEM_PORTS_BY_TYPE0`: the ports of one type.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FwpmSystemPortsByType0 {
    /// [`FWPM_SYSTEM_PORT_TEREDO`].
    pub(crate) kind: i32,
    /// Number of ports.
    pub(crate) num_ports: u32,
    /// As many, in host byte order.
    pub(crate) ports: *mut u16,
}

/// The only type of port that this library knows.
pub(crate) const FWPM_SYSTEM_PORT_TEREDO: i32 = 1;

/// `HANDLE`: a cookie, never a pointer to anything.
pub(crate) type Handle = *mut c_void;

/// An address that does not expire.
pub(crate) const LIFETIME_INFINITE: u32 = u32::MAX;
/// `NlpoUnchanged`, `NlsoUnchanged`: what `InitializeUnicastIpAddressEntry` puts for both origins.
pub(crate) const ORIGIN_UNCHANGED: i32 = 16;
/// No length of a prefix.
pub(crate) const PREFIX_LENGTH_NONE: u8 = 255;

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<SockaddrInet>() == 28 && align_of::<SockaddrInet>() == 4);
    assert!(
        offset_of!(SockaddrIn6, sin6_addr) == 8 && offset_of!(SockaddrIn6, sin6_scope_id) == 24
    );
    assert!(size_of::<MibUnicastIpAddressRow>() == 80);
    assert!(align_of::<MibUnicastIpAddressRow>() == 8);
    assert!(offset_of!(MibUnicastIpAddressRow, interface_luid) == 32);
    assert!(offset_of!(MibUnicastIpAddressRow, interface_index) == 40);
    assert!(offset_of!(MibUnicastIpAddressRow, prefix_origin) == 44);
    assert!(offset_of!(MibUnicastIpAddressRow, on_link_prefix_length) == 60);
    assert!(offset_of!(MibUnicastIpAddressRow, skip_as_source) == 61);
    assert!(offset_of!(MibUnicastIpAddressRow, dad_state) == 64);
    assert!(offset_of!(MibUnicastIpAddressRow, scope_id) == 68);
    assert!(offset_of!(MibUnicastIpAddressRow, creation_time_stamp) == 72);
    assert!(offset_of!(MibUnicastIpAddressTable, table) == 8);
    assert!(size_of::<MibUnicastIpAddressTable>() == 88);
    assert!(size_of::<MibIfRow2>() == 1352);
    assert!(offset_of!(MibIfRow2, alias) == 28 && offset_of!(MibIfRow2, description) == 542);
    assert!(offset_of!(MibIfRow2, physical_address_length) == 1056);
    assert!(offset_of!(MibIfRow2, mtu) == 1124 && offset_of!(MibIfRow2, if_type) == 1128);
    assert!(offset_of!(MibIfRow2, interface_and_oper_status_flags) == 1152);
    assert!(offset_of!(MibIfRow2, oper_status) == 1156);
    assert!(offset_of!(MibIfRow2, connection_type) == 1184);
    assert!(offset_of!(MibIfRow2, transmit_link_speed) == 1192);
    assert!(offset_of!(MibIfRow2, in_octets) == 1208 && offset_of!(MibIfRow2, out_octets) == 1280);
    assert!(offset_of!(MibIfRow2, out_qlen) == 1344);
};
