//! One run of one pair of clients, to look at: what happened on every wire, in simulated time.
//!
//! `replay seq pr --seed 7 --log` prints the story; `--pcap FILE` writes it as a capture file, an
//! interface for each wire, which tshark, Wireshark and `teredo decode` read.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a program with arguments and output; what it runs has none"
)]

use std::process::ExitCode;
use std::time::Duration;

use teredo_sim::matrix::connect_in;
use teredo_sim::predicate::{Side, verdict};
use teredo_sim::{Link, World};

const USAGE: &str = "\
usage: replay FROM TO [--seed N] [--techniques NAMES] [--peer NAMES] [--loss PERMILLE]
              [--pcap FILE] [--log]
       replay --draw N [the same]
FROM and TO are what is before the client that begins and before the other one: none, cone, ar, pr,
upr, ups, pp, seq, ps, addr, or several, from the innermost on: pr+cone. --draw takes any NATs by a
number, as the tests do. NAMES are techniques of the client: rfc6081 (which it is unless told), all,
none, symmetric,birthday and so on; --peer is for the other client.";

fn main() -> ExitCode {
    let Some(replay) = Replay::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut world = World::new(replay.seed);
    world.trace_mut().keep_frames();
    let link = Link { loss_permille: replay.loss_permille, ..Link::perfect(Duration::ZERO) };
    let connection = connect_in(&mut world, replay.seed, &replay.sides, link);
    if replay.says_all {
        print!("{}", world.story());
    }
    if let Some(path) = &replay.capture
        && let Err(error) = std::fs::write(path, world.capture())
    {
        eprintln!("{path}: {error}");
        return ExitCode::FAILURE;
    }
    let [from, to] = &replay.sides;
    println!("from: {from}\nto: {to}\nseed {}: {}", replay.seed, verdict(from, to));
    match connection {
        Ok(connection) => match connection.took {
            Some(took) => println!("connected after {took:.3?}, {} bubbles", connection.bubbles),
            None => println!("not connected, {} bubbles", connection.bubbles),
        },
        Err(stopped) => println!("a client is not qualified, or worse: {stopped}"),
    }
    ExitCode::SUCCESS
}

struct Replay {
    sides: [Side; 2],
    seed: u64,
    loss_permille: u16,
    capture: Option<String>,
    says_all: bool,
}

impl Replay {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut given = Vec::new();
        let (mut seed, mut loss_permille, mut capture, mut says_all) = (None, 0, None, false);
        let (mut drawn, mut own, mut peer) = (None, None, None);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--log" => says_all = true,
                "--seed" => seed = Some(words.next()?.parse().ok()?),
                "--draw" => drawn = Some(words.next()?.parse().ok()?),
                "--techniques" => own = Some(words.next()?.parse().ok()?),
                "--peer" => peer = Some(words.next()?.parse().ok()?),
                "--loss" => loss_permille = words.next()?.parse().ok()?,
                "--pcap" => capture = Some(words.next()?),
                side => given.push(side.parse().ok()?),
            }
        }
        let mut sides = match drawn {
            Some(drawn) if given.is_empty() => Side::draw_pair(drawn),
            Some(_) => return None,
            None => given.try_into().ok()?,
        };
        let [first, second] = &mut sides;
        first.traversal = own.unwrap_or(first.traversal);
        second.traversal = peer.or(own).unwrap_or(second.traversal);
        let seed = seed.or(drawn).unwrap_or(1);
        Some(Self { sides, seed, loss_permille, capture, says_all })
    }
}
