//! The server's thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{SendFlags, SocketFlags, accept_with, send};
use serde_json::{Value, json};
use teredo_sys::epoll::{Event, Events, Interest, Poller};
use teredo_sys::page::OwnedPage;
use teredo_sys::unix::{Peer, peer, peer_groups};

use crate::connect::ROOT;
use crate::page;
use crate::rules::{AllowedRule, AllowedRules};
use crate::server::Config;
use crate::server::clients::Clients;
use crate::server::command::{Command, Commands, Responder};
use crate::server::connection::{Answer, Connection, Finished, Service};
use crate::server::inbox::{Inbox, Waiting};
use crate::status::Status;
use crate::varlink::{
    CallError, DESCRIPTION, INTERFACE, Info, Reply, Request, SERVICE_DESCRIPTION, SERVICE_INTERFACE,
};

/// What the daemon tells the thread.
#[derive(Default)]
pub(super) struct ToWorker {
    /// The status, if it has changed; only the last counts.
    pub(super) status: Option<Arc<Status>>,
    /// What may come in, if it has changed.
    pub(super) rules: Option<Vec<AllowedRule>>,
    /// Answers to commands, by connection. No more than commands were ever waiting.
    pub(super) answers: Vec<(u64, Result<Value, CallError>)>,
    pub(super) stop: bool,
}

impl Waiting for ToWorker {
    fn is_waiting(&self) -> bool {
        self.status.is_some() || self.rules.is_some() || !self.answers.is_empty() || self.stop
    }
}

/// Everything the thread owns.
pub(super) struct Worker {
    poller: Poller,
    pages: Listener,
    calls: Listener,
    page: Arc<OwnedPage>,
    desk: Desk,
    clients: Clients,
    next_client: u64,
    silence_max: Duration,
    checked_at: Instant,
    inbox: Arc<Inbox<ToWorker>>,
}

