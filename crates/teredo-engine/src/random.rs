//! The sockets that a role asks for while it runs: the random ports of RFC 6081, and the many that
//! are tried at a time for a peer behind a NAT that gives ports at random.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;

use teredo_proto::role::PORTS_MAX;

use crate::io::{DatagramSocket, Waiter};
use crate::tally::Tally;

/// Sockets by the number that the role gave them. They are few, and there for peers behind NATs
/// that let nothing better through: what leaves from them is copied once more.
#[derive(Debug)]
pub(crate) struct RandomSockets<S> {
    sockets: BTreeMap<u16, S>,
    /// Those that the waiter does not watch yet.
    unwatched: Vec<u16>,
}

impl<S: DatagramSocket> RandomSockets<S> {
    pub(crate) fn new() -> Self {
        Self { sockets: BTreeMap::new(), unwatched: Vec::new() }
    }

    /// Binds one more beside `service` and returns its port; `None` if there is none to be had.
    pub(crate) fn bind(&mut self, number: u16, service: &S) -> Option<u16> {
        if self.sockets.len() >= PORTS_MAX {
            return None;
        }
        let socket = service.bind_beside().ok()?;
        let port = socket.local_addr().port();
        self.sockets.insert(number, socket);
        self.unwatched.push(number);
        Some(port)
    }

    /// Closes one, and so ends the watch for it.
    pub(crate) fn close(&mut self, number: u16) {
        self.sockets.remove(&number);
        self.unwatched.retain(|other| *other != number);
    }

    pub(crate) fn find(&mut self, number: u16) -> Option<&mut S> {
        self.sockets.get_mut(&number)
    }

    /// Has the waiter watch those that are new.
    pub(crate) fn watch(&mut self, waiter: &mut impl Waiter<S>) -> io::Result<()> {
        for number in std::mem::take(&mut self.unwatched) {
            if let Some(socket) = self.find(number) {
                waiter.watch(number, socket)?;
            }
        }
        Ok(())
    }

    /// Puts a datagram into the batch of one of them; `false` if it finds no room.
    pub(crate) fn put(&mut self, number: u16, payload: &[u8], to: SocketAddrV4) -> bool {
        let Some(socket) = self.find(number) else { return false };
        if socket.slot().is_none() {
            let _ = socket.flush();
        }
        let Some(slot) = socket.slot().and_then(|slot| slot.get_mut(..payload.len())) else {
            return false;
        };
        slot.copy_from_slice(payload);
        socket.commit(payload.len(), to, None);
        true
    }

    /// Sends what waits in their batches.
    pub(crate) fn flush(&mut self, tally: &mut Tally) -> io::Result<()> {
        for socket in self.sockets.values_mut() {
            if socket.pending() > 0 {
                tally.count_send(&socket.flush()?);
            }
        }
        Ok(())
    }
}
