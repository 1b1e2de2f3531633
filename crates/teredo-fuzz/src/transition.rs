//! Bytes as the things that can happen to a role, the same for all roles.

use std::time::Duration;

use teredo_proto::Local;

use crate::input::Input;
use crate::packets::{Damage, Shape};

/// Something happens. Numbers stand for one of what there is in the role's world.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transition<'a> {
    /// A datagram arrives from an endpoint, with a packet between two addresses.
    Datagram { from: u8, on: Local, between: [u8; 2], shape: Shape, damage: Damage<'a> },
    /// The stack sends a packet between two addresses.
    Packet { between: [u8; 2], shape: Shape, damage: Damage<'a> },
    /// Somebody does what they should with the last but so many of what the role sent.
    Answer { to: u8, from: u8, damage: Damage<'a> },
    /// Time passes.
    Wait(Duration),
    /// The role is drained.
    Drain,
    /// Its owner wants something.
    Command(u8),
}

/// All that an input says, up to a limit that keeps a run short.
pub(crate) fn transitions(mut input: Input<'_>) -> impl Iterator<Item = Transition<'_>> {
    let next = move || (!input.is_empty()).then(|| Transition::decode(&mut input));
    std::iter::from_fn(next).take(TRANSITIONS_MAX)
}

impl<'a> Transition<'a> {
    fn decode(input: &mut Input<'a>) -> Self {
        let first = input.byte();
        match first % 8 {
            0 | 1 => Self::Datagram {
                from: first >> 4,
                on: if first & 8 == 0 { Local::Primary } else { Local::Secondary },
                between: halves(input.byte()),
                shape: Shape::decode(input),
                damage: Damage::decode(input),
            },
            2 | 3 => Self::Packet {
                between: halves(input.byte()),
                shape: Shape::decode(input),
                damage: Damage::decode(input),
            },
            4 => {
                Self::Answer { to: first >> 3 & 7, from: first >> 6, damage: Damage::decode(input) }
            }
            // From milliseconds to hours, about as many of each.
            5 => {
                let word = input.word();
                Self::Wait(Duration::from_millis(u64::from(word & 0xfff) << (word >> 12)))
            }
            6 => Self::Drain,
            _ => Self::Command(first >> 3),
        }
    }
}

fn halves(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0xf]
}

const TRANSITIONS_MAX: usize = 256;
