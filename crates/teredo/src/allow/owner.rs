//! Whose sockets a rule is about.

use std::fmt;
use std::fs;

/// The owner of sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A user, by name or number.
    User(String),
    /// A service or scope of the host's systemd, by its full name.
    Unit(String),
}

impl Owner {
    /// The owner of this `kind` and name; `None` if nobody can be called that.
    pub(super) fn new(kind: &str, name: &str) -> Option<Self> {
        let is_name = |it: char| it.is_ascii_graphic() && it != '/' && it != ':' || !it.is_ascii();
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(is_name) {
            return None;
        }
        match kind {
            "user" => Some(Self::User(name.to_owned())),
            "unit" => {
                let (stem, suffix) = name.rsplit_once('.')?;
                let is_unit = !stem.is_empty() && UNIT_SUFFIXES.contains(&suffix);
                is_unit.then(|| Self::Unit(name.to_owned()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{name}"),
            Self::Unit(name) => write!(f, "unit:{name}"),
        }
    }
}

/// The number of a user: the name itself if it is one, else as `/etc/passwd` has it. Users of other
/// databases go by number, because asking those takes programs and servers that a role in its
/// sandbox is kept from.
pub(super) fn user_number(name: &str) -> Option<u32> {
    if name.bytes().all(|it| it.is_ascii_digit()) {
        return name.parse().ok();
    }
    number_in(&fs::read_to_string(USERS).ok()?, name)
}

fn number_in(users: &str, name: &str) -> Option<u32> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Where the names of users stand.
pub(crate) const USERS: &str = "/etc/passwd";
/// That of units; users' are shorter.
const NAME_LEN_MAX: usize = 255;
/// Units that have processes.
const UNIT_SUFFIXES: [&str; 2] = ["service", "scope"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_go_by_name_or_number() {
        let users =
            "root:x:0:0::/root:/bin/sh\n1000x:x:7:7:::\nbt:x:1000:1000:BT:/var:/bin/false\n";
        assert_eq!(number_in(users, "bt"), Some(1000));
        assert_eq!(number_in(users, "root"), Some(0));
        assert_eq!(number_in(users, "ro"), None);
        assert_eq!(number_in("bt\nbt:x\nbt:x:y\n", "bt"), None);
        assert_eq!(user_number("1234"), Some(1234));
        assert_eq!(user_number("99999999999"), None);
        assert_eq!(user_number("nobody-is-called-so"), None);
    }
}
