//! Values of the options of `teredo lab`.

use std::fmt;
use std::str::FromStr;

use teredo_sim::NatConfig;

/// A kind of NAT by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NatKey {
    key: &'static str,
    config: NatConfig,
}

impl NatKey {
    const KNOWN: [Self; 6] = [
        Self { key: "cone", config: NatConfig::cone() },
        Self { key: "ar", config: NatConfig::ar() },
        Self { key: "pr", config: NatConfig::pr() },
        Self { key: "pp", config: NatConfig::pp() },
        Self { key: "seq", config: NatConfig::seq(1) },
        Self { key: "ps", config: NatConfig::ps() },
    ];

    /// The key.
    pub(super) fn key(self) -> &'static str {
        self.key
    }

    /// What such a NAT does.
    pub(super) fn config(self) -> NatConfig {
        self.config
    }

    /// What such a NAT is called.
    pub(super) fn name(self) -> &'static str {
        match self.key {
            "cone" => "cone NAT",
            "ar" => "address-restricted NAT",
            "pr" => "port-restricted NAT",
            "pp" => "port-preserving NAT",
            "seq" => "sequential NAT",
            _ => "port-symmetric NAT",
        }
    }
}

/// The value of `--nat`: what each client is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nats(pub(super) [NatKey; 2]);

impl FromStr for Nats {
    type Err = UnknownNat;

    fn from_str(text: &str) -> Result<Self, UnknownNat> {
        let find = |key| NatKey::KNOWN.into_iter().find(|it| it.key == key).ok_or(UnknownNat);
        let (first, second) = text.split_once(',').unwrap_or((text, text));
        Ok(Self([find(first)?, find(second)?]))
    }
}

/// The text is not `KIND` or `KIND,KIND`.
#[derive(Debug)]
pub(crate) struct UnknownNat;

impl fmt::Display for UnknownNat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = NatKey::KNOWN.map(|it| it.key).join(", ");
        write!(f, "expected one of {keys}, or two with a comma between")
    }
}

impl std::error::Error for UnknownNat {}

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
    fn one_key_stands_for_both_nats() {
        let keys = |text: &str| text.parse::<Nats>().unwrap().0.map(NatKey::key);
        assert_eq!(keys("cone"), ["cone", "cone"]);
        assert_eq!(keys("ar,ps"), ["ar", "ps"]);
        for text in ["", ",", "pr,", "pr,pr,pr", "pr, pr", "nat"] {
            assert!(text.parse::<Nats>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_keys_are_the_simulators() {
        for nat in NatKey::KNOWN {
            assert_eq!(nat.key.parse::<NatConfig>(), Ok(nat.config), "{}", nat.key);
        }
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
