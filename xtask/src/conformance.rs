//! The conformance table: every line of the checklist, and the test that shows it.
//!
//! The checklist is `docs/conformance.csv`. A test names the lines it shows in a comment above its
//! `#[test]`: `//= C-QUAL-04, C-QUAL-05: three transmissions four seconds apart`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::source::{self, File};
use crate::workspace;

const CHECKLIST: &str = "docs/conformance.csv";
/// The scope of what this version implements; other scopes name the work they wait for.
const SCOPE_NOW: &str = "now";
/// Only these rooms hold tests of the protocol.
const SCANNED: [&str; 2] = ["crates/", "tests/"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Prints the table; fails if a MUST in scope has neither test nor reason.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let table = table()?;
    for line in &table {
        if arguments.json {
            println!("{}", serde_json::to_string(line)?);
        } else {
            let Line { id, level, role, .. } = line;
            println!("{id:<11} {level:<8} {role:<4} {}", line.shown_by());
        }
    }
    let summary = summary(&table);
    if !arguments.json {
        println!("\n{}", summary.text);
    }
    if !summary.missing.is_empty() {
        bail!("required, in scope, and shown by nothing: {}", summary.missing.join(", "));
    }
    Ok(())
}

/// The closing counts, and the same failure as the whole table; for `cargo xtask test`.
pub(crate) fn check() -> Result<String> {
    let summary = summary(&table()?);
    if !summary.missing.is_empty() {
        bail!("required, in scope, and shown by nothing: {}", summary.missing.join(", "));
    }
    Ok(summary.text)
}

/// One line of the checklist.
#[derive(Serialize)]
struct Line {
    id: String,
    reference: String,
    level: String,
    role: String,
    scope: String,
    requirement: String,
    /// Why only reading can show it; empty if a test can.
    review: String,
    tests: Vec<String>,
}

impl Line {
    fn shown_by(&self) -> String {
        if !self.tests.is_empty() {
            return self.tests.join(", ");
        }
        if self.scope != SCOPE_NOW {
            return format!("later: {}", self.scope);
        }
        if self.review.is_empty() {
            "no test".to_owned()
        } else {
            format!("review: {}", self.review)
        }
    }

    fn required(&self) -> bool {
        self.level.starts_with("MUST") || self.level == "must"
    }

    fn open(&self) -> bool {
        self.scope == SCOPE_NOW && self.tests.is_empty() && self.review.is_empty()
    }
}

struct Summary {
    text: String,
    missing: Vec<String>,
}

fn summary(table: &[Line]) -> Summary {
    let count = |matches: &dyn Fn(&Line) -> bool| table.iter().filter(|it| matches(it)).count();
    let required = count(&|it| it.scope == SCOPE_NOW && it.required());
    let text = format!(
        "conformance: {} lines; {} shown by tests, {} by review, {} in scope without a test, \
         {} later; {required} required in scope",
        table.len(),
        count(&|it| !it.tests.is_empty()),
        count(&|it| it.tests.is_empty() && !it.review.is_empty()),
        count(&Line::open),
        count(&|it| it.scope != SCOPE_NOW && it.tests.is_empty()),
    );
    let missing = table.iter().filter(|it| it.required() && it.open());
    Summary { text, missing: missing.map(|it| it.id.clone()).collect() }
}

fn table() -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(workspace::root().join(CHECKLIST))
        .with_context(|| format!("cannot read {CHECKLIST}"))?;
    let mut table = parse_checklist(&text)?;
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in source::files(&["rs"])? {
        if SCANNED.iter().any(|room| file.path.starts_with(room)) {
            scan(&file, &mut shown)?;
        }
    }
    for line in &mut table {
        line.tests = shown.remove(&line.id).unwrap_or_default();
    }
    if let Some((id, tests)) = shown.first_key_value() {
        bail!("{}: {CHECKLIST} has no line {id}", tests.join(", "));
    }
    Ok(table)
}

