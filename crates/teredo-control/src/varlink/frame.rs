//! Where one message ends and the next begins.

use std::fmt;

use serde::Serialize;

/// Bytes that have come in, cut into messages.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// How many of them belong to messages that have been handed out.
    taken: usize,
    /// How many after those are known to hold no NUL.
    searched: usize,
}

impl Frames {
    /// Adds what has come in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete message, without its NUL.
    ///
    /// # Errors
    /// When there is none, and so much of one that it will be too long. There is then no way to go
    /// on but to close the connection.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let rest = &self.bytes[self.taken..];
        let end = rest[self.searched..].iter().position(|&byte| byte == 0);
        let end = end.map(|at| at + self.searched);
        if end.unwrap_or(rest.len()) > MESSAGE_LEN_MAX {
            return Err(TooLong);
        }
        let Some(end) = end else {
            self.searched = rest.len();
            return Ok(None);
        };
        let start = self.taken;
        self.taken += end + 1;
        self.searched = 0;
        Ok(Some(&self.bytes[start..start + end]))
    }

    /// How much has come in and not been handed out, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Whether nothing is left, not even a piece of a message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A message longer than [`MESSAGE_LEN_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message of more than {MESSAGE_LEN_MAX} bytes")
    }
}

impl std::error::Error for TooLong {}

/// A message as it goes out: JSON, then NUL.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    // Fails only for maps with keys that are no strings, and there are none in our messages.
    let mut bytes = serde_json::to_vec(message).unwrap_or_default();
    bytes.push(0);
    bytes
}

/// The longest message, without its NUL, either way: ten times what the longest of ours needs, and
/// little enough for each of the clients to have one half sent.
pub const MESSAGE_LEN_MAX: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(frames: &mut Frames) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| frames.next_message().unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn messages_come_out_whole_however_they_came_in() {
        let sent = b"one\0\0three\0";
        for piece_len in 1..=sent.len() {
            let mut frames = Frames::default();
            let mut messages = Vec::new();
            for piece in sent.chunks(piece_len) {
                frames.push(piece);
                messages.extend(drain(&mut frames));
            }
            assert_eq!(messages, [&b"one"[..], b"", b"three"], "pieces of {piece_len}");
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn half_a_message_is_none() {
        let mut frames = Frames::default();
        frames.push(b"one\0tw");
        assert_eq!(drain(&mut frames), [b"one"]);
        assert!(!frames.is_empty());
        frames.push(b"o");
        assert!(drain(&mut frames).is_empty());
        frames.push(b"\0");
        assert_eq!(drain(&mut frames), [b"two"]);
    }

    #[test]
    fn the_longest_message_passes_and_one_byte_more_does_not() {
        let longest = vec![b'x'; MESSAGE_LEN_MAX];
        let mut frames = Frames::default();
        frames.push(&longest);
        assert_eq!(frames.next_message(), Ok(None));
        frames.push(b"\0");
        assert_eq!(frames.next_message(), Ok(Some(&longest[..])));
        frames.push(&longest);
        frames.push(b"x");
        assert_eq!(frames.next_message(), Err(TooLong), "before its end has come");
        let mut frames = Frames::default();
        frames.push(&longest);
        frames.push(b"x\0");
        assert_eq!(frames.next_message(), Err(TooLong), "with its end");
    }

    #[test]
    fn what_was_taken_is_not_kept() {
        let mut frames = Frames::default();
        for _ in 0..1000 {
            frames.push(&[b'x'; 1000]);
            frames.push(b"\0");
            assert!(frames.next_message().unwrap().is_some());
        }
        assert!(frames.bytes.capacity() < 10_000);
    }
}
