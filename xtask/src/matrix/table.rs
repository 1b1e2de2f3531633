//! What came of all pairs of two clients.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::goal::{Clients, Goal};

/// What came of one pair, as the simulator says it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Cell {
    pub(super) from: String,
    pub(super) to: String,
    /// What RFC 6081 connects it by; "-" if by nothing.
    pub(super) rfc6081: String,
    /// What is to connect it.
    pub(super) target: String,
    seeds: u32,
    connected: u32,
    /// Until data had gone both ways.
    median_ms: Option<u32>,
    worst_ms: Option<u32>,
    /// Datagrams with bubbles that both clients sent until then; the median.
    bubbles: Option<u32>,
    /// The least of the techniques that it took, and how often, if that differs.
    by: String,
    failed_seeds: Vec<u64>,
}

/// All pairs, in the order of the RFC's figure.
#[derive(Debug)]
pub(super) struct Table {
    clients: &'static Clients,
    cells: BTreeMap<(usize, usize), Cell>,
}

impl Table {
    pub(super) fn parse(clients: &'static Clients, lines: &str) -> Result<Self> {
        let cells: Vec<Cell> = lines
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .context("the simulator said something else")?;
        let place = |kind: &str| {
            KINDS.iter().position(|it| *it == kind).with_context(|| format!("what is {kind}?"))
        };
        let mut placed = BTreeMap::new();
        for cell in cells {
            placed.insert((place(&cell.from)?, place(&cell.to)?), cell);
        }
        ensure!(placed.len() == KINDS.len() * KINDS.len(), "{} pairs", placed.len());
        Ok(Self { clients, cells: placed })
    }

    /// The pairs that do not connect as they are to, a line for each.
    pub(super) fn wrong(&self) -> String {
        let is_wrong = |cell: &&Cell| match self.clients.goal(cell) {
            Goal::All => cell.connected != cell.seeds,
            Goal::None => cell.connected != 0,
            Goal::Any => false,
        };
        self.lines(is_wrong)
    }

    /// The pairs that are to connect and do so in less than so many runs of a hundred.
    pub(super) fn poor(&self, percent: u32) -> String {
        let is_poor = |cell: &&Cell| {
            self.clients.goal(cell) == Goal::All && cell.connected * 100 < cell.seeds * percent
        };
        self.lines(is_poor)
    }

    fn lines(&self, is_named: impl Fn(&&Cell) -> bool) -> String {
        let mut lines = String::new();
        for cell in self.cells.values().filter(is_named) {
            let Cell { from, to, target, seeds, connected, failed_seeds, .. } = cell;
            let name = self.clients.name;
            let _ = write!(lines, "{name}: {from} to {to} ({target}): {connected} of {seeds}");
            if !failed_seeds.is_empty() {
                let _ = write!(lines, ", not with seeds {failed_seeds:?}");
            }
            lines.push('\n');
        }
        lines
    }

    pub(super) fn json(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            clients: &'static str,
            #[serde(flatten)]
            cell: &'a Cell,
        }
        let lines = self.cells.values().map(|cell| {
            let line = serde_json::to_string(&Line { clients: self.clients.name, cell })?;
            Ok(line + "\n")
        });
        lines.collect()
    }

    /// A row for the NAT before the client that begins, a column for that before the other one.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n{:>6}", self.clients.what, "");
        for kind in KINDS {
            let _ = write!(text, "{kind:>16}");
        }
        for (row, kind) in KINDS.iter().enumerate() {
            let _ = write!(text, "\n{kind:>6}");
            for column in 0..KINDS.len() {
                let cell = self.cells.get(&(row, column)).map(Cell::text).unwrap_or_default();
                let _ = write!(text, "{cell:>16}");
            }
        }
        text + "\n"
    }
}

impl Cell {
    fn text(&self) -> String {
        let Self { seeds, connected, .. } = self;
        if *connected == 0 {
            return "-".to_owned();
        }
        let by = self.by.split(':').next().unwrap_or_default();
        match (self.median_ms, self.worst_ms, self.bubbles) {
            (Some(median), Some(worst), Some(bubbles)) if connected == seeds => {
                format!("{by} {median}/{worst} {bubbles}").trim_start().to_owned()
            }
            _ => format!("{by} !{connected}/{seeds}").trim_start().to_owned(),
        }
    }
}

