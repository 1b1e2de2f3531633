//! The subcommand `teredo address`: explains a Teredo address, or builds one.

use std::fmt;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use anyhow::{Context, bail};
use serde::Serialize;
use teredo_wire::address::{CLIENT_LINK_LOCAL, client_prefix, is_teredo, server_link_local};
use teredo_wire::ipv4::{is_global_unicast, is_special_purpose};
use teredo_wire::{Flags, TeredoAddress};

use crate::exit::Exit;
use crate::output;

/// Options of `teredo address`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The address to explain: Teredo (2001:0::/32), or link-local as servers and clients use it
    #[arg(required_unless_present = "server", conflicts_with_all = ["server", "mapped", "flags"])]
    address: Option<Ipv6Addr>,

    /// Build the address of a client of the server with this primary IPv4 address
    #[arg(long, value_name = "IPV4", requires = "mapped")]
    server: Option<Ipv4Addr>,

    /// The mapped IPv4 address and port of the client to build the address of
    #[arg(long, value_name = "IPV4:PORT", requires = "server")]
    mapped: Option<SocketAddrV4>,

    /// The flags of the address to build, in hexadecimal; clients draw 12 of the bits at random
    #[arg(long, value_name = "HEX", requires = "server", value_parser = parse_flags)]
    flags: Option<u16>,

    /// The explanation as a JSON object
    #[arg(long)]
    json: bool,
}

/// Explains or builds an address.
///
/// # Errors
/// When the address to explain is not one of Teredo.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let Args { address, server, mapped, flags, json } = args;
    let build = |(server, mapped)| {
        let flags = Flags(flags.unwrap_or_default());
        TeredoAddress { server, flags, mapped }.to_ipv6()
    };
    let built = server.zip(mapped).map(build);
    let address = address.or(built).context("neither an address nor --server and --mapped")?;
    let explanation = Explanation::of(address)?;
    output::print(|out| match (json, built) {
        (true, _) => {
            serde_json::to_writer(&mut *out, &explanation)?;
            writeln!(out)
        }
        (false, Some(built)) => writeln!(out, "{built}"),
        (false, None) => write!(out, "{explanation}"),
    })?;
    Ok(Exit::Ok)
}

/// Everything an address says.
#[derive(Debug, Serialize)]
struct Explanation {
    address: Ipv6Addr,
    form: Form,
    server: Option<Endpoint<Ipv4Addr>>,
    flags: FlagBits,
    mapped: Endpoint<SocketAddrV4>,
    /// Whether peers may send to the IPv4 addresses in it (RFC 4380 section 5.2.4).
    usable: bool,
}

impl Explanation {
    fn of(address: Ipv6Addr) -> anyhow::Result<Self> {
        let octets = address.octets();
        let form = if is_teredo(address) {
            Form::Client
        } else if octets[..8] == [0xfe, 0x80, 0, 0, 0, 0, 0, 0] {
            Form::of_link_local(address)
        } else if octets[..4] == OLD_PREFIX {
            bail!("{address} has the prefix Teredo had before its RFC; no server uses it today");
        } else {
            bail!("{address} is not a Teredo address: those begin with 2001:0: (or fe80::)");
        };
        // The lower half has the same layout in all forms.
        let mut in_prefix = octets;
        in_prefix[..4].copy_from_slice(&client_prefix(Ipv4Addr::UNSPECIFIED).octets()[..4]);
        let teredo = TeredoAddress::parse(in_prefix.into()).context("not a Teredo address")?;
        let server = (form == Form::Client)
            .then(|| Endpoint { value: teredo.server, scope: Scope::of(teredo.server) });
        let mapped = Endpoint { value: teredo.mapped, scope: Scope::of(*teredo.mapped.ip()) };
        let usable = mapped.scope == Scope::Global
            && mapped.value.port() != 0
            && server.as_ref().is_some_and(|server| server.scope == Scope::Global);
        Ok(Self { address, form, server, flags: FlagBits::of(teredo.flags), mapped, usable })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: &dyn fmt::Display, note: &str| {
            writeln!(f, "{}", format!("{name:<11} {value:<22} {note}").trim_end())
        };
        row("address", &self.address.to_string(), "")?;
        row("form", &self.form.meaning(), "")?;
        if let Some(server) = &self.server {
            row("server", &server.value.to_string(), server.scope.meaning())?;
        }
        let mapped = &self.mapped;
        row("mapped", &mapped.value.to_string(), self.mapped_note())?;
        let FlagBits { value, cone, z, random, universal, group } = self.flags;
        row("flags", &format!("{value:#06x}"), "")?;
        let bit = |bit| u8::from(bit);
        row("  cone", &bit(cone), if cone { CONE_SET } else { CONE_CLEAR })?;
        row("  z", &bit(z), if z { "should be 0; receivers ignore it" } else { "" })?;
        row("  random", &format!("{random:#05x}"), "12 bits, against guessing the address")?;
        row("  universal", &bit(universal), if universal { "should be 0" } else { "" })?;
        row("  group", &bit(group), if group { "should be 0" } else { "" })?;
        let usable = if self.usable { "yes" } else { "no" };
        row("usable", &usable, self.usable_note())
    }
}

