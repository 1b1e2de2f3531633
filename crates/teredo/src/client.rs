//! The subcommand `teredo client`, and the client of `teredo daemon`.

mod helper;
mod host;
mod kind;
mod managed;
mod mapping;
mod obstacle;
mod publication;
mod serve;
mod snapshot;
mod source;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::builder::NonEmptyStringValueParser;
use teredo_control::SettingName;
use teredo_engine::resolve::resolve;
use teredo_proto::client::Traversal;
use teredo_proto::policy::RULES_MAX;
use teredo_sys::caps::Capability;
use teredo_sys::sandbox::Needs;

use crate::allow::{AllowRule, CONTROL_GROUPS, Rules};
use crate::exit::Exit;
use crate::host::{CommonArgs, Watch};
use crate::keys::KeyArgs;
use crate::publisher::Publisher;
use crate::report::Report;
use crate::sandbox;
use crate::secondary::Secondary;

pub(crate) use helper::HelperArgs;
pub(crate) use kind::Kind;
pub(crate) use obstacle::Obstacle;
pub(crate) use publication::settings;
pub(crate) use serve::{Ended, Failure, Start, serve};
pub(crate) use source::Source;

/// Options of `teredo client`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name or IPv4 address of the server
    #[arg(long, value_name = "HOST", required = true)]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) server: Option<String>,

    /// What this host takes part as: a client stays off managed networks, those with a domain
    /// controller, and an enterpriseclient does not
    #[arg(
        long = "type",
        value_name = "TYPE",
        default_value = "client",
        hide_possible_values = true
    )]
    pub(crate) kind: Kind,

    /// Secondary address of the server, or "none"; without it the one after the primary. It shows
    /// what kind of NAT this host is behind
    #[arg(long, value_name = "IPV4|none", default_value = "next", hide_default_value = true)]
    secondary: Secondary,

    /// Local UDP port, for instance one that the NAT forwards; without it a random one
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    pub(crate) port: u16,

    /// Name of the tunnel interface
    #[arg(long, value_name = "NAME", default_value = "teredo")]
    interface: String,

    /// Go into service only with the answers of both server addresses, as RFC 4380 has it
    #[arg(long)]
    strict: bool,

    /// Seconds for which a NAT keeps a mapping without traffic
    #[arg(long, value_name = "S", default_value = "30")]
    #[arg(value_parser = clap::value_parser!(u32).range(REFRESH_INTERVAL_S))]
    pub(crate) refresh_interval: u32,

    /// Find out whether the NAT keeps mappings for longer, up to two minutes, and ask the server as
    /// seldom as it allows
    #[arg(long)]
    determine_interval: bool,

    /// Go dormant after this many seconds without need; the first packet, or a program that asks
    /// for the address, wakes the client
    #[arg(long, value_name = "S", default_value = "3600")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    dormant_after: u32,

    /// Never go dormant
    #[arg(long)]
    pub(crate) default_qualified: bool,

    /// Do not ask the gateway to map the local port (PCP, NAT-PMP, UPnP); the type natawareclient
    /// asks in any case
    #[arg(long)]
    no_port_mapping: bool,

    /// Do not look for other clients on the same private network by multicast, and do not answer
    /// those that do
    #[arg(long)]
    no_local_discovery: bool,

    /// Do without these techniques against NATs (may be given several times): all, rfc6081, or
    /// symmetric, mapped-symmetric, port-preserving, sequential, hairpin, load-reduction,
    /// peer-mapping, deferred-open, address-pool, birthday, helper, with commas between them. What
    /// builds on them goes as well
    #[arg(long, value_name = "LIST")]
    without: Vec<Traversal>,

    /// Use these as well; birthday is the one that is off by default, because a network may take it
    /// for a scan
    #[arg(long, value_name = "LIST")]
    with: Vec<Traversal>,

    /// Give up, with exit code 4, if there is no address after this many seconds; without it the
    /// client keeps trying
    #[arg(long, value_name = "S")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,

    #[command(flatten)]
    key: KeyArgs,

    #[command(flatten)]
    helper: HelperArgs,

    /// Run also where this host has IPv6 by other means
    #[arg(long)]
    despite_native_ipv6: bool,

    /// A network whose resolver searches this domain is a managed one (may be given several times),
    /// beside the domains that this host has joined
    #[arg(long, value_name = "DOMAIN")]
    managed_domain: Vec<String>,

    /// Where the resolver's search domains stand
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,

    /// The most peers remembered at a time, which sets how much memory it takes
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    peers_max: Option<u32>,

    /// Let in what nobody here has asked for: all, echo, tcp, udp or a protocol number, tcp and udp
    /// with a port or range, or whatever ports a user or a systemd unit listens on, each from
    /// everybody or a prefix (may be given several times); without it nothing
    #[arg(long, value_name = "PROTO[/PORT[-PORT]]|user:NAME|unit:NAME[@PREFIX]")]
    allow: Vec<AllowRule>,

    #[command(flatten)]
    pub(crate) common: CommonArgs,

    /// Which of these a policy dictates.
    #[arg(skip)]
    pub(crate) from_policy: Vec<SettingName>,

    /// The file that says what is allowed, unless it is the command line.
    #[arg(skip)]
    pub(crate) allow_file: Option<PathBuf>,

    /// What is allowed beside that, since somebody has said so at run time.
    #[arg(skip)]
    pub(crate) allow_added: Vec<AllowRule>,
}

