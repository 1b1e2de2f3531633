//! What the lab tells people, on standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Instant;

use super::nats::Chain;
use super::place::{Host, RELAY, SERVER, SERVER_SECONDARY, V6HOST};
use super::results::{ClientResult, PingResult, Results, TransferResult};
use super::wires::{Totals, Traffic};

/// The story of one lab.
#[derive(Debug)]
pub(super) struct Story {
    started: Instant,
    is_terminal: bool,
    has_progress: bool,
}

impl Story {
    /// Starts the clock.
    pub(super) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { started: Instant::now(), is_terminal, has_progress: false }
    }

    /// Shows what is being built.
    pub(super) fn picture(&mut self, nats: [Chain; 2], delay_ms: u64) {
        let boxes = nats.map(|nat| format!("[{nat:^4}]"));
        let width = boxes.iter().map(|it| it.len() + 2).max().unwrap_or(0).max(12);
        let [first, second] = boxes.map(|it| format!("{it:-^width$}"));
        let gap = " ".repeat(width - 2);
        self.print(&format!(
            "
  client 1 {first}+                         +--- relay ---+
  192.168.1.2{gap}|      IPv4 Internet      |             |    IPv6 Internet
  {:9}{gap}  +----- 203.0.113.0/24 ----+             +--- {V6HOST}
  192.168.2.2{gap}|                         |             |
  client 2 {second}+                         +--- server --+
",
            ""
        ));
        if delay_ms > 0 {
            self.print(&format!(
                "  Each access link takes {delay_ms} ms one way: to any host and back are {} ms.\n",
                4 * delay_ms
            ));
        }
    }

    /// Tells that the ground is laid.
    pub(super) fn built(&mut self) {
        self.step(&format!("{} hosts in network namespaces, wired up", Host::ALL.len()));
    }

    /// Tells that the roles that clients need are there.
    pub(super) fn serving(&mut self) {
        self.step(&format!("server on {SERVER} and {SERVER_SECONDARY}, relay on {RELAY}: serving"));
    }

    /// Tells how a client got its address.
    pub(super) fn qualified(&mut self, client: Host, result: &ClientResult) {
        let address = result.address.map(|address| address.to_string()).unwrap_or_default();
        let mapped = result.mapped.as_deref().unwrap_or("?");
        let time = ms(result.qualified_ms);
        self.step(&format!("{} qualified in {time}: {address}", client.name()));
        let port = result.port.unwrap_or_default();
        self.more(&format!("its UDP port {port} is {mapped} outside the NAT"));
    }

    /// Tells what the clients found out about their NATs.
    pub(super) fn nats(&mut self, nats: [Chain; 2], results: [&ClientResult; 2]) {
        for ((client, nat), result) in Host::CLIENTS.into_iter().zip(nats).zip(results) {
            let seen = result.nat_seen.as_deref().unwrap_or("unknown");
            self.step(&format!("{} sees its {} as {seen}", client.name(), nat.name()));
        }
    }

    /// Tells how pings from client 1 went.
    pub(super) fn pings(&mut self, whom: &str, pings: &PingResult) {
        self.step(&format!("ping client 1 -> {whom}: {}", in_words(pings)));
    }

    /// Shows how far a transfer is, where it can be shown.
    pub(super) fn progress(&mut self, done: u64, bytes: u64) {
        if !self.is_terminal {
            return;
        }
        let tenths = (u128::from(done) * u128::from(PROGRESS_WIDTH) / u128::from(bytes)) as usize;
        let bar = format!("{:<width$}", "#".repeat(tenths), width = PROGRESS_WIDTH as usize);
        let text = format!("TCP client 1 -> IPv6 host [{bar}] {} of {}", size(done), size(bytes));
        eprint!("\r{CLEAR_LINE}{}{text}", self.time());
        self.has_progress = true;
    }

    /// Tells how the transfer went.
    pub(super) fn transferred(&mut self, transfer: &TransferResult, seconds: f64) {
        self.step(&format!(
            "TCP client 1 -> IPv6 host, through the relay: {} in {seconds:.2} s, {:.0} Mbit/s, \
             every byte checked",
            size(transfer.bytes),
            transfer.mbit_s.unwrap_or_default(),
        ));
    }

    /// Tells that what nobody has asked for does not get in.
    pub(super) fn refused(&mut self) {
        self.step("TCP IPv6 host -> client 1, which nobody there has asked for: refused");
    }

    /// Tells that the caller's command gets the stage.
    pub(super) fn command(&mut self, command: &str) {
        self.step(&format!("{command}: running in client 1"));
        self.more("$LAB_V6HOST, $LAB_PEER and $LAB_SERVER are there to talk to");
    }

    /// Tells a step.
    pub(super) fn step(&mut self, text: &str) {
        let text = format!("{}{text}\n", self.time());
        self.print(&text);
    }

    /// Tells what there is to be learned from all this.
    pub(super) fn summary(&mut self, results: &Results, totals: &Totals) {
        let mut text = String::from("\nIt works.\n");
        for (name, client) in [("client 1", &results.client1), ("client 2", &results.client2)] {
            let address = client.address.map(|address| address.to_string()).unwrap_or_default();
            let time = ms(client.qualified_ms);
            let _ = writeln!(text, "  {name}    {address:<38} in {time}");
        }
        let rows = [
            ("relay", Host::Relay, "carries what goes between Teredo and the IPv6 Internet"),
            (
                "server",
                Host::Server,
                "introduces clients to each other, helps those that cannot meet",
            ),
        ];
        for (name, host, what) in rows {
            let Traffic { packets, bytes } = totals.traffic[host.index()];
            let amount = format!("{packets} packets, {}", size(bytes));
            let _ = writeln!(text, "  {name:<10}  {amount:<38} {what}");
        }
        text.push_str(
            "\nSpeed is that of this lab's own NATs and wires. Next:
  teredo lab -- bash         a shell in client 1: ping $LAB_PEER, ip addr, ...
  teredo lab --nat cone,ar   other NATs
  teredo lab --delay 25      other distances
  teredo lab --trace DIR     captures of every wire, for tshark or `teredo decode`
",
        );
        self.print(&text);
    }

    /// Tells what got lost, for whoever wants to know everything.
    pub(super) fn drops(&mut self, totals: &Totals) {
        let drops = totals.drops.iter().map(|(reason, count)| format!("{} {count}", reason.name()));
        let drops: Vec<_> = drops.collect();
        let drops = if drops.is_empty() { "none".to_owned() } else { drops.join(", ") };
        self.step(&format!("packets that did not arrive: {drops}"));
    }

    /// Tells a line that a role has said.
    pub(super) fn said(&mut self, host: Host, line: &str) {
        self.print(&format!("{}\n", line_of(host, line)));
    }

    /// Takes back what [`progress`](Self::progress) shows, for others to write.
    pub(super) fn clear(&mut self) {
        self.print("");
    }

    /// Tells more about the last step.
    fn more(&mut self, text: &str) {
        self.print(&format!("{:width$}{text}\n", "", width = TIME_WIDTH));
    }

    fn print(&mut self, text: &str) {
        let clear = if self.has_progress { format!("\r{CLEAR_LINE}") } else { String::new() };
        self.has_progress = false;
        // Nobody is left to be told that nobody listens.
        let _ = io::stderr().lock().write_all(format!("{clear}{text}").as_bytes());
    }

    fn time(&self) -> String {
        format!("{:>7.2} s  ", self.started.elapsed().as_secs_f64())
    }
}

/// A line that a role has said, with its name.
pub(super) fn line_of(host: Host, line: &str) -> String {
    format!("{:<8}| {line}", host.key())
}

fn in_words(pings: &PingResult) -> String {
    let PingResult { sent, received, first_ms, median_ms } = *pings;
    let mut text = match received {
        0 => "no answer".to_owned(),
        _ => format!("{received} of {sent} answered"),
    };
    if let Some(first) = first_ms {
        let _ = write!(text, ", the first after {}", ms(Some(first)));
    }
    if let Some(median) = median_ms {
        let _ = write!(text, ", median {}", ms(Some(median)));
    }
    text
}

fn ms(time: Option<f64>) -> String {
    time.map_or_else(|| "?".to_owned(), |time| format!("{time:.2} ms"))
}

/// A number of bytes as people say it.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// What erases the rest of a terminal's line.
const CLEAR_LINE: &str = "\x1b[K";
const PROGRESS_WIDTH: u32 = 30;
/// Width of what [`Story::time`] gives.
const TIME_WIDTH: usize = 11;
