//! Keys that a client and its server share (RFC 4380 section 5.2.2).
//!
//! With a key, each proves to the other that it knows it: solicitation and advertisement carry a
//! message authentication code (MAC). Whoever is on the path can still relay the whole exchange, as
//! the NAT itself does.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use teredo_wire::datagram::split_at_value;
use teredo_wire::helper::Seal;
use teredo_wire::{Authentication, Datagram, NoSpace, Writer};

use crate::reason::DropReason;

/// What a client proves itself with.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The name under which the server knows the key.
    pub identifier: Identifier,
    /// The key.
    pub key: SharedKey,
}

impl Secret {
    /// Writes a whole datagram that is signed with the key: the authentication, and after it what
    /// `write_rest` writes. The writer is an empty one.
    pub(crate) fn write_signed(
        &self,
        writer: &mut Writer<'_>,
        (nonce, confirmation): ([u8; 8], u8),
        write_rest: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>,
    ) -> Result<(), NoSpace> {
        let (client_id, blank) = (self.identifier.as_bytes(), [0; MAC_LEN_MAX]);
        let value = &blank[..self.key.algorithm().mac_len()];
        Authentication { client_id, value, nonce, confirmation }.write(writer)?;
        write_rest(writer)?;
        let (value, covered) = split_at_value(writer.written_mut()).ok_or(NoSpace)?;
        self.key.sign(covered, value);
        Ok(())
    }

    /// Checks that a datagram is signed with the key.
    pub(crate) fn check(&self, datagram: &Datagram<'_>) -> Result<(), DropReason> {
        let authentication = datagram.authentication.ok_or(DropReason::MissingAuthentication)?;
        if authentication.value.is_empty() {
            return Err(DropReason::MissingMac);
        }
        let covered = datagram.authenticated_bytes().unwrap_or_default();
        if self.key.signs(covered, authentication.value) {
            Ok(())
        } else {
            Err(DropReason::WrongMac)
        }
    }
}

/// What the frames between a client and its helper are signed with: another key than that of
/// solicitations, made out of it, so that nothing that is signed for the one means anything to the
/// other.
#[derive(Clone, Debug)]
pub(crate) struct HelperKey {
    key: SharedKey,
    mac_len: u8,
}

impl HelperKey {
    pub(crate) fn new(secret: &Secret) -> Self {
        let algorithm = secret.key.algorithm();
        let mut derived = [0; MAC_LEN_MAX];
        let derived = &mut derived[..algorithm.mac_len()];
        secret.key.sign(HELPER_PURPOSE, derived);
        // A MAC is as long as a key has to be at the least.
        let key = SharedKey::new(algorithm, derived).unwrap_or_else(|| secret.key.clone());
        Self { key, mac_len: u8::try_from(algorithm.mac_len()).unwrap_or(u8::MAX) }
    }

    /// Writes a frame, up to its MAC by `write`, and the MAC.
    pub(crate) fn seal(
        &self,
        writer: &mut Writer<'_>,
        write: impl FnOnce(&mut Writer<'_>, u8) -> Result<(), NoSpace>,
    ) -> Result<(), NoSpace> {
        write(writer, self.mac_len)?;
        let mut mac = [0; MAC_LEN_MAX];
        let mac = &mut mac[..usize::from(self.mac_len)];
        self.key.sign(writer.written(), mac);
        writer.put(mac)
    }

    /// Checks that a frame is signed with the key.
    pub(crate) fn check(&self, seal: &Seal<'_>) -> Result<(), DropReason> {
        if seal.mac.is_empty() {
            Err(DropReason::MissingMac)
        } else if self.key.signs(seal.covered, seal.mac) {
            Ok(())
        } else {
            Err(DropReason::WrongMac)
        }
    }
}

/// The name of a client: 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(Box<[u8]>);

impl Identifier {
    /// The identifier of these bytes, unless they are too many or none.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=IDENTIFIER_LEN_MAX).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A key, ready to sign with one algorithm.
#[derive(Clone)]
pub struct SharedKey(Keyed);

#[derive(Clone)]
enum Keyed {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Md5(Hmac<Md5>),
}

impl SharedKey {
    /// A key of these bytes, unless they are fewer than [`KEY_LEN_MIN`].
    pub fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        if key.len() < KEY_LEN_MIN {
            return None;
        }
        let keyed = match algorithm {
            Algorithm::HmacSha1 => Keyed::Sha1(Hmac::new_from_slice(key).ok()?),
            Algorithm::HmacSha256 => Keyed::Sha256(Hmac::new_from_slice(key).ok()?),
            Algorithm::HmacMd5 => Keyed::Md5(Hmac::new_from_slice(key).ok()?),
        };
        Some(Self(keyed))
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Keyed::Sha1(_) => Algorithm::HmacSha1,
            Keyed::Sha256(_) => Algorithm::HmacSha256,
            Keyed::Md5(_) => Algorithm::HmacMd5,
        }
    }

    /// Fills in the MAC of `text`; `mac` is as long as the algorithm makes it.
    fn sign(&self, text: &[u8], mac: &mut [u8]) {
        fn fill(keyed: &(impl Mac + Clone), text: &[u8], mac: &mut [u8]) {
            mac.copy_from_slice(&keyed.clone().chain_update(text).finalize().into_bytes());
        }
        match &self.0 {
            Keyed::Sha1(keyed) => fill(keyed, text, mac),
            Keyed::Sha256(keyed) => fill(keyed, text, mac),
            Keyed::Md5(keyed) => fill(keyed, text, mac),
        }
    }

