//! What must hold for the text of any file with keys.

use std::str;

use teredo_proto::keys::Algorithm;

use super::clients::parse;
use super::{Name, only_key};

/// Reads a file of clients, a file with one key, and a name.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match parse(text, true) {
        Ok(clients) => assert!(clients.len() <= text.lines().count()),
        Err(error) => check_silence(text, &format!("{error:#}")),
    }
    if let Ok(strict) = parse(text, false) {
        assert!(parse(text, true).is_ok_and(|all| all.len() == strict.len()));
    }
    if only_key(Algorithm::HmacSha256, text).is_some() {
        let digits = text.lines().map(str::trim).find(|line| line.starts_with(is_digit));
        let digits = digits.unwrap_or_default();
        let line = format!("name hmac-sha256 {digits} renew\n");
        assert!(parse(&line, false).is_ok_and(|clients| clients.len() == 1), "{line}");
    }
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.to_string(), text);
        let line = format!("{name} hmac-sha1 {}", "0f".repeat(16));
        assert!(parse(&line, false).is_ok_and(|clients| clients.len() == 1), "{line}");
        assert!(!name.quoted().contains('\n'));
    }
}

/// What is said of a fault shows none of the digits in the file.
fn check_silence(text: &str, said: &str) {
    let runs = text.split(|it: char| !is_digit(it)).filter(|run| run.len() >= SECRET_LEN_MIN);
    for run in runs {
        assert!(!said.contains(run), "shown: {said}");
    }
}

fn is_digit(it: char) -> bool {
    it.is_ascii_hexdigit()
}

/// Fewer digits in a row may be part of a word.
const SECRET_LEN_MIN: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_names_are_looked_at() {
        run(format!("laptop hmac-md5 {} renew\n# end", "0f".repeat(16)).as_bytes());
        run(format!("  {}\n", "aF".repeat(20)).as_bytes());
        run("b\u{fc}ro".as_bytes());
        run(b"a b 30313233343536373839616263646566");
    }
}
