//! What passes on the wires, as capture files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use teredo_wire::pcap::{self, LinkType};

use super::place::Host;

/// A place to look at packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// The uplink of a host.
    Uplink(Host),
    /// The public side of the NAT before a client.
    Outside(Host),
}

impl Wire {
    fn index(self) -> usize {
        match self {
            Self::Uplink(host) => host.index(),
            Self::Outside(host) => Host::ALL.len() + host.index(),
        }
    }

    fn file_name(self) -> String {
        match self {
            Self::Uplink(host) => format!("{}.pcap", host.key()),
            Self::Outside(host) => format!("nat{}-outside.pcap", host.index() + 1),
        }
    }
}

/// One capture file for each wire, or none at all.
#[derive(Debug, Default)]
pub(super) struct Trace {
    files: Vec<BufWriter<File>>,
    error: Option<io::Error>,
    has_unwritten: bool,
}

impl Trace {
    /// Creates the directory if need be, and the files in it.
    pub(super) fn create(directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create the directory {}", directory.display()))?;
        let wires = Host::ALL.map(Wire::Uplink).into_iter();
        let wires = wires.chain(Host::CLIENTS.map(Wire::Outside));
        let mut trace = Self::default();
        for wire in wires {
            let path = directory.join(wire.file_name());
            let mut file = File::create(&path)
                .with_context(|| format!("cannot create {}", path.display()))
                .map(BufWriter::new)?;
            file.write_all(&pcap::file_header(LinkType::RAW))?;
            trace.files.push(file);
        }
        trace.flush();
        Ok(trace)
    }

    /// Records a packet. The first failure ends the trace and is kept for
    /// [`finish`](Self::finish): the lab goes on.
    pub(super) fn record(&mut self, wire: Wire, packet: &[u8]) {
        if self.error.is_some() {
            return;
        }
        let Some(file) = self.files.get_mut(wire.index()) else { return };
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let header = pcap::record_header(time, packet.len() as u32);
        if let Err(error) = file.write_all(&header).and_then(|()| file.write_all(packet)) {
            self.error = Some(error);
        }
        self.has_unwritten = true;
    }

    /// Whether there is something to flush.
    pub(super) fn has_unwritten(&self) -> bool {
        self.has_unwritten
    }

    /// Writes out what is buffered.
    pub(super) fn flush(&mut self) {
        for file in &mut self.files {
            if let Err(error) = file.flush() {
                self.error.get_or_insert(error);
            }
        }
        self.has_unwritten = false;
    }

    /// Writes out everything; an error says that the trace is not complete.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush();
        self.error.map_or(Ok(()), Err)
    }
}
