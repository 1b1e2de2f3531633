//! What the engine needs of its surroundings, so that a test can stand in for the kernel.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use teredo_proto::Instant;
pub use teredo_sys::udp::{Received, SendReport};

/// A UDP socket with room for a batch each way.
pub trait DatagramSocket: Sized {
    /// Binds one more at the same address, on any free port and with room for small batches.
    ///
    /// # Errors
    /// The kernel's.
    fn bind_beside(&self) -> io::Result<Self>;

    /// The address and port it is bound to.
    fn local_addr(&self) -> SocketAddrV4;

    /// Receives a batch of what waits, in place of the one before, and returns how many (not zero).
    ///
    /// # Errors
    /// `WouldBlock` if nothing waits.
    fn receive(&mut self) -> io::Result<usize>;

    /// A datagram of the last batch, which holds more than `index`.
    fn received(&self, index: usize) -> Received<'_>;

    /// The next free slot of the outgoing batch, at least
    /// [`TRANSMIT_LEN_MAX`](teredo_proto::role::TRANSMIT_LEN_MAX) bytes; nothing if it is full. Not
    /// committed, it is handed out again.
    fn slot(&mut self) -> Option<&mut [u8]>;

    /// Makes the first `len` bytes of the free slot a datagram to `to`, from the local address
    /// `source` if one is given.
    fn commit(&mut self, len: usize, to: SocketAddrV4, source: Option<Ipv4Addr>);

    /// How many datagrams wait in the outgoing batch.
    fn pending(&self) -> usize;

    /// Sends the outgoing batch. What the socket has no room for stays; there are free slots again
    /// only when nothing has stayed.
    ///
    /// # Errors
    /// Only if the call as such is refused, never for a datagram.
    fn flush(&mut self) -> io::Result<SendReport>;

    /// Empties the error queue, at least in part, and returns how many errors it told.
    fn read_errors(&mut self) -> io::Result<usize>;
}

/// The host's IPv6 side, one packet at a time.
pub trait PacketDevice {
    /// Reads the next packet that the host routes into the tunnel.
    ///
    /// # Errors
    /// `WouldBlock` if none waits.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Hands a packet to the host.
    fn send(&mut self, packet: &[u8]) -> io::Result<()>;
}

/// What time it is.
pub trait Clock {
    /// The moment, never before one told earlier.
    fn now(&self) -> Instant;
}

/// Sleeps until there is something to do.
pub trait Waiter<S> {
    /// Watches a random port from now on, until its socket is closed.
    ///
    /// # Errors
    /// The kernel's.
    fn watch(&mut self, number: u16, socket: &S) -> io::Result<()>;

    /// Waits for what `wanted` asks, for an error or one of the host's own sources, at most for
    /// `timeout` (`None`: for ever), and tells in `ready` what there is: nothing after a timeout.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        wanted: Wanted,
        ready: &mut Ready,
    ) -> io::Result<()>;
}

/// What may end a wait. Sockets are always read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// A packet on the device.
    pub device: bool,
    /// Room to send on the first socket.
    pub room: bool,
}

/// What is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// The sockets with something to receive, by position.
    pub sockets: [bool; SOCKETS_MAX],
    /// The sockets with something in their error queue, by position.
    pub errors: [bool; SOCKETS_MAX],
    /// The random ports with something to receive, or an error, by number.
    pub random: Vec<u16>,
    /// There is room to send on the first socket.
    pub room: bool,
    /// The device has a packet.
    pub device: bool,
    /// The host's own sources that are ready, by the number it gave them.
    pub sources: Vec<u64>,
}

impl Ready {
    /// Nothing is ready.
    pub fn clear(&mut self) {
        let (mut sources, mut random) =
            (std::mem::take(&mut self.sources), std::mem::take(&mut self.random));
        sources.clear();
        random.clear();
        *self = Self { sources, random, ..Self::default() };
    }
}

/// A server has a socket for each of its two addresses.
pub const SOCKETS_MAX: usize = 2;
