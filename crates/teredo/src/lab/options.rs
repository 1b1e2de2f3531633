//! Values of the options of `teredo lab`.

use std::fmt;
use std::str::FromStr;

use teredo_proto::client::Traversal;

/// The value of `--bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteCount(pub(super) u64);

impl FromStr for ByteCount {
    type Err = InvalidCount;

    fn from_str(text: &str) -> Result<Self, InvalidCount> {
        let units = [('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30)];
        let with_unit = units.iter().find_map(|&(letter, unit)| {
            text.strip_suffix([letter, letter.to_ascii_lowercase()]).map(|digits| (digits, unit))
        });
        let (digits, unit) = with_unit.unwrap_or((text, 1));
        let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        let count = number.filter(|count| (1..=BYTES_MAX).contains(count));
        count.map(Self).ok_or(InvalidCount)
    }
}

/// The text is not a number of bytes that can be sent.
#[derive(Debug)]
pub(crate) struct InvalidCount;

impl fmt::Display for InvalidCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a number of bytes, such as 100000 or 64M, up to 64G")
    }
}

impl std::error::Error for InvalidCount {}

/// Takes a quarter of an hour at half a gigabit per second; more shows nothing new.
const BYTES_MAX: u64 = 64 << 30;

/// What the clients may do to meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Techniques {
    /// Have the clients do without these techniques against NATs, of which they use all otherwise,
    /// birthday probing included (may be given several times); teredo client --help has the names
    #[arg(long, value_name = "LIST")]
    without: Vec<Traversal>,
}

impl Techniques {
    /// Those that are left.
    pub(super) fn traversal(&self) -> Traversal {
        let left = self.without.iter().fold(Traversal::ALL, |all, it| all.without(*it));
        left.with_dependencies()
    }

    /// The same in the words of `teredo client` or of a lab.
    pub(super) fn words(&self) -> Vec<String> {
        let without = self.without.iter();
        without.flat_map(|it| ["--without".to_owned(), it.to_string()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn techniques_are_all_but_those_named() {
        let all = Techniques::default();
        assert_eq!((all.traversal(), all.words()), (Traversal::ALL, Vec::new()));
        let without = vec!["helper,birthday".parse().unwrap(), "symmetric".parse().unwrap()];
        let some = Techniques { without };
        let words = some.words().join(" ");
        assert_eq!(words, "--without birthday,helper --without symmetric");
        let left = some.traversal();
        assert!(!left.helper && !left.symmetric && !left.port_preserving && left.hairpin);
    }

    #[test]
    fn a_count_may_have_a_unit() {
        let count = |text: &str| text.parse::<ByteCount>().ok().map(|count| count.0);
        assert_eq!(count("1"), Some(1));
        assert_eq!(count("16M"), Some(16 << 20));
        assert_eq!(count("3k"), Some(3072));
        for text in ["", "0", "M", "-1", "1T", "65G", "99999999999G"] {
            assert_eq!(count(text), None, "{text}");
        }
    }
}
