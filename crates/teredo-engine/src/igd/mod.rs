//! UPnP Internet Gateway Device: a port on a gateway that speaks neither PCP nor NAT-PMP
//! (RFC 6081 section 5.3).
//!
//! Written here, because the crate that does it ([`igd-next`]) brings 56 others, one of them under
//! a licence that is not on our list, and asks whoever answers first. This asks the default gateway
//! only, and follows no link away from it.
//!
//! All of it blocks, so it runs on a thread of its own; one line comes back.
//!
//! [`igd-next`]: https://docs.rs/igd-next

mod http;
mod message;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use message::{Service, Url};

/// A port on a gateway by UPnP, or the attempt to get one.
#[derive(Debug)]
pub struct Igd {
    port: u16,
    /// Where the port is kept that is to be given back, also after a crash.
    state: Option<PathBuf>,
    shared: Arc<Mutex<Shared>>,
    /// The near end of a pair; the thread writes a byte to the far end.
    answers: UnixStream,
    questions: UnixStream,
}

/// What has come of asking a gateway, or of giving back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This external endpoint leads to the port.
    Mapped(SocketAddrV4),
    /// There is no such gateway, or it refuses.
    Nothing,
    /// The gateway has the port no more, by whatever protocol it had been mapped.
    GivenBack,
}

#[derive(Debug, Default)]
struct Shared {
    is_busy: bool,
    /// What has been done is to be undone.
    is_over: bool,
    /// What the gateway has been asked through, while it may have the mapping.
    service: Option<Service>,
    external: Option<SocketAddrV4>,
}

impl Igd {
    /// For the local UDP port `port`; asks for nothing yet. The port is remembered in `state` for
    /// as long as the gateway has it.
    ///
    /// # Errors
    /// The kernel's, if it gives no pair of sockets.
    pub fn new(port: u16, state: Option<PathBuf>) -> io::Result<Self> {
        let (answers, questions) = UnixStream::pair()?;
        answers.set_nonblocking(true)?;
        Ok(Self { port, state, shared: Arc::default(), answers, questions })
    }

    /// Asks the gateway for the port, or again, unless it is at it. When the descriptor becomes
    /// readable there is an [`answer`](Self::answer).
    ///
    /// # Errors
    /// The kernel's, if it gives no thread.
    pub fn ask(&self, gateway: Ipv4Addr, local: Ipv4Addr) -> io::Result<()> {
        let job = Job { gateway, local, port: self.port, state: self.state.clone() };
        {
            let mut shared = lock(&self.shared);
            if core::mem::replace(&mut shared.is_busy, true) {
                return Ok(());
            }
            shared.is_over = false;
        }
        self.spawn(move |shared| {
            let found = job.run();
            let mut kept = lock(shared);
            let (service, external) = found.unzip();
            if !kept.is_over {
                (kept.service, kept.external) = (service, external);
                return;
            }
            drop(kept);
            if let Some(service) = service {
                job.delete(&service);
            }
        })
    }

    /// What has come of it, once something has.
    pub fn answer(&mut self) -> Option<Outcome> {
        self.answers.read_exact(&mut [0]).ok()?;
        let shared = lock(&self.shared);
        Some(match shared.external {
            _ if shared.is_over => Outcome::GivenBack,
            Some(external) => Outcome::Mapped(external),
            None => Outcome::Nothing,
        })
    }

    /// Gives the port back; what is under way is undone when it is done.
    ///
    /// # Errors
    /// The kernel's, if it gives no thread.
    pub fn stop(&self) -> io::Result<()> {
        let service = {
            let mut shared = lock(&self.shared);
            shared.is_over = true;
            shared.external = None;
            let service = shared.service.take();
            shared.is_busy |= service.is_some();
            service
        };
        let Some(service) = service else { return Ok(()) };
        let (gateway, local) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        let job = Job { gateway, local, port: self.port, state: self.state.clone() };
        self.spawn(move |_| job.delete(&service))
    }

    fn spawn(&self, work: impl FnOnce(&Mutex<Shared>) + Send + 'static) -> io::Result<()> {
        let (shared, mut answers) = (Arc::clone(&self.shared), self.questions.try_clone()?);
        thread::Builder::new().name("igd".to_owned()).spawn(move || {
            work(&shared);
            lock(&shared).is_busy = false;
            // If nobody is there to read it, nobody wants it.
            let _ = answers.write_all(&[0]);
        })?;
        Ok(())
    }
}

