//! One HTTP request to a device on the link, and its answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::message::Url;

/// The status and the body of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Fetches a document.
pub(super) fn get(url: &Url) -> io::Result<Answer> {
    let head =
        format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", url.path, url.host);
    exchange(url, head.as_bytes())
}

/// Calls an action.
pub(super) fn post(url: &Url, action: &str, body: &str) -> io::Result<Answer> {
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Type: text/xml; charset=\"utf-8\"\r\nSOAPAction: \"{action}\"\r\n\
         Content-Length: {}\r\n\r\n{body}",
        url.path,
        url.host,
        body.len()
    );
    exchange(url, request.as_bytes())
}

fn exchange(url: &Url, request: &[u8]) -> io::Result<Answer> {
    let end = Instant::now() + TIME_MAX;
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(url.host), TIME_MAX)?;
    stream.set_write_timeout(Some(TIME_MAX))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => break,
            len => answer.extend_from_slice(&buffer[..len]),
        }
        if answer.len() > ANSWER_LEN_MAX {
            return Err(io::Error::other("the answer is too long"));
        }
        // Some devices do not close.
        if is_complete(&answer) {
            break;
        }
    }
    parse(&answer).ok_or_else(|| io::Error::other("no HTTP answer"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let (head, body) = split(answer)?;
    let status = head.lines().next()?.split(' ').nth(1)?.parse().ok()?;
    let body = if header(head, "transfer-encoding").is_some_and(|it| it.contains("chunked")) {
        dechunked(body)?
    } else {
        body.to_vec()
    };
    Some(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn is_complete(answer: &[u8]) -> bool {
    let Some((head, body)) = split(answer) else { return false };
    let length = header(head, "content-length").and_then(|it| it.parse::<usize>().ok());
    match length {
        Some(length) => body.len() >= length,
        None => header(head, "transfer-encoding").is_some() && dechunked(body).is_some(),
    }
}

fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((str::from_utf8(&answer[..at]).ok()?, &answer[at + 4..]))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The body without the lengths of its chunks; none before its end.
fn dechunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let line = str::from_utf8(&rest[..end]).ok()?;
        let len = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if len == 0 {
            return Some(body);
        }
        let (chunk, after) = rest.split_at_checked(len)?;
        body.extend_from_slice(chunk);
        rest = after.get(2..)?;
    }
}

/// A gateway is one hop away.
const TIME_MAX: Duration = Duration::from_secs(3);
/// Descriptions take a few kilobytes.
const ANSWER_LEN_MAX: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_all_kinds_end() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\n";
        for (answer, status) in [(&plain[..], 200), (&chunked[..], 500)] {
            assert!(is_complete(answer));
            assert_eq!(parse(answer), Some(Answer { status, body: "hello".to_owned() }));
            for len in 0..answer.len() {
                let _ = (is_complete(&answer[..len]), parse(&answer[..len]));
            }
            assert!(!is_complete(&answer[..answer.len() - 5]));
        }
        let endless = b"HTTP/1.0 200 OK\r\n\r\nhello";
        assert!(!is_complete(endless));
        assert_eq!(parse(endless).unwrap().body, "hello");
        assert_eq!(parse(b"nonsense"), None);
        assert_eq!(dechunked(b"ffffffffffffffff\r\nx"), None);
    }
}