impl Args {
    /// How long a client that nobody needs stays awake.
    fn dormant_after(&self) -> Option<Duration> {
        (!self.default_qualified).then(|| Duration::from_secs(self.dormant_after.into()))
    }

    /// The techniques that are used. Whoever names one both ways does not want it.
    fn traversal(&self) -> Traversal {
        let with = self.with.iter().fold(Traversal::default(), |all, it| all.with(*it));
        let without = self.without.iter().fold(with, |all, it| all.without(*it));
        without.with_dependencies()
    }

    /// What may come in unasked.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            given: self.allow.clone(),
            file: self.allow_file.clone(),
            added: self.allow_added.clone(),
        }
    }

    /// The server as people know it.
    fn server_name(&self) -> &str {
        self.server.as_deref().unwrap_or("(none)")
    }

    /// These options with those of `other` that a running client can take over.
    fn with_live_of(&self, other: &Self) -> Self {
        Self {
            refresh_interval: other.refresh_interval,
            determine_interval: other.determine_interval,
            dormant_after: other.dormant_after,
            default_qualified: other.default_qualified,
            kind: other.kind,
            no_port_mapping: other.no_port_mapping,
            managed_domain: other.managed_domain.clone(),
            resolv_conf: other.resolv_conf.clone(),
            allow: other.allow.clone(),
            allow_file: other.allow_file.clone(),
            allow_added: other.allow_added.clone(),
            from_policy: other.from_policy.clone(),
            ..self.clone()
        }
    }
}

const EXAMPLES: &str = "Examples:
  teredo client --server teredo.example.net
  teredo client --server 192.0.2.1 --port 3545 --json
  teredo client --server 192.0.2.1 --allow echo --allow tcp/22 --allow udp/6881-6889
  teredo client --server 192.0.2.1 --allow all@2001:db8:6::/48 --allow unit:sshd.service
  teredo client --server 192.0.2.1 --without deferred-open,address-pool --with birthday
  teredo client --server 192.0.2.1 --timeout 10 || echo no IPv6
  teredo client --server 192.0.2.1 --identifier laptop --key-file /etc/teredo/laptop.key
  teredo client --server 192.0.2.1 --helper helper.example.net --helper-identifier laptop \
                --helper-key-file /etc/teredo/laptop.key

Needs CAP_NET_ADMIN. The interface and all that is on it disappear when the client ends. What it
does is told by teredo status, teredo port and libnetioapi; teredo allow changes what may come in.
To run one for good, with settings that can be changed, see teredo daemon.";

/// What a client needs in its sandbox: to ask for its server's address again, and to start anew
/// with other options. Files that those name are in `/etc`, or were named before.
pub(crate) fn needs(args: &Args) -> Needs {
    Needs {
        capabilities: vec![Capability::NetAdmin],
        names: true,
        devices: true,
        readable: (args.key.file().into_iter())
            .chain(args.helper.key_file())
            .chain([args.resolv_conf.clone()])
            .chain(CONTROL_GROUPS.map(PathBuf::from))
            .collect(),
        writable: vec![sandbox::runtime_directory(), mapping::state_directory()],
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let report = Report::new(args.common.json);
    if let Some(obstacle) = Obstacle::of(&args) {
        report.say(&obstacle.words(&args));
        return Ok(Exit::Forbidden);
    }
    check(&args)?;
    // Before signals only end the event loop, because it may take long.
    let server = resolve(args.server_name())?;
    let mut watch = Watch::new()?;
    let sandbox = sandbox::enter(&needs(&args))?;
    let publisher = Publisher::start(&report, settings(&args), sandbox.state());
    let start = Start {
        report,
        sandbox: &sandbox,
        publisher: &publisher,
        source: &mut source::CommandLine,
        watch: &mut watch,
        server,
        last_port: None,
    };
    let ended = serve(start, args).map_err(|failure| failure.error)?;
    // There is nobody to wait here until the network is another one.
    if let Some(args) = ended.again {
        report.say(&Obstacle::ManagedNetwork.words(&args));
        return Ok(Exit::Forbidden);
    }
    Ok(ended.exit)
}

/// What no single option shows to be wrong.
pub(crate) fn check(args: &Args) -> anyhow::Result<()> {
    ensure!(args.rules().fit(), "too much is allowed: there are more than {RULES_MAX} rules");
    Ok(())
}

/// Oftener than every five seconds no NAT needs; a mapping that lives an hour needs no care.
pub(crate) const REFRESH_INTERVAL_S: std::ops::RangeInclusive<i64> = 5..=3_600;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn techniques_are_switched_one_by_one() {
        let all = Traversal::default();
        for (words, expected, off) in [
            ("", all, None),
            ("--with birthday", Traversal::ALL, None),
            (
                "--without hairpin",
                Traversal { hairpin: false, address_pool: false, helper: false, ..all },
                Some("hairpin,address-pool,helper"),
            ),
            (
                "--without helper --with birthday --without birthday,peer-mapping",
                Traversal { helper: false, peer_mapping: false, ..all },
                Some("peer-mapping,helper"),
            ),
            ("--without all --with rfc6081", Traversal::NONE, Some(&*all.to_string())),
        ] {
            let line = format!("client --server x {words}");
            let args = Line::try_parse_from(line.split_whitespace()).unwrap().args;
            assert_eq!(args.traversal(), expected, "{words}");
            assert_eq!(settings(&args).without.as_deref(), off, "{words}");
        }
    }
}
