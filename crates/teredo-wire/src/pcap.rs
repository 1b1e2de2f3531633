//! Capture files: reads classic pcap and pcapng, writes the headers of classic pcap.
//!
//! The whole file is one slice; nothing is copied and records come out in file order.

use core::fmt;
use core::time::Duration;

use crate::pcapng;

/// Reads the records of a capture file in order; an error ends it.
#[derive(Clone, Debug)]
pub struct Reader<'a>(Format<'a>);

impl<'a> Reader<'a> {
    /// Opens a whole file.
    ///
    /// # Errors
    /// [`Error`] when the file does not begin like a capture.
    pub fn new(file: &'a [u8]) -> Result<Self, Error> {
        let Some(&magic) = file.first_chunk() else {
            return Err(if file.is_empty() { Error::Empty } else { Error::NotACapture });
        };
        if u32::from_be_bytes(magic) == pcapng::SECTION_HEADER {
            return pcapng::Blocks::new(file).map(|blocks| Self(Format::Pcapng(blocks)));
        }
        Records::new(file).map(|records| Self(Format::Pcap(records)))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Format::Pcap(records) => records.next(),
            Format::Pcapng(blocks) => blocks.next(),
        }
    }
}

/// One captured frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The link the frame was captured on.
    pub link: LinkType,
    /// When, since 1970; zero when the file does not say.
    pub time: Duration,
    /// Bytes of the frame on the wire; more than were captured when it was cut short.
    pub original_len: u32,
    /// What was captured.
    pub bytes: &'a [u8],
}

/// What a frame begins with, a number of the registry of `tcpdump.org`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

impl LinkType {
    /// An Ethernet header.
    pub const ETHERNET: Self = Self(1);
    /// An IPv4 or IPv6 header.
    pub const RAW: Self = Self(101);
    /// [`Self::RAW`] as some systems number it.
    pub const RAW_BSD: Self = Self(12);
    /// [`Self::RAW`] as OpenBSD numbers it.
    pub const RAW_OPENBSD: Self = Self(14);
    /// An IPv4 header.
    pub const IPV4: Self = Self(228);
    /// The pseudo-header of Linux' device "any".
    pub const LINUX_COOKED: Self = Self(113);
    /// The second version of [`Self::LINUX_COOKED`].
    pub const LINUX_COOKED_V2: Self = Self(276);
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a file is not, or no longer, a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There are no bytes.
    Empty,
    /// Neither pcap nor pcapng.
    NotACapture,
    /// The file ends inside its header, a record or a block.
    Truncated,
    /// A pcapng block whose length makes no sense.
    InvalidBlock,
    /// A pcapng packet of an interface that was not described.
    UnknownInterface,
    /// More than 32 interfaces in a pcapng section.
    TooManyInterfaces,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the file is empty",
            Self::NotACapture => "not a capture file (pcap or pcapng)",
            Self::Truncated => "the capture is cut short in the middle of a record",
            Self::InvalidBlock => "a pcapng block has an impossible length",
            Self::UnknownInterface => "a pcapng packet names an interface that is not described",
            Self::TooManyInterfaces => {
                "too many pcapng interfaces; convert the file with `editcap -F pcap`"
            }
        })
    }
}

impl core::error::Error for Error {}

/// The header of a little-endian file with nanoseconds, for frames of up to 64 KiB.
pub fn file_header(link: LinkType) -> [u8; FILE_HEADER_LEN] {
    let mut header = [0; FILE_HEADER_LEN];
    header[..4].copy_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
    header[4..6].copy_from_slice(&VERSION_MAJOR.to_le_bytes());
    header[6..8].copy_from_slice(&VERSION_MINOR.to_le_bytes());
    header[16..20].copy_from_slice(&SNAP_LEN.to_le_bytes());
    header[20..22].copy_from_slice(&link.0.to_le_bytes());
    header
}