impl Explanation {
    fn mapped_note(&self) -> &'static str {
        match self.form {
            Form::ClientLinkLocal => "nothing: the client does not know yet",
            Form::Client | Form::ServerLinkLocal | Form::LinkLocal => self.mapped.scope.meaning(),
        }
    }

    fn usable_note(&self) -> &'static str {
        let Some(server) = &self.server else { return "only between server and client" };
        match server.scope.max(self.mapped.scope) {
            Scope::NotGlobal => "nobody may send to these IPv4 addresses",
            _ if self.mapped.value.port() == 0 => "port 0 is none",
            Scope::SpecialPurpose => "only where --allow-ipv4 covers the IPv4 addresses",
            Scope::Global => "peers may send to it",
        }
    }
}

/// Which kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Form {
    /// In the service prefix.
    Client,
    /// The well-known source of solicitations.
    ClientLinkLocal,
    /// A server's link-local address.
    ServerLinkLocal,
    /// Another link-local address.
    LinkLocal,
}

impl Form {
    fn of_link_local(address: Ipv6Addr) -> Self {
        let [.., c0, c1, c2, c3] = address.octets();
        let primary = Ipv4Addr::new(!c0, !c1, !c2, !c3);
        match address {
            CLIENT_LINK_LOCAL => Self::ClientLinkLocal,
            _ if address == server_link_local(primary) => Self::ServerLinkLocal,
            _ => Self::LinkLocal,
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Client => "address of a client",
            Self::ClientLinkLocal => "link-local source of a client's solicitations",
            Self::ServerLinkLocal => "link-local address of a server",
            Self::LinkLocal => "link-local; read as if it had the layout of Teredo",
        }
    }
}

/// An IPv4 address or endpoint and where it is valid.
#[derive(Debug, Serialize)]
struct Endpoint<T> {
    value: T,
    scope: Scope,
}

/// Whether Teredo packets may go to an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Scope {
    Global,
    SpecialPurpose,
    NotGlobal,
}

impl Scope {
    fn of(address: Ipv4Addr) -> Self {
        if !is_global_unicast(address) {
            Self::NotGlobal
        } else if is_special_purpose(address) {
            Self::SpecialPurpose
        } else {
            Self::Global
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Global => "global unicast",
            Self::SpecialPurpose => "special purpose (RFC 6890): refused unless allowed",
            Self::NotGlobal => "not global unicast: always refused",
        }
    }
}

/// The flags, bit by bit.
#[derive(Clone, Copy, Debug, Serialize)]
struct FlagBits {
    value: u16,
    cone: bool,
    z: bool,
    /// The twelve random bits, side by side.
    random: u16,
    universal: bool,
    group: bool,
}

impl FlagBits {
    fn of(flags: Flags) -> Self {
        let Flags(value) = flags;
        Self {
            value,
            cone: flags.is_cone(),
            z: value & 0x4000 != 0,
            random: (value & 0x3C00) >> 2 | value & 0x00FF,
            universal: value & 0x0200 != 0,
            group: value & 0x0100 != 0,
        }
    }
}

fn parse_flags(text: &str) -> Result<u16, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u16::from_str_radix(digits, 16).map_err(|_| "expected up to four hexadecimal digits".to_owned())
}

const CONE_SET: &str = "behind a cone NAT, says an old client; or a server";
const CONE_CLEAR: &str = "as clients send it today";
/// 3ffe:831f::/32, of Windows before RFC 4380.
const OLD_PREFIX: [u8; 4] = [0x3f, 0xfe, 0x83, 0x1f];

const AFTER_HELP: &str = "\
Examples:
  teredo address 2001:0:cb00:7178:3cff:efff:3fff:fdfe
  teredo address --json fe80::8000:f227:bec8:61af
  teredo address --server 198.51.100.1 --mapped 192.0.2.1:4096 --flags 3cff";
