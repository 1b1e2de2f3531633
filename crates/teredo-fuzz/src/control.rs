//! Control messages: cut as they were put together, and read as they were written, at both ends.

use teredo_control::Status;
use teredo_control::varlink::{Call, CallError, Frames, MESSAGE_LEN_MAX, Reply, Request, encode};

use crate::input::Input;

/// Takes a stream in pieces of a length that the first byte says, perhaps after much white space.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let first = input.byte();
    let piece_len = 1 + usize::from(first & 0x3f);
    let mut stream = if first & 0x80 != 0 { vec![b' '; NEARLY_TOO_LONG] } else { Vec::new() };
    stream.extend(input.rest());
    let mut expected = stream.split_inclusive(|byte| *byte == 0);
    let (mut frames, mut taken) = (Frames::default(), 0);
    for piece in stream.chunks(piece_len) {
        frames.push(piece);
        taken += piece.len();
        loop {
            match frames.next_message() {
                Ok(Some(found)) => {
                    let whole = expected.next().and_then(|it| it.strip_suffix(b"\0"));
                    assert_eq!(Some(found), whole, "cut in another place");
                    assert!(found.len() <= MESSAGE_LEN_MAX);
                    message(found);
                }
                Ok(None) => break,
                Err(_) => {
                    let next = expected.next().unwrap_or_default();
                    assert!(next.len() > MESSAGE_LEN_MAX, "{} is not too long", next.len());
                    return;
                }
            }
        }
        assert!(frames.len() <= MESSAGE_LEN_MAX && frames.len() <= taken);
    }
}

fn message(bytes: &[u8]) {
    if let Ok(call) = Call::parse(bytes) {
        let again = Call::parse(without_end(&encode(&call)));
        let again = again.expect("what we write is a call");
        assert_eq!(
            (&again.method, again.more, again.oneway),
            (&call.method, call.more, call.oneway)
        );
        match call.request() {
            Ok(request) => check_request(&request),
            Err(error) => check_error(&error),
        }
    }
    if let Ok(reply) = Reply::parse(bytes) {
        let again = Reply::parse(without_end(&encode(&reply)));
        let again = again.expect("what we write is a reply");
        assert_eq!((&again.error, again.continues), (&reply.error, reply.continues));
        if let Ok(status) = reply.result::<Status>() {
            let reply = format!("{{\"parameters\":{}}}", text(&status));
            let again = Reply::parse(reply.as_bytes()).expect("what we write is a reply");
            assert_eq!(again.result::<Status>(), Ok(status));
        }
    }
}

/// What is asked for can be asked for again.
fn check_request(request: &Request) {
    let call = Call::parse(without_end(&request.encode())).expect("what we write is a call");
    assert_eq!(call.request().as_ref(), Ok(request));
}

/// An error comes back as itself.
fn check_error(error: &CallError) {
    let (name, parameters) = (error.name(), error.parameters());
    assert!(name.contains('.') && parameters.is_object());
    let reply = format!("{{\"error\":{name:?},\"parameters\":{parameters}}}");
    let reply = Reply::parse(reply.as_bytes()).expect("what we write is a reply");
    assert_eq!(reply.result::<Status>().as_ref(), Err(error));
}

fn text(status: &Status) -> String {
    String::from_utf8_lossy(without_end(&encode(status))).into_owned()
}

fn without_end(message: &[u8]) -> &[u8] {
    message.strip_suffix(b"\0").unwrap_or(message)
}

/// So much that a few bytes more are too long for a message.
const NEARLY_TOO_LONG: usize = MESSAGE_LEN_MAX - 64;
