//! Which techniques a client uses: a switch for each, and one vocabulary for all who ask for them
//! by name.

use core::fmt;
use core::str::FromStr;

/// Which ways to meet a peer a client uses beside RFC 4380's: the extensions of RFC 6081, then what
/// goes beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traversal {
    /// Symmetric NAT support (section 5.2).
    pub symmetric: bool,
    /// UPnP-enabled symmetric NAT (section 5.3).
    pub mapped_symmetric: bool,
    /// Port-preserving symmetric NAT (section 5.4).
    pub port_preserving: bool,
    /// Sequential port-symmetric NAT (section 5.5).
    pub sequential: bool,
    /// Hairpinning (section 5.6).
    pub hairpin: bool,
    /// Server load reduction (section 5.7).
    pub load_reduction: bool,
    /// The gateway is asked which port it will give a flow to the peer (RFC 6887 section 12).
    pub peer_mapping: bool,
    /// A predicted port is opened only when the peer has answered.
    pub deferred_open: bool,
    /// Other external addresses of a NAT with several are named to the peer.
    pub address_pool: bool,
    /// Many ports towards one endpoint, and one port towards many: only between clients that both
    /// agree to it.
    pub birthday: bool,
    /// A helper passes packets on when nothing else works; without effect unless one is configured.
    pub helper: bool,
}

impl Traversal {
    /// Everything there is.
    pub const ALL: Self = Self {
        peer_mapping: true,
        deferred_open: true,
        address_pool: true,
        birthday: true,
        helper: true,
        ..Self::RFC6081
    };

    /// The extensions of RFC 6081, and nothing beyond them.
    pub const RFC6081: Self = Self {
        symmetric: true,
        mapped_symmetric: true,
        port_preserving: true,
        sequential: true,
        hairpin: true,
        load_reduction: true,
        ..Self::NONE
    };

    /// RFC 4380 alone.
    pub const NONE: Self = Self {
        symmetric: false,
        mapped_symmetric: false,
        port_preserving: false,
        sequential: false,
        hairpin: false,
        load_reduction: false,
        peer_mapping: false,
        deferred_open: false,
        address_pool: false,
        birthday: false,
        helper: false,
    };

    /// Without those that depend on one that is off (sections 5.3 to 5.5, E-04).
    #[must_use]
    pub const fn with_dependencies(self) -> Self {
        let port_preserving = self.port_preserving && self.symmetric;
        let sequential = self.sequential && port_preserving;
        let names_addresses = self.hairpin && self.symmetric;
        Self {
            mapped_symmetric: self.mapped_symmetric && self.symmetric,
            port_preserving,
            sequential,
            peer_mapping: self.peer_mapping && port_preserving,
            deferred_open: self.deferred_open && sequential,
            address_pool: self.address_pool && names_addresses,
            birthday: self.birthday && self.symmetric,
            helper: self.helper && names_addresses,
            ..self
        }
    }
}

impl Default for Traversal {
    /// All but birthday probing, which a network may take for a scan.
    fn default() -> Self {
        Self { birthday: false, ..Self::ALL }
    }
}

impl Traversal {
    /// The names of the techniques, in the order of the fields.
    pub const NAMES: [&str; 11] = [
        "symmetric",
        "mapped-symmetric",
        "port-preserving",
        "sequential",
        "hairpin",
        "load-reduction",
        "peer-mapping",
        "deferred-open",
        "address-pool",
        "birthday",
        "helper",
    ];

    /// These and those.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        self.combined(others, |is_on, is_other| is_on || is_other)
    }

    /// These without those.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        self.combined(others, |is_on, is_other| is_on && !is_other)
    }

    /// The names of those that are on.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .zip(self.switches())
            .filter_map(|(name, is_on)| is_on.then_some(name))
    }

    fn combined(mut self, others: Self, combine: impl Fn(bool, bool) -> bool) -> Self {
        for (name, is_other) in Self::NAMES.into_iter().zip(others.switches()) {
            if let Some(switch) = self.switch(name) {
                *switch = combine(*switch, is_other);
            }
        }
        self
    }

    fn switches(mut self) -> [bool; 11] {
        Self::NAMES.map(|name| self.switch(name).is_some_and(|switch| *switch))
    }

    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "symmetric" => &mut self.symmetric,
            "mapped-symmetric" => &mut self.mapped_symmetric,
            "port-preserving" => &mut self.port_preserving,
            "sequential" => &mut self.sequential,
            "hairpin" => &mut self.hairpin,
            "load-reduction" => &mut self.load_reduction,
            "peer-mapping" => &mut self.peer_mapping,
            "deferred-open" => &mut self.deferred_open,
            "address-pool" => &mut self.address_pool,
            "birthday" => &mut self.birthday,
            "helper" => &mut self.helper,
            _ => return None,
        })
    }
}

impl fmt::Display for Traversal {
    /// The names of those that are on, or "none", as [`FromStr`] reads them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.write_str(if names.is_empty() { NONE } else { "" })?;
        f.write_str(&names.join(","))
    }
}

impl FromStr for Traversal {
    type Err = UnknownTechnique;

    /// Reads names with commas between them; `none`, `rfc6081` and `all` stand for several.
    fn from_str(words: &str) -> Result<Self, UnknownTechnique> {
        let mut all = Self::NONE;
        for word in words.split(',').map(str::trim) {
            match word {
                NONE => {}
                "rfc6081" => all = all.with(Self::RFC6081),
                "all" => all = Self::ALL,
                name => *all.switch(name).ok_or(UnknownTechnique)? = true,
            }
        }
        Ok(all)
    }
}

/// A word is not the name of a technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTechnique;

impl fmt::Display for UnknownTechnique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected names of techniques: all, rfc6081, {NONE}, {}",
            Traversal::NAMES.join(", ")
        )
    }
}

impl core::error::Error for UnknownTechnique {}

const NONE: &str = "none";
