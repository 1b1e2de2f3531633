//! What a host takes part as, in words.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use teredo_control::Type;

/// The type of a client, on the command line and in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(pub(crate) Type);

impl ValueEnum for Kind {
    /// All but `server`, which is a role of its own.
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self(Type::Default),
            Self(Type::Disabled),
            Self(Type::Client),
            Self(Type::EnterpriseClient),
            Self(Type::NatAwareClient),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_types_but_server_are_a_clients() {
        let ours = Kind::value_variants().iter().map(|kind| kind.0);
        let all = Type::ALL.into_iter().filter(|kind| *kind != Type::Server);
        assert!(ours.eq(all));
    }
}
