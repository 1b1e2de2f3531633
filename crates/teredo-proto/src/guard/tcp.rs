//! As much of a TCP connection as says how long it is worth remembering.
//!
//! Sequence numbers are the stack's to check: it knows the windows, and what it finds outside them
//! it drops. Here it matters only that nobody else opens a connection, or has one forgotten.

/// How far a connection is that our side opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    /// Our stack has taken the other side's answer to its SYN.
    is_open: bool,
    /// The number of the next byte from there, as our stack has said last.
    awaited: u32,
    has_sent_fin: bool,
    has_received_fin: bool,
    /// Somebody reset it, and our stack has said nothing since.
    is_reset: bool,
}

/// What matters here of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) flags: Flags,
}

/// The flags of a segment that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Connection {
    /// Notes a segment of our stack.
    pub(super) fn note_sent(&mut self, segment: Segment) {
        let flags = segment.flags;
        if flags.has(ACK) {
            self.awaited = segment.acknowledgment;
        }
        if flags.opens() {
            *self = Self::default();
        } else if flags.has(RST) {
            self.is_reset = true;
        } else if !flags.has(SYN) {
            // Our stack goes on: if there was a reset, it was forged or too old.
            self.is_reset = false;
            self.is_open = true;
            self.has_sent_fin |= flags.has(FIN);
        }
    }

    /// Notes a segment for our stack that was let in.
    pub(super) fn note_received(&mut self, segment: Segment) {
        let Segment { sequence, flags, .. } = segment;
        // Our stack says nothing to a reset that it does not believe, so that one would stay noted.
        let is_awaited = sequence.wrapping_sub(self.awaited) < RESET_WINDOW;
        self.is_reset |= flags.has(RST) && (is_awaited || !self.is_open);
        self.has_received_fin |= flags.has(FIN);
    }

    /// Whether a segment for our stack may belong to this connection. A SYN by itself opens another
    /// one, except when both sides open at once (RFC 9293 section 3.5).
    pub(super) fn takes(&self, flags: Flags) -> bool {
        !flags.opens() || !(self.is_open || self.is_reset)
    }

    /// Whether the connection is established, half closed included (RFC 5382 section 5).
    pub(super) fn is_established(&self) -> bool {
        self.is_open && !self.is_reset && !(self.has_sent_fin && self.has_received_fin)
    }
}

impl Flags {
    pub(super) fn new(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether this is the first segment of a connection: a SYN that answers nothing.
    pub(super) fn opens(self) -> bool {
        self.has(SYN) && !self.has(ACK) && !self.has(RST)
    }

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// How far a reset may be ahead of what our stack has said: more than it takes without a word, and
/// so little that guessing takes 32,768 attempts for each port that the connection may have. A
/// stack wants the exact number (RFC 5961 section 3.2).
const RESET_WINDOW: u32 = 1 << 17;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The connection after these segments: `>` ours, `<` theirs, with the first letters of flags.
    fn after(segments: &str) -> Connection {
        let mut connection = Connection::default();
        for segment in segments.split_whitespace() {
            let flags = Flags::new(segment[1..].chars().fold(0, |flags, letter| {
                flags
                    | match letter {
                        'S' => SYN,
                        'A' => ACK,
                        'F' => FIN,
                        'R' => RST,
                        _ => panic!("{letter}"),
                    }
            }));
            let passed = Segment { flags, ..Segment::default() };
            if segment.starts_with('>') {
                connection.note_sent(passed);
            } else {
                assert!(connection.takes(flags), "{segment} of {segments}");
                connection.note_received(passed);
            }
        }
        connection
    }

    #[test]
    fn a_connection_is_established_from_our_answer_to_the_last_fin() {
        for (segments, expected) in [
            (">S", false),
            (">S <SA", false),
            (">S <SA >A", true),
            (">S <S >SA <A >A", true), // both open at once
            (">S <SA >A >FA", true),
            (">S <SA >A <FA >A", true),
            (">S <SA >A <FA >FA <A", false),
            (">S <SA >A >FA <FA >A", false),
            (">S <SA >A >R", false),
            (">S <RA", false),
            (">S <SA >A >FA <FA >A >S", false), // the port is used again
            (">S <SA >A >FA <FA >A >S <SA >A", true),
        ] {
            assert_eq!(after(segments).is_established(), expected, "{segments}");
        }
    }

    #[test]
    fn a_forged_reset_does_not_end_a_connection_that_goes_on() {
        assert!(!after(">S <SA >A <R").is_established());
        assert!(after(">S <SA >A <R >A").is_established());
    }

    #[test]
    fn nobody_opens_a_connection_where_one_is_or_was() {
        let syn = Flags::new(SYN);
        assert!(after(">S").takes(syn));
        for segments in [">S <SA >A", ">S <SA >A >FA <FA >A", ">S <RA", ">S <SA >A >R"] {
            assert!(!after(segments).takes(syn), "{segments}");
            assert!(after(segments).takes(Flags::new(ACK)), "{segments}");
        }
    }
}
