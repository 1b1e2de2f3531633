//! Bytes to meaning and back: what was read is written as it was, and no view reaches beyond its
//! bytes.

use teredo_wire::capture::Udp;
use teredo_wire::datagram::{split_at_value, write_origin};
use teredo_wire::helper::{Frame, is_frame};
use teredo_wire::icmpv6::Icmpv6;
use teredo_wire::pcap::{LinkType, Reader};
use teredo_wire::print::{Kind, Line};
use teredo_wire::trailer::{self, Trailer};
use teredo_wire::{Datagram, Ipv6, TeredoAddress, Writer};

use crate::input::Input;

/// Reads a datagram, a frame or a capture, as the first byte says.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 4 {
        0 | 1 => datagram(input.rest()),
        2 => {
            let link = LinkType(input.word());
            frame(link, input.rest());
        }
        _ => capture(input.rest()),
    }
}

fn datagram(payload: &[u8]) {
    trailers(payload);
    helper_frame(payload);
    let Ok(datagram) = Datagram::parse(payload) else { return };
    let range = datagram.packet_range();
    assert_eq!(&payload[range.clone()], datagram.ipv6.bytes());
    assert_eq!(&payload[range.end..], datagram.trailer_bytes);
    let mut buffer = vec![0; payload.len()];
    let mut writer = Writer::new(&mut buffer);
    let written = (|| {
        if let Some(authentication) = datagram.authentication {
            authentication.write(&mut writer)?;
        }
        if let Some(origin) = datagram.origin {
            write_origin(&mut writer, origin)?;
        }
        writer.put(datagram.ipv6.bytes())?;
        writer.put(datagram.trailer_bytes)
    })();
    assert!(written.is_ok());
    assert_eq!(writer.written(), payload, "written otherwise than read");
    let mut packet = payload[..range.end].to_vec();
    let covered = split_at_value(&mut packet).map(|(_, covered)| covered.to_vec());
    assert_eq!(covered.as_deref(), datagram.authenticated_bytes());
    ipv6(&datagram.ipv6);
    let _ = datagram.trailers();
}

/// A frame between a client and its helper is no datagram, and is written as it was read.
fn helper_frame(payload: &[u8]) {
    let Ok(frame) = Frame::parse(payload) else { return };
    assert!(is_frame(payload) && Datagram::parse(payload).is_err());
    let mut buffer = vec![0; payload.len()];
    let mut writer = Writer::new(&mut buffer);
    let (written, expected) = match frame {
        Frame::Register(request, seal) => {
            (request.write(&mut writer, seal.mac.len() as u8), seal.covered)
        }
        Frame::Challenge(challenge) => (challenge.write(&mut writer), payload),
        Frame::Registered(answer, seal) => {
            (answer.write(&mut writer, seal.mac.len() as u8), seal.covered)
        }
        Frame::Forward(frame) => (frame.write(&mut writer), payload),
    };
    assert!(written.is_ok());
    // Two bytes of a challenge mean nothing.
    let kept = if matches!(frame, Frame::Challenge(_)) { 4 } else { 0 };
    assert_eq!(writer.written()[kept..], expected[kept..], "written otherwise than read");
}

fn ipv6(packet: &Ipv6<'_>) {
    let quoted = Ipv6::parse_quoted(packet.bytes()).map(|quoted| quoted.bytes().len());
    assert_eq!(quoted, Ok(packet.bytes().len()));
    assert!(!Kind::of(packet).name().is_empty());
    for address in [packet.source(), packet.destination()] {
        if let Some(parsed) = TeredoAddress::parse(address) {
            assert_eq!(parsed.to_ipv6(), address);
        }
    }
    let Ok(message) = Icmpv6::parse(packet) else { return };
    if let Some(echo) = message.echo() {
        let mut buffer = vec![0; packet.bytes().len()];
        let mut writer = Writer::new(&mut buffer);
        let (source, destination) = (packet.source(), packet.destination());
        assert!(echo.write(&mut writer, source, destination, packet.hop_limit()).is_ok());
        assert_eq!(writer.written()[44..], packet.bytes()[44..], "written otherwise than read");
    }
    assert!(message.solicitation_options().count() <= packet.bytes().len());
    assert!(message.advertisement_options().count() <= packet.bytes().len());
}

/// Trailers are read as they are written.
fn trailers(bytes: &[u8]) {
    let mut buffer = [0; 2 * trailer::MAX_BYTES];
    let mut writer = Writer::new(&mut buffer);
    let read: Vec<Trailer<'_>> = trailer::iter(bytes).map_while(Result::ok).collect();
    for trailer in &read {
        assert!(trailer.write(&mut writer).is_ok());
    }
    let again: Vec<Trailer<'_>> = trailer::iter(writer.written()).map_while(Result::ok).collect();
    assert_eq!(again, read);
}

fn frame(link: LinkType, frame: &[u8]) {
    let Ok(udp) = Udp::find(link, frame) else { return };
    if let Ok(datagram) = udp.teredo() {
        assert!(datagram.packet_range().end <= frame.len());
        let (source, destination) = (udp.source, udp.destination);
        let line = Line { source, destination, datagram }.to_string();
        assert!(!line.is_empty() && !line.contains('\n'));
    }
}

fn capture(file: &[u8]) {
    let Ok(reader) = Reader::new(file) else { return };
    let mut records = 0;
    for record in reader {
        let Ok(record) = record else { continue };
        frame(record.link, record.bytes);
        records += 1;
    }
    assert!(records <= file.len(), "more records than bytes");
}
