//! A port mapper on sockets of its own, and UPnP where that gets nothing.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use teredo_proto::Instant;
use teredo_proto::portmap::{Config, Event, Failure, PortMapper, Protocol, TRANSMIT_LEN_MAX};
use teredo_sys::epoll::{Interest, Poller};
use teredo_wire::pcp;

use super::{BootClock, seed};
use crate::igd::{Igd, Outcome};
use crate::io::Clock;
use crate::network::{default_gateway, ipv4_source_towards};

/// Keeps a port of this host mapped on its gateway; gives it back when dropped.
///
/// Requests leave from a port of their own, so that a host's firewall takes the answers for what
/// they are: answers.
#[derive(Debug)]
pub struct PortMapping {
    port: u16,
    /// Watches what there is below, because that comes and goes.
    poller: Poller,
    /// While the host has a gateway.
    sockets: Option<Sockets>,
    /// From when the host has had a gateway.
    mapper: Option<PortMapper>,
    /// The way of last resort.
    igd: Igd,
    /// Where the gateway is, and this host towards it.
    ends: Option<(Ipv4Addr, Ipv4Addr)>,
    /// When that is asked, for the first time or again.
    igd_at: Option<Instant>,
    igd_external: Option<SocketAddrV4>,
    events: VecDeque<Event>,
    is_wanted: bool,
}

impl PortMapping {
    /// For a mapping of the local UDP port `port`; asks for nothing yet. A port that has been
    /// mapped for ever is remembered in `state`, so that the next life can give it back if this one
    /// cannot.
    ///
    /// # Errors
    /// The kernel's, if it gives no descriptors.
    pub fn new(port: u16, state: Option<PathBuf>) -> io::Result<Self> {
        let (poller, igd) = (Poller::new()?, Igd::new(port, state)?);
        poller.add(&igd, 0, Interest::Read)?;
        Ok(Self {
            port,
            poller,
            sockets: None,
            mapper: None,
            igd,
            ends: None,
            igd_at: None,
            igd_external: None,
            events: VecDeque::new(),
            is_wanted: false,
        })
    }

    /// Whether a mapping is to be there. Asks for it at once, or gives it back.
    pub fn want(&mut self, now: Instant, is_wanted: bool) {
        if is_wanted == self.is_wanted {
            return;
        }
        self.is_wanted = is_wanted;
        if is_wanted {
            self.look(now);
            return;
        }
        self.stop_igd();
        self.ends = None;
        if let Some(mapper) = &mut self.mapper {
            mapper.stop(now);
        }
        self.settle(now);
    }

    /// Looks for the gateway: the network has changed.
    pub fn look(&mut self, now: Instant) {
        let Some(gateway) = default_gateway().filter(|_| self.is_wanted) else { return };
        let Some(local) = ipv4_source_towards(gateway) else { return };
        if self.igd_external.is_some() && self.ends == Some((gateway, local)) {
            return;
        }
        if self.ends.replace((gateway, local)) != Some((gateway, local)) {
            self.stop_igd();
            self.igd_at = Some(now + IGD_PATIENCE);
            // Closed ones are watched no more.
            self.sockets = None;
            self.sockets = Sockets::open(gateway, local, &self.poller).ok();
        }
        match &mut self.mapper {
            Some(mapper) => mapper.set_network(now, gateway, local),
            None => {
                // Without randomness there is no client either.
                let Ok(seed) = seed() else { return };
                self.mapper = Some(PortMapper::new(Config::new(gateway, local, self.port), seed));
            }
        }
        if let Some(mapper) = &mut self.mapper {
            mapper.start(now);
        }
        self.settle(now);
    }

    /// Asks for the external endpoint of a flow, given as local port and remote endpoint. The
    /// answer is an event in any case.
    pub fn map_peer(&mut self, now: Instant, (internal_port, remote): (u16, SocketAddrV4)) {
        let mapper = self.mapper.as_mut().filter(|_| self.is_wanted);
        if !mapper.is_some_and(|mapper| mapper.map_peer(now, internal_port, remote)) {
            let failure = Failure::NoResources;
            self.events.push_back(Event::PeerUnmapped { internal_port, remote, failure });
        }
        self.settle(now);
    }

