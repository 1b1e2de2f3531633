//! Real packets between hosts: pings, and TCP with its content checked.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::namespace::Namespace;

/// No step of an exchange takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Port of the TCP exchange.
const PORT: u16 = 7001;
/// Of the pattern that is sent; prime, so that a lost or repeated block shows.
const PERIOD: usize = 65_521;

/// Pings five times; every ping must be answered.
///
/// # Errors
///
/// If one is lost.
pub fn ping(from: &Namespace, to: Ipv6Addr) -> Result<()> {
    let mut command = from.command("ping");
    command.args(["-6", "-n", "-c", "5", "-i", "0.2", "-W", "5", &to.to_string()]);
    let output = command.output().context("cannot run ping")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !text.contains(" 5 received") {
        bail!("ping {} -> {to}: {}", from.name(), text.trim());
    }
    Ok(())
}

/// Sends `length` bytes over a TCP connection from one host to another, and as many back; both
/// directions are checked byte for byte.
///
/// # Errors
///
/// If the connection fails, stalls, or bytes differ.
pub fn tcp(from: &Namespace, to: &Namespace, address: Ipv6Addr, length: usize) -> Result<()> {
    let listener = to.enter(|| TcpListener::bind((address, PORT)))?.context("cannot listen")?;
    listener.set_nonblocking(true)?;
    let pattern: Vec<u8> = (0..PERIOD).map(|at| (at * 31 % 251) as u8).collect();
    let target = SocketAddr::new(IpAddr::V6(address), PORT);
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| echo(&listener));
        let connect = || TcpStream::connect_timeout(&target, PATIENCE);
        let mut stream =
            from.enter(connect)?.with_context(|| format!("cannot connect {target}"))?;
        limits(&stream)?;
        let (sending, pattern) = (stream.try_clone()?, &pattern);
        let sender = scope.spawn(move || send(sending, pattern, length));
        receive(&mut stream, pattern, length)?;
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        echo.join().map_err(|_| anyhow::anyhow!("the listener panicked"))?
    })
}

fn limits(stream: &TcpStream) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream.set_write_timeout(Some(PATIENCE))?)
}

fn echo(listener: &TcpListener) -> Result<()> {
    let start = std::time::Instant::now();
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                ensure!(start.elapsed() < PATIENCE, "nobody connected");
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error).context("accept"),
        }
    };
    limits(&stream)?;
    let mut copy = stream.try_clone()?;
    std::io::copy(&mut stream, &mut copy).context("echo")?;
    Ok(copy.shutdown(Shutdown::Write)?)
}

fn send(mut stream: TcpStream, pattern: &[u8], length: usize) -> Result<()> {
    let mut left = length;
    while left > 0 {
        let piece = &pattern[..left.min(PERIOD)];
        stream.write_all(piece).context("send")?;
        left -= piece.len();
    }
    Ok(stream.shutdown(Shutdown::Write)?)
}

fn receive(stream: &mut TcpStream, pattern: &[u8], length: usize) -> Result<()> {
    let mut buffer = vec![0; PERIOD];
    let mut received = 0;
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            // A call with a time limit is not resumed after a stop of the whole machine.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("receive"),
        };
        let same = buffer[..count]
            .iter()
            .enumerate()
            .all(|(at, byte)| pattern[(received + at) % PERIOD] == *byte);
        ensure!(same, "bytes differ in the {count} after {received}");
        received += count;
    }
    ensure!(received == length, "{received} of {length} bytes came back");
    Ok(())
}
