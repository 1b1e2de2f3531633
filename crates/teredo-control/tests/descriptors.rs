//! A daemon that has run out of descriptors serves again when there are some. Alone in its process,
//! because the others would run out too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::num::NonZeroU16;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use teredo_control::server::{Config, Server};
use teredo_control::testing::{TestDir, snapshot};
use teredo_control::{Client, Error, Event, NotReady, PortReader, State, Subscription};

#[test]
fn out_of_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).unwrap();
    let directory = TestDir::new().unwrap();
    let first = snapshot(State::Qualified, 1);
    let server = Server::start(directory.runtime(), Config::default(), first).unwrap();
    let reader = PortReader::at(directory.runtime().clone());
    let mut subscription = Subscription::new(directory.runtime().clone()).unwrap();
    let patience = Some(Duration::from_secs(10));
    assert!(matches!(subscription.next(patience), Ok(Some(Event::Status(_)))));

    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(matches!(reader.port(), Err(NotReady::System(_))));
    // Enough for us, and none for the server.
    files.pop();
    let used = Server::start(directory.runtime(), Config::default(), snapshot(State::Probe, 1));
    assert!(used.is_err());
    let timeout = Duration::from_millis(500);
    let result = Client::connect(directory.runtime(), timeout).and_then(|mut it| it.status());
    assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
    assert_eq!(reader.port(), Err(NotReady::TimedOut));
    // It still does what takes no descriptor.
    server.publish(snapshot(State::Qualified, 2));
    assert!(matches!(subscription.next(patience), Ok(Some(Event::Status(_)))));

    files.clear();
    let mut client = Client::connect(directory.runtime(), Duration::from_secs(10)).unwrap();
    assert_eq!(client.status().unwrap().snapshot.port, NonZeroU16::new(2));
    assert_eq!(reader.port(), Ok(NonZeroU16::new(2).unwrap()));
}
