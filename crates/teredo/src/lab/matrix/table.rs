//! The table, drawn while it is being measured.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Instant;

use teredo_sim::matrix::KINDS;

use super::Results;
use super::cell::Cell;
use super::selection::Pair;
use crate::output;

/// The table. A row is printed when it is complete; on a terminal it fills before one's eyes.
#[derive(Debug)]
pub(super) struct Table {
    started: Instant,
    count: usize,
    done: usize,
    current: Option<Pair>,
    /// The cells of the current row.
    row: Vec<Cell>,
    /// The last pair of each row.
    ends: Vec<Pair>,
    /// Standard output has something else to carry.
    is_aside: bool,
    has_progress: bool,
    has_colours: bool,
}

impl Table {
    /// An empty one, for these pairs. It is printed on standard error if that is where it is not in
    /// the way.
    pub(super) fn new(pairs: &[Pair], is_aside: bool) -> Self {
        let is_end = |at: &usize| pairs.get(at + 1).is_none_or(|next| next.from != pairs[*at].from);
        let ends = (0..pairs.len()).filter(is_end).map(|at| pairs[at]).collect();
        let is_terminal =
            if is_aside { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            started: Instant::now(),
            count: pairs.len(),
            done: 0,
            current: None,
            row: Vec::new(),
            ends,
            is_aside,
            has_progress: io::stderr().is_terminal(),
            has_colours: is_terminal && !no_colour,
        }
    }

    /// A pair's turn comes.
    pub(super) fn begin(&mut self, pair: Pair) -> anyhow::Result<()> {
        if self.done == 0 {
            self.print(&header())?;
        }
        self.current = Some(pair);
        self.tick();
        Ok(())
    }

    /// A pair is done.
    pub(super) fn end(&mut self, cell: &Cell) -> anyhow::Result<()> {
        self.done += 1;
        self.row.push(cell.clone());
        if self.ends.contains(&cell.pair) {
            let row = self.row_text(cell.pair.from);
            self.row.clear();
            self.print(&format!("{row}\n"))?;
        }
        self.current = None;
        Ok(())
    }

    /// Shows how far it is, where that can be shown.
    pub(super) fn tick(&mut self) {
        let Some(pair) = self.current.filter(|_| self.has_progress) else { return };
        let row = self.row_text(pair.from);
        let [from, to] = pair.keys();
        let (done, time_s) = (self.done + 1, self.started.elapsed().as_secs());
        eprint!("\r{CLEAR_LINE}{row} [{from} to {to}: {done} of {}, {time_s} s]", self.count);
    }

    /// Takes back what [`tick`](Self::tick) shows.
    pub(super) fn clear(&self) {
        if self.has_progress {
            eprint!("\r{CLEAR_LINE}");
        }
    }

    /// What there is to say at the end.
    pub(super) fn summary(&self, results: &Results) -> String {
        let mut text = legend(&results.pairs);
        let _ = writeln!(
            text,
            "\n{} of {} pairs connect, in {} s.",
            results.connected, self.count, results.took_s
        );
        let times = results.pairs.iter().filter_map(|cell| Some((cell.first_ms?, cell.pair)));
        if let Some((ms, pair)) = times.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
            let _ = writeln!(text, "The slowest is {pair}: {}.", time_text(ms));
        }
        for cell in results.pairs.iter().filter(|cell| !cell.connected) {
            let error = cell.error.as_deref().unwrap_or_default();
            let need = if cell.must_connect { "" } else { ", as is to be expected" };
            let _ = writeln!(text, "Not connected: {} ({}): {error}{need}", cell.pair, cell.by());
        }
        for cell in results.pairs.iter().filter(|cell| cell.is_late()) {
            let ms = cell.first_ms.unwrap_or_default();
            let _ = writeln!(text, "Late: {}: {ms:.0} ms, limit {} ms", cell.pair, cell.limit_ms);
        }
        text
    }

    /// A row as far as it is known.
    fn row_text(&self, from: usize) -> String {
        let mut text = format!("{:<LABEL_WIDTH$}", KINDS[from]);
        for to in 0..KINDS.len() {
            match self.row.iter().find(|cell| cell.pair.to == to) {
                Some(cell) => text += &self.cell_text(cell),
                None => text += &" ".repeat(CELL_WIDTH),
            }
        }
        text.trim_end().to_owned()
    }

    fn cell_text(&self, cell: &Cell) -> String {
        let time =
            cell.first_ms.filter(|_| cell.connected).map_or_else(|| "-".to_owned(), time_text);
        let time = time.trim_end_matches(" ms").replace(" s", "s");
        let text = format!("{:<CELL_WIDTH$}", format!("{} {time}", cell.by()));
        let colour = match (cell.connected, cell.is_late()) {
            _ if !self.has_colours => return text,
            (false, _) => RED,
            (true, true) => YELLOW,
            (true, false) => GREEN,
        };
        format!("{colour}{text}{PLAIN}")
    }

    /// Prints a part of the table.
    fn print(&self, text: &str) -> anyhow::Result<()> {
        self.clear();
        if self.is_aside {
            // Nobody is left to be told that nobody listens.
            let _ = io::stderr().lock().write_all(text.as_bytes());
            return Ok(());
        }
        output::print(|out| out.write_all(text.as_bytes())).map(drop)
    }
}