/// The file of figures.
pub(super) fn csv(tables: &[Table]) -> String {
    let mut text = String::from(
        "clients,from,to,rfc6081,target,seeds,connected,median_ms,worst_ms,bubbles,by\n",
    );
    for table in tables {
        for cell in table.cells.values() {
            let Cell { from, to, rfc6081, target, seeds, connected, by, .. } = cell;
            let number = |value: Option<u32>| value.map(|it| it.to_string()).unwrap_or_default();
            let [median, worst, bubbles] =
                [cell.median_ms, cell.worst_ms, cell.bubbles].map(number);
            let _ = writeln!(
                text,
                "{},{from},{to},{rfc6081},{target},{seeds},{connected},{median},{worst},{bubbles},\
                 {by}",
                table.clients.name,
            );
        }
    }
    text
}

pub(super) const LEGEND: &str = "\
The least of the techniques that connects the pair (most often, if that differs), median and longest
time in ms until data had gone both ways, bubbles; `!` and how many connected where it was not all
of them, `-` for none. Y: RFC 4380. RFC 6081: S symmetric NAT support, SU with UPnP, SP with kept
ports, SS with predicted ones. Beyond: D deferred opening, L address pool, B birthday probing, R a
helper.
";

/// The kinds of NAT in the order of the RFC's figure.
const KINDS: [&str; 9] = ["cone", "ar", "pr", "upr", "ups", "pp", "seq", "ps", "addr"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::goal::CLIENTS;

    /// The table of two clients: those of RFC 6081, ours, ours with a standard peer.
    fn table(clients: usize, change: impl Fn(&mut Cell)) -> Table {
        let mut lines = String::new();
        for from in KINDS {
            for to in KINDS {
                let mut cell = Cell {
                    from: from.to_owned(),
                    to: to.to_owned(),
                    rfc6081: "S".to_owned(),
                    target: "S".to_owned(),
                    seeds: 100,
                    connected: 100,
                    median_ms: Some(100),
                    worst_ms: Some(200),
                    bubbles: Some(4),
                    by: "S:70 SP:30".to_owned(),
                    failed_seeds: Vec::new(),
                };
                change(&mut cell);
                lines += &(serde_json::to_string(&cell).unwrap() + "\n");
            }
        }
        Table::parse(&CLIENTS[clients], &lines).unwrap()
    }

    /// All pairs as they are to be, but for that of two kinds.
    fn but(clients: usize, kinds: [&'static str; 2], change: impl Fn(&mut Cell)) -> Table {
        table(clients, |cell| {
            if [cell.from.as_str(), cell.to.as_str()] == kinds {
                change(cell);
            }
        })
    }

    #[test]
    fn a_pair_that_does_not_connect_is_named() {
        for clients in 0..CLIENTS.len() {
            assert_eq!(table(clients, |_| {}).wrong(), "");
            let fails = but(clients, ["pr", "pp"], |cell| {
                (cell.connected, cell.failed_seeds) = (99, vec![9]);
            });
            let said = "pr to pp (S): 99 of 100, not with seeds [9]\n";
            assert!(fails.wrong().ends_with(said), "{}", fails.wrong());
            assert_eq!(fails.poor(99), "");
            assert_eq!(fails.poor(100), fails.wrong());
        }
    }

    #[test]
    fn what_the_rfc_denies_may_not_connect_without_reason() {
        let exceeds = |kind| but(0, [kind, "ps"], |cell| cell.rfc6081 = "-".to_owned());
        assert_eq!(exceeds("upr").wrong(), "");
        assert!(exceeds("ps").wrong().contains("ps to ps"));
        let beyond = |clients, kinds| {
            but(clients, kinds, |cell| {
                (cell.rfc6081, cell.target) = ("-".to_owned(), "D".to_owned());
                cell.connected = 0;
            })
        };
        assert!(beyond(1, ["seq", "pp"]).wrong().contains("everything: seq to pp (D): 0 of 100"));
        assert!(
            beyond(2, ["seq", "pp"]).wrong().contains("standard-peer: seq to pp (D): 0 of 100")
        );
        assert_eq!(beyond(2, ["seq", "ups"]).wrong(), "");
    }

    #[test]
    fn a_table_has_all_pairs() {
        let table = table(0, |_| {});
        assert_eq!(table.text().matches("S 100/200 4").count(), 81);
        assert_eq!(table.json().unwrap().lines().count(), 81);
        assert_eq!(csv(&[table]).lines().count(), 82);
        let clients = &CLIENTS[0];
        assert!(Table::parse(clients, "{}").is_err() && Table::parse(clients, "").is_err());
    }
}
