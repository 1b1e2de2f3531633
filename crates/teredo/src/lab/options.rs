//! Values of the options of `teredo lab`.

use std::fmt;
use std::str::FromStr;

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

#[cfg(test)]
mod tests {
    use super::*;

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
