//! One pair: its lab, and what came of it.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde::{Deserialize, Serialize};
use teredo_proto::client::Traversal;
use teredo_sim::matrix::{self, Technique};

use super::Args;
use super::selection::Pair;
use crate::lab::pair::PairResult;

/// What came of a pair; times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Cell {
    #[serde(skip)]
    pub(super) pair: Pair,
    from: &'static str,
    to: &'static str,
    /// What connects it by RFC 6081, "-" if nothing does.
    rfc6081: &'static str,
    /// What is to connect it.
    target: &'static str,
    /// Whether it must connect, with what the clients may use.
    pub(super) must_connect: bool,
    /// Whether data went both ways, whichever side began.
    pub(super) connected: bool,
    /// What has connected it.
    by: Option<Cow<'static, str>>,
    /// From the first packet to the first answer.
    pub(super) first_ms: Option<f64>,
    /// Whether the first packet was the one that was answered.
    first_kept: Option<bool>,
    back_ms: Option<f64>,
    /// What [`first_ms`](Self::first_ms) must not exceed.
    pub(super) limit_ms: u64,
    /// Why it does not connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// The lab of one pair.
pub(super) fn command(program: &Path, pair: Pair, args: &Args) -> Command {
    let mut command = Command::new(program);
    let [from, to] = pair.keys();
    command
        .args(["lab", "--json", "--nat", &format!("{from},{to}")])
        .args(["--delay", &args.delay.to_string()])
        .args(["--pair", &args.patience.to_string()])
        .args(args.techniques.words())
        .stdin(Stdio::null());
    if let Some(directory) = &args.trace {
        command.arg("--trace").arg(directory.join(format!("{from}-{to}")));
    }
    command
}

/// What of a lab's results counts here.
#[derive(Deserialize)]
struct LabResults {
    pair: Option<PairResult>,
    error: Option<String>,
}

impl Cell {
    /// What the lab of a pair has left.
    pub(super) fn of(pair: Pair, output: &Output, args: &Args) -> Self {
        let [from, to] = pair.keys();
        let rfc6081 = Technique::of(pair.from, pair.to).name();
        let target = matrix::target(pair.from, pair.to);
        let parsed = serde_json::from_slice::<LabResults>(&output.stdout);
        let (found, error) = match parsed {
            Ok(results) => (results.pair.unwrap_or_default(), results.error),
            Err(_) => (PairResult::default(), Some(format!("the lab ended ({})", output.status))),
        };
        let connected = found.first_ms.is_some() && found.back_ms.is_some();
        let silence =
            if found.first_ms.is_some() { "no answer the other way" } else { "no answer" };
        let error = error.or_else(|| (!connected).then(|| silence.to_owned()));
        Self {
            pair,
            from,
            to,
            rfc6081,
            target,
            must_connect: must_connect(pair, args.techniques.traversal()),
            connected,
            by: found.by.filter(|_| connected),
            first_ms: found.first_ms,
            first_kept: found.answered.map(|sequence| sequence == 0),
            back_ms: found.back_ms,
            limit_ms: limit_ms(pair, args.delay),
            error,
        }
    }

    /// Whether it took longer than it should.
    pub(super) fn is_late(&self) -> bool {
        self.first_ms.is_some_and(|first_ms| first_ms > self.limit_ms as f64)
    }

    /// What connects it, or is to connect it, in a word.
    pub(super) fn by(&self) -> &str {
        self.by.as_deref().unwrap_or(self.target)
    }
}

/// Whether these techniques connect a pair.
fn must_connect(pair: Pair, techniques: Traversal) -> bool {
    let beyond = match matrix::target(pair.from, pair.to) {
        "O" => techniques.symmetric,
        "D" => techniques.deferred_open,
        "L" => techniques.address_pool,
        "B" | "P/B" => techniques.birthday,
        _ => false,
    };
    Technique::of(pair.from, pair.to).is_in(techniques) || beyond || techniques.helper
}

/// What the first answer must not take longer than: of a pair that RFC 6081 connects, six round
/// trips to the server and [`SLACK_MS`], and where the two seconds between two bubbles to one peer
/// (RFC 4380 section 5.2.6) stand in the way, those too; of all others half a minute.
fn limit_ms(pair: Pair, delay_ms: u64) -> u64 {
    if Technique::of(pair.from, pair.to) == Technique::None {
        return OTHERS_MS;
    }
    let waits = BOUND_BY_BUBBLE_GAP.contains(&pair.keys());
    let gap_ms = if waits { BUBBLE_GAP_MS } else { 0 };
    6 * 4 * delay_ms + SLACK_MS + gap_ms
}

