//! One pair of NATs.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use teredo_proto::client::Traversal;
use teredo_sim::Stopped;
use teredo_sim::matrix::{Connection, KINDS, Options, Technique, connect, target};

use super::Runs;

/// All runs of one pair.
pub(super) struct Cell {
    kinds: [usize; 2],
    seeds: u64,
    took: Vec<Duration>,
    bubbles: Vec<usize>,
    /// The first seeds that did not connect.
    failed: Vec<u64>,
    /// How many needed which rung of [`LADDER`].
    by: BTreeMap<usize, u64>,
}

impl Cell {
    pub(super) fn run(kinds: [usize; 2], runs: &Runs) -> Result<Self, String> {
        let mut cell = Self {
            kinds,
            seeds: runs.seeds,
            took: Vec::new(),
            bubbles: Vec::new(),
            failed: Vec::new(),
            by: BTreeMap::new(),
        };
        let options = Options { traversals: runs.techniques, ..Options::both(Traversal::NONE) };
        let options = options.with_loss(runs.loss_permille);
        for seed in runs.first..runs.first + runs.seeds {
            let connection = connect(seed, kinds, &options).map_err(|stopped| {
                format!("{} to {}, seed {seed}: {stopped}", KINDS[kinds[0]], KINDS[kinds[1]])
            })?;
            let Connection { took: Some(took), bubbles } = connection else {
                cell.failed.push(seed);
                continue;
            };
            cell.took.push(took);
            cell.bubbles.push(bubbles);
            if runs.says_by {
                *cell.by.entry(rung(seed, kinds, &options)?).or_default() += 1;
            }
        }
        cell.took.sort_unstable();
        cell.bubbles.sort_unstable();
        Ok(cell)
    }

    pub(super) fn json(&self) -> String {
        let [from, to] = self.kinds;
        let failed: Vec<String> =
            self.failed.iter().take(FAILED_MAX).map(ToString::to_string).collect();
        format!(
            "{{\"from\":\"{}\",\"to\":\"{}\",\"rfc6081\":\"{}\",\"target\":\"{}\",\"seeds\":{},\
             \"connected\":{},\"median_ms\":{},\"worst_ms\":{},\"bubbles\":{},\"by\":\"{}\",\
             \"failed_seeds\":[{}]}}",
            KINDS[from],
            KINDS[to],
            Technique::of(from, to).name(),
            target(from, to),
            self.seeds,
            self.took.len(),
            number(self.took.get(self.took.len() / 2).map(Duration::as_millis)),
            number(self.took.last().map(Duration::as_millis)),
            number(self.bubbles.get(self.bubbles.len() / 2)),
            self.by(),
            failed.join(","),
        )
    }

    /// What the pair needs, and how often if that is not always the same.
    fn by(&self) -> String {
        let mut by: Vec<(u64, &str)> =
            self.by.iter().map(|(rung, count)| (*count, LADDER[*rung].0)).collect();
        by.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        match by[..] {
            [(_, one)] => one.to_owned(),
            _ => by
                .iter()
                .map(|(count, name)| format!("{name}:{count}"))
                .collect::<Vec<_>>()
                .join(" "),
        }
    }
}

/// The first rung of [`LADDER`] on which this run connects: of all techniques the least that it
/// needs.
fn rung(seed: u64, kinds: [usize; 2], options: &Options) -> Result<usize, String> {
    let mut techniques = Traversal::NONE;
    for (rung, (_, more)) in LADDER.iter().enumerate() {
        techniques = techniques.with(*more);
        let beyond = Traversal::ALL.without(techniques);
        let traversals = options.traversals.map(|all| all.without(beyond));
        match connect(seed, kinds, &Options { traversals, ..*options }) {
            Ok(Connection { took: Some(_), .. }) => return Ok(rung),
            // A client of RFC 4380 alone does not qualify behind a symmetric NAT.
            Ok(Connection { took: None, .. }) | Err(Stopped::Late) => {}
            Err(stopped) => return Err(format!("seed {seed} with {techniques}: {stopped}")),
        }
    }
    Ok(LADDER.len() - 1)
}

fn number(value: Option<impl Display>) -> String {
    value.map_or("null".to_owned(), |value| value.to_string())
}

/// The techniques in the order in which they are to be preferred, each with those before it; the
/// names are those of the target.
const LADDER: [(&str, Traversal); 9] = [
    ("Y", Traversal::NONE),
    ("S", Traversal { symmetric: true, hairpin: true, load_reduction: true, ..Traversal::NONE }),
    ("SU", Traversal { mapped_symmetric: true, ..Traversal::NONE }),
    ("SP", Traversal { port_preserving: true, ..Traversal::NONE }),
    ("SS", Traversal { sequential: true, ..Traversal::NONE }),
    ("D", Traversal { deferred_open: true, peer_mapping: true, ..Traversal::NONE }),
    ("L", Traversal { address_pool: true, ..Traversal::NONE }),
    ("B", Traversal { birthday: true, ..Traversal::NONE }),
    ("R", Traversal { helper: true, ..Traversal::NONE }),
];

/// Failures that are named.
const FAILED_MAX: usize = 5;
