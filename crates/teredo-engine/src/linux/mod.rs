//! Linux behind the traits of [`io`](crate::io).

use teredo_proto::Instant;
use teredo_proto::random::Seed;
use teredo_sys::clock::now_ns;

pub use self::device::HostDevice;
pub use self::discovery::DiscoveryGroup;
pub use self::portmap::PortMapping;
pub use self::udp::UdpPort;
pub use self::wait::Waits;
use crate::io::Clock;

mod device;
mod discovery;
mod portmap;
mod udp;
mod wait;

/// Time since boot, suspended time included.
#[derive(Clone, Copy, Debug)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(now_ns())
    }
}

/// A secret seed for a role.
///
/// # Errors
/// If the system has no source of randomness.
pub fn seed() -> std::io::Result<Seed> {
    let mut seed = Seed::default();
    getrandom::fill(&mut seed)
        .map_err(|error| std::io::Error::other(format!("drawing a random seed: {error}")))?;
    Ok(seed)
}