    /// Whether `mac` is the whole MAC of `text`. The comparison takes as long wherever they differ.
    fn signs(&self, text: &[u8], mac: &[u8]) -> bool {
        fn is_mac_of(keyed: &(impl Mac + Clone), text: &[u8], mac: &[u8]) -> bool {
            keyed.clone().chain_update(text).verify_slice(mac).is_ok()
        }
        match &self.0 {
            Keyed::Sha1(keyed) => is_mac_of(keyed, text, mac),
            Keyed::Sha256(keyed) => is_mac_of(keyed, text, mac),
            Keyed::Md5(keyed) => is_mac_of(keyed, text, mac),
        }
    }
}

impl fmt::Debug for SharedKey {
    /// Shows the algorithm only: what is printed may end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedKey").field(&self.algorithm()).finish()
    }
}

/// How a MAC is made. Client and server have to agree; nothing on the wire tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC-SHA1, the default of RFC 4380 section 5.2.2 (E-05).
    #[default]
    HmacSha1,
    /// HMAC-SHA256.
    HmacSha256,
    /// HMAC-MD5, which RFC 4380 section 7.2.1 names: for peers that know nothing else.
    HmacMd5,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HmacSha1, Self::HmacSha256, Self::HmacMd5];

    /// The word used in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacMd5 => "hmac-md5",
        }
    }

    /// Bytes in a MAC, which is never cut short.
    pub const fn mac_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacMd5 => 16,
        }
    }
}

/// The fewest bytes of a key: 128 bits, which nobody guesses.
pub const KEY_LEN_MIN: usize = 16;
/// The most bytes of an identifier: its length takes one byte on the wire.
pub const IDENTIFIER_LEN_MAX: usize = 255;
/// No solicitation has as few bytes under its MAC.
const HELPER_PURPOSE: &[u8] = b"teredo helper";
/// The longest MAC in bytes.
pub(crate) const MAC_LEN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use teredo_wire::address::CLIENT_LINK_LOCAL;
    use teredo_wire::icmpv6::write_router_solicitation;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.split_whitespace().flat_map(str::bytes).collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    //= C-SEC-04, C-SEC-05: the solicitation of the vectors, byte for byte
    #[test]
    fn the_signed_solicitation_is_that_of_the_vector() {
        let secret = Secret {
            identifier: Identifier::new(b"client-1").unwrap(),
            key: SharedKey::new(Algorithm::default(), b"0123456789abcdef").unwrap(),
        };
        let mut buffer = [0; 200];
        let mut writer = Writer::new(&mut buffer);
        let signed = secret.write_signed(&mut writer, ([0, 1, 2, 3, 4, 5, 6, 7], 0), |writer| {
            write_router_solicitation(writer, CLIENT_LINK_LOCAL)
        });
        assert_eq!(signed, Ok(()));
        let expected = hex("00 01 08 14 636c69656e742d31
             e0547e619c6c132ae89e50c136fa7d8e9f0dfa4d 0001020304050607 00
             6000000000083aff fe80000000000000 0000ffffffffffff
             ff02000000000000 0000000000000002 85007d37 00000000");
        assert_eq!(writer.written(), expected);
        assert_eq!(expected.len(), 89);
        assert_eq!(secret.check(&Datagram::parse(&expected).unwrap()), Ok(()));
    }

    /// The first cases of RFC 2202 and RFC 4231.
    #[test]
    fn each_algorithm_makes_its_own_mac() {
        for (algorithm, key_len, mac) in [
            (Algorithm::HmacMd5, 16, "9294727a3638bb1c13f48ef8158bfc9d"),
            (Algorithm::HmacSha1, 20, "b617318655057264e28bc0b6fb378c8ef146be00"),
            (
                Algorithm::HmacSha256,
                20,
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
        ] {
            let key = SharedKey::new(algorithm, &vec![0x0b; key_len]).unwrap();
            let (expected, mut made) = (hex(mac), vec![0; algorithm.mac_len()]);
            key.sign(b"Hi There", &mut made);
            assert_eq!(made, expected);
            assert!(key.signs(b"Hi There", &expected));
            assert!(!key.signs(b"Hi There.", &expected));
            for len in 0..expected.len() {
                assert!(!key.signs(b"Hi There", &expected[..len]), "{len} bytes");
            }
            assert!(!key.signs(b"Hi There", &[&expected[..], &[0]].concat()));
            assert_eq!(key.algorithm(), algorithm);
        }
    }

    #[test]
    fn identifiers_and_keys_have_their_lengths() {
        for (len, is_fit) in [(0, false), (1, true), (255, true), (256, false)] {
            assert_eq!(Identifier::new(&vec![b'x'; len]).is_some(), is_fit, "{len}");
        }
        for (len, is_fit) in [(0, false), (15, false), (16, true), (1000, true)] {
            for algorithm in Algorithm::ALL {
                assert_eq!(SharedKey::new(algorithm, &vec![7; len]).is_some(), is_fit, "{len}");
                assert!(algorithm.mac_len() <= MAC_LEN_MAX);
            }
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = SharedKey::new(Algorithm::HmacSha1, b"0123456789abcdef").unwrap();
        assert_eq!(format!("{key:?}"), "SharedKey(HmacSha1)");
    }
}
