//! An IPv6 prefix on the command line.

use std::net::Ipv6Addr;
use std::str::FromStr;

use anyhow::Context;

/// `address/len`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// Its first address; only `len` bits of it count.
    pub(super) address: Ipv6Addr,
    /// How many bits are fixed, at most 128.
    pub(super) len: u8,
}

impl FromStr for Prefix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (address, len) = text.split_once('/').unwrap_or((text, "128"));
        let address = address.parse().ok();
        let len = len.parse().ok().filter(|len| *len <= 128);
        let prefix = address.zip(len).map(|(address, len)| Self { address, len });
        prefix.context("expected an IPv6 prefix such as 2001:db8:6::/48")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_prefixes_and_nothing_else() {
        let prefix = |text: &str| text.parse::<Prefix>().ok().map(|prefix| prefix.len);
        assert_eq!(prefix("2001:db8:6::/48"), Some(48));
        assert_eq!(prefix("2001:db8::1"), Some(128));
        assert_eq!(prefix("::/0"), Some(0));
        for wrong in ["", "/", "2001:db8::/129", "192.0.2.0/24", "2001:db8::/x", "2001:db8::/-1"] {
            assert_eq!(prefix(wrong), None, "{wrong}");
        }
    }
}
