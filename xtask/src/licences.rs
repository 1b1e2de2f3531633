//! Every dependency's licence is on the list of `deny.toml`.

use anyhow::{Context, Result, bail};

use crate::workspace::{self, Metadata};

/// Prints how many packages were checked; fails with the names of those that do not fit.
pub(crate) fn run() -> Result<()> {
    let deny = std::fs::read_to_string(workspace::root().join("deny.toml"))
        .context("cannot read deny.toml")?;
    let allowed = allow_list(&deny);
    let metadata = workspace::metadata()?;
    let mut refused = refused(&metadata, &allowed);
    let fuzz = workspace::metadata_of_fuzz()?;
    refused.extend(self::refused(&fuzz, &[&allowed[..], &FUZZ_ONLY].concat()));
    if !refused.is_empty() {
        bail!("licences that deny.toml does not allow:\n  {}", refused.join("\n  "));
    }
    println!("licences: {} packages, all on the list of deny.toml", metadata.packages.len());
    Ok(())
}

/// The packages whose licences do not fit.
fn refused(metadata: &Metadata, allowed: &[&str]) -> Vec<String> {
    let mut refused = Vec::new();
    for package in &metadata.packages {
        let licence = package.license.as_deref().unwrap_or("");
        if !Expression::new(licence, allowed).holds() {
            refused.push(format!("{} {}: `{licence}`", package.name, package.version));
        }
    }
    refused
}

/// That of libFuzzer, which is linked into nothing but the fuzz targets.
const FUZZ_ONLY: [&str; 1] = ["NCSA"];

/// The strings of `allow = [ … ]`.
fn allow_list(deny: &str) -> Vec<&str> {
    let lines = deny.lines().skip_while(|line| !line.starts_with("allow = [")).skip(1);
    let lines = lines.take_while(|line| !line.starts_with(']'));
    lines.filter_map(|line| line.split('"').nth(1)).collect()
}

/// An SPDX expression: `A OR B`, `A AND B`, `A WITH E`, parentheses; `A/B` is the old `OR`.
struct Expression<'a> {
    words: Vec<String>,
    next: usize,
    allowed: &'a [&'a str],
}

impl<'a> Expression<'a> {
    fn new(text: &str, allowed: &'a [&'a str]) -> Self {
        let spaced = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words = spaced.split_whitespace().map(str::to_owned).collect();
        Self { words, next: 0, allowed }
    }

    /// Whether the allow list satisfies the whole expression.
    fn holds(mut self) -> bool {
        let holds = self.any();
        holds && self.next == self.words.len()
    }

    fn any(&mut self) -> bool {
        let mut holds = self.all();
        while self.take("OR") {
            // No short circuit: the right side must be read in any case.
            holds |= self.all();
        }
        holds
    }

    fn all(&mut self) -> bool {
        let mut holds = self.one();
        while self.take("AND") {
            holds &= self.one();
        }
        holds
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let holds = self.any();
            return self.take(")") && holds;
        }
        let Some(mut licence) = self.word() else { return false };
        if self.take("WITH") {
            let Some(exception) = self.word() else { return false };
            licence = format!("{licence} WITH {exception}");
        }
        self.allowed.contains(&licence.as_str())
    }

    fn word(&mut self) -> Option<String> {
        let word = self.words.get(self.next)?.clone();
        self.next += 1;
        Some(word)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.get(self.next).is_some_and(|next| next == word);
        self.next += usize::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        Expression::new(text, &["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"]).holds()
    }

    #[test]
    fn expressions_are_understood() {
        assert!(holds("MIT"));
        assert!(holds("GPL-3.0 OR MIT"));
        assert!(holds("GPL-3.0/MIT"));
        assert!(holds("(GPL-3.0 OR MIT) AND Zlib"));
        assert!(holds("Apache-2.0 WITH LLVM-exception"));
        assert!(!holds("Apache-2.0"));
        assert!(!holds("MIT AND GPL-3.0"));
        assert!(!holds("MIT GPL-3.0"));
        assert!(!holds(""));
    }

    #[test]
    fn the_allow_list_is_read() {
        let text = "[licenses]\nallow = [\n    \"MIT\",\n    \"Zlib\",\n]\nother = [\"X\"]\n";
        assert_eq!(allow_list(text), ["MIT", "Zlib"]);
    }
}