impl Drop for Igd {
    /// Gives the port back, and waits shortly until that is done.
    fn drop(&mut self) {
        let _ = self.stop();
        let wait = |answers: &mut UnixStream| -> io::Result<()> {
            answers.set_nonblocking(false)?;
            answers.set_read_timeout(Some(CLOSE_MAX))?;
            answers.read_exact(&mut [0])
        };
        // What is not undone by then is when the program starts again.
        while lock(&self.shared).is_busy && wait(&mut self.answers).is_ok() {}
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsFd for Igd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answers.as_fd()
    }
}

/// What the thread does (protocol section 3.8.2).
struct Job {
    gateway: Ipv4Addr,
    local: Ipv4Addr,
    port: u16,
    state: Option<PathBuf>,
}

impl Job {
    /// The mapping, or nothing where anything fails: then the client goes on without.
    fn run(&self) -> Option<(Service, SocketAddrV4)> {
        let service = self.discover().ok().flatten()?;
        let external = self.map(&service)?;
        Some((service, external))
    }

    fn map(&self, service: &Service) -> Option<SocketAddrV4> {
        let earlier = self.remembered().filter(|port| *port != self.port);
        if let Some(port) = earlier {
            let _ = act(service, "DeletePortMapping", &message::delete_port_mapping(port));
        }
        let arguments = message::add_port_mapping(self.local, self.port);
        act(service, "AddPortMapping", &arguments).ok()?;
        self.remember();
        let external = act(service, "GetExternalIPAddress", &[]).ok();
        match external.as_deref().and_then(message::external_address) {
            Some(address) => Some(SocketAddrV4::new(address, self.port)),
            None => {
                self.delete(service);
                None
            }
        }
    }

    fn delete(&self, service: &Service) {
        if act(service, "DeletePortMapping", &message::delete_port_mapping(self.port)).is_ok()
            && let Some(state) = &self.state
        {
            let _ = fs::remove_file(state);
        }
    }

    fn remembered(&self) -> Option<u16> {
        fs::read_to_string(self.state.as_ref()?).ok()?.trim().parse().ok()
    }

    /// Without a place to remember it in, a mapping that a crash leaves behind stays.
    fn remember(&self) {
        if let Some(state) = &self.state {
            let _ = fs::write(state, format!("{}\n", self.port));
        }
    }

    /// Searches by multicast and at the gateway itself; only the gateway may answer.
    fn discover(&self) -> io::Result<Option<Service>> {
        let socket = UdpSocket::bind((self.local, 0))?;
        let end = Instant::now() + SEARCH_TIME;
        for to in [SEARCH_GROUP, self.gateway] {
            // One of the two is enough.
            let _ = socket.send_to(message::SEARCH.as_bytes(), (to, SEARCH_PORT));
        }
        let mut buffer = [0; 2_048];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            socket.set_read_timeout(Some(left))?;
            let Ok((len, SocketAddr::V4(from))) = socket.recv_from(&mut buffer) else {
                return Ok(None);
            };
            let at = message::location(&buffer[..len]).filter(|it| self.is_gateway(it));
            if let Some(at) = at.filter(|_| *from.ip() == self.gateway)
                && let Ok(description) = http::get(&at)
                && let Some(service) = Service::find(&description.body, &at)
            {
                return Ok(Some(service));
            }
        }
    }

    fn is_gateway(&self, url: &Url) -> bool {
        *url.host.ip() == self.gateway
    }
}

/// Calls an action and returns the answer.
fn act(service: &Service, action: &str, arguments: &[(&str, String)]) -> io::Result<String> {
    let name = format!("{}#{action}", service.kind);
    let answer = http::post(&service.control, &name, &service.envelope(action, arguments))?;
    if answer.status == 200 {
        return Ok(answer.body);
    }
    let code = message::error_code(&answer.body).unwrap_or(answer.status);
    Err(io::Error::other(format!("{action}: error {code}")))
}

