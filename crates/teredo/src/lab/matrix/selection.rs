//! Which pairs to run.

use std::fmt;
use std::str::FromStr;

use teredo_sim::matrix::KINDS;

/// Two kinds of NAT by their numbers in [`KINDS`]: that before the client that begins, and that
/// before the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Pair {
    /// All pairs that one of these selects, or all there are if there are none, row by row.
    pub(super) fn selected(selections: &[Selection]) -> Vec<Self> {
        let rows = 0..KINDS.len();
        let all = rows.flat_map(|from| (0..KINDS.len()).map(move |to| Self { from, to }));
        let is_selected = |pair: &Self| selections.iter().any(|it| it.selects(*pair));
        all.filter(|pair| selections.is_empty() || is_selected(pair)).collect()
    }

    /// The keys of the two kinds.
    pub(super) fn keys(self) -> [&'static str; 2] {
        [self.from, self.to].map(|kind| KINDS[kind])
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = self.keys();
        write!(f, "{from} to {to}")
    }
}

/// A value of `--only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    from: usize,
    to: Option<usize>,
}

impl Selection {
    fn selects(self, pair: Pair) -> bool {
        self.from == pair.from && self.to.is_none_or(|to| to == pair.to)
    }
}

impl FromStr for Selection {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let find = |key: &str| KINDS.iter().position(|kind| *kind == key).ok_or(UnknownKind);
        match text.split_once(',') {
            Some((from, to)) => Ok(Self { from: find(from)?, to: Some(find(to)?) }),
            None => Ok(Self { from: find(text)?, to: None }),
        }
    }
}

/// The text is not `KIND` or `KIND,KIND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownKind;

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = KINDS.join(", ");
        write!(f, "expected one of {kinds} for a row, or two with a comma between for a pair")
    }
}

impl std::error::Error for UnknownKind {}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(texts: &[&str]) -> Vec<String> {
        let selections: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
        Pair::selected(&selections).iter().map(Pair::to_string).collect()
    }

    #[test]
    fn rows_and_pairs_add_up() {
        assert_eq!(selected(&[]).len(), 81);
        assert_eq!(selected(&["ps"]).len(), 9);
        assert_eq!(selected(&["ps", "ps,addr", "pr,ps"]).len(), 10);
        assert_eq!(selected(&["ps,addr", "pr,ps"]), ["pr to ps", "ps to addr"]);
        for text in ["", "nat", "pr,", ",pr", "pr,pr,pr", "kernel"] {
            assert_eq!(text.parse::<Selection>(), Err(UnknownKind), "{text}");
        }
    }
}
