//! The shared page between processes: whoever has waited for a killed owner knows that it is gone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use teredo_sys::page::{MappedPage, OwnedPage};

/// How often the design was tried on paper's behalf; each takes a few milliseconds.
const KILLS: u64 = 300;

const OWNER: &str = "TEREDO_TEST_PAGE_OWNER";

#[test]
fn a_killed_owner_is_gone_as_soon_as_it_has_been_waited_for() {
    for round in 1..=KILLS {
        let (mut owner, page, _stdin) = owner(round);
        assert_eq!(page.word(), Some(round));
        owner.kill().unwrap();
        owner.wait().unwrap();
        assert_eq!(page.word(), None, "kill {round}");
    }
}

#[test]
fn readers_in_other_threads_never_see_a_word_after_the_kill() {
    let (mut owner, page, _stdin) = owner(7);
    thread::scope(|scope| {
        let readers = [(); 2].map(|()| {
            scope.spawn(|| {
                while page.word() == Some(7) {}
                // Once gone, gone for ever.
                (0..10_000).all(|_| page.word().is_none())
            })
        });
        owner.kill().unwrap();
        owner.wait().unwrap();
        assert_eq!(page.word(), None);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap()));
    });
}

/// Runs only in a child process: owns a page until it is killed.
#[test]
fn owner_process() {
    let Ok(word) = std::env::var(OWNER) else { return };
    let page = OwnedPage::create().unwrap();
    page.publish(word.parse().unwrap());
    let descriptors = [page.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let stdin = std::io::stdin();
    sendmsg(&stdin, &[IoSlice::new(b"p")], &mut control, SendFlags::NOSIGNAL).unwrap();
    // Ends with the parent too.
    let _ = stdin.lock().read(&mut [0]);
}

/// A new owner, its page, and the socket whose end it takes for the end of its parent.
fn owner(word: u64) -> (Child, MappedPage, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["owner_process", "--exact", "--nocapture"])
        .env(OWNER, word.to_string())
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    recvmsg(&ours, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let received = control.drain().find_map(|message| {
        let RecvAncillaryMessage::ScmRights(mut descriptors) = message else { return None };
        descriptors.next()
    });
    (child, MappedPage::map(received.unwrap().as_fd()).unwrap(), ours)
}