fn header() -> String {
    let kinds = KINDS.map(|kind| format!("{kind:<CELL_WIDTH$}")).concat();
    format!(
        "Left is the NAT before the client that begins, above that before the other:\n\
         what connects them, and ms until a packet had gone and its answer come back.\n\n\
         {:LABEL_WIDTH$}{}\n",
        "",
        kinds.trim_end()
    )
}

/// What the words in the table mean, of those that are there.
fn legend(cells: &[Cell]) -> String {
    let is_there = |word: &str| cells.iter().any(|cell| cell.by() == word);
    let words = WORDS.into_iter().filter(|(word, _)| is_there(word));
    let lines = words.map(|(word, meaning)| format!("\n  {word:<4}{meaning}"));
    format!("{}\n", lines.collect::<String>())
}

/// What connects pairs; each is told by itself, because not all are there.
const WORDS: [(&str, &str); 15] = [
    ("Y", "bubbles alone (RFC 4380)"),
    ("S", "symmetric NAT support (RFC 6081)"),
    ("SU", "symmetric NAT support, ports mapped by both gateways (RFC 6081)"),
    ("SP", "symmetric NAT support, port preservation (RFC 6081)"),
    ("SS", "symmetric NAT support, port prediction (RFC 6081)"),
    ("O", "a port mapped by one gateway, as good as a cone NAT"),
    ("P", "the gateway tells the port of a flow (PCP PEER)"),
    ("P/B", "PCP PEER, or birthday probing"),
    ("P/R", "PCP PEER, or a helper"),
    ("D", "a predicted port, opened when the peer has answered"),
    ("L", "the addresses of a NAT with several, named to the peer"),
    ("B", "birthday probing: many ports towards many"),
    ("R", "a helper"),
    ("R1", "a helper carries what goes to this peer"),
    ("R2", "a helper carries all that a client sends"),
];

/// A time in three or four characters and a unit.
fn time_text(ms: f64) -> String {
    match ms {
        ..9.95 => format!("{ms:.1} ms"),
        ..999.5 => format!("{ms:.0} ms"),
        ..9_950.0 => format!("{:.1} s", ms / 1_000.0),
        _ => format!("{:.0} s", ms / 1_000.0),
    }
}

const LABEL_WIDTH: usize = 5;
const CELL_WIDTH: usize = 8;
/// What erases the rest of a terminal's line.
const CLEAR_LINE: &str = "\x1b[K";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let texts = [0.34, 9.96, 250.9, 999.6, 2_044.0, 12_400.0].map(time_text);
        assert_eq!(texts, ["0.3 ms", "10 ms", "251 ms", "1.0 s", "2.0 s", "12 s"]);
    }

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        assert!(header().lines().all(|line| line.len() <= 80), "{}", header());
        const { assert!(LABEL_WIDTH + 9 * CELL_WIDTH <= 80) };
    }
}