    /// Gives back what [`map_peer`](Self::map_peer) asked for.
    pub fn unmap_peer(&mut self, now: Instant, (internal_port, remote): (u16, SocketAddrV4)) {
        if let Some(mapper) = &mut self.mapper {
            mapper.unmap_peer(now, internal_port, remote);
        }
        self.settle(now);
    }

    /// Takes what has arrived.
    pub fn receive(&mut self, now: Instant) {
        let mut buffer = [0; pcp::LEN_MAX + 1];
        for socket in self.sockets.iter().flat_map(Sockets::all) {
            for _ in 0..DATAGRAMS_PER_TURN_MAX {
                // An error that stays shows as silence.
                let Ok((len, SocketAddr::V4(from))) = socket.recv_from(&mut buffer) else { break };
                if let Some(mapper) = &mut self.mapper {
                    // What it ignores it counts.
                    let _ = mapper.handle_datagram(now, from, &buffer[..len]);
                }
            }
        }
        while let Some(outcome) = self.igd.answer() {
            self.take_igd(now, outcome);
        }
        self.settle(now);
    }

    /// Does what has become due.
    pub fn advance(&mut self, now: Instant) {
        if let Some(mapper) = &mut self.mapper {
            mapper.handle_timeout(now);
        }
        if self.igd_at.is_some_and(|at| at <= now) {
            self.ask_igd(now);
        }
        self.settle(now);
    }

    /// The next news, if there is any.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to [`advance`](Self::advance).
    pub fn deadline(&self) -> Option<Instant> {
        let mapper = self.mapper.as_ref().and_then(PortMapper::poll_timeout).map(|(at, _)| at);
        mapper.into_iter().chain(self.igd_at).min()
    }

    /// In what the gateway has answered: a word for output.
    pub fn protocol(&self) -> Option<&'static str> {
        if self.igd_external.is_some() {
            return Some("upnp");
        }
        self.mapper.as_ref().and_then(PortMapper::protocol).map(Protocol::name)
    }

    /// Sends what there is to send, and takes note of what there is to tell.
    fn settle(&mut self, now: Instant) {
        self.send();
        while let Some(event) = self.mapper.as_mut().and_then(PortMapper::poll_event) {
            match event {
                Event::Mapped(_) => {
                    self.stop_igd();
                    self.events.push_back(event);
                }
                // As long as the other way leads to something, this is no loss.
                Event::Unmapped(_) => {
                    self.igd_at = Some(now);
                    self.events.extend(self.igd_external.is_none().then_some(event));
                }
                Event::GatewayRestarted | Event::PeerMapped { .. } | Event::PeerUnmapped { .. } => {
                    self.events.push_back(event);
                }
            }
        }
        if self.igd_at.is_some_and(|at| at <= now) {
            self.ask_igd(now);
        }
    }

    /// Asks by UPnP, unless the gateway has granted the port otherwise. Again after a while,
    /// because nothing tells that it has forgotten.
    fn ask_igd(&mut self, now: Instant) {
        let is_mapped = self.mapper.as_ref().is_some_and(|mapper| mapper.external().is_some());
        self.igd_at = None;
        if let Some((gateway, local)) = self.ends.filter(|_| self.is_wanted && !is_mapped) {
            self.igd_at = Some(now + IGD_INTERVAL);
            // Without a thread there is no mapping.
            let _ = self.igd.ask(gateway, local);
        }
    }

    fn take_igd(&mut self, now: Instant, outcome: Outcome) {
        let external = match outcome {
            Outcome::Mapped(external) => Some(external),
            Outcome::Nothing => None,
            Outcome::GivenBack => {
                // On many a gateway all protocols have one table.
                if let Some(mapper) = self.mapper.as_mut().filter(|_| self.is_wanted) {
                    mapper.renew(now);
                }
                return;
            }
        };
        if !self.is_wanted || self.igd_external == external {
            return;
        }
        self.igd_external = external;
        self.events.push_back(match external {
            Some(external) => {
                // For the same reason nothing else is asked for, or given back, any more.
                self.mapper = None;
                Event::Mapped(external)
            }
            None => Event::Unmapped(Failure::NoAnswer),
        });
        if external.is_none() {
            self.look(now);
        }
    }

    fn stop_igd(&mut self) {
        self.igd_at = None;
        self.igd_external = None;
        // Without a thread it stays until the next life.
        let _ = self.igd.stop();
    }

    fn send(&mut self) {
        let mut buffer = [0; TRANSMIT_LEN_MAX];
        while let Some(transmit) = self.mapper.as_mut().and_then(|it| it.poll_transmit(&mut buffer))
        {
            // What is lost here is sent again as if it had been lost on the way.
            let _ = self.sockets.as_ref().map(|it| it.requests.send(&buffer[..transmit.len]));
        }
    }

    /// Gives the mapping back, and waits shortly until the gateway has heard of it.
    fn close(&mut self) -> io::Result<()> {
        let clock = BootClock;
        self.want(clock.now(), false);
        if self.mapper.as_ref().and_then(PortMapper::protocol).is_none() {
            return Ok(());
        }
        let Some(Sockets { requests, .. }) = &self.sockets else { return Ok(()) };
        let requests = requests.try_clone()?;
        requests.set_nonblocking(false)?;
        let end = clock.now() + CLOSE_MAX;
        let mut buffer = [0; pcp::LEN_MAX];
        while let Some(deadline) = self.deadline().filter(|_| clock.now() < end) {
            let wait = deadline.min(end).since(clock.now()).max(Duration::from_millis(1));
            requests.set_read_timeout(Some(wait))?;
            let received = requests.recv_from(&mut buffer);
            let Some(mapper) = &mut self.mapper else { return Ok(()) };
            match received {
                Ok((len, SocketAddr::V4(from))) => {
                    let _ = mapper.handle_datagram(clock.now(), from, &buffer[..len]);
                }
                Ok(_) | Err(_) => mapper.handle_timeout(clock.now()),
            }
            self.send();
        }
        Ok(())
    }
}

