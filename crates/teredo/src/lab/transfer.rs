//! A TCP connection of the kernels' from client 1 to the IPv6 host, every byte of it checked.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use teredo_sys::ns::NetNamespace;

/// What came of a transfer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    /// Bytes that arrived and were the right ones.
    pub(super) bytes: u64,
    /// Time from asking for the connection to the last byte's arrival.
    pub(super) time: Duration,
}

impl Transfer {
    /// Sends `bytes` to `address`, which is on `receiver`. `progress` gets the bytes checked so far
    /// now and then; its error ends it.
    pub(super) fn run(
        sender: &NetNamespace,
        receiver: &NetNamespace,
        address: Ipv6Addr,
        bytes: u64,
        mut progress: impl FnMut(u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let listener = receiver
            .run(|| TcpListener::bind((address, 0)))
            .and_then(|listener| listener)
            .with_context(|| format!("cannot listen on {address}"))?;
        let to = listener.local_addr()?;
        // A pattern of its own for each connection.
        let key = u64::from(to.port());
        let checked = Arc::new(AtomicU64::new(0));
        let (result, results) = mpsc::channel();

        let started = Instant::now();
        // Threads that nobody waits for: they end with their connection, or with the lab.
        let spawn = |name: &str, body: Box<dyn FnOnce() -> anyhow::Result<Instant> + Send>| {
            let result = result.clone();
            let thread = thread::Builder::new().name(name.into());
            thread.spawn(move || result.send(body())).map(drop)
        };
        let count = Arc::clone(&checked);
        spawn("receiver", Box::new(move || receive(&listener, key, bytes, &count)))?;
        let sender = sender.clone();
        spawn("sender", Box::new(move || send(&sender, to, key, bytes)))?;

        let deadline = started + PATIENCE_MAX + Duration::from_secs(bytes / SLOWEST_BYTES_S);
        let mut ends = Vec::new();
        while ends.len() < 2 {
            match results.recv_timeout(PROGRESS_INTERVAL) {
                Ok(end) => ends.push(end?),
                Err(RecvTimeoutError::Timeout) => progress(checked.load(Ordering::Relaxed))?,
                Err(RecvTimeoutError::Disconnected) => bail!("a thread of the transfer is gone"),
            }
            ensure!(Instant::now() < deadline, "the transfer is too slow to be waited for");
        }
        let ended = ends.into_iter().max().unwrap_or(started);
        Ok(Self { bytes, time: ended - started })
    }

    /// Millions of bits in a second.
    pub(super) fn mbit_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.time.as_secs_f64().max(1e-9)
    }
}

fn send(from: &NetNamespace, to: SocketAddr, key: u64, bytes: u64) -> anyhow::Result<Instant> {
    let mut stream = from
        .run(|| TcpStream::connect_timeout(&to, STALL_MAX))
        .and_then(|stream| stream)
        .with_context(|| format!("cannot connect to {to}"))?;
    stream.set_write_timeout(Some(STALL_MAX))?;
    let mut pattern = Pattern::new(key);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let len = left.min(CHUNK_BYTES as u64) as usize;
        pattern.fill(&mut chunk[..len]);
        stream.write_all(&chunk[..len]).map_err(explain_stall).context("cannot send")?;
        left -= len as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    Ok(Instant::now())
}

fn receive(
    listener: &TcpListener,
    key: u64,
    bytes: u64,
    checked: &AtomicU64,
) -> anyhow::Result<Instant> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(STALL_MAX))?;
    let mut pattern = Pattern::new(key);
    let mut expected = vec![0; CHUNK_BYTES];
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut total = 0;
    loop {
        // In whole chunks, because the pattern is made in words.
        let len = read_full(&mut stream, &mut chunk).map_err(explain_stall)?;
        pattern.fill(&mut expected);
        if let Some(at) = (0..len).find(|&at| chunk[at] != expected[at]) {
            bail!("byte {} arrived wrong", total + at as u64);
        }
        total += len as u64;
        checked.store(total, Ordering::Relaxed);
        if len < CHUNK_BYTES {
            break;
        }
    }
    ensure!(total == bytes, "{total} bytes arrived of {bytes}");
    Ok(Instant::now())
}

/// Fills `chunk`, or as much of it as there is before the end.
fn read_full(stream: &mut TcpStream, chunk: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < chunk.len() {
        match stream.read(&mut chunk[len..])? {
            0 => break,
            read => len += read,
        }
    }
    Ok(len)
}

fn explain_stall(error: io::Error) -> anyhow::Error {
    if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) {
        return anyhow!("the connection has stood still for {} seconds", STALL_MAX.as_secs());
    }
    error.into()
}

/// Bytes that differ at every place and for every key, so that whatever goes missing, comes twice
/// or changes places is found out.
struct Pattern {
    state: u64,
}

impl Pattern {
    fn new(key: u64) -> Self {
        Self { state: key << 32 }
    }

    /// Writes the next bytes, 8 at a time; what a last piece leaves over is lost.
    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            self.state = self.state.wrapping_add(STEP);
            let mut word = self.state;
            word = (word ^ (word >> 32)).wrapping_mul(STEP);
            word ^= word >> 29;
            piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
        }
    }
}

/// An odd number with bits all over: the golden ratio in 64 bits.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// A multiple of the pattern's words.
const CHUNK_BYTES: usize = 64 << 10;
/// Longer than TCP needs to recover in the lab, shorter than a person's patience.
const STALL_MAX: Duration = Duration::from_secs(10);
/// What a transfer may take besides the time for its bytes.
const PATIENCE_MAX: Duration = Duration::from_secs(30);
/// A tenth of what the longest delay leaves to TCP.
const SLOWEST_BYTES_S: u64 = 100_000;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_goes_on_over_chunks_and_differs_by_key() {
        let (mut whole, mut parts) = ([0; 64], [0; 64]);
        Pattern::new(1).fill(&mut whole);
        let mut pattern = Pattern::new(1);
        for chunk in parts.chunks_mut(16) {
            pattern.fill(chunk);
        }
        assert_eq!(whole, parts);
        Pattern::new(2).fill(&mut parts);
        assert_ne!(whole, parts);
        let mut end = [0; 5];
        Pattern::new(1).fill(&mut end);
        assert_eq!(whole[..5], end);
    }
}
