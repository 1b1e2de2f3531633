//! Capture files with several interfaces (draft-ietf-opsawg-pcapng).

use teredo_proto::Instant;
use teredo_wire::pcap::LinkType;

use super::{Frame, Wire};

/// A file with one section; everything is little-endian.
pub(super) fn write(frames: &[Frame], start: Instant, wires: &[(String, Wire)]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut header = BYTE_ORDER_MAGIC.to_le_bytes().to_vec();
    header.extend_from_slice(&[1, 0, 0, 0]); // version 1.0
    header.extend_from_slice(&u64::MAX.to_le_bytes()); // of any length
    block(&mut file, SECTION_HEADER, &header);
    for (name, _) in wires {
        let mut interface = u32::from(LinkType::RAW.0).to_le_bytes().to_vec();
        interface.extend_from_slice(&0_u32.to_le_bytes()); // whole packets
        option(&mut interface, IF_NAME, name.as_bytes());
        option(&mut interface, IF_TSRESOL, &[NANOSECONDS]);
        option(&mut interface, END_OF_OPTIONS, &[]);
        block(&mut file, INTERFACE_DESCRIPTION, &interface);
    }
    for frame in frames {
        let interface = wires.iter().position(|(_, wire)| *wire == frame.wire);
        if let Some(interface) = interface.and_then(|it| u32::try_from(it).ok()) {
            block(&mut file, ENHANCED_PACKET, &packet(frame, start, interface));
        }
    }
    file
}

fn packet(frame: &Frame, start: Instant, interface: u32) -> Vec<u8> {
    let bytes = frame.packet.to_bytes();
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let time = (frame.at.as_nanos() - start.as_nanos().min(frame.at.as_nanos())).to_le_bytes();
    let mut body = interface.to_le_bytes().to_vec();
    body.extend_from_slice(&time[4..]);
    body.extend_from_slice(&time[..4]);
    body.extend_from_slice(&len);
    body.extend_from_slice(&len);
    body.extend_from_slice(&bytes);
    pad(&mut body);
    if let Some(end) = frame.end {
        option(&mut body, COMMENT, end.to_string().as_bytes());
        option(&mut body, END_OF_OPTIONS, &[]);
    }
    body
}

fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = u32::try_from(body.len() + BLOCK_FRAME_LEN).unwrap_or(u32::MAX).to_le_bytes();
    file.extend_from_slice(&kind.to_le_bytes());
    file.extend_from_slice(&len);
    file.extend_from_slice(body);
    file.extend_from_slice(&len);
}

fn option(block: &mut Vec<u8>, code: u16, value: &[u8]) {
    block.extend_from_slice(&code.to_le_bytes());
    block.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    block.extend_from_slice(value);
    pad(block);
}

/// Everything begins at a multiple of four.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Kind and two lengths.
const BLOCK_FRAME_LEN: usize = 12;

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
/// Times count ten to the minus nine seconds.
const NANOSECONDS: u8 = 9;