impl Worker {
    pub(super) fn new(
        config: Config,
        page: Arc<OwnedPage>,
        pages: OwnedFd,
        calls: OwnedFd,
        (inbox, commands): (Arc<Inbox<ToWorker>>, Arc<Inbox<Commands>>),
        status: Arc<Status>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&*inbox, INBOX, Interest::Read)?;
        let pages = Listener::new(pages, PAGES, &poller)?;
        let calls = Listener::new(calls, CALLS, &poller)?;
        let desk = Desk {
            message: Reply::status(&status, true).into(),
            status,
            rules: AllowedRules::default(),
            commands,
            inbox: Arc::clone(&inbox),
            group: config.group,
        };
        let (clients, next_client) = (Clients::new(config), FIRST_CLIENT);
        let silence_max = config.silence_max;
        let checked_at = Instant::now();
        Ok(Self {
            poller,
            pages,
            calls,
            page,
            desk,
            clients,
            next_client,
            silence_max,
            checked_at,
            inbox,
        })
    }

    /// Serves until it is told to stop. Sockets close when this value is dropped.
    pub(super) fn run(&mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let timeout = self.timeout();
            if self.poller.wait(&mut events, timeout).is_err() {
                // Only a broken poller fails, and there is nothing that could be done about it.
                return;
            }
            for event in events.iter() {
                match event.token {
                    INBOX => {
                        if self.take_news() {
                            return;
                        }
                    }
                    PAGES => self.hand_out_pages(),
                    CALLS => self.accept_clients(),
                    client => self.serve(client, event),
                }
            }
            self.look_at_the_clock();
        }
    }

    /// What the daemon has to say; `true` if it is to stop.
    fn take_news(&mut self) -> bool {
        let news = self.inbox.with(std::mem::take);
        // First: who has changed them and asks for them finds them changed.
        if let Some(rules) = news.rules {
            self.desk.rules = AllowedRules::of(&rules);
        }
        for (client, result) in news.answers {
            let message = match result {
                Ok(result) => Reply::success(&result),
                Err(error) => Reply::failure(&error),
            };
            self.with_client(client, |client, desk| client.answered(message, desk));
        }
        if let Some(status) = news.status {
            self.desk.message = Reply::status(&status, true).into();
            self.desk.status = status;
            let clients: Vec<u64> = self.clients.iter().map(|client| client.token).collect();
            for client in clients {
                self.with_client(client, |client, desk| client.status_changed(desk));
            }
        }
        news.stop
    }

    fn serve(&mut self, client: u64, event: Event) {
        self.with_client(client, |client, desk| {
            if event.error {
                return Err(Finished);
            }
            // Room first: nothing is taken in while an answer waits to go out.
            if event.writable || client.interest() == Interest::Write {
                client.advance(desk)?;
            }
            // A hang-up is seen by reading what came before it.
            if client.interest() == Interest::Read && (event.readable || event.hang_up) {
                client.read(desk)?;
            } else if event.hang_up {
                return Err(Finished);
            }
            Ok(())
        });
    }

    /// Lets a client do something, and sees to what follows from it.
    fn with_client(
        &mut self,
        token: u64,
        body: impl FnOnce(&mut Connection, &mut Desk) -> Result<(), Finished>,
    ) {
        let Some(client) = self.clients.get_mut(token) else { return };
        let mut result = body(client, &mut self.desk);
        let interest = client.interest();
        if result.is_ok() && interest != client.watched {
            client.watched = interest;
            result = self.poller.modify(&*client, token, interest).map_err(|_| Finished);
        }
        if result.is_err() {
            self.clients.remove(token);
        }
    }

    fn hand_out_pages(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            let Some(socket) = self.pages.accept(&self.poller) else { return };
            // Whoever has hung up already gets none.
            let _ = page::send(socket.as_fd(), self.page.as_fd());
        }
    }

    fn accept_clients(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            let Some(socket) = self.calls.accept(&self.poller) else { return };
            let Ok(peer) = peer(&socket) else { continue };
            if self.clients.is_full_for(peer.user) {
                let refusal = Reply::failure(&CallError::TooManyClients);
                // There is room for it in a new connection, or its peer has gone.
                let _ = send(&socket, &refusal, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
                continue;
            }
            // So that a reader who lags gets the latest soon, and holds little of our memory.
            let _ = set_socket_send_buffer_size(&socket, SEND_BUFFER_LEN);
            let token = self.next_client;
            if self.poller.add(&socket, token, Interest::Read).is_ok() {
                self.next_client += 1;
                self.clients.insert(Connection::new(token, socket, peer));
            }
        }
    }

    /// How long to wait for events at most.
    fn timeout(&self) -> Option<Duration> {
        let pause = self.pages.paused_at.or(self.calls.paused_at).map(|_| PAUSE);
        let check = self.clients.iter().any(Connection::is_expected_to_speak);
        pause.or_else(|| check.then_some(self.silence_max / CHECKS_PER_SILENCE))
    }

    fn look_at_the_clock(&mut self) {
        self.pages.resume(&self.poller);
        self.calls.resume(&self.poller);
        if self.checked_at.elapsed() >= self.silence_max / CHECKS_PER_SILENCE {
            self.checked_at = Instant::now();
            let silent = self.clients.iter().filter(|client| {
                client.is_expected_to_speak() && client.heard_at.elapsed() >= self.silence_max
            });
            for client in silent.map(|client| client.token).collect::<Vec<_>>() {
                self.clients.remove(client);
            }
        }
    }
}

/// Where calls are answered.
struct Desk {
    status: Arc<Status>,
    rules: AllowedRules,
    /// The message with the status, the same for all subscribers.
    message: Arc<[u8]>,
    commands: Arc<Inbox<Commands>>,
    inbox: Arc<Inbox<ToWorker>>,
    group: Option<u32>,
}

