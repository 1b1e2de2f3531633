//! What is to become of each pair.

use super::table::Cell;

/// Two clients: what they use, and what is expected of them.
#[derive(Debug)]
pub(super) struct Clients {
    /// The word in the file of figures.
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Techniques of the client that begins, as the simulator wants them.
    pub(super) techniques: &'static str,
    /// Those of the other one.
    pub(super) peer: &'static str,
    goal: fn(&Cell) -> Goal,
}

/// How many of the runs of a pair connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    All,
    None,
    /// Luck decides, or it is somebody else's to promise.
    Any,
}

impl Clients {
    pub(super) fn goal(&self, cell: &Cell) -> Goal {
        (self.goal)(cell)
    }
}

/// Ours with everything on, at both ends.
pub(super) const EVERYTHING: Clients = Clients {
    name: "everything",
    what: "our clients with everything on at both ends",
    techniques: "all",
    peer: "all",
    goal: of_ours,
};

/// All that is run, in the order of the tables.
pub(super) const CLIENTS: [Clients; 3] = [
    Clients {
        name: "rfc6081",
        what: "RFC 6081 alone at both ends",
        techniques: "rfc6081",
        peer: "rfc6081",
        goal: of_rfc_6081,
    },
    EVERYTHING,
    Clients {
        name: "standard-peer",
        what: "our client with everything on begins, the other one has RFC 6081 alone",
        techniques: "all",
        peer: "rfc6081",
        goal: of_standard_peer,
    },
];

/// Pairs where the RFC is more cautious than it has to be: an endpoint that was reserved serves
/// both ways (E-29), and two draws from a small pool of addresses may fall on the same one.
const MAY_EXCEED: [&str; 2] = ["upr", "addr"];

fn of_rfc_6081(cell: &Cell) -> Goal {
    let may_exceed = [&cell.from, &cell.to].iter().any(|kind| MAY_EXCEED.contains(&kind.as_str()));
    match cell.rfc6081.as_str() {
        "-" if may_exceed => Goal::Any,
        "-" => Goal::None,
        _ => Goal::All,
    }
}

fn of_ours(_: &Cell) -> Goal {
    Goal::All
}

/// A standard client does its part, also in what goes beyond RFC 6081: it needs nothing but that it
/// sends to where it heard us, or to the endpoints that we name. Behind a UPnP-symmetric NAT it is
/// to send to our embedded endpoint and nowhere else (section 5.3), so that nothing is promised.
fn of_standard_peer(cell: &Cell) -> Goal {
    let is_beyond = cell.rfc6081 == "-" && cell.target != "O";
    if is_beyond && cell.to == "ups" { Goal::Any } else { Goal::All }
}
