//! A whole simulated Internet: hosts, NATs, faults and an attacker, against the books of each role.

use teredo_sim::scenario;

pub(crate) fn run(bytes: &[u8]) {
    let failed = scenario::run(bytes, false).err();
    let failed = failed.map(|failure| failure.what + "\n" + &failure.story);
    assert_eq!(failed, None);
}

/// A few of the random worlds.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    (0..SEEDS).map(scenario::bytes).collect()
}

const SEEDS: u64 = 8;