/// The group and port of searches (UPnP Device Architecture 1.0, section 1).
const SEARCH_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const SEARCH_PORT: u16 = 1900;

/// Devices answer within the second that the search gives them.
const SEARCH_TIME: Duration = Duration::from_secs(3);

/// The end of a program waits for no more.
const CLOSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const PORT: u16 = 3545;

    /// A gateway that answers `answers` in turn, and what it was asked.
    fn scripted(
        answers: &'static [(u16, &'static str)],
    ) -> (Service, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host = match listener.local_addr().unwrap() {
            SocketAddr::V4(host) => host,
            SocketAddr::V6(_) => panic!("an IPv4 socket"),
        };
        let kind = "urn:schemas-upnp-org:service:WANIPConnection:1";
        let service = Service { kind, control: Url { host, path: "/control".to_owned() } };
        let asked = thread::spawn(move || {
            let serve = |(status, body): &(u16, &str)| {
                let (mut stream, _) = listener.accept().unwrap();
                let request = read_request(&mut stream);
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + body).as_bytes()).unwrap();
                let action = request.split('#').nth(1).and_then(|it| it.split('"').next());
                let port =
                    request.split("<NewExternalPort>").nth(1).and_then(|it| it.split('<').next());
                format!("{} {}", action.unwrap_or_default(), port.unwrap_or_default())
            };
            answers.iter().map(serve).collect()
        });
        (service, asked)
    }

    fn read_request(stream: &mut impl Read) -> String {
        let mut request = Vec::new();
        let mut buffer = [0; 1_024];
        while !request.ends_with(b"</s:Envelope>\r\n") {
            let len = stream.read(&mut buffer).unwrap();
            assert_ne!(len, 0, "cut short");
            request.extend_from_slice(&buffer[..len]);
        }
        String::from_utf8(request).unwrap()
    }

    /// A job with a file of its own, which remembers `port`.
    fn job(name: &str, port: Option<u16>) -> (Job, PathBuf) {
        let state = std::env::temp_dir().join(format!("igd-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&state);
        if let Some(port) = port {
            fs::write(&state, port.to_string()).unwrap();
        }
        let (gateway, local) = (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        (Job { gateway, local, port: PORT, state: Some(state.clone()) }, state)
    }

    const ADDRESS: &str = "<NewExternalIPAddress>203.0.113.1</NewExternalIPAddress>";

    //= X-UPNP-01: an earlier mapping is deleted before the new one is made
    //= X-UPNP-11: the port is remembered
    #[test]
    fn an_earlier_port_is_given_back_first() {
        let (job, state) = job("earlier", Some(1234));
        let (service, asked) = scripted(&[(200, ""), (200, ""), (200, ADDRESS)]);
        let external = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), PORT);
        assert_eq!(job.map(&service), Some(external));
        let expected = ["DeletePortMapping 1234", "AddPortMapping 3545", "GetExternalIPAddress "];
        assert_eq!(asked.join().unwrap(), expected);
        assert_eq!(fs::read_to_string(&state).unwrap(), "3545\n");
        fs::remove_file(state).unwrap();
    }

    //= X-UPNP-04: without an external address the mapping is deleted
    #[test]
    fn a_mapping_without_an_address_is_given_back() {
        let refused: &[_] = &[(200, ""), (500, "<errorCode>501</errorCode>"), (200, "")];
        let empty: &[_] = &[(200, ""), (200, ""), (200, "")];
        for answers in [refused, empty] {
            let (job, state) = job("address", None);
            let (service, asked) = scripted(answers);
            assert_eq!(job.map(&service), None);
            let expected =
                ["AddPortMapping 3545", "GetExternalIPAddress ", "DeletePortMapping 3545"];
            assert_eq!(asked.join().unwrap(), expected);
            assert!(!state.exists());
        }
    }

    //= X-UPNP-03: a refusal is the end of it, and nothing is remembered
    #[test]
    fn a_conflict_is_left_alone() {
        let (job, state) = job("conflict", None);
        let (service, asked) = scripted(&[(500, "<errorCode>718</errorCode>")]);
        assert_eq!(job.map(&service), None);
        assert_eq!(asked.join().unwrap(), ["AddPortMapping 3545"]);
        assert!(!state.exists());
    }
}
