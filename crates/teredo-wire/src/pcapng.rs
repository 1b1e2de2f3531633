//! The blocks of a pcapng file that carry packets; all others are skipped.

use core::time::Duration;

use crate::pcap::{Error, LinkType, Order, Record};

/// The packets of a pcapng file.
#[derive(Clone, Debug)]
pub(crate) struct Blocks<'a> {
    order: Order,
    interfaces: [Interface; INTERFACES_MAX],
    interface_count: usize,
    rest: &'a [u8],
}

impl<'a> Blocks<'a> {
    /// Opens a file that begins with a section header.
    pub(crate) fn new(file: &'a [u8]) -> Result<Self, Error> {
        let order = byte_order(file)?;
        let interfaces = [Interface::default(); INTERFACES_MAX];
        Ok(Self { order, interfaces, interface_count: 0, rest: file })
    }

    /// Reads blocks up to the next packet.
    fn read(&mut self) -> Result<Option<Record<'a>>, Error> {
        while !self.rest.is_empty() {
            let (kind, body) = self.take_block()?;
            match kind {
                INTERFACE_DESCRIPTION => self.describe_interface(body)?,
                ENHANCED_PACKET => {
                    let id = self.order.u32_at(body, 0).ok_or(Error::InvalidBlock)?;
                    return self.timed_packet(id, body).map(Some);
                }
                OBSOLETE_PACKET => {
                    let id = self.order.u16_at(body, 0).ok_or(Error::InvalidBlock)?;
                    return self.timed_packet(id.into(), body).map(Some);
                }
                SIMPLE_PACKET => return self.simple_packet(body).map(Some),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The type of the next block and what stands between its lengths. A section header sets the
    /// byte order and forgets the interfaces.
    fn take_block(&mut self) -> Result<(u32, &'a [u8]), Error> {
        let &kind = self.rest.first_chunk().ok_or(Error::Truncated)?;
        if u32::from_be_bytes(kind) == SECTION_HEADER {
            self.order = byte_order(self.rest)?;
            self.interface_count = 0;
        }
        let kind = self.order.u32_at(self.rest, 0).ok_or(Error::Truncated)?;
        let len = self.order.u32_at(self.rest, 4).ok_or(Error::Truncated)?;
        let len = usize::try_from(len).map_err(|_| Error::InvalidBlock)?;
        if len < BLOCK_LEN_MIN || !len.is_multiple_of(4) {
            return Err(Error::InvalidBlock);
        }
        let (block, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok((kind, block.get(8..len - 4).unwrap_or_default()))
    }

    fn describe_interface(&mut self, body: &[u8]) -> Result<(), Error> {
        let order = self.order;
        let slot = self.interfaces.get_mut(self.interface_count).ok_or(Error::TooManyInterfaces)?;
        let link = order.u16_at(body, 0).ok_or(Error::InvalidBlock)?;
        let snap_len = order.u32_at(body, 4).ok_or(Error::InvalidBlock)?;
        let resolution = find_resolution(order, body.get(8..).unwrap_or_default());
        *slot = Interface { link: LinkType(link), snap_len, resolution };
        self.interface_count += 1;
        Ok(())
    }

    fn timed_packet(&self, id: u32, body: &'a [u8]) -> Result<Record<'a>, Error> {
        let interface = self.interface(id)?;
        let field = |offset| self.order.u32_at(body, offset).ok_or(Error::InvalidBlock);
        let stamp = u64::from(field(4)?) << 32 | u64::from(field(8)?);
        let len = usize::try_from(field(12)?).map_err(|_| Error::InvalidBlock)?;
        let bytes = body.get(20..).and_then(|data| data.get(..len)).ok_or(Error::InvalidBlock)?;
        let time = interface.time(stamp);
        Ok(Record { link: interface.link, time, original_len: field(16)?, bytes })
    }

    fn simple_packet(&self, body: &'a [u8]) -> Result<Record<'a>, Error> {
        let Interface { link, snap_len, .. } = *self.interface(0)?;
        let original_len = self.order.u32_at(body, 0).ok_or(Error::InvalidBlock)?;
        let len = if snap_len == 0 { original_len } else { original_len.min(snap_len) };
        let len = usize::try_from(len).map_err(|_| Error::InvalidBlock)?;
        let bytes = body.get(4..).and_then(|data| data.get(..len)).ok_or(Error::InvalidBlock)?;
        Ok(Record { link, time: Duration::ZERO, original_len, bytes })
    }

    fn interface(&self, id: u32) -> Result<&Interface, Error> {
        let id = usize::try_from(id).map_err(|_| Error::UnknownInterface)?;
        self.interfaces[..self.interface_count].get(id).ok_or(Error::UnknownInterface)
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        read.transpose()
    }
}

/// Where packets were captured.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    snap_len: u32,
    /// The option `if_tsresol`: a negative power of 10, or of 2 when the top bit is set.
    resolution: u8,
}

impl Default for Interface {
    fn default() -> Self {
        Self { link: LinkType(0), snap_len: 0, resolution: MICROSECONDS }
    }
}

impl Interface {
    fn time(&self, stamp: u64) -> Duration {
        let exponent = u32::from(self.resolution & 0x7f);
        let units_per_second = if self.resolution & 0x80 == 0 {
            10_u64.checked_pow(exponent)
        } else {
            1_u64.checked_shl(exponent)
        };
        let Some(units) = units_per_second else { return Duration::ZERO };
        let nanoseconds = u128::from(stamp % units) * 1_000_000_000 / u128::from(units);
        Duration::new(stamp / units, nanoseconds as u32)
    }
}

fn byte_order(section: &[u8]) -> Result<Order, Error> {
    let &magic = section.get(8..).and_then(<[u8]>::first_chunk).ok_or(Error::Truncated)?;
    match (u32::from_be_bytes(magic), u32::from_le_bytes(magic)) {
        (BYTE_ORDER_MAGIC, _) => Ok(Order::Big),
        (_, BYTE_ORDER_MAGIC) => Ok(Order::Little),
        _ => Err(Error::NotACapture),
    }
}

/// Finds the option `if_tsresol`.
fn find_resolution(order: Order, mut options: &[u8]) -> u8 {
    while let (Some(code), Some(len)) = (order.u16_at(options, 0), order.u16_at(options, 2)) {
        let value = options.get(4..).unwrap_or_default();
        if let (OPTION_RESOLUTION, Some(&resolution)) = (code, value.first()) {
            return resolution;
        }
        let padded = usize::from(len).next_multiple_of(4);
        options = value.get(padded..).unwrap_or_default();
        if code == OPTION_END {
            break;
        }
    }
    MICROSECONDS
}

/// Interfaces described in one section: a laptop has about ten.
pub(crate) const INTERFACES_MAX: usize = 32;

/// The type of a section header block, the same in both byte orders.
pub(crate) const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// Type, length and length again.
const BLOCK_LEN_MIN: usize = 12;
const OPTION_END: u16 = 0;
const OPTION_RESOLUTION: u16 = 9;
/// The resolution of an interface that names none.
const MICROSECONDS: u8 = 6;
