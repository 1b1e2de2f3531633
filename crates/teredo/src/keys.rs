//! Keys of clients (RFC 4380 section 5.2.2): options, files, and the subcommand `teredo key`.
//!
//! A key is written in hexadecimal digits wherever it stands. Errors name files and lines and never
//! show a word of them: it may be the key, in the wrong place.

mod clients;
pub(crate) mod fuzz;
mod new;
mod secret_file;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use clap::ValueEnum;
use teredo_proto::keys::{Algorithm, Identifier, KEY_LEN_MIN, Secret, SharedKey};

pub(crate) use clients::{ClientsArgs, HelperClientsArgs};
pub(crate) use new::{Args, NewKey, run};
pub(crate) use secret_file::create;

/// Options for the key of a client.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct KeyArgs {
    /// Name under which the server knows the key of this client; without it any server without keys
    /// will do
    #[arg(long, value_name = "NAME", requires = "key_file")]
    identifier: Option<Name>,

    /// File with the key in hexadecimal digits, closed to others, or name of a systemd credential;
    /// `teredo key new` makes one
    #[arg(long, value_name = "FILE", requires = "identifier")]
    key_file: Option<PathBuf>,

    /// How the key signs, as agreed with the server
    #[arg(long, value_name = "NAME", default_value = "hmac-sha1", requires = "identifier")]
    algorithm: Signature,
}

impl KeyArgs {
    /// The file with the key.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.key_file.as_deref().map(secret_file::located)
    }

    /// What the options say, with the key read from its file.
    pub(crate) fn secret(&self) -> anyhow::Result<Option<Secret>> {
        let parts = self.identifier.as_ref().zip(self.key_file.as_deref());
        parts.map(|(name, path)| read_secret(name, path, self.algorithm)).transpose()
    }
}

fn read_secret(name: &Name, path: &Path, algorithm: Signature) -> anyhow::Result<Secret> {
    let path = secret_file::located(path);
    let key = only_key(algorithm.into(), &secret_file::read(&path)?);
    let key = key.with_context(|| format!("{} does not hold one {KEY_FORM}", path.display()))?;
    Ok(Secret { identifier: name.0.clone(), key })
}

/// Options for the key that a client shares with its helper.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct HelperKeyArgs {
    /// Name under which the helper knows the key of this client; without it that of --identifier,
    /// with its key
    #[arg(long, value_name = "NAME", requires = "helper_key_file")]
    helper_identifier: Option<Name>,

    /// File with the key for the helper, as for --key-file
    #[arg(long, value_name = "FILE", requires = "helper_identifier")]
    helper_key_file: Option<PathBuf>,

    /// How that key signs, as agreed with the helper
    #[arg(long, value_name = "NAME", default_value = "hmac-sha1", requires = "helper_identifier")]
    helper_algorithm: Signature,
}

impl HelperKeyArgs {
    /// The file with the key.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.helper_key_file.as_deref().map(secret_file::located)
    }

    /// What the options say, with the key read from its file.
    pub(crate) fn secret(&self) -> anyhow::Result<Option<Secret>> {
        let parts = self.helper_identifier.as_ref().zip(self.helper_key_file.as_deref());
        parts.map(|(name, path)| read_secret(name, path, self.helper_algorithm)).transpose()
    }
}

/// The identifier of a client in configuration: one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(Identifier);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_word = !text.contains(|it: char| it.is_whitespace() || it.is_control());
        let identifier = Identifier::new(text.as_bytes());
        let identifier = identifier.filter(|_| is_word && !text.starts_with('#'));
        identifier.map(Self).ok_or("not one word of at most 255 bytes")
    }
}

impl Name {
    /// As a shell takes it.
    pub(crate) fn quoted(&self) -> String {
        let text = self.to_string();
        let is_plain = |it: char| it.is_alphanumeric() || "-_.@".contains(it);
        if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

/// The values of `--algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Signature {
    /// The default of RFC 4380
    HmacSha1,
    /// HMAC-SHA256
    HmacSha256,
    /// HMAC-MD5, for servers that know nothing else
    HmacMd5,
}

impl From<Signature> for Algorithm {
    fn from(signature: Signature) -> Self {
        match signature {
            Signature::HmacSha1 => Self::HmacSha1,
            Signature::HmacSha256 => Self::HmacSha256,
            Signature::HmacMd5 => Self::HmacMd5,
        }
    }
}

/// The key in a file that holds nothing else.
fn only_key(algorithm: Algorithm, text: &str) -> Option<SharedKey> {
    let mut lines = text.lines().map(str::trim).filter(|line| is_meant(line));
    let digits = lines.next().filter(|_| lines.next().is_none())?;
    shared_key(algorithm, digits)
}

/// The key that these digits stand for.
fn shared_key(algorithm: Algorithm, digits: &str) -> Option<SharedKey> {
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    SharedKey::new(algorithm, &bytes?)
}

fn byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = *digits else { return None };
    let digit = |it| char::from(it).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Whether a line says anything.
fn is_meant(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

/// What a key has to look like.
const KEY_FORM: &str = "key: hexadecimal digits in pairs, 32 or more";
const _: () = assert!(KEY_LEN_MIN == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pairs_of_hexadecimal_digits() {
        let key = |digits: &str| shared_key(Algorithm::HmacSha1, digits).is_some();
        assert!(key(&"0f".repeat(16)) && key(&"aF".repeat(100)));
        for wrong in ["", &"0".repeat(33), &"0f".repeat(15), &"0g".repeat(16), &"+f".repeat(16)] {
            assert!(!key(wrong), "{wrong}");
        }
        assert!(!key(&"é".repeat(32)));
        assert_eq!(byte(b"aF"), Some(0xaf));
    }

    #[test]
    fn names_are_words() {
        for (text, is_name) in [
            ("laptop", true),
            ("büro-3", true),
            ("", false),
            ("a b", false),
            ("#a", false),
            ("a\u{7}", false),
            (&"x".repeat(255), true),
            (&"x".repeat(256), false),
        ] {
            assert_eq!(text.parse::<Name>().is_ok(), is_name, "{text}");
        }
    }
}
