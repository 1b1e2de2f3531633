//! What passes through helpers (protocol section 6.4, R1 and R2): who is meant is what the frame
//! holds.

use core::net::{Ipv6Addr, SocketAddrV4};
use std::collections::BTreeMap;

use teredo_proto::client::HelperUse;
use teredo_wire::Datagram;
use teredo_wire::helper::{self, Frame, Status};

use crate::host::Plan;

use super::Offence;

/// The books of a helper: whose frames it may pass on, and to whom.
#[derive(Debug, Default)]
pub(super) struct Helped {
    /// Who asked last from an endpoint, for which address.
    asked: BTreeMap<SocketAddrV4, (Vec<u8>, Ipv6Addr)>,
    /// What was granted to whom.
    granted: BTreeMap<Vec<u8>, (Ipv6Addr, SocketAddrV4)>,
    /// Where the last datagram came from.
    last_from: Option<SocketAddrV4>,
}

impl Helped {
    /// The helper gets a datagram.
    pub(super) fn note_received(&mut self, from: SocketAddrV4, payload: &[u8]) {
        self.last_from = Some(from);
        if let Ok(Frame::Register(request, _)) = Frame::parse(payload) {
            self.asked.insert(from, (request.client_id.to_vec(), request.address));
        }
    }

    /// The helper sends one: to the client whose address it is for, or for the client that it came
    /// from and under no other address.
    pub(super) fn note_sent(&mut self, to: SocketAddrV4, payload: &[u8]) -> Result<(), Offence> {
        let (is_inward, client, datagram) = match Frame::parse(payload) {
            Ok(Frame::Registered(answer, _)) if answer.status == Status::GRANTED => {
                if let Some((client, address)) = self.asked.get(&to).cloned() {
                    self.granted.insert(client, (address, to));
                }
                return Ok(());
            }
            Ok(Frame::Forward(frame)) => (true, Some(to), frame.datagram),
            Ok(Frame::Register(..) | Frame::Registered(..) | Frame::Challenge(_)) => return Ok(()),
            Err(_) => (false, self.last_from, payload),
        };
        let Ok(Datagram { ipv6, .. }) = Datagram::parse(datagram) else {
            return Err(Offence::Helper(to));
        };
        let meant = if is_inward { ipv6.destination() } else { ipv6.source() };
        let is_granted = self.granted.values().any(|(address, endpoint)| {
            Some(*endpoint) == client
                && (*address == meant || helper::link_local(*address) == meant)
        });
        if is_granted { Ok(()) } else { Err(Offence::Helper(to)) }
    }
}

/// A datagram from an endpoint or to one as the client means it; `None` if the client, whose
/// everything goes through its helper, has no use for it.
pub(super) fn unwrap<'a>(
    plan: &Plan,
    endpoint: SocketAddrV4,
    payload: &'a [u8],
) -> Option<(SocketAddrV4, &'a [u8])> {
    let Some(config) = helper_of(plan) else { return Some((endpoint, payload)) };
    if endpoint == config.endpoint
        && let Ok(Frame::Forward(frame)) = Frame::parse(payload)
    {
        return Some((frame.endpoint, frame.datagram));
    }
    (config.used_for == HelperUse::Peers).then_some((endpoint, payload))
}

/// Whether a client sends a frame to somebody that is not its helper.
pub(super) fn is_astray(plan: &Plan, to: SocketAddrV4, payload: &[u8]) -> bool {
    let is_helper = helper_of(plan).is_some_and(|config| config.endpoint == to);
    helper::is_frame(payload) && !is_helper
}

/// The helper that a client uses.
pub(crate) fn helper_of(plan: &Plan) -> Option<&teredo_proto::client::HelperConfig> {
    match plan {
        Plan::Client(config) => config.helper.as_ref().filter(|_| config.traversal.helper),
        Plan::Server(_) | Plan::Relay(_) | Plan::Helper(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use teredo_wire::helper::{Forward, Register, Registered};
    use teredo_wire::ipv6::Header;
    use teredo_wire::{NoSpace, Writer};

    use super::*;

    const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 1);
    const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 2);

    fn at(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), port)
    }

    fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>) -> Vec<u8> {
        let mut buffer = [0; 256];
        let mut writer = Writer::new(&mut buffer);
        write(&mut writer).map_or(Vec::new(), |()| writer.written().to_vec())
    }

    fn forward(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let bubble = written(|writer| Header::bubble(source, destination).write(writer));
        let frame = Forward { endpoint: at(9), token: [0; 4], datagram: &bubble };
        written(|writer| frame.write(writer))
    }

    //= X-R-01: the reference model lets a helper pass on what is for a registered address, or from
    //= X-R-02: it, between the endpoint of that client and anybody
    #[test]
    fn a_helper_passes_on_for_its_clients_only() {
        let (client, other) = (at(1), at(2));
        let mut books = Helped::default();
        let (inward, elsewhere) = (forward(PEER, CLIENT), forward(PEER, PEER));
        assert_eq!(books.note_sent(client, &inward), Err(Offence::Helper(client)));
        let request = Register { nonce: [0; 8], cookie: [0; 16], address: CLIENT, client_id: b"a" };
        books.note_received(client, &written(|writer| request.write(writer, 0)));
        let status = Status::GRANTED;
        let answer =
            Registered { status, nonce: [0; 8], cookie: [0; 16], token: [0; 4], lifetime_s: 1 };
        assert_eq!(books.note_sent(client, &written(|writer| answer.write(writer, 0))), Ok(()));
        assert_eq!(books.note_sent(client, &inward), Ok(()));
        assert_eq!(books.note_sent(other, &inward), Err(Offence::Helper(other)));
        assert_eq!(books.note_sent(client, &elsewhere), Err(Offence::Helper(client)));
        for (from, source, is_right) in
            [(client, CLIENT, true), (client, PEER, false), (other, CLIENT, false)]
        {
            books.note_received(from, &forward(source, PEER));
            let bubble = written(|writer| Header::bubble(source, PEER).write(writer));
            assert_eq!(books.note_sent(at(9), &bubble).is_ok(), is_right, "{from} {source}");
        }
    }
}