fn parse_checklist(text: &str) -> Result<Vec<Line>> {
    let mut table: Vec<Line> = Vec::new();
    for (at, row) in text.lines().enumerate().skip(1) {
        let fields = split_row(row);
        let Ok([id, reference, level, role, scope, requirement, review]) =
            <[String; 7]>::try_from(fields)
        else {
            bail!("{CHECKLIST}:{}: not seven fields", at + 1);
        };
        if table.iter().any(|line| line.id == id) {
            bail!("{CHECKLIST}:{}: {id} stands there twice", at + 1);
        }
        let tests = Vec::new();
        table.push(Line { id, reference, level, role, scope, requirement, review, tests });
    }
    Ok(table)
}

/// The fields of a CSV row (RFC 4180, without line breaks in fields).
fn split_row(row: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = row.chars().peekable();
    while let Some(it) = characters.next() {
        match (it, quoted) {
            ('"', true) if characters.peek() == Some(&'"') => {
                characters.next();
                push(&mut fields, '"');
            }
            ('"', _) => quoted = !quoted,
            (',', false) => fields.push(String::new()),
            _ => push(&mut fields, it),
        }
    }
    fields
}

fn push(fields: &mut [String], it: char) {
    if let Some(field) = fields.last_mut() {
        field.push(it);
    }
}

/// Adds what the tests of one file say that they show.
fn scan(file: &File, shown: &mut BTreeMap<String, Vec<String>>) -> Result<()> {
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    for (at, line) in lines.iter().enumerate() {
        let place = format!("{}:{}", file.path, at + 1);
        if line.starts_with("// =") {
            bail!("{place}: write `//=`, or it is not counted");
        }
        let Some(claim) = line.strip_prefix("//= ") else { continue };
        let Some((ids, what)) = claim.split_once(": ") else {
            bail!("{place}: want `//= ID, ID: what is shown`");
        };
        if what.trim().is_empty() {
            bail!("{place}: does not say what is shown");
        }
        let below = lines.iter().skip(at + 1);
        let mut head = below.take_while(|it| it.starts_with("//") || it.starts_with("#["));
        if !head.any(|it| it.starts_with("#[test]")) {
            bail!("{place}: not above a #[test]");
        }
        let name = lines.iter().skip(at + 1).find_map(|it| it.split_once("fn "));
        let name = name.and_then(|(_, rest)| rest.split('(').next()).unwrap_or_default();
        let test = format!("{}::{name}", file.path.trim_start_matches("crates/"));
        for id in ids.split(", ") {
            shown.entry(id.trim().to_owned()).or_default().push(test.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_quotes_are_split() {
        assert_eq!(split_row(r#"A,"b, ""c""",,d"#), ["A", "b, \"c\"", "", "d"]);
    }

    #[test]
    fn claims_are_found_and_must_stand_above_a_test() {
        let file =
            |text: &str| File { path: "crates/a/src/b.rs".to_owned(), text: text.to_owned() };
        let mut shown = BTreeMap::new();
        let good = "//= A-01, A-02: it works\n// more\n#[test]\nfn works() {}\n";
        scan(&file(good), &mut shown).unwrap();
        assert_eq!(shown["A-02"], ["a/src/b.rs::works"]);
        assert!(scan(&file("//= A-01: no test\nfn x() {}\n"), &mut shown).is_err());
        assert!(scan(&file("//= A-01\n#[test]\nfn x() {}\n"), &mut shown).is_err());
    }

    #[test]
    fn only_a_required_open_line_is_missing() {
        let header = "id,ref,level,role,scope,requirement,review\n";
        let rows = "A-1,r,MUST,C,now,x,\nA-2,r,REC,C,now,x,\nA-3,r,MUST,C,later,x,\n\
                    A-4,r,must,C,now,x,read it\n";
        let table = parse_checklist(&format!("{header}{rows}")).unwrap();
        assert_eq!(summary(&table).missing, ["A-1"]);
    }
}
