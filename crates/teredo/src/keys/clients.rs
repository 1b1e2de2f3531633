//! The file in which a private server has its clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use teredo_proto::keys::{Algorithm, Secret};
use teredo_proto::server::{Clients, KnownClient};

use super::{KEY_FORM, Name, Signature, is_meant, secret_file, shared_key};

/// Options for the clients of a private server.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientsArgs {
    /// Serve only the clients with a key in this file, which is closed to others, or a systemd
    /// credential of this name. One client a line: identifier, algorithm (hmac-sha1, hmac-sha256),
    /// key in hexadecimal digits, and "renew" if it shall ask for a new one; `teredo key new` makes
    /// such lines
    #[arg(long = "clients", value_name = "FILE")]
    file: Option<PathBuf>,

    /// Let keys in that file sign with hmac-md5
    #[arg(long, requires = "file")]
    allow_md5: bool,
}

impl ClientsArgs {
    /// The clients in the file, if there is one.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Clients>> {
        self.file.as_deref().map(|path| read(path, self.allow_md5)).transpose()
    }
}

/// Options for the clients of a helper.
#[derive(Debug, clap::Args)]
pub(crate) struct HelperClientsArgs {
    /// Pass datagrams on for the clients with a key in this file, which looks as for --clients and
    /// may be the same: those that cannot meet a peer directly then meet it through here. What that
    /// takes is up to the other --helper options
    #[arg(long = "helper", id = "helper", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl HelperClientsArgs {
    /// The clients in the file, if there is one.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Clients>> {
        self.file.as_deref().map(|path| read(path, false)).transpose()
    }
}

fn read(path: &Path, is_md5_allowed: bool) -> anyhow::Result<Clients> {
    let path = secret_file::located(path);
    let text = secret_file::read(&path)?;
    parse(&text, is_md5_allowed).with_context(|| path.display().to_string())
}

pub(super) fn parse(text: &str, is_md5_allowed: bool) -> anyhow::Result<Clients> {
    let (mut clients, mut lines) = (Vec::new(), BTreeMap::new());
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if !is_meant(line) {
            continue;
        }
        let client = client(line, is_md5_allowed).with_context(|| format!("line {number}"))?;
        let identifier = client.secret.identifier.clone();
        if let Some(first) = lines.insert(identifier, number) {
            bail!("line {number}: the identifier stands in line {first} already");
        }
        clients.push(client);
    }
    Clients::new(clients).ok().context("an identifier occurs twice")
}

fn client(line: &str, is_md5_allowed: bool) -> anyhow::Result<KnownClient> {
    let words: Vec<_> = line.split_whitespace().collect();
    let (name, algorithm, digits, is_renewal_due) = match words[..] {
        [name, algorithm, digits] => (name, algorithm, digits, false),
        [name, algorithm, digits, "renew"] => (name, algorithm, digits, true),
        [_, _, _, ..] => bail!("what follows the key is not \"renew\""),
        _ => bail!("not an identifier, an algorithm and a key"),
    };
    let Ok(Name(identifier)) = name.parse() else {
        bail!("the identifier is longer than 255 bytes");
    };
    let Ok(algorithm) = Signature::from_str(algorithm, false).map(Algorithm::from) else {
        bail!("the second word is no algorithm (hmac-sha1, hmac-sha256)");
    };
    if algorithm == Algorithm::HmacMd5 && !is_md5_allowed {
        bail!("hmac-md5 is switched off; --allow-md5 switches it on");
    }
    let key = shared_key(algorithm, digits);
    let key = key.with_context(|| format!("the third word is no {KEY_FORM}"))?;
    Ok(KnownClient { secret: Secret { identifier, key }, is_renewal_due })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "30313233343536373839616263646566";

    fn fault(text: &str) -> String {
        format!("{:#}", parse(text, false).unwrap_err())
    }

    #[test]
    fn a_line_is_a_client() {
        let text = format!(
            "# office\n\n  laptop hmac-sha1 {KEY}\nphone\thmac-sha256 {KEY} renew\r\n# end"
        );
        assert_eq!(parse(&text, false).unwrap().len(), 2);
        assert!(parse("# nobody yet\n", false).unwrap().is_empty());
        let one = client(&format!("a hmac-sha256 {KEY} renew"), false).unwrap();
        assert_eq!(one.secret.key.algorithm(), Algorithm::HmacSha256);
        assert!(one.is_renewal_due);
    }

    #[test]
    fn faults_name_the_line_and_show_no_word_of_it() {
        let cases = [
            (format!("a hmac-sha1 {KEY}\nb {KEY}"), "line 2: not an identifier, an algorithm"),
            (format!("\n\n{KEY} x {KEY}"), "line 3: the second word is no algorithm"),
            (format!("a HMAC-SHA1 {KEY}"), "line 1: the second word"),
            (format!("a hmac-sha1 {}", &KEY[1..]), "line 1: the third word is no key"),
            (format!("a hmac-sha1 {}", &KEY[2..]), "line 1: the third word is no key"),
            (format!("a hmac-sha1 {KEY} {KEY}"), "line 1: what follows the key"),
            (format!("a hmac-sha1 {KEY} renew {KEY}"), "line 1: what follows the key"),
            (format!("{} hmac-sha1 {KEY}", KEY.repeat(8)), "line 1: the identifier is longer"),
            (format!("a hmac-md5 {KEY}"), "line 1: hmac-md5 is switched off"),
            (
                format!("a hmac-sha1 {KEY}\n#\na hmac-sha256 {KEY}"),
                "line 3: the identifier stands in line 1 already",
            ),
        ];
        for (text, expected) in cases {
            let said = fault(&text);
            assert!(said.starts_with(expected), "{said}");
            assert!(!said.contains(&KEY[2..]), "{said}");
        }
        assert_eq!(parse(&format!("a hmac-md5 {KEY}"), true).unwrap().len(), 1);
    }
}
