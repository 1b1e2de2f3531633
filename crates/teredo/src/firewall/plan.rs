//! What is to be in the ruleset, for every port that the client may have.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use teredo_wire::{DISCOVERY_GROUP, TEREDO_PORT};

use super::model::{
    Command, Element,
    Expression::{Address, Ct, Field, MarkWith, Meta, Port, Set, Word},
    Key, Object, SetId, Statement, Transaction,
};

/// What the agent keeps, and where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// After this time without the agent every exception closes.
    pub(crate) timeout_s: u32,
}

/// Where the exceptions are.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// In a table of our own, which marks what the host's own rules then accept.
    Table(Exceptions),
    /// In a set that the administrator has declared, and whose content is ours.
    Set(SetId),
}

/// What is let through besides the client's port.
#[derive(Clone, Debug)]
pub(crate) struct Exceptions {
    /// The bits of the mark.
    pub(crate) mark: u32,
    /// Whether clients on the same link may find each other, while there is a port.
    pub(crate) local_discovery: bool,
    /// These servers may be asked from any port and answer it.
    pub(crate) servers: Vec<Ipv4Addr>,
    /// These routers may be asked for port mappings.
    pub(crate) routers: Vec<Ipv4Addr>,
}

/// The sets and what is in each.
pub(crate) type Contents = Vec<(SetId, Vec<Key>)>;

impl Plan {
    /// What is to be in the sets while the client has this port.
    pub(crate) fn contents(&self, port: Option<NonZeroU16>) -> Contents {
        let ports: Vec<_> = port.map(|port| Key::Port(port.get())).into_iter().collect();
        match &self.target {
            Target::Set(id) => vec![(id.clone(), ports)],
            Target::Table(exceptions) => {
                let own = |name, keys| (own_set(name), keys);
                let discovery = port.map(|_| Key::Port(TEREDO_PORT)).into_iter().collect();
                let mut contents = vec![own(PORTS, ports)];
                if exceptions.local_discovery {
                    contents.push(own(DISCOVERY, discovery));
                }
                if !exceptions.servers.is_empty() {
                    contents.push(own(SERVERS, addresses(&exceptions.servers)));
                }
                if !exceptions.routers.is_empty() {
                    contents.push(own(ROUTERS, addresses(&exceptions.routers)));
                    contents.push(own(SEARCH, vec![Key::Port(SSDP_PORT)]));
                }
                contents
            }
        }
    }

    /// Puts everything there anew, whatever there was.
    pub(crate) fn install(&self, contents: &Contents) -> Transaction {
        let Target::Table(exceptions) = &self.target else { return self.update(contents) };
        let mut commands = vec![
            // Adding what is there does no harm, and deleting what is not there would fail.
            Command::Add(own_table()),
            Command::Delete(own_table()),
            Command::Add(own_table()),
        ];
        let sets = contents.iter().map(|(id, _)| {
            let is_of_addresses = [SERVERS, ROUTERS].contains(&id.name.as_str());
            let kind = if is_of_addresses { "ipv4_addr" } else { "inet_service" };
            Object::Set { id: id.clone(), kind: Some(kind), flags: Some(["timeout"]) }
        });
        commands.extend(sets.map(Command::Add));
        for (chain, rules) in [("input", incoming()), ("output", outgoing())] {
            commands.push(Command::Add(own_chain(chain)));
            // Without its set a rule would be an error; and a rule that is not needed must not
            // switch on connection tracking by asking it.
            let has_set = |rule: &Rule| contents.iter().any(|(id, _)| id.name == rule.set);
            let rules = rules.into_iter().filter(has_set);
            commands.extend(rules.map(|it| Command::Add(it.marking(chain, exceptions.mark))));
        }
        commands.extend(self.elements(contents));
        Transaction { nftables: commands }
    }

    /// Replaces what is in the sets. In one step, so that what stays is never closed for a moment
    /// and what goes is never open beside what comes; also how elements get their full time again.
    pub(crate) fn update(&self, contents: &Contents) -> Transaction {
        let flushes = contents.iter().map(|(id, _)| Command::Flush(bare(id)));
        Transaction { nftables: flushes.chain(self.elements(contents)).collect() }
    }

    /// Takes everything away.
    pub(crate) fn clear(&self) -> Transaction {
        let nftables = match &self.target {
            Target::Table(_) => vec![Command::Add(own_table()), Command::Delete(own_table())],
            Target::Set(id) => vec![Command::Flush(bare(id))],
        };
        Transaction { nftables }
    }

    /// The words that make `nft list` all of it.
    pub(crate) fn listed_as(&self) -> Vec<&str> {
        match &self.target {
            Target::Table(_) => vec!["table", FAMILY, TABLE],
            Target::Set(SetId { family, table, name }) => vec!["set", family, table, name],
        }
    }

    /// How many objects `nft list` then shows.
    pub(crate) fn object_count(&self) -> usize {
        if matches!(self.target, Target::Set(_)) {
            return 1;
        }
        let install = self.install(&self.contents(None));
        let is_object = |command: &&Command| match command {
            Command::Add(Object::Element { .. }) | Command::Delete(_) | Command::Flush(_) => false,
            Command::Add(_) => true,
        };
        // The table is added twice.
        install.nftables.iter().filter(is_object).count() - 1
    }