/// The header of a record: `time` since 1970 and the length of the frame, all of which follows.
pub fn record_header(time: Duration, frame_len: u32) -> [u8; RECORD_HEADER_LEN] {
    let mut header = [0; RECORD_HEADER_LEN];
    // The format's seconds wrap in 2106.
    header[..4].copy_from_slice(&(time.as_secs() as u32).to_le_bytes());
    header[4..8].copy_from_slice(&time.subsec_nanos().to_le_bytes());
    header[8..12].copy_from_slice(&frame_len.to_le_bytes());
    header[12..].copy_from_slice(&frame_len.to_le_bytes());
    header
}

#[expect(clippy::large_enum_variant, reason = "there is one of it for each open file")]
#[derive(Clone, Debug)]
enum Format<'a> {
    Pcap(Records<'a>),
    Pcapng(pcapng::Blocks<'a>),
}

/// The records of a classic pcap file.
#[derive(Clone, Debug)]
struct Records<'a> {
    order: Order,
    nanoseconds_per_unit: u32,
    link: LinkType,
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    fn new(file: &'a [u8]) -> Result<Self, Error> {
        let &magic = file.first_chunk().ok_or(Error::NotACapture)?;
        let (order, nanoseconds_per_unit) =
            match (u32::from_be_bytes(magic), u32::from_le_bytes(magic)) {
                (MAGIC_MICROSECONDS, _) => (Order::Big, 1_000),
                (MAGIC_NANOSECONDS, _) => (Order::Big, 1),
                (_, MAGIC_MICROSECONDS) => (Order::Little, 1_000),
                (_, MAGIC_NANOSECONDS) => (Order::Little, 1),
                _ => return Err(Error::NotACapture),
            };
        let (header, rest) = file.split_at_checked(FILE_HEADER_LEN).ok_or(Error::Truncated)?;
        let link = order.u32_at(header, 20).ok_or(Error::Truncated)?;
        // The upper bits speak of checksums behind the frame, which do no harm here.
        Ok(Self { order, nanoseconds_per_unit, link: LinkType(link as u16), rest })
    }

    fn read(&self) -> Option<(Record<'a>, &'a [u8])> {
        let (header, rest) = self.rest.split_at_checked(RECORD_HEADER_LEN)?;
        let seconds = self.order.u32_at(header, 0)?;
        let fraction = self.order.u32_at(header, 4)?;
        let len = usize::try_from(self.order.u32_at(header, 8)?).ok()?;
        let original_len = self.order.u32_at(header, 12)?;
        let (bytes, rest) = rest.split_at_checked(len)?;
        let nanoseconds = u64::from(fraction) * u64::from(self.nanoseconds_per_unit);
        let time = Duration::from_secs(seconds.into()) + Duration::from_nanos(nanoseconds);
        Some((Record { link: self.link, time, original_len, bytes }, rest))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        self.rest = read.map_or(&[], |(_, rest)| rest);
        Some(read.map(|(record, _)| record).ok_or(Error::Truncated))
    }
}

/// The byte order of the machine that wrote a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Big,
    Little,
}

impl Order {
    pub(crate) fn u16_at(self, bytes: &[u8], offset: usize) -> Option<u16> {
        let &field = bytes.get(offset..)?.first_chunk()?;
        Some(match self {
            Self::Big => u16::from_be_bytes(field),
            Self::Little => u16::from_le_bytes(field),
        })
    }

    pub(crate) fn u32_at(self, bytes: &[u8], offset: usize) -> Option<u32> {
        let &field = bytes.get(offset..)?.first_chunk()?;
        Some(match self {
            Self::Big => u32::from_be_bytes(field),
            Self::Little => u32::from_le_bytes(field),
        })
    }
}

/// Bytes of the header of a file.
pub const FILE_HEADER_LEN: usize = 24;
/// Bytes of the header of a record.
pub const RECORD_HEADER_LEN: usize = 16;

const MAGIC_MICROSECONDS: u32 = 0xA1B2_C3D4;
const MAGIC_NANOSECONDS: u32 = 0xA1B2_3C4D;
const VERSION_MAJOR: u16 = 2;
const VERSION_MINOR: u16 = 4;
/// The largest IPv4 packet and an Ethernet header fit.
const SNAP_LEN: u32 = 0x1_0000 + 14;
