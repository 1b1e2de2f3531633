//! Random worlds: any bytes are one, with all that happens in it and what must hold.
//!
//! [`run`] decodes bytes as the seed of a world and a list of transitions: hosts, NATs and links
//! appear, hosts talk, links go bad, NATs and roles start again, hosts move, sleep and wake, an
//! attacker writes to everybody. There is peace in the end, and who must be reachable has to
//! answer. After every transition the world is held against what must hold: the books of each role
//! ([`Offence`](crate::Offence)), deliveries, limits.
//!
//! Every byte string is a valid scenario of limited size, so that one harness serves seeds
//! ([`bytes`]), property tests that shrink and fuzzers that mutate. A transition takes
//! [`RECORD_LEN`] bytes, so that one taken out leaves the others what they were.

mod act;
mod attacker;
mod cast;
mod helped;
mod transition;
mod verdict;

use core::fmt::Write;
use core::time::Duration;

use teredo_proto::random::Random;

use crate::world::Violation;
use crate::{HostId, NatId, Stopped, World};

use cast::Member;
use helped::Helper;
use transition::Transition;
pub use transition::{RECORD_LEN, TRANSITIONS_MAX};

/// What a run without violation was like.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Hash of every byte on every wire.
    pub trace: u64,
    /// Packets on all wires.
    pub frames: u64,
    /// Packets of test data that stacks sent.
    pub packets_sent: u64,
    /// Those that arrived.
    pub packets_delivered: u64,
    /// How long the world lasted.
    pub simulated: Duration,
    /// The most bubbles that one role sent to one destination in ten seconds.
    pub most_bubbles: usize,
    /// Pairs of hosts that had to connect, and did.
    pub connections: u64,
    /// What happened, for those who watch.
    pub story: String,
    /// A capture file of each wire, for those who watch.
    pub captures: Vec<(String, Vec<u8>)>,
}

/// A violation.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What should not have been.
    pub what: String,
    /// What happened before.
    pub story: String,
    /// A capture file of each wire, for those who watch.
    pub captures: Vec<(String, Vec<u8>)>,
}

/// Runs the scenario that the bytes are; somebody who watches wants the story and the captures.
///
/// # Errors
/// The first violation.
pub fn run(bytes: &[u8], watched: bool) -> Result<Outcome, Failure> {
    let mut scenario = Scenario::new(bytes);
    if watched {
        scenario.world.trace_mut().keep_frames();
    }
    let played = scenario.play(transition::decode(bytes));
    let captures = if watched { scenario.world.captures() } else { Vec::new() };
    match played {
        Ok(()) => Ok(scenario.outcome(watched, captures)),
        Err(what) => Err(Failure { what, story: scenario.story(), captures }),
    }
}

/// The scenario of a number: a few hosts of each sort to begin with, then anything.
pub fn bytes(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seeded(*b"scenario: hosts and what happens", seed));
    let mut bytes = seed.to_be_bytes().to_vec();
    for (first, count) in transition::beginning(&mut random) {
        for _ in 0..count {
            let mut record: [u8; RECORD_LEN] = random.bytes();
            (record[0], record[RECORD_LEN - 1]) = (first, 0);
            bytes.extend(record);
        }
    }
    for _ in 0..20 + random.below(30) {
        bytes.extend::<[u8; RECORD_LEN]>(random.bytes());
    }
    bytes
}

/// A world on its way through a scenario.
struct Scenario {
    world: World,
    servers: Vec<HostId>,
    /// Which of them pass on bubbles from any endpoint.
    any_endpoint: Vec<bool>,
    relays: Vec<HostId>,
    host_relays: Vec<HostId>,
    natives: Vec<HostId>,
    helpers: Vec<Helper>,
    members: Vec<Member>,
    nats: Vec<NatId>,
    attacker: HostId,
    /// What was sent to the attacker.
    seen: Vec<Vec<u8>>,
    connections: u64,
    /// What was done, and when.
    done: Vec<(Duration, Transition)>,
}

impl Scenario {
    fn new(bytes: &[u8]) -> Self {
        let mut seed = [0; 8];
        for (seed, byte) in seed.iter_mut().zip(bytes) {
            *seed = *byte;
        }
        let mut world = World::new(u64::from_be_bytes(seed));
        world.audit();
        let servers = vec![world.add_server()];
        let attacker = world.add_plain_host(crate::Place::Internet);
        Self {
            world,
            servers,
            any_endpoint: vec![false],
            relays: Vec::new(),
            host_relays: Vec::new(),
            natives: Vec::new(),
            helpers: Vec::new(),
            members: Vec::new(),
            nats: Vec::new(),
            attacker,
            seen: Vec::new(),
            connections: 0,
            done: Vec::new(),
        }
    }

    fn play(
        &mut self,
        transitions: impl Iterator<Item = (Transition, Duration)>,
    ) -> Result<(), String> {
        for (transition, pause) in transitions {
            self.done.push((self.world.elapsed(), transition));
            self.act(&transition);
            self.pass(pause)?;
        }
        self.make_peace();
        self.pass(verdict::PEACE)?;
        self.check_books()?;
        self.check_reach()?;
        self.check_ports()
    }

    /// Lets time pass, and looks at what has come of it.
    fn pass(&mut self, duration: Duration) -> Result<(), String> {
        self.world.run_for(duration).map_err(|stopped| describe(&stopped))?;
        self.check_always()
    }

    fn outcome(&self, watched: bool, captures: Vec<(String, Vec<u8>)>) -> Outcome {
        let (sent, delivered) = self.world.data_totals();
        Outcome {
            trace: self.world.trace().hash(),
            frames: self.world.trace().frame_count(),
            packets_sent: sent as u64,
            packets_delivered: delivered as u64,
            simulated: self.world.elapsed(),
            most_bubbles: self.world.most_bubbles(),
            connections: self.connections,
            story: if watched { self.story() } else { String::new() },
            captures,
        }
    }

    /// What was done, then what the hosts told.
    fn story(&self) -> String {
        let mut story = String::new();
        for (at, transition) in &self.done {
            // Writing to a String does not fail.
            let _ = writeln!(story, "{:10.4} {transition:?}", at.as_secs_f64());
        }
        for member in &self.members {
            let _ = writeln!(story, "{member:?}");
        }
        story + &self.world.log_text()
    }
}

fn describe(stopped: &Stopped) -> String {
    if let Stopped::Violation(Violation::Offended(host, offence)) = stopped {
        return format!("{host:?}: {offence:?}");
    }
    stopped.to_string()
}

/// A seed of a purpose and a number.
fn seeded(purpose: [u8; 32], number: u64) -> [u8; 32] {
    let mut seed = purpose;
    seed[..8].copy_from_slice(&number.to_be_bytes());
    seed
}
