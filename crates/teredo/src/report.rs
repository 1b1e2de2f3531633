//! What a running role tells: steps in words on standard error, facts as JSON on standard output.

use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;
use teredo_engine::Tally;
use teredo_proto::Counters;

use crate::exit::unbroken;

/// Where a role's messages go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    json: bool,
    started: Instant,
}

impl Report {
    /// Starts the clock of [`elapsed_ms`](Self::elapsed_ms). Facts are only printed with `json`.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, started: Instant::now() }
    }

    /// Tells a step to people, in one line.
    pub(crate) fn say(&self, text: &str) {
        // Nobody is left to be told that nobody listens.
        let _ = writeln!(io::stderr().lock(), "teredo: {}", unbroken(text));
    }

    /// Tells a fact to programs, one object a line, at once.
    pub(crate) fn fact(&self, fact: &impl Serialize) {
        if !self.json {
            return;
        }
        let mut line = serde_json::to_string(fact).unwrap_or_default();
        line.push('\n');
        // Standard output is not buffered past a line; a reader that is gone is no failure.
        let _ = io::stdout().lock().write_all(line.as_bytes());
    }

    /// Milliseconds since the program started, to the microsecond.
    pub(crate) fn elapsed_ms(&self) -> f64 {
        self.started.elapsed().as_micros() as f64 / 1_000.0
    }

    /// Tells the traffic of a role that has ended.
    pub(crate) fn say_traffic(&self, tally: &Tally, counters: &Counters) {
        self.say_traffic_of("stopped", tally, counters);
    }

    /// The same of one of several, by name.
    pub(crate) fn say_traffic_of(&self, what: &str, tally: &Tally, counters: &Counters) {
        let mut text = format!("{what}; {tally}");
        let drops = counters.drops().filter(|(_, count)| *count > 0);
        let drops: Vec<_> =
            drops.map(|(reason, count)| format!("{} {count}", reason.name())).collect();
        if !drops.is_empty() {
            text.push_str(&format!("; dropped: {}", drops.join(", ")));
        }
        self.say(&text);
    }
}