impl Service for Desk {
    fn answer(&mut self, request: Request, from: &Connection) -> Answer {
        Answer::Now(match request {
            Request::GetInfo => Reply::success(&info()),
            Request::GetInterfaceDescription { interface } => description(interface),
            Request::GetStatus { subscribe: true } => return Answer::Subscribe,
            Request::GetStatus { subscribe: false } => Reply::status(&self.status, false),
            Request::Wake => {
                self.commands.with(Commands::wake);
                Reply::success(&json!({}))
            }
            Request::ListRules => Reply::success(&self.rules),
            Request::SetState(settings) => {
                return self.change(from, |responder| Command::Set(settings, responder));
            }
            Request::ChangeRules(change) => {
                return self.change(from, |responder| Command::Rules(change, responder));
            }
        })
    }

    fn status(&self) -> Arc<[u8]> {
        Arc::clone(&self.message)
    }
}

impl Desk {
    /// Hands a change to the daemon, if this client may change anything.
    fn change(&mut self, from: &Connection, command: impl FnOnce(Responder) -> Command) -> Answer {
        if !self.may_set(from) {
            return Answer::Now(Reply::failure(&CallError::PermissionDenied));
        }
        let responder = Responder::new(from.token, Arc::clone(&self.inbox));
        match self.commands.with(|commands| commands.change(responder, command)) {
            Ok(()) => Answer::Later,
            Err(responder) => {
                responder.forget();
                let busy = "too many changes wait already".to_owned();
                Answer::Now(Reply::failure(&CallError::SetFailed(busy)))
            }
        }
    }

    /// Root, the daemon's own user, and the members of the group.
    fn may_set(&self, client: &Connection) -> bool {
        let Peer { user, group } = client.peer;
        let is_member = |wanted| {
            group == wanted || peer_groups(client).is_ok_and(|groups| groups.contains(&wanted))
        };
        user == ROOT
            || user == rustix::process::geteuid().as_raw()
            || self.group.is_some_and(is_member)
    }
}

fn info() -> Info {
    Info {
        vendor: "Teredo".to_owned(),
        product: "Teredo".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: String::new(),
        interfaces: vec![SERVICE_INTERFACE.to_owned(), INTERFACE.to_owned()],
    }
}

fn description(interface: String) -> Vec<u8> {
    let description = match interface.as_str() {
        INTERFACE => DESCRIPTION,
        SERVICE_INTERFACE => SERVICE_DESCRIPTION,
        _ => return Reply::failure(&CallError::InterfaceNotFound(interface)),
    };
    Reply::success(&json!({ "description": description }))
}

/// A socket that others connect to.
struct Listener {
    socket: OwnedFd,
    token: u64,
    /// When accepting failed for want of descriptors or memory. Watched meanwhile, the poller would
    /// report it over and over.
    paused_at: Option<Instant>,
}

impl Listener {
    fn new(socket: OwnedFd, token: u64, poller: &Poller) -> io::Result<Self> {
        poller.add(&socket, token, Interest::Read)?;
        Ok(Self { socket, token, paused_at: None })
    }

    /// The next connection, if there is one.
    fn accept(&mut self, poller: &Poller) -> Option<OwnedFd> {
        loop {
            match accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => return Some(socket),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return None,
                Err(_) => {
                    if poller.remove(&self.socket).is_ok() {
                        self.paused_at = Some(Instant::now());
                    }
                    return None;
                }
            }
        }
    }

    fn resume(&mut self, poller: &Poller) {
        if self.paused_at.is_some_and(|paused_at| paused_at.elapsed() >= PAUSE)
            && poller.add(&self.socket, self.token, Interest::Read).is_ok()
        {
            self.paused_at = None;
        }
    }
}

const INBOX: u64 = 0;
const PAGES: u64 = 1;
const CALLS: u64 = 2;
const FIRST_CLIENT: u64 = 3;

/// Handled before the poller is asked again, and with it the inbox.
const EVENTS_MAX: usize = 64;
/// Accepted in a row, so that a flood of connections keeps nobody else waiting long.
const ACCEPTS_MAX: usize = 64;
/// How long no connection is accepted after that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// How often silence is looked at, as a part of the longest that is allowed.
const CHECKS_PER_SILENCE: u32 = 4;
/// Room for some ten statuses, of which a reader that lags gets as many old ones before the latest.
const SEND_BUFFER_LEN: usize = 8 * 1024;
