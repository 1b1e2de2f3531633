//! The helper beside the lab's server, for clients that cannot meet: the keys that it wants.

use std::path::PathBuf;

use anyhow::Context;
use teredo_proto::keys::Algorithm;

use super::ground::Ground;
use super::place::{Host, SERVER};
use crate::keys::{NewKey, create};

/// Makes a key for each client and returns the words that have the server help them.
pub(super) fn server_words(ground: &Ground) -> anyhow::Result<[String; 2]> {
    let mut lines = String::new();
    for client in Host::CLIENTS {
        let name = client.key().parse().ok().context("the name of a host is no name")?;
        let key = NewKey::draw(&name, Algorithm::default())?;
        create(&key_file(ground, client), 0o600, &format!("{}\n", key.digits()))?;
        lines += &format!("{}\n", key.line());
    }
    let file = ground.runtime_directory(Host::Server).join("helped");
    create(&file, 0o600, &lines)?;
    Ok(["--helper".to_owned(), file.display().to_string()])
}

/// The words that have a client use the helper, after the keys were made.
pub(super) fn client_words(ground: &Ground, client: Host) -> [String; 6] {
    let (server, file) = (SERVER.to_string(), key_file(ground, client));
    let words = ["--helper", &server, "--helper-identifier", client.key(), "--helper-key-file"];
    let [a, b, c, d, e] = words.map(str::to_owned);
    [a, b, c, d, e, file.display().to_string()]
}

fn key_file(ground: &Ground, client: Host) -> PathBuf {
    ground.runtime_directory(client).join("helper.key")
}