    fn elements(&self, contents: &Contents) -> impl Iterator<Item = Command> {
        contents.iter().filter(|(_, keys)| !keys.is_empty()).map(|(id, keys)| {
            let elem = keys.iter().map(|key| Element::new(*key, self.timeout_s)).collect();
            Command::Add(Object::Element { id: id.clone(), elem })
        })
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.target {
            Target::Table(_) => write!(f, "table {FAMILY} {TABLE}"),
            Target::Set(id) => write!(f, "set {id}"),
        }
    }
}

/// A rule that marks what fits.
struct Rule {
    /// The set that it depends on.
    set: &'static str,
    comment: &'static str,
    fits: Vec<Statement>,
}

impl Rule {
    fn new(set: &'static str, comment: &'static str, fits: impl Into<Vec<Statement>>) -> Self {
        Self { set, comment, fits: fits.into() }
    }

    fn marking(self, chain: &'static str, mark: u32) -> Object {
        let mut expr = self.fits;
        expr.push(Statement::Mangle { key: Meta("mark"), value: MarkWith(mark) });
        let (family, table) = (FAMILY.to_owned(), TABLE.to_owned());
        Object::Rule { family, table, chain, comment: self.comment, expr }
    }
}

/// The exceptions for what comes in.
///
/// By port and never by user (`meta skuid`): in this hook a packet has no socket yet. Everything
/// depends on a set, so that all of it closes when nobody refreshes the elements.
fn incoming() -> Vec<Rule> {
    vec![
        // Peers, relays and servers send from any address and port. Teredo is IPv4 only.
        Rule::new(
            PORTS,
            "the port of the Teredo client",
            [
                Statement::is(Meta("nfproto"), Word("ipv4")),
                Statement::is(Field("udp", "dport"), Set(PORTS)),
            ],
        ),
        Rule::new(
            DISCOVERY,
            "clients on the same link",
            [
                Statement::is(Field("ip", "daddr"), Address(DISCOVERY_GROUP)),
                Statement::is(Field("udp", "dport"), Set(DISCOVERY)),
            ],
        ),
        Rule::new(
            SERVERS,
            "answers of a server",
            [
                Statement::is(Field("ip", "saddr"), Set(SERVERS)),
                Statement::is(Field("udp", "sport"), Port(TEREDO_PORT)),
                reply(),
            ],
        ),
        Rule::new(
            ROUTERS,
            "answers of a router to PCP and NAT-PMP",
            [
                Statement::is(Field("ip", "saddr"), Set(ROUTERS)),
                Statement::is(Field("udp", "sport"), Port(MAPPING_PORT)),
                reply(),
            ],
        ),
        Rule::new(
            ROUTERS,
            "a router announces that it has lost its mappings",
            [
                Statement::is(Field("ip", "saddr"), Set(ROUTERS)),
                Statement::is(Field("ip", "daddr"), Address(ALL_HOSTS)),
                Statement::is(Field("udp", "dport"), Port(ANNOUNCEMENT_PORT)),
            ],
        ),
        // To a search by multicast, so that connection tracking does not know it for a reply.
        Rule::new(
            ROUTERS,
            "a router says that it speaks UPnP",
            [
                Statement::is(Field("ip", "saddr"), Set(ROUTERS)),
                Statement::is(Field("udp", "sport"), Port(SSDP_PORT)),
            ],
        ),
    ]
}

/// The exceptions for what goes out.
fn outgoing() -> Vec<Rule> {
    vec![
        Rule::new(
            PORTS,
            "the port of the Teredo client",
            [
                Statement::is(Meta("nfproto"), Word("ipv4")),
                Statement::is(Field("udp", "sport"), Set(PORTS)),
            ],
        ),
        Rule::new(
            DISCOVERY,
            "clients on the same link",
            [
                Statement::is(Field("ip", "daddr"), Address(DISCOVERY_GROUP)),
                Statement::is(Field("udp", "dport"), Set(DISCOVERY)),
            ],
        ),
        // From any port: the first question is sent before the agent knows the client's.
        Rule::new(
            SERVERS,
            "questions to a server",
            [
                Statement::is(Field("ip", "daddr"), Set(SERVERS)),
                Statement::is(Field("udp", "dport"), Port(TEREDO_PORT)),
            ],
        ),
        Rule::new(
            ROUTERS,
            "PCP and NAT-PMP",
            [
                Statement::is(Field("ip", "daddr"), Set(ROUTERS)),
                Statement::is(Field("udp", "dport"), Port(MAPPING_PORT)),
            ],
        ),
        Rule::new(
            SEARCH,
            "looking for a router that speaks UPnP",
            [
                Statement::is(Field("ip", "daddr"), Address(SSDP_GROUP)),
                Statement::is(Field("udp", "dport"), Set(SEARCH)),
            ],
        ),
    ]
}

/// Only what answers us: without that, who sends from the right port would reach every other.
fn reply() -> Statement {
    Statement::Match { op: "in", left: Ct("state"), right: Word("established") }
}

