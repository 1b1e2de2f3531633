//! Inputs to start from: a few of each thing that can happen, so that a mutation has something to
//! work on.

use std::time::Duration;

use teredo_wire::pcap::{LinkType, file_header, record_header};

use crate::input::Input;
use crate::packets::{Damage, Shape, nonce_only};
use crate::world;

/// Datagrams of every shape, in a capture as well.
pub(crate) fn wire() -> Vec<Vec<u8>> {
    let damage = Damage::decode(&mut Input::new(&[0b1010_0000, 8, 1, 4, 1, 2, 3, 4, 4, 0]));
    let shapes = (0..12).map(|kind| Shape::decode(&mut Input::new(&[kind, 0x12, 2])));
    let mut seeds = Vec::new();
    for shape in shapes {
        let packet = shape.packet(world::client(), world::peer());
        let mut datagram = nonce_only([3; 8]);
        datagram.extend(damage.datagram(packet.clone(), world::CLIENT));
        seeds.push([&[0], &datagram[..]].concat());
        let frame = ipv4_udp(&packet);
        let link = LinkType::RAW.0.to_be_bytes();
        seeds.push([&[2], &link[..], &frame].concat());
        let header = record_header(Duration::from_secs(1), frame.len() as u32);
        let file = [&file_header(LinkType::RAW)[..], &header, &frame].concat();
        seeds.push([&[3], &file[..]].concat());
    }
    seeds
}

/// Single transitions of every kind, and one long sequence of them.
pub(crate) fn role() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut all = vec![0];
    for kind in 0..12 {
        // In from a peer, out to it, and back what was sent.
        let steps = [0x30, 0x20, kind, 0x12, 2, 0, 2, 0x03, kind, 0x12, 2, 0, 6, 4, 0];
        seeds.push([&[0], &steps[..]].concat());
        all.extend(steps);
    }
    all.extend([5, 0x20, 0x10, 7]);
    seeds.push(all);
    seeds
}

/// The same once the client is in service.
pub(crate) fn client() -> Vec<Vec<u8>> {
    let qualified = [0, 6, 4, 0, 6, 4, 0, 6];
    let steps = role();
    steps.iter().map(|steps| [&qualified[..], &steps[1..]].concat()).collect()
}

/// A datagram from the server to the client.
fn ipv4_udp(payload: &[u8]) -> Vec<u8> {
    let len = (28 + payload.len()) as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend(len.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend(world::SERVER.octets());
    bytes.extend(world::CLIENT.ip().octets());
    bytes.extend([3544, world::CLIENT.port(), len - 20, 0].into_iter().flat_map(u16::to_be_bytes));
    bytes.extend(payload);
    bytes
}
