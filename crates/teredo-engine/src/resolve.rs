//! From the name of a server to its IPv4 address, without keeping the event loop.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;

/// The IPv4 address of `host`, a name or an address in text. A name may take seconds.
///
/// # Errors
/// One line that names the host.
pub fn resolve(host: &str) -> io::Result<Ipv4Addr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let found = (host, 0).to_socket_addrs().map_err(|error| {
        io::Error::new(error.kind(), format!("server name {host} does not resolve: {error}"))
    })?;
    let first = found.into_iter().find_map(|found| match found.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    first.ok_or_else(|| {
        let text = format!("server name {host} has no IPv4 address");
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}

/// Resolves one name again and again, each time on a thread of its own, one at a time.
#[derive(Debug)]
pub struct Resolver {
    host: String,
    /// The near end of a pair; a thread writes the address to the far end.
    answers: UnixStream,
    questions: UnixStream,
    is_busy: bool,
}

impl Resolver {
    /// A resolver of `host`.
    pub fn new(host: String) -> io::Result<Self> {
        let (answers, questions) = UnixStream::pair()?;
        answers.set_nonblocking(true)?;
        Ok(Self { host, answers, questions, is_busy: false })
    }

    /// Starts to resolve, unless it is at it already. [`answer`](Self::answer) is there when the
    /// descriptor becomes readable.
    pub fn ask(&mut self) -> io::Result<()> {
        if self.is_busy {
            return Ok(());
        }
        let (host, mut answers) = (self.host.clone(), self.questions.try_clone()?);
        thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            // An address that no server has stands for none.
            let address = resolve(&host).unwrap_or(Ipv4Addr::UNSPECIFIED);
            // If nobody is there to read it, nobody wants it.
            let _ = answers.write_all(&address.octets());
        })?;
        self.is_busy = true;
        Ok(())
    }

    /// The answer, or nothing if the name did not resolve or there is no answer yet.
    pub fn answer(&mut self) -> Option<Ipv4Addr> {
        let mut octets = [0; 4];
        // The four bytes come in one piece.
        self.answers.read_exact(&mut octets).ok()?;
        self.is_busy = false;
        Some(Ipv4Addr::from(octets)).filter(|address| !address.is_unspecified())
    }
}

impl AsFd for Resolver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answers.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_name_service() {
        assert_eq!(resolve("203.0.113.10").unwrap(), Ipv4Addr::new(203, 0, 113, 10));
    }

    #[test]
    fn an_error_names_the_host() {
        let error = resolve("no-such-host.invalid").unwrap_err().to_string();
        assert!(error.starts_with("server name no-such-host.invalid "), "{error}");
    }

    #[test]
    fn answers_from_another_thread_once_for_each_question() {
        let mut resolver = Resolver::new("127.0.0.1".to_owned()).unwrap();
        for _ in 0..2 {
            assert_eq!(resolver.answer(), None);
            resolver.ask().unwrap();
            resolver.ask().unwrap();
            resolver.answers.set_nonblocking(false).unwrap();
            assert_eq!(resolver.answer(), Some(Ipv4Addr::LOCALHOST));
            resolver.answers.set_nonblocking(true).unwrap();
        }
    }
}