fn addresses(list: &[Ipv4Addr]) -> Vec<Key> {
    list.iter().copied().map(Key::Address).collect()
}

fn own_table() -> Object {
    Object::Table { family: FAMILY.to_owned(), name: TABLE.to_owned() }
}

fn own_set(name: &str) -> SetId {
    SetId { family: FAMILY.to_owned(), table: TABLE.to_owned(), name: name.to_owned() }
}

fn own_chain(hook: &'static str) -> Object {
    Object::Chain {
        family: FAMILY.to_owned(),
        table: TABLE.to_owned(),
        name: hook,
        r#type: "filter",
        hook,
        prio: PRIORITY,
        policy: "accept",
    }
}

/// A set by its name alone.
fn bare(id: &SetId) -> Object {
    Object::Set { id: id.clone(), kind: None, flags: None }
}

const FAMILY: &str = "inet";
const TABLE: &str = "teredo";
/// Before the host's own filters, which are at 0 (nftables calls it `filter`).
const PRIORITY: i32 = -10;

/// The set of the client's port.
const PORTS: &str = "ports";
/// The set of the port of local discovery.
const DISCOVERY: &str = "discovery";
/// The set of servers.
const SERVERS: &str = "servers";
/// The set of routers.
const ROUTERS: &str = "routers";
/// The set of the port on which routers are searched for.
const SEARCH: &str = "search";

/// Of a router (RFC 6886 section 3.3, RFC 6887 section 19).
const MAPPING_PORT: u16 = 5_351;
/// Of hosts that hear announcements (RFC 6886 section 3.2.1).
const ANNOUNCEMENT_PORT: u16 = 5_350;
const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const SSDP_PORT: u16 = 1_900;
const SSDP_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Plan {
        let exceptions = Exceptions {
            mark: 0x1000,
            local_discovery: true,
            servers: vec![Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)],
            routers: vec![Ipv4Addr::new(192, 168, 1, 1)],
        };
        Plan { target: Target::Table(exceptions), timeout_s: 10 }
    }

    fn of_a_set() -> Plan {
        let [family, table, name] = ["inet", "filter", "teredo_port"].map(str::to_owned);
        Plan { target: Target::Set(SetId { family, table, name }), timeout_s: 10 }
    }

    /// `TEREDO_BLESS=1` writes what is shown.
    fn assert_golden(name: &str, shown: &str) {
        let path = format!("{}/tests/golden/firewall-{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("TEREDO_BLESS").is_some() {
            std::fs::write(&path, shown).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(shown, golden, "{path}");
    }

    fn json(transaction: &Transaction) -> String {
        // A command a line.
        let commands = transaction.nftables.iter().map(|it| serde_json::to_string(it).unwrap());
        commands.collect::<Vec<_>>().join("\n") + "\n"
    }

    #[test]
    fn a_transaction_is_the_same_in_both_forms() {
        let port = NonZeroU16::new(5000);
        for (name, plan) in [("table", full()), ("set", of_a_set())] {
            let contents = plan.contents(port);
            for (what, transaction) in [
                ("install", plan.install(&contents)),
                ("update", plan.update(&contents)),
                ("clear", plan.clear()),
            ] {
                assert_golden(&format!("{name}-{what}.json"), &json(&transaction));
                assert_golden(&format!("{name}-{what}.nft"), &transaction.to_string());
            }
        }
    }

    #[test]
    fn what_goes_is_removed_before_anything_is_added() {
        for plan in [full(), of_a_set()] {
            let update = plan.update(&plan.contents(NonZeroU16::new(5000))).nftables;
            let first_add = update.iter().position(|it| matches!(it, Command::Add(_))).unwrap();
            let is_flush = |command: &Command| matches!(command, Command::Flush(_));
            assert!(update[..first_add].iter().all(is_flush), "{update:?}");
            assert!(!update[first_add..].iter().any(is_flush), "{update:?}");
        }
    }

    #[test]
    fn without_a_port_only_what_needs_none_is_open() {
        let plan = full();
        let is_open = |name: &str| {
            let contents = plan.contents(None);
            contents.iter().any(|(id, keys)| id.name == name && !keys.is_empty())
        };
        assert!(!is_open(PORTS) && !is_open(DISCOVERY));
        assert!(is_open(SERVERS) && is_open(ROUTERS) && is_open(SEARCH));
        assert!(of_a_set().contents(None).iter().all(|(_, keys)| keys.is_empty()));
    }

    #[test]
    fn what_is_not_configured_has_neither_set_nor_rule() {
        let exceptions = Exceptions {
            mark: 1,
            local_discovery: false,
            servers: Vec::new(),
            routers: Vec::new(),
        };
        let plan = Plan { target: Target::Table(exceptions), timeout_s: 10 };
        let ruleset = plan.install(&plan.contents(NonZeroU16::new(5000))).to_string();
        assert_eq!(ruleset.matches("add rule").count(), 2);
        assert!(!ruleset.contains("ct state"), "connection tracking stays off");
        // Table, set, two chains, two rules.
        assert_eq!(plan.object_count(), 6);
    }
}