/// Pairs in which the exchange of RFC 6081 needs a second attempt. There are none: a peer that has
/// just been proven is answered at once, where the RFC waits for the next attempt.
const BOUND_BY_BUBBLE_GAP: [[&str; 2]; 0] = [];
const BUBBLE_GAP_MS: u64 = 2_200;
/// For what is no distance: processes, and a busy machine.
const SLACK_MS: u64 = 100;
const OTHERS_MS: u64 = 30_000;

const COLUMNS: &str =
    "from,to,rfc6081,target,must_connect,connected,by,first_ms,first_kept,back_ms,limit_ms,error";

/// The pairs, one a line.
pub(super) fn csv(cells: &[Cell]) -> String {
    let mut text = format!("{COLUMNS}\n");
    for cell in cells {
        let Cell { from, to, rfc6081, target, must_connect, connected, limit_ms, .. } = cell;
        let number = |value: Option<f64>| value.map(|it| it.to_string()).unwrap_or_default();
        let [first, back] = [cell.first_ms, cell.back_ms].map(number);
        let by = cell.by.as_deref().unwrap_or_default();
        let kept = cell.first_kept.map(|it| it.to_string()).unwrap_or_default();
        let error = cell.error.as_deref().unwrap_or_default().replace(['"', '\n'], " ");
        let _ = write!(text, "{from},{to},{rfc6081},{target},{must_connect},{connected},");
        let _ = writeln!(text, "{by},{first},{kept},{back},{limit_ms},\"{error}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Line::parse_from(["matrix"].iter().chain(words)).args
    }

    fn cell(keys: &str, stdout: &str) -> Cell {
        let [pair] = Pair::selected(&[keys.parse().unwrap()])[..] else { unreachable!() };
        let (stdout, stderr) = (stdout.as_bytes().to_vec(), Vec::new());
        let output = Output { status: ExitStatus::from_raw(256), stdout, stderr };
        Cell::of(pair, &output, &args(&["--delay", "20"]))
    }

    #[test]
    fn only_both_ways_are_connected() {
        let results = r#"{"pair": {"first_ms": 12.5, "answered": 0, "by": "S", "back_ms": 1.5}}"#;
        let good = cell("cone,ps", results);
        assert!(good.connected && !good.is_late() && good.error.is_none());
        assert_eq!((good.by(), good.target, good.rfc6081), ("S", "S", "S"));
        let one_way = cell("cone,ps", r#"{"pair": {"first_ms": 12.5, "answered": 1, "by": "S"}}"#);
        assert!(!one_way.connected && one_way.error.is_some());
        let none = cell("pr,ps", r#"{"pair": {}}"#);
        assert_eq!((none.by(), none.error.as_deref()), ("B", Some("no answer")));
        let failed = cell("pr,ps", r#"{"pair": null, "error": "client 1 has ended"}"#);
        assert_eq!(failed.error.as_deref(), Some("client 1 has ended"));
        let killed = cell("pr,ps", "");
        assert!(killed.error.as_deref().is_some_and(|error| error.contains("exit status: 1")));
    }

    #[test]
    fn what_the_rfc_connects_has_six_round_trips() {
        let late = |keys, ms: u32| {
            cell(keys, &format!(r#"{{"pair": {{"first_ms": {ms}, "back_ms": 1}}}}"#)).is_late()
        };
        assert!(!late("pr,pp", 580) && late("pr,pp", 581));
        assert!(!late("pr,ps", 30_000) && late("pr,ps", 30_001));
    }

    #[test]
    fn what_must_connect_depends_on_what_is_used() {
        for (words, expected) in [
            (&[][..], 81),
            (&["--without", "helper"], 61),
            (&["--without", "helper,birthday"], 55),
            (&["--without", "helper", "--without", "birthday,address-pool,deferred-open"], 51),
            (&["--without", "helper,sequential,port-preserving,mapped-symmetric"], 50),
            (&["--without", "all"], 16),
        ] {
            let techniques = args(words).techniques.traversal();
            let must = Pair::selected(&[]).into_iter().filter(|it| must_connect(*it, techniques));
            assert_eq!(must.count(), expected, "{words:?}");
        }
    }

    #[test]
    fn a_line_of_values_has_as_many_as_the_first() {
        let text = csv(&[cell("pr,ps", r#"{"error": "an \"error\"\nin lines"}"#)]);
        let counts: Vec<_> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(counts, [12, 12]);
    }
}
