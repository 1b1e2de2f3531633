//! The subcommand `teredo decode`: the Teredo packets of a capture, one a line.

mod fault;
mod json;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use teredo_wire::Malformed;
use teredo_wire::capture::{NoDatagram, NotTeredo, Udp};
use teredo_wire::pcap::{self, LinkType, Reader, Record};
use teredo_wire::print::Line;

use crate::exit::Exit;
use crate::output;

/// Options of `teredo decode`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// One JSON object a line on standard output
    #[arg(long)]
    json: bool,

    /// The capture: pcap or pcapng
    file: PathBuf,
}

/// Prints the Teredo packets of the capture.
///
/// # Errors
/// When the file cannot be read, is no capture or is cut short; what comes before is printed.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let Args { json, file } = args;
    let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let reader =
        Reader::new(&bytes).with_context(|| format!("cannot decode {}", file.display()))?;
    let Some(summary) = output::print(|out| decode(reader, json, out))? else {
        return Ok(Exit::Ok);
    };
    if !json {
        eprintln!("{}", summary.to_text());
    }
    summary.into_result(&file)
}

fn decode(reader: Reader<'_>, json: bool, out: &mut impl Write) -> io::Result<Summary> {
    let mut summary = Summary::default();
    let mut start = None;
    for record in reader {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                summary.broken_by = Some(error);
                break;
            }
        };
        summary.frames += 1;
        let start = *start.get_or_insert(record.time);
        let Some(line) = summary.find(&record) else { continue };
        summary.packets += 1;
        if json {
            serde_json::to_writer(&mut *out, &json::Packet::new(summary.frames, &line))?;
            writeln!(out)?;
        } else {
            write_text(out, summary.frames, record.time.saturating_sub(start), &line)?;
        }
    }
    Ok(summary)
}

fn write_text(
    out: &mut impl Write,
    frame: u64,
    since_start: Duration,
    line: &Line<'_>,
) -> io::Result<()> {
    write!(out, "{frame:>5} {:>11.6} {line}", since_start.as_secs_f64())?;
    match fault::of(&line.datagram) {
        Some(reason) => writeln!(out, ", error {}", reason.name()),
        None => writeln!(out),
    }
}

/// What was seen in a file.
#[derive(Debug, Default)]
struct Summary {
    frames: u64,
    packets: u64,
    fragments: u64,
    cut_short: u64,
    /// Datagrams of the Teredo port that are not Teredo, and the first of them.
    malformed: u64,
    first_malformed: Option<(u64, Malformed)>,
    unknown_link: Option<LinkType>,
    broken_by: Option<pcap::Error>,
}

impl Summary {
    /// The Teredo packet of a record; counts what may have hidden one.
    fn find<'a>(&mut self, record: &Record<'a>) -> Option<Line<'a>> {
        let udp = match Udp::find(record.link, record.bytes) {
            Ok(udp) => udp,
            Err(reason) => {
                self.count(reason, record);
                return None;
            }
        };
        match udp.teredo() {
            Ok(datagram) => {
                Some(Line { source: udp.source, destination: udp.destination, datagram })
            }
            Err(NotTeredo::Malformed(reason)) => {
                self.malformed += 1;
                self.first_malformed.get_or_insert((self.frames, reason));
                None
            }
            Err(NotTeredo::Unmarked) => None,
        }
    }

    fn count(&mut self, reason: NoDatagram, record: &Record<'_>) {
        match reason {
            NoDatagram::Fragment => self.fragments += 1,
            NoDatagram::Truncated => self.cut_short += 1,
            NoDatagram::UnknownLink => self.unknown_link = Some(record.link),
            NoDatagram::NotIpv4
            | NoDatagram::InvalidIpv4
            | NoDatagram::NotUdp
            | NoDatagram::InvalidUdp => {}
        }
    }

    fn to_text(&self) -> String {
        let mut text = format!("{} Teredo packets in {} frames", self.packets, self.frames);
        for (count, what) in [
            (self.fragments, "fragments not reassembled"),
            (self.cut_short, "frames cut short"),
            (self.malformed, "datagrams of port 3544 that are not Teredo"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        if let Some((frame, reason)) = self.first_malformed {
            text.push_str(&format!(" (first: frame {frame}, {reason})"));
        }
        text
    }

    fn into_result(self, file: &Path) -> anyhow::Result<Exit> {
        let file = file.display();
        if let Some(error) = self.broken_by {
            bail!("cannot decode {file} past frame {}: {error}", self.frames);
        }
        if let Some(link) = self.unknown_link {
            bail!(
                "cannot decode all of {file}: link type {link} is unknown; \
                 capture on a link of type Ethernet, raw IP or Linux cooked"
            );
        }
        Ok(Exit::Ok)
    }
}

const AFTER_HELP: &str = "\
A datagram is taken for Teredo when its port is 3544 or an address in it is Teredo or link-local,
and it parses. Frames may be raw IP, Ethernet (with 802.1Q tags) or Linux cooked, and the datagram
may travel in a GTP-U tunnel.

JSON: frame (1-based), src, dst, kind, auth, origin, ipv6 {src, dst, next_header, hop_limit,
length: of the payload}, trailers, error (why any receiver drops it, or null).

Examples:
  teredo decode capture.pcap
  teredo decode --json capture.pcap | jq 'select(.kind == \"ra\")'
  tcpdump -w capture.pcap udp port 3544";
