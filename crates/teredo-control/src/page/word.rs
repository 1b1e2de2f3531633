//! The one word that the page carries.

use std::fmt;
use std::num::NonZeroU16;

use crate::status::{Snapshot, State};

/// Port, state and generation in one 64-bit word, so that they always belong together.
///
/// Bits 0 to 15 are the port (0: none), 16 to 23 the state, 32 to 63 the generation; the rest is 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    pub(crate) fn of(snapshot: &Snapshot, generation: u64) -> Self {
        let port = snapshot.port.map_or(0, NonZeroU16::get);
        let state = STATES.iter().position(|&state| state == snapshot.state).unwrap_or(0);
        // The upper half of the generation is cut off: it tells neighbours apart, no more.
        Self(generation << GENERATION_SHIFT | (state as u64) << STATE_SHIFT | u64::from(port))
    }

    /// The word with these bits, whoever wrote them: every one of them means something.
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The UDP port in use, in host byte order.
    #[inline]
    pub fn port(self) -> Option<NonZeroU16> {
        NonZeroU16::new((self.0 & PORT_MASK) as u16)
    }

    /// The state; a number that this version does not know counts as off-line.
    pub fn state(self) -> State {
        let number = (self.0 >> STATE_SHIFT & STATE_MASK) as usize;
        STATES.get(number).copied().unwrap_or_default()
    }

    /// Differs from that of the snapshot before: the lower half of
    /// [`Status::generation`](crate::Status::generation).
    pub fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Word")
            .field("port", &self.port())
            .field("state", &self.state())
            .field("generation", &self.generation())
            .finish()
    }
}

/// The states by their numbers in the word.
const STATES: [State; 4] = [State::Offline, State::Dormant, State::Probe, State::Qualified];

const PORT_MASK: u64 = 0xffff;
const STATE_SHIFT: u32 = 16;
const STATE_MASK: u64 = 0xff;
const GENERATION_SHIFT: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_come_back() {
        for (number, state) in STATES.into_iter().enumerate() {
            let snapshot = Snapshot { state, port: NonZeroU16::new(0xfedc), ..Snapshot::default() };
            let word = Word::of(&snapshot, 0x1_8765_4321);
            assert_eq!(word.bits(), 0x8765_4321_0000_fedc | (number as u64) << 16);
            assert_eq!((word.state(), word.generation()), (state, 0x8765_4321));
            assert_eq!(word.port(), snapshot.port);
        }
        assert_eq!(Word::of(&Snapshot::default(), 0).bits(), 0);
    }

    #[test]
    fn any_bits_can_be_read() {
        let word = Word::from_bits(u64::MAX);
        assert_eq!((word.state(), word.port()), (State::Offline, NonZeroU16::new(0xffff)));
        assert_eq!(Word::from_bits(0).port(), None);
    }
}
