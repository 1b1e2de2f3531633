//! Foreign peers: Debian's `miredo` and `miredo-server` in every role, against ours and each other.

use anyhow::Result;
use teredo_tests::internet::{HOST, Internet, Nat};
use teredo_tests::needs;
use teredo_tests::roles::{self, Maker};
use teredo_tests::traffic;

const PROGRAMS: [&str; 3] = ["miredo", "miredo-server", "ping"];
/// Enough for TCP to fill its windows and lose a few segments.
const TCP_LEN: usize = 4 << 20;

#[test]
fn miredo_alone_works_on_this_ground() -> Result<()> {
    if needs::skip_without(&PROGRAMS) {
        return Ok(());
    }
    let internet = Internet::new([Nat::PortRestricted; 2])?;
    let _server = roles::server(&internet, &Maker::Miredo)?;
    let _relay = roles::relay(&internet, &Maker::Miredo)?;
    let client1 = roles::client(&internet, 1, &Maker::Miredo)?;
    let client2 = roles::client(&internet, 2, &Maker::Miredo)?;
    let [one, two] = &internet.clients;
    traffic::ping(one, HOST)?;
    traffic::tcp(one, &internet.host, HOST, TCP_LEN)?;
    traffic::ping(one, client2.address()?)?;
    traffic::tcp(two, one, client1.address()?, TCP_LEN)
}