impl AsFd for PortMapping {
    /// Becomes readable when there is something to [`receive`](PortMapping::receive).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

/// What is open towards one gateway.
#[derive(Debug)]
struct Sockets {
    /// Connected, so that nobody but the gateway gets through.
    requests: UdpSocket,
    /// Hears the gateway say that it has booted; none if another program listens already.
    announcements: Option<UdpSocket>,
}

impl Sockets {
    fn open(gateway: Ipv4Addr, local: Ipv4Addr, poller: &Poller) -> io::Result<Self> {
        let requests = UdpSocket::bind((local, 0))?;
        requests.connect((gateway, pcp::SERVER_PORT))?;
        // Every host is in this group by itself.
        let announcements = UdpSocket::bind((pcp::ANNOUNCEMENT_GROUP, pcp::CLIENT_PORT)).ok();
        let sockets = Self { requests, announcements };
        for socket in sockets.all() {
            socket.set_nonblocking(true)?;
            poller.add(socket, 0, Interest::Read)?;
        }
        Ok(sockets)
    }

    fn all(&self) -> impl Iterator<Item = &UdpSocket> {
        [&self.requests].into_iter().chain(&self.announcements)
    }
}

impl Drop for PortMapping {
    fn drop(&mut self) {
        // What is left ends by itself.
        let _ = self.close();
    }
}

/// How long a gateway has to answer in PCP before it is asked by UPnP too: on the link it takes
/// milliseconds.
const IGD_PATIENCE: Duration = Duration::from_secs(1);
/// How often a gateway is asked by UPnP: not so often that a network without one has to hear it all
/// the time.
const IGD_INTERVAL: Duration = Duration::from_secs(1_200);

/// A flood cannot keep the caller.
const DATAGRAMS_PER_TURN_MAX: usize = 16;

/// Two requests that nobody answers. The end of a program waits for no more.
const CLOSE_MAX: Duration = Duration::from_millis(600);
